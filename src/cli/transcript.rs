//! Writes the transcript of a run: actions, observations, and what they demonstrate.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::run::{InstanceSummary, Progress, RunOutcome, RunReport, StepReport};
use crate::report::section::{self, Kind, Section};
use crate::report::text::human;

/// Lines shown of a command's output in a step that passed.
const SHOWN_LINES: usize = 12;

/// Lines shown of packets, neighbors and logs in a step that failed.
const SHOWN_EVIDENCE: usize = 40;

/// The style of a transcript.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Colors, and a line with the current action.
    pub terminal: bool,
    /// Show all output of all commands.
    pub verbose: bool,
    /// Show steps that did not pass, and a line per scenario.
    pub quiet: bool,
}

impl Style {
    /// The style for the standard output of this process. Honors `NO_COLOR`.
    pub fn of_stdout(verbose: bool, quiet: bool) -> Self {
        Self {
            terminal: super::colors(&io::stdout()),
            verbose,
            quiet,
        }
    }
}

/// Writes a run while it goes on.
pub struct Transcript<W> {
    out: Mutex<W>,
    style: Style,
    spinner: ProgressBar,
    /// `7/29 ` for one of many.
    place: String,
}

impl<W: Write> Transcript<W> {
    /// A transcript on `out`.
    pub fn new(out: W, style: Style) -> Self {
        let target = match style.terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let spinner = ProgressBar::with_draw_target(None, target);
        if let Ok(look) = ProgressStyle::with_template("    {spinner} {msg} {elapsed:.dim}") {
            spinner.set_style(look);
        }
        Self {
            out: Mutex::new(out),
            style,
            spinner,
            place: String::new(),
        }
    }

    /// The transcript of one of several scenarios.
    #[must_use]
    pub fn at(mut self, number: usize, of: usize) -> Self {
        if of > 1 {
            self.place = format!("{number}/{of} ");
        }
        self
    }

    /// Writes a progress entry.
    pub fn show(&self, progress: &Progress) {
        let text = match progress {
            Progress::Preparing {
                scenario, description, ..
            } => {
                self.spin(&format!("{}{scenario}: making the network", self.place));
                if self.style.quiet {
                    return;
                }
                let title = format!("{}{scenario}", self.place);
                format!("{}\n{}\n", self.bold(&title), indent(description.trim(), "  "))
            }
            Progress::Ready { .. } if self.style.quiet => return,
            Progress::Ready { instances } => self.hosts(instances),
            Progress::StepStarted { number, did, .. } => {
                self.spin(&format!("{number}. {}", first_line(did)));
                return;
            }
            Progress::StepFinished { step } if self.style.quiet && step.outcome == RunOutcome::Passed => return,
            Progress::StepFinished { step } => self.step(step),
            Progress::Finished { problem, .. } => {
                self.spinner.finish_and_clear();
                match problem {
                    Some(problem) => format!("{} {problem}\n", self.word(RunOutcome::Broken)),
                    None => return,
                }
            }
        };
        self.write(&text);
    }

