//! Implements `/v1/mappings`: looks up and edits the owners of addresses. A look-up does not wait for an edit, a move
//! is one step, and a list of edits is carried out whole or not at all.

use std::net::IpAddr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{bad_query, blocking, page_size};
use crate::api::extract::{Json, JsonStream, NoQuery, PathParts, Query, State, from_text};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::ControlError;
use crate::model::mapping::{EditMappings, EditSummary, MappingEdit, MappingFilter, PageCursor};
use crate::model::{AddressOrPrefix, InterfaceId, Mapping, ResourceRef, SubnetId};
use crate::wire::MacAddr;

/// The largest body of a list of edits, in bytes: a million of them need about 100 MiB.
pub const BULK_LIMIT: usize = 256 << 20;

pub(super) fn router() -> OpenApiRouter<AppState> {
    let bulk = OpenApiRouter::new()
        .routes(routes!(bulk))
        .layer(DefaultBodyLimit::max(BULK_LIMIT));
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .merge(bulk)
}

/// A prefix may be in the path with its slash.
pub(super) fn prefix_routes() -> Router<AppState> {
    Router::new().route(
        "/v1/mappings/{subnet}/{address}/{length}",
        routing::get(get).put(put).delete(delete),
    )
}

/// The owner of an address or prefix.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Mapping)]
pub struct MappingView {
    /// The subnet of the mapping.
    pub subnet_id: SubnetId,
    /// The address or prefix.
    pub address: AddressOrPrefix,
    /// The owner.
    pub interface_id: InterfaceId,
    /// The owner's MAC, with which ARP and Neighbor Discovery are answered.
    #[schema(value_type = String, example = "0a:ca:05:9c:fc:14")]
    pub mac_address: MacAddr,
    /// Whether it is the owner's primary IPv4 address, which lasts as long as the interface.
    pub primary: bool,
}

impl From<Mapping> for MappingView {
    fn from(mapping: Mapping) -> Self {
        Self {
            subnet_id: mapping.subnet_id,
            address: mapping.address,
            interface_id: mapping.interface_id,
            mac_address: mapping.mac_address,
            primary: mapping.primary,
        }
    }
}

/// A page of mappings.
#[derive(Debug, Serialize, ToSchema)]
struct MappingList {
    mappings: Vec<MappingView>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which mappings to list; every given parameter must match.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MappingQuery {
    /// Only of this subnet: identifier or name.
    #[param(value_type = Option<String>)]
    subnet: Option<ResourceRef<SubnetId>>,
    /// Only of this interface, in the order of assignment: identifier or name.
    #[param(value_type = Option<String>)]
    interface: Option<ResourceRef<InterfaceId>>,
    /// The mapping of this address, or of the delegated prefix around it.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// Mappings inside this network, of any length.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    prefix: Option<IpNet>,
    /// Entries of a page, 1 to 1000; 100 if left out.
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The new owner.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutMappingRequest {
    /// The interface that becomes the owner: identifier or name.
    #[schema(value_type = String)]
    interface: ResourceRef<InterfaceId>,
    /// Whether it may be taken from another interface; yes if left out.
    #[serde(default = "yes", rename = "move")]
    #[schema(default = true)]
    move_allowed: bool,
}

fn yes() -> bool {
    true
}

/// The operation of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EditOperation {
    /// Gives the address to the interface.
    Assign,
    /// Takes it from the interface, or from its owner in the subnet.
    Unassign,
}

/// One edit of a list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EditRequest {
    /// The operation.
    op: EditOperation,
    /// The address or prefix.
    address: AddressOrPrefix,
    /// The interface that gets or loses it: identifier or name.
    #[schema(value_type = Option<String>)]
    interface: Option<ResourceRef<InterfaceId>>,
    /// For `unassign`, instead of the interface: the subnet in which the owner loses it.
    #[schema(value_type = Option<String>)]
    subnet: Option<ResourceRef<SubnetId>>,
    /// For `assign`: whether it may be taken from another interface; no if left out.
    #[serde(rename = "move")]
    move_allowed: Option<bool>,
}

/// A list of edits, carried out in order, whole or not at all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BulkRequest {
    /// The edits; each sees the effects of earlier ones.
    edits: Vec<EditRequest>,
}

