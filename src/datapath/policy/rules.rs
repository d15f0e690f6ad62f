//! Says what a rule matches: a protocol, ports or ICMP types, and the other end.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::wire::frame::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[inline]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What names a rule, by the bits of identifiers: a rule of a security group, or an entry of a network ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleName {
    /// A rule of a security group.
    SecurityGroup {
        /// The group's identifier.
        group: u64,
        /// The rule's identifier.
        rule: u64,
    },
    /// An entry of a network ACL.
    NetworkAcl {
        /// The ACL's identifier.
        acl: u64,
        /// The entry's number.
        number: u16,
    },
}

/// The ports of TCP and UDP, or the type (high octet) and code (low octet) of ICMP, that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Ports {
    /// All of them.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// Those of an ICMP type and code; `None` stands for all.
    pub const fn icmp(kind: Option<u8>, code: Option<u8>) -> Self {
        match (kind, code) {
            (None, _) => Self::ALL,
            (Some(kind), None) => Self {
                first: (kind as u16) << 8,
                last: (kind as u16) << 8 | 0xff,
            },
            (Some(kind), Some(code)) => {
                let value = (kind as u16) << 8 | code as u16;
                Self {
                    first: value,
                    last: value,
                }
            }
        }
    }
}

/// The other end that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Addresses: one range, or those of a prefix list. Ranges of one family.
    Nets(Vec<IpNet>),
    /// The interfaces of a security group, by the bits of its identifier (S4).
    Group(u64),
}

/// A rule to be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// What names it.
    pub name: RuleName,
    /// The protocol; `None` for all of them.
    pub protocol: Option<u8>,
    /// Ports, or types and codes; without effect on protocols other than TCP, UDP and the two ICMPs (S7, N2).
    pub ports: Ports,
    /// The other end.
    pub peer: Peer,
}

/// What the upper layer of a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upper {
    /// The receiver's port, or ICMP type and code.
    Port(u16),
    /// Nothing: a later fragment, or a packet that ends before its ports do. Only rules about all ports match it.
    Unknown,
}

impl RuleSpec {
    /// Whether it is about all addresses of a family.
    pub(super) fn is_everywhere(&self) -> bool {
        matches!(&self.peer, Peer::Nets(nets) if nets.iter().any(|net| net.prefix_len() == 0))
    }

    /// Whether it can match packets of a family.
    pub(super) fn is_in(&self, family: Family) -> bool {
        match &self.peer {
            Peer::Nets(nets) => nets.iter().any(|net| Family::of(net.addr()) == family),
            Peer::Group(_) => true,
        }
    }

    /// The ports that it is about among the packets of a protocol; `None` where it is not about that protocol.
    pub(super) fn ports_of(&self, protocol: u8) -> Option<Ports> {
        match self.protocol {
            None => Some(Ports::ALL),
            Some(own) if own != protocol => None,
            Some(own) if has_ports(own) => Some(self.ports),
            Some(_) => Some(Ports::ALL),
        }
    }
}

/// Whether rules tell packets of a protocol apart by ports, or by type and code.
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_ICMP | PROTOCOL_ICMPV6)
}
