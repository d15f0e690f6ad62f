//! Calls actions in process and holds every answer to AWS's own table of elements and enums.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::actions::{ACTIONS, find};
use super::error::Ec2Error;
use super::request::Request;
use super::shape::actions;
use super::xml::Node;
use super::{Ec2, coverage, may_call};
use crate::api::guard::Transport;
use crate::api::{AppState, GuardConfig};
use crate::control::{Controller, ControllerConfig};
use crate::lab::ApiAccess;

/// What an element of an answer may hold, by the generated table.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Output {
    /// A type of value, an enum with its values, or the name of a structure.
    Named(String),
    /// A list: what its items are called, and what they are.
    List(String, Box<Self>),
}

#[derive(Debug, Deserialize)]
struct Outputs {
    actions: BTreeMap<String, String>,
    shapes: BTreeMap<String, BTreeMap<String, Output>>,
}

impl Outputs {
    fn read() -> Self {
        serde_json::from_str(include_str!("../../../api/ec2/outputs.json")).unwrap()
    }

    fn check(&self, place: &str, node: &Node, output: &Output) {
        match (node, output) {
            (Node::Absent, _) => {}
            (Node::List(items), Output::List(name, item)) => {
                assert!(name == "item" || name == "member", "{place} calls its items {name}");
                for node in items {
                    self.check(place, node, item);
                }
            }
            (Node::Map(members), Output::Named(name)) => {
                let shape = self
                    .shapes
                    .get(name)
                    .unwrap_or_else(|| panic!("{place} is a {name}, not a structure"));
                self.members(place, members, shape);
            }
            (Node::Text(text), Output::Named(kind)) => {
                let fits = match kind.as_str() {
                    "boolean" => text == "true" || text == "false",
                    "integer" => text.parse::<i64>().is_ok(),
                    "double" => text.parse::<f64>().is_ok(),
                    "timestamp" => humantime::parse_rfc3339(text).is_ok(),
                    "string" | "blob" => true,
                    other => match other.strip_prefix("enum:") {
                        Some(values) => values.split('|').any(|value| value == text),
                        None => false,
                    },
                };
                assert!(fits, "{place} is '{text}', which is no {kind}");
            }
            other => panic!("{place} has another form than AWS's: {other:?}"),
        }
    }

