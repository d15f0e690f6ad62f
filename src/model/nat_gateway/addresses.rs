//! Gives addresses to NAT gateways and takes them away. A public gateway has a private address for each Elastic IP address.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    AddNatAddresses, Connectivity, DrainNatAddresses, NatAddress, NatGateway, NatGatewayError, NatState,
    RemoveNatAddresses,
};
use crate::model::MappingError;
use crate::model::change::Change;
use crate::model::command::{Command, Edit};
use crate::model::elastic_ip::{AddressAssociation, ElasticIp};
use crate::model::error::ModelError;
use crate::model::ids::{AllocationId, InterfaceId, NatGatewayId, ResourceRef, SubnetId};
use crate::model::interface::{AddressRequest, InterfaceRecord, InterfaceSettings};
use crate::model::mapping::{MappingChange, Owner};
use crate::model::naming::Tags;
use crate::model::network::fresh_id;

/// Addresses of a gateway at the most (firewall facts A4).
pub(super) const MOST: usize = 8;

impl Command for AddNatAddresses {
    type Outcome = NatGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NatGateway, ModelError> {
        let gateway = edit.available_nat(&self.gateway)?;
        match gateway.connectivity {
            Connectivity::Public if self.allocations.is_empty() => return Err(NatGatewayError::NeedsAllocation.into()),
            Connectivity::Public if self.private_ips.len() > self.allocations.len() => {
                return Err(NatGatewayError::MorePrivate.into());
            }
            Connectivity::Private if !self.allocations.is_empty() => {
                return Err(NatGatewayError::TakesNoAllocation.into());
            }
            _ => {}
        }
        for allocation in &self.allocations {
            let address = edit.elastic_ip(allocation)?;
            if address.association.is_some() {
                return Err(NatGatewayError::AllocationInUse { allocation: address.id }.into());
            }
        }
        edit.add_addresses(gateway.id, &self.allocations, &self.private_ips, self.further, false)
    }
}

