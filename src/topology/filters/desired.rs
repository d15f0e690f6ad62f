//! Checks the security groups, network ACLs and prefix lists of a file, and turns them into a layout.

use std::collections::BTreeMap;

use serde_saphyr::{Location, Spanned};

use super::{
    NetworkAcl, Peer, PrefixList, Rule, SecurityGroup, default_of, everything_out, everything_through, vpc_of_default,
};
use crate::file::diagnostic::Mistake;
use crate::model::endpoint::GatewayService;
use crate::model::network_acl::{AclEntry, EntryForm};
use crate::model::prefix_list::AddressFamily;
use crate::model::security_group::{PeerRef, RuleForm};
use crate::topology::format::{NetworkAclTopology, PrefixListTopology, SecurityGroupTopology, Topology};
use crate::topology::layout::{Label, Layout};

/// The label of the group that a name means to a resource of a VPC.
fn group_label(topology: &Topology, vpc: &str, name: &str) -> Option<Label> {
    if name == crate::model::security_group::DEFAULT_GROUP {
        return Some(default_of(vpc));
    }
    let default = vpc_of_default(name).is_some_and(|vpc| topology.vpcs.contains_key(vpc));
    (default || topology.security_groups.contains_key(name)).then(|| name.to_owned())
}

/// The VPC of a group or an ACL: the one that it names, or the one whose default it is.
fn vpc_of<'t>(label: &'t str, named: Option<&'t Spanned<String>>) -> Option<&'t str> {
    vpc_of_default(label).or(named.map(|vpc| vpc.value.as_str()))
}

fn vpc_of_subnet<'t>(topology: &'t Topology, subnet: &str) -> Option<&'t str> {
    topology
        .subnets
        .get(subnet)
        .map(|subnet| subnet.value.vpc.value.as_str())
}

fn has_ipv6(topology: &Topology, vpc: &str) -> bool {
    let vpc = topology.vpcs.get(vpc);
    vpc.is_some_and(|vpc| !vpc.value.ipv6_cidr_blocks.is_empty())
}

/// Adds what a topology says of them to a layout. The file was checked.
pub(in crate::topology) fn resolve(topology: &Topology, layout: &mut Layout) {
    for (label, list) in &topology.prefix_lists {
        layout
            .prefix_lists
            .insert(label.clone(), prefix_list(label, &list.value));
    }
    for (label, group) in &topology.security_groups {
        let group = security_group(topology, label, &group.value);
        layout.security_groups.insert(label.clone(), group);
    }
    for (label, acl) in &topology.network_acls {
        let acl = network_acl(topology, label, &acl.value);
        layout.network_acls.insert(label.clone(), acl);
    }
    for (label, _, fields) in topology.network_interfaces() {
        let vpc = vpc_of_subnet(topology, &fields.subnet.value).unwrap_or_default();
        let groups = fields.groups.iter().flatten();
        let mut groups: Vec<Label> = groups
            .filter_map(|name| group_label(topology, vpc, &name.value))
            .collect();
        // An interface that names no group has the default one, too.
        if groups == [default_of(vpc)] {
            groups.clear();
        }
        if let Some(interface) = layout.interfaces.get_mut(label) {
            interface.groups = groups;
        }
    }
}

fn prefix_list(label: &str, fields: &PrefixListTopology) -> PrefixList {
    let entries = fields.entries.iter();
    let entries: BTreeMap<_, _> = entries
        .map(|entry| (entry.cidr.value.trunc(), entry.description.clone()))
        .collect();
    let first = entries.keys().next().map(|net| AddressFamily::of(*net));
    PrefixList {
        list_name: Some(fields.list_name.clone().unwrap_or_else(|| label.to_owned())),
        family: fields.family.or(first).unwrap_or(AddressFamily::Ipv4),
        max_entries: fields.max_entries,
        entries,
        tags: fields.tags.clone(),
    }
}

