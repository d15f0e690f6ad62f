//! Resolves the private names of a VPC's interfaces and their reverse; queries for other names go to an external
//! resolver, if one is configured (VPC guide, "DNS attributes for your VPC").

mod answer;
mod dns64;
pub mod forward;
pub mod stream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::mapping::InterfaceIndex;

pub use answer::{Outcome, answer};

/// The longest answer in a datagram: the size that is never fragmented (DNS flag day 2020).
pub const MAX_DATAGRAM: usize = 1232;

/// The names of an interface's VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Whether the resolver answers (`enableDnsSupport`).
    pub enabled: bool,
    /// As in `eu-central-1.compute.internal`.
    pub domain: String,
    /// The VPC's ranges.
    pub cidrs: Vec<IpNet>,
    /// Whether the subnet's hosts get an IPv6 address for a name that has IPv4 addresses alone (`enableDns64`).
    pub dns64: bool,
}

/// The addresses of a resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// A records.
    pub ipv4: Vec<Ipv4Addr>,
    /// AAAA records.
    pub ipv6: Vec<Ipv6Addr>,
}

/// The owner of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `i-…`, where the interface is attached to an instance with a resource name.
    pub instance_id: Option<String>,
}

/// The source of a VPC's names. Each method answers for the VPC of the asking interface.
pub trait NameSource: Send + Sync + 'static {
    /// The names of the asker's VPC; `None` when the interface no longer exists.
    fn zone(&self, asker: InterfaceIndex) -> Option<Zone>;
    /// The owner of an address in the asker's VPC; `None` when no interface has it.
    fn holder(&self, asker: InterfaceIndex, address: IpAddr) -> Option<Holder>;
    /// The address that a public name of this region stands for: the private one in the VPC that has it, and else the public
    /// one (VPC guide, "DNS hostnames"). `None` for any other name.
    fn public_name(&self, asker: InterfaceIndex, name: &str) -> Option<Ipv4Addr> {
        let _ = (asker, name);
        None
    }
    /// The names of the API that lead to the VPC's own endpoint; none where there is none.
    fn api_names(&self, asker: InterfaceIndex) -> Vec<String> {
        let _ = asker;
        Vec::new()
    }
    /// The addresses behind a resource name (`i-…`, lower case) in the asker's VPC.
    fn instance_addresses(&self, asker: InterfaceIndex, instance_id: &str) -> Option<HostAddresses>;
}
