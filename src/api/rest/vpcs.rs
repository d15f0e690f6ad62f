//! Implements `/v1/vpcs`.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, State, double_option};
use crate::api::problem::Problem;
use crate::api::rest::profiles::resolve;
use crate::api::state::AppState;
use crate::model::dhcp_options::DhcpOptionsChoice;
use crate::model::naming::Tags;
use crate::model::profile::ProfileSpec;
use crate::model::vpc::{CreateVpc, DeleteVpc, ModifyVpc};
use crate::model::{ResourceRef, RouteTableId, Vpc, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
}

/// A VPC.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Vpc)]
pub struct VpcView {
    /// Its identifier.
    pub id: VpcId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// IPv4 blocks, the primary one first.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/16"]))]
    pub cidr_blocks: Vec<Ipv4Net>,
    /// IPv6 blocks.
    #[schema(value_type = Vec<String>, example = json!(["2001:db8:1200::/56"]))]
    pub ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// Its behaviour on the wire: the name of a profile, or one with fields that differ.
    pub profile: ProfileSpec,
    /// Its DHCP option set, or `default` for none.
    pub dhcp_options_id: String,
    /// The route table of its subnets without an association of their own.
    pub main_route_table_id: RouteTableId,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<&Vpc> for VpcView {
    fn from(vpc: &Vpc) -> Self {
        Self {
            id: vpc.id,
            name: vpc.name.clone(),
            cidr_blocks: vpc.cidr_blocks.clone(),
            ipv6_cidr_blocks: vpc.ipv6_cidr_blocks.clone(),
            profile: ProfileSpec::of(&vpc.profile),
            dhcp_options_id: vpc
                .dhcp_options_id
                .map_or_else(|| DhcpOptionsChoice::NONE.to_owned(), |id| id.to_string()),
            main_route_table_id: vpc.main_route_table_id,
            tags: vpc.tags.clone(),
        }
    }
}

/// All VPCs.
#[derive(Debug, Serialize, ToSchema)]
struct VpcList {
    vpcs: Vec<VpcView>,
}

/// A VPC to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateVpcRequest {
    /// A name that no other VPC has.
    name: Option<String>,
    /// IPv4 blocks from /16 to /28, the primary one first.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/16"]))]
    cidr_blocks: Vec<Ipv4Net>,
    /// IPv6 blocks from /44 to /60 in steps of 4.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["2001:db8:1200::/56"]))]
    ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// Its behaviour on the wire; `aws` if left out.
    #[serde(default)]
    profile: ProfileSpec,
    /// An option set by identifier or name, or `default` for none; the region's own if left out.
    #[schema(value_type = Option<String>)]
    dhcp_options: Option<DhcpOptionsChoice>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// Changes of a VPC; a field that is left out stays unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyVpcRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All IPv4 blocks: the primary one stays first, and blocks with subnets stay.
    #[schema(value_type = Option<Vec<String>>)]
    cidr_blocks: Option<Vec<Ipv4Net>>,
    /// All IPv6 blocks; those with subnets stay.
    #[schema(value_type = Option<Vec<String>>)]
    ipv6_cidr_blocks: Option<Vec<Ipv6Net>>,
    /// Another profile, effective from the next frame on.
    profile: Option<ProfileSpec>,
    /// Another option set by identifier or name, or `default` for none; effective from the next lease or renewal on.
    #[schema(value_type = Option<String>)]
    dhcp_options: Option<DhcpOptionsChoice>,
    /// All tags.
    tags: Option<Tags>,
}

fn reference(path: &PathParts) -> ResourceRef<VpcId> {
    ResourceRef::new(path.get("vpc"))
}

/// Lists VPCs
#[utoipa::path(get, path = "/v1/vpcs", tag = "vpcs", operation_id = "list_vpcs",
    responses(
        (status = 200, description = "All VPCs, by identifier", body = VpcList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<VpcList>, Problem> {
    blocking(move || {
        let vpcs = state.controller.vpcs().iter().map(VpcView::from).collect();
        Ok(axum::Json(VpcList { vpcs }))
    })
    .await
}

/// Creates a VPC
#[utoipa::path(post, path = "/v1/vpcs", tag = "vpcs", operation_id = "create_vpc", request_body = CreateVpcRequest,
    responses(
        (status = 201, description = "The new VPC", body = VpcView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateVpcRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateVpc {
        attributes: Default::default(),
        name: request.name,
        cidr_blocks: request.cidr_blocks,
        ipv6_cidr_blocks: request.ipv6_cidr_blocks,
        profile: Arc::new(resolve(&request.profile)?),
        dhcp_options: request.dhcp_options,
        tags: request.tags,
    };
    let view: VpcView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/vpcs/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a VPC
#[utoipa::path(get, path = "/v1/vpcs/{vpc}", tag = "vpcs", operation_id = "get_vpc",
    params(("vpc" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The VPC", body = VpcView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<VpcView>, Problem> {
    blocking(move || Ok(axum::Json((&state.controller.vpc(&reference(&path))?).into()))).await
}

/// Changes a VPC
#[utoipa::path(patch, path = "/v1/vpcs/{vpc}", tag = "vpcs", operation_id = "modify_vpc",
    params(("vpc" = String, Path, description = "Identifier or name")), request_body = ModifyVpcRequest,
    responses(
        (status = 200, description = "The VPC after the change", body = VpcView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyVpcRequest>,
) -> Result<axum::Json<VpcView>, Problem> {
    let profile = request.profile.as_ref().map(resolve).transpose()?.map(Arc::new);
    let mut command = ModifyVpc {
        vpc: reference(&path),
        name: request.name,
        cidr_blocks: request.cidr_blocks,
        ipv6_cidr_blocks: request.ipv6_cidr_blocks,
        profile,
        dhcp_options: request.dhcp_options,
        attributes: None,
        tags: request.tags,
    };
    blocking(move || {
        // The path names the VPC, the body its options.
        command.vpc = state.controller.vpc(&command.vpc)?.id.into();
        let vpc = state.controller.execute(command);
        let vpc = vpc.map_err(|error| Problem::from(error).named_in_body())?;
        Ok(axum::Json((&vpc).into()))
    })
    .await
}

/// Deletes a VPC without subnets
#[utoipa::path(delete, path = "/v1/vpcs/{vpc}", tag = "vpcs", operation_id = "delete_vpc",
    params(("vpc" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteVpc(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}
