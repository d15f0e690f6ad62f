//! Sends arbitrary sequences of packets at arbitrary times through security groups that track connections and through an
//! internet gateway that translates addresses, and checks what must hold whatever is sent.
//!
//! The fuzz target and the test `tracking_noise` of the crate share this file.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use localvpc::datapath::policy::{Peer, Policy, Ports, RuleName, RuleSpec};
use localvpc::datapath::{
    Destination, DropReason, Edge, Fabric, FabricWriter, FrameMeta, InterfaceSpec, Output, PortState, Received,
    Recorder, RouteTable, RouteTarget, SubnetSpec, Unobserved, Verdict, VpcSpec, decide, rewrite,
};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::dhcp_options::DhcpOptions;
use localvpc::model::profile::Profile;
use localvpc::wire::MacAddr;
use localvpc::wire::checksum::Sum;

/// Octets of one step.
pub(crate) const STEP: usize = 12;

/// What a host lets in and out.
#[derive(Clone, Copy, PartialEq)]
enum Rules {
    /// Everything out and nothing in: all of it is tracked.
    Closed,
    /// UDP to ports up to 1000 in, TCP out.
    Narrow,
    /// Everything both ways: TCP and UDP are not tracked.
    Open,
    /// A host of the outside, which has no rules.
    Outside,
}

struct Host {
    rules: Rules,
    interface: InterfaceIndex,
    port: PortId,
    mac: MacAddr,
    router: MacAddr,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    state: PortState,
    /// Addresses that it has sent something to.
    contacted: HashSet<IpAddr>,
}

/// A VPC with three hosts behind an internet gateway, and a host of the outside.
pub(crate) struct Tracking {
    fabric: Arc<Fabric>,
    hosts: Vec<Host>,
    /// Addresses that packets go to.
    targets: Vec<IpAddr>,
    now: Duration,
    _writer: FabricWriter,
}

fn policy(rules: Rules) -> Policy {
    let rule = |protocol, last, net: &str| RuleSpec {
        name: RuleName::SecurityGroup { group: 1, rule: 1 },
        protocol,
        ports: Ports { first: 0, last },
        peer: Peer::Nets(vec![net.parse().expect("a range")]),
    };
    let everywhere = |protocol, last| ["0.0.0.0/0", "::/0"].map(|net| rule(protocol, last, net)).to_vec();
    let all = || everywhere(None, u16::MAX);
    match rules {
        Rules::Closed => Policy::compile([1], all(), Vec::new()),
        Rules::Narrow => Policy::compile([2], everywhere(Some(6), u16::MAX), everywhere(Some(17), 1000)),
        Rules::Open | Rules::Outside => Policy::compile([3], all(), all()),
    }
}

