//! Tracks the connections of interfaces in a table that workers share without a lock.
//!
//! An entry is a slot of 64 bytes, eight atomic words, in one of two buckets of four that the hash of its key selects;
//! a new one goes into the emptier bucket. The first word holds a version, the slot's state and the connection's flags,
//! and guards the others: a writer takes the slot by exchanging it, and a reader that finds another version than before
//! discards what it read. A table that is half full gets a successor of twice the size; look-ups search both until the
//! old one is empty.
//!
//! Time is an argument, in seconds. An expired entry counts as absent: its slot is taken by the next that needs one,
//! and [`Connections::reap`] frees a few at a time, so that no sweep causes a pause.

mod key;
mod slot;
#[cfg(test)]
mod tests;
mod tracking;

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

pub(in crate::datapath) use key::{Key, Thread};
use slot::{Content, Reading, Slot};
pub use tracking::Life;
pub(in crate::datapath) use tracking::{Class, Seen, SeenPacket};

use crate::mapping::InterfaceIndex;

/// Slots of a bucket.
const BUCKET: usize = 4;
/// Slots of the first table; each successor has twice as many.
const FIRST: usize = 1024;
/// Tables at the most: 16 M slots in the last.
const LEVELS: usize = 15;
/// Slots that an insertion looks through for entries that have expired, or that have to move to the successor.
const STEP: usize = 16;
/// Counters of allowances in a chunk, and chunks at the most: as many as there may be interfaces.
const CHUNK: usize = 1024;
const CHUNKS: usize = 4096;

/// Why a connection is not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Full;

/// What counts against an allowance.
#[derive(Default)]
struct Counter {
    /// Slots in use, expired ones included.
    used: AtomicU32,
    /// Packets that were dropped because it was used up.
    exceeded: AtomicU64,
}

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
    seed: u64,
    levels: [OnceLock<Box<[Slot]>>; LEVELS],
    /// The table that new entries go to.
    level: AtomicUsize,
    /// Whether the table before it may still have entries.
    draining: AtomicBool,
    /// How far entries have moved out of the table before.
    moved: AtomicUsize,
    /// Where the search for expired entries goes on.
    hand: AtomicUsize,
    /// Slots in use, expired ones included.
    used: AtomicUsize,
    /// What counts against each allowance.
    by_allowance: Box<[OnceLock<Box<[Counter]>>]>,
    /// Packets that were dropped because an allowance was used up.
    exceeded: AtomicU64,
    most: usize,
}

impl Connections {
    /// An empty table. The seed keeps the places of entries unpredictable; `most` is the largest number of slots.
    pub(in crate::datapath) fn new(seed: u64, most: usize) -> Self {
        Self {
            seed,
            levels: [const { OnceLock::new() }; LEVELS],
            level: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            moved: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            exceeded: AtomicU64::new(0),
            by_allowance: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            most,
        }
    }

    /// The table of a level, if it was made.
    #[inline]
    fn table(&self, level: usize) -> Option<&[Slot]> {
        self.levels.get(level)?.get().map(|slots| &**slots)
    }

    /// The two buckets of a key in a table.
    #[inline]
    fn buckets(table: &[Slot], hash: u64) -> [&[Slot]; 2] {
        let mask = table.len() / BUCKET - 1;
        let first = hash as usize & mask;
        let second = (hash >> 32) as usize & mask;
        // Never the same bucket twice, or an entry would be counted twice where the emptier one is sought.
        let second = if second == first { second ^ 1 } else { second };
        [first, second].map(|bucket| &table[bucket * BUCKET..][..BUCKET])
    }

