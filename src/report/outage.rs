//! Renders a probe's results: its figures, and a timeline of requests, owners and events.

use std::fmt::Write as _;

use super::html;
use super::section::{Kind, Section};
use super::text::{escape, human};
use crate::probe::{Mark, MarkKind, ProbeReport, Request};

/// Width of the drawing, in its own units.
const WIDTH: u64 = 1000;
/// Height of a row.
const ROW: u64 = 26;
/// Left edge of rows, right of their names.
const LEFT: u64 = 180;

/// One page: the figures of each probe, and its timeline with a row for each interface that owned the address or
/// received a packet.
pub fn html(title: &str, reports: &[ProbeReport]) -> String {
    let mut page = html::begin(title);
    // Writing to a String cannot fail.
    let _ = writeln!(page, "<h1>{}</h1>", escape(title));
    for report in reports {
        section(&mut page, report);
    }
    page.push_str("</body></html>\n");
    page
}

/// The probe in one line.
fn about(report: &ProbeReport) -> String {
    let spec = &report.record.spec;
    let kind = format!("{:?}", spec.kind).to_uppercase();
    format!(
        "{kind} from {} to {}, {} a second",
        report.record.from, spec.target, spec.rate
    )
}

/// The figures with their labels.
fn figures(report: &ProbeReport) -> Vec<(&'static str, String)> {
    let outage = &report.outage;
    let mut rows = vec![
        ("Longest outage", human(outage.longest)),
        ("Windows of outage", outage.windows.len().to_string()),
        ("Requests sent", outage.sent.to_string()),
        ("Lost", outage.lost.to_string()),
        ("Packets to a former owner", outage.misdelivered.to_string()),
        (
            "Latency p50, p99",
            format!("{}, {}", human(outage.latency.p50), human(outage.latency.p99)),
        ),
    ];
    if let Some((from, to)) = detection(&report.marks) {
        rows.push(("Fault to API call (detection)", human((to - from).unsigned_abs())));
    }
    if let Some(took) = outage.to_new_owner {
        rows.push(("API call to first packet at the new owner", human(took)));
    }
    let dropped = outage.dropped.iter();
    rows.extend(dropped.map(|(reason, count)| ("Dropped by the switch", format!("{count} {reason}"))));
    let answered = outage.answered_by.iter();
    rows.extend(answered.map(|(by, count)| ("Answered by", format!("{by}: {count}"))));
    rows
}

/// Figures and events as text.
pub(crate) fn section_of(report: &ProbeReport) -> Section {
    let mut body = format!("{}\n", about(report));
    for (what, value) in figures(report) {
        // Writing to a String cannot fail.
        let _ = writeln!(body, "{what}: {value}");
    }
    for mark in &report.marks {
        let _ = writeln!(body, "{} {}", seconds(mark.at), mark.text);
    }
    Section {
        title: format!("probe {}", report.name),
        body: body.trim_end().to_owned(),
        kind: Kind::Output,
    }
}

fn seconds(at: i64) -> String {
    format!("{:+.3} s", at as f64 / 1e9)
}

/// From the first fault to the first API call after it.
fn detection(marks: &[Mark]) -> Option<(i64, i64)> {
    let fault = marks.iter().find(|mark| mark.kind == MarkKind::Fault)?;
    let call = marks
        .iter()
        .find(|mark| mark.kind == MarkKind::ApiCall && mark.at >= fault.at)?;
    Some((fault.at, call.at))
}

/// From the last API call to the first packet at the new owner.
fn takeover(marks: &[Mark]) -> Option<(i64, i64)> {
    let first = marks.iter().find(|mark| mark.kind == MarkKind::FirstPacket)?;
    let call = marks
        .iter()
        .rfind(|mark| mark.kind == MarkKind::ApiCall && mark.at <= first.at)?;
    Some((call.at, first.at))
}

/// The section of one probe.
pub(crate) fn section(page: &mut String, report: &ProbeReport) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<h2>{}</h2><p>{}.</p><div class=\"wide\"><table>",
        escape(&report.name),
        escape(&about(report))
    );
    for (what, value) in figures(report) {
        let _ = writeln!(page, "<tr><th>{what}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table></div>\n<div class=\"wide\">\n");
    timeline(page, report);
    page.push_str("</div>\n");
    legend(page, report);
    if !report.marks.is_empty() {
        page.push_str("<ol>\n");
        for mark in &report.marks {
            let _ = writeln!(page, "<li>{} {}</li>", seconds(mark.at), escape(&mark.text));
        }
        page.push_str("</ol>\n");
    }
}

