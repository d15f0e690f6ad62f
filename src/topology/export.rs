//! Writes a layout as a file that would create it: names in order, without fields that have their default.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::block::export_block;
use super::edge::export_edge;
use super::endpoints::export_endpoints;
use super::filters;
use super::flow_logs::export_flow_logs;
use super::layout::{Instance, Interface, Layout, OptionSet, OptionsChoice, RouteTable, Subnet, Vpc};
use super::links::export_links;
use super::nat::export_nats;
use crate::lab::ApiAccess;
use crate::model::dhcp_options::DhcpOptionsChoice;
use crate::model::metadata::InstanceMetadata;
use crate::model::naming::Tags;
use crate::model::profile::ProfileSpec;
use crate::topology::format::{Configure, LinkLocal, outside_subnet};

/// The file, as the JSON value that it could also be.
pub fn export(layout: &Layout) -> Value {
    let mut file = Map::new();
    let sets = layout.dhcp_options.iter();
    let sets = sets.map(|(label, set)| (label.clone(), option_set(set))).collect();
    put(&mut file, "dhcp_options", sets);
    file.insert("vpcs".to_owned(), mapping(&layout.vpcs, vpc));
    file.insert("subnets".to_owned(), mapping(&layout.subnets, subnet));
    let hosted: BTreeSet<&String> = layout.instances.values().map(|host| &host.interface).collect();
    let bare = layout
        .interfaces
        .iter()
        .filter(|(label, fields)| !hosted.contains(label) && fields.subnet != outside_subnet());
    let bare = bare
        .map(|(label, fields)| (label.clone(), Value::Object(interface(fields))))
        .collect();
    put(&mut file, "interfaces", bare);
    let hosts = layout.instances.iter().filter_map(|(name, host)| {
        // A host whose interface was deleted is not part of a network.
        let fields = interface(layout.interfaces.get(&host.interface)?);
        Some((name.clone(), instance(name, host, fields)))
    });
    let (outside, hosts): (Map<_, _>, Map<_, _>) = hosts.partition(|(_, host)| host["subnet"] == outside_subnet());
    put(&mut file, "instances", hosts);
    put(&mut file, "outside", outside.into_iter().map(outside_host).collect());
    export_edge(layout, &mut file);
    export_flow_logs(layout, &mut file);
    export_nats(layout, &mut file);
    export_links(layout, &mut file);
    export_endpoints(layout, &mut file);
    export_block(layout, &mut file);
    let tables = layout
        .route_tables
        .iter()
        .filter(|(label, table)| !table.is_untouched(label));
    let tables = tables
        .map(|(label, table)| (label.clone(), route_table(table)))
        .collect();
    put(&mut file, "route_tables", tables);
    put_filters(&mut file, layout);
    Value::Object(file)
}

/// A host of the outside has no field that says where it is, nor one that it has in common with all of them.
fn outside_host((name, mut host): (String, Value)) -> (String, Value) {
    if let Value::Object(fields) = &mut host {
        for field in ["subnet", "mac", "api"] {
            fields.remove(field);
        }
    }
    (name, host)
}

fn put_filters(file: &mut Map<String, Value>, layout: &Layout) {
    let lists = layout.prefix_lists.iter();
    let lists = lists.map(|(label, list)| (label.clone(), filters::prefix_list(label, list)));
    put(file, "prefix_lists", lists.collect());
    let groups = layout.security_groups.iter();
    let groups = groups.filter(|(label, group)| !group.is_untouched(label, layout.has_ipv6(&group.vpc)));
    let groups = groups.map(|(label, group)| {
        (
            label.clone(),
            filters::security_group(label, group, layout.has_ipv6(&group.vpc)),
        )
    });
    put(file, "security_groups", groups.collect());
    let acls = layout.network_acls.iter();
    let acls = acls.filter(|(label, acl)| !acl.is_untouched(label, layout.has_ipv6(&acl.vpc)));
    let acls = acls.map(|(label, acl)| (label.clone(), filters::network_acl(label, acl)));
    put(file, "network_acls", acls.collect());
}

/// A file as YAML.
pub fn yaml(file: &Value) -> String {
    serde_saphyr::to_string(file).unwrap_or_else(|error| unreachable!("a file is plain data: {error}"))
}

fn mapping<T>(all: &BTreeMap<String, T>, write: impl Fn(&T) -> Value) -> Value {
    Value::Object(
        all.iter()
            .map(|(label, fields)| (label.clone(), write(fields)))
            .collect(),
    )
}

pub(super) fn put(file: &mut Map<String, Value>, key: &str, entries: Map<String, Value>) {
    if !entries.is_empty() {
        file.insert(key.to_owned(), Value::Object(entries));
    }
}

/// The options that are set.
fn option_set(set: &OptionSet) -> Value {
    let Value::Object(options) = json!(set.options) else {
        unreachable!("options are fields");
    };
    let given = |field: &Value| !field.is_null() && field.as_array().is_none_or(|list| !list.is_empty());
    let mut fields: Map<String, Value> = options.into_iter().filter(|(_, field)| given(field)).collect();
    put_tags(&mut fields, &set.tags);
    Value::Object(fields)
}

pub(super) fn put_tags(fields: &mut Map<String, Value>, tags: &Tags) {
    if !tags.is_empty() {
        fields.insert("tags".to_owned(), json!(tags));
    }
}

