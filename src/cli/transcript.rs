//! A run as a person reads it: what was done, what was seen, what that proves.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::run::{Evidence, InstanceSummary, Progress, RunOutcome, RunReport, StepReport};
use crate::report::text::human;

/// Lines of a command's output that are shown of a step that passed.
const SHOWN_LINES: usize = 12;

/// How the transcript looks.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Colors and a line that shows what is being done.
    pub terminal: bool,
    /// All output of all commands.
    pub verbose: bool,
}

impl Style {
    /// What suits the standard output of this process. `NO_COLOR` is honored.
    pub fn of_stdout(verbose: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            terminal: io::stdout().is_terminal() && !plain,
            verbose,
        }
    }
}

/// Writes a run as it goes on.
pub struct Transcript<W> {
    out: Mutex<W>,
    style: Style,
    spinner: ProgressBar,
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
        }
    }

    /// Writes what there is to write of this.
    pub fn show(&self, progress: &Progress) {
        let text = match progress {
            Progress::Preparing {
                scenario, description, ..
            } => {
                self.spin("making the network");
                format!("{}\n{}\n", self.bold(scenario), indent(description.trim(), "  "))
            }
            Progress::Ready { instances } => self.hosts(instances),
            Progress::StepStarted { number, did, .. } => {
                self.spin(&format!("{number}. {}", first_line(did)));
                return;
            }
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

    /// Writes how it ended, in a line.
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
        self.write(&self.figures(report));
        self.write(&format!(
            "{} {}: {} in {seconds:.1} s (seed {})\n",
            self.word(report.outcome),
            report.scenario,
            counts.join(", "),
            report.seed
        ));
    }

    /// What the probes came to.
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
            line + "\n"
        });
        let runs = report.repetition.iter().flat_map(|repetition| {
            let head = format!("  {} of {} runs passed\n", repetition.passed, repetition.runs);
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
        let all = self.style.verbose || step.outcome != RunOutcome::Passed;
        for output in [&step.stdout, &step.stderr] {
            text.push_str(&shown(output, if all { usize::MAX } else { SHOWN_LINES }));
        }
        if let Some(problem) = &step.problem {
            text.push_str(&indent(problem, "     "));
            text.push('\n');
        }
        for check in step.checks.iter().filter(|check| !check.passed) {
            text.push_str(&format!(
                "     expected: {}\n        found: {}\n",
                check.expected, check.found
            ));
        }
        let tries = if step.attempts > 1 {
            format!(", {} tries", step.attempts)
        } else {
            String::new()
        };
        let seconds = Duration::from_millis(step.duration_ms).as_secs_f64();
        text.push_str(&format!("     {} {seconds:.1} s{tries}\n", self.word(step.outcome)));
        if let Some(evidence) = &step.evidence {
            text.push_str(&self.evidence(evidence));
        }
        text.push('\n');
        text
    }

    fn evidence(&self, evidence: &Evidence) -> String {
        let mut text = String::new();
        for (name, packets) in &evidence.captures {
            text.push_str(&format!("     {}\n", self.bold(&format!("{name}: packets on eth0"))));
            match packets.is_empty() {
                true => text.push_str("       none\n"),
                false => packets
                    .iter()
                    .for_each(|line| text.push_str(&format!("       {line}\n"))),
            }
        }
        for (name, port) in &evidence.ports {
            let list = |counts: &std::collections::BTreeMap<String, u64>| {
                let list: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
                if list.is_empty() {
                    "nothing".to_owned()
                } else {
                    list.join(", ")
                }
            };
            text.push_str(&format!("     {}\n", self.bold(&format!("{name}: at its port"))));
            text.push_str(&format!("       dropped: {}\n", list(&port.drops)));
            text.push_str(&format!("       counted: {}\n", list(&port.counters)));
        }
        for (name, state) in &evidence.hosts {
            text.push_str(&format!(
                "     {}\n{}\n",
                self.bold(&format!("{name}: addresses, routes, neighbors")),
                indent(state.trim_end(), "       ")
            ));
        }
        text
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
            // A reader that went away (`| head`) does not stop the run, whose report may go elsewhere.
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

    /// SGR parameters of ECMA-48, as every terminal has them.
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

/// Output of a command: the beginning and the end of it when it is long.
fn shown(output: &str, limit: usize) -> String {
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
    format!("{}       … {omitted} more lines …\n{}", put(head), put(tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::Check;

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
        let style = Style {
            terminal: false,
            verbose: false,
        };
        let transcript = Transcript::new(Vec::new(), style);
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
        let text = shown(&output, 12);
        assert_eq!(text.lines().count(), 13);
        assert!(
            text.contains("line 8\n       … 8 more lines …\n       line 17\n"),
            "{text}"
        );
    }
}
