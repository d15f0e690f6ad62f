//! Builds a VPC in memory: hosts with their own IP stacks on a stepped switch, the services, and a clock that the test
//! advances.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by test files that need different parts of it"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use localvpc::datapath::{FabricWriter, InterfaceSpec, SubnetIndex, SubnetSpec, VpcSpec};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::profile::Profile;
use localvpc::services::clock::{Clock, ManualClock, SeededEntropy};
use localvpc::services::dns::{Holder, HostAddresses, Zone};
use localvpc::services::fixed::{Facts, FixedSource, sample_instance};
use localvpc::services::unanswered::Unanswered;
use localvpc::services::{Limits, Server, Upstream};
use localvpc::switch::inprocess::InProcessSwitch;
use localvpc::switch::port::memory::{MemoryHost, cable};
use localvpc::wire::MacAddr;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpEndpoint};

/// The routers' MACs of the two subnets.
pub const ROUTERS: [MacAddr; 2] = [MacAddr([0x0e, 0, 0, 0, 0, 1]), MacAddr([0x0e, 0, 0, 0, 0, 2])];
/// The time of day when a lab begins: 2026-11-22 09:41:35 UTC, in seconds since 1970.
pub const BEGIN: u64 = 1_795_340_495;

type Frames<K> = Arc<Mutex<Vec<(K, PortId, Vec<u8>)>>>;

/// Hosts 10.0.1.10 and 10.0.1.11 in one subnet, 10.0.2.12 in another.
pub struct Lab {
    pub writer: FabricWriter,
    pub switch: InProcessSwitch,
    pub server: Server,
    pub source: Arc<FixedSource>,
    pub clock: Arc<ManualClock>,
    pub hosts: Vec<Host>,
    /// Frames that the services sent, oldest first.
    pub sent: Vec<(PortId, Vec<u8>)>,
    /// Queries sent to the external resolver.
    pub upstream: Arc<Mutex<Vec<Vec<u8>>>>,
    submitted: Frames<InterfaceIndex>,
    injected: Frames<()>,
}

