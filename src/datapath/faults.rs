//! Applies injected faults in the data path. A fault acts on frames that cross the VPC from one interface to another;
//! answers of the fabric (ARP, neighbor discovery, metadata) never cross it, so only faults of those services affect
//! them.
//!
//! Chance has no memory: the outcome for a frame is a function of the seed, the fault's number, the interface and
//! direction, and the number of frames that passed there before. The same seed and frames give the same outcomes.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;

pub use allowances::{Exceeded, Meter};
pub use lanes::Lanes;

use super::DropReason;
use super::view::SubnetIndex;
use crate::mapping::{Interface, InterfaceIndex};

mod allowances;
mod lanes;

/// The interfaces that a fault affects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// All of them.
    pub everything: bool,
    /// These.
    pub interfaces: Vec<InterfaceIndex>,
    /// Those in these subnets.
    pub subnets: Vec<SubnetIndex>,
}

impl Selector {
    /// Whether the interface is selected.
    pub fn selects(&self, interface: &Interface) -> bool {
        self.everything
            || self.interfaces.contains(&interface.index)
            || self.subnets.contains(&SubnetIndex(interface.subnet))
    }
}

/// A probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// The unit is 1 of 2⁵³ cases.
    const BITS: u32 = 53;

    /// From 0, never, to 1, always. Other values are clamped.
    pub fn new(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * (1_u64 << Self::BITS) as f64) as u64)
    }

    /// From 0, never, to 1, always.
    pub fn fraction(self) -> f64 {
        self.0 as f64 / (1_u64 << Self::BITS) as f64
    }

    fn happens(self, random: u64) -> bool {
        random >> (u64::BITS - Self::BITS) < self.0
    }
}

/// Impairments of frames at an interface in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impairment {
    /// How often a frame is lost.
    pub loss: Chance,
    /// How often a frame arrives twice.
    pub duplicate: Chance,
    /// How often a frame overtakes delayed ones: it is not delayed itself.
    pub reorder: Chance,
    /// Delay of a frame.
    pub delay: Duration,
    /// Variation of the delay: uniform between `delay - jitter` and `delay + jitter`. It changes no order.
    pub jitter: Duration,
    /// Bits a second, Ethernet headers included.
    pub rate: Option<NonZeroU64>,
    /// How long a frame may wait in the queue of the rate limit; one that would wait longer is dropped.
    pub queue: Duration,
}

/// The random outcome for one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// It is lost.
    pub lost: bool,
    /// It arrives twice.
    pub duplicated: bool,
    /// It overtakes others.
    pub overtakes: bool,
    /// Its delay.
    pub delay: Duration,
}

/// A direction at an interface, seen from its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the host.
    Egress,
    /// To the host.
    Ingress,
}

/// A well-mixed 64-bit number for each number: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |chance: Chance| (chance.fraction() * 10_000.0).round() / 100.0;
        let mut said = Vec::new();
        for (chance, what) in [
            (self.loss, "lost"),
            (self.duplicate, "doubled"),
            (self.reorder, "reordered"),
        ] {
            if chance != Chance::NEVER {
                said.push(format!("{what} in {} % of cases", percent(chance)));
            }
        }
        if !self.delay.saturating_add(self.jitter).is_zero() {
            let jitter = if self.jitter.is_zero() {
                String::new()
            } else {
                format!(" ± {:?}", self.jitter)
            };
            said.push(format!("delayed by {:?}{jitter}", self.delay));
        }
        if let Some(rate) = self.rate {
            said.push(format!(
                "limited to {rate} bit/s, dropped after a wait of {:?}",
                self.queue
            ));
        }
        f.write_str(&said.join(", "))
    }
}

