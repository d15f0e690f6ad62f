//! What was seen is compared with what was expected. Nothing here does anything: it reads and says what differs.

mod figures;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::format::{Action, Count, Exec, Exit, ExpectFields, LineFields, PortExpectation, Replies, TextFields};
use super::template::{Scope, TemplateError};
use crate::probe::report::ProbeReport;

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was expected: `exit code 0`.
    pub expected: String,
    /// Whether it was so.
    pub passed: bool,
    /// What was found, when it was not so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
}

impl Check {
    fn new(expected: impl Into<String>, passed: bool, found: impl FnOnce() -> String) -> Self {
        Self {
            expected: expected.into(),
            passed,
            found: if passed { String::new() } else { found() },
        }
    }
}

/// What a step saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Exit code of the command.
    pub exit: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Code and message with which the Controller refused.
    pub refused: Option<(String, String)>,
    /// The command was killed because its time was up.
    pub timed_out: bool,
}

/// What a port counted in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortCounts {
    /// Frames that came from the instance and went nowhere, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Every other counter, by name.
    pub counters: BTreeMap<String, u64>,
}

impl PortCounts {
    /// What was counted since `earlier`.
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

/// What expectations other than those of the command look at.
pub trait Witness {
    /// What the port of an instance counted since the step says.
    fn port(&self, instance: &str) -> Option<PortCounts>;
    /// What a capture has seen so far, a line for each packet.
    fn capture(&self, name: &str) -> Result<String, String>;
    /// A probe that was stopped.
    fn probe(&self, name: &str) -> Result<Arc<ProbeReport>, String>;
    /// How many events of a type there were since the step says.
    fn events(&self, kind: &str) -> u64;
}

/// Compares all that a step expects, written or implied, with what it saw.
pub fn judge(
    action: &Action,
    expect: &ExpectFields,
    seen: &Seen,
    scope: &Scope,
    witness: &dyn Witness,
) -> Result<Vec<Check>, TemplateError> {
    let mut checks = Vec::new();
    if seen.timed_out {
        checks.push(Check::new("the command ends in time", false, || {
            "it was killed when its time was up".to_owned()
        }));
    }
    match action {
        Action::Exec(Exec { background: None, .. }) => {
            let exit = expect.exit.clone().unwrap_or(Exit::OneOf(vec![0]));
            checks.push(judge_exit(&exit, seen));
        }
        Action::Ping(_) => {
            checks.push(judge_replies(expect.replies.unwrap_or(Replies::Answered), seen));
            if let Some(exit) = &expect.exit {
                checks.push(judge_exit(exit, seen));
            }
        }
        Action::Mapping(_) | Action::Modify(_) | Action::Route(_) | Action::Fault(_) => {
            checks.push(judge_refusal(expect, seen));
        }
        _ => {
            if let Some(exit) = &expect.exit {
                checks.push(judge_exit(exit, seen));
            }
        }
    }
    if let Some(text) = &expect.stdout {
        judge_text("standard output", &text.0, &seen.stdout, scope, &mut checks)?;
    }
    if let Some(text) = &expect.stderr {
        judge_text("standard error", &text.0, &seen.stderr, scope, &mut checks)?;
    }
    for (name, text) in &expect.captures {
        match witness.capture(name) {
            Ok(lines) => judge_text(&format!("capture `{name}`"), &text.value.0, &lines, scope, &mut checks)?,
            Err(problem) => checks.push(Check::new(format!("capture `{name}` can be read"), false, || problem)),
        }
    }
    for (instance, port) in &expect.ports {
        match witness.port(instance) {
            Some(counts) => judge_port(instance, &port.value, &counts, &mut checks),
            None => checks.push(Check::new(format!("`{instance}` has a port"), false, || {
                "it has none".to_owned()
            })),
        }
    }
    figures::judge(action, expect, witness, &mut checks);
    Ok(checks)
}

fn judge_exit(expected: &Exit, seen: &Seen) -> Check {
    let (text, right) = match expected {
        Exit::NonZero => (
            "an exit code other than 0".to_owned(),
            seen.exit.is_some_and(|code| code != 0),
        ),
        Exit::OneOf(codes) => {
            let list: Vec<String> = codes.iter().map(ToString::to_string).collect();
            (
                format!("exit code {}", list.join(" or ")),
                seen.exit.is_some_and(|code| codes.contains(&code)),
            )
        }
    };
    Check::new(text, right, || match seen.exit {
        Some(code) => format!("exit code {code}"),
        None => "the command has not ended".to_owned(),
    })
}

fn judge_refusal(expect: &ExpectFields, seen: &Seen) -> Check {
    let found = || match &seen.refused {
        Some((code, message)) => format!("{code}: {message}"),
        None => "it was done".to_owned(),
    };
    match &expect.error {
        Some(code) => Check::new(
            format!("refused with {}", code.value),
            seen.refused.as_ref().is_some_and(|(refused, _)| *refused == code.value),
            found,
        ),
        None => Check::new("it is done", seen.refused.is_none(), found),
    }
}

/// What `ping` says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PingSummary {
    transmitted: u64,
    received: u64,
    duplicates: u64,
}

