//! Identifies a binding of a NAT gateway from the inside and from the outside, in words that fit atomic stores.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use crate::mapping::InterfaceIndex;

/// A connection as the host behind the gateway sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Inside {
    /// The gateway's interface.
    pub(in crate::datapath) gateway: InterfaceIndex,
    /// The protocol.
    pub(in crate::datapath) protocol: u8,
    /// Whether it stands for the later fragments of one packet, whose identification takes the place of the ports.
    pub(in crate::datapath) fragments: bool,
    /// Whether it goes untranslated, by the egress-only gateway (IPv6) or a gateway endpoint (IPv4) of a VPC, whose number takes
    /// the place of the interface's.
    pub(in crate::datapath) egress_only: bool,
    /// The host's address.
    pub(in crate::datapath) address: IpAddr,
    /// Its port, or the identifier of its ICMP queries.
    pub(in crate::datapath) port: u16,
    /// The other end.
    pub(in crate::datapath) remote: IpAddr,
    /// The other end's port; 0 for ICMP.
    pub(in crate::datapath) remote_port: u16,
}

/// The same connection as the other end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Outside {
    /// The gateway's interface.
    pub(in crate::datapath) gateway: InterfaceIndex,
    /// The protocol.
    pub(in crate::datapath) protocol: u8,
    /// Whether it stands for the later fragments of one packet.
    pub(in crate::datapath) fragments: bool,
    /// Whether it goes by the egress-only gateway of a VPC.
    pub(in crate::datapath) egress_only: bool,
    /// The gateway's address.
    pub(in crate::datapath) address: IpAddr,
    /// Its port.
    pub(in crate::datapath) port: u16,
    /// The other end.
    pub(in crate::datapath) remote: IpAddr,
    /// The other end's port.
    pub(in crate::datapath) remote_port: u16,
}

impl Inside {
    /// The connection from outside, where an address and a port stand for the host.
    pub(in crate::datapath) fn seen_from(&self, (address, port): (IpAddr, u16)) -> Outside {
        Outside {
            gateway: self.gateway,
            protocol: self.protocol,
            fragments: self.fragments,
            egress_only: self.egress_only,
            address,
            port,
            remote: self.remote,
            remote_port: self.remote_port,
        }
    }

    pub(super) fn is_fragments(&self) -> bool {
        self.fragments
    }
}

/// Gateway and kind (0), ports (1), the host's address (2, 3), the other end's (4, 5), the gateway's (6, 7).
pub(super) const WORDS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words(pub(super) [u64; WORDS]);

const FRAGMENTS: u64 = 1;
/// A number of connections to one destination instead of a connection.
const LOAD: u64 = 2;
const IPV6: u64 = 4;
/// By an egress-only gateway.
const EGRESS_ONLY: u64 = 8;

fn flags(fragments: bool, egress_only: bool) -> u64 {
    let fragments = if fragments { FRAGMENTS } else { 0 };
    fragments | if egress_only { EGRESS_ONLY } else { 0 }
}

fn halves(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, u64::from(address.to_bits())],
        IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
    }
}

/// A product folded into 64 bits.
pub(super) fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

fn folded(seed: u64, words: impl IntoIterator<Item = u64>) -> u64 {
    let fold = |hash: u64, word: u64| mixed(hash ^ word ^ 0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93);
    words.into_iter().fold(seed, fold)
}

fn first(gateway: InterfaceIndex, protocol: u8, flags: u64, remote: IpAddr) -> u64 {
    let family = if remote.is_ipv6() { IPV6 } else { 0 };
    u64::from(gateway.get()) << 32 | u64::from(protocol) << 8 | flags | family
}

fn ports(host: u16, remote: u16, translated: u16) -> u64 {
    u64::from(host) << 32 | u64::from(remote) << 16 | u64::from(translated)
}

/// The bits of word 1 that are the host's port.
const HOST_PORT: u64 = 0xffff << 32;
/// Those that are the gateway's.
const TRANSLATED_PORT: u64 = 0xffff;

