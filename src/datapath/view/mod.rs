//! Holds what workers read: the declared network as one immutable view, loaded once per batch, and tables whose entries
//! change one atomic word at a time.

mod edge;
pub(crate) mod numbered;
mod prefetch;
mod ranges;
mod routes;
mod writer;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::datapath::faults::FaultView;
use crate::datapath::policy::{Acl, Policy};
use crate::datapath::state::{Bindings, Connections, Memory, PortState, Segments};
use crate::mapping::table::{AddressArray, Table};
use crate::mapping::{Interface, InterfaceIndex, InterfaceTable, PortId};
use crate::model::dhcp_options::DhcpOptions;
use crate::model::profile::{Delivery, Profile, Resolution};
use crate::model::subnet::plan;
use crate::wire::MacAddr;
use numbered::Numbered;
use ranges::{Ranges, upper_half};

pub use edge::{Blocked, Edge, NatGateway};
pub use prefetch::warm;
pub use routes::{RouteTable, RouteTarget};
pub use writer::{FabricWriter, InterfaceSpec, SubnetSpec, VpcSpec};

/// The number of a VPC in the fabric, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VpcIndex(pub(crate) NonZeroU32);

/// The number of a policy in the fabric, counted from 1: the rules of some groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyIndex(pub(crate) NonZeroU32);

/// The number of a subnet in the fabric, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubnetIndex(pub(crate) NonZeroU32);

impl SubnetIndex {
    /// The number of an interface's subnet.
    pub fn of(interface: &Interface) -> Self {
        Self(interface.subnet)
    }
}

/// The low half of a prefix of /80: its 16 bits below the /64, as the key of the prefix table.
pub(crate) const PREFIX_80_MASK: u64 = 0xffff_0000_0000_0000;

/// The state that workers share with the one writer.
pub struct Fabric {
    pub(crate) view: ArcSwap<View>,
    pub(crate) segments: Segments,
    pub(crate) connections: Connections,
    pub(crate) bindings: Bindings,
}

impl Fabric {
    /// The current network. Load it once for a batch of frames, so that all of them see the same.
    #[inline]
    pub fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.view.load()
    }

    /// What a decision reads of what came before, for frames of a port.
    #[inline]
    pub fn memory<'a>(&'a self, port: &'a PortState) -> Memory<'a> {
        Memory {
            port,
            segments: &self.segments,
            connections: &self.connections,
            bindings: &self.bindings,
        }
    }

    /// The connections that interfaces track. They are no part of the view: workers write them.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The bindings of NAT gateways. Workers write them.
    pub fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// The state of subnets on learning switches. Workers write it, so it is not part of the view.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The current network, to keep.
    pub fn view_full(&self) -> Arc<View> {
        self.view.load_full()
    }
}

/// The network for one batch of frames.
#[derive(Clone)]
pub struct View {
    pub(crate) vpcs: Numbered<VpcView>,
    pub(crate) subnets: Numbered<SubnetView>,
    pub(crate) interfaces: Arc<InterfaceTable>,
    /// (VPC, MAC) → interface.
    pub(crate) macs: Arc<Table>,
    /// (subnet, low half of an IPv6 address) → interface.
    pub(crate) ipv6: Arc<Table>,
    /// (subnet, bits 64–79 of a delegated /80) → interface.
    pub(crate) ipv6_prefixes: Arc<Table>,
    /// The rules of interfaces' groups; interfaces with the same groups share them.
    pub(crate) policies: Numbered<Policy>,
    /// The public side of the internet gateways.
    pub(crate) edge: Arc<Edge>,
    /// What goes wrong on purpose, if anything does.
    pub(crate) faults: Option<Arc<FaultView>>,
}

