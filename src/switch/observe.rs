//! Observes frames and their verdicts on the live path without delaying it. Each observer has a bounded queue: when it
//! is full, the observer loses the frame, the loss is counted, and the worker goes on. Without an observer, a batch
//! costs one load.
//!
//! An observed frame is shown as on the wire of the VPC: checksums complete, and a frame that stands for many
//! segmented.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::port::{Offload, segment};
use crate::datapath::{Answered, DropReason, Passage};
use crate::mapping::{InterfaceIndex, PortId};
use crate::wire::filter::Filter;
pub use crate::wire::pcapng::Direction;

/// What an observer wants to see.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Frames that match this filter.
    pub filter: Filter,
    /// Both directions at these interfaces. `None`: each frame of every interface once, at its ingress, and the frames
    /// of the fabric.
    pub interfaces: Option<Vec<InterfaceIndex>>,
    /// Where no interfaces are named: each frame also at its egress, so that a delivered frame is seen twice.
    pub arrivals: bool,
    /// A frame that stands for many is shown as one, as the host gave it, with the number of its packets.
    pub merged: bool,
    /// Octets kept of each frame.
    pub snaplen: usize,
    /// Frames that may wait for the observer.
    pub queue: usize,
    /// Octets of frames that may wait for the observer.
    pub octets: usize,
}

/// Default for the octets of frames that may wait for one observer.
pub const OCTETS_OF_ONE: usize = 16 << 20;

/// Octets of frames that may wait for all observers of a switch. When a new observer would exceed it, the oldest ones
/// are ended.
pub const OCTETS_OF_ALL: usize = 256 << 20;

impl Default for Wanted {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            interfaces: None,
            arrivals: false,
            merged: false,
            snaplen: usize::MAX,
            queue: 8192,
            octets: OCTETS_OF_ONE,
        }
    }
}

/// The verdict on a frame, or its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// From the host, delivered to another interface's port.
    Delivered {
        /// The interface.
        to: InterfaceIndex,
        /// The port.
        port: PortId,
        /// Delay by a fault.
        delay: Duration,
    },
    /// From the host, answered by the fabric.
    Answered(Answered),
    /// From the host, flooded to all other ports of the segment.
    Flooded,
    /// From the host, dropped.
    Dropped(DropReason),
    /// To the host, from another interface.
    Arrived {
        /// The sender's interface.
        from: InterfaceIndex,
    },
    /// To the host, made by the fabric; the kind of the answer, `None` for unsolicited frames.
    Fabric(Option<Answered>),
}

/// One observed frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Time since the switch was started.
    pub at: Duration,
    /// The interface where it was observed.
    pub interface: InterfaceIndex,
    /// The port where it was observed.
    pub port: PortId,
    /// From the host there, or to it.
    pub direction: Direction,
    /// Packets that it stands for; 1 unless the observer wants frames as hosts give them.
    pub packets: u32,
    /// Length of the whole frame in octets; that of all packets together where it stands for several.
    pub length: usize,
    /// Its first octets, up to the snaplen.
    pub bytes: Vec<u8>,
    /// Its verdict.
    pub fate: Fate,
    /// What let it through the firewall or denied it, and where it was routed, as far as it is from a host.
    pub passage: Passage,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    wanted: Wanted,
    sender: mpsc::Sender<Observed>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    matched: AtomicU64,
    lost: AtomicU64,
    /// Octets of frames in the queue.
    waiting: AtomicUsize,
    given_up: AtomicBool,
}

/// All observers of a switch.
#[derive(Debug)]
pub struct Observers {
    count: AtomicUsize,
    entries: ArcSwap<Vec<Arc<Entry>>>,
    /// The number of the next observer; locked while the list changes.
    next: Mutex<u64>,
    epoch: SystemTime,
    start: Instant,
}

impl Default for Observers {
    fn default() -> Self {
        Self::new(SystemTime::now(), Instant::now())
    }
}

impl Observers {
    /// No observers. `epoch` and `start`: when the switch was started, by two clocks.
    pub fn new(epoch: SystemTime, start: Instant) -> Self {
        Self {
            count: AtomicUsize::new(0),
            entries: ArcSwap::default(),
            next: Mutex::new(0),
            epoch,
            start,
        }
    }

