//! Reads the 5-tuple of a packet: addresses, protocol, and ports or the identifier of an ICMP echo. It is the only
//! parser of 5-tuples.

use std::net::IpAddr;

use super::frame::{
    ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet, Malformed, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP,
};

/// An IP packet of either version.
#[derive(Debug, Clone, Copy)]
pub enum IpPacket<'a> {
    /// IPv4.
    V4(Ipv4Packet<'a>),
    /// IPv6.
    V6(Ipv6Packet<'a>),
}

/// Which part of a packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// Its beginning, with the upper layer's header.
    First,
    /// A later fragment, without the upper layer's header: its ports are unknown.
    Later,
}

/// The fields of the upper layer that identify a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upper {
    /// TCP or UDP (RFC 9293 section 3.1, RFC 768: both have the ports in one place).
    Ports {
        /// The sender's.
        source: u16,
        /// The receiver's.
        destination: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
        /// The identifier of an echo; `None` for other messages (RFC 792, RFC 4443 section 4).
        identifier: Option<u16>,
    },
    /// Another protocol, a later fragment, or a packet that ends within its upper header.
    Unknown,
}

/// The 5-tuple of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The sender's address.
    pub source: IpAddr,
    /// The receiver's address.
    pub destination: IpAddr,
    /// The upper layer's protocol.
    pub protocol: u8,
    /// Ports, or type, code and identifier.
    pub upper: Upper,
    /// Which part of the packet was read.
    pub fragment: Fragment,
}

impl<'a> IpPacket<'a> {
    /// Reads the packet of a frame; `None` when it holds no valid IP packet.
    pub fn of(frame: &Frame<'a>) -> Option<Self> {
        Self::parse(frame)?.ok()
    }

    /// Reads the packet of a frame; `None` when its EtherType is not IP.
    #[inline]
    pub fn parse(frame: &Frame<'a>) -> Option<Result<Self, Malformed>> {
        match frame.ethertype {
            ETHERTYPE_IPV4 => Some(Ipv4Packet::parse(frame.payload()).map(Self::V4)),
            ETHERTYPE_IPV6 => Some(Ipv6Packet::parse(frame.payload()).map(Self::V6)),
            _ => None,
        }
    }

    /// The sender's address.
    pub fn source(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.source.into(),
            Self::V6(packet) => packet.source.into(),
        }
    }

    /// The receiver's address.
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.destination.into(),
            Self::V6(packet) => packet.destination.into(),
        }
    }

    /// The upper layer's protocol.
    #[inline]
    pub fn protocol(&self) -> u8 {
        match self {
            Self::V4(packet) => packet.protocol,
            Self::V6(packet) => packet.protocol,
        }
    }

    /// The upper layer's bytes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Self::V4(packet) => packet.payload(),
            Self::V6(packet) => packet.payload(),
        }
    }

    /// Which part of a packet it is.
    #[inline]
    pub fn fragment(&self) -> Fragment {
        let (fragmented, later) = match self {
            Self::V4(packet) => (packet.is_fragment(), packet.fragment_offset != 0),
            Self::V6(packet) => (packet.fragmented, packet.later_fragment),
        };
        match (fragmented, later) {
            (_, true) => Fragment::Later,
            (true, false) => Fragment::First,
            (false, false) => Fragment::Whole,
        }
    }

    /// The flow that it belongs to.
    pub fn flow(&self) -> Flow {
        let (protocol, fragment) = (self.protocol(), self.fragment());
        Flow {
            source: self.source(),
            destination: self.destination(),
            protocol,
            upper: match fragment {
                Fragment::Later => Upper::Unknown,
                Fragment::Whole | Fragment::First => Upper::read(protocol, self.payload()),
            },
            fragment,
        }
    }

    /// The packet without IPv4 options or IPv6 extension headers.
    pub fn without_options(&self) -> Vec<u8> {
        match self {
            Self::V4(packet) => packet.without_options(),
            Self::V6(packet) => packet.without_extensions(),
        }
    }
}

impl Flow {
    /// The flow of a frame's packet; `None` for a frame without one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(IpPacket::of(&Frame::parse(bytes).ok()?)?.flow())
    }

    /// The receiver's port, where the packet names one.
    pub fn destination_port(&self) -> Option<u16> {
        match self.upper {
            Upper::Ports { destination, .. } => Some(destination),
            Upper::Icmp { .. } | Upper::Unknown => None,
        }
    }
}

impl Upper {
    /// Reads the beginning of an upper layer.
    fn read(protocol: u8, bytes: &[u8]) -> Self {
        match (protocol, bytes) {
            (PROTOCOL_TCP | PROTOCOL_UDP, &[a, b, c, d, ..]) => Self::Ports {
                source: u16::from_be_bytes([a, b]),
                destination: u16::from_be_bytes([c, d]),
            },
            (PROTOCOL_ICMP | PROTOCOL_ICMPV6, &[kind, code, ..]) => Self::Icmp {
                kind,
                code,
                identifier: match (protocol, kind, bytes) {
                    // Echo and its reply: RFC 792 types 8 and 0, RFC 4443 types 128 and 129.
                    (PROTOCOL_ICMP, 0 | 8, &[_, _, _, _, a, b, ..])
                    | (PROTOCOL_ICMPV6, 128 | 129, &[_, _, _, _, a, b, ..]) => Some(u16::from_be_bytes([a, b])),
                    _ => None,
                },
            },
            _ => Self::Unknown,
        }
    }
}

