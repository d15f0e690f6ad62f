//! What leaves in a round: the frames of one batch, each with its destination, merged where the law of
//! [`coalesce`](super::coalesce) allows it, written in order. Only what is already there is merged; nothing waits.

use std::io::IoSlice;

use zerocopy::IntoBytes;

use super::batch::{Batch, FRAMES};
use super::coalesce::{Car, Train};
use super::port::{HEADER, LARGEST_FRAME, Offload, PortDevice, SendError, VnetHeader, segment};

/// Places in the index of open trains; twice the frames of a round keep it sparse.
const PLACES: usize = 2 * FRAMES;

/// The end of a train's chain of frames.
const END: u8 = u8::MAX;

/// Where frames go to, and who hears what became of them.
pub trait Outlets {
    /// The device of a port; `None` when there is no such port any more.
    fn device(&self, port: u32) -> Option<&PortDevice>;
    /// `frames` frames of `bytes` bytes in all were written to `port`.
    fn sent(&mut self, port: u32, frames: usize, bytes: usize);
    /// `frame` did not go out, nor did the others of its train, `frames` in all. `error` is `None` when there is no such
    /// port any more.
    fn failed(&mut self, frame: &[u8], frames: usize, port: u32, error: Option<SendError>);
}

/// One crossing: a frame, or a train of them.
#[derive(Clone, Copy)]
struct Crossing {
    port: u32,
    first: u8,
    last: u8,
    /// `None`: the frame crosses as it is, whatever follows.
    train: Option<Train>,
    offload: Offload,
}

/// The crossings of one round.
pub struct Egress {
    crossings: Vec<Crossing>,
    /// For each frame of the batch, the one behind it in its train.
    next: [u8; FRAMES],
    /// Flow hash → crossing + 1.
    index: [u8; PLACES],
    /// Trains before this one take no more frames.
    barrier: usize,
    merged: usize,
    /// Room for one piece of a frame that is cut here, with its offload header.
    piece: Box<[u8]>,
}

impl Default for Egress {
    fn default() -> Self {
        Self::new()
    }
}

impl Egress {
    /// Room for a round; nothing is allocated after this.
    pub fn new() -> Self {
        Self {
            crossings: Vec::with_capacity(FRAMES),
            next: [END; FRAMES],
            index: [0; PLACES],
            barrier: 0,
            merged: 0,
            piece: vec![0; HEADER + LARGEST_FRAME].into(),
        }
    }

    /// Queues the frame at `index` of the batch for `port`, as it lies there now. With `merge` it may become part of a
    /// train; the port must then accept segmentation offloads.
    #[inline]
    pub fn push(&mut self, batch: &Batch, index: usize, offload: Offload, port: u32, merge: bool) {
        let car = if merge {
            Car::new(batch.frame(index), &offload)
        } else {
            None
        };
        // A batch has at most FRAMES frames, which a byte can count.
        let at = index as u8;
        let Some(car) = car else {
            // It may be of a flow that has an open train: nothing of that flow may overtake it.
            self.barrier = self.crossings.len() + 1;
            self.crossings.push(Crossing {
                port,
                first: at,
                last: at,
                train: None,
                offload,
            });
            return;
        };
        let frame = batch.frame(index);
        // Most often the frame before was of the same flow.
        let newest = self.crossings.len();
        if newest > self.barrier && self.join(batch, newest - 1, at, port, &car, frame) {
            return;
        }
        let place = (car.flow_hash(frame) as usize ^ port as usize) % PLACES;
        let open = usize::from(self.index[place]);
        if open > self.barrier && open < newest && self.join(batch, open - 1, at, port, &car, frame) {
            return;
        }
        self.next[index] = END;
        self.crossings.push(Crossing {
            port,
            first: at,
            last: at,
            train: Some(Train::new(car)),
            offload,
        });
        self.index[place] = self.crossings.len() as u8;
    }

