//! What security groups and network ACLs let through, and what is tracked.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::lab::{
    Case, Expect::*, Host, Host::*, Lab, ROUTER_A, ROUTER_B, case, ethernet, icmpv6, ipv4, ipv6, ping4, ping6,
    resummed, tables, udp, v4, v6, who_has,
};
use crate::datapath::DropReason::*;
use crate::datapath::policy::{Acl, AclEntry, Peer, Policy, Ports, RuleName, RuleSpec};
use crate::datapath::{Destination, DropReason, Entry, FrameMeta, Life, RouteTarget, Verdict};
use crate::model::profile::Profile;
use crate::wire::MacAddr;

/// A rule from its text: protocol, ports (or type) where it has them, and the other end, a range or `group N`.
fn rule(number: usize, text: &str) -> RuleSpec {
    let mut words = text.split_whitespace();
    let protocol = match words.next().expect("a protocol") {
        "all" => None,
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmp" => Some(1),
        "icmpv6" => Some(58),
        other => Some(other.parse().expect("a protocol's number")),
    };
    let mut rest: Vec<&str> = words.collect();
    let peer = match rest.as_slice() {
        [.., "group", group] => Peer::Group(group.parse().expect("a group")),
        [.., net] => Peer::Nets(vec![net.parse::<IpNet>().expect("a range")]),
        [] => panic!("no other end"),
    };
    rest.truncate(rest.len() - if matches!(peer, Peer::Group(_)) { 2 } else { 1 });
    let ports = match (protocol, rest.first()) {
        (_, None) => Ports::ALL,
        (Some(1 | 58), Some(kind)) => Ports::icmp(Some(kind.parse().expect("a type")), None),
        (_, Some(range)) => {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Ports {
                first: first.parse().expect("a port"),
                last: last.parse().expect("a port"),
            }
        }
    };
    RuleSpec {
        name: RuleName::SecurityGroup {
            group: 1,
            rule: number as u64,
        },
        protocol,
        ports,
        peer,
    }
}

pub(super) fn rules(texts: &[&str]) -> Vec<RuleSpec> {
    texts.iter().enumerate().map(|(at, text)| rule(at, text)).collect()
}

impl Lab {
    /// Puts a host into groups with these rules together.
    pub(super) fn groups(&mut self, host: Host, groups: &[u64], egress: &[&str], ingress: &[&str]) {
        let policy = Policy::compile(groups.iter().copied(), rules(egress), rules(ingress));
        self.policy(host, policy);
    }

    fn policy(&mut self, host: Host, policy: Policy) {
        let policy = self.writer.add_policy(Arc::new(policy));
        self.writer.set_policy(self.interfaces[&host], Some(policy));
    }

    /// Gives `sa` or `sb` an ACL: entries in order, each `allow` or `deny` before its rule.
    pub(super) fn acl(&mut self, subnet: crate::datapath::SubnetIndex, egress: &[&str], ingress: &[&str]) {
        let entries = |texts: &[&str]| {
            let entries = texts.iter().enumerate().map(|(at, text)| {
                let (verb, rest) = text.split_once(' ').expect("allow or deny");
                let number = 100 * (at as u16 + 1);
                AclEntry {
                    number,
                    allow: verb == "allow",
                    rule: RuleSpec {
                        name: RuleName::NetworkAcl { acl: 7, number },
                        ..rule(at, rest)
                    },
                }
            });
            entries.collect()
        };
        let acl = Acl::compile(entries(egress), entries(ingress));
        self.writer.set_acl(subnet, Some(Arc::new(acl)));
    }

    /// All hosts are in the default group: everything out, and in from each other.
    fn default_groups(&mut self) {
        for host in [A, B, C, D] {
            self.groups(host, &[1], EVERYTHING, &["all group 1"]);
        }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Sends a frame; where it goes, or why it does not.
    fn sends(&mut self, host: Host, frame: &[u8]) -> Result<(), DropReason> {
        match self.send(host, frame, FrameMeta::default()) {
            Verdict::Deliver {
                to: Destination::Port(_),
                ..
            } => Ok(()),
            Verdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}\n{}", self.told()),
        }
    }
}