/// Reads `3 packets transmitted, 3 received, +2 duplicates, 0% packet loss` (iputils).
fn ping_summary(stdout: &str) -> Option<PingSummary> {
    let line = stdout
        .lines()
        .rev()
        .find(|line| line.contains(" packets transmitted"))?;
    let number = |what: &str| {
        line.split(", ")
            .find(|part| part.contains(what))
            .and_then(|part| part.trim_start_matches('+').split(' ').next()?.parse().ok())
    };
    Some(PingSummary {
        transmitted: number("transmitted")?,
        received: number("received")?,
        duplicates: number("duplicates").unwrap_or(0),
    })
}

fn judge_replies(expected: Replies, seen: &Seen) -> Check {
    let summary = ping_summary(&seen.stdout);
    let found = || match summary {
        Some(PingSummary {
            transmitted,
            received,
            duplicates: 0,
        }) => format!("{received} of {transmitted} answered"),
        Some(PingSummary {
            transmitted,
            received,
            duplicates,
        }) => {
            format!("{received} of {transmitted} answered, and {duplicates} more replies")
        }
        None => match seen.stderr.trim() {
            "" => "ping said nothing".to_owned(),
            said => said.to_owned(),
        },
    };
    match expected {
        Replies::Answered => Check::new(
            "every request is answered",
            summary.is_some_and(|ping| ping.transmitted > 0 && ping.received == ping.transmitted),
            found,
        ),
        Replies::Unanswered => Check::new(
            "no request is answered",
            summary.is_some_and(|ping| ping.transmitted > 0 && ping.received == 0),
            found,
        ),
        Replies::Unreachable => Check::new(
            "the host has no route",
            // ping exits with 2 when it cannot send at all (ping(8)).
            seen.exit == Some(2) && seen.stderr.contains("nreachable"),
            found,
        ),
        Replies::Count(count) => Check::new(
            format!("{count} replies"),
            summary.is_some_and(|ping| count.holds(ping.received + ping.duplicates)),
            found,
        ),
    }
}

fn judge_text(
    name: &str,
    expected: &TextFields,
    text: &str,
    scope: &Scope,
    checks: &mut Vec<Check>,
) -> Result<(), TemplateError> {
    for (list, wanted) in [(&expected.contains, true), (&expected.not_contains, false)] {
        for one in &list.0 {
            let needle = one.fill(scope)?;
            let verb = if wanted { "contains" } else { "does not contain" };
            checks.push(Check::new(
                format!("{name} {verb} {needle:?}"),
                text.contains(&needle) == wanted,
                || found_in(text, |line| line.contains(&needle)),
            ));
        }
    }
    for (list, wanted) in [(&expected.matches, true), (&expected.not_matches, false)] {
        for one in &list.0 {
            let written = one.fill(scope)?;
            let verb = if wanted { "matches" } else { "does not match" };
            let what = format!("{name} {verb} /{written}/");
            checks.push(match pattern(&written) {
                Ok(pattern) => Check::new(what, pattern.is_match(text) == wanted, || {
                    found_in(text, |line| pattern.is_match(line))
                }),
                Err(problem) => Check::new(what, false, || problem),
            });
        }
    }
    if let Some(empty) = expected.empty {
        let what = if empty { "is empty" } else { "is not empty" };
        checks.push(Check::new(
            format!("{name} {what}"),
            text.trim().is_empty() == empty,
            || found_in(text, |_| true),
        ));
    }
    for line in &expected.lines {
        judge_lines(name, line, text, scope, checks)?;
    }
    Ok(())
}

