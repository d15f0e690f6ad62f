//! Tests that the three renderings of one record contain everything, and count a step once.

use super::html::html;
use super::junit::junit;
use super::run::{
    Check, Distribution, Evidence, PortCounts, ProgramLog, RepeatedRun, Repetition, RunOutcome, RunReport, StepReport,
};
use super::section::MS;
use crate::record::ladder::Rung;

fn step(number: &str, outcome: RunOutcome) -> StepReport {
    StepReport {
        outcome,
        duration_ms: 1500,
        ..StepReport::skipped(number, 1, format!("step <{number}>"))
    }
}

fn check(expected: &str, found: Option<&str>) -> Check {
    Check {
        expected: expected.into(),
        passed: found.is_none(),
        found: found.unwrap_or_default().into(),
    }
}

/// The texts that every rendering of [`full`] must contain.
pub(crate) const SAID: &[&str] = &[
    "vpc-of-the-drawing",
    "instance-that-is-not-reached",
    "reason-of-the-matrix",
    "what-the-scenario-shows",
    "parameter-value",
    "written-by-a-passed-step",
    "error-of-a-passed-step",
    "held-in-a-passed-step",
    "not-possible",
    "expected-lost-0",
    "found-7",
    "written-by-a-failed-step",
    "packet-line",
    "unverified_sender",
    "neighbor-line",
    "ARP who has 10.0.0.9",
    "foreign_source",
    "Entering MASTER",
    "cannot-read-its-configuration",
    "ended by itself",
    "exit code 3",
    "failure-of-another-run",
    "seed 12",
    "2 of 3",
];

/// A report with something in every field.
pub(crate) fn full() -> RunReport {
    let mut passed = step("1", RunOutcome::Passed);
    passed.stdout = "written-by-a-passed-step".into();
    passed.stderr = "error-of-a-passed-step".into();
    passed.checks = vec![check("held-in-a-passed-step", None)];
    let mut failed = step("2", RunOutcome::Failed);
    failed.stdout = "written-by-a-failed-step".into();
    failed.problem = Some("not-possible".into());
    failed.checks = vec![check("expected-lost-0", Some("found-7"))];
    failed.evidence = Some(Evidence {
        ports: [(
            "a".to_owned(),
            PortCounts {
                drops: [("unverified_sender".to_owned(), 2)].into(),
                ..PortCounts::default()
            },
        )]
        .into(),
        captures: [("a".to_owned(), vec!["packet-line".to_owned()])].into(),
        hosts: [("a".to_owned(), "neighbor-line".to_owned())].into(),
        ladder: vec![Rung {
            at_us: 20,
            from: "a".into(),
            to: None,
            packet: "ARP who has 10.0.0.9".into(),
            dropped: Some("foreign_source".into()),
        }],
        ..Evidence::default()
    });
    let mut other = step("2", RunOutcome::Failed);
    other.checks = vec![check("failure-of-another-run", Some("nothing"))];
    let one = |number: u64, shown| RepeatedRun {
        number,
        seed: 10 + number,
        outcome: if number == 3 {
            RunOutcome::Passed
        } else {
            RunOutcome::Failed
        },
        duration_ms: 5,
        shown,
        problem: None,
        failed: Vec::new(),
        outages: Default::default(),
    };
    let mut second = one(2, false);
    second.failed = vec![other];
    RunReport {
        scenario: "s".into(),
        description: "what-the-scenario-shows".into(),
        source: None,
        seed: 11,
        parameters: [("p".to_owned(), "parameter-value".to_owned())].into(),
        outcome: RunOutcome::Failed,
        problem: None,
        started_at: std::time::UNIX_EPOCH,
        duration_ms: 3000,
        network: Some(crate::report::graph::Graph {
            vpcs: vec![crate::report::graph::VpcNode {
                name: "vpc-of-the-drawing".into(),
                blocks: Vec::new(),
                subnets: Vec::new(),
            }],
            routes: Vec::new(),
        }),
        reach: vec![crate::report::reach::Way {
            family: "IPv4".into(),
            from: "a".into(),
            to: "instance-that-is-not-reached".into(),
            address: "10.0.0.2".into(),
            verdict: "reason-of-the-matrix".into(),
        }],
        steps: vec![passed, failed, step("3", RunOutcome::Skipped)],
        probes: Vec::new(),
        programs: vec![ProgramLog {
            name: "keepalived".into(),
            instance: "a".into(),
            exit: Some(3),
            stopped: false,
            ran_ms: Some(40),
            stdout: "Entering MASTER".into(),
            stderr: "cannot-read-its-configuration".into(),
        }],
        repetition: Distribution::of("p", vec![4 * MS, 2 * MS, 9 * MS]).map(|outage| Repetition {
            runs: 3,
            passed: 2,
            seeds: vec![11, 12, 13],
            outages: vec![outage],
            each: vec![one(1, true), second, one(3, false)],
        }),
        captures: Default::default(),
    }
}

