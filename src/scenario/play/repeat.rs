//! Plays a scenario several times and reports the distribution of its outages.

use std::collections::BTreeMap;

use super::super::format::Scenario;
use super::{Cancel, PlayOptions, play};
use crate::report::run::{Distribution, Progress, RepeatedRun, Repetition, RunOutcome, RunReport, StepReport};

/// Failed runs whose steps are kept with all evidence; of further ones only the checks are kept.
const MOST_WITH_EVIDENCE: usize = 20;

/// Plays a scenario this many times, one run after the other, with consecutive seeds. The report shows the first run
/// that did not pass, or the last, step by step; it has the outcome of every run with its failed steps, and the
/// distribution of each outage. A cancelled run is the last.
pub fn play_repeatedly(
    scenario: &Scenario,
    options: &PlayOptions,
    times: u32,
    cancel: &Cancel,
    progress: &(dyn Fn(&Progress) + Sync),
) -> RunReport {
    let mut options = options.clone();
    let seed = *options.seed.get_or_insert_with(rand::random);
    let mut shown = play(scenario, &options, cancel, progress);
    if times <= 1 {
        return shown;
    }
    let mut each = vec![of_run(&shown, 1, true)];
    for number in 1..times {
        if cancel.is_cancelled() {
            break;
        }
        options.seed = Some(seed.wrapping_add(number.into()));
        let report = play(scenario, &options, cancel, progress);
        let with_evidence = each.iter().filter(|run| !run.failed.is_empty()).count() < MOST_WITH_EVIDENCE;
        each.push(of_run(&report, u64::from(number) + 1, with_evidence));
        if shown.outcome == RunOutcome::Passed {
            shown = report;
        }
    }
    for run in &mut each {
        run.shown = run.seed == shown.seed;
        if run.shown {
            // They are in the report.
            run.failed.clear();
        }
    }
    shown.repetition = Some(sum(each));
    shown
}

fn of_run(report: &RunReport, number: u64, with_evidence: bool) -> RepeatedRun {
    let mut failed: Vec<StepReport> = report.failed_steps().into_iter().cloned().collect();
    for step in &mut failed {
        // They are in the list themselves.
        step.steps.clear();
        if !with_evidence {
            step.evidence = None;
        }
    }
    RepeatedRun {
        number,
        seed: report.seed,
        outcome: report.outcome,
        duration_ms: report.duration_ms,
        shown: false,
        problem: report.problem.clone(),
        failed,
        outages: report
            .probes
            .iter()
            .map(|probe| (probe.name.clone(), probe.outage.longest))
            .collect(),
    }
}

fn sum(each: Vec<RepeatedRun>) -> Repetition {
    let mut outages: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (probe, longest) in each.iter().flat_map(|run| &run.outages) {
        outages.entry(probe).or_default().push(*longest);
    }
    Repetition {
        runs: each.len() as u64,
        passed: each.iter().filter(|run| run.outcome == RunOutcome::Passed).count() as u64,
        seeds: each.iter().map(|run| run.seed).collect(),
        outages: outages
            .into_iter()
            .filter_map(|(probe, all)| Distribution::of(probe, all))
            .collect(),
        each,
    }
}
