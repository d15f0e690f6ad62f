//! Resolves neighbors as a router without a mapping table: by what stations advertised, otherwise by a request to the
//! subnet, repeated when the entry is old (RFC 826, RFC 4861 section 7).
//!
//! The packet that causes a request is dropped as `neighbor_resolving`, as many hardware routers do. To keep it, as in
//! RFC 4861 section 7.2.2, it would have to be copied out of its batch and passed from the worker that read it to the
//! one that reads the answer; so each unknown address of a scan would cost a copy.

use std::net::IpAddr;

use crate::datapath::state::{Belief, Told};
use crate::datapath::{
    Context, Decided, Destination, DropReason, Fact, Observer, Packet, Rewrite, Stage, SubnetView, Verdict,
};
use crate::mapping::PortId;
use crate::wire::MacAddr;
use crate::wire::frame::{ETHERTYPE_ARP, Frame};
use crate::wire::neighbor::{Arp, NeighborAdvertisement, NeighborSolicitation, icmpv6};

impl<O: Observer> Context<'_, O> {
    /// Routes a packet to a station of `subnet`, by its neighbor entry.
    pub(in crate::datapath) fn deliver_by_asking(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        subnet: &SubnetView,
    ) -> Decided {
        let destination = packet.destination();
        // A delegated prefix is routed to its interface, as by a route of a provider's router, without a request.
        if let Some(owner) = self.view.prefix_around(subnet, destination) {
            self.observer.saw(
                Stage::Route,
                Fact::Mapping {
                    subnet: subnet.index,
                    address: destination,
                    owner: Some(owner),
                },
            );
            let interface = self.view.interface(owner).ok_or(DropReason::NoMapping)?;
            return self.pass_on(frame, packet, &interface, subnet, Some(owner));
        }
        let decrement_ttl = self.takes_hop(packet, subnet)?;
        let known = self.memory.segments.neighbor(subnet.index, destination, self.now);
        // A station whose port is gone reveals its new one with its next answer.
        let place = known.mac.and_then(|mac| Some((mac, self.station(subnet, mac)?)));
        let fact = Fact::Neighbor {
            subnet: subnet.index,
            address: destination,
            mac: place.map(|(mac, _)| mac),
        };
        self.observer.saw(Stage::Route, fact);
        let Some((mac, port)) = place else {
            return if known.may_ask {
                self.ask(destination, subnet, None)
            } else {
                Err(DropReason::NeighborResolving)
            };
        };
        let rewrite = Rewrite::Route {
            destination: mac,
            source: subnet.router_mac,
            decrement_ttl,
        };
        let owner = self.view.interface_by_mac(subnet.vpc, mac);
        self.observer.saw(Stage::Route, Fact::Mac { mac, owner });
        let interface = owner.and_then(|index| self.view.interface(index));
        let mtu = interface.and_then(|i| i.mtu).unwrap_or(subnet.profile().mtu);
        if self.packet_length(frame, packet) > usize::from(mtu) {
            return self.too_big(frame, packet, mtu);
        }
        if known.may_ask && !known.sure {
            self.ask(destination, subnet, Some((port, rewrite)))
        } else {
            Ok(Verdict::Deliver {
                to: Destination::Port(port),
                rewrite,
            })
        }
    }

    /// Writes a request for `address` and sends it to `subnet`.
    fn ask(&mut self, address: IpAddr, subnet: &SubnetView, deliver: Option<(PortId, Rewrite)>) -> Decided {
        match address {
            IpAddr::V4(address) => {
                let gateway = subnet.gateway_ipv4().ok_or(DropReason::NoMapping)?;
                self.reply.arp_request(subnet.router_mac, gateway, address);
            }
            IpAddr::V6(address) => {
                self.reply
                    .neighbor_solicitation(subnet.router_mac, subnet.router_link_local(), address);
            }
        }
        self.effects().asks = Some((subnet.index, address));
        Ok(Verdict::Ask {
            subnet: subnet.index,
            deliver,
        })
    }

    /// Adds the router's neighbor entry to the effects.
    fn remember(&mut self, address: IpAddr, mac: MacAddr, belief: Belief) {
        self.effects().told = Some(Told { address, mac, belief });
    }

    /// What a frame to the router reveals about its sender; true when it was addressed to the router alone.
    pub(in crate::datapath) fn router_hears(&mut self, frame: &Frame<'_>, packet: Option<&Packet<'_>>) -> bool {
        let subnet = self.ingress.subnet;
        if !subnet.asks() {
            return false;
        }
        let to_router = frame.destination == subnet.router_mac;
        match packet {
            None if frame.ethertype == ETHERTYPE_ARP => {
                let Some(arp) = Arp::parse(frame.payload()) else {
                    return false;
                };
                if subnet.ipv4.is_some_and(|net| net.contains(&arp.sender)) {
                    // RFC 826: a station that asks for the router's address gets an entry; other messages update
                    // existing ones.
                    let belief = Belief {
                        unasked: arp.request && subnet.router_ipv4(arp.target).is_some(),
                        replaces: true,
                        confirms: true,
                    };
                    self.remember(arp.sender.into(), arp.sender_mac, belief);
                }
                to_router && !arp.request
            }
            Some(Packet::V6(ipv6)) => match ipv6.icmpv6_type() {
                Some(icmpv6::NEIGHBOR_SOLICITATION) => {
                    if let Ok(asked) = NeighborSolicitation::parse(ipv6, self.meta.checksum_pending)
                        && subnet.router_ipv6(asked.target).is_some()
                        && subnet.ipv6.is_some_and(|net| net.contains(&asked.source))
                        && let Some(mac) = asked.source_mac
                    {
                        let belief = Belief {
                            unasked: true,
                            replaces: true,
                            confirms: false,
                        };
                        self.remember(asked.source.into(), mac, belief);
                    }
                    false
                }
                Some(icmpv6::NEIGHBOR_ADVERTISEMENT) => {
                    let Ok(told) = NeighborAdvertisement::parse(ipv6, self.meta.checksum_pending) else {
                        return false;
                    };
                    if let Some(mac) = told.target_mac {
                        let belief = Belief {
                            unasked: false,
                            replaces: told.override_cached,
                            confirms: told.solicited,
                        };
                        self.remember(told.target.into(), mac, belief);
                    }
                    to_router
                }
                _ => false,
            },
            _ => false,
        }
    }
}
