//! Describes what the stages saw in the terms of the declared network: places of the fabric become identifiers again.

use std::net::IpAddr;

use serde::Serialize;
use utoipa::ToSchema;

use super::firewall;
use crate::control::controller::State;
use crate::datapath::{Destination, DropReason, Fact, Rewrite, RouteTarget, Stage, Verdict};
use crate::mapping::InterfaceIndex;
use crate::model::{InterfaceId, NetworkAclId, SecurityGroupId, SecurityGroupRuleId, SubnetId};

/// One frame and its verdict.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Pass {
    /// Why it is sent.
    #[schema(example = "ARP: who has 10.0.1.11?")]
    pub purpose: String,
    /// The frame, in hexadecimal.
    pub frame: String,
    /// What the stages looked at, in order.
    pub steps: Vec<Step>,
    /// The verdict.
    pub verdict: VerdictView,
}

/// One observation of a stage.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// What it saw, in a sentence.
    pub description: String,
    /// The address that it looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The subnet in which it looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<SubnetId>,
    /// The interface of the entry that it found, or whose check it applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<InterfaceId>,
    /// The security group of the rule that allows the packet, or one of those whose rules were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_group_id: Option<SecurityGroupId>,
    /// The rule that allows the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_group_rule_id: Option<SecurityGroupRuleId>,
    /// The network ACL that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_acl_id: Option<NetworkAclId>,
    /// The number of its entry that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_number: Option<u16>,
    /// The mapping that decided, if one did: the address, or the delegated prefix around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub entry: Option<String>,
}

/// The verdict on a frame.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VerdictView {
    /// `deliver`, `reply`, `flood` or `drop`.
    #[schema(example = "drop")]
    pub action: &'static str,
    /// The same in a sentence.
    pub description: String,
    /// For `drop`: the reason, by its name in `GET /v1/ports`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// For `deliver`: the interface that receives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<InterfaceId>,
    /// For `deliver`: the port that it leaves by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// For `deliver`: whether the router forwarded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routed: Option<bool>,
    /// For `reply`, or for `flood` where the router answers too: the kind of answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<&'static str>,
    /// The answer's frame, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The service of the VPC that it is for: `metadata`, `dns`, `time` or `dhcp`; `none` where no service listens on
    /// the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'static str>,
    /// Further notes, each a sentence: what faults may do to the frame by chance, or that the sender is attached to no
    /// port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// For `deliver`: the addresses and ports of both ends that gateways give the packet.
    #[serde(skip)]
    pub(super) translation: Option<[(IpAddr, u16); 2]>,
    /// The service does not answer, or the frame cannot be sent at all.
    #[serde(skip)]
    pub silent: bool,
}

impl VerdictView {
    /// Whether the frame reaches a host, or the sender gets an answer.
    pub(super) fn arrives(&self) -> bool {
        matches!(self.action, "deliver" | "reply" | "flood" | "service") && !self.silent
    }
}

/// The name of an interface for display: the given one, else the identifier.
fn called(state: &State, id: InterfaceId) -> String {
    state
        .network
        .interface(&id.into())
        .ok()
        .and_then(|interface| interface.name)
        .unwrap_or_else(|| id.to_string())
}

