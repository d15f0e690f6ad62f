//! `/v1/block-public-access`: what gateways to the outside let through, for all VPCs at once.

use std::time::SystemTime;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::block_public_access::{
    BlockMode, BpaExclusion, ExcludeFromBlock, Excluded, ExcludedRef, ExclusionMode, IncludeInBlock,
    SetBlockPublicAccess,
};
use crate::model::{BpaExclusionId, ResourceRef, SubnetId, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get, set))
        .routes(routes!(exclude))
        .routes(routes!(include))
}

/// What is blocked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BlockPublicAccess)]
pub struct BlockPublicAccessView {
    /// The mode.
    pub mode: BlockMode,
    /// The exclusions, in the order in which they were made.
    pub exclusions: Vec<BpaExclusionView>,
}

/// A VPC or a subnet that is excluded.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BlockPublicAccessExclusion)]
pub struct BpaExclusionView {
    /// Its identifier.
    pub id: BpaExclusionId,
    /// The VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<VpcId>,
    /// The subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<SubnetId>,
    /// What it lets through.
    pub mode: ExclusionMode,
}

impl From<&BpaExclusion> for BpaExclusionView {
    fn from(exclusion: &BpaExclusion) -> Self {
        let (vpc_id, subnet_id) = match exclusion.of {
            Excluded::Vpc(vpc) => (Some(vpc), None),
            Excluded::Subnet(subnet) => (None, Some(subnet)),
        };
        Self {
            id: exclusion.id,
            vpc_id,
            subnet_id,
            mode: exclusion.mode,
        }
    }
}

/// Another mode.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetBlockPublicAccessRequest {
    /// The mode.
    mode: BlockMode,
}

/// A VPC or a subnet to be excluded: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExcludeRequest {
    /// The VPC: identifier or name.
    #[schema(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
    /// The subnet: identifier or name.
    #[schema(value_type = Option<String>)]
    subnet: Option<ResourceRef<SubnetId>>,
    /// What it lets through.
    mode: ExclusionMode,
}

fn shown(state: &AppState) -> BlockPublicAccessView {
    let block = state.controller.block_public_access();
    let exclusions = block
        .as_ref()
        .map(|block| block.exclusions.iter().map(BpaExclusionView::from).collect());
    BlockPublicAccessView {
        mode: block.map(|block| block.mode).unwrap_or_default(),
        exclusions: exclusions.unwrap_or_default(),
    }
}

/// Shows what is blocked
#[utoipa::path(get, path = "/v1/block-public-access", tag = "block-public-access",
    operation_id = "get_block_public_access",
    responses(
        (status = 200, description = "The mode and the exclusions", body = BlockPublicAccessView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<BlockPublicAccessView>, Problem> {
    blocking(move || Ok(axum::Json(shown(&state)))).await
}

/// Sets what is blocked
#[utoipa::path(put, path = "/v1/block-public-access", tag = "block-public-access",
    operation_id = "set_block_public_access", request_body = SetBlockPublicAccessRequest,
    responses(
        (status = 200, description = "The mode and the exclusions", body = BlockPublicAccessView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn set(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<SetBlockPublicAccessRequest>,
) -> Result<axum::Json<BlockPublicAccessView>, Problem> {
    let command = SetBlockPublicAccess {
        mode: request.mode,
        at: SystemTime::now(),
    };
    blocking(move || {
        state.controller.execute(command)?;
        Ok(axum::Json(shown(&state)))
    })
    .await
}

/// Excludes a VPC or a subnet
#[utoipa::path(post, path = "/v1/block-public-access/exclusions", tag = "block-public-access",
    operation_id = "exclude_from_block_public_access", request_body = ExcludeRequest,
    responses(
        (status = 201, description = "The exclusion", body = BpaExclusionView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn exclude(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<ExcludeRequest>,
) -> Result<(StatusCode, axum::Json<BpaExclusionView>), Problem> {
    let of = match (request.vpc, request.subnet) {
        (Some(vpc), None) => ExcludedRef::Vpc(vpc),
        (None, Some(subnet)) => ExcludedRef::Subnet(subnet),
        _ => {
            let text = "An exclusion is of a VPC or of a subnet".to_owned();
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidParameterCombination", text);
            return Err(problem.field("vpc").remedy("Give one of 'vpc' and 'subnet'."));
        }
    };
    let command = ExcludeFromBlock {
        of,
        mode: request.mode,
        at: SystemTime::now(),
    };
    let made = execute(state, command).await.map_err(Problem::named_in_body)?;
    Ok((StatusCode::CREATED, axum::Json((&made).into())))
}

/// Ends an exclusion
#[utoipa::path(delete, path = "/v1/block-public-access/exclusions/{exclusion}", tag = "block-public-access",
    operation_id = "include_in_block_public_access",
    params(("exclusion" = String, Path, description = "Identifier")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn include(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let given = path.get("exclusion");
    let exclusion: BpaExclusionId = given
        .parse()
        .map_err(|_| Problem::from(crate::model::ModelError::not_found::<BpaExclusionId>(given)))?;
    execute(state, IncludeInBlock(exclusion)).await?;
    Ok(StatusCode::NO_CONTENT)
}
