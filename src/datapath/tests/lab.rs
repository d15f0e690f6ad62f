//! Builds the network of the cases in this folder, and the frames that its hosts send.
//!
//! One VPC, 10.0.0.0/16 and 2001:db8:1::/56, with three subnets: `sa` with hosts a, b and e (which is not attached),
//! `sb` with host c, `sd` with host d and no IPv6. A second VPC has the same addresses and one host, x.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::datapath::{
    Decision, Destination, DropReason, FabricWriter, FrameMeta, InterfaceSpec, Output, PortState, Received, Recorder,
    Service, SubnetIndex, SubnetSpec, Unobserved, Verdict, VpcSpec, decide,
};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::profile::Profile;
use crate::wire::MacAddr;
use crate::wire::reply::ReplyBuffer;

/// A host of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// In `sa`: 10.0.1.10, 2001:db8:1:1::a.
    A,
    /// In `sa`: 10.0.1.11, 10.0.1.12, 10.0.1.32/28, 2001:db8:1:1::b, 2001:db8:1:1:5::/80.
    B,
    /// In `sb`: 10.0.2.10, 2001:db8:1:2::c.
    C,
    /// In `sd`: 10.0.4.10.
    D,
    /// In `sa`, attached to no port: 10.0.1.14, 2001:db8:1:1::e.
    E,
    /// In the other VPC: 10.0.1.10, 2001:db8:1:1::a.
    X,
}

use Host::{A, B, C, D, E, X};

/// The MAC of the router of `sa`, of `sb`, of `sd`.
pub(super) const ROUTER_A: MacAddr = MacAddr([0x02, 0xd0, 0x0b, 0x1e, 0x7b, 0xbc]);
pub(super) const ROUTER_B: MacAddr = MacAddr([0x02, 0xd0, 0x0b, 0x1e, 0x7b, 0xbd]);
pub(super) const ROUTER_D: MacAddr = MacAddr([0x02, 0xd0, 0x0b, 0x1e, 0x7b, 0xbe]);
/// A MAC that no interface has.
pub(super) const NOBODY: MacAddr = MacAddr([0x0a, 0, 0, 0, 0, 0x99]);

impl Host {
    /// The MAC; those of a to d were seen on EC2.
    pub(super) fn mac(self) -> MacAddr {
        MacAddr(match self {
            A => [0x0a, 0xca, 0x05, 0x9c, 0xfc, 0x14],
            B => [0x02, 0x60, 0xcb, 0xcf, 0x19, 0x3e],
            C => [0x06, 0xda, 0xdf, 0xb6, 0xa7, 0xc6],
            D => [0x12, 0x27, 0x3c, 0xab, 0x0d, 0xcb],
            E => [0x0e, 0xc6, 0xcc, 0x30, 0x78, 0xdd],
            X => [0x0a, 0, 0, 0, 0, 0x58],
        })
    }

    /// The primary IPv4 address.
    pub(super) fn ipv4(self) -> Ipv4Addr {
        v4(match self {
            A | X => "10.0.1.10",
            B => "10.0.1.11",
            C => "10.0.2.10",
            D => "10.0.4.10",
            E => "10.0.1.14",
        })
    }

    /// The first IPv6 address.
    pub(super) fn ipv6(self) -> Option<Ipv6Addr> {
        Some(v6(match self {
            A | X => "2001:db8:1:1::a",
            B => "2001:db8:1:1::b",
            C => "2001:db8:1:2::c",
            D => return None,
            E => "2001:db8:1:1::e",
        }))
    }

    /// The port.
    pub(super) fn port(self) -> PortId {
        PortId::new(self as u32 + 1).expect("counted from 1")
    }
}

/// An IPv4 address from its text.
pub(super) fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

/// An IPv6 address from its text.
pub(super) fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

/// The octets written in hexadecimal digits; white space is for the eye.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    data_encoding::HEXLOWER.decode(&digits).expect("hexadecimal digits")
}

/// The network, and the state of its ports.
pub(super) struct Lab {
    pub(super) writer: FabricWriter,
    pub(super) interfaces: HashMap<Host, InterfaceIndex>,
    pub(super) sa: SubnetIndex,
    pub(super) sb: SubnetIndex,
    states: HashMap<Host, PortState>,
    /// The latest answer.
    pub(super) reply: ReplyBuffer,
    /// Each step of the last decision.
    pub(super) steps: Recorder,
    /// The time of the next frame.
    pub(super) now: Duration,
}

