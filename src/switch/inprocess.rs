//! A switch without threads, devices or a clock of its own: the same decisions over cables in memory, made when its owner
//! says so and in an order that depends on nothing else. For tests without root, and for hosts that live in this process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::ServiceSink;
use super::advertiser::not_told;
use super::counters::{Block, PortCounters};
use super::delay::Delayed;
use super::observe::{Fate, Observation, Observers, Place, Wanted};
use super::port::ETHERNET;
use super::port::Offload;
use super::port::memory::{MemoryHost, MemoryPort};
use crate::datapath::faults::Passage;
use crate::datapath::{
    Answered, Asking, Destination, DropReason, Fabric, FaultView, FrameMeta, Ingress, Memory, Moved, Output, PortState,
    Received, Rewrite, Service, SubnetIndex, Unobserved, Verdict, View, announcement, decide, responder, rewrite,
    unsolicited_advertisement,
};
use crate::mapping::{InterfaceIndex, PortId};

/// Drops that are kept to be asked for; older ones are forgotten.
const REMEMBERED: usize = 1024;

/// A frame that went nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Where it came in.
    pub port: PortId,
    /// Why.
    pub reason: DropReason,
    /// All of it.
    pub frame: Vec<u8>,
}

struct Port {
    id: PortId,
    interface: InterfaceIndex,
    cable: MemoryPort,
    state: PortState,
    counters: Box<Block>,
    next_advertisement: Option<Duration>,
}

/// A switch that is driven step by step.
pub struct InProcessSwitch {
    fabric: Arc<Fabric>,
    ports: Vec<Option<Port>>,
    output: Output,
    /// What a server of the VPC's own said last.
    served: Vec<u8>,
    dropped: VecDeque<Dropped>,
    delayed: Delayed<()>,
    observers: Arc<Observers>,
    now: Duration,
    services: Option<Box<ServiceSink>>,
}

impl InProcessSwitch {
    /// A switch without ports.
    pub fn new(fabric: Arc<Fabric>) -> Self {
        Self {
            fabric,
            ports: vec![None],
            output: Output::default(),
            served: Vec::new(),
            dropped: VecDeque::new(),
            delayed: Delayed::new(),
            observers: Arc::new(Observers::new(SystemTime::UNIX_EPOCH, std::time::Instant::now())),
            now: Duration::ZERO,
            services: None,
        }
    }

    /// Says who takes over the frames for the link-local services. Until then they are dropped as `no_service`.
    pub fn set_services(&mut self, sink: Box<ServiceSink>) {
        self.services = Some(sink);
    }

    /// Writes a frame of a service to a port; false when there is no such port, or its cable is full.
    pub fn inject(&mut self, id: PortId, frame: &[u8]) -> bool {
        let Some(port) = self.port(id) else { return false };
        let sent = port.cable.send(frame).is_ok();
        if sent {
            port.counters.answered[Answered::Service as usize].add(1);
        } else {
            port.counters.refused.add(1);
        }
        sent
    }

    /// Attaches the switch's end of a cable to an interface. The fabric must be told of the port that is returned
    /// (`FabricWriter::set_port`).
    ///
    /// # Panics
    /// After 2³² ports.
    pub fn attach(&mut self, interface: InterfaceIndex, cable: MemoryPort) -> PortId {
        let number = u32::try_from(self.ports.len()).ok().and_then(PortId::new);
        let id = number.expect("a process has no memory for more ports than there are numbers");
        self.ports.push(Some(Port {
            id,
            interface,
            cable,
            state: PortState::default(),
            counters: Box::default(),
            next_advertisement: None,
        }));
        id
    }

    /// Takes a port away, and returns its final counters.
    pub fn detach(&mut self, id: PortId) -> Option<PortCounters> {
        let port = self.ports.get_mut(id.get() as usize)?.take()?;
        Some(PortCounters::sum(std::slice::from_ref(&*port.counters)))
    }

    /// Decides all frames that were sent so far, port by port, and sends the advertisements that are due at `now`.
    /// Returns how many frames were decided. Frames that a host sends in answer wait for the next step.
    pub fn step(&mut self, now: Duration) -> usize {
        let view = self.fabric.view_full();
        let mut count = 0;
        self.now = now;
        self.release(&view);
        for number in 0..self.ports.len() {
            let queued = std::iter::from_fn(|| self.ports[number].as_ref()?.cable.receive());
            for mut frame in queued.collect::<Vec<_>>() {
                self.frame(&view, number, &mut frame, now);
                count += 1;
            }
        }
        self.advertise(&view, now);
        count
    }

