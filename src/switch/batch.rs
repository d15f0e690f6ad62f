//! Holds the frames of one round, one right behind the other in one buffer that the next round reuses. Small frames
//! thus stay within a few kilobytes of cache, and large ones need no other buffer.

use super::port::{HEADER, LARGEST_FRAME, PortDevice, ReceiveError};

/// The most frames that one port may bring in one round, so that a flooding port leaves room for the others.
pub const FRAMES: usize = 64;

/// Room for the largest frame with its offload header.
const LARGEST_SLOT: usize = (HEADER + LARGEST_FRAME).next_multiple_of(LINE);

/// Frames begin at cache lines, so that two never share one.
const LINE: usize = 64;

/// Bytes after which a round ends even with fewer frames: four of the largest, so that they are written while they are
/// still in cache.
const BUDGET: usize = 4 * LARGEST_SLOT;

/// Where a frame begins; its offload header is in the [`HEADER`] bytes before it.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    start: u32,
    /// Bytes of the frame without the header.
    length: u32,
}

/// The frames of one round.
#[derive(Debug)]
pub struct Batch {
    memory: Box<[u8]>,
    slots: [Slot; FRAMES],
    count: usize,
    end: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Allocates room for a round; nothing is allocated later.
    pub fn new() -> Self {
        Self {
            memory: vec![0; BUDGET + LARGEST_SLOT].into(),
            slots: [Slot::default(); FRAMES],
            count: 0,
            end: 0,
        }
    }

    /// Removes the frames of the previous round.
    #[inline]
    pub fn clear(&mut self) {
        (self.count, self.end) = (0, 0);
    }

    /// Reads frames from `port` until there are `most` or the budget of a round is used up. `Ok`: more may be queued.
    /// `Err`: why reading ended earlier, [`ReceiveError::Empty`] in the usual case.
    #[inline]
    pub fn fill(&mut self, port: &PortDevice, most: usize) -> Result<(), ReceiveError> {
        while self.count < most.min(FRAMES) && self.end < BUDGET {
            let length = port.receive(&mut self.memory[self.end..])?;
            self.push(length);
        }
        Ok(())
    }

    /// Copies a frame without an offload header into the batch: for tests and for ports without a descriptor.
    pub fn add(&mut self, frame: &[u8]) -> bool {
        if self.count == FRAMES || self.end >= BUDGET || frame.len() > LARGEST_FRAME {
            return false;
        }
        let start = self.end + HEADER;
        self.memory[self.end..start].fill(0);
        self.memory[start..start + frame.len()].copy_from_slice(frame);
        self.push(frame.len());
        true
    }

    #[inline]
    fn push(&mut self, length: usize) {
        // Both fit: the buffer is far smaller than 4 GiB.
        self.slots[self.count] = Slot {
            start: (self.end + HEADER) as u32,
            length: length as u32,
        };
        self.count += 1;
        self.end = (self.end + HEADER + length).next_multiple_of(LINE);
    }

    /// How many frames there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A frame without its offload header. `index` is below [`Self::len`].
    #[inline]
    pub fn frame(&self, index: usize) -> &[u8] {
        let slot = self.slots[index];
        &self.memory[slot.start as usize..][..slot.length as usize]
    }

    /// The same, to be rewritten in place.
    #[inline]
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = self.slots[index];
        &mut self.memory[slot.start as usize..][..slot.length as usize]
    }

    /// The offload header and the frame behind it.
    #[inline]
    pub fn slot(&self, index: usize) -> &[u8] {
        let slot = self.slots[index];
        &self.memory[slot.start as usize - HEADER..][..HEADER + slot.length as usize]
    }

    /// The same, to be rewritten in place.
    #[inline]
    pub fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = self.slots[index];
        &mut self.memory[slot.start as usize - HEADER..][..HEADER + slot.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_behind_their_headers_and_do_not_touch() {
        let mut batch = Batch::new();
        for i in 0..FRAMES {
            assert!(batch.add(&vec![i as u8; 60 + i]));
        }
        assert!(!batch.add(&[0; 60]), "the round is full");
        for i in 0..FRAMES {
            batch.slot_mut(i)[..HEADER].fill(0xa5);
        }
        for i in 0..FRAMES {
            assert_eq!(batch.frame(i), vec![i as u8; 60 + i]);
            assert_eq!(batch.slot(i).len(), HEADER + 60 + i);
        }
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn a_round_of_large_frames_ends_after_few() {
        let mut batch = Batch::new();
        let frame = vec![1; LARGEST_FRAME];
        let count = (0..FRAMES).take_while(|_| batch.add(&frame)).count();
        assert_eq!(count, 4);
    }
}
