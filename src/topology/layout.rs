//! Represents a network as a file does: the resources of each kind by name, and references by name. A resource without
//! a name is listed under its identifier.
//!
//! Both the desired and the running network have this form. A field that is `None` in the desired layout is left to the
//! network: any value is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::block::BlockPublicAccess;
use super::edge::{ElasticIp, InternetGateway};
use super::endpoints::Endpoint;
use super::filters::{NetworkAcl, PrefixList, SecurityGroup};
use super::flow_logs::FlowLog;
use super::links::{EgressOnlyGateway, Peering};
use super::made_with::MadeWith;
use super::nat::NatGateway;
use crate::lab::ApiAccess;
use crate::model::dhcp_options::{DhcpOptions, DhcpOptionsChoice};
use crate::model::duration::Skew;
use crate::model::interface::{Allowances, TrackingTimeouts};
use crate::model::metadata::InstanceMetadata;
use crate::model::naming::Tags;
use crate::model::profile::ProfileSpec;
use crate::model::{AddressOrPrefix, Profile};
use crate::topology::format::{Configure, LinkLocal};
use crate::wire::MacAddr;

/// A name, or the identifier of a resource without one.
pub type Label = String;

/// The kinds of resources in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = TopologyKind)]
pub enum Kind {
    /// A DHCP option set.
    DhcpOptions,
    /// A VPC.
    Vpc,
    /// A subnet.
    Subnet,
    /// A prefix list.
    PrefixList,
    /// A security group.
    SecurityGroup,
    /// A network ACL.
    NetworkAcl,
    /// A network interface.
    Interface,
    /// A route table.
    RouteTable,
    /// An internet gateway.
    InternetGateway,
    /// An Elastic IP address.
    ElasticIp,
    /// A flow log.
    FlowLog,
    /// A NAT gateway.
    NatGateway,
    /// An egress-only internet gateway.
    EgressOnlyGateway,
    /// A peering connection.
    Peering,
    /// A gateway endpoint.
    Endpoint,
    /// What is blocked of the outside.
    BlockPublicAccess,
    /// A host of the lab.
    Instance,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DhcpOptions => "DHCP option set",
            Self::Vpc => "VPC",
            Self::Subnet => "subnet",
            Self::PrefixList => "prefix list",
            Self::SecurityGroup => "security group",
            Self::NetworkAcl => "network ACL",
            Self::Interface => "network interface",
            Self::RouteTable => "route table",
            Self::InternetGateway => "internet gateway",
            Self::ElasticIp => "Elastic IP address",
            Self::FlowLog => "flow log",
            Self::NatGateway => "NAT gateway",
            Self::EgressOnlyGateway => "egress-only internet gateway",
            Self::Peering => "peering connection",
            Self::Endpoint => "gateway endpoint",
            Self::BlockPublicAccess => "block public access",
            Self::Instance => "instance",
        })
    }
}

/// A whole network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// DHCP option sets, except for the region's.
    pub dhcp_options: BTreeMap<Label, OptionSet>,
    /// VPCs.
    pub vpcs: BTreeMap<Label, Vpc>,
    /// Subnets.
    pub subnets: BTreeMap<Label, Subnet>,
    /// Prefix lists.
    pub prefix_lists: BTreeMap<Label, PrefixList>,
    /// Security groups; of what runs, the default ones included.
    pub security_groups: BTreeMap<Label, SecurityGroup>,
    /// Network ACLs; of what runs, the default ones included.
    pub network_acls: BTreeMap<Label, NetworkAcl>,
    /// Network interfaces, those of instances included.
    pub interfaces: BTreeMap<Label, Interface>,
    /// Route tables; in the running layout including the main ones.
    pub route_tables: BTreeMap<Label, RouteTable>,
    /// Internet gateways.
    pub internet_gateways: BTreeMap<Label, InternetGateway>,
    /// Elastic IP addresses.
    pub elastic_ips: BTreeMap<Label, ElasticIp>,
    /// Flow logs.
    pub flow_logs: BTreeMap<Label, FlowLog>,
    /// NAT gateways.
    pub nat_gateways: BTreeMap<Label, NatGateway>,
    /// Egress-only internet gateways.
    pub egress_only_gateways: BTreeMap<Label, EgressOnlyGateway>,
    /// Peering connections.
    pub peerings: BTreeMap<Label, Peering>,
    /// Gateway endpoints.
    pub endpoints: BTreeMap<Label, Endpoint>,
    /// What is blocked of the outside: one at the most.
    pub blocked: BTreeMap<Label, BlockPublicAccess>,
    /// Hosts of the lab.
    pub instances: BTreeMap<Label, Instance>,
    /// What new resources are made with, of a layout that is desired.
    pub made_with: MadeWith,
}

