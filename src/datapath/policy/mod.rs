//! Compiles the rules of security groups and the entries of network ACLs into a form whose look-up does not grow with their
//! number.
//!
//! A packet is matched along three lines: its protocol and port (or ICMP type and code), the address of the other end, and the
//! groups of the interface there. Along each line the rules cut the range of values into intervals, and each interval has the
//! set of the rules that match in it. A look-up finds three sets, and the first rule that is in both the set of ports and one
//! of the others matches.

mod cuts;
mod rules;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use super::state::Life;
use crate::model::traffic::Direction;
pub use cuts::CutPoints;
pub use rules::{Family, Peer, Ports, RuleName, RuleSpec, Upper};
use table::RuleTable;

/// A rule that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The rule's name.
    pub rule: RuleName,
    /// Whether a TCP or UDP flow that the rule lets in is not tracked (EC2 guide, "Security group connection tracking").
    pub untracked: bool,
}

/// The rules of one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Side {
    table: RuleTable,
    /// How many of the first rules are about all addresses of a family.
    everywhere: usize,
    /// For IPv4 and IPv6, for TCP and UDP: whether a rule is about all addresses and all ports.
    open: [[bool; 2]; 2],
}

/// The union of the rules of an interface's security groups (S1: allow only, without an order).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The groups, in order.
    groups: Vec<u64>,
    egress: Side,
    ingress: Side,
    /// How long connections live, where the interface has lives of its own.
    life: Option<Life>,
}

impl Side {
    fn compile(mut rules: Vec<RuleSpec>) -> Self {
        // The first rule that matches names the decision, and one about all addresses decides whether a flow is tracked.
        rules.sort_by_key(|rule| !rule.is_everywhere());
        let everywhere = rules.iter().take_while(|rule| rule.is_everywhere()).count();
        let open = |family, protocol| {
            let rules = rules.iter().take(everywhere);
            rules
                .filter(|rule| rule.is_in(family))
                .any(|rule| rule.ports_of(protocol) == Some(Ports::ALL))
        };
        let open = [Family::V4, Family::V6].map(|family| TRACKED_BY_RULE.map(|protocol| open(family, protocol)));
        Self {
            everywhere,
            open,
            table: RuleTable::compile(&rules),
        }
    }

    fn is_open(&self, family: Family, protocol: u8) -> bool {
        let of_protocol = TRACKED_BY_RULE.iter().position(|known| *known == protocol);
        of_protocol.is_some_and(|at| self.open[family as usize][at])
    }
}

/// TCP and UDP: whether flows of other protocols are tracked does not depend on rules (T2).
const TRACKED_BY_RULE: [u8; 2] = [crate::wire::frame::PROTOCOL_TCP, crate::wire::frame::PROTOCOL_UDP];

impl Policy {
    /// Compiles the rules of some groups, given by the bits of their identifiers.
    pub fn compile(groups: impl IntoIterator<Item = u64>, egress: Vec<RuleSpec>, ingress: Vec<RuleSpec>) -> Self {
        let mut groups: Vec<u64> = groups.into_iter().collect();
        groups.sort_unstable();
        groups.dedup();
        Self {
            groups,
            egress: Side::compile(egress),
            ingress: Side::compile(ingress),
            life: None,
        }
    }

    /// With other lives of connections than the profile's.
    pub fn with_life(mut self, life: Option<Life>) -> Self {
        self.life = life;
        self
    }

    /// How long connections live, where that is not as the profile says.
    pub fn life(&self) -> Option<&Life> {
        self.life.as_ref()
    }

    /// The groups whose rules these are.
    pub fn groups(&self) -> &[u64] {
        &self.groups
    }

    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    /// Whether a rule of this direction names a group.
    pub fn names_groups(&self, direction: Direction) -> bool {
        self.side(direction).table.names_groups()
    }

