//! Observes the switch while there are flow logs, in a thread of its own, and delivers the lines: to memory in any case, and
//! to a file or standard output where the flow log says so.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::collector::{Closed, Collector, Lookup};
use super::line::Place;
use crate::contain;
use crate::control::{Controller, FlowRecorder};
use crate::mapping::InterfaceIndex;
use crate::model::flow_log::{Destination, FlowLogResource};
use crate::model::region::zone_id;
use crate::model::{FlowLogId, InterfaceStatus, NetworkInterface};
use crate::switch::observe::{Observation, Wanted};

/// Frames that may wait to be looked at.
const QUEUE: usize = 1 << 16;

/// Octets of a frame that are looked at: its headers.
const SNAPLEN: usize = 192;

/// Time between two looks at the queue.
const GLANCE: Duration = Duration::from_millis(20);

/// Frames that are looked at under one lock.
const AT_ONCE: usize = 4096;

/// Lines of one answer.
const MOST_LINES: usize = 1000;

/// Which lines of a flow log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records in AWS's format.
    Records,
    /// What AWS does not record: drop reasons and rules, as JSON.
    Details,
}

/// Lines that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The lines, oldest first.
    pub lines: Vec<Arc<str>>,
    /// The number of the last of them, to read on from.
    pub last: u64,
    /// Lines before them that are no longer kept.
    pub missed: u64,
}

/// Whether lines reach their destination (EC2 API, `DeliverLogsStatus`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// As far as is known.
    Success,
    /// They do not, for this reason.
    Failed(String),
}

/// Kept of a flow log in addition to its lines.
pub type Kept = BTreeMap<FlowLogId, Delivery>;

/// Records flows for all flow logs of a network until it is dropped.
pub struct FlowLogs {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for FlowLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowLogs").finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    /// Flow logs came, or the end.
    woken: Condvar,
    /// Counts what is delivered, for readers that wait.
    news: watch::Sender<u64>,
    /// Where files of records are.
    folder: Option<PathBuf>,
}

struct State {
    controller: Controller,
    collector: Collector<Controller>,
    observation: Option<Observation>,
    /// Frames that the observation had lost when it was last asked.
    lost: u64,
    failures: Kept,
    files: HashMap<String, File>,
    over: bool,
}

impl Lookup for Controller {
    fn place(&self, interface: InterfaceIndex) -> Option<Place> {
        let id = self.interface_at(interface)?;
        let found = self.interface(&id.into()).ok()?;
        self.place_of(&found)
    }

    fn attached(&self, resource: FlowLogResource) -> Vec<(InterfaceIndex, Place)> {
        let attached = self.interfaces(None, usize::MAX, |interface| {
            interface.status == InterfaceStatus::InUse
                && resource.covers(interface.vpc_id, interface.subnet_id, interface.id)
        });
        let places = attached.iter().filter_map(|interface| {
            let index = self.interface_index(interface.id)?;
            Some((index, self.place_of(interface)?))
        });
        places.collect()
    }
}

impl Controller {
    fn place_of(&self, interface: &NetworkInterface) -> Option<Place> {
        let subnet = self.subnet(&interface.subnet_id.into()).ok()?;
        Some(Place {
            interface: interface.id,
            vpc: interface.vpc_id,
            subnet: interface.subnet_id,
            instance: interface.instance_id,
            region: self.region(),
            zone_id: zone_id(&subnet.availability_zone),
            primary: interface.primary_ipv4(),
            ipv6: interface.ipv6_addresses.clone(),
        })
    }
}

impl FlowLogs {
    /// Begins to record for the flow logs that a Controller has, and will have. `folder`: where files of records are.
    pub fn start(controller: &Controller, folder: Option<PathBuf>) -> std::io::Result<Self> {
        let state = State {
            controller: controller.clone(),
            collector: Collector::new(controller.clone(), SystemTime::now()),
            observation: None,
            lost: 0,
            failures: Kept::new(),
            files: HashMap::new(),
            over: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            woken: Condvar::new(),
            news: watch::channel(0).0,
            folder,
        });
        let recorder = Arc::downgrade(&shared);
        controller.set_flow_recorder(recorder);
        let recorded = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("flow-logs".into())
            .spawn(move || recorded.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Reads kept lines of a flow log after a number; 0 for all. `None` for a flow log that is not there.
    pub fn read(&self, log: FlowLogId, kind: Kind, after: u64) -> Option<Reading> {
        let state = self.shared.lock();
        let running = state.collector.running.get(&log)?;
        let shelf = match kind {
            Kind::Records => &running.records,
            Kind::Details => &running.told,
        };
        let (lines, last, missed) = shelf.after(after, MOST_LINES);
        Some(Reading { lines, last, missed })
    }

    /// Changes whenever there are new lines, or flow logs are gone.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// Whether the lines of a flow log reach their destination.
    pub fn delivery(&self, log: FlowLogId) -> Delivery {
        let failed = self.shared.lock().failures.get(&log).cloned();
        failed.unwrap_or(Delivery::Success)
    }
}

impl Drop for FlowLogs {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.woken.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the flow logs panicked");
        }
    }
}

