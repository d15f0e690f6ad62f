//! Laws of flow records, each as a sentence. The lines are those of AWS's documentation where it has some.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::collector::{Closed, Collector, Lookup, Shelf};
use super::line::Place;
use crate::datapath::policy::RuleName;
use crate::datapath::{DropReason, Fact, Observer, Passage, RouteTarget, Stage};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::flow_log::{Destination, FlowLogResource, LogFormat, TrafficType};
use crate::model::ids::ResourceId;
use crate::model::traffic::Direction;
use crate::model::{FlowLog, FlowLogId, InstanceId, InterfaceId, SubnetId, VpcId};
use crate::switch::observe::{self, Fate, Observed};

/// 2014-12-14T04:07:10Z, the time of AWS's examples.
const EPOCH: u64 = 1_418_530_000;

/// A network of two interfaces: 172.31.16.139, which is the first one's, and 172.31.16.21.
struct Two;

fn index(number: u32) -> InterfaceIndex {
    InterfaceIndex(NonZeroU32::new(number).unwrap())
}

impl Lookup for Two {
    fn place(&self, interface: InterfaceIndex) -> Option<Place> {
        let (primary, ipv6) = match interface.get() {
            1 => ("172.31.16.139", "2001:db8::139"),
            2 => ("172.31.16.21", "2001:db8::21"),
            // A NAT gateway.
            3 => ("10.0.0.220", "2001:db8::220"),
            _ => return None,
        };
        Some(Place {
            interface: InterfaceId::from_bits(interface.get().into()),
            vpc: VpcId::from_bits(7),
            subnet: SubnetId::from_bits(8),
            instance: (interface.get() != 3).then(|| InstanceId::from_bits(interface.get().into())),
            region: "us-east-1".to_owned(),
            zone_id: "use1-az1".to_owned(),
            primary: Some(primary.parse().unwrap()),
            ipv6: vec![ipv6.parse().unwrap()],
        })
    }

    fn attached(&self, resource: FlowLogResource) -> Vec<(InterfaceIndex, Place)> {
        let places = [1, 2].map(|number| (index(number), self.place(index(number)).unwrap()));
        let covered = places.into_iter();
        covered
            .filter(|(_, place)| resource.covers(place.vpc, place.subnet, place.interface))
            .collect()
    }
}

fn log(format: LogFormat) -> FlowLog {
    FlowLog {
        id: FlowLogId::from_bits(1),
        name: None,
        resource: FlowLogResource::Interface(InterfaceId::from_bits(1)),
        traffic: TrafficType::All,
        destination: Destination::Memory,
        format,
        interval: "60s".parse().unwrap(),
        created_at: UNIX_EPOCH,
        tags: Default::default(),
    }
}

fn collector(logs: Vec<FlowLog>) -> Collector<Two> {
    let epoch: SystemTime = UNIX_EPOCH + Duration::from_secs(EPOCH);
    let mut collector = Collector::new(Two, epoch);
    assert!(collector.follow(logs, Duration::ZERO).is_empty());
    collector
}

/// A packet from one address and port to another.
fn packet(protocol: u8, source: &str, destination: &str, ports: (u16, u16), flags: u8, payload: usize) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
    let mut upper = Vec::new();
    upper.extend(ports.0.to_be_bytes());
    upper.extend(ports.1.to_be_bytes());
    upper.resize(20, 0);
    upper[12] = 0x50;
    upper[13] = flags;
    upper.resize(20 + payload, 0);
    let mut frame = vec![0x02; 12];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(u16::try_from(20 + upper.len()).unwrap().to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(u16::try_from(upper.len()).unwrap().to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("a packet has one family"),
    }
    frame.extend(upper);
    frame
}

