//! Tests DNS and NTP as hosts use them: the VPC's names and their reverse, refusals, and the time with its skew.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use crate::support::services::{BEGIN, Lab};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use localvpc::datapath::DropReason;
use localvpc::services::Limits;
use localvpc::services::unanswered::Unanswered;

const RESOLVER: &str = "10.0.0.2";
const DOMAIN: &str = "eu-central-1.compute.internal";
const REVERSE_V6: &str = "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

fn resolve(lab: &mut Lab, host: usize, to: &str, message: &Message) -> Option<Message> {
    let answer = lab.ask(host, to, 53, &message.to_vec().unwrap())?;
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    Some(answer)
}

fn records(answer: &Message) -> Vec<String> {
    let text = |data: &RData| match data {
        RData::A(a) => a.0.to_string(),
        RData::AAAA(a) => a.0.to_string(),
        RData::PTR(name) => name.0.to_string(),
        other => format!("{other:?}"),
    };
    answer.answers.iter().map(|record| text(&record.data)).collect()
}

#[test]
fn names_resolve_to_addresses_and_addresses_to_names() {
    use RecordType::{A, AAAA, ANY, MX, PTR};
    use ResponseCode::{NXDomain, NoError, Refused};
    let mut lab = Lab::new();
    let cases: [(&str, RecordType, ResponseCode, &[&str]); 22] = [
        ("ip-10-0-1-10.eu-central-1.compute.internal", A, NoError, &["10.0.1.10"]),
        ("IP-10-0-1-11.Eu-Central-1.compute.INTERNAL", A, NoError, &["10.0.1.11"]),
        (
            "ip-10-0-2-12.eu-central-1.compute.internal",
            ANY,
            NoError,
            &["10.0.2.12"],
        ),
        ("ip-10-0-1-10.eu-central-1.compute.internal", AAAA, NoError, &[]),
        ("ip-10-0-1-10.eu-central-1.compute.internal", MX, NoError, &[]),
        ("ip-10-0-1-99.eu-central-1.compute.internal", A, NXDomain, &[]),
        ("ip-010-0-1-10.eu-central-1.compute.internal", A, NXDomain, &[]),
        ("ip-10-0-1.eu-central-1.compute.internal", A, NXDomain, &[]),
        ("a.ip-10-0-1-10.eu-central-1.compute.internal", A, NXDomain, &[]),
        (
            "i-0000000000000000a.eu-central-1.compute.internal",
            A,
            NoError,
            &["10.0.1.10"],
        ),
        (
            "i-0000000000000000a.eu-central-1.compute.internal",
            AAAA,
            NoError,
            &["2001:db8:0:1::a"],
        ),
        ("i-00000000000000fff.eu-central-1.compute.internal", AAAA, NXDomain, &[]),
        (
            "instance-data.eu-central-1.compute.internal",
            A,
            NoError,
            &["169.254.169.254"],
        ),
        (DOMAIN, A, NoError, &[]),
        (
            "10.1.0.10.in-addr.arpa",
            PTR,
            NoError,
            &["ip-10-0-1-10.eu-central-1.compute.internal."],
        ),
        ("99.1.0.10.in-addr.arpa", PTR, NXDomain, &[]),
        ("10.1.0.10.in-addr.arpa", A, NoError, &[]),
        ("1.0.10.in-addr.arpa", PTR, NoError, &[]),
        ("1.1.168.192.in-addr.arpa", PTR, Refused, &[]),
        (
            REVERSE_V6,
            PTR,
            NoError,
            &["i-0000000000000000a.eu-central-1.compute.internal."],
        ),
        ("example.com", A, Refused, &[]),
        ("compute.internal", A, Refused, &[]),
    ];
    for (name, kind, code, expected) in cases {
        let answer = resolve(&mut lab, 0, RESOLVER, &query(name, kind)).unwrap();
        assert_eq!(answer.metadata.response_code, code, "{name} {kind}");
        assert_eq!(records(&answer), expected, "{name} {kind}");
        assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
        assert!(
            answer.queries[0]
                .name()
                .eq_case(&Name::from_ascii(format!("{name}.")).unwrap())
        );
        // RFC 2308: an empty answer can be kept only with its SOA.
        let negative = expected.is_empty() && code != Refused;
        assert_eq!(answer.authorities.len(), usize::from(negative), "{name} {kind}");
        if negative {
            assert!(answer.authorities[0].name.zone_of(answer.queries[0].name()), "{name}");
        }
    }
}

