//! Lists the implemented part of the EC2 API: actions, parameters and filters, from the table of actions and AWS's own.

use std::fmt::Write as _;

use super::actions::ACTIONS;
use super::shape::actions;

/// The page `api/ec2-coverage.md`, which `localvpc ec2 actions` also prints.
pub fn coverage() -> String {
    let mut page = String::from(
        "# What of the EC2 API is implemented\n\n\
         Generated from the table of actions; a test holds it true. A parameter that is refused answers\n\
         `UnsupportedOperation` with its name, an action that is not in the first table `InvalidAction`.\n\n\
         | action | what it does | parameters that are refused | filters |\n|---|---|---|---|\n",
    );
    for entry in ACTIONS {
        let refused: Vec<String> = (entry.parameters().into_iter())
            .filter(|(_, taken)| !taken)
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let refused = if refused.is_empty() {
            "none".to_owned()
        } else {
            refused.join(", ")
        };
        let filters = match entry.shape().filters.len() {
            0 => "–".to_owned(),
            count => format!("all {count}"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(page, "| {} | {} | {refused} | {filters} |", entry.name, entry.help);
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
