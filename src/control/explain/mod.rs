//! Why a frame is delivered, answered or dropped, told by the very code that decides about it. A packet that is only
//! described goes the way of a real host: first the question who has the next hop, then, if somebody answers, the packet.

mod frames;
mod steps;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::controller::{Controller, State};
use super::error::ControlError;
use crate::datapath::{
    FrameMeta, Ingress, Memory, Output, PortState, Received, Recorder, Rewrite, Service, Verdict, View, decide,
    responder,
};
use crate::mapping::PortId;
use crate::model::{InterfaceId, NetworkInterface, ResourceRef, Subnet};
use crate::wire::MacAddr;

pub use frames::Protocol;
pub use steps::{Pass, Step, VerdictView};

/// A frame to be explained.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// The interface that sends it.
    pub interface: ResourceRef<InterfaceId>,
    /// The frame, or what is known of it.
    pub frame: FrameSpec,
}

/// A frame, or what is known of it.
#[derive(Debug, Clone)]
pub enum FrameSpec {
    /// These bytes, without offload header and frame check sequence.
    Bytes(Vec<u8>),
    /// A packet, as the interface's host would send it.
    Packet(PacketSpec),
}

/// A packet, as the interface's host would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketSpec {
    /// Its destination.
    pub to: IpAddr,
    /// Its source; the interface's first address of the family if left out.
    pub source: Option<IpAddr>,
    /// What it carries.
    pub protocol: Protocol,
    /// Its source port, for TCP and UDP.
    pub source_port: u16,
    /// Its destination port, for TCP and UDP.
    pub destination_port: u16,
    /// The MAC that a static neighbor entry holds; asked for if left out.
    pub destination_mac: Option<MacAddr>,
}

/// What becomes of a frame, and of the question before it.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// The interface that sends it.
    pub interface_id: InterfaceId,
    /// The frames in order: perhaps a question about the next hop, and the packet itself.
    pub frames: Vec<Pass>,
    /// What came of it, in a sentence.
    pub summary: String,
}

/// Where a packet is sent first.
enum NextHop {
    /// This MAC, without a question.
    Known(MacAddr),
    /// Whoever answers for this address.
    Ask(IpAddr),
}

/// What a question brought.
enum Resolved {
    To(MacAddr),
    Nobody(String),
}

fn wrong(field: &'static str, problem: impl Into<String>, remedy: &'static str) -> ControlError {
    ControlError::Explain {
        field,
        problem: problem.into(),
        remedy,
    }
}

impl Controller {
    /// Explains what becomes of a frame of an interface, by the decision that the workers make. Nothing is sent, counted
    /// or learnt.
    pub fn explain(&self, request: ExplainRequest) -> Result<Explanation, ControlError> {
        let now = self.now();
        let state = self.read();
        let interface = state.network.interface(&request.interface)?;
        let subnet = state.network.subnet(&interface.subnet_id.into())?;
        let explainer = Explainer {
            state: &state,
            interface: &interface,
            subnet,
            view: state.binding.writer().view(),
            now,
        };
        let mut frames = Vec::new();
        let summary = match request.frame {
            FrameSpec::Bytes(bytes) => {
                if bytes.len() < 14 {
                    let problem = format!("{} bytes are no Ethernet frame", bytes.len());
                    return Err(wrong(
                        "frame",
                        problem,
                        "Give at least the 14 bytes of an Ethernet header.",
                    ));
                }
                let (pass, _, _) = explainer.pass("the frame", &bytes)?;
                let summary = pass.verdict.description.clone();
                frames.push(pass);
                summary
            }
            FrameSpec::Packet(packet) => explainer.packet(&packet, &mut frames)?,
        };
        Ok(Explanation {
            interface_id: interface.id,
            frames,
            summary,
        })
    }
}

/// Puts what a server of the VPC's own says in the place of a verdict that hands the frame to it, as a worker does.
fn served(
    verdict: Verdict,
    frame: Received<'_>,
    ingress: &Ingress<'_>,
    view: &View,
    reply: &[u8],
) -> (Verdict, Vec<u8>) {
    let mut said = Vec::new();
    let mut ask = |service| responder::answer(service, frame, ingress, view, &mut said);
    let verdict = match verdict {
        Verdict::Punt(service) if service != Service::LinkLocal => {
            ask(service).map_or_else(Verdict::Drop, Verdict::Reply)
        }
        Verdict::Flood {
            reply: None,
            punt: Some(service),
        } => Verdict::Flood {
            reply: ask(service).ok(),
            punt: None,
        },
        other => return (other, reply.to_vec()),
    };
    (verdict, said)
}

