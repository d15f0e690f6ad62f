//! Defines the record of a run: actions, observations and expectations. The console, JSON, JUnit XML and HTML all
//! render this record.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::graph::Graph;
use super::reach::Way;
use crate::probe::ProbeReport;
use crate::record::ladder::Rung;
use crate::record::recorder::Captures;

/// How a run or a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// All expectations held.
    Passed,
    /// An expectation did not hold.
    Failed,
    /// It could not be done: the network or a command could not be started.
    Broken,
    /// It was cancelled.
    Cancelled,
    /// It was not reached.
    Skipped,
}

impl RunOutcome {
    /// The word for it in transcripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASS",
            Self::Failed => "FAIL",
            Self::Broken => "BROKEN",
            Self::Cancelled => "CANCELLED",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// A run from beginning to end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario shows.
    pub description: String,
    /// Where the observations were published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The seed that chooses what the file leaves open, such as MAC addresses. The same seed gives the same network.
    pub seed: u64,
    /// The parameters of the run, defaults included.
    pub parameters: BTreeMap<String, String>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why it could not be completed, when no step is the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it began, in UTC.
    #[serde(with = "crate::model::duration::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: SystemTime,
    /// Its duration in milliseconds, including the set-up of the network.
    pub duration_ms: u64,
    /// The network as it was before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Graph>,
    /// Which instance reached which then; left out in networks of more than 16 instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<Way>,
    /// The steps in the order of the file.
    pub steps: Vec<StepReport>,
    /// The probes in the order of their end: figures, and every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeReport>,
    /// Output of background programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramLog>,
    /// Results of the other runs, where the scenario was repeated. All else in this report is about one run: the first
    /// that did not pass, or the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<Repetition>,
    /// Every frame that crossed the switch; empty without a capture. Not part of the JSON.
    #[serde(skip)]
    pub captures: Captures,
}

/// The summary of several runs of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repetition {
    /// How many there were.
    pub runs: u64,
    /// How many passed.
    pub passed: u64,
    /// The seed of each.
    pub seeds: Vec<u64>,
    /// The outage of each probe.
    pub outages: Vec<Distribution>,
    /// Every run, in order.
    #[serde(default)]
    pub each: Vec<RepeatedRun>,
}

/// One of several runs of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepeatedRun {
    /// Counted from 1.
    pub number: u64,
    /// Its seed; `localvpc run --seed` repeats it.
    pub seed: u64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether the report shows this run step by step.
    pub shown: bool,
    /// Why it could not be completed, when no step is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The steps that did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<StepReport>,
    /// The longest outage of each probe, in nanoseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outages: BTreeMap<String, u64>,
}

/// The longest outage of a probe in each of several runs, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Distribution {
    /// The probe.
    pub probe: String,
    /// Minimum.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// Maximum.
    pub max: u64,
    /// All of them, in the order of the runs.
    pub all: Vec<u64>,
}

impl Distribution {
    /// The distribution of these outages, in the order of the runs; `None` without runs.
    pub fn of(probe: &str, all: Vec<u64>) -> Option<Self> {
        let mut sorted = all.clone();
        sorted.sort_unstable();
        // The nearest-rank percentile: the smallest value that at least `percent` of 100 do not exceed.
        let percentile = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self {
            probe: probe.to_owned(),
            min: *sorted.first()?,
            p50: percentile(50)?,
            p90: percentile(90)?,
            max: *sorted.last()?,
            all,
        })
    }
}

/// A background program of an instance and its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgramLog {
    /// Its name in the scenario.
    pub name: String,
    /// The instance.
    pub instance: String,
    /// Exit code, where it had ended before the run did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Whether a step stopped it.
    #[serde(default)]
    pub stopped: bool,
    /// How long it ran, in milliseconds, where it had ended before the run did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_ms: Option<u64>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ProgramLog {
    /// Whether it ended by itself with an exit code other than 0.
    pub fn failed(&self) -> bool {
        !self.stopped && self.exit.is_some_and(|code| code != 0)
    }
}

impl RunReport {
    /// The number of steps with this outcome. The steps of a `parallel` step are counted one by one, and its own
    /// expectation as one more.
    pub fn count(&self, outcome: RunOutcome) -> usize {
        fn count(steps: &[StepReport], outcome: RunOutcome) -> usize {
            steps
                .iter()
                .map(|step| usize::from(step.own_outcome() == Some(outcome)) + count(&step.steps, outcome))
                .sum()
        }
        count(&self.steps, outcome)
    }

    /// The steps that were reached and did not pass, each once.
    pub fn failed_steps(&self) -> Vec<&StepReport> {
        fn collect<'s>(steps: &'s [StepReport], failed: &mut Vec<&'s StepReport>) {
            for step in steps {
                let own = step.own_outcome();
                if own.is_some_and(|own| !matches!(own, RunOutcome::Passed | RunOutcome::Skipped)) {
                    failed.push(step);
                }
                collect(&step.steps, failed);
            }
        }
        let mut failed = Vec::new();
        collect(&self.steps, &mut failed);
        failed
    }
}

