//! Implements the actions on VPCs.

use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use super::ids::{id, reference};
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::cidr::overlap;
use crate::model::ids::ResourceRef;
use crate::model::region::zones_of;
use crate::model::vpc::{CreateDefaultVpc as CreateDefault, CreateVpc as Create, DeleteVpc as Delete, VpcAttributes};
use crate::model::{Profile, Vpc, VpcId};

/// Filters whose name differs from that of their element.
const PLACES: &[Place] = &[
    ("cidr", "cidrBlock"),
    ("cidr-block-association.cidr-block", "cidrBlockAssociationSet.cidrBlock"),
    (
        "cidr-block-association.association-id",
        "cidrBlockAssociationSet.associationId",
    ),
    (
        "cidr-block-association.state",
        "cidrBlockAssociationSet.cidrBlockState.state",
    ),
    (
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6CidrBlockAssociationSet.ipv6CidrBlock",
    ),
    (
        "ipv6-cidr-block-association.ipv6-pool",
        "ipv6CidrBlockAssociationSet.ipv6Pool",
    ),
    (
        "ipv6-cidr-block-association.association-id",
        "ipv6CidrBlockAssociationSet.associationId",
    ),
    (
        "ipv6-cidr-block-association.state",
        "ipv6CidrBlockAssociationSet.ipv6CidrBlockState.state",
    ),
];

/// Renders EC2's `Vpc`.
pub(super) fn vpc(vpc: &Vpc) -> Node {
    let associated = || Node::map([("state", Node::text("associated"))]);
    let ipv4 = vpc.cidr_blocks.iter().map(|block| {
        Node::map([
            (
                "associationId",
                Node::Text(association_of("vpc-cidr-assoc", vpc.id, &block.to_string())),
            ),
            ("cidrBlock", Node::text(block)),
            ("cidrBlockState", associated()),
        ])
    });
    let ipv6 = vpc.ipv6_cidr_blocks.iter().map(|block| {
        Node::map([
            (
                "associationId",
                Node::Text(association_of("vpc-cidr-assoc", vpc.id, &block.to_string())),
            ),
            ("ipv6CidrBlock", Node::text(block)),
            ("ipv6CidrBlockState", associated()),
            ("networkBorderGroup", Node::Absent),
            ("ipv6Pool", Node::text("Amazon")),
        ])
    });
    Node::map([
        ("vpcId", Node::text(vpc.id)),
        ("ownerId", Node::text(ACCOUNT)),
        ("state", Node::text("available")),
        ("cidrBlock", Node::maybe(vpc.cidr_blocks.first())),
        ("cidrBlockAssociationSet", Node::list(ipv4)),
        ("ipv6CidrBlockAssociationSet", Node::list(ipv6)),
        (
            "dhcpOptionsId",
            vpc.dhcp_options_id.map_or_else(|| Node::text("default"), Node::text),
        ),
        ("instanceTenancy", Node::text("default")),
        ("isDefault", Node::text(vpc.default)),
        ("tagSet", tag_set(vpc.name.as_deref(), &vpc.tags)),
    ])
}

/// The identifier of a block of a resource: the same for as long as the resource has the block, whatever others it has (FNV-1a).
pub(super) fn association_of<T: crate::model::ids::ResourceId>(prefix: &str, id: T, block: &str) -> String {
    let hash = block.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{prefix}-0{:016x}", id.to_bits() ^ hash)
}

/// Creates a VPC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateVpc {
    cidr_block: Option<String>,
    ipv6_cidr_block: Option<String>,
    amazon_provided_ipv6_cidr_block: Option<bool>,
    instance_tenancy: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateVpc {
    const NAME: &'static str = "CreateVpc";
    const HELP: &'static str = "Makes a VPC";

    fn run(self, call: &Call<'_>) -> Answer {
        let block = self.cidr_block.ok_or_else(|| Ec2Error::missing("CidrBlock"))?;
        default_tenancy(self.instance_tenancy.as_deref())?;
        let given = Given::of(&self.tag_specification, "vpc")?;
        let ipv6 = match (self.ipv6_cidr_block, self.amazon_provided_ipv6_cidr_block) {
            (Some(block), _) => Some(ipv6_block(&block)?),
            (None, Some(true)) => Some(provided_block(call)),
            (None, _) => None,
        };
        let create = Create {
            name: given.free_name(|name| call.controller().vpc(&ResourceRef::new(name)).is_ok()),
            cidr_blocks: vec![ipv4_block(&block)?],
            ipv6_cidr_blocks: ipv6.into_iter().collect(),
            profile: Arc::new(Profile::aws()),
            dhcp_options: None,
            attributes: VpcAttributes::of_ec2(),
            tags: given.tags,
        };
        let made = call.execute(create)?;
        Ok(vec![("vpc", vpc(&made))])
    }
}

/// Makes the default VPC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateDefaultVpc {}

impl Action for CreateDefaultVpc {
    const NAME: &'static str = "CreateDefaultVpc";
    const HELP: &'static str =
        "Makes the default VPC, with an internet gateway, a route to it and a public subnet in each zone";