fn seen(at: u64, interface: u32, bytes: Vec<u8>, fate: Fate, passage: Passage) -> Observed {
    let direction = match fate {
        Fate::Arrived { .. } | Fate::Fabric(_) => observe::Direction::Inbound,
        _ => observe::Direction::Outbound,
    };
    Observed {
        at: Duration::from_secs(at),
        interface: index(interface),
        port: PortId::new(interface).unwrap(),
        direction,
        packets: 1,
        length: bytes.len(),
        bytes,
        fate,
        passage,
    }
}

fn delivered() -> Fate {
    Fate::Delivered {
        to: index(2),
        port: PortId::new(2).unwrap(),
        delay: Duration::ZERO,
    }
}

fn arrived() -> Fate {
    Fate::Arrived { from: index(2) }
}

/// A passage that a rule, or the want of one, decided last at this stage.
fn decided(stages: &[(Stage, bool)]) -> Passage {
    let mut passage = Passage::default();
    for (stage, allows) in stages {
        let rule = allows.then_some(RuleName::SecurityGroup { group: 1, rule: 1 });
        let direction = match stage {
            Stage::SecurityGroupEgress | Stage::NetworkAclEgress => Direction::Egress,
            _ => Direction::Ingress,
        };
        let fact = Fact::Rule {
            interface: if direction == Direction::Egress {
                index(1)
            } else {
                index(2)
            },
            direction,
            member: None,
            rule,
            untracked: false,
        };
        passage.saw(*stage, fact);
    }
    passage
}

fn lines(closed: Vec<Closed>) -> Vec<String> {
    closed.into_iter().flat_map(|closed| closed.lines).collect()
}

#[test]
fn a_window_of_packets_is_one_record_of_the_default_format() {
    let mut collector = collector(vec![log(LogFormat::default())]);
    for at in [10, 30, 55] {
        let bytes = packet(6, "172.31.16.21", "172.31.16.139", (20641, 22), 0x10, 60);
        assert!(
            collector
                .take(&seen(at, 1, bytes, arrived(), Passage::default()))
                .is_empty()
        );
    }
    // The shape of AWS's example: "2 123456789010 eni-… 172.31.16.139 172.31.16.21 20641 22 6 20 4249 … ACCEPT OK".
    let eni = InterfaceId::from_bits(1);
    assert_eq!(
        lines(collector.tick(Duration::from_secs(60))),
        [format!(
            "2 123456789012 {eni} 172.31.16.21 172.31.16.139 20641 22 6 3 300 1418530010 1418530055 ACCEPT OK"
        )]
    );
}

#[test]
fn a_window_without_packets_is_nodata_and_one_with_lost_packets_is_skipdata() {
    let mut collector = collector(vec![log(LogFormat::default())]);
    let eni = InterfaceId::from_bits(1);
    let empty = |start: u64, status: &str| {
        format!(
            "2 123456789012 {eni} - - - - - - - {} {} - {status}",
            EPOCH + start,
            EPOCH + start + 60
        )
    };
    assert_eq!(lines(collector.tick(Duration::from_secs(60))), [empty(0, "NODATA")]);
    collector.skip(3);
    assert_eq!(lines(collector.tick(Duration::from_secs(120))), [empty(60, "SKIPDATA")]);
    // Lost packets of one window are not those of the next.
    assert_eq!(lines(collector.tick(Duration::from_secs(180))), [empty(120, "NODATA")]);
}

#[test]
fn a_window_is_a_minute_at_the_most_whatever_the_flow_log_says() {
    let ten_minutes = FlowLog {
        interval: "10m".parse().unwrap(),
        ..log(LogFormat::default())
    };
    let mut collector = collector(vec![ten_minutes]);
    assert_eq!(collector.tick(Duration::from_secs(59)).len(), 0);
    assert_eq!(collector.tick(Duration::from_secs(60)).len(), 1);
}

