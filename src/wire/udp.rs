//! Parses UDP datagrams (RFC 768), and writes frames with a datagram, headers and checksums included.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::MacAddr;
use super::checksum::Sum;
use super::frame::{ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4Packet, Ipv6Packet, PROTOCOL_UDP};

/// Octets of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Octets of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Octets of an IPv6 header.
const IPV6_HEADER: usize = 40;
/// TTL or hop limit of a packet that the VPC itself sends.
const HOPS: u8 = 64;

/// A datagram whose length and checksum are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Payload.
    pub payload: &'a [u8],
}

/// Why bytes are not a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidDatagram {
    /// Not UDP, a fragment, or a wrong length.
    Malformed,
    /// The checksum is wrong, or missing where IPv6 requires it.
    Checksum,
}

/// One end of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<A> {
    /// Link-layer address.
    pub mac: MacAddr,
    /// Network-layer address.
    pub address: A,
    /// Port.
    pub port: u16,
}

/// Source and destination port, without any check of the rest.
#[inline]
pub fn ports(upper: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d, ..] = upper else { return None };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

impl<'a> Datagram<'a> {
    /// Reads the datagram of an IPv4 packet. With `checksum_pending` the sender left the checksum to the hardware, and
    /// it is not verified.
    pub fn in_ipv4(packet: &Ipv4Packet<'a>, checksum_pending: bool) -> Result<Self, InvalidDatagram> {
        if packet.protocol != PROTOCOL_UDP || packet.is_fragment() {
            return Err(InvalidDatagram::Malformed);
        }
        let (whole, checksum) = cut(packet.payload())?;
        let sum = Sum::new().ipv4_pseudo_header(
            &packet.source.octets(),
            &packet.destination.octets(),
            PROTOCOL_UDP,
            length(whole),
        );
        // RFC 768: an all-zero checksum means that the sender computed none.
        if !checksum_pending && checksum != 0 && !sum.bytes(whole).is_valid() {
            return Err(InvalidDatagram::Checksum);
        }
        Self::read(whole)
    }

    /// Reads the datagram of an IPv6 packet, where the checksum is mandatory (RFC 8200 section 8.1).
    pub fn in_ipv6(packet: &Ipv6Packet<'a>, checksum_pending: bool) -> Result<Self, InvalidDatagram> {
        if packet.protocol != PROTOCOL_UDP || packet.fragmented {
            return Err(InvalidDatagram::Malformed);
        }
        let (whole, checksum) = cut(packet.payload())?;
        let sum = Sum::new().ipv6_pseudo_header(
            &packet.source.octets(),
            &packet.destination.octets(),
            PROTOCOL_UDP,
            u32::from(length(whole)),
        );
        if !checksum_pending && (checksum == 0 || !sum.bytes(whole).is_valid()) {
            return Err(InvalidDatagram::Checksum);
        }
        Self::read(whole)
    }

    fn read(whole: &'a [u8]) -> Result<Self, InvalidDatagram> {
        let (source_port, destination_port) = ports(whole).ok_or(InvalidDatagram::Malformed)?;
        Ok(Self {
            source_port,
            destination_port,
            payload: &whole[UDP_HEADER..],
        })
    }
}

/// The datagram without the octets that follow it in the packet, and its checksum field.
fn cut(upper: &[u8]) -> Result<(&[u8], u16), InvalidDatagram> {
    let header = upper.first_chunk::<UDP_HEADER>().ok_or(InvalidDatagram::Malformed)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if length < UDP_HEADER {
        return Err(InvalidDatagram::Malformed);
    }
    let whole = upper.get(..length).ok_or(InvalidDatagram::Malformed)?;
    Ok((whole, u16::from_be_bytes([header[6], header[7]])))
}

/// The length of a datagram that was cut to the 16 bits of its own length field.
fn length(whole: &[u8]) -> u16 {
    whole.len() as u16
}

