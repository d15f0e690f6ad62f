//! The actions on the rules of security groups.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use super::ids::{id, reference};
use super::render::{ACCOUNT, arn, tag_set};
use super::security_groups::{by_id, by_name};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::Selection;
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceRef;
use crate::model::naming::Tags;
use crate::model::security_group::{
    AuthorizeRules, DescribeRules, ModifyRules, Peer, PeerRef, RevokeRules, RuleChange, RuleRef, RuleSpec,
    SecurityGroupError, SecurityGroupRule,
};
use crate::model::traffic::{Direction, Protocol, Traffic};
use crate::model::{ModelError, SecurityGroup, SecurityGroupId, SecurityGroupRuleId, VpcId};

fn refused(error: impl Into<SecurityGroupError>) -> Ec2Error {
    ModelError::from(error.into()).into()
}

/// The text of a CIDR block of one family.
fn cidr<T: std::str::FromStr>(text: &str) -> Result<T, Ec2Error> {
    text.parse()
        .map_err(|_| Ec2Error::invalid_value(format!("CIDR block {} is malformed", printed(text))))
}

/// What all rules of a permission are about, and their other sides.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", default)]
pub(super) struct IpPermission {
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    groups: Vec<GroupPair>,
    ip_ranges: Vec<Ipv4Range>,
    ipv6_ranges: Vec<Ipv6Range>,
    prefix_list_ids: Vec<ListedPrefix>,
}

/// A group as the other side.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", default)]
pub(super) struct GroupPair {
    description: Option<String>,
    user_id: Option<String>,
    group_name: Option<String>,
    group_id: Option<String>,
    vpc_id: Option<String>,
}

/// IPv4 addresses as the other side.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Ipv4Range {
    cidr_ip: String,
    description: Option<String>,
}

/// IPv6 addresses as the other side.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Ipv6Range {
    cidr_ipv6: String,
    description: Option<String>,
}

/// A prefix list as the other side.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListedPrefix {
    prefix_list_id: String,
    description: Option<String>,
}

/// One other side with its description.
type Side = (PeerRef, Option<String>);

impl GroupPair {
    fn side(&self, call: &Call<'_>) -> Result<Side, Ec2Error> {
        let peer = match (&self.group_id, &self.group_name) {
            (Some(group), _) => reference(group)?,
            (None, Some(name)) => ResourceRef::Id(by_name(call, name)?),
            (None, None) => return Err(Ec2Error::missing("GroupId")),
        };
        if let Some(vpc) = &self.vpc_id
            && call.controller().security_group(&peer)?.vpc_id != id::<VpcId>(vpc)?
        {
            return Err(ModelError::not_found::<SecurityGroupId>(&peer.to_string()).into());
        }
        if self.user_id.as_deref().is_some_and(|user| user != ACCOUNT) {
            // There is one account.
            return Err(ModelError::not_found::<SecurityGroupId>(&peer.to_string()).into());
        }
        Ok((PeerRef::Group(peer), self.description.clone()))
    }
}

impl IpPermission {
    fn traffic(&self) -> Result<Traffic, Ec2Error> {
        let protocol = self.ip_protocol.as_deref().ok_or_else(no_protocol)?;
        traffic(protocol, self.from_port, self.to_port)
    }

    fn sides(&self, call: &Call<'_>) -> Result<Vec<Side>, Ec2Error> {
        let mut sides = self
            .groups
            .iter()
            .map(|pair| pair.side(call))
            .collect::<Result<Vec<_>, _>>()?;
        for range in &self.ip_ranges {
            let net: Ipv4Net = cidr(&range.cidr_ip)?;
            sides.push((PeerRef::Cidr(net.into()), range.description.clone()));
        }
        for range in &self.ipv6_ranges {
            let net: Ipv6Net = cidr(&range.cidr_ipv6)?;
            sides.push((PeerRef::Cidr(net.into()), range.description.clone()));
        }
        for list in &self.prefix_list_ids {
            sides.push((
                PeerRef::PrefixList(reference(&list.prefix_list_id)?),
                list.description.clone(),
            ));
        }
        match sides.is_empty() {
            true => Err(Ec2Error::missing("ipRanges")),
            false => Ok(sides),
        }
    }
}

