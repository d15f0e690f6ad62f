//! Measures the decision in nanoseconds per frame: by kind of frame, by number of mappings, and by how many of them are
//! used.
//!
//! Frames are decided in batches, as in a worker: the view and the ingress are loaded once per batch. `criterion`
//! reports the time per frame (`Throughput::Elements`); run `cargo bench --bench decision`, or with a filter, as in
//! `cargo bench --bench decision -- 1M`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use localvpc::datapath::policy::{Peer, Policy, Ports, RuleName, RuleSpec};
use localvpc::datapath::{
    Fabric, FabricWriter, FrameMeta, InterfaceSpec, Output, PortState, Received, SubnetIndex, SubnetSpec, Unobserved,
    Verdict, VpcSpec, decide, warm,
};
use localvpc::mapping::table::{AddressArray, TableWriter};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::profile::Profile;
use localvpc::wire::MacAddr;
use localvpc::wire::checksum::Sum;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Addresses on each interface; the remaining mappings need more interfaces and subnets.
const ADDRESSES_PER_INTERFACE: usize = 50;
/// Assigned addresses of each family in a subnet, a /16.
const PER_SUBNET: usize = 50_000;
/// Frames in a cycle: their destinations exceed every cache.
const FRAMES: usize = 1 << 16;
/// Frames of the hot case, which stay in the first-level cache.
const HOT_FRAMES: usize = 256;
/// Destinations of the hot case.
const HOT: usize = 64;

/// A network with this many mappings, half of them IPv4 and half IPv6.
struct Network {
    writer: FabricWriter,
    fabric: Arc<Fabric>,
    /// The interface that sends, in the first subnet.
    sender: InterfaceIndex,
    mac: MacAddr,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    router_mac: MacAddr,
    /// Addresses with the MAC and the subnet of their interfaces, by family.
    hosts4: Vec<(Ipv4Addr, MacAddr, SubnetIndex)>,
    hosts6: Vec<(Ipv6Addr, MacAddr, SubnetIndex)>,
    /// Addresses of each family that an interface has.
    each: usize,
}

/// A locally administered MAC with this number.
fn mac(number: usize) -> MacAddr {
    MacAddr::from_bits(0x0a00_0000_0000 | number as u64)
}

/// Frames of one length in a row: a worker finds a frame in cache, because it has just been read.
struct Frames {
    bytes: Vec<u8>,
    length: usize,
}

impl Frames {
    fn new(frames: &[Vec<u8>]) -> Self {
        let length = frames[0].len();
        assert!(frames.iter().all(|frame| frame.len() == length));
        Self {
            bytes: frames.concat(),
            length,
        }
    }

    fn iter(&self) -> std::slice::ChunksExact<'_, u8> {
        self.bytes.chunks_exact(self.length)
    }
}

