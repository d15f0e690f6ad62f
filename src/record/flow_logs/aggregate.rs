//! Sums the sightings of a window by interface, flow, direction and action. Two records of one flow come of a window in which
//! it was both accepted and rejected (firewall facts, section 6).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::sighting::{Action, Sighting, TrafficPath, Tuple};
use crate::mapping::InterfaceIndex;
use crate::model::traffic::Direction;

/// The most flows of one window; what is beyond is skipped, and the records say so.
const MOST_FLOWS: usize = 1 << 17;

/// What one record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) interface: InterfaceIndex,
    pub(super) tuple: Tuple,
    pub(super) inbound: bool,
    pub(super) action: Action,
}

/// What a flow came to in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) packets: u64,
    pub(super) octets: u64,
    /// When its first and its last packet were seen, since the switch was started.
    pub(super) first: Duration,
    pub(super) last: Duration,
    pub(super) tcp_flags: u8,
    pub(super) path: Option<TrafficPath>,
    /// Whether block public access is why it was rejected.
    pub(super) blocked: bool,
    /// How many flows of the window were before it.
    order: usize,
}

/// The flows of one window.
#[derive(Debug, Default)]
pub(super) struct Window {
    flows: HashMap<Key, Sums>,
    /// Interfaces that saw a packet.
    active: HashSet<InterfaceIndex>,
    skipped: u64,
}

impl Window {
    /// Adds what an interface saw.
    pub(super) fn add(&mut self, seen: &Sighting) {
        self.active.insert(seen.interface);
        let key = Key {
            interface: seen.interface,
            tuple: seen.tuple,
            inbound: seen.direction == Direction::Ingress,
            action: seen.action,
        };
        let full = self.flows.len() >= MOST_FLOWS;
        if let Some(sums) = self.flows.get_mut(&key) {
            sums.packets = sums.packets.saturating_add(seen.packets);
            sums.octets = sums.octets.saturating_add(seen.octets);
            // Workers may show frames a moment out of order.
            sums.first = sums.first.min(seen.at);
            sums.last = sums.last.max(seen.at);
            sums.tcp_flags |= seen.tcp_flags;
            sums.path = seen.path.or(sums.path);
            sums.blocked |= seen.blocked;
        } else if full {
            self.skipped += seen.packets;
        } else {
            let order = self.flows.len();
            self.flows.insert(
                key,
                Sums {
                    packets: seen.packets,
                    octets: seen.octets,
                    first: seen.at,
                    last: seen.at,
                    tcp_flags: seen.tcp_flags,
                    path: seen.path,
                    blocked: seen.blocked,
                    order,
                },
            );
        }
    }

    /// Remembers that an interface saw a packet, of the kind that is not recorded.
    pub(super) fn touch(&mut self, interface: InterfaceIndex) {
        self.active.insert(interface);
    }

    /// Counts packets that could not be looked at.
    pub(super) fn skip(&mut self, packets: u64) {
        self.skipped += packets;
    }

    /// Packets that are in no record.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether an interface saw a packet.
    pub(super) fn is_active(&self, interface: InterfaceIndex) -> bool {
        self.active.contains(&interface)
    }

    /// The flows, in the order of their first packets.
    pub(super) fn flows(&self) -> Vec<(Key, Sums)> {
        let mut flows: Vec<_> = self.flows.iter().map(|(key, sums)| (*key, *sums)).collect();
        flows.sort_unstable_by_key(|(_, sums)| (sums.first, sums.order));
        flows
    }
}
