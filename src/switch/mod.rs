//! Moves frames between ports: devices, worker threads, and the execution of verdicts.
//! [`datapath::decide`](crate::datapath::decide) makes the decision.
//!
//! One worker thread reads, decides and writes a frame in one go. What workers share is read-only: the network
//! ([`Fabric`]) and the table of ports, each loaded once a round. Counters and other state belong to one worker.
//! ([`Fabric`]) and the table of ports, each loaded once a round. What they count and remember is their own.

mod advertiser;
pub mod batch;
mod clock;
pub mod coalesce;
pub mod counters;
mod delay;
mod drops;
pub mod egress;
pub mod event;
mod execute;
mod gate;
mod impair;
pub mod inprocess;
mod moves;
pub mod observe;
pub mod port;
mod round;
mod spin;
mod worker;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use tokio::sync::mpsc;

pub use counters::{PortCounters, Traffic};
pub use event::{DroppedFrame, SwitchEvent};

use crate::datapath::view::numbered::Numbered;
use crate::datapath::{DropReason, Fabric, Moved, Received};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::duration::later;
use advertiser::Unasked;
use clock::Clock;
use counters::Block;
pub use drops::Dropped;
use drops::Drops;
use event::Events;
use gate::Gate;
use observe::{Observation, Observers, Wanted};
use port::PortDevice;
use spin::Spin;
use worker::{Inbox, WAKE, Worker};

/// The number of a detached port is reused only after this many others were detached.
const REST: usize = 256;

/// How long [`Switch::detach`] waits for a worker to release a port. A round takes far less.
const LET_GO: Duration = Duration::from_secs(1);

/// Takes over the frames for the VPC's link-local services, or returns why it does not. It must not block.
pub type ServiceSink =
    dyn Fn(InterfaceIndex, PortId, Received<'_>, &mut dyn FnMut()) -> Result<(), DropReason> + Send + Sync;

/// Settings of a switch.
#[derive(Clone, Copy, Debug)]
pub struct SwitchConfig {
    /// Worker threads; `None`: one on a machine of one or two CPUs, otherwise one per CPU and four at most.
    pub workers: Option<NonZeroUsize>,
    /// How long an idle worker polls before it sleeps, while frames arrive more often than that. It saves the wake-up
    /// and costs a CPU; 10 to 20 µs are a good value. Zero: never polls.
    pub spin: Duration,
    /// Whether workers write several frames per system call (io_uring), where the kernel allows it. It takes about half
    /// the time for small frames of many flows, and changes nothing else.
    pub ring: bool,
    /// Dropped frames reported per second, port and reason. All are counted.
    pub drop_samples: u16,
    /// Events that may wait for the listener; further ones are lost and counted.
    pub events: usize,
    /// Called first by each thread of the switch; the server confines it.
    pub thread_start: fn(),
    /// Whether frames wait until [`Switch::resume`].
    pub paused: bool,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self {
            workers: None,
            spin: Duration::ZERO,
            ring: true,
            drop_samples: 5,
            events: 4096,
            thread_start: || (),
            paused: false,
        }
    }
}

/// Settings of a port.
#[derive(Clone, Copy, Debug)]
pub struct AttachOptions {
    /// Frames of one flow that are queued together may be merged towards this port (GRO), and the host segments them.
    /// Off: the host's captures show every frame as it was sent.
    pub coalesce: bool,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self { coalesce: true }
    }
}

/// Why the switch could not be started or a port attached.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A worker thread or its epoll set could not be created.
    #[error("cannot start a worker: {0}")]
    Worker(#[source] std::io::Error),
    /// The kernel refused to watch the device.
    #[error("cannot watch {name}: {source}")]
    Watch {
        /// The device.
        name: String,
        /// The kernel's error.
        source: Errno,
    },
    /// There are 2³² − 1 ports.
    #[error("there are no port numbers left")]
    Full,
}

/// A port of the switch.
struct Port {
    id: PortId,
    /// Distinguishes ports that have the same number one after another.
    serial: u64,
    interface: InterfaceIndex,
    device: PortDevice,
    /// The worker that reads it.
    worker: usize,
    coalesce: AtomicBool,
    lost: AtomicBool,
    /// Its first advertisement interval has begun.
    advertised: AtomicBool,
    /// One block for each worker, and one for unsolicited frames.
    counters: Box<[Block]>,
}

impl Port {
    fn new(
        id: PortId,
        serial: u64,
        interface: InterfaceIndex,
        device: PortDevice,
        worker: usize,
        counters: Box<[Block]>,
    ) -> Self {
        Self {
            id,
            serial,
            interface,
            device,
            worker,
            coalesce: AtomicBool::new(true),
            lost: AtomicBool::new(false),
            advertised: AtomicBool::new(false),
            counters,
        }
    }

