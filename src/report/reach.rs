//! Shows which instance reaches which, as a matrix: the verdict about an echo request from each to each other one.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::section::{Kind, Section};
use super::text::escape;

/// An echo request from one instance to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Way {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// The instance that sends it.
    pub from: String,
    /// The instance that it is for.
    pub to: String,
    /// The address that it is for.
    pub address: String,
    /// `yes`, or why it does not arrive: a drop reason or another verdict.
    pub verdict: String,
}

/// The verdict of an explanation, as the API writes it: `yes`, or the drop reason of the last frame.
pub(crate) fn verdict(explanation: &Value) -> String {
    if explanation["arrives"] == true {
        return "yes".to_owned();
    }
    let frames = explanation["frames"].as_array();
    let Some(last) = frames.and_then(|frames| frames.last()) else {
        return "unknown".to_owned();
    };
    let verdict = &last["verdict"];
    let why = verdict["reason"].as_str().or(verdict["action"].as_str());
    why.unwrap_or("unknown").to_owned()
}

/// A row for each sender, a column for each receiver; the first row has the names.
fn rows(ways: &[&Way]) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = Vec::new();
    for name in ways.iter().flat_map(|way| [way.from.as_str(), way.to.as_str()]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let header = std::iter::once(String::new()).chain(names.iter().map(|name| (*name).to_owned()));
    let mut rows = vec![header.collect::<Vec<_>>()];
    for from in &names {
        let cells = names.iter().map(|to| {
            let way = ways.iter().find(|way| way.from == *from && way.to == *to);
            way.map_or("-", |way| &way.verdict).to_owned()
        });
        rows.push(std::iter::once((*from).to_owned()).chain(cells).collect());
    }
    rows
}

fn of_families(ways: &[Way]) -> impl Iterator<Item = (&'static str, Vec<&Way>)> {
    ["IPv4", "IPv6"].into_iter().filter_map(|family| {
        let ways: Vec<&Way> = ways.iter().filter(|way| way.family == family).collect();
        (!ways.is_empty()).then_some((family, ways))
    })
}

/// A matrix for each family, with its title.
pub(crate) fn sections(ways: &[Way]) -> Vec<Section> {
    let section = |(family, ways): (&str, Vec<&Way>)| {
        let rows = rows(&ways);
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        Section {
            title: format!("{family}: from the instance at the left to that at the top"),
            body: rows.iter().map(line).collect(),
            kind: Kind::Evidence,
        }
    };
    of_families(ways).map(section).collect()
}

/// The same as HTML tables.
pub(crate) fn html(page: &mut String, ways: &[Way]) {
    for (family, ways) in of_families(ways) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<p>{family}, from the instance at the left to that at the top:</p><div class=\"wide\"><table>"
        );
        for row in rows(&ways) {
            page.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let class = match cell.as_str() {
                    _ if column == 0 => "name",
                    "yes" => "passed",
                    "-" => "dim",
                    _ => "",
                };
                let _ = write!(page, "<td class=\"{class}\">{}</td>", escape(cell));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table></div>\n");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_matrix_has_a_row_for_each_sender_and_a_column_for_each_receiver() {
        let way = |from: &str, to: &str, verdict: &str| Way {
            family: "IPv4".into(),
            from: from.into(),
            to: to.into(),
            address: "10.0.0.1".into(),
            verdict: verdict.into(),
        };
        let ways = [way("a", "b", "yes"), way("b", "a", "no_route")];
        let sections = sections(&ways);
        assert_eq!(sections.len(), 1);
        let lines: Vec<Vec<&str>> = sections[0]
            .body
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines,
            [vec!["a", "b"], vec!["a", "-", "yes"], vec!["b", "no_route", "-"]]
        );
        let mut page = String::new();
        html(&mut page, &ways);
        assert!(
            page.contains("<td class=\"passed\">yes</td>") && page.contains("no_route"),
            "{page}"
        );
    }

    #[test]
    fn a_verdict_is_yes_or_the_reason_of_the_drop() {
        assert_eq!(verdict(&json!({ "arrives": true, "frames": [] })), "yes");
        for (frames, expected) in [
            (
                json!([{ "verdict": { "action": "reply" } }, { "verdict": { "action": "drop", "reason": "no_route" } }]),
                "no_route",
            ),
            (json!([]), "unknown"),
        ] {
            assert_eq!(verdict(&json!({ "frames": frames })), expected);
        }
    }
}