    fn members(&self, place: &str, members: &[(&'static str, Node)], shape: &BTreeMap<String, Output>) {
        for (name, node) in members.iter().filter(|(_, node)| *node != Node::Absent) {
            let output = shape.get(*name);
            let output = output.unwrap_or_else(|| panic!("AWS has no element {name} in {place}"));
            self.check(&format!("{place}.{name}"), node, output);
        }
    }
}

/// An EC2 endpoint over an empty network, whose answers are checked.
pub(super) struct Endpoint {
    pub(super) ec2: Ec2,
    outputs: Outputs,
}

impl Endpoint {
    pub(super) fn new() -> Self {
        let controller = Controller::new(ControllerConfig {
            seed: Some(1),
            ..ControllerConfig::default()
        });
        Self {
            ec2: Ec2::new(AppState::new(controller, GuardConfig::default())),
            outputs: Outputs::read(),
        }
    }

    /// Calls an action with a form.
    pub(super) fn call(&self, action: &str, form: &str) -> Result<Node, Ec2Error> {
        let request = Request::parse(format!("Action={action}").as_bytes(), form.as_bytes())?;
        let entry = find(&request.action)?;
        let members = self.ec2.call(entry, request.tree(entry.shape())?, None)?;
        match self.outputs.actions.get(action) {
            Some(shape) => {
                // botocore leaves `return` out where it has no use for it.
                let members: Vec<_> = members.iter().filter(|(name, _)| *name != "return").cloned().collect();
                self.outputs.members(action, &members, &self.outputs.shapes[shape]);
            }
            None => assert_eq!(members, [("return", Node::text(true))], "{action} has no output"),
        }
        Ok(Node::Map(members))
    }

    /// Calls an action that has to succeed, and takes the text at a path of its answer, where `0` is a list's first item.
    pub(super) fn get(&self, action: &str, form: &str, path: &str) -> String {
        let answer = self
            .call(action, form)
            .unwrap_or_else(|error| panic!("{action} {form}: {error}"));
        text(&answer, path).unwrap_or_else(|| panic!("{action} has no {path}: {answer:?}"))
    }

    /// How an action is refused.
    pub(super) fn refusal(&self, action: &str, form: &str) -> (String, String) {
        let error = self.call(action, form).expect_err(form);
        (error.code.into_owned(), error.message)
    }

    /// A VPC with a subnet.
    pub(super) fn network(&self) -> (String, String) {
        let vpc = self.get("CreateVpc", "CidrBlock=10.0.0.0/16", "vpc.vpcId");
        let form = format!("VpcId={vpc}&CidrBlock=10.0.1.0/24");
        let subnet = self.get("CreateSubnet", &form, "subnet.subnetId");
        (vpc, subnet)
    }

    pub(super) fn interface(&self, subnet: &str) -> String {
        let form = format!("SubnetId={subnet}");
        self.get("CreateNetworkInterface", &form, "networkInterface.networkInterfaceId")
    }
}

pub(super) fn text(node: &Node, path: &str) -> Option<String> {
    let mut node = node;
    for part in path.split('.') {
        node = match part.parse::<usize>() {
            Ok(index) => node.items().get(index)?,
            Err(_) => node.get(part)?,
        };
    }
    node.as_text().map(str::to_owned)
}

pub(super) fn count(node: &Node, list: &str) -> usize {
    node.get(list).map_or(0, |list| list.items().len())
}

#[test]
fn the_table_of_actions_is_sorted_and_every_row_is_an_action_of_aws() {
    let names: Vec<&str> = ACTIONS.iter().map(|entry| entry.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    for entry in ACTIONS {
        assert!(actions().contains_key(entry.name), "{}", entry.name);
        let refused: Vec<String> = entry
            .parameters()
            .into_iter()
            .filter(|(_, taken)| !taken)
            .map(|(name, _)| name)
            .collect();
        let required = &entry.shape().required;
        assert!(
            !required.iter().any(|name| refused.contains(name)),
            "{}: {refused:?}",
            entry.name
        );
    }
}

/// `LOCALVPC_UPDATE_EC2=1 cargo test --lib ec2` writes the page anew.
#[test]
fn the_page_of_coverage_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/api/ec2-coverage.md");
    if std::env::var_os("LOCALVPC_UPDATE_EC2").is_some() {
        std::fs::write(path, coverage()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == coverage(),
        "set LOCALVPC_UPDATE_EC2=1 to write api/ec2-coverage.md anew"
    );
}

#[test]
fn an_address_moves_only_with_leave_and_its_refusal_is_aws_own() {
    let ec2 = Endpoint::new();
    let (_, subnet) = ec2.network();
    let (a, b) = (ec2.interface(&subnet), ec2.interface(&subnet));
    let to = |interface: &str, more: &str| format!("NetworkInterfaceId={interface}&PrivateIpAddress.1=10.0.1.50{more}");
    ec2.call("AssignPrivateIpAddresses", &to(&a, "")).unwrap();
    assert_eq!(
        ec2.refusal("AssignPrivateIpAddresses", &to(&b, "")),
        (
            "InvalidParameterValue".to_owned(),
            "[10.0.1.50] assigned, but move is not allowed.".to_owned()
        )
    );
    ec2.call("AssignPrivateIpAddresses", &to(&b, "&AllowReassignment=true"))
        .unwrap();
    let owner = |address: &str| {
        let form = format!("Filter.1.Name=addresses.private-ip-address&Filter.1.Value.1={address}");
        ec2.get(
            "DescribeNetworkInterfaces",
            &form,
            "networkInterfaceSet.0.networkInterfaceId",
        )
    };
    assert_eq!(owner("10.0.1.50"), b);
    assert_eq!(
        ec2.refusal("UnassignPrivateIpAddresses", &to(&a, "")),
        (
            "InvalidParameterValue".to_owned(),
            format!("Some of the specified addresses are not assigned to interface {a}")
        )
    );
    ec2.call("UnassignPrivateIpAddresses", &to(&b, "")).unwrap();
}

#[test]
fn lists_are_filtered_and_paged_as_aws_does() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    for _ in 0..12 {
        ec2.interface(&subnet);
    }
    let mut form = "MaxResults=5".to_owned();
    let (mut pages, mut seen) = (0, std::collections::BTreeSet::new());
    loop {
        let answer = ec2.call("DescribeNetworkInterfaces", &form).unwrap();
        pages += 1;
        let items = answer.get("networkInterfaceSet").unwrap().items();
        seen.extend(items.iter().filter_map(|item| text(item, "networkInterfaceId")));
        match text(&answer, "nextToken") {
            Some(token) => form = format!("MaxResults=5&NextToken={token}"),
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (3, 12));
    for (filter, value, found) in [
        ("vpc-id", vpc.as_str(), 12),
        ("vpc-id", "vpc-*", 12),
        ("vpc-id", "vpc-x", 0),
        ("status", "available", 12),
        ("status", "in-use", 0),
        ("association.public-ip", "*", 0),
        ("availability-zone", "us-east-1?", 12),
    ] {
        let form = format!("Filter.1.Name={filter}&Filter.1.Value.1={value}");
        let answer = ec2.call("DescribeNetworkInterfaces", &form).unwrap();
        assert_eq!(count(&answer, "networkInterfaceSet"), found, "{filter}={value}");
    }
    let refused = |form: &str| ec2.refusal("DescribeNetworkInterfaces", form).0;
    assert_eq!(
        refused("Filter.1.Name=colour&Filter.1.Value.1=red"),
        "InvalidParameterValue"
    );
    assert_eq!(refused("MaxResults=2"), "InvalidParameterValue");
    assert_eq!(refused("NextToken=zzz"), "InvalidNextToken");
    let first = seen.first().unwrap();
    assert_eq!(
        refused(&format!("MaxResults=5&NetworkInterfaceId.1={first}")),
        "InvalidParameterCombination"
    );
    assert_eq!(
        ec2.refusal(
            "DescribeNetworkInterfaces",
            "NetworkInterfaceId.1=eni-0123456789abcdef0"
        ),
        (
            "InvalidNetworkInterfaceID.NotFound".to_owned(),
            "The networkInterface ID 'eni-0123456789abcdef0' does not exist".to_owned()
        )
    );
    assert_eq!(
        refused("NetworkInterfaceId.1=router"),
        "InvalidNetworkInterfaceID.Malformed"
    );
}

#[test]
fn routes_are_made_replaced_and_deleted_with_aws_refusals() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let (a, b) = (ec2.interface(&subnet), ec2.interface(&subnet));
    let table = ec2.get("CreateRouteTable", &format!("VpcId={vpc}"), "routeTable.routeTableId");
    let form = format!("RouteTableId={table}&SubnetId={subnet}");
    let association = ec2.get("AssociateRouteTable", &form, "associationId");
    let route = |interface: &str| {
        format!("RouteTableId={table}&DestinationCidrBlock=192.168.9.9/32&NetworkInterfaceId={interface}")
    };
    assert_eq!(ec2.refusal("ReplaceRoute", &route(&a)).0, "InvalidParameterValue");
    ec2.call("CreateRoute", &route(&a)).unwrap();
    assert_eq!(ec2.refusal("CreateRoute", &route(&b)).0, "RouteAlreadyExists");
    ec2.call("ReplaceRoute", &route(&b)).unwrap();
    let listed = ec2
        .call("DescribeRouteTables", &format!("RouteTableId.1={table}"))
        .unwrap();
    assert_eq!(text(&listed, "routeTableSet.0.routeSet.1.networkInterfaceId"), Some(b));
    assert_eq!(
        text(&listed, "routeTableSet.0.associationSet.0.routeTableAssociationId"),
        Some(association.clone())
    );
    let delete = format!("RouteTableId={table}&DestinationCidrBlock=192.168.9.9/32");
    ec2.call("DeleteRoute", &delete).unwrap();
    assert_eq!(ec2.refusal("DeleteRoute", &delete).0, "InvalidRoute.NotFound");
    let main = ec2
        .call(
            "DescribeRouteTables",
            "Filter.1.Name=association.main&Filter.1.Value.1=true",
        )
        .unwrap();
    let main_association = text(&main, "routeTableSet.0.associationSet.0.routeTableAssociationId").unwrap();
    assert_eq!(
        ec2.refusal("DisassociateRouteTable", &format!("AssociationId={main_association}"))
            .0,
        "InvalidParameterValue"
    );
    ec2.call("DisassociateRouteTable", &format!("AssociationId={association}"))
        .unwrap();
    assert_eq!(
        ec2.refusal("DisassociateRouteTable", &format!("AssociationId={association}"))
            .0,
        "InvalidAssociationID.NotFound"
    );
    ec2.call("DeleteRouteTable", &format!("RouteTableId={table}")).unwrap();
}

#[test]
fn tags_are_given_changed_and_listed() {
    let ec2 = Endpoint::new();
    let tags =
        "&TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=prod";
    let first = ec2.get("CreateVpc", &format!("CidrBlock=10.0.0.0/16{tags}"), "vpc.vpcId");
    // On EC2 a name is a tag like any other, so two may have it.
    let second = ec2.get("CreateVpc", &format!("CidrBlock=10.1.0.0/16{tags}"), "vpc.vpcId");
    let named = ec2
        .call("DescribeVpcs", "Filter.1.Name=tag%3AName&Filter.1.Value.1=pro*")
        .unwrap();
    assert_eq!(count(&named, "vpcSet"), 2);
    let both = format!("ResourceId.1={first}&ResourceId.2={second}");
    ec2.call("CreateTags", &format!("{both}&Tag.1.Key=tier&Tag.1.Value=web"))
        .unwrap();
    assert_eq!(count(&ec2.call("DescribeTags", "").unwrap(), "tagSet"), 4);
    let keyed = "Filter.1.Name=key&Filter.1.Value.1=tier&Filter.2.Name=resource-type&Filter.2.Value.1=vpc";
    assert_eq!(count(&ec2.call("DescribeTags", keyed).unwrap(), "tagSet"), 2);
    // One resource that does not exist, and nothing is changed.
    let missing = format!("ResourceId.1={first}&ResourceId.2=vpc-0123456789abcdef0&Tag.1.Key=x&Tag.1.Value=y");
    assert_eq!(ec2.refusal("CreateTags", &missing).0, "InvalidVpcID.NotFound");
    assert_eq!(count(&ec2.call("DescribeTags", "").unwrap(), "tagSet"), 4);
    ec2.call("DeleteTags", &format!("{both}&Tag.1.Key=tier&Tag.1.Value=other"))
        .unwrap();
    assert_eq!(
        count(&ec2.call("DescribeTags", "").unwrap(), "tagSet"),
        4,
        "the value differs"
    );
    ec2.call("DeleteTags", &format!("{both}&Tag.1.Key=tier")).unwrap();
    assert_eq!(count(&ec2.call("DescribeTags", "").unwrap(), "tagSet"), 2);
}

#[test]
fn a_client_token_makes_one_interface_however_often_it_is_sent() {
    let ec2 = Endpoint::new();
    let (_, subnet) = ec2.network();
    let form = format!("SubnetId={subnet}&ClientToken=t-1");
    let place = "networkInterface.networkInterfaceId";
    let made = ec2.get("CreateNetworkInterface", &form, place);
    assert_eq!(ec2.get("CreateNetworkInterface", &form, place), made);
    let other = format!("SubnetId={subnet}&ClientToken=t-1&Description=other");
    assert_eq!(
        ec2.refusal("CreateNetworkInterface", &other).0,
        "IdempotentParameterMismatch"
    );
    let all = ec2.call("DescribeNetworkInterfaces", "").unwrap();
    assert_eq!(count(&all, "networkInterfaceSet"), 1);
}

#[test]
fn what_has_no_effect_is_refused_and_a_dry_run_changes_nothing() {
    let ec2 = Endpoint::new();
    assert_eq!(
        ec2.refusal("DescribeTransitGateways", ""),
        (
            "InvalidAction".to_owned(),
            "The action DescribeTransitGateways is not valid for this web service.".to_owned()
        )
    );
    let ipam = "CidrBlock=10.0.0.0/16&Ipv4IpamPoolId=ipam-pool-1";
    assert_eq!(ec2.refusal("CreateVpc", ipam).0, "UnsupportedOperation");
    assert!(ec2.refusal("CreateVpc", ipam).1.contains("Ipv4IpamPoolId"));
    assert_eq!(
        ec2.refusal("CreateVpc", "CidrBlock=10.0.0.0/16&Colour=red").0,
        "UnknownParameter"
    );
    assert_eq!(
        ec2.refusal("CreateVpc", "CidrBlock=10.0.0.0/16&DryRun=true").0,
        "DryRunOperation"
    );
    assert_eq!(
        ec2.refusal("CreateVpc", "CidrBlock=10.0.0.0/33").0,
        "InvalidParameterValue"
    );
    assert_eq!(ec2.refusal("CreateVpc", "CidrBlock=10.0.0.0/8").0, "InvalidVpc.Range");
    assert_eq!(ec2.refusal("DeleteVpc", "").0, "MissingParameter");
    assert_eq!(count(&ec2.call("DescribeVpcs", "").unwrap(), "vpcSet"), 0);
}

#[test]
fn dhcp_options_accounts_and_zones_answer() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    let form = "DhcpConfiguration.1.Key=domain-name&DhcpConfiguration.1.Value.1=example.com\
                &DhcpConfiguration.2.Key=domain-name-servers&DhcpConfiguration.2.Value.1=10.2.5.1&DhcpConfiguration.2.Value.2=10.2.5.2";
    let set = ec2.get("CreateDhcpOptions", form, "dhcpOptions.dhcpOptionsId");
    ec2.call("AssociateDhcpOptions", &format!("DhcpOptionsId={set}&VpcId={vpc}"))
        .unwrap();
    assert_eq!(
        ec2.get("DescribeVpcs", &format!("VpcId.1={vpc}"), "vpcSet.0.dhcpOptionsId"),
        set
    );
    let found = ec2
        .call("DescribeDhcpOptions", "Filter.1.Name=value&Filter.1.Value.1=10.2.5.2")
        .unwrap();
    assert_eq!(count(&found, "dhcpOptionsSet"), 1);
    assert_eq!(
        ec2.refusal("DeleteDhcpOptions", &format!("DhcpOptionsId={set}")).0,
        "DependencyViolation"
    );
    ec2.call("AssociateDhcpOptions", &format!("DhcpOptionsId=default&VpcId={vpc}"))
        .unwrap();
    ec2.call("DeleteDhcpOptions", &format!("DhcpOptionsId={set}")).unwrap();
    assert_eq!(
        ec2.get("DescribeAvailabilityZones", "", "availabilityZoneInfo.0.zoneId"),
        "use1-az1"
    );
    assert_eq!(ec2.get("DescribeRegions", "", "regionInfo.0.regionName"), "us-east-1");
    ec2.call("DescribeAccountAttributes", "").unwrap();
    ec2.call("DescribeInstances", "").unwrap();
    assert_eq!(ec2.get("GetCallerIdentity", "", "Account"), "123456789012");
    ec2.call(
        "AssumeRole",
        "RoleArn=arn:aws:iam::123456789012:role/ha&RoleSessionName=s",
    )
    .unwrap();
    let attribute = format!("VpcId={vpc}&Attribute=enableDnsSupport");
    assert_eq!(
        ec2.get("DescribeVpcAttribute", &attribute, "enableDnsSupport.value"),
        "true"
    );
}

#[test]
fn an_instance_that_only_reads_calls_what_reads() {
    let inside = Some(Transport::Instance(ApiAccess::ReadOnly));
    assert!(may_call(inside, "DescribeVpcs").is_ok());
    assert_eq!(
        may_call(inside, "AssignPrivateIpAddresses").unwrap_err().code,
        "UnauthorizedOperation"
    );
    assert!(may_call(Some(Transport::Instance(ApiAccess::Full)), "AssignPrivateIpAddresses").is_ok());
    assert!(may_call(Some(Transport::Tcp), "AssignPrivateIpAddresses").is_ok());
    assert!(may_call(Some(Transport::Instance(ApiAccess::None)), "DescribeVpcs").is_err());
}

#[test]
fn rules_are_authorized_listed_and_revoked_with_aws_refusals() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let create = format!("GroupName=web&GroupDescription=servers&VpcId={vpc}");
    let group = ec2.get("CreateSecurityGroup", &create, "groupId");
    assert_eq!(
        ec2.refusal("CreateSecurityGroup", &create),
        (
            "InvalidGroup.Duplicate".to_owned(),
            format!("The security group 'web' already exists for VPC '{vpc}'")
        )
    );
    let permission = "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22";
    let ssh = format!("GroupId={group}&{permission}&IpPermissions.1.IpRanges.1.CidrIp=203.0.113.9/24");
    let own = format!("{ssh}&IpPermissions.1.Groups.1.GroupId={group}&IpPermissions.1.Groups.1.Description=peers");
    let added = ec2.call("AuthorizeSecurityGroupIngress", &own).unwrap();
    assert_eq!(count(&added, "securityGroupRuleSet"), 2);
    let rule = text(&added, "securityGroupRuleSet.0.securityGroupRuleId").unwrap();
    assert_eq!(
        ec2.refusal("AuthorizeSecurityGroupIngress", &ssh),
        (
            "InvalidPermission.Duplicate".to_owned(),
            "the specified rule \"peer: 203.0.113.0/24, TCP, from port: 22, to port: 22, ALLOW\" already exists"
                .to_owned()
        )
    );
    // Rules about the same packets are one permission; the one that lets everything out has no ports.
    let form = format!("GroupId.1={group}");
    let listed = ec2.call("DescribeSecurityGroups", &form).unwrap();
    let place = |path: &str| text(&listed, &format!("securityGroupInfo.0.{path}"));
    assert_eq!(
        place("ipPermissions.0.ipRanges.0.cidrIp").as_deref(),
        Some("203.0.113.0/24")
    );
    assert_eq!(place("ipPermissions.0.groups.0.groupId"), Some(group.clone()));
    assert_eq!(
        (
            place("ipPermissionsEgress.0.ipProtocol").as_deref(),
            place("ipPermissionsEgress.0.fromPort")
        ),
        (Some("-1"), None)
    );
    for (filter, value, found) in [
        ("group-name", "web", 1),
        ("ip-permission.group-id", group.as_str(), 1),
        ("ip-permission.cidr", "203.0.113.0/24", 1),
        ("ip-permission.from-port", "23", 0),
        ("vpc-id", vpc.as_str(), 2),
    ] {
        let form = format!("Filter.1.Name={filter}&Filter.1.Value.1={value}");
        let answer = ec2.call("DescribeSecurityGroups", &form).unwrap();
        assert_eq!(count(&answer, "securityGroupInfo"), found, "{filter}={value}");
    }
    let form = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    let rules = ec2.call("DescribeSecurityGroupRules", &form).unwrap();
    assert_eq!(count(&rules, "securityGroupRuleSet"), 3);