    /// The slot of a key, expired or not, and its content.
    #[inline]
    fn slot(&self, key: &Key, hash: u64) -> Option<(&Slot, Reading)> {
        loop {
            let level = self.level.load(Ordering::Acquire);
            let mut found = self.slot_of_level(level, key, hash);
            if found.is_none() && self.draining.load(Ordering::Acquire) && level > 0 {
                // An entry that moves is written to the new table before it leaves the old one: it is in neither only for a
                // reader that looked into the new one before, and looks into the old one after.
                found = self
                    .slot_of_level(level - 1, key, hash)
                    .or_else(|| self.slot_of_level(level, key, hash));
            }
            // The table may have got a successor since its level was read, and the entry may have moved there.
            if found.is_some() || self.level.load(Ordering::Acquire) == level {
                return found;
            }
        }
    }

    #[inline]
    fn slot_of_level(&self, level: usize, key: &Key, hash: u64) -> Option<(&Slot, Reading)> {
        let buckets = Self::buckets(self.table(level)?, hash);
        buckets
            .into_iter()
            .flatten()
            .find_map(|slot| Some((slot, slot.read(key)?)))
    }

    /// The state of a connection at a time.
    #[inline]
    pub(in crate::datapath) fn find(&self, key: &Key, now: u32) -> Option<Known> {
        let (_, reading) = self.slot(key, key.hash(self.seed))?;
        (reading.until >= now).then(|| reading.known())
    }

    /// Whether a connection can be tracked that counts against an allowance. A `limit` of 0 is none.
    pub(in crate::datapath) fn has_room(&self, key: &Key, allowance: InterfaceIndex, limit: u32, now: u32) -> bool {
        if limit > 0 && self.used_by(allowance) >= limit {
            return false;
        }
        let level = self.level.load(Ordering::Acquire);
        let Some(table) = self.table(level) else { return true };
        if table.len() * 2 <= self.most && level + 1 < LEVELS {
            return true;
        }
        let buckets = Self::buckets(table, key.hash(self.seed));
        buckets.into_iter().flatten().any(|slot| slot.is_free_at(now))
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
        self.step(now);
        let hash = key.hash(self.seed);
        if let Some((slot, reading)) = self.slot(key, hash)
            && slot.update(&reading, seen, now, until)
        {
            return Ok(());
        }
        if limit > 0 && self.used_by(allowance) >= limit {
            // Expired entries are counted until their slot is freed: search more slots before a connection is refused.
            for _ in 0..STEP {
                self.step(now);
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
        self.insert(&content, hash, now)
    }

    /// Refreshes a connection, if it is still tracked.
    pub(in crate::datapath) fn refresh(&self, key: &Key, seen: Seen, now: u32, until: u32) {
        if let Some((slot, reading)) = self.slot(key, key.hash(self.seed)) {
            // Another worker has written the same, or nearly.
            let _ = slot.update(&reading, seen, now, until);
        }
    }

    fn insert(&self, content: &Content, hash: u64, now: u32) -> Result<(), Full> {
        loop {
            let level = self.level.load(Ordering::Acquire);
            let slots = self.levels[level].get_or_init(|| new_table(level));
            if self.used.load(Ordering::Relaxed) * 2 > slots.len() && self.grow(level) {
                continue;
            }
            if let Some(slot) = self.place(slots, content, hash, now) {
                self.count(content.allowance);
                // Either this worker sees the successor, or who empties this table sees the entry.
                fence(Ordering::SeqCst);
                if self.level.load(Ordering::Acquire) != level
                    && let Some(reading) = slot.read(&content.key)
                {
                    // The table got a successor meanwhile, and may have been searched for what has to move there before.
                    self.free(slot, &reading);
                    continue;
                }
                self.forget_double(slots, content, hash);
                return Ok(());
            }
            if !self.grow(level) {
                return Err(Full);
            }
        }
    }

    /// Writes an entry into the emptier of its buckets; `None` when both are full.
    fn place<'t>(&self, table: &'t [Slot], content: &Content, hash: u64, now: u32) -> Option<&'t Slot> {
        let buckets = Self::buckets(table, hash);
        let free = buckets.map(|bucket| bucket.iter().filter(|slot| slot.is_free_at(now)).count());
        let order = if free[1] > free[0] { [1, 0] } else { [0, 1] };
        for slot in order.into_iter().flat_map(|bucket| buckets[bucket]) {
            if let Some(taken) = slot.write(content, now) {
                match taken {
                    Some(former) => self.discount(former),
                    None => drop(self.used.fetch_add(1, Ordering::Relaxed)),
                }
                return Some(slot);
            }
        }
        None
    }

