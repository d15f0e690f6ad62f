//! Tests the behaviour of a TAP through the port driver. Each test has a network namespace of its own, so nothing of it
//! is visible outside.

use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use localvpc::switch::port::vnet::{SegmentKind, VnetHeader};
use localvpc::switch::port::{
    Capabilities, HEADER, LARGEST_FRAME, Offload, PortError, ReceiveError, Ring, SendError, TapOptions, TapPort,
    segment,
};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;
use rustix::event::epoll;
use rustix::thread::CapabilitySet;
use zerocopy::FromBytes;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PLAIN: TapOptions = TapOptions {
    offload: false,
    carrier: true,
    mtu: 1500,
};

/// Runs `test` on a thread with a network namespace of its own.
fn in_own_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Configures interface `name` of the current thread's namespace: address, no ARP, and up or down.
fn configure(name: &str, up: bool) {
    let name = name.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async move {
        let (connection, handle, _) = rtnetlink::new_connection().expect("netlink is there");
        let connection = tokio::spawn(connection);
        let index = nix::net::if_::if_nametoindex(name.as_str()).expect("the interface is in this namespace");
        // An existing address is fine.
        let _ = handle.address().add(index, HOST.into(), 24).execute().await;
        let link = LinkUnspec::new_with_index(index).arp(false);
        let link = if up { link.up() } else { link.down() };
        handle
            .link()
            .change(link.build())
            .execute()
            .await
            .expect("root may change a link");
        connection.abort();
    });
}

/// Reads frames until one is IPv4 UDP (the kernel sends IPv6 packets of its own), and returns its slot.
fn next_udp(port: &TapPort) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let mut slot = vec![0xa5; HEADER + LARGEST_FRAME];
        match port.receive(&mut slot) {
            Ok(length) => {
                slot.truncate(HEADER + length);
                let is_ipv4 = SlicedPacket::from_ethernet(&slot[HEADER..])
                    .is_ok_and(|packet| matches!(packet.net, Some(NetSlice::Ipv4(_))));
                if is_ipv4 {
                    return slot;
                }
            }
            Err(ReceiveError::Empty) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("no UDP frame came");
}

fn offload_of(slot: &[u8]) -> Offload {
    let (header, frame) = VnetHeader::read_from_prefix(slot).expect("a slot begins with a header");
    header.validate(frame).expect("the kernel's own header fits its frame")
}

/// The UDP payload of a frame, its checksum verified by another library.
fn verified_payload(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).expect("a whole packet");
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (packet.net, packet.transport) else {
        panic!("not UDP over IPv4")
    };
    let (from, to) = (ip.header().source(), ip.header().destination());
    let right = udp
        .to_header()
        .calc_checksum_ipv4_raw(from, to, udp.payload())
        .expect("a length in range");
    assert_eq!(udp.checksum(), right, "UDP checksum");
    udp.payload().to_vec()
}

/// Turns a datagram into one to its sender, with addresses and ports exchanged: the checksum stays the same.
fn turn_round(frame: &mut [u8]) {
    for i in 0..6 {
        frame.swap(i, 6 + i);
    }
    for i in 0..4 {
        frame.swap(26 + i, 30 + i);
    }
    for i in 0..2 {
        frame.swap(34 + i, 36 + i);
    }
}

fn host_socket() -> UdpSocket {
    UdpSocket::bind((HOST, 4000)).expect("the host has the address")
}

#[test]
#[ignore = "needs root: make test"]
fn a_host_leaves_its_checksums_open_and_a_host_takes_open_ones() {
    in_own_namespace(|| {
        let port = TapPort::open("sw-a", TapOptions::default()).expect("a TAP can be made");
        let all = Capabilities {
            checksum: true,
            tcp_segmentation: true,
            udp_segmentation: true,
        };
        assert_eq!(port.capabilities(), all);
        configure("sw-a", true);
        let socket = host_socket();
        socket.send_to(b"hello", (PEER, 5000)).expect("the host is up");
        let mut slot = next_udp(&port);
        let Offload::Checksum { start, offset } = offload_of(&slot) else {
            panic!("the checksum is open")
        };

        turn_round(&mut slot[HEADER..]);
        port.send(&slot).expect("the host is up");
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a timeout that is not zero");
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).expect("the open checksum was taken");
        assert_eq!((&buffer[..length], from), (&b"hello"[..], (PEER, 5000).into()));

        segment::complete_checksum(&mut slot[HEADER..], start, offset);
        assert_eq!(verified_payload(&slot[HEADER..]), b"hello");
    });
}

#[test]
#[ignore = "needs root: make test"]
fn a_batch_of_datagrams_crosses_as_one_frame_and_is_segmented_right() {
    in_own_namespace(|| {
        let port = TapPort::open("sw-a", TapOptions::default()).expect("a TAP can be made");
        configure("sw-a", true);
        let socket = host_socket();
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &100)
            .expect("Linux knows UDP_SEGMENT");
        let payload: Vec<u8> = (0..950_u32).map(|i| i as u8).collect();
        socket.send_to(&payload, (PEER, 5000)).expect("the host is up");
        let slot = next_udp(&port);
        let Offload::Segment(segments) = offload_of(&slot) else {
            panic!("the train came cut")
        };
        assert_eq!((segments.kind, segments.size), (SegmentKind::UdpV4, 100));
        let mut together = Vec::new();
        let mut room = vec![0; segment::piece_length(&segments)];
        segment::segment(&slot[HEADER..], &segments, &mut room, 0, |piece| {
            together.extend(verified_payload(piece));
            true
        });
        assert_eq!(together, payload);
    });
}

