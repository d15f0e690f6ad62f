//! Resolves what a fault names to interfaces and subnets of the fabric. Names are resolved anew whenever the network
//! changes, so that a fault of a zone also covers what is created there later.

use std::collections::BTreeSet;

use crate::control::controller::State;
use crate::control::error::ControlError;
use crate::control::fabric::Binding;
use crate::datapath::faults::Selector;
use crate::mapping::PortId;
use crate::model::fault::{FaultKind, FaultSpec, PropagationDelay, Scope};
use crate::model::ids::{FaultId, ResourceId};
use crate::model::{InstanceId, InterfaceId, ModelError, Network, NetworkInterface, Subnet, SubnetId};

pub(super) fn no_such_fault(id: FaultId) -> ControlError {
    ControlError::Model(ModelError::NotFound {
        what: "fault ID",
        given: id.to_string(),
        code: FaultId::NOT_FOUND,
        field: "fault_id",
    })
}

fn wrong(field: &'static str, problem: impl Into<String>, remedy: &'static str) -> ControlError {
    ControlError::Fault {
        field,
        problem: problem.into(),
        remedy,
    }
}

/// The first segment of a path.
fn first_segment(path: &str) -> Option<&str> {
    path.split('/').find(|segment| !segment.is_empty())
}

/// Refuses a fault that names what does not exist, or that does nothing.
pub(super) fn check(state: &State, spec: &FaultSpec) -> Result<(), ControlError> {
    check_declared(&state.network, spec)?;
    match &spec.fault {
        FaultKind::InstanceFreeze(scope) | FaultKind::InstanceCrash(scope) if instances(state, scope).is_empty() => {
            Err(wrong(
                spec.fault.name(),
                "None of these interfaces is attached to an instance of the lab",
                "Name interfaces of instances that GET /v1/instances shows. For a device of your own there is link_down.",
            ))
        }
        _ => Ok(()),
    }
}

