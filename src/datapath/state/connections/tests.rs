//! Compares the table with a map, one operation after another, and checks it with several threads.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::table::FIRST;
use super::*;
use crate::model::traffic::Direction;

fn index(number: u32) -> InterfaceIndex {
    InterfaceIndex::from_number(number).expect("counted from 1")
}

fn key(number: u32) -> Key {
    let own = Ipv4Addr::from_bits(0x0a00_0000 + number / 50_000).into();
    let remote = Ipv4Addr::new(10, 1, 0, 1).into();
    Key::new(index(1 + number % 3), 6, Thread::Ports(number as u16, 80), own, remote)
}

fn first() -> Seen {
    Seen::first(SeenPacket {
        class: Class::Tcp,
        direction: Direction::Egress,
        flags: 2,
    })
}

fn table() -> Connections {
    Connections::new(7, 1 << 20)
}

#[derive(Debug, Clone)]
enum Step {
    Open(u32, u32),
    Refresh(u32, u32),
    Reap,
    Forget(u32),
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..4000, 1_u32..40).prop_map(|(key, life)| Step::Open(key, life)),
        3 => (0_u32..4000, 1_u32..40).prop_map(|(key, life)| Step::Refresh(key, life)),
        1 => Just(Step::Reap),
        1 => (1_u32..4).prop_map(Step::Forget),
        2 => (0_u32..5).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_table_remembers_what_a_map_would(steps in proptest::collection::vec(steps(), 1..3000)) {
        let (table, mut model, mut now) = (table(), HashMap::<u32, u32>::new(), 10);
        for step in steps {
            match step {
                Step::Open(number, life) => {
                    prop_assert_eq!(table.open(&key(number), first(), (now, now + life), index(9), 0), Ok(()));
                    model.insert(number, now + life);
                }
                Step::Refresh(number, life) => {
                    table.refresh(&key(number), first(), now, now + life);
                    // An expired entry may still be in the table or not: it is not refreshed unless it was found.
                    if model.get(&number).is_some_and(|until| *until >= now) {
                        model.insert(number, now + life);
                    } else {
                        model.remove(&number);
                        table.forget_key(&key(number));
                    }
                }
                Step::Reap => table.reap(now),
                Step::Forget(interface) => {
                    table.forget(index(interface));
                    model.retain(|number, _| 1 + number % 3 != interface);
                }
                Step::Wait(seconds) => now += seconds,
            }
        }
        for number in 0..4000 {
            let expected = model.get(&number).copied().filter(|until| *until >= now);
            prop_assert_eq!(table.find(&key(number), now).map(|known| known.until), expected, "{}", number);
        }
        let live = model.values().filter(|until| **until >= now).count();
        prop_assert!(table.len() >= live, "{} slots for {} connections", table.len(), live);
        for _ in 0..100 {
            table.reap(now);
        }
        prop_assert_eq!(table.len(), live);
        prop_assert_eq!(table.used_by(index(9)) as usize, live);
    }
}

impl Connections {
    fn forget_key(&self, key: &Key) {
        if let Some((slot, reading)) = self.table.slot(key, self.table.hash(key)) {
            self.table.free(slot, &reading);
        }
    }
}

#[test]
fn a_million_connections_are_remembered() {
    let table = Connections::new(3, 1 << 22);
    for number in 0..1_000_000 {
        assert_eq!(
            table.open(&key(number), first(), (1, 100), index(9), 0),
            Ok(()),
            "{number}"
        );
    }
    assert!(
        (0..1_000_000)
            .step_by(7)
            .all(|number| table.find(&key(number), 100).is_some())
    );
    assert_eq!(table.find(&key(1_000_000), 1), None);
    assert_eq!((table.len(), table.used_by(index(9))), (1_000_000, 1_000_000));
    assert_eq!(table.find(&key(5), 101), None, "its time is over");
}

#[test]
fn buckets_do_not_overflow_before_the_table_is_three_eighths_full() {
    let table = Connections::new(11, FIRST << 6);
    let most = (FIRST << 6) / 8 * 3;
    for number in 0..most as u32 {
        let opened = table.open(&key(number), first(), (1, 100), index(9), 0);
        assert_eq!(opened, Ok(()), "{number} of {most}");
    }
}

