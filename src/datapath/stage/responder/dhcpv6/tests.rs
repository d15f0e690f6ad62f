//! Tests answers of the DHCPv6 server to all kinds of clients, with another library's parser and by hand.

use dhcproto::v6::{DhcpOption as O, Message};
use dhcproto::{Decodable, Decoder};

use super::super::fixture::{HOST, Network, Noise, ROUTER, ipv6, v6 as address_of};
use super::*;
use crate::datapath::{FrameMeta, Received, Service, Verdict, responder};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::dhcp_options::DhcpOptions as Set;
use crate::model::profile::Profile;
use crate::wire::MacAddr;
use crate::wire::frame::Frame;

/// The client's DUID-LLT, as dhclient makes one, and the server's DUID-LL.
const CLIENT: [u8; 14] = [0, 1, 0, 1, 0x2c, 0xa9, 0x3f, 0x79, 0x16, 0x42, 0xe2, 0x17, 0x84, 0x1a];
const SERVER: [u8; 10] = [0, 3, 0, 1, 0x0a, 0xa1, 0x79, 0xdb, 0x21, 0x06];
/// A link-local address from which no MAC can be computed (RFC 7217).
const HIDDEN: &str = "fe80::5562:63fd:691b:3c92";
const GROUP: MacAddr = MacAddr([0x33, 0x33, 0, 1, 0, 2]);

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = value.len() as u16;
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// IA_NA 7 with addresses.
fn na(addresses: &[Ipv6Addr]) -> Vec<u8> {
    na_numbered(7, addresses)
}

fn na_numbered(id: u8, addresses: &[Ipv6Addr]) -> Vec<u8> {
    let mut value = vec![0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 0];
    for address in addresses {
        value.extend(option(5, &[&address.octets()[..], &[0; 8]].concat()));
    }
    option(3, &value)
}

