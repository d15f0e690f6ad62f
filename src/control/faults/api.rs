//! Makes the API throttle, fail or answer slowly. REST and the EC2 API ask before they look at a request; the same seed
//! and order of requests give the same answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::control::controller::Controller;
use crate::model::fault::{ApiError, ApiFault, Throttle};
use crate::model::ids::{FaultId, ResourceId};

/// What the API does with a request before it looks at it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApiFate {
    /// The time it waits.
    pub delay: Duration,
    /// The error it answers with; some errors are answered although the request is carried out.
    pub error: Option<ApiError>,
    /// How old what it reads is.
    pub stale: Duration,
}

/// The error of a throttled request, as EC2 gives it.
fn limit_exceeded() -> ApiError {
    ApiError {
        status: 503,
        code: "RequestLimitExceeded".to_owned(),
        chance: crate::model::fault::Fraction::always(),
        carried_out: false,
    }
}

struct Bucket {
    tokens: f64,
    at: Duration,
}

struct Acting {
    fault: ApiFault,
    rng: ChaCha8Rng,
    /// One for each action.
    buckets: HashMap<String, Bucket>,
}

/// The active faults of the API.
#[derive(Default)]
pub(in crate::control) struct ApiFaults {
    any: AtomicBool,
    acting: Mutex<Vec<(FaultId, Acting)>>,
}

impl ApiFaults {
    /// Replaces the active faults. One that was active before keeps its state.
    pub(super) fn set(&self, seed: u64, faults: Vec<(FaultId, ApiFault)>) {
        let mut acting = self.acting.lock().unwrap_or_else(PoisonError::into_inner);
        acting.retain(|(id, _)| faults.iter().any(|(wanted, _)| wanted == id));
        for (id, fault) in faults {
            if !acting.iter().any(|(known, _)| *known == id) {
                let rng = ChaCha8Rng::seed_from_u64(seed ^ id.to_bits().rotate_left(32));
                let buckets = HashMap::new();
                acting.push((id, Acting { fault, rng, buckets }));
            }
        }
        self.any.store(!acting.is_empty(), Ordering::Release);
    }

    fn fate(&self, action: &str, now: Duration) -> ApiFate {
        let mut fate = ApiFate::default();
        if !self.any.load(Ordering::Acquire) {
            return fate;
        }
        let mut acting = self.acting.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, acting) in acting.iter_mut().filter(|(_, acting)| acting.meets(action)) {
            let delay = acting.fault.delay.unwrap_or_default().get();
            fate.delay = fate.delay.saturating_add(delay);
            fate.stale = fate.stale.max(acting.fault.stale.unwrap_or_default().get());
            let error = acting.error(action, now);
            fate.error = fate.error.or(error);
        }
        fate
    }
}

impl Acting {
    fn meets(&self, action: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => {
                action.len() >= start.len()
                    && action.is_char_boundary(start.len())
                    && action[..start.len()].eq_ignore_ascii_case(start)
            }
            None => action.eq_ignore_ascii_case(pattern),
        };
        self.fault.actions.is_empty() || self.fault.actions.iter().any(matches)
    }

    fn error(&mut self, action: &str, now: Duration) -> Option<ApiError> {
        if let Some(throttle) = self.fault.throttle
            && !self.take(throttle, action, now)
        {
            return Some(limit_exceeded());
        }
        let error = self.fault.error.as_ref()?;
        (self.rng.random::<f64>() < error.chance.get()).then(|| error.clone())
    }

    /// Takes a token from the action's bucket, if there is one left.
    fn take(&mut self, throttle: Throttle, action: &str, now: Duration) -> bool {
        let full = f64::from(throttle.burst);
        let bucket = self
            .buckets
            .entry(action.to_owned())
            .or_insert(Bucket { tokens: full, at: now });
        let refill = now.saturating_sub(bucket.at).as_secs_f64() * throttle.rate;
        (bucket.tokens, bucket.at) = ((bucket.tokens + refill).min(full.max(1.0)), now);
        let has_one = bucket.tokens >= 1.0;
        bucket.tokens -= f64::from(u8::from(has_one));
        has_one
    }
}

impl Controller {
    /// What the API does with a request for this action before it looks at it: an EC2 action, or the method and route of
    /// a REST request, such as `POST /v1/mappings`.
    pub fn api_fate(&self, action: &str) -> ApiFate {
        self.shared.api_faults.fate(action, self.shared.timer.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acting(fault: ApiFault) -> ApiFaults {
        let faults = ApiFaults::default();
        faults.set(1, vec![(FaultId::from_bits(1), fault)]);
        faults
    }

    #[test]
    fn a_throttled_action_gets_its_burst_and_then_its_rate() {
        let faults = acting(ApiFault {
            actions: vec!["Assign*".into()],
            throttle: Some(Throttle { rate: 1.0, burst: 2 }),
            ..ApiFault::default()
        });
        let code = |action, second| faults.fate(action, Duration::from_secs(second)).error.map(|e| e.code);
        let refused = Some("RequestLimitExceeded".to_owned());
        assert_eq!(code("AssignIpv6Addresses", 0), None);
        assert_eq!(code("AssignIpv6Addresses", 0), None);
        assert_eq!(code("AssignIpv6Addresses", 0), refused);
        assert_eq!(
            code("AssignPrivateIpAddresses", 0),
            None,
            "another action has a bucket of its own"
        );
        assert_eq!(code("DescribeInstances", 0), None, "not meant");
        assert_eq!(code("AssignIpv6Addresses", 1), None);
        assert_eq!(code("AssignIpv6Addresses", 1), refused);
    }

    #[test]
    fn the_same_seed_fails_the_same_requests() {
        let run = || {
            let faults = acting(ApiFault {
                error: Some(ApiError {
                    status: 500,
                    code: "InternalError".into(),
                    chance: "50%".parse().expect("a fraction"),
                    carried_out: false,
                }),
                ..ApiFault::default()
            });
            (0..100)
                .map(|_| faults.fate("GET /v1/vpcs", Duration::ZERO).error.is_some())
                .collect::<Vec<_>>()
        };
        let failed = run();
        assert_eq!(failed, run());
        assert!((30..70).contains(&failed.iter().filter(|failed| **failed).count()));
    }
}