#[test]
fn the_own_side_of_a_record_is_the_primary_address_and_pkt_fields_are_the_truth() {
    let format = "${srcaddr} ${dstaddr} ${pkt-srcaddr} ${pkt-dstaddr} ${flow-direction}";
    for (source, destination, inbound, expected) in [
        // VPC guide, "Traffic through a secondary address": the primary one is shown.
        (
            "172.31.16.200",
            "10.9.9.9",
            false,
            "172.31.16.139 10.9.9.9 172.31.16.200 10.9.9.9 egress",
        ),
        (
            "10.9.9.9",
            "172.31.16.200",
            true,
            "10.9.9.9 172.31.16.139 10.9.9.9 172.31.16.200 ingress",
        ),
        // A middlebox passes on what is for others.
        (
            "10.9.9.9",
            "203.0.113.5",
            true,
            "10.9.9.9 172.31.16.139 10.9.9.9 203.0.113.5 ingress",
        ),
        (
            "2001:db8::139",
            "2001:db8::21",
            false,
            "2001:db8::139 2001:db8::21 2001:db8::139 2001:db8::21 egress",
        ),
        (
            "2001:db8:9::9",
            "2001:db8::21",
            false,
            "2001:db8::139 2001:db8::21 2001:db8:9::9 2001:db8::21 egress",
        ),
    ] {
        let mut collector = collector(vec![log(format.parse().unwrap())]);
        let fate = if inbound { arrived() } else { delivered() };
        let bytes = packet(17, source, destination, (1, 2), 0, 0);
        collector.take(&seen(1, 1, bytes, fate, Passage::default()));
        assert_eq!(lines(collector.tick(Duration::from_secs(60))), [expected]);
    }
}

#[test]
fn flags_of_a_window_are_those_of_all_its_packets_and_ack_counts_with_syn_alone() {
    for (flags, expected) in [
        (&[0x02, 0x10, 0x18, 0x11][..], "3"),
        (&[0x12, 0x10, 0x11][..], "19"),
        (&[0x10, 0x18][..], "0"),
        (&[0x14][..], "4"),
    ] {
        let mut collector = collector(vec![log("${tcp-flags}".parse().unwrap())]);
        for flags in flags {
            let bytes = packet(6, "172.31.16.139", "172.31.16.21", (1, 2), *flags, 0);
            collector.take(&seen(1, 1, bytes, delivered(), Passage::default()));
        }
        assert_eq!(lines(collector.tick(Duration::from_secs(60))), [expected]);
    }
}

#[test]
fn a_denied_packet_is_a_reject_of_the_interface_whose_rules_denied_it() {
    use DropReason as D;
    let out = (Stage::SecurityGroupEgress, true);
    let whole_vpc = FlowLog {
        resource: FlowLogResource::Vpc(VpcId::from_bits(7)),
        ..log("${interface-id} ${flow-direction} ${action} ${dstaddr}"
            .parse()
            .unwrap())
    };
    let (a, b) = (InterfaceId::from_bits(1), InterfaceId::from_bits(2));
    let accepted = format!("{a} egress ACCEPT 172.31.16.21");
    for (reason, stages, expected) in [
        (
            D::SecurityGroupEgress,
            &[(Stage::SecurityGroupEgress, false)][..],
            vec![format!("{a} egress REJECT 172.31.16.21")],
        ),
        (
            D::NetworkAclEgress,
            &[out, (Stage::NetworkAclEgress, false)],
            vec![format!("{a} egress REJECT 172.31.16.21")],
        ),
        // VPC guide, "Security group and network ACL rules": what the other side denies was accepted on its way out.
        (
            D::SecurityGroupIngress,
            &[out, (Stage::SecurityGroupIngress, false)],
            vec![accepted.clone(), format!("{b} ingress REJECT 172.31.16.21")],
        ),
        (
            D::NetworkAclIngress,
            &[out, (Stage::NetworkAclIngress, false)],
            vec![accepted.clone(), format!("{b} ingress REJECT 172.31.16.21")],
        ),
        // Of no other reason is it known that EC2 rejects: none is a REJECT.
        (D::NoMapping, &[out], vec![accepted.clone()]),
        (D::Blackhole, &[out], vec![accepted]),
        (D::SourceCheck, &[], vec![]),
        (D::ConntrackAllowance, &[out], vec![]),
    ] {
        let mut collector = collector(vec![whole_vpc.clone()]);
        let mut passage = decided(stages);
        passage.receiver = Some(index(2));
        let bytes = packet(6, "172.31.16.139", "172.31.16.21", (1, 2), 2, 0);
        collector.take(&seen(1, 1, bytes, Fate::Dropped(reason), passage));
        let mut found = lines(collector.tick(Duration::from_secs(60)));
        found.retain(|line| !line.ends_with('-'));
        assert_eq!(found, expected, "{reason:?}");
    }
}