#[test]
fn the_resolver_is_reached_from_every_subnet_at_each_of_its_addresses() {
    let mut lab = Lab::new();
    let question = query("ip-10-0-1-10.eu-central-1.compute.internal", RecordType::A);
    for to in [RESOLVER, "169.254.169.253", "fd00:ec2::253"] {
        for host in 0..3 {
            let answer = resolve(&mut lab, host, to, &question).unwrap();
            assert_eq!(records(&answer), ["10.0.1.10"], "{to} from {host}");
        }
        lab.pass(Duration::from_secs(1));
    }
    // Base + 2 of a subnet is reserved, but there is no resolver.
    assert!(resolve(&mut lab, 0, "10.0.1.2", &question).is_none());
    let counters = lab.switch.counters(lab.hosts[0].port).unwrap();
    assert_eq!(counters.dropped(DropReason::NoService), 1);
}

#[test]
fn names_come_and_go_with_their_addresses() {
    let mut lab = Lab::new();
    let question = query("ip-10-0-1-77.eu-central-1.compute.internal", RecordType::A);
    let ask = |lab: &mut Lab| resolve(lab, 0, RESOLVER, &question).unwrap().metadata.response_code;
    assert_eq!(ask(&mut lab), ResponseCode::NXDomain);
    let holder = localvpc::services::dns::Holder { instance_id: None };
    lab.source.facts().holders.insert("10.0.1.77".parse().unwrap(), holder);
    assert_eq!(ask(&mut lab), ResponseCode::NoError);
    lab.source.facts().holders.remove(&"10.0.1.77".parse().unwrap());
    assert_eq!(ask(&mut lab), ResponseCode::NXDomain);
    let interface = lab.hosts[0].interface;
    lab.source.facts().zones.get_mut(&interface).unwrap().enabled = false;
    assert!(resolve(&mut lab, 0, RESOLVER, &question).is_none());
    assert_eq!(lab.unanswered(0, Unanswered::DnsDisabled), 1);
}

#[test]
fn dns_over_tcp_answers_one_query_after_another() {
    let mut lab = Lab::new();
    let handle = lab.connect(0, RESOLVER, 53);
    let names = ["ip-10-0-1-10", "ip-10-0-1-11", "ip-10-0-1-12"].map(|host| format!("{host}.{DOMAIN}"));
    let mut stream = Vec::new();
    for name in &names {
        let message = query(name, RecordType::A).to_vec().unwrap();
        stream.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        stream.extend(message);
    }
    // In pieces that end in the middle of lengths and names.
    for piece in stream.chunks(7) {
        lab.send(0, handle, piece);
    }
    let mut answers = lab.read(0, handle);
    let mut found = Vec::new();
    while !answers.is_empty() {
        let length = usize::from(u16::from_be_bytes([answers[0], answers[1]]));
        let answer = Message::from_vec(&answers[2..2 + length]).unwrap();
        found.push((answer.metadata.response_code, records(&answer).concat()));
        answers.drain(..2 + length);
    }
    let expected = [
        (ResponseCode::NoError, "10.0.1.10".to_owned()),
        (ResponseCode::NoError, "10.0.1.11".to_owned()),
        (ResponseCode::NXDomain, String::new()),
    ];
    assert_eq!(found, expected);
    lab.pass(Duration::from_secs(11));
    assert_eq!(lab.server.shared().connections(), 0);
    // A length beyond any query ends the connection.
    let handle = lab.connect(0, RESOLVER, 53);
    lab.send(0, handle, &[0xff, 0xff, 1, 2, 3]);
    assert_eq!(lab.unanswered(0, Unanswered::TooLong), 1);
    lab.pass(Duration::from_secs(6));
    assert_eq!(lab.server.shared().connections(), 0);
}

