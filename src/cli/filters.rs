//! Filters lists on the command line: by name, tag, MAC, status and VPC, in the words of the API.

use clap::{Args, Command};
use clap_complete::engine::ArgValueCompleter;

use super::names;
use super::remote::with_query;
use crate::wire::MacAddr;

/// The commands that show lists, with the filters that their entries have.
pub(super) const LISTS: &[(&str, &[&str])] = &[
    ("vpcs", &["name", "tag", "vpc"]),
    ("subnets", &["name", "tag", "mac", "vpc"]),
    ("interfaces", &["name", "tag", "mac", "status", "vpc"]),
    ("mappings", &["mac", "vpc"]),
    ("dhcp-options", &["name", "tag"]),
    ("route-tables", &["name", "tag", "vpc"]),
    ("security-groups", &["name", "tag", "vpc"]),
    ("network-acls", &["name", "tag", "vpc"]),
    ("prefix-lists", &["name", "tag"]),
    ("internet-gateways", &["name", "tag", "vpc"]),
    ("elastic-ips", &["name", "tag"]),
    ("outside", &["name", "tag", "mac"]),
    ("egress-only-internet-gateways", &["name", "tag", "vpc"]),
    ("vpc-endpoints", &["name", "tag", "vpc"]),
    ("peering-connections", &["name", "tag", "status"]),
    ("nat-gateways", &["name", "tag", "status", "vpc"]),
    ("flow-logs", &["name", "tag"]),
    ("instances", &["name", "mac", "vpc"]),
    ("scenarios", &["name"]),
    ("runs", &["status"]),
];

/// All filters, as options are named.
pub(super) const FILTERS: [&str; 5] = ["name", "tag", "mac", "status", "vpc"];

/// Which entries of a list: all that is given must be so.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Of this name only
    #[arg(long)]
    name: Option<String>,
    /// With this tag only: KEY or KEY=VALUE, several times for several tags
    #[arg(long, value_name = "KEY[=VALUE]")]
    tag: Vec<String>,
    /// With this MAC address only
    #[arg(long)]
    mac: Option<MacAddr>,
    /// In this status only, as in `in-use`
    #[arg(long)]
    status: Option<String>,
    /// Of this VPC only
    #[arg(long, add = ArgValueCompleter::new(names::vpcs))]
    vpc: Option<String>,
}

impl ListArguments {
    /// The path of a list with these filters.
    pub(super) fn of(self, path: &str) -> String {
        with_query(path, &self.parameters())
    }

    /// The filters that are given, as parameters of a query.
    pub(super) fn parameters(self) -> Vec<(&'static str, Option<String>)> {
        let tags = self.tag.into_iter().map(|tag| ("tag", Some(tag)));
        let others = [
            ("name", self.name),
            ("mac", self.mac.map(|mac| mac.to_string())),
            ("status", self.status),
            ("vpc", self.vpc),
        ];
        others.into_iter().chain(tags).collect()
    }
}

/// The filters that the entries of a command's list do not have.
pub(super) fn lacking(command: &str) -> Vec<&'static str> {
    let list = LISTS.iter().find(|(name, _)| *name == command);
    let without = |filters: &&[&str]| FILTERS.into_iter().filter(|filter| !filters.contains(filter)).collect();
    list.map(|(_, filters)| without(filters)).unwrap_or_default()
}

/// Leaves out of each command's help the filters that its list does not have.
pub(super) fn hide(command: Command) -> Command {
    LISTS.iter().fold(command, |command, (name, _)| {
        command.mut_subcommand(name, |list| {
            lacking(name)
                .into_iter()
                .fold(list, |list, filter| list.mut_arg(filter, |option| option.hide(true)))
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use serde_json::Value;

    use super::super::Cli;
    use super::*;

    #[test]
    fn every_list_of_the_api_has_its_filters_on_the_command_line() {
        let api: Value = serde_json::from_str(&crate::api::openapi_json()).unwrap();
        for (path, item) in api["paths"].as_object().unwrap() {
            let Some(list) = path.strip_prefix("/v1/").filter(|list| !list.contains('/')) else {
                continue;
            };
            let parameters: Vec<&str> = item["get"]["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|parameter| parameter["name"].as_str().filter(|name| FILTERS.contains(name)))
                .collect();
            let known = LISTS.iter().find(|(name, _)| *name == list);
            let mut filters = known.map_or_else(Vec::new, |(_, filters)| filters.to_vec());
            filters.sort_unstable();
            let mut wanted = parameters.clone();
            wanted.sort_unstable();
            assert_eq!(filters, wanted, "{list}");
        }
    }

    #[test]
    fn every_list_takes_its_filters_and_hides_the_others() {
        let command = hide(Cli::command());
        for (name, filters) in LISTS {
            let list = command.find_subcommand(name).unwrap();
            for option in FILTERS {
                let argument = list.get_arguments().find(|argument| argument.get_id() == option);
                let argument = argument.unwrap_or_else(|| panic!("{name} has no --{option}"));
                assert_eq!(argument.is_hide_set(), !filters.contains(&option), "{name} --{option}");
            }
        }
    }
}
