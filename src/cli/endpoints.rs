//! `localvpc vpc-endpoints`.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::edge::{given, gone};
use super::filters::ListArguments;
use super::remote::{Output, answer_shown, encoded, failed, list};
use super::show::VPC_ENDPOINTS;
use super::{Done, names};
use crate::api::Client;

/// Gateway endpoints, and what becomes of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EndpointArguments {
    /// What to do with one; all are listed otherwise.
    #[command(subcommand)]
    action: Option<EndpointAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum EndpointAction {
    /// Make a gateway endpoint
    Create {
        /// Its name
        name: Option<String>,
        /// Its VPC
        #[arg(long, add = ArgValueCompleter::new(names::vpcs))]
        vpc: String,
        /// The service: s3 or dynamodb
        #[arg(long)]
        service: String,
        /// A route table that is to route to it; several times for several
        #[arg(long = "route-table", value_name = "TABLE", add = ArgValueCompleter::new(names::route_tables))]
        route_tables: Vec<String>,
    },
    /// Set the route tables that route to a gateway endpoint
    Modify {
        /// The endpoint: identifier or name
        #[arg(add = ArgValueCompleter::new(names::vpc_endpoints))]
        endpoint: String,
        /// A route table that is to route to it; several times for several, and none of the others does
        #[arg(long = "route-table", value_name = "TABLE", add = ArgValueCompleter::new(names::route_tables))]
        route_tables: Vec<String>,
    },
    /// Delete a gateway endpoint, and its routes
    Delete {
        /// The endpoint: identifier or name
        #[arg(add = ArgValueCompleter::new(names::vpc_endpoints))]
        endpoint: String,
    },
}

pub(super) async fn vpc_endpoints(client: &Client, output: Output, arguments: EndpointArguments) -> Done {
    const PATH: &str = "/v1/vpc-endpoints";
    let of = |endpoint: &str| format!("{PATH}/{}", encoded(endpoint));
    let answer = match arguments.action {
        None => {
            return list(
                client,
                output,
                &arguments.which.of(PATH),
                "vpc_endpoints",
                &VPC_ENDPOINTS,
            )
            .await;
        }
        Some(EndpointAction::Create {
            name,
            vpc,
            service,
            route_tables,
        }) => {
            let body = given([
                ("name", json!(name)),
                ("vpc", json!(vpc)),
                ("service", json!(service)),
                ("route_tables", json!(route_tables)),
            ]);
            client.post(PATH, &body).await.map_err(failed)?
        }
        Some(EndpointAction::Modify { endpoint, route_tables }) => {
            let body = json!({ "route_tables": route_tables });
            client.patch(&of(&endpoint), &body).await.map_err(failed)?
        }
        Some(EndpointAction::Delete { endpoint }) => {
            client.delete(&of(&endpoint)).await.map_err(failed)?;
            return gone(output, &format!("{endpoint} is deleted"));
        }
    };
    answer_shown(client, output, &answer, std::slice::from_ref(&answer), &VPC_ENDPOINTS).await
}
