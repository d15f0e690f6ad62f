//! Tests what differs between profiles: who answers ARP and Neighbor Solicitations, with which MAC, what a router
//! advertises, and how a router without a mapping table resolves a neighbor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use localvpc::datapath::{
    Answered, Asking, Destination, DropReason, FabricWriter, FrameMeta, InterfaceSpec, Output, PortState, Received,
    Rewrite, SubnetIndex, SubnetSpec, Unobserved, Verdict, VpcSpec, decide, unsolicited_advertisement,
};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::profile::Profile;
use localvpc::wire::MacAddr;
use localvpc::wire::reply::{AdvertisementFlags, ReplyBuffer};

/// Subnet 1 has hosts a (host part 10) and b (11), subnet 2 has c (10). Ports are numbered 1, 2, 3 in that order.
struct World {
    writer: FabricWriter,
    subnets: [SubnetIndex; 2],
    hosts: [InterfaceIndex; 3],
    now: Duration,
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const MACS: [MacAddr; 3] = [
    MacAddr([0x0a, 0, 0, 0, 1, 0x0a]),
    MacAddr([0x0a, 0, 0, 0, 1, 0x0b]),
    MacAddr([0x0a, 0, 0, 0, 2, 0x0a]),
];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

impl World {
    fn new(profile: &str) -> Self {
        let profile = Arc::new(Profile::named(profile).expect("a built-in profile"));
        let mut writer = FabricWriter::new();
        let cidrs = ["10.0.0.0/16", "2001:db8::/56"].map(|net| net.parse().expect("a range"));
        let policy = profile.router.mac;
        let vpc = writer.add_vpc(VpcSpec {
            profile,
            cidrs: cidrs.to_vec(),
            dhcp_options: Arc::default(),
        });
        let subnets = [1_u8, 2].map(|number| {
            let gateway = Ipv4Addr::new(10, 0, number, 1);
            writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: Some(format!("10.0.{number}.0/24").parse().expect("a range")),
                ipv6: Some(format!("2001:db8:0:{number}::/64").parse().expect("a range")),
                router_mac: policy.of(Some(gateway)).unwrap_or(MacAddr([0x02, 0, 0, 0, number, 1])),
            })
        });
        let mut port = 0;
        let hosts = [
            (0, "10.0.1.10", "2001:db8:0:1::a"),
            (0, "10.0.1.11", "2001:db8:0:1::b"),
            (1, "10.0.2.10", "2001:db8:0:2::a"),
        ]
        .map(|(subnet, ipv4, ipv6)| {
            let interface = writer.add_interface(InterfaceSpec {
                subnet: subnets[subnet],
                mac: MACS[port as usize],
                source_dest_check: true,
            });
            for address in [ipv4, ipv6] {
                writer.map(subnets[subnet], ip(address).into(), Some(interface));
            }
            writer.set_primary(interface, Some(v4(ipv4)), Some(v6(ipv6)));
            port += 1;
            writer.set_port(interface, PortId::new(port));
            interface
        });
        Self {
            writer,
            subnets,
            hosts,
            now: Duration::from_secs(100),
        }
    }

    fn router_mac(&self, subnet: usize) -> MacAddr {
        self.writer
            .view()
            .subnet(self.subnets[subnet])
            .expect("it is there")
            .router_mac
    }

    fn router_link_local(&self, subnet: usize) -> Ipv6Addr {
        self.writer
            .view()
            .subnet(self.subnets[subnet])
            .expect("it is there")
            .router_link_local()
    }

    fn send(&self, host: usize, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let (verdict, _, answer) = self.decided(host, frame, true);
        (verdict, answer)
    }

    /// The verdict about a frame, whether its request is sent, and the answer. The decision is committed, or only
    /// computed.
    fn decided(&self, host: usize, frame: &[u8], carry_out: bool) -> (Verdict, Option<Asking>, Vec<u8>) {
        let view = self.writer.view();
        let port = PortId::new(host as u32 + 1).expect("it is not 0");
        let ingress = view.ingress(self.hosts[host], port).expect("it is attached");
        let (mut state, mut output) = (PortState::default(), Output::default());
        let fabric = self.writer.fabric();
        let memory = fabric.memory(&state);
        let received = Received {
            bytes: frame,
            meta: FrameMeta::default(),
        };
        let verdict = decide(received, &ingress, view, memory, self.now, &mut output, &mut Unobserved);
        let effects = output.effects.filter(|_| carry_out);
        let asking = effects.and_then(|effects| effects.commit(&ingress, &mut state, &fabric, self.now).asking);
        (verdict, asking, output.reply.frame().to_vec())
    }

    /// A host resolves an address with ARP or a Neighbor Solicitation from its own address.
    fn ask(&self, host: usize, address: IpAddr) -> (Verdict, Vec<u8>) {
        let mut question = ReplyBuffer::new();
        let number = if host == C { 2 } else { 1 };
        match address {
            IpAddr::V4(address) => {
                let own = Ipv4Addr::new(10, 0, number, if host == B { 11 } else { 10 });
                question.arp_request(MACS[host], own, address);
            }
            IpAddr::V6(address) => {
                let own = v6(&format!("2001:db8:0:{number}::{}", if host == B { "b" } else { "a" }));
                question.neighbor_solicitation(MACS[host], own, address);
            }
        }
        self.send(host, question.frame())
    }

    /// The answer in a word: the owner of the MAC, or the drop reason.
    fn answer(&self, host: usize, address: IpAddr) -> String {
        let (verdict, answer) = self.ask(host, address);
        match verdict {
            Verdict::Reply(Answered::Arp) => self.name(&answer[22..28]),
            // The option is at the end of the message.
            Verdict::Reply(Answered::Neighbor) => self.name(&answer[answer.len() - 6..]),
            Verdict::Flood { reply: Some(_), .. } => format!("flood, {}", self.name(&answer[6..12])),
            Verdict::Flood { reply: None, .. } => "flood".to_owned(),
            Verdict::Drop(reason) => reason.name().to_owned(),
            other => format!("{other:?}"),
        }
    }

    fn name(&self, mac: &[u8]) -> String {
        let mac = MacAddr::from_slice(mac).expect("six octets");
        let hosts = ["a", "b", "c"];
        match MACS.iter().position(|known| *known == mac) {
            Some(host) => hosts[host].to_owned(),
            None if mac == self.router_mac(0) => "router".to_owned(),
            None => mac.to_string(),
        }
    }

    /// A UDP packet from a to the router's MAC; a request that it causes is sent.
    fn route(&self, destination: &str) -> Verdict {
        let (verdict, asking, _) = self.decided(A, &packet(A, self.router_mac(0), ip(destination)), true);
        match asking {
            None | Some(Asking::Now) => verdict,
            Some(not_now) => verdict.after_asking(not_now),
        }
    }

    /// c advertises that it has an address.
    fn advertise(&self, address: &str, flags: AdvertisementFlags) -> Verdict {
        let mut told = ReplyBuffer::new();
        let to = (self.router_mac(1), self.router_link_local(1));
        told.neighbor_advertisement(v6(address), MACS[C], v6("2001:db8:0:2::a"), to, flags);
        self.send(C, told.frame()).0
    }

    /// The same without committing.
    fn advertise_dry(&self, address: &str) -> Verdict {
        let mut told = ReplyBuffer::new();
        let to = (self.router_mac(1), self.router_link_local(1));
        told.neighbor_advertisement(v6(address), MACS[C], v6("2001:db8:0:2::a"), to, SOLICITED);
        self.decided(C, told.frame(), false).0
    }

    fn to_c(&self) -> Rewrite {
        Rewrite::Route {
            destination: MACS[C],
            source: self.router_mac(1),
            decrement_ttl: true,
        }
    }

    fn asked(&self, deliver: Option<(PortId, Rewrite)>) -> Verdict {
        Verdict::Ask {
            subnet: self.subnets[1],
            deliver,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

const SOLICITED: AdvertisementFlags = AdvertisementFlags {
    router: false,
    solicited: true,
    override_cached: true,
};

fn port(host: usize) -> PortId {
    PortId::new(host as u32 + 1).expect("it is not 0")
}

fn packet(from: usize, to: MacAddr, destination: IpAddr) -> Vec<u8> {
    let mut frame = [&to.0[..], &MACS[from].0].concat();
    match destination {
        IpAddr::V4(destination) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
            frame.extend([10, 0, 1, if from == B { 11 } else { 10 }]);
            frame.extend(destination.octets());
            let sum = localvpc::wire::checksum::Sum::new().bytes(&frame[14..]).complement();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        IpAddr::V6(destination) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
            frame.extend(
                v6(if from == B {
                    "2001:db8:0:1::b"
                } else {
                    "2001:db8:0:1::a"
                })
                .octets(),
            );
            frame.extend(destination.octets());
        }
    }
    frame.extend([0, 9, 0, 9, 0, 8, 0, 0]);
    frame
}

const PROFILES: [&str; 6] = Profile::NAMES;

#[test]
fn who_answers_arp_and_with_which_mac() {
    // Columns: aws, aws-xen, lan, onlink-64, gcp, azure.
    let unknown = "arp_unknown_address";
    let other = "arp_other_subnet";
    let cases = [
        (
            "10.0.1.1",
            ["router", "router", "flood, router", "flood, router", "router", "router"],
        ),
        ("10.0.1.11", ["b", "b", "flood", "flood", "b", "router"]),
        (
            "10.0.1.10",
            [
                "arp_gratuitous",
                "arp_gratuitous",
                "flood",
                "flood",
                "arp_gratuitous",
                "arp_gratuitous",
            ],
        ),
        ("10.0.1.77", [unknown, unknown, "flood", "flood", unknown, "router"]),
        ("10.0.2.10", [other, other, "flood", "flood", other, "router"]),
        (
            "169.254.169.254",
            ["router", "router", "flood", "flood", "router", "router"],
        ),
        ("168.63.129.16", [unknown, unknown, "flood", "flood", unknown, "router"]),
    ];
    for (address, expected) in cases {
        for (profile, expected) in PROFILES.into_iter().zip(expected) {
            assert_eq!(
                World::new(profile).answer(A, ip(address)),
                expected,
                "{profile}: {address}"
            );
        }
    }
    // An ARP probe for the host's own address (sender 0.0.0.0) is never answered: the host would give the address up.
    let mut probe = ReplyBuffer::new();
    probe.arp_request(MACS[A], Ipv4Addr::UNSPECIFIED, v4("10.0.1.10"));
    for profile in ["aws", "gcp", "azure"] {
        assert_eq!(
            World::new(profile).send(A, probe.frame()).0,
            Verdict::Drop(DropReason::ArpOwn),
            "{profile}"
        );
    }
}

#[test]
fn who_answers_solicitations_and_with_which_mac() {
    let unknown = "neighbor_unknown_address";
    let cases = [
        (
            "2001:db8:0:1::1",
            ["router", "router", "flood, router", "flood, router", "router", "router"],
        ),
        (
            "fe80:ec2::1",
            [
                "router",
                "router",
                "flood",
                "flood",
                "neighbor_not_eui64",
                "neighbor_not_eui64",
            ],
        ),
        (
            "fe80::1",
            [
                "neighbor_not_eui64",
                "neighbor_not_eui64",
                "flood",
                "flood, router",
                "neighbor_not_eui64",
                "neighbor_not_eui64",
            ],
        ),
        (
            "fe80::1234:5678:9abc",
            [
                "neighbor_not_eui64",
                "neighbor_not_eui64",
                "flood",
                "flood",
                "neighbor_not_eui64",
                "router",
            ],
        ),
        ("2001:db8:0:1::b", ["b", "b", "flood", "flood", "b", "router"]),
        (
            "2001:db8:0:1::77",
            [unknown, unknown, "flood", "flood", unknown, "router"],
        ),
        ("fe80::800:ff:fe00:10b", ["b", "b", "flood", "flood", "b", unknown]),
    ];
    for (address, expected) in cases {
        for (profile, expected) in PROFILES.into_iter().zip(expected) {
            assert_eq!(
                World::new(profile).answer(A, ip(address)),
                expected,
                "{profile}: {address}"
            );
        }
    }
}

#[test]
fn what_a_router_says_of_itself() {
    // Source, length of the message, M flag, and options: P the prefix with its flags L and A, R a route with its
    // length.
    let cases = [
        ("aws", "fe80::ff:fe00:101", "M hop 0: P L- S"),
        ("aws-xen", "fe80::ff:fe00:101", "M hop 0: P L- S"),
        ("lan", "fe80::ff:fe00:101", "- hop 64: P LA S"),
        ("onlink-64", "fe80::1", "- hop 64: P L- S"),
        // The EUI-64 link-local of 42:01:0a:00:01:01.
        ("gcp", "fe80::4001:aff:fe00:101", "M hop 0: R/65 S"),
        ("azure", "fe80::1234:5678:9abc", "M hop 0: P L- S"),
    ];
    for (profile, source, expected) in cases {
        let world = World::new(profile);
        let view = world.writer.view();
        let ingress = view.ingress(world.hosts[A], port(A)).expect("it is attached");
        let mut said = ReplyBuffer::new();
        assert!(unsolicited_advertisement(&ingress, &mut said), "{profile}");
        let message = &said.frame()[54..];
        assert_eq!(&said.frame()[22..38], v6(source).octets(), "{profile}");
        let flag = |octet: u8, bit: u8, name: char| if octet & bit == 0 { '-' } else { name };
        let mut seen = format!("{} hop {}:", flag(message[5], 0x80, 'M'), message[4]);
        let mut rest = &message[16..];
        while let [kind, length, third, fourth, ..] = rest {
            match kind {
                3 => seen += &format!(" P {}{}", flag(*fourth, 0x80, 'L'), flag(*fourth, 0x40, 'A')),
                24 => {
                    seen += &format!(" R/{third}");
                    assert_eq!(rest[8..24], v6("2001:db8:0:1::").octets(), "{profile}");
                }
                1 => seen += " S",
                other => panic!("{profile}: option {other}"),
            }
            rest = &rest[usize::from(*length) * 8..];
        }
        assert_eq!(seen, expected, "{profile}");
    }
}

#[test]
fn a_network_without_advertisements_has_none_asked_for_or_not() {
    let overrides = serde_json::from_str(r#"{"router": {"advertisement": {"sent": false}}}"#).expect("an object");
    let silent = Profile::onlink_64()
        .with_overrides(&overrides)
        .expect("fields that are there");
    assert!(!silent.router.advertisement.sent);
    let mut world = World::new("onlink-64");
    let vpc = world.writer.view().subnet(world.subnets[0]).expect("it is there").vpc;
    world.writer.set_vpc(
        vpc,
        VpcSpec {
            profile: Arc::new(silent),
            cidrs: vec![
                "10.0.0.0/16".parse().expect("a range"),
                "2001:db8::/56".parse().expect("a range"),
            ],
            dhcp_options: Arc::default(),
        },
    );
    let view = world.writer.view();
    let ingress = view.ingress(world.hosts[A], port(A)).expect("it is attached");
    assert!(!unsolicited_advertisement(&ingress, &mut ReplyBuffer::new()));
}

#[test]
fn on_azure_neighbors_of_a_subnet_meet_through_the_router() {
    let world = World::new("azure");
    assert_eq!(world.router_mac(0), world.router_mac(1), "one MAC for all subnets");
    let through_router = |destination: usize| Rewrite::Route {
        destination: MACS[destination],
        source: world.router_mac(0),
        decrement_ttl: false,
    };
    for (address, host) in [
        ("10.0.1.11", B),
        ("2001:db8:0:1::b", B),
        ("10.0.2.10", C),
        ("2001:db8:0:2::a", C),
    ] {
        let expected = Verdict::Deliver {
            to: Destination::Port(port(host)),
            rewrite: through_router(host),
        };
        assert_eq!(world.route(address), expected, "{address}");
    }
    // An answer to every request does not mean that every address exists.
    assert_eq!(world.route("10.0.1.77"), Verdict::Drop(DropReason::NoMapping));
}

#[test]
fn a_router_that_asks_sends_to_the_subnet_the_question_who_has_the_address() {
    for (profile, from) in [("lan", "fe80::ff:fe00:201"), ("onlink-64", "fe80::1")] {
        let world = World::new(profile);
        let (verdict, question) = world.send(A, &packet(A, world.router_mac(0), ip("10.0.2.10")));
        assert_eq!(verdict, world.asked(None), "{profile}");
        // RFC 826: broadcast, request, from the gateway's address, for 10.0.2.10.
        let golden = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 2, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 2, 1, 10, 0, 2, 1],
            &[0, 0, 0, 0, 0, 0, 10, 0, 2, 10],
        ];
        assert_eq!(question, golden.concat(), "{profile}");
        let (verdict, question) = world.send(A, &packet(A, world.router_mac(0), ip("2001:db8:0:2::12:345a")));
        assert_eq!(verdict, world.asked(None), "{profile}");
        // RFC 4861 section 7.2.2: to the solicited-node group, hop limit 255, with the router's MAC.
        assert_eq!(
            question[..14],
            [0x33, 0x33, 0xff, 0x12, 0x34, 0x5a, 2, 0, 0, 0, 2, 1, 0x86, 0xdd],
            "{profile}"
        );
        assert_eq!(question[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255], "{profile}");
        assert_eq!(question[22..38], v6(from).octets(), "{profile}");
        assert_eq!(question[38..54], v6("ff02::1:ff12:345a").octets(), "{profile}");
        assert_eq!(question[54..56], [135, 0], "{profile}");
        assert_eq!(question[62..78], v6("2001:db8:0:2::12:345a").octets(), "{profile}");
        assert_eq!(question[78..], [1, 1, 2, 0, 0, 0, 2, 1], "{profile}");
    }
}

