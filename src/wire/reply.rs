//! Writes the frames that the VPC itself sends into a reused buffer: ARP replies, Neighbor and Router Advertisements,
//! announcements of a moved address, echo replies.

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr};

use super::MacAddr;
use super::checksum::Sum;
use super::frame::{ETHERNET_HEADER, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet, PROTOCOL_ICMPV6, PROTOCOL_TCP};
use super::neighbor::{icmpv6, solicited_node};

/// Size of the largest answer: an echo reply to an ordinary ping, headers included.
pub const REPLY_CAPACITY: usize = 2048;

/// `ff02::1`.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A buffer for one frame. A worker has one and overwrites it for every answer.
pub struct ReplyBuffer {
    bytes: [u8; REPLY_CAPACITY],
    length: usize,
}

impl Default for ReplyBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// An answer larger than [`REPLY_CAPACITY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// The content of a Router Advertisement, from the profile and the subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// MAC of the port that it goes to.
    pub to_mac: MacAddr,
    /// IPv6 destination.
    pub to: Ipv6Addr,
    /// MAC of the subnet's router.
    pub router_mac: MacAddr,
    /// Link-local address of the subnet's router, the source.
    pub from: Ipv6Addr,
    /// The subnet's /64.
    pub prefix: Ipv6Addr,
    /// Hop limit for hosts, 0 for unspecified.
    pub hop_limit: u8,
    /// M.
    pub managed: bool,
    /// O.
    pub other: bool,
    /// Seconds.
    pub router_lifetime: u16,
    /// L.
    pub on_link: bool,
    /// A.
    pub autonomous: bool,
    /// Seconds, valid and preferred.
    pub prefix_lifetime: u32,
    /// Whether to send the prefix information option.
    pub prefix_information: bool,
    /// Prefix length of the route information option (RFC 4191); `None` for no such option.
    pub route_length: Option<u8>,
    /// Whether to send the source link-layer address option.
    pub source_link_layer: bool,
}

/// Flags of a Neighbor Advertisement (RFC 4861 section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdvertisementFlags {
    /// R: the sender is a router.
    pub router: bool,
    /// S: it answers a solicitation.
    pub solicited: bool,
    /// O: override the receiver's cache entry.
    pub override_cached: bool,
}

