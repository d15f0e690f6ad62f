//! Tests the threaded switch over unix sockets, without root: order, advertisements, announcements, counters.
#![allow(missing_docs)]

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use localvpc::datapath::{DropReason, Moved, SubnetIndex};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::duration::AdvertisementInterval;
use localvpc::model::profile::Profile;
use localvpc::switch::port::{PortDevice, StreamPort, UnixPort};
use localvpc::switch::{AttachOptions, Switch, SwitchConfig, SwitchEvent};
use localvpc::testing::Network;
use localvpc::wire::MacAddr;

/// A host: its socket, and its port and interface at the switch.
struct Host {
    socket: UnixDatagram,
    to: std::path::PathBuf,
    mac: MacAddr,
    port: PortId,
    interface: InterfaceIndex,
}

impl Host {
    fn send(&self, frame: &[u8]) {
        self.socket.send_to(frame, &self.to).expect("the port is bound");
    }

    /// The next frame, if one comes within a second.
    fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 10_000];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    fn has_frame(&self) -> bool {
        self.socket
            .set_nonblocking(true)
            .expect("sockets can be made not to wait");
        let frame = self.receive();
        self.socket.set_nonblocking(false).expect("sockets can be made to wait");
        frame.is_some()
    }
}

struct World {
    directory: tempfile::TempDir,
    network: Network,
    subnet: SubnetIndex,
    switch: Switch,
    events: tokio::sync::mpsc::Receiver<SwitchEvent>,
}

impl World {
    fn new(profile: Profile, workers: usize) -> Self {
        let mut network = Network::new(profile, &["10.0.0.0/16"]);
        let subnet = network.subnet(MacAddr([2, 0, 0, 0, 0, 1]), &["10.0.0.0/20", "2001:db8::/64"]);
        let config = SwitchConfig {
            workers: NonZeroUsize::new(workers),
            spin: Duration::from_micros(20),
            drop_samples: 2,
            events: 64,
            ..SwitchConfig::default()
        };
        let (switch, events) = Switch::start(network.writer.fabric(), config).expect("the switch starts");
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self {
            directory,
            network,
            subnet,
            switch,
            events,
        }
    }

    fn interface(&mut self, number: u16) -> (MacAddr, InterfaceIndex) {
        let [high, low] = number.to_be_bytes();
        let (mac, address) = (MacAddr([2, 0, 0, 0, high, low]), Ipv4Addr::new(10, 0, high, low));
        let interface = self.network.interface(self.subnet, mac, &[address.into()]);
        (mac, interface)
    }

    fn attach(&mut self, interface: InterfaceIndex, device: PortDevice) -> PortId {
        let fabric = &mut self.network.writer;
        self.switch
            .attach(interface, device, AttachOptions::default(), |port| {
                fabric.set_port(interface, Some(port));
            })
            .expect("a socket can be watched")
    }

    fn host(&mut self, number: u16, mtu: u16) -> Host {
        let (mac, interface) = self.interface(number);
        let to = self.directory.path().join(format!("switch-{number}"));
        let own = self.directory.path().join(format!("host-{number}"));
        let socket = UnixDatagram::bind(&own).expect("the path is free");
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a timeout that is not zero");
        let port = UnixPort::bind(&to, &own, mtu).expect("the path is free");
        let port = self.attach(interface, port.into());
        Host {
            socket,
            to,
            mac,
            port,
            interface,
        }
    }
}

fn datagram(from: &Host, to: &Host, payload: &[u8]) -> Vec<u8> {
    between(from.mac, to.mac, payload)
}

fn between(from: MacAddr, to: MacAddr, payload: &[u8]) -> Vec<u8> {
    let address = |mac: MacAddr| [10, 0, mac.0[4], mac.0[5]];
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(from.0, to.0)
        .ipv4(address(from), address(to), 64)
        .udp(1000, 2000)
        .write(&mut frame, payload)
        .expect("a Vec can be written");
    frame
}

fn advertising_every(interval: Duration) -> Profile {
    let mut profile = Profile::aws();
    profile.router.advertisement.interval = AdvertisementInterval::constant(interval);
    profile
}

