//! The steps of a plan that concern security groups, network ACLs and prefix lists, and how each is carried out.

use std::collections::BTreeMap;

use super::{NetworkAcl, Peer, PrefixList, Rule, SecurityGroup, default_of, vpc_of_default};
use crate::model::network_acl::{
    AssociateNetworkAcl, AssociationRef, CreateNetworkAcl, DeleteNetworkAcl, ModifyNetworkAcl,
};
use crate::model::prefix_list::{CreatePrefixList, DeletePrefixList, EntriesChange, ModifyPrefixList};
use crate::model::security_group::{
    CreateSecurityGroup, DEFAULT_GROUP, DeleteSecurityGroup, ModifySecurityGroup, PeerRef, RuleSpec,
};
use crate::model::traffic::Direction;
use crate::model::{NetworkAclId, ResourceRef, SecurityGroupId};
use crate::topology::apply::{Work, name};
use crate::topology::backend::{Stage, StepError};
use crate::topology::diff::{Fate, Judged};
use crate::topology::format::outside_subnet;
use crate::topology::layout::{Interface, Kind, Label};
use crate::topology::order::Steps;
use crate::topology::plan::Step;

/// Whether a group or an ACL goes and comes with its VPC.
fn is_default(label: &str) -> bool {
    vpc_of_default(label).is_some()
}

impl Steps {
    /// What is in VPCs that go, goes before them.
    pub(in crate::topology) fn take_filters_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        let goes = |kind, label: &str, vpc: &str| {
            !is_default(label) && judged.fate(kind, label).ends() && judged.fate(Kind::Vpc, vpc).ends()
        };
        let groups = now.security_groups.iter();
        let groups: Vec<_> = groups
            .filter(|(label, group)| goes(Kind::SecurityGroup, label, &group.vpc))
            .collect();
        self.delete_groups(judged, &groups);
        for (label, acl) in &now.network_acls {
            if goes(Kind::NetworkAcl, label, &acl.vpc) {
                self.push(judged, Kind::NetworkAcl, label, Step::DeleteAcl(label.clone()));
            }
        }
    }

    /// Rules may name groups of the list, so all rules go first.
    fn delete_groups(&mut self, judged: &Judged<'_>, groups: &[(&Label, &SecurityGroup)]) {
        for (label, group) in groups {
            let emptied = SecurityGroup {
                ingress: BTreeMap::new(),
                egress: BTreeMap::new(),
                ..(*group).clone()
            };
            let step = Step::SetRules((*label).clone(), emptied);
            self.push(judged, Kind::SecurityGroup, label, step);
        }
        for (label, _) in groups {
            self.push(judged, Kind::SecurityGroup, label, Step::DeleteGroup((*label).clone()));
        }
    }

    /// What interfaces need, and what their subnets have.
    pub(in crate::topology) fn make_filters(&mut self, judged: &Judged<'_>) {
        let (now, desired) = (&judged.running.layout, judged.desired);
        for (label, list) in &desired.prefix_lists {
            let step = match judged.fate(Kind::PrefixList, label) {
                fate if fate.begins() => Step::CreateList(label.clone(), list.clone()),
                Fate::Alter => Step::ModifyList(label.clone(), list.clone()),
                _ => continue,
            };
            self.push(judged, Kind::PrefixList, label, step);
        }
        let fate = |label: &str| judged.fate(Kind::SecurityGroup, label);
        let groups = || desired.security_groups.iter();
        for (label, group) in groups().filter(|(label, _)| fate(label).begins() && !is_default(label)) {
            let step = Step::CreateGroup(label.clone(), group.clone());
            self.push(judged, Kind::SecurityGroup, label, step);
        }
        // All groups are there before the first rule names one.
        for (label, group) in groups().filter(|(label, _)| fate(label).begins() || fate(label) == Fate::Alter) {
            let step = Step::SetRules(label.clone(), group.clone());
            self.push(judged, Kind::SecurityGroup, label, step);
        }
        for (label, acl) in &desired.network_acls {
            let fate = judged.fate(Kind::NetworkAcl, label);
            let old = now.network_acls.get(label).filter(|_| !fate.begins());
            let step = match (fate, is_default(label)) {
                (fate, false) if fate.begins() => Step::CreateAcl(label.clone(), acl.clone()),
                (fate, true) if fate.begins() => Step::ModifyAcl(label.clone(), acl.clone()),
                (Fate::Alter, _) => Step::ModifyAcl(label.clone(), acl.clone()),
                _ => {
                    self.give_again(judged, label, acl);
                    continue;
                }
            };
            self.push(judged, Kind::NetworkAcl, label, step);
            for subnet in &acl.subnets {
                let had = old.is_some_and(|old| old.subnets.contains(subnet));
                if !had || judged.fate(Kind::Subnet, subnet).begins() {
                    let step = Step::GiveAcl(label.clone(), subnet.clone());
                    self.push(judged, Kind::NetworkAcl, label, step);
                }
            }
            for subnet in old.iter().flat_map(|old| old.subnets.difference(&acl.subnets)) {
                self.give_default(judged, label, &acl.vpc, subnet);
            }
        }
        let kept = now.network_acls.iter();
        for (label, acl) in kept.filter(|(label, _)| judged.fate(Kind::NetworkAcl, label) == Fate::Keep) {
            self.give_again(judged, label, acl);
        }
    }

    /// A subnet that was made anew has the default ACL until it gets its own again.
    fn give_again(&mut self, judged: &Judged<'_>, label: &str, acl: &NetworkAcl) {
        for subnet in &acl.subnets {
            if judged.fate(Kind::Subnet, subnet) == Fate::Replace {
                let step = Step::GiveAcl(label.to_owned(), subnet.clone());
                self.push(judged, Kind::Subnet, subnet, step);
            }
        }
    }

    /// A subnet that loses its ACL and gets no other has the default one.
    fn give_default(&mut self, judged: &Judged<'_>, label: &str, vpc: &str, subnet: &str) {
        let mut others = judged.desired.network_acls.values();
        let elsewhere = others.any(|other| other.subnets.contains(subnet));
        let fate = judged.fate(Kind::Subnet, subnet);
        if !elsewhere && !fate.ends() && !fate.begins() {
            let step = Step::GiveAcl(default_of(vpc), subnet.to_owned());
            self.push(judged, Kind::NetworkAcl, label, step);
        }
    }

    /// What nothing needs any more goes last. What a VPC was made with becomes as it was.
    pub(in crate::topology) fn end_filters(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        let lives = |vpc: &str| !judged.fate(Kind::Vpc, vpc).ends();
        let ipv6 = |vpc: &str| {
            let vpc = judged.desired.vpcs.get(vpc).or_else(|| now.vpcs.get(vpc));
            vpc.is_some_and(|vpc| !vpc.ipv6_cidr_blocks.is_empty())
        };
        let groups = now.security_groups.iter();
        let gone = |label: &str| judged.fate(Kind::SecurityGroup, label) == Fate::Remove;
        let groups = groups.filter(|(label, group)| gone(label) && lives(&group.vpc));
        let (defaults, others): (Vec<_>, Vec<_>) = groups.partition(|(label, _)| is_default(label));
        for (label, group) in defaults {
            let made = SecurityGroup::made_with(&group.vpc, ipv6(&group.vpc));
            self.push(judged, Kind::SecurityGroup, label, Step::SetRules(label.clone(), made));
        }
        self.delete_groups(judged, &others);
        let gone = |label: &str| judged.fate(Kind::NetworkAcl, label) == Fate::Remove;
        for (label, acl) in now
            .network_acls
            .iter()
            .filter(|(label, acl)| gone(label) && lives(&acl.vpc))
        {
            if is_default(label) {
                let made = NetworkAcl::made_with(&acl.vpc, ipv6(&acl.vpc));
                self.push(judged, Kind::NetworkAcl, label, Step::ModifyAcl(label.clone(), made));
                continue;
            }
            for subnet in &acl.subnets {
                self.give_default(judged, label, &acl.vpc, subnet);
            }
            self.push(judged, Kind::NetworkAcl, label, Step::DeleteAcl(label.clone()));
        }
        let gone = |label: &str| judged.fate(Kind::PrefixList, label) == Fate::Remove;
        for label in now.prefix_lists.keys().filter(|label| gone(label)) {
            self.push(judged, Kind::PrefixList, label, Step::DeleteList(label.clone()));
        }
    }
}

