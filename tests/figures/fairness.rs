//! Compares a flooding port's effect on other ports with its effect at a switch that only copies. Both are measured in
//! turn, several times, so that the machine's speed cancels out. It uses hosts with TAPs, so it needs root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it measured"
)]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use localvpc::lab::{Instance, InstanceOptions, InstanceSpec, OpenError};
use localvpc::model::profile::Profile;
use localvpc::switch::batch::{Batch, FRAMES};
use localvpc::switch::egress::{Destinations, Egress};
use localvpc::switch::port::{PortDevice, Ring, SendError, TapOptions, TapPort, VnetHeader};
use localvpc::switch::{AttachOptions, Switch, SwitchConfig};
use localvpc::testing::Network;
use localvpc::wire::MacAddr;
use rustix::event::{EventfdFlags, epoll, eventfd};
use zerocopy::FromBytes;

/// How long each rate is measured.
const SPELL: Duration = Duration::from_millis(500);

/// Number of pairs of runs; which threads share a CPU changes single ones by a factor of two.
const PAIRS: usize = 7;

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 10 + number)
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, number])
}

/// Hosts 0 and 1 exchange packets, 2 floods 3.
fn hosts() -> Vec<(Instance, TapPort)> {
    let options = InstanceOptions::default();
    let host = |number: u8| {
        let mut spec = InstanceSpec::new(format!("fair{number}"), mac(number));
        spec.interface.dad = false;
        spec.interface = spec.interface.with_ipv4(Ipv4Net::new_assert(address(number), 24), None);
        let open = || TapPort::open("eth0", TapOptions::default()).map_err(OpenError::from);
        Instance::create(&spec, &options, open).unwrap()
    };
    (0..4).map(host).collect()
}

fn socket(host: &Instance, number: u8, port: u16) -> UdpSocket {
    let socket = host
        .namespace()
        .run(|| UdpSocket::bind((address(number), port)).unwrap())
        .unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

/// Round trips a second of the quiet pair, with or without a flood; a lost request is repeated.
fn round_trips(hosts: &[Instance], flood: bool) -> f64 {
    let sockets: Vec<UdpSocket> = (0..4).map(|n| socket(&hosts[usize::from(n)], n, 4000)).collect();
    let done = AtomicBool::new(false);
    let mut count = 0_u32;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            while !done.load(Ordering::Relaxed) {
                if let Ok((length, from)) = sockets[1].recv_from(&mut buffer) {
                    let _ = sockets[1].send_to(&buffer[..length], from);
                }
            }
        });
        if flood {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = sockets[2].send_to(&[0; 64], (address(3), 4000));
                }
            });
        }
        let (start, mut buffer) = (Instant::now(), [0; 64]);
        while start.elapsed() < SPELL {
            let asked = count.to_be_bytes();
            let _ = sockets[0].send_to(&asked, (address(1), 4000));
            while let Ok(length) = sockets[0].recv(&mut buffer) {
                if buffer[..length] == asked {
                    count += 1;
                    break;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    f64::from(count) / SPELL.as_secs_f64()
}

/// The project's switch with every check on.
fn at_the_switch(hosts: Vec<(Instance, TapPort)>) -> [f64; 2] {
    let mut network = Network::new(Profile::aws(), &["10.0.0.0/16"]);
    let subnet = network.subnet(MacAddr([2, 0, 0, 0, 0, 1]), &["10.0.0.0/24"]);
    let (switch, _events) = Switch::start(network.writer.fabric(), SwitchConfig::default()).unwrap();
    let mut instances = Vec::new();
    for (number, (instance, tap)) in (0..).zip(hosts) {
        let interface = network.interface(subnet, mac(number), &[address(number).into()]);
        let publish = |port| network.writer.set_port(interface, Some(port));
        switch
            .attach(interface, tap, AttachOptions::default(), publish)
            .unwrap();
        instances.push(instance);
    }
    [false, true].map(|flood| round_trips(&instances, flood))
}

/// A copier with fixed pairs of ports, with the same budget per port and round.
fn at_the_copier(hosts: Vec<(Instance, TapPort)>) -> [f64; 2] {
    let (instances, taps): (Vec<Instance>, Vec<TapPort>) = hosts.into_iter().unzip();
    let ports: Vec<PortDevice> = taps.into_iter().map(PortDevice::from).collect();
    let end = eventfd(0, EventfdFlags::empty()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&ports, &end));
        let rates = [false, true].map(|flood| round_trips(&instances, flood));
        rustix::io::write(&end, &1_u64.to_ne_bytes()).unwrap();
        rates
    })
}

fn copy(ports: &[PortDevice], end: &OwnedFd) {
    let queue = epoll::create(epoll::CreateFlags::empty()).unwrap();
    for (number, port) in (0..).zip(ports) {
        let descriptor = port.descriptor().expect("a TAP has one");
        epoll::add(
            &queue,
            descriptor,
            epoll::EventData::new_u64(number),
            epoll::EventFlags::IN,
        )
        .unwrap();
    }
    epoll::add(&queue, end, epoll::EventData::new_u64(99), epoll::EventFlags::IN).unwrap();
    let (mut batch, mut egress, mut events) = (Batch::new(), Egress::new(), Vec::with_capacity(8));
    let mut ring = Ring::new().ok();
    loop {
        events.clear();
        let _ = epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None);
        for event in &events {
            let event: &epoll::Event = event;
            let from = { event.data }.u64() as usize;
            let Some(port) = ports.get(from) else { return };
            batch.clear();
            // Why it ended does not matter: a port with more frames is ready again.
            let _ = batch.fill(port, FRAMES);
            let merge = batch.len() > 1;
            for index in 0..batch.len() {
                let (header, frame) = VnetHeader::ref_from_prefix(batch.slot(index)).unwrap();
                let Ok(offload) = header.validate(frame) else { continue };
                egress.push(&batch, index, offload, 0, merge);
            }
            egress.flush(&mut batch, ring.as_mut(), &mut To(&ports[from ^ 1]));
        }
    }
}

struct To<'a>(&'a PortDevice);

impl Destinations for To<'_> {
    fn device(&self, _port: u32) -> Option<&PortDevice> {
        Some(self.0)
    }

    fn sent(&mut self, _port: u32, _frames: usize, _bytes: usize) {}

    fn failed(&mut self, _frame: &[u8], _frames: usize, _port: u32, _error: Option<SendError>) {}
}

#[test]
#[ignore = "needs root: make test"]
fn a_flood_costs_a_quiet_pair_no_more_than_at_a_switch_that_only_copies() {
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let (copier, switch) = (at_the_copier(hosts()), at_the_switch(hosts()));
        // The pair's rate during the flood, relative to its rate alone.
        let left = |[alone, beside]: [f64; 2]| beside / alone;
        eprintln!(
            "round trips/s alone and beside a flood: copier {:.0} {:.0}, switch {:.0} {:.0}; left {:.3} and {:.3}",
            copier[0],
            copier[1],
            switch[0],
            switch[1],
            left(copier),
            left(switch),
        );
        ratios.push(left(switch) / left(copier));
    }
    ratios.sort_by(f64::total_cmp);
    eprintln!(
        "share left at the switch to the share left at the copier, median: {:.2}",
        ratios[PAIRS / 2]
    );
    assert!(
        ratios[PAIRS / 2] > 0.6,
        "the flood costs far more than copying explains: {ratios:?}"
    );
}
