//! `localvpc nat-gateways`: what hosts of private subnets reach other networks by.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use super::edge::{given, gone};
use super::filters::ListArguments;
use super::remote::{Output, answer_shown, encoded, failed, list};
use super::show::NAT_GATEWAYS;
use super::{Done, names, print};
use crate::api::Client;

/// NAT gateways, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct NatArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<NatAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum NatAction {
    /// Make a NAT gateway
    Create {
        /// Its name
        name: Option<String>,
        /// The subnet of its interface: identifier or name
        #[arg(long, add = ArgValueCompleter::new(names::subnets))]
        subnet: String,
        /// An Elastic IP address: itself, identifier or name; may be given several times
        #[arg(long, add = ArgValueCompleter::new(names::elastic_ips))]
        elastic_ip: Vec<String>,
        /// Make a private one, without Elastic IP address
        #[arg(long, conflicts_with = "elastic_ip")]
        private: bool,
        /// A private address; may be given several times
        #[arg(long)]
        private_ip: Vec<Ipv4Addr>,
    },
    /// Show what a NAT gateway has counted
    Metrics {
        /// The NAT gateway: identifier or name
        #[arg(add = ArgValueCompleter::new(names::nat_gateways))]
        gateway: String,
    },
    /// Delete a NAT gateway; its connections are cut
    Delete {
        /// The NAT gateway: identifier or name
        #[arg(add = ArgValueCompleter::new(names::nat_gateways))]
        gateway: String,
    },
}

pub(super) async fn nat_gateways(client: &Client, output: Output, arguments: NatArguments) -> Done {
    const PATH: &str = "/v1/nat-gateways";
    let of = |gateway: &str| format!("{PATH}/{}", encoded(gateway));
    let answer = match arguments.action {
        None => return list(client, output, &arguments.which.of(PATH), "nat_gateways", &NAT_GATEWAYS).await,
        Some(NatAction::Create {
            name,
            subnet,
            elastic_ip,
            private,
            private_ip,
        }) => {
            let body = given([
                ("name", json!(name)),
                ("subnet", json!(subnet)),
                ("connectivity", json!(if private { "private" } else { "public" })),
                ("elastic_ips", json!(elastic_ip)),
                ("private_ips", json!(private_ip)),
            ]);
            client.post(PATH, &body).await
        }
        Some(NatAction::Metrics { gateway }) => {
            let metrics = client.get(&format!("{}/metrics", of(&gateway))).await.map_err(failed)?;
            print(&metrics_shown(&metrics, output));
            return Ok(());
        }
        Some(NatAction::Delete { gateway }) => {
            client.delete(&of(&gateway)).await.map_err(failed)?;
            return gone(output, &format!("{gateway} is being deleted"));
        }
    };
    let answer = answer.map_err(failed)?;
    answer_shown(client, output, &answer, std::slice::from_ref(&answer), &NAT_GATEWAYS).await
}

fn metrics_shown(metrics: &Value, output: Output) -> String {
    if output.json {
        return format!("{metrics:#}\n");
    }
    let mut text = format!("active_connection_count {}\n", metrics["active_connection_count"]);
    for (name, value) in metrics["counters"].as_object().into_iter().flatten() {
        text.push_str(&format!("{name} {value}\n"));
    }
    text
}
