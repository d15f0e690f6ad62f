//! Stores the mappings of a subnet, which never overlap: an address is owned by one interface, alone or as part of one
//! delegated prefix. So each family is a set of disjoint intervals, sorted by their first address.

mod draw;
mod error;
mod listing;
mod rules;

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::model::address::{AddressOrPrefix, IPV4_PREFIX_LEN, IPV6_PREFIX_LEN};
use crate::model::ids::{InterfaceId, ResourceRef, SubnetId};
use crate::model::interface::AddressRequest;
use crate::wire::MacAddr;

pub use self::error::MappingError;
pub use self::listing::{MappingFilter, MappingPage, PageCursor, ParseCursorError};
pub use self::rules::{EditFailed, MappingEdit};

/// One mapping for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// The address or prefix.
    pub address: AddressOrPrefix,
    /// The owner.
    pub interface_id: InterfaceId,
    /// The owner's MAC, which is in answers to ARP and ND.
    pub mac_address: MacAddr,
    /// True for the owner's primary IPv4 address.
    pub primary: bool,
}

/// A change of the owner of one address or prefix of a subnet. The two owners are never the same interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingChange {
    /// The subnet.
    pub subnet: SubnetId,
    /// The address or prefix.
    pub address: AddressOrPrefix,
    /// The former owner, with the number of its assignment.
    pub before: Option<Owner>,
    /// The present owner.
    pub after: Option<Owner>,
}

impl MappingChange {
    /// The former owner's interface.
    pub fn from(&self) -> Option<InterfaceId> {
        self.before.map(|owner| owner.interface)
    }

    /// The present owner's interface.
    pub fn to(&self) -> Option<InterfaceId> {
        self.after.map(|owner| owner.interface)
    }

    /// The reverse change.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self {
            before: self.after,
            after: self.before,
            ..self
        }
    }
}

/// The owner of an address or prefix, and the number of the assignment, which orders the addresses of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The interface.
    pub interface: InterfaceId,
    /// Counted over the whole network.
    pub sequence: u64,
}

/// Assigns, moves and unassigns, in order; all of it or nothing. Outcome: the sum of the changes.
#[derive(Debug, Clone)]
pub struct EditMappings(pub Vec<MappingEdit>);

/// Assigns addresses and prefixes, given or to be chosen; all of them or none.
#[derive(Debug, Clone)]
pub struct AssignAddresses {
    /// The interface.
    pub interface: ResourceRef<InterfaceId>,
    /// The addresses, in order.
    pub addresses: Vec<AddressRequest>,
    /// Whether addresses may be reassigned from other interfaces of the subnet.
    pub move_allowed: bool,
}

/// The result of an assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The interface.
    pub interface: InterfaceId,
    /// The requested or chosen addresses, in order, including those that the interface had before.
    pub addresses: Vec<AddressOrPrefix>,
    /// The sum of the changes.
    pub summary: EditSummary,
}

/// The sum of a list of edits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EditSummary {
    /// Addresses and prefixes without a former owner.
    pub assigned: usize,
    /// Those with another owner than before.
    pub moved: usize,
    /// Those without an owner now.
    pub unassigned: usize,
    /// Interfaces that gained or lost an address.
    pub interfaces: usize,
}

impl EditSummary {
    /// Counts changes.
    pub fn of(changes: &[MappingChange]) -> Self {
        let mut summary = Self::default();
        let mut interfaces: HashSet<InterfaceId, foldhash::fast::RandomState> = HashSet::default();
        let mut last = None;
        for change in changes {
            match (change.before, change.after) {
                (None, _) => summary.assigned += 1,
                (Some(_), Some(_)) => summary.moved += 1,
                (Some(_), None) => summary.unassigned += 1,
            }
            // Consecutive changes are mostly about the same interface.
            for interface in [change.from(), change.to()].into_iter().flatten() {
                if last != Some(interface) {
                    interfaces.insert(interface);
                    last = Some(interface);
                }
            }
        }
        summary.interfaces = interfaces.len();
        summary
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    owner: Owner,
    is_prefix: bool,
}

/// The mappings of one subnet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MappingTable {
    ipv4: BTreeMap<u32, Entry>,
    ipv6: BTreeMap<u128, Entry>,
}

fn ipv4_block(first: u32, is_prefix: bool) -> AddressOrPrefix {
    let address = Ipv4Addr::from_bits(first);
    if is_prefix {
        prefix(IpNet::V4(Ipv4Net::new_assert(address, IPV4_PREFIX_LEN)))
    } else {
        IpAddr::V4(address).into()
    }
}

fn ipv6_block(first: u128, is_prefix: bool) -> AddressOrPrefix {
    let address = Ipv6Addr::from_bits(first);
    if is_prefix {
        prefix(IpNet::V6(Ipv6Net::new_assert(address, IPV6_PREFIX_LEN)))
    } else {
        IpAddr::V6(address).into()
    }
}

fn prefix(net: IpNet) -> AddressOrPrefix {
    AddressOrPrefix::new(net).expect("a key of the table is the first address of a prefix, and its length is fixed")
}

impl MappingTable {
    pub(crate) fn len(&self) -> usize {
        self.ipv4.len() + self.ipv6.len()
    }

