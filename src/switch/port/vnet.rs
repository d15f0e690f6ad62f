//! Validates the offload header before each frame (virtio 1.2 section 5.1.6, `struct virtio_net_hdr`), which says what
//! the sender left to be done: the transport checksum, and the segmentation of a TCP stream or a batch of datagrams.
//! Between two local stacks it is passed through, and the work is never done.
//!
//! A port's header is not trusted. A checksum field at the offset of the IP source address would make the receiver
//! rewrite what the checks have passed, so a header is accepted only where it agrees with the frame's own headers, and
//! what is written to a port is made from the validated [`Offload`].

use thiserror::Error;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ETHERNET;
use crate::wire::flow::Transport;
use crate::wire::frame::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// `flags`: the transport checksum is still to be computed.
const NEEDS_CSUM: u8 = 1;
/// `gso_type` with the ECN bit taken off.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// `gso_type` bit: the TCP segment has CWR set, which only the first segment may keep.
const GSO_ECN: u8 = 0x80;

/// The header in memory: 10 bytes, little-endian (the port requests that byte order).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VnetHeader {
    flags: u8,
    gso_type: u8,
    header_length: U16,
    segment_size: U16,
    checksum_start: U16,
    checksum_offset: U16,
}

/// The work left for a frame, validated against the frame's own headers. All offsets count from the first byte of the
/// Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: the frame is finished.
    #[default]
    None,
    /// The checksum field contains the sum of the pseudo-header only.
    Checksum {
        /// Offset of the first byte to sum.
        start: u16,
        /// Offset of the field, counted from `start`.
        offset: u16,
    },
    /// The frame stands for several, and each needs its checksum.
    Segment(Segments),
}

/// How to segment a frame that stands for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The transport and IP version.
    pub kind: SegmentKind,
    /// TCP only: CWR is set, and belongs to the first segment.
    pub ecn: bool,
    /// Transport payload bytes of each segment but the last.
    pub size: u16,
    /// Offset of the transport header.
    pub transport: u16,
    /// Offset of the payload; every segment repeats the bytes before it.
    pub headers: u16,
}

impl Segments {
    /// The largest IP packet in bytes after segmentation, to compare with an MTU.
    pub fn largest_packet(&self) -> usize {
        usize::from(self.headers) - ETHERNET + usize::from(self.size)
    }

    /// The same with a transport header at another offset, in the other family.
    pub fn in_other_family(self, transport: u16) -> Self {
        Self {
            kind: match self.kind {
                SegmentKind::TcpV4 => SegmentKind::TcpV6,
                SegmentKind::TcpV6 => SegmentKind::TcpV4,
                SegmentKind::UdpV4 => SegmentKind::UdpV6,
                SegmentKind::UdpV6 => SegmentKind::UdpV4,
            },
            transport,
            headers: transport + (self.headers - self.transport),
            ..self
        }
    }

    /// The number of frames that a frame of `frame_length` bytes stands for.
    pub fn count(&self, frame_length: usize) -> usize {
        frame_length
            .saturating_sub(usize::from(self.headers))
            .div_ceil(usize::from(self.size))
            .max(1)
    }
}

/// The kinds of segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4 (TSO4).
    TcpV4,
    /// TCP over IPv6 (TSO6).
    TcpV6,
    /// UDP over IPv4 (USO4).
    UdpV4,
    /// UDP over IPv6 (USO6).
    UdpV6,
}

impl SegmentKind {
    /// TCP of either IP version.
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::TcpV4 | Self::TcpV6)
    }

    /// IPv6 with either transport.
    pub fn is_ipv6(self) -> bool {
        matches!(self, Self::TcpV6 | Self::UdpV6)
    }

    /// Offset of the checksum field in the transport header.
    pub fn checksum_offset(self) -> u16 {
        if self.is_tcp() { TCP_CHECKSUM } else { UDP_CHECKSUM }
    }
}

const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;
const ICMP_CHECKSUM: u16 = 2;

