//! A worker: one thread that reads a share of the ports, decides about each frame and writes it, from the system call
//! that brought it to the one that delivers it. Between these two nobody is waited for and nothing is handed on: waking
//! another thread alone costs as much as a frame.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::epoll;
use zerocopy::FromBytes;

use super::batch::{Batch, FRAMES};
use super::counters::Block;
use super::egress::{self, Egress, Outlets};
use super::event::{DroppedFrame, Sampler, SwitchEvent, head};
use super::port::{ETHERNET, HEADER, LARGEST_FRAME, Offload, PortDevice, ReceiveError, SendError, VnetHeader};
use super::rewrite;
use super::{Port, PortTable, Shared};
use crate::datapath::{
    Answered, DropReason, FrameMeta, Ingress, PortState, Received, Service, Unobserved, Verdict, View, decide,
    responder,
};
use crate::wire::reply::ReplyBuffer;

/// The event that is no port's: somebody wants to be heard.
pub(super) const WAKE: u64 = u64::MAX;

/// Ready ports that are asked for at a time.
const EVENTS: usize = 64;

/// Rounds with several frames and nothing merged, after which merging pauses at a port.
const FRUITLESS: u8 = 4;

/// Rounds for which it pauses.
const PAUSE: u8 = 60;

/// Reads that may fail one after another before a port counts as lost: its descriptor would be ready for ever.
const MOST_FAILURES: u8 = 16;

/// Rounds with one frame each, after which a port is read one frame at a time: the look whether another is queued is a
/// system call, which the frame, its answer, and whoever waits for either need not wait for.
const ALONE: u8 = 8;

/// Rounds of one frame, after which one round looks again whether more are queued.
const LOOK_AGAIN: u8 = 16;

/// How other threads reach a worker.
pub(super) struct Inbox {
    /// An eventfd in the worker's epoll set.
    pub(super) wake: OwnedFd,
    /// The worker's thread, as the kernel numbers it.
    pub(super) thread: OnceLock<i32>,
}

/// What a worker remembers of a port that it reads.
struct Local {
    serial: u64,
    state: PortState,
    fruitless: u8,
    pause: u8,
    failures: u8,
    /// Rounds with one frame, one after another.
    alone: u8,
    /// Made when the first frame is dropped.
    sampler: Option<Box<Sampler>>,
}

impl Local {
    fn new(serial: u64) -> Self {
        Self {
            serial,
            state: PortState::default(),
            fruitless: 0,
            pause: 0,
            failures: 0,
            alone: 0,
            sampler: None,
        }
    }
}

