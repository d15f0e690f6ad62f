//! Plays a scenario on a network of its own, which is created for the run and removed at its end, however it ends.
//!
//! On the machine only its processes are visible; concurrent runs are independent.

mod act;
mod evidence;
mod failover;
mod filters;
mod network;
mod programs;
mod repeat;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::format::{Action, Scenario, Since, Step};
use super::judge::{Seen, Witness, judge, pattern};
use crate::file::template::Scope;
use crate::lab::Running;
use crate::model::FaultId;
use crate::model::duration::later;
use crate::probe::{MarkKind, ProbeReport};
use crate::record::flow_log::FlowLog;
use crate::record::flow_log::{FlowCounts, FlowFilter};
use crate::record::ladder::Ladder;
use crate::record::quota::Quota;
use crate::record::recorder::Captures;
pub use crate::record::recorder::LARGEST_CAPTURE;
use crate::record::recorder::Recorder;
use crate::report::run::{Check, Evidence, PortCounts, Progress, RunOutcome, RunReport, StepReport, ms, unix_ms};
use evidence::Recording;
use failover::Probing;
pub use network::{Stage, StageError, StageOptions};
pub use repeat::play_repeatedly;

/// Time between two tries of a step with `within`.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// How long the switch on a busy machine may take to count what a command sent.
const SETTLING: Duration = Duration::from_secs(1);

/// Time between two checks for a cancelled run.
const GLANCE: Duration = Duration::from_millis(50);

/// Octets of output of the steps of one run; what is beyond is left out.
const MOST_OUTPUT: u64 = 32 << 20;

/// Options of a run.
#[derive(Debug, Clone, Default)]
pub struct PlayOptions {
    /// The seed of MAC addresses and identifiers; chosen at random, and reported, when left out.
    pub seed: Option<u64>,
    /// Values of the scenario's parameters; missing ones have their defaults.
    pub parameters: BTreeMap<String, String>,
    /// Goes on after a failed step.
    pub keep_going: bool,
    /// Keeps every frame that crosses the switch, up to [`LARGEST_CAPTURE`].
    pub capture: bool,
    /// What the captures of all runs that are played may take together.
    pub captures: Arc<Quota>,
    /// How the network is set up.
    pub stage: StageOptions,
}

/// Ends a run early, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Requests the end of the run; commands in its instances are killed.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was requested.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The scenario does not have this parameter.
    #[error("the scenario has no parameter `{name}`{}", remedy.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    UnknownParameter {
        /// Its name as given.
        name: String,
        /// The nearest name.
        remedy: Option<String>,
    },
    /// A parameter without a default is not set.
    #[error("the scenario needs the parameter `{name}`: {description}")]
    MissingParameter {
        /// Its name.
        name: String,
        /// Its description.
        description: String,
    },
    /// Programs that the steps use are not installed.
    #[error("not installed: {}{}", programs.join(", "), install.as_deref().map(|i| format!("; try `{i}`")).unwrap_or_default())]
    MissingPrograms {
        /// Their names.
        programs: Vec<String>,
        /// The Debian command that installs them.
        install: Option<String>,
    },
    /// The network could not be created.
    #[error(transparent)]
    Stage(#[from] Box<StageError>),
}

/// Plays a scenario and returns its report. Blocks until the network is removed.
pub fn play(
    scenario: &Scenario,
    options: &PlayOptions,
    cancel: &Cancel,
    progress: &(dyn Fn(&Progress) + Sync),
) -> RunReport {
    let started = Instant::now();
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut report = not_played(scenario, options, seed);
    progress(&Progress::Preparing {
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        steps: scenario.steps.len(),
    });
    let made = parameters(scenario, &options.parameters).and_then(|parameters| {
        report.parameters.clone_from(&parameters);
        programs::check(&scenario.requires)?;
        Stage::build(&scenario.topology, parameters, seed, &options.stage)
            .map_err(|error| PlayError::Stage(Box::new(error)))
    });
    match made {
        Ok(stage) => {
            progress(&Progress::Ready {
                instances: stage.summaries(),
            });
            report.network = stage.graph(&scenario.topology);
            report.reach = stage.reach();
            let recorder = options
                .capture
                .then(|| Recorder::start(stage.controller(), &options.captures))
                .flatten();
            let player = Player::new(scenario, &stage, options, cancel, progress, started);
            report.steps = player.steps(&scenario.steps);
            (report.probes, report.programs) = player.end();
            report.captures = recorder.map(Recorder::stop).unwrap_or_default();
            report.outcome = outcome(&report.steps, cancel);
        }
        Err(error) => {
            report.problem = Some(error.to_string());
            report.steps = scenario.steps.iter().map(skipped).collect();
        }
    }
    report.duration_ms = ms(started.elapsed());
    progress(&Progress::Finished {
        outcome: report.outcome,
        problem: report.problem.clone(),
    });
    report
}

