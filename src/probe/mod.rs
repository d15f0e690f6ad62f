//! Sends a stream of small requests to an address, records when each was sent and answered and what the switch did with
//! it, and computes the outage from the record.
//!
//! A probe runs in the network namespace of an instance or of any other host, and uses ordinary sockets of its kernel.

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

use crate::contain;
use crate::control::Controller;
use crate::datapath::DropReason;
use crate::lab::{Namespace, NamespaceError};
use crate::model::InterfaceId;
use crate::model::duration::{AnswerTimeout, since_epoch};
use flow::Flow;

/// The default port of [`Responder`]: the echo protocol's (RFC 862).
pub const ECHO_PORT: u16 = 7;

/// The allowed rates, in requests a second.
pub const RATES: std::ops::RangeInclusive<u32> = 1..=1000;

/// The kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// An ICMP or ICMPv6 echo request.
    Icmp,
    /// A datagram that the responder echoes.
    Udp,
    /// A TCP handshake on a new connection.
    Tcp,
    /// A GET request on a new connection. Any status below 500 is an answer.
    Http,
}

/// A stream of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeSpec {
    /// The kind of request.
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
    /// An answer that takes longer counts as lost.
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

    /// A filter that matches the frames of this stream.
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
    /// The drop reason.
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
    /// The name that the responder gave in its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// An error of the host's kernel, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The source port of its connection, while the record is made.
    #[serde(skip)]
    pub(crate) port: Option<u16>,
    /// What the switch did with its packets, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fates: Vec<PacketFate>,
}

/// The record of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeRecord {
    /// What was probed.
    pub spec: ProbeSpec,
    /// Where it was sent from.
    pub from: String,
    /// When it began, in UTC. Times of requests are counted from it.
    #[serde(with = "crate::model::duration::rfc3339_nanoseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub began_at: u64,
    /// Every request, in the order of sending.
    pub requests: Vec<Request>,
    /// Packets that were not recorded because there were too many at once.
    pub unrecorded: u64,
}

impl ProbeRecord {
    /// When it began.
    pub fn began(&self) -> SystemTime {
        since_epoch(Duration::from_nanos(self.began_at))
    }
}

/// Why a probe could not run.
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
        /// The operation.
        what: &'static str,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// Its thread panicked.
    #[error("the probe panicked, which is a defect of localvpc: {0}")]
    Panicked(String),
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
        // Plain data without invariants between fields.
        self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        // Fits for 584 years.
        self.start.elapsed().as_nanos() as u64
    }

    /// Adds a request and returns its number.
    fn begin(&self) -> usize {
        let sent = self.now();
        let mut requests = self.lock();
        requests.push(Request {
            sent,
            ..Request::default()
        });
        requests.len() - 1
    }

    /// Records an answer. Only the first one counts.
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

/// A running probe. Dropping it ends it.
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
    /// Starts a probe in a namespace. `from` is the name of the host there; with `interface`, the host's own, the
    /// switch records what it does with each packet. The first request is sent right after this returns.
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
        // Sent once the sockets are open, and never when they cannot be opened.
        if opened.recv().is_err() {
            probe.join()?;
        }
        Ok(probe)
    }

    /// The requests so far, without the switch's record.
    pub fn so_far(&self) -> Vec<Request> {
        self.log.lock().clone()
    }

    fn join(&mut self) -> Result<(), ProbeError> {
        // The thread may have ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(payload)) => {
                contain::report("a probe", &*payload);
                Err(ProbeError::Panicked(contain::message(&*payload).to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Ends the probe: no more requests are sent, and answers that may still arrive in time are awaited.
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
            tracing::debug!(%error, "a probe that was dropped had failed");
        }
    }
}

/// An event while a probe ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A failure was injected: a fault began, a host was frozen or killed.
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

/// An event on the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Mark {
    /// When, in nanoseconds since the probe began; negative: before it.
    pub at: i64,
    /// The kind of event.
    pub kind: MarkKind,
    /// A description.
    pub text: String,
}

/// A probe with its results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// The figures.
    pub outage: Outage,
    /// Who owned the address.
    pub owners: Vec<outage::Ownership>,
    /// Names of the interfaces in the record.
    pub names: std::collections::BTreeMap<String, String>,
    /// Events while it ran, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// Every request.
    pub record: ProbeRecord,
}
