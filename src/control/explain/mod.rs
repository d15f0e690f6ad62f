//! Explains why a frame is delivered, answered or dropped, by the code that decides about it, the faults and the ports
//! on its path. A described packet goes as a real host would send it: first neighbor resolution of the next hop, then
//! the packet, if resolution succeeds, and, on request, the reply.

#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod fault_tests;
mod firewall;
mod frames;
mod path;
mod steps;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use super::controller::{Controller, State};
use super::error::ControlError;
use super::faults::HostState;
use crate::datapath::{
    Bindings, Connections, Decision, Destination, FrameMeta, Ingress, Memory, PortState, Received, Rewrite, Service,
    Verdict, View, responder,
};
use crate::mapping::PortId;
use crate::model::subnet::plan;
use crate::model::{InterfaceId, NetworkInterface, ResourceRef, Subnet};
use crate::wire::MacAddr;

pub(crate) use firewall::in_sentences;
pub use frames::Protocol;
use path::Ports;
pub use steps::{Pass, Step, VerdictView};

/// A frame to be explained.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// The interface that sends it.
    pub interface: ResourceRef<InterfaceId>,
    /// The frame, or a description of it.
    pub frame: FrameSpec,
    /// Whether to explain the reply too.
    pub both: bool,
}

impl ExplainRequest {
    /// An echo request to an address.
    pub fn ping(interface: ResourceRef<InterfaceId>, to: IpAddr) -> Self {
        Self {
            interface,
            frame: FrameSpec::Packet(PacketSpec {
                to: Target::Address(to),
                source: None,
                protocol: Protocol::Icmp,
                source_port: 0,
                destination_port: 0,
                destination_mac: None,
            }),
            both: false,
        }
    }
}

/// A frame, or a description of it.
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
    pub to: Target,
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

/// The destination of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this address.
    Address(IpAddr),
    /// To the first address of this interface, in a family that the sender has.
    Interface(ResourceRef<InterfaceId>),
}

/// A packet with every choice made.
struct Packet {
    to: IpAddr,
    source: IpAddr,
    protocol: Protocol,
    source_port: u16,
    destination_port: u16,
    destination_mac: Option<MacAddr>,
    /// The identifier of an echo.
    identifier: u16,
    /// Whether it is a reply.
    reply: bool,
}

impl Packet {
    /// The reply to this packet.
    fn answered(&self) -> Self {
        Self {
            to: self.source,
            source: self.to,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
            destination_mac: None,
            identifier: self.identifier,
            reply: true,
        }
    }

    /// The packet as its receiver gets it, behind the gateways that translate it.
    fn arrived(&self, translation: Option<[(IpAddr, u16); 2]>) -> Self {
        let Some([source, destination]) = translation else {
            return Self { ..*self };
        };
        let or = |port: u16, own: u16| if port == 0 { own } else { port };
        Self {
            to: destination.0,
            source: source.0,
            source_port: or(source.1, self.source_port),
            destination_port: or(destination.1, self.destination_port),
            identifier: or(source.1.max(destination.1), self.identifier),
            ..*self
        }
    }
}

/// The verdict on a frame, and on the neighbor resolution before it.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// The interface that sends it.
    pub interface_id: InterfaceId,
    /// The frames in order: neighbor resolution, if any, and the packet.
    pub frames: Vec<Pass>,
    /// The result, in a sentence.
    pub summary: String,
    /// Whether the last frame is delivered, flooded or answered; and the reply too, if it is explained.
    pub arrives: bool,
    /// The verdict on the reply, if it was requested and the packet is delivered to an interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyExplanation>,
}

/// The verdict on the reply to a packet.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct ReplyExplanation {
    /// The interface that sends it.
    pub interface_id: InterfaceId,
    /// The frames in order, like those of the packet.
    pub frames: Vec<Pass>,
    /// The result, in a sentence.
    pub summary: String,
    /// Whether it is delivered, flooded or answered.
    pub arrives: bool,
}

/// The frames of one direction, and their result.
struct Way {
    frames: Vec<Pass>,
    summary: String,
    arrives: bool,
}

/// The next hop of a packet.
enum NextHop {
    /// This MAC, without neighbor resolution.
    Known(MacAddr),
    /// The MAC that neighbor resolution finds for this address.
    Ask(IpAddr),
}

