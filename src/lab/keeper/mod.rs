//! Keeps hosts and devices alive while their server is replaced or was killed.
//!
//! A keeper is a small process that holds descriptors for a server: network namespaces, TAP devices, and process 1 of
//! each host, which is its child. The server asks it over a unix socket in the folder of its state, and holds copies of
//! the descriptors. When the server is killed, the copies go and the originals stay: hosts run on, frames wait in the
//! queues of their TAPs. The next server of the same state gets the descriptors back.
//!
//! What a keeper holds ends with it, as it ends with a server that has no keeper: the kernel frees namespaces and
//! devices, and kills each process 1 (`PR_SET_PDEATHSIG`). A keeper that holds nothing ends with its last connection.
//! Under systemd devices that are in no host are stored with systemd as well (`systemd`), and outlive the keeper.

mod hold;
mod systemd;
mod wire;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};

pub use hold::hold;
use systemd::{FdStore, Stored};
pub(super) use wire::Launch;
use wire::{Reply, Request, VERSION};
pub use wire::{receive, send};

use super::forking;
use super::instance::lock;

/// The first argument that turns the program into a keeper. Not for manual use.
pub const KEEPER_SUBCOMMAND: &str = "keeper";

/// The keeper's socket in the folder of a state.
pub const SOCKET: &str = "keeper";

/// A connection to a keeper. Clones share it.
#[derive(Clone)]
pub struct Keeper(Arc<Shared>);

struct Shared {
    folder: OwnedFd,
    process: u32,
    /// Connections that no thread uses. A keeper serves each in a thread of its own.
    idle: Mutex<Vec<UnixStream>>,
    /// Set when another server takes over: what is dropped here goes on there.
    let_go: AtomicBool,
    /// What holds devices when the keeper ends, too.
    systemd: Option<FdStore>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.0.process)
    }
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// It cannot be started or does not answer.
    #[error("the keeper of {}: {source}", folder.display())]
    Io {
        /// The folder of the state.
        folder: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It was started by another version of this program.
    #[error(
        "the hosts of {} are held by process {process}, a keeper of another version ({found}, not {VERSION}): end them with \
         'localvpc down --all' and start again",
        folder.display()
    )]
    Version {
        /// The folder of the state.
        folder: PathBuf,
        /// The keeper's process.
        process: u32,
        /// Its version.
        found: u32,
    },
}

/// The path of a socket in a folder, however long the path of the folder is: the name of a unix socket has 107 octets at
/// most (unix(7)).
pub fn socket_in(folder: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// A key that no other entry has. What succeeds a thing of the same name is not taken for it.
pub fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}#{:016x}", rand::random::<u64>())
}

/// The entry of this kind and name among those of a keeper.
pub fn find<'e>(entries: &'e [(String, String)], kind: &str, name: &str) -> Option<&'e (String, String)> {
    let fits = |key: &str| {
        let rest = key.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/'));
        rest.and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('#'))
    };
    entries.iter().find(|(key, _)| fits(key))
}

/// The key of the tracked connections. They are of no use without hosts.
pub const FLOWS: &str = "flows/all#";

/// The kind of a process 1.
pub(super) const MACHINE: &str = "machine";

/// The instance of a process 1, by its key.
fn host_of_machine(key: &str) -> Option<&str> {
    let (host, _) = key.strip_prefix(MACHINE)?.strip_prefix('/')?.split_once('#')?;
    Some(host)
}

impl Keeper {
    /// The keeper of a state that runs already.
    pub fn find(folder: &Path) -> Result<Option<Self>, KeeperError> {
        let wrong = |source| KeeperError::Io {
            folder: folder.to_owned(),
            source,
        };
        let opened = open(
            folder,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let directory = opened.map_err(|error| wrong(error.into()))?;
        let stream = match UnixStream::connect(socket_in(&directory, SOCKET)) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(wrong(error)),
        };
        wire::send(&stream, &Request::Hello, &[]).map_err(wrong)?;
        let gone = || wrong(io::ErrorKind::UnexpectedEof.into());
        match wire::receive(&stream).map_err(wrong)?.ok_or_else(gone)?.0 {
            Reply::Hello {
                version: VERSION,
                process,
            } => Ok(Some(Self(Arc::new(Shared {
                folder: directory,
                process,
                idle: Mutex::new(vec![stream]),
                let_go: AtomicBool::new(false),
                systemd: FdStore::of_environment(),
            })))),
            Reply::Hello { version, process } => Err(KeeperError::Version {
                folder: folder.to_owned(),
                process,
                found: version,
            }),
            other => Err(wrong(unexpected(&other))),
        }
    }

