//! Tests metadata over TCP from the link-local address: each host gets its own, with the token's TTL, whatever other
//! hosts do.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::support::services::Lab;
use localvpc::datapath::faults::MetadataFault;
use localvpc::datapath::{Answered, DropReason};
use localvpc::services::Limits;
use localvpc::services::unanswered::Unanswered;
use localvpc::wire::checksum::Sum;
use smoltcp::socket::tcp::State;

const IMDS: &str = "169.254.169.254";
const IMDS_V6: &str = "fd00:ec2::254";
const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{more}\r\n")
}

fn body(answer: &str) -> &str {
    answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
        .1
}

/// TTL or hop limit of a frame.
fn hops(frame: &[u8]) -> u8 {
    if frame[12..14] == [0x86, 0xdd] {
        frame[14 + 7]
    } else {
        frame[14 + 8]
    }
}

#[test]
fn each_host_reads_its_own_metadata_over_ipv4_and_ipv6() {
    let mut lab = Lab::new();
    for to in [IMDS, IMDS_V6] {
        for (host, address) in [(0, "10.0.1.10"), (1, "10.0.1.11"), (2, "10.0.2.12")] {
            let answer = lab.http(host, to, &get("/latest/meta-data/local-ipv4", ""));
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert_eq!(body(&answer), address);
        }
        // The hosts' stacks send one neighbor request a second.
        lab.pass(Duration::from_secs(1));
    }
}

#[test]
fn a_token_arrives_with_one_hop_left_and_the_rest_with_many() {
    for (to, limit) in [(IMDS, 1), (IMDS_V6, 1), (IMDS, 2)] {
        let mut lab = Lab::new();
        let interface = lab.hosts[0].interface;
        std::sync::Arc::make_mut(lab.source.facts().instances.get_mut(&interface).unwrap())
            .options
            .hop_limit = limit;
        let handle = lab.connect(0, to, 80);
        assert!(
            lab.sent.iter().all(|(_, frame)| hops(frame) == 64),
            "the handshake crosses hops"
        );
        lab.sent.clear();
        lab.send(
            0,
            handle,
            b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n",
        );
        let answer = String::from_utf8(lab.read(0, handle)).unwrap();
        assert!(answer.contains("x-aws-ec2-metadata-token-ttl-seconds: 60"), "{answer}");
        let with_payload: Vec<u8> = lab
            .sent
            .iter()
            .filter(|(_, f)| f.len() > 90)
            .map(|(_, f)| hops(f))
            .collect();
        assert!(!with_payload.is_empty());
        assert!(with_payload.iter().all(|hops| *hops == limit), "{with_payload:?}");
        lab.sent.clear();
        let token = format!("X-aws-ec2-metadata-token: {}\r\n", body(&answer));
        lab.send(0, handle, get("/latest/meta-data/instance-id", &token).as_bytes());
        let answer = String::from_utf8(lab.read(0, handle)).unwrap();
        assert_eq!(body(&answer), "i-0000000000000000a");
        assert!(lab.sent.iter().all(|(_, frame)| hops(frame) == 64));
    }
}

#[test]
fn long_answers_and_requests_in_a_row_come_whole_and_in_order() {
    let mut lab = Lab::new();
    let answer = lab.http(0, IMDS, &get("/latest/user-data", "Connection: close\r\n"));
    assert_eq!(body(&answer).len(), 16_384);
    let pipelined = [
        get("/latest/meta-data/mac", ""),
        get("/latest/meta-data/ami-id", ""),
        get("/nothing", ""),
    ];
    let answer = lab.http(0, IMDS, &pipelined.concat());
    let positions = ["0a:00:00:00:00:0a", "ami-00000000000000001", "404 - Not Found"].map(|s| answer.find(s).unwrap());
    assert!(positions.is_sorted(), "{answer}");
    let head = lab.http(0, IMDS, "HEAD /latest/meta-data/mac HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"));
    assert_eq!(body(&head), "");
    assert_eq!(
        body(&lab.http(0, IMDS, "GET /latest/meta-data/mac HTTP/1.0\r\n\r\n")),
        "0a:00:00:00:00:0a"
    );
}