fn no_protocol() -> Ec2Error {
    Ec2Error::invalid_value(
        "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly.",
    )
}

fn traffic(protocol: &str, from: Option<i64>, to: Option<i64>) -> Result<Traffic, Ec2Error> {
    // `all` is this server's word; EC2 knows -1 alone.
    let unknown = || {
        refused(crate::model::traffic::TrafficError::Protocol {
            given: printed(protocol),
        })
    };
    let read: Protocol = match protocol {
        "all" => return Err(unknown()),
        text => text.parse().map_err(|_| unknown())?,
    };
    Traffic::of_ec2(read, from, to).map_err(refused)
}

/// The rules of permissions, one for each other side.
fn rules(
    call: &Call<'_>,
    direction: Direction,
    permissions: &[IpPermission],
    tags: &Tags,
) -> Result<Vec<RuleSpec>, Ec2Error> {
    let mut rules = Vec::new();
    for permission in permissions {
        let traffic = permission.traffic()?;
        for (peer, description) in permission.sides(call)? {
            rules.push(RuleSpec {
                direction,
                traffic,
                peer,
                description: description.filter(|text| !text.is_empty()),
                tags: tags.clone(),
            });
        }
    }
    match rules.is_empty() {
        true => Err(Ec2Error::missing("ipPermissions")),
        false => Ok(rules),
    }
}

/// The `SecurityGroupRule` of EC2's answers.
fn rule(call: &Call<'_>, group: &SecurityGroup, rule: &SecurityGroupRule) -> Node {
    let mut members = plain(group, rule);
    let referenced = match rule.peer {
        Peer::Group(other) => Node::map([("groupId", Node::text(other)), ("userId", Node::text(ACCOUNT))]),
        Peer::Cidr(_) | Peer::PrefixList(_) => Node::Absent,
    };
    members.extend([
        ("groupOwnerId", Node::text(ACCOUNT)),
        ("referencedGroupInfo", referenced),
        ("tagSet", tag_set(None, &rule.tags)),
        ("securityGroupRuleArn", arn(call, "security-group-rule", rule.id)),
    ]);
    Node::Map(members)
}

/// What a rule and a revoked one have in common.
fn plain(group: &SecurityGroup, rule: &SecurityGroupRule) -> Vec<(&'static str, Node)> {
    let (ipv4, ipv6, list) = match rule.peer {
        Peer::Cidr(ipnet::IpNet::V4(net)) => (Node::text(net), Node::Absent, Node::Absent),
        Peer::Cidr(ipnet::IpNet::V6(net)) => (Node::Absent, Node::text(net), Node::Absent),
        Peer::PrefixList(list) => (Node::Absent, Node::Absent, Node::text(list)),
        Peer::Group(_) => (Node::Absent, Node::Absent, Node::Absent),
    };
    // Other than a permission, a rule of all protocols has both numbers here.
    let (from, to) = rule.traffic.ec2_range().unwrap_or((-1, -1));
    vec![
        ("securityGroupRuleId", Node::text(rule.id)),
        ("groupId", Node::text(group.id)),
        ("isEgress", Node::text(rule.direction == Direction::Egress)),
        ("ipProtocol", Node::Text(rule.traffic.protocol().ec2_name())),
        ("fromPort", Node::text(from)),
        ("toPort", Node::text(to)),
        ("cidrIpv4", ipv4),
        ("cidrIpv6", ipv6),
        ("prefixListId", list),
        ("description", Node::maybe(rule.description.as_ref())),
    ]
}

fn revoked(group: &SecurityGroup, rule: &SecurityGroupRule) -> Node {
    let mut members = plain(group, rule);
    if let Peer::Group(other) = rule.peer {
        members.push(("referencedGroupId", Node::text(other)));
    }
    Node::Map(members)
}