/// Why an offload header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VnetError {
    /// A segmentation type that no port was offered.
    #[error("unknown segmentation type {0}")]
    UnknownKind(u8),
    /// A segment size of zero.
    #[error("segment size 0")]
    NoSegmentSize,
    /// Segmentation without an open checksum, which no stack sends.
    #[error("segmentation without checksum offload")]
    NoChecksum,
    /// The frame is not IP, is a fragment, or ends within its headers.
    #[error("the frame has no whole transport header")]
    NoTransport,
    /// The header is for another transport or IP version than the frame's.
    #[error("the header does not fit the frame's protocol")]
    WrongProtocol,
    /// The checksum field is outside the frame, or in a header that was already checked.
    #[error("the checksum field stands where none can be")]
    WrongChecksumField,
    /// The IP length does not agree with the frame's length.
    #[error("the IP length does not agree with the frame's length")]
    WrongLength,
}

impl VnetHeader {
    /// Bytes on the wire: the legacy form, without the count of merged buffers.
    pub const LENGTH: usize = 10;

    /// A finished frame.
    pub const PLAIN: [u8; Self::LENGTH] = [0; Self::LENGTH];

    /// True when there is nothing to validate: no open checksum, no segmentation. `DATA_VALID` is neither trusted nor
    /// passed on, so it does not matter.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.flags & NEEDS_CSUM == 0 && self.gso_type == GSO_NONE
    }

    /// Validates the header against the frame that follows it.
    #[inline]
    pub fn validate(&self, frame: &[u8]) -> Result<Offload, VnetError> {
        if self.is_plain() {
            return Ok(Offload::None);
        }
        self.validate_offload(frame)
    }

    fn validate_offload(&self, frame: &[u8]) -> Result<Offload, VnetError> {
        let transport = Transport::find(frame).ok_or(VnetError::NoTransport)?;
        let kind = match (self.gso_type & !GSO_ECN, transport.protocol, transport.ipv6) {
            (GSO_NONE, ..) => return self.validate_checksum(frame, &transport),
            (GSO_TCPV4, PROTOCOL_TCP, false) => SegmentKind::TcpV4,
            (GSO_TCPV6, PROTOCOL_TCP, true) => SegmentKind::TcpV6,
            (GSO_UDP_L4, PROTOCOL_UDP, false) => SegmentKind::UdpV4,
            (GSO_UDP_L4, PROTOCOL_UDP, true) => SegmentKind::UdpV6,
            (GSO_TCPV4 | GSO_TCPV6 | GSO_UDP_L4, ..) => return Err(VnetError::WrongProtocol),
            (other, ..) => return Err(VnetError::UnknownKind(other)),
        };
        if self.segment_size.get() == 0 {
            return Err(VnetError::NoSegmentSize);
        }
        if self.flags & NEEDS_CSUM == 0 {
            return Err(VnetError::NoChecksum);
        }
        let start = usize::from(self.checksum_start.get());
        if start != transport.offset || self.checksum_offset.get() != kind.checksum_offset() {
            return Err(VnetError::WrongChecksumField);
        }
        // A frame that is segmented ends with its IP packet; bytes behind it would end up in a segment.
        if transport.end != frame.len() {
            return Err(VnetError::WrongLength);
        }
        let headers = transport.offset + transport.header_length;
        Ok(Offload::Segment(Segments {
            kind,
            ecn: kind.is_tcp() && self.gso_type & GSO_ECN != 0,
            size: self.segment_size.get(),
            // Both lie within an IP header of 60 or an IPv6 chain that Transport::find bounds, and a TCP header of 60.
            transport: transport.offset as u16,
            headers: headers as u16,
        }))
    }

    fn validate_checksum(&self, frame: &[u8], transport: &Transport) -> Result<Offload, VnetError> {
        let (start, offset) = (
            usize::from(self.checksum_start.get()),
            usize::from(self.checksum_offset.get()),
        );
        if start + offset + 2 > transport.end.min(frame.len()) {
            return Err(VnetError::WrongChecksumField);
        }
        let inside = match transport.protocol {
            PROTOCOL_TCP => start == transport.offset && offset == usize::from(TCP_CHECKSUM),
            // A tunnel in UDP (VXLAN, Geneve) leaves the inner checksum open: anywhere behind the outer UDP header.
            PROTOCOL_UDP if start == transport.offset => offset == usize::from(UDP_CHECKSUM),
            PROTOCOL_UDP => start >= transport.offset + transport.header_length,
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => start == transport.offset && offset == usize::from(ICMP_CHECKSUM),
            _ => start >= transport.offset,
        };
        if !inside {
            return Err(VnetError::WrongChecksumField);
        }
        Ok(Offload::Checksum {
            start: self.checksum_start.get(),
            offset: self.checksum_offset.get(),
        })
    }
}

