//! Runs a worker: one thread that reads a share of the ports, and decides and writes each frame between the system call
//! that read it and the one that delivers it. It waits for nothing in between and hands nothing to another thread,
//! because a wake-up alone costs as much as a frame.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use super::event::SwitchEvent;
use super::execute::Executor;
use super::port::Ring;
use super::spin::Spin;
use super::{Port, PortTable, Shared};
use crate::contain;
use crate::datapath::View;

/// A timeout of zero.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The event that wakes the worker and belongs to no port.
pub(super) const WAKE: u64 = u64::MAX;

/// Ready ports per epoll_wait(2).
const EVENTS: usize = 64;

/// How other threads reach a worker.
pub(super) struct Inbox {
    /// An eventfd in the worker's epoll set.
    pub(super) wake: OwnedFd,
    /// The worker's thread ID.
    pub(super) thread: OnceLock<i32>,
}

/// State of one worker.
pub(super) struct Worker {
    shared: Arc<Shared>,
    queue: Arc<OwnedFd>,
    inbox: Arc<Inbox>,
    executor: Executor,
    spin: Spin,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, queue: Arc<OwnedFd>, inbox: Arc<Inbox>, spin: Spin) -> Self {
        Self {
            shared,
            queue,
            inbox,
            executor: Executor::new(index),
            spin,
        }
    }

    /// Runs until the switch stops; after a panic it goes on with the next frame. `ring`: several frames per system
    /// call, where the kernel allows it.
    pub(super) fn run(mut self, ring: bool) {
        // It runs once: nothing has set it before.
        let _ = self.inbox.thread.set(rustix::thread::gettid().as_raw_nonzero().get());
        if ring {
            match Ring::new() {
                Ok(ring) => self.executor.use_ring(ring),
                Err(error) => {
                    tracing::info!(%error, "no io_uring here: each frame is written by a call of its own");
                }
            }
        }
        let mut first = true;
        contain::until_done("a worker of the switch", || {
            if !std::mem::take(&mut first) {
                self.executor.start_over();
            }
            self.rounds();
        });
    }

    fn rounds(&mut self) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let shared = Arc::clone(&self.shared);
        while !shared.stop.load(Ordering::Acquire) {
            shared.gate.pass();
            events.clear();
            let now = self.wait(&mut events);
            // One view for all frames of the round. Both are released before the worker sleeps, so that a detached port
            // is closed soon.
            let (table, view) = (shared.ports.load(), shared.fabric.view());
            contain::site("worker");
            for event in &events {
                match { event.data }.u64() {
                    // The loop checks whether the switch stops; nothing else needs a wake-up.
                    WAKE => {}
                    port => self.round(&table, &view, port as u32, now),
                }
            }
            self.executor.release(&shared, &table, &view);
        }
    }

    fn round(&mut self, table: &PortTable, view: &View, number: u32, now: Duration) {
        let outcome = self.executor.round(&self.shared, table, view, number, now);
        if let Some(port) = table.get(number).filter(|_| outcome.lost) {
            self.lose(port);
        }
    }

    /// Waits until a port has frames, another thread wakes the worker, or a delayed frame is due. Returns the time.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> Duration {
        let shared = &self.shared;
        let before = if self.spin.is_off() { None } else { Some(shared.now()) };
        // The only error of a valid epoll descriptor is EINTR: nothing is ready then.
        if let Some(before) = before {
            let until = before.saturating_add(self.spin.patience());
            let mut now = before;
            while now < until {
                let _ = epoll::wait(&*self.queue, rustix::buffer::spare_capacity(events), Some(&AT_ONCE));
                now = shared.now();
                if !events.is_empty() {
                    self.spin.waited(now.saturating_sub(before));
                    return now;
                }
            }
        }
        // Without a timeout unless a fault delays frames: arming a timer before each sleep would cost as much as a
        // frame.
        let release = self.executor.next_due();
        let timeout = release.map(|at| timespec(at.saturating_sub(shared.now())));
        let _ = epoll::wait(&*self.queue, rustix::buffer::spare_capacity(events), timeout.as_ref());
        let now = shared.now();
        if let Some(before) = before {
            self.spin.waited(now.saturating_sub(before));
        }
        now
    }

    /// Stops reading a port whose device is gone. Its descriptor stays readable for ever, so it must leave the set now.
    fn lose(&self, port: &Port) {
        // Another thread may have removed it already.
        if let Some(device) = port.device.descriptor() {
            let _ = epoll::delete(&*self.queue, device.as_fd());
        }
        if !port.lost.swap(true, Ordering::AcqRel) {
            self.shared.events.send(SwitchEvent::PortLost {
                port: port.id,
                interface: port.interface,
            });
        }
    }
}

/// The kernel may round it up: a timer may be late and is never early.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
