//! Parses ARP (RFC 826, RFC 5227) and the Neighbor and Router Solicitations and Advertisements of RFC 4861, with every
//! validity check that the RFC requires of a receiver.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::MacAddr;
use super::checksum::Sum;
use super::frame::{Ipv6Packet, PROTOCOL_ICMPV6};

/// ICMPv6 types of RFC 4861 section 4.
pub mod icmpv6 {
    /// Router Solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router Advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbor Solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbor Advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Multicast Listener Query, Report, Done and version 2 Report (RFC 2710, RFC 3810).
    pub const MULTICAST_LISTENER: [u8; 4] = [130, 131, 132, 143];
}

/// ARP operation codes.
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An ARP message for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// True for a request, false for a reply.
    pub request: bool,
    /// Sender hardware address.
    pub sender_mac: MacAddr,
    /// Sender protocol address; 0.0.0.0 in a probe.
    pub sender: Ipv4Addr,
    /// Target protocol address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads the payload of a frame; `None` unless it is Ethernet/IPv4, complete, and a request or a reply.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<28>()?;
        if bytes[..6] != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let request = match u16::from_be_bytes([bytes[6], bytes[7]]) {
            REQUEST => true,
            REPLY => false,
            _ => return None,
        };
        Some(Self {
            request,
            sender_mac: MacAddr::from_slice(&bytes[8..14])?,
            sender: Ipv4Addr::new(bytes[14], bytes[15], bytes[16], bytes[17]),
            target: Ipv4Addr::new(bytes[24], bytes[25], bytes[26], bytes[27]),
        })
    }
}

/// Why a Neighbor Discovery message is invalid (RFC 4861 sections 6.1.1 and 7.1.1, RFC 6980).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// It could have been forwarded: the hop limit is not 255.
    HopLimit,
    /// The ICMPv6 checksum is wrong.
    Checksum,
    /// The code is not 0.
    Code,
    /// Shorter than its fixed part, or an option runs past its end.
    Truncated,
    /// An option has length 0.
    OptionLength,
    /// The target is a multicast address.
    Target,
    /// Its source is `::`, but it has a source link-layer address option or is not sent to the solicited-node group.
    UnspecifiedSource,
    /// It is sent to a multicast group with the solicited flag set.
    SolicitedToGroup,
    /// It came in fragments.
    Fragmented,
}

/// A Neighbor Solicitation that passed the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborSolicitation {
    /// Source address; `::` during duplicate address detection.
    pub source: Ipv6Addr,
    /// The address to resolve.
    pub target: Ipv6Addr,
    /// The source link-layer address option, if present.
    pub source_mac: Option<MacAddr>,
}

/// A Neighbor Advertisement that passed the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborAdvertisement {
    /// The address that is advertised.
    pub target: Ipv6Addr,
    /// The target link-layer address option, if present.
    pub target_mac: Option<MacAddr>,
    /// S: solicited.
    pub solicited: bool,
    /// O: override the receiver's cache entry.
    pub override_cached: bool,
}

/// A Router Solicitation that passed the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterSolicitation {
    /// Source address; `::` while the host has none.
    pub source: Ipv6Addr,
}

/// The solicited-node multicast address of `address` (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | (address.to_bits() & 0x00ff_ffff))
}

impl NeighborSolicitation {
    /// Validates and reads a message of type 135. With `checksum_pending` the sender left the checksum to the hardware,
    /// and it is not verified.
    pub fn parse(packet: &Ipv6Packet<'_>, checksum_pending: bool) -> Result<Self, Invalid> {
        let message = validate(packet, 24, checksum_pending)?;
        let mut target = [0_u8; 16];
        target.copy_from_slice(&message[8..24]);
        let target = Ipv6Addr::from(target);
        if target.is_multicast() {
            return Err(Invalid::Target);
        }
        let options = Options::read(&message[24..])?;
        // RFC 4861 section 7.1.1: the two conditions for an unspecified source.
        if packet.source.is_unspecified()
            && (options.source_link_layer.is_some() || packet.destination != solicited_node(target))
        {
            return Err(Invalid::UnspecifiedSource);
        }
        Ok(Self {
            source: packet.source,
            target,
            source_mac: options.source_link_layer,
        })
    }
}

