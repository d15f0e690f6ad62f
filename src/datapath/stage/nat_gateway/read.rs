//! Reads from a packet what a NAT gateway needs: TCP, UDP and ICMP alone pass (firewall facts A1), and of their fragments
//! those of UDP (A6).

use std::net::Ipv4Addr;

use crate::datapath::DropReason;
use crate::model::traffic::Direction;
use crate::wire::frame::{Ipv4Packet, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

/// Flags of TCP.
pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// The role of a packet at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath::stage) enum Subject {
    /// Part of a connection.
    Flow {
        /// The port on the gateway's side of the packet: the host's, or the one that stands for it.
        own: u16,
        /// The other end's.
        remote: u16,
        /// The flags of TCP; 0 for other protocols.
        flags: u8,
        /// Whether a connection may begin with it.
        opens: bool,
        /// The identification of a first fragment.
        first: Option<u16>,
    },
    /// A later fragment.
    Later { identification: u16 },
    /// An ICMP error.
    Error { quoted: Quoted },
}

/// The packet that an ICMP error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath::stage) struct Quoted {
    pub(in crate::datapath::stage) protocol: u8,
    pub(in crate::datapath::stage) source: Ipv4Addr,
    pub(in crate::datapath::stage) destination: Ipv4Addr,
    pub(in crate::datapath::stage) source_port: u16,
    pub(in crate::datapath::stage) destination_port: u16,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let octets = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

impl Subject {
    pub(in crate::datapath::stage) fn of(packet: &Ipv4Packet<'_>, direction: Direction) -> Result<Self, DropReason> {
        let upper = packet.payload();
        if packet.is_fragment() && packet.protocol != PROTOCOL_UDP {
            return Err(match packet.protocol {
                PROTOCOL_TCP | PROTOCOL_ICMP => DropReason::NatFragment,
                _ => DropReason::NatProtocol,
            });
        }
        let identification = word(packet.bytes, 4).unwrap_or(0);
        if packet.fragment_offset != 0 {
            return Ok(Self::Later { identification });
        }
        match packet.protocol {
            PROTOCOL_TCP | PROTOCOL_UDP => {
                let ports = word(upper, 0).zip(word(upper, 2)).ok_or(DropReason::NatProtocol)?;
                let (own, remote) = match direction {
                    Direction::Egress => ports,
                    Direction::Ingress => (ports.1, ports.0),
                };
                let flags = match packet.protocol {
                    PROTOCOL_TCP => *upper.get(13).ok_or(DropReason::NatProtocol)?,
                    _ => 0,
                };
                Ok(Self::Flow {
                    own,
                    remote,
                    flags,
                    opens: true,
                    first: packet.is_fragment().then_some(identification),
                })
            }
            PROTOCOL_ICMP => Self::icmp(upper, direction),
            _ => Err(DropReason::NatProtocol),
        }
    }

    fn icmp(message: &[u8], direction: Direction) -> Result<Self, DropReason> {
        let kind = *message.first().ok_or(DropReason::NatProtocol)?;
        let out = direction == Direction::Egress;
        match kind {
            // RFC 792, RFC 950: queries have an identifier, and so have their replies.
            0 | 8 | 13..=18 => {
                let asks = matches!(kind, 8 | 13 | 15 | 17);
                if asks != out {
                    return Err(DropReason::NatUnsolicited);
                }
                Ok(Self::Flow {
                    own: word(message, 4).ok_or(DropReason::NatProtocol)?,
                    remote: 0,
                    flags: 0,
                    opens: asks,
                    first: None,
                })
            }
            3 | 4 | 5 | 11 | 12 => {
                let quoted = message
                    .get(8..)
                    .and_then(Quoted::read)
                    .ok_or(DropReason::NatUnsolicited)?;
                Ok(Self::Error { quoted })
            }
            _ => Err(DropReason::NatProtocol),
        }
    }
}

impl Quoted {
    fn read(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<20>()?;
        let length = usize::from(header[0] & 0x0f) * 4;
        let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        if header[0] >> 4 != 4 || length < 20 || later {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let upper = packet.get(length..)?;
        let (source_port, destination_port) = match header[9] {
            PROTOCOL_TCP | PROTOCOL_UDP => (word(upper, 0)?, word(upper, 2)?),
            // Of a query the asker has the identifier, of a reply the asked one's other end has it.
            PROTOCOL_ICMP => match upper.first()? {
                8 | 13 | 15 | 17 => (word(upper, 4)?, 0),
                0 | 14 | 16 | 18 => (0, word(upper, 4)?),
                _ => return None,
            },
            _ => return None,
        };
        Some(Self {
            protocol: header[9],
            source: address(12),
            destination: address(16),
            source_port,
            destination_port,
        })
    }
}
