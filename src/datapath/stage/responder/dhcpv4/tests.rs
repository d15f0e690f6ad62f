//! Tests answers of the DHCPv4 server to all kinds of clients, with another library's parser and by hand.

use dhcproto::v4::{DhcpOption as O, Message, Opcode};
use dhcproto::{Decodable, Decoder};

use super::super::fixture::{GATEWAY, HOST, Network, Noise, PRIMARY, ROUTER, SECONDARY, ipv4};
use super::*;
use crate::datapath::{FrameMeta, Received, Service, Verdict, responder};
use crate::mapping::PortId;
use crate::model::dhcp_options::DhcpOptions;
use crate::model::profile::Profile;
use crate::wire::frame::Frame;

const NOWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ALL: Ipv4Addr = Ipv4Addr::BROADCAST;
/// The options that `dhclient` requests on the images whose leases were dumped.
const DHCLIENT: [u8; 13] = [1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42];

/// A client's message, option by option.
#[derive(Clone)]
struct Client {
    kind: u8,
    flags: u16,
    ciaddr: Ipv4Addr,
    mac: MacAddr,
    options: Vec<(u8, Vec<u8>)>,
    /// To the gateway instead of broadcast.
    unicast: bool,
}

fn client(kind: u8) -> Client {
    Client {
        kind,
        flags: 0,
        ciaddr: NOWHERE,
        mac: HOST,
        options: vec![(55, DHCLIENT.to_vec())],
        unicast: false,
    }
}

impl Client {
    fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.retain(|(other, _)| *other != code);
        self.options.push((code, value.to_vec()));
        self
    }

    fn without(mut self, code: u8) -> Self {
        self.options.retain(|(other, _)| *other != code);
        self
    }

    fn requests(self, address: Ipv4Addr) -> Self {
        self.option(50, &address.octets())
    }

    fn server(self, address: Ipv4Addr) -> Self {
        self.option(54, &address.octets())
    }

    fn uses(self, ciaddr: Ipv4Addr) -> Self {
        Self { ciaddr, ..self }
    }

    fn unicast(self) -> Self {
        Self { unicast: true, ..self }
    }

    fn broadcast_flag(self) -> Self {
        Self { flags: 0x8000, ..self }
    }

    fn message(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 1, 2, 3, 4, 0, 7];
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.ciaddr.octets());
        bytes.extend([0; 12]);
        bytes.extend(self.mac.0);
        bytes.extend([0; 10 + 64 + 128]);
        bytes.extend([99, 130, 83, 99, 53, 1, self.kind]);
        for (code, value) in &self.options {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes
    }

    fn frame(&self) -> Vec<u8> {
        let to = if self.unicast {
            (ROUTER, GATEWAY, 67)
        } else {
            (MacAddr::BROADCAST, ALL, 67)
        };
        ipv4((self.mac, self.ciaddr, 68), to, &self.message())
    }
}

/// An answer, parsed by another library.
struct Heard {
    answered: Answered,
    to: (MacAddr, Ipv4Addr),
    message: Message,
    payload: Vec<u8>,
}

fn hear((answered, frame): (Answered, Vec<u8>)) -> Heard {
    let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ip)) = &parsed.net else {
        panic!("no IPv4")
    };
    let Some(etherparse::TransportSlice::Udp(datagram)) = &parsed.transport else {
        panic!("no UDP")
    };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    let sum = datagram.to_header().calc_checksum_ipv4(&header, datagram.payload());
    assert_eq!(datagram.checksum(), sum.unwrap());
    assert_eq!((datagram.source_port(), datagram.destination_port()), (67, 68));
    assert_eq!(ip.header().source_addr(), GATEWAY, "the server is the gateway");
    let link = Frame::parse(&frame).unwrap();
    assert_eq!(link.source, ROUTER);
    let payload = datagram.payload().to_vec();
    assert!(payload.len() >= 300, "BOOTP's shortest message");
    let message = Message::decode(&mut Decoder::new(&payload)).unwrap();
    assert_eq!(message.opcode(), Opcode::BootReply);
    assert_eq!(message.xid(), 0x0102_0304);
    assert_eq!(message.chaddr(), HOST.0);
    Heard {
        answered,
        to: (link.destination, ip.header().destination_addr()),
        message,
        payload,
    }
}

