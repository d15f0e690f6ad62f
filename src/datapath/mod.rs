//! A frame's fate is one pure decision: [`decide`] reads the frame, the network and the time it is given, does no I/O,
//! and says where the frame goes, what answers it, or why it is dropped.
//!
//! The stages are met in this order, a file each: `guard` (whose frame is it), `neighbor` (ARP and Neighbor Discovery),
//! `router` (what the subnet's router answers itself), `responder` (DHCP, which is answered off the hot path), `guard` again
//! (source check), `security_group` (outbound rules), `deliver` (by destination MAC), `route` (for frames to the router's MAC),
//! `internet` (for packets to and from the outside), `nat_gateway`, `network_acl` (between subnets), `guard` (destination check),
//! `security_group` (inbound rules). `learning` takes their place where the profile is a learning switch, and `resolve` asks
//! there for what the router does not know.

mod decision;
pub mod faults;
pub mod policy;
pub mod rewrite;
mod stage;
mod state;
mod trace;
mod translate;
mod verdict;
pub(crate) mod view;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use decision::{Decision, Entry};
pub use faults::{FaultView, ServiceFaults};
pub use stage::announce::{Moved, announcement, unsolicited_advertisement};
pub use stage::responder;
pub use state::{
    Allowance, Asking, Bindings, Committed, Connections, Effects, Life, Memory, NatCounter, NatCounters, Output,
    PortState, SAVED, SAVED_BINDING, SavedBinding, SavedConnection, SavedGateway, Segments, TrackedConnection,
};
pub use trace::{Bound, Fact, Filtered, FilteredBy, Observer, Passage, Recorder, Stage, Unobserved};
pub use translate::Translation;
pub(crate) use verdict::named;
pub use verdict::{Answered, Destination, DropReason, Rewrite, Service, Verdict};
pub use view::{
    Blocked, Edge, Fabric, FabricWriter, Ingress, InterfaceSpec, NatGateway, Origin, PolicyIndex, RouteTable,
    RouteTarget, RouterAddress, SERVICES_IPV4, SERVICES_IPV6, SubnetIndex, SubnetSpec, SubnetView, View, VpcIndex,
    VpcSpec, VpcView, warm,
};

use crate::mapping::InterfaceIndex;
use crate::model::profile::Profile;
use crate::wire::frame::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet, PROTOCOL_ICMPV6,
};
use crate::wire::neighbor::icmpv6;
use crate::wire::reply::ReplyBuffer;

/// What a port reports about a frame in addition to its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// The sender left the upper layer's checksum to be computed, so it cannot be verified.
    pub checksum_pending: bool,
    /// Octets of payload in each segment of the frame; 0 where it is one packet.
    pub segment_size: u16,
}

/// A frame as a port delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The frame without offload header and frame check sequence.
    pub bytes: &'a [u8],
    /// The port's report about it.
    pub meta: FrameMeta,
}

/// The state of a running decision.
struct Context<'a, O> {
    view: &'a View,
    ingress: &'a Ingress<'a>,
    meta: FrameMeta,
    memory: Memory<'a>,
    now: Duration,
    reply: &'a mut ReplyBuffer,
    effects: &'a mut Option<Effects>,
    observer: &'a mut O,
    /// What a gateway translates the packet to, where it goes on from there.
    translation: Option<Translation>,
    /// Octets of the packet behind the frame that is decided about, where that is its beginning in the other family.
    behind_head: usize,
    /// Whether it is in another family than the frame that came.
    from_other_family: bool,
    /// Whether the gateway that it passes splits it.
    in_fragments: bool,
    /// The result of the slow path.
    aside: Decided,
}

