//! Declares how much an interface may send and receive, as instance types of EC2 limit it.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::duration::Burst;
use crate::model::error::ModelError;

/// What passes in one second, in the long run; what is beyond is dropped. EC2 publishes the bandwidth of each instance
/// type and no packet rate, and neither how much may pass at once: all are given here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Allowances {
    /// Packets, both directions together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<u64>, minimum = 1))]
    pub packets_per_second: Option<NonZeroU64>,
    /// Octets to the host, Ethernet headers included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<u64>, minimum = 1))]
    pub octets_in_per_second: Option<NonZeroU64>,
    /// Octets from the host, Ethernet headers included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<u64>, minimum = 1))]
    pub octets_out_per_second: Option<NonZeroU64>,
    /// After a pause as much passes at once as otherwise in this time.
    #[serde(default = "burst")]
    pub burst: Burst,
}

/// The burst unless one is given.
fn burst() -> Burst {
    const { Burst::constant(Duration::from_millis(100)) }
}

impl Allowances {
    /// Refuses allowances that limit nothing.
    pub(crate) fn check(self) -> Result<Self, ModelError> {
        let limits = [
            self.packets_per_second,
            self.octets_in_per_second,
            self.octets_out_per_second,
        ];
        if limits.iter().any(Option::is_some) {
            return Ok(self);
        }
        Err(ModelError::OutOfRange {
            field: "allowances",
            given: "{}".to_owned(),
            remedy: "Give packets_per_second, octets_in_per_second or octets_out_per_second, or null for no limit.",
        })
    }
}

impl std::fmt::Display for Allowances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limits = [
            (self.packets_per_second, "packets/s"),
            (self.octets_in_per_second, "octets/s in"),
            (self.octets_out_per_second, "octets/s out"),
        ];
        for (limit, unit) in limits {
            if let Some(limit) = limit {
                write!(f, "{limit} {unit}, ")?;
            }
        }
        write!(f, "burst {}", self.burst)
    }
}