fn ask(network: &Network, client: &Client) -> Result<Heard, DropReason> {
    network.send(network.host, &client.frame()).map(hear)
}

/// The value of an option, searched by hand.
fn option(payload: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = &payload[240..];
    while rest[0] != 255 {
        let length = usize::from(rest[1]);
        if rest[0] == code {
            return Some(&rest[2..2 + length]);
        }
        rest = &rest[2 + length..];
    }
    None
}

/// The option codes in their order.
fn codes(payload: &[u8]) -> Vec<u8> {
    let (mut rest, mut codes) = (&payload[240..], Vec::new());
    while rest[0] != 255 {
        codes.push(rest[0]);
        rest = &rest[2 + usize::from(rest[1])..];
    }
    codes
}

#[test]
fn a_lease_has_the_fields_of_leases_of_ec2_hosts() {
    let network = Network::aws();
    let heard = ask(&network, &client(1)).unwrap();
    assert_eq!(heard.answered, Answered::Dhcpv4Offer);
    assert_eq!(heard.message.yiaddr(), PRIMARY);
    assert_eq!(heard.message.siaddr(), NOWHERE);
    // The table of the fidelity ledger, "DHCPv4": code, octets.
    let table: [(u8, &[u8]); 10] = [
        (53, &[2]),
        (54, &GATEWAY.octets()),
        (51, &3600_u32.to_be_bytes()),
        (1, &[255, 255, 240, 0]),
        (3, &GATEWAY.octets()),
        (6, &[10, 0, 0, 2]), // the VPC's base + 2, not the subnet's
        (26, &9001_u16.to_be_bytes()),
        (15, b"us-east-2.compute.internal"),
        (12, b"ip-10-0-17-10"),
        (28, &[10, 0, 31, 255]),
    ];
    for (code, value) in table {
        assert_eq!(option(&heard.payload, code), Some(value), "option {code}");
    }
    let expected: Vec<u8> = table.iter().map(|(code, _)| *code).collect();
    assert_eq!(
        codes(&heard.payload),
        expected,
        "no T1, T2, classless routes or time servers"
    );
    // The second opinion.
    let options = heard.message.opts();
    assert_eq!(options.get(OptionCode::InterfaceMtu), Some(&O::InterfaceMtu(9001)));
    assert_eq!(
        options.get(OptionCode::DomainNameServer),
        Some(&O::DomainNameServer(vec![Ipv4Addr::new(10, 0, 0, 2)]))
    );
}

