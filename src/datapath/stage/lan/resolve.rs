//! A router that has no mapping table knows a neighbor by what it was told, asks the subnet when it was told nothing, and
//! asks again what it was told long ago (RFC 826, RFC 4861 section 7).
//!
//! The packet that raises a question is dropped as `neighbor_resolving`, as many hardware routers do. To keep it, as RFC
//! 4861 section 7.2.2 would have it, it would have to be copied out of its batch and be handed from the worker that read it
//! to the one that reads the answer; so each unknown address of a scan would cost a copy.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::datapath::{Context, Decided, DropReason, Fact, Observer, Packet, Rewrite, Stage, SubnetView, Verdict};
use crate::mapping::PortId;
use crate::wire::MacAddr;
use crate::wire::frame::{ETHERTYPE_ARP, Frame, Ipv6Packet};
use crate::wire::neighbor::{Arp, NeighborAdvertisement, NeighborSolicitation, icmpv6};

/// How long a confirmed neighbor is believed without a question (RFC 4861 section 10, REACHABLE_TIME).
const REACHABLE: Duration = Duration::from_secs(30);
/// Time between two questions about one address (RETRANS_TIMER).
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Questions without answer after which a neighbor is no longer believed to be there (MAX_UNICAST_SOLICIT).
const QUESTIONS: u8 = 3;
/// How long a neighbor that nobody asks for is remembered; no longer than a silent station's port is.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// Neighbors remembered per subnet, those asked for in vain included: a scan of a /64 must not eat the memory.
const CAPACITY: usize = 8192;

/// What the router of one subnet was told. Several workers hear it, so each may add entries.
#[derive(Default)]
pub(crate) struct Neighbors {
    known: DashMap<IpAddr, Neighbor, RandomState>,
    /// When a full table was last searched for what can go, in milliseconds.
    swept: AtomicU64,
}

#[derive(Clone, Copy)]
struct Neighbor {
    mac: Option<MacAddr>,
    /// When the MAC was last known to be right; `None` for one that was told in passing.
    confirmed: Option<Duration>,
    /// When the last question was asked, or the MAC told.
    touched: Duration,
    /// Questions since the neighbor was last heard.
    questions: u8,
}

/// What the router knows of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// Where it is.
    mac: Option<MacAddr>,
    /// Whether that was confirmed lately.
    sure: bool,
    /// Whether it may be asked for now, if need be.
    may_ask: bool,
}

/// Whether a question of a router is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It is: remembered as asked.
    Now,
    /// It was sent a moment ago, by another worker.
    Lately,
    /// There is no room to remember it, so it must not be sent.
    Full,
}

/// How far to believe what was told (RFC 4861 section 7.2.5; RFC 826 where it is ARP).
#[derive(Debug, Clone, Copy)]
struct Belief {
    /// It is remembered even if nobody asked.
    unasked: bool,
    /// It replaces another MAC.
    replaces: bool,
    /// It proves that the neighbor hears the router.
    confirms: bool,
}

impl Neighbors {
    /// What is known of `address` for a packet that goes there now.
    fn look(&self, address: IpAddr, now: Duration) -> Known {
        let unknown = Known {
            mac: None,
            sure: false,
            may_ask: true,
        };
        self.known.get(&address).map_or(unknown, |neighbor| neighbor.look(now))
    }

    /// Remembers that `address` is asked for now, if it is time to.
    fn ask(&self, address: IpAddr, now: Duration) -> Asking {
        if let Some(mut neighbor) = self.known.get_mut(&address) {
            if !neighbor.may_be_asked(now) {
                return Asking::Lately;
            }
            if neighbor.questions >= QUESTIONS {
                neighbor.mac = None;
            }
            (neighbor.questions, neighbor.touched) = (neighbor.questions.saturating_add(1), now);
            return Asking::Now;
        }
        if self.known.len() >= CAPACITY && !self.sweep(now) {
            return Asking::Full;
        }
        let asked = Neighbor {
            mac: None,
            confirmed: None,
            touched: now,
            questions: 1,
        };
        self.known.insert(address, asked);
        Asking::Now
    }

    /// A station told that `address` is at `mac`.
    fn tell(&self, address: IpAddr, mac: MacAddr, belief: Belief, now: Duration) {
        if mac.is_multicast() {
            return;
        }
        let confirmed = belief.confirms.then_some(now);
        let told = Neighbor {
            mac: Some(mac),
            confirmed,
            touched: now,
            questions: 0,
        };
        if let Some(mut known) = self.known.get_mut(&address) {
            match known.mac {
                None => *known = told,
                Some(same) if same == mac => {
                    *known = Neighbor {
                        confirmed: confirmed.or(known.confirmed),
                        ..told
                    }
                }
                Some(_) if belief.replaces => *known = told,
                // Somebody else claims the address, and may not take it: time to ask.
                Some(_) => known.confirmed = None,
            }
        } else if belief.unasked && (self.known.len() < CAPACITY || self.sweep(now)) {
            self.known.insert(address, told);
        }
    }