#[allow(dead_code)] // each user asks in its own way
impl Tracking {
    /// The network; always the same.
    pub(crate) fn new() -> Self {
        let mut writer = FabricWriter::new();
        let vpc = |profile: Profile, ranges: [&str; 2]| VpcSpec {
            profile: Arc::new(profile),
            cidrs: ranges.map(|range| range.parse().expect("a range")).to_vec(),
            dhcp_options: Arc::new(DhcpOptions::for_region("eu-central-1")),
        };
        let inside = writer.add_vpc(vpc(Profile::aws(), ["10.0.0.0/16", "2001:db8:1::/56"]));
        let mut beyond = Profile::aws();
        beyond.router.service_addresses = false;
        let outside = writer.add_vpc(vpc(beyond, ["198.51.100.0/24", "3fff:198::/64"]));
        let (here, there) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let left = writer.add_subnet(SubnetSpec {
            vpc: inside,
            ipv4: Some("10.0.1.0/24".parse().expect("a range")),
            ipv6: Some("2001:db8:1:1::/64".parse().expect("a range")),
            router_mac: here,
        });
        let right = writer.add_subnet(SubnetSpec {
            vpc: outside,
            ipv4: Some("198.51.100.0/24".parse().expect("a range")),
            ipv6: Some("3fff:198::/64".parse().expect("a range")),
            router_mac: there,
        });
        let everywhere = ["0.0.0.0/0", "::/0"].map(|net| (net.parse().expect("a range"), RouteTarget::Internet));
        let ranges = ["10.0.0.0/16", "2001:db8:1::/56"].map(|net| (net.parse().expect("a range"), RouteTarget::Local));
        let routes: RouteTable = ranges.into_iter().chain(everywhere).collect();
        writer.set_routes(left, Arc::new(routes));
        writer.set_outside(outside, right);
        let mut edge = Edge::new(Some(right));
        edge.attach(inside, ["2001:db8:1::/56".parse().expect("a range")]);
        for host in 10..=12 {
            edge.associate([203, 0, 113, host].into(), inside, [10, 0, 1, host].into());
        }
        writer.set_edge(edge);
        let mut hosts = Vec::new();
        for (number, rules) in (10_u8..).zip([Rules::Closed, Rules::Narrow, Rules::Open, Rules::Outside]) {
            let (subnet, router, ipv4, ipv6) = match rules {
                Rules::Outside => (right, there, [198, 51, 100, 7].into(), "3fff:198::7".to_owned()),
                _ => (
                    left,
                    here,
                    [10, 0, 1, number].into(),
                    format!("2001:db8:1:1::{number:x}"),
                ),
            };
            let ipv6: Ipv6Addr = ipv6.parse().expect("an address");
            let mac = MacAddr([0x0a, 0, 0, 0, 0, number]);
            let interface = writer.add_interface(InterfaceSpec {
                subnet,
                mac,
                source_dest_check: true,
            });
            for address in [IpAddr::V4(ipv4), IpAddr::V6(ipv6)] {
                writer.map(subnet, address.into(), Some(interface));
            }
            writer.set_primary(interface, Some(ipv4), Some(ipv6));
            let port = PortId::new(u32::from(number)).expect("not zero");
            writer.set_port(interface, Some(port));
            if rules != Rules::Outside {
                let policy = writer.add_policy(Arc::new(policy(rules)));
                writer.set_policy(interface, Some(policy));
                writer.set_allowance(interface, interface);
            }
            hosts.push(Host {
                rules,
                interface,
                port,
                mac,
                router,
                ipv4,
                ipv6,
                state: PortState::default(),
                contacted: HashSet::new(),
            });
        }
        let publics = (10..=12).map(|host| IpAddr::from([203, 0, 113, host]));
        let own = hosts.iter().flat_map(|host| [host.ipv4.into(), host.ipv6.into()]);
        let targets = own.chain(publics).collect();
        Self {
            fabric: writer.fabric(),
            hosts,
            targets,
            now: Duration::from_secs(1000),
            _writer: writer,
        }
    }

    /// Sends what an input says, step by step.
    pub(crate) fn play(&mut self, input: &[u8]) {
        for step in input.as_chunks::<STEP>().0 {
            self.step(step);
        }
    }

    fn step(&mut self, step: &[u8; STEP]) {
        let [
            who,
            kind,
            target,
            sport,
            dport,
            flags,
            hours,
            seconds,
            options,
            at,
            value,
            size,
        ] = *step;
        // Time goes in both directions, as far as a clock of seconds in the state can notice.
        let jump = Duration::from_secs(u64::from(hours) * 3600 / 4 + u64::from(seconds));
        self.now = if options & 1 == 0 {
            self.now.saturating_add(jump)
        } else {
            self.now.saturating_sub(jump)
        };
        let number = usize::from(who) % self.hosts.len();
        let target = self.targets[usize::from(target) % self.targets.len()];
        let mut frame = self.frame(number, target, kind, [sport, dport], flags, size);
        let intact = options & 2 == 0;
        if !intact && frame.len() > 14 {
            let at = 14 + usize::from(at) % (frame.len() - 14);
            frame[at] = value;
        }
        if options & 4 != 0 {
            frame.truncate(14 + usize::from(size));
        }
        // Within the subnet a frame may go to a host's MAC.
        if options & 8 != 0 {
            frame[..6].copy_from_slice(&self.hosts[usize::from(value) % self.hosts.len()].mac.0);
        }
        self.send(number, &frame, intact && options & 4 == 0);
    }

