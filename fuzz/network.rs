//! Builds a fixed network of every profile, and checks the promises about each verdict in it, whatever a host sends.
//!
//! The fuzz target and the test `noise` of the crate share this file.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use localvpc::datapath::policy::{Peer, Policy, Ports, RuleName, RuleSpec};
use localvpc::datapath::{
    Destination, Fabric, FabricWriter, FrameMeta, Ingress, InterfaceSpec, Output, PortState, Received, Recorder,
    Rewrite, Service, SubnetSpec, Unobserved, Verdict, View, VpcSpec, decide, responder,
};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::dhcp_options::DhcpOptions;
use localvpc::model::profile::{Delivery, Profile};
use localvpc::wire::MacAddr;
use localvpc::wire::checksum::Sum;
use localvpc::wire::reply::REPLY_CAPACITY;
use localvpc::wire::udp::{self, Endpoint};

/// Host 10 is a member of the default group; host 11 lets in some ports from everywhere, and out what is not UDP.
fn policy(host: u8) -> Policy {
    let rule = |protocol, first, last, peer| RuleSpec {
        name: RuleName::SecurityGroup { group: 1, rule: 1 },
        protocol,
        ports: Ports { first, last },
        peer,
    };
    let nets = |text: &str| Peer::Nets(vec![text.parse().expect("a range")]);
    let everything = || {
        ["0.0.0.0/0", "::/0"]
            .map(|net| rule(None, 0, u16::MAX, nets(net)))
            .to_vec()
    };
    match host {
        10 => Policy::compile([1], everything(), vec![rule(None, 0, u16::MAX, Peer::Group(1))]),
        _ => {
            let out = [1, 6, 58].map(|protocol| rule(Some(protocol), 0, u16::MAX, nets("0.0.0.0/0")));
            let mut ingress = vec![
                rule(Some(17), 0, 1000, nets("0.0.0.0/0")),
                rule(Some(6), 9, 9, Peer::Group(1)),
            ];
            ingress.push(rule(Some(58), 0x8000, 0x80ff, nets("2001:db8:1::/56")));
            Policy::compile([1, 2], out.to_vec(), ingress)
        }
    }
}

/// Octets before the frame in an input: port, flags, destination, segment size (2).
pub(crate) const HEADER: usize = 5;

/// The offload header says that the checksum is to be computed.
const CHECKSUM_PENDING: u8 = 1;
/// The frame gets the source MAC of its interface; otherwise it is dropped at once.
const OWN_MAC: u8 = 2;
/// The frame gets a valid destination MAC.
const KNOWN_MAC: u8 = 4;
/// The ICMPv6 checksum is corrected.
const CHECKSUM: u8 = 8;
/// The frame is sent many times at one instant.
const REPEATED: u8 = 16;

/// Octets before the message in an input for [`Network::ask`]: port, version of DHCP and destination.
pub(crate) const QUESTION_HEADER: usize = 2;

/// Three VPCs (aws, aws-xen, lan) of two subnets each, the second without IPv6, with three interfaces each.
pub(crate) struct Network {
    fabric: Arc<Fabric>,
    ports: Vec<(InterfaceIndex, PortId, MacAddr)>,
    /// Valid destinations: routers, hosts, groups.
    macs: Vec<MacAddr>,
    _writer: FabricWriter,
}