const EVERYTHING: &[&str] = &["all 0.0.0.0/0", "all ::/0"];

/// A TCP segment between two hosts of the lab.
fn tcp(from: Host, to: Host, ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    ipv4(from.mac(), next_hop(from, to), from.ipv4(), to.ipv4(), 6, 64, &segment)
}

/// A datagram between two hosts of the lab.
fn datagram(from: Host, to: Host, ports: (u16, u16)) -> Vec<u8> {
    let head = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    let payload = [&head[..], &[0, 8, 0, 0]].concat();
    ipv4(from.mac(), next_hop(from, to), from.ipv4(), to.ipv4(), 17, 64, &payload)
}

/// A packet of another protocol between two hosts of the lab.
fn other(from: Host, to: Host, protocol: u8) -> Vec<u8> {
    ipv4(
        from.mac(),
        next_hop(from, to),
        from.ipv4(),
        to.ipv4(),
        protocol,
        255,
        &[0x21; 20],
    )
}

/// The MAC that a host of the lab sends to.
pub(super) fn next_hop(from: Host, to: Host) -> MacAddr {
    match (from, to) {
        (A | B, A | B) => to.mac(),
        (A | B, _) => ROUTER_A,
        _ => ROUTER_B,
    }
}

const SYN: u8 = 2;
const SYN_ACK: u8 = 18;
const ACK: u8 = 16;
const RST: u8 = 4;