impl Layout {
    /// Whether a VPC has an IPv6 block.
    pub(super) fn has_ipv6(&self, vpc: &str) -> bool {
        self.vpcs.get(vpc).is_some_and(|vpc| !vpc.ipv6_cidr_blocks.is_empty())
    }

    /// The layout without the resources that `named` contains.
    pub(super) fn without(&self, named: &Self) -> Self {
        fn others<T: Clone>(all: &BTreeMap<Label, T>, named: &BTreeMap<Label, T>) -> BTreeMap<Label, T> {
            let others = all.iter().filter(|(label, _)| !named.contains_key(*label));
            others.map(|(label, one)| (label.clone(), one.clone())).collect()
        }
        Self {
            dhcp_options: others(&self.dhcp_options, &named.dhcp_options),
            vpcs: others(&self.vpcs, &named.vpcs),
            subnets: others(&self.subnets, &named.subnets),
            prefix_lists: others(&self.prefix_lists, &named.prefix_lists),
            security_groups: others(&self.security_groups, &named.security_groups),
            network_acls: others(&self.network_acls, &named.network_acls),
            interfaces: others(&self.interfaces, &named.interfaces),
            route_tables: others(&self.route_tables, &named.route_tables),
            internet_gateways: others(&self.internet_gateways, &named.internet_gateways),
            elastic_ips: others(&self.elastic_ips, &named.elastic_ips),
            flow_logs: others(&self.flow_logs, &named.flow_logs),
            nat_gateways: others(&self.nat_gateways, &named.nat_gateways),
            egress_only_gateways: others(&self.egress_only_gateways, &named.egress_only_gateways),
            peerings: others(&self.peerings, &named.peerings),
            endpoints: others(&self.endpoints, &named.endpoints),
            blocked: others(&self.blocked, &named.blocked),
            instances: others(&self.instances, &named.instances),
            made_with: MadeWith::default(),
        }
    }
}

/// A DHCP option set. It is immutable: a set with other options is another set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionSet {
    /// Its options.
    pub options: DhcpOptions,
    /// Tags.
    pub tags: Tags,
}

/// The DHCP options of a VPC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OptionsChoice {
    /// The region's set.
    #[default]
    Region,
    /// No options.
    None,
    /// This set.
    Set(Label),
}

