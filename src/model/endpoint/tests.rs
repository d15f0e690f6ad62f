//! Laws of gateway endpoints, each as a sentence.

use super::*;
use crate::model::error::ModelError;
use crate::model::network::tests::World;
use crate::model::prefix_list::{DeletePrefixList, ModifyPrefixList};
use crate::model::route_table::{CreateRouteTable, DeleteRouteTable};
use crate::model::vpc::DeleteVpc;

fn endpoint(world: &mut World, vpc: VpcId, service: &str, tables: &[RouteTableId]) -> Result<Endpoint, ModelError> {
    world.execute(CreateEndpoint {
        name: None,
        vpc: vpc.into(),
        service: service.to_owned(),
        route_tables: tables.iter().map(|table| (*table).into()).collect(),
        policy: None,
        at: SystemTime::UNIX_EPOCH,
        tags: Tags::new(),
    })
}

fn table(world: &mut World, vpc: VpcId) -> RouteTableId {
    let command = CreateRouteTable {
        name: None,
        vpc: vpc.into(),
        tags: Tags::new(),
    };
    world.execute(command).unwrap().id
}

#[test]
fn an_endpoint_is_a_route_in_the_tables_that_it_names_and_a_table_has_one_to_a_service() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let main = world.network.vpc(&vpc.into()).unwrap().main_route_table_id;
    let other = table(&mut world, vpc);
    let made = endpoint(&mut world, vpc, "com.amazonaws.us-east-1.s3", &[main]).unwrap();
    let routes = |world: &World, table: RouteTableId| world.network.endpoint_routes(table).collect::<Vec<_>>();
    let route = EndpointRoute {
        prefix_list: GatewayService::S3.prefix_list(),
        endpoint: made.id,
    };
    assert_eq!((routes(&world, main), routes(&world, other)), (vec![route], vec![]));

    let error = endpoint(&mut world, vpc, "s3", &[other, main]).unwrap_err();
    assert_eq!(
        (error.code(), error.field()),
        ("RouteAlreadyExists", Some("route_tables"))
    );
    let second = endpoint(&mut world, vpc, "dynamodb", &[main]).unwrap();
    assert_eq!(routes(&world, main).len(), 2);

    let moved = ModifyEndpoint {
        add: vec![other.into()],
        remove: vec![main.into()],
        ..ModifyEndpoint::new(made.id)
    };
    world.execute(moved.clone()).unwrap();
    assert_eq!((routes(&world, main).len(), routes(&world, other)), (1, vec![route]));
    let error = world.execute(moved).unwrap_err();
    assert_eq!(error.code(), "InvalidParameter");

    // A table that is deleted takes its route with it, an endpoint that is deleted all of its routes.
    world.execute(DeleteRouteTable(other.into())).unwrap();
    assert!(world.network.endpoint(&made.id.into()).unwrap().route_tables.is_empty());
    world.execute(DeleteEndpoint(second.id.into())).unwrap();
    assert_eq!(routes(&world, main), vec![]);
    assert_eq!(
        world.execute(DeleteVpc(vpc.into())).unwrap_err().code(),
        "DependencyViolation"
    );
    world.execute(DeleteEndpoint(made.id.into())).unwrap();
    world.execute(DeleteVpc(vpc.into())).unwrap();
}

#[test]
fn an_endpoint_is_refused_for_another_service_and_for_tables_of_another_vpc() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let other = world.vpc(&["10.1.0.0/16"], &[]).unwrap();
    let theirs = table(&mut world, other);
    let error = endpoint(&mut world, vpc, "com.amazonaws.us-east-1.sqs", &[]).unwrap_err();
    assert_eq!((error.code(), error.field()), ("InvalidServiceName", Some("service")));
    assert!(
        error.remedy().contains("com.amazonaws.us-east-1.dynamodb"),
        "{}",
        error.remedy()
    );
    let error = endpoint(&mut world, vpc, "s3", &[theirs]).unwrap_err();
    assert_eq!(
        (error.code(), error.field()),
        ("InvalidParameter", Some("route_tables"))
    );
}

#[test]
fn the_prefix_lists_of_the_services_are_there_and_cannot_be_changed() {
    let mut world = World::new();
    for service in GatewayService::ALL {
        let list = service.prefix_list();
        let blocks: Vec<_> = world.network.blocks_of(list).collect();
        assert_eq!(blocks, [service.block().into()]);
        let by_name = world
            .network
            .prefix_list(&ResourceRef::new(&service.full_name("us-east-1")));
        assert_eq!(by_name.unwrap().id, list);
        let deleted = world.execute(DeletePrefixList(list.into())).unwrap_err();
        let changed = world.execute(ModifyPrefixList::new(list)).unwrap_err();
        assert_eq!(
            (deleted.code(), changed.code()),
            ("OperationNotPermitted", "OperationNotPermitted")
        );
    }
    assert_eq!(world.network.prefix_lists().count(), 0);
}