    let update = format!(
        "GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={rule}&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=112\
         &SecurityGroupRule.1.SecurityGroupRule.ReferencedGroupId={group}"
    );
    ec2.call("ModifySecurityGroupRules", &update).unwrap();
    let words = format!(
        "GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={rule}\
         &SecurityGroupRuleDescription.1.Description=vrrp"
    );
    ec2.call("UpdateSecurityGroupRuleDescriptionsIngress", &words).unwrap();
    let form = format!("SecurityGroupRuleId.1={rule}");
    let shown = ec2.call("DescribeSecurityGroupRules", &form).unwrap();
    for (element, value) in [
        ("ipProtocol", "112"),
        ("fromPort", "-1"),
        ("description", "vrrp"),
        ("isEgress", "false"),
    ] {
        assert_eq!(
            text(&shown, &format!("securityGroupRuleSet.0.{element}")).as_deref(),
            Some(value),
            "{element}"
        );
    }

    let interface = ec2.interface(&subnet);
    let groups = format!("NetworkInterfaceId={interface}&SecurityGroupId.1={group}");
    ec2.call("ModifyNetworkInterfaceAttribute", &groups).unwrap();
    let form = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    assert_eq!(
        ec2.get(
            "DescribeNetworkInterfaces",
            &form,
            "networkInterfaceSet.0.groupSet.0.groupName"
        ),
        "web"
    );
    assert_eq!(
        ec2.refusal("DeleteSecurityGroup", &format!("GroupId={group}")).0,
        "DependencyViolation"
    );

