//! Tests the rules of route tables and DHCP option sets, each as a sentence.

use std::time::SystemTime;

use ipnet::IpNet;

use super::*;
use crate::model::RouteTableError;
use crate::model::dhcp_options::{CreateDhcpOptions, DeleteDhcpOptions, DhcpOptions, DhcpOptionsChoice};
use crate::model::error::ModelError;
use crate::model::interface::{AttachInterface, DeleteInterface, DetachInterface};
use crate::model::limits::Limits;
use crate::model::network::tests::World;
use crate::model::route_table::{CreateRouteTable, ModifyRouteTable, RouteEdit, RouteState, RouteTable, TargetRef};
use crate::model::vpc::{DeleteVpc, ModifyVpc};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A VPC with two subnets, an interface in each, and one in another VPC.
struct Place {
    world: World,
    vpc: VpcId,
    subnets: [SubnetId; 2],
    interfaces: [InterfaceId; 2],
    foreign: InterfaceId,
    main: RouteTableId,
}

impl Place {
    fn with_limits(limits: Limits) -> Self {
        let mut world = World::with_limits(limits);
        let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
        let subnets = [
            world
                .subnet(vpc, Some("10.0.1.0/24"), Some("2001:db8:0:1::/64"))
                .unwrap(),
            world.subnet(vpc, Some("10.0.2.0/24"), None).unwrap(),
        ];
        let interfaces = subnets.map(|subnet| world.interface(subnet, &[]).unwrap());
        let other = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
        let elsewhere = world.subnet(other, Some("10.0.1.0/24"), None).unwrap();
        let foreign = world.interface(elsewhere, &[]).unwrap();
        let main = world.network.vpc(&vpc.into()).unwrap().main_route_table_id;
        Self {
            world,
            vpc,
            subnets,
            interfaces,
            foreign,
            main,
        }
    }

    fn new() -> Self {
        Self::with_limits(Limits::UNBOUNDED)
    }

    fn edit(&mut self, edit: &RouteEdit) -> Result<RouteTable, ModelError> {
        let main = self.main.into();
        self.world.execute(EditRoute {
            table: main,
            edit: edit.clone(),
        })
    }

    fn create(&mut self, destination: &str, target: impl Into<TargetRef>) -> Result<RouteTable, ModelError> {
        self.edit(&RouteEdit::Create(net(destination), target.into()))
    }

    fn table(&mut self) -> RouteTableId {
        let spec = CreateRouteTable {
            name: None,
            vpc: self.vpc.into(),
            tags: Default::default(),
        };
        self.world.execute(spec).unwrap().id
    }

    fn state(&self, destination: &str) -> RouteState {
        let table = self.world.network.route_table(&self.main.into()).unwrap();
        let route = table.routes.iter().find(|route| route.destination == net(destination));
        route.unwrap().state
    }

    fn attach(&mut self, interface: InterfaceId, attached: bool) {
        let interface = interface.into();
        if attached {
            let (place, at) = (None, SystemTime::UNIX_EPOCH);
            self.world.execute(AttachInterface { interface, place, at }).unwrap();
        } else {
            self.world.execute(DetachInterface(interface)).unwrap();
        }
    }
}

fn associate(table: RouteTableId, subnet: SubnetId) -> AssociateRouteTable {
    AssociateRouteTable {
        table: table.into(),
        subnet: subnet.into(),
        replacing: true,
    }
}

fn disassociate(table: RouteTableId, subnet: SubnetId) -> DisassociateRouteTable {
    DisassociateRouteTable {
        table: table.into(),
        subnet: subnet.into(),
    }
}

#[test]
fn a_vpc_begins_with_a_main_table_of_local_routes() {
    let place = Place::new();
    let table = place.world.network.route_table(&place.main.into()).unwrap();
    let routes: Vec<_> = table
        .routes
        .iter()
        .map(|route| (route.destination, route.target))
        .collect();
    let local = |text| (net(text), RouteTarget::Local);
    assert_eq!(routes, [local("10.0.0.0/16"), local("2001:db8::/56")]);
    assert!(
        table.main
            && table
                .routes
                .iter()
                .all(|route| route.origin == RouteOrigin::CreateRouteTable)
    );
    for subnet in place.subnets {
        assert_eq!(place.world.network.table_of(subnet), Some(place.main));
    }
}

