//! Counts what happens at a port, without a lock and without an atomic read-modify-write: each worker is the only
//! writer of its own block of each port, and readers add the blocks up.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::datapath::{Answered, DropReason};

/// A number with one writer.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    /// Adds. Only the one writer may call this; two would lose counts.
    #[inline]
    pub(super) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one worker for one port. The alignment keeps two workers from writing to the same cache line, or to
/// the pair of lines that CPUs fetch together.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Block {
    pub(super) received_frames: Cell,
    pub(super) received_bytes: Cell,
    pub(super) sent_frames: Cell,
    pub(super) sent_bytes: Cell,
    pub(super) sent_merged: Cell,
    pub(super) unasked: Cell,
    pub(super) refused: Cell,
    pub(super) answered: [Cell; Answered::COUNT],
    pub(super) dropped: [Cell; DropReason::COUNT],
}

impl Default for Block {
    fn default() -> Self {
        Self {
            received_frames: Cell::default(),
            received_bytes: Cell::default(),
            sent_frames: Cell::default(),
            sent_bytes: Cell::default(),
            sent_merged: Cell::default(),
            unasked: Cell::default(),
            refused: Cell::default(),
            answered: std::array::from_fn(|_| Cell::default()),
            dropped: std::array::from_fn(|_| Cell::default()),
        }
    }
}

/// Frames and their bytes, Ethernet header included. A merged frame counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

/// All counters of one port since it was attached. A frame is counted as dropped at the port where it came *in*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortCounters {
    /// Read from the port.
    pub received: Traffic,
    /// Delivered to the port from other ports.
    pub sent: Traffic,
    /// Of these, frames that were merged behind another.
    pub sent_merged: u64,
    /// Frames that the fabric sent unsolicited: advertisements and announcements.
    pub unasked: u64,
    /// Frames for this port, of any origin, that its device refused.
    pub refused: u64,
    /// Answers to the port's own requests, by kind.
    pub answered: [u64; Answered::COUNT],
    /// Frames from the port that were dropped, by reason.
    pub dropped: [u64; DropReason::COUNT],
}

impl PortCounters {
    pub(super) fn sum(blocks: &[Block]) -> Self {
        let total = |cell: fn(&Block) -> &Cell| blocks.iter().map(|block| cell(block).read()).sum();
        Self {
            received: Traffic {
                frames: total(|b| &b.received_frames),
                bytes: total(|b| &b.received_bytes),
            },
            sent: Traffic {
                frames: total(|b| &b.sent_frames),
                bytes: total(|b| &b.sent_bytes),
            },
            sent_merged: total(|b| &b.sent_merged),
            unasked: total(|b| &b.unasked),
            refused: total(|b| &b.refused),
            answered: std::array::from_fn(|i| blocks.iter().map(|b| b.answered[i].read()).sum()),
            dropped: std::array::from_fn(|i| blocks.iter().map(|b| b.dropped[i].read()).sum()),
        }
    }

    /// Answers of this kind.
    pub fn answered(&self, kind: Answered) -> u64 {
        self.answered[kind as usize]
    }

    /// Frames dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// The reasons with at least one drop, and their counts.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason, self.dropped(reason)))
            .filter(|&(_, count)| count > 0)
    }
}
