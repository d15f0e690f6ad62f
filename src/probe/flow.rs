//! The switch's own record of a stream: where each of its packets was delivered, or why it went nowhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::stream::number;
use super::{PacketFate, ProbeKind, ProbeSpec, Request};
use crate::control::Controller;
use crate::mapping::InterfaceIndex;
use crate::model::InterfaceId;
use crate::switch::observe::{Fate, Observation, Observed, Wanted};
use crate::wire::flow::{IpPacket, Upper};
use crate::wire::frame::Frame;

/// Octets of each packet that are looked at: headers and the payload's first 16.
const SNAPLEN: usize = 256;

/// Packets that may wait to be looked at: those of half a minute at the highest rate.
const QUEUE: usize = 32_768;

/// Between looks.
const GLANCE: Duration = Duration::from_millis(5);

/// What tells the requests of a stream apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Number(u64),
    Port(u16),
}

/// Every packet with its request, and how many were missed.
type Recorded = (Vec<(Key, PacketFate)>, u64);

/// A record that grows.
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
            // Text of our own making.
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

    /// Ends the record and writes it to the requests. Returns how many packets were missed.
    pub(super) fn stop(mut self, requests: &mut [Request]) -> u64 {
        self.stop.store(true, Ordering::Release);
        let Some(Ok((fates, lost))) = self.thread.take().map(JoinHandle::join) else {
            return u64::MAX;
        };
        // A port may be used again by a later request: its packets are those after it was sent.
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
            let Some(key) = key(kind, &observed) else { continue };
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

/// Which request a packet is of. Of a connection only the SYN counts: it is what reaches the address, or does not.
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
