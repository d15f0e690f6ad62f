//! Stores the mapping table for code off the per-frame path: readers look up single entries without waiting for a
//! running edit. A move overwrites the entry, so a reader finds the old owner or the new one.

use dashmap::DashMap;
use foldhash::fast::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::address::{IPV4_PREFIX_LEN, IPV6_PREFIX_LEN};
use crate::model::{AddressOrPrefix, InterfaceId, Mapping, ResourceRef, SubnetId};
use crate::wire::MacAddr;

/// The owner of an address or prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The owner.
    pub interface: InterfaceId,
    /// The owner's MAC.
    pub mac: MacAddr,
    /// Whether it is the owner's primary IPv4 address.
    pub primary: bool,
}

/// All mappings of all subnets, and the names of the subnets.
#[derive(Debug, Default)]
pub struct Registry {
    entries: DashMap<(SubnetId, AddressOrPrefix), Entry, RandomState>,
    subnets: DashMap<Box<str>, SubnetId, RandomState>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many mappings there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is no mapping.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The mapping of an address, its own or that of a delegated prefix around it; or the mapping of exactly this
    /// prefix.
    pub fn get(&self, subnet: SubnetId, block: AddressOrPrefix) -> Option<Mapping> {
        let found = |block| {
            self.entries.get(&(subnet, block)).map(|entry| Mapping {
                subnet_id: subnet,
                address: block,
                interface_id: entry.interface,
                mac_address: entry.mac,
                primary: entry.primary,
            })
        };
        // Between the two look-ups a writer may replace an address by the prefix around it: it adds before it removes,
        // so a third look-up finds what the first one missed.
        found(block).or_else(|| {
            let around = around(block)?;
            found(around).or_else(|| found(block))
        })
    }

    /// The subnet of a reference, if it is an identifier or name in use.
    pub fn subnet(&self, reference: &ResourceRef<SubnetId>) -> Option<SubnetId> {
        match reference {
            ResourceRef::Id(id) => Some(*id),
            ResourceRef::Name(name, _) => self.subnets.get(name).map(|id| *id),
        }
    }

    /// Sets the owner of an address or prefix, or removes it.
    pub(crate) fn set(&self, subnet: SubnetId, block: AddressOrPrefix, entry: Option<Entry>) {
        match entry {
            Some(entry) => drop(self.entries.insert((subnet, block), entry)),
            None => drop(self.entries.remove(&(subnet, block))),
        }
    }

    /// Registers a subnet's new name and removes its old one.
    pub(crate) fn name_subnet(&self, id: SubnetId, old: Option<&str>, new: Option<&str>) {
        if let Some(new) = new {
            self.subnets.insert(new.into(), id);
        }
        if let Some(old) = old.filter(|old| Some(*old) != new) {
            self.subnets.remove(old);
        }
    }
}

/// The prefix that could be delegated around an address.
fn around(block: AddressOrPrefix) -> Option<AddressOrPrefix> {
    if block.is_prefix() {
        return None;
    }
    let net = match block.net() {
        IpNet::V4(net) => IpNet::V4(Ipv4Net::new(net.addr(), IPV4_PREFIX_LEN).ok()?.trunc()),
        IpNet::V6(net) => IpNet::V6(Ipv6Net::new(net.addr(), IPV6_PREFIX_LEN).ok()?.trunc()),
    };
    AddressOrPrefix::new(net).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ResourceId;

    fn block(text: &str) -> AddressOrPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn every_address_of_a_delegated_prefix_is_found_under_the_prefix() {
        let registry = Registry::new();
        let (subnet, other) = (SubnetId::from_bits(1), SubnetId::from_bits(2));
        let entry = Entry {
            interface: InterfaceId::from_bits(9),
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
            primary: false,
        };
        for prefix in ["10.0.1.16/28", "2001:db8:0:1:5::/80"] {
            registry.set(subnet, block(prefix), Some(entry));
        }
        for (address, prefix) in [
            ("10.0.1.16", Some("10.0.1.16/28")),
            ("10.0.1.31", Some("10.0.1.16/28")),
            ("10.0.1.32", None),
            ("2001:db8:0:1:5:ffff::1", Some("2001:db8:0:1:5::/80")),
            ("2001:db8:0:1:6::", None),
            ("10.0.1.16/28", Some("10.0.1.16/28")),
        ] {
            let found = registry.get(subnet, block(address)).map(|mapping| mapping.address);
            assert_eq!(found, prefix.map(block), "{address}");
            assert_eq!(registry.get(other, block(address)), None);
        }
        registry.set(subnet, block("10.0.1.16/28"), None);
        assert_eq!(registry.get(subnet, block("10.0.1.20")), None);
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_renamed_subnet_is_found_by_its_new_name_only() {
        let registry = Registry::new();
        let id = SubnetId::from_bits(1);
        registry.name_subnet(id, None, Some("left"));
        registry.name_subnet(id, Some("left"), Some("right"));
        assert_eq!(registry.subnet(&ResourceRef::new("left")), None);
        assert_eq!(registry.subnet(&ResourceRef::new("right")), Some(id));
        registry.name_subnet(id, Some("right"), Some("right"));
        assert_eq!(registry.subnet(&ResourceRef::new("right")), Some(id));
    }
}
