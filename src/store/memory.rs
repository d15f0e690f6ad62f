//! Keeps commits in memory: for a network without a state folder, and for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CommitError, FollowError, Guard, Kept, Loaded, Store, StoreError, mapping_of, weight};
use crate::model::change::{Change, Commit, Entry};
use crate::model::mapping::{MappingChange, Owner};
use crate::model::{AddressOrPrefix, SubnetId};

/// The most commits that are kept, and the most entries that they change. A changed mapping needs some 80 bytes.
const COMMITS: usize = 10_000;
const CHANGES: usize = 262_144;

/// A store that ends with the process.
#[derive(Debug)]
pub struct Memory {
    /// Whether it keeps the resources as well as the commits.
    resources: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<String, (u64, Change)>,
    mappings: BTreeMap<(SubnetId, AddressOrPrefix), (u64, Owner)>,
    log: VecDeque<Arc<Commit>>,
    /// The number of entries that the commits of the log change.
    weight: usize,
    latest: u64,
    next_sequence: u64,
    shelves: BTreeMap<(String, String), String>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            resources: true,
            inner: Mutex::default(),
        }
    }
}

impl Memory {
    /// A store of the latest commits without resources. It can be followed, but neither loaded nor guarded: for a
    /// Controller, which has the network itself, so that a million mappings are not stored twice.
    pub fn of_commits() -> Self {
        Self {
            resources: false,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A commit changes nothing before all that can fail is done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn revision_of(&self, path: &str) -> Option<u64> {
        match mapping_of(path) {
            Some(mapping) => self.mappings.get(&mapping).map(|(revision, _)| *revision),
            None => self.records.get(path).map(|(revision, _)| *revision),
        }
    }

    fn keep(&mut self, commit: &Commit, entries: &[Entry]) {
        for entry in entries {
            match &entry.creating {
                Some(creating) => drop(
                    self.records
                        .insert(entry.path.clone(), (commit.revision, creating.clone())),
                ),
                None => drop(self.records.remove(&entry.path)),
            }
        }
        for change in &commit.changes {
            let Change::Mappings(list) = change else { continue };
            for mapping in list {
                let key = (mapping.subnet, mapping.address);
                match mapping.after {
                    Some(owner) => drop(self.mappings.insert(key, (commit.revision, owner))),
                    None => drop(self.mappings.remove(&key)),
                }
            }
        }
    }

    fn oldest(&self) -> u64 {
        self.log.front().map_or(self.latest, |commit| commit.revision - 1)
    }
}

impl Store for Memory {
    fn commit(&self, guards: &[Guard], commit: &Arc<Commit>, entries: &[Entry]) -> Result<(), CommitError> {
        let mut inner = self.lock();
        let holds = |guard: &Guard| self.resources && inner.revision_of(&guard.path) == guard.revision;
        if commit.revision != inner.latest + 1 || !guards.iter().all(holds) {
            return Err(CommitError::Conflict { current: inner.latest });
        }
        if self.resources {
            inner.keep(commit, entries);
        }
        inner.latest = commit.revision;
        inner.next_sequence = commit.next_sequence;
        inner.weight += weight(commit);
        inner.log.push_back(Arc::clone(commit));
        while inner.log.len() > COMMITS || inner.weight > CHANGES {
            let Some(oldest) = inner.log.pop_front() else { break };
            inner.weight -= weight(&oldest);
        }
        Ok(())
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let inner = self.lock();
        let mut changes: Vec<Change> = inner.records.values().map(|(_, change)| change.clone()).collect();
        changes.sort_by_key(Change::place);
        let mappings = inner
            .mappings
            .iter()
            .map(|((subnet, address), (_, owner))| MappingChange {
                subnet: *subnet,
                address: *address,
                before: None,
                after: Some(*owner),
            });
        let mappings: Vec<_> = mappings.collect();
        if !mappings.is_empty() {
            changes.push(Change::Mappings(mappings));
        }
        Ok(Loaded {
            revision: inner.latest,
            next_sequence: inner.next_sequence,
            changes,
        })
    }

    fn follow(&self, after: u64, most: usize) -> Result<Vec<Arc<Commit>>, FollowError> {
        let inner = self.lock();
        let oldest = inner.oldest();
        let Some(skipped) = after.checked_sub(oldest) else {
            return Err(FollowError::Gone { after, oldest });
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        Ok(inner.log.iter().skip(skipped).take(most).cloned().collect())
    }

    fn kept(&self) -> Result<Kept, StoreError> {
        let inner = self.lock();
        Ok(Kept {
            oldest: inner.oldest(),
            latest: inner.latest,
        })
    }

    fn shelve(&self, shelf: &str, place: &str, text: Option<&str>) -> Result<(), StoreError> {
        let key = (shelf.to_owned(), place.to_owned());
        let shelves = &mut self.lock().shelves;
        match text {
            Some(text) => drop(shelves.insert(key, text.to_owned())),
            None => drop(shelves.remove(&key)),
        }
        Ok(())
    }

    fn shelved(&self, shelf: &str) -> Result<Vec<(String, String)>, StoreError> {
        let inner = self.lock();
        let on = inner.shelves.iter().filter(|((name, _), _)| name == shelf);
        Ok(on.map(|((_, place), text)| (place.clone(), text.clone())).collect())
    }

    fn lasts(&self) -> bool {
        false
    }
}
