//! Tests the threaded switch between real hosts: network namespaces with a TAP each, in threads of this process.
#![allow(missing_docs, clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use localvpc::datapath::{DropReason, SubnetIndex};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::profile::Profile;
use localvpc::switch::port::{TapOptions, TapPort};
use localvpc::switch::{AttachOptions, Switch, SwitchConfig, SwitchEvent};
use localvpc::testing::Network;
use localvpc::wire::MacAddr;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;
use tokio::sync::mpsc::Receiver;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own.
struct Host {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    address: Ipv4Addr,
    port: PortId,
    interface: InterfaceIndex,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a host's jobs report their own failures");
        }
    }
}

impl Host {
    /// Starts `job` in the host's namespace; the result comes when it is done.
    fn begin<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> std::sync::mpsc::Receiver<R> {
        let (sender, receiver) = channel();
        let job: Job = Box::new(move || drop(sender.send(job())));
        self.jobs
            .as_ref()
            .expect("the host lives")
            .send(job)
            .expect("the host's thread waits for jobs");
        receiver
    }

    fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        self.begin(job).recv().expect("the job did not panic")
    }
}

fn spawn_thread() -> (Sender<Job>, JoinHandle<()>) {
    let (jobs, queue) = channel::<Job>();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        while let Ok(job) = queue.recv() {
            job();
        }
    });
    (jobs, thread)
}

/// Gives `eth0` of the current thread's namespace its MAC, address and MTU, and sets it up.
fn configure(mac: MacAddr, address: Ipv4Addr, mtu: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async move {
        let (connection, handle, _) = rtnetlink::new_connection().expect("netlink is there");
        let connection = tokio::spawn(connection);
        let index = nix::net::if_::if_nametoindex("eth0").expect("the interface is in this namespace");
        handle
            .address()
            .add(index, IpAddr::V4(address), 24)
            .execute()
            .await
            .expect("the address is free");
        let link = LinkUnspec::new_with_index(index)
            .address(mac.0.to_vec())
            .mtu(u32::from(mtu))
            .up()
            .build();
        handle
            .link()
            .change(link)
            .execute()
            .await
            .expect("root may change a link");
        connection.abort();
    });
}

struct Lab {
    network: Network,
    subnet: SubnetIndex,
    switch: Switch,
    events: Receiver<SwitchEvent>,
}

impl Lab {
    fn new(workers: usize) -> Self {
        Self::with(SwitchConfig {
            workers: std::num::NonZeroUsize::new(workers),
            ..SwitchConfig::default()
        })
    }

    fn with(config: SwitchConfig) -> Self {
        let mut network = Network::new(Profile::aws(), &["10.0.0.0/16"]);
        let subnet = network.subnet(MacAddr([2, 0, 0, 0, 0, 1]), &["10.0.0.0/24"]);
        let (switch, events) = Switch::start(network.writer.fabric(), config).expect("the switch starts");
        Self {
            network,
            subnet,
            switch,
            events,
        }
    }

    fn host(&mut self, number: u8, options: TapOptions) -> Host {
        let (jobs, thread) = spawn_thread();
        let (mac, address) = (MacAddr([2, 0, 0, 0, 1, number]), Ipv4Addr::new(10, 0, 0, number));
        let interface = self.network.interface(self.subnet, mac, &[address.into()]);
        let (sender, tap) = channel();
        let open: Job = Box::new(move || {
            let tap = TapPort::open("eth0", options).expect("a TAP can be made");
            sender.send(tap).expect("the test waits");
        });
        jobs.send(open).expect("the thread waits for jobs");
        let tap = tap.recv().expect("the TAP was opened");
        let fabric = &mut self.network.writer;
        let port = self
            .switch
            .attach(interface, tap, AttachOptions::default(), |port| {
                fabric.set_port(interface, Some(port));
            })
            .expect("the TAP can be watched");
        let host = Host {
            jobs: Some(jobs),
            thread: Some(thread),
            address,
            port,
            interface,
        };
        host.run(move || configure(mac, address, options.mtu));
        host
    }
}

fn udp(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 4000)).expect("the host has the address");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout that is not zero");
    socket
}

const OFFLOAD: TapOptions = TapOptions {
    offload: true,
    carrier: true,
    mtu: 9001,
};
const PLAIN: TapOptions = TapOptions {
    offload: false,
    carrier: true,
    mtu: 1500,
};

