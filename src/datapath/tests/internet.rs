//! What crosses an internet gateway, and what does not.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::lab::{Case, Expect::*, Host::*, Lab, ROUTER_A, case, ping6, tables, udp, v4};
use crate::datapath::DropReason::*;
use crate::datapath::{
    Decision, Destination, DropReason, Edge, Entry, FabricWriter, InterfaceSpec, Memory, PortState, Received,
    RouteTable, RouteTarget, Segments, SubnetSpec, Verdict, VpcIndex, VpcSpec, rewrite,
};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::profile::{Profile, Ttl};
use crate::wire::MacAddr;

fn online(lab: &mut Lab) {
    let everything = ["0.0.0.0/0", "::/0"].map(|all| (all.parse().unwrap(), RouteTarget::Internet));
    lab.writer
        .set_routes(lab.sa, Arc::new(everything.into_iter().collect()));
}

fn with_public_a(lab: &mut Lab) {
    online(lab);
    let vpc = lab.writer.view().subnet(lab.sa).expect("a subnet").vpc;
    let mut edge = Edge::new(None);
    edge.associate(v4("203.0.113.10"), vpc, v4("10.0.1.10"));
    lab.writer.set_edge(edge);
}

tables! {
    fn a_packet_leaves_by_the_internet_gateway_only_with_a_public_address() {
        case("no public address", A, udp(A, ROUTER_A, "10.0.1.10", "198.51.100.7"), Drop(IgwNoPublicAddress))
            .given(online),
        case("an IPv6 address that no interface has", A, ping6(A, ROUTER_A, "2001:db8:1:1::99", "3fff:198::7"),
            Drop(IgwSource)).given(|lab: &mut Lab| { online(lab); lab.unchecked(&[A]); }),
        case("to a public address that is not allocated", A, udp(A, ROUTER_A, "10.0.1.10", "203.0.113.99"), Drop(IgwUnmapped))
            .given(with_public_a),
        case("to an IPv6 address that is not assigned", A, ping6(A, ROUTER_A, "2001:db8:1:1::a", "3fff:198::7"), Drop(IgwUnmapped))
            .given(online),
        case("without a route", A, udp(A, ROUTER_A, "10.0.1.10", "198.51.100.7"), Drop(NoRoute)),
    }
}

/// Two VPCs with the same addresses, each with an internet gateway, and a client on the outside.
struct World {
    writer: FabricWriter,
    hosts: Vec<(InterfaceIndex, MacAddr, MacAddr)>,
    edge: Edge,
    vpcs: Vec<VpcIndex>,
}

/// Places in `World::hosts`.
const ONE: usize = 0;
const TWO: usize = 1;
const OTHER: usize = 2;
const CLIENT: usize = 3;

impl World {
    fn new() -> Self {
        let mut world = Self {
            writer: FabricWriter::new(),
            hosts: Vec::new(),
            edge: Edge::default(),
            vpcs: Vec::new(),
        };
        world.network(
            Profile::aws(),
            "10.0.1.0/24",
            "2001:db8:1:1::/64",
            &["10.0.1.10", "10.0.1.11"],
        );
        world.network(Profile::aws(), "10.0.1.0/24", "2001:db8:2:1::/64", &["10.0.1.10"]);
        let mut outside = Profile::aws();
        outside.mtu = 1500;
        outside.router.ttl = Ttl::Decrement;
        world.network(outside, "198.51.100.0/24", "3fff:198::/64", &["198.51.100.7"]);
        let subnet = world
            .writer
            .view()
            .interface(world.hosts[CLIENT].0)
            .expect("the client")
            .subnet;
        let subnet = crate::datapath::SubnetIndex(subnet);
        world.writer.set_outside(world.vpcs[2], subnet);
        world.edge = Edge::new(Some(subnet));
        for (number, block) in ["2001:db8:1:1::/64", "2001:db8:2:1::/64"].iter().enumerate() {
            world.edge.attach(world.vpcs[number], [block.parse().expect("a block")]);
        }
        world.associate("203.0.113.10", ONE);
        world
    }