    ec2.call("RevokeSecurityGroupIngress", &ssh).unwrap();
    assert_eq!(
        ec2.refusal("RevokeSecurityGroupIngress", &ssh).0,
        "InvalidPermission.NotFound"
    );
    let by_id = format!("GroupId={group}&SecurityGroupRuleId.1={rule}");
    assert_eq!(
        ec2.refusal("RevokeSecurityGroupEgress", &by_id).0,
        "InvalidParameterValue"
    );
    ec2.call("RevokeSecurityGroupIngress", &by_id).unwrap();
    assert_eq!(
        count(
            &ec2.call("DescribeStaleSecurityGroups", &format!("VpcId={vpc}"))
                .unwrap(),
            "staleSecurityGroupSet"
        ),
        0
    );
    for (action, form, code) in [
        (
            "CreateSecurityGroup",
            "GroupName=x&GroupDescription=x".to_owned(),
            "VPCIdNotSpecified",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}"),
            "MissingParameter",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}&{permission}"),
            "MissingParameter",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}&IpProtocol=vrrp&CidrIp=0.0.0.0/0"),
            "InvalidParameterValue",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}&IpProtocol=tcp&FromPort=1&ToPort=2&CidrIp=10.0.0.300/8"),
            "InvalidParameterValue",
        ),
        (
            "DescribeSecurityGroups",
            "GroupId.1=sg-0123456789abcdef0".to_owned(),
            "InvalidGroup.NotFound",
        ),
        (
            "DeleteSecurityGroup",
            "GroupId=web".to_owned(),
            "InvalidGroupId.Malformed",
        ),
    ] {
        assert_eq!(ec2.refusal(action, &form).0, code, "{action} {form}");
    }
}