impl NeighborAdvertisement {
    /// Validates and reads a message of type 136.
    pub fn parse(packet: &Ipv6Packet<'_>, checksum_pending: bool) -> Result<Self, Invalid> {
        let message = validate(packet, 24, checksum_pending)?;
        let mut target = [0_u8; 16];
        target.copy_from_slice(&message[8..24]);
        let target = Ipv6Addr::from(target);
        if target.is_multicast() {
            return Err(Invalid::Target);
        }
        let solicited = message[4] & 0x40 != 0;
        // RFC 4861 section 7.1.2: an advertisement to a multicast group is unsolicited.
        if packet.destination.is_multicast() && solicited {
            return Err(Invalid::SolicitedToGroup);
        }
        Ok(Self {
            target,
            target_mac: Options::read(&message[24..])?.target_link_layer,
            solicited,
            override_cached: message[4] & 0x20 != 0,
        })
    }
}

impl RouterSolicitation {
    /// Validates and reads a message of type 133.
    pub fn parse(packet: &Ipv6Packet<'_>, checksum_pending: bool) -> Result<Self, Invalid> {
        let message = validate(packet, 8, checksum_pending)?;
        let options = Options::read(&message[8..])?;
        // RFC 4861 section 6.1.1.
        if packet.source.is_unspecified() && options.source_link_layer.is_some() {
            return Err(Invalid::UnspecifiedSource);
        }
        Ok(Self { source: packet.source })
    }
}

/// The checks that all messages share; returns the ICMPv6 message.
fn validate<'a>(packet: &Ipv6Packet<'a>, least: usize, checksum_pending: bool) -> Result<&'a [u8], Invalid> {
    if packet.fragmented {
        return Err(Invalid::Fragmented);
    }
    if packet.hop_limit != 255 {
        return Err(Invalid::HopLimit);
    }
    let message = packet.payload();
    if message.len() < least {
        return Err(Invalid::Truncated);
    }
    let sum = Sum::new()
        .ipv6_pseudo_header(
            &packet.source.octets(),
            &packet.destination.octets(),
            PROTOCOL_ICMPV6,
            // An IPv6 packet without the jumbogram option is shorter than 64 KiB.
            message.len() as u32,
        )
        .bytes(message);
    if !checksum_pending && !sum.is_valid() {
        return Err(Invalid::Checksum);
    }
    if message[1] != 0 {
        return Err(Invalid::Code);
    }
    Ok(message)
}

/// The options of a message that matter here.
struct Options {
    source_link_layer: Option<MacAddr>,
    target_link_layer: Option<MacAddr>,
}