/// A fact, with places turned into identifiers.
pub(super) fn step(state: &State, stage: Stage, fact: &Fact) -> Step {
    let id = |index: InterfaceIndex| state.binding.interface_id(index);
    let name =
        |index: InterfaceIndex| id(index).map_or_else(|| "an interface that is gone".into(), |id| called(state, id));
    let mut step = Step {
        stage,
        description: fact.to_string(),
        address: None,
        subnet_id: None,
        interface_id: None,
        security_group_id: None,
        security_group_rule_id: None,
        network_acl_id: None,
        rule_number: None,
        entry: None,
    };
    match fact {
        Fact::Mapping { subnet, address, owner } => {
            step.address = Some(*address);
            step.subnet_id = state.binding.subnet_id(*subnet);
            step.interface_id = owner.and_then(id);
            let mapping = step
                .subnet_id
                .and_then(|subnet| state.network.mapping(&subnet.into(), (*address).into()).ok());
            step.entry = mapping.map(|mapping| mapping.address.to_string());
            if let Some(owner) = owner {
                step.description = format!("{address} is mapped to {}", name(*owner));
            }
        }
        Fact::Mac { mac, owner } => {
            step.interface_id = owner.and_then(id);
            if let Some(owner) = owner {
                step.description = format!("{mac} is the MAC of {}", name(*owner));
            }
        }
        Fact::Check { interface, address, .. } => {
            step.address = Some(*address);
            step.interface_id = id(*interface);
            step.description = format!("{} ({})", step.description, name(*interface));
        }
        Fact::Tracked { interface, .. } => {
            step.interface_id = id(*interface);
            step.description = format!("{} ({})", step.description, name(*interface));
        }
        Fact::Full { interface, .. } => step.interface_id = id(*interface),
        Fact::Rule {
            interface,
            direction,
            rule,
            untracked,
            ..
        } => {
            step.interface_id = id(*interface);
            step.description = firewall::rule(state, &mut step, *direction, *rule, *untracked);
        }
        Fact::AclEntry {
            subnet,
            direction,
            entry,
            allows,
        } => {
            step.subnet_id = state.binding.subnet_id(*subnet);
            step.description = firewall::entry(state, &mut step, *direction, *entry, *allows);
        }
        Fact::Route {
            address,
            route: Some((range, RouteTarget::Interface(index))),
        } => {
            step.address = Some(*address);
            step.interface_id = id(*index);
            step.description = format!("{address} is in {range}: route to {}", name(*index));
        }
        Fact::Exempt { address } => step.address = Some(*address),
        Fact::Asked { address }
        | Fact::Router { address, .. }
        | Fact::Computed { address, .. }
        | Fact::Route { address, .. } => step.address = Some(*address),
        _ => {}
    }
    step
}

/// A verdict, with places turned into identifiers.
pub(super) fn verdict(state: &State, verdict: &Verdict, reply: &[u8]) -> VerdictView {
    let mut view = VerdictView {
        action: "drop",
        description: String::new(),
        reason: None,
        interface_id: None,
        port: None,
        routed: None,
        answer: None,
        reply: None,
        service: None,
        notes: Vec::new(),
        translation: None,
        silent: false,
    };
    match verdict {
        Verdict::Deliver {
            to: Destination::Port(port),
            rewrite,
        } => {
            let receiver = state.interface_at_port(*port);
            let to = receiver.map_or_else(|| format!("port {}", port.get()), |id| called(state, id));
            let routed = !matches!(rewrite, Rewrite::None);
            view.translation = rewrite.ends();
            view.action = "deliver";
            view.description = format!("Delivered to {to}{}", if routed { " by the router" } else { "" });
            (view.interface_id, view.port, view.routed) = (receiver, Some(port.get()), Some(routed));
        }
        Verdict::Reply(answer) => {
            view.action = "reply";
            view.description = format!("Answered by the fabric: {answer}");
            view.answer = Some(answer.name());
            view.reply = Some(data_encoding::HEXLOWER.encode(reply));
        }
        Verdict::Flood { reply: answer, .. } => {
            view.action = "flood";
            view.description = "Flooded to every other port of the segment".to_owned();
            if let Some(answer) = answer {
                view.description = format!("{}, and answered by the router: {answer}", view.description);
                view.answer = Some(answer.name());
                view.reply = Some(data_encoding::HEXLOWER.encode(reply));
            }
        }
        Verdict::Consumed => {
            view.action = "consume";
            view.description = "Taken in by the router, which learned from it where a neighbor is".to_owned();
        }
        Verdict::Ask { deliver, .. } => {
            view.action = "ask";
            view.description = "The router asks the destination's subnet who has the address".to_owned();
            view.reply = Some(data_encoding::HEXLOWER.encode(reply));
            if let Some((port, _)) = deliver {
                let receiver = state.interface_at_port(*port);
                let to = receiver.map_or_else(|| format!("port {}", port.get()), |id| called(state, id));
                view.description = format!("{}, and sends to {to} meanwhile", view.description);
                (view.interface_id, view.port, view.routed) = (receiver, Some(port.get()), Some(true));
            } else {
                let reason = DropReason::NeighborResolving;
                view.description = format!("{}, and drops the packet ({reason})", view.description);
                view.reason = Some(reason.name());
            }
        }
        // A DHCP server's answer has replaced this verdict before it is shown.
        Verdict::Punt(service) => {
            view.action = "service";
            view.description = format!("Left to a service of the VPC: {service}");
            view.answer = Some(service.name());
        }
        Verdict::Drop(reason) => {
            view.description = format!("Dropped ({reason}): {}", reason.description().trim());
            view.reason = Some(reason.name());
        }
    }
    view
}