#[test]
fn a_network_acl_has_aws_entries_and_a_new_association_with_each_subnet() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let acl = ec2.get("CreateNetworkAcl", &format!("VpcId={vpc}"), "networkAcl.networkAclId");
    let form = format!("Filter.1.Name=association.subnet-id&Filter.1.Value.1={subnet}");
    let first = ec2.get(
        "DescribeNetworkAcls",
        &form,
        "networkAclSet.0.associationSet.0.networkAclAssociationId",
    );
    let replace = format!("AssociationId={first}&NetworkAclId={acl}");
    let second = ec2.get("ReplaceNetworkAclAssociation", &replace, "newAssociationId");
    assert_ne!(first, second);
    assert_eq!(
        ec2.refusal("ReplaceNetworkAclAssociation", &replace).0,
        "InvalidAssociationID.NotFound"
    );
    let entry = |number: u32, more: &str| {
        format!("NetworkAclId={acl}&RuleNumber={number}&RuleAction=allow&Egress=false&{more}")
    };
    let tcp = "Protocol=6&CidrBlock=0.0.0.0/0&PortRange.From=1024&PortRange.To=65535";
    ec2.call("CreateNetworkAclEntry", &entry(140, tcp)).unwrap();
    for (number, more, code) in [
        (140, tcp, "NetworkAclEntryAlreadyExists"),
        (32767, tcp, "InvalidParameterValue"),
        (150, "Protocol=6&CidrBlock=0.0.0.0/0", "MissingParameter"),
        (150, "Protocol=58&Ipv6CidrBlock=::/0", "MissingParameter"),
        (150, "Protocol=-1", "MissingParameter"),
    ] {
        assert_eq!(
            ec2.refusal("CreateNetworkAclEntry", &entry(number, more)).0,
            code,
            "{number} {more}"
        );
    }
    ec2.call("CreateNetworkAclEntry", &entry(150, "Protocol=58&CidrBlock=0.0.0.0/0"))
        .unwrap();
    let missing = entry(160, tcp);
    assert_eq!(
        ec2.refusal("ReplaceNetworkAclEntry", &missing).0,
        "InvalidNetworkAclEntry.NotFound"
    );
    ec2.call(
        "ReplaceNetworkAclEntry",
        &entry(140, "Protocol=1&CidrBlock=0.0.0.0/0&Icmp.Type=8&Icmp.Code=-1"),
    )
    .unwrap();
    let listed = ec2
        .call("DescribeNetworkAcls", &format!("NetworkAclId.1={acl}"))
        .unwrap();
    let entries = listed.get("networkAclSet").unwrap().items()[0]
        .get("entrySet")
        .unwrap()
        .items();
    let shown: Vec<String> = entries
        .iter()
        .map(|entry| {
            let part = |name: &str| text(entry, name).unwrap_or_default();
            let parts = ["egress", "ruleNumber", "ruleAction", "protocol", "icmpTypeCode.type"];
            parts.map(part).join(" ").trim_end().to_owned()
        })
        .collect();
    assert_eq!(
        shown,
        [
            "true 32767 deny -1",
            "true 32768 deny -1",
            "false 140 allow 1 8",
            "false 150 allow 58 -1",
            "false 32767 deny -1",
            "false 32768 deny -1",
        ]
    );
    assert_eq!(
        ec2.refusal("DeleteNetworkAcl", &format!("NetworkAclId={acl}")).0,
        "DependencyViolation"
    );
    ec2.call(
        "DeleteNetworkAclEntry",
        &format!("NetworkAclId={acl}&RuleNumber=150&Egress=false"),
    )
    .unwrap();
    let delete = format!("NetworkAclId={acl}&RuleNumber=150&Egress=false");
    assert_eq!(
        ec2.refusal("DeleteNetworkAclEntry", &delete).0,
        "InvalidNetworkAclEntry.NotFound"
    );
}

