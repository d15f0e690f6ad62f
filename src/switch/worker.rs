//! A worker: one thread that reads a share of the ports, decides about each frame and writes it, from the system call
//! that brought it to the one that delivers it. Between these two nobody is waited for and nothing is handed on: waking
//! another thread alone costs as much as a frame.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use zerocopy::FromBytes;

use super::batch::{Batch, FRAMES};
use super::counters::Block;
use super::delay::Delayed;
use super::egress::{self, Egress, Outlets};
use super::event::{DroppedFrame, Sampler, SwitchEvent, head};
use super::impair::{self, Journey};
use super::observe::{Audience, Fate, Place};
use super::port::{ETHERNET, HEADER, LARGEST_FRAME, Offload, PortDevice, ReceiveError, SendError, VnetHeader};
use super::rewrite;
use super::spin::Spin;
use super::{Port, PortTable, Shared};
use crate::datapath::{
    Answered, Asking, DropReason, FrameMeta, Ingress, PortState, Received, Rewrite, Service, SubnetIndex, Unobserved,
    Verdict, View, decide, responder,
};
use crate::wire::reply::ReplyBuffer;

/// A wait that is none.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

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
    /// Frames that a fault holds up.
    delayed: Delayed<Offload>,
    spin: Spin,
    reply: ReplyBuffer,
    /// Room for a frame that is sent beside the batch, behind its offload header.
    spare: Box<[u8]>,
    room: Box<[u8]>,
    /// What a server of the VPC's own says.
    served: Vec<u8>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, queue: Arc<OwnedFd>, inbox: Arc<Inbox>, spin: Spin) -> Self {
        Self {
            shared,
            index,
            queue,
            inbox,
            locals: Vec::new(),
            batch: Batch::new(),
            egress: Egress::new(),
            delayed: Delayed::new(),
            spin,
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
            let now = self.wait(&mut events);
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
            if self.delayed.next_due().is_some() {
                impair::release(&shared, self.index, &table, &view, &mut self.delayed);
            }
        }
    }

    /// Waits until a port has frames, somebody wants to be heard, or a frame that is held up is due. Returns the time.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> Duration {
        let shared = &self.shared;
        let before = if self.spin.is_off() {
            None
        } else {
            Some(shared.start.elapsed())
        };
        // The only error of a valid epoll descriptor is EINTR: nothing is ready then.
        if let Some(before) = before {
            let until = before + self.spin.patience();
            let mut now = before;
            while now < until {
                let _ = epoll::wait(&*self.queue, rustix::buffer::spare_capacity(events), Some(&AT_ONCE));
                now = shared.start.elapsed();
                if !events.is_empty() {
                    self.spin.waited(now - before);
                    return now;
                }
            }
        }
        // Without a timeout unless a fault holds frames up: arming a timer before each sleep would cost as much as a frame.
        let release = self.delayed.next_due();
        let timeout = release.map(|at| timespec(at.saturating_sub(shared.start.elapsed())));
        let _ = epoll::wait(&*self.queue, rustix::buffer::spare_capacity(events), timeout.as_ref());
        let now = shared.start.elapsed();
        if let Some(before) = before {
            self.spin.waited(now - before);
        }
        now
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
            audience: self.shared.observers.present(),
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
        let faults = view.faults();
        if faults.is_some_and(|faults| faults.link_down(&ingress.interface)) {
            for index in 0..count {
                round.drop(self.batch.frame(index), DropReason::FaultLinkDown);
            }
            return;
        }
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
            let verdict = decide(
                received,
                &ingress,
                view,
                &mut local.state,
                now,
                &mut self.reply,
                &mut Unobserved,
            );
            let verdict = match verdict {
                Verdict::Ask { subnet, .. } => {
                    verdict.after_asking(round.ask(view, subnet, self.reply.frame(), &mut self.spare))
                }
                other => other,
            };
            match verdict {
                Verdict::Deliver { port: to, rewrite } => {
                    let Some(destination) = table.get(to.get()) else {
                        round.drop_unfinished(self.batch.frame(index), &offload, DropReason::NotAttached);
                        continue;
                    };
                    if longest_packet(&offload, self.batch.frame(index).len()) > usize::from(destination.device.mtu()) {
                        round.drop_unfinished(self.batch.frame(index), &offload, DropReason::TooLong);
                        continue;
                    }
                    if let Some(journey) = faults.and_then(|faults| Journey::new(faults, view, &ingress, destination)) {
                        // What is queued came first.
                        self.egress.flush(&mut self.batch, &mut round);
                        round.travel(
                            &journey,
                            self.batch.slot(index),
                            offload,
                            rewrite,
                            destination,
                            &mut self.delayed,
                        );
                        continue;
                    }
                    round.show_delivery(self.batch.frame(index), &offload, destination);
                    rewrite::apply(self.batch.frame_mut(index), rewrite);
                    round.show_arrival(self.batch.frame(index), &offload, destination);
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
                    } else {
                        round.show(self.batch.frame(index), &offload, Fate::Answered(Answered::Service));
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
                        view,
                        &ingress,
                        &mut self.batch,
                        index,
                        offload,
                        &mut self.spare,
                        &mut self.room,
                        &mut self.delayed,
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
                // A question was seen to above.
                Verdict::Consumed | Verdict::Ask { .. } => {}
                Verdict::Drop(reason) => round.drop_unfinished(self.batch.frame(index), &offload, reason),
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

/// A port at this moment, for those who observe it.
pub(super) fn place(shared: &Shared, port: &Port) -> Place {
    Place {
        at: shared.start.elapsed(),
        interface: port.interface,
        port: port.id,
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

/// Rounded up by the kernel's own granularity at worst: a timer may be late, and is never early.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// The frames of one port in one round.
pub(super) struct Round<'a> {
    table: &'a PortTable,
    pub(super) port: &'a Port,
    pub(super) now: Duration,
    /// This worker's counters of the port.
    block: &'a Block,
    pub(super) worker: usize,
    shared: &'a Shared,
    sampler: &'a mut Option<Box<Sampler>>,
    /// Those who observe, if there are any.
    audience: Option<Audience>,
}

impl Round<'_> {
    /// Shows a frame as it came from the port, with what becomes of it, to those who observe.
    #[inline]
    pub(super) fn show(&self, frame: &[u8], offload: &Offload, fate: Fate) {
        if let Some(audience) = &self.audience {
            audience.show(place(self.shared, self.port), frame, offload, fate);
        }
    }

    #[inline]
    fn show_delivery(&self, frame: &[u8], offload: &Offload, to: &Port) {
        let fate = Fate::Delivered {
            to: to.interface,
            port: to.id,
            delay: Duration::ZERO,
        };
        self.show(frame, offload, fate);
    }

    /// Shows a frame as it goes to another port.
    #[inline]
    pub(super) fn show_arrival(&self, frame: &[u8], offload: &Offload, to: &Port) {
        if let Some(audience) = &self.audience {
            let from = self.port.interface;
            audience.show(place(self.shared, to), frame, offload, Fate::Arrived { from });
        }
    }

    /// Counts a frame that goes nowhere, and tells of it unless too many were told.
    fn drop(&mut self, frame: &[u8], reason: DropReason) {
        self.drop_unfinished(frame, &Offload::None, reason);
    }

    /// The same, of a frame whose sender left something to do.
    pub(super) fn drop_unfinished(&mut self, frame: &[u8], offload: &Offload, reason: DropReason) {
        self.show(frame, offload, Fate::Dropped(reason));
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
            Ok(()) => {
                self.block.answered[answered as usize].add(1);
                if let Some(audience) = &self.audience {
                    let place = place(self.shared, self.port);
                    audience.show(place, question, &Offload::None, Fate::Answered(answered));
                    audience.show(place, answer, &Offload::None, Fate::Fabric(Some(answered)));
                }
            }
            Err(error) => {
                self.block.refused.add(1);
                self.drop(question, drop_reason(error));
            }
        }
    }

    /// Sends a router's question to every port of a subnet, unless it was sent a moment ago.
    #[cold]
    fn ask(&self, view: &View, subnet: SubnetIndex, question: &[u8], spare: &mut [u8]) -> Asking {
        let Some(subnet) = view.subnet(subnet) else {
            return Asking::Lately;
        };
        let asking = subnet.asking(question, self.now);
        if asking == Asking::Now {
            for &(member, _) in subnet.members().iter() {
                let Some(to) = self.table.get(member.get()) else {
                    continue;
                };
                let block = &to.counters[self.worker];
                let sent = send_plain(&to.device, question, spare).is_ok();
                (if sent { &block.unasked } else { &block.refused }).add(1);
            }
        }
        asking
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
    #[allow(clippy::too_many_arguments)]
    fn flood(
        &mut self,
        view: &View,
        ingress: &Ingress<'_>,
        batch: &mut Batch,
        index: usize,
        offload: Offload,
        spare: &mut [u8],
        room: &mut [u8],
        delayed: &mut Delayed<Offload>,
    ) {
        let length = batch.frame(index).len();
        self.show(batch.frame(index), &offload, Fate::Flooded);
        for &(member, _) in ingress.subnet.members().iter() {
            let Some(to) = self.table.get(member.get()).filter(|_| member != self.port.id) else {
                continue;
            };
            if let Some(journey) = view.faults().and_then(|faults| Journey::new(faults, view, ingress, to)) {
                self.travel(&journey, batch.slot(index), offload, Rewrite::None, to, delayed);
                continue;
            }
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
                Ok(()) => {
                    self.show_arrival(batch.frame(index), &offload, to);
                    self.sent(member.get(), 1, length);
                }
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

pub(super) fn drop_reason(error: SendError) -> DropReason {
    match error {
        SendError::Full => DropReason::DeviceFull,
        SendError::Down | SendError::NoPeer | SendError::Refused(_) | SendError::Lost => DropReason::DeviceFailed,
    }
}