/// The result of neighbor resolution.
enum Resolved {
    To(MacAddr),
    Unknown(String),
}

fn wrong(field: &'static str, problem: impl Into<String>, remedy: &'static str) -> ControlError {
    ControlError::Explain {
        field,
        problem: problem.into(),
        remedy,
    }
}

impl Controller {
    /// Explains what happens to a frame of an interface, by the decision that the workers make. Nothing is sent,
    /// counted or learned.
    pub fn explain(&self, request: ExplainRequest) -> Result<Explanation, ControlError> {
        let (now, state) = (self.now(), self.read());
        let ports = Ports(
            self.shared
                .ports
                .as_ref()
                .map_or_else(Vec::new, |ports| ports.reports()),
        );
        // The reply is asked about after the packet, whose connections are remembered here and nowhere else.
        let fabric = state.binding.writer().fabric();
        let connections = fabric.connections().copy(now.as_secs() as u32);
        let bindings = fabric.bindings().copied();
        let known = (&connections, &bindings);
        let explainer = Explainer::new(&state, &ports, known, &request.interface, now)?;
        let (way, packet) = match request.frame {
            FrameSpec::Bytes(bytes) => (explainer.bytes(&bytes)?, None),
            FrameSpec::Packet(spec) => {
                let packet = explainer.choose(&spec)?;
                (explainer.packet(&packet)?, Some(packet))
            }
        };
        let receiver = way.frames.last().and_then(|pass| pass.verdict.interface_id);
        let reply = match (packet, receiver) {
            (Some(packet), Some(receiver)) if request.both && way.arrives => {
                let back = Explainer::new(&state, &ports, known, &receiver.into(), now)?;
                let translation = way.frames.last().and_then(|pass| pass.verdict.translation);
                let way = back.packet(&packet.arrived(translation).answered())?;
                Some(ReplyExplanation {
                    interface_id: receiver,
                    frames: way.frames,
                    summary: way.summary,
                    arrives: way.arrives,
                })
            }
            _ => None,
        };
        Ok(Explanation {
            interface_id: explainer.interface.id,
            frames: way.frames,
            summary: way.summary,
            arrives: way.arrives && reply.as_ref().is_none_or(|reply| reply.arrives),
            reply,
        })
    }
}

/// Replaces a verdict that hands the frame to one of the VPC's own servers by that server's answer, as a worker does.
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

/// One direction of an explanation in progress.
struct Explainer<'a> {
    state: &'a State,
    ports: &'a Ports,
    connections: &'a Connections,
    bindings: &'a Bindings,
    interface: NetworkInterface,
    subnet: &'a Subnet,
    view: &'a View,
    now: std::time::Duration,
}

impl<'a> Explainer<'a> {
    /// Prepares to explain frames of an interface.
    fn new(
        state: &'a State,
        ports: &'a Ports,
        (connections, bindings): (&'a Connections, &'a Bindings),
        interface: &ResourceRef<InterfaceId>,
        now: std::time::Duration,
    ) -> Result<Self, ControlError> {
        let interface = state.network.interface(interface)?;
        let subnet = state.network.subnet(&interface.subnet_id.into())?;
        Ok(Self {
            state,
            ports,
            connections,
            bindings,
            interface,
            subnet,
            view: state.binding.writer().view(),
            now,
        })
    }

    /// Has the data path decide about one frame.
    fn pass(&self, purpose: &str, bytes: &[u8]) -> Result<(Pass, Verdict, Vec<u8>), ControlError> {
        let gone = || wrong("interface", "The interface is not known to the data path", "Ask again.");
        let index = self.state.binding.interface_index(self.interface.id).ok_or_else(gone)?;
        let attached = self.state.ports.get(&self.interface.id).map(|open| open.port);
        let port = attached.or_else(|| PortId::new(u32::MAX)).ok_or_else(gone)?;
        let ingress = self.view.ingress(index, port).ok_or_else(gone)?;
        let (decision, services, mut notes) = self.judge(&ingress, bytes);
        let Decision {
            verdict, reply, steps, ..
        } = decision;
        let steps = steps.iter().map(|(stage, fact)| steps::step(self.state, *stage, fact));
        let mut view = steps::verdict(self.state, &verdict, &reply);
        if let Some(answer) = services {
            view.service = Some(answer.service);
            view.silent = !answer.answers;
            view.description = format!("{}: {}", view.description, answer.does);
        }
        if attached.is_none() {
            // The other stages are explained as if it were attached, for a network that is declared before it has
            // hosts.
            view.silent = true;
            notes.push("but the sender is attached to no port, so that nothing is sent".to_owned());
        }
        for note in &notes {
            view.description = format!("{}; {note}", view.description);
        }
        view.notes = notes;
        let pass = Pass {
            purpose: purpose.to_owned(),
            frame: data_encoding::HEXLOWER.encode(bytes),
            steps: steps.collect(),
            verdict: view,
        };
        Ok((pass, verdict, reply))
    }

