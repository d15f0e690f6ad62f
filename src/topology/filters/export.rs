//! Writes security groups, network ACLs and prefix lists as the file that they could be made from.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{NetworkAcl, Peer, PrefixList, Rule, SecurityGroup, everything_out, vpc_of_default};
use crate::model::ids::ResourceRef;
use crate::model::network_acl::{AclEntry, EntryForm};
use crate::model::prefix_list::AddressFamily;
use crate::model::security_group::RuleForm;
use crate::model::traffic::Traffic;

fn form(rule: &Rule, description: Option<&String>) -> RuleForm {
    let messages = rule.traffic.messages();
    let mut form = RuleForm {
        protocol: rule.traffic.protocol(),
        ports: match rule.traffic {
            Traffic::Tcp(ports) | Traffic::Udp(ports) => Some(ports),
            _ => None,
        },
        icmp_type: messages.and_then(|messages| messages.kind()),
        icmp_code: messages.and_then(|messages| messages.code()),
        cidr: None,
        prefix_list: None,
        group: None,
        description: description.cloned(),
    };
    match &rule.peer {
        Peer::Cidr(net) => form.cidr = Some(*net),
        Peer::PrefixList(label) => form.prefix_list = Some(ResourceRef::new(label)),
        Peer::Group(label) => form.group = Some(ResourceRef::new(label)),
    }
    form
}

fn rules(rules: &BTreeMap<Rule, Option<String>>) -> Value {
    let rules = rules.iter();
    json!(rules.map(|(rule, text)| form(rule, text.as_ref())).collect::<Vec<_>>())
}

fn put_tags(fields: &mut Map<String, Value>, tags: &crate::model::naming::Tags) {
    if !tags.is_empty() {
        fields.insert("tags".to_owned(), json!(tags));
    }
}

/// A security group; `ipv6` says whether its VPC has IPv6.
pub(in crate::topology) fn security_group(label: &str, group: &SecurityGroup, ipv6: bool) -> Value {
    let mut fields = Map::new();
    if vpc_of_default(label).is_none() {
        fields.insert("vpc".to_owned(), json!(group.vpc));
        if let Some(name) = group.group_name.as_ref().filter(|name| *name != label) {
            fields.insert("group_name".to_owned(), json!(name));
        }
        if let Some(text) = group
            .description
            .as_ref()
            .filter(|text| Some(*text) != group.group_name.as_ref())
        {
            fields.insert("description".to_owned(), json!(text));
        }
    }
    if !group.ingress.is_empty() || vpc_of_default(label).is_some() {
        fields.insert("ingress".to_owned(), rules(&group.ingress));
    }
    if group.egress != everything_out(ipv6) {
        fields.insert("egress".to_owned(), rules(&group.egress));
    }
    put_tags(&mut fields, &group.tags);
    Value::Object(fields)
}

/// A network ACL.
pub(in crate::topology) fn network_acl(label: &str, acl: &NetworkAcl) -> Value {
    let mut fields = Map::new();
    if vpc_of_default(label).is_none() {
        fields.insert("vpc".to_owned(), json!(acl.vpc));
    }
    if !acl.subnets.is_empty() {
        fields.insert("subnets".to_owned(), json!(acl.subnets));
    }
    let forms = |entries: &BTreeMap<u16, AclEntry>| -> Vec<EntryForm> {
        let entries = entries.iter();
        entries.map(|(number, entry)| EntryForm::of(*number, entry)).collect()
    };
    fields.insert("ingress".to_owned(), json!(forms(&acl.ingress)));
    fields.insert("egress".to_owned(), json!(forms(&acl.egress)));
    put_tags(&mut fields, &acl.tags);
    Value::Object(fields)
}

/// A prefix list.
pub(in crate::topology) fn prefix_list(label: &str, list: &PrefixList) -> Value {
    let mut fields = Map::new();
    if let Some(name) = list.list_name.as_ref().filter(|name| *name != label) {
        fields.insert("list_name".to_owned(), json!(name));
    }
    if list.entries.is_empty() || list.family == AddressFamily::Ipv6 {
        fields.insert("family".to_owned(), json!(list.family));
    }
    fields.insert("max_entries".to_owned(), json!(list.max_entries));
    let entries = list.entries.iter().map(|(net, text)| match text.is_empty() {
        true => json!({ "cidr": net }),
        false => json!({ "cidr": net, "description": text }),
    });
    fields.insert("entries".to_owned(), entries.collect());
    put_tags(&mut fields, &list.tags);
    Value::Object(fields)
}
