//! Random conversations between a host with security groups and one without, and the decision about each of their packets.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use localvpc::datapath::policy::{Peer, Policy, Ports, RuleName, RuleSpec};
use localvpc::datapath::{
    Fabric, FabricWriter, FrameMeta, InterfaceSpec, Output, PolicyIndex, PortState, Received, SubnetSpec, Unobserved,
    Verdict, VpcSpec, decide,
};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::dhcp_options::DhcpOptions;
use localvpc::model::profile::Profile;
use localvpc::wire::MacAddr;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

pub(crate) const INSIDE: [u8; 4] = [10, 1, 0, 2];
pub(crate) const OUTSIDE: [u8; 4] = [10, 2, 0, 2];
pub(crate) const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;
pub(crate) const FIN: u8 = 1;
pub(crate) const RST: u8 = 4;

/// What a rule lets through, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    Tcp(u16),
    Udp(u16),
    Icmp,
    Vrrp,
}

pub(crate) const ALLOWED: [Allowed; 4] = [Allowed::Tcp(80), Allowed::Udp(53), Allowed::Icmp, Allowed::Vrrp];

/// Rules of one direction each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) out: Vec<Allowed>,
    pub(crate) into: Vec<Allowed>,
}

impl Rules {
    pub(crate) fn random(random: &mut ChaCha8Rng) -> Self {
        let mut some = || ALLOWED.into_iter().filter(|_| random.random_range(0..3) > 0).collect();
        Self {
            out: some(),
            into: some(),
        }
    }

    pub(crate) fn nft(&self) -> String {
        let mut text = "flush chain inet f c\nadd rule inet f c ct state established,related accept\n".to_owned();
        for (device, allowed) in [("in", &self.out), ("out", &self.into)] {
            for allowed in allowed {
                let what = match allowed {
                    Allowed::Tcp(port) => format!("tcp dport {port}"),
                    Allowed::Udp(port) => format!("udp dport {port}"),
                    Allowed::Icmp => "ip protocol icmp".to_owned(),
                    Allowed::Vrrp => "ip protocol 112".to_owned(),
                };
                text.push_str(&format!("add rule inet f c iifname \"{device}\" {what} accept\n"));
            }
        }
        text
    }

    pub(crate) fn policy(&self) -> Policy {
        let specs = |allowed: &[Allowed]| {
            let rule = |allowed: &Allowed| {
                let (protocol, first, last) = match *allowed {
                    Allowed::Tcp(port) => (6, port, port),
                    Allowed::Udp(port) => (17, port, port),
                    Allowed::Icmp => (1, 0, u16::MAX),
                    Allowed::Vrrp => (112, 0, u16::MAX),
                };
                RuleSpec {
                    name: RuleName::SecurityGroup { group: 1, rule: 1 },
                    protocol: Some(protocol),
                    ports: Ports { first, last },
                    // Not all addresses: Linux tracks everything, and so do groups with such rules.
                    peer: Peer::Nets(vec!["10.0.0.0/8".parse().unwrap()]),
                }
            };
            allowed.iter().map(rule).collect()
        };
        Policy::compile([1], specs(&self.out), specs(&self.into))
    }
}

/// One packet: outbound or not, protocol, ports (or the identifier and whether it is the request), TCP flags.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) out: bool,
    pub(crate) protocol: u8,
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) flags: u8,
}

