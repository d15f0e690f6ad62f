//! Leases the interface's primary address by DHCPv4, and no other: secondary addresses and prefixes are never leased
//! (VPC guide, "DHCP option sets"). A lease can be renewed as long as the address is mapped. The server is the subnet's
//! gateway, unless the profile gives it an address of its own. In a subnet without IPv4 it leases a link-local address.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, NodeType, UnknownOption};
use ipnet::Ipv4Net;

use crate::datapath::{Answered, DropReason, Ingress, SERVICES_IPV4, View, VpcView};
use crate::model::profile::{Dhcpv4Policy, ForeignAddress, LeasedRoute};
use crate::model::subnet::plan;
use crate::wire::MacAddr;
use crate::wire::dhcp::v4::{Answer, CLIENT_PORT, MessageType, OptionCode, Request, SERVER_PORT};
use crate::wire::frame::Ipv4Packet;
use crate::wire::udp::{self, Datagram, Endpoint, InvalidDatagram};

/// The message of a refusal (option 56).
const REFUSAL: &str = "the address is not the primary address of this network interface";

/// The server for one interface.
struct Server<'a> {
    ingress: &'a Ingress<'a>,
    view: &'a View,
    vpc: &'a VpcView,
    policy: &'a Dhcpv4Policy,
    net: Ipv4Net,
    gateway: Ipv4Addr,
    /// Its own address and server identifier.
    own: Ipv4Addr,
    /// The address that it leases.
    primary: Ipv4Addr,
}

pub(super) fn answer(
    packet: &Ipv4Packet<'_>,
    checksum_pending: bool,
    ingress: &Ingress<'_>,
    view: &View,
    out: &mut Vec<u8>,
) -> Result<Answered, DropReason> {
    let datagram = Datagram::in_ipv4(packet, checksum_pending).map_err(|invalid| match invalid {
        InvalidDatagram::Checksum => DropReason::DhcpChecksum,
        InvalidDatagram::Malformed => DropReason::Dhcpv4Malformed,
    })?;
    let request = Request::parse(datagram.payload).map_err(|_| DropReason::Dhcpv4Malformed)?;
    // One client per interface: a client with many hardware addresses cannot take anything from others.
    if request.hardware != ingress.interface.mac {
        return Err(DropReason::Dhcpv4ForeignClient);
    }
    if !request.relay.is_unspecified() {
        return Err(DropReason::Dhcpv4Relayed);
    }
    let server = Server::new(ingress, view)?;
    let (answer, answered) = match request.kind {
        Some(MessageType::Discover) => (server.lease(&request, MessageType::Offer), Answered::Dhcpv4Offer),
        Some(MessageType::Request) => server.request(&request)?,
        Some(MessageType::Inform) => server.inform(&request)?,
        Some(MessageType::Release) => return Err(DropReason::Dhcpv4Release),
        Some(MessageType::Decline) => return Err(DropReason::Dhcpv4Decline),
        _ => return Err(DropReason::Dhcpv4MessageType),
    };
    let payload = answer.write(&request)?;
    let (mac, address) = destination(&request, &answer);
    let from = Endpoint {
        mac: ingress.subnet.router_mac,
        address: server.own,
        port: SERVER_PORT,
    };
    let to = Endpoint {
        mac,
        address,
        port: CLIENT_PORT,
    };
    udp::write_ipv4(out, from, to, &payload)?;
    Ok(answered)
}

/// The destination of an answer (RFC 2131 section 4.1): the address that the client uses; broadcast for a refusal, and
/// where the client can receive nothing else; otherwise the leased address.
fn destination(request: &Request, answer: &Answer) -> (MacAddr, Ipv4Addr) {
    let broadcast = (MacAddr::BROADCAST, Ipv4Addr::BROADCAST);
    if answer.kind == MessageType::Nak {
        broadcast
    } else if !request.client_address.is_unspecified() {
        (request.hardware, request.client_address)
    } else if request.broadcast {
        broadcast
    } else {
        (request.hardware, answer.your_address)
    }
}