#[test]
fn a_host_that_has_said_all_it_has_to_say_still_hears_the_answer() {
    let mut lab = Lab::new();
    let handle = lab.connect(0, IMDS, 80);
    lab.hosts[0]
        .tcp(handle)
        .send_slice(get("/latest/meta-data/mac", "").as_bytes())
        .unwrap();
    lab.hosts[0].tcp(handle).close();
    let answer = String::from_utf8(lab.read(0, handle)).unwrap();
    assert_eq!(body(&answer), "0a:00:00:00:00:0a");
    lab.pass(Duration::from_secs(11));
    assert_eq!(lab.server.shared().connections(), 0);
}

#[test]
fn a_port_without_a_service_refuses_and_other_services_ports_are_not_shared() {
    let mut lab = Lab::new();
    for (to, port) in [
        (IMDS, 81),
        (IMDS, 53),
        ("169.254.169.253", 80),
        ("169.254.169.123", 80),
        ("10.0.0.2", 80),
    ] {
        let handle = lab.connect(0, to, port);
        assert_eq!(lab.hosts[0].tcp(handle).state(), State::Closed, "{to} {port}");
    }
    assert_eq!(lab.unanswered(0, Unanswered::NoSuchPort), 5);
    assert_eq!(lab.ask(0, IMDS, 53, b"anything"), None);
    assert_eq!(lab.unanswered(0, Unanswered::NoSuchPort), 6);
}

#[test]
fn bytes_that_are_not_http_end_their_connection_only() {
    let mut lab = Lab::new();
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    let corpus: [&[u8]; 10] = [
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\n: empty\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ];
    for bytes in corpus {
        let handle = lab.connect(0, IMDS, 80);
        let _ = lab.hosts[0].tcp(handle).send_slice(bytes);
        let answer = lab.read(0, handle);
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(!text.starts_with("HTTP/1.1 2"), "{text}");
        lab.hosts[0].tcp(handle).abort();
        lab.settle();
        lab.hosts[0].sockets.remove(handle);
    }
    assert!(lab.unanswered(0, Unanswered::HttpMalformed) >= 6);
    lab.pass(Duration::from_secs(16));
    assert_eq!(lab.server.shared().connections(), 0);
    let answer = lab.http(0, IMDS, &get("/latest/meta-data/mac", ""));
    assert_eq!(body(&answer), "0a:00:00:00:00:0a");
}

#[test]
fn who_sends_a_request_letter_by_letter_is_cut_off() {
    let mut lab = Lab::new();
    let handle = lab.connect(0, IMDS, 80);
    let request = get("/latest/meta-data/mac", &"X: yyyyyyyyyyyyyyyyyyyy\r\n".repeat(4));
    for letter in request.as_bytes() {
        if lab.hosts[0].tcp(handle).state() != State::Established {
            break;
        }
        lab.send(0, handle, &[*letter]);
        lab.pass(Duration::from_millis(500));
    }
    assert_eq!(lab.hosts[0].tcp(handle).state(), State::Closed);
    assert_eq!(lab.unanswered(0, Unanswered::IdleTimeout), 1);
    assert_eq!(lab.server.shared().connections(), 0);
}

#[test]
fn who_does_not_read_the_answer_is_cut_off() {
    let mut lab = Lab::new();
    let handle = lab.connect(0, IMDS, 80);
    let requests = get("/latest/user-data", "").repeat(8);
    let _ = lab.hosts[0].tcp(handle).send_slice(requests.as_bytes());
    lab.pass(Duration::from_secs(30));
    assert_eq!(lab.hosts[0].tcp(handle).state(), State::Closed);
    assert_eq!(lab.server.shared().connections(), 0);
    assert_eq!(lab.unanswered(0, Unanswered::IdleTimeout), 1);
}