#[allow(dead_code)] // each target asks in its own way
impl Network {
    /// The network; always the same.
    pub(crate) fn new() -> Self {
        let mut writer = FabricWriter::new();
        let mut ports = Vec::new();
        let mut macs = vec![
            MacAddr::BROADCAST,
            MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            MacAddr([0x33, 0x33, 0xff, 0, 0, 0x0a]),
        ];
        for (number, name) in (0_u8..).zip(Profile::NAMES) {
            let mut profile = Profile::named(name).expect("built in");
            // One of them answers pings, so that this is covered too.
            profile.router.answers_echo |= name == "aws-xen";
            let vpc = writer.add_vpc(VpcSpec {
                profile: Arc::new(profile),
                cidrs: vec![
                    "10.0.0.0/16".parse().expect("a range"),
                    "2001:db8:1::/56".parse().expect("a range"),
                ],
                dhcp_options: Arc::new(DhcpOptions::for_region("eu-central-1")),
            });
            for part in 1..=2_u8 {
                let router_mac = MacAddr([0x02, 0xd0, 0x0b, number, part, 0xbc]);
                macs.push(router_mac);
                let subnet = writer.add_subnet(SubnetSpec {
                    vpc,
                    ipv4: Some(format!("10.0.{part}.0/24").parse().expect("a range")),
                    ipv6: (part == 1).then(|| "2001:db8:1:1::/64".parse().expect("a range")),
                    router_mac,
                });
                for host in 10..13_u8 {
                    let mac = MacAddr([0x0a, 0xca, 0x05, number, part, host]);
                    macs.push(mac);
                    let interface = writer.add_interface(InterfaceSpec {
                        subnet,
                        mac,
                        source_dest_check: host != 11,
                    });
                    let ipv4 = format!("10.0.{part}.{host}");
                    let ipv6 = format!("2001:db8:1:1::{host:x}");
                    let mut own = vec![format!("{ipv4}/32"), format!("10.0.{part}.{}/28", u32::from(host) * 16)];
                    if part == 1 {
                        own.extend([format!("{ipv6}/128"), format!("2001:db8:1:1:{host:x}::/80")]);
                    }
                    for net in own {
                        writer.map(subnet, net.parse().expect("a range"), Some(interface));
                    }
                    let ipv6 = (part == 1).then(|| ipv6.parse().expect("an address"));
                    writer.set_primary(interface, ipv4.parse().ok(), ipv6);
                    // The last host of each subnet is not attached and cannot send.
                    if host != 12 {
                        let port = PortId::new(ports.len() as u32 + 1).expect("counted from 1");
                        writer.set_port(interface, Some(port));
                        ports.push((interface, port, mac));
                    }
                    writer.set_mtu(interface, (host == 11).then_some(1500));
                    // The third host of each subnet is in no group.
                    if host != 12 {
                        let policy = writer.add_policy(Arc::new(policy(host)));
                        writer.set_policy(interface, Some(policy));
                    }
                }
            }
        }
        Self {
            fabric: writer.fabric(),
            ports,
            macs,
            _writer: writer,
        }
    }

