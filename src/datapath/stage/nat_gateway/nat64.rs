//! Passes packets between IPv6 hosts and IPv4 ends through a NAT gateway: NAT64, for destinations in `64:ff9b::/96` (VPC guide,
//! "DNS64 and NAT64"; firewall facts A15; RFC 6146, RFC 7915). A NAT gateway always does it; a route leads there.
//!
//! The beginning of the packet is written in the other family, and then decided about as a packet of that family. So a port of
//! the gateway's address stands for a connection of an IPv6 host as for one of an IPv4 host, and counts against the same limit.

use std::net::Ipv6Addr;

use super::Original;
use crate::datapath::translate::Head;
use crate::datapath::view::NatGateway;
use crate::datapath::{Context, Decided, DropReason, Observer, Packet, Rewrite, SubnetView, Translation};
use crate::model::traffic::Direction;
use crate::wire::frame::{Frame, Ipv4Packet, Ipv6Packet, PROTOCOL_ICMPV6};
use crate::wire::siit;

/// Octets by which an IPv6 header is longer than one of IPv4.
pub(super) const LONGER: u16 = (siit::IPV6_HEADER - siit::IPV4_HEADER) as u16;

impl<O: Observer> Context<'_, O> {
    /// A packet of an IPv6 host.
    pub(super) fn out_of_ipv6(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv6Packet<'_>,
        nat: &NatGateway,
        subnet: &SubnetView,
    ) -> Decided {
        if siit::extracted(packet.destination).is_none() {
            return Err(self.nat_drops(nat, DropReason::NatProtocol));
        }
        let (Some((head, behind)), Some(host)) = (Head::in_ipv4(frame.bytes()), host_of(packet)) else {
            let fragment = packet.fragmented && packet.protocol == PROTOCOL_ICMPV6;
            let reason = if fragment {
                DropReason::NatFragment
            } else {
                DropReason::NatProtocol
            };
            return Err(self.nat_drops(nat, reason));
        };
        let beginning = Frame::parse(head.bytes())?;
        let in_ipv4 = Ipv4Packet::parse(beginning.payload())?;
        (self.behind_head, self.from_other_family) = (behind, true);
        let original = Original {
            frame,
            packet: Packet::V6(*packet),
            host: host.into(),
        };
        self.out_of_nat(&beginning, &in_ipv4, nat, subnet, &original)
    }

    /// An IPv4 packet of a connection that an IPv6 host has begun. `so_far` is what translates it up to the gateway.
    pub(super) fn back_in_ipv6(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv4Packet<'_>,
        so_far: Translation,
        (host, port): (Ipv6Addr, u16),
        nat_subnet: &SubnetView,
    ) -> Decided {
        let vpc = self.view.vpc(nat_subnet.vpc).ok_or(DropReason::NoMapping)?;
        let target = self.local_owner(vpc, host.into())?;
        let translation = Translation {
            destination: siit::HOST,
            destination_port: port,
            ..so_far
        };
        let (head, behind) = Head::in_ipv6(frame.bytes(), &translation, host).ok_or(DropReason::NatProtocol)?;
        let beginning = Frame::parse(head.bytes())?;
        let in_ipv6 = Packet::V6(Ipv6Packet::parse(beginning.payload())?);
        (self.behind_head, self.from_other_family) = (behind, true);
        // What is decided about from here on is the packet as the host gets it.
        self.translation = None;
        if target.subnet.index != nat_subnet.index {
            self.acl_of(&head, nat_subnet, Direction::Egress, host.into())?;
            self.acl_of(
                &head,
                target.subnet,
                Direction::Ingress,
                siit::embedded(so_far.source).into(),
            )?;
        }
        let mtu = target.interface.mtu.unwrap_or(target.subnet.profile().mtu);
        let length = self.packet_length(&beginning, &in_ipv6);
        let may_be_split = packet.bytes[6] & 0x40 == 0 && self.meta.segment_size == 0;
        let mut most = self.in_fragments.then_some(super::super::internet::MTU.min(mtu));
        if most.is_none() && length > usize::from(mtu) {
            if !may_be_split {
                return self.too_big(frame, &Packet::V4(*packet), mtu.saturating_sub(LONGER));
            }
            self.in_fragments = true;
            most = Some(mtu);
        }
        let rewrite = Rewrite::ChangeFamily {
            destination: target.interface.mac,
            source: target.subnet.router_mac,
            translation,
            host: Some(host),
            most,
        };
        let owner = Some(target.owner);
        self.hand_over(&beginning, &in_ipv6, &target.interface, target.subnet, rewrite, owner)
    }
}

/// The host that a packet belongs to: its sender, or, of an error, the host that the packet inside was for.
fn host_of(packet: &Ipv6Packet<'_>) -> Option<Ipv6Addr> {
    match packet.icmpv6_type() {
        // RFC 4443 section 2.1: errors have types below 128.
        Some(kind) if kind < 128 => {
            let quoted = Ipv6Packet::parse_quoted(packet.payload().get(8..)?)?;
            Some(quoted.destination)
        }
        _ => Some(packet.source),
    }
}
