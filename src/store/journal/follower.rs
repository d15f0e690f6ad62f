//! Follows the server of a folder from another process, and takes its place when it has died: what a standby does.
//!
//! A follower reads commits as they come, and checks each as a start does: its checksum, that it follows the one before,
//! and at the end that records and mappings have the sum that the last commit says. It writes nothing until it has the folder.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::{Journal, JournalOptions, Writer, locked, schema};
use crate::model::change::{Change, Commit};
use crate::model::mapping::MappingChange;
use crate::store::{FollowError, StoreError, sum};

/// Commits that are read at once.
const BATCH: i64 = 1000;

impl Journal {
    /// Opens a folder that another server uses, to follow that server. Nothing may be written until [`Self::succeed`].
    pub fn open_follower(folder: &Path, options: &JournalOptions) -> Result<Self, StoreError> {
        Self::read(folder, options, None)
    }

    /// The commits that the folder's server has made since the last call, at most some; none if there are none. An error if
    /// they were dropped before they were read.
    pub fn catch_up(&self) -> Result<Vec<Arc<Commit>>, FollowError> {
        let mut writer = self.writer();
        let (mut commits, mut wrong) = (Vec::new(), None);
        let mut latest = writer.latest;
        let (mut state, mut total) = (writer.state, writer.total);
        let reader = self.reader();
        let read = schema::commits(&reader, latest.cast_signed(), BATCH, |row, sum_of_all, sum| {
            let follows = row.revision == latest.cast_signed() + 1;
            let commit = row.commit().filter(|_| follows && row.sum() == sum);
            let Some(commit) = commit else {
                wrong = Some((row.revision, follows));
                return false;
            };
            (latest, state, total) = (commit.revision, row.state.cast_unsigned(), sum_of_all);
            commits.push(Arc::new(commit));
            true
        });
        drop(reader);
        read.map_err(|error| self.error(error))?;
        match wrong {
            Some((oldest, false)) => {
                let oldest = oldest.cast_unsigned().saturating_sub(1);
                return Err(FollowError::Gone { after: latest, oldest });
            }
            Some((revision, true)) => {
                return Err(self
                    .damaged(format!("revision {revision} is not what was written"))
                    .into());
            }
            None => {}
        }
        for commit in &commits {
            writer.mappings = writer.mappings.wrapping_add(difference(commit));
            writer.next_sequence = commit.next_sequence;
        }
        (writer.latest, writer.state, writer.total) = (latest, state, total);
        Ok(commits)
    }

    /// Takes the folder, whose server has died, and returns its last commits. An error if another server was quicker, or if what
    /// was followed is not what is there.
    pub fn succeed(&self) -> Result<Vec<Arc<Commit>>, FollowError> {
        let lock = locked(&self.folder)?;
        let mut commits = Vec::new();
        loop {
            let more = self.catch_up()?;
            if more.is_empty() {
                break;
            }
            commits.extend(more);
        }
        let mut writer = self.writer();
        writer.read_records(&self.path)?;
        writer.compare_head(&self.path, &self.folder.join("head"), self.recover)?;
        drop(writer);
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        if let Some(together) = &self.together {
            together.wrote(self.writer().latest);
            together.all().map_err(|what| self.unsynced(what))?;
        }
        Ok(commits)
    }

    fn damaged(&self, what: String) -> StoreError {
        let path = self.path.clone();
        StoreError::Damaged { path, what }
    }
}

impl Writer {
    /// Reads the checksums of records anew, and checks the sum of all.
    fn read_records(&mut self, path: &Path) -> Result<(), StoreError> {
        let wrong = |error| StoreError::of(path, error);
        let mut records = HashMap::new();
        let read = schema::records(&self.database, |record, value| {
            let sum = sum::of_record(&record, value);
            records.insert(record, sum);
        });
        let read = read.map_err(wrong)?;
        let sum = records
            .values()
            .fold(self.mappings, |sum, record| sum.wrapping_add(*record));
        if !read || sum != self.state {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                what: format!("the records are not those of revision {}", self.latest),
            });
        }
        self.records = records;
        let mut first = None;
        let read = schema::commits(&self.database, 0, 1, |row, total, _| {
            first = Some((row.revision, total - row.size()));
            false
        });
        read.map_err(wrong)?;
        (self.oldest, self.dropped) = first.unwrap_or_default();
        Ok(())
    }
}

/// What a commit adds to the sum of all mappings.
fn difference(commit: &Commit) -> u64 {
    let one = |change: &MappingChange| {
        let sum = |owner| sum::of_mapping(change.subnet, change.address, owner);
        let (before, after) = (change.before.map_or(0, sum), change.after.map_or(0, sum));
        after.wrapping_sub(before)
    };
    let mappings = commit.changes.iter().filter_map(|change| match change {
        Change::Mappings(list) => Some(list.as_slice()),
        _ => None,
    });
    mappings.flatten().fold(0, |sum, change| sum.wrapping_add(one(change)))
}
