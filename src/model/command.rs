//! Defines how a command edits the declared network: it reads, checks, and makes changes one after the other.

use std::ops::Deref;

use rand::Rng;

use super::change::{Change, Delta, Effect, Stored};
use super::network::Network;

/// A request to change the declared network.
///
/// A command of a new resource is a struct in the resource's folder with this implementation; no registration is
/// needed.
pub trait Command {
    /// The result for the caller.
    type Outcome;
    /// Why it can be refused.
    type Error;

    /// Checks the command and makes its changes. If it is refused midway, the caller reverts the changes so far.
    fn run(self, edit: &mut Edit<'_>) -> Result<Self::Outcome, Self::Error>;
}

/// A network during one command. Reads see the changes so far.
pub struct Edit<'n> {
    pub(in crate::model) network: &'n mut Network,
    pub(in crate::model) rng: &'n mut dyn Rng,
    pub(in crate::model) changes: Vec<Change>,
}

impl std::fmt::Debug for Edit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edit")
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

impl Deref for Edit<'_> {
    type Target = Network;

    fn deref(&self) -> &Network {
        self.network
    }
}

impl Edit<'_> {
    /// Makes a change, unless it has no effect.
    pub(in crate::model) fn make(&mut self, change: impl Into<Change>) {
        let change = change.into();
        if !change.is_empty() {
            change.apply(self.network);
            self.changes.push(change);
        }
    }

    /// Stores the record of a new resource.
    pub(in crate::model) fn create<T: Stored>(&mut self, record: T)
    where
        Change: From<Box<Delta<T>>>,
    {
        self.make(Box::new(Delta {
            before: None,
            after: Some(record),
        }));
    }

    /// Replaces a record.
    pub(in crate::model) fn replace<T: Stored>(&mut self, before: T, after: T)
    where
        Change: From<Box<Delta<T>>>,
    {
        self.make(Box::new(Delta {
            before: Some(before),
            after: Some(after),
        }));
    }

    /// Deletes a record.
    pub(in crate::model) fn delete<T: Stored>(&mut self, record: T)
    where
        Change: From<Box<Delta<T>>>,
    {
        self.make(Box::new(Delta {
            before: Some(record),
            after: None,
        }));
    }
}
