//! Runs the VPC's IP stack for one interface, with the service addresses as if they were on that interface's link. It
//! answers to the MAC that a packet came from, so an interface that forwards packets of others (source/destination
//! check off) gets their answers too (EC2 guide, "Retrieve instance metadata": a router can forward packets to the
//! service).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::Router;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, State};
use smoltcp::socket::udp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv6Address};

use super::clock::Entropy;
use super::connection::{Connection, Phase, Tuple, listening};
use super::device::Queues;
use super::dns::forward::{Forwarder, Ticket};
use super::dns::{self, Outcome};
use super::packet::{Arrival, Served, Transport};
use super::server::Api;
use super::unanswered::{Counters, Unanswered};
use super::{Limits, Source, ntp};
use crate::datapath::SERVICES_IPV4;
use crate::mapping::{InterfaceIndex, PortId};
use crate::wire::MacAddr;
use crate::wire::frame::{ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// Datagrams that a service's socket holds, and their octets. Each is answered before the next is read.
const DATAGRAMS: usize = 4;
const DATAGRAM_OCTETS: usize = 4096;

/// What a stack uses and does not own.
pub(super) struct Surroundings<'a> {
    pub(super) now: Duration,
    pub(super) wall: SystemTime,
    pub(super) source: &'a dyn Source,
    pub(super) router: &'a Router,
    pub(super) endpoint: Option<&'a Api>,
    pub(super) limits: &'a Limits,
    pub(super) entropy: &'a dyn Entropy,
    /// Connections of all stacks.
    pub(super) connections: &'a mut usize,
    pub(super) forwarder: Option<&'a mut Forwarder<ReplyTo>>,
    pub(super) inject: &'a dyn Fn(PortId, &[u8]),
}

/// The client of a DNS answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTo {
    Datagram(Tuple),
    Stream(Tuple),
}

/// The endpoints of the link. When any of it changes, the stack is created anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) host: MacAddr,
    pub(super) router: MacAddr,
    pub(super) port: PortId,
}

