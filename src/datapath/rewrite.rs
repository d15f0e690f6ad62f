//! Rewrites a delivered frame: in place its MACs, its hop count and what a gateway translates; or as a frame of the other family.

use super::Rewrite;
use crate::wire::MacAddr;
use crate::wire::checksum;
use crate::wire::frame::{ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::wire::siit;

/// Applies a verdict's rewriting. `pending` says that the transport checksum of the frame is still to be filled in.
#[inline]
pub fn apply(frame: &mut [u8], rewrite: Rewrite, pending: bool) {
    match rewrite {
        // The other family's frame is written by `in_other_family`.
        Rewrite::None | Rewrite::ChangeFamily { .. } => {}
        Rewrite::Route {
            destination,
            source,
            decrement_ttl,
        } => route(frame, destination, source, decrement_ttl),
        Rewrite::Translate {
            destination,
            source,
            decrement_ttl,
            translation,
            ..
        } => {
            route(frame, destination, source, decrement_ttl);
            if let Some(packet) = frame.get_mut(ETHERNET_HEADER..) {
                translation.apply(packet, pending);
            }
        }
    }
}

/// Writes a frame into `out` in the other family, as a verdict has it; `frame` is not of use after that. Returns the octets of
/// the new frame; `None` for another rewriting, and for a frame that does not fit or is not translated.
pub fn in_other_family(frame: &mut [u8], rewrite: Rewrite, pending: bool, out: &mut [u8]) -> Option<usize> {
    let Rewrite::ChangeFamily {
        destination,
        source,
        translation,
        host,
        ..
    } = rewrite
    else {
        return None;
    };
    let (ethernet, packet) = out.split_at_mut_checked(ETHERNET_HEADER)?;
    let given = frame.get_mut(ETHERNET_HEADER..)?;
    let (ethertype, written) = match host {
        None => {
            let written = siit::to_ipv4(given, pending, packet)?;
            translation.apply(&mut packet[..written.there], pending);
            (ETHERTYPE_IPV4, written)
        }
        Some(host) => {
            translation.apply(given, pending);
            (ETHERTYPE_IPV6, siit::to_ipv6(given, host, pending, packet)?)
        }
    };
    if written.there != written.declared {
        return None;
    }
    ethernet[12..].copy_from_slice(&ethertype.to_be_bytes());
    let octets = ETHERNET_HEADER + written.there;
    route(&mut out[..octets], destination, source, true);
    Some(octets)
}

/// Gives a frame new link-layer addresses. Transport checksums stay right: none covers a hop count or a MAC.
#[inline]
fn route(frame: &mut [u8], destination: MacAddr, source: MacAddr, decrement_ttl: bool) {
    let Some((ethernet, packet)) = frame.split_first_chunk_mut::<ETHERNET_HEADER>() else {
        return;
    };
    ethernet[..6].copy_from_slice(&destination.0);
    ethernet[6..12].copy_from_slice(&source.0);
    if !decrement_ttl {
        return;
    }
    if ethernet[12..] == ETHERTYPE_IPV4.to_be_bytes() {
        let Some(header) = packet.first_chunk_mut::<20>() else {
            return;
        };
        let before = u16::from_be_bytes([header[8], header[9]]);
        header[8] = header[8].saturating_sub(1);
        let after = u16::from_be_bytes([header[8], header[9]]);
        let sum = checksum::updated(u16::from_be_bytes([header[10], header[11]]), before, after);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    } else if let Some(hop_limit) = packet.get_mut(7) {
        *hop_limit = hop_limit.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket};

    use super::*;

    fn routed(decrement_ttl: bool) -> Rewrite {
        Rewrite::Route {
            destination: MacAddr([6; 6]),
            source: MacAddr([8; 6]),
            decrement_ttl,
        }
    }

    #[test]
    fn a_routed_packet_has_new_macs_and_a_hop_less_and_a_right_header_checksum() {
        for (ipv6, decrement) in [(false, true), (false, false), (true, true), (true, false)] {
            let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
            let ip = if ipv6 {
                ethernet.ipv6([1; 16], [2; 16], 64)
            } else {
                ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            };
            let mut frame = Vec::new();
            ip.udp(1, 2)
                .write(&mut frame, &[1, 2, 3])
                .expect("a Vec can be written");
            apply(&mut frame, routed(decrement), false);
            assert_eq!(frame[..12], [6, 6, 6, 6, 6, 6, 8, 8, 8, 8, 8, 8]);
            let hops = match SlicedPacket::from_ethernet(&frame).expect("a whole packet").net {
                Some(NetSlice::Ipv4(ip)) => {
                    assert_eq!(
                        ip.header().header_checksum(),
                        ip.header().to_header().calc_header_checksum()
                    );
                    ip.header().ttl()
                }
                Some(NetSlice::Ipv6(ip)) => ip.header().hop_limit(),
                other => panic!("{other:?}"),
            };
            assert_eq!(hops, if decrement { 63 } else { 64 });
        }
    }

    #[test]
    fn within_a_subnet_nothing_changes() {
        let mut frame = vec![0xa5; 60];
        apply(&mut frame, Rewrite::None, false);
        assert_eq!(frame, vec![0xa5; 60]);
    }
}
