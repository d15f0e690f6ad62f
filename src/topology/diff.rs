//! Computes the action for each resource: create, alter, replace, remove, or keep.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{Described, Interface, Kind, Label, Layout, OptionsChoice};
use super::matching::align;
use super::plan::{Action, Change, Extras, FieldChange, Kept, Refusal, differences, of_new};
use super::running::{Running, unnamed};
use crate::topology::format::outside_subnet;

/// The action for a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Create,
    Alter,
    Replace,
    Remove,
    /// It is as desired.
    Same,
    /// It is not in the file, and stays.
    Keep,
}

impl Fate {
    /// Whether the resource is removed, for good or to be replaced.
    pub(super) fn ends(self) -> bool {
        matches!(self, Self::Replace | Self::Remove)
    }

    /// Whether the resource is created, for the first time or as a replacement.
    pub(super) fn begins(self) -> bool {
        matches!(self, Self::Replace | Self::Create)
    }
}

/// The desired and the running layout under the same labels, with the action for each resource.
pub(super) struct Judged<'d> {
    pub(super) desired: &'d Layout,
    pub(super) running: Running,
    pub(super) changes: Vec<Change>,
    pub(super) kept: Vec<Kept>,
    pub(super) refusal: Option<Refusal>,
    /// The subnets now associated with each table, including those that the file does not name.
    pub(super) led: BTreeMap<Label, BTreeSet<Label>>,
    extras: Extras,
    fates: BTreeMap<(Kind, Label), Fate>,
    numbers: BTreeMap<(Kind, Label), usize>,
}

impl<'d> Judged<'d> {
    pub(super) fn new(desired: &'d Layout, running: Running, extras: Extras) -> Self {
        let mut running = align(running, desired);
        let tables = running.layout.route_tables.iter();
        let led = tables
            .map(|(label, table)| (label.clone(), table.subnets.clone()))
            .collect();
        for (label, table) in &desired.route_tables {
            // The file does not determine the table of a subnet that it does not name.
            if let Some(now) = running.layout.route_tables.get_mut(label) {
                now.subnets
                    .retain(|subnet| desired.subnets.contains_key(subnet) || table.subnets.contains(subnet));
            }
        }
        let mut judged = Self {
            desired,
            running,
            changes: Vec::new(),
            kept: Vec::new(),
            refusal: None,
            led,
            extras,
            fates: BTreeMap::new(),
            numbers: BTreeMap::new(),
        };
        judged.judge_all();
        judged
    }

    /// The action for a resource. An unknown resource is as desired.
    pub(super) fn fate(&self, kind: Kind, label: &str) -> Fate {
        self.fates.get(&(kind, label.to_owned())).copied().unwrap_or(Fate::Same)
    }

    /// The number of its change.
    pub(super) fn number(&self, kind: Kind, label: &str) -> Option<usize> {
        self.numbers.get(&(kind, label.to_owned())).copied()
    }

    /// Whether it is replaced, and with it the resources that depend on it.
    fn renewed(&self, kind: Kind, label: &str) -> Option<String> {
        (self.fate(kind, label) == Fate::Replace).then(|| format!("its {kind} is replaced"))
    }

    /// The same, or it is removed for good.
    fn pulled_away(&self, kind: Kind, label: &str) -> Option<String> {
        match self.fate(kind, label) {
            Fate::Replace => Some(format!("{kind} {label} must be replaced")),
            Fate::Remove => Some(format!("{kind} {label} is removed")),
            _ => None,
        }
    }

    fn judge_all(&mut self) {
        let desired = self.desired;
        // The running layout is read while actions are recorded.
        let running = std::mem::take(&mut self.running.layout);
        self.judge(
            Kind::DhcpOptions,
            &desired.dhcp_options,
            &running.dhcp_options,
            |_, _| None,
        );
        self.judge(
            Kind::PrefixList,
            &desired.prefix_lists,
            &running.prefix_lists,
            |_, _| None,
        );
        self.judge(Kind::Vpc, &desired.vpcs, &running.vpcs, |_, _| None);
        self.judge_groups(&running);
        self.judge(Kind::Subnet, &desired.subnets, &running.subnets, |subnet, _| {
            Some((Kind::Vpc, subnet.vpc.clone()))
        });
        self.judge_acls(&running);
        self.judge(
            Kind::Interface,
            &desired.interfaces,
            &running.interfaces,
            |interface, _| Some((Kind::Subnet, interface.subnet.clone())),
        );
        self.choose_ipv6(&running);
        self.judge(
            Kind::InternetGateway,
            &desired.internet_gateways,
            &running.internet_gateways,
            |_, _| None,
        );
        self.judge(Kind::ElasticIp, &desired.elastic_ips, &running.elastic_ips, |_, _| None);
        self.judge(Kind::FlowLog, &desired.flow_logs, &running.flow_logs, |log, _| {
            Some(log.of.clone())
        });
        self.judge(
            Kind::NatGateway,
            &desired.nat_gateways,
            &running.nat_gateways,
            |gateway, judged| {
                let mut addresses = gateway.elastic_ips.iter();
                let replaced = addresses.find(|label| judged.fate(Kind::ElasticIp, label) == Fate::Replace);
                let address = replaced.map(|label| (Kind::ElasticIp, label.clone()));
                address.or_else(|| Some((Kind::Subnet, gateway.subnet.clone())))
            },
        );
        self.judge_links(&running);
        self.judge_endpoints(&running);
        self.judge_block(&running);
        let mut tables = running.route_tables.clone();
        tables.retain(|label, table| desired.route_tables.contains_key(label) || !table.is_untouched(label));
        self.judge(Kind::RouteTable, &desired.route_tables, &tables, |table, _| {
            Some((Kind::Vpc, table.vpc.clone()))
        });
        self.judge(Kind::Instance, &desired.instances, &running.instances, |instance, _| {
            Some((Kind::Interface, instance.interface.clone()))
        });
        self.running.layout = running;
        self.name_main_tables();
        self.note_side_effects();
    }