/// The parameters that the two Authorize actions and the two Revoke actions have in common.
macro_rules! permissions {
    ($self:ident) => {{
        let mut permissions = $self.ip_permissions;
        // The form for one rule, from before permissions.
        if $self.ip_protocol.is_some() || $self.cidr_ip.is_some() {
            let range = $self.cidr_ip.map(|cidr_ip| Ipv4Range {
                cidr_ip,
                description: None,
            });
            permissions.push(IpPermission {
                ip_protocol: $self.ip_protocol,
                from_port: $self.from_port,
                to_port: $self.to_port,
                ip_ranges: range.into_iter().collect(),
                ..IpPermission::default()
            });
        }
        permissions
    }};
}

fn authorize(
    call: &Call<'_>,
    group: ResourceRef<SecurityGroupId>,
    direction: Direction,
    permissions: &[IpPermission],
    tags: &[TagSpecification],
) -> Answer {
    let given = Given::of(tags, "security-group-rule")?;
    let known = call.controller().security_group(&group)?;
    let rules = rules(call, direction, permissions, &given.tags)?;
    let added = call.execute(AuthorizeRules { group, rules })?;
    let added = added.iter().map(|one| rule(call, &known, one));
    Ok(vec![
        ("return", Node::text(true)),
        ("securityGroupRuleSet", Node::list(added)),
    ])
}

fn revoke(
    call: &Call<'_>,
    group: ResourceRef<SecurityGroupId>,
    direction: Direction,
    permissions: &[IpPermission],
    ids: &[String],
) -> Answer {
    let known = call.controller().security_group(&group)?;
    let named: Vec<RuleRef> = match (permissions.is_empty(), ids.is_empty()) {
        (false, false) => {
            return Err(Ec2Error::combination(
                "The parameter securityGroupRuleIds cannot be used with the parameter ipPermissions",
            ));
        }
        (true, true) => return Err(Ec2Error::missing("ipPermissions")),
        (true, false) => {
            let ids = ids.iter().map(|text| Ok(RuleRef::Id(id(text)?)));
            ids.collect::<Result<_, Ec2Error>>()?
        }
        (false, true) => {
            let rules = rules(call, direction, permissions, &Tags::new())?;
            let like = |rule: RuleSpec| RuleRef::Like(rule.direction, rule.traffic, rule.peer);
            rules.into_iter().map(like).collect()
        }
    };
    let gone = call.execute(RevokeRules {
        group,
        rules: named,
        direction: Some(direction),
    })?;
    let gone = gone.iter().map(|one| revoked(&known, one));
    Ok(vec![
        ("return", Node::text(true)),
        ("revokedSecurityGroupRuleSet", Node::list(gone)),
        ("unknownIpPermissionSet", Node::List(Vec::new())),
    ])
}

/// Adds rules about what comes in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AuthorizeSecurityGroupIngress {
    group_id: Option<String>,
    group_name: Option<String>,
    #[serde(default)]
    ip_permissions: Vec<IpPermission>,
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ip: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for AuthorizeSecurityGroupIngress {
    const NAME: &'static str = "AuthorizeSecurityGroupIngress";
    const HELP: &'static str = "Adds rules about what comes in, all of them or none";

    fn run(self, call: &Call<'_>) -> Answer {
        let group = by_id(call, self.group_id.as_deref(), self.group_name.as_deref())?;
        let tags = self.tag_specification;
        authorize(call, group, Direction::Ingress, &permissions!(self), &tags)
    }
}

/// Adds rules about what leaves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AuthorizeSecurityGroupEgress {
    group_id: String,
    #[serde(default)]
    ip_permissions: Vec<IpPermission>,
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ip: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for AuthorizeSecurityGroupEgress {
    const NAME: &'static str = "AuthorizeSecurityGroupEgress";
    const HELP: &'static str = "Adds rules about what leaves, all of them or none";

    fn run(self, call: &Call<'_>) -> Answer {
        let group = reference(&self.group_id)?;
        let tags = self.tag_specification;
        authorize(call, group, Direction::Egress, &permissions!(self), &tags)
    }
}