    /// A packet of some kind, with right checksums.
    fn frame(&self, from: usize, target: IpAddr, kind: u8, ports: [u8; 2], flags: u8, size: u8) -> Vec<u8> {
        let host = &self.hosts[from];
        let mut frame = [host.router.0, host.mac.0].concat();
        let source = match target {
            IpAddr::V4(_) => IpAddr::V4(host.ipv4),
            IpAddr::V6(_) => IpAddr::V6(host.ipv6),
        };
        let (protocol, upper) = upper(kind, ports, flags, size, (source, target));
        packet(&mut frame, (source, target), protocol, upper, kind);
        frame
    }

    fn send(&mut self, from: usize, frame: &[u8], intact: bool) {
        let view = self.fabric.view();
        let sender = &self.hosts[from];
        let ingress = view
            .ingress(sender.interface, sender.port)
            .expect("the network stays as it is");
        let memory = self.fabric.memory(&sender.state);
        let received = Received {
            bytes: frame,
            meta: FrameMeta::default(),
        };
        let (mut output, mut other, mut steps) = (Output::default(), Output::default(), Recorder::default());
        let mut verdict = decide(
            received,
            &ingress,
            &view,
            memory,
            self.now,
            &mut output,
            &mut Unobserved,
        );
        let traced = decide(received, &ingress, &view, memory, self.now, &mut other, &mut steps);
        assert_eq!(verdict, traced, "an observer changes the verdict");
        assert_eq!(output.effects, other.effects, "an observer changes what is written");
        let mut state = sender.state.clone();
        if let Some(effects) = &output.effects {
            let committed = effects.commit(&ingress, &mut state, &self.fabric, self.now);
            if committed.refused && !matches!(verdict, Verdict::Drop(_)) {
                verdict = Verdict::Drop(DropReason::ConntrackAllowance);
            }
        }
        let sender = &mut self.hosts[from];
        sender.state = state;
        if let Some((_, destination)) = addresses(frame) {
            sender.contacted.insert(destination);
        }
        let Verdict::Deliver {
            to: Destination::Port(to),
            rewrite: change,
        } = verdict
        else {
            return;
        };
        let mut arrived = frame.to_vec();
        rewrite::apply(&mut arrived, change, false);
        if intact {
            assert!(is_right(&arrived), "{change:?} of {frame:02x?} gives {arrived:02x?}");
        }
        let receiver = self
            .hosts
            .iter()
            .find(|host| host.port == to)
            .expect("a port that there is");
        let Some((source, destination)) = addresses(&arrived) else {
            panic!("no packet is delivered: {arrived:02x?}");
        };
        let own = [IpAddr::V4(receiver.ipv4), IpAddr::V6(receiver.ipv6)];
        assert!(own.contains(&destination), "{destination} is not the receiver's");
        if receiver.rules == Rules::Closed && !is_error(&arrived) {
            assert!(
                receiver.contacted.contains(&source),
                "{source} reached the closed host unasked: {arrived:02x?}"
            );
        }
    }
}

/// The upper layer of a packet: its protocol and octets, without its checksum.
fn upper(kind: u8, ports: [u8; 2], flags: u8, size: u8, addresses: (IpAddr, IpAddr)) -> (u8, Vec<u8>) {
    let ipv6 = addresses.0.is_ipv6();
    let mut octets = vec![0, ports[0], 0, ports[1]];
    let payload = usize::from(size) / 4;
    match kind % 7 {
        0 => {
            octets.resize(20, 0);
            (octets[12], octets[13]) = (0x50, flags);
            octets.resize(20 + payload, 7);
            (6, octets)
        }
        1 => {
            octets.extend([0, 8 + payload as u8, 0, 0]);
            octets.resize(8 + payload, 7);
            (17, octets)
        }
        // Echo, and its reply.
        2 | 3 => {
            let request = kind % 7 == 2;
            let (protocol, first) = match (ipv6, request) {
                (false, true) => (1, 8),
                (false, false) => (1, 0),
                (true, true) => (58, 128),
                (true, false) => (58, 129),
            };
            let mut octets = vec![first, 0, 0, 0, 0, ports[0], 0, 1];
            octets.resize(8 + payload, 7);
            (protocol, octets)
        }
        // An error about a packet that went the other way.
        4 => {
            let mut quoted = vec![0; 14];
            let inner = upper(flags % 4, [ports[1], ports[0]], 2, 0, (addresses.1, addresses.0));
            packet(&mut quoted, (addresses.1, addresses.0), inner.0, inner.1, 0);
            let mut octets = if ipv6 {
                vec![2, 0, 0, 0, 0, 0, 5, 0]
            } else {
                vec![3, 4, 0, 0, 0, 0, 5, 0]
            };
            octets.extend(&quoted[14..]);
            (if ipv6 { 58 } else { 1 }, octets)
        }
        5 => (112, octets),
        _ => (flags, octets),
    }
}