#[test]
fn a_managed_prefix_list_changes_by_versions() {
    let ec2 = Endpoint::new();
    let create =
        "PrefixListName=offices&MaxEntries=3&AddressFamily=IPv4&Entry.1.Cidr=203.0.113.0/24&Entry.1.Description=x";
    let list = ec2.get("CreateManagedPrefixList", create, "prefixList.prefixListId");
    let edit = format!("PrefixListId={list}&CurrentVersion=1&AddEntry.1.Cidr=198.51.100.0/24");
    assert_eq!(ec2.get("ModifyManagedPrefixList", &edit, "prefixList.version"), "2");
    assert_eq!(
        ec2.refusal("ModifyManagedPrefixList", &edit).0,
        "PrefixListVersionMismatch"
    );
    let both = format!("{edit}&MaxEntries=9");
    assert_eq!(
        ec2.refusal("ModifyManagedPrefixList", &both).0,
        "InvalidParameterCombination"
    );
    let entries = |form: &str| count(&ec2.call("GetManagedPrefixListEntries", form).unwrap(), "entrySet");
    assert_eq!(entries(&format!("PrefixListId={list}")), 2);
    assert_eq!(entries(&format!("PrefixListId={list}&TargetVersion=1")), 1);
    let restore = format!("PrefixListId={list}&PreviousVersion=1&CurrentVersion=2");
    assert_eq!(
        ec2.get("RestoreManagedPrefixListVersion", &restore, "prefixList.state"),
        "restore-complete"
    );
    let (vpc, _) = ec2.network();
    let form = format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}");
    let group = ec2.get("DescribeSecurityGroups", &form, "securityGroupInfo.0.groupId");
    let rule =
        format!("GroupId={group}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.PrefixListIds.1.PrefixListId={list}");
    ec2.call("AuthorizeSecurityGroupIngress", &rule).unwrap();
    let form = format!("PrefixListId={list}");
    assert_eq!(
        ec2.get(
            "GetManagedPrefixListAssociations",
            &form,
            "prefixListAssociationSet.0.resourceId"
        ),
        group
    );
    assert_eq!(ec2.refusal("DeleteManagedPrefixList", &form).0, "DependencyViolation");
    ec2.call("RevokeSecurityGroupIngress", &rule).unwrap();
    ec2.call("DeleteManagedPrefixList", &form).unwrap();
    // Those of AWS stay.
    let listed = ec2.call("DescribeManagedPrefixLists", "").unwrap();
    assert_eq!(count(&listed, "prefixListSet"), 2);
    let own = "Filter.1.Name=owner-id&Filter.1.Value.1=123456789012";
    let listed = ec2.call("DescribeManagedPrefixLists", own).unwrap();
    assert_eq!(count(&listed, "prefixListSet"), 0);
}

