//! Passes packets between hosts of a VPC and a service by a gateway endpoint: connections that the hosts begin, and their
//! answers (VPC guide, "Gateway endpoints"; firewall facts V1). The service sees the private address of the host.

use std::net::{IpAddr, Ipv4Addr};

use super::internet::Beyond;
use super::nat_gateway::read::Subject;
use crate::datapath::state::Inside;
use crate::datapath::{Context, Decided, DropReason, Observer, Packet, Rewrite, VpcIndex};
use crate::mapping::InterfaceIndex;
use crate::model::endpoint::GatewayService;
use crate::model::traffic::Direction;
use crate::wire::frame::{Frame, Ipv4Packet};

impl<'a, O: Observer> Context<'a, O> {
    /// A packet that a route sends to a gateway endpoint of the VPC.
    pub(super) fn through_endpoint(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Decided {
        let vpc = self.ingress.vpc;
        let Packet::V4(ipv4) = packet else {
            return Err(DropReason::NoRoute);
        };
        // An endpoint serves its VPC alone: nothing behind a peering connection or a tunnel ("Gateway endpoints",
        // Considerations).
        self.local_owner(vpc, packet.source())
            .map_err(|_| DropReason::EndpointSource)?;
        let (connection, later) =
            connection(ipv4, vpc.index, Direction::Egress).ok_or(DropReason::EndpointUnsolicited)?;
        self.let_out(&connection, later)?;
        let service = self.on_the_outside(packet.destination())?;
        self.pass_to(frame, packet, &service)
    }

    /// The host that a packet of a service answers, by an endpoint of its VPC.
    pub(super) fn behind_endpoint(&mut self, packet: &Packet<'_>) -> Option<Result<Beyond<'a>, DropReason>> {
        let Packet::V4(ipv4) = packet else { return None };
        let is_service = GatewayService::ALL
            .iter()
            .any(|service| service.block().contains(&ipv4.source));
        if !is_service {
            return None;
        }
        let (view, destination) = (self.view, ipv4.destination);
        let around = |vpc: &VpcIndex| {
            let ranges = view.vpc(*vpc).map(|vpc| &vpc.cidrs);
            ranges.is_some_and(|ranges| ranges.iter().any(|range| range.contains(&IpAddr::V4(destination))))
        };
        let mut found = None;
        for vpc in view.edge.endpoints().filter(around) {
            found = Some(Err(DropReason::EndpointUnsolicited));
            let Some((connection, later)) = connection(ipv4, vpc, Direction::Ingress) else {
                continue;
            };
            if self.lets_answer_in(&connection, later)
                && let Some(vpc) = view.vpc(vpc)
            {
                return Some(self.local_owner(vpc, destination.into()));
            }
        }
        found
    }

    fn on_the_outside(&mut self, address: IpAddr) -> Result<Beyond<'a>, DropReason> {
        let view = self.view;
        let subnet = view.edge.outside().and_then(|outside| view.subnet(outside));
        let vpc = subnet.and_then(|subnet| view.vpc(subnet.vpc));
        let found = self.local_owner(vpc.ok_or(DropReason::EndpointNoService)?, address);
        found.map_err(|_| DropReason::EndpointNoService)
    }

    /// The last steps, with addresses as they are. The router of the outside takes a hop.
    pub(super) fn pass_to(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, to: &Beyond<'_>) -> Decided {
        if super::route::hops_left(packet) <= 1 {
            return Err(DropReason::HopLimit);
        }
        let rewrite = Rewrite::Route {
            destination: to.interface.mac,
            source: to.subnet.router_mac,
            decrement_ttl: true,
        };
        self.network_acls(frame, packet, to.subnet)?;
        let mtu = to.interface.mtu.unwrap_or(to.subnet.profile().mtu);
        match self.hand_over(frame, packet, &to.interface, to.subnet, rewrite, Some(to.owner)) {
            Err(DropReason::TooLong) => self.too_big(frame, packet, mtu),
            decided => decided,
        }
    }

    /// Remembers a connection that a host begins, or lets it go on.
    fn let_out(&mut self, connection: &Inside, later: Later) -> Result<(), DropReason> {
        let known = self.remembered(connection);
        if later == Later::Follows && !known {
            return Err(DropReason::EndpointUnsolicited);
        }
        self.saw_egress(connection, !known);
        if later != Later::Error {
            self.keep_connection(*connection, 0);
        }
        self.keep_fragments(connection, later);
        Ok(())
    }

    fn lets_answer_in(&mut self, connection: &Inside, later: Later) -> bool {
        if !self.remembered(connection) {
            return false;
        }
        self.saw_egress(connection, false);
        if !matches!(later, Later::Error | Later::Follows) {
            self.keep_connection(*connection, 0);
        }
        self.keep_fragments(connection, later);
        true
    }

    fn keep_fragments(&mut self, connection: &Inside, later: Later) {
        if let Later::Will(identification) = later {
            self.keep_connection(fragments(connection, identification), 1);
        }
    }
}

/// The part that later fragments have in a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Later {
    /// None.
    None,
    /// It is the first of some.
    Will(u16),
    /// It is one.
    Follows,
    /// It is an ICMP error, of which nothing is remembered.
    Error,
}

fn fragments(connection: &Inside, identification: u16) -> Inside {
    Inside {
        fragments: true,
        port: identification,
        remote_port: 0,
        ..*connection
    }
}

/// The connection that a packet belongs to; `None` for what can belong to none.
fn connection(packet: &Ipv4Packet<'_>, vpc: VpcIndex, direction: Direction) -> Option<(Inside, Later)> {
    let between = |(address, port): (Ipv4Addr, u16), (remote, remote_port): (Ipv4Addr, u16), protocol| Inside {
        gateway: InterfaceIndex(vpc.0),
        protocol,
        fragments: false,
        egress_only: true,
        address: address.into(),
        port,
        remote: remote.into(),
        remote_port,
    };
    let (inside, remote) = match direction {
        Direction::Egress => (packet.source, packet.destination),
        Direction::Ingress => (packet.destination, packet.source),
    };
    match Subject::of(packet, direction).ok()? {
        Subject::Flow {
            own,
            remote: port,
            first,
            ..
        } => {
            let later = first.map_or(Later::None, Later::Will);
            Some((between((inside, own), (remote, port), packet.protocol), later))
        }
        Subject::Later { identification } => {
            let connection = between((inside, 0), (remote, 0), packet.protocol);
            Some((fragments(&connection, identification), Later::Follows))
        }
        Subject::Error { quoted } => {
            let sender = (quoted.source, quoted.source_port);
            let receiver = (quoted.destination, quoted.destination_port);
            // What an error from the service quotes, the host has sent; what the host's own error quotes, the service.
            let (host, other) = match direction {
                Direction::Ingress => (sender, receiver),
                Direction::Egress => (receiver, sender),
            };
            Some((between(host, other, quoted.protocol), Later::Error))
        }
    }
}
