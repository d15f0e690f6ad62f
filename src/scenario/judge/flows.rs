//! Compares flow records with the expectations.

use std::collections::BTreeMap;

use super::super::format::{ExpectFields, FlowForm};
use super::{Check, Witness};
use crate::file::template::{Scope, TemplateError};
use crate::file::values::Text;
use crate::record::flow_log::{FlowCounts, FlowFilter};

/// Adds the checks of flows.
pub(super) fn judge(
    expect: &ExpectFields,
    scope: &Scope,
    witness: &dyn Witness,
    checks: &mut Vec<Check>,
) -> Result<(), TemplateError> {
    for flow in &expect.flows {
        let flow = &flow.value;
        let shown = format!("flow {}", flow.shown(scope));
        let counts = filter(flow, scope)?.and_then(|filter| witness.flows(&filter));
        match counts {
            Ok(counts) => judge_flow(&shown, flow, &counts, checks),
            Err(problem) => checks.push(Check::new(format!("{shown} is recorded"), false, || problem)),
        }
    }
    Ok(())
}

fn filter(flow: &FlowForm, scope: &Scope) -> Result<Result<FlowFilter, String>, TemplateError> {
    let fill = |text: &Option<Text>| text.as_ref().map(|text| text.fill(scope)).transpose();
    let (source, destination) = (fill(&flow.source)?, fill(&flow.to)?);
    let address = |text: Option<String>| {
        let read = |text: String| text.parse().map_err(|_| format!("`{text}` is not an IP address"));
        text.map(read).transpose()
    };
    let both = address(source).and_then(|source| Ok((source, address(destination)?)));
    Ok(both.map(|(source, destination)| FlowFilter {
        from: flow.from.as_ref().map(|from| from.value.clone()),
        source,
        destination,
        protocol: flow.protocol,
        port: flow.port,
    }))
}

fn judge_flow(shown: &str, flow: &FlowForm, counts: &FlowCounts, checks: &mut Vec<Check>) {
    let of = |counts: &BTreeMap<String, u64>, name: &String| counts.get(name).copied().unwrap_or(0);
    let delivered = flow.delivered_to.iter().map(|(name, expected)| {
        let what = format!("packets delivered to {name}");
        (what, expected.value, of(&counts.delivered_to, name))
    });
    let dropped = flow.dropped.iter().map(|(reason, expected)| {
        let what = format!("packets dropped as {reason}");
        (what, expected.value, of(&counts.dropped, reason))
    });
    let totals = [
        ("packets", flow.packets, counts.packets),
        ("packets answered by the VPC", flow.answered, counts.answered),
    ];
    let totals = totals
        .into_iter()
        .filter_map(|(what, expected, found)| Some((what.to_owned(), expected?, found)));
    for (what, expected, found) in totals.chain(delivered).chain(dropped) {
        checks.push(Check::new(
            format!("{shown}: {expected} {what}"),
            expected.holds(found),
            || format!("{found}; in all {}", told(counts)),
        ));
    }
}

/// All verdicts on the packets, as text.
fn told(counts: &FlowCounts) -> String {
    let delivered = counts
        .delivered_to
        .iter()
        .map(|(name, count)| format!("{count} to {name}"));
    let dropped = counts
        .dropped
        .iter()
        .map(|(reason, count)| format!("{count} dropped as {reason}"));
    let answered = (counts.answered > 0).then(|| format!("{} answered", counts.answered));
    let parts: Vec<String> = delivered.chain(dropped).chain(answered).collect();
    format!("{} packets ({})", counts.packets, parts.join(", "))
}
