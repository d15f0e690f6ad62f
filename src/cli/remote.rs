//! Implements the commands that query a running server: lists, explanations, events.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use hyper::Method;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use super::block::{BlockArguments, block_public_access};
use super::capture::{CaptureArguments, capture};
use super::edge::{AddressArguments, GatewayArguments, OutsideArguments, elastic_ips, internet_gateways, outside};
use super::endpoints::{EndpointArguments, vpc_endpoints};
use super::faults::{FaultArguments, faults};
use super::filters::ListArguments;
use super::firewall::{
    NetworkAclArguments, PrefixListArguments, SecurityGroupArguments, network_acls, prefix_lists, security_groups,
    set_groups,
};
use super::flow_logs::{FlowLogArguments, flow_logs};
use super::links::{EgressOnlyArguments, PeeringArguments, egress_only, peerings};
use super::nat::{NatArguments, nat_gateways};
use super::routes::{RouteTableArguments, route_tables};
use super::show::{
    DHCP_OPTIONS, INSTANCES, INTERFACES, Names, PORTS, REVISIONS, RUNS, SCENARIOS, SUBNETS, VPCS, View, cell, outline,
    pretty, table, text,
};
use super::{Done, Failure, names, print};
use crate::api::{Client, ClientError, Token, token};
use crate::control::Point;
use crate::lab::api::SOCKET;

mod explain;
mod mappings;

pub use explain::ExplainArguments;
use explain::explain;
pub use mappings::MappingArguments;
use mappings::mappings;

/// Timeout of a server on this machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The server to use.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// The server: http://HOST:PORT, HOST:PORT or unix:PATH
    ///
    /// http://127.0.0.1:8460 if left out.
    #[arg(long, global = true, env = "LOCALVPC_SERVER")]
    pub server: Option<String>,
    /// A file whose first line is the token of the server that is asked, or started; only you may be able to read it
    ///
    /// A server that is started without one makes its own, which its user's commands find by themselves.
    #[arg(long, global = true, env = "LOCALVPC_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Show identifiers as well as names in tables
    #[arg(long, global = true)]
    pub wide: bool,
    /// Ask about the network as it was: after this revision, or at this time, as in 2026-01-31T12:00:00Z
    #[arg(long, global = true, value_name = "REVISION|TIME")]
    pub at: Option<Point>,
}

impl Remote {
    /// From environment variables alone, for code without a command line.
    pub(super) fn of_environment() -> Self {
        Self {
            server: std::env::var("LOCALVPC_SERVER")
                .ok()
                .filter(|server| !server.is_empty()),
            token_file: std::env::var_os("LOCALVPC_TOKEN_FILE").map(PathBuf::from),
            json: false,
            wide: false,
            at: None,
        }
    }

    /// The token, if a file is given.
    pub fn token(&self) -> Result<Option<Token>, Failure> {
        let token = self.token_file.as_deref().map(Token::from_file).transpose();
        token.map_err(|error| Failure::new(Failure::USAGE, miette::miette!("{error}")))
    }

    /// Whether a server answers at the default address.
    pub(super) fn answers(&self) -> bool {
        let Ok((client, runtime)) = self.connect() else {
            return false;
        };
        let asked = client.get("/healthz");
        let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        // A server that refuses is running.
        matches!(answer, Ok(Ok(_) | Err(ClientError::Problem(..))))
    }

