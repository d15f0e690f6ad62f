//! Renders runs as one self-contained HTML page, readable on a phone and on a desktop.

use std::fmt::Write as _;

use super::run::{Distribution, Repetition, RunOutcome, RunReport, StepReport};
use super::section::{self, Kind, MS, Section};
use super::text::{escape, human};
use super::{ladder, outage, reach};

/// The style sheet. Wide drawings and outputs scroll in a box of their own, so that the page never scrolls sideways.
const STYLE: &str = ":root{color-scheme:light dark;--fg:#222;--bg:#fff;--line:#ddd;--box:#f4f4f4;--good:#2a7d2a;--bad:#c22;--dim:#777;\
--owner:#cfe3f7;--late:#f7e3b0}\
@media(prefers-color-scheme:dark){:root{--fg:#ddd;--bg:#181818;--line:#444;--box:#262626;--good:#6c6;--bad:#f77;--dim:#999;\
--owner:#2b4a66;--late:#6b5a20}}\
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:0 auto;padding:1em;color:var(--fg);\
background:var(--bg);overflow-wrap:anywhere}\
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:1.6em}table{border-collapse:collapse}\
td,th{padding:.2em .8em .2em 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\
.wide{overflow-x:auto}pre{background:var(--box);padding:.6em;overflow:auto;max-height:30em;font-size:.85em;margin:.3em 0}\
code{font-size:.9em}summary{cursor:pointer;padding:.25em 0}.step{border-top:1px solid var(--line)}.steps .step{margin-left:1em}\
.passed{color:var(--good)}.failed,.broken,.cancelled{color:var(--bad)}.skipped,.dim{color:var(--dim)}\
svg{width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:var(--fg)}.name{font-weight:bold}\
.owner{fill:var(--owner)}.late{fill:var(--late)}.window{fill:var(--bad);opacity:.15}.axis{stroke:var(--line)}\
line.answered,.answered line{stroke:var(--good)}line.delivered,.delivered line{stroke:var(--dim)}\
line.lost,.lost line{stroke:var(--bad)}.answered path{fill:var(--good)}.delivered path{fill:var(--dim)}.lost path{fill:var(--bad)}\
.mark{stroke-width:2}.mark.fault{stroke:#c60}.mark.fault-end{stroke:#c60;stroke-dasharray:2 3}.mark.call{stroke:#46c;stroke-dasharray:5 3}\
.mark.announcement{stroke:#a3a}.mark.first{stroke:var(--good)}.detection{fill:#c60;opacity:.5}.takeover{fill:#46c;opacity:.5}\
.bar{fill:#46c}.legend span{display:inline-block;margin-right:1em}.legend svg{width:1.6em;height:1em;vertical-align:middle}\
.box{fill:none;stroke:var(--dim)}.vpc{fill:var(--box);stroke:var(--dim)}.subnet{fill:var(--owner);stroke:var(--dim)}\
.host{fill:var(--bg);stroke:var(--fg)}";

/// All runs on one page: steps with their evidence, outages with their timelines, output of background programs.
pub fn html(reports: &[RunReport]) -> String {
    let names: Vec<&str> = reports.iter().map(|report| report.scenario.as_str()).collect();
    let mut page = begin(&names.join(", "));
    if reports.len() > 1 {
        overview(&mut page, reports);
    }
    for report in reports {
        run(&mut page, report);
    }
    page.push_str("</body></html>\n");
    page
}

/// The head of a page.
pub(crate) fn begin(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head>\n<body>\n"
    )
}

fn overview(page: &mut String, reports: &[RunReport]) {
    page.push_str("<div class=\"wide\"><table><tr><th>Scenario</th><th></th><th>Time</th></tr>\n");
    for (number, report) in reports.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"#run-{number}\">{}</a></td><td>{}</td><td>{}</td></tr>",
            escape(&report.scenario),
            word(report.outcome),
            human(report.duration_ms * MS)
        );
    }
    page.push_str("</table></div>\n");
}

