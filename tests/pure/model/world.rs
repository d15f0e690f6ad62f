//! Generates a random network, in the fabric and as lists for the law, and random frames of its hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use localvpc::datapath::{FabricWriter, InterfaceSpec, SubnetIndex, SubnetSpec, VpcIndex, VpcSpec};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::profile::Profile;
use localvpc::wire::MacAddr;
use proptest::prelude::*;
use proptest::sample::Index;

/// A host behind an interface; a deleted one stays in the list without neighbors in its subnet.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) index: InterfaceIndex,
    pub(crate) port: PortId,
    pub(crate) mac: MacAddr,
    pub(crate) vpc: usize,
    /// Index in the world's list; `usize::MAX` once deleted.
    pub(crate) subnet: usize,
    pub(crate) checked: bool,
    pub(crate) attached: bool,
    /// Addresses and delegated prefixes in order of assignment; the first IPv4 address is permanent.
    pub(crate) nets: Vec<IpNet>,
}

/// A subnet.
#[derive(Debug, Clone)]
pub(crate) struct Subnet {
    index: SubnetIndex,
    vpc: usize,
    pub(crate) ipv4: Option<Ipv4Net>,
    pub(crate) ipv6: Option<Ipv6Net>,
    pub(crate) router_mac: MacAddr,
}

/// The network.
pub(crate) struct World {
    pub(crate) writer: FabricWriter,
    pub(crate) hosts: Vec<Host>,
    pub(crate) subnets: Vec<Subnet>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("subnets", &self.subnets)
            .field("hosts", &self.hosts)
            .finish()
    }
}

impl Host {
    /// Whether the address is in a list of addresses and prefixes.
    pub(crate) fn assigned(&self, address: IpAddr) -> bool {
        self.subnet != usize::MAX && self.nets.iter().any(|net| net.contains(&address))
    }

    /// "Its IPv4s, IPv6s, delegated prefixes, its own link-local."
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        self.assigned(address) || address == IpAddr::V6(self.link_local())
    }

    pub(crate) fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }

    pub(crate) fn first_ipv6(&self) -> Option<Ipv6Addr> {
        self.nets.iter().find_map(|net| match net {
            IpNet::V6(net) if net.prefix_len() == 128 => Some(net.addr()),
            _ => None,
        })
    }

    fn first_ipv4(&self) -> Option<Ipv4Addr> {
        self.nets.iter().find_map(|net| match net {
            IpNet::V4(net) if net.prefix_len() == 32 => Some(net.addr()),
            _ => None,
        })
    }
}

impl Subnet {
    /// `.1`, `.2`; `::1`, `fe80:ec2::1` and the EUI-64 link-local.
    pub(crate) fn is_router(&self, address: IpAddr) -> bool {
        let v6 = self.ipv6.is_some();
        match address {
            IpAddr::V4(a) => self
                .ipv4
                .is_some_and(|n| [1, 2].contains(&a.to_bits().wrapping_sub(n.network().to_bits()))),
            IpAddr::V6(a) if a == "fe80:ec2::1".parse::<Ipv6Addr>().expect("an address") => v6,
            IpAddr::V6(a) => {
                v6 && (a == self.link_local() || self.ipv6.is_some_and(|n| a.to_bits() == n.network().to_bits() + 1))
            }
        }
    }

    fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.router_mac.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }

    /// One of the few addresses and prefixes that are used.
    fn net(&self, which: u8) -> Option<IpNet> {
        let (v4, v6) = (self.ipv4, self.ipv6);
        let text = match which % 20 {
            n @ 0..8 => format!("{}/32", Ipv4Addr::from_bits(v4?.network().to_bits() + 4 + u32::from(n))),
            n @ 8..10 => format!(
                "{}/28",
                Ipv4Addr::from_bits(v4?.network().to_bits() + 16 * u32::from(n - 6))
            ),
            n @ 10..18 => format!(
                "{}/128",
                Ipv6Addr::from_bits(v6?.network().to_bits() + 4 + u128::from(n - 10))
            ),
            n => format!(
                "{}/80",
                Ipv6Addr::from_bits(v6?.network().to_bits() + (u128::from(n) << 48))
            ),
        };
        Some(text.parse().expect("a range"))
    }
}

