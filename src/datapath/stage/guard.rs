//! Checks that an interface sends with its own MAC and, unless its source/destination check is off, from its own
//! addresses only; and that it receives only packets for them. Delegated prefixes count as its own (EC2 guide,
//! "Prefixes are included in source/destination checks").

use std::net::{IpAddr, Ipv4Addr};

use crate::datapath::{Context, DropReason, Fact, Observer, Packet, Stage, SubnetView};
use crate::mapping::{Interface, InterfaceIndex};
use crate::wire::MacAddr;
use crate::wire::frame::Frame;

impl Packet<'_> {
    #[inline(always)]
    pub(in crate::datapath) fn source(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.source.into(),
            Self::V6(packet) => packet.source.into(),
        }
    }

    #[inline(always)]
    pub(in crate::datapath) fn destination(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.destination.into(),
            Self::V6(packet) => packet.destination.into(),
        }
    }
}

impl<O: Observer> Context<'_, O> {
    /// The source MAC must be the interface's own, whatever its source/destination check is.
    #[inline(always)]
    pub(in crate::datapath) fn guard_source_mac(&mut self, frame: &Frame<'_>) -> Result<(), DropReason> {
        let expected = self.ingress.interface.mac;
        self.observer.saw(
            Stage::Guard,
            Fact::SourceMac {
                expected,
                seen: frame.source,
            },
        );
        if frame.source == expected || !self.profile().source_mac_check {
            Ok(())
        } else {
            Err(DropReason::SourceMac)
        }
    }

    /// Drops packets for a group (VPC guide, "DHCP option sets": broadcast and multicast are not supported), also when
    /// the frame is addressed to a single host. The first and the last address of the subnet are groups too; those of
    /// other subnets are dropped on the way there.
    #[inline(always)]
    pub(in crate::datapath) fn guard_group(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
    ) -> Result<(), DropReason> {
        let (broadcast, multicast) = match packet {
            Packet::V4(packet) => (
                is_limited_broadcast(packet.destination)
                    || self.ingress.subnet.is_directed_broadcast(packet.destination),
                packet.destination.is_multicast(),
            ),
            Packet::V6(packet) => (false, packet.destination.is_multicast()),
        };
        if !frame.destination.is_multicast() && !broadcast && !multicast {
            return Ok(());
        }
        self.observer.saw(Stage::Guard, Fact::Group { mac: frame.destination });
        Err(if broadcast || frame.destination.is_broadcast() {
            DropReason::Broadcast
        } else {
            DropReason::Multicast
        })
    }

    /// Drops a packet for the broadcast address of any subnet, whatever the target of its route.
    pub(super) fn guard_directed_broadcast(
        &mut self,
        subnet: Option<&SubnetView>,
        destination: IpAddr,
    ) -> Result<(), DropReason> {
        match (subnet, destination) {
            (Some(subnet), IpAddr::V4(address)) if subnet.is_directed_broadcast(address) => Err(DropReason::Broadcast),
            _ => Ok(()),
        }
    }

    /// Checks the header of a packet that the VPC itself receives, to route or to answer it.
    #[inline(always)]
    pub(super) fn guard_header(&self, packet: &Packet<'_>) -> Result<(), DropReason> {
        match packet {
            Packet::V4(packet) => packet.validate()?,
            Packet::V6(packet) => packet.validate()?,
        }
        Ok(())
    }

    /// A packet may leave only with a source that the interface owns.
    #[inline(always)]
    pub(in crate::datapath) fn source_check(&mut self, packet: &Packet<'_>) -> Result<(), DropReason> {
        let (address, ingress) = (packet.source(), self.ingress);
        let first = match packet {
            Packet::V4(_) => ingress.own[0],
            Packet::V6(_) => ingress.own[1],
        };
        let known = first == Some(address);
        if self.check(Stage::SourceCheck, &ingress.interface, ingress.subnet, address, known) {
            Ok(())
        } else {
            Err(DropReason::SourceCheck)
        }
    }

    /// A packet may arrive only for a destination that the interface owns. `found` is the destination's owner where it
    /// was looked up before.
    #[inline(always)]
    pub(in crate::datapath) fn destination_check(
        &mut self,
        interface: &Interface,
        subnet: &SubnetView,
        packet: &Packet<'_>,
        found: Option<InterfaceIndex>,
    ) -> Result<(), DropReason> {
        let known = found == Some(interface.index);
        if self.check(Stage::DestinationCheck, interface, subnet, packet.destination(), known) {
            Ok(())
        } else {
            Err(DropReason::DestinationCheck)
        }
    }

    /// Checks an address, which is `known` to be the interface's or is looked up.
    #[inline(always)]
    fn check(
        &mut self,
        stage: Stage,
        interface: &Interface,
        subnet: &SubnetView,
        address: IpAddr,
        known: bool,
    ) -> bool {
        let enabled = interface.checked && subnet.profile().source_dest_check;
        let owns = enabled && (known || self.owns(interface.index, interface.mac, subnet, address));
        self.observer.saw(
            stage,
            Fact::Check {
                interface: interface.index,
                subnet: subnet.index,
                address,
                enabled,
                owns,
            },
        );
        owns || !enabled
    }

    /// Whether an interface owns an address: assigned to it, in a prefix delegated to it, or its own link-local.
    #[inline(never)]
    pub(in crate::datapath) fn owns(
        &self,
        index: InterfaceIndex,
        mac: MacAddr,
        subnet: &SubnetView,
        address: IpAddr,
    ) -> bool {
        let leased = |address: Ipv4Addr| address.is_link_local() && subnet.leased_link_local(mac) == Some(address);
        self.owner(subnet, address) == Some(index)
            || address == mac.link_local()
            || matches!(address, IpAddr::V4(address) if leased(address))
    }
}

/// 255.255.255.255, and 0.0.0.0, which 4.2BSD had in its place (RFC 1122 section 3.2.1.3).
#[inline(always)]
fn is_limited_broadcast(address: Ipv4Addr) -> bool {
    address.to_bits().wrapping_add(1) <= 1
}
