//! Laws of public addresses, each as a sentence.

use std::time::SystemTime;

use super::*;
use crate::model::error::ModelError;
use crate::model::interface::{AttachInterface, CreateInterface, DeleteInterface, DetachInterface};
use crate::model::internet_gateway::{CreateInternetGateway, DetachInternetGateway};
use crate::model::mapping::{EditMappings, MappingEdit};
use crate::model::network::tests::World;
use crate::model::outside;
use crate::model::subnet::ModifySubnet;
use crate::model::{InterfaceId, SubnetId};

fn online() -> (World, SubnetId, InterfaceId, InterfaceId) {
    let (mut world, subnet, a, b) = World::pair();
    let vpc = world.network.subnet(&subnet.into()).unwrap().vpc_id;
    world
        .execute(CreateInternetGateway {
            vpc: Some(vpc.into()),
            ..CreateInternetGateway::default()
        })
        .unwrap();
    (world, subnet, a, b)
}

fn allocate(world: &mut World, text: &str) -> ElasticIp {
    let command = AllocateAddress {
        public_ip: Some(text.parse().unwrap()),
        ..AllocateAddress::default()
    };
    world.execute(command).unwrap()
}

fn associate(address: &ElasticIp, to: InterfaceId, private: Option<&str>) -> AssociateAddress {
    AssociateAddress {
        address: address.id.into(),
        with: AssociateWith::Interface(to.into()),
        private_ip: private.map(|text| text.parse().unwrap()),
        reassociation_allowed: true,
    }
}

fn attach(world: &mut World, interface: InterfaceId) {
    let command = AttachInterface {
        interface: interface.into(),
        place: None,
        at: SystemTime::UNIX_EPOCH,
    };
    world.execute(command).unwrap();
}

fn publics(world: &World, interface: InterfaceId) -> Vec<String> {
    let addresses = world.network.elastic_ips_of(interface);
    addresses.map(|address| address.public_ip.to_string()).collect()
}

#[test]
fn an_address_moves_from_one_interface_to_another_in_one_step() {
    let (mut world, _, a, b) = online();
    let address = allocate(&mut world, "203.0.113.10");
    let first = world.execute(associate(&address, a, None)).unwrap();
    assert_eq!(first.association.unwrap().private_ip.to_string(), "10.0.1.10");
    // Repeated, nothing changes.
    assert_eq!(world.execute(associate(&address, a, None)).unwrap(), first);
    let second = world.execute(associate(&address, b, None)).unwrap();
    assert_ne!(first.association.unwrap().id, second.association.unwrap().id);
    assert_eq!(publics(&world, a), [""; 0]);
    assert_eq!(publics(&world, b), ["203.0.113.10"]);
    let error = world
        .execute(AssociateAddress {
            reassociation_allowed: false,
            ..associate(&address, a, None)
        })
        .unwrap_err();
    assert_eq!(error.code(), "Resource.AlreadyAssociated");
    let association = second.association.unwrap().id;
    assert_eq!(
        error.to_string(),
        format!(
            "resource {} is already associated with associate-id {association}",
            address.id
        )
    );
}

#[test]
fn an_address_that_its_place_is_taken_from_stays_allocated() {
    let (mut world, _, a, _) = online();
    let (old, new) = (
        allocate(&mut world, "203.0.113.10"),
        allocate(&mut world, "203.0.113.11"),
    );
    world.execute(associate(&old, a, None)).unwrap();
    world.execute(associate(&new, a, None)).unwrap();
    assert_eq!(publics(&world, a), ["203.0.113.11"]);
    assert_eq!(world.network.elastic_ip(&old.id.into()).unwrap().association, None);
}

#[test]
fn a_private_address_that_moves_keeps_its_public_one_and_one_that_goes_loses_it() {
    let (mut world, _, a, b) = online();
    let address = allocate(&mut world, "203.0.113.10");
    let assign = |interface: InterfaceId| MappingEdit::Assign {
        interface: interface.into(),
        address: "10.0.1.50".parse().unwrap(),
        move_allowed: true,
    };
    world.execute(EditMappings(vec![assign(a)])).unwrap();
    let before = world.execute(associate(&address, a, Some("10.0.1.50"))).unwrap();
    world.execute(EditMappings(vec![assign(b)])).unwrap();
    let after = world
        .network
        .elastic_ip(&address.id.into())
        .unwrap()
        .association
        .unwrap();
    assert_eq!((after.id, after.interface_id), (before.association.unwrap().id, b));
    assert_eq!(publics(&world, b), ["203.0.113.10"]);
    let unassign = MappingEdit::Unassign {
        interface: b.into(),
        address: "10.0.1.50".parse().unwrap(),
    };
    world.execute(EditMappings(vec![unassign])).unwrap();
    assert_eq!(world.network.elastic_ip(&address.id.into()).unwrap().association, None);
    world.execute(associate(&address, a, None)).unwrap();
    world.execute(DeleteInterface(a.into())).unwrap();
    assert_eq!(world.network.elastic_ip(&address.id.into()).unwrap().association, None);
}