#[test]
fn a_route_is_taken_or_refused_as_aws_does() {
    let ours = |place: &Place| TargetRef::from(place.interfaces[0]);
    type Target = fn(&Place) -> TargetRef;
    let local: Target = |_| TargetRef::Local;
    let blackhole: Target = |_| TargetRef::Blackhole;
    let foreign: Target = |place| TargetRef::from(place.foreign);
    type Expected = Result<(), (&'static str, &'static str)>;
    let cases: [(&str, Target, Expected); 20] = [
        // Outside the VPC any destination is allowed: the overlay address.
        ("192.0.2.7/32", ours, Ok(())),
        ("0.0.0.0/0", ours, Ok(())),
        ("0.0.0.0/0", blackhole, Ok(())),
        ("2001:db8:7::7/128", ours, Ok(())),
        ("::/0", ours, Ok(())),
        ("10.0.0.0/8", ours, Ok(())),
        // Larger than a forbidden range is allowed; inside it is not.
        ("169.254.0.0/16", ours, Ok(())),
        (
            "169.254.168.0/22",
            ours,
            Err(("InvalidParameterValue", "serves the VPC itself")),
        ),
        (
            "169.254.169.254/32",
            ours,
            Err(("InvalidParameterValue", "serves the VPC itself")),
        ),
        (
            "fd00:ec2::/32",
            ours,
            Err(("InvalidParameterValue", "serves the VPC itself")),
        ),
        (
            "fd00:ec2::254/128",
            ours,
            Err(("InvalidParameterValue", "serves the VPC itself")),
        ),
        // Within the VPC: the whole block of a subnet, to an interface.
        ("10.0.2.0/24", ours, Ok(())),
        ("2001:db8:0:1::/64", ours, Ok(())),
        (
            "10.0.2.0/25",
            ours,
            Err(("InvalidParameterValue", "equal to or more specific than")),
        ),
        (
            "10.0.3.0/24",
            ours,
            Err(("InvalidParameterValue", "equal to or more specific than")),
        ),
        (
            "10.0.2.0/24",
            blackhole,
            Err(("InvalidParameterValue", "can target only an interface")),
        ),
        ("10.0.2.0/24", local, Err(("InvalidParameterValue", "cannot be local"))),
        // The range itself has a route already.
        ("10.0.0.0/16", ours, Err(("RouteAlreadyExists", "10.0.0.0/16"))),
        ("192.0.2.0/24", local, Err(("InvalidParameterValue", "cannot be local"))),
        (
            "192.0.2.0/24",
            foreign,
            Err(("InvalidParameterValue", "different networks")),
        ),
    ];
    for (destination, target, expected) in cases {
        let mut place = Place::new();
        let target = target(&place);
        let before = place.world.network.route_table(&place.main.into()).unwrap().routes;
        match (place.create(destination, target.clone()), expected) {
            (Ok(table), Ok(())) => assert_eq!(table.routes.len(), before.len() + 1, "{destination} {target}"),
            (Err(error), Err((code, said))) => {
                assert_eq!(error.code(), code, "{destination} {target}: {error}");
                assert!(error.to_string().contains(said), "{destination} {target}: {error}");
                let after = place.world.network.route_table(&place.main.into()).unwrap().routes;
                assert_eq!(after, before, "{destination} {target}");
            }
            (got, _) => panic!("{destination} {target}: {got:?}"),
        }
    }
}

#[test]
fn bits_beyond_the_length_of_a_destination_count_for_nothing() {
    let mut place = Place::new();
    let interface = place.interfaces[0];
    place.create("100.68.0.18/18", interface).unwrap();
    let again = place.create("100.68.0.0/18", interface).unwrap_err();
    assert_eq!(
        again,
        ModelError::RouteTable(RouteTableError::RouteExists {
            destination: net("100.68.0.0/18")
        })
    );
    assert_eq!(
        again.to_string(),
        "The route identified by 100.68.0.0/18 already exists."
    );
}

