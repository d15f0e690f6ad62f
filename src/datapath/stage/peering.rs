//! Passes packets to a peered VPC: to its own addresses alone, whatever its route tables say. It leads to no gateway of the
//! other VPC, and to no VPC beyond it (VPC peering guide, "VPC peering limitations"; firewall facts P3).

use crate::datapath::{Context, Decided, DropReason, Observer, Packet, Rewrite, VpcIndex};
use crate::wire::frame::Frame;

impl<O: Observer> Context<'_, O> {
    /// A packet that a route sends to a peering connection.
    pub(super) fn through_peering(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, peer: VpcIndex) -> Decided {
        let destination = packet.destination();
        let vpc = self.view.vpc(peer).ok_or(DropReason::Blackhole)?;
        if !vpc.cidrs.iter().any(|range| range.contains(&destination)) {
            return Err(DropReason::PeeringNotTransitive);
        }
        let target = self.local_owner(vpc, destination)?;
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
