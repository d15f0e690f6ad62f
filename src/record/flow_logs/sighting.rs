//! Reads from an observed frame what the interface at its port saw of it: direction, addresses, and whether security groups
//! and network ACLs let it through.
//!
//! A packet that a rule denies on its way in was accepted on its way out, so it is seen twice: by its sender and by the
//! interface that it was for (VPC guide, "Flow log record examples", firewall facts N11). What is dropped for another reason
//! than a rule is no REJECT: whether EC2 records it at all is unknown (probe 20 of the facts), and here a packet that its
//! sender's rules let out is an ACCEPT of the sender.

use std::net::IpAddr;
use std::time::Duration;

use crate::datapath::{Answered, Bound, DropReason, Passage, RouteTarget, Stage};
use crate::mapping::InterfaceIndex;
use crate::model::traffic::Direction;
use crate::switch::observe::{Fate, Observed};
use crate::wire::flow::{IpPacket, Upper};
use crate::wire::frame::{
    ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP,
};
use crate::wire::siit::embedded;

/// Whether rules let a packet through (VPC guide, field `action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Action {
    Accept,
    Reject,
}

/// The way that a packet takes out of its interface (VPC guide, field `traffic-path`, values for Nitro).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TrafficPath {
    /// To another resource of the VPC.
    SameVpc = 1,
    /// Through a peering connection of the region.
    Peering = 4,
    /// Through a gateway endpoint.
    Endpoint = 7,
    /// Through an internet gateway.
    InternetGateway = 8,
}

/// The addresses, the ports and the protocol of a packet. Ports of ICMP are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tuple {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) protocol: u8,
}

/// What one interface saw of a packet, or of several that crossed the switch as one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Time since the switch was started.
    pub(super) at: Duration,
    pub(super) interface: InterfaceIndex,
    pub(super) direction: Direction,
    pub(super) action: Action,
    pub(super) tuple: Tuple,
    pub(super) packets: u64,
    /// Octets of IP packets.
    pub(super) octets: u64,
    /// FIN, SYN, RST, and ACK with SYN.
    pub(super) tcp_flags: u8,
    pub(super) path: Option<TrafficPath>,
    /// Whether block public access is why it was rejected.
    pub(super) blocked: bool,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The flags of a record: ACK is reported only with SYN (VPC guide, field `tcp-flags`; firewall facts section 6).
fn reported(flags: u8) -> u8 {
    let own = flags & (FIN | SYN | RST);
    if own & SYN != 0 { own | flags & ACK } else { own }
}

/// A packet as it was sent, read from the beginning of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) tuple: Tuple,
    packets: u64,
    octets: u64,
    tcp_flags: u8,
}

impl Sent {
    /// The packets that it stands for.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Octets of IP packets.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// `None` for a frame without an IP packet.
    pub(super) fn of(observed: &Observed) -> Option<Self> {
        let mut head = observed.bytes.clone();
        let octets = shorten(&mut head, observed)?;
        let packet = IpPacket::of(&Frame::parse(&head).ok()?)?;
        let flow = packet.flow();
        let (source_port, destination_port) = match flow.upper {
            Upper::Ports { source, destination } => (source, destination),
            Upper::Icmp { .. } | Upper::Unknown => (0, 0),
        };
        let ports_follow = matches!(flow.upper, Upper::Ports { .. });
        let tcp_flags = packet.payload().get(13).copied();
        Some(Self {
            tuple: Tuple {
                source: flow.source,
                destination: flow.destination,
                source_port,
                destination_port,
                protocol: flow.protocol,
            },
            packets: observed.packets.into(),
            octets,
            tcp_flags: match tcp_flags {
                Some(flags) if flow.protocol == PROTOCOL_TCP && ports_follow => reported(flags),
                _ => 0,
            },
        })
    }
}