    fn network(&mut self, profile: Profile, ipv4: &str, ipv6: &str, addresses: &[&str]) {
        let number = self.vpcs.len() as u8;
        let (ipv4, ipv6): (ipnet::Ipv4Net, ipnet::Ipv6Net) = (ipv4.parse().unwrap(), ipv6.parse().unwrap());
        let cidrs = vec![ipv4.into(), ipv6.into()];
        let vpc = self.writer.add_vpc(VpcSpec {
            profile: Arc::new(profile),
            cidrs: cidrs.clone(),
            dhcp_options: Arc::default(),
        });
        let router_mac = MacAddr([2, 0, 0, 0, 1, number]);
        let subnet = self.writer.add_subnet(SubnetSpec {
            vpc,
            ipv4: Some(ipv4),
            ipv6: Some(ipv6),
            router_mac,
        });
        let mut routes = RouteTable::local(&cidrs);
        let everything = ["0.0.0.0/0", "::/0"].map(|all| (all.parse().unwrap(), RouteTarget::Internet));
        routes.extend(everything);
        self.writer.set_routes(subnet, Arc::new(routes));
        for address in addresses {
            let mac = MacAddr([2, 0, 0, 0, 0, self.hosts.len() as u8]);
            let index = self.writer.add_interface(InterfaceSpec {
                subnet,
                mac,
                source_dest_check: true,
            });
            let address: Ipv4Addr = address.parse().unwrap();
            let ipv6_address = ipv6.hosts().nth(usize::from(address.octets()[3])).unwrap();
            self.writer
                .map(subnet, ipnet::Ipv4Net::from(address).into(), Some(index));
            self.writer
                .map(subnet, ipnet::Ipv6Net::from(ipv6_address).into(), Some(index));
            self.writer.set_port(index, PortId::new(self.hosts.len() as u32 + 1));
            self.hosts.push((index, mac, router_mac));
        }
        self.vpcs.push(vpc);
    }

    fn associate(&mut self, public: &str, host: usize) {
        let private = if host == TWO { "10.0.1.11" } else { "10.0.1.10" };
        let vpc = self.vpcs[usize::from(host == OTHER)];
        self.edge.associate(v4(public), vpc, v4(private));
        self.writer.set_edge(self.edge.clone());
    }

    fn decide(&self, from: usize, frame: &[u8]) -> Decision {
        let view = self.writer.view();
        let port = PortId::new(from as u32 + 1).unwrap();
        let ingress = view.ingress(self.hosts[from].0, port).expect("a host");
        let (state, segments, fabric) = (PortState::default(), Segments::default(), self.writer.fabric());
        let memory = Memory {
            port: &state,
            segments: &segments,
            connections: fabric.connections(),
            bindings: fabric.bindings(),
        };
        let received = Received {
            bytes: frame,
            meta: Default::default(),
        };
        Decision::about(received, &ingress, view, memory, Duration::ZERO)
    }

    /// The host that a packet arrives at, and the packet as it arrives there.
    fn send(&self, from: usize, packet: &[u8]) -> Result<(usize, Vec<u8>), DropReason> {
        let ethertype = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        let (_, mac, router) = self.hosts[from];
        let mut frame = [&router.0[..], &mac.0, &ethertype, packet].concat();
        match self.decide(from, &frame).verdict {
            Verdict::Deliver {
                to: Destination::Port(port),
                rewrite,
            } => {
                rewrite::apply(&mut frame, rewrite, false);
                let to = port.get() as usize - 1;
                assert_eq!(frame[..6], self.hosts[to].1.0, "the receiver's MAC");
                assert_eq!(frame[6..12], self.hosts[to].2.0, "its router's MAC");
                Ok((to, frame[14..].to_vec()))
            }
            Verdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }
}

fn udp4(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4(v4(source).octets(), v4(destination).octets(), 64)
        .udp(1234, 5678)
        .write(&mut packet, b"payload")
        .expect("a Vec can be written");
    packet
}

/// Source, destination and TTL of a packet whose checksums are right.
fn ends(packet: &[u8]) -> (String, String, u8) {
    let parsed = etherparse::SlicedPacket::from_ip(packet).expect("a whole packet");
    let Some(etherparse::NetSlice::Ipv4(ip)) = parsed.net else {
        panic!("no IPv4")
    };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "header checksum");
    if let Some(etherparse::TransportSlice::Udp(udp)) = parsed.transport {
        let sum = udp
            .to_header()
            .calc_checksum_ipv4_raw(header.source, header.destination, udp.payload());
        assert_eq!(udp.checksum(), sum.expect("short enough"), "UDP checksum");
    }
    (
        Ipv4Addr::from(header.source).to_string(),
        Ipv4Addr::from(header.destination).to_string(),
        header.time_to_live,
    )
}

