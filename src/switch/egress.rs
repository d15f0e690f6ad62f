//! What leaves in a round: the frames of one batch, each with its destination, merged where the law of
//! [`coalesce`](super::coalesce) allows it, written in order. Only what is already there is merged; nothing waits.

use std::io::IoSlice;

use zerocopy::IntoBytes;

use super::batch::{Batch, FRAMES};
use super::coalesce::{Car, Train};
use super::port::{HEADER, LARGEST_FRAME, Offload, PortDevice, Ring, SendError, TapPort, VnetHeader, segment, uring};

/// Places in the index of open trains; twice the frames of a round keep it sparse.
const PLACES: usize = 2 * FRAMES;

/// A ring takes all crossings of a round.
const _: () = assert!(FRAMES <= uring::MOST);

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

impl Crossing {
    /// The train, if it is more than a frame.
    #[inline]
    fn train(&self) -> Option<&Train> {
        self.train.as_ref().filter(|train| train.count() > 1)
    }
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

    /// Writes all crossings and forgets them, several by one call of the kernel where there is a ring. Returns how many frames
    /// crossed behind another.
    pub fn flush(&mut self, batch: &mut Batch, mut ring: Option<&mut Ring>, outlets: &mut impl Outlets) -> usize {
        let mut from = 0;
        while from < self.crossings.len() {
            let together = match &mut ring {
                Some(ring) => self.write_together(from, batch, ring, outlets),
                None => 0,
            };
            if together == 0 {
                self.write_alone(from, batch, outlets);
            }
            from += together.max(1);
        }
        if self.crossings.iter().any(|crossing| crossing.train.is_some()) {
            self.index.fill(0);
        }
        self.crossings.clear();
        self.barrier = 0;
        std::mem::take(&mut self.merged)
    }

    /// Writes as many crossings, beginning with the one at `from`, as a ring takes as they are. Returns how many it was; 0
    /// where it would be one at the most, which is sooner written by a call of its own.
    fn write_together(&self, from: usize, batch: &mut Batch, ring: &mut Ring, outlets: &mut impl Outlets) -> usize {
        let run = self.crossings[from..].iter();
        let run = run.take_while(|crossing| device_in_batches(outlets, crossing).is_some());
        let run = &self.crossings[from..][..run.count()];
        if run.len() < 2 {
            return 0;
        }
        for crossing in run {
            match crossing.train() {
                Some(train) => seal(batch, crossing, train),
                None => write_header(batch.slot_mut(usize::from(crossing.first)), &crossing.offload),
            }
        }
        let mut pieces = [IoSlice::new(&[]); FRAMES];
        let mut ends = [0; FRAMES];
        let mut end = 0;
        for (crossing, crossing_end) in run.iter().zip(&mut ends) {
            end += self.pieces(batch, crossing, &mut pieces[end..]);
            *crossing_end = end;
        }
        let mut begin = 0;
        let frames = run.iter().zip(&ends).map_while(|(crossing, &end)| {
            let pieces = &pieces[std::mem::replace(&mut begin, end)..end];
            Some((device_in_batches(outlets, crossing)?, pieces))
        });
        let mut outcomes = [Err(SendError::Lost); FRAMES];
        match ring.write(frames) {
            Ok(written) => outcomes
                .iter_mut()
                .zip(written)
                .for_each(|(outcome, written)| *outcome = written),
            // It is broken, and fails at once from now on: these and all further frames are written by calls of their own.
            Err(_) => return 0,
        }
        for (crossing, outcome) in run.iter().zip(outcomes) {
            self.tell(crossing, batch, outlets, Some(outcome));
        }
        run.len()
    }

    #[inline]
    fn write_alone(&mut self, crossing: usize, batch: &mut Batch, outlets: &mut impl Outlets) {
        let crossing = self.crossings[crossing];
        let first = usize::from(crossing.first);
        let device = outlets.device(crossing.port);
        let outcome = match crossing.train() {
            Some(train) => {
                seal(batch, &crossing, train);
                let mut pieces = [IoSlice::new(&[]); FRAMES];
                let count = self.pieces(batch, &crossing, &mut pieces);
                device.map(|device| device.send_pieces(&pieces[..count]))
            }
            None => device.map(|device| send(device, batch.slot_mut(first), &crossing.offload, &mut self.piece)),
        };
        self.tell(&crossing, batch, outlets, outcome);
    }

