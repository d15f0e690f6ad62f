//! Implements `serve`, `up` and `lab`: a network that lives as long as the command, with its API.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Serialize;
use serde_json::{Value, json};

use super::remote::Remote;
use super::{Done, Failure, print};
use crate::api::guard::{GuardConfig, Permissions};
use crate::api::inside::InsideApi;
use crate::api::server::{Bound, Ec2Address, ServerConfig};
use crate::api::token::{Token, TokenFile};
use crate::api::{AppState, commands, rest};
use crate::confine::rootless;
use crate::file::template::Scope;
use crate::lab::{ApiAccess, Instance, Keeper};
use crate::model::Limits;
use crate::model::duration::Spin;
use crate::model::region::DEFAULT_REGION;
use crate::runtime::cleanup::Record;
use crate::runtime::{
    HostApi, NamedSocket, Runtime, RuntimeConfig, RuntimeError, Succession, Yielding, host_environment,
};
use crate::store::{Durability, HISTORY, Journal, JournalOptions, Store, StoreError};
use crate::topology::declare;
use crate::topology::format::Topology;

/// The default address of a server, for servers and clients.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8460";
const DEFAULT_LISTEN: &str = "127.0.0.1:8460";
/// Where users of local clouds point their AWS clients.
const DEFAULT_EC2: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4566);

/// How long shutting down may take, and how much longer for each host.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_A_HOST: Duration = Duration::from_millis(20);

/// Up to this many hosts get a process at the start, so that `nsenter -t` enters all namespaces; it takes some
/// milliseconds each. Of further hosts only the network can be entered before their first command.
const READY_TO_ENTER: usize = 16;

/// Addresses of a server, and its permissions.
#[derive(Debug, Clone, Args)]
pub struct ServerArguments {
    /// A TCP address to listen on, several times for several; beyond loopback it takes a token
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// A unix socket to listen on; without --listen the server then is on this socket alone
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A group whose members may use the socket, too: name or number
    #[arg(long, value_name = "GROUP", requires = "socket", value_parser = group)]
    socket_group: Option<u32>,
    /// Where AWS clients are served in addition to the addresses above: an address, or off; 127.0.0.1:4566 if left out, where that is
    /// free and the server is on TCP
    #[arg(long, value_name = "ADDRESS:PORT|off", value_parser = ec2_address)]
    ec2: Option<Ec2Choice>,
    /// Throttle requests of the EC2 API as EC2 does: each action has the burst and the rate of its documentation
    #[arg(long)]
    ec2_throttling: bool,
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
    #[arg(long, value_name = "TIME", default_value = "0s")]
    spin: Spin,
    /// Write each frame by a system call of its own, as where the kernel has no io_uring: what `strace` then shows is every frame
    #[arg(long)]
    no_io_uring: bool,
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
    /// The folder of files of flow records, for flow logs that write to a file
    #[arg(long, value_name = "FOLDER")]
    flow_logs: Option<PathBuf>,
    /// Keep the network in this folder: every edit is there before it is answered, and the next start goes on with it
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Answer an edit when it is on the disk: what is answered outlives a power failure, and not only this process
    #[arg(long, requires = "state")]
    sync: bool,
    /// Take over from the server that runs with this state, without losing a frame; or start, where none runs
    #[arg(long, requires = "state")]
    replace: bool,
    /// How many MiB past edits may take; the oldest are dropped first
    #[arg(long, value_name = "MIB", requires = "state", default_value_t = DEFAULT_HISTORY, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    history: u64,
    /// Go on with what there is where edits that were answered are missing at the end of the state
    #[arg(long, requires = "state")]
    recover: bool,
}

/// MiB for past edits.
const DEFAULT_HISTORY: u64 = HISTORY >> 20;

