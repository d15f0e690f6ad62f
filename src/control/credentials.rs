//! Derives temporary credentials of roles, and finds out what a session token stands for.
//!
//! A session token says itself what it stands for, under a seal that only the holder of the secret can make, and the two keys
//! are derived from the same text. So no session is remembered, and a server that has the secret of the one before accepts its
//! sessions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::model::InstanceId;

/// Characters of an access key after its four letters (IAM guide, "Unique identifiers": 20 in all).
const KEY_CHARACTERS: usize = 16;
/// Characters of a secret access key.
const SECRET_CHARACTERS: usize = 40;
/// Octets of a seal.
const SEAL: usize = 32;

/// The secret that credentials are derived from.
#[derive(Clone, Copy)]
pub struct RoleSecret([u8; 32]);

impl std::fmt::Debug for RoleSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RoleSecret")
    }
}

/// What temporary credentials stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The role.
    #[serde(rename = "r")]
    pub role: String,
    /// The name of the session.
    #[serde(rename = "s")]
    pub name: String,
    /// The instance whose metadata service issued them, or that assumed the role.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Until when they are valid, in seconds since 1970.
    #[serde(rename = "e")]
    pub expires: u64,
    /// Distinguishes sessions that have the rest in common.
    #[serde(rename = "n", default)]
    pub number: u64,
}

impl Session {
    /// Until when the credentials are valid.
    pub fn expiration(&self) -> SystemTime {
        let since = Duration::from_secs(self.expires);
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }
}

/// Temporary credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `ASIA…`.
    pub access_key_id: String,
    /// The key that requests are signed with.
    pub secret_access_key: String,
    /// The token that is sent with each request.
    pub session_token: String,
}

impl RoleSecret {
    /// A secret of these octets.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    fn derived(&self, purpose: &str, text: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(text);
        context.sign()
    }

    /// The credentials of a session.
    pub fn credentials(&self, session: &Session) -> Credentials {
        // Texts and numbers always serialize.
        self.of_text(&serde_json::to_vec(session).unwrap_or_default())
    }

    fn of_text(&self, text: &[u8]) -> Credentials {
        let key = BASE32_NOPAD.encode(self.derived("access key", text).as_ref());
        let secret = BASE64_NOPAD.encode(self.derived("secret access key", text).as_ref());
        let seal = self.derived("session token", text);
        Credentials {
            access_key_id: format!("ASIA{}", key.get(..KEY_CHARACTERS).unwrap_or_default()),
            secret_access_key: secret.get(..SECRET_CHARACTERS).unwrap_or_default().to_owned(),
            session_token: BASE64.encode(&[seal.as_ref(), text].concat()),
        }
    }

    /// The session of a token, and its credentials; none for a token that this secret did not seal.
    pub fn session(&self, token: &str) -> Option<(Session, Credentials)> {
        let octets = BASE64.decode(token.as_bytes()).ok()?;
        let (seal, text) = octets.split_at_checked(SEAL)?;
        let credentials = self.of_text(text);
        let own = self.derived("session token", text);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(own.as_ref(), seal)) {
            return None;
        }
        Some((serde_json::from_slice(text).ok()?, credentials))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(role: &str, number: u64) -> Session {
        Session {
            role: role.to_owned(),
            name: "session".to_owned(),
            instance: None,
            expires: 1_800_000_000,
            number,
        }
    }

    #[test]
    fn a_token_stands_for_its_session_under_its_secret_alone() {
        let (secret, other) = (RoleSecret::new([1; 32]), RoleSecret::new([2; 32]));
        let given = secret.credentials(&session("failover", 1));
        assert_eq!(given.access_key_id.len(), 20);
        assert_eq!(given.secret_access_key.len(), SECRET_CHARACTERS);
        let found = secret.session(&given.session_token).unwrap();
        assert_eq!(found, (session("failover", 1), given.clone()));
        assert_eq!(other.session(&given.session_token), None);
        assert_ne!(secret.credentials(&session("failover", 2)), given);
        // A token whose text was changed.
        let text = BASE64.decode(given.session_token.as_bytes()).unwrap();
        let forged = String::from_utf8_lossy(&text[SEAL..]).replace("failover", "anything");
        let forged = BASE64.encode(&[&text[..SEAL], forged.as_bytes()].concat());
        for token in [forged.as_str(), "", "x", "AAAA", "é"] {
            assert_eq!(secret.session(token), None, "{token}");
        }
    }
}
