//! Sends frames that no host asked for: Router Advertisements to each port at the profile's interval, and announcements
//! of moved addresses.
//!
//! They have a thread of their own, so that workers sleep without a timer and a burst to a thousand ports delays no
//! other frame.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::moves::Moves;
use super::observe::Fate;
use super::port::Offload;
use super::port::{HEADER, LARGEST_FRAME};
use super::round::{place, send_plain};
use super::{Port, PortTable, Shared};
use crate::contain;
use crate::datapath::{Answered, Moved, SubnetIndex, View, announcement, unsolicited_advertisement};
use crate::mapping::{Interface, PortId};
use crate::wire::reply::ReplyBuffer;

/// Delay before the next try while the port's interface does not exist yet.
const PUT_OFF: Duration = Duration::from_millis(100);

/// The shortest interval between two advertisements; shorter ones are raised to it.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// The longest sleep of the thread when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Delay before the next try for a port whose advertisement panicked.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

/// Announcements between two looks at the clock: the lock on [`Unasked`] is held for some 100 µs.
const AT_ONCE: usize = 128;

/// The least time per announcement in a long list. Sending takes about a microsecond; the rest is left to the workers
/// and to the hosts that receive it.
const PACE: Duration = Duration::from_micros(5);

/// Input that other threads leave for the advertiser.
#[derive(Default)]
pub(super) struct Inbox {
    left: Mutex<Left>,
    change: Condvar,
}

/// Input since the advertiser looked last.
#[derive(Default)]
struct Left {
    /// Numbers of ports that were attached.
    ports: Vec<u32>,
    /// Lists of addresses that were moved.
    moved: Vec<Vec<Moved>>,
}

impl Inbox {
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called when a port was attached.
    pub(super) fn attached(&self, number: u32) {
        self.left().ports.push(number);
        self.change.notify_one();
    }

    /// Called when addresses have new owners, after the data path has been updated.
    pub(super) fn moved(&self, moved: Vec<Moved>) {
        self.left().moved.push(moved);
        self.change.notify_one();
    }

    /// Called when the switch stops.
    pub(super) fn stopped(&self) {
        // Under the lock: otherwise the advertiser could look just before and sleep just after.
        drop(self.left());
        self.change.notify_all();
    }
}

/// Sends frames that the fabric makes. There is one, behind a lock, because its counters have a single writer.
pub(super) struct Unasked {
    /// Its block of a port's counters.
    block: usize,
    reply: ReplyBuffer,
    spare: Box<[u8]>,
}

impl Unasked {
    pub(super) fn new(block: usize) -> Self {
        Self {
            block,
            reply: ReplyBuffer::new(),
            spare: vec![0; HEADER + LARGEST_FRAME].into(),
        }
    }

    /// Sends the frame in the buffer.
    fn send(&mut self, shared: &Shared, port: &Port) -> bool {
        if let Some(audience) = shared.observers.present() {
            audience.show(
                place(shared, port),
                self.reply.frame(),
                &Offload::None,
                Fate::Fabric(None),
            );
        }
        let sent = send_plain(&port.device, self.reply.frame(), &mut self.spare).is_ok();
        let block = &port.counters[self.block];
        (if sent { &block.unasked } else { &block.refused }).add(1);
        sent
    }

    /// Announces the address's new place to the ports of its subnet except the owner's; returns the number of
    /// announcements.
    pub(super) fn announce(&mut self, shared: &Shared, view: &View, table: &PortTable, moved: Moved) -> usize {
        // Unassigned meanwhile, or its subnet is gone: nothing to announce.
        let Some((subnet, owner)) = moved.owner(view) else {
            return 0;
        };
        let mut announced = 0;
        // The new owner would take the announcement of its own address for a conflict (RFC 5227 section 2.4).
        for &(id, interface) in subnet.members().iter().filter(|(id, _)| Some(*id) != owner.port) {
            let (Some(port), Some(interface)) = (table.get(id.get()), view.interface(interface)) else {
                continue;
            };
            if is_excluded(view, &interface, subnet.index, moved.address) {
                continue;
            }
            announcement(moved.address, owner.mac, interface.mac, &mut self.reply);
            self.send(shared, port);
            announced += 1;
        }
        announced
    }

    /// Sends a frame of a VPC service; false when there is no such port or its device refuses the frame.
    pub(super) fn inject(&mut self, shared: &Shared, id: PortId, frame: &[u8]) -> bool {
        let table = shared.ports.load();
        let Some(port) = table.get(id.get()).filter(|_| frame.len() <= LARGEST_FRAME) else {
            return false;
        };
        // Before sending, because the host's answer must not come first in a capture.
        if let Some(audience) = shared.observers.present() {
            let fate = Fate::Fabric(Some(Answered::Service));
            audience.show(place(shared, port), frame, &Offload::None, fate);
        }
        let sent = send_plain(&port.device, frame, &mut self.spare).is_ok();
        let block = &port.counters[self.block];
        let kind = &block.answered[Answered::Service as usize];
        (if sent { kind } else { &block.refused }).add(1);
        sent
    }

