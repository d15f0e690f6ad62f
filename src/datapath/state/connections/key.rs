//! Identifies a connection as one interface sees it: the interface, its side, and the other end's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mapping::InterfaceIndex;
use crate::wire::frame::PROTOCOL_TCP;

/// The key of an entry, in six words: the interface and its kind (0, only the lower half is used), protocol and ports
/// (1), the own address (2 and 3), the other end's (4 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::datapath) struct Key([u64; 6]);

/// What distinguishes the connections between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) enum Thread {
    /// The ports of TCP and UDP: the own, and the other end's. 0 and 0 for protocols without.
    Ports(u16, u16),
    /// Requests and replies of ICMP: the type of the request, its identifier, and whether the own side sends requests.
    Question { kind: u8, identifier: u16, own: bool },
    /// The later fragments of a packet: its identification and direction.
    Fragments { identification: u32, out: bool },
}

/// Bits of word 1 above protocol and the 32 bits of ports.
const IPV6: u64 = 1 << 40;
const QUESTION: u64 = 1 << 41;
const OWN: u64 = 1 << 42;
const FRAGMENTS: u64 = 1 << 43;

impl Key {
    #[inline(always)]
    pub(in crate::datapath) fn new(
        interface: InterfaceIndex,
        protocol: u8,
        thread: Thread,
        own: IpAddr,
        remote: IpAddr,
    ) -> Self {
        let word = match thread {
            Thread::Ports(own, remote) => u64::from(own) << 16 | u64::from(remote),
            Thread::Question { kind, identifier, own } => {
                let side = if own { OWN } else { 0 };
                QUESTION | side | u64::from(kind) << 16 | u64::from(identifier)
            }
            Thread::Fragments { identification, out } => {
                let side = if out { OWN } else { 0 };
                FRAGMENTS | side | u64::from(identification)
            }
        };
        let (family, [own_high, own_low], [remote_high, remote_low]) = match (own, remote) {
            (IpAddr::V4(own), IpAddr::V4(remote)) => {
                (0, [0, u64::from(own.to_bits())], [0, u64::from(remote.to_bits())])
            }
            (own, remote) => (IPV6, halves(own), halves(remote)),
        };
        Self([
            u64::from(interface.get()),
            word | family | u64::from(protocol) << 32,
            own_high,
            own_low,
            remote_high,
            remote_low,
        ])
    }

    pub(super) fn words(&self) -> &[u64; 6] {
        &self.0
    }

    pub(super) fn from_words(words: [u64; 6]) -> Self {
        Self(words)
    }

    pub(super) fn interface(&self) -> u32 {
        self.0[0] as u32
    }

    /// Where the entry is, from the words and the seed, by folded multiplications.
    #[inline(always)]
    pub(super) fn hash(&self, seed: u64) -> u64 {
        let [interface, word, own_high, own_low, remote_high, remote_low] = self.0;
        let mix = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product >> 64) as u64 ^ product as u64
        };
        let low = mix(own_low ^ seed, remote_low ^ 0x9e37_79b9_7f4a_7c15);
        let high = if word & IPV6 == 0 {
            0
        } else {
            mix(own_high ^ seed, remote_high ^ 0xc2b2_ae3d_27d4_eb4f)
        };
        let flow = mix(word ^ seed.rotate_left(32), interface ^ 0x1656_67b1_9e37_79f9);
        mix(low ^ high.rotate_left(17) ^ seed, flow ^ 0x27d4_eb2f_1656_67c5)
    }

    /// The own address and the other end's.
    pub(in crate::datapath) fn addresses(&self) -> (IpAddr, IpAddr) {
        let address = |high: u64, low: u64| {
            if self.0[1] & IPV6 == 0 {
                IpAddr::V4(Ipv4Addr::from_bits(low as u32))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))
            }
        };
        (address(self.0[2], self.0[3]), address(self.0[4], self.0[5]))
    }

    /// The protocol.
    pub(in crate::datapath) fn protocol(&self) -> u8 {
        (self.0[1] >> 32) as u8
    }

    /// The own port and the other end's, where the protocol has ports.
    pub(in crate::datapath) fn ports(&self) -> Option<(u16, u16)> {
        let with_ports = matches!(self.protocol(), PROTOCOL_TCP | crate::wire::frame::PROTOCOL_UDP);
        let plain = self.0[1] & (QUESTION | FRAGMENTS) == 0;
        (with_ports && plain).then_some(((self.0[1] >> 16) as u16, self.0[1] as u16))
    }

    /// Whether it is the key of the later fragments of one packet.
    pub(in crate::datapath) fn is_fragments(&self) -> bool {
        self.0[1] & FRAGMENTS != 0
    }
}

fn halves(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}
