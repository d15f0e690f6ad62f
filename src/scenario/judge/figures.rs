//! Compares the figures of a probe, and events, with the expectations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::super::format::{Action, ExpectFields};
use super::{Check, Witness};
use crate::file::values::Count;
use crate::probe::ProbeReport;

/// Adds the checks of probes and events.
pub(super) fn judge(action: &Action, expect: &ExpectFields, witness: &dyn Witness, checks: &mut Vec<Check>) {
    if expect.asks_of_a_probe() {
        let name = match (&expect.probe, action) {
            (Some(probe), _) => probe.value.as_str(),
            (None, Action::Stop(name)) => name,
            // The check of the file excludes other forms.
            (None, _) => "",
        };
        match witness.probe(name) {
            Ok(report) => judge_probe(name, &report, expect, checks),
            Err(problem) => checks.push(Check::new(format!("probe `{name}` has figures"), false, || problem)),
        }
    }
    for (kind, count) in &expect.events {
        let found = witness.events(kind);
        checks.push(Check::new(
            format!("{} events {kind}", count.value),
            count.value.holds(found),
            || found.to_string(),
        ));
    }
}

fn judge_probe(name: &str, report: &ProbeReport, expect: &ExpectFields, checks: &mut Vec<Check>) {
    let outage = &report.outage;
    if let Some(range) = expect.outage {
        let found = outage.longest();
        checks.push(Check::new(
            format!("probe `{name}`: the longest outage is {range}"),
            range.holds(found),
            || match outage.windows.last() {
                Some(window) if window.to.is_none() => format!("{}, and it did not end", shown(found)),
                _ => shown(found),
            },
        ));
        // An outage without an end was longer than the probe could measure.
        if range.below.is_some() {
            let ended = outage.windows.last().is_none_or(|window| window.to.is_some());
            checks.push(Check::new(format!("probe `{name}`: the outage ends"), ended, || {
                "the last requests had no answer".to_owned()
            }));
        }
    }
    if let Some(range) = expect.takeover {
        let found = outage.to_new_owner.map(Duration::from_nanos);
        checks.push(Check::new(
            format!("probe `{name}`: the time to the new owner is {range}"),
            found.is_some_and(|found| range.holds(found)),
            || found.map_or("no packet came to a new owner".to_owned(), shown),
        ));
    }
    let mut count = |what: &str, expected: Count, found: u64| {
        checks.push(Check::new(
            format!("probe `{name}`: {expected} {what}"),
            expected.holds(found),
            || found.to_string(),
        ));
    };
    for (what, expected, found) in [
        ("requests", expect.sent, outage.sent),
        ("answered", expect.answered, outage.answered),
        ("lost", expect.lost, outage.lost),
        ("delivered to a former owner", expect.misdelivered, outage.misdelivered),
    ] {
        if let Some(expected) = expected {
            count(what, expected, found);
        }
    }
    let mut by_name = |what: &str, expected: &BTreeMap<String, Spanned<Count>>, found: &BTreeMap<String, u64>| {
        for (name, expected) in expected {
            let found = found.get(name).copied().unwrap_or(0);
            count(&format!("{what} {name}"), expected.value, found);
        }
    };
    by_name("answered by", &expect.answered_by, &outage.answered_by);
    by_name("dropped as", &expect.dropped, &outage.dropped);
    by_name("delivered to", &expect.delivered_to, &delivered(report));
}

/// Number of packets delivered to each instance.
fn delivered(report: &ProbeReport) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let fates = report.record.requests.iter().flat_map(|request| &request.fates);
    for id in fates.filter_map(|fate| fate.delivered_to).map(|id| id.to_string()) {
        let name = report.names.get(&id).cloned().unwrap_or(id);
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

fn shown(time: Duration) -> String {
    // In microseconds: more digits have no meaning.
    let whole = Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::InterfaceId;
    use crate::model::ids::ResourceId;
    use crate::probe::outage::Window;
    use crate::probe::{Outage, PacketFate, ProbeKind, ProbeRecord, ProbeSpec, Request};

    /// A probe with an outage of 412 ms.
    pub(in crate::scenario::judge) fn probed() -> ProbeReport {
        let ms = 1_000_000;
        let b = InterfaceId::from_bits(2);
        let fate = PacketFate {
            at: 0,
            delivered_to: Some(b),
            dropped: None,
        };
        let mut request = Request::default();
        request.fates.push(fate);
        ProbeReport {
            marks: Vec::new(),
            name: "p".to_owned(),
            outage: Outage {
                sent: 9,
                answered: 2,
                lost: 7,
                misdelivered: 3,
                windows: vec![Window {
                    from: 0,
                    to: Some(412 * ms),
                    lost: 7,
                    length: 412 * ms,
                }],
                longest: 412 * ms,
                total: 412 * ms,
                to_new_owner: Some(20 * ms),
                answered_by: [("a".to_owned(), 2)].into(),
                dropped: [("fault_partition".to_owned(), 3)].into(),
                ..Outage::default()
            },
            owners: Vec::new(),
            names: [(b.to_string(), "b".to_owned())].into(),
            record: ProbeRecord {
                spec: ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 9].into()),
                from: "a".to_owned(),
                began_at: 0,
                requests: vec![request],
                unrecorded: 0,
            },
        }
    }
}