    /// The decision about a frame and what follows from it: a server's answer, and the path to the other port.
    fn judge(&self, ingress: &Ingress<'_>, bytes: &[u8]) -> (Decision, Option<path::Answer>, Vec<String>) {
        let frame = Received {
            bytes,
            meta: FrameMeta::default(),
        };
        // A new port has sent no requests yet: rate limits are not explained.
        let port = PortState::default();
        let fabric = self.state.binding.writer().fabric();
        let memory = Memory {
            connections: self.connections,
            bindings: self.bindings,
            ..fabric.memory(&port)
        };
        let mut decision = Decision::about(frame, ingress, self.view, memory, self.now);
        if let Some(effects) = &decision.effects {
            effects.remember(self.connections, self.now.as_secs() as u32);
            effects.bind(self.bindings, self.now.as_secs() as u32);
        }
        if let Some(reason) = path::refused_at_port(ingress, self.view, self.ports) {
            decision.verdict = Verdict::Drop(reason);
            decision.steps.clear();
            return (decision, None, Vec::new());
        }
        let faults = self.view.faults().map(|faults| faults.services(&ingress.interface));
        let asked = match decision.verdict {
            Verdict::Punt(service) => Some(path::service(service, bytes, faults.unwrap_or_default())),
            _ => None,
        };
        let served = served(decision.verdict, frame, ingress, self.view, &decision.reply);
        (decision.verdict, decision.reply) = served;
        let receiver = match decision.verdict {
            Verdict::Deliver {
                to: Destination::Port(port),
                ..
            } => self.state.interface_at_port(port),
            _ => None,
        };
        let index = receiver.and_then(|id| self.state.binding.interface_index(id));
        let (verdict, mut notes) = path::delivery(decision.verdict, ingress, self.view, self.ports, index, bytes.len());
        decision.verdict = verdict;
        let instance = receiver.and_then(|id| self.state.network.instance_of(id));
        if instance.is_some_and(|own| self.state.host_state(own.primary_interface_id) == HostState::Frozen) {
            notes.push("by a fault: its instance is frozen and answers nothing".to_owned());
        }
        // A server that does not answer the frame has dropped it.
        let asked = asked.filter(|_| !matches!(decision.verdict, Verdict::Drop(_)));
        (decision, asked, notes)
    }

    /// A frame given as bytes.
    fn bytes(&self, bytes: &[u8]) -> Result<Way, ControlError> {
        if bytes.len() < 14 {
            let problem = format!("{} bytes are no Ethernet frame", bytes.len());
            return Err(wrong(
                "frame",
                problem,
                "Give at least the 14 bytes of an Ethernet header.",
            ));
        }
        let (pass, ..) = self.pass("the frame", bytes)?;
        Ok(Way {
            summary: pass.verdict.description.clone(),
            arrives: pass.verdict.arrives(),
            frames: vec![pass],
        })
    }

    /// A packet, as a host would send it.
    fn packet(&self, packet: &Packet) -> Result<Way, ControlError> {
        if packet.source == packet.to && packet.destination_mac.is_none() {
            return Ok(Way {
                summary: format!(
                    "The packet does not leave the host: {} is the host's own address.",
                    packet.to
                ),
                arrives: true,
                frames: Vec::new(),
            });
        }
        let hop = match packet.destination_mac {
            Some(mac) => NextHop::Known(mac),
            None => self.next_hop(packet.to)?,
        };
        let mut frames = Vec::new();
        let mac = match hop {
            NextHop::Known(mac) => mac,
            NextHop::Ask(address) => match self.resolve(address, packet.source, &mut frames)? {
                Resolved::To(mac) => mac,
                Resolved::Unknown(why) => {
                    return Ok(Way {
                        summary: format!("The packet is not sent: {why}."),
                        arrives: false,
                        frames,
                    });
                }
            },
        };
        let bytes = frames::packet(self.interface.mac_address, mac, packet);
        let (pass, ..) = self.pass(if packet.reply { "the reply" } else { "the packet" }, &bytes)?;
        let (summary, arrives) = (pass.verdict.description.clone(), pass.verdict.arrives());
        frames.push(pass);
        Ok(Way {
            frames,
            summary,
            arrives,
        })
    }

