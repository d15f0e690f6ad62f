//! Explanations of packets that gateways translate.

use std::time::SystemTime;

use super::tests::World;
use super::*;
use crate::model::elastic_ip::AllocateAddress;
use crate::model::internet_gateway::CreateInternetGateway;
use crate::model::nat_gateway::CreateNatGateway;
use crate::model::route_table::{AssociateRouteTable, CreateRouteTable, EditRoute, RouteEdit, TargetRef};
use crate::model::{Profile, outside};

#[test]
fn the_way_through_a_nat_gateway_and_back_is_explained() {
    let mut profile = Profile::aws();
    profile.firewall.enforced = false;
    let mut world = World::new(profile);
    let (a, c) = (world.interface("a"), world.interface("c"));
    let run = &world.controller;
    let gateway = CreateInternetGateway {
        vpc: Some(a.vpc_id.into()),
        ..CreateInternetGateway::default()
    };
    let gateway = run.execute(gateway).unwrap().id;
    let allocation = run.execute(AllocateAddress::default()).unwrap();
    let nat = CreateNatGateway {
        allocations: vec![allocation.id.into()],
        ..CreateNatGateway::new(a.subnet_id, SystemTime::UNIX_EPOCH)
    };
    let nat = run.execute(nat).unwrap().id;
    for (subnet, target) in [
        (a.subnet_id, TargetRef::InternetGateway(gateway.into())),
        (c.subnet_id, TargetRef::NatGateway(nat.into())),
    ] {
        let table = CreateRouteTable {
            name: None,
            vpc: a.vpc_id.into(),
            tags: Default::default(),
        };
        let table = run.execute(table).unwrap().id;
        let edit = RouteEdit::Create("0.0.0.0/0".parse().unwrap(), target);
        run.execute(EditRoute {
            table: table.into(),
            edit,
        })
        .unwrap();
        run.execute(AssociateRouteTable {
            table: table.into(),
            subnet: subnet.into(),
            replacing: true,
        })
        .unwrap();
    }
    world.host("server", outside::SUBNET, &["198.51.100.7", "3fff:198::7"]);
    for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
        let request = ExplainRequest {
            interface: ResourceRef::new("c"),
            frame: FrameSpec::Packet(PacketSpec {
                to: Target::Address("198.51.100.7".parse().unwrap()),
                source: None,
                protocol,
                source_port: 4000,
                destination_port: 53,
                destination_mac: None,
            }),
            both: true,
        };
        let explained = world.controller.explain(request).unwrap();
        let steps = explained
            .frames
            .last()
            .map(|pass| pass.steps.clone())
            .unwrap_or_default();
        let told: Vec<String> = steps.into_iter().map(|step| step.description).collect();
        let told = told.join("\n");
        assert!(told.contains("stands for 10.0.2.12"), "{told}");
        assert!(told.contains(&allocation.public_ip.to_string()), "{told}");
        let reply = explained.reply.as_ref().expect("it is explained, too");
        assert!(explained.arrives, "{protocol:?}: {}", reply.summary);
        assert_eq!(reply.frames.last().unwrap().verdict.interface_id, Some(c.id));
    }
}