#[test]
fn every_state_of_a_client_gets_the_answer_of_rfc_2131() {
    use Answered::{Dhcpv4Ack as Ack, Dhcpv4Nak as Nak, Dhcpv4Offer as Offer};
    let foreign = Ipv4Addr::new(10, 0, 17, 11);
    let elsewhere = Ipv4Addr::new(192, 168, 1, 77);
    let (direct, broadcast, used) = ((HOST, PRIMARY), (MacAddr::BROADCAST, ALL), (HOST, PRIMARY));
    type Expected = Result<(Answered, (MacAddr, Ipv4Addr)), DropReason>;
    let cases: Vec<(&str, Client, Expected)> = vec![
        ("discover", client(1), Ok((Offer, direct))),
        (
            "discover, wants broadcast",
            client(1).broadcast_flag(),
            Ok((Offer, broadcast)),
        ),
        (
            "discover, would like another's",
            client(1).requests(foreign),
            Ok((Offer, direct)),
        ),
        (
            "discover with rapid commit",
            client(1).option(80, &[]),
            Ok((Offer, direct)),
        ),
        (
            "selecting",
            client(3).server(GATEWAY).requests(PRIMARY),
            Ok((Ack, direct)),
        ),
        (
            "selecting, wants broadcast",
            client(3).server(GATEWAY).requests(PRIMARY).broadcast_flag(),
            Ok((Ack, broadcast)),
        ),
        (
            "selecting a secondary address",
            client(3).server(GATEWAY).requests(SECONDARY),
            Ok((Nak, broadcast)),
        ),
        (
            "selecting another's address",
            client(3).server(GATEWAY).requests(foreign),
            Ok((Nak, broadcast)),
        ),
        (
            "selecting another server",
            client(3).server(foreign).requests(foreign),
            Err(DropReason::Dhcpv4OtherServer),
        ),
        ("rebooting", client(3).requests(PRIMARY), Ok((Ack, direct))),
        (
            "rebooting in a new network",
            client(3).requests(elsewhere),
            Ok((Nak, broadcast)),
        ),
        ("renewing", client(3).uses(PRIMARY).unicast(), Ok((Ack, used))),
        (
            "renewing, names the server",
            client(3).uses(PRIMARY).server(GATEWAY).unicast(),
            Ok((Ack, used)),
        ),
        ("rebinding", client(3).uses(PRIMARY), Ok((Ack, used))),
        (
            "rebinding, wants broadcast",
            client(3).uses(PRIMARY).broadcast_flag(),
            Ok((Ack, used)),
        ),
        (
            "renewing what was taken away",
            client(3).uses(foreign).unicast(),
            Ok((Nak, broadcast)),
        ),
        ("request for nothing", client(3), Err(DropReason::Dhcpv4Malformed)),
        ("inform", client(8).uses(PRIMARY), Ok((Ack, used))),
        (
            "inform, secondary address",
            client(8).uses(SECONDARY),
            Ok((Ack, (HOST, SECONDARY))),
        ),
        (
            "inform, another's address",
            client(8).uses(foreign),
            Err(DropReason::Dhcpv4ForeignAddress),
        ),
        ("inform from nowhere", client(8), Err(DropReason::Dhcpv4Malformed)),
        (
            "release",
            client(7).uses(PRIMARY).server(GATEWAY).unicast(),
            Err(DropReason::Dhcpv4Release),
        ),
        (
            "decline",
            client(4).requests(PRIMARY).server(GATEWAY),
            Err(DropReason::Dhcpv4Decline),
        ),
        ("offer from a host", client(2), Err(DropReason::Dhcpv4MessageType)),
        (
            "acknowledgement from a host",
            client(5),
            Err(DropReason::Dhcpv4MessageType),
        ),
        ("unknown type", client(77), Err(DropReason::Dhcpv4MessageType)),
    ];
    let network = Network::aws();
    for (what, client, expected) in cases {
        match (ask(&network, &client), expected) {
            (Ok(heard), Ok((answered, to))) => {
                assert_eq!((heard.answered, heard.to), (answered, to), "{what}");
                assert_eq!(heard.message.flags().broadcast(), client.flags != 0, "{what}");
                let given = if client.kind == 8 || answered == Nak {
                    NOWHERE
                } else {
                    PRIMARY
                };
                assert_eq!(heard.message.yiaddr(), given, "{what}");
                let ciaddr = if answered == Ack { client.ciaddr } else { NOWHERE };
                assert_eq!(heard.message.ciaddr(), ciaddr, "{what}");
                let timed = option(&heard.payload, 51).is_some();
                assert_eq!(timed, client.kind != 8 && answered != Nak, "{what}: lease time");
                assert_eq!(option(&heard.payload, 54), Some(&GATEWAY.octets()[..]), "{what}");
                if answered == Nak {
                    assert_eq!(codes(&heard.payload), [53, 54, 56], "{what}: nothing but the refusal");
                }
            }
            (heard, expected) => assert_eq!(heard.err(), expected.err(), "{what}"),
        }
    }
}

