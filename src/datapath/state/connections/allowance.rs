//! Counts what is tracked against each allowance, and what was dropped because one was used up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::super::by_index::ByIndex;
use crate::mapping::InterfaceIndex;

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
    counters: ByIndex<Counter>,
    exceeded: AtomicU64,
}

impl Allowances {
    pub(super) fn new() -> Self {
        Self {
            counters: ByIndex::new(),
            exceeded: AtomicU64::new(0),
        }
    }

    pub(super) fn count(&self, allowance: u32) {
        if let Some(counter) = self.counters.made(allowance) {
            counter.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn discount(&self, allowance: u32) {
        if let Some(counter) = self.counters.made(allowance) {
            counter.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn used(&self, allowance: InterfaceIndex) -> u32 {
        self.counters
            .get(allowance)
            .map_or(0, |counter| counter.used.load(Ordering::Relaxed))
    }

    pub(super) fn exceed(&self, allowance: InterfaceIndex) {
        self.exceeded.fetch_add(1, Ordering::Relaxed);
        if let Some(counter) = self.counters.made(allowance.get()) {
            counter.exceeded.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn exceeded_by(&self, allowance: InterfaceIndex) -> u64 {
        self.counters
            .get(allowance)
            .map_or(0, |counter| counter.exceeded.load(Ordering::Relaxed))
    }

    pub(super) fn exceeded(&self) -> u64 {
        self.exceeded.load(Ordering::Relaxed)
    }
}
