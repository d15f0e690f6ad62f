//! Serves what a VPC offers at its link-local addresses: metadata, DNS and time. Each interface that sends a request
//! gets an IP stack of its own inside the switch. One thread runs all of them; the workers pass packets to it and never
//! wait.

pub mod clock;
mod connection;
mod device;
pub mod dns;
pub mod endpoint;
pub mod fixed;
pub mod http;
pub mod imds;
pub mod ntp;
mod packet;
mod server;
mod stack;
pub mod tls;
pub mod unanswered;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use dashmap::DashMap;

use crate::contain;
use crate::datapath::{DropReason, Received};
use crate::mapping::{InterfaceIndex, PortId};

use clock::{Clock, Entropy, HostClock, SeededEntropy};
pub use dns::NameSource;
pub use endpoint::{Endpoint, EndpointSlot};
pub use imds::MetadataSource;
pub use ntp::TimeSource;
pub use packet::{Served, served};
pub use server::{Api, Server};
pub use tls::{Authority, Root};
use unanswered::Counters;

/// The data that the services answer with.
pub trait Source: MetadataSource + NameSource + TimeSource {}

impl<T: MetadataSource + NameSource + TimeSource> Source for T {}

/// Writes a frame to the device of a port. It must not block for long.
pub type Inject = dyn Fn(PortId, &[u8]) + Send + Sync;

/// Sends a query to the external resolver. It must not block.
pub type Upstream = Box<dyn FnMut(&[u8]) + Send>;

/// The limits of the services. A connection takes at most some 40 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Interfaces with a stack.
    pub interfaces: usize,
    /// Connections of one interface.
    pub per_interface: usize,
    /// Connections of all interfaces; beyond it each may still have `reserved`.
    pub connections: usize,
    /// Connections that an interface may always have.
    pub reserved: usize,
    /// From SYN to the end of the handshake.
    pub handshake: Duration,
    /// From one whole request to the next.
    pub idle: Duration,
    /// From the last answer to the end of the connection.
    pub closing: Duration,
    /// From the last packet of an interface to the end of its stack.
    pub unused: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            interfaces: 1024,
            per_interface: 128,
            connections: 2048,
            reserved: 8,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            closing: Duration::from_secs(5),
            unused: Duration::from_secs(60),
        }
    }
}

/// Has the services look after the connections of an interface, from another thread: an answer has come.
pub type Wake = Arc<dyn Fn(InterfaceIndex) + Send + Sync>;

/// Settings of the services.
#[derive(Clone)]
pub struct ServicesConfig {
    /// The limits.
    pub limits: Limits,
    /// A resolver for names outside the VPC's domains; without one they are REFUSED.
    pub forward_to: Option<SocketAddr>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where tokens and sequence numbers come from.
    pub entropy: Arc<dyn Entropy>,
    /// The secret of tokens of the metadata service; one that is drawn if left out, and tokens end with the services.
    pub token_secret: Option<imds::TokenSecret>,
    /// What serves the API to hosts, and by which certificate; without it there is no endpoint.
    pub endpoint: Option<(EndpointSlot, Authority)>,
    /// Called first by each thread of the services: a server confines it.
    pub thread_start: fn(),
}

impl Default for ServicesConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            forward_to: None,
            clock: Arc::new(HostClock::default()),
            entropy: Arc::new(SeededEntropy::unpredictable()),
            token_secret: None,
            endpoint: None,
            thread_start: || (),
        }
    }
}

/// State of the services that others may read.
#[derive(Debug, Default)]
pub struct Shared {
    counters: DashMap<InterfaceIndex, Arc<Counters>>,
    connections: AtomicUsize,
    interfaces: AtomicUsize,
}

impl Shared {
    /// The counters of an interface.
    pub fn of(&self, interface: InterfaceIndex) -> Arc<Counters> {
        Arc::clone(&self.counters.entry(interface).or_default())
    }

    /// TCP connections, half-open ones included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Interfaces with a stack.
    pub fn interfaces(&self) -> usize {
        self.interfaces.load(Ordering::Relaxed)
    }
}

/// Frames in the queue of the services' thread.
const FRAMES: usize = 1024;
/// Entries in that queue other than frames.
const OTHERS: usize = 256;
/// Octets of the frames in the queue.
const OCTETS: usize = 4 << 20;
/// The longest sleep, when nothing is due.
const SLEEP: Duration = Duration::from_secs(3600);

enum Input {
    Frame {
        interface: InterfaceIndex,
        port: PortId,
        bytes: Box<[u8]>,
        checksum_pending: bool,
    },
    Resolved(Vec<u8>),
    Forget(InterfaceIndex),
    Wake(InterfaceIndex),
    Stop,
}

/// The running services. Dropping it ends their thread.
pub struct Services {
    handle: ServicesHandle,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Passes packets to the services.
#[derive(Clone)]
pub struct ServicesHandle {
    input: SyncSender<Input>,
    waiting: Arc<Waiting>,
    shared: Arc<Shared>,
}

/// The fill of the queue.
#[derive(Debug, Default)]
struct Waiting {
    frames: AtomicUsize,
    octets: AtomicUsize,
}

impl Waiting {
    /// Reserves room for a frame; false where there is none.
    fn enter(&self, octets: usize) -> bool {
        let frames = self.frames.fetch_add(1, Ordering::Relaxed);
        let fits = self.octets.fetch_add(octets, Ordering::Relaxed) + octets <= OCTETS && frames < FRAMES;
        if !fits {
            self.leave(octets);
        }
        fits
    }

