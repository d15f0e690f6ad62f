//! Opens the sockets of the API and serves it on them: on loopback or a unix socket by default, and never beyond
//! loopback without a token.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustix::fs::Gid;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::accept::{Door, Listener};
use super::caller::SocketOwners;
use super::connections::{ConnectionLimits, Connections};
use super::guard::is_loopback;
use super::state::AppState;
use crate::lab::descriptors::{self, Reserve};
use crate::runtime::NamedSocket;
use crate::runtime::cleanup::{Record, SOCKET};

/// The grace period of requests that are under way when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Descriptors reserved for connections.
const RESERVED: usize = 16;

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// TCP addresses. Those beyond loopback require a token.
    pub listen: Vec<SocketAddr>,
    /// A unix socket, accessible to its owner only.
    pub unix: Option<PathBuf>,
    /// A group whose members may use the unix socket too.
    pub unix_group: Option<u32>,
    /// Limits of connections; derived from the limit of open files if left out.
    pub connections: Option<ConnectionLimits>,
    /// The record of the socket, so that it can be cleaned up after a server that was killed.
    pub record: Option<Arc<Record>>,
    /// The address for AWS clients, in addition to those above.
    pub ec2: Option<Ec2Address>,
    /// Sockets that listen already, by the names that [`Bound::sockets`] gives them: those of the server that is replaced.
    pub inherited: Arc<Vec<NamedSocket>>,
}

impl ServerConfig {
    /// The inherited socket of this name.
    fn inherited(&self, name: &str) -> Option<io::Result<OwnedFd>> {
        let found = self.inherited.iter().find(|(known, _)| known == name);
        found.map(|(_, socket)| socket.try_clone())
    }

    /// A TCP listener at an address: the inherited one or a new one.
    async fn listener(&self, address: SocketAddr) -> io::Result<TcpListener> {
        match self.inherited(&name_of(address)) {
            Some(socket) => TcpListener::from_std(std::net::TcpListener::from(socket?)),
            None => TcpListener::bind(address).await,
        }
    }
}

/// The name of a TCP socket for the next server.
fn name_of(address: SocketAddr) -> String {
    format!("tcp:{address}")
}

/// The name of a unix socket for the next server.
fn name_of_path(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("unix:{}", path.display())
}

/// A TCP address for AWS clients. The rules of the other addresses apply to it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ec2Address {
    /// The address.
    pub address: SocketAddr,
    /// Whether the server ends if the address is in use; otherwise it continues without it.
    pub required: bool,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No address and no socket.
    #[error("there is nothing to listen on: give an address such as 127.0.0.1:8089, or a path for a unix socket")]
    Nowhere,
    /// Every machine that reaches the address could change the network.
    #[error("{0} can be reached from other machines: set a token, or listen on 127.0.0.1, [::1] or a unix socket")]
    NoToken(SocketAddr),
    /// Running commands requires a known caller.
    #[error("running commands in instances takes a token or a unix socket: set one of them, or do not allow it")]
    ExecNeedsToken,
    /// The address is not available.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address or path.
        address: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Another server answers on the socket.
    #[error("a server is already listening on {0}: stop it, or choose another path")]
    InUse(PathBuf),
}

/// The sockets of a server, opened before it serves, so that its addresses are known and errors come early.
#[derive(Debug)]
pub struct Bound {
    tcp: Vec<TcpListener>,
    ec2: Option<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
    door: Door,
}