/// A worker's own things, which nobody else touches.
pub(super) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    queue: Arc<OwnedFd>,
    inbox: Arc<Inbox>,
    locals: Vec<Option<Local>>,
    batch: Batch,
    egress: Egress,
    reply: ReplyBuffer,
    /// Room for a frame that is sent beside the batch, behind its offload header.
    spare: Box<[u8]>,
    room: Box<[u8]>,
    /// What a server of the VPC's own says.
    served: Vec<u8>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, queue: Arc<OwnedFd>, inbox: Arc<Inbox>) -> Self {
        Self {
            shared,
            index,
            queue,
            inbox,
            locals: Vec::new(),
            batch: Batch::new(),
            egress: Egress::new(),
            reply: ReplyBuffer::new(),
            spare: vec![0; HEADER + LARGEST_FRAME].into(),
            room: vec![0; HEADER + LARGEST_FRAME].into(),
            served: Vec::new(),
        }
    }

    /// Works until the switch is stopped.
    pub(super) fn run(mut self) {
        // It runs once: nobody has set it before.
        let _ = self.inbox.thread.set(rustix::thread::gettid().as_raw_nonzero().get());
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let shared = Arc::clone(&self.shared);
        while !shared.stop.load(Ordering::Acquire) {
            events.clear();
            // Without a timeout: arming a timer before each sleep would cost as much as a frame. The only error of a valid
            // epoll descriptor is EINTR: nothing is ready then.
            let _ = epoll::wait(&*self.queue, rustix::buffer::spare_capacity(&mut events), None);
            let now = shared.start.elapsed();
            // One world for all frames of the round. Both are let go of before the worker sleeps, so that a port that is
            // taken away is really gone soon after.
            let (table, view) = (shared.ports.load(), shared.fabric.view());
            for event in &events {
                match { event.data }.u64() {
                    // Only the end is worth waking for, and the loop looks at it.
                    WAKE => {}
                    port => self.round(&table, &view, port as u32, now),
                }
            }
        }
    }

    fn local(&mut self, number: u32, serial: u64) -> &mut Local {
        let at = number as usize;
        if self.locals.len() <= at {
            self.locals.resize_with(at + 1, || None);
        }
        let local = &mut self.locals[at];
        if local.as_ref().is_none_or(|local| local.serial != serial) {
            *local = Some(Local::new(serial));
        }
        local.get_or_insert_with(|| Local::new(serial))
    }

    /// Reads what a port has queued, within its budget, and sees to each frame.
    fn round(&mut self, table: &PortTable, view: &View, number: u32, now: Duration) {
        // Its descriptor was taken out of the set before it left the table: the event is from before.
        let Some(port) = table.get(number) else { return };
        self.local(number, port.serial);
        let taken = self.locals[number as usize].take();
        let mut local = taken.unwrap_or_else(|| Local::new(port.serial));
        self.batch.clear();
        let most = if local.alone < ALONE { FRAMES } else { 1 };
        let outcome = self.batch.fill(&port.device, most);
        let count = self.batch.len();
        local.alone = match count {
            1 if local.alone < ALONE + LOOK_AGAIN => local.alone + 1,
            1 => ALONE - 1,
            _ => 0,
        };
        self.process(table, view, port, &mut local, now);
        local.failures = match outcome {
            Ok(()) | Err(ReceiveError::Empty) => 0,
            Err(ReceiveError::Failed(_)) if count > 0 => 1,
            Err(ReceiveError::Failed(_)) => local.failures + 1,
            Err(ReceiveError::Lost) => MOST_FAILURES,
        };
        if local.failures >= MOST_FAILURES {
            self.lose(port);
        }
        self.locals[number as usize] = Some(local);
    }

    /// Ends the reading of a port whose device is gone. Its descriptor is ready for ever, so it must leave the set now.
    fn lose(&self, port: &Port) {
        // It may be out already, taken away by another thread.
        let _ = epoll::delete(&*self.queue, &port.device);
        if !port.lost.swap(true, Ordering::AcqRel) {
            self.shared.events.tell(SwitchEvent::PortLost {
                port: port.id,
                interface: port.interface,
            });
        }
    }

    fn process(&mut self, table: &PortTable, view: &View, port: &Port, local: &mut Local, now: Duration) {
        let count = self.batch.len();
        if count == 0 {
            return;
        }
        let merge = count > 1 && local.pause == 0;
        local.pause = local.pause.saturating_sub(u8::from(count > 1));
        let mut round = Round {
            table,
            port,
            now,
            block: &port.counters[self.index],
            worker: self.index,
            shared: &self.shared,
            sampler: &mut local.sampler,
        };
        round.block.received_frames.add(count as u64);
        let bytes: usize = (0..count).map(|index| self.batch.frame(index).len()).sum();
        round.block.received_bytes.add(bytes as u64);
        let ingress = match view.ingress(port.interface, port.id) {
            Some(ingress) if ingress.interface.port == Some(port.id) => ingress,
            other => {
                let reason = if other.is_some() {
                    DropReason::NotAttached
                } else {
                    DropReason::InterfaceGone
                };
                for index in 0..count {
                    round.drop(self.batch.frame(index), reason);
                }
                return;
            }
        };
        for index in 0..count {
            let offload = match offload(self.batch.slot(index)) {
                Ok(offload) => offload,
                Err(reason) => {
                    round.drop(self.batch.frame(index), reason);
                    continue;
                }
            };
            let received = Received {
                bytes: self.batch.frame(index),
                meta: meta(&offload),
            };
            match decide(
                received,
                &ingress,
                view,
                &mut local.state,
                now,
                &mut self.reply,
                &mut Unobserved,
            ) {
                Verdict::Deliver { port: to, rewrite } => {
                    let Some(destination) = table.get(to.get()) else {
                        round.drop(self.batch.frame(index), DropReason::NotAttached);
                        continue;
                    };
                    if longest_packet(&offload, self.batch.frame(index).len()) > usize::from(destination.device.mtu()) {
                        round.drop(self.batch.frame(index), DropReason::TooLong);
                        continue;
                    }
                    rewrite::apply(self.batch.frame_mut(index), rewrite);
                    let merge = merge && destination.merges();
                    self.egress.push(&self.batch, index, offload, to.get(), merge);
                }
                Verdict::Reply(answered) => {
                    round.answer(answered, self.reply.frame(), &mut self.spare, self.batch.frame(index));
                }
                Verdict::Punt(Service::LinkLocal) => {
                    let sink = self.shared.services.get().ok_or(DropReason::NoService);
                    if let Err(reason) = sink.and_then(|take| take(port.interface, port.id, received)) {
                        round.drop(self.batch.frame(index), reason);
                    }
                }
                Verdict::Punt(service) => {
                    if let Err(reason) =
                        round.serve(service, received, &ingress, view, &mut self.served, &mut self.spare)
                    {
                        round.drop(self.batch.frame(index), reason);
                    }
                }
                Verdict::Flood { reply, punt } => {
                    // What is queued came first.
                    self.egress.flush(&mut self.batch, &mut round);
                    round.flood(
                        &ingress,
                        &mut self.batch,
                        index,
                        offload,
                        &mut self.spare,
                        &mut self.room,
                    );
                    if let Some(answered) = reply {
                        round.answer(answered, self.reply.frame(), &mut self.spare, self.batch.frame(index));
                    }
                    if let Some(service) = punt {
                        let question = Received {
                            bytes: self.batch.frame(index),
                            meta: meta(&offload),
                        };
                        // Everybody else heard the question, so that it is not lost where this server has no answer.
                        let _ = round.serve(service, question, &ingress, view, &mut self.served, &mut self.spare);
                    }
                }
                Verdict::Drop(reason) => round.drop(self.batch.frame(index), reason),
            }
        }
        let merged = self.egress.flush(&mut self.batch, &mut round);
        if merge {
            local.fruitless = if merged > 0 { 0 } else { local.fruitless + 1 };
            if local.fruitless >= FRUITLESS {
                (local.fruitless, local.pause) = (0, PAUSE);
            }
        }
    }
}

