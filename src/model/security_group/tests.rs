//! Laws of security groups, each as a sentence.

use super::*;
use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, ResourceId};
use crate::model::interface::{CreateInterface, ModifyInterface};
use crate::model::limits::Limits;
use crate::model::network::tests::World;
use crate::model::prefix_list::{AddressFamily, CreatePrefixList, ModifyPrefixList};
use crate::model::traffic::{Ports, Protocol};
use crate::model::vpc::{DeleteVpc, ModifyVpc};

fn rule(direction: Direction, protocol: &str, ports: Option<&str>, peer: PeerRef) -> RuleSpec {
    let protocol: Protocol = protocol.parse().unwrap();
    let ports = ports.map(|text| text.parse::<Ports>().unwrap());
    let traffic = Traffic::of_fields(protocol, ports, None, None).unwrap();
    RuleSpec::new(direction, traffic, peer)
}

fn cidr(text: &str) -> PeerRef {
    PeerRef::Cidr(text.parse().unwrap())
}

fn spec(vpc: VpcId, name: &str) -> CreateSecurityGroup {
    CreateSecurityGroup {
        name: Some(name.to_owned()),
        vpc: vpc.into(),
        group_name: None,
        description: None,
        ingress: Vec::new(),
        egress: None,
        tags: Tags::new(),
    }
}

fn shown(group: &SecurityGroup) -> Vec<String> {
    group.rules.iter().map(ToString::to_string).collect()
}

/// A network with two VPCs, of which the first has IPv6.
fn two_vpcs() -> (World, VpcId, VpcId) {
    let mut world = World::new();
    let one = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    let other = world.vpc(&["10.1.0.0/16"], &[]).unwrap();
    (world, one, other)
}

fn default_of(world: &World, vpc: VpcId) -> SecurityGroup {
    let id = world.network.default_group(vpc).unwrap();
    world.network.group(id).unwrap().clone()
}

