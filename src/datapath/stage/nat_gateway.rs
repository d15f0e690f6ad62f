//! Passes packets through a NAT gateway: a port of the gateway's address stands for each connection of a host behind it
//! (VPC guide, "NAT gateways"; firewall facts A1 to A11).
//!
//! A port belongs to one connection: what comes from another address or port is dropped (A2). A connection that nothing was
//! sent on for 350 s is forgotten; a host that goes on with it gets a reset, the other end is told nothing (A5).

mod nat64;
pub(super) mod read;

use std::net::{IpAddr, Ipv4Addr};

use super::route::hops_left;
use super::security_group::upper;
use crate::datapath::state::{Binding, Inside, NatCounter, NatEffects, Opening, Outside, Refresh, seen};
use crate::datapath::translate::Head;
use crate::datapath::view::{NatGateway, RouteTarget};
use crate::datapath::{
    Allowance, Answered, Context, Decided, DropReason, Fact, Observer, Packet, Rewrite, Stage, SubnetView, Translation,
    Verdict,
};
use crate::mapping::InterfaceIndex;
use crate::model::profile::NatPolicy;
use crate::model::traffic::Direction;
use crate::wire::flow::IpPacket;
use crate::wire::frame::{Frame, Ipv4Packet, PROTOCOL_TCP};
use read::{ACK, FIN, RST, SYN, Subject};

/// What becomes of a packet from a host behind a gateway.
enum Outbound {
    /// The address, and the port or 0, that stand for the host.
    As(Ipv4Addr, u16),
    /// The connection is unknown: the host gets a reset.
    Reset,
}

/// A packet from a host behind a gateway as the host sent it; what is decided about may be its beginning in the other family.
struct Original<'a> {
    frame: &'a Frame<'a>,
    packet: Packet<'a>,
    /// The host whose connection it is.
    host: IpAddr,
}

impl<'a, O: Observer> Context<'a, O> {
    /// A packet that a route sends to a NAT gateway.
    pub(super) fn through_nat(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, gateway: InterfaceIndex) -> Decided {
        let nat = self.view.edge.nat(gateway).ok_or(DropReason::Blackhole)?;
        let subnet = self.view.subnet(nat.subnet).ok_or(DropReason::Blackhole)?;
        self.takes_hop(packet, subnet)?;
        self.network_acls(frame, packet, subnet)?;
        match packet {
            Packet::V4(ipv4) => {
                let original = Original {
                    frame,
                    packet: *packet,
                    host: ipv4.source.into(),
                };
                self.out_of_nat(frame, ipv4, nat, subnet, &original)
            }
            Packet::V6(ipv6) => self.out_of_ipv6(frame, ipv6, nat, subnet),
        }
    }

    fn out_of_nat(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv4Packet<'_>,
        nat: &NatGateway,
        subnet: &SubnetView,
        original: &Original<'_>,
    ) -> Decided {
        if hops_left(&Packet::V4(*packet)) <= 1 {
            return self.time_exceeded(original, nat.primary());
        }
        let length = self.packet_length(frame, &Packet::V4(*packet));
        match self.bound_out(packet, original.host, nat, &subnet.profile().nat) {
            Ok(Outbound::As(source, port)) => {
                self.count_passed(nat, true, packet, length);
                self.beyond_nat((frame, packet), nat, subnet, (source, port), original)
            }
            Ok(Outbound::Reset) => {
                if !self.spend(Allowance::Errors) {
                    return Err(DropReason::NatUnsolicited);
                }
                let mac = self.ingress.subnet.router_mac;
                match &original.packet {
                    Packet::V4(packet) => self.reply.tcp_reset(original.frame, packet, mac),
                    Packet::V6(packet) => self.reply.tcp_reset_ipv6(original.frame, packet, mac),
                }
                Ok(Verdict::Reply(Answered::NatReset))
            }
            Err(reason) => Err(self.nat_drops(nat, reason)),
        }
    }