/// IA_PD 8 with prefixes.
fn pd(prefixes: &[&str]) -> Vec<u8> {
    let mut value = vec![0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    for prefix in prefixes {
        let net: Ipv6Net = prefix.parse().unwrap();
        value.extend(option(
            26,
            &[&[0; 8][..], &[net.prefix_len()], &net.addr().octets()].concat(),
        ));
    }
    option(25, &value)
}

fn message(kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![kind, 1, 2, 3];
    bytes.extend(options.concat());
    bytes
}

fn from_client(kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    let named = matches!(kind, 3 | 5 | 8 | 9);
    let mut all = vec![option(1, &CLIENT)];
    all.extend(named.then(|| option(2, &SERVER)));
    all.extend_from_slice(options);
    message(kind, &all)
}

fn frame(source: &str, to: (MacAddr, Ipv6Addr), payload: &[u8]) -> Vec<u8> {
    ipv6((HOST, source.parse().unwrap(), 546), (to.0, to.1, 547), payload)
}

struct Heard {
    answered: Answered,
    message: Message,
    payload: Vec<u8>,
}

/// Sends a request to the group from a link-local without a MAC, and parses the answer with another library.
fn ask_from(network: &Network, interface: InterfaceIndex, payload: &[u8]) -> Result<Heard, DropReason> {
    let mac = network.mac(interface);
    let source: Ipv6Addr = HIDDEN.parse().unwrap();
    let sent = ipv6((mac, source, 546), (GROUP, v6::SERVERS, 547), payload);
    let (answered, frame) = network.send(interface, &sent)?;
    let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(etherparse::NetSlice::Ipv6(ip)) = &parsed.net else {
        panic!("no IPv6")
    };
    let Some(etherparse::TransportSlice::Udp(datagram)) = &parsed.transport else {
        panic!("no UDP")
    };
    let sum = datagram
        .to_header()
        .calc_checksum_ipv6(&ip.header().to_header(), datagram.payload());
    assert_eq!(datagram.checksum(), sum.unwrap());
    assert_eq!((datagram.source_port(), datagram.destination_port()), (547, 546));
    let link = Frame::parse(&frame).unwrap();
    assert_eq!(link.destination, mac);
    assert_eq!(
        ip.header().destination_addr(),
        source,
        "the answer goes where the question came from"
    );
    assert_eq!(ip.header().source_addr(), link.source.link_local());
    let payload = datagram.payload().to_vec();
    let message = Message::decode(&mut Decoder::new(&payload)).unwrap();
    assert_eq!(message.xid(), [1, 2, 3]);
    Ok(Heard {
        answered,
        message,
        payload,
    })
}

fn ask(network: &Network, payload: &[u8]) -> Result<Heard, DropReason> {
    ask_from(network, network.host, payload)
}

/// The content of an answer, a line for each lease and status.
fn said(heard: &Heard) -> Vec<String> {
    fn inner(options: &DhcpOptions, lines: &mut Vec<String>, of: &str) {
        for option in options.iter() {
            match option {
                O::IAAddr(one) => {
                    lines.push(format!(
                        "{of}{}/128 {} {}",
                        one.addr, one.preferred_life, one.valid_life
                    ));
                }
                O::IAPrefix(one) => {
                    let (preferred, valid) = (one.preferred_lifetime, one.valid_lifetime);
                    lines.push(format!("{of}{}/{} {preferred} {valid}", one.prefix_ip, one.prefix_len));
                }
                O::StatusCode(one) => lines.push(format!("{of}{:?}", one.status)),
                O::IANA(one) => inner(&one.opts, lines, &format!("na{} {} {}: ", one.id, one.t1, one.t2)),
                O::IATA(one) => inner(&one.opts, lines, &format!("ta{}: ", one.id)),
                O::IAPD(one) => inner(&one.opts, lines, &format!("pd{} {} {}: ", one.id, one.t1, one.t2)),
                O::RapidCommit => lines.push("rapid commit".to_owned()),
                O::DomainNameServers(servers) => lines.push(format!("dns {servers:?}")),
                O::DomainSearchList(names) => {
                    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                    lines.push(format!("search {}", names.join(" ")));
                }
                _ => {}
            }
        }
    }
    let mut lines = Vec::new();
    inner(heard.message.opts(), &mut lines, "");
    lines
}

const LEASE: &str = "na7 75 120: 2001:db8:0:10::a/128 140 450";

#[test]
fn an_exchange_of_four_has_the_lease_of_an_ec2_host_octet_by_octet() {
    let network = Network::aws();
    let solicit = from_client(1, &[na(&[]), option(6, &[0, 23, 0, 24])]);
    let advertise = ask(&network, &solicit).unwrap();
    assert_eq!(advertise.answered, Answered::Dhcpv6Advertise);
    let mut expected = vec![2, 1, 2, 3]; // ADVERTISE, transaction
    expected.extend([0, 1, 0, 14]);
    expected.extend(CLIENT);
    expected.extend([0, 2, 0, 10]);
    expected.extend(SERVER);
    expected.extend([0, 3, 0, 40, 0, 0, 0, 7, 0, 0, 0, 75, 0, 0, 0, 120]); // IA_NA 7, T1, T2
    expected.extend([0, 5, 0, 24]);
    expected.extend(address_of("a").octets());
    expected.extend([0, 0, 0, 140, 0, 0, 1, 194]); // preferred 140, valid 450
    assert_eq!(
        advertise.payload, expected,
        "and no name servers in a dual-stack subnet"
    );
    let reply = ask(&network, &from_client(3, &[na(&[address_of("a")])])).unwrap();
    assert_eq!(reply.answered, Answered::Dhcpv6Reply);
    expected[0] = 7; // REPLY
    assert_eq!(reply.payload, expected);
}

#[test]
fn every_message_of_a_client_gets_the_answer_of_rfc_8415() {
    let (own, other, far) = (address_of("a"), address_of("b"), "2001:db8:0:99::1".parse().unwrap());
    const ENDED: &str = "na7 0 0: 2001:db8:0:10::b/128 0 0";
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("solicit", from_client(1, &[na(&[])]), &[LEASE]),
        ("solicit with a wish", from_client(1, &[na(&[other])]), &[LEASE]),
        (
            "solicit with rapid commit",
            from_client(1, &[option(14, &[]), na(&[])]),
            &[LEASE, "rapid commit"],
        ),
        (
            "solicit, prefix too",
            from_client(1, &[na(&[]), pd(&[])]),
            &[LEASE, "pd8 0 0: NoPrefixAvail"],
        ),
        ("solicit for nothing", from_client(1, &[]), &[]),
        (
            "solicit twice",
            from_client(1, &[na(&[]), na_numbered(9, &[])]),
            &[LEASE, "na9 0 0: NoAddrsAvail"],
        ),
        (
            "temporary address",
            from_client(1, &[option(4, &[0, 0, 0, 5])]),
            &["ta5: NoAddrsAvail"],
        ),
        ("request", from_client(3, &[na(&[own])]), &[LEASE]),
        ("request another's address", from_client(3, &[na(&[other])]), &[LEASE]),
        (
            "request a far address",
            from_client(3, &[na(&[far])]),
            &["na7 0 0: NotOnLink"],
        ),
        ("confirm", from_client(4, &[na(&[own])]), &["Success"]),
        (
            "confirm another's address",
            from_client(4, &[na(&[own, other])]),
            &["NotOnLink"],
        ),
        ("renew", from_client(5, &[na(&[own])]), &[LEASE]),
        (
            "renew own and lost address",
            from_client(5, &[na(&[own, other])]),
            &[LEASE, "na7 75 120: 2001:db8:0:10::b/128 0 0"],
        ),
        (
            "rebind a lost address",
            from_client(6, &[na(&[other])]),
            &[LEASE, "na7 75 120: 2001:db8:0:10::b/128 0 0"],
        ),
        (
            "renew in two associations",
            from_client(5, &[na_numbered(7, &[other]), na_numbered(9, &[own])]),
            &[ENDED, "na9 75 120: 2001:db8:0:10::a/128 140 450"],
        ),
        ("release", from_client(8, &[na(&[own])]), &["Success"]),
        (
            "release another's",
            from_client(8, &[na(&[other])]),
            &["na7 0 0: NoBinding", "Success"],
        ),
        ("decline", from_client(9, &[na(&[own])]), &["Success"]),
        ("information request", message(11, &[option(6, &[0, 23])]), &[]),
        ("information request by name", from_client(11, &[]), &[]),
    ];
    let network = Network::aws();
    for (what, payload, expected) in cases {
        let heard = ask(&network, &payload).unwrap_or_else(|reason| panic!("{what}: {reason}"));
        assert_eq!(said(&heard), expected, "{what}");
        let advertise = payload[0] == 1 && !expected.contains(&"rapid commit");
        let kind = if advertise {
            Answered::Dhcpv6Advertise
        } else {
            Answered::Dhcpv6Reply
        };
        assert_eq!(heard.answered, kind, "{what}");
        let server = heard.message.opts().get(OptionCode::ServerId);
        assert_eq!(server, Some(&O::ServerId(SERVER.to_vec())), "{what}");
        let client = heard.message.opts().get(OptionCode::ClientId).is_some();
        assert_eq!(client, what != "information request", "{what}");
    }
}