impl FlowRecorder for Shared {
    fn follow(&self, controller: &Controller) {
        let mut state = self.lock();
        // Those that were decided before are of the flow logs that there were.
        self.drain(&mut state, usize::MAX);
        let logs = controller.flow_logs();
        if logs.is_empty() {
            state.observation = None;
        } else if state.observation.is_none() {
            state.observe();
        }
        for log in &logs {
            match self.reachable(&log.destination) {
                Ok(()) => drop(state.failures.remove(&log.id)),
                Err(reason) => drop(state.failures.insert(log.id, Delivery::Failed(reason))),
            }
        }
        state.failures.retain(|id, _| logs.iter().any(|log| log.id == *id));
        let now = state.now();
        let closed = state.collector.follow(logs, now);
        self.deliver(&mut state, closed);
        drop(state);
        self.news.send_modify(|count| *count += 1);
        self.woken.notify_all();
    }
}

impl State {
    fn observe(&mut self) {
        let observation = self.controller.observe(Wanted {
            arrivals: true,
            merged: true,
            snaplen: SNAPLEN,
            queue: QUEUE,
            ..Wanted::default()
        });
        self.collector.set_epoch(observation.epoch());
        self.lost = 0;
        self.observation = Some(observation);
    }

    /// Time since the switch was started.
    fn now(&self) -> Duration {
        let start = self.observation.as_ref().map(Observation::start);
        start.map_or(Duration::ZERO, |start| start.elapsed())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic a frame may be missing, which its count says.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.over {
            if state.observation.is_none() {
                state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = state.now();
            let all = self.drain(&mut state, AT_ONCE);
            if all {
                let closed = state.collector.tick(now);
                self.deliver(&mut state, closed);
                let waited = self.woken.wait_timeout(state, GLANCE);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                // Readers may want the lock.
                drop(state);
                std::thread::yield_now();
                state = self.lock();
            }
        }
        self.drain(&mut state, usize::MAX);
        let now = state.now();
        let closed = state.collector.finish(now);
        self.deliver(&mut state, closed);
        state.observation = None;
    }

    /// Looks at frames in the queue, and returns whether that were all.
    fn drain(&self, state: &mut State, most: usize) -> bool {
        let mut left = most.min(QUEUE);
        while left > 0 {
            left -= 1;
            let Some(observed) = state.observation.as_mut().and_then(Observation::try_next) else {
                break;
            };
            let closed = contain::once("the flow logs", || {
                contain::site("flow-logs");
                state.collector.take(&observed)
            });
            match closed {
                Some(closed) => self.deliver(state, closed),
                None => state.collector.skip(1),
            }
        }
        let lost = state.observation.as_ref().map_or(0, Observation::lost);
        if lost > state.lost {
            state.collector.skip(lost - state.lost);
            state.lost = lost;
        }
        if state.observation.as_ref().is_some_and(Observation::was_given_up) && left > 0 {
            state.collector.skip(1);
            state.observe();
        }
        left > 0
    }

    fn deliver(&self, state: &mut State, closed: Vec<Closed>) {
        if closed.is_empty() {
            return;
        }
        for closed in closed {
            let mut text = closed.lines.join("\n");
            text.push('\n');
            let delivered = match &closed.log.destination {
                Destination::Memory | Destination::CloudWatchLogs { .. } | Destination::S3(_) => continue,
                Destination::Stdout => std::io::stdout()
                    .lock()
                    .write_all(text.as_bytes())
                    .map_err(|error| format!("standard output: {error}")),
                Destination::File(name) => self.file(state, name).and_then(|mut file| {
                    file.write_all(text.as_bytes())
                        .map_err(|error| format!("{name}: {error}"))
                }),
            };
            match delivered {
                Ok(()) => drop(state.failures.remove(&closed.log.id)),
                Err(reason) => {
                    tracing::warn!(flow_log = %closed.log.id, %reason, "records are not delivered");
                    state.failures.insert(closed.log.id, Delivery::Failed(reason));
                }
            }
        }
        self.news.send_modify(|count| *count += 1);
    }

    fn file<'s>(&self, state: &'s mut State, name: &str) -> Result<&'s File, String> {
        let path = self.path(name)?;
        if !state.files.contains_key(name) {
            let file = open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            state.files.insert(name.to_owned(), file);
        }
        state.files.get(name).ok_or_else(|| name.to_owned())
    }

    /// The path of a file of records. The model has refused names that are paths.
    fn path(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.as_deref();
        let folder = folder.ok_or("the server has no folder for flow logs: start it with --flow-logs FOLDER")?;
        Ok(folder.join(name))
    }

    /// Whether a destination can be written to, as far as that is known before there is something to write.
    fn reachable(&self, destination: &Destination) -> Result<(), String> {
        match destination {
            Destination::File(name) => {
                let path = self.path(name)?;
                open(&path)
                    .map(drop)
                    .map_err(|error| format!("{}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Opens a file of records to write at its end. It is made for its owner alone, and never through a link.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits();
    // The flag fits: the kernel's are of 32 bits.
    options
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(no_link as i32);
    options.open(path)
}