    /// Begins to observe frames and what becomes of them. Times are those that [`Self::step`] is given, since 1970.
    pub fn observe(&self, wanted: Wanted) -> Observation {
        self.observers.observe(wanted)
    }

    /// The next time at which a frame that a fault holds up is due.
    pub fn next_release(&self) -> Option<Duration> {
        self.delayed.next_due()
    }

    /// The next time at which [`Self::step`] sends an advertisement of its own accord.
    pub fn next_advertisement(&self) -> Option<Duration> {
        self.ports
            .iter()
            .flatten()
            .filter_map(|port| port.next_advertisement)
            .min()
    }

    fn frame(&mut self, view: &View, number: usize, frame: &mut [u8], now: Duration) {
        let Some(port) = self.ports[number].as_mut() else {
            return;
        };
        let id = port.id;
        port.counters.received_frames.add(1);
        port.counters.received_bytes.add(frame.len() as u64);
        let mut asking = None;
        let verdict = match attached(view, port) {
            Ok(ingress) if view.faults().is_some_and(|f| f.link_down(&ingress.interface)) => {
                Verdict::Drop(DropReason::FaultLinkDown)
            }
            Ok(ingress) => {
                let received = Received {
                    bytes: frame,
                    meta: FrameMeta::default(),
                };
                let verdict = decide(
                    received,
                    &ingress,
                    view,
                    Memory {
                        port: &port.state,
                        segments: self.fabric.segments(),
                    },
                    now,
                    &mut self.output,
                    &mut Unobserved,
                );
                if let Some(effects) = &self.output.effects {
                    asking = effects.commit(&ingress, &mut port.state, self.fabric.segments(), now);
                }
                verdict
            }
            Err(reason) => Verdict::Drop(reason),
        };
        let verdict = match (verdict, asking) {
            (Verdict::Ask { subnet, .. }, Some(asking)) => {
                self.ask(view, subnet, asking);
                verdict.after_asking(asking)
            }
            _ => verdict,
        };
        let reason = match verdict {
            Verdict::Deliver {
                to: Destination::Port(to),
                rewrite,
            } => self.deliver(view, number, to, frame, rewrite).err(),
            Verdict::Reply(answered) => self.answer(id, answered, frame).err(),
            Verdict::Punt(Service::LinkLocal) => self.hand_to_services(number, frame).err(),
            Verdict::Punt(service) => self.serve(service, view, number, frame).err(),
            Verdict::Flood { reply, punt } => {
                self.flood(view, number, frame);
                if let Some(service) = punt {
                    // Everybody else heard the question, so that it is not lost where this server has no answer.
                    let _ = self.serve(service, view, number, frame);
                }
                reply.and_then(|answered| self.answer(id, answered, frame).err())
            }
            // A question was seen to above.
            Verdict::Consumed | Verdict::Ask { .. } => None,
            Verdict::Drop(reason) => Some(reason),
        };
        if let Some(reason) = reason {
            self.drop(id, reason, frame);
        }
    }

    fn port(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(id.get() as usize)?.as_mut()
    }

    fn deliver(
        &mut self,
        view: &View,
        number: usize,
        to: PortId,
        frame: &[u8],
        rewrite: Rewrite,
    ) -> Result<(), DropReason> {
        let from = self
            .ports
            .get(number)
            .and_then(Option::as_ref)
            .ok_or(DropReason::NotAttached)?;
        let (from, sender) = (from.id, from.interface);
        let port = self
            .ports
            .get(to.get() as usize)
            .and_then(Option::as_ref)
            .ok_or(DropReason::NotAttached)?;
        if frame.len() > usize::from(port.cable.mtu()) + ETHERNET {
            return Err(DropReason::TooLong);
        }
        let passage = match (view.faults(), view.interface(sender), view.interface(port.interface)) {
            (Some(faults), Some(a), Some(b)) => faults.pass(&a, &b, frame.len(), self.now)?,
            _ => Passage::UNHINDERED,
        };
        let fate = Fate::Delivered {
            to: port.interface,
            port: to,
            delay: passage.delay,
        };
        self.show(from, frame, fate);
        let mut frame = frame.to_vec();
        rewrite::apply(&mut frame, rewrite);
        for delay in passage.copy.into_iter().chain([passage.delay]) {
            if delay == Duration::ZERO {
                self.arrive(from, to, &frame)?;
            } else {
                self.delayed.hold(self.now + delay, from, to, &frame, ())?;
            }
        }
        Ok(())
    }

