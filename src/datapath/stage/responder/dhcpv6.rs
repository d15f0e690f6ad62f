//! Leases the interface's first IPv6 address as a /128 and its delegated /80 by DHCPv6. The client is identified by its
//! port, so that its DUID and link-local address do not matter. An address that is no longer mapped ends at the next
//! renewal, with lifetimes of zero.

use std::net::Ipv6Addr;

use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, IAPrefix, IATA, Status, StatusCode};
use ipnet::Ipv6Net;

use crate::datapath::{Answered, DropReason, Ingress, SERVICES_IPV6, View};
use crate::model::dhcp_options::DhcpOptions as OptionSet;
use crate::model::duration::WireLifetime;
use crate::model::profile::{Dhcpv6Names, Dhcpv6Policy, RapidCommit};
use crate::wire::dhcp::v6::{
    self, Association, CLIENT_PORT, IdentityAssociation, MessageType, OptionCode, Request, SERVER_PORT,
};
use crate::wire::frame::Ipv6Packet;
use crate::wire::udp::{self, Datagram, Endpoint, InvalidDatagram};

/// Octets of the headers of IPv6 and UDP.
const HEADERS: usize = 48;

/// The server for one interface.
struct Server<'a> {
    ingress: &'a Ingress<'a>,
    view: &'a View,
    policy: &'a Dhcpv6Policy,
    options: &'a OptionSet,
    net: Ipv6Net,
    duid: [u8; 10],
    /// The address that it leases.
    address: Option<Ipv6Addr>,
    /// The prefix that it leases to a client that names none.
    prefix: Option<Ipv6Net>,
    times: Times,
}

/// The lifetimes of a lease, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    renewal: u32,
    rebinding: u32,
    preferred: u32,
    valid: u32,
}

impl Times {
    /// A lease that has ended.
    const NONE: Self = Self {
        renewal: 0,
        rebinding: 0,
        preferred: 0,
        valid: 0,
    };

    fn new(policy: &Dhcpv6Policy, options: &OptionSet) -> Self {
        let Some(preferred) = options.ipv6_address_preferred_lease_time.map(WireLifetime::get) else {
            return Self {
                renewal: policy.renewal_time.get(),
                rebinding: policy.rebinding_time.get(),
                preferred: policy.preferred_lifetime.get(),
                valid: policy.valid_lifetime.get(),
            };
        };
        // An address stays valid as long after its preferred lifetime as in the profile; T1 and T2 are the fractions
        // that RFC 8415 section 14.2 recommends.
        let grace = policy
            .valid_lifetime
            .get()
            .saturating_sub(policy.preferred_lifetime.get());
        Self {
            renewal: preferred / 2,
            rebinding: preferred / 5 * 4,
            preferred,
            valid: preferred.saturating_add(grace),
        }
    }
}

/// The answer to a client.
type Told = (MessageType, Vec<DhcpOption>);

pub(super) fn answer(
    packet: &Ipv6Packet<'_>,
    checksum_pending: bool,
    ingress: &Ingress<'_>,
    view: &View,
    out: &mut Vec<u8>,
) -> Result<Answered, DropReason> {
    let datagram = Datagram::in_ipv6(packet, checksum_pending).map_err(|invalid| match invalid {
        InvalidDatagram::Checksum => DropReason::DhcpChecksum,
        InvalidDatagram::Malformed => DropReason::Dhcpv6Malformed,
    })?;
    if !packet.source.is_unicast_link_local() {
        return Err(DropReason::Dhcpv6Source);
    }
    let request = Request::parse(datagram.payload).map_err(|_| DropReason::Dhcpv6Malformed)?;
    let server = Server::new(ingress, view)?;
    server.admit(&request)?;
    let (kind, options) = if packet.destination.is_multicast() {
        server.respond(&request)?
    } else {
        server.refuse_unicast(&request)?
    };
    let mut all = server.identity(&request);
    all.extend(options);
    let payload = v6::write(kind, request.xid, &all)?;
    let mtu = ingress.interface.mtu.unwrap_or(ingress.subnet.profile().mtu);
    if payload.len() + HEADERS > usize::from(mtu) {
        return Err(DropReason::DhcpTooLong);
    }
    let router = ingress.subnet.router_mac;
    let from = Endpoint {
        mac: router,
        address: router.link_local(),
        port: SERVER_PORT,
    };
    let to = Endpoint {
        mac: ingress.interface.mac,
        address: packet.source,
        port: CLIENT_PORT,
    };
    udp::write_ipv6(out, from, to, &payload)?;
    Ok(if kind == MessageType::Advertise {
        Answered::Dhcpv6Advertise
    } else {
        Answered::Dhcpv6Reply
    })
}