    /// A packet for an address of an interface without a port: a NAT gateway's, or one that is not attached.
    ///
    /// What translated it so far is in `translation`.
    #[inline(never)]
    pub(in crate::datapath) fn for_nat(&mut self, bytes: &[u8], interface: InterfaceIndex) -> Decided {
        let nat = self.view.edge.nat(interface).ok_or(DropReason::NotAttached)?;
        let frame = Frame::parse(bytes)?;
        // From an IPv6 host to a port of a gateway: what is decided about is not the frame that would be translated.
        if self.from_other_family {
            return Err(self.nat_drops(nat, DropReason::NatProtocol));
        }
        let Packet::V4(packet) = Packet::parse(&frame)? else {
            return Err(self.nat_drops(nat, DropReason::NatProtocol));
        };
        let subnet = self.view.subnet(nat.subnet).ok_or(DropReason::Blackhole)?;
        let so_far = self
            .translation
            .unwrap_or(Translation::of_addresses(packet.source, packet.destination));
        let length = self.packet_length(&frame, &Packet::V4(packet));
        let (inside, port) = match self.bound_in(&packet, so_far, nat, &subnet.profile().nat) {
            Ok(found) => found,
            Err(reason) => return Err(self.nat_drops(nat, reason)),
        };
        if hops_left(&Packet::V4(packet)) <= 1 {
            return Err(DropReason::HopLimit);
        }
        self.count_passed(nat, false, &packet, length);
        let inside = match inside {
            IpAddr::V4(inside) => inside,
            IpAddr::V6(host) => return self.back_in_ipv6(&frame, &packet, so_far, (host, port), subnet),
        };
        let vpc = self.view.vpc(subnet.vpc).ok_or(DropReason::NoMapping)?;
        let target = self.local_owner(vpc, inside.into())?;
        let translation = Translation {
            destination: inside,
            destination_port: port,
            ..so_far
        };
        self.translation = Some(translation);
        if target.subnet.index != subnet.index {
            let head = translation.head_of(bytes);
            self.acl_of(&head, subnet, Direction::Egress, inside.into())?;
            self.acl_of(&head, target.subnet, Direction::Ingress, so_far.source.into())?;
        }
        let translated = Ipv4Packet {
            source: translation.source,
            destination: inside,
            ..packet
        };
        let rewrite = Rewrite::Translate {
            destination: target.interface.mac,
            source: target.subnet.router_mac,
            decrement_ttl: true,
            translation,
            most: self.in_fragments.then_some(super::internet::MTU),
        };
        let (interface, owner) = (&target.interface, Some(target.owner));
        let mtu = interface.mtu.unwrap_or(target.subnet.profile().mtu);
        match self.hand_over(
            &frame,
            &Packet::V4(translated),
            interface,
            target.subnet,
            rewrite,
            owner,
        ) {
            Err(DropReason::TooLong) => self.too_big(&frame, &Packet::V4(packet), mtu),
            decided => decided,
        }
    }

    /// Routes a packet on from the gateway, by the route table of its subnet.
    fn beyond_nat(
        &mut self,
        (frame, packet): (&Frame<'_>, &Ipv4Packet<'_>),
        nat: &NatGateway,
        subnet: &SubnetView,
        (source, port): (Ipv4Addr, u16),
        original: &Original<'_>,
    ) -> Decided {
        let address = IpAddr::V4(packet.destination);
        let route = subnet.routes.lookup(address);
        self.observer.saw(Stage::Route, Fact::Route { address, route });
        let vpc = self.view.vpc(subnet.vpc).ok_or(DropReason::NoRoute)?;
        let (target, source, crosses) = match route.ok_or(DropReason::NoRoute)?.1 {
            RouteTarget::Internet if !nat.public => return Err(DropReason::NatPrivateToIgw),
            RouteTarget::Internet => {
                self.not_blocked(subnet, true)?;
                let public = self.public_of(vpc.index, source)?;
                if self.is_too_long_to_cross(frame, &Packet::V4(*packet)) {
                    return self.too_big_at_nat(original, super::internet::MTU);
                }
                (self.beyond(address)?, public, true)
            }
            RouteTarget::Local => (self.local_owner(vpc, address)?, source, false),
            RouteTarget::Peering(peer) => (self.peered_owner(peer, address)?, source, false),
            RouteTarget::Blackhole => return Err(DropReason::Blackhole),
            RouteTarget::Interface(_)
            | RouteTarget::NatGateway(_)
            | RouteTarget::EgressOnly
            | RouteTarget::Endpoint(_) => {
                return Err(DropReason::NatNextHop);
            }
        };
        let IpAddr::V4(destination) = target.address else {
            return Err(DropReason::NatProtocol);
        };
        let translation = Translation {
            source,
            destination,
            source_port: port,
            destination_port: 0,
        };
        self.translation = Some(translation);
        let head = translation.head_of(frame.bytes());
        if crosses || target.subnet.index != subnet.index {
            self.acl_of(&head, subnet, Direction::Egress, address)?;
            self.acl_of(&head, target.subnet, Direction::Ingress, source.into())?;
        }
        let translated = Ipv4Packet {
            source,
            destination,
            ..*packet
        };
        let (destination, router) = (target.interface.mac, target.subnet.router_mac);
        let most = self.in_fragments.then_some(super::internet::MTU);
        let rewrite = match original.packet {
            Packet::V4(_) => Rewrite::Translate {
                destination,
                source: router,
                decrement_ttl: true,
                translation,
                most,
            },
            Packet::V6(_) => Rewrite::ChangeFamily {
                destination,
                source: router,
                translation,
                host: None,
                most,
            },
        };
        let (interface, owner) = (&target.interface, Some(target.owner));
        let mtu = interface.mtu.unwrap_or(target.subnet.profile().mtu);
        match self.hand_over(frame, &Packet::V4(translated), interface, target.subnet, rewrite, owner) {
            Err(DropReason::TooLong) => self.too_big_at_nat(original, mtu),
            decided => decided,
        }
    }