#[test]
fn rules_groups_acls_and_lists_are_tagged_like_everything_else() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    let create = format!("GroupName=web&GroupDescription=servers&VpcId={vpc}");
    let group = ec2.get("CreateSecurityGroup", &create, "groupId");
    let form = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    let rule = ec2.get(
        "DescribeSecurityGroupRules",
        &form,
        "securityGroupRuleSet.0.securityGroupRuleId",
    );
    let acl = ec2.get("CreateNetworkAcl", &format!("VpcId={vpc}"), "networkAcl.networkAclId");
    let list = ec2.get(
        "CreateManagedPrefixList",
        "PrefixListName=l&MaxEntries=3&AddressFamily=IPv4",
        "prefixList.prefixListId",
    );
    let tag = format!(
        "ResourceId.1={group}&ResourceId.2={rule}&ResourceId.3={acl}&ResourceId.4={list}&Tag.1.Key=Name&Tag.1.Value=n"
    );
    ec2.call("CreateTags", &tag).unwrap();
    let listed = ec2
        .call("DescribeTags", "Filter.1.Name=key&Filter.1.Value.1=Name")
        .unwrap();
    assert_eq!(count(&listed, "tagSet"), 4);
    for (action, list, id) in [
        ("DescribeSecurityGroups", "securityGroupInfo", "groupId"),
        (
            "DescribeSecurityGroupRules",
            "securityGroupRuleSet",
            "securityGroupRuleId",
        ),
        ("DescribeNetworkAcls", "networkAclSet", "networkAclId"),
        ("DescribeManagedPrefixLists", "prefixListSet", "prefixListId"),
    ] {
        let answer = ec2.call(action, "").unwrap();
        let items = answer.get(list).unwrap().items();
        let named = items
            .iter()
            .filter(|item| text(item, "tagSet.0.value").as_deref() == Some("n"));
        assert_eq!(named.filter_map(|item| text(item, id)).count(), 1, "{action}");
    }
}

#[test]
fn blocks_are_added_to_a_vpc_and_taken_away_by_their_association() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    let add = |block: &str| format!("VpcId={vpc}&CidrBlock={block}");
    let place = "cidrBlockAssociation.associationId";
    let first = ec2.get("AssociateVpcCidrBlock", &add("10.1.0.0/16"), place);
    let second = ec2.get("AssociateVpcCidrBlock", &add("10.2.0.0/16"), place);
    let six = format!("VpcId={vpc}&AmazonProvidedIpv6CidrBlock=true");
    let six = ec2.get("AssociateVpcCidrBlock", &six, "ipv6CidrBlockAssociation.associationId");
    for gone in [&first, &six] {
        ec2.call("DisassociateVpcCidrBlock", &format!("AssociationId={gone}"))
            .unwrap();
        assert_eq!(
            ec2.refusal("DisassociateVpcCidrBlock", &format!("AssociationId={gone}"))
                .0,
            "InvalidVpcCidrBlockAssociationID.NotFound"
        );
    }
    // The others keep their identifiers.
    let listed = ec2.call("DescribeVpcs", "").unwrap();
    let of = |at: usize| text(&listed, &format!("vpcSet.0.cidrBlockAssociationSet.{at}.associationId")).unwrap();
    assert_eq!(of(1), second);
    assert_eq!(
        ec2.refusal("DisassociateVpcCidrBlock", &format!("AssociationId={}", of(0)))
            .0,
        "OperationNotPermitted"
    );
}

#[test]
fn attributes_of_vpcs_and_subnets_are_set_and_described_one_at_a_time() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let attribute = |name: &str, element: &str| {
        let form = format!("VpcId={vpc}&Attribute={name}");
        ec2.get("DescribeVpcAttribute", &form, &format!("{element}.value"))
    };
    // "DNS attributes for your VPC": names of public addresses are off, but in a default VPC.
    for (name, by_default) in [
        ("enableDnsSupport", "true"),
        ("enableDnsHostnames", "false"),
        ("enableNetworkAddressUsageMetrics", "false"),
    ] {
        assert_eq!(attribute(name, name), by_default, "{name}");
        let parameter = format!("E{}", &name[1..]);
        for value in ["true", "false", by_default] {
            let form = format!("VpcId={vpc}&{parameter}.Value={value}");
            ec2.call("ModifyVpcAttribute", &form).unwrap();
            assert_eq!(attribute(name, name), value, "{name}");
        }
    }
    let two = format!("VpcId={vpc}&EnableDnsSupport.Value=true&EnableDnsHostnames.Value=true");
    assert_eq!(ec2.refusal("ModifyVpcAttribute", &two).0, "InvalidParameterCombination");
    assert_eq!(
        ec2.refusal("ModifyVpcAttribute", &format!("VpcId={vpc}")).0,
        "InvalidParameterCombination"
    );

    let shown = |element: &str| ec2.get("DescribeSubnets", "", &format!("subnetSet.0.{element}"));
    for value in ["true", "false"] {
        let form = format!("SubnetId={subnet}&MapPublicIpOnLaunch.Value={value}");
        ec2.call("ModifySubnetAttribute", &form).unwrap();
        assert_eq!(shown("mapPublicIpOnLaunch"), value);
    }
    let ipv6 = format!("SubnetId={subnet}&AssignIpv6AddressOnCreation.Value=true");
    assert_eq!(ec2.refusal("ModifySubnetAttribute", &ipv6).0, "InvalidParameterValue");
    let dns64 = format!("SubnetId={subnet}&EnableDns64.Value=true");
    assert_eq!(ec2.refusal("ModifySubnetAttribute", &dns64).0, "UnsupportedOperation");
    let dns64 = format!("SubnetId={subnet}&EnableDns64.Value=false");
    ec2.call("ModifySubnetAttribute", &dns64).unwrap();
}