/// A network-layer packet inside a frame.
#[derive(Clone, Copy)]
enum Packet<'a> {
    V4(Ipv4Packet<'a>),
    V6(Ipv6Packet<'a>),
}

impl<'a> Packet<'a> {
    fn parse(frame: &Frame<'a>) -> Result<Self, DropReason> {
        match frame.ethertype {
            ETHERTYPE_IPV4 => Ok(Self::V4(Ipv4Packet::parse(frame.payload())?)),
            ETHERTYPE_IPV6 => Ok(Self::V6(Ipv6Packet::parse(frame.payload())?)),
            _ => Err(DropReason::EtherType),
        }
    }
}

/// Decides about one frame from a port.
///
/// `now` is the time since the switch was started. Only `output` is written: an answer, and the effects, which are
/// [committed](Effects::commit) when the verdict is executed. Called again before that, it returns the same.
#[inline(always)]
pub fn decide<'a, O: Observer>(
    frame: Received<'_>,
    origin: impl Into<Origin<'a>>,
    view: &'a View,
    memory: Memory<'a>,
    now: Duration,
    output: &mut Output,
    observer: &mut O,
) -> Verdict {
    let Origin::Interface(ingress) = origin.into();
    output.effects = None;
    let context = &mut Context {
        view,
        ingress,
        meta: frame.meta,
        memory,
        now,
        reply: &mut output.reply,
        effects: &mut output.effects,
        observer,
        translation: None,
        behind_head: 0,
        from_other_family: false,
        in_fragments: false,
        aside: Ok(Verdict::Consumed),
    };
    match context.decide(frame.bytes) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// A stage's outcome: a verdict, or the reason to drop the frame.
type Decided = Result<Verdict, DropReason>;

impl<'a, O: Observer> Context<'a, O> {
    /// The VPC's profile, which all of its subnets share.
    #[inline(always)]
    fn profile(&self) -> &'a Profile {
        self.ingress.subnet.profile()
    }

    /// The effects to commit when the verdict is executed.
    fn effects(&mut self) -> &mut Effects {
        self.effects.get_or_insert_default()
    }

    /// Whether the port has some of an allowance left; one is used then.
    fn spend(&mut self, allowance: Allowance) -> bool {
        let rate = allowance.rate(self.profile());
        let allowed = self.memory.port.allows(allowance, rate, self.now);
        if allowed {
            self.effects().charge(allowance);
        } else {
            self.observer.saw(Stage::Limit, Fact::Spent { allowance, rate });
        }
        allowed
    }

    /// The interface that an address is mapped to, in the sender's view.
    #[inline(always)]
    fn owner(&self, subnet: &SubnetView, address: IpAddr) -> Option<InterfaceIndex> {
        if self.view.faults().is_some() {
            return self.owner_as_seen(subnet, address);
        }
        self.view.owner(subnet, address)
    }

    #[inline(never)]
    fn owner_as_seen(&self, subnet: &SubnetView, address: IpAddr) -> Option<InterfaceIndex> {
        let faults = self.view.faults();
        let former = faults.and_then(|faults| faults.former_owner(&self.ingress.interface, subnet.index, address));
        former.unwrap_or_else(|| self.view.owner(subnet, address))
    }

    // The path of a delivered packet, from here to `hand_over`, is inlined, so that what was read of the frame stays in
    // registers, and so does the verdict. A reference to either would force all of it into memory, and copying it from
    // there in other pieces than it was written in stalls the CPU. Therefore the slow path gets the frame's bytes,
    // parses them again, and leaves its verdict in the context (`aside`).
    #[inline(always)]
    fn decide(&mut self, bytes: &[u8]) -> Decided {
        let frame = Frame::parse(bytes)?;
        self.guard_source_mac(&frame)?;
        if self.ingress.subnet.learns() {
            return self.aside(bytes, |this, frame| this.learning_switch(frame));
        }
        match frame.ethertype {
            ETHERTYPE_IPV4 => {
                let packet = Ipv4Packet::parse(frame.payload())?;
                self.forward(&frame, Packet::V4(packet))
            }
            ETHERTYPE_IPV6 => {
                let packet = Ipv6Packet::parse_fixed_header(frame.payload())?;
                if packet.is_extended() {
                    return self.aside(bytes, |this, frame| {
                        let packet = Ipv6Packet::parse(frame.payload())?;
                        this.ipv6(frame, packet)
                    });
                }
                self.ipv6(&frame, packet)
            }
            ETHERTYPE_ARP => self.aside(bytes, |this, frame| this.arp(frame)),
            _ => Err(DropReason::EtherType),
        }
    }

    #[inline(always)]
    fn ipv6(&mut self, frame: &Frame<'_>, packet: Ipv6Packet<'_>) -> Decided {
        if packet.protocol == PROTOCOL_ICMPV6
            && let Some(decided) = self.icmpv6(frame.bytes())
        {
            return decided;
        }
        self.forward(frame, Packet::V6(packet))
    }

    /// Decides about a packet that is not neighbor discovery. There is one copy for each family, so that neither tests
    /// the family of each address.
    #[inline(always)]
    fn forward(&mut self, frame: &Frame<'_>, packet: Packet<'_>) -> Decided {
        if let Some(decided) = self.dhcp(frame, &packet) {
            return decided;
        }
        self.guard_group(frame, &packet)?;
        self.source_check(&packet)?;
        self.security_group_egress(frame, &packet)?;
        if frame.destination == self.ingress.subnet.router_mac {
            self.at_router(frame, &packet)
        } else {
            self.deliver_by_mac(frame, &packet)
        }
    }

    /// Runs a function on a frame off the path of delivered frames.
    #[inline(always)]
    fn aside(&mut self, bytes: &[u8], then: impl FnOnce(&mut Self, &Frame<'_>) -> Decided) -> Decided {
        self.decide_aside(bytes, then);
        self.aside
    }

    #[inline(never)]
    fn decide_aside(&mut self, bytes: &[u8], then: impl FnOnce(&mut Self, &Frame<'_>) -> Decided) {
        self.aside = Frame::parse(bytes)
            .map_err(DropReason::from)
            .and_then(|frame| then(self, &frame));
    }

    /// The same with the frame's packet.
    #[inline(always)]
    fn aside_with_packet(
        &mut self,
        bytes: &[u8],
        then: impl FnOnce(&mut Self, &Frame<'_>, &Packet<'_>) -> Decided,
    ) -> Decided {
        self.aside(bytes, |this, frame| then(this, frame, &Packet::parse(frame)?))
    }

    #[inline(always)]
    fn icmpv6(&mut self, bytes: &[u8]) -> Option<Decided> {
        self.consumes_icmpv6(bytes).then_some(self.aside)
    }

    #[inline(never)]
    fn consumes_icmpv6(&mut self, bytes: &[u8]) -> bool {
        let Ok(frame) = Frame::parse(bytes) else { return false };
        let packet = Ipv6Packet::parse(frame.payload());
        let decided = packet.ok().and_then(|packet| self.neighbor_discovery(&frame, &packet));
        if let Some(decided) = decided {
            self.aside = decided;
        }
        decided.is_some()
    }

    /// ICMPv6 messages that the VPC consumes, whatever their destination and behind whatever extension headers.
    fn neighbor_discovery(&mut self, frame: &Frame<'_>, packet: &Ipv6Packet<'_>) -> Option<Decided> {
        if packet.hides_icmpv6_type() {
            return Some(Err(DropReason::Icmpv6Truncated));
        }
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
