//! Merges frames of one flow into one that the receiver segments again (GRO), so that fewer system calls move the same
//! bytes. The rules are those of Linux:
//!
//! - what segmentation repeats must be equal: addresses, ports, TTL, traffic class, DF, TCP acknowledgment and options;
//! - all segments but the last have the same payload length, in order, without a gap;
//! - a frame with TCP flags other than ACK is not merged, except PSH on the last segment;
//! - a complete checksum is verified first: segmentation computes it anew, and must not repair a wrong one.

use super::port::vnet::{SegmentKind, Segments};
use super::port::{ETHERNET, Offload};
use crate::wire::checksum::Sum;
use crate::wire::flow::Transport;
use crate::wire::frame::{PROTOCOL_TCP as TCP, PROTOCOL_UDP as UDP};

const TCP_ACK: u8 = 0x10;
const TCP_PSH: u8 = 0x08;

/// Frames in one GRO batch (`UDP_MAX_SEGMENTS` of Linux before 6.9).
pub const MOST_SEGMENTS: usize = 64;

/// The largest IPv4 packet, which a batch must not exceed.
const LARGEST_PACKET: usize = 65_535;

/// A frame that may be merged.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    kind: SegmentKind,
    transport: u16,
    headers: u16,
    /// Transport payload in bytes, at least 1.
    payload: u16,
    /// The checksum was left to be computed; otherwise it is complete and unverified.
    open_checksum: bool,
    /// PSH is set: no frame may follow.
    last: bool,
    sequence: u32,
    identification: u16,
}

impl Candidate {
    /// `None` when the frame must be sent as it is.
    #[inline]
    pub fn new(frame: &[u8], offload: &Offload) -> Option<Self> {
        let transport = Transport::find(frame)?;
        let open_checksum = match *offload {
            Offload::None => false,
            Offload::Checksum { start, .. } => usize::from(start) == transport.offset,
            Offload::Segment(_) => return None,
        };
        // No IPv4 options, no IPv6 extension headers, no padding.
        let plain_header = transport.offset == ETHERNET + if transport.ipv6 { 40 } else { 20 };
        if !plain_header || transport.end != frame.len() {
            return None;
        }
        let (headers, offset) = (transport.offset + transport.header_length, transport.offset);
        let payload = frame.len() - headers;
        if payload == 0 {
            return None;
        }
        let (kind, last, sequence) = match transport.protocol {
            UDP => {
                let length = u16::from_be_bytes([frame[offset + 4], frame[offset + 5]]);
                let unchecked = frame[offset + 6..offset + 8] == [0, 0] && !open_checksum;
                if usize::from(length) != payload + 8 || unchecked {
                    return None;
                }
                (
                    if transport.ipv6 {
                        SegmentKind::UdpV6
                    } else {
                        SegmentKind::UdpV4
                    },
                    false,
                    0,
                )
            }
            TCP => {
                let flags = frame[offset + 13];
                // The lower half of the byte before holds the data offset and reserved bits, one of which is AE (RFC
                // 9768).
                if flags & !TCP_PSH != TCP_ACK || frame[offset + 12] & 0x0f != 0 {
                    return None;
                }
                let sequence = u32::from_be_bytes(*frame[offset + 4..].first_chunk()?);
                (
                    if transport.ipv6 {
                        SegmentKind::TcpV6
                    } else {
                        SegmentKind::TcpV4
                    },
                    flags & TCP_PSH != 0,
                    sequence,
                )
            }
            _ => return None,
        };
        Some(Self {
            kind,
            transport: offset as u16,
            headers: headers as u16,
            payload: payload as u16,
            open_checksum,
            last,
            sequence,
            identification: if transport.ipv6 {
                0
            } else {
                u16::from_be_bytes([frame[18], frame[19]])
            },
        })
    }

    /// TCP or UDP, and the IP version.
    #[inline]
    pub fn kind(&self) -> SegmentKind {
        self.kind
    }

    /// Offset of the payload.
    #[inline]
    pub fn headers(&self) -> usize {
        usize::from(self.headers)
    }

