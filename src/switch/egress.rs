//! Queues the outgoing frames of a round, merges them where [`coalesce`](super::coalesce) allows it, and writes them in
//! order. Only frames of the same round are merged; none waits for another.

use std::io::IoSlice;

use zerocopy::IntoBytes;

use super::batch::{Batch, FRAMES};
use super::coalesce::{Candidate, GroBatch};
use super::port::{HEADER, LARGEST_FRAME, Offload, PortDevice, Ring, SendError, TapPort, VnetHeader, segment, uring};

/// Slots in the index of open batches; twice the frames of a round keep it sparse.
const PLACES: usize = 2 * FRAMES;

/// A ring takes all writes of a round.
const _: () = assert!(FRAMES <= uring::MOST);

/// End of a batch's chain of frames.
const END: u8 = u8::MAX;

/// The ports that frames go to, and the counters of what was sent.
pub trait Destinations {
    /// The device of a port; `None` when the port no longer exists.
    fn device(&self, port: u32) -> Option<&PortDevice>;
    /// `frames` frames of `bytes` bytes in all were written to `port`.
    fn sent(&mut self, port: u32, frames: usize, bytes: usize);
    /// `frame` was not sent, nor were the other frames of its batch, `frames` in all. `error` is `None` when the port
    /// no longer exists.
    fn failed(&mut self, frame: &[u8], frames: usize, port: u32, error: Option<SendError>);
}

/// One write: a frame, or a batch of merged frames.
#[derive(Clone, Copy)]
struct Outgoing {
    port: u32,
    first: u8,
    last: u8,
    /// `None`: the frame is sent as it is.
    gro: Option<GroBatch>,
    offload: Offload,
}

impl Outgoing {
    /// The batch, if it has more than one frame.
    #[inline]
    fn gro(&self) -> Option<&GroBatch> {
        self.gro.as_ref().filter(|gro| gro.count() > 1)
    }
}

/// The writes of one round.
pub struct Egress {
    queued: Vec<Outgoing>,
    /// For each frame of the round, the next one in its batch.
    next: [u8; FRAMES],
    /// Flow hash → position in `queued` + 1.
    index: [u8; PLACES],
    /// Batches before this position are closed.
    barrier: usize,
    merged: usize,
    /// Room for one segment of a frame that is segmented here, with its offload header.
    piece: Box<[u8]>,
}

impl Default for Egress {
    fn default() -> Self {
        Self::new()
    }
}

impl Egress {
    /// Allocates room for a round; nothing is allocated later.
    pub fn new() -> Self {
        Self {
            queued: Vec::with_capacity(FRAMES),
            next: [END; FRAMES],
            index: [0; PLACES],
            barrier: 0,
            merged: 0,
            piece: vec![0; HEADER + LARGEST_FRAME].into(),
        }
    }

    /// Queues the frame at `index` of the batch for `port`, in its present state. With `merge` it may be merged; the
    /// port must then accept segmentation offloads.
    #[inline]
    pub fn push(&mut self, batch: &Batch, index: usize, offload: Offload, port: u32, merge: bool) {
        let candidate = if merge {
            Candidate::new(batch.frame(index), &offload)
        } else {
            None
        };
        // A round has at most FRAMES frames, so the index fits a byte.
        let at = index as u8;
        let Some(candidate) = candidate else {
            // The frame may belong to a flow with an open batch, whose frames it must not overtake or be overtaken by.
            self.barrier = self.queued.len() + 1;
            self.queued.push(Outgoing {
                port,
                first: at,
                last: at,
                gro: None,
                offload,
            });
            return;
        };
        let frame = batch.frame(index);
        // Most often the previous frame was of the same flow.
        let newest = self.queued.len();
        if newest > self.barrier && self.join(batch, newest - 1, at, port, &candidate, frame) {
            return;
        }
        let place = (candidate.flow_hash(frame) as usize ^ port as usize) % PLACES;
        let open = usize::from(self.index[place]);
        if open > self.barrier && open < newest && self.join(batch, open - 1, at, port, &candidate, frame) {
            return;
        }
        self.next[index] = END;
        self.queued.push(Outgoing {
            port,
            first: at,
            last: at,
            gro: Some(GroBatch::new(candidate)),
            offload,
        });
        self.index[place] = self.queued.len() as u8;
    }