    /// Forgets what nobody needs any more; true when there is room then. At most once a second: a scan is no reason to walk
    /// the table for each packet.
    fn sweep(&self, now: Duration) -> bool {
        // A time since the start of the switch fits for half a billion years.
        let millis = now.as_millis() as u64;
        let before = self.swept.load(Ordering::Relaxed);
        let due = before == 0 || millis.saturating_sub(before) >= 1000;
        if !due
            || self
                .swept
                .compare_exchange(before, millis.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        self.known.retain(|_, neighbor| {
            let limit = if neighbor.mac.is_some() { FORGOTTEN } else { RETRANSMIT };
            now.saturating_sub(neighbor.touched) < limit
        });
        self.known.len() < CAPACITY
    }
}

impl Neighbor {
    fn may_be_asked(&self, now: Duration) -> bool {
        self.questions == 0 || now.saturating_sub(self.touched) >= RETRANSMIT
    }

    fn look(&self, now: Duration) -> Known {
        let sure = self.confirmed.is_some_and(|at| now.saturating_sub(at) < REACHABLE);
        let may_ask = self.may_be_asked(now);
        Known {
            mac: self.mac.filter(|_| sure || self.questions < QUESTIONS || !may_ask),
            sure,
            may_ask,
        }
    }
}

impl SubnetView {
    /// Whether the question that a decision wrote ([`Verdict::Ask`]) is to be sent now; it is then remembered as asked. The
    /// decision itself remembers nothing, so that whoever only wants to know changes nothing.
    #[cold]
    pub fn asking(&self, question: &[u8], now: Duration) -> Asking {
        let Ok(frame) = Frame::parse(question) else {
            return Asking::Lately;
        };
        let target = if frame.ethertype == ETHERTYPE_ARP {
            Arp::parse(frame.payload()).map(|arp| IpAddr::V4(arp.target))
        } else {
            let packet = Ipv6Packet::parse(frame.payload()).ok();
            let asked = packet.and_then(|packet| NeighborSolicitation::parse(&packet, false).ok());
            asked.map(|asked| IpAddr::V6(asked.target))
        };
        target.map_or(Asking::Lately, |target| self.state.neighbors.ask(target, now))
    }
}

impl<O: Observer> Context<'_, O> {
    /// A packet that the router passes on to a station of `subnet`, wherever that one said that it is.
    pub(in crate::datapath) fn deliver_by_asking(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        subnet: &SubnetView,
    ) -> Decided {
        let destination = packet.destination();
        // A delegated prefix is routed to its interface, as a provider's router has it in its table: nobody is asked.
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
        let known = subnet.state.neighbors.look(destination, self.now);
        // A station whose port went away says with its next answer where it is now.
        let place = known
            .mac
            .and_then(|mac| Some((mac, subnet.state.stations.port(mac, self.now)?)));
        let (address, mac) = (destination, place.map(|(mac, _)| mac));
        self.observer.saw(Stage::Route, Fact::Neighbor { address, mac });
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
        let interface = self
            .view
            .interface_by_mac(subnet.vpc, mac)
            .and_then(|index| self.view.interface(index));
        let mtu = interface.and_then(|i| i.mtu).unwrap_or(subnet.profile().mtu);
        if self.packet_length(frame, packet) > usize::from(mtu) {
            return self.too_big(frame, packet, mtu);
        }
        if known.may_ask && !known.sure {
            self.ask(destination, subnet, Some((port, rewrite)))
        } else {
            Ok(Verdict::Deliver { port, rewrite })
        }
    }

    /// Writes the question who has `address` and asks it in `subnet`.
    fn ask(&mut self, address: IpAddr, subnet: &SubnetView, deliver: Option<(PortId, Rewrite)>) -> Decided {
        match address {
            IpAddr::V4(address) => {
                let net = subnet.ipv4.ok_or(DropReason::NoMapping)?;
                let gateway = Ipv4Addr::from_bits(net.network().to_bits() + 1);
                self.reply.arp_request(subnet.router_mac, gateway, address);
            }
            IpAddr::V6(address) => {
                self.reply
                    .neighbor_solicitation(subnet.router_mac, subnet.router_link_local(), address);
            }
        }
        Ok(Verdict::Ask {
            subnet: subnet.index,
            deliver,
        })
    }

    /// The router takes in what it was told, unless the frame is only asked about.
    fn remember(&self, address: IpAddr, mac: MacAddr, belief: Belief) {
        if !O::DRY_RUN {
            self.ingress.subnet.state.neighbors.tell(address, mac, belief, self.now);
        }
    }

    /// What a frame that reaches the router tells it of its sender; true when it was said to the router and to nobody else.
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
                    // RFC 826: who asks for the router's address is remembered; what others say is believed of those known.
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