impl Impairment {
    /// The random outcome for frame number `sequence`, counted from 0, at an interface in one direction.
    pub fn lot(&self, seed: u64, fault: u64, interface: InterfaceIndex, way: Way, sequence: u64) -> Lot {
        let place = u64::from(interface.get()) << 1 | u64::from(way == Way::Ingress);
        let base = mix(mix(mix(seed) ^ fault) ^ place) ^ sequence;
        // One draw for each question, so that the answers are independent.
        let draw = |question: u64| mix(mix(base).wrapping_add(question.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let jitter = self.jitter.as_nanos() as u64;
        // The upper half of the product is uniform over 0..=2 jitter.
        let spread = (u128::from(draw(4)) * (u128::from(jitter) * 2 + 1)) >> 64;
        let delay = self
            .delay
            .saturating_add(Duration::from_nanos(spread as u64))
            .saturating_sub(self.jitter);
        Lot {
            lost: self.loss.happens(draw(1)),
            duplicated: self.duplicate.happens(draw(2)),
            overtakes: self.reorder.happens(draw(3)),
            delay,
        }
    }
}

/// A fault of the metadata service for the hosts that it selects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetadataFault {
    /// Answers every request with this HTTP status.
    pub status: Option<u16>,
    /// The longest lifetime of session tokens, whatever was requested.
    pub token_lifetime: Option<Duration>,
    /// Does not answer at all.
    pub silent: bool,
    /// Delays every request.
    pub delay: Duration,
}

/// A [`MetadataFault`] of some requests only.
#[derive(Debug, Default)]
pub struct PartialMetadataFault {
    /// The fault.
    pub fault: MetadataFault,
    /// The affected keys, all if empty: the path below the version, with `*` for any one segment and `**` at the end
    /// for any that follow.
    pub paths: Vec<String>,
    /// The share of affected requests.
    pub chance: Chance,
    /// Requests that matched so far.
    pub asked: Arc<AtomicU64>,
}

impl PartialMetadataFault {
    fn befalls(&self, path: &[&str], seed: u64, fault: u64, interface: InterfaceIndex) -> bool {
        if !self.paths.is_empty() && !self.paths.iter().any(|pattern| matches_path(pattern, path)) {
            return false;
        }
        let sequence = self.asked.fetch_add(1, Ordering::Relaxed);
        self.chance
            .happens(mix(mix(mix(mix(seed) ^ fault) ^ u64::from(interface.get())) ^ sequence))
    }
}

/// Whether a pattern matches a path; empty segments are ignored, as in requests.
fn matches_path(pattern: &str, path: &[&str]) -> bool {
    let mut wanted = pattern.split('/').filter(|segment| !segment.is_empty());
    let mut given = path.iter();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) | (Some("**"), _) => return true,
            (Some(wanted), Some(given)) if wanted == "*" || wanted == *given => {}
            _ => return false,
        }
    }
}

/// Faults of the services that one host uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceFaults {
    /// The router sends no advertisement, solicited or not.
    pub router_advertisements_withheld: bool,
    /// DHCP for IPv4 and IPv6 does not answer.
    pub dhcp_silent: bool,
    /// The metadata service misbehaves.
    pub metadata: Option<MetadataFault>,
    /// Skew of the time service in nanoseconds; positive is ahead.
    pub clock_skew: i64,
}

/// Former owners of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormerOwners {
    hosts: HashMap<(SubnetIndex, IpAddr), Option<InterfaceIndex>, foldhash::fast::FixedState>,
    prefixes: Vec<(SubnetIndex, IpNet, Option<InterfaceIndex>)>,
}

impl FormerOwners {
    /// Records the owner of an address or prefix before its first change; later changes have no effect.
    pub fn note(&mut self, subnet: SubnetIndex, net: IpNet, owner: Option<InterfaceIndex>) {
        if net.prefix_len() == net.max_prefix_len() {
            self.hosts.entry((subnet, net.addr())).or_insert(owner);
        } else if !self.prefixes.iter().any(|(s, n, _)| (*s, *n) == (subnet, net)) {
            self.prefixes.push((subnet, net, owner));
        }
    }