/// A VPC.
#[derive(Debug, Clone, PartialEq)]
pub struct Vpc {
    /// IPv4 blocks, the primary one first.
    pub cidr_blocks: Vec<Ipv4Net>,
    /// IPv6 blocks.
    pub ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// Its profile.
    pub profile: Arc<Profile>,
    /// Its DHCP options.
    pub dhcp_options: OptionsChoice,
    /// Tags.
    pub tags: Tags,
}

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnet {
    /// Its VPC.
    pub vpc: Label,
    /// Its IPv4 block.
    pub cidr_block: Option<Ipv4Net>,
    /// Its IPv6 block.
    pub ipv6_cidr_block: Option<Ipv6Net>,
    /// Its availability zone.
    pub availability_zone: Option<String>,
    /// Its router's MAC.
    pub router_mac: Option<MacAddr>,
    /// Whether an instance that is launched here is given a public IPv4 address.
    pub map_public_ip_on_launch: bool,
    /// Whether its hosts get IPv6 addresses for names that have IPv4 addresses alone.
    pub enable_dns64: bool,
    /// Tags.
    pub tags: Tags,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its subnet.
    pub subnet: Label,
    /// Its MAC.
    pub mac: Option<MacAddr>,
    /// IPv4 addresses, the primary one first.
    pub ipv4: Option<Vec<Ipv4Addr>>,
    /// IPv6 addresses. The first is the one that DHCPv6 leases.
    pub ipv6: Option<Vec<Ipv6Addr>>,
    /// Delegated prefixes.
    pub prefixes: Vec<AddressOrPrefix>,
    /// The source/destination check.
    pub source_dest_check: bool,
    /// Its security groups; the default one of its VPC if none is named.
    pub groups: Vec<Label>,
    /// Its MTU; the profile's if none.
    pub mtu: Option<u16>,
    /// Skew of the time served to its host, in milliseconds.
    pub ntp_skew: Skew,
    /// Its allowances; none for no limit.
    pub allowances: Option<Allowances>,
    /// How long its idle connections are tracked; as the profile says if none.
    pub tracking: Option<TrackingTimeouts>,
    /// The metadata of its host.
    pub metadata: InstanceMetadata,
    /// The instance that it is attached to as a further interface.
    pub attached_to: Option<Label>,
    /// Free text.
    pub description: String,
    /// Tags.
    pub tags: Tags,
}

impl Default for Interface {
    fn default() -> Self {
        Self {
            subnet: Label::new(),
            mac: None,
            ipv4: None,
            ipv6: None,
            prefixes: Vec::new(),
            source_dest_check: true,
            groups: Vec::new(),
            mtu: None,
            ntp_skew: Skew::default(),
            allowances: None,
            tracking: None,
            metadata: InstanceMetadata::default(),
            attached_to: None,
            description: String::new(),
            tags: Tags::new(),
        }
    }
}

/// The target of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The owner of the destination address in the VPC.
    Local,
    /// None; also of a route whose interface was deleted.
    Blackhole,
    /// This interface.
    Interface(Label),
    /// This gateway, of a kind of gateways.
    Gateway(Kind, Label),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Blackhole => "blackhole",
            Self::Interface(label) | Self::Gateway(_, label) => label,
        })
    }
}

/// A route table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// Its VPC.
    pub vpc: Label,
    /// Whether it is the VPC's main one.
    pub main: bool,
    /// The subnets that are associated with it.
    pub subnets: BTreeSet<Label>,
    /// The internet gateways that are associated with it.
    pub gateways: BTreeSet<Label>,
    /// Its routes, except for the local ones of the VPC's ranges.
    pub routes: BTreeMap<IpNet, Target>,
    /// Tags.
    pub tags: Tags,
}

/// A host, and how it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// The interface of its `eth0`.
    pub interface: Label,
    /// How it gets its addresses.
    pub configure: Configure,
    /// How it generates its link-local address.
    pub link_local: LinkLocal,
    /// Whether its kernel accepts Router Advertisements.
    pub accept_ra: bool,
    /// Whether its kernel does duplicate address detection.
    pub dad: bool,
    /// What its programs may do through the API.
    pub api: ApiAccess,
}

/// A resource's fields as texts, in order; `None` for a field that is left to the network.
pub(super) type Fields = Vec<(String, Option<String>)>;

/// A resource with comparable fields.
pub(super) trait Described {
    /// Its fields.
    fn fields(&self) -> Fields;
    /// The fields of a resource with all defaults.
    fn defaults() -> Fields;
    /// Whether a field can change without replacing the resource.
    fn can_change(field: &str) -> bool;
}

pub(super) fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(" "),
    }
}

/// Only the first address has a visible place; the others are sorted.
fn led_by_first<T: fmt::Display + Ord + Copy>(items: &[T]) -> String {
    let Some((first, rest)) = items.split_first() else {
        return list::<T>([]);
    };
    let mut rest = rest.to_vec();
    rest.sort();
    list(std::iter::once(*first).chain(rest))
}