    /// Begins to observe. Frames decided after this returns are seen.
    pub fn observe(self: &Arc<Self>, wanted: Wanted) -> Observation {
        let (sender, receiver) = mpsc::channel(wanted.queue.max(1));
        let counts = Arc::new(Counts::default());
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let number = *next;
        let mut entries = self.entries.load().as_ref().clone();
        make_room(&mut entries, wanted.octets);
        entries.push(Arc::new(Entry {
            number,
            wanted,
            sender,
            counts: Arc::clone(&counts),
        }));
        self.store(entries);
        Observation {
            receiver,
            counts,
            number,
            observers: Arc::clone(self),
        }
    }

    /// Octets of frames that wait for observers, and the number of observers.
    pub fn held(&self) -> (usize, usize) {
        let entries = self.entries.load();
        let waiting = entries.iter().map(|entry| entry.counts.waiting.load(Ordering::Relaxed));
        (waiting.sum(), entries.len())
    }

    fn store(&self, entries: Vec<Arc<Entry>>) {
        let count = entries.len();
        self.entries.store(Arc::new(entries));
        self.count.store(count, Ordering::Release);
    }

    fn remove(&self, number: u64) {
        let _changing = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries.load().as_ref().clone();
        entries.retain(|entry| entry.number != number);
        self.store(entries);
    }

    /// The current observers; `None` without any, which costs one load.
    #[inline]
    pub(super) fn present(&self) -> Option<Audience> {
        if self.count.load(Ordering::Acquire) == 0 {
            None
        } else {
            Some(Audience {
                entries: self.entries.load_full(),
                passage: Passage::default(),
            })
        }
    }
}

/// Ends the oldest observers until a new one with this many octets has room.
fn make_room(entries: &mut Vec<Arc<Entry>>, octets: usize) {
    let mut reserved: usize = entries.iter().map(|entry| entry.wanted.octets).sum();
    while !entries.is_empty() && reserved.saturating_add(octets) > OCTETS_OF_ALL {
        let oldest = entries.remove(0);
        reserved -= oldest.wanted.octets;
        oldest.counts.given_up.store(true, Ordering::Release);
        tracing::warn!("the oldest capture is given up: there is no memory for one more");
    }
}

/// The observers of one batch.
pub(super) struct Audience {
    entries: Arc<Vec<Arc<Entry>>>,
    /// What was seen of the decision about the latest frame.
    pub(super) passage: Passage,
}

/// Where and when a frame is seen.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) at: Duration,
    pub(super) interface: InterfaceIndex,
    pub(super) port: PortId,
}

impl Audience {
    /// Offers a frame to all observers that want it.
    #[cold]
    pub(super) fn show(&self, place: Place, frame: &[u8], offload: &Offload, fate: Fate) {
        let direction = match fate {
            Fate::Arrived { .. } | Fate::Fabric(_) => Direction::Inbound,
            _ => Direction::Outbound,
        };
        let wants_place = |entry: &Entry| match &entry.wanted.interfaces {
            Some(interfaces) => interfaces.contains(&place.interface),
            None => entry.wanted.arrivals || !matches!(fate, Fate::Arrived { .. }),
        };
        let passage = match fate {
            // Its sender's rules let it out before.
            Fate::Answered(Answered::TooBig) => self.passage,
            Fate::Fabric(_) | Fate::Answered(_) => Passage::default(),
            _ => self.passage,
        };
        for entry in self.entries.iter().filter(|entry| wants_place(entry)) {
            if !entry.wanted.filter.matches(frame) {
                continue;
            }
            let shown = Shown {
                place,
                direction,
                fate,
                passage,
                packets: 1,
                length: frame.len(),
            };
            match offload {
                Offload::None => entry.offer(&shown, frame),
                Offload::Checksum { .. } if entry.wanted.merged => entry.offer(&shown, frame),
                Offload::Checksum { start, offset } => {
                    let mut whole = frame.to_vec();
                    segment::complete_checksum(&mut whole, *start, *offset);
                    entry.offer(&shown, &whole);
                }
                Offload::Segment(segments) if entry.wanted.merged => {
                    let packets = segments.count(frame.len());
                    let repeated = (packets - 1) * usize::from(segments.headers);
                    let shown = Shown {
                        // A frame has at most 64 KiB.
                        packets: packets as u32,
                        length: frame.len() + repeated,
                        ..shown
                    };
                    entry.offer(&shown, frame);
                }
                Offload::Segment(segments) => {
                    let mut room = vec![0; segment::piece_length(segments)];
                    segment::segment(frame, segments, &mut room, 0, |piece| {
                        let length = piece.len();
                        entry.offer(&Shown { length, ..shown }, piece);
                        true
                    });
                }
            }
        }
    }
}