impl Network {
    fn new(mappings: usize) -> Self {
        let mut writer = FabricWriter::new();
        // A rate limit would distort the benchmark of answers.
        let mut profile = Profile::aws();
        profile.neighbor.answers_per_second = 0;
        // So would an allowance of connections.
        profile.firewall.tracking.allowance = 0;
        let vpc = writer.add_vpc(VpcSpec {
            profile: Arc::new(profile),
            cidrs: vec![net("10.0.0.0/8"), net("2001:db8:1::/48")],
            dhcp_options: Arc::default(),
        });
        let per_family = mappings / 2;
        // Even the smallest network has more than one interface.
        let each = ADDRESSES_PER_INTERFACE.min((per_family / 2).max(1));
        let (mut hosts4, mut hosts6) = (Vec::new(), Vec::new());
        let mut sender = None;
        let router_mac = MacAddr::from_bits(0x02d0_0000_0000);
        let mut number = 0;
        for subnet in 0..per_family.div_ceil(PER_SUBNET) {
            let ipv4 = Ipv4Net::new(Ipv4Addr::new(10, subnet as u8, 0, 0), 16).expect("a /16");
            let base6 = Ipv6Addr::new(0x2001, 0xdb8, 1, subnet as u16, 0, 0, 0, 0);
            let index = writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: Some(ipv4),
                ipv6: Some(Ipv6Net::new(base6, 64).expect("a /64")),
                router_mac: MacAddr::from_bits(router_mac.to_bits() + subnet as u64),
            });
            let mut interface = None;
            for at in 0..PER_SUBNET.min(per_family - subnet * PER_SUBNET) {
                if at % each == 0 {
                    number += 1;
                    let index = writer.add_interface(InterfaceSpec {
                        subnet: index,
                        mac: mac(number),
                        source_dest_check: true,
                    });
                    writer.set_port(index, PortId::new(number as u32));
                    interface = Some(index);
                }
                let v4 = Ipv4Addr::from_bits(ipv4.network().to_bits() + 4 + at as u32);
                // Interface identifiers are spread over the /64, as EC2 assigns them.
                let v6 = Ipv6Addr::from_bits(base6.to_bits() | u128::from(scatter(at as u64 + 4)));
                writer.map(index, IpNet::from(IpAddr::V4(v4)), interface);
                writer.map(index, IpNet::from(IpAddr::V6(v6)), interface);
                if at % each == 0 {
                    writer.set_primary(interface.expect("just made"), Some(v4), Some(v6));
                }
                if sender.is_none() {
                    sender = Some((interface.expect("just made"), v4, v6));
                }
                hosts4.push((v4, mac(number), index));
                hosts6.push((v6, mac(number), index));
            }
        }
        let (sender, ipv4, ipv6) = sender.expect("there are mappings");
        let fabric = writer.fabric();
        Self {
            writer,
            fabric,
            sender,
            mac: mac(1),
            ipv4,
            ipv6,
            router_mac,
            hosts4,
            hosts6,
            each,
        }
    }

    /// The frames of a benchmark: destinations from the first few that fit, or uniformly from all of them.
    fn frames(&self, kind: Kind, hot: bool) -> Frames {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let first = self.hosts4[0].2;
        // The sender's own addresses come first in each list.
        let within = |list: &[(IpAddr, MacAddr, SubnetIndex)]| -> Vec<(IpAddr, MacAddr)> {
            let fit = list.iter().skip(self.each.min(list.len() - 1));
            fit.filter(|(_, _, subnet)| kind.routed() || *subnet == first)
                .map(|(ip, mac, _)| (*ip, *mac))
                .collect()
        };
        let own = if kind.ipv6() {
            self.hosts6
                .iter()
                .map(|(ip, mac, at)| (IpAddr::V6(*ip), *mac, *at))
                .collect::<Vec<_>>()
        } else {
            self.hosts4
                .iter()
                .map(|(ip, mac, at)| (IpAddr::V4(*ip), *mac, *at))
                .collect()
        };
        let mut hosts = within(&own);
        if hosts.is_empty() {
            hosts.extend(own.last().map(|(ip, mac, _)| (*ip, *mac)));
        }
        let count = if hot { HOT.min(hosts.len()) } else { hosts.len() };
        let count_frames = if hot { HOT_FRAMES } else { FRAMES };
        let frames = (0..count_frames).map(|_| self.frame(kind, hosts[random.random_range(0..count)]));
        Frames::new(&frames.collect::<Vec<_>>())
    }

    fn frame(&self, kind: Kind, (ip, mac): (IpAddr, MacAddr)) -> Vec<u8> {
        let to = if kind.routed() { self.router_mac } else { mac };
        match (kind, ip) {
            (Kind::Ipv4 | Kind::RoutedIpv4, IpAddr::V4(ip)) => frame4(to, self.mac, self.ipv4, ip),
            (Kind::Ipv6 | Kind::RoutedIpv6, IpAddr::V6(ip)) => frame6(to, self.mac, self.ipv6, ip, 17, &[0; 26]),
            (Kind::Arp, IpAddr::V4(ip)) => {
                let asked = [
                    &[0, 1, 8, 0, 6, 4, 0, 1][..],
                    &self.mac.0,
                    &self.ipv4.octets(),
                    &[0; 6],
                    &ip.octets(),
                ]
                .concat();
                ethernet(MacAddr::BROADCAST, self.mac, 0x0806, &asked)
            }
            (Kind::Solicitation, IpAddr::V6(ip)) => {
                let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &ip.octets(), &[1, 1], &self.mac.0].concat();
                let to = localvpc::wire::neighbor::solicited_node(ip);
                let length = message.len() as u32;
                let sum = Sum::new()
                    .ipv6_pseudo_header(&self.ipv6.octets(), &to.octets(), 58, length)
                    .bytes(&message);
                message[2..4].copy_from_slice(&sum.complement().to_be_bytes());
                let [.., a, b, c, d] = to.octets();
                frame6(MacAddr([0x33, 0x33, a, b, c, d]), self.mac, self.ipv6, to, 58, &message)
            }
            (Kind::Broadcast, IpAddr::V4(_)) => frame4(MacAddr::BROADCAST, self.mac, self.ipv4, Ipv4Addr::BROADCAST),
            _ => unreachable!("the address is of the kind's family"),
        }
    }
}

