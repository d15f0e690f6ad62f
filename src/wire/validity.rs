//! Checks an IP header as every receiver must, router and host alike (RFC 1812 section 5.2.2, RFC 1122 section 3.2.1,
//! RFC 8200 section 3, RFC 4291 section 2).
//!
//! The router, DHCP, DNS, NTP and IMDS all use these checks. They come after [`Ipv4Packet::parse`] and
//! [`Ipv6Packet::parse`], which refuse a wrong version, a wrong length and a chain of headers that does not fit.
//!
//! Within a subnet the fabric forwards by MAC and checks no IP header: the receiving host does.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::frame::{Ipv4Packet, Ipv6Packet};

/// Why a receiver must drop a well-formed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidHeader {
    /// The checksum of the IPv4 header is wrong.
    Checksum,
    /// A source address that is not allowed on a link: multicast, loopback, network 0.
    Source,
    /// A destination address that is not allowed on a link: loopback, network 0.
    Destination,
}

impl Ipv4Packet<'_> {
    /// Checks what RFC 1812 section 5.2.2 and RFC 1122 section 3.2.1 require of every receiver. The TTL is not checked:
    /// a receiver accepts a packet for itself whatever its TTL (RFC 1122 section 3.2.1.7).
    #[inline]
    pub fn validate(&self) -> Result<(), InvalidHeader> {
        let sum = match self.bytes.first_chunk::<20>() {
            Some(header) if self.header_length == 20 => Sum::of_ipv4_header(header),
            _ => Sum::new().bytes(&self.bytes[..self.header_length]),
        };
        if !sum.is_valid() {
            return Err(InvalidHeader::Checksum);
        }
        // 0.0.0.0 is the source of a host without an address; the receiver decides about such a packet.
        let source = self.source;
        if source.is_multicast() || source.is_broadcast() || is_local(source) && !source.is_unspecified() {
            return Err(InvalidHeader::Source);
        }
        if is_local(self.destination) {
            return Err(InvalidHeader::Destination);
        }
        Ok(())
    }
}

impl Ipv6Packet<'_> {
    /// Checks what RFC 4291 sections 2.5.2, 2.5.3 and 2.7 require of every receiver. `::` is the source of a host
    /// without an address.
    #[inline]
    pub fn validate(&self) -> Result<(), InvalidHeader> {
        if self.source.is_multicast() || self.source == Ipv6Addr::LOCALHOST {
            return Err(InvalidHeader::Source);
        }
        if self.destination.is_unspecified() || self.destination == Ipv6Addr::LOCALHOST {
            return Err(InvalidHeader::Destination);
        }
        Ok(())
    }
}

/// Networks 0 and 127, valid only inside a host (RFC 1122 section 3.2.1.3 (a), (b) and (g)).
#[inline]
fn is_local(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 0 | 127)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose checksum was computed by hand: 10.0.1.10 to 10.0.1.11, UDP, TTL 64, 20 octets, DF.
    const PACKET: [u8; 20] = [
        0x45, 0, 0, 20, 0, 0, 0x40, 0, 64, 17, 0x24, 0xc5, 10, 0, 1, 10, 10, 0, 1, 11,
    ];

    fn between(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut bytes = PACKET.to_vec();
        bytes[12..16].copy_from_slice(&source);
        bytes[16..20].copy_from_slice(&destination);
        bytes[10..12].fill(0);
        let sum = Sum::new().bytes(&bytes).complement();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn one_flipped_bit_anywhere_in_the_header_is_seen() {
        let valid = |bytes: &[u8]| Ipv4Packet::parse(bytes).map(|packet| packet.validate());
        assert_eq!(valid(&PACKET), Ok(Ok(())));
        for bit in 0..160 {
            let mut bytes = PACKET;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(valid(&bytes), Ok(Ok(())), "bit {bit}");
        }
    }

    #[test]
    fn addresses_that_no_packet_on_a_link_may_have_are_refused() {
        const A: [u8; 4] = [10, 0, 1, 10];
        let cases = [
            (A, [10, 0, 1, 11], Ok(())),
            ([0, 0, 0, 0], [255, 255, 255, 255], Ok(())),
            ([0, 0, 0, 1], A, Err(InvalidHeader::Source)),
            ([127, 0, 0, 1], A, Err(InvalidHeader::Source)),
            ([224, 0, 0, 1], A, Err(InvalidHeader::Source)),
            ([255, 255, 255, 255], A, Err(InvalidHeader::Source)),
            (A, [127, 0, 0, 1], Err(InvalidHeader::Destination)),
            (A, [0, 0, 0, 0], Err(InvalidHeader::Destination)),
            (A, [224, 0, 0, 18], Ok(())),
        ];
        for (source, destination, expected) in cases {
            let bytes = between(source, destination);
            let packet = Ipv4Packet::parse(&bytes).expect("a packet");
            assert_eq!(packet.validate(), expected, "{source:?} to {destination:?}");
        }
        let cases = [
            ("2001:db8::1", "2001:db8::2", Ok(())),
            ("::", "ff02::1", Ok(())),
            ("::1", "2001:db8::2", Err(InvalidHeader::Source)),
            ("ff02::1", "2001:db8::2", Err(InvalidHeader::Source)),
            ("2001:db8::1", "::", Err(InvalidHeader::Destination)),
            ("2001:db8::1", "::1", Err(InvalidHeader::Destination)),
        ];
        for (source, destination, expected) in cases {
            let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
            let bytes = [
                &[0x60, 0, 0, 0, 0, 0, 59, 64][..],
                &address(source),
                &address(destination),
            ]
            .concat();
            let packet = Ipv6Packet::parse(&bytes).expect("a packet");
            assert_eq!(packet.validate(), expected, "{source} to {destination}");
        }
    }
}
