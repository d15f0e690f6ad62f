//! Encodes long lists of changed mappings in few bytes: a million of them need 20 MB instead of 200.
//!
//! | field | form |
//! |---|---|
//! | subnets, interfaces | a count, then identifiers of 8 octets, least significant first |
//! | changes | a count, then for each: flags, subnet, address, owner before, owner after |
//!
//! Counts, indices into the lists and sequence numbers are LEB128. An owner is an index and a sequence number, and is
//! present if its flag is set.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::address::{IPV4_PREFIX_LEN, IPV6_PREFIX_LEN};
use crate::model::ids::ResourceId;
use crate::model::mapping::{MappingChange, Owner};
use crate::model::{AddressOrPrefix, InterfaceId, SubnetId};

const IPV6: u8 = 1;
const PREFIX: u8 = 2;
const BEFORE: u8 = 4;
const AFTER: u8 = 8;

/// Numbers values in the order of their first occurrence.
#[derive(Default)]
struct Numbered {
    places: HashMap<u64, u64>,
    list: Vec<u64>,
}

impl Numbered {
    fn place(&mut self, bits: u64) -> u64 {
        *self.places.entry(bits).or_insert_with(|| {
            self.list.push(bits);
            self.list.len() as u64 - 1
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        number(out, self.list.len() as u64);
        for bits in &self.list {
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Encodes a list.
pub(super) fn pack(changes: &[MappingChange]) -> Vec<u8> {
    let (mut subnets, mut interfaces) = (Numbered::default(), Numbered::default());
    let mut rows = Vec::with_capacity(changes.len() * 16);
    for change in changes {
        let (mut flags, first) = (0, change.address.first());
        flags |= if first.is_ipv6() { IPV6 } else { 0 };
        flags |= if change.address.is_prefix() { PREFIX } else { 0 };
        flags |= if change.before.is_some() { BEFORE } else { 0 };
        flags |= if change.after.is_some() { AFTER } else { 0 };
        rows.push(flags);
        number(&mut rows, subnets.place(change.subnet.to_bits()));
        match first {
            IpAddr::V4(first) => rows.extend_from_slice(&first.octets()),
            IpAddr::V6(first) => rows.extend_from_slice(&first.octets()),
        }
        for owner in [change.before, change.after].into_iter().flatten() {
            number(&mut rows, interfaces.place(owner.interface.to_bits()));
            number(&mut rows, owner.sequence);
        }
    }
    let mut out = Vec::with_capacity(rows.len() + 16 + 8 * (subnets.list.len() + interfaces.list.len()));
    subnets.write(&mut out);
    interfaces.write(&mut out);
    number(&mut out, changes.len() as u64);
    out.append(&mut rows);
    out
}

/// Reads bytes from the front of a slice.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0_u32);
        loop {
            let [octet] = self.octets()?;
            value |= u64::from(octet & 0x7f).checked_shl(shift)?;
            if octet & 0x80 == 0 {
                return Some(value);
            }
            shift = shift.checked_add(7).filter(|shift| *shift < 64)?;
        }
    }

    /// A count of items that need at least so many bytes each.
    fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count.checked_mul(least)? <= self.0.len()).then_some(count)
    }

    fn identifiers<T: ResourceId>(&mut self) -> Option<Vec<T>> {
        let count = self.count(8)?;
        let one = |_| Some(T::from_bits(u64::from_le_bytes(self.octets()?)));
        (0..count).map(one).collect()
    }

    fn place<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        list.get(usize::try_from(self.number()?).ok()?).copied()
    }

    fn owner(&mut self, there: bool, interfaces: &[InterfaceId]) -> Option<Option<Owner>> {
        if !there {
            return Some(None);
        }
        Some(Some(Owner {
            interface: self.place(interfaces)?,
            sequence: self.number()?,
        }))
    }
}

/// Decodes a list; `None` if the bytes are not an encoded one.
pub(super) fn unpack(octets: &[u8]) -> Option<Vec<MappingChange>> {
    let mut reader = Reader(octets);
    let subnets: Vec<SubnetId> = reader.identifiers()?;
    let interfaces: Vec<InterfaceId> = reader.identifiers()?;
    let count = reader.count(6)?;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let [flags] = reader.octets()?;
        let subnet = reader.place(&subnets)?;
        let (address, length) = match flags & IPV6 {
            0 => (
                IpAddr::V4(Ipv4Addr::from(reader.octets::<4>()?)),
                if flags & PREFIX == 0 { 32 } else { IPV4_PREFIX_LEN },
            ),
            _ => (
                IpAddr::V6(Ipv6Addr::from(reader.octets::<16>()?)),
                if flags & PREFIX == 0 { 128 } else { IPV6_PREFIX_LEN },
            ),
        };
        changes.push(MappingChange {
            subnet,
            address: AddressOrPrefix::new(IpNet::new(address, length).ok()?).ok()?,
            before: reader.owner(flags & BEFORE != 0, &interfaces)?,
            after: reader.owner(flags & AFTER != 0, &interfaces)?,
        });
    }
    reader.0.is_empty().then_some(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = MappingChange> {
        let owner = || {
            let owner = (0..3_u64, any::<u64>()).prop_map(|(bits, sequence)| Owner {
                interface: InterfaceId::from_bits(bits),
                sequence,
            });
            proptest::option::of(owner)
        };
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| IpNet::from(IpAddr::from(octets))),
            any::<[u8; 16]>().prop_map(|octets| IpNet::from(IpAddr::from(octets))),
            any::<[u8; 4]>().prop_map(|octets| IpNet::new(IpAddr::from(octets), 28).unwrap().trunc()),
            any::<[u8; 16]>().prop_map(|octets| IpNet::new(IpAddr::from(octets), 80).unwrap().trunc()),
        ];
        (0..3_u64, address, owner(), owner()).prop_map(|(subnet, net, before, after)| MappingChange {
            subnet: SubnetId::from_bits(subnet),
            address: AddressOrPrefix::new(net).unwrap(),
            before,
            after,
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_is_unpacked(changes in prop::collection::vec(change(), 0..50)) {
            prop_assert_eq!(unpack(&pack(&changes)), Some(changes));
        }

        #[test]
        fn octets_that_were_not_packed_are_refused_or_give_a_list(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = unpack(&octets);
        }

        #[test]
        fn a_list_that_is_cut_is_refused(changes in prop::collection::vec(change(), 1..20), cut in any::<prop::sample::Index>()) {
            let octets = pack(&changes);
            prop_assert_eq!(unpack(&octets[..cut.index(octets.len())]), None);
        }
    }

    #[test]
    fn a_list_has_the_octets_of_the_format() {
        let owner = Owner {
            interface: InterfaceId::from_bits(5),
            sequence: 300,
        };
        let change = MappingChange {
            subnet: SubnetId::from_bits(9),
            address: "10.0.1.16/28".parse().unwrap(),
            before: None,
            after: Some(owner),
        };
        let expected = [
            &[1, 9, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 5, 0, 0, 0, 0, 0, 0, 0],
            &[1, PREFIX | AFTER, 0, 10, 0, 1, 16, 0, 0xac, 0x02],
        ];
        assert_eq!(pack(&[change]), expected.concat());
    }
}
