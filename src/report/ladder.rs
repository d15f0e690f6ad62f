//! Renders packets as a ladder diagram: a column per instance, a line per packet from its sender to its receiver.

use std::fmt::Write as _;

use super::text::{escape, human};
use crate::record::ladder::{Rung, VPC};

/// Packets in a drawing; the text has all of them.
const DRAWN: usize = 80;

/// Distance of columns and height of a line, in the units of the drawing.
const COLUMN: usize = 220;
const LINE: usize = 30;
const TOP: usize = 34;

/// The ladder as lines of text.
pub(crate) fn text(rungs: &[Rung]) -> String {
    let width = rungs.iter().map(|rung| rung.from.chars().count()).max().unwrap_or(0);
    rungs
        .iter()
        .map(|rung| {
            let at = format!("+{}.{:06}", rung.at_us / 1_000_000, rung.at_us % 1_000_000);
            format!("{at} {:>width$} {}  {}\n", rung.from, end(rung), rung.packet)
        })
        .collect()
}

/// Where a packet ended.
fn end(rung: &Rung) -> String {
    match (&rung.to, &rung.dropped) {
        (_, Some(reason)) => format!("--X dropped: {reason}"),
        (Some(to), None) => format!("--> {to}"),
        (None, None) => "--> all others".to_owned(),
    }
}

/// The ladder as SVG. Of many packets the latest are drawn.
pub(crate) fn svg(rungs: &[Rung]) -> String {
    let drawn = &rungs[rungs.len().saturating_sub(DRAWN)..];
    let mut columns: Vec<&str> = Vec::new();
    for name in drawn
        .iter()
        .flat_map(|rung| [Some(rung.from.as_str()), rung.to.as_deref()])
        .flatten()
    {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    // The VPC is at the right, the instances are sorted by name.
    columns.sort_unstable_by_key(|name| (*name == VPC, *name));
    let x = |name: &str| {
        let place = columns.iter().position(|column| *column == name).unwrap_or(0);
        place * COLUMN + COLUMN / 2
    };
    let (width, height) = ((columns.len() + 1) * COLUMN, TOP + drawn.len() * LINE + LINE / 2);
    // Writing to a String cannot fail.
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg class=\"ladder\" viewBox=\"0 0 {width} {height}\" style=\"min-width:{}px\" role=\"img\" aria-label=\"ladder of packets\">",
        width * 2 / 3
    );
    for column in &columns {
        let at = x(column);
        let _ = writeln!(
            svg,
            "<text x=\"{at}\" y=\"16\" text-anchor=\"middle\" class=\"name\">{}</text><line class=\"axis\" x1=\"{at}\" x2=\"{at}\" y1=\"22\" y2=\"{height}\"/>",
            escape(column)
        );
    }
    for (line, rung) in drawn.iter().enumerate() {
        let (y, from) = (TOP + line * LINE + LINE / 2, x(&rung.from));
        let (class, to) = match (&rung.to, &rung.dropped) {
            (_, Some(_)) => ("lost", from + COLUMN / 3),
            (Some(to), None) if *to == rung.from => ("delivered", from + COLUMN / 3),
            (Some(to), None) => ("answered", x(to)),
            (None, None) => ("delivered", from + COLUMN / 3),
        };
        let head = if to > from { to - 6 } else { to + 6 };
        let text_at = from.min(to) + 6;
        let mut label = rung.packet.clone();
        if let Some(reason) = &rung.dropped {
            label = format!("✕ {reason}: {label}");
        }
        let _ = writeln!(
            svg,
            "<g class=\"{class}\"><title>{}, {}</title><line x1=\"{from}\" x2=\"{to}\" y1=\"{y}\" y2=\"{y}\"/><path d=\"M{to},{y} L{head},{} L{head},{} z\"/><text x=\"{text_at}\" y=\"{}\">{}</text></g>",
            human(rung.at_us * 1000),
            escape(end(rung).trim_start_matches('-')),
            y - 3,
            y + 3,
            y - 5,
            escape(&label)
        );
    }
    svg.push_str("</svg>\n");
    if drawn.len() < rungs.len() {
        let _ = writeln!(
            svg,
            "<p>The last {} of {} packets are drawn.</p>",
            drawn.len(),
            rungs.len()
        );
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(from: &str, to: Option<&str>, packet: &str, dropped: Option<&str>) -> Rung {
        Rung {
            at_us: 1_500,
            from: from.to_owned(),
            to: to.map(str::to_owned),
            packet: packet.to_owned(),
            dropped: dropped.map(str::to_owned),
        }
    }

    #[test]
    fn each_packet_is_a_line_from_its_sender_to_where_it_ended() {
        let rungs = [
            rung("a", Some(VPC), "ARP who has 10.0.1.11, asks 10.0.1.10", None),
            rung("standby", None, "ICMP echo request", Some("foreign_source")),
            rung("a", None, "beacon", None),
        ];
        assert_eq!(
            text(&rungs),
            "+0.001500       a --> VPC  ARP who has 10.0.1.11, asks 10.0.1.10\n\
             +0.001500 standby --X dropped: foreign_source  ICMP echo request\n\
             +0.001500       a --> all others  beacon\n"
        );
        let drawn = svg(&rungs);
        assert_eq!(drawn.matches("<g class=").count(), 3, "{drawn}");
        assert!(drawn.contains("✕ foreign_source: ICMP echo request"), "{drawn}");
    }

    #[test]
    fn a_drawing_of_many_packets_shows_the_latest_and_says_so() {
        let many: Vec<Rung> = (0..200)
            .map(|n| rung("a", Some("b"), &format!("packet {n}"), None))
            .collect();
        let drawn = svg(&many);
        assert!(drawn.contains("packet 199<") && !drawn.contains("packet 119<"));
        assert!(drawn.contains("The last 80 of 200 packets"));
        assert_eq!(text(&many).lines().count(), 200);
    }
}
