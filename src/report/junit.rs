//! Renders runs as JUnit XML for CI systems: a suite per run, a case per step.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::run::{Repetition, RunOutcome, RunReport, StepReport};
use super::section::{self, Kind, Section, failure, title};
use super::text::{escape, human};

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Passed,
    /// An expectation did not hold.
    Failed(String),
    /// It could not be done.
    Broken(String),
    Skipped,
}

/// One step, or one of several runs.
struct Case {
    name: String,
    /// In milliseconds.
    time: u64,
    end: End,
    output: Vec<Section>,
}

struct Suite {
    name: String,
    properties: Vec<(String, String)>,
    /// Milliseconds since 1970.
    started: SystemTime,
    cases: Vec<Case>,
    output: Vec<Section>,
}

/// JUnit XML of runs. Each step is counted once, also inside a `parallel` step.
pub fn junit(reports: &[RunReport]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for report in reports {
        write_suite(&mut xml, &suite(report));
        if let Some(repetition) = &report.repetition {
            write_suite(&mut xml, &other_runs(report, repetition));
        }
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(report: &RunReport) -> Suite {
    let mut cases = Vec::new();
    if let Some(problem) = &report.problem {
        cases.push(Case {
            name: "the network is made".to_owned(),
            time: report.duration_ms,
            end: End::Broken(problem.clone()),
            output: Vec::new(),
        });
    }
    report.steps.iter().for_each(|step| add_cases(step, &mut cases));
    let mut properties = vec![("seed".to_owned(), report.seed.to_string())];
    if !report.description.trim().is_empty() {
        properties.push(("description".to_owned(), report.description.trim().to_owned()));
    }
    properties.extend(report.source.iter().map(|source| ("source".to_owned(), source.clone())));
    let parameters = report.parameters.iter();
    properties.extend(parameters.map(|(name, value)| (format!("parameter.{name}"), value.clone())));
    let network = report.network.iter().map(|network| Section {
        title: "network (Mermaid)".to_owned(),
        body: network.mermaid(),
        kind: section::Kind::Evidence,
    });
    let network = network.chain(super::reach::sections(&report.reach));
    let mut output: Vec<Section> = report.probes.iter().map(super::outage::section_of).collect();
    output.extend(report.programs.iter().map(section::of_program));
    output.extend(network);
    Suite {
        name: report.scenario.clone(),
        properties,
        started: report.started_at,
        cases,
        output,
    }
}

fn add_cases(step: &StepReport, cases: &mut Vec<Case>) {
    // A `parallel` step is a case where it has an expectation of its own; its steps are separate cases.
    if let Some(outcome) = step.own_outcome() {
        let mut output = section::of_step(step);
        output.retain(|section| section.kind != Kind::Failure);
        cases.push(Case {
            name: format!("{}. {}", step.number, title(step)),
            time: step.duration_ms,
            end: match outcome {
                RunOutcome::Passed => End::Passed,
                RunOutcome::Skipped => End::Skipped,
                RunOutcome::Failed => End::Failed(failure(step)),
                RunOutcome::Broken | RunOutcome::Cancelled => End::Broken(failure(step)),
            },
            output,
        });
    }
    step.steps.iter().for_each(|step| add_cases(step, cases));
}

/// The runs that the first suite does not show step by step.
fn other_runs(report: &RunReport, repetition: &Repetition) -> Suite {
    let others = repetition.each.iter().filter(|run| !run.shown);
    let cases = others.map(|run| {
        let section = section::of_run(run);
        let text = format!("{}\n{}", section.title, section.body);
        Case {
            name: format!("run {} (seed {})", run.number, run.seed),
            time: run.duration_ms,
            end: match run.outcome {
                RunOutcome::Passed => End::Passed,
                RunOutcome::Skipped => End::Skipped,
                RunOutcome::Failed => End::Failed(text),
                RunOutcome::Broken | RunOutcome::Cancelled => End::Broken(text),
            },
            output: vec![section],
        }
    });
    let outages = repetition.outages.iter().map(|outage| {
        let [min, p50, p90, max] = [outage.min, outage.p50, outage.p90, outage.max].map(human);
        let value = format!("longest outage of a run from {min} to {max}, p50 {p50}, p90 {p90}");
        (format!("outage.{}", outage.probe), value)
    });
    let passed = (
        "passed".to_owned(),
        format!("{} of {}", repetition.passed, repetition.runs),
    );
    Suite {
        name: format!("{}: other runs", report.scenario),
        properties: std::iter::once(passed).chain(outages).collect(),
        started: report.started_at,
        cases: cases.collect(),
        output: Vec::new(),
    }
}

fn write_suite(xml: &mut String, suite: &Suite) {
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let count = |of: fn(&End) -> bool| suite.cases.iter().filter(|case| of(&case.end)).count();
    let time = seconds(suite.cases.iter().map(|case| case.time).sum());
    let name = escape(&suite.name);
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{time}\" timestamp=\"{}\">",
        suite.cases.len(),
        count(|end| matches!(end, End::Failed(_))),
        count(|end| matches!(end, End::Broken(_))),
        count(|end| *end == End::Skipped),
        humantime::format_rfc3339_seconds(suite.started)
    );
    xml.push_str("<properties>\n");
    for (property, value) in &suite.properties {
        let _ = writeln!(
            xml,
            "<property name=\"{}\" value=\"{}\"/>",
            escape(property),
            escape(value)
        );
    }
    xml.push_str("</properties>\n");
    for case in &suite.cases {
        let (case_name, time) = (escape(&case.name), seconds(case.time));
        let _ = writeln!(
            xml,
            "<testcase classname=\"{name}\" name=\"{case_name}\" time=\"{time}\">"
        );
        let (element, text) = match &case.end {
            End::Passed => ("", ""),
            End::Skipped => ("skipped", ""),
            End::Failed(text) => ("failure", text.as_str()),
            End::Broken(text) => ("error", text.as_str()),
        };
        if !element.is_empty() {
            let first = escape(text.lines().next().unwrap_or_default());
            let _ = writeln!(xml, "<{element} message=\"{first}\">{}</{element}>", escape(text));
        }
        write_output(xml, &case.output);
        xml.push_str("</testcase>\n");
    }
    write_output(xml, &suite.output);
    xml.push_str("</testsuite>\n");
}

fn write_output(xml: &mut String, sections: &[Section]) {
    if sections.is_empty() {
        return;
    }
    xml.push_str("<system-out>");
    for section in sections {
        // Writing to a String cannot fail.
        let _ = writeln!(xml, "{}:\n{}\n", escape(&section.title), escape(&section.body));
    }
    xml.push_str("</system-out>\n");
}
