//! `/v1/peering-connections`: what VPCs reach each other by.

use std::time::SystemTime;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::naming::Tags;
use crate::model::peering::{CreatePeering, ModifyPeering, Peering, PeeringState};
use crate::model::{PeeringId, ResourceRef, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(accept))
        .routes(routes!(reject))
}

/// A peering connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = PeeringConnectionState)]
pub struct PeeringView {
    /// Its identifier.
    pub id: PeeringId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VPC that asked for it.
    pub requester_vpc_id: VpcId,
    /// The VPC that it was asked of.
    pub accepter_vpc_id: VpcId,
    /// How far it is in its life. One that is over is listed for two hours.
    pub state: PeeringState,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<&Peering> for PeeringView {
    fn from(peering: &Peering) -> Self {
        Self {
            id: peering.id,
            name: peering.name.clone(),
            requester_vpc_id: peering.requester.vpc_id,
            accepter_vpc_id: peering.accepter.vpc_id,
            state: peering.state,
            tags: peering.tags.clone(),
        }
    }
}

/// Peering connections.
#[derive(Debug, Serialize, ToSchema)]
struct PeeringList {
    peering_connections: Vec<PeeringView>,
}

/// A peering connection to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreatePeeringRequest {
    /// A name that no other peering connection has.
    name: Option<String>,
    /// The VPC that asks for it: identifier or name.
    #[schema(value_type = String)]
    requester: ResourceRef<VpcId>,
    /// The VPC that is asked: identifier or name.
    #[schema(value_type = String)]
    accepter: ResourceRef<VpcId>,
    /// Whether it is accepted at once.
    #[serde(default)]
    accept: bool,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about a peering connection; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyPeeringRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

fn reference(path: &PathParts) -> ResourceRef<PeeringId> {
    ResourceRef::new(path.get("peering_connection"))
}

/// Lists peering connections
#[utoipa::path(get, path = "/v1/peering-connections", tag = "peering-connections",
    operation_id = "list_peering_connections",
    responses(
        (status = 200, description = "All peering connections, by identifier", body = PeeringList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<PeeringList>, Problem> {
    blocking(move || {
        let peerings = state.controller.peerings();
        let peering_connections = peerings.iter().map(PeeringView::from).collect();
        Ok(axum::Json(PeeringList { peering_connections }))
    })
    .await
}

/// Asks for a peering connection
///
/// It waits for its acceptance, unless it is accepted at once. VPCs with addresses in common are refused.
#[utoipa::path(post, path = "/v1/peering-connections", tag = "peering-connections",
    operation_id = "create_peering_connection", request_body = CreatePeeringRequest,
    responses(
        (status = 201, description = "The new connection", body = PeeringView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreatePeeringRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreatePeering {
        name: request.name,
        requester: request.requester,
        accepter: request.accepter,
        accepted: request.accept,
        may_fail: false,
        at: SystemTime::now(),
        tags: request.tags,
    };
    let made = blocking(move || Ok(state.controller.ask_for_peering(command)?)).await;
    let view: PeeringView = (&made.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/peering-connections/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a peering connection
#[utoipa::path(get, path = "/v1/peering-connections/{peering_connection}", tag = "peering-connections",
    operation_id = "get_peering_connection",
    params(("peering_connection" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The connection", body = PeeringView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<PeeringView>, Problem> {
    blocking(move || Ok(axum::Json((&state.controller.peering(&reference(&path))?).into()))).await
}

/// Changes a peering connection
#[utoipa::path(patch, path = "/v1/peering-connections/{peering_connection}", tag = "peering-connections",
    operation_id = "modify_peering_connection", request_body = ModifyPeeringRequest,
    params(("peering_connection" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The connection as it is now", body = PeeringView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyPeeringRequest>,
) -> Result<axum::Json<PeeringView>, Problem> {
    let command = ModifyPeering {
        name: request.name,
        tags: request.tags,
        ..ModifyPeering::new(reference(&path))
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Deletes a peering connection
///
/// Routes to it become black holes. It is listed as deleted for two hours.
#[utoipa::path(delete, path = "/v1/peering-connections/{peering_connection}", tag = "peering-connections",
    operation_id = "delete_peering_connection",
    params(("peering_connection" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is deleted"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let end = move || {
        Ok(state
            .controller
            .bring_peering(reference(&path), PeeringState::Deleted)?)
    };
    blocking(end).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accepts a peering connection
#[utoipa::path(post, path = "/v1/peering-connections/{peering_connection}/accept", tag = "peering-connections",
    operation_id = "accept_peering_connection",
    params(("peering_connection" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The connection as it is now", body = PeeringView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn accept(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<PeeringView>, Problem> {
    let to_active = move || Ok(state.controller.bring_peering(reference(&path), PeeringState::Active)?);
    Ok(axum::Json((&blocking(to_active).await?).into()))
}

/// Refuses a peering connection
#[utoipa::path(post, path = "/v1/peering-connections/{peering_connection}/reject", tag = "peering-connections",
    operation_id = "reject_peering_connection",
    params(("peering_connection" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The connection as it is now", body = PeeringView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn reject(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<PeeringView>, Problem> {
    let to_rejected = move || {
        Ok(state
            .controller
            .bring_peering(reference(&path), PeeringState::Rejected)?)
    };
    Ok(axum::Json((&blocking(to_rejected).await?).into()))
}
