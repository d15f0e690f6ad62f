//! Describes a frame in one line, like tcpdump: `ARP who has 10.0.1.11`, `ICMP echo request …`.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::frame::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet, PROTOCOL_ICMP, PROTOCOL_ICMPV6,
    PROTOCOL_TCP, PROTOCOL_UDP,
};

/// Protocol number of VRRP (RFC 9568).
const PROTOCOL_VRRP: u8 = 112;

/// The description. The payload may be truncated behind the headers.
pub(crate) fn describe(bytes: &[u8]) -> String {
    let Ok(frame) = Frame::parse(bytes) else {
        return "no Ethernet frame".to_owned();
    };
    let payload = frame.payload();
    match frame.ethertype {
        ETHERTYPE_ARP => arp(payload),
        ETHERTYPE_IPV4 => ipv4(payload),
        ETHERTYPE_IPV6 => ipv6(payload),
        other => format!("EtherType 0x{other:04x}"),
    }
}

/// The address that an unsolicited announcement is about: gratuitous ARP (RFC 5227 section 3), or a neighbor
/// advertisement to all nodes (RFC 4861 section 7.2.6).
pub(crate) fn announced(bytes: &[u8]) -> Option<IpAddr> {
    let frame = Frame::parse(bytes).ok()?;
    let payload = frame.payload();
    match frame.ethertype {
        ETHERTYPE_ARP => {
            let packet = payload.first_chunk::<28>()?;
            let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
            let (sender, target) = (address(14), address(24));
            let unasked = sender == target || (packet[7] == 2 && frame.destination.0[0] & 1 == 1);
            (unasked && !sender.is_unspecified()).then_some(sender.into())
        }
        ETHERTYPE_IPV6 => {
            let packet = Ipv6Packet::parse(payload).ok()?;
            let (message, to_all) = (packet.payload(), packet.destination.is_multicast());
            let is_advertisement = packet.protocol == PROTOCOL_ICMPV6 && message.first() == Some(&136);
            let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
            (is_advertisement && to_all).then_some(Ipv6Addr::from(target).into())
        }
        _ => None,
    }
}

/// RFC 826, for Ethernet and IPv4.
fn arp(payload: &[u8]) -> String {
    let Some(packet) = payload.first_chunk::<28>() else {
        return "ARP, cut off".to_owned();
    };
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let (sender, target) = (address(14), address(24));
    match u16::from_be_bytes([packet[6], packet[7]]) {
        1 if sender == target => format!("ARP announces {sender}"),
        1 => format!("ARP who has {target}, asks {sender}"),
        2 => format!("ARP reply: {sender} is at {}", mac(&packet[8..14])),
        operation => format!("ARP operation {operation}"),
    }
}

fn mac(octets: &[u8]) -> String {
    let octets: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

fn ipv4(payload: &[u8]) -> String {
    match Ipv4Packet::parse(&whole(payload, ipv4_length(payload))) {
        Ok(packet) if packet.fragment_offset > 0 => {
            format!("fragment {} > {}", packet.source, packet.destination)
        }
        Ok(packet) => upper(packet.source, packet.destination, packet.protocol, packet.payload()),
        Err(_) => "malformed IPv4".to_owned(),
    }
}

fn ipv6(payload: &[u8]) -> String {
    match Ipv6Packet::parse(&whole(payload, ipv6_length(payload))) {
        Ok(packet) if packet.later_fragment => format!("fragment {} > {}", packet.source, packet.destination),
        Ok(packet) => upper(packet.source, packet.destination, packet.protocol, packet.payload()),
        Err(_) => "malformed IPv6".to_owned(),
    }
}

fn ipv4_length(payload: &[u8]) -> usize {
    payload
        .get(2..4)
        .map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]])))
}

