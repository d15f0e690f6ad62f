//! Compiles the declared security groups and network ACLs for the data path, and keeps the compiled policies up to
//! date.
//!
//! Interfaces with the same groups share one compiled policy. An edit recompiles the policies that it affects, and
//! publishes them whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::fabric::Binding;
use crate::datapath::policy::{self, Acl, Policy, RuleName};
use crate::datapath::{Life, PolicyIndex};
use crate::model::ids::ResourceId as _;
use crate::model::network_acl::{AclAction, NetworkAclRecord};
use crate::model::security_group::{Peer, SecurityGroup, SecurityGroupRule};
use crate::model::traffic::{Direction, Protocol, Traffic};
use crate::model::{InterfaceId, Network, NetworkAclId, PrefixListId, SecurityGroupId, SubnetId};

/// The compiled policies and their users.
#[derive(Default)]
pub(super) struct Compiled {
    policies: HashMap<Rules, Shared, RandomState>,
    /// The groups whose rules each interface has, and its own lives of connections.
    of_interface: HashMap<InterfaceId, Rules, RandomState>,
}

/// The groups of an interface, in order of their identifiers.
type Groups = Vec<SecurityGroupId>;

/// What a compiled policy is made from.
type Rules = (Groups, Option<Life>);

/// A policy that interfaces share.
struct Shared {
    index: PolicyIndex,
    users: usize,
}

/// The work that a list of changes requires.
#[derive(Default)]
pub(super) struct Edited {
    groups: BTreeSet<SecurityGroupId>,
    lists: BTreeSet<PrefixListId>,
    acls: BTreeSet<NetworkAclId>,
    interfaces: BTreeSet<InterfaceId>,
    subnets: BTreeSet<SubnetId>,
}

impl Edited {
    /// The rules of a group were edited.
    pub(super) fn group(&mut self, id: SecurityGroupId) {
        self.groups.insert(id);
    }

    /// The entries of a prefix list were edited.
    pub(super) fn list(&mut self, id: PrefixListId) {
        self.lists.insert(id);
    }

    /// The entries of an ACL were edited.
    pub(super) fn acl(&mut self, id: NetworkAclId) {
        self.acls.insert(id);
    }

    /// An interface was created, or has other groups or another instance than before.
    pub(super) fn interface(&mut self, id: InterfaceId) {
        self.interfaces.insert(id);
    }

    /// A subnet was created, or has another ACL than before.
    pub(super) fn subnet(&mut self, id: SubnetId) {
        self.subnets.insert(id);
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.lists.is_empty()
            && self.acls.is_empty()
            && self.interfaces.is_empty()
            && self.subnets.is_empty()
    }
}

impl Binding {
    /// Carries edits of the firewall to the data path. Deleted interfaces and subnets are not part of them.
    pub(super) fn follow_firewall(&mut self, network: &Network, mut edited: Edited) {
        if edited.is_empty() {
            return;
        }
        for list in std::mem::take(&mut edited.lists) {
            let naming = network.naming_groups(Peer::PrefixList(list));
            edited.groups.extend(naming.map(|group| group.id));
        }
        self.recompile(network, &edited.groups);
        for interface in edited.interfaces {
            self.give_policy(network, interface);
        }
        let with_acls = |subnet: &SubnetId| network.acl_of(*subnet).is_some_and(|acl| edited.acls.contains(&acl.id));
        if !edited.acls.is_empty() {
            let subnets = network.subnets().map(|subnet| subnet.id);
            edited.subnets.extend(subnets.filter(with_acls));
        }
        let mut compiled: BTreeMap<NetworkAclId, Arc<Acl>> = BTreeMap::new();
        for subnet in edited.subnets {
            let acl = network.acl_of(subnet).map(|record| {
                let known = compiled.entry(record.id);
                Arc::clone(known.or_insert_with(|| Arc::new(acl(record))))
            });
            if let Some(index) = self.subnet_index(subnet) {
                self.writer_mut().set_acl(index, acl);
            }
        }
    }

    /// Recompiles the policies of these groups.
    fn recompile(&mut self, network: &Network, edited: &BTreeSet<SecurityGroupId>) {
        if edited.is_empty() {
            return;
        }
        let concerned = self.compiled.policies.iter();
        let concerned = concerned.filter(|((groups, _), _)| groups.iter().any(|group| edited.contains(group)));
        let changed: Vec<(PolicyIndex, Arc<Policy>)> = concerned
            .map(|(rules, shared)| (shared.index, Arc::new(policy(network, rules))))
            .collect();
        if !changed.is_empty() {
            self.writer_mut().change_policies(changed);
        }
    }

