//! Translates packets between IPv6 and IPv4 (RFC 7915), as the NAT64 of a NAT gateway does. An IPv4 address is embedded in
//! `64:ff9b::/96` (RFC 6052); the one host behind the translator that has none is [`HOST`] until a port stands for it.
//!
//! Checksums are updated by what changed (RFC 1624), never summed anew, so that a wrong one stays wrong, a frame that stands for
//! many packets is translated as one, and the beginning of a packet is translated like the whole.

mod icmp;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::frame::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// `64:ff9b::/96` without its last 32 bits (RFC 6052 section 2.1).
const PREFIX: [u8; 12] = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];

/// The IPv4 address of the host behind the translator, until it is given one.
pub const HOST: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// Octets of the headers without options and extension headers.
pub const IPV4_HEADER: usize = 20;
/// Octets of the fixed IPv6 header.
pub const IPV6_HEADER: usize = 40;
/// Octets of an IPv6 fragment header.
const FRAGMENT_HEADER: usize = 8;

/// The most octets by which a packet grows: a longer header, and a fragment header.
pub const GROWTH: usize = IPV6_HEADER - IPV4_HEADER + FRAGMENT_HEADER;

/// RFC 7915 section 5.1: an IPv4 packet up to this length may be split on its way.
const MAY_BE_SPLIT: usize = 1260;

/// Extension headers that are parsed, as of any IPv6 packet.
const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// An IPv4 address in the well-known prefix.
pub const fn embedded(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(
        u128::from_be_bytes([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) | address.to_bits() as u128,
    )
}

/// The IPv4 address of an IPv6 address in the well-known prefix.
pub fn extracted(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let (prefix, last) = octets.split_first_chunk::<12>()?;
    let last: [u8; 4] = last.try_into().ok()?;
    (*prefix == PREFIX).then(|| last.into())
}

/// What was written of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Octets that are there.
    pub there: usize,
    /// Octets of the packet by its header: more where its beginning alone was translated.
    pub declared: usize,
}

/// How a packet is translated.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// It is the packet that an ICMP error is about.
    quoted: bool,
    /// Its transport checksum covers the pseudo-header alone so far.
    pending: bool,
}

/// Writes an IPv6 packet, or its beginning, as IPv4 into `out`; what does not fit is left out. `None` for what RFC 7915 does not
/// translate.
pub fn to_ipv4(packet: &[u8], pending: bool, out: &mut [u8]) -> Option<Written> {
    let manner = Manner { quoted: false, pending };
    write_ipv4(packet, manner, out)
}

/// Writes an IPv4 packet, or its beginning, as IPv6 into `out`. `host` takes the place of [`HOST`].
pub fn to_ipv6(packet: &[u8], host: Ipv6Addr, pending: bool, out: &mut [u8]) -> Option<Written> {
    let manner = Manner { quoted: false, pending };
    write_ipv6(packet, host, manner, out)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// A checksum after some of what it covers was removed and other octets were added (RFC 1624 equation 3).
fn adjusted(checksum: u16, removed: Sum, added: Sum) -> u16 {
    Sum::new()
        .word(!checksum)
        .word(!removed.fold())
        .word(added.fold())
        .complement()
}

/// What the extension headers of a packet say.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// The upper layer.
    protocol: u8,
    /// Where it begins.
    offset: usize,
    /// Offset and flags of a fragment header, and its identification.
    fragment: Option<(u16, u32)>,
}

impl Chain {
    /// RFC 7915 section 5.1: hop-by-hop, routing and destination options headers are left out. A packet that is not at the end
    /// of its route is not translated, nor is one with another header.
    fn of(packet: &[u8]) -> Option<Self> {
        let mut chain = Self {
            protocol: *packet.get(6)?,
            offset: IPV6_HEADER,
            fragment: None,
        };
        for _ in 0..=MAX_EXTENSIONS {
            let rest = packet.get(chain.offset..)?;
            let length = match chain.protocol {
                ROUTING if *rest.get(3)? != 0 => return None,
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*rest.get(1)?) + 1) * 8,
                FRAGMENT => {
                    let identification = rest.get(4..8)?.try_into().ok()?;
                    chain.fragment = Some((word(rest, 2)?, u32::from_be_bytes(identification)));
                    FRAGMENT_HEADER
                }
                _ => return Some(chain),
            };
            chain.protocol = *rest.first()?;
            chain.offset += length;
            if chain.is_later() {
                return Some(chain);
            }
        }
        None
    }

    fn is_later(&self) -> bool {
        self.fragment.is_some_and(|(field, _)| field & 0xfff8 != 0)
    }

    fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|(field, _)| field & 0xfff9 != 0)
    }
}

/// Copies what fits, and returns how much that was.
fn copied<'a>(from: &[u8], out: &'a mut [u8]) -> &'a mut [u8] {
    let length = from.len().min(out.len());
    out[..length].copy_from_slice(&from[..length]);
    &mut out[..length]
}

