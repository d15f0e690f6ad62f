//! Executes verdicts: reads a port's frames, decides each, commits the effects of the decision, and delivers, answers,
//! floods or drops the frame.
//!
//! Worker threads and the stepped switch run this same code. They differ in what wakes them and in the clock.

mod families;

use std::time::Duration;

use zerocopy::FromBytes;

use super::batch::{Batch, FRAMES};
use super::delay::Delayed;
use super::egress::{Destinations as _, Egress};
use super::event::Sampler;
use super::impair::{self, ImpairedPath};
use super::observe::Fate;
use super::port::segment::complete_checksum;
use super::port::{ETHERNET, HEADER, LARGEST_FRAME, Offload, ReceiveError, Ring, VnetHeader};
use super::round::{Round, drop_reason, longest_packet, send_plain};
use super::{Port, PortTable, Shared};
use crate::datapath::{
    Answered, Destination, DropReason, FrameMeta, Ingress, Memory, Output, Passage, PortState, Received, Rewrite,
    Service, Unobserved, Verdict, View, decide, rewrite, warm,
};
use crate::mapping::PortId;
use crate::wire::fragment::fragment;

/// Rounds of several frames without a merge, after which merging pauses at a port.
const FRUITLESS: u8 = 4;

/// Rounds for which merging pauses.
const PAUSE: u8 = 60;

/// Consecutive failed reads after which a port counts as lost: its descriptor would stay readable for ever.
const MOST_FAILURES: u8 = 16;

/// Consecutive rounds with one frame, after which a port is read one frame at a time: checking for another frame is a
/// system call, which delays the frame and its answer.
const ALONE: u8 = 8;

/// Rounds of one frame after which the port is checked for more again.
const LOOK_AGAIN: u8 = 16;

/// State of a port that is read here.
struct Local {
    serial: u64,
    state: PortState,
    fruitless: u8,
    pause: u8,
    failures: u8,
    /// Consecutive rounds with one frame.
    alone: u8,
    /// Allocated at the first drop.
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

    /// The most frames that the next round reads.
    fn most(&self) -> usize {
        if self.alone < ALONE { FRAMES } else { 1 }
    }

    /// Counts a round of this many frames and the outcome of its last read. True when the port is lost.
    fn count_round(&mut self, frames: usize, outcome: Result<(), ReceiveError>) -> bool {
        self.alone = match frames {
            1 if self.alone < ALONE + LOOK_AGAIN => self.alone + 1,
            1 => ALONE - 1,
            _ => 0,
        };
        self.failures = match outcome {
            Ok(()) | Err(ReceiveError::Empty | ReceiveError::Length) => 0,
            Err(ReceiveError::Failed(_)) if frames > 0 => 1,
            Err(ReceiveError::Failed(_)) => self.failures + 1,
            Err(ReceiveError::Lost) => MOST_FAILURES,
        };
        self.failures >= MOST_FAILURES
    }
}

/// The result of a round.
pub(super) struct RoundOutcome {
    /// Frames that were read.
    pub(super) frames: usize,
    /// The port's device is gone.
    pub(super) lost: bool,
}

/// Executes the verdicts for the frames of some ports. Used by one thread at a time.
pub(super) struct Executor {
    /// Its block of a port's counters.
    index: usize,
    locals: Vec<Option<Local>>,
    batch: Batch,
    egress: Egress,
    /// Created by the thread that uses it.
    ring: Option<Ring>,
    /// Frames that a fault delays.
    delayed: Delayed<Offload>,
    output: Output,
    /// Room for a frame outside the batch, behind its offload header.
    spare: Box<[u8]>,
    room: Box<[u8]>,
    /// The answer of a VPC service.
    served: Vec<u8>,
}

