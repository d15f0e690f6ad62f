//! Formats answers of the server: tables with the main fields, outlines with all.

use std::collections::HashMap;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use crate::model::fault::FaultKind;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    heading: &'static str,
    field: Field,
}

/// The content of a column.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// The name, or the identifier without one.
    Name,
    /// The identifier, shown with `--wide`.
    Id,
    /// The value at this path.
    At(&'static str),
    /// All values at these paths.
    All(&'static [&'static str]),
    /// The kind of a fault and its content.
    Fault,
    /// The names of the resources whose identifiers are at this path.
    Named(&'static str),
}

/// A table of the entries of a list.
#[derive(Debug)]
pub(super) struct View {
    pub(super) columns: &'static [Column],
    /// Lists with the resources that entries refer to: path, and field of the answer.
    pub(super) named_in: &'static [(&'static str, &'static str)],
}

const VPC_LIST: (&str, &str) = ("/v1/vpcs", "vpcs");
const SUBNET_LIST: (&str, &str) = ("/v1/subnets", "subnets");
const GATEWAY_LIST: (&str, &str) = ("/v1/internet-gateways", "internet_gateways");
const INTERFACE_LIST: (&str, &str) = ("/v1/interfaces", "interfaces");
const GROUP_LIST: (&str, &str) = ("/v1/security-groups", "security_groups");
const PREFIX_LIST_LIST: (&str, &str) = ("/v1/prefix-lists", "prefix_lists");

const fn at(heading: &'static str, path: &'static str) -> Column {
    Column {
        heading,
        field: Field::At(path),
    }
}

const fn named(heading: &'static str, path: &'static str) -> Column {
    Column {
        heading,
        field: Field::Named(path),
    }
}

const NAME: Column = Column {
    heading: "NAME",
    field: Field::Name,
};
const ID: Column = Column {
    heading: "ID",
    field: Field::Id,
};

/// A view without references to other lists.
const fn view(columns: &'static [Column]) -> View {
    View { columns, named_in: &[] }
}