#[test]
fn a_packet_waits_for_no_answer_and_the_next_one_finds_it() {
    let mut world = World::new("onlink-64");
    let delivered = Verdict::Deliver {
        to: Destination::Port(port(C)),
        rewrite: world.to_c(),
    };
    assert_eq!(world.route("2001:db8:0:2::a"), world.asked(None));
    assert_eq!(
        world.asked(None).after_asking(Asking::Now),
        Verdict::Drop(DropReason::NeighborResolving)
    );
    // RFC 4861 section 10: one question a second.
    world.pass(Duration::from_millis(999));
    assert_eq!(
        world.route("2001:db8:0:2::a"),
        Verdict::Drop(DropReason::NeighborResolving)
    );
    world.pass(Duration::from_millis(1));
    assert_eq!(world.route("2001:db8:0:2::a"), world.asked(None));
    assert_eq!(world.advertise_dry("2001:db8:0:2::a"), Verdict::Consumed);
    assert_eq!(
        world.route("2001:db8:0:2::a"),
        Verdict::Drop(DropReason::NeighborResolving),
        "what is only asked about teaches nothing"
    );
    assert_eq!(world.advertise("2001:db8:0:2::a", SOLICITED), Verdict::Consumed);
    assert_eq!(world.route("2001:db8:0:2::a"), delivered);
    // The same with ARP.
    let delivered_ipv4 = delivered;
    assert_eq!(world.route("10.0.2.10"), world.asked(None));
    let mut told = ReplyBuffer::new();
    told.arp_reply(MACS[C], v4("10.0.2.10"), world.router_mac(1), v4("10.0.2.1"));
    assert_eq!(world.send(C, told.frame()).0, Verdict::Consumed);
    assert_eq!(world.route("10.0.2.10"), delivered_ipv4);
}