pub(super) fn field(name: &str, text: impl fmt::Display) -> (String, Option<String>) {
    (name.to_owned(), Some(text.to_string()))
}

pub(super) fn tags(tags: &Tags) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    tags.iter()
        .map(|(key, value)| field(&format!("tags.{key}"), word(value)))
}

/// A text as one short line.
pub(super) fn word(text: &str) -> String {
    let plain = !text.is_empty() && text.len() <= 60 && !text.contains(|c: char| c.is_control() || c == '\'');
    match plain {
        true if !text.contains(' ') => text.to_owned(),
        true => format!("'{text}'"),
        false if text.is_empty() => "''".to_owned(),
        // Two different texts must not look the same.
        false => format!("({} octets, {:08x})", text.len(), digest(text)),
    }
}

/// FNV-1a, to distinguish long texts.
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, octet| {
        (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
    })
}

/// The fields of a JSON object, nested ones as a path.
fn leaves(value: &Value, path: &str, found: &mut Fields) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                leaves(value, &format!("{path}.{key}"), found);
            }
        }
        Value::String(text) => found.push(field(path, word(text))),
        Value::Null => found.push(field(path, "none")),
        Value::Array(items) => found.push(field(
            path,
            list(
                items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), word)),
            ),
        )),
        other => found.push(field(path, other)),
    }
}

/// A profile in one line: its name, and the fields in which it differs from it.
pub(super) fn profile_in_words(profile: &Profile) -> String {
    match ProfileSpec::of(profile) {
        ProfileSpec::Name(name) => name,
        ProfileSpec::Changed(changed) => {
            let mut found = Fields::new();
            leaves(&Value::Object(changed.overrides), "", &mut found);
            let differs = found.iter().map(|(path, text)| {
                let path = path.trim_start_matches('.');
                format!("{path} {}", text.as_deref().unwrap_or_default())
            });
            format!("{} with {}", changed.base, differs.collect::<Vec<_>>().join(", "))
        }
    }
}

impl Described for OptionSet {
    fn fields(&self) -> Fields {
        let options = self.options.configuration().into_iter();
        let options = options.map(|(key, values)| field(&key.replace('-', "_"), list(values)));
        options.chain(tags(&self.tags)).collect()
    }

    fn defaults() -> Fields {
        Fields::new()
    }

    fn can_change(_: &str) -> bool {
        false
    }
}

impl Described for Vpc {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            field("primary_cidr_block", list(self.cidr_blocks.first())),
            field("cidr_blocks", list(&self.cidr_blocks)),
            field("ipv6_cidr_blocks", list(&self.ipv6_cidr_blocks)),
            field("profile", profile_in_words(&self.profile)),
        ];
        fields.push(match &self.dhcp_options {
            OptionsChoice::Region => field("dhcp_options", "the region's"),
            OptionsChoice::None => field("dhcp_options", DhcpOptionsChoice::NONE),
            OptionsChoice::Set(label) => field("dhcp_options", label),
        });
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        vec![field("ipv6_cidr_blocks", "none"), field("dhcp_options", "the region's")]
    }

    fn can_change(field: &str) -> bool {
        field != "primary_cidr_block"
    }
}

impl Described for Subnet {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            field("vpc", &self.vpc),
            field("cidr_block", list(self.cidr_block)),
            field("ipv6_cidr_block", list(self.ipv6_cidr_block)),
            ("availability_zone".to_owned(), self.availability_zone.clone()),
            ("router_mac".to_owned(), self.router_mac.map(|mac| mac.to_string())),
            field("map_public_ip_on_launch", self.map_public_ip_on_launch),
            field("enable_dns64", self.enable_dns64),
        ];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        vec![
            field("cidr_block", "none"),
            field("ipv6_cidr_block", "none"),
            field("map_public_ip_on_launch", false),
            field("enable_dns64", false),
        ]
    }

    fn can_change(field: &str) -> bool {
        field.starts_with("tags.") || matches!(field, "map_public_ip_on_launch" | "enable_dns64")
    }
}

