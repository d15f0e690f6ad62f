//! Keeps commits in a folder: a SQLite database in WAL mode, so that a reader with `sqlite3` can look into it.
//!
//! | file | what it holds |
//! |---|---|
//! | `network.db`, `network.db-wal`, `network.db-shm` | commits, records, mappings, shelves |
//! | `head` | the last revision that was acknowledged, so that a log that was cut is noticed |
//! | `lock` | the process that has the folder |
//!
//! Each commit is one transaction, which writes the commit and updates the records: a start reads records, however long
//! the log is, and old commits are dropped without a snapshot. With `synchronous=NORMAL` a commit is in the page cache
//! when it is acknowledged, and survives the process. Once the log is synced it is on the disk, and survives the machine
//! (SQLite, "Write-Ahead Logging"): with `FULL` SQLite would sync it in each commit; `together` does so for all commits that
//! wait, and no lock is held meanwhile. SQLite checks neither pages nor rows, so each commit has a checksum, and the last one the
//! sum of all records.

mod content;
mod follower;
mod opening;
mod schema;
mod together;
mod upkeep;

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::Row;
use super::{CommitError, FollowError, Guard, Kept, Loaded, Store, StoreError, mapping_of, sum};
use crate::model::change::{Change, Commit, Entry};
use crate::model::ids::ResourceId;
use crate::model::mapping::{MappingChange, Owner};
use crate::model::{AddressOrPrefix, InterfaceId, SubnetId};
use content::content;
pub(super) use schema::VERSION;
use together::{Together, on_disk};
use upkeep::Upkeep;

/// The default size of the commits, in bytes; the file has some overhead.
pub const HISTORY: u64 = 48 << 20;

/// Commits that are dropped with one that is kept, so that no edit waits long.
const DROPPED: i64 = 64;

/// The failures that an acknowledged edit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process: it is in the page cache.
    #[default]
    Process,
    /// The end of the machine: it is on the disk.
    Power,
}

/// Options of a journal.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The failures that an acknowledged edit survives.
    pub durability: Durability,
    /// The size of the commits, in bytes.
    pub history: u64,
    /// The region of the network.
    pub region: String,
    /// Whether to open the folder although acknowledged edits are missing at the end.
    pub recover: bool,
}

impl JournalOptions {
    /// Options for a network in a region, with defaults for the rest.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            durability: Durability::Process,
            history: HISTORY,
            region: region.into(),
            recover: false,
        }
    }
}

/// A store in a folder.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    writer: Arc<Mutex<Writer>>,
    reader: Mutex<Connection>,
    // Ends before the connections do.
    upkeep: Upkeep,
    /// What brings commits to the disk, where that is promised.
    together: Option<Together>,
    /// The content that was read and checked when the folder was opened, until it is asked for: reading a million mappings
    /// takes as long as all the rest of a start.
    opened: Mutex<Option<Loaded>>,
    folder: PathBuf,
    lock: Mutex<Option<File>>,
    /// As in [`JournalOptions::recover`].
    recover: bool,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) database: Connection,
    head: File,
    history: i64,
    latest: u64,
    next_sequence: u64,
    /// The sum of all records and mappings.
    state: u64,
    /// The sum of all mappings when the folder was read, and since then as far as another server was followed.
    mappings: u64,
    /// The checksum of each record.
    records: HashMap<String, u64>,
    /// The size that the commits up to the last one would have if none had been dropped.
    total: i64,
    /// The oldest commit that is kept; 0 if there is none.
    oldest: i64,
    /// The total at the oldest one, without it.
    dropped: i64,
}

