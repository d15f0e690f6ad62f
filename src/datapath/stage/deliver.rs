//! Delivers a frame within a subnet to the interface with its destination MAC, and to no other; its addresses matter
//! for the checks only. A host with a stale neighbor entry therefore black-holes its packets.

use crate::datapath::{
    Context, Decided, Destination, DropReason, Fact, Observer, Packet, Rewrite, Stage, SubnetIndex, SubnetView, Verdict,
};
use crate::mapping::{Interface, InterfaceIndex};
use crate::wire::MacAddr;
use crate::wire::frame::{ETHERNET_HEADER, Frame, PROTOCOL_TCP, PROTOCOL_UDP};

impl<O: Observer> Context<'_, O> {
    /// A packet to the MAC of a host.
    #[inline(always)]
    pub(in crate::datapath) fn deliver_by_mac(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        let subnet = self.ingress.subnet;
        // Nearly every packet goes to the MAC of the interface that its destination is mapped to. Looking there first
        // gives the answers of two tables with one access: the table of MACs and the destination check's. No two
        // interfaces of a VPC have the same MAC.
        let found = self.owner(subnet, packet.destination());
        let owner = found.and_then(|owner| self.view.interface(owner));
        match owner.filter(|owner| owner.mac == frame.destination && owner.subnet == subnet.index.0) {
            Some(owner) => {
                self.addressed(frame.destination, found, Some(&owner))?;
                self.hand_over(frame, packet, &owner, subnet, Rewrite::None, found)
            }
            None => self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                let interface = this.interface_of(frame.destination)?;
                this.hand_over(frame, packet, &interface, subnet, Rewrite::None, found)
            }),
        }
    }

    /// An ARP message to the MAC of a host, where hosts answer each other's unicast requests.
    pub(in crate::datapath) fn deliver_arp(&mut self, frame: &Frame<'_>) -> Decided {
        let interface = self.interface_of(frame.destination)?;
        let port = interface.port.ok_or(DropReason::NotAttached)?;
        Ok(Verdict::Deliver {
            to: Destination::Port(port),
            rewrite: Rewrite::None,
        })
    }

    /// The interface of this subnet with a frame's destination MAC.
    #[inline(never)]
    fn interface_of(&mut self, mac: MacAddr) -> Result<Interface, DropReason> {
        let owner = self.view.interface_by_mac(self.ingress.subnet.vpc, mac);
        let interface = owner.and_then(|owner| self.view.interface(owner));
        self.addressed(mac, owner, interface.as_ref())?;
        interface.ok_or(DropReason::UnknownMac)
    }

    /// Whether a frame may be delivered to the interface with its MAC.
    #[inline(always)]
    fn addressed(
        &mut self,
        mac: MacAddr,
        owner: Option<InterfaceIndex>,
        interface: Option<&Interface>,
    ) -> Result<(), DropReason> {
        self.observer.saw(Stage::Delivery, Fact::Mac { mac, owner });
        let interface = interface.ok_or(DropReason::UnknownMac)?;
        if interface.subnet != self.ingress.subnet.index.0 {
            // Seen on EC2: a frame to a MAC of another subnet does not arrive, in the same zone or not.
            return Err(DropReason::OtherSubnetMac);
        }
        if interface.index == self.ingress.interface.index {
            return Err(DropReason::ToItself);
        }
        Ok(())
    }

    /// The last steps of every packet: destination check, inbound rules, MTU, port. `found` is as for the check.
    #[inline(always)]
    pub(in crate::datapath) fn hand_over(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        interface: &Interface,
        subnet: &SubnetView,
        rewrite: Rewrite,
        found: Option<InterfaceIndex>,
    ) -> Decided {
        debug_assert_eq!(SubnetIndex(interface.subnet), subnet.index);
        self.destination_check(interface, subnet, packet, found)?;
        self.security_group_ingress(frame, packet, interface, subnet)?;
        let mtu = usize::from(interface.mtu.unwrap_or(subnet.profile().mtu));
        if self.packet_length(frame, packet) > mtu && !self.in_fragments {
            return Err(DropReason::TooLong);
        }
        let Some(port) = interface.port else {
            let index = interface.index;
            return self.for_nat(frame.bytes(), index);
        };
        Ok(Verdict::Deliver {
            to: Destination::Port(port),
            rewrite,
        })
    }

    /// Octets of the largest IP packet that the frame is or will be segmented into.
    #[inline(always)]
    pub(in crate::datapath) fn packet_length(&self, frame: &Frame<'_>, packet: &Packet<'_>) -> usize {
        let whole = frame.bytes().len() - ETHERNET_HEADER + self.behind_head;
        if self.meta.segment_size == 0 {
            return whole;
        }
        let (header, protocol, upper) = match packet {
            Packet::V4(packet) => (packet.header_length, packet.protocol, packet.payload()),
            Packet::V6(packet) => (packet.upper_offset, packet.protocol, packet.payload()),
        };
        let upper_header = match protocol {
            PROTOCOL_TCP => upper.get(12).map_or(0, |octet| usize::from(octet >> 4) * 4),
            PROTOCOL_UDP => 8,
            _ => 0,
        };
        // A frame with less payload than one segment is not padded.
        whole.min(header + upper_header + usize::from(self.meta.segment_size))
    }
}