    /// The keeper of a state: the one that runs, or a new one, which is `program` with [`KEEPER_SUBCOMMAND`].
    pub fn find_or_start(folder: &Path, program: &Path) -> Result<Self, KeeperError> {
        let wrong = |source| KeeperError::Io {
            folder: folder.to_owned(),
            source,
        };
        let stored = systemd::given().map_err(wrong)?;
        if let Some(keeper) = Self::find(folder)? {
            // It has them, too.
            drop(stored);
            return Ok(keeper);
        }
        start(folder, program).map_err(wrong)?;
        let keeper = Self::find(folder)?.ok_or_else(|| wrong(io::Error::other("it ended at once")))?;
        for Stored { key, text, descriptors } in stored {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            keeper.ask(&Request::Put { key, text }, &descriptors).map_err(wrong)?;
        }
        Ok(keeper)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.0.process
    }

    /// From now on nothing that is dropped here is taken from the keeper: another server has it.
    pub fn let_go(&self) {
        self.0.let_go.store(true, Ordering::Release);
    }

    fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let idle = lock(&self.0.idle).pop();
        let stream = match idle {
            Some(stream) => stream,
            None => UnixStream::connect(socket_in(&self.0.folder, SOCKET))?,
        };
        wire::send(&stream, request, descriptors)?;
        let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "the keeper is gone");
        let (reply, descriptors) = wire::receive::<Reply>(&stream)?.ok_or_else(gone)?;
        lock(&self.0.idle).push(stream);
        Ok((reply.or_error()?, descriptors))
    }

    /// Has copies of descriptors kept, until the result is dropped.
    pub fn put(&self, key: String, text: String, descriptors: &[BorrowedFd<'_>]) -> io::Result<Kept> {
        let request = Request::Put { key, text };
        self.ask(&request, descriptors)?;
        let Request::Put { key, .. } = request else {
            unreachable!("it was made three lines above")
        };
        Ok(self.adopt(key))
    }

    /// As [`Self::put`], for a device that needs no process of the keeper: where this process is a service of systemd with a
    /// store of descriptors, it outlives the keeper.
    pub fn put_lasting(&self, key: String, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<Kept> {
        let kept = self.put(key, text.to_owned(), descriptors)?;
        if let Some(systemd) = &self.0.systemd {
            systemd.put(&kept.key, text, descriptors)?;
        }
        Ok(kept)
    }

    /// Has systemd hold nothing of an entry.
    fn remove_stored(&self, key: &str) {
        if let Some(Err(error)) = self.0.systemd.as_ref().map(|systemd| systemd.remove(key)) {
            tracing::warn!(key, %error, "systemd does not let go of this");
        }
    }

    /// Has copies of descriptors kept in place of those that had the key before, until the keeper ends.
    pub fn replace(&self, key: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let request = Request::Put {
            key: key.to_owned(),
            text: String::new(),
        };
        self.ask(&request, descriptors).map(drop)
    }

    /// The entry with this key, which is kept until the result is dropped.
    pub fn adopt(&self, key: String) -> Kept {
        Kept {
            keeper: self.clone(),
            key,
        }
    }

    /// All entries: keys and texts.
    pub fn entries(&self) -> io::Result<Vec<(String, String)>> {
        match self.ask(&Request::List, &[])?.0 {
            Reply::Listed(entries) => Ok(entries),
            other => Err(unexpected(&other)),
        }
    }

    /// Copies of the descriptors of an entry.
    pub fn descriptors(&self, key: &str) -> io::Result<Vec<OwnedFd>> {
        Ok(self.ask(&Request::Get { key: key.to_owned() }, &[])?.1)
    }

    /// Starts process 1 of an instance: as a child of the keeper, so that it outlives this process. `control` is the
    /// other end of its standard input, which is kept with it. Returns its number and its descriptor.
    pub(super) fn boot(
        &self,
        key: &str,
        command: (&Path, &[String]),
        [namespace, stdin, control]: [BorrowedFd<'_>; 3],
    ) -> io::Result<(i32, OwnedFd)> {
        let request = Request::Boot {
            key: key.to_owned(),
            program: command.0.to_owned(),
            arguments: command.1.to_vec(),
        };
        self.started(&request, &[namespace, stdin, control])
    }

    /// Starts a command in the instance of a process 1. The last of the descriptors, after process 1, standard output and
    /// standard error, are kept.
    pub(super) fn run(
        &self,
        key: &str,
        text: String,
        launch: Launch,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<(i32, OwnedFd)> {
        let request = Request::Run {
            key: key.to_owned(),
            text,
            launch,
        };
        self.started(&request, descriptors)
    }

    fn started(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<(i32, OwnedFd)> {
        match self.ask(request, descriptors)? {
            (Reply::Started { process }, mut descriptors) if descriptors.len() == 1 => {
                let pidfd = descriptors.remove(0);
                Ok((process, pidfd))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Waits until the process of an entry has ended.
    pub(super) fn wait(&self, key: &str) -> io::Result<ExitStatus> {
        match self.ask(&Request::Wait { key: key.to_owned() }, &[])?.0 {
            Reply::Ended { status } => Ok(ExitStatus::from_raw(status)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends all processes, frees all namespaces and devices, and ends the keeper. Returns when that is done.
    pub fn end(&self) -> io::Result<()> {
        self.let_go();
        if self.0.systemd.is_some() {
            self.entries()?.iter().for_each(|(key, _)| self.remove_stored(key));
        }
        self.ask(&Request::End, &[]).map(drop)
    }
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("the keeper answers something else: {reply:?}"))
}

/// An entry of a keeper. Dropping it removes the entry: the keeper closes its descriptors before this returns.
#[derive(Debug)]
pub struct Kept {
    keeper: Keeper,
    key: String,
}

impl Kept {
    /// The keeper.
    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The key of the entry.
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.keeper.0.let_go.load(Ordering::Acquire) {
            return;
        }
        self.keeper.remove_stored(&self.key);
        let request = Request::Remove { key: self.key.clone() };
        if let Err(error) = self.keeper.ask(&request, &[]) {
            tracing::warn!(key = self.key, %error, "the keeper does not let go of this");
        }
    }
}

/// Starts a keeper, which listens when this returns.
fn start(folder: &Path, program: &Path) -> io::Result<()> {
    let directory = open(
        folder,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let path = socket_in(&directory, SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // What is there belongs to a keeper that is gone: the caller could not connect, and has the folder's lock.
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    let mut command = Command::new(program);
    command
        .arg0("localvpc-keeper")
        .arg(KEEPER_SUBCOMMAND)
        .arg(std::fs::canonicalize(folder)?)
        .current_dir("/")
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = forking::spawn(&mut command)?;
    // While this process lives, the keeper is its child, and has to be reaped if it ends first.
    std::thread::Builder::new().name("keeper".into()).spawn(move || {
        // It fails only when the process was reaped elsewhere.
        let _ = child.wait();
    })?;
    Ok(())
}

/// The descriptors of an entry, which has as many as its kind says.
pub fn exactly<const N: usize>(descriptors: Vec<OwnedFd>) -> io::Result<[OwnedFd; N]> {
    let found = descriptors.len();
    <[OwnedFd; N]>::try_from(descriptors)
        .map_err(|_| io::Error::other(format!("the keeper has {found} descriptors where {N} were kept")))
}

/// Borrows each of some descriptors.
pub(super) fn borrowed<const N: usize>(descriptors: [&dyn AsFd; N]) -> [BorrowedFd<'_>; N] {
    descriptors.map(|descriptor| descriptor.as_fd())
}
