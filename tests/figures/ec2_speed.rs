//! Measures the EC2 API from one connection: how long a Describe of a thousand interfaces takes, how many addresses a second move, and
//! when the data path knows. It uses unix sockets and needs no root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it measured"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use localvpc::api::guard::GuardConfig;
use localvpc::api::server::{Bound, ServerConfig};
use localvpc::api::{AppState, rest};
use localvpc::control::{Controller, ControllerConfig, DevicePlace, OpenedDevice, Ports};
use localvpc::datapath::FabricWriter;
use localvpc::model::interface::{AddressRequest, CreateInterface};
use localvpc::model::profile::Profile;
use localvpc::model::subnet::CreateSubnet;
use localvpc::model::vpc::CreateVpc;
use localvpc::model::{AddressOrPrefix, NetworkInterface, ResourceRef, Subnet};
use localvpc::switch::port::{PortDevice, UnixPort};
use localvpc::switch::{Switch, SwitchConfig};

/// Interfaces that a Describe goes through.
const INTERFACES: u32 = 1_000;
const MOVES: u32 = 3_000;
/// The bounds of the issue. A build without optimization is not judged by them.
const DESCRIBE: Duration = Duration::from_millis(15);
const MOVES_A_SECOND: f64 = 1_000.0;
const SEEN: Duration = Duration::from_millis(1);
const JUDGED: bool = !cfg!(debug_assertions);

struct World {
    controller: Controller,
    subnet: Subnet,
    connection: BufReader<TcpStream>,
    folder: tempfile::TempDir,
    _tokio: tokio::runtime::Runtime,
}

/// A host at a socket, and where to write to.
struct Host {
    interface: NetworkInterface,
    socket: UnixDatagram,
    port: PathBuf,
}

impl World {
    fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let fabric = FabricWriter::new();
        let (switch, _events) = Switch::start(fabric.fabric(), SwitchConfig::default()).unwrap();
        let ports: Arc<dyn Ports> = Arc::new(switch);
        let controller = Controller::new(ControllerConfig {
            fabric,
            ports: Some(ports),
            ..ControllerConfig::default()
        });
        let state = AppState::new(controller.clone(), GuardConfig::default());
        let address = tokio.block_on(serve(state));
        let connection = TcpStream::connect(address).unwrap();
        connection.set_nodelay(true).unwrap();
        let vpc = CreateVpc {
            name: Some("v".into()),
            ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
        };
        controller.execute(vpc).unwrap();
        let subnet = CreateSubnet {
            cidr_block: Some("10.0.0.0/16".parse().unwrap()),
            ..CreateSubnet::new(ResourceRef::new("v"))
        };
        let subnet = controller.execute(subnet).unwrap();
        Self {
            controller,
            subnet,
            connection: BufReader::new(connection),
            folder: tempfile::tempdir().unwrap(),
            _tokio: tokio,
        }
    }

    /// The body of an answer that has to be good.
    fn call(&mut self, form: &str) -> String {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        self.connection.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            self.connection.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}{body}");
        body
    }

    fn interface(&self, address: Ipv4Addr) -> NetworkInterface {
        let address = AddressOrPrefix::from(IpAddr::V4(address));
        let spec = CreateInterface {
            addresses: vec![AddressRequest::Exactly(address)],
            ..CreateInterface::new(self.subnet.id)
        };
        self.controller.execute(spec).unwrap()
    }

    fn host(&self, address: Ipv4Addr) -> Host {
        let interface = self.interface(address);
        let path = |side: &str| self.folder.path().join(format!("{side}-{address}"));
        let socket = UnixDatagram::bind(path("host")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let device = UnixPort::bind(Path::new(&path("port")), Path::new(&path("host")), 9001).unwrap();
        let device = OpenedDevice::from(PortDevice::from(device));
        let attached = self
            .controller
            .attach(&interface.id.into(), device, DevicePlace::Outside);
        attached.unwrap();
        Host {
            interface,
            socket,
            port: path("port"),
        }
    }
}

async fn serve(state: AppState) -> SocketAddr {
    let config = ServerConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ..ServerConfig::default()
    };
    let bound = Bound::bind(&config, &state).await.unwrap();
    let address = bound.addresses()[0];
    // It ends with its runtime.
    tokio::spawn(bound.serve(rest::router(state.clone()), state, std::future::pending()));
    address
}

/// A share of the sorted times.
fn at(times: &[Duration], share: f64) -> Duration {
    times[((times.len() - 1) as f64 * share) as usize]
}

