//! Finds the first of many rules that matches a packet.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::cuts::{CutPoints, Cuts};
use super::rules::{Family, Peer, Ports, RuleName, RuleSpec, Upper};

/// The number of a set of rules.
pub(super) type SetNumber = u32;

/// The set without rules.
const NONE: SetNumber = 0;

/// Rules in a form whose look-up does not grow with their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleTable {
    names: Vec<RuleName>,
    /// The class of each protocol.
    class_of: Box<[u16; 256]>,
    classes: Vec<Class>,
    ipv4: Cuts<u32>,
    ipv6: Cuts<u128>,
    /// The rules about each group, in order of the groups.
    groups: Vec<(u64, SetNumber)>,
    sets: Sets,
}

/// What the rules say of the packets of some protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    /// The protocol; `None` for those that no rule names.
    protocol: Option<u8>,
    ports: Cuts<u16>,
    /// The rules that match whatever the ports.
    whole: SetNumber,
}

/// Sets of rules, as bits; equal ones are kept once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sets {
    /// Words of each set.
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    #[inline]
    fn get(&self, number: SetNumber) -> &[u64] {
        let first = number as usize * self.words;
        &self.bits[first..first + self.words]
    }
}

/// Keeps equal sets once while a table is compiled.
struct Pool {
    sets: Sets,
    known: HashMap<Vec<u64>, SetNumber>,
}

impl Pool {
    fn new(rules: usize) -> Self {
        let words = rules.div_ceil(64).max(1);
        let mut pool = Self {
            sets: Sets {
                words,
                bits: Vec::new(),
            },
            known: HashMap::new(),
        };
        pool.keep(&vec![0; words]);
        pool
    }

    fn keep(&mut self, set: &[u64]) -> SetNumber {
        if let Some(number) = self.known.get(set) {
            return *number;
        }
        // A set for each interval at the most, of which a table has a few thousand.
        let number = self.known.len() as SetNumber;
        self.sets.bits.extend_from_slice(set);
        self.known.insert(set.to_vec(), number);
        number
    }

    fn of(&mut self, rules: impl Iterator<Item = usize>) -> SetNumber {
        let mut set = vec![0; self.sets.words];
        rules.for_each(|rule| set[rule / 64] |= 1 << (rule % 64));
        self.keep(&set)
    }

    /// The intervals that ranges of values cut, each with the rules that hold in it.
    fn cut<T: super::cuts::Value>(&mut self, ranges: &[(T, T, usize)]) -> Cuts<T> {
        let mut events: Vec<(T, bool, usize)> = Vec::with_capacity(ranges.len() * 2);
        for &(first, last, rule) in ranges {
            events.push((first, true, rule));
            events.extend(last.next().map(|after| (after, false, rule)));
        }
        events.sort_unstable();
        let mut cuts = Cuts::new(NONE);
        // Ranges of one rule, of a prefix list, may overlap.
        let mut depth: HashMap<usize, usize> = HashMap::new();
        let mut set = vec![0_u64; self.sets.words];
        let mut at = 0;
        while at < events.len() {
            let start = events[at].0;
            while at < events.len() && events[at].0 == start {
                let (_, begins, rule) = events[at];
                let depth = depth.entry(rule).or_default();
                // Ends sort before beginnings: `false < true`. A range that ends has begun before.
                *depth = if begins { *depth + 1 } else { *depth - 1 };
                let bit = 1 << (rule % 64);
                if *depth > 0 {
                    set[rule / 64] |= bit;
                } else {
                    set[rule / 64] &= !bit;
                }
                at += 1;
            }
            cuts.push(start, self.keep(&set));
        }
        cuts
    }
}

impl Default for RuleTable {
    fn default() -> Self {
        Self::compile(&[])
    }
}

