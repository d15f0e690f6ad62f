//! Holds everything that is declared, and the invariants between its parts. A command either keeps all of them or
//! changes nothing.

#[cfg(test)]
mod mapping_tests;
#[cfg(test)]
mod mtu_tests;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod words_tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use rand::Rng;

use super::block_public_access::BlockPublicAccess;
use super::change::{Change, Effect, Entry};
use super::command::{Command, Edit};
use super::dhcp_options::DhcpOptionSet;
use super::egress_only::EgressOnlyGateway;
use super::elastic_ip::ElasticIp;
use super::endpoint::{Endpoint, GatewayService};
use super::error::ModelError;
use super::flow_log::FlowLog;
use super::ids::{
    AllocationId, BlockPublicAccessId, DhcpOptionsId, EgressOnlyGatewayId, EndpointId, FlowLogId, InstanceId,
    InterfaceId, InternetGatewayId, KeyPairId, LaunchTemplateId, NatGatewayId, NetworkAclAssociationId, NetworkAclId,
    PeeringId, PrefixListId, ResourceId, ResourceRef, RouteTableId, SecurityGroupId, SecurityGroupRuleId, SubnetId,
    VpcId,
};
use super::instance::Instance;
use super::interface::{InterfaceState, NetworkInterface, TrackingTimeouts};
use super::internet_gateway::InternetGateway;
use super::key_pair::KeyPair;
use super::launch_template::LaunchTemplate;
use super::limits::Limits;
use super::mapping::MappingTable;
use super::naming::Names;
use super::nat_gateway::NatGateway;
use super::network_acl::NetworkAclRecord;
use super::outside;
use super::peering::Peering;
use super::prefix_list::PrefixList;
use super::region::DEFAULT_REGION;
use super::route_table::RouteTableRecord;
use super::security_group::SecurityGroup;
use super::subnet::Subnet;
use super::vpc::Vpc;
use crate::model::InterfaceError;
use crate::wire::MacAddr;

