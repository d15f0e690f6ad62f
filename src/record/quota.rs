//! Counts the octets of the captures of all runs that are being played, and says when there are too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Octets of the captures of a server's runs while they are played, which are in memory.
pub const PLAYING: u64 = 256 << 20;

/// Octets that a share takes at once, so that captures of several runs seldom meet.
const STEP: u64 = 1 << 16;

/// The octets of a purpose, and their limit.
#[derive(Debug)]
pub struct Quota {
    limit: u64,
    used: AtomicU64,
    exceeded: AtomicU64,
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(PLAYING)
    }
}

impl Quota {
    /// A quota of so many octets.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            exceeded: AtomicU64::new(0),
        }
    }

    /// The limit in octets.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Octets in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Captures that ended early because the quota was used up.
    pub fn exceeded(&self) -> u64 {
        self.exceeded.load(Ordering::Relaxed)
    }
}

/// What one run has of a quota. Dropping it returns the octets.
#[derive(Debug)]
pub(super) struct Share {
    quota: Arc<Quota>,
    taken: u64,
    /// Octets taken and not used yet.
    left: u64,
}

impl Share {
    pub(super) fn of(quota: &Arc<Quota>) -> Self {
        Self {
            quota: Arc::clone(quota),
            taken: 0,
            left: 0,
        }
    }

    /// Takes octets; false if they exceed the quota.
    pub(super) fn take(&mut self, octets: u64) -> bool {
        if octets > self.left {
            let wanted = (octets - self.left).max(STEP);
            let fits = |used: u64| used.checked_add(wanted).filter(|sum| *sum <= self.quota.limit);
            let order = Ordering::Relaxed;
            if self.quota.used.fetch_update(order, order, fits).is_err() {
                return false;
            }
            self.taken = self.taken.saturating_add(wanted);
            self.left = self.left.saturating_add(wanted);
        }
        self.left -= octets;
        true
    }

    /// Counts a capture that ended early.
    pub(super) fn exceeded(&self) {
        self.quota.exceeded.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_quota_together_and_return_what_they_took() {
        let quota = Arc::new(Quota::new(3 * STEP));
        let (mut one, mut two) = (Share::of(&quota), Share::of(&quota));
        assert!(one.take(100) && one.take(STEP - 100) && quota.used() == STEP);
        assert!(two.take(2 * STEP), "the rest");
        assert!(!one.take(1) && !two.take(1));
        drop(two);
        assert_eq!(quota.used(), STEP);
        assert!(one.take(1));
        drop(one);
        assert_eq!(quota.used(), 0);
    }
}