#[test]
fn what_breaks_section_16_is_dropped_by_name() {
    use DropReason as D;
    let stranger = option(2, &[0, 3, 0, 1, 1, 1, 1, 1, 1, 1]);
    let cases: Vec<(&str, Vec<u8>, D)> = vec![
        ("solicit without client", message(1, &[na(&[])]), D::Dhcpv6Malformed),
        (
            "solicit to a server",
            from_client(1, &[option(2, &SERVER)]),
            D::Dhcpv6Malformed,
        ),
        (
            "request without server",
            message(3, &[option(1, &CLIENT)]),
            D::Dhcpv6Malformed,
        ),
        (
            "renew with another server",
            message(5, &[option(1, &CLIENT), stranger.clone()]),
            D::Dhcpv6OtherServer,
        ),
        (
            "information from another server",
            message(11, &[stranger]),
            D::Dhcpv6OtherServer,
        ),
        (
            "information with an association",
            message(11, &[na(&[])]),
            D::Dhcpv6Malformed,
        ),
        ("confirm nothing", from_client(4, &[na(&[])]), D::Dhcpv6NothingToConfirm),
        ("advertise from a host", from_client(2, &[]), D::Dhcpv6MessageType),
        ("reply from a host", from_client(7, &[]), D::Dhcpv6MessageType),
        ("reconfigure from a host", from_client(10, &[]), D::Dhcpv6MessageType),
        ("relay", vec![12, 0, 1, 2, 3], D::Dhcpv6MessageType),
        ("unknown", from_client(99, &[]), D::Dhcpv6MessageType),
        ("nothing", vec![], D::Dhcpv6Malformed),
        ("cut option", vec![1, 1, 2, 3, 0, 1, 0, 9, 1], D::Dhcpv6Malformed),
    ];
    let network = Network::aws();
    for (what, payload, reason) in cases {
        assert_eq!(ask(&network, &payload).err(), Some(reason), "{what}");
    }
}

