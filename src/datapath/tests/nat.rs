//! What passes a NAT gateway, and what does not.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use etherparse::{IpNumber, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::lab::v4;
use crate::datapath::{
    Answered, Decision, Destination, DropReason, Edge, FabricWriter, InterfaceSpec, NatCounter, NatGateway, PortState,
    Received, Rewrite, RouteTable, RouteTarget, SubnetIndex, SubnetSpec, Verdict, VpcSpec, rewrite,
};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::profile::Profile;
use crate::wire::MacAddr;

/// Hosts a and b in a private subnet, a NAT gateway in a public one, and two hosts of the outside.
pub(super) struct World {
    pub(super) writer: FabricWriter,
    pub(super) hosts: Vec<(InterfaceIndex, MacAddr, MacAddr)>,
    pub(super) nat: InterfaceIndex,
    public: SubnetIndex,
    edge: Edge,
    ports: Vec<PortState>,
    pub(super) now: Duration,
}

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const REMOTE: usize = 2;
pub(super) const OTHER: usize = 3;

pub(super) const HOST_A: &str = "10.0.2.10";
pub(super) const HOST_B: &str = "10.0.2.11";
/// Host a has it too.
pub(super) const HOST_A6: &str = "2001:db8:0:2::10";
pub(super) const GATEWAY: &str = "10.0.1.220";
const SECOND: &str = "10.0.1.221";
pub(super) const EIP: &str = "203.0.113.5";
const EIP2: &str = "203.0.113.6";
pub(super) const SERVER: &str = "198.51.100.7";
pub(super) const STRANGER: &str = "198.51.100.8";

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Arrives(usize, Vec<u8>),
    Answered(Answered, Vec<u8>),
    Dropped(DropReason),
}