/// Takes rules about what comes in away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RevokeSecurityGroupIngress {
    group_id: Option<String>,
    group_name: Option<String>,
    #[serde(default)]
    ip_permissions: Vec<IpPermission>,
    #[serde(default)]
    security_group_rule_id: Vec<String>,
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ip: Option<String>,
}

impl Action for RevokeSecurityGroupIngress {
    const NAME: &'static str = "RevokeSecurityGroupIngress";
    const HELP: &'static str = "Takes rules about what comes in away, all of them or none";

    fn run(self, call: &Call<'_>) -> Answer {
        let group = by_id(call, self.group_id.as_deref(), self.group_name.as_deref())?;
        let ids = self.security_group_rule_id;
        revoke(call, group, Direction::Ingress, &permissions!(self), &ids)
    }
}

/// Takes rules about what leaves away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RevokeSecurityGroupEgress {
    group_id: String,
    #[serde(default)]
    ip_permissions: Vec<IpPermission>,
    #[serde(default)]
    security_group_rule_id: Vec<String>,
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ip: Option<String>,
}

impl Action for RevokeSecurityGroupEgress {
    const NAME: &'static str = "RevokeSecurityGroupEgress";
    const HELP: &'static str = "Takes rules about what leaves away, all of them or none";

    fn run(self, call: &Call<'_>) -> Answer {
        let group = reference(&self.group_id)?;
        let ids = self.security_group_rule_id;
        revoke(call, group, Direction::Egress, &permissions!(self), &ids)
    }
}

