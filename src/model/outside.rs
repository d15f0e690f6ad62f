//! Declares the outside: the network beyond all internet gateways, with hosts that have public addresses.
//!
//! To the rest of the model the outside is one VPC with one subnet, which are always there and never listed. A host of it is
//! a network interface in that subnet. So ports, captures, faults and probes work for such a host as for any other. All of
//! its addresses come from ranges that are set aside for documentation, and nothing ever leaves for another network.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};

use super::ids::{NetworkAclId, RouteTableId, SubnetId, VpcId};
use super::network::{Network, SubnetState, VpcState};
use super::profile::{AdvertisementDestination, LinkLocals, Profile, Ttl};
use super::subnet::Subnet;
use super::vpc::Vpc;
use super::{InterfaceId, NetworkInterface};
use crate::wire::MacAddr;

/// The VPC that stands for the outside.
pub const VPC: VpcId = VpcId::MIN;

/// Its one subnet.
pub const SUBNET: SubnetId = SubnetId::MIN;

/// The IPv4 addresses of hosts (RFC 5737, TEST-NET-2).
pub const IPV4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24);

/// The IPv6 addresses of hosts (RFC 9637).
pub const IPV6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0x198, 0, 0, 0, 0, 0, 0), 64);

/// The MAC address of the router that every host of the outside has as its gateway.
const ROUTER_MAC: MacAddr = MacAddr([0x02, 0x00, 0x5e, 0x64, 0x33, 0x01]);

/// How the outside behaves: each host is a network of its own behind a router, with an Ethernet's MTU and no service of a
/// cloud.
fn profile() -> Profile {
    let mut profile = Profile::aws();
    "outside".clone_into(&mut profile.name);
    profile.mtu = 1500;
    profile.host_prefix_length = Some(32);
    profile.neighbor.link_locals = LinkLocals::None;
    profile.neighbor.announce_on_move = false;
    profile.router.answers_echo = true;
    profile.router.ttl = Ttl::Decrement;
    profile.router.service_addresses = false;
    profile.router.fixed_link_local = None;
    profile.router.advertisement.hop_limit = 64;
    profile.router.advertisement.managed = false;
    profile.router.advertisement.on_link = false;
    profile.router.advertisement.solicited_destination = AdvertisementDestination::AllNodes;
    profile.dhcp.v4.enabled = false;
    profile.dhcp.v6.enabled = false;
    profile
}

pub(super) fn vpc() -> VpcState {
    let vpc = Vpc {
        id: VPC,
        name: None,
        cidr_blocks: vec![IPV4],
        ipv6_cidr_blocks: vec![IPV6],
        profile: Arc::new(profile()),
        dhcp_options_id: None,
        main_route_table_id: RouteTableId::MIN,
        default_network_acl_id: NetworkAclId::MIN,
        attributes: Default::default(),
        default: false,
        tags: Default::default(),
    };
    VpcState {
        vpc,
        macs: [(ROUTER_MAC, None)].into_iter().collect(),
        blocks: Default::default(),
        subnets: 1,
    }
}

pub(super) fn subnet() -> SubnetState {
    let subnet = Subnet {
        id: SUBNET,
        name: None,
        vpc_id: VPC,
        cidr_block: Some(IPV4),
        ipv6_cidr_block: Some(IPV6),
        availability_zone: "outside".to_owned(),
        router_mac: ROUTER_MAC,
        map_public_ip_on_launch: false,
        assign_ipv6_on_creation: false,
        enable_dns64: false,
        default_for_az: false,
        reservations: Vec::new(),
        tags: Default::default(),
    };
    SubnetState {
        subnet,
        mappings: Default::default(),
        interfaces: 0,
        route_table: None,
        network_acl: None,
    }
}

impl Network {
    /// The interfaces of the hosts of the outside, by identifier.
    pub fn outside_hosts(&self) -> impl Iterator<Item = NetworkInterface> + '_ {
        let all = self.interface_order.keys().copied();
        all.filter(|id| self.is_outside(*id)).map(|id| self.view(id))
    }

    /// Whether an interface is that of a host of the outside.
    pub fn is_outside(&self, interface: InterfaceId) -> bool {
        let state = self.interfaces.get(&interface);
        state.is_some_and(|state| state.record.vpc_id == VPC)
    }
}
