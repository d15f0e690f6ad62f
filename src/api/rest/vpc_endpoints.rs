//! `/v1/vpc-endpoints`: what hosts of a VPC reach Amazon S3 and DynamoDB by, without a public address.

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
use crate::model::endpoint::{CreateEndpoint, DeleteEndpoint, Endpoint, GatewayService, ModifyEndpoint};
use crate::model::naming::Tags;
use crate::model::{EndpointId, PrefixListId, ResourceRef, RouteTableId, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
}

/// A gateway endpoint.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = VpcEndpoint)]
pub struct EndpointView {
    /// Its identifier.
    pub id: EndpointId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VPC whose hosts it serves.
    pub vpc_id: VpcId,
    /// The service that it reaches. A host of the outside with an address of the service's prefix list plays it.
    pub service: GatewayService,
    /// The prefix list that is routed to it.
    pub prefix_list_id: PrefixListId,
    /// The addresses of that list.
    #[schema(value_type = Vec<String>, example = json!(["198.51.100.240/29"]))]
    pub addresses: Vec<ipnet::Ipv4Net>,
    /// The route tables that route to it.
    pub route_table_ids: Vec<RouteTableId>,
    /// The policy that was given, as text. No request is read here, so it refuses none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<&Endpoint> for EndpointView {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.id,
            name: endpoint.name.clone(),
            vpc_id: endpoint.vpc_id,
            service: endpoint.service,
            prefix_list_id: endpoint.service.prefix_list(),
            addresses: vec![endpoint.service.block()],
            route_table_ids: endpoint.route_tables.iter().copied().collect(),
            policy: endpoint.policy.clone(),
            created_at: humantime::format_rfc3339_millis(endpoint.created).to_string(),
            tags: endpoint.tags.clone(),
        }
    }
}

/// Gateway endpoints.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VpcEndpointList)]
struct EndpointList {
    vpc_endpoints: Vec<EndpointView>,
}

/// A gateway endpoint to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateVpcEndpointRequest)]
struct CreateEndpointRequest {
    /// A name that no other endpoint has.
    name: Option<String>,
    /// The VPC: identifier or name.
    #[schema(value_type = String)]
    vpc: ResourceRef<VpcId>,
    /// The service: `s3` or `dynamodb`, or its full name, as in `com.amazonaws.us-east-1.s3`.
    #[schema(example = "s3")]
    service: String,
    /// The route tables that are to route to it: identifiers or names.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    route_tables: Vec<ResourceRef<RouteTableId>>,
    /// A policy, as text.
    policy: Option<String>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about a gateway endpoint; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModifyVpcEndpointRequest)]
struct ModifyEndpointRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All route tables that are to route to it.
    #[schema(value_type = Option<Vec<String>>)]
    route_tables: Option<Vec<ResourceRef<RouteTableId>>>,
    /// Another policy, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    policy: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

fn reference(path: &PathParts) -> ResourceRef<EndpointId> {
    ResourceRef::new(path.get("vpc_endpoint"))
}

/// Lists gateway endpoints
#[utoipa::path(get, path = "/v1/vpc-endpoints", tag = "vpc-endpoints", operation_id = "list_vpc_endpoints",
    responses(
        (status = 200, description = "All gateway endpoints, by identifier", body = EndpointList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<EndpointList>, Problem> {
    blocking(move || {
        let endpoints = state.controller.endpoints();
        let vpc_endpoints = endpoints.iter().map(EndpointView::from).collect();
        Ok(axum::Json(EndpointList { vpc_endpoints }))
    })
    .await
}

/// Makes a gateway endpoint
#[utoipa::path(post, path = "/v1/vpc-endpoints", tag = "vpc-endpoints", operation_id = "create_vpc_endpoint",
    request_body = CreateEndpointRequest,
    responses(
        (status = 201, description = "The new endpoint", body = EndpointView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateEndpointRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateEndpoint {
        name: request.name,
        vpc: request.vpc,
        service: request.service,
        route_tables: request.route_tables,
        policy: request.policy,
        at: SystemTime::now(),
        tags: request.tags,
    };
    let view: EndpointView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/vpc-endpoints/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a gateway endpoint
#[utoipa::path(get, path = "/v1/vpc-endpoints/{vpc_endpoint}", tag = "vpc-endpoints",
    operation_id = "get_vpc_endpoint",
    params(("vpc_endpoint" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The endpoint", body = EndpointView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<EndpointView>, Problem> {
    blocking(move || {
        let endpoint = state.controller.endpoint(&reference(&path))?;
        Ok(axum::Json((&endpoint).into()))
    })
    .await
}

/// Changes a gateway endpoint
#[utoipa::path(patch, path = "/v1/vpc-endpoints/{vpc_endpoint}", tag = "vpc-endpoints",
    operation_id = "modify_vpc_endpoint", request_body = ModifyEndpointRequest,
    params(("vpc_endpoint" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The endpoint as it is now", body = EndpointView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyEndpointRequest>,
) -> Result<axum::Json<EndpointView>, Problem> {
    let endpoint = reference(&path);
    // What the body names and does not exist is another mistake than what the path names.
    let controller = state.controller.clone();
    let known = endpoint.clone();
    blocking(move || Ok(controller.endpoint(&known).map(drop)?)).await?;
    let command = ModifyEndpoint {
        name: request.name,
        route_tables: request.route_tables,
        policy: request.policy,
        tags: request.tags,
        ..ModifyEndpoint::new(endpoint)
    };
    let changed = execute(state, command).await.map_err(Problem::named_in_body)?;
    Ok(axum::Json((&changed).into()))
}

/// Deletes a gateway endpoint
///
/// Its routes go with it.
#[utoipa::path(delete, path = "/v1/vpc-endpoints/{vpc_endpoint}", tag = "vpc-endpoints",
    operation_id = "delete_vpc_endpoint",
    params(("vpc_endpoint" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteEndpoint(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}