    /// A client of the server, and the runtime of its requests.
    pub(super) fn connect(&self) -> Result<(Client, tokio::runtime::Runtime), Failure> {
        // Inside a host the server is at its socket, whatever the environment says.
        let inside = || Path::new(SOCKET).exists().then(|| format!("unix:{SOCKET}"));
        let server = self.server.clone().or_else(inside);
        let server = server.as_deref().unwrap_or(super::server::DEFAULT_URL);
        let token = match self.token()? {
            Some(token) => Some(token),
            // The token that a server wrote at its start, if there is one.
            None => token::of_server(server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/')),
        };
        let mut client = Client::connect(server, token).map_err(failed)?;
        if let Some(at) = self.at {
            client = client.looking_back(&at.to_string());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}")))?;
        Ok((client, runtime))
    }
}

/// The queries.
#[derive(Debug, Subcommand)]
pub enum Query {
    /// List VPCs
    Vpcs(ListArguments),
    /// List subnets
    Subnets(ListArguments),
    /// List network interfaces; or switch the source/destination check of one, or give it other security groups
    #[command(args_conflicts_with_subcommands = true)]
    Interfaces {
        #[command(flatten)]
        which: ListArguments,
        /// What to do with one; all are listed otherwise.
        #[command(subcommand)]
        action: Option<InterfaceAction>,
    },
    /// List mappings: which interface owns an address or delegated prefix; or edit them
    Mappings(MappingArguments),
    /// List ports of the switch with what they counted
    Ports {
        /// Of this interface only
        #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
        interface: Option<String>,
    },
    /// List sets of DHCP options
    DhcpOptions(ListArguments),
    /// List instances of the lab
    Instances(ListArguments),
    /// List scenarios that the server keeps
    Scenarios(ListArguments),
    /// List runs of scenarios on the server
    Runs(ListArguments),
    /// List route tables, or edit the routes of one
    RouteTables(RouteTableArguments),
    /// List security groups, or edit the rules of one
    SecurityGroups(SecurityGroupArguments),
    /// List network ACLs, or edit the entries of one
    NetworkAcls(NetworkAclArguments),
    /// List prefix lists, or edit the entries of one
    PrefixLists(PrefixListArguments),
    /// List internet gateways; make, attach, detach or delete one
    InternetGateways(GatewayArguments),
    /// List NAT gateways; make or delete one, or show what one has counted
    NatGateways(NatArguments),
    /// Show what gateways to the outside let through, for all VPCs; set it, or exclude some
    BlockPublicAccess(BlockArguments),
    /// List egress-only internet gateways; make or delete one
    EgressOnlyInternetGateways(EgressOnlyArguments),
    /// List peering connections; ask for one, accept, reject or delete it
    PeeringConnections(PeeringArguments),
    /// List gateway endpoints; make, change or delete one
    VpcEndpoints(EndpointArguments),
    /// List Elastic IP addresses; allocate, associate, disassociate or release one
    ElasticIps(AddressArguments),
    /// List hosts beyond all internet gateways; add one, or take it away
    Outside(OutsideArguments),
    /// List flow logs; create or delete one, or show its records
    FlowLogs(FlowLogArguments),
    /// List faults that act, begin one, or end it
    Faults(FaultArguments),
    /// Capture frames as they cross the switch, dropped ones too, each with what became of it
    Capture(CaptureArguments),
    /// Explain why a packet is delivered, answered or dropped
    Explain(ExplainArguments),
    /// Show what happens, as it happens
    Events {
        /// Of these types only, separated by commas
        #[arg(long = "type", value_name = "TYPES")]
        types: Option<String>,
        /// About this interface only
        #[arg(long, add = ArgValueCompleter::new(names::interfaces))]
        interface: Option<String>,
        /// Events after this number first; 0 for all that are kept
        #[arg(long)]
        after: Option<u64>,
        /// Events of the edits after this revision first, also of earlier starts of a server with --state
        #[arg(long, value_name = "REVISION", conflicts_with = "after")]
        after_revision: Option<u64>,
    },
    /// Show what was done to the network: who edited what, and when; or all of one edit
    History {
        /// One edit, with what was there before and after it
        revision: Option<u64>,
        /// The latest so many
        #[arg(long, default_value_t = 20, conflicts_with = "revision")]
        last: usize,
    },
    /// Take back the last edit that was not taken back yet
    Undo,
    /// Run a command in an instance, on a server that allows it
    Exec {
        /// The instance
        #[arg(add = ArgValueCompleter::new(names::instances))]
        instance: String,
        /// The command is killed after this time
        #[arg(long, default_value = "30s")]
        timeout: String,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Changes of network interfaces.
#[derive(Debug, Subcommand)]
pub enum InterfaceAction {
    /// Switch the source/destination check
    Check {
        /// The interface: identifier or name
        #[arg(add = ArgValueCompleter::new(names::interfaces))]
        interface: String,
        /// `on` or `off`
        #[arg(value_enum)]
        state: Switched,
    },
    /// Give it these security groups and no others
    Groups {
        /// The interface: identifier or name
        #[arg(add = ArgValueCompleter::new(names::interfaces))]
        interface: String,
        /// The security groups: identifiers or names
        #[arg(required = true, add = ArgValueCompleter::new(names::security_groups))]
        groups: Vec<String>,
    },
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switched {
    /// On.
    On,
    /// Off.
    Off,
}

/// Sends the query, and shows the answer.
pub fn query(remote: &Remote, query: Query) -> Done {
    let (client, runtime) = remote.connect()?;
    let output = Output {
        json: remote.json,
        wide: remote.wide,
    };
    runtime.block_on(ask(&client, output, query))
}

async fn ask(client: &Client, output: Output, query: Query) -> Done {
    let json = output.json;
    match query {
        Query::Vpcs(which) => list(client, output, &which.of("/v1/vpcs"), "vpcs", &VPCS).await,
        Query::Subnets(which) => list(client, output, &which.of("/v1/subnets"), "subnets", &SUBNETS).await,
        Query::Interfaces { action: None, which } => {
            list(client, output, &which.of("/v1/interfaces"), "interfaces", &INTERFACES).await
        }
        Query::Interfaces {
            action: Some(InterfaceAction::Check { interface, state }),
            ..
        } => {
            let path = format!("/v1/interfaces/{}", encoded(&interface));
            let body = json!({ "source_dest_check": state == Switched::On });
            let answer = client.patch(&path, &body).await.map_err(failed)?;
            answer_shown(client, output, &answer, std::slice::from_ref(&answer), &INTERFACES).await
        }
        Query::Interfaces {
            action: Some(InterfaceAction::Groups { interface, groups }),
            ..
        } => set_groups(client, output, &interface, &groups).await,
        Query::Mappings(arguments) => mappings(client, output, arguments).await,
        Query::Ports { interface } => {
            let path = with_query(
                "/v1/ports",
                &[("interface", interface), ("nonzero", Some("true".into()))],
            );
            list(client, output, &path, "ports", &PORTS).await
        }
        Query::DhcpOptions(which) => {
            list(
                client,
                output,
                &which.of("/v1/dhcp-options"),
                "dhcp_options",
                &DHCP_OPTIONS,
            )
            .await
        }
        Query::Instances(which) => list(client, output, &which.of("/v1/instances"), "instances", &INSTANCES).await,
        Query::Scenarios(which) => list(client, output, &which.of("/v1/scenarios"), "scenarios", &SCENARIOS).await,
        Query::Runs(which) => list(client, output, &which.of("/v1/runs"), "runs", &RUNS).await,
        Query::RouteTables(arguments) => route_tables(client, output, arguments).await,
        Query::SecurityGroups(arguments) => security_groups(client, output, arguments).await,
        Query::NetworkAcls(arguments) => network_acls(client, output, arguments).await,
        Query::PrefixLists(arguments) => prefix_lists(client, output, arguments).await,
        Query::InternetGateways(arguments) => internet_gateways(client, output, arguments).await,
        Query::NatGateways(arguments) => nat_gateways(client, output, arguments).await,
        Query::BlockPublicAccess(arguments) => block_public_access(client, output, arguments).await,
        Query::EgressOnlyInternetGateways(arguments) => egress_only(client, output, arguments).await,
        Query::PeeringConnections(arguments) => peerings(client, output, arguments).await,
        Query::VpcEndpoints(arguments) => vpc_endpoints(client, output, arguments).await,
        Query::ElasticIps(arguments) => elastic_ips(client, output, arguments).await,
        Query::Outside(arguments) => outside(client, output, arguments).await,
        Query::Faults(arguments) => faults(client, output, arguments).await,
        Query::FlowLogs(arguments) => flow_logs(client, output, arguments).await,
        Query::Capture(arguments) => capture(client, arguments).await,
        Query::Explain(arguments) => explain(client, json, arguments).await,
        Query::Events {
            types,
            interface,
            after,
            after_revision,
        } => {
            let filter = [
                ("type", types),
                ("interface", interface),
                ("after", after.map(|after| after.to_string())),
                ("after_revision", after_revision.map(|after| after.to_string())),
            ];
            events(client, json, &with_query("/v1/events", &filter)).await
        }
        Query::History { revision, last } => history(client, output, revision, last).await,
        Query::Undo => {
            let answer = client.call(Method::POST, "/v1/undo", None).await.map_err(failed)?;
            show(json, &answer, |answer| {
                format!(
                    "revision {} is undone, by revision {}\n",
                    answer["undone"], answer["revision"]
                )
            });
            Ok(())
        }
        Query::Exec {
            instance,
            timeout,
            command,
        } => {
            let path = format!("/v1/instances/{}/exec", encoded(&instance));
            let body = json!({ "argv": command, "timeout": timeout });
            let answer = client.post(&path, &body).await.map_err(failed)?;
            if json {
                print(&pretty(&answer));
                return Ok(());
            }
            print(text(&answer, "stdout"));
            // Standard error may be closed.
            let _ = std::io::stderr().write_all(text(&answer, "stderr").as_bytes());
            match answer["exit"].as_u64().and_then(|code| u8::try_from(code).ok()) {
                Some(0) => Ok(()),
                code => Err(Failure::silent(code.unwrap_or(Failure::REFUSED))),
            }
        }
    }
}

/// How to show answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
    /// Show identifiers as well as names.
    pub(super) wide: bool,
}

/// All entries of a list, from all its pages.
pub(super) async fn fetch(client: &Client, path: &str, field: &str) -> Result<Vec<Value>, Failure> {
    let mut entries: Vec<Value> = Vec::new();
    let mut page = path.to_owned();
    loop {
        let mut answer = client.get(&page).await.map_err(failed)?;
        if let Some(Value::Array(more)) = answer.get_mut(field).map(Value::take) {
            entries.extend(more);
        }
        let Some(cursor) = answer.get("next_cursor").and_then(Value::as_str) else {
            return Ok(entries);
        };
        let joint = if path.contains('?') { '&' } else { '?' };
        page = format!("{path}{joint}cursor={}", encoded(cursor));
    }
}

pub(super) async fn list(client: &Client, output: Output, path: &str, field: &str, view: &View) -> Done {
    let entries = fetch(client, path, field).await?;
    if output.json {
        print(&pretty(&json!({ field: entries })));
        return Ok(());
    }
    entries_shown(client, output, &entries, view).await
}

/// Shows entries as a table, with the names of the resources that they refer to.
pub(super) async fn entries_shown(client: &Client, output: Output, entries: &[Value], view: &View) -> Done {
    let mut names = Names::default();
    if !entries.is_empty() {
        for (path, field) in view.named_in {
            names.learn(&fetch(client, path, field).await?);
        }
    }
    print(&table(view, entries, &names, output.wide));
    Ok(())
}

/// Shows the answer as JSON, or its entries as a table.
pub(super) async fn answer_shown(
    client: &Client,
    output: Output,
    answer: &Value,
    entries: &[Value],
    view: &View,
) -> Done {
    match output.json {
        true => {
            print(&pretty(answer));
            Ok(())
        }
        false => entries_shown(client, output, entries, view).await,
    }
}

async fn history(client: &Client, output: Output, revision: Option<u64>, last: usize) -> Done {
    if let Some(revision) = revision {
        let answer = client.get(&format!("/v1/revisions/{revision}")).await.map_err(failed)?;
        show(output.json, &answer, |answer| outline(answer, 0));
        return Ok(());
    }
    let limit = last.clamp(1, 1000).to_string();
    let path = with_query("/v1/revisions", &[("limit", Some(limit))]);
    let answer = client.get(&path).await.map_err(failed)?;
    let entries = answer["revisions"].as_array().cloned().unwrap_or_default();
    answer_shown(client, output, &answer, &entries, &REVISIONS).await
}

async fn events(client: &Client, json: bool, path: &str) -> Done {
    let mut stream = client.events(path, None).await.map_err(failed)?;
    let mut unread = pin!(reader_gone());
    loop {
        let event = tokio::select! {
            event = stream.next() => event.map_err(failed)?,
            () = &mut unread => break,
        };
        let Some(event) = event else { break };
        let line = match json {
            true => format!("{}\n", event.data),
            false => event_line(&event.event, &event.data),
        };
        if super::written(&line).is_err() {
            break;
        }
    }
    Ok(())
}

/// Resolves when nothing reads standard output any more, as in a pipeline whose next command has ended; never for a file.
async fn reader_gone() {
    let (gone, noticed) = tokio::sync::oneshot::channel();
    // It ends with the process. Without a thread there is no notice until something is written.
    let _ = std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
        let stdout = std::io::stdout();
        // No event is asked for: what ends the wait is an error, that of a pipe without a reader.
        let ended = poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None);
        if ended.is_ok() {
            let _ = gone.send(());
        }
    });
    if noticed.await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn event_line(kind: &str, data: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(data) else {
        return format!("{kind} {data}\n");
    };
    let details: Vec<String> = fields
        .iter()
        .filter(|(name, _)| !["id", "at", "type", "frame", "summary"].contains(&name.as_str()))
        .map(|(name, value)| match value {
            Value::Array(changes) if name == "changes" => changes.iter().map(change).collect::<Vec<_>>().join(", "),
            plain => format!("{name}={}", cell(plain)),
        })
        .collect();
    let at = fields.get("at").map(cell).unwrap_or_default();
    format!("{at}  {kind:20} {}\n", details.join(" "))
}

/// `10.0.1.50 eni-1 -> eni-2`: the former owner and the present one.
fn change(change: &Value) -> String {
    let owner = |field: &str| change[field].as_str().unwrap_or("none");
    format!("{} {} -> {}", text(change, "address"), owner("from"), owner("to"))
}

pub(super) fn show(json: bool, answer: &Value, people: impl FnOnce(&Value) -> String) {
    match json {
        true => print(&pretty(answer)),
        false => print(&people(answer)),
    }
}

pub(super) fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given: Vec<String> = parameters
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", encoded(value))))
        .collect();
    if given.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", given.join("&"))
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986 section 2.3.
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Writes what a stream brings until it ends, or the reader closes its end. `what` names it in an error.
pub(super) async fn copied(client: &Client, path: &str, out: &mut dyn Write, what: &str) -> Done {
    let mut stream = client.stream(path).await.map_err(failed)?;
    while let Some(chunk) = stream.next().await.map_err(failed)? {
        match out.write_all(&chunk).and_then(|()| out.flush()) {
            Ok(()) => {}
            // A reader that ended (`| tcpdump -c 3`) is no error.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            Err(error) => {
                let report = miette::miette!("cannot write {what}: {error}");
                return Err(Failure::new(Failure::IMPOSSIBLE, report));
            }
        }
    }
    Ok(())
}