    /// Number of IPv4 addresses with an owner, those of delegated prefixes included.
    pub(crate) fn ipv4_in_use(&self) -> u64 {
        let size = |entry: &Entry| {
            if entry.is_prefix {
                1 << (32 - IPV4_PREFIX_LEN)
            } else {
                1
            }
        };
        self.ipv4.values().map(size).sum()
    }

    /// The owner of exactly this address or prefix.
    pub(crate) fn get(&self, block: AddressOrPrefix) -> Option<Owner> {
        let entry = match block.first() {
            IpAddr::V4(first) => self.ipv4.get(&first.to_bits()),
            IpAddr::V6(first) => self.ipv6.get(&first.to_bits()),
        };
        entry
            .filter(|entry| entry.is_prefix == block.is_prefix())
            .map(|entry| entry.owner)
    }

    /// The mapping of an address: its own, or that of the prefix around it.
    pub(crate) fn covering(&self, address: IpAddr) -> Option<(AddressOrPrefix, Owner)> {
        // Intervals are disjoint, so only the last one that begins at or before the address can contain it.
        match address {
            IpAddr::V4(address) => {
                let (first, entry) = self.ipv4.range(..=address.to_bits()).next_back()?;
                let size = if entry.is_prefix {
                    1 << (32 - IPV4_PREFIX_LEN)
                } else {
                    1
                };
                let inside = address.to_bits() - first < size;
                inside.then(|| (ipv4_block(*first, entry.is_prefix), entry.owner))
            }
            IpAddr::V6(address) => {
                let (first, entry) = self.ipv6.range(..=address.to_bits()).next_back()?;
                let size = if entry.is_prefix {
                    1 << (128 - IPV6_PREFIX_LEN)
                } else {
                    1
                };
                let inside = address.to_bits() - first < size;
                inside.then(|| (ipv6_block(*first, entry.is_prefix), entry.owner))
            }
        }
    }

    /// Any mapping that overlaps the block.
    pub(crate) fn overlapping(&self, block: AddressOrPrefix) -> Option<(AddressOrPrefix, Owner)> {
        self.covering(block.first()).or_else(|| {
            if block.is_prefix() {
                self.within(block.net(), None).next()
            } else {
                None
            }
        })
    }

    /// Mappings that begin inside `net` and after `after`, in order.
    pub(crate) fn within(
        &self,
        net: IpNet,
        after: Option<AddressOrPrefix>,
    ) -> Box<dyn Iterator<Item = (AddressOrPrefix, Owner)> + '_> {
        let after = after.map(AddressOrPrefix::first);
        match net {
            IpNet::V4(net) => {
                let start = match after {
                    Some(IpAddr::V6(_)) => return Box::new(std::iter::empty()),
                    Some(IpAddr::V4(after)) => (after.to_bits()).saturating_add(1).max(net.network().to_bits()),
                    None => net.network().to_bits(),
                };
                let end = net.broadcast().to_bits();
                if start > end {
                    return Box::new(std::iter::empty());
                }
                let found = self.ipv4.range(start..=end);
                Box::new(found.map(|(first, entry)| (ipv4_block(*first, entry.is_prefix), entry.owner)))
            }
            IpNet::V6(net) => {
                let start = match after {
                    Some(IpAddr::V6(after)) => (after.to_bits()).saturating_add(1).max(net.network().to_bits()),
                    _ => net.network().to_bits(),
                };
                let end = net.broadcast().to_bits();
                if start > end {
                    return Box::new(std::iter::empty());
                }
                let found = self.ipv6.range(start..=end);
                Box::new(found.map(|(first, entry)| (ipv6_block(*first, entry.is_prefix), entry.owner)))
            }
        }
    }

    /// All mappings after `after`, IPv4 first, in order.
    pub(crate) fn iter(&self, after: Option<AddressOrPrefix>) -> impl Iterator<Item = (AddressOrPrefix, Owner)> + '_ {
        let (all_v4, all_v6) = (IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default()));
        self.within(all_v4, after).chain(self.within(all_v6, after))
    }

    /// Adds many mappings, which overlap neither each other nor what is there. A tree that is made of sorted entries takes a third
    /// of the time of one that gets them one by one.
    pub(crate) fn add_all(&mut self, mappings: impl Iterator<Item = (AddressOrPrefix, Owner)>) {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (block, owner) in mappings {
            let entry = Entry {
                owner,
                is_prefix: block.is_prefix(),
            };
            match block.first() {
                IpAddr::V4(first) => ipv4.push((first.to_bits(), entry)),
                IpAddr::V6(first) => ipv6.push((first.to_bits(), entry)),
            }
        }
        self.ipv4.append(&mut ipv4.into_iter().collect());
        self.ipv6.append(&mut ipv6.into_iter().collect());
    }

    /// Sets or removes the owner of exactly this block. The caller has checked that nothing else overlaps it.
    pub(crate) fn set(&mut self, block: AddressOrPrefix, owner: Option<Owner>) {
        let entry = owner.map(|owner| Entry {
            owner,
            is_prefix: block.is_prefix(),
        });
        match (block.first(), entry) {
            (IpAddr::V4(first), Some(entry)) => drop(self.ipv4.insert(first.to_bits(), entry)),
            (IpAddr::V4(first), None) => drop(self.ipv4.remove(&first.to_bits())),
            (IpAddr::V6(first), Some(entry)) => drop(self.ipv6.insert(first.to_bits(), entry)),
            (IpAddr::V6(first), None) => drop(self.ipv6.remove(&first.to_bits())),
        }
    }
}
