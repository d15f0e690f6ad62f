//! Writes declared changes into the tables that workers and look-ups read. An address changes its owner in one store;
//! where an address and the prefix around it replace each other, the new entry is added before the old one is removed.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::firewall::Compiled;
use crate::datapath::{
    self, Blocked, Edge, FabricWriter, InterfaceSpec, NatGateway, SubnetIndex, SubnetSpec, VpcIndex, VpcSpec,
};
use crate::mapping::registry::{Entry, Registry};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::block_public_access::{BlockMode, BlockPublicAccess, Excluded, ExclusionMode};
use crate::model::dhcp_options::DhcpOptions;
use crate::model::interface::InterfaceRecord;
use crate::model::nat_gateway::{Connectivity, NatState};
use crate::model::outside;
use crate::model::route_table::RouteTarget;
use crate::model::{InterfaceId, MappingChange, Network, RouteTableId, Subnet, SubnetId, Vpc, VpcId};
use crate::wire::MacAddr;

/// Identifiers mapped to places in the fabric, and back.
#[derive(Debug)]
struct Places<K, V> {
    by_id: HashMap<K, V, RandomState>,
    by_place: HashMap<V, K, RandomState>,
}

impl<K: Copy + Eq + Hash, V: Copy + Eq + Hash> Places<K, V> {
    fn new() -> Self {
        Self {
            by_id: HashMap::default(),
            by_place: HashMap::default(),
        }
    }

    fn insert(&mut self, id: K, place: V) {
        self.by_id.insert(id, place);
        self.by_place.insert(place, id);
    }

    fn remove(&mut self, id: K) -> Option<V> {
        let place = self.by_id.remove(&id)?;
        self.by_place.remove(&place);
        Some(place)
    }
}

/// An interface that gains or loses mappings: its place, and the first of its addresses.
struct Party {
    index: Option<InterfaceIndex>,
    mac: Option<MacAddr>,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    /// The prefix that DHCPv6 delegates to it.
    delegated: Option<Ipv6Net>,
}

type Parties = HashMap<InterfaceId, Party, RandomState>;

/// A list of so many changes is what a start reads.
const LOADED: usize = 100_000;

/// Enters the new owner of an address into the registry.
fn enter(registry: &Registry, parties: &Parties, change: &MappingChange) {
    let Some((interface, party)) = change.to().and_then(|owner| Some((owner, parties.get(&owner)?))) else {
        return;
    };
    if let (Some(mac), Some(_)) = (party.mac, party.index) {
        let primary = party.ipv4.is_some() && change.address.address() == party.ipv4.map(IpAddr::V4);
        let entry = Entry {
            interface,
            mac,
            primary,
        };
        registry.set(change.subnet, change.address, Some(entry));
    }
}

/// The only writer to the fabric and to the registry.
pub(crate) struct Binding {
    writer: FabricWriter,
    registry: Arc<Registry>,
    vpcs: Places<VpcId, VpcIndex>,
    subnets: Places<SubnetId, SubnetIndex>,
    interfaces: Places<InterfaceId, InterfaceIndex>,
    pub(super) compiled: Compiled,
}

fn vpc_spec(vpc: &Vpc, dhcp_options: Arc<DhcpOptions>) -> VpcSpec {
    VpcSpec {
        profile: Arc::clone(&vpc.profile),
        cidrs: vpc.ranges(),
        dhcp_options,
    }
}

impl Binding {
    pub(crate) fn new(writer: FabricWriter, registry: Arc<Registry>) -> Self {
        Self {
            writer,
            registry,
            vpcs: Places::new(),
            subnets: Places::new(),
            interfaces: Places::new(),
            compiled: Compiled::default(),
        }
    }

    pub(crate) fn writer_mut(&mut self) -> &mut FabricWriter {
        &mut self.writer
    }

    pub(crate) fn writer(&self) -> &FabricWriter {
        &self.writer
    }

    pub(crate) fn add_vpc(&mut self, vpc: &Vpc, options: Arc<DhcpOptions>) {
        let index = self.writer.add_vpc(vpc_spec(vpc, options));
        self.vpcs.insert(vpc.id, index);
    }

