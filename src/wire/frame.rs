//! Parses an Ethernet frame, its IPv4 or IPv6 header and its extension headers, once and without copying. A field that
//! is missing or wrong is a typed error, never a panic.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::MacAddr;
use super::checksum::Sum;

/// Octets of an Ethernet header without tags.
pub const ETHERNET_HEADER: usize = 14;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// Why bytes are not a frame or a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than an Ethernet header.
    Ethernet,
    /// Wrong version, header length or total length.
    Ipv4,
    /// Wrong version or payload length, or an extension header that does not fit.
    Ipv6,
    /// A first fragment without the header of the upper layer (RFC 7112).
    Ipv6HeaderChain,
}

/// An Ethernet frame without frame check sequence, as a TAP delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    /// Destination MAC.
    pub destination: MacAddr,
    /// Source MAC.
    pub source: MacAddr,
    /// EtherType.
    pub ethertype: u16,
}

impl<'a> Frame<'a> {
    /// Reads the header; anything at least 14 octets long is a frame.
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<ETHERNET_HEADER>().ok_or(Malformed::Ethernet)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        Ok(Self {
            bytes,
            destination: MacAddr([d0, d1, d2, d3, d4, d5]),
            source: MacAddr([s0, s1, s2, s3, s4, s5]),
            ethertype: u16::from_be_bytes([t0, t1]),
        })
    }

    /// All of it, header included.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the Ethernet header, padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[ETHERNET_HEADER..]
    }
}

/// An IPv4 packet inside a frame.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4Packet<'a> {
    /// Header and payload, without the padding of the frame.
    pub bytes: &'a [u8],
    /// Octets of the header, options included.
    pub header_length: usize,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Upper layer.
    pub protocol: u8,
    /// Fragment offset in octets; only the first fragment (0) carries the upper layer's header.
    pub fragment_offset: u16,
}

impl<'a> Ipv4Packet<'a> {
    /// Reads the header and cuts the packet to its total length (RFC 791).
    #[inline(always)]
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let header = payload.first_chunk::<20>().ok_or(Malformed::Ipv4)?;
        let header_length = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || header_length < 20 || total < header_length || total > payload.len() {
            return Err(Malformed::Ipv4);
        }
        Ok(Self {
            bytes: &payload[..total],
            header_length,
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]),
            destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
            protocol: header[9],
            fragment_offset: (u16::from_be_bytes([header[6], header[7]]) & 0x1fff) * 8,
        })
    }

    /// The upper layer's bytes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_length..]
    }

    /// Whether this is a fragment, the first one included.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.fragment_offset != 0 || self.bytes[6] & 0x20 != 0
    }

    /// The same packet without IP options.
    pub fn without_options(&self) -> Vec<u8> {
        let mut bytes = self.bytes[..20].to_vec();
        // The packet gets shorter, so its length still fits the field.
        let total = (20 + self.payload().len()) as u16;
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[10..12].fill(0);
        let sum = Sum::new().bytes(&bytes).complement();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(self.payload());
        bytes
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.bytes[8]
    }
}

/// An IPv6 packet inside a frame, with its extension headers parsed.
#[derive(Debug, Clone, Copy)]
pub struct Ipv6Packet<'a> {
    /// Header and payload, without the padding of the frame.
    pub bytes: &'a [u8],
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// The upper layer after all extension headers (of the first fragment, where it is one).
    pub protocol: u8,
    /// Where the upper layer starts in `bytes`.
    pub upper_offset: usize,
    /// It has a fragment header.
    pub fragmented: bool,
    /// It is a later fragment: `upper_offset` points into the upper layer's payload.
    pub later_fragment: bool,
}

/// Octets that every ICMPv6 message has: type, code and checksum (RFC 4443 section 2.1).
const ICMPV6_HEADER: usize = 4;

/// Extension headers that are parsed. A packet with more is malformed: a long chain must not be a way past the rules
/// (RFC 7112).
const MAX_EXTENSIONS: usize = 8;

