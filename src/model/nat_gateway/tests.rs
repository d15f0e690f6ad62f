//! Laws of NAT gateways, each as a sentence.

use std::time::SystemTime;

use super::*;
use crate::model::elastic_ip::{AllocateAddress, AssociationRef, DisassociateAddress, ReleaseAddress};
use crate::model::error::ModelError;
use crate::model::interface::DeleteInterface;
use crate::model::internet_gateway::{CreateInternetGateway, DetachInternetGateway};
use crate::model::limits::Limits;
use crate::model::network::tests::World;
use crate::model::route_table::{CreateRouteTable, EditRoute, RouteEdit, RouteState, TargetRef};
use crate::model::subnet::DeleteSubnet;

struct Place {
    world: World,
    vpc: VpcId,
    subnet: SubnetId,
    allocation: AllocationId,
}

fn place() -> Place {
    place_in(World::new())
}

fn place_in(mut world: World) -> Place {
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.1.0/28"), None).unwrap();
    world
        .execute(CreateInternetGateway {
            vpc: Some(vpc.into()),
            ..CreateInternetGateway::default()
        })
        .unwrap();
    let allocation = world.execute(AllocateAddress::default()).unwrap().id;
    Place {
        world,
        vpc,
        subnet,
        allocation,
    }
}

impl Place {
    fn command(&self) -> CreateNatGateway {
        CreateNatGateway {
            allocations: vec![self.allocation.into()],
            ..CreateNatGateway::new(self.subnet, SystemTime::UNIX_EPOCH)
        }
    }

    fn make(&mut self) -> NatGateway {
        let command = self.command();
        self.world.execute(command).unwrap()
    }
}

#[test]
fn a_gateway_has_an_interface_of_its_own_with_its_addresses() {
    let mut place = place();
    let gateway = place.make();
    let interface = place
        .world
        .network
        .interface(&gateway.interface_id.unwrap().into())
        .unwrap();
    assert_eq!(interface.managed_by, Some(gateway.id));
    assert_eq!(
        interface.description,
        format!("Interface for NAT Gateway {}", gateway.id)
    );
    assert!(interface.groups.is_empty());
    assert_eq!(interface.ipv4_addresses, [gateway.addresses[0].private_ip]);
    assert_eq!(interface.public_addresses[0].id, place.allocation);
    // Nothing else can be done with either (firewall facts A7).
    let error = place.world.execute(DeleteInterface(interface.id.into())).unwrap_err();
    assert_eq!(error.code(), "OperationNotPermitted");
    let taken = DisassociateAddress(AssociationRef::Address(place.allocation.into()));
    assert_eq!(place.world.execute(taken).unwrap_err().code(), "AuthFailure");
    let error = place
        .world
        .execute(ReleaseAddress(place.allocation.into()))
        .unwrap_err();
    assert_eq!(error.code(), "InvalidIPAddress.InUse");
    let error = place.world.execute(DeleteSubnet(place.subnet.into())).unwrap_err();
    assert_eq!(error.code(), "DependencyViolation");
    let gateway = place.world.network.gateway_of(place.vpc).unwrap();
    let detach = DetachInternetGateway {
        gateway: gateway.into(),
        vpc: None,
    };
    assert_eq!(place.world.execute(detach).unwrap_err().code(), "DependencyViolation");
}

#[test]
fn a_deleted_gateway_gives_its_addresses_back_and_leaves_black_holes() {
    let mut place = place();
    let gateway = place.make();
    let table = CreateRouteTable {
        name: None,
        vpc: place.vpc.into(),
        tags: Tags::new(),
    };
    let table = place.world.execute(table).unwrap().id;
    let route = EditRoute {
        table: table.into(),
        edit: RouteEdit::Create("0.0.0.0/0".parse().unwrap(), TargetRef::NatGateway(gateway.id.into())),
    };
    let made = place.world.execute(route).unwrap();
    assert_eq!(made.routes.last().map(|route| route.state), Some(RouteState::Active));
    let delete = |to| DeleteNatGateway {
        gateway: gateway.id.into(),
        to,
        at: SystemTime::UNIX_EPOCH,
    };
    let deleting = place.world.execute(delete(Deletion::Begun)).unwrap();
    assert_eq!(deleting.state, NatState::Deleting);
    let deleted = place.world.execute(delete(Deletion::Done)).unwrap();
    assert_eq!((deleted.state, deleted.interface_id), (NatState::Deleted, None));
    let now = place.world.network.route_table(&table.into()).unwrap();
    assert_eq!(now.routes.last().map(|route| route.state), Some(RouteState::Blackhole));
    place.world.execute(ReleaseAddress(place.allocation.into())).unwrap();
    place.world.execute(DeleteSubnet(place.subnet.into())).unwrap();
    place.world.execute(delete(Deletion::Forgotten)).unwrap();
    assert_eq!(place.world.network.nat_gateways().count(), 0);
}

