//! Reads from a packet what connection tracking and rules need.

use std::net::{IpAddr, Ipv4Addr};

use crate::datapath::Packet;
use crate::datapath::policy::Upper;
use crate::datapath::state::{Class, Key, SeenPacket, Thread};
use crate::mapping::InterfaceIndex;
use crate::model::traffic::Direction;
use crate::wire::flow::{self, Fragment, IpPacket};
use crate::wire::frame::{Ipv6Packet, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// The role of a packet in connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Part of a connection.
    Thread {
        thread: Thread,
        /// The flags of a TCP header; 0 for other protocols.
        flags: u8,
        /// Whether a connection may begin with it.
        opens: bool,
    },
    /// A fragment without ports, of a protocol that has them.
    Later { identification: u32 },
    /// An ICMP error.
    Error,
}

/// The TCP flag RST.
const RST: u8 = 4;

/// The flags of a TCP header.
#[inline(always)]
fn tcp_flags(segment: &[u8]) -> u8 {
    segment.get(13).copied().unwrap_or(0)
}

#[inline(always)]
fn ports(upper: &[u8], direction: Direction) -> Option<Thread> {
    let &[a, b, c, d] = upper.first_chunk::<4>()?;
    let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(match direction {
        Direction::Egress => Thread::Ports(source, destination),
        Direction::Ingress => Thread::Ports(destination, source),
    })
}

/// The connection of a whole packet of TCP or UDP, and what the packet shows of its state; `None` for all others.
#[inline(always)]
pub(super) fn quick(packet: &Packet<'_>, interface: InterfaceIndex, direction: Direction) -> Option<(Key, SeenPacket)> {
    let (protocol, fragment, upper) = match packet {
        Packet::V4(packet) => (packet.protocol, packet.is_fragment(), packet.payload()),
        Packet::V6(packet) => (packet.protocol, packet.fragmented, packet.payload()),
    };
    if !matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP) || fragment {
        return None;
    }
    let thread = ports(upper, direction)?;
    let (own, remote) = match direction {
        Direction::Egress => (packet.source(), packet.destination()),
        Direction::Ingress => (packet.destination(), packet.source()),
    };
    let seen = SeenPacket {
        class: Class::of(protocol),
        direction,
        flags: if protocol == PROTOCOL_TCP { tcp_flags(upper) } else { 0 },
    };
    Some((Key::new(interface, protocol, thread, own, remote), seen))
}

impl Subject {
    pub(super) fn of(packet: &IpPacket<'_>, direction: Direction) -> Self {
        let protocol = packet.protocol();
        let pair = Self::Thread {
            thread: Thread::Ports(0, 0),
            flags: 0,
            opens: true,
        };
        let with_upper_header = matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_ICMP | PROTOCOL_ICMPV6);
        if !with_upper_header {
            return pair;
        }
        if packet.fragment() == Fragment::Later {
            let identification = identification(packet).unwrap_or(0);
            return Self::Later { identification };
        }
        let upper = packet.payload();
        match protocol {
            PROTOCOL_TCP | PROTOCOL_UDP => ports(upper, direction).map_or(pair, |thread| {
                let flags = if protocol == PROTOCOL_TCP { tcp_flags(upper) } else { 0 };
                Self::Thread {
                    thread,
                    flags,
                    opens: flags & RST == 0,
                }
            }),
            _ => icmp(protocol, upper, direction).unwrap_or(pair),
        }
    }
}

/// A message of ICMP. Requests and replies belong together; a reply without a request begins no connection.
fn icmp(protocol: u8, message: &[u8], direction: Direction) -> Option<Subject> {
    let kind = *message.first()?;
    let out = direction == Direction::Egress;
    let identifier = |message: &[u8]| {
        message
            .get(4..6)
            .map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]))
    };
    let question = |kind: u8, answers: bool| Subject::Thread {
        thread: Thread::Question {
            kind,
            identifier: identifier(message),
            // The client is the sender of a request, or the receiver of a reply.
            own: out != answers,
        },
        flags: 0,
        opens: !answers,
    };
    Some(match (protocol, kind) {
        // RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem. RFC 4443: errors are below 128.
        (PROTOCOL_ICMP, 3 | 4 | 5 | 11 | 12) | (PROTOCOL_ICMPV6, 0..128) => Subject::Error,
        (PROTOCOL_ICMP, 8) | (PROTOCOL_ICMPV6, 128) => question(kind, false),
        (PROTOCOL_ICMP, 0) => question(8, true),
        (PROTOCOL_ICMPV6, 129) => question(128, true),
        // RFC 792, RFC 950: timestamp, information and address mask.
        (PROTOCOL_ICMP, 13 | 15 | 17) => question(kind, false),
        (PROTOCOL_ICMP, 14 | 16 | 18) => question(kind - 1, true),
        _ => Subject::Thread {
            thread: Thread::Question {
                kind,
                identifier: 0,
                own: out,
            },
            flags: 0,
            opens: true,
        },
    })
}

/// What the fragments of one packet have in common, in addition to addresses and protocol.
pub(super) fn identification(packet: &IpPacket<'_>) -> Option<u32> {
    match packet {
        IpPacket::V4(packet) => Some(u32::from(u16::from_be_bytes([packet.bytes[4], packet.bytes[5]]))),
        // RFC 8200 section 4.5: the fragment header is the last one of the unfragmentable part, and of a later fragment the last
        // one that is read.
        IpPacket::V6(packet) => packet.fragment_identification(),
    }
}

/// The fields of the upper layer that rules compare.
pub(in crate::datapath) fn upper(packet: &IpPacket<'_>) -> Upper {
    match packet.flow().upper {
        flow::Upper::Ports { destination, .. } => Upper::Port(destination),
        flow::Upper::Icmp { kind, code, .. } => Upper::Port(u16::from(kind) << 8 | u16::from(code)),
        flow::Upper::Unknown => Upper::Unknown,
    }
}

/// The connection of the packet that an ICMP error quotes, as the interface sees it: the interface sent the packet
/// quoted by an incoming error, and received the packet quoted by one that it sends.
pub(super) fn related(packet: &IpPacket<'_>, interface: InterfaceIndex, direction: Direction) -> Option<Key> {
    let quoted = packet.payload().get(8..)?;
    // The quotation may be truncated: its length field is that of the whole packet.
    let (inner, protocol, upper): ((IpAddr, IpAddr), u8, &[u8]) = match packet {
        IpPacket::V4(_) => {
            let header = quoted.first_chunk::<20>()?;
            let length = usize::from(header[0] & 0x0f) * 4;
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
            if header[0] >> 4 != 4 || length < 20 || fragment {
                return None;
            }
            let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
            let ends = (address(12).into(), address(16).into());
            (ends, header[9], quoted.get(length..)?)
        }
        IpPacket::V6(_) => {
            let inner = Ipv6Packet::parse_quoted(quoted)?;
            let ends = (inner.source.into(), inner.destination.into());
            (ends, inner.protocol, inner.payload())
        }
    };
    // The direction of the quoted packet, as the interface sees it.
    let went = direction.opposite();
    let (own, remote) = match went {
        Direction::Egress => inner,
        Direction::Ingress => (inner.1, inner.0),
    };
    let thread = match protocol {
        PROTOCOL_TCP | PROTOCOL_UDP => ports(upper, went)?,
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => match icmp(protocol, upper, went)? {
            Subject::Thread { thread, .. } => thread,
            Subject::Later { .. } | Subject::Error => return None,
        },
        _ => Thread::Ports(0, 0),
    };
    Some(Key::new(interface, protocol, thread, own, remote))
}