    /// Hands a frame to the port that it is for.
    fn arrive(&self, from: PortId, to: PortId, frame: &[u8]) -> Result<(), DropReason> {
        let port = |id: PortId| self.ports.get(id.get() as usize).and_then(Option::as_ref);
        let receiver = port(to).ok_or(DropReason::NotAttached)?;
        receiver.send(frame).map_err(|()| DropReason::DeviceFull)?;
        if let Some(sender) = port(from) {
            self.show(to, frame, Fate::Arrived { from: sender.interface });
        }
        Ok(())
    }

    /// Delivers what was held up long enough.
    fn release(&mut self, view: &View) {
        while let Some(held) = self.delayed.take(self.now) {
            let receiver = self.ports.get(held.to.get() as usize).and_then(Option::as_ref);
            let receiver = receiver.and_then(|port| view.interface(port.interface));
            let down = |faults: &FaultView| receiver.is_some_and(|interface| faults.link_down(&interface));
            let outcome = if view.faults().is_some_and(down) {
                Err(DropReason::FaultLinkDown)
            } else {
                self.arrive(held.from, held.to, &held.bytes)
            };
            if let Err(reason) = outcome {
                self.drop(held.from, reason, &held.bytes);
            }
        }
    }

    /// Shows a frame at a port to those who observe.
    fn show(&self, port: PortId, frame: &[u8], fate: Fate) {
        let Some(audience) = self.observers.present() else {
            return;
        };
        if let Some(at) = self.ports.get(port.get() as usize).and_then(Option::as_ref) {
            let place = Place {
                at: self.now,
                interface: at.interface,
                port,
            };
            audience.show(place, frame, &Offload::None, fate);
        }
    }

    fn answer(&mut self, to: PortId, answered: Answered, question: &[u8]) -> Result<(), DropReason> {
        let port = self.ports.get(to.get() as usize).and_then(Option::as_ref);
        port.ok_or(DropReason::NotAttached)?
            .answer(self.output.reply.frame(), answered)?;
        self.show(to, question, Fate::Answered(answered));
        self.show(to, self.output.reply.frame(), Fate::Fabric(Some(answered)));
        Ok(())
    }

    /// Lets a server of the VPC's own answer a frame of a port.
    fn serve(&mut self, service: Service, view: &View, number: usize, frame: &[u8]) -> Result<(), DropReason> {
        let port = self.ports[number].as_ref().ok_or(DropReason::NotAttached)?;
        let question = Received {
            bytes: frame,
            meta: FrameMeta::default(),
        };
        let answered = responder::answer(service, question, &attached(view, port)?, view, &mut self.served)?;
        port.answer(&self.served, answered)?;
        let id = port.id;
        self.show(id, frame, Fate::Answered(answered));
        self.show(id, &self.served, Fate::Fabric(Some(answered)));
        Ok(())
    }

    fn hand_to_services(&self, number: usize, bytes: &[u8]) -> Result<(), DropReason> {
        let meta = FrameMeta::default();
        let port = self.ports[number].as_ref().ok_or(DropReason::NotAttached)?;
        let sink = self.services.as_ref().ok_or(DropReason::NoService)?;
        sink(port.interface, port.id, Received { bytes, meta })?;
        self.show(port.id, bytes, Fate::Answered(Answered::Service));
        Ok(())
    }

    /// Sends the router's question in the reply buffer to every port of a subnet, unless it was sent a moment ago.
    fn ask(&self, view: &View, subnet: SubnetIndex, asking: Asking) {
        if let (Asking::Now, Some(subnet)) = (asking, view.subnet(subnet)) {
            for &(member, _) in subnet.members().iter() {
                if let Some(port) = self.ports.get(member.get() as usize).and_then(Option::as_ref) {
                    port.send_unasked(self.output.reply.frame());
                }
            }
        }
    }

    fn flood(&mut self, view: &View, number: usize, frame: &[u8]) {
        let Some((interface, from)) = self.ports[number].as_ref().map(|port| (port.interface, port.id)) else {
            return;
        };
        let Some(ingress) = view.ingress(interface, from) else {
            return;
        };
        self.show(from, frame, Fate::Flooded);
        for &(member, _) in ingress.subnet.members().iter().filter(|(member, _)| *member != from) {
            if let Err(reason) = self.deliver(view, number, member, frame, Rewrite::None) {
                self.drop(from, reason, frame);
            }
        }
    }

    fn drop(&mut self, id: PortId, reason: DropReason, frame: &[u8]) {
        self.show(id, frame, Fate::Dropped(reason));
        if let Some(port) = self.port(id) {
            port.counters.dropped[reason as usize].add(1);
        }
        if self.dropped.len() == REMEMBERED {
            self.dropped.pop_front();
        }
        self.dropped.push_back(Dropped {
            port: id,
            reason,
            frame: frame.to_vec(),
        });
    }

