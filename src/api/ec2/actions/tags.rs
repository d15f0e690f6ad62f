//! Implements tags: those of a request for the resource that it creates, and the actions that write and list them.
//!
//! Here a name is unique among the resources of its kind, and can be used in place of the identifier in REST. On EC2
//! `Name` is a tag like any other. So the tag is always kept, and the resource gets the name too if it is free.

use serde::Deserialize;

use super::ids::{id, reference};
use super::render::tag_set;
use crate::api::ec2::action::{Action, Answer, Filter, Tag, TagSpecification, done};
use crate::api::ec2::describe::Selection;
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::dhcp_options::ModifyDhcpOptions;
use crate::model::egress_only::ModifyEgressOnlyGateway;
use crate::model::elastic_ip::ModifyAddress;
use crate::model::endpoint::ModifyEndpoint;
use crate::model::flow_log::ModifyFlowLog;
use crate::model::ids::ResourceRef;
use crate::model::instance::ModifyInstance;
use crate::model::interface::ModifyInterface;
use crate::model::internet_gateway::ModifyInternetGateway;
use crate::model::key_pair::TagKeyPair;
use crate::model::launch_template::ModifyLaunchTemplate;
use crate::model::naming::Tags;
use crate::model::nat_gateway::ModifyNatGateway;
use crate::model::network_acl::ModifyNetworkAcl;
use crate::model::peering::ModifyPeering;
use crate::model::prefix_list::ModifyPrefixList;
use crate::model::route_table::ModifyRouteTable;
use crate::model::security_group::{ModifySecurityGroup, TagRule};
use crate::model::subnet::ModifySubnet;
use crate::model::subnet::reservation::TagReservation;
use crate::model::vpc::ModifyVpc;

/// Characters of a key and of a value ("Tag your Amazon EC2 resources").
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;
/// Tags of one resource (same page).
const MOST_TAGS: usize = 50;

/// Tags of a request for the resource that it creates.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// All of them.
    pub tags: Tags,
}

impl Given {
    /// The tags of the specifications for one type of resource.
    pub(super) fn of(specifications: &[TagSpecification], resource_type: &str) -> Result<Self, Ec2Error> {
        let mut tags = Tags::new();
        for specification in specifications {
            let given = specification.resource_type.as_deref();
            let given = given.ok_or_else(|| {
                Ec2Error::new("InvalidParameter", "Tag specification resource type must have a value")
            })?;
            if given != resource_type {
                let given = printed(given);
                let message = format!("Value ({given}) for parameter resourceType is invalid. Use {resource_type}.");
                return Err(Ec2Error::invalid_value(message));
            }
            add(&mut tags, &specification.tag)?;
        }
        Ok(Self { tags })
    }

    /// The name for the resource, unless another one has it or it is not a valid name.
    pub(super) fn free_name(&self, taken: impl Fn(&str) -> bool) -> Option<String> {
        free_name(&self.tags, taken)
    }
}

fn free_name(tags: &Tags, taken: impl Fn(&str) -> bool) -> Option<String> {
    let name = tags.get("Name")?;
    let usable = crate::model::naming::is_usable(name) && !taken(name);
    usable.then(|| name.clone())
}

fn too_many() -> Ec2Error {
    Ec2Error::new("TagLimitExceeded", format!("More than {MOST_TAGS} tags specified"))
}

fn add(tags: &mut Tags, given: &[Tag]) -> Result<(), Ec2Error> {
    if given.len() > MOST_TAGS {
        return Err(too_many());
    }
    for (place, tag) in given.iter().enumerate() {
        if given[..place].iter().any(|before| before.key == tag.key) {
            let message = format!("Duplicate tag key '{}' specified.", printed(&tag.key));
            return Err(Ec2Error::invalid_value(message));
        }
        let value = tag.value.clone().unwrap_or_default();
        if tag.key.is_empty() || tag.key.chars().count() > LONGEST_KEY {
            return Err(Ec2Error::invalid_value("Tag keys have 1 to 128 characters"));
        }
        if tag.key.starts_with("aws:") {
            return Err(Ec2Error::invalid_value(
                "Tag keys starting with 'aws:' are reserved for internal use",
            ));
        }
        if value.chars().count() > LONGEST_VALUE {
            return Err(Ec2Error::invalid_value(
                "Tag value exceeds the maximum length of 256 characters",
            ));
        }
        tags.insert(tag.key.clone(), value);
    }
    if tags.len() > MOST_TAGS {
        return Err(too_many());
    }
    Ok(())
}

