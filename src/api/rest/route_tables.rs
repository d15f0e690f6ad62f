//! Implements `/v1/route-tables`: routes, and the subnets associated with their tables.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, Query, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::naming::Tags;
use crate::model::route_table::{
    AssociateGatewayTable, AssociateRouteTable, CreateRouteTable, DeleteRouteTable, DisassociateGatewayTable,
    DisassociateRouteTable, EditRoute, ModifyRouteTable, Route, RouteEdit, RouteOrigin, RouteState, RouteTable,
    TargetRef,
};
use crate::model::{EndpointId, InternetGatewayId, PrefixListId, ResourceRef, RouteTableId, SubnetId, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(create_route, replace_route))
        .routes(routes!(delete_route))
        .routes(routes!(associate))
        .routes(routes!(disassociate))
}

/// A destination may be in the path with its slash.
pub(super) fn prefix_routes() -> Router<AppState> {
    Router::new().route(
        "/v1/route-tables/{route_table}/routes/{destination}/{length}",
        routing::delete(delete_route),
    )
}

/// A route table.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RouteTable)]
pub struct RouteTableView {
    /// Its identifier.
    pub id: RouteTableId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Whether it applies to the subnets without an association of their own.
    pub main: bool,
    /// The subnets that are associated with it.
    pub subnet_ids: Vec<SubnetId>,
    /// The internet gateways that are associated with it: packets that they let in follow its routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateway_ids: Vec<InternetGatewayId>,
    /// Its routes, the VPC's own ranges first. Of the routes that match an address the one with the longest prefix
    /// wins.
    pub routes: Vec<RouteView>,
    /// Its routes to gateway endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoint_routes: Vec<EndpointRouteView>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A route.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Route)]
pub struct RouteView {
    /// Its destination.
    #[schema(value_type = String, example = "0.0.0.0/0")]
    pub destination: IpNet,
    /// Its target: `local`, `blackhole`, or an interface.
    #[schema(example = "local")]
    pub target: String,
    /// `blackhole` while the target is detached or deleted.
    pub state: RouteState,
    /// How it was created.
    pub origin: RouteOrigin,
}

/// A route from the prefix list of a service to a gateway endpoint. It comes and goes with the endpoint's tables.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = EndpointRoute)]
pub struct EndpointRouteView {
    /// Its destination.
    pub destination_prefix_list_id: PrefixListId,
    /// Its target.
    pub target: EndpointId,
}

impl From<&Route> for RouteView {
    fn from(route: &Route) -> Self {
        Self {
            destination: route.destination,
            target: route.target.to_string(),
            state: route.state,
            origin: route.origin,
        }
    }
}

impl From<&RouteTable> for RouteTableView {
    fn from(table: &RouteTable) -> Self {
        Self {
            id: table.id,
            name: table.name.clone(),
            vpc_id: table.vpc_id,
            main: table.main,
            subnet_ids: table.subnet_ids.clone(),
            gateway_ids: table.gateway_ids.clone(),
            routes: table.routes.iter().map(RouteView::from).collect(),
            endpoint_routes: table
                .endpoint_routes
                .iter()
                .map(|route| EndpointRouteView {
                    destination_prefix_list_id: route.prefix_list,
                    target: route.endpoint,
                })
                .collect(),
            tags: table.tags.clone(),
        }
    }
}

/// Route tables.
#[derive(Debug, Serialize, ToSchema)]
struct RouteTableList {
    route_tables: Vec<RouteTableView>,
}

/// Which route tables to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RouteTableFilter {
    /// Only of this VPC: identifier or name.
    #[param(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
}

/// A route table to create; it starts with the local routes of its VPC.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateRouteTableRequest {
    /// A name that no other route table has.
    name: Option<String>,
    /// The VPC: identifier or name.
    #[schema(value_type = String)]
    vpc: ResourceRef<VpcId>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// Changes of a route table; a field that is left out stays unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyRouteTableRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// `true` makes it the main one of its VPC.
    main: Option<bool>,
    /// All tags.
    tags: Option<Tags>,
}

