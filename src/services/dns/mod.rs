//! DNS of a VPC: the private names of its interfaces and their reverse, for whoever asks from within it; everything else is
//! left to a resolver outside, if one is named (VPC guide, "DNS attributes for your VPC").

mod answer;
pub mod forward;
pub mod stream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::mapping::InterfaceIndex;

pub use answer::{Outcome, answer};

/// Octets of the longest answer in a datagram: what fits everywhere without fragments (DNS flag day 2020).
pub const MAX_DATAGRAM: usize = 1232;

/// The names of an interface's VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Whether the resolver answers at all (`enableDnsSupport`).
    pub enabled: bool,
    /// As in `eu-central-1.compute.internal`.
    pub domain: String,
    /// The VPC's ranges.
    pub cidrs: Vec<IpNet>,
}

/// Addresses behind a resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// A records.
    pub ipv4: Vec<Ipv4Addr>,
    /// AAAA records.
    pub ipv6: Vec<Ipv6Addr>,
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `i-…`, where the interface is attached to an instance that has a resource name.
    pub instance_id: Option<String>,
}

/// Who can tell the names of a VPC. Each question is asked for an interface and answered from that interface's VPC.
pub trait NameSource: Send + Sync + 'static {
    /// The names of the asker's VPC; `None` where the interface is gone.
    fn zone(&self, asker: InterfaceIndex) -> Option<Zone>;
    /// Who has an address in the asker's VPC; `None` while no interface has it.
    fn holder(&self, asker: InterfaceIndex, address: IpAddr) -> Option<Holder>;
    /// The addresses behind a resource name (`i-…`, lower case) in the asker's VPC.
    fn instance_addresses(&self, asker: InterfaceIndex, instance_id: &str) -> Option<HostAddresses>;
}