fn outcome(steps: &[StepReport], cancel: &Cancel) -> RunOutcome {
    let has = |outcome| steps.iter().any(|step| step.outcome == outcome);
    if cancel.is_cancelled() || has(RunOutcome::Cancelled) {
        RunOutcome::Cancelled
    } else if has(RunOutcome::Broken) {
        RunOutcome::Broken
    } else if has(RunOutcome::Failed) {
        RunOutcome::Failed
    } else {
        RunOutcome::Passed
    }
}

/// The values of a scenario's parameters: given values, and defaults for the others.
pub fn parameters(
    scenario: &Scenario,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, PlayError> {
    if let Some(name) = given.keys().find(|name| !scenario.parameters.contains_key(*name)) {
        let known = scenario.parameters.keys().map(String::as_str);
        return Err(PlayError::UnknownParameter {
            name: name.clone(),
            remedy: crate::file::diagnostic::remedy(name, known),
        });
    }
    scenario
        .parameters
        .iter()
        .map(|(name, parameter)| {
            let value = given.get(name).or(parameter.default.as_ref()).cloned();
            let value = value.ok_or_else(|| PlayError::MissingParameter {
                name: name.clone(),
                description: parameter.description.clone(),
            })?;
            Ok((name.clone(), value))
        })
        .collect()
}

fn skipped(step: &Step) -> StepReport {
    let mut report = StepReport::skipped(&step.number, step.line, step.action.name().replace('`', ""));
    report.say = step.say.as_ref().map(|say| say.written().to_owned());
    report
}

/// Counters of ports at some moment.
type Marks = BTreeMap<String, PortCounts>;

/// The last event before a step, and the start of the step.
type Begun = (u64, Instant);

/// The report of a scenario before its first step.
pub(super) fn not_played(scenario: &Scenario, options: &PlayOptions, seed: u64) -> RunReport {
    RunReport {
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        source: scenario.source.clone(),
        seed,
        parameters: options.parameters.clone(),
        outcome: RunOutcome::Broken,
        problem: None,
        started_at: SystemTime::now(),
        duration_ms: 0,
        network: None,
        reach: Vec::new(),
        steps: Vec::new(),
        probes: Vec::new(),
        programs: Vec::new(),
        repetition: None,
        captures: Captures::default(),
    }
}

/// A running scenario.
struct Player<'a> {
    /// Octets of output of the steps so far.
    output: AtomicU64,
    stage: &'a Stage,
    options: &'a PlayOptions,
    cancel: &'a Cancel,
    progress: &'a (dyn Fn(&Progress) + Sync),
    started: Instant,
    deadline: Instant,
    timeout: Duration,
    saved: Mutex<BTreeMap<String, String>>,
    /// Counters at the start of steps with an id.
    marks: Mutex<BTreeMap<String, Marks>>,
    at_start: Marks,
    captures: Mutex<BTreeMap<String, Recording>>,
    background: Mutex<BTreeMap<String, Running>>,
    /// Every background command, with its name and its instance.
    started_programs: Mutex<Vec<(String, String, Running)>>,
    probes: Mutex<BTreeMap<String, Probing>>,
    /// Stopped probes, in the order of their end.
    probed: Mutex<Vec<Arc<ProbeReport>>>,
    faults: Mutex<BTreeMap<String, FaultId>>,
    /// The number of the last event before the scenario, and before each step with an id.
    first_event: u64,
    event_marks: Mutex<BTreeMap<String, u64>>,
    /// Flow records, where the scenario has an expectation about flows; and the start of steps with an id.
    flow_log: Option<FlowLog>,
    time_marks: Mutex<BTreeMap<String, Instant>>,
    /// The packets of each instance, as evidence for a failed step.
    recordings: BTreeMap<String, Recording>,
    /// The latest packets, for the same purpose.
    ladder: Option<Ladder>,
    /// Faults and changes of hosts, with their times.
    happened: Mutex<Vec<(SystemTime, MarkKind, String)>>,
    /// Background programs that a step stopped.
    stopped_programs: Mutex<BTreeSet<String>>,
}

