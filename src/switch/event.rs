//! Reports to the control plane: lost ports, and a sample of the dropped frames. A worker never waits for it: when the
//! queue is full, the event is lost and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::datapath::{DropReason, Filtered};
use crate::mapping::{InterfaceIndex, PortId};

/// Bytes of a dropped frame in an event.
pub const SHOWN: usize = 128;

/// An event of the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchEvent {
    /// A port's device is gone, with its namespace or the process that held it. The port is no longer read; detach it.
    PortLost {
        /// The port.
        port: PortId,
        /// The interface that it was attached to.
        interface: InterfaceIndex,
    },
    /// A frame was dropped.
    Dropped(DroppedFrame),
}

/// A dropped frame, one of a sample; the counters have all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedFrame {
    /// Ingress port.
    pub port: PortId,
    /// The interface attached there.
    pub interface: InterfaceIndex,
    /// Drop reason.
    pub reason: DropReason,
    /// Time since the switch was started.
    pub at: Duration,
    /// Length of the whole frame in bytes.
    pub length: usize,
    /// Its first bytes, [`SHOWN`] at most.
    pub head: Vec<u8>,
    /// What the firewall's stages decided, where one of them is the reason.
    pub filtered: Filtered,
    /// Drops of this port and reason that were not reported since the last one that was.
    pub unreported: u64,
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

    pub(super) fn send(&self, event: SwitchEvent) {
        if self.sender.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Which drops of one port are reported.
#[derive(Debug)]
pub(super) struct Sampler {
    second: u64,
    reported: [u16; DropReason::COUNT],
    unreported: [u64; DropReason::COUNT],
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self {
            second: 0,
            reported: [0; DropReason::COUNT],
            unreported: [0; DropReason::COUNT],
        }
    }

    /// `Some` when this drop is to be reported, with the number of drops that were left out since the last one.
    pub(super) fn admit(&mut self, events: &Events, reason: DropReason, now: Duration) -> Option<u64> {
        if now.as_secs() != self.second {
            (self.second, self.reported) = (now.as_secs(), [0; DropReason::COUNT]);
        }
        let (reported, unreported) = (
            &mut self.reported[reason as usize],
            &mut self.unreported[reason as usize],
        );
        if *reported >= events.samples {
            *unreported += 1;
            return None;
        }
        *reported += 1;
        Some(std::mem::take(unreported))
    }
}

/// The first bytes of a frame.
pub(super) fn head(frame: &[u8]) -> Vec<u8> {
    frame[..frame.len().min(SHOWN)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_reported_up_to_the_rate_and_the_rest_are_counted() {
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
    fn a_slow_listener_loses_events_and_delays_no_worker() {
        let (events, mut receiver) = Events::new(1, 1);
        let event = SwitchEvent::Dropped(DroppedFrame {
            port: PortId::new(1).expect("1 is not 0"),
            interface: InterfaceIndex(std::num::NonZeroU32::MIN),
            reason: DropReason::Broadcast,
            at: Duration::ZERO,
            length: 60,
            head: head(&[1; 60]),
            filtered: Filtered::default(),
            unreported: 0,
        });
        for _ in 0..3 {
            events.send(event.clone());
        }
        assert_eq!(events.lost(), 2);
        assert_eq!(receiver.try_recv(), Ok(event));
    }
}