/// The fields of a VPC that the data path needs.
#[derive(Clone)]
pub struct VpcView {
    /// Its number.
    pub index: VpcIndex,
    /// Its profile.
    pub profile: Arc<Profile>,
    /// Its address ranges.
    pub cidrs: Vec<IpNet>,
    /// Its DHCP options.
    pub dhcp_options: Arc<DhcpOptions>,
    /// Whether it stands for what is beyond the internet gateways.
    pub outside: bool,
    /// What a local route resolves to.
    pub(crate) ranges: Ranges,
}

/// The fields of a subnet that the data path needs.
#[derive(Clone)]
pub struct SubnetView {
    /// Its number.
    pub index: SubnetIndex,
    /// Its VPC.
    pub vpc: VpcIndex,
    /// Its VPC's profile.
    pub profile: Arc<Profile>,
    /// Its IPv4 range.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 range, a /64.
    pub ipv6: Option<Ipv6Net>,
    /// First address and netmask of the IPv4 range, precomputed for look-ups; 0 and 0 for none.
    pub(crate) ipv4_bits: (u32, u32),
    /// MAC of its router.
    pub router_mac: MacAddr,
    /// Its route table.
    pub routes: Arc<RouteTable>,
    /// Whether it has its initial route table, which follows the VPC's ranges.
    pub(crate) implicit_routes: bool,
    /// Whether its routes to all of the VPC's ranges are local, so that no look-up is needed for an address in them.
    pub(crate) local_within: bool,
    /// The network ACL, where it has one.
    pub(crate) acl: Option<Arc<Acl>>,
    pub(crate) state: Arc<SubnetState>,
}

/// State that lives as long as the subnet, however often its view is rebuilt.
pub(crate) struct SubnetState {
    pub(crate) addresses: AddressArray,
    /// Ports of attached interfaces, for frames to all of them.
    pub(crate) members: ArcSwap<Vec<(PortId, InterfaceIndex)>>,
}

/// An address of the subnet's own router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterAddress {
    /// `.1` or `::1` of the subnet.
    Gateway,
    /// Base + 2.
    Resolver,
    /// A link-local service (169.254.169.254 and its siblings).
    Service,
    /// The router's EUI-64 link-local, or the profile's fixed one.
    LinkLocal,
}

/// The link-local services that answer ARP with the router's MAC: metadata, DNS, time (VPC guide, "link-local addresses"), and the
/// endpoint of the API, which EC2 has elsewhere: a choice of this project.
pub const SERVICES_IPV4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 123),
    Ipv4Addr::new(169, 254, 169, 246),
];

/// The gateway of hosts with a link-local IPv4 address only.
pub(crate) const LINK_LOCAL_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);

/// The same services by IPv6; they are behind the router, not on-link.
pub const SERVICES_IPV6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x246),
];

impl View {
    /// The injected faults; `None` without any.
    #[inline(always)]
    pub fn faults(&self) -> Option<&FaultView> {
        self.faults.as_deref()
    }

    /// The subnet with this number.
    #[inline]
    pub fn subnet(&self, index: SubnetIndex) -> Option<&Arc<SubnetView>> {
        self.subnets.get(index.0.get())
    }

    /// The interface at this index.
    #[inline(always)]
    pub fn interface(&self, index: InterfaceIndex) -> Option<Interface> {
        self.interfaces.get(index)
    }

    /// The interface of a VPC that has this MAC.
    #[inline]
    pub(crate) fn interface_by_mac(&self, vpc: VpcIndex, mac: MacAddr) -> Option<InterfaceIndex> {
        self.macs.get(vpc.0, mac.to_bits()).map(InterfaceIndex)
    }

    /// The interface that an IPv4 address of `subnet` is mapped to.
    #[inline(always)]
    pub fn owner_ipv4(&self, subnet: &SubnetView, address: Ipv4Addr) -> Option<InterfaceIndex> {
        let (first, netmask) = subnet.ipv4_bits;
        let host = address.to_bits() ^ first;
        if host & netmask != 0 {
            return None;
        }
        // A subnet without IPv4 has an empty array.
        subnet.state.addresses.get(host).map(InterfaceIndex)
    }

