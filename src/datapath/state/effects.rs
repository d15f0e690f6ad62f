//! Collects what a decision wants written, and writes it when the verdict is executed.

use std::net::IpAddr;
use std::time::Duration;

use super::bindings::{Opening, Refresh};
use super::connections::{Key, Seen};
use super::neighbors::{Asking, Belief};
use super::{Allowance, Bindings, Connections, NatCounter, PortState, Segments};
use crate::datapath::{Fabric, Ingress, SubnetIndex};
use crate::mapping::InterfaceIndex;
use crate::wire::MacAddr;
use crate::wire::reply::ReplyBuffer;

/// The state of earlier frames that a decision reads.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// State of the sender's port.
    pub port: &'a PortState,
    /// State of subnets on learning switches.
    pub segments: &'a Segments,
    /// Of the connections of interfaces.
    pub connections: &'a Connections,
    /// Of the bindings of NAT gateways.
    pub bindings: &'a Bindings,
}

/// The output of a decision in addition to the verdict.
#[derive(Default)]
pub struct Output {
    /// The answer or request that the verdict refers to.
    pub reply: ReplyBuffer,
    /// The effects to commit; `None` for nearly every frame.
    pub effects: Option<Effects>,
}

/// The effects of a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// A station of the sender's subnet was heard on the sender's port.
    pub(in crate::datapath) heard: Option<MacAddr>,
    /// A neighbor entry for the router of the sender's subnet.
    pub(in crate::datapath) told: Option<Told>,
    /// A router's request for an address in a subnet.
    pub(in crate::datapath) asks: Option<(SubnetIndex, IpAddr)>,
    /// Connections that begin or go on: at the sender and at the receiver, each with a packet's later fragments.
    touches: [Option<Touch>; 4],
    /// The interface whose allowance of connections is used up: it is counted, and connections that have expired are looked for.
    pub(in crate::datapath) exceeded: Option<InterfaceIndex>,
    /// What happens at NAT gateways: of the sender's VPC, and of the one that it sends to.
    nats: [Option<NatEffects>; 2],
    /// Allowances of the port that lose one, as bits.
    charged: u8,
}

/// What a packet changes at a NAT gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct NatEffects {
    /// The gateway's interface.
    gateway: InterfaceIndex,
    /// Bindings that begin: of the connection, and of the later fragments of the packet.
    pub(in crate::datapath) opens: [Option<Opening>; 2],
    /// The binding that goes on.
    pub(in crate::datapath) refresh: Option<Refresh>,
    /// No port was left: what has expired is looked for.
    pub(in crate::datapath) exhausted: bool,
    counts: [Option<(NatCounter, u32)>; 8],
}

impl NatEffects {
    fn new(gateway: InterfaceIndex) -> Self {
        Self {
            gateway,
            opens: [None; 2],
            refresh: None,
            exhausted: false,
            counts: [None; 8],
        }
    }

    /// Counts something. No packet counts for more than eight things.
    pub(in crate::datapath) fn count(&mut self, counter: NatCounter, by: u32) {
        if let Some(free) = self.counts.iter_mut().find(|count| count.is_none()) {
            *free = Some((counter, by));
        }
    }

    /// Writes all of it. Whether a binding could not be made.
    fn write(&self, bindings: &Bindings, now: u32) -> bool {
        if let Some(refresh) = &self.refresh {
            bindings.refresh(refresh);
        }
        let mut refused = false;
        for opening in self.opens.iter().flatten() {
            refused |= bindings.open(opening, now).is_err();
        }
        if self.exhausted {
            bindings.make_room(now);
        }
        bindings.count(self.gateway, &self.counts);
        if refused {
            bindings.count(self.gateway, &[Some((NatCounter::ErrorPortAllocation, 1))]);
        }
        refused
    }
}

/// A connection that is remembered from now on, or goes on being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Touch {
    pub(in crate::datapath) key: Key,
    pub(in crate::datapath) seen: Seen,
    /// The last second of its life.
    pub(in crate::datapath) until: u32,
    /// It begins: the interface whose allowance it counts against, and how large that is.
    pub(in crate::datapath) opens: Option<(InterfaceIndex, u32)>,
}