impl Outcome {
    pub(super) fn packet(self) -> Vec<u8> {
        match self {
            Self::Arrives(_, packet) => packet,
            other => panic!("it does not arrive: {other:?}"),
        }
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Profile::aws(), true)
    }

    pub(super) fn with(profile: Profile, public: bool) -> Self {
        let mut writer = FabricWriter::new();
        let vpc = writer.add_vpc(VpcSpec {
            profile: Arc::new(profile),
            cidrs: vec!["10.0.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()],
            dhcp_options: Arc::default(),
        });
        let subnet = |writer: &mut FabricWriter, vpc, block: &str, number| {
            writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: Some(block.parse().unwrap()),
                ipv6: (number == 2).then(|| "2001:db8:0:2::/64".parse().unwrap()),
                router_mac: MacAddr([2, 0, 0, 0, 1, number]),
            })
        };
        let in_public = subnet(&mut writer, vpc, "10.0.1.0/24", 1);
        let in_private = subnet(&mut writer, vpc, "10.0.2.0/24", 2);
        let outside = writer.add_vpc(VpcSpec {
            profile: Arc::new(Profile::aws()),
            cidrs: vec!["198.51.100.0/24".parse().unwrap()],
            dhcp_options: Arc::default(),
        });
        let there = subnet(&mut writer, outside, "198.51.100.0/24", 3);
        let mut hosts = Vec::new();
        for (at, address, number) in [
            (in_private, HOST_A, 2),
            (in_private, HOST_B, 2),
            (there, SERVER, 3),
            (there, STRANGER, 3),
            (in_public, GATEWAY, 1),
        ] {
            let mac = MacAddr([2, 0, 0, 0, 0, hosts.len() as u8]);
            let index = writer.add_interface(InterfaceSpec {
                subnet: at,
                mac,
                source_dest_check: true,
            });
            writer.map(at, ipnet::Ipv4Net::from(v4(address)).into(), Some(index));
            if address != GATEWAY {
                writer.set_port(index, PortId::new(hosts.len() as u32 + 1));
            }
            hosts.push((index, mac, MacAddr([2, 0, 0, 0, 1, number])));
        }
        let nat = hosts[4].0;
        let own: std::net::Ipv6Addr = HOST_A6.parse().unwrap();
        writer.map(in_private, ipnet::Ipv6Net::from(own).into(), Some(hosts[A].0));
        writer.map(in_public, ipnet::Ipv4Net::from(v4(SECOND)).into(), Some(nat));
        let all: ipnet::IpNet = "0.0.0.0/0".parse().unwrap();
        let embedded: ipnet::IpNet = "64:ff9b::/96".parse().unwrap();
        let other: ipnet::IpNet = "::/0".parse().unwrap();
        let local = RouteTable::local(&["10.0.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()]);
        let with = |target| {
            let mut routes = local.clone();
            routes.extend([(all, target), (embedded, target), (other, target)]);
            Arc::new(routes)
        };
        writer.set_routes(in_private, with(RouteTarget::NatGateway(nat)));
        writer.set_routes(in_public, with(RouteTarget::Internet));
        writer.set_outside(outside, there);
        let mut world = Self {
            writer,
            hosts,
            nat,
            public: in_public,
            edge: Edge::new(Some(there)),
            ports: (0..4).map(|_| PortState::default()).collect(),
            now: Duration::from_secs(1000),
        };
        world.edge.associate(v4(EIP), vpc, v4(GATEWAY));
        world.edge.associate(v4(EIP2), vpc, v4(SECOND));
        world.addresses(public, &[(GATEWAY, true)]);
        world
    }

    pub(super) fn addresses(&mut self, public: bool, addresses: &[(&str, bool)]) {
        let addresses = addresses.iter().map(|(address, open)| (v4(address), *open)).collect();
        self.edge
            .add_nat(NatGateway::new(self.nat, self.public, public, addresses));
        self.writer.set_edge(self.edge.clone());
    }

    fn decide(&self, from: usize, frame: &[u8]) -> Decision {
        let view = self.writer.view();
        let ingress = view
            .ingress(self.hosts[from].0, PortId::new(from as u32 + 1).unwrap())
            .expect("a host");
        let fabric = self.writer.fabric();
        let received = Received {
            bytes: frame,
            meta: Default::default(),
        };
        Decision::about(received, &ingress, view, fabric.memory(&self.ports[from]), self.now)
    }

    pub(super) fn send(&mut self, from: usize, packet: &[u8]) -> Outcome {
        let (_, mac, router) = self.hosts[from];
        let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        let mut frame = [&router.0[..], &mac.0, &kind, packet].concat();
        let decision = self.decide(from, &frame);
        // A decision that is asked for again is the same.
        assert_eq!(self.decide(from, &frame).verdict, decision.verdict);
        if let Some(effects) = &decision.effects {
            let fabric = self.writer.fabric();
            let view = self.writer.view();
            let ingress = view
                .ingress(self.hosts[from].0, PortId::new(from as u32 + 1).unwrap())
                .expect("a host");
            let committed = effects.commit(&ingress, &mut self.ports[from], &fabric, self.now);
            assert!(!committed.unbound);
        }
        match decision.verdict {
            Verdict::Deliver {
                to: Destination::Port(port),
                rewrite,
            } => {
                match rewrite {
                    Rewrite::ChangeFamily { .. } => {
                        let mut room = vec![0; frame.len() + 64];
                        let octets = rewrite::in_other_family(&mut frame, rewrite, false, &mut room);
                        frame = room[..octets.expect("what was decided is done")].to_vec();
                    }
                    _ => rewrite::apply(&mut frame, rewrite, false),
                }
                let to = port.get() as usize - 1;
                assert_eq!(frame[..6], self.hosts[to].1.0, "the receiver's MAC");
                check(&frame[14..]);
                Outcome::Arrives(to, frame[14..].to_vec())
            }
            Verdict::Reply(answered) => {
                check(&decision.reply[14..]);
                Outcome::Answered(answered, decision.reply[14..].to_vec())
            }
            Verdict::Drop(reason) => Outcome::Dropped(reason),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub(super) fn counted(&self, counter: NatCounter) -> u64 {
        self.writer.fabric().bindings().counters(self.nat).get(counter)
    }
}

/// Checksums are right.
fn check(packet: &[u8]) {
    let parsed = SlicedPacket::from_ip(packet).expect("a whole packet");
    let ip = match parsed.net {
        Some(etherparse::NetSlice::Ipv4(ip)) => ip,
        Some(etherparse::NetSlice::Ipv6(ip)) => return check_ipv6(&ip, parsed.transport),
        other => panic!("{other:?}"),
    };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "header checksum");
    match parsed.transport {
        Some(TransportSlice::Udp(udp)) if udp.checksum() != 0 => {
            let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
            assert_eq!(udp.checksum(), sum.unwrap(), "UDP checksum");
        }
        Some(TransportSlice::Tcp(tcp)) => {
            let sum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload());
            assert_eq!(tcp.checksum(), sum.unwrap(), "TCP checksum");
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let sum = icmp.header().icmp_type.calc_checksum(icmp.payload());
            assert_eq!(icmp.checksum(), sum, "ICMP checksum");
        }
        _ => {}
    }
}