/// An edit of the network; numbers are taken modulo the number of objects.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// The address or prefix is assigned to the host, or moved to it.
    Assign(Index, u8),
    /// The address or prefix is unassigned.
    Unassign(Index, u8),
    /// The source/destination check.
    Check(Index, bool),
    /// Attached to its port or not.
    Attach(Index, bool),
    /// The interface is deleted, and another takes its port, with another MAC.
    Replace(Index, Index),
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (any::<Index>(), any::<u8>()).prop_map(|(host, net)| Edit::Assign(host, net)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(host, net)| Edit::Unassign(host, net)),
        3 => (any::<Index>(), prop::bool::weighted(0.4)).prop_map(|(host, on)| Edit::Check(host, on)),
        2 => (any::<Index>(), prop::bool::weighted(0.7)).prop_map(|(host, on)| Edit::Attach(host, on)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(host, subnet)| Edit::Replace(host, subnet)),
    ]
}

/// Two VPCs with the same ranges, one `aws` and one `aws-xen`; up to three subnets; three to nine hosts.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let subnets = prop::collection::vec((prop_oneof![4 => Just(0_usize), 1 => Just(1)], 0..8_u8), 1..4);
    let hosts = prop::collection::vec(
        (any::<Index>(), prop::collection::vec(any::<u8>(), 0..8), any::<bool>()),
        3..10,
    );
    (subnets, hosts).prop_map(|(subnets, hosts)| World::new(&subnets, &hosts))
}

impl World {
    fn new(subnets: &[(usize, u8)], hosts: &[(Index, Vec<u8>, bool)]) -> Self {
        let mut writer = FabricWriter::new();
        let vpcs: Vec<VpcIndex> = ["aws", "aws-xen"]
            .into_iter()
            .map(|name| {
                writer.add_vpc(VpcSpec {
                    profile: Arc::new(Profile::named(name).expect("built in")),
                    cidrs: vec![
                        "10.0.0.0/16".parse().expect("a range"),
                        "2001:db8:1::/56".parse().expect("a range"),
                    ],
                    dhcp_options: Arc::default(),
                })
            })
            .collect();
        let mut world = Self {
            writer,
            hosts: Vec::new(),
            subnets: Vec::new(),
        };
        for (number, (vpc, kind)) in (1_u8..).zip(subnets) {
            let ipv4 = (*kind != 0).then(|| format!("10.0.{number}.0/24").parse().expect("a range"));
            let ipv6 = (*kind != 1).then(|| format!("2001:db8:1:{number}::/64").parse().expect("a range"));
            let router_mac = MacAddr([2, 0xd0, 0, 0, 0, number]);
            let index = world.writer.add_subnet(SubnetSpec {
                vpc: vpcs[*vpc],
                ipv4,
                ipv6,
                router_mac,
            });
            world.subnets.push(Subnet {
                index,
                vpc: *vpc,
                ipv4,
                ipv6,
                router_mac,
            });
        }
        for (number, (subnet, nets, checked)) in (1_u8..).zip(hosts) {
            let subnet = subnet.index(world.subnets.len());
            world.add(subnet, number, *checked);
            let last = world.hosts.len() - 1;
            // One address of each family to begin with, unless it is assigned already.
            for net in [number % 8, 10 + number % 8].iter().chain(nets) {
                world.assign(last, *net);
            }
        }
        world
    }

    fn add(&mut self, subnet: usize, number: u8, checked: bool) {
        let port = PortId::new(u32::from(number)).expect("counted from 1");
        let (vpc, at) = (self.subnets[subnet].vpc, self.subnets[subnet].index);
        let mac = MacAddr([0x0a, 0xca, 5, 0, self.hosts.len() as u8, number]);
        let index = self.writer.add_interface(InterfaceSpec {
            subnet: at,
            mac,
            source_dest_check: checked,
        });
        self.writer.set_port(index, Some(port));
        self.hosts.push(Host {
            index,
            port,
            mac,
            vpc,
            subnet,
            checked,
            attached: true,
            nets: Vec::new(),
        });
    }

    /// Sets a host's first addresses in the fabric.
    fn tell_primary(&mut self, host: usize) {
        let host = &self.hosts[host];
        self.writer
            .set_primary(host.index, host.first_ipv4(), host.first_ipv6());
    }

    fn assign(&mut self, host: usize, which: u8) {
        let subnet = self.hosts[host].subnet;
        if let Some(net) = self.subnets.get(subnet).and_then(|subnet| subnet.net(which)) {
            if !self.forget(subnet, net, Some(self.hosts[host].index)) {
                return;
            }
            self.hosts[host].nets.push(net);
            self.tell_primary(host);
        }
    }

