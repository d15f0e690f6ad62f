//! Compares random groups, ACLs and sequences of packets with a naive evaluator, which keeps every packet of a connection.

use std::collections::HashMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::firewall::{next_hop, rules};
use super::lab::{Host, Host::*, Lab, ipv4};
use crate::datapath::policy::{Peer, Ports, RuleSpec};
use crate::datapath::{Destination, DropReason, FrameMeta, Verdict};
use crate::model::profile::Profile;

const HOSTS: [Host; 3] = [A, B, C];
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Rules to choose from; the ports of packets are 10 to 12.
const POOL: [&str; 14] = [
    "all 0.0.0.0/0",
    "all group 1",
    "all group 2",
    "tcp 0.0.0.0/0",
    "tcp 10 0.0.0.0/0",
    "tcp 11-12 10.0.1.0/24",
    "tcp 10 group 1",
    "udp 0.0.0.0/0",
    "udp 11 0.0.0.0/0",
    "udp 10-11 10.0.1.10/32",
    "udp 12 group 2",
    "112 10.0.0.0/16",
    "112 group 1",
    "all 10.0.2.0/24",
];

const ENTRIES: [&str; 5] = [
    "allow all 0.0.0.0/0",
    "deny udp 11 0.0.0.0/0",
    "allow tcp 10.0.0.0/16",
    "deny tcp 12 10.0.2.0/24",
    "allow 112 0.0.0.0/0",
];

#[derive(Debug, Clone)]
enum Step {
    Groups {
        host: Host,
        groups: Vec<u64>,
        egress: Vec<&'static str>,
        ingress: Vec<&'static str>,
    },
    Acl {
        left: bool,
        egress: Vec<&'static str>,
        ingress: Vec<&'static str>,
    },
    Send(Packet),
    Wait(u64),
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    from: Host,
    to: Host,
    protocol: u8,
    source: u16,
    destination: u16,
    flags: u8,
}

/// The end of a connection at one interface: the host, the protocol, its port, the other host and its port.
type End = (Host, u8, u16, Host, u16);

struct Connection {
    /// Whether each packet went out, and its flags.
    packets: Vec<(bool, u8)>,
    until: u64,
}

#[derive(Default)]
struct Rules {
    groups: Vec<u64>,
    egress: Vec<RuleSpec>,
    ingress: Vec<RuleSpec>,
}

/// The evaluator.
struct Model {
    rules: HashMap<Host, Rules>,
    /// Outbound and inbound entries of `sa` (true) and `sb`.
    acls: HashMap<bool, [Vec<&'static str>; 2]>,
    connections: HashMap<End, Connection>,
    now: u64,
}

impl Connection {
    fn life(&self, protocol: u8) -> u64 {
        let saw = |flag: u8| self.packets.iter().any(|(_, flags)| flags & flag != 0);
        let both = [true, false]
            .iter()
            .all(|way| self.packets.iter().any(|(out, _)| out == way));
        let turns = self.packets.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
        match protocol {
            TCP if saw(RST) => 10,
            TCP if saw(FIN) => 120,
            TCP if both => 432_000,
            TCP => 120,
            UDP if turns >= 3 => 180,
            UDP => 30,
            _ => 600,
        }
    }

    fn has_ended(&self) -> bool {
        let fin = |way: bool| self.packets.iter().any(|(out, flags)| *out == way && flags & FIN != 0);
        self.packets.iter().any(|(_, flags)| flags & RST != 0) || fin(true) && fin(false)
    }
}

/// Whether a rule is about a packet to this port from or to this other end.
fn matches(rule: &RuleSpec, protocol: u8, port: u16, remote: Host, groups: &[u64]) -> bool {
    let peer = match &rule.peer {
        Peer::Nets(nets) => nets.iter().any(|net| net.contains(&IpAddr::V4(remote.ipv4()))),
        Peer::Group(group) => groups.contains(group),
    };
    let ports = !matches!(rule.protocol, Some(TCP | UDP)) || (rule.ports.first..=rule.ports.last).contains(&port);
    peer && ports && rule.protocol.is_none_or(|own| own == protocol)
}

fn is_everywhere(rule: &RuleSpec) -> bool {
    matches!(&rule.peer, Peer::Nets(nets) if nets[0].prefix_len() == 0)
}

impl Model {
    fn judge(&mut self, packet: Packet) -> Result<(), DropReason> {
        self.groups(packet, true)?;
        let subnet = |host| host != C;
        if subnet(packet.from) != subnet(packet.to) {
            self.acl(packet, subnet(packet.from), true)?;
            self.acl(packet, subnet(packet.to), false)?;
        }
        self.groups(packet, false)
    }

    fn acl(&self, packet: Packet, left: bool, out: bool) -> Result<(), DropReason> {
        let Some(acl) = self.acls.get(&left) else { return Ok(()) };
        let remote = if out { packet.to } else { packet.from };
        let denied = if out {
            DropReason::NetworkAclEgress
        } else {
            DropReason::NetworkAclIngress
        };
        for entry in &acl[usize::from(!out)] {
            let (verb, rule) = entry.split_once(' ').expect("allow or deny");
            if matches(&rules(&[rule])[0], packet.protocol, packet.destination, remote, &[]) {
                return if verb == "allow" { Ok(()) } else { Err(denied) };
            }
        }
        Err(denied)
    }

