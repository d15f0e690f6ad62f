//! Writes what the workers read. An edit of a mapping is one atomic store; an edit of the declared network is a new
//! view, published as a whole.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::edge::Edge;
use super::numbered::Numbered;
use super::ranges::Ranges;
use super::routes::{RouteTable, RouteTarget};
use super::{Fabric, PREFIX_80_MASK, PolicyIndex, SubnetIndex, SubnetState, SubnetView, View, VpcIndex, VpcView};
use crate::datapath::faults::FaultView;
use crate::datapath::policy::{Acl, Policy};
use crate::datapath::state::{Bindings, Connections, Segments};
use crate::mapping::table::{AddressArray, TableWriter};
use crate::mapping::{InterfaceIndex, InterfaceTable, PortId};
use crate::model::dhcp_options::DhcpOptions;
use crate::model::profile::Profile;
use crate::wire::MacAddr;

/// How long the index of a deleted interface stays unused, so that a worker in the middle of a batch finds no other
/// interface there. A batch takes microseconds; a worker descheduled for longer than this is not expected.
const QUARANTINE: Duration = Duration::from_secs(10);

/// Tracked connections at the most, both sides counted: 256 MiB.
const MOST_CONNECTIONS: usize = 1 << 22;

/// A VPC to add to the fabric.
#[derive(Debug, Clone)]
pub struct VpcSpec {
    /// Its profile.
    pub profile: Arc<Profile>,
    /// Its address ranges.
    pub cidrs: Vec<IpNet>,
    /// Its DHCP options.
    pub dhcp_options: Arc<DhcpOptions>,
}

/// A subnet to add to the fabric.
#[derive(Debug, Clone, Copy)]
pub struct SubnetSpec {
    /// Its VPC.
    pub vpc: VpcIndex,
    /// Its IPv4 range, /16 to /28.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 range, a /64.
    pub ipv6: Option<Ipv6Net>,
    /// MAC of its router.
    pub router_mac: MacAddr,
}

/// An interface to add to the fabric.
#[derive(Debug, Clone, Copy)]
pub struct InterfaceSpec {
    /// Its subnet.
    pub subnet: SubnetIndex,
    /// Its MAC.
    pub mac: MacAddr,
    /// Whether its source/destination check is on.
    pub source_dest_check: bool,
}

/// The only writer of the fabric.
pub struct FabricWriter {
    fabric: Arc<Fabric>,
    view: View,
    macs: TableWriter,
    ipv6: TableWriter,
    ipv6_prefixes: TableWriter,
    next_interface: u32,
    freed: VecDeque<(Instant, InterfaceIndex)>,
}

impl Default for FabricWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl FabricWriter {
    /// An empty fabric.
    pub fn new() -> Self {
        let (macs, ipv6, ipv6_prefixes) = (TableWriter::new(), TableWriter::new(), TableWriter::new());
        let view = View {
            vpcs: Numbered::default(),
            subnets: Numbered::default(),
            interfaces: Arc::new(InterfaceTable::default()),
            macs: Arc::clone(macs.table()),
            ipv6: Arc::clone(ipv6.table()),
            ipv6_prefixes: Arc::clone(ipv6_prefixes.table()),
            policies: Numbered::default(),
            edge: Arc::default(),
            faults: None,
        };
        let fabric = Arc::new(Fabric {
            view: ArcSwap::from_pointee(view.clone()),
            segments: Segments::default(),
            connections: Connections::new(RandomState::new().hash_one(0), MOST_CONNECTIONS),
            bindings: Bindings::new(RandomState::new().hash_one(1)),
        });
        Self {
            fabric,
            view,
            macs,
            ipv6,
            ipv6_prefixes,
            next_interface: 0,
            freed: VecDeque::new(),
        }
    }

    /// The readers' side, for workers.
    pub fn fabric(&self) -> Arc<Fabric> {
        Arc::clone(&self.fabric)
    }

    /// The network for the next batch.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Publishes the current view to the workers.
    fn publish(&mut self) {
        self.view.macs = Arc::clone(self.macs.table());
        self.view.ipv6 = Arc::clone(self.ipv6.table());
        self.view.ipv6_prefixes = Arc::clone(self.ipv6_prefixes.table());
        self.fabric.view.store(Arc::new(self.view.clone()));
    }