impl Options {
    /// Reads all options. One of length 0 or past the end makes the message invalid (RFC 4861 section 4.6).
    fn read(mut rest: &[u8]) -> Result<Self, Invalid> {
        let mut options = Self {
            source_link_layer: None,
            target_link_layer: None,
        };
        while !rest.is_empty() {
            let &[kind, length, ..] = rest else {
                return Err(Invalid::Truncated);
            };
            let length = usize::from(length) * 8;
            if length == 0 {
                return Err(Invalid::OptionLength);
            }
            let (option, after) = rest.split_at_checked(length).ok_or(Invalid::Truncated)?;
            match kind {
                1 => options.source_link_layer = MacAddr::from_slice(&option[2..]),
                2 => options.target_link_layer = MacAddr::from_slice(&option[2..]),
                _ => {}
            }
            rest = after;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probe of the story "IPv6, the Mapping Service and the lack of multicast": `:: > ff02::1:ff00:2`, who has
    /// 2001:db8::2, length 32.
    fn solicitation(source: &str, destination: &str, target: &str, options: &[u8]) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        let destination: Ipv6Addr = destination.parse().unwrap();
        let target: Ipv6Addr = target.parse().unwrap();
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target.octets());
        message.extend(options);
        let sum = Sum::new()
            .ipv6_pseudo_header(&source.octets(), &destination.octets(), 58, message.len() as u32)
            .bytes(&message)
            .complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x60, 0, 0, 0, 0, message.len() as u8, 58, 255];
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(message);
        packet
    }

    fn parse(bytes: &[u8]) -> Result<NeighborSolicitation, Invalid> {
        NeighborSolicitation::parse(&Ipv6Packet::parse(bytes).unwrap(), false)
    }

    #[test]
    fn a_probe_for_duplicates_is_read() {
        let bytes = solicitation("::", "ff02::1:ff00:2", "2001:db8::2", &[]);
        let seen = parse(&bytes).unwrap();
        assert!(seen.source.is_unspecified());
        assert_eq!(seen.target, "2001:db8::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!(seen.source_mac, None);
    }

    #[test]
    fn an_advertisement_tells_whose_mac_and_how_far_to_believe_it() {
        let told = [2, 1, 0xa, 0, 0, 0, 0, 1];
        let said = |destination: &str, flags: u8, options: &[u8]| {
            let mut bytes = solicitation("fe80::2", destination, "2001:db8::2", options);
            (bytes[40], bytes[44]) = (136, flags);
            bytes[42..44].fill(0);
            let (source, destination) = (bytes[8..24].to_vec(), bytes[24..40].to_vec());
            let sum = Sum::new()
                .ipv6_pseudo_header(&source, &destination, 58, bytes.len() as u32 - 40)
                .bytes(&bytes[40..])
                .complement();
            bytes[42..44].copy_from_slice(&sum.to_be_bytes());
            NeighborAdvertisement::parse(&Ipv6Packet::parse(&bytes).unwrap(), false)
        };
        let expected = NeighborAdvertisement {
            target: "2001:db8::2".parse().unwrap(),
            target_mac: Some(MacAddr([0xa, 0, 0, 0, 0, 1])),
            solicited: true,
            override_cached: true,
        };
        assert_eq!(said("fe80::1", 0x60, &told), Ok(expected));
        let weak = NeighborAdvertisement {
            target_mac: None,
            solicited: false,
            override_cached: false,
            ..expected
        };
        assert_eq!(said("ff02::1", 0x80, &[]), Ok(weak));
        assert_eq!(said("ff02::1", 0x40, &told), Err(Invalid::SolicitedToGroup));
        assert_eq!(said("fe80::1", 0x40, &told[..7]), Err(Invalid::Truncated));
    }

    #[test]
    fn each_validity_check_of_rfc_4861_has_its_own_reason() {
        let good = solicitation("fe80::1", "ff02::1:ff00:2", "2001:db8::2", &[1, 1, 2, 0, 0, 0, 0, 1]);
        assert!(parse(&good).is_ok());
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        let cases = [
            ("hop limit 254", with(7, 254), Invalid::HopLimit),
            ("a flipped bit", with(70, 0xff), Invalid::Checksum),
            (
                "option length 0",
                solicitation("fe80::1", "ff02::1:ff00:2", "2001:db8::2", &[1, 0, 2, 0, 0, 0, 0, 1]),
                Invalid::OptionLength,
            ),
            (
                "option over the end",
                solicitation("fe80::1", "ff02::1:ff00:2", "2001:db8::2", &[1, 2, 2, 0, 0, 0, 0, 1]),
                Invalid::Truncated,
            ),
            (
                "half an option",
                solicitation("fe80::1", "ff02::1:ff00:2", "2001:db8::2", &[1]),
                Invalid::Truncated,
            ),
            (
                "multicast target",
                solicitation("fe80::1", "ff02::1:ff00:2", "ff02::1", &[]),
                Invalid::Target,
            ),
            (
                ":: with a source link-layer address",
                solicitation("::", "ff02::1:ff00:2", "2001:db8::2", &[1, 1, 2, 0, 0, 0, 0, 1]),
                Invalid::UnspecifiedSource,
            ),
            (
                ":: to one host",
                solicitation("::", "fe80::2", "2001:db8::2", &[]),
                Invalid::UnspecifiedSource,
            ),
        ];
        for (what, bytes, expected) in cases {
            assert_eq!(parse(&bytes).unwrap_err(), expected, "{what}");
        }
        let mut short = good.clone();
        short[5] = 20;
        assert_eq!(parse(&short).unwrap_err(), Invalid::Truncated);
    }

    #[test]
    fn a_checksum_left_to_the_hardware_is_not_judged() {
        let mut bytes = solicitation("fe80::1", "ff02::1:ff00:2", "2001:db8::2", &[]);
        bytes[42] ^= 0x55;
        let packet = Ipv6Packet::parse(&bytes).unwrap();
        assert!(NeighborSolicitation::parse(&packet, true).is_ok());
        assert_eq!(
            NeighborSolicitation::parse(&packet, false).unwrap_err(),
            Invalid::Checksum
        );
    }

    #[test]
    fn arp_for_anything_but_ipv4_over_ethernet_is_not_read() {
        let mut bytes = [
            0, 1, 8, 0, 6, 4, 0, 1, 0xa, 0, 0, 0, 0, 1, 10, 0, 1, 10, 0, 0, 0, 0, 0, 0, 10, 0, 1, 11,
        ];
        let seen = Arp::parse(&bytes).unwrap();
        assert!(seen.request);
        assert_eq!(seen.target, Ipv4Addr::new(10, 0, 1, 11));
        for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3)] {
            let old = std::mem::replace(&mut bytes[at], value);
            assert_eq!(Arp::parse(&bytes), None, "octet {at}");
            bytes[at] = old;
        }
        assert_eq!(Arp::parse(&bytes[..27]), None);
    }
}
