//! Decides whether an idle worker polls before it sleeps. A wake-up takes one to three microseconds, for a request and
//! again for its answer; polling takes a whole CPU. So a worker polls only if it is configured to, and only while
//! frames arrive before it would give up.

use std::time::Duration;

/// Consecutive frames that arrived soon, before polling begins.
const OFTEN: u8 = 4;

/// Bound of the score: after so many early frames, half as many may come late before polling stops.
const MOST: u8 = 16;

/// The polling policy of a worker.
pub(super) struct Spin {
    longest: Duration,
    soon: u8,
}

impl Spin {
    /// With zero it never polls.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, soon: 0 }
    }

    pub(super) fn is_off(&self) -> bool {
        self.longest.is_zero()
    }

    /// How long to poll now before sleeping.
    pub(super) fn patience(&self) -> Duration {
        if self.soon >= OFTEN {
            self.longest
        } else {
            Duration::ZERO
        }
    }

    /// Records how long the worker was idle before the last frame.
    pub(super) fn waited(&mut self, idle: Duration) {
        self.soon = if idle <= self.longest {
            MOST.min(self.soon + 1)
        } else {
            self.soon / 2
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(20);

    #[test]
    fn a_worker_looks_while_frames_come_soon_and_sleeps_when_they_do_not() {
        let mut spin = Spin::new(LONGEST);
        assert_eq!(spin.patience(), Duration::ZERO, "nothing has come yet");
        (0..OFTEN).for_each(|_| spin.waited(LONGEST / 2));
        assert_eq!(spin.patience(), LONGEST);
        (0..100).for_each(|_| spin.waited(LONGEST / 2));
        spin.waited(LONGEST * 2);
        assert_eq!(spin.patience(), LONGEST, "one pause is no end");
        (0..3).for_each(|_| spin.waited(LONGEST * 2));
        assert_eq!(spin.patience(), Duration::ZERO);
    }

    #[test]
    fn a_worker_without_a_polling_time_sleeps() {
        let mut spin = Spin::new(Duration::ZERO);
        (0..100).for_each(|_| spin.waited(Duration::from_nanos(1)));
        assert!(spin.is_off() && spin.patience().is_zero());
    }
}
