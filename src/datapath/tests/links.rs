//! What passes an egress-only internet gateway, a peering connection and a gateway endpoint, and what does not.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use etherparse::PacketBuilder;
use ipnet::IpNet;

use super::firewall::rules;
use super::lab::v4;
use crate::datapath::policy::Policy;
use crate::datapath::{
    Blocked, Decision, Destination, DropReason, Edge, FabricWriter, InterfaceSpec, PortState, Received, RouteTable,
    RouteTarget, SubnetSpec, Verdict, VpcIndex, VpcSpec,
};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::endpoint::GatewayService;
use crate::model::profile::Profile;
use crate::wire::MacAddr;

/// `inside` and its peers `left` and `far` in VPCs of their own, and a server of the outside.
struct World {
    writer: FabricWriter,
    hosts: Vec<(InterfaceIndex, MacAddr, MacAddr)>,
    vpcs: Vec<VpcIndex>,
    edge: Edge,
    ports: Vec<PortState>,
    now: Duration,
}

const INSIDE: usize = 0;
const PEER: usize = 1;
const FAR: usize = 2;
const SERVER: usize = 3;

const IPV6: [&str; 4] = [
    "2001:db8:1:1::10",
    "2001:db8:2:1::10",
    "2001:db8:3:1::10",
    "3fff:198::7",
];
/// An address of the server in the prefix list of S3.
const SERVICE: &str = "198.51.100.241";
const IPV4: [&str; 4] = ["10.1.1.10", "10.2.1.10", "10.3.1.10", "198.51.100.7"];

impl World {
    fn new() -> Self {
        let mut world = Self {
            writer: FabricWriter::new(),
            hosts: Vec::new(),
            vpcs: Vec::new(),
            edge: Edge::default(),
            ports: (0..4).map(|_| PortState::default()).collect(),
            now: Duration::from_secs(1000),
        };
        let blocks = [
            ["10.1.1.0/24", "2001:db8:1:1::/64"],
            ["10.2.1.0/24", "2001:db8:2:1::/64"],
            ["10.3.1.0/24", "2001:db8:3:1::/64"],
            ["198.51.100.0/24", "3fff:198::/64"],
        ];
        let mut subnets = Vec::new();
        for (number, blocks) in blocks.iter().enumerate() {
            let cidrs: Vec<IpNet> = blocks.iter().map(|block| block.parse().unwrap()).collect();
            let vpc = world.writer.add_vpc(VpcSpec {
                profile: Arc::new(Profile::aws()),
                cidrs,
                dhcp_options: Arc::default(),
            });
            let router_mac = MacAddr([2, 0, 0, 0, 1, number as u8]);
            let subnet = world.writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: Some(blocks[0].parse().unwrap()),
                ipv6: Some(blocks[1].parse().unwrap()),
                router_mac,
            });
            let mac = MacAddr([2, 0, 0, 0, 0, number as u8]);
            let index = world.writer.add_interface(InterfaceSpec {
                subnet,
                mac,
                source_dest_check: true,
            });
            let six: Ipv6Addr = IPV6[number].parse().unwrap();
            world
                .writer
                .map(subnet, ipnet::Ipv4Net::from(v4(IPV4[number])).into(), Some(index));
            world.writer.map(subnet, ipnet::Ipv6Net::from(six).into(), Some(index));
            world.writer.set_port(index, PortId::new(number as u32 + 1));
            if number == SERVER {
                let service = ipnet::Ipv4Net::from(v4(SERVICE));
                world.writer.map(subnet, service.into(), Some(index));
            }
            world.hosts.push((index, mac, router_mac));
            world.vpcs.push(vpc);
            subnets.push(subnet);
        }
        world.writer.set_outside(world.vpcs[SERVER], subnets[SERVER]);
        let net = |text: &str| -> IpNet { text.parse().unwrap() };
        let routes = |own: [&str; 2], more: Vec<(IpNet, RouteTarget)>| {
            let mut table = RouteTable::local(&own.map(net));
            table.extend(more);
            Arc::new(table)
        };
        let (peer, far) = (world.vpcs[PEER], world.vpcs[FAR]);
        let table = routes(
            blocks[INSIDE],
            vec![
                (net("198.51.100.240/29"), RouteTarget::Endpoint(GatewayService::S3)),
                (net("::/0"), RouteTarget::EgressOnly),
                (net("10.2.0.0/16"), RouteTarget::Peering(peer)),
                (net("10.3.0.0/16"), RouteTarget::Peering(peer)),
                (net("0.0.0.0/0"), RouteTarget::Peering(peer)),
            ],
        );
        world.writer.set_routes(subnets[INSIDE], table);
        let inside = world.vpcs[INSIDE];
        let table = routes(
            blocks[PEER],
            vec![
                (net("10.1.0.0/16"), RouteTarget::Peering(inside)),
                (net("10.3.0.0/16"), RouteTarget::Peering(far)),
                (net("0.0.0.0/0"), RouteTarget::Internet),
            ],
        );
        world.writer.set_routes(subnets[PEER], table);
        world.edge = Edge::new(Some(subnets[SERVER]));
        world
            .edge
            .attach_egress_only(inside, [blocks[INSIDE][1].parse().unwrap()]);
        world.writer.set_edge(world.edge.clone());
        world
    }

    /// Puts a host into a group with these rules.
    fn group(&mut self, host: usize, egress: &[&str], ingress: &[&str]) {
        let policy = Policy::compile([1], rules(egress), rules(ingress));
        let policy = self.writer.add_policy(Arc::new(policy));
        self.writer.set_policy(self.hosts[host].0, Some(policy));
    }

    /// The host that a packet arrives at.
    fn send(&mut self, from: usize, packet: &[u8]) -> Result<usize, DropReason> {
        let ethertype = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        let (index, mac, router) = self.hosts[from];
        let frame = [&router.0[..], &mac.0, &ethertype, packet].concat();
        let fabric = self.writer.fabric();
        let view = self.writer.view();
        let ingress = view
            .ingress(index, PortId::new(from as u32 + 1).unwrap())
            .expect("a host");
        let received = Received {
            bytes: &frame,
            meta: Default::default(),
        };
        let decision = Decision::about(received, &ingress, view, fabric.memory(&self.ports[from]), self.now);
        if let Some(effects) = &decision.effects {
            effects.commit(&ingress, &mut self.ports[from], &fabric, self.now);
        }
        match decision.verdict {
            Verdict::Deliver {
                to: Destination::Port(port),
                ..
            } => Ok(port.get() as usize - 1),
            Verdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }
}

