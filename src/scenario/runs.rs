//! Runs scenarios in the background, each in a thread of its own. A run survives the client that started it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::format::{Action, Scenario, Step};
use super::play::{Cancel, PlayOptions, StageOptions, not_played, play_repeatedly};
use crate::contain;
use crate::record::quota::Quota;
use crate::record::shelf::Shelf;
use crate::report::run::{Progress, RunReport, StepReport};

/// Concurrent runs; each has namespaces and worker threads of its own.
pub const MOST_RUNNING: usize = 8;

/// Finished runs that are kept.
pub const MOST_REMEMBERED: usize = 100;

/// Octets of progress and reports of all runs that are kept; the oldest finished run goes first.
pub const MOST_PROGRESS: u64 = 256 << 20;

/// Scenarios that are stored.
pub const MOST_STORED: usize = 1000;

/// Octets of all scenarios that are stored.
pub const MOST_OCTETS: usize = 64 << 20;

/// Why a run or a scenario is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// Too many concurrent runs.
    #[error("{MOST_RUNNING} runs are going on already")]
    Busy,
    /// Too many scenarios.
    #[error("{MOST_STORED} scenarios are stored already")]
    Full,
    /// The stored scenarios are too large together.
    #[error("the stored scenarios have {} MiB together already", MOST_OCTETS >> 20)]
    NoRoom,
    /// No thread could be started.
    #[error("no thread for the run: {0}")]
    Thread(String),
}

/// A stored scenario.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The file's content.
    pub text: String,
    /// The parsed scenario.
    pub scenario: Arc<Scenario>,
}

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Eq, Copy, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Running.
    Running,
    /// Cancelled, and not finished yet.
    Cancelling,
    /// Finished: there is a report.
    Finished,
}

/// A run, running or finished.
pub struct Run {
    id: String,
    scenario: Arc<Scenario>,
    seed: u64,
    started_at: SystemTime,
    cancel: Cancel,
    told: Mutex<Told>,
    /// The number of progress entries; wakes listeners.
    count: watch::Sender<usize>,
    /// Octets of the progress and the report, as JSON.
    octets: AtomicU64,
}

/// Memory of the runs that are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunsUsage {
    /// Octets of progress and reports.
    pub octets: u64,
    /// Runs that were forgotten to make room.
    pub given_up: u64,
}

/// Counts what is written to it.
struct Counter(u64);