    fn get(&self, subnet: SubnetIndex, address: IpAddr) -> Option<Option<InterfaceIndex>> {
        self.hosts.get(&(subnet, address)).copied().or_else(|| {
            let holds = |(s, net, _): &&(SubnetIndex, IpNet, _)| *s == subnet && net.contains(&address);
            self.prefixes.iter().find(holds).map(|(_, _, owner)| *owner)
        })
    }
}

/// The effect of a fault.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The interfaces have no link.
    LinkDown(Selector),
    /// No frame passes from one set to the other.
    Partition {
        /// One set.
        one: Selector,
        /// The other.
        other: Selector,
        /// Frames still pass from the other set to the first.
        one_way: bool,
    },
    /// No frame passes into the zone or out of it.
    ZoneCut(Selector),
    /// Frames at the interfaces are impaired.
    Impairment {
        /// Which interfaces.
        on: Selector,
        /// Frames from their hosts.
        egress: bool,
        /// Frames to their hosts.
        ingress: bool,
        /// The impairment.
        impairment: Impairment,
        /// The frames passed so far, by interface and direction.
        lanes: Arc<Lanes>,
    },
    /// The interfaces still see former owners of addresses.
    StaleMapping {
        /// The interfaces with the stale view.
        seen_by: Selector,
        /// What they see.
        former: Arc<FormerOwners>,
    },
    /// The interfaces' hosts have services that misbehave.
    Services(Selector, ServiceFaults),
    /// The metadata service misbehaves towards some requests.
    PartialMetadata(Selector, Arc<PartialMetadataFault>),
    /// No fault: interfaces have allowances. They meet frames where impairments do.
    Allowances(HashMap<InterfaceIndex, Arc<Meter>, foldhash::fast::FixedState>),
}

/// All present faults.
#[derive(Debug, Clone, Default)]
pub struct FaultView {
    /// The seed of chance.
    pub seed: u64,
    /// The effects with their numbers, in the order in which they began.
    pub effects: Vec<(u64, Effect)>,
}

/// When a frame arrives, relative to now, and its copy if there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// The frame.
    pub delay: Duration,
    /// A second copy of it.
    pub copy: Option<Duration>,
}

impl Passage {
    /// At once, without a copy.
    pub const UNHINDERED: Self = Self {
        delay: Duration::ZERO,
        copy: None,
    };
}

impl FaultView {
    /// Whether an interface has no link.
    pub fn link_down(&self, interface: &Interface) -> bool {
        self.effects
            .iter()
            .any(|(_, effect)| matches!(effect, Effect::LinkDown(on) if on.selects(interface)))
    }

    /// Why no frame passes from one interface to another, if so.
    pub fn severed(&self, from: &Interface, to: &Interface) -> Option<DropReason> {
        self.effects.iter().find_map(|(_, effect)| match effect {
            Effect::LinkDown(on) if on.selects(from) || on.selects(to) => Some(DropReason::FaultLinkDown),
            Effect::Partition { one, other, one_way } => {
                let there = one.selects(from) && other.selects(to);
                let back = !one_way && other.selects(from) && one.selects(to);
                (there || back).then_some(DropReason::FaultPartition)
            }
            Effect::ZoneCut(zone) => (zone.selects(from) != zone.selects(to)).then_some(DropReason::FaultZoneCut),
            _ => None,
        })
    }

    /// Whether [`Self::pass`] may delay, lose or copy frames from one interface to another.
    pub fn impairs(&self, from: &Interface, to: &Interface) -> bool {
        self.effects.iter().any(|(_, effect)| match effect {
            Effect::Impairment {
                on, egress, ingress, ..
            } => *egress && on.selects(from) || *ingress && on.selects(to),
            Effect::Allowances(meters) => meters.contains_key(&from.index) || meters.contains_key(&to.index),
            _ => false,
        })
    }

