//! Declares a key pair: a public key that instances are launched with. Its private half is never kept (EC2 guide,
//! "Amazon EC2 key pairs and Amazon EC2 instances").

mod error;
mod rules;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use error::KeyPairError;

use crate::model::ids::KeyPairId;
use crate::model::naming::Tags;

/// A key pair as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// Its identifier.
    pub id: KeyPairId,
    /// Its name, which no other key pair has.
    pub key_name: String,
    /// The kind of key.
    pub key_type: KeyType,
    /// The public key as OpenSSH writes it, without a comment: the type and the key in Base64.
    pub public_key: String,
    /// The fingerprint as EC2 forms it, which depends on the type and on where the key was made.
    pub fingerprint: String,
    /// When it was made or imported.
    pub created_at: SystemTime,
    /// Tags.
    pub tags: Tags,
}

impl KeyPair {
    /// The line for `authorized_keys`: EC2 has the name of the pair as its comment.
    pub fn authorized_key(&self) -> String {
        format!("{} {}", self.public_key, self.key_name)
    }
}

/// The kinds of keys that EC2 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyType {
    /// RSA with 2048 bits; an imported one has 1024, 2048 or 4096.
    Rsa,
    /// Ed25519.
    Ed25519,
}

impl KeyType {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Keeps a public key under a name. Outcome: the key pair.
#[derive(Debug, Clone)]
pub struct AddKeyPair {
    /// A name that no other key pair has.
    pub key_name: String,
    /// The kind of key.
    pub key_type: KeyType,
    /// The public key as OpenSSH writes it, without a comment.
    pub public_key: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Tags.
    pub tags: Tags,
    /// The time.
    pub at: SystemTime,
}

/// Replaces the tags of a key pair. Outcome: the key pair as it is now.
#[derive(Debug, Clone)]
pub struct TagKeyPair {
    /// The key pair.
    pub key_pair: KeyPairId,
    /// All tags.
    pub tags: Tags,
}

/// Forgets a public key; instances that were launched with it keep it. Outcome: the key pair as it was.
#[derive(Debug, Clone, Copy)]
pub struct DeleteKeyPair(pub KeyPairId);