/// Writes the octets that are there into the length of a header whose packet was cut off, and returns the octets of the
/// whole packet, or of all packets that it stands for.
fn shorten(head: &mut [u8], observed: &Observed) -> Option<u64> {
    let frame_headers = ETHERNET_HEADER as u64 * u64::from(observed.packets);
    let all = (observed.length as u64).saturating_sub(frame_headers);
    let there = head.len().checked_sub(ETHERNET_HEADER)?;
    let kind = u16::from_be_bytes([*head.get(12)?, *head.get(13)?]);
    let (at, before) = match kind {
        ETHERTYPE_IPV4 => (ETHERNET_HEADER + 2, 0),
        ETHERTYPE_IPV6 => (ETHERNET_HEADER + 4, 40),
        _ => return None,
    };
    let field = head.get_mut(at..at + 2)?;
    let said = usize::from(u16::from_be_bytes([field[0], field[1]])) + before;
    if said > there {
        // At most the octets that an observer keeps of a frame.
        let short = there.saturating_sub(before).min(usize::from(u16::MAX)) as u16;
        field.copy_from_slice(&short.to_be_bytes());
    }
    // A frame may be padded behind its packet.
    let one = observed.packets == 1 && said as u64 <= all;
    Some(if one { said as u64 } else { all })
}

/// What the interfaces that a frame has to do with saw of it: that of its port, the one that it was for and that denied it,
/// and that of a NAT gateway on its way, which sees it come and go.
pub(super) fn sightings(observed: &Observed, sent: &Sent) -> [Option<Sighting>; 4] {
    let [first, second] = at_ends(observed, sent);
    let passes = first.is_some_and(|first| first.direction == Direction::Egress && first.action == Action::Accept);
    let reached = matches!(observed.fate, Fate::Delivered { .. }) || second.is_some();
    let [came, went] = match (observed.passage.nat, first) {
        (Some(nat), Some(first)) if passes && reached => at_nat(&nat, &first, observed.passage.beyond).map(Some),
        _ => [None, None],
    };
    [first, came, went, second]
}

/// A NAT gateway sees a packet with its sender's addresses, and then with those that it gives it (VPC guide, "Traffic through a
/// NAT gateway": four records of a request and its answer).
fn at_nat(nat: &Bound, sent: &Sighting, beyond: Option<RouteTarget>) -> [Sighting; 2] {
    let tuple = sent.tuple;
    let port = |port| {
        if tuple.source_port == 0 && tuple.destination_port == 0 {
            0
        } else {
            port
        }
    };
    let outbound = tuple.source == nat.inside.0;
    // NAT64: the packet is in the other family on the other side.
    let changes_family = nat.inside.0.is_ipv6() != nat.remote.is_ipv6();
    let protocol = match tuple.protocol {
        PROTOCOL_ICMPV6 if changes_family => PROTOCOL_ICMP,
        PROTOCOL_ICMP if changes_family => PROTOCOL_ICMPV6,
        other => other,
    };
    let (came, went) = if outbound {
        let went = Tuple {
            source: nat.outside.0,
            source_port: port(nat.outside.1),
            destination: if changes_family { nat.remote } else { tuple.destination },
            protocol,
            ..tuple
        };
        (tuple, went)
    } else {
        let to = |(address, own)| Tuple {
            destination: address,
            destination_port: port(own),
            ..tuple
        };
        let mut went = Tuple {
            protocol,
            ..to(nat.inside)
        };
        if changes_family && let IpAddr::V4(source) = tuple.source {
            went.source = embedded(source).into();
        }
        (to(nat.outside), went)
    };
    let path = match beyond {
        Some(RouteTarget::Internet) if outbound => TrafficPath::InternetGateway,
        _ => TrafficPath::SameVpc,
    };
    let seen = |direction, tuple, path| Sighting {
        interface: nat.gateway,
        direction,
        tuple,
        path,
        ..*sent
    };
    [
        seen(Direction::Ingress, came, None),
        seen(Direction::Egress, went, Some(path)),
    ]
}

