//! `/v1/egress-only-internet-gateways`: what hosts of a VPC begin IPv6 connections to the outside by.

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
use crate::model::egress_only::{
    CreateEgressOnlyGateway, DeleteEgressOnlyGateway, EgressOnlyGateway, ModifyEgressOnlyGateway,
};
use crate::model::naming::Tags;
use crate::model::{EgressOnlyGatewayId, ResourceRef, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
}

/// An egress-only internet gateway.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = EgressOnlyInternetGateway)]
pub struct EgressOnlyGatewayView {
    /// Its identifier.
    pub id: EgressOnlyGatewayId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VPC that it is attached to.
    pub vpc_id: VpcId,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<&EgressOnlyGateway> for EgressOnlyGatewayView {
    fn from(gateway: &EgressOnlyGateway) -> Self {
        Self {
            id: gateway.id,
            name: gateway.name.clone(),
            vpc_id: gateway.vpc_id,
            tags: gateway.tags.clone(),
        }
    }
}

/// Egress-only internet gateways.
#[derive(Debug, Serialize, ToSchema)]
struct EgressOnlyGatewayList {
    egress_only_internet_gateways: Vec<EgressOnlyGatewayView>,
}

/// An egress-only internet gateway to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateEgressOnlyGatewayRequest {
    /// A name that no other egress-only internet gateway has.
    name: Option<String>,
    /// The VPC: identifier or name.
    #[schema(value_type = String)]
    vpc: ResourceRef<VpcId>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about an egress-only internet gateway; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyEgressOnlyGatewayRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

fn reference(path: &PathParts) -> ResourceRef<EgressOnlyGatewayId> {
    ResourceRef::new(path.get("egress_only_internet_gateway"))
}

/// Lists egress-only internet gateways
#[utoipa::path(get, path = "/v1/egress-only-internet-gateways", tag = "egress-only-internet-gateways",
    operation_id = "list_egress_only_internet_gateways",
    responses(
        (status = 200, description = "All egress-only internet gateways, by identifier", body = EgressOnlyGatewayList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<EgressOnlyGatewayList>, Problem> {
    blocking(move || {
        let gateways = state.controller.egress_only_gateways();
        let egress_only_internet_gateways = gateways.iter().map(EgressOnlyGatewayView::from).collect();
        Ok(axum::Json(EgressOnlyGatewayList {
            egress_only_internet_gateways,
        }))
    })
    .await
}

/// Makes an egress-only internet gateway
#[utoipa::path(post, path = "/v1/egress-only-internet-gateways", tag = "egress-only-internet-gateways",
    operation_id = "create_egress_only_internet_gateway", request_body = CreateEgressOnlyGatewayRequest,
    responses(
        (status = 201, description = "The new gateway", body = EgressOnlyGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateEgressOnlyGatewayRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateEgressOnlyGateway {
        name: request.name,
        vpc: request.vpc,
        tags: request.tags,
    };
    let view: EgressOnlyGatewayView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/egress-only-internet-gateways/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows an egress-only internet gateway
#[utoipa::path(get, path = "/v1/egress-only-internet-gateways/{egress_only_internet_gateway}",
    tag = "egress-only-internet-gateways", operation_id = "get_egress_only_internet_gateway",
    params(("egress_only_internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway", body = EgressOnlyGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<EgressOnlyGatewayView>, Problem> {
    blocking(move || {
        let gateway = state.controller.egress_only_gateway(&reference(&path))?;
        Ok(axum::Json((&gateway).into()))
    })
    .await
}

/// Changes an egress-only internet gateway
#[utoipa::path(patch, path = "/v1/egress-only-internet-gateways/{egress_only_internet_gateway}",
    tag = "egress-only-internet-gateways", operation_id = "modify_egress_only_internet_gateway",
    request_body = ModifyEgressOnlyGatewayRequest,
    params(("egress_only_internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway as it is now", body = EgressOnlyGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyEgressOnlyGatewayRequest>,
) -> Result<axum::Json<EgressOnlyGatewayView>, Problem> {
    let command = ModifyEgressOnlyGateway {
        gateway: reference(&path),
        name: request.name,
        tags: request.tags,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Deletes an egress-only internet gateway
///
/// Routes to it become black holes.
#[utoipa::path(delete, path = "/v1/egress-only-internet-gateways/{egress_only_internet_gateway}",
    tag = "egress-only-internet-gateways", operation_id = "delete_egress_only_internet_gateway",
    params(("egress_only_internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteEgressOnlyGateway(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}