/// Distinguishes a refusal by the server from a server that cannot be reached.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn failed(error: ClientError) -> Failure {
    let code = match &error {
        ClientError::Problem(..) => Failure::REFUSED,
        ClientError::Base(_) => Failure::USAGE,
        _ => Failure::IMPOSSIBLE,
    };
    let document = error.document().cloned();
    Failure::new(code, miette::miette!("{error}")).with_document(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_written_into_the_query_and_encoded() {
        let path = with_query(
            "/v1/mappings",
            &[("subnet", None), ("prefix", Some("2001:db8::/64".into()))],
        );
        assert_eq!(path, "/v1/mappings?prefix=2001%3Adb8%3A%3A%2F64");
        assert_eq!(with_query("/v1/ports", &[("interface", None)]), "/v1/ports");
    }

    #[test]
    fn an_event_is_a_line() {
        let data = r#"{"id":9,"at":"2026-01-31T12:00:00.000Z","type":"mappings_changed","truncated":false,
            "changes":[{"subnet_id":"subnet-1","address":"10.0.1.50","from":"eni-1","to":"eni-2"}],"summary":{"moved":1}}"#;
        let line = event_line("mappings_changed", data);
        assert!(
            line.starts_with("2026-01-31T12:00:00.000Z  mappings_changed "),
            "{line}"
        );
        assert!(line.ends_with("10.0.1.50 eni-1 -> eni-2\n"), "{line}");
    }
}
