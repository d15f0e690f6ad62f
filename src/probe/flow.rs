//! Records what the switch did with each packet of a stream: the interface that it was delivered to, or the drop
//! reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::stream::number;
use super::{PacketFate, ProbeKind, ProbeSpec, Request};
use crate::contain;
use crate::control::Controller;
use crate::mapping::InterfaceIndex;
use crate::model::InterfaceId;
use crate::switch::observe::{Fate, Observation, Observed, Wanted};
use crate::wire::flow::{IpPacket, Upper};
use crate::wire::frame::Frame;

/// Octets read of each packet: the headers and the first 16 of the payload.
const SNAPLEN: usize = 256;

/// Packets in the queue: those of half a minute at the highest rate.
const QUEUE: usize = 32_768;

/// Time between two reads of the queue.
const GLANCE: Duration = Duration::from_millis(5);

/// Identifies a request within its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Number(u64),
    Port(u16),
}

/// Each packet with its request, and the number of packets missed.
type Recorded = (Vec<(Key, PacketFate)>, u64);

/// A running record.
#[derive(Debug)]
pub(super) struct Flow {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Recorded>>,
}

impl Flow {
    pub(super) fn start(
        controller: &Controller,
        interface: InterfaceId,
        spec: &ProbeSpec,
        start: Instant,
    ) -> std::io::Result<Self> {
        let observation = controller.observe(Wanted {
            // The filter is our own text.
            filter: spec.filter().parse().unwrap_or_default(),
            interfaces: Some(controller.interface_index(interface).into_iter().collect()),
            snaplen: SNAPLEN,
            queue: QUEUE,
            ..Wanted::default()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, kind, controller) = (Arc::clone(&stop), spec.kind, controller.clone());
        let thread = std::thread::Builder::new()
            .name("probe-flow".into())
            .spawn(move || record(&controller, observation, kind, start, &stopped))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the record and adds it to the requests. Returns the number of packets missed.
    pub(super) fn stop(mut self, requests: &mut [Request]) -> u64 {
        self.stop.store(true, Ordering::Release);
        let Some(Ok((fates, lost))) = self.thread.take().map(JoinHandle::join) else {
            return u64::MAX;
        };
        // A later request may reuse a port: its packets are those after it was sent.
        let mut places: HashMap<Key, Vec<usize>> = HashMap::new();
        for (number, request) in requests.iter().enumerate() {
            places.entry(Key::Number(number as u64)).or_default().push(number);
            if let Some(port) = request.port {
                places.entry(Key::Port(port)).or_default().push(number);
            }
        }
        for (key, fate) in fates {
            let Some(numbers) = places.get(&key) else { continue };
            let at = numbers.partition_point(|number| requests[*number].sent <= fate.at);
            if let Some(number) = at.checked_sub(1).and_then(|at| numbers.get(at)) {
                requests[*number].fates.push(fate);
            }
        }
        lost
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn record(
    controller: &Controller,
    mut observation: Observation,
    kind: ProbeKind,
    start: Instant,
    stop: &AtomicBool,
) -> Recorded {
    // The probe and the switch count time from different instants of one clock.
    let ahead = observation.start().checked_duration_since(start);
    let behind = start.checked_duration_since(observation.start());
    let mut names: HashMap<InterfaceIndex, Option<InterfaceId>> = HashMap::new();
    let mut fates = Vec::new();
    loop {
        let last = stop.load(Ordering::Acquire);
        while let Some(observed) = observation.try_next() {
            let key = contain::once("the packets of a probe", || {
                contain::site("probe-flow");
                key(kind, &observed)
            });
            let Some(key) = key.flatten() else { continue };
            let at = observed.at.saturating_add(ahead.unwrap_or_default());
            let mut fate = PacketFate {
                at: at.saturating_sub(behind.unwrap_or_default()).as_nanos() as u64,
                delivered_to: None,
                dropped: None,
            };
            match observed.fate {
                Fate::Delivered { to, .. } => {
                    fate.delivered_to = *names.entry(to).or_insert_with(|| controller.interface_at(to));
                }
                Fate::Dropped(reason) => fate.dropped = Some(reason),
                Fate::Answered(_) | Fate::Flooded | Fate::Arrived { .. } | Fate::Fabric(_) => {}
            }
            fates.push((key, fate));
        }
        if last {
            return (fates, observation.lost());
        }
        std::thread::sleep(GLANCE);
    }
}

/// The request of a packet. Of a connection only the SYN counts, because it shows whether the address is reached.
fn key(kind: ProbeKind, observed: &Observed) -> Option<Key> {
    let packet = IpPacket::of(&Frame::parse(&observed.bytes).ok()?)?;
    let upper = packet.payload();
    match kind {
        ProbeKind::Icmp | ProbeKind::Udp => number(upper.get(8..)?).map(|(number, _)| Key::Number(number)),
        ProbeKind::Tcp | ProbeKind::Http => {
            let Upper::Ports { source, .. } = packet.flow().upper else {
                return None;
            };
            let syn_alone = upper.get(13)? & 0x12 == 0x02;
            syn_alone.then_some(Key::Port(source))
        }
    }
}