/// Sends a finished frame that lies elsewhere.
pub(super) fn send_plain(device: &PortDevice, frame: &[u8], spare: &mut [u8]) -> Result<(), SendError> {
    let slot = &mut spare[..HEADER + frame.len()];
    slot[..HEADER].copy_from_slice(&VnetHeader::PLAIN);
    slot[HEADER..].copy_from_slice(frame);
    device.send(slot)
}

/// What a slot's offload header leaves to do, if it is to be believed.
#[inline]
fn offload(slot: &[u8]) -> Result<Offload, DropReason> {
    let Ok((header, frame)) = VnetHeader::ref_from_prefix(slot) else {
        return Err(DropReason::Truncated);
    };
    header.validate(frame).map_err(|_| DropReason::InvalidOffload)
}

/// What the decision needs to know of it.
#[inline]
pub(super) fn meta(offload: &Offload) -> FrameMeta {
    match offload {
        Offload::None => FrameMeta::default(),
        Offload::Checksum { .. } => FrameMeta {
            checksum_pending: true,
            segment_size: 0,
        },
        Offload::Segment(segments) => FrameMeta {
            checksum_pending: true,
            segment_size: segments.size,
        },
    }
}

/// Bytes of the largest IP packet that a frame is or stands for.
#[inline]
fn longest_packet(offload: &Offload, frame_length: usize) -> usize {
    match offload {
        Offload::Segment(segments) => segments.largest_packet(),
        _ => frame_length - ETHERNET.min(frame_length),
    }
}

/// The frames of one port in one round.
struct Round<'a> {
    table: &'a PortTable,
    port: &'a Port,
    now: Duration,
    /// This worker's counters of the port.
    block: &'a Block,
    worker: usize,
    shared: &'a Shared,
    sampler: &'a mut Option<Box<Sampler>>,
}