    /// The interface that an IPv6 address of `subnet` is mapped to, by itself or within a delegated prefix.
    #[inline(always)]
    pub fn owner_ipv6(&self, subnet: &SubnetView, address: Ipv6Addr) -> Option<InterfaceIndex> {
        let net = subnet.ipv6?;
        if upper_half(address) != upper_half(net.addr()) {
            return None;
        }
        let host = address.to_bits() as u64;
        let itself = self.ipv6.get(subnet.index.0, host).map(InterfaceIndex);
        itself.or_else(|| self.prefix_holder(subnet.index, host))
    }

    /// The interface with the delegated prefix around the address with this lower half.
    #[inline(never)]
    fn prefix_holder(&self, subnet: SubnetIndex, host: u64) -> Option<InterfaceIndex> {
        self.ipv6_prefixes
            .get(subnet.0, host & PREFIX_80_MASK)
            .map(InterfaceIndex)
    }

    /// The interface that the delegated prefix around an address of `subnet` is mapped to.
    pub fn prefix_around(&self, subnet: &SubnetView, address: IpAddr) -> Option<InterfaceIndex> {
        let IpAddr::V6(address) = address else { return None };
        let host = subnet.ipv6?.contains(&address).then_some(address.to_bits() as u64)?;
        self.prefix_holder(subnet.index, host)
    }

    /// The /80 of `subnet` that is delegated to an interface first.
    pub fn delegated_prefix(&self, subnet: &SubnetView, index: InterfaceIndex) -> Option<Ipv6Net> {
        let bits = self.interfaces.delegated_prefix(index)?;
        let address = subnet.ipv6_address(u64::from(bits) << 48)?;
        Ipv6Net::new(address, 80).ok()
    }

    /// The owner of a /80 of `subnet`.
    pub fn prefix_owner(&self, subnet: &SubnetView, prefix: Ipv6Net) -> Option<InterfaceIndex> {
        let net = subnet.ipv6?;
        if prefix.prefix_len() != 80 || !net.contains(&prefix.network()) {
            return None;
        }
        let key = prefix.network().to_bits() as u64;
        self.ipv6_prefixes.get(subnet.index.0, key).map(InterfaceIndex)
    }

    /// The interface that an address of `subnet` is mapped to.
    #[inline(always)]
    pub fn owner(&self, subnet: &SubnetView, address: IpAddr) -> Option<InterfaceIndex> {
        match address {
            IpAddr::V4(address) => self.owner_ipv4(subnet, address),
            IpAddr::V6(address) => self.owner_ipv6(subnet, address),
        }
    }

    /// Whether the groups of an interface are asked about its packets.
    #[inline(always)]
    pub(in crate::datapath) fn is_filtered(&self, interface: InterfaceIndex) -> bool {
        self.interfaces.policies(interface)[0] != 0
    }

    /// The rules of an interface's groups, as of this view.
    #[inline]
    pub fn policy(&self, interface: InterfaceIndex) -> Option<&Policy> {
        let numbers = self.interfaces.policies(interface);
        numbers
            .into_iter()
            .find_map(|number| self.policies.get(number).map(|policy| &**policy))
    }

    /// The interface whose allowance of tracked connections an interface uses: the first of its instance.
    pub fn allowance(&self, interface: InterfaceIndex) -> InterfaceIndex {
        self.interfaces.allowance(interface)
    }

    /// The VPC with this number.
    #[inline]
    pub fn vpc(&self, index: VpcIndex) -> Option<&Arc<VpcView>> {
        self.vpcs.get(index.0.get())
    }

    /// The subnet of a VPC that contains an address.
    #[inline(always)]
    pub fn subnet_of(&self, vpc: &VpcView, address: IpAddr) -> Option<&SubnetView> {
        Some(self.subnet(vpc.ranges.around(address)?)?)
    }