impl ReplyBuffer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self {
            bytes: [0; REPLY_CAPACITY],
            length: 0,
        }
    }

    /// The latest frame.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// An ARP reply to `asker`: `address` is at `mac`.
    pub fn arp_reply(&mut self, mac: MacAddr, address: Ipv4Addr, asker_mac: MacAddr, asker: Ipv4Addr) {
        self.arp(
            ArpOperation::Reply,
            (mac, address),
            (asker_mac, asker),
            (mac, asker_mac),
        );
    }

    /// A gratuitous ARP request (RFC 5227 section 3) in a frame to one port: `address` is now at `mac`.
    pub fn gratuitous_arp(&mut self, mac: MacAddr, address: Ipv4Addr, to: MacAddr) {
        self.arp(
            ArpOperation::Request,
            (mac, address),
            (MacAddr::ZERO, address),
            (mac, to),
        );
    }

    fn arp(
        &mut self,
        operation: ArpOperation,
        source: (MacAddr, Ipv4Addr),
        target: (MacAddr, Ipv4Addr),
        (from, to): (MacAddr, MacAddr),
    ) {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(source.0.0),
            source_protocol_addr: source.1,
            target_hardware_addr: EthernetAddress(target.0.0),
            target_protocol_addr: target.1,
        };
        self.length = ETHERNET_HEADER + repr.buffer_len();
        let mut frame = EthernetFrame::new_unchecked(&mut self.bytes[..self.length]);
        EthernetRepr {
            src_addr: EthernetAddress(from.0),
            dst_addr: EthernetAddress(to.0),
            ethertype: EthernetProtocol::Arp,
        }
        .emit(&mut frame);
        repr.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    }

    /// A Neighbor Advertisement with the target link-layer address option: `target` is at `mac`.
    pub fn neighbor_advertisement(
        &mut self,
        target: Ipv6Addr,
        mac: MacAddr,
        from: Ipv6Addr,
        to: (MacAddr, Ipv6Addr),
        flags: AdvertisementFlags,
    ) {
        let mut message = [0_u8; 32];
        message[0] = icmpv6::NEIGHBOR_ADVERTISEMENT;
        message[4] =
            u8::from(flags.router) << 7 | u8::from(flags.solicited) << 6 | u8::from(flags.override_cached) << 5;
        message[8..24].copy_from_slice(&target.octets());
        message[24] = 2;
        message[25] = 1;
        message[26..].copy_from_slice(&mac.0);
        self.icmpv6(mac, from, to, &mut message);
    }

    /// An ARP request: who has `target`, tell `sender` at `mac`.
    pub fn arp_request(&mut self, mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) {
        self.arp(
            ArpOperation::Request,
            (mac, sender),
            (MacAddr::ZERO, target),
            (mac, MacAddr::BROADCAST),
        );
    }

    /// A Neighbor Solicitation to the solicited-node group, with source link-layer address option (RFC 4861 section 7.2.2).
    pub fn neighbor_solicitation(&mut self, mac: MacAddr, from: Ipv6Addr, target: Ipv6Addr) {
        let mut message = [0_u8; 32];
        message[0] = icmpv6::NEIGHBOR_SOLICITATION;
        message[8..24].copy_from_slice(&target.octets());
        message[24] = 1;
        message[25] = 1;
        message[26..].copy_from_slice(&mac.0);
        let group = solicited_node(target);
        // RFC 2464 section 7: 33:33 and the group's last four octets.
        let [.., a, b, c, d] = group.octets();
        let to = MacAddr([0x33, 0x33, a, b, c, d]);
        self.icmpv6(mac, from, (to, group), &mut message);
    }

    /// A Router Advertisement: 16 octets, 32 for the prefix, 8 to 24 for a route, 8 for the source link-layer address.
    pub fn router_advertisement(&mut self, advertisement: &RouterAdvertisement) {
        let a = advertisement;
        let mut message = [0_u8; 16 + 32 + 24 + 8];
        message[0] = icmpv6::ROUTER_ADVERTISEMENT;
        message[4] = a.hop_limit;
        message[5] = u8::from(a.managed) << 7 | u8::from(a.other) << 6;
        message[6..8].copy_from_slice(&a.router_lifetime.to_be_bytes());
        // Reachable time and retransmission timer stay 0, unspecified.
        let mut length = 16;
        if a.prefix_information {
            let option = &mut message[length..length + 32];
            option[..4].copy_from_slice(&[3, 4, 64, u8::from(a.on_link) << 7 | u8::from(a.autonomous) << 6]);
            option[4..8].copy_from_slice(&a.prefix_lifetime.to_be_bytes());
            option[8..12].copy_from_slice(&a.prefix_lifetime.to_be_bytes());
            option[16..].copy_from_slice(&a.prefix.octets());
            length += 32;
        }
        if let Some(prefix_length) = a.route_length {
            // RFC 4191 section 2.3: as many octets of the prefix as its length needs, in steps of 8; medium preference.
            let octets = usize::from(prefix_length.div_ceil(64).min(2)) * 8;
            let option = &mut message[length..length + 8 + octets];
            option[..4].copy_from_slice(&[24, 1 + octets as u8 / 8, prefix_length, 0]);
            option[4..8].copy_from_slice(&a.prefix_lifetime.to_be_bytes());
            option[8..].copy_from_slice(&a.prefix.octets()[..octets]);
            length += 8 + octets;
        }
        if a.source_link_layer {
            message[length..length + 2].copy_from_slice(&[1, 1]);
            message[length + 2..length + 8].copy_from_slice(&a.router_mac.0);
            length += 8;
        }
        self.icmpv6(a.router_mac, a.from, (a.to_mac, a.to), &mut message[..length]);
    }

    /// Wraps an ICMPv6 message (checksum field zero) with hop limit 255.
    fn icmpv6(&mut self, from_mac: MacAddr, from: Ipv6Addr, to: (MacAddr, Ipv6Addr), message: &mut [u8]) {
        let sum = Sum::new()
            .ipv6_pseudo_header(&from.octets(), &to.1.octets(), PROTOCOL_ICMPV6, message.len() as u32)
            .bytes(message)
            .complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.length = ETHERNET_HEADER + 40 + message.len();
        let bytes = &mut self.bytes[..self.length];
        bytes[..6].copy_from_slice(&to.0.0);
        bytes[6..12].copy_from_slice(&from_mac.0);
        bytes[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
        bytes[14..18].copy_from_slice(&[0x60, 0, 0, 0]);
        // Every message written here is shorter than the buffer, so the length fits.
        bytes[18..20].copy_from_slice(&(message.len() as u16).to_be_bytes());
        bytes[20] = PROTOCOL_ICMPV6;
        bytes[21] = 255;
        bytes[22..38].copy_from_slice(&from.octets());
        bytes[38..54].copy_from_slice(&to.1.octets());
        bytes[54..].copy_from_slice(message);
    }

    /// The answer to an ICMP echo request, from `from` at `mac` (RFC 792).
    pub fn echo_reply_ipv4(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv4Packet<'_>,
        mac: MacAddr,
        from: Ipv4Addr,
    ) -> Result<(), TooLong> {
        let payload = packet.payload();
        let bytes = self.begin(frame, mac, 20 + payload.len())?;
        let (header, message) = bytes[ETHERNET_HEADER..].split_at_mut(20);
        header[..4].copy_from_slice(&[0x45, 0, packet.bytes[2], packet.bytes[3]]);
        // The request may have had options; the reply has none.
        let total = (20 + payload.len()) as u16;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[4..12].copy_from_slice(&[0, 0, 0, 0, 64, 1, 0, 0]);
        header[12..16].copy_from_slice(&from.octets());
        header[16..20].copy_from_slice(&packet.source.octets());
        let sum = Sum::new().bytes(header).complement();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        message.copy_from_slice(payload);
        message[0] = 0;
        message[2..4].fill(0);
        let sum = Sum::new().bytes(message).complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Ok(())
    }

    /// The answer to an ICMPv6 echo request, from `from` at `mac` (RFC 4443 section 4.2).
    pub fn echo_reply_ipv6(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv6Packet<'_>,
        mac: MacAddr,
        from: Ipv6Addr,
    ) -> Result<(), TooLong> {
        let payload = packet.payload();
        let bytes = self.begin(frame, mac, 40 + payload.len())?;
        let (header, message) = bytes[ETHERNET_HEADER..].split_at_mut(40);
        header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        header[6] = PROTOCOL_ICMPV6;
        header[7] = 64;
        header[8..24].copy_from_slice(&from.octets());
        header[24..40].copy_from_slice(&packet.source.octets());
        message.copy_from_slice(payload);
        message[0] = 129;
        message[2..4].fill(0);
        let sum = Sum::new()
            .ipv6_pseudo_header(&header[8..24], &header[24..40], PROTOCOL_ICMPV6, payload.len() as u32)
            .bytes(message)
            .complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Ok(())
    }

    /// ICMP Destination Unreachable, Fragmentation Needed, with the next hop's MTU (RFC 1191 section 4).
    pub fn fragmentation_needed(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv4Packet<'_>,
        mac: MacAddr,
        from: Ipv4Addr,
        mtu: u16,
    ) {
        self.icmp_error(frame, packet, (mac, from), [3, 4], mtu);
    }

    /// An ICMP error about a packet, with a word in the second half of its parameter.
    fn icmp_error(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv4Packet<'_>,
        (mac, from): (MacAddr, Ipv4Addr),
        kind: [u8; 2],
        parameter: u16,
    ) {
        // RFC 1812 section 4.3.2.3: as much of the packet as fits into 576 octets.
        let quoted = &packet.bytes[..packet.bytes.len().min(576 - 28)];
        let total = 28 + quoted.len();
        let Ok(bytes) = self.begin(frame, mac, total) else {
            unreachable!("576 octets fit")
        };
        let (header, message) = bytes[ETHERNET_HEADER..].split_at_mut(20);
        header[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0]);
        header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        header[12..16].copy_from_slice(&from.octets());
        header[16..20].copy_from_slice(&packet.source.octets());
        let sum = Sum::new().bytes(header).complement();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        message[..6].copy_from_slice(&[kind[0], kind[1], 0, 0, 0, 0]);
        message[6..8].copy_from_slice(&parameter.to_be_bytes());
        message[8..].copy_from_slice(quoted);
        let sum = Sum::new().bytes(message).complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }

    /// ICMP Time Exceeded in transit (RFC 792).
    pub fn time_exceeded(&mut self, frame: &Frame<'_>, packet: &Ipv4Packet<'_>, mac: MacAddr, from: Ipv4Addr) {
        self.icmp_error(frame, packet, (mac, from), [11, 0], 0);
    }

    /// The reset of a TCP connection in the name of the other end (RFC 9293 section 3.10.7.1): acceptable to the sender of
    /// the segment that it answers.
    pub fn tcp_reset(&mut self, frame: &Frame<'_>, packet: &Ipv4Packet<'_>, mac: MacAddr) {
        let (source, destination) = (packet.source, packet.destination);
        let pseudo = Sum::new().ipv4_pseudo_header(&destination.octets(), &source.octets(), PROTOCOL_TCP, 20);
        let Some(message) = reset(packet.payload(), pseudo) else {
            return;
        };
        let Ok(bytes) = self.begin(frame, mac, 40) else {
            unreachable!("40 octets fit")
        };
        let (header, segment) = bytes[ETHERNET_HEADER..].split_at_mut(20);
        header[..12].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, PROTOCOL_TCP, 0, 0]);
        header[12..16].copy_from_slice(&destination.octets());
        header[16..20].copy_from_slice(&source.octets());
        let sum = Sum::new().bytes(header).complement();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        segment.copy_from_slice(&message);
    }

    /// The same over IPv6.
    pub fn tcp_reset_ipv6(&mut self, frame: &Frame<'_>, packet: &Ipv6Packet<'_>, mac: MacAddr) {
        let (source, destination) = (packet.source.octets(), packet.destination.octets());
        let pseudo = Sum::new().ipv6_pseudo_header(&destination, &source, PROTOCOL_TCP, 20);
        let Some(message) = reset(packet.payload(), pseudo) else {
            return;
        };
        let Ok(bytes) = self.begin(frame, mac, 60) else {
            unreachable!("60 octets fit")
        };
        let (header, segment) = bytes[ETHERNET_HEADER..].split_at_mut(40);
        header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 20, PROTOCOL_TCP, 64]);
        header[8..24].copy_from_slice(&destination);
        header[24..40].copy_from_slice(&source);
        segment.copy_from_slice(&message);
    }

    /// ICMPv6 Packet Too Big (RFC 4443 section 3.2).
    pub fn packet_too_big(
        &mut self,
        frame: &Frame<'_>,
        packet: &Ipv6Packet<'_>,
        mac: MacAddr,
        from: Ipv6Addr,
        mtu: u16,
    ) {
        // As much of the packet as fits into the minimum IPv6 MTU.
        let quoted = &packet.bytes[..packet.bytes.len().min(1280 - 48)];
        let length = 8 + quoted.len();
        let Ok(bytes) = self.begin(frame, mac, 40 + length) else {
            unreachable!("1280 octets fit")
        };
        let (header, message) = bytes[ETHERNET_HEADER..].split_at_mut(40);
        header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, PROTOCOL_ICMPV6, 64]);
        header[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        header[8..24].copy_from_slice(&from.octets());
        header[24..40].copy_from_slice(&packet.source.octets());
        message[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
        message[6..8].copy_from_slice(&mtu.to_be_bytes());
        message[8..].copy_from_slice(quoted);
        let sum = Sum::new()
            .ipv6_pseudo_header(&header[8..24], &header[24..40], PROTOCOL_ICMPV6, length as u32)
            .bytes(message)
            .complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }

    /// Begins a frame to the sender of `frame` with `length` octets after the Ethernet header.
    fn begin(&mut self, frame: &Frame<'_>, mac: MacAddr, length: usize) -> Result<&mut [u8], TooLong> {
        let total = ETHERNET_HEADER + length;
        if total > REPLY_CAPACITY {
            return Err(TooLong);
        }
        self.length = total;
        let bytes = &mut self.bytes[..total];
        bytes[..6].copy_from_slice(&frame.source.0);
        bytes[6..12].copy_from_slice(&mac.0);
        bytes[12..14].copy_from_slice(&frame.ethertype.to_be_bytes());
        Ok(bytes)
    }
}

