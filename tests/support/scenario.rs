//! Plays shipped scenarios: each must pass, and must fail when one of its expectations is inverted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use localvpc::cli::transcript::{Style, Transcript};
use localvpc::report::run::{RunOutcome, RunReport};
use localvpc::scenario::format::{self, Scenario};
use localvpc::scenario::play::{Cancel, PlayOptions, StageOptions, play};

pub(crate) fn options() -> PlayOptions {
    PlayOptions {
        stage: StageOptions {
            init_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_localvpc"))),
            api: Some(localvpc::api::inside::serve_hosts),
            ..StageOptions::default()
        },
        ..PlayOptions::default()
    }
}

pub(crate) fn read(name: &str, text: &str) -> Arc<Scenario> {
    format::read(name, text).unwrap_or_else(|error| panic!("{error}"))
}

/// The report, and the run as the CLI shows it.
pub(crate) fn run_and_show(scenario: &Scenario) -> (RunReport, String) {
    let style = Style {
        terminal: false,
        verbose: false,
        quiet: false,
    };
    let mut text = Vec::new();
    let transcript = Transcript::new(&mut text, style);
    let report = play(scenario, &options(), &Cancel::default(), &|progress| {
        transcript.show(progress);
    });
    transcript.summary(&report);
    drop(transcript);
    (report, String::from_utf8_lossy(&text).into_owned())
}

fn text_of(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    std::fs::read_to_string(file).unwrap()
}

/// A failure is shown as by the CLI, without the steps that passed: a long log may be truncated.
pub(crate) fn passes(name: &str) {
    let (report, shown) = run_and_show(&read(name, &text_of(name)));
    let passed = |paragraph: &&str| paragraph.lines().any(|line| line.starts_with("     PASS "));
    let wrong: Vec<&str> = shown.split("\n\n").filter(|paragraph| !passed(paragraph)).collect();
    assert_eq!(report.outcome, RunOutcome::Passed, "\n{}", wrong.join("\n\n"));
}

/// With `from` replaced by `to` the scenario has an expectation that does not hold.
pub(crate) fn fails_turned_around(name: &str, from: &str, to: &str) {
    let text = text_of(name);
    assert!(text.contains(from), "{name}: {from}");
    let (report, shown) = run_and_show(&read(name, &text.replace(from, to)));
    assert_eq!(report.outcome, RunOutcome::Failed, "\n{shown}");
}

/// A sentence about the network, the file that shows it, and an expectation with its inversion.
macro_rules! scenarios {
    ($($sentence:ident: $file:literal, $from:literal => $to:literal;)*) => {
        mod holds {
            $(#[test] #[ignore = "needs root: make test"] fn $sentence() { crate::support::scenario::passes($file); })*
        }
        mod turned_around_fails {
            $(#[test] #[ignore = "needs root: make test"] fn $sentence() { crate::support::scenario::fails_turned_around($file, $from, $to); })*
        }
    };
}
