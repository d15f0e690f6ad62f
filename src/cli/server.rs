//! `serve`, `up` and `lab`: a network that lives as long as the command, with its API.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Value, json};

use super::remote::{Remote, failed};
use super::run::read_text;
use super::{Done, Failure, print};
use crate::api::guard::{GuardConfig, Permissions};
use crate::api::server::{Bound, ServerConfig};
use crate::api::{AppState, Client, ClientError, Token, rest};
use crate::model::Limits;
use crate::model::region::DEFAULT_REGION;
use crate::runtime::{Runtime, RuntimeConfig};
use crate::scenario::declare;
use crate::scenario::format::{self, RouteTableTopology, Topology};
use crate::scenario::template::Scope;

/// Where a server listens unless told otherwise, and where commands look for it.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8460";
const DEFAULT_LISTEN: &str = "127.0.0.1:8460";

/// Up to so many hosts have a process from the start, so that `nsenter -t` finds all of the host; it takes some
/// milliseconds each. Of more hosts the way into their network is shown, and a process comes with the first command.
const READY_TO_ENTER: usize = 16;

/// How a server is to be reached, and what it allows.
#[derive(Debug, Clone, Args)]
pub struct ServerArguments {
    /// A TCP address to listen on, several times for several; beyond loopback it takes a token
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// A unix socket to listen on; without --listen the server then is on this socket alone
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A further host name by which clients may call the server
    #[arg(long = "allow-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
    /// Allow clients with the token or on the unix socket to run commands in instances
    #[arg(long)]
    allow_exec: bool,
    /// Open TAPs without offload headers: slower, and captures show every frame as it was sent
    #[arg(long)]
    no_offload: bool,
    /// Let the switch look for frames for so long before it sleeps, as in 20us, while they keep coming: shorter round trips
    /// for a CPU that has nothing else to do; worth a try with more than two CPUs
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    spin: std::time::Duration,
    /// Hold to the default quotas of an AWS account
    #[arg(long)]
    aws_limits: bool,
    /// The region that the network is said to be in: it gives the names of zones and hosts
    #[arg(long, default_value = DEFAULT_REGION, value_parser = region)]
    region: String,
    /// A resolver for the names that the VPC's resolver does not know; without one they are refused
    #[arg(long, value_name = "ADDRESS:PORT")]
    resolver: Option<SocketAddr>,
    /// Choose identifiers and MAC addresses as an earlier start with this seed did
    #[arg(long)]
    seed: Option<u64>,
}

/// A region becomes a part of host names.
fn region(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("write lower case letters, digits and -, as in eu-central-1".to_owned())
    }
}

/// What `up` makes.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// A topology file, or a scenario file, of which the topology is taken
    topology: PathBuf,
    #[command(flatten)]
    arguments: ServerArguments,
}

/// What `lab` makes.
#[derive(Debug, Args)]
pub struct LabArguments {
    /// How many hosts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=4000))]
    hosts: u16,
    /// How the network behaves: aws, aws-xen or lan
    #[arg(long, default_value = "aws")]
    profile: String,
    /// The IPv4 block of the subnet: 10.0.1.0/24 if left out, or 10.0.0.0/20 where that holds too few hosts
    #[arg(long)]
    ipv4: Option<Ipv4Net>,
    /// The IPv6 block of the subnet, a /64
    #[arg(long, default_value = "2001:db8:100:1::/64")]
    ipv6: Ipv6Net,
    #[command(flatten)]
    arguments: ServerArguments,
}

/// Serves an empty network.
pub fn serve(arguments: &ServerArguments, remote: &Remote) -> Done {
    live(arguments, remote, None)
}

/// Makes a topology, and serves it unless it was made elsewhere.
///
/// A server that is named on the command line or in `LOCALVPC_SERVER` is running already.
pub fn up(arguments: &UpArguments, remote: &Remote) -> Done {
    let (name, text) = read_text(&arguments.topology)?;
    let topology = topology(&name, &text)?;
    match &remote.server {
        Some(server) => make_on(server, remote.token()?, &topology),
        None => live(&arguments.arguments, remote, Some(&topology)),
    }
}

/// A scenario file holds a topology, too.
fn topology(name: &str, text: &str) -> Result<Topology, Failure> {
    let error = match format::read_topology(name, text) {
        Ok(topology) => return Ok(topology),
        Err(error) => error,
    };
    match format::read(name, text) {
        Ok(scenario) => Ok(scenario.topology.clone()),
        // What is wrong with it as a topology is what the user wants to know, unless it was meant as a scenario.
        Err(of_scenario) => {
            let meant = text
                .lines()
                .any(|line| line.starts_with("steps:") || line.starts_with("topology:"));
            Err(Failure::new(Failure::USAGE, if meant { of_scenario } else { error }))
        }
    }
}

