//! Compares compiled rules with a reader that goes through them one by one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn name(rule: u64) -> RuleName {
    RuleName::SecurityGroup { group: 1, rule }
}

fn rule(number: u64, protocol: Option<u8>, first: u16, last: u16, peer: &str) -> RuleSpec {
    let peer = match peer.parse::<IpNet>() {
        Ok(net) => Peer::Nets(vec![net]),
        Err(_) => Peer::Group(peer.parse().expect("a net or a group")),
    };
    RuleSpec {
        name: name(number),
        protocol,
        ports: Ports { first, last },
        peer,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Reads the rules one by one.
fn naive<'a>(
    rules: &'a [RuleSpec],
    remote: IpAddr,
    groups: &'a [u64],
    protocol: u8,
    upper: Upper,
) -> impl Iterator<Item = &'a RuleSpec> {
    rules.iter().filter(move |rule| {
        let peer = match &rule.peer {
            Peer::Nets(nets) => nets.iter().any(|net| net.contains(&remote)),
            Peer::Group(group) => groups.contains(group),
        };
        let of_protocol = rule.protocol.is_none_or(|own| own == protocol);
        let by_ports = rule.protocol.is_some() && [1, 6, 17, 58].contains(&protocol);
        let ports = match upper {
            _ if !by_ports => true,
            Upper::Port(port) => (rule.ports.first..=rule.ports.last).contains(&port),
            Upper::Unknown => rule.ports == Ports::ALL,
        };
        peer && of_protocol && ports
    })
}

fn nets() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u32..4, 0_u8..=32).prop_map(|(low, length)| {
        let bits = 0x0a00_0000 | low << 6 | low;
        IpNet::new(Ipv4Addr::from_bits(bits).into(), length)
            .expect("a length")
            .trunc()
    });
    let v6 = (0_u128..4, 0_u8..=128).prop_map(|(low, length)| {
        let bits = 0x2001_0db8_u128 << 96 | low << 64 | low;
        IpNet::new(Ipv6Addr::from_bits(bits).into(), length)
            .expect("a length")
            .trunc()
    });
    prop_oneof![v4, v6]
}

fn protocols() -> impl Strategy<Value = u8> {
    prop_oneof![Just(6), Just(17), Just(1), Just(58), Just(112), Just(50)]
}

fn ports() -> impl Strategy<Value = Ports> {
    let range = (0_u16..20, 0_u16..20).prop_map(|(a, b)| Ports {
        first: a.min(b),
        last: a.max(b),
    });
    prop_oneof![
        Just(Ports::ALL),
        range,
        Just(Ports {
            first: 7,
            last: u16::MAX
        })
    ]
}

fn rules() -> impl Strategy<Value = Vec<RuleSpec>> {
    let peer = prop_oneof![
        3 => proptest::collection::vec(nets(), 1..4).prop_map(|mut nets| {
            let v4 = nets[0].addr().is_ipv4();
            nets.retain(|net| net.addr().is_ipv4() == v4);
            Peer::Nets(nets)
        }),
        1 => (0_u64..4).prop_map(Peer::Group),
    ];
    let rule = (proptest::option::of(protocols()), ports(), peer);
    proptest::collection::vec(rule, 0..150).prop_map(|rules| {
        let numbered = rules.into_iter().enumerate();
        numbered
            .map(|(at, (protocol, ports, peer))| RuleSpec {
                name: name(at as u64),
                protocol,
                ports,
                peer,
            })
            .collect()
    })
}

fn packets() -> impl Strategy<Value = (IpAddr, Vec<u64>, u8, Upper)> {
    let v4 = (0_u32..256).prop_map(|low| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | low)));
    let v6 = (0_u128..5, 0_u128..5)
        .prop_map(|(net, low)| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | net << 64 | low)));
    let upper = prop_oneof![
        (0_u16..22).prop_map(Upper::Port),
        Just(Upper::Port(u16::MAX)),
        Just(Upper::Unknown)
    ];
    let groups = proptest::collection::vec(0_u64..6, 0..4);
    (
        prop_oneof![v4, v6, Just(address("203.0.113.9"))],
        groups,
        protocols(),
        upper,
    )
}