impl<'a> Server<'a> {
    fn new(ingress: &'a Ingress<'a>, view: &'a View) -> Result<Self, DropReason> {
        let subnet = ingress.subnet;
        let vpc = view.vpc(subnet.vpc).ok_or(DropReason::InterfaceGone)?;
        let policy = &subnet.profile().dhcp.v6;
        let interface = &ingress.interface;
        Ok(Self {
            ingress,
            view,
            policy,
            options: &vpc.dhcp_options,
            net: subnet.ipv6.ok_or(DropReason::NoIpv6)?,
            duid: v6::link_layer_duid(subnet.router_mac),
            address: interface.ipv6_host.and_then(|host| subnet.ipv6_address(host)),
            prefix: view
                .delegated_prefix(subnet, interface.index)
                .filter(|_| policy.prefix_delegation),
            times: Times::new(policy, &vpc.dhcp_options),
        })
    }

    /// Checks which messages must have a client identifier, and which must, may or must not have a server identifier
    /// (RFC 8415 section 16).
    fn admit(&self, request: &Request<'_>) -> Result<(), DropReason> {
        use MessageType as M;
        let well_formed = match request.kind {
            M::Solicit | M::Confirm | M::Rebind => request.client.is_some() && request.server.is_none(),
            M::Request | M::Renew | M::Release | M::Decline => request.client.is_some() && request.server.is_some(),
            M::InformationRequest => request.associations.is_empty(),
            _ => return Err(DropReason::Dhcpv6MessageType),
        };
        if !well_formed {
            return Err(DropReason::Dhcpv6Malformed);
        }
        match request.server {
            Some(server) if server != self.duid => Err(DropReason::Dhcpv6OtherServer),
            _ => Ok(()),
        }
    }

    /// The server's and the client's identifiers.
    fn identity(&self, request: &Request<'_>) -> Vec<DhcpOption> {
        let client = request.client.map(|client| DhcpOption::ClientId(client.to_vec()));
        let server = DhcpOption::ServerId(self.duid.to_vec());
        client.into_iter().chain(std::iter::once(server)).collect()
    }

    /// Refuses a message to the server's unicast address, which it never offered (RFC 8415 sections 16 and 18.3).
    fn refuse_unicast(&self, request: &Request<'_>) -> Result<Told, DropReason> {
        use MessageType as M;
        match request.kind {
            M::Request | M::Renew | M::Release | M::Decline => {
                let status = status(Status::UseMulticast, "send to ff02::1:2");
                Ok((M::Reply, vec![status]))
            }
            _ => Err(DropReason::Dhcpv6Unicast),
        }
    }

    fn respond(&self, request: &Request<'_>) -> Result<Told, DropReason> {
        use MessageType as M;
        match request.kind {
            M::Solicit => self.solicit(request),
            M::Request => Ok((M::Reply, self.leases(request, Purpose::Assign))),
            M::Renew | M::Rebind => Ok((M::Reply, self.leases(request, Purpose::Extend))),
            M::Confirm => Ok((M::Reply, vec![self.confirm(request)?])),
            M::Release | M::Decline => Ok((M::Reply, self.give_back(request))),
            M::InformationRequest => Ok((M::Reply, self.names(request))),
            _ => Err(DropReason::Dhcpv6MessageType),
        }
    }

    fn solicit(&self, request: &Request<'_>) -> Result<Told, DropReason> {
        let leases = self.leases(request, Purpose::Offer);
        match self.policy.rapid_commit {
            RapidCommit::Honour if request.rapid_commit => {
                let commit = std::iter::once(DhcpOption::RapidCommit);
                Ok((MessageType::Reply, commit.chain(leases).collect()))
            }
            RapidCommit::Drop if request.rapid_commit => Err(DropReason::Dhcpv6RapidCommit),
            _ => Ok((MessageType::Advertise, leases)),
        }
    }

    /// The answers for all identity associations, and the names.
    fn leases(&self, request: &Request<'_>, purpose: Purpose) -> Vec<DhcpOption> {
        let mut stock = Stock::new(self, request);
        let mut options: Vec<DhcpOption> = request
            .associations
            .iter()
            .enumerate()
            .map(|(at, association)| self.lease(association, &stock.take(self, at, association), purpose))
            .collect();
        options.extend(self.unasked_prefix(request));
        options.extend(self.names(request));
        options
    }