/// A kind of frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ipv4,
    Ipv6,
    RoutedIpv4,
    RoutedIpv6,
    Arp,
    Solicitation,
    Broadcast,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Ipv4,
        Self::Ipv6,
        Self::RoutedIpv4,
        Self::RoutedIpv6,
        Self::Arp,
        Self::Solicitation,
        Self::Broadcast,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_same_subnet",
            Self::Ipv6 => "ipv6_same_subnet",
            Self::RoutedIpv4 => "ipv4_routed",
            Self::RoutedIpv6 => "ipv6_routed",
            Self::Arp => "arp_answered",
            Self::Solicitation => "solicitation_answered",
            Self::Broadcast => "broadcast_dropped",
        }
    }

    const fn ipv6(self) -> bool {
        matches!(self, Self::Ipv6 | Self::RoutedIpv6 | Self::Solicitation)
    }

    const fn routed(self) -> bool {
        matches!(self, Self::RoutedIpv4 | Self::RoutedIpv6)
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a range")
}

/// A number spread over 64 bits (the finalizer of SplitMix64).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ z >> 31
}

fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &ethertype.to_be_bytes(), payload].concat()
}

/// A UDP packet in a frame of 60 octets.
fn frame4(to: MacAddr, from: MacAddr, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let head = [0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 17, 0, 0];
    let mut packet = [
        &head[..],
        &source.octets(),
        &destination.octets(),
        &[0, 9, 0, 9, 0, 26, 0, 0],
        &[0; 18],
    ]
    .concat();
    let sum = Sum::new().bytes(&packet[..20]).complement();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(to, from, 0x0800, &packet)
}

fn frame6(to: MacAddr, from: MacAddr, source: Ipv6Addr, destination: Ipv6Addr, next: u8, rest: &[u8]) -> Vec<u8> {
    let head = [0x60, 0, 0, 0, 0, rest.len() as u8, next, 255];
    let packet = [&head[..], &source.octets(), &destination.octets(), rest].concat();
    ethernet(to, from, 0x86dd, &packet)
}

/// Decides `rounds` batches, cycling through `frames`.
fn batches(network: &Network, frames: &Frames, batch: usize, rounds: u64) -> Duration {
    let (state, mut output) = (PortState::default(), Output::default());
    let memory = network.fabric.memory(&state);
    let port = PortId::new(1).expect("counted from 1");
    let mut chunks = frames.bytes.chunks_exact(batch * frames.length).cycle();
    // Time of other programs is not the decision's cost.
    let since = ThreadTime::now();
    for _ in 0..rounds {
        let view = network.fabric.view();
        let ingress = view.ingress(network.sender, port).expect("attached");
        let chunk = chunks.next().expect("endless").chunks_exact(frames.length);
        warm(chunk.clone(), &ingress, &view);
        for bytes in chunk {
            let received = Received {
                bytes,
                meta: FrameMeta::default(),
            };
            let now = Duration::from_secs(1);
            black_box(decide(
                received,
                &ingress,
                &view,
                memory,
                now,
                &mut output,
                &mut Unobserved,
            ));
        }
    }
    since.elapsed()
}