#[test]
fn a_host_that_answers_for_its_container_gets_the_container_s_packets() {
    let world = World::new("onlink-64");
    let container = "2001:db8:0:2::1:2";
    assert_eq!(world.route(container), world.asked(None));
    // Linux answers for a proxied address without the override flag.
    let proxied = AdvertisementFlags {
        override_cached: false,
        ..SOLICITED
    };
    assert_eq!(world.advertise(container, proxied), Verdict::Consumed);
    let delivered = Verdict::Deliver {
        to: Destination::Port(port(C)),
        rewrite: world.to_c(),
    };
    assert_eq!(world.route(container), delivered);
    // On AWS the router sends no request, and a packet for an unmapped address is dropped.
    let aws = World::new("aws");
    assert_eq!(aws.route(container), Verdict::Drop(DropReason::NoMapping));
    assert_eq!(
        aws.advertise(container, proxied),
        Verdict::Drop(DropReason::NeighborAdvertisement)
    );
}

#[test]
fn a_delegated_prefix_is_routed_without_a_question() {
    let mut world = World::new("onlink-64");
    let prefix = "2001:db8:0:2:c::/80".parse().expect("a prefix");
    world.writer.map(world.subnets[1], prefix, Some(world.hosts[C]));
    let delivered = Verdict::Deliver {
        to: Destination::Port(port(C)),
        rewrite: world.to_c(),
    };
    assert_eq!(world.route("2001:db8:0:2:c::77"), delivered);
    assert_eq!(world.route("2001:db8:0:2:d::77"), world.asked(None));
}