    /// The impairments of frames from one interface to another, in the order in which they apply.
    pub fn impairments(&self, from: &Interface, to: &Interface) -> impl Iterator<Item = &Impairment> {
        let ways = [(Way::Egress, *from), (Way::Ingress, *to)];
        ways.into_iter().flat_map(move |(way, interface)| {
            self.effects.iter().filter_map(move |(_, effect)| match effect {
                Effect::Impairment {
                    on,
                    egress,
                    ingress,
                    impairment,
                    ..
                } => {
                    let applies = if way == Way::Egress { *egress } else { *ingress };
                    (applies && on.selects(&interface)).then_some(impairment)
                }
                _ => None,
            })
        })
    }

    /// Passes a frame of `length` octets from one interface to another: returns when it arrives, or why it is dropped.
    /// Each call counts as another frame.
    pub fn pass(&self, from: &Interface, to: &Interface, length: usize, now: Duration) -> Result<Passage, DropReason> {
        if let Some(reason) = self.severed(from, to) {
            return Err(reason);
        }
        let sender = self.meter(from.index);
        sender.map_or(Ok(()), |meter| meter.leave(length, now))?;
        let mut passage = Passage::UNHINDERED;
        // First the impairments on the way out, then those on the way in, in the frame's order.
        for (way, interface) in [(Way::Egress, from), (Way::Ingress, to)] {
            for (number, effect) in &self.effects {
                let Effect::Impairment {
                    on,
                    egress,
                    ingress,
                    impairment,
                    lanes,
                } = effect
                else {
                    continue;
                };
                let applies = if way == Way::Egress { *egress } else { *ingress };
                if applies && on.selects(interface) {
                    let lane = lanes.lane(interface.index, way);
                    let lot = impairment.lot(self.seed, *number, interface.index, way, lane.count());
                    passage = lane.pass(impairment, &lot, passage, length, now)?;
                }
            }
        }
        let receiver = self.meter(to.index);
        receiver.map_or(Ok(()), |meter| meter.arrive(length, now))?;
        Ok(passage)
    }

    /// The allowances of an interface, if it has some.
    pub fn meter(&self, interface: InterfaceIndex) -> Option<&Meter> {
        self.effects.iter().find_map(|(_, effect)| match effect {
            Effect::Allowances(meters) => meters.get(&interface).map(|meter| &**meter),
            _ => None,
        })
    }

    /// The owner of an address in an interface's stale view; `None` when its view is current.
    #[inline]
    pub fn former_owner(
        &self,
        seen_by: &Interface,
        subnet: SubnetIndex,
        address: IpAddr,
    ) -> Option<Option<InterfaceIndex>> {
        self.effects.iter().find_map(|(_, effect)| match effect {
            Effect::StaleMapping { seen_by: who, former } if who.selects(seen_by) => former.get(subnet, address),
            _ => None,
        })
    }

    /// The metadata fault for a host and a path, given by its segments below the version. Of several faults the latest
    /// applies.
    pub fn metadata(&self, interface: &Interface, path: &[&str]) -> Option<MetadataFault> {
        let mut found = None;
        for (number, effect) in &self.effects {
            match effect {
                Effect::Services(on, faults) if on.selects(interface) => found = faults.metadata.or(found),
                Effect::PartialMetadata(on, partial)
                    if on.selects(interface) && partial.befalls(path, self.seed, *number, interface.index) =>
                {
                    found = Some(partial.fault);
                }
                _ => {}
            }
        }
        found
    }

    /// The faults of one host's services. Of several faults of the same kind the latest applies.
    pub fn services(&self, interface: &Interface) -> ServiceFaults {
        let mut all = ServiceFaults::default();
        for (_, effect) in &self.effects {
            if let Effect::Services(on, faults) = effect
                && on.selects(interface)
            {
                all.router_advertisements_withheld |= faults.router_advertisements_withheld;
                all.dhcp_silent |= faults.dhcp_silent;
                all.metadata = faults.metadata.or(all.metadata);
                if faults.clock_skew != 0 {
                    all.clock_skew = faults.clock_skew;
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
