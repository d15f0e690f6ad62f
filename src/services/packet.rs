//! Validates packets for a service before a stack gets them: complete, with correct checksums, for an address and a
//! port with a service.

use std::net::{IpAddr, SocketAddr};

use super::unanswered::Unanswered;
use crate::datapath::{SERVICES_IPV4, SERVICES_IPV6};
use crate::wire::MacAddr;
use crate::wire::checksum::Sum;
use crate::wire::flow::{Fragment, IpPacket, Upper};
use crate::wire::frame::{Frame, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::wire::udp::{Datagram, InvalidDatagram};

/// Octets of the longest datagram that is read; queries and requests are much shorter.
const MAX_DATAGRAM: usize = 2048;

/// A service by its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// HTTP on port 80 of 169.254.169.254 and `fd00:ec2::254`.
    Metadata,
    /// Port 53 of the resolver, 169.254.169.253 and `fd00:ec2::253`.
    Dns,
    /// Port 123 of 169.254.169.123 and `fd00:ec2::123`.
    Time,
    /// HTTP on port 80 of 169.254.169.246 and `fd00:ec2::246`: the API of EC2.
    Endpoint,
    /// The same by TLS on port 443.
    SecureEndpoint,
}

/// The transport of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// A datagram to a service.
    Datagram(Served),
    /// A TCP segment, to a service or to a port without one.
    Segment {
        /// The service at its port, if any.
        served: Option<Served>,
        /// It opens a connection: SYN without ACK.
        opens: bool,
    },
}

/// A validated packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The host's MAC.
    pub(super) host: MacAddr,
    /// The router's MAC.
    pub(super) router: MacAddr,
    /// The client's endpoint.
    pub(super) remote: SocketAddr,
    /// The service's endpoint.
    pub(super) local: SocketAddr,
    /// Its transport.
    pub(super) transport: Transport,
    /// The IP packet.
    pub(super) packet: Vec<u8>,
}

impl Arrival {
    /// Reads a frame. With `checksum_pending` its sender left the upper checksum to be computed.
    pub(super) fn parse(bytes: &[u8], checksum_pending: bool) -> Result<Self, Unanswered> {
        let frame = Frame::parse(bytes).map_err(|_| Unanswered::Malformed)?;
        let packet = packet(&frame)?;
        let flow = packet.flow();
        let Upper::Ports { source, destination } = flow.upper else {
            return Err(Unanswered::Malformed);
        };
        let remote = SocketAddr::new(flow.source, source);
        let local = SocketAddr::new(flow.destination, destination);
        if remote.port() == 0 {
            return Err(Unanswered::Malformed);
        }
        let served = served(local, flow.protocol);
        let transport = match flow.protocol {
            PROTOCOL_TCP => {
                let opens = segment(&packet, checksum_pending)?;
                Transport::Segment { served, opens }
            }
            PROTOCOL_UDP => {
                let datagram = datagram(&packet, checksum_pending)?;
                if datagram.payload.len() > MAX_DATAGRAM {
                    return Err(Unanswered::TooLong);
                }
                Transport::Datagram(served.ok_or(Unanswered::NoSuchPort)?)
            }
            _ => return Err(Unanswered::Malformed),
        };
        Ok(Self {
            host: frame.source,
            router: frame.destination,
            remote,
            local,
            transport,
            packet: packet.without_options(),
        })
    }
}

/// The packet of a frame, if it is complete and valid.
fn packet<'a>(frame: &Frame<'a>) -> Result<IpPacket<'a>, Unanswered> {
    let packet = IpPacket::of(frame).ok_or(Unanswered::Malformed)?;
    match &packet {
        IpPacket::V4(packet) => packet.validate()?,
        IpPacket::V6(packet) => packet.validate()?,
    }
    if packet.fragment() != Fragment::Whole {
        return Err(Unanswered::Malformed);
    }
    Ok(packet)
}

fn datagram<'a>(packet: &IpPacket<'a>, checksum_pending: bool) -> Result<Datagram<'a>, Unanswered> {
    let datagram = match packet {
        IpPacket::V4(packet) => Datagram::in_ipv4(packet, checksum_pending),
        IpPacket::V6(packet) => Datagram::in_ipv6(packet, checksum_pending),
    };
    datagram.map_err(|invalid| match invalid {
        InvalidDatagram::Malformed => Unanswered::Malformed,
        InvalidDatagram::Checksum => Unanswered::Checksum,
    })
}

/// Validates a TCP segment; returns whether it opens a connection.
fn segment(packet: &IpPacket<'_>, checksum_pending: bool) -> Result<bool, Unanswered> {
    let upper = packet.payload();
    let header = upper.first_chunk::<20>().ok_or(Unanswered::Malformed)?;
    let length = usize::from(header[12] >> 4) * 4;
    if length < 20 || length > upper.len() {
        return Err(Unanswered::Malformed);
    }
    let pseudo_header = match packet {
        IpPacket::V4(packet) => {
            let (source, destination) = (packet.source.octets(), packet.destination.octets());
            // An IPv4 packet is at most 65 535 octets long.
            Sum::new().ipv4_pseudo_header(&source, &destination, PROTOCOL_TCP, upper.len() as u16)
        }
        IpPacket::V6(packet) => {
            let (source, destination) = (packet.source.octets(), packet.destination.octets());
            Sum::new().ipv6_pseudo_header(&source, &destination, PROTOCOL_TCP, upper.len() as u32)
        }
    };
    if !checksum_pending && !pseudo_header.bytes(upper).is_valid() {
        return Err(Unanswered::Checksum);
    }
    Ok(header[13] & 0x12 == 0x02)
}

/// The service at an address and port. An IPv4 address other than the link-local services is the VPC's resolver: the
/// decision passes no other to the services.
pub fn served(local: SocketAddr, protocol: u8) -> Option<Served> {
    let [metadata, dns, time, endpoint] = match local.ip() {
        IpAddr::V4(_) => SERVICES_IPV4.map(IpAddr::V4),
        IpAddr::V6(_) => SERVICES_IPV6.map(IpAddr::V6),
    };
    let address = local.ip();
    match (local.port(), protocol) {
        (80, PROTOCOL_TCP) if address == metadata => Some(Served::Metadata),
        (123, PROTOCOL_UDP) if address == time => Some(Served::Time),
        (80, PROTOCOL_TCP) if address == endpoint => Some(Served::Endpoint),
        (443, PROTOCOL_TCP) if address == endpoint => Some(Served::SecureEndpoint),
        (53, _) if address == dns => Some(Served::Dns),
        (53, _) if address.is_ipv4() && ![metadata, time, endpoint].contains(&address) => Some(Served::Dns),
        _ => None,
    }
}
