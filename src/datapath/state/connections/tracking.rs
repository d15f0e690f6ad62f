//! Computes the state of a connection from its packets, and its life.
//!
//! AWS documents three timeouts (EC2 guide, "Idle connection tracking timeout"): TCP that is established, UDP with more than
//! one request and response, other UDP; and 600 s for other protocols. The rest is unknown, and a field of the profile.

use crate::model::profile::TrackingPolicy;
use crate::model::traffic::Direction;
use crate::wire::frame::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// How connections of a protocol end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) enum Class {
    Tcp,
    Udp,
    Icmp,
    /// The later fragments of one packet.
    Fragments,
    Other,
}

impl Class {
    #[inline(always)]
    pub(in crate::datapath) fn of(protocol: u8) -> Self {
        match protocol {
            PROTOCOL_TCP => Self::Tcp,
            PROTOCOL_UDP => Self::Udp,
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => Self::Icmp,
            _ => Self::Other,
        }
    }
}

/// A packet, reduced to what tracking needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct SeenPacket {
    pub(in crate::datapath) class: Class,
    pub(in crate::datapath) direction: Direction,
    /// Flags of a TCP header (RFC 9293 section 3.1).
    pub(in crate::datapath) flags: u8,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The flags of a connection, in 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::datapath) struct Seen(u16);

/// Packets went out, or came in.
const OUT: u16 = 1;
const IN: u16 = 2;
/// A FIN went out, or came in.
const FIN_OUT: u16 = 4;
const FIN_IN: u16 = 8;
/// A RST was seen.
const RESET: u16 = 16;
/// The last packet that changed the direction of the conversation went out.
const LAST_OUT: u16 = 32;
/// How often the direction changed, up to three times: request, response, request, response.
const TURN: u16 = 64;
const TURNS: u16 = 3 * TURN;
/// The first packet went out.
const OPENED_OUT: u16 = 256;

/// The lives of connections, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Life {
    /// TCP with packets both ways.
    pub tcp_established: u32,
    /// UDP with more than one request and response.
    pub udp_stream: u32,
    /// Other UDP.
    pub udp: u32,
}

impl Seen {
    pub(super) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    /// The flags of a connection that begins with this packet.
    pub(in crate::datapath) fn first(packet: SeenPacket) -> Self {
        let out = packet.direction == Direction::Egress;
        let first = if out { OPENED_OUT | LAST_OUT } else { 0 };
        Self(first).then(packet)
    }

    /// With one more packet.
    #[inline(always)]
    pub(in crate::datapath) fn then(self, packet: SeenPacket) -> Self {
        let out = packet.direction == Direction::Egress;
        let mut bits = self.0 | if out { OUT } else { IN };
        match packet.class {
            Class::Tcp => {
                if packet.flags & (FIN | RST) != 0 {
                    if packet.flags & FIN != 0 {
                        bits |= if out { FIN_OUT } else { FIN_IN };
                    }
                    if packet.flags & RST != 0 {
                        bits |= RESET;
                    }
                }
            }
            Class::Udp => {
                if bits & TURNS != TURNS && (bits & LAST_OUT != 0) != out {
                    bits = (bits ^ LAST_OUT) + TURN;
                }
            }
            Class::Icmp | Class::Fragments | Class::Other => {}
        }
        Self(bits)
    }

    /// Whether a packet begins another connection in place of this one, which has ended.
    #[inline(always)]
    pub(in crate::datapath) fn begins_anew(self, packet: SeenPacket) -> bool {
        let ended = self.0 & RESET != 0 || self.0 & (FIN_OUT | FIN_IN) == FIN_OUT | FIN_IN;
        ended && packet.class == Class::Tcp && packet.flags & (SYN | ACK) == SYN
    }

    /// Whether packets went both ways.
    pub(in crate::datapath) fn is_answered(self) -> bool {
        self.0 & (OUT | IN) == OUT | IN
    }