impl EditRequest {
    fn into_edit(self, index: usize) -> Result<MappingEdit, Problem> {
        let at = |field: &str| format!("edits[{index}].{field}");
        let address = self.address;
        match (self.op, self.interface, self.subnet, self.move_allowed) {
            (EditOperation::Assign, Some(interface), None, move_allowed) => Ok(MappingEdit::Assign {
                interface,
                address,
                move_allowed: move_allowed.unwrap_or(false),
            }),
            (EditOperation::Assign, Some(_), Some(_), _) => Err(Problem::invalid(
                at("subnet"),
                "An assignment goes to the subnet of its interface",
            )
            .remedy("Leave 'subnet' out.")),
            (EditOperation::Assign, None, ..) => Err(Problem::missing(
                &at("interface"),
                "Name the interface that shall own the address.",
            )),
            (EditOperation::Unassign, _, _, Some(_)) => {
                Err(Problem::invalid(at("move"), "An unassignment moves nothing").remedy("Leave 'move' out."))
            }
            (EditOperation::Unassign, Some(interface), None, None) => Ok(MappingEdit::Unassign { interface, address }),
            (EditOperation::Unassign, None, Some(subnet), None) => Ok(MappingEdit::Remove { subnet, address }),
            (EditOperation::Unassign, Some(_), Some(_), None) => Err(Problem::invalid(
                at("subnet"),
                "Both an interface and a subnet are named",
            )
            .remedy(
                "Name the interface that has the address, or the subnet: the interface there that has it loses it.",
            )),
            (EditOperation::Unassign, None, None, None) => Err(Problem::missing(
                &at("interface"),
                "Name the interface that has the address, or the subnet.",
            )),
        }
    }
}