fn code<T: fmt::Debug>(result: Result<T, ModelError>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn a_vpc_is_made_with_a_group_that_lets_in_its_own_members_and_lets_out_everything() {
    let (world, one, other) = two_vpcs();
    let group = default_of(&world, one);
    let own = format!("ingress all from {}", group.id);
    assert_eq!(shown(&group), [&own, "egress all to 0.0.0.0/0", "egress all to ::/0"]);
    assert_eq!(
        (group.group_name.as_str(), group.description.as_str()),
        ("default", "default VPC security group")
    );
    // Without IPv6 there is no rule for it.
    assert_eq!(shown(&default_of(&world, other)).len(), 2);
}

#[test]
fn a_vpc_that_gets_ipv6_lets_it_out_of_groups_whose_egress_was_not_edited() {
    let (mut world, _, other) = two_vpcs();
    let edited = world
        .execute(CreateSecurityGroup {
            egress: Some(vec![rule(Direction::Egress, "tcp", None, cidr("0.0.0.0/0"))]),
            ..spec(other, "edited")
        })
        .unwrap();
    let fresh = world.execute(spec(other, "fresh")).unwrap();
    let change = ModifyVpc {
        ipv6_cidr_blocks: Some(vec!["2001:db8:1::/56".parse().unwrap()]),
        ..ModifyVpc::new(other)
    };
    world.execute(change).unwrap();
    let rules = |world: &World, id| shown(world.network.group(id).unwrap());
    assert_eq!(rules(&world, edited.id), ["egress tcp to 0.0.0.0/0"]);
    assert_eq!(
        rules(&world, fresh.id),
        ["egress all to 0.0.0.0/0", "egress all to ::/0"]
    );
    assert!(shown(&default_of(&world, other)).contains(&"egress all to ::/0".to_owned()));
}

#[test]
fn a_group_name_is_unique_within_its_vpc_and_default_is_reserved() {
    let (mut world, one, other) = two_vpcs();
    let named = |vpc, group_name: &str| CreateSecurityGroup {
        name: None,
        group_name: Some(group_name.to_owned()),
        ..spec(vpc, "")
    };
    let web = world.execute(named(one, "web")).unwrap().id;
    assert_eq!(code(world.execute(named(one, "web"))), "InvalidGroup.Duplicate");
    let elsewhere = world.execute(named(other, "web")).unwrap().id;
    for (name, code) in [
        ("default", "InvalidParameterValue"),
        ("sg-0123", "InvalidParameterValue"),
        ("ümlaut", "InvalidParameterValue"),
        ("", "InvalidParameterValue"),
    ] {
        assert_eq!(world.execute(named(one, name)).unwrap_err().code(), code, "{name}");
    }
    // A name that two groups have means neither, and to a resource of a VPC the one of that VPC.
    let reference = ResourceRef::new("web");
    let error = world.network.security_group(&reference).unwrap_err().to_string();
    assert!(
        error.contains(&web.to_string()) && error.contains(&elsewhere.to_string()),
        "{error}"
    );
    for (vpc, id) in [(one, web), (other, elsewhere)] {
        assert_eq!(world.network.security_group_in(vpc, &reference).unwrap().id, id);
    }
}

#[test]
fn rules_are_authorized_and_revoked_all_of_them_or_none() {
    let (mut world, one, _) = two_vpcs();
    let group = world.execute(spec(one, "web")).unwrap().id;
    let http = rule(Direction::Ingress, "tcp", Some("80"), cidr("10.9.0.7/8"));
    let ssh = rule(Direction::Ingress, "tcp", Some("22"), cidr("10.0.0.0/16"));
    let authorize = |rules: &[&RuleSpec]| AuthorizeRules {
        group: group.into(),
        rules: rules.iter().map(|rule| (*rule).clone()).collect(),
    };
    let added = world.execute(authorize(&[&http])).unwrap();
    // Host bits are dropped without a word.
    assert_eq!(added[0].to_string(), "ingress tcp 80 from 10.0.0.0/8");
    let error = world.execute(authorize(&[&ssh, &http])).unwrap_err();
    assert_eq!(error.code(), "InvalidPermission.Duplicate");
    assert_eq!(
        error.to_string(),
        "the specified rule \"peer: 10.0.0.0/8, TCP, from port: 80, to port: 80, ALLOW\" already exists"
    );
    assert_eq!(code(world.execute(authorize(&[&ssh, &ssh]))), "InvalidParameterValue");
    let ingress = |world: &World| world.network.group(group).unwrap().rules_of(Direction::Ingress).count();
    assert_eq!(ingress(&world), 1);

    let like = |spec: &RuleSpec| RuleRef::Like(spec.direction, spec.traffic, spec.peer.clone());
    let revoke = |rules: Vec<RuleRef>| RevokeRules {
        group: group.into(),
        rules,
        direction: Some(Direction::Ingress),
    };
    assert_eq!(
        code(world.execute(revoke(vec![like(&http), like(&ssh)]))),
        "InvalidPermission.NotFound"
    );
    let unknown = RuleRef::Id(SecurityGroupRuleId::from_bits(1));
    assert_eq!(
        code(world.execute(revoke(vec![unknown]))),
        "InvalidSecurityGroupRuleId.NotFound"
    );
    let egress = world
        .network
        .group(group)
        .unwrap()
        .rules_of(Direction::Egress)
        .next()
        .unwrap()
        .id;
    assert_eq!(
        code(world.execute(revoke(vec![RuleRef::Id(egress)]))),
        "InvalidParameterValue"
    );
    assert_eq!(ingress(&world), 1);
    let revoked = world
        .execute(revoke(vec![like(&http), RuleRef::Id(added[0].id)]))
        .unwrap();
    assert_eq!((revoked.len(), ingress(&world)), (1, 0));
    assert!(world.network.group_of_rule(added[0].id).is_err());
}

#[test]
fn a_rule_that_is_modified_keeps_its_identifier_and_its_kind_of_peer() {
    let (mut world, one, _) = two_vpcs();
    let group = world.execute(spec(one, "web")).unwrap().id;
    let add = AuthorizeRules {
        group: group.into(),
        rules: vec![
            rule(Direction::Ingress, "tcp", Some("80"), cidr("10.0.0.0/16")),
            rule(Direction::Ingress, "tcp", Some("81"), cidr("10.0.0.0/16")),
        ],
    };
    let rules = world.execute(add).unwrap();
    let modify = |id, ports: &str, peer| {
        let other = rule(Direction::Ingress, "tcp", Some(ports), peer);
        let change = RuleChange {
            traffic: other.traffic,
            peer: other.peer,
            description: Some("new".to_owned()),
        };
        ModifyRules {
            group: group.into(),
            rules: vec![(id, change)],
        }
    };
    let changed = world.execute(modify(rules[0].id, "443", cidr("10.0.1.0/24"))).unwrap();
    assert_eq!(changed[0].id, rules[0].id);
    assert_eq!(changed[0].to_string(), "ingress tcp 443 from 10.0.1.0/24");
    for (peer, expected) in [
        (cidr("2001:db8::/64"), "InvalidParameterValue"),
        (PeerRef::Group(group.into()), "InvalidParameterValue"),
    ] {
        assert_eq!(code(world.execute(modify(rules[0].id, "443", peer))), expected);
    }
    let taken = modify(rules[0].id, "81", cidr("10.0.0.0/16"));
    assert_eq!(code(world.execute(taken)), "InvalidPermission.Duplicate");
}

#[test]
fn all_rules_at_once_keep_those_that_were_there() {
    let (mut world, one, _) = two_vpcs();
    let own = rule(
        Direction::Ingress,
        "112",
        None,
        PeerRef::Group(ResourceRef::new("pair")),
    );
    let group = world
        .execute(CreateSecurityGroup {
            // A group may name itself while it is being made.
            ingress: vec![own.clone()],
            egress: Some(Vec::new()),
            ..spec(one, "pair")
        })
        .unwrap();
    assert_eq!(shown(&group), [format!("ingress protocol 112 from {}", group.id)]);
    let more = rule(Direction::Egress, "all", None, cidr("0.0.0.0/0"));
    let change = ModifySecurityGroup {
        egress: Some(vec![more]),
        ingress: Some(vec![own]),
        ..ModifySecurityGroup::new(group.id)
    };
    let changed = world.execute(change).unwrap();
    assert_eq!(changed.rules[0].id, group.rules[0].id);
    assert_eq!(changed.rules.len(), 2);
    // The other direction stays as it is.
    let change = ModifySecurityGroup {
        ingress: Some(Vec::new()),
        ..ModifySecurityGroup::new(group.id)
    };
    assert_eq!(shown(&world.execute(change).unwrap()), ["egress all to 0.0.0.0/0"]);
}

#[test]
fn a_group_that_is_needed_stays() {
    let (mut world, one, _) = two_vpcs();
    let subnet = world.subnet(one, Some("10.0.1.0/24"), None).unwrap();
    let (app, db) = (
        world.execute(spec(one, "app")).unwrap().id,
        world.execute(spec(one, "db")).unwrap().id,
    );
    let from_app = AuthorizeRules {
        group: db.into(),
        rules: vec![rule(
            Direction::Ingress,
            "tcp",
            Some("3306"),
            PeerRef::Group(app.into()),
        )],
    };
    let added = world.execute(from_app).unwrap();
    let interface = world.interface(subnet, &["10.0.1.10"]).unwrap();
    let groups = |groups: &[SecurityGroupId]| ModifyInterface {
        groups: Some(groups.iter().map(|id| (*id).into()).collect()),
        ..ModifyInterface::new(interface)
    };
    world.execute(groups(&[db])).unwrap();
    for (group, expected) in [
        (app, "DependencyViolation"),
        (db, "DependencyViolation"),
        (world.network.default_group(one).unwrap(), "CannotDelete"),
    ] {
        assert_eq!(code(world.execute(DeleteSecurityGroup(group.into()))), expected);
    }
    let revoke = RevokeRules {
        group: db.into(),
        rules: vec![RuleRef::Id(added[0].id)],
        direction: None,
    };
    world.execute(revoke).unwrap();
    world.execute(DeleteSecurityGroup(app.into())).unwrap();
    assert_eq!(world.network.members(db).collect::<Vec<InterfaceId>>(), [interface]);
    assert_eq!(code(world.execute(groups(&[]))), "MissingParameter");
    assert_eq!(code(world.execute(groups(&[app]))), "InvalidGroup.NotFound");
}

#[test]
fn an_interface_has_the_default_group_unless_others_are_named_and_none_of_another_vpc() {
    let (mut world, one, other) = two_vpcs();
    let subnet = world.subnet(one, Some("10.0.1.0/24"), None).unwrap();
    let default = world.network.default_group(one).unwrap();
    let plain = world.interface(subnet, &[]).unwrap();
    assert_eq!(world.network.groups_of(plain), [default]);
    let web = world.execute(spec(one, "web")).unwrap().id;
    let with = |names: &[&str]| CreateInterface {
        groups: names.iter().map(|name| ResourceRef::new(name)).collect(),
        ..CreateInterface::new(subnet)
    };
    // `default` means the one of the interface's VPC.
    let made = world.execute(with(&["web", "default", "web"])).unwrap();
    assert_eq!(made.groups, [web, default]);
    assert_eq!(world.network.members(default).count(), 2);
    let foreign = world.network.default_group(other).unwrap().to_string();
    assert_eq!(code(world.execute(with(&[&foreign]))), "InvalidParameter");
    // A rule names groups of the same VPC alone.
    let across = AuthorizeRules {
        group: web.into(),
        rules: vec![rule(
            Direction::Ingress,
            "all",
            None,
            PeerRef::Group(ResourceRef::new(&foreign)),
        )],
    };
    assert_eq!(code(world.execute(across)), "InvalidGroup.NotFound");
}

#[test]
fn a_vpc_goes_with_its_default_group_and_stays_while_it_has_others() {
    let (mut world, one, _) = two_vpcs();
    let web = world.execute(spec(one, "web")).unwrap().id;
    assert_eq!(code(world.execute(DeleteVpc(one.into()))), "DependencyViolation");
    world.execute(DeleteSecurityGroup(web.into())).unwrap();
    world.execute(DeleteVpc(one.into())).unwrap();
    assert_eq!(world.network.security_groups().count(), 1);
}

#[test]
fn the_limits_of_aws_hold_for_groups_and_rules() {
    let limits = Limits {
        groups_per_interface: Some(2),
        rules_per_group: Some(3),
        security_groups_per_vpc: Some(3),
        ..Limits::UNBOUNDED
    };
    let mut world = World::with_limits(limits);
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
    let (a, b) = (
        world.execute(spec(vpc, "a")).unwrap().id,
        world.execute(spec(vpc, "b")).unwrap().id,
    );
    assert_eq!(code(world.execute(spec(vpc, "c"))), "SecurityGroupLimitExceeded");
    let with = CreateInterface {
        groups: vec![a.into(), b.into(), ResourceRef::new("default")],
        ..CreateInterface::new(subnet)
    };
    assert_eq!(code(world.execute(with)), "SecurityGroupsPerInterfaceLimitExceeded");
    // A prefix list weighs its size, in its family alone.
    let list = CreatePrefixList {
        name: Some("offices".to_owned()),
        list_name: None,
        family: Some(AddressFamily::Ipv4),
        max_entries: Some(2),
        entries: Vec::new(),
        tags: Tags::new(),
    };
    let list = world.execute(list).unwrap().id;
    let authorize = |rules| AuthorizeRules { group: a.into(), rules };
    let ingress = |peer| rule(Direction::Ingress, "tcp", Some("22"), peer);
    let first = vec![ingress(PeerRef::PrefixList(list.into())), ingress(cidr("10.0.0.0/16"))];
    world.execute(authorize(first)).unwrap();
    let full = authorize(vec![ingress(cidr("10.1.0.0/16"))]);
    assert_eq!(code(world.execute(full)), "RulesPerSecurityGroupLimitExceeded");
    world.execute(authorize(vec![ingress(cidr("2001:db8::/64"))])).unwrap();
    let larger = ModifyPrefixList {
        max_entries: Some(3),
        ..ModifyPrefixList::new(list)
    };
    assert_eq!(code(world.execute(larger)), "RulesPerSecurityGroupLimitExceeded");
}

#[test]
fn a_form_has_one_other_side() {
    let form = |text: &str| serde_json::from_str::<RuleForm>(text).unwrap().spec(Direction::Ingress);
    let good = form(r#"{"protocol": 112, "group": "pair"}"#).unwrap();
    assert_eq!(
        (good.traffic, good.peer),
        (Traffic::Other(112), PeerRef::Group(ResourceRef::new("pair")))
    );
    for (text, field) in [
        (r#"{"protocol": "tcp", "ports": 80}"#, "cidr"),
        (r#"{"protocol": "tcp", "cidr": "10.0.0.0/8", "group": "a"}"#, "cidr"),
        (r#"{"protocol": "icmp", "ports": "1-2", "cidr": "10.0.0.0/8"}"#, "ports"),
    ] {
        assert_eq!(form(text).unwrap_err().field(), Some(field), "{text}");
    }
}