impl<'a> Player<'a> {
    fn new(
        scenario: &Scenario,
        stage: &'a Stage,
        options: &'a PlayOptions,
        cancel: &'a Cancel,
        progress: &'a (dyn Fn(&Progress) + Sync),
        started: Instant,
    ) -> Self {
        Self {
            stage,
            options,
            cancel,
            progress,
            output: AtomicU64::new(0),
            started,
            deadline: later(Instant::now(), scenario.timeout),
            timeout: scenario.timeout,
            saved: Mutex::default(),
            marks: Mutex::default(),
            at_start: stage.ports(),
            captures: Mutex::default(),
            background: Mutex::default(),
            started_programs: Mutex::default(),
            probes: Mutex::default(),
            probed: Mutex::default(),
            faults: Mutex::default(),
            first_event: stage.controller().last_event(),
            event_marks: Mutex::default(),
            flow_log: flows_are_expected(&scenario.steps)
                .then(|| FlowLog::start(stage.controller()))
                .flatten(),
            time_marks: Mutex::default(),
            recordings: evidence::record_all(stage),
            ladder: Ladder::start(stage.controller()),
            happened: Mutex::default(),
            stopped_programs: Mutex::default(),
        }
    }

    fn steps(&self, steps: &[Step]) -> Vec<StepReport> {
        let mut reports = Vec::with_capacity(steps.len());
        let mut stopped = false;
        for step in steps {
            if stopped || self.cancel.is_cancelled() {
                reports.push(skipped(step));
                continue;
            }
            let report = self.step(step);
            stopped = !self.options.keep_going && report.outcome != RunOutcome::Passed;
            reports.push(report);
        }
        reports
    }

    fn step(&self, step: &Step) -> StepReport {
        let scope = self.scope();
        let did = act::describe(step, &scope);
        let say = step
            .say
            .as_ref()
            .map(|say| say.fill(&scope).unwrap_or_else(|_| say.written().to_owned()));
        (self.progress)(&Progress::StepStarted {
            number: step.number.clone(),
            say: say.clone(),
            did: did.clone(),
        });

        let began = Instant::now();
        let began_at = unix_ms();
        let marks = self.stage.ports();
        let last_event = self.stage.controller().last_event();
        if let Some(id) = &step.id {
            lock(&self.marks).insert(id.clone(), marks.clone());
            lock(&self.event_marks).insert(id.clone(), last_event);
            lock(&self.time_marks).insert(id.clone(), began);
        }
        let mut report = StepReport::skipped(&step.number, step.line, did);
        report.say = say;
        report.started_ms = ms(began.duration_since(self.started));
        loop {
            report.attempts += 1;
            self.attempt(step, &marks, (last_event, began), &mut report);
            let again = step
                .within
                .is_some_and(|within| began.elapsed().saturating_add(BETWEEN_TRIES) < within);
            if report.outcome != RunOutcome::Failed || !again || !self.pause(BETWEEN_TRIES) {
                break;
            }
        }
        if self.cancel.is_cancelled() {
            report.outcome = RunOutcome::Cancelled;
        }
        report.duration_ms = ms(began.elapsed());
        if matches!(report.outcome, RunOutcome::Failed | RunOutcome::Broken) && report.steps.is_empty() {
            report.evidence = Some(self.evidence(&marks, began, began_at));
        }
        self.bound_output(&mut report);
        (self.progress)(&Progress::StepFinished {
            step: Box::new(report.clone()),
        });
        report
    }