/// One interface's stack.
pub(super) struct Stack {
    interface: InterfaceIndex,
    pub(super) link: Link,
    stack: Interface,
    queues: Queues,
    sockets: SocketSet<'static>,
    dns: SocketHandle,
    time: SocketHandle,
    connections: Vec<Connection>,
    counters: Arc<Counters>,
    pub(super) last_used: Duration,
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn socket_address(endpoint: IpEndpoint) -> SocketAddr {
    SocketAddr::new(endpoint.addr.into(), endpoint.port)
}

impl Stack {
    pub(super) fn new(
        interface: InterfaceIndex,
        link: Link,
        counters: Arc<Counters>,
        around: &Surroundings<'_>,
    ) -> Self {
        let mut seed = [0; 8];
        around.entropy.fill(&mut seed);
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from_be_bytes(seed);
        let mut stack = Interface::new(config, &mut queues, instant(around.now));
        // All answers leave by the link. The routes' gateways are never resolved: there is no link layer here.
        let routes = stack.routes_mut();
        let _ = routes.add_default_ipv4_route(Ipv4Address::new(169, 254, 0, 1));
        let _ = routes.add_default_ipv6_route(Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        let mut sockets = SocketSet::new(Vec::new());
        let (dns, time) = (sockets.add(datagrams(53)), sockets.add(datagrams(123)));
        Self {
            interface,
            link,
            stack,
            queues,
            sockets,
            dns,
            time,
            connections: Vec::new(),
            counters,
            last_used: around.now,
        }
    }

    /// Processes a packet and sends the packets that result.
    pub(super) fn receive(&mut self, arrival: Arrival, around: &mut Surroundings<'_>) {
        self.last_used = around.now;
        self.counters.packets.fetch_add(1, Ordering::Relaxed);
        self.know(arrival.local.ip());
        let tuple = Tuple {
            remote: arrival.remote,
            local: arrival.local,
        };
        if let Transport::Segment { served, opens } = arrival.transport {
            let known = self.connections.iter().any(|connection| connection.tuple == tuple);
            // Without an endpoint its ports are as any other.
            let there = around.endpoint.is_some();
            let served = served.filter(|served| there || !matches!(served, Served::Endpoint | Served::SecureEndpoint));
            match served {
                Some(served) if opens && !known => {
                    if let Err(reason) = self.admit(tuple, served, around) {
                        // No reset: the host retries, and there may be room then.
                        self.counters.count(reason);
                        return;
                    }
                }
                Some(_) => {}
                None => self.counters.count(Unanswered::NoSuchPort),
            }
        }
        self.queues.inbound.push_back(arrival.packet);
        self.run(around);
    }

    /// Takes an address of the services as its own, once a packet has come for it. There are eight places: four services by each
    /// family and the resolver of a VPC are nine, of which one that no connection is at gives way.
    fn know(&mut self, address: IpAddr) {
        let address = IpAddress::from(address);
        let in_use = |known: &IpCidr| {
            let known: IpAddr = known.address().into();
            self.connections
                .iter()
                .any(|connection| connection.tuple.local.ip() == known)
        };
        self.stack.update_ip_addrs(|addresses| {
            if addresses.iter().any(|known| known.address() == address) {
                return;
            }
            if addresses.is_full()
                && let Some(unused) = addresses.iter().position(|known| !in_use(known))
            {
                addresses.remove(unused);
            }
            let length = if address.version() == smoltcp::wire::IpVersion::Ipv4 {
                32
            } else {
                128
            };
            // Where all are in use the packet is not answered.
            let _ = addresses.push(IpCidr::new(address, length));
        });
    }

    /// Makes room for a connection that a SYN opens: a flood of SYNs costs the host its own older half-open
    /// connections.
    fn admit(&mut self, tuple: Tuple, served: Served, around: &mut Surroundings<'_>) -> Result<(), Unanswered> {
        let limits = around.limits;
        let crowded = *around.connections >= limits.connections && self.connections.len() >= limits.reserved;
        if self.connections.len() >= limits.per_interface || crowded {
            let waiting = |c: &Connection| self.sockets.get::<tcp::Socket<'_>>(c.handle).state() == State::TimeWait;
            let oldest = |wanted: &dyn Fn(&Connection) -> bool| {
                let candidates = self.connections.iter().enumerate().filter(|(_, c)| wanted(c));
                candidates.min_by_key(|(_, c)| c.deadline).map(|(at, _)| at)
            };
            let half_open = oldest(&|c| c.phase == Phase::HalfOpen);
            let replaced = oldest(&waiting).or(half_open).ok_or(Unanswered::ConnectionLimit)?;
            if self.connections[replaced].phase == Phase::HalfOpen {
                self.counters.count(Unanswered::HalfOpenReplaced);
            }
            self.remove(replaced, around);
        }
        let socket = listening(tuple.local).ok_or(Unanswered::ConnectionLimit)?;
        let handle = self.sockets.add(socket);
        let deadline = around.now.saturating_add(limits.handshake);
        self.connections.push(Connection::new(tuple, handle, served, deadline));
        *around.connections += 1;
        Ok(())
    }

    fn remove(&mut self, at: usize, around: &mut Surroundings<'_>) {
        let connection = self.connections.swap_remove(at);
        self.sockets.remove(connection.handle);
        *around.connections -= 1;
    }

    /// Runs as far as possible at the current time.
    pub(super) fn run(&mut self, around: &mut Surroundings<'_>) {
        loop {
            self.stack
                .poll(instant(around.now), &mut self.queues, &mut self.sockets);
            let moved = self.serve_datagrams(around) | self.serve_connections(around);
            if !moved {
                break;
            }
        }
        self.end_connections(around);
        self.send(around);
    }

    fn serve_datagrams(&mut self, around: &mut Surroundings<'_>) -> bool {
        let mut moved = false;
        while let Ok((request, meta)) = self.sockets.get_mut::<udp::Socket<'_>>(self.time).recv() {
            moved = true;
            let wall = ntp::shifted(around.wall, around.source.skew(self.interface));
            let answer = ntp::answer(request, wall);
            let tuple = tuple_of(&meta);
            match answer {
                Ok(answer) => self.reply_datagram(self.time, tuple, &answer),
                Err(reason) => self.counters.count(reason),
            }
        }
        while let Ok((request, meta)) = self.sockets.get_mut::<udp::Socket<'_>>(self.dns).recv() {
            moved = true;
            let (query, tuple) = (request.to_vec(), tuple_of(&meta));
            if let Some(answer) = self.resolve(query, ReplyTo::Datagram(tuple), around) {
                self.reply_datagram(self.dns, tuple, &answer);
            }
        }
        moved
    }

    fn reply_datagram(&mut self, socket: SocketHandle, tuple: Tuple, answer: &[u8]) {
        let meta = udp::UdpMetadata {
            endpoint: tuple.remote.into(),
            local_address: Some(tuple.local.ip().into()),
            meta: smoltcp::phy::PacketMeta::default(),
        };
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(socket);
        if socket.send_slice(answer, meta).is_err() {
            self.counters.count(Unanswered::AnswerLost);
        }
    }

    /// The answer to a DNS query, if there is one without forwarding.
    fn resolve(&self, query: Vec<u8>, to: ReplyTo, around: &mut Surroundings<'_>) -> Option<Vec<u8>> {
        let datagram = matches!(to, ReplyTo::Datagram(_));
        let names: &dyn dns::NameSource = around.source;
        let outcome = dns::answer(&query, datagram, self.interface, names, around.forwarder.is_some());
        let unanswered = match (outcome, &mut around.forwarder) {
            (Outcome::Reply(answer), _) => return Some(answer),
            (Outcome::Forward { dns64 }, Some(forwarder)) => {
                let ticket = Ticket {
                    interface: self.interface,
                    datagram,
                    to,
                };
                let random = || around.entropy.word();
                forwarder.ask(query, ticket, dns64, around.now, random).err()
            }
            (Outcome::Forward { .. }, None) => Some(Unanswered::DnsForwardFull),
            (Outcome::Ignore(reason), _) => Some(reason),
        };
        if let Some(reason) = unanswered {
            self.counters.count(reason);
        }
        None
    }

