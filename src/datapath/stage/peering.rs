//! Passes packets to a peered VPC: to its own addresses alone, whatever its route tables say. It reaches no gateway of
//! the other VPC, and no VPC beyond it (VPC peering guide, "VPC peering limitations"; firewall facts P3).

use std::net::IpAddr;

use super::internet::Beyond;
use crate::datapath::{Context, Decided, DropReason, Observer, Packet, Rewrite, VpcIndex};
use crate::wire::frame::Frame;

impl<'a, O: Observer> Context<'a, O> {
    /// The interface of a peered VPC that has an address.
    pub(super) fn peered_owner(&mut self, peer: VpcIndex, address: IpAddr) -> Result<Beyond<'a>, DropReason> {
        let peer = self.view.vpc(peer).ok_or(DropReason::Blackhole)?;
        if !peer.cidrs.iter().any(|range| range.contains(&address)) {
            return Err(DropReason::PeeringNotTransitive);
        }
        self.local_owner(peer, address)
    }

    /// A packet that a route sends to a peering connection.
    pub(super) fn through_peering(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, peer: VpcIndex) -> Decided {
        let target = self.peered_owner(peer, packet.destination())?;
        let rewrite = Rewrite::Route {
            destination: target.interface.mac,
            source: target.subnet.router_mac,
            decrement_ttl: self.takes_hop(packet, target.subnet)?,
        };
        self.network_acls(frame, packet, target.subnet)?;
        let mtu = target.interface.mtu.unwrap_or(target.subnet.profile().mtu);
        match self.hand_over(
            frame,
            packet,
            &target.interface,
            target.subnet,
            rewrite,
            Some(target.owner),
        ) {
            Err(DropReason::TooLong) => self.too_big(frame, packet, mtu),
            decided => decided,
        }
    }
}