/// What the sender's and the receiver's interface saw of a frame.
fn at_ends(observed: &Observed, sent: &Sent) -> [Option<Sighting>; 2] {
    let passage = &observed.passage;
    let seen = |direction, action| Sighting {
        at: observed.at,
        interface: observed.interface,
        direction,
        action,
        tuple: sent.tuple,
        packets: sent.packets,
        octets: sent.octets,
        tcp_flags: sent.tcp_flags,
        blocked: false,
        path: path(passage).filter(|_| direction == Direction::Egress && action == Action::Accept),
    };
    let out = |action| Some(seen(Direction::Egress, action));
    match observed.fate {
        Fate::Delivered { .. } => [out(Action::Accept), None],
        Fate::Arrived { .. } => [Some(seen(Direction::Ingress, Action::Accept)), None],
        // Its sender's groups let it out; the gateway says that it is too long.
        Fate::Answered(Answered::TooBig) => [out(Action::Accept), None],
        // DNS, DHCP, metadata, time, and the router's own addresses are not recorded (VPC guide, "Flow log limitations").
        Fate::Answered(_) | Fate::Fabric(_) | Fate::Flooded => [None, None],
        // VPC guide, field `reject-reason`: BPA is the one reason that it has.
        Fate::Dropped(DropReason::BlockPublicAccess) => {
            let blocked = |seen| Sighting { blocked: true, ..seen };
            let arrived = passage.receiver.map(|receiver| Sighting {
                interface: receiver,
                tuple: translated(&sent.tuple, passage),
                ..seen(Direction::Ingress, Action::Reject)
            });
            [out(Action::Reject).map(blocked), arrived.map(blocked)]
        }
        Fate::Dropped(reason) => {
            let denied_at = passage.filtered.stages().last().map(|(stage, _)| stage);
            match denied_at.filter(|_| is_denial(reason)) {
                Some(Stage::SecurityGroupEgress | Stage::NetworkAclEgress) => [out(Action::Reject), None],
                Some(_) => {
                    let rejected = passage.receiver.map(|receiver| Sighting {
                        interface: receiver,
                        tuple: translated(&sent.tuple, passage),
                        ..seen(Direction::Ingress, Action::Reject)
                    });
                    [out(Action::Accept), rejected]
                }
                None if passed_out(reason, passage) => [out(Action::Accept), None],
                None => [None, None],
            }
        }
    }
}

/// Whether a rule, or the want of one, is why a packet was dropped.
fn is_denial(reason: DropReason) -> bool {
    reason.is_of_firewall() && reason != DropReason::ConntrackAllowance
}

/// Whether the sender's rules let out a packet that was dropped for another reason, and it was not seen before: what the
/// receiver's device did not take was delivered already.
fn passed_out(reason: DropReason, passage: &Passage) -> bool {
    let stages = || passage.filtered.stages();
    let asked = stages().any(|(stage, _)| matches!(stage, Stage::SecurityGroupEgress));
    let full = reason == DropReason::ConntrackAllowance && stages().count() == 1;
    let seen_before = matches!(
        reason,
        DropReason::DeviceFull | DropReason::DeviceFailed | DropReason::NotAttached
    );
    asked && !full && !seen_before
}

/// The addresses that a packet has behind the gateways that it passes.
fn translated(tuple: &Tuple, passage: &Passage) -> Tuple {
    let mut tuple = *tuple;
    if let Some(nat) = passage.nat.filter(|nat| nat.inside.0 == tuple.source) {
        (tuple.source, tuple.source_port) = nat.outside;
    }
    for (private, public) in passage.public.iter().flatten() {
        if tuple.source == IpAddr::V4(*private) {
            tuple.source = (*public).into();
        }
        if tuple.destination == IpAddr::V4(*public) {
            tuple.destination = (*private).into();
        }
    }
    if let Some(nat) = passage.nat.filter(|nat| nat.outside.0 == tuple.destination) {
        (tuple.destination, tuple.destination_port) = nat.inside;
    }
    tuple
}

fn path(passage: &Passage) -> Option<TrafficPath> {
    match passage.route {
        // Within a subnet no route is asked.
        None | Some(RouteTarget::Local | RouteTarget::Interface(_) | RouteTarget::NatGateway(_)) => {
            Some(TrafficPath::SameVpc)
        }
        Some(RouteTarget::Internet | RouteTarget::EgressOnly) => Some(TrafficPath::InternetGateway),
        Some(RouteTarget::Peering(_)) => Some(TrafficPath::Peering),
        Some(RouteTarget::Endpoint(_)) => Some(TrafficPath::Endpoint),
        Some(RouteTarget::Blackhole) => None,
    }
}