impl Sent {
    pub(crate) fn frame(&self, destination: [u8; 6], number: u16) -> Vec<u8> {
        use etherparse::{IcmpEchoHeader, Icmpv4Type, IpNumber, PacketBuilder};
        let (from, to) = if self.out { (INSIDE, OUTSIDE) } else { (OUTSIDE, INSIDE) };
        let packet = PacketBuilder::ethernet2(HOST_MAC, destination).ipv4(from, to, 64);
        let mut frame = Vec::new();
        let payload = [7; 4];
        match self.protocol {
            6 => {
                let mut tcp = packet.tcp(self.source, self.destination, 1000, 1000);
                for (flag, set) in [(SYN, 0), (ACK, 1), (FIN, 2), (RST, 3)] {
                    if self.flags & flag != 0 {
                        tcp = match set {
                            0 => tcp.syn(),
                            1 => tcp.ack(1000),
                            2 => tcp.fin(),
                            _ => tcp.rst(),
                        };
                    }
                }
                tcp.write(&mut frame, &[]).unwrap();
            }
            17 => packet
                .udp(self.source, self.destination)
                .write(&mut frame, &payload)
                .unwrap(),
            1 => {
                let echo = IcmpEchoHeader {
                    id: self.source,
                    seq: 1,
                };
                let kind = if self.flags == 0 {
                    Icmpv4Type::EchoRequest(echo)
                } else {
                    Icmpv4Type::EchoReply(echo)
                };
                packet.icmpv4(kind).write(&mut frame, &payload).unwrap();
            }
            other => packet.write(&mut frame, IpNumber(other), &payload).unwrap(),
        }
        // The identification tells packets apart; the header's checksum follows.
        frame[18..20].copy_from_slice(&number.to_be_bytes());
        frame[24..26].fill(0);
        let sum = localvpc::wire::checksum::Sum::new().bytes(&frame[14..34]).complement();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// A conversation that is on its way.
pub(crate) struct Conversation {
    pub(crate) left: VecDeque<Sent>,
    /// Whether packets of it were let out, and in.
    pub(crate) went: bool,
    pub(crate) came: bool,
}

pub(crate) fn conversation(random: &mut ChaCha8Rng, own: u16) -> Conversation {
    let out = random.random::<bool>();
    let packet = |forth: bool, protocol, (client, server), flags| Sent {
        out: out == forth,
        protocol,
        source: if forth { client } else { server },
        destination: if forth { server } else { client },
        flags,
    };
    let kind = random.random_range(0..5);
    let mut all: Vec<Sent> = match kind {
        0 | 1 => {
            let ports = (own, if random.random_range(0..4) > 0 { 80 } else { 81 });
            let whole = [
                (true, SYN),
                (false, SYN | ACK),
                (true, ACK),
                (false, ACK),
                (true, FIN | ACK),
                (false, FIN | ACK),
                (true, ACK),
            ];
            let reset = [(true, SYN), (false, SYN | ACK), (true, ACK), (false, RST | ACK)];
            let chosen = if random.random_range(0..4) > 0 {
                &whole[..]
            } else {
                &reset[..]
            };
            // From its beginning, or met in its middle.
            let from = if kind == 0 { 0 } else { 2 };
            chosen[from..]
                .iter()
                .map(|(forth, flags)| packet(*forth, 6, ports, *flags))
                .collect()
        }
        2 => {
            let ports = (own, if random.random() { 53 } else { 54 });
            [true, false, true, true, false]
                .map(|forth| packet(forth, 17, ports, 0))
                .to_vec()
        }
        3 => (0..6)
            .map(|number| packet(number % 2 == 0, 1, (own, own), number % 2))
            .collect(),
        _ => vec![packet(true, 112, (0, 0), 0), packet(false, 112, (0, 0), 0)],
    };
    all.truncate(random.random_range(1..=all.len()));
    Conversation {
        left: all.into(),
        went: false,
        came: false,
    }
}

/// The interface of the inside host with its groups; that of the outside one has none.
pub(crate) struct Vpc {
    writer: FabricWriter,
    policy: PolicyIndex,
    /// Each decides what one host sends: the inside one, the outside one.
    pub(crate) workers: [Worker; 2],
}

/// Decides about the packets of one host.
pub(crate) struct Worker {
    fabric: Arc<Fabric>,
    interface: InterfaceIndex,
    port: PortId,
    mac: [u8; 6],
    router: [u8; 6],
    state: PortState,
}

impl Vpc {
    pub(crate) fn new() -> Self {
        let mut writer = FabricWriter::new();
        let vpc = writer.add_vpc(VpcSpec {
            profile: Arc::new(Profile::aws()),
            cidrs: vec!["10.0.0.0/8".parse().unwrap()],
            dhcp_options: Arc::new(DhcpOptions::for_region("us-east-1")),
        });
        let workers = [1_u8, 2].map(|net| {
            let (mac, router) = ([2, 0, 0, 0, net, 2], [2, 0, 0, 0, net, 1]);
            let subnet = writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: Some(format!("10.{net}.0.0/24").parse().unwrap()),
                ipv6: None,
                router_mac: MacAddr(router),
            });
            let interface = writer.add_interface(InterfaceSpec {
                subnet,
                mac: MacAddr(mac),
                source_dest_check: true,
            });
            writer.map(subnet, format!("10.{net}.0.2/32").parse().unwrap(), Some(interface));
            let port = PortId::new(net.into()).unwrap();
            writer.set_port(interface, Some(port));
            Worker {
                fabric: writer.fabric(),
                interface,
                port,
                mac,
                router,
                state: PortState::default(),
            }
        });
        let policy = writer.add_policy(Arc::new(Rules::default().policy()));
        let inside = workers[0].interface;
        writer.set_policy(inside, Some(policy));
        writer.set_allowance(inside, inside);
        Self {
            writer,
            policy,
            workers,
        }
    }

    pub(crate) fn set(&mut self, rules: &Rules) {
        self.writer.change_policies([(self.policy, Arc::new(rules.policy()))]);
    }

    pub(crate) fn passes(&mut self, packet: &Sent, number: u16, now: Duration) -> bool {
        self.workers[usize::from(!packet.out)].passes(packet, number, now)
    }
}

impl Worker {
    /// Whether a packet of its host is delivered; what is remembered of it is written.
    pub(crate) fn passes(&mut self, packet: &Sent, number: u16, now: Duration) -> bool {
        let mut frame = packet.frame(self.router, number);
        frame[6..12].copy_from_slice(&self.mac);
        let view = self.fabric.view();
        let ingress = view.ingress(self.interface, self.port).unwrap();
        let mut output = Output::default();
        let received = Received {
            bytes: &frame,
            meta: FrameMeta::default(),
        };
        let memory = self.fabric.memory(&self.state);
        let verdict = decide(received, &ingress, &view, memory, now, &mut output, &mut Unobserved);
        if let Some(effects) = &output.effects {
            effects.commit(&ingress, &mut self.state, &self.fabric, now);
        }
        matches!(verdict, Verdict::Deliver { .. })
    }
}