impl Journal {
    /// Opens a folder, which is created if it does not exist. Its content is checked first.
    pub fn open(folder: &Path, options: &JournalOptions) -> Result<Self, StoreError> {
        if !folder.is_dir() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| StoreError::Open {
                path: folder.to_owned(),
                source,
            })?;
        }
        Self::read(folder, options, Some(locked(folder)?))
    }

    /// Reads a folder. Without its lock another server writes to it meanwhile.
    fn read(folder: &Path, options: &JournalOptions, lock: Option<File>) -> Result<Self, StoreError> {
        let open_error = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Open { path, source }
        };
        let path = folder.join("network.db");
        let head_path = folder.join("head");
        let begun = path.exists();
        let database = schema::open(&path, options)?;
        let mut head = OpenOptions::new();
        head.read(true)
            .write(true)
            .mode(0o600)
            .create(!begun || options.recover);
        let head = head.open(&head_path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::Damaged {
                path: head_path.clone(),
                what: "it is missing next to network.db".to_owned(),
            },
            _ => StoreError::Open {
                path: head_path.clone(),
                source,
            },
        })?;
        let (writer, loaded) = Writer::read(database, head, &path, options)?;
        if lock.is_some() {
            writer.compare_head(&path, &head_path, options.recover)?;
        }
        let reader = schema::connect(&path).map_err(|error| StoreError::of(&path, error))?;
        let together = match options.durability {
            Durability::Process => None,
            Durability::Power => on_disk(&path, &writer, lock.is_some())?,
        };
        let writer = Arc::new(Mutex::new(writer));
        let upkeep = Upkeep::start(&path, Arc::clone(&writer)).map_err(open_error(&path))?;
        Ok(Self {
            path,
            writer,
            reader: Mutex::new(reader),
            upkeep,
            together,
            opened: Mutex::new(Some(loaded)),
            folder: folder.to_owned(),
            lock: Mutex::new(lock),
            recover: options.recover,
        })
    }

    /// Whether a server uses a folder.
    pub fn is_used(folder: &Path) -> bool {
        matches!(locked(folder), Err(StoreError::InUse { .. }))
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        // A transaction that a panic left open is rolled back by the next one, and counts follow a commit.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        // Reading leaves nothing half done.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: rusqlite::Error) -> StoreError {
        StoreError::of(&self.path, error)
    }

    fn unsynced(&self, what: String) -> StoreError {
        let path = self.path.clone();
        StoreError::Unsynced { path, what }
    }

    /// Syncs by this function from now on, for a test of slow and broken disks.
    #[cfg(test)]
    pub(crate) fn syncing_by(mut self, sync: Box<together::Syncing>) -> Self {
        self.together = Some(Together::new(sync));
        self
    }
}

/// Locks the folder for this process, for as long as the file is open.
fn locked(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let wrong = |source| StoreError::Open {
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(wrong)?;
    if let Err(error) = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(wrong(error.into()));
        }
        let mut text = String::new();
        // The number is for the message; the lock holds without it.
        let _ = file.read_to_string(&mut text);
        return Err(StoreError::InUse {
            path: folder.to_owned(),
            by: text.trim().parse().ok(),
        });
    }
    let number = format!("{}\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.write_all(number.as_bytes()));
    written.map_err(wrong)?;
    Ok(file)
}

impl Writer {
    fn write_head(&self) -> std::io::Result<()> {
        self.head.write_all_at(&head_octets(self.latest), 0)
    }

    fn holds(&self, guard: &Guard) -> rusqlite::Result<bool> {
        let found: Option<i64> = match mapping_of(&guard.path) {
            Some((subnet, address)) => self
                .database
                .prepare_cached("SELECT revision FROM mappings WHERE subnet = ? AND address = ?")?
                .query_row(params![subnet.to_bits().cast_signed(), address.to_string()], |row| {
                    row.get(0)
                })
                .optional()?,
            None => self
                .database
                .prepare_cached("SELECT revision FROM records WHERE path = ?")?
                .query_row([&guard.path], |row| row.get(0))
                .optional()?,
        };
        Ok(found.map(i64::cast_unsigned) == guard.revision)
    }

    /// Writes a commit in a transaction that the caller ends. Returns the counts after it.
    fn write(&self, commit: &Commit, entries: &[Entry]) -> rusqlite::Result<Written> {
        let mut written = Written {
            state: self.state,
            records: Vec::new(),
            total: self.total,
        };
        let last: HashMap<&str, Option<&Change>> = entries
            .iter()
            .map(|entry| (entry.path.as_str(), entry.creating.as_ref()))
            .collect();
        for (path, creating) in last {
            self.write_record(commit.revision, path, creating, &mut written)?;
        }
        for change in &commit.changes {
            if let Change::Mappings(list) = change {
                self.write_mappings(commit.revision, list, &mut written)?;
            }
        }
        let row = Row::of(commit, written.state);
        written.total = written.total.saturating_add(row.size());
        self.database.prepare_cached(schema::INSERT_COMMIT)?.execute(params![
            row.revision,
            row.at,
            row.author,
            row.command,
            row.changes,
            row.lists,
            row.next_sequence,
            row.state,
            written.total,
            row.sum(),
        ])?;
        Ok(written)
    }