/// An edit of a resource's tags.
enum Edit<'a> {
    Create(&'a [Tag]),
    /// A tag without value is deleted whatever its value is; no tag at all means all of them.
    Delete(&'a [Tag]),
}

impl Edit<'_> {
    fn of(&self, name: Option<&str>, tags: &Tags) -> Result<Tags, Ec2Error> {
        let mut tags = tags.clone();
        if let Some(name) = name {
            tags.entry("Name".to_owned()).or_insert_with(|| name.to_owned());
        }
        match self {
            Self::Create(given) => add(&mut tags, given)?,
            Self::Delete([]) => tags.clear(),
            Self::Delete(given) => tags.retain(|key, value| {
                !given
                    .iter()
                    .any(|tag| tag.key == *key && tag.value.as_ref().is_none_or(|given| given == value))
            }),
        }
        Ok(tags)
    }
}

/// Edits the tags of one resource, whatever its kind: `$modify` has a name and tags.
macro_rules! retag {
    ($call:expr, $pass:expr, $edit:expr, $text:expr, $read:ident, $modify:ident) => {{
        let reference = reference($text)?;
        let resource = $call.controller().$read(&reference)?;
        let tags = $edit.of(resource.name.as_deref(), &resource.tags)?;
        let own = resource.name.as_deref();
        let name = free_name(&tags, |name| {
            own != Some(name) && $call.controller().$read(&ResourceRef::new(name)).is_ok()
        });
        if $pass == Pass::Edit {
            $call.execute($modify {
                name: Some(name),
                tags: Some(tags),
                ..$modify::new(reference)
            })?;
        }
        Ok(())
    }};
}

/// A request is checked for all of its resources before the first is edited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Check,
    Edit,
}

