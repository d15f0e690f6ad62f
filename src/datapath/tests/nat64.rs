//! What passes a NAT gateway from an IPv6 host to an IPv4 end, and back.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::lab::{v4, v6};
use super::nat::{
    A, ACK, B, EIP, HOST_A, HOST_A6, HOST_B, OTHER, Outcome, REMOTE, RST, SERVER, STRANGER, SYN, World, echo, ends,
    tcp, udp,
};
use crate::datapath::{Answered, DropReason, NatCounter};
use crate::wire::siit::embedded;

/// How an IPv6 host writes an IPv4 address.
fn in_prefix(address: &str) -> [u8; 16] {
    embedded(v4(address)).octets()
}

fn own() -> [u8; 16] {
    v6(HOST_A6).octets()
}

fn udp6(port: u16, (remote, service): (&str, u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv6(own(), in_prefix(remote), 64).udp(port, service);
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn tcp6(port: u16, (remote, service): (&str, u16), flags: u8) -> Vec<u8> {
    let mut builder = PacketBuilder::ipv6(own(), in_prefix(remote), 64).tcp(port, service, 77, 1024);
    builder = if flags & SYN != 0 { builder.syn() } else { builder };
    builder = if flags & ACK != 0 { builder.ack(99) } else { builder };
    let mut packet = Vec::new();
    builder.write(&mut packet, b"").unwrap();
    packet
}

/// Source and destination of an IPv6 packet with ports.
fn ends6(packet: &[u8]) -> ((IpAddr, u16), (IpAddr, u16)) {
    let address = |at: usize| -> IpAddr {
        let octets: [u8; 16] = packet[at..at + 16].try_into().unwrap();
        Ipv6Addr::from(octets).into()
    };
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    ((address(8), word(40)), (address(24), word(42)))
}

fn from_server(port: u16, to: u16) -> ((IpAddr, u16), (IpAddr, u16)) {
    ((in_prefix(SERVER).into(), port), (v6(HOST_A6).into(), to))
}

#[test]
fn an_ipv6_host_reaches_an_ipv4_server_and_gets_its_answers() {
    let mut world = World::new();
    let out = world.send(A, &tcp6(4000, (SERVER, 80), SYN)).packet();
    let ((source, port), destination) = ends(&out);
    assert_eq!((source.as_str(), destination), (EIP, (SERVER.to_owned(), 80)));
    assert_eq!(out[8], 63, "the gateway takes a hop");
    let back = world.send(REMOTE, &tcp((SERVER, 80), (EIP, port), SYN | ACK)).packet();
    assert_eq!((ends6(&back), back[7]), (from_server(80, 4000), 63));
    let again = world.send(A, &tcp6(4000, (SERVER, 80), ACK)).packet();
    assert_eq!(ends(&again).0, (EIP.to_owned(), port));
    let out = world.send(A, &udp6(5000, (SERVER, 53), b"query")).packet();
    let back = world.send(REMOTE, &udp((SERVER, 53), (EIP, ends(&out).0.1))).packet();
    assert_eq!(ends6(&back), from_server(53, 5000));
    // The identifier of a ping is translated like a port.
    let mut ping = Vec::new();
    let builder = PacketBuilder::ipv6(own(), in_prefix(SERVER), 64).icmpv6_echo_request(7, 1);
    builder.write(&mut ping, b"payload").unwrap();
    let out = world.send(A, &ping).packet();
    let back = world.send(REMOTE, &echo(SERVER, EIP, ends(&out).0.1, true)).packet();
    assert_eq!((back[6], back[40], &back[44..46]), (58, 129, &7_u16.to_be_bytes()[..]));
    assert_eq!(world.counted(NatCounter::ConnectionEstablished), 3);
    // Each direction is counted by the octets of IPv4.
    assert_eq!(world.counted(NatCounter::PacketsInFromSource), 4);
}

#[test]
fn an_ipv4_host_and_an_ipv6_host_share_the_ports_of_one_address() {
    let mut profile = crate::model::profile::Profile::aws();
    profile.nat.connections_per_destination = 2;
    let mut world = World::with(profile, true);
    let first = world.send(A, &udp6(5000, (SERVER, 53), b"")).packet();
    let second = world.send(A, &udp((HOST_A, 5000), (SERVER, 53))).packet();
    assert_ne!(ends(&first).0.1, ends(&second).0.1);
    let third = world.send(A, &udp6(5001, (SERVER, 53), b""));
    assert_eq!(third, Outcome::Dropped(DropReason::NatPortsExhausted));
}

#[test]
fn an_error_reaches_the_host_whose_packet_it_is_about() {
    let mut world = World::new();
    let out = world.send(A, &udp6(5000, (SERVER, 33434), b"payload")).packet();
    for (from, source, kind, code) in [(REMOTE, SERVER, 3, 3), (OTHER, STRANGER, 11, 0)] {
        let mut error = Vec::new();
        PacketBuilder::ipv4(v4(source).octets(), v4(EIP).octets(), 64)
            .icmpv4_raw(kind, code, [0; 4])
            .write(&mut error, &out)
            .unwrap();
        let back = world.send(from, &error).packet();
        assert_eq!(back[8..24], in_prefix(source), "from who reports it");
        let expected = if kind == 3 { (1, 4) } else { (3, 0) };
        assert_eq!((back[40], back[41]), expected);
        assert_eq!(back[48 + 8..48 + 24], own());
        assert_eq!(ends6(&back[48..]).0, (v6(HOST_A6).into(), 5000));
    }
    // And the other way: the host has no socket for an answer.
    let port = ends(&out).0.1;
    let answer = world.send(REMOTE, &udp((SERVER, 33434), (EIP, port))).packet();
    let mut error = Vec::new();
    PacketBuilder::ipv6(own(), in_prefix(SERVER), 64)
        .icmpv6_raw(1, 4, [0; 4])
        .write(&mut error, &answer)
        .unwrap();
    let back = world.send(A, &error).packet();
    assert_eq!((back[20], back[21]), (3, 3));
    assert_eq!(ends(&back[28..]), ((SERVER.to_owned(), 33434), (EIP.to_owned(), port)));
    let stranger = udp((STRANGER, 33434), (EIP, port));
    assert_eq!(
        world.send(OTHER, &stranger),
        Outcome::Dropped(DropReason::NatUnsolicited)
    );
}

#[test]
fn a_forgotten_connection_of_an_ipv6_host_is_reset() {
    let mut world = World::new();
    world.send(A, &tcp6(4000, (SERVER, 80), SYN)).packet();
    world.wait(351);
    let Outcome::Answered(Answered::NatReset, reset) = world.send(A, &tcp6(4000, (SERVER, 80), ACK)) else {
        panic!("no reset")
    };
    assert_eq!(ends6(&reset), from_server(80, 4000));
    assert_eq!((reset[53] & 0x3f, &reset[44..48]), (RST, &99_u32.to_be_bytes()[..]));
}

/// A fragment of an IPv6 packet, from an offset on.
fn part(packet: &[u8], range: std::ops::Range<usize>, more: bool) -> Vec<u8> {
    let payload = &packet[40..][range.clone()];
    let mut part = packet[..40].to_vec();
    part[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    part[6] = 44;
    part.extend([packet[6], 0]);
    part.extend((range.start as u16 | u16::from(more)).to_be_bytes());
    part.extend(0x0001_1267_u32.to_be_bytes());
    part.extend(payload);
    part
}

#[test]
fn fragments_of_udp_pass_in_both_families_and_those_of_tcp_and_icmp_do_not() {
    let mut world = World::new();
    let whole = udp6(5000, (SERVER, 53), &[7; 24]);
    let (first, later) = (part(&whole, 0..16, true), part(&whole, 16..32, false));
    assert_eq!(world.send(A, &later), Outcome::Dropped(DropReason::NatFragment));
    let out = world.send(A, &first).packet();
    // RFC 7915 section 5.1.1: the lower half of the identification, and the fragment may be split.
    assert_eq!((&out[4..6], &out[6..8]), (&[0x12, 0x67][..], &[0x20, 0][..]));
    let out = world.send(A, &later).packet();
    assert_eq!(
        (&out[4..6], &out[6..8], out.len()),
        (&[0x12, 0x67][..], &[0, 2][..], 36)
    );
    let mut ping = Vec::new();
    let builder = PacketBuilder::ipv6(own(), in_prefix(SERVER), 64).icmpv6_echo_request(7, 1);
    builder.write(&mut ping, &[7; 24]).unwrap();
    for packet in [ping, tcp6(4000, (SERVER, 80), SYN)] {
        let outcome = world.send(A, &part(&packet, 0..16, true));
        assert!(
            matches!(
                outcome,
                Outcome::Dropped(DropReason::NatFragment | DropReason::Ipv6HeaderChain)
            ),
            "{outcome:?}"
        );
    }
}

/// The internet gateway passes 1500 octets of IPv4; to an IPv6 host these are 1520.
#[test]
fn a_packet_that_is_too_long_in_ipv4_is_answered_with_the_length_that_ipv6_may_have() {
    let mut world = World::new();
    let longest = udp6(5000, (SERVER, 53), &vec![7; 1520 - 48]);
    assert_eq!(world.send(A, &longest).packet().len(), 1500);
    let Outcome::Answered(Answered::TooBig, answer) = world.send(A, &udp6(5000, (SERVER, 53), &vec![7; 1521 - 48]))
    else {
        panic!("no answer")
    };
    assert_eq!((answer[40], &answer[44..48]), (2, &1520_u32.to_be_bytes()[..]));
}

#[test]
fn only_ipv4_addresses_in_the_prefix_are_reached() {
    let mut world = World::new();
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv6(own(), v6("2001:db8:ffff::1").octets(), 64).udp(1, 2);
    builder.write(&mut packet, b"").unwrap();
    assert_eq!(world.send(A, &packet), Outcome::Dropped(DropReason::NatProtocol));
    let mut esp = udp6(1, (SERVER, 2), b"");
    esp[6] = 50;
    assert_eq!(world.send(A, &esp), Outcome::Dropped(DropReason::NatProtocol));
    // A host of the VPC, by the address that an IPv6 host writes it with.
    let out = world.send(A, &udp6(5000, (HOST_B, 53), b"query"));
    let Outcome::Arrives(B, out) = out else {
        panic!("{out:?}")
    };
    assert_eq!(ends(&out).0.0, super::nat::GATEWAY);
}

/// The receiver's groups know the packet as it gets it.
#[test]
fn groups_of_the_ipv6_host_track_the_connection_by_its_ipv6_addresses() {
    use crate::datapath::policy::Policy;
    let mut world = World::new();
    let policy = Policy::compile([1], super::firewall::rules(&["udp 53 ::/0"]), Vec::new());
    let policy = world.writer.add_policy(Arc::new(policy));
    world.writer.set_policy(world.hosts[A].0, Some(policy));
    let out = world.send(A, &udp6(5000, (SERVER, 53), b"")).packet();
    let back = world.send(REMOTE, &udp((SERVER, 53), (EIP, ends(&out).0.1))).packet();
    assert_eq!(ends6(&back), from_server(53, 5000));
    let denied = world.send(A, &udp6(5000, (SERVER, 54), b""));
    assert_eq!(denied, Outcome::Dropped(DropReason::SecurityGroupEgress));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The model: a table of connections, of either family, and the port that each was given.
    #[test]
    fn the_gateway_does_for_both_families_what_one_table_does(
        acts in prop::collection::vec((any::<bool>(), 1..4_u16, any::<bool>(), 1..3_u16, 0..8_usize, 0..400_u64), 1..50),
    ) {
        type Connection = (bool, u16, bool, u16);
        let mut world = World::new();
        let mut model: HashMap<Connection, (u16, u64)> = HashMap::new();
        let mut given: Vec<u16> = Vec::new();
        for (six, port, server, service, nth, pause) in acts {
            // A pause now and then, so that some connections are forgotten.
            if pause > 350 {
                world.wait(pause);
            }
            let (from, name) = if server { (OTHER, STRANGER) } else { (REMOTE, SERVER) };
            let packet = match six {
                true => udp6(port, (name, service), b"payload"),
                false => udp((HOST_A, port), (name, service)),
            };
            let out = world.send(A, &packet).packet();
            let external = ends(&out).0.1;
            let now = world.now.as_secs();
            let connection = (six, port, server, service);
            match model.get(&connection).filter(|(_, last)| last + 350 >= now) {
                Some((known, _)) => prop_assert_eq!(external, *known),
                None => {
                    let clash = model.iter().any(|(other, (used, last))| {
                        (other.2, other.3) == (server, service) && *used == external && last + 350 >= now
                    });
                    prop_assert!(!clash, "two connections to one destination have one port");
                    given.push(external);
                }
            }
            model.insert(connection, (external, now));
            let Some(external) = given.get(nth).copied() else { continue };
            let outcome = world.send(from, &udp((name, service), (EIP, external)));
            let owner = model.iter_mut().find(|(connection, (port, last))| {
                (connection.2, connection.3) == (server, service) && *port == external && *last + 350 >= now
            });
            match (owner, outcome) {
                (Some((connection, (_, last))), Outcome::Arrives(A, packet)) => {
                    *last = now;
                    let to = if connection.0 {
                        prop_assert_eq!(packet[0] >> 4, 6);
                        ends6(&packet).1
                    } else {
                        let (address, port) = ends(&packet).1;
                        (address.parse().unwrap(), port)
                    };
                    let own: IpAddr = if connection.0 { v6(HOST_A6).into() } else { v4(HOST_A).into() };
                    prop_assert_eq!(to, (own, connection.1));
                }
                (None, outcome) => prop_assert_eq!(outcome, Outcome::Dropped(DropReason::NatUnsolicited)),
                (_, outcome) => return Err(TestCaseError::fail(format!("{outcome:?}"))),
            }
        }
    }
}