    /// Takes an address from its owner and gives it to another host, in one edit; false where it is a primary one.
    fn forget(&mut self, subnet: usize, net: IpNet, next: Option<InterfaceIndex>) -> bool {
        let holder = self
            .hosts
            .iter()
            .position(|host| host.subnet == subnet && host.nets.contains(&net));
        if let Some(holder) = holder {
            if self.hosts[holder]
                .first_ipv4()
                .map(|address| IpAddr::V4(address).into())
                == Some(net)
            {
                return false;
            }
            self.hosts[holder].nets.retain(|held| *held != net);
        }
        self.writer.map(self.subnets[subnet].index, net, next);
        if let Some(holder) = holder {
            self.tell_primary(holder);
        }
        true
    }

    pub(crate) fn edit(&mut self, edit: &Edit) {
        let there: Vec<usize> = (0..self.hosts.len())
            .filter(|at| self.hosts[*at].subnet != usize::MAX)
            .collect();
        match edit {
            Edit::Assign(host, net) => self.assign(*host.get(&there), *net),
            Edit::Unassign(host, which) => {
                let subnet = self.hosts[*host.get(&there)].subnet;
                if let Some(net) = self.subnets[subnet].net(*which) {
                    self.forget(subnet, net, None);
                }
            }
            Edit::Check(host, on) => {
                let host = &mut self.hosts[*host.get(&there)];
                host.checked = *on;
                self.writer.set_source_dest_check(host.index, *on);
            }
            Edit::Attach(host, on) => {
                let host = &mut self.hosts[*host.get(&there)];
                host.attached = *on;
                self.writer.set_port(host.index, on.then_some(host.port));
            }
            Edit::Replace(host, subnet) => {
                let at = *host.get(&there);
                let old = self.hosts[at].clone();
                for net in old.nets {
                    self.writer.map(self.subnets[old.subnet].index, net, None);
                }
                self.writer.remove_interface(old.index);
                let host = &mut self.hosts[at];
                (host.subnet, host.attached) = (usize::MAX, false);
                host.nets.clear();
                self.add(subnet.index(self.subnets.len()), old.port.get() as u8, old.checked);
            }
        }
    }
}

/// An address that a host may use.
#[derive(Debug, Clone)]
enum Pick {
    Own(Index),
    Of(Index, Index),
    LinkLocalOf(Index),
    Dealt(Index, u8),
    Router(Index, u8),
    Service(u8),
    Eui64([u8; 6]),
    Any(u64),
    Strange(u8),
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        3 => any::<Index>().prop_map(Pick::Own),
        9 => (any::<Index>(), any::<Index>()).prop_map(|(host, which)| Pick::Of(host, which)),
        1 => any::<Index>().prop_map(Pick::LinkLocalOf),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(subnet, which)| Pick::Dealt(subnet, which)),
        1 => (any::<Index>(), 0..4_u8).prop_map(|(subnet, which)| Pick::Router(subnet, which)),
        1 => (0..3_u8).prop_map(Pick::Service),
        1 => any::<[u8; 6]>().prop_map(Pick::Eui64),
        1 => any::<u64>().prop_map(Pick::Any),
        1 => (0..5_u8).prop_map(Pick::Strange),
    ]
}

/// A MAC that a host may use.
#[derive(Debug, Clone)]
enum To {
    /// The next hop of a host with correct neighbor entries.
    Right,
    Host(Index),
    Router(Index),
    Nobody,
    Group,
}

/// What a host sends.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Udp4,
    Udp6,
    Icmpv6(u8),
    Arp(u8),
    Solicitation,
    Probe,
    RouterSolicitation,
}

/// A frame in terms of any network.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    from: Index,
    kind: Kind,
    source: Pick,
    target: Pick,
    to: To,
    hop_by_hop: bool,
    bent: Vec<(Index, u8)>,
    /// Mutated before the checksum was computed, not after.
    lies: bool,
    length: u16,
}