    /// Sends a port its Router Advertisement. The first call for a port only starts the interval. Returns the time to
    /// the next.
    pub(super) fn advertise(&mut self, shared: &Shared, view: &View, port: &Port) -> Duration {
        let ingress = view.ingress(port.interface, port.id);
        let Some(ingress) = ingress.filter(|ingress| ingress.interface.port == Some(port.id)) else {
            return PUT_OFF;
        };
        let came_up = port.advertised.swap(true, Ordering::Relaxed);
        let withheld = view.faults().is_some_and(|faults| {
            faults.link_down(&ingress.interface) || faults.services(&ingress.interface).router_advertisements_withheld
        });
        if came_up && !withheld && unsolicited_advertisement(&ingress, &mut self.reply) {
            self.send(shared, port);
        }
        ingress
            .subnet
            .profile()
            .router
            .advertisement
            .interval
            .get()
            .max(SHORTEST_INTERVAL)
    }
}

/// Whether a fault keeps announcements from an interface: stale neighbors, or a link that is down.
fn is_excluded(view: &View, interface: &Interface, subnet: SubnetIndex, address: IpAddr) -> bool {
    view.faults()
        .is_some_and(|faults| faults.link_down(interface) || faults.former_owner(interface, subnet, address).is_some())
}

/// Time between two passes over the tracked connections, each of which frees some that have expired.
const REAPING: Duration = Duration::from_secs(1);

/// Runs until the switch stops.
pub(super) fn run(shared: &Shared) {
    // The next advertisement of each port: (time, number, serial).
    let mut due: BinaryHeap<Reverse<(Duration, u32, u64)>> = BinaryHeap::new();
    let mut moves = Moves::default();
    let (mut next_announcement, mut next_reap) = (Duration::ZERO, Duration::ZERO);
    let connections = shared.fabric.connections();
    while !shared.stop.load(Ordering::Acquire) {
        let next = due.peek().map(|Reverse((at, ..))| *at);
        let waits = (!moves.is_empty()).then_some(next_announcement);
        let reap = (!connections.is_empty()).then_some(next_reap);
        let left = wait(shared, next.into_iter().chain(waits).chain(reap).min());
        left.moved.into_iter().for_each(|list| moves.push(list));
        for number in left.ports {
            // Skips a port that was detached meanwhile.
            if let Some(port) = shared.ports.load().get(number) {
                due.push(Reverse((Duration::ZERO, number, port.serial)));
            }
        }
        let now = shared.now();
        if next_reap <= now {
            connections.reap(now.as_secs() as u32);
            next_reap = now.saturating_add(REAPING);
        }
        // Owned snapshots: nothing here holds up a worker, and a detached port is released soon.
        let (view, table): (Arc<View>, Arc<PortTable>) = (shared.fabric.view_full(), shared.ports.load_full());
        let mut unasked = shared.unasked();
        while let Some(&Reverse((at, number, serial))) = due.peek()
            && at <= now
        {
            due.pop();
            let port = table.get(number).filter(|port| port.serial == serial);
            if let Some(port) = port.filter(|port| !port.lost.load(Ordering::Relaxed)) {
                let next = contain::once("the advertiser", || {
                    contain::site("advertiser");
                    unasked.advertise(shared, &view, port)
                });
                let next = now.saturating_add(next.unwrap_or(AFTER_A_PANIC));
                due.push(Reverse((next, number, serial)));
            }
        }
        if next_announcement <= now && !moves.is_empty() {
            let mut announced = 0;
            contain::once("the advertiser", || {
                moves.turn(|moved| {
                    announced += unasked.announce(shared, &view, &table, moved);
                    announced < AT_ONCE
                });
            });
            next_announcement = now.saturating_add(PACE.saturating_mul(u32::try_from(announced).unwrap_or(u32::MAX)));
        }
    }
}

/// Sleeps until something is due, there is input, or the switch stops; returns the input.
fn wait(shared: &Shared, due: Option<Duration>) -> Left {
    let inbox = &shared.advertiser;
    let sleep = due.map_or(LONGEST_SLEEP, |at| at.saturating_sub(shared.now()));
    let nothing_yet =
        |left: &mut Left| left.ports.is_empty() && left.moved.is_empty() && !shared.stop.load(Ordering::Acquire);
    let woken = inbox.change.wait_timeout_while(inbox.left(), sleep, nothing_yet);
    let (mut left, _) = woken.unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *left)
}