impl<'a> Server<'a> {
    fn new(ingress: &'a Ingress<'a>, view: &'a View) -> Result<Self, DropReason> {
        let (subnet, interface) = (ingress.subnet, &ingress.interface);
        let policy = &subnet.profile().dhcp.v4;
        let gateway = subnet.gateway_ipv4().ok_or(DropReason::Dhcpv4NoAddress)?;
        // A host of an EC2 subnet without IPv4 gets a link-local /32 from 169.254.0.1 (amazon-ec2-utils#27,
        // cloud-init#5307). Of the options of such a lease only the mask, the server and the time are published; the
        // others are as usual.
        let leased = match subnet.ipv4 {
            Some(net) => interface.ipv4.map(|address| (net, address)),
            None => subnet
                .leased_link_local(interface.mac)
                .map(|address| (address.into(), address)),
        };
        let (net, primary) = leased.ok_or(DropReason::Dhcpv4NoAddress)?;
        Ok(Self {
            ingress,
            view,
            vpc: view.vpc(ingress.subnet.vpc).ok_or(DropReason::InterfaceGone)?,
            policy,
            net,
            gateway,
            own: policy.server.filter(|_| subnet.ipv4.is_some()).unwrap_or(gateway),
            primary,
        })
    }

    /// A DHCPREQUEST in any of its four states, which differ in their fields (RFC 2131 section 4.3.2).
    fn request(&self, request: &Request) -> Result<(Answer, Answered), DropReason> {
        let used = Some(request.client_address).filter(|address| !address.is_unspecified());
        let (address, policy) = match (request.server, used, request.requested) {
            (Some(server), _, _) if server != self.own => return Err(DropReason::Dhcpv4OtherServer),
            // SELECTING. Some clients keep the server identifier when they renew, with their address in `ciaddr`.
            (Some(_), used, requested) => (requested.or(used), self.policy.foreign_address),
            // RENEWING or REBINDING.
            (None, Some(used), _) => (Some(used), self.policy.foreign_address),
            (None, None, requested) => (requested, self.policy.init_reboot),
        };
        match (address.ok_or(DropReason::Dhcpv4Malformed)?, policy) {
            (address, _) if address == self.primary => Ok((self.lease(request, MessageType::Ack), Answered::Dhcpv4Ack)),
            (_, ForeignAddress::Nak) => Ok((self.refusal(request), Answered::Dhcpv4Nak)),
            (_, ForeignAddress::Silent) => Err(DropReason::Dhcpv4ForeignAddress),
        }
    }

    /// An OFFER or ACK of the primary address.
    fn lease(&self, request: &Request, kind: MessageType) -> Answer {
        let mut options = self.identity(request);
        options.push(DhcpOption::AddressLeaseTime(self.policy.lease_time.get()));
        options.push(DhcpOption::SubnetMask(self.mask()));
        Answer {
            kind,
            // RFC 2131 table 3: an OFFER has none, an ACK the client's own.
            client_address: if kind == MessageType::Ack {
                request.client_address
            } else {
                Ipv4Addr::UNSPECIFIED
            },
            your_address: self.primary,
            options,
            extras: self.extras(request),
        }
    }

    /// The subnet's mask, or the one that the profile gives every host.
    fn mask(&self) -> Ipv4Addr {
        plan::on_link(self.primary, self.net, self.ingress.subnet.profile()).netmask()
    }

    /// The settings without a lease, for a host with an address from elsewhere (RFC 2131 section 4.3.5).
    fn inform(&self, request: &Request) -> Result<(Answer, Answered), DropReason> {
        let address = request.client_address;
        if address.is_unspecified() {
            return Err(DropReason::Dhcpv4Malformed);
        }
        let owner = self.view.owner_ipv4(self.ingress.subnet, address);
        if address != self.primary && owner != Some(self.ingress.interface.index) {
            return Err(DropReason::Dhcpv4ForeignAddress);
        }
        let mut options = self.identity(request);
        options.push(DhcpOption::SubnetMask(self.mask()));
        let answer = Answer {
            kind: MessageType::Ack,
            client_address: address,
            your_address: Ipv4Addr::UNSPECIFIED,
            options,
            extras: self.extras(request),
        };
        Ok((answer, Answered::Dhcpv4Ack))
    }

    fn refusal(&self, request: &Request) -> Answer {
        Answer {
            kind: MessageType::Nak,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::UNSPECIFIED,
            options: self.identity(request),
            extras: vec![DhcpOption::Message(REFUSAL.to_owned())],
        }
    }