/// Fails where a benchmark would not measure what its name says.
fn check(network: &Network, kind: Kind, frames: &Frames) {
    let (state, mut output) = (PortState::default(), Output::default());
    let memory = network.fabric.memory(&state);
    let view = network.fabric.view();
    let port = PortId::new(1).expect("counted from 1");
    let ingress = view.ingress(network.sender, port).expect("attached");
    for bytes in frames.iter().take(1000) {
        let received = Received {
            bytes,
            meta: FrameMeta::default(),
        };
        let verdict = decide(
            received,
            &ingress,
            &view,
            memory,
            Duration::ZERO,
            &mut output,
            &mut Unobserved,
        );
        let right = match kind {
            Kind::Ipv4 | Kind::Ipv6 | Kind::RoutedIpv4 | Kind::RoutedIpv6 => matches!(verdict, Verdict::Deliver { .. }),
            Kind::Arp | Kind::Solicitation => matches!(verdict, Verdict::Reply(_)),
            Kind::Broadcast => matches!(verdict, Verdict::Drop(_)),
        };
        assert!(right, "{}: {verdict:?}", kind.name());
    }
}

/// Whether this is a measurement. `cargo test` runs every benchmark once, on a small network.
fn measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

const SIZES: [(usize, &str); 3] = [(10, "10"), (10_000, "10k"), (1_000_000, "1M")];

fn decision(c: &mut Criterion) {
    for (mappings, size) in SIZES.into_iter().take(if measuring() { 3 } else { 1 }) {
        let network = Network::new(mappings);
        let mut group = c.benchmark_group(format!("decision_{size}"));
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1000));
        for kind in Kind::ALL {
            for (hot, spread) in [(true, "hot"), (false, "uniform")] {
                if !hot && (mappings == SIZES[0].0 || kind == Kind::Broadcast) {
                    continue;
                }
                let frames = network.frames(kind, hot);
                check(&network, kind, &frames);
                for batch in [32, 64] {
                    // The batch size determines how often the view is loaded, not the decision.
                    if batch == 64 && kind != Kind::Ipv4 {
                        continue;
                    }
                    group.throughput(Throughput::Elements(batch as u64));
                    group.bench_function(BenchmarkId::new(kind.name(), format!("{spread}/batch{batch}")), |b| {
                        b.iter_custom(|rounds| batches(&network, &frames, batch, rounds));
                    });
                }
            }
        }
        group.finish();
    }
}

