//! Returns a decision as a value: the verdict, the effects to commit, every step, and the entries that the verdict
//! depends on.
//!
//! Workers do not pay for it: [`decide`] with an observer that ignores everything makes the same decision. A decision
//! writes nothing, so it can be computed again for more detail.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::policy::RuleName;
use super::trace::{Fact, Recorder, Stage};
use super::view::{Ingress, Origin, RouteTarget, SubnetIndex, View, VpcIndex};
use super::{Allowance, Effects, Memory, Output, Received, Verdict, decide};
use crate::mapping::InterfaceIndex;
use crate::wire::MacAddr;

/// Something that an edit can change, and that a verdict can depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A VPC: its profile, ranges and subnets.
    Vpc(VpcIndex),
    /// An interface: its existence, port, check and MTU.
    Interface(InterfaceIndex),
    /// The owner of an address, or its absence.
    Mapping {
        /// The subnet of the look-up.
        subnet: SubnetIndex,
        /// The address.
        address: IpAddr,
    },
    /// The interface with a MAC, or its absence.
    Mac {
        /// The VPC of the look-up.
        vpc: VpcIndex,
        /// The MAC.
        mac: MacAddr,
    },
    /// A route of a subnet's table.
    Route {
        /// The subnet.
        subnet: SubnetIndex,
        /// The route's destination; `None` where no route matched.
        destination: Option<IpNet>,
    },
    /// The public addresses of a VPC, and whether it has an internet gateway.
    PublicAddresses(VpcIndex),
    /// The port of a station on a learning switch.
    Station {
        /// The subnet.
        subnet: SubnetIndex,
        /// The station.
        mac: MacAddr,
    },
    /// A router's neighbor entry for an address, on a learning switch.
    Neighbor {
        /// The subnet.
        subnet: SubnetIndex,
        /// The address.
        address: IpAddr,
    },
    /// An allowance of the port.
    Allowance(Allowance),
    /// The rules of an interface's groups, or of the groups that it is a member of.
    Rules(InterfaceIndex),
    /// A rule of a security group, or an entry of a network ACL, that matched.
    Rule(RuleName),
    /// The entries of a subnet's network ACL.
    NetworkAcl(SubnetIndex),
    /// The connections that an interface tracks.
    Connections(InterfaceIndex),
    /// The present faults, where there are any.
    Faults,
}

/// A decision as a value.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The effects to commit when the verdict is executed.
    pub effects: Option<Effects>,
    /// The answer or request that the verdict refers to.
    pub reply: Vec<u8>,
    /// What each stage looked at, in order.
    pub steps: Vec<(Stage, Fact)>,
    /// What it depends on: an edit of anything else leaves the verdict unchanged. Time and chance are no entries.
    pub basis: Vec<Entry>,
}

impl Decision {
    /// Decides about a frame, as [`decide`] does.
    pub fn about<'a>(
        frame: Received<'_>,
        origin: impl Into<Origin<'a>>,
        view: &'a View,
        memory: Memory<'a>,
        now: Duration,
    ) -> Self {
        let Origin::Interface(ingress) = origin.into();
        let (mut output, mut recorder) = (Output::default(), Recorder::default());
        let verdict = decide(frame, ingress, view, memory, now, &mut output, &mut recorder);
        let mut basis = vec![Entry::Vpc(ingress.vpc.index), Entry::Interface(ingress.interface.index)];
        if view.faults().is_some() {
            basis.push(Entry::Faults);
        }
        for (_, fact) in &recorder.steps {
            for entry in entries(fact, ingress) {
                // The last entry is the one that decided, wherever it was read before.
                basis.retain(|known| *known != entry);
                basis.push(entry);
            }
        }
        Self {
            verdict,
            effects: output.effects,
            reply: output.reply.frame().to_vec(),
            steps: recorder.steps,
            basis,
        }
    }

    /// The entry that decided: the last that was read.
    pub fn decided_by(&self) -> Option<Entry> {
        self.basis.last().copied()
    }
}

/// The entries that a fact was read from.
fn entries(fact: &Fact, ingress: &Ingress<'_>) -> Vec<Entry> {
    let (vpc, here) = (ingress.vpc.index, ingress.subnet.index);
    let interface = |owner: &Option<InterfaceIndex>| owner.map(Entry::Interface);
    match *fact {
        Fact::SourceMac { .. } => vec![Entry::Interface(ingress.interface.index)],
        Fact::Mapping {
            subnet, address, owner, ..
        } => [Entry::Mapping { subnet, address }]
            .into_iter()
            .chain(interface(&owner))
            .collect(),
        Fact::Mac { mac, owner } => [Entry::Mac { vpc, mac }].into_iter().chain(interface(&owner)).collect(),
        Fact::Check {
            interface,
            subnet,
            address,
            enabled,
            ..
        } => {
            let mapping = enabled.then_some(Entry::Mapping { subnet, address });
            mapping.into_iter().chain([Entry::Interface(interface)]).collect()
        }
        Fact::Route { route, .. } => {
            let target = route.and_then(|(_, target)| match target {
                RouteTarget::Interface(index) | RouteTarget::NatGateway(index) => Some(Entry::Interface(index)),
                RouteTarget::Peering(vpc) => Some(Entry::Vpc(vpc)),
                RouteTarget::Local
                | RouteTarget::Internet
                | RouteTarget::EgressOnly
                | RouteTarget::Endpoint(_)
                | RouteTarget::Blackhole => None,
            });
            let destination = route.map(|(net, _)| net);
            let subnet = here;
            target
                .into_iter()
                .chain([Entry::Route { subnet, destination }])
                .collect()
        }
        Fact::Neighbor { subnet, address, mac } => {
            let station = mac.map(|mac| Entry::Station { subnet, mac });
            let prefix = Entry::Mapping { subnet, address };
            [prefix, Entry::Neighbor { subnet, address }]
                .into_iter()
                .chain(station)
                .collect()
        }
        Fact::Public { vpc, .. } => vec![Entry::PublicAddresses(vpc)],
        Fact::Binding { gateway, .. } => vec![Entry::Connections(gateway)],
        Fact::Station { mac, .. } => vec![Entry::Station { subnet: here, mac }],
        Fact::Tracked { interface, .. } => vec![Entry::Connections(interface)],
        Fact::Full { interface, .. } => vec![Entry::Vpc(vpc), Entry::Connections(interface)],
        Fact::Rule {
            interface,
            member,
            rule,
            ..
        } => {
            // No connection was found there.
            let read = [Some(Entry::Connections(interface)), member.map(Entry::Rules)];
            let asked = [Some(Entry::Rules(interface)), rule.map(Entry::Rule)];
            read.into_iter().chain(asked).flatten().collect()
        }
        Fact::AclEntry { subnet, entry, .. } => {
            let named = entry.map(Entry::Rule);
            [Entry::NetworkAcl(subnet)].into_iter().chain(named).collect()
        }
        Fact::Spent { allowance, .. } => vec![Entry::Allowance(allowance)],
        // What the frame, and the VPC's profile and ranges, determine.
        Fact::Asked { .. }
        | Fact::Router { .. }
        | Fact::Computed { .. }
        | Fact::Service { .. }
        | Fact::Exempt { .. }
        | Fact::Group { .. } => {
            vec![Entry::Vpc(vpc)]
        }
    }
}
