//! Hands a running network over to another process: `serve --replace` takes over from the server of the same state.
//!
//! | the next server | the one that runs |
//! |---|---|
//! | `Begin` | refuses edits from now on, releases the state, gives its listening sockets |
//! | reads the state, takes hosts and TAPs from the keeper, reads no frame yet | forwards |
//! | `Flows` | gives the tracked connections, and forwards |
//! | `Take` | stops reading frames, and gives the connections that were refreshed since, and the bindings of NAT gateways |
//! | forwards; `Done` | ends, and leaves everything where it is |
//!
//! Frames that arrive between the last two lines wait in the queues of the TAPs. Until `Done`, the end of the next server
//! makes the one that runs go on as if nothing had been.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};

use super::{Runtime, flows, lock};
use crate::lab::keeper;

/// The socket of a server in the folder of its state.
const SOCKET: &str = "replace";

/// The version of the messages.
const VERSION: u32 = 1;

/// How long the next server may take to read the state, and to go on when frames wait.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_OF_FRAMES: Duration = Duration::from_secs(5);

/// What the next server asks for.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Begin { version: u32 },
    Flows,
    Take,
    Done,
}

/// What the running one answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// It yields. The sockets of the message are those that it listens on, under these names.
    Yielding { process: u32, listeners: Vec<String> },
    /// So many octets of connections follow.
    Flows { octets: u64 },
    /// It does not.
    Refused { problem: String },
}

/// A listening socket, and its address.
pub type NamedSocket = (String, OwnedFd);

/// Why a server is not replaced.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// The other process does not answer as agreed.
    #[error("the server that is to be replaced: {0}")]
    Io(#[from] io::Error),
    /// The other process refuses.
    #[error("the server that is to be replaced refuses: {0}")]
    Refused(String),
}