fn vpc(vpc: &Vpc) -> Value {
    let mut fields = Map::new();
    fields.insert("cidr_blocks".to_owned(), json!(vpc.cidr_blocks));
    if !vpc.ipv6_cidr_blocks.is_empty() {
        fields.insert("ipv6_cidr_blocks".to_owned(), json!(vpc.ipv6_cidr_blocks));
    }
    fields.insert("profile".to_owned(), json!(ProfileSpec::of(&vpc.profile)));
    match &vpc.dhcp_options {
        OptionsChoice::Region => {}
        OptionsChoice::None => drop(fields.insert("dhcp_options".to_owned(), json!(DhcpOptionsChoice::NONE))),
        OptionsChoice::Set(label) => drop(fields.insert("dhcp_options".to_owned(), json!(label))),
    }
    put_tags(&mut fields, &vpc.tags);
    Value::Object(fields)
}

fn subnet(subnet: &Subnet) -> Value {
    let mut fields = Map::new();
    fields.insert("vpc".to_owned(), json!(subnet.vpc));
    for (name, value) in [
        ("cidr_block", json!(subnet.cidr_block)),
        ("ipv6_cidr_block", json!(subnet.ipv6_cidr_block)),
        ("availability_zone", json!(subnet.availability_zone)),
        ("router_mac", json!(subnet.router_mac)),
    ] {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    }
    if subnet.map_public_ip_on_launch {
        fields.insert("map_public_ip_on_launch".to_owned(), json!(true));
    }
    if subnet.enable_dns64 {
        fields.insert("enable_dns64".to_owned(), json!(true));
    }
    put_tags(&mut fields, &subnet.tags);
    Value::Object(fields)
}

fn interface(interface: &Interface) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("subnet".to_owned(), json!(interface.subnet));
    for (name, value) in [
        ("mac", json!(interface.mac)),
        // A subnet without IPv4 has no such list, and in one with IPv4 an interface always has an address.
        ("ipv4", json!(interface.ipv4.as_ref().filter(|list| !list.is_empty()))),
        // An empty list means that no address is to be chosen.
        ("ipv6", json!(interface.ipv6)),
        ("mtu", json!(interface.mtu)),
        ("attached_to", json!(interface.attached_to)),
    ] {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    }
    if !interface.prefixes.is_empty() {
        fields.insert("prefixes".to_owned(), json!(interface.prefixes));
    }
    if !interface.groups.is_empty() {
        fields.insert("groups".to_owned(), json!(interface.groups));
    }
    if !interface.source_dest_check {
        fields.insert("source_dest_check".to_owned(), json!(false));
    }
    if let Some(allowances) = interface.allowances {
        fields.insert("allowances".to_owned(), json!(allowances));
    }
    if let Some(tracking) = interface.tracking {
        fields.insert("tracking".to_owned(), json!(tracking));
    }
    if !interface.ntp_skew.is_zero() {
        fields.insert("ntp_skew".to_owned(), json!(interface.ntp_skew));
    }
    let metadata = metadata(&interface.metadata);
    if !metadata.is_empty() {
        fields.insert("metadata".to_owned(), Value::Object(metadata));
    }
    if !interface.description.is_empty() {
        fields.insert("description".to_owned(), json!(interface.description));
    }
    put_tags(&mut fields, &interface.tags);
    fields
}

/// The fields that differ from the default.
fn metadata(metadata: &InstanceMetadata) -> Map<String, Value> {
    let fields = |metadata: &InstanceMetadata| match json!(metadata) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let default = fields(&InstanceMetadata::default());
    let given = fields(metadata).into_iter();
    given.filter(|(name, value)| default.get(name) != Some(value)).collect()
}

fn instance(name: &str, host: &Instance, mut fields: Map<String, Value>) -> Value {
    if host.interface != name {
        fields.insert("interface".to_owned(), json!(host.interface));
    }
    if host.configure != Configure::default() {
        fields.insert("configure".to_owned(), json!(host.configure));
    }
    if host.link_local != LinkLocal::default() {
        fields.insert("link_local".to_owned(), json!(host.link_local));
    }
    if host.api != ApiAccess::default() {
        fields.insert("api".to_owned(), json!(host.api));
    }
    for (name, on) in [("accept_ra", host.accept_ra), ("dad", host.dad)] {
        if !on {
            fields.insert(name.to_owned(), json!(false));
        }
    }
    Value::Object(fields)
}

fn route_table(table: &RouteTable) -> Value {
    let mut fields = Map::new();
    fields.insert("vpc".to_owned(), json!(table.vpc));
    if table.main {
        fields.insert("main".to_owned(), json!(true));
    }
    if !table.subnets.is_empty() {
        fields.insert("subnets".to_owned(), json!(table.subnets));
    }
    if !table.gateways.is_empty() {
        fields.insert("gateways".to_owned(), json!(table.gateways));
    }
    if !table.routes.is_empty() {
        let routes = table.routes.iter();
        let routes = routes.map(|(to, target)| json!({ "to": to, "via": target.to_string() }));
        fields.insert("routes".to_owned(), routes.collect());
    }
    put_tags(&mut fields, &table.tags);
    Value::Object(fields)
}
