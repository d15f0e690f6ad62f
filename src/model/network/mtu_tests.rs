//! Tests the rules for MTUs in the model.

use std::sync::Arc;

use super::tests::World;
use crate::model::VpcId;
use crate::model::error::ModelError;
use crate::model::interface::{CreateInterface, ModifyInterface, SettingsChange};
use crate::model::profile::Profile;
use crate::model::vpc::ModifyVpc;

fn change(mtu: Option<u16>) -> SettingsChange {
    SettingsChange {
        mtu: Some(mtu),
        ..Default::default()
    }
}

/// RFC 8200 section 5.
#[test]
fn an_interface_with_ipv6_takes_1280_octets() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    let dual = world
        .subnet(vpc, Some("10.0.1.0/24"), Some("2001:db8:0:1::/64"))
        .unwrap();
    let six = world.subnet(vpc, None, Some("2001:db8:0:2::/64")).unwrap();
    let four = world.subnet(vpc, Some("10.0.3.0/24"), None).unwrap();
    for (subnet, mtu, taken) in [
        (dual, 1279, false),
        (dual, 576, false),
        (dual, 1280, true),
        (six, 1279, false),
        (four, 1279, true),
        (four, 576, true),
        (four, 575, false),
    ] {
        let spec = CreateInterface {
            settings: change(Some(mtu)),
            ..CreateInterface::new(subnet)
        };
        let made = world.execute(spec);
        assert_eq!(made.is_ok(), taken, "made with {mtu} in {subnet}: {made:?}");
        let id = world.interface(subnet, &[]).unwrap();
        let spec = ModifyInterface {
            settings: change(Some(mtu)),
            ..ModifyInterface::new(id)
        };
        let changed = world.execute(spec);
        assert_eq!(changed.is_ok(), taken, "changed to {mtu} in {subnet}: {changed:?}");
        if let Err(error) = changed {
            assert_eq!((error.code(), error.field()), ("InvalidParameterValue", Some("mtu")));
        }
    }
}

#[test]
fn a_vpc_with_ipv6_has_a_profile_whose_mtu_is_1280_or_more() {
    let mut world = World::new();
    let narrow = Arc::new(Profile {
        mtu: 1279,
        ..Profile::aws()
    });
    let with = |vpc: VpcId, profile: &Arc<Profile>| ModifyVpc {
        profile: Some(Arc::clone(profile)),
        ..ModifyVpc::new(vpc)
    };
    let six = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    let refused = world.execute(with(six, &narrow)).unwrap_err();
    assert!(
        matches!(refused, ModelError::OutOfRange { field: "profile", .. }),
        "{refused}"
    );
    let four = world.vpc(&["10.1.0.0/16"], &[]).unwrap();
    world.execute(with(four, &narrow)).unwrap();
    let later = ModifyVpc {
        ipv6_cidr_blocks: Some(vec!["2001:db8:1::/56".parse().unwrap()]),
        ..ModifyVpc::new(four)
    };
    let refused = world.execute(later).unwrap_err();
    assert!(refused.remedy().contains("1280"), "{refused}");
}