/// A route.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RouteRequest {
    /// Its destination; bits beyond the length are cleared.
    #[schema(value_type = String, example = "192.0.2.10/32")]
    destination: IpNet,
    /// Its target: `local`, `blackhole`, or an interface by identifier or name.
    #[schema(value_type = String, example = "local")]
    target: TargetRef,
}

/// A subnet or an internet gateway to associate with a route table: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssociateRequest {
    /// The subnet: identifier or name.
    #[schema(value_type = Option<String>)]
    subnet: Option<ResourceRef<SubnetId>>,
    /// The internet gateway, whose packets from outside are to follow the table: identifier or name.
    #[schema(value_type = Option<String>)]
    internet_gateway: Option<ResourceRef<InternetGatewayId>>,
}

fn reference(path: &PathParts) -> ResourceRef<RouteTableId> {
    ResourceRef::new(path.get("route_table"))
}

/// The destination in a path, in one part or two.
fn destination(path: &PathParts) -> Result<IpNet, Problem> {
    let (address, length) = (path.get("destination"), path.get("length"));
    let text = if length.is_empty() {
        address.to_owned()
    } else {
        format!("{address}/{length}")
    };
    text.parse().map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValue",
            format!("'{text}' is not a destination"),
        )
        .field("destination")
        .remedy("Write an address and a length, as in 192.0.2.10/32.")
    })
}

