//! Writes tracked connections down, so that another process goes on with them.

use super::key::Key;
use super::slot::Content;
use super::{Connections, Seen};
use crate::mapping::InterfaceIndex;

/// A tracked connection without what is particular to one process: its interface has an identifier there, and its times
/// are counted from the moment of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedConnection {
    /// The interface.
    pub interface: InterfaceIndex,
    /// What it counts against.
    pub allowance: InterfaceIndex,
    key: [u64; 5],
    seen: u16,
    /// Seconds since it was refreshed.
    age: u32,
    /// Seconds of its life that are left.
    left: u32,
}

/// Octets of a connection, without its interfaces.
pub const SAVED: usize = 5 * 8 + 2 + 4 + 4;

impl SavedConnection {
    /// What is not about interfaces, in octets.
    pub fn octets(&self) -> [u8; SAVED] {
        let mut octets = [0; SAVED];
        for (place, word) in self.key.iter().enumerate() {
            octets[place * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        octets[40..42].copy_from_slice(&self.seen.to_le_bytes());
        octets[42..46].copy_from_slice(&self.age.to_le_bytes());
        octets[46..].copy_from_slice(&self.left.to_le_bytes());
        octets
    }

    /// The connection of an interface that was written so.
    pub fn from_octets(interface: InterfaceIndex, allowance: InterfaceIndex, octets: &[u8; SAVED]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|octet| octets[at + octet]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|octet| octets[at + octet]));
        Self {
            interface,
            allowance,
            key: std::array::from_fn(|place| word(place * 8)),
            seen: u16::from_le_bytes([octets[40], octets[41]]),
            age: half(42),
            left: half(46),
        }
    }
}

impl Connections {
    /// Calls `each` for all connections that are alive, and were refreshed in the second `since` or later.
    pub fn save(&self, now: u32, since: u32, mut each: impl FnMut(SavedConnection)) {
        for content in self.table.contents() {
            let Content {
                key,
                seen,
                touched,
                until,
                allowance,
            } = content;
            let interface = InterfaceIndex::from_number(key.interface());
            let (Some(interface), true) = (interface, until >= now && touched >= since) else {
                continue;
            };
            let [_, key @ ..] = *key.words();
            each(SavedConnection {
                interface,
                allowance,
                key,
                seen: seen.bits(),
                age: now.saturating_sub(touched),
                left: until - now,
            });
        }
    }

    /// Goes on with a connection, `late` seconds after it was written. One that is known is brought up to date.
    pub fn resume(&self, saved: &SavedConnection, now: u32, late: u32) {
        let Some(left) = saved.left.checked_sub(late) else {
            return;
        };
        let [a, b, c, d, e] = saved.key;
        let content = Content {
            key: Key::from_words([u64::from(saved.interface.get()), a, b, c, d, e]),
            seen: Seen::from_bits(saved.seen),
            touched: now.saturating_sub(saved.age.saturating_add(late)),
            until: now.saturating_add(left),
            allowance: saved.allowance,
        };
        let hash = self.table.hash(&content.key);
        let mut known = false;
        while let Some((slot, reading)) = self.table.slot(&content.key, hash) {
            known = true;
            if slot.update(&reading, content.seen, content.touched, content.until) {
                break;
            }
        }
        if known {
            return;
        }
        // Where there is no room, the connection is tracked anew by its next packet, if that may begin one.
        let _ = self.table.insert(&content, hash, now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Thread;
    use super::*;

    fn index(number: u32) -> InterfaceIndex {
        InterfaceIndex::from_number(number).unwrap()
    }

    proptest! {
        /// Another process with other numbers for the interfaces finds the same connections, as long as they live.
        #[test]
        fn connections_go_on_in_another_table(
            list in prop::collection::vec((1_u32..4, any::<u16>(), any::<u16>(), any::<bool>(), 0_u32..300), 0..80),
            late in 0_u32..10,
        ) {
            let (old, new) = (Connections::new(3, 1 << 20), Connections::new(9, 1 << 20));
            let now = 1000;
            let key = |interface, own, remote, ipv6| {
                let (a, b): (std::net::IpAddr, std::net::IpAddr) = match ipv6 {
                    true => ("2001:db8::a".parse().unwrap(), "2001:db8::b".parse().unwrap()),
                    false => ("10.0.1.10".parse().unwrap(), "10.0.1.11".parse().unwrap()),
                };
                Key::new(index(interface), 6, Thread::Ports(own, remote), a, b)
            };
            for (interface, own, remote, ipv6, left) in &list {
                let seen = Seen::from_bits(own % 512);
                old.open(&key(*interface, *own, *remote, *ipv6), seen, (now, now + left), index(*interface), 0).unwrap();
            }
            old.save(now, 0, |saved| {
                let moved = SavedConnection::from_octets(
                    index(saved.interface.get() + 10), index(saved.allowance.get() + 10), &saved.octets());
                new.resume(&moved, 50, late);
                // A second time changes nothing.
                new.resume(&moved, 50, late);
            });
            for (interface, own, remote, ipv6, _) in &list {
                let before = old.find(&key(*interface, *own, *remote, *ipv6), now + late);
                let after = new.find(&key(*interface + 10, *own, *remote, *ipv6), 50);
                prop_assert_eq!(before.map(|known| (known.seen, known.until - now - late)), after.map(|known| (known.seen, known.until - 50)));
            }
            let alive = (1..4).map(|number| old.of_interface(index(number), now + late).len()).sum::<usize>();
            prop_assert_eq!(new.len(), alive);
        }
    }
}
