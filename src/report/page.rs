//! Runs on paper: JUnit XML for CI systems, and one page of HTML that needs nothing else.

use std::fmt::Write as _;

use super::run::{ProgramLog, Repetition, RunOutcome, RunReport, StepReport};
use crate::report::junit::{Case, junit_of_suites};
use crate::report::outage::{STYLE, section};
use crate::report::text::{escape, human};

/// A millisecond, in nanoseconds.
const MS: u64 = 1_000_000;

/// A suite for each run, with a case for each step. A step that was not reached is no success, and no case.
pub fn junit(reports: &[RunReport]) -> String {
    let suites: Vec<(String, Vec<Case>)> = reports
        .iter()
        .map(|report| {
            let mut cases = Vec::new();
            if let Some(problem) = &report.problem {
                cases.push(Case {
                    name: "the network is made".to_owned(),
                    time: report.duration_ms * MS,
                    failure: Some(problem.clone()),
                });
            }
            report.steps.iter().for_each(|step| add_cases(step, &mut cases));
            if let Some(repetition) = &report.repetition {
                cases.push(repeated(repetition));
            }
            (report.scenario.clone(), cases)
        })
        .collect();
    junit_of_suites(&suites)
}

fn add_cases(step: &StepReport, cases: &mut Vec<Case>) {
    if step.outcome == RunOutcome::Skipped {
        return;
    }
    if step.steps.is_empty() || !step.checks.is_empty() {
        cases.push(Case {
            name: format!("{}. {}", step.number, title(step)),
            time: step.duration_ms * MS,
            failure: (step.outcome != RunOutcome::Passed).then(|| failure(step)),
        });
    }
    step.steps.iter().for_each(|step| add_cases(step, cases));
}

fn repeated(repetition: &Repetition) -> Case {
    let Repetition { runs, passed, .. } = repetition;
    Case {
        name: format!("{runs} runs pass"),
        time: 0,
        failure: (passed < runs).then(|| format!("{passed} of {runs} did")),
    }
}

fn title(step: &StepReport) -> String {
    let said = step.say.as_deref().map(str::trim).filter(|said| !said.is_empty());
    said.unwrap_or(&step.did).lines().collect::<Vec<_>>().join(" ")
}

fn failure(step: &StepReport) -> String {
    let mut text = step.problem.clone().unwrap_or_default();
    for check in step.checks.iter().filter(|check| !check.passed) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "expected: {}\nfound: {}", check.expected, check.found);
    }
    if text.is_empty() {
        step.outcome.word().to_owned()
    } else {
        text.trim_end().to_owned()
    }
}

/// All runs on one page: steps, outages with their timelines, what programs wrote.
pub fn html(reports: &[RunReport]) -> String {
    let names: Vec<&str> = reports.iter().map(|report| report.scenario.as_str()).collect();
    let title = escape(&names.join(", "));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}{MORE_STYLE}</style></head>\n<body>\n"
    );
    for report in reports {
        run(&mut page, report);
    }
    page.push_str("</body></html>\n");
    page
}

const MORE_STYLE: &str = ".passed{color:#2a7d2a}.failed,.broken,.cancelled{color:#c22}.skipped{color:#888}\
pre{background:#f4f4f4;padding:.6em;overflow:auto;max-height:24em}td{vertical-align:top}";

fn run(page: &mut String, report: &RunReport) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<h1>{} {}</h1><p>{}</p><p>Seed {}, {} in all.</p>",
        escape(&report.scenario),
        word(report.outcome),
        escape(report.description.trim()),
        report.seed,
        human(report.duration_ms * MS)
    );
    if let Some(problem) = &report.problem {
        let _ = writeln!(page, "<p class=\"broken\">{}</p>", escape(problem));
    }
    for probe in &report.probes {
        section(page, probe);
    }
    if let Some(repetition) = &report.repetition {
        distribution(page, repetition);
    }
    page.push_str("<h2>Steps</h2><table>\n");
    report.steps.iter().for_each(|step| row(page, step));
    page.push_str("</table>\n");
    if !report.programs.is_empty() {
        page.push_str("<h2>Programs</h2>\n");
        report.programs.iter().for_each(|program| log(page, program));
    }
}