impl Lab {
    pub(super) fn new(profile: Profile) -> Self {
        let mut writer = FabricWriter::new();
        let profile = Arc::new(profile);
        let net = |text: &str| text.parse::<IpNet>().expect("a range");
        let cidrs = vec![net("10.0.0.0/16"), net("2001:db8:1::/56")];
        let mut vpc = || {
            writer.add_vpc(VpcSpec {
                profile: Arc::clone(&profile),
                cidrs: cidrs.clone(),
                dhcp_options: Arc::default(),
            })
        };
        let (vpc, other) = (vpc(), vpc());
        let mut subnet = |vpc, ipv4: &str, ipv6: Option<&str>, router_mac| {
            writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: Some(ipv4.parse().expect("a range")),
                ipv6: ipv6.map(|text| text.parse().expect("a range")),
                router_mac,
            })
        };
        let sa = subnet(vpc, "10.0.1.0/24", Some("2001:db8:1:1::/64"), ROUTER_A);
        let sb = subnet(vpc, "10.0.2.0/24", Some("2001:db8:1:2::/64"), ROUTER_B);
        let sd = subnet(vpc, "10.0.4.0/24", None, ROUTER_D);
        let sx = subnet(other, "10.0.1.0/24", Some("2001:db8:1:1::/64"), ROUTER_A);
        let mut lab = Self {
            writer,
            interfaces: HashMap::new(),
            sa,
            sb,
            states: HashMap::new(),
            reply: ReplyBuffer::new(),
            steps: Recorder::default(),
            now: Duration::from_secs(1),
        };
        for (host, subnet) in [(A, sa), (B, sa), (C, sb), (D, sd), (E, sa), (X, sx)] {
            lab.add(host, subnet);
        }
        for own in ["10.0.1.12/32", "10.0.1.32/28", "2001:db8:1:1:5::/80"] {
            lab.map(sa, own, Some(B));
        }
        lab
    }

    fn add(&mut self, host: Host, subnet: SubnetIndex) {
        let interface = self.writer.add_interface(InterfaceSpec {
            subnet,
            mac: host.mac(),
            source_dest_check: true,
        });
        self.interfaces.insert(host, interface);
        self.map(subnet, &format!("{}/32", host.ipv4()), Some(host));
        if let Some(address) = host.ipv6() {
            self.map(subnet, &format!("{address}/128"), Some(host));
        }
        self.writer.set_primary(interface, Some(host.ipv4()), host.ipv6());
        if host != E {
            self.writer.set_port(interface, Some(host.port()));
        }
    }

    /// Assigns an address or a prefix.
    pub(super) fn map(&mut self, subnet: SubnetIndex, net: &str, owner: Option<Host>) {
        let owner = owner.map(|host| self.interfaces[&host]);
        self.writer.map(subnet, net.parse().expect("a range"), owner);
    }

    /// Turns checks off.
    pub(super) fn unchecked(&mut self, hosts: &[Host]) {
        for host in hosts {
            self.writer.set_source_dest_check(self.interfaces[host], false);
        }
    }

    /// The verdict on a frame from a host.
    pub(super) fn send(&mut self, host: Host, bytes: &[u8], meta: FrameMeta) -> Verdict {
        let fabric = self.writer.fabric();
        let view = fabric.view_full();
        let ingress = view
            .ingress(self.interfaces[&host], host.port())
            .expect("the lab's interfaces stay");
        let state = self.states.entry(host).or_default();
        self.steps = Recorder::default();
        let memory = fabric.memory(state);
        let received = Received { bytes, meta };
        // A worker's decision, without an observer, is the same; neither writes anything.
        let mut unobserved = Output::default();
        let alone = decide(
            received,
            &ingress,
            &view,
            memory,
            self.now,
            &mut unobserved,
            &mut Unobserved,
        );
        let mut output = Output::default();
        let verdict = decide(
            received,
            &ingress,
            &view,
            memory,
            self.now,
            &mut output,
            &mut self.steps,
        );
        assert_eq!((alone, unobserved.effects), (verdict, output.effects));
        assert_eq!(unobserved.reply.frame(), output.reply.frame());
        if let Some(effects) = &output.effects {
            effects.commit(&ingress, state, &fabric, self.now);
        }
        self.reply = output.reply;
        verdict
    }

    /// The decision about a frame as a value, not executed. `None` where the host is not attached.
    pub(super) fn decision(&mut self, host: Host, bytes: &[u8], meta: FrameMeta) -> Option<Decision> {
        let fabric = self.writer.fabric();
        let view = fabric.view_full();
        let ingress = view.ingress(self.interfaces[&host], host.port())?;
        ingress.interface.port?;
        let memory = fabric.memory(self.states.entry(host).or_default());
        Some(Decision::about(
            Received { bytes, meta },
            &ingress,
            &view,
            memory,
            self.now,
        ))
    }

    /// The steps of the last decision, for a failure message.
    pub(super) fn told(&self) -> String {
        let lines = self
            .steps
            .steps
            .iter()
            .map(|(stage, fact)| format!("  {stage:?}: {fact}\n"));
        lines.collect()
    }
}