#[test]
fn what_block_public_access_drops_is_a_reject_for_that_reason() {
    let mut collector = collector(vec![log("${action} ${flow-direction} ${reject-reason}"
        .parse()
        .unwrap())]);
    let bytes = packet(6, "172.31.16.139", "203.0.113.5", (1, 2), 2, 0);
    let blocked = Fate::Dropped(DropReason::BlockPublicAccess);
    collector.take(&seen(1, 1, bytes, blocked, Passage::default()));
    assert_eq!(lines(collector.tick(Duration::from_secs(60))), ["REJECT egress BPA"]);
}

#[test]
fn a_flow_log_of_one_kind_of_traffic_has_no_record_of_the_other() {
    for (traffic, expected) in [
        (TrafficType::All, &["ACCEPT", "REJECT"][..]),
        (TrafficType::Accept, &["ACCEPT"]),
        (TrafficType::Reject, &["REJECT"]),
    ] {
        let wanted = FlowLog {
            traffic,
            ..log("${action}".parse().unwrap())
        };
        let mut collector = collector(vec![wanted]);
        let bytes = packet(6, "172.31.16.139", "172.31.16.21", (1, 2), 2, 0);
        collector.take(&seen(1, 1, bytes.clone(), delivered(), Passage::default()));
        let denied = decided(&[(Stage::SecurityGroupEgress, false)]);
        collector.take(&seen(
            2,
            1,
            bytes,
            Fate::Dropped(DropReason::SecurityGroupEgress),
            denied,
        ));
        assert_eq!(lines(collector.tick(Duration::from_secs(60))), expected);
    }
}

#[test]
fn the_path_of_traffic_is_that_of_its_route_and_of_egress_alone() {
    let route = |target| Passage {
        route: Some(target),
        ..Passage::default()
    };
    for (passage, fate, expected) in [
        (Passage::default(), delivered(), "1"),
        (route(RouteTarget::Local), delivered(), "1"),
        (route(RouteTarget::Interface(index(2))), delivered(), "1"),
        (route(RouteTarget::Internet), delivered(), "8"),
        (route(RouteTarget::Internet), arrived(), "-"),
    ] {
        let mut collector = collector(vec![log("${traffic-path}".parse().unwrap())]);
        let bytes = packet(17, "172.31.16.139", "172.31.16.21", (1, 2), 0, 0);
        collector.take(&seen(1, 1, bytes, fate, passage));
        assert_eq!(lines(collector.tick(Duration::from_secs(60))), [expected]);
    }
}

