//! The actions on block public access.

use std::time::SystemTime;

use serde::Deserialize;

use super::ids::{id, reference};
use super::render::{ACCOUNT, tag_set};
use crate::api::ec2::action::{Action, Answer, Filter};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::block_public_access::{
    BlockMode, BpaExclusion, ExcludeFromBlock, Excluded, ExcludedRef, ExclusionMode, IncludeInBlock, ModifyExclusion,
    SetBlockPublicAccess,
};
use crate::model::naming::Tags;

/// The elements of filters whose names differ from them.
const PLACES: &[Place] = &[
    ("internet-gateway-exclusion-mode", "internetGatewayExclusionMode"),
    ("resource-arn", "resourceArn"),
];

/// The `VpcBlockPublicAccessOptions` of EC2's answers.
fn options(call: &Call<'_>) -> Node {
    let block = call.controller().block_public_access();
    let mode = block.as_ref().map(|block| block.mode).unwrap_or_default();
    let state = if block.is_some() {
        "update-complete"
    } else {
        "default-state"
    };
    let at = block.map(|block| humantime::format_rfc3339_millis(block.updated_at));
    Node::map([
        ("awsAccountId", Node::text(ACCOUNT)),
        ("awsRegion", Node::text(call.controller().region())),
        ("state", Node::text(state)),
        ("internetGatewayBlockMode", Node::text(mode.name())),
        ("lastUpdateTimestamp", Node::maybe(at)),
        ("managedBy", Node::text("account")),
        ("exclusionsAllowed", Node::text("allowed")),
    ])
}

/// The `VpcBlockPublicAccessExclusion` of EC2's answers.
fn exclusion(call: &Call<'_>, exclusion: &BpaExclusion, state: &'static str) -> Node {
    let region = call.controller().region();
    let resource = match exclusion.of {
        Excluded::Vpc(vpc) => format!("vpc/{vpc}"),
        Excluded::Subnet(subnet) => format!("subnet/{subnet}"),
    };
    let made = humantime::format_rfc3339_millis(exclusion.created_at);
    Node::map([
        ("exclusionId", Node::text(exclusion.id)),
        ("internetGatewayExclusionMode", Node::text(exclusion.mode.name())),
        (
            "resourceArn",
            Node::Text(format!("arn:aws:ec2:{region}:{ACCOUNT}:{resource}")),
        ),
        ("state", Node::text(state)),
        ("creationTimestamp", Node::text(&made)),
        ("lastUpdateTimestamp", Node::text(made)),
        ("tagSet", tag_set(None, &Tags::new())),
    ])
}

fn exclusion_mode(given: &str) -> Result<ExclusionMode, Ec2Error> {
    let wrong = || Ec2Error::invalid_value("InternetGatewayExclusionMode is allow-bidirectional or allow-egress");
    ExclusionMode::from_name(given).ok_or_else(wrong)
}

/// Shows what is blocked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVpcBlockPublicAccessOptions {}

impl Action for DescribeVpcBlockPublicAccessOptions {
    const NAME: &'static str = "DescribeVpcBlockPublicAccessOptions";
    const HELP: &'static str = "Shows what block public access blocks";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        Ok(vec![("vpcBlockPublicAccessOptions", options(call))])
    }
}

/// Sets what is blocked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyVpcBlockPublicAccessOptions {
    internet_gateway_block_mode: String,
}

impl Action for ModifyVpcBlockPublicAccessOptions {
    const NAME: &'static str = "ModifyVpcBlockPublicAccessOptions";
    const HELP: &'static str = "Sets what block public access blocks, at once";

    fn run(self, call: &Call<'_>) -> Answer {
        let mode = BlockMode::from_name(&self.internet_gateway_block_mode).ok_or_else(|| {
            Ec2Error::invalid_value("InternetGatewayBlockMode is off, block-bidirectional or block-ingress")
        })?;
        call.execute(SetBlockPublicAccess {
            mode,
            at: SystemTime::now(),
        })?;
        Ok(vec![("vpcBlockPublicAccessOptions", options(call))])
    }
}

/// Excludes a VPC or a subnet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateVpcBlockPublicAccessExclusion {
    internet_gateway_exclusion_mode: String,
    vpc_id: Option<String>,
    subnet_id: Option<String>,
}

impl Action for CreateVpcBlockPublicAccessExclusion {
    const NAME: &'static str = "CreateVpcBlockPublicAccessExclusion";
    const HELP: &'static str = "Excludes a VPC or a subnet from block public access";

    fn run(self, call: &Call<'_>) -> Answer {
        let of = match (self.vpc_id.as_deref(), self.subnet_id.as_deref()) {
            (Some(vpc), None) => ExcludedRef::Vpc(reference(vpc)?),
            (None, Some(subnet)) => ExcludedRef::Subnet(reference(subnet)?),
            (None, None) => return Err(Ec2Error::missing("VpcId")),
            (Some(_), Some(_)) => return Err(Ec2Error::combination("Specify either VpcId or SubnetId")),
        };
        let made = call.execute(ExcludeFromBlock {
            of,
            mode: exclusion_mode(&self.internet_gateway_exclusion_mode)?,
            at: SystemTime::now(),
        })?;
        Ok(vec![(
            "vpcBlockPublicAccessExclusion",
            exclusion(call, &made, "create-complete"),
        )])
    }
}

/// Changes an exclusion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyVpcBlockPublicAccessExclusion {
    exclusion_id: String,
    internet_gateway_exclusion_mode: String,
}

impl Action for ModifyVpcBlockPublicAccessExclusion {
    const NAME: &'static str = "ModifyVpcBlockPublicAccessExclusion";
    const HELP: &'static str = "Changes what an exclusion lets through";

    fn run(self, call: &Call<'_>) -> Answer {
        let now = call.execute(ModifyExclusion {
            exclusion: id(&self.exclusion_id)?,
            mode: exclusion_mode(&self.internet_gateway_exclusion_mode)?,
        })?;
        Ok(vec![(
            "vpcBlockPublicAccessExclusion",
            exclusion(call, &now, "update-complete"),
        )])
    }
}

/// Ends an exclusion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteVpcBlockPublicAccessExclusion {
    exclusion_id: String,
}

impl Action for DeleteVpcBlockPublicAccessExclusion {
    const NAME: &'static str = "DeleteVpcBlockPublicAccessExclusion";
    const HELP: &'static str = "Ends an exclusion from block public access";

    fn run(self, call: &Call<'_>) -> Answer {
        let gone = call.execute(IncludeInBlock(id(&self.exclusion_id)?))?;
        Ok(vec![(
            "vpcBlockPublicAccessExclusion",
            exclusion(call, &gone, "delete-complete"),
        )])
    }
}

/// Lists exclusions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVpcBlockPublicAccessExclusions {
    #[serde(default)]
    exclusion_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeVpcBlockPublicAccessExclusions {
    const NAME: &'static str = "DescribeVpcBlockPublicAccessExclusions";
    const HELP: &'static str = "Lists exclusions from block public access";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.exclusion_id {
            let wanted = id(given)?;
            call.controller()
                .inspect(|network| network.exclusion(wanted).map(drop))?;
        }
        let selection = Selection {
            ids: Some(("ExclusionIds", &self.exclusion_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let block = call.controller().block_public_access();
        let all = block.map(|block| block.exclusions).unwrap_or_default();
        let rows = all.iter().map(|one| exclusion(call, one, "create-complete"));
        let page = selection.of(call, rows, "exclusionId", PLACES)?;
        Ok(vec![
            ("vpcBlockPublicAccessExclusionSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}
