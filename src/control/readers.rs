//! Reads ports, instances and what was declared, each under one short lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::controller::{Controller, Tracking};
use super::error::ControlError;
use super::events::Subscription;
use super::ports::OpenPort;
use crate::datapath::Fabric;
use crate::mapping::InterfaceIndex;
use crate::mapping::registry::Registry;
use crate::model::dhcp_options::DhcpOptionSet;
use crate::model::mapping::{MappingFilter, MappingPage, PageCursor};
use crate::model::{
    AddressOrPrefix, DhcpOptionsId, Instance, InstanceId, InterfaceId, Mapping, MappingError, ModelError, Network,
    NetworkAcl, NetworkAclId, NetworkInterface, PrefixList, PrefixListId, ResourceRef, RouteTable, RouteTableId,
    SecurityGroup, SecurityGroupId, Subnet, SubnetId, Vpc, VpcId,
};
use crate::switch::PortStatus;

impl Controller {
    /// The port of an interface, while it has one.
    pub fn port_of(&self, interface: InterfaceId) -> Option<OpenPort> {
        self.read().ports.get(&interface).cloned()
    }

    /// The instance that an interface belongs to.
    pub fn instance_of(&self, interface: InterfaceId) -> Option<InstanceId> {
        self.read().network.instance_of(interface).map(|instance| instance.id)
    }

    /// The interfaces that are attached to an instance, by device index.
    pub fn attached(&self, instance: InstanceId) -> BTreeMap<u32, InterfaceId> {
        self.read().network.attached(instance).collect()
    }

    /// All instances, by identifier: those of the lab and those that attached devices stand for.
    pub fn instances(&self) -> Vec<Instance> {
        self.read().network.instances().cloned().collect()
    }

    /// One instance.
    pub fn instance(&self, reference: &ResourceRef<InstanceId>) -> Result<Instance, ControlError> {
        Ok(self.read().network.instance(reference)?.clone())
    }

    /// Events after number `after`, and those to come; without a number only those to come.
    pub fn events(&self, after: Option<u64>) -> Subscription {
        self.shared.events.subscribe(after)
    }

    /// The number of the last event.
    pub fn last_event(&self) -> u64 {
        self.shared.events.last()
    }

    /// What the workers of a switch read.
    pub fn fabric(&self) -> Arc<Fabric> {
        Arc::clone(&self.shared.fabric)
    }

    /// The mappings, readable without waiting for an edit.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Every port with its counters; none without a switch.
    pub fn ports(&self) -> Vec<PortStatus> {
        self.shared
            .ports
            .as_ref()
            .map_or_else(Vec::new, |ports| ports.reports())
    }

    /// What the instance of an interface has tracked; `None` where no security groups are enforced.
    pub fn tracking(&self, index: InterfaceIndex) -> Option<Tracking> {
        let fabric = self.fabric();
        let view = fabric.view_full();
        let subnet = view.subnet(crate::datapath::SubnetIndex::of(&view.interface(index)?))?;
        let firewall = &subnet.profile().firewall;
        let (allowance, connections) = (view.allowance(index), fabric.connections());
        firewall.enforced.then(|| Tracking {
            tracked: connections.used_by(allowance),
            limit: Some(firewall.tracking.allowance).filter(|limit| *limit > 0),
            exceeded: connections.exceeded_by(allowance),
        })
    }

    /// Connections that are tracked in all, and packets that were dropped because an allowance was used up.
    pub fn tracked(&self) -> (usize, u64) {
        let fabric = self.fabric();
        let connections = fabric.connections();
        (connections.len(), connections.exceeded())
    }

    /// The interface at a place of the fabric.
    pub fn interface_at(&self, index: InterfaceIndex) -> Option<InterfaceId> {
        self.read().binding.interface_id(index)
    }

    /// All VPCs, by identifier.
    pub fn vpcs(&self) -> Vec<Vpc> {
        self.read().network.vpcs().cloned().collect()
    }

    /// One VPC.
    pub fn vpc(&self, reference: &ResourceRef<VpcId>) -> Result<Vpc, ControlError> {
        Ok(self.read().network.vpc(reference)?.clone())
    }

    /// All subnets, by identifier.
    pub fn subnets(&self) -> Vec<Subnet> {
        self.read().network.subnets().cloned().collect()
    }

    /// One subnet.
    pub fn subnet(&self, reference: &ResourceRef<SubnetId>) -> Result<Subnet, ControlError> {
        Ok(self.read().network.subnet(reference)?.clone())
    }

