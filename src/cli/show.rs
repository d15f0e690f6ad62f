//! Answers of the server as people read them: tables of what matters, outlines of everything.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

/// A column: its heading, and where its value stands in an entry.
pub(super) type Column = (&'static str, &'static str);

pub(super) const VPCS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("IPV4", "cidr_blocks"),
    ("IPV6", "ipv6_cidr_blocks"),
    ("PROFILE", "profile"),
];
pub(super) const SUBNETS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("VPC", "vpc_id"),
    ("IPV4", "cidr_block"),
    ("IPV6", "ipv6_cidr_block"),
    ("ZONE", "availability_zone"),
    ("ROUTER", "router_mac"),
];
pub(super) const INTERFACES: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("SUBNET", "subnet_id"),
    ("MAC", "mac_address"),
    ("IPV4", "ipv4_addresses"),
    ("IPV6", "ipv6_addresses"),
    ("PREFIXES", "ipv4_prefixes,ipv6_prefixes"),
    ("CHECK", "source_dest_check"),
    ("DEVICE", "attachment.device"),
];
pub(super) const MAPPINGS: &[Column] = &[
    ("SUBNET", "subnet_id"),
    ("ADDRESS", "address"),
    ("INTERFACE", "interface_id"),
    ("MAC", "mac_address"),
    ("PRIMARY", "primary"),
];
pub(super) const PORTS: &[Column] = &[
    ("PORT", "port"),
    ("INTERFACE", "interface_name,interface_id"),
    ("DEVICE", "device"),
    ("RECEIVED", "received.frames"),
    ("SENT", "sent.frames"),
    ("ANSWERED", "answered"),
    ("DROPPED", "dropped"),
];
pub(super) const INSTANCES: &[Column] = &[
    ("NAME", "name"),
    ("INTERFACE", "interface_id"),
    ("MAC", "mac_address"),
    ("PID", "pid"),
];
pub(super) const SCENARIOS: &[Column] = &[
    ("NAME", "name"),
    ("STEPS", "steps"),
    ("COMMANDS", "runs_commands"),
    ("DESCRIPTION", "description"),
];
pub(super) const RUNS: &[Column] = &[
    ("ID", "id"),
    ("SCENARIO", "scenario"),
    ("STATE", "state"),
    ("OUTCOME", "outcome"),
    ("SEED", "seed"),
];

pub(super) const ROUTE_TABLES: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("VPC", "vpc_id"),
    ("MAIN", "main"),
    ("SUBNETS", "subnet_ids"),
];
pub(super) const ROUTES: &[Column] = &[
    ("DESTINATION", "destination"),
    ("TARGET", "target"),
    ("STATE", "state"),
    ("ORIGIN", "origin"),
];
pub(super) const FAULTS: &[Column] = &[
    ("ID", "id"),
    ("FAULT", "fault"),
    ("FOR", "duration"),
    ("SINCE", "began_at"),
    ("DESCRIPTION", "description"),
];

pub(super) fn table(columns: &[Column], entries: &[Value]) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for entry in entries {
        table.add_row(columns.iter().map(|(_, path)| value_at(entry, path)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        column.set_cell_alignment(CellAlignment::Left);
    }
    let lines: Vec<String> = table
        .to_string()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n") + "\n"
}

/// The value at a path; of several paths all that is there.
fn value_at(entry: &Value, paths: &str) -> String {
    let found: Vec<String> = paths
        .split(',')
        .map(|path| cell(path.split('.').fold(entry, |value, name| &value[name])))
        .filter(|text| !text.is_empty())
        .collect();
    // A name says more than the identifier that follows it.
    match paths.contains("_name,") {
        true => found.into_iter().next().unwrap_or_default(),
        false => found.join(" "),
    }
}

pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.lines().next().unwrap_or_default().to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name} {}", cell(value)))
                .collect();
            fields.join(", ")
        }
        other => other.to_string(),
    }
}

pub(super) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Fields, one a line, what is inside others further in.
pub(super) fn outline(value: &Value, depth: usize) -> String {
    let margin = "  ".repeat(depth);
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, field)| !field.is_null())
            .map(|(name, field)| match field {
                Value::Object(_) | Value::Array(_) => format!("{margin}{name}:\n{}", outline(field, depth + 1)),
                plain => format!("{margin}{name}: {}\n", cell(plain)),
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::Object(_) => {
                    let inner = outline(item, depth + 1);
                    format!("{margin}- {}", inner.trim_start())
                }
                plain => format!("{margin}- {}\n", cell(plain)),
            })
            .collect(),
        plain => format!("{margin}{}\n", cell(plain)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_entry_and_no_frame() {
        let entries = [
            json!({ "id": "vpc-1", "cidr_blocks": ["10.0.0.0/16"], "profile": "aws" }),
            json!({ "id": "vpc-2", "name": "second", "cidr_blocks": [], "profile": "lan" }),
        ];
        let shown = table(VPCS, &entries);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["ID", "NAME", "IPV4", "IPV6", "PROFILE"]);
        assert_eq!(lines[1], ["vpc-1", "10.0.0.0/16", "aws"]);
        assert_eq!(lines[2], ["vpc-2", "second", "lan"]);
    }

    #[test]
    fn an_outline_shows_what_is_inside_further_in() {
        let value = json!({ "verdict": "drop", "stages": [{ "stage": "guard", "facts": ["a", "b"] }] });
        let shown = outline(&value, 0);
        assert_eq!(
            shown,
            "verdict: drop\nstages:\n  - stage: guard\n    facts:\n      - a\n      - b\n"
        );
    }
}
