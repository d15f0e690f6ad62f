//! Implements `serve`, `up` and `lab`: a network that lives as long as the command, with its API.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ipnet::{Ipv4Net, Ipv6Net};
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
use crate::lab::{ApiAccess, Keeper};
use crate::model::region::zones_of;
use crate::model::vpc::CreateDefaultVpc;
use crate::runtime::cleanup::Record;
use crate::runtime::{HostApi, NamedSocket, OutsideLink, Runtime, Serving, Succession, Yielding};
use crate::store::Journal;
use crate::topology::declare;
use crate::topology::format::Topology;

mod arguments;
mod place;
mod ready;

pub use arguments::ServerArguments;
use arguments::{Ec2Choice, unreadable};
use place::{Place, SERVING, say, wrong};
use ready::{Ready, ReadyState};

/// The default address of a server, for servers and clients.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8460";
const DEFAULT_LISTEN: &str = "127.0.0.1:8460";
/// Where users of local clouds point their AWS clients.
const DEFAULT_EC2: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4566);

/// How long shutting down may take, and how much longer for each host.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_A_HOST: Duration = Duration::from_millis(20);

/// Options of `up`.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// A topology file, or a scenario file, of which the topology is taken; `-` for standard input
    topology: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "replace")]
    dry_run: bool,
    /// Remove from the running server what the file does not name
    #[arg(long, conflicts_with = "replace")]
    prune: bool,
    #[command(flatten)]
    arguments: ServerArguments,
}

impl UpArguments {
    /// Whether a server is to be changed that runs already; otherwise this process becomes one.
    fn changes_a_server(&self, remote: &Remote) -> bool {
        let new = &self.arguments;
        if new.replace || new.standby {
            return false;
        }
        let elsewhere = !new.listen.is_empty() || new.socket.is_some();
        // A state that no server uses is not the one of the server that answers.
        let other_state = new.state.as_ref().is_some_and(|folder| !Journal::is_used(folder));
        remote.server.is_some() || (!elsewhere && !other_state && remote.answers())
    }
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
/// default address and this command names neither another address to listen on nor a state that no server uses. With
/// `--replace` this process takes over from the server of the state in any case.
pub fn up(arguments: &UpArguments, remote: &Remote) -> Done {
    let (text, topology) = super::topology::read(&arguments.topology)?;
    match (arguments.changes_a_server(remote), arguments.dry_run) {
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
    let keys = arguments.keys()?;
    super::become_capable()?;
    let mut succession = succession(arguments)?;
    crate::lab::descriptors::raise_limit();
    let Some(place) = Place::find(arguments, succession.as_mut())? else {
        return Ok(());
    };
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
    let Place {
        prepared,
        serving,
        succeeded,
    } = place;
    let runtime = Arc::new(prepared.start(keeper.clone()).map_err(wrong)?);
    let guest_token = token.is_none().then(Token::random);
    let guard = GuardConfig {
        token,
        guest_token: guest_token.clone(),
        hosts: arguments.allowed_hosts.clone(),
        permissions: Permissions {
            exec: arguments.allow_exec,
            ..Permissions::default()
        },
        signed_ec2: arguments.verify_sigv4,
    };
    let mut state = AppState::of_runtime(Arc::clone(&runtime), guard);
    if arguments.ec2_throttling {
        state = state.throttling_ec2();
    }
    if arguments.verify_sigv4 {
        state = state.verifying_ec2(keys);
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
        let mut sockets = bound.sockets().map_err(impossible)?;
        if let Some(serving) = &serving {
            sockets.push((SERVING.to_owned(), serving.lock().map_err(impossible)?));
        }
        furnish(&runtime, topology, succession, arguments.default_vpc).await?;
        let link = link_to_outside(&runtime, arguments.outside_link.as_deref()).await?;
        let tokens = guest_token.map(|token| token_files(&of_tokens, &token, record.as_deref()));
        let (replaced, mut next) = tokio::sync::oneshot::channel();
        let yielding = yielding(arguments, &runtime, sockets, replaced)?;
        if let Some(serving) = &serving {
            serving.ready().map_err(impossible)?;
        }
        if let Some((process, since)) = succeeded {
            let after = since.elapsed().as_secs_f64() * 1000.0;
            say(&format!(
                "process {process} has died; this one went on after {after:.1} ms."
            ));
        }
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
            // What stands by for this server is to end with it.
            if let Some(Err(error)) = serving.as_ref().map(Serving::ended) {
                tracing::warn!(%error, "a process that stands by will go on");
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
        drop(link);
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
    // What stands by ends when the hosts have ended.
    drop(serving);
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
async fn furnish(
    runtime: &Arc<Runtime>,
    topology: Option<&Topology>,
    succession: Option<Succession>,
    default_vpc: bool,
) -> Done {
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
    if default_vpc {
        let controller = Arc::clone(&runtime);
        let made = commands::run(move || {
            let controller = controller.controller();
            let zones = zones_of(&controller.region());
            controller.execute(CreateDefaultVpc { zones })
        });
        made.await.map_err(impossible)?.map_err(impossible)?;
    }
    if let Some(topology) = topology.cloned() {
        let made = commands::run(move || declare(&runtime, &topology, &Scope::default()));
        made.await.map_err(impossible)?.map_err(impossible)?;
    }
    Ok(())
}

/// Opens the device of the machine at the outside, where one is asked for.
async fn link_to_outside(runtime: &Arc<Runtime>, name: Option<&str>) -> Result<Option<OutsideLink>, Failure> {
    let (runtime, name) = (Arc::clone(runtime), name.map(str::to_owned));
    let opened = commands::run(move || {
        OutsideLink::clear(&runtime).map_err(impossible)?;
        let Some(name) = name else { return Ok(None) };
        let link = OutsideLink::open(&runtime, &name).map_err(impossible)?;
        // Standard error may be closed.
        let _ = writeln!(
            std::io::stderr(),
            "localvpc: {name} has the address {}: Elastic IP addresses are reached by it.",
            link.address
        );
        Ok(Some(link))
    });
    opened.await.map_err(impossible)?
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
