//! A worker: one thread that reads a share of the ports, decides about each frame and writes it, from the system call
//! that brought it to the one that delivers it. Between these two nobody is waited for and nothing is handed on: waking
//! another thread alone costs as much as a frame.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
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
use super::{Port, PortTable, Shared};
use crate::datapath::{
    Answered, DropReason, FrameMeta, Ingress, PortState, Received, Rewrite, Unobserved, Verdict, View, decide,
    unsolicited_advertisement,
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

/// How long an advertisement is put off while the port's interface is not there yet.
const PUT_OFF: Duration = Duration::from_secs(1);

/// The shortest time between two unsolicited advertisements that is obeyed.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// What other threads leave for a worker.
pub(super) struct Inbox {
    /// Ports to begin with.
    pub(super) added: Mutex<Vec<u32>>,
    /// An eventfd in the worker's epoll set.
    pub(super) wake: OwnedFd,
}

/// What a worker remembers of a port that it reads.
struct Local {
    serial: u64,
    state: PortState,
    /// The last round brought several frames: read all of them before the first is written.
    busy: bool,
    fruitless: u8,
    pause: u8,
    failures: u8,
    /// Its first interval between advertisements has begun.
    advertised: bool,
    /// Made when the first frame is dropped.
    sampler: Option<Box<Sampler>>,
}

impl Local {
    fn new(serial: u64) -> Self {
        Self {
            serial,
            state: PortState::default(),
            busy: false,
            fruitless: 0,
            pause: 0,
            failures: 0,
            advertised: false,
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
    /// When each port gets its next unsolicited advertisement: (time, port, serial).
    timers: BinaryHeap<Reverse<(Duration, u32, u64)>>,
    batch: Batch,
    egress: Egress,
    /// Frames that a fault holds up.
    delayed: Delayed<Offload>,
    reply: ReplyBuffer,
    /// Room for a frame that is sent beside the batch, behind its offload header.
    spare: Box<[u8]>,
    room: Box<[u8]>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, queue: Arc<OwnedFd>, inbox: Arc<Inbox>) -> Self {
        Self {
            shared,
            index,
            queue,
            inbox,
            locals: Vec::new(),
            timers: BinaryHeap::new(),
            batch: Batch::new(),
            egress: Egress::new(),
            delayed: Delayed::new(),
            reply: ReplyBuffer::new(),
            spare: vec![0; HEADER + LARGEST_FRAME].into(),
            room: vec![0; HEADER + LARGEST_FRAME].into(),
        }
    }

    /// Works until the switch is stopped.
    pub(super) fn run(mut self) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        while !self.shared.stop.load(Ordering::Acquire) {
            let advertisement = self.timers.peek().map(|Reverse((at, ..))| *at);
            let next = advertisement.into_iter().chain(self.delayed.next_due()).min();
            let timeout = next.map(|at| timespec(at.saturating_sub(self.now())));
            events.clear();
            // The only error of a valid epoll descriptor is EINTR: nothing is ready then.
            let _ = epoll::wait(
                &*self.queue,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            );
            let now = self.now();
            // One world for all frames of the round. Both are let go of before the worker sleeps, so that a port that is
            // taken away is really gone soon after.
            let shared = Arc::clone(&self.shared);
            let (table, view) = (shared.ports.load(), shared.fabric.view());
            for event in &events {
                match { event.data }.u64() {
                    WAKE => self.open_inbox(&table, now),
                    port => self.round(&table, &view, port as u32, now),
                }
            }
            self.advertise(&table, &view, now);
            if self.delayed.next_due().is_some() {
                let now = self.now();
                impair::release(&shared, self.index, &table, &view, &mut self.delayed, now);
            }
        }
    }

    fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    fn open_inbox(&mut self, table: &PortTable, now: Duration) {
        let mut count = [0; 8];
        // An eventfd that is not readable after all is no matter: the list is the truth.
        let _ = rustix::io::read(&self.inbox.wake, &mut count);
        let added = std::mem::take(&mut *self.inbox.added.lock().unwrap_or_else(PoisonError::into_inner));
        for number in added {
            // A port that was taken away meanwhile needs no timer.
            if let Some(port) = table.get(number) {
                // Due at once: the first advertisement finds the interface's interval and is put off by it.
                self.timers.push(Reverse((now, number, port.serial)));
                self.local(number, port.serial);
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
        // A lone frame, half of an exchange that waits for it, is written before looking for the next one; a queue is
        // read whole, so that what belongs together can cross together.
        let first = if local.busy { FRAMES } else { 1 };
        let mut outcome = self.batch.fill(&port.device, first);
        let mut count = self.batch.len();
        self.process(table, view, port, &mut local, now);
        if outcome.is_ok() && first == 1 {
            self.batch.clear();
            outcome = self.batch.fill(&port.device, FRAMES);
            count += self.batch.len();
            self.process(table, view, port, &mut local, now);
        }
        local.busy = count > 2;
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
                            &self.batch,
                            index,
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
                Verdict::Flood { reply } => {
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
                }
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

    /// Sends the unsolicited Router Advertisements that are due.
    fn advertise(&mut self, table: &PortTable, view: &View, now: Duration) {
        while let Some(&Reverse((at, number, serial))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            let Some(port) = table.get(number).filter(|port| port.serial == serial) else {
                continue;
            };
            if port.lost.load(Ordering::Relaxed) {
                continue;
            }
            let ingress = view.ingress(port.interface, port.id);
            let ingress = ingress.filter(|ingress| ingress.interface.port == Some(port.id));
            let Some(ingress) = ingress else {
                self.timers.push(Reverse((now + PUT_OFF, number, serial)));
                continue;
            };
            let interval = ingress
                .subnet
                .profile()
                .router
                .advertisement
                .interval
                .max(SHORTEST_INTERVAL);
            self.timers.push(Reverse((now + interval, number, serial)));
            // The first time is the port's coming up, from which the first interval counts.
            let first = !std::mem::replace(&mut self.local(number, serial).advertised, true);
            let withheld = view.faults().is_some_and(|faults| {
                faults.link_down(&ingress.interface)
                    || faults.services(&ingress.interface).router_advertisements_withheld
            });
            if !first && !withheld && unsolicited_advertisement(&ingress, &mut self.reply) {
                let block = &port.counters[self.index];
                send_unasked(&self.shared, port, block, self.reply.frame(), &mut self.spare);
            }
        }
    }
}

/// Sends a frame of the fabric's own making, which nobody asked for.
pub(super) fn send_unasked(shared: &Shared, port: &Port, block: &Block, frame: &[u8], spare: &mut [u8]) -> bool {
    let sent = send_plain(&port.device, frame, spare).is_ok();
    if sent {
        block.unasked.add(1);
        if let Some(audience) = shared.observers.present() {
            audience.show(place(shared, port), frame, &Offload::None, Fate::Fabric(None));
        }
    } else {
        block.refused.add(1);
    }
    sent
}

/// A port at this moment, for those who observe it.
pub(super) fn place(shared: &Shared, port: &Port) -> Place {
    Place {
        at: shared.start.elapsed(),
        interface: port.interface,
        port: port.id,
    }
}

fn send_plain(device: &PortDevice, frame: &[u8], spare: &mut [u8]) -> Result<(), SendError> {
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

fn timespec(duration: Duration) -> Timespec {
    // Rounded up by the kernel's own granularity at worst: a timer may be late, and is never early by a whole round.
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
                self.travel(&journey, batch, index, offload, Rewrite::None, to, delayed);
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
