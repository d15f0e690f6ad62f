//! Runs a switch without threads, devices or a clock: the same decisions and executor over cables in memory, in steps
//! that the owner makes, in a deterministic order. For tests without root, and for hosts in this process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::advertiser::Unasked;
use super::counters::{Block, PortCounters};
use super::event::Events;
use super::execute::{Executor, attached};
use super::observe::{Observation, Observers, Wanted};
use super::port::memory::{MemoryHost, MemoryPort};
use super::port::{ETHERNET, PortDevice};
use super::{Clock, Drops, Port, PortTable, ServiceSink, Shared};
use crate::datapath::{Fabric, Moved};
use crate::mapping::{InterfaceIndex, PortId};

pub use super::Dropped;

/// Counter blocks of a port: one for the executor, one for unsolicited frames.
const BLOCKS: usize = 2;

/// A switch that is driven step by step.
pub struct InProcessSwitch {
    shared: Arc<Shared>,
    executor: Executor,
    /// Number of ports ever attached.
    count: u32,
    /// Time of each port's next advertisement, by port number.
    advertisements: Vec<Option<Duration>>,
}

impl InProcessSwitch {
    /// A switch without ports.
    pub fn new(fabric: Arc<Fabric>) -> Self {
        // Dropped frames are kept whole instead, so no event is read.
        let (events, _) = Events::new(1, 0);
        let observers = Observers::new(SystemTime::UNIX_EPOCH, std::time::Instant::now());
        Self {
            shared: Arc::new(Shared {
                drops: Some(Drops::default()),
                ..Shared::new(fabric, Clock::stepped(), events, observers, Unasked::new(BLOCKS - 1))
            }),
            executor: Executor::new(0),
            count: 0,
            advertisements: Vec::new(),
        }
    }

    /// Sets the receiver of frames for the link-local services. Until then they are dropped as `no_service`.
    pub fn set_services(&mut self, sink: Box<ServiceSink>) {
        let _ = self.shared.services.set(Arc::from(sink));
    }

    /// Writes a frame of a service to a port; false when there is no such port or its cable is full.
    pub fn inject(&mut self, id: PortId, frame: &[u8]) -> bool {
        self.shared.unasked().inject(&self.shared, id, frame)
    }

    /// Attaches the switch's end of a cable to an interface. The caller must then set the returned port in the fabric
    /// (`FabricWriter::set_port`).
    ///
    /// # Panics
    /// After 2³² ports.
    pub fn attach(&mut self, interface: InterfaceIndex, cable: MemoryPort) -> PortId {
        self.count += 1;
        let id = PortId::new(self.count).expect("a process has no memory for more ports than there are numbers");
        let blocks = std::iter::repeat_with(Block::default).take(BLOCKS).collect();
        let port = Port::new(id, self.count.into(), interface, PortDevice::Memory(cable), 0, blocks);
        self.edit(|table| {
            table.insert(id.get(), Arc::new(port));
        });
        id
    }

    fn edit(&self, change: impl FnOnce(&mut PortTable)) {
        let mut table = PortTable::clone(&self.shared.ports.load());
        change(&mut table);
        self.shared.ports.store(Arc::new(table));
    }

    /// Detaches a port and returns its final counters.
    pub fn detach(&mut self, id: PortId) -> Option<PortCounters> {
        let counters = self.counters(id);
        self.edit(|table| {
            table.remove(id.get());
        });
        counters
    }

    /// Decides all frames sent so far, port by port, and sends the advertisements that are due at `now`. Returns the
    /// number of frames decided. Frames that hosts send in answer wait for the next step.
    pub fn step(&mut self, now: Duration) -> usize {
        self.shared.clock.step(now);
        let (table, view) = (self.shared.ports.load_full(), self.shared.fabric.view_full());
        self.executor.release(&self.shared, &table, &view);
        let mut count = 0;
        for number in 1..=self.count {
            loop {
                let frames = self.executor.round(&self.shared, &table, &view, number, now).frames;
                if frames == 0 {
                    break;
                }
                count += frames;
            }
        }
        self.advertise(now);
        count
    }

    /// Begins to observe frames and their verdicts. Times are those given to [`Self::step`], counted from 1970.
    pub fn observe(&self, wanted: Wanted) -> Observation {
        self.shared.observers.observe(wanted)
    }

    /// The time at which the next delayed frame is due.
    pub fn next_release(&self) -> Option<Duration> {
        self.executor.next_due()
    }

    /// The time at which [`Self::step`] sends the next advertisement.
    pub fn next_advertisement(&self) -> Option<Duration> {
        let table = self.shared.ports.load();
        let due = self.advertisements.iter().enumerate();
        due.filter(|(number, _)| table.get(*number as u32).is_some())
            .filter_map(|(_, due)| *due)
            .min()
    }