    /// What a VPC is made with counts when the file names it, or when it was edited.
    fn judge_groups(&mut self, running: &Layout) {
        let desired = self.desired;
        let mut groups = running.security_groups.clone();
        groups.retain(|label, group| {
            desired.security_groups.contains_key(label) || !group.is_untouched(label, running.has_ipv6(&group.vpc))
        });
        self.judge(Kind::SecurityGroup, &desired.security_groups, &groups, |group, _| {
            Some((Kind::Vpc, group.vpc.clone()))
        });
        let replaced = |judged: &Self, kind, label: &str, vpc: &str| {
            judged.fate(kind, label) == Fate::Replace && judged.fate(Kind::Vpc, vpc) != Fate::Replace
        };
        for (label, group) in &desired.security_groups {
            if replaced(self, Kind::SecurityGroup, label, &group.vpc) {
                self.refuse_for_life(
                    Kind::SecurityGroup,
                    label,
                    "the VPC, the name and the description of a group",
                );
            }
        }
        for label in desired.prefix_lists.keys() {
            if self.fate(Kind::PrefixList, label) == Fate::Replace {
                self.refuse_for_life(Kind::PrefixList, label, "the family of a prefix list");
            }
        }
    }

    fn judge_acls(&mut self, running: &Layout) {
        let desired = self.desired;
        let mut acls = running.network_acls.clone();
        acls.retain(|label, acl| {
            desired.network_acls.contains_key(label) || !acl.is_untouched(label, running.has_ipv6(&acl.vpc))
        });
        self.judge(Kind::NetworkAcl, &desired.network_acls, &acls, |acl, _| {
            Some((Kind::Vpc, acl.vpc.clone()))
        });
        for (label, acl) in &desired.network_acls {
            if self.fate(Kind::NetworkAcl, label) == Fate::Replace && self.fate(Kind::Vpc, &acl.vpc) != Fate::Replace {
                self.refuse_for_life(Kind::NetworkAcl, label, "the VPC of a network ACL");
            }
        }
    }

    /// Interfaces and rules hold on to a group, and subnets to an ACL, so neither is made anew in passing.
    fn refuse_for_life(&mut self, kind: Kind, label: &str, what: &str) {
        self.refuse(Refusal {
            kind,
            name: label.to_owned(),
            field: None,
            code: "InvalidParameterValue".into(),
            message: format!("It would have to be made anew: {what} stays for life"),
            remedy: "Leave that as it is, or write one with another name.".to_owned(),
        });
    }

