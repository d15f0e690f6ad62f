//! Passes packets between a VPC and the outside. An internet gateway translates one public IPv4 address to one private one
//! and back; it translates no IPv6 address. A host sees its private address alone (VPC guide, "Internet gateways"; firewall
//! facts G1, G2).

use std::net::{IpAddr, Ipv4Addr};

use super::route::{hops_left, is_link_local};
use crate::datapath::{
    Context, Decided, DropReason, Fact, Observer, Packet, Rewrite, RouteTarget, Stage, SubnetView, Translation,
    VpcIndex, VpcView,
};
use crate::mapping::{Interface, InterfaceIndex};
use crate::wire::frame::{Frame, Ipv4Packet};

/// The longest packet that an internet gateway passes on (EC2 guide, "Network MTU"; firewall facts G13).
pub(super) const MTU: u16 = 1500;

/// Where a packet goes once it has crossed the edge.
pub(super) struct Beyond<'a> {
    pub(super) interface: Interface,
    pub(super) subnet: &'a SubnetView,
    /// The interface that has the address.
    pub(super) owner: InterfaceIndex,
    /// The address that the packet has there.
    pub(super) address: IpAddr,
}

impl<'a, O: Observer> Context<'a, O> {
    /// A packet that a route sends to the internet gateway, or that a host of the outside sends.
    ///
    /// A packet between two instances that names the public address of the receiver is turned around here: the receiver sees
    /// the public address of the sender (firewall facts G9).
    pub(super) fn cross_edge(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        if packet.source().is_unspecified() {
            return Err(DropReason::InvalidSource);
        }
        if is_link_local(packet.source()) {
            return Err(DropReason::LinkLocalRouted);
        }
        let from_outside = self.ingress.vpc.outside;
        let source = match from_outside {
            true => packet.source(),
            false => self.public_source(packet.source())?,
        };
        if from_outside && let Some(host) = self.behind_endpoint(packet) {
            return self.pass_to(frame, packet, &host?);
        }
        let beyond = self.beyond(packet.destination())?;
        if !self.is_outside(beyond.subnet) {
            let back = beyond.subnet.routes.lookup(source).map(|(_, target)| target);
            let by_nat = self.view.edge.nat(beyond.owner).is_some();
            let by_egress_only = source.is_ipv6() && back == Some(RouteTarget::EgressOnly);
            self.not_blocked(beyond.subnet, by_nat || by_egress_only)?;
            if source.is_ipv6() {
                self.lets_in_by_ipv6(frame, source, beyond.subnet)?;
            }
        }
        // The router of the outside takes a hop of what passes it; whether EC2's gateway takes one is unknown.
        let to_outside = self.ingress.vpc.index != beyond.subnet.vpc && self.is_outside(beyond.subnet);
        let decrement_ttl = from_outside || to_outside;
        if hops_left(packet) <= u8::from(decrement_ttl) {
            return Err(DropReason::HopLimit);
        }
        if self.is_too_long_to_cross(frame, packet) {
            return self.too_big(frame, packet, MTU);
        }
        let beyond = self.inbound(beyond)?;
        let mtu = beyond.interface.mtu;
        match self.deliver_beyond(frame, packet, source, &beyond, decrement_ttl) {
            Err(DropReason::TooLong) => self.too_big(frame, packet, mtu.unwrap_or(beyond.subnet.profile().mtu)),
            decided => decided,
        }
    }

    /// A packet that a route sends to the internet gateway.
    pub(super) fn through_internet_gateway(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        if !self.ingress.vpc.outside {
            self.not_blocked(self.ingress.subnet, false)?;
        }
        self.cross_edge(frame, packet)
    }