/// A host.
pub struct Host {
    pub card: MemoryHost,
    pub stack: Interface,
    pub sockets: SocketSet<'static>,
    pub mac: MacAddr,
    pub router: MacAddr,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    pub interface: InterfaceIndex,
    pub port: PortId,
    /// Its stack is stopped: it reads nothing and answers nothing.
    pub deaf: bool,
    next_port: u16,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(Limits::default(), false)
    }

    pub fn with(limits: Limits, forwards: bool) -> Self {
        let mut writer = FabricWriter::new();
        let vpc = writer.add_vpc(VpcSpec {
            profile: Arc::new(Profile::aws()),
            cidrs: vec!["10.0.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()],
            dhcp_options: Arc::default(),
        });
        let subnets = [1_u8, 2].map(|n| {
            writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: format!("10.0.{n}.0/24").parse().ok(),
                ipv6: format!("2001:db8:0:{n}::/64").parse().ok(),
                router_mac: ROUTERS[usize::from(n) - 1],
            })
        });
        let mut switch = InProcessSwitch::new(writer.fabric());
        let mut facts = Facts::default();
        let mut hosts = Vec::new();
        for (number, subnet) in [(10, 1), (11, 1), (12, 2)] {
            let host = Host::new(&mut writer, &mut switch, subnets[subnet - 1], number, subnet);
            let mut instance = sample_instance(host.ipv4, host.mac);
            instance.user_data = Some(vec![b'u'; 16_384]);
            facts.zones.insert(host.interface, zone());
            let instance_id = Some(instance.instance_id.clone());
            let addresses = HostAddresses {
                ipv4: vec![host.ipv4],
                ipv6: vec![host.ipv6],
            };
            for address in [IpAddr::V4(host.ipv4), IpAddr::V6(host.ipv6)] {
                let instance_id = instance_id.clone();
                facts.holders.insert(address, Holder { instance_id });
            }
            facts.resource_names.insert(instance.instance_id.clone(), addresses);
            facts.instances.insert(host.interface, Arc::new(instance));
            hosts.push(host);
        }
        let submitted: Frames<InterfaceIndex> = Arc::default();
        let sink = Arc::clone(&submitted);
        switch.set_services(Box::new(move |interface, port, frame, taken| {
            taken();
            sink.lock().unwrap().push((interface, port, frame.bytes.to_vec()));
            Ok(())
        }));
        let injected: Frames<()> = Arc::default();
        let sink = Arc::clone(&injected);
        let source = Arc::new(FixedSource::new(facts));
        let clock = Arc::new(ManualClock::new(UNIX_EPOCH + Duration::from_secs(BEGIN)));
        let upstream: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let queries = Arc::clone(&upstream);
        let ask = move |query: &[u8]| queries.lock().unwrap().push(query.to_vec());
        let server = Server::new(
            source.clone(),
            clock.clone(),
            Arc::new(SeededEntropy::new(1)),
            limits,
            Arc::new(move |port, frame: &[u8]| sink.lock().unwrap().push(((), port, frame.to_vec()))),
            forwards.then(|| -> Upstream { Box::new(ask) }),
        );
        Self {
            writer,
            switch,
            server,
            source,
            clock,
            hosts,
            sent: Vec::new(),
            upstream,
            submitted,
            injected,
        }
    }

    /// One pass over hosts, switch and services. Returns whether there was progress.
    fn step(&mut self) -> bool {
        let now = self.clock.monotonic();
        for host in &mut self.hosts {
            host.poll(now);
        }
        let mut moved = self.switch.step(now) > 0;
        for (interface, port, frame) in std::mem::take(&mut *self.submitted.lock().unwrap()) {
            self.server.receive(interface, port, &frame, false);
        }
        self.server.advance();
        for ((), port, frame) in std::mem::take(&mut *self.injected.lock().unwrap()) {
            moved = true;
            self.switch.inject(port, &frame);
            self.sent.push((port, frame));
        }
        moved
    }

    /// Runs everything that takes no time.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            quiet = if self.step() { 0 } else { quiet + 1 };
        }
    }

    /// Advances time in steps of 50 ms.
    pub fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(50);
        let mut left = time;
        while !left.is_zero() {
            self.clock.advance(left.min(step));
            left = left.saturating_sub(step);
            self.settle();
        }
    }

    /// A TCP connection of a host, settled.
    pub fn connect(&mut self, host: usize, to: &str, port: u16) -> SocketHandle {
        let handle = self.hosts[host].connect(to, port);
        self.settle();
        handle
    }

    /// Sends octets on a connection, settled.
    pub fn send(&mut self, host: usize, handle: SocketHandle, bytes: &[u8]) {
        let mut left = bytes;
        for _ in 0..1000 {
            let sent = self.hosts[host].tcp(handle).send_slice(left).unwrap();
            left = &left[sent..];
            self.settle();
            if left.is_empty() {
                return;
            }
        }
        panic!("{} octets were not taken", left.len());
    }

    /// Everything that has arrived on a connection.
    pub fn read(&mut self, host: usize, handle: SocketHandle) -> Vec<u8> {
        let mut read = Vec::new();
        loop {
            self.settle();
            let before = read.len();
            let socket = self.hosts[host].tcp(handle);
            while socket.can_recv() {
                socket
                    .recv(|bytes| {
                        read.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
            if read.len() == before {
                return read;
            }
        }
    }

    /// One request on a connection of its own, and the whole answer.
    pub fn http(&mut self, host: usize, to: &str, request: &str) -> String {
        let handle = self.connect(host, to, 80);
        self.send(host, handle, request.as_bytes());
        let answer = self.read(host, handle);
        self.hosts[host].tcp(handle).close();
        self.settle();
        String::from_utf8(answer).unwrap()
    }

    /// One datagram and the answer to it.
    pub fn ask(&mut self, host: usize, to: &str, port: u16, payload: &[u8]) -> Option<Vec<u8>> {
        let handle = self.hosts[host].udp();
        let to = IpEndpoint::new(to.parse().unwrap(), port);
        let socket = self.hosts[host].sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.send_slice(payload, to).unwrap();
        self.settle();
        let socket = self.hosts[host].sockets.get_mut::<udp::Socket<'_>>(handle);
        let answer = socket.recv().ok().map(|(bytes, meta)| {
            assert_eq!(meta.endpoint, to, "the answer comes from where the question went");
            bytes.to_vec()
        });
        self.hosts[host].sockets.remove(handle);
        answer
    }

    /// How often a reason for not answering occurred at a host.
    pub fn unanswered(&self, host: usize, reason: Unanswered) -> u64 {
        self.server.shared().of(self.hosts[host].interface).unanswered(reason)
    }
}

fn zone() -> Zone {
    Zone {
        enabled: true,
        domain: "eu-central-1.compute.internal".to_owned(),
        cidrs: vec!["10.0.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()],
        dns64: false,
    }
}

impl Host {
    fn new(
        writer: &mut FabricWriter,
        switch: &mut InProcessSwitch,
        subnet: SubnetIndex,
        number: u8,
        network: usize,
    ) -> Self {
        let mac = MacAddr([0x0a, 0, 0, 0, 0, number]);
        let interface = writer.add_interface(InterfaceSpec {
            subnet,
            mac,
            source_dest_check: true,
        });
        let network = u8::try_from(network).unwrap();
        let ipv4 = Ipv4Addr::new(10, 0, network, number);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0, network.into(), 0, 0, 0, number.into());
        for net in [format!("{ipv4}/32"), format!("{ipv6}/128")] {
            writer.map(subnet, net.parse().unwrap(), Some(interface));
        }
        writer.set_primary(interface, Some(ipv4), Some(ipv6));
        let (end, mut card) = cable(9001);
        let port = switch.attach(interface, end);
        writer.set_port(interface, Some(port));
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        let mut stack = Interface::new(config, &mut card, Instant::ZERO);
        stack.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(ipv4.into(), 24)).unwrap();
            addresses.push(IpCidr::new(ipv6.into(), 64)).unwrap();
            addresses.push(IpCidr::new(mac.link_local().into(), 64)).unwrap();
        });
        let router = ROUTERS[usize::from(network) - 1];
        let gateway = Ipv4Addr::new(10, 0, network, 1);
        stack.routes_mut().add_default_ipv4_route(gateway).unwrap();
        stack.routes_mut().add_default_ipv6_route(router.link_local()).unwrap();
        Self {
            card,
            stack,
            sockets: SocketSet::new(Vec::new()),
            mac,
            router,
            ipv4,
            ipv6,
            interface,
            port,
            deaf: false,
            next_port: 40_000,
        }
    }

    fn poll(&mut self, now: Duration) {
        if self.deaf {
            while self.card.receive().is_some() {}
            return;
        }
        let now = Instant::from_micros(i64::try_from(now.as_micros()).unwrap());
        self.stack.poll(now, &mut self.card, &mut self.sockets);
    }

    fn fresh_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(40_000);
        self.next_port
    }

    pub fn connect(&mut self, to: &str, port: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 32_768]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        let to = IpEndpoint::new(to.parse().unwrap(), port);
        let from = self.fresh_port();
        socket.connect(self.stack.context(), to, from).unwrap();
        self.sockets.add(socket)
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn udp(&mut self) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 16_384]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(self.fresh_port()).unwrap();
        self.sockets.add(socket)
    }

    /// A SYN from `source` to a service, as a frame, without a connection that would complete the handshake.
    pub fn syn(&self, source: Ipv4Addr, port: u16, to: Ipv4Addr, service: u16, sequence: i32) -> Vec<u8> {
        use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};
        let segment = TcpRepr {
            src_port: port,
            dst_port: service,
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(sequence),
            ack_number: None,
            window_len: 1024,
            window_scale: None,
            max_seg_size: Some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let packet = Ipv4Repr {
            src_addr: source,
            dst_addr: to,
            next_header: IpProtocol::Tcp,
            payload_len: segment.buffer_len(),
            hop_limit: 64,
        };
        let checksums = smoltcp::phy::ChecksumCapabilities::default();
        let mut frame = vec![0; 14 + packet.buffer_len() + segment.buffer_len()];
        frame[..6].copy_from_slice(&self.router.0);
        frame[6..12].copy_from_slice(&self.mac.0);
        frame[12..14].copy_from_slice(&[8, 0]);
        packet.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checksums);
        let mut upper = TcpPacket::new_unchecked(&mut frame[34..]);
        segment.emit(&mut upper, &source.into(), &to.into(), &checksums);
        frame
    }
}