/// Waits until `condition` holds; false when it does not in time.
fn soon(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

#[test]
fn frames_that_come_alone_and_then_together_arrive_at_once_and_in_order() {
    let mut world = World::new(Profile::aws(), 1);
    let (a, b) = (world.host(10, 1500), world.host(11, 1500));
    // The router's advertisements arrive between the datagrams.
    let next = || loop {
        let frame = b.receive().expect("a frame comes");
        if frame[12..14] == [8, 0] {
            return frame[42];
        }
    };
    for number in 0..60 {
        a.send(&datagram(&a, &b, &[number]));
        assert_eq!(next(), number);
    }
    // At least as many as a socket queues, more often than it takes to check for more than one again.
    for round in 0..30 {
        (0..8).for_each(|number| a.send(&datagram(&a, &b, &[round, number])));
        assert_eq!([(); 8].map(|()| next()), [round; 8]);
    }
    let counters = world.switch.counters(a.port).expect("attached");
    assert_eq!((counters.received.frames, counters.drops().count()), (60 + 240, 0));
}

#[test]
fn frames_cross_in_order_between_ports_of_all_workers() {
    let mut world = World::new(Profile::aws(), 3);
    let hosts: Vec<Host> = (10..15).map(|number| world.host(number, 9001)).collect();
    for from in &hosts {
        for to in hosts.iter().filter(|to| to.port != from.port) {
            // A socket queues 10 datagrams at the least (net.unix.max_dgram_qlen).
            for payload in 0..8 {
                from.send(&datagram(from, to, &[payload; 30]));
            }
            for payload in 0..8 {
                assert_eq!(to.receive(), Some(datagram(from, to, &[payload; 30])));
            }
        }
    }
    let workers: std::collections::HashSet<usize> = world.switch.ports().iter().map(|port| port.worker).collect();
    assert_eq!(workers.len(), 3, "each worker has a share");
    // A frame is counted just after it is written.
    let all_counted = || {
        world.switch.ports().iter().all(|port| {
            let counters = &port.counters;
            (counters.received.frames, counters.sent.frames, counters.drops().count()) == (32, 32, 0)
        })
    };
    assert!(soon(all_counted), "{:?}", world.switch.ports());
}

#[test]
fn each_port_gets_its_advertisement_after_each_interval_and_not_at_once() {
    let mut world = World::new(advertising_every(Duration::from_millis(100)), 1);
    let before = Instant::now();
    let hosts = [world.host(10, 9001), world.host(11, 9001)];
    for round in 1..=3_u32 {
        for host in &hosts {
            let frame = host.receive().expect("an advertisement comes");
            assert_eq!(frame[..6], host.mac.0, "in a frame of its own");
            assert_eq!((frame[12..14].to_vec(), frame[54]), (vec![0x86, 0xdd], 134));
        }
        assert!(
            before.elapsed() >= Duration::from_millis(100) * round,
            "round {round} came too early"
        );
    }
    let [a, _] = &hosts;
    world.network.writer.set_port(a.interface, None);
    world.switch.detach(a.port).expect("it was attached");
    std::thread::sleep(Duration::from_millis(20));
    while a.has_frame() {}
    std::thread::sleep(Duration::from_millis(250));
    assert!(!a.has_frame(), "a port that was taken away gets none");
}

#[test]
fn a_move_is_announced_to_all_but_the_new_owner() {
    let mut world = World::new(Profile::aws(), 1);
    let hosts: Vec<Host> = (10..13).map(|number| world.host(number, 9001)).collect();
    let moved = Moved {
        subnet: world.subnet,
        address: Ipv4Addr::new(10, 0, 0, 99).into(),
    };
    world
        .network
        .writer
        .map(world.subnet, moved.address.into(), Some(hosts[0].interface));
    world.switch.announce(vec![moved]);
    for host in &hosts[1..] {
        let frame = host.receive().expect("the announcement comes");
        assert_eq!((&frame[..6], &frame[12..14]), (&host.mac.0[..], &[0x08, 0x06][..]));
        assert_eq!(frame[22..28], hosts[0].mac.0);
        assert_eq!(world.switch.counters(host.port).expect("attached").unasked, 1);
    }
    assert!(!hosts[0].has_frame());
}

#[test]
fn an_announcement_names_the_owner_that_the_data_path_knows_and_there_is_none_without_owner() {
    let mut world = World::new(Profile::aws(), 1);
    let hosts: Vec<Host> = (10..13).map(|number| world.host(number, 9001)).collect();
    let moved = |number| Moved {
        subnet: world.subnet,
        address: Ipv4Addr::new(10, 0, 8, number).into(),
    };
    let nobodys: Vec<Moved> = (1..200).map(moved).collect();
    let net = moved(0).address.into();
    for (former, owner) in [(0, 1), (1, 0)] {
        for host in [former, owner] {
            world.network.writer.map(world.subnet, net, Some(hosts[host].interface));
        }
        world
            .switch
            .announce(nobodys.iter().copied().chain([moved(0)]).collect());
        for told in [former, 2] {
            let frame = hosts[told].receive().expect("the announcement comes");
            assert_eq!(
                (&frame[22..28], &frame[28..32]),
                (&hosts[owner].mac.0[..], &[10, 0, 8, 0][..])
            );
        }
        assert!(!hosts.iter().any(Host::has_frame), "and nothing else");
    }
}

#[test]
fn a_frame_above_the_receivers_mtu_is_dropped_with_its_reason() {
    let mut world = World::new(Profile::aws(), 1);
    let (a, b) = (world.host(10, 9001), world.host(11, 1500));
    let fits = datagram(&a, &b, &[1; 1472]);
    assert_eq!(fits.len(), 1514);
    a.send(&datagram(&a, &b, &[1; 1473]));
    a.send(&fits);
    assert_eq!(b.receive(), Some(fits));
    assert_eq!(
        world
            .switch
            .counters(a.port)
            .expect("attached")
            .dropped(DropReason::TooLong),
        1
    );
}

#[test]
fn drops_are_all_counted_and_a_few_are_reported() {
    let mut world = World::new(Profile::aws(), 1);
    let (a, b) = (world.host(10, 9001), world.host(11, 9001));
    let mut broadcast = datagram(&a, &b, &[7; 300]);
    broadcast[..6].fill(0xff);
    for _ in 0..50 {
        a.send(&broadcast);
    }
    let counted = || {
        world
            .switch
            .counters(a.port)
            .expect("attached")
            .dropped(DropReason::Broadcast)
    };
    assert!(soon(|| counted() == 50), "{}", counted());
    let told: Vec<_> = std::iter::from_fn(|| world.events.try_recv().ok()).collect();
    assert!((1..=4).contains(&told.len()), "two a second: {}", told.len());
    let SwitchEvent::Dropped(frame) = &told[0] else {
        panic!("no port was lost: {told:?}")
    };
    assert_eq!(
        (frame.port, frame.interface, frame.reason),
        (a.port, a.interface, DropReason::Broadcast)
    );
    assert_eq!((frame.length, &frame.head[..]), (broadcast.len(), &broadcast[..128]));
}

#[test]
fn a_peer_that_is_not_there_costs_its_frames_and_nothing_else() {
    let mut world = World::new(Profile::aws(), 1);
    let (a, b, c) = (world.host(10, 9001), world.host(11, 9001), world.host(12, 9001));
    let (to_b, to_c) = (datagram(&a, &b, &[1; 20]), datagram(&a, &c, &[2; 20]));
    let port = b.port;
    drop(b);
    a.send(&to_b);
    a.send(&to_c);
    assert_eq!(c.receive(), Some(to_c));
    assert_eq!(world.switch.counters(port).expect("attached").refused, 1);
    assert_eq!(
        world
            .switch
            .counters(a.port)
            .expect("attached")
            .dropped(DropReason::DeviceFailed),
        1
    );
}

#[test]
fn a_learning_switch_floods_what_it_does_not_know_and_not_to_the_sender() {
    let mut world = World::new(Profile::lan(), 1);
    let hosts: Vec<Host> = (10..13).map(|number| world.host(number, 9001)).collect();
    let mut broadcast = datagram(&hosts[0], &hosts[1], &[7; 30]);
    broadcast[..6].fill(0xff);
    hosts[0].send(&broadcast);
    assert_eq!(hosts[1].receive().as_ref(), Some(&broadcast));
    assert_eq!(hosts[2].receive().as_ref(), Some(&broadcast));
    assert!(!hosts[0].has_frame());
    // Now it has heard the first one, and delivers to it alone.
    let answer = datagram(&hosts[1], &hosts[0], &[8; 30]);
    hosts[1].send(&answer);
    assert_eq!(hosts[0].receive(), Some(answer));
    assert!(!hosts[2].has_frame());
}

#[test]
fn idle_ports_cost_nothing_and_numbers_rest_before_they_are_given_again() {
    let mut world = World::new(advertising_every(Duration::from_secs(3600)), 1);
    let hosts: Vec<Host> = (10..310).map(|number| world.host(number, 9001)).collect();
    let before = world.switch.cpu_time()[0];
    std::thread::sleep(Duration::from_millis(200));
    assert!(world.switch.cpu_time()[0] - before < Duration::from_millis(5));
    let mut last = hosts[299].port;
    for host in &hosts {
        assert!(world.switch.detach(host.port).is_some());
    }
    assert_eq!(world.switch.ports().len(), 0);
    for number in 400..410 {
        let host = world.host(number, 9001);
        assert_ne!(host.port, last);
        last = host.port;
        assert!(host.port.get() <= 300, "the oldest of the numbers that rest");
        assert!(hosts[..10].iter().any(|old| old.port == host.port));
    }
}

/// The next frame of a stream.
fn next_of(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a length comes");
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).expect("a frame comes");
    frame
}