    fn write_record(
        &self,
        revision: u64,
        path: &str,
        creating: Option<&Change>,
        written: &mut Written,
    ) -> rusqlite::Result<()> {
        let before = self.records.get(path).copied().unwrap_or_default();
        written.state = written.state.wrapping_sub(before);
        let Some(creating) = creating else {
            self.database
                .prepare_cached("DELETE FROM records WHERE path = ?")?
                .execute([path])?;
            written.records.push((path.to_owned(), None));
            return Ok(());
        };
        let value = serde_json::to_string(creating).unwrap_or_else(|error| unreachable!("changes are data: {error}"));
        let sum = sum::of_record(path, &value);
        written.state = written.state.wrapping_add(sum);
        written.records.push((path.to_owned(), Some(sum)));
        self.database
            .prepare_cached("INSERT OR REPLACE INTO records (path, revision, value) VALUES (?, ?, ?)")?
            .execute(params![path, revision.cast_signed(), value])?;
        Ok(())
    }

    fn write_mappings(&self, revision: u64, list: &[MappingChange], written: &mut Written) -> rusqlite::Result<()> {
        let mut put = self.database.prepare_cached(
            "INSERT OR REPLACE INTO mappings (subnet, address, interface, sequence, revision) VALUES (?, ?, ?, ?, ?)",
        )?;
        let mut delete = self
            .database
            .prepare_cached("DELETE FROM mappings WHERE subnet = ? AND address = ?")?;
        for change in list {
            let (subnet, address) = (change.subnet.to_bits().cast_signed(), change.address.to_string());
            let sum =
                |owner: Option<Owner>| owner.map_or(0, |owner| sum::of_mapping(change.subnet, change.address, owner));
            written.state = written
                .state
                .wrapping_sub(sum(change.before))
                .wrapping_add(sum(change.after));
            match change.after {
                Some(owner) => put.execute(params![
                    subnet,
                    address,
                    owner.interface.to_bits().cast_signed(),
                    owner.sequence.cast_signed(),
                    revision.cast_signed(),
                ])?,
                None => delete.execute(params![subnet, address])?,
            };
        }
        Ok(())
    }

    /// Drops the oldest commits while there are too many, never the last one. Returns the oldest that is kept, and the
    /// total before it.
    fn drop_oldest(&self, latest: i64, total: i64) -> rusqlite::Result<(i64, i64)> {
        let (mut oldest, mut dropped) = (self.oldest.max(1), self.dropped);
        if self.oldest == 0 {
            (oldest, dropped) = (latest, self.total);
        }
        if total.saturating_sub(dropped) <= self.history {
            return Ok((oldest, dropped));
        }
        let until = oldest.saturating_add(DROPPED).min(latest);
        let left: i64 = self
            .database
            .prepare_cached("SELECT total FROM commits WHERE revision = ?")?
            .query_row([until - 1], |row| row.get(0))
            .optional()?
            .unwrap_or(dropped);
        self.database
            .prepare_cached("DELETE FROM commits WHERE revision < ?")?
            .execute([until])?;
        (oldest, dropped) = (until, left);
        Ok((oldest, dropped))
    }

    fn transact(&mut self, commit: &Commit, entries: &[Entry]) -> rusqlite::Result<()> {
        // Rolls back a transaction that a failure left open.
        if !self.database.is_autocommit() {
            self.database.execute_batch("ROLLBACK")?;
        }
        self.database.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = self.write(commit, entries).and_then(|written| {
            let left = self.drop_oldest(commit.revision.cast_signed(), written.total)?;
            self.database.prepare_cached("COMMIT")?.execute([])?;
            Ok((written, left))
        });
        match done {
            Ok((written, (oldest, dropped))) => {
                for (path, sum) in written.records {
                    match sum {
                        Some(sum) => drop(self.records.insert(path, sum)),
                        None => drop(self.records.remove(&path)),
                    }
                }
                (self.latest, self.next_sequence) = (commit.revision, commit.next_sequence);
                (self.state, self.total) = (written.state, written.total);
                (self.oldest, self.dropped) = (oldest, dropped);
                Ok(())
            }
            Err(error) => {
                if !self.database.is_autocommit() {
                    // SQLite has rolled back by itself after some errors; the next transaction tries again after others.
                    let _ = self.database.execute_batch("ROLLBACK");
                }
                Err(error)
            }
        }
    }
}

/// The result of a transaction, which takes effect when it has been committed.
struct Written {
    state: u64,
    records: Vec<(String, Option<u64>)>,
    total: i64,
}

/// A revision with its checksum.
fn head_octets(revision: u64) -> [u8; 16] {
    let number = revision.to_le_bytes();
    let sum = sum::of_parts([&number[..]]).to_le_bytes();
    std::array::from_fn(|at| if at < 8 { number[at] } else { sum[at - 8] })
}