    /// Where a crossing's octets lie, its offload header first: one place for a frame, one more for each that follows it in
    /// a train. Returns how many places it is.
    #[inline]
    fn pieces<'a>(&self, batch: &'a Batch, crossing: &Crossing, pieces: &mut [IoSlice<'a>]) -> usize {
        pieces[0] = IoSlice::new(batch.slot(usize::from(crossing.first)));
        let Some(train) = crossing.train() else { return 1 };
        let headers = train.head().headers();
        let behind = self.behind(crossing).zip(&mut pieces[1..]);
        behind.fold(1, |count, (at, piece)| {
            *piece = IoSlice::new(&batch.frame(at)[headers..]);
            count + 1
        })
    }

    /// The frames that follow a crossing's first.
    fn behind(&self, crossing: &Crossing) -> impl Iterator<Item = usize> {
        let next = |at: u8| Some(self.next[usize::from(at)]).filter(|&next| next != END);
        let first = if crossing.train().is_some() {
            next(crossing.first)
        } else {
            None
        };
        std::iter::successors(first, move |&at| next(at)).map(usize::from)
    }

    /// Says what became of a crossing.
    #[inline]
    fn tell(
        &self,
        crossing: &Crossing,
        batch: &Batch,
        outlets: &mut impl Outlets,
        outcome: Option<Result<(), SendError>>,
    ) {
        let frame = batch.frame(usize::from(crossing.first));
        let count = crossing.train().map_or(1, Train::count);
        match outcome {
            Some(Ok(())) => {
                let behind: usize = self.behind(crossing).map(|at| batch.frame(at).len()).sum();
                outlets.sent(crossing.port, count, frame.len() + behind);
            }
            Some(Err(error)) => outlets.failed(frame, count, crossing.port, Some(error)),
            None => outlets.failed(frame, count, crossing.port, None),
        }
    }
}

/// The device that a crossing goes to, if a ring can write to it and it takes what goes there unfinished.
#[inline]
fn device_in_batches<'a>(outlets: &'a impl Outlets, crossing: &Crossing) -> Option<&'a TapPort> {
    let device = outlets.device(crossing.port)?;
    device
        .in_batches()
        .filter(|tap| tap.capabilities().accepts(&crossing.offload))
}

/// Makes the first frame of a train the head of all.
fn seal(batch: &mut Batch, crossing: &Crossing, train: &Train) {
    let first = usize::from(crossing.first);
    let offload = train.seal(batch.frame_mut(first));
    write_header(batch.slot_mut(first), &offload);
}

#[inline]
fn write_header(slot: &mut [u8], offload: &Offload) {
    slot[..HEADER].copy_from_slice(VnetHeader::from(offload).as_bytes());
}

