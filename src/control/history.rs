//! Numbers the edits of the network, keeps them in a store, and reads the past: edits, former states of the network,
//! undo.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::change_events::events_of;
use super::controller::{Controller, ControllerConfig, State};
use super::error::ControlError;
use super::events::{Author, Event, EventKind};
use super::ports::OpenPort;
use super::request::Request;
use crate::mapping::PortId;
use crate::model::change::{Change, Commit};
use crate::model::{InterfaceId, Network, outside};
use crate::store::{CommitError, FollowError, Kept, Store, StoreError};

/// Commits that are read from the store at once.
const BATCH: usize = 1000;

/// The name of an undo in the log; the revision that it undoes follows.
const UNDO: &str = "Undo";

/// A point of the past: a revision, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// After this commit.
    Revision(u64),
    /// After the last commit that was made by then.
    Time(SystemTime),
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Revision(revision) => revision.fmt(f),
            Self::Time(time) => humantime::format_rfc3339_micros(*time).fmt(f),
        }
    }
}

impl std::str::FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(revision) = text.parse() {
            return Ok(Self::Revision(revision));
        }
        let time = humantime::parse_rfc3339_weak(text);
        time.map(Self::Time)
            .map_err(|_| format!("'{text}' is neither a revision nor a time such as 2026-01-31T12:00:00Z"))
    }
}

/// An event of the past: it belongs to a commit that the store still has.
#[derive(Debug, Clone)]
pub struct PastEvent {
    /// The commit.
    pub commit: Arc<Commit>,
    /// The event.
    pub kind: EventKind,
    /// Whether it is the last event of its commit.
    pub last: bool,
}

impl PastEvent {
    /// The event. It has no number: numbers count from the start of a server.
    pub fn event(self) -> Event {
        let instance = self.commit.author.strip_prefix("instance ");
        Event {
            id: 0,
            at: self.commit.at,
            revision: Some(self.commit.revision),
            last_of_revision: self.last,
            author: instance.map(|name| Author::Instance(name.into())),
            kind: self.kind,
        }
    }
}

fn gone(problem: String, oldest: u64) -> ControlError {
    ControlError::NotKept { problem, oldest }
}

impl From<FollowError> for ControlError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Gone { oldest, .. } => gone(error.to_string(), oldest),
            FollowError::Store(error) => error.into(),
        }
    }
}

impl Controller {
    /// A Controller of the network in a store, which keeps every further edit.
    pub fn open(config: ControllerConfig, store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let loaded = store.load()?;
        let controller = Self::build(config, store, loaded.revision);
        {
            let mut guard = controller.write();
            let state = &mut *guard;
            for change in &loaded.changes {
                state.network.apply(change);
            }
            state.network.skip_sequences(loaded.next_sequence);
            controller.bind(state, &loaded.changes);
        }
        Ok(controller)
    }

    /// Follows commits that another server of the same store has made: each is the next one.
    pub fn catch_up(&self, commits: &[Arc<Commit>]) {
        let Some(last) = commits.last() else { return };
        let mut guard = self.write();
        let state = &mut *guard;
        for commit in commits {
            for change in &commit.changes {
                state.network.apply(change);
            }
            state.network.skip_sequences(commit.next_sequence);
            self.bind(state, &commit.changes);
        }
        // As at a start, which would not draw the identifiers again that the other server has drawn.
        state.rng = ChaCha8Rng::seed_from_u64(self.shared.seed.wrapping_add(last.revision));
        self.shared.revision.store(last.revision, Ordering::Release);
        self.events_until(last.revision);
    }

    /// A Controller of a network without a switch, for questions about it.
    fn of_past(network: Network, revision: u64) -> Self {
        let controller = Self::build(
            ControllerConfig::default(),
            Arc::new(crate::store::Memory::of_commits()),
            revision,
        );
        {
            let mut guard = controller.write();
            let state = &mut *guard;
            let changes = network.creating();
            state.network = network;
            controller.bind(state, &changes);
            // What was attached had a port, whose number is not known any more; any number will do.
            let attached: Vec<InterfaceId> = state
                .network
                .interfaces(None)
                .filter(|interface| interface.attachment.is_some() || interface.subnet_id == outside::SUBNET)
                .map(|interface| interface.id)
                .collect();
            for (number, interface) in (1..).zip(attached) {
                let Some(port) = PortId::new(number) else { continue };
                state.binding.set_port(interface, Some(port));
                let open = OpenPort {
                    port,
                    device: "the past".to_owned(),
                    in_host: false,
                };
                state.ports.insert(interface, open);
            }
        }
        controller
    }

