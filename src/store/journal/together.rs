//! Brings commits to the disk together: those that wait for it at the same time share one `fdatasync`.
//!
//! A commit is in the write-ahead log before it is waited for. One of the waiting threads syncs the log, and all commits that
//! were in it by then are on the disk. After a sync that failed it is not known what is on the disk, and a later one that
//! succeeds does not say (fsync(2): an error is reported once), so no further edit is taken.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Writer, head_octets};
use crate::store::StoreError;

/// Syncs the log. Its argument is the last revision in it.
pub(in crate::store) type Syncing = dyn Fn(u64) -> io::Result<()> + Send + Sync;

/// What brings commits to the disk.
pub(in crate::store) struct Together {
    sync: Box<Syncing>,
    /// The last revision in the log.
    written: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Syncs that have begun, and that have ended.
    begun: u64,
    ended: u64,
    /// The last revision that is on the disk.
    durable: u64,
    /// The error of the sync that failed.
    failed: Option<String>,
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Together {
    pub(in crate::store) fn new(sync: Box<Syncing>) -> Self {
        Self {
            sync,
            written: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit is in the log.
    pub(in crate::store) fn wrote(&self, revision: u64) {
        self.written.fetch_max(revision, Ordering::AcqRel);
    }

    /// Why nothing can be promised any more, if a sync has failed.
    pub(in crate::store) fn failure(&self) -> Option<String> {
        self.state().failed.clone()
    }

    /// Returns when the commit of a revision is on the disk.
    pub(in crate::store) fn commit(&self, revision: u64) -> Result<(), String> {
        self.wait(|state| state.durable >= revision)
    }

    /// Returns when all that is in the log now is on the disk.
    pub(in crate::store) fn all(&self) -> Result<(), String> {
        let next = self.state().begun + 1;
        self.wait(|state| state.ended >= next)
    }

    fn wait(&self, done: impl Fn(&State) -> bool) -> Result<(), String> {
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failed {
                return Err(failure.clone());
            }
            if done(&state) {
                return Ok(());
            }
            if state.begun > state.ended {
                // What this call waits for may not be in the sync that runs; then it begins the next one.
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.begun += 1;
            drop(state);
            self.sync_once();
            state = self.state();
        }
    }

    fn sync_once(&self) {
        let written = self.written.load(Ordering::Acquire);
        let mut running = Running {
            together: self,
            written,
            outcome: Err("the thread that synced it panicked".to_owned()),
        };
        running.outcome = (self.sync)(written).map_err(|error| error.to_string());
    }
}

/// A sync that has begun. It ends when this is dropped, also by a panic: the threads that wait for it must not wait for ever.
struct Running<'t> {
    together: &'t Together,
    written: u64,
    outcome: Result<(), String>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.together.state();
        state.ended += 1;
        match std::mem::replace(&mut self.outcome, Ok(())) {
            Ok(()) => state.durable = state.durable.max(self.written),
            Err(failure) => state.failed = Some(failure),
        }
        self.together.changed.notify_all();
    }
}

/// What brings the commits of a log to the disk. Those that it has already are there when this returns, if `now` says so. Where
/// the file system takes no write-ahead log, SQLite syncs in each commit.
pub(super) fn on_disk(path: &Path, writer: &Writer, now: bool) -> Result<Option<Together>, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let wrong = |source| StoreError::Open {
        path: PathBuf::from(&log),
        source,
    };
    // SQLite removes it with its last connection only, and has no lock on it that closing this one could end.
    let file = match OpenOptions::new().write(true).open(&log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let full = writer.database.execute_batch("PRAGMA synchronous = FULL");
            return full.map(|()| None).map_err(|error| StoreError::of(path, error));
        }
        opened => opened.map_err(wrong)?,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(wrong)?;
    let head = writer.head.try_clone().map_err(wrong)?;
    let together = Together::new(Box::new(move |latest| {
        file.sync_data()?;
        // What is on the disk is acknowledged from now on. The note is worth less than the edits, which are kept.
        if let Err(error) = head.write_all_at(&head_octets(latest), 0) {
            tracing::warn!(%error, "the last revision is not noted");
        }
        Ok(())
    }));
    together.wrote(writer.latest);
    if !now {
        return Ok(Some(together));
    }
    match together.all() {
        Ok(()) => Ok(Some(together)),
        Err(what) => Err(StoreError::Unsynced {
            path: path.to_owned(),
            what,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn commits_that_wait_at_the_same_time_share_a_sync() {
        let count = Arc::new(AtomicU64::new(0));
        let (counted, durable) = (Arc::clone(&count), Arc::new(AtomicU64::new(0)));
        let together = Together::new(Box::new(move |_| {
            std::thread::sleep(Duration::from_millis(5));
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        let revision = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let own = revision.fetch_add(1, Ordering::AcqRel) + 1;
                        together.wrote(own);
                        together.commit(own).unwrap();
                        durable.fetch_add(1, Ordering::Relaxed);
                        assert!(together.state().durable >= own);
                    }
                });
            }
        });
        assert_eq!(durable.load(Ordering::Relaxed), 160);
        let syncs = count.load(Ordering::Relaxed);
        assert!((10..80).contains(&syncs), "160 commits took {syncs} syncs");
    }