    /// Writes the outcome in one line.
    pub fn summary(&self, report: &RunReport) {
        let counts: Vec<String> = [
            (RunOutcome::Passed, "passed"),
            (RunOutcome::Failed, "failed"),
            (RunOutcome::Broken, "broken"),
            (RunOutcome::Cancelled, "cancelled"),
            (RunOutcome::Skipped, "not reached"),
        ]
        .into_iter()
        .map(|(outcome, word)| (report.count(outcome), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
        let seconds = Duration::from_millis(report.duration_ms).as_secs_f64();
        let parameters = report
            .parameters
            .iter()
            .map(|(name, value)| format!(", {name}={value}"));
        let parameters: String = parameters.collect();
        if self.style.verbose
            && let Some(network) = &report.network
        {
            self.write(&format!(
                "  network (Mermaid)\n{}\n",
                indent(&network.mermaid(), "     ")
            ));
        }
        if self.style.verbose || report.outcome == RunOutcome::Failed {
            for section in crate::report::reach::sections(&report.reach) {
                self.write(&format!("  {}\n{}\n", section.title, indent(&section.body, "     ")));
            }
        }
        self.write(&self.programs(report));
        self.write(&self.figures(report));
        self.write(&format!(
            "{}{} {}: {} in {seconds:.1} s (seed {}{parameters})\n",
            self.place,
            self.word(report.outcome),
            report.scenario,
            counts.join(", "),
            report.seed
        ));
    }

    /// The figures of the probes.
    fn figures(&self, report: &RunReport) -> String {
        let probes = report.probes.iter().map(|probe| {
            let outage = &probe.outage;
            let mut line = format!(
                "  {}: longest outage {}, {} of {} lost, {} misdelivered",
                self.bold(&probe.name),
                human(outage.longest),
                outage.lost,
                outage.sent,
                outage.misdelivered
            );
            if let Some(takeover) = outage.to_new_owner {
                line += &format!(", at the new owner after {}", human(takeover));
            }
            if self.style.verbose || report.outcome != RunOutcome::Passed {
                let body = crate::report::outage::section_of(probe).body;
                line += &format!("\n{}", indent(&body, "     "));
            }
            line + "\n"
        });
        let runs = report.repetition.iter().flat_map(|repetition| {
            let mut head = String::new();
            for run in &repetition.each {
                let section = section::of_run(run);
                head += &format!("  {}\n", section.title);
                if section.kind == Kind::Failure || self.style.verbose {
                    head += &shown(&section.body, SHOWN_EVIDENCE, "--html FILE keeps them");
                }
            }
            head += &format!("  {} of {} runs passed\n", repetition.passed, repetition.runs);
            let outages = repetition.outages.iter().map(|outage| {
                let [min, p50, p90, max] = [outage.min, outage.p50, outage.p90, outage.max].map(human);
                format!(
                    "  {}: longest outage of a run from {min} to {max}, p50 {p50}, p90 {p90}\n",
                    self.bold(&outage.probe)
                )
            });
            std::iter::once(head).chain(outages.collect::<Vec<_>>())
        });
        probes.chain(runs).collect()
    }

    fn hosts(&self, instances: &[InstanceSummary]) -> String {
        let width = |of: fn(&InstanceSummary) -> &str| instances.iter().map(|one| of(one).len()).max().unwrap_or(0);
        let (name, subnet) = (width(|one| &one.name), width(|one| &one.subnet));
        let lines = instances.iter().map(|one| {
            let InstanceSummary { mac, addresses, .. } = one;
            format!(
                "  {:name$}  {:subnet$}  {mac}  {}\n",
                one.name,
                one.subnet,
                addresses.join(" ")
            )
        });
        lines.chain(["\n".to_owned()]).collect()
    }

    fn step(&self, step: &StepReport) -> String {
        let mut text = String::new();
        let title = step.say.as_deref().unwrap_or("").trim();
        text.push_str(&format!("{:>3}. {}\n", step.number, self.bold(title)).replace(" \n", "\n"));
        text.push_str(&indent(&self.dim(&step.did), "     "));
        text.push('\n');
        text.push_str(&self.sections(step));
        let tries = if step.attempts > 1 {
            format!(", {} tries", step.attempts)
        } else {
            String::new()
        };
        let seconds = Duration::from_millis(step.duration_ms).as_secs_f64();
        text.push_str(&format!("     {} {seconds:.1} s{tries}\n", self.word(step.outcome)));
        text.push('\n');
        text
    }

    /// A section, cut in the middle where it is long; a note says how to see the rest.
    fn section(&self, section: &Section, limit: usize, rest: &str) -> String {
        let title = match section.kind {
            // Output and failures need no title.
            Kind::Output | Kind::Failure => String::new(),
            _ => format!("     {}\n", self.bold(&section.title)),
        };
        title + &shown(&section.body, if self.style.verbose { usize::MAX } else { limit }, rest)
    }

    fn sections(&self, step: &StepReport) -> String {
        let passed = matches!(step.outcome, RunOutcome::Passed | RunOutcome::Skipped);
        let mut text = String::new();
        for section in section::of_step(step) {
            text += &match section.kind {
                Kind::Passed if !self.style.verbose => String::new(),
                Kind::Output if passed => self.section(&section, SHOWN_LINES, "--verbose shows them"),
                Kind::Output => self.section(&section, usize::MAX, ""),
                Kind::Failure => indent(&section.body, "     ") + "\n",
                _ => self.section(&section, SHOWN_EVIDENCE, "--verbose shows them, --html FILE keeps them"),
            };
        }
        text
    }

    /// Output of background programs, where it may explain a failed run.
    fn programs(&self, report: &RunReport) -> String {
        let all = self.style.verbose || report.outcome != RunOutcome::Passed;
        let meant = report.programs.iter().filter(|program| all || program.failed());
        meant
            .map(|program| {
                let section = section::of_program(program);
                let limit = if self.style.verbose { usize::MAX } else { SHOWN_EVIDENCE };
                let body = shown(&section.body, limit, "--verbose shows them, --html FILE keeps them");
                format!("  {}\n{body}", self.bold(&section.title))
            })
            .collect()
    }

    /// The outcome of each of several scenarios, in a table.
    pub fn closing(&self, reports: &[RunReport], asked: usize) {
        let width = reports.iter().map(|report| report.scenario.len()).max().unwrap_or(0);
        let mut text = String::from("\n");
        for report in reports {
            let word = format!("{:9}", report.outcome.word());
            let word = word.replacen(report.outcome.word(), &self.word(report.outcome), 1);
            let seconds = Duration::from_millis(report.duration_ms).as_secs_f64();
            let failed: Vec<String> = report.failed_steps().iter().map(|step| step.number.clone()).collect();
            let failed = match (&report.problem, failed.is_empty()) {
                (Some(problem), _) => format!("  {}", first_line(problem)),
                (None, true) => String::new(),
                (None, false) => format!("  step {}", failed.join(", ")),
            };
            text += &format!("{word} {:width$} {seconds:>7.1} s{failed}\n", report.scenario);
        }
        let passed = reports
            .iter()
            .filter(|report| report.outcome == RunOutcome::Passed)
            .count();
        let ms: u64 = reports.iter().map(|report| report.duration_ms).sum();
        let seconds = Duration::from_millis(ms).as_secs_f64();
        text += &format!("{passed} of {asked} scenarios passed in {seconds:.1} s\n");
        self.write(&text);
    }

    fn spin(&self, message: &str) {
        if self.style.terminal {
            self.spinner.enable_steady_tick(Duration::from_millis(100));
            self.spinner.set_message(message.to_owned());
            self.spinner.reset_elapsed();
        }
    }

    fn write(&self, text: &str) {
        self.spinner.suspend(|| {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            // A reader that ended (`| head`) does not stop the run, whose report may be written elsewhere.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        });
    }

    fn word(&self, outcome: RunOutcome) -> String {
        let color = match outcome {
            RunOutcome::Passed => "32",
            RunOutcome::Skipped => "2",
            RunOutcome::Cancelled => "33",
            RunOutcome::Failed | RunOutcome::Broken => "31",
        };
        self.paint(outcome.word(), &format!("1;{color}"))
    }

    fn bold(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    fn dim(&self, text: &str) -> String {
        self.paint(text, "36")
    }

    /// SGR parameters of ECMA-48.
    fn paint(&self, text: &str, parameters: &str) -> String {
        match self.style.terminal && !text.is_empty() {
            true => format!("\u{1b}[{parameters}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn indent(text: &str, by: &str) -> String {
    text.lines()
        .map(|line| format!("{by}{line}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Output of a command: the beginning and the end when it is long, and a note on how to see the rest.
fn shown(output: &str, limit: usize, rest: &str) -> String {
    let lines: Vec<&str> = output.trim_end().lines().collect();
    let put = |lines: &[&str]| indent(&lines.join("\n"), "       ") + "\n";
    if lines.is_empty() {
        return String::new();
    }
    if lines.len() <= limit {
        return put(&lines);
    }
    let (head, tail) = (limit * 2 / 3, limit / 3);
    let omitted = lines.len() - head - tail;
    let (head, tail) = (&lines[..head], &lines[lines.len() - tail..]);
    format!("{}       … {omitted} more lines: {rest} …\n{}", put(head), put(tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::{Check, Evidence};

    const PLAIN: Style = Style {
        terminal: false,
        verbose: false,
        quiet: false,
    };

    fn step(outcome: RunOutcome) -> StepReport {
        StepReport {
            outcome,
            attempts: 1,
            say: Some("Nobody else answers.".to_owned()),
            stdout: "64 bytes from fe80::1\n".to_owned(),
            duration_ms: 1234,
            ..StepReport::skipped("3", 9, "a$ ping ff02::1%eth0".to_owned())
        }
    }

    fn written(progress: &Progress) -> String {
        let transcript = Transcript::new(Vec::new(), PLAIN);
        transcript.show(progress);
        String::from_utf8(transcript.out.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn a_step_that_passed_is_shown_with_what_was_seen() {
        let text = written(&Progress::StepFinished {
            step: Box::new(step(RunOutcome::Passed)),
        });
        assert_eq!(
            text,
            "  3. Nobody else answers.\n     a$ ping ff02::1%eth0\n       64 bytes from fe80::1\n     PASS 1.2 s\n\n"
        );
    }

    #[test]
    fn a_step_that_failed_is_shown_with_expectation_and_evidence() {
        let mut failed = step(RunOutcome::Failed);
        failed.checks = vec![Check {
            expected: "no request is answered".into(),
            passed: false,
            found: "3 of 3".into(),
        }];
        failed.evidence = Some(Evidence {
            captures: [("b".to_owned(), vec!["1.0 echo request".to_owned()])].into(),
            ..Evidence::default()
        });
        let text = written(&Progress::StepFinished { step: Box::new(failed) });
        for part in [
            "expected: no request is answered",
            "found: 3 of 3",
            "FAIL",
            "b: packets on eth0",
            "echo request",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn long_output_is_shown_with_its_beginning_and_its_end() {
        let output: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let text = shown(&output, 12, "--verbose shows them");
        assert_eq!(text.lines().count(), 13);
        assert!(
            text.contains("line 8\n       … 8 more lines: --verbose shows them …\n       line 17\n"),
            "{text}"
        );
    }

    #[test]
    fn the_console_shows_no_less_than_the_other_renderings() {
        let report = crate::report::full();
        let style = Style { verbose: true, ..PLAIN };
        let transcript = Transcript::new(Vec::new(), style);
        transcript.show(&Progress::Preparing {
            scenario: report.scenario.clone(),
            description: report.description.clone(),
            steps: report.steps.len(),
        });
        for step in &report.steps {
            transcript.show(&Progress::StepFinished {
                step: Box::new(step.clone()),
            });
        }
        transcript.summary(&report);
        let text = String::from_utf8(transcript.out.into_inner().unwrap()).unwrap();
        let missing: Vec<_> = crate::report::SAID
            .iter()
            .filter(|said| !text.contains(**said))
            .collect();
        assert!(missing.is_empty(), "{missing:?}\n{text}");
    }

    #[test]
    fn a_failed_run_shows_what_its_programs_wrote_without_being_asked() {
        let transcript = Transcript::new(Vec::new(), PLAIN);
        transcript.summary(&crate::report::full());
        let text = String::from_utf8(transcript.out.into_inner().unwrap()).unwrap();
        let (shown, last) = text.trim_end().rsplit_once('\n').unwrap();
        assert!(
            last.starts_with("FAIL s: "),
            "the outcome has a line of its own: {last}"
        );
        assert!(
            shown.contains("from the instance at the left to that at the top"),
            "{shown}"
        );
        for part in [
            "keepalived on a: ended by itself",
            "cannot-read-its-configuration",
            "failure-of-another-run",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn several_scenarios_end_in_a_table_and_say_which_they_are() {
        let report = crate::report::full();
        let transcript = Transcript::new(Vec::new(), PLAIN).at(7, 29);
        transcript.summary(&report);
        transcript.closing(std::slice::from_ref(&report), 29);
        let text = String::from_utf8(transcript.out.into_inner().unwrap()).unwrap();
        assert!(text.contains("7/29 FAIL s: "), "{text}");
        assert!(
            text.contains("FAIL      s     3.0 s  step 2\n0 of 29 scenarios passed in 3.0 s"),
            "{text}"
        );
    }

    #[test]
    fn quiet_is_a_line_for_a_scenario_that_passes() {
        let transcript = Transcript::new(Vec::new(), Style { quiet: true, ..PLAIN });
        transcript.show(&Progress::Ready { instances: Vec::new() });
        transcript.show(&Progress::StepFinished {
            step: Box::new(step(RunOutcome::Passed)),
        });
        let text = String::from_utf8(transcript.out.into_inner().unwrap()).unwrap();
        assert!(text.is_empty(), "{text}");
    }
}