#[test]
fn what_cannot_be_made_is_refused_or_fails_with_the_codes_of_ec2() {
    let mut place = place();
    let unknown = AllocationId::MIN;
    let second = place.world.execute(AllocateAddress::default()).unwrap().id;
    place.make();
    let other = place.world.vpc(&["10.1.0.0/16"], &[]).unwrap();
    let elsewhere = place.world.subnet(other, Some("10.1.1.0/28"), None).unwrap();
    let cases = [
        ("in use", place.command(), "Resource.AlreadyAssociated"),
        (
            "not allocated",
            CreateNatGateway {
                allocations: vec![unknown.into()],
                ..place.command()
            },
            "InvalidAllocationID.NotFound",
        ),
        (
            "no internet gateway",
            CreateNatGateway {
                subnet: elsewhere.into(),
                allocations: vec![second.into()],
                ..place.command()
            },
            "Gateway.NotAttached",
        ),
        (
            "no room",
            CreateNatGateway {
                connectivity: Connectivity::Private,
                allocations: Vec::new(),
                further: 7,
                ..place.command()
            },
            "",
        ),
    ];
    for (what, command, code) in cases {
        let failed = place.world.execute(CreateNatGateway {
            may_fail: true,
            ..command.clone()
        });
        if code.is_empty() {
            // A /28 has eleven addresses, of which the first gateway has one.
            assert_eq!(failed.unwrap().state, NatState::Available, "{what}");
            continue;
        }
        let failed = failed.unwrap();
        assert_eq!(failed.state, NatState::Failed, "{what}");
        assert_eq!(failed.failure.unwrap().code, code, "{what}");
        assert_eq!(place.world.execute(command).unwrap_err().code(), code, "{what}");
    }
    let command = CreateNatGateway {
        connectivity: Connectivity::Private,
        allocations: Vec::new(),
        further: 7,
        ..place.command()
    };
    let full = place.world.execute(command).unwrap_err();
    assert_eq!(full.code(), "InsufficientFreeAddressesInSubnet");
    let error = place.world.execute(CreateNatGateway {
        allocations: Vec::new(),
        ..place.command()
    });
    assert_eq!(error.unwrap_err().code(), "MissingParameter");
}

#[test]
fn addresses_come_drain_and_go_and_the_primary_one_stays() {
    let mut place = place();
    let gateway = place.make();
    let second = place.world.execute(AllocateAddress::default()).unwrap().id;
    let add = AddNatAddresses {
        gateway: gateway.id.into(),
        allocations: vec![second.into()],
        private_ips: Vec::new(),
        further: 0,
    };
    let now = place.world.execute(add).unwrap();
    assert_eq!(now.addresses.len(), 2);
    let [primary, secondary] = [now.addresses[0].private_ip, now.addresses[1].private_ip];
    let drain = |address| DrainNatAddresses {
        gateway: gateway.id.into(),
        private_ips: vec![address],
    };
    let error = place.world.execute(drain(primary)).unwrap_err();
    assert!(
        matches!(error, ModelError::NatGateway(NatGatewayError::PrimaryAddress { .. })),
        "{error}"
    );
    assert!(place.world.execute(drain(secondary)).unwrap().addresses[1].drains);
    let remove = RemoveNatAddresses {
        gateway: gateway.id.into(),
        private_ips: vec![secondary],
    };
    assert_eq!(place.world.execute(remove).unwrap().addresses.len(), 1);
    place.world.execute(ReleaseAddress(second.into())).unwrap();
}

#[test]
fn a_zone_has_no_more_gateways_than_its_limit() {
    let limits = Limits {
        nat_gateways_per_zone: Some(1),
        ..Limits::UNBOUNDED
    };
    let mut place = place_in(World::with_limits(limits));
    place.make();
    let command = place.command();
    let error = place.world.execute(command).unwrap_err();
    assert_eq!(error.code(), "NatGatewayLimitExceeded");
    assert_eq!(
        error.to_string(),
        "Performing this operation would exceed the limit of 1 NAT gateways"
    );
}