    /// The ingress for frames from the port of `interface`; `None` once the interface or its subnet is deleted.
    #[inline]
    pub fn ingress(&self, interface: InterfaceIndex, port: PortId) -> Option<Ingress<'_>> {
        let interface = self.interface(interface)?;
        let subnet = self.subnet(SubnetIndex(interface.subnet))?;
        let vpc = self.vpc(subnet.vpc)?;
        // A stale-mapping fault gives the sender another view than the tables, so its frames are looked up one by one.
        let own = |address: &IpAddr| self.faults.is_none() && self.owner(subnet, *address) == Some(interface.index);
        let ipv4 = interface.ipv4.map(IpAddr::V4).filter(own);
        let ipv6 = interface.ipv6_host.and_then(|host| subnet.ipv6_address(host));
        let ipv6 = ipv6.map(IpAddr::V6).filter(own);
        Some(Ingress {
            port,
            interface,
            subnet,
            vpc,
            own: [ipv4, ipv6],
            filtered: vpc.profile.firewall.enforced && self.is_filtered(interface.index),
        })
    }
}

/// Where a frame comes from. What has no interface and no subnet (another host's tunnel) will be a variant here; a host of the
/// outside has an interface in a VPC that is `outside`.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// From the port of an interface.
    Interface(&'a Ingress<'a>),
}

impl<'a> From<&'a Ingress<'a>> for Origin<'a> {
    fn from(ingress: &'a Ingress<'a>) -> Self {
        Self::Interface(ingress)
    }
}

/// The port of an interface where a frame came in, with what the decision needs of it. Made once per batch.
#[derive(Clone, Copy)]
pub struct Ingress<'a> {
    /// The port.
    pub port: PortId,
    /// The interface attached to it.
    pub interface: Interface,
    /// The interface's subnet.
    pub subnet: &'a SubnetView,
    /// The subnet's VPC.
    pub vpc: &'a VpcView,
    /// The first IPv4 and the first IPv6 address of the interface, where the tables confirm that it owns them. They are
    /// the source of nearly every frame, which then needs no look-up.
    pub(in crate::datapath) own: [Option<IpAddr>; 2],
    /// Whether the groups of the interface are asked about what it sends.
    pub(in crate::datapath) filtered: bool,
}

impl VpcView {
    /// The address of the VPC's resolver: base + 2 of its first IPv4 range, whichever subnet asks (VPC guide, "Subnet
    /// sizing").
    pub fn resolver(&self) -> Option<Ipv4Addr> {
        let first = self.cidrs.iter().find_map(|net| match net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        })?;
        Some(plan::resolver(*first))
    }
}

impl SubnetView {
    /// The gateway's IPv4 address: `.1`, or the profile's; in a subnet without IPv4 with link-local leases, that of the
    /// leases.
    pub fn gateway_ipv4(&self) -> Option<Ipv4Addr> {
        match self.ipv4 {
            Some(net) => Some(plan::gateway(net, self.profile())),
            None => self.leases_link_locals().then_some(LINK_LOCAL_GATEWAY),
        }
    }

    /// Whether hosts here get link-local IPv4 addresses because they have no others.
    #[inline]
    pub fn leases_link_locals(&self) -> bool {
        let policy = &self.profile.dhcp.v4;
        self.ipv4.is_none() && self.ipv6.is_some() && policy.enabled && policy.ipv6_only_lease
    }

    /// The link-local IPv4 address that is leased to an interface of a subnet without IPv4. EC2's seem to be random;
    /// these are derived from the MAC, so that a lease is renewed without state.
    pub fn leased_link_local(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.leases_link_locals().then(|| {
            let hash = mac.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (high, low) = ((hash >> 56) as u8 % 254 + 1, (hash >> 40) as u8 % 254 + 1);
            // RFC 3927 section 2.1 reserves the first and the last 256 addresses, EC2 169.254.168.0/22.
            let high = if high & 0xfc == 168 { high ^ 0x40 } else { high };
            Ipv4Addr::new(169, 254, high, low)
        })
    }

