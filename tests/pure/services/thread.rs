//! Tests the services' thread: a frame from a worker is answered, a frame that does not fit is refused at once, and an
//! external resolver is queried over its socket.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::services::Lab;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use localvpc::datapath::{DropReason, FrameMeta, Received};
use localvpc::mapping::PortId;
use localvpc::services::{Services, ServicesConfig};

const PATIENCE: Duration = Duration::from_secs(10);

fn start(lab: &Lab, config: ServicesConfig) -> (Services, Receiver<(PortId, Vec<u8>)>) {
    let (answers, received) = channel();
    let inject = move |port, frame: &[u8]| {
        let _ = answers.send((port, frame.to_vec()));
    };
    (
        Services::start(lab.source.clone(), config, Arc::new(inject)).unwrap(),
        received,
    )
}

fn received(bytes: &[u8]) -> Received<'_> {
    let meta = FrameMeta::default();
    Received { bytes, meta }
}

/// A DNS query in a frame of a host.
fn question(lab: &Lab, name: &str) -> Vec<u8> {
    let mut message = Message::new(99, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    let query = message.to_vec().unwrap();
    let host = &lab.hosts[0];
    let mut frame = [&host.router.0[..], &host.mac.0, &[8, 0]].concat();
    let (total, length) = (28 + query.len() as u16, 8 + query.len() as u16);
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header.extend(host.ipv4.octets());
    header.extend([169, 254, 169, 253]);
    let checksum = localvpc::wire::checksum::Sum::new().bytes(&header).complement();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(header);
    frame.extend(5353_u16.to_be_bytes());
    frame.extend(53_u16.to_be_bytes());
    frame.extend(length.to_be_bytes());
    // Over IPv4 a datagram may go without a checksum.
    frame.extend([0, 0]);
    frame.extend(query);
    frame
}

#[test]
fn what_is_handed_over_is_answered_to_the_port_that_it_came_from() {
    let lab = Lab::new();
    let (services, answers) = start(&lab, ServicesConfig::default());
    let host = &lab.hosts[0];
    let syn = host.syn(host.ipv4, 5000, Ipv4Addr::new(169, 254, 169, 254), 80, 1);
    let handle = services.handle();
    handle
        .submit(host.interface, host.port, received(&syn), &mut || ())
        .unwrap();
    let (port, answer) = answers.recv_timeout(PATIENCE).unwrap();
    assert_eq!(port, host.port);
    assert_eq!(answer[47] & 0x3f, 0x12, "SYN and ACK");
    // The thread counts after it has answered.
    let answered = Instant::now();
    while handle.shared().connections() != 1 {
        assert!(answered.elapsed() < PATIENCE, "the connection is not counted");
        std::thread::yield_now();
    }
    handle.forget(host.interface);
    handle
        .submit(
            host.interface,
            host.port,
            received(&question(&lab, "example.com.")),
            &mut || (),
        )
        .unwrap();
    let (_, answer) = answers.recv_timeout(PATIENCE).unwrap();
    assert_eq!(answer[45] & 0x0f, 5, "REFUSED");
    assert_eq!(handle.shared().connections(), 0);
}

#[test]
fn a_resolver_outside_is_asked_and_heard() {
    let lab = Lab::new();
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = ServicesConfig {
        forward_to: Some(resolver.local_addr().unwrap()),
        ..ServicesConfig::default()
    };
    let (services, answers) = start(&lab, config);
    let host = &lab.hosts[0];
    services
        .handle()
        .submit(
            host.interface,
            host.port,
            received(&question(&lab, "example.com.")),
            &mut || (),
        )
        .unwrap();
    let mut query = [0; 512];
    let (length, from) = resolver.recv_from(&mut query).unwrap();
    query[2] |= 0x80;
    resolver.send_to(&query[..length], from).unwrap();
    let (port, answer) = answers.recv_timeout(PATIENCE).unwrap();
    assert_eq!(port, host.port);
    assert_eq!(answer[42..44], [0, 99]);
}

#[test]
fn a_full_queue_refuses_without_waiting() {
    let lab = Lab::new();
    let (gate, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    // A port that accepts no frame blocks the thread.
    let inject = move |_, _: &[u8]| {
        let _ = wait.lock().unwrap().recv();
    };
    let services = Services::start(lab.source.clone(), ServicesConfig::default(), Arc::new(inject)).unwrap();
    let (handle, host) = (services.handle(), &lab.hosts[0]);
    let small = question(&lab, "example.com.");
    let refused = (0..2000)
        .filter_map(|_| {
            handle
                .submit(host.interface, host.port, received(&small), &mut || ())
                .err()
        })
        .count();
    assert!((2000 - 1026..=2000 - 1024).contains(&refused), "{refused}");
    assert_eq!(
        handle.submit(host.interface, host.port, received(&small), &mut || ()),
        Err(DropReason::ServiceBusy)
    );
    drop(gate);
    drop(services);
    assert_eq!(
        handle.submit(host.interface, host.port, received(&small), &mut || ()),
        Err(DropReason::ServiceBusy)
    );
}
