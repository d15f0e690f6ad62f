//! Issues and checks IMDSv2 tokens. A token is valid for one instance and for the requested time (EC2 guide, "Use
//! IMDSv2": instance-specific).
//!
//! A token says itself until when it is valid, under a seal that only the holder of the secret can make. So none has to be
//! remembered, any number can be issued, and a server that has the secret of the one before accepts its tokens.

use std::time::Duration;

use siphasher::sip128::SipHasher24;
use subtle::ConstantTimeEq;

use crate::services::clock::Entropy;

/// The longest lifetime of a token in seconds: six hours (EC2 guide, "Use IMDSv2").
pub const MAX_TTL: u32 = 21_600;
/// Octets that are drawn: two tokens of one instant differ.
const DRAWN: usize = 16;
/// Octets before the seal: those that are drawn, and the end in milliseconds.
const SEALED: usize = DRAWN + 8;
/// Octets of a token before encoding: 56 characters, as on EC2.
const OCTETS: usize = SEALED + 16;

/// The secret by which tokens are sealed.
#[derive(Clone, Copy)]
pub struct TokenSecret([u8; 16]);

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret")
    }
}

impl TokenSecret {
    /// A secret of an earlier server.
    pub fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// A new one.
    pub fn drawn(entropy: &dyn Entropy) -> Self {
        let mut octets = [0; 16];
        entropy.fill(&mut octets);
        Self(octets)
    }
}

/// Issues tokens of all instances. Times are those of the day, since 1970: they go on in the next server.
pub(super) struct Tokens {
    secret: TokenSecret,
}

impl Tokens {
    pub(super) fn new(secret: TokenSecret) -> Self {
        Self { secret }
    }

    /// SipHash-2-4 with 128 bits, a message authentication code (Aumasson and Bernstein 2012).
    fn seal(&self, instance: &str, sealed: &[u8]) -> [u8; 16] {
        let hasher = SipHasher24::new_with_key(&self.secret.0);
        // The sealed octets have a fixed length, so the two parts cannot be taken for others.
        hasher.hash(&[sealed, instance.as_bytes()].concat()).as_bytes()
    }

    /// A new token for an instance, valid for `ttl` seconds from `now`.
    pub(super) fn issue(&self, instance: &str, ttl: u32, now: Duration, entropy: &dyn Entropy) -> String {
        let mut octets = [0; OCTETS];
        entropy.fill(&mut octets[..DRAWN]);
        let expires = now.saturating_add(Duration::from_secs(ttl.into())).as_millis();
        let expires = u64::try_from(expires).unwrap_or(u64::MAX);
        octets[DRAWN..SEALED].copy_from_slice(&expires.to_le_bytes());
        let seal = self.seal(instance, &octets[..SEALED]);
        octets[SEALED..].copy_from_slice(&seal);
        data_encoding::BASE64URL.encode(&octets)
    }

    /// Seconds for which a token is still valid for the instance; `None` where it is not.
    pub(super) fn remaining(&self, instance: &str, text: &[u8], now: Duration) -> Option<u64> {
        let octets: [u8; OCTETS] = data_encoding::BASE64URL.decode(text).ok()?.try_into().ok()?;
        let (sealed, seal) = octets.split_at(SEALED);
        if !bool::from(self.seal(instance, sealed).ct_eq(seal)) {
            return None;
        }
        let expires = u64::from_le_bytes(std::array::from_fn(|octet| sealed[DRAWN + octet]));
        let left = Duration::from_millis(expires)
            .checked_sub(now)
            .filter(|left| !left.is_zero())?;
        Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::clock::SeededEntropy;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_token_opens_its_own_instance_until_its_time_is_up() {
        let entropy = SeededEntropy::new(1);
        let tokens = Tokens::new(TokenSecret::drawn(&entropy));
        let token = tokens.issue("i-1", 60, SECOND, &entropy);
        assert_eq!(token.len(), 56);
        assert_ne!(token, tokens.issue("i-1", 60, SECOND, &entropy));
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
    fn a_token_with_any_other_bit_or_secret_opens_nothing() {
        let entropy = SeededEntropy::new(1);
        let secret = TokenSecret::drawn(&entropy);
        let token = Tokens::new(secret).issue("i-1", 60, SECOND, &entropy);
        let octets = data_encoding::BASE64URL.decode(token.as_bytes()).unwrap();
        for bit in 0..octets.len() * 8 {
            let mut other = octets.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let other = data_encoding::BASE64URL.encode(&other);
            assert_eq!(
                Tokens::new(secret).remaining("i-1", other.as_bytes(), SECOND),
                None,
                "bit {bit}"
            );
        }
        // The next server has the secret; a stranger has another.
        assert_eq!(Tokens::new(secret).remaining("i-1", token.as_bytes(), SECOND), Some(60));
        let stranger = Tokens::new(TokenSecret::drawn(&entropy));
        assert_eq!(stranger.remaining("i-1", token.as_bytes(), SECOND), None);
    }
}
