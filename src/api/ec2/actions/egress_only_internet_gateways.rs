//! The actions on egress-only internet gateways.

use serde::Deserialize;

use super::ids::reference;
use super::render::tag_set;
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::Selection;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::EgressOnlyGateway;
use crate::model::egress_only::{CreateEgressOnlyGateway as Create, DeleteEgressOnlyGateway as Delete};
use crate::model::ids::ResourceRef;

/// The `EgressOnlyInternetGateway` of EC2's answers.
fn gateway(gateway: &EgressOnlyGateway) -> Node {
    let attachment = Node::map([("state", Node::text("attached")), ("vpcId", Node::text(gateway.vpc_id))]);
    Node::map([
        ("egressOnlyInternetGatewayId", Node::text(gateway.id)),
        ("attachmentSet", Node::list([attachment])),
        ("tagSet", tag_set(gateway.name.as_deref(), &gateway.tags)),
    ])
}

/// Makes an egress-only internet gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateEgressOnlyInternetGateway {
    vpc_id: String,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    client_token: Option<String>,
}

impl Action for CreateEgressOnlyInternetGateway {
    const NAME: &'static str = "CreateEgressOnlyInternetGateway";
    const HELP: &'static str = "Makes an egress-only internet gateway";

    fn run(self, call: &Call<'_>) -> Answer {
        let given = Given::of(&self.tag_specification, "egress-only-internet-gateway")?;
        let taken = |name: &str| call.controller().egress_only_gateway(&ResourceRef::new(name)).is_ok();
        let made = call.execute(Create {
            name: given.free_name(taken),
            vpc: reference(&self.vpc_id)?,
            tags: given.tags,
        })?;
        Ok(vec![
            ("egressOnlyInternetGateway", gateway(&made)),
            ("clientToken", Node::maybe(self.client_token.as_ref())),
        ])
    }
}

/// Deletes an egress-only internet gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteEgressOnlyInternetGateway {
    egress_only_internet_gateway_id: String,
}

impl Action for DeleteEgressOnlyInternetGateway {
    const NAME: &'static str = "DeleteEgressOnlyInternetGateway";
    const HELP: &'static str = "Deletes an egress-only internet gateway";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Delete(reference(&self.egress_only_internet_gateway_id)?))?;
        Ok(vec![("returnCode", Node::text(true))])
    }
}

/// Lists egress-only internet gateways.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeEgressOnlyInternetGateways {
    #[serde(default)]
    egress_only_internet_gateway_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeEgressOnlyInternetGateways {
    const NAME: &'static str = "DescribeEgressOnlyInternetGateways";
    const HELP: &'static str = "Lists egress-only internet gateways";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.egress_only_internet_gateway_id {
            call.controller().egress_only_gateway(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("EgressOnlyInternetGatewayIds", &self.egress_only_internet_gateway_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().egress_only_gateways();
        let page = selection.of(call, all.iter().map(gateway), "egressOnlyInternetGatewayId", &[])?;
        Ok(vec![
            ("egressOnlyInternetGatewaySet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}
