//! Traces a decision: each stage reports what it looked at to an observer. A worker's observer ignores everything.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::policy::RuleName;
use super::state::Allowance;
use super::verdict::Service;
use super::view::RouteTarget;
use super::view::{RouterAddress, SubnetIndex, VpcIndex};
use crate::mapping::InterfaceIndex;
use crate::model::traffic::Direction;
use crate::wire::MacAddr;

/// The stages, in the order in which a frame meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Is the frame complete, and does it have the interface's MAC?
    Guard,
    /// ARP and Neighbor Discovery.
    Neighbor,
    /// Router Solicitations, and other requests that the router answers.
    Router,
    /// Is it a request to one of the VPC's own servers, DHCP?
    Responder,
    /// May the interface send from this address?
    SourceCheck,
    /// Which interface has the destination MAC?
    Delivery,
    /// Do the groups of the sending interface let it out?
    SecurityGroupEgress,
    /// What is the target of the route?
    Route,
    /// Which public address stands for a private one?
    Gateway,
    /// Which address and port of a NAT gateway stand for a connection?
    NatGateway,
    /// Does the network ACL of the subnet that it leaves let it out?
    NetworkAclEgress,
    /// Does the network ACL of the subnet that it enters let it in?
    NetworkAclIngress,
    /// May the receiving interface get this destination address?
    DestinationCheck,
    /// Do the groups of the receiving interface let it in?
    SecurityGroupIngress,
    /// Does the port have answers left?
    Limit,
}

/// A fact that a stage looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The source MAC and the expected one.
    SourceMac {
        /// The interface's MAC.
        expected: MacAddr,
        /// The frame's.
        seen: MacAddr,
    },
    /// A request for an address.
    Asked {
        /// The address.
        address: IpAddr,
    },
    /// The address is the router's.
    Router {
        /// The address.
        address: IpAddr,
        /// Which of its addresses.
        kind: RouterAddress,
        /// The router's MAC.
        mac: MacAddr,
    },
    /// The mapping table's entry.
    Mapping {
        /// The subnet of the look-up.
        subnet: SubnetIndex,
        /// The address.
        address: IpAddr,
        /// Its owner.
        owner: Option<InterfaceIndex>,
    },
    /// A link-local address from which the MAC was computed.
    Computed {
        /// The address.
        address: IpAddr,
        /// The MAC.
        mac: MacAddr,
    },
    /// The interface that has a MAC.
    Mac {
        /// The MAC.
        mac: MacAddr,
        /// Its owner.
        owner: Option<InterfaceIndex>,
    },
    /// A source or destination check.
    Check {
        /// The interface whose check it is.
        interface: InterfaceIndex,
        /// Its subnet.
        subnet: SubnetIndex,
        /// The address that it must own.
        address: IpAddr,
        /// Whether the check is on.
        enabled: bool,
        /// Whether the interface owns the address.
        owns: bool,
    },
    /// The route that was used.
    Route {
        /// The destination.
        address: IpAddr,
        /// The route's destination and target; `None` where no route matched.
        route: Option<(IpNet, RouteTarget)>,
    },
    /// A private address of a VPC and the public one that it is associated with.
    Public {
        /// The VPC.
        vpc: VpcIndex,
        /// The private address, or the one that would be.
        private: Option<Ipv4Addr>,
        /// The public address, or the one that would be.
        public: Option<Ipv4Addr>,
    },
    /// What a router that asks knows of an address.
    Neighbor {
        /// The subnet of the address.
        subnet: SubnetIndex,
        /// The address.
        address: IpAddr,
        /// The entry's MAC.
        mac: Option<MacAddr>,
    },
    /// A request to one of the VPC's own servers.
    Service {
        /// Which.
        service: Service,
    },
    /// An allowance of the port that is used up.
    Spent {
        /// Which.
        allowance: Allowance,
        /// How many a second the profile allows.
        rate: u32,
    },
    /// A group address.
    Group {
        /// The frame's destination.
        mac: MacAddr,
    },
    /// An address at which the VPC itself answers: no group is asked.
    Exempt {
        /// The address.
        address: IpAddr,
    },
    /// A connection that an interface tracks.
    Tracked {
        /// The interface.
        interface: InterfaceIndex,
        /// Its protocol.
        protocol: u8,
        /// The address on the interface's side.
        own: IpAddr,
        /// The other end's.
        remote: IpAddr,
        /// The own port and the other end's, of TCP and UDP.
        ports: Option<(u16, u16)>,
    },
    /// The rules of an interface's groups were asked.
    Rule {
        /// The interface.
        interface: InterfaceIndex,
        /// Which rules.
        direction: Direction,
        /// The interface at the other end, where the rules name groups and it is a member of some.
        member: Option<InterfaceIndex>,
        /// The rule that lets the packet through; `None` where none does.
        rule: Option<RuleName>,
        /// Whether the connection is not tracked: rules let everything through both ways.
        untracked: bool,
    },
    /// The entries of a subnet's network ACL were asked.
    AclEntry {
        /// The subnet.
        subnet: SubnetIndex,
        /// Which entries.
        direction: Direction,
        /// The entry that decides; `None` where none matches.
        entry: Option<RuleName>,
        /// Whether it lets the packet through.
        allows: bool,
    },
    /// The instance has as many connections tracked as it may.
    Full {
        /// The interface.
        interface: InterfaceIndex,
        /// How many that are.
        limit: u32,
    },
    /// The address and port of a NAT gateway that stand for a connection of a host behind it.
    Binding {
        /// The gateway's interface.
        gateway: InterfaceIndex,
        /// The protocol.
        protocol: u8,
        /// The host's address and port.
        inside: (IpAddr, u16),
        /// What stands for it.
        outside: (IpAddr, u16),
        /// The other end.
        remote: (IpAddr, u16),
        /// Whether the connection begins.
        new: bool,
    },
    /// A learning switch's entry for a station.
    Station {
        /// The station.
        mac: MacAddr,
        /// Whether its port is known.
        known: bool,
    },
}

