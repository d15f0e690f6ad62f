//! Remembers the former owner of an address, for as long as neighbors of the subnet may have it cached.
//!
//! On EC2 an IPv6 address moves in two calls only: it is unassigned from one interface and assigned to another. Its
//! former owner decides whether the assignment is announced.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::{AddressOrPrefix, InterfaceId, MappingChange, SubnetId};

/// The most addresses that are remembered; the oldest are dropped first.
const CAPACITY: usize = 65_536;

type Key = (SubnetId, AddressOrPrefix);

/// The interfaces that lost addresses, and when.
#[derive(Debug, Default)]
pub(super) struct Former {
    owners: HashMap<Key, (InterfaceId, Duration), foldhash::fast::FixedState>,
    /// In the order in which they were lost.
    lost: VecDeque<(Duration, Key)>,
}

impl Former {
    /// Whether a change gives an address to an interface other than its owner of no longer ago than `within`: in one
    /// step, or in two. A change that takes an address from an interface is remembered.
    pub(super) fn moves(&mut self, change: &MappingChange, within: Duration, now: Duration) -> bool {
        let key = (change.subnet, change.address);
        match (change.from(), change.to()) {
            (Some(_), Some(_)) => true,
            (Some(owner), None) => {
                if !within.is_zero() {
                    self.forget(now.saturating_sub(within));
                    self.owners.insert(key, (owner, now));
                    self.lost.push_back((now, key));
                }
                false
            }
            (None, Some(owner)) => self
                .owners
                .remove(&key)
                .is_some_and(|(former, at)| former != owner && now.saturating_sub(at) <= within),
            (None, None) => false,
        }
    }

    /// Drops what was lost before a time, and the oldest entries above the capacity.
    fn forget(&mut self, before: Duration) {
        while let Some((at, key)) = self.lost.front().copied() {
            if at >= before && self.lost.len() < CAPACITY {
                return;
            }
            self.lost.pop_front();
            if self.owners.get(&key).is_some_and(|(_, lost)| *lost == at) {
                self.owners.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ResourceId;
    use crate::model::mapping::Owner;

    const HOUR: Duration = Duration::from_secs(3600);

    fn owner(bits: u64) -> Owner {
        Owner {
            interface: InterfaceId::from_bits(bits),
            sequence: 1,
        }
    }

    fn change(last: u8, from: Option<u64>, to: Option<u64>) -> MappingChange {
        MappingChange {
            subnet: SubnetId::from_bits(1),
            address: std::net::IpAddr::from([10, 0, 1, last]).into(),
            before: from.map(owner),
            after: to.map(owner),
        }
    }

    #[test]
    fn an_assignment_is_a_move_while_another_owner_may_be_remembered() {
        let at = |seconds: u64| Duration::from_secs(1000 + seconds);
        // Owner before, owner after, seconds between: is it a move?
        for (before, after, seconds, expected) in [
            (1, 2, 0, true),
            (1, 2, 3600, true),
            (1, 2, 3601, false),
            (1, 1, 0, false),
        ] {
            let mut former = Former::default();
            assert!(!former.moves(&change(9, Some(before), None), HOUR, at(0)));
            let moved = former.moves(&change(9, None, Some(after)), HOUR, at(seconds));
            assert_eq!(moved, expected, "{before} to {after} after {seconds} s");
            assert!(!former.moves(&change(9, None, Some(3)), HOUR, at(seconds)), "once");
        }
        let mut former = Former::default();
        assert!(!former.moves(&change(9, None, Some(1)), HOUR, at(0)), "it had no owner");
        assert!(
            former.moves(&change(9, Some(1), Some(2)), Duration::ZERO, at(0)),
            "in one step"
        );
        assert!(!former.moves(&change(9, Some(1), None), Duration::ZERO, at(0)));
        assert!(
            !former.moves(&change(9, None, Some(2)), Duration::ZERO, at(0)),
            "not where nothing is remembered"
        );
    }

    #[test]
    fn what_is_remembered_has_a_limit_and_the_oldest_goes_first() {
        let mut former = Former::default();
        for number in 0..CAPACITY as u32 + 10 {
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
            let change = MappingChange {
                address: std::net::IpAddr::V4(address).into(),
                ..change(0, Some(1), None)
            };
            former.moves(&change, HOUR, Duration::from_secs(1));
        }
        assert!(former.owners.len() <= CAPACITY && former.lost.len() <= CAPACITY);
        let first = MappingChange {
            address: std::net::IpAddr::from([10, 0, 0, 0]).into(),
            ..change(0, None, Some(2))
        };
        assert!(
            !former.moves(&first, HOUR, Duration::from_secs(1)),
            "the oldest is forgotten"
        );
        assert!(
            former.moves(&change(0, None, Some(2)), HOUR, Duration::from_secs(1)),
            "a later one is not"
        );
    }
}
