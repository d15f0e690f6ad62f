//! A packet that goes from one subnet to another passes the outbound entries of the one's network ACL and the inbound entries
//! of the other's; within a subnet none is asked (VPC guide, "Network ACLs"). Nothing is remembered: a reply is asked about
//! like any other packet.

use std::net::IpAddr;

use super::security_group::upper;
use crate::datapath::policy::{Family, Upper};
use crate::datapath::{Context, DropReason, Fact, Observer, Packet, Stage, SubnetView};
use crate::model::traffic::Direction;
use crate::wire::flow::IpPacket;
use crate::wire::frame::Frame;

impl<O: Observer> Context<'_, O> {
    /// The ACLs of the sender's subnet and of the one that the packet goes to.
    #[inline(always)]
    pub(in crate::datapath) fn network_acls(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        to: &SubnetView,
    ) -> Result<(), DropReason> {
        let here = self.ingress.subnet;
        // What a gateway turns around leaves the subnet and enters it again.
        let stays = here.index == to.index && self.translation.is_none();
        if stays || (here.acl.is_none() && to.acl.is_none()) || !self.profile().firewall.enforced {
            return Ok(());
        }
        let family = match packet {
            Packet::V4(_) => Family::V4,
            Packet::V6(_) => Family::V6,
        };
        let open = |subnet: &SubnetView, direction| {
            let acl = subnet.acl.as_ref();
            acl.is_none_or(|acl| acl.lets_all_through(direction, family))
        };
        if !O::LISTENS && open(here, Direction::Egress) && open(to, Direction::Ingress) {
            return Ok(());
        }
        self.network_acls_aside(frame.bytes(), to)
    }

    #[inline(never)]
    fn network_acls_aside(&mut self, bytes: &[u8], to: &SubnetView) -> Result<(), DropReason> {
        // The caller has read the packet before: it is one.
        let Some(packet) = Frame::parse(bytes).ok().as_ref().and_then(IpPacket::of) else {
            return Ok(());
        };
        let (protocol, upper) = (packet.protocol(), upper(&packet));
        let translated = self.translation.map(|new| IpAddr::V4(new.source));
        let here = self.ingress.subnet;
        for (subnet, direction, remote) in [
            (here, Direction::Egress, packet.destination()),
            (to, Direction::Ingress, translated.unwrap_or(packet.source())),
        ] {
            self.network_acl(subnet, direction, remote, protocol, upper)?;
        }
        Ok(())
    }

    /// The ACL of one subnet.
    pub(super) fn network_acl(
        &mut self,
        subnet: &SubnetView,
        direction: Direction,
        remote: IpAddr,
        protocol: u8,
        upper: Upper,
    ) -> Result<(), DropReason> {
        let Some(acl) = subnet.acl.as_ref().filter(|_| subnet.profile().firewall.enforced) else {
            return Ok(());
        };
        let decided = acl.decide(direction, remote, protocol, upper);
        let allows = decided.is_some_and(|(_, allows)| allows);
        let (stage, denied) = match direction {
            Direction::Egress => (Stage::NetworkAclEgress, DropReason::NetworkAclEgress),
            Direction::Ingress => (Stage::NetworkAclIngress, DropReason::NetworkAclIngress),
        };
        self.observer.saw(
            stage,
            Fact::AclEntry {
                subnet: subnet.index,
                direction,
                entry: decided.map(|(entry, _)| entry),
                allows,
            },
        );
        if allows { Ok(()) } else { Err(denied) }
    }
}