#[test]
#[ignore = "needs root: make test"]
fn a_plain_tap_brings_finished_frames_even_when_its_last_holder_took_unfinished_ones() {
    in_own_namespace(|| {
        let port = TapPort::open("sw-a", TapOptions::default()).expect("a TAP can be made");
        port.set_persistent(true).expect("root may");
        drop(port);
        let port = TapPort::open("sw-a", PLAIN).expect("the TAP persists");
        assert_eq!(port.capabilities(), Capabilities::PLAIN);
        configure("sw-a", true);
        host_socket().send_to(b"hello", (PEER, 5000)).expect("the host is up");
        let slot = next_udp(&port);
        assert_eq!(offload_of(&slot), Offload::None);
        assert_eq!(verified_payload(&slot[HEADER..]), b"hello");
        port.set_persistent(false).expect("root may");
    });
}

#[test]
#[ignore = "needs root: make test"]
fn a_tap_that_is_held_is_busy_and_another_device_is_no_tap() {
    in_own_namespace(|| {
        let _port = TapPort::open("sw-a", TapOptions::default()).expect("a TAP can be made");
        for options in [TapOptions::default(), PLAIN] {
            assert!(matches!(TapPort::open("sw-a", options), Err(PortError::Busy { .. })));
            assert!(matches!(TapPort::open("lo", options), Err(PortError::NotATap { .. })));
        }
    });
}

#[test]
#[ignore = "needs root: make test"]
fn an_inherited_descriptor_is_adopted_for_what_it_is() {
    in_own_namespace(|| {
        for (options, header) in [(TapOptions::default(), true), (PLAIN, false)] {
            let opened = TapPort::open("sw-a", options).expect("a TAP can be made");
            let inherited: OwnedFd = opened
                .as_fd()
                .try_clone_to_owned()
                .expect("descriptors can be duplicated");
            drop(opened);
            let port = TapPort::from_fd(inherited, TapOptions::default()).expect("a TAP");
            assert_eq!((port.name(), port.capabilities().checksum), ("sw-a", header));
            configure("sw-a", true);
            host_socket().send_to(b"hello", (PEER, 5000)).expect("the host is up");
            let slot = next_udp(&port);
            assert_eq!(matches!(offload_of(&slot), Offload::Checksum { .. }), header);
        }
    });
}

#[test]
#[ignore = "needs root: make test"]
fn a_host_whose_interface_is_down_has_an_error_of_its_own() {
    in_own_namespace(|| {
        let port = TapPort::open("sw-a", TapOptions::default()).expect("a TAP can be made");
        let slot = [0; HEADER + 60];
        assert_eq!(port.send(&slot), Err(SendError::Down));
        configure("sw-a", true);
        assert_eq!(port.send(&slot), Ok(()));
        configure("sw-a", false);
        assert_eq!(port.send(&slot), Err(SendError::Down));
    });
}

#[test]
#[ignore = "needs root: make test"]
fn frames_written_by_one_call_arrive_in_order_and_each_device_answers_for_its_own() {
    in_own_namespace(|| {
        let (up, down) = (
            TapPort::open("sw-a", TapOptions::default()),
            TapPort::open("sw-b", TapOptions::default()),
        );
        let (up, down) = (up.expect("a TAP can be made"), down.expect("a TAP can be made"));
        configure("sw-a", true);
        let socket = host_socket();
        socket.send_to(b"?", (PEER, 5000)).expect("the host is up");
        let mut slot = next_udp(&up);
        turn_round(&mut slot[HEADER..]);
        // The checksum is open, so each payload may differ: its number.
        let slots: Vec<Vec<u8>> = (0..64_u8)
            .map(|number| [&slot[..slot.len() - 1], &[number]].concat())
            .collect();
        // Every third in one slice, the others in two.
        let pieces: Vec<Vec<IoSlice<'_>>> = (0..)
            .zip(&slots)
            .map(|(number, slot)| match number % 3 {
                0 => vec![IoSlice::new(slot)],
                _ => vec![IoSlice::new(&slot[..30]), IoSlice::new(&slot[30..])],
            })
            .collect();
        let is_lost = |number: usize| number % 8 == 7;
        let mut ring = Ring::new().expect("this test needs io_uring: Linux 6.1, and sysctl kernel.io_uring_disabled=0");
        for round in 0..2 {
            let frames = pieces.iter().enumerate();
            let frames = frames.map(|(number, pieces)| (if is_lost(number) { &down } else { &up }, pieces.as_slice()));
            let outcomes: Vec<_> = ring.write(frames).expect("the kernel writes").collect();
            let expected = |number| if is_lost(number) { Err(SendError::Down) } else { Ok(()) };
            assert_eq!(outcomes, (0..64).map(expected).collect::<Vec<_>>(), "round {round}");
            let arrived: Vec<u8> = (0..56).map(|_| next_payload(&socket)).collect();
            let sent = (0..64).filter(|&number| !is_lost(usize::from(number)));
            assert_eq!(arrived, sent.collect::<Vec<u8>>(), "round {round}");
        }
        assert!(!ring.is_broken());
    });
}

