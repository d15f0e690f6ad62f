//! Delivers, answers, floods or drops the frames of one port in one round, counts them and shows them to observers.

use std::time::Duration;

use super::batch::Batch;
use super::counters::Block;
use super::delay::Delayed;
use super::egress::{self, Destinations};
use super::event::{DroppedFrame, Sampler, SwitchEvent, head};
use super::impair::ImpairedPath;
use super::observe::{Audience, Fate, Place};
use super::port::{ETHERNET, HEADER, Offload, PortDevice, SendError, VnetHeader};
use super::{Port, PortTable, Shared};
use crate::datapath::{
    Answered, Asking, DropReason, Filtered, Ingress, Passage, Received, Rewrite, Service, Verdict, View, responder,
};

/// The frames of one port in one round.
pub(super) struct Round<'a> {
    pub(super) table: &'a PortTable,
    pub(super) port: &'a Port,
    pub(super) now: Duration,
    /// This worker's counters of the port.
    pub(super) block: &'a Block,
    pub(super) worker: usize,
    pub(super) shared: &'a Shared,
    /// Allocated at the first drop.
    pub(super) sampler: &'a mut Option<Box<Sampler>>,
    /// The observers, if any.
    pub(super) audience: Option<Audience>,
    /// What was seen of the decision about the latest frame, where that was asked for.
    pub(super) passage: Passage,
}

impl Round<'_> {
    /// Shows observers a frame from the port with its verdict.
    #[inline]
    pub(super) fn show(&self, frame: &[u8], offload: &Offload, fate: Fate) {
        if let Some(audience) = &self.audience {
            audience.show(place(self.shared, self.port), frame, offload, fate);
        }
    }

    #[inline]
    pub(super) fn show_delivery(&self, frame: &[u8], offload: &Offload, to: &Port) {
        let fate = Fate::Delivered {
            to: to.interface,
            port: to.id,
            delay: Duration::ZERO,
        };
        self.show(frame, offload, fate);
    }

    /// Shows observers a frame on its way to another port.
    #[inline]
    pub(super) fn show_arrival(&self, frame: &[u8], offload: &Offload, to: &Port) {
        if let Some(audience) = &self.audience {
            let from = self.port.interface;
            audience.show(place(self.shared, to), frame, offload, Fate::Arrived { from });
        }
    }

    /// Counts a dropped frame, and reports it unless the sample is complete.
    pub(super) fn drop(&mut self, frame: &[u8], reason: DropReason) {
        self.drop_unfinished(frame, &Offload::None, reason);
    }

    /// The same for a frame whose checksum or segmentation is unfinished.
    pub(super) fn drop_unfinished(&mut self, frame: &[u8], offload: &Offload, reason: DropReason) {
        self.show(frame, offload, Fate::Dropped(reason));
        if let Some(drops) = &self.shared.drops {
            drops.keep(self.port.id, reason, frame);
        }
        self.count_drop(frame, reason);
    }

    /// Counts a dropped frame and reports it, without showing it to observers.
    pub(super) fn count_drop(&mut self, frame: &[u8], reason: DropReason) {
        self.block.dropped[reason as usize].add(1);
        let sampler = self.sampler.get_or_insert_with(|| Box::new(Sampler::new()));
        if let Some(unreported) = sampler.admit(&self.shared.events, reason, self.now) {
            self.shared.events.send(SwitchEvent::Dropped(DroppedFrame {
                port: self.port.id,
                interface: self.port.interface,
                reason,
                at: self.now,
                length: frame.len(),
                head: head(frame),
                filtered: if reason.is_of_firewall() {
                    self.passage.filtered
                } else {
                    Filtered::default()
                },
                unreported,
            }));
        }
    }

    pub(super) fn answer(&mut self, answered: Answered, answer: &[u8], spare: &mut [u8], question: &[u8]) {
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

    /// Sends a router's ARP request or solicitation to every port of a subnet, unless it was sent a moment ago, and
    /// returns the outcome for the packet that caused it.
    #[cold]
    pub(super) fn asked(
        &self,
        view: &View,
        verdict: Verdict,
        asking: Option<Asking>,
        question: &[u8],
        spare: &mut [u8],
    ) -> Verdict {
        let (Verdict::Ask { subnet, .. }, Some(asking)) = (verdict, asking) else {
            return verdict;
        };
        if let (Asking::Now, Some(subnet)) = (asking, view.subnet(subnet)) {
            for &(member, _) in subnet.members().iter() {
                let Some(to) = self.table.get(member.get()) else {
                    continue;
                };
                let block = &to.counters[self.worker];
                let sent = send_plain(&to.device, question, spare).is_ok();
                (if sent { &block.unasked } else { &block.refused }).add(1);
            }
        }
        verdict.after_asking(asking)
    }

    /// Passes a request to one of the VPC's own servers. It allocates, and is called a few times a minute.
    #[cold]
    pub(super) fn serve(
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

    /// Sends a frame to every other port of the segment, unchanged.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn flood(
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
            if let Some(path) = view
                .faults()
                .and_then(|faults| ImpairedPath::new(faults, view, ingress, to))
            {
                self.send_impaired(&path, batch.slot(index), offload, Rewrite::None, to, delayed);
                continue;
            }
            // Before sending, because the receiver's answer must not come first in a capture.
            self.show_arrival(batch.frame(index), &offload, to);
            let outcome = if longest_packet(&offload, length) > usize::from(to.device.mtu()) {
                Err(SendError::Refused(rustix::io::Errno::MSGSIZE))
            } else if to.device.capabilities().accepts(&offload) {
                egress::send(&to.device, batch.slot_mut(index), &offload, room)
            } else {
                // Finishing changes a frame, and the next port may accept it unfinished.
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

impl Destinations for Round<'_> {
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
        // One frame of the batch is reported, all are counted.
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

/// A port and the current time, for observers.
pub(super) fn place(shared: &Shared, port: &Port) -> Place {
    Place {
        at: shared.now(),
        interface: port.interface,
        port: port.id,
    }
}

/// Sends a finished frame from outside the batch.
pub(super) fn send_plain(device: &PortDevice, frame: &[u8], spare: &mut [u8]) -> Result<(), SendError> {
    let slot = &mut spare[..HEADER + frame.len()];
    slot[..HEADER].copy_from_slice(&VnetHeader::PLAIN);
    slot[HEADER..].copy_from_slice(frame);
    device.send(slot)
}

/// Length of the largest IP packet that a frame is or stands for.
#[inline]
pub(super) fn longest_packet(offload: &Offload, frame_length: usize) -> usize {
    match offload {
        Offload::Segment(segments) => segments.largest_packet(),
        _ => frame_length - ETHERNET.min(frame_length),
    }
}