/// What a case expects.
#[derive(Debug, Clone)]
pub(super) enum Expect {
    /// The frame is dropped for this reason.
    Drop(DropReason),
    /// The host gets the frame unchanged.
    To(Host),
    /// The host gets the frame from this router's MAC, with or without the hop count decremented.
    Routed(Host, MacAddr, bool),
    /// The sender gets this frame.
    Reply(Vec<u8>),
    /// A service of the VPC gets it.
    LeftTo(Service),
    /// Every other port of the segment gets it, and the sender gets this frame, if any.
    Flood(Option<Vec<u8>>),
    /// The frame is dropped, and its destination's subnet gets this request.
    Ask(Vec<u8>),
}

/// A sentence about the network: this frame from this host gets this verdict.
pub(super) struct Case {
    says: &'static str,
    from: Host,
    frame: Vec<u8>,
    pub(super) expect: Expect,
    profile: Profile,
    meta: FrameMeta,
    given: fn(&mut Lab),
    times: u32,
}

/// A case in profile `aws` with every check on.
pub(super) fn case(says: &'static str, from: Host, frame: Vec<u8>, expect: Expect) -> Case {
    Case {
        says,
        from,
        frame,
        expect,
        profile: Profile::aws(),
        meta: FrameMeta::default(),
        given: |_| (),
        times: 1,
    }
}

impl Case {
    /// In another profile.
    pub(super) fn on(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// In profile `aws` with changes.
    pub(super) fn with(mut self, change: fn(&mut Profile)) -> Self {
        change(&mut self.profile);
        self
    }

    /// After a change of the network.
    pub(super) fn given(mut self, given: fn(&mut Lab)) -> Self {
        self.given = given;
        self
    }

    /// With the port's report about the frame.
    pub(super) fn meta(mut self, meta: FrameMeta) -> Self {
        self.meta = meta;
        self
    }

    /// The last of this many frames sent at one instant.
    pub(super) fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// The case's sentence.
    pub(super) fn says(&self) -> &'static str {
        self.says
    }

    /// The case's network and the decision about its frame.
    pub(super) fn decision(&self) -> Option<(Lab, Decision)> {
        let mut lab = Lab::new(self.profile.clone());
        (self.given)(&mut lab);
        for _ in 1..self.times {
            lab.send(self.from, &self.frame, self.meta);
        }
        let decision = self.decide_in(&mut lab)?;
        Some((lab, decision))
    }

    /// The decision about the case's frame in a network.
    pub(super) fn decide_in(&self, lab: &mut Lab) -> Option<Decision> {
        lab.decision(self.from, &self.frame, self.meta)
    }

