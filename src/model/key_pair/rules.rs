//! Keeps and forgets public keys. A name stands for one key pair.

use super::{AddKeyPair, DeleteKeyPair, KeyPair, KeyPairError, TagKeyPair};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::KeyPairId;
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id};

/// Characters of a name (EC2 API, CreateKeyPair).
const LONGEST_NAME: usize = 255;

impl Record for KeyPair {
    type Id = KeyPairId;

    fn id(&self) -> KeyPairId {
        self.id
    }

    /// Names of key pairs may have any ASCII character, so they are no names of ours.
    fn name(&self) -> Option<&str> {
        None
    }
}

impl Stored for KeyPair {
    fn names(network: &mut Network) -> &mut Names<KeyPairId> {
        &mut network.no_key_pair_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.key_pairs.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.key_pairs.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.key_pairs.values().cloned().collect()
    }
}

impl Command for AddKeyPair {
    type Outcome = KeyPair;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<KeyPair, ModelError> {
        let name = &self.key_name;
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.is_ascii() || name.trim() != name {
            return Err(KeyPairError::Name.into());
        }
        if edit.key_pair_named(name).is_ok() {
            return Err(KeyPairError::Duplicate { name: self.key_name }.into());
        }
        let made = KeyPair {
            id: fresh_id(edit.rng, |id| edit.network.key_pairs.contains_key(&id)),
            key_name: self.key_name,
            key_type: self.key_type,
            public_key: self.public_key,
            fingerprint: self.fingerprint,
            created_at: self.at,
            tags: self.tags,
        };
        edit.create(made.clone());
        Ok(made)
    }
}

impl Command for TagKeyPair {
    type Outcome = KeyPair;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<KeyPair, ModelError> {
        let before = edit.key_pair(self.key_pair)?.clone();
        let after = KeyPair {
            tags: self.tags,
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteKeyPair {
    type Outcome = KeyPair;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<KeyPair, ModelError> {
        let pair = edit.key_pair(self.0)?.clone();
        edit.delete(pair.clone());
        Ok(pair)
    }
}

impl Network {
    /// All key pairs, by identifier.
    pub fn key_pairs(&self) -> impl Iterator<Item = &KeyPair> {
        self.key_pairs.values()
    }

    /// One key pair.
    pub fn key_pair(&self, id: KeyPairId) -> Result<&KeyPair, ModelError> {
        let found = self.key_pairs.get(&id);
        found.ok_or_else(|| ModelError::not_found::<KeyPairId>(&id.to_string()))
    }

    /// The key pair with a name.
    pub fn key_pair_named(&self, name: &str) -> Result<&KeyPair, ModelError> {
        let found = self.key_pairs().find(|pair| pair.key_name == name);
        found.ok_or_else(|| KeyPairError::Unknown { name: name.to_owned() }.into())
    }
}
