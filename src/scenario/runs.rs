//! Runs that go on by themselves: each in a thread of its own, whoever listens. A run survives the client that began it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::format::{Action, Scenario, Step};
use super::play::{Cancel, PlayOptions, StageOptions, not_played, play_repeatedly};
use crate::contain;
use crate::record::shelf::Shelf;
use crate::report::run::{Progress, RunReport, StepReport, unix_ms};

/// Runs that may go on at the same time; each has namespaces and worker threads of its own.
pub const MOST_RUNNING: usize = 8;

/// Runs that have ended and are remembered.
pub const MOST_REMEMBERED: usize = 100;

/// Scenarios that are stored.
pub const MOST_STORED: usize = 1000;

/// Octets of all scenarios that are stored.
pub const MOST_OCTETS: usize = 64 << 20;

/// Why a run or a scenario is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// Too many at a time.
    #[error("{MOST_RUNNING} runs are going on already")]
    Busy,
    /// Too many scenarios.
    #[error("{MOST_STORED} scenarios are stored already")]
    Full,
    /// The scenarios are too long together.
    #[error("the stored scenarios have {} MiB together already", MOST_OCTETS >> 20)]
    NoRoom,
    /// The system gives no thread.
    #[error("no thread for the run: {0}")]
    Thread(String),
}

/// A scenario that is kept under its name.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The file's content.
    pub text: String,
    /// What was read from it.
    pub scenario: Arc<Scenario>,
}

/// What a run is now.
#[derive(Debug, Clone, PartialEq, Eq, Copy, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// It was asked to end and has not ended yet.
    Cancelling,
    /// It has ended: there is a report.
    Finished,
}

/// A run, going on or ended.
pub struct Run {
    id: String,
    scenario: Arc<Scenario>,
    seed: u64,
    started_at_ms: u64,
    cancel: Cancel,
    told: Mutex<Told>,
    /// How much has been told; wakes those who listen.
    count: watch::Sender<usize>,
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

    /// What is played.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The seed that it was given, or that was chosen for it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// When it began, in milliseconds since 1970.
    pub fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }

    /// What it is now.
    pub fn state(&self) -> RunState {
        match (self.report(), self.cancel.is_cancelled()) {
            (Some(_), _) => RunState::Finished,
            (None, true) => RunState::Cancelling,
            (None, false) => RunState::Running,
        }
    }

    /// The report, once it has ended.
    pub fn report(&self) -> Option<Arc<RunReport>> {
        self.told().report.clone()
    }

    /// The steps that have ended, in the order of their end; those of a `parallel` step before it, too.
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

    /// What has happened since `after` things had.
    pub fn progress(&self, after: usize) -> Vec<Arc<Progress>> {
        self.told().progress.iter().skip(after).cloned().collect()
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.told().report.is_some()
    }

    /// Changes whenever something happens.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Asks it to end.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The report comes with the last thing that is told.
    fn tell(&self, progress: Progress, report: Option<RunReport>) {
        let mut told = self.told();
        told.report = report.map(Arc::new);
        told.progress.push(Arc::new(progress));
        let count = told.progress.len();
        drop(told);
        self.count.send_replace(count);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Pushing is all that is done under it.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stored scenarios, and the runs of a server.
#[derive(Default)]
pub struct Runs {
    stage: StageOptions,
    shelf: Arc<Shelf>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    scenarios: BTreeMap<String, Stored>,
    /// In the order of their start.
    runs: Vec<(Arc<Run>, Option<JoinHandle<()>>)>,
}

impl Runs {
    /// An empty store; the networks of its runs are made so.
    pub fn new(stage: StageOptions) -> Self {
        Self {
            stage,
            shelf: Arc::default(),
            inner: Mutex::default(),
        }
    }

    /// Where the captures of runs that have ended are.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change is one insertion or removal.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a scenario under its name, in the place of one that had it. Whether there was one.
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

    /// Forgets a scenario; runs of it go on.
    pub fn forget_scenario(&self, name: &str) -> Option<Stored> {
        self.inner().scenarios.remove(name)
    }

    /// Begins a run, which plays the scenario so many times.
    pub fn start(&self, scenario: Arc<Scenario>, mut options: PlayOptions, repeat: u32) -> Result<Arc<Run>, RunsError> {
        options.stage = self.stage.clone();
        let seed = *options.seed.get_or_insert_with(rand::random);
        let mut inner = self.inner();
        if inner.runs.iter().filter(|(run, _)| !run.is_over()).count() >= MOST_RUNNING {
            return Err(RunsError::Busy);
        }
        let run = Arc::new(Run {
            id: format!("run-{:017x}", rand::random::<u64>()),
            scenario,
            seed,
            started_at_ms: unix_ms(),
            cancel: Cancel::default(),
            told: Mutex::default(),
            count: watch::channel(0).0,
        });
        let (playing, shelf) = (Arc::clone(&run), Arc::clone(&self.shelf));
        let thread = std::thread::Builder::new()
            .name("run".into())
            .spawn(move || carry_out(&playing, &options, repeat, &shelf))
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

    /// All runs that are remembered, in the order of their start.
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

    /// Forgets a run that has ended. Whether there was one.
    pub fn forget(&self, id: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.runs.len();
        inner.runs.retain(|(run, _)| run.id != id || !run.is_over());
        inner.runs.len() < before
    }

    /// Cancels all runs and waits until their networks are gone.
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
    // The end is told together with the report, so that whoever hears of it finds it.
    let tell = |progress: &Progress| {
        if !matches!(progress, Progress::Finished { .. }) {
            run.tell(progress.clone(), None);
        }
    };
    let played = contain::once("a run", || {
        contain::site("run");
        play_repeatedly(&run.scenario, options, repeat, &run.cancel, &tell)
    });
    // The network of the run is gone with what panicked; who waits for the run hears how it ended.
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

/// Whether a scenario runs commands that its author chose.
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
