//! The actions on security groups; those on their rules have a file of their own.

use serde::Deserialize;

use super::ids::reference;
use super::render::{ACCOUNT, arn, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceRef;
use crate::model::security_group::{
    CreateSecurityGroup as Create, DeleteSecurityGroup as Delete, Peer, SecurityGroup, SecurityGroupRule,
};
use crate::model::traffic::{Direction, Traffic};
use crate::model::{ModelError, NetworkInterface, SecurityGroupId};

/// Where filters look that are not called as their element is.
const PLACES: &[Place] = &[
    ("description", "groupDescription"),
    ("ip-permission.cidr", "ipPermissions.ipRanges.cidrIp"),
    ("ip-permission.from-port", "ipPermissions.fromPort"),
    ("ip-permission.group-id", "ipPermissions.groups.groupId"),
    ("ip-permission.group-name", "ipPermissions.groups.groupName"),
    ("ip-permission.ipv6-cidr", "ipPermissions.ipv6Ranges.cidrIpv6"),
    (
        "ip-permission.prefix-list-id",
        "ipPermissions.prefixListIds.prefixListId",
    ),
    ("ip-permission.protocol", "ipPermissions.ipProtocol"),
    ("ip-permission.to-port", "ipPermissions.toPort"),
    ("ip-permission.user-id", "ipPermissions.groups.userId"),
    ("egress.ip-permission.cidr", "ipPermissionsEgress.ipRanges.cidrIp"),
    ("egress.ip-permission.from-port", "ipPermissionsEgress.fromPort"),
    ("egress.ip-permission.group-id", "ipPermissionsEgress.groups.groupId"),
    (
        "egress.ip-permission.group-name",
        "ipPermissionsEgress.groups.groupName",
    ),
    (
        "egress.ip-permission.ipv6-cidr",
        "ipPermissionsEgress.ipv6Ranges.cidrIpv6",
    ),
    (
        "egress.ip-permission.prefix-list-id",
        "ipPermissionsEgress.prefixListIds.prefixListId",
    ),
    ("egress.ip-permission.protocol", "ipPermissionsEgress.ipProtocol"),
    ("egress.ip-permission.to-port", "ipPermissionsEgress.toPort"),
    ("egress.ip-permission.user-id", "ipPermissionsEgress.groups.userId"),
];

/// The `groupSet` of an interface.
pub(super) fn group_set(call: &Call<'_>, interface: &NetworkInterface) -> Node {
    Node::list(interface.groups.iter().map(|id| {
        let group = call.controller().security_group(&(*id).into());
        Node::map([
            ("groupId", Node::text(id)),
            ("groupName", Node::maybe(group.ok().map(|group| group.group_name))),
        ])
    }))
}

/// Rules of one direction as EC2 lists them: those about the same packets in one permission.
fn permissions(group: &SecurityGroup, direction: Direction) -> Node {
    let mut found: Vec<(Traffic, Vec<&SecurityGroupRule>)> = Vec::new();
    for rule in group.rules_of(direction) {
        match found.iter_mut().find(|(traffic, _)| *traffic == rule.traffic) {
            Some((_, rules)) => rules.push(rule),
            None => found.push((rule.traffic, vec![rule])),
        }
    }
    Node::list(found.iter().map(|(traffic, rules)| permission(*traffic, rules)))
}

fn permission(traffic: Traffic, rules: &[&SecurityGroupRule]) -> Node {
    let (mut groups, mut ipv4, mut ipv6, mut lists) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for rule in rules {
        let description = Node::maybe(rule.description.as_ref());
        match rule.peer {
            Peer::Cidr(ipnet::IpNet::V4(net)) => {
                ipv4.push(Node::map([("cidrIp", Node::text(net)), ("description", description)]));
            }
            Peer::Cidr(ipnet::IpNet::V6(net)) => {
                ipv6.push(Node::map([("cidrIpv6", Node::text(net)), ("description", description)]));
            }
            Peer::PrefixList(list) => {
                lists.push(Node::map([
                    ("prefixListId", Node::text(list)),
                    ("description", description),
                ]));
            }
            Peer::Group(other) => groups.push(Node::map([
                ("groupId", Node::text(other)),
                ("userId", Node::text(ACCOUNT)),
                ("description", description),
            ])),
        }
    }
    let range = traffic.ec2_range();
    Node::map([
        ("ipProtocol", Node::Text(traffic.protocol().ec2_name())),
        ("fromPort", Node::maybe(range.map(|(from, _)| from))),
        ("toPort", Node::maybe(range.map(|(_, to)| to))),
        ("groups", Node::List(groups)),
        ("ipRanges", Node::List(ipv4)),
        ("ipv6Ranges", Node::List(ipv6)),
        ("prefixListIds", Node::List(lists)),
    ])
}

/// The `SecurityGroup` of EC2's answers.
fn group(call: &Call<'_>, group: &SecurityGroup) -> Node {
    Node::map([
        ("ownerId", Node::text(ACCOUNT)),
        ("groupId", Node::text(group.id)),
        ("groupName", Node::text(&group.group_name)),
        ("groupDescription", Node::text(&group.description)),
        ("vpcId", Node::text(group.vpc_id)),
        ("ipPermissions", permissions(group, Direction::Ingress)),
        ("ipPermissionsEgress", permissions(group, Direction::Egress)),
        ("tagSet", tag_set(group.name.as_deref(), &group.tags)),
        ("securityGroupArn", arn(call, "security-group", group.id)),
    ])
}

/// A group by its identifier, or by its name in the default VPC.
pub(super) fn by_id(
    call: &Call<'_>,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<ResourceRef<SecurityGroupId>, Ec2Error> {
    match (id, name) {
        (Some(id), None) => reference(id),
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "The parameter groupName cannot be used with the parameter groupId",
        )),
        (None, Some(name)) => by_name(call, name).map(ResourceRef::Id),
        (None, None) => Err(Ec2Error::missing("GroupId")),
    }
}

