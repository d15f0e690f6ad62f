//! The actions on internet gateways.

use serde::Deserialize;

use super::ids::reference;
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::InternetGateway;
use crate::model::ids::ResourceRef;
use crate::model::internet_gateway::{
    AttachInternetGateway as Attach, CreateInternetGateway as Create, DeleteInternetGateway as Delete,
    DetachInternetGateway as Detach,
};

/// The elements of filters whose names differ from them.
const PLACES: &[Place] = &[
    ("attachment.state", "attachmentSet.state"),
    ("attachment.vpc-id", "attachmentSet.vpcId"),
];

/// The `InternetGateway` of EC2's answers.
fn gateway(gateway: &InternetGateway) -> Node {
    // EC2 says `available` where its model has `attached`; clients wait for the former.
    let attachment = gateway
        .vpc_id
        .map(|vpc| Node::map([("state", Node::text("available")), ("vpcId", Node::text(vpc))]));
    Node::map([
        ("internetGatewayId", Node::text(gateway.id)),
        ("ownerId", Node::text(ACCOUNT)),
        ("attachmentSet", Node::list(attachment)),
        ("tagSet", tag_set(gateway.name.as_deref(), &gateway.tags)),
    ])
}

/// Lists internet gateways.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeInternetGateways {
    #[serde(default)]
    internet_gateway_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeInternetGateways {
    const NAME: &'static str = "DescribeInternetGateways";
    const HELP: &'static str = "Lists internet gateways with their attachments";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.internet_gateway_id {
            call.controller().internet_gateway(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("InternetGatewayIds", &self.internet_gateway_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().internet_gateways();
        let page = selection.of(call, all.iter().map(gateway), "internetGatewayId", PLACES)?;
        Ok(vec![
            ("internetGatewaySet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Makes an internet gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateInternetGateway {
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateInternetGateway {
    const NAME: &'static str = "CreateInternetGateway";
    const HELP: &'static str = "Makes an internet gateway";

    fn run(self, call: &Call<'_>) -> Answer {
        let given = Given::of(&self.tag_specification, "internet-gateway")?;
        let made = call.execute(Create {
            name: given.free_name(|name| call.controller().internet_gateway(&ResourceRef::new(name)).is_ok()),
            vpc: None,
            tags: given.tags,
        })?;
        Ok(vec![("internetGateway", gateway(&made))])
    }
}

/// Deletes an internet gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteInternetGateway {
    internet_gateway_id: String,
}

impl Action for DeleteInternetGateway {
    const NAME: &'static str = "DeleteInternetGateway";
    const HELP: &'static str = "Deletes an internet gateway that is attached to no VPC";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Delete(reference(&self.internet_gateway_id)?))?;
        done()
    }
}

/// Attaches an internet gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AttachInternetGateway {
    internet_gateway_id: String,
    vpc_id: String,
}

impl Action for AttachInternetGateway {
    const NAME: &'static str = "AttachInternetGateway";
    const HELP: &'static str = "Attaches an internet gateway to a VPC";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Attach {
            gateway: reference(&self.internet_gateway_id)?,
            vpc: reference(&self.vpc_id)?,
        })?;
        done()
    }
}

/// Detaches an internet gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DetachInternetGateway {
    internet_gateway_id: String,
    vpc_id: String,
}

impl Action for DetachInternetGateway {
    const NAME: &'static str = "DetachInternetGateway";
    const HELP: &'static str = "Detaches an internet gateway from a VPC";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Detach {
            gateway: reference(&self.internet_gateway_id)?,
            vpc: Some(reference(&self.vpc_id)?),
        })?;
        done()
    }
}
