//! `/v1/internet-gateways`: what a VPC reaches the outside by.

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
use crate::model::internet_gateway::{
    AttachInternetGateway, CreateInternetGateway, DeleteInternetGateway, DetachInternetGateway, InternetGateway,
    ModifyInternetGateway,
};
use crate::model::naming::Tags;
use crate::model::{InternetGatewayId, ResourceRef, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(attach))
        .routes(routes!(detach))
}

/// An internet gateway.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = InternetGateway)]
pub struct InternetGatewayView {
    /// Its identifier.
    pub id: InternetGatewayId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VPC that it is attached to; absent while it is attached to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<VpcId>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<&InternetGateway> for InternetGatewayView {
    fn from(gateway: &InternetGateway) -> Self {
        Self {
            id: gateway.id,
            name: gateway.name.clone(),
            vpc_id: gateway.vpc_id,
            tags: gateway.tags.clone(),
        }
    }
}

/// Internet gateways.
#[derive(Debug, Serialize, ToSchema)]
struct InternetGatewayList {
    internet_gateways: Vec<InternetGatewayView>,
}

/// An internet gateway to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateInternetGatewayRequest {
    /// A name that no other internet gateway has.
    name: Option<String>,
    /// The VPC that it is attached to at once: identifier or name.
    #[schema(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about an internet gateway; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyInternetGatewayRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

/// Where an internet gateway is attached.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AttachInternetGatewayRequest {
    /// The VPC: identifier or name.
    #[schema(value_type = String)]
    vpc: ResourceRef<VpcId>,
}

fn reference(path: &PathParts) -> ResourceRef<InternetGatewayId> {
    ResourceRef::new(path.get("internet_gateway"))
}

/// Lists internet gateways
#[utoipa::path(get, path = "/v1/internet-gateways", tag = "internet-gateways", operation_id = "list_internet_gateways",
    responses(
        (status = 200, description = "All internet gateways, by identifier", body = InternetGatewayList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<InternetGatewayList>, Problem> {
    blocking(move || {
        let gateways = state.controller.internet_gateways();
        let internet_gateways = gateways.iter().map(InternetGatewayView::from).collect();
        Ok(axum::Json(InternetGatewayList { internet_gateways }))
    })
    .await
}

/// Makes an internet gateway
#[utoipa::path(post, path = "/v1/internet-gateways", tag = "internet-gateways",
    operation_id = "create_internet_gateway", request_body = CreateInternetGatewayRequest,
    responses(
        (status = 201, description = "The new gateway", body = InternetGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateInternetGatewayRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateInternetGateway {
        name: request.name,
        vpc: request.vpc,
        tags: request.tags,
    };
    let view: InternetGatewayView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/internet-gateways/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows an internet gateway
#[utoipa::path(get, path = "/v1/internet-gateways/{internet_gateway}", tag = "internet-gateways",
    operation_id = "get_internet_gateway",
    params(("internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway", body = InternetGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<InternetGatewayView>, Problem> {
    blocking(move || {
        let gateway = state.controller.internet_gateway(&reference(&path))?;
        Ok(axum::Json((&gateway).into()))
    })
    .await
}

/// Changes an internet gateway
#[utoipa::path(patch, path = "/v1/internet-gateways/{internet_gateway}", tag = "internet-gateways",
    operation_id = "modify_internet_gateway", request_body = ModifyInternetGatewayRequest,
    params(("internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway as it is now", body = InternetGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyInternetGatewayRequest>,
) -> Result<axum::Json<InternetGatewayView>, Problem> {
    let command = ModifyInternetGateway {
        gateway: reference(&path),
        name: request.name,
        tags: request.tags,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Deletes an internet gateway that is attached to no VPC
#[utoipa::path(delete, path = "/v1/internet-gateways/{internet_gateway}", tag = "internet-gateways",
    operation_id = "delete_internet_gateway",
    params(("internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteInternetGateway(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Attaches an internet gateway to a VPC
#[utoipa::path(post, path = "/v1/internet-gateways/{internet_gateway}/attach", tag = "internet-gateways",
    operation_id = "attach_internet_gateway", request_body = AttachInternetGatewayRequest,
    params(("internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway as it is now", body = InternetGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn attach(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<AttachInternetGatewayRequest>,
) -> Result<axum::Json<InternetGatewayView>, Problem> {
    let command = AttachInternetGateway {
        gateway: reference(&path),
        vpc: request.vpc,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Detaches an internet gateway from its VPC
///
/// Routes to it become black holes. It is refused while a running instance of the VPC has a public address.
#[utoipa::path(post, path = "/v1/internet-gateways/{internet_gateway}/detach", tag = "internet-gateways",
    operation_id = "detach_internet_gateway",
    params(("internet_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway as it is now", body = InternetGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn detach(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<InternetGatewayView>, Problem> {
    let command = DetachInternetGateway {
        gateway: reference(&path),
        vpc: None,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}
