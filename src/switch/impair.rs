//! Applies network faults to a delivery: loss, delay, duplication, partition. This is the slow path: a frame that
//! stands for many is segmented first, because each packet has its own outcome.

use std::time::Duration;

use super::delay::Delayed;
use super::egress;
use super::execute::is_pending;
use super::observe::Fate;
use super::port::{ETHERNET, HEADER, LARGEST_FRAME, Offload, PortDevice, SendError, segment};
use super::round::{Round, drop_reason, place};
use super::{Port, PortTable, Shared};
use crate::datapath::{DropReason, FaultView, Ingress, Rewrite, View, rewrite};
use crate::mapping::Interface;

/// A delivery that faults affect.
pub(super) struct ImpairedPath<'a> {
    faults: &'a FaultView,
    from: Interface,
    to: Interface,
}

impl<'a> ImpairedPath<'a> {
    /// The path from the ingress interface to a port's; `None` where no fault affects it.
    #[cold]
    pub(super) fn new(faults: &'a FaultView, view: &View, ingress: &Ingress<'_>, to: &Port) -> Option<Self> {
        let path = Self {
            faults,
            from: ingress.interface,
            // An interface that was deleted has no faults of its own; its device will refuse the frame.
            to: view.interface(to.interface)?,
        };
        let touched = path.severed().is_some() || path.impaired();
        touched.then_some(path)
    }

    fn severed(&self) -> Option<DropReason> {
        self.faults.severed(&self.from, &self.to)
    }

    fn impaired(&self) -> bool {
        self.faults.impairs(&self.from, &self.to)
    }
}

impl Round<'_> {
    /// Sends a frame over the path, packet by packet. `slot`: the frame behind its offload header.
    #[cold]
    pub(super) fn send_impaired(
        &mut self,
        path: &ImpairedPath<'_>,
        slot: &[u8],
        offload: Offload,
        rewrite: Rewrite,
        to: &Port,
        delayed: &mut Delayed<Offload>,
    ) {
        if let Some(reason) = path.severed() {
            self.drop_unfinished(&slot[HEADER..], &offload, reason);
            return;
        }
        let Offload::Segment(segments) = offload else {
            self.send_packet_impaired(path, &mut slot.to_vec(), offload, rewrite, to, delayed);
            return;
        };
        let mut room = vec![0; HEADER + segment::piece_length(&segments)];
        segment::segment(&slot[HEADER..], &segments, &mut room, HEADER, |piece| {
            self.send_packet_impaired(path, &mut piece.to_vec(), Offload::None, rewrite, to, delayed);
            true
        });
    }

    /// Sends one packet, behind room for an offload header.
    fn send_packet_impaired(
        &mut self,
        path: &ImpairedPath<'_>,
        slot: &mut [u8],
        offload: Offload,
        rewrite: Rewrite,
        to: &Port,
        delayed: &mut Delayed<Offload>,
    ) {
        let length = slot.len() - HEADER;
        let passage = match path.faults.pass(&path.from, &path.to, length, self.now) {
            Ok(passage) => passage,
            Err(reason) => return self.drop_unfinished(&slot[HEADER..], &offload, reason),
        };
        let delivered = Fate::Delivered {
            to: to.interface,
            port: to.id,
            delay: passage.delay,
        };
        let sent = slot[HEADER..].to_vec();
        self.show(&sent, &offload, delivered);
        let pending = is_pending(&sent, &offload);
        rewrite::apply(&mut slot[HEADER..], rewrite, pending);
        // The duplicate first: sending may finish a frame in place.
        for delay in passage.copy.into_iter().chain([passage.delay]) {
            let outcome = if delay == Duration::ZERO {
                let mut copy = slot.to_vec();
                self.arrive(&mut copy, offload, to)
            } else {
                delayed.hold(self.now.saturating_add(delay), self.port.id, to.id, slot, offload)
            };
            if let Err(reason) = outcome {
                self.drop_unfinished(&sent, &offload, reason);
            }
        }
    }

    fn arrive(&mut self, slot: &mut [u8], offload: Offload, to: &Port) -> Result<(), DropReason> {
        self.show_arrival(&slot[HEADER..], &offload, to);
        let block = &to.counters[self.worker];
        match send(&to.device, slot, &offload) {
            Ok(()) => {
                block.sent_frames.add(1);
                block.sent_bytes.add((slot.len() - HEADER) as u64);
                Ok(())
            }
            Err(error) => {
                block.refused.add(1);
                Err(drop_reason(error))
            }
        }
    }
}

fn send(device: &PortDevice, slot: &mut [u8], offload: &Offload) -> Result<(), SendError> {
    let mut room = vec![0; HEADER + ETHERNET + LARGEST_FRAME];
    egress::send(device, slot, offload, &mut room)
}

/// Delivers the delayed frames that are due. A frame whose receiver has lost its link or port meanwhile is dropped and
/// counted at its ingress port.
#[cold]
pub(super) fn release(shared: &Shared, worker: usize, table: &PortTable, view: &View, delayed: &mut Delayed<Offload>) {
    let now = shared.now();
    let audience = shared.observers.present();
    while let Some(mut held) = delayed.take(now) {
        let from = table.get(held.from.get());
        let outcome = match table.get(held.to.get()) {
            None => Err(DropReason::NotAttached),
            Some(to) => {
                let interface = view.interface(to.interface);
                let down = |faults: &FaultView| interface.is_some_and(|interface| faults.link_down(&interface));
                if view.faults().is_some_and(down) {
                    Err(DropReason::FaultLinkDown)
                } else {
                    // Before sending, because the receiver's answer must not come first in a capture.
                    if let (Some(audience), Some(from)) = (&audience, from) {
                        let fate = Fate::Arrived { from: from.interface };
                        audience.show(place(shared, to), &held.bytes[HEADER..], &held.rest, fate);
                    }
                    let sent = send(&to.device, &mut held.bytes, &held.rest).map_err(drop_reason);
                    let block = &to.counters[worker];
                    if sent.is_ok() {
                        block.sent_frames.add(1);
                        block.sent_bytes.add((held.bytes.len() - HEADER) as u64);
                    } else {
                        block.refused.add(1);
                    }
                    sent
                }
            }
        };
        if let (Err(reason), Some(from)) = (outcome, from) {
            from.counters[worker].dropped[reason as usize].add(1);
            if let Some(audience) = &audience {
                audience.show(
                    place(shared, from),
                    &held.bytes[HEADER..],
                    &held.rest,
                    Fate::Dropped(reason),
                );
            }
        }
    }
}