/// The part of the check that needs no more than what is declared.
pub fn check_declared(network: &Network, spec: &FaultSpec) -> Result<(), ControlError> {
    let named = |field, scope: &Scope| {
        if scope.is_empty() {
            let problem = "The scope is empty";
            return Err(wrong(
                field,
                problem,
                "Name interfaces, subnets, availability_zones or vpcs, or say all: true.",
            ));
        }
        exists(network, scope)
    };
    if spec.duration.is_some_and(|duration| duration.is_zero()) {
        return Err(wrong(
            "duration",
            "The fault would be over at once",
            "Give a duration, or leave it out.",
        ));
    }
    match &spec.fault {
        FaultKind::LinkDown(scope) | FaultKind::RouterAdvertisementsWithheld(scope) | FaultKind::DhcpSilent(scope) => {
            named(spec.fault.name(), scope)
        }
        FaultKind::Partition { between, and, .. } => {
            named("partition.between", between)?;
            named("partition.and", and)
        }
        FaultKind::ZoneCut { availability_zone } => zone_exists(network, availability_zone),
        FaultKind::Impairment(impairment) => {
            let idle = crate::model::fault::ImpairmentSpec {
                at: impairment.at.clone(),
                direction: impairment.direction,
                queue: impairment.queue,
                ..Default::default()
            };
            if *impairment == idle {
                return Err(wrong(
                    "impairment",
                    "The impairment does nothing",
                    "Give a loss, duplicate, delay, jitter or rate.",
                ));
            }
            named("impairment.at", &impairment.at)
        }
        FaultKind::StaleMapping { seen_by, subnet, .. } => {
            if let Some(subnet) = subnet {
                network.subnet(subnet)?;
            }
            named("stale_mapping.seen_by", seen_by)
        }
        FaultKind::LatePropagation { scope, delay, .. } => match delay {
            PropagationDelay::Uniform { from, to } if from > to => Err(wrong(
                "late_propagation.delay",
                "The least delay is longer than the most",
                "Write the shorter one as 'from'.",
            )),
            _ => exists(network, scope),
        },
        FaultKind::LateAttachment { scope, attach, detach } => {
            if attach.is_none() && detach.is_none() {
                return Err(wrong(
                    "late_attachment",
                    "The fault does nothing",
                    "Say how long to 'attach' or to 'detach' takes.",
                ));
            }
            let upside_down =
                |delay: &PropagationDelay| matches!(delay, PropagationDelay::Uniform { from, to } if from > to);
            for (field, delay) in [("late_attachment.attach", attach), ("late_attachment.detach", detach)] {
                if delay.as_ref().is_some_and(upside_down) {
                    let problem = "The least delay is longer than the most";
                    return Err(wrong(field, problem, "Write the shorter one as 'from'."));
                }
            }
            exists(network, scope)
        }
        FaultKind::Metadata {
            at,
            silent,
            status,
            token_lifetime,
            delay,
            paths,
            chance: _,
        } => {
            let version = |path: &String| {
                crate::services::imds::VERSIONS
                    .iter()
                    .any(|v| first_segment(path) == Some(*v))
            };
            if let Some(path) = paths.iter().find(|path| first_segment(path).is_none() || version(path)) {
                return Err(wrong(
                    "metadata.paths",
                    format!("'{path}' names no key"),
                    "Write what follows the version, such as meta-data/network/interfaces/macs/*/local-ipv4s or api/token.",
                ));
            }
            if !silent && status.is_none() && token_lifetime.is_none() && delay.is_none_or(|delay| delay.is_zero()) {
                return Err(wrong(
                    "metadata",
                    "The fault does nothing",
                    "Give a status, a token_lifetime or a delay, or say silent: true.",
                ));
            }
            if status.is_some_and(|status| !(100..=599).contains(&status)) {
                return Err(wrong(
                    "metadata.status",
                    "There is no such HTTP status",
                    "Use one from 100 to 599.",
                ));
            }
            named("metadata.at", at)
        }
        FaultKind::ClockSkew { at, skew } => {
            if skew.is_zero() {
                return Err(wrong(
                    "clock_skew.skew",
                    "The fault does nothing",
                    "Give how far the clock is ahead, such as 2s, or behind, such as -2s.",
                ));
            }
            named("clock_skew.at", at)
        }
        FaultKind::InstanceFreeze(scope) | FaultKind::InstanceCrash(scope) => named(spec.fault.name(), scope),
        FaultKind::Api(api) => {
            if api.throttle.is_none() && api.error.is_none() && api.delay.is_none() && api.stale.is_none() {
                return Err(wrong(
                    "api",
                    "The fault does nothing",
                    "Give a throttle, an error, a delay, or a time for which reads are stale.",
                ));
            }
            if api
                .error
                .as_ref()
                .is_some_and(|error| !(400..=599).contains(&error.status))
            {
                return Err(wrong(
                    "api.error.status",
                    "That status is no error",
                    "Use one from 400 to 599.",
                ));
            }
            if api
                .throttle
                .is_some_and(|throttle| !(throttle.rate.is_finite() && throttle.rate >= 0.0))
            {
                return Err(wrong(
                    "api.throttle.rate",
                    "The rate is no number of requests",
                    "Use 0 or more.",
                ));
            }
            Ok(())
        }
    }
}

fn zone_exists(network: &Network, zone: &str) -> Result<(), ControlError> {
    if network.subnets().any(|subnet| subnet.availability_zone == zone) {
        return Ok(());
    }
    Err(wrong(
        "availability_zone",
        format!("No subnet is in the availability zone '{zone}'"),
        "Use the zone of a subnet; GET /v1/subnets shows them.",
    ))
}

fn exists(network: &Network, scope: &Scope) -> Result<(), ControlError> {
    for interface in &scope.interfaces {
        network.interface_id(interface)?;
    }
    for subnet in &scope.subnets {
        network.subnet(subnet)?;
    }
    for vpc in &scope.vpcs {
        network.vpc(vpc)?;
    }
    scope
        .availability_zones
        .iter()
        .try_for_each(|zone| zone_exists(network, zone))
}

