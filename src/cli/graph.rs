//! Implements `localvpc graph`: draws the network of a file or of a running server, or shows which instance reaches
//! which.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};

use super::remote::{Remote, failed, fetch};
use super::show::pretty;
use super::{Done, Failure, print};
use crate::api::Client;
use crate::file::template::Scope;
use crate::report::graph::Graph;
use crate::report::reach::{self, Way};
use crate::topology::Layout;

/// What to draw, and how.
#[derive(Debug, Args)]
pub(super) struct GraphArguments {
    /// A topology file, or a scenario file, of which the topology is taken; the network of the running server if left out
    file: Option<PathBuf>,
    /// The language of the drawing
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// A table of which instance reaches which instead, as the running server decides about an echo request
    #[arg(long, conflicts_with_all = ["file", "format"])]
    reach: bool,
}

/// Languages for drawings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A picture that browsers show
    #[default]
    Svg,
    /// For Graphviz
    Dot,
    /// For Markdown, as GitHub and GitLab draw it
    Mermaid,
}

/// Prints the drawing, or with `--json` its content.
pub(super) fn graph(remote: &Remote, arguments: &GraphArguments) -> Done {
    if arguments.reach {
        let (client, runtime) = remote.connect()?;
        return runtime.block_on(show_reach(&client, remote.json));
    }
    let topology = match &arguments.file {
        Some(file) => super::topology::read(file)?.1,
        None => {
            let running = super::topology::ask(remote, Method::GET, "/v1/topology", None)?;
            crate::topology::format::read_topology("the server's network", &running.to_string())
                .map_err(|error| Failure::new(Failure::USAGE, error))?
        }
    };
    let layout = Layout::desired(&topology, &Scope::default());
    let layout = layout.map_err(|refusal| Failure::new(Failure::REFUSED, miette::miette!("{refusal}")))?;
    let graph = Graph::of(&layout);
    print(&match (remote.json, arguments.format) {
        (true, _) => pretty(&json!(graph)),
        (false, Format::Svg) => graph.svg(),
        (false, Format::Dot) => graph.dot(),
        (false, Format::Mermaid) => graph.mermaid(),
    });
    Ok(())
}

/// Explains an echo request from each instance to each other one, in each family that both have.
async fn show_reach(client: &Client, as_json: bool) -> Done {
    let instances = fetch(client, "/v1/instances", "instances").await?;
    let interfaces = fetch(client, "/v1/interfaces", "interfaces").await?;
    let hosts: Vec<(String, &Value)> = instances
        .iter()
        .filter_map(|instance| {
            let interface = interfaces.iter().find(|one| one["id"] == instance["interface_id"])?;
            Some((instance["name"].as_str()?.to_owned(), interface))
        })
        .collect();
    let mut ways = Vec::new();
    for (family, field) in [("IPv4", "ipv4_addresses"), ("IPv6", "ipv6_addresses")] {
        for (from, sender) in &hosts {
            for (to, receiver) in &hosts {
                let (Some(_), Some(target)) = (sender[field][0].as_str(), receiver[field][0].as_str()) else {
                    continue;
                };
                if from == to {
                    continue;
                }
                let body = json!({ "from": sender["id"], "to": target });
                let answer = client.post("/v1/explain", &body).await.map_err(failed)?;
                ways.push(Way {
                    family: family.to_owned(),
                    from: from.clone(),
                    to: to.clone(),
                    address: target.to_owned(),
                    verdict: reach::verdict(&answer),
                });
            }
        }
    }
    if as_json {
        print(&pretty(&json!({ "ways": ways })));
        return Ok(());
    }
    for section in reach::sections(&ways) {
        print(&format!("{}\n{}\n", section.title, section.body));
    }
    Ok(())
}
