//! Gives the programs of an instance a socket to the API, in the instance's own `/run`.
//!
//! An instance has no network but the VPC's, so a script that moves an address as it would by the API of its cloud has no other
//! way to it. The socket is bound from outside when process 1 is up, and is gone with it: nothing of it has a name on the
//! machine.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the programs of an instance find the API.
pub const SOCKET: &str = "/run/localvpc.sock";

/// A shell's way to the API: what `nsenter` starts has its caller's environment.
pub(super) const PROFILE: &str = "/etc/profile.d/localvpc.sh";

/// What the programs of a host may do by the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ApiAccess {
    /// Read and edit the network, as an EC2 instance whose profile allows everything. Commands in other hosts, devices of the
    /// machine and runs of scenarios are not the network's.
    #[default]
    Full,
    /// Read the network, and ask what would become of a packet.
    ReadOnly,
    /// There is no socket.
    None,
}

/// Serves the API to a host. The runtime knows it by this trait, because the API stands above it.
pub trait ServeHost: Send + Sync {
    /// Serves the programs of one instance until it ends.
    fn serve(&self, host: HostSocket) -> io::Result<()>;
}

/// The socket of one instance that runs.
#[derive(Debug)]
pub struct HostSocket {
    /// Its name.
    pub instance: String,
    /// What its programs may do.
    pub access: ApiAccess,
    /// Bound in its `/run`.
    pub listener: UnixListener,
    /// Closed by the other end when the instance ends.
    pub ended: UnixStream,
}

/// What serves the API to the instances of a lab, once there is something that does. It is not kept alive by them.
#[derive(Clone, Default)]
pub struct ApiDoor(Arc<RwLock<Option<Weak<dyn ServeHost>>>>);

impl std::fmt::Debug for ApiDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiDoor")
    }
}

impl ApiDoor {
    /// Instances that boot from now on reach this server.
    pub fn open(&self, server: &Arc<dyn ServeHost>) {
        // A value that is replaced whole is never half changed.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(server));
    }

    pub(super) fn server(&self) -> Option<Arc<dyn ServeHost>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()?
            .upgrade()
    }
}

/// The variables in which programs find the API.
pub(super) fn environment() -> BTreeMap<String, String> {
    [
        ("LOCALVPC_SERVER", format!("unix:{SOCKET}")),
        ("LOCALVPC_SOCKET", SOCKET.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The same for login shells.
pub(super) fn profile() -> String {
    let lines = environment()
        .into_iter()
        .map(|(name, value)| format!("export {name}={value}\n"));
    lines.collect()
}
