//! Implements `localvpc faults`: lists, begins and ends faults, in the form of scenario files and the API.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value};

use super::remote::{Output, answer_shown, encoded, failed, list};
use super::show::FAULTS;
use super::{Done, Failure, names};
use crate::api::Client;

/// Faults.
#[derive(Debug, Args)]
pub struct FaultArguments {
    /// What to do; without it active faults are listed.
    #[command(subcommand)]
    action: Option<FaultAction>,
}

#[derive(Debug, Subcommand)]
enum FaultAction {
    /// Let something go wrong
    Begin {
        /// What, as in a scenario file: '{ link_down: { interfaces: [a] }, duration: 10s }'
        fault: String,
        /// End it after this time, such as 10s; without it, it lasts until it is ended
        #[arg(long)]
        duration: Option<String>,
        /// What to call it in events and reports
        #[arg(long)]
        description: Option<String>,
    },
    /// End a fault, or all of them
    End {
        /// Its identifier
        #[arg(required_unless_present = "all", add = ArgValueCompleter::new(names::faults))]
        fault: Option<String>,
        /// All that act
        #[arg(long, conflicts_with = "fault")]
        all: bool,
    },
}

pub(super) async fn faults(client: &Client, output: Output, arguments: FaultArguments) -> Done {
    const PATH: &str = "/v1/faults";
    match arguments.action {
        None => list(client, output, PATH, "faults", &FAULTS).await,
        Some(FaultAction::Begin {
            fault,
            duration,
            description,
        }) => {
            let mut body = written(&fault)?;
            for (field, value) in [("duration", duration), ("description", description)] {
                let Some(value) = value else { continue };
                if body.insert(field.to_owned(), value.into()).is_some() {
                    let report = miette::miette!("the fault has a {field} of its own: leave one of the two out");
                    return Err(Failure::new(Failure::USAGE, report));
                }
            }
            let answer = client.post(PATH, &Value::Object(body)).await.map_err(failed)?;
            answer_shown(client, output, &answer, std::slice::from_ref(&answer), &FAULTS).await
        }
        Some(FaultAction::End { fault, .. }) => {
            let path = match fault {
                Some(fault) => format!("{PATH}/{}", encoded(&fault)),
                None => PATH.to_owned(),
            };
            let ended = client.delete(&path).await.map_err(failed)?;
            let faults = ended["faults"].as_array();
            let faults = faults.map_or(std::slice::from_ref(&ended), Vec::as_slice);
            answer_shown(client, output, &ended, faults, &FAULTS).await
        }
    }
}

/// The fault as it is written in a scenario file.
fn written(text: &str) -> Result<Map<String, Value>, Failure> {
    crate::file::read("fault", text).map_err(|error| {
        let report = miette::miette!(
            help = "write it as in a scenario file: '{{ link_down: {{ interfaces: [a] }}, duration: 10s }}'",
            "the fault cannot be read: {error}"
        );
        Failure::new(Failure::USAGE, report)
    })
}
