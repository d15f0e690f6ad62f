//! Checks the bindings of NAT gateways: workers that look up, refresh, open and expire them at once.

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use loom::thread;

    use super::super::bindings::key::{Inside, Outside};
    use super::super::bindings::{Bindings, Opening, Refresh};
    use crate::mapping::InterfaceIndex;

    fn index() -> InterfaceIndex {
        InterfaceIndex::from_number(1).expect("counted from 1")
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn inside(port: u16) -> Inside {
        Inside {
            gateway: index(),
            protocol: 17,
            fragments: false,
            egress_only: false,
            address: address(1),
            port,
            remote: address(2),
            remote_port: 53,
        }
    }

    fn outside(port: u16) -> Outside {
        inside(0).seen_from((address(3), port))
    }

    /// A connection of a host's port, for which another port stands, alive until then.
    fn opening(port: u16, stands: u16, until: u32) -> Opening {
        Opening {
            inside: inside(port),
            outside: (address(3), stands),
            seen: 0,
            until,
            limit: 0,
        }
    }

    /// With few preemptions; each test fails within them when a step of the protocol is left out.
    fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.max_branches = 20_000;
        model.check(test);
    }

    /// Connections 1 and 2; the first has expired at the 20th second.
    fn bindings() -> Arc<Bindings> {
        let bindings = Arc::new(Bindings::new(1));
        for (port, until) in [(1, 10), (2, 100)] {
            let opened = bindings.open(&opening(port, 1000 + port, until), 1);
            assert_eq!(opened, Ok(()), "{port}");
        }
        bindings
    }

    /// The connection that a port stands for.
    fn host_port(bindings: &Bindings, stands: u16, now: u32) -> Option<u16> {
        bindings
            .of_outside(&outside(stands), now)
            .map(|found| found.inside.port)
    }

    #[test]
    fn a_binding_is_found_while_another_expires_and_its_record_is_used_again() {
        model(2, || {
            let bindings = bindings();
            let writer = Arc::clone(&bindings);
            let opens = thread::spawn(move || {
                assert_eq!(writer.open(&opening(3, 1003, 100), 20), Ok(()));
            });
            assert_eq!(host_port(&bindings, 1002, 20), Some(2));
            let third = host_port(&bindings, 1003, 20);
            assert!(matches!(third, None | Some(3)), "{third:?}");
            assert_eq!(host_port(&bindings, 1001, 20), None);
            opens.join().expect("it opened");
            assert_eq!(
                (host_port(&bindings, 1003, 20), host_port(&bindings, 1002, 20)),
                (Some(3), Some(2))
            );
            assert_eq!(bindings.load(&outside(0)), 2);
        });
    }

    #[test]
    fn of_two_workers_that_want_one_port_one_gets_it() {
        model(2, || {
            let bindings = bindings();
            let other = Arc::clone(&bindings);
            let second = thread::spawn(move || other.open(&opening(4, 1009, 100), 20));
            let first = bindings.open(&opening(3, 1009, 100), 20);
            let second = second.join().expect("it tried");
            assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
            let owner = if first.is_ok() { 3 } else { 4 };
            assert_eq!(host_port(&bindings, 1009, 20), Some(owner));
            assert_eq!(bindings.load(&outside(0)), 2, "two are alive");
        });
    }

    #[test]
    fn a_binding_that_is_refreshed_while_it_expires_is_one_or_none_and_never_two() {
        model(3, || {
            let bindings = bindings();
            let known = bindings.of_inside(&inside(1), 5).expect("it is alive");
            let other = Arc::clone(&bindings);
            // A worker whose clock is a little behind goes on with it.
            let refreshes = thread::spawn(move || {
                other.refresh(&Refresh {
                    place: known.place,
                    inside: known.inside,
                    seen: 8,
                    until: 30,
                });
            });
            let opened = bindings.open(&opening(3, 1003, 100), 20);
            assert_eq!(opened, Ok(()));
            refreshes.join().expect("it refreshed");
            // Two more take what records are free.
            for port in 4..=5 {
                assert_eq!(bindings.open(&opening(port, 1000 + port, 100), 40), Ok(()), "{port}");
            }
            for port in 2..=5 {
                assert_eq!(host_port(&bindings, 1000 + port, 40), Some(port), "{port}");
                let found = bindings.of_inside(&inside(port), 40).map(|found| found.outside.1);
                assert_eq!(found, Some(1000 + port), "{port}");
            }
            assert_eq!(bindings.load(&outside(0)), 4);
        });
    }
}
