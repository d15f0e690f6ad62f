//! Implements `localvpc flow-logs`: whose flows are recorded, and the records.

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::edge::{given, gone};
use super::filters::ListArguments;
use super::remote::{Output, answer_shown, copied, encoded, failed, list, with_query};
use super::show::FLOW_LOGS;
use super::{Done, names};
use crate::api::Client;

/// Flow logs, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FlowLogArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<FlowLogAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum FlowLogAction {
    /// Create a flow log, of one VPC, one subnet or one interface
    Create {
        /// Its name
        name: Option<String>,
        #[command(flatten)]
        of: Resource,
        /// Which flows are recorded
        #[arg(long, value_enum, default_value_t)]
        traffic: Traffic,
        /// The fields of a record, as in '${srcaddr} ${dstaddr} ${action}'; AWS's default if left out
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// The longest time that one record covers: 60s, 10m, or less for tests
        #[arg(long, value_name = "TIME")]
        interval: Option<String>,
        /// Write records to the server's standard output
        #[arg(long, conflicts_with = "file")]
        stdout: bool,
        /// Write records to a file of this name in the folder that the server was started with (--flow-logs)
        #[arg(long, value_name = "NAME")]
        file: Option<String>,
    },
    /// Show the records of a flow log
    Records {
        /// The flow log: identifier or name
        #[arg(add = ArgValueCompleter::new(names::flow_logs))]
        flow_log: String,
        /// Go on with records to come
        #[arg(short, long)]
        follow: bool,
        /// Show what AWS does not record: verdicts, drop reasons and rules, as JSON
        #[arg(long)]
        details: bool,
    },
    /// Delete a flow log
    Delete {
        /// The flow log: identifier or name
        #[arg(add = ArgValueCompleter::new(names::flow_logs))]
        flow_log: String,
    },
}

/// Whose flows are recorded.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Resource {
    /// Of all interfaces of a VPC: identifier or name
    #[arg(long, add = ArgValueCompleter::new(names::vpcs))]
    vpc: Option<String>,
    /// Of all interfaces of a subnet: identifier or name
    #[arg(long, add = ArgValueCompleter::new(names::subnets))]
    subnet: Option<String>,
    /// Of an interface: identifier or name
    #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
    interface: Option<String>,
}

/// Which flows.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Traffic {
    /// Those that rules let through
    Accept,
    /// Those that rules denied
    Reject,
    /// All
    #[default]
    All,
}

pub(super) async fn flow_logs(client: &Client, output: Output, arguments: FlowLogArguments) -> Done {
    const PATH: &str = "/v1/flow-logs";
    let of = |log: &str| format!("{PATH}/{}", encoded(log));
    match arguments.action {
        None => list(client, output, &arguments.which.of(PATH), "flow_logs", &FLOW_LOGS).await,
        Some(FlowLogAction::Create {
            name,
            of,
            traffic,
            format,
            interval,
            stdout,
            file,
        }) => {
            let traffic = match traffic {
                Traffic::Accept => "ACCEPT",
                Traffic::Reject => "REJECT",
                Traffic::All => "ALL",
            };
            let destination = match file {
                Some(file) => json!({ "file": file }),
                None if stdout => json!("stdout"),
                None => json!("memory"),
            };
            let body = given([
                ("name", json!(name)),
                ("vpc", json!(of.vpc)),
                ("subnet", json!(of.subnet)),
                ("interface", json!(of.interface)),
                ("traffic", json!(traffic)),
                ("destination", destination),
                ("log_format", json!(format)),
                ("interval", json!(interval)),
            ]);
            let answer = client.post(PATH, &body).await.map_err(failed)?;
            answer_shown(client, output, &answer, std::slice::from_ref(&answer), &FLOW_LOGS).await
        }
        Some(FlowLogAction::Records {
            flow_log,
            follow,
            details,
        }) => {
            let kind = if details { "details" } else { "records" };
            let path = format!("{}/{kind}", of(&flow_log));
            let path = with_query(&path, &[("follow", follow.then(|| "true".to_owned()))]);
            copied(client, &path, &mut std::io::stdout().lock(), "the records").await
        }
        Some(FlowLogAction::Delete { flow_log }) => {
            client.delete(&of(&flow_log)).await.map_err(failed)?;
            gone(output, &format!("{flow_log} is deleted"))
        }
    }
}
