//! `localvpc run`: scenarios from files, played in this process, with a transcript for people or JSON for scripts: one
//! report, or with several files one a line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use miette::{IntoDiagnostic, WrapErr};

use super::transcript::{Style, Transcript};
use super::{Done, Failure, print};
use crate::scenario::format::{self, Scenario};
use crate::scenario::paper;
use crate::scenario::play::{Cancel, PlayOptions, StageOptions, play_repeatedly};
use crate::scenario::report::{RunOutcome, RunReport};

/// What can be said about a run.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Scenario files, YAML or JSON; `-` for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Read and check the files, and play nothing
    #[arg(long)]
    check: bool,
    /// Set a parameter of the scenario
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Choose what the file leaves open (MAC addresses, identifiers) as an earlier run did
    #[arg(long)]
    seed: Option<u64>,
    /// Play on after a step that failed
    #[arg(long)]
    keep_going: bool,
    /// Play each scenario so many times, with seeds that follow each other, and report how the outages are distributed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Write the outcome of every step as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write one page that needs nothing else: outcomes, outages, and when which packet went where
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write every frame that crossed the switch as pcapng, with what became of it; takes one scenario
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Open TAPs without offload headers: slower, and captures show every frame as it was sent
    #[arg(long)]
    no_offload: bool,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads all files before the first is played, so that a mistake in the last does not cost minutes.
pub fn run(arguments: &RunArguments, as_json: bool, verbose: bool) -> Done {
    let scenarios = arguments
        .files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    if arguments.check {
        for (file, scenario) in arguments.files.iter().zip(&scenarios) {
            let steps = scenario.steps.len();
            print(&format!("{}: {} with {steps} steps\n", file.display(), scenario.name));
        }
        return Ok(());
    }
    if arguments.capture.is_some() && scenarios.len() > 1 {
        let message = miette::miette!("--capture takes one scenario: each is a network of its own");
        return Err(Failure::new(Failure::USAGE, message));
    }
    let cancel = Cancel::default();
    cancel_on_signal(&cancel)?;
    let options = PlayOptions {
        seed: arguments.seed,
        parameters: arguments.parameters.iter().cloned().collect::<BTreeMap<_, _>>(),
        keep_going: arguments.keep_going,
        capture: arguments.capture.is_some(),
        stage: StageOptions {
            offload: !arguments.no_offload,
            ..StageOptions::default()
        },
    };
    let mut worst = RunOutcome::Passed;
    let mut reports = Vec::new();
    for scenario in &scenarios {
        let report = match as_json {
            true => {
                let report = play_repeatedly(scenario, &options, arguments.repeat, &cancel, &|_| {});
                print(&json(&report, scenarios.len() == 1)?);
                report
            }
            false => {
                let transcript = Transcript::new(std::io::stdout(), Style::of_stdout(verbose));
                let report = play_repeatedly(scenario, &options, arguments.repeat, &cancel, &|progress| {
                    transcript.show(progress);
                });
                transcript.summary(&report);
                report
            }
        };
        worst = worse(worst, report.outcome);
        let cancelled = report.outcome == RunOutcome::Cancelled;
        reports.push(report);
        if cancelled {
            break;
        }
    }
    write_papers(arguments, &reports)?;
    match worst {
        RunOutcome::Passed => Ok(()),
        RunOutcome::Failed | RunOutcome::Skipped => Err(Failure::silent(Failure::REFUSED)),
        RunOutcome::Broken => Err(Failure::silent(Failure::IMPOSSIBLE)),
        RunOutcome::Cancelled => Err(Failure::silent(Failure::INTERRUPTED)),
    }
}

/// What is asked for is written whatever the outcome: it is read most of all when something failed.
fn write_papers(arguments: &RunArguments, reports: &[RunReport]) -> Done {
    let write = |file: &Option<PathBuf>, content: &dyn Fn() -> Vec<u8>| match file {
        None => Ok(()),
        Some(file) => std::fs::write(file, content())
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write {}", file.display()))
            .map_err(|report| Failure::new(Failure::IMPOSSIBLE, report)),
    };
    write(&arguments.junit, &|| paper::junit(reports).into_bytes())?;
    write(&arguments.html, &|| paper::html(reports).into_bytes())?;
    write(&arguments.capture, &|| {
        reports
            .first()
            .map(|report| report.capture.to_vec())
            .unwrap_or_default()
    })
}

fn worse(one: RunOutcome, other: RunOutcome) -> RunOutcome {
    let rank = |outcome| match outcome {
        RunOutcome::Passed => 0,
        RunOutcome::Skipped => 1,
        RunOutcome::Failed => 2,
        RunOutcome::Broken => 3,
        RunOutcome::Cancelled => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}

fn json(report: &RunReport, pretty: bool) -> Result<String, Failure> {
    let text = match pretty {
        true => serde_json::to_string_pretty(report),
        false => serde_json::to_string(report),
    };
    let text = text
        .into_diagnostic()
        .map_err(|report| Failure::new(Failure::IMPOSSIBLE, report))?;
    Ok(text + "\n")
}

fn read(file: &Path) -> Result<std::sync::Arc<Scenario>, Failure> {
    let (name, text) = read_text(file)?;
    format::read(&name, &text).map_err(|error| Failure::new(Failure::USAGE, error))
}

/// A file's name for messages, and its text.
pub(super) fn read_text(file: &Path) -> Result<(String, String), Failure> {
    let (name, text) = match file.as_os_str() == "-" {
        true => ("standard input".to_owned(), std::io::read_to_string(std::io::stdin())),
        false => (file.display().to_string(), std::fs::read_to_string(file)),
    };
    let text = text
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read {name}"))
        .map_err(|report| Failure::new(Failure::USAGE, report))?;
    Ok((name, text))
}

/// The first SIGINT or SIGTERM ends the run in order; the second ends the process, and the kernel takes what is left.
fn cancel_on_signal(cancel: &Cancel) -> Done {
    let impossible =
        |error: std::io::Error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(impossible)?;
    let cancel = cancel.clone();
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        use tokio::signal::unix::{SignalKind, signal};
        (
            signal(SignalKind::interrupt()).map_err(impossible)?,
            signal(SignalKind::terminate()).map_err(impossible)?,
        )
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                for _ in 0..2 {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if cancel.is_cancelled() {
                        std::process::exit(Failure::INTERRUPTED.into());
                    }
                    cancel.cancel();
                }
            });
        })
        .map_err(impossible)?;
    Ok(())
}
