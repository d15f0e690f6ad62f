//! Describes a network that is ready: how to enter its hosts, and where its API is.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use serde::Serialize;

use crate::api::server::ServerConfig;
use crate::confine::rootless;
use crate::lab::Instance;
use crate::runtime::Runtime;

/// Up to this many hosts get a process at the start, so that `nsenter -t` enters all namespaces; it takes some
/// milliseconds each. Of further hosts only the network can be entered before their first command.
const READY_TO_ENTER: usize = 16;

/// The description of a network that is ready: how to enter its hosts, and the addresses of its API.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    pub(super) hosts: Vec<ReadyHost>,
    /// Addresses of the API, for `--server`.
    pub(super) servers: Vec<String>,
    /// Where AWS clients are served, as they take it for an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ec2: Option<String>,
    /// Where the network is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<ReadyState>,
}

#[derive(Debug, Serialize)]
pub(super) struct ReadyState {
    pub(super) folder: String,
    /// The last edit that it holds.
    pub(super) revision: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ReadyHost {
    pub(super) name: String,
    pub(super) mac_address: String,
    pub(super) addresses: Vec<String>,
    /// A command that enters it.
    pub(super) enter: String,
}

impl Ready {
    pub(super) fn new(
        runtime: &Runtime,
        (addresses, ec2): (&[SocketAddr], Option<SocketAddr>),
        config: &ServerConfig,
    ) -> Self {
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

    pub(super) fn text(&self, allow_exec: bool) -> String {
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
