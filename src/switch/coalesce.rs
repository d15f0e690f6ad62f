//! The law of merging: which frames of one flow may cross as one, to be cut again by the receiver, so that nothing but
//! the number of crossings changes. The rules are those of a network card's receive offload (Linux GRO):
//!
//! * everything that a cut repeats must be equal: addresses, ports, TTL, traffic class, DF, TCP acknowledgment and options;
//! * pieces but the last carry the same number of bytes, in order, nothing missing;
//! * TCP flags other than ACK, and PSH on the last piece, keep a frame alone;
//! * a checksum that arrived complete is verified first: the cut computes it anew, and must not heal what was broken.

use super::port::vnet::{SegmentKind, Segments};
use super::port::{ETHERNET, Offload};
use crate::wire::checksum::Sum;
use crate::wire::flow::Transport;
use crate::wire::frame::{PROTOCOL_TCP as TCP, PROTOCOL_UDP as UDP};

const TCP_ACK: u8 = 0x10;
const TCP_PSH: u8 = 0x08;

/// Frames that one train may hold (`UDP_MAX_SEGMENTS` of Linux before 6.9).
pub const MOST_SEGMENTS: usize = 64;

/// The largest IPv4 packet, which a train must not exceed.
const LARGEST_PACKET: usize = 65_535;

/// A frame that may become part of a train.
#[derive(Clone, Copy, Debug)]
pub struct Car {
    kind: SegmentKind,
    transport: u16,
    headers: u16,
    /// Transport payload in bytes, at least 1.
    payload: u16,
    /// The checksum is open, as the sender left it; otherwise it is complete and unverified.
    open_checksum: bool,
    /// PSH: the sender wants no more behind it.
    last: bool,
    sequence: u32,
    identification: u16,
}

impl Car {
    /// `None` when the frame must cross as it is.
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
                // The lower half of the byte before holds the length and reserved bits, of which AE is one (RFC 9768).
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

    /// Where the payload begins.
    #[inline]
    pub fn headers(&self) -> usize {
        usize::from(self.headers)
    }

    /// A number that is equal for frames of one flow.
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

    /// True when all that a cut repeats is equal in both frames.
    #[inline]
    fn repeats(&self, frame: &[u8], other: &Self, other_frame: &[u8]) -> bool {
        if self.kind != other.kind || self.headers != other.headers {
            return false;
        }
        let same = |from: usize, to: usize| frame[from..to] == other_frame[from..to];
        let transport = usize::from(self.transport);
        // Left out: lengths, identification, checksums, sequence number and flags.
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

    /// Verifies a checksum that arrived complete.
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
        // A train is at most one IP packet: 16 bits hold its length.
        Sum::new()
            .bytes(addresses)
            .word(u16::from(if self.kind.is_tcp() { TCP } else { UDP }))
            .word(length as u16)
    }
}

/// Frames of one flow, in order, that will cross as one.
#[derive(Clone, Copy, Debug)]
pub struct Train {
    head: Car,
    /// How many frames.
    count: usize,
    /// Payload of all in bytes.
    payload: usize,
    /// Nothing may follow: a short piece or PSH was the last.
    closed: bool,
    /// The last frame's PSH, which the cut moves to the last piece.
    push: bool,
}

impl Train {
    /// Begins with one frame.
    #[inline]
    pub fn new(head: Car) -> Self {
        Self {
            head,
            count: 1,
            payload: usize::from(head.payload),
            closed: head.last,
            push: head.last,
        }
    }

    /// How many frames it holds, at least 1.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The frame that it begins with.
    #[inline]
    pub fn head(&self) -> &Car {
        &self.head
    }

