//! Finds the subnet of an address. Subnets of a VPC do not overlap, so it is the last one that begins at or before the
//! address, or none.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::SubnetIndex;

/// The subnets of a VPC by their addresses.
#[derive(Clone, Default)]
pub(crate) struct Ranges {
    ipv4: Family<u32>,
    /// By the upper half: each is a /64.
    ipv6: Family<u64>,
}

/// The first address of each range, in order; and separately its last address and subnet, because a search reads the
/// former only.
#[derive(Clone, Default)]
struct Family<A> {
    first: Vec<A>,
    rest: Vec<(A, SubnetIndex)>,
}

impl<A: Ord + Copy> Family<A> {
    fn insert(&mut self, first: A, last: A, subnet: SubnetIndex) {
        let at = self.first.partition_point(|other| *other < first);
        self.first.insert(at, first);
        self.rest.insert(at, (last, subnet));
    }

    fn remove(&mut self, subnet: SubnetIndex) {
        if let Some(at) = self.rest.iter().position(|(_, other)| *other == subnet) {
            self.first.remove(at);
            self.rest.remove(at);
        }
    }

    #[inline(always)]
    fn around(&self, key: A) -> Option<SubnetIndex> {
        let (last, subnet) = *self.rest.get(last_at_or_before(&self.first, key)?)?;
        (key <= last).then_some(subnet)
    }
}

impl Ranges {
    pub(crate) fn insert(&mut self, index: SubnetIndex, ipv4: Option<Ipv4Net>, ipv6: Option<Ipv6Net>) {
        if let Some(net) = ipv4 {
            self.ipv4
                .insert(net.network().to_bits(), net.broadcast().to_bits(), index);
        }
        if let Some(net) = ipv6 {
            self.ipv6
                .insert(upper_half(net.network()), upper_half(net.broadcast()), index);
        }
    }

    pub(crate) fn remove(&mut self, index: SubnetIndex) {
        self.ipv4.remove(index);
        self.ipv6.remove(index);
    }

    /// The subnet that contains an address.
    #[inline(always)]
    pub(in crate::datapath) fn around(&self, address: IpAddr) -> Option<SubnetIndex> {
        match address {
            IpAddr::V4(address) => self.ipv4.around(address.to_bits()),
            IpAddr::V6(address) => self.ipv6.around(upper_half(address)),
        }
    }
}

#[inline(always)]
pub(in crate::datapath) fn upper_half(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

/// Up to this many numbers are counted instead of searched: each step of a search depends on the one before.
const FEW: usize = 16;

/// The index of the last number of a sorted list that is not above `key`.
#[inline(always)]
pub(in crate::datapath) fn last_at_or_before<A: Ord + Copy>(ordered: &[A], key: A) -> Option<usize> {
    let mut rest = ordered;
    let mut passed = 0;
    while rest.len() > FEW {
        let (lower, upper) = rest.split_at(rest.len() / 2);
        if upper[0] <= key {
            passed += lower.len();
            rest = upper;
        } else {
            rest = lower;
        }
    }
    passed += rest.iter().filter(|first| **first <= key).count();
    passed.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model: a linear search.
        #[test]
        fn an_address_lies_in_the_subnet_whose_range_holds_it(
            slots in prop::collection::btree_set(0_u32..64, 0..40),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            asked in prop::collection::vec(0_u32..66 * 16, 1..60),
        ) {
            let net = |slot: u32| {
                let ipv4 = Ipv4Net::new((0x0a00_0010 + slot * 16).into(), 28).expect("a /28");
                let ipv6 = Ipv6Net::new(((0x2001_0db8_u128 << 96) + (u128::from(slot) << 64)).into(), 64).expect("a /64");
                (ipv4, ipv6)
            };
            let number = |slot: u32| SubnetIndex(NonZeroU32::MIN.saturating_add(slot));
            let mut ranges = Ranges::default();
            // Not in the order of their addresses.
            let mut held: Vec<u32> = slots.into_iter().collect();
            held.sort_by_key(|slot| slot.reverse_bits());
            for slot in &held {
                ranges.insert(number(*slot), Some(net(*slot).0), Some(net(*slot).1));
            }
            for index in gone {
                if !held.is_empty() {
                    let slot = held.swap_remove(index.index(held.len()));
                    ranges.remove(number(slot));
                }
            }
            for address in asked {
                let ipv4 = std::net::Ipv4Addr::from_bits(0x0a00_0000 + address);
                let ipv6 = Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) - (1 << 64) + (u128::from(address / 16) << 64) + 5);
                let around = |holds: &dyn Fn(u32) -> bool| held.iter().copied().find(|slot| holds(*slot)).map(number);
                prop_assert_eq!(ranges.around(ipv4.into()), around(&|slot| net(slot).0.contains(&ipv4)));
                prop_assert_eq!(ranges.around(ipv6.into()), around(&|slot| net(slot).1.contains(&ipv6)));
            }
        }
    }
}
