//! Builds a small VPC for the DHCP tests: a dual-stack subnet with two hosts and one without addresses, and an
//! IPv6-only subnet with one host.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::datapath::{
    Answered, DropReason, FabricWriter, FrameMeta, InterfaceSpec, Output, PortState, Received, SubnetIndex, SubnetSpec,
    Unobserved, Verdict, VpcSpec, decide, responder,
};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::dhcp_options::DhcpOptions;
use crate::model::profile::Profile;
use crate::wire::MacAddr;
use crate::wire::udp::{self, Endpoint};

pub(super) const HOST: MacAddr = MacAddr([0x0a, 0xca, 5, 0x9c, 0xfc, 0x14]);
pub(super) const ROUTER: MacAddr = MacAddr([0x0a, 0xa1, 0x79, 0xdb, 0x21, 0x06]);
pub(super) const PRIMARY: Ipv4Addr = Ipv4Addr::new(10, 0, 17, 10);
pub(super) const SECONDARY: Ipv4Addr = Ipv4Addr::new(10, 0, 17, 20);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 16, 1);

/// A v6 address of the dual-stack subnet.
pub(super) fn v6(host: &str) -> Ipv6Addr {
    format!("2001:db8:0:10::{host}").parse().unwrap()
}

pub(super) struct Network {
    pub(super) writer: FabricWriter,
    pub(super) subnet: SubnetIndex,
    /// 10.0.17.10 and .20, `::a`, no prefix.
    pub(super) host: InterfaceIndex,
    /// 10.0.17.11, `::b`.
    pub(super) other: InterfaceIndex,
    /// No address.
    pub(super) bare: InterfaceIndex,
    /// In the IPv6-only subnet, `2001:db8:0:20::a`.
    pub(super) alone: InterfaceIndex,
}

impl Network {
    pub(super) fn new(profile: Profile, options: DhcpOptions) -> Self {
        let mut writer = FabricWriter::new();
        let vpc = writer.add_vpc(VpcSpec {
            profile: Arc::new(profile),
            cidrs: vec!["2001:db8::/56".parse().unwrap(), "10.0.0.0/16".parse().unwrap()],
            dhcp_options: Arc::new(options),
        });
        let mut subnet = |ipv4: Option<&str>, ipv6: &str, router_mac| {
            writer.add_subnet(SubnetSpec {
                vpc,
                ipv4: ipv4.map(|net| net.parse().unwrap()),
                ipv6: Some(ipv6.parse().unwrap()),
                router_mac,
            })
        };
        let dual = subnet(Some("10.0.16.0/20"), "2001:db8:0:10::/64", ROUTER);
        let only = subnet(
            None,
            "2001:db8:0:20::/64",
            MacAddr([0x0a, 0xa1, 0x79, 0xdb, 0x21, 0x07]),
        );
        let mut interface = |subnet, mac: MacAddr, ipv4: &[Ipv4Addr], ipv6: Option<Ipv6Addr>| {
            let index = writer.add_interface(InterfaceSpec {
                subnet,
                mac,
                source_dest_check: true,
            });
            writer.set_port(index, PortId::new(index.get()));
            for address in ipv4 {
                writer.map(subnet, ipnet::Ipv4Net::from(*address).into(), Some(index));
            }
            if let Some(address) = ipv6 {
                writer.map(subnet, ipnet::Ipv6Net::from(address).into(), Some(index));
            }
            writer.set_primary(index, ipv4.first().copied(), ipv6);
            index
        };
        let host = interface(dual, HOST, &[PRIMARY, SECONDARY], Some(v6("a")));
        let other = interface(
            dual,
            MacAddr([0x0a, 0, 0, 0, 0, 2]),
            &[Ipv4Addr::new(10, 0, 17, 11)],
            Some(v6("b")),
        );
        let bare = interface(dual, MacAddr([0x0a, 0, 0, 0, 0, 3]), &[], None);
        let alone = interface(
            only,
            MacAddr([0x0a, 0, 0, 0, 0, 4]),
            &[],
            Some("2001:db8:0:20::a".parse().unwrap()),
        );
        Self {
            writer,
            subnet: dual,
            host,
            other,
            bare,
            alone,
        }
    }

    pub(super) fn aws() -> Self {
        Self::new(Profile::aws(), DhcpOptions::for_region("us-east-2"))
    }

    pub(super) fn mac(&self, of: InterfaceIndex) -> MacAddr {
        self.writer.view().interface(of).unwrap().mac
    }

    /// The verdict about a frame.
    pub(super) fn decide(&self, from: InterfaceIndex, bytes: &[u8]) -> Verdict {
        let view = self.writer.view();
        let ingress = view.ingress(from, PortId::new(from.get()).unwrap()).unwrap();
        let frame = Received {
            bytes,
            meta: FrameMeta::default(),
        };
        let fabric = self.writer.fabric();
        let port = PortState::default();
        let memory = fabric.memory(&port);
        let mut output = Output::default();
        decide(
            frame,
            &ingress,
            view,
            memory,
            Duration::ZERO,
            &mut output,
            &mut Unobserved,
        )
    }

    /// Sends a frame to a server, and returns the answer.
    pub(super) fn send(&self, from: InterfaceIndex, bytes: &[u8]) -> Result<(Answered, Vec<u8>), DropReason> {
        let service = match self.decide(from, bytes) {
            Verdict::Punt(service)
            | Verdict::Flood {
                punt: Some(service), ..
            } => service,
            Verdict::Drop(reason) => return Err(reason),
            other => panic!("not a question to a server: {other:?}"),
        };
        let view = self.writer.view();
        let ingress = view.ingress(from, PortId::new(from.get()).unwrap()).unwrap();
        let frame = Received {
            bytes,
            meta: FrameMeta::default(),
        };
        let mut out = vec![0xa5; 9];
        let answered = responder::answer(service, frame, &ingress, view, &mut out)?;
        Ok((answered, out))
    }
}

/// A frame with a datagram over IPv4.
pub(super) fn ipv4(source: (MacAddr, Ipv4Addr, u16), to: (MacAddr, Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let end = |(mac, address, port)| Endpoint { mac, address, port };
    let mut out = Vec::new();
    udp::write_ipv4(&mut out, end(source), end(to), payload).unwrap();
    out
}

/// A frame with a datagram over IPv6.
pub(super) fn ipv6(source: (MacAddr, Ipv6Addr, u16), to: (MacAddr, Ipv6Addr, u16), payload: &[u8]) -> Vec<u8> {
    let end = |(mac, address, port)| Endpoint { mac, address, port };
    let mut out = Vec::new();
    udp::write_ipv6(&mut out, end(source), end(to), payload).unwrap();
    out
}

/// Pseudo-random octets, the same in every run (SplitMix64).
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Changes some octets of `bytes`, and sometimes their number.
    pub(super) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            bytes[at] = self.next() as u8;
        }
        if self.below(4) == 0 {
            bytes.truncate(self.below(bytes.len()) + 1);
        }
        if self.below(8) == 0 {
            bytes.extend((0..self.below(300)).map(|n| n as u8));
        }
    }
}