#[test]
fn a_subnet_gets_an_ipv6_block_and_gives_it_back_when_no_interface_needs_it() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let block = ec2.get(
        "AssociateVpcCidrBlock",
        &format!("VpcId={vpc}&AmazonProvidedIpv6CidrBlock=true"),
        "ipv6CidrBlockAssociation.ipv6CidrBlock",
    );
    let block = block.replace("/56", "/64");
    let outside = format!("SubnetId={subnet}&Ipv6CidrBlock=2001:db8:ffff::/64");
    assert_eq!(
        ec2.refusal("AssociateSubnetCidrBlock", &outside).0,
        "InvalidSubnet.Range"
    );
    let form = format!("SubnetId={subnet}&Ipv6CidrBlock={block}");
    let association = ec2.get(
        "AssociateSubnetCidrBlock",
        &form,
        "ipv6CidrBlockAssociation.associationId",
    );
    assert_eq!(
        ec2.get(
            "DescribeSubnets",
            "",
            "subnetSet.0.ipv6CidrBlockAssociationSet.0.associationId"
        ),
        association
    );
    let again = format!("SubnetId={subnet}&Ipv6CidrBlock={}", block.replace("::/64", ":1::/64"));
    assert_eq!(
        ec2.refusal("AssociateSubnetCidrBlock", &again).0,
        "InvalidSubnet.Conflict"
    );

    // From here on an interface gets an address without asking, unless it asks for something else.
    let form = format!("SubnetId={subnet}&AssignIpv6AddressOnCreation.Value=true");
    ec2.call("ModifySubnetAttribute", &form).unwrap();
    let made = ec2
        .call("CreateNetworkInterface", &format!("SubnetId={subnet}"))
        .unwrap();
    let interface = text(&made, "networkInterface.networkInterfaceId").unwrap();
    assert!(
        text(&made, "networkInterface.ipv6AddressesSet.0.ipv6Address").is_some(),
        "{made:?}"
    );
    let none = format!("SubnetId={subnet}&Ipv6AddressCount=0");
    let made = ec2.call("CreateNetworkInterface", &none).unwrap();
    assert!(text(&made, "networkInterface.ipv6AddressesSet.0.ipv6Address").is_none());

    let form = format!("AssociationId={association}");
    assert_eq!(
        ec2.refusal("DisassociateSubnetCidrBlock", &form).0,
        "DependencyViolation"
    );
    let address = ec2.get(
        "DescribeNetworkInterfaces",
        &format!("NetworkInterfaceId.1={interface}"),
        "networkInterfaceSet.0.ipv6AddressesSet.0.ipv6Address",
    );
    let take = format!("NetworkInterfaceId={interface}&Ipv6Addresses.1={address}");
    ec2.call("UnassignIpv6Addresses", &take).unwrap();
    let state = "ipv6CidrBlockAssociation.ipv6CidrBlockState.state";
    assert_eq!(ec2.get("DisassociateSubnetCidrBlock", &form, state), "disassociating");
    assert_eq!(
        ec2.refusal("DisassociateSubnetCidrBlock", &form).0,
        "InvalidSubnetCidrBlockAssociationID.NotFound"
    );
    assert_eq!(
        ec2.get("DescribeSubnets", "", "subnetSet.0.assignIpv6AddressOnCreation"),
        "false"
    );
}

/// The API of a network whose answers are not checked.
fn bare() -> Ec2 {
    Ec2::new(AppState::new(
        Controller::new(ControllerConfig::default()),
        GuardConfig::default(),
    ))
}

/// A value that a parameter could have, or should not have.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("true".to_owned()),
        Just("default".to_owned()),
        Just("10.0.0.0/16".to_owned()),
        Just("10.0.1.10".to_owned()),
        Just("2001:db8::/64".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "(vpc|subnet|eni|i|sg|rtb|eipalloc|acl|igw|dopt|pl)-0[0-9a-f]{16}",
        ".{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_form_of_any_content_is_answered_and_a_refused_one_changes_nothing(
        action in 0..ACTIONS.len(),
        parameters in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..4, value()), 0..8),
        more in prop::collection::vec((".{0,30}", value()), 0..2),
    ) {
        let entry = &ACTIONS[action];
        let known = entry.parameters();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", entry.name);
        for (index, number, value) in &parameters {
            if let Some((name, _)) = (!known.is_empty()).then(|| index.get(&known)) {
                form.append_pair(&name.replace(".N", &format!(".{number}")), value);
            }
        }
        for (name, value) in &more {
            form.append_pair(name, value);
        }
        let ec2 = bare();
        let _ = ec2.answer(b"", b"Action=CreateVpc&CidrBlock=10.0.0.0/16");
        let before = ec2.state.controller.revision();
        let (status, document) = ec2.answer(b"", form.finish().as_bytes());
        prop_assert!(document.starts_with("<?xml"), "{document}");
        prop_assert!(status != 500, "{document}");
        if status >= 400 || entry.reads {
            prop_assert_eq!(ec2.state.controller.revision(), before, "{}", document);
        }
    }
}