    #[inline]
    fn join(&mut self, batch: &Batch, outgoing: usize, at: u8, port: u32, candidate: &Candidate, frame: &[u8]) -> bool {
        let outgoing = &mut self.queued[outgoing];
        let Some(gro) = outgoing.gro.as_mut().filter(|_| outgoing.port == port) else {
            return false;
        };
        let head = batch.frame(usize::from(outgoing.first));
        if !gro.append(head, candidate, frame) {
            return false;
        }
        self.next[usize::from(outgoing.last)] = at;
        self.next[usize::from(at)] = END;
        outgoing.last = at;
        self.merged += 1;
        true
    }

    /// Writes all queued frames, several per system call where there is a ring. Returns how many frames were merged
    /// behind another.
    pub fn flush(
        &mut self,
        batch: &mut Batch,
        mut ring: Option<&mut Ring>,
        destinations: &mut impl Destinations,
    ) -> usize {
        let mut from = 0;
        while from < self.queued.len() {
            let together = match &mut ring {
                Some(ring) => self.write_together(from, batch, ring, destinations),
                None => 0,
            };
            if together == 0 {
                self.write_alone(from, batch, destinations);
            }
            from += together.max(1);
        }
        if self.queued.iter().any(|outgoing| outgoing.gro.is_some()) {
            self.index.fill(0);
        }
        self.queued.clear();
        self.barrier = 0;
        std::mem::take(&mut self.merged)
    }

    /// Writes as many queued frames from `from` on as the ring takes unchanged, and returns how many. Returns 0 where
    /// it would be only one, because a system call of its own is cheaper.
    fn write_together(
        &self,
        from: usize,
        batch: &mut Batch,
        ring: &mut Ring,
        destinations: &mut impl Destinations,
    ) -> usize {
        let run = self.queued[from..].iter();
        let run = run.take_while(|outgoing| device_in_batches(destinations, outgoing).is_some());
        let run = &self.queued[from..][..run.count()];
        if run.len() < 2 {
            return 0;
        }
        for outgoing in run {
            match outgoing.gro() {
                Some(gro) => write_headers(batch, outgoing, gro),
                None => write_header(batch.slot_mut(usize::from(outgoing.first)), &outgoing.offload),
            }
        }
        let mut pieces = [IoSlice::new(&[]); FRAMES];
        let mut ends = [0; FRAMES];
        let mut end = 0;
        for (outgoing, outgoing_end) in run.iter().zip(&mut ends) {
            end += self.pieces(batch, outgoing, &mut pieces[end..]);
            *outgoing_end = end;
        }
        let mut begin = 0;
        let frames = run.iter().zip(&ends).map_while(|(outgoing, &end)| {
            let pieces = &pieces[std::mem::replace(&mut begin, end)..end];
            Some((device_in_batches(destinations, outgoing)?, pieces))
        });
        let mut outcomes = [Err(SendError::Lost); FRAMES];
        match ring.write(frames) {
            Ok(written) => outcomes
                .iter_mut()
                .zip(written)
                .for_each(|(outcome, written)| *outcome = written),
            // The ring is broken and fails at once from now on: these and all later frames are written one by one.
            Err(_) => return 0,
        }
        for (outgoing, outcome) in run.iter().zip(outcomes) {
            self.report(outgoing, batch, destinations, Some(outcome));
        }
        run.len()
    }

    #[inline]
    fn write_alone(&mut self, outgoing: usize, batch: &mut Batch, destinations: &mut impl Destinations) {
        let outgoing = self.queued[outgoing];
        let first = usize::from(outgoing.first);
        let device = destinations.device(outgoing.port);
        let outcome = match outgoing.gro() {
            Some(gro) => {
                write_headers(batch, &outgoing, gro);
                let mut pieces = [IoSlice::new(&[]); FRAMES];
                let count = self.pieces(batch, &outgoing, &mut pieces);
                device.map(|device| device.send_pieces(&pieces[..count]))
            }
            None => device.map(|device| send(device, batch.slot_mut(first), &outgoing.offload, &mut self.piece)),
        };
        self.report(&outgoing, batch, destinations, outcome);
    }

