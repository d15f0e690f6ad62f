//! Tests the assignment of addresses and prefixes, each rule as a sentence.

use std::net::IpAddr;

use proptest::prelude::*;

use super::tests::{World, assign, block, moves, take, unassign};
use super::*;
use crate::model::MappingError;
use crate::model::interface::AddressRequest;
use crate::model::mapping::{AssignAddresses, MappingEdit, MappingFilter};

#[test]
fn an_assigned_address_moves_only_when_that_is_allowed() {
    let (mut world, subnet, a, b) = World::pair();
    world.edit(&[assign(a, "10.0.1.20")]).unwrap();
    let failed = world.edit(&[assign(b, "10.0.1.20")]).unwrap_err();
    assert_eq!(
        failed.error.to_string(),
        "[10.0.1.20] assigned, but move is not allowed."
    );
    assert_eq!(failed.error.code(), "InvalidParameterValue");
    let changes = world.edit(&[take(b, "10.0.1.20")]).unwrap();
    let address = block("10.0.1.20");
    assert_eq!(moves(&changes), [(subnet, address, Some(a), Some(b))]);
    assert_eq!(world.addresses(a), ["10.0.1.10"]);
    assert_eq!(world.addresses(b), ["10.0.1.11", "10.0.1.20"]);
    // Repeating it changes nothing.
    assert_eq!(world.edit(&[take(b, "10.0.1.20")]).unwrap(), []);
}

#[test]
fn a_list_of_edits_is_carried_out_whole_or_not_at_all() {
    let (mut world, subnet, a, b) = World::pair();
    world
        .edit(&[
            assign(a, "10.0.1.20"),
            assign(a, "2001:db8:0:1::20"),
            assign(a, "10.0.1.32/28"),
        ])
        .unwrap();
    let before = (world.addresses(a), world.addresses(b));
    let failed = world
        .edit(&[
            unassign(a, "10.0.1.20"),
            assign(b, "10.0.1.21"),
            take(b, "2001:db8:0:1::20"),
            unassign(a, "10.0.1.32/28"),
            assign(b, "10.0.1.33"),
            assign(b, "10.0.1.2"),
        ])
        .unwrap_err();
    assert_eq!(failed.index, 5);
    assert_eq!((world.addresses(a), world.addresses(b)), before);
    assert_eq!(world.owner(subnet, "10.0.1.33"), Some(a));
}

#[test]
fn edits_of_one_list_may_build_on_each_other_and_an_address_is_never_without_owner_between_them() {
    let (mut world, subnet, a, b) = World::pair();
    world.edit(&[assign(a, "10.0.1.20")]).unwrap();
    let changes = world
        .edit(&[
            unassign(a, "10.0.1.20"),
            assign(b, "10.0.1.20"),
            assign(a, "10.0.1.21"),
            unassign(a, "10.0.1.21"),
        ])
        .unwrap();
    // The address moves in one step, and the one that was assigned and unassigned does not occur.
    let address = block("10.0.1.20");
    assert_eq!(moves(&changes), [(subnet, address, Some(a), Some(b))]);
}

#[test]
fn an_address_that_comes_back_within_one_list_keeps_its_place() {
    let (mut world, _, a, b) = World::pair();
    world.edit(&[assign(a, "10.0.1.20"), assign(a, "10.0.1.21")]).unwrap();
    let changes = world
        .edit(&[take(b, "10.0.1.20"), unassign(b, "10.0.1.20"), assign(a, "10.0.1.20")])
        .unwrap();
    assert_eq!(changes, []);
    assert_eq!(world.addresses(a), ["10.0.1.10", "10.0.1.20", "10.0.1.21"]);
}

