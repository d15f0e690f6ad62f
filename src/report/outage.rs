//! Renders what a probe saw as one page of HTML that needs nothing else: the figures and a timeline.

use std::fmt::Write as _;

use super::text::{escape, human};
use crate::probe::{ProbeReport, Request};

/// Width of the drawing, in its own units.
const WIDTH: u64 = 1000;
/// Height of a row.
const ROW: u64 = 26;
/// Where rows begin, right of their names.
const LEFT: u64 = 180;

/// One page: the figures of each probe, and its timeline with a row for each interface that had the address or got a
/// packet.
pub fn html(title: &str, reports: &[ProbeReport]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
    );
    for report in reports {
        section(&mut page, report);
    }
    page.push_str("</body></html>\n");
    page
}

pub(crate) const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222;\
background:#fff}table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}\
svg{width:100%;height:auto;font:11px system-ui,sans-serif}.owner{fill:#cfe3f7}.late{fill:#f7e3b0}.answered{stroke:#2a7d2a}\
.delivered{stroke:#888}.lost{stroke:#c22}.window{fill:#c22;opacity:.15}.call{stroke:#225;stroke-dasharray:4 3}\
.axis{stroke:#bbb}";

/// The part of a page that is about one probe.
pub(crate) fn section(page: &mut String, report: &ProbeReport) {
    let (outage, spec) = (&report.outage, &report.record.spec);
    let name = escape(&report.name);
    let kind = format!("{:?}", spec.kind).to_uppercase();
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<h2>{name}</h2><p>{kind} from {} to {}, {} a second.</p><table>",
        escape(&report.record.from),
        spec.target,
        spec.rate
    );
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
    if let Some(took) = outage.to_new_owner {
        rows.push(("API call to first packet at the new owner", human(took)));
    }
    rows.extend(
        outage
            .dropped
            .iter()
            .map(|(reason, count)| ("Dropped by the switch", format!("{count} {reason}"))),
    );
    for (what, value) in rows {
        let _ = writeln!(page, "<tr><th>{what}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n");
    timeline(page, report);
}

/// Everything that happened, drawn over time.
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
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"timeline\">"
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
    for owner in report.owners.iter().filter(|owner| owner.at >= 0) {
        let x = at(owner.at);
        let _ = writeln!(
            page,
            "<line class=\"call\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{}\"><title>API call at {}</title></line>",
            height - ROW,
            human(owner.at.unsigned_abs())
        );
    }
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

/// When a host owned the address: by the API's word, and in the data path.
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
            record,
        };
        let page = html("Failover", &[report]);
        assert!(page.contains("<td>412.0 ms</td>"), "the longest outage: {page}");
        assert!(page.contains("&lt;client&gt;") && !page.contains("<client>"));
        assert!(page.contains("standby") && page.contains(&id(1).to_string()));
        assert_eq!(page.matches("class=\"owner\"").count(), 2, "one bar for each owner");
        assert_eq!(
            page.matches("class=\"late\"").count(),
            1,
            "the old one for 100 ms longer"
        );
        assert_eq!(page.matches("class=\"lost\"").count(), 1);
        assert_eq!(page.matches("class=\"window\"").count(), 1);
        for outside in ["http://", "https://", "<script"] {
            assert!(!page.contains(outside), "it needs nothing else");
        }
    }
}
