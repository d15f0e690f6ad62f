//! Builds the frames that a host would send: ARP request or Neighbor Solicitation, echo request, TCP SYN, UDP datagram.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet, Icmpv4Repr,
    Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, IpRepr, Ipv4Repr, Ipv6Repr, NdiscRepr, RawHardwareAddress,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use super::Packet;
use crate::wire::MacAddr;
use crate::wire::frame::{ETHERTYPE_ARP, Frame, Ipv6Packet};
use crate::wire::neighbor::{Arp, solicited_node};

/// The protocol of a described packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// An echo request of the destination's family.
    #[default]
    Icmp,
    /// A TCP SYN.
    Tcp,
    /// A UDP datagram of 8 bytes of payload.
    Udp,
}

const PAYLOAD: [u8; 8] = *b"explain!";

fn ethernet(mac: MacAddr) -> EthernetAddress {
    EthernetAddress(mac.0)
}

/// The MAC of an IPv4 group (RFC 1112 section 6.4).
pub(super) fn group_mac_ipv4(group: Ipv4Addr) -> MacAddr {
    let [_, b, c, d] = group.octets();
    MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

/// The MAC of an IPv6 group (RFC 2464 section 7).
pub(super) fn group_mac_ipv6(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

fn frame(source: MacAddr, destination: MacAddr, kind: EthernetProtocol, length: usize) -> EthernetFrame<Vec<u8>> {
    let header = EthernetRepr {
        src_addr: ethernet(source),
        dst_addr: ethernet(destination),
        ethertype: kind,
    };
    let mut frame = EthernetFrame::new_unchecked(vec![0; EthernetFrame::<&[u8]>::header_len() + length]);
    header.emit(&mut frame);
    frame
}

/// A broadcast ARP request.
pub(super) fn arp_request(mac: MacAddr, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: ethernet(mac),
        source_protocol_addr: source,
        target_hardware_addr: ethernet(MacAddr::ZERO),
        target_protocol_addr: target,
    };
    let mut frame = frame(mac, MacAddr::BROADCAST, EthernetProtocol::Arp, request.buffer_len());
    request.emit(&mut smoltcp::wire::ArpPacket::new_unchecked(frame.payload_mut()));
    frame.into_inner()
}

/// A Neighbor Solicitation to the solicited-node group.
pub(super) fn neighbor_solicitation(mac: MacAddr, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let question = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr: Some(RawHardwareAddress::from(ethernet(mac))),
    });
    let header = Ipv6Repr {
        src_addr: source,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: question.buffer_len(),
        hop_limit: 255,
    };
    let length = header.buffer_len() + question.buffer_len();
    let mut frame = frame(mac, group_mac_ipv6(group), EthernetProtocol::Ipv6, length);
    let mut packet = smoltcp::wire::Ipv6Packet::new_unchecked(frame.payload_mut());
    header.emit(&mut packet);
    let caps = ChecksumCapabilities::default();
    question.emit(
        &source,
        &group,
        &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
        &caps,
    );
    frame.into_inner()
}

/// The described packet, as a frame.
pub(super) fn packet(mac: MacAddr, destination: MacAddr, spec: &Packet) -> Vec<u8> {
    let source = spec.source;
    let caps = ChecksumCapabilities::default();
    let (from, to) = (IpAddress::from(source), IpAddress::from(spec.to));
    let tcp = TcpRepr {
        src_port: spec.source_port,
        dst_port: spec.destination_port,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(0),
        ack_number: spec.reply.then_some(TcpSeqNumber(1)),
        window_len: 64_240,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let udp = UdpRepr {
        src_port: spec.source_port,
        dst_port: spec.destination_port,
    };
    let (ident, seq_no, data) = (spec.identifier, 1, &PAYLOAD[..]);
    let echo4 = match spec.reply {
        false => Icmpv4Repr::EchoRequest { ident, seq_no, data },
        true => Icmpv4Repr::EchoReply { ident, seq_no, data },
    };
    let echo6 = match spec.reply {
        false => Icmpv6Repr::EchoRequest { ident, seq_no, data },
        true => Icmpv6Repr::EchoReply { ident, seq_no, data },
    };
    let (protocol, length) = match (spec.protocol, spec.to) {
        (Protocol::Icmp, IpAddr::V4(_)) => (IpProtocol::Icmp, echo4.buffer_len()),
        (Protocol::Icmp, IpAddr::V6(_)) => (IpProtocol::Icmpv6, echo6.buffer_len()),
        (Protocol::Tcp, _) => (IpProtocol::Tcp, tcp.buffer_len()),
        (Protocol::Udp, _) => (IpProtocol::Udp, udp.header_len() + PAYLOAD.len()),
    };
    let (header, kind) = match (source, spec.to) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let header = Ipv4Repr {
                src_addr,
                dst_addr,
                next_header: protocol,
                payload_len: length,
                hop_limit: 64,
            };
            (IpRepr::Ipv4(header), EthernetProtocol::Ipv4)
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let header = Ipv6Repr {
                src_addr,
                dst_addr,
                next_header: protocol,
                payload_len: length,
                hop_limit: 64,
            };
            (IpRepr::Ipv6(header), EthernetProtocol::Ipv6)
        }
        _ => unreachable!("the families were compared when the source was chosen"),
    };
    let mut frame = frame(mac, destination, kind, header.buffer_len());
    let bytes = frame.payload_mut();
    header.emit(&mut bytes[..], &caps);
    let payload = &mut bytes[header.header_len()..];
    match (spec.protocol, source, spec.to) {
        (Protocol::Icmp, IpAddr::V6(source), IpAddr::V6(to)) => {
            echo6.emit(&source, &to, &mut Icmpv6Packet::new_unchecked(payload), &caps);
        }
        (Protocol::Icmp, ..) => echo4.emit(&mut Icmpv4Packet::new_unchecked(payload), &caps),
        (Protocol::Tcp, ..) => tcp.emit(&mut TcpPacket::new_unchecked(payload), &from, &to, &caps),
        (Protocol::Udp, ..) => {
            let fill = |buffer: &mut [u8]| buffer.copy_from_slice(&PAYLOAD);
            udp.emit(
                &mut UdpPacket::new_unchecked(payload),
                &from,
                &to,
                PAYLOAD.len(),
                fill,
                &caps,
            );
        }
    }
    frame.into_inner()
}

/// The MAC that an ARP reply or Neighbor Advertisement gives.
pub(super) fn answered_mac(reply: &[u8]) -> Option<MacAddr> {
    let frame = Frame::parse(reply).ok()?;
    if frame.ethertype == ETHERTYPE_ARP {
        return Arp::parse(frame.payload()).map(|arp| arp.sender_mac);
    }
    let packet = Ipv6Packet::parse(frame.payload()).ok()?;
    // Target link-layer address option, directly after the target (RFC 4861 sections 4.4 and 4.6.1).
    let option = packet.payload().get(24..32)?;
    if option[..2] == [2, 1] {
        MacAddr::from_slice(&option[2..])
    } else {
        None
    }
}