/// The legend of the timeline; only lines and boxes that occur in it.
fn legend(page: &mut String, report: &ProbeReport) {
    let has = |kind| report.marks.iter().any(|mark| mark.kind == kind);
    let line = |class: &str| format!("<line class=\"{class}\" x1=\"8\" x2=\"8\" y1=\"1\" y2=\"11\"/>");
    let filled = |class: &str| format!("<rect class=\"{class}\" x=\"0\" y=\"1\" width=\"16\" height=\"10\"/>");
    let entries = [
        (true, line("answered"), "answered"),
        (report.outage.lost > 0, line("lost"), "lost"),
        (true, line("delivered"), "packet at a host"),
        (!report.outage.windows.is_empty(), filled("window"), "outage"),
        (true, filled("owner"), "owns the address"),
        (true, filled("late"), "has lost it, and still gets packets"),
        (has(MarkKind::Fault), line("mark fault"), "fault begins"),
        (has(MarkKind::FaultEnd), line("mark fault-end"), "fault ends"),
        (has(MarkKind::ApiCall), line("mark call"), "API call"),
        (has(MarkKind::Announcement), line("mark announcement"), "announcement"),
        (
            has(MarkKind::FirstPacket),
            line("mark first"),
            "first packet at the new owner",
        ),
        (detection(&report.marks).is_some(), filled("detection"), "detection"),
        (takeover(&report.marks).is_some(), filled("takeover"), "takeover"),
    ];
    page.push_str("<p class=\"legend\">");
    for (_, drawing, text) in entries.iter().filter(|(occurs, ..)| *occurs) {
        // Writing to a String cannot fail.
        let _ = write!(page, "<span><svg viewBox=\"0 0 16 12\">{drawing}</svg> {text}</span>");
    }
    page.push_str("</p>\n");
}

/// Draws the timeline.
fn timeline(page: &mut String, report: &ProbeReport) {
    let requests = &report.record.requests;
    let end = requests
        .iter()
        .map(|r| r.answered.unwrap_or(r.sent))
        .max()
        .unwrap_or(0)
        .max(1);
    let x = |at: u64| LEFT + (u128::from(at.min(end)) * u128::from(WIDTH - LEFT) / u128::from(end)) as u64;
    let at = |at: i64| x(u64::try_from(at).unwrap_or(0));
    let mut hosts: Vec<String> = Vec::new();
    let owners = report.owners.iter().flat_map(|o| [o.from, o.to]).flatten();
    let receivers = requests
        .iter()
        .flat_map(|r| &r.fates)
        .filter_map(|fate| fate.delivered_to);
    for host in owners.chain(receivers).map(|id| id.to_string()) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let height = ROW * (hosts.len() as u64 + 2);
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" style=\"min-width:640px\" role=\"img\" aria-label=\"timeline\">"
    );
    for window in &report.outage.windows {
        let (from, to) = (x(window.from), x(window.to.unwrap_or(end)));
        let _ = writeln!(
            page,
            "<rect class=\"window\" x=\"{from}\" y=\"0\" width=\"{}\" height=\"{}\"><title>{} without an answer</title></rect>",
            (to - from).max(1),
            height - ROW,
            human(window.length)
        );
    }
    row_name(page, 0, &report.record.from);
    for request in requests {
        let class = if request.answered.is_some() { "answered" } else { "lost" };
        tick(page, 0, x(request.sent), class, &describe(request));
    }
    for (row, host) in (1..).zip(&hosts) {
        row_name(page, row, report.names.get(host).unwrap_or(host));
        owned(page, report, host, row, end, &x);
        for fate in requests.iter().flat_map(|r| &r.fates) {
            if fate.delivered_to.is_some_and(|id| id.to_string() == *host) {
                tick(
                    page,
                    row,
                    x(fate.at),
                    "delivered",
                    &format!("packet at {}", human(fate.at)),
                );
            }
        }
    }
    marks(page, &report.marks, height - ROW, &at);
    let y = height - ROW / 2;
    for fifth in 0..=5_u64 {
        let at = end / 5 * fifth;
        let anchor = if fifth == 5 { "end" } else { "middle" };
        let _ = writeln!(
            page,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>",
            x(at),
            human(at)
        );
    }
    page.push_str("</svg>\n");
}

/// Draws the events, and the times between them.
fn marks(page: &mut String, marks: &[Mark], bottom: u64, x: &impl Fn(i64) -> u64) {
    let spans = [("detection", detection(marks)), ("takeover", takeover(marks))];
    for (class, span) in spans {
        let Some((from, to)) = span else { continue };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"5\"><title>{class} {}</title></rect>",
            x(from),
            bottom - 5,
            (x(to) - x(from)).max(1),
            human((to - from).unsigned_abs())
        );
    }
    for mark in marks.iter().filter(|mark| mark.at >= 0) {
        let class = match mark.kind {
            MarkKind::Fault => "fault",
            MarkKind::FaultEnd => "fault-end",
            MarkKind::ApiCall => "call",
            MarkKind::Announcement => "announcement",
            MarkKind::FirstPacket => "first",
        };
        let x = x(mark.at);
        let _ = writeln!(
            page,
            "<line class=\"mark {class}\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{bottom}\"><title>{} {}</title></line>",
            seconds(mark.at),
            escape(&mark.text)
        );
    }
}

