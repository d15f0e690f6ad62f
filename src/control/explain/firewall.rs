//! Names the rule of a security group, or the entry of a network ACL, that decided about a packet.

use super::steps::Step;
use crate::control::controller::State;
use crate::datapath::policy::RuleName;
use crate::datapath::{Filtered, FilteredBy, Stage};
use crate::model::ids::ResourceId as _;
use crate::model::network_acl::AclEntry;
use crate::model::traffic::Direction;
use crate::model::{NetworkAclId, SecurityGroup, SecurityGroupId, SecurityGroupRuleId};

/// What the firewall decided about a packet, a sentence for each stage, with identifiers.
pub(crate) fn in_sentences(filtered: &Filtered) -> Vec<String> {
    let sentences = filtered.stages().map(|(stage, by)| {
        let (word, what) = match stage {
            Stage::SecurityGroupEgress => ("outbound", "rule of the sender's security groups"),
            Stage::NetworkAclEgress => ("outbound", "entry of the network ACL"),
            Stage::NetworkAclIngress => ("inbound", "entry of the network ACL"),
            _ => ("inbound", "rule of the receiver's security groups"),
        };
        match by {
            FilteredBy::Rule(RuleName::SecurityGroup { group, rule }) => {
                let (group, rule) = (SecurityGroupId::from_bits(group), SecurityGroupRuleId::from_bits(rule));
                format!("{word} rule {rule} of {group}")
            }
            FilteredBy::Rule(RuleName::NetworkAcl { acl, number }) => {
                format!("{word} entry {number} of {}", NetworkAclId::from_bits(acl))
            }
            FilteredBy::NoRule => format!("no {word} {what}"),
            FilteredBy::Connection => format!("{word}: a tracked connection"),
            FilteredBy::Allowance => format!("{word}: the allowance of tracked connections is used up"),
        }
    });
    sentences.collect()
}

/// A group for display: the name in its VPC and the identifier.
fn called(group: &SecurityGroup) -> String {
    format!("'{}' ({})", group.group_name, group.id)
}

/// The rule that allows a packet, or the groups without such a rule.
pub(super) fn rule(
    state: &State,
    step: &mut Step,
    direction: Direction,
    rule: Option<RuleName>,
    untracked: bool,
) -> String {
    let word = direction.adjective();
    let Some(RuleName::SecurityGroup { group, rule }) = rule else {
        let groups = step
            .interface_id
            .map_or(&[][..], |interface| state.network.groups_of(interface));
        step.security_group_id = groups.first().copied();
        let groups: Vec<String> = groups
            .iter()
            .filter_map(|id| Some(called(state.network.group(*id).ok()?)))
            .collect();
        return format!("no {word} rule of security group {} allows it", groups.join(", "));
    };
    let (group, rule) = (SecurityGroupId::from_bits(group), SecurityGroupRuleId::from_bits(rule));
    (step.security_group_id, step.security_group_rule_id) = (Some(group), Some(rule));
    let tracked = if untracked {
        "; the connection is not tracked"
    } else {
        ""
    };
    let declared = state.network.group(group).ok();
    match declared.and_then(|group| Some((group, group.rule(rule)?))) {
        Some((group, declared)) => {
            format!(
                "{word} rule {rule} of security group {} allows it: {declared}{tracked}",
                called(group)
            )
        }
        None => format!("{word} rule {rule} of security group {group} allows it{tracked}"),
    }
}

/// The entry that decides about a packet.
pub(super) fn entry(
    state: &State,
    step: &mut Step,
    direction: Direction,
    entry: Option<RuleName>,
    allows: bool,
) -> String {
    let word = direction.adjective();
    let Some(RuleName::NetworkAcl { acl, number }) = entry else {
        return format!("no {word} entry of the network ACL matches it, which denies it");
    };
    let acl = NetworkAclId::from_bits(acl);
    (step.network_acl_id, step.rule_number) = (Some(acl), Some(number));
    let verb = if allows { "allows" } else { "denies" };
    let record = state.network.network_acl_record(&acl.into()).ok();
    let declared = record.and_then(|record| record.entries(direction).find(|(known, _)| *known == number));
    let what = declared.map_or_else(String::new, |(_, entry)| format!(": {}", in_words(&entry, direction)));
    format!("{word} entry {number} of network ACL {acl} {verb} it{what}")
}

fn in_words(entry: &AclEntry, direction: Direction) -> String {
    let way = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    format!("{} {way} {}", entry.traffic, entry.cidr)
}