fn six(from: usize, to: usize) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let address = |at: usize| IPV6[at].parse::<Ipv6Addr>().unwrap().octets();
    PacketBuilder::ipv6(address(from), address(to), 64)
}

fn udp6(from: usize, to: usize, (source, destination): (u16, u16)) -> Vec<u8> {
    let mut packet = Vec::new();
    six(from, to).udp(source, destination).write(&mut packet, b"x").unwrap();
    packet
}

fn echo6(from: usize, to: usize, identifier: u16, reply: bool) -> Vec<u8> {
    let mut packet = Vec::new();
    let icmp = match reply {
        true => six(from, to).icmpv6_echo_reply(identifier, 1),
        false => six(from, to).icmpv6_echo_request(identifier, 1),
    };
    icmp.write(&mut packet, b"x").unwrap();
    packet
}

fn udp4(from: usize, to: &str) -> Vec<u8> {
    udp4_of(from, to, (1, 2))
}

fn udp4_of(from: usize, to: &str, (source, destination): (u16, u16)) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(v4(IPV4[from]).octets(), v4(to).octets(), 64)
        .udp(source, destination)
        .write(&mut packet, b"x")
        .unwrap();
    packet
}

#[test]
fn an_egress_only_gateway_lets_in_the_answers_to_what_went_out_and_nothing_else() {
    let mut world = World::new();
    let answer = udp6(SERVER, INSIDE, (53, 4000));
    assert_eq!(world.send(SERVER, &answer), Err(DropReason::EigwUnsolicited));
    assert_eq!(world.send(INSIDE, &udp6(INSIDE, SERVER, (4000, 53))), Ok(SERVER));
    assert_eq!(world.send(SERVER, &answer), Ok(INSIDE));
    assert_eq!(
        world.send(SERVER, &udp6(SERVER, INSIDE, (54, 4000))),
        Err(DropReason::EigwUnsolicited)
    );
    assert_eq!(world.send(INSIDE, &echo6(INSIDE, SERVER, 7, false)), Ok(SERVER));
    assert_eq!(world.send(SERVER, &echo6(SERVER, INSIDE, 7, true)), Ok(INSIDE));
    assert_eq!(
        world.send(SERVER, &echo6(SERVER, INSIDE, 7, false)),
        Err(DropReason::EigwUnsolicited)
    );
    // An error about what went out comes in.
    let mut error = Vec::new();
    six(SERVER, INSIDE)
        .icmpv6_raw(1, 4, [0; 4])
        .write(&mut error, &udp6(INSIDE, SERVER, (4000, 53)))
        .unwrap();
    assert_eq!(world.send(SERVER, &error), Ok(INSIDE));
    // What is idle is forgotten.
    world.now += Duration::from_secs(351);
    assert_eq!(world.send(SERVER, &answer), Err(DropReason::EigwUnsolicited));
}

