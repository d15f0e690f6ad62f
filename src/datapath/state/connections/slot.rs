//! Stores one entry in 64 bytes, written by several workers and read by all without a lock.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

// The crate in `loom/` includes this file to try every order of loads and stores.
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

use super::Known;
use super::key::Key;
use super::tracking::Seen;
use crate::mapping::InterfaceIndex;

/// An entry's words.
///
/// 0: version (upper half), whether the entry was moved here (bit 18), state (bits 16 and 17), what was seen (lower 16 bits). 1: the second in which it was last
/// refreshed (upper half), and the last second of its life. 2: the allowance it counts against, and 3 to 7: the key. Word 2
/// shares its lower half with the key.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Slot {
    words: [AtomicU64; 8],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 64);

const STATE: u64 = 0b11 << 16;
const FREE: u64 = 0;
const WRITING: u64 = 1 << 16;
const LIVE: u64 = 2 << 16;
const MOVED: u64 = 1 << 18;
const SEEN: u64 = 0xffff;
/// What a new entry of the slot does not keep.
const OWN: u64 = STATE | MOVED | SEEN;
/// One in the version.
const ONE: u64 = 1 << 32;

/// The content to write to a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) key: Key,
    pub(super) seen: Seen,
    pub(super) touched: u32,
    pub(super) until: u32,
    pub(super) allowance: InterfaceIndex,
}

/// The content of a live slot at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    head: u64,
    times: u64,
    pub(super) until: u32,
    pub(super) allowance: u32,
}

impl Reading {
    fn new(head: u64, times: u64, word: u64) -> Self {
        Self {
            head,
            times,
            until: times as u32,
            allowance: (word >> 32) as u32,
        }
    }

    /// Whether it was moved here from a smaller table.
    pub(super) fn has_moved(&self) -> bool {
        self.head & MOVED != 0
    }

    #[inline]
    pub(super) fn known(&self) -> Known {
        Known {
            seen: Seen::from_bits((self.head & SEEN) as u16),
            touched: (self.times >> 32) as u32,
            until: self.until,
        }
    }
}

fn times(touched: u32, until: u32) -> u64 {
    u64::from(touched) << 32 | u64::from(until)
}

impl Slot {
    #[inline]
    fn word(&self, at: usize) -> u64 {
        // Acquire: the check of the version that follows is not made before.
        self.words[at].load(Ordering::Acquire)
    }

    /// The slot's words other than the first, and its first word; `None` unless it was live all the while.
    #[inline]
    fn snapshot(&self) -> Option<([u64; 7], u64)> {
        let head = self.word(0);
        if head & STATE != LIVE {
            return None;
        }
        let words = std::array::from_fn(|at| self.word(at + 1));
        // The flags may have changed meanwhile; the version shows whether anything else has.
        let after = self.words[0].load(Ordering::Relaxed);
        ((head ^ after) & !SEEN == 0).then_some((words, head))
    }

    /// Reads the slot if it is this key's.
    #[inline]
    pub(super) fn read(&self, key: &Key) -> Option<Reading> {
        // Nearly every other slot has other ports or another interface.
        if self.words[3].load(Ordering::Relaxed) != key.words()[1] {
            return None;
        }
        let (words, head) = self.snapshot()?;
        let (own, key) = (&words[1..], key.words());
        let same = own[0] as u32 == key[0] as u32 && own[1..] == key[1..];
        same.then(|| Reading::new(head, words[0], words[1]))
    }

    /// Reads the slot, whatever its key.
    pub(super) fn content(&self) -> Option<(Content, Reading)> {
        let (words, head) = self.snapshot()?;
        let reading = Reading::new(head, words[0], words[1]);
        let key = Key::from_words([
            u64::from(words[1] as u32),
            words[2],
            words[3],
            words[4],
            words[5],
            words[6],
        ]);
        let known = reading.known();
        let content = Content {
            key,
            seen: known.seen,
            touched: known.touched,
            until: known.until,
            allowance: InterfaceIndex::from_number(reading.allowance)?,
        };
        Some((content, reading))
    }

    /// The slot, if it is live and has expired.
    pub(super) fn expired(&self, now: u32) -> Option<Reading> {
        let head = self.word(0);
        let (times, word) = (self.word(1), self.word(2));
        let over = head & STATE == LIVE && (times as u32) < now;
        (over && self.words[0].load(Ordering::Relaxed) == head).then(|| Reading::new(head, times, word))
    }

    pub(super) fn is_free(&self) -> bool {
        self.word(0) & STATE == FREE
    }

    /// Whether a new entry may be written here.
    pub(super) fn is_free_at(&self, now: u32) -> bool {
        self.is_free() || self.expired(now).is_some()
    }

    /// Writes an entry if the slot is free or its entry has expired: returns the allowance that this one counted
    /// against, if it was in use. `None` when it is neither, or another worker was quicker.
    pub(super) fn write(&self, content: &Content, now: u32, moved: bool) -> Option<Option<u32>> {
        let head = self.word(0);
        let former = if head & STATE == FREE {
            None
        } else {
            let expired = self.expired(now).filter(|reading| reading.head == head)?;
            Some(expired.allowance)
        };
        let writing = (head & !OWN).wrapping_add(ONE) | WRITING;
        self.words[0]
            .compare_exchange(head, writing, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        let key = content.key.words();
        // Release: a reader of one of these words sees that the slot is being written.
        let set = |at: usize, word: u64| self.words[at].store(word, Ordering::Release);
        set(1, times(content.touched, content.until));
        set(2, u64::from(content.allowance.get()) << 32 | u64::from(key[0] as u32));
        for (at, word) in key.iter().enumerate().skip(1) {
            set(at + 2, *word);
        }
        let moved = if moved { MOVED } else { 0 };
        let live = writing & !STATE | LIVE | moved | u64::from(content.seen.bits());
        self.words[0].store(live, Ordering::Release);
        Some(former)
    }

    /// The seconds in which the slot's last entry was refreshed, and in which its life ends.
    pub(super) fn times(&self) -> (u32, u32) {
        let times = self.words[1].load(Ordering::Acquire);
        ((times >> 32) as u32, times as u32)
    }

    /// Writes the flags and the life of the entry; false when it is another entry by now, or has moved. Where two workers
    /// write the same entry at once, one of them is heard.
    pub(super) fn update(&self, reading: &Reading, seen: Seen, now: u32, until: u32) -> bool {
        let head = reading.head & !SEEN | u64::from(seen.bits());
        let is_other = |now: u64| (now ^ head) & !SEEN != 0;
        if head != reading.head
            && let Err(now) = self.words[0].compare_exchange(reading.head, head, Ordering::AcqRel, Ordering::Acquire)
            && is_other(now)
        {
            return false;
        }
        // The times are exchanged too, so that those of an entry that took the slot meanwhile stay.
        let new = times(now, until);
        if reading.times != new {
            let _ = self.words[1].compare_exchange(reading.times, new, Ordering::AcqRel, Ordering::Acquire);
        }
        // The worker that moves the entry reads the times after it has freed the slot: either it sees these, or this worker
        // sees that the slot is free.
        fence(Ordering::SeqCst);
        !is_other(self.word(0))
    }

    /// Frees the slot; false when it is another entry by now, or its flags have changed.
    pub(super) fn free(&self, reading: &Reading) -> bool {
        let free = (reading.head & !OWN).wrapping_add(ONE) | FREE;
        self.words[0]
            .compare_exchange(reading.head, free, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}