#[test]
fn a_route_is_replaced_where_there_is_one_and_deleted_where_it_is_no_local_one() {
    let mut place = Place::new();
    let [a, b] = place.interfaces;
    let missing = place
        .edit(&RouteEdit::Replace(net("192.0.2.7/32"), a.into()))
        .unwrap_err();
    assert_eq!(missing.code(), "InvalidParameterValue");
    let said = missing.to_string();
    assert!(
        said.starts_with("There is no route defined for '192.0.2.7/32'"),
        "{said}"
    );
    let missing = place.edit(&RouteEdit::Delete(net("192.0.2.7/32"))).unwrap_err();
    assert_eq!(missing.code(), "InvalidRoute.NotFound");

    place.create("192.0.2.7/32", a).unwrap();
    let table = place.edit(&RouteEdit::Replace(net("192.0.2.7/32"), b.into())).unwrap();
    assert_eq!(table.routes[2].target, RouteTarget::Interface(b));
    assert_eq!(
        place
            .edit(&RouteEdit::Delete(net("192.0.2.7/32")))
            .unwrap()
            .routes
            .len(),
        2
    );

    // The target of the local route may be replaced, and set to local again; it cannot be deleted (EC2 API,
    // ReplaceRoute, LocalTarget).
    let table = place.edit(&RouteEdit::Replace(net("10.0.0.0/16"), a.into())).unwrap();
    assert_eq!(table.routes[0].target, RouteTarget::Interface(a));
    let table = place
        .edit(&RouteEdit::Replace(net("10.0.0.0/16"), TargetRef::Local))
        .unwrap();
    assert_eq!(table.routes[0].target, RouteTarget::Local);
    let refused = place.edit(&RouteEdit::Delete(net("10.0.0.0/16"))).unwrap_err();
    assert!(refused.to_string().contains("cannot remove local route"), "{refused}");
}

#[test]
fn a_route_is_active_while_its_target_is_attached_and_a_black_hole_otherwise() {
    let mut place = Place::new();
    let a = place.interfaces[0];
    place.create("192.0.2.7/32", a).unwrap();
    assert_eq!(place.state("192.0.2.7/32"), RouteState::Blackhole);
    place.attach(a, true);
    assert_eq!(place.state("192.0.2.7/32"), RouteState::Active);
    assert_eq!(
        place.world.network.tables_towards(RouteTarget::Interface(a)),
        [place.main]
    );
    place.attach(a, false);
    assert_eq!(place.state("192.0.2.7/32"), RouteState::Blackhole);
    // It stays when its target is deleted, and still names it.
    place.world.execute(DeleteInterface(a.into())).unwrap();
    assert_eq!(place.state("192.0.2.7/32"), RouteState::Blackhole);
}

#[test]
fn fifty_routes_of_each_family_fit_into_a_table_in_addition_to_the_local_ones() {
    let mut place = Place::with_limits(Limits::AWS_DEFAULT);
    let a = place.interfaces[0];
    for number in 0..50 {
        place.create(&format!("192.0.2.{number}/32"), a).unwrap();
        place.create(&format!("2001:db8:7::{number:x}/128"), a).unwrap();
    }
    let refused = place.create("198.51.100.0/24", a).unwrap_err();
    assert_eq!(refused.code(), "RouteLimitExceeded");
    // Replacing does not add a route.
    place
        .edit(&RouteEdit::Replace(net("192.0.2.7/32"), TargetRef::Blackhole))
        .unwrap();
    place.edit(&RouteEdit::Put(net("192.0.2.7/32"), a.into())).unwrap();
}

#[test]
fn a_subnet_has_the_table_that_it_is_associated_with_and_the_main_one_otherwise() {
    let mut place = Place::new();
    let table = place.table();
    let [left, right] = place.subnets;
    let of = |place: &Place, subnet| place.world.network.table_of(subnet).unwrap();
    place.world.execute(associate(table, left)).unwrap();
    assert_eq!((of(&place, left), of(&place, right)), (table, place.main));
    let in_use = place.world.execute(DeleteRouteTable(table.into())).unwrap_err();
    assert_eq!(in_use.code(), "DependencyViolation");
    let not = place.world.execute(disassociate(table, right)).unwrap_err();
    assert_eq!(not.code(), "InvalidAssociationID.NotFound");

    // Another main table applies to subnets without an explicit association.
    let other = place.table();
    let change = ModifyRouteTable {
        main: Some(true),
        ..ModifyRouteTable::new(other)
    };
    place.world.execute(change).unwrap();
    assert_eq!((of(&place, left), of(&place, right)), (table, other));
    let main = place.world.execute(DeleteRouteTable(other.into())).unwrap_err();
    assert_eq!(main.code(), "DependencyViolation");
    place.world.execute(DeleteRouteTable(place.main.into())).unwrap();

    place.world.execute(disassociate(table, left)).unwrap();
    assert_eq!(of(&place, left), other);
    place.world.execute(DeleteRouteTable(table.into())).unwrap();
}

