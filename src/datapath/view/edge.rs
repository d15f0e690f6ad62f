//! Keeps what gateways know: which public address stands for which private one, which VPCs can be reached, and what NAT
//! gateways there are.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::Ipv6Net;

use super::{RouteTable, SubnetIndex, VpcIndex};
use crate::mapping::InterfaceIndex;

/// What is blocked of the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Whether connections that NAT and egress-only gateways let out pass.
    pub lets_out: bool,
    /// VPCs that are excluded, and whether everything passes there or what such gateways let out alone.
    pub vpcs: HashMap<VpcIndex, bool>,
    /// Subnets that are excluded, likewise.
    pub subnets: HashMap<SubnetIndex, bool>,
}

impl Blocked {
    /// Whether a packet from or to a subnet passes. `by_stateful` says that it goes by a NAT or an egress-only gateway.
    pub fn lets_through(&self, vpc: VpcIndex, subnet: SubnetIndex, by_stateful: bool) -> bool {
        let excluded = [self.subnets.get(&subnet), self.vpcs.get(&vpc)];
        by_stateful && self.lets_out
            || excluded
                .into_iter()
                .flatten()
                .any(|everything| *everything || by_stateful)
    }
}

/// A NAT gateway that is available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatGateway {
    /// Its interface.
    pub interface: InterfaceIndex,
    /// The subnet of its interface.
    pub subnet: SubnetIndex,
    /// Whether it sends to the internet gateway.
    pub public: bool,
    /// Its private addresses, the primary one first, and whether each takes new connections.
    pub addresses: Vec<(Ipv4Addr, bool)>,
    /// Those that take new connections.
    open: Vec<Ipv4Addr>,
}

impl NatGateway {
    /// A gateway with these addresses; `true` for one that takes new connections.
    pub fn new(interface: InterfaceIndex, subnet: SubnetIndex, public: bool, addresses: Vec<(Ipv4Addr, bool)>) -> Self {
        let open = addresses.iter().filter(|(_, open)| *open).map(|(address, _)| *address);
        Self {
            interface,
            subnet,
            public,
            open: open.collect(),
            addresses,
        }
    }

    /// The address that it answers from.
    pub fn primary(&self) -> Ipv4Addr {
        self.addresses
            .first()
            .map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| *address)
    }

    /// The addresses that take new connections.
    pub fn open_addresses(&self) -> &[Ipv4Addr] {
        &self.open
    }
}

/// The public side of all VPCs that have an internet gateway. It is made anew with each change, and published whole.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    by_public: HashMap<Ipv4Addr, (VpcIndex, Ipv4Addr), RandomState>,
    by_private: HashMap<(VpcIndex, Ipv4Addr), Ipv4Addr, RandomState>,
    ipv6: Vec<(Ipv6Net, VpcIndex)>,
    /// VPCs with an internet gateway, and those with an egress-only one.
    internet: HashSet<VpcIndex, RandomState>,
    egress_only: HashSet<VpcIndex, RandomState>,
    /// VPCs with a gateway endpoint that a route table routes to, in order.
    endpoints: Vec<VpcIndex>,
    /// The routes that packets from outside follow, of VPCs whose internet gateway has a route table.
    inbound: HashMap<VpcIndex, Arc<RouteTable>, RandomState>,
    nats: HashMap<InterfaceIndex, NatGateway, RandomState>,
    blocked: Option<Blocked>,
    outside: Option<SubnetIndex>,
}

impl Edge {
    /// An edge without gateways; `outside` is the subnet of the hosts beyond it, if there are some.
    pub fn new(outside: Option<SubnetIndex>) -> Self {
        Self {
            outside,
            ..Self::default()
        }
    }

    /// Adds the IPv6 ranges of a VPC with an internet gateway. Where two VPCs have the same range, the first is reached.
    pub fn attach(&mut self, vpc: VpcIndex, ranges: impl IntoIterator<Item = Ipv6Net>) {
        self.internet.insert(vpc);
        self.ipv6.extend(ranges.into_iter().map(|range| (range, vpc)));
    }