/// The tables alone, with uniformly random keys.
fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800));
    let owner = NonZeroU32::new(7);
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let sizes: &[(u64, &str)] = if measuring() {
        &[(1_000_000, "1M"), (10_000_000, "10M")]
    } else {
        &[(1000, "1k")]
    };
    for &(entries, size) in sizes {
        let mut writer = TableWriter::new();
        let scope = NonZeroU32::MIN;
        for key in 0..entries {
            let _ = writer.set(scope, scatter(key), owner);
        }
        let keys: Vec<u64> = (0..FRAMES * 4)
            .map(|_| scatter(random.random_range(0..entries)))
            .collect();
        let table = Arc::clone(writer.table());
        group.throughput(Throughput::Elements(keys.len() as u64));
        group.bench_function(BenchmarkId::new("hash", size), |b| {
            b.iter(|| {
                keys.iter()
                    .filter_map(|key| table.get(scope, *key))
                    .map(NonZeroU32::get)
                    .fold(0, u32::wrapping_add)
            });
        });
        // As in a worker: the slots of a batch are loaded in parallel.
        group.bench_function(BenchmarkId::new("hash_in_batches", size), |b| {
            b.iter(|| {
                keys.chunks(32)
                    .map(|batch| {
                        black_box(batch.iter().fold(0, |seen, key| seen ^ table.touch(scope, *key)));
                        let found = batch.iter().filter_map(|key| table.get(scope, *key));
                        found.map(NonZeroU32::get).fold(0, u32::wrapping_add)
                    })
                    .fold(0, u32::wrapping_add)
            });
        });
        drop(table);
        let per_array = 1 << 16;
        let arrays: Vec<AddressArray> = (0..entries.div_ceil(per_array))
            .map(|_| {
                let array = AddressArray::new(per_array as usize);
                (0..per_array as u32).for_each(|host| array.set(host, owner));
                array
            })
            .collect();
        let keys: Vec<(u32, u32)> = (0..FRAMES * 4)
            .map(|_| {
                (
                    random.random_range(0..arrays.len() as u32),
                    random.random_range(0..per_array as u32),
                )
            })
            .collect();
        group.bench_function(BenchmarkId::new("array", size), |b| {
            b.iter(|| {
                let found = keys
                    .iter()
                    .filter_map(|(array, host)| arrays[*array as usize].get(*host));
                found.map(NonZeroU32::get).fold(0, u32::wrapping_add)
            });
        });
    }
    group.finish();
}

/// Edits by the one writer: the time of a million.
fn edits(c: &mut Criterion) {
    let mut group = c.benchmark_group("edits");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(3));
    let count = if measuring() { 1_000_000 } else { 1000 };
    group.throughput(Throughput::Elements(count as u64));
    let mut network = Network::new(count);
    let (first, its_mac, _) = network.hosts4[network.each];
    assert_ne!(its_mac, network.mac);
    let other = network
        .writer
        .owner(network.hosts4[0].2, first.into())
        .expect("it is mapped");
    let owners = [network.sender, other];
    let mut turn = 0;
    group.bench_function("move_ipv4", |b| {
        b.iter(|| {
            turn ^= 1;
            for (ip, _, subnet) in network.hosts4.iter().cycle().take(count) {
                network
                    .writer
                    .map(*subnet, IpNet::from(IpAddr::V4(*ip)), Some(owners[turn]));
            }
        });
    });
    group.bench_function("move_ipv6", |b| {
        b.iter(|| {
            turn ^= 1;
            for (ip, _, subnet) in network.hosts6.iter().cycle().take(count) {
                network
                    .writer
                    .map(*subnet, IpNet::from(IpAddr::V6(*ip)), Some(owners[turn]));
            }
        });
    });
    group.bench_function("assign_ipv6_to_an_empty_fabric", |b| {
        b.iter_with_large_drop(|| {
            let mut writer = FabricWriter::new();
            let vpc = writer.add_vpc(VpcSpec {
                profile: Arc::new(Profile::aws()),
                cidrs: vec![net("2001:db8:1::/48")],
                dhcp_options: Arc::default(),
            });
            let range: Ipv6Net = "2001:db8:1::/64".parse().expect("a range");
            let spec = SubnetSpec {
                vpc,
                ipv4: None,
                ipv6: Some(range),
                router_mac: mac(1),
            };
            let subnet = writer.add_subnet(spec);
            let interface = writer.add_interface(InterfaceSpec {
                subnet,
                mac: mac(2),
                source_dest_check: true,
            });
            for number in 0..count as u64 {
                let ip = Ipv6Addr::from_bits(range.network().to_bits() | u128::from(scatter(number)));
                writer.map(subnet, IpNet::from(IpAddr::V6(ip)), Some(interface));
            }
            writer
        });
    });
    group.finish();
}

