//! Passes time and randomness in, so that a test controls both: expiring tokens, idle connections and NTP answers are
//! tested without waiting.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// The clocks of the services.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment; it never goes back.
    fn monotonic(&self) -> Duration;
    /// The time of day.
    fn wall(&self) -> SystemTime;
}

/// The host's clocks.
#[derive(Debug)]
pub struct HostClock {
    started: Instant,
}

impl Default for HostClock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Clock for HostClock {
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until it is advanced.
#[derive(Debug)]
pub struct ManualClock {
    nanoseconds: AtomicU64,
    origin: SystemTime,
}

impl ManualClock {
    /// A clock that shows `origin` as the time of day at first.
    pub fn new(origin: SystemTime) -> Self {
        Self {
            nanoseconds: AtomicU64::new(0),
            origin,
        }
    }

    /// Advances the clock.
    pub fn advance(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        self.origin.checked_add(self.monotonic()).unwrap_or(self.origin)
    }
}

/// A source of random octets.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A word, as the identifier of a query.
    fn word(&self) -> u16 {
        let mut octets = [0; 2];
        self.fill(&mut octets);
        u16::from_be_bytes(octets)
    }
}

/// ChaCha20 from a seed: the same seed, the same tokens.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<ChaCha20Rng>);

impl SeededEntropy {
    /// Octets determined by `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }

    /// Unpredictable octets.
    pub fn unpredictable() -> Self {
        Self(Mutex::new(ChaCha20Rng::from_seed(rand::random())))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // A panic while filling leaves the generator usable: its state is only numbers.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .fill_bytes(bytes);
    }
}
