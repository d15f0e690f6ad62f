//! What arrives for a service is judged before any stack sees it: whole, with right checksums, for an address and a port
//! that something is served at.

use std::net::{IpAddr, SocketAddr};

use super::unanswered::Unanswered;
use crate::datapath::{SERVICES_IPV4, SERVICES_IPV6};
use crate::wire::MacAddr;
use crate::wire::checksum::Sum;
use crate::wire::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet, PROTOCOL_TCP, PROTOCOL_UDP};

/// Octets of the longest datagram that is read; a query or a request is much shorter.
const MAX_DATAGRAM: usize = 2048;

/// A service by what is spoken to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// HTTP on port 80 of 169.254.169.254 and `fd00:ec2::254`.
    Metadata,
    /// Port 53 of the resolver, 169.254.169.253 and `fd00:ec2::253`.
    Dns,
    /// Port 123 of 169.254.169.123 and `fd00:ec2::123`.
    Time,
}

/// The transport of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// A datagram to a service.
    Datagram(Served),
    /// A segment; to a service, or to a port where none is.
    Segment {
        /// The service there, if one is.
        served: Option<Served>,
        /// It opens a connection: SYN without ACK.
        opens: bool,
    },
}

/// A packet that may go to a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival<'a> {
    /// The host's MAC.
    pub(super) host: MacAddr,
    /// The router's MAC.
    pub(super) router: MacAddr,
    /// Who sends.
    pub(super) remote: SocketAddr,
    /// What is spoken to.
    pub(super) local: SocketAddr,
    /// How.
    pub(super) transport: Transport,
    /// The IP packet.
    pub(super) packet: &'a [u8],
}

/// An IP packet, whatever its version.
struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    bytes: &'a [u8],
    upper: &'a [u8],
    pseudo_header: Sum,
}

impl<'a> Arrival<'a> {
    /// Reads a frame. `checksum_pending` tells that its sender left the upper checksum to be filled in.
    pub(super) fn parse(bytes: &'a [u8], checksum_pending: bool) -> Result<Self, Unanswered> {
        let frame = Frame::parse(bytes).map_err(|_| Unanswered::Malformed)?;
        let network = match frame.ethertype {
            ETHERTYPE_IPV4 => Network::ipv4(frame.payload())?,
            ETHERTYPE_IPV6 => Network::ipv6(frame.payload())?,
            _ => return Err(Unanswered::Malformed),
        };
        let upper = network.upper;
        let header = match network.protocol {
            PROTOCOL_TCP => 20,
            PROTOCOL_UDP => 8,
            _ => return Err(Unanswered::Malformed),
        };
        if upper.len() < header {
            return Err(Unanswered::Malformed);
        }
        let port = |at: usize| u16::from_be_bytes([upper[at], upper[at + 1]]);
        let remote = SocketAddr::new(network.source, port(0));
        let local = SocketAddr::new(network.destination, port(2));
        if remote.port() == 0 {
            return Err(Unanswered::Malformed);
        }
        let served = served(local, network.protocol);
        let transport = if network.protocol == PROTOCOL_TCP {
            let length = usize::from(upper[12] >> 4) * 4;
            if length < 20 || length > upper.len() {
                return Err(Unanswered::Malformed);
            }
            let opens = upper[13] & 0x12 == 0x02;
            Transport::Segment { served, opens }
        } else {
            if usize::from(port(4)) != upper.len() {
                return Err(Unanswered::Malformed);
            }
            if upper.len() - 8 > MAX_DATAGRAM {
                return Err(Unanswered::TooLong);
            }
            Transport::Datagram(served.ok_or(Unanswered::NoSuchPort)?)
        };
        // Over IPv4 a datagram may go without (RFC 768); over IPv6 it may not (RFC 8200 section 8.1).
        let without = network.protocol == PROTOCOL_UDP && network.source.is_ipv4() && port(6) == 0;
        if !checksum_pending && !without && !network.pseudo_header.bytes(upper).is_valid() {
            return Err(Unanswered::Checksum);
        }
        Ok(Self {
            host: frame.source,
            router: frame.destination,
            remote,
            local,
            transport,
            packet: network.bytes,
        })
    }
}

impl<'a> Network<'a> {
    fn ipv4(payload: &'a [u8]) -> Result<Self, Unanswered> {
        let packet = Ipv4Packet::parse(payload).map_err(|_| Unanswered::Malformed)?;
        if packet.bytes[6] & 0x3f != 0 || packet.fragment_offset != 0 {
            return Err(Unanswered::Malformed);
        }
        if !Sum::new().bytes(&packet.bytes[..packet.header_length]).is_valid() {
            return Err(Unanswered::Checksum);
        }
        let upper = packet.payload();
        let (source, destination) = (packet.source.octets(), packet.destination.octets());
        // An IPv4 packet is at most 65 535 octets long.
        let length = upper.len() as u16;
        Ok(Self {
            source: packet.source.into(),
            destination: packet.destination.into(),
            protocol: packet.protocol,
            bytes: packet.bytes,
            upper,
            pseudo_header: Sum::new().ipv4_pseudo_header(&source, &destination, packet.protocol, length),
        })
    }

    fn ipv6(payload: &'a [u8]) -> Result<Self, Unanswered> {
        let packet = Ipv6Packet::parse(payload).map_err(|_| Unanswered::Malformed)?;
        if packet.upper_offset != 40 {
            return Err(Unanswered::Options);
        }
        let upper = packet.payload();
        let (source, destination) = (packet.source.octets(), packet.destination.octets());
        let length = upper.len() as u32;
        Ok(Self {
            source: packet.source.into(),
            destination: packet.destination.into(),
            protocol: packet.protocol,
            bytes: packet.bytes,
            upper,
            pseudo_header: Sum::new().ipv6_pseudo_header(&source, &destination, packet.protocol, length),
        })
    }
}

/// What is served at an address and port. An IPv4 address that is none of the link-local services is the VPC's resolver: no
/// other is passed to the services.
fn served(local: SocketAddr, protocol: u8) -> Option<Served> {
    let [metadata, dns, time] = match local.ip() {
        IpAddr::V4(_) => SERVICES_IPV4.map(IpAddr::V4),
        IpAddr::V6(_) => SERVICES_IPV6.map(IpAddr::V6),
    };
    let address = local.ip();
    match (local.port(), protocol) {
        (80, PROTOCOL_TCP) if address == metadata => Some(Served::Metadata),
        (123, PROTOCOL_UDP) if address == time => Some(Served::Time),
        (53, _) if address == dns => Some(Served::Dns),
        (53, _) if address.is_ipv4() && address != metadata && address != time => Some(Served::Dns),
        _ => None,
    }
}