fn security_group(topology: &Topology, label: &str, fields: &SecurityGroupTopology) -> SecurityGroup {
    let vpc = vpc_of(label, fields.vpc.as_ref()).unwrap_or_default();
    let ipv6 = has_ipv6(topology, vpc);
    let made = SecurityGroup::made_with(vpc, ipv6);
    let default = vpc_of_default(label).is_some();
    let rules = |forms: &[Spanned<RuleForm>]| -> BTreeMap<Rule, Option<String>> {
        let rules = forms.iter().filter_map(|form| {
            let traffic = form.value.traffic().ok()?;
            let peer = match form.value.peer().ok()? {
                PeerRef::Cidr(net) => Peer::Cidr(net.trunc()),
                PeerRef::PrefixList(list) => Peer::PrefixList(list_label(&list.to_string())),
                PeerRef::Group(group) => Peer::Group(group_label(topology, vpc, &group.to_string())?),
            };
            let description = form.value.description.clone().filter(|text| !text.is_empty());
            Some((Rule { traffic, peer }, description))
        });
        rules.collect()
    };
    SecurityGroup {
        vpc: vpc.to_owned(),
        group_name: (!default).then(|| fields.group_name.clone().unwrap_or_else(|| label.to_owned())),
        description: fields.description.clone(),
        ingress: match &fields.ingress {
            Some(forms) => rules(forms),
            None if default => made.ingress,
            None => BTreeMap::new(),
        },
        egress: match &fields.egress {
            Some(forms) => rules(forms),
            None => everything_out(ipv6),
        },
        tags: fields.tags.clone(),
    }
}

fn network_acl(topology: &Topology, label: &str, fields: &NetworkAclTopology) -> NetworkAcl {
    let vpc = vpc_of(label, fields.vpc.as_ref()).unwrap_or_default();
    let default = vpc_of_default(label).is_some();
    let entries = |forms: &Option<Vec<Spanned<EntryForm>>>| -> BTreeMap<u16, AclEntry> {
        match forms {
            None if default => everything_through(has_ipv6(topology, vpc)),
            forms => {
                let forms = forms.iter().flatten();
                let entries = forms.filter_map(|form| Some((form.value.number, form.value.entry().ok()?)));
                entries.collect()
            }
        }
    };
    NetworkAcl {
        vpc: vpc.to_owned(),
        subnets: fields.subnets.iter().map(|subnet| subnet.value.clone()).collect(),
        ingress: entries(&fields.ingress),
        egress: entries(&fields.egress),
        tags: fields.tags.clone(),
    }
}

/// All mistakes in them.
pub(in crate::topology) fn check(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    for (label, group) in &topology.security_groups {
        let fields = &group.value;
        check_vpc(topology, label, fields.vpc.as_ref(), group.referenced, mistakes);
        if vpc_of_default(label).is_some() && (fields.group_name.is_some() || fields.description.is_some()) {
            let message = "the default group of a VPC keeps its name and its description";
            mistakes.push(Mistake::at(group.referenced, message).help("leave out `group_name` and `description`"));
        }
        let vpc = vpc_of(label, fields.vpc.as_ref()).unwrap_or_default();
        for form in fields.ingress.iter().chain(&fields.egress).flatten() {
            check_rule(topology, vpc, form, mistakes);
        }
    }
    let mut led: BTreeMap<&str, u64> = BTreeMap::new();
    for (label, acl) in &topology.network_acls {
        let fields = &acl.value;
        check_vpc(topology, label, fields.vpc.as_ref(), acl.referenced, mistakes);
        let vpc = vpc_of(label, fields.vpc.as_ref()).unwrap_or_default();
        for subnet in &fields.subnets {
            if vpc_of_default(label).is_some() {
                let message = "every subnet that no other network ACL names has the default one";
                mistakes.push(Mistake::at(subnet.referenced, message).help("leave out `subnets`"));
                continue;
            }
            match vpc_of_subnet(topology, &subnet.value) {
                Some(own) if own == vpc => {
                    if let Some(line) = led.insert(&subnet.value, subnet.referenced.line()) {
                        let message = format!("subnet `{}` has a network ACL already in line {line}", subnet.value);
                        mistakes.push(Mistake::at(subnet.referenced, message));
                    }
                }
                Some(_) => {
                    let message = format!("subnet `{}` is not in VPC `{vpc}`", subnet.value);
                    mistakes.push(Mistake::at(subnet.referenced, message));
                }
                None => {
                    let known = topology.subnets.keys().map(String::as_str);
                    let message = format!("no subnet is called `{}`", subnet.value);
                    mistakes.push(Mistake::at(subnet.referenced, message).nearest(&subnet.value, known));
                }
            }
        }
        for entries in [&fields.ingress, &fields.egress] {
            let mut numbers: BTreeMap<u16, u64> = BTreeMap::new();
            for form in entries.iter().flatten() {
                if let Err(error) = form.value.entry() {
                    mistakes.push(Mistake::at(form.referenced, error.to_string()).help(error.remedy()));
                }
                if let Some(line) = numbers.insert(form.value.number, form.referenced.line()) {
                    let message = format!("entry {} is given already in line {line}", form.value.number);
                    mistakes.push(Mistake::at(form.referenced, message));
                }
            }
        }
    }
    for list in topology.prefix_lists.values() {
        check_list(list, mistakes);
    }
    for (_, _, fields) in topology.network_interfaces() {
        let vpc = vpc_of_subnet(topology, &fields.subnet.value).unwrap_or_default();
        if fields.groups.as_ref().is_some_and(Vec::is_empty) {
            let message = "an interface has at least one security group";
            mistakes
                .push(Mistake::at(fields.subnet.referenced, message).help("leave `groups` out for the default one"));
        }
        for name in fields.groups.iter().flatten() {
            check_group(topology, vpc, &name.value, name.referenced, mistakes);
        }
    }
}

