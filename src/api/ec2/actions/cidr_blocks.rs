//! The actions that add address blocks to VPCs and take them away, and those that set attributes of VPCs and subnets.

use serde::Deserialize;

use super::ids::{id, reference};
use super::vpcs::{association_of, ipv4_block, ipv6_block, provided_block};
use crate::api::ec2::action::{Action, Answer, Attribute, done};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::vpc::ModifyVpc;
use crate::model::{Vpc, VpcId};

/// The members of an answer about one block.
fn about(vpc: VpcId, ipv6: bool, block: &str, state: &'static str) -> Answer {
    let association = Node::Text(association_of("vpc-cidr-assoc", vpc, block));
    let state = Node::map([("state", Node::text(state))]);
    let node = match ipv6 {
        true => Node::map([
            ("associationId", association),
            ("ipv6CidrBlock", Node::text(block)),
            ("ipv6CidrBlockState", state),
            ("ipv6Pool", Node::text("Amazon")),
        ]),
        false => Node::map([
            ("associationId", association),
            ("cidrBlock", Node::text(block)),
            ("cidrBlockState", state),
        ]),
    };
    let element = if ipv6 {
        "ipv6CidrBlockAssociation"
    } else {
        "cidrBlockAssociation"
    };
    Ok(vec![(element, node), ("vpcId", Node::text(vpc))])
}

/// Adds a block to a VPC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssociateVpcCidrBlock {
    vpc_id: String,
    cidr_block: Option<String>,
    ipv6_cidr_block: Option<String>,
    amazon_provided_ipv6_cidr_block: Option<bool>,
}

impl Action for AssociateVpcCidrBlock {
    const NAME: &'static str = "AssociateVpcCidrBlock";
    const HELP: &'static str = "Adds an IPv4 or IPv6 block to a VPC";

    fn run(self, call: &Call<'_>) -> Answer {
        let vpc = call.controller().vpc(&id::<VpcId>(&self.vpc_id)?.into())?;
        let provided = self.amazon_provided_ipv6_cidr_block == Some(true);
        let mut change = ModifyVpc::new(vpc.id);
        let (ipv6, block) = match (self.cidr_block, self.ipv6_cidr_block, provided) {
            (Some(block), None, false) => {
                let block = ipv4_block(&block)?;
                let mut all = vpc.cidr_blocks.clone();
                all.push(block);
                change.cidr_blocks = Some(all);
                (false, block.to_string())
            }
            (None, given, provided) if given.is_some() || provided => {
                let block = match given {
                    Some(given) => ipv6_block(&given)?,
                    None => provided_block(call),
                };
                let mut all = vpc.ipv6_cidr_blocks.clone();
                all.push(block);
                change.ipv6_cidr_blocks = Some(all);
                (true, block.to_string())
            }
            (None, ..) => return Err(Ec2Error::missing("CidrBlock")),
            _ => {
                return Err(Ec2Error::combination(
                    "Only one of CidrBlock, Ipv6CidrBlock and AmazonProvidedIpv6CidrBlock can be specified",
                ));
            }
        };
        call.execute(change)?;
        about(vpc.id, ipv6, &block, "associated")
    }
}

/// Takes a block from a VPC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DisassociateVpcCidrBlock {
    association_id: String,
}

impl Action for DisassociateVpcCidrBlock {
    const NAME: &'static str = "DisassociateVpcCidrBlock";
    const HELP: &'static str = "Takes a block from a VPC: one that no subnet has, and not the primary one";