/// Lists route tables
#[utoipa::path(get, path = "/v1/route-tables", tag = "route-tables", operation_id = "list_route_tables",
    params(RouteTableFilter),
    responses(
        (status = 200, description = "Route tables, by identifier", body = RouteTableList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(filter): Query<RouteTableFilter>,
) -> Result<axum::Json<RouteTableList>, Problem> {
    blocking(move || {
        let tables = state.controller.route_tables(filter.vpc.as_ref())?;
        let route_tables = tables.iter().map(RouteTableView::from).collect();
        Ok(axum::Json(RouteTableList { route_tables }))
    })
    .await
    .map_err(Problem::named_in_body)
}

/// Creates a route table
#[utoipa::path(post, path = "/v1/route-tables", tag = "route-tables", operation_id = "create_route_table",
    request_body = CreateRouteTableRequest,
    responses(
        (status = 201, description = "The new route table", body = RouteTableView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateRouteTableRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateRouteTable {
        name: request.name,
        vpc: request.vpc,
        tags: request.tags,
    };
    let view: RouteTableView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/route-tables/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a route table
#[utoipa::path(get, path = "/v1/route-tables/{route_table}", tag = "route-tables", operation_id = "get_route_table",
    params(("route_table" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The route table", body = RouteTableView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<RouteTableView>, Problem> {
    blocking(move || {
        let table = state.controller.route_table(&reference(&path))?;
        Ok(axum::Json((&table).into()))
    })
    .await
}

/// Changes a route table
#[utoipa::path(patch, path = "/v1/route-tables/{route_table}", tag = "route-tables",
    operation_id = "modify_route_table", request_body = ModifyRouteTableRequest,
    params(("route_table" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The route table after the change", body = RouteTableView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyRouteTableRequest>,
) -> Result<axum::Json<RouteTableView>, Problem> {
    let command = ModifyRouteTable {
        table: reference(&path),
        name: request.name,
        main: request.main,
        tags: request.tags,
    };
    let table = execute(state, command).await?;
    Ok(axum::Json((&table).into()))
}

/// Deletes a route table that no subnet is associated with
#[utoipa::path(delete, path = "/v1/route-tables/{route_table}", tag = "route-tables",
    operation_id = "delete_route_table",
    params(("route_table" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteRouteTable(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a route
///
/// Within the VPC's own ranges the destination is a whole range, or the whole block of one subnet, and the target is an
/// interface.
#[utoipa::path(post, path = "/v1/route-tables/{route_table}/routes", tag = "route-tables",
    operation_id = "create_route", request_body = RouteRequest,
    params(("route_table" = String, Path, description = "Identifier or name")),
    responses(
        (status = 201, description = "The route table after the change", body = RouteTableView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create_route(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<RouteRequest>,
) -> Result<impl IntoResponse, Problem> {
    let edit = RouteEdit::Create(request.destination, request.target);
    let view = edit_route(state, &path, edit).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// Gives the route of a destination another target
#[utoipa::path(put, path = "/v1/route-tables/{route_table}/routes", tag = "route-tables",
    operation_id = "replace_route", request_body = RouteRequest,
    params(("route_table" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The route table after the change", body = RouteTableView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn replace_route(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<RouteRequest>,
) -> Result<axum::Json<RouteTableView>, Problem> {
    let edit = RouteEdit::Replace(request.destination, request.target);
    edit_route(state, &path, edit).await.map(axum::Json)
}

/// An edit whose target is named in the body, and the table in the path.
async fn edit_route(state: AppState, path: &PathParts, edit: RouteEdit) -> Result<RouteTableView, Problem> {
    let table = reference(path);
    blocking(move || {
        let table = state.controller.route_table(&table)?.id.into();
        let edited = state.controller.execute(EditRoute { table, edit });
        let table = edited.map_err(|error| {
            let problem = Problem::from(error);
            let of_target = problem.field.as_deref() == Some("interface");
            let problem = problem.named_in_body();
            if of_target { problem.field("target") } else { problem }
        })?;
        Ok((&table).into())
    })
    .await
}

/// Deletes a route
///
/// The destination may be written with its slash: `…/routes/192.0.2.0/24`.
#[utoipa::path(delete, path = "/v1/route-tables/{route_table}/routes/{destination}", tag = "route-tables",
    operation_id = "delete_route",
    params(
        ("route_table" = String, Path, description = "Identifier or name"),
        ("destination" = String, Path, description = "The destination of the route"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete_route(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let command = EditRoute {
        table: reference(&path),
        edit: RouteEdit::Delete(destination(&path)?),
    };
    execute(state, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Associates a subnet or an internet gateway with a route table, replacing its association
#[utoipa::path(post, path = "/v1/route-tables/{route_table}/associations", tag = "route-tables",
    operation_id = "associate_route_table", request_body = AssociateRequest,
    params(("route_table" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The route table after the change", body = RouteTableView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn associate(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<AssociateRequest>,
) -> Result<axum::Json<RouteTableView>, Problem> {
    let table = reference(&path);
    blocking(move || {
        let table = state.controller.route_table(&table)?.id.into();
        let associated = match (request.subnet, request.internet_gateway) {
            (Some(subnet), None) => state.controller.execute(AssociateRouteTable {
                table,
                subnet,
                replacing: true,
            }),
            (None, Some(gateway)) => state.controller.execute(AssociateGatewayTable {
                table,
                gateway,
                replacing: true,
            }),
            _ => {
                let detail = "Name a subnet or an internet gateway, and not both";
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidParameterCombination", detail);
                return Err(problem.field("subnet").remedy("Give `subnet` or `internet_gateway`."));
            }
        };
        let table = associated.map_err(|error| Problem::from(error).named_in_body())?;
        Ok(axum::Json((&table).into()))
    })
    .await
}

/// Ends the association of a subnet, so that the main route table applies, or of an internet gateway
#[utoipa::path(delete, path = "/v1/route-tables/{route_table}/associations/{subnet}", tag = "route-tables",
    operation_id = "disassociate_route_table",
    params(
        ("route_table" = String, Path, description = "Identifier or name"),
        ("subnet" = String, Path, description = "Identifier or name of the subnet, or identifier of the internet gateway"),
    ),
    responses(
        (status = 204, description = "It is associated no longer"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn disassociate(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    if let Ok(gateway) = path.get("subnet").parse::<InternetGatewayId>() {
        let command = DisassociateGatewayTable {
            table: reference(&path),
            gateway: gateway.into(),
        };
        execute(state, command).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let command = DisassociateRouteTable {
        table: reference(&path),
        subnet: ResourceRef::new(path.get("subnet")),
    };
    execute(state, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
