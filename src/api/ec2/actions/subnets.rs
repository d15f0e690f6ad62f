//! Implements the actions on subnets.

use serde::Deserialize;

use super::ids::reference;
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use super::vpcs::{association_of, ipv4_block, ipv6_block};
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::Subnet;
use crate::model::ids::ResourceRef;
use crate::model::region::{region_of, zone_id, zones_of};
use crate::model::subnet::{CreateSubnet as Create, DeleteSubnet as Delete};
use crate::model::vpc::CreateDefaultSubnet as CreateDefault;

/// Filters whose name differs from that of their element.
const PLACES: &[Place] = &[
    (
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6CidrBlockAssociationSet.ipv6CidrBlock",
    ),
    (
        "ipv6-cidr-block-association.association-id",
        "ipv6CidrBlockAssociationSet.associationId",
    ),
    (
        "ipv6-cidr-block-association.state",
        "ipv6CidrBlockAssociationSet.ipv6CidrBlockState.state",
    ),
    ("ipv6-native", "ipv6Native"),
    ("default-for-az", "defaultForAz"),
];

/// Renders EC2's `Subnet`.
pub(super) fn subnet(call: &Call<'_>, subnet: &Subnet) -> Node {
    let ipv6 = subnet.ipv6_cidr_block.iter().map(|block| {
        Node::map([
            (
                "associationId",
                Node::Text(association_of("subnet-cidr-assoc", subnet.id, &block.to_string())),
            ),
            ("ipv6CidrBlock", Node::text(block)),
            ("ipv6CidrBlockState", Node::map([("state", Node::text("associated"))])),
        ])
    });
    let region = region_of(&subnet.availability_zone);
    Node::map([
        ("subnetId", Node::text(subnet.id)),
        (
            "subnetArn",
            Node::Text(format!("arn:aws:ec2:{region}:{ACCOUNT}:subnet/{}", subnet.id)),
        ),
        ("state", Node::text("available")),
        ("ownerId", Node::text(ACCOUNT)),
        ("vpcId", Node::text(subnet.vpc_id)),
        ("cidrBlock", Node::maybe(subnet.cidr_block)),
        ("ipv6CidrBlockAssociationSet", Node::list(ipv6)),
        (
            "availableIpAddressCount",
            Node::text(call.controller().free_addresses(subnet.id)),
        ),
        ("availabilityZone", Node::text(&subnet.availability_zone)),
        ("availabilityZoneId", Node::Text(zone_id(&subnet.availability_zone))),
        ("defaultForAz", Node::text(subnet.default_for_az)),
        ("mapPublicIpOnLaunch", Node::text(subnet.map_public_ip_on_launch)),
        (
            "assignIpv6AddressOnCreation",
            Node::text(subnet.assign_ipv6_on_creation),
        ),
        ("mapCustomerOwnedIpOnLaunch", Node::text(false)),
        ("enableDns64", Node::text(subnet.enable_dns64)),
        ("ipv6Native", Node::text(subnet.cidr_block.is_none())),
        (
            "privateDnsNameOptionsOnLaunch",
            Node::map([
                ("hostnameType", Node::text("ip-name")),
                ("enableResourceNameDnsARecord", Node::text(false)),
                ("enableResourceNameDnsAAAARecord", Node::text(false)),
            ]),
        ),
        ("tagSet", tag_set(subnet.name.as_deref(), &subnet.tags)),
    ])
}

/// Creates a subnet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateSubnet {
    vpc_id: String,
    cidr_block: Option<String>,
    ipv6_cidr_block: Option<String>,
    ipv6_native: Option<bool>,
    availability_zone: Option<String>,
    availability_zone_id: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateSubnet {
    const NAME: &'static str = "CreateSubnet";
    const HELP: &'static str = "Makes a subnet";

    fn run(self, call: &Call<'_>) -> Answer {
        let native = self.ipv6_native == Some(true);
        if native == self.cidr_block.is_some() {
            return Err(if native {
                Ec2Error::combination("The parameter CidrBlock cannot be used with the parameter Ipv6Native")
            } else {
                Ec2Error::missing("CidrBlock")
            });
        }
        let given = Given::of(&self.tag_specification, "subnet")?;
        let made = call.execute(Create {
            name: given.free_name(|name| call.controller().subnet(&ResourceRef::new(name)).is_ok()),
            vpc: reference(&self.vpc_id)?,
            cidr_block: self.cidr_block.as_deref().map(ipv4_block).transpose()?,
            ipv6_cidr_block: self.ipv6_cidr_block.as_deref().map(ipv6_block).transpose()?,
            availability_zone: zone(
                call,
                self.availability_zone.as_deref(),
                self.availability_zone_id.as_deref(),
            )?,
            router_mac: None,
            tags: given.tags,
        })?;
        Ok(vec![("subnet", subnet(call, &made))])
    }
}

/// The zone that a request names, by name or identifier. Zones of other regions are taken as well, as their subnets are here.
fn zone(call: &Call<'_>, name: Option<&str>, id: Option<&str>) -> Result<Option<String>, Ec2Error> {
    let zones = zones_of(&call.controller().region());
    match (name, id) {
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "Only one of AvailabilityZone and AvailabilityZoneId can be specified",
        )),
        (Some(name), None) if zones_of(region_of(name)).iter().any(|zone| zone == name) => Ok(Some(name.to_owned())),
        (Some(name), None) => Err(Ec2Error::invalid_value(format!(
            "Value ({}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following \
             availability zones: {}.",
            printed(name),
            zones.join(", ")
        ))),
        (None, Some(id)) => match zones.iter().find(|zone| zone_id(zone) == id) {
            Some(zone) => Ok(Some(zone.clone())),
            None => Err(Ec2Error::invalid_value(format!(
                "Value ({}) for parameter availabilityZoneId is invalid.",
                printed(id)
            ))),
        },
        (None, None) => Ok(None),
    }
}

/// Makes the default subnet of a zone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateDefaultSubnet {
    availability_zone: Option<String>,
    availability_zone_id: Option<String>,
    ipv6_native: Option<bool>,
}

impl Action for CreateDefaultSubnet {
    const NAME: &'static str = "CreateDefaultSubnet";
    const HELP: &'static str = "Makes the default subnet of a zone, in the default VPC";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.ipv6_native == Some(true) {
            return Err(Ec2Error::unsupported("Ipv6Native"));
        }
        let zone = zone(
            call,
            self.availability_zone.as_deref(),
            self.availability_zone_id.as_deref(),
        )?;
        let zone = zone.ok_or_else(|| Ec2Error::missing("AvailabilityZone"))?;
        let made = call.execute(CreateDefault { zone })?;
        Ok(vec![("subnet", subnet(call, &made))])
    }
}

/// Deletes a subnet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteSubnet {
    subnet_id: String,
}

impl Action for DeleteSubnet {
    const NAME: &'static str = "DeleteSubnet";
    const HELP: &'static str = "Deletes a subnet that has no network interfaces";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Delete(reference(&self.subnet_id)?))?;
        done()
    }
}

/// Lists subnets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeSubnets {
    #[serde(default)]
    subnet_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeSubnets {
    const NAME: &'static str = "DescribeSubnets";
    const HELP: &'static str = "Lists subnets";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.subnet_id {
            call.controller().subnet(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("SubnetIds", &self.subnet_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().subnets();
        let page = selection.of(call, all.iter().map(|one| subnet(call, one)), "subnetId", PLACES)?;
        Ok(vec![("subnetSet", Node::List(page.items)), ("nextToken", page.next)])
    }
}