    /// The server's and the client's identifiers.
    fn identity(&self, request: &Request) -> Vec<DhcpOption> {
        // RFC 6842 section 3: a client identifier is returned unchanged.
        let client = request.client_id.clone().map(DhcpOption::ClientIdentifier);
        let server = DhcpOption::ServerIdentifier(self.own);
        let wire_server = self
            .policy
            .option_245
            .map(|address| own_option(245, address.octets().to_vec()));
        std::iter::once(server).chain(client).chain(wire_server).collect()
    }

    /// The name server that stands for AmazonProvidedDNS. A resolver that the router does not serve is not sent.
    fn resolver(&self) -> Option<Ipv4Addr> {
        let subnet = self.ingress.subnet;
        let served = match subnet.ipv4 {
            Some(_) => self.vpc.resolver(),
            // A host with a link-local address reaches link-local services only.
            None => Some(SERVICES_IPV4[1]),
        };
        self.policy
            .name_server
            .or(served.filter(|_| subnet.profile().router.service_addresses))
    }

    /// The routes of the lease.
    fn routes(&self) -> Vec<(Ipv4Net, Ipv4Addr)> {
        let route = |route: &LeasedRoute| match route {
            LeasedRoute::Gateway => (self.gateway.into(), Ipv4Addr::UNSPECIFIED),
            LeasedRoute::Default => (Ipv4Net::default(), self.gateway),
            LeasedRoute::Host(address) => ((*address).into(), self.gateway),
        };
        self.policy.classless_routes.iter().map(route).collect()
    }

    /// The options seen in leases of EC2 hosts and those of the option set, as far as the client requests them; the
    /// most important first.
    fn extras(&self, request: &Request) -> Vec<DhcpOption> {
        let set = &self.vpc.dhcp_options;
        let [a, b, c, d] = self.primary.octets();
        let hostname = format!("ip-{a}-{b}-{c}-{d}");
        // A link-local address has no name, and EC2 names hosts without IPv4 by their instance.
        let hostname = self.ingress.subnet.ipv4.map(|_| DhcpOption::Hostname(hostname));
        let ntp = set.ntp_servers_ipv4();
        let ntp = if ntp.is_empty() {
            self.policy.ntp_server.into_iter().collect()
        } else {
            ntp
        };
        let routes = self.routes();
        let mtu = Some(self.policy.interface_mtu).filter(|mtu| *mtu != 0);
        let node_type = set.netbios_node_type.map(NodeType::from);
        let all = [
            Some(DhcpOption::Router(vec![self.gateway])),
            (!routes.is_empty()).then(|| DhcpOption::ClasslessStaticRoute(routes.clone())),
            (!routes.is_empty()).then(|| own_option(249, rfc3442(&routes))),
            list(set.name_servers_ipv4(self.resolver()), DhcpOption::DomainNameServer),
            mtu.map(DhcpOption::InterfaceMtu),
            set.domain_name.clone().map(DhcpOption::DomainName),
            hostname,
            Some(DhcpOption::BroadcastAddr(self.net.broadcast())),
            list(ntp, DhcpOption::NtpServers),
            list(set.netbios_name_servers.clone(), DhcpOption::NetBiosNameServers),
            node_type.map(DhcpOption::NetBiosNodeType),
        ];
        all.into_iter()
            .flatten()
            .filter(|option| request.wants(OptionCode::from(option)))
            .collect()
    }
}

/// An option without a name in the codec.
fn own_option(code: u8, data: Vec<u8>) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), data))
}

/// Routes as in RFC 3442: the prefix length, its significant octets, the gateway.
fn rfc3442(routes: &[(Ipv4Net, Ipv4Addr)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (net, gateway) in routes {
        let counted = usize::from(net.prefix_len().div_ceil(8));
        bytes.push(net.prefix_len());
        bytes.extend_from_slice(&net.network().octets()[..counted]);
        bytes.extend(gateway.octets());
    }
    bytes
}

/// An option with a list; `None` for an empty one.
fn list(addresses: Vec<Ipv4Addr>, option: impl FnOnce(Vec<Ipv4Addr>) -> DhcpOption) -> Option<DhcpOption> {
    (!addresses.is_empty()).then(|| option(addresses))
}

#[cfg(test)]
mod clouds;
#[cfg(test)]
mod tests;
