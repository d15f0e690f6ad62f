//! Implements the network's law naively, as the reference for the decision.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacketSlice, EtherType, Ipv4HeaderSlice, Ipv6Slice, NetSlice, SlicedPacket,
};
use localvpc::wire::MacAddr;

use super::world::{Host, World};

/// The expected result of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Delivered to this host only.
    Delivered(usize),
    /// Only the sender gets this answer.
    Answered(Said),
    /// Nothing is sent.
    Nothing,
}

/// The content of the fabric's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// The address is at the MAC; sent to this IP address.
    IsAt(IpAddr, MacAddr, IpAddr),
    /// A Router Advertisement to this address, for this prefix.
    Router(Ipv6Addr, Ipv6Addr),
    /// The packet of this sender exceeds an MTU.
    TooBig(IpAddr),
}

const SERVICES: [[u8; 4]; 3] = [[169, 254, 169, 254], [169, 254, 169, 253], [169, 254, 169, 123]];

/// "Forwarding inside a subnet is by destination MAC; frames for the router's MAC are routed by the local route; ARP and ND
/// are answered from the mapping table; nothing else reaches anybody."
pub(crate) fn fate(world: &World, from: usize, bytes: &[u8]) -> Fate {
    let sender = &world.hosts[from];
    let subnet = &world.subnets[sender.subnet];
    if bytes.len() < 14 {
        return Fate::Nothing;
    }
    let (to_mac, from_mac) = (mac(&bytes[..6]), mac(&bytes[6..12]));
    // "The source MAC must always be the interface's own."
    if from_mac != sender.mac {
        return Fate::Nothing;
    }
    let (source, destination, icmpv6): (IpAddr, IpAddr, Option<&[u8]>) = match [bytes[12], bytes[13]] {
        [8, 6] => {
            return ArpPacketSlice::from_slice(&bytes[14..]).map_or(Fate::Nothing, |arp| arp_fate(world, sender, &arp));
        }
        [8, 0] => match Ipv4HeaderSlice::from_slice(&bytes[14..]) {
            Ok(ip)
                if usize::from(ip.total_len()) >= ip.slice().len()
                    && usize::from(ip.total_len()) <= bytes.len() - 14 =>
            {
                (ip.source_addr().into(), ip.destination_addr().into(), None)
            }
            _ => return Fate::Nothing,
        },
        [0x86, 0xdd] => {
            let Ok(ip) = Ipv6Slice::from_slice(&bytes[14..]) else {
                return Fate::Nothing;
            };
            // RFC 8200 section 4: the next header must be in the payload. etherparse takes a payload without octets for
            // a jumbogram (RFC 2675), which no Ethernet frame is.
            let extension = matches!(ip.header().next_header().0, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140);
            if ip.header().payload_length() == 0 && extension {
                return Fate::Nothing;
            }
            let icmpv6 = ip.payload().ip_number.0 == 58;
            // "ICMPv6 that does not say what it is could be anything." etherparse reads on where the length is 0.
            if icmpv6 && (ip.header().payload_length() == 0 || ip.payload().payload.len() < 4) {
                return Fate::Nothing;
            }
            let (source, destination) = (ip.header().source_addr(), ip.header().destination_addr());
            (
                source.into(),
                destination.into(),
                icmpv6.then_some(ip.payload().payload),
            )
        }
        _ => return Fate::Nothing,
    };
    if let (Some(message), IpAddr::V6(source), IpAddr::V6(destination)) = (icmpv6, source, destination) {
        match message.first() {
            Some(135) => return solicitation_fate(world, sender, bytes[21], source, destination, message),
            Some(133) => return router_solicitation_fate(world, sender, bytes[21], source, destination, message),
            // "RA, unsolicited NA, redirects and MLD from a host change nothing and go nowhere."
            Some(134 | 136 | 137 | 130 | 131 | 132 | 143) => return Fate::Nothing,
            _ => {}
        }
    }
    // "No broadcast, no multicast ever reaches another port", the subnet's first and last address included.
    let all_hosts = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let own = subnet
                .ipv4
                .is_some_and(|net| [net.network(), net.broadcast()].contains(&ip));
            own || ip.is_broadcast() || ip.is_unspecified()
        }
        IpAddr::V6(_) => false,
    };
    let group = |ip: IpAddr| ip.is_multicast() || all_hosts(ip);
    if to_mac.0[0] & 1 == 1 || group(destination) {
        return Fate::Nothing;
    }
    // "A packet leaves only with a source that the interface owns."
    if sender.checked && !sender.owns(source) {
        return Fate::Nothing;
    }
    let to = if to_mac == subnet.router_mac {
        // "What the router takes has a valid header, a sender, and a hop left."
        if !well_headed(&bytes[14..], source, destination) {
            return Fate::Nothing;
        }
        // "Link-locals are not routed", the router answers nothing, and only the VPC's own addresses lead anywhere.
        let owner = world
            .hosts
            .iter()
            .position(|h| h.vpc == sender.vpc && h.assigned(destination));
        owner.filter(|to| !link_local(source) || world.hosts[*to].subnet == sender.subnet)
    } else {
        // "A MAC of another subnet is dropped."
        world
            .hosts
            .iter()
            .position(|h| h.subnet == sender.subnet && h.mac == to_mac && h.mac != sender.mac)
    };
    // "It arrives only for a destination that the interface owns", and not longer than 9001 octets; for a longer routed
    // packet, the gateway notifies the sender, if there is a gateway.
    let Some(to) = to.filter(|to| !world.hosts[*to].checked || world.hosts[*to].owns(destination)) else {
        return Fate::Nothing;
    };
    if bytes.len() - 14 > 9001 {
        let fragments = matches!(source, IpAddr::V4(_)) && bytes[20] & 0x40 == 0;
        let gateway = if source.is_ipv4() {
            subnet.ipv4.is_some()
        } else {
            subnet.ipv6.is_some()
        };
        let told =
            to_mac == subnet.router_mac && !fragments && gateway && !source.is_unspecified() && !source.is_multicast();
        return if told {
            Fate::Answered(Said::TooBig(source))
        } else {
            Fate::Nothing
        };
    }
    if world.hosts[to].attached {
        Fate::Delivered(to)
    } else {
        Fate::Nothing
    }
}

