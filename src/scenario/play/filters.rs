//! Carries out the steps that edit security groups and network ACLs.

use super::network::{Refusal, Stage, refusal};
use crate::control::ControlError;
use crate::model::network_acl::{EditEntry, EntryEdit};
use crate::model::security_group::{AuthorizeRules, RevokeRules, RuleForm, RuleRef, RuleSpec, SecurityGroupError};
use crate::model::traffic::Direction;
use crate::model::{ModelError, NetworkAclId, ResourceRef, SecurityGroupId};
use crate::scenario::format::{EntryChange, RulesChange};
use crate::topology::vpc_of_default;

fn refused(error: impl Into<ModelError>) -> Refusal {
    refusal(&ControlError::from(error.into()))
}

fn specs(ingress: &[RuleForm], egress: &[RuleForm]) -> Result<Vec<RuleSpec>, SecurityGroupError> {
    let ingress = ingress.iter().map(|form| form.spec(Direction::Ingress));
    ingress
        .chain(egress.iter().map(|form| form.spec(Direction::Egress)))
        .collect()
}

impl Stage {
    /// The group that a step names.
    fn group(&self, name: &str) -> Result<ResourceRef<SecurityGroupId>, Refusal> {
        let Some(vpc) = vpc_of_default(name) else {
            return Ok(ResourceRef::new(name));
        };
        let default = self.controller().inspect(|network| {
            let vpc = network.vpc(&ResourceRef::new(vpc))?.id;
            Ok::<_, ModelError>(network.default_group(vpc))
        });
        let default = default.map_err(refused)?;
        Ok(default.map_or_else(|| ResourceRef::new(name), ResourceRef::Id))
    }

    fn acl(&self, name: &str) -> Result<ResourceRef<NetworkAclId>, Refusal> {
        match vpc_of_default(name) {
            Some(vpc) => {
                let vpc = self.controller().vpc(&ResourceRef::new(vpc));
                Ok(vpc.map_err(|error| refusal(&error))?.default_network_acl_id.into())
            }
            None => Ok(ResourceRef::new(name)),
        }
    }

    /// Revokes rules of a group, then authorizes others.
    pub(super) fn edit_rules(&self, change: &RulesChange) -> Result<(), Refusal> {
        let group = self.group(&change.group.value)?;
        let gone = specs(&change.revoke_ingress, &change.revoke_egress).map_err(refused)?;
        if !gone.is_empty() {
            let like = |rule: RuleSpec| RuleRef::Like(rule.direction, rule.traffic, rule.peer);
            self.execute(RevokeRules {
                group: group.clone(),
                rules: gone.into_iter().map(like).collect(),
                direction: None,
            })?;
        }
        let rules = specs(&change.authorize_ingress, &change.authorize_egress).map_err(refused)?;
        match rules.is_empty() {
            true => Ok(()),
            false => self.execute(AuthorizeRules { group, rules }),
        }
    }

    /// Edits an entry of a network ACL.
    pub(super) fn edit_entry(&self, change: &EntryChange) -> Result<(), Refusal> {
        let acl = self.acl(&change.network_acl.value)?;
        let (number, edit) = match (&change.put, change.delete) {
            (Some(form), _) => (form.number, EntryEdit::Put(form.entry().map_err(refused)?)),
            (None, Some(number)) => (number, EntryEdit::Delete),
            // The check of the file excludes it.
            (None, None) => return Ok(()),
        };
        let direction = change.direction;
        self.execute(EditEntry {
            acl,
            direction,
            number,
            edit,
        })
    }
}

/// What a step about rules does, in words.
pub(super) fn describe_rules(change: &RulesChange) -> String {
    let lists = [
        ("authorize ingress", &change.authorize_ingress),
        ("authorize egress", &change.authorize_egress),
        ("revoke ingress", &change.revoke_ingress),
        ("revoke egress", &change.revoke_egress),
    ];
    let words = lists.into_iter().flat_map(|(verb, forms)| {
        forms.iter().filter_map(move |form| {
            let peer = form.cidr.map(|net| net.to_string());
            let peer = peer.or_else(|| form.group.as_ref().map(ToString::to_string));
            let peer = peer.or_else(|| form.prefix_list.as_ref().map(ToString::to_string));
            Some(format!("{verb} {} {}", form.traffic().ok()?, peer.unwrap_or_default()))
        })
    });
    format!(
        "security group {}: {}",
        change.group.value,
        words.collect::<Vec<_>>().join(", ")
    )
}

/// What a step about an entry does, in words.
pub(super) fn describe_entry(change: &EntryChange) -> String {
    let entry = change.put.as_ref().and_then(|form| {
        let entry = form.entry().ok()?;
        Some(format!("{} {entry}", form.number))
    });
    let entry = entry.unwrap_or_else(|| format!("no {}", change.delete.unwrap_or_default()));
    format!("network ACL {}: {} {entry}", change.network_acl.value, change.direction)
}