fn in_front(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

#[test]
fn a_stream_socket_is_a_port_like_any_other_and_a_length_that_no_frame_has_is_counted() {
    let mut world = World::new(advertising_every(Duration::from_secs(1000)), 2);
    let a = world.host(10, 9001);
    let (mac, interface) = world.interface(11);
    let path = world.directory.path().join("stream");
    let port = world.attach(
        interface,
        StreamPort::listen(&path, 9001).expect("the path is free").into(),
    );
    let counters = |port| world.switch.counters(port).expect("attached");

    a.send(&datagram_to(&a, mac, &[1; 30]));
    assert!(
        soon(|| counters(a.port).dropped(DropReason::DeviceFailed) == 1),
        "no guest is there"
    );
    for round in 1..=2 {
        let mut guest = UnixStream::connect(&path).expect("the port listens");
        guest
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout that is not zero");
        let frame = between(mac, a.mac, &[round; 8000]);
        // In two parts, with a pause.
        let octets = in_front(&frame);
        guest.write_all(&octets[..100]).expect("the port reads");
        std::thread::sleep(Duration::from_millis(20));
        guest.write_all(&octets[100..]).expect("the port reads");
        assert_eq!(a.receive(), Some(frame));
        let back = datagram_to(&a, mac, &[round; 8000]);
        a.send(&back);
        assert_eq!(next_of(&mut guest), back);

        guest.write_all(&u32::MAX.to_be_bytes()).expect("the port reads");
        assert_eq!(guest.read(&mut [0]).expect("the port has closed the connection"), 0);
        assert!(soon(
            || counters(port).dropped(DropReason::StreamLength) == u64::from(round)
        ));
    }
}

#[test]
fn a_guest_that_does_not_read_its_stream_costs_frames_that_are_counted_and_no_others_wait() {
    let mut world = World::new(advertising_every(Duration::from_secs(1000)), 1);
    let (a, b) = (world.host(10, 9001), world.host(12, 9001));
    let (mac, interface) = world.interface(11);
    let (ours, mut guest) = UnixStream::pair().expect("sockets can be made");
    let port = StreamPort::from_fd(ours.into(), 9001).expect("it is connected");
    world.attach(interface, port.into());
    let full = || {
        let counters = world.switch.counters(a.port).expect("attached");
        counters.dropped(DropReason::DeviceFull)
    };
    let mut sent = 0_u32;
    while full() == 0 {
        a.send(&datagram_to(&a, mac, &sent.to_be_bytes().repeat(2000)));
        sent += 1;
        assert!(sent < 100_000, "a socket has no room for all of these");
    }
    let other = datagram(&a, &b, &[5; 30]);
    a.send(&other);
    assert_eq!(b.receive(), Some(other));
    assert!(soon(|| world
        .switch
        .counters(a.port)
        .expect("attached")
        .received
        .frames
        == u64::from(sent) + 1));
    let lost = full();
    for _ in 0..u64::from(sent) - lost {
        let frame = next_of(&mut guest);
        let payload = &frame[42..];
        assert!(
            payload.len() == 8000 && payload.chunks(4).all(|word| word == &payload[..4]),
            "not whole"
        );
    }
}

fn datagram_to(from: &Host, to: MacAddr, payload: &[u8]) -> Vec<u8> {
    between(from.mac, to, payload)
}