tables! {
    /// S2, S3: the default group.
    fn members_of_the_default_group_reach_each_other_and_others_do_not_reach_them() {
        case("IPv4", A, ping4(A, B.mac(), "10.0.1.10", "10.0.1.11"), To(B)).given(Lab::default_groups),
        case("IPv6", A, ping6(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::b"), To(B)).given(Lab::default_groups),
        case("by the own link-local", A, ping6(A, B.mac(), "fe80::8ca:5ff:fe9c:fc14", "2001:db8:1:1::b"), To(B))
            .given(Lab::default_groups),
        case("another subnet", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Routed(C, ROUTER_B, false))
            .given(Lab::default_groups),
        case("VRRP", A, other(A, B, 112), To(B)).given(Lab::default_groups),
        case("a secondary address is a member's", B, udp(B, A.mac(), "10.0.1.12", "10.0.1.10"), To(A)).given(Lab::default_groups),
        case("an address of a delegated prefix, too", B, udp(B, A.mac(), "10.0.1.40", "10.0.1.10"), To(A))
            .given(Lab::default_groups),
        case("one in no group of its rules", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| { lab.default_groups(); lab.groups(A, &[2], EVERYTHING, &[]); }),
        case("an address that is not a member's own", A, udp(A, B.mac(), "10.0.1.99", "10.0.1.11"), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| { lab.default_groups(); lab.unchecked(&[A]); }),
        case("which counts where the profile says so", A, udp(A, B.mac(), "10.0.1.99", "10.0.1.11"), To(B))
            .with(|profile: &mut Profile| profile.firewall.group_members_by_address = false)
            .given(|lab: &mut Lab| { lab.default_groups(); lab.unchecked(&[A]); }),
        case("no rule lets it out", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), Drop(SecurityGroupEgress))
            .given(|lab: &mut Lab| lab.groups(A, &[1], &[], &["all group 1"])),
    }

    /// S6: VPC guide, "Security group rules": a group does not allow what a middlebox passes on.
    fn a_group_is_asked_of_the_interface_that_a_packet_came_from() {
        case("a middlebox passes a member's packet on", B, udp(B, ROUTER_A, "10.0.2.10", "10.0.1.10"), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| { lab.default_groups(); lab.unchecked(&[B]); }),
        case("a rule about the address lets it in", B, udp(B, ROUTER_A, "10.0.2.10", "10.0.1.10"), Routed(A, ROUTER_A, false))
            .given(|lab: &mut Lab| {
                lab.default_groups();
                lab.unchecked(&[B]);
                lab.groups(A, &[1], EVERYTHING, &["all 10.0.2.0/24"]);
            }),
        case("outbound, a group is its members' addresses", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"),
            Routed(C, ROUTER_B, false))
            .given(|lab: &mut Lab| { lab.default_groups(); lab.groups(A, &[1], &["udp 9 group 1"], &[]); }),
        case("of another group", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(SecurityGroupEgress))
            .given(|lab: &mut Lab| { lab.default_groups(); lab.groups(A, &[1], &["udp 9 group 2"], &[]); }),
    }

    fn a_rule_is_about_a_protocol_and_ports() {
        case("the port", A, datagram(A, B, (1000, 53)), To(B)).given(|lab: &mut Lab| lab.groups(B, &[1], &[], &["udp 53 10.0.0.0/16"])),
        case("another port", A, datagram(A, B, (53, 54)), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| lab.groups(B, &[1], &[], &["udp 53 10.0.0.0/16"])),
        case("another protocol", A, tcp(A, B, (1000, 53), SYN), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| lab.groups(B, &[1], &[], &["udp 53 10.0.0.0/16"])),
        // keepalived#950: TCP and UDP are let in, and protocol 112 is not.
        case("VRRP without a rule", A, other(A, B, 112), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| lab.groups(B, &[1], EVERYTHING, &["tcp 10.0.0.0/16", "udp 10.0.0.0/16"])),
        case("VRRP with one", A, other(A, B, 112), To(B))
            .given(|lab: &mut Lab| lab.groups(B, &[1], EVERYTHING, &["112 10.0.0.0/16"])),
        case("an echo request", A, ping4(A, B.mac(), "10.0.1.10", "10.0.1.11"), To(B))
            .given(|lab: &mut Lab| lab.groups(B, &[1], EVERYTHING, &["icmp 8 10.0.0.0/16"])),
        case("another type", A, ping4(A, B.mac(), "10.0.1.10", "10.0.1.11"), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| lab.groups(B, &[1], EVERYTHING, &["icmp 3 10.0.0.0/16"])),
        case("the other family", A, ping6(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::b"), Drop(SecurityGroupIngress))
            .given(|lab: &mut Lab| lab.groups(B, &[1], EVERYTHING, &["all 0.0.0.0/0"])),
        case("a profile that is no AWS", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.1.11"), Routed(B, ROUTER_A, false))
            .on(Profile::gcp()).given(|lab: &mut Lab| lab.groups(B, &[1], &[], &[])),
        case("the segment of a frame that stands for many", A, tcp(A, B, (1000, 80), ACK), To(B))
            .given(|lab: &mut Lab| lab.groups(B, &[1], &[], &["tcp 80 10.0.1.10/32"])),
    }

    /// VPC guide, "Security groups": what is never filtered.
    fn what_the_vpc_itself_answers_needs_no_rule() {
        case("ARP", A, who_has(A, "10.0.1.11"), Reply(arp_answer())).given(nothing_out),
        case("the gateway", A, ping4(A, ROUTER_A, "10.0.1.10", "10.0.1.1"), Drop(RouterSilent)).given(nothing_out),
        case("the resolver", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.0.2"), LeftTo(crate::datapath::Service::LinkLocal))
            .given(nothing_out),
        case("metadata", A, udp(A, ROUTER_A, "10.0.1.10", "169.254.169.254"), LeftTo(crate::datapath::Service::LinkLocal))
            .given(nothing_out),
        case("another link-local address", A, udp(A, ROUTER_A, "10.0.1.10", "169.254.1.1"), Drop(SecurityGroupEgress))
            .given(nothing_out),
    }

    /// T12.
    fn a_fragment_without_ports_follows_its_first() {
        case("without the first", A, fragment(A, B, 0x2000 | 185), Drop(SecurityGroupFragment))
            .given(|lab: &mut Lab| lab.groups(B, &[1], EVERYTHING, &["udp 53 10.0.0.0/16"])),
        case("a rule about all ports", A, fragment(A, B, 185), To(B))
            .given(|lab: &mut Lab| lab.groups(B, &[1], EVERYTHING, &["udp 10.0.0.0/16"])),
        case("after the first", A, fragment(A, B, 185), To(B)).given(|lab: &mut Lab| {
            lab.groups(B, &[1], EVERYTHING, &["udp 53 10.0.0.0/16"]);
            lab.sends(A, &fragment(A, B, 0x2000)).expect("the first has its ports");
        }),
        case("half a minute later", A, fragment(A, B, 185), Drop(SecurityGroupFragment)).given(|lab: &mut Lab| {
            lab.groups(B, &[1], EVERYTHING, &["udp 53 10.0.0.0/16"]);
            lab.sends(A, &fragment(A, B, 0x2000)).expect("the first has its ports");
            lab.wait(31);
        }),
    }

    /// N1, N7: both borders, first match, nothing within a subnet.
    fn a_network_acl_is_asked_at_the_border_of_its_subnet() {
        case("nothing denied", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Routed(C, ROUTER_B, false))
            .given(|lab: &mut Lab| lab.acl(lab.sa, &["allow all 0.0.0.0/0"], &[])),
        case("no entry", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(NetworkAclEgress))
            .given(|lab: &mut Lab| lab.acl(lab.sa, &[], &["allow all 0.0.0.0/0"])),
        case("the first that matches", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(NetworkAclEgress))
            .given(|lab: &mut Lab| lab.acl(lab.sa, &["deny udp 9 0.0.0.0/0", "allow all 0.0.0.0/0"], &[])),
        case("one before it", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Routed(C, ROUTER_B, false))
            .given(|lab: &mut Lab| lab.acl(lab.sa, &["allow udp 9 10.0.2.0/24", "deny all 0.0.0.0/0"], &[])),
        case("inbound there", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(NetworkAclIngress))
            .given(|lab: &mut Lab| lab.acl(lab.sb, &["allow all 0.0.0.0/0"], &["deny all 10.0.1.10/32", "allow all 0.0.0.0/0"])),
        case("not within the subnet", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), To(B))
            .given(|lab: &mut Lab| lab.acl(lab.sa, &[], &[])),
        case("nor to the router itself", A, udp(A, ROUTER_A, "10.0.1.10", "169.254.169.254"),
            LeftTo(crate::datapath::Service::LinkLocal)).given(|lab: &mut Lab| lab.acl(lab.sa, &[], &[])),
        case("on the way to a middlebox, too", A, udp(A, ROUTER_A, "10.0.1.10", "192.0.2.1"), Drop(NetworkAclIngress))
            .given(|lab: &mut Lab| {
                lab.unchecked(&[C]);
                super::routing::route(lab, "192.0.2.0/24", RouteTarget::Interface(lab.interfaces[&C]));
                lab.acl(lab.sb, &[], &[]);
            }),
    }

    /// T8.
    fn an_instance_tracks_no_more_than_its_allowance() {
        case("one too many goes out", A, datagram(A, B, (3, 53)), Drop(ConntrackAllowance))
            .with(|profile: &mut Profile| profile.firewall.tracking.allowance = 2).given(|lab: &mut Lab| {
                lab.groups(A, &[1], EVERYTHING, &[]);
                (1..3).for_each(|port| lab.sends(A, &datagram(A, B, (port, 53))).expect("room for it"));
            }),
        case("one too many comes in", B, datagram(B, A, (3, 53)), Drop(ConntrackAllowance))
            .with(|profile: &mut Profile| profile.firewall.tracking.allowance = 2).given(|lab: &mut Lab| {
                lab.groups(A, &[1], EVERYTHING, &["udp 10.0.1.11/32"]);
                (1..3).for_each(|port| lab.sends(A, &datagram(A, B, (port, 53))).expect("room for it"));
            }),
        case("one that is tracked goes on", A, datagram(A, B, (2, 53)), To(B))
            .with(|profile: &mut Profile| profile.firewall.tracking.allowance = 2).given(|lab: &mut Lab| {
                lab.groups(A, &[1], EVERYTHING, &[]);
                (1..3).for_each(|port| lab.sends(A, &datagram(A, B, (port, 53))).expect("room for it"));
            }),
        case("interfaces of one instance share it", A, datagram(A, B, (3, 53)), Drop(ConntrackAllowance))
            .with(|profile: &mut Profile| profile.firewall.tracking.allowance = 2).given(|lab: &mut Lab| {
                for host in [A, C] {
                    lab.groups(host, &[1], EVERYTHING, &[]);
                    lab.writer.set_allowance(lab.interfaces[&host], lab.interfaces[&A]);
                }
                (1..3).for_each(|port| lab.sends(C, &datagram(C, B, (port, 53))).expect("room for it"));
            }),
    }
}

fn nothing_out(lab: &mut Lab) {
    lab.groups(A, &[1], &[], &[]);
}

fn arp_answer() -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 2];
    let sides = [(B.mac(), B.ipv4()), (A.mac(), A.ipv4())];
    let sides = sides
        .map(|(mac, address)| [&mac.0[..], &address.octets()].concat())
        .concat();
    ethernet(A.mac(), B.mac(), 0x0806, &[&head[..], &sides].concat())
}

/// A part of a datagram to port 53, by flags and offset.
fn fragment(from: Host, to: Host, flags_and_offset: u16) -> Vec<u8> {
    let [high, low] = flags_and_offset.to_be_bytes();
    resummed(datagram(from, to, (1000, 53)), &[(20, high), (21, low)])
}

/// T1: tracked, a connection outlives its rule; T4.
#[test]
fn a_tracked_connection_goes_on_without_its_rule_and_an_untracked_one_ends_at_once() {
    let mut lab = Lab::new(Profile::aws());
    let narrow = ["tcp 80 10.0.1.0/24"];
    lab.groups(B, &[1], EVERYTHING, &narrow);
    lab.sends(A, &tcp(A, B, (1000, 80), SYN)).expect("a rule lets it in");
    lab.sends(B, &tcp(B, A, (80, 1000), SYN_ACK)).expect("it answers");
    lab.groups(B, &[1], &[], &[]);
    lab.wait(3600);
    lab.sends(A, &tcp(A, B, (1000, 80), ACK))
        .expect("the connection is tracked");
    lab.sends(B, &tcp(B, A, (80, 1000), ACK)).expect("both ways");
    assert_eq!(
        lab.sends(A, &tcp(A, B, (1001, 80), SYN)),
        Err(SecurityGroupIngress),
        "a new one"
    );
    // The same with rules about all addresses, both ways.
    let wide = ["tcp 80 0.0.0.0/0"];
    lab.groups(B, &[2], EVERYTHING, &wide);
    lab.sends(A, &tcp(A, B, (2000, 80), SYN)).expect("a rule lets it in");
    lab.sends(B, &tcp(B, A, (80, 2000), SYN_ACK)).expect("it answers");
    lab.groups(B, &[2], EVERYTHING, &[]);
    assert_eq!(lab.sends(A, &tcp(A, B, (2000, 80), ACK)), Err(SecurityGroupIngress));
    // And the other way round: the client's rules.
    let mut lab = Lab::new(Profile::aws());
    lab.groups(A, &[3], &["tcp 80 0.0.0.0/0"], &["all 0.0.0.0/0"]);
    lab.sends(A, &tcp(A, B, (3000, 80), SYN)).expect("a rule lets it out");
    lab.sends(B, &tcp(B, A, (80, 3000), SYN_ACK))
        .expect("a rule lets it in");
    lab.groups(A, &[3], &[], &["all 0.0.0.0/0"]);
    assert_eq!(lab.sends(A, &tcp(A, B, (3000, 80), ACK)), Err(SecurityGroupEgress));
}

#[test]
fn an_answer_needs_no_rule_until_the_connection_is_forgotten() {
    // (the question, the answer, seconds that it may take)
    let cases: [(&str, Vec<u8>, Vec<u8>, u64); 5] = [
        ("UDP", datagram(A, B, (1000, 53)), datagram(B, A, (53, 1000)), 30),
        ("VRRP", other(A, B, 112), other(B, A, 112), 600),
        ("TCP", tcp(A, B, (1000, 80), SYN), tcp(B, A, (80, 1000), SYN_ACK), 120),
        (
            "ICMP",
            ping4(A, B.mac(), "10.0.1.10", "10.0.1.11"),
            echo_reply(ping4(B, A.mac(), "10.0.1.11", "10.0.1.10")),
            30,
        ),
        (
            "ICMPv6",
            ping6(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::b"),
            icmpv6(
                B.mac(),
                A.mac(),
                "2001:db8:1:1::b",
                "2001:db8:1:1::a",
                &[129, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4],
            ),
            30,
        ),
    ];
    for (what, question, answer, life) in cases {
        for (after, expected) in [(0, Ok(())), (life, Ok(())), (life + 1, Err(SecurityGroupIngress))] {
            let mut lab = Lab::new(Profile::aws());
            lab.groups(A, &[1], EVERYTHING, &[]);
            assert_eq!(
                lab.sends(B, &answer),
                Err(SecurityGroupIngress),
                "{what}: not asked for"
            );
            lab.sends(A, &question).expect("everything is let out");
            lab.wait(after);
            assert_eq!(
                lab.sends(B, &answer),
                expected,
                "{what} after {after} s\n{}",
                lab.told()
            );
        }
    }
}

fn echo_reply(request: Vec<u8>) -> Vec<u8> {
    super::lab::patched(request, &[(34, 0)])
}

/// API, ConnectionTrackingSpecification.
#[test]
fn an_interface_may_have_lives_of_its_own() {
    let mut lab = Lab::new(Profile::aws());
    let life = Life {
        tcp_established: 60,
        udp_stream: 60,
        udp: 45,
    };
    let policy = Policy::compile([1], rules(EVERYTHING), Vec::new()).with_life(Some(life));
    lab.policy(A, policy);
    lab.sends(A, &tcp(A, B, (1000, 80), SYN)).expect("let out");
    lab.sends(B, &tcp(B, A, (80, 1000), SYN_ACK)).expect("the answer");
    lab.wait(60);
    lab.sends(B, &tcp(B, A, (80, 1000), ACK)).expect("still known");
    lab.wait(61);
    assert_eq!(lab.sends(B, &tcp(B, A, (80, 1000), ACK)), Err(SecurityGroupIngress));
    lab.sends(A, &datagram(A, B, (1000, 53))).expect("let out");
    lab.wait(45);
    lab.sends(B, &datagram(B, A, (53, 1000))).expect("still known");
}

#[test]
fn a_reset_ends_what_is_tracked_soon_and_begins_nothing() {
    let mut lab = Lab::new(Profile::aws());
    lab.groups(A, &[1], EVERYTHING, &[]);
    lab.sends(A, &tcp(A, B, (1000, 80), SYN)).expect("let out");
    lab.sends(B, &tcp(B, A, (80, 1000), RST)).expect("the answer");
    lab.wait(11);
    assert_eq!(lab.sends(B, &tcp(B, A, (80, 1000), RST)), Err(SecurityGroupIngress));
    lab.sends(A, &tcp(A, B, (3000, 80), RST)).expect("let out");
    assert_eq!(lab.sends(B, &tcp(B, A, (80, 3000), SYN_ACK)), Err(SecurityGroupIngress));
}

/// T9: unknown on EC2.
#[test]
fn a_connection_that_is_met_in_its_middle_is_tracked_where_the_profile_says_so() {
    for (picks_up, expected) in [(true, Ok(())), (false, Err(SecurityGroupIngress))] {
        let mut profile = Profile::aws();
        profile.firewall.tracking.picks_up = picks_up;
        let mut lab = Lab::new(profile);
        lab.groups(A, &[1], EVERYTHING, &[]);
        lab.sends(A, &tcp(A, B, (1000, 80), ACK)).expect("let out");
        assert_eq!(lab.sends(B, &tcp(B, A, (80, 1000), ACK)), expected, "{picks_up}");
    }
}

/// T10: about a tracked connection an error needs no rule, about another it does.
#[test]
fn an_icmp_error_passes_with_the_connection_that_it_is_about() {
    let error = |quoted: &[u8]| {
        let message = [&[3, 4, 0, 0, 0, 0, 5, 0xdc][..], &quoted[14..42]].concat();
        ipv4(C.mac(), ROUTER_B, v4("10.0.2.10"), v4("10.0.1.10"), 1, 64, &message)
    };
    let mut lab = Lab::new(Profile::aws());
    lab.groups(A, &[1], EVERYTHING, &[]);
    let syn = tcp(A, B, (1000, 80), SYN);
    assert_eq!(
        lab.sends(C, &error(&syn)),
        Err(SecurityGroupIngress),
        "about nothing that was sent"
    );
    lab.sends(A, &syn).expect("let out");
    lab.sends(C, &error(&syn)).expect("about a tracked connection");
    assert_eq!(
        lab.sends(C, &error(&tcp(A, B, (1001, 80), SYN))),
        Err(SecurityGroupIngress),
        "about another one"
    );
    let untracked = ["tcp 0-65535 0.0.0.0/0"];
    lab.groups(A, &[1], EVERYTHING, &untracked);
    let syn = tcp(A, B, (2000, 80), SYN);
    lab.sends(A, &syn).expect("let out");
    assert_eq!(
        lab.sends(C, &error(&syn)),
        Err(SecurityGroupIngress),
        "about an untracked one"
    );
    // Outbound: an error about what came in.
    let mut lab = Lab::new(Profile::aws());
    lab.groups(A, &[1], &[], &["udp 53 10.0.1.0/24"]);
    let question = datagram(B, A, (1000, 53));
    let unreachable = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &question[14..42]].concat();
    let unreachable = ipv4(A.mac(), B.mac(), A.ipv4(), B.ipv4(), 1, 64, &unreachable);
    assert_eq!(lab.sends(A, &unreachable), Err(SecurityGroupEgress));
    lab.sends(B, &question).expect("let in");
    lab.sends(A, &unreachable).expect("about what came in");
    // The same over IPv6, behind a header that is quoted short.
    let mut lab = Lab::new(Profile::aws());
    lab.groups(A, &[1], EVERYTHING, &[]);
    let question = udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:2::c");
    let too_big = |quoted: &[u8]| {
        let message = [&[2, 0, 0, 0, 0, 0, 5, 0][..], &quoted[14..64]].concat();
        icmpv6(C.mac(), ROUTER_B, "2001:db8:1:2::c", "2001:db8:1:1::a", &message)
    };
    assert_eq!(lab.sends(C, &too_big(&question)), Err(SecurityGroupIngress));
    lab.sends(A, &question).expect("let out");
    lab.sends(C, &too_big(&question)).expect("about a tracked connection");
}

/// T5: the ACL does not touch what is tracked.
#[test]
fn an_acl_that_denies_for_a_while_leaves_the_connection_tracked() {
    let mut lab = Lab::new(Profile::aws());
    lab.groups(A, &[1], EVERYTHING, &[]);
    let (question, answer) = (tcp(A, C, (1000, 80), SYN), tcp(C, A, (80, 1000), SYN_ACK));
    lab.sends(A, &question).expect("let out");
    lab.sends(C, &answer).expect("the answer");
    lab.acl(lab.sa, &["allow all 0.0.0.0/0"], &["deny all 0.0.0.0/0"]);
    assert_eq!(lab.sends(C, &answer), Err(NetworkAclIngress));
    lab.wait(600);
    lab.acl(lab.sa, &["allow all 0.0.0.0/0"], &["allow all 0.0.0.0/0"]);
    lab.sends(C, &answer).expect("it resumes");
    // N8: nothing is remembered of a packet that passed; the answer to an ephemeral port is asked about.
    lab.acl(lab.sa, &["allow tcp 80 0.0.0.0/0"], &["allow tcp 80 0.0.0.0/0"]);
    lab.sends(A, &question).expect("port 80 is allowed out");
    assert_eq!(
        lab.sends(C, &answer),
        Err(NetworkAclIngress),
        "the port of the answer is not"
    );
}

/// T7: each interface tracks for itself.
#[test]
fn an_answer_that_leaves_by_another_interface_is_asked_about_there() {
    let mut lab = Lab::new(Profile::aws());
    lab.groups(C, &[1], &[], &["tcp 80 10.0.0.0/16"]);
    lab.groups(A, &[1], &[], &[]);
    lab.unchecked(&[A]);
    lab.sends(B, &tcp(B, C, (1000, 80), SYN)).expect("let in");
    let answer = tcp(A, B, (80, 1000), SYN_ACK);
    assert_eq!(
        lab.sends(A, &answer),
        Err(SecurityGroupEgress),
        "the other interface has no rule for it"
    );
}

#[test]
fn what_is_tracked_of_a_deleted_interface_is_forgotten_with_it() {
    let mut lab = Lab::new(Profile::aws());
    lab.groups(A, &[1], EVERYTHING, &[]);
    lab.sends(A, &datagram(A, B, (1000, 53))).expect("let out");
    let fabric = lab.writer.fabric();
    let index = lab.interfaces[&A];
    let tracked = fabric.connections().of_interface(index, 1);
    assert_eq!(tracked.len(), 1);
    assert_eq!((tracked[0].own, tracked[0].ports), (A.ipv4().into(), Some((1000, 53))));
    assert_eq!(
        (tracked[0].state, tracked[0].opened_here, tracked[0].until),
        ("unanswered", true, 31)
    );
    lab.writer.remove_interface(index);
    assert!(fabric.connections().of_interface(index, 1).is_empty());
    assert_eq!(fabric.connections().used_by(index), 0);
}

#[test]
fn a_verdict_names_the_rule_the_entry_and_the_connection() {
    let mut lab = Lab::new(Profile::aws());
    lab.groups(C, &[1], EVERYTHING, &["tcp 22 10.0.0.0/8", "udp 53 10.0.1.0/24"]);
    lab.acl(lab.sa, &["allow udp 0.0.0.0/0"], &["allow all 0.0.0.0/0"]);
    let about = |lab: &mut Lab, host: Host, frame: Vec<u8>| {
        let decision = lab.decision(host, &frame, FrameMeta::default());
        decision.expect("the host is attached").basis
    };
    let basis = about(&mut lab, A, datagram(A, C, (1000, 53)));
    let named = [
        Entry::Rule(RuleName::SecurityGroup { group: 1, rule: 1 }),
        Entry::Rule(RuleName::NetworkAcl { acl: 7, number: 100 }),
        Entry::Rules(lab.interfaces[&C]),
        Entry::NetworkAcl(lab.sa),
    ];
    assert!(named.iter().all(|entry| basis.contains(entry)), "{basis:?}");
    let denied = about(&mut lab, A, tcp(A, C, (1000, 22), SYN));
    assert_eq!(denied.last(), Some(&Entry::NetworkAcl(lab.sa)), "{denied:?}");
    let denied = about(&mut lab, A, datagram(A, C, (1000, 54)));
    assert_eq!(denied.last(), Some(&Entry::Rules(lab.interfaces[&C])), "{denied:?}");
    lab.sends(A, &datagram(A, C, (1000, 53))).expect("let in");
    let answer = about(&mut lab, C, datagram(C, A, (53, 1000)));
    assert!(answer.contains(&Entry::Connections(lab.interfaces[&C])), "{answer:?}");
}

#[test]
fn the_later_fragments_of_ipv6_follow_their_first_by_its_identification() {
    let mut lab = Lab::new(Profile::aws());
    lab.groups(B, &[1], EVERYTHING, &["udp 53 2001:db8:1::/56"]);
    let part = |offset: u8, identification: u8, rest: &[u8]| {
        let header = [17, 0, 0, offset, 0, 0, 0, identification];
        let rest = [&header[..], rest].concat();
        ipv6(
            A.mac(),
            B.mac(),
            v6("2001:db8:1:1::a"),
            v6("2001:db8:1:1::b"),
            44,
            64,
            &rest,
        )
    };
    let first = |identification| part(1, identification, &[0, 9, 0, 53, 0, 24, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let later = |identification| part(16, identification, &[1; 8]);
    assert_eq!(lab.sends(A, &later(1)), Err(SecurityGroupFragment));
    lab.sends(A, &first(1)).expect("its port is let in");
    lab.sends(A, &later(1)).expect("it follows");
    assert_eq!(lab.sends(A, &later(2)), Err(SecurityGroupFragment), "of another packet");
}
