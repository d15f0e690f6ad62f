//! Implements `localvpc graph`: draws the network of a file or of a running server, or shows which instance reaches
//! which.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use hyper::Method;
use serde_json::{Value, json};

use super::remote::{Remote, failed, fetch};
use super::show::pretty;
use super::{Done, Failure, print};
use crate::api::Client;
use crate::file::template::Scope;
use crate::report::graph::Graph;
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
        return runtime.block_on(reach(&client, remote.json));
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
async fn reach(client: &Client, as_json: bool) -> Done {
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
                ways.push(json!({
                    "family": family, "from": from, "to": to, "address": target, "verdict": verdict(&answer),
                }));
            }
        }
    }
    if as_json {
        print(&pretty(&json!({ "ways": ways })));
        return Ok(());
    }
    for family in ["IPv4", "IPv6"] {
        let of_family: Vec<&Value> = ways.iter().filter(|way| way["family"] == family).collect();
        if !of_family.is_empty() {
            print(&format!(
                "{family}: from the instance at the left to that at the top\n{}\n",
                matrix(&of_family)
            ));
        }
    }
    Ok(())
}

/// `yes`, or the drop reason of the last frame.
fn verdict(answer: &Value) -> String {
    if answer["arrives"] == true {
        return "yes".to_owned();
    }
    let frames = answer["frames"].as_array();
    let Some(last) = frames.and_then(|frames| frames.last()) else {
        return "unknown".to_owned();
    };
    let why = last["verdict"]["reason"]
        .as_str()
        .or(last["verdict"]["action"].as_str());
    why.unwrap_or("unknown").to_owned()
}

fn matrix(ways: &[&Value]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in ways
        .iter()
        .flat_map(|way| [way["from"].as_str(), way["to"].as_str()])
        .flatten()
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_header(std::iter::once(&"").chain(&names));
    for from in &names {
        let cells = names.iter().map(|to| {
            let way = ways.iter().find(|way| way["from"] == **from && way["to"] == **to);
            match way {
                Some(way) => way["verdict"].as_str().unwrap_or_default(),
                None => "-",
            }
        });
        table.add_row(std::iter::once(*from).chain(cells));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_has_a_row_for_each_sender_and_a_column_for_each_receiver() {
        let way = |from: &str, to: &str, verdict: &str| json!({ "from": from, "to": to, "verdict": verdict });
        let ways = [way("a", "b", "yes"), way("b", "a", "no_route")];
        let shown = matrix(&ways.iter().collect::<Vec<_>>());
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [vec!["a", "b"], vec!["a", "-", "yes"], vec!["b", "no_route", "-"]]
        );
    }

    #[test]
    fn a_verdict_is_yes_or_the_reason_of_the_drop() {
        assert_eq!(verdict(&json!({ "arrives": true, "frames": [] })), "yes");
        for (frames, expected) in [
            (
                json!([{ "verdict": { "action": "reply" } }, { "verdict": { "action": "drop", "reason": "no_route" } }]),
                "no_route",
            ),
            (json!([]), "unknown"),
        ] {
            assert_eq!(verdict(&json!({ "frames": frames })), expected);
        }
    }
}