impl Described for Interface {
    fn fields(&self) -> Fields {
        let groups = match self.groups.is_empty() {
            true => "default".to_owned(),
            false => list(&self.groups),
        };
        let primary = self.ipv4.as_ref().map(|list| list.first().map(ToString::to_string));
        let mut fields = vec![
            field("subnet", &self.subnet),
            ("mac".to_owned(), self.mac.map(|mac| mac.to_string())),
            ("primary_ipv4".to_owned(), primary.map(list)),
            ("ipv4".to_owned(), self.ipv4.as_deref().map(led_by_first)),
            ("ipv6".to_owned(), self.ipv6.as_deref().map(led_by_first)),
            field("prefixes", led_by_first_of_each_family(&self.prefixes)),
            field("source_dest_check", self.source_dest_check),
            field("groups", groups),
            field(
                "mtu",
                self.mtu
                    .map_or_else(|| "the profile's".to_owned(), |mtu| mtu.to_string()),
            ),
            field("ntp_skew", self.ntp_skew),
            field(
                "allowances",
                self.allowances
                    .map_or_else(|| "none".to_owned(), |allowances| allowances.to_string()),
            ),
            field(
                "tracking",
                self.tracking
                    .map_or_else(|| "the profile's".to_owned(), |tracking| tracking.to_string()),
            ),
            field("attached_to", list(&self.attached_to)),
            field("description", word(&self.description)),
        ];
        let mut metadata = serde_json::to_value(&self.metadata).unwrap_or_default();
        if let Value::Object(fields) = &mut metadata {
            // An absent field would seem to be left to the network.
            for absent in ["user_data", "iam_role", "iam_policy"] {
                fields.entry(absent).or_insert(Value::Null);
            }
            // A policy is one value: an absent list of it means something else than an empty one.
            if let Some(policy @ Value::Object(_)) = fields.get_mut("iam_policy") {
                *policy = Value::String(policy.to_string());
            }
        }
        leaves(&metadata, "metadata", &mut fields);
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        Self::default().fields()
    }

    fn can_change(field: &str) -> bool {
        !["subnet", "mac", "primary_ipv4"].contains(&field)
    }
}

fn led_by_first_of_each_family(prefixes: &[AddressOrPrefix]) -> String {
    let (ipv6, ipv4): (Vec<AddressOrPrefix>, Vec<AddressOrPrefix>) =
        prefixes.iter().copied().partition(|prefix| prefix.is_ipv6());
    let of_each = [ipv4, ipv6].into_iter().filter(|family| !family.is_empty());
    list(of_each.map(|family| led_by_first(&family)))
}

impl Described for RouteTable {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            field("vpc", &self.vpc),
            field("main", self.main),
            field("subnets", list(&self.subnets)),
            field("gateways", list(&self.gateways)),
        ];
        let routes = self.routes.iter();
        fields.extend(routes.map(|(to, target)| field(&format!("routes.{to}"), target)));
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        vec![field("main", false), field("subnets", "none")]
    }

    fn can_change(field: &str) -> bool {
        field != "vpc"
    }
}

impl Described for Instance {
    fn fields(&self) -> Fields {
        let configure = match self.configure {
            Configure::Static => "static",
            Configure::None => "none",
        };
        let link_local = match self.link_local {
            LinkLocal::Eui64 => "eui64",
            LinkLocal::StablePrivacy => "stable-privacy",
            LinkLocal::None => "none",
        };
        let api = match self.api {
            ApiAccess::Full => "full",
            ApiAccess::ReadOnly => "read-only",
            ApiAccess::None => "none",
        };
        vec![
            field("interface", &self.interface),
            field("configure", configure),
            field("link_local", link_local),
            field("accept_ra", self.accept_ra),
            field("dad", self.dad),
            field("api", api),
        ]
    }

    fn defaults() -> Fields {
        let fields = Self {
            accept_ra: true,
            dad: true,
            ..Self::default()
        };
        fields.fields()
    }

    fn can_change(_: &str) -> bool {
        false
    }
}