/// A group of the default VPC by its name: elsewhere a group is known by no name.
pub(super) fn by_name(call: &Call<'_>, name: &str) -> Result<SecurityGroupId, Ec2Error> {
    call.controller().inspect(|network| {
        let vpc = network.default_vpc().map(|vpc| vpc.id);
        let mut groups = network.security_groups();
        let found = groups.find(|group| Some(group.vpc_id) == vpc && group.group_name == name);
        found.map(|group| group.id).ok_or_else(|| {
            let vpc = vpc.map_or_else(|| "null".to_owned(), |vpc| vpc.to_string());
            let name = printed(name);
            let message = format!("The security group '{name}' does not exist in default VPC '{vpc}'");
            Ec2Error::new("InvalidGroup.NotFound", message)
        })
    })
}

/// Makes a security group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateSecurityGroup {
    group_description: String,
    group_name: String,
    vpc_id: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateSecurityGroup {
    const NAME: &'static str = "CreateSecurityGroup";
    const HELP: &'static str = "Makes a security group that lets everything out and nothing in";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.group_description.is_empty() {
            return Err(Ec2Error::missing("GroupDescription"));
        }
        let vpc = match &self.vpc_id {
            Some(vpc) => reference(vpc)?,
            None => {
                let default = call
                    .controller()
                    .inspect(|network| network.default_vpc().map(|vpc| vpc.id));
                let none = || Ec2Error::new("VPCIdNotSpecified", "No default VPC for this user");
                ResourceRef::Id(default.ok_or_else(none)?)
            }
        };
        let given = Given::of(&self.tag_specification, "security-group")?;
        let made = call.execute(Create {
            name: given.free_name(|name| call.controller().security_group(&ResourceRef::new(name)).is_ok()),
            vpc,
            group_name: Some(self.group_name),
            description: Some(self.group_description),
            ingress: Vec::new(),
            egress: None,
            tags: given.tags,
        })?;
        Ok(vec![
            ("return", Node::text(true)),
            ("groupId", Node::text(made.id)),
            ("tagSet", tag_set(made.name.as_deref(), &made.tags)),
            ("securityGroupArn", arn(call, "security-group", made.id)),
        ])
    }
}

/// Deletes a security group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteSecurityGroup {
    group_id: Option<String>,
    group_name: Option<String>,
}

impl Action for DeleteSecurityGroup {
    const NAME: &'static str = "DeleteSecurityGroup";
    const HELP: &'static str = "Deletes a security group that nothing needs";

    fn run(self, call: &Call<'_>) -> Answer {
        let group = by_id(call, self.group_id.as_deref(), self.group_name.as_deref())?;
        let deleted = call.execute(Delete(group))?;
        Ok(vec![("return", Node::text(true)), ("groupId", Node::text(deleted.id))])
    }
}

/// Lists security groups.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeSecurityGroups {
    #[serde(default)]
    group_id: Vec<String>,
    #[serde(default)]
    group_name: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeSecurityGroups {
    const NAME: &'static str = "DescribeSecurityGroups";
    const HELP: &'static str = "Lists security groups with their rules";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.group_id {
            call.controller().security_group(&reference(given)?)?;
        }
        let mut ids = self.group_id.clone();
        for name in &self.group_name {
            ids.push(by_name(call, name)?.to_string());
        }
        let selection = Selection {
            ids: Some(("GroupIds", &ids)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().security_groups(None)?;
        let page = selection.of(call, all.iter().map(|one| group(call, one)), "groupId", PLACES)?;
        Ok(vec![
            ("securityGroupInfo", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Lists groups with rules that name groups which are gone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeStaleSecurityGroups {
    vpc_id: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeStaleSecurityGroups {
    const NAME: &'static str = "DescribeStaleSecurityGroups";
    const HELP: &'static str = "Lists security groups with rules that name groups which are gone";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let vpc = reference(&self.vpc_id)?;
        let stale = call.controller().inspect(|network| -> Result<Vec<Node>, ModelError> {
            let vpc = network.vpc(&vpc)?.id;
            let groups = network.security_groups().filter(|group| group.vpc_id == vpc);
            let with_rules = groups.filter_map(|group| {
                let rules = |direction| {
                    let stale = network.stale_rules(group).filter(|rule| rule.direction == direction);
                    let stale = stale.map(|rule| permission(rule.traffic, &[rule]));
                    Node::list(stale.map(without_ipv6))
                };
                network.stale_rules(group).next()?;
                Some(Node::map([
                    ("groupId", Node::text(group.id)),
                    ("groupName", Node::text(&group.group_name)),
                    ("description", Node::text(&group.description)),
                    ("vpcId", Node::text(group.vpc_id)),
                    ("staleIpPermissions", rules(Direction::Ingress)),
                    ("staleIpPermissionsEgress", rules(Direction::Egress)),
                ]))
            });
            Ok(with_rules.collect())
        })?;
        let selection = Selection {
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, stale, "groupId", &[])?;
        Ok(vec![
            ("staleSecurityGroupSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// A `StaleIpPermission` names no addresses of IPv6.
fn without_ipv6(permission: Node) -> Node {
    match permission {
        Node::Map(members) => Node::Map(members.into_iter().filter(|(name, _)| *name != "ipv6Ranges").collect()),
        other => other,
    }
}
