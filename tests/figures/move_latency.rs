//! Measures the time from a request to the Controller to move a mapping until the first frame at the new owner, under
//! constant traffic. It uses unix sockets and needs no root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it measured"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use localvpc::control::{Controller, ControllerConfig, DevicePlace, OpenedDevice, Ports};
use localvpc::datapath::FabricWriter;
use localvpc::model::interface::{AddressRequest, CreateInterface};
use localvpc::model::mapping::{EditMappings, MappingEdit};
use localvpc::model::profile::Profile;
use localvpc::model::subnet::CreateSubnet;
use localvpc::model::vpc::CreateVpc;
use localvpc::model::{AddressOrPrefix, InterfaceId, NetworkInterface, Subnet};
use localvpc::switch::port::{PortDevice, UnixPort};
use localvpc::switch::{Switch, SwitchConfig};

/// Frames a second while mappings move.
const RATE: u32 = 10_000;
/// Mappings of other interfaces in the same tables.
const OTHERS: u64 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
const MOVES: usize = 500;

fn block(address: impl Into<IpAddr>) -> AddressOrPrefix {
    AddressOrPrefix::from(address.into())
}

struct World {
    controller: Controller,
    directory: tempfile::TempDir,
}

impl World {
    fn subnet(&self, vpc: &str, ipv4: &str, ipv6: &str) -> Subnet {
        let command = CreateSubnet {
            cidr_block: Some(ipv4.parse().unwrap()),
            ipv6_cidr_block: Some(ipv6.parse().unwrap()),
            ..CreateSubnet::new(localvpc::model::ResourceRef::new(vpc))
        };
        self.controller.execute(command).unwrap()
    }

    /// An interface, the socket of its host, and the path to write to.
    fn host(&self, subnet: &Subnet, address: Ipv4Addr) -> (NetworkInterface, UnixDatagram, std::path::PathBuf) {
        let spec = CreateInterface {
            addresses: vec![AddressRequest::Exactly(block(address))],
            ..CreateInterface::new(subnet.id)
        };
        let interface = self.controller.execute(spec).unwrap();
        let path = |side: &str| self.directory.path().join(format!("{side}-{address}"));
        let socket = UnixDatagram::bind(path("host")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let device = UnixPort::bind(Path::new(&path("port")), Path::new(&path("host")), 9001).unwrap();
        let device = OpenedDevice::from(PortDevice::from(device));
        self.controller
            .attach(&interface.id.into(), device, DevicePlace::Outside)
            .unwrap();
        (interface, socket, path("port"))
    }

    fn assign(&self, interface: InterfaceId, addresses: impl Iterator<Item = AddressOrPrefix>) {
        let edit = |address| MappingEdit::Assign {
            interface: interface.into(),
            address,
            move_allowed: true,
        };
        let edits = addresses.map(edit).collect();
        self.controller.execute(EditMappings(edits)).unwrap();
    }
}

#[test]
fn a_moved_mapping_counts_for_the_next_frames() {
    let fabric = FabricWriter::new();
    let (switch, _events) = Switch::start(fabric.fabric(), SwitchConfig::default()).unwrap();
    let ports: Arc<dyn Ports> = Arc::new(switch);
    let world = World {
        controller: Controller::new(ControllerConfig {
            fabric,
            ports: Some(ports),
            ..ControllerConfig::default()
        }),
        directory: tempfile::tempdir().unwrap(),
    };
    let vpc = CreateVpc {
        name: Some("v".into()),
        ipv6_cidr_blocks: vec!["2001:db8::/56".parse().unwrap()],
        ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
    };
    world.controller.execute(vpc).unwrap();
    // The sender is in another subnet: its frames go to the router's MAC, whichever interface owns the destination address.
    let here = world.subnet("v", "10.0.1.0/24", "2001:db8:0:1::/64");
    let there = world.subnet("v", "10.0.2.0/24", "2001:db8:0:2::/64");
    let (sender, out, to) = world.host(&here, Ipv4Addr::new(10, 0, 1, 10));
    let owners = [10, 11].map(|host| world.host(&there, Ipv4Addr::new(10, 0, 2, host)));
    let target = Ipv4Addr::new(10, 0, 2, 100);
    world.assign(owners[0].0.id, std::iter::once(block(target)));
    let others = (0..OTHERS).map(|number| {
        let host = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x1_0000;
        block(Ipv6Addr::from_bits(
            (0x2001_0db8_0000_0002_u128 << 64) | u128::from(host),
        ))
    });
    world.assign(owners[0].0.id, others);

    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(sender.mac_address.0, here.router_mac.0)
        .ipv4([10, 0, 1, 10], target.octets(), 64)
        .udp(1000, 2000)
        .write(&mut frame, &[0; 64])
        .unwrap();
    let (start, done) = (Instant::now(), AtomicBool::new(false));
    let newest = [AtomicU64::new(0), AtomicU64::new(0)];
    let since = |at: Instant| u64::try_from(at.duration_since(start).as_nanos()).unwrap();
    let mut latencies = Vec::with_capacity(MOVES);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // A full socket means that the switch is late; a lost frame is not repeated.
                let _ = out.send_to(&frame, &to);
                let due = start + Duration::from_secs(1) * number / RATE;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        for ((_, socket, _), newest) in owners.iter().zip(&newest) {
            let done = &done;
            scope.spawn(move || {
                let mut buffer = [0; 2000];
                while !done.load(Ordering::Relaxed) {
                    if socket.recv(&mut buffer).is_ok() {
                        newest.store(since(Instant::now()), Ordering::Release);
                    }
                }
            });
        }
        for number in 1..=MOVES {
            // Frames that were queued for the old owner have been read by now.
            std::thread::sleep(Duration::from_millis(3));
            let owner = number % 2;
            let asked = since(Instant::now());
            world.assign(owners[owner].0.id, std::iter::once(block(target)));
            let patience = Instant::now() + Duration::from_secs(10);
            let arrived = loop {
                let arrived = newest[owner].load(Ordering::Acquire);
                if arrived > asked {
                    break arrived;
                }
                assert!(Instant::now() < patience, "the new owner gets no frame");
                std::thread::sleep(Duration::from_micros(20));
            };
            latencies.push(Duration::from_nanos(arrived - asked));
        }
        done.store(true, Ordering::Relaxed);
    });
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let (p50, p99, most) = (at(0.5), at(0.99), at(1.0));
    eprintln!(
        "{MOVES} moves among {OTHERS} mappings at {RATE} frames/s: p50 {p50:.0?}, p99 {p99:.0?}, longest {most:.0?}"
    );
    assert!(p50 < Duration::from_millis(100), "a moved mapping takes {p50:?}");
}