impl Executor {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            locals: Vec::new(),
            batch: Batch::new(),
            egress: Egress::new(),
            ring: None,
            delayed: Delayed::new(),
            output: Output::default(),
            spare: vec![0; HEADER + LARGEST_FRAME].into(),
            room: vec![0; HEADER + LARGEST_FRAME].into(),
            served: Vec::new(),
        }
    }

    /// Discards the frames of the current round after a panic, because the batch may be half written. Delayed frames
    /// are kept.
    pub(super) fn start_over(&mut self) {
        *self = Self {
            delayed: std::mem::replace(&mut self.delayed, Delayed::new()),
            ring: self.ring.take().and_then(|_| Ring::new().ok()),
            ..Self::new(self.index)
        };
    }

    /// Writes several frames per system call from now on. The ring belongs to the calling thread.
    pub(super) fn use_ring(&mut self, ring: Ring) {
        self.ring = Some(ring);
    }

    /// When the next frame that a fault delays is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.delayed.next_due()
    }

    /// Delivers the delayed frames that are due.
    pub(super) fn release(&mut self, shared: &Shared, table: &PortTable, view: &View) {
        if self.delayed.next_due().is_some() {
            impair::release(shared, self.index, table, view, &mut self.delayed);
        }
    }

    fn take_local(&mut self, number: u32, serial: u64) -> Local {
        let at = number as usize;
        if self.locals.len() <= at {
            self.locals.resize_with(at + 1, || None);
        }
        let local = self.locals[at].take().filter(|local| local.serial == serial);
        local.unwrap_or_else(|| Local::new(serial))
    }

    /// Reads the frames queued at a port, within its budget, and executes the verdict for each.
    pub(super) fn round(
        &mut self,
        shared: &Shared,
        table: &PortTable,
        view: &View,
        number: u32,
        now: Duration,
    ) -> RoundOutcome {
        // Its descriptor left the set before it left the table: the event is stale.
        let Some(port) = table.get(number) else {
            return RoundOutcome { frames: 0, lost: false };
        };
        let mut local = self.take_local(number, port.serial);
        self.batch.clear();
        let outcome = self.batch.fill(&port.device, local.most());
        let frames = self.batch.len();
        if frames > 0 {
            self.process(shared, table, view, port, &mut local, now);
        }
        if outcome == Err(ReceiveError::Length) {
            self.no_frame(shared, table, port, &mut local, now);
        }
        let lost = local.count_round(frames, outcome);
        self.locals[number as usize] = Some(local);
        RoundOutcome { frames, lost }
    }

    /// Counts a frame that was announced and cannot be read.
    #[cold]
    fn no_frame(&self, shared: &Shared, table: &PortTable, port: &Port, local: &mut Local, now: Duration) {
        self.round_of(shared, table, port, &mut local.sampler, now)
            .count_drop(&[], DropReason::StreamLength);
    }

    fn round_of<'a>(
        &self,
        shared: &'a Shared,
        table: &'a PortTable,
        port: &'a Port,
        sampler: &'a mut Option<Box<Sampler>>,
        now: Duration,
    ) -> Round<'a> {
        Round {
            table,
            port,
            now,
            block: &port.counters[self.index],
            worker: self.index,
            shared,
            sampler,
            audience: shared.observers.present(),
            passage: Passage::default(),
        }
    }

    /// Decides the frames of the batch and executes the verdicts.
    fn process(
        &mut self,
        shared: &Shared,
        table: &PortTable,
        view: &View,
        port: &Port,
        local: &mut Local,
        now: Duration,
    ) {
        let count = self.batch.len();
        let merge = count > 1 && local.pause == 0;
        local.pause = local.pause.saturating_sub(u8::from(count > 1));
        let mut round = self.round_of(shared, table, port, &mut local.sampler, now);
        round.block.received_frames.add(count as u64);
        let bytes: usize = (0..count).map(|index| self.batch.frame(index).len()).sum();
        round.block.received_bytes.add(bytes as u64);
        let ingress = match attached(view, port) {
            Ok(ingress) => ingress,
            Err(reason) => {
                for index in 0..count {
                    round.drop(self.batch.frame(index), reason);
                }
                return;
            }
        };
        if count > 1 {
            warm((0..count).map(|index| self.batch.frame(index)), &ingress, view);
        }
        for index in 0..count {
            self.frame(&mut round, &ingress, view, &mut local.state, index, merge);
        }
        let merged = self.egress.flush(&mut self.batch, self.ring.as_mut(), &mut round);
        self.leave_broken_ring();
        if merge {
            local.fruitless = if merged > 0 { 0 } else { local.fruitless + 1 };
            if local.fruitless >= FRUITLESS {
                (local.fruitless, local.pause) = (0, PAUSE);
            }
        }
    }

    fn leave_broken_ring(&mut self) {
        if self.ring.as_ref().is_some_and(Ring::is_broken) {
            tracing::warn!(
                "io_uring does not write to TAPs here: from now on each frame is written by a call of its own"
            );
            self.ring = None;
        }
    }

    /// Decides one frame and executes the verdict.
    #[inline(always)]
    fn frame(
        &mut self,
        round: &mut Round<'_>,
        ingress: &Ingress<'_>,
        view: &View,
        state: &mut PortState,
        index: usize,
        merge: bool,
    ) {
        let offload = match offload(self.batch.slot(index)) {
            Ok(offload) => offload,
            Err(reason) => return round.drop(self.batch.frame(index), reason),
        };
        let received = Received {
            bytes: self.batch.frame(index),
            meta: meta(&offload),
        };
        let fabric = &round.shared.fabric;
        let memory = fabric.memory(state);
        let output = &mut self.output;
        let mut verdict = if round.audience.is_some() {
            observed(received, ingress, view, memory, round, output)
        } else {
            decide(received, ingress, view, memory, round.now, output, &mut Unobserved)
        };
        if let Some(effects) = &output.effects {
            let committed = effects.commit(ingress, state, fabric, round.now);
            verdict = if committed.refused && !matches!(verdict, Verdict::Drop(_)) {
                Verdict::Drop(DropReason::ConntrackAllowance)
            } else if committed.unbound && !matches!(verdict, Verdict::Drop(_)) {
                Verdict::Drop(DropReason::NatPortsExhausted)
            } else {
                round.asked(view, verdict, committed.asking, output.reply.frame(), &mut self.spare)
            };
        }
        match verdict {
            Verdict::Deliver {
                to: Destination::Port(to),
                rewrite,
            } => self.deliver(round, ingress, view, index, offload, to, rewrite, merge),
            Verdict::Reply(answered) => {
                round.answer(answered, output.reply.frame(), &mut self.spare, self.batch.frame(index));
            }
            Verdict::Punt(service) => self.punt(round, ingress, view, index, offload, service),
            Verdict::Flood { reply, punt } => self.flood(round, ingress, view, index, offload, reply, punt),
            // The request was sent above.
            Verdict::Consumed | Verdict::Ask { .. } => {}
            Verdict::Drop(reason) => {
                if reason.is_of_firewall() && round.audience.is_none() {
                    // The same decision again, to name the rule in the event.
                    observed(received, ingress, view, fabric.memory(state), round, output);
                }
                round.drop_unfinished(self.batch.frame(index), &offload, reason);
            }
        }
    }

    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "inlined into its one caller, whose registers these are"
    )]
    fn deliver(
        &mut self,
        round: &mut Round<'_>,
        ingress: &Ingress<'_>,
        view: &View,
        index: usize,
        offload: Offload,
        to: PortId,
        rewrite: Rewrite,
        merge: bool,
    ) {
        let Some(destination) = round.table.get(to.get()) else {
            return round.drop_unfinished(self.batch.frame(index), &offload, DropReason::NotAttached);
        };
        if let Rewrite::ChangeFamily { most, .. } = rewrite {
            return self.deliver_in_other_family(round, view, ingress, index, offload, destination, (rewrite, most));
        }
        if let Rewrite::Translate { most: Some(most), .. } = rewrite {
            return self.deliver_in_fragments(round, view, ingress, index, offload, destination, (rewrite, most));
        }
        if longest_packet(&offload, self.batch.frame(index).len()) > usize::from(destination.device.mtu()) {
            return round.drop_unfinished(self.batch.frame(index), &offload, DropReason::TooLong);
        }
        if let Some(faults) = view.faults()
            && let Some(path) = ImpairedPath::new(faults, view, ingress, destination)
        {
            // Frames queued before go first.
            self.egress.flush(&mut self.batch, self.ring.as_mut(), round);
            let slot = self.batch.slot(index);
            return round.send_impaired(&path, slot, offload, rewrite, destination, &mut self.delayed);
        }
        round.show_delivery(self.batch.frame(index), &offload, destination);
        let pending = is_pending(self.batch.frame(index), &offload);
        rewrite::apply(self.batch.frame_mut(index), rewrite, pending);
        round.show_arrival(self.batch.frame(index), &offload, destination);
        let merge = merge && destination.merges();
        self.egress.push(&self.batch, index, offload, to.get(), merge);
    }

    /// Splits a packet that a gateway passes on in fragments. Faults are met by each of them.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "the fields of the verdict and of the frame")]
    fn deliver_in_fragments(
        &mut self,
        round: &mut Round<'_>,
        view: &View,
        ingress: &Ingress<'_>,
        index: usize,
        offload: Offload,
        destination: &Port,
        (rewrite, most): (Rewrite, u16),
    ) {
        // Frames queued before go first.
        self.egress.flush(&mut self.batch, self.ring.as_mut(), round);
        round.show_delivery(self.batch.frame(index), &offload, destination);
        let mut whole = self.batch.frame(index).to_vec();
        let pending = is_pending(&whole, &offload);
        rewrite::apply(&mut whole, rewrite, pending);
        if let Offload::Checksum { start, offset } = offload {
            complete_checksum(&mut whole, start, offset);
        }
        let mut pieces = Vec::new();
        fragment(&whole, most, &mut self.room, |piece| pieces.push(piece.to_vec()));
        for piece in pieces {
            let path = view
                .faults()
                .and_then(|faults| ImpairedPath::new(faults, view, ingress, destination));
            if let Some(path) = path {
                let slot = [&VnetHeader::PLAIN[..], &piece].concat();
                round.send_impaired(
                    &path,
                    &slot,
                    Offload::None,
                    Rewrite::None,
                    destination,
                    &mut self.delayed,
                );
                continue;
            }
            round.show_arrival(&piece, &Offload::None, destination);
            match send_plain(&destination.device, &piece, &mut self.spare) {
                Ok(()) => round.sent(destination.id.get(), 1, piece.len()),
                Err(error) => round.drop(&piece, drop_reason(error)),
            }
        }
    }

    /// Passes a frame to a VPC service.
    #[cold]
    fn punt(
        &mut self,
        round: &mut Round<'_>,
        ingress: &Ingress<'_>,
        view: &View,
        index: usize,
        offload: Offload,
        service: Service,
    ) {
        let question = Received {
            bytes: self.batch.frame(index),
            meta: meta(&offload),
        };
        let outcome = if service == Service::LinkLocal {
            let sink = round.shared.services.get().ok_or(DropReason::NoService);
            // Before the service can answer, because the answer must not come first in a capture.
            let mut taken = || round.show(question.bytes, &offload, Fate::Answered(Answered::Service));
            sink.and_then(|take| take(round.port.interface, round.port.id, question, &mut taken))
        } else {
            round.serve(service, question, ingress, view, &mut self.served, &mut self.spare)
        };
        if let Err(reason) = outcome {
            round.drop(question.bytes, reason);
        }
    }

    /// Sends a frame to every other port of the segment, and the router's answer to its sender.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "the fields of the verdict and of the frame")]
    fn flood(
        &mut self,
        round: &mut Round<'_>,
        ingress: &Ingress<'_>,
        view: &View,
        index: usize,
        offload: Offload,
        reply: Option<Answered>,
        punt: Option<Service>,
    ) {
        // Frames queued before go first.
        self.egress.flush(&mut self.batch, self.ring.as_mut(), round);
        round.flood(
            view,
            ingress,
            &mut self.batch,
            index,
            offload,
            &mut self.spare,
            &mut self.room,
            &mut self.delayed,
        );
        let question = Received {
            bytes: self.batch.frame(index),
            meta: meta(&offload),
        };
        if let Some(answered) = reply {
            round.answer(answered, self.output.reply.frame(), &mut self.spare, question.bytes);
        }
        if let Some(service) = punt {
            // The frame reached the other ports, so it is not lost when this server has no answer.
            let _ = round.serve(service, question, ingress, view, &mut self.served, &mut self.spare);
        }
    }
}

