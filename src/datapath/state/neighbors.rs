//! Remembers what the stations of a subnet told its router about their addresses (RFC 826, RFC 4861 section 7).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::wire::MacAddr;

/// How long a confirmed neighbor is believed without a question (RFC 4861 section 10, REACHABLE_TIME).
const REACHABLE: Duration = Duration::from_secs(30);
/// Time between two questions about one address (RETRANS_TIMER).
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Questions without answer after which a neighbor is no longer believed to be there (MAX_UNICAST_SOLICIT).
const QUESTIONS: u8 = 3;
/// How long a neighbor without traffic is remembered; no longer than the port of a silent station is.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// Neighbors remembered per subnet, those asked for in vain included: a scan of a /64 must not eat the memory.
const CAPACITY: usize = 8192;

/// What the router of one subnet was told. Several workers write it.
#[derive(Default)]
pub(super) struct Neighbors {
    known: DashMap<IpAddr, Neighbor, RandomState>,
    /// When a full table was last searched for what can go, in milliseconds.
    swept: AtomicU64,
}

#[derive(Clone, Copy)]
struct Neighbor {
    mac: Option<MacAddr>,
    /// When the MAC was last known to be right; `None` for one that was told in passing.
    confirmed: Option<Duration>,
    /// When the last question was asked, or the MAC told.
    touched: Duration,
    /// Questions since the neighbor was last heard.
    questions: u8,
}

/// What the router knows of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Known {
    /// Where it is.
    pub(in crate::datapath) mac: Option<MacAddr>,
    /// Whether that was confirmed lately.
    pub(in crate::datapath) sure: bool,
    /// Whether it may be asked for now, if need be.
    pub(in crate::datapath) may_ask: bool,
}

impl Known {
    /// Of an address that was never heard of.
    pub(super) const NOTHING: Self = Self {
        mac: None,
        sure: false,
        may_ask: true,
    };
}

/// Whether a question of a router is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It is: remembered as asked.
    Now,
    /// It was sent a moment ago, by another worker.
    Lately,
    /// There is no room to remember it, so it must not be sent.
    Full,
}

/// How far to believe what was told (RFC 4861 section 7.2.5; RFC 826 where it is ARP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Belief {
    /// It is remembered even if the router did not ask.
    pub(in crate::datapath) unasked: bool,
    /// It replaces another MAC.
    pub(in crate::datapath) replaces: bool,
    /// It proves that the neighbor hears the router.
    pub(in crate::datapath) confirms: bool,
}

impl Neighbors {
    /// What is known of `address` for a packet that goes there now.
    pub(super) fn look(&self, address: IpAddr, now: Duration) -> Known {
        self.known
            .get(&address)
            .map_or(Known::NOTHING, |neighbor| neighbor.look(now))
    }

    /// Remembers that `address` is asked for now, if it is time to.
    pub(super) fn ask(&self, address: IpAddr, now: Duration) -> Asking {
        if let Some(mut neighbor) = self.known.get_mut(&address) {
            if !neighbor.may_be_asked(now) {
                return Asking::Lately;
            }
            if neighbor.questions >= QUESTIONS {
                neighbor.mac = None;
            }
            (neighbor.questions, neighbor.touched) = (neighbor.questions.saturating_add(1), now);
            return Asking::Now;
        }
        if self.known.len() >= CAPACITY && !self.sweep(now) {
            return Asking::Full;
        }
        let asked = Neighbor {
            mac: None,
            confirmed: None,
            touched: now,
            questions: 1,
        };
        self.known.insert(address, asked);
        Asking::Now
    }

    /// A station told that `address` is at `mac`.
    pub(super) fn tell(&self, address: IpAddr, mac: MacAddr, belief: Belief, now: Duration) {
        if mac.is_multicast() {
            return;
        }
        let confirmed = belief.confirms.then_some(now);
        let told = Neighbor {
            mac: Some(mac),
            confirmed,
            touched: now,
            questions: 0,
        };
        if let Some(mut known) = self.known.get_mut(&address) {
            match known.mac {
                None => *known = told,
                Some(same) if same == mac => {
                    *known = Neighbor {
                        confirmed: confirmed.or(known.confirmed),
                        ..told
                    }
                }
                Some(_) if belief.replaces => *known = told,
                // Another station claims the address, and may not take it over: time to ask.
                Some(_) => known.confirmed = None,
            }
        } else if belief.unasked && (self.known.len() < CAPACITY || self.sweep(now)) {
            self.known.insert(address, told);
        }
    }

    /// Removes entries that have expired; true when there is room then. At most once a second: a scan is no reason to walk
    /// the table for each packet.
    fn sweep(&self, now: Duration) -> bool {
        // A time since the start of the switch fits for half a billion years.
        let millis = now.as_millis() as u64;
        let before = self.swept.load(Ordering::Relaxed);
        let due = before == 0 || millis.saturating_sub(before) >= 1000;
        if !due
            || self
                .swept
                .compare_exchange(before, millis.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        self.known.retain(|_, neighbor| {
            let limit = if neighbor.mac.is_some() { FORGOTTEN } else { RETRANSMIT };
            now.saturating_sub(neighbor.touched) < limit
        });
        self.known.len() < CAPACITY
    }
}

impl Neighbor {
    fn may_be_asked(&self, now: Duration) -> bool {
        self.questions == 0 || now.saturating_sub(self.touched) >= RETRANSMIT
    }

    fn look(&self, now: Duration) -> Known {
        let sure = self.confirmed.is_some_and(|at| now.saturating_sub(at) < REACHABLE);
        let may_ask = self.may_be_asked(now);
        Known {
            mac: self.mac.filter(|_| sure || self.questions < QUESTIONS || !may_ask),
            sure,
            may_ask,
        }
    }
}
