//! The table of bindings by itself, and under several writers and readers.

use std::net::IpAddr;
use std::time::Duration;

use super::*;

fn gateway() -> InterfaceIndex {
    InterfaceIndex(std::num::NonZeroU32::new(7).expect("not 0"))
}

fn inside(host: u8, port: u16) -> Inside {
    Inside {
        gateway: gateway(),
        protocol: 17,
        fragments: false,
        egress_only: false,
        address: IpAddr::from([10, 0, 0, host]),
        port,
        remote: IpAddr::from([198, 51, 100, 7]),
        remote_port: 53,
    }
}

fn outside() -> IpAddr {
    IpAddr::from([10, 0, 1, 220])
}

fn opening(inside: Inside, port: u16, until: u32) -> Opening {
    Opening {
        inside,
        outside: (outside(), port),
        seen: 0,
        until,
        limit: 0,
    }
}

#[test]
fn a_binding_is_found_from_both_sides_until_it_expires() {
    let bindings = Bindings::new(1);
    bindings.open(&opening(inside(1, 1000), 2000, 100), 0).expect("room");
    let found = bindings.of_inside(&inside(1, 1000), 100).expect("it is alive");
    assert_eq!(found.outside, (outside(), 2000));
    let key = inside(1, 1000).seen_from((outside(), 2000));
    assert_eq!(
        bindings.of_outside(&key, 100).map(|found| found.inside),
        Some(inside(1, 1000))
    );
    assert_eq!(bindings.of_inside(&inside(1, 1000), 101), None);
    assert_eq!(bindings.of_outside(&key, 101), None);
    // Its port is free for another host then.
    bindings.open(&opening(inside(2, 1), 2000, 300), 101).expect("room");
    assert_eq!(
        bindings.of_outside(&key, 102).map(|found| found.inside.address),
        Some(inside(2, 1).address)
    );
    assert_eq!(bindings.load(&key), 1);
}

#[test]
fn a_port_that_is_taken_meanwhile_is_refused_and_the_same_binding_twice_is_one() {
    let bindings = Bindings::new(1);
    bindings.open(&opening(inside(1, 1000), 2000, 100), 0).expect("room");
    bindings
        .open(&opening(inside(1, 1000), 2000, 100), 0)
        .expect("it is the same");
    assert_eq!(bindings.open(&opening(inside(2, 1000), 2000, 100), 0), Err(Exhausted));
    assert_eq!(bindings.open(&opening(inside(1, 1000), 2001, 100), 0), Err(Exhausted));
    assert_eq!(bindings.active(gateway(), 0), 1);
}

#[test]
fn drawn_ports_are_free_and_all_of_them_can_be_drawn() {
    let bindings = Bindings::new(3);
    let key = inside(1, 0).seen_from((outside(), 0));
    let mut drawn = std::collections::BTreeSet::new();
    for number in 0..PORTS as u32 {
        let host = Inside {
            address: IpAddr::from([10, 1, (number >> 8) as u8, number as u8]),
            port: (number >> 16) as u16,
            ..inside(0, 0)
        };
        let port = bindings
            .free_port(&key, &host, 0, Duration::from_secs(5))
            .expect("one is free");
        assert!(drawn.insert(port) && port >= FIRST_PORT, "{port}");
        bindings.open(&opening(host, port, 1000), 5).expect("it is free");
        if number > 2000 && number < PORTS as u32 - 20 {
            // The rest takes long in a debug build; the last ones are what matters.
            break;
        }
    }
    assert_eq!(bindings.load(&key) as usize, drawn.len());
    // Ports are random: the first ones are not in order.
    let first: Vec<u16> = drawn.iter().take(3).copied().collect();
    assert_ne!(first, [FIRST_PORT, FIRST_PORT + 1, FIRST_PORT + 2]);
}

#[test]
fn what_is_cut_is_gone_and_what_has_expired_makes_room() {
    let bindings = Bindings::new(1);
    for port in 0..100 {
        bindings
            .open(&opening(inside(1, port), 2000 + port, 50), 0)
            .expect("room");
    }
    let key = inside(1, 0).seen_from((outside(), 0));
    assert_eq!(bindings.load(&key), 100);
    bindings.make_room(51);
    assert_eq!((bindings.load(&key), bindings.active(gateway(), 0)), (0, 0));
    bindings.open(&opening(inside(1, 1), 2000, 100), 60).expect("room");
    bindings.cut(gateway(), Some(IpAddr::from([10, 0, 1, 1])));
    assert_eq!(bindings.active(gateway(), 60), 1);
    bindings.cut(gateway(), None);
    assert_eq!((bindings.active(gateway(), 60), bindings.load(&key)), (0, 0));
}

#[test]
fn readers_find_what_lives_while_writers_make_and_cut_others() {
    let bindings = Bindings::new(9);
    for port in 0..64 {
        bindings
            .open(&opening(inside(1, port), 2000 + port, u32::MAX), 0)
            .expect("room");
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for host in [2_u8, 3] {
            let (bindings, done) = (&bindings, &done);
            scope.spawn(move || {
                for round in 0..3000_u32 {
                    let port = (round % 500) as u16;
                    let opening = Opening {
                        outside: (outside(), 10_000 + u16::from(host) * 1000 + port),
                        ..opening(inside(host, port), 0, round)
                    };
                    let _ = bindings.open(&opening, round);
                    bindings.make_room(round);
                }
                done.store(true, Ordering::Relaxed);
            });
        }
        let (bindings, done) = (&bindings, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for port in 0..64 {
                    let found = bindings.of_inside(&inside(1, port), 1).expect("it lives for ever");
                    assert_eq!(found.outside, (outside(), 2000 + port));
                }
            }
        });
    });
}