/// A payload too large for a frame: over 65 535 octets with its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Writes the frame of a datagram over IPv4 into `out`, which is emptied first.
pub fn write_ipv4(
    out: &mut Vec<u8>,
    from: Endpoint<Ipv4Addr>,
    to: Endpoint<Ipv4Addr>,
    payload: &[u8],
) -> Result<(), TooLong> {
    let total = u16::try_from(IPV4_HEADER + UDP_HEADER + payload.len()).map_err(|_| TooLong)?;
    begin(out, to.mac, from.mac, ETHERTYPE_IPV4);
    let mut header = [0_u8; IPV4_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    // Don't Fragment is set, so the identification may stay 0 (RFC 6864 section 4.1).
    header[6] = 0x40;
    header[8] = HOPS;
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&from.address.octets());
    header[16..20].copy_from_slice(&to.address.octets());
    let sum = Sum::new().bytes(&header).complement();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(&header);
    let sum = Sum::new().ipv4_pseudo_header(
        &from.address.octets(),
        &to.address.octets(),
        PROTOCOL_UDP,
        total - IPV4_HEADER as u16,
    );
    datagram(out, (from.port, to.port), total - IPV4_HEADER as u16, sum, payload);
    Ok(())
}

/// Writes the frame of a datagram over IPv6 into `out`, which is emptied first.
pub fn write_ipv6(
    out: &mut Vec<u8>,
    from: Endpoint<Ipv6Addr>,
    to: Endpoint<Ipv6Addr>,
    payload: &[u8],
) -> Result<(), TooLong> {
    let length = u16::try_from(UDP_HEADER + payload.len()).map_err(|_| TooLong)?;
    begin(out, to.mac, from.mac, ETHERTYPE_IPV6);
    let mut header = [0_u8; IPV6_HEADER];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&length.to_be_bytes());
    header[6] = PROTOCOL_UDP;
    header[7] = HOPS;
    header[8..24].copy_from_slice(&from.address.octets());
    header[24..40].copy_from_slice(&to.address.octets());
    out.extend_from_slice(&header);
    let sum = Sum::new().ipv6_pseudo_header(
        &from.address.octets(),
        &to.address.octets(),
        PROTOCOL_UDP,
        u32::from(length),
    );
    datagram(out, (from.port, to.port), length, sum, payload);
    Ok(())
}

fn begin(out: &mut Vec<u8>, to: MacAddr, from: MacAddr, ethertype: u16) {
    out.clear();
    out.reserve(ETHERNET_HEADER + IPV6_HEADER + UDP_HEADER);
    out.extend_from_slice(&to.0);
    out.extend_from_slice(&from.0);
    out.extend_from_slice(&ethertype.to_be_bytes());
}

