//! Translates ICMP messages between the families: echoes, and errors with the packets that they are about (RFC 7915 sections
//! 4.2, 4.3, 5.2 and 5.3). Other messages have no counterpart.

use std::net::Ipv6Addr;

use super::{IPV6_HEADER, Manner, Sum, Written, adjusted, copied, word, write_ipv4, write_ipv6};
use crate::wire::frame::PROTOCOL_ICMPV6;

/// Octets before the packet that an error is about.
const ERROR_HEADER: usize = 8;

/// The least MTU of IPv6 (RFC 8200 section 5).
const LEAST_MTU: u32 = 1280;

/// RFC 1191 section 7: what an MTU may be where an old router does not say it.
const PLATEAUS: [u16; 11] = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// Type, code and the word behind the checksum.
type Header = ([u8; 2], [u8; 4]);

/// How the packet inside of an error is translated.
const QUOTED: Manner = Manner {
    quoted: true,
    pending: false,
};

fn parameter(message: &[u8]) -> Option<[u8; 4]> {
    message.get(4..8)?.try_into().ok()
}

/// Without its checksum.
fn summed(message: &[u8]) -> Sum {
    let (first, rest) = message.split_at(message.len().min(2));
    Sum::new().bytes(first).bytes(rest.get(2..).unwrap_or_default())
}

/// Writes an ICMPv6 message as ICMP. `pseudo` is what its checksum covers of the IPv6 header. An error about an error, and any
/// other message inside of one, is not translated.
pub(super) fn to_icmp(message: &[u8], declared: usize, pseudo: Sum, quoted: bool, out: &mut [u8]) -> Option<Written> {
    let checksum = word(message, 2)?;
    let removed = Sum::new().word(pseudo.fold()).word(summed(message).fold());
    let there = match message[0] {
        128 | 129 => {
            let there = copied(message, out);
            *there.first_mut()? = if message[0] == 128 { 8 } else { 0 };
            Written {
                there: there.len(),
                declared,
            }
        }
        _ if quoted => return None,
        _ => {
            let (kind, rest) = error_to_icmp([message[0], message[1]], parameter(message)?)?;
            let about = message.get(ERROR_HEADER..)?;
            let (about, all) = without_extensions(about, declared, usize::from(message[4]) * 8, message[0])?;
            let written = write_ipv4(about, QUOTED, out.get_mut(ERROR_HEADER..)?)?;
            out[..2].copy_from_slice(&kind);
            out[4..8].copy_from_slice(&rest);
            inside(written, IPV6_HEADER + usize::from(word(about, 4)?), all)
        }
    };
    finish(out, there, adjusted(checksum, removed, summed(&out[..there.there])))
}

/// Writes an ICMP message as ICMPv6. `addresses` is the sum of the addresses of its IPv6 header.
pub(super) fn to_icmpv6(
    message: &[u8],
    declared: usize,
    (host, addresses): (Ipv6Addr, Sum),
    quoted: bool,
    out: &mut [u8],
) -> Option<Written> {
    let checksum = word(message, 2)?;
    let removed = summed(message);
    let there = match message[0] {
        8 | 0 => {
            let there = copied(message, out);
            *there.first_mut()? = if message[0] == 8 { 128 } else { 129 };
            Written {
                there: there.len(),
                declared,
            }
        }
        _ if quoted => return None,
        _ => {
            let about = message.get(ERROR_HEADER..)?;
            let (kind, rest) = error_to_icmpv6([message[0], message[1]], parameter(message)?, about)?;
            let (about, all) = without_extensions(about, declared, usize::from(message[5]) * 4, message[0])?;
            let written = write_ipv6(about, host, QUOTED, out.get_mut(ERROR_HEADER..)?)?;
            out[..2].copy_from_slice(&kind);
            out[4..8].copy_from_slice(&rest);
            inside(written, usize::from(word(about, 2)?), all)
        }
    };
    let added = addresses
        .bytes(&(there.declared as u32).to_be_bytes())
        .word(u16::from(PROTOCOL_ICMPV6));
    let added = Sum::new().word(added.fold()).word(summed(&out[..there.there]).fold());
    finish(out, there, adjusted(checksum, removed, added))
}

