//! Implements `localvpc route-tables`: shows route tables and edits single routes.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use super::filters::ListArguments;
use super::remote::{Output, answer_shown, encoded, failed, list};
use super::show::{ROUTE_TABLES, ROUTES};
use super::{Done, names};
use crate::api::Client;

/// Route tables.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RouteTableArguments {
    /// What to do with a route; without it all tables are listed.
    #[command(subcommand)]
    action: Option<RouteAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum RouteAction {
    /// Show the routes of one table
    Show {
        /// The route table: identifier or name
        #[arg(add = ArgValueCompleter::new(names::route_tables))]
        table: String,
    },
    /// Add a route
    Add(RouteArguments),
    /// Give the route of a destination another target, in one step
    Replace(RouteArguments),
    /// Take a route away
    Remove {
        /// The route table: identifier or name
        #[arg(add = ArgValueCompleter::new(names::route_tables))]
        table: String,
        /// Its destination, such as 192.0.2.0/24
        destination: String,
    },
}

#[derive(Debug, Args)]
struct RouteArguments {
    /// The route table: identifier or name
    #[arg(add = ArgValueCompleter::new(names::route_tables))]
    table: String,
    /// Its destination, such as 192.0.2.0/24
    destination: String,
    /// Its target: local, blackhole, or an interface by identifier or name
    #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
    to: String,
}

pub(super) async fn route_tables(client: &Client, output: Output, arguments: RouteTableArguments) -> Done {
    const PATH: &str = "/v1/route-tables";
    let table_path = |table: &str| format!("{PATH}/{}", encoded(table));
    let (table, changed) = match arguments.action {
        None => return list(client, output, &arguments.which.of(PATH), "route_tables", &ROUTE_TABLES).await,
        Some(RouteAction::Show { table }) => (table, Ok(Value::Null)),
        Some(RouteAction::Add(route)) => {
            let path = format!("{}/routes", table_path(&route.table));
            let answer = client.post(&path, &route.body()).await;
            (route.table, answer)
        }
        Some(RouteAction::Replace(route)) => {
            let path = format!("{}/routes", table_path(&route.table));
            let answer = client.put(&path, &route.body()).await;
            (route.table, answer)
        }
        Some(RouteAction::Remove { table, destination }) => {
            let path = format!("{}/routes/{}", table_path(&table), encoded(&destination));
            let answer = client.delete(&path).await;
            (table, answer)
        }
    };
    changed.map_err(failed)?;
    let answer = client.get(&table_path(&table)).await.map_err(failed)?;
    let routes = answer["routes"].as_array().map_or(&[][..], Vec::as_slice);
    answer_shown(client, output, &answer, routes, &ROUTES).await
}

impl RouteArguments {
    fn body(&self) -> Value {
        json!({ "destination": self.destination, "target": self.to })
    }
}