    /// Sets the injected faults; `None` for none.
    pub fn set_faults(&mut self, faults: Option<Arc<FaultView>>) {
        self.view.faults = faults;
        self.publish();
    }

    /// Has a VPC and its one subnet stand for what is beyond the internet gateways: all that its hosts send crosses the edge.
    pub fn set_outside(&mut self, index: VpcIndex, subnet: SubnetIndex) {
        if let Some(Some(vpc)) = self.vpc_mut(index) {
            Arc::make_mut(vpc).outside = true;
        }
        let everything = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let routes = everything.map(|all| (all, RouteTarget::Internet));
        self.set_routes(subnet, Arc::new(routes.into_iter().collect()));
    }

    /// Publishes which public addresses there are and what they stand for.
    pub fn set_edge(&mut self, edge: Edge) {
        self.view.edge = Arc::new(edge);
        self.publish();
    }

    /// Makes a VPC known.
    pub fn add_vpc(&mut self, spec: VpcSpec) -> VpcIndex {
        let index = VpcIndex(next_number(&self.view.vpcs));
        let view = VpcView {
            index,
            profile: spec.profile,
            cidrs: spec.cidrs,
            dhcp_options: spec.dhcp_options,
            outside: false,
            ranges: Ranges::default(),
        };
        self.view.vpcs.insert(index.0.get(), Arc::new(view));
        self.publish();
        index
    }

    /// Changes a VPC's profile, ranges or DHCP options, for it and all its subnets at once.
    pub fn set_vpc(&mut self, index: VpcIndex, spec: VpcSpec) {
        let local = Arc::new(RouteTable::local(&spec.cidrs));
        for subnet in self.view.subnets.iter_mut().filter(|s| s.vpc == index) {
            let subnet = Arc::make_mut(subnet);
            subnet.profile = Arc::clone(&spec.profile);
            if subnet.implicit_routes {
                subnet.routes = Arc::clone(&local);
            }
            subnet.local_within = subnet.routes.all_local(&spec.cidrs);
        }
        if let Some(Some(vpc)) = self.vpc_mut(index) {
            let vpc = Arc::make_mut(vpc);
            vpc.profile = spec.profile;
            vpc.cidrs = spec.cidrs;
            vpc.dhcp_options = spec.dhcp_options;
        }
        self.publish();
    }

    /// Removes a VPC without subnets.
    pub fn remove_vpc(&mut self, index: VpcIndex) {
        self.view.vpcs.remove(index.0.get());
        self.publish();
    }

    fn vpc_mut(&mut self, index: VpcIndex) -> Option<&mut Option<Arc<VpcView>>> {
        self.view.vpcs.get_mut(index.0.get())
    }

    /// Changes the subnets of a VPC's local route.
    fn edit_ranges(&mut self, index: VpcIndex, edit: impl FnOnce(&mut Ranges)) {
        if let Some(Some(vpc)) = self.vpc_mut(index) {
            edit(&mut Arc::make_mut(vpc).ranges);
        }
    }

    /// Adds a subnet.
    ///
    /// # Panics
    /// When the VPC does not exist: the caller holds its index only while it does.
    pub fn add_subnet(&mut self, spec: SubnetSpec) -> SubnetIndex {
        let vpc = self.view.vpc(spec.vpc).expect("a VPC whose index is held is known");
        let (profile, routes) = (Arc::clone(&vpc.profile), Arc::new(RouteTable::local(&vpc.cidrs)));
        let size = spec.ipv4.map_or(0, |net| 1_usize << (32 - net.prefix_len()));
        let index = SubnetIndex(next_number(&self.view.subnets));
        let view = SubnetView {
            index,
            vpc: spec.vpc,
            profile,
            ipv4: spec.ipv4,
            ipv6: spec.ipv6,
            ipv4_bits: spec
                .ipv4
                .map_or((0, 0), |net| (net.network().to_bits(), net.netmask().to_bits())),
            router_mac: spec.router_mac,
            routes,
            implicit_routes: true,
            local_within: true,
            acl: None,
            state: Arc::new(SubnetState {
                addresses: AddressArray::new(size),
                members: ArcSwap::from_pointee(Vec::new()),
            }),
        };
        self.view.subnets.insert(index.0.get(), Arc::new(view));
        self.edit_ranges(spec.vpc, |ranges| ranges.insert(index, spec.ipv4, spec.ipv6));
        self.publish();
        index
    }

