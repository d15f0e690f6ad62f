//! Implements `localvpc ec2`: prints the implemented part of the EC2 API.

use clap::{Args, Subcommand};

use super::{Done, Failure, print};
use crate::api::ec2::{ActionCoverage, coverage, coverage_of};

/// The EC2 API.
#[derive(Debug, Args)]
pub(super) struct Ec2Arguments {
    /// What to print
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print each action with the parameters that are refused and how many filters it has, as in api/ec2-coverage.md; or all of one
    /// action
    Actions {
        /// One action, as in AssignPrivateIpAddresses
        action: Option<String>,
    },
}

pub(super) fn ec2(arguments: &Ec2Arguments, json: bool) -> Done {
    let What::Actions { action } = &arguments.what;
    let shown = coverage_of(action.as_deref());
    if let Some(action) = action
        && shown.is_empty()
    {
        let report = miette::miette!(
            help = "'localvpc ec2 actions' lists those that there are",
            "the action {action} is not implemented"
        );
        return Err(Failure::new(Failure::REFUSED, report));
    }
    match (json, action) {
        (true, _) => {
            let value = serde_json::to_value(&shown);
            let value = value.map_err(|error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}")))?;
            print(&format!("{value:#}\n"));
        }
        (false, None) => print(&coverage()),
        (false, Some(_)) => shown.iter().for_each(|action| print(&in_full(action))),
    }
    Ok(())
}

/// An action with its parameters and filters, a line each.
fn in_full(action: &ActionCoverage) -> String {
    let section = |title: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("\n{title}:\n  {}\n", names.join("\n  ")),
    };
    format!(
        "{}: {}\n{}{}{}",
        action.name,
        action.help,
        section("parameters", &action.parameters),
        section("refused", &action.refused),
        section("filters", &action.filters)
    )
}
