//! The actions on VPC peering connections.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::ids::reference;
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceRef;
use crate::model::peering::{CreatePeering, ModifyPeering, Peering, PeeringSide, PeeringState};

/// The elements of filters whose names differ from them.
const PLACES: &[Place] = &[
    ("accepter-vpc-info.cidr-block", "accepterVpcInfo.cidrBlockSet.cidrBlock"),
    ("accepter-vpc-info.owner-id", "accepterVpcInfo.ownerId"),
    ("accepter-vpc-info.vpc-id", "accepterVpcInfo.vpcId"),
    (
        "requester-vpc-info.cidr-block",
        "requesterVpcInfo.cidrBlockSet.cidrBlock",
    ),
    ("requester-vpc-info.owner-id", "requesterVpcInfo.ownerId"),
    ("requester-vpc-info.vpc-id", "requesterVpcInfo.vpcId"),
    ("status-code", "status.code"),
    ("status-message", "status.message"),
];

/// A request waits for a week (VPC peering guide, "VPC peering connection lifecycle").
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn side(call: &Call<'_>, side: PeeringSide) -> Node {
    let vpc = call.controller().vpc(&side.vpc_id.into()).ok();
    let blocks = vpc.as_ref().map(|vpc| vpc.cidr_blocks.clone()).unwrap_or_default();
    let ipv6 = vpc.map(|vpc| vpc.ipv6_cidr_blocks).unwrap_or_default();
    Node::map([
        ("vpcId", Node::text(side.vpc_id)),
        ("ownerId", Node::text(ACCOUNT)),
        ("region", Node::text(call.controller().region())),
        ("cidrBlock", Node::maybe(blocks.first())),
        (
            "cidrBlockSet",
            Node::list(blocks.iter().map(|block| Node::map([("cidrBlock", Node::text(block))]))),
        ),
        (
            "ipv6CidrBlockSet",
            Node::list(
                ipv6.iter()
                    .map(|block| Node::map([("ipv6CidrBlock", Node::text(block))])),
            ),
        ),
        ("peeringOptions", options(side)),
    ])
}

fn options(side: PeeringSide) -> Node {
    Node::map([("allowDnsResolutionFromRemoteVpc", Node::text(side.allow_dns))])
}

/// The `VpcPeeringConnection` of EC2's answers.
fn connection(call: &Call<'_>, peering: &Peering) -> Node {
    in_status(call, peering, status(peering.state))
}

fn status(state: PeeringState) -> Node {
    Node::map([
        ("code", Node::text(state.name())),
        ("message", Node::text(state.message())),
    ])
}

fn in_status(call: &Call<'_>, peering: &Peering, status: Node) -> Node {
    let waits = peering.state == PeeringState::PendingAcceptance;
    let until = peering
        .created_at
        .checked_add(WEEK)
        .map(humantime::format_rfc3339_millis);
    Node::map([
        ("vpcPeeringConnectionId", Node::text(peering.id)),
        ("requesterVpcInfo", side(call, peering.requester)),
        ("accepterVpcInfo", side(call, peering.accepter)),
        ("status", status),
        ("expirationTime", Node::maybe(until.filter(|_| waits))),
        ("tagSet", tag_set(peering.name.as_deref(), &peering.tags)),
    ])
}

/// Asks for a peering connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateVpcPeeringConnection {
    vpc_id: String,
    peer_vpc_id: Option<String>,
    peer_owner_id: Option<String>,
    peer_region: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateVpcPeeringConnection {
    const NAME: &'static str = "CreateVpcPeeringConnection";
    const HELP: &'static str = "Asks for a peering connection between two VPCs of the region";

    fn run(self, call: &Call<'_>) -> Answer {
        let region = call.controller().region();
        if self.peer_region.is_some_and(|given| given != region) {
            return Err(Ec2Error::unsupported("PeerRegion"));
        }
        if self.peer_owner_id.is_some_and(|given| given != ACCOUNT) {
            return Err(Ec2Error::unsupported("PeerOwnerId"));
        }
        let accepter = self
            .peer_vpc_id
            .as_deref()
            .ok_or_else(|| Ec2Error::missing("PeerVpcId"))?;
        let given = Given::of(&self.tag_specification, "vpc-peering-connection")?;
        let made = call.controller().ask_for_peering(CreatePeering {
            name: given.free_name(|name| call.controller().peering(&ResourceRef::new(name)).is_ok()),
            requester: reference(&self.vpc_id)?,
            accepter: reference(accepter)?,
            accepted: false,
            may_fail: true,
            at: SystemTime::now(),
            tags: given.tags,
        })?;
        // The answer shows the state before a connection waits ("CreateVpcPeeringConnection", EC2 API, example).
        let begun = Node::map([
            ("code", Node::text("initiating-request")),
            ("message", Node::Text(format!("Initiating Request to {ACCOUNT}"))),
        ]);
        let status = match made.state {
            PeeringState::PendingAcceptance => begun,
            other => status(other),
        };
        Ok(vec![("vpcPeeringConnection", in_status(call, &made, status))])
    }
}

