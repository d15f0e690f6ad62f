use std::num::{NonZeroU32, NonZeroU64};

use super::*;
use crate::model::duration::{Delay, YEAR};
use crate::wire::MacAddr;

fn interface(index: u32, subnet: u32) -> Interface {
    let number = |n| NonZeroU32::new(n).expect("not zero");
    Interface {
        index: InterfaceIndex(number(index)),
        mac: MacAddr([2, 0, 0, 0, 0, index as u8]),
        checked: true,
        subnet: number(subnet),
        port: None,
        ipv4: None,
        ipv6_host: None,
        mtu: None,
    }
}

fn only(interfaces: &[&Interface]) -> Selector {
    Selector {
        interfaces: interfaces.iter().map(|interface| interface.index).collect(),
        ..Selector::default()
    }
}

fn subnet(number: u32) -> Selector {
    Selector {
        subnets: vec![SubnetIndex(NonZeroU32::new(number).expect("not zero"))],
        ..Selector::default()
    }
}

fn view(effects: Vec<Effect>) -> FaultView {
    FaultView {
        seed: 7,
        effects: effects
            .into_iter()
            .zip(1..)
            .map(|(effect, number)| (number, effect))
            .collect(),
    }
}

fn impaired(on: Selector, impairment: Impairment) -> Effect {
    Effect::Impairment {
        on,
        egress: true,
        ingress: false,
        impairment,
        lanes: Arc::default(),
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_cut_stops_exactly_the_frames_that_cross_it() {
    let (a, b, c) = (interface(1, 1), interface(2, 1), interface(3, 2));
    let partition = |one_way| Effect::Partition {
        one: only(&[&a]),
        other: subnet(2),
        one_way,
    };
    let (link, parted, zone) = (
        DropReason::FaultLinkDown,
        DropReason::FaultPartition,
        DropReason::FaultZoneCut,
    );
    // a→b b→a a→c c→a b→c c→b
    let cases = [
        ("nothing", vec![], [None; 6]),
        (
            "a has no link",
            vec![Effect::LinkDown(only(&[&a]))],
            [Some(link), Some(link), Some(link), Some(link), None, None],
        ),
        (
            "a is parted from subnet 2",
            vec![partition(false)],
            [None, None, Some(parted), Some(parted), None, None],
        ),
        (
            "nothing from a reaches subnet 2",
            vec![partition(true)],
            [None, None, Some(parted), None, None, None],
        ),
        (
            "subnet 2 is a zone that is cut off",
            vec![Effect::ZoneCut(subnet(2))],
            [None, None, Some(zone), Some(zone), Some(zone), Some(zone)],
        ),
        (
            "everything is down",
            vec![Effect::LinkDown(Selector {
                everything: true,
                ..Selector::default()
            })],
            [Some(link); 6],
        ),
    ];
    for (what, effects, expected) in cases {
        let view = view(effects);
        let pairs = [(&a, &b), (&b, &a), (&a, &c), (&c, &a), (&b, &c), (&c, &b)];
        let found = pairs.map(|(from, to)| view.pass(from, to, 100, MS).err());
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn the_same_seed_gives_the_same_fates_and_another_seed_others() {
    let (a, b) = (interface(1, 1), interface(2, 1));
    let impairment = Impairment {
        loss: Chance::new(0.3),
        duplicate: Chance::new(0.2),
        reorder: Chance::new(0.1),
        delay: 10 * MS,
        jitter: 5 * MS,
        ..Impairment::default()
    };
    let run = |seed, number| {
        let view = FaultView {
            seed,
            effects: vec![(number, impaired(only(&[&a]), impairment))],
        };
        (0..1000).map(|n| view.pass(&a, &b, 100, MS * n)).collect::<Vec<_>>()
    };
    assert_eq!(run(1, 1), run(1, 1));
    assert_ne!(run(1, 1), run(2, 1), "another seed");
    assert_ne!(run(1, 1), run(1, 2), "another fault");
    let fates = run(1, 1);
    let lost = fates.iter().filter(|fate| **fate == Err(DropReason::FaultLoss)).count();
    assert!((250..350).contains(&lost), "{lost} of 1000 lost at 30 %");
    let twice = fates.iter().flatten().filter(|passage| passage.copy.is_some()).count();
    assert!((100..190).contains(&twice), "{twice} of some 700 doubled at 20 %");
}

#[test]
fn the_fate_of_a_frame_does_not_depend_on_traffic_elsewhere() {
    let (a, b, c) = (interface(1, 1), interface(2, 1), interface(3, 1));
    let everything = Selector {
        everything: true,
        ..Selector::default()
    };
    let impairment = Impairment {
        loss: Chance::new(0.5),
        ..Impairment::default()
    };
    let alone = view(vec![impaired(everything.clone(), impairment)]);
    let busy = view(vec![impaired(everything, impairment)]);
    for n in 0..200 {
        for _ in 0..n % 3 {
            let _ = busy.pass(&c, &b, 100, MS);
        }
        assert_eq!(alone.pass(&a, &b, 100, MS), busy.pass(&a, &b, 100, MS), "frame {n}");
    }
}

#[test]
fn jitter_changes_no_order_and_reordering_does() {
    let (a, b) = (interface(1, 1), interface(2, 1));
    let arrivals = |reorder| {
        let view = view(vec![impaired(
            only(&[&a]),
            Impairment {
                delay: 10 * MS,
                jitter: 10 * MS,
                reorder: Chance::new(reorder),
                ..Impairment::default()
            },
        )]);
        (0..500)
            .map(|n| MS * n + view.pass(&a, &b, 100, MS * n).expect("nothing is lost").delay)
            .collect::<Vec<_>>()
    };
    assert!(arrivals(0.0).is_sorted());
    assert!(!arrivals(0.1).is_sorted());
    let held: Vec<_> = arrivals(0.0).into_iter().zip(0..).map(|(at, n)| at - MS * n).collect();
    assert!(held.iter().all(|held| *held <= 20 * MS), "delay + jitter at the most");
    assert!(held.iter().any(|held| *held > 15 * MS) && held.iter().any(|held| *held < 12 * MS));
}

#[test]
fn a_rate_spreads_frames_out_and_drops_what_would_wait_too_long() {
    let (a, b) = (interface(1, 1), interface(2, 1));
    // 1000 octets at 8 Mbit/s take a millisecond.
    let view = view(vec![impaired(
        only(&[&a]),
        Impairment {
            rate: NonZeroU64::new(8_000_000),
            queue: 2 * MS,
            ..Impairment::default()
        },
    )]);
    let fates: Vec<_> = (0..5)
        .map(|_| view.pass(&a, &b, 1000, MS).map(|passage| passage.delay))
        .collect();
    assert_eq!(
        fates,
        [
            Ok(MS),
            Ok(2 * MS),
            Ok(3 * MS),
            Err(DropReason::FaultRate),
            Err(DropReason::FaultRate)
        ]
    );
    assert_eq!(view.pass(&a, &b, 1000, 10 * MS).map(|p| p.delay), Ok(MS), "idle again");
}

#[test]
fn only_who_is_behind_sees_the_former_owner() {
    let (a, b, c) = (interface(1, 1), interface(2, 1), interface(3, 1));
    let here = SubnetIndex(NonZeroU32::MIN);
    let mut former = FormerOwners::default();
    let net = |text: &str| text.parse::<IpNet>().expect("a network");
    former.note(here, net("10.0.0.9/32"), Some(c.index));
    former.note(here, net("10.0.0.9/32"), Some(b.index));
    former.note(here, net("10.0.0.16/28"), None);
    let view = view(vec![Effect::StaleMapping {
        seen_by: only(&[&a]),
        former: Arc::new(former),
    }]);
    let cases = [
        (&a, "10.0.0.9", Some(Some(c.index))),
        (&a, "10.0.0.17", Some(None)),
        (&a, "10.0.0.8", None),
        (&b, "10.0.0.9", None),
    ];
    for (who, address, expected) in cases {
        let address = address.parse().expect("an address");
        assert_eq!(view.former_owner(who, here, address), expected, "{address}");
    }
}

#[test]
fn the_services_of_a_host_suffer_all_faults_that_select_it() {
    let (a, b) = (interface(1, 1), interface(2, 2));
    let view = view(vec![
        Effect::Services(
            subnet(1),
            ServiceFaults {
                dhcp_silent: true,
                ..ServiceFaults::default()
            },
        ),
        Effect::Services(
            only(&[&a]),
            ServiceFaults {
                clock_skew: -5,
                ..ServiceFaults::default()
            },
        ),
    ]);
    let expected = ServiceFaults {
        dhcp_silent: true,
        clock_skew: -5,
        ..ServiceFaults::default()
    };
    assert_eq!(view.services(&a), expected);
    assert_eq!(view.services(&b), ServiceFaults::default());
}

proptest::proptest! {
    /// No impairment that a client can request overflows, whatever the state of the lane.
    #[test]
    fn every_impairment_within_its_bounds_gives_a_passage_or_a_reason(
        delay in 0..=Delay::MOST.as_nanos() as u64,
        jitter in 0..=Delay::MOST.as_nanos() as u64,
        queue in 0..=Delay::MOST.as_nanos() as u64,
        rate in proptest::option::of(proptest::prop_oneof![1..=9_u64, 1..=u64::MAX]),
        length in 0..=66_000_usize,
        now in 0..=YEAR,
        seed: u64,
    ) {
        let impairment = Impairment {
            delay: Duration::from_nanos(delay),
            jitter: Duration::from_nanos(jitter),
            queue: Duration::from_nanos(queue),
            rate: rate.and_then(NonZeroU64::new),
            duplicate: Chance::new(0.5),
            ..Impairment::default()
        };
        let lanes = Lanes::default();
        let lane = lanes.lane(InterfaceIndex(NonZeroU32::MIN), Way::Egress);
        let now = Duration::from_nanos(now);
        for sequence in 0..20 {
            let lot = impairment.lot(seed, 1, InterfaceIndex(NonZeroU32::MIN), Way::Egress, sequence);
            proptest::prop_assert!(lot.delay <= impairment.delay.saturating_add(impairment.jitter));
            if let Ok(passage) = lane.pass(&impairment, &lot, Passage::default(), length, now) {
                proptest::prop_assert!(passage.copy.is_none_or(|copy| copy >= passage.delay));
            }
        }
    }
}