impl Store for Journal {
    fn commit(&self, guards: &[Guard], commit: &Arc<Commit>, entries: &[Entry]) -> Result<(), CommitError> {
        if let Some(what) = self.together.as_ref().and_then(Together::failure) {
            return Err(self.unsynced(what).into());
        }
        let mut writer = self.writer();
        let current = writer.latest;
        let conflict = Err(CommitError::Conflict { current });
        if commit.revision != current + 1 {
            return conflict;
        }
        for guard in guards {
            if !writer.holds(guard).map_err(|error| self.error(error))? {
                return conflict;
            }
        }
        writer.transact(commit, entries).map_err(|error| self.error(error))?;
        if let Some(together) = &self.together {
            together.wrote(commit.revision);
        } else if let Err(error) = writer.write_head() {
            // The note is worth less than the edit, which is kept.
            tracing::warn!(%error, "the last revision is not noted");
        }
        drop(writer);
        self.upkeep.note(commit);
        Ok(())
    }

    fn sync(&self, revision: u64) -> Result<(), StoreError> {
        match &self.together {
            Some(together) => together.commit(revision).map_err(|what| self.unsynced(what)),
            None => Ok(()),
        }
    }

    fn syncs(&self) -> bool {
        self.together.is_some()
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let (revision, next_sequence) = {
            let writer = self.writer();
            (writer.latest, writer.next_sequence)
        };
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        match opened.filter(|opened| opened.revision == revision) {
            Some(opened) => Ok(opened),
            None => content(&self.reader(), &self.path, (revision, next_sequence), |_| {}),
        }
    }

    fn follow(&self, after: u64, most: usize) -> Result<Vec<Arc<Commit>>, FollowError> {
        let oldest = self.kept()?.oldest;
        if after < oldest {
            return Err(FollowError::Gone { after, oldest });
        }
        let (mut commits, mut damaged) = (Vec::new(), None);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let reader = self.reader();
        let read = schema::commits(&reader, after.cast_signed(), most, |row, _, sum| match row.commit() {
            Some(commit) if row.sum() == sum => {
                commits.push(Arc::new(commit));
                true
            }
            _ => {
                damaged = Some(row.revision);
                false
            }
        });
        read.map_err(|error| self.error(error))?;
        match damaged {
            None => Ok(commits),
            Some(revision) => Err(FollowError::Store(StoreError::Damaged {
                path: self.path.clone(),
                what: format!("revision {revision} is not what was written"),
            })),
        }
    }

    fn kept(&self) -> Result<Kept, StoreError> {
        let writer = self.writer();
        Ok(Kept {
            oldest: (writer.oldest.cast_unsigned()).checked_sub(1).unwrap_or(writer.latest),
            latest: writer.latest,
        })
    }

    fn shelve(&self, shelf: &str, place: &str, text: Option<&str>) -> Result<(), StoreError> {
        let writer = self.writer();
        let done = match text {
            Some(text) => writer
                .database
                .prepare_cached("INSERT OR REPLACE INTO shelves (shelf, place, text) VALUES (?, ?, ?)")
                .and_then(|mut put| put.execute([shelf, place, text])),
            None => writer
                .database
                .prepare_cached("DELETE FROM shelves WHERE shelf = ? AND place = ?")
                .and_then(|mut delete| delete.execute([shelf, place])),
        };
        done.map(drop).map_err(|error| self.error(error))?;
        drop(writer);
        match &self.together {
            Some(together) => together.all().map_err(|what| self.unsynced(what)),
            None => Ok(()),
        }
    }

    fn shelved(&self, shelf: &str) -> Result<Vec<(String, String)>, StoreError> {
        let reader = self.reader();
        let read = || {
            let mut query = reader.prepare_cached("SELECT place, text FROM shelves WHERE shelf = ? ORDER BY place")?;
            let rows = query.query_map([shelf], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(|error| self.error(error))
    }

    fn release(&self) {
        // A transaction that is under way is finished.
        let latest = self.writer().latest;
        if let Err(error) = self.sync(latest) {
            tracing::warn!(%error, "the last edits may not be on the disk");
        }
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn reclaim(&self) -> Result<(), StoreError> {
        let lock = locked(&self.folder)?;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(())
    }

    fn lasts(&self) -> bool {
        true
    }
}

/// A mapping in the form of the database.
fn mapping(subnet: i64, address: &str, interface: i64, sequence: i64) -> Option<(SubnetId, AddressOrPrefix, Owner)> {
    let owner = Owner {
        interface: InterfaceId::from_bits(interface.cast_unsigned()),
        sequence: sequence.cast_unsigned(),
    };
    Some((
        SubnetId::from_bits(subnet.cast_unsigned()),
        address.parse().ok()?,
        owner,
    ))
}