#[test]
fn odd_queries_get_the_code_that_fits_and_broken_ones_nothing_or_formerr() {
    let mut lab = Lab::new();
    let name = format!("ip-10-0-1-10.{DOMAIN}");
    let mut chaos = query(&name, RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut twice = query(&name, RecordType::A);
    twice.add_query(Query::query(Name::root(), RecordType::A));
    let mut none = query(&name, RecordType::A);
    none.queries.clear();
    let mut notify = query(&name, RecordType::A);
    notify.metadata.op_code = OpCode::Notify;
    let mut newer = query(&name, RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1).set_max_payload(4096);
    newer.set_edns(edns);
    let cases = [
        (chaos, ResponseCode::Refused),
        (twice, ResponseCode::FormErr),
        (none, ResponseCode::FormErr),
        (notify, ResponseCode::NotImp),
        (newer, ResponseCode::BADVERS),
    ];
    for (message, code) in cases {
        let answer = resolve(&mut lab, 0, RESOLVER, &message).unwrap();
        assert_eq!(u16::from(answer.metadata.response_code), u16::from(code));
    }
    let plain = query(&name, RecordType::A);
    let mut with_edns = plain.clone();
    with_edns.set_edns(Edns::new());
    assert!(resolve(&mut lab, 0, RESOLVER, &plain).unwrap().edns.is_none());
    assert_eq!(
        resolve(&mut lab, 0, RESOLVER, &with_edns)
            .unwrap()
            .edns
            .unwrap()
            .max_payload(),
        1232
    );

    // More questions than an answer has room for.
    let mut crowd = plain.clone();
    for number in 0..60 {
        crowd.add_query(query(&format!("nobody-{number}.{DOMAIN}"), RecordType::A).queries[0].clone());
    }
    let crowd = crowd.to_vec().unwrap();
    let answer = lab.ask(0, RESOLVER, 53, &crowd).unwrap();
    assert!(crowd.len() > 512 && answer.len() <= 512, "{} octets", answer.len());
    assert_eq!((&answer[..2], answer[3] & 0x0f), (&crowd[..2], 1));

    let bytes = plain.to_vec().unwrap();
    assert_eq!(lab.ask(0, RESOLVER, 53, &[]), None);
    assert_eq!(lab.ask(0, RESOLVER, 53, &bytes[..11]), None);
    assert_eq!(lab.unanswered(0, Unanswered::DnsMalformed), 2);
    let mut response = bytes.clone();
    response[2] |= 0x80;
    assert_eq!(lab.ask(0, RESOLVER, 53, &response), None);
    assert_eq!(lab.unanswered(0, Unanswered::DnsResponse), 1);
    // A compression loop, a label that runs out of the message, and every truncation.
    let mut loops = bytes[..12].to_vec();
    loops.extend([0xc0, 12, 0, 1, 0, 1]);
    let mut runs_out = bytes[..12].to_vec();
    runs_out.extend([63, b'a']);
    let cut: Vec<Vec<u8>> = (12..bytes.len()).map(|at| bytes[..at].to_vec()).collect();
    for broken in cut.into_iter().chain([loops, runs_out]) {
        let answer = lab.ask(0, RESOLVER, 53, &broken).unwrap();
        assert_eq!(answer[3] & 0x0f, 1, "FORMERR to {broken:02x?}");
        assert_eq!(answer[..2], broken[..2]);
        lab.pass(Duration::from_millis(10));
    }
    // Every octet changed in turn: an answer or a counted silence, never a panic.
    for at in 0..bytes.len() {
        for to in [0, 1, 0x3f, 0xc0, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = to;
            lab.ask(0, RESOLVER, 53, &changed);
        }
        lab.pass(Duration::from_millis(20));
    }
    assert_eq!(records(&resolve(&mut lab, 0, RESOLVER, &plain).unwrap()), ["10.0.1.10"]);
}

#[test]
fn the_rest_is_forwarded_if_it_may_be_and_comes_back_under_the_asker_s_own_number() {
    let mut lab = Lab::with(Limits::default(), true);
    let question = query("example.com", RecordType::A);
    let bytes = question.to_vec().unwrap();
    assert_eq!(lab.ask(0, RESOLVER, 53, &bytes), None);
    let handle = lab.connect(1, RESOLVER, 53);
    lab.send(
        1,
        handle,
        &[&[0, u8::try_from(bytes.len()).unwrap()][..], &bytes].concat(),
    );
    let asked = std::mem::take(&mut *lab.upstream.lock().unwrap());
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0][2..], bytes[2..]);
    assert_ne!(asked[0][..2], asked[1][..2]);
    let answer_to = |query: &[u8]| {
        let mut answer = Message::from_vec(query).unwrap();
        answer.metadata.message_type = MessageType::Response;
        answer
    };
    // No query has this identifier, or this question.
    let mut wrong = answer_to(&asked[1]);
    wrong.metadata.id ^= 0x5555;
    lab.server.resolved(wrong.to_vec().unwrap());
    let mut wrong = answer_to(&asked[1]);
    wrong.queries[0].set_name(Name::from_ascii("example.org.").unwrap());
    lab.server.resolved(wrong.to_vec().unwrap());
    lab.server.resolved(asked[1].clone());
    lab.server.resolved(vec![1]);
    assert!(lab.read(1, handle).is_empty());
    lab.server.resolved(answer_to(&asked[1]).to_vec().unwrap());
    let answer = lab.read(1, handle);
    assert_eq!(answer[2..4], bytes[..2]);
    assert_eq!(usize::from(answer[1]), answer.len() - 2);
    // The other query gets no answer: its client gets SERVFAIL.
    lab.sent.clear();
    lab.pass(Duration::from_secs(3));
    let told = lab
        .sent
        .iter()
        .find(|(port, frame)| *port == lab.hosts[0].port && frame[23] == 17)
        .unwrap();
    let told = Message::from_vec(&told.1[42..]).unwrap();
    assert_eq!(
        (told.metadata.id, told.metadata.response_code),
        (4711, ResponseCode::ServFail)
    );
    // The VPC's own names are never forwarded.
    let own = query("ip-10-0-1-99.eu-central-1.compute.internal", RecordType::A);
    assert_eq!(
        resolve(&mut lab, 0, RESOLVER, &own).unwrap().metadata.response_code,
        ResponseCode::NXDomain
    );
    assert!(lab.upstream.lock().unwrap().is_empty());
    // The number of pending queries is limited.
    for _ in 0..70 {
        lab.ask(2, RESOLVER, 53, &bytes);
    }
    assert_eq!(lab.unanswered(2, Unanswered::DnsForwardFull), 6);
}