    /// Leaves out the output of a step where the steps before it have used up the room.
    fn bound_output(&self, report: &mut StepReport) {
        for text in [&mut report.stdout, &mut report.stderr] {
            let octets = text.len() as u64;
            if self.output.fetch_add(octets, Ordering::Relaxed) + octets > MOST_OUTPUT {
                self.output.fetch_sub(octets, Ordering::Relaxed);
                *text = format!(
                    "[… {octets} octets left out: a run keeps {} MiB of output …]\n",
                    MOST_OUTPUT >> 20
                );
            }
        }
    }

    fn evidence(&self, marks: &Marks, began: Instant, began_at_ms: u64) -> Evidence {
        let controller = self.stage.controller();
        let ladder = self.ladder.as_ref().map(|ladder| ladder.since(began, controller));
        evidence::gather(
            self.stage,
            &self.recordings,
            marks,
            began_at_ms,
            ladder.unwrap_or_default(),
        )
    }

    /// Does the action of a step once and judges it.
    fn attempt(&self, step: &Step, marks: &Marks, begun: Begun, report: &mut StepReport) {
        report.problem = None;
        report.checks.clear();
        if let Action::Parallel(steps) = &step.action {
            report.steps = std::thread::scope(|scope| {
                let running: Vec<_> = steps
                    .iter()
                    .map(|step| (step, scope.spawn(|| self.step(step))))
                    .collect();
                running
                    .into_iter()
                    .map(|(step, thread)| {
                        thread.join().unwrap_or_else(|_| {
                            let mut report = skipped(step);
                            report.outcome = RunOutcome::Broken;
                            report.problem = Some("the step came to an unexpected end".to_owned());
                            report
                        })
                    })
                    .collect()
            });
            report.outcome = outcome(&report.steps, self.cancel);
        } else {
            match self.act(step) {
                Ok(seen) => self.judge_settled(step, marks, begun, &seen, report),
                Err(problem) => {
                    report.outcome = RunOutcome::Broken;
                    report.problem = Some(problem);
                    return;
                }
            }
        }
        // A `parallel` step can have expectations about ports and captures.
        if matches!(step.action, Action::Parallel(_)) {
            let outcome = report.outcome;
            self.judge_settled(step, marks, begun, &Seen::default(), report);
            if outcome != RunOutcome::Passed {
                report.outcome = outcome;
            }
        }
    }

    /// Judges a step. Counters are read again until the checks hold: the switch reads a frame after the kernel has
    /// reported it as sent, on a busy machine later than the command ends.
    fn judge_settled(&self, step: &Step, marks: &Marks, begun: Begun, seen: &Seen, report: &mut StepReport) {
        let until = later(Instant::now(), SETTLING);
        loop {
            report.checks.clear();
            self.judge(step, marks, begun, seen, report);
            let settled =
                report.outcome != RunOutcome::Failed || !step.expect.looks_outside() || Instant::now() >= until;
            // A step with `within` is repeated anyway.
            if settled || step.within.is_some() || !self.pause(GLANCE) {
                break;
            }
        }
    }

    fn judge(&self, step: &Step, marks: &Marks, begun: Begun, seen: &Seen, report: &mut StepReport) {
        report.exit = seen.exit;
        report.stdout.clone_from(&seen.stdout);
        report.stderr.clone_from(&seen.stderr);
        // The expectations see what the step changed.
        let scope = self.scope();
        let earlier = match &step.since {
            Since::Step => marks.clone(),
            Since::Scenario => self.at_start.clone(),
            Since::Id(id) => lock(&self.marks).get(id).cloned().unwrap_or_default(),
        };
        let after = match &step.since {
            Since::Step => begun.0,
            Since::Scenario => self.first_event,
            Since::Id(id) => lock(&self.event_marks).get(id).copied().unwrap_or(begun.0),
        };
        let since = match &step.since {
            Since::Step => begun.1,
            Since::Scenario => self.started,
            Since::Id(id) => lock(&self.time_marks).get(id).copied().unwrap_or(begun.1),
        };
        let witness = Eyes {
            now: self.stage.ports(),
            earlier,
            after,
            since,
            player: self,
        };
        match judge(&step.action, &step.expect, seen, &scope, &witness) {
            Ok(checks) => report.checks = checks,
            Err(error) => {
                report.outcome = RunOutcome::Broken;
                report.problem = Some(error.to_string());
                return;
            }
        }
        for (name, written) in &step.save {
            report.checks.push(self.save(name, written, seen, &scope));
        }
        let passed = report.checks.iter().all(|check| check.passed);
        report.outcome = if passed { RunOutcome::Passed } else { RunOutcome::Failed };
        if Instant::now() >= self.deadline {
            report.outcome = RunOutcome::Failed;
            report.problem = Some(format!(
                "the run's time of {} is up",
                humantime::format_duration(self.timeout)
            ));
        }
    }

