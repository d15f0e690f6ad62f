//! Splits a record into sections with a title and lines. Every rendering uses them, so that none shows less than
//! another.

use std::fmt::Write as _;

use super::ladder;
use super::run::{Evidence, PortCounts, ProgramLog, RepeatedRun, RunOutcome, StepReport};
use super::text::human;

/// A millisecond, in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// A part of the record of a step or a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its title.
    pub(crate) title: String,
    /// Its lines.
    pub(crate) body: String,
    /// Its kind.
    pub(crate) kind: Kind,
}

/// The kind of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Output of a command.
    Output,
    /// Why something failed: to be read first.
    Failure,
    /// An expectation that held.
    Passed,
    /// Evidence about a step that failed.
    Evidence,
    /// The ladder of packets, which HTML draws.
    Ladder,
}

impl Section {
    fn new(kind: Kind, title: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            body: body.into().trim_end().to_owned(),
            kind,
        }
    }
}

/// The sections of a step, without its inner steps.
pub(crate) fn of_step(step: &StepReport) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut put = |kind, title: String, body: String| {
        if !body.trim().is_empty() {
            sections.push(Section::new(kind, title, body));
        }
    };
    put(Kind::Output, "standard output".to_owned(), step.stdout.clone());
    put(Kind::Output, "standard error".to_owned(), step.stderr.clone());
    let problem = step.problem.clone().unwrap_or_default();
    put(Kind::Failure, "problem".to_owned(), problem);
    let failed = step.checks.iter().filter(|check| !check.passed);
    let failed: String = failed
        .map(|check| format!("expected: {}\n   found: {}\n", check.expected, check.found))
        .collect();
    put(Kind::Failure, "not as expected".to_owned(), failed);
    let passed = step.checks.iter().filter(|check| check.passed);
    let passed: String = passed.map(|check| format!("{}\n", check.expected)).collect();
    put(Kind::Passed, "as expected".to_owned(), passed);
    if let Some(evidence) = &step.evidence {
        sections.extend(of_evidence(evidence));
    }
    sections
}

fn of_evidence(evidence: &Evidence) -> Vec<Section> {
    let mut sections = Vec::new();
    if !evidence.ladder.is_empty() {
        let body = ladder::text(&evidence.ladder);
        sections.push(Section::new(Kind::Ladder, "packets through the switch", body));
    }
    for (name, packets) in &evidence.captures {
        let mut body = String::new();
        if let Some(omitted) = evidence.omitted.get(name) {
            // Writing to a String cannot fail.
            let _ = writeln!(
                body,
                "({omitted} earlier packets are left out: --captures FOLDER keeps all)"
            );
        }
        body += &packets.join("\n");
        if packets.is_empty() {
            body += "none";
        }
        sections.push(Section::new(Kind::Evidence, format!("{name}: packets on eth0"), body));
    }
    for (name, port) in &evidence.ports {
        sections.push(Section::new(
            Kind::Evidence,
            format!("{name}: at its port"),
            counts(port),
        ));
    }
    for (name, state) in &evidence.hosts {
        let title = format!("{name}: addresses, routes, neighbors");
        sections.push(Section::new(Kind::Evidence, title, state.as_str()));
    }
    sections
}

fn counts(port: &PortCounts) -> String {
    let list = |counts: &std::collections::BTreeMap<String, u64>| {
        let list: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        match list.is_empty() {
            true => "nothing".to_owned(),
            false => list.join(", "),
        }
    };
    format!("dropped: {}\ncounted: {}", list(&port.drops), list(&port.counters))
}

/// The output of a background program, and how it ended.
pub(crate) fn of_program(program: &ProgramLog) -> Section {
    let ran = program
        .ran_ms
        .map_or_else(String::new, |ran| format!(" after {}", human(ran * MS)));
    let end = match (program.exit, program.stopped) {
        (None, _) => "ran until the end".to_owned(),
        (Some(code), true) => format!("stopped{ran}, exit code {code}"),
        (Some(code), false) => format!("ended by itself{ran}, exit code {code}"),
    };
    let mut body = String::new();
    for (stream, text) in [("", &program.stdout), ("standard error:\n", &program.stderr)] {
        if !text.trim().is_empty() {
            body += &format!("{stream}{}\n", text.trim_end());
        }
    }
    if body.is_empty() {
        body = "(no output)".to_owned();
    }
    let kind = if program.failed() { Kind::Failure } else { Kind::Output };
    Section::new(kind, format!("{} on {}: {end}", program.name, program.instance), body)
}

/// One of several runs: a line with its outcome.
pub(crate) fn of_run(run: &RepeatedRun) -> Section {
    let mut body = run.problem.clone().unwrap_or_default();
    for (probe, outage) in &run.outages {
        // Writing to a String cannot fail.
        let _ = write!(body, "{}{probe}: longest outage {}", line_break(&body), human(*outage));
    }
    for step in &run.failed {
        let _ = write!(body, "{}{}. {}", line_break(&body), step.number, title(step));
        for section in of_step(step) {
            let _ = write!(body, "\n{}:\n{}", section.title, section.body);
        }
    }
    let shown = if run.shown { ", shown below" } else { "" };
    let title = format!(
        "run {} {} in {} (seed {}{shown})",
        run.number,
        run.outcome.word(),
        human(run.duration_ms * MS),
        run.seed
    );
    let kind = match run.outcome {
        RunOutcome::Passed => Kind::Passed,
        _ => Kind::Failure,
    };
    Section::new(kind, title, body)
}

fn line_break(text: &str) -> &'static str {
    if text.is_empty() { "" } else { "\n" }
}

/// The observation that a step demonstrates, or its action, in one line.
pub(crate) fn title(step: &StepReport) -> String {
    let said = step.say.as_deref().map(str::trim).filter(|said| !said.is_empty());
    said.unwrap_or(&step.did).lines().collect::<Vec<_>>().join(" ")
}

/// Why a step did not pass, in lines.
pub(crate) fn failure(step: &StepReport) -> String {
    let failures = of_step(step)
        .into_iter()
        .filter(|section| section.kind == Kind::Failure);
    let text = failures.map(|section| section.body).collect::<Vec<_>>().join("\n");
    match text.is_empty() {
        true => step.outcome.word().to_owned(),
        false => text,
    }
}