fn check_ipv6(ip: &etherparse::Ipv6Slice<'_>, transport: Option<TransportSlice<'_>>) {
    let header = ip.header().to_header();
    match transport {
        Some(TransportSlice::Udp(udp)) => {
            let sum = udp.to_header().calc_checksum_ipv6(&header, udp.payload());
            assert_eq!(udp.checksum(), sum.unwrap(), "UDP checksum");
        }
        Some(TransportSlice::Tcp(tcp)) => {
            let sum = tcp.to_header().calc_checksum_ipv6(&header, tcp.payload());
            assert_eq!(tcp.checksum(), sum.unwrap(), "TCP checksum");
        }
        Some(TransportSlice::Icmpv6(icmp)) => assert!(
            icmp.is_checksum_valid(header.source, header.destination),
            "ICMPv6 checksum"
        ),
        _ => {}
    }
}

const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

pub(super) fn tcp((source, sport): (&str, u16), (destination, dport): (&str, u16), flags: u8) -> Vec<u8> {
    let mut builder =
        PacketBuilder::ipv4(v4(source).octets(), v4(destination).octets(), 64).tcp(sport, dport, 77, 1024);
    for (bit, set) in [(SYN, 0), (ACK, 1), (FIN, 2), (RST, 3)] {
        if flags & bit != 0 {
            builder = match set {
                0 => builder.syn(),
                1 => builder.ack(99),
                2 => builder.fin(),
                _ => builder.rst(),
            };
        }
    }
    let mut packet = Vec::new();
    builder.write(&mut packet, b"").unwrap();
    packet
}

pub(super) fn udp((source, sport): (&str, u16), (destination, dport): (&str, u16)) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(v4(source).octets(), v4(destination).octets(), 64)
        .udp(sport, dport)
        .write(&mut packet, b"payload")
        .unwrap();
    packet
}

pub(super) fn echo(source: &str, destination: &str, identifier: u16, reply: bool) -> Vec<u8> {
    let ip = PacketBuilder::ipv4(v4(source).octets(), v4(destination).octets(), 64);
    let icmp = match reply {
        true => ip.icmpv4_echo_reply(identifier, 1),
        false => ip.icmpv4_echo_request(identifier, 1),
    };
    let mut packet = Vec::new();
    icmp.write(&mut packet, b"payload").unwrap();
    packet
}

/// Source and destination with ports, or the identifier in the place of the first.
pub(super) fn ends(packet: &[u8]) -> ((String, u16), (String, u16)) {
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]).to_string();
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (sport, dport) = match packet[9] {
        1 => (word(24), word(24)),
        _ => (word(20), word(22)),
    };
    ((address(12), sport), (address(16), dport))
}

/// A connection of a to the server: the port that stands for it.
fn connected(world: &mut World) -> u16 {
    let out = world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), SYN)).packet();
    let ((source, port), destination) = ends(&out);
    assert_eq!((source.as_str(), destination), (EIP, (SERVER.to_owned(), 80)));
    assert!(port >= 1024, "{port}");
    let back = world.send(REMOTE, &tcp((SERVER, 80), (EIP, port), SYN | ACK)).packet();
    assert_eq!(ends(&back), ((SERVER.to_owned(), 80), (HOST_A.to_owned(), 4000)));
    port
}

