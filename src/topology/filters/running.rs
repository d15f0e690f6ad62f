//! Reads the security groups, network ACLs and prefix lists that run.

use std::collections::BTreeMap;

use super::{NetworkAcl, Peer, PrefixList, Rule, SecurityGroup, default_of};
use crate::model::traffic::Direction;
use crate::model::{InterfaceId, Network, PrefixListId, SecurityGroupId, SubnetId, VpcId, security_group};
use crate::topology::layout::{Label, Layout};
use crate::topology::running::label;

/// What the labels of other resources are.
pub(in crate::topology) struct Known<'k> {
    pub(in crate::topology) vpcs: &'k BTreeMap<VpcId, Label>,
    pub(in crate::topology) subnets: &'k BTreeMap<SubnetId, Label>,
    pub(in crate::topology) interfaces: &'k BTreeMap<InterfaceId, Label>,
}

/// Adds them to a layout, and the groups of its interfaces.
pub(in crate::topology) fn read(network: &Network, known: &Known<'_>, layout: &mut Layout) {
    let vpc_label = |vpc: VpcId| known.vpcs.get(&vpc).cloned().unwrap_or_default();
    let groups = network.security_groups().map(|group| {
        let own = match group.is_default() {
            true => default_of(&vpc_label(group.vpc_id)),
            false => label(group.name.as_ref(), group.id),
        };
        (group.id, own)
    });
    let groups: BTreeMap<SecurityGroupId, Label> = groups.collect();
    let lists = network
        .prefix_lists()
        .map(|list| (list.id, label(list.name.as_ref(), list.id)));
    let lists = lists.chain(
        network
            .managed_prefix_lists()
            .map(|list| (list.id, list.id.to_string())),
    );
    let lists: BTreeMap<PrefixListId, Label> = lists.collect();
    for list in network.prefix_lists() {
        let list_layout = PrefixList {
            list_name: Some(list.list_name.clone()),
            family: list.family,
            max_entries: Some(list.max_entries),
            entries: list.entries(),
            tags: list.tags.clone(),
        };
        layout.prefix_lists.insert(lists[&list.id].clone(), list_layout);
    }
    for group in network.security_groups() {
        let rules = |direction| {
            let rules = group.rules_of(direction).map(|rule| {
                let peer = match rule.peer {
                    security_group::Peer::Cidr(net) => Peer::Cidr(net),
                    security_group::Peer::PrefixList(id) => {
                        Peer::PrefixList(lists.get(&id).cloned().unwrap_or_default())
                    }
                    // One that is gone has its identifier alone.
                    security_group::Peer::Group(id) => {
                        Peer::Group(groups.get(&id).cloned().unwrap_or_else(|| id.to_string()))
                    }
                };
                let traffic = rule.traffic;
                (Rule { traffic, peer }, rule.description.clone())
            });
            rules.collect()
        };
        let default = group.is_default();
        let group_layout = SecurityGroup {
            vpc: vpc_label(group.vpc_id),
            group_name: (!default).then(|| group.group_name.clone()),
            description: (!default).then(|| group.description.clone()),
            ingress: rules(Direction::Ingress),
            egress: rules(Direction::Egress),
            tags: group.tags.clone(),
        };
        layout.security_groups.insert(groups[&group.id].clone(), group_layout);
    }
    for acl in network.network_acls() {
        let (record, vpc) = (&acl.record, vpc_label(acl.record.vpc_id));
        let subnets = acl.associations.iter().filter(|_| !acl.default);
        let subnets = subnets.filter_map(|association| known.subnets.get(&association.subnet).cloned());
        let own = match acl.default {
            true => default_of(&vpc),
            false => label(record.name.as_ref(), record.id),
        };
        let acl_layout = NetworkAcl {
            vpc,
            subnets: subnets.collect(),
            ingress: record.ingress.clone(),
            egress: record.egress.clone(),
            tags: record.tags.clone(),
        };
        layout.network_acls.insert(own, acl_layout);
    }
    for (id, own) in known.interfaces {
        let having = network.groups_of(*id);
        let default = network.place(*id).and_then(|(.., vpc)| network.default_group(vpc));
        if let Some(interface) = layout.interfaces.get_mut(own)
            && !matches!(having, [only] if Some(*only) == default)
        {
            interface.groups = having.iter().filter_map(|group| groups.get(group).cloned()).collect();
        }
    }
}