impl ServerArguments {
    /// Opens the folder with the state, where one is named.
    fn store(&self) -> Result<Option<Arc<dyn Store>>, Failure> {
        let Some(folder) = &self.state else { return Ok(None) };
        let options = JournalOptions {
            durability: if self.sync {
                Durability::Power
            } else {
                Durability::Process
            },
            history: self.history.saturating_mul(1 << 20),
            recover: self.recover,
            ..JournalOptions::new(&self.region)
        };
        let opened = Journal::open(folder, &options);
        Ok(Some(Arc::new(opened.map_err(unreadable)?)))
    }
}

/// A state that cannot be used.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn unreadable(error: StoreError) -> Failure {
    Failure::new(Failure::IMPOSSIBLE, miette::miette!(help = error.remedy(), "{error}"))
}

/// Where AWS clients are to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ec2Choice {
    Off,
    At(SocketAddr),
}

fn ec2_address(text: &str) -> Result<Ec2Choice, String> {
    match text {
        "off" => Ok(Ec2Choice::Off),
        _ => match text.parse() {
            Ok(address) => Ok(Ec2Choice::At(address)),
            Err(_) => Err("write an address with a port, as in 127.0.0.1:4566, or off".to_owned()),
        },
    }
}

/// A group by name or number.
fn group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err("there is no such group".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A region, which becomes a part of host names.
fn region(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("write lower case letters, digits and -, as in eu-central-1".to_owned())
    }
}

/// Options of `up`.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// A topology file, or a scenario file, of which the topology is taken; `-` for standard input
    topology: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove from the running server what the file does not name
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    arguments: ServerArguments,
}

/// Options of `lab`.
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
    /// What programs in the hosts may do by the API, at /run/localvpc.sock
    #[arg(long, value_enum, default_value_t)]
    host_api: ApiAccess,
    #[command(flatten)]
    arguments: ServerArguments,
}

/// Serves an empty network.
pub fn serve(arguments: &ServerArguments, remote: &Remote) -> Done {
    live("serve", arguments, remote, None)
}

/// Creates a topology and serves it; or changes a running server to it.
///
/// A server is running where one is named on the command line or in `LOCALVPC_SERVER`, or where one answers at the
/// default address and this command names no other address to listen on.
pub fn up(arguments: &UpArguments, remote: &Remote) -> Done {
    let (text, topology) = super::topology::read(&arguments.topology)?;
    let elsewhere = !arguments.arguments.listen.is_empty() || arguments.arguments.socket.is_some();
    let runs = remote.server.is_some() || (!elsewhere && remote.answers());
    match (runs, arguments.dry_run) {
        (true, dry_run) => super::topology::up(remote, text, arguments.prune, dry_run),
        (false, true) => {
            super::topology::check_alone(&arguments.topology, &text, &topology)?;
            super::topology::dry_run(remote, &topology)
        }
        (false, false) if arguments.prune => {
            let report = miette::miette!(
                help = "name the server with --server, or leave --prune out",
                "no server answers at {DEFAULT_URL}: there is nothing that --prune could remove"
            );
            Err(Failure::new(Failure::USAGE, report))
        }
        (false, false) => {
            super::topology::check_alone(&arguments.topology, &text, &topology)?;
            let command = format!("up {}", arguments.topology.display());
            live(&command, &arguments.arguments, remote, Some(&topology))
        }
    }
}