    fn save(&self, name: &str, written: &crate::file::values::Text, seen: &Seen, scope: &Scope) -> Check {
        let found = written
            .fill(scope)
            .map_err(|error| error.to_string())
            .and_then(|written| pattern(&written))
            .map(|pattern| {
                pattern
                    .captures(&seen.stdout)
                    .and_then(|groups| Some(groups.get(1)?.as_str().to_owned()))
            });
        let expected = format!("standard output has a value for `{name}`: /{}/", written.written());
        match found {
            Ok(Some(value)) => {
                lock(&self.saved).insert(name.to_owned(), value);
                Check {
                    expected,
                    passed: true,
                    found: String::new(),
                }
            }
            Ok(None) => Check {
                expected,
                passed: false,
                found: "it does not match".to_owned(),
            },
            Err(problem) => Check {
                expected,
                passed: false,
                found: problem,
            },
        }
    }

    fn scope(&self) -> Scope {
        let mut scope = self.stage.scope();
        scope.saved.clone_from(&lock(&self.saved));
        scope
    }

    /// Waits; returns false when the run is cancelled or its time is up.
    fn pause(&self, time: Duration) -> bool {
        let until = later(Instant::now(), time);
        loop {
            let now = Instant::now();
            if now >= until {
                return true;
            }
            if self.is_over() {
                return false;
            }
            std::thread::sleep(GLANCE.min(until.saturating_duration_since(now)));
        }
    }

    fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.deadline
    }
}

impl Drop for Player<'_> {
    fn drop(&mut self) {
        for running in lock(&self.background).values() {
            running.kill();
        }
    }
}

/// Observations other than the command's output.
struct Eyes<'p, 'a> {
    now: Marks,
    earlier: Marks,
    /// Events after this number count.
    after: u64,
    /// Packets after this instant count.
    since: Instant,
    player: &'p Player<'a>,
}

impl Witness for Eyes<'_, '_> {
    fn port(&self, instance: &str) -> Option<PortCounts> {
        let earlier = self.earlier.get(instance).cloned().unwrap_or_default();
        Some(self.now.get(instance)?.since(&earlier))
    }

    fn capture(&self, name: &str) -> Result<String, String> {
        lock(&self.player.captures)
            .get(name)
            .ok_or("it was never started")?
            .lines()
    }

    fn probe(&self, name: &str) -> Result<Arc<ProbeReport>, String> {
        let probed = lock(&self.player.probed);
        let found = probed.iter().find(|report| report.name == name);
        found.cloned().ok_or_else(|| "it was not stopped".to_owned())
    }

    fn events(&self, kind: &str) -> u64 {
        let subscription = self.player.stage.controller().events(Some(self.after));
        subscription
            .backlog
            .iter()
            .filter(|event| event.kind.name() == kind)
            .count() as u64
    }

    fn flows(&self, wanted: &FlowFilter) -> Result<FlowCounts, String> {
        let log = self.player.flow_log.as_ref().ok_or("no flows are recorded")?;
        log.count(wanted, self.since, self.player.stage.controller())
    }
}

/// The guarded values change in one call each, so a panic leaves them consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether steps have an expectation about flows.
fn flows_are_expected(steps: &[Step]) -> bool {
    steps.iter().any(|step| {
        let inner = match &step.action {
            Action::Parallel(steps) => flows_are_expected(steps),
            _ => false,
        };
        inner || !step.expect.flows.is_empty()
    })
}
