//! Assigns, moves and unassigns addresses. A list of edits is made in order in the table itself; when one of them is
//! refused, the earlier ones are reverted, so that no reader sees half of a list.

use super::{AssignAddresses, Assigned, EditMappings, EditSummary, MappingChange, MappingTable, Owner};
use crate::model::MappingError;
use crate::model::address::AddressOrPrefix;
use crate::model::change::{Change, Effect, Entry};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, ResourceRef, SubnetId};
use crate::model::interface::AddressRequest;
use crate::model::limits::Limits;
use crate::model::network::{Hashed, Network, SubnetState};
use crate::model::subnet::plan::is_reserved;

/// A list of so many new mappings is brought into the tables at once.
const MANY: usize = 1000;

/// One edit of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingEdit {
    /// Assigns the address to the interface. No effect if the interface has it already.
    Assign {
        /// The new owner.
        interface: ResourceRef<InterfaceId>,
        /// The address.
        address: AddressOrPrefix,
        /// Whether it may be reassigned from another interface of the subnet.
        move_allowed: bool,
    },
    /// Unassigns the address from the interface, which must have it.
    Unassign {
        /// The owner.
        interface: ResourceRef<InterfaceId>,
        /// The address.
        address: AddressOrPrefix,
    },
    /// Unassigns the address from its owner in the subnet.
    Remove {
        /// The subnet.
        subnet: ResourceRef<SubnetId>,
        /// The address.
        address: AddressOrPrefix,
    },
}

/// The refused edit of a list; the list changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("edit {index}: {error}")]
pub struct EditFailed {
    /// Its index in the list, from 0.
    pub index: usize,
    /// The refusal.
    pub error: ModelError,
}

impl Command for EditMappings {
    type Outcome = EditSummary;
    type Error = EditFailed;

    fn run(self, edit: &mut Edit<'_>) -> Result<EditSummary, EditFailed> {
        let changes = edit.network.edit_mappings(&self.0)?;
        let summary = EditSummary::of(&changes);
        edit.made(changes);
        Ok(summary)
    }
}

impl Command for AssignAddresses {
    type Outcome = Assigned;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Assigned, ModelError> {
        let interface = edit.interface_id(&self.interface)?;
        edit.unmanaged(interface)?;
        let (addresses, summary) = edit.assign(interface, &self.addresses, self.move_allowed)?;
        Ok(Assigned {
            interface,
            addresses,
            summary,
        })
    }
}

impl Effect for Vec<MappingChange> {
    fn apply(&self, network: &mut Network) {
        if self.len() >= MANY && self.iter().all(|change| change.before.is_none()) {
            network.take_all(self);
        } else {
            self.iter().for_each(|change| network.take(*change));
        }
        for change in self {
            if let Some(owner) = change.after {
                network.next_sequence = network.next_sequence.max(owner.sequence + 1);
            }
        }
    }