/// Creates some hosts in one subnet, and serves them.
pub fn lab(arguments: &LabArguments, remote: &Remote) -> Done {
    let hosts: Vec<String> = (0..arguments.hosts).map(host_name).collect();
    // Addresses that are easy to type: .10, .11 … and ::10, ::11 …; beyond the block the Controller chooses.
    let block = arguments.ipv4.unwrap_or_else(|| default_block(arguments.hosts));
    let ipv4 = block.hosts().skip(9).map(Some).chain(std::iter::repeat(None));
    let ipv6 = arguments.ipv6.hosts().skip(16).map(Some).chain(std::iter::repeat(None));
    let instances: serde_json::Map<String, Value> = hosts
        .iter()
        .zip(ipv4.zip(ipv6))
        .map(|(name, (ipv4, ipv6))| {
            let mut instance = json!({ "subnet": "lab", "api": arguments.host_api });
            if let Some(address) = ipv4 {
                instance["ipv4"] = json!([address]);
            }
            if let Some(address) = ipv6 {
                instance["ipv6"] = json!([address]);
            }
            (name.clone(), instance)
        })
        .collect();
    // A /56 around the /64, the size that AWS gives to a VPC.
    let around = Ipv6Net::new(arguments.ipv6.network(), 56).map_or(arguments.ipv6, |net| net.trunc());
    let document = json!({
        "vpcs": { "lab": {
            "cidr_blocks": [block], "ipv6_cidr_blocks": [around], "profile": arguments.profile,
        } },
        "subnets": { "lab": { "vpc": "lab", "cidr_block": block, "ipv6_cidr_block": arguments.ipv6 } },
        "instances": instances,
    });
    let topology = crate::topology::format::read_topology("lab", &document.to_string())
        .map_err(|error| Failure::new(Failure::USAGE, miette::miette!("{}", error.mistakes[0].message)))?;
    live("lab", &arguments.arguments, remote, Some(&topology))
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

/// Starts the network, creates the topology, serves until a signal comes, and removes everything.
fn live(command: &str, arguments: &ServerArguments, remote: &Remote, topology: Option<&Topology>) -> Done {
    let token = remote.token()?;
    super::become_capable()?;
    let mut succession = succession(arguments)?;
    let store = arguments.store()?;
    crate::lab::descriptors::raise_limit();
    let record = super::begin_record(command).map(Arc::new);
    let keeper = keeper(arguments, record.as_deref())?;
    // One thread starts those that carry out commands; the others read requests, without rights.
    let commanding = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("commands")
        .enable_all()
        .build()
        .map_err(impossible)?;
    commands::appoint(&commanding);
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("api")
        .on_thread_start(commands::confined)
        .enable_all()
        .build()
        .map_err(impossible)?;
    let runtime = Runtime::start(RuntimeConfig {
        seed: arguments.seed,
        offload: !arguments.no_offload,
        spin: arguments.spin.get(),
        ring: !arguments.no_io_uring,
        limits: if arguments.aws_limits {
            Limits::AWS_DEFAULT
        } else {
            Limits::UNBOUNDED
        },
        region: arguments.region.clone(),
        resolver: arguments.resolver,
        environment: host_environment(&std::env::current_exe().map_err(impossible)?),
        store,
        flow_logs: arguments.flow_logs.clone(),
        keeper: keeper.clone(),
        // Until hosts and connections of an earlier server are there.
        paused: true,
        ..RuntimeConfig::default()
    });
    let runtime = Arc::new(runtime.map_err(|error| match error {
        RuntimeError::Store(error) => unreadable(error),
        other => impossible(other),
    })?);
    let guest_token = token.is_none().then(Token::random);
    let guard = GuardConfig {
        token,
        guest_token: guest_token.clone(),
        hosts: arguments.allowed_hosts.clone(),
        permissions: Permissions {
            exec: arguments.allow_exec,
            ..Permissions::default()
        },
    };
    let mut state = AppState::of_runtime(Arc::clone(&runtime), guard);
    if arguments.ec2_throttling {
        state = state.throttling_ec2();
    }
    let inside: Arc<dyn HostApi> = InsideApi::start(state.clone()).map_err(impossible)?;
    runtime.serve_hosts(&inside);
    let mut config = ServerConfig {
        listen: arguments.listen.clone(),
        unix: arguments.socket.clone(),
        unix_group: arguments.socket_group,
        record: record.clone(),
        inherited: Arc::new(
            succession
                .as_mut()
                .map(|other| std::mem::take(&mut other.listeners))
                .unwrap_or_default(),
        ),
        ..ServerConfig::default()
    };
    if config.listen.is_empty() && config.unix.is_none() {
        config.listen.push(DEFAULT_LISTEN.parse().map_err(impossible)?);
    }
    config.ec2 = match arguments.ec2 {
        Some(Ec2Choice::Off) => None,
        Some(Ec2Choice::At(address)) => Some(Ec2Address {
            address,
            required: true,
        }),
        // A server that is on a unix socket alone is so by intent.
        None => (!config.listen.is_empty()).then_some(Ec2Address {
            address: DEFAULT_EC2,
            required: false,
        }),
    };
    tokio.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).map_err(impossible)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(impossible)?;
        // The sockets first: if they cannot be bound, there is nothing to remove.
        let bound = Bound::bind(&config, &state).await.map_err(impossible)?;
        let (addresses, ec2) = (bound.addresses(), bound.ec2_address());
        let of_tokens: Vec<SocketAddr> = addresses.iter().copied().chain(ec2).collect();
        let sockets = bound.sockets().map_err(impossible)?;
        furnish(&runtime, topology, succession).await?;
        let tokens = guest_token.map(|token| token_files(&of_tokens, &token, record.as_deref()));
        let (replaced, mut next) = tokio::sync::oneshot::channel();
        let yielding = yielding(arguments, &runtime, sockets, replaced)?;
        let ready = Ready {
            state: arguments.state.as_ref().map(|folder| ReadyState {
                folder: folder.display().to_string(),
                revision: runtime.controller().revision(),
            }),
            ..Ready::new(&runtime, (&addresses, ec2), &config)
        };
        print(&match remote.json {
            // On one line, because a script reads it while the server runs.
            true => format!("{}\n", serde_json::to_value(&ready).map_err(impossible)?),
            false => ready.text(arguments.allow_exec),
        });
        let router = rest::router(state.clone());
        let runs = Arc::clone(&state.runs);
        let hosts = runtime.lab().all().len();
        let keeper_at_end = keeper.clone();
        let served = bound.serve(router, state, async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                // The channel closes when the thread that waits for the next server has failed.
                Ok(()) = &mut next => return true,
            }
            let for_hosts = PATIENCE_A_HOST.saturating_mul(u32::try_from(hosts).unwrap_or(u32::MAX));
            end_within(PATIENCE.saturating_add(for_hosts), keeper_at_end);
            // Runs end while the last requests are answered; on a thread of their own, so that no blocked request
            // delays them.
            std::thread::spawn(move || runs.end_all());
            false
        });
        served.await.map_err(impossible)?;
        if yielding.is_some() && next.is_terminated() {
            leave(record.as_deref());
        }
        drop(tokens);
        drop(yielding);
        Ok::<_, Failure>(())
    })?;
    // The runtime drops its handlers' references; the network goes with the last of them.
    tokio.shutdown_timeout(PATIENCE);
    commanding.shutdown_timeout(PATIENCE);
    drop(inside);
    // All at once, when this process has closed its copies.
    keeper.iter().for_each(Keeper::let_go);
    drop(runtime);
    end_keeper(keeper.as_ref());
    // Until here something could have been left behind.
    drop(record);
    Ok(())
}