#[test]
fn a_port_of_the_gateway_stands_for_a_connection_both_ways() {
    let mut world = World::new();
    let port = connected(&mut world);
    // The same connection keeps it, another one has another.
    let again = world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), ACK)).packet();
    assert_eq!(ends(&again).0, (EIP.to_owned(), port));
    assert_eq!(again[8], 63, "the gateway takes a hop");
    let other = world.send(B, &tcp((HOST_B, 4000), (SERVER, 80), SYN)).packet();
    assert_ne!(ends(&other).0.1, port);
    assert_eq!(world.counted(NatCounter::ConnectionAttempt), 2);
    assert_eq!(world.counted(NatCounter::ConnectionEstablished), 1);
    assert_eq!(world.counted(NatCounter::PacketsInFromSource), 3);
    assert_eq!(world.counted(NatCounter::BytesOutToSource), 40);
}

#[test]
fn what_comes_from_another_end_than_the_connection_s_is_dropped() {
    let mut world = World::new();
    let out = world.send(A, &udp((HOST_A, 5000), (SERVER, 3478))).packet();
    let port = ends(&out).0.1;
    for (from, source, sport) in [(OTHER, STRANGER, 3478), (REMOTE, SERVER, 3479)] {
        let outcome = world.send(from, &udp((source, sport), (EIP, port)));
        assert_eq!(
            outcome,
            Outcome::Dropped(DropReason::NatUnsolicited),
            "{source}:{sport}"
        );
    }
    assert!(matches!(
        world.send(REMOTE, &udp((SERVER, 3478), (EIP, port))),
        Outcome::Arrives(A, _)
    ));
    // To another server another port stands for the same socket: hole punching fails.
    let second = world.send(A, &udp((HOST_A, 5000), (STRANGER, 3478))).packet();
    assert_ne!(ends(&second).0.1, port);
    assert_eq!(
        world.send(REMOTE, &echo(SERVER, EIP, 7, false)),
        Outcome::Dropped(DropReason::NatUnsolicited)
    );
    assert_eq!(world.counted(NatCounter::PacketsDrop), 3);
}

#[test]
fn an_idle_connection_is_forgotten_after_350_seconds_and_its_host_is_reset() {
    let mut world = World::new();
    let port = connected(&mut world);
    world.wait(350);
    assert!(matches!(
        world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), ACK)),
        Outcome::Arrives(REMOTE, _)
    ));
    world.wait(351);
    // Nothing comes in any more, and nothing is told to the other end.
    let late = world.send(REMOTE, &tcp((SERVER, 80), (EIP, port), ACK));
    assert_eq!(late, Outcome::Dropped(DropReason::NatUnsolicited));
    let Outcome::Answered(Answered::NatReset, reset) = world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), ACK)) else {
        panic!("no reset")
    };
    assert_eq!(ends(&reset), ((SERVER.to_owned(), 80), (HOST_A.to_owned(), 4000)));
    // RFC 9293: the reset has the sequence number that the segment acknowledges.
    assert_eq!((reset[33] & 0x3f, &reset[24..28]), (RST, &99_u32.to_be_bytes()[..]));
    assert_eq!(world.counted(NatCounter::IdleTimeout), 1);
    // A reset is not answered, and a new connection begins.
    let own = world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), RST));
    assert_eq!(own, Outcome::Dropped(DropReason::NatUnsolicited));
    connected(&mut world);
    // UDP begins anew without more ado.
    world.send(A, &udp((HOST_A, 5000), (SERVER, 53))).packet();
    world.wait(400);
    world.send(A, &udp((HOST_A, 5000), (SERVER, 53))).packet();
}

#[test]
fn a_closed_connection_frees_its_port_soon() {
    let mut world = World::new();
    let port = connected(&mut world);
    world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), FIN | ACK)).packet();
    world.send(REMOTE, &tcp((SERVER, 80), (EIP, port), FIN | ACK)).packet();
    world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), ACK)).packet();
    world.wait(11);
    let late = world.send(REMOTE, &tcp((SERVER, 80), (EIP, port), ACK));
    assert_eq!(late, Outcome::Dropped(DropReason::NatUnsolicited));
}

