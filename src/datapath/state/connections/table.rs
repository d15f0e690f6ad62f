//! Stores connections in tables that grow: readers and writers take no lock, and entries move to a larger table a few at a
//! time.
//!
//! An entry is in one of two buckets of four slots that the hash of its key selects; a new one goes into the emptier bucket.
//! A table that is half full gets a successor of twice the size, and its entries move there. One worker moves at a time,
//! under a lock that others only try: who does not get it goes on with its packet. Only where there is no slot left does an
//! insertion wait for the move to end.
//!
//! Why a look-up misses no entry:
//! - [`Phase`] is one word: which table is the newest, whether the one before has entries left, and how often either has
//!   changed. A look-up that finds nothing begins again if the word has changed meanwhile.
//! - An entry that moves is written to the new table before it leaves the old one, and a look-up reads the old one first.
//! - An insertion reads the phase again after it has written the entry. Either it sees that the table has a successor, and
//!   begins again there, or the worker that moves entries sees this one: a fence on both sides makes sure of it.
//! - Two workers that write one connection at once both search for doubles afterwards, and both keep the same one.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};
use std::sync::{OnceLock, PoisonError};

// The crate in `loom/` includes this file to try every order of loads and stores.
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};

use super::Full;
use super::allowance::Allowances;
use super::key::Key;
use super::slot::{Content, Reading, Slot};

/// Slots of a bucket.
const BUCKET: usize = if cfg!(loom) { 1 } else { 4 };
/// Slots of the first table; each successor has twice as many.
pub(super) const FIRST: usize = if cfg!(loom) { 2 } else { 1024 };
/// Tables at the most: 16 M slots in the last.
const LEVELS: usize = 15;
/// Slots that an insertion looks through for entries that have expired, or that have to move to the successor.
const STEP: usize = if cfg!(loom) { 2 } else { 16 };

/// Which tables have entries: the newest one's level (lower 8 bits), whether the table before has some ([`Phase::DRAINING`]),
/// and a count of changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Phase(u64);

impl Phase {
    const LEVEL: u64 = 0xff;
    const DRAINING: u64 = 1 << 8;
    const CHANGE: u64 = 1 << 16;

    #[inline]
    fn level(self) -> usize {
        (self.0 & Self::LEVEL) as usize
    }

    /// The level of the table that entries move out of.
    #[inline]
    fn before(self) -> Option<usize> {
        (self.0 & Self::DRAINING != 0).then(|| self.level().saturating_sub(1))
    }
}

/// How far entries have moved.
#[derive(Default)]
struct Move {
    /// The next slot of the old table.
    next: usize,
    /// Whether an entry had to stay, because its buckets in the new table were full.
    left: bool,
}

/// The tables, and what counts.
pub(super) struct Table {
    seed: u64,
    levels: [OnceLock<Box<[Slot]>>; LEVELS],
    phase: AtomicU64,
    /// Held by the worker that moves entries.
    mover: Mutex<Move>,
    /// Where the search for expired entries goes on.
    hand: AtomicUsize,
    /// Slots in use, expired ones included.
    used: AtomicUsize,
    /// The largest number of slots.
    most: usize,
    pub(super) allowances: Allowances,
}