    /// Sends the frame and compares.
    pub(super) fn run(&self) {
        let mut lab = Lab::new(self.profile.clone());
        (self.given)(&mut lab);
        let mut verdict = lab.send(self.from, &self.frame, self.meta);
        for _ in 1..self.times {
            verdict = lab.send(self.from, &self.frame, self.meta);
        }
        let context = || {
            let sent = data_encoding::HEXLOWER.encode(&self.frame);
            format!("{}\nfrom {:?}: {sent}\n{}", self.says, self.from, lab.told())
        };
        let deliver = |host: Host, rewrite| Verdict::Deliver {
            to: Destination::Port(host.port()),
            rewrite,
        };
        let (expected, answer) = match &self.expect {
            Expect::Drop(reason) => (Verdict::Drop(*reason), None),
            Expect::To(host) => (deliver(*host, crate::datapath::Rewrite::None), None),
            Expect::Routed(host, source, decrement_ttl) => {
                let rewrite = crate::datapath::Rewrite::Route {
                    destination: host.mac(),
                    source: *source,
                    decrement_ttl: *decrement_ttl,
                };
                (deliver(*host, rewrite), None)
            }
            Expect::LeftTo(service) => (Verdict::Punt(*service), None),
            Expect::Reply(bytes) => match verdict {
                Verdict::Reply(answered) => (Verdict::Reply(answered), Some(bytes)),
                _ => panic!("{}expected an answer, got {verdict:?}", context()),
            },
            Expect::Flood(bytes) => match (verdict, bytes) {
                (Verdict::Flood { reply: Some(_), .. }, Some(bytes)) => (verdict, Some(bytes)),
                _ => (
                    Verdict::Flood {
                        reply: None,
                        punt: None,
                    },
                    None,
                ),
            },
            Expect::Ask(bytes) => match verdict {
                Verdict::Ask { deliver: None, .. } => (verdict, Some(bytes)),
                _ => panic!("{}expected a question, got {verdict:?}", context()),
            },
        };
        assert_eq!(verdict, expected, "{}", context());
        if let Some(bytes) = answer {
            let encode = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            assert_eq!(encode(lab.reply.frame()), encode(bytes), "{}", context());
            super::second_opinion::agrees(lab.reply.frame());
        }
    }
}

