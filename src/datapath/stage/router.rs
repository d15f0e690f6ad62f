//! Answers for a subnet's router: Router Solicitations, and the other requests that the profile lets it answer.

use std::net::{IpAddr, Ipv6Addr};

use crate::datapath::{
    Allowance, Answered, Context, Decided, DropReason, Fact, Ingress, Observer, Packet, RouterAddress, Service, Stage,
    Verdict,
};
use crate::model::profile::AdvertisementDestination;
use crate::wire::frame::{Frame, Ipv6Packet, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::wire::neighbor::RouterSolicitation;
use crate::wire::reply::{ALL_NODES, RouterAdvertisement};

/// ICMP and ICMPv6 echo request.
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

impl<O: Observer> Context<'_, O> {
    /// Answers a Router Solicitation to the interface's assigned address, whether the host uses it yet or not.
    pub(in crate::datapath) fn router_solicitation(&mut self, frame: &Frame<'_>, packet: &Ipv6Packet<'_>) -> Decided {
        RouterSolicitation::parse(packet, self.meta.checksum_pending)?;
        if let Some(faults) = self.view.faults()
            && faults.services(&self.ingress.interface).router_advertisements_withheld
        {
            return Err(DropReason::FaultRouterAdvertisement);
        }
        let policy = &self.profile().router.advertisement;
        let mut advertisement = advertisement(self.ingress, policy.solicited_destination).ok_or(DropReason::NoIpv6)?;
        if self.ingress.subnet.learns() {
            // Behind a port of a learning switch there may be stations with other MACs.
            advertisement.to_mac = frame.source;
        }
        let address = IpAddr::from(self.ingress.subnet.router_link_local());
        let mac = self.ingress.subnet.router_mac;
        self.observer.saw(
            Stage::Router,
            Fact::Router {
                address,
                kind: RouterAddress::LinkLocal,
                mac,
            },
        );
        if !self.spend(Allowance::Router) {
            return Err(DropReason::RateLimited);
        }
        self.reply.router_advertisement(&advertisement);
        Ok(Verdict::Reply(Answered::Router))
    }

    /// A packet for an address of the router itself: an echo request, a service, or unanswered.
    pub(in crate::datapath) fn for_router_itself(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        kind: RouterAddress,
    ) -> Decided {
        let (address, mac) = (packet.destination(), self.ingress.subnet.router_mac);
        self.observer.saw(Stage::Router, Fact::Router { address, kind, mac });
        if packet.source().is_unspecified() {
            return Err(DropReason::InvalidSource);
        }
        if matches!(kind, RouterAddress::Resolver | RouterAddress::Service) {
            return self.service(packet, kind);
        }
        self.echo(frame, packet, address)
            .unwrap_or(Err(DropReason::RouterSilent))
    }

    /// A packet for the resolver or a link-local service: complete UDP and TCP packets go to the services, within the
    /// interface's allowance.
    fn service(&mut self, packet: &Packet<'_>, kind: RouterAddress) -> Decided {
        let subnet = self.ingress.subnet;
        if !self.spend(Allowance::Services) {
            return Err(DropReason::LinkLocalAllowance);
        }
        // Base + 2 is reserved in every subnet, but DNS answers only at the VPC's (VPC guide, "Subnet sizing").
        let vpc_resolver = || self.view.vpc(subnet.vpc).and_then(|vpc| vpc.resolver()).map(IpAddr::V4);
        if kind == RouterAddress::Resolver && vpc_resolver() != Some(packet.destination()) {
            return Err(DropReason::NoService);
        }
        let (protocol, whole) = match packet {
            Packet::V4(packet) => (packet.protocol, !packet.is_fragment()),
            Packet::V6(packet) => (packet.protocol, !packet.fragmented),
        };
        if whole && matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
            Ok(Verdict::Punt(Service::LinkLocal))
        } else {
            Err(DropReason::NoService)
        }
    }

    /// Answers an echo request from `from`; `None` for another packet, or where the router answers none.
    pub(in crate::datapath) fn echo(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        from: IpAddr,
    ) -> Option<Decided> {
        if !self.profile().router.answers_echo {
            return None;
        }
        let mac = self.ingress.subnet.router_mac;
        let written = match (packet, from) {
            (Packet::V4(packet), IpAddr::V4(from)) => {
                // A single fragment cannot be answered.
                let whole = !packet.is_fragment();
                let echo = packet.protocol == PROTOCOL_ICMP && packet.payload().first() == Some(&ECHO_REQUEST);
                (whole && echo && packet.payload().len() >= 8)
                    .then(|| self.reply.echo_reply_ipv4(frame, packet, mac, from))?
            }
            (Packet::V6(packet), IpAddr::V6(from)) => {
                let echo = packet.protocol == PROTOCOL_ICMPV6 && packet.icmpv6_type() == Some(ECHO_REQUEST_V6);
                (!packet.fragmented && echo && packet.payload().len() >= 8)
                    .then(|| self.reply.echo_reply_ipv6(frame, packet, mac, from))?
            }
            _ => return None,
        };
        Some(match written {
            Ok(()) if self.spend(Allowance::Neighbor) => Ok(Verdict::Reply(Answered::Echo)),
            Ok(()) => Err(DropReason::RateLimited),
            Err(_) => Err(DropReason::TooLong),
        })
    }
}

/// The Router Advertisement for the interface of a port; `None` in a subnet without IPv6.
pub(in crate::datapath) fn advertisement(
    ingress: &Ingress<'_>,
    to: AdvertisementDestination,
) -> Option<RouterAdvertisement> {
    let (subnet, interface) = (ingress.subnet, &ingress.interface);
    let prefix = subnet.ipv6?;
    let policy = Some(&subnet.profile().router.advertisement).filter(|policy| policy.sent)?;
    let assigned: Option<Ipv6Addr> = interface.ipv6_host.and_then(|host| subnet.ipv6_address(host));
    let to = match to {
        AdvertisementDestination::Assigned => assigned.unwrap_or(ALL_NODES),
        AdvertisementDestination::LinkLocal => interface.mac.link_local(),
        AdvertisementDestination::AllNodes => ALL_NODES,
    };
    Some(RouterAdvertisement {
        to_mac: interface.mac,
        to,
        router_mac: subnet.router_mac,
        from: subnet.router_link_local(),
        prefix: prefix.network(),
        hop_limit: policy.hop_limit,
        managed: policy.managed,
        other: policy.other,
        router_lifetime: policy.router_lifetime.to_u16(),
        on_link: policy.on_link,
        autonomous: policy.autonomous,
        prefix_lifetime: policy.prefix_lifetime.get(),
        prefix_information: policy.prefix_information,
        route_length: policy.route_length,
        source_link_layer: policy.source_link_layer,
    })
}
