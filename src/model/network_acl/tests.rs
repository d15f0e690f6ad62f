//! Laws of network ACLs, each as a sentence.

use super::*;
use crate::model::error::ModelError;
use crate::model::limits::Limits;
use crate::model::network::tests::World;
use crate::model::subnet::DeleteSubnet;
use crate::model::vpc::{DeleteVpc, ModifyVpc};

fn entry(action: AclAction, cidr: &str) -> AclEntry {
    AclEntry {
        action,
        traffic: Traffic::All,
        cidr: cidr.parse().unwrap(),
    }
}

fn create(vpc: VpcId, name: &str) -> CreateNetworkAcl {
    CreateNetworkAcl {
        name: Some(name.to_owned()),
        vpc: vpc.into(),
        entries: Vec::new(),
        tags: Tags::new(),
    }
}

fn shown(acl: &NetworkAclRecord, direction: Direction) -> Vec<String> {
    acl.entries(direction)
        .map(|(number, entry)| format!("{number} {entry}"))
        .collect()
}

fn code<T: fmt::Debug>(result: Result<T, ModelError>) -> &'static str {
    result.unwrap_err().code()
}

const LAST: [&str; 2] = ["32767 deny all 0.0.0.0/0", "32768 deny all ::/0"];

#[test]
fn a_vpc_is_made_with_an_acl_that_allows_everything_and_its_subnets_have_it() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
    let acl = world.network.acl_of(subnet).unwrap();
    assert_eq!(world.network.default_acl(vpc), Some(acl.id));
    for direction in [Direction::Ingress, Direction::Egress] {
        let expected = ["100 allow all 0.0.0.0/0", "101 allow all ::/0", LAST[0], LAST[1]];
        assert_eq!(shown(acl, direction), expected);
    }
    world.execute(DeleteSubnet(subnet.into())).unwrap();
    world.execute(DeleteVpc(vpc.into())).unwrap();
    assert_eq!(world.network.network_acls().count(), 0);
}

#[test]
fn a_default_acl_lets_ipv6_through_when_its_vpc_gets_it_unless_it_was_edited() {
    for edited in [false, true] {
        let mut world = World::new();
        let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
        let acl = world.network.default_acl(vpc).unwrap();
        if edited {
            let edit = EditEntry {
                acl: acl.into(),
                direction: Direction::Egress,
                number: 50,
                edit: EntryEdit::Create(entry(AclAction::Deny, "10.9.0.0/16")),
            };
            world.execute(edit).unwrap();
        }
        let change = ModifyVpc {
            ipv6_cidr_blocks: Some(vec!["2001:db8::/56".parse().unwrap()]),
            ..ModifyVpc::new(vpc)
        };
        world.execute(change).unwrap();
        let acl = world.network.network_acl(&acl.into()).unwrap();
        assert_eq!(acl.record.ingress.contains_key(&101), !edited);
        assert_eq!(acl.record.egress.contains_key(&101), !edited);
    }
}

#[test]
fn a_new_acl_denies_everything_and_its_entries_are_edited_by_number() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let acl = world.execute(create(vpc, "edge")).unwrap().record.id;
    assert_eq!(
        shown(
            world.network.network_acl_record(&acl.into()).unwrap(),
            Direction::Ingress
        ),
        LAST
    );
    let edit = |number, edit| EditEntry {
        acl: acl.into(),
        direction: Direction::Ingress,
        number,
        edit,
    };
    let (allow, deny) = (
        entry(AclAction::Allow, "10.0.1.9/24"),
        entry(AclAction::Deny, "10.0.0.0/16"),
    );
    world.execute(edit(200, EntryEdit::Create(deny))).unwrap();
    let after = world.execute(edit(100, EntryEdit::Put(allow))).unwrap();
    assert_eq!(
        shown(&after.record, Direction::Ingress),
        [
            "100 allow all 10.0.1.0/24",
            "200 deny all 10.0.0.0/16",
            LAST[0],
            LAST[1]
        ]
    );
    assert_eq!(shown(&after.record, Direction::Egress), LAST);
    for (number, wanted, expected) in [
        (100, EntryEdit::Create(deny), "NetworkAclEntryAlreadyExists"),
        (101, EntryEdit::Replace(deny), "InvalidNetworkAclEntry.NotFound"),
        (101, EntryEdit::Delete, "InvalidNetworkAclEntry.NotFound"),
        (0, EntryEdit::Create(deny), "InvalidParameterValue"),
        (32767, EntryEdit::Create(deny), "InvalidParameterValue"),
        (32768, EntryEdit::Delete, "InvalidParameterValue"),
    ] {
        assert_eq!(
            code(world.execute(edit(number, wanted))),
            expected,
            "{number} {wanted:?}"
        );
    }
    world.execute(edit(100, EntryEdit::Delete)).unwrap();
}

#[test]
fn a_subnet_has_one_acl_by_an_association_that_is_new_each_time() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let other = world.vpc(&["10.1.0.0/16"], &[]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
    let default = world.network.default_acl(vpc).unwrap();
    let first = world.network.acl_association(subnet).unwrap();
    let acl = world.execute(create(vpc, "edge")).unwrap().record.id;
    let foreign = world.execute(create(other, "foreign")).unwrap().record.id;
    let associate = |acl: NetworkAclId, subnet| AssociateNetworkAcl {
        acl: acl.into(),
        subnet,
    };
    let by_subnet = || AssociationRef::Subnet(subnet.into());
    let second = world
        .execute(associate(acl, AssociationRef::Association(first.id)))
        .unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(world.network.acl_of(subnet).unwrap().id, acl);
    let gone = associate(default, AssociationRef::Association(first.id));
    assert_eq!(code(world.execute(gone)), "InvalidAssociationID.NotFound");
    // What it has already, it keeps.
    assert_eq!(world.execute(associate(acl, by_subnet())).unwrap(), second);
    assert_eq!(
        code(world.execute(associate(foreign, by_subnet()))),
        "InvalidParameterValue"
    );
    for (acl, expected) in [(acl, "DependencyViolation"), (default, "InvalidParameterValue")] {
        assert_eq!(code(world.execute(DeleteNetworkAcl(acl.into()))), expected);
    }
    let third = world.execute(associate(default, by_subnet())).unwrap();
    assert!(third.id != first.id && third.id != second.id);
    world.execute(DeleteNetworkAcl(acl.into())).unwrap();
}

#[test]
fn the_last_entry_counts_towards_the_limit_of_each_family() {
    let limits = Limits {
        entries_per_network_acl: Some(2),
        network_acls_per_vpc: Some(2),
        ..Limits::UNBOUNDED
    };
    let mut world = World::with_limits(limits);
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let acl = world.execute(create(vpc, "edge")).unwrap().record.id;
    assert_eq!(code(world.execute(create(vpc, "second"))), "NetworkAclLimitExceeded");
    let add = |number, cidr| EditEntry {
        acl: acl.into(),
        direction: Direction::Ingress,
        number,
        edit: EntryEdit::Create(entry(AclAction::Allow, cidr)),
    };
    world.execute(add(1, "10.0.0.0/16")).unwrap();
    assert_eq!(
        code(world.execute(add(2, "10.1.0.0/16"))),
        "NetworkAclEntryLimitExceeded"
    );
    world.execute(add(2, "2001:db8::/64")).unwrap();
}
