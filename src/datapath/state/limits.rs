//! A port may ask so many questions a second; what is more is dropped, so that one port cannot keep the fabric busy.

use std::time::Duration;

/// What the data path remembers of one port. It belongs to the worker that reads the port.
#[derive(Debug, Default, Clone)]
pub struct PortState {
    pub(in crate::datapath) neighbor: Bucket,
    pub(in crate::datapath) router: Bucket,
    pub(in crate::datapath) services: Bucket,
    pub(in crate::datapath) errors: Bucket,
    pub(in crate::datapath) dhcp: Bucket,
}

/// Tokens that refill with time, a second's worth at the most.
#[derive(Debug, Default, Clone)]
pub(in crate::datapath) struct Bucket {
    /// Tokens in billionths, so that every nanosecond counts.
    filled: u64,
    since: Duration,
    started: bool,
}

/// One token in the unit of [`Bucket::filled`].
const TOKEN: u64 = 1_000_000_000;

impl Bucket {
    /// Takes a token at `now`; false when there is none. A `rate` of 0 is no limit.
    pub(in crate::datapath) fn take(&mut self, rate: u32, now: Duration) -> bool {
        if rate == 0 {
            return true;
        }
        let full = u64::from(rate) * TOKEN;
        if self.started {
            let elapsed = u64::try_from(now.saturating_sub(self.since).as_nanos()).unwrap_or(u64::MAX);
            self.filled = full.min(self.filled.saturating_add(elapsed.saturating_mul(u64::from(rate))));
        } else {
            (self.started, self.filled) = (true, full);
        }
        self.since = now;
        let granted = self.filled >= TOKEN;
        if granted {
            self.filled -= TOKEN;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_one_each_interval() {
        let mut bucket = Bucket::default();
        let at = |ms: u64| Duration::from_millis(5000 + ms);
        assert_eq!((0..25).filter(|_| bucket.take(10, at(0))).count(), 10);
        assert!(!bucket.take(10, at(99)));
        assert!(bucket.take(10, at(100)));
        assert!(!bucket.take(10, at(101)));
        assert_eq!((0..25).filter(|_| bucket.take(10, at(60_000))).count(), 10);
        assert_eq!((0..25).filter(|_| bucket.take(0, at(60_000))).count(), 25);
    }
}