#[test]
#[ignore = "needs root: make test"]
fn streams_and_trains_arrive_whole_between_all_kinds_of_ports() {
    for (from, to) in [(OFFLOAD, OFFLOAD), (OFFLOAD, PLAIN), (PLAIN, OFFLOAD), (PLAIN, PLAIN)] {
        let mut lab = Lab::new(1);
        // The peer's smaller MTU bounds the stream's segments, as path MTU discovery would.
        let mtu = from.mtu.min(to.mtu);
        let (a, b) = (
            lab.host(10, TapOptions { mtu, ..from }),
            lab.host(11, TapOptions { mtu, ..to }),
        );
        let what = format!("{} to {}", from.offload, to.offload);

        let server = SocketAddr::from((b.address, 5000));
        let listener = b.run(move || TcpListener::bind(server).expect("the host has the address"));
        let received = b.begin(move || {
            let (mut stream, _) = listener.accept().expect("the client comes");
            let mut data = Vec::new();
            stream.read_to_end(&mut data).expect("the stream ends well");
            data
        });
        let data: Vec<u8> = (0..8_000_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let sent = data.clone();
        a.run(move || {
            let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5)).expect("the server listens");
            stream.write_all(&sent).expect("the server reads");
        });
        let received = received.recv_timeout(Duration::from_secs(20)).expect("the stream ends");
        assert!(received == data, "stream, {what}");

        let (sender, receiver) = (a.address, b.address);
        let socket = b.run(move || udp(receiver));
        a.run(move || {
            let socket = udp(sender);
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &1000)
                .expect("Linux knows UDP_SEGMENT");
            socket.send_to(&[5; 9500], (receiver, 4000)).expect("the host is up");
        });
        let lengths = b.run(move || {
            let mut buffer = [0; 2000];
            (0..10)
                .map(|_| socket.recv(&mut buffer).expect("a datagram came"))
                .collect::<Vec<_>>()
        });
        assert_eq!(
            lengths,
            [1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 500],
            "train, {what}"
        );
        let counters = lab.switch.counters(b.port).expect("the port is attached");
        assert!(
            counters.received.frames > 0 && counters.sent.bytes > data.len() as u64,
            "{what}: {counters:?}"
        );
    }
}

#[test]
#[ignore = "needs root: make test"]
fn small_datagrams_that_are_queued_together_cross_merged_unless_the_port_says_no() {
    let mut lab = Lab::new(1);
    let (a, b) = (lab.host(10, OFFLOAD), lab.host(11, OFFLOAD));
    let (sender, receiver) = (a.address, b.address);
    // The first datagram waits for the neighbor entry, and a host may send later ones before it.
    let socket = b.run(move || udp(receiver));
    a.run(move || udp(sender).send_to(b"first", (receiver, 4000)).expect("the host is up"));
    b.run(move || assert_eq!(socket.recv(&mut [0; 10]).expect("a datagram came"), 5));
    let merged = || lab.switch.counters(b.port).expect("the port is attached").sent_merged;
    let exchange = |expect_merged: bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        // A worker counts after it has written, so an arrived frame may not be counted yet.
        let mut before = merged();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = merged();
            if std::mem::replace(&mut before, now) == now {
                break;
            }
        }
        // The scheduler decides how much is queued together: retry until it happens, or a few times to see that it does
        // not.
        for round in 0.. {
            let socket = b.run(move || udp(receiver));
            let count = a.run(move || {
                let socket = udp(sender);
                (0..200_u8)
                    .filter(|&i| socket.send_to(&[i; 64], (receiver, 4000)).is_ok())
                    .count()
            });
            let got = b.run(move || {
                let mut buffer = [0; 100];
                (0..count)
                    .map(|_| {
                        assert_eq!(socket.recv(&mut buffer).expect("a datagram came"), 64);
                        buffer[0]
                    })
                    .collect::<Vec<u8>>()
            });
            assert_eq!(got, (0..200).collect::<Vec<u8>>(), "all arrive in order");
            let merged = merged() - before;
            if merged > 0 || (!expect_merged && round == 5) || Instant::now() > deadline {
                return merged;
            }
        }
        0
    };
    assert!(exchange(true) > 0);
    assert!(lab.switch.set_coalesce(b.port, false));
    assert_eq!(exchange(false), 0);
}

/// Sockets, each a flow of its own.
const FLOWS: u8 = 16;
/// Datagrams of each flow; all of them fit the receiving socket.
const OF_A_FLOW: u8 = 10;