    pub(crate) fn set_vpc(&mut self, vpc: &Vpc, options: Arc<DhcpOptions>) {
        if let Some(index) = self.vpcs.by_id.get(&vpc.id) {
            self.writer.set_vpc(*index, vpc_spec(vpc, options));
        }
    }

    pub(crate) fn remove_vpc(&mut self, id: VpcId) {
        if let Some(index) = self.vpcs.remove(id) {
            self.writer.remove_vpc(index);
        }
    }

    pub(crate) fn add_subnet(&mut self, subnet: &Subnet) {
        let Some(vpc) = self.vpcs.by_id.get(&subnet.vpc_id) else {
            return;
        };
        let index = self.writer.add_subnet(SubnetSpec {
            vpc: *vpc,
            ipv4: subnet.cidr_block,
            ipv6: subnet.ipv6_cidr_block,
            router_mac: subnet.router_mac,
        });
        self.subnets.insert(subnet.id, index);
        self.registry.name_subnet(subnet.id, None, subnet.name.as_deref());
    }

    pub(crate) fn rename_subnet(&self, id: SubnetId, old: Option<&str>, new: Option<&str>) {
        self.registry.name_subnet(id, old, new);
    }

    pub(crate) fn set_subnet_ipv6(&mut self, subnet: &Subnet) {
        if let Some(index) = self.subnet_index(subnet.id) {
            self.writer.set_subnet_ipv6(index, subnet.ipv6_cidr_block);
        }
    }

    pub(crate) fn remove_subnet(&mut self, subnet: &Subnet) {
        self.registry.name_subnet(subnet.id, subnet.name.as_deref(), None);
        if let Some(index) = self.subnets.remove(subnet.id) {
            self.writer.remove_subnet(index);
        }
    }

    pub(crate) fn add_interface(&mut self, interface: &InterfaceRecord) {
        let Some(subnet) = self.subnets.by_id.get(&interface.subnet_id) else {
            return;
        };
        let index = self.writer.add_interface(InterfaceSpec {
            subnet: *subnet,
            mac: interface.mac_address,
            source_dest_check: interface.source_dest_check,
        });
        self.interfaces.insert(interface.id, index);
        self.writer.set_mtu(index, interface.settings.mtu);
    }

    pub(crate) fn set_mtu(&mut self, id: InterfaceId, mtu: Option<u16>) {
        if let Some(index) = self.interfaces.by_id.get(&id) {
            self.writer.set_mtu(*index, mtu);
        }
    }

    /// Publishes the routes of a subnet's table to the subnet.
    pub(crate) fn publish_routes_of_subnet(&mut self, network: &Network, subnet: SubnetId) {
        if let Some(table) = network.table_of(subnet) {
            self.give_routes(network, table, [subnet]);
        }
    }

    fn give_routes(&mut self, network: &Network, table: RouteTableId, subnets: impl IntoIterator<Item = SubnetId>) {
        let routes = Arc::new(self.compiled_routes(network, table));
        for subnet in subnets {
            if let Some(index) = self.subnet_index(subnet) {
                self.writer.set_routes(index, Arc::clone(&routes));
            }
        }
    }

