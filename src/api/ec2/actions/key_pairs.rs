//! The actions on key pairs: a public key that an instance finds in its metadata. The private half of one that is made
//! here is in the answer, and nowhere else.

use std::time::SystemTime;

use data_encoding::BASE64;
use serde::Deserialize;

use super::ids::id;
use super::render::tag_set;
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::ssh_keys::{Public, generate, read};
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::KeyPairError;
use crate::model::ids::KeyPairId;
use crate::model::key_pair::{AddKeyPair, DeleteKeyPair as Delete, KeyPair, KeyType};

const PLACES: &[Place] = &[("fingerprint", "keyFingerprint")];

/// What the answers about a new key pair have in common.
fn made(pair: &KeyPair) -> Vec<(&'static str, Node)> {
    vec![
        ("keyPairId", Node::text(pair.id)),
        ("keyName", Node::text(&pair.key_name)),
        ("keyFingerprint", Node::text(&pair.fingerprint)),
        ("tagSet", tag_set(None, &pair.tags)),
    ]
}

/// The `KeyPairInfo` of EC2's answers.
fn described(pair: &KeyPair, with_key: bool) -> Node {
    let mut members = made(pair);
    let at = humantime::format_rfc3339_millis(pair.created_at);
    members.extend([
        ("keyType", Node::text(pair.key_type.name())),
        ("createTime", Node::text(at)),
        ("publicKey", Node::maybe(with_key.then(|| pair.authorized_key()))),
    ]);
    Node::Map(members)
}

/// Keeps a public key.
fn add(call: &Call<'_>, key_name: String, public: Public, tags: Given) -> Result<KeyPair, Ec2Error> {
    call.execute(AddKeyPair {
        key_name,
        key_type: public.key_type,
        public_key: public.openssh,
        fingerprint: public.fingerprint,
        tags: tags.tags,
        at: SystemTime::now(),
    })
}

/// The identifier of the pair with a name, if there is one.
fn named(call: &Call<'_>, name: &str) -> Option<KeyPairId> {
    call.controller()
        .inspect(|network| network.key_pair_named(name).ok().map(|pair| pair.id))
}

/// Makes a key pair.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateKeyPair {
    key_name: String,
    key_type: Option<String>,
    key_format: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateKeyPair {
    const NAME: &'static str = "CreateKeyPair";
    const HELP: &'static str = "Makes a key pair and answers with its private key, which is not kept";

    fn run(self, call: &Call<'_>) -> Answer {
        let key_type = match self.key_type.as_deref() {
            None | Some("rsa") => KeyType::Rsa,
            Some("ed25519") => KeyType::Ed25519,
            Some(other) => {
                let message = format!(
                    "Value ({}) for parameter KeyType is invalid. Use rsa or ed25519.",
                    printed(other)
                );
                return Err(Ec2Error::invalid_value(message));
            }
        };
        match self.key_format.as_deref() {
            None | Some("pem") => {}
            Some("ppk") => return Err(Ec2Error::unsupported("KeyFormat=ppk")),
            Some(other) => {
                let message = format!(
                    "Value ({}) for parameter KeyFormat is invalid. Use pem.",
                    printed(other)
                );
                return Err(Ec2Error::invalid_value(message));
            }
        }
        let tags = Given::of(&self.tag_specification, "key-pair")?;
        if named(call, &self.key_name).is_some() {
            // Before a key is made for nothing.
            let name = self.key_name;
            return Err(crate::model::ModelError::from(KeyPairError::Duplicate { name }).into());
        }
        let (public, private) = generate(key_type)?;
        let pair = add(call, self.key_name, public, tags)?;
        let mut answer = made(&pair);
        answer.push(("keyMaterial", Node::Text(private)));
        Ok(answer)
    }
}

/// Imports a public key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ImportKeyPair {
    key_name: String,
    public_key_material: String,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for ImportKeyPair {
    const NAME: &'static str = "ImportKeyPair";
    const HELP: &'static str = "Keeps a public key that was made elsewhere";

    fn run(self, call: &Call<'_>) -> Answer {
        let tags = Given::of(&self.tag_specification, "key-pair")?;
        let compact: String = self.public_key_material.split_whitespace().collect();
        let material = BASE64.decode(compact.as_bytes()).map_err(|_| {
            Ec2Error::invalid_value("Value for parameter PublicKeyMaterial is invalid. It is Base64 of the key.")
        })?;
        let pair = add(call, self.key_name, read(&material)?, tags)?;
        Ok(made(&pair))
    }
}

/// Deletes a key pair.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteKeyPair {
    key_name: Option<String>,
    key_pair_id: Option<String>,
}

impl Action for DeleteKeyPair {
    const NAME: &'static str = "DeleteKeyPair";
    const HELP: &'static str = "Deletes a key pair; instances keep its public key. One that does not exist is no error";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = match (&self.key_name, &self.key_pair_id) {
            (Some(_), Some(_)) => {
                return Err(Ec2Error::combination(
                    "The parameter KeyName cannot be used with the parameter KeyPairId",
                ));
            }
            (None, None) => return Err(Ec2Error::missing("KeyName")),
            (Some(name), None) => named(call, name),
            (None, Some(given)) => {
                let given: KeyPairId = id(given)?;
                call.controller()
                    .inspect(|network| network.key_pair(given).ok().map(|pair| pair.id))
            }
        };
        if let Some(id) = found {
            call.execute(Delete(id))?;
        }
        Ok(vec![("return", Node::text(true)), ("keyPairId", Node::maybe(found))])
    }
}

/// Lists key pairs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeKeyPairs {
    #[serde(default)]
    key_name: Vec<String>,
    #[serde(default)]
    key_pair_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    include_public_key: Option<bool>,
}

impl Action for DescribeKeyPairs {
    const NAME: &'static str = "DescribeKeyPairs";
    const HELP: &'static str = "Lists key pairs";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let pairs = call.controller().key_pairs();
        for name in &self.key_name {
            if !pairs.iter().any(|pair| pair.key_name == *name) {
                let name = printed(name);
                return Err(crate::model::ModelError::from(KeyPairError::Unknown { name }).into());
            }
        }
        for given in &self.key_pair_id {
            let given: KeyPairId = id(given)?;
            call.controller()
                .inspect(|network| network.key_pair(given).map(|pair| pair.id))?;
        }
        let with_key = self.include_public_key == Some(true);
        let names = &self.key_name;
        let items = pairs
            .iter()
            .filter(|pair| names.is_empty() || names.contains(&pair.key_name))
            .map(|pair| described(pair, with_key));
        let selection = Selection {
            ids: Some(("KeyPairIds", &self.key_pair_id)),
            filters: &self.filter,
            ..Selection::default()
        };
        let page = selection.of(call, items, "keyPairId", PLACES)?;
        Ok(vec![("keySet", Node::List(page.items))])
    }
}