fn judge_lines(
    name: &str,
    expected: &LineFields,
    text: &str,
    scope: &Scope,
    checks: &mut Vec<Check>,
) -> Result<(), TemplateError> {
    let written = expected
        .matching
        .as_ref()
        .map(|matching| matching.fill(scope))
        .transpose()?;
    let matching = match written.as_deref().map(pattern).transpose() {
        Ok(matching) => matching,
        Err(problem) => {
            checks.push(Check::new(format!("lines of {name}"), false, || problem));
            return Ok(());
        }
    };
    let meant = match &written {
        Some(written) => format!("lines of {name} that match /{written}/"),
        None => format!("lines of {name}"),
    };
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .filter(|line| matching.as_ref().is_none_or(|matching| matching.is_match(line)))
        .collect();
    if let Some(count) = expected.count {
        let distinct = expected
            .distinct
            .as_ref()
            .map(|distinct| distinct.fill(scope))
            .transpose()?;
        let (what, counted) = match distinct.as_deref().map(pattern).transpose() {
            Ok(distinct) => counted(&meant, &lines, distinct.as_ref()),
            Err(problem) => {
                checks.push(Check::new(meant, false, || problem));
                return Ok(());
            }
        };
        checks.push(Check::new(
            format!("{count} {what}"),
            count.holds(counted.len() as u64),
            || {
                let shown = if counted.is_empty() {
                    found_in(text, |_| true)
                } else {
                    found_in(&counted.join("\n"), |_| true)
                };
                format!("{}: {shown}", counted.len())
            },
        ));
    }
    if let Some(every) = &expected.every {
        let written = every.fill(scope)?;
        let what = format!("every one of the {meant} matches /{written}/");
        checks.push(match pattern(&written) {
            Ok(every) => {
                let odd = lines.iter().find(|line| !every.is_match(line));
                Check::new(what, odd.is_none(), || {
                    odd.map(|line| format!("{line:?}")).unwrap_or_default()
                })
            }
            Err(problem) => Check::new(what, false, || problem),
        });
    }
    Ok(())
}

/// What is counted, and the lines that count. Of those with the same first group of `distinct` it is the first; one in which
/// it does not match counts for itself.
fn counted<'l>(meant: &str, lines: &[&'l str], distinct: Option<&Regex>) -> (String, Vec<&'l str>) {
    let Some(distinct) = distinct else {
        return (meant.to_owned(), lines.to_vec());
    };
    let mut known = BTreeSet::new();
    let group = |line: &'l str| Some(distinct.captures(line)?.get(1)?.as_str());
    let first = |line: &&'l str| group(line).is_none_or(|group| known.insert(group));
    let counted = lines.iter().copied().filter(first).collect();
    (format!("{meant} and differ by /{distinct}/"), counted)
}

fn judge_port(instance: &str, expected: &PortExpectation, counts: &PortCounts, checks: &mut Vec<Check>) {
    let mut check = |what: String, count: &Count, found: u64| {
        checks.push(Check::new(
            format!("port of `{instance}`: {count} {what}"),
            count.holds(found),
            || {
                let other: Vec<String> = counts
                    .drops
                    .iter()
                    .filter(|(_, count)| **count > 0)
                    .map(|(reason, count)| format!("{reason} {count}"))
                    .collect();
                match other.is_empty() {
                    true => format!("{found}; nothing was dropped"),
                    false => format!("{found}; dropped were {}", other.join(", ")),
                }
            },
        ));
    };
    for (reason, count) in &expected.drops {
        let found = match reason.as_str() {
            "total" => counts.drops.values().sum(),
            reason => counts.drops.get(reason).copied().unwrap_or(0),
        };
        check(format!("dropped as {reason}"), &count.value, found);
    }
    for (name, count) in &expected.counters {
        check(
            name.clone(),
            &count.value,
            counts.counters.get(name).copied().unwrap_or(0),
        );
    }
}

/// `^` and `$` mean a line, as everybody expects who reads output of commands.
pub(super) fn pattern(written: &str) -> Result<Regex, String> {
    RegexBuilder::new(written)
        .multi_line(true)
        .build()
        .map_err(|error| error.to_string())
}