/// What an observer is shown of a frame beyond its octets.
#[derive(Clone, Copy)]
struct Shown {
    place: Place,
    direction: Direction,
    fate: Fate,
    passage: Passage,
    packets: u32,
    length: usize,
}

impl Entry {
    fn offer(&self, shown: &Shown, frame: &[u8]) {
        self.counts.matched.fetch_add(1, Ordering::Relaxed);
        let kept = frame.len().min(self.wanted.snaplen);
        // Several workers may exceed it by a frame each.
        if self.counts.waiting.load(Ordering::Relaxed) + kept > self.wanted.octets {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let observed = Observed {
            at: shown.place.at,
            interface: shown.place.interface,
            port: shown.place.port,
            direction: shown.direction,
            packets: shown.packets,
            length: shown.length,
            bytes: frame[..kept].to_vec(),
            fate: shown.fate,
            passage: shown.passage,
        };
        // Added before sending, because the receiver subtracts at once.
        self.counts.waiting.fetch_add(kept, Ordering::Relaxed);
        if self.sender.try_send(observed).is_err() {
            self.counts.waiting.fetch_sub(kept, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The observer's end. Dropping it ends the observation.
#[derive(Debug)]
pub struct Observation {
    receiver: mpsc::Receiver<Observed>,
    counts: Arc<Counts>,
    number: u64,
    observers: Arc<Observers>,
}

impl Observation {
    /// Waits for the next frame.
    pub async fn next(&mut self) -> Option<Observed> {
        let next = self.receiver.recv().await;
        self.taken(next)
    }

    /// The next frame, if one is queued.
    pub fn try_next(&mut self) -> Option<Observed> {
        let next = self.receiver.try_recv().ok();
        self.taken(next)
    }

    /// Waits for the next frame in a thread that may block.
    pub fn blocking_next(&mut self) -> Option<Observed> {
        let next = self.receiver.blocking_recv();
        self.taken(next)
    }

    fn taken(&self, next: Option<Observed>) -> Option<Observed> {
        if let Some(observed) = &next {
            self.counts.waiting.fetch_sub(observed.bytes.len(), Ordering::Relaxed);
        }
        next
    }

    /// Whether it was ended because later observers needed its memory; no further frame comes then.
    pub fn was_given_up(&self) -> bool {
        self.counts.given_up.load(Ordering::Acquire)
    }

    /// Frames that matched so far, lost ones included.
    pub fn matched(&self) -> u64 {
        self.counts.matched.load(Ordering::Relaxed)
    }

    /// Frames lost because the queue was full.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// The time of day at which `at` is zero.
    pub fn epoch(&self) -> SystemTime {
        self.observers.epoch
    }

    /// The instant at which `at` is zero.
    pub fn start(&self) -> Instant {
        self.observers.start
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.observers.remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(interface: u32) -> Place {
        Place {
            at: Duration::from_millis(1),
            interface: InterfaceIndex(std::num::NonZeroU32::new(interface).expect("not zero")),
            port: PortId::new(interface).expect("not zero"),
        }
    }

    fn frame(ethertype: u16) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        frame
    }

    fn show(observers: &Observers, interface: u32, frame: &[u8], fate: Fate) {
        if let Some(audience) = observers.present() {
            audience.show(place(interface), frame, &Offload::None, fate);
        }
    }

    #[test]
    fn an_observer_sees_what_it_wants_cut_to_length_until_it_leaves() {
        let observers = Arc::new(Observers::default());
        assert!(observers.present().is_none());
        let mut observation = observers.observe(Wanted {
            filter: "arp".parse().expect("a filter"),
            snaplen: 20,
            ..Wanted::default()
        });
        let dropped = Fate::Dropped(DropReason::ArpUnknown);
        show(&observers, 1, &frame(0x0806), dropped);
        show(&observers, 1, &frame(0x0800), dropped);
        let seen = observation.try_next().expect("the ARP frame");
        assert_eq!((seen.length, seen.bytes.len(), seen.fate), (60, 20, dropped));
        assert_eq!(observation.try_next(), None);
        drop(observation);
        assert!(observers.present().is_none());
    }

    #[test]
    fn a_frame_is_seen_once_unless_its_interfaces_were_named() {
        let observers = Arc::new(Observers::default());
        let mut all = observers.observe(Wanted::default());
        let mut second = observers.observe(Wanted {
            interfaces: Some(vec![place(2).interface]),
            ..Wanted::default()
        });
        let mut twice = observers.observe(Wanted {
            arrivals: true,
            ..Wanted::default()
        });
        let delivered = Fate::Delivered {
            to: place(2).interface,
            port: place(2).port,
            delay: Duration::ZERO,
        };
        show(&observers, 1, &frame(0x0800), delivered);
        let arrived = Fate::Arrived {
            from: place(1).interface,
        };
        show(&observers, 2, &frame(0x0800), arrived);
        show(&observers, 2, &frame(0x86dd), Fate::Fabric(None));
        let fates = |observation: &mut Observation| {
            std::iter::from_fn(|| observation.try_next())
                .map(|seen| (seen.fate, seen.direction))
                .collect::<Vec<_>>()
        };
        let unasked = (Fate::Fabric(None), Direction::Inbound);
        assert_eq!(fates(&mut all), [(delivered, Direction::Outbound), unasked]);
        let arrived = (arrived, Direction::Inbound);
        assert_eq!(fates(&mut second), [arrived, unasked]);
        assert_eq!(fates(&mut twice), [(delivered, Direction::Outbound), arrived, unasked]);
    }

    #[test]
    fn what_waits_for_an_observer_is_counted_in_octets() {
        let observers = Arc::new(Observers::default());
        let mut observation = observers.observe(Wanted {
            octets: 150,
            ..Wanted::default()
        });
        for _ in 0..5 {
            show(&observers, 1, &frame(0x0806), Fate::Answered(Answered::Arp));
        }
        assert_eq!((observation.matched(), observation.lost()), (5, 3));
        assert_eq!(observers.held(), (120, 1));
        assert!(observation.try_next().is_some());
        assert_eq!(observers.held(), (60, 1));
        show(&observers, 1, &frame(0x0806), Fate::Answered(Answered::Arp));
        assert_eq!(observation.lost(), 3);
    }

    #[test]
    fn the_oldest_observer_is_given_up_for_one_too_many() {
        let observers = Arc::new(Observers::default());
        let most = OCTETS_OF_ALL / OCTETS_OF_ONE;
        let mut all: Vec<Observation> = (0..most).map(|_| observers.observe(Wanted::default())).collect();
        assert!(all.iter().all(|observation| !observation.was_given_up()));
        show(&observers, 1, &frame(0x0806), Fate::Answered(Answered::Arp));
        let newest = observers.observe(Wanted::default());
        assert!(all[0].was_given_up() && !all[1].was_given_up() && !newest.was_given_up());
        // Its queued frames remain, then it ends.
        assert!(all[0].try_next().is_some());
        assert_eq!(all[0].blocking_next(), None);
        assert_eq!(observers.held().1, most);
    }

    #[test]
    fn a_slow_observer_loses_frames_and_learns_how_many() {
        let observers = Arc::new(Observers::default());
        let mut observation = observers.observe(Wanted {
            queue: 2,
            ..Wanted::default()
        });
        for _ in 0..5 {
            show(&observers, 1, &frame(0x0806), Fate::Answered(Answered::Arp));
        }
        assert_eq!((observation.matched(), observation.lost()), (5, 3));
        assert_eq!(std::iter::from_fn(|| observation.try_next()).count(), 2);
    }
}
