//! A frame's fate is one pure decision: [`decide`] reads the frame, the network and the time it is given, does no I/O,
//! and says where the frame goes, what answers it, or why it is dropped.
//!
//! The stages are met in this order, a file each: `guard` (whose frame is it), `neighbor` (ARP and Neighbor Discovery),
//! `router` (what the subnet's router answers itself), `responder` (DHCP, which is answered off the hot path), `guard` again (source check), `deliver` (by destination MAC),
//! `route` (for frames to the router's MAC), `guard` (destination check). `learning` takes their place where the profile is a
//! learning switch, and `resolve` asks there for what the router does not know.

mod announce;
mod deliver;
pub mod faults;
mod guard;
mod learning;
mod limit;
mod neighbor;
pub(crate) mod numbered;
mod resolve;
pub mod responder;
mod route;
mod router;
mod routes;
mod trace;
mod verdict;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use announce::{Moved, announcement, unsolicited_advertisement};
pub use faults::FaultView;
pub use limit::PortState;
pub use resolve::Asking;
pub use routes::{RouteTable, RouteTarget};
pub use trace::{DryRun, Fact, Observer, Recorder, Stage, Unobserved};
pub(crate) use verdict::named;
pub use verdict::{Answered, DropReason, Rewrite, Service, Verdict};
pub use view::{
    Fabric, Ingress, RouterAddress, SERVICES_IPV4, SERVICES_IPV6, SubnetIndex, SubnetView, View, VpcIndex, VpcView,
};
pub use writer::{FabricWriter, InterfaceSpec, SubnetSpec, VpcSpec};

use crate::mapping::InterfaceIndex;
use crate::wire::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet};
use crate::wire::neighbor::icmpv6;
use crate::wire::reply::ReplyBuffer;

/// What a port tells of a frame beside its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// The sender left the upper layer's checksum to be filled in, so it cannot be judged.
    pub checksum_pending: bool,
    /// Octets of payload in each packet that the frame will be cut into; 0 where it is one packet.
    pub segment_size: u16,
}

/// A frame as a port hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The frame without offload header and frame check sequence.
    pub bytes: &'a [u8],
    /// What the port tells of it.
    pub meta: FrameMeta,
}

/// What a decision works with.
struct Context<'a, O> {
    view: &'a View,
    ingress: &'a Ingress<'a>,
    meta: FrameMeta,
    state: &'a mut PortState,
    now: Duration,
    reply: &'a mut ReplyBuffer,
    observer: &'a mut O,
}

/// A network-layer packet inside a frame.
#[derive(Clone, Copy)]
enum Packet<'a> {
    V4(Ipv4Packet<'a>),
    V6(Ipv6Packet<'a>),
}

/// Decides about one frame that came in on a port.
///
/// `now` is the time since the switch was started; `state` belongs to the port; an answer is written to `reply`.
#[inline]
pub fn decide<O: Observer>(
    frame: Received<'_>,
    ingress: &Ingress<'_>,
    view: &View,
    state: &mut PortState,
    now: Duration,
    reply: &mut ReplyBuffer,
    observer: &mut O,
) -> Verdict {
    let context = &mut Context {
        view,
        ingress,
        meta: frame.meta,
        state,
        now,
        reply,
        observer,
    };
    match context.decide(frame.bytes) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// A stage's outcome: a verdict, or the reason to drop the frame.
type Decided = Result<Verdict, DropReason>;

impl<O: Observer> Context<'_, O> {
    /// Whether the sender's card has not heard of some moves yet.
    #[inline]
    fn sees_former_owners(&self) -> bool {
        self.view.faults().is_some_and(|faults| {
            faults.effects.iter().any(
                |(_, effect)| matches!(effect, faults::Effect::StaleMapping { seen_by, .. } if seen_by.selects(&self.ingress.interface)),
            )
        })
    }

    /// The interface that an address is mapped to, as far as the sender's card has heard.
    #[inline]
    fn owner(&self, subnet: &SubnetView, address: IpAddr) -> Option<InterfaceIndex> {
        if let Some(faults) = self.view.faults()
            && let Some(former) = faults.former_owner(&self.ingress.interface, subnet.index, address)
        {
            return former;
        }
        self.view.owner(subnet, address)
    }

    fn decide(&mut self, bytes: &[u8]) -> Decided {
        let frame = Frame::parse(bytes)?;
        self.guard_source_mac(&frame)?;
        if self.ingress.subnet.learns() {
            return self.learning_switch(&frame);
        }
        let packet = match frame.ethertype {
            ETHERTYPE_IPV4 => Packet::V4(Ipv4Packet::parse(frame.payload())?),
            ETHERTYPE_IPV6 => {
                let packet = Ipv6Packet::parse(frame.payload())?;
                if let Some(verdict) = self.neighbor_discovery(&frame, &packet) {
                    return verdict;
                }
                Packet::V6(packet)
            }
            ETHERTYPE_ARP => return self.arp(&frame),
            _ => return Err(DropReason::EtherType),
        };
        if let Some(decided) = self.dhcp(&frame, &packet) {
            return decided;
        }
        self.guard_group(&frame, &packet)?;
        self.source_check(&packet)?;
        if frame.destination == self.ingress.subnet.router_mac {
            self.at_router(&frame, &packet)
        } else {
            self.deliver_by_mac(&frame, &packet)
        }
    }

    /// What the VPC itself consumes of ICMPv6, whatever it is addressed to and behind whatever extension headers.
    fn neighbor_discovery(&mut self, frame: &Frame<'_>, packet: &Ipv6Packet<'_>) -> Option<Decided> {
        match packet.icmpv6_type()? {
            icmpv6::NEIGHBOR_SOLICITATION => self.neighbor_solicitation(frame, packet),
            icmpv6::ROUTER_SOLICITATION => Some(self.router_solicitation(frame, packet)),
            icmpv6::NEIGHBOR_ADVERTISEMENT => self.neighbor_advertisement(frame),
            icmpv6::ROUTER_ADVERTISEMENT => Some(Err(DropReason::RouterAdvertisement)),
            icmpv6::REDIRECT => Some(Err(DropReason::Redirect)),
            kind if icmpv6::MULTICAST_LISTENER.contains(&kind) => Some(Err(DropReason::MulticastListener)),
            _ => None,
        }
    }
}