/// Lists rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeSecurityGroupRules {
    #[serde(default)]
    security_group_rule_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeSecurityGroupRules {
    const NAME: &'static str = "DescribeSecurityGroupRules";
    const HELP: &'static str = "Lists rules of security groups";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        // Only here EC2 refuses the malformed value of a filter.
        let groups = self.filter.iter().filter(|filter| filter.name == "group-id");
        for value in groups.flat_map(|filter| &filter.value) {
            if !value.starts_with("sg-") {
                id::<SecurityGroupId>(value)?;
            }
        }
        for given in &self.security_group_rule_id {
            let rule: SecurityGroupRuleId = id(given)?;
            call.controller()
                .inspect(|network| network.group_of_rule(rule).map(|_| ()))?;
        }
        let selection = Selection {
            ids: Some(("SecurityGroupRuleIds", &self.security_group_rule_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let groups = call.controller().security_groups(None)?;
        let all = groups
            .iter()
            .flat_map(|group| group.rules.iter().map(move |one| (group, one)));
        let items = all.map(|(group, one)| rule(call, group, one));
        let page = selection.of(call, items, "securityGroupRuleId", &[])?;
        Ok(vec![
            ("securityGroupRuleSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// A rule and what it is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RuleUpdate {
    security_group_rule_id: String,
    security_group_rule: Option<RuleRequest>,
}

/// What a rule is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RuleRequest {
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list_id: Option<String>,
    referenced_group_id: Option<String>,
    description: Option<String>,
}

impl RuleRequest {
    fn peer(&self) -> Result<PeerRef, Ec2Error> {
        match (
            &self.cidr_ipv4,
            &self.cidr_ipv6,
            &self.prefix_list_id,
            &self.referenced_group_id,
        ) {
            (Some(text), None, None, None) => Ok(PeerRef::Cidr(cidr::<Ipv4Net>(text)?.into())),
            (None, Some(text), None, None) => Ok(PeerRef::Cidr(cidr::<Ipv6Net>(text)?.into())),
            (None, None, Some(list), None) => Ok(PeerRef::PrefixList(reference(list)?)),
            (None, None, None, Some(group)) => Ok(PeerRef::Group(reference(group)?)),
            (None, None, None, None) => Err(Ec2Error::new(
                "MissingParameter",
                "The request must contain exactly one of: cidrIp, cidrIpv6, prefixListId, or referencedGroupId",
            )),
            _ => Err(Ec2Error::combination(
                "Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be specified",
            )),
        }
    }
}

/// A changed rule without ports is refused in other words than a new one.
fn without_ports(error: Ec2Error) -> Ec2Error {
    if error.code == "MissingParameter" {
        Ec2Error::invalid_value("Invalid value for portRange. Must specify both from and to ports with TCP/UDP.")
    } else {
        error
    }
}

/// Gives rules another meaning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifySecurityGroupRules {
    group_id: String,
    security_group_rule: Vec<RuleUpdate>,
}

impl Action for ModifySecurityGroupRules {
    const NAME: &'static str = "ModifySecurityGroupRules";
    const HELP: &'static str = "Gives rules another meaning; each keeps its identifier and kind of source";

    fn run(self, call: &Call<'_>) -> Answer {
        let mut rules = Vec::new();
        for update in &self.security_group_rule {
            let request = update.security_group_rule.as_ref();
            let request = request.ok_or_else(|| Ec2Error::missing("SecurityGroupRule"))?;
            let protocol = request.ip_protocol.as_deref().ok_or_else(no_protocol)?;
            let change = RuleChange {
                traffic: traffic(protocol, request.from_port, request.to_port).map_err(without_ports)?,
                peer: request.peer()?,
                description: request.description.clone().filter(|text| !text.is_empty()),
            };
            rules.push((id(&update.security_group_rule_id)?, change));
        }
        let group = reference(&self.group_id)?;
        call.execute(ModifyRules { group, rules })?;
        done()
    }
}

/// A rule and its description.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RuleDescription {
    security_group_rule_id: Option<String>,
    description: Option<String>,
}

fn describe(
    call: &Call<'_>,
    group: ResourceRef<SecurityGroupId>,
    direction: Direction,
    permissions: &[IpPermission],
    named: &[RuleDescription],
) -> Answer {
    let mut rules: Vec<(RuleRef, Option<String>)> = Vec::new();
    for one in named {
        let rule = one.security_group_rule_id.as_deref();
        let rule = rule.ok_or_else(|| Ec2Error::missing("SecurityGroupRuleId"))?;
        rules.push((RuleRef::Id(id(rule)?), one.description.clone()));
    }
    for permission in permissions {
        let traffic = permission.traffic()?;
        for (peer, description) in permission.sides(call)? {
            rules.push((RuleRef::Like(direction, traffic, peer), description));
        }
    }
    if rules.is_empty() {
        return Err(Ec2Error::missing("SecurityGroupRuleDescription"));
    }
    call.execute(DescribeRules {
        group,
        direction,
        rules,
    })?;
    done()
}

/// Declares one of the two actions that describe rules.
macro_rules! update_descriptions {
    ($name:ident, $direction:ident, $help:literal) => {
        #[doc = $help]
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "PascalCase")]
        pub(super) struct $name {
            group_id: Option<String>,
            group_name: Option<String>,
            #[serde(default)]
            ip_permissions: Vec<IpPermission>,
            #[serde(default)]
            security_group_rule_description: Vec<RuleDescription>,
        }

        impl Action for $name {
            const NAME: &'static str = stringify!($name);
            const HELP: &'static str = $help;

            fn run(self, call: &Call<'_>) -> Answer {
                let group = by_id(call, self.group_id.as_deref(), self.group_name.as_deref())?;
                let named = &self.security_group_rule_description;
                describe(call, group, Direction::$direction, &self.ip_permissions, named)
            }
        }
    };
}

update_descriptions!(
    UpdateSecurityGroupRuleDescriptionsIngress,
    Ingress,
    "Gives rules about what comes in other descriptions"
);
update_descriptions!(
    UpdateSecurityGroupRuleDescriptionsEgress,
    Egress,
    "Gives rules about what leaves other descriptions"
);
