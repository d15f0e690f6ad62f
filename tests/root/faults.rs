//! Tests faults between real hosts, as a ping, a carrier and a TCP stream show them.
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::time::{Duration, Instant};

use localvpc::control::EventKind;
use localvpc::datapath::DropReason;
use serde_json::json;

use crate::support::vpc::{self, begin, end_all, eventually, host, runtime, said, succeeds};

const MS: Duration = Duration::from_millis(1);

#[test]
#[ignore = "needs root: make test"]
fn a_host_without_link_sees_no_carrier_until_the_fault_is_over() {
    let (runtime, _) = runtime(&[("a", "left", &["10.0.1.10"]), ("b", "left", &["10.0.1.11"])]);
    let (a, b) = (host(&runtime, "a"), host(&runtime, "b"));
    let carrier = || said(&b, "cat /sys/class/net/eth0/carrier");
    assert!(succeeds(&a, "ping -c 1 -W 2 10.0.1.11"));
    let mut events = runtime.controller().events(None);
    begin(
        runtime.controller(),
        json!({"link_down": {"interfaces": ["b"]}, "duration": "700ms"}),
    );
    let began = Instant::now();
    eventually("the carrier is gone", || carrier() == "0");
    assert!(!succeeds(&a, "ping -c 1 -W 0.2 10.0.1.11"));
    eventually("the carrier is back", || carrier() == "1");
    assert!(began.elapsed() >= 600 * MS);
    eventually("the hosts talk again", || succeeds(&a, "ping -c 1 -W 1 10.0.1.11"));
    let ended = std::iter::from_fn(|| events.receiver.try_recv().ok())
        .any(|event| matches!(&event.kind, EventKind::FaultEnded { reason, .. } if reason == "its time is over"));
    assert!(ended);
}

#[test]
#[ignore = "needs root: make test"]
fn delay_and_partition_are_what_a_ping_says_they_are() {
    let (runtime, ids) = runtime(&[
        ("a", "left", &["10.0.1.10"]),
        ("b", "left", &["10.0.1.11"]),
        ("c", "right", &["10.0.2.10"]),
    ]);
    let controller = runtime.controller();
    let a = host(&runtime, "a");
    let ping = |to: &str| said(&a, &format!("ping -n -c 5 -i 0.05 -W 2 {to}"));
    assert!(ping("10.0.1.11").contains(" 0% packet loss"));
    begin(
        controller,
        json!({"impairment": {"at": {"interfaces": ["b"]}, "delay": "50ms"}}),
    );
    let report = ping("10.0.1.11");
    // rtt min/avg/max/mdev = …
    let least: f64 = report
        .rsplit("= ")
        .next()
        .and_then(|times| times.split('/').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{report}"));
    assert!((100.0..150.0).contains(&least), "50 ms each way: {report}");
    assert!(ping("10.0.2.10").contains(" 0% packet loss"));
    end_all(controller);
    begin(
        controller,
        json!({"partition": {"between": {"interfaces": ["a"]}, "and": {"subnets": ["right"]}}}),
    );
    assert!(ping("10.0.2.10").contains(" 100% packet loss"));
    assert!(ping("10.0.1.11").contains(" 0% packet loss"));
    let port = controller.port_of(ids[0]).unwrap().port;
    let counters = runtime.switch().counters(port).unwrap();
    assert_eq!(counters.dropped(DropReason::FaultPartition), 5);
}

#[test]
#[ignore = "needs root: make test"]
fn loss_is_as_frequent_as_was_asked_for_and_tcp_survives_it() {
    let (runtime, _) = runtime(&[("a", "left", &["10.0.1.10"]), ("b", "left", &["10.0.1.11"])]);
    begin(
        runtime.controller(),
        json!({"impairment": {"at": {"interfaces": ["b"]}, "direction": "ingress", "loss": "5%"}}),
    );
    let (a, b) = (host(&runtime, "a"), host(&runtime, "b"));
    // Segmentation offload puts many packets into one frame; each of them has its own outcome.
    let received = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            b.namespace()
                .run(|| {
                    let listener = std::net::TcpListener::bind("10.0.1.11:5000").unwrap();
                    let (mut stream, _) = listener.accept().unwrap();
                    std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
                })
                .unwrap()
        });
        a.namespace()
            .run(|| {
                let deadline = Instant::now() + vpc::SOON;
                let mut stream = loop {
                    match std::net::TcpStream::connect("10.0.1.11:5000") {
                        Ok(stream) => break stream,
                        Err(error) => assert!(Instant::now() < deadline, "{error}"),
                    }
                };
                std::io::Write::write_all(&mut stream, &vec![7; 2_000_000]).unwrap();
            })
            .unwrap();
        server.join().unwrap()
    });
    assert_eq!(received, 2_000_000);
    let ports = runtime.switch().ports();
    let lost: u64 = ports
        .iter()
        .map(|port| port.counters.dropped(DropReason::FaultLoss))
        .sum();
    assert!(lost > 0, "something was lost on the way");
}