#[test]
fn a_table_leads_no_subnet_of_another_vpc() {
    let mut place = Place::new();
    let foreign = place.world.network.place(place.foreign).unwrap().1;
    let error = place.world.execute(associate(place.main, foreign)).unwrap_err();
    assert!(error.to_string().contains("different networks"), "{error}");
}

#[test]
fn local_routes_follow_the_blocks_of_the_vpc_and_block_what_a_route_holds() {
    let mut place = Place::new();
    let a = place.interfaces[0];
    place.create("10.1.0.0/16", a).unwrap();
    let vpc = place.vpc;
    let blocks = |texts: &[&str]| ModifyVpc {
        cidr_blocks: Some(texts.iter().map(|text| text.parse().unwrap()).collect()),
        ..ModifyVpc::new(vpc)
    };
    let refused = place
        .world
        .execute(blocks(&["10.0.0.0/16", "10.1.0.0/16"]))
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.field()),
        ("InvalidVpc.Conflict", Some("cidr_blocks"))
    );
    place.world.execute(blocks(&["10.0.0.0/16", "10.2.0.0/16"])).unwrap();
    let routes = |place: &Place| {
        let table = place.world.network.route_table(&place.main.into()).unwrap();
        let local = table.routes.iter().filter(|route| route.target == RouteTarget::Local);
        local.map(|route| route.destination.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(routes(&place), ["10.0.0.0/16", "10.2.0.0/16", "2001:db8::/56"]);
    place.world.execute(blocks(&["10.0.0.0/16"])).unwrap();
    assert_eq!(routes(&place), ["10.0.0.0/16", "2001:db8::/56"]);
}

#[test]
fn a_vpc_goes_with_its_main_table_but_not_with_others() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let spec = CreateRouteTable {
        name: Some("t".into()),
        vpc: vpc.into(),
        tags: Default::default(),
    };
    let table = world.execute(spec).unwrap();
    let refused = world.execute(DeleteVpc(vpc.into())).unwrap_err();
    assert!(refused.to_string().contains(&table.id.to_string()), "{refused}");
    world.execute(DeleteRouteTable(ResourceRef::new("t"))).unwrap();
    world.execute(DeleteVpc(vpc.into())).unwrap();
    assert_eq!(world.network.route_tables().count(), 0);
}

#[test]
fn a_vpc_begins_with_the_region_s_options_and_may_have_others_or_none() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let options = |world: &World| {
        let id = world.network.vpc(&vpc.into()).unwrap().dhcp_options_id;
        world.network.options_of(id)
    };
    assert_eq!(*options(&world), DhcpOptions::for_region("us-east-1"));
    let spec = CreateDhcpOptions {
        name: Some("ours".into()),
        options: DhcpOptions {
            domain_name: Some("example.internal".into()),
            ..DhcpOptions::default()
        },
        ..CreateDhcpOptions::default()
    };
    let ours = world.execute(spec).unwrap().id;
    let choose = |world: &mut World, choice| {
        let change = ModifyVpc {
            dhcp_options: Some(choice),
            ..ModifyVpc::new(vpc)
        };
        world.execute(change).unwrap();
    };
    choose(&mut world, DhcpOptionsChoice::Set(ResourceRef::new("ours")));
    assert_eq!(options(&world).domain_name.as_deref(), Some("example.internal"));
    let refused = world.execute(DeleteDhcpOptions(ours.into())).unwrap_err();
    assert_eq!(refused.code(), "DependencyViolation");
    choose(&mut world, DhcpOptionsChoice::None);
    assert_eq!(*options(&world), DhcpOptions::default());
    world.execute(DeleteDhcpOptions(ours.into())).unwrap();

    let default = world.network.dhcp_option_sets().next().unwrap().id;
    assert!(world.execute(DeleteDhcpOptions(default.into())).is_err());
    let empty = world.execute(CreateDhcpOptions::default());
    assert_eq!(empty.unwrap_err().code(), "MissingParameter");
}

#[test]
fn a_zone_that_is_not_named_is_the_region_s_first() {
    let mut world = World::in_region("eu-central-1");
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let subnet = world.subnet(vpc, Some("10.0.0.0/24"), None).unwrap();
    assert_eq!(
        world.network.subnet(&subnet.into()).unwrap().availability_zone,
        "eu-central-1a"
    );
}