    /// Where a packet that enters a VPC goes first: to the middlebox of the gateway's route table, or to its destination (firewall
    /// facts G14).
    fn inbound(&mut self, beyond: Beyond<'a>) -> Result<Beyond<'a>, DropReason> {
        let Some(routes) = self.view.edge.inbound(beyond.subnet.vpc) else {
            return Ok(beyond);
        };
        let address = beyond.address;
        let route = routes.lookup(address);
        self.observer.saw(Stage::Gateway, Fact::Route { address, route });
        match route.map(|(_, target)| target) {
            None | Some(RouteTarget::Local) => Ok(beyond),
            Some(RouteTarget::Interface(index)) => {
                let (interface, subnet, _) = self.middlebox(index)?;
                // The owner stays that of the address: a middlebox takes what is not for it with its check off alone.
                Ok(Beyond {
                    interface,
                    subnet,
                    ..beyond
                })
            }
            Some(_) => Err(DropReason::Blackhole),
        }
    }

    /// Whether block public access lets a packet from or to a subnet through (firewall facts B1).
    pub(super) fn not_blocked(&mut self, subnet: &SubnetView, by_stateful: bool) -> Result<(), DropReason> {
        match self.view.edge.blocked() {
            Some(blocked) if !blocked.lets_through(subnet.vpc, subnet.index, by_stateful) => {
                Err(DropReason::BlockPublicAccess)
            }
            _ => Ok(()),
        }
    }

    /// Whether a packet is longer than the gateway passes and may not be split (firewall facts G13). One that may is sent on in
    /// fragments.
    pub(super) fn is_too_long_to_cross(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> bool {
        if self.packet_length(frame, packet) <= usize::from(MTU) {
            return false;
        }
        let whole = self.meta.segment_size == 0;
        let may = matches!(packet, Packet::V4(packet) if packet.bytes[6] & 0x40 == 0);
        self.in_fragments = whole && may;
        !self.in_fragments
    }

    /// The network ACLs of both ends, then the last steps of every packet, by the addresses that it has there.
    fn deliver_beyond(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        source: IpAddr,
        beyond: &Beyond<'_>,
        decrement_ttl: bool,
    ) -> Decided {
        let (destination, router) = (beyond.interface.mac, beyond.subnet.router_mac);
        let original = packet;
        let (packet, rewrite) = match (packet, source, beyond.address) {
            (Packet::V4(packet), IpAddr::V4(source), IpAddr::V4(address)) => {
                self.translation = Some(Translation::of_addresses(source, address));
                let translated = Ipv4Packet {
                    source,
                    destination: address,
                    ..*packet
                };
                let rewrite = Rewrite::Translate {
                    destination,
                    source: router,
                    decrement_ttl,
                    translation: Translation::of_addresses(source, address),
                    most: self.in_fragments.then_some(MTU),
                };
                (Packet::V4(translated), rewrite)
            }
            _ => {
                let rewrite = Rewrite::Route {
                    destination,
                    source: router,
                    decrement_ttl,
                };
                (*packet, rewrite)
            }
        };
        self.network_acls(frame, original, beyond.subnet)?;
        let (interface, owner) = (&beyond.interface, Some(beyond.owner));
        self.hand_over(frame, &packet, interface, beyond.subnet, rewrite, owner)
    }

    /// The address that a packet of this VPC has on the outside.
    fn public_source(&mut self, source: IpAddr) -> Result<IpAddr, DropReason> {
        let vpc = self.ingress.vpc;
        match source {
            IpAddr::V4(private) => self.public_of(vpc.index, private).map(IpAddr::V4),
            IpAddr::V6(_) => {
                let assigned = self.local_owner(vpc, source);
                assigned.map(|_| source).map_err(|_| DropReason::IgwSource)
            }
        }
    }

    /// The public address of a private one.
    pub(super) fn public_of(&mut self, vpc: VpcIndex, private: Ipv4Addr) -> Result<Ipv4Addr, DropReason> {
        let public = self.view.edge.public(vpc, private);
        let fact = Fact::Public {
            vpc,
            private: Some(private),
            public,
        };
        self.observer.saw(Stage::Gateway, fact);
        public.ok_or(DropReason::IgwNoPublicAddress)
    }

    /// The interface that has a public address, behind an internet gateway or on the outside.
    pub(super) fn beyond(&mut self, destination: IpAddr) -> Result<Beyond<'a>, DropReason> {
        let behind = match destination {
            IpAddr::V4(public) => self.behind(public).map(|(vpc, private)| (vpc, IpAddr::V4(private))),
            IpAddr::V6(address) => self.view.edge.vpc_around(address).map(|vpc| (vpc, destination)),
        };
        if let Some((vpc, address)) = behind {
            let vpc = self.view.vpc(vpc).ok_or(DropReason::IgwUnmapped)?;
            return self.local_owner(vpc, address);
        }
        let subnet = self.view.edge.outside().and_then(|outside| self.view.subnet(outside));
        let vpc = subnet.and_then(|subnet| self.view.vpc(subnet.vpc));
        let found = self.local_owner(vpc.ok_or(DropReason::IgwUnmapped)?, destination);
        found.map_err(|_| DropReason::IgwUnmapped)
    }

    fn behind(&mut self, public: Ipv4Addr) -> Option<(VpcIndex, Ipv4Addr)> {
        let behind = self.view.edge.behind(public);
        let fact = Fact::Public {
            vpc: behind.map_or(self.ingress.vpc.index, |(vpc, _)| vpc),
            private: behind.map(|(_, private)| private),
            public: Some(public),
        };
        self.observer.saw(Stage::Gateway, fact);
        behind
    }

    /// The interface of a VPC that has an address.
    pub(super) fn local_owner(&mut self, vpc: &VpcView, address: IpAddr) -> Result<Beyond<'a>, DropReason> {
        let view = self.view;
        let subnet = view.subnet_of(vpc, address).ok_or(DropReason::NoMapping)?;
        let owner = self.owner(subnet, address);
        let fact = Fact::Mapping {
            subnet: subnet.index,
            address,
            owner,
        };
        self.observer.saw(Stage::Route, fact);
        let owner = owner.ok_or(DropReason::NoMapping)?;
        Ok(Beyond {
            interface: view.interface(owner).ok_or(DropReason::NoMapping)?,
            subnet,
            owner,
            address,
        })
    }

    fn is_outside(&self, subnet: &SubnetView) -> bool {
        self.view.edge.outside() == Some(subnet.index)
    }
}