pub(super) type Hashed<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The declared network: all VPCs of one server, or of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    pub(super) limits: Limits,
    pub(super) region: String,
    pub(super) vpcs: BTreeMap<VpcId, VpcState>,
    pub(super) subnets: BTreeMap<SubnetId, SubnetState>,
    pub(super) interfaces: Hashed<InterfaceId, InterfaceState>,
    pub(super) interface_order: BTreeMap<InterfaceId, ()>,
    /// The interfaces attached to an instance, by device index.
    pub(super) attachments: BTreeMap<(InstanceId, u32), InterfaceId>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    /// Instances by their primary interfaces.
    pub(super) primaries: Hashed<InterfaceId, InstanceId>,
    pub(super) route_tables: BTreeMap<RouteTableId, RouteTableRecord>,
    pub(super) dhcp_options: BTreeMap<DhcpOptionsId, DhcpOptionSet>,
    pub(super) security_groups: BTreeMap<SecurityGroupId, SecurityGroup>,
    /// Security groups by their names in their VPCs.
    pub(super) group_names: BTreeMap<(VpcId, String), SecurityGroupId>,
    /// The group of each rule.
    pub(super) group_rules: Hashed<SecurityGroupRuleId, SecurityGroupId>,
    /// The interfaces that have a group.
    pub(super) group_members: Hashed<SecurityGroupId, BTreeSet<InterfaceId>>,
    pub(super) network_acls: BTreeMap<NetworkAclId, NetworkAclRecord>,
    /// The subnet of each association with a network ACL.
    pub(super) acl_associations: BTreeMap<NetworkAclAssociationId, SubnetId>,
    pub(super) prefix_lists: BTreeMap<PrefixListId, PrefixList>,
    pub(super) internet_gateways: BTreeMap<InternetGatewayId, InternetGateway>,
    pub(super) elastic_ips: BTreeMap<AllocationId, ElasticIp>,
    pub(super) nat_gateways: BTreeMap<NatGatewayId, NatGateway>,
    pub(super) egress_only: BTreeMap<EgressOnlyGatewayId, EgressOnlyGateway>,
    pub(super) peerings: BTreeMap<PeeringId, Peering>,
    pub(super) endpoints: BTreeMap<EndpointId, Endpoint>,
    pub(super) block_public_access: Option<BlockPublicAccess>,
    pub(super) key_pairs: BTreeMap<KeyPairId, KeyPair>,
    pub(super) launch_templates: BTreeMap<LaunchTemplateId, LaunchTemplate>,
    /// Which public address a private address of an interface has.
    pub(super) public_addresses: BTreeMap<(InterfaceId, std::net::Ipv4Addr), AllocationId>,
    pub(super) flow_logs: BTreeMap<FlowLogId, FlowLog>,
    pub(super) vpc_names: Names<VpcId>,
    pub(super) subnet_names: Names<SubnetId>,
    pub(super) interface_names: Names<InterfaceId>,
    pub(super) instance_names: Names<InstanceId>,
    pub(super) route_table_names: Names<RouteTableId>,
    pub(super) dhcp_options_names: Names<DhcpOptionsId>,
    pub(super) security_group_names: Names<SecurityGroupId>,
    pub(super) network_acl_names: Names<NetworkAclId>,
    pub(super) prefix_list_names: Names<PrefixListId>,
    pub(super) internet_gateway_names: Names<InternetGatewayId>,
    pub(super) elastic_ip_names: Names<AllocationId>,
    pub(super) flow_log_names: Names<FlowLogId>,
    pub(super) nat_gateway_names: Names<NatGatewayId>,
    pub(super) egress_only_names: Names<EgressOnlyGatewayId>,
    pub(super) peering_names: Names<PeeringId>,
    pub(super) endpoint_names: Names<EndpointId>,
    /// Always empty: it has no name.
    pub(super) block_public_access_names: Names<BlockPublicAccessId>,
    /// Always empty: a key pair has a name of its own kind.
    pub(super) no_key_pair_names: Names<KeyPairId>,
    /// Always empty, for the same reason.
    pub(super) no_launch_template_names: Names<LaunchTemplateId>,
    /// Numbers assignments, so that an interface's addresses keep their order.
    pub(super) next_sequence: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct VpcState {
    pub(super) vpc: Vpc,
    /// Owners of MACs: interfaces, and the routers of the subnets (`None`).
    pub(super) macs: Hashed<MacAddr, Option<InterfaceId>>,
    /// The blocks of its subnets, by their first address. They do not overlap.
    pub(super) blocks: BTreeMap<IpAddr, (IpNet, SubnetId)>,
    pub(super) subnets: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SubnetState {
    pub(super) subnet: Subnet,
    pub(super) mappings: MappingTable,
    pub(super) interfaces: usize,
    /// The table that it is associated with; the VPC's main one if none.
    pub(super) route_table: Option<RouteTableId>,
    /// Its network ACL, and the association with it. Each subnet that is not being made or deleted has one.
    pub(super) network_acl: Option<(NetworkAclAssociationId, NetworkAclId)>,
}

impl SubnetState {
    /// The block of the family of `net` that the subnet has.
    pub(super) fn block(&self, ipv6: bool) -> Option<IpNet> {
        if ipv6 {
            self.subnet.ipv6_cidr_block.map(IpNet::V6)
        } else {
            self.subnet.cidr_block.map(IpNet::V4)
        }
    }
}

impl Network {
    /// An empty network with these limits, in the default region.
    pub fn new(limits: Limits) -> Self {
        Self::in_region(limits, DEFAULT_REGION)
    }

    /// An empty network with these limits. The region gives the names of zones and hosts.
    pub fn in_region(limits: Limits, region: &str) -> Self {
        let set = super::dhcp_options::default_set(region);
        let (vpc, subnet) = (outside::vpc(), outside::subnet());
        let lists = GatewayService::ALL.map(|service| service.managed_list(region));
        let mut prefix_list_names = Names::default();
        for list in &lists {
            prefix_list_names.rename(list.id, None, list.name.as_deref());
        }
        Self {
            limits,
            region: region.to_owned(),
            vpcs: BTreeMap::from([(vpc.vpc.id, vpc)]),
            subnets: BTreeMap::from([(subnet.subnet.id, subnet)]),
            interfaces: Hashed::default(),
            interface_order: BTreeMap::new(),
            attachments: BTreeMap::new(),
            instances: BTreeMap::new(),
            primaries: Hashed::default(),
            route_tables: BTreeMap::new(),
            dhcp_options: BTreeMap::from([(set.id, set)]),
            security_groups: BTreeMap::new(),
            group_names: BTreeMap::new(),
            group_rules: Hashed::default(),
            group_members: Hashed::default(),
            network_acls: BTreeMap::new(),
            acl_associations: BTreeMap::new(),
            prefix_lists: lists.iter().map(|list| (list.id, list.clone())).collect(),
            internet_gateways: BTreeMap::new(),
            elastic_ips: BTreeMap::new(),
            nat_gateways: BTreeMap::new(),
            egress_only: BTreeMap::new(),
            peerings: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            block_public_access: None,
            key_pairs: BTreeMap::new(),
            launch_templates: BTreeMap::new(),
            public_addresses: BTreeMap::new(),
            flow_logs: BTreeMap::new(),
            vpc_names: Names::default(),
            subnet_names: Names::default(),
            interface_names: Names::default(),
            instance_names: Names::default(),
            route_table_names: Names::default(),
            dhcp_options_names: Names::default(),
            security_group_names: Names::default(),
            network_acl_names: Names::default(),
            prefix_list_names,
            internet_gateway_names: Names::default(),
            elastic_ip_names: Names::default(),
            flow_log_names: Names::default(),
            nat_gateway_names: Names::default(),
            egress_only_names: Names::default(),
            peering_names: Names::default(),
            endpoint_names: Names::default(),
            block_public_access_names: Names::default(),
            no_key_pair_names: Names::default(),
            no_launch_template_names: Names::default(),
            next_sequence: 0,
        }
    }

    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Executes a command: checks it and edits in place, all of it or nothing. Returns the outcome and the changes in
    /// order. Identifiers, MAC addresses and free addresses are drawn from `rng`.
    pub fn execute<C: Command>(
        &mut self,
        command: C,
        rng: &mut dyn Rng,
    ) -> Result<(C::Outcome, Vec<Change>), C::Error> {
        let sequence = self.next_sequence;
        let mut edit = Edit {
            network: self,
            rng,
            changes: Vec::new(),
        };
        match command.run(&mut edit) {
            Ok(outcome) => Ok((outcome, edit.changes)),
            Err(error) => {
                let changes = edit.changes;
                self.revert(&changes);
                self.next_sequence = sequence;
                Err(error)
            }
        }
    }

    /// Applies a change that another network with the same history has made. It is not checked again.
    pub fn apply(&mut self, change: &Change) {
        Effect::apply(change, self);
    }

    /// Reverts the latest changes.
    pub fn revert(&mut self, changes: &[Change]) {
        for change in changes.iter().rev() {
            Effect::revert(change, self);
        }
    }

    /// The changes that make this network from an empty one of its region, each kind after those that it rests on.
    pub fn creating(&self) -> Vec<Change> {
        <Change as Effect>::creating(self)
    }

    /// What a store keeps of the resources that changes touched; the network is as it is after them. Mappings are left out:
    /// their changes say it all.
    pub fn entries(&self, changes: &[Change]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for change in changes {
            Effect::entries(change, self, &mut entries);
        }
        entries
    }

    /// The number that the next assignment gets.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Has the next assignment numbered from here, if it would not be anyway.
    pub fn skip_sequences(&mut self, next: u64) {
        self.next_sequence = self.next_sequence.max(next);
    }

    /// Number of free IPv4 addresses of a subnet: all but the five that AWS reserves, and those in use.
    pub fn free_ipv4(&self, subnet: SubnetId) -> u64 {
        let Some(state) = self.subnets.get(&subnet) else {
            return 0;
        };
        let Some(block) = state.subnet.cidr_block else { return 0 };
        let all = 1u64 << (32 - block.prefix_len());
        all.saturating_sub(5).saturating_sub(state.mappings.ipv4_in_use())
    }

    /// Number of mappings.
    pub fn mapping_count(&self) -> usize {
        self.subnets.values().map(|subnet| subnet.mappings.len()).sum()
    }

    /// The VPC behind a reference.
    pub fn vpc(&self, reference: &ResourceRef<VpcId>) -> Result<&Vpc, ModelError> {
        let id = self.vpc_names.resolve(reference)?;
        self.vpcs
            .get(&id)
            .map(|state| &state.vpc)
            .ok_or_else(|| not_found(reference))
    }

    /// The subnet behind a reference.
    pub fn subnet(&self, reference: &ResourceRef<SubnetId>) -> Result<&Subnet, ModelError> {
        let id = self.subnet_names.resolve(reference)?;
        self.subnets
            .get(&id)
            .map(|state| &state.subnet)
            .ok_or_else(|| not_found(reference))
    }

    /// The identifier behind a reference to an interface that exists.
    pub fn interface_id(&self, reference: &ResourceRef<InterfaceId>) -> Result<InterfaceId, ModelError> {
        let id = self.interface_names.resolve(reference)?;
        if self.interfaces.contains_key(&id) {
            Ok(id)
        } else {
            Err(not_found(reference))
        }
    }

    /// All VPCs, by identifier.
    pub fn vpcs(&self) -> impl Iterator<Item = &Vpc> {
        let vpcs = self.vpcs.values().map(|state| &state.vpc);
        vpcs.filter(|vpc| vpc.id != outside::VPC)
    }

    /// All subnets of VPCs, by identifier.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        let subnets = self.subnets.values().map(|state| &state.subnet);
        subnets.filter(|subnet| subnet.id != outside::SUBNET)
    }

    /// The interface behind a reference, with all its addresses.
    pub fn interface(&self, reference: &ResourceRef<InterfaceId>) -> Result<NetworkInterface, ModelError> {
        Ok(self.view(self.interface_id(reference)?))
    }

    /// Interfaces of VPCs by identifier, those after `after`.
    pub fn interfaces(&self, after: Option<InterfaceId>) -> impl Iterator<Item = NetworkInterface> + '_ {
        let start = match after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        self.interface_order
            .range((start, std::ops::Bound::Unbounded))
            .filter(|(id, ())| self.state(**id).record.vpc_id != outside::VPC)
            .map(|(id, ())| self.view(*id))
    }

    /// The first IPv4 and the first IPv6 address of an interface.
    pub fn primaries(&self, id: InterfaceId) -> (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>) {
        self.interfaces.get(&id).map_or((None, None), InterfaceState::primaries)
    }

    /// The delegated IPv6 prefix of an interface that was assigned first, which DHCPv6 leases.
    pub fn delegated_prefix(&self, id: InterfaceId) -> Option<ipnet::Ipv6Net> {
        self.interfaces.get(&id)?.delegated_prefix()
    }

    /// The MAC, subnet and VPC of an interface.
    pub fn place(&self, id: InterfaceId) -> Option<(MacAddr, SubnetId, VpcId)> {
        self.interfaces
            .get(&id)
            .map(|InterfaceState { record, .. }| (record.mac_address, record.subnet_id, record.vpc_id))
    }

    /// How long idle connections of an interface are tracked, where it says so itself.
    pub fn tracking_of(&self, id: InterfaceId) -> Option<TrackingTimeouts> {
        self.interfaces.get(&id)?.record.settings.tracking
    }

    /// The interfaces of a VPC that say themselves how long idle connections are tracked.
    pub fn with_tracking(&self, vpc: VpcId) -> impl Iterator<Item = InterfaceId> + '_ {
        let all = self.interfaces.iter();
        all.filter(move |(_, state)| state.record.vpc_id == vpc && state.record.settings.tracking.is_some())
            .map(|(id, _)| *id)
    }

    /// The owner of an address of a subnet, by itself or in a delegated prefix.
    pub fn owner(&self, subnet: SubnetId, address: std::net::IpAddr) -> Option<InterfaceId> {
        self.subnets
            .get(&subnet)?
            .mappings
            .covering(address)
            .map(|(_, owner)| owner.interface)
    }

    /// The interface that has a MAC in a VPC.
    pub fn interface_by_mac(&self, vpc: VpcId, mac: MacAddr) -> Option<InterfaceId> {
        *self.vpcs.get(&vpc)?.macs.get(&mac)?
    }

    /// The declared form of an interface that is known to exist.
    pub(super) fn view(&self, id: InterfaceId) -> NetworkInterface {
        let mut view = self.state(id).view(self.own_instance(id));
        view.public_addresses = self.elastic_ips_of(id).cloned().collect();
        view
    }

    /// An interface that is known to exist.
    pub(super) fn state(&self, id: InterfaceId) -> &InterfaceState {
        &self.interfaces[&id]
    }
}

