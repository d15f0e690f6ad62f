//! Keeps the edits of a network: a log of numbered commits, and the resources that result from them.
//!
//! A [`Store`] has the form of a log, because the Controller works in commands and a store of several machines works in
//! revisions. [`Memory`] ends with the process; [`Journal`] is a folder that survives it. Neither knows the kinds of
//! resources: a store keeps the change that creates each resource from nothing, as JSON, under the path that the model
//! gives it.

mod error;
mod journal;
mod memory;
mod packed;
mod rows;
mod sum;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::model::change::{Change, Commit, Entry};
use crate::model::{AddressOrPrefix, SubnetId};

pub use error::{CommitError, FollowError, StoreError};
pub use journal::{Durability, HISTORY, Journal, JournalOptions};
pub use memory::Memory;

/// A condition of a commit: the entry at this path was last changed by this revision, or does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The path of the entry, as in [`Entry::path`]; of a mapping as in [`mapping_path`].
    pub path: String,
    /// The revision that changed it last; none if it does not exist.
    pub revision: Option<u64>,
}

/// The path of a mapping, for guards.
pub fn mapping_path(subnet: SubnetId, address: AddressOrPrefix) -> String {
    format!("mapping/{subnet}/{address}")
}

/// The mapping whose path is one of [`mapping_path`].
fn mapping_of(path: &str) -> Option<(SubnetId, AddressOrPrefix)> {
    let (subnet, address) = path.strip_prefix("mapping/")?.split_once('/')?;
    Some((subnet.parse().ok()?, address.parse().ok()?))
}

/// The content of a store, at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The revision of the last commit; 0 for an empty store.
    pub revision: u64,
    /// The sequence number of the next assignment.
    pub next_sequence: u64,
    /// The changes that create everything from nothing, in a possible order.
    pub changes: Vec<Change>,
}

/// The range of commits that a store still has. Older ones have been dropped, so that a log does not grow for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The oldest revision whose network can be restored: the one before the first commit that is kept.
    pub oldest: u64,
    /// The revision of the last commit.
    pub latest: u64,
}

/// A log of the edits of one network. It may wait for a disk: call it from a thread that may block.
pub trait Store: Send + Sync + fmt::Debug {
    /// Keeps a commit, all of it or nothing, if the guards hold and its revision is the next one. `entries` are the
    /// resources that its changes affect, except mappings, as [`Network::entries`](crate::model::Network::entries)
    /// lists them.
    ///
    /// A kept commit is not lost when the process is killed.
    fn commit(&self, guards: &[Guard], commit: &Arc<Commit>, entries: &[Entry]) -> Result<(), CommitError>;

    /// Returns when a commit that is kept survives all that this store promises. Commits that wait at the same time share
    /// the work, so it is called without a lock that other commits need.
    fn sync(&self, revision: u64) -> Result<(), StoreError> {
        let _ = revision;
        Ok(())
    }

    /// Whether a commit survives less than it promises until [`Self::sync`] has returned.
    fn syncs(&self) -> bool {
        false
    }

    /// The present content.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// At most `limit` commits after a revision, the oldest first.
    fn follow(&self, after: u64, most: usize) -> Result<Vec<Arc<Commit>>, FollowError>;

    /// The range of commits that are kept.
    fn kept(&self) -> Result<Kept, StoreError>;

    /// Sets or deletes the text at a place of a shelf. Shelves hold data of the network that is not declared, such as
    /// the hosts of a lab.
    fn shelve(&self, shelf: &str, place: &str, text: Option<&str>) -> Result<(), StoreError>;

    /// The content of a shelf, by place.
    fn shelved(&self, shelf: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Lets another process have it. The caller makes no further commit until [`Self::reclaim`].
    fn release(&self) {}

    /// Has it back, if no other process has it.
    fn reclaim(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether it survives the process.
    fn lasts(&self) -> bool;
}

/// The number of entries that a commit changes.
fn weight(commit: &Commit) -> usize {
    let one = |change: &Change| match change {
        Change::Mappings(list) => list.len(),
        _ => 1,
    };
    commit.changes.iter().map(one).sum()
}
