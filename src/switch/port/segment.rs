//! Finishes a frame for a port without the offload: segments a large frame, and computes open checksums.
//!
//! The rules are those of a network card: every segment repeats the headers; IPv4 identifications count up; TCP
//! sequence numbers advance by the payload; FIN and PSH are set in the last segment, CWR in the first.

use super::ETHERNET;
use super::vnet::Segments;
use crate::wire::checksum::Sum;

/// TCP flags in the 14th byte of its header.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Computes an open checksum in place. `start` and `offset` come from a validated header
/// ([`Offload::Checksum`](super::Offload::Checksum)); the field contains the pseudo-header's sum.
pub fn complete_checksum(frame: &mut [u8], start: u16, offset: u16) {
    let start = usize::from(start);
    let field = start + usize::from(offset);
    // Bytes behind the IP packet are padding and not covered.
    let end = crate::wire::flow::Transport::find(frame).map_or(frame.len(), |transport| transport.end);
    let Some(bytes) = frame.get(start..end) else { return };
    let sum = Sum::new().bytes(bytes);
    // A UDP checksum must not become "none"; for other protocols 0xffff is equivalent to 0.
    let value = sum.udp_complement();
    if let Some(bytes) = frame.get_mut(field..field + 2) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

/// Segments a frame and passes each segment, with complete checksums, to `emit`, until it returns false. `room` holds
/// one segment at a time behind `margin` zero bytes (an empty offload header) and must have `margin` + [`piece_length`]
/// bytes.
pub fn segment(frame: &[u8], segments: &Segments, room: &mut [u8], margin: usize, mut emit: impl FnMut(&[u8]) -> bool) {
    room[..margin].fill(0);
    let headers = usize::from(segments.headers);
    let (template, payload) = frame.split_at(headers);
    let count = payload.len().div_ceil(usize::from(segments.size));
    for (index, chunk) in payload.chunks(usize::from(segments.size)).enumerate() {
        let length = headers + chunk.len();
        let piece = &mut room[margin..margin + length];
        piece[..headers].copy_from_slice(template);
        piece[headers..].copy_from_slice(chunk);
        let position = Position {
            index,
            last: index + 1 == count,
            before: index * usize::from(segments.size),
        };
        finish_piece(piece, segments, position);
        if !emit(&room[..margin + length]) {
            return;
        }
    }
}

/// Length of a frame's largest segment.
pub fn piece_length(segments: &Segments) -> usize {
    usize::from(segments.headers) + usize::from(segments.size)
}

/// The position of a segment in the frame.
#[derive(Clone, Copy)]
struct Position {
    index: usize,
    last: bool,
    /// Payload bytes before it.
    before: usize,
}

fn finish_piece(piece: &mut [u8], segments: &Segments, position: Position) {
    let transport = usize::from(segments.transport);
    // A segment is at most one IP packet, whose lengths fit 16 bits.
    let transport_length = (piece.len() - transport) as u16;
    let pseudo = if segments.kind.is_ipv6() {
        let payload_length = (piece.len() - ETHERNET - 40) as u16;
        piece[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&payload_length.to_be_bytes());
        // With a routing header the final destination would count (RFC 8200 section 8.1). Stacks do not offload such
        // packets, and the field's own pseudo-header sum is not needed here.
        Sum::new().bytes(&piece[ETHERNET + 8..ETHERNET + 40])
    } else {
        let total = (piece.len() - ETHERNET) as u16;
        let header = &mut piece[ETHERNET..transport];
        header[2..4].copy_from_slice(&total.to_be_bytes());
        let identification = u16::from_be_bytes([header[4], header[5]]).wrapping_add(position.index as u16);
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[10..12].fill(0);
        let sum = Sum::new().bytes(header).complement();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        Sum::new().bytes(&header[12..20])
    };
    let segment = &mut piece[transport..];
    if segments.kind.is_tcp() {
        let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
        // The payload of one IP packet fits 32 bits.
        segment[4..8].copy_from_slice(&sequence.wrapping_add(position.before as u32).to_be_bytes());
        if !position.last {
            segment[13] &= !(FIN | PSH);
        }
        if position.index > 0 {
            segment[13] &= !CWR;
        }
        segment[16..18].fill(0);
        let sum = pseudo
            .word(u16::from(TCP))
            .word(transport_length)
            .bytes(segment)
            .complement();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    } else {
        segment[4..6].copy_from_slice(&transport_length.to_be_bytes());
        segment[6..8].fill(0);
        let sum = pseudo
            .word(u16::from(UDP))
            .word(transport_length)
            .bytes(segment)
            .udp_complement();
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
    use zerocopy::FromBytes;

    use super::super::vnet::{Offload, VnetHeader};
    use super::*;

    const V4: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];
    const V6: [[u8; 16]; 2] = [[0x20; 16], [0x21; 16]];

    fn payload(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn build(ipv6: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if ipv6 {
            ethernet.ipv6(V6[0], V6[1], 64)
        } else {
            ethernet.ipv4(V4[0], V4[1], 64)
        };
        let mut frame = Vec::new();
        if tcp {
            let mut header = TcpHeader::new(1, 2, 0xffff_ff00, 512);
            (header.ack, header.psh, header.fin, header.cwr) = (true, true, true, true);
            header
                .set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
                .expect("12 bytes of options fit");
            ip.tcp_header(header).write(&mut frame, payload)
        } else {
            ip.udp(1, 2).write(&mut frame, payload)
        }
        .expect("a Vec can be written");
        frame
    }

    fn offload(frame: &[u8], gso_type: u8, size: u16) -> Offload {
        let transport = crate::wire::flow::Transport::find(frame).expect("the frame is IP");
        let start = (transport.offset as u16).to_le_bytes();
        let size = size.to_le_bytes();
        let field = if transport.protocol == TCP { 16 } else { 6 };
        let bytes = [1, gso_type, 0, 0, size[0], size[1], start[0], start[1], field, 0];
        VnetHeader::read_from_bytes(&bytes)
            .expect("10 bytes")
            .validate(frame)
            .expect("header and frame agree")
    }

    /// Verifies every checksum and length with another library, and returns the transport payload.
    fn verified(frame: &[u8]) -> Vec<u8> {
        let packet = SlicedPacket::from_ethernet(frame).expect("lengths and header checksums agree");
        let (payload, sent, right) = match (packet.net.expect("IP"), packet.transport.expect("a transport")) {
            (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
                assert_eq!(
                    ip.header().header_checksum(),
                    ip.header().to_header().calc_header_checksum()
                );
                let right = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
                (
                    tcp.payload().to_vec(),
                    tcp.checksum(),
                    right.expect("a length in range"),
                )
            }
            (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) => {
                assert_eq!(
                    ip.header().header_checksum(),
                    ip.header().to_header().calc_header_checksum()
                );
                let header = udp.to_header();
                let right =
                    header.calc_checksum_ipv4_raw(ip.header().source(), ip.header().destination(), udp.payload());
                (
                    udp.payload().to_vec(),
                    udp.checksum(),
                    right.expect("a length in range"),
                )
            }
            (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
                let right = tcp.to_header().calc_checksum_ipv6_raw(
                    ip.header().source(),
                    ip.header().destination(),
                    tcp.payload(),
                );
                (
                    tcp.payload().to_vec(),
                    tcp.checksum(),
                    right.expect("a length in range"),
                )
            }
            (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) => {
                let right = udp.to_header().calc_checksum_ipv6_raw(
                    ip.header().source(),
                    ip.header().destination(),
                    udp.payload(),
                );
                (
                    udp.payload().to_vec(),
                    udp.checksum(),
                    right.expect("a length in range"),
                )
            }
            other => panic!("neither TCP nor UDP: {other:?}"),
        };
        assert_eq!(sent, right, "transport checksum");
        payload
    }

    #[test]
    fn the_pieces_put_together_are_the_payload_and_every_checksum_is_right() {
        for (ipv6, tcp, gso_type) in [(false, true, 1), (true, true, 4), (false, false, 5), (true, false, 5)] {
            for (length, size) in [
                (1, 1),
                (1000, 1000),
                (1001, 1000),
                (999, 1000),
                (60_000, 1448),
                (640, 64),
            ] {
                let payload = payload(length);
                let frame = build(ipv6, tcp, &payload);
                let Offload::Segment(segments) = offload(&frame, gso_type, size) else {
                    panic!("segments were asked for")
                };
                let mut room = vec![0xa5; piece_length(&segments)];
                let mut together = Vec::new();
                let mut count = 0;
                segment(&frame, &segments, &mut room, 0, |piece| {
                    assert!(piece.len() - ETHERNET <= segments.largest_packet());
                    together.extend(verified(piece));
                    count += 1;
                    true
                });
                assert_eq!(count, segments.count(frame.len()));
                assert!(together == payload, "ipv6 {ipv6}, tcp {tcp}, {length} bytes by {size}");
            }
        }
    }

    #[test]
    fn identifications_and_sequence_numbers_count_on_and_flags_stand_where_they_belong() {
        let mut frame = build(false, true, &payload(3000));
        frame[18..20].copy_from_slice(&0xffff_u16.to_be_bytes());
        let Offload::Segment(segments) = offload(&frame, 1 | 0x80, 1448) else {
            panic!("segments were asked for")
        };
        assert!(segments.ecn);
        let mut seen = Vec::new();
        segment(&frame, &segments, &mut vec![0; 2000], 0, |piece| {
            let packet = SlicedPacket::from_ethernet(piece).expect("a whole packet");
            let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport) else {
                panic!("the frame was TCP over IPv4")
            };
            seen.push((
                ip.header().identification(),
                tcp.sequence_number(),
                tcp.cwr(),
                tcp.psh(),
                tcp.fin(),
                tcp.ack(),
            ));
            true
        });
        assert_eq!(
            seen,
            [
                (0xffff, 0xffff_ff00, true, false, false, true),
                (0x0000, 0xffff_ff00_u32.wrapping_add(1448), false, false, false, true),
                (0x0001, 0xffff_ff00_u32.wrapping_add(2896), false, true, true, true),
            ]
        );
    }

    #[test]
    fn a_receiver_that_stops_gets_no_more_pieces() {
        let frame = build(true, false, &payload(640));
        let Offload::Segment(segments) = offload(&frame, 5, 64) else {
            panic!("segments were asked for")
        };
        let mut count = 0;
        segment(&frame, &segments, &mut [0; 200], 0, |_| {
            count += 1;
            count < 3
        });
        assert_eq!(count, 3);
    }

    #[test]
    fn an_open_checksum_is_completed_and_padding_is_no_part_of_it() {
        for (ipv6, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
            for padding in [0, 1, 7] {
                let finished = build(ipv6, tcp, &payload(13));
                let Offload::Checksum { start, offset } = offload(&finished, 0, 0) else {
                    panic!("only a checksum was asked for")
                };
                let mut frame = finished.clone();
                let addresses = if ipv6 { &finished[22..54] } else { &finished[26..34] };
                let length = (finished.len() - usize::from(start)) as u16;
                let pseudo = Sum::new()
                    .bytes(addresses)
                    .word(u16::from(if tcp { TCP } else { UDP }))
                    .word(length)
                    .fold();
                let field = usize::from(start + offset);
                frame[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
                frame.extend(vec![0x77; padding]);
                complete_checksum(&mut frame, start, offset);
                assert_eq!(
                    frame[..finished.len()],
                    finished[..],
                    "ipv6 {ipv6}, tcp {tcp}, padding {padding}"
                );
            }
        }
    }
}