impl<'a> Ipv6Packet<'a> {
    /// Parses the fixed header and the chain of extension headers (RFC 8200 section 4).
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut packet = Self::parse_fixed_header(payload)?;
        if packet.is_extended() {
            packet.walk_extensions()?;
            packet.has_whole_chain()?;
        }
        Ok(packet)
    }

    /// Parses the fixed header alone. Where the packet [is extended](Self::is_extended), the upper-layer fields
    /// describe the first extension header.
    #[inline(always)]
    pub fn parse_fixed_header(payload: &'a [u8]) -> Result<Self, Malformed> {
        let header = payload.first_chunk::<40>().ok_or(Malformed::Ipv6)?;
        let length = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || length > payload.len() {
            return Err(Malformed::Ipv6);
        }
        let address = |at: usize| {
            let mut octets = [0_u8; 16];
            octets.copy_from_slice(&header[at..at + 16]);
            Ipv6Addr::from(octets)
        };
        Ok(Self {
            bytes: &payload[..length],
            source: address(8),
            destination: address(24),
            hop_limit: header[7],
            protocol: header[6],
            upper_offset: 40,
            fragmented: false,
            later_fragment: false,
        })
    }

    /// Whether the next header is an extension header.
    #[inline(always)]
    pub fn is_extended(&self) -> bool {
        matches!(self.protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
    }

    /// Follows hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP and shim6 headers.
    fn walk_extensions(&mut self) -> Result<(), Malformed> {
        // One turn more than headers, to read the last one's next header.
        for _ in 0..=MAX_EXTENSIONS {
            let length = match self.protocol {
                0 | 43 | 60 | 135 | 139 | 140 => (usize::from(self.octet(1)?) + 1) * 8,
                51 => (usize::from(self.octet(1)?) + 2) * 4,
                44 => {
                    self.fragmented = true;
                    let offset = u16::from_be_bytes([self.octet(2)?, self.octet(3)?]) & 0xfff8;
                    self.later_fragment |= offset != 0;
                    8
                }
                _ => return Ok(()),
            };
            let next = self.octet(0)?;
            self.upper_offset += length;
            if self.upper_offset > self.bytes.len() {
                return Err(Malformed::Ipv6);
            }
            self.protocol = next;
            if self.later_fragment {
                return Ok(());
            }
        }
        Err(Malformed::Ipv6)
    }

    /// RFC 7112 section 5: the first fragment contains the whole header chain, including the upper layer's header.
    /// Otherwise a filter could not know what it lets pass.
    fn has_whole_chain(&self) -> Result<(), Malformed> {
        let upper = match self.protocol {
            PROTOCOL_ICMPV6 => ICMPV6_HEADER,
            PROTOCOL_TCP => 20,
            PROTOCOL_UDP => 8,
            _ => 0,
        };
        if self.fragmented && !self.later_fragment && self.payload().len() < upper {
            return Err(Malformed::Ipv6HeaderChain);
        }
        Ok(())
    }

    /// Reads the packet that an ICMPv6 error quotes: its length field speaks of the whole packet, of which the quotation may
    /// be the beginning (RFC 4443 section 2.4 (c)).
    pub fn parse_quoted(quoted: &'a [u8]) -> Option<Self> {
        let mut header = *quoted.first_chunk::<40>()?;
        header[4..6].fill(0);
        let fixed = Ipv6Packet::parse_fixed_header(&header).ok()?;
        let mut packet = Self {
            bytes: quoted,
            source: fixed.source,
            destination: fixed.destination,
            hop_limit: fixed.hop_limit,
            protocol: fixed.protocol,
            upper_offset: fixed.upper_offset,
            fragmented: false,
            later_fragment: false,
        };
        packet.walk_extensions().ok()?;
        (!packet.later_fragment).then_some(packet)
    }

    /// What the fragments of one packet have in common (RFC 8200 section 4.5).
    pub fn fragment_identification(&self) -> Option<u32> {
        let (mut protocol, mut offset) = (self.bytes[6], 40);
        // The chain was walked before, so these are within the packet.
        while self.fragmented && offset < self.upper_offset {
            if protocol == 44 {
                let octets = self.bytes.get(offset + 4..offset + 8)?;
                return Some(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]));
            }
            let length = usize::from(self.bytes[offset + 1]);
            let length = if protocol == 51 {
                (length + 2) * 4
            } else {
                (length + 1) * 8
            };
            (protocol, offset) = (self.bytes[offset], offset + length);
        }
        None
    }

    /// The first header that is not hop-by-hop, routing or destination options, and its offset. Behind any other header
    /// (an authentication header covers it) the packet must not be changed on the way.
    pub fn behind_options(&self) -> (u8, usize) {
        let (mut protocol, mut offset) = (self.bytes[6], 40);
        while offset < self.upper_offset && matches!(protocol, 0 | 43 | 60) {
            // The chain was parsed before, so these are within the packet.
            (protocol, offset) = (
                self.bytes[offset],
                offset + (usize::from(self.bytes[offset + 1]) + 1) * 8,
            );
        }
        (protocol, offset)
    }

    fn octet(&self, at: usize) -> Result<u8, Malformed> {
        self.bytes.get(self.upper_offset + at).copied().ok_or(Malformed::Ipv6)
    }

    /// The upper layer's bytes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.upper_offset..]
    }

    /// The same packet without extension headers.
    pub fn without_extensions(&self) -> Vec<u8> {
        let mut bytes = self.bytes[..40].to_vec();
        // The packet gets shorter, so its length still fits the field.
        let length = self.payload().len() as u16;
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        bytes[6] = self.protocol;
        bytes.extend_from_slice(self.payload());
        bytes
    }

    /// Whether this is ICMPv6 with an incomplete header, so that its type is unknown.
    #[inline]
    pub fn hides_icmpv6_type(&self) -> bool {
        self.protocol == PROTOCOL_ICMPV6 && !self.later_fragment && self.payload().len() < ICMPV6_HEADER
    }

    /// The type of an ICMPv6 message; `None` for other protocols and later fragments.
    #[inline]
    pub fn icmpv6_type(&self) -> Option<u8> {
        if self.protocol == PROTOCOL_ICMPV6 && !self.later_fragment {
            self.payload().first().copied()
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, rest.len() as u8, next, 255];
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(rest);
        packet
    }

    #[test]
    fn an_advertisement_behind_extension_headers_is_still_seen() {
        let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
        let destination_options = [58, 0, 1, 4, 0, 0, 0, 0];
        let bytes = ipv6(0, &[&hop_by_hop[..], &destination_options, &[134, 0, 0, 0]].concat());
        let packet = Ipv6Packet::parse(&bytes).unwrap();
        assert_eq!(packet.icmpv6_type(), Some(134));
        assert!(!packet.fragmented);
    }

    #[test]
    fn eight_extension_headers_are_walked_and_nine_are_not() {
        let chain = |count: usize| {
            let mut rest = [60_u8, 0, 1, 4, 0, 0, 0, 0].repeat(count);
            rest[(count - 1) * 8] = 58;
            rest.extend([134, 0, 0, 0]);
            ipv6(60, &rest)
        };
        assert_eq!(Ipv6Packet::parse(&chain(8)).unwrap().icmpv6_type(), Some(134));
        assert_eq!(Ipv6Packet::parse(&chain(9)).unwrap_err(), Malformed::Ipv6);
    }

    #[test]
    fn only_the_first_fragment_shows_its_upper_layer() {
        let first = ipv6(44, &[58, 0, 0, 1, 0, 0, 0, 7, 134, 0, 0, 0]);
        let later = ipv6(44, &[58, 0, 0, 8, 0, 0, 0, 7, 134, 0, 0, 0]);
        assert_eq!(Ipv6Packet::parse(&first).unwrap().icmpv6_type(), Some(134));
        assert!(Ipv6Packet::parse(&first).unwrap().fragmented);
        assert_eq!(Ipv6Packet::parse(&later).unwrap().icmpv6_type(), None);
    }

    #[test]
    fn a_first_fragment_contains_the_whole_header_chain() {
        for (protocol, header) in [(58_u8, 4_usize), (6, 20), (17, 8)] {
            let fragment = |offset: u8, length: usize| {
                ipv6(
                    44,
                    &[&[protocol, 0, 0, offset, 0, 0, 0, 7][..], &vec![0; length]].concat(),
                )
            };
            for length in 0..header {
                let first = fragment(1, length);
                assert_eq!(
                    Ipv6Packet::parse(&first).unwrap_err(),
                    Malformed::Ipv6HeaderChain,
                    "{protocol} {length}"
                );
                assert!(
                    Ipv6Packet::parse(&fragment(8, length)).is_ok(),
                    "later fragments have no header"
                );
            }
            assert!(Ipv6Packet::parse(&fragment(1, header)).is_ok());
        }
    }

    #[test]
    fn icmpv6_without_its_header_hides_its_type() {
        for length in 0..8_usize {
            let bytes = ipv6(58, &vec![134; length]);
            assert_eq!(
                Ipv6Packet::parse(&bytes).unwrap().hides_icmpv6_type(),
                length < 4,
                "{length}"
            );
        }
        let later = ipv6(44, &[58, 0, 0, 8, 0, 0, 0, 7]);
        assert!(!Ipv6Packet::parse(&later).unwrap().hides_icmpv6_type());
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        let cases: [(&str, Vec<u8>); 5] = [
            ("payload longer than the frame", {
                let mut p = ipv6(58, &[135, 0, 0, 0]);
                p[5] = 200;
                p
            }),
            (
                "extension header longer than the packet",
                ipv6(0, &[58, 9, 0, 0, 0, 0, 0, 0]),
            ),
            ("chain that never ends", ipv6(0, &[0_u8; 8].repeat(20))),
            ("wrong version", {
                let mut p = ipv6(58, &[]);
                p[0] = 0x40;
                p
            }),
            ("cut header", ipv6(58, &[])[..39].to_vec()),
        ];
        for (what, bytes) in cases {
            assert_eq!(Ipv6Packet::parse(&bytes).unwrap_err(), Malformed::Ipv6, "{what}");
        }
        for bytes in [&[0x45_u8; 19][..], &[0x44; 20], &[0x65; 20]] {
            assert_eq!(Ipv4Packet::parse(bytes).unwrap_err(), Malformed::Ipv4);
        }
    }

    #[test]
    fn an_ipv4_packet_ends_where_its_total_length_says() {
        let mut bytes = vec![
            0x45, 0, 0, 24, 0, 0, 0x20, 0x01, 64, 17, 0, 0, 10, 0, 1, 10, 10, 0, 1, 11,
        ];
        bytes.extend([1, 2, 3, 4, 0, 0, 0, 0, 0, 0]);
        let packet = Ipv4Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        assert_eq!(packet.fragment_offset, 8);
        assert_eq!(packet.destination, Ipv4Addr::new(10, 0, 1, 11));
    }
}