/// The subnets that a scope covers completely.
fn subnets<'a>(network: &'a Network, scope: &'a Scope) -> impl Iterator<Item = &'a Subnet> {
    let vpcs: Vec<_> = scope
        .vpcs
        .iter()
        .filter_map(|vpc| network.vpc(vpc).ok())
        .map(|vpc| vpc.id)
        .collect();
    let named: Vec<_> = scope
        .subnets
        .iter()
        .filter_map(|subnet| network.subnet(subnet).ok())
        .map(|subnet| subnet.id)
        .collect();
    network.subnets().filter(move |subnet| {
        scope.all
            || named.contains(&subnet.id)
            || vpcs.contains(&subnet.vpc_id)
            || scope.availability_zones.contains(&subnet.availability_zone)
    })
}

/// Whether a scope, or its absence, covers a subnet.
pub(super) fn holds_subnet(network: &Network, scope: &Scope, subnet: SubnetId) -> bool {
    scope.is_empty() || subnets(network, scope).any(|s| s.id == subnet)
}

/// Whether a scope, or its absence, holds an interface.
pub(super) fn holds_interface(network: &Network, scope: &Scope, interface: &NetworkInterface) -> bool {
    let named =
        |reference: &crate::model::ResourceRef<InterfaceId>| network.interface_id(reference) == Ok(interface.id);
    holds_subnet(network, scope, interface.subnet_id) || scope.interfaces.iter().any(named)
}

/// The selector that the data path compares. A name that no longer exists selects nothing.
pub(super) fn selector(network: &Network, binding: &Binding, scope: &Scope) -> Selector {
    Selector {
        everything: scope.all,
        interfaces: scope
            .interfaces
            .iter()
            .filter_map(|interface| binding.interface_index(network.interface_id(interface).ok()?))
            .collect(),
        subnets: subnets(network, scope)
            .filter_map(|subnet| binding.subnet_index(subnet.id))
            .collect(),
    }
}

/// The interfaces of a scope.
fn interfaces(network: &Network, scope: &Scope) -> impl Iterator<Item = NetworkInterface> {
    let whole: Vec<_> = subnets(network, scope).map(|subnet| subnet.id).collect();
    let named: Vec<_> = scope
        .interfaces
        .iter()
        .filter_map(|interface| network.interface_id(interface).ok())
        .collect();
    network
        .interfaces(None)
        .filter(move |interface| whole.contains(&interface.subnet_id) || named.contains(&interface.id))
}

/// The interfaces of a scope that have a port, with their ports.
pub(super) fn ports(state: &State, scope: &Scope) -> Vec<(InterfaceId, PortId)> {
    let interfaces = interfaces(&state.network, scope);
    let port = |interface: NetworkInterface| Some((interface.id, state.ports.get(&interface.id)?.port));
    interfaces.filter_map(port).collect()
}

/// The instances with a host to which interfaces of a scope are attached.
pub(super) fn instances(state: &State, scope: &Scope) -> BTreeSet<InstanceId> {
    let hosted = |interface: &NetworkInterface| state.ports.get(&interface.id).is_some_and(|port| port.in_host);
    let interfaces = interfaces(&state.network, scope).filter(hosted);
    let instance = |interface: NetworkInterface| Some(interface.attachment?.instance_id);
    interfaces.filter_map(instance).collect()
}

/// All interfaces of the instances of a scope, with their ports: also those that the scope does not name.
pub(super) fn of_instances(state: &State, scope: &Scope) -> Vec<(InterfaceId, PortId)> {
    let attached = |instance| state.network.attached(instance);
    let interfaces = instances(state, scope).into_iter().flat_map(attached);
    interfaces
        .filter_map(|(_, interface)| Some((interface, state.ports.get(&interface)?.port)))
        .collect()
}
