//! `localvpc block-public-access`: what gateways to the outside let through, for all VPCs.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::edge::{given, gone};
use super::remote::{Output, encoded, failed};
use super::{Done, print};
use crate::api::Client;

/// What is blocked, and what becomes of it.
#[derive(Debug, Args)]
pub struct BlockArguments {
    /// What to do; it is shown otherwise.
    #[command(subcommand)]
    action: Option<BlockAction>,
}

#[derive(Debug, Subcommand)]
enum BlockAction {
    /// Set what is blocked
    Set {
        /// The mode
        #[arg(value_parser = ["off", "block-bidirectional", "block-ingress"])]
        mode: String,
    },
    /// Exclude a VPC or a subnet
    Exclude {
        /// The VPC
        #[arg(long, required_unless_present = "subnet", conflicts_with = "subnet")]
        vpc: Option<String>,
        /// The subnet
        #[arg(long)]
        subnet: Option<String>,
        /// What it lets through
        #[arg(long, default_value = "allow-bidirectional", value_parser = ["allow-bidirectional", "allow-egress"])]
        mode: String,
    },
    /// End an exclusion
    Include {
        /// Its identifier
        exclusion: String,
    },
}

pub(super) async fn block_public_access(client: &Client, output: Output, arguments: BlockArguments) -> Done {
    const PATH: &str = "/v1/block-public-access";
    match arguments.action {
        None => {}
        Some(BlockAction::Set { mode }) => {
            client.put(PATH, &json!({ "mode": mode })).await.map_err(failed)?;
        }
        Some(BlockAction::Exclude { vpc, subnet, mode }) => {
            let body = given([("vpc", json!(vpc)), ("subnet", json!(subnet)), ("mode", json!(mode))]);
            client
                .post(&format!("{PATH}/exclusions"), &body)
                .await
                .map_err(failed)?;
        }
        Some(BlockAction::Include { exclusion }) => {
            let path = format!("{PATH}/exclusions/{}", encoded(&exclusion));
            client.delete(&path).await.map_err(failed)?;
            return gone(output, &format!("{exclusion} is excluded no longer"));
        }
    }
    let now = client.get(PATH).await.map_err(failed)?;
    print(&shown(&now, output));
    Ok(())
}

fn shown(block: &Value, output: Output) -> String {
    if output.json {
        return format!("{block:#}\n");
    }
    let mut text = format!("{}\n", block["mode"].as_str().unwrap_or_default());
    for exclusion in block["exclusions"].as_array().into_iter().flatten() {
        let field = |name: &str| exclusion[name].as_str().unwrap_or_default();
        let of = [field("vpc_id"), field("subnet_id")].concat();
        text.push_str(&format!("{}  {of}  {}\n", field("id"), field("mode")));
    }
    text
}
