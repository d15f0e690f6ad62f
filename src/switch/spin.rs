//! Whether a worker with nothing to do looks again for a moment before it sleeps. To be woken takes one to three
//! microseconds, on both sides of a question and its answer; looking takes a whole CPU. So it looks only while frames come
//! sooner than it would give up, and only where it was told to.

use std::time::Duration;

/// Frames that came soon, one after another, before it begins to look.
const OFTEN: u8 = 4;

/// What is remembered of them: after so many, as many as half of them may come late before it stops.
const MOST: u8 = 16;

/// A worker's patience.
pub(super) struct Spin {
    longest: Duration,
    soon: u8,
}

impl Spin {
    /// With zero it never looks.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, soon: 0 }
    }

    pub(super) fn is_off(&self) -> bool {
        self.longest.is_zero()
    }

    /// How long to look now before going to sleep.
    pub(super) fn patience(&self) -> Duration {
        if self.soon >= OFTEN {
            self.longest
        } else {
            Duration::ZERO
        }
    }

    /// Something came after a worker had nothing to do for so long.
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
    fn a_worker_that_is_not_told_to_look_sleeps() {
        let mut spin = Spin::new(Duration::ZERO);
        (0..100).for_each(|_| spin.waited(Duration::from_nanos(1)));
        assert!(spin.is_off() && spin.patience().is_zero());
    }
}