    fn advertise(&mut self, view: &View, now: Duration) {
        let audience = self.observers.present();
        for port in self.ports.iter_mut().flatten() {
            let Ok(ingress) = attached(view, port) else { continue };
            let interval = ingress.subnet.profile().router.advertisement.interval;
            let due = *port.next_advertisement.get_or_insert(now + interval);
            if due > now {
                continue;
            }
            port.next_advertisement = Some(now + interval);
            let withheld = view.faults().is_some_and(|faults| {
                faults.link_down(&ingress.interface)
                    || faults.services(&ingress.interface).router_advertisements_withheld
            });
            if !withheld && unsolicited_advertisement(&ingress, &mut self.output.reply) {
                let sent = port.send_unasked(self.output.reply.frame());
                if let (true, Some(audience)) = (sent, &audience) {
                    let place = Place {
                        at: now,
                        interface: port.interface,
                        port: port.id,
                    };
                    audience.show(place, self.output.reply.frame(), &Offload::None, Fate::Fabric(None));
                }
            }
        }
    }

    /// Tells the ports of the address's subnet, except its owner's, where it is now, and returns how many could be told.
    pub fn announce(&mut self, moved: Moved) -> usize {
        let view = self.fabric.view_full();
        let Some((subnet, owner)) = moved.owner(&view) else {
            return 0;
        };
        let mut told = 0;
        for &(id, interface) in subnet.members().iter().filter(|(id, _)| Some(*id) != owner.port) {
            let Some(interface) = view.interface(interface) else {
                continue;
            };
            if not_told(&view, &interface, subnet.index, moved.address) {
                continue;
            }
            announcement(moved.address, owner.mac, interface.mac, &mut self.output.reply);
            let port = self.ports.get(id.get() as usize).and_then(Option::as_ref);
            if port.is_some_and(|port| port.send_unasked(self.output.reply.frame())) {
                told += 1;
                self.show(id, self.output.reply.frame(), Fate::Fabric(None));
            }
        }
        told
    }

    /// What was counted of a port.
    pub fn counters(&self, id: PortId) -> Option<PortCounters> {
        let port = self.ports.get(id.get() as usize)?.as_ref()?;
        Some(PortCounters::sum(std::slice::from_ref(&*port.counters)))
    }

    /// The frames that went nowhere since the last call, oldest first.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        self.dropped.drain(..).collect()
    }
}

impl Port {
    fn answer(&self, frame: &[u8], answered: Answered) -> Result<(), DropReason> {
        self.send(frame).map_err(|()| DropReason::DeviceFull)?;
        self.counters.answered[answered as usize].add(1);
        Ok(())
    }

    fn send(&self, frame: &[u8]) -> Result<(), ()> {
        if self.cable.send(frame).is_err() {
            self.counters.refused.add(1);
            return Err(());
        }
        self.counters.sent_frames.add(1);
        self.counters.sent_bytes.add(frame.len() as u64);
        Ok(())
    }

    fn send_unasked(&self, frame: &[u8]) -> bool {
        let sent = self.cable.send(frame).is_ok();
        if sent {
            self.counters.unasked.add(1);
        } else {
            self.counters.refused.add(1);
        }
        sent
    }
}

/// What a port's frames are judged by, while the fabric says that the interface is attached to it.
fn attached<'a>(view: &'a View, port: &Port) -> Result<Ingress<'a>, DropReason> {
    let ingress = view.ingress(port.interface, port.id).ok_or(DropReason::InterfaceGone)?;
    if ingress.interface.port == Some(port.id) {
        Ok(ingress)
    } else {
        Err(DropReason::NotAttached)
    }
}

/// The host's end of a cable as a network card of `smoltcp`.
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
        // smoltcp counts the Ethernet header in.
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
        // Like a card, it drops what does not fit.
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
    use crate::datapath::{FabricWriter, InterfaceSpec, SubnetSpec, VpcSpec};
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
    fn a_frame_to_nobody_is_counted_where_it_came_in_and_can_be_looked_at() {
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
            .interval;
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
            assert_eq!(switch.announce(moved), 0, "nobody has it");
            fabric.map(subnet, address.into(), owner);
            assert_eq!(switch.announce(moved), 1);
            let frame = MemoryHost::receive(&b.card).expect("the other host is told");
            assert_eq!(frame[..6], b.mac.0);
            assert!(!a.card.has_frame(), "the new owner is not");
        }
    }
}
