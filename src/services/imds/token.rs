//! Issues and checks IMDSv2 tokens. A token is valid for one instance and for the requested time (EC2 guide, "Use
//! IMDSv2": instance-specific). Each instance has a limited number; the oldest is dropped.

use std::collections::VecDeque;
use std::time::Duration;

use dashmap::DashMap;

use crate::services::clock::Entropy;

/// The longest lifetime of a token in seconds: six hours (EC2 guide, "Use IMDSv2").
pub const MAX_TTL: u32 = 21_600;
/// Tokens that an instance can hold.
const PER_INSTANCE: usize = 1024;
/// Instances with tokens, beyond which those without a valid one are removed.
const INSTANCES: usize = 4096;
/// Octets of a token before encoding: 56 characters, as on EC2.
const OCTETS: usize = 40;

struct Token {
    octets: [u8; OCTETS],
    expires: Duration,
}

/// The tokens of all instances.
#[derive(Default)]
pub(super) struct Tokens {
    by_instance: DashMap<String, VecDeque<Token>>,
}

impl Tokens {
    /// A new token for an instance, valid for `ttl` seconds from `now`.
    pub(super) fn issue(&self, instance: &str, ttl: u32, now: Duration, entropy: &dyn Entropy) -> String {
        let mut octets = [0; OCTETS];
        entropy.fill(&mut octets);
        if self.by_instance.len() >= INSTANCES {
            self.by_instance
                .retain(|_, tokens| tokens.iter().any(|token| token.expires > now));
        }
        let mut tokens = self.by_instance.entry(instance.to_owned()).or_default();
        if tokens.len() >= PER_INSTANCE {
            tokens.retain(|token| token.expires > now);
        }
        if tokens.len() >= PER_INSTANCE {
            tokens.pop_front();
        }
        tokens.push_back(Token {
            octets,
            expires: now.saturating_add(Duration::from_secs(ttl.into())),
        });
        data_encoding::BASE64URL.encode(&octets)
    }

    /// Seconds for which a token is still valid for the instance; `None` where it is not.
    pub(super) fn remaining(&self, instance: &str, text: &[u8], now: Duration) -> Option<u64> {
        use subtle::ConstantTimeEq;
        let octets = data_encoding::BASE64URL.decode(text).ok()?;
        let tokens = self.by_instance.get(instance)?;
        let token = tokens.iter().find(|token| bool::from(token.octets.ct_eq(&octets)))?;
        let left = token.expires.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
    }

    #[cfg(test)]
    pub(super) fn count(&self, instance: &str) -> usize {
        self.by_instance.get(instance).map_or(0, |tokens| tokens.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::clock::SeededEntropy;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_token_opens_its_own_instance_until_its_time_is_up() {
        let (tokens, entropy) = (Tokens::default(), SeededEntropy::new(1));
        let token = tokens.issue("i-1", 60, SECOND, &entropy);
        assert_eq!(token.len(), 56);
        let remaining = |instance, seconds: u32| tokens.remaining(instance, token.as_bytes(), SECOND * seconds);
        assert_eq!(remaining("i-1", 1), Some(60));
        assert_eq!(remaining("i-1", 60), Some(1));
        assert_eq!(remaining("i-1", 61), None);
        assert_eq!(remaining("i-2", 1), None);
        for wrong in ["", "AAAA", &token[1..], &token.replace('=', "")] {
            assert_eq!(tokens.remaining("i-1", wrong.as_bytes(), SECOND), None, "{wrong}");
        }
    }

    #[test]
    fn an_instance_with_too_many_tokens_loses_its_own_oldest_one() {
        let (tokens, entropy) = (Tokens::default(), SeededEntropy::new(1));
        let other = tokens.issue("i-2", 60, SECOND, &entropy);
        let first = tokens.issue("i-1", 60, SECOND, &entropy);
        let second = tokens.issue("i-1", 60, SECOND, &entropy);
        for _ in 0..PER_INSTANCE - 1 {
            tokens.issue("i-1", 60, SECOND, &entropy);
        }
        assert_eq!(tokens.count("i-1"), PER_INSTANCE);
        assert!(tokens.remaining("i-1", first.as_bytes(), SECOND).is_none());
        assert!(tokens.remaining("i-1", second.as_bytes(), SECOND).is_some());
        assert!(tokens.remaining("i-2", other.as_bytes(), SECOND).is_some());
    }
}
