//! Sums what AWS does not record: what became of the packets of a flow at the interface that sent them, with our drop reason
//! and the rules that decided, as one object of JSON a flow and window.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::sighting::{Sent, Tuple};
use crate::control::explain::in_sentences;
use crate::datapath::{DropReason, Filtered};
use crate::mapping::InterfaceIndex;
use crate::model::InterfaceId;
use crate::switch::observe::{Fate, Observed};

/// The most flows of one window.
const MOST_FLOWS: usize = 1 << 15;

/// What became of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Delivered,
    Answered,
    Flooded,
    Dropped(DropReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    interface: InterfaceIndex,
    tuple: Tuple,
    outcome: Outcome,
    /// What decided at each stage of the firewall.
    by: Filtered,
}

#[derive(Debug, Clone, Copy)]
struct Sums {
    packets: u64,
    octets: u64,
    first: Duration,
    last: Duration,
}

/// The details of one window.
#[derive(Debug, Default)]
pub(super) struct Details {
    flows: HashMap<Key, Sums>,
    skipped: u64,
}

/// One line of the stream of details.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    start: u64,
    end: u64,
    interface_id: InterfaceId,
    srcaddr: IpAddr,
    dstaddr: IpAddr,
    srcport: u16,
    dstport: u16,
    protocol: u8,
    packets: u64,
    bytes: u64,
    verdict: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<String>,
}

impl Details {
    /// Adds a frame from a host.
    pub(super) fn add(&mut self, observed: &Observed, sent: &Sent) {
        let outcome = match observed.fate {
            Fate::Delivered { .. } => Outcome::Delivered,
            Fate::Answered(_) => Outcome::Answered,
            Fate::Flooded => Outcome::Flooded,
            Fate::Dropped(reason) => Outcome::Dropped(reason),
            Fate::Arrived { .. } | Fate::Fabric(_) => return,
        };
        let key = Key {
            interface: observed.interface,
            tuple: sent.tuple,
            outcome,
            by: observed.passage.filtered,
        };
        if self.flows.len() >= MOST_FLOWS && !self.flows.contains_key(&key) {
            self.skipped += sent.packets();
            return;
        }
        let sums = self.flows.entry(key).or_insert(Sums {
            packets: 0,
            octets: 0,
            first: observed.at,
            last: observed.at,
        });
        sums.packets = sums.packets.saturating_add(sent.packets());
        sums.octets = sums.octets.saturating_add(sent.octets());
        sums.first = sums.first.min(observed.at);
        sums.last = sums.last.max(observed.at);
    }

    /// Packets that are in no line.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The lines, in the order of their first packets. `name` gives an interface its identifier, `unix` a time its second
    /// since 1970.
    pub(super) fn lines(
        &self,
        mut name: impl FnMut(InterfaceIndex) -> Option<InterfaceId>,
        unix: impl Fn(Duration) -> u64,
    ) -> Vec<String> {
        let mut flows: Vec<_> = self.flows.iter().collect();
        flows.sort_unstable_by_key(|(key, sums)| (sums.first, key.tuple));
        let lines = flows.into_iter().filter_map(|(key, sums)| {
            let line = Line {
                start: unix(sums.first),
                end: unix(sums.last),
                interface_id: name(key.interface)?,
                srcaddr: key.tuple.source,
                dstaddr: key.tuple.destination,
                srcport: key.tuple.source_port,
                dstport: key.tuple.destination_port,
                protocol: key.tuple.protocol,
                packets: sums.packets,
                bytes: sums.octets,
                verdict: match key.outcome {
                    Outcome::Delivered => "delivered",
                    Outcome::Answered => "answered",
                    Outcome::Flooded => "flooded",
                    Outcome::Dropped(_) => "dropped",
                },
                reason: match key.outcome {
                    Outcome::Dropped(reason) => Some(reason.name()),
                    _ => None,
                },
                rules: in_sentences(&key.by),
            };
            serde_json::to_string(&line).ok()
        });
        lines.collect()
    }
}