/// Where the headers of an unfragmented packet's upper layer are, counted from the first byte of the Ethernet header.
/// Offloads are validated against it; GRO and segmentation use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// IPv6, not IPv4.
    pub ipv6: bool,
    /// The protocol at `offset`.
    pub protocol: u8,
    /// Where the transport header begins.
    pub offset: usize,
    /// Its length in bytes, options included; 0 for protocols other than TCP and UDP.
    pub header_length: usize,
    /// Where the IP packet ends. Bytes behind it are padding.
    pub end: usize,
}

impl Transport {
    /// `None` when the frame is not IP, is a fragment, or ends before its headers do.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        let packet = IpPacket::of(&Frame::parse(bytes).ok()?)?;
        if packet.fragment() != Fragment::Whole {
            return None;
        }
        let (ipv6, (protocol, header), bytes) = match &packet {
            IpPacket::V4(packet) => (false, (packet.protocol, packet.header_length), packet.bytes),
            IpPacket::V6(packet) => (true, packet.behind_options(), packet.bytes),
        };
        let segment = &bytes[header..];
        let header_length = match protocol {
            PROTOCOL_TCP => usize::from(segment.get(12)? >> 4) * 4,
            PROTOCOL_UDP => 8,
            _ => 0,
        };
        if (protocol == PROTOCOL_TCP && header_length < 20) || header_length > segment.len() {
            return None;
        }
        Some(Self {
            ipv6,
            protocol,
            offset: ETHERNET_HEADER + header,
            header_length,
            end: ETHERNET_HEADER + bytes.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.0.0.1 → 10.0.0.2 with this protocol, flags and offset, and 8 octets behind the header.
    fn ipv4(protocol: u8, fragment: [u8; 2], upper: [u8; 8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, fragment[0], fragment[1], 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(upper);
        frame
    }

    /// ::1 → ::2 with these octets behind the fixed header.
    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, rest.len() as u8, next, 64]);
        frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend(rest);
        frame
    }

    const PORTS: [u8; 8] = [0x9c, 0x40, 0, 80, 0, 8, 0, 0];
    const ECHO: [u8; 8] = [8, 0, 0, 0, 0x12, 0x34, 0, 1];

    #[test]
    fn a_flow_is_told_by_ports_or_echo_identifier_and_not_by_a_later_fragment() {
        let ports = Upper::Ports {
            source: 40_000,
            destination: 80,
        };
        let echo = |kind, identifier| Upper::Icmp {
            kind,
            code: 0,
            identifier,
        };
        let echo6 = [128, 0, 0, 0, 0x12, 0x34, 0, 1];
        let fragment6 = |offset: u8| [&[17, 0, 0, offset, 0, 0, 0, 7][..], &PORTS].concat();
        let hop_by_hop = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &PORTS].concat();
        let cases: [(&str, Vec<u8>, Upper, Fragment); 12] = [
            ("TCP", ipv4(6, [0x40, 0], PORTS), ports, Fragment::Whole),
            ("UDP", ipv4(17, [0, 0], PORTS), ports, Fragment::Whole),
            ("first fragment", ipv4(17, [0x20, 0], PORTS), ports, Fragment::First),
            (
                "last fragment",
                ipv4(17, [0, 1], PORTS),
                Upper::Unknown,
                Fragment::Later,
            ),
            ("echo", ipv4(1, [0, 0], ECHO), echo(8, Some(0x1234)), Fragment::Whole),
            (
                "error",
                ipv4(1, [0, 0], [3, 0, 0, 0, 9, 9, 0, 0]),
                echo(3, None),
                Fragment::Whole,
            ),
            (
                "another protocol",
                ipv4(47, [0, 0], PORTS),
                Upper::Unknown,
                Fragment::Whole,
            ),
            ("UDP over IPv6", ipv6(17, &PORTS), ports, Fragment::Whole),
            ("behind an option", ipv6(0, &hop_by_hop), ports, Fragment::Whole),
            (
                "echo over IPv6",
                ipv6(58, &echo6),
                echo(128, Some(0x1234)),
                Fragment::Whole,
            ),
            (
                "first fragment over IPv6",
                ipv6(44, &fragment6(1)),
                ports,
                Fragment::First,
            ),
            (
                "later fragment over IPv6",
                ipv6(44, &fragment6(8)),
                Upper::Unknown,
                Fragment::Later,
            ),
        ];
        for (what, frame, upper, fragment) in cases {
            let flow = Flow::of(&frame).expect(what);
            assert_eq!((flow.upper, flow.fragment), (upper, fragment), "{what}");
        }
        assert_eq!(Flow::of(&ipv4(6, [0, 0], PORTS)[..33]), None, "cut short");
        assert_eq!(Flow::of(&[0; 60]), None, "no IP");
    }

    #[test]
    fn a_transport_header_is_found_in_whole_packets_that_may_be_changed() {
        let found = |frame: &[u8]| Transport::find(frame).map(|transport| (transport.offset, transport.header_length));
        assert_eq!(found(&ipv4(17, [0, 0], PORTS)), Some((34, 8)));
        assert_eq!(found(&ipv4(17, [0x20, 0], PORTS)), None, "a first fragment");
        assert_eq!(found(&ipv4(6, [0, 0], PORTS)), None, "a TCP header that is cut");
        let destination_options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &PORTS].concat();
        assert_eq!(found(&ipv6(60, &destination_options)), Some((62, 8)));
        // RFC 4302 section 3.3.3: the integrity check covers the payload, so that the header is as far as one may look.
        let authenticated = [&[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1][..], &PORTS].concat();
        let transport = Transport::find(&ipv6(51, &authenticated)).expect("a whole packet");
        assert_eq!(
            (transport.protocol, transport.offset, transport.header_length),
            (51, 54, 0)
        );
    }
}
