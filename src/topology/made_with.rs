//! Collects what resources are made with and keep: the identifiers of a file, and the tags of its instances.
//!
//! A resource that runs already keeps its own, so this is no part of the difference between two layouts.

use std::collections::BTreeMap;

use super::apply::Work;
use super::backend::{Stage, StepError};
use super::filters::default_of;
use super::layout::{Interface, Kind, Label};
use crate::control::ControlError;
use crate::model::identified::Identified;
use crate::model::ids::ResourceId;
use crate::model::instance::CreateInstance;
use crate::model::metadata::MetadataChange;
use crate::model::naming::Tags;
use crate::model::{
    AllocationId, Command, DhcpOptionsId, EgressOnlyGatewayId, EndpointId, InterfaceId, InternetGatewayId,
    NatGatewayId, NetworkAclId, PeeringId, PrefixListId, RouteTableId, SecurityGroupId, SubnetId, VpcId,
};
use crate::topology::format::Topology;

/// What the resources of a file are made with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MadeWith {
    /// The bits of identifiers, in the order in which they are drawn.
    draws: BTreeMap<(Kind, Label), Vec<Option<u64>>>,
    /// Instances with an identifier or tags of their own, by the label of their primary interface.
    instances: BTreeMap<Label, Own>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Own {
    id: Option<u64>,
    tags: Tags,
}

/// The bits of an identifier that is given, or else of the label, if it is one.
fn bits<T: ResourceId>(label: &str, given: Option<T>) -> Option<u64> {
    given.or_else(|| label.parse().ok()).map(T::to_bits)
}

impl MadeWith {
    /// What a topology says.
    pub(super) fn of(topology: &Topology) -> Self {
        let mut made = Self::default();
        for (label, vpc) in &topology.vpcs {
            made.give(Kind::Vpc, label, of_vpc(topology, label, vpc.value.id));
        }
        macro_rules! give {
            ($($kind:ident $id:ty: $section:ident),*) => {$(
                for (label, one) in &topology.$section {
                    made.give(Kind::$kind, label, vec![bits::<$id>(label, one.value.id)]);
                }
            )*};
        }
        give!(
            DhcpOptions DhcpOptionsId: dhcp_options, Subnet SubnetId: subnets, PrefixList PrefixListId: prefix_lists,
            SecurityGroup SecurityGroupId: security_groups, NetworkAcl NetworkAclId: network_acls,
            RouteTable RouteTableId: route_tables, InternetGateway InternetGatewayId: internet_gateways,
            ElasticIp AllocationId: elastic_ips, EgressOnlyGateway EgressOnlyGatewayId: egress_only_gateways,
            Peering PeeringId: peering_connections, Endpoint EndpointId: vpc_endpoints
        );
        for (label, gateway) in &topology.nat_gateways {
            let own = bits::<NatGatewayId>(label, gateway.value.id);
            let interface = gateway.value.interface_id.map(ResourceId::to_bits);
            made.give(Kind::NatGateway, label, vec![own, interface]);
        }
        for (label, _, interface) in topology.network_interfaces() {
            made.give(Kind::Interface, label, vec![bits::<InterfaceId>(label, interface.id)]);
        }
        for (label, instance) in &topology.instances {
            let fields = &instance.value;
            let own = Own {
                id: fields.id.map(ResourceId::to_bits),
                tags: fields.instance_tags.clone(),
            };
            let interface = fields.interface.as_ref().map_or(label, |interface| &interface.value);
            if own != Own::default() {
                made.instances.insert(interface.clone(), own);
            }
        }
        made
    }

    fn give(&mut self, kind: Kind, label: &str, draws: Vec<Option<u64>>) {
        if draws.iter().any(Option::is_some) {
            self.draws.insert((kind, label.to_owned()), draws);
        }
    }
}

/// A VPC is made with a main route table, a network ACL and a security group, in this order.
fn of_vpc(topology: &Topology, label: &str, id: Option<VpcId>) -> Vec<Option<u64>> {
    let mut tables = topology.route_tables.iter();
    let table = tables.find(|(_, table)| table.value.main && table.value.vpc.value == label);
    let default = default_of(label);
    vec![
        bits(label, id),
        table.and_then(|(label, table)| bits::<RouteTableId>(label, table.value.id)),
        topology
            .network_acls
            .get(&default)
            .and_then(|acl| bits("", acl.value.id)),
        topology
            .security_groups
            .get(&default)
            .and_then(|group| bits("", group.value.id)),
    ]
}

impl<S: Stage> Work<'_, S> {
    /// Makes a resource, with the identifiers that the file gives.
    pub(super) fn make<C: Command>(&mut self, kind: Kind, label: &str, command: C) -> Result<C::Outcome, StepError>
    where
        ControlError: From<C::Error>,
    {
        match self.made_with.draws.get(&(kind, label.to_owned())) {
            Some(draws) => self.stage.execute(Identified {
                draws: draws.clone(),
                command,
            }),
            None => self.stage.execute(command),
        }
    }

    /// Makes the instance of a primary interface, where the file says what it is made with; otherwise it comes with the first
    /// need of one.
    pub(super) fn make_instance(&mut self, label: &str, interface: &Interface) -> Result<(), StepError> {
        let Some(own) = self.made_with.instances.get(label) else {
            return Ok(());
        };
        let command = CreateInstance {
            name: None,
            primary_interface: self.interface(label),
            metadata: MetadataChange::to(&interface.metadata),
            tags: own.tags.clone(),
        };
        let draws = vec![own.id];
        self.stage.execute(Identified { draws, command })?;
        Ok(())
    }

    /// Whether [`make_instance`](Self::make_instance) makes an instance, and gives it its metadata.
    pub(super) fn makes_instance(&self, label: &str) -> bool {
        self.made_with.instances.contains_key(label)
    }
}