fn check_vpc(
    topology: &Topology,
    label: &str,
    named: Option<&Spanned<String>>,
    place: Location,
    mistakes: &mut Vec<Mistake>,
) {
    let known = || topology.vpcs.keys().map(String::as_str);
    match (vpc_of_default(label), named) {
        (Some(vpc), _) if !topology.vpcs.contains_key(vpc) => {
            mistakes.push(Mistake::at(place, format!("no VPC is called `{vpc}`")).nearest(vpc, known()));
        }
        (Some(vpc), Some(named)) if named.value != vpc => {
            let message = format!("`{label}` is what VPC `{vpc}` is made with");
            mistakes.push(Mistake::at(named.referenced, message).help("leave out `vpc`"));
        }
        (None, Some(named)) if !topology.vpcs.contains_key(&named.value) => {
            let message = format!("no VPC is called `{}`", named.value);
            mistakes.push(Mistake::at(named.referenced, message).nearest(&named.value, known()));
        }
        (None, None) => mistakes.push(Mistake::at(place, "`vpc` is missing").help("name the VPC that it is part of")),
        _ => {}
    }
}

fn check_group(topology: &Topology, vpc: &str, name: &str, place: Location, mistakes: &mut Vec<Mistake>) {
    let Some(label) = group_label(topology, vpc, name) else {
        let known = topology.security_groups.keys().map(String::as_str);
        let message = format!("no security group is called `{name}`");
        mistakes.push(Mistake::at(place, message).nearest(name, known.chain(["default"])));
        return;
    };
    let own = topology
        .security_groups
        .get(&label)
        .and_then(|group| group.value.vpc.as_ref());
    if vpc_of(&label, own).is_some_and(|own| own != vpc) {
        mistakes.push(Mistake::at(
            place,
            format!("security group `{name}` is not in VPC `{vpc}`"),
        ));
    }
}

fn check_rule(topology: &Topology, vpc: &str, form: &Spanned<RuleForm>, mistakes: &mut Vec<Mistake>) {
    if let Err(error) = form.value.traffic() {
        mistakes.push(Mistake::at(form.referenced, error.to_string()).help(error.remedy()));
    }
    match form.value.peer() {
        Ok(PeerRef::Group(group)) => check_group(topology, vpc, &group.to_string(), form.referenced, mistakes),
        Ok(PeerRef::PrefixList(list))
            if !topology.prefix_lists.contains_key(&list.to_string())
                && GatewayService::of_list(&list.to_string()).is_none() =>
        {
            let name = list.to_string();
            let known = topology.prefix_lists.keys().map(String::as_str);
            let message = format!("no prefix list is called `{name}`");
            mistakes.push(Mistake::at(form.referenced, message).nearest(&name, known));
        }
        Ok(_) => {}
        Err(error) => mistakes.push(Mistake::at(form.referenced, error.to_string()).help(error.remedy())),
    }
}

/// The label of a prefix list. That of a service is its identifier, which does not depend on the region as its name does.
fn list_label(list: &str) -> Label {
    GatewayService::of_list(list).map_or_else(|| list.to_owned(), |service| service.prefix_list().to_string())
}

fn check_list(list: &Spanned<PrefixListTopology>, mistakes: &mut Vec<Mistake>) {
    let fields = &list.value;
    let first = fields.entries.first().map(|entry| AddressFamily::of(entry.cidr.value));
    let Some(family) = fields.family.or(first) else {
        let message = "a prefix list needs an entry, or `family`";
        mistakes.push(Mistake::at(list.referenced, message).help("write `family: IPv4` or `family: IPv6`"));
        return;
    };
    for entry in &fields.entries {
        if AddressFamily::of(entry.cidr.value) != family {
            let message = format!("{} is not an address block of {family}", entry.cidr.value);
            mistakes.push(Mistake::at(entry.cidr.referenced, message).help("a prefix list is of one family"));
        }
    }
}