fn retag(call: &Call<'_>, pass: Pass, text: &str, edit: &Edit<'_>) -> Result<(), Ec2Error> {
    match text.split_once('-').map(|(prefix, _)| prefix) {
        Some("vpc") => retag!(call, pass, edit, text, vpc, ModifyVpc),
        Some("subnet") => retag!(call, pass, edit, text, subnet, ModifySubnet),
        Some("eni") => retag!(call, pass, edit, text, interface, ModifyInterface),
        Some("rtb") => retag!(call, pass, edit, text, route_table, ModifyRouteTable),
        Some("sg") => retag!(call, pass, edit, text, security_group, ModifySecurityGroup),
        Some("pl") => retag!(call, pass, edit, text, prefix_list, ModifyPrefixList),
        Some("acl") => {
            let acl = call.controller().network_acl(&reference(text)?)?.record;
            let tags = edit.of(acl.name.as_deref(), &acl.tags)?;
            let taken = |name: &str| call.controller().network_acl(&ResourceRef::new(name)).is_ok();
            let name = free_name(&tags, |name| acl.name.as_deref() != Some(name) && taken(name));
            if pass == Pass::Edit {
                call.execute(ModifyNetworkAcl {
                    name: Some(name),
                    tags: Some(tags),
                    ..ModifyNetworkAcl::new(acl.id)
                })?;
            }
            Ok(())
        }
        Some("sgr") => {
            let rule = id(text)?;
            let tags = call.controller().inspect(|network| {
                let group = network.group_of_rule(rule)?;
                Ok::<_, crate::model::ModelError>(group.rule(rule).map(|rule| rule.tags.clone()).unwrap_or_default())
            })?;
            let tags = edit.of(None, &tags)?;
            if pass == Pass::Edit {
                call.execute(TagRule { rule, tags })?;
            }
            Ok(())
        }
        Some("dopt") => retag!(call, pass, edit, text, dhcp_option_set, ModifyDhcpOptions),
        Some("igw") => retag!(call, pass, edit, text, internet_gateway, ModifyInternetGateway),
        Some("fl") => retag!(call, pass, edit, text, flow_log, ModifyFlowLog),
        Some("eigw") => retag!(call, pass, edit, text, egress_only_gateway, ModifyEgressOnlyGateway),
        Some("vpce") => retag!(call, pass, edit, text, endpoint, ModifyEndpoint),
        Some("pcx") => retag!(call, pass, edit, text, peering, ModifyPeering),
        Some("nat") => retag!(call, pass, edit, text, nat_gateway, ModifyNatGateway),
        Some("eipalloc") => retag!(call, pass, edit, text, elastic_ip, ModifyAddress),
        Some("key") => {
            let key_pair = id(text)?;
            let tags = call
                .controller()
                .inspect(|network| network.key_pair(key_pair).map(|pair| pair.tags.clone()))?;
            let tags = edit.of(None, &tags)?;
            if pass == Pass::Edit {
                call.execute(TagKeyPair { key_pair, tags })?;
            }
            Ok(())
        }
        Some("lt") => {
            let template = id(text)?;
            let tags = call
                .controller()
                .inspect(|network| network.launch_template(template).map(|one| one.tags.clone()))?;
            let tags = edit.of(None, &tags)?;
            if pass == Pass::Edit {
                call.execute(ModifyLaunchTemplate {
                    template,
                    default_version: None,
                    tags: Some(tags),
                })?;
            }
            Ok(())
        }
        Some("scr") => {
            let reservation = id(text)?;
            let tags = call
                .controller()
                .inspect(|network| network.reservation(reservation).map(|(_, one)| one.tags.clone()))?;
            let tags = edit.of(None, &tags)?;
            if pass == Pass::Edit {
                call.execute(TagReservation { reservation, tags })?;
            }
            Ok(())
        }
        Some("i") => retag!(call, pass, edit, text, instance, ModifyInstance),
        _ => Err(Ec2Error::new(
            "InvalidID",
            format!("The ID '{}' is not valid", printed(text)),
        )),
    }
}

fn retag_all(call: &Call<'_>, resources: &[String], edit: &Edit<'_>) -> Answer {
    for pass in [Pass::Check, Pass::Edit] {
        for resource in resources {
            retag(call, pass, resource, edit)?;
        }
    }
    done()
}

/// Adds or overwrites tags.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateTags {
    resource_id: Vec<String>,
    tag: Vec<Tag>,
}

impl Action for CreateTags {
    const NAME: &'static str = "CreateTags";
    const HELP: &'static str = "Adds or overwrites tags";

    fn run(self, call: &Call<'_>) -> Answer {
        retag_all(call, &self.resource_id, &Edit::Create(&self.tag))
    }
}

/// Deletes tags.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteTags {
    resource_id: Vec<String>,
    #[serde(default)]
    tag: Vec<Tag>,
}

impl Action for DeleteTags {
    const NAME: &'static str = "DeleteTags";
    const HELP: &'static str = "Takes tags away: by key, by key and value, or all";

    fn run(self, call: &Call<'_>) -> Answer {
        retag_all(call, &self.resource_id, &Edit::Delete(&self.tag))
    }
}

