//! Writes the bindings of NAT gateways down, so that another process goes on with them.

use super::key::Words;
use super::{Bindings, Opening, Record};
use crate::mapping::InterfaceIndex;

/// A binding without what is particular to one process: its gateway has an identifier there, and its life is counted from
/// the moment of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedBinding {
    /// The gateway's interface.
    pub gateway: InterfaceIndex,
    /// Without the gateway.
    words: Words,
    seen: u32,
    /// Seconds of its life that are left.
    left: u32,
}

/// Octets of a binding, without its gateway.
pub const SAVED_BINDING: usize = 8 * 8 + 4 + 4;

impl SavedBinding {
    /// What is not about the gateway, in octets.
    pub fn octets(&self) -> [u8; SAVED_BINDING] {
        let mut octets = [0; SAVED_BINDING];
        for (place, word) in self.words.0.iter().enumerate() {
            octets[place * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        octets[64..68].copy_from_slice(&self.seen.to_le_bytes());
        octets[68..].copy_from_slice(&self.left.to_le_bytes());
        octets
    }

    /// The binding of a gateway that was written so.
    pub fn from_octets(gateway: InterfaceIndex, octets: &[u8; SAVED_BINDING]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|octet| octets[at + octet]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|octet| octets[at + octet]));
        Self {
            gateway,
            words: Words(std::array::from_fn(|place| word(place * 8))),
            seen: half(64),
            left: half(68),
        }
    }
}

impl Bindings {
    /// Calls `each` for all bindings of NAT gateways that are alive.
    pub fn save(&self, now: u32, mut each: impl FnMut(SavedBinding)) {
        let made = self.writer().made;
        for number in 1..=made {
            let Some((words, until, seen)) = self.record(number).and_then(Record::read) else {
                continue;
            };
            // What an egress-only gateway lets back in has the number of its VPC in place of an interface, which another process
            // does not give again. The next packet from inside lets answers in anew.
            if until < now.max(1) || words.is_load() || words.is_egress_only() {
                continue;
            }
            if let Some(gateway) = InterfaceIndex::from_number(words.gateway()) {
                each(SavedBinding {
                    gateway,
                    words: words.of_gateway(0),
                    seen,
                    left: until - now,
                });
            }
        }
    }

    /// Goes on with a binding, `late` seconds after it was written. One whose connection or port is bound already is left out.
    pub fn resume(&self, saved: &SavedBinding, now: u32, late: u32) {
        let Some(left) = saved.left.checked_sub(late) else {
            return;
        };
        let words = saved.words.of_gateway(saved.gateway.get());
        let opening = Opening {
            inside: words.inside(),
            outside: words.translated(),
            seen: saved.seen,
            until: now.saturating_add(left),
            limit: 0,
        };
        // Where there is no room, the connection is over, as if the gateway had been replaced.
        let _ = self.open(&opening, now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::Inside;
    use super::*;

    #[test]
    fn bindings_go_on_in_another_table_under_another_number_of_the_gateway() {
        let index = |number| InterfaceIndex::from_number(number).unwrap();
        let (old, new) = (Bindings::new(1), Bindings::new(2));
        let inside = |gateway: u32, host: u8, v6: bool| Inside {
            gateway: index(gateway),
            protocol: 6,
            fragments: false,
            egress_only: false,
            address: match v6 {
                true => "2001:db8::1".parse().unwrap(),
                false => IpAddr::from([10, 0, 0, host]),
            },
            port: 4000 + u16::from(host),
            remote: match v6 {
                true => "2001:db8:ffff::7".parse().unwrap(),
                false => IpAddr::from([198, 51, 100, 7]),
            },
            remote_port: 443,
        };
        let outside = |v6: bool| -> IpAddr {
            match v6 {
                true => "2001:db8::220".parse().unwrap(),
                false => IpAddr::from([10, 0, 1, 220]),
            }
        };
        let cases = [(1, false, 100), (2, false, 103), (3, false, 102), (4, true, 200)];
        for (host, v6, until) in cases {
            let opening = Opening {
                inside: inside(7, host, v6),
                outside: (outside(v6), 2000 + u16::from(host)),
                seen: u32::from(host),
                until,
                limit: 0,
            };
            old.open(&opening, 100).unwrap();
        }
        // Written at 100, read 3 seconds later at 50 of another clock.
        old.save(100, |saved| {
            let moved = SavedBinding::from_octets(index(saved.gateway.get() + 2), &saved.octets());
            new.resume(&moved, 50, 3);
        });
        for (host, v6, until) in cases {
            let found = new.of_inside(&inside(9, host, v6), 50);
            let expected = (until >= 103).then(|| ((outside(v6), 2000 + u16::from(host)), u32::from(host), until - 53));
            let found = found.map(|found| (found.outside, found.seen, found.until));
            assert_eq!(found, expected, "host {host}");
        }
    }
}