    /// The life of the connection after a packet.
    pub(in crate::datapath) fn life(self, class: Class, tracking: &TrackingPolicy, own: Option<&Life>) -> u32 {
        match class {
            Class::Tcp if self.0 & RESET != 0 => tracking.tcp_reset,
            Class::Tcp if self.0 & (FIN_OUT | FIN_IN) != 0 => tracking.tcp_closing,
            Class::Tcp if self.is_answered() => own.map_or(tracking.tcp_established, |own| own.tcp_established),
            Class::Tcp => tracking.tcp_opening,
            Class::Udp if self.0 & TURNS == TURNS => own.map_or(tracking.udp_stream, |own| own.udp_stream),
            Class::Udp => own.map_or(tracking.udp, |own| own.udp),
            Class::Icmp => tracking.icmp,
            Class::Fragments => tracking.fragments,
            Class::Other => tracking.other,
        }
    }

    /// The state in a word.
    pub(in crate::datapath) fn describe(self, class: Class) -> &'static str {
        match class {
            Class::Tcp if self.0 & RESET != 0 => "reset",
            Class::Tcp if self.0 & (FIN_OUT | FIN_IN) != 0 => "closing",
            Class::Tcp if self.is_answered() => "established",
            Class::Tcp => "opening",
            Class::Udp if self.0 & TURNS == TURNS => "stream",
            Class::Fragments => "fragments",
            _ if self.is_answered() => "answered",
            _ => "unanswered",
        }
    }

    /// Whether the first packet went out.
    pub(in crate::datapath) fn opened_out(self) -> bool {
        self.0 & OPENED_OUT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Profile;

    fn packet(class: Class, out: bool, flags: u8) -> SeenPacket {
        SeenPacket {
            class,
            direction: if out { Direction::Egress } else { Direction::Ingress },
            flags,
        }
    }

    /// The lives after each packet of a conversation; `>` goes out, `<` comes in.
    fn lives(class: Class, packets: &[(char, u8)]) -> Vec<u32> {
        let tracking = Profile::aws().firewall.tracking;
        let mut seen = None;
        let lives = packets.iter().map(|&(way, flags)| {
            let packet = packet(class, way == '>', flags);
            let now = seen.map_or_else(|| Seen::first(packet), |seen: Seen| seen.then(packet));
            seen = Some(now);
            now.life(class, &tracking, None)
        });
        lives.collect()
    }

    #[test]
    fn tcp_lives_five_days_once_it_is_answered_and_not_for_long_once_it_ends() {
        let handshake = [('>', SYN), ('<', SYN | ACK), ('>', ACK)];
        assert_eq!(lives(Class::Tcp, &handshake), [120, 432_000, 432_000]);
        let closed = [
            ('<', SYN),
            ('>', SYN | ACK),
            ('<', ACK),
            ('>', FIN | ACK),
            ('<', FIN | ACK),
            ('>', ACK),
        ];
        assert_eq!(lives(Class::Tcp, &closed), [120, 432_000, 432_000, 120, 120, 120]);
        assert_eq!(lives(Class::Tcp, &[('>', SYN), ('<', RST | ACK)]), [120, 10]);
    }

    /// API, ConnectionTrackingSpecificationRequest: "flows that have seen more than one request-response transaction".
    #[test]
    fn udp_is_a_stream_from_the_second_response_on() {
        let conversation = [('>', 0), ('>', 0), ('<', 0), ('<', 0), ('>', 0), ('<', 0), ('>', 0)];
        assert_eq!(lives(Class::Udp, &conversation), [30, 30, 30, 30, 30, 180, 180]);
    }

    #[test]
    fn a_syn_begins_anew_where_the_connection_has_ended_and_only_there() {
        let syn = packet(Class::Tcp, true, SYN);
        let open = Seen::first(syn).then(packet(Class::Tcp, false, SYN | ACK));
        assert!(!open.begins_anew(syn), "a SYN within a connection");
        assert!(
            !open.then(packet(Class::Tcp, true, FIN | ACK)).begins_anew(syn),
            "closed on one side"
        );
        let reset = open.then(packet(Class::Tcp, false, RST));
        assert!(reset.begins_anew(syn));
        assert!(
            !reset.begins_anew(packet(Class::Tcp, true, SYN | ACK))
                && !reset.begins_anew(packet(Class::Tcp, true, ACK))
        );
        let fins = open
            .then(packet(Class::Tcp, true, FIN | ACK))
            .then(packet(Class::Tcp, false, FIN | ACK));
        assert!(fins.begins_anew(syn));
    }
}
