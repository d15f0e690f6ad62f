//! The part of a topology file that is about egress-only internet gateways and peering connections.

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use utoipa::ToSchema;

use super::check::Given;
use super::{Topology, is_word};
use crate::file::diagnostic::Mistake;
use crate::model::naming::Tags;
use crate::model::{EgressOnlyGatewayId, PeeringId};
use crate::topology::layout::Kind;

/// An egress-only internet gateway.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EgressOnlyGateway)]
pub struct EgressOnlyGatewayTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "eigw-0a1b2c3d4e5f60718")]
    pub id: Option<EgressOnlyGatewayId>,
    /// The name of its VPC.
    #[schema(value_type = String)]
    pub vpc: Spanned<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A peering connection, which is accepted at once.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PeeringConnection)]
pub struct PeeringTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "pcx-0a1b2c3d4e5f60718")]
    pub id: Option<PeeringId>,
    /// The name of the VPC that asks for it.
    #[schema(value_type = String)]
    pub requester: Spanned<String>,
    /// The name of the VPC that is asked.
    #[schema(value_type = String)]
    pub accepter: Spanned<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// All mistakes about them.
pub(super) fn check_links(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    let mut vpcs = Given::new("egress-only internet gateway of");
    for (name, gateway) in &topology.egress_only_gateways {
        check_target(topology, name, Kind::EgressOnlyGateway, gateway.referenced, mistakes);
        let vpc = &gateway.value.vpc;
        vpcs.give(vpc.value.clone(), &vpc.value, vpc.referenced, mistakes);
        check_vpc(topology, vpc, mistakes);
    }
    for (name, peering) in &topology.peering_connections {
        check_target(topology, name, Kind::Peering, peering.referenced, mistakes);
        for vpc in [&peering.value.requester, &peering.value.accepter] {
            check_vpc(topology, vpc, mistakes);
        }
    }
}

fn check_target(topology: &Topology, name: &str, own: Kind, place: Location, mistakes: &mut Vec<Mistake>) {
    let other = topology.gateway_kind(name).filter(|kind| *kind != own);
    if is_word(name) || topology.interface_behind(name).is_some() || other.is_some() {
        let message = format!("`{name}` is a route's target already");
        mistakes.push(Mistake::at(place, message).help(format!("choose another name for the {own}")));
    }
}

fn check_vpc(topology: &Topology, vpc: &Spanned<String>, mistakes: &mut Vec<Mistake>) {
    if !topology.vpcs.contains_key(&vpc.value) {
        let message = format!("no VPC is called `{}`", vpc.value);
        let known = topology.vpcs.keys().map(String::as_str);
        mistakes.push(Mistake::at(vpc.referenced, message).nearest(&vpc.value, known));
    }
}