/// A protocol by its name, or its number where it has none here.
pub(crate) struct ProtocolName(pub(crate) u8);

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("icmp"),
            6 => f.write_str("tcp"),
            17 => f.write_str("udp"),
            58 => f.write_str("icmpv6"),
            other => write!(f, "protocol {other}"),
        }
    }
}

/// Gets each step of a decision.
pub trait Observer {
    /// False for an observer that ignores everything, so that look-ups only for the trace are skipped.
    const LISTENS: bool = true;

    /// Called when a stage looked at something.
    fn saw(&mut self, stage: Stage, fact: Fact);
}

/// Ignores everything.
pub struct Unobserved;

impl Observer for Unobserved {
    const LISTENS: bool = false;

    #[inline(always)]
    fn saw(&mut self, _: Stage, _: Fact) {}
}

/// What let a packet through the firewall, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilteredBy {
    /// A rule or an entry, which allows or denies.
    Rule(RuleName),
    /// That no rule allows it.
    NoRule,
    /// A connection that is tracked.
    Connection,
    /// An allowance of connections that is used up.
    Allowance,
}

/// Remembers what let a packet through the firewall, at each of its stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Filtered {
    stages: [Option<(Stage, FilteredBy)>; 4],
}

/// An address and a port of a NAT gateway that stand for those of a host behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The gateway's interface.
    pub gateway: InterfaceIndex,
    /// The host's address and port.
    pub inside: (IpAddr, u16),
    /// What stands for it.
    pub outside: (IpAddr, u16),
    /// The other end's address; of NAT64 its IPv4 address.
    pub remote: IpAddr,
}

/// Remembers what an observer of the live path is shown of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passage {
    /// What let the packet through the firewall, or did not.
    pub filtered: Filtered,
    /// The target of its route, where one was looked up.
    pub route: Option<RouteTarget>,
    /// The target of its route from a NAT gateway on.
    pub beyond: Option<RouteTarget>,
    /// What a NAT gateway has for its connection.
    pub nat: Option<Bound>,
    /// The interface that it was for, where one was found.
    pub receiver: Option<InterfaceIndex>,
    /// The private and the public addresses that an internet gateway translates, of the sender and of the receiver.
    pub public: [Option<(Ipv4Addr, Ipv4Addr)>; 2],
}