/// The segment that resets a connection, with a checksum over the sum of its pseudo-header; `None` where the segment that it
/// answers is cut short.
fn reset(segment: &[u8], pseudo: Sum) -> Option<[u8; 20]> {
    let tcp = segment.first_chunk::<20>()?;
    let header_length = usize::from(tcp[12] >> 4) * 4;
    let flags = tcp[13];
    let octets = segment.len().saturating_sub(header_length) as u32 + u32::from(flags & 1) + u32::from(flags >> 1 & 1);
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let mut message = [0; 20];
    message[..2].copy_from_slice(&tcp[2..4]);
    message[2..4].copy_from_slice(&tcp[..2]);
    if flags & 0x10 == 0 {
        message[8..12].copy_from_slice(&sequence.wrapping_add(octets).to_be_bytes());
        message[13] = 0x14;
    } else {
        message[4..8].copy_from_slice(&tcp[8..12]);
        message[13] = 0x04;
    }
    message[12] = 5 << 4;
    let sum = pseudo.bytes(&message).complement();
    message[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: MacAddr = MacAddr([0x0a, 0xca, 0x05, 0x9c, 0xfc, 0x14]);
    const ROUTER: MacAddr = MacAddr([0x02, 0xd0, 0x0b, 0x1e, 0x7b, 0xbc]);

    /// An echo request with this many octets of data.
    fn ping(data: usize) -> Vec<u8> {
        let total = (28 + data) as u16;
        let mut frame = [&ROUTER.0[..], &HOST.0, &[8, 0, 0x45, 0], &total.to_be_bytes()].concat();
        frame.extend([
            0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 1, 10, 10, 0, 1, 1, 8, 0, 0, 0, 0, 1, 0, 1,
        ]);
        frame.resize(42 + data, 0xa5);
        frame
    }

    #[test]
    fn an_answer_contains_nothing_of_the_previous_one() {
        let written = |reply: &mut ReplyBuffer| {
            reply.arp_reply(ROUTER, Ipv4Addr::new(10, 0, 1, 1), HOST, Ipv4Addr::new(10, 0, 1, 10));
            reply.frame().to_vec()
        };
        let mut fresh = ReplyBuffer::new();
        let mut used = ReplyBuffer::new();
        used.bytes.fill(0xa5);
        assert_eq!(written(&mut used), written(&mut fresh));
        let flags = AdvertisementFlags {
            router: true,
            solicited: false,
            override_cached: true,
        };
        let advertised = |reply: &mut ReplyBuffer| {
            reply.neighbor_advertisement(ALL_NODES, ROUTER, ROUTER.link_local(), (HOST, ALL_NODES), flags);
            reply.frame().to_vec()
        };
        assert_eq!(advertised(&mut used), advertised(&mut fresh));
        used.clear();
        assert!(used.frame().is_empty());
    }

    #[test]
    fn an_echo_reply_that_does_not_fit_is_not_begun() {
        let mut reply = ReplyBuffer::new();
        for (data, fits) in [(0, true), (REPLY_CAPACITY - 42, true), (REPLY_CAPACITY - 41, false)] {
            let bytes = ping(data);
            let frame = Frame::parse(&bytes).unwrap();
            let packet = Ipv4Packet::parse(frame.payload()).unwrap();
            let answered = reply.echo_reply_ipv4(&frame, &packet, ROUTER, packet.destination);
            assert_eq!(answered.is_ok(), fits, "{data} octets");
            assert_eq!(
                reply.frame().len(),
                if fits { 42 + data } else { REPLY_CAPACITY },
                "{data} octets"
            );
        }
    }
}