fn word(outcome: RunOutcome) -> String {
    let class = format!("{outcome:?}").to_lowercase();
    format!("<span class=\"{class}\">{}</span>", outcome.word())
}

fn row(page: &mut String, step: &StepReport) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<tr><td>{}</td><td>{}</td><td>{}<br><code>{}</code>{}</td><td>{}</td></tr>",
        escape(&step.number),
        word(step.outcome),
        escape(step.say.as_deref().unwrap_or_default()),
        escape(&step.did),
        match step.outcome {
            RunOutcome::Passed | RunOutcome::Skipped => String::new(),
            _ => format!("<pre>{}</pre>", escape(&failure(step))),
        },
        human(step.duration_ms * MS)
    );
    step.steps.iter().for_each(|step| row(page, step));
}

fn distribution(page: &mut String, repetition: &Repetition) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<h2>{} of {} runs passed</h2><table><tr><th>Longest outage of each run</th><th>least</th><th>p50</th><th>p90</th><th>most</th></tr>",
        repetition.passed, repetition.runs
    );
    for outage in &repetition.outages {
        let [min, p50, p90, max] = [outage.min, outage.p50, outage.p90, outage.max].map(human);
        let probe = escape(&outage.probe);
        let _ = writeln!(
            page,
            "<tr><td>{probe}</td><td>{min}</td><td>{p50}</td><td>{p90}</td><td>{max}</td></tr>"
        );
    }
    page.push_str("</table>\n");
}

fn log(page: &mut String, program: &ProgramLog) {
    let output = format!("{}{}", program.stdout, program.stderr);
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<h3>{} on {}</h3><pre>{}</pre>",
        escape(&program.name),
        escape(&program.instance),
        escape(output.trim_end())
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::Check;
    use crate::report::run::Distribution;

    fn step(number: &str, outcome: RunOutcome) -> StepReport {
        StepReport {
            outcome,
            duration_ms: 1500,
            ..StepReport::skipped(number, 1, format!("step <{number}>"))
        }
    }

    fn report() -> RunReport {
        let mut failed = step("2", RunOutcome::Failed);
        failed.checks = vec![Check {
            expected: "lost 0".into(),
            passed: false,
            found: "7".into(),
        }];
        let mut parallel = step("1", RunOutcome::Passed);
        parallel.steps = vec![step("1.1", RunOutcome::Passed), step("1.2", RunOutcome::Passed)];
        RunReport {
            scenario: "s".into(),
            description: String::new(),
            source: None,
            seed: 1,
            parameters: Default::default(),
            outcome: RunOutcome::Failed,
            problem: None,
            started_at_ms: 0,
            duration_ms: 3000,
            steps: vec![parallel, failed, step("3", RunOutcome::Skipped)],
            probes: Vec::new(),
            programs: vec![ProgramLog {
                name: "keepalived".into(),
                instance: "a".into(),
                exit: None,
                stdout: String::new(),
                stderr: "Entering <MASTER>".into(),
            }],
            repetition: Distribution::of("p", vec![4 * MS, 2 * MS, 9 * MS]).map(|outage| Repetition {
                runs: 3,
                passed: 2,
                seeds: vec![1, 2, 3],
                outages: vec![outage],
            }),
            captures: Default::default(),
        }
    }

    #[test]
    fn a_case_stands_for_each_step_that_was_reached() {
        let xml = junit(&[report()]);
        assert!(
            xml.contains("<testsuite name=\"s\" tests=\"4\" failures=\"2\""),
            "{xml}"
        );
        assert!(xml.contains("expected: lost 0\nfound: 7"), "{xml}");
        assert!(xml.contains("2 of 3 did"), "{xml}");
        assert!(!xml.contains("3. step"), "{xml}");
    }

    #[test]
    fn the_page_has_steps_programs_and_the_distribution() {
        let page = html(&[report()]);
        for part in [
            "FAIL",
            "expected: lost 0",
            "Entering &lt;MASTER&gt;",
            "<td>p</td><td>2.0 ms</td><td>4.0 ms</td><td>9.0 ms</td><td>9.0 ms</td>",
            "2 of 3 runs passed",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
