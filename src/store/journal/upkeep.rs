//! Moves commits from the write-ahead log into the database, on a thread of its own, so that no edit waits for it.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::{Writer, schema};
use crate::model::change::Commit;
use crate::store::weight;

/// The size of the log in bytes at which it is moved, and at which writers wait for that so that it starts anew.
const MOVED: u64 = 4 << 20;
const BEGUN_ANEW: u64 = 32 << 20;
/// The number of changes after which the thread checks the log.
const LOOK: usize = 256;

/// The thread, until it is dropped.
#[derive(Debug)]
pub(super) struct Upkeep {
    wake: Option<SyncSender<()>>,
    since: Mutex<usize>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    pub(super) fn start(path: &Path, writer: Arc<Mutex<Writer>>) -> std::io::Result<Self> {
        let database = schema::connect(path).map_err(std::io::Error::other)?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || keep(&database, log.as_ref(), &writer, &woken))?;
        Ok(Self {
            wake: Some(wake),
            since: Mutex::new(0),
            thread: Some(thread),
        })
    }

    /// Counts a commit, and wakes the thread when there may be work.
    pub(super) fn note(&self, commit: &Commit) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        *since += weight(commit);
        if *since < LOOK {
            return;
        }
        if let Some(Ok(()) | Err(TrySendError::Full(()))) = self.wake.as_ref().map(|wake| wake.try_send(())) {
            *since = 0;
        }
    }
}

fn keep(database: &Connection, log: &Path, writer: &Mutex<Writer>, woken: &Receiver<()>) {
    let length = || std::fs::metadata(log).map_or(0, |found| found.len());
    while woken.recv().is_ok() {
        if length() < MOVED {
            continue;
        }
        // It waits for neither readers nor writers (SQLite, "PRAGMA wal_checkpoint").
        let moved = database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(%error, "the write-ahead log is not moved into the database");
            continue;
        }
        // With continuous edits a rest is always left, and the log would grow for ever.
        if length() >= BEGUN_ANEW {
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = writer
                .database
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            if let Err(error) = begun {
                tracing::warn!(%error, "the write-ahead log goes on growing");
            }
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after the journal panicked");
        }
    }
}
