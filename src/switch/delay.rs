//! Holds frames that a fault delays, ordered by the time at which they are due. Memory is bounded: a frame that does
//! not fit is dropped with a reason.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::datapath::DropReason;
use crate::mapping::PortId;

/// Octets that a worker holds at most.
const MOST_OCTETS: usize = 64 << 20;
/// Frames that a worker holds at most.
const MOST_FRAMES: usize = 1 << 16;

/// A delayed frame.
#[derive(Debug)]
pub(super) struct Held<T> {
    due: Duration,
    /// Frames due at the same time leave in the order of arrival.
    number: u64,
    /// Ingress port.
    pub(super) from: PortId,
    /// Egress port.
    pub(super) to: PortId,
    /// The frame, with anything else that the switch needs to send it.
    pub(super) bytes: Vec<u8>,
    /// What is left to do for it.
    pub(super) rest: T,
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// All delayed frames.
#[derive(Debug)]
pub(super) struct Delayed<T> {
    heap: BinaryHeap<Reverse<Held<T>>>,
    next: u64,
    octets: usize,
}

impl<T> Delayed<T> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next: 0,
            octets: 0,
        }
    }

    /// Holds a frame until it is due.
    pub(super) fn hold(
        &mut self,
        due: Duration,
        from: PortId,
        to: PortId,
        bytes: &[u8],
        rest: T,
    ) -> Result<(), DropReason> {
        if self.heap.len() >= MOST_FRAMES || self.octets + bytes.len() > MOST_OCTETS {
            return Err(DropReason::FaultDelayOverflow);
        }
        self.octets += bytes.len();
        self.next += 1;
        self.heap.push(Reverse(Held {
            due,
            number: self.next,
            from,
            to,
            bytes: bytes.to_vec(),
            rest,
        }));
        Ok(())
    }

    /// When the next frame is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(held)| held.due)
    }

    /// The next frame, if it is due.
    pub(super) fn take(&mut self, now: Duration) -> Option<Held<T>> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(held) = self.heap.pop()?;
        self.octets -= held.bytes.len();
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u32) -> PortId {
        PortId::new(number).expect("not zero")
    }

    #[test]
    fn frames_leave_when_they_are_due_and_then_in_the_order_in_which_they_came() {
        let mut delayed = Delayed::new();
        for (due, frame) in [(3, 1_u8), (1, 2), (3, 3), (2, 4)] {
            let held = delayed.hold(Duration::from_millis(due), port(1), port(2), &[frame], ());
            assert_eq!(held, Ok(()));
        }
        let mut leave = |at| {
            std::iter::from_fn(|| delayed.take(Duration::from_millis(at)))
                .map(|held| held.bytes[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(leave(0), Vec::<u8>::new());
        assert_eq!(leave(2), [2, 4]);
        assert_eq!(leave(3), [1, 3]);
    }

    #[test]
    fn more_than_the_memory_holds_is_refused_until_there_is_room() {
        let mut delayed = Delayed::new();
        let large = vec![0; 1 << 20];
        let hold = |delayed: &mut Delayed<()>| delayed.hold(Duration::ZERO, port(1), port(2), &large, ());
        for _ in 0..64 {
            assert_eq!(hold(&mut delayed), Ok(()));
        }
        assert_eq!(hold(&mut delayed), Err(DropReason::FaultDelayOverflow));
        assert!(delayed.take(Duration::ZERO).is_some());
        assert_eq!(hold(&mut delayed), Ok(()));
    }
}
