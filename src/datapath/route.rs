//! A frame for the router's MAC leaves the subnet; no other does (VPC guide, "Route tables": traffic to another MAC of the
//! subnet makes use of data link layer routing, so the rules do not apply).

use std::net::IpAddr;

use super::{Context, Decided, DropReason, Fact, Observer, Packet, Rewrite, RouterAddress, SERVICES_IPV6, Stage};
use crate::model::profile::Ttl;
use crate::wire::frame::Frame;

impl<O: Observer> Context<'_, O> {
    /// A packet to the router's MAC: for the router itself, or to be passed on by the route table.
    pub(super) fn at_router(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        if let Some(kind) = self.router_address(packet.destination()) {
            return self.for_router_itself(frame, packet, kind);
        }
        self.route(frame, packet)
    }

    fn router_address(&self, destination: IpAddr) -> Option<RouterAddress> {
        let subnet = self.ingress.subnet;
        match destination {
            IpAddr::V4(address) => subnet.router_ipv4(address),
            IpAddr::V6(address) if subnet.profile().router.service_addresses && SERVICES_IPV6.contains(&address) => {
                Some(RouterAddress::Service)
            }
            IpAddr::V6(address) => subnet.router_ipv6(address),
        }
    }

    /// By the implicit local route to an interface of any subnet of the VPC.
    fn route(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        let destination = packet.destination();
        let link_local = match destination {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if link_local {
            return Err(DropReason::LinkLocalRouted);
        }
        let local = self.view.local_route(self.ingress.subnet.vpc, destination);
        let range = local.map(|(range, _)| range);
        self.observer.saw(
            Stage::Route,
            Fact::Route {
                address: destination,
                range,
            },
        );
        let Some((_, subnet)) = local else {
            return self
                .resolver(frame, packet)
                .unwrap_or_else(|| Err(self.beyond(destination)));
        };
        let owner = self.view.owner(subnet, destination);
        self.observer.saw(
            Stage::Route,
            Fact::Mapping {
                subnet: subnet.index,
                address: destination,
                owner,
            },
        );
        let Some(interface) = owner.and_then(|owner| self.view.interface(owner)) else {
            return self.resolver(frame, packet).unwrap_or(Err(DropReason::NoMapping));
        };
        let decrement_ttl = self.ingress.subnet.profile().router.ttl == Ttl::Decrement;
        if decrement_ttl && hops_left(packet) <= 1 {
            return Err(DropReason::HopLimit);
        }
        let rewrite = Rewrite::Route {
            destination: interface.mac,
            source: subnet.router_mac,
            decrement_ttl,
        };
        self.hand_over(frame, packet, &interface, subnet, rewrite)
    }

    /// The VPC's resolver is reached from every subnet, whether its address lies in one or in none. No interface can have
    /// the address, so only packets that nobody would get are looked at.
    fn resolver(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Option<Decided> {
        let subnet = self.ingress.subnet;
        let resolver = self.view.vpc(subnet.vpc)?.resolver()?;
        let is_it = subnet.profile().router.service_addresses && packet.destination() == IpAddr::V4(resolver);
        is_it.then(|| self.for_router_itself(frame, packet, RouterAddress::Resolver))
    }

    /// Why an address that lies in no subnet is not reached: within the VPC's ranges nobody has it, beyond them no route leads.
    fn beyond(&self, destination: IpAddr) -> DropReason {
        let vpc = self.view.vpc(self.ingress.subnet.vpc);
        let inside = vpc.is_some_and(|vpc| vpc.cidrs.iter().any(|net| net.contains(&destination)));
        if inside {
            DropReason::NoMapping
        } else {
            DropReason::NoRoute
        }
    }
}

fn hops_left(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::V4(packet) => packet.ttl(),
        Packet::V6(packet) => packet.hop_limit,
    }
}