#[test]
fn the_identifier_of_a_ping_is_translated_and_an_error_finds_its_connection() {
    let mut world = World::new();
    let out = world.send(A, &echo(HOST_A, SERVER, 7, false)).packet();
    let ((source, identifier), _) = ends(&out);
    assert_eq!(source, EIP);
    let back = world.send(REMOTE, &echo(SERVER, EIP, identifier, true)).packet();
    assert_eq!(ends(&back), ((SERVER.to_owned(), 7), (HOST_A.to_owned(), 7)));
    // A host of the outside answers a datagram with Port Unreachable, which quotes it.
    let out = world.send(A, &udp((HOST_A, 5000), (SERVER, 33434))).packet();
    let mut error = Vec::new();
    PacketBuilder::ipv4(v4(SERVER).octets(), v4(EIP).octets(), 64)
        .icmpv4_raw(3, 3, [0; 4])
        .write(&mut error, &out)
        .unwrap();
    let Outcome::Arrives(A, back) = world.send(REMOTE, &error) else {
        panic!("it does not arrive")
    };
    let quoted = ends(&back[28..]);
    assert_eq!(quoted, ((HOST_A.to_owned(), 5000), (SERVER.to_owned(), 33434)));
    check(&back[28..]);
}

#[test]
fn fragments_of_udp_pass_and_those_of_tcp_and_icmp_do_not() {
    let mut world = World::new();
    let fragments = |packet: &[u8]| {
        let (header, payload) = packet.split_at(20);
        let part = |range: std::ops::Range<usize>, more: bool| {
            let mut part = [header, &payload[range.clone()]].concat();
            let length = part.len() as u16;
            part[2..4].copy_from_slice(&length.to_be_bytes());
            part[4..6].copy_from_slice(&4711_u16.to_be_bytes());
            let field = (range.start / 8) as u16 | if more { 0x2000 } else { 0 };
            part[6..8].copy_from_slice(&field.to_be_bytes());
            part[10..12].fill(0);
            let sum = crate::wire::checksum::Sum::new().bytes(&part[..20]).complement();
            part[10..12].copy_from_slice(&sum.to_be_bytes());
            part
        };
        [part(0..8, true), part(8..payload.len(), false)]
    };
    let [first, later] = fragments(&udp((HOST_A, 5000), (SERVER, 53)));
    // Without the first, the gateway knows no port.
    assert_eq!(world.send(A, &later), Outcome::Dropped(DropReason::NatFragment));
    let Outcome::Arrives(REMOTE, out) = world.send(A, &first) else {
        panic!("the first")
    };
    let Outcome::Arrives(REMOTE, _) = world.send(A, &later) else {
        panic!("the later")
    };
    let port = u16::from_be_bytes([out[20], out[21]]);
    let [first, later] = fragments(&udp((SERVER, 53), (EIP, port)));
    let Outcome::Arrives(A, _) = world.send(REMOTE, &first) else {
        panic!("the first back")
    };
    let Outcome::Arrives(A, back) = world.send(REMOTE, &later) else {
        panic!("the later back")
    };
    assert_eq!(back[16..20], v4(HOST_A).octets());
    let mut whole = tcp((HOST_A, 4000), (SERVER, 80), SYN);
    whole.extend([0; 8]);
    for packet in [whole, echo(HOST_A, SERVER, 7, false)] {
        for part in fragments(&packet) {
            assert_eq!(world.send(A, &part), Outcome::Dropped(DropReason::NatFragment));
        }
    }
}

#[test]
fn no_more_connections_than_the_limit_begin_to_one_destination() {
    let mut profile = Profile::aws();
    profile.nat.connections_per_destination = 3;
    let mut world = World::with(profile, true);
    for port in 1..=3 {
        world.send(A, &udp((HOST_A, port), (SERVER, 53))).packet();
    }
    let fourth = udp((HOST_A, 4), (SERVER, 53));
    assert_eq!(world.send(A, &fourth), Outcome::Dropped(DropReason::NatPortsExhausted));
    assert_eq!(world.counted(NatCounter::ErrorPortAllocation), 1);
    // Another port of the server, another server and another protocol are destinations of their own.
    world.send(A, &udp((HOST_A, 4), (SERVER, 54))).packet();
    world.send(A, &udp((HOST_A, 4), (STRANGER, 53))).packet();
    world.send(A, &tcp((HOST_A, 4), (SERVER, 53), SYN)).packet();
    // A second address has as many again.
    world.addresses(true, &[(GATEWAY, true), (SECOND, true)]);
    let out = world.send(A, &fourth).packet();
    assert_eq!(ends(&out).0.0, EIP2);
    world.addresses(true, &[(GATEWAY, true)]);
    // What has expired makes room: the packet that meets it is lost, the next one is not.
    world.wait(400);
    let outcomes: Vec<_> = (0..2).map(|_| world.send(A, &udp((HOST_A, 9), (SERVER, 53)))).collect();
    assert!(matches!(outcomes[1], Outcome::Arrives(..)), "{outcomes:?}");
}