/// The lines that matter, or the first ones.
fn found_in(text: &str, matters: impl Fn(&str) -> bool) -> String {
    const SHOWN: usize = 3;
    let mut lines: Vec<&str> = text.lines().filter(|line| matters(line)).take(SHOWN).collect();
    if lines.is_empty() {
        lines = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(SHOWN)
            .collect();
    }
    if lines.is_empty() {
        "nothing".to_owned()
    } else {
        format!("{:?}", lines.join(" / "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::format;

    struct Told;

    impl Witness for Told {
        fn port(&self, instance: &str) -> Option<PortCounts> {
            (instance == "a").then(|| PortCounts {
                drops: [("source_check".to_owned(), 3)].into(),
                counters: [("frames_in".to_owned(), 10)].into(),
            })
        }

        fn capture(&self, _: &str) -> Result<String, String> {
            Ok("echo request\necho reply\n".to_owned())
        }

        fn probe(&self, _: &str) -> Result<Arc<ProbeReport>, String> {
            Ok(Arc::new(figures::tests::probed()))
        }

        fn events(&self, kind: &str) -> u64 {
            u64::from(kind == "fault_began")
        }
    }

    /// What is found wrong when a step with this action and expectation sees this.
    fn wrong(step: &str, seen: &Seen) -> Vec<String> {
        wrong_at(1, step, seen)
    }

    /// The same of the step at this place.
    fn wrong_at(place: usize, step: &str, seen: &Seen) -> Vec<String> {
        let text = format!(
            "name: t\ntopology: {{ vpcs: {{ v: {{ cidr_blocks: [10.0.0.0/16] }} }}, subnets: {{ s: {{ vpc: v, \
             cidr_block: 10.0.0.0/24 }} }}, instances: {{ a: {{ subnet: s }}, b: {{ subnet: s }} }} }}\n\
             steps:\n- {{ capture: {{ start: seen, on: a }} }}\n- {{ {step} }}\n"
        );
        let scenario = format::read("t.yaml", &text).unwrap();
        let step = &scenario.steps[place];
        let scope = format::expected_scope(&scenario.topology, BTreeMap::new());
        let checks = judge(&step.action, &step.expect, seen, &scope, &Told).unwrap();
        checks
            .into_iter()
            .filter(|check| !check.passed)
            .map(|check| check.found)
            .collect()
    }

    fn output(exit: i32, stdout: &str) -> Seen {
        Seen {
            exit: Some(exit),
            stdout: stdout.to_owned(),
            ..Seen::default()
        }
    }

    const NONE: &[&str] = &[];

    #[test]
    fn a_command_that_says_nothing_of_its_exit_code_must_succeed() {
        assert_eq!(wrong("exec: { on: a, run: x }", &output(0, "")), NONE);
        assert_eq!(wrong("exec: { on: a, run: x }", &output(2, "")), ["exit code 2"]);
        assert_eq!(
            wrong("exec: { on: a, run: x }, expect: { exit: [1, 2] }", &output(2, "")),
            NONE
        );
        assert_eq!(
            wrong("exec: { on: a, run: x }, expect: { exit: nonzero }", &output(0, "")),
            ["exit code 0"]
        );
    }

    #[test]
    fn a_ping_is_judged_by_its_summary() {
        let all = "3 packets transmitted, 3 received, 0% packet loss, time 402ms";
        let some = "3 packets transmitted, 1 received, 66.6667% packet loss, time 402ms";
        let none = "3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 402ms";
        let many = "3 packets transmitted, 3 received, +4 duplicates, 0% packet loss, time 402ms";
        for (expect, summary, right) in [
            ("answered", all, true),
            ("answered", some, false),
            ("answered", none, false),
            ("unanswered", none, true),
            ("unanswered", some, false),
            ("unanswered", "", false),
            ("unreachable", none, false),
            ("{ replies: 7 }", many, true),
            ("{ replies: 3 }", many, false),
            ("{ replies: { at_least: 4 } }", all, false),
        ] {
            let step = format!("ping: {{ from: a, to: 10.0.0.9 }}, expect: {expect}");
            assert_eq!(
                wrong(&step, &output(0, summary)).is_empty(),
                right,
                "{expect}: {summary}"
            );
        }
        let unreachable = Seen {
            exit: Some(2),
            stderr: "ping: connect: Network is unreachable".to_owned(),
            ..Seen::default()
        };
        assert_eq!(
            wrong("ping: { from: a, to: 10.0.0.9 }, expect: unreachable", &unreachable),
            NONE
        );
        assert!(!wrong("ping: { from: a, to: 10.0.0.9 }, expect: unanswered", &unreachable).is_empty());
    }

    #[test]
    fn texts_are_judged_as_a_whole_and_by_lines() {
        let seen = output(0, "64 bytes from fe80::1\n64 bytes from fe80::2\nend\n");
        for (expect, right) in [
            ("stdout: fe80::2", true),
            ("stdout: [fe80::1, fe80::3]", false),
            ("stdout: { not_contains: end }", false),
            ("stdout: { matches: '^end$' }", true),
            ("stdout: { not_matches: '^64' }", false),
            ("stdout: { empty: true }", false),
            ("stdout: { lines: [{ matching: '^64', count: 2 }] }", true),
            (
                "stdout: { lines: [{ matching: '^64', count: { at_least: 3 } }] }",
                false,
            ),
            ("stdout: { lines: [{ matching: '^64', every: 'fe80::' }] }", true),
            ("stdout: { lines: [{ matching: '^64', every: 'fe80::1' }] }", false),
            ("stdout: { lines: [{ count: 3 }] }", true),
            ("stdout: { lines: [{ distinct: '(bytes|end)', count: 2 }] }", true),
            ("stdout: { lines: [{ distinct: '(bytes|end)', count: 3 }] }", false),
            ("stdout: { lines: [{ distinct: 'fe80::(\\d)', count: 3 }] }", true),
        ] {
            let step = format!("exec: {{ on: a, run: x }}, expect: {{ {expect} }}");
            assert_eq!(wrong(&step, &seen).is_empty(), right, "{expect}");
        }
    }

    #[test]
    fn ports_and_captures_are_witnesses() {
        for (expect, right) in [
            (
                "ports: { a: { drops: { source_check: 3, total: { at_least: 1 } } } }",
                true,
            ),
            ("ports: { a: { drops: { no_route: { at_least: 1 } } } }", false),
            ("ports: { b: { drops: { total: 0 } } }", false),
            ("captures: { seen: { lines: [{ matching: reply, count: 1 }] } }", true),
            ("captures: { seen: { empty: true } }", false),
        ] {
            assert_eq!(
                wrong(&format!("expect: {{ {expect} }}"), &Seen::default()).is_empty(),
                right,
                "{expect}"
            );
        }
    }

    #[test]
    fn figures_of_a_probe_are_judged_where_it_is_stopped_or_named() {
        for (expect, right) in [
            ("outage: { below: 500ms }", true),
            ("outage: { below: 412ms }", false),
            ("outage: { above: 400ms }", true),
            ("outage: { above: 412ms }", false),
            ("takeover: { below: 1s }", true),
            ("takeover: { below: 1ms }", false),
            ("lost: 7", true),
            ("lost: 0", false),
            ("misdelivered: { at_least: 1 }", true),
            ("misdelivered: 0", false),
            ("answered_by: { a: 2 }", true),
            ("answered_by: { b: { at_least: 1 } }", false),
            ("delivered_to: { b: 1, a: 0 }", true),
            ("delivered_to: { b: 0 }", false),
            ("dropped: { fault_partition: 3 }", true),
            ("dropped: { fault_loss: { at_least: 1 } }", false),
            ("events: { fault_began: 1 }", true),
            ("events: { fault_ended: { at_least: 1 } }", false),
        ] {
            let probe = if expect.starts_with("events") { "" } else { "probe: p, " };
            let step = format!("probe: {{ start: p, from: a, to: 10.0.0.9 }} }}\n- {{ stop: p, expect: {{ {expect} }}");
            let there = wrong_at(2, &step, &Seen::default()).is_empty();
            let step = format!(
                "probe: {{ start: p, from: a, to: 10.0.0.9 }} }}\n- {{ stop: p }}\n- {{ expect: {{ {probe}{expect} }}"
            );
            let later = wrong_at(3, &step, &Seen::default()).is_empty();
            assert_eq!((there, later), (right, right), "{expect}");
        }
    }

    #[test]
    fn a_refused_edit_is_right_only_when_it_was_expected() {
        let refused = Seen {
            refused: Some(("InvalidIPAddress.InUse".into(), "taken".into())),
            ..Seen::default()
        };
        let edit = "mapping: { assign: 10.0.0.9, to: a }";
        assert_eq!(wrong(edit, &refused), ["InvalidIPAddress.InUse: taken"]);
        assert_eq!(wrong(edit, &Seen::default()), NONE);
        let expecting = format!("{edit}, expect: {{ error: InvalidIPAddress.InUse }}");
        assert_eq!(wrong(&expecting, &refused), NONE);
        assert_eq!(wrong(&expecting, &Seen::default()), ["it was done"]);
    }
}
