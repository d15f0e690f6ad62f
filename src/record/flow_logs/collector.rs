//! Keeps the present window of each flow log, and closes it into lines when its time is over. It has no clock and no thread:
//! time is an argument.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::aggregate::Window;
use super::detail::Details;
use super::line::{Content, Place, Record, line};
use super::sighting::{Action, Sent, Sighting, sightings};
use crate::mapping::InterfaceIndex;
use crate::model::flow_log::{FlowLogResource, TrafficType};
use crate::model::{FlowLog, FlowLogId};
use crate::switch::observe::Observed;

/// Instances of Nitro have windows of a minute at the most, whatever the flow log says (VPC guide, "Maximum aggregation
/// interval").
const NITRO: Duration = Duration::from_secs(60);

/// Lines of each kind that are kept of a flow log.
const KEPT: usize = 10_000;

/// What records say of interfaces.
pub(super) trait Lookup {
    /// What is known of an interface.
    fn place(&self, interface: InterfaceIndex) -> Option<Place>;
    /// The interfaces of a resource that are attached to instances.
    fn attached(&self, resource: FlowLogResource) -> Vec<(InterfaceIndex, Place)>;
}

/// The latest lines of one kind, each with its number.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    lines: VecDeque<Arc<str>>,
    /// The number of the first that is kept; the first ever is 1.
    dropped: u64,
}

impl Shelf {
    pub(super) fn push(&mut self, line: &str) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line.into());
    }

    /// The lines after a number, at most so many; the number of the last of them, and how many before it are lost.
    pub(super) fn after(&self, after: u64, most: usize) -> (Vec<Arc<str>>, u64, u64) {
        let missed = self.dropped.saturating_sub(after);
        let skip = after.saturating_sub(self.dropped);
        let from = usize::try_from(skip).unwrap_or(usize::MAX).min(self.lines.len());
        let lines: Vec<_> = self.lines.iter().skip(from).take(most).cloned().collect();
        // No more lines are kept than fit a usize.
        let last = self.dropped.max(after.min(self.dropped + self.lines.len() as u64)) + lines.len() as u64;
        (lines, last, missed)
    }
}

/// A flow log with its present window.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) log: FlowLog,
    /// When the window began.
    opened: Duration,
    window: Window,
    details: Details,
    pub(super) records: Shelf,
    pub(super) told: Shelf,
}

impl Running {
    fn new(log: FlowLog, now: Duration) -> Self {
        Self {
            log,
            opened: now,
            window: Window::default(),
            details: Details::default(),
            records: Shelf::default(),
            told: Shelf::default(),
        }
    }

    /// When the window is over.
    fn end(&self) -> Duration {
        self.opened.saturating_add(self.log.interval.get().min(NITRO))
    }

    fn wants(&self, seen: &Sighting) -> bool {
        match self.log.traffic {
            TrafficType::All => true,
            TrafficType::Accept => seen.action == Action::Accept,
            TrafficType::Reject => seen.action == Action::Reject,
        }
    }
}

/// All flow logs.
pub(super) struct Collector<L> {
    lookup: L,
    /// The time of day at which the switch was started.
    epoch: SystemTime,
    pub(super) running: BTreeMap<FlowLogId, Running>,
    /// What was known of interfaces when they were last seen.
    places: HashMap<InterfaceIndex, Option<Arc<Place>>>,
}

/// Lines of a window that is over.
pub(super) struct Closed {
    pub(super) log: FlowLog,
    pub(super) lines: Vec<String>,
}

impl<L: Lookup> Collector<L> {
    pub(super) fn new(lookup: L, epoch: SystemTime) -> Self {
        Self {
            lookup,
            epoch,
            running: BTreeMap::new(),
            places: HashMap::new(),
        }
    }

    /// The switch that is observed was started at another time.
    pub(super) fn set_epoch(&mut self, epoch: SystemTime) {
        self.epoch = epoch;
    }

    /// Goes on with these flow logs. A new one has its first window from now on; the window of one that is gone ends.
    pub(super) fn follow(&mut self, logs: Vec<FlowLog>, now: Duration) -> Vec<Closed> {
        let mut before = std::mem::take(&mut self.running);
        for log in logs {
            let running = before.remove(&log.id);
            let mut running = running.unwrap_or_else(|| Running::new(log.clone(), now));
            running.log = log;
            self.running.insert(running.log.id, running);
        }
        let gone = before.into_values();
        gone.filter_map(|mut gone| self.close(&mut gone, now)).collect()
    }