/// EC2 guide, "Automatically tracked connections" (T3): with rules for all traffic both ways, which leave others untracked.
#[test]
fn a_connection_through_an_egress_only_gateway_is_tracked_whatever_the_rules_are() {
    const EVERYTHING: &[&str] = &["all 0.0.0.0/0", "all ::/0"];
    let mut world = World::new();
    let out = |port| udp6(INSIDE, SERVER, (port, 53));
    world.group(INSIDE, EVERYTHING, EVERYTHING);
    assert_eq!(world.send(INSIDE, &out(4000)), Ok(SERVER));
    assert_eq!(world.send(INSIDE, &udp4_of(INSIDE, IPV4[PEER], (1, 2))), Ok(PEER));
    // The rules are taken away: the tracked connection goes on, both ways, and a new one does not begin.
    world.group(INSIDE, &[], &[]);
    assert_eq!(world.send(SERVER, &udp6(SERVER, INSIDE, (53, 4000))), Ok(INSIDE));
    assert_eq!(world.send(INSIDE, &out(4000)), Ok(SERVER));
    assert_eq!(world.send(INSIDE, &out(4001)), Err(DropReason::SecurityGroupEgress));
    // By the peering connection it was not tracked.
    let answer = udp4_of(PEER, IPV4[INSIDE], (2, 1));
    assert_eq!(world.send(PEER, &answer), Err(DropReason::SecurityGroupIngress));
}

#[test]
fn a_deleted_egress_only_gateway_is_a_black_hole() {
    let mut world = World::new();
    assert_eq!(world.send(INSIDE, &udp6(INSIDE, SERVER, (4000, 53))), Ok(SERVER));
    world.edge = Edge::new(world.edge.outside());
    world.writer.set_edge(world.edge.clone());
    let out = world.send(INSIDE, &udp6(INSIDE, SERVER, (4000, 53)));
    assert_eq!(out, Err(DropReason::Blackhole));
    let back = world.send(SERVER, &udp6(SERVER, INSIDE, (53, 4000)));
    assert_eq!(back, Err(DropReason::IgwUnmapped));
}

#[test]
fn block_public_access_stops_an_egress_only_gateway_unless_what_is_let_out_passes() {
    let mut world = World::new();
    for (lets_out, expected) in [(true, Ok(SERVER)), (false, Err(DropReason::BlockPublicAccess))] {
        let mut edge = world.edge.clone();
        edge.block(Blocked {
            lets_out,
            ..Blocked::default()
        });
        world.writer.set_edge(edge);
        assert_eq!(world.send(INSIDE, &udp6(INSIDE, SERVER, (4000, 53))), expected);
    }
    // A VPC that is excluded is not blocked.
    let mut edge = world.edge.clone();
    edge.block(Blocked {
        vpcs: [(world.vpcs[INSIDE], true)].into(),
        ..Blocked::default()
    });
    world.writer.set_edge(edge);
    assert_eq!(world.send(INSIDE, &udp6(INSIDE, SERVER, (4000, 53))), Ok(SERVER));
}