    /// The delegated prefix in an association that the client did not request (systemd#20803).
    fn unasked_prefix(&self, request: &Request<'_>) -> Option<DhcpOption> {
        let asks_for = |kind| request.associations.iter().any(|one| one.kind == kind);
        let delegated = self.prefix.filter(|_| self.policy.unasked_prefix)?;
        if asks_for(Association::Prefixes) || !asks_for(Association::Addresses) {
            return None;
        }
        // EC2's IAID is not published; only that it is none of the client's.
        let taken = |id: u32| request.associations.iter().any(|one| one.id == id);
        let id = (0..).find(|id| !taken(*id))?;
        let asked = IdentityAssociation {
            kind: Association::Prefixes,
            id,
            addresses: Vec::new(),
            prefixes: Vec::new(),
        };
        Some(association(&asked, self.times, vec![prefix(delegated, self.times)]))
    }

    /// One identity association with its leases; addresses that it has and does not get end, or are left out of an
    /// offer.
    fn lease(&self, asked: &IdentityAssociation, given: &Given, purpose: Purpose) -> DhcpOption {
        // RFC 8415 section 18.3.2: addresses of another network make the client start over.
        let elsewhere = asked.addresses.iter().any(|address| !self.net.contains(address));
        if purpose == Purpose::Assign && asked.kind == Association::Addresses && elsewhere {
            let options = vec![status(Status::NotOnLink, "the address is not of this subnet")];
            return association(asked, Times::NONE, options);
        }
        let mut options: Vec<DhcpOption> = given.addresses.iter().map(|one| address(*one, self.times)).collect();
        options.extend(given.prefixes.iter().map(|one| prefix(*one, self.times)));
        let times = if options.is_empty() { Times::NONE } else { self.times };
        if purpose == Purpose::Extend {
            // RFC 8415 section 18.3.4: the client must stop using these at once.
            let lost = asked.addresses.iter().filter(|one| !given.addresses.contains(*one));
            options.extend(lost.map(|one| address(*one, Times::NONE)));
            let lost = asked
                .prefixes
                .iter()
                .filter(|one| !given.prefixes.contains(*one) && !is_hint(one));
            options.extend(lost.map(|one| prefix(*one, Times::NONE)));
        }
        if options.is_empty() {
            options.push(match asked.kind {
                Association::Addresses => status(Status::NoAddrsAvail, "no address for this association"),
                Association::TemporaryAddresses => status(Status::NoAddrsAvail, "no temporary addresses here"),
                Association::Prefixes => status(Status::NoPrefixAvail, "no prefix is delegated to this interface"),
            });
        }
        association(asked, times, options)
    }

    /// Whether a host's addresses are still its own. RFC 8415 section 18.3.3 asks whether they fit the link; here the
    /// link is one interface, and an address that is not mapped to it is unreachable.
    fn confirm(&self, request: &Request<'_>) -> Result<DhcpOption, DropReason> {
        let mut addresses = request.associations.iter().flat_map(|one| &one.addresses).peekable();
        if addresses.peek().is_none() {
            return Err(DropReason::Dhcpv6NothingToConfirm);
        }
        Ok(if addresses.all(|address| self.owns(*address)) {
            status(Status::Success, "the addresses are yours")
        } else {
            status(Status::NotOnLink, "an address is not of this interface")
        })
    }

    /// A Release or a Decline. Neither removes a mapping; addresses that were never leased are listed (RFC 8415 section
    /// 18.3.7).
    fn give_back(&self, request: &Request<'_>) -> Vec<DhcpOption> {
        let unknown = request.associations.iter().filter(|one| {
            let addresses = one.addresses.iter().all(|address| Some(*address) == self.address);
            !addresses || !one.prefixes.iter().all(|prefix| self.delegated(*prefix))
        });
        let unknown = unknown.map(|one| {
            let options = vec![status(Status::NoBinding, "never leased to this interface")];
            association(one, Times::NONE, options)
        });
        std::iter::once(status(Status::Success, "noted"))
            .chain(unknown)
            .collect()
    }

    /// Name servers and domains, where the profile sends them and the client requests them.
    fn names(&self, request: &Request<'_>) -> Vec<DhcpOption> {
        let told = match self.policy.names {
            Dhcpv6Names::Ipv6OnlySubnets => self.ingress.subnet.ipv4.is_none(),
            Dhcpv6Names::Everywhere => true,
            Dhcpv6Names::Never => false,
        };
        if !told {
            return Vec::new();
        }
        let [_, resolver, ..] = SERVICES_IPV6;
        let own = self
            .ingress
            .subnet
            .profile()
            .router
            .service_addresses
            .then_some(resolver);
        let mut options = Vec::new();
        let servers = self.options.name_servers_ipv6(own);
        if request.wants(OptionCode::DomainNameServers) && !servers.is_empty() {
            options.push(DhcpOption::DomainNameServers(servers));
        }
        if request.wants(OptionCode::DomainSearchList) && self.options.domain_name.is_some() {
            options.push(v6::domain_list(OptionCode::DomainSearchList, self.options.domains()));
        }
        options
    }