fn folder_of(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// A hand-over from the side of the next server.
#[derive(Debug)]
pub struct Succession {
    stream: UnixStream,
    /// The process of the server that runs.
    pub process: u32,
    /// The sockets that it listens on.
    pub listeners: Vec<NamedSocket>,
}

impl Succession {
    /// Asks the server of a state to yield. None if no server runs.
    pub fn begin(folder: &Path) -> Result<Option<Self>, SuccessionError> {
        let directory = match folder_of(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let stream = match UnixStream::connect(keeper::socket_in(&directory, SOCKET)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            connected => connected?,
        };
        stream.set_read_timeout(Some(PATIENCE_OF_FRAMES))?;
        keeper::send(&stream, &Request::Begin { version: VERSION }, &[])?;
        match received::<Reply>(&stream)? {
            (Reply::Yielding { process, listeners }, descriptors) if listeners.len() == descriptors.len() => {
                Ok(Some(Self {
                    stream,
                    process,
                    listeners: listeners.into_iter().zip(descriptors).collect(),
                }))
            }
            (Reply::Refused { problem }, _) => Err(SuccessionError::Refused(problem)),
            (other, _) => Err(unexpected(&other).into()),
        }
    }

    /// Goes on with the ports, which the runtime has and does not read yet. Returns how long frames had to wait.
    pub fn take(self, runtime: &Runtime) -> Result<Duration, SuccessionError> {
        let flows = self.flows(&Request::Flows)?;
        flows::resume(runtime.controller(), runtime.switch(), &flows)?;
        let began = Instant::now();
        let flows = self.flows(&Request::Take)?;
        flows::resume(runtime.controller(), runtime.switch(), &flows)?;
        runtime.switch().resume();
        let waited = began.elapsed();
        keeper::send(&self.stream, &Request::Done, &[])?;
        Ok(waited)
    }

    fn flows(&self, request: &Request) -> Result<Vec<u8>, SuccessionError> {
        keeper::send(&self.stream, request, &[])?;
        let octets = match received::<Reply>(&self.stream)?.0 {
            Reply::Flows { octets } => octets,
            Reply::Refused { problem } => return Err(SuccessionError::Refused(problem)),
            other => return Err(unexpected(&other).into()),
        };
        let mut flows = Vec::new();
        (&self.stream).take(octets).read_to_end(&mut flows)?;
        Ok(flows)
    }
}

fn received<T: serde::de::DeserializeOwned>(stream: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    keeper::receive(stream)?.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection"))
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("it answers something else: {reply:?}"))
}

/// Waits for the next server, in the folder of a state, until it is dropped.
#[derive(Debug)]
pub struct Yielding {
    path: PathBuf,
    /// Open for as long as the path is used.
    _folder: OwnedFd,
}

/// What a server hands over.
struct Heritage {
    runtime: Weak<Runtime>,
    listeners: Vec<NamedSocket>,
    /// Called when the next server has everything.
    replaced: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Yielding {
    /// Begins to wait. `replaced` is called when another server has taken over; this one then has to end and to leave
    /// everything as it is.
    pub fn start(
        folder: &Path,
        runtime: &Arc<Runtime>,
        listeners: Vec<NamedSocket>,
        replaced: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let directory = folder_of(folder)?;
        let path = keeper::socket_in(&directory, SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // The state is this server's, so the socket was an earlier one's.
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let heritage = Heritage {
            runtime: Arc::downgrade(runtime),
            listeners,
            replaced: Mutex::new(Some(Box::new(replaced))),
        };
        std::thread::Builder::new().name("succession".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                match heritage.serve(&stream) {
                    Ok(true) => break,
                    Ok(false) => tracing::warn!("another server began to take over and did not: this one goes on"),
                    Err(error) => {
                        tracing::warn!(%error, "another server began to take over and failed: this one goes on");
                    }
                }
            }
        })?;
        Ok(Self {
            path,
            _folder: directory,
        })
    }
}

impl Drop for Yielding {
    fn drop(&mut self) {
        // Another process may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Heritage {
    /// Hands over to one server; true when it has everything.
    fn serve(&self, stream: &UnixStream) -> io::Result<bool> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let refuse = |problem: String| keeper::send(stream, &Reply::Refused { problem }, &[]).map(|()| false);
        match received::<Request>(stream)?.0 {
            Request::Begin { version: VERSION } => {}
            Request::Begin { version } => {
                return refuse(format!("it speaks version {VERSION} of the hand-over, not {version}"));
            }
            other => return refuse(format!("{other:?} comes before Begin")),
        }
        let Some(runtime) = self.runtime.upgrade() else {
            return refuse("it is ending".to_owned());
        };
        let controller = runtime.controller();
        controller.freeze(true);
        controller.store().release();
        let taken = self.hand_over(&runtime, stream);
        if matches!(taken, Ok(true)) {
            if let Some(keeper) = runtime.lab().keeper() {
                keeper.let_go();
            }
            if let Some(replaced) = lock(&self.replaced).take() {
                replaced();
            }
            return Ok(true);
        }
        runtime.switch().resume();
        if let Err(error) = controller.store().reclaim() {
            tracing::error!(%error, "the state is another server's now: this one forwards and takes no edit");
            return taken;
        }
        controller.freeze(false);
        controller.resume_life();
        taken
    }

    fn hand_over(&self, runtime: &Runtime, stream: &UnixStream) -> io::Result<bool> {
        let yielding = Reply::Yielding {
            process: std::process::id(),
            listeners: self.listeners.iter().map(|(name, _)| name.clone()).collect(),
        };
        let descriptors: Vec<_> = self.listeners.iter().map(|(_, socket)| socket.as_fd()).collect();
        keeper::send(stream, &yielding, &descriptors)?;
        let mut since = 0;
        let written = |part| flows::written(runtime.controller(), runtime.switch(), part);
        while let Some((request, _)) = keeper::receive::<Request>(stream)? {
            match request {
                Request::Done => return Ok(true),
                Request::Flows => {
                    let next = flows::second(runtime.switch());
                    send_flows(stream, &written(flows::Part::Early))?;
                    since = next;
                }
                Request::Take => {
                    stream.set_read_timeout(Some(PATIENCE_OF_FRAMES))?;
                    if !runtime.switch().pause() {
                        let problem = "its workers do not stop".to_owned();
                        keeper::send(stream, &Reply::Refused { problem }, &[])?;
                        return Ok(false);
                    }
                    send_flows(stream, &written(flows::Part::Since(since)))?;
                }
                Request::Begin { .. } => return Err(io::Error::other("it begins twice")),
            }
        }
        Ok(false)
    }
}

fn send_flows(mut stream: &UnixStream, flows: &[u8]) -> io::Result<()> {
    keeper::send(
        stream,
        &Reply::Flows {
            octets: flows.len() as u64,
        },
        &[],
    )?;
    stream.write_all(flows)
}
