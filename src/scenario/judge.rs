//! Compares what a step saw with what was expected. It is pure: it reads and reports differences.

mod figures;
mod flows;

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::format::{Action, Exec, Exit, ExpectFields, LineFields, PortExpectation, Replies, TextFields};
use crate::file::template::{Scope, TemplateError};
use crate::file::values::Count;
use crate::probe::ProbeReport;
use crate::record::flow_log::{FlowCounts, FlowFilter};
use crate::report::run::{Check, PortCounts};

/// Observations of a step.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Exit code of the command.
    pub exit: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Code and message of the Controller's refusal.
    pub refused: Option<(String, String)>,
    /// The command was killed after its time limit.
    pub timed_out: bool,
    /// The name of a background program that ended with an error right after its start.
    pub ended_at_once: Option<String>,
}

/// Observations other than those of the command.
pub trait Witness {
    /// Counters of an instance's port since the start of the interval in question.
    fn port(&self, instance: &str) -> Option<PortCounts>;
    /// The packets of a capture so far, a line per packet.
    fn capture(&self, name: &str) -> Result<String, String>;
    /// A stopped probe.
    fn probe(&self, name: &str) -> Result<Arc<ProbeReport>, String>;
    /// The number of events of a type in the interval.
    fn events(&self, kind: &str) -> u64;
    /// The verdicts on packets in the interval.
    fn flows(&self, wanted: &FlowFilter) -> Result<FlowCounts, String>;
}

/// Compares all expectations of a step, written or implied, with its observations.
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
    if let Some(name) = &seen.ended_at_once {
        checks.push(Check::new(format!("`{name}` goes on in the background"), false, || {
            let code = seen.exit.unwrap_or_default();
            format!("it ended at once, exit code {code}; where that is meant, run it without `background`")
        }));
    }
    match action {
        Action::Exec(Exec { background: None, .. }) => {
            let exit = expect.exit.clone().unwrap_or(Exit::OneOf(vec![0]));
            checks.push(judge_exit(&exit, seen));
        }
        Action::Ping(ping) => {
            let replies = expect.replies.unwrap_or(Replies::Answered);
            checks.push(judge_replies(replies, ping.count.unwrap_or(3), seen));
            if let Some(exit) = &expect.exit {
                checks.push(judge_exit(exit, seen));
            }
        }
        Action::Mapping(_)
        | Action::Modify(_)
        | Action::Route(_)
        | Action::Rules(_)
        | Action::Entry(_)
        | Action::Fault(_) => {
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
    flows::judge(expect, scope, witness, &mut checks)?;
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

/// The summary at the end of `ping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PingSummary {
    transmitted: u64,
    received: u64,
    duplicates: u64,
}

/// Parses `3 packets transmitted, 3 received, +2 duplicates, 0% packet loss` (iputils).
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

/// The requests up to `count` that were answered, by their numbers. A request beyond it was sent while an answer was missing;
/// its own answer does not stand for that one.
fn answered_numbers(stdout: &str, count: u32) -> usize {
    let answers = stdout.lines().filter(|line| line.contains(" bytes from "));
    let number = |line: &str| -> Option<u32> {
        let rest = line.split("icmp_seq=").nth(1)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let numbers: BTreeSet<u32> = answers.filter_map(number).filter(|number| *number <= count).collect();
    numbers.len()
}

fn judge_replies(expected: Replies, count: u32, seen: &Seen) -> Check {
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
            summary.is_some_and(|ping| match ping.transmitted > u64::from(count) {
                true => answered_numbers(&seen.stdout, count) == count as usize,
                false => ping.transmitted > 0 && ping.received == ping.transmitted,
            }),
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

/// A description of what is counted, and the counted lines. Of lines with the same first group of `distinct` only the
/// first counts; a line without a match counts.
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

/// The largest compiled regular expression, in octets: a larger one in a client's scenario would take seconds to
/// compile.
const LARGEST_PATTERN: usize = 256 << 10;

/// `^` and `$` match at lines, as usual for the output of commands.
pub(in crate::scenario) fn pattern(written: &str) -> Result<Regex, String> {
    RegexBuilder::new(written)
        .multi_line(true)
        .size_limit(LARGEST_PATTERN)
        .dfa_size_limit(LARGEST_PATTERN)
        .build()
        .map_err(|error| error.to_string())
}

/// The lines that matter, or else the first ones.
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
mod tests;