    /// A commit that is written while a sync runs is not promised by that sync.
    #[test]
    fn a_commit_that_comes_during_a_sync_waits_for_the_next() {
        let (begun, begins) = std::sync::mpsc::channel();
        let (ends, end) = std::sync::mpsc::channel::<()>();
        let (begun, end) = (Mutex::new(begun), Mutex::new(end));
        let together = Together::new(Box::new(move |_| {
            begun.lock().unwrap().send(()).unwrap();
            // Without a sender a sync ends at once.
            let _ = end.lock().unwrap().recv();
            Ok(())
        }));
        std::thread::scope(|scope| {
            together.wrote(1);
            let first = scope.spawn(|| together.commit(1));
            begins.recv().unwrap();
            together.wrote(2);
            let second = scope.spawn(|| together.commit(2));
            let shelf = scope.spawn(|| together.all());
            ends.send(()).unwrap();
            assert_eq!(first.join().unwrap(), Ok(()));
            begins.recv().unwrap();
            assert!(!second.is_finished(), "the first sync may not have had it");
            // A thread that came late begins a third one.
            drop(ends);
            let (second, shelf) = (second.join().unwrap(), shelf.join().unwrap());
            assert!(second.is_ok() && shelf.is_ok());
        });
    }

    #[test]
    fn a_sync_that_panics_fails_and_leaves_no_thread_waiting() {
        let (begun, begins) = std::sync::mpsc::channel();
        let (goes_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let (begun, may_go_on) = (Mutex::new(begun), Mutex::new(may_go_on));
        let together = Arc::new(Together::new(Box::new(move |_| {
            begun.lock().unwrap().send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
            panic!("a defect of a disk driver");
        })));
        together.wrote(1);
        let commit = |together: &Arc<Together>| {
            let (together, (told, tells)) = (Arc::clone(together), std::sync::mpsc::channel());
            // A thread that waits for ever must fail the test, not stop it.
            let thread = std::thread::spawn(move || told.send(together.commit(1)));
            (thread, tells)
        };
        let (first, _) = commit(&together);
        begins.recv().unwrap();
        let (_, waiting) = commit(&together);
        let (_, late) = commit(&together);
        goes_on.send(()).unwrap();
        assert!(first.join().is_err(), "the panic is not hidden");
        for outcome in [waiting, late] {
            let outcome = outcome
                .recv_timeout(Duration::from_secs(20))
                .expect("it waits for ever");
            assert_eq!(outcome, Err("the thread that synced it panicked".to_owned()));
        }
        assert!(together.failure().is_some());
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_promised_any_more() {
        let together = Together::new(Box::new(|_| Err(io::Error::other("the disk is gone"))));
        together.wrote(1);
        assert_eq!(together.commit(1), Err("the disk is gone".to_owned()));
        assert_eq!(together.failure().as_deref(), Some("the disk is gone"));
        assert_eq!(together.all(), Err("the disk is gone".to_owned()));
    }
}
