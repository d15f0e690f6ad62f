//! Keeps flow records of a run: each packet with its sender, its addresses and its verdict. They are kept only where a
//! scenario has an expectation about flows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;
use utoipa::ToSchema;

use crate::contain;
use crate::control::Controller;
use crate::mapping::InterfaceIndex;
use crate::switch::observe::{Fate, Observation, Observed, Wanted};
use crate::wire::flow::Flow;
use crate::wire::frame::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// Packets recorded from the beginning of a run.
const MOST_RECORDS: usize = 1 << 19;

/// Packets in the queue.
const QUEUE: usize = 16384;

/// Time between two reads of the queue.
const GLANCE: Duration = Duration::from_millis(5);

/// The thread reads every few milliseconds; a machine short of memory may need longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A protocol over IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowProtocol {
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Selects packets; a field that is left out matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// The instance that sent them.
    pub from: Option<String>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Protocol.
    pub protocol: Option<FlowProtocol>,
    /// Destination port.
    pub port: Option<u16>,
}

/// The verdicts on packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Number of packets.
    pub packets: u64,
    /// Delivered, by receiving instance.
    pub delivered_to: BTreeMap<String, u64>,
    /// Dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Answered by the VPC itself.
    pub answered: u64,
}

/// One packet from an instance.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// Time since the switch was started.
    at: Duration,
    from: InterfaceIndex,
    flow: Flow,
    fate: Fate,
}

impl Record {
    /// `None` unless it is an IP packet from its sender.
    fn of(observed: &Observed) -> Option<Self> {
        if matches!(observed.fate, Fate::Fabric(_) | Fate::Arrived { .. }) {
            return None;
        }
        Some(Self {
            at: observed.at,
            from: observed.interface,
            flow: Flow::of(&observed.bytes)?,
            fate: observed.fate,
        })
    }

    fn is_meant(&self, wanted: &FlowFilter) -> bool {
        let protocol = match wanted.protocol {
            None => true,
            Some(FlowProtocol::Icmp) => matches!(self.flow.protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6),
            Some(FlowProtocol::Tcp) => self.flow.protocol == PROTOCOL_TCP,
            Some(FlowProtocol::Udp) => self.flow.protocol == PROTOCOL_UDP,
        };
        protocol
            && wanted.source.is_none_or(|source| source == self.flow.source)
            && wanted
                .destination
                .is_none_or(|destination| destination == self.flow.destination)
            && wanted
                .port
                .is_none_or(|port| self.flow.destination_port() == Some(port))
    }
}

#[derive(Debug, Default)]
struct Seen {
    records: Vec<Record>,
    /// Everything decided before this instant is in the records.
    until: Option<Instant>,
    /// Packets that are not in the records.
    missing: u64,
    over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    looked: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Plain data without invariants between fields.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Running flow records.
pub(crate) struct FlowLog {
    shared: Arc<Shared>,
    /// The instant at which the switch's time is zero.
    start: Instant,
    thread: Option<JoinHandle<()>>,
}

impl FlowLog {
    /// Begins to record; packets decided after this returns are in the records.
    pub(crate) fn start(controller: &Controller) -> Option<Self> {
        let observation = controller.observe(Wanted {
            queue: QUEUE,
            ..Wanted::default()
        });
        let (shared, start) = (Arc::<Shared>::default(), observation.start());
        let recorded = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("flow-log".into())
            .spawn(move || record(observation, &recorded))
            .inspect_err(|error| tracing::warn!(%error, "no flows are recorded"))
            .ok()?;
        Some(Self {
            shared,
            start,
            thread: Some(thread),
        })
    }

    /// Counts the packets since an instant.
    pub(crate) fn count(
        &self,
        wanted: &FlowFilter,
        since: Instant,
        controller: &Controller,
    ) -> Result<FlowCounts, String> {
        let now = Instant::now();
        let (seen, late) = self
            .shared
            .looked
            .wait_timeout_while(self.shared.lock(), PATIENCE, |seen| {
                seen.until.is_none_or(|until| until < now)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return Err("the records are not up to date".to_owned());
        }
        if seen.missing > 0 {
            return Err(format!("{} packets were too many to be recorded", seen.missing));
        }
        let name = |index| {
            let id = controller.interface_at(index)?;
            let name = controller.interface(&id.into()).ok()?.name;
            Some(name.unwrap_or_else(|| id.to_string()))
        };
        let since = since.saturating_duration_since(self.start);
        let mut counts = FlowCounts::default();
        let meant = seen
            .records
            .iter()
            .filter(|record| record.at >= since && record.is_meant(wanted));
        for record in meant {
            if wanted.from.is_some() && name(record.from) != wanted.from {
                continue;
            }
            counts.packets += 1;
            match record.fate {
                Fate::Delivered { to, .. } => {
                    let to = name(to).unwrap_or_else(|| "an interface that is gone".to_owned());
                    *counts.delivered_to.entry(to).or_default() += 1;
                }
                Fate::Dropped(reason) => *counts.dropped.entry(reason.name().to_owned()).or_default() += 1,
                Fate::Answered(_) => counts.answered += 1,
                Fate::Flooded | Fate::Arrived { .. } | Fate::Fabric(_) => {}
            }
        }
        Ok(counts)
    }
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that records flows panicked");
        }
    }
}

fn record(mut observation: Observation, shared: &Shared) {
    loop {
        let before = Instant::now();
        let mut seen = shared.lock();
        let mut surplus = 0;
        while let Some(observed) = observation.try_next() {
            let record = contain::once("the flow log", || {
                contain::site("flow-log");
                Record::of(&observed)
            });
            let Some(record) = record.unwrap_or_else(|| {
                // A panic loses the packet, and the count says so.
                surplus += 1;
                None
            }) else {
                continue;
            };
            if seen.records.len() < MOST_RECORDS {
                seen.records.push(record);
            } else {
                surplus += 1;
            }
        }
        seen.missing = seen.missing.max(observation.lost()) + surplus;
        seen.until = Some(before);
        let over = seen.over;
        drop(seen);
        shared.looked.notify_all();
        if over {
            return;
        }
        std::thread::sleep(GLANCE);
    }
}