impl std::io::Write for Counter {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0 += octets.len() as u64;
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The size of a value as JSON, which is near what it takes in memory.
fn octets(value: &impl serde::Serialize) -> u64 {
    let mut counter = Counter(0);
    // Plain data, and a writer that takes everything.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

#[derive(Default)]
struct Told {
    progress: Vec<Arc<Progress>>,
    report: Option<Arc<RunReport>>,
}

impl Run {
    /// Its identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Its seed, given or chosen.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// When it began.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// Its current state.
    pub fn state(&self) -> RunState {
        match (self.report(), self.cancel.is_cancelled()) {
            (Some(_), _) => RunState::Finished,
            (None, true) => RunState::Cancelling,
            (None, false) => RunState::Running,
        }
    }

    /// The report, once it is finished.
    pub fn report(&self) -> Option<Arc<RunReport>> {
        self.told().report.clone()
    }

    /// The finished steps in the order of their end; those of a `parallel` step come before it.
    pub fn steps(&self) -> Vec<StepReport> {
        let told = self.told();
        told.progress
            .iter()
            .filter_map(|progress| match &**progress {
                Progress::StepFinished { step } => Some(StepReport::clone(step)),
                _ => None,
            })
            .collect()
    }

    /// The progress entries after the first `after`.
    pub fn progress(&self, after: usize) -> Vec<Arc<Progress>> {
        self.told().progress.iter().skip(after).cloned().collect()
    }

    /// Whether no further progress will come.
    pub fn is_over(&self) -> bool {
        self.told().report.is_some()
    }

    /// Changes with each progress entry.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Requests its end.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Adds a progress entry. The report comes with the last one.
    fn tell(&self, progress: Progress, report: Option<RunReport>) {
        let added = octets(&progress) + report.as_ref().map_or(0, octets);
        self.octets.fetch_add(added, Ordering::Relaxed);
        let mut told = self.told();
        told.report = report.map(Arc::new);
        told.progress.push(Arc::new(progress));
        let count = told.progress.len();
        drop(told);
        self.count.send_replace(count);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // The lock guards one push.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stored scenarios, and the runs of a server.
#[derive(Default)]
pub struct Runs {
    stage: StageOptions,
    shelf: Arc<Shelf>,
    playing: Arc<Quota>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Runs that were forgotten to make room.
    given_up: u64,
    scenarios: BTreeMap<String, Stored>,
    /// In the order of their start.
    runs: Vec<(Arc<Run>, Option<JoinHandle<()>>)>,
}

impl Inner {
    fn octets(&self) -> u64 {
        self.runs
            .iter()
            .map(|(run, _)| run.octets.load(Ordering::Relaxed))
            .sum()
    }

    /// Forgets the oldest finished runs until the others fit; the newest one stays.
    fn make_room(&mut self, most: u64) {
        while self.octets() > most {
            let mut finished = (0..self.runs.len()).filter(|place| self.runs[*place].0.is_over());
            let (Some(oldest), Some(_)) = (finished.next(), finished.next()) else {
                return;
            };
            self.runs.remove(oldest);
            self.given_up += 1;
        }
    }
}

impl Runs {
    /// An empty store; `stage` sets up the networks of its runs.
    pub fn new(stage: StageOptions) -> Self {
        Self {
            stage,
            shelf: Arc::default(),
            playing: Arc::default(),
            inner: Arc::default(),
        }
    }

    /// The captures of finished runs.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// What the captures of runs that are being played take.
    pub fn playing(&self) -> &Quota {
        &self.playing
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change is one insertion or removal.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a scenario under its name, replacing an earlier one. Returns whether there was one.
    pub fn store(&self, text: String, scenario: Arc<Scenario>) -> Result<bool, RunsError> {
        let mut inner = self.inner();
        let name = scenario.name.clone();
        if inner.scenarios.len() >= MOST_STORED && !inner.scenarios.contains_key(&name) {
            return Err(RunsError::Full);
        }
        let others = inner.scenarios.iter().filter(|(stored, _)| **stored != name);
        let octets: usize = others.map(|(_, stored)| stored.text.len()).sum();
        if octets + text.len() > MOST_OCTETS {
            return Err(RunsError::NoRoom);
        }
        Ok(inner.scenarios.insert(name, Stored { text, scenario }).is_some())
    }

    /// The stored scenarios, by name.
    pub fn scenarios(&self) -> Vec<Stored> {
        self.inner().scenarios.values().cloned().collect()
    }

    /// A stored scenario.
    pub fn scenario(&self, name: &str) -> Option<Stored> {
        self.inner().scenarios.get(name).cloned()
    }

    /// Removes a scenario; its runs continue.
    pub fn forget_scenario(&self, name: &str) -> Option<Stored> {
        self.inner().scenarios.remove(name)
    }

    /// Begins a run, which plays the scenario this many times.
    pub fn start(&self, scenario: Arc<Scenario>, mut options: PlayOptions, repeat: u32) -> Result<Arc<Run>, RunsError> {
        options.stage = self.stage.clone();
        options.captures = Arc::clone(&self.playing);
        let seed = *options.seed.get_or_insert_with(rand::random);
        let mut inner = self.inner();
        if inner.runs.iter().filter(|(run, _)| !run.is_over()).count() >= MOST_RUNNING {
            return Err(RunsError::Busy);
        }
        let run = Arc::new(Run {
            id: format!("run-{:017x}", rand::random::<u64>()),
            scenario,
            seed,
            started_at: SystemTime::now(),
            cancel: Cancel::default(),
            told: Mutex::default(),
            count: watch::channel(0).0,
            octets: AtomicU64::new(0),
        });
        let (playing, shelf, runs) = (Arc::clone(&run), Arc::clone(&self.shelf), Arc::clone(&self.inner));
        let thread = std::thread::Builder::new()
            .name("run".into())
            .spawn(move || {
                carry_out(&playing, &options, repeat, &shelf);
                let mut inner = runs.lock().unwrap_or_else(PoisonError::into_inner);
                inner.make_room(MOST_PROGRESS);
            })
            .map_err(|error| RunsError::Thread(error.to_string()))?;
        inner.runs.push((Arc::clone(&run), Some(thread)));
        let ended = inner.runs.iter().filter(|(run, _)| run.is_over()).count();
        let mut surplus = ended.saturating_sub(MOST_REMEMBERED);
        inner.runs.retain(|(run, _)| {
            let goes = surplus > 0 && run.is_over();
            surplus -= usize::from(goes);
            !goes
        });
        Ok(run)
    }

    /// The memory of the runs that are kept.
    pub fn usage(&self) -> RunsUsage {
        let inner = self.inner();
        RunsUsage {
            octets: inner.octets(),
            given_up: inner.given_up,
        }
    }

    /// All kept runs, in the order of their start.
    pub fn runs(&self) -> Vec<Arc<Run>> {
        self.inner().runs.iter().map(|(run, _)| Arc::clone(run)).collect()
    }

    /// A run.
    pub fn run(&self, id: &str) -> Option<Arc<Run>> {
        self.inner()
            .runs
            .iter()
            .find(|(run, _)| run.id == id)
            .map(|(run, _)| Arc::clone(run))
    }

    /// Removes a finished run. Returns whether there was one.
    pub fn forget(&self, id: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.runs.len();
        inner.runs.retain(|(run, _)| run.id != id || !run.is_over());
        inner.runs.len() < before
    }

    /// Cancels all runs and waits until their networks are removed.
    pub fn end_all(&self) {
        let threads: Vec<JoinHandle<()>> = {
            let mut inner = self.inner();
            inner.runs.iter().for_each(|(run, _)| run.cancel());
            inner.runs.iter_mut().filter_map(|(_, thread)| thread.take()).collect()
        };
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("the thread of a run panicked");
            }
        }
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.end_all();
    }
}

fn carry_out(run: &Run, options: &PlayOptions, repeat: u32, shelf: &Shelf) {
    // The last entry comes together with the report, so that a listener that gets it finds the report.
    let tell = |progress: &Progress| {
        if !matches!(progress, Progress::Finished { .. }) {
            run.tell(progress.clone(), None);
        }
    };
    let played = contain::once("a run", || {
        contain::site("run");
        play_repeatedly(&run.scenario, options, repeat, &run.cancel, &tell)
    });
    // The panic dropped the run's network; the report says how the run ended.
    let report = played.unwrap_or_else(|| {
        let mut report = not_played(&run.scenario, options, run.seed);
        report.problem = Some("the run panicked, which is a defect of localvpc: please report it".to_owned());
        report
    });
    shelf.keep(&report.captures);
    let finished = Progress::Finished {
        outcome: report.outcome,
        problem: report.problem.clone(),
    };
    run.tell(finished, Some(report));
}

/// Whether a scenario runs commands of its author.
pub fn runs_commands(scenario: &Scenario) -> bool {
    fn any(steps: &[Step]) -> bool {
        steps.iter().any(|step| match &step.action {
            Action::Exec(_) => true,
            Action::Parallel(steps) => any(steps),
            _ => false,
        })
    }
    any(&scenario.steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::RunOutcome;

    fn finished(octets: u64) -> (Arc<Run>, Option<JoinHandle<()>>) {
        const TEXT: &str = "name: x\ntopology: { vpcs: {}, subnets: {} }\nsteps: [{ wait: 1s }]\n";
        let scenario = crate::scenario::format::read("x", TEXT).unwrap();
        let report = not_played(&scenario, &PlayOptions::default(), 1);
        let run = Run {
            id: format!("run-{octets}"),
            scenario,
            seed: 1,
            started_at: SystemTime::now(),
            cancel: Cancel::default(),
            told: Mutex::default(),
            count: watch::channel(0).0,
            octets: AtomicU64::new(0),
        };
        let outcome = RunOutcome::Passed;
        run.tell(Progress::Finished { outcome, problem: None }, Some(report));
        assert!(run.octets.load(Ordering::Relaxed) > 100);
        run.octets.store(octets, Ordering::Relaxed);
        (Arc::new(run), None)
    }

    #[test]
    fn the_oldest_finished_runs_are_forgotten_when_all_take_too_much() {
        let mut inner = Inner {
            runs: [40, 30, 20, 90].map(finished).into(),
            ..Inner::default()
        };
        inner.make_room(120);
        let left: Vec<&str> = inner.runs.iter().map(|(run, _)| run.id()).collect();
        assert_eq!((left, inner.given_up), (vec!["run-20", "run-90"], 2));
        inner.make_room(1);
        assert_eq!(inner.runs.len(), 1, "the newest stays, however large");
    }
}
