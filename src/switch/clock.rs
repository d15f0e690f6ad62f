//! Returns the time since a switch was started: of the kernel's clock, or of a clock that the caller steps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A switch's clock.
pub(super) enum Clock {
    /// Runs by itself since this instant.
    Running(Instant),
    /// Stands at this many nanoseconds until the next step.
    Stepped(AtomicU64),
}

impl Clock {
    /// A clock that has been running since `start`.
    pub(super) fn running(start: Instant) -> Self {
        Self::Running(start)
    }

    /// A stepped clock at zero.
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

    /// Sets a stepped clock.
    pub(super) fn step(&self, now: Duration) {
        if let Self::Stepped(nanoseconds) = self {
            // Fits for 584 years.
            nanoseconds.store(now.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}