/// The keeper of a state, for a server with root's rights: in a user namespace of its own, the next server could not enter the
/// namespaces of this one's hosts.
fn keeper(arguments: &ServerArguments, record: Option<&Record>) -> Result<Option<Keeper>, Failure> {
    let Some(folder) = arguments.state.as_ref().filter(|_| rootless::outside().is_none()) else {
        return Ok(None);
    };
    let keeper = Keeper::find_or_start(folder, Path::new("/proc/self/exe")).map_err(impossible)?;
    if let Some(Err(error)) = record.map(|record| record.state(folder)) {
        tracing::warn!(%error, "the next server will not say that the hosts go on");
    }
    Ok(Some(keeper))
}

/// Ends what the keeper holds. The server's end was asked for, and its hosts end with it.
fn end_keeper(keeper: Option<&Keeper>) {
    if let Some(Err(error)) = keeper.map(Keeper::end) {
        tracing::warn!(%error, "the keeper does not end: localvpc down --all");
    }
}

/// Asks the server that runs with the same state to hand over, where that is wanted and there is one.
fn succession(arguments: &ServerArguments) -> Result<Option<Succession>, Failure> {
    match &arguments.state {
        Some(folder) if arguments.replace => Succession::begin(folder).map_err(impossible),
        _ => Ok(None),
    }
}