#[test]
fn a_client_gets_the_options_that_it_asks_for_and_all_when_it_does_not_say() {
    let network = Network::aws();
    let bare = ask(&network, &client(1).option(55, &[])).unwrap();
    assert_eq!(codes(&bare.payload), [53, 54, 51, 1], "an empty list");
    let mtu = ask(&network, &client(1).option(55, &[26])).unwrap();
    assert_eq!(codes(&mtu.payload), [53, 54, 51, 1, 26]);
    let silent = ask(&network, &client(1).without(55)).unwrap();
    assert_eq!(codes(&silent.payload), [53, 54, 51, 1, 3, 6, 26, 15, 12, 28], "no list");
    let named = ask(&network, &client(1).option(61, &[1, 2, 3])).unwrap();
    assert_eq!(option(&named.payload, 61), Some(&[1, 2, 3][..]), "RFC 6842");
    assert_eq!(option(&named.payload, 82), None, "relay information is not for hosts");
}

#[test]
fn an_option_set_is_told_whole_and_ends_where_the_client_takes_no_more() {
    let configuration = [
        ("domain-name", vec!["example.com"]),
        (
            "domain-name-servers",
            vec!["192.0.2.1", "2001:db8::53", "AmazonProvidedDNS"],
        ),
        ("ntp-servers", vec!["169.254.169.123", "fd00:ec2::123"]),
        ("netbios-name-servers", vec!["192.0.2.9"]),
        ("netbios-node-type", vec!["2"]),
    ];
    let mut options = DhcpOptions::from_configuration(configuration).unwrap();
    let network = Network::new(Profile::aws(), options.clone());
    let everything = client(1).without(55);
    let heard = ask(&network, &everything).unwrap();
    let table: [(u8, &[u8]); 5] = [
        (15, b"example.com"),
        (6, &[192, 0, 2, 1, 10, 0, 0, 2]),
        (42, &[169, 254, 169, 123]),
        (44, &[192, 0, 2, 9]),
        (46, &[2]),
    ];
    for (code, value) in table {
        assert_eq!(option(&heard.payload, code), Some(value), "option {code}");
    }
    // A domain so long that the rest no longer fits into 576 octets: the least important go.
    options.domain_name = Some(vec!["a".repeat(62); 4].join("."));
    options.validate().unwrap();
    let network = Network::new(Profile::aws(), options);
    let short = ask(&network, &everything).unwrap();
    assert!(short.payload.len() <= 548);
    assert!(option(&short.payload, 15).is_some());
    let long = ask(&network, &everything.option(57, &1500_u16.to_be_bytes())).unwrap();
    assert_eq!(option(&long.payload, 46), Some(&[2][..]));
    // The empty set, `default`: no names at all.
    let heard = ask(&Network::new(Profile::aws(), DhcpOptions::default()), &client(1)).unwrap();
    assert_eq!(codes(&heard.payload), [53, 54, 51, 1, 3, 26, 12, 28]);
}

#[test]
fn the_profile_decides_what_a_client_with_a_foreign_address_hears() {
    let foreign = Ipv4Addr::new(10, 0, 17, 11);
    let selecting = client(3).server(GATEWAY).requests(foreign);
    let cases = [
        (ForeignAddress::Silent, ForeignAddress::Nak, &selecting, true),
        (ForeignAddress::Nak, ForeignAddress::Silent, &selecting, false),
        (
            ForeignAddress::Nak,
            ForeignAddress::Silent,
            &client(3).requests(foreign),
            true,
        ),
        (
            ForeignAddress::Silent,
            ForeignAddress::Nak,
            &client(3).requests(foreign),
            false,
        ),
        (
            ForeignAddress::Silent,
            ForeignAddress::Nak,
            &client(3).uses(foreign),
            true,
        ),
    ];
    for (foreign_address, init_reboot, client, silent) in cases {
        let mut profile = Profile::aws();
        profile.dhcp.v4.foreign_address = foreign_address;
        profile.dhcp.v4.init_reboot = init_reboot;
        let heard = ask(&Network::new(profile, DhcpOptions::default()), client);
        match silent {
            true => assert_eq!(heard.err(), Some(DropReason::Dhcpv4ForeignAddress)),
            false => assert_eq!(heard.unwrap().answered, Answered::Dhcpv4Nak),
        }
    }
}

