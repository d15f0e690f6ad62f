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
use super::delay::Delayed;
use super::egress::Egress;
use super::event::{Sampler, SwitchEvent};
use super::impair::{self, Journey};
use super::observe::Fate;
use super::port::{HEADER, LARGEST_FRAME, Offload, ReceiveError, Ring, VnetHeader};
use super::round::{Round, longest_packet};
use super::spin::Spin;
use super::{Port, PortTable, Shared};
use crate::datapath::{
    Answered, Destination, DropReason, FrameMeta, Memory, Output, PortState, Received, Service, Unobserved, Verdict,
    View, decide, rewrite, warm,
};

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
    /// Made by the worker's own thread, which alone may use it.
    ring: Option<Ring>,
    /// Frames that a fault holds up.
    delayed: Delayed<Offload>,
    spin: Spin,
    output: Output,
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
            ring: None,
            delayed: Delayed::new(),
            spin,
            output: Output::default(),
            spare: vec![0; HEADER + LARGEST_FRAME].into(),
            room: vec![0; HEADER + LARGEST_FRAME].into(),
            served: Vec::new(),
        }
    }

    /// Works until the switch is stopped. `ring`: several frames are written by one call where the kernel allows that.
    pub(super) fn run(mut self, ring: bool) {
        // It runs once: nobody has set it before.
        let _ = self.inbox.thread.set(rustix::thread::gettid().as_raw_nonzero().get());
        if ring {
            self.ring = Ring::new()
                .inspect_err(
                    |error| tracing::info!(%error, "no io_uring here: each frame is written by a call of its own"),
                )
                .ok();
        }
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
        if count > 1 {
            warm((0..count).map(|index| self.batch.frame(index)), &ingress, view);
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
                Memory {
                    port: &local.state,
                    segments: self.shared.fabric.segments(),
                },
                now,
                &mut self.output,
                &mut Unobserved,
            );
            let verdict = match &self.output.effects {
                None => verdict,
                Some(effects) => {
                    let asking = effects.commit(&ingress, &mut local.state, self.shared.fabric.segments(), now);
                    round.asked(view, verdict, asking, self.output.reply.frame(), &mut self.spare)
                }
            };
            match verdict {
                Verdict::Deliver {
                    to: Destination::Port(to),
                    rewrite,
                } => {
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
                        self.egress.flush(&mut self.batch, self.ring.as_mut(), &mut round);
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
                    round.answer(
                        answered,
                        self.output.reply.frame(),
                        &mut self.spare,
                        self.batch.frame(index),
                    );
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
                    self.egress.flush(&mut self.batch, self.ring.as_mut(), &mut round);
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
                        round.answer(
                            answered,
                            self.output.reply.frame(),
                            &mut self.spare,
                            self.batch.frame(index),
                        );
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
        let merged = self.egress.flush(&mut self.batch, self.ring.as_mut(), &mut round);
        if self.ring.as_ref().is_some_and(Ring::is_broken) {
            tracing::warn!(
                "io_uring does not write to TAPs here: from now on each frame is written by a call of its own"
            );
            self.ring = None;
        }
        if merge {
            local.fruitless = if merged > 0 { 0 } else { local.fruitless + 1 };
            if local.fruitless >= FRUITLESS {
                (local.fruitless, local.pause) = (0, PAUSE);
            }
        }
    }
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

/// Rounded up by the kernel's own granularity at worst: a timer may be late, and is never early.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