    /// A packet is longer than an IPv4 packet may be behind the gateway: its sender learns how long one of its own family may be
    /// (RFC 7915 section 5.1).
    fn too_big_at_nat(&mut self, original: &Original<'_>, mtu: u16) -> Decided {
        let mtu = match original.packet {
            Packet::V4(_) => mtu,
            Packet::V6(_) => mtu.saturating_add(nat64::LONGER),
        };
        self.too_big(original.frame, &original.packet, mtu)
    }

    /// The network ACL of a subnet, about a packet as it is by then.
    fn acl_of(
        &mut self,
        head: &Head,
        subnet: &SubnetView,
        direction: Direction,
        remote: IpAddr,
    ) -> Result<(), DropReason> {
        let Some(packet) = Frame::parse(head.bytes()).ok().as_ref().and_then(IpPacket::of) else {
            return Ok(());
        };
        self.network_acl(subnet, direction, remote, packet.protocol(), upper(&packet))
    }

    fn bound_out(
        &mut self,
        packet: &Ipv4Packet<'_>,
        host: IpAddr,
        nat: &NatGateway,
        policy: &NatPolicy,
    ) -> Result<Outbound, DropReason> {
        let inside = |port: u16, remote: Ipv4Addr, remote_port: u16, fragments: bool| Inside {
            gateway: nat.interface,
            protocol: packet.protocol,
            fragments,
            egress_only: false,
            address: host,
            port,
            remote: remote.into(),
            remote_port,
        };
        match Subject::of(packet, Direction::Egress)? {
            Subject::Flow {
                own,
                remote,
                flags,
                opens,
                first,
            } => {
                let key = inside(own, packet.destination, remote, false);
                let known = self.memory.bindings.of_inside(&key, self.seconds());
                let known = known.filter(|known| flags & (SYN | ACK) != SYN || !seen::is_closed(known.seen));
                let (address, port) = match known {
                    Some(known) => {
                        self.go_on(&known, flags, true, policy);
                        as_ipv4(known.outside)
                    }
                    None if packet.protocol == PROTOCOL_TCP && flags & SYN == 0 => {
                        return self.forgotten(nat, flags);
                    }
                    None if !opens => return Err(DropReason::NatUnsolicited),
                    None => self.bind(nat, key, flags, policy)?,
                };
                self.saw_binding(&key, (address, port), known.is_none());
                if let Some(identification) = first {
                    self.follow_fragments(inside(identification, packet.destination, 0, true), address, policy);
                }
                Ok(Outbound::As(address, port))
            }
            Subject::Later { identification } => {
                let key = inside(identification, packet.destination, 0, true);
                let known = self.sent_inside(&key, DropReason::NatFragment)?;
                let (address, _) = as_ipv4(known.outside);
                self.saw_binding(&key, (address, 0), false);
                Ok(Outbound::As(address, 0))
            }
            Subject::Error { quoted } => {
                let key = Inside {
                    protocol: quoted.protocol,
                    address: if host.is_ipv6() {
                        host
                    } else {
                        quoted.destination.into()
                    },
                    ..inside(quoted.destination_port, quoted.source, quoted.source_port, false)
                };
                let known = self.sent_inside(&key, DropReason::NatUnsolicited)?;
                let (address, port) = as_ipv4(known.outside);
                self.saw_binding(&key, (address, port), false);
                Ok(Outbound::As(address, port))
            }
        }
    }

    /// The binding of what a host inside sent.
    fn sent_inside(&self, key: &Inside, none: DropReason) -> Result<Binding, DropReason> {
        let found = self.memory.bindings.of_inside(key, self.seconds());
        found.ok_or(none)
    }

