//! Implements `explain`: what becomes of a packet, step by step.

use std::net::IpAddr;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value};

use super::super::show::text;
use super::super::{Done, Failure, names};
use super::{failed, show};
use crate::api::Client;
use crate::wire::MacAddr;

/// A packet to explain.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The interface that sends it: identifier or name
    #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
    from: String,
    /// The address that it goes to, or an interface: identifier or name
    #[arg(long, required_unless_present = "frame")]
    to: Option<String>,
    /// The address that it comes from
    #[arg(long)]
    source: Option<IpAddr>,
    /// What it carries
    #[arg(long, value_enum)]
    protocol: Option<Carried>,
    /// Its source port
    #[arg(long)]
    source_port: Option<u16>,
    /// Its destination port
    #[arg(long)]
    port: Option<u16>,
    /// The MAC address that a static neighbor entry of the host holds
    #[arg(long)]
    mac: Option<MacAddr>,
    /// Explain the reply as well
    #[arg(long)]
    both: bool,
    /// The whole frame in hexadecimal
    #[arg(long, conflicts_with_all = ["to", "source", "protocol", "source_port", "port", "mac", "both"])]
    frame: Option<String>,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Carried {
    Icmp,
    Udp,
    Tcp,
}

impl Carried {
    fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

pub(super) async fn explain(client: &Client, json: bool, arguments: ExplainArguments) -> Done {
    let mut body = Map::new();
    body.insert("from".into(), arguments.from.into());
    let texts = [
        ("to", arguments.to),
        ("source", arguments.source.map(|address| address.to_string())),
        (
            "protocol",
            arguments.protocol.map(|protocol| protocol.name().to_owned()),
        ),
        ("destination_mac", arguments.mac.map(|mac| mac.to_string())),
        ("frame", arguments.frame),
    ];
    for (field, value) in texts {
        body.extend(value.map(|value| (field.to_owned(), Value::from(value))));
    }
    for (field, value) in [
        ("source_port", arguments.source_port),
        ("destination_port", arguments.port),
    ] {
        body.extend(value.map(|value| (field.to_owned(), Value::from(value))));
    }
    if arguments.both {
        body.insert("both".into(), true.into());
    }
    let answer = client.post("/v1/explain", &body).await.map_err(failed)?;
    show(json, &answer, explanation);
    if answer["arrives"] == true {
        Ok(())
    } else {
        Err(Failure::silent(Failure::REFUSED))
    }
}

/// The frames with their stages, as text.
fn explanation(answer: &Value) -> String {
    let mut shown = way(answer);
    if answer["reply"].is_object() {
        shown.push_str("\nThe way back\n\n");
        shown.push_str(&way(&answer["reply"]));
    }
    shown
}

/// One direction of an explanation.
fn way(answer: &Value) -> String {
    let mut shown = String::new();
    for frame in answer["frames"].as_array().into_iter().flatten() {
        shown.push_str(&format!("{}\n", text(frame, "purpose")));
        for step in frame["steps"].as_array().into_iter().flatten() {
            shown.push_str(&format!("  {:18} {}\n", text(step, "stage"), text(step, "description")));
        }
        let verdict = &frame["verdict"];
        shown.push_str(&format!(
            "  {:18} {}\n\n",
            text(verdict, "action"),
            text(verdict, "description")
        ));
    }
    shown + text(answer, "summary") + "\n"
}
