//! Translates the IPv4 addresses and ports of a packet in place. Checksums are updated by what changed (RFC 1624), never
//! summed anew, so a frame that stands for many packets is translated as one.
//!
//! An ICMP error quotes the packet that it is about, which went the other way: its addresses and ports are translated back
//! (RFC 5508, REQ-3 to REQ-5).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::frame::{ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::wire::siit::{self, Written};

/// The addresses and ports that a packet has from a gateway on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// Its source address.
    pub source: Ipv4Addr,
    /// Its destination address.
    pub destination: Ipv4Addr,
    /// Its source port, or the identifier of its ICMP query; 0 leaves what is there.
    pub source_port: u16,
    /// Its destination port, or the identifier of the answer to its ICMP query; 0 leaves what is there.
    pub destination_port: u16,
}

/// The beginning of a frame as it will be translated: what rules and tracking read of it.
pub(super) struct Head {
    octets: [u8; HEAD],
    length: usize,
}

/// Enough for a header with options, an ICMP error and the packet that it quotes.
const HEAD: usize = 256;

impl Head {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// The beginning of an IPv6 frame in IPv4, with [`siit::HOST`] in the place of its sender, and how many octets of the packet
    /// are behind it. `None` for what is not translated.
    pub(super) fn in_ipv4(frame: &[u8]) -> Option<(Self, usize)> {
        Self::in_family(frame, ETHERTYPE_IPV4, |packet, out| siit::to_ipv4(packet, false, out))
    }

    /// The beginning of an IPv4 frame, translated, in IPv6. `host` takes the place of [`siit::HOST`].
    pub(super) fn in_ipv6(frame: &[u8], translation: &Translation, host: Ipv6Addr) -> Option<(Self, usize)> {
        let length = frame.len().min(HEAD);
        let mut beginning = [0; HEAD];
        beginning[..length].copy_from_slice(&frame[..length]);
        translation.apply(beginning.get_mut(ETHERNET_HEADER..length)?, false);
        Self::in_family(&beginning[..length], ETHERTYPE_IPV6, |packet, out| {
            siit::to_ipv6(packet, host, false, out)
        })
    }

    fn in_family(
        frame: &[u8],
        ethertype: u16,
        write: impl FnOnce(&[u8], &mut [u8]) -> Option<Written>,
    ) -> Option<(Self, usize)> {
        let mut octets = [0; HEAD];
        let (ethernet, packet) = octets.split_at_mut(ETHERNET_HEADER);
        ethernet[..12].copy_from_slice(frame.get(..12)?);
        ethernet[12..].copy_from_slice(&ethertype.to_be_bytes());
        let written = write(frame.get(ETHERNET_HEADER..)?, packet)?;
        let behind = written.declared - written.there;
        if behind > 0 {
            let (at, fixed) = match ethertype {
                ETHERTYPE_IPV4 => (2, 0),
                _ => (4, siit::IPV6_HEADER),
            };
            // At most 256 octets.
            packet[at..at + 2].copy_from_slice(&((written.there - fixed) as u16).to_be_bytes());
        }
        let head = Self {
            octets,
            length: ETHERNET_HEADER + written.there,
        };
        Some((head, behind))
    }
}

/// What a sum of 16-bit words changes by (RFC 1624).
#[derive(Debug, Clone, Copy, Default)]
struct Delta(u32);

impl Delta {
    fn word(&mut self, old: u16, new: u16) {
        self.0 += u32::from(!old) + u32::from(new);
    }