    fn advertise(&mut self, now: Duration) {
        let (table, view) = (self.shared.ports.load_full(), self.shared.fabric.view_full());
        self.advertisements.resize(self.count as usize + 1, None);
        let mut unasked = self.shared.unasked();
        for port in table.iter().filter(|port| attached(&view, port).is_ok()) {
            let due = &mut self.advertisements[port.id.get() as usize];
            if due.is_none_or(|due| due <= now) {
                let next = unasked.advertise(&self.shared, &view, port);
                *due = Some(now.saturating_add(next));
            }
        }
    }

    /// Announces the address's new place to the ports of its subnet except the owner's; returns the number of
    /// announcements.
    pub fn announce(&mut self, moved: Moved) -> usize {
        let (table, view) = (self.shared.ports.load_full(), self.shared.fabric.view_full());
        self.shared.unasked().announce(&self.shared, &view, &table, moved)
    }

    /// The counters of a port.
    pub fn counters(&self, id: PortId) -> Option<PortCounters> {
        let table = self.shared.ports.load();
        Some(PortCounters::sum(&table.get(id.get())?.counters))
    }

    /// The frames dropped since the last call, oldest first; only the latest are kept.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        self.shared.drops.as_ref().map(Drops::take).unwrap_or_default()
    }
}

/// The host's end of a cable as a `smoltcp` device.
impl Device for MemoryHost {
    type RxToken<'a> = ReceivedFrame;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let frame = MemoryHost::receive(self)?;
        Some((ReceivedFrame(frame), Transmit(self)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Self::TxToken<'_>> {
        self.has_room().then_some(Transmit(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        // smoltcp includes the Ethernet header.
        capabilities.max_transmission_unit = usize::from(self.mtu()) + ETHERNET;
        capabilities
    }
}

/// A frame for a `smoltcp` host.
pub struct ReceivedFrame(Vec<u8>);

impl RxToken for ReceivedFrame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// Room for a frame from a `smoltcp` host.
pub struct Transmit<'a>(&'a MemoryHost);

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        // Like a network card, it drops a frame that does not fit.
        let _ = self.0.send(frame);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use smoltcp::iface::{Config, Interface, SocketSet};
    use smoltcp::socket::udp;
    use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

    use super::super::port::memory::cable;
    use super::*;
    use crate::datapath::{DropReason, FabricWriter, InterfaceSpec, SubnetIndex, SubnetSpec, VpcSpec};
    use crate::model::profile::Profile;
    use crate::wire::MacAddr;

    struct Host {
        card: MemoryHost,
        interface: Interface,
        sockets: SocketSet<'static>,
        socket: smoltcp::iface::SocketHandle,
        mac: MacAddr,
    }

    impl Host {
        fn new(card: MemoryHost, number: u8) -> Self {
            let mac = MacAddr([2, 0, 0, 0, 0, number]);
            let mut card = card;
            let config = Config::new(EthernetAddress(mac.0).into());
            let mut interface = Interface::new(config, &mut card, Instant::ZERO);
            interface.update_ip_addrs(|addresses| {
                addresses
                    .push(IpCidr::new(IpAddress::v4(10, 0, 0, number), 24))
                    .expect("there is room for one");
            });
            let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
            let mut socket = udp::Socket::new(buffer(), buffer());
            socket.bind(4000).expect("the port is free");
            let mut sockets = SocketSet::new(Vec::new());
            let socket = sockets.add(socket);
            Self {
                card,
                interface,
                sockets,
                socket,
                mac,
            }
        }

        fn poll(&mut self, milliseconds: i64) {
            self.interface
                .poll(Instant::from_millis(milliseconds), &mut self.card, &mut self.sockets);
        }

        fn udp(&mut self) -> &mut udp::Socket<'static> {
            self.sockets.get_mut(self.socket)
        }
    }

    /// A subnet with two hosts, 10.0.0.10 and 10.0.0.11.
    fn two_hosts() -> (FabricWriter, InProcessSwitch, [Host; 2], [PortId; 2]) {
        let mut fabric = FabricWriter::new();
        let profile = Arc::new(Profile::named("aws").expect("aws is built in"));
        let vpc = fabric.add_vpc(VpcSpec {
            profile,
            cidrs: vec!["10.0.0.0/16".parse().expect("a range")],
            dhcp_options: Arc::default(),
        });
        let subnet = fabric.add_subnet(SubnetSpec {
            vpc,
            ipv4: Some("10.0.0.0/24".parse().expect("a range")),
            ipv6: Some("2001:db8::/64".parse().expect("a range")),
            router_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        });
        let mut switch = InProcessSwitch::new(fabric.fabric());
        let made = [10, 11].map(|number: u8| {
            let (port, card) = cable(9001);
            let host = Host::new(card, number);
            let interface = fabric.add_interface(InterfaceSpec {
                subnet,
                mac: host.mac,
                source_dest_check: true,
            });
            let address = Ipv4Addr::new(10, 0, 0, number);
            fabric.map(subnet, IpAddr::V4(address).into(), Some(interface));
            fabric.set_primary(interface, Some(address), None);
            let port = switch.attach(interface, port);
            fabric.set_port(interface, Some(port));
            (host, port)
        });
        let [(a, port_a), (b, port_b)] = made;
        (fabric, switch, [a, b], [port_a, port_b])
    }