    fn revert(&self, network: &mut Network) {
        for change in self.iter().rev() {
            network.take(change.inverse());
            if let Some(owner) = change.after.filter(|owner| owner.sequence + 1 == network.next_sequence) {
                network.next_sequence = owner.sequence;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn subject(&self) -> String {
        match self.len() {
            1 => "1 mapping".to_owned(),
            count => format!("{count} mappings"),
        }
    }

    fn inverse(&self) -> Self {
        self.iter().rev().map(|change| change.inverse()).collect()
    }

    fn creating(network: &Network) -> Vec<Self> {
        let all = network.subnets.iter().flat_map(|(subnet, state)| {
            state.mappings.iter(None).map(|(address, owner)| MappingChange {
                subnet: *subnet,
                address,
                before: None,
                after: Some(owner),
            })
        });
        let all: Self = all.collect();
        if all.is_empty() { Vec::new() } else { vec![all] }
    }

    /// A store reads them from the changes.
    fn entries(&self, _: &Network, _: &mut Vec<Entry>) {}
}

impl Edit<'_> {
    /// Records changes of mappings that were made in place.
    fn made(&mut self, changes: Vec<MappingChange>) {
        if !changes.is_empty() {
            let follow = (!self.public_addresses.is_empty()).then(|| changes.clone());
            self.changes.push(Change::Mappings(changes));
            self.associations_follow(follow.as_deref().unwrap_or_default());
        }
    }

    /// Assigns addresses to an interface, in order, all of them or none. Returns the addresses, those that it had
    /// already included, and the sum of the changes.
    pub(in crate::model) fn assign(
        &mut self,
        id: InterfaceId,
        wanted: &[AddressRequest],
        move_allowed: bool,
    ) -> Result<(Vec<AddressOrPrefix>, EditSummary), ModelError> {
        let first = self.network.next_sequence;
        let network = &mut *self.network;
        let mut log = Vec::with_capacity(wanted.len());
        let mut given = Vec::with_capacity(wanted.len());
        for request in wanted {
            let outcome = match request {
                AddressRequest::Exactly(block) => Ok(*block),
                any => network.choose_free(id, *any, self.rng),
            }
            .and_then(|block| network.assign_one(id, block, move_allowed, &mut log).map(|()| block));
            match outcome {
                Ok(block) => given.push(block),
                Err(error) => {
                    network.roll_back(&log);
                    return Err(error);
                }
            }
        }
        let changes = network.net_effect(log, first);
        let summary = EditSummary::of(&changes);
        self.made(changes);
        Ok((given, summary))
    }
}

impl Network {
    /// Makes a list of edits in order, all of them or none; later ones see the effect of earlier ones.
    fn edit_mappings(&mut self, edits: &[MappingEdit]) -> Result<Vec<MappingChange>, EditFailed> {
        let first = self.next_sequence;
        let mut log = Vec::with_capacity(edits.len());
        for (index, edit) in edits.iter().enumerate() {
            if let Err(error) = self.edit_one(edit, &mut log) {
                self.roll_back(&log);
                return Err(EditFailed { index, error });
            }
        }
        Ok(self.net_effect(log, first))
    }

    fn edit_one(&mut self, edit: &MappingEdit, log: &mut Vec<MappingChange>) -> Result<(), ModelError> {
        match edit {
            MappingEdit::Assign {
                interface,
                address,
                move_allowed,
            } => {
                let id = self.interface_id(interface)?;
                self.unmanaged(id)?;
                self.assign_one(id, *address, *move_allowed, log)
            }
            MappingEdit::Unassign { interface, address } => {
                let id = self.interface_id(interface)?;
                let subnet = self.state(id).record.subnet_id;
                match self.mappings_of(subnet).get(*address) {
                    Some(owner) if owner.interface == id => self.unassign_one(subnet, *address, owner, log),
                    _ => Err(ModelError::Mapping(MappingError::NotAssigned {
                        interface: id,
                        address: *address,
                    })),
                }
            }
            MappingEdit::Remove { subnet, address } => {
                let subnet = self.subnet(subnet)?.id;
                match self.mappings_of(subnet).get(*address) {
                    Some(owner) => self.unassign_one(subnet, *address, owner, log),
                    None => Err(ModelError::Mapping(MappingError::NoMapping {
                        subnet,
                        address: *address,
                    })),
                }
            }
        }
    }

    /// Assigns one address or prefix to an existing interface.
    fn assign_one(
        &mut self,
        id: InterfaceId,
        address: AddressOrPrefix,
        move_allowed: bool,
        log: &mut Vec<MappingChange>,
    ) -> Result<(), ModelError> {
        let subnet_id = self.state(id).record.subnet_id;
        let state = self.subnet_state(subnet_id);
        let Some(block) = state.block(address.is_ipv6()) else {
            let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
            return Err(ModelError::Mapping(MappingError::NoFamily {
                subnet: subnet_id,
                family,
            }));
        };
        // A longer prefix that begins in the block of a subnet ends there too.
        if !block.contains(&address.first()) || address.net().prefix_len() < block.prefix_len() {
            return Err(ModelError::Mapping(MappingError::OutsideSubnet {
                address,
                subnet: subnet_id,
            }));
        }
        if is_reserved(block, address.first()) || (address.is_prefix() && is_reserved(block, address.net().broadcast()))
        {
            return Err(ModelError::Mapping(MappingError::Reserved { address }));
        }
        let before = match state.mappings.overlapping(address) {
            None => None,
            Some((existing, owner)) if existing != address => {
                return Err(ModelError::Mapping(MappingError::Overlap {
                    address,
                    existing,
                    owner: owner.interface,
                }));
            }
            Some((_, owner)) if owner.interface == id => return Ok(()),
            Some((_, owner)) if !move_allowed => {
                return Err(ModelError::Mapping(MappingError::MoveNotAllowed {
                    address,
                    owner: owner.interface,
                }));
            }
            Some((_, owner)) => {
                self.unmanaged(owner.interface)?;
                // The primary address cannot leave its interface (EC2 user guide, "Elastic network interfaces").
                if self.state(owner.interface).is_primary(address) {
                    let address = address.first();
                    return Err(ModelError::Mapping(MappingError::PrimaryAddress {
                        interface: owner.interface,
                        address,
                    }));
                }
                Some(owner)
            }
        };
        let limit = if address.is_ipv6() {
            self.limits.ipv6_per_interface
        } else {
            self.limits.ipv4_per_interface
        };
        if limit.is_some() && Limits::reached(limit, self.state(id).count(address.is_ipv6())) {
            let (code, kind) = if address.is_ipv6() {
                ("Ipv6AddressLimitExceeded", "IPv6")
            } else {
                ("PrivateIpAddressLimitExceeded", "private")
            };
            return Err(ModelError::Limit {
                code,
                text: format!("{id}: Number of {kind} addresses will exceed limit."),
            });
        }
        let after = Some(Owner {
            interface: id,
            sequence: self.next_sequence,
        });
        self.next_sequence += 1;
        let step = MappingChange {
            subnet: subnet_id,
            address,
            before,
            after,
        };
        self.take(step);
        log.push(step);
        Ok(())
    }

    fn unassign_one(
        &mut self,
        subnet: SubnetId,
        address: AddressOrPrefix,
        owner: Owner,
        log: &mut Vec<MappingChange>,
    ) -> Result<(), ModelError> {
        self.unmanaged(owner.interface)?;
        if self.state(owner.interface).is_primary(address) {
            let address = address.first();
            return Err(ModelError::Mapping(MappingError::PrimaryAddress {
                interface: owner.interface,
                address,
            }));
        }
        let step = MappingChange {
            subnet,
            address,
            before: Some(owner),
            after: None,
        };
        self.take(step);
        log.push(step);
        Ok(())
    }

    /// Applies one step to the subnet's table and to both interfaces.
    fn take(&mut self, step: MappingChange) {
        if let Some(owner) = step.before
            && let Some(state) = self.interfaces.get_mut(&owner.interface)
        {
            state.remove(owner.sequence, step.address);
        }
        if let Some(owner) = step.after
            && let Some(state) = self.interfaces.get_mut(&owner.interface)
        {
            state.insert(owner.sequence, step.address);
        }
        if let Some(state) = self.subnets.get_mut(&step.subnet) {
            state.mappings.set(step.address, step.after);
        }
    }

    /// As [`Self::take`] of each, for a long list of new mappings: what a start reads.
    fn take_all(&mut self, steps: &[MappingChange]) {
        let mut by_subnet: Hashed<SubnetId, Vec<(AddressOrPrefix, Owner)>> = Hashed::default();
        let mut by_interface: Hashed<InterfaceId, Vec<(u64, AddressOrPrefix)>> = Hashed::default();
        for step in steps {
            let Some(owner) = step.after else { continue };
            by_subnet.entry(step.subnet).or_default().push((step.address, owner));
            let blocks = by_interface.entry(owner.interface).or_default();
            blocks.push((owner.sequence, step.address));
        }
        for (id, blocks) in by_interface {
            if let Some(state) = self.interfaces.get_mut(&id) {
                state.add_all(blocks.into_iter());
            }
        }
        for (id, mappings) in by_subnet {
            if let Some(state) = self.subnets.get_mut(&id) {
                state.mappings.add_all(mappings.into_iter());
            }
        }
    }

    /// Reverts the steps, the last one first. Owners get their old sequence numbers, hence their old order.
    fn roll_back(&mut self, log: &Vec<MappingChange>) {
        log.revert(self);
    }

    /// The sum of the steps: an address that was unassigned and assigned again was moved, without an instant without an
    /// owner. One that returned to its owner keeps its place among the owner's addresses: it has not changed. `first`
    /// is the number of the list's first assignment.
    fn net_effect(&mut self, log: Vec<MappingChange>, first: u64) -> Vec<MappingChange> {
        let mut sums = log;
        if touches_twice(&sums) {
            let steps = std::mem::take(&mut sums);
            let mut place: Hashed<(SubnetId, AddressOrPrefix), usize> = Hashed::default();
            place.reserve(steps.len());
            for step in steps {
                let at = *place.entry((step.subnet, step.address)).or_insert(sums.len());
                match sums.get_mut(at) {
                    Some(sum) => sum.after = step.after,
                    None => sums.push(step),
                }
            }
        }
        sums.retain(|sum| {
            let moved = sum.from() != sum.to();
            if !moved && sum.before != sum.after {
                self.take(sum.inverse());
            }
            moved
        });
        // Numbers of reverted assignments are reused, so that a copy that follows the changes agrees.
        let last = sums
            .iter()
            .filter_map(|sum| sum.after)
            .map(|owner| owner.sequence + 1)
            .max();
        self.next_sequence = last.unwrap_or(first).max(first);
        sums
    }

    pub(super) fn subnet_state(&self, id: SubnetId) -> &SubnetState {
        &self.subnets[&id]
    }

    pub(super) fn mappings_of(&self, id: SubnetId) -> &MappingTable {
        &self.subnet_state(id).mappings
    }
}

/// Whether an address may occur twice among the steps. An assignment of the list has a higher number than earlier ones,
/// so an owner with such a number was made by the list; and an address without an owner can have lost it in the list
/// only if an unassignment was among the steps.
fn touches_twice(log: &[MappingChange]) -> bool {
    let first = log.iter().find_map(|step| step.after).map(|owner| owner.sequence);
    let of_this_list = |owner: Owner| first.is_some_and(|first| owner.sequence >= first);
    log.iter().any(|step| step.before.is_some_and(of_this_list))
        || (log.iter().any(|step| step.after.is_none()) && log.iter().any(|step| step.before.is_none()))
}
