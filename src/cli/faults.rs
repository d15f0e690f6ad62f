//! `localvpc faults`: what goes wrong on purpose, in the words in which scenario files and the API say it.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::remote::{encoded, failed, list, show};
use super::show::{FAULTS, table};
use super::{Done, Failure};
use crate::api::Client;

/// Faults, and what becomes of them.
#[derive(Debug, Args)]
pub struct FaultArguments {
    /// What to do; those that act are listed otherwise.
    #[command(subcommand)]
    action: Option<FaultAction>,
}

#[derive(Debug, Subcommand)]
enum FaultAction {
    /// Let something go wrong
    Begin {
        /// What, as in a scenario file: '{ link_down: { interfaces: [a] } }'
        fault: String,
        /// End it after this time, such as 10s; without it, it lasts until it is ended
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<String>,
        /// What to call it in events and reports
        #[arg(long)]
        description: Option<String>,
    },
    /// End a fault, or all of them
    End {
        /// Its identifier
        #[arg(required_unless_present = "all")]
        fault: Option<String>,
        /// All that act
        #[arg(long, conflicts_with = "fault")]
        all: bool,
    },
}

pub(super) async fn faults(client: &Client, json: bool, arguments: FaultArguments) -> Done {
    const PATH: &str = "/v1/faults";
    match arguments.action {
        None => list(client, json, PATH, "faults", FAULTS).await,
        Some(FaultAction::Begin {
            fault,
            duration,
            description,
        }) => {
            let fault: Value = serde_saphyr::from_str(&fault).map_err(|error| {
                let report = miette::miette!(
                    help = "write it as in a scenario file: '{{ link_down: {{ interfaces: [a] }} }}'",
                    "the fault cannot be read: {error}"
                );
                Failure::new(Failure::USAGE, report)
            })?;
            let mut body = json!({ "fault": fault });
            for (field, value) in [("duration", duration), ("description", description)] {
                if let Some(value) = value {
                    body[field] = value.into();
                }
            }
            let answer = client.post(PATH, &body).await.map_err(failed)?;
            show(json, &answer, |fault| table(FAULTS, std::slice::from_ref(fault)));
            Ok(())
        }
        Some(FaultAction::End { fault, .. }) => {
            let path = match fault {
                Some(fault) => format!("{PATH}/{}", encoded(&fault)),
                None => PATH.to_owned(),
            };
            let ended = client.delete(&path).await.map_err(failed)?;
            show(json, &ended, |ended| match ended["faults"].as_array() {
                Some(faults) => table(FAULTS, faults),
                None => table(FAULTS, std::slice::from_ref(ended)),
            });
            Ok(())
        }
    }
}
