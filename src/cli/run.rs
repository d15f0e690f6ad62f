//! Implements `localvpc run`: plays scenarios from files in this process, with a transcript or with JSON: one report,
//! or with several files one per line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use miette::{IntoDiagnostic, WrapErr};

use super::transcript::{Style, Transcript};
use super::{Done, Failure, begin_record, print};
use crate::record::recorder::{CaptureFile, Captures};
use crate::report::html::html;
use crate::report::junit::junit;
use crate::report::run::{RunOutcome, RunReport};
use crate::runtime::cleanup::{self, Record};
use crate::scenario::format::{self, Scenario};
use crate::scenario::play::{Cancel, PlayError, PlayOptions, StageOptions, parameters, play_repeatedly};

/// Options of a run.
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
    /// Write what crossed the interface of each instance as pcapng, into a file of its name each; takes one scenario
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
    /// Show the steps that do not pass, and a line for each scenario
    #[arg(long, short, conflicts_with = "check")]
    quiet: bool,
    /// Open TAPs without offload headers: slower, and captures show every frame as it was sent
    #[arg(long)]
    no_offload: bool,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads all files before the first is played, so that a mistake in the last one is reported at once.
pub fn run(arguments: &RunArguments, as_json: bool, verbose: bool) -> Done {
    let scenarios = arguments
        .files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    if arguments.check {
        let given: BTreeMap<_, _> = arguments.parameters.iter().cloned().collect();
        for (file, scenario) in arguments.files.iter().zip(&scenarios) {
            // What a run still needs is not given to a check.
            if let Err(error @ PlayError::UnknownParameter { .. }) = parameters(scenario, &given) {
                return Err(Failure::new(
                    Failure::USAGE,
                    miette::miette!("{}: {error}", file.display()),
                ));
            }
            let steps = scenario.steps.len();
            print(&format!("{}: {} with {steps} steps\n", file.display(), scenario.name));
        }
        return Ok(());
    }
    let captures = [("--capture", &arguments.capture), ("--captures", &arguments.captures)];
    let captures: Vec<_> = captures.iter().filter(|(_, place)| place.is_some()).collect();
    if let [(option, _), ..] = captures.as_slice()
        && scenarios.len() > 1
    {
        let message = miette::miette!("{option} takes one scenario: each is a network of its own");
        return Err(Failure::new(Failure::USAGE, message));
    }
    super::become_capable()?;
    let files: Vec<String> = arguments.files.iter().map(|file| file.display().to_string()).collect();
    let record = begin_record(&format!("run {}", files.join(" ")));
    let cancel = Cancel::default();
    cancel_on_signal(&cancel)?;
    let options = PlayOptions {
        captures: std::sync::Arc::default(),
        seed: arguments.seed,
        parameters: arguments.parameters.iter().cloned().collect::<BTreeMap<_, _>>(),
        keep_going: arguments.keep_going,
        capture: !captures.is_empty(),
        stage: StageOptions {
            offload: !arguments.no_offload,
            api: Some(crate::api::inside::serve_hosts),
            ..StageOptions::default()
        },
    };
    let mut worst = RunOutcome::Passed;
    let mut reports = Vec::new();
    let style = Style::of_stdout(verbose, arguments.quiet);
    for (number, scenario) in (1..).zip(&scenarios) {
        let report = match as_json {
            true => {
                let report = play_repeatedly(scenario, &options, arguments.repeat, &cancel, &|_| {});
                print(&json(&report, scenarios.len() == 1)?);
                report
            }
            false => {
                let transcript = Transcript::new(std::io::stdout(), style).at(number, scenarios.len());
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
    if !as_json && scenarios.len() > 1 {
        Transcript::new(std::io::stdout(), style).closing(&reports, scenarios.len());
    }
    write_artifacts(arguments, &reports, record.as_ref())?;
    match worst {
        RunOutcome::Passed => Ok(()),
        RunOutcome::Failed | RunOutcome::Skipped => Err(Failure::silent(Failure::REFUSED)),
        RunOutcome::Broken => Err(Failure::silent(Failure::IMPOSSIBLE)),
        RunOutcome::Cancelled => Err(Failure::silent(Failure::INTERRUPTED)),
    }
}

/// The content of a capture; a run on the command line always has it.
fn octets(capture: &CaptureFile, file: &Path) -> Result<Vec<u8>, Failure> {
    let read = capture.bytes.read().map_err(|error| unwritten(file, &error))?;
    Ok(read.unwrap_or_default())
}

/// Written whatever the outcome, because a failed run needs it most.
fn write_artifacts(arguments: &RunArguments, reports: &[RunReport], record: Option<&Record>) -> Done {
    let write = |file: &Path, content: &[u8]| {
        cleanup::write_whole(record, file, content).map_err(|error| unwritten(file, &error))
    };
    if let Some(file) = &arguments.junit {
        write(file, junit(reports).as_bytes())?;
    }
    if let Some(file) = &arguments.html {
        write(file, html(reports).as_bytes())?;
    }
    // A run that was not begun has none.
    let none = Captures::default();
    let captures = reports.first().map_or(&none, |report| &report.captures);
    if let Some(file) = &arguments.capture {
        write(file, &octets(&captures.whole, file)?)?;
    }
    if let Some(folder) = &arguments.captures {
        std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
        for (instance, capture) in &captures.instances {
            let file = folder.join(file_name(instance));
            write(&file, &octets(capture, &file)?)?;
        }
    }
    Ok(())
}

fn unwritten(place: &Path, error: &std::io::Error) -> Failure {
    let report = miette::miette!("cannot write {}: {error}", place.display());
    Failure::new(Failure::IMPOSSIBLE, report)
}

/// Names in a scenario file are letters, digits and hyphens. An interface that a program created through the API may
/// have any name, which must not be a path out of the folder.
fn file_name(instance: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '_'
        }
    };
    format!("{}.pcapng", instance.chars().map(plain).collect::<String>())
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

/// The first SIGINT or SIGTERM ends the run in order; the second ends the process, and the kernel frees the rest.
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
