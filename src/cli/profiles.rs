//! Implements `localvpc profiles`: shows the profiles, without a server.

use clap::Args;
use serde_json::{Value, json};

use super::show::{outline, pretty};
use super::{Done, Failure, print};
use crate::model::profile::Profile;

/// Which profiles.
#[derive(Debug, Args)]
pub(super) struct ProfileArguments {
    /// Of this name only
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Profile::NAMES))]
    name: Option<String>,
}

/// Shows them with all fields.
pub(super) fn profiles(arguments: &ProfileArguments, as_json: bool) -> Done {
    let meant = |name: &&&str| arguments.name.as_deref().is_none_or(|wanted| wanted == **name);
    let profiles: Result<Vec<Value>, _> = Profile::NAMES
        .iter()
        .filter(meant)
        .filter_map(|name| Profile::named(name).ok())
        .map(serde_json::to_value)
        .collect();
    let profiles = profiles.map_err(|error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}")))?;
    match as_json {
        true => print(&pretty(&json!({ "profiles": profiles }))),
        false => {
            let blocks: Vec<String> = profiles.iter().map(|profile| outline(profile, 0)).collect();
            print(&blocks.join("\n"));
        }
    }
    Ok(())
}