/// Defines tests that are tables of cases, and `cases()`, which lists them for the test that every reason occurs.
macro_rules! tables {
    ($($(#[doc = $text:literal])* fn $name:ident() { $($cases:tt)* })*) => {
        $($(#[doc = $text])* #[test] fn $name() { vec![$($cases)*].iter().for_each(Case::run); })*

        /// Every case of this file.
        pub(super) fn cases() -> Vec<Case> {
            let mut all = Vec::new();
            $(all.extend(vec![$($cases)*]);)*
            all
        }
    };
}
pub(super) use tables;

/// The Internet checksum the slow way: big-endian words, carries folded in, complement (RFC 1071).
fn checksum(pieces: &[&[u8]]) -> [u8; 2] {
    let bytes = pieces.concat();
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An Ethernet frame.
pub(super) fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &ethertype.to_be_bytes(), payload].concat()
}

/// A broadcast ARP message: `operation` from `sender` about `target`.
pub(super) fn arp(operation: u8, mac: MacAddr, sender: &str, target: &str) -> Vec<u8> {
    arp_to(MacAddr::BROADCAST, operation, mac, sender, target)
}

/// An ARP message to one MAC.
pub(super) fn arp_to(to: MacAddr, operation: u8, mac: MacAddr, sender: &str, target: &str) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let message = [&head[..], &mac.0, &v4(sender).octets(), &[0; 6], &v4(target).octets()].concat();
    ethernet(to, mac, 0x0806, &message)
}

/// An ARP request of a host, from its own address.
pub(super) fn who_has(asker: Host, target: &str) -> Vec<u8> {
    arp(1, asker.mac(), &asker.ipv4().to_string(), target)
}

/// The MAC of a multicast group (RFC 2464 section 7), or `to` for a unicast address.
fn group_or(to: MacAddr, address: Ipv6Addr) -> MacAddr {
    if !address.is_multicast() {
        return to;
    }
    let [.., a, b, c, d] = address.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// An ICMPv6 message whose checksum is right, with hop limit 255; multicast goes to the group's MAC, the rest to `to`.
pub(super) fn icmpv6(from: MacAddr, to: MacAddr, source: &str, destination: &str, message: &[u8]) -> Vec<u8> {
    let (source, destination) = (v6(source), v6(destination));
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let length = [0, 0, (message.len() >> 8) as u8, message.len() as u8, 0, 0, 0, 58];
    let sum = checksum(&[&source.octets(), &destination.octets(), &length, &message]);
    message[2..4].copy_from_slice(&sum);
    ipv6(from, group_or(to, destination), source, destination, 58, 255, &message)
}

/// An IPv6 packet in a frame.
pub(super) fn ipv6(
    from: MacAddr,
    to: MacAddr,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next: u8,
    hops: u8,
    rest: &[u8],
) -> Vec<u8> {
    let head = [0x60, 0, 0, 0, (rest.len() >> 8) as u8, rest.len() as u8, next, hops];
    let packet = [&head[..], &source.octets(), &destination.octets(), rest].concat();
    ethernet(to, from, 0x86dd, &packet)
}

/// An IPv4 packet in a frame.
pub(super) fn ipv4(
    from: MacAddr,
    to: MacAddr,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    ttl: u8,
    rest: &[u8],
) -> Vec<u8> {
    let total = (20 + rest.len()) as u16;
    let mut head = [0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, ttl, protocol, 0, 0].to_vec();
    head[2..4].copy_from_slice(&total.to_be_bytes());
    head.extend(source.octets());
    head.extend(destination.octets());
    let sum = checksum(&[&head]);
    head[10..12].copy_from_slice(&sum);
    ethernet(to, from, 0x0800, &[&head[..], rest].concat())
}

/// A UDP datagram "hello" from and to port 9; its checksum is omitted over IPv4 and irrelevant over IPv6.
pub(super) fn udp(from: Host, to: MacAddr, source: &str, destination: &str) -> Vec<u8> {
    let datagram = [&[0, 9, 0, 9, 0, 13, 0, 0][..], b"hello"].concat();
    match (
        source.parse().expect("an address"),
        destination.parse().expect("an address"),
    ) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(from.mac(), to, source, destination, 17, 64, &datagram),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6(
            from.mac(),
            group_or(to, destination),
            source,
            destination,
            17,
            64,
            &datagram,
        ),
        _ => panic!("one family"),
    }
}

/// A Neighbor Solicitation to the solicited-node group of its target, or to `to` where it is given as (MAC, address).
pub(super) fn solicitation(asker: Host, source: &str, target: &str, to: Option<(MacAddr, &str)>) -> Vec<u8> {
    let option = [&[1, 1][..], &asker.mac().0].concat();
    let option = if source == "::" { &[][..] } else { &option };
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &v6(target).octets(), option].concat();
    let [.., a, b, c] = v6(target).octets();
    let group = format!("ff02::1:ff{a:02x}:{b:02x}{c:02x}");
    let (mac, destination) = to.unwrap_or((MacAddr::ZERO, &group));
    icmpv6(asker.mac(), mac, source, destination, &message)
}

/// A Router Solicitation to all routers.
pub(super) fn router_solicitation(asker: Host, source: &str) -> Vec<u8> {
    let option = [&[1, 1][..], &asker.mac().0].concat();
    let option = if source == "::" { &[][..] } else { &option };
    let message = [&[133, 0, 0, 0, 0, 0, 0, 0][..], option].concat();
    icmpv6(asker.mac(), MacAddr::ZERO, source, "ff02::2", &message)
}

/// An echo request over IPv6 with 8 octets of data.
pub(super) fn ping6(from: Host, to: MacAddr, source: &str, destination: &str) -> Vec<u8> {
    icmpv6(
        from.mac(),
        to,
        source,
        destination,
        &[128, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8],
    )
}

/// An echo request over IPv4 with 8 octets of data.
pub(super) fn ping4(from: Host, to: MacAddr, source: &str, destination: &str) -> Vec<u8> {
    let mut message = [8, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum);
    ipv4(from.mac(), to, v4(source), v4(destination), 1, 64, &message)
}

/// The same IPv4 packet with some octets of its header replaced and the checksum made anew.
pub(super) fn resummed(frame: Vec<u8>, patches: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = patched(frame, patches);
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&sum);
    frame
}

/// The same frame with some octets replaced.
pub(super) fn patched(mut frame: Vec<u8>, patches: &[(usize, u8)]) -> Vec<u8> {
    for (at, value) in patches {
        frame[*at] = *value;
    }
    frame
}