impl RuleTable {
    pub(super) fn compile(rules: &[RuleSpec]) -> Self {
        let mut pool = Pool::new(rules.len());
        let mut named: Vec<u8> = rules.iter().filter_map(|rule| rule.protocol).collect();
        named.sort_unstable();
        named.dedup();
        let mut class_of = Box::new([0; 256]);
        let mut classes = vec![Class::compile(None, rules, &mut pool)];
        for protocol in named {
            // No more than 256, and the one of all others.
            class_of[usize::from(protocol)] = classes.len() as u16;
            classes.push(Class::compile(Some(protocol), rules, &mut pool));
        }
        let (mut ipv4, mut ipv6, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for (at, rule) in rules.iter().enumerate() {
            match &rule.peer {
                Peer::Group(group) => groups.push(*group),
                Peer::Nets(nets) => {
                    for net in nets {
                        match net {
                            IpNet::V4(net) => ipv4.push((net.network().to_bits(), net.broadcast().to_bits(), at)),
                            IpNet::V6(net) => ipv6.push((net.network().to_bits(), net.broadcast().to_bits(), at)),
                        }
                    }
                }
            }
        }
        groups.sort_unstable();
        groups.dedup();
        let about = |group: u64| {
            let rules = rules.iter().enumerate();
            rules.filter_map(move |(at, rule)| (rule.peer == Peer::Group(group)).then_some(at))
        };
        Self {
            names: rules.iter().map(|rule| rule.name).collect(),
            class_of,
            classes,
            ipv4: pool.cut(&ipv4),
            ipv6: pool.cut(&ipv6),
            groups: groups.into_iter().map(|group| (group, pool.of(about(group)))).collect(),
            sets: pool.sets,
        }
    }

    pub(super) fn names_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The first rule that matches, and its place.
    #[inline]
    pub(super) fn first(
        &self,
        remote: IpAddr,
        groups: &[u64],
        protocol: u8,
        upper: Upper,
    ) -> Option<(usize, RuleName)> {
        let class = &self.classes[usize::from(self.class_of[usize::from(protocol)])];
        let ports = self.sets.get(match upper {
            Upper::Port(port) => class.ports.find(port),
            Upper::Unknown => class.whole,
        });
        let addresses = self.sets.get(match remote {
            IpAddr::V4(address) => self.ipv4.find(address.to_bits()),
            IpAddr::V6(address) => self.ipv6.find(address.to_bits()),
        });
        let at = if self.groups.is_empty() || groups.is_empty() {
            first_of(ports.iter().zip(addresses).map(|(ports, addresses)| ports & addresses))
        } else {
            let words = 0..self.sets.words;
            first_of(words.map(|word| ports[word] & (addresses[word] | self.of_groups(groups, word))))
        };
        at.map(|at| (at, self.names[at]))
    }

    /// One word of the rules about any of some groups. An interface has five at the most.
    fn of_groups(&self, groups: &[u64], word: usize) -> u64 {
        let sets = groups.iter().filter_map(|group| {
            let at = self.groups.binary_search_by_key(group, |(known, _)| *known).ok()?;
            Some(self.sets.get(self.groups[at].1)[word])
        });
        sets.fold(0, |all, set| all | set)
    }

    pub(super) fn cut_points(&self, family: Family) -> CutPoints {
        CutPoints {
            addresses: match family {
                Family::V4 => self.ipv4.starts().map(|bits| IpAddr::V4(bits.into())).collect(),
                Family::V6 => self.ipv6.starts().map(|bits| IpAddr::V6(bits.into())).collect(),
            },
            ports: self
                .classes
                .iter()
                .map(|class| (class.protocol, class.ports.starts().collect()))
                .collect(),
            groups: self.groups.iter().map(|(group, _)| *group).collect(),
        }
    }
}

impl Class {
    fn compile(protocol: Option<u8>, rules: &[RuleSpec], pool: &mut Pool) -> Self {
        let of = |rule: &RuleSpec| match protocol {
            Some(protocol) => rule.ports_of(protocol),
            None => rule.protocol.is_none().then_some(Ports::ALL),
        };
        let ports = || rules.iter().enumerate().filter_map(|(at, rule)| Some((of(rule)?, at)));
        let ranges: Vec<(u16, u16, usize)> = ports().map(|(ports, at)| (ports.first, ports.last, at)).collect();
        Self {
            protocol,
            ports: pool.cut(&ranges),
            whole: pool.of(ports().filter(|(ports, _)| *ports == Ports::ALL).map(|(_, at)| at)),
        }
    }
}

/// The place of the first bit that is set.
#[inline]
fn first_of(words: impl Iterator<Item = u64>) -> Option<usize> {
    for (at, word) in words.enumerate() {
        if word != 0 {
            return Some(at * 64 + word.trailing_zeros() as usize);
        }
    }
    None
}