    /// Makes every choice that a description leaves open, as the host would.
    fn choose(&self, spec: &PacketSpec) -> Result<Packet, ControlError> {
        let to = match &spec.to {
            Target::Address(address) => *address,
            Target::Interface(name) => self.address_of(name, spec.source)?,
        };
        Ok(Packet {
            to,
            source: self.source(to, spec.source)?,
            protocol: spec.protocol,
            source_port: spec.source_port,
            destination_port: spec.destination_port,
            destination_mac: spec.destination_mac,
            identifier: 1,
            reply: false,
        })
    }

    /// The first address of an interface, in the family of the source, or else in one that the sender has.
    fn address_of(&self, name: &ResourceRef<InterfaceId>, source: Option<IpAddr>) -> Result<IpAddr, ControlError> {
        let unknown = |_| {
            let problem = format!("'{name}' is neither an IP address nor an interface");
            wrong(
                "to",
                problem,
                "Give an IP address, or an interface by name or identifier.",
            )
        };
        let target = self.state.network.interface(name).map_err(unknown)?;
        let ipv4 = target.primary_ipv4().map(IpAddr::V4);
        let ipv6 = target.ipv6_addresses.first().map(|address| IpAddr::V6(*address));
        let wanted = match source {
            Some(IpAddr::V4(_)) => ipv4,
            Some(IpAddr::V6(_)) => ipv6,
            None => ipv4.filter(|_| self.interface.primary_ipv4().is_some()).or(ipv6),
        };
        wanted.ok_or_else(|| {
            let problem = format!("'{name}' has no address of a family that the sender has");
            wrong("to", problem, "Assign it one, or give the address itself.")
        })
    }

    /// The source address that a host would choose.
    fn source(&self, to: IpAddr, given: Option<IpAddr>) -> Result<IpAddr, ControlError> {
        if let Some(source) = given {
            if source.is_ipv4() != to.is_ipv4() {
                let problem = format!("{source} and {to} are of different families");
                return Err(wrong(
                    "source",
                    problem,
                    "Give two IPv4 addresses or two IPv6 addresses.",
                ));
            }
            return Ok(source);
        }
        match to {
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

    /// The next hop of a packet on a host with the subnet's prefix and a default route.
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
                let profile = &self.state.network.vpc(&self.subnet.vpc_id.into())?.profile;
                let mut own = self.interface.ipv4_addresses.iter();
                // Hosts have a link route for 169.254.0.0/16 (fidelity ledger, ARP matrix).
                let on_link = to.is_link_local() || own.any(|own| plan::on_link(*own, net, profile).contains(&to));
                let gateway = plan::gateway(net, profile);
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
                // The host learned the router's MAC from its Router Advertisement.
                Ok(NextHop::Known(self.subnet.router_mac))
            }
        }
    }

    /// Resolves an address to a MAC.
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
                    // The MAC in the ARP field or the option counts; the answer's source MAC otherwise.
                    Some(mac) => Resolved::To(frames::answered_mac(&reply).unwrap_or(mac)),
                    None => Resolved::Unknown("the answer is cut short".to_owned()),
                }
            }
            // A learning switch floods the request, and the host that has the address answers.
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
                    None => Resolved::Unknown(format!(
                        "the question reaches the hosts, and none of them has {address}"
                    )),
                }
            }
            Verdict::Deliver { .. } | Verdict::Punt(_) | Verdict::Consumed | Verdict::Ask { .. } => {
                Resolved::Unknown(told)
            }
            Verdict::Drop(reason) => Resolved::Unknown(format!("no answer for {address} ({reason})")),
        })
    }

    /// The interface whose host derives this link-local address.
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
