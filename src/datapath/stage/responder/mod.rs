//! Answers DHCP at the address of every subnet's router. A client is identified by the interface of its request, not by
//! client identifier, DUID or anything else that it sends. Leases come from the mapping table, so that the servers have
//! no state, and an unassigned address ends with its lease.
//!
//! A request is accepted before any check of its addresses, because a client has none yet. [`answer`] is pure, but it
//! allocates, so the decision returns [`Verdict::Punt`] and the worker calls it off the hot path.

mod dhcpv4;
mod dhcpv6;
#[cfg(test)]
mod fixture;

use crate::datapath::{
    Allowance, Answered, Context, Decided, DropReason, Fact, Ingress, Observer, Packet, Received, Service, Stage,
    Verdict, View,
};
use crate::wire::dhcp::{v4, v6};
use crate::wire::frame::{Frame, Ipv4Packet, Ipv6Packet, PROTOCOL_UDP};
use crate::wire::udp;

impl<O: Observer> Context<'_, O> {
    /// A request to one of the subnet's DHCP servers, if the profile has them; `None` for any other packet.
    #[inline(always)]
    pub(in crate::datapath) fn dhcp(&mut self, frame: &Frame<'_>, packet: &Packet<'_>) -> Option<Decided> {
        // A server has only group addresses and the router's MAC; other frames cannot be for it.
        if !frame.destination.is_multicast() && frame.destination != self.ingress.subnet.router_mac {
            return None;
        }
        let service = self.dhcp_service(packet)?;
        self.ask_dhcp(service);
        Some(self.aside)
    }

    #[inline(never)]
    fn ask_dhcp(&mut self, service: Service) {
        self.observer.saw(Stage::Responder, Fact::Service { service });
        let faults = self.view.faults();
        let silent = faults.is_some_and(|faults| faults.services(&self.ingress.interface).dhcp_silent);
        self.aside = if silent {
            Err(DropReason::FaultDhcp)
        } else if self.spend(Allowance::Dhcp) {
            Ok(Verdict::Punt(service))
        } else {
            Err(DropReason::RateLimited)
        };
    }

    /// The server that a packet is for, by its ports and destination.
    #[inline(always)]
    fn dhcp_service(&self, packet: &Packet<'_>) -> Option<Service> {
        let subnet = self.ingress.subnet;
        let policy = &subnet.profile().dhcp;
        // Ports first: nearly all packets to the router's MAC are for other ports.
        match packet {
            Packet::V4(packet) => {
                let asked = || {
                    packet.destination.is_broadcast()
                        || subnet.gateway_ipv4() == Some(packet.destination)
                        || policy.v4.server == Some(packet.destination)
                        || subnet.ipv4.is_some_and(|net| net.broadcast() == packet.destination)
                };
                let whole = !packet.is_fragment();
                let ports = || udp::ports(packet.payload()) == Some((v4::CLIENT_PORT, v4::SERVER_PORT));
                (packet.protocol == PROTOCOL_UDP && whole && ports() && asked() && policy.v4.enabled)
                    .then_some(Service::Dhcpv4)
            }
            Packet::V6(packet) => {
                let asked = || packet.destination == v6::SERVERS || subnet.router_ipv6(packet.destination).is_some();
                let ports = || udp::ports(packet.payload()) == Some((v6::CLIENT_PORT, v6::SERVER_PORT));
                (packet.protocol == PROTOCOL_UDP && !packet.fragmented && ports() && asked() && policy.v6.enabled)
                    .then_some(Service::Dhcpv6)
            }
        }
    }
}

/// Answers a frame that was punted to `service`: the answer, a frame for the sender's port, is in `out`.
///
/// It depends on its arguments alone; any bytes are either answered or dropped with a reason.
pub fn answer(
    service: Service,
    frame: Received<'_>,
    ingress: &Ingress<'_>,
    view: &View,
    out: &mut Vec<u8>,
) -> Result<Answered, DropReason> {
    out.clear();
    let payload = Frame::parse(frame.bytes)?.payload();
    let pending = frame.meta.checksum_pending;
    match service {
        Service::Dhcpv4 => {
            let packet = Ipv4Packet::parse(payload)?;
            packet.validate()?;
            dhcpv4::answer(&packet, pending, ingress, view, out)
        }
        Service::Dhcpv6 => {
            let packet = Ipv6Packet::parse(payload)?;
            packet.validate()?;
            dhcpv6::answer(&packet, pending, ingress, view, out)
        }
        // These have a thread of their own.
        Service::LinkLocal => Err(DropReason::NoService),
    }
}

impl From<udp::TooLong> for DropReason {
    fn from(_: udp::TooLong) -> Self {
        Self::DhcpTooLong
    }
}

impl From<crate::wire::dhcp::TooLong> for DropReason {
    fn from(_: crate::wire::dhcp::TooLong) -> Self {
        Self::DhcpTooLong
    }
}

#[cfg(test)]
mod tests {
    use crate::datapath::DropReason;

    #[test]
    fn every_reason_of_the_dhcp_servers_is_met_by_a_case() {
        let cases = [include_str!("dhcpv4/tests.rs"), include_str!("dhcpv6/tests.rs")].concat();
        let own = DropReason::ALL
            .iter()
            .filter(|reason| reason.name().starts_with("dhcp"));
        let missing: Vec<_> = own.filter(|reason| !cases.contains(&format!("::{reason:?}"))).collect();
        assert!(missing.is_empty(), "no case shows {missing:?}");
    }
}