#[test]
fn an_interface_is_known_by_its_port_and_speaks_for_no_other() {
    let network = Network::aws();
    let mut forged = client(1).message();
    forged[28..34].copy_from_slice(&[0x0a, 0, 0, 0, 0, 2]);
    let broadcast = (MacAddr::BROADCAST, ALL, 67);
    let frame = ipv4((HOST, NOWHERE, 68), broadcast, &forged);
    assert_eq!(
        network.send(network.host, &frame).unwrap_err(),
        DropReason::Dhcpv4ForeignClient
    );
    let mut relayed = client(1).message();
    relayed[24..28].copy_from_slice(&GATEWAY.octets());
    let frame = ipv4((HOST, NOWHERE, 68), broadcast, &relayed);
    assert_eq!(
        network.send(network.host, &frame).unwrap_err(),
        DropReason::Dhcpv4Relayed
    );
    let mac = network.mac(network.bare);
    let frame = Client { mac, ..client(1) }.frame();
    let refused = network.send(network.bare, &frame).unwrap_err();
    assert_eq!(refused, DropReason::Dhcpv4NoAddress);
}

#[test]
fn a_frame_is_a_question_only_at_the_server_s_addresses_and_ports() {
    let network = Network::aws();
    let message = client(1).message();
    let (from, foreign_mac) = ((HOST, NOWHERE, 68), MacAddr([2, 0, 0, 0, 0, 9]));
    let subnet_broadcast = Ipv4Addr::new(10, 0, 31, 255);
    let other = (network.mac(network.other), Ipv4Addr::new(10, 0, 17, 11));
    let punt = Verdict::Punt(Service::Dhcpv4);
    let cases = [
        ("to the broadcast address", from, (MacAddr::BROADCAST, ALL, 67), punt),
        ("to the subnet", from, (MacAddr::BROADCAST, subnet_broadcast, 67), punt),
        ("to the gateway", (HOST, PRIMARY, 68), (ROUTER, GATEWAY, 67), punt),
        (
            "to the broadcast address by the router's MAC",
            from,
            (ROUTER, ALL, 67),
            punt,
        ),
        (
            "with another MAC",
            (foreign_mac, NOWHERE, 68),
            (MacAddr::BROADCAST, ALL, 67),
            Verdict::Drop(DropReason::SourceMac),
        ),
        (
            "as a server",
            (HOST, PRIMARY, 67),
            (MacAddr::BROADCAST, ALL, 68),
            Verdict::Drop(DropReason::Broadcast),
        ),
        (
            "as a relay",
            (HOST, PRIMARY, 67),
            (ROUTER, GATEWAY, 67),
            Verdict::Drop(DropReason::RouterSilent),
        ),
        (
            "another port",
            from,
            (MacAddr::BROADCAST, ALL, 69),
            Verdict::Drop(DropReason::Broadcast),
        ),
    ];
    for (what, from, to, expected) in cases {
        assert_eq!(
            network.decide(network.host, &ipv4(from, to, &message)),
            expected,
            "{what}"
        );
    }
    let to_host = ipv4((HOST, PRIMARY, 68), (other.0, other.1, 67), &message);
    let verdict = network.decide(network.host, &to_host);
    assert!(
        matches!(verdict, Verdict::Deliver { .. }),
        "hosts may speak DHCP with each other: {verdict:?}"
    );
    let mut profile = Profile::aws();
    profile.dhcp.v4.enabled = false;
    let without = Network::new(profile, DhcpOptions::default());
    let verdict = without.decide(without.host, &client(1).frame());
    assert_eq!(verdict, Verdict::Drop(DropReason::Broadcast));
}

#[test]
fn on_a_lan_all_stations_hear_the_question_and_the_router_answers_it() {
    let network = Network::new(Profile::lan(), DhcpOptions::for_region("us-east-1"));
    let verdict = network.decide(network.host, &client(1).frame());
    let expected = Verdict::Flood {
        reply: None,
        punt: Some(Service::Dhcpv4),
    };
    assert_eq!(verdict, expected);
    let heard = ask(&network, &client(1)).unwrap();
    assert_eq!(heard.message.yiaddr(), PRIMARY);
    assert_eq!(option(&heard.payload, 51), Some(&86_400_u32.to_be_bytes()[..]));
    assert_eq!(
        codes(&heard.payload),
        [53, 54, 51, 1, 3, 15, 12, 28],
        "no resolver and no MTU of the VPC's"
    );
    let renewing = client(3).uses(PRIMARY).unicast();
    assert_eq!(
        network.decide(network.host, &renewing.frame()),
        Verdict::Punt(Service::Dhcpv4)
    );
    assert_eq!(ask(&network, &renewing).unwrap().answered, Answered::Dhcpv4Ack);
}