#[test]
fn an_address_that_is_taken_away_ends_at_the_next_renewal() {
    let mut network = Network::aws();
    let renew = from_client(5, &[na(&[address_of("a")])]);
    assert_eq!(said(&ask(&network, &renew).unwrap()), [LEASE]);
    let own = ipnet::Ipv6Net::from(address_of("a"));
    network.writer.map(network.subnet, own.into(), None);
    network.writer.set_primary(network.host, None, None);
    assert_eq!(
        said(&ask(&network, &renew).unwrap()),
        ["na7 0 0: 2001:db8:0:10::a/128 0 0"]
    );
    let confirm = from_client(4, &[na(&[address_of("a")])]);
    assert_eq!(said(&ask(&network, &confirm).unwrap()), ["NotOnLink"]);
    let solicit = from_client(1, &[na(&[])]);
    assert_eq!(said(&ask(&network, &solicit).unwrap()), ["na7 0 0: NoAddrsAvail"]);
    // Another address takes its place: the client gets both at once.
    let next = ipnet::Ipv6Net::from(address_of("c"));
    network.writer.map(network.subnet, next.into(), Some(network.host));
    network.writer.set_primary(network.host, None, Some(address_of("c")));
    let expected = [
        "na7 75 120: 2001:db8:0:10::c/128 140 450",
        "na7 75 120: 2001:db8:0:10::a/128 0 0",
    ];
    assert_eq!(said(&ask(&network, &renew).unwrap()), expected);
}

#[test]
fn a_delegated_prefix_is_leased_and_any_other_is_not() {
    let mut network = Network::aws();
    let (first, second, free) = ("2001:db8:0:10:1::/80", "2001:db8:0:10:2::/80", "2001:db8:0:10:3::/80");
    for prefix in [first, second] {
        network
            .writer
            .map(network.subnet, prefix.parse().unwrap(), Some(network.host));
    }
    network
        .writer
        .set_delegated_prefix(network.host, Some(first.parse().unwrap()));
    let granted = |prefix: &str| format!("pd8 75 120: {prefix} 140 450");
    let cases: [(&str, Vec<u8>, Vec<String>); 6] = [
        ("no wish", from_client(1, &[pd(&[])]), vec![granted(first)]),
        (
            "a wish about the length",
            from_client(1, &[pd(&["::/64"])]),
            vec![granted(first)],
        ),
        (
            "the second one",
            from_client(3, &[pd(&[second])]),
            vec![granted(second)],
        ),
        ("a free one", from_client(3, &[pd(&[free])]), vec![granted(first)]),
        (
            "renewing both and a lost one",
            from_client(5, &[pd(&[second, free, first, "::/64"])]),
            vec![granted(second), granted(first), format!("pd8 75 120: {free} 0 0")],
        ),
        (
            "releasing",
            from_client(8, &[pd(&[second])]),
            vec!["Success".to_owned()],
        ),
    ];
    for (what, payload, expected) in cases {
        assert_eq!(said(&ask(&network, &payload).unwrap()), expected, "{what}");
    }
    let heard = ask_from(&network, network.other, &from_client(1, &[pd(&[first])])).unwrap();
    assert_eq!(said(&heard), ["pd8 0 0: NoPrefixAvail"], "another interface's");
    let mut profile = Profile::aws();
    profile.dhcp.v6.prefix_delegation = false;
    let mut without = Network::new(profile, Set::default());
    without
        .writer
        .map(without.subnet, first.parse().unwrap(), Some(without.host));
    without
        .writer
        .set_delegated_prefix(without.host, Some(first.parse().unwrap()));
    let heard = ask(&without, &from_client(1, &[pd(&[first])])).unwrap();
    assert_eq!(said(&heard), ["pd8 0 0: NoPrefixAvail"]);
}

/// systemd#20803: "ADVERTISE has wrong IAID for IA PD".
#[test]
fn a_client_that_asks_for_an_address_alone_is_told_of_the_prefix_as_well() {
    let delegated = |profile: Profile| {
        let mut network = Network::new(profile, Set::default());
        let prefix = "2001:db8:0:10:1::/80".parse().unwrap();
        network.writer.map(network.subnet, prefix, Some(network.host));
        network
            .writer
            .set_delegated_prefix(network.host, Some("2001:db8:0:10:1::/80".parse().unwrap()));
        network
    };
    const PREFIX: &str = "pd0 75 120: 2001:db8:0:10:1::/80 140 450";
    let network = delegated(Profile::aws());
    let said_to = |network: &Network, payload: Vec<u8>| said(&ask(network, &payload).unwrap());
    assert_eq!(said_to(&network, from_client(1, &[na(&[])])), [LEASE, PREFIX]);
    let other = PREFIX.replace("pd0", "pd1");
    let heard = said_to(&network, from_client(1, &[na_numbered(0, &[])]));
    assert_eq!(heard[1], other, "never a number of the client's");
    let heard = said_to(&network, from_client(1, &[na(&[]), pd(&[])]));
    assert_eq!(heard.len(), 2, "who asks gets one: {heard:?}");
    let mut profile = Profile::aws();
    profile.dhcp.v6.unasked_prefix = false;
    assert_eq!(said_to(&delegated(profile), from_client(1, &[na(&[])])), [LEASE]);
}