    /// Gives an interface the rules of its groups.
    fn give_policy(&mut self, network: &Network, interface: InterfaceId) {
        let Some(index) = self.interface_index(interface) else {
            return self.release_policy(interface);
        };
        let mut groups = network.groups_of(interface).to_vec();
        groups.sort_unstable();
        let rules = (groups, life(network, interface));
        if self.compiled.of_interface.get(&interface) != Some(&rules) {
            let number = if rules.0.is_empty() {
                None
            } else {
                Some(self.shared_policy(network, &rules))
            };
            self.writer_mut().set_policy(index, number);
            self.release_policy(interface);
            self.compiled.of_interface.insert(interface, rules);
        }
        let first = network
            .instance_of(interface)
            .map(|instance| instance.primary_interface_id);
        let first = first.and_then(|first| self.interface_index(first));
        self.writer_mut().set_allowance(index, first.unwrap_or(index));
    }

    fn shared_policy(&mut self, network: &Network, rules: &Rules) -> PolicyIndex {
        if let Some(shared) = self.compiled.policies.get_mut(rules) {
            shared.users += 1;
            return shared.index;
        }
        let index = self.writer_mut().add_policy(Arc::new(policy(network, rules)));
        self.compiled.policies.insert(rules.clone(), Shared { index, users: 1 });
        index
    }

    /// An interface no longer has its former rules.
    pub(super) fn release_policy(&mut self, interface: InterfaceId) {
        let Some(rules) = self.compiled.of_interface.remove(&interface) else {
            return;
        };
        let Some(shared) = self.compiled.policies.get_mut(&rules) else {
            return;
        };
        shared.users -= 1;
        if shared.users == 0 {
            let index = shared.index;
            self.compiled.policies.remove(&rules);
            self.writer_mut().remove_policy(index);
        }
    }
}

/// The lives of connections of an interface, where they differ from those of its VPC's profile.
fn life(network: &Network, interface: InterfaceId) -> Option<Life> {
    let own = network.tracking_of(interface)?;
    let (_, _, vpc) = network.place(interface)?;
    let vpc = network.vpc(&vpc.into()).ok()?;
    let tracking = &vpc.profile.firewall.tracking;
    Some(Life {
        tcp_established: own.tcp_established.unwrap_or(tracking.tcp_established),
        udp_stream: own.udp_stream.unwrap_or(tracking.udp_stream),
        udp: own.udp.unwrap_or(tracking.udp),
    })
}

/// The union of the rules of some groups.
fn policy(network: &Network, (groups, life): &Rules) -> Policy {
    let declared: Vec<&SecurityGroup> = groups.iter().filter_map(|id| network.group(*id).ok()).collect();
    let rules = |direction| {
        let of = |group: &&SecurityGroup| {
            let rules = group.rules_of(direction);
            rules.map(|rule| rule_spec(network, group, rule)).collect::<Vec<_>>()
        };
        declared.iter().flat_map(of).collect()
    };
    let bits = groups.iter().map(|group| group.to_bits());
    Policy::compile(bits, rules(Direction::Egress), rules(Direction::Ingress)).with_life(*life)
}

fn rule_spec(network: &Network, group: &SecurityGroup, rule: &SecurityGroupRule) -> policy::RuleSpec {
    let peer = match rule.peer {
        Peer::Cidr(net) => policy::Peer::Nets(vec![net]),
        // A deleted list has no entries, and matches nothing.
        Peer::PrefixList(list) => {
            let list = network.prefix_list(&list.into());
            policy::Peer::Nets(list.map_or_else(|_| Vec::new(), |list| list.blocks().collect()))
        }
        Peer::Group(group) => policy::Peer::Group(group.to_bits()),
    };
    let name = RuleName::SecurityGroup {
        group: group.id.to_bits(),
        rule: rule.id.to_bits(),
    };
    traffic_spec(rule.traffic, name, peer)
}

fn traffic_spec(traffic: Traffic, name: RuleName, peer: policy::Peer) -> policy::RuleSpec {
    let protocol = match traffic.protocol() {
        Protocol::All => None,
        Protocol::Number(number) => Some(number),
    };
    let ports = match (traffic.ports(), traffic.messages()) {
        (Some(ports), _) => policy::Ports {
            first: ports.from(),
            last: ports.to(),
        },
        (None, Some(messages)) => policy::Ports::icmp(messages.kind(), messages.code()),
        (None, None) => policy::Ports::ALL,
    };
    policy::RuleSpec {
        name,
        protocol,
        ports,
        peer,
    }
}

/// The entries of a network ACL, the two last ones included.
fn acl(record: &NetworkAclRecord) -> Acl {
    let entries = |direction| {
        let entries = record.entries(direction).map(|(number, entry)| {
            let name = RuleName::NetworkAcl {
                acl: record.id.to_bits(),
                number,
            };
            policy::AclEntry {
                number,
                allow: entry.action == AclAction::Allow,
                rule: traffic_spec(entry.traffic, name, policy::Peer::Nets(vec![entry.cidr])),
            }
        });
        entries.collect()
    };
    Acl::compile(entries(Direction::Egress), entries(Direction::Ingress))
}
