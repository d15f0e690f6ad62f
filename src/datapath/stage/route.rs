//! Routes frames to the router's MAC; no other frame leaves the subnet (VPC guide, "Route tables": traffic to another
//! MAC of the subnet makes use of data link layer routing, so the rules do not apply).

use std::net::IpAddr;

use crate::datapath::{
    Allowance, Answered, Context, Decided, DropReason, Fact, Observer, Packet, Rewrite, RouteTarget, RouterAddress,
    SERVICES_IPV6, Stage, SubnetIndex, SubnetView, Verdict,
};
use crate::mapping::{Interface, InterfaceIndex};
use crate::model::profile::Ttl;
use crate::wire::frame::{Frame, PROTOCOL_ICMP};

/// The target of a packet: the interface, its subnet, and the destination's owner where it was looked up.
type Target<'a> = (Interface, &'a SubnetView, Option<InterfaceIndex>);

impl<'a, O: Observer> Context<'a, O> {
    /// A packet to the router's MAC: for the router itself, or to be routed.
    #[inline(always)]
    pub(in crate::datapath) fn at_router(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        self.guard_header(packet)?;
        if let Some(kind) = self.router_address(packet.destination()) {
            return self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                this.for_router_itself(frame, packet, kind)
            });
        }
        self.route(frame, packet)
    }

    #[inline(always)]
    pub(super) fn router_address(&self, destination: IpAddr) -> Option<RouterAddress> {
        let subnet = self.ingress.subnet;
        match destination {
            IpAddr::V4(address) => subnet.router_ipv4(address),
            IpAddr::V6(address)
                if address.is_unique_local()
                    && subnet.profile().router.service_addresses
                    && SERVICES_IPV6.contains(&address) =>
            {
                Some(RouterAddress::Service)
            }
            IpAddr::V6(address) => subnet.router_ipv6(address),
        }
    }

    /// Routes a packet by the subnet's route table.
    #[inline(always)]
    fn route(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        let destination = packet.destination();
        if is_link_local(destination) {
            return Err(DropReason::LinkLocalRouted);
        }
        let subnet = self.view.subnet_of(self.ingress.vpc, destination);
        match self.route_to(destination, subnet)? {
            RouteTarget::Local => {
                if let Some(subnet) = subnet
                    && self.ingress.subnet.asks()
                {
                    return self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                        this.deliver_by_asking(frame, packet, subnet)
                    });
                }
                match self.local(subnet, destination) {
                    Ok((interface, subnet, owner)) => self.pass_on(frame, packet, &interface, subnet, owner),
                    // No interface can have the resolver's address, so only otherwise undeliverable packets are tested
                    // for it.
                    Err(DropReason::NoMapping) if self.is_resolver(destination) => self
                        .aside_with_packet(frame.bytes(), |this, frame, packet| {
                            this.for_router_itself(frame, packet, RouterAddress::Resolver)
                        }),
                    Err(reason) => Err(reason),
                }
            }
            RouteTarget::Interface(index) => self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                this.guard_directed_broadcast(subnet, destination)?;
                let (interface, subnet, owner) = this.middlebox(index)?;
                this.pass_on(frame, packet, &interface, subnet, owner)
            }),
            RouteTarget::Internet => self.aside_with_packet(frame.bytes(), |this, frame, packet| {
                this.through_internet_gateway(frame, packet)
            }),
            RouteTarget::NatGateway(gateway) => self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                this.through_nat(frame, packet, gateway)
            }),
            RouteTarget::EgressOnly => self.aside_with_packet(frame.bytes(), |this, frame, packet| {
                this.through_egress_only(frame, packet)
            }),
            RouteTarget::Peering(peer) => self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                this.through_peering(frame, packet, peer)
            }),
            RouteTarget::Endpoint(_) => self.aside_with_packet(frame.bytes(), |this, frame, packet| {
                this.through_endpoint(frame, packet)
            }),
            RouteTarget::Blackhole => Err(DropReason::Blackhole),
        }
    }

    /// The target of the route to an address; `subnet` is the one that contains the address.
    #[inline(always)]
    fn route_to(&mut self, destination: IpAddr, subnet: Option<&SubnetView>) -> Result<RouteTarget, DropReason> {
        // Subnets are within the VPC's ranges, so where all of these are local no route look-up is needed.
        if !O::LISTENS && subnet.is_some() && self.ingress.subnet.local_within {
            return Ok(RouteTarget::Local);
        }
        let route = self.ingress.subnet.routes.lookup(destination);
        self.observer.saw(
            Stage::Route,
            Fact::Route {
                address: destination,
                route,
            },
        );
        route.map(|(_, target)| target).ok_or(DropReason::NoRoute)
    }

    /// Passes a routed packet to an interface of a subnet. `found` is the destination's owner where it was looked up.
    #[inline(always)]
    pub(in crate::datapath) fn pass_on(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        interface: &Interface,
        subnet: &SubnetView,
        found: Option<InterfaceIndex>,
    ) -> Decided {
        let rewrite = Rewrite::Route {
            destination: interface.mac,
            source: subnet.router_mac,
            decrement_ttl: self.takes_hop(packet, subnet)?,
        };
        self.network_acls(frame, packet, subnet)?;
        // The path between subnets may have a smaller MTU than the interfaces at its ends.
        let elsewhere = subnet.index != self.ingress.subnet.index;
        if let Some(mtu) = self.profile().router.path_mtu.filter(|_| elsewhere)
            && self.packet_length(frame, packet) > usize::from(mtu)
        {
            return self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                this.too_big(frame, packet, mtu)
            });
        }
        match self.hand_over(frame, packet, interface, subnet, rewrite, found) {
            Err(DropReason::TooLong) => {
                let mtu = interface.mtu.unwrap_or(self.profile().mtu);
                self.aside_with_packet(frame.bytes(), move |this, frame, packet| {
                    this.too_big(frame, packet, mtu)
                })
            }
            decided => decided,
        }
    }

    /// Whether a routed packet's hop count is decremented, if it may be routed at all.
    #[inline(always)]
    pub(in crate::datapath) fn takes_hop(&self, packet: &Packet<'_>, subnet: &SubnetView) -> Result<bool, DropReason> {
        // RFC 1122 section 3.2.1.3 (a), RFC 4291 section 2.5.2: a router forwards no packet without a source.
        if packet.source().is_unspecified() {
            return Err(DropReason::InvalidSource);
        }
        // RFC 4291 section 2.5.6, RFC 3927 section 2.7: a link-local source is invalid on another link.
        if subnet.index != self.ingress.subnet.index && is_link_local(packet.source()) {
            return Err(DropReason::LinkLocalRouted);
        }
        let decrement_ttl = self.profile().router.ttl == Ttl::Decrement;
        // RFC 1812 section 4.2.2.9, RFC 8200 section 3: a packet without hops left is not forwarded, not even by a
        // router that does not decrement.
        if hops_left(packet) <= u8::from(decrement_ttl) {
            return Err(DropReason::HopLimit);
        }
        Ok(decrement_ttl)
    }

    /// The interface that an address of the VPC is mapped to, in its subnet.
    #[inline(always)]
    fn local(&mut self, subnet: Option<&'a SubnetView>, destination: IpAddr) -> Result<Target<'a>, DropReason> {
        let subnet = subnet.ok_or(DropReason::NoMapping)?;
        let owner = self.owner(subnet, destination);
        self.observer.saw(
            Stage::Route,
            Fact::Mapping {
                subnet: subnet.index,
                address: destination,
                owner,
            },
        );
        let interface = owner
            .and_then(|owner| self.view.interface(owner))
            .ok_or(DropReason::NoMapping)?;
        Ok((interface, subnet, owner))
    }

    /// The VPC's resolver is reached from every subnet, whether its address is inside one of them or not.
    #[cold]
    pub(super) fn is_resolver(&self, destination: IpAddr) -> bool {
        let subnet = self.ingress.subnet;
        subnet.profile().router.service_addresses && self.ingress.vpc.resolver().map(IpAddr::V4) == Some(destination)
    }

    /// The interface that is a route's target; a deleted or detached one is a black hole.
    pub(super) fn middlebox(&self, index: InterfaceIndex) -> Result<Target<'a>, DropReason> {
        let interface = self
            .view
            .interface(index)
            .filter(|i| i.port.is_some())
            .ok_or(DropReason::Blackhole)?;
        let subnet = self
            .view
            .subnet(SubnetIndex(interface.subnet))
            .ok_or(DropReason::Blackhole)?;
        Ok((interface, subnet, None))
    }

    /// Sends the MTU to the sender of a packet that is too long for its receiver, as the subnet's gateway does (EC2
    /// guide, "Network MTU": tracepath shows `pmtu` from the gateway's address).
    pub(in crate::datapath) fn too_big(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, mtu: u16) -> Decided {
        let here = self.ingress.subnet;
        // RFC 4443 section 2.4 (e), RFC 1122 section 3.2.2: no error about an error, nor about a packet without a
        // single sender.
        let source = packet.source();
        let unanswerable = !here.profile().router.path_mtu_errors
            || is_icmp_error(packet)
            || source.is_unspecified()
            || source.is_multicast();
        if unanswerable || !self.spend(Allowance::Errors) {
            return Err(DropReason::TooLong);
        }
        match packet {
            Packet::V4(packet) => {
                // A subnet without an IPv4 range routes no IPv4, whatever its hosts lease.
                let gateway = here.ipv4.and(here.gateway_ipv4()).ok_or(DropReason::TooLong)?;
                // RFC 792: only a packet with DF set is answered. The router fragments nothing itself.
                if packet.bytes[6] & 0x40 == 0 {
                    return Err(DropReason::TooLong);
                }
                self.reply
                    .fragmentation_needed(frame, packet, here.router_mac, gateway, mtu);
            }
            Packet::V6(packet) => {
                let gateway = here.ipv6_address(1).ok_or(DropReason::TooLong)?;
                self.reply.packet_too_big(frame, packet, here.router_mac, gateway, mtu);
            }
        }
        Ok(Verdict::Reply(Answered::TooBig))
    }
}

/// Whether a packet is an ICMP error, by its first octet of ICMP.
pub(super) fn is_icmp_error(packet: &Packet<'_>) -> bool {
    match packet {
        Packet::V4(packet) => {
            let icmp = packet.protocol == PROTOCOL_ICMP && packet.fragment_offset == 0;
            // RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem.
            icmp && matches!(packet.payload().first(), Some(3 | 4 | 5 | 11 | 12))
        }
        // RFC 4443 section 2.1: errors have types below 128.
        Packet::V6(packet) => packet.icmpv6_type().is_some_and(|kind| kind < 128),
    }
}

#[inline(always)]
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[inline(always)]
pub(super) fn hops_left(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::V4(packet) => packet.ttl(),
        Packet::V6(packet) => packet.hop_limit,
    }
}