/// What came of writing effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Committed {
    /// For a [`Verdict::Ask`](crate::datapath::Verdict::Ask): whether the question is sent. Several workers may want to ask for
    /// one address, and the first of them does.
    pub asking: Option<Asking>,
    /// A connection could not be remembered, as another worker took the last place: the packet is dropped as
    /// [`DropReason::ConntrackAllowance`](crate::datapath::DropReason::ConntrackAllowance).
    pub refused: bool,
    /// A port of a NAT gateway could not be taken, as another worker took it: the packet is dropped as
    /// [`DropReason::NatPortsExhausted`](crate::datapath::DropReason::NatPortsExhausted).
    pub unbound: bool,
}

/// A neighbor entry for a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Told {
    pub(in crate::datapath) address: IpAddr,
    pub(in crate::datapath) mac: MacAddr,
    pub(in crate::datapath) belief: Belief,
}

impl Effects {
    /// Uses one of an allowance.
    pub(in crate::datapath) fn charge(&mut self, allowance: Allowance) {
        self.charged |= 1 << allowance as u8;
    }

    /// Whether one of an allowance is used.
    pub fn charges(&self, allowance: Allowance) -> bool {
        self.charged & 1 << allowance as u8 != 0
    }

    /// Remembers a connection, or goes on remembering it. There are four at the most.
    pub(in crate::datapath) fn touch(&mut self, touch: Touch) {
        if let Some(free) = self.touches.iter_mut().find(|touch| touch.is_none()) {
            *free = Some(touch);
        }
    }

    /// Writes all of it.
    #[cold]
    pub fn commit(&self, ingress: &Ingress<'_>, port: &mut PortState, fabric: &Fabric, now: Duration) -> Committed {
        let (subnet, segments) = (ingress.subnet, fabric.segments());
        let seconds = now.as_secs() as u32;
        let refused = self.remember(fabric.connections(), seconds);
        let unbound = self.bind(fabric.bindings(), seconds);
        for allowance in Allowance::ALL {
            if self.charges(allowance) {
                port.charge(allowance, allowance.rate(subnet.profile()), now);
            }
        }
        if let Some(mac) = self.heard {
            segments.hear(subnet.index, mac, ingress.port, now);
        }
        if let Some(Told { address, mac, belief }) = self.told {
            segments.tell(subnet.index, address, mac, belief, now);
        }
        let asking = self.asks.map(|(subnet, address)| segments.ask(subnet, address, now));
        Committed {
            asking,
            refused,
            unbound,
        }
    }

    /// What happens at a NAT gateway. No packet meets more than two.
    pub(in crate::datapath) fn nat(&mut self, gateway: InterfaceIndex) -> &mut NatEffects {
        let own = self.nats[0].as_ref().is_none_or(|nat| nat.gateway == gateway);
        self.nats[usize::from(!own)].get_or_insert_with(|| NatEffects::new(gateway))
    }

    /// Writes the bindings of NAT gateways alone. Whether one that begins could not be made.
    pub fn bind(&self, bindings: &Bindings, now: u32) -> bool {
        let nats = self.nats.iter().flatten();
        nats.fold(false, |refused, nat| nat.write(bindings, now) | refused)
    }

    /// Writes connections alone. Whether one that begins could not be remembered.
    pub fn remember(&self, connections: &Connections, now: u32) -> bool {
        if let Some(allowance) = self.exceeded {
            connections.exceed(allowance);
            connections.reap(now);
        }
        let mut refused = false;
        for touch in self.touches.iter().flatten() {
            match touch.opens {
                Some((allowance, limit)) => {
                    let opened = connections.open(&touch.key, touch.seen, (now, touch.until), allowance, limit);
                    if opened.is_err() {
                        refused = true;
                        connections.exceed(allowance);
                    }
                }
                None => connections.refresh(&touch.key, touch.seen, now, touch.until),
            }
        }
        refused
    }
}