    /// Computes the actions for one kind. `on` returns the resources that a resource depends on.
    pub(super) fn judge<T: Described>(
        &mut self,
        kind: Kind,
        desired: &BTreeMap<Label, T>,
        running: &BTreeMap<Label, T>,
        on: impl Fn(&T, &Self) -> Option<(Kind, Label)>,
    ) {
        for (label, new) in desired {
            let Some(old) = running.get(label) else {
                self.decide(kind, label, Fate::Create, of_new(new), None);
                continue;
            };
            let ground = on(new, self);
            let cause = ground.and_then(|(kind, label)| self.renewed(kind, &label));
            let mut fields = differences(old, new);
            let fixed = fields.iter().any(|change| !T::can_change(&change.field));
            // The first item of a list is shown with the list.
            fields.retain(|change| !change.field.starts_with("primary_"));
            let fate = match (fixed || cause.is_some(), fields.is_empty()) {
                (true, _) => Fate::Replace,
                (false, true) => Fate::Same,
                (false, false) => Fate::Alter,
            };
            self.decide(kind, label, fate, fields, cause);
        }
        for (label, old) in running.iter().filter(|(label, _)| !desired.contains_key(*label)) {
            if self.extras == Extras::Remove {
                self.decide(kind, label, Fate::Remove, Vec::new(), None);
                continue;
            }
            let ground = on(old, self);
            if let Some(cause) = ground.and_then(|(kind, label)| self.pulled_away(kind, &label)) {
                let name = label.clone();
                self.refuse(Refusal {
                    kind,
                    name,
                    field: None,
                    code: "DependencyViolation".into(),
                    message: format!("{cause}, and this is on it without being in the file"),
                    remedy: "Write it into the file, remove it first, or prune what the file does not name.".to_owned(),
                });
            }
            self.fates.insert((kind, label.clone()), Fate::Keep);
            self.kept.push(Kept {
                kind,
                name: label.clone(),
            });
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    fn decide(&mut self, kind: Kind, label: &str, fate: Fate, fields: Vec<FieldChange>, note: Option<String>) {
        self.fates.insert((kind, label.to_owned()), fate);
        let action = match fate {
            Fate::Create => Action::Create,
            Fate::Alter => Action::Alter,
            Fate::Replace => Action::Replace,
            Fate::Remove => Action::Remove,
            Fate::Same | Fate::Keep => return,
        };
        self.numbers.insert((kind, label.to_owned()), self.changes.len());
        self.changes.push(Change {
            action,
            kind,
            name: label.to_owned(),
            fields,
            note,
        });
    }

    /// Adds a difference that no field shows.
    fn add(&mut self, kind: Kind, label: &str, field: FieldChange) {
        match self.number(kind, label) {
            Some(number) => self.changes[number].fields.push(field),
            None => self.decide(kind, label, Fate::Alter, vec![field], None),
        }
    }

    /// Handles an interface whose IPv6 address is left to the network and that has none yet.
    fn choose_ipv6(&mut self, running: &Layout) {
        for (label, new) in &self.desired.interfaces {
            let Some(old) = running.interfaces.get(label) else {
                continue;
            };
            if self.gets_any_ipv6(new) && old.ipv6.as_ref().is_some_and(Vec::is_empty) {
                let field = FieldChange {
                    field: "ipv6".to_owned(),
                    old: Some("none".to_owned()),
                    new: Some("one that is chosen".to_owned()),
                };
                self.add(Kind::Interface, label, field);
            }
        }
    }

    /// Whether an interface has an IPv6 address that the file does not name.
    pub(super) fn gets_any_ipv6(&self, interface: &Interface) -> bool {
        let subnet = self.desired.subnets.get(&interface.subnet);
        let outside = interface.subnet == outside_subnet();
        interface.ipv6.is_none() && (outside || subnet.is_some_and(|subnet| subnet.ipv6_cidr_block.is_some()))
    }

    /// A main table gets its name, and stays main until another one is.
    fn name_main_tables(&mut self) {
        let desired = self.desired;
        for (label, new) in &desired.route_tables {
            let Some(old) = self.running.layout.route_tables.get(label).cloned() else {
                continue;
            };
            let alias = self.running.aliases.get(&(Kind::RouteTable, label.clone())).cloned();
            if let Some(alias) = alias.filter(|_| !unnamed(Kind::RouteTable, label)) {
                let field = FieldChange {
                    field: "name".to_owned(),
                    old: Some(alias),
                    new: Some(label.clone()),
                };
                self.add(Kind::RouteTable, label, field);
            }
            let mut others = desired.route_tables.values();
            let another = others.any(|other| other.main && other.vpc == new.vpc);
            if old.main && !new.main && !another && old.vpc == new.vpc {
                self.refuse(Refusal {
                    kind: Kind::RouteTable,
                    name: label.clone(),
                    field: Some("main".to_owned()),
                    code: "DependencyViolation".into(),
                    message: format!("It is the main one of VPC {}, and no other is to be", old.vpc),
                    remedy: "Write `main: true` to this route table, or to another one of the VPC.".to_owned(),
                });
            }
        }
    }

    /// Adds notes about side effects: a detached device, a VPC without options for a moment.
    fn note_side_effects(&mut self) {
        for (label, device) in self.running.devices.clone() {
            if self.fate(Kind::Interface, &label).ends() {
                self.note(Kind::Interface, &label, format!("{device} is detached"));
            }
        }
        for (label, interface) in self.running.layout.interfaces.clone() {
            let host = interface.attached_to.unwrap_or_default();
            if self.fate(Kind::Interface, &label) == Fate::Keep && self.fate(Kind::Instance, &host).ends() {
                self.note(Kind::Instance, &host, format!("network interface {label} is detached"));
            }
        }
        let sets: Vec<Label> = self.running.layout.dhcp_options.keys().cloned().collect();
        for set in sets {
            let vpcs = self.running.layout.vpcs.iter();
            let having = vpcs.filter(|(_, vpc)| vpc.dhcp_options == OptionsChoice::Set(set.clone()));
            let having: Vec<Label> = having.map(|(label, _)| label.clone()).collect();
            if self.fate(Kind::DhcpOptions, &set) == Fate::Replace && !having.is_empty() {
                let note = format!("{} without options for a moment", having.join(", "));
                self.note(Kind::DhcpOptions, &set, note);
            }
        }
    }

    fn note(&mut self, kind: Kind, label: &str, note: String) {
        if let Some(number) = self.number(kind, label) {
            let own = &mut self.changes[number].note;
            *own = Some(match own.take() {
                Some(before) => format!("{before}, {note}"),
                None => note,
            });
        }
    }
}