    /// Gives a subnet an IPv6 block, or takes it away; no interface has an address of it.
    pub fn set_subnet_ipv6(&mut self, index: SubnetIndex, ipv6: Option<Ipv6Net>) {
        let Some(Some(subnet)) = self.view.subnets.get_mut(index.0.get()) else {
            return;
        };
        let subnet = Arc::make_mut(subnet);
        subnet.ipv6 = ipv6;
        let (vpc, ipv4) = (subnet.vpc, subnet.ipv4);
        self.edit_ranges(vpc, |ranges| {
            ranges.remove(index);
            ranges.insert(index, ipv4, ipv6);
        });
        self.publish();
    }

    /// Replaces the routes of a subnet by those of a table.
    pub fn set_routes(&mut self, index: SubnetIndex, routes: Arc<RouteTable>) {
        let vpc = self.view.subnet(index).and_then(|subnet| self.view.vpc(subnet.vpc));
        let local_within = vpc.is_some_and(|vpc| routes.all_local(&vpc.cidrs));
        if let Some(Some(subnet)) = self.view.subnets.get_mut(index.0.get()) {
            let subnet = Arc::make_mut(subnet);
            (subnet.routes, subnet.implicit_routes, subnet.local_within) = (routes, false, local_within);
        }
        self.publish();
    }

    /// Removes a subnet without interfaces.
    pub fn remove_subnet(&mut self, index: SubnetIndex) {
        let Some(vpc) = self.view.subnet(index).map(|subnet| subnet.vpc) else {
            return;
        };
        self.view.subnets.remove(index.0.get());
        self.fabric.segments.remove(index);
        self.edit_ranges(vpc, |ranges| ranges.remove(index));
        self.publish();
    }

    /// Adds an interface that is not attached and has no address.
    ///
    /// # Panics
    /// When there are 4 M interfaces already; the model's limits are below that.
    pub fn add_interface(&mut self, spec: InterfaceSpec) -> InterfaceIndex {
        let rested = self
            .freed
            .front()
            .is_some_and(|(since, _)| since.elapsed() > QUARANTINE);
        let freed = if rested { self.freed.pop_front() } else { None };
        let index = freed.map_or_else(
            || {
                self.next_interface += 1;
                InterfaceIndex(NonZeroU32::new(self.next_interface).unwrap_or(NonZeroU32::MIN))
            },
            |(_, index)| index,
        );
        let inserted = self
            .view
            .interfaces
            .insert(index, spec.mac, spec.source_dest_check, spec.subnet.0);
        assert!(inserted, "the model's limit of interfaces is below the table's");
        if let Some(vpc) = self.view.subnet(spec.subnet).map(|s| s.vpc)
            && self.macs.set(vpc.0, spec.mac.to_bits(), Some(index.0))
        {
            self.publish();
        }
        index
    }

    /// Removes an interface; its mappings must have been removed.
    pub fn remove_interface(&mut self, index: InterfaceIndex) {
        let Some(interface) = self.view.interface(index) else {
            return;
        };
        self.set_port(index, None);
        if let Some(vpc) = self.view.subnet(SubnetIndex(interface.subnet)).map(|s| s.vpc)
            && self.macs.set(vpc.0, interface.mac.to_bits(), None)
        {
            self.publish();
        }
        self.view.interfaces.remove(index);
        self.fabric.connections.forget(index);
        self.freed.push_back((Instant::now(), index));
    }

    /// Turns an interface's source/destination check on or off.
    pub fn set_source_dest_check(&mut self, index: InterfaceIndex, checked: bool) {
        self.view.interfaces.set_checked(index, checked);
    }

    /// Attaches an interface to a port, or to none.
    pub fn set_port(&mut self, index: InterfaceIndex, port: Option<PortId>) {
        let Some(interface) = self.view.interface(index) else {
            return;
        };
        self.view.interfaces.set_port(index, port);
        if let Some(subnet) = self.view.subnet(SubnetIndex(interface.subnet)) {
            let mut members = subnet.state.members.load().as_ref().clone();
            members.retain(|(_, member)| *member != index);
            members.extend(port.map(|port| (port, index)));
            subnet.state.members.store(Arc::new(members));
            if let (None, Some(gone)) = (port, interface.port) {
                self.fabric.segments.forget_port(subnet.index, gone);
            }
        }
    }