    /// Sends a datagram with the input to one of the VPC's own servers, and fails on a broken promise.
    pub(crate) fn ask(&self, input: &[u8]) {
        let Some((&[port, version], message)) = input.split_first_chunk::<QUESTION_HEADER>() else {
            return;
        };
        let message = &message[..message.len().min(9000)];
        let (interface, port, mac) = self.ports[usize::from(port) % self.ports.len()];
        let view = self.fabric.view();
        let ingress = view.ingress(interface, port).expect("the network stays as it is");
        let mut bytes = Vec::new();
        let service = if version & 1 == 0 {
            let mut message = message.to_vec();
            // The hardware address must be the interface's own, or the request is dropped.
            if version & 2 == 0 && message.len() >= 34 {
                message[28..34].copy_from_slice(&mac.0);
            }
            let from = endpoint(mac, Ipv4Addr::UNSPECIFIED, 68);
            let to = endpoint(MacAddr::BROADCAST, Ipv4Addr::BROADCAST, 67);
            udp::write_ipv4(&mut bytes, from, to, &message).expect("9000 octets fit");
            Service::Dhcpv4
        } else {
            let from = endpoint(mac, mac.link_local(), 546);
            let (group, router) = (MacAddr([0x33, 0x33, 0, 1, 0, 2]), ingress.subnet.router_mac);
            let to = match version & 2 {
                0 => endpoint(group, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), 547),
                _ => endpoint(router, router.link_local(), 547),
            };
            udp::write_ipv6(&mut bytes, from, to, message).expect("9000 octets fit");
            Service::Dhcpv6
        };
        let meta = FrameMeta::default();
        serve(service, Received { bytes: &bytes, meta }, &ingress, &view);
    }

    /// Sends the input's frame and fails on a broken promise.
    pub(crate) fn judge(&self, input: &[u8]) {
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
            return;
        };
        let [port, flags, destination, high, low] = *header;
        let (interface, port, mac) = self.ports[usize::from(port) % self.ports.len()];
        let mut bytes = rest.to_vec();
        if flags & OWN_MAC != 0 && bytes.len() >= 12 {
            bytes[6..12].copy_from_slice(&mac.0);
        }
        if flags & KNOWN_MAC != 0 && bytes.len() >= 6 {
            bytes[..6].copy_from_slice(&self.macs[usize::from(destination) % self.macs.len()].0);
        }
        if flags & CHECKSUM != 0 {
            set_checksum(&mut bytes);
        }
        let meta = FrameMeta {
            checksum_pending: flags & CHECKSUM_PENDING != 0,
            segment_size: u16::from_be_bytes([high, low]),
        };
        let view = self.fabric.view();
        let ingress = view.ingress(interface, port).expect("the network stays as it is");
        let mut state = PortState::default();
        let (mut output, mut other) = (Output::default(), Output::default());
        let frame = Received { bytes: &bytes, meta };
        for round in 0..if flags & REPEATED != 0 { 20 } else { 1 } {
            // Inputs choose the time, which may go back: what is tracked is tracked over inputs.
            let now = Duration::from_secs(u64::from(flags >> 5) * 40) + Duration::from_millis(1000 + round);
            let memory = self.fabric.memory(&state);
            let verdict = decide(frame, &ingress, &view, memory, now, &mut output, &mut Unobserved);
            let mut steps = Recorder::default();
            let traced = decide(frame, &ingress, &view, memory, now, &mut other, &mut steps);
            assert_eq!(verdict, traced, "the trace tells another story");
            assert_eq!(output.effects, other.effects, "an observer changes what is written");
            if let Some(effects) = &output.effects {
                effects.commit(&ingress, &mut state, &self.fabric, now);
            }
            steps
                .steps
                .iter()
                .for_each(|(_, fact)| assert!(!fact.to_string().is_empty()));
            let learning = ingress.subnet.profile().delivery == Delivery::Learning;
            let answered = match verdict {
                Verdict::Deliver {
                    to: Destination::Port(to),
                    rewrite,
                } => {
                    assert!(
                        self.ports.iter().any(|(_, known, _)| *known == to),
                        "a port that there is not"
                    );
                    assert!(to != port || rewrite != Rewrite::None, "back to where it came from");
                    false
                }
                Verdict::Reply(_) => true,
                Verdict::Flood { reply, punt } => {
                    assert!(learning, "a flood where nothing is flooded");
                    if let Some(service) = punt {
                        serve(service, frame, &ingress, &view);
                    }
                    reply.is_some()
                }
                Verdict::Consumed | Verdict::Ask { .. } => {
                    assert!(learning, "a router that asks where nobody hears it");
                    false
                }
                Verdict::Punt(service) => {
                    serve(service, frame, &ingress, &view);
                    false
                }
                Verdict::Drop(_) => false,
            };
            if answered {
                let frame = output.reply.frame();
                assert_eq!(frame, other.reply.frame());
                assert!((42..=REPLY_CAPACITY).contains(&frame.len()));
                let to = if learning { &bytes[6..12] } else { &mac.0[..] };
                assert_eq!(frame[..6], *to, "an answer to somebody who did not ask");
            }
        }
    }
}

fn endpoint<A>(mac: MacAddr, address: A, port: u16) -> Endpoint<A> {
    Endpoint { mac, address, port }
}

/// Runs one of the VPC's own servers: it must be deterministic, and answer only the client.
fn serve(service: Service, frame: Received<'_>, ingress: &Ingress<'_>, view: &View) {
    let (mut said, mut again) = (Vec::new(), vec![0xa5; 3]);
    let answered = responder::answer(service, frame, ingress, view, &mut said);
    assert_eq!(answered, responder::answer(service, frame, ingress, view, &mut again));
    if answered.is_ok() {
        assert_eq!(said, again);
        assert!((42..=1514).contains(&said.len()));
        let to = &said[..6];
        assert!(
            to == ingress.interface.mac.0 || to == [0xff; 6],
            "an answer to somebody who did not ask"
        );
    }
}

/// Sets the checksum of an ICMPv6 message directly behind an IPv6 header.
fn set_checksum(bytes: &mut [u8]) {
    let Some((header, message)) = bytes.split_at_mut_checked(54) else {
        return;
    };
    if header[12..14] != [0x86, 0xdd] || header[20] != 58 || message.len() < 4 {
        return;
    }
    // The sum covers the packet's length; the rest is padding.
    let length = usize::from(u16::from_be_bytes([header[18], header[19]])).min(message.len());
    let message = &mut message[..length];
    if length < 4 {
        return;
    }
    message[2..4].fill(0);
    let sum = Sum::new()
        .ipv6_pseudo_header(&header[22..38], &header[38..54], 58, length as u32)
        .bytes(message)
        .complement();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}