    /// Processes the answer to a forwarded query.
    pub(super) fn resolved(&mut self, to: ReplyTo, answer: &[u8], around: &mut Surroundings<'_>) {
        match to {
            ReplyTo::Datagram(tuple) => self.reply_datagram(self.dns, tuple, answer),
            ReplyTo::Stream(tuple) => self.reply_stream(tuple, answer, around),
        }
        self.run(around);
    }

    fn reply_stream(&mut self, tuple: Tuple, answer: &[u8], around: &Surroundings<'_>) {
        let connection = self.connections.iter_mut().find(|connection| connection.tuple == tuple);
        let answered = connection
            .ok_or(Unanswered::AnswerLost)
            .and_then(|connection| connection.answer(answer, around.limits, around.now));
        if let Err(reason) = answered {
            self.counters.count(reason);
        }
    }

    fn serve_connections(&mut self, around: &mut Surroundings<'_>) -> bool {
        let mut moved = false;
        for at in 0..self.connections.len() {
            let connection = &mut self.connections[at];
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.handle);
            let step = connection.step(socket, self.interface, around);
            let tuple = connection.tuple;
            if let Some(reason) = step.fault {
                self.counters.count(reason);
            }
            moved |= step.moved;
            for query in step.queries {
                moved = true;
                if let Some(answer) = self.resolve(query, ReplyTo::Stream(tuple), around) {
                    self.reply_stream(tuple, &answer, around);
                }
            }
        }
        moved
    }

    /// Ends connections that are finished or past their deadline.
    fn end_connections(&mut self, around: &mut Surroundings<'_>) {
        let mut aborted = false;
        for at in (0..self.connections.len()).rev() {
            let connection = &self.connections[at];
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.handle);
            let late = connection.deadline <= around.now;
            match (socket.state(), connection.phase) {
                // A SYN that the stack refused.
                (State::Closed | State::Listen, _) => self.remove(at, around),
                (_, Phase::HalfOpen) if late => {
                    self.counters.count(Unanswered::HandshakeTimeout);
                    self.remove(at, around);
                }
                (_, phase) if late => {
                    if phase == Phase::Open {
                        self.counters.count(Unanswered::IdleTimeout);
                    }
                    // The next poll writes a reset to the peer; then the socket is removed.
                    socket.abort();
                    aborted = true;
                }
                _ => {}
            }
        }
        if aborted {
            self.stack
                .poll(instant(around.now), &mut self.queues, &mut self.sockets);
            for at in (0..self.connections.len()).rev() {
                let handle = self.connections[at].handle;
                if self.sockets.get::<tcp::Socket<'_>>(handle).state() == State::Closed {
                    self.remove(at, around);
                }
            }
        }
    }

    /// Prepends the link's header to each packet and sends it.
    fn send(&mut self, around: &Surroundings<'_>) {
        let mut frame = Vec::new();
        for packet in self.queues.outbound.drain(..) {
            let ethertype = if packet.first().is_some_and(|first| first >> 4 == 6) {
                ETHERTYPE_IPV6
            } else {
                ETHERTYPE_IPV4
            };
            frame.clear();
            frame.reserve(ETHERNET_HEADER + packet.len());
            frame.extend_from_slice(&self.link.host.0);
            frame.extend_from_slice(&self.link.router.0);
            frame.extend_from_slice(&ethertype.to_be_bytes());
            frame.extend_from_slice(&packet);
            (around.inject)(self.link.port, &frame);
            self.counters.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// When it must run next without a packet.
    pub(super) fn next(&mut self, limits: &Limits, now: Duration) -> Duration {
        let timers = self.stack.poll_at(instant(now), &self.sockets);
        let timers = timers.map(|at| Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)).max(now));
        let deadlines = self.connections.iter().map(|connection| connection.deadline);
        let held_up = self.connections.iter().filter_map(Connection::due);
        let unused = self.last_used.saturating_add(limits.unused);
        deadlines.chain(held_up).chain(timers).min().map_or(unused, |at| {
            if self.connections.is_empty() {
                at.min(unused)
            } else {
                at
            }
        })
    }

    /// True when dropping it would lose nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.is_empty()
    }

    /// Drops all connections silently.
    pub(super) fn give_up(mut self, connections: &mut usize) {
        *connections -= self.connections.len();
        self.connections.clear();
    }
}

fn datagrams(port: u16) -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; DATAGRAM_OCTETS]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    // A fresh socket accepts any port but 0.
    let _ = socket.bind(port);
    socket
}

fn tuple_of(meta: &udp::UdpMetadata) -> Tuple {
    let port = 0;
    // A socket always returns the destination of a datagram.
    let local = meta.local_address.map_or(SERVICES_IPV4[0].into(), IpAddr::from);
    Tuple {
        remote: socket_address(meta.endpoint),
        local: SocketAddr::new(local, port),
    }
}
