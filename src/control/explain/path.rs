//! Follows a frame before and after the decision, as a worker does: the port it arrives on, the faults on its path, and
//! the port it leaves by.

use std::net::SocketAddr;

use crate::datapath::{Destination, DropReason, FaultView, Ingress, Service, ServiceFaults, Verdict, View};
use crate::mapping::{Interface, InterfaceIndex, PortId};
use crate::services::{Served, served};
use crate::switch::PortStatus;
use crate::wire::flow::Flow;
use crate::wire::frame::ETHERNET_HEADER;

/// The ports of the switch at this moment.
pub(super) struct Ports(pub(super) Vec<PortStatus>);

impl Ports {
    /// A port as the switch reports it; `None` if the switch reports none.
    fn status(&self, port: PortId) -> Option<&PortStatus> {
        self.0.iter().find(|status| status.port == port)
    }
}

/// Why a frame of an attached interface is refused before any decision.
pub(super) fn refused_at_port(ingress: &Ingress<'_>, view: &View, ports: &Ports) -> Option<DropReason> {
    if ports.status(ingress.port).is_some_and(|status| status.lost) {
        return Some(DropReason::DeviceFailed);
    }
    let down = view.faults().is_some_and(|faults| faults.link_down(&ingress.interface));
    down.then_some(DropReason::FaultLinkDown)
}

/// What happens to a delivery on its path, and what faults may do to it by chance, in sentences.
pub(super) fn delivery(
    verdict: Verdict,
    ingress: &Ingress<'_>,
    view: &View,
    ports: &Ports,
    receiver: Option<InterfaceIndex>,
    length: usize,
) -> (Verdict, Vec<String>) {
    let Verdict::Deliver {
        to: Destination::Port(port),
        ..
    } = verdict
    else {
        return (verdict, Vec::new());
    };
    if let Some(status) = ports.status(port) {
        if status.lost {
            return (Verdict::Drop(DropReason::DeviceFailed), Vec::new());
        }
        if length.saturating_sub(ETHERNET_HEADER) > usize::from(status.mtu) {
            return (Verdict::Drop(DropReason::TooLong), Vec::new());
        }
    }
    let to = receiver.and_then(|receiver| view.interface(receiver));
    match (view.faults(), to) {
        (Some(faults), Some(to)) => under_faults(verdict, faults, &ingress.interface, &to),
        _ => (verdict, Vec::new()),
    }
}

fn under_faults(verdict: Verdict, faults: &FaultView, from: &Interface, to: &Interface) -> (Verdict, Vec<String>) {
    if let Some(reason) = faults.severed(from, to) {
        return (Verdict::Drop(reason), Vec::new());
    }
    let chances = faults
        .impairments(from, to)
        .map(|impairment| format!("by a fault: {impairment}"));
    let limits = [("sender", from), ("receiver", to)]
        .into_iter()
        .filter_map(|(whose, interface)| {
            let allowances = faults.meter(interface.index)?.allowances();
            Some(format!("within the {whose}'s allowances: {allowances}"))
        });
    (verdict, chances.chain(limits).collect())
}

/// A service of the VPC, and what it does with a request.
pub(super) struct Answer {
    /// `metadata`, `dns`, `time`, `api` or `dhcp`.
    pub(super) service: &'static str,
    /// What it does, in a sentence.
    pub(super) does: String,
    /// Whether the sender gets an answer.
    pub(super) answers: bool,
}

/// The service that a frame was handed to, and its answer.
pub(super) fn service(service: Service, bytes: &[u8], faults: ServiceFaults) -> Answer {
    let quiet = |service, does: &str| Answer {
        service,
        does: does.to_owned(),
        answers: false,
    };
    let answer = |service, does: String| Answer {
        service,
        does,
        answers: true,
    };
    match service {
        Service::Dhcpv4 => return answer("dhcp", "answers a DHCPv4 request".to_owned()),
        Service::Dhcpv6 => return answer("dhcp", "answers a DHCPv6 request".to_owned()),
        Service::LinkLocal => {}
    }
    let flow = Flow::of(bytes);
    let local = flow.and_then(|flow| {
        Some((
            SocketAddr::new(flow.destination, flow.destination_port()?),
            flow.protocol,
        ))
    });
    match local.and_then(|(local, protocol)| served(local, protocol)) {
        Some(Served::Metadata) => metadata(faults),
        Some(Served::Endpoint | Served::SecureEndpoint) => answer(
            "api",
            "opens the connection, or answers a request of the EC2 API".to_owned(),
        ),
        Some(Served::Dns) => answer("dns", "opens the connection, or answers a query".to_owned()),
        Some(Served::Time) if faults.clock_skew != 0 => {
            let skew = std::time::Duration::from_nanos(faults.clock_skew.unsigned_abs());
            let side = if faults.clock_skew > 0 { "ahead" } else { "behind" };
            answer(
                "time",
                format!("answers with a time that a fault puts {side} by {skew:?}"),
            )
        }
        Some(Served::Time) => answer("time", "answers with the time".to_owned()),
        None if flow.is_some_and(|flow| flow.protocol == crate::wire::frame::PROTOCOL_TCP) => {
            quiet("none", "nothing is served at that port: the connection is refused")
        }
        None => quiet("none", "nothing is served at that port"),
    }
}

fn metadata(faults: ServiceFaults) -> Answer {
    let fault = faults.metadata.unwrap_or_default();
    let mut does = match fault.status {
        _ if fault.silent => "does not answer, by a fault".to_owned(),
        Some(status) => format!("answers every request with status {status}, by a fault"),
        None => "answers requests".to_owned(),
    };
    if !fault.silent && !fault.delay.is_zero() {
        does.push_str(&format!(", {:?} late by a fault", fault.delay));
    }
    Answer {
        service: "metadata",
        does,
        answers: !fault.silent,
    }
}