/// Forwards from now on in place of another server.
fn take_over(succession: Succession, runtime: &Runtime) -> Done {
    let process = succession.process;
    let waited = succession.take(runtime).map_err(impossible)?;
    // Standard error may be closed.
    let _ = writeln!(
        std::io::stderr(),
        "localvpc: took over from process {process}; frames waited {:.1} ms.",
        waited.as_secs_f64() * 1000.0
    );
    Ok(())
}

/// Waits for a server that takes over from this one.
fn yielding(
    arguments: &ServerArguments,
    runtime: &Arc<Runtime>,
    sockets: Vec<NamedSocket>,
    replaced: tokio::sync::oneshot::Sender<()>,
) -> Result<Option<Yielding>, Failure> {
    let Some(folder) = arguments.state.as_ref().filter(|_| rootless::outside().is_none()) else {
        return Ok(None);
    };
    let replaced = move || {
        // A server that is ending already is not replaced.
        let _ = replaced.send(());
    };
    Ok(Some(
        Yielding::start(folder, runtime, sockets, replaced).map_err(impossible)?,
    ))
}

/// Ends this process and leaves all that it has to the one that has taken over.
fn leave(record: Option<&Record>) -> ! {
    if let Some(Err(error)) = record.map(Record::leave) {
        tracing::warn!(%error, "the record of this process stays, and the next start removes what the next server has");
    }
    std::process::exit(0)
}

/// Makes the hosts of the network that was kept, or the network of a file where none was.
async fn furnish(runtime: &Arc<Runtime>, topology: Option<&Topology>, succession: Option<Succession>) -> Done {
    let runtime = Arc::clone(runtime);
    let known = runtime.controller().revision() > 0;
    let anew = succession.is_none();
    if known || succession.is_some() {
        let restored = commands::run(move || {
            runtime.restore_hosts().map_err(impossible)?;
            match succession {
                Some(succession) => take_over(succession, &runtime)?,
                None => runtime.switch().resume(),
            }
            runtime.controller().resume_life();
            Ok(())
        });
        restored.await.map_err(impossible)??;
        if topology.is_some() && anew {
            // Standard error that is closed has no reader.
            let _ = writeln!(
                std::io::stderr(),
                "localvpc: the state holds a network already, which goes on as it was. To change it to a file: localvpc up FILE, \
                 while it runs."
            );
        }
        return Ok(());
    }
    runtime.switch().resume();
    if let Some(topology) = topology.cloned() {
        let made = commands::run(move || declare(&runtime, &topology, &Scope::default()));
        made.await.map_err(impossible)?.map_err(impossible)?;
    }
    Ok(())
}

/// Writes the token of this start for each loopback address. The owner is served without it too.
fn token_files(addresses: &[SocketAddr], token: &Token, record: Option<&Record>) -> Vec<TokenFile> {
    let loopback = addresses.iter().filter(|address| address.ip().is_loopback());
    let written = loopback.map(|address| TokenFile::write(*address, token, record));
    written
        .filter_map(|file| {
            file.inspect_err(|error| tracing::warn!(%error, "other users of this machine cannot be given a token"))
                .ok()
        })
        .collect()
}

/// Ends the process when it does not end by itself: a thread that waits for something that a client has named must not
/// keep it alive. The kernel frees hosts and devices, and the next start removes files.
fn end_within(patience: Duration, keeper: Option<Keeper>) {
    let watch = move || {
        std::thread::sleep(patience);
        // Standard error may be closed.
        let _ = writeln!(
            std::io::stderr(),
            "localvpc: something is still under way after {}: it is broken off.",
            humantime::format_duration(patience)
        );
        end_keeper(keeper.as_ref());
        std::process::exit(Failure::IMPOSSIBLE.into());
    };
    if let Err(error) = std::thread::Builder::new().name("ending".into()).spawn(watch) {
        tracing::warn!(%error, "the end is not watched");
    }
}