#[test]
fn mappings_never_overlap() {
    let (mut world, subnet, a, b) = World::pair();
    world
        .edit(&[assign(a, "10.0.1.32/28"), assign(b, "10.0.1.70")])
        .unwrap();
    for (edit, existing, owner) in [
        (take(b, "10.0.1.40"), "10.0.1.32/28", a),
        (assign(a, "10.0.1.40"), "10.0.1.32/28", a),
        (take(a, "10.0.1.64/28"), "10.0.1.70", b),
    ] {
        match world.edit(&[edit]).unwrap_err().error {
            ModelError::Mapping(MappingError::Overlap {
                existing: found,
                owner: who,
                ..
            }) => {
                assert_eq!((found, who), (block(existing), owner));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(world.owner(subnet, "10.0.1.47"), Some(a));
    assert_eq!(world.owner(subnet, "10.0.1.48"), None);
    assert_eq!(world.owner(subnet, "10.0.1.32/28"), Some(a));
}

#[test]
fn what_is_not_assigned_cannot_be_unassigned() {
    let (mut world, subnet, a, b) = World::pair();
    world.edit(&[assign(b, "10.0.1.20")]).unwrap();
    let error = world.edit(&[unassign(a, "10.0.1.20")]).unwrap_err().error;
    assert_eq!(
        error.to_string(),
        format!("Some of the specified addresses are not assigned to interface {a}")
    );
    let remove = MappingEdit::Remove {
        subnet: subnet.into(),
        address: block("10.0.1.99"),
    };
    assert!(matches!(
        world.edit(&[remove]).unwrap_err().error,
        ModelError::Mapping(MappingError::NoMapping { .. })
    ));
}

#[test]
fn a_new_interface_gets_all_its_addresses_or_does_not_come_to_be() {
    let (mut world, subnet, _, b) = World::pair();
    let error = world.interface(subnet, &["10.0.1.50", "10.0.1.11"]).unwrap_err();
    assert_eq!(
        error,
        ModelError::Mapping(MappingError::AddressInUse {
            address: block("10.0.1.11"),
            owner: b
        })
    );
    assert_eq!(error.code(), "InvalidIPAddress.InUse");
    assert_eq!(world.owner(subnet, "10.0.1.50"), None);
    assert_eq!(world.network.interfaces(None).count(), 2);
    world.interface(subnet, &["10.0.1.50"]).unwrap();
}

#[test]
fn a_subnet_gives_out_every_address_but_the_reserved_ones_and_then_says_that_it_is_full() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.0.0/28"), None).unwrap();
    let mut given: Vec<_> = (0..11).map(|_| world.interface(subnet, &[]).unwrap()).collect();
    given.dedup();
    assert_eq!(given.len(), 11);
    let error = world.interface(subnet, &[]).unwrap_err();
    assert_eq!(error, ModelError::Mapping(MappingError::SubnetFull { subnet }));
    assert_eq!(error.code(), "InsufficientFreeAddressesInSubnet");
}

#[test]
fn free_prefixes_are_given_out_until_none_is_left() {
    let (mut world, _, a, _) = World::pair();
    let choose = |request| AssignAddresses {
        interface: a.into(),
        addresses: vec![request],
        move_allowed: false,
    };
    let mut given = 0;
    let error = loop {
        match world.execute(choose(AddressRequest::AnyIpv4Prefix)) {
            Ok(_) => given += 1,
            Err(error) => break error,
        }
    };
    // The VPC CNI waits after this code, and asks for single addresses after the other.
    assert_eq!(error.code(), "InsufficientCidrBlocks");
    // Of 16 blocks the first contains the interfaces and reserved addresses, and the last the broadcast address.
    assert_eq!(given, 14);
    let got = world.execute(choose(AddressRequest::AnyIpv6Prefix)).unwrap().addresses;
    assert_eq!(got[0].net().prefix_len(), 80);
}

#[test]
fn pages_of_mappings_put_together_are_the_whole_list() {
    let (mut world, subnet, a, b) = World::pair();
    let edits: Vec<_> = (20..60)
        .map(|last| assign(if last % 2 == 0 { a } else { b }, &format!("10.0.1.{last}")))
        .collect();
    world.edit(&edits).unwrap();
    world
        .edit(&[
            assign(a, "10.0.1.64/28"),
            assign(a, "2001:db8:0:1::5"),
            assign(b, "2001:db8:0:1:7::/80"),
        ])
        .unwrap();
    let filters = [
        (MappingFilter::default(), 45),
        (
            MappingFilter {
                subnet: Some(subnet.into()),
                ..Default::default()
            },
            45,
        ),
        (
            MappingFilter {
                interface: Some(a.into()),
                ..Default::default()
            },
            23,
        ),
        (
            MappingFilter {
                prefix: Some("10.0.1.32/27".parse().unwrap()),
                ..Default::default()
            },
            28,
        ),
        (
            MappingFilter {
                prefix: Some("2001:db8::/32".parse().unwrap()),
                ..Default::default()
            },
            2,
        ),
        (
            MappingFilter {
                address: Some("10.0.1.70".parse().unwrap()),
                ..Default::default()
            },
            1,
        ),
        (
            MappingFilter {
                address: Some("10.0.1.99".parse().unwrap()),
                ..Default::default()
            },
            0,
        ),
        (
            MappingFilter {
                interface: Some(b.into()),
                prefix: Some("10.0.1.0/24".parse().unwrap()),
                ..Default::default()
            },
            21,
        ),
    ];
    for (filter, expected) in filters {
        let whole = world.network.mappings(&filter, None, 1000).unwrap().mappings;
        assert_eq!(whole.len(), expected, "{filter:?}");
        let mut pieces = Vec::new();
        let mut cursor = None;
        loop {
            let page = world.network.mappings(&filter, cursor, 7).unwrap();
            pieces.extend(page.mappings);
            // A cursor survives being written down.
            let Some(next) = page.next else { break };
            cursor = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(pieces, whole, "{filter:?}");
    }
}

proptest! {
    /// Random lists of edits against a map from address to owner.
    #[test]
    fn the_table_agrees_with_a_plain_map(
        lists in prop::collection::vec(prop::collection::vec((0_u8..3, 0_usize..2, 4_u8..24, prop::bool::ANY), 1..6), 1..40)
    ) {
        let (mut world, subnet, a, b) = World::pair();
        let interfaces = [a, b];
        let mut plain: HashMap<u8, InterfaceId> = HashMap::from([(10, a), (11, b)]);
        for list in lists {
            let mut next = plain.clone();
            let mut allowed = true;
            let mut edits = Vec::new();
            for (kind, who, last, is_move) in list {
                let (id, text) = (interfaces[who], format!("10.0.1.{last}"));
                let primary = last == 10 || last == 11;
                let owner = next.get(&last).copied();
                let (edit, fine) = match kind {
                    0 => {
                        let edit = if is_move { take(id, &text) } else { assign(id, &text) };
                        (edit, owner.is_none_or(|o| o == id || (is_move && !primary)))
                    }
                    1 => (unassign(id, &text), owner == Some(id) && !primary),
                    _ => {
                        let address = block(&text);
                        (MappingEdit::Remove { subnet: subnet.into(), address }, owner.is_some() && !primary)
                    }
                };
                edits.push(edit);
                allowed &= fine;
                if !fine { break; }
                if kind == 0 { next.insert(last, id); } else { next.remove(&last); }
            }
            let outcome = world.edit(&edits);
            prop_assert_eq!(outcome.is_ok(), allowed, "{:?}", outcome);
            if allowed { plain = next; }
            for last in 4..24_u8 {
                let address = IpAddr::from([10, 0, 1, last]);
                let found = world.network.mapping(&subnet.into(), address.into()).ok().map(|m| m.interface_id);
                prop_assert_eq!(found, plain.get(&last).copied());
            }
            prop_assert_eq!(world.network.mapping_count(), plain.len());
        }
    }
}

/// A list of a start is brought into the tables at once: they are those that single edits made.
#[test]
fn a_long_list_of_new_mappings_makes_the_network_that_single_ones_made() {
    let (mut world, _, a, b) = World::pair();
    for part in 0..8 {
        let (one, other) = if part % 2 == 0 { (a, b) } else { (b, a) };
        let ipv6 = (0..200).map(|last| assign(one, &format!("2001:db8:0:1::{part:x}:1{last:x}")));
        world.edit(&ipv6.collect::<Vec<_>>()).unwrap();
        let ipv4 = (0..10).map(|last| assign(other, &format!("10.0.1.{}", 100 + part * 10 + last)));
        world.edit(&ipv4.collect::<Vec<_>>()).unwrap();
    }
    world
        .edit(&[assign(a, "10.0.1.32/28"), assign(b, "2001:db8:0:1:5::/80")])
        .unwrap();
    let creating = world.network.creating();
    let longest = creating.iter().map(|change| match change {
        crate::model::change::Change::Mappings(list) => list.len(),
        _ => 0,
    });
    assert!(longest.max() > Some(1600), "the list is not long");
    let mut copy = Network::new(Limits::UNBOUNDED);
    creating.iter().for_each(|change| copy.apply(change));
    copy.skip_sequences(world.network.next_sequence());
    assert!(copy == world.network, "they differ");
}