    /// At most `limit` interfaces that match, by identifier, those after `after`.
    pub fn interfaces(
        &self,
        after: Option<InterfaceId>,
        limit: usize,
        matches: impl Fn(&NetworkInterface) -> bool,
    ) -> Vec<NetworkInterface> {
        self.read()
            .network
            .interfaces(after)
            .filter(matches)
            .take(limit)
            .collect()
    }

    /// One interface.
    pub fn interface(&self, reference: &ResourceRef<InterfaceId>) -> Result<NetworkInterface, ControlError> {
        Ok(self.read().network.interface(reference)?)
    }

    /// The mapping of exactly this address or prefix, or the one that contains the address. Does not wait for an edit.
    pub fn mapping(
        &self,
        reference: &ResourceRef<SubnetId>,
        address: AddressOrPrefix,
    ) -> Result<Mapping, ControlError> {
        let found = self.shared.registry.subnet(reference);
        if let Some(mapping) = found.and_then(|subnet| self.shared.registry.get(subnet, address)) {
            return Ok(mapping);
        }
        // It is worth the wait to say which of the two is missing.
        let subnet = self.read().network.subnet(reference)?.id;
        Err(ModelError::Mapping(MappingError::NoMapping { subnet, address }).into())
    }

    /// At most `limit` mappings that match the filter and stand after the cursor.
    pub fn mappings(
        &self,
        filter: &MappingFilter,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<MappingPage, ControlError> {
        Ok(self.read().network.mappings(filter, after, limit)?)
    }

    /// Route tables by identifier, those of one VPC or all.
    pub fn route_tables(&self, vpc: Option<&ResourceRef<VpcId>>) -> Result<Vec<RouteTable>, ControlError> {
        let state = self.read();
        let vpc = match vpc {
            Some(reference) => Some(state.network.vpc(reference)?.id),
            None => None,
        };
        let tables = state.network.route_tables();
        Ok(tables
            .filter(|table| vpc.is_none_or(|vpc| table.vpc_id == vpc))
            .collect())
    }

    /// One route table.
    pub fn route_table(&self, reference: &ResourceRef<RouteTableId>) -> Result<RouteTable, ControlError> {
        Ok(self.read().network.route_table(reference)?)
    }

    /// Security groups by identifier, those of one VPC or all.
    pub fn security_groups(&self, vpc: Option<&ResourceRef<VpcId>>) -> Result<Vec<SecurityGroup>, ControlError> {
        let state = self.read();
        let vpc = vpc.map(|vpc| state.network.vpc(vpc)).transpose()?.map(|vpc| vpc.id);
        let groups = state.network.security_groups();
        let groups = groups.filter(|group| vpc.is_none_or(|vpc| group.vpc_id == vpc));
        Ok(groups.cloned().collect())
    }

    /// One security group.
    pub fn security_group(&self, reference: &ResourceRef<SecurityGroupId>) -> Result<SecurityGroup, ControlError> {
        Ok(self.read().network.security_group(reference)?.clone())
    }

    /// Network ACLs by identifier, those of one VPC or all.
    pub fn network_acls(&self, vpc: Option<&ResourceRef<VpcId>>) -> Result<Vec<NetworkAcl>, ControlError> {
        let state = self.read();
        let vpc = vpc.map(|vpc| state.network.vpc(vpc)).transpose()?.map(|vpc| vpc.id);
        let acls = state.network.network_acls();
        Ok(acls
            .filter(|acl| vpc.is_none_or(|vpc| acl.record.vpc_id == vpc))
            .collect())
    }

    /// One network ACL.
    pub fn network_acl(&self, reference: &ResourceRef<NetworkAclId>) -> Result<NetworkAcl, ControlError> {
        Ok(self.read().network.network_acl(reference)?)
    }

    /// All prefix lists, by identifier.
    pub fn prefix_lists(&self) -> Vec<PrefixList> {
        self.read().network.prefix_lists().cloned().collect()
    }

    /// One prefix list.
    pub fn prefix_list(&self, reference: &ResourceRef<PrefixListId>) -> Result<PrefixList, ControlError> {
        Ok(self.read().network.prefix_list(reference)?.clone())
    }

    /// Reads the declared network under the lock; `what` must not wait.
    pub fn inspect<T>(&self, what: impl FnOnce(&Network) -> T) -> T {
        what(&self.read().network)
    }

    /// All DHCP option sets, by identifier.
    pub fn dhcp_option_sets(&self) -> Vec<DhcpOptionSet> {
        self.read().network.dhcp_option_sets().cloned().collect()
    }

    /// One DHCP option set.
    pub fn dhcp_option_set(&self, reference: &ResourceRef<DhcpOptionsId>) -> Result<DhcpOptionSet, ControlError> {
        Ok(self.read().network.dhcp_option_set(reference)?.clone())
    }
}