    /// A hash that is equal for frames of one flow.
    #[inline]
    pub fn flow_hash(&self, frame: &[u8]) -> u32 {
        let word = |at: usize| frame[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let ports = word(usize::from(self.transport)) & u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let addresses = if self.kind.is_ipv6() {
            word(22) ^ word(30).rotate_left(17) ^ word(38).rotate_left(31) ^ word(46).rotate_left(47)
        } else {
            word(26)
        };
        let mixed = (addresses ^ ports.rotate_left(29) ^ self.kind as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    }

    /// True when all that segmentation repeats is equal in both frames.
    #[inline]
    fn repeats(&self, frame: &[u8], other: &Self, other_frame: &[u8]) -> bool {
        if self.kind != other.kind || self.headers != other.headers {
            return false;
        }
        let same = |from: usize, to: usize| frame[from..to] == other_frame[from..to];
        let transport = usize::from(self.transport);
        // Not compared: lengths, identification, checksums, sequence number and flags.
        let network = if self.kind.is_ipv6() {
            same(0, 18) && same(20, transport + 4)
        } else {
            same(0, 16) && same(20, 24) && same(26, transport + 4)
        };
        if !self.kind.is_tcp() {
            return network;
        }
        network
            && same(transport + 8, transport + 13)
            && same(transport + 14, transport + 16)
            && same(transport + 18, self.headers())
    }

    /// Verifies a complete checksum.
    fn checksum_holds(&self, frame: &[u8]) -> bool {
        self.open_checksum || {
            let transport = usize::from(self.transport);
            self.pseudo_header(frame, frame.len() - transport)
                .bytes(&frame[transport..])
                .is_valid()
        }
    }

    fn pseudo_header(&self, frame: &[u8], length: usize) -> Sum {
        let addresses = if self.kind.is_ipv6() {
            &frame[22..54]
        } else {
            &frame[26..34]
        };
        // A batch is at most one IP packet, whose length fits 16 bits.
        Sum::new()
            .bytes(addresses)
            .word(u16::from(if self.kind.is_tcp() { TCP } else { UDP }))
            .word(length as u16)
    }
}

/// Frames of one flow, in order, that are sent as one.
#[derive(Clone, Copy, Debug)]
pub struct GroBatch {
    head: Candidate,
    /// Number of frames.
    count: usize,
    /// Payload bytes of all frames.
    payload: usize,
    /// No frame may follow: the last one was short or had PSH set.
    closed: bool,
    /// The last frame's PSH, which segmentation moves to the last segment.
    push: bool,
}

impl GroBatch {
    /// Begins with one frame.
    #[inline]
    pub fn new(head: Candidate) -> Self {
        Self {
            head,
            count: 1,
            payload: usize::from(head.payload),
            closed: head.last,
            push: head.last,
        }
    }

    /// Number of frames, at least 1.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first frame.
    #[inline]
    pub fn head(&self) -> &Candidate {
        &self.head
    }

    /// Appends a frame if the rules allow it. `head_frame` is the first frame of the batch.
    pub fn append(&mut self, head_frame: &[u8], candidate: &Candidate, frame: &[u8]) -> bool {
        let head = self.head;
        let fits = !self.closed
            && self.count < MOST_SEGMENTS
            && candidate.payload <= head.payload
            && head.headers() - ETHERNET + self.payload + usize::from(candidate.payload) <= LARGEST_PACKET
            && head.repeats(head_frame, candidate, frame)
            && self.continues(candidate, head_frame)
            && (self.count > 1 || head.checksum_holds(head_frame))
            && candidate.checksum_holds(frame);
        if fits {
            self.count += 1;
            self.payload += usize::from(candidate.payload);
            self.closed = candidate.last || candidate.payload < head.payload;
            self.push = candidate.last;
        }
        fits
    }

    /// Segmentation counts sequence numbers and identifications up from the first frame's, so the next frame must
    /// match. With DF set the identification has no meaning (RFC 6864 section 4.1).
    fn continues(&self, candidate: &Candidate, head_frame: &[u8]) -> bool {
        let head = &self.head;
        let in_sequence = !head.kind.is_tcp() || candidate.sequence == head.sequence.wrapping_add(self.payload as u32);
        let numbered = head.kind.is_ipv6()
            || head_frame[20] & 0x40 != 0
            || candidate.identification == head.identification.wrapping_add(self.count as u16);
        in_sequence && numbered
    }

    /// Writes the first frame's headers for the whole batch, and returns how to segment it.
    pub fn write_headers(&self, head_frame: &mut [u8]) -> Offload {
        let head = &self.head;
        let transport = usize::from(head.transport);
        let length = head.headers() - transport + self.payload;
        // All lengths are of one IP packet, which `append` bounds.
        if head.kind.is_ipv6() {
            head_frame[18..20].copy_from_slice(&(length as u16).to_be_bytes());
        } else {
            let total = (20 + length) as u16;
            head_frame[16..18].copy_from_slice(&total.to_be_bytes());
            head_frame[24..26].fill(0);
            let sum = Sum::new().bytes(&head_frame[ETHERNET..transport]).complement();
            head_frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        if head.kind.is_tcp() {
            head_frame[transport + 13] = TCP_ACK | if self.push { TCP_PSH } else { 0 };
        } else {
            head_frame[transport + 4..transport + 6].copy_from_slice(&(length as u16).to_be_bytes());
        }
        let open = head.pseudo_header(head_frame, length).fold();
        let field = transport + usize::from(head.kind.checksum_offset());
        head_frame[field..field + 2].copy_from_slice(&open.to_be_bytes());
        Offload::Segment(Segments {
            kind: head.kind,
            ecn: false,
            size: head.payload,
            transport: head.transport,
            headers: head.headers,
        })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, TcpHeader};
    use proptest::prelude::*;

    use super::super::port::segment;
    use super::*;

    /// One flow, whose frames a test varies.
    #[derive(Clone, Copy, Debug)]
    struct Flow {
        ipv6: bool,
        tcp: bool,
        ttl: u8,
        port: u16,
    }

    const UDP4: Flow = Flow {
        ipv6: false,
        tcp: false,
        ttl: 64,
        port: 5000,
    };
    const TCP4: Flow = Flow {
        ipv6: false,
        tcp: true,
        ttl: 64,
        port: 5000,
    };
    const TCP6: Flow = Flow {
        ipv6: true,
        tcp: true,
        ttl: 64,
        port: 5000,
    };

    fn frame(
        flow: Flow,
        identification: u16,
        sequence: u32,
        payload: &[u8],
        change: impl FnOnce(&mut TcpHeader),
    ) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if flow.ipv6 {
            ethernet.ipv6([1; 16], [2; 16], flow.ttl)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], flow.ttl)
        };
        let mut frame = Vec::new();
        if flow.tcp {
            let mut header = TcpHeader::new(1000, flow.port, sequence, 512);
            (header.ack, header.acknowledgment_number) = (true, 77);
            header
                .set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
                .expect("12 bytes of options fit");
            change(&mut header);
            ip.tcp_header(header).write(&mut frame, payload)
        } else {
            ip.udp(1000, flow.port).write(&mut frame, payload)
        }
        .expect("a Vec can be written");
        if !flow.ipv6 {
            frame[18..20].copy_from_slice(&identification.to_be_bytes());
            frame[20] &= !0x40; // no DF: the identification counts
            frame[24..26].fill(0);
            let sum = Sum::new().bytes(&frame[14..34]).complement();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        frame
    }

    fn pieces(flow: Flow, payloads: &[usize]) -> Vec<Vec<u8>> {
        let mut sequence = u32::MAX - 100;
        let mut frames = Vec::new();
        for (index, &length) in payloads.iter().enumerate() {
            let payload: Vec<u8> = (0..length).map(|i| (i * 31 + index) as u8).collect();
            frames.push(frame(
                flow,
                0xfffe_u16.wrapping_add(index as u16),
                sequence,
                &payload,
                |_| {},
            ));
            sequence = sequence.wrapping_add(length as u32);
        }
        frames
    }

    /// Appends frames as long as the rules allow; returns how many.
    fn merge_all(frames: &[Vec<u8>]) -> (GroBatch, usize) {
        let candidate = |frame: &[u8]| Candidate::new(frame, &Offload::None).expect("a frame that may be merged");
        let mut gro = GroBatch::new(candidate(&frames[0]));
        let count = 1 + frames[1..]
            .iter()
            .take_while(|frame| gro.append(&frames[0], &candidate(frame), frame))
            .count();
        (gro, count)
    }

    /// The frames that the receiver gets after segmentation.
    fn cut(gro: &GroBatch, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut whole = frames[0].clone();
        let Offload::Segment(segments) = gro.write_headers(&mut whole) else {
            panic!("a gro is cut")
        };
        for frame in &frames[1..] {
            whole.extend_from_slice(&frame[gro.head().headers()..]);
        }
        let mut cut = Vec::new();
        segment::segment(
            &whole,
            &segments,
            &mut vec![0; segment::piece_length(&segments)],
            0,
            |piece| {
                cut.push(piece.to_vec());
                true
            },
        );
        cut
    }

    proptest! {
        /// The receiver gets exactly the frames that were sent.
        #[test]
        fn what_was_merged_and_cut_again_is_what_was_sent(
            ipv6: bool,
            tcp: bool,
            size in 1_usize..1500,
            count in 1_usize..80,
            last in 1_usize..1500,
            push: bool,
        ) {
            let flow = Flow { ipv6, tcp, ..UDP4 };
            let mut payloads = vec![size; count];
            payloads.push(last);
            let mut frames = pieces(flow, &payloads);
            if tcp && push {
                // On the last frame; whether it is merged or not, nothing may change.
                let at = frames.len() - 1;
                let flags = if ipv6 { 54 } else { 34 } + 13;
                frames[at][flags] |= TCP_PSH;
                let field = flags + 3;
                let sum = u16::from_be_bytes([frames[at][field], frames[at][field + 1]]);
                let sum = crate::wire::checksum::updated(sum, u16::from(TCP_ACK), u16::from(TCP_ACK | TCP_PSH));
                frames[at][field..field + 2].copy_from_slice(&sum.to_be_bytes());
            }
            let (gro, merge_all) = merge_all(&frames);
            prop_assert!(merge_all >= count.min(MOST_SEGMENTS).min(60_000 / (size + 60)));
            if merge_all > 1 {
                prop_assert_eq!(cut(&gro, &frames[..merge_all]), &frames[..merge_all]);
            }
        }
    }

    #[test]
    fn what_the_cut_would_not_restore_stays_apart() {
        let payload = [7; 100];
        let head = |flow| frame(flow, 1, 1000, &payload, |_| {});
        let mut broken = frame(TCP4, 2, 1100, &payload, |_| {});
        broken[100] ^= 1;
        let options = |tcp: &mut TcpHeader| {
            tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 2])
                .expect("12 bytes of options fit");
        };
        for (what, first, second) in [
            (
                "a gap in the sequence",
                head(TCP4),
                frame(TCP4, 2, 1101, &payload, |_| {}),
            ),
            (
                "a segment once more",
                head(TCP6),
                frame(TCP6, 2, 1000, &payload, |_| {}),
            ),
            (
                "another acknowledgment",
                head(TCP4),
                frame(TCP4, 2, 1100, &payload, |tcp| tcp.acknowledgment_number = 78),
            ),
            (
                "another window",
                head(TCP4),
                frame(TCP4, 2, 1100, &payload, |tcp| tcp.window_size = 1),
            ),
            ("another timestamp", head(TCP4), frame(TCP4, 2, 1100, &payload, options)),
            (
                "another TTL",
                head(UDP4),
                frame(Flow { ttl: 63, ..UDP4 }, 2, 0, &payload, |_| {}),
            ),
            (
                "another flow",
                head(UDP4),
                frame(Flow { port: 5001, ..UDP4 }, 2, 0, &payload, |_| {}),
            ),
            ("another protocol", head(UDP4), frame(TCP4, 2, 0, &payload, |_| {})),
            (
                "an identification out of line",
                head(UDP4),
                frame(UDP4, 9, 0, &payload, |_| {}),
            ),
            ("a longer piece", head(UDP4), frame(UDP4, 2, 0, &[7; 101], |_| {})),
            ("a broken checksum", head(TCP4), broken),
        ] {
            assert_eq!(merge_all(&[first, second]).1, 1, "{what}");
        }
        let mut broken = head(UDP4);
        broken[60] ^= 1;
        assert_eq!(
            merge_all(&[broken, frame(UDP4, 2, 0, &payload, |_| {})]).1,
            1,
            "a broken checksum at the head"
        );
        let short = [
            head(UDP4),
            frame(UDP4, 2, 0, &[7; 99], |_| {}),
            frame(UDP4, 3, 0, &[7; 99], |_| {}),
        ];
        assert_eq!(merge_all(&short).1, 2, "nothing follows a short piece");
    }

    #[test]
    fn frames_that_cannot_be_part_of_a_train() {
        let payload = [7; 100];
        let with = |change: fn(&mut TcpHeader)| frame(TCP4, 1, 1, &payload, change);
        let mut unchecked = frame(UDP4, 1, 0, &payload, |_| {});
        unchecked[40..42].fill(0);
        let mut fragment = frame(UDP4, 1, 0, &payload, |_| {});
        fragment[20] |= 0x20;
        let mut padded = frame(UDP4, 1, 0, &[7; 2], |_| {});
        padded.resize(60, 0);
        let mut arp = frame(UDP4, 1, 0, &payload, |_| {});
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        for (what, frame) in [
            ("SYN", with(|tcp| tcp.syn = true)),
            ("FIN", with(|tcp| tcp.fin = true)),
            ("RST", with(|tcp| tcp.rst = true)),
            ("URG", with(|tcp| tcp.urg = true)),
            ("CWR", with(|tcp| tcp.cwr = true)),
            ("no ACK", with(|tcp| tcp.ack = false)),
            ("no payload", frame(TCP4, 1, 1, &[], |_| {})),
            ("UDP without a checksum", unchecked),
            ("a fragment", fragment),
            ("padding", padded),
            ("not IP", arp),
        ] {
            assert!(Candidate::new(&frame, &Offload::None).is_none(), "{what}");
        }
    }
}
