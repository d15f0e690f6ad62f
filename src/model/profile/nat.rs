//! How NAT gateways behave.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::duration::Delay;

/// The NAT gateways of a VPC. Times are seconds without a packet after which a connection is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NatPolicy {
    /// A connection that is open (VPC guide, "NAT gateways": 350).
    pub idle_timeout: u32,
    /// A TCP connection after a RST, or after a FIN of both sides. Unknown on EC2.
    pub closed_timeout: u32,
    /// The later fragments of a UDP packet whose first fragment has passed. Unknown on EC2.
    pub fragments: u32,
    /// Connections of one address to one destination at the most: its address, port and protocol (VPC guide: 55 000).
    pub connections_per_destination: u32,
    /// From `pending` to `available`. EC2 takes minutes.
    pub pending: Delay,
    /// From `deleting` to `deleted`. EC2 takes minutes.
    pub deleting: Delay,
}

impl Default for NatPolicy {
    fn default() -> Self {
        Self {
            idle_timeout: 350,
            closed_timeout: 10,
            fragments: 30,
            connections_per_destination: 55_000,
            pending: const { Delay::constant(Duration::from_millis(300)) },
            deleting: const { Delay::constant(Duration::from_millis(300)) },
        }
    }
}
