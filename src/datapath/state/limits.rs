//! Limits the answers to a port, so that one port cannot keep the fabric busy.

use std::time::Duration;

use crate::model::profile::Profile;

/// What a port gets a limited number of each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Allowance {
    /// Answers to ARP requests and Neighbor Solicitations.
    Neighbor,
    /// Answers to Router Solicitations.
    Router,
    /// Packets to the link-local services.
    Services,
    /// ICMP errors of the router.
    Errors,
    /// Answers of the DHCP servers.
    Dhcp,
}

impl Allowance {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Neighbor, Self::Router, Self::Services, Self::Errors, Self::Dhcp];

    /// The profile's limit per second; 0 for none.
    pub fn rate(self, profile: &Profile) -> u32 {
        match self {
            Self::Neighbor => profile.neighbor.answers_per_second,
            Self::Router => profile.router.advertisement.answers_per_second,
            Self::Services => profile.router.service_packets_per_second,
            Self::Errors => profile.router.errors_per_second,
            Self::Dhcp => profile.dhcp.answers_per_second,
        }
    }

    /// A description of what is limited.
    pub fn description(self) -> &'static str {
        match self {
            Self::Neighbor => "answers to ARP and Neighbor Discovery",
            Self::Router => "answers to Router Solicitations",
            Self::Services => "packets to the link-local services",
            Self::Errors => "ICMP errors",
            Self::Dhcp => "answers to DHCP",
        }
    }
}

/// The remaining allowances of one port. They belong to the worker that reads the port.
#[derive(Debug, Default, Clone)]
pub struct PortState {
    buckets: [Bucket; Allowance::ALL.len()],
}

impl PortState {
    /// Whether the port has some of an allowance of `rate` a second left. A `rate` of 0 is no limit.
    pub(in crate::datapath) fn allows(&self, allowance: Allowance, rate: u32, now: Duration) -> bool {
        rate == 0 || self.buckets[allowance as usize].filled_at(rate, now) >= TOKEN
    }

    /// Uses one of an allowance.
    pub(super) fn charge(&mut self, allowance: Allowance, rate: u32, now: Duration) {
        if rate > 0 {
            self.buckets[allowance as usize].take(rate, now);
        }
    }
}

/// A token bucket that holds at most a second's worth.
#[derive(Debug, Default, Clone)]
struct Bucket {
    /// Tokens in billionths, so that every nanosecond counts.
    filled: u64,
    since: Duration,
    started: bool,
}

/// One token in the unit of [`Bucket::filled`].
const TOKEN: u64 = 1_000_000_000;

impl Bucket {
    /// Its fill at `now`, with a refill of `rate` tokens a second.
    fn filled_at(&self, rate: u32, now: Duration) -> u64 {
        let full = u64::from(rate) * TOKEN;
        if !self.started {
            return full;
        }
        let elapsed = u64::try_from(now.saturating_sub(self.since).as_nanos()).unwrap_or(u64::MAX);
        full.min(self.filled.saturating_add(elapsed.saturating_mul(u64::from(rate))))
    }

    /// Removes a token, if there is one.
    fn take(&mut self, rate: u32, now: Duration) {
        self.filled = self.filled_at(rate, now).saturating_sub(TOKEN);
        (self.started, self.since) = (true, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses one of an allowance of `rate` a second, if the port has one.
    fn take(port: &mut PortState, rate: u32, now: Duration) -> bool {
        let allowed = port.allows(Allowance::Neighbor, rate, now);
        if allowed {
            port.charge(Allowance::Neighbor, rate, now);
        }
        allowed
    }

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_one_each_interval() {
        let mut port = PortState::default();
        let at = |ms: u64| Duration::from_millis(5000 + ms);
        assert_eq!((0..25).filter(|_| take(&mut port, 10, at(0))).count(), 10);
        assert!(!take(&mut port, 10, at(99)));
        assert!(take(&mut port, 10, at(100)));
        assert!(!take(&mut port, 10, at(101)));
        assert_eq!((0..25).filter(|_| take(&mut port, 10, at(60_000))).count(), 10);
        assert_eq!((0..25).filter(|_| take(&mut port, 0, at(60_000))).count(), 25);
    }

    #[test]
    fn allowances_of_a_port_are_spent_one_by_one_and_asking_spends_nothing() {
        let mut port = PortState::default();
        let now = Duration::from_secs(1);
        for _ in 0..3 {
            assert!(port.allows(Allowance::Errors, 1, now));
        }
        port.charge(Allowance::Errors, 1, now);
        assert!(!port.allows(Allowance::Errors, 1, now));
        assert!(port.allows(Allowance::Dhcp, 1, now));
    }
}
