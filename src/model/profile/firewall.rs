//! Whether security groups and network ACLs hold, and how long a connection is tracked.

use serde::{Deserialize, Serialize};

/// The firewall of a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FirewallPolicy {
    /// Whether security groups and network ACLs drop what they do not allow. Networks other than AWS have none.
    pub enforced: bool,
    /// Whether the rules of a group that names another group ask, in addition to the sending interface's groups, whether the
    /// source address is one of its own (VPC guide, "Security group rules": private addresses of the members). Without it,
    /// a member with its source check off is a member from whatever address it sends.
    pub group_members_by_address: bool,
    /// How connections are tracked.
    pub tracking: TrackingPolicy,
}

/// How connections are tracked. Times are seconds without a packet after which a connection is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrackingPolicy {
    /// TCP with packets both ways; 350 on Nitro v6 instances.
    pub tcp_established: u32,
    /// TCP without an answer yet. Unknown on EC2.
    pub tcp_opening: u32,
    /// TCP after a FIN. Unknown on EC2.
    pub tcp_closing: u32,
    /// TCP after a RST. Unknown on EC2.
    pub tcp_reset: u32,
    /// UDP with no more than one request and response.
    pub udp: u32,
    /// UDP with more than one request and response.
    pub udp_stream: u32,
    /// ICMP and ICMPv6. Unknown on EC2.
    pub icmp: u32,
    /// Other protocols, which are tracked by their addresses.
    pub other: u32,
    /// Later fragments of a packet whose first fragment was let through. Unknown on EC2.
    pub fragments: u32,
    /// Whether a TCP connection that is met in its middle is tracked if a rule allows it. Unknown on EC2.
    pub picks_up: bool,
    /// Connections that an instance may have tracked at once; 0 for any number. EC2 has a number for each instance type,
    /// which it does not publish.
    pub allowance: u32,
}

impl FirewallPolicy {
    /// That of a VPC on today's EC2.
    pub(super) fn aws() -> Self {
        Self {
            enforced: true,
            group_members_by_address: true,
            tracking: TrackingPolicy {
                tcp_established: 432_000,
                tcp_opening: 120,
                tcp_closing: 120,
                tcp_reset: 10,
                udp: 30,
                udp_stream: 180,
                icmp: 30,
                other: 600,
                fragments: 30,
                picks_up: true,
                allowance: 136_812,
            },
        }
    }
}