impl Command for DrainNatAddresses {
    type Outcome = NatGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NatGateway, ModelError> {
        let before = edit.available_nat(&self.gateway)?;
        let mut after = before.clone();
        for private_ip in &self.private_ips {
            secondary(&before, *private_ip)?;
            for address in after.addresses.iter_mut().filter(|own| own.private_ip == *private_ip) {
                address.drains = true;
            }
        }
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for RemoveNatAddresses {
    type Outcome = NatGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NatGateway, ModelError> {
        let before = edit.nat_gateway(&self.gateway)?.clone();
        let Some(interface) = before.interface_id else {
            return Ok(before);
        };
        let gone: Vec<Ipv4Addr> = self
            .private_ips
            .into_iter()
            .filter(|ip| before.address(*ip).is_some())
            .collect();
        for private_ip in &gone {
            secondary(&before, *private_ip)?;
        }
        let mut after = before.clone();
        after.addresses.retain(|address| !gone.contains(&address.private_ip));
        edit.replace(before, after.clone());
        edit.free(
            interface,
            |address| matches!(address, IpAddr::V4(address) if gone.contains(&address)),
        );
        Ok(after)
    }
}

/// An address that is the gateway's and not its primary one.
fn secondary(gateway: &NatGateway, address: Ipv4Addr) -> Result<(), NatGatewayError> {
    let gateway_id = gateway.id;
    if gateway.address(address).is_none() {
        return Err(NatGatewayError::NotItsAddress {
            gateway: gateway_id,
            address,
        });
    }
    if gateway
        .addresses
        .first()
        .is_some_and(|first| first.private_ip == address)
    {
        return Err(NatGatewayError::PrimaryAddress {
            gateway: gateway_id,
            address,
        });
    }
    Ok(())
}

impl Edit<'_> {
    fn available_nat(&self, reference: &ResourceRef<NatGatewayId>) -> Result<NatGateway, ModelError> {
        let gateway = self.nat_gateway(reference)?.clone();
        match gateway.state {
            NatState::Available => Ok(gateway),
            state => Err(NatGatewayError::State {
                gateway: gateway.id,
                state: state.name(),
            }
            .into()),
        }
    }

    /// Makes an interface that a gateway manages, without groups.
    pub(super) fn create_managed(
        &mut self,
        subnet_id: SubnetId,
        gateway: NatGatewayId,
        description: String,
        primary: Option<Ipv4Addr>,
    ) -> Result<InterfaceId, ModelError> {
        let subnet = self.subnet(&subnet_id.into())?;
        let vpc_id = subnet.vpc_id;
        if subnet.cidr_block.is_none() {
            return Err(ModelError::Mapping(MappingError::NoFamily {
                subnet: subnet_id,
                family: "IPv4",
            }));
        }
        let id = fresh_id(self.rng, |id| self.network.interfaces.contains_key(&id));
        let mac_address = self.network.vpcs[&vpc_id].choose_mac(None, "mac_address", self.rng)?;
        self.create(InterfaceRecord {
            id,
            name: None,
            vpc_id,
            subnet_id,
            mac_address,
            source_dest_check: false,
            groups: Vec::new(),
            description,
            attachment: None,
            settings: InterfaceSettings::default(),
            managed_by: Some(gateway),
            tags: Tags::new(),
        });
        self.assign(id, &[exactly(primary)], false).map_err(in_use)?;
        Ok(id)
    }

    /// Assigns addresses to the interface of a gateway, and associates Elastic IP addresses with them. The first private
    /// address is there already where the gateway is `new`.
    pub(super) fn add_addresses(
        &mut self,
        id: NatGatewayId,
        allocations: &[ResourceRef<AllocationId>],
        private_ips: &[Ipv4Addr],
        further: usize,
        new: bool,
    ) -> Result<NatGateway, ModelError> {
        let before = self.nat_gateway(&id.into())?.clone();
        let Some(interface) = before.interface_id else {
            return Ok(before);
        };
        let there = usize::from(new);
        let mut wanted: Vec<AddressRequest> = private_ips.iter().map(|ip| exactly(Some(*ip))).collect();
        let count = private_ips.len().max(allocations.len().saturating_sub(there)) + further;
        wanted.resize(count, AddressRequest::AnyIpv4);
        if before.addresses.len() + there + wanted.len() > MOST {
            return Err(NatGatewayError::TooManyAddresses.into());
        }
        let had = self.state(interface).ipv4.len() - there;
        self.assign(interface, &wanted, false).map_err(in_use)?;
        let private: Vec<Ipv4Addr> = self.state(interface).ipv4.values().skip(had).copied().collect();
        let mut after = before.clone();
        for (at, private_ip) in private.into_iter().enumerate() {
            let allocation = match allocations.get(at) {
                Some(allocation) => Some(self.associate_managed(allocation, interface, private_ip)?),
                None => None,
            };
            after.addresses.push(NatAddress {
                allocation,
                private_ip,
                drains: false,
            });
        }
        self.replace(before, after.clone());
        Ok(after)
    }

    fn associate_managed(
        &mut self,
        allocation: &ResourceRef<AllocationId>,
        interface_id: InterfaceId,
        private_ip: Ipv4Addr,
    ) -> Result<(AllocationId, crate::model::ids::AddressAssociationId, Ipv4Addr), ModelError> {
        let before = self.elastic_ip(allocation)?.clone();
        if before.association.is_some() {
            return Err(NatGatewayError::AllocationInUse { allocation: before.id }.into());
        }
        let association = AddressAssociation {
            id: self.fresh_association(),
            interface_id,
            private_ip,
        };
        let after = ElasticIp {
            association: Some(association),
            ..before.clone()
        };
        let made = (before.id, association.id, before.public_ip);
        self.replace(before, after);
        Ok(made)
    }

    /// Takes addresses away from an interface; Elastic IP addresses stay allocated.
    fn free(&mut self, interface: InterfaceId, which: impl Fn(IpAddr) -> bool) {
        let state = self.state(interface);
        let subnet = state.record.subnet_id;
        let freed = state
            .owned()
            .filter(|(_, address)| address.address().is_some_and(&which));
        let freed: Vec<MappingChange> = freed
            .map(|(sequence, address)| MappingChange {
                subnet,
                address,
                before: Some(Owner { interface, sequence }),
                after: None,
            })
            .collect();
        self.associations_follow(&freed);
        self.make(Change::Mappings(freed));
    }

    /// Deletes the interface of a gateway with its addresses.
    pub(super) fn remove_interface_of_gateway(&mut self, interface: InterfaceId) {
        self.free(interface, |_| true);
        let record = self.state(interface).record.clone();
        self.delete(record);
    }
}

fn exactly(address: Option<Ipv4Addr>) -> AddressRequest {
    address.map_or(AddressRequest::AnyIpv4, |address| {
        AddressRequest::Exactly(IpAddr::V4(address).into())
    })
}

/// An address of a new interface that another has is in use.
fn in_use(error: ModelError) -> ModelError {
    match error {
        ModelError::Mapping(MappingError::MoveNotAllowed { address, owner }) => {
            ModelError::Mapping(MappingError::AddressInUse { address, owner })
        }
        other => other,
    }
}