impl Round<'_> {
    /// Counts a frame that goes nowhere, and tells of it unless too many were told.
    fn drop(&mut self, frame: &[u8], reason: DropReason) {
        self.block.dropped[reason as usize].add(1);
        let sampler = self.sampler.get_or_insert_with(|| Box::new(Sampler::new()));
        if let Some(untold) = sampler.admit(&self.shared.events, reason, self.now) {
            self.shared.events.tell(SwitchEvent::Dropped(DroppedFrame {
                port: self.port.id,
                interface: self.port.interface,
                reason,
                at: self.now,
                length: frame.len(),
                head: head(frame),
                untold,
            }));
        }
    }

    fn answer(&mut self, answered: Answered, answer: &[u8], spare: &mut [u8], question: &[u8]) {
        match send_plain(&self.port.device, answer, spare) {
            Ok(()) => self.block.answered[answered as usize].add(1),
            Err(error) => {
                self.block.refused.add(1);
                self.drop(question, drop_reason(error));
            }
        }
    }

    /// Lets a server of the VPC's own answer. It allocates, and is asked a few times a minute.
    #[cold]
    fn serve(
        &mut self,
        service: Service,
        question: Received<'_>,
        ingress: &Ingress<'_>,
        view: &View,
        served: &mut Vec<u8>,
        spare: &mut [u8],
    ) -> Result<(), DropReason> {
        let answered = responder::answer(service, question, ingress, view, served)?;
        self.answer(answered, served, spare, question.bytes);
        Ok(())
    }

    /// Sends a frame to every other port of the segment, as it came.
    fn flood(
        &mut self,
        ingress: &Ingress<'_>,
        batch: &mut Batch,
        index: usize,
        offload: Offload,
        spare: &mut [u8],
        room: &mut [u8],
    ) {
        let length = batch.frame(index).len();
        for &(member, _) in ingress.subnet.members().iter() {
            let Some(to) = self.table.get(member.get()).filter(|_| member != self.port.id) else {
                continue;
            };
            let outcome = if longest_packet(&offload, length) > usize::from(to.device.mtu()) {
                Err(SendError::Refused(rustix::io::Errno::MSGSIZE))
            } else if to.device.capabilities().accepts(&offload) {
                egress::send(&to.device, batch.slot_mut(index), &offload, room)
            } else {
                // Finishing a frame changes it, and the next port may take it unfinished.
                let copy = &mut spare[..HEADER + length];
                copy.copy_from_slice(batch.slot(index));
                egress::send(&to.device, copy, &offload, room)
            };
            match outcome {
                Ok(()) => self.sent(member.get(), 1, length),
                Err(_) => to.counters[self.worker].refused.add(1),
            }
        }
    }
}

impl Outlets for Round<'_> {
    #[inline]
    fn device(&self, port: u32) -> Option<&PortDevice> {
        self.table.get(port).map(|port| &port.device)
    }

    #[inline]
    fn sent(&mut self, port: u32, frames: usize, bytes: usize) {
        if let Some(port) = self.table.get(port) {
            let block = &port.counters[self.worker];
            block.sent_frames.add(frames as u64);
            block.sent_bytes.add(bytes as u64);
            if frames > 1 {
                block.sent_merged.add(frames as u64 - 1);
            }
        }
    }

    #[cold]
    fn failed(&mut self, frame: &[u8], frames: usize, port: u32, error: Option<SendError>) {
        let reason = error.map_or(DropReason::NotAttached, drop_reason);
        if let Some(port) = self.table.get(port) {
            port.counters[self.worker].refused.add(frames as u64);
        }
        // One of a train is shown, all are counted.
        self.drop(frame, reason);
        self.block.dropped[reason as usize].add(frames as u64 - 1);
    }
}

fn drop_reason(error: SendError) -> DropReason {
    match error {
        SendError::Full => DropReason::DeviceFull,
        SendError::Down | SendError::NoPeer | SendError::Refused(_) | SendError::Lost => DropReason::DeviceFailed,
    }
}
