//! Forwards as a learning switch: a station is known by the port on which it was last heard, and frames for unknown
//! stations are flooded.

use std::net::Ipv6Addr;

use crate::datapath::{
    Answered, Context, Decided, Destination, DropReason, Fact, Observer, Packet, Rewrite, Stage, SubnetView, Verdict,
};
use crate::mapping::PortId;
use crate::wire::MacAddr;
use crate::wire::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet};
use crate::wire::neighbor::{Arp, NeighborSolicitation, icmpv6};
use crate::wire::reply::{ALL_NODES, AdvertisementFlags};

/// The all-nodes and all-routers groups, to which a conventional router answers pings.
const ECHOED_GROUPS: [Ipv6Addr; 2] = [ALL_NODES, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2)];

impl<O: Observer> Context<'_, O> {
    /// Decides about a frame on a learning switch, with the router as one more station.
    pub(in crate::datapath) fn learning_switch(&mut self, frame: &Frame<'_>) -> Decided {
        self.effects().heard = Some(frame.source);
        let packet = match frame.ethertype {
            ETHERTYPE_IPV4 => Ipv4Packet::parse(frame.payload()).ok().map(Packet::V4),
            ETHERTYPE_IPV6 => Ipv6Packet::parse(frame.payload()).ok().map(Packet::V6),
            _ => None,
        };
        let for_router = frame.destination == self.ingress.subnet.router_mac;
        if for_router || frame.destination.is_multicast() {
            let heard = self.router_hears(frame, packet.as_ref());
            let reply = match self.router_station(frame, packet.as_ref()) {
                Some(Ok(Verdict::Reply(answered))) => Some(answered),
                _ => None,
            };
            let punt = packet.as_ref().and_then(|packet| self.dhcp(frame, packet));
            return match (for_router, reply, packet) {
                (false, reply, _) => {
                    self.observer
                        .saw(Stage::Delivery, Fact::Group { mac: frame.destination });
                    // The request is flooded, and the router's server is one of those that may answer.
                    let punt = match punt {
                        Some(Ok(Verdict::Punt(service))) => Some(service),
                        _ => None,
                    };
                    Ok(Verdict::Flood { reply, punt })
                }
                (true, Some(answered), _) => Ok(Verdict::Reply(answered)),
                (true, None, _) if heard => Ok(Verdict::Consumed),
                (true, None, Some(packet)) => punt.unwrap_or_else(|| self.at_router(frame, &packet)),
                (true, None, None) => Err(DropReason::RouterSilent),
            };
        }
        let port = self.station(self.ingress.subnet, frame.destination);
        self.observer.saw(
            Stage::Delivery,
            Fact::Station {
                mac: frame.destination,
                known: port.is_some(),
            },
        );
        match port {
            Some(port) if port == self.ingress.port => Err(DropReason::ToItself),
            Some(port) => Ok(Verdict::Deliver {
                to: Destination::Port(port),
                rewrite: Rewrite::None,
            }),
            None => Ok(Verdict::Flood {
                reply: None,
                punt: None,
            }),
        }
    }

    /// The port of a station, including what this frame shows about its own sender.
    pub(super) fn station(&self, subnet: &SubnetView, mac: MacAddr) -> Option<PortId> {
        let heard = self.effects.as_ref().and_then(|effects| effects.heard);
        if heard == Some(mac) && !mac.is_multicast() && subnet.index == self.ingress.subnet.index {
            return Some(self.ingress.port);
        }
        self.memory.segments.station(subnet.index, mac, self.now)
    }

    /// The router's answer, as a station among others, to a frame that reaches it.
    fn router_station(&mut self, frame: &Frame<'_>, packet: Option<&Packet<'_>>) -> Option<Decided> {
        let subnet = self.ingress.subnet;
        let (asker, router) = (frame.source, subnet.router_mac);
        match packet {
            None => {
                let arp = Arp::parse(frame.payload()).filter(|_| frame.ethertype == ETHERTYPE_ARP)?;
                (arp.request && subnet.router_ipv4(arp.target).is_some()).then(|| {
                    self.reply.arp_reply(router, arp.target, asker, arp.sender);
                    Ok(Verdict::Reply(Answered::Arp))
                })
            }
            Some(Packet::V6(ipv6)) => match ipv6.icmpv6_type() {
                Some(icmpv6::ROUTER_SOLICITATION) => Some(self.router_solicitation(frame, ipv6)),
                Some(icmpv6::NEIGHBOR_SOLICITATION) => {
                    let asked = NeighborSolicitation::parse(ipv6, self.meta.checksum_pending).ok()?;
                    subnet.router_ipv6(asked.target).map(|_| {
                        let solicited = !asked.source.is_unspecified();
                        let to = if solicited { asked.source } else { ALL_NODES };
                        let flags = AdvertisementFlags {
                            router: true,
                            solicited,
                            override_cached: true,
                        };
                        self.reply
                            .neighbor_advertisement(asked.target, router, asked.target, (asker, to), flags);
                        Ok(Verdict::Reply(Answered::Neighbor))
                    })
                }
                _ if ECHOED_GROUPS.contains(&ipv6.destination) => {
                    self.echo(frame, &Packet::V6(*ipv6), subnet.router_link_local().into())
                }
                _ => None,
            },
            Some(Packet::V4(_)) => None,
        }
    }
}