/// The description of a network that is ready: how to enter its hosts, and the addresses of its API.
#[derive(Debug, Serialize)]
struct Ready {
    hosts: Vec<ReadyHost>,
    /// Addresses of the API, for `--server`.
    servers: Vec<String>,
    /// Where AWS clients are served, as they take it for an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    ec2: Option<String>,
    /// Where the network is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<ReadyState>,
}

#[derive(Debug, Serialize)]
struct ReadyState {
    folder: String,
    /// The last edit that it holds.
    revision: u64,
}

#[derive(Debug, Serialize)]
struct ReadyHost {
    name: String,
    mac_address: String,
    addresses: Vec<String>,
    /// A command that enters it.
    enter: String,
}

impl Ready {
    fn new(runtime: &Runtime, (addresses, ec2): (&[SocketAddr], Option<SocketAddr>), config: &ServerConfig) -> Self {
        let instances = runtime.lab().all();
        let few = instances.len() <= READY_TO_ENTER;
        let http = addresses.iter().map(|address| format!("http://{address}"));
        let socket = config.unix.iter().map(|path| format!("unix:{}", path.display()));
        Self {
            hosts: instances
                .iter()
                .filter_map(|instance| ReadyHost::new(runtime, instance, few))
                .collect(),
            servers: http.chain(socket).collect(),
            ec2: ec2.map(|address| format!("http://{address}")),
            state: None,
        }
    }

    fn text(&self, allow_exec: bool) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            text.push_str(&format!(
                "{:8} {}  {}\n         enter: {}\n",
                host.name,
                host.mac_address,
                host.addresses.join(" "),
                host.enter
            ));
        }
        for server in &self.servers {
            text.push_str(&format!("API at {server}\n"));
        }
        if let Some(ec2) = &self.ec2 {
            text.push_str(&format!("EC2 API at {ec2}\n"));
        }
        if allow_exec && let Some(server) = self.servers.last() {
            text.push_str(&format!(
                "run commands: localvpc --server {server} exec INSTANCE COMMAND\n"
            ));
        }
        match &self.state {
            Some(state) => {
                text.push_str(&format!("state in {}, revision {}\n", state.folder, state.revision));
                text + "Ctrl-C ends it; the network stays in the state, and the next start goes on with it.\n"
            }
            None => text + "Ctrl-C ends it and takes everything away.\n",
        }
    }
}

impl ReadyHost {
    fn new(runtime: &Runtime, instance: &Instance, few: bool) -> Option<Self> {
        let interface = runtime.interface_of(instance.name())?;
        let interface = runtime.controller().interface(&interface.into()).ok()?;
        let ipv4 = interface.ipv4_addresses.iter().map(ToString::to_string);
        let ipv6 = interface.ipv6_addresses.iter().map(ToString::to_string);
        // Entering only its network requires no process in it.
        let place = || {
            let descriptor = instance.namespace().as_fd().as_raw_fd();
            format!("--net=/proc/{}/fd/{descriptor}", std::process::id())
        };
        let machine = few.then(|| instance.machine().ok()).flatten();
        // In a user namespace with one user nsenter(1) must not drop groups, and can enter only namespaces of that user
        // namespace.
        let (nsenter, all) = match rootless::outside() {
            Some(_) => ("nsenter --preserve-credentials", "-U -m -u -i -n -p"),
            None => ("nsenter", "-a"),
        };
        let place = machine.map_or_else(place, |machine| format!("-t {} {all}", machine.pid()));
        Some(Self {
            name: instance.name().to_owned(),
            mac_address: interface.mac_address.to_string(),
            addresses: ipv4.chain(ipv6).collect(),
            enter: format!("{nsenter} {place}"),
        })
    }
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
}
