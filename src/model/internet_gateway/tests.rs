//! Laws of internet gateways, each as a sentence.

use ipnet::IpNet;

use super::*;
use crate::model::error::ModelError;
use crate::model::naming::Tags;
use crate::model::network::tests::World;
use crate::model::route_table::{
    AssociateGatewayTable, CreateRouteTable, DeleteRouteTable, DisassociateGatewayTable, EditRoute, RouteEdit,
    RouteState, TargetRef,
};
use crate::model::vpc::DeleteVpc;

fn gateway(world: &mut World, vpc: Option<VpcId>) -> Result<InternetGateway, ModelError> {
    world.execute(CreateInternetGateway {
        vpc: vpc.map(Into::into),
        ..CreateInternetGateway::default()
    })
}

#[test]
fn a_vpc_has_one_internet_gateway_at_the_most() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let first = gateway(&mut world, Some(vpc)).unwrap();
    let second = gateway(&mut world, None).unwrap();
    let attach = |gateway: &InternetGateway| AttachInternetGateway {
        gateway: gateway.id.into(),
        vpc: vpc.into(),
    };
    let error = world.execute(attach(&second)).unwrap_err();
    assert_eq!(error.code(), "InvalidParameterValue");
    assert_eq!(
        error.to_string(),
        format!("Network {vpc} already has an internet gateway attached")
    );
    let error = world.execute(attach(&first)).unwrap_err();
    assert_eq!(error.code(), "Resource.AlreadyAssociated");
    assert_eq!(
        error.to_string(),
        format!("resource {} is already attached to network {vpc}", first.id)
    );
}

#[test]
fn an_attached_gateway_is_not_deleted_and_neither_is_its_vpc() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let gateway = gateway(&mut world, Some(vpc)).unwrap();
    let error = world.execute(DeleteInternetGateway(gateway.id.into())).unwrap_err();
    assert_eq!(error.code(), "DependencyViolation");
    let error = world.execute(DeleteVpc(vpc.into())).unwrap_err();
    assert_eq!(error.code(), "DependencyViolation");
    assert!(error.to_string().contains(&gateway.id.to_string()), "{error}");
    let detach = DetachInternetGateway {
        gateway: gateway.id.into(),
        vpc: None,
    };
    world.execute(detach.clone()).unwrap();
    let error = world.execute(detach).unwrap_err();
    assert_eq!(error.code(), "Gateway.NotAttached");
    world.execute(DeleteInternetGateway(gateway.id.into())).unwrap();
    world.execute(DeleteVpc(vpc.into())).unwrap();
}

#[test]
fn a_route_leads_to_the_gateway_of_its_vpc_and_is_a_black_hole_once_that_is_detached() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let gateway = gateway(&mut world, None).unwrap();
    let main = world.network.vpc(&vpc.into()).unwrap().main_route_table_id;
    let route = |target: &str| EditRoute {
        table: main.into(),
        edit: RouteEdit::Put("0.0.0.0/0".parse().unwrap(), TargetRef::new(target)),
    };
    let error = world.execute(route(&gateway.id.to_string())).unwrap_err();
    let text = format!(
        "route table {main} and network gateway {} belong to different networks",
        gateway.id
    );
    assert_eq!((error.code(), error.to_string()), ("InvalidParameterValue", text));
    world
        .execute(ModifyInternetGateway {
            gateway: gateway.id.into(),
            name: Some(Some("door".to_owned())),
            tags: None,
        })
        .unwrap();
    world
        .execute(AttachInternetGateway {
            gateway: gateway.id.into(),
            vpc: vpc.into(),
        })
        .unwrap();
    // By name, where no interface has the name.
    let table = world.execute(route("door")).unwrap();
    let state = |table: &crate::model::RouteTable| table.routes.last().unwrap().state;
    assert_eq!(state(&table), RouteState::Active);
    world
        .execute(DetachInternetGateway {
            gateway: gateway.id.into(),
            vpc: Some(vpc.into()),
        })
        .unwrap();
    let table = world.network.route_table(&main.into()).unwrap();
    assert_eq!(state(&table), RouteState::Blackhole);
}

#[test]
fn a_gateway_s_route_table_leads_to_interfaces_for_blocks_of_the_vpc_alone() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let gateway = gateway(&mut world, Some(vpc)).unwrap();
    let table = world
        .execute(CreateRouteTable {
            name: None,
            vpc: vpc.into(),
            tags: Tags::new(),
        })
        .unwrap()
        .id;
    let route = |edit: fn(IpNet, TargetRef) -> RouteEdit, to: &str, target: TargetRef| EditRoute {
        table: table.into(),
        edit: edit(to.parse().unwrap(), target),
    };
    let associate = AssociateGatewayTable {
        table: table.into(),
        gateway: gateway.id.into(),
        replacing: true,
    };
    // Not with a route that such a table cannot have, whether it is there before or comes afterwards.
    let everywhere = || {
        route(
            RouteEdit::Create,
            "0.0.0.0/0",
            TargetRef::InternetGateway(gateway.id.into()),
        )
    };
    world.execute(everywhere()).unwrap();
    let error = world.execute(associate.clone()).unwrap_err();
    assert_eq!(
        (error.code(), error.field()),
        ("InvalidParameterValue", Some("internet_gateway"))
    );
    let delete = EditRoute {
        table: table.into(),
        edit: RouteEdit::Delete("0.0.0.0/0".parse().unwrap()),
    };
    world.execute(delete).unwrap();
    assert_eq!(world.execute(associate.clone()).unwrap().gateway_ids, [gateway.id]);
    assert_eq!(world.execute(everywhere()).unwrap_err().code(), "InvalidParameterValue");
    let black = route(RouteEdit::Put, "192.0.2.0/24", TargetRef::Blackhole);
    assert_eq!(world.execute(black).unwrap_err().code(), "InvalidParameterValue");

    // It holds the table, and is free of it once it is detached.
    let held = world.execute(DeleteRouteTable(table.into())).unwrap_err();
    assert_eq!(held.code(), "DependencyViolation");
    let end = DisassociateGatewayTable {
        table: table.into(),
        gateway: gateway.id.into(),
    };
    world.execute(end.clone()).unwrap();
    assert_eq!(world.execute(end).unwrap_err().code(), "InvalidAssociationID.NotFound");
    world.execute(associate).unwrap();
    let detach = DetachInternetGateway {
        gateway: gateway.id.into(),
        vpc: None,
    };
    assert_eq!(world.execute(detach).unwrap().route_table_id, None);
    world.execute(DeleteRouteTable(table.into())).unwrap();
}