impl From<&Offload> for VnetHeader {
    fn from(offload: &Offload) -> Self {
        match *offload {
            Offload::None => Self::default(),
            Offload::Checksum { start, offset } => Self {
                flags: NEEDS_CSUM,
                checksum_start: U16::new(start),
                checksum_offset: U16::new(offset),
                ..Self::default()
            },
            Offload::Segment(segments) => {
                let gso_type = match segments.kind {
                    SegmentKind::TcpV4 => GSO_TCPV4,
                    SegmentKind::TcpV6 => GSO_TCPV6,
                    SegmentKind::UdpV4 | SegmentKind::UdpV6 => GSO_UDP_L4,
                };
                Self {
                    flags: NEEDS_CSUM,
                    gso_type: gso_type | if segments.ecn { GSO_ECN } else { 0 },
                    header_length: U16::new(segments.headers),
                    segment_size: U16::new(segments.size),
                    checksum_start: U16::new(segments.transport),
                    checksum_offset: U16::new(segments.kind.checksum_offset()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn tcp4(payload: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1, 2, 3, 4)
            .write(&mut frame, &vec![0; payload])
            .expect("a Vec can be written");
        frame
    }

    fn udp6(payload: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6([1; 16], [2; 16], 64)
            .udp(1, 2)
            .write(&mut frame, &vec![0; payload])
            .expect("a Vec can be written");
        frame
    }

    fn header(flags: u8, gso_type: u8, size: u16, start: u16, offset: u16) -> VnetHeader {
        VnetHeader {
            flags,
            gso_type,
            // A wrong value, which must not matter.
            header_length: U16::new(0xffff),
            segment_size: U16::new(size),
            checksum_start: U16::new(start),
            checksum_offset: U16::new(offset),
        }
    }

    /// As Linux writes it before a TCP frame of 2 segments over IPv4.
    #[test]
    fn the_header_has_the_layout_of_the_virtio_specification() {
        let bytes = [1, 1, 54, 0, 0xa8, 0x05, 34, 0, 16, 0];
        let header = VnetHeader::read_from_bytes(&bytes).expect("the header has 10 bytes");
        let offload = header.validate(&tcp4(2896)).expect("header and frame agree");
        assert_eq!(
            offload,
            Offload::Segment(Segments {
                kind: SegmentKind::TcpV4,
                ecn: false,
                size: 1448,
                transport: 34,
                headers: 54
            })
        );
        assert_eq!(VnetHeader::from(&offload).as_bytes(), bytes);
    }

    #[test]
    fn what_is_believed_is_written_back_the_same() {
        for (header, frame) in [
            (header(0, 0, 0, 0, 0), tcp4(1)),
            (header(1, 0, 0, 34, 16), tcp4(1)),
            (header(1, GSO_TCPV4 | GSO_ECN, 1448, 34, 16), tcp4(3000)),
            (header(1, 0, 0, 54, 6), udp6(1)),
            (header(1, GSO_UDP_L4, 64, 54, 6), udp6(640)),
        ] {
            let offload = header.validate(&frame).expect("header and frame agree");
            let written = VnetHeader::from(&offload);
            assert_eq!(written.validate(&frame), Ok(offload));
        }
    }

    #[test]
    fn data_valid_is_not_passed_on() {
        let offload = header(2, 0, 0, 0, 0).validate(&tcp4(1)).expect("nothing to validate");
        assert_eq!(VnetHeader::from(&offload).as_bytes(), VnetHeader::PLAIN);
    }

    #[test]
    fn a_header_that_does_not_fit_its_frame_is_not_believed() {
        let mut fragment = tcp4(100);
        fragment[20] = 0x20; // more fragments
        let mut arp = tcp4(100);
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let mut padded = tcp4(3000);
        padded.push(0);
        for (what, header, frame, error) in [
            (
                "checksum field in the source address",
                header(1, 0, 0, 14, 12),
                tcp4(9),
                VnetError::WrongChecksumField,
            ),
            (
                "checksum field in the ports",
                header(1, 0, 0, 34, 0),
                tcp4(9),
                VnetError::WrongChecksumField,
            ),
            (
                "checksum field behind the frame",
                header(1, 0, 0, 0xffff, 0xffff),
                tcp4(9),
                VnetError::WrongChecksumField,
            ),
            (
                "checksum field in the UDP length",
                header(1, 0, 0, 54, 4),
                udp6(9),
                VnetError::WrongChecksumField,
            ),
            (
                "checksum field across the end",
                header(1, 0, 0, 62, 8),
                udp6(9),
                VnetError::WrongChecksumField,
            ),
            (
                "segments without size",
                header(1, 1, 0, 34, 16),
                tcp4(9),
                VnetError::NoSegmentSize,
            ),
            (
                "segments without checksum",
                header(0, 1, 9, 34, 16),
                tcp4(9),
                VnetError::NoChecksum,
            ),
            (
                "UDP segments of a TCP frame",
                header(1, 5, 9, 34, 16),
                tcp4(9),
                VnetError::WrongProtocol,
            ),
            (
                "IPv6 segments of an IPv4 frame",
                header(1, 4, 9, 34, 16),
                tcp4(9),
                VnetError::WrongProtocol,
            ),
            (
                "UFO, which is gone",
                header(1, 3, 9, 34, 16),
                tcp4(9),
                VnetError::UnknownKind(3),
            ),
            ("a fragment", header(1, 0, 0, 34, 16), fragment, VnetError::NoTransport),
            ("no IP at all", header(1, 0, 0, 34, 16), arp, VnetError::NoTransport),
            (
                "a frame cut short",
                header(1, 0, 0, 34, 16),
                tcp4(9)[..40].to_vec(),
                VnetError::NoTransport,
            ),
            (
                "an empty frame",
                header(1, 0, 0, 34, 16),
                vec![],
                VnetError::NoTransport,
            ),
            (
                "padding in segments",
                header(1, 1, 9, 34, 16),
                padded,
                VnetError::WrongLength,
            ),
        ] {
            assert_eq!(header.validate(&frame), Err(error), "{what}");
        }
    }

    /// VXLAN: outer UDP without a checksum, the inner TCP one open.
    #[test]
    fn an_open_checksum_inside_a_tunnel_is_believed_behind_the_outer_header() {
        assert!(header(1, 0, 0, 54 + 8 + 8 + 34, 16).validate(&udp6(200)).is_ok());
        assert!(header(1, 0, 0, 54 + 7, 16).validate(&udp6(200)).is_err());
    }

    #[test]
    fn ipv6_extension_headers_are_walked_and_bounded() {
        let mut frame = udp6(64);
        let udp = frame.split_off(54);
        frame[20] = 0; // hop-by-hop
        frame.extend_from_slice(&[60, 0, 1, 4, 0, 0, 0, 0]); // then destination options
        frame.extend_from_slice(&[PROTOCOL_UDP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&udp);
        let length = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        let transport = Transport::find(&frame).expect("the chain is short");
        assert_eq!(
            (transport.protocol, transport.offset, transport.end),
            (PROTOCOL_UDP, 54 + 24, frame.len())
        );

        let mut endless = udp6(256);
        endless[20] = 0;
        endless[54..].fill(0); // each names the next as hop-by-hop
        assert_eq!(Transport::find(&endless), None);
    }

    #[test]
    fn no_bytes_make_validation_panic() {
        let mut frame = udp6(40);
        for position in 0..frame.len() {
            for value in [0, 1, 0x0f, 0x45, 0x60, 0xff] {
                let kept = std::mem::replace(&mut frame[position], value);
                for length in [0, 13, 14, 20, 34, 54, 61, frame.len()] {
                    for gso in [0, 1, 4, 5, 0x85, 0xff] {
                        let _ = header(1, gso, 7, 54, 6).validate(&frame[..length]);
                    }
                }
                frame[position] = kept;
            }
        }
    }
}