    #[inline]
    fn join(&mut self, batch: &Batch, crossing: usize, at: u8, port: u32, car: &Car, frame: &[u8]) -> bool {
        let crossing = &mut self.crossings[crossing];
        let Some(train) = crossing.train.as_mut().filter(|_| crossing.port == port) else {
            return false;
        };
        let head = batch.frame(usize::from(crossing.first));
        if !train.couple(head, car, frame) {
            return false;
        }
        self.next[usize::from(crossing.last)] = at;
        self.next[usize::from(at)] = END;
        crossing.last = at;
        self.merged += 1;
        true
    }

    /// Writes all crossings and forgets them. Returns how many frames crossed behind another.
    pub fn flush(&mut self, batch: &mut Batch, outlets: &mut impl Outlets) -> usize {
        for crossing in 0..self.crossings.len() {
            let crossing = self.crossings[crossing];
            match crossing.train {
                Some(train) if train.count() > 1 => self.write_train(batch, outlets, &crossing, &train),
                _ => self.write_frame(batch, outlets, &crossing),
            }
        }
        if self.crossings.iter().any(|crossing| crossing.train.is_some()) {
            self.index.fill(0);
        }
        self.crossings.clear();
        self.barrier = 0;
        std::mem::take(&mut self.merged)
    }

    fn write_train(&self, batch: &mut Batch, outlets: &mut impl Outlets, crossing: &Crossing, train: &Train) {
        let first = usize::from(crossing.first);
        let offload = train.seal(batch.frame_mut(first));
        batch.slot_mut(first)[..HEADER].copy_from_slice(VnetHeader::from(&offload).as_bytes());
        let headers = train.head().headers();
        let mut pieces = [IoSlice::new(&[]); FRAMES];
        pieces[0] = IoSlice::new(batch.slot(first));
        let (mut count, mut bytes) = (1, batch.frame(first).len());
        let mut at = self.next[first];
        while at != END {
            let frame = batch.frame(usize::from(at));
            pieces[count] = IoSlice::new(&frame[headers..]);
            count += 1;
            bytes += frame.len();
            at = self.next[usize::from(at)];
        }
        let outcome = outlets
            .device(crossing.port)
            .map(|device| device.send_pieces(&pieces[..count]));
        match outcome {
            Some(Ok(())) => outlets.sent(crossing.port, count, bytes),
            Some(Err(error)) => outlets.failed(batch.frame(first), count, crossing.port, Some(error)),
            None => outlets.failed(batch.frame(first), count, crossing.port, None),
        }
    }

    #[inline]
    fn write_frame(&mut self, batch: &mut Batch, outlets: &mut impl Outlets, crossing: &Crossing) {
        let index = usize::from(crossing.first);
        let outcome = outlets
            .device(crossing.port)
            .map(|device| send(device, batch.slot_mut(index), &crossing.offload, &mut self.piece));
        match outcome {
            Some(Ok(())) => outlets.sent(crossing.port, 1, batch.frame(index).len()),
            Some(Err(error)) => outlets.failed(batch.frame(index), 1, crossing.port, Some(error)),
            None => outlets.failed(batch.frame(index), 1, crossing.port, None),
        }
    }
}

/// Writes one frame to a device, finishing first what the device cannot take unfinished. `slot` begins with room for the
/// offload header, `room` holds the pieces of a frame that must be cut.
#[inline]
pub fn send(device: &PortDevice, slot: &mut [u8], offload: &Offload, room: &mut [u8]) -> Result<(), SendError> {
    if device.capabilities().accepts(offload) {
        slot[..HEADER].copy_from_slice(VnetHeader::from(offload).as_bytes());
        return device.send(slot);
    }
    send_finished(device, slot, offload, room)
}

#[cold]
fn send_finished(device: &PortDevice, slot: &mut [u8], offload: &Offload, room: &mut [u8]) -> Result<(), SendError> {
    slot[..HEADER].copy_from_slice(&VnetHeader::PLAIN);
    match offload {
        Offload::None => device.send(slot),
        Offload::Checksum { start, offset } => {
            segment::complete_checksum(&mut slot[HEADER..], *start, *offset);
            device.send(slot)
        }
        Offload::Segment(segments) => {
            let mut outcome = Ok(());
            segment::segment(&slot[HEADER..], segments, room, HEADER, |piece| {
                outcome = device.send(piece);
                outcome.is_ok()
            });
            outcome
        }
    }
}