/// Where the checksum of an upper layer is.
fn checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        6 => Some(16),
        17 => Some(6),
        1 | 58 => Some(2),
        _ => None,
    }
}

fn pseudo(protocol: u8, addresses: (IpAddr, IpAddr), length: usize) -> Sum {
    match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) if protocol != 1 => Sum::new()
            .bytes(&source.octets())
            .bytes(&destination.octets())
            .word(protocol.into())
            .word(length as u16),
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::new().ipv6_pseudo_header(&source.octets(), &destination.octets(), protocol, length as u32)
        }
        _ => Sum::new(),
    }
}

/// Appends an IP packet. Kinds from 128 on are fragments of it.
fn packet(frame: &mut Vec<u8>, addresses: (IpAddr, IpAddr), protocol: u8, mut upper: Vec<u8>, kind: u8) {
    let length = upper.len();
    if let Some(at) = checksum_at(protocol).filter(|at| at + 2 <= length) {
        upper[at..at + 2].fill(0);
        let sum = pseudo(protocol, addresses, length).bytes(&upper).udp_complement();
        upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let at = frame.len();
    match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.truncate(at);
            if at == 12 {
                frame.extend([8, 0]);
            }
            let start = frame.len();
            let fragment: u16 = match kind {
                128..=191 => 0x2000,
                192..=255 => 3,
                _ => 0,
            };
            frame.extend([0x45, 0]);
            frame.extend((20 + length as u16).to_be_bytes());
            frame.extend([0x12, 0x34]);
            frame.extend(fragment.to_be_bytes());
            frame.extend([64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
            let sum = Sum::new().bytes(&frame[start..]).complement();
            frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            if at == 12 {
                frame.extend([0x86, 0xdd]);
            }
            frame.extend([0x60, 0, 0, 0]);
            frame.extend((length as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("a packet has one family"),
    }
    frame.extend(upper);
}

/// Source and destination of a frame's packet.
fn addresses(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match frame.get(12..14)? {
        [8, 0] => {
            let octets = |at: usize| Some(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?.into());
            Some((octets(26)?, octets(30)?))
        }
        [0x86, 0xdd] => {
            let octets = |at: usize| Some(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?.into());
            Some((octets(22)?, octets(38)?))
        }
        _ => None,
    }
}

/// The protocol, where the upper layer begins, and whether it begins in this packet.
fn layer(frame: &[u8]) -> (u8, usize, bool) {
    match frame[12..14] {
        [8, 0] => {
            let first = u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff == 0;
            (frame[23], 14 + usize::from(frame[14] & 0xf) * 4, first)
        }
        _ => (frame[20], 54, true),
    }
}

fn is_error(frame: &[u8]) -> bool {
    let (protocol, at, first) = layer(frame);
    let kind = frame.get(at).copied().unwrap_or_default();
    first && (protocol == 1 && matches!(kind, 3 | 4 | 5 | 11 | 12) || protocol == 58 && kind < 128)
}

/// Whether all checksums of an untouched packet are right.
fn is_right(frame: &[u8]) -> bool {
    let (protocol, at, first) = layer(frame);
    let header = frame[12..14] != [8, 0] || Sum::new().bytes(&frame[14..at]).complement() == 0;
    let Some(addresses) = addresses(frame) else {
        return false;
    };
    let upper = &frame[at..];
    // ICMPv6 in IPv4 is a protocol without a checksum that a gateway knows, and so is ICMP in IPv6.
    let is_known = (addresses.0.is_ipv4(), protocol) != (true, 58) && (addresses.0.is_ipv6(), protocol) != (true, 1);
    let has_checksum = first && is_known && checksum_at(protocol).is_some_and(|field| field + 2 <= upper.len());
    header && (!has_checksum || pseudo(protocol, addresses, upper.len()).bytes(upper).complement() == 0)
}