    fn run(self, call: &Call<'_>) -> Answer {
        let zones = zones_of(&call.controller().region());
        let made = call.execute(CreateDefault { zones })?;
        Ok(vec![("vpc", vpc(&made))])
    }
}

/// EC2's refusal of a tenancy that this server does not have.
fn default_tenancy(given: Option<&str>) -> Result<(), Ec2Error> {
    match given {
        None | Some("default") => Ok(()),
        Some(_) => Err(Ec2Error::unsupported("InstanceTenancy")),
    }
}

/// An IPv4 block, host bits cleared as EC2 does ("VPC CIDR blocks": 100.68.0.18/18 becomes 100.68.0.0/18).
pub(super) fn ipv4_block(text: &str) -> Result<Ipv4Net, Ec2Error> {
    ipv4_block_of("cidrBlock", text)
}

/// The IPv4 block of a parameter, which a refusal names.
pub(super) fn ipv4_block_of(parameter: &str, text: &str) -> Result<Ipv4Net, Ec2Error> {
    let net: Ipv4Net = text.parse().map_err(|_| bad_block(parameter, text, "CIDR"))?;
    Ok(net.trunc())
}

/// An IPv6 block, host bits cleared.
pub(super) fn ipv6_block(text: &str) -> Result<Ipv6Net, Ec2Error> {
    ipv6_block_of("cidrBlock", text)
}

/// The IPv6 block of a parameter, which a refusal names.
pub(super) fn ipv6_block_of(parameter: &str, text: &str) -> Result<Ipv6Net, Ec2Error> {
    let net: Ipv6Net = text.parse().map_err(|_| bad_block(parameter, text, "IPv6 CIDR"))?;
    Ok(net.trunc())
}

fn bad_block(parameter: &str, text: &str, kind: &str) -> Ec2Error {
    let text = crate::api::ec2::request::printed(text);
    Ec2Error::invalid_value(format!(
        "Value ({text}) for parameter {parameter} is invalid. This is not a valid {kind} block."
    ))
}

/// A free /56 of the range for documentation (2001:db8::/32, RFC 3849).
pub(super) fn provided_block(call: &Call<'_>) -> Ipv6Net {
    let taken: Vec<Ipv6Net> = call
        .controller()
        .vpcs()
        .iter()
        .flat_map(|vpc| vpc.ipv6_cidr_blocks.clone())
        .collect();
    let base: u128 = 0x2001_0db8_1234 << 80;
    let candidates = (0..1u128 << 16).map(|number| {
        let address = base | (number << 72);
        Ipv6Net::new_assert(address.into(), 56)
    });
    let overlaps = |net: &Ipv6Net| taken.iter().any(|other| overlap((*other).into(), (*net).into()));
    let mut free = candidates.filter(|net| !overlaps(net));
    // 65 536 VPCs have one each before this runs out, and the model then refuses the overlap.
    free.next().unwrap_or_else(|| Ipv6Net::new_assert(base.into(), 56))
}

/// Deletes a VPC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteVpc {
    vpc_id: String,
}

impl Action for DeleteVpc {
    const NAME: &'static str = "DeleteVpc";
    const HELP: &'static str = "Deletes a VPC that has no subnets";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Delete(reference(&self.vpc_id)?))?;
        done()
    }
}

/// Lists VPCs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVpcs {
    #[serde(default)]
    vpc_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeVpcs {
    const NAME: &'static str = "DescribeVpcs";
    const HELP: &'static str = "Lists VPCs";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.vpc_id {
            call.controller().vpc(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("VpcIds", &self.vpc_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let page = selection.of(call, call.controller().vpcs().iter().map(vpc), "vpcId", PLACES)?;
        Ok(vec![("vpcSet", Node::List(page.items)), ("nextToken", page.next)])
    }
}

/// Returns one attribute of a VPC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVpcAttribute {
    vpc_id: String,
    attribute: String,
}

impl Action for DescribeVpcAttribute {
    const NAME: &'static str = "DescribeVpcAttribute";
    const HELP: &'static str = "Says one attribute of a VPC";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let vpc: VpcId = id(&self.vpc_id)?;
        let now = call.controller().vpc(&vpc.into())?.attributes;
        let (element, value) = match self.attribute.as_str() {
            "enableDnsSupport" => ("enableDnsSupport", now.dns_support),
            "enableDnsHostnames" => ("enableDnsHostnames", now.dns_hostnames),
            "enableNetworkAddressUsageMetrics" => ("enableNetworkAddressUsageMetrics", now.address_usage_metrics),
            other => {
                let other = crate::api::ec2::request::printed(other);
                return Err(Ec2Error::invalid_value(format!(
                    "Value ({other}) for parameter attribute is invalid. Unknown vpc attribute"
                )));
            }
        };
        Ok(vec![
            ("vpcId", Node::text(vpc)),
            (element, Node::map([("value", Node::text(value))])),
        ])
    }
}