#[test]
fn an_answer_from_outside_that_is_too_long_for_a_datagram_is_cut_and_says_so() {
    let mut lab = Lab::with(Limits::default(), true);
    let question = query("example.com", RecordType::TXT);
    lab.ask(0, RESOLVER, 53, &question.to_vec().unwrap());
    let asked = lab.upstream.lock().unwrap().remove(0);
    let mut answer = Message::from_vec(&asked).unwrap();
    answer.metadata.message_type = MessageType::Response;
    for n in 0..60 {
        let name = Name::from_ascii("example.com.").unwrap();
        let data = RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, n));
        answer.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
    }
    lab.sent.clear();
    lab.server.resolved(answer.to_vec().unwrap());
    lab.settle();
    let cut = Message::from_vec(&lab.sent[0].1[42..]).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(cut.metadata.id, 4711);
}

#[test]
fn an_answer_from_outside_that_cannot_be_cut_is_a_failure_of_the_resolver() {
    let mut lab = Lab::with(Limits::default(), true);
    let question = query("example.com", RecordType::A);
    lab.ask(0, RESOLVER, 53, &question.to_vec().unwrap());
    // The question as it was, and an OPT record with an option of 1000 octets, which a cut leaves in.
    let mut answer = lab.upstream.lock().unwrap().remove(0);
    (answer[2], answer[11]) = (answer[2] | 0x80, 1);
    answer.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0x03, 0xec, 0xfd, 0xe9, 0x03, 0xe8]);
    answer.extend([0; 1000]);
    lab.sent.clear();
    lab.server.resolved(answer);
    lab.settle();
    let heard = Message::from_vec(&lab.sent[0].1[42..]).unwrap();
    assert_eq!(heard.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(heard.metadata.id, 4711);
}