    #[test]
    fn two_hosts_of_a_subnet_find_and_reach_each_other() {
        let (_fabric, mut switch, [mut a, mut b], [port_a, port_b]) = two_hosts();
        let to = (IpAddress::v4(10, 0, 0, 11), 4000);
        a.udp().send_slice(b"hello", to).expect("the buffer has room");
        for milliseconds in 0..10 {
            a.poll(milliseconds);
            b.poll(milliseconds);
            switch.step(Duration::from_millis(milliseconds.cast_unsigned()));
        }
        b.poll(10);
        let (payload, from) = b.udp().recv().expect("the datagram came");
        assert_eq!(
            (payload, from.endpoint.addr),
            (&b"hello"[..], IpAddress::v4(10, 0, 0, 10))
        );
        let (a, b) = (
            switch.counters(port_a).expect("attached"),
            switch.counters(port_b).expect("attached"),
        );
        assert_eq!(a.answered(crate::datapath::Answered::Arp), 1);
        assert_eq!((a.received.frames, b.sent.frames), (2, 1));
        assert_eq!(switch.take_dropped(), []);
    }

    #[test]
    fn a_frame_to_an_unknown_mac_is_counted_at_its_ingress_port_and_kept() {
        let (_fabric, mut switch, [a, _b], [port, _]) = two_hosts();
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&[0xff; 6]);
        frame[6..12].copy_from_slice(&a.mac.0);
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        a.card.send(frame.clone()).expect("the queue is empty");
        assert_eq!(switch.step(Duration::ZERO), 1);
        assert_eq!(
            switch.take_dropped(),
            [Dropped {
                port,
                reason: DropReason::EtherType,
                frame
            }]
        );
        assert_eq!(
            switch.counters(port).expect("attached").dropped(DropReason::EtherType),
            1
        );
    }

    #[test]
    fn a_port_that_the_fabric_does_not_know_yet_sends_nowhere() {
        let (mut fabric, mut switch, [a, _b], [port, _]) = two_hosts();
        let interface = InterfaceIndex(std::num::NonZeroU32::MIN);
        fabric.set_port(interface, None);
        a.card.send(vec![0; 60]).expect("the queue is empty");
        switch.step(Duration::ZERO);
        assert_eq!(
            switch
                .counters(port)
                .expect("attached")
                .dropped(DropReason::NotAttached),
            1
        );
    }

    #[test]
    fn advertisements_come_after_each_interval_and_not_at_once() {
        let (_fabric, mut switch, [a, _b], [port, _]) = two_hosts();
        let interval = Profile::named("aws")
            .expect("aws is built in")
            .router
            .advertisement
            .interval
            .get();
        switch.step(Duration::ZERO);
        assert!(!a.card.has_frame());
        assert_eq!(switch.next_advertisement(), Some(interval));
        for round in 1..=3_u64 {
            switch.step(interval * u32::try_from(round).expect("a small number"));
            let frame = MemoryHost::receive(&a.card).expect("an advertisement came");
            assert_eq!(frame[..6], a.mac.0, "to the port's own MAC");
            assert_eq!(switch.counters(port).expect("attached").unasked, round);
        }
    }

    #[test]
    fn a_move_is_announced_to_the_others_in_frames_of_their_own() {
        let (mut fabric, mut switch, [a, b], _) = two_hosts();
        let subnet = SubnetIndex(std::num::NonZeroU32::MIN);
        let owner = fabric.owner(subnet, Ipv4Addr::new(10, 0, 0, 10).into());
        for address in [
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)),
        ] {
            let moved = Moved { subnet, address };
            assert_eq!(switch.announce(moved), 0, "no interface has it");
            fabric.map(subnet, address.into(), owner);
            assert_eq!(switch.announce(moved), 1);
            let frame = MemoryHost::receive(&b.card).expect("the other host gets the announcement");
            assert_eq!(frame[..6], b.mac.0);
            assert!(!a.card.has_frame(), "the new owner is not");
        }
    }
}
