//! Probes: a stream of small requests from a host towards an address, each with the time at which it was sent and
//! answered, and beside it what the switch did with it. From this an outage is computed that can be stood by.
//!
//! A probe runs in the network namespace of an instance, or of any other host, and uses its kernel's own sockets.

mod flow;
mod icmp;
pub mod outage;
pub mod responder;
mod stream;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use outage::{Outage, Ownership};
pub use responder::Responder;

use crate::control::Controller;
use crate::datapath::DropReason;
use crate::lab::{Namespace, NamespaceError};
use crate::model::InterfaceId;
use crate::model::duration::{AnswerTimeout, since_epoch};
use flow::Flow;

/// The port of [`Responder`], unless another is asked for: that of the echo protocol (RFC 862).
pub const ECHO_PORT: u16 = 7;

/// How many requests a second there may be.
pub const RATES: std::ops::RangeInclusive<u32> = 1..=1000;

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// An ICMP or ICMPv6 echo request.
    Icmp,
    /// A datagram that is to be echoed.
    Udp,
    /// A TCP handshake, with a connection of its own each time.
    Tcp,
    /// A GET request over a connection of its own. Any status below 500 is an answer.
    Http,
}

/// What to probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeSpec {
    /// What is sent.
    pub kind: ProbeKind,
    /// To which address.
    #[schema(value_type = String)]
    pub target: IpAddr,
    /// To which port; [`ECHO_PORT`] if left out, or 80 for HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path of a GET request; `/` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Requests a second, 1 to 1000.
    #[serde(default = "default_rate")]
    pub rate: u32,
    /// An answer that takes longer than this is none.
    #[serde(default = "default_timeout")]
    pub timeout: AnswerTimeout,
}

fn default_rate() -> u32 {
    100
}

fn default_timeout() -> AnswerTimeout {
    const { AnswerTimeout::constant(Duration::from_secs(1)) }
}

impl ProbeSpec {
    /// A hundred requests a second.
    pub fn new(kind: ProbeKind, target: IpAddr) -> Self {
        Self {
            kind,
            target,
            port: None,
            path: None,
            rate: default_rate(),
            timeout: default_timeout(),
        }
    }

    /// The port, where the kind has one.
    pub fn port(&self) -> u16 {
        let usual = if self.kind == ProbeKind::Http { 80 } else { ECHO_PORT };
        self.port.unwrap_or(usual)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.rate.max(1)
    }

    /// The frames of this stream, as a filter.
    fn filter(&self) -> String {
        let family = if self.target.is_ipv6() { "6" } else { "" };
        match self.kind {
            ProbeKind::Icmp => format!("icmp{family} and dst host {}", self.target),
            ProbeKind::Udp => format!("udp dst port {} and dst host {}", self.port(), self.target),
            ProbeKind::Tcp | ProbeKind::Http => format!("tcp dst port {} and dst host {}", self.port(), self.target),
        }
    }
}

/// What the switch did with one packet of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PacketFate {
    /// When, in nanoseconds since the probe began.
    pub at: u64,
    /// The interface that it was delivered to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_to: Option<InterfaceId>,
    /// Why it went nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<DropReason>,
}

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Request {
    /// When it was sent, in nanoseconds since the probe began.
    pub sent: u64,
    /// When its answer came, likewise; absent when none came in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// Who said that they answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the host's kernel said, where it was not silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The port that its connection came from, while the record is made.
    #[serde(skip)]
    pub(crate) port: Option<u16>,
    /// What the switch did with its packets, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fates: Vec<PacketFate>,
}

/// All that was seen of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeRecord {
    /// What was probed.
    pub spec: ProbeSpec,
    /// Where from.
    pub from: String,
    /// When it began, in nanoseconds since 1970, UTC.
    pub began_at: u64,
    /// Every request, in the order of sending.
    pub requests: Vec<Request>,
    /// Packets whose fate was not recorded because there were too many at once.
    pub unrecorded: u64,
}

impl ProbeRecord {
    /// When it began.
    pub fn began(&self) -> SystemTime {
        since_epoch(Duration::from_nanos(self.began_at))
    }
}

/// Why there is no probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The rate.
    #[error("a probe sends 1 to 1000 requests a second, not {0}")]
    Rate(u32),
    /// The namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A thread, a socket or a runtime.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> ProbeError {
    move |source| ProbeError::Io { what, source }
}

