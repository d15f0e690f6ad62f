//! Gives the programs of an instance a socket to the API, in the instance's own `/run`.
//!
//! An instance has no network but the VPC's, so a script that moves an address with its cloud's API needs this socket.
//! It is bound from outside when process 1 is up, and vanishes with it: it has no name on the machine.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The path of the API's socket inside an instance.
pub const SOCKET: &str = "/run/localvpc.sock";

/// Sets the API's variables in login shells: a shell started by `nsenter` has its caller's environment.
pub(super) const PROFILE: &str = "/etc/profile.d/localvpc.sh";

/// What programs of a host may do through the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ApiAccess {
    /// Read and edit the network, like an EC2 instance whose profile allows everything. Not allowed: commands in other
    /// hosts, devices of the machine, runs of scenarios.
    #[default]
    Full,
    /// Read the network, and explain packets.
    ReadOnly,
    /// No socket.
    None,
}

/// Serves the API to a host. The runtime uses this trait, because the API is a room above it.
pub trait ServeHost: Send + Sync {
    /// Serves the programs of one instance until it ends.
    fn serve(&self, host: HostSocket) -> io::Result<()>;
}

/// The API socket of a running instance.
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

/// The server of the API for the instances of a lab, once there is one. It is held weakly.
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
        // The value is always replaced as a whole.
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

/// The environment variables with the API's address.
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