#[test]
fn a_connection_that_is_used_stays_and_one_that_is_not_goes() {
    let mut lab = Lab::new();
    let (used, unused) = (lab.connect(0, IMDS, 80), lab.connect(0, IMDS, 80));
    for _ in 0..4 {
        lab.pass(Duration::from_secs(8));
        lab.send(0, used, get("/latest/meta-data/mac", "").as_bytes());
        assert!(lab.read(0, used).starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(lab.hosts[0].tcp(unused).state(), State::Closed);
    assert_eq!(lab.server.shared().connections(), 1);
    lab.pass(Duration::from_secs(11));
    assert_eq!(lab.server.shared().connections(), 0);
    assert_eq!(lab.server.shared().interfaces(), 1);
    lab.pass(Duration::from_secs(60));
    assert_eq!(lab.server.shared().interfaces(), 0);
}

#[test]
fn a_flood_of_half_open_connections_costs_only_itself() {
    let limits = Limits::default();
    let mut lab = Lab::new();
    lab.hosts[1].deaf = true;
    // Ten thousand SYNs in twenty seconds, without a completed handshake.
    for round in 0..400 {
        for n in 0..25_u16 {
            let port = 1024 + (round * 25 + n) % 60_000;
            let syn = lab.hosts[1].syn(lab.hosts[1].ipv4, port, SERVICE, 80, i32::from(port));
            lab.hosts[1].card.send(syn).unwrap();
        }
        lab.pass(Duration::from_millis(50));
        assert!(lab.server.shared().connections() <= limits.per_interface);
    }
    let reset = lab.unanswered(1, Unanswered::HalfOpenReplaced) + lab.unanswered(1, Unanswered::HandshakeTimeout);
    let known = reset + lab.server.shared().connections() as u64;
    assert_eq!(known, 10_000);
    lab.hosts[1].deaf = false;
    // Another host is served meanwhile, and so is the flooding one.
    for host in [0, 1] {
        let answer = lab.http(host, IMDS, &get("/latest/meta-data/instance-type", ""));
        assert_eq!(body(&answer), "t3.micro");
    }
    lab.pass(Duration::from_secs(70));
    assert_eq!(
        (lab.server.shared().connections(), lab.server.shared().interfaces()),
        (0, 0)
    );
}

#[test]
fn ten_thousand_connections_are_held_to_the_limits() {
    let limits = Limits {
        per_interface: 64,
        connections: 100,
        reserved: 4,
        ..Limits::default()
    };
    let mut lab = Lab::with(limits, false);
    let mut opened = 0_usize;
    while opened < 10_000 {
        for host in [0, 1] {
            let burst: Vec<_> = (0..40).map(|_| lab.hosts[host].connect(IMDS, 80)).collect();
            opened += burst.len();
            lab.settle();
            assert!(
                lab.server.shared().connections() <= 104,
                "{}",
                lab.server.shared().connections()
            );
            for handle in burst {
                // Removed silently, as from a host that crashed: the service must not depend on a FIN.
                lab.hosts[host].sockets.remove(handle);
            }
        }
        lab.pass(Duration::from_millis(200));
        // A third host always gets its reserved connections.
        if opened.is_multiple_of(800) {
            let answer = lab.http(2, IMDS, &get("/latest/meta-data/local-ipv4", "Connection: close\r\n"));
            assert_eq!(body(&answer), "10.0.2.12");
        }
    }
    assert!(lab.unanswered(0, Unanswered::ConnectionLimit) > 1000);
    lab.pass(Duration::from_secs(20));
    assert_eq!(lab.server.shared().connections(), 0);
    let answer = lab.http(0, IMDS, &get("/latest/meta-data/local-ipv4", ""));
    assert_eq!(body(&answer), "10.0.1.10");
}

#[test]
fn an_interface_sends_so_many_packets_a_second_to_the_services_and_no_more() {
    let mut lab = Lab::new();
    for n in 0..1500_u16 {
        let syn = lab.hosts[0].syn(lab.hosts[0].ipv4, 2000 + n, SERVICE, 81, 1);
        lab.hosts[0].card.send(syn).unwrap_or_default();
        if n % 500 == 499 {
            lab.settle();
        }
    }
    let counters = lab.switch.counters(lab.hosts[0].port).unwrap();
    assert_eq!(counters.dropped(DropReason::LinkLocalAllowance), 1500 - 1024);
    assert_eq!(
        lab.switch
            .counters(lab.hosts[1].port)
            .unwrap()
            .dropped(DropReason::LinkLocalAllowance),
        0
    );
    let handle = lab.connect(1, IMDS, 80);
    assert_eq!(lab.hosts[1].tcp(handle).state(), State::Established);
    lab.pass(Duration::from_secs(1));
    let handle = lab.connect(0, IMDS, 80);
    assert_eq!(lab.hosts[0].tcp(handle).state(), State::Established);
}

#[test]
fn a_request_that_is_held_up_on_purpose_is_answered_late_and_no_other_waits_for_it() {
    let mut lab = Lab::new();
    // Longer than a connection may be idle.
    let delay = Limits::default().idle + Duration::from_secs(5);
    let fault = MetadataFault {
        delay,
        ..MetadataFault::default()
    };
    let interface = lab.hosts[0].interface;
    lab.source.facts().metadata_faults.insert(interface, fault);
    let request = get("/latest/meta-data/local-ipv4", "");
    let handle = lab.connect(0, IMDS, 80);
    lab.send(0, handle, request.as_bytes());
    assert_eq!(body(&lab.http(1, IMDS, &request)), "10.0.1.11");
    lab.pass(delay - Duration::from_millis(100));
    assert_eq!(lab.read(0, handle), b"");
    lab.pass(Duration::from_millis(100));
    let answer = String::from_utf8(lab.read(0, handle)).unwrap();
    assert_eq!(body(&answer), "10.0.1.10");
}

#[test]
fn a_foreign_source_is_answered_only_where_the_check_is_off() {
    let mut lab = Lab::new();
    let (foreign, interface) = (Ipv4Addr::new(172, 17, 0, 2), lab.hosts[0].interface);
    for (check, answers) in [(true, 0), (false, 1)] {
        lab.writer.set_source_dest_check(interface, check);
        let syn = lab.hosts[0].syn(foreign, 5000, SERVICE, 80, 1);
        lab.hosts[0].card.send(syn).unwrap();
        lab.sent.clear();
        lab.settle();
        let answered = lab
            .sent
            .iter()
            .filter(|(_, frame)| frame[30..34] == foreign.octets())
            .count();
        assert_eq!(answered, answers, "check {check}");
        for (_, frame) in &lab.sent {
            assert_eq!(
                (&frame[..6], &frame[6..12]),
                (&lab.hosts[0].mac.0[..], &lab.hosts[0].router.0[..])
            );
        }
    }
    assert_eq!(
        lab.switch
            .counters(lab.hosts[0].port)
            .unwrap()
            .dropped(DropReason::SourceCheck),
        1
    );
}

#[test]
fn packets_that_are_broken_are_counted_and_reach_no_stack() {
    let mut lab = Lab::new();
    let syn = lab.hosts[0].syn(lab.hosts[0].ipv4, 5000, SERVICE, 80, 1);
    let (interface, port) = (lab.hosts[0].interface, lab.hosts[0].port);
    let changed = |at: usize, to: u8| {
        let mut frame = syn.clone();
        frame[at] = to;
        frame
    };
    let cases = [
        (syn[..13].to_vec(), Unanswered::Malformed),
        (syn[..40].to_vec(), Unanswered::Malformed),
        (changed(13, 6), Unanswered::Malformed),
        (changed(50, 0x12), Unanswered::Checksum),
        (changed(24, 0), Unanswered::Checksum),
        (changed(46, 0xf0), Unanswered::Malformed),
        (changed(46, 0x10), Unanswered::Malformed),
    ];
    for (frame, reason) in cases {
        let before = lab.unanswered(0, reason);
        lab.server.receive(interface, port, &frame, false);
        assert_eq!(lab.unanswered(0, reason), before + 1, "{reason} {frame:02x?}");
    }
    assert_eq!(lab.server.shared().interfaces(), 0);
    // A checksum that the sender left to the hardware is not verified.
    lab.server.receive(interface, port, &changed(50, 0x12), true);
    assert_eq!(lab.server.shared().connections(), 1);
    // No bytes cause a panic: every octet of the frame in turn, with several values.
    for at in 0..syn.len() {
        for to in [0, 1, 0x45, 0x7f, 0x80, 0xff] {
            lab.server.receive(interface, port, &changed(at, to), true);
            lab.server.receive(interface, port, &syn[..at], true);
        }
    }
    lab.settle();
}

/// An IPv4 packet of the first host to its router, with a right header checksum; `options` lengthen the header.
fn packet(lab: &Lab, from: Ipv4Addr, to: Ipv4Addr, ttl: u8, options: &[u8], upper: (u8, &[u8])) -> Vec<u8> {
    let length = 20 + options.len();
    let total = (length + upper.1.len()) as u16;
    let mut header = vec![0x40 | (length / 4) as u8, 0, 0, 0, 0, 1, 0x40, 0, ttl, upper.0, 0, 0];
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header.extend(from.octets());
    header.extend(to.octets());
    header.extend(options);
    let sum = Sum::new().bytes(&header).complement();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [
        &lab.hosts[0].router.0[..],
        &lab.hosts[0].mac.0,
        &[8, 0],
        &header,
        upper.1,
    ]
    .concat()
}

/// A datagram without checksum, as IPv4 allows, and with octets behind its end.
fn datagram(from: u16, to: u16, payload: &[u8], behind: usize) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let words = [from, to, length, 0].map(u16::to_be_bytes).concat();
    [&words[..], payload, &vec![0; behind]].concat()
}

/// RFC 1122 section 3.2.1: all services of the VPC accept and refuse the same headers.
#[test]
fn the_same_header_is_judged_alike_by_every_service() {
    let mut discover = vec![0; 240];
    (discover[0], discover[1], discover[2]) = (1, 1, 6);
    discover[28..34].copy_from_slice(&Lab::new().hosts[0].mac.0);
    discover[236..240].copy_from_slice(&[99, 130, 83, 99]);
    discover.extend([53, 1, 1, 255]);
    let name = b"\x0cip-10-0-1-11\x0ceu-central-1\x07compute\x08internal\0\0\x01\0\x01";
    let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name].concat();
    let time = [&[0x23][..], &[0; 47]].concat();
    let gateway = Ipv4Addr::new(10, 0, 1, 1);
    let own = Ipv4Addr::new(10, 0, 1, 10);
    let service = |last: u8| Ipv4Addr::new(169, 254, 169, last);
    let nop = [1, 1, 1, 1];
    // Source, TTL, options, octets behind a datagram, whether the checksum is right: is it answered?
    let cases = [
        ("a usual header", own, 64, &[][..], 0, true, true),
        ("TTL 0", own, 0, &[], 0, true, true),
        ("options", own, 64, &nop, 0, true, true),
        ("octets behind the datagram", own, 64, &[], 3, true, true),
        ("a wrong header checksum", own, 64, &[], 0, false, false),
        (
            "a source in 127/8",
            Ipv4Addr::new(127, 0, 0, 1),
            64,
            &[],
            0,
            true,
            false,
        ),
        (
            "a source that is a group",
            Ipv4Addr::new(224, 0, 0, 1),
            64,
            &[],
            0,
            true,
            false,
        ),
    ];
    for (what, from, ttl, options, behind, right, answered) in cases {
        let services = [
            ("DHCP", gateway, 17, datagram(68, 67, &discover, behind)),
            ("DNS", service(253), 17, datagram(5353, 53, &query, behind)),
            ("time", service(123), 17, datagram(5353, 123, &time, behind)),
            ("metadata", SERVICE, 6, {
                let syn = Lab::new().hosts[0].syn(from, 5000, SERVICE, 80, 1);
                syn[34..].to_vec()
            }),
        ];
        for (name, to, protocol, upper) in services {
            let mut lab = Lab::new();
            let port = lab.hosts[0].port;
            lab.writer.set_source_dest_check(lab.hosts[0].interface, false);
            let mut frame = packet(&lab, from, to, ttl, options, (protocol, &upper));
            if !right {
                frame[24] ^= 0x10;
            }
            lab.hosts[0].card.send(frame).unwrap();
            lab.settle();
            let offers = lab.switch.counters(port).unwrap().answered(Answered::Dhcpv4Offer);
            let heard = offers > 0 || !lab.sent.is_empty();
            assert_eq!(heard, answered, "{name}: {what}");
        }
    }
}