/// Draws when a host owned the address: in the API, and in the data path.
fn owned(page: &mut String, report: &ProbeReport, host: &str, row: u64, end: u64, x: &impl Fn(u64) -> u64) {
    let is = |id: Option<crate::model::InterfaceId>| id.is_some_and(|id| id.to_string() == host);
    let time = |at: i64| u64::try_from(at).unwrap_or(0);
    let mut bar = |class, from: u64, to: u64| {
        if to > from {
            // Writing to a String cannot fail.
            let _ = writeln!(
                page,
                "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                x(from),
                row * ROW + 3,
                (x(to) - x(from)).max(1),
                ROW - 6
            );
        }
    };
    let mut since = report.owners.first().filter(|first| is(first.from)).map(|_| 0);
    for change in &report.owners {
        let reached = time(change.in_data_path.unwrap_or(change.at));
        if is(change.from)
            && let Some(from) = since.take()
        {
            bar("owner", from, time(change.at));
            bar("late", time(change.at), reached);
        }
        if is(change.to) {
            since = Some(reached);
        }
    }
    if let Some(from) = since {
        bar("owner", from, end);
    }
}

fn row_name(page: &mut String, row: u64, name: &str) {
    let y = row * ROW + ROW / 2;
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>",
        LEFT - 8,
        y + 4,
        escape(name)
    );
}

fn tick(page: &mut String, row: u64, x: u64, class: &str, title: &str) {
    let (from, to) = (row * ROW + 6, (row + 1) * ROW - 6);
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"{from}\" y2=\"{to}\"><title>{}</title></line>",
        escape(title)
    );
}

fn describe(request: &Request) -> String {
    let sent = human(request.sent);
    let outcome = match (request.answered, &request.error) {
        (Some(answered), _) => format!("answered after {}", human(answered - request.sent)),
        (None, Some(error)) => format!("lost: {error}"),
        (None, None) => "lost".to_owned(),
    };
    let by = request.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let dropped = request.fates.iter().find_map(|fate| fate.dropped);
    let dropped = dropped.map(|reason| format!("; dropped: {reason}")).unwrap_or_default();
    format!("sent at {sent}, {outcome}{by}{dropped}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InterfaceId;
    use crate::model::ids::ResourceId;
    use crate::probe::outage::{Outage, Ownership};
    use crate::probe::{PacketFate, ProbeKind, ProbeRecord, ProbeSpec};

    #[test]
    fn the_page_shows_the_figures_and_draws_every_owner() {
        let id = InterfaceId::from_bits;
        let request = |sent, answered, to| Request {
            sent,
            answered,
            fates: vec![PacketFate {
                at: sent,
                delivered_to: Some(id(to)),
                dropped: None,
            }],
            ..Request::default()
        };
        let record = ProbeRecord {
            spec: ProbeSpec::new(ProbeKind::Icmp, "10.0.0.9".parse().expect("an address")),
            from: "<client>".into(),
            began_at: 0,
            requests: vec![
                request(0, Some(1000), 1),
                request(412_000_000, None, 1),
                request(824_000_000, Some(824_001_000), 2),
            ],
            unrecorded: 0,
        };
        let owners = vec![Ownership {
            at: 400_000_000,
            from: Some(id(1)),
            to: Some(id(2)),
            in_data_path: Some(500_000_000),
        }];
        let report = ProbeReport {
            name: "service".into(),
            outage: Outage::from_record(&record, &owners),
            owners,
            names: [(id(2).to_string(), "standby".to_owned())].into(),
            marks: vec![
                Mark {
                    at: 100_000_000,
                    kind: MarkKind::Fault,
                    text: "fault: link of master".into(),
                },
                Mark {
                    at: 400_000_000,
                    kind: MarkKind::ApiCall,
                    text: "API gives it to standby".into(),
                },
                Mark {
                    at: 824_000_000,
                    kind: MarkKind::FirstPacket,
                    text: "first packet at standby".into(),
                },
            ],
            record,
        };
        let page = html("Failover", std::slice::from_ref(&report));
        assert!(page.contains("<td>412.0 ms</td>"), "the longest outage: {page}");
        assert!(page.contains("&lt;client&gt;") && !page.contains("<client>"));
        assert!(page.contains("standby") && page.contains(&id(1).to_string()));
        assert_eq!(
            page.matches("class=\"owner\"").count(),
            3,
            "one bar for each owner, one in the legend"
        );
        assert_eq!(
            page.matches("class=\"late\"").count(),
            2,
            "the old one for 100 ms longer, and the legend"
        );
        assert_eq!(page.matches("class=\"lost\"").count(), 2);
        assert_eq!(page.matches("class=\"window\"").count(), 2);
        for part in [
            "detection 300.0 ms",
            "takeover 424.0 ms",
            "fault begins",
            "<th>Fault to API call (detection)</th><td>300.0 ms</td>",
            "+0.824 s first packet at standby",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let text = section_of(&report).body;
        assert!(text.contains("Fault to API call (detection): 300.0 ms"), "{text}");
        for outside in ["http://", "https://", "<script"] {
            assert!(!page.contains(outside), "it needs nothing else");
        }
    }
}