    /// The profile of the subnet's VPC.
    #[inline]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// True where the profile is a learning switch instead of the mapping service.
    #[inline(always)]
    pub fn learns(&self) -> bool {
        self.profile().delivery == Delivery::Learning
    }

    /// True where the router resolves the stations that it delivers to.
    #[inline]
    pub fn asks(&self) -> bool {
        self.learns() && self.profile().router.resolution == Resolution::Ask
    }

    /// The link-local source address of the router.
    pub fn router_link_local(&self) -> Ipv6Addr {
        let router = &self.profile().router;
        let fixed = router.fixed_link_local.filter(|_| !router.eui64_link_local);
        fixed.unwrap_or_else(|| self.router_mac.link_local())
    }

    /// Ports of the subnet's attached interfaces.
    pub fn members(&self) -> arc_swap::Guard<Arc<Vec<(PortId, InterfaceIndex)>>> {
        self.state.members.load()
    }

    /// Which of the router's addresses this is, if any (VPC guide, "Subnet sizing"; the fidelity ledger's ARP matrix).
    #[inline(always)]
    pub fn router_ipv4(&self, address: Ipv4Addr) -> Option<RouterAddress> {
        let services = || self.profile().router.service_addresses;
        if address.is_link_local() {
            if SERVICES_IPV4.contains(&address) && services() {
                return Some(RouterAddress::Service);
            }
            if address == LINK_LOCAL_GATEWAY && self.leases_link_locals() {
                return Some(RouterAddress::Gateway);
            }
        }
        self.ipv4?;
        let gateway = self.profile().router.gateway;
        if gateway == Some(address) {
            return Some(RouterAddress::Gateway);
        }
        match address.to_bits().checked_sub(self.ipv4_bits.0)? {
            plan::ROUTER if gateway.is_none() => Some(RouterAddress::Gateway),
            plan::RESOLVER if services() => Some(RouterAddress::Resolver),
            _ => None,
        }
    }

    /// Which of the router's addresses this is, if any.
    #[inline(always)]
    pub fn router_ipv6(&self, address: Ipv6Addr) -> Option<RouterAddress> {
        let net = self.ipv6?;
        // The router's link-local is computed only for packets to a link-local.
        if address.is_unicast_link_local()
            && (address == self.router_link_local() || Some(address) == self.profile().router.fixed_link_local)
        {
            return Some(RouterAddress::LinkLocal);
        }
        let gateway =
            upper_half(address) == upper_half(net.addr()) && address.to_bits() as u64 == u64::from(plan::ROUTER);
        gateway.then_some(RouterAddress::Gateway)
    }

    /// Whether an address is a broadcast address of the subnet: the last of its IPv4 range (RFC 919), or the first,
    /// which was one to Linux before 5.14 and to the older BSDs (RFC 1122 section 3.3.6).
    #[inline(always)]
    pub fn is_directed_broadcast(&self, address: Ipv4Addr) -> bool {
        let (first, netmask) = self.ipv4_bits;
        let host = address.to_bits() ^ first;
        // In a subnet without IPv4 both are 0, which leaves 0.0.0.0 and 255.255.255.255.
        host == 0 || host == !netmask
    }

    /// True for the addresses of the range that no interface can have: the first four and the last.
    pub fn is_reserved(&self, address: IpAddr) -> bool {
        let block = match address {
            IpAddr::V4(_) => self.ipv4.map(IpNet::V4),
            IpAddr::V6(_) => self.ipv6.map(IpNet::V6),
        };
        block.is_some_and(|block| plan::is_reserved(block, address))
    }

    /// The subnet's IPv6 address with this host part.
    pub(crate) fn ipv6_address(&self, host: u64) -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from_bits(self.ipv6?.network().to_bits() | u128::from(host)))
    }
}