fn ipv6_length(payload: &[u8]) -> usize {
    payload
        .get(4..6)
        .map_or(0, |length| 40 + usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// The packet with zeros in place of the truncated octets, so that its lengths match its header.
fn whole(payload: &[u8], length: usize) -> Vec<u8> {
    let mut whole = payload.to_vec();
    whole.resize(length.max(payload.len()), 0);
    whole
}

fn upper(source: impl Display, destination: impl Display, protocol: u8, payload: &[u8]) -> String {
    let kind = payload.first().copied().unwrap_or_default();
    let port = |at: usize| {
        payload
            .get(at..at + 2)
            .map_or(0, |port| u16::from_be_bytes([port[0], port[1]]))
    };
    let way = format!("{source} > {destination}");
    match protocol {
        PROTOCOL_ICMP => format!("ICMP {} {way}", icmp(kind)),
        PROTOCOL_ICMPV6 => format!("ICMPv6 {} {way}", icmpv6(kind, payload)),
        PROTOCOL_TCP => {
            let flags = payload.get(13).copied().unwrap_or_default();
            format!(
                "TCP {} {source}:{} > {destination}:{}",
                tcp_flags(flags),
                port(0),
                port(2)
            )
        }
        PROTOCOL_UDP => format!("UDP {source}:{} > {destination}:{}", port(0), port(2)),
        PROTOCOL_VRRP => format!("VRRP {way}"),
        other => format!("protocol {other} {way}"),
    }
}

/// RFC 792.
fn icmp(kind: u8) -> String {
    match kind {
        0 => "echo reply".to_owned(),
        3 => "destination unreachable".to_owned(),
        5 => "redirect".to_owned(),
        8 => "echo request".to_owned(),
        11 => "time exceeded".to_owned(),
        other => format!("type {other}"),
    }
}

/// RFC 4443, RFC 4861, RFC 3810.
fn icmpv6(kind: u8, payload: &[u8]) -> String {
    let target = || {
        let octets: Option<[u8; 16]> = payload.get(8..24).and_then(|octets| octets.try_into().ok());
        octets.map_or_else(String::new, |octets| format!(" {}", Ipv6Addr::from(octets)))
    };
    match kind {
        1 => "destination unreachable".to_owned(),
        2 => "packet too big".to_owned(),
        3 => "time exceeded".to_owned(),
        128 => "echo request".to_owned(),
        129 => "echo reply".to_owned(),
        130 | 131 | 132 | 143 => "multicast listener".to_owned(),
        133 => "router solicitation".to_owned(),
        134 => "router advertisement".to_owned(),
        135 => format!("neighbor solicitation{}", target()),
        136 => format!("neighbor advertisement{}", target()),
        137 => "redirect".to_owned(),
        other => format!("type {other}"),
    }
}

/// RFC 9293 section 3.1.
fn tcp_flags(flags: u8) -> String {
    let names = [
        (0x02, "SYN"),
        (0x10, "ACK"),
        (0x01, "FIN"),
        (0x04, "RST"),
        (0x08, "PSH"),
    ];
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    set.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(hex: &str) -> String {
        let digits: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        describe(&bytes)
    }

    #[test]
    fn frames_are_described_by_what_they_ask_and_say() {
        let ethernet = "ffffffffffff 020000000001";
        let arp = "0806 0001 0800 06 04 0001 020000000001 0a00010a 000000000000";
        let udp = "0800 45000020 00000000 40110000 0a00010a 0a00010b 04d2 0035 000c 0000 00000000";
        let tcp = "0800 45000028 00000000 40060000 0a00010a 0a00010b 9c40 0050 00000000 00000000 5012 0000 0000 0000";
        let solicitation = "86dd 60000000 0020 3aff fe800000000000000000000000000001 \
             ff0200000000000000000001ff000002 8700 0000 00000000 20010db8000000000000000000000002 0101020000000001";
        for (rest, expected) in [
            (format!("{arp} 0a00010b"), "ARP who has 10.0.1.11, asks 10.0.1.10"),
            (format!("{arp} 0a00010a"), "ARP announces 10.0.1.10"),
            (udp.to_owned(), "UDP 10.0.1.10:1234 > 10.0.1.11:53"),
            (tcp.to_owned(), "TCP SYN-ACK 10.0.1.10:40000 > 10.0.1.11:80"),
            (
                solicitation.to_owned(),
                "ICMPv6 neighbor solicitation 2001:db8::2 fe80::1 > ff02::1:ff00:2",
            ),
            ("0800 46".to_owned(), "malformed IPv4"),
            ("88cc".to_owned(), "EtherType 0x88cc"),
        ] {
            assert_eq!(frame(&format!("{ethernet} {rest}")), expected);
        }
    }

    #[test]
    fn a_frame_that_the_record_cut_off_is_described_by_its_headers() {
        let headers = "ffffffffffff 020000000001 0800 450005dc 00000000 40010000 0a00010a 0a00010b 0800";
        assert_eq!(frame(headers), "ICMP echo request 10.0.1.10 > 10.0.1.11");
    }
}
