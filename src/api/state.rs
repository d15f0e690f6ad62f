//! State that all handlers share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::bodies::{self, Budget};
use super::connections::{ConnectionCounts, Connections};
use super::ec2::{Keys, Memory};
use super::guard::{GuardConfig, Permissions};
use super::rest::{Answers, Containers, Opening};
use crate::control::{Author, ControlError, Controller};
use crate::model::InterfaceId;
use crate::runtime::Runtime;
use crate::scenario::play::StageOptions;
use crate::scenario::runs::Runs;

/// Shared by all handlers; clones are cheap.
#[derive(Clone)]
pub struct AppState {
    /// The only writer of the network.
    pub controller: Controller,
    /// The rules of access.
    pub guard: Arc<GuardConfig>,
    /// Stored scenarios, and runs on networks of their own.
    pub runs: Arc<Runs>,
    /// The instances of the server's network, if it has a lab.
    pub runtime: Option<Arc<Runtime>>,
    inner: Arc<Inner>,
}

struct Inner {
    /// Distinguishes the event numbers of this start of the server from those of an earlier one.
    epoch: String,
    stopping: watch::Sender<bool>,
    /// Inherited descriptors that are in use, with the port that uses them.
    inherited: Mutex<HashMap<i32, (InterfaceId, u32)>>,
    /// Held while the network is changed to that of a file.
    topology: Mutex<()>,
    /// The threads that open files named by clients.
    opening: Opening,
    /// The containers in which devices were attached.
    containers: Containers,
    /// The memory of request bodies.
    bodies: Arc<Budget>,
    /// What the EC2 API remembers between calls.
    ec2: Memory,
    /// The connections, once there is a socket.
    connections: OnceLock<Arc<Connections>>,
    /// Answers to requests that may come again.
    answers: Answers,
    /// Networks of the past that were asked for lately, by revision.
    past: Mutex<VecDeque<(u64, Controller)>>,
}

/// Networks of the past that are held for further questions.
const PAST: usize = 4;

impl AppState {
    /// The state of a server for this Controller.
    pub fn new(controller: Controller, guard: GuardConfig) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (stopping, _) = watch::channel(false);
        let inner = Inner {
            epoch: format!("{:x}", since.as_millis()),
            stopping,
            inherited: Mutex::default(),
            topology: Mutex::default(),
            opening: Opening::default(),
            containers: Containers::default(),
            bodies: Arc::new(Budget::new(bodies::LIMIT)),
            ec2: Memory::default(),
            connections: OnceLock::new(),
            answers: Answers::default(),
            past: Mutex::default(),
        };
        Self {
            controller,
            guard: Arc::new(guard),
            runs: Arc::new(Runs::new(StageOptions {
                api: Some(super::inside::serve_hosts),
                ..StageOptions::default()
            })),
            runtime: None,
            inner: Arc::new(inner),
        }
    }

    /// The state of a server whose network has a lab.
    pub fn of_runtime(runtime: Arc<Runtime>, guard: GuardConfig) -> Self {
        let mut state = Self::new(runtime.controller().clone(), guard);
        state.runtime = Some(runtime);
        state
    }

    /// The same state, whose EC2 API throttles requests as EC2 documents it.
    #[must_use]
    pub fn throttling_ec2(self) -> Self {
        self.inner.ec2.throttle();
        self
    }

    /// The same state, whose EC2 API verifies the signature of each request: with these keys, and with those of roles.
    #[must_use]
    pub fn verifying_ec2(self, keys: Keys) -> Self {
        self.inner.ec2.verify(keys);
        self
    }

    /// The same state with another store of runs.
    #[must_use]
    pub fn with_runs(mut self, runs: Arc<Runs>) -> Self {
        self.runs = runs;
        self
    }

    /// The same state, whose edits have this author.
    #[must_use]
    pub fn edited_by(&self, author: Author) -> Self {
        let mut state = self.clone();
        state.controller = state.controller.on_behalf_of(author);
        state
    }

    /// The permissions of this server beyond editing the network.
    pub fn permissions(&self) -> Permissions {
        self.guard.permissions
    }

    /// The identifier of this start of the server.
    pub(crate) fn epoch(&self) -> &str {
        &self.inner.epoch
    }

    /// Becomes true when the server stops, so that streams without an end are closed.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.subscribe()
    }

    /// Ends every stream.
    pub fn stop(&self) {
        self.inner.stopping.send_replace(true);
    }

    /// The containers in which devices were attached.
    pub(crate) fn containers(&self) -> &Containers {
        &self.inner.containers
    }

    /// The memory of request bodies.
    pub(crate) fn bodies(&self) -> &Arc<Budget> {
        &self.inner.bodies
    }

    /// What the EC2 API remembers between calls.
    pub(crate) fn ec2(&self) -> &Memory {
        &self.inner.ec2
    }

    /// Shows the connections of this server in its metrics; those of the first sockets, if there are several.
    pub(crate) fn serves(&self, connections: &Arc<Connections>) {
        self.inner.connections.get_or_init(|| Arc::clone(connections));
    }

    /// The counts of connections.
    pub(crate) fn connections(&self) -> ConnectionCounts {
        self.inner
            .connections
            .get()
            .map(|connections| connections.counts())
            .unwrap_or_default()
    }

    /// Answers to requests that may come again.
    pub(crate) fn answers(&self) -> &Answers {
        &self.inner.answers
    }

    /// The same state with the network of a revision. It may take a while for an old one.
    pub(crate) fn at(&self, revision: u64) -> Result<Self, ControlError> {
        // What it guards is put in and taken out whole.
        let past = || {
            self.inner
                .past
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let held = past()
            .iter()
            .find(|(of, _)| *of == revision)
            .map(|(_, held)| held.clone());
        let controller = match held {
            Some(controller) => controller,
            None => {
                let controller = self.controller.at(revision)?;
                let mut past = past();
                past.truncate(PAST - 1);
                past.push_front((revision, controller.clone()));
                controller
            }
        };
        Ok(Self {
            controller,
            ..self.clone()
        })
    }

    /// The threads that open files named by clients.
    pub(crate) fn opening(&self) -> &Opening {
        &self.inner.opening
    }

    /// The holder is the only one that changes the whole network to that of a file.
    pub(crate) fn topology(&self) -> std::sync::MutexGuard<'_, ()> {
        // It protects no data that could be half changed.
        let guard = self.inner.topology.lock();
        guard.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The inherited descriptors in use.
    pub(crate) fn inherited(&self) -> std::sync::MutexGuard<'_, HashMap<i32, (InterfaceId, u32)>> {
        // A map of numbers is never half changed.
        self.inner
            .inherited
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