#[test]
fn names_are_told_in_an_ipv6_only_subnet_and_to_who_asks() {
    let network = Network::aws();
    let server = [&[0, 3, 0, 1][..], &[0x0a, 0xa1, 0x79, 0xdb, 0x21, 0x07]].concat();
    let wanted = option(6, &[0, 23, 0, 24]);
    let names = ["dns [fd00:ec2::253]", "search us-east-2.compute.internal."];
    let heard = ask_from(&network, network.alone, &message(11, std::slice::from_ref(&wanted))).unwrap();
    assert_eq!(said(&heard), names);
    let request = message(3, &[option(1, &CLIENT), option(2, &server), na(&[]), wanted.clone()]);
    let lease = "na7 75 120: 2001:db8:0:20::a/128 140 450";
    let heard = ask_from(&network, network.alone, &request).unwrap();
    assert_eq!(said(&heard), [lease, names[0], names[1]]);
    let heard = ask_from(&network, network.alone, &message(11, &[option(6, &[0, 24])])).unwrap();
    assert_eq!(said(&heard), [names[1]]);
    let heard = ask_from(&network, network.alone, &message(11, &[])).unwrap();
    assert!(said(&heard).is_empty());
    for (policy, told) in [(Dhcpv6Names::Everywhere, true), (Dhcpv6Names::Never, false)] {
        let mut profile = Profile::aws();
        profile.dhcp.v6.names = policy;
        let network = Network::new(profile, Set::for_region("us-east-2"));
        let heard = ask(&network, &message(11, std::slice::from_ref(&wanted))).unwrap();
        assert_eq!(!said(&heard).is_empty(), told, "{policy:?}");
    }
}

#[test]
fn rapid_commit_is_honoured_ignored_or_not_even_heard() {
    let solicit = from_client(1, &[option(14, &[]), na(&[])]);
    let cases = [
        (RapidCommit::Honour, Ok(vec![LEASE, "rapid commit"])),
        (RapidCommit::Ignore, Ok(vec![LEASE])),
        (RapidCommit::Drop, Err(DropReason::Dhcpv6RapidCommit)),
    ];
    for (policy, expected) in cases {
        let mut profile = Profile::aws();
        profile.dhcp.v6.rapid_commit = policy;
        let network = Network::new(profile, Set::default());
        let heard = ask(&network, &solicit);
        match (&heard, &expected) {
            (Ok(heard), Ok(expected)) => assert_eq!(&said(heard), expected, "{policy:?}"),
            _ => assert_eq!(heard.err(), expected.err(), "{policy:?}"),
        }
        assert!(ask(&network, &from_client(1, &[na(&[])])).is_ok(), "{policy:?}");
    }
    assert_eq!(
        Profile::named("aws-xen").unwrap().dhcp.v6.rapid_commit,
        RapidCommit::Drop
    );
}

#[test]
fn an_option_set_lengthens_the_lease() {
    let set = Set::from_configuration([("ipv6-address-preferred-lease-time", ["1000"])]).unwrap();
    let heard = ask(&Network::new(Profile::aws(), set), &from_client(1, &[na(&[])])).unwrap();
    assert_eq!(said(&heard), ["na7 500 800: 2001:db8:0:10::a/128 1000 1310"]);
}

#[test]
fn a_message_to_the_server_itself_is_sent_to_the_group() {
    let network = Network::aws();
    let own = [address_of("a")];
    for kind in [3, 5, 8, 9] {
        for server in [ROUTER.link_local(), "fe80:ec2::1".parse().unwrap(), address_of("1")] {
            let sent = frame(HIDDEN, (ROUTER, server), &from_client(kind, &[na(&own)]));
            let (answered, out) = network.send(network.host, &sent).unwrap();
            assert_eq!(answered, Answered::Dhcpv6Reply);
            let message = Message::decode(&mut Decoder::new(&out[62..])).unwrap();
            let Some(O::StatusCode(status)) = message.opts().get(OptionCode::StatusCode) else {
                panic!("no status")
            };
            assert_eq!(status.status, Status::UseMulticast);
            assert_eq!(message.opts().get(OptionCode::IANA), None);
        }
    }
    for kind in [1, 4, 6, 11] {
        let options = if kind == 11 { vec![] } else { vec![na(&own)] };
        let sent = frame(HIDDEN, (ROUTER, ROUTER.link_local()), &from_client(kind, &options));
        assert_eq!(network.send(network.host, &sent).err(), Some(DropReason::Dhcpv6Unicast));
    }
}