#[test]
fn a_describe_of_a_thousand_interfaces_with_a_filter_takes_milliseconds() {
    let mut world = World::new();
    for number in 0..INTERFACES {
        world.interface(Ipv4Addr::from_bits(0x0a00_0100 + number));
    }
    let subnet = world.subnet.id;
    for (filter, value, found, bound) in [
        ("private-ip-address", "10.0.2.7".to_owned(), 1, DESCRIBE),
        // Its answer lists all of them.
        ("subnet-id", subnet.to_string(), 1_000, 4 * DESCRIBE),
    ] {
        let form = format!(
            "Action=DescribeNetworkInterfaces&Version=2016-11-15&Filter.1.Name={filter}&Filter.1.Value.1={value}"
        );
        let mut times = Vec::new();
        for _ in 0..40 {
            let began = Instant::now();
            let answer = world.call(&form);
            times.push(began.elapsed());
            assert_eq!(answer.matches("<macAddress>").count(), found);
        }
        times.sort_unstable();
        let (half, longest) = (at(&times, 0.5), at(&times, 1.0));
        eprintln!(
            "DescribeNetworkInterfaces, {found} of {INTERFACES} by {filter}: p50 {half:.1?}, longest {longest:.1?}"
        );
        assert!(!JUDGED || half <= bound, "{filter}: {half:?}");
    }
}

#[test]
fn one_connection_moves_a_thousand_addresses_a_second() {
    let mut world = World::new();
    let owners = [10, 11].map(|host| world.interface(Ipv4Addr::new(10, 0, 1, host)).id);
    let began = Instant::now();
    for number in 0..MOVES {
        let owner = owners[number as usize % 2];
        world.call(&format!(
            "Action=AssignPrivateIpAddresses&Version=2016-11-15&NetworkInterfaceId={owner}&PrivateIpAddress.1=10.0.9.9\
             &AllowReassignment=true"
        ));
    }
    let rate = f64::from(MOVES) / began.elapsed().as_secs_f64();
    eprintln!("AssignPrivateIpAddresses from one connection: {rate:.0} a second");
    assert!(!JUDGED || rate >= MOVES_A_SECOND, "{rate}");
}

#[test]
fn the_data_path_knows_an_assigned_address_when_it_is_answered() {
    let mut world = World::new();
    let sender = world.host(Ipv4Addr::new(10, 0, 1, 10));
    let owners = [11, 12].map(|host| world.host(Ipv4Addr::new(10, 0, 1, host)));
    let mut times = Vec::new();
    for number in 0..500_u16 {
        let (new, old) = (&owners[usize::from(number % 2)], &owners[usize::from(number % 2 == 0)]);
        let id = new.interface.id;
        world.call(&format!(
            "Action=AssignPrivateIpAddresses&Version=2016-11-15&NetworkInterfaceId={id}&PrivateIpAddress.1=10.0.9.9\
             &AllowReassignment=true"
        ));
        let answered = Instant::now();
        // An ARP request after the answer: the mapping service answers with the new owner's MAC (RFC 826).
        let mut ask = Vec::new();
        etherparse::PacketBuilder::ethernet2(sender.interface.mac_address.0, [0xff; 6])
            .arp(
                etherparse::ArpPacket::new(
                    etherparse::ArpHardwareId::ETHERNET,
                    etherparse::EtherType::IPV4,
                    etherparse::ArpOperation::REQUEST,
                    &sender.interface.mac_address.0,
                    &[10, 0, 1, 10],
                    &[0; 6],
                    &[10, 0, 9, 9],
                )
                .unwrap(),
            )
            .write(&mut ask)
            .unwrap();
        sender.socket.send_to(&ask, &sender.port).unwrap();
        let mut answer = [0; 2000];
        let mac = loop {
            let length = sender.socket.recv(&mut answer).unwrap();
            // Only the answer to ARP is of interest: EtherType 0x0806, operation 2, and the sender's MAC in it.
            if length >= 42 && answer[12..14] == [8, 6] && answer[21] == 2 {
                break <[u8; 6]>::try_from(&answer[22..28]).unwrap();
            }
        };
        times.push(answered.elapsed());
        assert_eq!(mac, new.interface.mac_address.0, "not {:?}", old.interface.mac_address);
    }
    times.sort_unstable();
    let (half, most, longest) = (at(&times, 0.5), at(&times, 0.99), at(&times, 1.0));
    eprintln!("from the answer to a neighbor's new entry: p50 {half:.0?}, p99 {most:.0?}, longest {longest:.0?}");
    assert!(!JUDGED || most <= SEEN, "p99 {most:?}");
}