    /// The revision of the network: that of the last commit.
    pub fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    /// Where commits are kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Keeps no further edit: those of the server's shutdown are not edits of the network.
    pub fn retire(&self) {
        // An edit that is under way is kept.
        let _state = self.write();
        self.shared.retired.store(true, Ordering::Release);
    }

    /// Refuses edits while another server takes over the network, or takes them again.
    pub fn freeze(&self, frozen: bool) {
        // An edit that is under way is kept.
        let _state = self.write();
        self.shared.frozen.store(frozen, Ordering::Release);
    }

    /// Refuses a command whose caller has compared with a revision that is not the present one.
    pub(super) fn expected(&self) -> Result<(), ControlError> {
        let revision = self.revision();
        match Request::current() {
            Some(request) if !request.fits(revision) => Err(ControlError::Moved { revision }),
            _ => Ok(()),
        }
    }

    /// Keeps changes that were made on the network, as the next commit. If the store refuses, they are reverted.
    pub(super) fn record(
        &self,
        state: &mut State,
        changes: Vec<Change>,
        command: &str,
    ) -> Result<(Arc<Commit>, Option<u64>), ControlError> {
        let kept = !changes.is_empty() && !self.shared.retired.load(Ordering::Acquire);
        let revision = self.revision().saturating_add(u64::from(kept));
        let request = Request::current();
        let commit = Arc::new(Commit {
            revision,
            at: now(),
            author: self.author_of(request.as_deref()),
            command: command.to_owned(),
            changes,
            next_sequence: state.network.next_sequence(),
        });
        if !kept {
            return Ok((commit, None));
        }
        if self.shared.frozen.load(Ordering::Acquire) {
            state.network.revert(&commit.changes);
            return Err(ControlError::Replaced);
        }
        let entries = match self.shared.store.lasts() {
            true => state.network.entries(&commit.changes),
            false => Vec::new(),
        };
        if let Err(error) = self.shared.store.commit(&[], &commit, &entries) {
            state.network.revert(&commit.changes);
            return Err(match error {
                CommitError::Conflict { current } => ControlError::Moved { revision: current },
                CommitError::Store(error) => error.into(),
            });
        }
        self.shared.revision.store(revision, Ordering::Release);
        if let Some(request) = request {
            request.has_made(revision);
        }
        Ok((commit, Some(revision)))
    }

    fn author_of(&self, request: Option<&Request>) -> String {
        match (&self.author, request) {
            (Some(Author::Instance(name)), _) => format!("instance {name}"),
            (None, Some(request)) => request.face.to_owned(),
            (None, None) => "server".to_owned(),
        }
    }

    /// The range of commits that are kept.
    pub fn kept(&self) -> Result<Kept, ControlError> {
        Ok(self.shared.store.kept()?)
    }

    /// At most `limit` commits up to a revision, the latest first.
    pub fn commits(&self, until: u64, limit: usize) -> Result<Vec<Arc<Commit>>, ControlError> {
        let oldest = self.kept()?.oldest;
        let until = until.min(self.revision());
        let after = until.saturating_sub(limit as u64).max(oldest);
        let count = until.saturating_sub(after);
        let mut commits = self
            .shared
            .store
            .follow(after, usize::try_from(count).unwrap_or(usize::MAX))?;
        commits.reverse();
        Ok(commits)
    }

    /// One commit.
    pub fn commit_of(&self, revision: u64) -> Result<Arc<Commit>, ControlError> {
        let before = revision.checked_sub(1).filter(|before| *before < self.revision());
        let found = match before {
            Some(before) => self.shared.store.follow(before, 1)?.pop(),
            None => None,
        };
        found.ok_or_else(|| self.no_such(revision))
    }

    fn no_such(&self, revision: u64) -> ControlError {
        let (latest, oldest) = (self.revision(), self.kept().map_or(0, |kept| kept.oldest));
        gone(
            format!("there is no revision {revision}: the latest is {latest}"),
            oldest,
        )
    }

    /// The network and its revision.
    fn present(&self) -> (Network, u64) {
        let state = self.read();
        // Revisions are made under the lock of the writer.
        (state.network.clone(), self.revision())
    }

