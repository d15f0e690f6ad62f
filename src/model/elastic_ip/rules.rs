//! Allocates, associates, disassociates and releases public addresses. A private address has one public address at the most,
//! and keeps it when it moves to another interface.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use rand::Rng;

use super::{
    AddressAssociation, AllocateAddress, AssociateAddress, AssociateWith, AssociationRef, DisassociateAddress,
    ElasticIp, ElasticIpError, ModifyAddress, RANGES, ReleaseAddress,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{AddressAssociationId, AllocationId, InterfaceId, ResourceRef};
use crate::model::limits::Limits;
use crate::model::mapping::MappingChange;
use crate::model::naming::Names;
use crate::model::nat_gateway::NatGatewayError;
use crate::model::network::{Network, fresh_id, not_found};

impl Record for ElasticIp {
    type Id = AllocationId;

    fn id(&self) -> AllocationId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for ElasticIp {
    fn names(network: &mut Network) -> &mut Names<AllocationId> {
        &mut network.elastic_ip_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(at) = before.and_then(|before| before.association) {
            network.public_addresses.remove(&(at.interface_id, at.private_ip));
        }
        if let Some(before) = before {
            network.elastic_ips.remove(&before.id);
        }
        if let Some(after) = after {
            if let Some(at) = after.association {
                network
                    .public_addresses
                    .insert((at.interface_id, at.private_ip), after.id);
            }
            network.elastic_ips.insert(after.id, after.clone());
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.elastic_ips.values().cloned().collect()
    }
}

impl Command for AllocateAddress {
    type Outcome = ElasticIp;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<ElasticIp, ModelError> {
        let count = edit.elastic_ips.values().filter(|address| !address.automatic).count();
        if Limits::reached(edit.limits.elastic_ips, count) {
            return Err(ModelError::Limit {
                code: "AddressLimitExceeded",
                text: "The maximum number of addresses has been reached.".into(),
            });
        }
        edit.elastic_ip_names.check(self.name.as_deref(), None)?;
        let public_ip = match self.public_ip {
            Some(address) => edit.wanted_address(address)?,
            None => edit.network.free_address(edit.rng)?,
        };
        let address = ElasticIp {
            id: fresh_id(edit.rng, |id| edit.network.elastic_ips.contains_key(&id)),
            name: self.name,
            public_ip,
            automatic: false,
            association: None,
            tags: self.tags,
        };
        edit.create(address.clone());
        Ok(address)
    }
}

impl Command for ModifyAddress {
    type Outcome = ElasticIp;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<ElasticIp, ModelError> {
        let before = edit.elastic_ip(&self.address)?.clone();
        if let Some(name) = &self.name {
            edit.elastic_ip_names.check(name.as_deref(), Some(before.id))?;
        }
        let after = ElasticIp {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for ReleaseAddress {
    type Outcome = ElasticIp;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<ElasticIp, ModelError> {
        let address = edit.elastic_ip(&self.0)?.clone();
        if address.association.is_some() {
            let address = address.public_ip;
            return Err(ElasticIpError::ReleaseInUse { address }.into());
        }
        edit.delete(address.clone());
        Ok(address)
    }
}

impl Command for AssociateAddress {
    type Outcome = ElasticIp;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<ElasticIp, ModelError> {
        let before = edit.elastic_ip(&self.address)?.clone();
        let interface_id = match &self.with {
            AssociateWith::Interface(interface) => edit.interface_id(interface)?,
            AssociateWith::Instance(instance) => {
                let instance = edit.instance(instance)?;
                if edit.attached(instance.id).count() > 1 {
                    return Err(ElasticIpError::SeveralInterfaces { instance: instance.id }.into());
                }
                instance.primary_interface_id
            }
        };
        edit.unmanaged(interface_id)?;
        edit.released_by_manager(&before)?;
        let private_ip = edit.associable(interface_id, self.private_ip)?;
        if let Some(now) = before.association {
            if (now.interface_id, now.private_ip) == (interface_id, private_ip) {
                return Ok(before);
            }
            if !self.reassociation_allowed {
                return Err(ElasticIpError::AlreadyAssociated {
                    allocation: before.id,
                    association: now.id,
                }
                .into());
            }
        }
        // Firewall facts G4: one that the private address had stays allocated. G5: one of EC2's own goes.
        let had = edit.public_addresses.get(&(interface_id, private_ip)).copied();
        if let Some(other) = had.and_then(|id| edit.elastic_ips.get(&id)).cloned() {
            edit.part(other);
        }
        let after = ElasticIp {
            association: Some(AddressAssociation {
                id: edit.fresh_association(),
                interface_id,
                private_ip,
            }),
            ..before.clone()
        };
        let left = before.association;
        edit.replace(before, after.clone());
        if let Some(left) = left {
            edit.settle_automatic(left.interface_id)?;
        }
        Ok(after)
    }
}

impl Command for DisassociateAddress {
    type Outcome = ElasticIp;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<ElasticIp, ModelError> {
        let before = match &self.0 {
            AssociationRef::Address(address) => edit.elastic_ip(address)?.clone(),
            AssociationRef::Id(id) => edit.association_behind(*id)?.clone(),
        };
        let Some(left) = before.association else {
            return Ok(before);
        };
        edit.released_by_manager(&before)?;
        let after = ElasticIp {
            association: None,
            ..before.clone()
        };
        edit.replace(before, after.clone());
        edit.settle_automatic(left.interface_id)?;
        Ok(after)
    }
}

impl Edit<'_> {
    /// An identifier that no association has.
    pub(in crate::model) fn fresh_association(&mut self) -> AddressAssociationId {
        let network = &*self.network;
        fresh_id(self.rng, |id| network.associations().any(|(_, other)| other.id == id))
    }

    /// Ends an association: an Elastic IP address stays allocated, an automatic one goes.
    pub(super) fn part(&mut self, address: ElasticIp) {
        if address.automatic {
            self.delete(address);
        } else {
            let after = ElasticIp {
                association: None,
                ..address.clone()
            };
            self.replace(address, after);
        }
    }

    /// Brings associations in line with private addresses that have another owner, or none: one that moves keeps its public
    /// address.
    pub(in crate::model) fn associations_follow(&mut self, changes: &[MappingChange]) {
        if self.public_addresses.is_empty() {
            return;
        }
        let mut moved = Vec::new();
        for change in changes {
            let (Some(IpAddr::V4(private_ip)), Some(from)) = (change.address.address(), change.from()) else {
                continue;
            };
            let address = self.public_addresses.get(&(from, private_ip));
            if let Some(address) = address.and_then(|id| self.elastic_ips.get(id)) {
                moved.push((address.clone(), change.to()));
            }
        }
        // Two addresses may change places, so all leave before the first arrives.
        let mut arriving = Vec::new();
        for (address, to) in moved {
            let association = address.association.zip(to);
            self.part(address.clone());
            arriving.extend(association.map(|(association, to)| (address, association, to)));
        }
        for (address, association, interface_id) in arriving.into_iter().filter(|(address, ..)| !address.automatic) {
            let before = self.elastic_ips[&address.id].clone();
            let association = AddressAssociation {
                interface_id,
                ..association
            };
            self.replace(
                before,
                ElasticIp {
                    association: Some(association),
                    ..address
                },
            );
        }
    }
}

impl Network {
    /// Refuses to take an address away from a NAT gateway.
    fn released_by_manager(&self, address: &ElasticIp) -> Result<(), NatGatewayError> {
        match address.association {
            Some(at) if self.unmanaged(at.interface_id).is_err() => {
                Err(NatGatewayError::ManagedAddress { allocation: address.id })
            }
            _ => Ok(()),
        }
    }

    /// The public address behind a reference: an allocation's identifier, its name, or the address itself.
    pub fn elastic_ip(&self, reference: &ResourceRef<AllocationId>) -> Result<&ElasticIp, ModelError> {
        let by_address = match reference {
            ResourceRef::Name(name, _) => name.parse().ok(),
            ResourceRef::Id(_) => None,
        };
        if let Some(address) = by_address {
            return self.by_public_ip(address).ok_or_else(|| ModelError::NotFound {
                what: "address",
                given: address.to_string(),
                code: "InvalidAddress.NotFound",
                field: "elastic_ip",
            });
        }
        let id = self.elastic_ip_names.resolve(reference)?;
        let found = self.elastic_ips.get(&id).filter(|address| !address.automatic);
        found.ok_or_else(|| not_found(reference))
    }

    /// The Elastic IP address with this public address.
    pub fn by_public_ip(&self, public_ip: Ipv4Addr) -> Option<&ElasticIp> {
        let mut addresses = self.elastic_ips();
        addresses.find(|address| address.public_ip == public_ip && !address.automatic)
    }

    /// All public addresses by identifier, automatic ones included.
    pub fn elastic_ips(&self) -> impl Iterator<Item = &ElasticIp> {
        self.elastic_ips.values()
    }

    /// The public addresses of an interface, in the order of its private ones.
    pub fn elastic_ips_of(&self, interface: InterfaceId) -> impl Iterator<Item = &ElasticIp> {
        let addresses = self.interfaces.get(&interface);
        let addresses = addresses.into_iter().flat_map(|state| state.ipv4.values());
        // Most interfaces have none, and a look at each private address would cost.
        let first = (interface, Ipv4Addr::UNSPECIFIED);
        let has_some = self
            .public_addresses
            .range(first..=(interface, Ipv4Addr::BROADCAST))
            .next()
            .is_some();
        addresses.filter(move |_| has_some).filter_map(move |private_ip| {
            let id = self.public_addresses.get(&(interface, *private_ip))?;
            self.elastic_ips.get(id)
        })
    }

    fn associations(&self) -> impl Iterator<Item = (&ElasticIp, AddressAssociation)> {
        let addresses = self.elastic_ips.values();
        addresses.filter_map(|address| Some((address, address.association?)))
    }

    fn association_behind(&self, id: AddressAssociationId) -> Result<&ElasticIp, ElasticIpError> {
        let mut found = self.associations();
        let found = found.find(|(address, association)| association.id == id && !address.automatic);
        found
            .map(|(address, _)| address)
            .ok_or(ElasticIpError::NoAssociation { id })
    }

    /// The private address of an interface that a public one can be associated with.
    fn associable(&self, interface: InterfaceId, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, ElasticIpError> {
        let state = self.state(interface);
        if self.is_outside(interface) {
            return Err(ElasticIpError::Outside { interface });
        }
        let private_ip = match wanted {
            Some(address) if state.ipv4.values().any(|own| *own == address) => address,
            Some(address) => return Err(ElasticIpError::NotAssigned { address, interface }),
            None => state
                .primaries()
                .0
                .ok_or(ElasticIpError::NoPrivateAddress { interface })?,
        };
        let vpc = state.record.vpc_id;
        match self.gateway_of(vpc) {
            Some(_) => Ok(private_ip),
            None => Err(ElasticIpError::NoGateway { vpc }),
        }
    }

    fn is_public(&self, address: Ipv4Addr) -> bool {
        self.elastic_ips.values().any(|other| other.public_ip == address)
    }

    fn wanted_address(&self, address: Ipv4Addr) -> Result<Ipv4Addr, ElasticIpError> {
        let within = RANGES.iter().find(|range| range.contains(&address));
        let range = within.ok_or(ElasticIpError::OutOfRange { address })?;
        if address == range.network() || address == range.broadcast() {
            return Err(ElasticIpError::OutOfRange { address });
        }
        match self.is_public(address) {
            true => Err(ElasticIpError::Taken { address }),
            false => Ok(address),
        }
    }

    /// A public address that is free: drawn from the first range that is less than half full, or the first free one.
    pub(super) fn free_address(&self, rng: &mut dyn Rng) -> Result<Ipv4Addr, ElasticIpError> {
        for range in RANGES {
            let taken = self
                .elastic_ips
                .values()
                .filter(|other| range.contains(&other.public_ip))
                .count();
            let size = 1_u64 << (32 - range.prefix_len());
            if (taken as u64) < size / 2 {
                loop {
                    let host = 1 + rng.next_u64() % (size - 2);
                    let address = Ipv4Addr::from_bits(range.network().to_bits() + host as u32);
                    if !self.is_public(address) {
                        return Ok(address);
                    }
                }
            }
        }
        let mut all = RANGES.iter().flat_map(Ipv4Net::hosts);
        all.find(|address| !self.is_public(*address))
            .ok_or(ElasticIpError::Exhausted)
    }
}
