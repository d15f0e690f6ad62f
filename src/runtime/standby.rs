//! Stands by for the server of a state, and takes its place when it has died: with the network in memory already.
//!
//! A server holds a lock on the file `serving` in the folder of its state for as long as it lives; at a hand-over the next server
//! gets the lock with its descriptor (flock(2): the lock is the open file's). A process that stands by reads the state and follows
//! the commits of the server, and waits for that lock. The kernel gives it the lock at the instant at which the server is gone.
//! The file then says whether the server died, or was ended with its hosts, so that no process goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::control::Controller;
use crate::store::{FollowError, Journal, StoreError};

/// The file whose lock the server of a state holds.
const FILE: &str = "serving";

/// What the file says when the server was ended in order.
const ENDED: &str = "ended";

/// How often a process that stands by reads the commits of the server.
const FOLLOWED: Duration = Duration::from_millis(20);

/// How long a process that stood by may have the lock before it sees that another server was quicker.
const YIELDED: Duration = Duration::from_secs(10);

/// Why a process cannot stand by.
#[derive(Debug, thiserror::Error)]
pub enum StandbyError {
    /// The file cannot be opened, locked or read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The commits of the server cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Commits were dropped before they were read: the state has to be read anew.
    #[error("the server has dropped edits before they were read here")]
    Behind,
}

impl From<FollowError> for StandbyError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Gone { .. } => Self::Behind,
            FollowError::Store(error) => Self::Store(error),
        }
    }
}

/// That this process is the server of a state.
#[derive(Debug)]
pub struct Serving {
    file: File,
}

/// What the file says of the last process that had its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It is starting, or died while it did. Or there was none.
    Nothing,
    /// It serves, or died while it did.
    Process(u32),
    /// It was ended in order.
    Ended,
}

/// How it ended that a process stood by.
#[derive(Debug)]
pub enum Stood {
    /// The server has died, and this process has the state.
    Succeeded {
        /// The right to serve.
        serving: Serving,
        /// The process that has died.
        process: u32,
        /// When its death was known.
        since: Instant,
    },
    /// The server was ended in order.
    Ended,
}

fn file_error(folder: &Path) -> impl Fn(io::Error) -> StandbyError {
    let path = folder.join(FILE);
    move |source| StandbyError::File {
        path: path.clone(),
        source,
    }
}

fn open(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(folder.join(FILE))
}

fn said(mut file: &File) -> io::Result<Said> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(match text.trim() {
        ENDED => Said::Ended,
        number => number.parse().map_or(Said::Nothing, Said::Process),
    })
}

/// What the file of a state says now.
pub fn said_of(folder: &Path) -> Result<Said, StandbyError> {
    open(folder).and_then(|file| said(&file)).map_err(file_error(folder))
}

impl Serving {
    /// Begins to be the server of a state, if no other process is. The file says nothing until [`Self::ready`].
    pub fn try_begin(folder: &Path) -> Result<Option<Self>, StandbyError> {
        let begun = || {
            let file = open(folder)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                locked => locked?,
            }
            file.set_len(0)?;
            Ok(Some(Self { file }))
        };
        begun().map_err(file_error(folder))
    }

    /// As [`Self::try_begin`], for a process that has the state already: one that stood by may have the lock, and gives it up.
    pub fn begin(folder: &Path) -> Result<Self, StandbyError> {
        let began = Instant::now();
        loop {
            if let Some(serving) = Self::try_begin(folder)? {
                return Ok(serving);
            }
            if began.elapsed() > YIELDED {
                return Err(file_error(folder)(io::ErrorKind::WouldBlock.into()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Goes on with the lock of the server that hands over.
    pub fn inherited(lock: OwnedFd) -> Self {
        Self { file: lock.into() }
    }

    /// A copy of the lock for the next server.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }

    /// This process serves from now on: others can stand by.
    pub fn ready(&self) -> io::Result<()> {
        self.say(&std::process::id().to_string())
    }

    /// The server is ended in order, and its hosts with it.
    pub fn ended(&self) -> io::Result<()> {
        self.say(ENDED)
    }

    fn say(&self, word: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{word}")
    }
}

/// Waits for the lock, on a thread of its own.
fn waiting(folder: &Path) -> Result<Receiver<io::Result<File>>, StandbyError> {
    let file = open(folder).map_err(file_error(folder))?;
    let (told, tells) = channel();
    let thread = std::thread::Builder::new().name("standby".into());
    let wait = move || {
        let locked = loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                locked => break locked,
            }
        };
        // The other end is gone when this process ends.
        let _ = told.send(locked.map(|()| file).map_err(io::Error::from));
    };
    thread.spawn(wait).map_err(file_error(folder))?;
    Ok(tells)
}

/// Follows the server of a state until it is gone. `journal` is its folder, opened to follow it, and the network of `controller` that
/// of `journal`.
pub fn stand_by(folder: &Path, journal: &Journal, controller: &Controller) -> Result<Stood, StandbyError> {
    controller.freeze(true);
    let mut lock = waiting(folder)?;
    loop {
        let file = match lock.recv_timeout(FOLLOWED) {
            Err(RecvTimeoutError::Timeout) => {
                controller.catch_up(&journal.catch_up()?);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
            Ok(locked) => locked,
        };
        let file = file.map_err(file_error(folder))?;
        let since = Instant::now();
        let process = match said(&file).map_err(file_error(folder))? {
            Said::Ended => return Ok(Stood::Ended),
            Said::Process(process) => process,
            // It began in between and died at once, or it has the state and waits for this lock.
            Said::Nothing => 0,
        };
        match journal.succeed() {
            Ok(commits) => controller.catch_up(&commits),
            // Another server was started in the same instant: it waits for the lock.
            Err(FollowError::Store(StoreError::InUse { .. })) => {
                drop(file);
                std::thread::sleep(FOLLOWED * 5);
                lock = waiting(folder)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        controller.freeze(false);
        let serving = Serving { file };
        return Ok(Stood::Succeeded {
            serving,
            process,
            since,
        });
    }
}