/// Decides about a frame, and says for those who observe what let it through the firewall.
#[cold]
#[inline(never)]
fn observed(
    received: Received<'_>,
    ingress: &Ingress<'_>,
    view: &View,
    memory: Memory<'_>,
    round: &mut Round<'_>,
    output: &mut Output,
) -> Verdict {
    round.passage = Passage::default();
    let verdict = decide(received, ingress, view, memory, round.now, output, &mut round.passage);
    if let Some(audience) = &mut round.audience {
        audience.passage = round.passage;
    }
    verdict
}

/// The ingress of a port, while its interface is attached to it and its link is up.
pub(super) fn attached<'a>(view: &'a View, port: &Port) -> Result<Ingress<'a>, DropReason> {
    let ingress = view.ingress(port.interface, port.id).ok_or(DropReason::InterfaceGone)?;
    if ingress.interface.port != Some(port.id) {
        return Err(DropReason::NotAttached);
    }
    if view.faults().is_some_and(|faults| faults.link_down(&ingress.interface)) {
        return Err(DropReason::FaultLinkDown);
    }
    Ok(ingress)
}

/// The offload of a slot's header, if the header is valid.
#[inline]
fn offload(slot: &[u8]) -> Result<Offload, DropReason> {
    let Ok((header, frame)) = VnetHeader::ref_from_prefix(slot) else {
        return Err(DropReason::Truncated);
    };
    header.validate(frame).map_err(|_| DropReason::InvalidOffload)
}

/// Whether the checksum of the transport header is still to be filled in: that of this frame, not of one that it carries
/// inside of a tunnel.
#[inline]
pub(super) fn is_pending(frame: &[u8], offload: &Offload) -> bool {
    match offload {
        Offload::None => false,
        Offload::Checksum { start, .. } => {
            let header = frame.get(ETHERNET).map_or(0, |octet| usize::from(octet & 0xf) * 4);
            usize::from(*start) == ETHERNET + header
        }
        Offload::Segment(_) => true,
    }
}

/// The part of an offload that the decision needs.
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