#[test]
fn the_time_has_the_skew_that_was_set() {
    let mut lab = Lab::new();
    let mut request = [0_u8; 48];
    (request[0], request[40]) = (0x23, 0x77);
    let interface = lab.hosts[1].interface;
    lab.source.facts().skews.insert(interface, -90_000_000_000);
    for to in ["169.254.169.123", "fd00:ec2::123"] {
        for (host, skew) in [(0, 0), (1, -90), (2, 0)] {
            let answer = lab.ask(host, to, 123, &request).unwrap();
            let transmit = u32::from_be_bytes(answer[40..44].try_into().unwrap());
            let now = i64::try_from(BEGIN + 2_208_988_800).unwrap();
            let elapsed = i64::from(transmit) - now - skew;
            assert!((0..3).contains(&elapsed), "{to} to host {host}: {elapsed}");
            assert_eq!((answer[0], answer[1], answer[24]), (0x24, 3, 0x77));
        }
        lab.pass(Duration::from_secs(1));
    }
    for (first, reason) in [
        (0x24, Unanswered::NtpMode),
        (0x3b, Unanswered::NtpVersion),
        (0x21, Unanswered::NtpMode),
    ] {
        request[0] = first;
        let before = lab.unanswered(0, reason);
        assert_eq!(lab.ask(0, "169.254.169.123", 123, &request), None);
        assert_eq!(lab.unanswered(0, reason), before + 1, "{first:02x}");
    }
    assert_eq!(lab.ask(0, "169.254.169.123", 123, &request[..47]), None);
    assert_eq!(lab.unanswered(0, Unanswered::NtpMalformed), 1);
    assert_eq!(lab.ask(0, "169.254.169.123", 123, &[0x23; 3000]), None);
    assert_eq!(lab.unanswered(0, Unanswered::TooLong), 1);
}

/// The same lab with a host 0 whose subnet has DNS64.
fn with_dns64() -> Lab {
    let lab = Lab::with(Limits::default(), true);
    let interface = lab.hosts[0].interface;
    lab.source.facts().zones.get_mut(&interface).unwrap().dns64 = true;
    lab
}

#[test]
fn a_name_with_ipv4_addresses_alone_has_made_ones_where_the_subnet_has_dns64() {
    use RecordType::{A, AAAA};
    let mut lab = with_dns64();
    let name = |label: &str| format!("{label}.{DOMAIN}");
    let ask = |lab: &mut Lab, host, label: &str, kind| {
        let answer = resolve(lab, host, RESOLVER, &query(&name(label), kind)).unwrap();
        (answer.metadata.response_code, records(&answer))
    };
    let no_error = |found: &[&str]| {
        let found = found.iter().map(ToString::to_string).collect();
        (ResponseCode::NoError, found)
    };
    assert_eq!(ask(&mut lab, 0, "ip-10-0-1-11", AAAA), no_error(&["64:ff9b::a00:10b"]));
    assert_eq!(ask(&mut lab, 0, "ip-10-0-1-11", A), no_error(&["10.0.1.11"]));
    assert_eq!(ask(&mut lab, 1, "ip-10-0-1-11", AAAA), no_error(&[]), "another subnet");
    // One that has an IPv6 address has no other.
    assert_eq!(ask(&mut lab, 0, "instance-data", AAAA), no_error(&["fd00:ec2::254"]));
    assert_eq!(ask(&mut lab, 0, "ip-10-0-1-99", AAAA).0, ResponseCode::NXDomain);
    // What the VPC does not have goes to the resolver of the outside, the reverse of a made address too.
    let reverse = "b.0.1.0.0.0.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.9.f.f.4.6.0.0.ip6.arpa";
    let asked = query(reverse, RecordType::PTR).to_vec().unwrap();
    assert_eq!(lab.ask(0, RESOLVER, 53, &asked), None);
    assert_eq!(lab.upstream.lock().unwrap().len(), 1);
    // RFC 6147 section 5.5: a client that validates answers itself gets what there is.
    let mut validating = query(&name("ip-10-0-1-11"), AAAA);
    validating.metadata.checking_disabled = true;
    validating.edns.get_or_insert_with(Edns::new).set_dnssec_ok(true);
    assert!(records(&resolve(&mut lab, 0, RESOLVER, &validating).unwrap()).is_empty());
}