    /// Whether frames may be merged towards it.
    #[inline]
    fn merges(&self) -> bool {
        let capabilities = self.device.capabilities();
        capabilities.udp_segmentation && capabilities.tcp_segmentation && self.coalesce.load(Ordering::Relaxed)
    }
}

/// All ports, by number.
type PortTable = Numbered<Port>;

/// State that workers share.
struct Shared {
    fabric: Arc<Fabric>,
    ports: ArcSwap<PortTable>,
    clock: Clock,
    events: Events,
    /// Dropped frames, where they are kept whole.
    drops: Option<Drops>,
    observers: Arc<Observers>,
    services: OnceLock<Arc<ServiceSink>>,
    stop: AtomicBool,
    gate: Gate,
    advertiser: advertiser::Inbox,
    unasked: Mutex<Unasked>,
}

impl Shared {
    fn new(fabric: Arc<Fabric>, clock: Clock, events: Events, observers: Observers, unasked: Unasked) -> Self {
        Self {
            fabric,
            ports: ArcSwap::from_pointee(PortTable::default()),
            clock,
            events,
            drops: None,
            observers: Arc::new(observers),
            services: OnceLock::new(),
            stop: AtomicBool::new(false),
            gate: Gate::default(),
            advertiser: advertiser::Inbox::default(),
            unasked: Mutex::new(unasked),
        }
    }

    /// The current time.
    #[inline]
    fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The sender of unsolicited frames; one thread at a time.
    fn unasked(&self) -> MutexGuard<'_, Unasked> {
        // A panic elsewhere leaves a frame in its buffer, which the next one overwrites.
        self.unasked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State that attaching and detaching changes; one thread at a time.
#[derive(Default)]
struct Registry {
    /// Numbers to be reused, oldest first.
    free: VecDeque<PortId>,
    next_serial: u64,
    /// Number of ports of each worker.
    load: Vec<usize>,
}

struct WorkerHandle {
    queue: Arc<OwnedFd>,
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    fn wake(&self) {
        // The counter of an eventfd is full after 2^64 - 2 wakes; the worker is awake then.
        let _ = rustix::io::write(&self.inbox.wake, &1_u64.to_ne_bytes());
    }
}

/// A running switch. Dropping it stops its workers and closes its ports.
pub struct Switch {
    shared: Arc<Shared>,
    start: Instant,
    registry: Mutex<Registry>,
    workers: Vec<WorkerHandle>,
    advertiser: Option<JoinHandle<()>>,
}

/// Status of a port.
#[derive(Clone, Debug)]
pub struct PortStatus {
    /// Its number.
    pub port: PortId,
    /// The interface that it is attached to.
    pub interface: InterfaceIndex,
    /// The device's name.
    pub name: String,
    /// The largest IP packet in bytes that its host takes.
    pub mtu: u16,
    /// The offloads that its host accepts.
    pub capabilities: port::Capabilities,
    /// Whether frames are merged towards it.
    pub coalesce: bool,
    /// Its device is gone.
    pub lost: bool,
    /// The worker that reads it.
    pub worker: usize,
    /// Its counters.
    pub counters: PortCounters,
}

impl Switch {
    /// Starts a switch without ports; returns it with the receiver of its events.
    pub fn start(
        fabric: Arc<Fabric>,
        config: SwitchConfig,
    ) -> Result<(Self, mpsc::Receiver<SwitchEvent>), SwitchError> {
        let (events, receiver) = Events::new(config.events, config.drop_samples);
        let count = config.workers.map_or_else(default_workers, NonZeroUsize::get);
        let start = Instant::now();
        let observers = Observers::new(SystemTime::now(), start);
        let shared = Arc::new(Shared {
            gate: Gate::new(config.paused),
            ..Shared::new(fabric, Clock::running(start), events, observers, Unasked::new(count))
        });
        let registry = Registry {
            load: vec![0; count],
            ..Registry::default()
        };
        let mut switch = Self {
            shared,
            start,
            registry: Mutex::new(registry),
            workers: Vec::with_capacity(count),
            advertiser: None,
        };
        for index in 0..count {
            let worker = switch.start_worker(index, &config).map_err(SwitchError::Worker)?;
            switch.workers.push(worker);
        }
        let shared = Arc::clone(&switch.shared);
        let thread_start = config.thread_start;
        let advertiser = std::thread::Builder::new()
            .name("advertiser".to_owned())
            .spawn(move || {
                thread_start();
                advertiser::run(&shared);
            });
        switch.advertiser = Some(advertiser.map_err(SwitchError::Worker)?);
        Ok((switch, receiver))
    }

