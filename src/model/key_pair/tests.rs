//! Laws of key pairs, each as a sentence.

use super::*;
use crate::model::network::tests::World;

fn add(name: &str) -> AddKeyPair {
    AddKeyPair {
        key_name: name.to_owned(),
        key_type: KeyType::Ed25519,
        public_key: "ssh-ed25519 AAAA".to_owned(),
        fingerprint: "f".to_owned(),
        tags: Tags::new(),
        at: SystemTime::UNIX_EPOCH,
    }
}

#[test]
fn a_name_stands_for_one_key_pair_and_is_free_again_when_it_is_deleted() {
    let mut world = World::new();
    let first = world.execute(add("my key")).unwrap();
    assert_eq!(first.authorized_key(), "ssh-ed25519 AAAA my key");
    let error = world.execute(add("my key")).unwrap_err();
    assert_eq!(error.code(), "InvalidKeyPair.Duplicate");
    let error = world.network.key_pair_named("other").unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("InvalidKeyPair.NotFound", "The key pair 'other' does not exist")
    );
    world.execute(DeleteKeyPair(first.id)).unwrap();
    let second = world.execute(add("my key")).unwrap();
    let tags = Tags::from([("env".to_owned(), "test".to_owned())]);
    let tag = TagKeyPair {
        key_pair: second.id,
        tags: tags.clone(),
    };
    world.execute(tag).unwrap();
    assert_eq!(world.network.key_pair(second.id).unwrap().tags, tags);
    let gone = world.execute(DeleteKeyPair(first.id)).unwrap_err();
    assert_eq!(gone.code(), "InvalidKeyPair.NotFound");
}

#[test]
fn a_name_is_ascii_without_spaces_at_its_ends() {
    let mut world = World::new();
    for wrong in ["", " a", "a ", "schlüssel", &"x".repeat(256)] {
        let error = world.execute(add(wrong)).unwrap_err();
        assert_eq!(error.code(), "InvalidParameterValue", "{wrong}");
    }
    world.execute(add(&"x".repeat(255))).unwrap();
}