/// A step: its action, observations and expectations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepReport {
    /// `3`, or `3.1` inside a `parallel` step.
    pub number: String,
    /// Line of the file where the step begins.
    pub line: u64,
    /// The observation that it demonstrates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// The action as a command line: `a$ ping -c 3 10.0.1.11`.
    pub did: String,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Number of tries until it held; more than 1 only with `within`.
    pub attempts: u32,
    /// Milliseconds from the start of the run to the start of the step.
    pub started_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Exit code of the command: 128 + N for signal N, 124 after a timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Standard output; for a capture, a line per packet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Standard error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// Why the step could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The expectations, each with what was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Evidence about a step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The steps of a `parallel` step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub steps: Vec<StepReport>,
}

impl StepReport {
    /// The outcome of the step itself, without its inner steps. `None` for a `parallel` step without an expectation of
    /// its own.
    pub fn own_outcome(&self) -> Option<RunOutcome> {
        if self.steps.is_empty() {
            return Some(self.outcome);
        }
        match (&self.problem, self.checks.iter().all(|check| check.passed)) {
            (Some(_), _) => Some(RunOutcome::Broken),
            (None, false) => Some(RunOutcome::Failed),
            (None, true) if self.checks.is_empty() => None,
            (None, true) => Some(RunOutcome::Passed),
        }
    }

    /// A step that has not been reached.
    pub fn skipped(number: &str, line: u64, did: String) -> Self {
        Self {
            number: number.to_owned(),
            line,
            say: None,
            did,
            outcome: RunOutcome::Skipped,
            attempts: 0,
            started_ms: 0,
            duration_ms: 0,
            exit: None,
            stdout: String::new(),
            stderr: String::new(),
            problem: None,
            checks: Vec::new(),
            evidence: None,
            steps: Vec::new(),
        }
    }
}

/// Evidence from the switch and the hosts about a step that failed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// What each port counted during the step.
    pub ports: BTreeMap<String, PortCounts>,
    /// Packets that each instance sent and received during the step, a line per packet.
    pub captures: BTreeMap<String, Vec<String>>,
    /// Earlier packets that are not listed, by instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub omitted: BTreeMap<String, u64>,
    /// Each packet during the step with sender, receiver and drop reason; the latest of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<Rung>,
    /// Addresses, routes and neighbors of each instance at the end of the step.
    pub hosts: BTreeMap<String, String>,
}

/// Progress of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// The network is being created.
    Preparing {
        /// The scenario's name.
        scenario: String,
        /// What it shows.
        description: String,
        /// How many steps there are.
        steps: usize,
    },
    /// The network is up.
    Ready {
        /// The hosts.
        instances: Vec<InstanceSummary>,
    },
    /// A step begins.
    StepStarted {
        /// The step's number.
        number: String,
        /// The observation that it demonstrates.
        say: Option<String>,
        /// The action.
        did: String,
    },
    /// A step has ended.
    StepFinished {
        /// The step's report.
        step: Box<StepReport>,
    },
    /// The run has ended and the network is gone.
    Finished {
        /// The outcome.
        outcome: RunOutcome,
        /// Why it could not be completed.
        problem: Option<String>,
    },
}

/// A host of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceSummary {
    /// Its name.
    pub name: String,
    /// Its subnet.
    pub subnet: String,
    /// MAC address of its `eth0`.
    pub mac: String,
    /// Addresses and prefixes assigned to it.
    pub addresses: Vec<String>,
    /// A process in it; `nsenter -t PID -a` enters it.
    pub pid: Option<i32>,
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    // A clock before 1970 is reported as 1970.
    ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Whole milliseconds.
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was expected: `exit code 0`.
    pub expected: String,
    /// Whether it held.
    pub passed: bool,
    /// What was found, when it did not hold.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
}

impl Check {
    pub(crate) fn new(expected: impl Into<String>, passed: bool, found: impl FnOnce() -> String) -> Self {
        Self {
            expected: expected.into(),
            passed,
            found: if passed { String::new() } else { found() },
        }
    }
}

/// What a port counted in a period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortCounts {
    /// Frames from the instance that were dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Every other counter, by name.
    pub counters: BTreeMap<String, u64>,
}

impl PortCounts {
    /// The counts since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            now.iter()
                .map(|(name, count)| (name.clone(), count.saturating_sub(then.get(name).copied().unwrap_or(0))))
                .collect()
        };
        Self {
            drops: difference(&self.drops, &earlier.drops),
            counters: difference(&self.counters, &earlier.counters),
        }
    }
}