/// What security groups cost: every host is in the default group, so that sender and receiver track each connection.
fn groups(c: &mut Criterion) {
    let mut group = c.benchmark_group("groups");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800));
    let rows: &[(&str, usize, usize)] = if measuring() {
        &[
            ("tracked/5_rules/hot", 5, 64),
            ("tracked/5_rules/1M", 5, 1_000_000),
            ("new/5_rules", 5, 0),
            ("new/1000_rules", 1000, 0),
        ]
    } else {
        &[("tracked/5_rules", 5, 64), ("new/1000_rules", 1000, 0)]
    };
    for &(name, rules, tracked) in rows {
        let mut network = Network::new(1000);
        network.join_groups(rules);
        let frames = network.flows(if tracked == 0 { FRAMES } else { tracked });
        if tracked > 0 {
            network.track(&frames);
            let both = 2 * tracked;
            assert_eq!(
                network.fabric.connections().len(),
                both,
                "{name}: both ends track each connection"
            );
        }
        // Of many connections a part is met again and again, in an order that no table has.
        let met = Frames::new(&frames.iter().take(FRAMES).map(<[u8]>::to_vec).collect::<Vec<_>>());
        check(&network, Kind::Ipv4, &met);
        group.throughput(Throughput::Elements(32));
        group.bench_function(name, |b| b.iter_custom(|rounds| batches(&network, &met, 32, rounds)));
    }
    group.finish();
}

impl Network {
    /// Puts every host into one group, which lets everything out, its members in, and has further rules that match nothing.
    fn join_groups(&mut self, rules: usize) {
        let rule = |number: usize, protocol: Option<u8>, peer| RuleSpec {
            name: RuleName::SecurityGroup {
                group: 1,
                rule: number as u64,
            },
            protocol,
            ports: Ports {
                first: number as u16,
                last: number as u16,
            },
            peer,
        };
        let everywhere = RuleSpec {
            ports: Ports::ALL,
            ..rule(0, None, Peer::Nets(vec![net("0.0.0.0/0")]))
        };
        let members = rule(1, None, Peer::Group(1));
        let others = (2..rules).map(|number| {
            let range = format!("172.16.{}.{}/32", number / 256, number % 256);
            rule(number, Some(6), Peer::Nets(vec![net(&range)]))
        });
        let ingress = others.chain([members]).collect();
        let policy = Policy::compile([1], vec![everywhere], ingress);
        let policy = self.writer.add_policy(Arc::new(policy));
        for (ip, _, subnet) in &self.hosts4 {
            let owner = self.writer.owner(*subnet, IpAddr::V4(*ip)).expect("it is mapped");
            self.writer.set_policy(owner, Some(policy));
        }
    }

    /// Datagrams of as many flows, in no order.
    fn flows(&self, count: usize) -> Frames {
        let hosts = &self.hosts4[self.each..];
        let frames = (0..count).map(|number| {
            let spread = scatter(number as u64) as usize;
            let (ip, mac, _) = hosts[spread % hosts.len().min(16)];
            let mut frame = frame4(mac, self.mac, self.ipv4, ip);
            frame[34..36].copy_from_slice(&(number as u16).to_be_bytes());
            frame[36..38].copy_from_slice(&((number >> 16) as u16 + 1).to_be_bytes());
            frame
        });
        Frames::new(&frames.collect::<Vec<_>>())
    }

    /// Has the connections of all frames tracked, at the second in which `batches` asks.
    fn track(&self, frames: &Frames) {
        let (mut state, mut output) = (PortState::default(), Output::default());
        let view = self.fabric.view();
        let port = PortId::new(1).expect("counted from 1");
        let ingress = view.ingress(self.sender, port).expect("attached");
        let now = Duration::from_secs(1);
        for bytes in frames.iter() {
            let meta = FrameMeta::default();
            let memory = self.fabric.memory(&state);
            let received = Received { bytes, meta };
            decide(received, &ingress, &view, memory, now, &mut output, &mut Unobserved);
            if let Some(effects) = &output.effects {
                effects.commit(&ingress, &mut state, &self.fabric, now);
            }
        }
    }
}

criterion_group!(benches, decision, groups, lookup, edits);
criterion_main!(benches);