/// The one octet of the next datagram.
fn next_payload(socket: &UdpSocket) -> u8 {
    let mut buffer = [0; 10];
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout that is not zero");
    assert_eq!(socket.recv(&mut buffer).expect("a datagram came"), 1);
    buffer[0]
}

#[test]
#[ignore = "needs root: make test"]
fn the_carrier_is_what_the_host_sees() {
    in_own_namespace(|| {
        let running = || {
            let mut interfaces = nix::ifaddrs::getifaddrs().expect("addresses can be listed");
            let found = interfaces
                .find(|interface| interface.interface_name == "sw-a")
                .expect("the TAP is here");
            found.flags.contains(nix::net::if_::InterfaceFlags::IFF_RUNNING)
        };
        let options = TapOptions {
            carrier: false,
            ..TapOptions::default()
        };
        let port = TapPort::open("sw-a", options).expect("a TAP can be made");
        configure("sw-a", true);
        // The kernel notifies the host of a change after some delay.
        let becomes = |up: bool| {
            let deadline = Instant::now() + Duration::from_secs(5);
            while running() != up && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            running() == up
        };
        assert!(becomes(false));
        port.set_carrier(true).expect("the kernel is younger than 5.0");
        assert!(becomes(true));
        port.set_carrier(false).expect("the kernel is younger than 5.0");
        assert!(becomes(false));
    });
}

/// Moves interface `name` from the current thread's namespace to one that ends with the returned thread.
fn move_to_mortal_namespace(name: &str) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (made, wait_made) = std::sync::mpsc::channel();
    let (end, wait_end) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        let namespace = std::fs::File::open("/proc/thread-self/ns/net").expect("every thread has one");
        made.send(namespace).expect("the test waits");
        let _ = wait_end.recv();
    });
    let namespace = wait_made.recv().expect("the thread sends");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().expect("netlink is there");
        let connection = tokio::spawn(connection);
        let index = nix::net::if_::if_nametoindex(name).expect("the interface is in this namespace");
        let link = LinkUnspec::new_with_index(index)
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        handle
            .link()
            .change(link)
            .execute()
            .await
            .expect("root may move a link");
        connection.abort();
    });
    (end, thread)
}

/// The descriptor of a vanished device stays readable for ever, and an event loop that does not drop it spins.
#[test]
#[ignore = "needs root: make test"]
fn a_port_whose_namespace_is_gone_is_lost_for_reading_and_writing() {
    in_own_namespace(|| {
        let port = TapPort::open("sw-a", TapOptions::default()).expect("a TAP can be made");
        let (end, thread) = move_to_mortal_namespace("sw-a");
        let queue = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll is there");
        epoll::add(&queue, &port, epoll::EventData::new_u64(1), epoll::EventFlags::IN).expect("a TAP can be polled");
        end.send(()).expect("the thread waits");
        thread.join().expect("the thread ends well");
        let mut events = Vec::with_capacity(1);
        let timeout = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).expect("epoll works");
        let flags = events.first().map(|event: &epoll::Event| event.flags);
        assert!(flags.is_some_and(|flags| flags.contains(epoll::EventFlags::ERR)));
        assert_eq!(
            port.receive(&mut vec![0; HEADER + LARGEST_FRAME]),
            Err(ReceiveError::Lost)
        );
        assert_eq!(port.send(&[0; HEADER + 60]), Err(SendError::Lost));
    });
}

/// A descriptor holds the namespace in which `/dev/net/tun` was opened, so a host whose TAP was opened inside lives
/// until the port is closed, whatever else has ended.
#[test]
#[ignore = "needs root: make test"]
fn a_port_opened_inside_a_namespace_keeps_it_alive() {
    in_own_namespace(|| {
        let port = TapPort::open("sw-a", TapOptions::default()).expect("a TAP can be made");
        configure("sw-a", true);
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(port.send(&[0; HEADER + 60]), Ok(()));
    });
}

#[test]
fn without_the_right_to_make_a_tap_the_error_says_what_is_missing() {
    // Capabilities belong to a thread (capabilities(7)), and as root this thread has the relevant one.
    let thread = std::thread::spawn(|| {
        let mut sets = rustix::thread::capabilities(None).expect("every thread has capabilities");
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).expect("a thread may give up a capability");
        TapPort::open("sw-a", TapOptions::default())
    });
    match thread.join().expect("the thread ends well") {
        Err(PortError::NoTun { source }) => assert_ne!(source.kind(), ErrorKind::Other),
        Err(PortError::Refused { .. }) => {}
        other => panic!("{other:?}"),
    }
}