    fn start_worker(&self, index: usize, config: &SwitchConfig) -> std::io::Result<WorkerHandle> {
        let queue = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&*queue, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let inbox = Arc::new(Inbox {
            wake,
            thread: OnceLock::new(),
        });
        let worker = Worker::new(
            Arc::clone(&self.shared),
            index,
            Arc::clone(&queue),
            Arc::clone(&inbox),
            Spin::new(config.spin),
        );
        let (ring, thread_start) = (config.ring, config.thread_start);
        let thread = std::thread::Builder::new()
            .name(format!("switch-{index}"))
            .spawn(move || {
                thread_start();
                worker.run(ring);
            })?;
        Ok(WorkerHandle {
            queue,
            inbox,
            thread: Some(thread),
        })
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Its content is consistent between any two statements that can panic.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the switch was started: the `now` of its decisions and events.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// When the switch was started: the zero of [`Self::now`].
    pub fn started(&self) -> Instant {
        self.start
    }

    /// Begins to observe frames and their verdicts.
    pub fn observe(&self, wanted: Wanted) -> Observation {
        self.shared.observers.observe(wanted)
    }

    /// Octets of frames that wait for observers, and the number of observers.
    pub fn observed(&self) -> (usize, usize) {
        self.shared.observers.held()
    }

    /// Number of worker threads.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// CPU time of each worker. A write runs the receiving host's network stack, which is included. Zero where the
    /// kernel keeps no such account (`/proc/self/task/*/schedstat`).
    pub fn cpu_time(&self) -> Vec<Duration> {
        let read = |worker: &WorkerHandle| {
            let path = format!("/proc/self/task/{}/schedstat", worker.inbox.thread.get()?);
            let nanoseconds = std::fs::read_to_string(path)
                .ok()?
                .split_whitespace()
                .next()?
                .parse()
                .ok()?;
            Some(Duration::from_nanos(nanoseconds))
        };
        self.workers
            .iter()
            .map(|worker| read(worker).unwrap_or_default())
            .collect()
    }

    /// Events lost because the queue was full.
    pub fn lost_events(&self) -> u64 {
        self.shared.events.lost()
    }

    /// Stops reading frames, which wait in the queues of their devices; those that were read have been written. False if
    /// the workers do not stop in time, and go on.
    pub fn pause(&self) -> bool {
        self.shared.gate.close();
        self.workers.iter().for_each(WorkerHandle::wake);
        let paused = self.shared.gate.all_wait(self.workers.len(), LET_GO);
        if !paused {
            self.resume();
        }
        paused
    }

    /// Reads frames again.
    pub fn resume(&self) {
        self.shared.gate.open();
    }

    /// Attaches a device to an interface. `publish` is called with the new port's number when frames can be written to
    /// it, before the first is read from it. It is the place to set the port in the fabric (`FabricWriter::set_port`),
    /// so that not even a host's first solicitation is lost.
    pub fn attach(
        &self,
        interface: InterfaceIndex,
        device: impl Into<PortDevice>,
        options: AttachOptions,
        publish: impl FnOnce(PortId),
    ) -> Result<PortId, SwitchError> {
        let mut registry = self.registry();
        let mut table = PortTable::clone(&self.shared.ports.load());
        let rested = registry.free.len() > REST;
        let reused = if rested { registry.free.pop_front() } else { None };
        let id = match reused {
            Some(id) => id,
            None => u32::try_from(table.next())
                .ok()
                .and_then(PortId::new)
                .ok_or(SwitchError::Full)?,
        };
        let worker = (0..registry.load.len())
            .min_by_key(|&worker| registry.load[worker])
            .unwrap_or(0);
        registry.next_serial += 1;
        let counters = (0..=self.workers.len()).map(|_| Block::default()).collect();
        let port = Port::new(id, registry.next_serial, interface, device.into(), worker, counters);
        port.coalesce.store(options.coalesce, Ordering::Relaxed);
        let port = Arc::new(port);
        table.insert(id.get(), Arc::clone(&port));
        self.shared.ports.store(Arc::new(table));
        registry.load[worker] += 1;
        publish(id);

        let handle = &self.workers[worker];
        let data = epoll::EventData::new_u64(u64::from(id.get()));
        let watched = match port.device.descriptor() {
            Some(device) => epoll::add(&*handle.queue, device, data, epoll::EventFlags::IN),
            // A cable in memory is for the stepped switch only.
            None => Err(Errno::BADF),
        };
        if let Err(source) = watched {
            let name = port.device.name();
            drop(port);
            self.remove(&mut registry, id);
            return Err(SwitchError::Watch { name, source });
        }
        self.shared.advertiser.attached(id.get());
        Ok(id)
    }

    /// Detaches a port and returns its device, which no worker uses any more, with its final counters; `None` when
    /// there is no such port. Closing a TAP blocks for some 20 ms, so close many in several threads.
    pub fn detach(&self, id: PortId) -> Option<(PortDevice, PortCounters)> {
        let port = self.remove(&mut self.registry(), id)?;
        // Workers release their table at the end of a round.
        let patience = later(Instant::now(), LET_GO);
        let mut port = port;
        loop {
            port = match Arc::try_unwrap(port) {
                Ok(port) => return Some((port.device, PortCounters::sum(&port.counters))),
                Err(port) => port,
            };
            if Instant::now() > patience {
                // A worker stopped in a debugger: it closes the device when it goes on.
                tracing::warn!(port = id.get(), "a worker holds on to a port that was taken away");
                return None;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    fn remove(&self, registry: &mut Registry, id: PortId) -> Option<Arc<Port>> {
        let mut table = PortTable::clone(&self.shared.ports.load());
        let port = table.remove(id.get())?;
        // Already removed from the set when its device was lost.
        if let Some(device) = port.device.descriptor() {
            let _ = epoll::delete(&*self.workers[port.worker].queue, device);
        }
        self.shared.ports.store(Arc::new(table));
        registry.load[port.worker] -= 1;
        registry.free.push_back(id);
        Some(port)
    }

    /// Announces each address's owner to the ports of its subnet; the fabric must have the new owners already. Returns
    /// at once: the advertiser's thread sends at most 200 000 announcements a second, each with the owner at the time
    /// of sending. Lists take turns.
    pub fn announce(&self, moved: Vec<Moved>) {
        self.shared.advertiser.moved(moved);
    }

    /// Sets the receiver of frames for the link-local services; false when there is one already. Until then they are
    /// dropped as `no_service`.
    pub fn set_services(&self, sink: Arc<ServiceSink>) -> bool {
        self.shared.services.set(sink).is_ok()
    }

    /// Writes a frame of a service to a port in the calling thread; false when there is no such port or its device
    /// refuses the frame.
    pub fn inject(&self, id: PortId, frame: &[u8]) -> bool {
        self.shared.unasked().inject(&self.shared, id, frame)
    }

    /// Turns merging towards a port on or off; false when there is no such port.
    pub fn set_coalesce(&self, id: PortId, coalesce: bool) -> bool {
        let table = self.shared.ports.load();
        let port = table.get(id.get());
        if let Some(port) = port {
            port.coalesce.store(coalesce, Ordering::Relaxed);
        }
        port.is_some()
    }

    /// Sets a port's carrier, as its host sees it; `None` when there is no such port.
    pub fn set_carrier(&self, id: PortId, up: bool) -> Option<Result<(), port::PortError>> {
        let table = self.shared.ports.load_full();
        Some(table.get(id.get())?.device.set_carrier(up))
    }

    /// The counters of a port.
    pub fn counters(&self, id: PortId) -> Option<PortCounters> {
        Some(PortCounters::sum(&self.shared.ports.load().get(id.get())?.counters))
    }

    /// The status of a port.
    pub fn port(&self, id: PortId) -> Option<PortStatus> {
        self.shared.ports.load().get(id.get()).map(|port| status(port))
    }

    /// The status of all ports, by number.
    pub fn ports(&self) -> Vec<PortStatus> {
        self.shared.ports.load().iter().map(|port| status(port)).collect()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.gate.open();
        self.shared.advertiser.stopped();
        if let Some(advertiser) = self.advertiser.take() {
            // A panic in it has been reported already.
            let _ = advertiser.join();
        }
        for worker in &mut self.workers {
            worker.wake();
            if let Some(thread) = worker.thread.take() {
                // A panic in it has been reported already.
                let _ = thread.join();
            }
        }
    }
}

fn status(port: &Port) -> PortStatus {
    PortStatus {
        port: port.id,
        interface: port.interface,
        name: port.device.name(),
        mtu: port.device.mtu(),
        capabilities: port.device.capabilities(),
        coalesce: port.coalesce.load(Ordering::Relaxed),
        lost: port.lost.load(Ordering::Relaxed),
        worker: port.worker,
        counters: PortCounters::sum(&port.counters),
    }
}

/// On two CPUs the hosts need the second one.
fn default_workers() -> usize {
    match std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
        0..=2 => 1,
        cpus => cpus.min(4),
    }
}