pub(crate) fn question() -> impl Strategy<Value = Question> {
    let kind = prop_oneof![
        7 => Just(Kind::Udp4),
        7 => Just(Kind::Udp6),
        1 => (128..144_u8).prop_map(Kind::Icmpv6),
        3 => Just(Kind::Arp(1)),
        1 => (0..4_u8).prop_map(Kind::Arp),
        3 => Just(Kind::Solicitation),
        1 => Just(Kind::Probe),
        1 => Just(Kind::RouterSolicitation),
    ];
    let to = prop_oneof![
        12 => Just(To::Right),
        2 => any::<Index>().prop_map(To::Host),
        1 => any::<Index>().prop_map(To::Router),
        1 => Just(To::Nobody),
        1 => Just(To::Group),
    ];
    let source = prop_oneof![4 => any::<Index>().prop_map(Pick::Own), 1 => pick()];
    let value = prop_oneof![any::<u8>(), Just(0), Just(1)];
    let bent = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec((any::<Index>(), value), 1..3)];
    // Lengths and flags change meaning at 0 and 1.
    let length = prop_oneof![20 => 0..30_u16, 1 => 8940..9000_u16];
    (
        any::<Index>(),
        kind,
        source,
        pick(),
        to,
        prop::bool::weighted(0.05),
        bent,
        any::<bool>(),
        length,
    )
        .prop_map(
            |(from, kind, source, target, to, hop_by_hop, bent, lies, length)| Question {
                from,
                kind,
                source,
                target,
                to,
                hop_by_hop,
                bent,
                lies,
                length,
            },
        )
}