    /// The routes of a table, with places of the fabric.
    fn compiled_routes(&self, network: &Network, table: RouteTableId) -> datapath::RouteTable {
        let vpc = network.route_table(&table.into()).map(|table| table.vpc_id);
        let target = |target| match target {
            RouteTarget::InternetGateway(id) if vpc.as_ref().is_ok_and(|vpc| network.is_gateway_of(id, *vpc)) => {
                datapath::RouteTarget::Internet
            }
            RouteTarget::InternetGateway(_) => datapath::RouteTarget::Blackhole,
            RouteTarget::NatGateway(id) => network
                .nat_gateway(&id.into())
                .ok()
                .filter(|gateway| !gateway.state.is_over())
                .and_then(|gateway| self.interface_index(gateway.interface_id?))
                .map_or(datapath::RouteTarget::Blackhole, datapath::RouteTarget::NatGateway),
            RouteTarget::EgressOnly(id) if vpc.as_ref().is_ok_and(|vpc| network.egress_only_of(*vpc) == Some(id)) => {
                datapath::RouteTarget::EgressOnly
            }
            RouteTarget::EgressOnly(_) => datapath::RouteTarget::Blackhole,
            RouteTarget::Peering(id) => vpc
                .as_ref()
                .ok()
                .and_then(|vpc| network.active_peer(id, *vpc))
                .and_then(|peer| self.vpcs.by_id.get(&peer))
                .map_or(datapath::RouteTarget::Blackhole, |peer| {
                    datapath::RouteTarget::Peering(*peer)
                }),
            RouteTarget::Local => datapath::RouteTarget::Local,
            RouteTarget::Blackhole => datapath::RouteTarget::Blackhole,
            // A detached interface drops what is routed to it; a deleted one no longer has a place.
            RouteTarget::Interface(id) => self
                .interface_index(id)
                .filter(|_| network.place(id).is_some())
                .map_or(datapath::RouteTarget::Blackhole, datapath::RouteTarget::Interface),
        };
        // A route of the table's own to the same destination has priority (VPC guide, "Route priority").
        let to_endpoints = network.endpoints_of(table).map(|endpoint| {
            let service = endpoint.service;
            (IpNet::V4(service.block()), datapath::RouteTarget::Endpoint(service))
        });
        let routes = to_endpoints.chain(network.routes(table).map(|(net, to)| (net, target(to))));
        routes.collect()
    }

    /// Makes the outside known, when its first host comes.
    pub(crate) fn add_outside(&mut self, network: &Network) {
        if self.subnets.by_id.contains_key(&outside::SUBNET) {
            return;
        }
        let (vpc, subnet) = (
            network.vpc(&outside::VPC.into()),
            network.subnet(&outside::SUBNET.into()),
        );
        if let (Ok(vpc), Ok(subnet)) = (vpc, subnet) {
            self.add_vpc(vpc, Arc::default());
            self.add_subnet(subnet);
        }
        let indices = (
            self.vpcs.by_id.get(&outside::VPC),
            self.subnets.by_id.get(&outside::SUBNET),
        );
        if let (Some(vpc), Some(subnet)) = indices {
            self.writer.set_outside(*vpc, *subnet);
        }
        self.publish_edge(network);
    }

    /// Publishes the public addresses of all VPCs with an internet gateway.
    pub(crate) fn publish_edge(&mut self, network: &Network) {
        let mut edge = Edge::new(self.subnet_index(outside::SUBNET));
        for vpc in network.internet_gateways().filter_map(|gateway| gateway.vpc_id) {
            let ranges = network.vpc(&vpc.into()).map(|vpc| vpc.ipv6_cidr_blocks.clone());
            if let Some(index) = self.vpcs.by_id.get(&vpc) {
                edge.attach(*index, ranges.unwrap_or_default());
            }
        }
        for gateway in network.internet_gateways() {
            let place = gateway.vpc_id.and_then(|vpc| self.vpcs.by_id.get(&vpc));
            if let Some((index, table)) = place.zip(gateway.route_table_id) {
                edge.route_inbound(*index, Arc::new(self.compiled_routes(network, table)));
            }
        }
        for gateway in network.egress_only_gateways() {
            let ranges = network
                .vpc(&gateway.vpc_id.into())
                .map(|vpc| vpc.ipv6_cidr_blocks.clone());
            if let Some(index) = self.vpcs.by_id.get(&gateway.vpc_id) {
                edge.attach_egress_only(*index, ranges.unwrap_or_default());
            }
        }
        for endpoint in network.endpoints().filter(|endpoint| !endpoint.route_tables.is_empty()) {
            if let Some(index) = self.vpcs.by_id.get(&endpoint.vpc_id) {
                edge.attach_endpoint(*index);
            }
        }
        for address in network.elastic_ips() {
            let Some(association) = address.association else {
                continue;
            };
            let vpc = network.place(association.interface_id).map(|(_, _, vpc)| vpc);
            let vpc = vpc.filter(|vpc| network.gateway_of(*vpc).is_some());
            if let Some(index) = vpc.and_then(|vpc| self.vpcs.by_id.get(&vpc)) {
                edge.associate(address.public_ip, *index, association.private_ip);
            }
        }
        self.add_nats(network, &mut edge);
        if let Some(blocked) = network.block_public_access().and_then(|block| self.blocked(block)) {
            edge.block(blocked);
        }
        let before = self.writer.view().edge.clone();
        self.writer.set_edge(edge);
        self.cut_connections(&before);
    }

