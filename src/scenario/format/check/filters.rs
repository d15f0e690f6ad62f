//! Checks the steps that edit security groups and network ACLs.

use std::collections::BTreeSet;

use serde_saphyr::{Location, Spanned};

use super::Checker;
use crate::file::diagnostic::Mistake;
use crate::model::traffic::Direction;
use crate::scenario::format::document::{EntryChange, RulesChange};
use crate::topology::default_of;
use crate::topology::format::Topology;

/// The names of the groups and ACLs that steps may edit, those that VPCs are made with included.
#[derive(Debug, Default)]
pub(super) struct Filters {
    groups: BTreeSet<String>,
    acls: BTreeSet<String>,
}

impl Filters {
    pub(super) fn of(topology: &Topology) -> Self {
        let defaults = || topology.vpcs.keys().map(|vpc| default_of(vpc));
        Self {
            groups: topology.security_groups.keys().cloned().chain(defaults()).collect(),
            acls: topology.network_acls.keys().cloned().chain(defaults()).collect(),
        }
    }
}

impl Checker<'_> {
    fn known(&mut self, what: &str, name: &Spanned<String>, known: &BTreeSet<String>) {
        if !known.contains(&name.value) {
            let message = format!("no {what} is called `{}`", name.value);
            let names = known.iter().map(String::as_str);
            self.wrong(Mistake::at(name.referenced, message).nearest(&name.value, names));
        }
    }

    pub(super) fn rules(&mut self, change: &RulesChange) {
        let known = self.filters.groups.clone();
        self.known("security group", &change.group, &known);
        let place = change.group.referenced;
        if change.is_empty() {
            let mistake = Mistake::at(place, "this changes nothing");
            self.wrong(
                mistake.help("say `authorize_ingress`, `authorize_egress`, `revoke_ingress` or `revoke_egress`"),
            );
        }
        for (direction, forms) in change.all() {
            for form in forms {
                self.rule_error(form.spec(direction).err(), place);
            }
        }
    }

    fn rule_error(&mut self, error: Option<crate::model::security_group::SecurityGroupError>, place: Location) {
        if let Some(error) = error {
            self.wrong(Mistake::at(place, error.to_string()).help(error.remedy()));
        }
    }

    pub(super) fn entry(&mut self, change: &EntryChange) {
        let known = self.filters.acls.clone();
        self.known("network ACL", &change.network_acl, &known);
        let place = change.network_acl.referenced;
        match (&change.put, change.delete) {
            (Some(form), None) => {
                if let Err(error) = form.entry() {
                    self.wrong(Mistake::at(place, error.to_string()).help(error.remedy()));
                }
            }
            (None, Some(_)) => {}
            _ => {
                let help =
                    "as in `put: { number: 100, action: allow, protocol: all, cidr: 0.0.0.0/0 }` or `delete: 100`";
                self.wrong(Mistake::at(place, "an entry is either `put` or deleted").help(help));
            }
        }
    }

    pub(super) fn named_groups(&mut self, names: &[Spanned<String>]) {
        let mut known = self.filters.groups.clone();
        known.insert(crate::model::security_group::DEFAULT_GROUP.to_owned());
        for name in names {
            self.known("security group", name, &known);
        }
    }
}

impl RulesChange {
    fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, forms)| forms.is_empty())
    }

    fn all(&self) -> [(Direction, &[crate::model::security_group::RuleForm]); 4] {
        [
            (Direction::Ingress, &self.authorize_ingress),
            (Direction::Egress, &self.authorize_egress),
            (Direction::Ingress, &self.revoke_ingress),
            (Direction::Egress, &self.revoke_egress),
        ]
    }
}