/// Requests and the time that they count from.
#[derive(Debug)]
struct Log {
    start: Instant,
    requests: Mutex<Vec<Request>>,
}

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Request>> {
        // Plain data that is never half changed.
        self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        // 584 years.
        self.start.elapsed().as_nanos() as u64
    }

    /// Begins a request, and returns its number.
    fn begin(&self) -> usize {
        let sent = self.now();
        let mut requests = self.lock();
        requests.push(Request {
            sent,
            ..Request::default()
        });
        requests.len() - 1
    }

    /// An answer came. Only the first one counts.
    fn answer(&self, number: usize, by: Option<String>) {
        let now = self.now();
        if let Some(request) = self.lock().get_mut(number)
            && request.answered.is_none()
        {
            (request.answered, request.by) = (Some(now), by);
        }
    }

    fn fail(&self, number: usize, error: &std::io::Error) {
        if let Some(request) = self.lock().get_mut(number) {
            request.error = Some(error.to_string());
        }
    }
}

/// A probe that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Probe {
    spec: ProbeSpec,
    from: String,
    began: SystemTime,
    log: Arc<Log>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ProbeError>>>,
    flow: Option<Flow>,
}

impl Probe {
    /// Starts a probe in a namespace. `from` is what the host there is called; with `interface`, the host's own, the switch
    /// records what it does with each packet. The first request leaves right after this has returned.
    pub fn start(
        namespace: &Namespace,
        from: impl Into<String>,
        spec: ProbeSpec,
        interface: Option<(&Controller, InterfaceId)>,
    ) -> Result<Self, ProbeError> {
        if !RATES.contains(&spec.rate) {
            return Err(ProbeError::Rate(spec.rate));
        }
        let log = Arc::new(Log {
            start: Instant::now(),
            requests: Mutex::default(),
        });
        let began = SystemTime::now();
        let flow = interface.map(|(controller, id)| Flow::start(controller, id, &spec, log.start));
        let flow = flow.transpose().map_err(io("start a thread"))?;
        let (stop, stopped) = oneshot::channel();
        let (ready, opened) = std::sync::mpsc::channel();
        let (namespace, thread_log, thread_spec) = (namespace.clone(), Arc::clone(&log), spec.clone());
        let thread = std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || namespace.run(|| stream::run(&thread_spec, &thread_log, &ready, stopped))?)
            .map_err(io("start a thread"))?;
        let mut probe = Self {
            spec,
            from: from.into(),
            began,
            log,
            stop: Some(stop),
            thread: Some(thread),
            flow,
        };
        // It is told of once the sockets are open, and never when they could not be opened.
        if opened.recv().is_err() {
            probe.join()?;
        }
        Ok(probe)
    }

    /// What was seen so far, without what the switch did.
    pub fn so_far(&self) -> Vec<Request> {
        self.log.lock().clone()
    }

    fn join(&mut self) -> Result<(), ProbeError> {
        // A thread that has ended by itself hears nothing; that is as good.
        let _ = self.stop.take().map(|stop| stop.send(()));
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }

    /// Ends the probe: nothing is sent any more, and answers that may still come in time are waited for.
    pub fn stop(mut self) -> Result<ProbeRecord, ProbeError> {
        self.join()?;
        let mut requests = std::mem::take(&mut *self.log.lock());
        let timeout = self.spec.timeout.get().as_nanos() as u64;
        for request in &mut requests {
            if request
                .answered
                .is_some_and(|answered| answered - request.sent > timeout)
            {
                request.answered = None;
            }
        }
        let unrecorded = match self.flow.take() {
            Some(flow) => flow.stop(&mut requests),
            None => 0,
        };
        requests.iter_mut().for_each(|request| request.port = None);
        let began = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(ProbeRecord {
            spec: self.spec.clone(),
            from: std::mem::take(&mut self.from),
            began_at: began.as_nanos() as u64,
            requests,
            unrecorded,
        })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::debug!(%error, "a probe that nobody asked about had failed");
        }
    }
}

/// What happened while a probe ran, beside its own requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// Something went wrong on purpose: a fault began, a host was frozen or killed.
    Fault,
    /// A fault ended, a host was thawed.
    FaultEnd,
    /// The API gave the address to another interface.
    ApiCall,
    /// A host or the VPC announced the address: gratuitous ARP, unsolicited neighbor advertisement.
    Announcement,
    /// The first packet arrived at the new owner.
    FirstPacket,
}

/// One such thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Mark {
    /// When, in nanoseconds since the probe began; negative: before it.
    pub at: i64,
    /// What.
    pub kind: MarkKind,
    /// In words.
    pub text: String,
}

/// A probe with what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeReport {
    /// What it is called.
    pub name: String,
    /// The figures.
    pub outage: Outage,
    /// Who owned the address.
    pub owners: Vec<outage::Ownership>,
    /// Names of the interfaces that occur.
    pub names: std::collections::BTreeMap<String, String>,
    /// What happened in the meantime, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// Every request.
    pub record: ProbeRecord,
}