/// Lists mappings
#[utoipa::path(get, path = "/v1/mappings", tag = "mappings", operation_id = "list_mappings", params(MappingQuery),
    responses(
        (status = 200, description = "A page, by subnet and address, or in the order of assignment for one interface",
            body = MappingList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(query): Query<MappingQuery>,
) -> Result<axum::Json<MappingList>, Problem> {
    let limit = page_size(query.limit)?;
    let cursor = query
        .cursor
        .map(|text| text.parse::<PageCursor>())
        .transpose()
        .map_err(|e| bad_query("cursor", e))?;
    let by_interface = query.interface.is_some();
    if cursor.is_some_and(|cursor| matches!(cursor, PageCursor::Sequence(_)) != by_interface) {
        return Err(bad_query("cursor", "The cursor is from a list with another filter"));
    }
    let filter = MappingFilter {
        subnet: query.subnet,
        interface: query.interface,
        address: query.address,
        prefix: query.prefix,
    };
    blocking(move || {
        let page = state.controller.mappings(&filter, cursor, limit)?;
        let mappings = page.mappings.into_iter().map(MappingView::from).collect();
        Ok(axum::Json(MappingList {
            mappings,
            next_cursor: page.next.map(|next| next.to_string()),
        }))
    })
    .await
    .map_err(Problem::named_in_body)
}

/// The address or prefix that the path names, in one part or in two.
pub(super) fn block_in_path(path: &PathParts) -> Result<AddressOrPrefix, Problem> {
    let (address, length) = (path.get("address"), path.get("length"));
    let text = if length.is_empty() {
        address.to_owned()
    } else {
        format!("{address}/{length}")
    };
    text.parse().map_err(|error: crate::model::address::ParseAddressError| {
        Problem::new(StatusCode::BAD_REQUEST, "InvalidParameterValue", error.to_string()).field("address")
    })
}

fn subnet_in_path(path: &PathParts) -> ResourceRef<SubnetId> {
    ResourceRef::new(path.get("subnet"))
}

/// Looks up the owner of an address or prefix
///
/// For an address inside of a delegated prefix the answer is the prefix. A prefix may be written with its slash:
/// `/v1/mappings/left/10.0.1.16/28`.
#[utoipa::path(get, path = "/v1/mappings/{subnet}/{address}", tag = "mappings", operation_id = "get_mapping",
    params(
        ("subnet" = String, Path, description = "Identifier or name"),
        ("address" = String, Path, description = "The address or prefix"),
    ),
    responses(
        (status = 200, description = "The mapping", body = MappingView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<MappingView>, Problem> {
    let block = block_in_path(&path)?;
    let subnet = subnet_in_path(&path);
    // No lock is waited for when there is an answer; finding out what is missing may wait.
    let registry = state.controller.registry();
    if let Some(mapping) = registry.subnet(&subnet).and_then(|subnet| registry.get(subnet, block)) {
        return Ok(axum::Json(mapping.into()));
    }
    blocking(move || Ok(axum::Json(state.controller.mapping(&subnet, block)?.into()))).await
}

/// Assigns or moves an address or prefix in one step
#[utoipa::path(put, path = "/v1/mappings/{subnet}/{address}", tag = "mappings", operation_id = "put_mapping",
    request_body = PutMappingRequest,
    params(
        ("subnet" = String, Path, description = "Identifier or name"),
        ("address" = String, Path, description = "The address or prefix"),
    ),
    responses(
        (status = 200, description = "The interface owns it: moved, or owned already", body = MappingView),
        (status = 201, description = "The interface owns it: it had no owner before", body = MappingView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<PutMappingRequest>,
) -> Result<impl IntoResponse, Problem> {
    let block = block_in_path(&path)?;
    let subnet = subnet_in_path(&path);
    blocking(move || {
        let controller = &state.controller;
        let subnet = controller.subnet(&subnet)?.id;
        let interface = controller
            .interface(&request.interface)
            .map_err(|e| Problem::from(e).named_in_body())?;
        // An interface never changes its subnet, so this holds when the edit is carried out.
        if interface.subnet_id != subnet {
            let detail = format!(
                "The interface {} is in {}, not in {subnet}",
                interface.id, interface.subnet_id
            );
            return Err(Problem::invalid("interface", detail).remedy("Name an interface of the subnet in the path."));
        }
        let move_allowed = request.move_allowed;
        let edit = MappingEdit::Assign {
            interface: interface.id.into(),
            address: block,
            move_allowed,
        };
        let summary = edit_now(&state, edit)?;
        let status = if summary.assigned > 0 {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let mapping = Mapping {
            subnet_id: subnet,
            address: block,
            interface_id: interface.id,
            mac_address: interface.mac_address,
            primary: block
                .address()
                .is_some_and(|a| interface.primary_ipv4().map(IpAddr::V4) == Some(a)),
        };
        Ok((status, axum::Json(MappingView::from(mapping))))
    })
    .await
}

/// Unassigns an address or prefix from its owner
#[utoipa::path(delete, path = "/v1/mappings/{subnet}/{address}", tag = "mappings", operation_id = "delete_mapping",
    params(
        ("subnet" = String, Path, description = "Identifier or name"),
        ("address" = String, Path, description = "The address or prefix"),
    ),
    responses(
        (status = 204, description = "It has no owner"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let edit = MappingEdit::Remove {
        subnet: subnet_in_path(&path),
        address: block_in_path(&path)?,
    };
    execute_one(state, edit).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Assigns, moves and unassigns many addresses, all of them or none
///
/// The body may have up to 256 MiB. The edits are carried out in order; an address that several of them change has one
/// event, from its first owner to its last.
#[utoipa::path(post, path = "/v1/mappings/bulk", tag = "mappings", operation_id = "edit_mappings",
    request_body = BulkRequest,
    responses(
        (status = 200, description = "All edits were carried out", body = EditSummary),
        (status = "default", description = "A problem; nothing was changed", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn bulk(State(state): State<AppState>, _: NoQuery, body: JsonStream) -> Result<axum::Json<EditSummary>, Problem> {
    let request: BulkRequest = body.parse().await?;
    blocking(move || {
        let edits = request
            .edits
            .into_iter()
            .enumerate()
            .map(|(index, edit)| edit.into_edit(index));
        let edits = edits.collect::<Result<Vec<_>, _>>()?;
        Ok(axum::Json(state.controller.execute(EditMappings(edits))?))
    })
    .await
}

/// Carries out one edit that the path describes.
pub(super) async fn execute_one(state: AppState, edit: MappingEdit) -> Result<EditSummary, Problem> {
    blocking(move || edit_now(&state, edit)).await
}

fn edit_now(state: &AppState, edit: MappingEdit) -> Result<EditSummary, Problem> {
    match state.controller.execute(EditMappings(vec![edit])) {
        Ok(summary) => Ok(summary),
        // There is no list to point into.
        Err(ControlError::Edit(failed)) => Err(failed.error.into()),
        Err(error) => Err(error.into()),
    }
}