#[test]
fn an_allowance_ends_what_one_instance_tracks_and_expiry_gives_it_back() {
    let table = table();
    let open = |number, now| table.open(&key(number), first(), (now, now + 10), index(9), 5);
    assert!((0..5).all(|number| open(number, 1).is_ok()));
    assert_eq!(open(5, 1), Err(Full));
    assert!(!table.has_room(&key(5), index(9), 5, 1));
    assert!(table.has_room(&key(5), index(8), 5, 1), "another instance has its own");
    assert_eq!(open(3, 1), Ok(()), "one that is remembered goes on");
    table.reap(12);
    assert!(table.has_room(&key(5), index(9), 5, 12));
    assert_eq!(open(5, 12), Ok(()));
}

#[test]
fn a_full_table_refuses_what_is_new_and_keeps_what_it_has() {
    let table = Connections::new(5, FIRST);
    let opened: Vec<u32> = (0..4 * FIRST as u32)
        .filter(|number| table.open(&key(*number), first(), (1, 100), index(9), 0).is_ok())
        .collect();
    assert!(opened.len() > FIRST / 2 && opened.len() <= FIRST, "{}", opened.len());
    assert!(opened.iter().all(|number| table.find(&key(*number), 1).is_some()));
    assert!(!(0..4 * FIRST as u32).all(|number| table.has_room(&key(number), index(9), 0, 1)));
}

/// Each thread opens its own connections and refreshes those of all, while the table grows; none is lost.
#[test]
fn four_threads_lose_no_connection_while_the_table_grows() {
    const EACH: u32 = 20_000;
    let table = table();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for number in 0..EACH {
                    let own = number * 4 + thread;
                    table
                        .open(&key(own), first(), (1, 100), index(9), 0)
                        .expect("room for all");
                    table.refresh(&key(number * 4 + (thread + 1) % 4), first(), 1, 100);
                    assert!(table.find(&key(own), 1).is_some(), "{own}");
                    if number % 64 == 0 {
                        table.reap(1);
                    }
                }
            });
        }
    });
    let missing = (0..4 * EACH)
        .filter(|number| table.find(&key(*number), 1).is_none())
        .count();
    assert_eq!(missing, 0);
    assert_eq!(table.len(), 4 * EACH as usize);
}

/// All threads open the same connections at once.
#[test]
fn a_connection_that_two_threads_open_at_once_is_counted_once() {
    let table = table();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..5000 {
                    table
                        .open(&key(number), first(), (1, 100), index(9), 0)
                        .expect("room for all");
                }
            });
        }
    });
    assert!((0..5000).all(|number| table.find(&key(number), 1).is_some()));
    assert_eq!(table.used_by(index(9)) as usize, table.len());
    // A duplicate lives as long as an entry that is not refreshed, and no longer.
    assert!(table.len() < 5050, "{}", table.len());
}

#[test]
fn keys_of_different_connections_differ() {
    let (a, b) = (
        "10.0.0.1".parse().expect("an address"),
        "10.0.0.2".parse().expect("an address"),
    );
    let echo = |own| Thread::Question {
        kind: 8,
        identifier: 7,
        own,
    };
    let fragments = |out| Thread::Fragments { identification: 7, out };
    let threads = [
        Thread::Ports(0, 7),
        Thread::Ports(7, 0),
        echo(true),
        echo(false),
        fragments(true),
        fragments(false),
    ];
    let mut keys: Vec<Key> = threads
        .iter()
        .map(|thread| Key::new(index(1), 17, *thread, a, b))
        .collect();
    keys.push(Key::new(index(2), 17, threads[0], a, b));
    keys.push(Key::new(index(1), 6, threads[0], a, b));
    keys.push(Key::new(index(1), 17, threads[0], b, a));
    let mapped = (
        "::10.0.0.1".parse().expect("an address"),
        "::10.0.0.2".parse().expect("an address"),
    );
    keys.push(Key::new(index(1), 17, threads[0], mapped.0, mapped.1));
    let distinct: std::collections::HashSet<&Key> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(keys[0].addresses(), (a, b));
    assert_eq!((keys[0].protocol(), keys[0].ports()), (17, Some((0, 7))));
}