    /// The slices of one write: the first frame behind its offload header, then the payload of each further frame.
    /// Returns their number.
    #[inline]
    fn pieces<'a>(&self, batch: &'a Batch, outgoing: &Outgoing, pieces: &mut [IoSlice<'a>]) -> usize {
        pieces[0] = IoSlice::new(batch.slot(usize::from(outgoing.first)));
        let Some(gro) = outgoing.gro() else { return 1 };
        let headers = gro.head().headers();
        let behind = self.behind(outgoing).zip(&mut pieces[1..]);
        behind.fold(1, |count, (at, piece)| {
            *piece = IoSlice::new(&batch.frame(at)[headers..]);
            count + 1
        })
    }

    /// The frames of a batch after the first.
    fn behind(&self, outgoing: &Outgoing) -> impl Iterator<Item = usize> {
        let next = |at: u8| Some(self.next[usize::from(at)]).filter(|&next| next != END);
        let first = if outgoing.gro().is_some() {
            next(outgoing.first)
        } else {
            None
        };
        std::iter::successors(first, move |&at| next(at)).map(usize::from)
    }

    /// Reports the result of one write.
    #[inline]
    fn report(
        &self,
        outgoing: &Outgoing,
        batch: &Batch,
        destinations: &mut impl Destinations,
        outcome: Option<Result<(), SendError>>,
    ) {
        let frame = batch.frame(usize::from(outgoing.first));
        let count = outgoing.gro().map_or(1, GroBatch::count);
        match outcome {
            Some(Ok(())) => {
                let behind: usize = self.behind(outgoing).map(|at| batch.frame(at).len()).sum();
                destinations.sent(outgoing.port, count, frame.len() + behind);
            }
            Some(Err(error)) => destinations.failed(frame, count, outgoing.port, Some(error)),
            None => destinations.failed(frame, count, outgoing.port, None),
        }
    }
}

/// The device of an outgoing frame, if a ring can write to it and it accepts the frame's offload.
#[inline]
fn device_in_batches<'a>(destinations: &'a impl Destinations, outgoing: &Outgoing) -> Option<&'a TapPort> {
    let device = destinations.device(outgoing.port)?;
    device
        .in_batches()
        .filter(|tap| tap.capabilities().accepts(&outgoing.offload))
}

/// Writes the headers of a batch into its first frame.
fn write_headers(batch: &mut Batch, outgoing: &Outgoing, gro: &GroBatch) {
    let first = usize::from(outgoing.first);
    let offload = gro.write_headers(batch.frame_mut(first));
    write_header(batch.slot_mut(first), &offload);
}

#[inline]
fn write_header(slot: &mut [u8], offload: &Offload) {
    slot[..HEADER].copy_from_slice(VnetHeader::from(offload).as_bytes());
}

/// Writes one frame, after finishing checksum and segmentation where the device cannot take them over. `slot` begins
/// with room for the offload header; `room` holds one segment at a time.
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

    /// Two ports that record what is sent, and the hosts behind them.
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

        /// The transport payloads that arrived, one per write.
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

    impl Destinations for World {
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

    /// A datagram of a flow. Its payload is its number, repeated `size` times; a fragment is never merged.
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
            // At least as many as a socket queues.
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
            let mut queued = 0;
            for (port, expected) in expected.iter().enumerate() {
                let mut arrived = vec![Vec::new(); 3];
                for payload in world.received(port) {
                    let flow = frames[usize::from(payload[0])].0;
                    arrived[usize::from(flow)].extend(payload);
                    queued += 1;
                }
                prop_assert_eq!(&arrived, expected);
            }
            prop_assert_eq!(queued + merged, frames.len());
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