    /// The binding of what comes from outside.
    fn sent_outside(&self, key: &Outside, none: DropReason) -> Result<Binding, DropReason> {
        let found = self.memory.bindings.of_outside(key, self.seconds());
        found.ok_or(none)
    }

    /// TCP in the midst of a connection that is not known, or not any more.
    fn forgotten(&mut self, nat: &NatGateway, flags: u8) -> Result<Outbound, DropReason> {
        // RFC 9293 section 3.10.7.1: no reset answers a reset.
        if flags & RST != 0 {
            return Err(DropReason::NatUnsolicited);
        }
        self.nat_effects(nat).count(NatCounter::IdleTimeout, 1);
        Ok(Outbound::Reset)
    }

    fn bound_in(
        &mut self,
        packet: &Ipv4Packet<'_>,
        so_far: Translation,
        nat: &NatGateway,
        policy: &NatPolicy,
    ) -> Result<(IpAddr, u16), DropReason> {
        let outside = |port: u16, remote: Ipv4Addr, remote_port: u16, fragments: bool| Outside {
            gateway: nat.interface,
            protocol: packet.protocol,
            fragments,
            egress_only: false,
            address: so_far.destination.into(),
            port,
            remote: remote.into(),
            remote_port,
        };
        match Subject::of(packet, Direction::Ingress)? {
            Subject::Flow {
                own,
                remote,
                flags,
                first,
                ..
            } => {
                let remote = if so_far.source_port != 0 && remote != 0 {
                    so_far.source_port
                } else {
                    remote
                };
                let key = outside(own, so_far.source, remote, false);
                let known = self.sent_outside(&key, DropReason::NatUnsolicited)?;
                self.go_on(&known, flags, false, policy);
                self.saw_binding(&known.inside, as_ipv4(known.outside), false);
                let address = known.inside.address;
                if let Some(identification) = first {
                    let later = Inside {
                        fragments: true,
                        port: identification,
                        remote_port: 0,
                        ..known.inside
                    };
                    self.follow_fragments(later, so_far.destination, policy);
                }
                Ok((address, known.inside.port))
            }
            Subject::Later { identification } => {
                let key = outside(identification, so_far.source, 0, true);
                let known = self.sent_outside(&key, DropReason::NatFragment)?;
                Ok((known.inside.address, 0))
            }
            Subject::Error { quoted } => {
                // What it quotes left by the address that the error is for, before the internet gateway.
                let key = Outside {
                    protocol: quoted.protocol,
                    ..outside(quoted.source_port, quoted.destination, quoted.destination_port, false)
                };
                let known = self.sent_outside(&key, DropReason::NatUnsolicited)?;
                self.saw_binding(&known.inside, as_ipv4(known.outside), false);
                Ok((known.inside.address, known.inside.port))
            }
        }
    }

    /// Chooses an address and a port for a connection that begins (A3: 55 000 for each address and destination).
    fn bind(
        &mut self,
        nat: &NatGateway,
        inside: Inside,
        flags: u8,
        policy: &NatPolicy,
    ) -> Result<(Ipv4Addr, u16), DropReason> {
        self.nat_effects(nat).count(NatCounter::ConnectionAttempt, 1);
        let limit = policy.connections_per_destination;
        // How EC2 spreads connections over several addresses is unknown: here by the host, so that one has one address.
        let open = nat.open_addresses();
        let start = match inside.address {
            IpAddr::V4(address) => address.to_bits() as usize,
            IpAddr::V6(address) => address.to_bits() as usize,
        };
        for offset in 0..open.len() {
            let address = open[start.wrapping_add(offset) % open.len()];
            let outside = inside.seen_from((address.into(), 0));
            let Ok(port) = self.memory.bindings.free_port(&outside, &inside, limit, self.now) else {
                continue;
            };
            let opening = Opening {
                inside,
                outside: (address.into(), port),
                seen: marks(flags, true),
                until: self.until(policy.idle_timeout),
                limit,
            };
            self.nat_effects(nat).opens[0] = Some(opening);
            return Ok((address, port));
        }
        let effects = self.nat_effects(nat);
        effects.count(NatCounter::ErrorPortAllocation, 1);
        effects.exhausted = true;
        Err(DropReason::NatPortsExhausted)
    }

    fn until(&self, life: u32) -> u32 {
        self.seconds().saturating_add(life)
    }