/// Makes some hosts in one subnet, and serves them.
pub fn lab(arguments: &LabArguments, remote: &Remote) -> Done {
    let hosts: Vec<String> = (0..arguments.hosts).map(host_name).collect();
    // Addresses that one can type: .10, .11 … and ::10, ::11 …; beyond the block the Controller chooses.
    let block = arguments.ipv4.unwrap_or_else(|| default_block(arguments.hosts));
    let ipv4 = block.hosts().skip(9).map(Some).chain(std::iter::repeat(None));
    let ipv6 = arguments.ipv6.hosts().skip(16).map(Some).chain(std::iter::repeat(None));
    let instances: serde_json::Map<String, Value> = hosts
        .iter()
        .zip(ipv4.zip(ipv6))
        .map(|(name, (ipv4, ipv6))| {
            let mut instance = json!({ "subnet": "lab" });
            if let Some(address) = ipv4 {
                instance["ipv4"] = json!([address]);
            }
            if let Some(address) = ipv6 {
                instance["ipv6"] = json!([address]);
            }
            (name.clone(), instance)
        })
        .collect();
    // A /56 around the /64, as AWS gives one to a VPC.
    let around = Ipv6Net::new(arguments.ipv6.network(), 56).map_or(arguments.ipv6, |net| net.trunc());
    let document = json!({
        "vpcs": { "lab": {
            "cidr_blocks": [block], "ipv6_cidr_blocks": [around], "profile": arguments.profile,
        } },
        "subnets": { "lab": { "vpc": "lab", "cidr_block": block, "ipv6_cidr_block": arguments.ipv6 } },
        "instances": instances,
    });
    let topology = format::read_topology("lab", &document.to_string())
        .map_err(|error| Failure::new(Failure::USAGE, miette::miette!("{}", error.mistakes[0].message)))?;
    live(&arguments.arguments, remote, Some(&topology))
}

/// A /24 has 251 addresses for interfaces, a /20 has 4091: five of each block are reserved.
fn default_block(hosts: u16) -> Ipv4Net {
    if hosts <= 251 {
        Ipv4Net::new_assert([10, 0, 1, 0].into(), 24)
    } else {
        Ipv4Net::new_assert([10, 0, 0, 0].into(), 20)
    }
}

/// `a` to `z`, then `a1` and so on.
fn host_name(number: u16) -> String {
    let letter = char::from(b'a' + u8::try_from(number % 26).unwrap_or_default());
    match number / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}

fn impossible(error: impl std::fmt::Display) -> Failure {
    Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}"))
}

/// Starts the network, makes the topology, serves until a signal comes, and takes everything away.
fn live(arguments: &ServerArguments, remote: &Remote, topology: Option<&Topology>) -> Done {
    let token = remote.token()?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(impossible)?;
    let runtime = Runtime::start(RuntimeConfig {
        seed: arguments.seed,
        offload: !arguments.no_offload,
        spin: arguments.spin,
        limits: if arguments.aws_limits {
            Limits::AWS_DEFAULT
        } else {
            Limits::UNBOUNDED
        },
        region: arguments.region.clone(),
        resolver: arguments.resolver,
        ..RuntimeConfig::default()
    })
    .map_err(impossible)?;
    let runtime = Arc::new(runtime);
    let guard = GuardConfig {
        token,
        hosts: arguments.allowed_hosts.clone(),
        permissions: Permissions {
            exec: arguments.allow_exec,
        },
    };
    let state = AppState::of_runtime(Arc::clone(&runtime), guard);
    let mut config = ServerConfig {
        listen: arguments.listen.clone(),
        unix: arguments.socket.clone(),
    };
    if config.listen.is_empty() && config.unix.is_none() {
        config.listen.push(DEFAULT_LISTEN.parse().map_err(impossible)?);
    }
    tokio.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).map_err(impossible)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(impossible)?;
        // The sockets first: if they cannot be had, there is nothing to take away again.
        let bound = Bound::bind(&config, &state).await.map_err(impossible)?;
        let addresses = bound.addresses();
        if let Some(topology) = topology {
            let runtime = Arc::clone(&runtime);
            let topology = topology.clone();
            let made = tokio::task::spawn_blocking(move || declare(&runtime, &topology, &Scope::default()));
            made.await.map_err(impossible)?.map_err(impossible)?;
        }
        print(&welcome(&runtime, &addresses, &config, arguments.allow_exec));
        let router = rest::router(state.clone());
        let runs = Arc::clone(&state.runs);
        let served = bound.serve(router, state, async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // Runs end while the last requests are answered.
            let ended = tokio::task::spawn_blocking(move || runs.end_all()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "runs were not ended");
            }
        });
        served.await.map_err(impossible)
    })?;
    // What handlers held of it ends with their runtime; the network goes when the last of them lets go.
    drop(tokio);
    drop(runtime);
    Ok(())
}