#[test]
fn what_cannot_be_associated_is_refused_with_the_code_of_ec2() {
    let (mut world, _, a, _) = World::pair();
    let address = allocate(&mut world, "203.0.113.10");
    let error = world.execute(associate(&address, a, None)).unwrap_err();
    assert_eq!(error.code(), "Gateway.NotAttached");
    let (mut world, _, a, _) = online();
    let address = allocate(&mut world, "203.0.113.10");
    let error = world.execute(associate(&address, a, Some("10.0.1.99"))).unwrap_err();
    assert_eq!(
        (error.code(), error.field()),
        ("InvalidParameterValue", Some("private_ip"))
    );
    let client = world.execute(CreateInterface::new(outside::SUBNET)).unwrap();
    let error = world.execute(associate(&address, client.id, None)).unwrap_err();
    assert_eq!(
        (error.code(), error.field()),
        ("InvalidParameterValue", Some("interface"))
    );
    let taken = AllocateAddress {
        public_ip: Some(address.public_ip),
        ..AllocateAddress::default()
    };
    assert_eq!(world.execute(taken).unwrap_err().code(), "InvalidIPAddress.InUse");
    for wrong in ["10.0.0.1", "198.51.100.7", "203.0.113.0", "203.0.113.255", "8.8.8.8"] {
        let wanted = AllocateAddress {
            public_ip: Some(wrong.parse().unwrap()),
            ..AllocateAddress::default()
        };
        let error = world.execute(wanted).unwrap_err();
        assert_eq!(error.code(), "InvalidParameterValue", "{wrong}: {error}");
    }
}

#[test]
fn an_associated_address_is_not_released_and_disassociation_is_repeated_without_an_error() {
    let (mut world, _, a, _) = online();
    let address = allocate(&mut world, "203.0.113.10");
    let associated = world.execute(associate(&address, a, None)).unwrap();
    let error = world.execute(ReleaseAddress(address.id.into())).unwrap_err();
    assert_eq!(error.code(), "InvalidIPAddress.InUse");
    let association = AssociationRef::Id(associated.association.unwrap().id);
    world.execute(DisassociateAddress(association.clone())).unwrap();
    let by_address = AssociationRef::Address(crate::model::ResourceRef::new("203.0.113.10"));
    world.execute(DisassociateAddress(by_address)).unwrap();
    let error = world.execute(DisassociateAddress(association)).unwrap_err();
    assert_eq!(error.code(), "InvalidAssociationID.NotFound");
    world.execute(ReleaseAddress(address.id.into())).unwrap();
    assert!(matches!(
        world.network.elastic_ip(&address.id.into()),
        Err(ModelError::NotFound {
            code: "InvalidAllocationID.NotFound",
            ..
        })
    ));
}

#[test]
fn a_gateway_stays_while_a_running_instance_has_a_public_address() {
    let (mut world, _, a, _) = online();
    let address = allocate(&mut world, "203.0.113.10");
    world.execute(associate(&address, a, None)).unwrap();
    let gateway = world.network.internet_gateways().next().unwrap().id;
    let detach = || DetachInternetGateway {
        gateway: gateway.into(),
        vpc: None,
    };
    attach(&mut world, a);
    let error = world.execute(detach()).unwrap_err();
    assert_eq!(error.code(), "DependencyViolation");
    assert!(
        error.to_string().contains("has some mapped public address(es)"),
        "{error}"
    );
    world.execute(DetachInterface(a.into())).unwrap();
    world.execute(detach()).unwrap();
}

#[test]
fn an_instance_launched_in_a_public_subnet_has_a_public_address_until_it_ends_or_gets_an_elastic_one() {
    let (mut world, subnet, a, b) = online();
    world
        .execute(ModifySubnet {
            map_public_ip_on_launch: Some(true),
            ..ModifySubnet::new(subnet)
        })
        .unwrap();
    attach(&mut world, a);
    let given = publics(&world, a);
    assert_eq!(given.len(), 1);
    assert!(world.network.elastic_ips().all(|address| address.automatic));
    // It is none of the account's.
    let by_address = crate::model::ResourceRef::new(&given[0]);
    assert!(world.network.elastic_ip(&by_address).is_err());
    let address = allocate(&mut world, "203.0.113.10");
    world.execute(associate(&address, a, None)).unwrap();
    assert_eq!(publics(&world, a), ["203.0.113.10"]);
    assert_eq!(world.network.elastic_ips().count(), 1);
    // Given back to another, a new one comes.
    world.execute(associate(&address, b, None)).unwrap();
    assert_eq!(publics(&world, a).len(), 1);
    world.execute(DetachInterface(a.into())).unwrap();
    assert_eq!(publics(&world, a), [""; 0]);
}
