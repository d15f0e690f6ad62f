//! Calls actions in process and holds every answer to AWS's own table of elements and enums.

mod blocks;
mod forms;
mod reservations;
mod rules;
mod templates;

use std::collections::BTreeMap;

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
        serde_json::from_str(include_str!("../../../../api/ec2/outputs.json")).unwrap()
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
    assert_eq!(
        ec2.get("AssociateRouteTable", &form, "associationId"),
        association,
        "asked for twice"
    );
    let other = ec2.get("CreateRouteTable", &format!("VpcId={vpc}"), "routeTable.routeTableId");
    let (code, message) = ec2.refusal(
        "AssociateRouteTable",
        &format!("RouteTableId={other}&SubnetId={subnet}"),
    );
    assert_eq!(code, "Resource.AlreadyAssociated");
    assert_eq!(
        message,
        format!("the specified association for route table {other} conflicts with an existing association")
    );
    let route = |interface: &str| {
        format!("RouteTableId={table}&DestinationCidrBlock=192.168.9.9/32&NetworkInterfaceId={interface}")
    };
    let (code, message) = ec2.refusal("ReplaceRoute", &route(&a));
    assert_eq!(code, "InvalidParameterValue");
    assert!(
        message.ends_with("in the route table. Use CreateRoute instead."),
        "{message}"
    );
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
    // Every action lists the same zones.
    let zones = |action, list: &str, name: &str| -> Vec<String> {
        let answer = ec2.call(action, "").unwrap();
        let zone = |at| text(&answer, &format!("{list}.{at}{name}"));
        (0..).map_while(zone).collect()
    };
    let all = zones("DescribeAvailabilityZones", "availabilityZoneInfo", ".zoneName");
    assert_eq!(all.len(), 6);
    assert_eq!(
        zones(
            "DescribeVpcEndpointServices",
            "serviceDetailSet.0.availabilityZoneSet",
            ""
        ),
        all
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
