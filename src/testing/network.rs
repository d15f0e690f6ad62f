//! Builds what the data path reads of a VPC, for tests that bring ports and clocks of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::parse;
use crate::datapath::{FabricWriter, InterfaceSpec, SubnetIndex, SubnetSpec, VpcIndex, VpcSpec};
use crate::mapping::InterfaceIndex;
use crate::model::profile::Profile;
use crate::wire::MacAddr;

/// One VPC with its subnets, interfaces and addresses, without a switch.
///
/// ```
/// use localvpc::model::Profile;
/// use localvpc::switch::{Switch, SwitchConfig};
/// use localvpc::testing::Network;
/// use localvpc::wire::MacAddr;
///
/// let mut network = Network::new(Profile::aws(), &["10.0.0.0/16"]);
/// let subnet = network.subnet(MacAddr([2, 0, 0, 0, 0, 1]), &["10.0.1.0/24"]);
/// let interface = network.interface(subnet, MacAddr([2, 0, 0, 0, 0, 10]), &["10.0.1.10".parse().unwrap()]);
/// assert_eq!(network.writer.owner(subnet, "10.0.1.10".parse().unwrap()), Some(interface));
/// let (switch, _events) = Switch::start(network.writer.fabric(), SwitchConfig::default()).unwrap();
/// # drop(switch);
/// ```
pub struct Network {
    /// What edits it further.
    pub writer: FabricWriter,
    /// Its VPC.
    pub vpc: VpcIndex,
}

impl Network {
    /// A VPC with these blocks.
    #[track_caller]
    pub fn new(profile: Profile, blocks: &[&str]) -> Self {
        let mut writer = FabricWriter::new();
        let vpc = writer.add_vpc(VpcSpec {
            profile: Arc::new(profile),
            cidrs: blocks.iter().map(|block| parse(block)).collect(),
            dhcp_options: Arc::default(),
        });
        Self { writer, vpc }
    }

    /// Adds a subnet with an IPv4 block, an IPv6 block, or both.
    #[track_caller]
    pub fn subnet(&mut self, router_mac: MacAddr, blocks: &[&str]) -> SubnetIndex {
        let blocks: Vec<IpNet> = blocks.iter().map(|block| parse(block)).collect();
        self.writer.add_subnet(SubnetSpec {
            vpc: self.vpc,
            ipv4: blocks.iter().find_map(ipv4_block),
            ipv6: blocks.iter().find_map(ipv6_block),
            router_mac,
        })
    }

    /// Adds an interface with these addresses; the first of each family is its primary one.
    pub fn interface(&mut self, subnet: SubnetIndex, mac: MacAddr, addresses: &[IpAddr]) -> InterfaceIndex {
        let interface = self.writer.add_interface(InterfaceSpec {
            subnet,
            mac,
            source_dest_check: true,
        });
        for address in addresses {
            self.writer.map(subnet, IpNet::from(*address), Some(interface));
        }
        let (ipv4, ipv6) = primary(addresses);
        self.writer.set_primary(interface, ipv4, ipv6);
        interface
    }
}

fn ipv4_block(block: &IpNet) -> Option<Ipv4Net> {
    match block {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    }
}

fn ipv6_block(block: &IpNet) -> Option<Ipv6Net> {
    match block {
        IpNet::V6(net) => Some(*net),
        IpNet::V4(_) => None,
    }
}

/// The first address of each family.
pub(super) fn primary(addresses: &[IpAddr]) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let ipv4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    let ipv6 = |address: &IpAddr| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    };
    (addresses.iter().find_map(ipv4), addresses.iter().find_map(ipv6))
}
