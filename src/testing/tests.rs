use std::time::Duration;

use super::*;
use crate::datapath::DropReason;

fn two_subnets() -> (Vpc, [Subnet; 2], [Host; 3]) {
    let mut vpc = Vpc::aws();
    let left = vpc.subnet(&["10.0.1.0/24", "2001:db8:0:1::/64"]);
    let right = vpc.subnet(&["10.0.2.0/24", "2001:db8:0:2::/64"]);
    let a = vpc.host(left, &["10.0.1.10", "2001:db8:0:1::a"]);
    let b = vpc.host(left, &["10.0.1.11", "2001:db8:0:1::b"]);
    let c = vpc.host(right, &["10.0.2.10", "2001:db8:0:2::c"]);
    (vpc, [left, right], [a, b, c])
}

#[test]
fn a_packet_reaches_its_subnet_and_the_next() {
    let (mut vpc, [left, right], [a, b, c]) = two_subnets();
    for (to, host) in [
        ("10.0.1.11", b),
        ("2001:db8:0:1::b", b),
        ("10.0.2.10", c),
        ("2001:db8:0:2::c", c),
    ] {
        let packet = vpc.udp(a, to, b"hello");
        let sent = vpc.send(a, &packet);
        assert_eq!(sent.fate, Fate::Delivered(host), "{to}");
        assert_eq!(sent.at(host).count(), 1, "{to}");
        assert_eq!(sent.arrivals.len(), 1, "{to}");
    }
    assert_eq!(vpc.owner("10.0.2.10", right), Some(c));
    assert_eq!(vpc.owner("10.0.2.10", left), None);
}

#[test]
fn a_move_is_announced_where_the_profile_says_so() {
    for (profile, announced) in [("aws", true), ("aws-xen", false)] {
        let mut vpc = Vpc::new(Profile::named(profile).unwrap());
        let subnet = vpc.subnet(&["10.0.1.0/24"]);
        let a = vpc.host(subnet, &["10.0.1.10"]);
        vpc.host(subnet, &["10.0.1.11", "10.0.1.50"]);
        let c = vpc.host(subnet, &["10.0.1.12"]);
        vpc.assign("10.0.1.50", c);
        let arrived = vpc.advance(Duration::from_secs(1));
        let heard = arrived.iter().any(|arrival| arrival.host == a);
        assert_eq!(heard, announced, "{profile}");
    }
}

#[test]
fn time_passes_only_when_it_is_told_to() {
    let (mut vpc, _, [a, ..]) = two_subnets();
    let advertisements = |vpc: &mut Vpc, seconds| {
        let arrived = vpc.advance(Duration::from_secs(seconds));
        arrived.iter().filter(|arrival| arrival.host == a).count()
    };
    advertisements(&mut vpc, 60);
    assert_eq!(advertisements(&mut vpc, 0), 0);
    assert!(advertisements(&mut vpc, 60) > 2);
}

#[test]
fn what_is_explained_is_what_then_happens() {
    let (mut vpc, _, [a, b, _]) = two_subnets();
    let foreign = vpc.udp_from("192.0.2.1", a, "10.0.1.11", b"x");
    let (verdict, steps) = vpc.explain(a, &foreign);
    assert_eq!(verdict, Verdict::Drop(DropReason::SourceCheck), "{steps:?}");
    let sent = vpc.send(a, &foreign);
    assert_eq!(sent.fate, Fate::Dropped(DropReason::SourceCheck));
    assert_eq!(sent.at(b).count(), 0);
}

#[test]
#[should_panic(expected = "10.0.9.1 is in no block of the host's subnet")]
fn an_address_outside_of_the_subnet_is_a_mistake() {
    let (mut vpc, _, [a, ..]) = two_subnets();
    vpc.assign("10.0.9.1", a);
}