impl Filtered {
    /// What decided at each stage, in order.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, FilteredBy)> + '_ {
        self.stages.iter().flatten().copied()
    }
}

impl Observer for Passage {
    fn saw(&mut self, stage: Stage, fact: Fact) {
        self.filtered.saw(stage, fact);
        match fact {
            Fact::Route { route, .. } => {
                let target = route.map(|(_, target)| target);
                match self.route {
                    None => self.route = target,
                    Some(_) => self.beyond = target,
                }
                if let Some(RouteTarget::Interface(middlebox)) = target {
                    self.receiver = Some(middlebox);
                }
            }
            Fact::Mapping { owner, .. } if stage == Stage::Route => self.receiver = owner,
            Fact::Binding {
                gateway,
                inside,
                outside,
                remote,
                ..
            } => {
                self.nat = Some(Bound {
                    gateway,
                    inside,
                    outside,
                    remote: remote.0,
                });
            }
            Fact::Rule {
                interface,
                direction: Direction::Ingress,
                ..
            } => self.receiver = Some(interface),
            Fact::Public {
                private: Some(private),
                public: Some(public),
                ..
            } => {
                if let Some(free) = self.public.iter_mut().find(|known| known.is_none()) {
                    *free = Some((private, public));
                }
            }
            _ => {}
        }
    }
}

impl Observer for Filtered {
    fn saw(&mut self, stage: Stage, fact: Fact) {
        let by = match fact {
            Fact::Rule { rule, .. } | Fact::AclEntry { entry: rule, .. } => {
                rule.map_or(FilteredBy::NoRule, FilteredBy::Rule)
            }
            Fact::Tracked { .. } => FilteredBy::Connection,
            Fact::Full { .. } => FilteredBy::Allowance,
            _ => return,
        };
        let free = self.stages.iter_mut().find(|known| match known {
            Some((known, _)) => *known == stage,
            None => true,
        });
        if let Some(free) = free {
            *free = Some((stage, by));
        }
    }
}

/// Records every step.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The steps in order.
    pub steps: Vec<(Stage, Fact)>,
}