#[test]
fn peering_reaches_the_addresses_of_the_peered_vpc_alone() {
    let mut world = World::new();
    assert_eq!(world.send(INSIDE, &udp4(INSIDE, IPV4[PEER])), Ok(PEER));
    assert_eq!(world.send(PEER, &udp4(PEER, IPV4[INSIDE])), Ok(INSIDE));
    assert_eq!(
        world.send(INSIDE, &udp4(INSIDE, "10.2.1.99")),
        Err(DropReason::NoMapping)
    );
    // Neither a third VPC nor the internet gateway of the peer.
    assert_eq!(
        world.send(INSIDE, &udp4(INSIDE, IPV4[FAR])),
        Err(DropReason::PeeringNotTransitive)
    );
    assert_eq!(
        world.send(INSIDE, &udp4(INSIDE, IPV4[SERVER])),
        Err(DropReason::PeeringNotTransitive)
    );
    // The resolver of the peer is not reached (P5).
    assert_eq!(
        world.send(INSIDE, &udp4(INSIDE, "10.2.1.2")),
        Err(DropReason::NoMapping)
    );
}

/// UDP between two addresses.
fn between((from, source): (&str, u16), (to, destination): (&str, u16)) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(v4(from).octets(), v4(to).octets(), 64)
        .udp(source, destination)
        .write(&mut packet, b"x")
        .unwrap();
    packet
}

#[test]
fn by_a_gateway_endpoint_a_service_answers_a_private_address_and_begins_nothing() {
    let mut world = World::new();
    let inside = world.vpcs[INSIDE];
    world.edge.attach_endpoint(inside);
    world.writer.set_edge(world.edge.clone());
    let out = between((IPV4[INSIDE], 4000), (SERVICE, 443));
    let answer = between((SERVICE, 443), (IPV4[INSIDE], 4000));
    assert_eq!(world.send(SERVER, &answer), Err(DropReason::EndpointUnsolicited));
    // VPC and host have no internet gateway and no public address.
    assert_eq!(world.send(INSIDE, &out), Ok(SERVER));
    assert_eq!(world.send(SERVER, &answer), Ok(INSIDE));
    let other = between((SERVICE, 444), (IPV4[INSIDE], 4000));
    assert_eq!(world.send(SERVER, &other), Err(DropReason::EndpointUnsolicited));
    // An error about what went out comes in.
    let mut error = Vec::new();
    PacketBuilder::ipv4(v4(SERVICE).octets(), v4(IPV4[INSIDE]).octets(), 64)
        .icmpv4_raw(3, 3, [0; 4])
        .write(&mut error, &out)
        .unwrap();
    assert_eq!(world.send(SERVER, &error), Ok(INSIDE));
    // Of the list no other address is there, and the rest of the outside is not reached by the endpoint.
    let nothing = between((IPV4[INSIDE], 4000), ("198.51.100.242", 443));
    assert_eq!(world.send(INSIDE, &nothing), Err(DropReason::EndpointNoService));
    let elsewhere = between((IPV4[SERVER], 443), (IPV4[INSIDE], 4000));
    assert_eq!(world.send(SERVER, &elsewhere), Err(DropReason::IgwUnmapped));
    // What is idle is forgotten.
    world.now += Duration::from_secs(351);
    assert_eq!(world.send(SERVER, &answer), Err(DropReason::EndpointUnsolicited));
    // Without the route there is no answer either.
    assert_eq!(world.send(INSIDE, &out), Ok(SERVER));
    world.edge = Edge::new(world.edge.outside());
    world.writer.set_edge(world.edge.clone());
    assert_eq!(world.send(SERVER, &answer), Err(DropReason::IgwUnmapped));
}

#[test]
fn a_gateway_endpoint_serves_addresses_of_its_vpc_alone() {
    let mut world = World::new();
    let inside = world.vpcs[INSIDE];
    world.edge.attach_endpoint(inside);
    world.writer.set_edge(world.edge.clone());
    // A middlebox, which may send from other addresses.
    world.writer.set_source_dest_check(world.hosts[INSIDE].0, false);
    let foreign = between((IPV4[PEER], 4000), (SERVICE, 443));
    assert_eq!(world.send(INSIDE, &foreign), Err(DropReason::EndpointSource));
}