    fn groups(&mut self, packet: Packet, out: bool) -> Result<(), DropReason> {
        let Packet { protocol, flags, .. } = packet;
        let (own, remote) = if out {
            (packet.from, packet.to)
        } else {
            (packet.to, packet.from)
        };
        let Some(own_rules) = self.rules.get(&own) else {
            return Ok(());
        };
        let ports = if out {
            (packet.source, packet.destination)
        } else {
            (packet.destination, packet.source)
        };
        let end: End = (own, protocol, ports.0, remote, ports.1);
        let syn = protocol == TCP && flags & (SYN | ACK) == SYN;
        if let Some(known) = self.connections.get_mut(&end)
            && known.until >= self.now
            && !(syn && known.has_ended())
        {
            known.packets.push((out, flags));
            known.until = self.now + known.life(protocol);
            return Ok(());
        }
        let (these, back) = if out {
            (&own_rules.egress, &own_rules.ingress)
        } else {
            (&own_rules.ingress, &own_rules.egress)
        };
        let groups = self.rules.get(&remote).map_or(&[][..], |rules| &rules.groups);
        let about = |rule: &&RuleSpec| matches(rule, protocol, packet.destination, remote, groups);
        let allowing: Vec<&RuleSpec> = these.iter().filter(about).collect();
        if allowing.is_empty() {
            return Err(if out {
                DropReason::SecurityGroupEgress
            } else {
                DropReason::SecurityGroupIngress
            });
        }
        let open = |rules: &[RuleSpec]| {
            let of_protocol = |rule: &RuleSpec| match rule.protocol {
                None => true,
                Some(own) => own == protocol && rule.ports == Ports::ALL,
            };
            rules.iter().any(|rule| is_everywhere(rule) && of_protocol(rule))
        };
        let answers = back
            .iter()
            .any(|rule| is_everywhere(rule) && matches(rule, protocol, packet.source, remote, &[]));
        let untracked = matches!(protocol, TCP | UDP)
            && allowing.iter().any(|rule| is_everywhere(rule))
            && (open(back) || open(these) && answers);
        if !untracked && (protocol != TCP || flags & RST == 0) {
            let mut begun = Connection {
                packets: vec![(out, flags)],
                until: 0,
            };
            begun.until = self.now + begun.life(protocol);
            self.connections.insert(end, begun);
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let some = |most| subsequence(POOL.to_vec(), 0..=most);
    let groups = (
        select(HOSTS.to_vec()),
        subsequence(vec![1_u64, 2, 3], 1..=2),
        some(4),
        some(4),
    );
    let groups = groups.prop_map(|(host, groups, egress, ingress)| Step::Groups {
        host,
        groups,
        egress,
        ingress,
    });
    let entries = || subsequence(ENTRIES.to_vec(), 0..=4).prop_shuffle();
    let acl =
        (any::<bool>(), entries(), entries()).prop_map(|(left, egress, ingress)| Step::Acl { left, egress, ingress });
    let pairs = vec![(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)];
    let flags = select(vec![SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST]);
    let packet = (
        select(pairs),
        select(vec![TCP, UDP, 112]),
        10_u16..13,
        10_u16..13,
        flags,
    );
    let packet = packet.prop_map(|((from, to), protocol, source, destination, flags)| {
        let ported = protocol != 112;
        Step::Send(Packet {
            from,
            to,
            protocol,
            source: if ported { source } else { 0 },
            destination: if ported { destination } else { 0 },
            flags: if protocol == TCP { flags } else { 0 },
        })
    });
    let wait = select(vec![0_u64, 1, 9, 11, 29, 31, 119, 121, 179, 181, 599, 601]).prop_map(Step::Wait);
    prop_oneof![2 => groups, 1 => acl, 12 => packet, 2 => wait]
}

fn frame(packet: Packet) -> Vec<u8> {
    let mut upper = [packet.source.to_be_bytes(), packet.destination.to_be_bytes()].concat();
    match packet.protocol {
        TCP => upper.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, packet.flags, 0xff, 0xff, 0, 0, 0, 0]),
        _ => upper.extend([0, 8, 0, 0]),
    }
    let Packet { from, to, protocol, .. } = packet;
    ipv4(
        from.mac(),
        next_hop(from, to),
        from.ipv4(),
        to.ipv4(),
        protocol,
        64,
        &upper,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_firewall_and_a_naive_evaluator_agree(steps in proptest::collection::vec(steps(), 1..120)) {
        let mut lab = Lab::new(Profile::aws());
        let mut model = Model {
            rules: HashMap::new(),
            acls: HashMap::new(),
            connections: HashMap::new(),
            now: lab.now.as_secs(),
        };
        for step in steps {
            match step {
                Step::Groups { host, groups, egress, ingress } => {
                    lab.groups(host, &groups, &egress, &ingress);
                    let (egress, ingress) = (rules(&egress), rules(&ingress));
                    model.rules.insert(host, Rules { groups, egress, ingress });
                }
                Step::Acl { left, egress, ingress } => {
                    let subnet = if left { lab.sa } else { lab.sb };
                    lab.acl(subnet, &egress, &ingress);
                    model.acls.insert(left, [egress, ingress]);
                }
                Step::Wait(seconds) => {
                    lab.wait(seconds);
                    model.now += seconds;
                }
                Step::Send(packet) => {
                    let expected = model.judge(packet);
                    let found = match lab.send(packet.from, &frame(packet), FrameMeta::default()) {
                        Verdict::Deliver { to: Destination::Port(port), .. } => {
                            prop_assert_eq!(port, packet.to.port());
                            Ok(())
                        }
                        Verdict::Drop(reason) => Err(reason),
                        other => return Err(TestCaseError::fail(format!("{other:?}"))),
                    };
                    prop_assert_eq!(found, expected, "{:?}\n{}", packet, lab.told());
                }
            }
        }
    }
}
