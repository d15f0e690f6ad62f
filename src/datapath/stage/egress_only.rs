//! Passes IPv6 packets through an egress-only internet gateway: connections that hosts begin, and their answers (VPC guide,
//! "Egress-only internet gateways"; firewall facts E1). It translates nothing.

use std::net::IpAddr;

use crate::datapath::state::{Inside, Opening, Refresh};
use crate::datapath::view::RouteTarget;
use crate::datapath::{Context, Decided, DropReason, Observer, Packet, Stage, SubnetView, VpcIndex};
use crate::mapping::InterfaceIndex;
use crate::wire::flow::{Fragment, IpPacket, Upper};
use crate::wire::frame::{Frame, Ipv6Packet, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

impl<O: Observer> Context<'_, O> {
    /// A packet that a route sends to the egress-only internet gateway of the VPC.
    pub(super) fn through_egress_only(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        let vpc = self.ingress.vpc.index;
        if !self.view.edge.has_egress_only(vpc) {
            return Err(DropReason::Blackhole);
        }
        self.not_blocked(self.ingress.subnet, true)?;
        let ip = IpPacket::of(frame).ok_or(DropReason::Ipv6Malformed)?;
        let (connection, later) = connection(&ip, vpc, true).ok_or(DropReason::EigwUnsolicited)?;
        let known = self.remembered(&connection);
        let follows = later.is_some_and(|later| self.remembered(&later));
        // Of a later fragment and of an error nothing is remembered.
        let begins = ip.fragment() != Fragment::Later && !is_error(&ip);
        if !known && !begins && !follows {
            return Err(DropReason::EigwUnsolicited);
        }
        self.saw_egress(&connection, !known);
        if begins {
            self.keep_connection(connection, 0);
            if ip.fragment() == Fragment::First
                && let Some(later) = later
            {
                self.keep_connection(later, 1);
            }
        }
        self.cross_edge(frame, packet)
    }

    /// Whether a packet from outside may enter a subnet: one whose routes lead back by the egress-only gateway takes answers
    /// alone, whatever other gateway the VPC has.
    pub(super) fn lets_in_by_ipv6(
        &mut self,
        frame: &Frame<'_>,
        source: IpAddr,
        subnet: &SubnetView,
    ) -> Result<(), DropReason> {
        let back = subnet.routes.lookup(source).map(|(_, target)| target);
        if back != Some(RouteTarget::EgressOnly) {
            let open = self.view.edge.has_internet(subnet.vpc);
            return if open { Ok(()) } else { Err(DropReason::IgwUnmapped) };
        }
        let ip = IpPacket::of(frame).ok_or(DropReason::Ipv6Malformed)?;
        let (connection, later) = connection(&ip, subnet.vpc, false).ok_or(DropReason::EigwUnsolicited)?;
        let follows = ip.fragment() == Fragment::Later && later.is_some_and(|later| self.remembered(&later));
        if follows {
            return Ok(());
        }
        if !self.remembered(&connection) {
            return Err(DropReason::EigwUnsolicited);
        }
        self.saw_egress(&connection, false);
        if !is_error(&ip) {
            self.keep_connection(connection, 0);
        }
        if ip.fragment() == Fragment::First
            && let Some(later) = later
        {
            self.keep_connection(later, 1);
        }
        Ok(())
    }

    pub(super) fn remembered(&self, connection: &Inside) -> bool {
        self.memory.bindings.of_inside(connection, self.seconds()).is_some()
    }

    /// Remembers a connection, or lets it live on.
    pub(super) fn keep_connection(&mut self, connection: Inside, place: usize) {
        let now = self.seconds();
        let until = now.saturating_add(self.profile().nat.idle_timeout);
        let known = self.memory.bindings.of_inside(&connection, now);
        let effects = self.effects().nat(connection.gateway);
        match known {
            Some(known) if known.until == until => {}
            Some(known) => {
                effects.refresh = Some(Refresh {
                    place: known.place,
                    inside: connection,
                    seen: 0,
                    until,
                });
            }
            None => {
                effects.opens[place] = Some(Opening {
                    inside: connection,
                    outside: (connection.address, connection.port),
                    seen: 0,
                    until,
                    limit: 0,
                });
            }
        }
    }

    pub(super) fn saw_egress(&mut self, connection: &Inside, new: bool) {
        let outside = (connection.address, connection.port);
        self.saw_bound(Stage::Gateway, connection, outside, new);
    }
}

fn is_error(packet: &IpPacket<'_>) -> bool {
    // RFC 4443 section 2.1: errors have types below 128.
    packet.protocol() == PROTOCOL_ICMPV6
        && packet.fragment() != Fragment::Later
        && packet.payload().first().is_some_and(|kind| *kind < 128)
}

/// The connection that a packet belongs to, and what stands for the later fragments of the packet; `None` for what can belong
/// to none. `out` says that the host inside sent it.
fn connection(packet: &IpPacket<'_>, vpc: VpcIndex, out: bool) -> Option<(Inside, Option<Inside>)> {
    let IpPacket::V6(ipv6) = packet else { return None };
    let between = |(inside, remote): (IpAddr, IpAddr), protocol: u8, (port, remote_port): (u16, u16)| Inside {
        gateway: InterfaceIndex(vpc.0),
        protocol,
        fragments: false,
        egress_only: true,
        address: inside,
        port,
        remote,
        remote_port,
    };
    let ends = match out {
        true => (packet.source(), packet.destination()),
        false => (packet.destination(), packet.source()),
    };
    if is_error(packet) {
        let quoted = Ipv6Packet::parse_quoted(packet.payload().get(8..)?)?;
        let (from, to) = (IpAddr::V6(quoted.source), IpAddr::V6(quoted.destination));
        let upper = quoted.payload();
        let word = |at: usize| Some(u16::from_be_bytes([*upper.get(at)?, *upper.get(at + 1)?]));
        // What an error from outside quotes, the host inside has sent.
        let (pair, ports) = match quoted.protocol {
            PROTOCOL_TCP | PROTOCOL_UDP if out => ((to, from), (word(2)?, word(0)?)),
            PROTOCOL_TCP | PROTOCOL_UDP => ((from, to), (word(0)?, word(2)?)),
            PROTOCOL_ICMPV6 => (if out { (to, from) } else { (from, to) }, (word(4)?, 0)),
            _ => (if out { (to, from) } else { (from, to) }, (0, 0)),
        };
        return Some((between(pair, quoted.protocol, ports), None));
    }
    let flow = packet.flow();
    let ports = match flow.upper {
        Upper::Ports { source, destination } if out => (source, destination),
        Upper::Ports { source, destination } => (destination, source),
        Upper::Icmp { kind, identifier, .. } => {
            // RFC 4443 section 4: a request goes out, its reply comes in.
            let answers = kind == 129;
            if (kind == 128 || answers) && answers == out {
                return None;
            }
            (identifier.unwrap_or(0), 0)
        }
        Upper::Unknown => (0, 0),
    };
    let later = ipv6.fragment_identification().map(|identification| Inside {
        fragments: true,
        ..between(
            ends,
            packet.protocol(),
            (identification as u16, (identification >> 16) as u16),
        )
    });
    Some((between(ends, packet.protocol(), ports), later))
}
