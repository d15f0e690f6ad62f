//! Counts what an interface sends and receives against its allowances, as EC2 does for an instance.
//!
//! Each limit is a virtual schedule (GCRA, ITU-T I.371): the time by which all that has passed would have passed at the
//! rate. It may be ahead of the clock by the burst. Workers share it, one atomic word each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::datapath::DropReason;
use crate::model::interface::Allowances;

/// One limit.
#[derive(Debug, Default)]
struct Schedule {
    /// Nanoseconds, on the clock of the switch.
    ahead: AtomicU64,
    exceeded: AtomicU64,
}

impl Schedule {
    /// Whether this much may pass now; it is counted if so.
    fn passes(&self, amount: u64, rate: u64, burst: u64, now: u64) -> bool {
        let cost = u128::from(amount) * 1_000_000_000 / u128::from(rate);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let next = |ahead: u64| {
            let from = ahead.max(now);
            // A packet that alone takes longer than the burst passes when nothing else is ahead.
            let fits = from.saturating_sub(now).saturating_add(cost) <= burst || from == now;
            fits.then(|| from.saturating_add(cost))
        };
        let passed = self
            .ahead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok();
        if !passed {
            self.exceeded.fetch_add(1, Ordering::Relaxed);
        }
        passed
    }
}

/// The allowances of one interface, and what has passed.
#[derive(Debug)]
pub struct Meter {
    allowances: Allowances,
    packets: Schedule,
    octets_in: Schedule,
    octets_out: Schedule,
}

/// How many packets each allowance has cost, in the words of EC2's drivers (ethtool -S).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Exceeded {
    /// Packets to the host that were dropped for its inbound octets.
    pub bw_in_allowance_exceeded: u64,
    /// Packets from the host that were dropped for its outbound octets.
    pub bw_out_allowance_exceeded: u64,
    /// Packets of either direction that were dropped for their number.
    pub pps_allowance_exceeded: u64,
}

impl Meter {
    /// Nothing has passed yet.
    pub fn new(allowances: Allowances) -> Self {
        Self {
            allowances,
            packets: Schedule::default(),
            octets_in: Schedule::default(),
            octets_out: Schedule::default(),
        }
    }

    /// What is allowed.
    pub fn allowances(&self) -> Allowances {
        self.allowances
    }

    /// What was dropped so far.
    pub fn exceeded(&self) -> Exceeded {
        let count = |schedule: &Schedule| schedule.exceeded.load(Ordering::Relaxed);
        Exceeded {
            bw_in_allowance_exceeded: count(&self.octets_in),
            bw_out_allowance_exceeded: count(&self.octets_out),
            pps_allowance_exceeded: count(&self.packets),
        }
    }

    /// Lets a packet of the host out, or says which allowance it exceeds.
    pub fn leave(&self, octets: usize, now: Duration) -> Result<(), DropReason> {
        let out = (&self.octets_out, self.allowances.octets_out_per_second);
        self.take(octets, now, out, DropReason::BandwidthOut)
    }

    /// Lets a packet to the host in, or says which allowance it exceeds.
    pub fn arrive(&self, octets: usize, now: Duration) -> Result<(), DropReason> {
        let inward = (&self.octets_in, self.allowances.octets_in_per_second);
        self.take(octets, now, inward, DropReason::BandwidthIn)
    }

    fn take(
        &self,
        octets: usize,
        now: Duration,
        (schedule, rate): (&Schedule, Option<std::num::NonZeroU64>),
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (burst, now) = (nanoseconds(self.allowances.burst.get()), nanoseconds(now));
        if let Some(rate) = rate
            && !schedule.passes(octets as u64, rate.get(), burst, now)
        {
            return Err(reason);
        }
        if let Some(rate) = self.allowances.packets_per_second
            && !self.packets.passes(1, rate.get(), burst, now)
        {
            return Err(DropReason::PacketRate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(packets: u64, octets_in: u64, octets_out: u64, burst: &str) -> Meter {
        Meter::new(Allowances {
            packets_per_second: packets.try_into().ok(),
            octets_in_per_second: octets_in.try_into().ok(),
            octets_out_per_second: octets_out.try_into().ok(),
            burst: burst.parse().unwrap(),
        })
    }

    /// How many of 100 000 packets pass, one each 10 µs.
    fn passed(take: impl Fn(Duration) -> bool) -> usize {
        (0..100_000)
            .filter(|number| take(Duration::from_micros(number * 10)))
            .count()
    }

    #[test]
    fn in_a_second_as_much_passes_as_is_allowed_and_the_burst_at_once() {
        let packets = meter(1000, 0, 0, "100ms");
        let count = passed(|now| packets.leave(60, now).is_ok());
        assert!((1099..=1101).contains(&count), "{count} packets");
        assert_eq!(packets.exceeded().pps_allowance_exceeded, 100_000 - count as u64);
        let octets = meter(0, 0, 100_000, "10ms");
        let count = passed(|now| octets.leave(100, now).is_ok());
        assert!((1009..=1011).contains(&count), "{count} packets of 100 octets");
        assert_eq!(
            octets.arrive(1500, Duration::ZERO),
            Ok(()),
            "the other direction has no limit"
        );
        let inward = meter(0, 100_000, 0, "10ms");
        assert!(passed(|now| inward.arrive(100, now).is_ok()) < 1100);
        assert!(inward.exceeded().bw_in_allowance_exceeded > 98_000);
    }

    #[test]
    fn both_directions_share_the_packets_and_a_large_packet_passes_alone() {
        let meter = meter(10, 0, 100, "100ms");
        let now = Duration::from_secs(5);
        assert_eq!(meter.leave(1500, now), Ok(()), "15 s worth of octets");
        assert_eq!(meter.leave(1, now), Err(DropReason::BandwidthOut));
        assert_eq!(meter.arrive(1500, now), Err(DropReason::PacketRate));
        assert_eq!(meter.arrive(1500, now + Duration::from_millis(100)), Ok(()));
        assert_eq!(meter.leave(1, now + Duration::from_secs(15)), Ok(()));
    }
}
