//! Makes and deletes NAT gateways, and brings them from one state into the next.

use std::net::Ipv4Addr;

use super::{
    Connectivity, CreateNatGateway, DeleteNatGateway, Deletion, FinishNatGateway, ModifyNatGateway, NatAddress,
    NatFailure, NatGateway, NatGatewayError, NatState,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, NatGatewayId, ResourceRef, SubnetId, VpcId};
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};

impl Record for NatGateway {
    type Id = NatGatewayId;

    fn id(&self) -> NatGatewayId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for NatGateway {
    fn names(network: &mut Network) -> &mut Names<NatGatewayId> {
        &mut network.nat_gateway_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.nat_gateways.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.nat_gateways.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.nat_gateways.values().cloned().collect()
    }
}

impl Command for CreateNatGateway {
    type Outcome = NatGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NatGateway, ModelError> {
        let subnet = edit.subnet(&self.subnet)?.clone();
        if let Some(token) = &self.client_token
            && let Some(made) = edit
                .nat_gateways()
                .find(|other| other.client_token.as_ref() == Some(token))
        {
            return Ok(made.clone());
        }
        edit.check_room_in(&subnet.availability_zone)?;
        edit.nat_gateway_names.check(self.name.as_deref(), None)?;
        self.check_addresses()?;
        let gateway = NatGateway {
            id: fresh_id(edit.rng, |id| edit.network.nat_gateways.contains_key(&id)),
            name: self.name.clone(),
            vpc_id: subnet.vpc_id,
            subnet_id: subnet.id,
            connectivity: self.connectivity,
            state: if self.pending {
                NatState::Pending
            } else {
                NatState::Available
            },
            failure: None,
            interface_id: None,
            addresses: Vec::new(),
            created_at: self.at,
            deleted_at: None,
            client_token: self.client_token.clone(),
            tags: self.tags.clone(),
        };
        // An address that is named must be free, whatever comes of the gateway.
        let failure = edit.why_not(&gateway, &self)?;
        if let Some(failure) = failure {
            if !self.may_fail {
                return Err(failure.into());
            }
            let failed = NatGateway {
                state: NatState::Failed,
                failure: Some(NatFailure {
                    code: failure.code().to_owned(),
                    message: failure.to_string(),
                }),
                ..gateway
            };
            edit.create(failed.clone());
            return Ok(failed);
        }
        edit.create(gateway.clone());
        let id = gateway.id;
        let interface = edit.make_managed_interface(&gateway, self.private_ips.first().copied())?;
        let with_interface = NatGateway {
            interface_id: Some(interface),
            ..gateway.clone()
        };
        edit.replace(gateway, with_interface);
        let further = self.private_ips.get(1..).unwrap_or_default();
        edit.add_addresses(id, &self.allocations, further, self.further, true)
    }
}

impl CreateNatGateway {
    fn check_addresses(&self) -> Result<(), NatGatewayError> {
        match self.connectivity {
            Connectivity::Public if self.allocations.is_empty() => Err(NatGatewayError::NeedsAllocation),
            Connectivity::Public if self.private_ips.len() > self.allocations.len() => {
                Err(NatGatewayError::MorePrivate)
            }
            Connectivity::Private if !self.allocations.is_empty() => Err(NatGatewayError::TakesNoAllocation),
            _ => Ok(()),
        }
    }
}

impl Command for ModifyNatGateway {
    type Outcome = NatGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NatGateway, ModelError> {
        let before = edit.nat_gateway(&self.gateway)?.clone();
        if let Some(name) = &self.name {
            edit.nat_gateway_names.check(name.as_deref(), Some(before.id))?;
        }
        let after = NatGateway {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for FinishNatGateway {
    type Outcome = NatGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NatGateway, ModelError> {
        let before = edit.nat_gateway(&self.0.into())?.clone();
        if before.state != NatState::Pending {
            return Ok(before);
        }
        let after = NatGateway {
            state: NatState::Available,
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteNatGateway {
    type Outcome = NatGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NatGateway, ModelError> {
        let before = edit.nat_gateway(&self.gateway)?.clone();
        let forgets = self.to == Deletion::Forgotten;
        if before.state.is_over() {
            if forgets {
                edit.delete(before.clone());
            }
            return Ok(before);
        }
        if self.to == Deletion::Begun {
            if before.state == NatState::Deleting {
                return Ok(before);
            }
            let after = NatGateway {
                state: NatState::Deleting,
                deleted_at: Some(self.at),
                ..before.clone()
            };
            edit.replace(before, after.clone());
            return Ok(after);
        }
        // Another may have its name now.
        let mut tags = before.tags.clone();
        tags.extend(before.name.clone().map(|name| ("Name".to_owned(), name)));
        let after = NatGateway {
            name: None,
            state: NatState::Deleted,
            interface_id: None,
            deleted_at: before.deleted_at.or(Some(self.at)),
            tags,
            ..before.clone()
        };
        edit.replace(before.clone(), after.clone());
        if let Some(interface) = before.interface_id {
            edit.remove_interface_of_gateway(interface);
        }
        if forgets {
            edit.delete(after.clone());
        }
        Ok(after)
    }
}

impl Edit<'_> {
    /// Makes the interface of a gateway, with its primary address.
    fn make_managed_interface(
        &mut self,
        gateway: &NatGateway,
        primary: Option<Ipv4Addr>,
    ) -> Result<InterfaceId, ModelError> {
        let description = format!("Interface for NAT Gateway {}", gateway.id);
        self.create_managed(gateway.subnet_id, gateway.id, description, primary)
    }

    /// Why a gateway cannot be made. What is given and cannot be is an error.
    fn why_not(&self, gateway: &NatGateway, command: &CreateNatGateway) -> Result<Option<NatGatewayError>, ModelError> {
        let wanted = command.private_ips.len().max(command.allocations.len()).max(1) + command.further;
        if wanted > super::addresses::MOST {
            return Err(NatGatewayError::TooManyAddresses.into());
        }
        if gateway.connectivity == Connectivity::Public {
            if self.gateway_of(gateway.vpc_id).is_none() {
                return Ok(Some(NatGatewayError::NoInternetGateway { vpc: gateway.vpc_id }));
            }
            for allocation in &command.allocations {
                let Ok(address) = self.elastic_ip(allocation) else {
                    let allocation = allocation.to_string();
                    return Ok(Some(NatGatewayError::NoAllocation { allocation }));
                };
                if address.association.is_some() {
                    return Ok(Some(NatGatewayError::AllocationInUse { allocation: address.id }));
                }
            }
        }
        let named = command.private_ips.len();
        let enough = self.free_ipv4(gateway.subnet_id) >= wanted.saturating_sub(named) as u64;
        Ok((!enough).then_some(NatGatewayError::NoFreeAddress {
            subnet: gateway.subnet_id,
        }))
    }
}

impl Network {
    /// The NAT gateway behind a reference, deleted ones that are listed included.
    pub fn nat_gateway(&self, reference: &ResourceRef<NatGatewayId>) -> Result<&NatGateway, ModelError> {
        let id = self.nat_gateway_names.resolve(reference)?;
        self.nat_gateways.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All NAT gateways, by identifier, deleted ones that are listed included.
    pub fn nat_gateways(&self) -> impl Iterator<Item = &NatGateway> {
        self.nat_gateways.values()
    }

    /// Whether a NAT gateway of this VPC is there to route to.
    pub fn is_nat_of(&self, gateway: NatGatewayId, vpc: VpcId) -> bool {
        let gateway = self.nat_gateways.get(&gateway);
        gateway.is_some_and(|gateway| {
            gateway.vpc_id == vpc && matches!(gateway.state, NatState::Pending | NatState::Available)
        })
    }

    /// Firewall facts A18: those that are pending, available and deleting count.
    fn check_room_in(&self, zone: &str) -> Result<(), NatGatewayError> {
        let zone_of = |subnet: SubnetId| {
            self.subnets
                .get(&subnet)
                .map(|state| state.subnet.availability_zone.as_str())
        };
        let mut count = self
            .nat_gateways
            .values()
            .filter(|gateway| !gateway.state.is_over())
            .map(|gateway| gateway.subnet_id);
        let count = count.by_ref().filter(|subnet| zone_of(*subnet) == Some(zone)).count();
        match self.limits.nat_gateways_per_zone {
            Some(limit) if count >= limit => Err(NatGatewayError::Limit { limit }),
            _ => Ok(()),
        }
    }
}

impl NatGateway {
    /// The address with a private one.
    pub fn address(&self, private_ip: Ipv4Addr) -> Option<&NatAddress> {
        self.addresses.iter().find(|address| address.private_ip == private_ip)
    }
}
