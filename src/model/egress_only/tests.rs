//! Laws of egress-only internet gateways, each as a sentence.

use super::*;
use crate::model::network::tests::World;
use crate::model::route_table::{CreateRouteTable, EditRoute, RouteEdit, RouteState, TargetRef};
use crate::model::vpc::DeleteVpc;

#[test]
fn a_vpc_has_one_egress_only_gateway_and_routes_ipv6_to_it_alone() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    let create = CreateEgressOnlyGateway {
        name: None,
        vpc: vpc.into(),
        tags: Tags::new(),
    };
    let gateway = world.execute(create.clone()).unwrap();
    let error = world.execute(create).unwrap_err();
    assert_eq!(error.code(), "EgressOnlyInternetGatewayLimitExceeded");
    let table = CreateRouteTable {
        name: None,
        vpc: vpc.into(),
        tags: Tags::new(),
    };
    let table = world.execute(table).unwrap().id;
    let route = |to: &str| EditRoute {
        table: table.into(),
        edit: RouteEdit::Create(to.parse().unwrap(), TargetRef::EgressOnly(gateway.id.into())),
    };
    assert_eq!(
        world.execute(route("0.0.0.0/0")).unwrap_err().code(),
        "InvalidParameterValue"
    );
    let made = world.execute(route("::/0")).unwrap();
    assert_eq!(made.routes.last().map(|route| route.state), Some(RouteState::Active));
    let error = world.execute(DeleteVpc(vpc.into())).unwrap_err();
    assert!(error.to_string().contains(&gateway.id.to_string()), "{error}");
    world.execute(DeleteEgressOnlyGateway(gateway.id.into())).unwrap();
    let now = world.network.route_table(&table.into()).unwrap();
    assert_eq!(now.routes.last().map(|route| route.state), Some(RouteState::Blackhole));
}