#[test]
fn the_host_sees_its_private_address_and_the_outside_its_public_one() {
    let world = World::new();
    let (to, packet) = world
        .send(CLIENT, &udp4("198.51.100.7", "203.0.113.10"))
        .expect("it arrives");
    assert_eq!(
        (to, ends(&packet)),
        (ONE, ("198.51.100.7".into(), "10.0.1.10".into(), 63))
    );
    let (to, packet) = world.send(ONE, &udp4("10.0.1.10", "198.51.100.7")).expect("it arrives");
    assert_eq!(
        (to, ends(&packet)),
        (CLIENT, ("203.0.113.10".into(), "198.51.100.7".into(), 63))
    );
}

#[test]
fn an_address_that_moves_leads_to_the_other_host_from_the_next_packet_on() {
    let mut world = World::new();
    let packet = udp4("198.51.100.7", "203.0.113.10");
    assert_eq!(world.send(CLIENT, &packet).map(|(to, _)| to), Ok(ONE));
    world.edge = Edge::new(world.edge.outside());
    world.associate("203.0.113.10", TWO);
    assert_eq!(world.send(CLIENT, &packet).map(|(to, _)| to), Ok(TWO));
    let out = world.send(ONE, &udp4("10.0.1.10", "198.51.100.7"));
    assert_eq!(out, Err(DropReason::IgwNoPublicAddress));
}

#[test]
fn between_public_addresses_the_receiver_sees_the_sender_s_public_one() {
    let mut world = World::new();
    // Without a public address of its own, the sender does not come so far.
    let packet = udp4("10.0.1.11", "203.0.113.10");
    assert_eq!(world.send(TWO, &packet), Err(DropReason::IgwNoPublicAddress));
    world.associate("203.0.113.11", TWO);
    world.associate("203.0.113.20", OTHER);
    let (to, packet) = world.send(TWO, &packet).expect("it is turned around");
    assert_eq!(
        (to, ends(&packet)),
        (ONE, ("203.0.113.11".into(), "10.0.1.10".into(), 64))
    );
    // To its own, and to a VPC with the same private addresses.
    let (to, packet) = world
        .send(TWO, &udp4("10.0.1.11", "203.0.113.11"))
        .expect("it is turned around");
    assert_eq!(
        (to, ends(&packet)),
        (TWO, ("203.0.113.11".into(), "10.0.1.11".into(), 64))
    );
    let (to, packet) = world
        .send(ONE, &udp4("10.0.1.10", "203.0.113.20"))
        .expect("it is turned around");
    assert_eq!(
        (to, ends(&packet)),
        (OTHER, ("203.0.113.10".into(), "10.0.1.10".into(), 64))
    );
}

#[test]
fn ipv6_crosses_untranslated() {
    let world = World::new();
    let udp6 = |source: &str, destination: &str| {
        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ipv6(address(source), address(destination), 64);
        builder
            .udp(1, 2)
            .write(&mut packet, b"x")
            .expect("a Vec can be written");
        packet
    };
    let sent = udp6("2001:db8:1:1::a", "3fff:198::7");
    let (to, packet) = world.send(ONE, &sent).expect("it arrives");
    assert_eq!((to, packet[7]), (CLIENT, 63));
    assert_eq!(packet[8..], sent[8..]);
    let sent = udp6("3fff:198::7", "2001:db8:2:1::a");
    let (to, packet) = world.send(CLIENT, &sent).expect("it arrives");
    assert_eq!((to, &packet[8..]), (OTHER, &sent[8..]));
    let unassigned = udp6("3fff:198::7", "2001:db8:2:1::b");
    assert_eq!(world.send(CLIENT, &unassigned), Err(DropReason::NoMapping));
}