#[test]
fn a_neighbor_not_heard_of_for_long_is_asked_again_while_packets_still_go_there() {
    let mut world = World::new("lan");
    let address = "2001:db8:0:2::a";
    let (to_c, second) = (Some((port(C), world.to_c())), Duration::from_secs(1));
    let delivered = Verdict::Deliver {
        to: Destination::Port(port(C)),
        rewrite: world.to_c(),
    };
    world.route(address);
    world.advertise(address, SOLICITED);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.route(address), delivered);
    world.pass(second);
    // Three requests, a second apart, without an answer; then the entry is removed.
    for _ in 0..3 {
        assert_eq!(world.route(address), world.asked(to_c));
        assert_eq!(world.route(address), delivered);
        world.pass(second);
    }
    assert_eq!(world.route(address), world.asked(None));
    // One answer, and the entry is valid for another half minute.
    world.advertise(address, SOLICITED);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.route(address), delivered);
}

#[test]
fn whether_another_station_takes_an_address_is_for_its_flags_to_say() {
    let world = World::new("lan");
    let address = "2001:db8:0:2::77";
    world.route(address);
    let mut told = ReplyBuffer::new();
    // A first station, given only by its MAC: it sends from c's port.
    let first = MacAddr([0x0a, 0, 0, 0, 2, 0x77]);
    let to = (world.router_mac(1), world.router_link_local(1));
    told.neighbor_advertisement(v6(address), first, v6(address), to, SOLICITED);
    assert_eq!(world.send(C, told.frame()).0, Verdict::Consumed);
    let goes_to = |world: &World| match world.route(address).after_asking(Asking::Now) {
        Verdict::Deliver {
            rewrite: Rewrite::Route { destination, .. },
            ..
        } => destination,
        other => panic!("{other:?}"),
    };
    assert_eq!(goes_to(&world), first);
    let weak = AdvertisementFlags {
        override_cached: false,
        ..SOLICITED
    };
    world.advertise(address, weak);
    assert_eq!(
        goes_to(&world),
        first,
        "RFC 4861 section 7.2.5: without O it does not replace"
    );
    world.advertise(address, SOLICITED);
    assert_eq!(goes_to(&world), MACS[C]);
}