#[test]
fn a_name_of_the_outside_is_asked_for_again_where_it_has_no_ipv6_address() {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let soa = |ttl| {
        let soa = SOA::new(name("ns."), name("hostmaster."), 1, 1, 1, 1, ttl);
        Record::from_rdata(name("example.com."), ttl, RData::SOA(soa))
    };
    let ipv4 = || {
        vec![
            Record::from_rdata(name("example.com."), 900, RData::CNAME(CNAME(name("www.example.com.")))),
            Record::from_rdata(name("www.example.com."), 3600, RData::A(A::new(192, 0, 2, 1))),
        ]
    };
    let address = |text: &str| {
        let data = RData::AAAA(AAAA(text.parse().unwrap()));
        vec![Record::from_rdata(name("example.com."), 60, data)]
    };
    // The first answer with its code, the second one if it is asked for, and the addresses and the life of the last.
    type Case = (
        &'static str,
        (ResponseCode, Vec<Record>),
        Option<Vec<Record>>,
        &'static [&'static str],
        u32,
    );
    let cases: [Case; 6] = [
        (
            "an IPv6 address",
            (ResponseCode::NoError, address("2001:db8::1")),
            None,
            &["2001:db8::1"],
            60,
        ),
        (
            "no IPv6 address",
            (ResponseCode::NoError, vec![]),
            Some(ipv4()),
            &["64:ff9b::c000:201"],
            300,
        ),
        (
            "no address at all",
            (ResponseCode::NoError, vec![]),
            Some(vec![]),
            &[],
            0,
        ),
        ("no such name", (ResponseCode::NXDomain, vec![]), None, &[], 0),
        (
            "a mapped one",
            (ResponseCode::NoError, address("::ffff:1.2.3.4")),
            Some(ipv4()),
            &["64:ff9b::c000:201"],
            300,
        ),
        (
            "a server that knows no AAAA",
            (ResponseCode::ServFail, vec![]),
            Some(ipv4()),
            &["64:ff9b::c000:201"],
            300,
        ),
    ];
    for (what, (code, first), second, addresses, ttl) in cases {
        let mut lab = with_dns64();
        let question = query("example.com", RecordType::AAAA);
        assert_eq!(lab.ask(0, RESOLVER, 53, &question.to_vec().unwrap()), None);
        let answer = |lab: &mut Lab, kind, code, records| {
            let asked = lab.upstream.lock().unwrap().remove(0);
            let mut answer = Message::from_vec(&asked).unwrap();
            assert_eq!(answer.queries[0].query_type(), kind, "{what}");
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.response_code = code;
            answer.add_answers(records);
            answer.add_authority(soa(300));
            lab.sent.clear();
            lab.server.resolved(answer.to_vec().unwrap());
            lab.settle();
        };
        answer(&mut lab, RecordType::AAAA, code, first);
        if let Some(records) = second {
            assert!(lab.sent.is_empty(), "{what}: not yet");
            answer(&mut lab, RecordType::A, ResponseCode::NoError, records);
        }
        assert!(lab.upstream.lock().unwrap().is_empty(), "{what}: no more is asked");
        let heard = Message::from_vec(&lab.sent[0].1[42..]).unwrap();
        assert_eq!((heard.metadata.id, &heard.queries), (4711, &question.queries), "{what}");
        let found = records(&heard)
            .into_iter()
            .filter(|record| !record.starts_with("CNAME"))
            .collect::<Vec<_>>();
        assert_eq!(found, addresses, "{what}");
        let last = heard.answers.last().map_or(0, |record| record.ttl);
        assert_eq!(last, ttl, "{what}");
    }
}