    /// What is blocked, with places of the fabric.
    fn blocked(&self, block: &BlockPublicAccess) -> Option<Blocked> {
        let mut blocked = match block.mode {
            BlockMode::Off => return None,
            BlockMode::BlockBidirectional => Blocked::default(),
            BlockMode::BlockIngress => Blocked {
                lets_out: true,
                ..Blocked::default()
            },
        };
        for exclusion in &block.exclusions {
            let everything = exclusion.mode == ExclusionMode::AllowBidirectional;
            match exclusion.of {
                Excluded::Vpc(vpc) => {
                    if let Some(index) = self.vpcs.by_id.get(&vpc) {
                        *blocked.vpcs.entry(*index).or_default() |= everything;
                    }
                }
                Excluded::Subnet(subnet) => {
                    if let Some(index) = self.subnet_index(subnet) {
                        *blocked.subnets.entry(index).or_default() |= everything;
                    }
                }
            }
        }
        Some(blocked)
    }

    fn add_nats(&self, network: &Network, edge: &mut Edge) {
        let available = network
            .nat_gateways()
            .filter(|gateway| gateway.state == NatState::Available);
        for gateway in available {
            let interface = gateway.interface_id.and_then(|id| self.interface_index(id));
            let Some((interface, subnet)) = interface.zip(self.subnet_index(gateway.subnet_id)) else {
                continue;
            };
            let addresses = gateway
                .addresses
                .iter()
                .map(|address| (address.private_ip, !address.drains));
            let public = gateway.connectivity == Connectivity::Public;
            edge.add_nat(NatGateway::new(interface, subnet, public, addresses.collect()));
        }
    }

    /// What a gateway or an address is gone from has no connections any more (firewall facts A13).
    fn cut_connections(&self, before: &Edge) {
        let fabric = self.writer.fabric();
        for vpc in before.egress_only() {
            if !self.writer.view().edge.has_egress_only(vpc) {
                fabric.bindings().cut_untranslated(vpc.0.get(), true);
            }
        }
        for vpc in before.endpoints() {
            if !self.writer.view().edge.endpoints().any(|other| other == vpc) {
                fabric.bindings().cut_untranslated(vpc.0.get(), false);
            }
        }
        for gateway in before.nats() {
            let now = self.writer.view().edge.nat(gateway.interface);
            for (address, _) in &gateway.addresses {
                let stays = now.is_some_and(|now| now.addresses.iter().any(|(other, _)| other == address));
                if !stays {
                    fabric.bindings().cut(gateway.interface, Some(IpAddr::V4(*address)));
                }
            }
            if now.is_none() {
                fabric.bindings().cut(gateway.interface, None);
            }
        }
    }

    /// Forgets an interface whose mappings were removed.
    pub(crate) fn remove_interface(&mut self, id: InterfaceId) {
        if let Some(index) = self.interfaces.remove(id) {
            self.writer.remove_interface(index);
        }
        self.release_policy(id);
    }

    pub(crate) fn set_source_dest_check(&mut self, id: InterfaceId, checked: bool) {
        if let Some(index) = self.interfaces.by_id.get(&id) {
            self.writer.set_source_dest_check(*index, checked);
        }
    }

    pub(crate) fn set_port(&mut self, id: InterfaceId, port: Option<PortId>) {
        if let Some(index) = self.interfaces.by_id.get(&id) {
            self.writer.set_port(*index, port);
        }
    }

    pub(crate) fn interface_index(&self, id: InterfaceId) -> Option<InterfaceIndex> {
        self.interfaces.by_id.get(&id).copied()
    }

