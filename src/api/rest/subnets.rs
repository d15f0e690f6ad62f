//! Implements `/v1/subnets`.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, Query, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::naming::Tags;
use crate::model::subnet::{CreateSubnet, DeleteSubnet, ModifySubnet};
use crate::model::{ResourceRef, Subnet, SubnetId, VpcId};
use crate::wire::MacAddr;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
}

/// A subnet.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Subnet)]
pub struct SubnetView {
    /// Its identifier.
    pub id: SubnetId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// IPv4 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10.0.1.0/24")]
    pub cidr_block: Option<Ipv4Net>,
    /// IPv6 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2001:db8:1200:1::/64")]
    pub ipv6_cidr_block: Option<Ipv6Net>,
    /// Its availability zone.
    pub availability_zone: String,
    /// The MAC of its router.
    #[schema(value_type = String, example = "0a:ca:05:9c:fc:14")]
    pub router_mac: MacAddr,
    /// Whether an instance that is launched here is given a public IPv4 address.
    #[serde(default)]
    pub map_public_ip_on_launch: bool,
    /// Whether the VPC's resolver gives its hosts an address in 64:ff9b::/96 for a name that has IPv4 addresses alone.
    #[serde(default)]
    pub enable_dns64: bool,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<&Subnet> for SubnetView {
    fn from(subnet: &Subnet) -> Self {
        Self {
            id: subnet.id,
            name: subnet.name.clone(),
            vpc_id: subnet.vpc_id,
            cidr_block: subnet.cidr_block,
            ipv6_cidr_block: subnet.ipv6_cidr_block,
            availability_zone: subnet.availability_zone.clone(),
            router_mac: subnet.router_mac,
            map_public_ip_on_launch: subnet.map_public_ip_on_launch,
            enable_dns64: subnet.enable_dns64,
            tags: subnet.tags.clone(),
        }
    }
}

/// Subnets.
#[derive(Debug, Serialize, ToSchema)]
struct SubnetList {
    subnets: Vec<SubnetView>,
}

/// Which subnets to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubnetFilter {
    /// Only of this VPC: identifier or name.
    #[param(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
}

/// A subnet to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateSubnetRequest {
    /// A name that no other subnet has.
    name: Option<String>,
    /// The VPC: identifier or name.
    #[schema(value_type = String)]
    vpc: ResourceRef<VpcId>,
    /// IPv4 block inside of the VPC, from /16 to /28. A subnet has this, the next, or both.
    #[schema(value_type = Option<String>, example = "10.0.1.0/24")]
    cidr_block: Option<Ipv4Net>,
    /// IPv6 block inside of the VPC, a /64.
    #[schema(value_type = Option<String>, example = "2001:db8:1200:1::/64")]
    ipv6_cidr_block: Option<Ipv6Net>,
    /// Its availability zone; zone `a` of the server's region if left out.
    availability_zone: Option<String>,
    /// The MAC of its router; generated if left out.
    #[schema(value_type = Option<String>)]
    router_mac: Option<MacAddr>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// Changes of a subnet; a field that is left out stays unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifySubnetRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// Whether instances that are launched from now on are given a public IPv4 address.
    map_public_ip_on_launch: Option<bool>,
    /// Whether the VPC's resolver gives its hosts an address in 64:ff9b::/96 for a name that has IPv4 addresses alone.
    enable_dns64: Option<bool>,
    /// All tags.
    tags: Option<Tags>,
}

fn reference(path: &PathParts) -> ResourceRef<SubnetId> {
    ResourceRef::new(path.get("subnet"))
}

/// Lists subnets
#[utoipa::path(get, path = "/v1/subnets", tag = "subnets", operation_id = "list_subnets", params(SubnetFilter),
    responses(
        (status = 200, description = "Subnets, by identifier", body = SubnetList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(filter): Query<SubnetFilter>,
) -> Result<axum::Json<SubnetList>, Problem> {
    blocking(move || {
        let vpc = filter
            .vpc
            .map(|vpc| state.controller.vpc(&vpc))
            .transpose()?
            .map(|vpc| vpc.id);
        let subnets = state.controller.subnets();
        let wanted = subnets
            .iter()
            .filter(|subnet| vpc.is_none_or(|vpc| subnet.vpc_id == vpc));
        Ok(axum::Json(SubnetList {
            subnets: wanted.map(SubnetView::from).collect(),
        }))
    })
    .await
    .map_err(Problem::named_in_body)
}

/// Creates a subnet
#[utoipa::path(post, path = "/v1/subnets", tag = "subnets", operation_id = "create_subnet",
    request_body = CreateSubnetRequest,
    responses(
        (status = 201, description = "The new subnet", body = SubnetView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateSubnetRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateSubnet {
        name: request.name,
        vpc: request.vpc,
        cidr_block: request.cidr_block,
        ipv6_cidr_block: request.ipv6_cidr_block,
        availability_zone: request.availability_zone,
        router_mac: request.router_mac,
        tags: request.tags,
    };
    let view: SubnetView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/subnets/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a subnet
#[utoipa::path(get, path = "/v1/subnets/{subnet}", tag = "subnets", operation_id = "get_subnet",
    params(("subnet" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The subnet", body = SubnetView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<SubnetView>, Problem> {
    blocking(move || Ok(axum::Json((&state.controller.subnet(&reference(&path))?).into()))).await
}

/// Changes a subnet
#[utoipa::path(patch, path = "/v1/subnets/{subnet}", tag = "subnets", operation_id = "modify_subnet",
    params(("subnet" = String, Path, description = "Identifier or name")), request_body = ModifySubnetRequest,
    responses(
        (status = 200, description = "The subnet after the change", body = SubnetView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifySubnetRequest>,
) -> Result<axum::Json<SubnetView>, Problem> {
    let command = ModifySubnet {
        name: request.name,
        map_public_ip_on_launch: request.map_public_ip_on_launch,
        enable_dns64: request.enable_dns64,
        tags: request.tags,
        ..ModifySubnet::new(reference(&path))
    };
    let subnet = execute(state, command).await?;
    Ok(axum::Json((&subnet).into()))
}

/// Deletes a subnet without interfaces
#[utoipa::path(delete, path = "/v1/subnets/{subnet}", tag = "subnets", operation_id = "delete_subnet",
    params(("subnet" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteSubnet(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}