    /// Two workers may write the same connection at once; the entry that comes first in the order of slots stays.
    fn forget_double(&self, table: &[Slot], content: &Content, hash: u64) {
        let same = Self::buckets(table, hash).into_iter().flatten();
        let same = same.filter_map(|slot| Some((slot, slot.read(&content.key)?)));
        for (slot, reading) in same.skip(1) {
            self.free(slot, &reading);
        }
    }

    /// Makes a successor of a table, unless it is the largest; true when there is one.
    #[cold]
    fn grow(&self, level: usize) -> bool {
        if self.level.load(Ordering::Acquire) != level {
            return true;
        }
        let next = level + 1;
        let size = FIRST << next;
        if next >= LEVELS || size > self.most || self.draining.load(Ordering::Acquire) {
            return false;
        }
        self.levels[next].get_or_init(|| new_table(next));
        if self
            .draining
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            self.moved.store(0, Ordering::Release);
            self.level.store(next, Ordering::Release);
            fence(Ordering::SeqCst);
        }
        true
    }

    /// Moves a few entries of the table before, or frees a few that have expired.
    fn step(&self, now: u32) {
        let level = self.level.load(Ordering::Acquire);
        if self.draining.load(Ordering::Acquire) && level > 0 {
            self.move_some(level, now);
        }
        self.reap_some(STEP, now);
    }

    fn move_some(&self, level: usize, now: u32) {
        let (Some(old), Some(new)) = (self.table(level - 1), self.table(level)) else {
            return;
        };
        let first = self.moved.fetch_add(STEP, Ordering::AcqRel);
        for slot in old.iter().skip(first).take(STEP) {
            let Some((content, reading)) = slot.content() else {
                continue;
            };
            if self.move_entry(new, level, &content, now) {
                self.free(slot, &reading);
            }
        }
        if first + STEP >= old.len() && first < old.len() {
            // Another worker may still be moving the entries before these: look-ups go on asking the old table for them.
            if old.iter().all(Slot::is_free) {
                self.draining.store(false, Ordering::Release);
            } else {
                self.moved.store(0, Ordering::Release);
            }
        }
    }

    /// Writes an entry of the table before into the table of a level, unless it has expired or is there. False when this worker
    /// is late: the table before is drained, so another has moved the entry, or it is the one that [`Self::insert`] repeats.
    fn move_entry(&self, table: &[Slot], level: usize, content: &Content, now: u32) -> bool {
        let hash = content.key.hash(self.seed);
        let is_late = || self.level.load(Ordering::Acquire) != level;
        if is_late() {
            return false;
        }
        if content.until < now || self.slot_of_level(level, &content.key, hash).is_some() {
            return true;
        }
        let Some(slot) = self.place(table, content, hash, now) else {
            return true;
        };
        self.count(content.allowance);
        // Either this worker sees that the table has a successor, or who moves its entries there sees this one.
        fence(Ordering::SeqCst);
        if is_late() {
            if let Some(reading) = slot.read(&content.key) {
                self.free(slot, &reading);
            }
            return false;
        }
        self.forget_double(table, content, hash);
        true
    }

    fn reap_some(&self, slots: usize, now: u32) {
        let Some(table) = self.table(self.level.load(Ordering::Acquire)) else {
            return;
        };
        let first = self.hand.fetch_add(slots, Ordering::Relaxed);
        for at in first..first.wrapping_add(slots.min(table.len())) {
            let slot = &table[at % table.len()];
            if let Some(reading) = slot.expired(now) {
                self.free(slot, &reading);
            }
        }
    }

    /// Frees slots of connections that have expired: an eighth of the table, or the whole of a small one.
    pub fn reap(&self, now: u32) {
        let level = self.level.load(Ordering::Acquire);
        let size = self.table(level).map_or(0, <[Slot]>::len);
        if self.draining.load(Ordering::Acquire) && level > 0 {
            for _ in 0..(FIRST / STEP) {
                self.move_some(level, now);
            }
        }
        self.reap_some(size.min((size / 8).max(16 * FIRST)), now);
    }

    /// Removes the connections of an interface.
    pub(in crate::datapath) fn forget(&self, interface: InterfaceIndex) {
        for slot in self
            .levels
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|table| table.iter())
        {
            if let Some((content, reading)) = slot.content()
                && content.key.interface() == interface.get()
            {
                self.free(slot, &reading);
            }
        }
    }

    fn free(&self, slot: &Slot, reading: &Reading) {
        if slot.free(reading) {
            self.used.fetch_sub(1, Ordering::Relaxed);
            self.discount(reading.allowance);
        }
    }

    fn counter(&self, allowance: u32) -> Option<&Counter> {
        let at = allowance as usize;
        let chunk = self.by_allowance.get(at / CHUNK)?;
        Some(&chunk.get_or_init(|| (0..CHUNK).map(|_| Counter::default()).collect())[at % CHUNK])
    }

    fn count(&self, allowance: InterfaceIndex) {
        if let Some(counter) = self.counter(allowance.get()) {
            counter.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn discount(&self, allowance: u32) {
        if let Some(counter) = self.counter(allowance) {
            counter.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The number of connections that count against an allowance, including expired ones that were not freed yet.
    pub fn used_by(&self, allowance: InterfaceIndex) -> u32 {
        self.counted(allowance)
            .map_or(0, |counter| counter.used.load(Ordering::Relaxed))
    }

    fn counted(&self, allowance: InterfaceIndex) -> Option<&Counter> {
        let at = allowance.get() as usize;
        let chunk = self.by_allowance.get(at / CHUNK).and_then(OnceLock::get);
        chunk.map(|chunk| &chunk[at % CHUNK])
    }

    /// Counts a packet that was dropped because an allowance was used up.
    pub(super) fn exceed(&self, allowance: InterfaceIndex) {
        self.exceeded.fetch_add(1, Ordering::Relaxed);
        if let Some(counter) = self.counter(allowance.get()) {
            counter.exceeded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Packets that were dropped because an allowance was used up (ENA's `conntrack_allowance_exceeded`).
    pub fn exceeded_by(&self, allowance: InterfaceIndex) -> u64 {
        self.counted(allowance)
            .map_or(0, |counter| counter.exceeded.load(Ordering::Relaxed))
    }

    /// The same of all allowances.
    pub fn exceeded(&self) -> u64 {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// The number of tracked connections, including expired ones that were not freed yet.
    pub fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether none is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All connections that are alive at a time, in a table of their own: look-ups there change nothing here.
    pub fn copy(&self, now: u32) -> Self {
        let copy = Self::new(self.seed, self.most);
        let slots = self
            .levels
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|table| table.iter());
        for (content, _) in slots
            .filter_map(Slot::content)
            .filter(|(content, _)| content.until >= now)
        {
            // The copy has as much room, and where it has less in two buckets an entry is only not asked about.
            let _ = copy.insert(&content, content.key.hash(self.seed), now);
        }
        copy
    }

    /// The connections of an interface that are alive at a time.
    pub fn of_interface(&self, interface: InterfaceIndex, now: u32) -> Vec<TrackedConnection> {
        let slots = self
            .levels
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|table| table.iter());
        let contents = slots.filter_map(Slot::content).map(|(content, _)| content);
        let own = contents.filter(|content| content.key.interface() == interface.get() && content.until >= now);
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

fn new_table(level: usize) -> Box<[Slot]> {
    (0..FIRST << level).map(|_| Slot::default()).collect()
}
