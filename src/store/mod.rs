//! Keeps what was done to a network: a log of numbered commits, and the resources that they have made.
//!
//! A [`Store`] is shaped as a log, because the Controller thinks in commands and a store of several machines thinks in revisions.
//! [`Memory`] ends with the process; [`Journal`] is a folder that outlives it. Neither knows what a resource is: a store keeps
//! the change that makes each resource from nothing, as JSON, under the path that the model gives it.

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

/// What a commit rests on: the entry at this path was last changed by this revision, or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The path of the entry, as in [`Entry::path`]; of a mapping as in [`mapping_path`].
    pub path: String,
    /// The revision that changed it last; none if it is not there.
    pub revision: Option<u64>,
}

/// The path of a mapping, for guards.
pub fn mapping_path(subnet: SubnetId, address: AddressOrPrefix) -> String {
    format!("mapping/{subnet}/{address}")
}

/// The mapping that a path of [`mapping_path`] is about.
fn mapping_of(path: &str) -> Option<(SubnetId, AddressOrPrefix)> {
    let (subnet, address) = path.strip_prefix("mapping/")?.split_once('/')?;
    Some((subnet.parse().ok()?, address.parse().ok()?))
}

/// What a store has, at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The revision of the last commit; 0 for an empty store.
    pub revision: u64,
    /// The number that the next assignment gets.
    pub next_sequence: u64,
    /// The changes that make it all from nothing, in an order in which they can be made.
    pub changes: Vec<Change>,
}

/// The commits that a store still has. Older ones have been dropped, so that a log does not grow for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The oldest revision whose network can be told: that before the first commit that is kept.
    pub oldest: u64,
    /// The revision of the last commit.
    pub latest: u64,
}

/// A log of what was done to one network. It may wait for a disk: call it from a thread that may block.
pub trait Store: Send + Sync + fmt::Debug {
    /// Keeps a commit, all of it or nothing, if the guards hold and its revision is the next one. `entries` are the resources
    /// that its changes touched, mappings excepted, as [`Network::entries`](crate::model::Network::entries) lists them.
    ///
    /// A commit that was kept is not lost when the process is killed.
    fn commit(&self, guards: &[Guard], commit: &Arc<Commit>, entries: &[Entry]) -> Result<(), CommitError>;

    /// What there is.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// The commits after a revision, the oldest first, at most so many.
    fn follow(&self, after: u64, most: usize) -> Result<Vec<Arc<Commit>>, FollowError>;

    /// Which commits are kept.
    fn kept(&self) -> Result<Kept, StoreError>;

    /// Puts a text at a place of a shelf, or takes it away. Shelves hold what belongs to the network and is not declared, such
    /// as the hosts of a lab.
    fn shelve(&self, shelf: &str, place: &str, text: Option<&str>) -> Result<(), StoreError>;

    /// All that is on a shelf, by place.
    fn shelved(&self, shelf: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Whether it outlives the process.
    fn lasts(&self) -> bool;
}

/// How many things a commit changes.
fn weight(commit: &Commit) -> usize {
    let one = |change: &Change| match change {
        Change::Mappings(list) => list.len(),
        _ => 1,
    };
    commit.changes.iter().map(one).sum()
}
