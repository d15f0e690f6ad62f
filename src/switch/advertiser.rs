//! What the fabric says unasked: the Router Advertisements that each port gets every few seconds, and announcements of
//! moves. They come from a thread of their own, so that workers sleep without a timer and a thousand ports that are told
//! something at once delay no frame.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::observe::Fate;
use super::port::Offload;
use super::port::{HEADER, LARGEST_FRAME};
use super::worker::{place, send_plain};
use super::{Port, PortTable, Shared};
use crate::datapath::{Answered, SubnetIndex, View, announcement, unsolicited_advertisement};
use crate::mapping::{Interface, PortId};
use crate::wire::MacAddr;
use crate::wire::reply::ReplyBuffer;

/// How long an advertisement is put off while the port's interface is not there yet.
const PUT_OFF: Duration = Duration::from_millis(100);

/// The shortest time between two advertisements that is obeyed.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// The longest that the thread sleeps, with nothing to do.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What other threads leave for the advertiser.
#[derive(Default)]
pub(super) struct Newcomers {
    /// Numbers of ports that were attached.
    pub(super) ports: Mutex<Vec<u32>>,
    /// Told of each, and of the end.
    pub(super) change: Condvar,
}

/// Sends frames of the fabric's own making. There is one, behind a lock: it is the one writer of its counters.
pub(super) struct Unasked {
    /// Which block of a port's counters is its own.
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

    /// Sends the frame that was written last.
    fn send(&mut self, shared: &Shared, port: &Port) -> bool {
        let sent = send_plain(&port.device, self.reply.frame(), &mut self.spare).is_ok();
        if let (true, Some(audience)) = (sent, shared.observers.present()) {
            audience.show(
                place(shared, port),
                self.reply.frame(),
                &Offload::None,
                Fate::Fabric(None),
            );
        }
        let block = &port.counters[self.block];
        (if sent { &block.unasked } else { &block.refused }).add(1);
        sent
    }

    /// Tells the ports of a subnet, except one, that `address` is now at `mac`; returns how many could be told.
    pub(super) fn announce(
        &mut self,
        shared: &Shared,
        subnet: SubnetIndex,
        address: IpAddr,
        mac: MacAddr,
        except: Option<PortId>,
    ) -> usize {
        let (view, table) = (shared.fabric.view_full(), shared.ports.load_full());
        let Some(subnet) = view.subnet(subnet) else { return 0 };
        let mut told = 0;
        for &(id, interface) in subnet.members().iter().filter(|(id, _)| Some(*id) != except) {
            let (Some(port), Some(interface)) = (table.get(id.get()), view.interface(interface)) else {
                continue;
            };
            if not_told(&view, &interface, subnet.index, address) {
                continue;
            }
            announcement(address, mac, interface.mac, &mut self.reply);
            told += usize::from(self.send(shared, port));
        }
        told
    }

    /// Sends a frame that a service of the VPC made; false when there is no such port, or it takes no frame.
    pub(super) fn inject(&mut self, shared: &Shared, id: PortId, frame: &[u8]) -> bool {
        let table = shared.ports.load();
        let Some(port) = table.get(id.get()).filter(|_| frame.len() <= LARGEST_FRAME) else {
            return false;
        };
        let sent = send_plain(&port.device, frame, &mut self.spare).is_ok();
        let block = &port.counters[self.block];
        let kind = &block.answered[Answered::Service as usize];
        (if sent { kind } else { &block.refused }).add(1);
        if let (true, Some(audience)) = (sent, shared.observers.present()) {
            let fate = Fate::Fabric(Some(Answered::Service));
            audience.show(place(shared, port), frame, &Offload::None, fate);
        }
        sent
    }

    /// Sends a port its Router Advertisement, unless this is its coming up, from which the first interval counts.
    /// Returns the time to the next.
    fn advertise(&mut self, shared: &Shared, view: &View, port: &Port) -> Duration {
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
            .max(SHORTEST_INTERVAL)
    }
}

/// Whether an interface hears no announcement: a fault keeps it behind, or without a link.
pub(super) fn not_told(view: &View, interface: &Interface, subnet: SubnetIndex, address: IpAddr) -> bool {
    view.faults()
        .is_some_and(|faults| faults.link_down(interface) || faults.former_owner(interface, subnet, address).is_some())
}

/// Works until the switch is stopped.
pub(super) fn run(shared: &Shared) {
    // When each port is due: (time, number, serial).
    let mut due: BinaryHeap<Reverse<(Duration, u32, u64)>> = BinaryHeap::new();
    while !shared.stop.load(Ordering::Acquire) {
        for number in wait(shared, due.peek().map(|Reverse((at, ..))| *at)) {
            // A port that was taken away meanwhile is not due.
            if let Some(port) = shared.ports.load().get(number) {
                due.push(Reverse((Duration::ZERO, number, port.serial)));
            }
        }
        let now = shared.start.elapsed();
        // A whole snapshot each: nothing here holds up a worker, and a port that is taken away is let go of soon.
        let (view, table): (Arc<View>, Arc<PortTable>) = (shared.fabric.view_full(), shared.ports.load_full());
        let mut unasked = shared.unasked.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&Reverse((at, number, serial))) = due.peek()
            && at <= now
        {
            due.pop();
            let port = table.get(number).filter(|port| port.serial == serial);
            if let Some(port) = port.filter(|port| !port.lost.load(Ordering::Relaxed)) {
                let next = now + unasked.advertise(shared, &view, port);
                due.push(Reverse((next, number, serial)));
            }
        }
    }
}

/// Sleeps until a port is due, a port is new, or the switch is stopped, and returns the new ones.
fn wait(shared: &Shared, due: Option<Duration>) -> Vec<u32> {
    let newcomers = shared.newcomers.ports.lock().unwrap_or_else(PoisonError::into_inner);
    let sleep = due.map_or(LONGEST_SLEEP, |at| at.saturating_sub(shared.start.elapsed()));
    let nothing_yet = |ports: &mut Vec<u32>| ports.is_empty() && !shared.stop.load(Ordering::Acquire);
    let woken = shared
        .newcomers
        .change
        .wait_timeout_while(newcomers, sleep, nothing_yet);
    let (mut newcomers, _) = woken.unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *newcomers)
}