/// RFC 1812 section 5.2.2 and RFC 8200: what a router may forward.
fn well_headed(packet: &[u8], source: IpAddr, destination: IpAddr) -> bool {
    let (sum, hops) = match source {
        IpAddr::V4(_) => {
            let header = &packet[..usize::from(packet[0] & 15) * 4];
            let sum: u32 = header.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
            (sum, packet[8])
        }
        IpAddr::V6(_) => (0, packet[7]),
    };
    let inside_a_host = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => [0, 127].contains(&ip.octets()[0]),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback(),
    };
    let many = source.is_multicast() || source == IpAddr::from([255; 4]);
    sum.is_multiple_of(0xffff) && hops > 0 && !many && !inside_a_host(source) && !inside_a_host(destination)
}

/// "ARP is answered with the owner's MAC for assigned addresses of the asker's subnet; gateway, resolver and services with
/// the router's; silence for the asker's own, unknown, reserved ones, and those of other subnets."
fn arp_fate(world: &World, sender: &Host, arp: &ArpPacketSlice<'_>) -> Fate {
    let four = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let (Some(asker), Some(target)) = (four(arp.sender_protocol_addr()), four(arp.target_protocol_addr())) else {
        return Fate::Nothing;
    };
    let usual = arp.hw_addr_type() == ArpHardwareId::ETHERNET && arp.proto_addr_type() == EtherType::IPV4;
    let honest = arp.sender_hw_addr() == sender.mac.0;
    if !usual || !honest || arp.operation() != ArpOperation::REQUEST || asker == target {
        return Fate::Nothing;
    }
    answer(world, sender, target, asker)
}

