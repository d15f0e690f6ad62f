//! Counts what is tracked against each allowance, and what was dropped because one was used up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::mapping::InterfaceIndex;

/// Counters of allowances in a chunk, and chunks at the most: as many as there may be interfaces.
const CHUNK: usize = 1024;
const CHUNKS: usize = 4096;

/// What counts against an allowance.
#[derive(Default)]
struct Counter {
    /// Slots in use, expired ones included.
    used: AtomicU32,
    /// Packets that were dropped because it was used up.
    exceeded: AtomicU64,
}

/// The counters of all allowances. An allowance has the index of an instance's first interface.
pub(super) struct Allowances {
    chunks: Box<[OnceLock<Box<[Counter]>>]>,
    exceeded: AtomicU64,
}

impl Allowances {
    pub(super) fn new() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            exceeded: AtomicU64::new(0),
        }
    }

    fn counter(&self, allowance: u32) -> Option<&Counter> {
        let at = allowance as usize;
        let chunk = self.chunks.get(at / CHUNK)?;
        Some(&chunk.get_or_init(|| (0..CHUNK).map(|_| Counter::default()).collect())[at % CHUNK])
    }

    fn counted(&self, allowance: InterfaceIndex) -> Option<&Counter> {
        let at = allowance.get() as usize;
        let chunk = self.chunks.get(at / CHUNK).and_then(OnceLock::get);
        chunk.map(|chunk| &chunk[at % CHUNK])
    }

    pub(super) fn count(&self, allowance: u32) {
        if let Some(counter) = self.counter(allowance) {
            counter.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn discount(&self, allowance: u32) {
        if let Some(counter) = self.counter(allowance) {
            counter.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn used(&self, allowance: InterfaceIndex) -> u32 {
        self.counted(allowance)
            .map_or(0, |counter| counter.used.load(Ordering::Relaxed))
    }

    pub(super) fn exceed(&self, allowance: InterfaceIndex) {
        self.exceeded.fetch_add(1, Ordering::Relaxed);
        if let Some(counter) = self.counter(allowance.get()) {
            counter.exceeded.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn exceeded_by(&self, allowance: InterfaceIndex) -> u64 {
        self.counted(allowance)
            .map_or(0, |counter| counter.exceeded.load(Ordering::Relaxed))
    }

    pub(super) fn exceeded(&self) -> u64 {
        self.exceeded.load(Ordering::Relaxed)
    }
}