    /// Adds the IPv6 ranges of a VPC with an egress-only internet gateway.
    pub fn attach_egress_only(&mut self, vpc: VpcIndex, ranges: impl IntoIterator<Item = Ipv6Net>) {
        self.egress_only.insert(vpc);
        self.ipv6.extend(ranges.into_iter().map(|range| (range, vpc)));
    }

    /// Whether a VPC has an internet gateway.
    pub fn has_internet(&self, vpc: VpcIndex) -> bool {
        self.internet.contains(&vpc)
    }

    /// Whether a VPC has an egress-only internet gateway.
    pub fn has_egress_only(&self, vpc: VpcIndex) -> bool {
        self.egress_only.contains(&vpc)
    }

    /// The VPCs with an egress-only internet gateway.
    pub fn egress_only(&self) -> impl Iterator<Item = VpcIndex> + '_ {
        self.egress_only.iter().copied()
    }

    /// Gives packets from outside the routes of a table.
    pub fn route_inbound(&mut self, vpc: VpcIndex, routes: Arc<RouteTable>) {
        self.inbound.insert(vpc, routes);
    }

    /// The routes that packets from outside follow in a VPC, where its internet gateway has a route table.
    pub fn inbound(&self, vpc: VpcIndex) -> Option<&RouteTable> {
        self.inbound.get(&vpc).map(|routes| &**routes)
    }

    /// Adds a VPC with a gateway endpoint.
    pub fn attach_endpoint(&mut self, vpc: VpcIndex) {
        if !self.endpoints.contains(&vpc) {
            self.endpoints.push(vpc);
        }
    }

    /// The VPCs with a gateway endpoint.
    pub fn endpoints(&self) -> impl Iterator<Item = VpcIndex> + '_ {
        self.endpoints.iter().copied()
    }

    /// Adds the association of a public address with a private one of a VPC with an internet gateway.
    pub fn associate(&mut self, public: Ipv4Addr, vpc: VpcIndex, private: Ipv4Addr) {
        self.by_public.insert(public, (vpc, private));
        self.by_private.insert((vpc, private), public);
    }

    /// Blocks what is not excluded.
    pub fn block(&mut self, blocked: Blocked) {
        self.blocked = Some(blocked);
    }

    /// What is blocked, if anything is.
    pub fn blocked(&self) -> Option<&Blocked> {
        self.blocked.as_ref()
    }

    /// Adds a NAT gateway.
    pub fn add_nat(&mut self, gateway: NatGateway) {
        self.nats.insert(gateway.interface, gateway);
    }

    /// The NAT gateway with an interface.
    pub fn nat(&self, interface: InterfaceIndex) -> Option<&NatGateway> {
        self.nats.get(&interface)
    }

    /// The NAT gateways.
    pub fn nats(&self) -> impl Iterator<Item = &NatGateway> {
        self.nats.values()
    }

    /// The VPC and the private address that a public address stands for.
    pub fn behind(&self, public: Ipv4Addr) -> Option<(VpcIndex, Ipv4Addr)> {
        self.by_public.get(&public).copied()
    }

    /// The public address of a private one.
    pub fn public(&self, vpc: VpcIndex, private: Ipv4Addr) -> Option<Ipv4Addr> {
        self.by_private.get(&(vpc, private)).copied()
    }

    /// The VPC with a gateway that an IPv6 address lies in.
    pub fn vpc_around(&self, address: Ipv6Addr) -> Option<VpcIndex> {
        let mut ranges = self.ipv6.iter();
        ranges.find(|(range, _)| range.contains(&address)).map(|(_, vpc)| *vpc)
    }

    /// The subnet of the hosts beyond the gateways.
    pub fn outside(&self) -> Option<SubnetIndex> {
        self.outside
    }
}