fn run(page: &mut String, report: &RunReport) {
    let parameters = report
        .parameters
        .iter()
        .map(|(name, value)| format!(", {name}={value}"));
    let source = report
        .source
        .as_ref()
        .map(|source| format!("<p class=\"dim\">{}</p>", escape(source)));
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<h1>{} {}</h1><p>{}</p>{}<p class=\"dim\">Seed {}{}, {} in all, begun {}.</p>",
        escape(&report.scenario),
        word(report.outcome),
        escape(report.description.trim()),
        source.unwrap_or_default(),
        report.seed,
        escape(&parameters.collect::<String>()),
        human(report.duration_ms * MS),
        humantime::format_rfc3339_seconds(report.started_at)
    );
    if let Some(problem) = &report.problem {
        let _ = writeln!(page, "<p class=\"broken\">{}</p>", escape(problem));
    }
    if let Some(network) = &report.network {
        page.push_str("<details><summary>The network, and who reaches whom</summary>\n<div class=\"wide\">");
        // Inside of a page the name of the language is known.
        page.push_str(&network.svg().replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""));
        page.push_str("</div>\n");
        reach::html(page, &report.reach);
        page.push_str("</details>\n");
    }
    for probe in &report.probes {
        outage::section(page, probe);
    }
    if let Some(repetition) = &report.repetition {
        repeated(page, repetition);
    }
    page.push_str("<h2>Steps</h2>\n");
    report.steps.iter().for_each(|one| step(page, one));
    if !report.programs.is_empty() {
        page.push_str("<h2>Programs</h2>\n");
        for program in &report.programs {
            folded(page, &section::of_program(program));
        }
    }
}

fn word(outcome: RunOutcome) -> String {
    let class = format!("{outcome:?}").to_lowercase();
    format!("<span class=\"{class}\">{}</span>", outcome.word())
}

fn step(page: &mut String, step: &StepReport) {
    let tries = if step.attempts > 1 {
        format!(", {} tries", step.attempts)
    } else {
        String::new()
    };
    let say = step.say.as_deref().unwrap_or_default().trim();
    let open = if matches!(step.outcome, RunOutcome::Passed | RunOutcome::Skipped) {
        ""
    } else {
        " open"
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<details class=\"step\"{open}><summary>{}. {} {} <span class=\"dim\">{}{tries}, line {}</span></summary><code>{}</code>",
        escape(&step.number),
        escape(say),
        word(step.outcome),
        human(step.duration_ms * MS),
        step.line,
        escape(&step.did)
    );
    for section in section::of_step(step) {
        match (section.kind, &step.evidence) {
            (Kind::Ladder, Some(evidence)) => {
                let _ = writeln!(page, "<p>{}</p><div class=\"wide\">", escape(&section.title));
                page.push_str(&ladder::svg(&evidence.ladder));
                page.push_str("</div>");
                folded(
                    page,
                    &Section {
                        title: "the same as text".to_owned(),
                        ..section
                    },
                );
            }
            (Kind::Failure, _) => {
                let _ = writeln!(page, "<pre class=\"failed\">{}</pre>", escape(&section.body));
            }
            _ => folded(page, &section),
        }
    }
    page.push_str("<div class=\"steps\">");
    step.steps.iter().for_each(|inner| self::step(page, inner));
    page.push_str("</div></details>\n");
}

/// A collapsible section; failures are open.
fn folded(page: &mut String, section: &Section) {
    let open = if section.kind == Kind::Failure { " open" } else { "" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<details{open}><summary class=\"{}\">{}</summary><pre>{}</pre></details>",
        if section.kind == Kind::Failure { "failed" } else { "" },
        escape(&section.title),
        escape(&section.body)
    );
}

fn repeated(page: &mut String, repetition: &Repetition) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<h2>{} of {} runs passed</h2><div class=\"wide\"><table><tr><th>Longest outage of each run</th><th>least</th><th>p50</th><th>p90</th><th>most</th></tr>",
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
    page.push_str("</table></div>\n");
    for outage in &repetition.outages {
        distribution(page, outage);
    }
    for run in &repetition.each {
        folded(page, &section::of_run(run));
    }
}

/// The longest outage of each run as bars, from the shortest to the longest.
fn distribution(page: &mut String, outage: &Distribution) {
    const WIDTH: usize = 1000;
    const HEIGHT: u64 = 120;
    let mut sorted = outage.all.clone();
    sorted.sort_unstable();
    let step = (WIDTH / sorted.len().max(1)).clamp(1, 40);
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<p>{}: the longest outage of each run, sorted; the highest bar is {}.</p><div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"distribution\">",
        escape(&outage.probe),
        human(outage.max),
        HEIGHT + 4
    );
    for (place, value) in sorted.iter().enumerate() {
        let height = (u128::from(*value) * u128::from(HEIGHT) / u128::from(outage.max.max(1))).max(1);
        let _ = writeln!(
            page,
            "<rect class=\"bar\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\"><title>{}</title></rect>",
            place * step,
            u128::from(HEIGHT + 2) - height,
            step.saturating_sub(1).max(1),
            human(*value)
        );
    }
    page.push_str("</svg></div>\n");
}