#[test]
fn a_gratuitous_arp_moves_a_known_address_on_a_lan_and_teaches_no_unknown_one() {
    let world = World::new("lan");
    let gratuitous = |address: &str, mac: MacAddr| {
        let mut told = ReplyBuffer::new();
        told.gratuitous_arp(mac, v4(address), MacAddr::BROADCAST);
        let mut frame = told.frame().to_vec();
        frame[..6].fill(0xff);
        world.send(C, &frame).0
    };
    assert_eq!(
        gratuitous("10.0.2.50", MACS[C]),
        Verdict::Flood {
            reply: None,
            punt: None
        }
    );
    assert_eq!(world.route("10.0.2.50"), world.asked(None), "no host had asked");
    // A station answers, and later another one takes over.
    let first = MacAddr([0x0a, 0, 0, 0, 2, 0x50]);
    let mut told = ReplyBuffer::new();
    told.arp_reply(first, v4("10.0.2.50"), world.router_mac(1), v4("10.0.2.1"));
    world.send(C, told.frame());
    let rewrite = |destination| Verdict::Deliver {
        to: Destination::Port(port(C)),
        rewrite: Rewrite::Route {
            destination,
            source: world.router_mac(1),
            decrement_ttl: true,
        },
    };
    assert_eq!(world.route("10.0.2.50"), rewrite(first));
    gratuitous("10.0.2.50", MACS[C]);
    assert_eq!(world.route("10.0.2.50"), rewrite(MACS[C]));
}

