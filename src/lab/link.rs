//! Does what `ip link`, `ip address`, `ip route` and `ip neighbour` do, by netlink, inside a namespace.
//!
//! A [`Netlink`] acts on the namespace of the thread that opened it: open it in a closure given to
//! [`Namespace::run`](super::Namespace::run). The socket is used synchronously, one request and one answer at a time;
//! the kernel answers a route request before `sendto` returns, so there is nothing to wait for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rtnetlink::{AddressMessageBuilder, LinkUnspec, RouteMessageBuilder};

use crate::wire::MacAddr;

/// A netlink message has its length in its first four bytes and starts on a multiple of four (netlink(7)).
const ALIGNMENT: usize = 4;

/// A request that the kernel refused, described as an `ip` command.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct LinkError {
    /// The operation, such as `set link eth0`.
    pub doing: String,
    /// The kernel's error.
    pub source: io::Error,
}

/// A change of a link. Fields that are `None` stay unchanged.
#[derive(Clone, Debug, Default)]
pub struct LinkChange {
    /// The link-layer address.
    pub mac: Option<MacAddr>,
    /// Octets of IP packet that fit in a frame.
    pub mtu: Option<u32>,
    /// Length of the transmit queue, the only buffer before the reader of the TAP.
    pub tx_queue_len: Option<u32>,
    /// Administratively up or down.
    pub up: Option<bool>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination; `0.0.0.0/0` or `::/0` for the default route.
    pub destination: IpNet,
    /// The next hop; `None` for an on-link route.
    pub gateway: Option<IpAddr>,
    /// The lowest wins; `None` for the kernel's default (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
}

impl Route {
    /// The default route of `gateway`'s family.
    pub fn default_via(gateway: IpAddr) -> Self {
        let everywhere = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self {
            destination: IpNet::new_assert(everywhere, 0),
            gateway: Some(gateway),
            metric: None,
        }
    }

    /// A prefix that is reached without a gateway.
    pub fn on_link(destination: IpNet) -> Self {
        Self {
            destination,
            gateway: None,
            metric: None,
        }
    }
}

/// An address as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// The address and its prefix length.
    pub net: IpNet,
    /// Duplicate address detection has not finished: it may not be used yet (RFC 4862 section 2).
    pub tentative: bool,
    /// Duplicate address detection found another owner.
    pub duplicate: bool,
}