pub(super) fn not_found<T: ResourceId>(reference: &ResourceRef<T>) -> ModelError {
    ModelError::not_found::<T>(&reference.to_string())
}

/// An unused identifier.
pub(super) fn fresh_id<T: ResourceId>(rng: &mut dyn Rng, taken: impl Fn(T) -> bool) -> T {
    loop {
        let id = T::from_bits(rng.next_u64());
        if !taken(id) {
            return id;
        }
    }
}

/// First octets of MAC addresses seen on EC2. All are locally administered unicast.
const EC2_FIRST_OCTETS: [u8; 5] = [0x02, 0x06, 0x0a, 0x0e, 0x12];

impl VpcState {
    /// Takes the requested MAC or chooses one; unique within the VPC.
    pub(super) fn choose_mac(
        &self,
        wanted: Option<MacAddr>,
        field: &'static str,
        rng: &mut dyn Rng,
    ) -> Result<MacAddr, ModelError> {
        if let Some(mac) = wanted {
            let reason = if mac == MacAddr::ZERO {
                Some("all zero")
            } else if mac.is_multicast() {
                Some("a group address")
            } else {
                None
            };
            if let Some(reason) = reason {
                return Err(ModelError::Interface(InterfaceError::BadMac { mac, reason, field }));
            }
            if self.macs.contains_key(&mac) {
                return Err(ModelError::Interface(InterfaceError::MacTaken { mac, field }));
            }
            return Ok(mac);
        }
        loop {
            let [first, rest @ ..] = rng.next_u64().to_be_bytes();
            let octet = EC2_FIRST_OCTETS[usize::from(first) % EC2_FIRST_OCTETS.len()];
            let mac = MacAddr([octet, rest[0], rest[1], rest[2], rest[3], rest[4]]);
            if !self.macs.contains_key(&mac) {
                return Ok(mac);
            }
        }
    }
}
