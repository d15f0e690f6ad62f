//! An interface speaks with its own MAC and, unless its source/destination check is off, only as its own addresses; and it
//! hears only what is meant for them. Delegated prefixes count as its own (EC2 guide, "Prefixes are included in
//! source/destination checks").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Context, DropReason, Fact, Observer, Packet, Stage, SubnetView};
use crate::mapping::Interface;
use crate::wire::frame::Frame;

impl Packet<'_> {
    pub(super) fn source(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.source.into(),
            Self::V6(packet) => packet.source.into(),
        }
    }

    pub(super) fn destination(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.destination.into(),
            Self::V6(packet) => packet.destination.into(),
        }
    }
}

impl<O: Observer> Context<'_, O> {
    /// The source MAC must be the interface's own, whatever its other check says.
    #[inline]
    pub(super) fn guard_source_mac(&mut self, frame: &Frame<'_>) -> Result<(), DropReason> {
        let expected = self.ingress.interface.mac;
        self.observer.saw(
            Stage::Guard,
            Fact::SourceMac {
                expected,
                seen: frame.source,
            },
        );
        if frame.source == expected || !self.ingress.subnet.profile().source_mac_check {
            Ok(())
        } else {
            Err(DropReason::SourceMac)
        }
    }

    /// Nothing is delivered to a group (VPC guide, "DHCP option sets": broadcast and multicast are not supported), and a
    /// packet for a group is no less one when its frame names a single host.
    #[inline]
    pub(super) fn guard_group(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Result<(), DropReason> {
        let (broadcast, multicast) = match packet {
            Packet::V4(packet) => (packet.destination.is_broadcast(), packet.destination.is_multicast()),
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

    /// A packet leaves only with a source that the interface owns.
    #[inline]
    pub(super) fn source_check(&mut self, packet: &Packet<'_>) -> Result<(), DropReason> {
        let address = packet.source();
        let subnet = self.ingress.subnet;
        if self.check(Stage::SourceCheck, &self.ingress.interface, subnet, address) {
            Ok(())
        } else {
            Err(DropReason::SourceCheck)
        }
    }

    /// A packet arrives only for a destination that the interface owns.
    #[inline]
    pub(super) fn destination_check(
        &mut self,
        interface: &Interface,
        subnet: &SubnetView,
        packet: &Packet<'_>,
    ) -> Result<(), DropReason> {
        if self.check(Stage::DestinationCheck, interface, subnet, packet.destination()) {
            Ok(())
        } else {
            Err(DropReason::DestinationCheck)
        }
    }

    #[inline]
    fn check(&mut self, stage: Stage, interface: &Interface, subnet: &SubnetView, address: IpAddr) -> bool {
        let enabled = interface.checked && subnet.profile().source_dest_check;
        let owns = enabled && self.owns(interface, subnet, address);
        self.observer.saw(
            stage,
            Fact::Check {
                interface: interface.index,
                address,
                enabled,
                owns,
            },
        );
        owns || !enabled
    }

    /// Whether an address is the interface's: assigned to it, in a prefix delegated to it, or its own link-local.
    #[inline]
    pub(super) fn owns(&self, interface: &Interface, subnet: &SubnetView, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.owns_ipv4(interface, subnet, address),
            IpAddr::V6(address) => self.owns_ipv6(interface, subnet, address),
        }
    }

    #[inline]
    fn owns_ipv4(&self, interface: &Interface, subnet: &SubnetView, address: Ipv4Addr) -> bool {
        // Nearly every packet bears the primary address: it stands in the interface, no table is needed for it.
        interface.ipv4 == Some(address) && !self.sees_former_owners()
            || self.owner(subnet, address.into()) == Some(interface.index)
    }

    #[inline]
    fn owns_ipv6(&self, interface: &Interface, subnet: &SubnetView, address: Ipv6Addr) -> bool {
        self.owner(subnet, address.into()) == Some(interface.index) || address == interface.mac.link_local()
    }
}
