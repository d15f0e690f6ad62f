//! Writes the bindings of NAT gateways and the connections of egress-only gateways down, so that another process goes on with
//! them.

use std::num::NonZeroU32;

use super::key::Words;
use super::{Bindings, Opening, Record};
use crate::datapath::VpcIndex;
use crate::mapping::InterfaceIndex;

/// A gateway by the number that it has in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SavedGateway {
    /// A NAT gateway, by its interface.
    Nat(InterfaceIndex),
    /// The egress-only gateway of a VPC.
    EgressOnly(VpcIndex),
}

impl SavedGateway {
    fn of(words: &Words) -> Option<Self> {
        let number = NonZeroU32::new(words.gateway())?;
        Some(match words.is_egress_only() {
            true => Self::EgressOnly(VpcIndex(number)),
            false => Self::Nat(InterfaceIndex(number)),
        })
    }

    fn number(self) -> u32 {
        match self {
            Self::Nat(interface) => interface.get(),
            Self::EgressOnly(vpc) => vpc.0.get(),
        }
    }
}

/// A binding without what is particular to one process: its gateway has an identifier there, and its life is counted from
/// the moment of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedBinding {
    /// The gateway.
    pub gateway: SavedGateway,
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

    /// The binding that was written so. `gateway` gives the number of its gateway in this process; its argument says whether
    /// that is the egress-only gateway of a VPC.
    pub fn from_octets(
        octets: &[u8; SAVED_BINDING],
        gateway: impl FnOnce(bool) -> Option<SavedGateway>,
    ) -> Option<Self> {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|octet| octets[at + octet]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|octet| octets[at + octet]));
        let words = Words(std::array::from_fn(|place| word(place * 8)));
        Some(Self {
            gateway: gateway(words.is_egress_only())?,
            words,
            seen: half(64),
            left: half(68),
        })
    }
}

impl Bindings {
    /// Calls `each` for all bindings of NAT gateways and connections of egress-only gateways that are alive.
    pub fn save(&self, now: u32, mut each: impl FnMut(SavedBinding)) {
        let made = self.writer().made;
        for number in 1..=made {
            let Some((words, until, seen)) = self.record(number).and_then(Record::read) else {
                continue;
            };
            if until < now.max(1) || words.is_load() {
                continue;
            }
            if let Some(gateway) = SavedGateway::of(&words) {
                each(SavedBinding {
                    gateway,
                    words: words.of_gateway(0),
                    seen,
                    left: until - now,
                });
            }
        }
    }

    /// Cuts all connections of a gateway.
    pub fn cut_all(&self, gateway: SavedGateway) {
        match gateway {
            SavedGateway::Nat(interface) => self.cut(interface, None),
            SavedGateway::EgressOnly(vpc) => {
                self.cut_untranslated(vpc.0.get(), true);
                self.cut_untranslated(vpc.0.get(), false);
            }
        }
    }

    /// Goes on with a binding, `late` seconds after it was written. One whose connection or port is bound already is left out.
    pub fn resume(&self, saved: &SavedBinding, now: u32, late: u32) {
        let Some(left) = saved.left.checked_sub(late) else {
            return;
        };
        let words = saved.words.of_gateway(saved.gateway.number());
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
#[cfg(not(loom))]
mod tests {
    use std::net::IpAddr;

    use super::super::Inside;
    use super::*;

    /// Writes everything, and reads it where each gateway has a number that is higher by 2.
    fn hand_over(old: &Bindings, new: &Bindings, at: u32, (now, late): (u32, u32)) {
        old.save(at, |saved| {
            let moved = SavedBinding::from_octets(&saved.octets(), |egress_only| {
                assert_eq!(egress_only, matches!(saved.gateway, SavedGateway::EgressOnly(_)));
                Some(match saved.gateway {
                    SavedGateway::Nat(index) => SavedGateway::Nat(InterfaceIndex(index.0.saturating_add(2))),
                    SavedGateway::EgressOnly(vpc) => SavedGateway::EgressOnly(VpcIndex(vpc.0.saturating_add(2))),
                })
            });
            new.resume(&moved.unwrap(), now, late);
        });
    }

    #[test]
    fn connections_of_an_egress_only_gateway_go_on_under_another_number_of_the_vpc() {
        let (old, new) = (Bindings::new(1), Bindings::new(2));
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let connection = |number: u32, port: u16, egress_only: bool| Inside {
            gateway: InterfaceIndex::from_number(number).unwrap(),
            protocol: 6,
            fragments: false,
            egress_only,
            address,
            port,
            remote: "2001:db8:ffff::7".parse().unwrap(),
            remote_port: 443,
        };
        for (port, egress_only) in [(4001, true), (4002, false)] {
            let opening = Opening {
                inside: connection(7, port, egress_only),
                outside: (address, port),
                seen: 0,
                until: 400,
                limit: 0,
            };
            old.open(&opening, 100).unwrap();
        }
        hand_over(&old, &new, 100, (50, 3));
        for (port, own) in [(4001, true), (4002, false)] {
            let found = new.of_inside(&connection(9, port, own), 50);
            assert_eq!(found.map(|found| found.until), Some(50 + 300 - 3), "{port}");
            assert_eq!(new.of_inside(&connection(9, port, !own), 50), None, "{port}");
        }
    }

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
        hand_over(&old, &new, 100, (50, 3));
        for (host, v6, until) in cases {
            let found = new.of_inside(&inside(9, host, v6), 50);
            let expected = (until >= 103).then(|| ((outside(v6), 2000 + u16::from(host)), u32::from(host), until - 53));
            let found = found.map(|found| (found.outside, found.seen, found.until));
            assert_eq!(found, expected, "host {host}");
        }
    }
}