proptest! {
    #[test]
    fn a_compiled_acl_gives_the_first_entry_that_matches(
        rules in rules(), packets in proptest::collection::vec(packets(), 40)
    ) {
        let entries = rules.iter().enumerate().map(|(at, rule)| AclEntry {
            number: at as u16,
            allow: at % 3 > 0,
            rule: rule.clone(),
        });
        let acl = Acl::compile(entries.collect(), Vec::new());
        for (remote, _, protocol, upper) in packets {
            let expected = naive(&rules, remote, &[], protocol, upper).next();
            let expected = expected.map(|rule| {
                let RuleName::SecurityGroup { rule: at, .. } = rule.name else { unreachable!() };
                (rule.name, at % 3 > 0)
            });
            prop_assert_eq!(acl.decide(Direction::Egress, remote, protocol, upper), expected);
            prop_assert_eq!(acl.decide(Direction::Ingress, remote, protocol, upper), None);
        }
    }

    #[test]
    fn a_compiled_policy_allows_what_any_rule_of_the_direction_allows(
        egress in rules(), ingress in rules(), packets in proptest::collection::vec(packets(), 40),
        own in proptest::option::of(0_u16..22),
    ) {
        let policy = Policy::compile([1], egress.clone(), ingress.clone());
        for (remote, groups, protocol, upper) in packets {
            for (direction, rules, back) in
                [(Direction::Egress, &egress, &ingress), (Direction::Ingress, &ingress, &egress)]
            {
                let found = policy.allows(direction, remote, &groups, protocol, upper, own);
                let matching: Vec<&RuleSpec> = naive(rules, remote, &groups, protocol, upper).collect();
                prop_assert_eq!(found.is_some(), !matching.is_empty());
                let Some(found) = found else { continue };
                prop_assert!(matching.iter().any(|rule| rule.name == found.rule));
                let family = Family::of(remote);
                let everywhere = |rule: &RuleSpec| {
                    matches!(&rule.peer, Peer::Nets(nets) if nets.iter().any(|net| net.prefix_len() == 0))
                        && rule.is_in(family)
                };
                let opens = |rule: &RuleSpec| {
                    everywhere(rule)
                        && rule.protocol.is_none_or(|own| own == protocol)
                        && (rule.ports == Ports::ALL || rule.protocol.is_none())
                };
                let untracked = matches!(protocol, TCP | UDP)
                    && matching.iter().any(|rule| everywhere(rule))
                    && (back.iter().any(opens)
                        || rules.iter().any(opens)
                            && own.is_some_and(|port| {
                                naive(back, remote, &[], protocol, Upper::Port(port)).any(everywhere)
                            }));
                prop_assert_eq!(found.untracked, untracked);
            }
        }
    }

    #[test]
    fn between_two_cut_points_the_verdict_does_not_change(rules in rules(), packet in packets()) {
        let policy = Policy::compile([1], rules, Vec::new());
        let (remote, groups, protocol, upper) = packet;
        let Upper::Port(port) = upper else { return Ok(()) };
        let cuts = policy.cut_points(Direction::Egress, Family::of(remote));
        let lower = cuts.addresses.iter().filter(|start| **start <= remote).max().copied();
        let ports = cuts.ports.iter().find(|(of, _)| *of == Some(protocol)).or(cuts.ports.first());
        let start = ports.and_then(|(_, starts)| starts.iter().filter(|start| **start <= port).max()).copied();
        let there = policy.allows(Direction::Egress, remote, &groups, protocol, upper, None);
        let at_cut = policy.allows(
            Direction::Egress,
            lower.expect("the least address is a cut point"),
            &groups,
            protocol,
            Upper::Port(start.expect("the least port is a cut point")),
            None,
        );
        prop_assert_eq!(there, at_cut);
    }
}