    /// A packet of a connection that is known: it lives on, or ends.
    fn go_on(&mut self, known: &Binding, flags: u8, out: bool, policy: &NatPolicy) {
        let seen = known.seen | marks(flags, out);
        let life = if seen::is_closed(seen) {
            policy.closed_timeout
        } else {
            policy.idle_timeout
        };
        let until = self.until(life);
        let gateway = known.inside.gateway;
        let effects = self.effects().nat(gateway);
        if seen != known.seen || until != known.until {
            effects.refresh = Some(Refresh {
                place: known.place,
                inside: known.inside,
                seen,
                until,
            });
        }
        if seen & !known.seen & seen::ANSWERED != 0 {
            effects.count(NatCounter::ConnectionEstablished, 1);
        }
    }

    /// The later fragments of a packet follow the first (A6: of UDP; others do not come so far).
    fn follow_fragments(&mut self, inside: Inside, address: Ipv4Addr, policy: &NatPolicy) {
        let until = self.until(policy.fragments);
        self.effects().nat(inside.gateway).opens[1] = Some(Opening {
            inside,
            outside: (address.into(), inside.port),
            seen: 0,
            until,
            limit: 0,
        });
    }

    fn nat_effects(&mut self, nat: &NatGateway) -> &mut NatEffects {
        self.effects().nat(nat.interface)
    }

    fn nat_drops(&mut self, nat: &NatGateway, reason: DropReason) -> DropReason {
        self.nat_effects(nat).count(NatCounter::PacketsDrop, 1);
        reason
    }

    /// Counts a packet on both sides of the gateway.
    fn count_passed(&mut self, nat: &NatGateway, out: bool, packet: &Ipv4Packet<'_>, length: usize) {
        let octets = packet.bytes.len() + self.behind_head;
        // A frame that is segmented later counts as the packets that it becomes.
        let packets = octets.div_ceil(length.max(1)) as u32;
        let octets = octets as u32;
        let effects = self.nat_effects(nat);
        let counters = if out {
            [
                NatCounter::PacketsInFromSource,
                NatCounter::BytesInFromSource,
                NatCounter::PacketsOutToDestination,
                NatCounter::BytesOutToDestination,
            ]
        } else {
            [
                NatCounter::PacketsInFromDestination,
                NatCounter::BytesInFromDestination,
                NatCounter::PacketsOutToSource,
                NatCounter::BytesOutToSource,
            ]
        };
        for (at, counter) in counters.into_iter().enumerate() {
            effects.count(counter, if at % 2 == 0 { packets } else { octets });
        }
    }

    fn saw_binding(&mut self, inside: &Inside, (address, port): (Ipv4Addr, u16), new: bool) {
        self.saw_bound(Stage::NatGateway, inside, (address.into(), port), new);
    }

    /// Shows a connection that a gateway remembers.
    pub(super) fn saw_bound(&mut self, stage: Stage, inside: &Inside, outside: (IpAddr, u16), new: bool) {
        let fact = Fact::Binding {
            gateway: inside.gateway,
            protocol: inside.protocol,
            inside: (inside.address, inside.port),
            outside,
            remote: (inside.remote, inside.remote_port),
            new,
        };
        self.observer.saw(stage, fact);
    }

    /// The gateway is a hop: it takes one, and answers from its private address where none is left (A16).
    ///
    /// What it answers an IPv6 host is unknown: nothing here.
    fn time_exceeded(&mut self, original: &Original<'_>, from: Ipv4Addr) -> Decided {
        let Packet::V4(packet) = &original.packet else {
            return Err(DropReason::HopLimit);
        };
        if super::route::is_icmp_error(&original.packet) || !self.spend(Allowance::Errors) {
            return Err(DropReason::HopLimit);
        }
        self.reply
            .time_exceeded(original.frame, packet, self.ingress.subnet.router_mac, from);
        Ok(Verdict::Reply(Answered::TimeExceeded))
    }
}

fn as_ipv4((address, port): (IpAddr, u16)) -> (Ipv4Addr, u16) {
    match address {
        IpAddr::V4(address) => (address, port),
        IpAddr::V6(_) => (Ipv4Addr::UNSPECIFIED, port),
    }
}

/// What a packet shows of its connection.
fn marks(flags: u8, out: bool) -> u32 {
    let fin = if out { seen::FIN_INSIDE } else { seen::FIN_OUTSIDE };
    let mut marks = if out { 0 } else { seen::ANSWERED };
    if flags & FIN != 0 {
        marks |= fin;
    }
    if flags & RST != 0 {
        marks |= seen::RESET;
    }
    marks
}