#[test]
fn a_port_that_asks_without_end_is_answered_so_many_times_a_second() {
    use crate::datapath::{Output, PortState, Unobserved, decide};
    use std::time::Duration;

    let network = Network::aws();
    let view = network.writer.view();
    let ingress = view.ingress(network.host, PortId::new(1).unwrap()).unwrap();
    let (mut state, mut output, bytes) = (PortState::default(), Output::default(), client(1).frame());
    let fabric = network.writer.fabric();
    let mut ask = |milliseconds: u64| {
        let frame = Received {
            bytes: &bytes,
            meta: FrameMeta::default(),
        };
        let now = Duration::from_millis(milliseconds);
        let memory = fabric.memory(&state);
        let verdict = decide(frame, &ingress, view, memory, now, &mut output, &mut Unobserved);
        if let Some(effects) = &output.effects {
            effects.commit(&ingress, &mut state, &fabric, now);
        }
        verdict
    };
    let punted = |verdict: &Verdict| matches!(verdict, Verdict::Punt(_));
    assert_eq!((0..100).map(|_| ask(0)).filter(punted).count(), 20);
    assert_eq!(ask(10), Verdict::Drop(DropReason::RateLimited));
    assert_eq!((0..100).map(|_| ask(10_000)).filter(punted).count(), 20);
}

#[test]
fn bytes_of_any_kind_are_answered_or_dropped_with_a_reason() {
    let network = Network::aws();
    let view = network.writer.view();
    let ingress = view.ingress(network.host, PortId::new(1).unwrap()).unwrap();
    let seeds = [
        client(1).frame(),
        client(3).server(GATEWAY).requests(PRIMARY).frame(),
        client(3).uses(PRIMARY).unicast().frame(),
        client(8).uses(PRIMARY).option(52, &[3]).frame(),
    ];
    let (mut noise, mut out, mut answers) = (Noise(4), Vec::new(), 0);
    for round in 0..40_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        noise.spoil(&mut bytes);
        // Pending checksums let more of the spoiled messages through to the reader.
        let frame = Received {
            bytes: &bytes,
            meta: FrameMeta {
                checksum_pending: true,
                ..FrameMeta::default()
            },
        };
        answers += u32::from(responder::answer(Service::Dhcpv4, frame, &ingress, view, &mut out).is_ok());
        let _ = responder::answer(Service::Dhcpv6, frame, &ingress, view, &mut out);
    }
    assert!(answers > 1000, "the corpus reaches the server: {answers}");
}

#[test]
fn a_datagram_that_lies_is_dropped_by_name() {
    let network = Network::aws();
    let spoiled = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = client(1).frame();
        change(&mut frame);
        network.send(network.host, &frame).unwrap_err()
    };
    assert_eq!(spoiled(&|f| f[50] ^= 1), DropReason::DhcpChecksum);
    assert_eq!(spoiled(&|f| f[38] = 0xff), DropReason::Dhcpv4Malformed, "UDP length");
    assert_eq!(spoiled(&|f| f[16] = 0xff), DropReason::Ipv4Malformed, "IPv4 length");
    let cut = ipv4(
        (HOST, NOWHERE, 68),
        (MacAddr::BROADCAST, ALL, 67),
        &client(1).message()[..200],
    );
    assert_eq!(
        network.send(network.host, &cut).unwrap_err(),
        DropReason::Dhcpv4Malformed
    );
    let empty = ipv4((HOST, NOWHERE, 68), (MacAddr::BROADCAST, ALL, 67), &[]);
    assert_eq!(
        network.send(network.host, &empty).unwrap_err(),
        DropReason::Dhcpv4Malformed
    );
}
