//! Keeps the neighbor table of a subnet's router on a learning switch (RFC 826, RFC 4861 section 7).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::wire::MacAddr;

/// How long a confirmed entry is used without a request (RFC 4861 section 10, REACHABLE_TIME).
const REACHABLE: Duration = Duration::from_secs(30);
/// Time between two requests for one address (RETRANS_TIMER).
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Unanswered requests after which an entry is invalid (MAX_UNICAST_SOLICIT).
const QUESTIONS: u8 = 3;
/// How long an entry without traffic is kept; no longer than the port of a silent station.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// Entries per subnet, unanswered ones included: a scan of a /64 must not fill the memory.
const CAPACITY: usize = 8192;

/// The neighbor table of one router. Several workers write it.
#[derive(Default)]
pub(super) struct Neighbors {
    known: DashMap<IpAddr, Neighbor, RandomState>,
    /// When a full table was last swept, in milliseconds.
    swept: AtomicU64,
}

#[derive(Clone, Copy)]
struct Neighbor {
    mac: Option<MacAddr>,
    /// When the MAC was last confirmed; `None` for an unconfirmed one.
    confirmed: Option<Duration>,
    /// Time of the last request or advertisement.
    touched: Duration,
    /// Requests since the neighbor was last heard.
    questions: u8,
}

/// The router's entry for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Known {
    /// Its MAC.
    pub(in crate::datapath) mac: Option<MacAddr>,
    /// Whether it was confirmed recently.
    pub(in crate::datapath) sure: bool,
    /// Whether a request may be sent now.
    pub(in crate::datapath) may_ask: bool,
}

impl Known {
    /// An unknown address.
    pub(super) const NOTHING: Self = Self {
        mac: None,
        sure: false,
        may_ask: true,
    };
}

/// Whether a router's request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Yes, and recorded as sent.
    Now,
    /// No: another worker sent it a moment ago.
    Lately,
    /// No: there is no room to record it.
    Full,
}

/// How an advertisement changes an entry (RFC 4861 section 7.2.5; RFC 826 for ARP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Belief {
    /// It creates an entry even without a request.
    pub(in crate::datapath) unasked: bool,
    /// It replaces another MAC.
    pub(in crate::datapath) replaces: bool,
    /// It confirms that the neighbor receives the router's frames.
    pub(in crate::datapath) confirms: bool,
}

impl Neighbors {
    /// The entry of `address` for a packet that goes there now.
    pub(super) fn look(&self, address: IpAddr, now: Duration) -> Known {
        self.known
            .get(&address)
            .map_or(Known::NOTHING, |neighbor| neighbor.look(now))
    }

    /// Records a request for `address`, if one is due.
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

    /// Processes an advertisement that `address` is at `mac`.
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
                // Another station claims the address and may not override the entry: a request is due.
                Some(_) => known.confirmed = None,
            }
        } else if belief.unasked && (self.known.len() < CAPACITY || self.sweep(now)) {
            self.known.insert(address, told);
        }
    }

    /// Removes expired entries; true when there is room then. At most once a second, so that a scan does not walk the
    /// table for each packet.
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