impl Words {
    pub(super) fn new(inside: &Inside, (address, port): (IpAddr, u16)) -> Self {
        let flags = flags(inside.fragments, inside.egress_only);
        let ([a, b], [c, d], [e, f]) = (halves(inside.address), halves(inside.remote), halves(address));
        Self([
            first(inside.gateway, inside.protocol, flags, inside.remote),
            ports(inside.port, inside.remote_port, port),
            a,
            b,
            c,
            d,
            e,
            f,
        ])
    }

    pub(super) fn of_inside(inside: &Inside) -> Self {
        Self::new(inside, (Ipv4Addr::UNSPECIFIED.into(), 0))
    }

    pub(super) fn of_outside(outside: &Outside) -> Self {
        let flags = flags(outside.fragments, outside.egress_only);
        let ([c, d], [e, f]) = (halves(outside.remote), halves(outside.address));
        Self([
            first(outside.gateway, outside.protocol, flags, outside.remote),
            ports(0, outside.remote_port, outside.port),
            0,
            0,
            c,
            d,
            e,
            f,
        ])
    }

    /// The number of connections to the destination.
    pub(super) fn of_load(outside: &Outside) -> Self {
        Self::of_outside(outside).load()
    }

    /// The number of connections to the destination of this one.
    pub(super) fn load(&self) -> Self {
        let [first, ports, _, _, c, d, e, f] = self.0;
        Self([first | LOAD, ports & !(HOST_PORT | TRANSLATED_PORT), 0, 0, c, d, e, f])
    }

    pub(super) fn is_load(&self) -> bool {
        self.0[0] & LOAD != 0
    }

    pub(super) fn is_egress_only(&self) -> bool {
        self.0[0] & EGRESS_ONLY != 0
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.0[0] & IPV6 != 0
    }

    pub(super) fn gateway(&self) -> u32 {
        (self.0[0] >> 32) as u32
    }

    /// The same at another gateway.
    pub(super) fn of_gateway(&self, number: u32) -> Self {
        let mut words = self.0;
        words[0] = words[0] & u64::from(u32::MAX) | u64::from(number) << 32;
        Self(words)
    }

    fn inside_words(&self) -> [u64; 6] {
        let [first, ports, a, b, c, d, ..] = self.0;
        [first, ports & !TRANSLATED_PORT, a, b, c, d]
    }

    fn outside_words(&self) -> [u64; 6] {
        let [first, ports, _, _, c, d, e, f] = self.0;
        [first, ports & !HOST_PORT, c, d, e, f]
    }

    pub(super) fn same_inside(&self, other: &Self) -> bool {
        self.inside_words() == other.inside_words()
    }

    pub(super) fn same_outside(&self, other: &Self) -> bool {
        self.outside_words() == other.outside_words()
    }

    pub(super) fn hash_inside(&self, seed: u64) -> u64 {
        folded(seed, self.inside_words())
    }

    pub(super) fn hash_outside(&self, seed: u64) -> u64 {
        folded(seed.rotate_left(17), self.outside_words())
    }

    fn address(&self, at: usize) -> IpAddr {
        match self.0[0] & IPV6 {
            0 => IpAddr::V4(Ipv4Addr::from_bits(self.0[at + 1] as u32)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(
                u128::from(self.0[at]) << 64 | u128::from(self.0[at + 1]),
            )),
        }
    }

    pub(super) fn inside(&self) -> Inside {
        Inside {
            // A record was written with a gateway, whose number is not 0.
            gateway: InterfaceIndex(NonZeroU32::new(self.gateway()).unwrap_or(NonZeroU32::MAX)),
            protocol: (self.0[0] >> 8) as u8,
            fragments: self.0[0] & FRAGMENTS != 0,
            egress_only: self.is_egress_only(),
            // A host of IPv6 may have a connection to an IPv4 address (NAT64). No host's IPv6 address begins with 64 zeros.
            address: match self.0[2] {
                0 => self.address(2),
                upper => IpAddr::V6(Ipv6Addr::from_bits(u128::from(upper) << 64 | u128::from(self.0[3]))),
            },
            port: (self.0[1] >> 32) as u16,
            remote: self.address(4),
            remote_port: (self.0[1] >> 16) as u16,
        }
    }

    pub(super) fn translated(&self) -> (IpAddr, u16) {
        (self.address(6), self.0[1] as u16)
    }
}