    /// Adds a frame that crossed the switch.
    pub(super) fn take(&mut self, observed: &Observed) -> Vec<Closed> {
        let closed = self.tick(observed.at);
        let Some(sent) = Sent::of(observed) else { return closed };
        for seen in sightings(observed, &sent).into_iter().flatten() {
            let Some(place) = self.place(seen.interface) else {
                continue;
            };
            for running in self.running.values_mut() {
                let covers = running.log.resource.covers(place.vpc, place.subnet, place.interface);
                if covers && running.wants(&seen) {
                    running.window.add(&seen);
                } else if covers {
                    running.window.touch(seen.interface);
                }
            }
        }
        if let Some(place) = self.place(observed.interface) {
            for running in self.running.values_mut() {
                if running.log.resource.covers(place.vpc, place.subnet, place.interface) {
                    running.details.add(observed, &sent);
                }
            }
        }
        closed
    }

    /// Counts frames that could not be looked at: they are in no record, and the records of this window say so.
    pub(super) fn skip(&mut self, frames: u64) {
        for running in self.running.values_mut() {
            running.window.skip(frames);
        }
    }

    /// Closes the windows that are over.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<Closed> {
        let due: Vec<FlowLogId> = self
            .running
            .values()
            .filter(|running| running.end() <= now)
            .map(|running| running.log.id)
            .collect();
        let mut closed = Vec::new();
        for id in due {
            let Some(mut running) = self.running.remove(&id) else {
                continue;
            };
            let end = running.end();
            closed.extend(self.close(&mut running, end));
            // A window without a frame may have been over for long.
            let length = running.log.interval.get().min(NITRO);
            running.opened = end.max(now.saturating_sub(length));
            self.running.insert(id, running);
        }
        closed
    }

    /// Ends all windows.
    pub(super) fn finish(&mut self, now: Duration) -> Vec<Closed> {
        let mut closed = self.tick(now);
        let all = std::mem::take(&mut self.running);
        for (id, mut running) in all {
            closed.extend(self.close(&mut running, now));
            self.running.insert(id, running);
        }
        closed
    }

    /// Seconds since 1970.
    fn unix(&self, at: Duration) -> u64 {
        let epoch = self.epoch.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        epoch.saturating_add(at).as_secs()
    }

    fn place(&mut self, interface: InterfaceIndex) -> Option<Arc<Place>> {
        let lookup = &self.lookup;
        let known = self.places.entry(interface);
        known.or_insert_with(|| lookup.place(interface).map(Arc::new)).clone()
    }

    /// Writes the lines of a window, and begins an empty one.
    fn close(&mut self, running: &mut Running, now: Duration) -> Option<Closed> {
        let window = std::mem::take(&mut running.window);
        let details = std::mem::take(&mut running.details);
        let (start, end) = (self.unix(running.opened), self.unix(now));
        let format = &running.log.format;
        let mut lines = Vec::new();
        for (key, sums) in window.flows() {
            // What is known by now, or else what was when it was seen: an interface may be gone.
            if let Some(place) = self.lookup.place(key.interface) {
                self.places.insert(key.interface, Some(Arc::new(place)));
            }
            let Some(place) = self.place(key.interface) else {
                continue;
            };
            let record = Record {
                place: &place,
                content: Content::Flow(&key, &sums),
                start: self.unix(sums.first),
                end: self.unix(sums.last),
            };
            lines.push(line(format, &record));
        }
        for (interface, place) in self.lookup.attached(running.log.resource) {
            let content = match (window.skipped(), window.is_active(interface)) {
                (0, true) => continue,
                (0, false) => Content::NoData,
                _ => Content::SkipData,
            };
            let record = Record {
                place: &place,
                content,
                start,
                end,
            };
            lines.push(line(format, &record));
        }
        lines.iter().for_each(|line| running.records.push(line));
        self.tell(running, &details);
        // Addresses and instances may have changed.
        self.places.retain(|interface, _| !window.is_active(*interface));
        (!lines.is_empty()).then(|| Closed {
            log: running.log.clone(),
            lines,
        })
    }

    fn tell(&mut self, running: &mut Running, details: &Details) {
        let epoch = self.epoch.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let told = details.lines(
            |interface| Some(self.place(interface)?.interface),
            |at| epoch.saturating_add(at).as_secs(),
        );
        told.iter().for_each(|line| running.told.push(line));
        if details.skipped() > 0 {
            running.told.push(&format!("{{\"skipped\":{}}}", details.skipped()));
        }
    }
}