    fn added_to(self, sum: u16) -> u16 {
        let mut sum = u32::from(sum) + self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The checksum that a field holds as the complement of a sum.
    fn applied_to(self, checksum: u16) -> u16 {
        !self.added_to(!checksum)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// Writes a word that is there, and adds what changed.
fn set_word(bytes: &mut [u8], at: usize, new: u16, delta: &mut Delta) {
    if let Some(old) = word(bytes, at) {
        bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        delta.word(old, new);
    }
}

fn set_address(bytes: &mut [u8], at: usize, new: Ipv4Addr, delta: &mut Delta) {
    let [a, b, c, d] = new.octets();
    set_word(bytes, at, u16::from_be_bytes([a, b]), delta);
    set_word(bytes, at + 2, u16::from_be_bytes([c, d]), delta);
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// A checksum field as RFC 1624 brings it up to date; what that changes is added to `outer`.
fn update_checksum(bytes: &mut [u8], at: usize, delta: Delta, outer: &mut Delta) {
    if let Some(old) = word(bytes, at) {
        set_word(bytes, at, delta.applied_to(old), outer);
    }
}

/// Where the fields of an IPv4 header are.
const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

/// Octets of the header, and whether the transport header follows.
fn header(packet: &[u8]) -> Option<(usize, u8, bool)> {
    let length = usize::from(packet.first()? & 0xf) * 4;
    let first = word(packet, 6)? & 0x1fff == 0;
    Some((length, *packet.get(9)?, first))
}

impl Translation {
    /// Of addresses alone.
    pub fn of_addresses(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            source_port: 0,
            destination_port: 0,
        }
    }

    /// Whether it changes more than addresses.
    pub(super) fn changes_ports(&self) -> bool {
        self.source_port != 0 || self.destination_port != 0
    }

    /// A copy of the beginning of a frame with the new addresses. Its total length is that of what is there.
    pub(super) fn head_of(&self, frame: &[u8]) -> Head {
        let length = frame.len().min(HEAD);
        let mut octets = [0; HEAD];
        octets[..length].copy_from_slice(&frame[..length]);
        if let Some(packet) = octets[..length].get_mut(ETHERNET_HEADER..) {
            self.apply(packet, false);
            let room = packet.len();
            // At most 256 octets.
            if let Some(total) = packet
                .get_mut(2..4)
                .filter(|total| usize::from(total[0]) << 8 | usize::from(total[1]) > room)
            {
                total.copy_from_slice(&(room as u16).to_be_bytes());
            }
        }
        Head { octets, length }
    }

    /// Translates a packet. `pending` says that its transport checksum covers the pseudo-header alone so far.
    pub(super) fn apply(&self, packet: &mut [u8], pending: bool) {
        let Some((length, protocol, first)) = header(packet) else {
            return;
        };
        let (Some(source), Some(destination)) = (address(packet, SOURCE), address(packet, DESTINATION)) else {
            return;
        };
        let mut addresses = Delta::default();
        set_address(packet, SOURCE, self.source, &mut addresses);
        set_address(packet, DESTINATION, self.destination, &mut addresses);
        update_checksum(packet, CHECKSUM, addresses, &mut Delta::default());
        let Some(segment) = packet.get_mut(length..).filter(|_| first) else {
            return;
        };
        match protocol {
            PROTOCOL_TCP | PROTOCOL_UDP => {
                let ports = self.set_ports(segment, self.source_port, self.destination_port);
                transport_checksum(segment, protocol, addresses, ports, pending);
            }
            PROTOCOL_ICMP => self.icmp(segment, source, destination),
            _ => {}
        }
    }

    fn set_ports(&self, segment: &mut [u8], source: u16, destination: u16) -> Delta {
        let mut ports = Delta::default();
        if source != 0 {
            set_word(segment, 0, source, &mut ports);
        }
        if destination != 0 {
            set_word(segment, 2, destination, &mut ports);
        }
        ports
    }

    /// `source` and `destination` are the addresses that the packet had before.
    fn icmp(&self, message: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
        let mut changed = Delta::default();
        match message.first() {
            // Echo and its reply, timestamp, information and address mask: queries with an identifier.
            Some(0 | 8 | 13..=18) => {
                let identifier = self.source_port.max(self.destination_port);
                if identifier != 0 {
                    set_word(message, 4, identifier, &mut changed);
                }
            }
            // Unreachable, source quench, redirect, time exceeded, parameter problem: errors with what they are about.
            Some(3 | 4 | 5 | 11 | 12) => {
                if let Some(quoted) = message.get_mut(8..) {
                    self.quoted(quoted, source, destination, &mut changed);
                }
            }
            _ => {}
        }
        update_checksum(message, 2, changed, &mut Delta::default());
    }

    /// The packet inside of an error, which went the other way.
    fn quoted(&self, quoted: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr, outer: &mut Delta) {
        let Some((length, protocol, first)) = header(quoted) else {
            return;
        };
        let mut addresses = Delta::default();
        let (mut source_port, mut destination_port) = (0, 0);
        if address(quoted, SOURCE) == Some(destination) {
            set_address(quoted, SOURCE, self.destination, &mut addresses);
            source_port = self.destination_port;
        }
        if address(quoted, DESTINATION) == Some(source) {
            set_address(quoted, DESTINATION, self.source, &mut addresses);
            destination_port = self.source_port;
        }
        outer.0 += addresses.0;
        update_checksum(quoted, CHECKSUM, addresses, outer);
        let Some(segment) = quoted.get_mut(length..).filter(|_| first) else {
            return;
        };
        match protocol {
            PROTOCOL_TCP | PROTOCOL_UDP => {
                let mut ports = self.set_ports(segment, source_port, destination_port);
                outer.0 += ports.0;
                ports.0 += addresses.0;
                let at = checksum_field(protocol);
                let present = word(segment, at).filter(|sum| protocol == PROTOCOL_TCP || *sum != 0);
                if present.is_some() {
                    update_checksum(segment, at, ports, outer);
                }
            }
            PROTOCOL_ICMP => {
                let identifier = source_port.max(destination_port);
                if identifier != 0 {
                    let mut changed = Delta::default();
                    set_word(segment, 4, identifier, &mut changed);
                    outer.0 += changed.0;
                    update_checksum(segment, 2, changed, outer);
                }
            }
            _ => {}
        }
    }
}

fn checksum_field(protocol: u8) -> usize {
    if protocol == PROTOCOL_TCP { 16 } else { 6 }
}

fn transport_checksum(segment: &mut [u8], protocol: u8, addresses: Delta, ports: Delta, pending: bool) {
    let at = checksum_field(protocol);
    let Some(old) = word(segment, at) else { return };
    let new = if pending {
        // The ports are summed with the rest when the checksum is filled in.
        addresses.added_to(old)
    } else if protocol == PROTOCOL_UDP && old == 0 {
        // RFC 768: the sender made none.
        return;
    } else {
        match Delta(addresses.0 + ports.0).applied_to(old) {
            0 if protocol == PROTOCOL_UDP => 0xffff,
            sum => sum,
        }
    };
    segment[at..at + 2].copy_from_slice(&new.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Type, IpNumber, Ipv4Header, PacketBuilder, TcpHeader, icmpv4};
    use proptest::prelude::*;

    use super::*;

    const HOST: [u8; 4] = [10, 0, 1, 10];
    const PUBLIC: [u8; 4] = [203, 0, 113, 10];
    const CLIENT: [u8; 4] = [198, 51, 100, 7];

    fn outward() -> Translation {
        Translation::of_addresses(PUBLIC.into(), CLIENT.into())
    }

    /// The same with another source port.
    fn masked() -> Translation {
        Translation {
            source_port: 40_000,
            ..outward()
        }
    }

    fn udp(source: [u8; 4], destination: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(source, destination, 64).udp(ports.0, ports.1);
        builder.write(&mut packet, payload).expect("a Vec can be written");
        packet
    }

    fn tcp(source: [u8; 4], destination: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(source, destination, 64).tcp(ports.0, ports.1, 7, 9);
        builder.write(&mut packet, payload).expect("a Vec can be written");
        packet
    }

    fn echo(source: [u8; 4], destination: [u8; 4], id: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(source, destination, 64).icmpv4_echo_request(id, 1);
        builder.write(&mut packet, payload).expect("a Vec can be written");
        packet
    }

    /// An error about a packet, of which the header and eight octets are quoted, or more.
    fn unreachable(source: [u8; 4], destination: [u8; 4], about: &[u8], quoted: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
        let builder = PacketBuilder::ipv4(source, destination, 64).icmpv4(kind);
        builder
            .write(&mut packet, &about[..quoted.min(about.len())])
            .expect("a Vec can be written");
        packet
    }

    fn translated(mut packet: Vec<u8>, translation: Translation) -> Vec<u8> {
        translation.apply(&mut packet, false);
        packet
    }

    #[test]
    fn a_translated_packet_is_the_one_that_would_have_been_made_with_the_new_addresses() {
        for payload in [&b""[..], b"x", b"longer than a word"] {
            let cases = [
                (
                    udp(HOST, CLIENT, (1, 53), payload),
                    udp(PUBLIC, CLIENT, (1, 53), payload),
                    outward(),
                ),
                (
                    tcp(HOST, CLIENT, (1, 80), payload),
                    tcp(PUBLIC, CLIENT, (1, 80), payload),
                    outward(),
                ),
                (
                    echo(HOST, CLIENT, 5, payload),
                    echo(PUBLIC, CLIENT, 5, payload),
                    outward(),
                ),
                (
                    udp(HOST, CLIENT, (1, 53), payload),
                    udp(PUBLIC, CLIENT, (40_000, 53), payload),
                    masked(),
                ),
                (
                    tcp(HOST, CLIENT, (1, 80), payload),
                    tcp(PUBLIC, CLIENT, (40_000, 80), payload),
                    masked(),
                ),
                (
                    echo(HOST, CLIENT, 5, payload),
                    echo(PUBLIC, CLIENT, 40_000, payload),
                    masked(),
                ),
            ];
            for (before, after, translation) in cases {
                assert_eq!(translated(before, translation), after, "{translation:?} {payload:?}");
            }
        }
    }

    #[test]
    fn an_icmp_error_quotes_the_packet_as_its_receiver_sent_it() {
        // The client sent to the public address; the host got it translated and answers with an error about what it got.
        for (sent, got) in [
            (
                udp(CLIENT, PUBLIC, (9, 53), b"query"),
                udp(CLIENT, HOST, (9, 53), b"query"),
            ),
            (
                tcp(CLIENT, PUBLIC, (9, 80), b"query"),
                tcp(CLIENT, HOST, (9, 80), b"query"),
            ),
            (echo(CLIENT, PUBLIC, 9, b"ping"), echo(CLIENT, HOST, 9, b"ping")),
        ] {
            for quoted in [28, 31, 60] {
                let error = unreachable(HOST, CLIENT, &got, quoted);
                let expected = unreachable(PUBLIC, CLIENT, &sent, quoted);
                assert_eq!(translated(error, outward()), expected, "{quoted} octets");
            }
        }
        // A router on the path, whose address is not translated, reports to the public address.
        let router = [198, 51, 100, 1];
        let error = unreachable(router, PUBLIC, &udp(PUBLIC, CLIENT, (40_000, 53), b"query"), 28);
        let inward = Translation {
            destination_port: 1,
            ..Translation::of_addresses(router.into(), HOST.into())
        };
        let expected = unreachable(router, HOST, &udp(HOST, CLIENT, (1, 53), b"query"), 28);
        assert_eq!(translated(error, inward), expected);
    }

    #[test]
    fn a_datagram_without_a_checksum_stays_without() {
        let mut packet = udp(HOST, CLIENT, (1, 53), b"x");
        packet[26..28].fill(0);
        let packet = translated(packet, masked());
        assert_eq!(packet[26..28], [0, 0]);
    }

    #[test]
    fn a_pending_checksum_is_right_once_it_is_filled_in() {
        let header = Ipv4Header::new(28, 64, IpNumber::TCP, HOST, CLIENT).expect("short enough");
        let pseudo = |source: [u8; 4]| {
            let sum = crate::wire::checksum::Sum::new();
            sum.ipv4_pseudo_header(&source, &CLIENT, 6, 28).fold()
        };
        let mut packet = Vec::new();
        let mut tcp = TcpHeader::new(1, 80, 7, 9);
        tcp.checksum = pseudo(HOST);
        header.write(&mut packet).expect("a Vec can be written");
        tcp.write(&mut packet).expect("a Vec can be written");
        packet.extend_from_slice(b"payload!");
        masked().apply(&mut packet, true);
        let field = u16::from_be_bytes([packet[36], packet[37]]);
        assert_eq!(field, pseudo(PUBLIC), "the ports are not in it yet");
        assert_eq!(packet[20..22], 40_000_u16.to_be_bytes());
    }

    #[test]
    fn of_a_later_fragment_the_addresses_alone_are_translated() {
        let mut packet = udp(HOST, CLIENT, (1, 53), b"payload");
        packet[7] = 185;
        let before = packet.clone();
        let packet = translated(packet, masked());
        assert_eq!(packet[12..16], PUBLIC);
        assert_eq!(packet[20..], before[20..]);
    }

    proptest! {
        #[test]
        fn checksums_that_were_right_are_right(source: [u8; 4], destination: [u8; 4], new: [u8; 4], ports: (u16, u16),
            port in 1..=u16::MAX, payload in prop::collection::vec(any::<u8>(), 0..40), kind in 0..3) {
            let translation = Translation {
                source_port: port,
                ..Translation::of_addresses(new.into(), destination.into())
            };
            let make = match kind { 0 => udp, _ => tcp };
            let (before, after) = match kind {
                2 => (echo(source, destination, ports.0, &payload), echo(new, destination, port, &payload)),
                _ => (make(source, destination, ports, &payload), make(new, destination, (port, ports.1), &payload)),
            };
            prop_assert_eq!(translated(before, translation), after);
        }

        #[test]
        fn arbitrary_octets_do_no_harm(mut octets in prop::collection::vec(any::<u8>(), 0..80), pending: bool) {
            masked().apply(&mut octets, pending);
        }
    }
}