fn welcome(runtime: &Runtime, addresses: &[SocketAddr], config: &ServerConfig, allow_exec: bool) -> String {
    let mut text = String::new();
    let controller = runtime.controller();
    let instances = runtime.lab().all();
    let few = instances.len() <= READY_TO_ENTER;
    for instance in instances {
        let Ok(interface) = controller.interface(&crate::model::ResourceRef::new(instance.name())) else {
            continue;
        };
        let addresses: Vec<String> = interface
            .ipv4_addresses
            .iter()
            .map(ToString::to_string)
            .chain(interface.ipv6_addresses.iter().map(ToString::to_string))
            .collect();
        // The way into its network alone takes no process in it.
        let place = || {
            let descriptor = instance.namespace().as_fd().as_raw_fd();
            format!("--net=/proc/{}/fd/{descriptor}", std::process::id())
        };
        let machine = few.then(|| instance.machine().ok()).flatten();
        let place = machine.map_or_else(place, |machine| format!("-t {} -a", machine.pid()));
        text.push_str(&format!(
            "{:8} {}  {}\n         enter: nsenter {place}\n",
            instance.name(),
            interface.mac_address,
            addresses.join(" "),
        ));
    }
    for address in addresses {
        text.push_str(&format!("API at http://{address}\n"));
    }
    if let Some(path) = &config.unix {
        text.push_str(&format!("API at unix:{}\n", path.display()));
    }
    if allow_exec {
        // Without a token commands are taken from the socket alone.
        let place = config.unix.as_ref().map(|path| format!("unix:{}", path.display()));
        let place = place.or_else(|| addresses.first().map(|address| format!("http://{address}")));
        let place = place.unwrap_or_default();
        text.push_str(&format!(
            "run commands: localvpc --server {place} exec INSTANCE COMMAND\n"
        ));
    }
    text + "Ctrl-C ends it and takes everything away.\n"
}

/// Makes a topology through the API of a running server.
fn make_on(server: &str, token: Option<Token>, topology: &Topology) -> Done {
    let client = Client::connect(server, token).map_err(failed)?;
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(impossible)?;
    tokio.block_on(async {
        for (path, body) in requests(topology) {
            let answer = client.post(path, &body).await.map_err(failed)?;
            let id = answer["id"].as_str().or(answer["name"].as_str()).unwrap_or_default();
            let kind = path.trim_start_matches("/v1/").trim_end_matches('s');
            print(&format!(
                "{kind:9} {:12} {id}\n",
                body["name"].as_str().unwrap_or_default()
            ));
        }
        for (name, table) in &topology.route_tables {
            let id = make_route_table(&client, name, &table.value).await.map_err(failed)?;
            print(&format!("{:9} {name:12} {id}\n", "route-table"));
        }
        Ok(())
    })
}

/// Makes a route table, or names the one that the VPC was made with; then its routes, then the subnets that it leads.
async fn make_route_table(client: &Client, name: &str, fields: &RouteTableTopology) -> Result<String, ClientError> {
    let table = if fields.main {
        let vpc = client.get(&format!("/v1/vpcs/{}", fields.vpc.value)).await?;
        let path = format!(
            "/v1/route-tables/{}",
            vpc["main_route_table_id"].as_str().unwrap_or_default()
        );
        client.patch(&path, &json!({ "name": name })).await?
    } else {
        let body = json!({ "name": name, "vpc": fields.vpc.value });
        client.post("/v1/route-tables", &body).await?
    };
    let id = table["id"].as_str().unwrap_or_default().to_owned();
    let there = |to: &str| {
        let routes = table["routes"].as_array();
        routes.is_some_and(|routes| routes.iter().any(|route| route["destination"] == to))
    };
    for route in &fields.routes {
        let to = route.to.value.trunc().to_string();
        let body = json!({ "destination": to, "target": route.via.value });
        let path = format!("/v1/route-tables/{id}/routes");
        // A local route is there already, and may be given another target.
        match there(&to) {
            true => client.put(&path, &body).await?,
            false => client.post(&path, &body).await?,
        };
    }
    for subnet in &fields.subnets {
        let path = format!("/v1/route-tables/{id}/associations");
        client.post(&path, &json!({ "subnet": subnet.value })).await?;
    }
    Ok(id)
}

