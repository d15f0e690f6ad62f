//! Answers ARP and Neighbor Solicitations from the mapping table, and for every link-local from which a MAC can be
//! computed. Requests for the asker's own address and for unknown ones are not answered. Advertisements of hosts are
//! ignored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::datapath::{Allowance, Answered, Context, Decided, DropReason, Fact, Observer, Stage, Verdict};
use crate::model::profile::{Answer, LinkLocals, NeighborScope, ResolvedMac, UnicastRequest};
use crate::wire::MacAddr;
use crate::wire::frame::{Frame, Ipv6Packet};
use crate::wire::neighbor::{Arp, NeighborSolicitation};
use crate::wire::reply::{ALL_NODES, AdvertisementFlags};

impl<O: Observer> Context<'_, O> {
    /// An ARP message of any kind.
    pub(in crate::datapath) fn arp(&mut self, frame: &Frame<'_>) -> Decided {
        let arp = Arp::parse(frame.payload()).ok_or(DropReason::ArpMalformed)?;
        let policy = &self.profile().neighbor;
        let left_to_host = policy.unicast_request == UnicastRequest::Forward && self.is_for_one_host(frame);
        if left_to_host {
            return self.deliver_arp(frame);
        }
        if !arp.request {
            return Err(DropReason::ArpReply);
        }
        if arp.sender_mac != self.ingress.interface.mac {
            return Err(DropReason::ArpSenderMac);
        }
        if arp.sender == arp.target {
            return Err(DropReason::ArpGratuitous);
        }
        self.observer.saw(
            Stage::Neighbor,
            Fact::Asked {
                address: arp.target.into(),
            },
        );
        if policy.foreign_sender == Answer::Silent && !arp.sender.is_unspecified() {
            self.asks_as_itself(arp.sender.into())?;
        }
        let mac = self.resolve_ipv4(arp.target, arp.sender.is_unspecified())?;
        self.allow_neighbor_answer()?;
        self.reply
            .arp_reply(mac, arp.target, self.ingress.interface.mac, arp.sender);
        Ok(Verdict::Reply(Answered::Arp))
    }

    /// The MAC that the fabric answers for an IPv4 address.
    fn resolve_ipv4(&mut self, target: Ipv4Addr, probe: bool) -> Result<MacAddr, DropReason> {
        let subnet = self.ingress.subnet;
        if let Some(kind) = subnet.router_ipv4(target) {
            let (address, mac) = (target.into(), subnet.router_mac);
            self.observer.saw(Stage::Neighbor, Fact::Router { address, kind, mac });
            return Ok(mac);
        }
        if let Some(mac) = self.beyond_assigned(target.into(), DropReason::ArpUnknown)? {
            return Ok(mac);
        }
        if !subnet.ipv4.is_some_and(|net| net.contains(&target)) {
            // A host that resolves an address beyond its subnet gets no answer (keepalived#44).
            let elsewhere = self.view.subnet_of(self.ingress.vpc, target.into()).is_some();
            return Err(if elsewhere {
                DropReason::ArpOtherSubnet
            } else {
                DropReason::ArpUnknown
            });
        }
        if subnet.is_reserved(target.into()) {
            return Err(DropReason::ArpReserved);
        }
        self.owner_mac(
            target.into(),
            probe,
            [DropReason::ArpUnknown, DropReason::ArpOwn, DropReason::ArpProbe],
        )
    }

    /// The answer for an address without an interface: the router's MAC where the profile answers for all addresses,
    /// otherwise the drop reason.
    fn beyond_assigned(&mut self, target: IpAddr, unknown: DropReason) -> Result<Option<MacAddr>, DropReason> {
        let subnet = self.ingress.subnet;
        match subnet.profile().neighbor.scope {
            NeighborScope::Assigned => Ok(None),
            NeighborScope::Router => Err(unknown),
            NeighborScope::Any if self.view.owner(subnet, target).is_some() => Ok(None),
            NeighborScope::Any => {
                let fact = Fact::Mapping {
                    subnet: subnet.index,
                    address: target,
                    owner: None,
                };
                self.observer.saw(Stage::Neighbor, fact);
                Ok(Some(subnet.router_mac))
            }
        }
    }

    /// The MAC of the interface that an address is mapped to; otherwise the reasons for no answer: unknown, own,
    /// another's probed.
    fn owner_mac(&mut self, address: IpAddr, probe: bool, silent: [DropReason; 3]) -> Result<MacAddr, DropReason> {
        let [unknown, own, probed] = silent;
        let subnet = self.ingress.subnet;
        let policy = &subnet.profile().neighbor;
        let owner = self.owner(subnet, address);
        self.observer.saw(
            Stage::Neighbor,
            Fact::Mapping {
                subnet: subnet.index,
                address,
                owner,
            },
        );
        let owner = owner.ok_or(unknown)?;
        if owner == self.ingress.interface.index {
            // An answer for the host's own address would make duplicate address detection fail.
            return if policy.own_address == Answer::Answer {
                Ok(self.ingress.interface.mac)
            } else {
                Err(own)
            };
        }
        if probe && policy.probe_for_another == Answer::Silent {
            return Err(probed);
        }
        match policy.resolved_mac {
            ResolvedMac::Owner => Ok(self.view.interface(owner).ok_or(unknown)?.mac),
            ResolvedMac::Router => Ok(subnet.router_mac),
        }
    }

    /// Answers a Neighbor Solicitation, multicast or unicast; `None` when it is left to the host that it is sent to.
    pub(in crate::datapath) fn neighbor_solicitation(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv6Packet<'_>,
    ) -> Option<Decided> {
        let unicast = self.profile().neighbor.unicast_request;
        if unicast == UnicastRequest::Forward && self.is_for_one_host(frame) {
            return None;
        }
        Some(self.answer_solicitation(packet))
    }

    fn answer_solicitation(&mut self, packet: &Ipv6Packet<'_>) -> Decided {
        let solicitation = NeighborSolicitation::parse(packet, self.meta.checksum_pending)?;
        let NeighborSolicitation { source, target, .. } = solicitation;
        self.observer
            .saw(Stage::Neighbor, Fact::Asked { address: target.into() });
        let (mac, router) = self.resolve_ipv6(target, source.is_unspecified())?;
        self.allow_neighbor_answer()?;
        // RFC 4861 section 7.2.4: the answer to a probe goes to all nodes without the solicited flag.
        let solicited = !source.is_unspecified();
        let to = if solicited { source } else { ALL_NODES };
        let flags = AdvertisementFlags {
            router,
            solicited,
            override_cached: true,
        };
        self.reply
            .neighbor_advertisement(target, mac, target, (self.ingress.interface.mac, to), flags);
        Ok(Verdict::Reply(Answered::Neighbor))
    }

    /// The MAC that the fabric answers for an IPv6 address, and whether it is the router's.
    fn resolve_ipv6(&mut self, target: Ipv6Addr, probe: bool) -> Result<(MacAddr, bool), DropReason> {
        let subnet = self.ingress.subnet;
        if let Some(kind) = subnet.router_ipv6(target) {
            let (address, mac) = (target.into(), subnet.router_mac);
            self.observer.saw(Stage::Neighbor, Fact::Router { address, kind, mac });
            return Ok((mac, true));
        }
        if target.is_unicast_link_local() {
            return Ok((self.compute_link_local(target)?, false));
        }
        if let Some(mac) = self.beyond_assigned(target.into(), DropReason::NeighborUnknown)? {
            return Ok((mac, false));
        }
        let silent = [
            DropReason::NeighborUnknown,
            DropReason::NeighborOwn,
            DropReason::NeighborProbe,
        ];
        Ok((self.owner_mac(target.into(), probe, silent)?, false))
    }

    /// The MAC that a link-local was computed from; no interface needs to have it (seen on EC2 with made-up ones).
    fn compute_link_local(&mut self, target: Ipv6Addr) -> Result<MacAddr, DropReason> {
        let subnet = self.ingress.subnet;
        let policy = &subnet.profile().neighbor;
        // A group address is no interface's MAC, so no link-local was computed from it.
        let mac = MacAddr::from_link_local(target).filter(|mac| !mac.is_multicast());
        let mac = mac.ok_or(DropReason::NeighborHidden)?;
        self.observer.saw(
            Stage::Neighbor,
            Fact::Computed {
                address: target.into(),
                mac,
            },
        );
        if mac == self.ingress.interface.mac && policy.own_address == Answer::Silent {
            return Err(DropReason::NeighborOwn);
        }
        match policy.link_locals {
            LinkLocals::AnyEui64 => Ok(mac),
            LinkLocals::None => Err(DropReason::NeighborUnknown),
            LinkLocals::Assigned => {
                let owner = self.view.interface_by_mac(subnet.vpc, mac);
                self.observer.saw(Stage::Neighbor, Fact::Mac { mac, owner });
                let interface = owner.and_then(|owner| self.view.interface(owner));
                interface
                    .filter(|i| i.subnet == subnet.index.0)
                    .map(|i| i.mac)
                    .ok_or(DropReason::NeighborUnknown)
            }
        }
    }

    /// A Neighbor Advertisement from a host is dropped, unless hosts answer each other's unicast requests.
    pub(in crate::datapath) fn neighbor_advertisement(&mut self, frame: &Frame<'_>) -> Option<Decided> {
        let forward = self.profile().neighbor.unicast_request == UnicastRequest::Forward;
        if forward && self.is_for_one_host(frame) {
            None
        } else {
            Some(Err(DropReason::NeighborAdvertisement))
        }
    }

    /// Whether a frame is addressed to one MAC other than the router's.
    fn is_for_one_host(&self, frame: &Frame<'_>) -> bool {
        !frame.destination.is_multicast() && frame.destination != self.ingress.subnet.router_mac
    }

    /// Checks that the sender address of an ARP request is the asker's own.
    fn asks_as_itself(&mut self, address: IpAddr) -> Result<(), DropReason> {
        let (interface, subnet) = (self.ingress.interface, self.ingress.subnet);
        let owns = self.owns(interface.index, interface.mac, subnet, address);
        let fact = Fact::Check {
            interface: interface.index,
            subnet: subnet.index,
            address,
            enabled: true,
            owns,
        };
        self.observer.saw(Stage::Neighbor, fact);
        if owns {
            Ok(())
        } else {
            Err(DropReason::ArpForeignSender)
        }
    }

    fn allow_neighbor_answer(&mut self) -> Result<(), DropReason> {
        if self.spend(Allowance::Neighbor) {
            Ok(())
        } else {
            Err(DropReason::RateLimited)
        }
    }
}
