//! `localvpc internet-gateways`, `localvpc elastic-ips` and `localvpc outside`: the edge of VPCs and what is beyond it.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value, json};

use super::filters::ListArguments;
use super::remote::{Output, answer_shown, encoded, failed, list};
use super::show::{ELASTIC_IPS, INTERNET_GATEWAYS, OUTSIDE};
use super::{Done, names, print};
use crate::api::Client;

/// Internet gateways, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GatewayArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<GatewayAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum GatewayAction {
    /// Make an internet gateway
    Create {
        /// Its name
        name: Option<String>,
        /// The VPC that it is attached to at once
        #[arg(long)]
        vpc: Option<String>,
    },
    /// Attach an internet gateway to a VPC
    Attach {
        /// The internet gateway: identifier or name
        #[arg(add = ArgValueCompleter::new(names::internet_gateways))]
        gateway: String,
        /// The VPC: identifier or name
        #[arg(long)]
        vpc: String,
    },
    /// Detach an internet gateway from its VPC
    Detach {
        /// The internet gateway: identifier or name
        #[arg(add = ArgValueCompleter::new(names::internet_gateways))]
        gateway: String,
    },
    /// Delete an internet gateway that is attached to no VPC
    Delete {
        /// The internet gateway: identifier or name
        #[arg(add = ArgValueCompleter::new(names::internet_gateways))]
        gateway: String,
    },
}

/// Elastic IP addresses, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AddressArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<AddressAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum AddressAction {
    /// Allocate an address
    Allocate {
        /// Its name
        name: Option<String>,
        /// The address; a free one if left out
        #[arg(long)]
        public: Option<Ipv4Addr>,
    },
    /// Associate an address with a private one, in place of the one that it stands for
    Associate {
        /// The address: itself, identifier or name
        #[arg(add = ArgValueCompleter::new(names::elastic_ips))]
        address: String,
        /// The interface: identifier or name
        #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
        to: String,
        /// The private address; the primary one if left out
        #[arg(long)]
        private: Option<Ipv4Addr>,
        /// Refuse it where the address is associated already
        #[arg(long)]
        no_reassociation: bool,
    },
    /// End the association of an address
    Disassociate {
        /// The address: itself, identifier or name
        #[arg(add = ArgValueCompleter::new(names::elastic_ips))]
        address: String,
    },
    /// Release an address that is associated with nothing
    Release {
        /// The address: itself, identifier or name
        #[arg(add = ArgValueCompleter::new(names::elastic_ips))]
        address: String,
    },
}

/// Hosts of the outside, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct OutsideArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<OutsideAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum OutsideAction {
    /// Make a host beyond all internet gateways
    Add {
        /// Its name, which is also its host name
        name: String,
        /// An IPv4 address of 198.51.100.0/24; one is chosen if left out
        #[arg(long)]
        ipv4: Vec<Ipv4Addr>,
        /// An IPv6 address of 3fff:198::/64; one is chosen if left out
        #[arg(long)]
        ipv6: Vec<Ipv6Addr>,
    },
    /// Take a host away
    Remove {
        /// Its name
        #[arg(add = ArgValueCompleter::new(names::outside))]
        name: String,
    },
}

/// The fields that are given.
pub(super) fn given<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

pub(super) fn gone(output: Output, what: &str) -> Done {
    if !output.json {
        print(&format!("{what}\n"));
    }
    Ok(())
}

pub(super) async fn internet_gateways(client: &Client, output: Output, arguments: GatewayArguments) -> Done {
    const PATH: &str = "/v1/internet-gateways";
    let of = |gateway: &str| format!("{PATH}/{}", encoded(gateway));
    let answer = match arguments.action {
        None => {
            return list(
                client,
                output,
                &arguments.which.of(PATH),
                "internet_gateways",
                &INTERNET_GATEWAYS,
            )
            .await;
        }
        Some(GatewayAction::Create { name, vpc }) => {
            client
                .post(PATH, &given([("name", json!(name)), ("vpc", json!(vpc))]))
                .await
        }
        Some(GatewayAction::Attach { gateway, vpc }) => {
            client
                .post(&format!("{}/attach", of(&gateway)), &json!({ "vpc": vpc }))
                .await
        }
        Some(GatewayAction::Detach { gateway }) => client.post(&format!("{}/detach", of(&gateway)), &json!({})).await,
        Some(GatewayAction::Delete { gateway }) => {
            client.delete(&of(&gateway)).await.map_err(failed)?;
            return gone(output, &format!("{gateway} is deleted"));
        }
    };
    let answer = answer.map_err(failed)?;
    answer_shown(
        client,
        output,
        &answer,
        std::slice::from_ref(&answer),
        &INTERNET_GATEWAYS,
    )
    .await
}

pub(super) async fn elastic_ips(client: &Client, output: Output, arguments: AddressArguments) -> Done {
    const PATH: &str = "/v1/elastic-ips";
    let of = |address: &str| format!("{PATH}/{}", encoded(address));
    let answer = match arguments.action {
        None => return list(client, output, &arguments.which.of(PATH), "elastic_ips", &ELASTIC_IPS).await,
        Some(AddressAction::Allocate { name, public }) => {
            client
                .post(PATH, &given([("name", json!(name)), ("public_ip", json!(public))]))
                .await
        }
        Some(AddressAction::Associate {
            address,
            to,
            private,
            no_reassociation,
        }) => {
            let body = given([
                ("interface", json!(to)),
                ("private_ip", json!(private)),
                ("allow_reassociation", json!(!no_reassociation)),
            ]);
            client.post(&format!("{}/associate", of(&address)), &body).await
        }
        Some(AddressAction::Disassociate { address }) => {
            client.post(&format!("{}/disassociate", of(&address)), &json!({})).await
        }
        Some(AddressAction::Release { address }) => {
            client.delete(&of(&address)).await.map_err(failed)?;
            return gone(output, &format!("{address} is released"));
        }
    };
    let answer = answer.map_err(failed)?;
    answer_shown(client, output, &answer, std::slice::from_ref(&answer), &ELASTIC_IPS).await
}

pub(super) async fn outside(client: &Client, output: Output, arguments: OutsideArguments) -> Done {
    const PATH: &str = "/v1/outside";
    let answer = match arguments.action {
        None => return list(client, output, &arguments.which.of(PATH), "outside", &OUTSIDE).await,
        Some(OutsideAction::Add { name, ipv4, ipv6 }) => {
            let some = |list: Value| if list == json!([]) { Value::Null } else { list };
            let body = given([
                ("name", json!(name)),
                ("ipv4", some(json!(ipv4))),
                ("ipv6", some(json!(ipv6))),
            ]);
            client.post(PATH, &body).await
        }
        Some(OutsideAction::Remove { name }) => {
            client
                .delete(&format!("{PATH}/{}", encoded(&name)))
                .await
                .map_err(failed)?;
            return gone(output, &format!("{name} is taken away"));
        }
    };
    let answer = answer.map_err(failed)?;
    answer_shown(client, output, &answer, std::slice::from_ref(&answer), &OUTSIDE).await
}