/// One explanation in the making.
struct Explainer<'a> {
    state: &'a State,
    interface: &'a NetworkInterface,
    subnet: &'a Subnet,
    view: &'a View,
    now: std::time::Duration,
}

impl Explainer<'_> {
    /// Has the data path decide about one frame.
    fn pass(&self, purpose: &str, bytes: &[u8]) -> Result<(Pass, Verdict, Vec<u8>), ControlError> {
        let gone = || wrong("interface", "The interface is not known to the data path", "Ask again.");
        let index = self.state.binding.interface_index(self.interface.id).ok_or_else(gone)?;
        // A detached interface is explained as if it were attached to a port of its own.
        let port = self
            .interface
            .attachment
            .as_ref()
            .map_or(u32::MAX, |attachment| attachment.port);
        let port = PortId::new(port).ok_or_else(gone)?;
        let ingress: Ingress<'_> = self.view.ingress(index, port).ok_or_else(gone)?;
        let mut recorder = Recorder::default();
        let mut output = Output::default();
        let frame = Received {
            bytes,
            meta: FrameMeta::default(),
        };
        // A fresh port has asked nothing yet: rate limits are no part of the explanation.
        let port_state = PortState::default();
        let fabric = self.state.binding.writer().fabric();
        let memory = Memory {
            port: &port_state,
            segments: fabric.segments(),
        };
        let verdict = decide(frame, &ingress, self.view, memory, self.now, &mut output, &mut recorder);
        let (verdict, reply) = served(verdict, frame, &ingress, self.view, output.reply.frame());
        let steps = recorder
            .steps
            .iter()
            .map(|(stage, fact)| steps::step(self.state, *stage, fact))
            .collect();
        let pass = Pass {
            purpose: purpose.to_owned(),
            frame: data_encoding::HEXLOWER.encode(bytes),
            steps,
            verdict: steps::verdict(self.state, self.view, &verdict, &reply),
        };
        Ok((pass, verdict, reply))
    }

    /// A packet on the way that a host would send it.
    fn packet(&self, packet: &PacketSpec, frames: &mut Vec<Pass>) -> Result<String, ControlError> {
        let source = self.source(packet)?;
        if source == packet.to && packet.destination_mac.is_none() {
            return Ok(format!(
                "The packet does not leave the host: {} is the host's own address.",
                packet.to
            ));
        }
        let hop = match packet.destination_mac {
            Some(mac) => NextHop::Known(mac),
            None => self.next_hop(packet.to)?,
        };
        let mac = match hop {
            NextHop::Known(mac) => mac,
            NextHop::Ask(address) => match self.resolve(address, source, frames)? {
                Resolved::To(mac) => mac,
                Resolved::Nobody(why) => return Ok(format!("The packet is not sent: {why}.")),
            },
        };
        let bytes = frames::packet(self.interface.mac_address, mac, source, packet);
        let (pass, ..) = self.pass("the packet", &bytes)?;
        let summary = pass.verdict.description.clone();
        frames.push(pass);
        Ok(summary)
    }

    /// The source address that a host would take.
    fn source(&self, packet: &PacketSpec) -> Result<IpAddr, ControlError> {
        if let Some(source) = packet.source {
            if source.is_ipv4() != packet.to.is_ipv4() {
                let problem = format!("{source} and {} are of different families", packet.to);
                return Err(wrong(
                    "source",
                    problem,
                    "Give two IPv4 addresses or two IPv6 addresses.",
                ));
            }
            return Ok(source);
        }
        match packet.to {
            IpAddr::V4(_) => self.interface.primary_ipv4().map(IpAddr::V4).ok_or_else(|| {
                let problem = format!("{} has no IPv4 address to send from", self.interface.id);
                wrong("to", problem, "Assign one, give 'source', or name an IPv6 destination.")
            }),
            IpAddr::V6(to) => {
                let link_local = self.interface.mac_address.link_local();
                let first = self.interface.ipv6_addresses.first().copied();
                let stays = is_link_local(to) || to.is_multicast();
                Ok(IpAddr::V6(if stays { link_local } else { first.unwrap_or(link_local) }))
            }
        }
    }

    /// Where a host with the subnet's prefix and default route sends the packet first.
    fn next_hop(&self, to: IpAddr) -> Result<NextHop, ControlError> {
        match to {
            IpAddr::V4(to) => {
                if to.is_broadcast() || self.subnet.cidr_block.is_some_and(|net| to == net.broadcast()) {
                    return Ok(NextHop::Known(MacAddr::BROADCAST));
                }
                if to.is_multicast() {
                    return Ok(NextHop::Known(frames::group_mac_ipv4(to)));
                }
                let Some(net) = self.subnet.cidr_block else {
                    let problem = format!("{} has no IPv4 CIDR block, so its hosts have no route", self.subnet.id);
                    return Err(wrong("to", problem, "Name an IPv6 destination."));
                };
                let gateway = Ipv4Addr::from_bits(net.network().to_bits() | 1);
                // Hosts have a link route for 169.254.0.0/16 (fidelity ledger, ARP matrix).
                let on_link = net.contains(&to) || to.is_link_local();
                Ok(NextHop::Ask(IpAddr::V4(if on_link { to } else { gateway })))
            }
            IpAddr::V6(to) => {
                if to.is_multicast() {
                    return Ok(NextHop::Known(frames::group_mac_ipv6(to)));
                }
                if is_link_local(to) || self.subnet.ipv6_cidr_block.is_some_and(|net| net.contains(&to)) {
                    return Ok(NextHop::Ask(IpAddr::V6(to)));
                }
                if self.subnet.ipv6_cidr_block.is_none() {
                    let problem = format!(
                        "{} has no IPv6 CIDR block, so its hosts hear of no router",
                        self.subnet.id
                    );
                    return Err(wrong("to", problem, "Name an IPv4 destination."));
                }
                // The Router Advertisement that made it the default router told its MAC.
                Ok(NextHop::Known(self.subnet.router_mac))
            }
        }
    }

    /// Asks who has an address.
    fn resolve(&self, address: IpAddr, source: IpAddr, frames: &mut Vec<Pass>) -> Result<Resolved, ControlError> {
        let (question, purpose) = match (address, source) {
            (IpAddr::V4(target), IpAddr::V4(source)) => (
                frames::arp_request(self.interface.mac_address, source, target),
                format!("ARP: who has {target}?"),
            ),
            (IpAddr::V6(target), IpAddr::V6(source)) => {
                let bytes = frames::neighbor_solicitation(self.interface.mac_address, source, target);
                (bytes, format!("Neighbor Solicitation: who has {target}?"))
            }
            // The source was chosen, or checked, to be of the destination's family.
            _ => {
                return Err(wrong(
                    "source",
                    "The families differ",
                    "Give two addresses of one family.",
                ));
            }
        };
        let (pass, verdict, reply) = self.pass(&purpose, &question)?;
        let told = pass.verdict.description.clone();
        frames.push(pass);
        Ok(match verdict {
            Verdict::Reply(_) | Verdict::Flood { reply: Some(_), .. } => {
                match MacAddr::from_slice(reply.get(6..).unwrap_or(&[])) {
                    // The answer's source is the MAC that it tells, but for the router: there the option or ARP field counts.
                    Some(mac) => Resolved::To(frames::answered_mac(&reply).unwrap_or(mac)),
                    None => Resolved::Nobody("the answer is cut short".to_owned()),
                }
            }
            // A learning switch lets everybody hear the question, and the host that has the address answers.
            Verdict::Flood { reply: None, .. }
            | Verdict::Deliver {
                rewrite: Rewrite::None, ..
            } => {
                let owner = self
                    .state
                    .network
                    .owner(self.subnet.id, address)
                    .or_else(|| self.link_local_owner(address));
                match owner.and_then(|owner| self.state.network.place(owner)) {
                    Some((mac, ..)) => Resolved::To(mac),
                    None => Resolved::Nobody(format!(
                        "the question reaches the hosts, and none of them has {address}"
                    )),
                }
            }
            Verdict::Deliver { .. } | Verdict::Punt(_) | Verdict::Consumed | Verdict::Ask { .. } => {
                Resolved::Nobody(told)
            }
            Verdict::Drop(reason) => Resolved::Nobody(format!("nobody answers for {address} ({reason})")),
        })
    }

    /// The interface whose host makes itself this link-local address.
    fn link_local_owner(&self, address: IpAddr) -> Option<InterfaceId> {
        let IpAddr::V6(address) = address else { return None };
        self.state
            .network
            .interface_by_mac(self.interface.vpc_id, MacAddr::from_link_local(address)?)
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}