fn datagram(out: &mut Vec<u8>, ports: (u16, u16), length: u16, sum: Sum, payload: &[u8]) {
    let sum = sum.word(ports.0).word(ports.1).word(length).bytes(payload).complement();
    // RFC 768: a checksum of zero is sent as all ones, because zero means none.
    let sum = if sum == 0 { 0xffff } else { sum };
    for word in [ports.0, ports.1, length, sum] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Frame;

    const ROUTER: MacAddr = MacAddr([0x0a, 0, 0, 0, 0, 1]);
    const HOST: MacAddr = MacAddr([0x0a, 0, 0, 0, 0, 2]);

    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xa5; 7];
        let from = Endpoint {
            mac: ROUTER,
            address: Ipv4Addr::new(10, 0, 1, 1),
            port: 67,
        };
        let to = Endpoint {
            mac: HOST,
            address: Ipv4Addr::new(10, 0, 1, 10),
            port: 68,
        };
        write_ipv4(&mut out, from, to, payload).unwrap();
        out
    }

    fn ipv6(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let from = Endpoint {
            mac: ROUTER,
            address: ROUTER.link_local(),
            port: 547,
        };
        let to = Endpoint {
            mac: HOST,
            address: HOST.link_local(),
            port: 546,
        };
        write_ipv6(&mut out, from, to, payload).unwrap();
        out
    }

    #[test]
    fn a_datagram_over_ipv4_is_written_octet_by_octet_as_the_rfcs_say() {
        // The checksums 0x24c3 and 0x1473 were computed by another program.
        let expected: [u8; 46] = [
            0x0a, 0, 0, 0, 0, 2, 0x0a, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
            0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x24, 0xc3, 10, 0, 1, 1, 10, 0, 1, 10, // IPv4
            0, 67, 0, 68, 0, 12, 0x14, 0x73, // UDP
            0x68, 0x65, 0x6c, 0x6c,
        ];
        assert_eq!(ipv4(b"hell"), expected);
    }

    #[test]
    fn what_is_written_is_read_back_by_another_reader_and_by_our_own() {
        for payload in [&b""[..], b"x", b"hello", &[0xff; 1400]] {
            let bytes = ipv4(payload);
            let packet = Ipv4Packet::parse(Frame::parse(&bytes).unwrap().payload()).unwrap();
            let read = Datagram::in_ipv4(&packet, false).unwrap();
            assert_eq!(
                (read.source_port, read.destination_port, read.payload),
                (67, 68, payload)
            );
            let other = etherparse::SlicedPacket::from_ethernet(&bytes).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = other.net else {
                panic!("no IPv4")
            };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let Some(etherparse::TransportSlice::Udp(udp)) = other.transport else {
                panic!("no UDP")
            };
            let sum = udp.to_header().calc_checksum_ipv4(&header, payload).unwrap();
            assert_eq!(udp.checksum(), sum);

            let bytes = ipv6(payload);
            let packet = Ipv6Packet::parse(Frame::parse(&bytes).unwrap().payload()).unwrap();
            let read = Datagram::in_ipv6(&packet, false).unwrap();
            assert_eq!(
                (read.source_port, read.destination_port, read.payload),
                (547, 546, payload)
            );
        }
    }

    #[test]
    fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        // The payload is chosen so that the whole sum is zero.
        let sum = u16::from_be_bytes([ipv6(&[0, 0])[60], ipv6(&[0, 0])[61]]);
        let bytes = ipv6(&sum.to_be_bytes());
        assert_eq!(bytes[60..62], [0xff, 0xff]);
        let packet = Ipv6Packet::parse(&bytes[14..]).unwrap();
        assert!(Datagram::in_ipv6(&packet, false).is_ok());
    }

    #[test]
    fn lengths_and_checksums_that_lie_are_refused() {
        use InvalidDatagram::{Checksum, Malformed};
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change, Option<InvalidDatagram>); 6] = [
            ("flipped payload", |b| b[42] ^= 1, Some(Checksum)),
            ("no checksum", |b| b[40..42].fill(0), None),
            ("length over the packet", |b| b[39] = 13, Some(Malformed)),
            ("length under the header", |b| b[39] = 7, Some(Malformed)),
            ("more fragments", |b| b[20] = 0x20, Some(Malformed)),
            ("not UDP", |b| b[23] = 6, Some(Malformed)),
        ];
        for (what, change, expected) in cases {
            let mut bytes = ipv4(b"hell");
            change(&mut bytes);
            let packet = Ipv4Packet::parse(&bytes[14..]).unwrap();
            assert_eq!(Datagram::in_ipv4(&packet, false).err(), expected, "{what}");
        }
        let mut bytes = ipv6(b"hell");
        bytes[60..62].fill(0);
        let packet = Ipv6Packet::parse(&bytes[14..]).unwrap();
        assert_eq!(Datagram::in_ipv6(&packet, false), Err(Checksum));
        assert!(
            Datagram::in_ipv6(&packet, true).is_ok(),
            "the port says that it is to be filled in"
        );
    }
}