fn finish(out: &mut [u8], written: Written, checksum: u16) -> Option<Written> {
    out.get_mut(2..4)?.copy_from_slice(&checksum.to_be_bytes());
    Some(written)
}

/// The packet that an error is about without what RFC 4884 appends to it: `attribute` octets where it says so, padded with
/// zeros. An extension is left out: its objects speak of the other family. Also the octets that are declared of it.
fn without_extensions(about: &[u8], declared: usize, attribute: usize, kind: u8) -> Option<(&[u8], usize)> {
    let all = declared.checked_sub(ERROR_HEADER)?;
    // RFC 4884 section 4: unreachable, time exceeded and parameter problem have the attribute; Packet Too Big has its MTU there.
    let is_extended = attribute != 0 && kind != 2 && kind != 4;
    let all = if is_extended { all.min(attribute) } else { all };
    Some((&about[..about.len().min(all)], all))
}

/// An error with a packet inside that was `whole` octets long, of which it had `all` at the most.
fn inside(written: Written, whole: usize, all: usize) -> Written {
    let there = ERROR_HEADER + written.there;
    let declared = ERROR_HEADER + (written.declared + all.min(whole)).saturating_sub(whole);
    Written {
        there,
        declared: declared.max(there),
    }
}

/// RFC 7915 section 4.2.
fn error_to_icmpv6([kind, code]: [u8; 2], parameter: [u8; 4], about: &[u8]) -> Option<Header> {
    let none = [0; 4];
    Some(match (kind, code) {
        (3, 0 | 1 | 5..=8 | 11 | 12) => ([1, 0], none),
        // Protocol unreachable: the next header field is what is wrong.
        (3, 2) => ([4, 1], 6_u32.to_be_bytes()),
        (3, 3) => ([1, 4], none),
        (3, 4) => {
            let said = u16::from_be_bytes([parameter[2], parameter[3]]);
            let mtu = match said {
                0 => {
                    let length = word(about, 2)?;
                    *PLATEAUS.iter().find(|plateau| **plateau < length)?
                }
                said => said,
            };
            ([2, 0], (u32::from(mtu) + 20).max(LEAST_MTU).to_be_bytes())
        }
        (3, 9 | 10 | 13 | 15) => ([1, 1], none),
        (11, _) => ([3, code], none),
        (12, 0 | 2) => {
            let pointer = match parameter[0] {
                own @ (0 | 1) => own,
                2 | 3 => 4,
                8 => 7,
                9 => 6,
                12..=15 => 8,
                16..=19 => 24,
                _ => return None,
            };
            ([4, 0], u32::from(pointer).to_be_bytes())
        }
        _ => return None,
    })
}

/// RFC 7915 section 5.2.
fn error_to_icmp([kind, code]: [u8; 2], parameter: [u8; 4]) -> Option<Header> {
    let none = [0; 4];
    Some(match (kind, code) {
        (1, 0 | 2 | 3) => ([3, 1], none),
        (1, 1) => ([3, 10], none),
        (1, 4) => ([3, 3], none),
        (2, _) => {
            let mtu = u32::from_be_bytes(parameter)
                .saturating_sub(20)
                .min(u32::from(u16::MAX));
            let [.., high, low] = mtu.to_be_bytes();
            ([3, 4], [0, 0, high, low])
        }
        (3, _) => ([11, code], none),
        (4, 0) => {
            let pointer = match u32::from_be_bytes(parameter) {
                0 => 0,
                1 => 1,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..=23 => 12,
                24..=39 => 16,
                _ => return None,
            };
            ([12, 0], [pointer, 0, 0, 0])
        }
        (4, 1) => ([3, 2], none),
        _ => return None,
    })
}
