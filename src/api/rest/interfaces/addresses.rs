//! Assigns addresses and prefixes to a network interface, and takes them away.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::StatusCode;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::mappings::block_in_path;
use super::super::{blocking, mappings};
use super::given::Given;
use super::reference;
use crate::api::extract::{Json, NoQuery, PathParts, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::mapping::{AssignAddresses, EditSummary, MappingEdit};
use crate::model::{AddressOrPrefix, InterfaceId};

/// Addresses and prefixes to assign, all of them or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AssignRequest {
    /// IPv4 addresses, in order.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv4_addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses, in order.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv6_addresses: Vec<Ipv6Addr>,
    /// Delegated /28 prefixes.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated /80 prefixes.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv6_prefixes: Vec<Ipv6Net>,
    /// How many free IPv4 addresses to add.
    #[serde(default)]
    ipv4_address_count: u32,
    /// How many free IPv6 addresses to add.
    #[serde(default)]
    ipv6_address_count: u32,
    /// How many free /28 prefixes to add.
    #[serde(default)]
    ipv4_prefix_count: u32,
    /// How many free /80 prefixes to add.
    #[serde(default)]
    ipv6_prefix_count: u32,
    /// Whether addresses may be taken from other interfaces of the subnet.
    #[serde(default, rename = "move")]
    move_allowed: bool,
}

/// The assigned addresses and prefixes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Assigned {
    /// The interface.
    interface_id: InterfaceId,
    /// IPv4 addresses that were asked for or chosen, in order; what the interface had before included.
    #[schema(value_type = Vec<String>)]
    ipv4_addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses, likewise.
    #[schema(value_type = Vec<String>)]
    ipv6_addresses: Vec<Ipv6Addr>,
    /// Delegated /28 prefixes, likewise.
    #[schema(value_type = Vec<String>)]
    ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated /80 prefixes, likewise.
    #[schema(value_type = Vec<String>)]
    ipv6_prefixes: Vec<Ipv6Net>,
    /// Counts of the changes.
    summary: EditSummary,
}

/// What was asked for or chosen, by kind.
fn assigned(blocks: Vec<AddressOrPrefix>, interface_id: InterfaceId, summary: EditSummary) -> Assigned {
    let mut assigned = Assigned {
        interface_id,
        ipv4_addresses: Vec::new(),
        ipv6_addresses: Vec::new(),
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        summary,
    };
    for block in blocks {
        match (block.net(), block.is_prefix()) {
            (IpNet::V4(net), false) => assigned.ipv4_addresses.push(net.addr()),
            (IpNet::V6(net), false) => assigned.ipv6_addresses.push(net.addr()),
            (IpNet::V4(net), true) => assigned.ipv4_prefixes.push(net),
            (IpNet::V6(net), true) => assigned.ipv6_prefixes.push(net),
        }
    }
    assigned
}

/// Assigns addresses and prefixes, given or chosen, all of them or none
#[utoipa::path(post, path = "/v1/interfaces/{interface}/addresses", tag = "interfaces",
    operation_id = "assign_addresses", request_body = AssignRequest,
    params(("interface" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "What was assigned", body = Assigned),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn assign(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<AssignRequest>,
) -> Result<axum::Json<Assigned>, Problem> {
    let given = Given {
        ipv4_addresses: request.ipv4_addresses,
        ipv6_addresses: request.ipv6_addresses,
        ipv4_prefixes: request.ipv4_prefixes,
        ipv6_prefixes: request.ipv6_prefixes,
        counts: [
            request.ipv4_address_count,
            request.ipv6_address_count,
            request.ipv4_prefix_count,
            request.ipv6_prefix_count,
        ],
    };
    let addresses = given.requests()?;
    if addresses.is_empty() {
        return Err(Problem::missing(
            "ipv4_addresses",
            "Give ipv4_addresses, ipv6_addresses, ipv4_prefixes or ipv6_prefixes, or a count such as ipv6_address_count.",
        ));
    }
    let interface = reference(&path);
    blocking(move || {
        let command = AssignAddresses {
            interface,
            addresses,
            move_allowed: request.move_allowed,
        };
        let made = state.controller.execute(command)?;
        Ok(axum::Json(assigned(made.addresses, made.interface, made.summary)))
    })
    .await
}

/// Unassigns an address or prefix
///
/// A prefix may be written with its slash: `…/addresses/10.0.1.16/28`.
#[utoipa::path(delete, path = "/v1/interfaces/{interface}/addresses/{address}", tag = "interfaces",
    operation_id = "unassign_address",
    params(
        ("interface" = String, Path, description = "Identifier or name"),
        ("address" = String, Path, description = "The address or prefix"),
    ),
    responses(
        (status = 204, description = "The interface no longer has it"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn unassign(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<StatusCode, Problem> {
    let edit = MappingEdit::Unassign {
        interface: reference(&path),
        address: block_in_path(&path)?,
    };
    mappings::execute_one(state, edit).await?;
    Ok(StatusCode::NO_CONTENT)
}
