//! Laws of prefix lists, each as a sentence.

use super::*;
use crate::model::error::ModelError;
use crate::model::network::tests::World;
use crate::model::security_group::{AuthorizeRules, PeerRef, RuleSpec};
use crate::model::traffic::{Direction, Traffic};

fn entries(texts: &[&str]) -> Vec<(IpNet, String)> {
    texts
        .iter()
        .map(|text| (text.parse().unwrap(), format!("about {text}")))
        .collect()
}

fn create(texts: &[&str]) -> CreatePrefixList {
    CreatePrefixList {
        name: Some("offices".to_owned()),
        list_name: None,
        family: None,
        max_entries: Some(3),
        entries: entries(texts),
        tags: Tags::new(),
    }
}

fn blocks(list: &PrefixList) -> Vec<String> {
    list.blocks().map(|net| net.to_string()).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, ModelError>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn a_list_is_of_one_family_and_of_a_size() {
    let mut world = World::new();
    for (spec, expected) in [
        (create(&["10.0.0.0/8", "2001:db8::/64"]), "InvalidParameterValue"),
        (create(&["10.0.0.0/8", "10.9.9.9/8"]), "InvalidRequest"),
        (
            create(&["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]),
            "PrefixListMaxEntriesExceeded",
        ),
        (create(&[]), "MissingParameter"),
        (
            CreatePrefixList {
                max_entries: Some(1001),
                ..create(&["10.0.0.0/8"])
            },
            "InvalidParameterValue",
        ),
        (
            CreatePrefixList {
                list_name: Some("com.amazonaws.s3".to_owned()),
                ..create(&["10.0.0.0/8"])
            },
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(code(world.execute(spec)), expected);
    }
    let list = world.execute(create(&["10.9.9.9/8"])).unwrap();
    assert_eq!(
        (list.version, list.family, blocks(&list)),
        (1, AddressFamily::Ipv4, vec!["10.0.0.0/8".to_owned()])
    );
}

#[test]
fn each_change_of_the_entries_is_a_version_and_an_earlier_one_can_be_restored() {
    let mut world = World::new();
    let list = world.execute(create(&["10.0.0.0/16"])).unwrap().id;
    let edit = |version, add: &[&str], remove: &[&str]| ModifyPrefixList {
        current_version: version,
        entries: EntriesChange::Edit {
            add: entries(add),
            remove: remove.iter().map(|text| text.parse().unwrap()).collect(),
        },
        ..ModifyPrefixList::new(list)
    };
    let second = world
        .execute(edit(Some(1), &["10.1.0.0/16"], &["10.0.0.0/16"]))
        .unwrap();
    assert_eq!((second.version, blocks(&second)), (2, vec!["10.1.0.0/16".to_owned()]));
    for (command, expected) in [
        (edit(Some(1), &["10.2.0.0/16"], &[]), "PrefixListVersionMismatch"),
        (edit(None, &["10.1.0.0/16"], &["10.1.0.0/16"]), "InvalidParameterValue"),
        (edit(None, &["10.1.0.0/16"], &[]), "InvalidRequest"),
        (edit(None, &[], &["10.9.0.0/16"]), "InvalidParameterValue"),
    ] {
        assert_eq!(code(world.execute(command)), expected);
    }
    // A new name is no new version.
    let renamed = ModifyPrefixList {
        list_name: Some("branches".to_owned()),
        ..ModifyPrefixList::new(list)
    };
    assert_eq!(world.execute(renamed).unwrap().version, 2);
    let restore = |previous_version, current_version| RestorePrefixList {
        list: list.into(),
        previous_version,
        current_version,
    };
    assert_eq!(code(world.execute(restore(3, 2))), "PrefixListVersionNotFound");
    assert_eq!(code(world.execute(restore(1, 1))), "PrefixListVersionMismatch");
    let third = world.execute(restore(1, 2)).unwrap();
    assert_eq!(
        (third.version, third.state, blocks(&third)),
        (3, PrefixListState::RestoreComplete, vec!["10.0.0.0/16".to_owned()])
    );
}

#[test]
fn a_list_that_a_rule_names_stays() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let group = world.network.default_group(vpc).unwrap();
    let list = world.execute(create(&["10.0.0.0/16"])).unwrap().id;
    let rule = RuleSpec::new(Direction::Ingress, Traffic::All, PeerRef::PrefixList(list.into()));
    world
        .execute(AuthorizeRules {
            group: group.into(),
            rules: vec![rule],
        })
        .unwrap();
    let error = world.execute(DeletePrefixList(list.into())).unwrap_err();
    assert_eq!(error.code(), "DependencyViolation");
    assert!(error.remedy().contains(&group.to_string()));
}