/// Accepts a peering connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AcceptVpcPeeringConnection {
    vpc_peering_connection_id: String,
}

impl Action for AcceptVpcPeeringConnection {
    const NAME: &'static str = "AcceptVpcPeeringConnection";
    const HELP: &'static str = "Accepts a peering connection";

    fn run(self, call: &Call<'_>) -> Answer {
        let peering = reference(&self.vpc_peering_connection_id)?;
        let now = call.controller().bring_peering(peering, PeeringState::Active)?;
        Ok(vec![("vpcPeeringConnection", connection(call, &now))])
    }
}

/// Refuses a peering connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RejectVpcPeeringConnection {
    vpc_peering_connection_id: String,
}

impl Action for RejectVpcPeeringConnection {
    const NAME: &'static str = "RejectVpcPeeringConnection";
    const HELP: &'static str = "Refuses a peering connection";

    fn run(self, call: &Call<'_>) -> Answer {
        let peering = reference(&self.vpc_peering_connection_id)?;
        call.controller().bring_peering(peering, PeeringState::Rejected)?;
        done()
    }
}

/// Deletes a peering connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteVpcPeeringConnection {
    vpc_peering_connection_id: String,
}

impl Action for DeleteVpcPeeringConnection {
    const NAME: &'static str = "DeleteVpcPeeringConnection";
    const HELP: &'static str = "Deletes a peering connection, which is listed for two hours";

    fn run(self, call: &Call<'_>) -> Answer {
        let peering = reference(&self.vpc_peering_connection_id)?;
        call.controller().bring_peering(peering, PeeringState::Deleted)?;
        done()
    }
}

/// Lists peering connections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVpcPeeringConnections {
    #[serde(default)]
    vpc_peering_connection_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeVpcPeeringConnections {
    const NAME: &'static str = "DescribeVpcPeeringConnections";
    const HELP: &'static str = "Lists peering connections, those that are over included for two hours";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.vpc_peering_connection_id {
            call.controller().peering(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("VpcPeeringConnectionIds", &self.vpc_peering_connection_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().peerings();
        let rows = all.iter().map(|one| connection(call, one));
        let page = selection.of(call, rows, "vpcPeeringConnectionId", PLACES)?;
        Ok(vec![
            ("vpcPeeringConnectionSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// The options of one side.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Options {
    allow_dns_resolution_from_remote_vpc: Option<bool>,
}

/// Changes the options of a peering connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyVpcPeeringConnectionOptions {
    vpc_peering_connection_id: String,
    requester_peering_connection_options: Option<Options>,
    accepter_peering_connection_options: Option<Options>,
}

impl Action for ModifyVpcPeeringConnectionOptions {
    const NAME: &'static str = "ModifyVpcPeeringConnectionOptions";
    const HELP: &'static str = "Keeps whether public names resolve to private addresses for the peer";

    fn run(self, call: &Call<'_>) -> Answer {
        let dns = |options: &Option<Options>| {
            options
                .as_ref()
                .and_then(|given| given.allow_dns_resolution_from_remote_vpc)
        };
        let peering = reference(&self.vpc_peering_connection_id)?;
        if call.controller().peering(&peering)?.state != PeeringState::Active {
            return Err(Ec2Error::new(
                "OperationNotPermitted",
                "The peering connection is not active.",
            ));
        }
        let now = call.execute(ModifyPeering {
            requester_dns: dns(&self.requester_peering_connection_options),
            accepter_dns: dns(&self.accepter_peering_connection_options),
            ..ModifyPeering::new(peering)
        })?;
        let given = |asked: bool, side| if asked { options(side) } else { Node::Absent };
        Ok(vec![
            (
                "accepterPeeringConnectionOptions",
                given(self.accepter_peering_connection_options.is_some(), now.accepter),
            ),
            (
                "requesterPeeringConnectionOptions",
                given(self.requester_peering_connection_options.is_some(), now.requester),
            ),
        ])
    }
}