#[test]
fn a_packet_longer_than_1500_crosses_in_fragments_and_one_that_must_not_be_fragmented_is_told() {
    let world = World::new();
    let long = |payload: usize, dont_fragment: bool| {
        let mut packet = Vec::new();
        let mut header = etherparse::Ipv4Header::new(
            payload as u16,
            64,
            etherparse::IpNumber::UDP,
            [10, 0, 1, 10],
            [198, 51, 100, 7],
        )
        .expect("short enough");
        header.dont_fragment = dont_fragment;
        header.header_checksum = header.calc_header_checksum();
        header.write(&mut packet).expect("a Vec can be written");
        packet.resize(20 + payload, 0);
        let (_, mac, router) = world.hosts[ONE];
        [&router.0[..], &mac.0, &[8, 0], &packet].concat()
    };
    let verdict = |frame: &[u8]| world.decide(ONE, frame).verdict;
    assert!(matches!(verdict(&long(1480, true)), Verdict::Deliver { .. }));
    // What may be fragmented goes on in fragments.
    let Verdict::Deliver {
        rewrite: crate::datapath::Rewrite::Translate { most, .. },
        ..
    } = verdict(&long(4000, false))
    else {
        panic!("it does not cross")
    };
    assert_eq!(most, Some(1500));
    let decision = world.decide(ONE, &long(1481, true));
    assert_eq!(decision.verdict, Verdict::Reply(crate::datapath::Answered::TooBig));
    // From the gateway of the subnet, with the MTU of the edge (RFC 1191).
    assert_eq!(decision.reply[26..30], [10, 0, 1, 1]);
    assert_eq!(decision.reply[34..36], [3, 4]);
    assert_eq!(u16::from_be_bytes([decision.reply[40], decision.reply[41]]), 1500);
}

#[test]
fn the_verdict_rests_on_the_public_addresses() {
    let world = World::new();
    let (_, mac, router) = world.hosts[CLIENT];
    let frame = [&router.0[..], &mac.0, &[8, 0], &udp4("198.51.100.7", "203.0.113.10")].concat();
    let basis = world.decide(CLIENT, &frame).basis;
    assert!(basis.contains(&Entry::PublicAddresses(world.vpcs[0])), "{basis:?}");
}

#[test]
fn a_route_table_of_the_gateway_leads_what_comes_in_to_a_middlebox_with_its_check_off() {
    let mut world = World::new();
    let packet = udp4("198.51.100.7", "203.0.113.10");
    let vpc = world.vpcs[0];
    let routes = |target| {
        let mut table = RouteTable::local(&["10.0.0.0/16".parse().unwrap()]);
        table.extend([("10.0.1.0/24".parse().unwrap(), target)]);
        Arc::new(table)
    };
    world
        .edge
        .route_inbound(vpc, routes(RouteTarget::Interface(world.hosts[TWO].0)));
    world.writer.set_edge(world.edge.clone());
    assert_eq!(world.send(CLIENT, &packet), Err(DropReason::DestinationCheck));
    world.writer.set_source_dest_check(world.hosts[TWO].0, false);
    // The address is translated before: the middlebox sees the private one.
    let (to, arrived) = world.send(CLIENT, &packet).expect("it arrives");
    assert_eq!(
        (to, ends(&arrived)),
        (TWO, ("198.51.100.7".into(), "10.0.1.10".into(), 63))
    );
    // What goes out does not follow it, nor does what enters another VPC.
    let out = world.send(ONE, &udp4("10.0.1.10", "198.51.100.7"));
    assert_eq!(out.map(|(to, _)| to), Ok(CLIENT));
    world.associate("203.0.113.20", OTHER);
    let other = world.send(CLIENT, &udp4("198.51.100.7", "203.0.113.20"));
    assert_eq!(other.map(|(to, _)| to), Ok(OTHER));
    // A detached middlebox is a black hole, and by a local route the packet reaches the host itself.
    world.writer.set_port(world.hosts[TWO].0, None);
    assert_eq!(world.send(CLIENT, &packet), Err(DropReason::Blackhole));
    world.edge.route_inbound(vpc, routes(RouteTarget::Local));
    world.writer.set_edge(world.edge.clone());
    assert_eq!(world.send(CLIENT, &packet).map(|(to, _)| to), Ok(ONE));
}
