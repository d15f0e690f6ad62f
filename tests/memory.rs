//! Measures the memory of a flood of connections, as the resident memory of its own process.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support"]
mod support {
    pub(crate) mod services;
}

use std::net::Ipv4Addr;
use std::time::Duration;

use localvpc::services::Limits;
use support::services::Lab;

const IMDS: &str = "169.254.169.254";
/// Additional octets allowed for ten thousand connections instead of a thousand: fragments of the heap, no further
/// connection.
const MORE: usize = 4 << 20;

/// Resident memory of the process in octets.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

/// Opens at least this many connections of every bad kind; each host then goes silent.
fn flood(lab: &mut Lab, connections: u16) -> usize {
    let unfinished = format!("GET /latest/user-data HTTP/1.1\r\nX: {}", "y".repeat(3000));
    let unread = format!("GET /latest/user-data HTTP/1.1\r\nHost: {IMDS}\r\n\r\n").repeat(4);
    let (mut opened, mut most) = (0, 0);
    while opened < connections {
        for n in 0..24 {
            // Half open: a SYN from a port without a listener.
            let (own, service) = (lab.hosts[1].ipv4, Ipv4Addr::new(169, 254, 169, 254));
            let syn = lab.hosts[1].syn(own, 1024 + opened + n, service, 80, i32::from(n));
            lab.hosts[1].card.send(syn).unwrap();
        }
        let handles: Vec<_> = (0..6).map(|_| lab.hosts[0].connect(IMDS, 80)).collect();
        lab.settle();
        for (number, handle) in handles.iter().enumerate() {
            let request = if number % 2 == 0 { &unfinished } else { &unread };
            let _ = lab.hosts[0].tcp(*handle).send_slice(request.as_bytes());
        }
        lab.settle();
        most = most.max(lab.server.shared().connections());
        handles.into_iter().for_each(|handle| {
            lab.hosts[0].sockets.remove(handle);
        });
        lab.sent.clear();
        lab.pass(Duration::from_millis(100));
        opened += 30;
    }
    most
}

#[test]
fn ten_thousand_connections_hold_no_more_memory_than_a_thousand() {
    let limits = Limits::default();
    let mut lab = Lab::new();
    lab.hosts[1].deaf = true;
    let few = flood(&mut lab, 1000);
    let before = resident();
    let many = flood(&mut lab, 10_000);
    let after = resident();
    // It is one flood: the connections of both hosts reach the limit per host.
    assert!(
        few > limits.per_interface && many <= 2 * limits.per_interface,
        "{few} and {many}"
    );
    assert!(
        after <= before + MORE,
        "{} KiB more after ten thousand connections",
        (after - before) / 1024
    );
}