    /// Adds a frame at the end if the law allows it. `head_frame` is the frame that the train began with.
    pub fn couple(&mut self, head_frame: &[u8], car: &Car, frame: &[u8]) -> bool {
        let head = self.head;
        let fits = !self.closed
            && self.count < MOST_SEGMENTS
            && car.payload <= head.payload
            && head.headers() - ETHERNET + self.payload + usize::from(car.payload) <= LARGEST_PACKET
            && head.repeats(head_frame, car, frame)
            && self.continues(car, head_frame)
            && (self.count > 1 || head.checksum_holds(head_frame))
            && car.checksum_holds(frame);
        if fits {
            self.count += 1;
            self.payload += usize::from(car.payload);
            self.closed = car.last || car.payload < head.payload;
            self.push = car.last;
        }
        fits
    }

    /// The cut counts sequence numbers and identifications up from the first frame's: what follows must agree.
    /// Where DF is set the identification means nothing (RFC 6864 section 4.1).
    fn continues(&self, car: &Car, head_frame: &[u8]) -> bool {
        let head = &self.head;
        let in_sequence = !head.kind.is_tcp() || car.sequence == head.sequence.wrapping_add(self.payload as u32);
        let numbered = head.kind.is_ipv6()
            || head_frame[20] & 0x40 != 0
            || car.identification == head.identification.wrapping_add(self.count as u16);
        in_sequence && numbered
    }

    /// Makes the first frame's headers those of the whole train, and says how to cut it.
    pub fn seal(&self, head_frame: &mut [u8]) -> Offload {
        let head = &self.head;
        let transport = usize::from(head.transport);
        let length = head.headers() - transport + self.payload;
        // All lengths are of one IP packet, which `couple` bounds.
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

    /// Couples frames as long as the law allows; how many it was.
    fn coupled(frames: &[Vec<u8>]) -> (Train, usize) {
        let car = |frame: &[u8]| Car::new(frame, &Offload::None).expect("a frame that may be merged");
        let mut train = Train::new(car(&frames[0]));
        let count = 1 + frames[1..]
            .iter()
            .take_while(|frame| train.couple(&frames[0], &car(frame), frame))
            .count();
        (train, count)
    }

    /// What the receiver gets: the train's bytes cut again.
    fn cut(train: &Train, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut whole = frames[0].clone();
        let Offload::Segment(segments) = train.seal(&mut whole) else {
            panic!("a train is cut")
        };
        for frame in &frames[1..] {
            whole.extend_from_slice(&frame[train.head().headers()..]);
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
        /// The law in one sentence: the receiver gets the very frames that were sent.
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
                // On the last frame of all: whether it gets so far or not, nothing may change.
                let at = frames.len() - 1;
                let flags = if ipv6 { 54 } else { 34 } + 13;
                frames[at][flags] |= TCP_PSH;
                let field = flags + 3;
                let sum = u16::from_be_bytes([frames[at][field], frames[at][field + 1]]);
                let sum = crate::wire::checksum::updated(sum, u16::from(TCP_ACK), u16::from(TCP_ACK | TCP_PSH));
                frames[at][field..field + 2].copy_from_slice(&sum.to_be_bytes());
            }
            let (train, coupled) = coupled(&frames);
            prop_assert!(coupled >= count.min(MOST_SEGMENTS).min(60_000 / (size + 60)));
            if coupled > 1 {
                prop_assert_eq!(cut(&train, &frames[..coupled]), &frames[..coupled]);
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
            assert_eq!(coupled(&[first, second]).1, 1, "{what}");
        }
        let mut broken = head(UDP4);
        broken[60] ^= 1;
        assert_eq!(
            coupled(&[broken, frame(UDP4, 2, 0, &payload, |_| {})]).1,
            1,
            "a broken checksum at the head"
        );
        let short = [
            head(UDP4),
            frame(UDP4, 2, 0, &[7; 99], |_| {}),
            frame(UDP4, 3, 0, &[7; 99], |_| {}),
        ];
        assert_eq!(coupled(&short).1, 2, "nothing follows a short piece");
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
            assert!(Car::new(&frame, &Offload::None).is_none(), "{what}");
        }
    }
}