#[test]
#[ignore = "needs root: make test"]
fn frames_of_many_flows_arrive_in_order_whether_the_kernel_is_called_for_each_or_for_all() {
    for ring in [true, false] {
        let config = SwitchConfig {
            workers: std::num::NonZeroUsize::new(1),
            ring,
            ..SwitchConfig::default()
        };
        let mut lab = Lab::with(config);
        let (a, b) = (lab.host(10, OFFLOAD), lab.host(11, OFFLOAD));
        let (sender, receiver) = (a.address, b.address);
        let socket = b.run(move || udp(receiver));
        // The first datagram waits for the neighbor entry, and a host may send later ones before it.
        a.run(move || udp(sender).send_to(b"first", (receiver, 4000)).expect("the host is up"));
        let arrived = b.begin(move || {
            assert_eq!(socket.recv(&mut [0; 10]).expect("a datagram came"), 5);
            let mut numbers = vec![Vec::new(); usize::from(FLOWS)];
            let mut buffer = [0; 2];
            for _ in 0..u16::from(FLOWS) * u16::from(OF_A_FLOW) {
                assert_eq!(socket.recv(&mut buffer).expect("a datagram came"), 2);
                numbers[usize::from(buffer[0])].push(buffer[1]);
            }
            numbers
        });
        a.run(move || {
            std::thread::sleep(Duration::from_millis(100));
            let sockets: Vec<_> = (0..FLOWS)
                .map(|_| UdpSocket::bind((sender, 0)).expect("a port is free"))
                .collect();
            for number in 0..OF_A_FLOW {
                for (flow, socket) in (0..).zip(&sockets) {
                    socket
                        .send_to(&[flow, number], (receiver, 4000))
                        .expect("the host is up");
                }
            }
        });
        let arrived = arrived.recv_timeout(Duration::from_secs(20)).expect("all arrive");
        assert_eq!(
            arrived,
            vec![(0..OF_A_FLOW).collect::<Vec<u8>>(); usize::from(FLOWS)],
            "ring: {ring}"
        );
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_port_that_is_detached_gives_its_device_back_and_gets_nothing_more() {
    let mut lab = Lab::new(2);
    let (a, b) = (lab.host(10, OFFLOAD), lab.host(11, OFFLOAD));
    assert_ne!(
        lab.switch.port(a.port).expect("attached").worker,
        lab.switch.port(b.port).expect("attached").worker,
        "ports are shared among the workers"
    );
    let (sender, receiver) = (a.address, b.address);
    let socket = b.run(move || udp(receiver));
    a.run(move || udp(sender).send_to(b"one", (receiver, 4000)).expect("the host is up"));
    b.run(move || assert_eq!(socket.recv(&mut [0; 10]).expect("a datagram came"), 3));

    lab.network.writer.set_port(b.interface, None);
    let (device, counters) = lab.switch.detach(b.port).expect("the port was attached");
    assert_eq!(device.name(), "eth0");
    assert!(counters.sent.frames > 0);
    assert!(lab.switch.counters(b.port).is_none());
    assert!(lab.switch.detach(b.port).is_none());
    a.run(move || udp(sender).send_to(b"two", (receiver, 4000)).expect("the host is up"));
    let deadline = Instant::now() + Duration::from_secs(5);
    let dropped = || {
        lab.switch
            .counters(a.port)
            .expect("attached")
            .dropped(DropReason::NotAttached)
    };
    while dropped() == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(dropped(), 1);
    let told = std::iter::from_fn(|| lab.events.try_recv().ok()).any(|event| match event {
        SwitchEvent::Dropped(frame) => frame.reason == DropReason::NotAttached && frame.port == a.port,
        SwitchEvent::PortLost { .. } => false,
    });
    assert!(told, "the drop is told of");
}

#[test]
#[ignore = "needs root: make test"]
fn a_port_whose_device_goes_is_told_of_once_and_does_not_spin() {
    let mut lab = Lab::new(1);
    let a = lab.host(10, OFFLOAD);
    // Moved to a namespace that ends, the device goes while its descriptor stays.
    let (end, wait) = channel::<()>();
    let (sender, namespace) = channel();
    let other = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        sender
            .send(std::fs::File::open("/proc/thread-self/ns/net").expect("every thread has one"))
            .expect("awaited");
        let _ = wait.recv();
    });
    let namespace = namespace.recv().expect("the thread sends");
    a.run(move || {
        use std::os::fd::AsRawFd;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().expect("netlink is there");
            let connection = tokio::spawn(connection);
            let index = nix::net::if_::if_nametoindex("eth0").expect("the interface is in this namespace");
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
    });
    drop(end);
    other.join().expect("the thread ends well");
    let lost = SwitchEvent::PortLost {
        port: a.port,
        interface: a.interface,
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut seen = 0;
    while seen == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        seen += std::iter::from_fn(|| lab.events.try_recv().ok())
            .filter(|event| *event == lost)
            .count();
    }
    assert_eq!(seen, 1);
    assert!(lab.switch.port(a.port).expect("still attached").lost);
    let before = lab.switch.cpu_time()[0];
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        lab.switch.cpu_time()[0] - before < Duration::from_millis(20),
        "the worker sleeps"
    );
    assert!(lab.switch.detach(a.port).is_some());
}