/// A connection to the routing part of the kernel, for the namespace in which it was opened.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Connects to the namespace of the calling thread.
    pub fn open() -> Result<Self, LinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Then an error repeats only the header of the request.
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| LinkError {
            doing: "open a netlink socket".into(),
            source,
        })?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The index of a link.
    pub fn index(&self, link: &str) -> Result<u32, LinkError> {
        nix::net::if_::if_nametoindex(link).map_err(|e| LinkError {
            doing: format!("find link {link}"),
            source: e.into(),
        })
    }

    /// `ip link set LINK …`: the whole change in one message, which the kernel applies in the order address, MTU, up,
    /// queue length.
    pub fn set_link(&mut self, link: &str, change: &LinkChange) -> Result<(), LinkError> {
        let mut message = LinkUnspec::new_with_name(link);
        if let Some(mac) = change.mac {
            message = message.address(mac.0.to_vec());
        }
        if let Some(mtu) = change.mtu {
            message = message.mtu(mtu);
        }
        if let Some(length) = change.tx_queue_len {
            message = message.txqueuelen(length);
        }
        match change.up {
            Some(true) => message = message.up(),
            Some(false) => message = message.down(),
            None => {}
        }
        let message = RouteNetlinkMessage::SetLink(message.build());
        self.request(message, 0).map_err(|source| LinkError {
            doing: format!("set link {link}"),
            source,
        })
    }

    /// `ip address add NET dev LINK [nodad]`. With `dad` false the address is usable at once, without duplicate address
    /// detection.
    pub fn add_address(&mut self, link: u32, net: IpNet, dad: bool) -> Result<(), LinkError> {
        let mut message = address_message(link, net);
        if !dad {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        self.request(message, NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|source| LinkError {
                doing: format!("add address {net}"),
                source,
            })
    }

    /// `ip address del NET dev LINK`.
    pub fn delete_address(&mut self, link: u32, net: IpNet) -> Result<(), LinkError> {
        let message = RouteNetlinkMessage::DelAddress(address_message(link, net));
        self.request(message, 0).map_err(|source| LinkError {
            doing: format!("delete address {net}"),
            source,
        })
    }

    /// `ip address show dev LINK`.
    pub fn addresses(&mut self, link: u32) -> Result<Vec<LinkAddress>, LinkError> {
        let answers = self
            .dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
            .map_err(|source| LinkError {
                doing: "list addresses".into(),
                source,
            })?;
        let of_the_link = |answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == link => link_address(&message),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(of_the_link).collect())
    }

    /// `ip route replace DESTINATION [via GATEWAY] dev LINK`.
    pub fn add_route(&mut self, link: u32, route: &Route) -> Result<(), LinkError> {
        let add = |netlink: &mut Self| {
            let mut builder = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(route.destination.network(), route.destination.prefix_len())
                .map_err(io::Error::other)?
                .output_interface(link);
            builder = match route.gateway {
                Some(gateway) => builder.gateway(gateway).map_err(io::Error::other)?,
                // A route without a gateway has link scope (rtnetlink(7), RT_SCOPE_LINK).
                None => builder.scope(rtnetlink::packet_route::route::RouteScope::Link),
            };
            if let Some(metric) = route.metric {
                builder = builder.priority(metric);
            }
            netlink.request(
                RouteNetlinkMessage::NewRoute(builder.build()),
                NLM_F_CREATE | NLM_F_REPLACE,
            )
        };
        add(self).map_err(|source| LinkError {
            doing: format!("add route {}", route.destination),
            source,
        })
    }

    /// `ip neighbour replace ADDRESS lladdr MAC dev LINK nud permanent`: a static entry.
    pub fn add_neighbor(&mut self, link: u32, address: IpAddr, mac: MacAddr) -> Result<(), LinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = link;
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }));
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(|source| LinkError {
                doing: format!("add neighbor {address}"),
                source,
            })
    }

    /// Sends one request and returns the kernel's result.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_ACK | flags)?;
        loop {
            for answer in self.receive()? {
                if let NetlinkPayload::Error(verdict) = answer.payload {
                    return if verdict.code.is_none() {
                        Ok(())
                    } else {
                        Err(verdict.to_io())
                    };
                }
            }
        }
    }

    /// Sends a dump request and collects all answers.
    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_DUMP)?;
        let mut list = Vec::new();
        loop {
            for answer in self.receive()? {
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => list.push(message),
                    NetlinkPayload::Done(_) => return Ok(list),
                    NetlinkPayload::Error(verdict) => return Err(verdict.to_io()),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// The answers in one datagram.
    fn receive(&self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (datagram, _) = self.socket.recv_from_full()?;
        let mut answers = Vec::new();
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = (answer.header.length as usize)
                .next_multiple_of(ALIGNMENT)
                .min(rest.len());
            if length == 0 {
                return Err(io::Error::other("a netlink message of length 0"));
            }
            rest = &rest[length..];
            if answer.header.sequence_number == self.sequence {
                answers.push(answer);
            }
        }
        Ok(answers)
    }
}

fn address_message(link: u32, net: IpNet) -> AddressMessage {
    match net {
        IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(link)
            .address(net.addr(), net.prefix_len())
            .build(),
        IpNet::V6(net) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(link)
            .address(net.addr(), net.prefix_len())
            .build(),
    }
}

fn link_address(message: &AddressMessage) -> Option<LinkAddress> {
    let mut address = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            // For IPv4 IFA_LOCAL is the interface's own address, IFA_ADDRESS may be the peer's (rtnetlink(7)).
            AddressAttribute::Local(own) => address = Some(*own),
            AddressAttribute::Address(own) => address = address.or(Some(*own)),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(LinkAddress {
        net: IpNet::new(address?, message.header.prefix_len).ok()?,
        tentative: flags.contains(AddressFlags::Tentative),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    })
}

/// Writes a setting under `/proc/sys/net`, which belongs to the namespace of the thread that opens it.
pub fn write_sysctl(path: &str, value: &str) -> Result<(), LinkError> {
    std::fs::write(format!("/proc/sys/net/{path}"), value).map_err(|source| LinkError {
        doing: format!("set net/{path} to {value}"),
        source,
    })
}
