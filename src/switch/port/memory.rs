//! Implements a port without a kernel: two queues of frames in memory. The host's end belongs to a test or to a host in
//! this process, the switch's end to a stepped switch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{HEADER, LARGEST_FRAME, ReceiveError, SendError};

/// Frames that a queue holds before it drops: the length of a TAP's transmit queue.
const QUEUE: usize = 1000;

#[derive(Debug, Default)]
struct Queues {
    to_switch: VecDeque<Vec<u8>>,
    to_host: VecDeque<Vec<u8>>,
}

/// The switch's end of a cable.
#[derive(Debug)]
pub struct MemoryPort {
    queues: Arc<Mutex<Queues>>,
    mtu: u16,
}

/// The host's end of a cable. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryHost {
    queues: Arc<Mutex<Queues>>,
    mtu: u16,
}

/// A cable with its two ends. `mtu`: the largest IP packet in bytes.
pub fn cable(mtu: u16) -> (MemoryPort, MemoryHost) {
    let queues = Arc::new(Mutex::new(Queues::default()));
    (
        MemoryPort {
            queues: Arc::clone(&queues),
            mtu,
        },
        MemoryHost { queues, mtu },
    )
}

impl MemoryPort {
    /// The oldest frame from the host.
    pub fn receive(&self) -> Option<Vec<u8>> {
        lock(&self.queues).to_switch.pop_front()
    }

    /// Reads the oldest frame from the host behind an empty offload header, in the form a worker uses, and returns its
    /// length.
    pub(super) fn receive_into(&self, slot: &mut [u8]) -> Result<usize, ReceiveError> {
        let frame = self.receive().ok_or(ReceiveError::Empty)?;
        slot[..HEADER].fill(0);
        slot[HEADER..HEADER + frame.len()].copy_from_slice(&frame);
        Ok(frame.len())
    }

    /// Queues a frame for the host.
    pub fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        push(&mut lock(&self.queues).to_host, frame.to_vec())
    }

    /// The largest IP packet in bytes that is sent here.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }
}

impl MemoryHost {
    /// Sends a frame to the switch, which decides it in its next step.
    pub fn send(&self, frame: impl Into<Vec<u8>>) -> Result<(), SendError> {
        push(&mut lock(&self.queues).to_switch, frame.into())
    }

    /// The oldest frame from the switch.
    pub fn receive(&self) -> Option<Vec<u8>> {
        lock(&self.queues).to_host.pop_front()
    }

    /// Whether a frame from the switch waits.
    pub fn has_frame(&self) -> bool {
        !lock(&self.queues).to_host.is_empty()
    }

    /// Whether a frame can still be sent.
    pub fn has_room(&self) -> bool {
        lock(&self.queues).to_switch.len() < QUEUE
    }

    /// The largest IP packet in bytes that the cable carries.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }
}

/// A panic elsewhere leaves whole frames in the queues, so they stay usable.
fn lock(queues: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

fn push(queue: &mut VecDeque<Vec<u8>>, frame: Vec<u8>) -> Result<(), SendError> {
    // A device of the kernel accepts no longer frame either.
    if frame.len() > LARGEST_FRAME {
        return Err(SendError::Refused(rustix::io::Errno::MSGSIZE));
    }
    if queue.len() >= QUEUE {
        return Err(SendError::Full);
    }
    queue.push_back(frame);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_order_and_a_full_queue_says_so() {
        let (port, host) = cable(1500);
        host.send([1]).expect("the queue is empty");
        host.send([2]).expect("the queue has room");
        assert_eq!(port.receive(), Some(vec![1]));
        assert_eq!(port.receive(), Some(vec![2]));
        assert_eq!(port.receive(), None);
        for _ in 0..QUEUE {
            port.send(&[3]).expect("the queue has room");
        }
        assert_eq!(port.send(&[3]), Err(SendError::Full));
    }
}