pub(super) const VPCS: View = view(&[
    NAME,
    ID,
    at("IPV4", "cidr_blocks"),
    at("IPV6", "ipv6_cidr_blocks"),
    at("PROFILE", "profile"),
]);
pub(super) const SUBNETS: View = View {
    columns: &[
        NAME,
        ID,
        named("VPC", "vpc_id"),
        at("IPV4", "cidr_block"),
        at("IPV6", "ipv6_cidr_block"),
        at("ZONE", "availability_zone"),
        at("ROUTER", "router_mac"),
    ],
    named_in: &[VPC_LIST],
};
pub(super) const INTERFACES: View = View {
    columns: &[
        NAME,
        ID,
        named("SUBNET", "subnet_id"),
        at("MAC", "mac_address"),
        at("IPV4", "ipv4_addresses"),
        at("IPV6", "ipv6_addresses"),
        Column {
            heading: "PREFIXES",
            field: Field::All(&["ipv4_prefixes", "ipv6_prefixes"]),
        },
        at("CHECK", "source_dest_check"),
        at("DEVICE", "attachment.device"),
    ],
    named_in: &[SUBNET_LIST],
};
pub(super) const DHCP_OPTIONS: View = view(&[
    NAME,
    ID,
    at("DOMAIN", "options.domain_name"),
    at("DNS", "options.domain_name_servers"),
    at("NTP", "options.ntp_servers"),
]);
pub(super) const MAPPINGS: View = View {
    columns: &[
        named("SUBNET", "subnet_id"),
        at("ADDRESS", "address"),
        named("INTERFACE", "interface_id"),
        at("MAC", "mac_address"),
        at("PRIMARY", "primary"),
    ],
    named_in: &[SUBNET_LIST, INTERFACE_LIST],
};
pub(super) const PORTS: View = View {
    columns: &[
        at("PORT", "port"),
        named("INTERFACE", "interface_id"),
        at("DEVICE", "device"),
        at("RECEIVED", "received.frames"),
        at("SENT", "sent.frames"),
        at("ANSWERED", "answered"),
        at("DROPPED", "dropped"),
    ],
    named_in: &[INTERFACE_LIST],
};
pub(super) const INSTANCES: View = View {
    columns: &[
        NAME,
        named("INTERFACE", "interface_id"),
        at("MAC", "mac_address"),
        at("PID", "pid"),
    ],
    named_in: &[INTERFACE_LIST],
};
pub(super) const SCENARIOS: View = view(&[
    NAME,
    at("STEPS", "steps"),
    at("COMMANDS", "runs_commands"),
    at("DESCRIPTION", "description"),
]);
pub(super) const RUNS: View = view(&[
    at("ID", "id"),
    at("SCENARIO", "scenario"),
    at("STATE", "state"),
    at("OUTCOME", "outcome"),
    at("SEED", "seed"),
]);
pub(super) const REVISIONS: View = View {
    columns: &[
        at("REVISION", "revision"),
        at("AT", "at"),
        at("BY", "author"),
        at("COMMAND", "command"),
        named("CHANGED", "changed"),
    ],
    named_in: &[VPC_LIST, SUBNET_LIST, INTERFACE_LIST],
};
pub(super) const ROUTE_TABLES: View = View {
    columns: &[
        NAME,
        ID,
        named("VPC", "vpc_id"),
        at("MAIN", "main"),
        named("SUBNETS", "subnet_ids"),
    ],
    named_in: &[VPC_LIST, SUBNET_LIST],
};
pub(super) const ROUTES: View = View {
    columns: &[
        at("DESTINATION", "destination"),
        named("TARGET", "target"),
        at("STATE", "state"),
        at("ORIGIN", "origin"),
    ],
    named_in: &[INTERFACE_LIST, GATEWAY_LIST],
};
pub(super) const INTERNET_GATEWAYS: View = View {
    columns: &[NAME, ID, named("VPC", "vpc_id")],
    named_in: &[VPC_LIST],
};
pub(super) const FLOW_LOGS: View = View {
    columns: &[
        NAME,
        ID,
        named("VPC", "vpc_id"),
        named("SUBNET", "subnet_id"),
        named("INTERFACE", "interface_id"),
        at("TRAFFIC", "traffic"),
        at("INTERVAL", "interval"),
        at("DESTINATION", "destination"),
        at("ERROR", "delivery_error"),
    ],
    named_in: &[VPC_LIST, SUBNET_LIST, INTERFACE_LIST],
};
pub(super) const EGRESS_ONLY_GATEWAYS: View = View {
    columns: &[NAME, ID, named("VPC", "vpc_id")],
    named_in: &[VPC_LIST],
};
pub(super) const PEERINGS: View = View {
    columns: &[
        NAME,
        ID,
        named("REQUESTER", "requester_vpc_id"),
        named("ACCEPTER", "accepter_vpc_id"),
        at("STATE", "state"),
    ],
    named_in: &[VPC_LIST],
};
pub(super) const VPC_ENDPOINTS: View = View {
    columns: &[
        NAME,
        ID,
        named("VPC", "vpc_id"),
        at("SERVICE", "service"),
        at("ADDRESSES", "addresses"),
        named("ROUTE TABLES", "route_table_ids"),
    ],
    named_in: &[VPC_LIST, ("/v1/route-tables", "route_tables")],
};
pub(super) const NAT_GATEWAYS: View = View {
    columns: &[
        NAME,
        ID,
        named("SUBNET", "subnet_id"),
        at("CONNECTIVITY", "connectivity"),
        at("STATE", "state"),
        at("PRIVATE", "addresses.private_ip"),
        at("PUBLIC", "addresses.public_ip"),
    ],
    named_in: &[SUBNET_LIST],
};
pub(super) const ELASTIC_IPS: View = View {
    columns: &[
        NAME,
        ID,
        at("PUBLIC", "public_ip"),
        named("INTERFACE", "association.interface_id"),
        at("PRIVATE", "association.private_ip"),
    ],
    named_in: &[INTERFACE_LIST],
};
pub(super) const SECURITY_GROUPS: View = View {
    columns: &[
        NAME,
        ID,
        at("GROUP", "group_name"),
        named("VPC", "vpc_id"),
        at("DESCRIPTION", "description"),
    ],
    named_in: &[VPC_LIST],
};
pub(super) const SECURITY_GROUP_RULES: View = View {
    columns: &[
        at("RULE", "id"),
        at("DIRECTION", "direction"),
        at("PROTOCOL", "protocol"),
        at("PORTS", "ports"),
        Column {
            heading: "ICMP",
            field: Field::All(&["icmp_type", "icmp_code"]),
        },
        at("CIDR", "cidr"),
        named("LIST", "prefix_list_id"),
        named("GROUP", "group_id"),
        at("DESCRIPTION", "description"),
    ],
    named_in: &[GROUP_LIST, PREFIX_LIST_LIST],
};
pub(super) const NETWORK_ACLS: View = View {
    columns: &[
        NAME,
        ID,
        named("VPC", "vpc_id"),
        at("DEFAULT", "default"),
        named("SUBNETS", "subnet_ids"),
    ],
    named_in: &[VPC_LIST, SUBNET_LIST],
};
pub(super) const ACL_ENTRIES: View = view(&[
    at("DIRECTION", "direction"),
    at("NUMBER", "number"),
    at("ACTION", "action"),
    at("PROTOCOL", "protocol"),
    at("PORTS", "ports"),
    Column {
        heading: "ICMP",
        field: Field::All(&["icmp_type", "icmp_code"]),
    },
    at("CIDR", "cidr"),
]);
pub(super) const PREFIX_LISTS: View = view(&[
    NAME,
    ID,
    at("FAMILY", "family"),
    at("VERSION", "version"),
    at("MOST", "max_entries"),
    at("STATE", "state"),
]);
pub(super) const PREFIX_ENTRIES: View = view(&[at("CIDR", "cidr"), at("DESCRIPTION", "description")]);
pub(super) const OUTSIDE: View = view(&[
    NAME,
    at("IPV4", "ipv4_addresses"),
    at("IPV6", "ipv6_addresses"),
    at("MAC", "mac_address"),
]);
pub(super) const FAULTS: View = view(&[
    at("ID", "id"),
    Column {
        heading: "FAULT",
        field: Field::Fault,
    },
    at("FOR", "duration"),
    at("SINCE", "began_at"),
    at("DESCRIPTION", "description"),
]);

