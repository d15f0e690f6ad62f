//! Tells the time since a switch was started: the kernel's, or that of whoever drives the switch step by step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A switch's clock.
pub(super) enum Clock {
    /// It runs by itself since this instant.
    Running(Instant),
    /// It stands at so many nanoseconds until the next step.
    Stepped(AtomicU64),
}

impl Clock {
    /// A clock that runs since `start`.
    pub(super) fn running(start: Instant) -> Self {
        Self::Running(start)
    }

    /// A clock that stands at zero.
    pub(super) fn stepped() -> Self {
        Self::Stepped(AtomicU64::new(0))
    }

    /// The time since the start.
    #[inline]
    pub(super) fn now(&self) -> Duration {
        match self {
            Self::Running(start) => start.elapsed(),
            Self::Stepped(nanoseconds) => Duration::from_nanos(nanoseconds.load(Ordering::Relaxed)),
        }
    }

    /// Sets a clock that does not run by itself.
    pub(super) fn step(&self, now: Duration) {
        if let Self::Stepped(nanoseconds) = self {
            // 584 years.
            nanoseconds.store(now.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}