/// What a step about a filter is about; none if it is about something else.
pub(in crate::topology) fn subject(step: &Step) -> Option<(Kind, &str)> {
    match step {
        Step::CreateList(label, _) | Step::ModifyList(label, _) | Step::DeleteList(label) => {
            Some((Kind::PrefixList, label))
        }
        Step::CreateGroup(label, _) | Step::SetRules(label, _) | Step::DeleteGroup(label) => {
            Some((Kind::SecurityGroup, label))
        }
        Step::CreateAcl(label, _) | Step::ModifyAcl(label, _) | Step::DeleteAcl(label) | Step::GiveAcl(label, _) => {
            Some((Kind::NetworkAcl, label))
        }
        _ => None,
    }
}

impl<S: Stage> Work<'_, S> {
    /// The group behind a label, to a resource of its VPC.
    pub(in crate::topology) fn group(&self, label: &str) -> ResourceRef<SecurityGroupId> {
        match is_default(label) {
            true => ResourceRef::new(DEFAULT_GROUP),
            false => self.reference(Kind::SecurityGroup, label),
        }
    }

    /// The groups of an interface; all at once, so that one that names none gets the default one.
    pub(in crate::topology) fn groups(&self, interface: &Interface) -> Vec<ResourceRef<SecurityGroupId>> {
        let labels = &interface.groups;
        match labels.is_empty() {
            // A host of the outside has none: no VPC's group is asked about it.
            true if interface.subnet == outside_subnet() => Vec::new(),
            true => vec![ResourceRef::new(DEFAULT_GROUP)],
            false => labels.iter().map(|label| self.group(label)).collect(),
        }
    }

    fn acl(&self, label: &str) -> Result<ResourceRef<NetworkAclId>, StepError> {
        match vpc_of_default(label) {
            Some(vpc) => {
                let vpc = self.stage.vpc(&self.reference(Kind::Vpc, vpc))?;
                Ok(vpc.default_network_acl_id.into())
            }
            None => Ok(self.reference(Kind::NetworkAcl, label)),
        }
    }

    fn specs(&self, direction: Direction, rules: &BTreeMap<Rule, Option<String>>) -> Vec<RuleSpec> {
        let rules = rules.iter().map(|(rule, description)| {
            let peer = match &rule.peer {
                Peer::Cidr(net) => PeerRef::Cidr(*net),
                Peer::PrefixList(label) => PeerRef::PrefixList(self.reference(Kind::PrefixList, label)),
                Peer::Group(label) => PeerRef::Group(self.group(label)),
            };
            RuleSpec {
                description: description.clone(),
                ..RuleSpec::new(direction, rule.traffic, peer)
            }
        });
        rules.collect()
    }

    /// Carries out a step about a filter.
    pub(in crate::topology) fn take_on_filters(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::CreateList(label, list) => self.create_list(label, list),
            Step::ModifyList(label, list) => {
                let command = self.modified_list(label, list);
                self.run(command)
            }
            Step::DeleteList(label) => self.run(DeletePrefixList(self.reference(Kind::PrefixList, label))),
            Step::CreateGroup(label, group) => {
                let command = CreateSecurityGroup {
                    name: name(Kind::SecurityGroup, label),
                    vpc: self.reference(Kind::Vpc, &group.vpc),
                    group_name: group.group_name.clone(),
                    description: group.description.clone(),
                    ingress: Vec::new(),
                    egress: Some(Vec::new()),
                    tags: group.tags.clone(),
                };
                let made = self.make(Kind::SecurityGroup, label, command)?;
                self.remember(Kind::SecurityGroup, label, made.id);
                Ok(())
            }
            Step::SetRules(label, group) => {
                let reference = match vpc_of_default(label) {
                    Some(vpc) => self.stage.default_group(&self.reference(Kind::Vpc, vpc))?.into(),
                    None => self.reference(Kind::SecurityGroup, label),
                };
                self.run(ModifySecurityGroup {
                    ingress: Some(self.specs(Direction::Ingress, &group.ingress)),
                    egress: Some(self.specs(Direction::Egress, &group.egress)),
                    tags: Some(group.tags.clone()),
                    ..ModifySecurityGroup::new(reference)
                })
            }
            Step::DeleteGroup(label) => self.run(DeleteSecurityGroup(self.reference(Kind::SecurityGroup, label))),
            Step::CreateAcl(label, acl) => {
                let command = CreateNetworkAcl {
                    name: name(Kind::NetworkAcl, label),
                    vpc: self.reference(Kind::Vpc, &acl.vpc),
                    entries: acl.entries(),
                    tags: acl.tags.clone(),
                };
                let made = self.make(Kind::NetworkAcl, label, command)?;
                self.remember(Kind::NetworkAcl, label, made.record.id);
                Ok(())
            }
            Step::ModifyAcl(label, acl) => self.run(ModifyNetworkAcl {
                entries: Some(acl.entries()),
                tags: Some(acl.tags.clone()),
                ..ModifyNetworkAcl::new(self.acl(label)?)
            }),
            Step::DeleteAcl(label) => self.run(DeleteNetworkAcl(self.reference(Kind::NetworkAcl, label))),
            Step::GiveAcl(label, subnet) => self.run(AssociateNetworkAcl {
                acl: self.acl(label)?,
                subnet: AssociationRef::Subnet(self.reference(Kind::Subnet, subnet)),
            }),
            other => unreachable!("{other:?} is about no filter"),
        }
    }

    fn create_list(&mut self, label: &str, list: &PrefixList) -> Result<(), StepError> {
        let command = CreatePrefixList {
            name: name(Kind::PrefixList, label),
            list_name: list.list_name.clone(),
            family: Some(list.family),
            max_entries: list.max_entries,
            entries: list.entries.clone().into_iter().collect(),
            tags: list.tags.clone(),
        };
        let made = self.make(Kind::PrefixList, label, command)?;
        self.remember(Kind::PrefixList, label, made.id);
        Ok(())
    }

    fn modified_list(&self, label: &str, list: &PrefixList) -> ModifyPrefixList {
        ModifyPrefixList {
            list_name: list.list_name.clone(),
            max_entries: list.max_entries,
            entries: EntriesChange::All(list.entries.clone().into_iter().collect()),
            tags: Some(list.tags.clone()),
            ..ModifyPrefixList::new(self.reference::<crate::model::PrefixListId>(Kind::PrefixList, label))
        }
    }
}
