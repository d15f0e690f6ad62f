//! Implements the actions that add address blocks to VPCs and subnets and take them away, and those that set their attributes.

use ipnet::Ipv6Net;
use serde::Deserialize;

use super::ids::{id, reference};
use super::vpcs::{association_of, ipv4_block, ipv6_block, provided_block};
use crate::api::ec2::action::{Action, Answer, Attribute, done};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::subnet::ModifySubnet;
use crate::model::vpc::{ModifyVpc, VpcAttributes};
use crate::model::{SubnetId, Vpc, VpcId};

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
        about(vpc.id, ipv6, &block, "associating")
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
                return about(vpc.id, false, &block.to_string(), "disassociating");
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
                return about(vpc.id, true, &block.to_string(), "disassociating");
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

/// Refuses a request without an attribute, or with several of them.
fn only_one<const N: usize>(given: [bool; N]) -> Result<(), Ec2Error> {
    match given.into_iter().filter(|given| *given).count() {
        0 => Err(Ec2Error::combination("No attributes specified.")),
        1 => Ok(()),
        _ => Err(Ec2Error::combination("Fields for multiple attribute types specified")),
    }
}

/// Refuses an attribute that would not be as it is anyway.
fn as_it_is(given: Option<bool>, name: &str) -> Result<(), Ec2Error> {
    match given {
        Some(true) => Err(Ec2Error::new(
            "UnsupportedOperation",
            format!("The attribute {name} is false here and cannot be changed."),
        )),
        _ => Ok(()),
    }
}

fn value(given: Option<Attribute<bool>>) -> Option<bool> {
    given.map(|given| given.value)
}

/// Sets an attribute of a VPC.
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
    const HELP: &'static str = "Sets an attribute of a VPC: whether its resolver answers, whether public addresses have names; that usage \
                                is measured is kept, and has no effect";

    fn run(self, call: &Call<'_>) -> Answer {
        let vpc = call.controller().vpc(&reference(&self.vpc_id)?)?;
        let (support, hostnames) = (value(self.enable_dns_support), value(self.enable_dns_hostnames));
        let metrics = value(self.enable_network_address_usage_metrics);
        only_one([support.is_some(), hostnames.is_some(), metrics.is_some()])?;
        let now = vpc.attributes;
        call.execute(ModifyVpc {
            attributes: Some(VpcAttributes {
                dns_support: support.unwrap_or(now.dns_support),
                dns_hostnames: hostnames.unwrap_or(now.dns_hostnames),
                address_usage_metrics: metrics.unwrap_or(now.address_usage_metrics),
            }),
            ..ModifyVpc::new(vpc.id)
        })?;
        done()
    }
}

/// Sets an attribute of a subnet.
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
    const HELP: &'static str = "Sets an attribute of a subnet: whether a launch gets a public address, whether a new interface gets an IPv6 \
                                address, whether DNS64 gives IPv6 addresses to names without one; the others stay false";

    fn run(self, call: &Call<'_>) -> Answer {
        let subnet = call.controller().subnet(&reference(&self.subnet_id)?)?;
        let public = value(self.map_public_ip_on_launch);
        let ipv6 = value(self.assign_ipv6_address_on_creation);
        let dns64 = value(self.enable_dns64);
        let others = [
            (
                value(self.enable_resource_name_dns_a_record_on_launch),
                "enableResourceNameDnsARecord",
            ),
            (
                value(self.enable_resource_name_dns_aaaa_record_on_launch),
                "enableResourceNameDnsAAAARecord",
            ),
        ];
        let [a, aaaa] = others.map(|(given, _)| given.is_some());
        only_one([public.is_some(), ipv6.is_some(), dns64.is_some(), a, aaaa])?;
        for (given, name) in others {
            as_it_is(given, name)?;
        }
        if ipv6 == Some(true) && subnet.ipv6_cidr_block.is_none() {
            return Err(Ec2Error::invalid_value(format!(
                "Invalid value 'true' for assignIpv6AddressOnCreation. Subnet '{}' does not have any ipv6 cidr block associated.",
                subnet.id
            )));
        }
        if public.is_some() || ipv6.is_some() || dns64.is_some() {
            call.execute(ModifySubnet {
                map_public_ip_on_launch: public,
                assign_ipv6_on_creation: ipv6,
                enable_dns64: dns64,
                ..ModifySubnet::new(subnet.id)
            })?;
        }
        done()
    }
}

/// The members of an answer about the block of a subnet.
fn about_subnet(subnet: SubnetId, block: Ipv6Net, state: &'static str) -> Answer {
    let association = association_of("subnet-cidr-assoc", subnet, &block.to_string());
    let node = Node::map([
        ("associationId", Node::Text(association)),
        ("ipv6CidrBlock", Node::text(block)),
        ("ipv6CidrBlockState", Node::map([("state", Node::text(state))])),
    ]);
    Ok(vec![
        ("ipv6CidrBlockAssociation", node),
        ("subnetId", Node::text(subnet)),
    ])
}

/// Gives a subnet an IPv6 block.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssociateSubnetCidrBlock {
    subnet_id: String,
    ipv6_cidr_block: Option<String>,
}

impl Action for AssociateSubnetCidrBlock {
    const NAME: &'static str = "AssociateSubnetCidrBlock";
    const HELP: &'static str = "Gives a subnet without IPv6 an IPv6 block";

    fn run(self, call: &Call<'_>) -> Answer {
        let block = self.ipv6_cidr_block.ok_or_else(|| Ec2Error::missing("Ipv6CidrBlock"))?;
        let block = ipv6_block(&block)?;
        let subnet = call.execute(ModifySubnet {
            ipv6_cidr_block: Some(Some(block)),
            ..ModifySubnet::new(id::<SubnetId>(&self.subnet_id)?)
        })?;
        about_subnet(subnet.id, block, "associating")
    }
}

/// Takes its IPv6 block from a subnet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DisassociateSubnetCidrBlock {
    association_id: String,
}

impl Action for DisassociateSubnetCidrBlock {
    const NAME: &'static str = "DisassociateSubnetCidrBlock";
    const HELP: &'static str = "Takes the IPv6 block from a subnet in which no interface has an IPv6 address";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = call.controller().subnets().into_iter().find_map(|subnet| {
            let block = subnet.ipv6_cidr_block?;
            let association = association_of("subnet-cidr-assoc", subnet.id, &block.to_string());
            (association == self.association_id).then_some((subnet.id, block))
        });
        let (subnet, block) = found.ok_or_else(|| {
            let message = format!(
                "The subnet CIDR block association ID '{}' does not exist",
                printed(&self.association_id)
            );
            Ec2Error::new("InvalidSubnetCidrBlockAssociationID.NotFound", message)
        })?;
        call.execute(ModifySubnet {
            ipv6_cidr_block: Some(None),
            ..ModifySubnet::new(subnet)
        })?;
        about_subnet(subnet, block, "disassociating")
    }
}