    /// Makes the rules of some groups known. No interface has them before [`Self::set_policy`].
    pub fn add_policy(&mut self, policy: Arc<Policy>) -> PolicyIndex {
        let index = PolicyIndex(next_number(&self.view.policies));
        self.view.policies.insert(index.0.get(), policy);
        self.publish();
        index
    }

    /// Changes rules, for all interfaces that have them at once. Connections that are tracked go on (T4).
    pub fn change_policies(&mut self, policies: impl IntoIterator<Item = (PolicyIndex, Arc<Policy>)>) {
        for (index, policy) in policies {
            self.view.policies.insert(index.0.get(), policy);
        }
        self.publish();
    }

    /// Forgets rules that no interface has any more.
    pub fn remove_policy(&mut self, index: PolicyIndex) {
        self.view.policies.remove(index.0.get());
        self.publish();
    }

    /// Gives an interface the rules of its groups; `None` for an interface without groups, which is not filtered.
    pub fn set_policy(&mut self, index: InterfaceIndex, policy: Option<PolicyIndex>) {
        self.view.interfaces.set_policy(index, policy.map(|policy| policy.0));
    }

    /// Says whose allowance of tracked connections an interface uses: the first interface of its instance.
    pub fn set_allowance(&mut self, index: InterfaceIndex, of: InterfaceIndex) {
        self.view.interfaces.set_allowance(index, of);
    }

    /// Gives a subnet a network ACL, or none.
    pub fn set_acl(&mut self, index: SubnetIndex, acl: Option<Arc<Acl>>) {
        if let Some(Some(subnet)) = self.view.subnets.get_mut(index.0.get()) {
            Arc::make_mut(subnet).acl = acl;
        }
        self.publish();
    }

    /// Sets an interface's MTU; `None` for the profile's.
    pub fn set_mtu(&mut self, index: InterfaceIndex, mtu: Option<u16>) {
        self.view.interfaces.set_mtu(index, mtu);
    }

    /// Sets an interface's first addresses: the primary IPv4, and the IPv6 that Router Advertisements go to.
    pub fn set_primary(&mut self, index: InterfaceIndex, ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) {
        self.view
            .interfaces
            .set_primary(index, ipv4, ipv6.map(|address| address.to_bits() as u64));
    }

    /// Sets the delegated /80 that DHCPv6 leases to a client of an interface that names none.
    pub fn set_delegated_prefix(&mut self, index: InterfaceIndex, prefix: Option<Ipv6Net>) {
        let bits = prefix.map(|net| (net.network().to_bits() >> 48) as u16);
        self.view.interfaces.set_delegated_prefix(index, bits);
    }

    /// Assigns one address or one delegated prefix to an interface, moves it to another, or removes it: one atomic
    /// store for each address of a /28, one for any other entry.
    pub fn map(&mut self, index: SubnetIndex, net: IpNet, owner: Option<InterfaceIndex>) {
        let owner = owner.map(|index| index.0);
        match net {
            IpNet::V4(net) => {
                let Some(subnet) = self.view.subnet(index) else { return };
                let Some(range) = subnet.ipv4 else { return };
                for address in net.network().to_bits()..=net.broadcast().to_bits() {
                    if range.contains(&Ipv4Addr::from_bits(address)) {
                        subnet.state.addresses.set(address - range.network().to_bits(), owner);
                    }
                }
            }
            IpNet::V6(net) => {
                let host = net.network().to_bits() as u64;
                let grown = if net.prefix_len() == 128 {
                    self.ipv6.set(index.0, host, owner)
                } else {
                    self.ipv6_prefixes.set(index.0, host & PREFIX_80_MASK, owner)
                };
                if grown {
                    self.publish();
                }
            }
        }
    }

    /// The owner of an address for the next batch.
    pub fn owner(&self, index: SubnetIndex, address: IpAddr) -> Option<InterfaceIndex> {
        self.view.owner(self.view.subnet(index)?, address)
    }
}

/// The number of the next entry: never 0, and never one that was used. The model's limits are far below 2³².
fn next_number<T>(entries: &Numbered<T>) -> NonZeroU32 {
    u32::try_from(entries.next())
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}