impl World {
    /// The sender and the frame's bytes; `None` where no host is attached.
    pub(crate) fn frame(&self, question: &Question) -> Option<(usize, Vec<u8>)> {
        let attached: Vec<usize> = (0..self.hosts.len()).filter(|at| self.hosts[*at].attached).collect();
        if attached.is_empty() {
            return None;
        }
        let from = *question.from.get(&attached);
        let sender = &self.hosts[from];
        let v4 = matches!(question.kind, Kind::Udp4 | Kind::Arp(_));
        let (source, target) = (
            self.address(&question.source, sender, v4),
            self.address(&question.target, sender, v4),
        );
        let mut bytes = self.to(&question.to, sender, target).0.to_vec();
        bytes.extend(sender.mac.0);
        let data = vec![0x55; usize::from(question.length)];
        match (question.kind, source, target) {
            (Kind::Udp4, IpAddr::V4(source), IpAddr::V4(target)) => {
                let udp = [&[0, 9, 0, 9][..], &(8 + question.length).to_be_bytes(), &[0, 0], &data].concat();
                let total = (20 + udp.len() as u16).to_be_bytes();
                bytes.extend([8, 0, 0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 17, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(target.octets());
                bytes.extend(udp);
                checksummed(&mut bytes);
            }
            (Kind::Arp(operation), IpAddr::V4(source), IpAddr::V4(target)) => {
                bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
                bytes.extend(sender.mac.0);
                bytes.extend(source.octets());
                bytes.extend([0; 6]);
                bytes.extend(target.octets());
            }
            (kind, IpAddr::V6(source), IpAddr::V6(target)) => {
                let [.., a, b, c] = target.octets();
                let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
                let option = [&[1, 1][..], &sender.mac.0].concat();
                let ask = |kind, rest: &[u8]| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], rest].concat();
                let (source, destination, next, message) = match kind {
                    Kind::Solicitation => (source, group, 58, ask(135, &[&target.octets()[..], &option].concat())),
                    Kind::Probe => (Ipv6Addr::UNSPECIFIED, group, 58, ask(135, &target.octets())),
                    Kind::RouterSolicitation => (source, "ff02::2".parse().expect("an address"), 58, ask(133, &option)),
                    Kind::Icmpv6(kind) => (source, target, 58, ask(kind, &data)),
                    _ => (source, target, 17, [&[0, 9, 0, 9, 0, 0, 0, 0][..], &data].concat()),
                };
                let message = if next == 58 {
                    summed(source, destination, message)
                } else {
                    message
                };
                let (next, extension): (u8, &[u8]) = if question.hop_by_hop {
                    (0, &[next, 0, 1, 4, 0, 0, 0, 0])
                } else {
                    (next, &[])
                };
                let length = ((extension.len() + message.len()) as u16).to_be_bytes();
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], next, 255]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(extension);
                bytes.extend(message);
            }
            _ => unreachable!("both addresses are of the kind's family"),
        }
        for (at, value) in &question.bent {
            let at = at.index(bytes.len().min(100));
            // Another next header would make the packet a fragment or a longer chain: the unit tests cover those.
            if bytes[12] != 0x86 || ![20, 54].contains(&at) {
                bytes[at] = *value;
            }
        }
        if question.lies && bytes[12] == 8 && bytes[13] == 0 {
            checksummed(&mut bytes);
        }
        let (header, message) = bytes.split_at(bytes.len().min(54));
        if question.lies && header[12] == 0x86 && header[20] == 58 {
            let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).expect("16 octets"));
            let mut message = message.to_vec();
            message[2..4].fill(0);
            let message = summed(address(22), address(38), message);
            bytes = [header, &message].concat();
        }
        Some((from, bytes))
    }

    fn address(&self, pick: &Pick, sender: &Host, v4: bool) -> IpAddr {
        let of = |host: &Host, which: &Index| {
            let nets: Vec<&IpNet> = host.nets.iter().filter(|net| net.addr().is_ipv4() == v4).collect();
            let net = if nets.is_empty() { None } else { Some(which.get(&nets)) };
            let last = |net: &IpNet| {
                if net.prefix_len() == 80 {
                    net.network()
                } else {
                    net.broadcast()
                }
            };
            net.map(|net| last(net)).unwrap_or(if v4 {
                [192, 0, 2, 9].into()
            } else {
                host.link_local().into()
            })
        };
        let v6 = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
        let subnet = |index: &Index| index.get(&self.subnets);
        match (pick, v4) {
            (Pick::Own(which), _) => of(sender, which),
            (Pick::Of(host, which), _) => of(host.get(&self.hosts), which),
            (Pick::LinkLocalOf(host), false) => host.get(&self.hosts).link_local().into(),
            (Pick::Dealt(at, which), v4) => match subnet(at).net(if v4 { which % 10 } else { 10 + which % 10 }) {
                Some(net) => net.addr(),
                None if v4 => [10, 0, 9, 9].into(),
                None => v6(0x2001_0db8_0001_0009 << 64 | 9),
            },
            (Pick::Router(at, which), true) => {
                let base = subnet(at).ipv4.map_or(0x0a00_0900, |net| net.network().to_bits());
                Ipv4Addr::from_bits(base + u32::from(*which)).into()
            }
            (Pick::Router(at, 0), false) => subnet(at).link_local().into(),
            (Pick::Router(_, 1), false) => "fe80:ec2::1".parse().expect("an address"),
            (Pick::Router(at, which), false) => v6(subnet(at)
                .ipv6
                .map_or(1, |net| net.network().to_bits() + u128::from(*which) - 1)),
            (Pick::Service(which), true) => [169, 254, 169, [254, 253, 123][usize::from(*which)]].into(),
            (Pick::Service(_), false) => "fd00:ec2::254".parse().expect("an address"),
            (Pick::Eui64([a, b, c, d, e, f]), false) => {
                Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, *a, *b, *c, 0xff, 0xfe, *d, *e, *f]).into()
            }
            (Pick::Any(bits), false) => v6(0xfe80 << 112 | u128::from(*bits)),
            (Pick::Any(bits), true) => Ipv4Addr::from_bits(0x0a00_0000 | *bits as u32 & 0x7ff).into(),
            (Pick::Strange(which), true) => {
                [[0; 4], [255; 4], [224, 0, 0, 251], [169, 254, 1, 1], [127, 0, 0, 1]][usize::from(*which)].into()
            }
            (Pick::Strange(which), false) => ["::", "ff02::1", "2001:db8::1", "::1", "fe80::1"][usize::from(*which)]
                .parse()
                .expect("an address"),
            (Pick::LinkLocalOf(_) | Pick::Eui64(_), true) => [10, 0, 1, 255].into(),
        }
    }

    fn to(&self, to: &To, sender: &Host, target: IpAddr) -> MacAddr {
        let router = self.subnets[sender.subnet].router_mac;
        match to {
            To::Right => {
                let owner = self
                    .hosts
                    .iter()
                    .find(|host| host.subnet == sender.subnet && host.owns(target));
                owner.map_or(router, |owner| owner.mac)
            }
            To::Host(host) => host.get(&self.hosts).mac,
            To::Router(subnet) => subnet.get(&self.subnets).router_mac,
            To::Nobody => MacAddr([0x0a, 0, 0, 0, 0, 0x99]),
            To::Group if target.is_ipv4() => MacAddr::BROADCAST,
            To::Group => MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        }
    }
}

/// Fills in the checksum of the IPv4 header in a frame.
fn checksummed(frame: &mut [u8]) {
    let header = frame.get_mut(14..34).expect("a header without options");
    header[10..12].fill(0);
    let sum: u32 = header
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
}

/// An ICMPv6 message with its checksum.
fn summed(source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    let all = [
        &source.octets()[..],
        &destination.octets(),
        &length,
        &[0, 0, 0, 58],
        &message,
    ]
    .concat();
    let sum: u32 = all
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    message[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    message
}
