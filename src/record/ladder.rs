//! Records the latest packets that crossed the switch, each as a line with sender, receiver and drop reason: the ladder
//! diagram in the report of a failed step.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::describe::{announced, describe};
use crate::contain;
use crate::control::Controller;
use crate::mapping::InterfaceIndex;
use crate::switch::observe::{Fate, Observation, Observed, Wanted};

/// Packets kept; older ones are discarded.
const MOST_RUNGS: usize = 2000;

/// Octets read of each frame: all headers.
const SNAPLEN: usize = 256;

/// Time between two reads of the queue.
const GLANCE: Duration = Duration::from_millis(5);

/// How long a step waits for packets that are decided but not read yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// The VPC's own name as a sender or receiver.
pub const VPC: &str = "VPC";

/// One packet: who sent it, who got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rung {
    /// Microseconds since the step began.
    pub at_us: u64,
    /// The instance that sent it, or `VPC`.
    pub from: String,
    /// The instance that it was delivered to, or `VPC` for what the VPC answers; absent for dropped and flooded
    /// packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// A description: `ARP who has 10.0.1.11`.
    pub packet: String,
    /// The drop reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

/// Announcements kept.
const MOST_ANNOUNCEMENTS: usize = 10_000;

/// An unsolicited announcement of an address's MAC by a host or the VPC.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// When.
    pub at: SystemTime,
    /// The announcer: an instance, or `VPC`.
    pub from: String,
    /// A description.
    pub packet: String,
}

#[derive(Debug, Default)]
struct Kept {
    frames: VecDeque<Observed>,
    /// With the address of each.
    announcements: Vec<(IpAddr, Observed)>,
    until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    over: AtomicBool,
}

/// A running record of packets. Dropping it ends it.
#[derive(Debug)]
pub struct Ladder {
    shared: Arc<Shared>,
    /// The instant at which the switch's time is zero.
    start: Instant,
    epoch: SystemTime,
    thread: Option<JoinHandle<()>>,
}

impl Ladder {
    /// Begins to record. `None` when no thread can be started.
    pub fn start(controller: &Controller) -> Option<Self> {
        let observation = controller.observe(Wanted {
            snaplen: SNAPLEN,
            ..Wanted::default()
        });
        let (shared, start, epoch) = (Arc::<Shared>::default(), observation.start(), observation.epoch());
        let recorded = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ladder".into())
            .spawn(move || record(observation, &recorded))
            .inspect_err(|error| tracing::warn!(%error, "no ladder of packets is recorded"))
            .ok()?;
        Some(Self {
            shared,
            start,
            epoch,
            thread: Some(thread),
        })
    }

    /// The packets since an instant, in the order of their decision.
    pub fn since(&self, began: Instant, controller: &Controller) -> Vec<Rung> {
        let now = Instant::now();
        loop {
            let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.until.is_some_and(|until| until >= now) || now.elapsed() > PATIENCE {
                let began = began.saturating_duration_since(self.start);
                let of_step = kept.frames.iter().filter(|frame| frame.at >= began);
                return of_step.map(|frame| rung(frame, began, controller)).collect();
            }
            drop(kept);
            std::thread::sleep(GLANCE);
        }
    }
}

impl Ladder {
    /// The announcements of an address since a time.
    pub fn announcements(&self, address: IpAddr, since: SystemTime, controller: &Controller) -> Vec<Announcement> {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = kept.announcements.iter().filter(|(of, _)| *of == address);
        let at = |frame: Duration| self.epoch.checked_add(frame).unwrap_or(self.epoch);
        let meant = meant.map(|(_, frame)| (at(frame.at), rung(frame, Duration::ZERO, controller)));
        meant
            .filter(|(at, _)| *at >= since)
            .map(|(at, Rung { from, packet, .. })| Announcement { at, from, packet })
            .collect()
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that records the ladder of packets panicked");
        }
    }
}

fn record(mut observation: Observation, shared: &Shared) {
    while !shared.over.load(Ordering::Acquire) {
        let before = Instant::now();
        contain::once("the ladder of packets", || {
            contain::site("ladder");
            let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(observed) = observation.try_next() {
                if kept.frames.len() == MOST_RUNGS {
                    kept.frames.pop_front();
                }
                if let Some(address) = announced(&observed.bytes)
                    && kept.announcements.len() < MOST_ANNOUNCEMENTS
                {
                    kept.announcements.push((address, observed.clone()));
                }
                kept.frames.push_back(observed);
            }
            kept.until = Some(before);
        });
        std::thread::sleep(GLANCE);
    }
}

fn rung(observed: &Observed, began: Duration, controller: &Controller) -> Rung {
    let name = |index: InterfaceIndex| {
        let id = controller.interface_at(index)?;
        let name = controller.interface(&id.into()).ok()?.name;
        Some(name.unwrap_or_else(|| id.to_string()))
    };
    let gone = || "an interface that is gone".to_owned();
    let own = name(observed.interface).unwrap_or_else(gone);
    let (from, to, dropped) = match observed.fate {
        Fate::Delivered { to, .. } => (own, Some(name(to).unwrap_or_else(gone)), None),
        Fate::Answered(_) => (own, Some(VPC.to_owned()), None),
        Fate::Flooded => (own, None, None),
        Fate::Dropped(reason) => (own, None, Some(reason.name().to_owned())),
        Fate::Arrived { from } => (name(from).unwrap_or_else(gone), Some(own), None),
        Fate::Fabric(_) => (VPC.to_owned(), Some(own), None),
    };
    Rung {
        // Fits for 584 000 years.
        at_us: observed.at.saturating_sub(began).as_micros() as u64,
        from,
        to,
        packet: describe(&observed.bytes),
        dropped,
    }
}
