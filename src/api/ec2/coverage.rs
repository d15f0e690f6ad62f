//! Lists the implemented part of the EC2 API: actions, parameters and filters, from the table of actions and AWS's own.

use std::fmt::Write as _;

use serde::Serialize;

use super::action::Entry;
use super::actions::ACTIONS;
use super::shape::actions;

/// What is implemented of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActionCoverage {
    /// Its name, as in `DescribeVpcs`.
    pub name: String,
    /// Its effect, in a sentence.
    pub help: String,
    /// Whether it is read-only.
    pub reads: bool,
    /// The parameters that have an effect, members and list items with dots, as in `Filter.N.Name`.
    pub parameters: Vec<String>,
    /// The parameters that are refused as unsupported.
    pub refused: Vec<String>,
    /// The filters, all of which AWS documents; `tag:` stands for one by a tag's value.
    pub filters: Vec<String>,
}

impl ActionCoverage {
    fn of(entry: &Entry) -> Self {
        let (taken, refused): (Vec<_>, Vec<_>) = entry.parameters().into_iter().partition(|(_, taken)| *taken);
        let names = |list: Vec<(String, bool)>| list.into_iter().map(|(name, _)| name).collect();
        Self {
            name: entry.name.to_owned(),
            help: entry.help.to_owned(),
            reads: entry.reads,
            parameters: names(taken),
            refused: names(refused),
            filters: entry.shape().filters.clone(),
        }
    }
}

/// What is implemented of one action, or of all.
pub fn coverage_of(action: Option<&str>) -> Vec<ActionCoverage> {
    let wanted = |entry: &&Entry| action.is_none_or(|action| action.eq_ignore_ascii_case(entry.name));
    ACTIONS.iter().filter(wanted).map(ActionCoverage::of).collect()
}

/// The page `api/ec2-coverage.md`, which `localvpc ec2 actions` also prints.
pub fn coverage() -> String {
    let mut page = String::from(
        "# What of the EC2 API is implemented\n\n\
         Generated from the table of actions; a test holds it true. A parameter that is refused answers\n\
         `UnsupportedOperation` with its name, an action that is not in the first table `InvalidAction`.\n\n\
         | action | what it does | parameters that are refused | filters |\n|---|---|---|---|\n",
    );
    for action in coverage_of(None) {
        let refused: Vec<String> = action.refused.iter().map(|name| format!("`{name}`")).collect();
        let refused = match refused.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let filters = match action.filters.len() {
            0 => "–".to_owned(),
            count => format!("all {count}"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(page, "| {} | {} | {refused} | {filters} |", action.name, action.help);
    }
    page.push_str("\n## Not implemented\n\n");
    let missing: Vec<&str> = actions()
        .keys()
        .map(String::as_str)
        .filter(|name| !ACTIONS.iter().any(|entry| entry.name == *name))
        .collect();
    let _ = writeln!(
        page,
        "{}, and every action that is named nowhere here.",
        missing.join(", ")
    );
    page
}