fn ipv6_addresses(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let address = |at: usize| -> Option<Ipv6Addr> {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(octets.into())
    };
    Some((address(8)?, address(24)?))
}

fn write_ipv4(packet: &[u8], manner: Manner, out: &mut [u8]) -> Option<Written> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let whole = IPV6_HEADER + usize::from(word(packet, 4)?);
    let packet = &packet[..whole.min(packet.len())];
    let (source, destination) = ipv6_addresses(packet)?;
    let chain = Chain::of(packet)?;
    let (upper, declared) = (packet.get(chain.offset..)?, whole.checked_sub(chain.offset)?);
    let (old, new) = (
        Sum::new().bytes(&source.octets()).bytes(&destination.octets()),
        [source, destination].map(|address| extracted(address).unwrap_or(HOST)),
    );
    let added = Sum::new().bytes(&new[0].octets()).bytes(&new[1].octets());
    let (header, body) = out.split_at_mut_checked(IPV4_HEADER)?;
    let written = match chain.protocol {
        PROTOCOL_ICMP => return None,
        PROTOCOL_ICMPV6 if chain.is_later() => None,
        // RFC 7915 section 5: its checksum covers all fragments, of which one alone is known.
        PROTOCOL_ICMPV6 if chain.is_fragment() => return None,
        PROTOCOL_ICMPV6 => {
            let pseudo = old
                .bytes(&(declared as u32).to_be_bytes())
                .word(u16::from(PROTOCOL_ICMPV6));
            Some(icmp::to_icmp(upper, declared, pseudo, manner.quoted, body)?)
        }
        _ => None,
    };
    let written = match written {
        Some(written) => written,
        None => {
            let there = copied(upper, body);
            if !chain.is_later() {
                transport(there, chain.protocol, manner, old, added);
            }
            Written {
                there: there.len(),
                declared,
            }
        }
    };
    let total = IPV4_HEADER + written.declared;
    header[0] = 0x45;
    header[1] = packet[0] << 4 | packet[1] >> 4;
    header[2..4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
    let (identification, field) = match chain.fragment {
        // RFC 7915 section 5.1.1.
        Some((field, identification)) => (identification as u16, field >> 3 | (field & 1) << 13),
        None if total > MAY_BE_SPLIT => (0, 0x4000),
        // Packets with the same contents may have the same identification: their fragments are the same.
        None => (Sum::new().bytes(&upper[..upper.len().min(20)]).fold(), 0),
    };
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    header[6..8].copy_from_slice(&field.to_be_bytes());
    header[8] = packet[7];
    header[9] = match chain.protocol {
        PROTOCOL_ICMPV6 => PROTOCOL_ICMP,
        other => other,
    };
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&new[0].octets());
    header[16..20].copy_from_slice(&new[1].octets());
    let sum = Sum::new().bytes(header).complement();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(Written {
        there: IPV4_HEADER + written.there,
        declared: total,
    })
}

/// RFC 7915 section 4.1: an option of a source route that is not at its end keeps a packet from being translated.
fn has_source_route(options: &[u8]) -> bool {
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        match (kind, tail) {
            (0, _) => return false,
            (1, _) => rest = tail,
            (131 | 137, [length, pointer, ..]) if pointer <= length => return true,
            (_, [length, ..]) if *length >= 2 => rest = rest.get(usize::from(*length)..).unwrap_or_default(),
            _ => return false,
        }
    }
    false
}