/// VPC guide, "Traffic through a NAT gateway": the four records of its interface.
#[test]
fn a_nat_gateway_has_four_records_of_a_request_and_its_answer() {
    let format = "${instance-id} ${interface-id} ${srcaddr} ${dstaddr} ${pkt-srcaddr} ${pkt-dstaddr} ${flow-direction} \
                  ${srcport} ${dstport} ${traffic-path}";
    let gateway = FlowLog {
        resource: FlowLogResource::Interface(InterfaceId::from_bits(3)),
        ..log(format.parse().unwrap())
    };
    let mut collector = collector(vec![gateway]);
    let end = |address: &str, port| (address.parse::<IpAddr>().unwrap(), port);
    let mut passage = Passage::default();
    passage.saw(
        Stage::NatGateway,
        Fact::Binding {
            gateway: index(3),
            protocol: 6,
            inside: end("10.0.1.5", 5000),
            outside: end("10.0.0.220", 4321),
            remote: end("203.0.113.5", 443),
            new: true,
        },
    );
    let route = |target| Fact::Route {
        address: "203.0.113.5".parse().unwrap(),
        route: Some(("0.0.0.0/0".parse().unwrap(), target)),
    };
    passage.saw(Stage::Route, route(RouteTarget::NatGateway(index(3))));
    passage.saw(Stage::Route, route(RouteTarget::Internet));
    let request = packet(6, "10.0.1.5", "203.0.113.5", (5000, 443), 2, 0);
    collector.take(&seen(1, 1, request, delivered(), passage));
    passage.route = Some(RouteTarget::Internet);
    passage.beyond = None;
    // On the outside it names the gateway's Elastic IP address.
    passage.public[0] = Some(("10.0.0.220".parse().unwrap(), "198.51.100.9".parse().unwrap()));
    let answer = packet(6, "203.0.113.5", "198.51.100.9", (443, 4321), 18, 0);
    collector.take(&seen(2, 2, answer, delivered(), passage));
    let eni = InterfaceId::from_bits(3);
    assert_eq!(
        lines(collector.tick(Duration::from_secs(60))),
        [
            format!("- {eni} 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.5 ingress 5000 443 -"),
            format!("- {eni} 10.0.0.220 203.0.113.5 10.0.0.220 203.0.113.5 egress 4321 443 8"),
            format!("- {eni} 203.0.113.5 10.0.0.220 203.0.113.5 10.0.0.220 ingress 443 4321 -"),
            format!("- {eni} 10.0.0.220 10.0.1.5 203.0.113.5 10.0.1.5 egress 443 5000 1"),
        ]
    );
}

#[test]
fn a_record_with_all_fields_has_42_of_them() {
    let mut collector = collector(vec![log(LogFormat::full())]);
    let bytes = packet(1, "172.31.16.139", "172.31.16.21", (0x0800, 0), 0, 36);
    collector.take(&seen(1, 1, bytes, delivered(), Passage::default()));
    let found = lines(collector.tick(Duration::from_secs(60)));
    let (eni, vpc, subnet) = (InterfaceId::from_bits(1), VpcId::from_bits(7), SubnetId::from_bits(8));
    let instance = InstanceId::from_bits(1);
    // Ports of ICMP are 0 (VPC guide, "Flow log record examples").
    let expected = format!(
        "10 123456789012 {eni} 172.31.16.139 172.31.16.21 0 0 1 1 76 1418530001 1418530001 ACCEPT OK {vpc} {subnet} \
         {instance} 0 IPv4 172.31.16.139 172.31.16.21 us-east-1 use1-az1 - - - - egress 1 - - - - - - - - - - - - -"
    );
    assert_eq!(expected.split(' ').count(), 42);
    assert_eq!(found, [expected]);
}

#[test]
fn a_frame_that_stands_for_many_counts_as_many() {
    let mut collector = collector(vec![log("${packets} ${bytes}".parse().unwrap())]);
    let mut bytes = packet(6, "172.31.16.139", "172.31.16.21", (1, 2), 0x10, 3000);
    bytes.truncate(192);
    // Three packets of 1000 octets behind 54 of headers.
    let observed = Observed {
        packets: 3,
        length: 3 * 1054,
        ..seen(1, 1, bytes, delivered(), Passage::default())
    };
    collector.take(&observed);
    assert_eq!(lines(collector.tick(Duration::from_secs(60))), ["3 3120"]);
}