impl Bound {
    /// Checks the rules and opens the sockets.
    pub async fn bind(config: &ServerConfig, state: &AppState) -> Result<Self, ServeError> {
        if config.listen.is_empty() && config.unix.is_none() {
            return Err(ServeError::Nowhere);
        }
        let has_token = state.guard.token.is_some();
        let ec2 = config.ec2.map(|ec2| ec2.address);
        if let Some(address) =
            (config.listen.iter().chain(&ec2)).find(|address| !has_token && !is_loopback(address.ip()))
        {
            return Err(ServeError::NoToken(*address));
        }
        let known = has_token || state.guard.guest_token.is_some();
        if state.permissions().exec && !known && config.unix.is_none() {
            return Err(ServeError::ExecNeedsToken);
        }
        let mut tcp = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            let wrong = |source| ServeError::Bind {
                address: address.to_string(),
                source,
            };
            tcp.push(config.listener(*address).await.map_err(wrong)?);
        }
        let ec2 = match config.ec2 {
            Some(ec2) => bind_ec2(config, ec2).await?,
            None => None,
        };
        let unix = match &config.unix {
            Some(path) => Some((bind_unix(path, config).await?, path.clone())),
            None => None,
        };
        let limits = config.connections;
        let limits = limits.unwrap_or_else(|| ConnectionLimits::of_descriptors(descriptors::limit()));
        let door = Door {
            connections: Arc::new(Connections::new(limits)),
            owners: Arc::new(SocketOwners::new()),
            reserve: Arc::new(Reserve::of(RESERVED)),
        };
        state.serves(&door.connections);
        Ok(Self { tcp, ec2, unix, door })
    }

    /// The TCP addresses, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The address that serves AWS clients, if it was available.
    pub fn ec2_address(&self) -> Option<SocketAddr> {
        self.ec2.as_ref()?.local_addr().ok()
    }

    /// Copies of the sockets, for the server that replaces this one.
    pub fn sockets(&self) -> io::Result<Vec<NamedSocket>> {
        let mut sockets = Vec::new();
        for listener in self.tcp.iter().chain(&self.ec2) {
            sockets.push((name_of(listener.local_addr()?), listener.as_fd().try_clone_to_owned()?));
        }
        if let Some((listener, path)) = &self.unix {
            sockets.push((name_of_path(path), listener.as_fd().try_clone_to_owned()?));
        }
        Ok(sockets)
    }

    /// Serves until `shutdown` resolves, then ends the streams and waits some seconds for the requests that are under
    /// way. `shutdown` gives whether the unix socket is left to another server.
    pub async fn serve(self, router: Router, state: AppState, shutdown: impl Future<Output = bool>) -> io::Result<()> {
        let path = self.unix.as_ref().map(|(_, path)| path.clone());
        let unix = self.unix.map(|(listener, _)| Listener::Unix(listener));
        let listeners = self.tcp.into_iter().chain(self.ec2).map(Listener::Tcp).chain(unix);
        let mut servers = Vec::new();
        for listener in listeners {
            let serving = listener.serve(router.clone(), self.door.clone(), state.stopping(), GRACE);
            servers.push(tokio::spawn(serving));
        }
        let replaced = shutdown.await;
        state.stop();
        let mut outcome = Ok(());
        for server in servers {
            outcome = outcome.and(server.await.map_err(io::Error::other));
        }
        if let Some(path) = path.filter(|_| !replaced) {
            // Another process may have put its socket in this place; then that one is removed too.
            let _ = std::fs::remove_file(path);
        }
        outcome
    }
}

/// Serves the whole API until `shutdown` resolves.
pub async fn serve(
    config: &ServerConfig,
    router: Router,
    state: AppState,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let bound = Bound::bind(config, &state).await?;
    for address in bound.addresses() {
        tracing::info!(%address, "listening");
    }
    let shutdown = async {
        shutdown.await;
        false
    };
    let served = bound.serve(router, state, shutdown).await;
    served.map_err(|source| ServeError::Bind {
        address: "the open sockets".to_owned(),
        source,
    })
}

/// Opens the address for AWS clients; `None` if it is in use and not required.
async fn bind_ec2(config: &ServerConfig, ec2: Ec2Address) -> Result<Option<TcpListener>, ServeError> {
    let Ec2Address { address, required } = ec2;
    match config.listener(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(source) if required => Err(ServeError::Bind {
            address: address.to_string(),
            source,
        }),
        Err(error) => {
            tracing::warn!(
                %address, %error,
                "AWS clients are not served at their usual address: choose another with --ec2 ADDRESS:PORT, or none with --ec2 off"
            );
            Ok(None)
        }
    }
}

/// Creates a unix socket that only its owner, and the group if there is one, can use from the first moment: it is bound
/// in a directory that only its owner may enter, and then renamed to its path.
async fn bind_unix(path: &Path, config: &ServerConfig) -> Result<UnixListener, ServeError> {
    let record = config.record.as_deref();
    let wrong = |source| ServeError::Bind {
        address: path.display().to_string(),
        source,
    };
    if let Some(socket) = config.inherited(&name_of_path(path)) {
        if let Some(record) = record {
            let noted = path.symlink_metadata().and_then(|made| record.socket(path, &made));
            noted.map_err(wrong)?;
        }
        let listener = socket.and_then(|socket| UnixListener::from_std(socket.into()));
        return listener.map_err(wrong);
    }
    let dead = match UnixStream::connect(path).await {
        // No process has it open (connect(2)).
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // A server that is too busy to answer counts as one.
        Ok(_) => return Err(ServeError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(ServeError::InUse(path.to_owned())),
        Err(error) => return Err(wrong(error)),
    };
    if path
        .symlink_metadata()
        .is_ok_and(|found| !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()))
    {
        return Err(wrong(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        )));
    }
    if dead {
        tracing::warn!(socket = %path.display(), "a server that is gone has left its socket: it is replaced");
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let private = directory.join(format!(".localvpc-{}", std::process::id()));
    if let Some(record) = record {
        record.directory(&private).map_err(wrong)?;
    }
    let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&private);
    made.map_err(wrong)?;
    let inner = private.join(SOCKET);
    let bound = UnixListener::bind(&inner).and_then(|listener| {
        let mode = match config.unix_group {
            Some(group) => {
                rustix::fs::chown(&inner, None, Some(Gid::from_raw(group)))?;
                0o660
            }
            None => 0o600,
        };
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(mode))?;
        if let Some(record) = record {
            record.socket(path, &inner.symlink_metadata()?)?;
        }
        std::fs::rename(&inner, path)?;
        Ok(listener)
    });
    // Removes what a failure left in it.
    let _ = std::fs::remove_dir_all(&private);
    bound.map_err(wrong)
}
