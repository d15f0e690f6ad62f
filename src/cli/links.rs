//! `localvpc egress-only-internet-gateways` and `localvpc peering-connections`.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::edge::{given, gone};
use super::filters::ListArguments;
use super::remote::{Output, answer_shown, encoded, failed, list};
use super::show::{EGRESS_ONLY_GATEWAYS, PEERINGS};
use super::{Done, names};
use crate::api::Client;

/// Egress-only internet gateways, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EgressOnlyArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<EgressOnlyAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum EgressOnlyAction {
    /// Make an egress-only internet gateway
    Create {
        /// Its name
        name: Option<String>,
        /// Its VPC
        #[arg(long)]
        vpc: String,
    },
    /// Delete an egress-only internet gateway
    Delete {
        /// The gateway: identifier or name
        #[arg(add = ArgValueCompleter::new(names::egress_only_gateways))]
        gateway: String,
    },
}

/// Peering connections, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PeeringArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<PeeringAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum PeeringAction {
    /// Ask for a peering connection
    Create {
        /// Its name
        name: Option<String>,
        /// The VPC that asks
        #[arg(long)]
        requester: String,
        /// The VPC that is asked
        #[arg(long)]
        accepter: String,
        /// Accept it at once
        #[arg(long)]
        accept: bool,
    },
    /// Accept a peering connection
    Accept {
        /// The connection: identifier or name
        #[arg(add = ArgValueCompleter::new(names::peerings))]
        peering: String,
    },
    /// Refuse a peering connection
    Reject {
        /// The connection: identifier or name
        #[arg(add = ArgValueCompleter::new(names::peerings))]
        peering: String,
    },
    /// Delete a peering connection
    Delete {
        /// The connection: identifier or name
        #[arg(add = ArgValueCompleter::new(names::peerings))]
        peering: String,
    },
}

pub(super) async fn egress_only(client: &Client, output: Output, arguments: EgressOnlyArguments) -> Done {
    const PATH: &str = "/v1/egress-only-internet-gateways";
    let answer = match arguments.action {
        None => {
            return list(
                client,
                output,
                &arguments.which.of(PATH),
                "egress_only_internet_gateways",
                &EGRESS_ONLY_GATEWAYS,
            )
            .await;
        }
        Some(EgressOnlyAction::Create { name, vpc }) => {
            let body = given([("name", json!(name)), ("vpc", json!(vpc))]);
            client.post(PATH, &body).await.map_err(failed)?
        }
        Some(EgressOnlyAction::Delete { gateway }) => {
            let path = format!("{PATH}/{}", encoded(&gateway));
            client.delete(&path).await.map_err(failed)?;
            return gone(output, &format!("{gateway} is deleted"));
        }
    };
    answer_shown(
        client,
        output,
        &answer,
        std::slice::from_ref(&answer),
        &EGRESS_ONLY_GATEWAYS,
    )
    .await
}

pub(super) async fn peerings(client: &Client, output: Output, arguments: PeeringArguments) -> Done {
    const PATH: &str = "/v1/peering-connections";
    let of = |peering: &str| format!("{PATH}/{}", encoded(peering));
    let answer = match arguments.action {
        None => {
            return list(
                client,
                output,
                &arguments.which.of(PATH),
                "peering_connections",
                &PEERINGS,
            )
            .await;
        }
        Some(PeeringAction::Create {
            name,
            requester,
            accepter,
            accept,
        }) => {
            let body = given([
                ("name", json!(name)),
                ("requester", json!(requester)),
                ("accepter", json!(accepter)),
                ("accept", json!(accept)),
            ]);
            client.post(PATH, &body).await
        }
        Some(PeeringAction::Accept { peering }) => client.post(&format!("{}/accept", of(&peering)), &json!({})).await,
        Some(PeeringAction::Reject { peering }) => client.post(&format!("{}/reject", of(&peering)), &json!({})).await,
        Some(PeeringAction::Delete { peering }) => {
            client.delete(&of(&peering)).await.map_err(failed)?;
            return gone(output, &format!("{peering} is deleted"));
        }
    };
    let answer = answer.map_err(failed)?;
    answer_shown(client, output, &answer, std::slice::from_ref(&answer), &PEERINGS).await
}