/// "A Neighbor Solicitation for an assigned address gets a solicited NA; malformed ND is dropped."
fn solicitation_fate(world: &World, sender: &Host, hops: u8, source: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Fate {
    if message.len() < 24 || hops != 255 || message[1] != 0 || !sum_is_right(source, to, message) {
        return Fate::Nothing;
    }
    let target = Ipv6Addr::from(<[u8; 16]>::try_from(&message[8..24]).expect("16 octets"));
    let Some(options) = options(&message[24..]) else {
        return Fate::Nothing;
    };
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    if target.is_multicast() || source.is_unspecified() && (options.contains(&1) || to != group) {
        return Fate::Nothing;
    }
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    answer(
        world,
        sender,
        target.into(),
        if source.is_unspecified() { all_nodes } else { source }.into(),
    )
}

/// "A Router Solicitation is answered to the interface's assigned global address; no RA in a subnet without IPv6."
fn router_solicitation_fate(
    w: &World,
    sender: &Host,
    hops: u8,
    source: Ipv6Addr,
    to: Ipv6Addr,
    message: &[u8],
) -> Fate {
    let fine = message.len() >= 8 && hops == 255 && message[1] == 0 && sum_is_right(source, to, message);
    let options = if fine { options(&message[8..]) } else { None };
    match (options, w.subnets[sender.subnet].ipv6) {
        (Some(options), Some(net)) if !(source.is_unspecified() && options.contains(&1)) => {
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            Fate::Answered(Said::Router(sender.first_ipv6().unwrap_or(all_nodes), net.network()))
        }
        _ => Fate::Nothing,
    }
}

/// The MAC of an address, as the fabric answers `sender`.
fn answer(world: &World, sender: &Host, target: IpAddr, to: IpAddr) -> Fate {
    let subnet = &world.subnets[sender.subnet];
    let owner = world
        .hosts
        .iter()
        .find(|h| h.subnet == sender.subnet && h.assigned(target));
    let mac = if subnet.is_router(target) || SERVICES.map(IpAddr::from).contains(&target) {
        Some(subnet.router_mac)
    } else if target == IpAddr::V6(sender.link_local()) || sender.assigned(target) {
        None
    } else if let (IpAddr::V6(address), true) = (target, link_local(target)) {
        // "Any EUI-64 link-local gets the MAC computed from it (ff:fe, U/L bit flipped)."
        match address.octets() {
            [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] if a & 1 == 0 => {
                Some(MacAddr([a ^ 2, b, c, d, e, f]))
            }
            _ => None,
        }
    } else {
        owner.map(|owner| owner.mac)
    };
    mac.map_or(Fate::Nothing, |mac| Fate::Answered(Said::IsAt(target, mac, to)))
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..2] == [169, 254],
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn mac(bytes: &[u8]) -> MacAddr {
    MacAddr(bytes.try_into().expect("6 octets"))
}

/// The types of the options; `None` where one has length 0 or runs past the end.
fn options(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(*rest.get(1)?) * 8;
        kinds.push(rest[0]);
        rest = rest.get(length..).filter(|_| length > 0)?;
    }
    Some(kinds)
}

fn sum_is_right(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> bool {
    let length = (message.len() as u32).to_be_bytes();
    let all = [
        &source.octets()[..],
        &destination.octets(),
        &length,
        &[0, 0, 0, 58],
        message,
    ]
    .concat();
    let sum: u32 = all
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)))
        .sum();
    sum.is_multiple_of(0xffff)
}

/// The content of a frame from the fabric.
pub(crate) fn said(frame: &[u8]) -> Said {
    let packet = SlicedPacket::from_ethernet(frame).expect("the fabric sends whole frames");
    let ip16 = |bytes: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("16 octets"));
    match packet.net.expect("a packet") {
        NetSlice::Arp(arp) => {
            let four = |bytes: &[u8]| IpAddr::from(<[u8; 4]>::try_from(bytes).expect("4 octets"));
            assert_eq!(
                (arp.operation(), arp.target_hw_addr()),
                (ArpOperation::REPLY, &frame[..6])
            );
            let (sender, target) = (arp.sender_protocol_addr(), arp.target_protocol_addr());
            Said::IsAt(four(sender), mac(arp.sender_hw_addr()), four(target))
        }
        NetSlice::Ipv6(ip) => {
            let (message, to) = (ip.payload().payload, ip.header().destination_addr());
            assert!(sum_is_right(ip.header().source_addr(), to, message), "checksum");
            assert!(message[0] == 2 || ip.header().hop_limit() == 255, "hop limit");
            match message[0] {
                2 => Said::TooBig(to.into()),
                136 => Said::IsAt(ip16(&message[8..24]).into(), mac(&message[26..32]), to.into()),
                134 => Said::Router(to, ip16(&message[32..48])),
                other => panic!("type {other}"),
            }
        }
        NetSlice::Ipv4(ip) => {
            assert_eq!(ip.payload().payload[..2], [3, 4], "Fragmentation Needed");
            Said::TooBig(ip.header().destination_addr().into())
        }
    }
}
