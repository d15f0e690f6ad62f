//! What the switch tells the control plane: ports that were lost, and a sample of the frames that went nowhere. Telling
//! never waits: when nobody listens fast enough, an event is lost and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::datapath::DropReason;
use crate::mapping::{InterfaceIndex, PortId};

/// Bytes of a dropped frame that are shown.
pub const SHOWN: usize = 128;

/// Something that the control plane should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchEvent {
    /// A port's device is gone, with its namespace or its holder. The port is not read any more; detach it.
    PortLost {
        /// The port.
        port: PortId,
        /// The interface that it was attached to.
        interface: InterfaceIndex,
    },
    /// A frame went nowhere.
    Dropped(DroppedFrame),
}

/// A frame that went nowhere: one of a sample, the counters have them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedFrame {
    /// Where it came in.
    pub port: PortId,
    /// The interface attached there.
    pub interface: InterfaceIndex,
    /// Why.
    pub reason: DropReason,
    /// When, since the switch was started.
    pub at: Duration,
    /// Bytes of the whole frame.
    pub length: usize,
    /// Its first bytes, [`SHOWN`] at the most.
    pub head: Vec<u8>,
    /// How many of this port and reason were dropped untold since the last one that was told.
    pub untold: u64,
}

/// The sending side.
#[derive(Debug)]
pub(super) struct Events {
    sender: mpsc::Sender<SwitchEvent>,
    lost: AtomicU64,
    /// Samples per second, port and reason.
    samples: u16,
}

impl Events {
    pub(super) fn new(capacity: usize, samples: u16) -> (Self, mpsc::Receiver<SwitchEvent>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (
            Self {
                sender,
                lost: AtomicU64::new(0),
                samples,
            },
            receiver,
        )
    }

    pub(super) fn tell(&self, event: SwitchEvent) {
        if self.sender.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Which drops of one port are told.
#[derive(Debug)]
pub(super) struct Sampler {
    second: u64,
    told: [u16; DropReason::COUNT],
    untold: [u64; DropReason::COUNT],
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self {
            second: 0,
            told: [0; DropReason::COUNT],
            untold: [0; DropReason::COUNT],
        }
    }

    /// How many were left out since the last one, if this one is to be told.
    pub(super) fn admit(&mut self, events: &Events, reason: DropReason, now: Duration) -> Option<u64> {
        if now.as_secs() != self.second {
            (self.second, self.told) = (now.as_secs(), [0; DropReason::COUNT]);
        }
        let (told, untold) = (&mut self.told[reason as usize], &mut self.untold[reason as usize]);
        if *told >= events.samples {
            *untold += 1;
            return None;
        }
        *told += 1;
        Some(std::mem::take(untold))
    }
}

/// The first bytes of a frame, to show.
pub(super) fn head(frame: &[u8]) -> Vec<u8> {
    frame[..frame.len().min(SHOWN)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_drops_a_second_are_told_and_the_rest_are_counted() {
        let (events, _receiver) = Events::new(1, 2);
        let mut sampler = Sampler::new();
        let mut admit = |second, reason| sampler.admit(&events, reason, Duration::from_secs(second));
        assert_eq!(admit(1, DropReason::Broadcast), Some(0));
        assert_eq!(admit(1, DropReason::Broadcast), Some(0));
        assert_eq!(admit(1, DropReason::Broadcast), None);
        assert_eq!(admit(1, DropReason::Broadcast), None);
        assert_eq!(
            admit(1, DropReason::Multicast),
            Some(0),
            "each reason has its own share"
        );
        assert_eq!(admit(2, DropReason::Broadcast), Some(2));
        assert_eq!(admit(2, DropReason::Broadcast), Some(0));
    }

    #[test]
    fn a_listener_who_is_slow_costs_events_and_no_waiting() {
        let (events, mut receiver) = Events::new(1, 1);
        let event = SwitchEvent::Dropped(DroppedFrame {
            port: PortId::new(1).expect("1 is not 0"),
            interface: InterfaceIndex(std::num::NonZeroU32::MIN),
            reason: DropReason::Broadcast,
            at: Duration::ZERO,
            length: 60,
            head: head(&[1; 60]),
            untold: 0,
        });
        for _ in 0..3 {
            events.tell(event.clone());
        }
        assert_eq!(events.lost(), 2);
        assert_eq!(receiver.try_recv(), Ok(event));
    }
}