/// Writes one frame to a device, finishing first what the device cannot take unfinished. `slot` begins with room for the
/// offload header, `room` holds the pieces of a frame that must be cut.
#[inline]
pub fn send(device: &PortDevice, slot: &mut [u8], offload: &Offload, room: &mut [u8]) -> Result<(), SendError> {
    if device.capabilities().accepts(offload) {
        write_header(slot, offload);
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::super::port::UnixPort;
    use super::*;

    /// Two ports, which record what goes out, and the hosts behind them.
    struct World {
        _directory: tempfile::TempDir,
        devices: Vec<PortDevice>,
        hosts: Vec<UnixDatagram>,
        sent: Vec<usize>,
        failed: usize,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            let (mut devices, mut hosts) = (Vec::new(), Vec::new());
            for number in 0..2 {
                let path = |side: &str| directory.path().join(format!("{side}-{number}"));
                let host = UnixDatagram::bind(path("host")).expect("the path is free");
                host.set_nonblocking(true).expect("sockets can be made not to wait");
                hosts.push(host);
                devices.push(
                    UnixPort::bind(&path("port"), &path("host"), 1500)
                        .expect("the path is free")
                        .into(),
                );
            }
            Self {
                _directory: directory,
                devices,
                hosts,
                sent: vec![0; 2],
                failed: 0,
            }
        }

        /// The transport payloads that came, each crossing one.
        fn received(&self, port: usize) -> Vec<Vec<u8>> {
            let mut buffer = [0; 5000];
            std::iter::from_fn(|| {
                self.hosts[port]
                    .recv(&mut buffer)
                    .ok()
                    .map(|length| buffer[42..length].to_vec())
            })
            .collect()
        }
    }

    impl Outlets for World {
        fn device(&self, port: u32) -> Option<&PortDevice> {
            self.devices.get(port as usize)
        }

        fn sent(&mut self, port: u32, frames: usize, _bytes: usize) {
            self.sent[port as usize] += frames;
        }

        fn failed(&mut self, _frame: &[u8], frames: usize, _port: u32, _error: Option<SendError>) {
            self.failed += frames;
        }
    }

    /// A datagram of a flow. Its payload is its number, as often as `size` says; a fragment may not be merged.
    fn frame(flow: u16, number: u8, size: usize, fragment: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(flow, 2000)
            .write(&mut frame, &vec![number; size])
            .expect("a Vec can be written");
        if fragment {
            frame[20] |= 0x20;
        }
        frame
    }

    proptest! {
        /// Merged or not, the frames of a flow arrive at its port in the order in which they were sent, none missing.
        #[test]
        fn no_frame_overtakes_another_of_its_flow(
            // As many as a socket queues at the least.
            frames in prop::collection::vec((0_u16..3, 1_usize..3, prop::bool::weighted(0.15), 0_u32..2), 1..10),
            merge: bool,
        ) {
            let (mut world, mut batch, mut egress) = (World::new(), Batch::new(), Egress::new());
            let mut expected = vec![vec![Vec::new(); 3]; 2];
            for (number, &(flow, size, fragment, port)) in (0_u8..).zip(&frames) {
                prop_assert!(batch.add(&frame(flow, number, size, fragment)));
                egress.push(&batch, usize::from(number), Offload::None, port, merge);
                expected[port as usize][usize::from(flow)].extend(vec![number; size]);
            }
            let merged = egress.flush(&mut batch, None, &mut world);
            prop_assert!(merge || merged == 0);
            prop_assert_eq!((world.sent.iter().sum::<usize>(), world.failed), (frames.len(), 0));
            let mut crossings = 0;
            for (port, expected) in expected.iter().enumerate() {
                let mut arrived = vec![Vec::new(); 3];
                for payload in world.received(port) {
                    let flow = frames[usize::from(payload[0])].0;
                    arrived[usize::from(flow)].extend(payload);
                    crossings += 1;
                }
                prop_assert_eq!(&arrived, expected);
            }
            prop_assert_eq!(crossings + merged, frames.len());
        }
    }

    #[test]
    fn flows_that_alternate_are_merged_each_with_its_own() {
        let (mut world, mut batch, mut egress) = (World::new(), Batch::new(), Egress::new());
        for number in 0..60 {
            assert!(batch.add(&frame(u16::from(number % 3), number, 8, false)));
            egress.push(&batch, usize::from(number), Offload::None, 0, true);
        }
        assert_eq!(egress.flush(&mut batch, None, &mut world), 57);
        let payloads = world.received(0);
        assert_eq!(payloads.iter().map(Vec::len).collect::<Vec<_>>(), [160, 160, 160]);
    }

    #[test]
    fn a_round_leaves_nothing_for_the_next() {
        let (mut world, mut batch, mut egress) = (World::new(), Batch::new(), Egress::new());
        for round in 0..3 {
            batch.clear();
            assert!(batch.add(&frame(1, round, 8, false)));
            egress.push(&batch, 0, Offload::None, 0, true);
            assert_eq!(egress.flush(&mut batch, None, &mut world), 0);
            assert_eq!(world.received(0), [[round; 8]]);
        }
    }

    #[test]
    fn a_port_that_is_gone_is_reported_for_every_frame() {
        let (mut world, mut batch, mut egress) = (World::new(), Batch::new(), Egress::new());
        for number in 0..5 {
            assert!(batch.add(&frame(u16::from(number / 4), number, 8, false)));
            egress.push(&batch, usize::from(number), Offload::None, 7, true);
        }
        egress.flush(&mut batch, None, &mut world);
        assert_eq!(world.failed, 5);
    }
}