impl Observer for Recorder {
    fn saw(&mut self, stage: Stage, fact: Fact) {
        self.steps.push((stage, fact));
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceMac { expected, seen } if expected == seen => {
                write!(f, "source MAC {seen} is the interface's own")
            }
            Self::SourceMac { expected, seen } => write!(f, "source MAC {seen} is not the interface's own, {expected}"),
            Self::Asked { address } => write!(f, "asks who has {address}"),
            Self::Router { address, kind, mac } => {
                let kind = match kind {
                    RouterAddress::Gateway => "the subnet's gateway",
                    RouterAddress::Resolver => "the resolver",
                    RouterAddress::Service => "a link-local service",
                    RouterAddress::LinkLocal => "the router's link-local",
                };
                write!(f, "{address} is {kind}, at the router's MAC {mac}")
            }
            Self::Mapping {
                address,
                owner: Some(owner),
                ..
            } => write!(f, "{address} is mapped to interface #{}", owner.get()),
            Self::Mapping {
                address, owner: None, ..
            } => write!(f, "{address} is not mapped in this subnet"),
            Self::Computed { address, mac } => {
                write!(f, "{address} is an EUI-64 link-local: {mac} is computed from it")
            }
            Self::Mac {
                mac,
                owner: Some(owner),
            } => write!(f, "{mac} is interface #{}", owner.get()),
            Self::Mac { mac, owner: None } => write!(f, "{mac} is no interface of this VPC"),
            Self::Check {
                address,
                enabled: false,
                ..
            } => write!(f, "check is off: {address} passes"),
            Self::Check {
                address, owns: true, ..
            } => write!(f, "{address} belongs to the interface"),
            Self::Check {
                address, owns: false, ..
            } => write!(f, "{address} does not belong to the interface"),
            Self::Route { address, route: None } => write!(f, "no route to {address}"),
            Self::Route {
                address,
                route: Some((range, target)),
            } => {
                write!(f, "{address} is in {range}: ")?;
                match target {
                    RouteTarget::Local => f.write_str("local route"),
                    RouteTarget::Interface(index) => write!(f, "route to interface #{}", index.get()),
                    RouteTarget::Internet => f.write_str("route to the internet gateway"),
                    RouteTarget::NatGateway(_) => f.write_str("route to a NAT gateway"),
                    RouteTarget::EgressOnly => f.write_str("route to the egress-only internet gateway"),
                    RouteTarget::Peering(_) => f.write_str("route to a peered VPC"),
                    RouteTarget::Endpoint(service) => write!(f, "route to a gateway endpoint of {service}"),
                    RouteTarget::Blackhole => f.write_str("black hole"),
                }
            }
            Self::Public {
                private: Some(private),
                public: Some(public),
                ..
            } => write!(f, "{private} is associated with the public address {public}"),
            Self::Public {
                private: Some(private), ..
            } => write!(f, "{private} is associated with no public address"),
            Self::Public {
                public: Some(public), ..
            } => write!(f, "{public} is associated with no private address"),
            Self::Public { .. } => f.write_str("no public address is asked for"),
            Self::Neighbor {
                address,
                mac: Some(mac),
                ..
            } => write!(f, "the router was told that {address} is at {mac}"),
            Self::Neighbor { address, mac: None, .. } => write!(f, "the router was not told where {address} is"),
            Self::Service { service } => write!(f, "a question to the subnet's {service} server"),
            Self::Spent { allowance, rate } => {
                write!(
                    f,
                    "the port has had its {rate} {} of this second",
                    allowance.description()
                )
            }
            Self::Exempt { address } => write!(
                f,
                "{address} is exempt from security groups: the VPC itself answers there"
            ),
            Self::Tracked {
                protocol,
                own,
                remote,
                ports,
                ..
            } => {
                write!(f, "belongs to a tracked connection: ")?;
                let end = |address: &IpAddr, port: Option<u16>| match port {
                    Some(port) => std::net::SocketAddr::new(*address, port).to_string(),
                    None => address.to_string(),
                };
                let (own_port, remote_port) = (ports.map(|ports| ports.0), ports.map(|ports| ports.1));
                let (own, remote) = (end(own, own_port), end(remote, remote_port));
                write!(f, "{} between {own} and {remote}", ProtocolName(*protocol))
            }
            Self::Rule {
                direction,
                rule: Some(_),
                untracked,
                ..
            } => {
                write!(f, "an {} rule allows it", direction.adjective())?;
                f.write_str(if *untracked { ", untracked" } else { "" })
            }
            Self::Rule {
                direction, rule: None, ..
            } => write!(f, "no {} rule allows it", direction.adjective()),
            Self::AclEntry {
                direction,
                entry,
                allows,
                ..
            } => {
                let verb = if *allows { "allows" } else { "denies" };
                match entry {
                    Some(RuleName::NetworkAcl { number, .. }) => {
                        write!(f, "{} entry {number} {verb} it", direction.adjective())
                    }
                    _ => write!(f, "no {} entry allows it", direction.adjective()),
                }
            }
            Self::Full { limit, .. } => write!(f, "the instance has its {limit} connections tracked already"),
            Self::Binding {
                protocol,
                inside,
                outside,
                remote,
                new,
                ..
            } => {
                let end = |(address, port): (IpAddr, u16)| std::net::SocketAddr::new(address, port);
                let begins = if *new { "from now on " } else { "" };
                if inside == outside {
                    let (own, other) = (end(*inside), end(*remote));
                    return write!(
                        f,
                        "{begins}a connection of {own} with {other} ({})",
                        ProtocolName(*protocol)
                    );
                }
                write!(
                    f,
                    "{begins}{} stands for {} towards {} ({})",
                    end(*outside),
                    end(*inside),
                    end(*remote),
                    ProtocolName(*protocol)
                )
            }
            Self::Group { mac } => write!(f, "{mac} is a group address"),
            Self::Station { mac, known: true } => write!(f, "{mac} was heard on a port"),
            Self::Station { mac, known: false } => write!(f, "{mac} was not heard yet"),
        }
    }
}