    pub(crate) fn interface_id(&self, index: InterfaceIndex) -> Option<InterfaceId> {
        self.interfaces.by_place.get(&index).copied()
    }

    pub(crate) fn vpc_index(&self, id: VpcId) -> Option<VpcIndex> {
        self.vpcs.by_id.get(&id).copied()
    }

    pub(crate) fn vpc_id(&self, index: VpcIndex) -> Option<VpcId> {
        self.vpcs.by_place.get(&index).copied()
    }

    pub(crate) fn subnet_index(&self, id: SubnetId) -> Option<SubnetIndex> {
        self.subnets.by_id.get(&id).copied()
    }

    pub(crate) fn subnet_id(&self, index: SubnetIndex) -> Option<SubnetId> {
        self.subnets.by_place.get(&index).copied()
    }

    /// Writes changes of mappings into the tables. `network` is the network after them.
    pub(crate) fn apply(&mut self, network: &Network, changes: &[MappingChange]) {
        // A long list concerns few interfaces: each is looked up once.
        let mut parties = Parties::default();
        for id in changes.iter().flat_map(|change| [change.from(), change.to()]).flatten() {
            parties.entry(id).or_insert_with(|| self.party(network, id));
        }
        // New owners first, removals afterwards: an address that passes from a mapping of its own to a prefix, or back,
        // always has an owner.
        let registry = &Arc::clone(&self.registry);
        let enter_all = || changes.iter().for_each(|change| enter(registry, &parties, change));
        let mut map = || changes.iter().for_each(|change| self.map(&parties, change));
        // What a start reads is brought into both tables at the same time.
        std::thread::scope(|scope| {
            let started = (changes.len() >= LOADED).then(|| std::thread::Builder::new().spawn_scoped(scope, enter_all));
            map();
            if !matches!(started, Some(Ok(_))) {
                enter_all();
            }
        });
        for change in changes {
            if change.after.is_none() {
                self.vacate(network, change);
            }
        }
        for party in parties.into_values() {
            if let Some(index) = party.index {
                self.writer.set_primary(index, party.ipv4, party.ipv6);
                self.writer.set_delegated_prefix(index, party.delegated);
            }
        }
    }

    fn party(&self, network: &Network, id: InterfaceId) -> Party {
        let (ipv4, ipv6) = network.primaries(id);
        Party {
            index: self.interface_index(id),
            mac: network.place(id).map(|(mac, ..)| mac),
            ipv4,
            ipv6,
            delegated: network.delegated_prefix(id),
        }
    }

    fn map(&mut self, parties: &Parties, change: &MappingChange) {
        let owner = change.to().and_then(|owner| parties.get(&owner)?.index);
        if let (Some(subnet), Some(index)) = (self.subnet_index(change.subnet), owner) {
            self.writer.map(subnet, change.address.net(), Some(index));
        }
    }

    fn vacate(&mut self, network: &Network, change: &MappingChange) {
        self.registry.set(change.subnet, change.address, None);
        let Some(subnet) = self.subnet_index(change.subnet) else {
            return;
        };
        match change.address.net() {
            // The data path stores the addresses of a /28 one by one: those that another mapping covers by now stay.
            IpNet::V4(net) => {
                for address in net.network().to_bits()..=net.broadcast().to_bits() {
                    let host = Ipv4Net::from(Ipv4Addr::from_bits(address));
                    if network.owner(change.subnet, IpAddr::V4(host.addr())).is_none() {
                        self.writer.map(subnet, IpNet::V4(host), None);
                    }
                }
            }
            // It stores /80 prefixes apart from addresses, so nothing else is removed with either.
            net @ IpNet::V6(_) => self.writer.map(subnet, net, None),
        }
    }
}

/// The subnets that a route table is associated with, explicitly or as the main one.
pub(crate) fn subnets_of_table(network: &Network, table: RouteTableId) -> Vec<SubnetId> {
    let led = network.subnets().map(|subnet| subnet.id);
    led.filter(|subnet| network.table_of(*subnet) == Some(table)).collect()
}