    fn run(self, call: &Call<'_>) -> Answer {
        let is = |vpc: &Vpc, block: &str| association_of("vpc-cidr-assoc", vpc.id, block) == self.association_id;
        for vpc in call.controller().vpcs() {
            let mut change = ModifyVpc::new(vpc.id);
            if let Some(block) = vpc.cidr_blocks.iter().find(|block| is(&vpc, &block.to_string())) {
                change.cidr_blocks = Some(vpc.cidr_blocks.iter().filter(|one| *one != block).copied().collect());
                call.execute(change)?;
                return about(vpc.id, false, &block.to_string(), "disassociated");
            }
            if let Some(block) = vpc.ipv6_cidr_blocks.iter().find(|block| is(&vpc, &block.to_string())) {
                change.ipv6_cidr_blocks = Some(
                    vpc.ipv6_cidr_blocks
                        .iter()
                        .filter(|one| *one != block)
                        .copied()
                        .collect(),
                );
                call.execute(change)?;
                return about(vpc.id, true, &block.to_string(), "disassociated");
            }
        }
        Err(Ec2Error::new(
            "InvalidVpcCidrBlockAssociationID.NotFound",
            format!(
                "The vpc CIDR block association ID '{}' does not exist",
                printed(&self.association_id)
            ),
        ))
    }
}

/// Refuses an attribute that is not as it is anyway.
fn as_it_is<const N: usize>(given: [(Option<bool>, bool, &str); N]) -> Result<(), Ec2Error> {
    match given.iter().filter(|(value, ..)| value.is_some()).count() {
        0 => return Err(Ec2Error::combination("No attributes specified.")),
        1 => {}
        _ => return Err(Ec2Error::combination("Fields for multiple attribute types specified")),
    }
    let otherwise = given
        .iter()
        .find(|(value, now, _)| value.is_some_and(|value| value != *now));
    otherwise.map_or(Ok(()), |(_, now, name)| {
        Err(Ec2Error::new(
            "UnsupportedOperation",
            format!("The attribute {name} is {now} here and cannot be changed."),
        ))
    })
}

fn value(given: Option<Attribute<bool>>) -> Option<bool> {
    given.map(|given| given.value)
}

/// Sets an attribute of a VPC to what it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyVpcAttribute {
    vpc_id: String,
    enable_dns_support: Option<Attribute<bool>>,
    enable_dns_hostnames: Option<Attribute<bool>>,
    enable_network_address_usage_metrics: Option<Attribute<bool>>,
}

impl Action for ModifyVpcAttribute {
    const NAME: &'static str = "ModifyVpcAttribute";
    const HELP: &'static str = "Sets an attribute of a VPC: names are always given and resolved, usage is not measured";

    fn run(self, call: &Call<'_>) -> Answer {
        call.controller().vpc(&reference(&self.vpc_id)?)?;
        as_it_is([
            (value(self.enable_dns_support), true, "enableDnsSupport"),
            (value(self.enable_dns_hostnames), true, "enableDnsHostnames"),
            (
                value(self.enable_network_address_usage_metrics),
                false,
                "enableNetworkAddressUsageMetrics",
            ),
        ])?;
        done()
    }
}

/// Sets an attribute of a subnet to what it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifySubnetAttribute {
    subnet_id: String,
    assign_ipv6_address_on_creation: Option<Attribute<bool>>,
    map_public_ip_on_launch: Option<Attribute<bool>>,
    enable_dns64: Option<Attribute<bool>>,
    enable_resource_name_dns_a_record_on_launch: Option<Attribute<bool>>,
    #[serde(rename = "EnableResourceNameDnsAAAARecordOnLaunch")]
    enable_resource_name_dns_aaaa_record_on_launch: Option<Attribute<bool>>,
}

impl Action for ModifySubnetAttribute {
    const NAME: &'static str = "ModifySubnetAttribute";
    const HELP: &'static str = "Sets an attribute of a subnet to what it is: no address is given by itself";

    fn run(self, call: &Call<'_>) -> Answer {
        call.controller().subnet(&reference(&self.subnet_id)?)?;
        as_it_is([
            (
                value(self.assign_ipv6_address_on_creation),
                false,
                "assignIpv6AddressOnCreation",
            ),
            (value(self.map_public_ip_on_launch), false, "mapPublicIpOnLaunch"),
            (value(self.enable_dns64), false, "enableDns64"),
            (
                value(self.enable_resource_name_dns_a_record_on_launch),
                false,
                "enableResourceNameDnsARecord",
            ),
            (
                value(self.enable_resource_name_dns_aaaa_record_on_launch),
                false,
                "enableResourceNameDnsAAAARecord",
            ),
        ])?;
        done()
    }
}
