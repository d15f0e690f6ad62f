//! One run is an anecdote: a scenario is played several times, and its outages become a distribution.

use std::collections::BTreeMap;

use super::super::format::Scenario;
use super::{Cancel, PlayOptions, play};
use crate::report::run::{Distribution, Progress, Repetition, RunOutcome, RunReport};

/// Plays a scenario so many times, one after the other, with seeds that follow each other. The report is that of the first
/// run that did not pass, or of the last, and has the distribution of each outage. A run that is cancelled is the last.
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
    let mut outages: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut note = |report: &RunReport| {
        for probe in &report.probes {
            outages
                .entry(probe.name.clone())
                .or_default()
                .push(probe.outage.longest);
        }
    };
    note(&shown);
    let mut seeds = vec![seed];
    let mut passed = u64::from(shown.outcome == RunOutcome::Passed);
    for number in 1..times {
        if cancel.is_cancelled() {
            break;
        }
        options.seed = Some(seed.wrapping_add(number.into()));
        let report = play(scenario, &options, cancel, progress);
        note(&report);
        seeds.push(report.seed);
        passed += u64::from(report.outcome == RunOutcome::Passed);
        if shown.outcome == RunOutcome::Passed {
            shown = report;
        }
    }
    shown.repetition = Some(Repetition {
        runs: seeds.len() as u64,
        passed,
        seeds,
        outages: outages
            .into_iter()
            .filter_map(|(probe, all)| Distribution::of(&probe, all))
            .collect(),
    });
    shown
}