impl Table {
    /// An empty one. The seed keeps the places of entries unpredictable; `most` is the largest number of slots.
    pub(super) fn new(seed: u64, most: usize) -> Self {
        Self {
            seed,
            levels: [const { OnceLock::new() }; LEVELS],
            phase: AtomicU64::new(0),
            mover: Mutex::new(Move::default()),
            hand: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            most,
            allowances: Allowances::new(),
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &Key) -> u64 {
        key.hash(self.seed)
    }

    #[inline]
    fn phase(&self) -> Phase {
        Phase(self.phase.load(Ordering::Acquire))
    }

    /// The slots of a level, if it was made.
    #[inline]
    fn level(&self, level: usize) -> Option<&[Slot]> {
        self.levels.get(level)?.get().map(|slots| &**slots)
    }

    /// Whether a level may be made.
    fn may_have(&self, level: usize) -> bool {
        level < LEVELS && FIRST << level <= self.most
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

    #[inline]
    fn slots<'t>(table: &'t [Slot], key: &Key, hash: u64) -> impl Iterator<Item = (&'t Slot, Reading)> {
        let buckets = Self::buckets(table, hash).into_iter().flatten();
        buckets.filter_map(move |slot| Some((slot, slot.read(key)?)))
    }

    /// The slot of a key, expired or not, and its content.
    #[inline]
    pub(super) fn slot(&self, key: &Key, hash: u64) -> Option<(&Slot, Reading)> {
        loop {
            let phase = self.phase();
            if let Some(old) = phase.before().and_then(|level| self.level(level)) {
                if let Some(found) = Self::slots(old, key, hash).next() {
                    return Some(found);
                }
                // A slot that was free for an entry that has moved: what was written before it left is seen now.
                fence(Ordering::Acquire);
            }
            let table = self.level(phase.level())?;
            if let Some(found) = Self::slots(table, key, hash).next() {
                return Some(found);
            }
            fence(Ordering::Acquire);
            if self.phase.load(Ordering::Relaxed) == phase.0 {
                return None;
            }
        }
    }

    /// Whether there is a slot for a key, or may be one in a larger table.
    pub(super) fn has_room(&self, hash: u64, now: u32) -> bool {
        let level = self.phase().level();
        let Some(table) = self.level(level) else { return true };
        self.may_have(level + 1)
            || Self::buckets(table, hash)
                .into_iter()
                .flatten()
                .any(|slot| slot.is_free_at(now))
    }

    /// Writes an entry. Where the same connection is written by two workers at once, one entry stays.
    pub(super) fn insert(&self, content: &Content, hash: u64, now: u32) -> Result<(), Full> {
        loop {
            let phase = self.phase();
            let table = self.made(phase.level());
            if self.used.load(Ordering::Relaxed) * 2 > table.len() && self.grow_if_drained(phase) {
                continue;
            }
            let Some(slot) = self.place(table, content, hash, now, false) else {
                if self.grow(phase, now) {
                    continue;
                }
                return Err(Full);
            };
            // Either this worker sees the successor, or the one that moves entries there sees this entry.
            fence(Ordering::SeqCst);
            if self.phase().level() != phase.level() {
                if let Some(reading) = slot.read(&content.key) {
                    self.free(slot, &reading);
                }
                continue;
            }
            self.keep_one(table, &content.key, hash);
            return Ok(());
        }
    }

    /// Writes an entry into the emptier of its buckets; `None` when both are full.
    fn place<'t>(&self, table: &'t [Slot], content: &Content, hash: u64, now: u32, moved: bool) -> Option<&'t Slot> {
        // Counted before others can see and free it, so that no counter is ever less than zero.
        self.count(content);
        let buckets = Self::buckets(table, hash);
        let free = buckets.map(|bucket| bucket.iter().filter(|slot| slot.is_free_at(now)).count());
        let order = if free[1] > free[0] { [1, 0] } else { [0, 1] };
        for slot in order.into_iter().flat_map(|bucket| buckets[bucket]) {
            if let Some(former) = slot.write(content, now, moved) {
                if let Some(allowance) = former {
                    self.discount(allowance);
                }
                return Some(slot);
            }
        }
        self.discount(content.allowance.get());
        None
    }

    /// Frees all entries of a connection but one: one that was inserted before one that has moved, and then the first in the
    /// order of slots, so that each worker that searches keeps the same.
    fn keep_one(&self, table: &[Slot], key: &Key, hash: u64) {
        let mut kept: Option<(&Slot, Reading)> = None;
        for (slot, reading) in Self::slots(table, key, hash) {
            let Some(former) = kept.replace((slot, reading)) else {
                continue;
            };
            // A look-up may have passed the one that stays before it was written, and come to the other when it is free.
            self.phase.fetch_add(Phase::CHANGE, Ordering::AcqRel);
            if former.1.has_moved() && !reading.has_moved() {
                self.free(former.0, &former.1);
            } else {
                self.free(slot, &reading);
                kept = Some(former);
            }
        }
    }

    fn mover(&self) -> MutexGuard<'_, Move> {
        // A move that panicked has written whole entries only: the next one goes on.
        self.mover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the successor of a table whose predecessor is empty; true when there is one. Waits for nothing.
    #[cold]
    fn grow_if_drained(&self, from: Phase) -> bool {
        if !self.may_have(from.level() + 1) {
            return false;
        }
        let Ok(mut mover) = self.mover.try_lock() else {
            return false;
        };
        let phase = self.phase();
        if phase.level() == from.level() {
            if phase.before().is_some() {
                return false;
            }
            self.succeed(phase, &mut mover);
        }
        true
    }

    /// Makes the successor of a table, after what is left in the one before has moved; true when there is one.
    #[cold]
    fn grow(&self, from: Phase, now: u32) -> bool {
        let next = from.level() + 1;
        if !self.may_have(next) {
            return false;
        }
        let mut mover = self.mover();
        let phase = self.phase();
        if phase.level() != from.level() {
            return true;
        }
        let mut left: Vec<&Slot> = Vec::new();
        if let (Some(old), Some(table)) = (
            phase.before().and_then(|level| self.level(level)),
            self.level(phase.level()),
        ) {
            left.extend(old.iter().filter(|slot| !self.move_entry(slot, table, now)));
        }
        // Entries whose buckets are full go to the successor, and leave the old table when look-ups know the successor.
        let successor = self.made(next);
        for slot in &left {
            self.copy(slot, successor, now);
        }
        self.succeed(phase, &mut mover);
        for slot in left {
            self.leave(slot, successor);
        }
        true
    }

    /// Publishes the successor of a table; the entries are to move from its first slot on.
    fn succeed(&self, phase: Phase, mover: &mut Move) {
        let next = phase.level() + 1;
        self.made(next);
        *mover = Move::default();
        self.set_phase(Phase::DRAINING | next as u64);
        // Either an insertion into the old table sees the successor, or the worker that moves its entry sees that.
        fence(Ordering::SeqCst);
    }

    /// Sets level and state, for the holder of the lock. The count of changes goes on from what others have made of it.
    fn set_phase(&self, low: u64) {
        let next = |phase: u64| (phase & !(Phase::CHANGE - 1)).wrapping_add(Phase::CHANGE) | low;
        // The closure always gives a value.
        let _ = self
            .phase
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |phase| Some(next(phase)));
    }

    fn made(&self, level: usize) -> &[Slot] {
        self.levels[level].get_or_init(|| new_table(level))
    }

    /// Moves a few entries of the table before, or frees a few that have expired. Waits for nothing.
    pub(super) fn step(&self, now: u32) {
        self.move_some(STEP, now);
        self.reap_some(STEP, now);
    }

    fn move_some(&self, most: usize, now: u32) {
        let phase = self.phase();
        if phase.before().is_none() {
            return;
        }
        let Ok(mut mover) = self.mover.try_lock() else { return };
        let phase = self.phase();
        let (Some(old), Some(table)) = (
            phase.before().and_then(|level| self.level(level)),
            self.level(phase.level()),
        ) else {
            return;
        };
        let end = old.len().min(mover.next + most);
        for slot in &old[mover.next..end] {
            mover.left |= !self.move_entry(slot, table, now);
        }
        mover.next = end;
        if end == old.len() {
            if !mover.left {
                self.set_phase(phase.level() as u64);
            }
            *mover = Move::default();
        }
    }

    /// Moves an entry to the new table; false when its buckets there are full.
    fn move_entry(&self, slot: &Slot, table: &[Slot], now: u32) -> bool {
        let copied = self.copy(slot, table, now);
        if copied {
            self.leave(slot, table);
        }
        copied
    }

    /// Writes an entry to another table, unless it has expired or is there; false when its buckets are full.
    fn copy(&self, slot: &Slot, table: &[Slot], now: u32) -> bool {
        // A slot that is being written belongs to an insertion that will see the successor and begin again there.
        let Some((content, _)) = slot.content() else {
            return true;
        };
        let hash = self.hash(&content.key);
        if content.until < now || Self::slots(table, &content.key, hash).next().is_some() {
            return true;
        }
        let copied = self.place(table, &content, hash, now, true).is_some();
        // The worker that inserts the same connection now sees this entry, or this one sees that.
        fence(Ordering::SeqCst);
        self.keep_one(table, &content.key, hash);
        copied
    }

    /// Frees the slot of an entry that was copied, with what was written there since.
    fn leave(&self, slot: &Slot, table: &[Slot]) {
        while let Some((content, reading)) = slot.content() {
            let hash = self.hash(&content.key);
            let copy = || Self::slots(table, &content.key, hash).find(|(_, copy)| copy.has_moved());
            if let Some((to, copy)) = copy()
                && copy.known() != reading.known()
            {
                to.update(&copy, content.seen, content.touched, content.until);
            }
            if self.free(slot, &reading) {
                fence(Ordering::SeqCst);
                let (touched, until) = slot.times();
                if (touched, until) != (content.touched, content.until)
                    && let Some((to, copy)) = copy()
                {
                    to.update(&copy, content.seen, touched, until);
                }
                return;
            }
        }
    }

    fn reap_some(&self, slots: usize, now: u32) {
        let Some(table) = self.level(self.phase().level()) else {
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

    /// Frees slots of connections that have expired: an eighth of the table, or the whole of a small one. Makes the successor
    /// of a table that will soon be half full, so that no packet waits until its memory is there.
    pub(super) fn reap(&self, now: u32) {
        self.move_some(FIRST, now);
        let level = self.phase().level();
        let size = self.level(level).map_or(0, <[Slot]>::len);
        self.reap_some(size.min((size / 8).max(16 * FIRST)), now);
        if self.len() * 8 > size * 3 && self.may_have(level + 1) {
            self.made(level + 1);
        }
    }

    /// Frees the entries of which `is_meant` is true.
    pub(super) fn forget(&self, is_meant: impl Fn(&Content) -> bool) {
        // No entry moves from a table that was not searched yet to one that was.
        let _mover = self.mover();
        for slot in self.all() {
            while let Some((content, reading)) = slot.content()
                && is_meant(&content)
                && !self.free(slot, &reading)
            {}
        }
    }

    fn all(&self) -> impl Iterator<Item = &Slot> {
        let levels = self.levels.iter().filter_map(OnceLock::get);
        levels.flat_map(|table| table.iter())
    }

    /// All entries. One that moves meanwhile may come twice.
    pub(super) fn contents(&self) -> impl Iterator<Item = Content> {
        self.all().filter_map(|slot| Some(slot.content()?.0))
    }

    pub(super) fn free(&self, slot: &Slot, reading: &Reading) -> bool {
        let freed = slot.free(reading);
        if freed {
            self.discount(reading.allowance);
        }
        freed
    }

    fn count(&self, content: &Content) {
        self.used.fetch_add(1, Ordering::Relaxed);
        self.allowances.count(content.allowance.get());
    }

    fn discount(&self, allowance: u32) {
        self.used.fetch_sub(1, Ordering::Relaxed);
        self.allowances.discount(allowance);
    }

    /// Whether all entries are in the newest table.
    #[cfg(loom)]
    pub(super) fn is_settled(&self) -> bool {
        self.phase().before().is_none()
    }

    /// The number of slots in use, expired entries included.
    pub(super) fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

fn new_table(level: usize) -> Box<[Slot]> {
    (0..FIRST << level).map(|_| Slot::default()).collect()
}