    fn owns(&self, address: Ipv6Addr) -> bool {
        self.view.owner_ipv6(self.ingress.subnet, address) == Some(self.ingress.interface.index)
    }

    /// Whether a prefix is delegated to the interface, the first one or another.
    fn delegated(&self, prefix: Ipv6Net) -> bool {
        let subnet = self.ingress.subnet;
        self.policy.prefix_delegation && self.view.prefix_owner(subnet, prefix) == Some(self.ingress.interface.index)
    }
}

/// The message that leases are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Advertise, or Reply to a rapid commit: nothing is assigned yet.
    Offer,
    /// Reply to a Request.
    Assign,
    /// Reply to a Renew or Rebind.
    Extend,
}

/// The leases of one identity association.
#[derive(Debug, Default)]
struct Given {
    addresses: Vec<Ipv6Addr>,
    prefixes: Vec<Ipv6Net>,
}

/// The available leases, each for one association: the one that names it, or else the first of its kind.
struct Stock {
    address_at: Option<usize>,
    prefix_at: Option<usize>,
    prefixes: Vec<Ipv6Net>,
}

impl Stock {
    fn new(server: &Server<'_>, request: &Request<'_>) -> Self {
        let place = |kind: Association, names: &dyn Fn(&IdentityAssociation) -> bool| {
            let of_kind = |one: &IdentityAssociation| one.kind == kind;
            let all = &request.associations;
            let named = all.iter().position(|one| of_kind(one) && names(one));
            named.or_else(|| all.iter().position(of_kind))
        };
        let address_at = place(Association::Addresses, &|one| {
            server.address.is_some_and(|address| one.addresses.contains(&address))
        });
        let prefix_at = place(Association::Prefixes, &|one| {
            one.prefixes.iter().any(|prefix| server.delegated(*prefix))
        });
        Self {
            address_at,
            prefix_at,
            prefixes: Vec::new(),
        }
    }

    fn take(&mut self, server: &Server<'_>, at: usize, asked: &IdentityAssociation) -> Given {
        let mut given = Given::default();
        if self.address_at == Some(at) {
            given.addresses.extend(server.address);
        }
        if asked.kind == Association::Prefixes {
            let named = asked
                .prefixes
                .iter()
                .copied()
                .filter(|prefix| server.delegated(*prefix));
            let first = server.prefix.filter(|_| self.prefix_at == Some(at));
            let named: Vec<Ipv6Net> = named.collect();
            let wanted = if named.is_empty() {
                first.into_iter().collect()
            } else {
                named
            };
            for prefix in wanted {
                if !self.prefixes.contains(&prefix) {
                    self.prefixes.push(prefix);
                    given.prefixes.push(prefix);
                }
            }
        }
        given
    }
}

/// A prefix that only gives the requested length (RFC 8415 section 18.2.1).
fn is_hint(prefix: &Ipv6Net) -> bool {
    prefix.addr().is_unspecified()
}

fn status(status: Status, text: &str) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode {
        status,
        msg: text.to_owned(),
    })
}

fn address(address: Ipv6Addr, times: Times) -> DhcpOption {
    DhcpOption::IAAddr(IAAddr {
        addr: address,
        preferred_life: times.preferred,
        valid_life: times.valid,
        opts: DhcpOptions::new(),
    })
}

fn prefix(prefix: Ipv6Net, times: Times) -> DhcpOption {
    DhcpOption::IAPrefix(IAPrefix {
        preferred_lifetime: times.preferred,
        valid_lifetime: times.valid,
        prefix_len: prefix.prefix_len(),
        prefix_ip: prefix.addr(),
        opts: DhcpOptions::new(),
    })
}

fn association(asked: &IdentityAssociation, times: Times, options: Vec<DhcpOption>) -> DhcpOption {
    let (id, t1, t2) = (asked.id, times.renewal, times.rebinding);
    let opts: DhcpOptions = options.into_iter().collect();
    match asked.kind {
        Association::Addresses => DhcpOption::IANA(IANA { id, t1, t2, opts }),
        Association::TemporaryAddresses => DhcpOption::IATA(IATA { id, opts }),
        Association::Prefixes => DhcpOption::IAPD(IAPD { id, t1, t2, opts }),
    }
}

#[cfg(test)]
mod tests;
