//! Implements `mappings`: who has which address, and edits of that.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::super::filters::ListArguments;
use super::super::show::MAPPINGS;
use super::super::{Done, names};
use super::{Output, failed, list, show, with_query};
use crate::api::Client;

/// Selects mappings, and edits them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct MappingArguments {
    #[command(subcommand)]
    action: Option<MappingAction>,
    /// Of this subnet only
    #[arg(long, add = ArgValueCompleter::new(names::subnets))]
    subnet: Option<String>,
    /// Of this interface only
    #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
    interface: Option<String>,
    /// The one that this address belongs to
    #[arg(long)]
    address: Option<String>,
    /// Those inside this network
    #[arg(long)]
    prefix: Option<String>,
    #[command(flatten)]
    which: ListArguments,
}

/// Edits of the mapping table.
#[derive(Debug, Subcommand)]
pub(super) enum MappingAction {
    /// Assign an address or delegated prefix that has no owner
    Assign {
        /// The address or prefix
        address: String,
        /// The interface that gets it
        #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
        to: String,
    },
    /// Move an address or delegated prefix to another interface, in one step
    Move {
        /// The address or prefix
        address: String,
        /// The interface that gets it
        #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
        to: String,
    },
    /// Take an address or delegated prefix away
    Unassign {
        /// The address or prefix
        address: String,
        /// The interface that loses it
        #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
        from: String,
    },
}

pub(super) async fn mappings(client: &Client, output: Output, arguments: MappingArguments) -> Done {
    let edit = match arguments.action {
        None => {
            let mut filter = vec![
                ("subnet", arguments.subnet),
                ("interface", arguments.interface),
                ("address", arguments.address),
                ("prefix", arguments.prefix),
            ];
            filter.extend(arguments.which.parameters());
            return list(
                client,
                output,
                &with_query("/v1/mappings", &filter),
                "mappings",
                &MAPPINGS,
            )
            .await;
        }
        Some(MappingAction::Assign { address, to }) => {
            json!({ "op": "assign", "address": address, "interface": to })
        }
        Some(MappingAction::Move { address, to }) => {
            json!({ "op": "assign", "address": address, "interface": to, "move": true })
        }
        Some(MappingAction::Unassign { address, from }) => {
            json!({ "op": "unassign", "address": address, "interface": from })
        }
    };
    let answer = client.post(BULK, &json!({ "edits": [edit] })).await.map_err(failed)?;
    show(output.json, &answer, |answer| {
        let count = |what: &str| answer[what].as_u64().unwrap_or(0);
        format!(
            "{} assigned, {} moved, {} unassigned\n",
            count("assigned"),
            count("moved"),
            count("unassigned")
        )
    });
    Ok(())
}

/// Path of lists of edits.
const BULK: &str = "/v1/mappings/bulk";