#[test]
fn who_asks_for_the_router_is_known_to_it() {
    let world = World::new("lan");
    for (asked, address) in [("10.0.2.1", "10.0.2.10"), ("2001:db8:0:2::1", "2001:db8:0:2::a")] {
        assert_eq!(world.answer(C, ip(asked)), "flood, 02:00:00:00:02:01");
        let verdict = world.route(address).after_asking(Asking::Now);
        assert!(
            matches!(verdict, Verdict::Deliver { to: Destination::Port(to), .. } if to == port(C)),
            "{address}: {verdict:?}"
        );
    }
}

#[test]
fn a_scan_of_a_subnet_fills_the_table_and_not_the_memory() {
    let mut world = World::new("onlink-64");
    let known = "2001:db8:0:2::a";
    world.route(known);
    world.advertise(known, SOLICITED);
    let scanned = |number: u32| format!("2001:db8:0:2::5:{:x}:{:x}", number >> 16, number & 0xffff);
    let asked = (0..20_000)
        .filter(|number| world.route(&scanned(*number)) == world.asked(None))
        .count();
    assert_eq!(asked, 8191);
    assert_eq!(
        world.route(&scanned(30_000)),
        Verdict::Drop(DropReason::NeighborTableFull)
    );
    let delivered = Verdict::Deliver {
        to: Destination::Port(port(C)),
        rewrite: world.to_c(),
    };
    assert_eq!(world.route(known), delivered, "who is known stays");
    // An entry without an answer is reused when its place is needed.
    world.pass(Duration::from_secs(2));
    assert_eq!(world.route(&scanned(30_000)), world.asked(None));
    assert_eq!(world.route(known), delivered);
}