#[test]
fn a_frame_is_a_question_only_at_the_server_s_addresses_and_ports() {
    let network = Network::aws();
    let payload = from_client(1, &[na(&[])]);
    let group = (GROUP, v6::SERVERS);
    assert_eq!(
        network.decide(network.host, &frame(HIDDEN, group, &payload)),
        Verdict::Punt(Service::Dhcpv6)
    );
    let link_local: Ipv6Addr = HIDDEN.parse().unwrap();
    let as_server = ipv6((HOST, link_local, 547), (group.0, group.1, 546), &payload);
    assert_eq!(
        network.decide(network.host, &as_server),
        Verdict::Drop(DropReason::Multicast)
    );
    let all_nodes = frame(
        HIDDEN,
        (MacAddr([0x33, 0x33, 0, 0, 0, 1]), "ff02::1".parse().unwrap()),
        &payload,
    );
    assert_eq!(
        network.decide(network.host, &all_nodes),
        Verdict::Drop(DropReason::Multicast)
    );
    let global = frame("2001:db8:0:10::a", group, &payload);
    assert_eq!(
        network.send(network.host, &global).err(),
        Some(DropReason::Dhcpv6Source)
    );
    let mut spoiled = frame(HIDDEN, group, &payload);
    spoiled[70] ^= 1;
    assert_eq!(
        network.send(network.host, &spoiled).err(),
        Some(DropReason::DhcpChecksum)
    );
    let lan = Network::new(Profile::lan(), Set::default());
    let expected = Verdict::Flood {
        reply: None,
        punt: None,
    };
    assert_eq!(lan.decide(lan.host, &frame(HIDDEN, group, &payload)), expected);
}

#[test]
fn an_answer_never_outgrows_the_interface() {
    let mut network = Network::aws();
    network.writer.set_mtu(network.host, Some(1200));
    let addresses: Vec<Ipv6Addr> = (0..32).map(|n| address_of(&format!("{n:x}00"))).collect();
    let renew = from_client(5, &[na(&addresses)]);
    assert!(ask(&network, &renew).is_ok());
    let associations: Vec<Vec<u8>> = (0..16).map(|n| na_numbered(n, &addresses[..2])).collect();
    let renew = from_client(5, &associations);
    assert_eq!(ask(&network, &renew).err(), Some(DropReason::DhcpTooLong));
    network.writer.set_mtu(network.host, None);
    assert!(ask(&network, &renew).is_ok());
}

#[test]
fn bytes_of_any_kind_are_answered_or_dropped_with_a_reason() {
    let network = Network::aws();
    let view = network.writer.view();
    let ingress = view.ingress(network.host, PortId::new(1).unwrap()).unwrap();
    let own = [address_of("a")];
    let seeds: Vec<Vec<u8>> = [
        from_client(1, &[option(14, &[]), na(&[]), pd(&["::/64"]), option(6, &[0, 23])]),
        from_client(3, &[na(&own)]),
        from_client(5, &[na(&own), option(13, &[0]), option(17, &[0, 0])]),
        from_client(4, &[na(&own)]),
        from_client(8, &[na(&own), pd(&["2001:db8:0:10:1::/80"])]),
        message(11, &[option(6, &[0, 23])]),
    ]
    .iter()
    .map(|payload| frame(HIDDEN, (GROUP, v6::SERVERS), payload))
    .collect();
    let (mut noise, mut out, mut answers) = (Noise(6), Vec::new(), 0);
    for round in 0..40_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        noise.spoil(&mut bytes);
        let frame = Received {
            bytes: &bytes,
            meta: FrameMeta {
                checksum_pending: true,
                ..FrameMeta::default()
            },
        };
        answers += u32::from(responder::answer(Service::Dhcpv6, frame, &ingress, view, &mut out).is_ok());
        let _ = responder::answer(Service::Dhcpv4, frame, &ingress, view, &mut out);
    }
    assert!(answers > 1000, "the corpus reaches the server: {answers}");
}