#[test]
fn a_flow_is_untracked_between_two_rules_about_all_addresses_and_only_then() {
    let everything_out = || rule(1, None, 0, 65_535, "0.0.0.0/0");
    let web = || rule(2, Some(TCP), 80, 80, "0.0.0.0/0");
    let ssh = || rule(3, Some(TCP), 22, 22, "203.0.113.1/32");
    let untracked = |policy: &Policy, port| {
        let found = policy.allows(
            Direction::Ingress,
            address("203.0.113.1"),
            &[],
            TCP,
            Upper::Port(port),
            None,
        );
        found.expect("a rule allows it").untracked
    };
    // EC2 guide, "Security group connection tracking", the example.
    let policy = Policy::compile(
        [1],
        vec![everything_out()],
        vec![ssh(), web(), rule(4, Some(TCP), 80, 80, "::/0")],
    );
    assert!(untracked(&policy, 80));
    assert!(!untracked(&policy, 22));
    let narrow = Policy::compile([1], vec![rule(1, Some(TCP), 0, 65_534, "0.0.0.0/0")], vec![web()]);
    assert!(!untracked(&narrow, 80), "the way back is not open for all ports");
    let other = Policy::compile([1], vec![rule(1, None, 0, 65_535, "::/0")], vec![web()]);
    assert!(!untracked(&other, 80), "the way back is open for the other family");
    let tcp = Policy::compile([1], vec![rule(1, Some(TCP), 0, 65_535, "0.0.0.0/0")], vec![web()]);
    assert!(untracked(&tcp, 80), "all ports of the protocol are enough");
    let found = policy.allows(
        Direction::Egress,
        address("203.0.113.1"),
        &[],
        TCP,
        Upper::Port(40_000),
        Some(80),
    );
    assert!(found.is_some_and(|found| found.untracked), "the answer from port 80");
    let found = policy.allows(
        Direction::Egress,
        address("203.0.113.1"),
        &[],
        TCP,
        Upper::Port(40_000),
        Some(22),
    );
    assert!(found.is_some_and(|found| !found.untracked), "the answer from port 22");
    let both = Policy::compile(
        [1],
        vec![everything_out()],
        vec![rule(5, Some(TCP), 80, 80, "203.0.113.0/24"), web()],
    );
    assert!(
        untracked(&both, 80),
        "of two rules that match, the one about all addresses decides"
    );
}

#[test]
fn a_packet_without_ports_is_matched_by_rules_about_all_ports_alone() {
    let policy = Policy::compile([1], vec![rule(1, Some(UDP), 53, 53, "0.0.0.0/0")], Vec::new());
    let to = address("10.0.0.1");
    assert_eq!(policy.allows_whole(Direction::Egress, to, &[], UDP), None);
    let wide = Policy::compile([1], vec![rule(1, Some(UDP), 0, 65_535, "0.0.0.0/0")], Vec::new());
    assert_eq!(wide.allows_whole(Direction::Egress, to, &[], UDP), Some(name(1)));
    assert_eq!(wide.allows_whole(Direction::Egress, to, &[], TCP), None);
}

#[test]
fn icmp_rules_are_about_types_and_codes() {
    let with = |ports: Ports| {
        let rule = RuleSpec {
            ports,
            ..rule(1, Some(1), 0, 0, "10.0.0.0/8")
        };
        Policy::compile([1], Vec::new(), vec![rule])
    };
    let asks = |policy: &Policy, kind: u16, code: u16| {
        let upper = Upper::Port(kind << 8 | code);
        policy
            .allows(Direction::Ingress, address("10.0.0.1"), &[], 1, upper, None)
            .is_some()
    };
    let echo = with(Ports::icmp(Some(8), None));
    assert!(asks(&echo, 8, 0) && asks(&echo, 8, 255) && !asks(&echo, 9, 0) && !asks(&echo, 7, 255));
    let fragmentation_needed = with(Ports::icmp(Some(3), Some(4)));
    assert!(asks(&fragmentation_needed, 3, 4) && !asks(&fragmentation_needed, 3, 3));
    let all = with(Ports::icmp(None, None));
    assert!(asks(&all, 0, 0) && asks(&all, 255, 255));
}
