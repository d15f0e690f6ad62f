//! Tests refusals with the words of EC2 in public reports.

use super::tests::World;
use crate::model::instance::metadata::MetadataChange;
use crate::model::interface::{AttachInterface, CreateInterface, DeleteInterface, ModifyInterface, SettingsChange};

fn shows_tags(shows: bool) -> SettingsChange {
    SettingsChange {
        metadata: Some(MetadataChange {
            instance_tags: Some(shows),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// seek-oss/aec#411.
#[test]
fn an_instance_that_shows_its_tags_has_keys_that_can_be_shown() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
    let long = "k".repeat(256);
    for (key, taken) in [
        ("role", true),
        ("a-b_c+d=e,f.g@h:i", true),
        ("Patch Group", false),
        ("a/b", false),
        ("größe", false),
        (".", false),
        ("..", false),
        ("_index", false),
        (long.as_str(), false),
    ] {
        let tags = [(key.to_owned(), "x".to_owned())].into();
        let spec = |shows| CreateInterface {
            settings: shows_tags(shows),
            tags: std::collections::BTreeMap::clone(&tags),
            ..CreateInterface::new(subnet)
        };
        let made = world.execute(spec(true));
        assert_eq!(made.is_ok(), taken, "{key}");
        if let Err(error) = made {
            assert_eq!((error.code(), error.field()), ("InvalidParameterValue", Some("tags")));
            let text = format!(
                "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be \
                 a reserved name ('.', '..', '_index')"
            );
            assert_eq!(error.to_string(), text);
        }
        // Where tags are not shown, any key is allowed, until they are.
        let id = world.execute(spec(false)).unwrap().id;
        let show = ModifyInterface {
            settings: shows_tags(true),
            ..ModifyInterface::new(id)
        };
        assert_eq!(world.execute(show).is_ok(), taken, "{key}");
    }
}

/// amazon-vpc-cni-k8s#1399.
#[test]
fn an_attached_interface_is_not_deleted_in_the_words_of_ec2() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
    let id = world.interface(subnet, &[]).unwrap();
    let attach = AttachInterface {
        interface: id.into(),
        place: None,
        at: std::time::SystemTime::UNIX_EPOCH,
    };
    world.execute(attach).unwrap();
    let error = world.execute(DeleteInterface(id.into())).unwrap_err();
    assert_eq!(error.code(), "InvalidParameterValue");
    assert_eq!(
        error.to_string(),
        format!("Network interface '{id}' is currently in use.")
    );
}