fn write_ipv6(packet: &[u8], host: Ipv6Addr, manner: Manner, out: &mut [u8]) -> Option<Written> {
    let length = usize::from(packet.first()? & 0x0f) * 4;
    if packet[0] >> 4 != 4 || length < IPV4_HEADER {
        return None;
    }
    let whole = usize::from(word(packet, 2)?);
    let packet = &packet[..whole.min(packet.len())];
    let (upper, declared) = (packet.get(length..)?, whole.checked_sub(length)?);
    if has_source_route(&packet[IPV4_HEADER..length]) {
        return None;
    }
    let field = word(packet, 6)?;
    let (is_fragment, is_later) = (field & 0x3fff != 0, field & 0x1fff != 0);
    let given = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let addresses = [given(12), given(16)].map(|address| if address == HOST { host } else { embedded(address) });
    let old = Sum::new().bytes(&packet[12..20]);
    let added = Sum::new().bytes(&addresses[0].octets()).bytes(&addresses[1].octets());
    let begins = IPV6_HEADER + if is_fragment { FRAGMENT_HEADER } else { 0 };
    let (header, body) = out.split_at_mut_checked(begins)?;
    let protocol = match packet[9] {
        PROTOCOL_ICMP => PROTOCOL_ICMPV6,
        PROTOCOL_ICMPV6 => return None,
        other => other,
    };
    let written = if protocol == PROTOCOL_ICMPV6 && !is_later {
        // RFC 7915 section 4.2: the checksum of ICMPv6 covers the length of the whole message, which a fragment does not tell.
        if is_fragment {
            return None;
        }
        icmp::to_icmpv6(upper, declared, (host, added), manner.quoted, body)?
    } else {
        let there = copied(upper, body);
        if protocol == PROTOCOL_UDP && !is_later && word(there, 6) == Some(0) && !manner.quoted && !manner.pending {
            // RFC 7915 section 4.5: a datagram without a checksum is given one, and a first fragment without one is dropped.
            if is_fragment {
                return None;
            }
            let sum = added.word(declared as u16).word(u16::from(PROTOCOL_UDP)).bytes(there);
            there[6..8].copy_from_slice(&sum.udp_complement().to_be_bytes());
        } else if !is_later {
            transport(there, protocol, manner, old, added);
        }
        Written {
            there: there.len(),
            declared,
        }
    };
    let payload = begins - IPV6_HEADER + written.declared;
    let class = packet[1];
    header[..4].copy_from_slice(&[0x60 | class >> 4, class << 4, 0, 0]);
    header[4..6].copy_from_slice(&u16::try_from(payload).ok()?.to_be_bytes());
    header[6] = if is_fragment { FRAGMENT } else { protocol };
    header[7] = packet[8];
    header[8..24].copy_from_slice(&addresses[0].octets());
    header[24..40].copy_from_slice(&addresses[1].octets());
    if is_fragment {
        let identification = word(packet, 4)?;
        let (offset, more) = (field & 0x1fff, field >> 13 & 1);
        header[40..42].copy_from_slice(&[protocol, 0]);
        header[42..44].copy_from_slice(&(offset << 3 | more).to_be_bytes());
        header[44..48].copy_from_slice(&u32::from(identification).to_be_bytes());
    }
    Some(Written {
        there: begins + written.there,
        declared: IPV6_HEADER + payload,
    })
}

/// Updates the checksum of TCP or UDP by the addresses, where it is there.
fn transport(segment: &mut [u8], protocol: u8, manner: Manner, removed: Sum, added: Sum) {
    let at = match protocol {
        PROTOCOL_TCP => 16,
        PROTOCOL_UDP => 6,
        _ => return,
    };
    let Some(old) = word(segment, at) else { return };
    let new = match (manner.pending, protocol, old) {
        // What is there is no complement yet.
        (true, ..) => !adjusted(!old, removed, added),
        // RFC 768: the sender made none.
        (false, PROTOCOL_UDP, 0) => return,
        (false, PROTOCOL_UDP, _) => match adjusted(old, removed, added) {
            0 => 0xffff,
            sum => sum,
        },
        _ => adjusted(old, removed, added),
    };
    segment[at..at + 2].copy_from_slice(&new.to_be_bytes());
}

/// Calls `emit` for the fragments of a frame's IPv6 packet, which is as [`to_ipv6`] writes it (RFC 8200 section 4.5). A packet
/// that fits is one; one that is a fragment itself is split further.
pub fn fragment_ipv6(frame: &[u8], mtu: u16, identification: u32, mut emit: impl FnMut(&[u8])) {
    use super::frame::ETHERNET_HEADER;
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_HEADER) else {
        return;
    };
    if packet.len() <= usize::from(mtu) || packet.len() < IPV6_HEADER + FRAGMENT_HEADER {
        return emit(frame);
    }
    let (fixed, rest) = packet.split_at(IPV6_HEADER);
    let own = fixed[6] == FRAGMENT;
    let (protocol, field, identification, payload) = if own {
        let identification = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
        (
            rest[0],
            u16::from_be_bytes([rest[2], rest[3]]),
            identification,
            &rest[FRAGMENT_HEADER..],
        )
    } else {
        (fixed[6], 0, identification, rest)
    };
    let most = usize::from(mtu).saturating_sub(IPV6_HEADER + FRAGMENT_HEADER) & !7;
    if most == 0 {
        return;
    }
    let last = payload.len().div_ceil(most).max(1) - 1;
    for (number, part) in payload.chunks(most).enumerate() {
        let more = if number < last { 1 } else { field & 1 };
        let offset = (field & 0xfff8) + (number * most) as u16;
        let mut piece = [ethernet, fixed].concat();
        // At most the MTU.
        let length = (FRAGMENT_HEADER + part.len()) as u16;
        piece[ETHERNET_HEADER + 4..][..2].copy_from_slice(&length.to_be_bytes());
        piece[ETHERNET_HEADER + 6] = FRAGMENT;
        piece.extend([protocol, 0]);
        piece.extend((offset | more).to_be_bytes());
        piece.extend(identification.to_be_bytes());
        piece.extend(part);
        emit(&piece);
    }
}