#[test]
fn a_draining_address_keeps_its_connections_and_gets_no_new_ones() {
    let mut world = World::new();
    let port = connected(&mut world);
    world.addresses(true, &[(GATEWAY, false), (SECOND, true)]);
    let old = world.send(A, &tcp((HOST_A, 4000), (SERVER, 80), ACK)).packet();
    assert_eq!(ends(&old).0, (EIP.to_owned(), port));
    let new = world.send(A, &tcp((HOST_A, 4001), (SERVER, 80), SYN)).packet();
    assert_eq!(ends(&new).0.0, EIP2);
    // When it is gone, so are its connections.
    world
        .writer
        .fabric()
        .bindings()
        .cut(world.nat, Some(v4(GATEWAY).into()));
    let late = world.send(REMOTE, &tcp((SERVER, 80), (EIP, port), ACK));
    assert_eq!(late, Outcome::Dropped(DropReason::NatUnsolicited));
}

#[test]
fn other_protocols_and_private_gateways_do_not_reach_the_outside() {
    let mut world = World::new();
    let mut esp = Vec::new();
    PacketBuilder::ipv4(v4(HOST_A).octets(), v4(SERVER).octets(), 64)
        .write(&mut esp, IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, &[0; 16])
        .unwrap();
    assert_eq!(world.send(A, &esp), Outcome::Dropped(DropReason::NatProtocol));
    let mut private = World::with(Profile::aws(), false);
    let outcome = private.send(A, &udp((HOST_A, 5000), (SERVER, 53)));
    assert_eq!(outcome, Outcome::Dropped(DropReason::NatPrivateToIgw));
    // A route of the gateway's own subnet with itself as its target goes nowhere.
    let mut routes = RouteTable::local(&["10.0.0.0/16".parse().unwrap()]);
    routes.extend([("0.0.0.0/0".parse().unwrap(), RouteTarget::NatGateway(world.nat))]);
    world.writer.set_routes(world.public, Arc::new(routes));
    let outcome = world.send(A, &udp((HOST_A, 5000), (SERVER, 53)));
    assert_eq!(outcome, Outcome::Dropped(DropReason::NatNextHop));
    // A gateway that is gone is a black hole.
    world.edge = Edge::new(world.edge.outside());
    world.writer.set_edge(world.edge.clone());
    let outcome = world.send(A, &udp((HOST_A, 5000), (SERVER, 53)));
    assert_eq!(outcome, Outcome::Dropped(DropReason::Blackhole));
}

#[test]
fn the_gateway_is_a_hop_of_a_traceroute() {
    let mut world = World::new();
    let mut packet = udp((HOST_A, 5000), (SERVER, 33434));
    packet[8] = 1;
    packet[10..12].fill(0);
    let sum = crate::wire::checksum::Sum::new().bytes(&packet[..20]).complement();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let Outcome::Answered(Answered::TimeExceeded, answer) = world.send(A, &packet) else {
        panic!("no answer")
    };
    assert_eq!(
        (answer[12..16].to_vec(), answer[20], answer[21]),
        (v4(GATEWAY).octets().to_vec(), 11, 0)
    );
}