/// What is sent, in this order.
fn requests(topology: &Topology) -> Vec<(&'static str, Value)> {
    let mut requests = Vec::new();
    for (name, set) in &topology.dhcp_options {
        requests.push(("/v1/dhcp-options", json!({ "name": name, "options": set.value })));
    }
    for (name, vpc) in &topology.vpcs {
        let blocks: Vec<_> = vpc.value.cidr_blocks.iter().map(|block| block.value).collect();
        let ipv6_blocks: Vec<_> = vpc.value.ipv6_cidr_blocks.iter().map(|block| block.value).collect();
        let mut body = json!({ "name": name, "cidr_blocks": blocks, "ipv6_cidr_blocks": ipv6_blocks });
        if let Some(profile) = &vpc.value.profile {
            body["profile"] = json!(profile.spec);
        }
        if let Some(set) = &vpc.value.dhcp_options {
            body["dhcp_options"] = json!(set.value);
        }
        requests.push(("/v1/vpcs", body));
    }
    for (name, subnet) in &topology.subnets {
        let fields = &subnet.value;
        let body = json!({
            "name": name,
            "vpc": fields.vpc.value,
            "cidr_block": fields.cidr_block.as_ref().map(|block| block.value),
            "ipv6_cidr_block": fields.ipv6_cidr_block.as_ref().map(|block| block.value),
            "availability_zone": fields.availability_zone,
        });
        requests.push(("/v1/subnets", body));
    }
    for (name, instance) in &topology.instances {
        let fields = &instance.value;
        let given = fields.ipv4.iter().flatten().map(|address| address.value.to_string());
        let given = given.chain(fields.ipv6.iter().flatten().map(|address| address.value.to_string()));
        let given = given.chain(fields.prefixes.iter().map(|prefix| prefix.value.to_string()));
        let subnet = topology.subnets.get(&fields.subnet.value);
        let has_v6 = subnet.is_some_and(|subnet| subnet.value.ipv6_cidr_block.is_some());
        let mut body = json!({
            "name": name,
            "subnet": fields.subnet.value,
            "source_dest_check": fields.source_dest_check,
            "addresses": given.collect::<Vec<_>>(),
            "ipv6_address_count": u32::from(fields.ipv6.is_none() && has_v6),
        });
        if let Some(mac) = &fields.mac {
            body["mac_address"] = json!(mac.value);
        }
        for (field, value) in [
            ("mtu", json!(fields.mtu)),
            ("ntp_skew_ms", json!(fields.ntp_skew_ms)),
            ("metadata", json!(fields.metadata)),
        ] {
            if !value.is_null() {
                body[field] = value;
            }
        }
        requests.push(("/v1/interfaces", body));
    }
    for (name, instance) in &topology.instances {
        let fields = &instance.value;
        let body = json!({
            "name": name,
            "interface": name,
            "configure": fields.configure,
            "link_local": fields.link_local,
            "accept_ra": fields.accept_ra,
            "dad": fields.dad,
        });
        requests.push(("/v1/instances", body));
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_of_many_hosts_gets_a_block_that_holds_them() {
        for (hosts, block) in [
            (1, "10.0.1.0/24"),
            (251, "10.0.1.0/24"),
            (252, "10.0.0.0/20"),
            (4000, "10.0.0.0/20"),
        ] {
            assert_eq!(default_block(hosts).to_string(), block, "{hosts} hosts");
        }
    }

    #[test]
    fn hosts_of_a_lab_are_named_by_letters() {
        let names: Vec<String> = [0, 1, 25, 26, 53].into_iter().map(host_name).collect();
        assert_eq!(names, ["a", "b", "z", "a1", "b2"]);
    }

    #[test]
    fn a_topology_becomes_requests_in_the_order_in_which_things_depend_on_each_other() {
        let topology = format::read_topology(
            "t",
            "vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }\nsubnets: { s: { vpc: v, cidr_block: 10.0.0.0/24 } }\n\
             instances: { a: { subnet: s, ipv4: [10.0.0.9], link_local: stable-privacy } }",
        )
        .unwrap();
        let requests = requests(&topology);
        let paths: Vec<&str> = requests.iter().map(|(path, _)| *path).collect();
        assert_eq!(paths, ["/v1/vpcs", "/v1/subnets", "/v1/interfaces", "/v1/instances"]);
        assert_eq!(requests[2].1["addresses"], json!(["10.0.0.9"]));
        assert_eq!(requests[3].1["link_local"], "stable-privacy");
    }
}