#[test]
fn details_have_the_reason_and_the_rules() {
    let mut collector = collector(vec![log(LogFormat::default())]);
    let denied = decided(&[(Stage::SecurityGroupEgress, true), (Stage::SecurityGroupIngress, false)]);
    let bytes = packet(6, "172.31.16.139", "172.31.16.21", (40000, 22), 2, 0);
    collector.take(&seen(
        1,
        1,
        bytes,
        Fate::Dropped(DropReason::SecurityGroupIngress),
        denied,
    ));
    collector.tick(Duration::from_secs(60));
    let running = collector.running.values().next().unwrap();
    let (told, ..) = running.told.after(0, 10);
    let eni = InterfaceId::from_bits(1);
    let expected = format!(
        "{{\"start\":1418530001,\"end\":1418530001,\"interface_id\":\"{eni}\",\"srcaddr\":\"172.31.16.139\",\
         \"dstaddr\":\"172.31.16.21\",\"srcport\":40000,\"dstport\":22,\"protocol\":6,\"packets\":1,\"bytes\":40,\
         \"verdict\":\"dropped\",\"reason\":\"security_group_ingress\",\"rules\":[\"outbound rule \
         sgr-00000000000000001 of sg-00000000000000001\",\"no inbound rule of the receiver's security groups\"]}}"
    );
    assert_eq!(told.iter().map(|line| &**line).collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_reader_gets_each_kept_line_once_and_learns_of_those_that_are_gone() {
    let mut shelf = Shelf::default();
    for number in 1..=10_005 {
        shelf.push(&number.to_string());
    }
    let (lines, last, missed) = shelf.after(0, 3);
    assert_eq!((lines.len(), &*lines[0], last, missed), (3, "6", 8, 5));
    let (lines, last, missed) = shelf.after(last, 100_000);
    assert_eq!((lines.len(), &*lines[0], last, missed), (9_997, "9", 10_005, 0));
    let (lines, last, missed) = shelf.after(last, 10);
    assert_eq!((lines.len(), last, missed), (0, 10_005, 0));
    // A number that is yet to come, as from an earlier start of the server.
    let (lines, last, _) = shelf.after(20_000, 10);
    assert_eq!((lines.len(), last), (0, 10_005));
}

/// One random packet: when, of which flow, whether it comes in, and how long it is.
fn packets() -> impl Strategy<Value = Vec<(u64, u16, bool, bool, usize)>> {
    prop::collection::vec(
        (0_u64..300, 0_u16..4, any::<bool>(), any::<bool>(), 0_usize..900),
        1..200,
    )
}

proptest! {
    /// Packets and octets of all records are those that crossed, whatever the windows; and no record is longer than its
    /// window.
    #[test]
    fn records_lose_no_packet_and_invent_none(mut all in packets()) {
        all.sort_unstable();
        let mut collector = collector(vec![log("${packets} ${bytes} ${start} ${end} ${action} ${log-status}".parse().unwrap())]);
        let (mut closed, mut octets) = (Vec::new(), 0);
        for (at, port, inbound, denied, payload) in &all {
            let bytes = packet(6, "172.31.16.139", "172.31.16.21", (*port, 2), 0x10, *payload);
            octets += bytes.len() - 14;
            let observed = match (inbound, denied) {
                (true, _) => seen(*at, 1, bytes, arrived(), Passage::default()),
                (false, false) => seen(*at, 1, bytes, delivered(), Passage::default()),
                (false, true) => {
                    let denied = decided(&[(Stage::SecurityGroupEgress, false)]);
                    seen(*at, 1, bytes, Fate::Dropped(DropReason::SecurityGroupEgress), denied)
                }
            };
            closed.extend(collector.take(&observed));
        }
        closed.extend(collector.finish(Duration::from_secs(300)));
        let (mut packets, mut found) = (0, 0);
        for line in lines(closed).iter().filter(|line| line.ends_with("OK")) {
            let fields: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| fields[at].parse::<usize>().unwrap();
            packets += number(0);
            found += number(1);
            prop_assert!(number(3) - number(2) <= 60, "{}", line);
        }
        prop_assert_eq!((packets, found), (all.len(), octets));
    }
}