/// What one host does.
#[derive(Debug, Clone)]
enum Act {
    Out {
        host: bool,
        port: u16,
        server: bool,
        service: u16,
    },
    In {
        server: bool,
        service: u16,
        nth: usize,
    },
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let out = (any::<bool>(), 1..4_u16, any::<bool>(), 1..3_u16).prop_map(|(host, port, server, service)| Act::Out {
        host,
        port,
        server,
        service,
    });
    let back =
        (any::<bool>(), 1..3_u16, 0..8_usize).prop_map(|(server, service, nth)| Act::In { server, service, nth });
    prop::collection::vec(
        prop_oneof![4 => out, 4 => back, 1 => (1..400_u64).prop_map(Act::Wait)],
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_gateway_does_what_a_simple_table_does(acts in acts()) {
        type Connection = (bool, u16, bool, u16);
        let mut world = World::new();
        // The port and the last use of each connection, and the ports in the order in which they were given.
        let mut model: HashMap<Connection, (u16, u64)> = HashMap::new();
        let mut given: Vec<(u16, Connection)> = Vec::new();
        let name = |server: bool| if server { (OTHER, STRANGER) } else { (REMOTE, SERVER) };
        for act in acts {
            let now = world.now.as_secs();
            match act {
                Act::Wait(seconds) => world.wait(seconds),
                Act::Out { host, port, server, service } => {
                    let (from, source) = if host { (B, HOST_B) } else { (A, HOST_A) };
                    let packet = world.send(from, &udp((source, port), (name(server).1, service))).packet();
                    let external = ends(&packet).0.1;
                    let connection = (host, port, server, service);
                    match model.get(&connection).filter(|(_, last)| last + 350 >= now) {
                        Some((known, _)) => prop_assert_eq!(external, *known),
                        None => {
                            let clash = model.iter().any(|(other, (used, last))| {
                                (other.2, other.3) == (server, service) && *used == external && last + 350 >= now
                            });
                            prop_assert!(!clash, "two connections to one destination have one port");
                            given.push((external, connection));
                        }
                    }
                    model.insert(connection, (external, now));
                }
                Act::In { server, service, nth } => {
                    let Some((external, _)) = given.get(nth).copied() else { continue };
                    let (from, source) = name(server);
                    let outcome = world.send(from, &udp((source, service), (EIP, external)));
                    let owner = model.iter_mut().find(|(connection, (port, last))| {
                        (connection.2, connection.3) == (server, service) && *port == external && *last + 350 >= now
                    });
                    match owner {
                        Some((connection, (_, last))) => {
                            *last = now;
                            let (to, address) = if connection.0 { (B, HOST_B) } else { (A, HOST_A) };
                            let Outcome::Arrives(arrived, packet) = outcome else {
                                return Err(TestCaseError::fail(format!("{outcome:?}")));
                            };
                            prop_assert_eq!((arrived, ends(&packet).1), (to, (address.to_owned(), connection.1)));
                        }
                        None => prop_assert_eq!(outcome, Outcome::Dropped(DropReason::NatUnsolicited)),
                    }
                }
            }
        }
    }
}

/// T3: whatever the rules are, a connection through a NAT gateway is tracked, so it goes on when they are gone.
#[test]
fn a_connection_through_a_nat_gateway_is_tracked_whatever_the_rules_are() {
    use crate::datapath::policy::Policy;
    let everything = || super::firewall::rules(&["all 0.0.0.0/0"]);
    let mut world = World::new();
    let policy = world
        .writer
        .add_policy(Arc::new(Policy::compile([1], everything(), everything())));
    for host in [A, B] {
        world.writer.set_policy(world.hosts[host].0, Some(policy));
    }
    let out = world.send(A, &udp((HOST_A, 5000), (SERVER, 53))).packet();
    let ((eip, port), _) = ends(&out);
    assert!(matches!(
        world.send(A, &udp((HOST_A, 5000), (HOST_B, 53))),
        Outcome::Arrives(B, _)
    ));
    let none = Arc::new(Policy::compile([1], Vec::new(), Vec::new()));
    world.writer.change_policies([(policy, none)]);
    assert!(matches!(
        world.send(REMOTE, &udp((SERVER, 53), (&eip, port))),
        Outcome::Arrives(A, _)
    ));
    // Within the VPC the same rules track nothing.
    assert_eq!(
        world.send(B, &udp((HOST_B, 53), (HOST_A, 5000))),
        Outcome::Dropped(DropReason::SecurityGroupEgress)
    );
}