#[test]
fn a_station_whose_port_went_away_is_asked_for_anew() {
    let mut world = World::new("lan");
    let address = "2001:db8:0:2::a";
    world.route(address);
    world.advertise(address, SOLICITED);
    world.writer.set_port(world.hosts[C], None);
    assert_eq!(world.route(address), world.asked(None));
    assert_eq!(world.route(address), Verdict::Drop(DropReason::NeighborResolving));
}

#[test]
fn a_packet_too_long_for_a_narrower_network_is_answered_by_a_router_that_asks_too() {
    let world = World::new("lan");
    let address = ip("2001:db8:0:2::a");
    world.route("2001:db8:0:2::a");
    world.advertise("2001:db8:0:2::a", SOLICITED);
    let mut frame = packet(A, world.router_mac(0), address);
    frame.resize(14 + 1501, 0);
    frame[18..20].copy_from_slice(&(1461_u16).to_be_bytes());
    assert_eq!(world.send(A, &frame).0, Verdict::Reply(Answered::TooBig));
}

#[test]
fn a_question_goes_to_every_port_of_the_subnet_and_to_no_other() {
    use localvpc::switch::inprocess::InProcessSwitch;
    use localvpc::switch::port::memory::cable;

    let mut world = World::new("onlink-64");
    let d = world.writer.add_interface(InterfaceSpec {
        subnet: world.subnets[1],
        mac: MacAddr([0x0a, 0, 0, 0, 2, 0x0d]),
        source_dest_check: true,
    });
    let mut switch = InProcessSwitch::new(world.writer.fabric());
    let cards = [world.hosts[A], world.hosts[B], world.hosts[C], d].map(|interface| {
        let (port, card) = cable(1500);
        let port = switch.attach(interface, port);
        world.writer.set_port(interface, Some(port));
        (port, card)
    });
    let [(port_a, a), (_, b), (port_c, c), (_, d)] = &cards;
    let frame = packet(A, world.router_mac(0), ip("2001:db8:0:2::a"));
    for _ in 0..2 {
        a.send(frame.clone()).expect("the queue has room");
    }
    switch.step(world.now);
    let question = c.receive().expect("c is asked");
    assert_eq!(d.receive().as_ref(), Some(&question), "and so is d");
    assert!(!c.has_frame() && !d.has_frame(), "once");
    assert!(!a.has_frame() && !b.has_frame(), "and no host of another subnet");
    let dropped: Vec<_> = switch.take_dropped().iter().map(|dropped| dropped.reason).collect();
    assert_eq!(dropped, [DropReason::NeighborResolving; 2]);
    assert_eq!(switch.counters(*port_c).expect("attached").unasked, 1);
    // c answers; the next packet arrives.
    let mut told = ReplyBuffer::new();
    let to = (world.router_mac(1), world.router_link_local(1));
    told.neighbor_advertisement(v6("2001:db8:0:2::a"), MACS[C], v6("2001:db8:0:2::a"), to, SOLICITED);
    c.send(told.frame().to_vec()).expect("the queue has room");
    switch.step(world.now);
    a.send(frame.clone()).expect("the queue has room");
    switch.step(world.now);
    let arrived = c.receive().expect("the packet arrives");
    assert_eq!(arrived[..6], MACS[C].0);
    assert_eq!(arrived[14 + 7], frame[14 + 7] - 1, "a hop less");
    assert_eq!(switch.take_dropped(), []);
    assert_eq!(switch.counters(*port_a).expect("attached").received.frames, 3);
}