/// Names of resources by identifier.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(HashMap<String, String>);

impl Names {
    /// Adds the names of the resources in a list.
    pub(super) fn learn(&mut self, entries: &[Value]) {
        for entry in entries {
            if let (Some(id), Some(name)) = (entry["id"].as_str(), entry["name"].as_str()) {
                self.0.insert(id.to_owned(), name.to_owned());
            }
        }
    }

    /// Replaces identifiers in a text by names.
    fn of(&self, text: &str) -> String {
        let words = text
            .split(' ')
            .map(|word| self.0.get(word).map_or(word, String::as_str));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// The table; with `wide`, identifiers as well as names.
pub(super) fn table(view: &View, entries: &[Value], names: &Names, wide: bool) -> String {
    let shown: Vec<&Column> = view
        .columns
        .iter()
        .filter(|column| wide || !matches!(column.field, Field::Id))
        .collect();
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(shown.iter().map(|column| column.heading));
    for entry in entries {
        table.add_row(shown.iter().map(|column| column.field.of(entry, names, wide)));
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

impl Field {
    fn of(self, entry: &Value, names: &Names, wide: bool) -> String {
        let at = |path: &str| cell(path.split('.').fold(entry, |value, name| &value[name]));
        match self {
            Self::Name => match (at("name"), wide) {
                (name, false) if name.is_empty() => at("id"),
                (name, _) => name,
            },
            Self::Id => at("id"),
            Self::At(path) => at(path),
            Self::All(paths) => {
                let all: Vec<String> = paths
                    .iter()
                    .map(|path| at(path))
                    .filter(|text| !text.is_empty())
                    .collect();
                all.join(" ")
            }
            Self::Fault => {
                let kind = FaultKind::NAMES.into_iter().find(|kind| !entry[kind].is_null());
                kind.map(|kind| format!("{kind} {}", cell(&entry[kind])))
                    .unwrap_or_default()
            }
            Self::Named(path) => match (names.of(&at(path)), wide) {
                (name, true) if name != at(path) => format!("{name} ({})", at(path)),
                (name, _) => name,
            },
        }
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

/// Fields, one per line, nested ones indented.
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

    fn words(view: &View, entries: &[Value], names: &Names, wide: bool) -> Vec<Vec<String>> {
        let shown = table(view, entries, names, wide);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        shown.lines().map(words).collect()
    }

    #[test]
    fn a_table_has_a_line_for_each_entry_and_names_where_there_are_names() {
        let entries = [
            json!({ "id": "vpc-1", "cidr_blocks": ["10.0.0.0/16"], "profile": "aws" }),
            json!({ "id": "vpc-2", "name": "second", "cidr_blocks": [], "profile": "lan" }),
        ];
        let lines = words(&VPCS, &entries, &Names::default(), false);
        assert_eq!(lines[0], ["NAME", "IPV4", "IPV6", "PROFILE"]);
        assert_eq!(lines[1], ["vpc-1", "10.0.0.0/16", "aws"]);
        assert_eq!(lines[2], ["second", "lan"]);
        let lines = words(&VPCS, &entries, &Names::default(), true);
        assert_eq!(lines[0], ["NAME", "ID", "IPV4", "IPV6", "PROFILE"]);
        assert_eq!(lines[2], ["second", "vpc-2", "lan"]);
    }

    #[test]
    fn what_an_entry_refers_to_is_shown_by_its_name() {
        let mut names = Names::default();
        names.learn(&[
            json!({ "id": "subnet-1", "name": "front" }),
            json!({ "id": "eni-1", "name": "a" }),
        ]);
        let entry =
            [json!({ "subnet_id": "subnet-1", "address": "10.0.0.4", "interface_id": "eni-1", "primary": true })];
        let lines = words(&MAPPINGS, &entry, &names, false);
        assert_eq!(lines[1], ["front", "10.0.0.4", "a", "true"]);
        let lines = words(&MAPPINGS, &entry, &names, true);
        assert_eq!(lines[1], ["front", "(subnet-1)", "10.0.0.4", "a", "(eni-1)", "true"]);
        let tables = [json!({ "id": "rtb-1", "subnet_ids": ["subnet-1", "subnet-2"], "main": false })];
        let lines = words(&ROUTE_TABLES, &tables, &names, false);
        assert_eq!(lines[1], ["rtb-1", "false", "front", "subnet-2"]);
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