    /// The revision at a point of the past.
    pub fn revision_at(&self, point: Point) -> Result<u64, ControlError> {
        let time = match point {
            Point::Revision(revision) if revision <= self.revision() => return Ok(revision),
            Point::Revision(revision) => return Err(self.no_such(revision)),
            Point::Time(time) => time,
        };
        // Commits are in the order of their times, as far as the clock of the machine runs forwards.
        let Kept { oldest, latest } = self.kept()?;
        let (mut low, mut high) = (oldest, latest);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let commit = self.commit_of(middle)?;
            if commit.at <= time {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        if low == oldest && oldest > 0 {
            let time = humantime::format_rfc3339_millis(time);
            return Err(gone(format!("what was at {time} is not kept any more"), oldest));
        }
        Ok(low)
    }

    /// The network after a revision, under a Controller of its own. Questions to it are answered by the same code as
    /// for the present. Faults and ports are not declared: it has no fault, and what was attached has a port that
    /// accepts every frame.
    pub fn at(&self, revision: u64) -> Result<Self, ControlError> {
        let (mut network, latest) = self.present();
        if revision > latest {
            return Err(self.no_such(revision));
        }
        let mut until = latest;
        while until > revision {
            let after = until.saturating_sub(BATCH as u64).max(revision);
            let most = usize::try_from(until - after).unwrap_or(BATCH);
            for commit in self.shared.store.follow(after, most)?.iter().rev() {
                network.revert(&commit.changes);
            }
            until = after;
        }
        Ok(Self::of_past(network, revision))
    }

    /// The events of the commits after a revision and up to another.
    pub fn past_events(&self, after: u64, until: u64) -> Result<Vec<PastEvent>, ControlError> {
        let mut events = Vec::new();
        if after > until {
            return Err(self.no_such(after));
        }
        if after == until {
            return Ok(events);
        }
        self.shared.store.sync(until)?;
        let mut network = self.at(after)?.present().0;
        let mut seen = after;
        while seen < until {
            let most = usize::try_from(until - seen).unwrap_or(BATCH).min(BATCH);
            let commits = self.shared.store.follow(seen, most)?;
            if commits.is_empty() {
                break;
            }
            for commit in commits {
                commit.changes.iter().for_each(|change| network.apply(change));
                let kinds = events_of(&network, &commit.changes);
                let count = kinds.len();
                seen = commit.revision;
                events.extend(kinds.into_iter().enumerate().map(|(place, kind)| PastEvent {
                    commit: Arc::clone(&commit),
                    kind,
                    last: place + 1 == count,
                }));
            }
        }
        Ok(events)
    }

    /// Undoes the last edit that was not undone yet, as an edit of its own. Returns the revision that it undid, and its
    /// own.
    pub fn undo(&self) -> Result<(u64, u64), ControlError> {
        let (undone, revision, afterwards) = {
            let mut guard = self.write();
            let state = &mut *guard;
            self.expected()?;
            let target = self.last_not_undone()?;
            if let Some(interface) = target.changes.iter().find_map(attaches) {
                return Err(ControlError::Lasting {
                    revision: target.revision,
                    interface,
                });
            }
            let changes: Vec<Change> = target.changes.iter().rev().map(Change::inverse).collect();
            for change in &changes {
                state.network.apply(change);
            }
            let command = format!("{UNDO} {}", target.revision);
            let afterwards = self.commit(state, changes, &command, None)?;
            (target.revision, self.revision(), afterwards)
        };
        self.finish(afterwards)?;
        Ok((undone, revision))
    }

    /// The latest commit that no later one undid. The network is as that commit left it.
    fn last_not_undone(&self) -> Result<Arc<Commit>, ControlError> {
        let mut skipped = 0_usize;
        let mut until = self.revision();
        loop {
            let commits = self.commits(until, BATCH)?;
            if commits.is_empty() {
                let oldest = self.kept()?.oldest;
                return Err(gone("there is no edit left to undo".to_owned(), oldest));
            }
            for commit in commits {
                until = commit.revision.saturating_sub(1);
                let undoes = commit
                    .command
                    .strip_prefix(UNDO)
                    .is_some_and(|rest| rest.starts_with(' '));
                match (undoes, skipped) {
                    (true, _) => skipped = skipped.saturating_add(1),
                    (false, 0) => return Ok(commit),
                    (false, _) => skipped = skipped.saturating_sub(1),
                }
            }
        }
    }
}

/// The interface whose attachment a change has changed: its device is created or removed with it, which no store can
/// restore.
fn attaches(change: &Change) -> Option<InterfaceId> {
    let Change::Interface(delta) = change else { return None };
    let place = |record: &Option<crate::model::interface::InterfaceRecord>| {
        record.as_ref().and_then(|record| record.attachment)
    };
    (place(&delta.before) != place(&delta.after))
        .then(|| delta.id())
        .flatten()
}

/// The time in the precision of a store, microseconds.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    UNIX_EPOCH
        .checked_add(Duration::from_micros(micros))
        .unwrap_or(UNIX_EPOCH)
}