#[test]
fn no_rendering_shows_less_than_another() {
    let report = full();
    let json = serde_json::to_string(&report).unwrap();
    for text in [
        junit(std::slice::from_ref(&report)),
        html(std::slice::from_ref(&report)),
    ] {
        let missing: Vec<_> = SAID.iter().filter(|said| !text.contains(**said)).collect();
        assert!(missing.is_empty(), "{missing:?}\n{text}");
    }
    // JSON has figures where the others have sentences.
    let sentences = ["ended by itself", "exit code 3", "seed 12", "2 of 3"];
    let missing: Vec<_> = SAID
        .iter()
        .filter(|said| !sentences.contains(said) && !json.contains(**said))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_step_in_parallel_is_one_case_and_a_step_that_was_not_reached_is_skipped() {
    let mut report = full();
    report.repetition = None;
    let mut parallel = step("1", RunOutcome::Failed);
    parallel.steps = vec![step("1.1", RunOutcome::Passed), step("1.2", RunOutcome::Failed)];
    report.steps[0] = parallel.clone();
    let xml = junit(std::slice::from_ref(&report));
    assert!(
        xml.contains("<testsuite name=\"s\" tests=\"4\" failures=\"2\" errors=\"0\" skipped=\"1\""),
        "{xml}"
    );
    assert!(!xml.contains("name=\"1. "), "{xml}");
    assert_eq!(
        (report.count(RunOutcome::Failed), report.count(RunOutcome::Passed)),
        (2, 1)
    );

    // What is expected of both together is a case, and fails by itself alone.
    parallel.checks = vec![check("both", None)];
    report.steps[0] = parallel;
    let xml = junit(std::slice::from_ref(&report));
    assert!(xml.contains("tests=\"5\" failures=\"2\""), "{xml}");
}

#[test]
fn a_run_that_was_repeated_shows_the_distribution_and_each_run_once() {
    let report = full();
    let xml = junit(std::slice::from_ref(&report));
    assert!(
        xml.contains("<testsuite name=\"s: other runs\" tests=\"2\" failures=\"1\""),
        "{xml}"
    );
    assert!(
        xml.contains("name=\"outage.p\" value=\"longest outage of a run from 2.0 ms to 9.0 ms"),
        "{xml}"
    );
    let page = html(&[report]);
    assert!(
        page.contains("<td>p</td><td>2.0 ms</td><td>4.0 ms</td><td>9.0 ms</td><td>9.0 ms</td>"),
        "{page}"
    );
    assert_eq!(page.matches("<rect class=\"bar\"").count(), 3, "{page}");
}

#[test]
fn a_page_fits_a_telephone_and_needs_nothing_else() {
    let page = html(&[full()]);
    assert!(
        page.contains("name=\"viewport\" content=\"width=device-width"),
        "{page}"
    );
    for outside in ["http://", "https://", "<script"] {
        assert!(!page.contains(outside), "{page}");
    }
    assert!(page.contains("step &lt;1&gt;") && !page.contains("step <1>"), "{page}");
}

#[test]
fn xml_has_what_a_program_wrote_without_what_xml_forbids() {
    let mut report = full();
    report.programs[0].stderr = "\u{1b}[31m\"red\" & more".into();
    let xml = junit(&[report]);
    assert!(
        xml.contains("[31m&quot;red&quot; &amp; more") && !xml.contains('\u{1b}'),
        "{xml}"
    );
}
