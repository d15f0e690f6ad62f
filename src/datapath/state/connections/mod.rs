//! Tracks the connections of interfaces in a table that workers share without a lock.
//!
//! An entry is a slot of 64 bytes, eight atomic words (`slot.rs`). The first word holds a version, the slot's state and the
//! connection's flags, and guards the others: a writer takes the slot by exchanging it, and a reader that finds another
//! version than before discards what it read. `table.rs` says where an entry is, and how the table grows.
//!
//! Time is an argument, in seconds. An expired entry counts as absent: its slot is taken by the next that needs one,
//! and [`Connections::reap`] frees a few at a time, so that no sweep causes a pause.

mod allowance;
mod key;
mod saved;
mod slot;
mod table;
#[cfg(test)]
mod tests;
mod tracking;

use std::collections::HashSet;
use std::net::IpAddr;

pub(in crate::datapath) use key::{Key, Thread};
pub use saved::{SAVED, SavedConnection};
use slot::Content;
use table::Table;
pub use tracking::Life;
pub(in crate::datapath) use tracking::{Class, Seen, SeenPacket};

use crate::mapping::InterfaceIndex;

/// Steps that an insertion makes more before it is refused for an allowance.
const STEPS: usize = 16;

/// Why a connection is not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Full;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Known {
    /// Its flags.
    pub(in crate::datapath) seen: Seen,
    /// The second in which it was last refreshed.
    pub(in crate::datapath) touched: u32,
    /// The last second of its life.
    pub(in crate::datapath) until: u32,
}

/// A connection, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackedConnection {
    /// The protocol.
    pub protocol: u8,
    /// The address on the interface's side.
    pub own: IpAddr,
    /// The other end's address.
    pub remote: IpAddr,
    /// The own port and the other end's, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// Its state, in a word.
    pub state: &'static str,
    /// Whether the interface's side began it.
    pub opened_here: bool,
    /// The last second of its life, counted from the start of the switch.
    pub until: u32,
}

/// The connections of all interfaces.
pub struct Connections {
    table: Table,
    seed: u64,
    most: usize,
}

impl Connections {
    /// An empty table. The seed keeps the places of entries unpredictable; `most` is the largest number of slots.
    pub(in crate::datapath) fn new(seed: u64, most: usize) -> Self {
        Self {
            table: Table::new(seed, most),
            seed,
            most,
        }
    }

    /// The state of a connection at a time.
    #[inline]
    pub(in crate::datapath) fn find(&self, key: &Key, now: u32) -> Option<Known> {
        let (_, reading) = self.table.slot(key, self.table.hash(key))?;
        (reading.until >= now).then(|| reading.known())
    }

    /// Whether a connection can be tracked that counts against an allowance. A `limit` of 0 is none.
    pub(in crate::datapath) fn has_room(&self, key: &Key, allowance: InterfaceIndex, limit: u32, now: u32) -> bool {
        (limit == 0 || self.used_by(allowance) < limit) && self.table.has_room(self.table.hash(key), now)
    }

    /// Tracks a connection from now on, or refreshes it.
    pub(in crate::datapath) fn open(
        &self,
        key: &Key,
        seen: Seen,
        (now, until): (u32, u32),
        allowance: InterfaceIndex,
        limit: u32,
    ) -> Result<(), Full> {
        self.table.step(now);
        let hash = self.table.hash(key);
        while let Some((slot, reading)) = self.table.slot(key, hash) {
            if slot.update(&reading, seen, now, until) {
                return Ok(());
            }
        }
        if limit > 0 && self.used_by(allowance) >= limit {
            // Expired entries are counted until their slot is freed: search more slots before a connection is refused.
            for _ in 0..STEPS {
                self.table.step(now);
            }
            if self.used_by(allowance) >= limit {
                return Err(Full);
            }
        }
        let content = Content {
            key: *key,
            seen,
            touched: now,
            until,
            allowance,
        };
        self.table.insert(&content, hash, now)
    }

    /// Refreshes a connection, if it is still tracked.
    pub(in crate::datapath) fn refresh(&self, key: &Key, seen: Seen, now: u32, until: u32) {
        let hash = self.table.hash(key);
        while let Some((slot, reading)) = self.table.slot(key, hash)
            && !slot.update(&reading, seen, now, until)
        {}
    }

    /// Frees slots of connections that have expired: an eighth of the table, or the whole of a small one.
    pub fn reap(&self, now: u32) {
        self.table.reap(now);
    }

    /// Removes the connections of an interface.
    pub(in crate::datapath) fn forget(&self, interface: InterfaceIndex) {
        self.table.forget(|content| content.key.interface() == interface.get());
    }

    /// The number of connections that count against an allowance, including expired ones that were not freed yet.
    pub fn used_by(&self, allowance: InterfaceIndex) -> u32 {
        self.table.allowances.used(allowance)
    }

    /// Counts a packet that was dropped because an allowance was used up.
    pub(super) fn exceed(&self, allowance: InterfaceIndex) {
        self.table.allowances.exceed(allowance);
    }

    /// Packets that were dropped because an allowance was used up (ENA's `conntrack_allowance_exceeded`).
    pub fn exceeded_by(&self, allowance: InterfaceIndex) -> u64 {
        self.table.allowances.exceeded_by(allowance)
    }

    /// The same of all allowances.
    pub fn exceeded(&self) -> u64 {
        self.table.allowances.exceeded()
    }

    /// The number of tracked connections, including expired ones that were not freed yet.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All connections that are alive at a time, in a table of their own: look-ups there change nothing here.
    pub fn copy(&self, now: u32) -> Self {
        let copy = Self::new(self.seed, self.most);
        for content in self.table.contents().filter(|content| content.until >= now) {
            // The copy has as much room, and where it has less in two buckets an entry is only not asked about.
            let _ = copy.table.insert(&content, copy.table.hash(&content.key), now);
        }
        copy
    }

    /// The connections of an interface that are alive at a time.
    pub fn of_interface(&self, interface: InterfaceIndex, now: u32) -> Vec<TrackedConnection> {
        let mut listed = HashSet::new();
        let own = self.table.contents().filter(|content| {
            content.key.interface() == interface.get() && content.until >= now && listed.insert(content.key)
        });
        own.map(|content| {
            let (key, (own, remote)) = (content.key, content.key.addresses());
            let class = if key.is_fragments() {
                Class::Fragments
            } else {
                Class::of(key.protocol())
            };
            TrackedConnection {
                protocol: key.protocol(),
                own,
                remote,
                ports: key.ports(),
                state: content.seen.describe(class),
                opened_here: content.seen.opened_out(),
                until: content.until,
            }
        })
        .collect()
    }
}
