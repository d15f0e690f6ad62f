//! Laws of peering connections, each as a sentence.

use super::*;
use crate::model::network::tests::World;
use crate::model::route_table::{CreateRouteTable, EditRoute, RouteEdit, RouteState, TargetRef};
use crate::model::vpc::DeleteVpc;

fn create(requester: VpcId, accepter: VpcId) -> CreatePeering {
    CreatePeering {
        name: None,
        requester: requester.into(),
        accepter: accepter.into(),
        accepted: false,
        may_fail: true,
        at: SystemTime::UNIX_EPOCH,
        tags: Tags::new(),
    }
}

fn set(peering: PeeringId, to: PeeringState) -> SetPeeringState {
    SetPeeringState {
        peering: peering.into(),
        to,
    }
}

#[test]
fn a_peering_connection_waits_for_the_accepter_and_leaves_black_holes() {
    let mut world = World::new();
    let (v, w) = (
        world.vpc(&["10.0.0.0/16"], &[]).unwrap(),
        world.vpc(&["10.1.0.0/16"], &[]).unwrap(),
    );
    let peering = world.execute(create(v, w)).unwrap();
    assert_eq!(peering.state, PeeringState::PendingAcceptance);
    let again = world.execute(create(w, v)).unwrap_err();
    assert_eq!(again.code(), "VpcPeeringConnectionAlreadyExists");
    let table = CreateRouteTable {
        name: None,
        vpc: v.into(),
        tags: Tags::new(),
    };
    let table = world.execute(table).unwrap().id;
    let route = EditRoute {
        table: table.into(),
        edit: RouteEdit::Create("10.1.0.0/16".parse().unwrap(), TargetRef::Peering(peering.id.into())),
    };
    world.execute(route).unwrap();
    let state = |world: &World| {
        world
            .network
            .route_table(&table.into())
            .unwrap()
            .routes
            .last()
            .map(|route| route.state)
    };
    assert_eq!(state(&world), Some(RouteState::Blackhole));
    world.execute(set(peering.id, PeeringState::Active)).unwrap();
    assert_eq!(state(&world), Some(RouteState::Active));
    let late = world.execute(set(peering.id, PeeringState::Rejected)).unwrap_err();
    assert_eq!(late.code(), "InvalidStateTransition");
    world.execute(set(peering.id, PeeringState::Deleted)).unwrap();
    assert_eq!(state(&world), Some(RouteState::Blackhole));
    // The next one between the two may come.
    world.execute(create(w, v)).unwrap();
    world.execute(ForgetPeering(peering.id.into())).unwrap();
    world.execute(DeleteVpc(w.into())).unwrap();
    assert_eq!(world.network.peerings().count(), 0);
}

#[test]
fn vpcs_with_addresses_in_common_are_not_peered() {
    let mut world = World::new();
    let (v, w) = (
        world.vpc(&["10.0.0.0/16", "100.64.0.0/16"], &[]).unwrap(),
        world.vpc(&["10.1.0.0/16", "100.64.4.0/24"], &[]).unwrap(),
    );
    assert_eq!(world.execute(create(v, w)).unwrap().state, PeeringState::Failed);
    let strict = CreatePeering {
        may_fail: false,
        ..create(v, w)
    };
    assert_eq!(world.execute(strict).unwrap_err().code(), "OverlappingCidrs");
    assert_eq!(world.execute(create(v, v)).unwrap_err().code(), "InvalidParameterValue");
}