/// Lists the tags of all resources.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeTags {
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeTags {
    const NAME: &'static str = "DescribeTags";
    const HELP: &'static str = "Lists the tags of all resources";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let controller = call.controller();
        let mut items = Vec::new();
        let mut take = |kind: &'static str, id: String, name: Option<&str>, tags: &Tags| {
            items.extend(tag_set(name, tags).items().iter().map(|tag| {
                let mut members = tag.members().to_vec();
                // Pages need an identifier for each row, which is not an element of the answer.
                let place = format!("{id} {}", tag.get("key").and_then(Node::as_text).unwrap_or_default());
                members.extend([
                    ("resourceId", Node::text(&id)),
                    ("resourceType", Node::text(kind)),
                    (PLACE, Node::Text(place)),
                ]);
                Node::Map(members)
            }));
        };
        for vpc in controller.vpcs() {
            take("vpc", vpc.id.to_string(), vpc.name.as_deref(), &vpc.tags);
        }
        for subnet in controller.subnets() {
            take("subnet", subnet.id.to_string(), subnet.name.as_deref(), &subnet.tags);
            for one in &subnet.reservations {
                take("subnet-cidr-reservation", one.id.to_string(), None, &one.tags);
            }
        }
        for interface in controller.interfaces(None, usize::MAX, |_| true) {
            take(
                "network-interface",
                interface.id.to_string(),
                interface.name.as_deref(),
                &interface.tags,
            );
        }
        for table in controller.route_tables(None)? {
            take("route-table", table.id.to_string(), table.name.as_deref(), &table.tags);
        }
        for group in controller.security_groups(None)? {
            take(
                "security-group",
                group.id.to_string(),
                group.name.as_deref(),
                &group.tags,
            );
            for rule in &group.rules {
                take("security-group-rule", rule.id.to_string(), None, &rule.tags);
            }
        }
        for acl in controller.network_acls(None)? {
            let record = &acl.record;
            take(
                "network-acl",
                record.id.to_string(),
                record.name.as_deref(),
                &record.tags,
            );
        }
        for list in controller.prefix_lists() {
            take("prefix-list", list.id.to_string(), list.name.as_deref(), &list.tags);
        }
        for gateway in controller.internet_gateways() {
            take(
                "internet-gateway",
                gateway.id.to_string(),
                gateway.name.as_deref(),
                &gateway.tags,
            );
        }
        for log in controller.flow_logs() {
            take("vpc-flow-log", log.id.to_string(), log.name.as_deref(), &log.tags);
        }
        for gateway in controller.egress_only_gateways() {
            let id = gateway.id.to_string();
            take(
                "egress-only-internet-gateway",
                id,
                gateway.name.as_deref(),
                &gateway.tags,
            );
        }
        for peering in controller.peerings() {
            let id = peering.id.to_string();
            take("vpc-peering-connection", id, peering.name.as_deref(), &peering.tags);
        }
        for endpoint in controller.endpoints() {
            let id = endpoint.id.to_string();
            take("vpc-endpoint", id, endpoint.name.as_deref(), &endpoint.tags);
        }
        for gateway in controller.nat_gateways() {
            take(
                "natgateway",
                gateway.id.to_string(),
                gateway.name.as_deref(),
                &gateway.tags,
            );
        }
        for address in controller.elastic_ips() {
            take(
                "elastic-ip",
                address.id.to_string(),
                address.name.as_deref(),
                &address.tags,
            );
        }
        for instance in controller.instances() {
            take(
                "instance",
                instance.id.to_string(),
                instance.name.as_deref(),
                &instance.tags,
            );
        }
        for template in controller.launch_templates() {
            take("launch-template", template.id.to_string(), None, &template.tags);
        }
        for pair in controller.key_pairs() {
            take("key-pair", pair.id.to_string(), None, &pair.tags);
        }
        for set in controller.dhcp_option_sets() {
            take("dhcp-options", set.id.to_string(), set.name.as_deref(), &set.tags);
        }
        let selection = Selection {
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, items, PLACE, &[("tag-key", "key"), ("tag-value", "value")])?;
        let items = page.items.into_iter().map(|item| match item {
            Node::Map(members) => Node::Map(members.into_iter().filter(|(name, _)| *name != PLACE).collect()),
            other => other,
        });
        Ok(vec![("tagSet", Node::list(items)), ("nextToken", page.next)])
    }
}

/// The element that identifies a row of DescribeTags while pages are made.
const PLACE: &str = "place";
