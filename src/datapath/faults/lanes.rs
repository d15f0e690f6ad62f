//! Counts the frames that a fault has seen at an interface and direction, and tracks when the link is free and when the
//! last frame arrives. Memory for an interface is allocated by its first frame and kept while the fault lasts.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Impairment, Lot, Passage, Way};
use crate::datapath::DropReason;
use crate::mapping::InterfaceIndex;

/// Interfaces in a page.
const PAGE: usize = 1024;
/// Most pages: as many interfaces as the fabric has.
const PAGES: usize = 4097;

/// An interface in one direction.
#[derive(Debug, Default)]
pub(super) struct Lane {
    count: AtomicU64,
    /// In nanoseconds since the switch was started.
    busy_until: AtomicU64,
    last_arrival: AtomicU64,
}

/// All interfaces of one fault.
#[derive(Debug)]
pub struct Lanes(Box<[OnceLock<Page>]>);

/// Interfaces, with both directions each.
type Page = Box<[[Lane; 2]]>;

impl Default for Lanes {
    fn default() -> Self {
        Self((0..PAGES).map(|_| OnceLock::new()).collect())
    }
}

impl Lanes {
    pub(super) fn lane(&self, interface: InterfaceIndex, way: Way) -> &Lane {
        let at = interface.get() as usize;
        let page = self.0[(at / PAGE).min(PAGES - 1)].get_or_init(|| (0..PAGE).map(|_| Default::default()).collect());
        &page[at % PAGE][usize::from(way == Way::Ingress)]
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    // Fits for 584 years.
    duration.as_nanos() as u64
}

/// How long a frame occupies the link.
fn transmission(length: usize, rate: NonZeroU64) -> Duration {
    let bits = length as u128 * 8;
    Duration::from_nanos((bits * 1_000_000_000 / u128::from(rate.get())) as u64)
}

impl Lane {
    /// The number of the next frame, counted from 0.
    pub(super) fn count(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Applies an outcome: returns when the frame arrives that would otherwise arrive as `passage` says.
    pub(super) fn pass(
        &self,
        impairment: &Impairment,
        lot: &Lot,
        passage: Passage,
        length: usize,
        now: Duration,
    ) -> Result<Passage, DropReason> {
        if lot.lost {
            return Err(DropReason::FaultLoss);
        }
        let mut delay = passage.delay;
        if let Some(rate) = impairment.rate {
            let from = now.saturating_add(delay);
            let takes = self.transmit(transmission(length, rate), impairment.queue, from)?;
            delay = delay.saturating_add(takes);
        }
        if !lot.overtakes {
            // Jitter alone changes no order: no frame arrives before the one ahead.
            let arrival = nanoseconds(now.saturating_add(delay).saturating_add(lot.delay));
            let before = self.last_arrival.fetch_max(arrival, Ordering::Relaxed);
            delay = Duration::from_nanos(arrival.max(before)).saturating_sub(now);
        }
        let again = lot.duplicated.then_some(delay);
        Ok(Passage {
            delay,
            copy: passage.copy.map(|copy| copy.max(delay)).or(again),
        })
    }

    /// Occupies the link for this long from when it is free, and returns the total time.
    fn transmit(&self, takes: Duration, queue: Duration, from: Duration) -> Result<Duration, DropReason> {
        let mut free = self.busy_until.load(Ordering::Relaxed);
        loop {
            let start = free.max(nanoseconds(from));
            if start - nanoseconds(from) > nanoseconds(queue) {
                return Err(DropReason::FaultRate);
            }
            let end = start + nanoseconds(takes);
            match self
                .busy_until
                .compare_exchange_weak(free, end, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(Duration::from_nanos(end - nanoseconds(from))),
                Err(now_free) => free = now_free,
            }
        }
    }
}