    fn leave(&self, octets: usize) {
        self.frames.fetch_sub(1, Ordering::Relaxed);
        self.octets.fetch_sub(octets, Ordering::Relaxed);
    }
}

impl ServicesHandle {
    /// Passes a frame that the decision left to the services. Never blocks; a frame that does not fit is dropped.
    /// `taken` is called once there is room, before the frame can be answered.
    pub fn submit(
        &self,
        interface: InterfaceIndex,
        port: PortId,
        frame: Received<'_>,
        taken: &mut dyn FnMut(),
    ) -> Result<(), DropReason> {
        let length = frame.bytes.len();
        if !self.waiting.enter(length) {
            return Err(DropReason::ServiceBusy);
        }
        taken();
        let input = Input::Frame {
            interface,
            port,
            bytes: frame.bytes.into(),
            checksum_pending: frame.meta.checksum_pending,
        };
        // The queue has more places than frames may wait, so this fails only when the thread is gone.
        self.input.try_send(input).map_err(|_: TrySendError<Input>| {
            self.waiting.leave(length);
            DropReason::ServiceBusy
        })
    }

    /// Drops the stack of an interface that was detached or deleted. Waits for room in the queue.
    pub fn forget(&self, interface: InterfaceIndex) {
        self.shared.counters.remove(&interface);
        // Without a thread there is no stack.
        let _ = self.input.send(Input::Forget(interface));
    }

    /// Counters and current sizes.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Services {
    /// Starts the services' thread, and a second one for the answers of the external resolver if there is one.
    ///
    /// # Errors
    /// When a thread or the socket to the resolver cannot be created.
    pub fn start(source: Arc<dyn Source>, config: ServicesConfig, inject: Arc<Inject>) -> io::Result<Self> {
        let (input, inputs) = sync_channel(FRAMES + OTHERS);
        let waiting = Arc::new(Waiting::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let (mut threads, mut upstream) = (Vec::new(), None);
        let thread_start = config.thread_start;
        if let Some(resolver) = config.forward_to {
            let socket = Arc::new(connected(resolver)?);
            let (listening, answers, stop) = (Arc::clone(&socket), input.clone(), Arc::downgrade(&stopping));
            let thread = std::thread::Builder::new().name("dns-upstream".to_owned());
            threads.push(thread.spawn(move || {
                thread_start();
                contain::until_done("the answers of the resolver", || listen(&listening, &answers, &stop));
            })?);
            upstream = Some(socket);
        }
        let (made, shared) = sync_channel(1);
        let inside = Arc::clone(&waiting);
        let waking = input.clone();
        let thread = std::thread::Builder::new().name("services".to_owned());
        threads.push(thread.spawn(move || {
            let upstream = upstream.map(|socket| -> Upstream {
                // A query that cannot be sent gets no answer, and its client gets SERVFAIL.
                Box::new(move |query| drop(socket.send(query)))
            });
            thread_start();
            let clock = Arc::clone(&config.clock);
            let mut server = Server::new(source, config.clock, config.entropy, config.limits, inject, upstream);
            if let Some(secret) = config.token_secret {
                server.seal_tokens_with(secret);
            }
            if let Some((slot, authority)) = config.endpoint {
                // Where the thread is gone there is no connection to look after.
                let wake: Wake = Arc::new(move |interface| drop(waking.send(Input::Wake(interface))));
                server.serve_endpoint(slot, authority, wake);
            }
            let _ = made.send(server.shared());
            run(server, &*clock, &inputs, &inside);
        })?);
        let shared = shared
            .recv()
            .map_err(|_| io::Error::other("the services' thread ended at once"))?;
        Ok(Self {
            handle: ServicesHandle { input, waiting, shared },
            stopping,
            threads,
        })
    }

    /// A handle for code that has packets.
    pub fn handle(&self) -> ServicesHandle {
        self.handle.clone()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // The thread may have ended already.
        let _ = self.handle.input.send(Input::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the link-local services panicked");
            }
        }
    }
}

fn run(mut server: Server, clock: &dyn Clock, inputs: &Receiver<Input>, waiting: &Waiting) {
    loop {
        let sleep = server.next().map_or(SLEEP, |at| at.saturating_sub(clock.monotonic()));
        let input = match inputs.recv_timeout(sleep) {
            Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
        };
        // A panic loses the packet; the next one is served.
        contain::once("the link-local services", || {
            take(&mut server, input, waiting);
            contain::site("services");
            server.advance();
        });
    }
}

fn take(server: &mut Server, input: Option<Input>, waiting: &Waiting) {
    match input {
        Some(Input::Frame {
            interface,
            port,
            bytes,
            checksum_pending,
        }) => {
            waiting.leave(bytes.len());
            server.receive(interface, port, &bytes, checksum_pending);
        }
        Some(Input::Resolved(answer)) => server.resolved(answer),
        Some(Input::Forget(interface)) => server.forget(interface),
        Some(Input::Wake(interface)) => server.wake(interface),
        Some(Input::Stop) | None => {}
    }
}

/// A socket connected to the resolver, so that it receives from no other address.
fn connected(resolver: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(resolver)?;
    // So that the receiving thread notices when it must stop.
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

fn listen(socket: &UdpSocket, answers: &SyncSender<Input>, stop: &Weak<AtomicBool>) {
    let mut buffer = vec![0; 65_535];
    while stop.upgrade().is_some_and(|stop| !stop.load(Ordering::Relaxed)) {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                contain::site("dns-upstream");
                // A full queue loses the answer, and the client gets SERVFAIL.
                let _ = answers.try_send(Input::Resolved(buffer[..length].to_vec()));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            // An absent resolver refuses each query; it may start later.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