    /// The rule that lets a packet through, if one does. `remote` is the address of the other end, `groups` are those of the
    /// interface there, and `source_port` is the packet's, of TCP and UDP.
    ///
    /// A flow is untracked between a rule about all addresses and another of the opposite direction about all addresses and all
    /// ports (T1). The answers of such a flow are untracked too (EC2 guide, "Security group connection tracking", the example:
    /// port 80 "in and out of the instance"): those are the packets from a port that the opposite direction lets through.
    pub fn allows(
        &self,
        direction: Direction,
        remote: IpAddr,
        groups: &[u64],
        protocol: u8,
        upper: Upper,
        source_port: Option<u16>,
    ) -> Option<Match> {
        let side = self.side(direction);
        let (at, rule) = side.table.first(remote, groups, protocol, upper)?;
        let back = self.side(direction.opposite());
        let family = Family::of(remote);
        let lets_back = |port| {
            let found = back.table.first(remote, &[], protocol, Upper::Port(port));
            found.is_some_and(|(at, _)| at < back.everywhere)
        };
        let answers = || side.is_open(family, protocol) && source_port.is_some_and(lets_back);
        let untracked = at < side.everywhere && (back.is_open(family, protocol) || answers());
        Some(Match { rule, untracked })
    }

    /// The rule that lets every packet of a protocol through, whatever its ports.
    pub fn allows_whole(&self, direction: Direction, remote: IpAddr, groups: &[u64], protocol: u8) -> Option<RuleName> {
        let side = self.side(direction);
        side.table
            .first(remote, groups, protocol, Upper::Unknown)
            .map(|(_, rule)| rule)
    }

    /// Where along each line a verdict may change.
    pub fn cut_points(&self, direction: Direction, family: Family) -> CutPoints {
        self.side(direction).table.cut_points(family)
    }
}

/// The entries of a network ACL: numbered, and the first that matches decides (N1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    egress: Entries,
    ingress: Entries,
}

/// An entry of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    /// Its number; entries are met in the order of their numbers.
    pub number: u16,
    /// Whether it lets packets through.
    pub allow: bool,
    /// What it matches. Its name is the ACL's and the number.
    pub rule: RuleSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entries {
    table: RuleTable,
    allow: Vec<bool>,
    /// For IPv4 and IPv6: whether the first entry about the family lets all of it through.
    open: [bool; 2],
}

impl Entries {
    fn compile(mut entries: Vec<AclEntry>) -> Self {
        entries.sort_by_key(|entry| entry.number);
        let allow = entries.iter().map(|entry| entry.allow).collect();
        let open = [Family::V4, Family::V6].map(|family| {
            let first = entries.iter().find(|entry| entry.rule.is_in(family));
            first.is_some_and(|entry| entry.allow && entry.rule.protocol.is_none() && entry.rule.is_everywhere())
        });
        let rules: Vec<RuleSpec> = entries.into_iter().map(|entry| entry.rule).collect();
        Self {
            table: RuleTable::compile(&rules),
            allow,
            open,
        }
    }
}

impl Acl {
    /// Compiles the entries of both directions.
    pub fn compile(egress: Vec<AclEntry>, ingress: Vec<AclEntry>) -> Self {
        Self {
            egress: Entries::compile(egress),
            ingress: Entries::compile(ingress),
        }
    }

    /// The entry that decides about a packet, and whether it lets it through; `None` where no entry matches, which denies.
    pub fn decide(&self, direction: Direction, remote: IpAddr, protocol: u8, upper: Upper) -> Option<(RuleName, bool)> {
        let entries = self.entries(direction);
        let (at, name) = entries.table.first(remote, &[], protocol, upper)?;
        Some((name, entries.allow[at]))
    }

    /// Whether every packet of a family passes, as by the entries that a default ACL begins with.
    #[inline]
    pub fn lets_all_through(&self, direction: Direction, family: Family) -> bool {
        self.entries(direction).open[family as usize]
    }

    #[inline]
    fn entries(&self, direction: Direction) -> &Entries {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    /// Where along each line a verdict may change.
    pub fn cut_points(&self, direction: Direction, family: Family) -> CutPoints {
        self.entries(direction).table.cut_points(family)
    }
}
