//! Implements `/v1/dhcp-options`: options that DHCP sends with the address. A set never changes; a VPC is given another
//! one.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::dhcp_options::{CreateDhcpOptions, DeleteDhcpOptions, DhcpOptionSet, DhcpOptions};
use crate::model::naming::Tags;
use crate::model::{DhcpOptionsId, ResourceRef};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
}

/// A DHCP option set.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = DhcpOptionSet)]
pub struct DhcpOptionsView {
    /// Its identifier.
    pub id: DhcpOptionsId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The options.
    pub options: DhcpOptions,
    /// Whether every new VPC starts with it.
    pub default: bool,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<&DhcpOptionSet> for DhcpOptionsView {
    fn from(set: &DhcpOptionSet) -> Self {
        Self {
            id: set.id,
            name: set.name.clone(),
            options: DhcpOptions::clone(&set.options),
            default: set.default,
            tags: set.tags.clone(),
        }
    }
}

/// All DHCP option sets.
#[derive(Debug, Serialize, ToSchema)]
struct DhcpOptionsList {
    dhcp_options: Vec<DhcpOptionsView>,
}

/// A DHCP option set to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateDhcpOptionsRequest {
    /// A name that no other set has.
    name: Option<String>,
    /// The options; at least one.
    options: DhcpOptions,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

fn reference(path: &PathParts) -> ResourceRef<DhcpOptionsId> {
    ResourceRef::new(path.get("dhcp_options"))
}

/// Lists DHCP option sets
#[utoipa::path(get, path = "/v1/dhcp-options", tag = "dhcp-options", operation_id = "list_dhcp_options",
    responses(
        (status = 200, description = "All sets, by identifier", body = DhcpOptionsList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<DhcpOptionsList>, Problem> {
    blocking(move || {
        let sets = state.controller.dhcp_option_sets();
        let dhcp_options = sets.iter().map(DhcpOptionsView::from).collect();
        Ok(axum::Json(DhcpOptionsList { dhcp_options }))
    })
    .await
}

/// Creates a DHCP option set
#[utoipa::path(post, path = "/v1/dhcp-options", tag = "dhcp-options", operation_id = "create_dhcp_options",
    request_body = CreateDhcpOptionsRequest,
    responses(
        (status = 201, description = "The new set", body = DhcpOptionsView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateDhcpOptionsRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateDhcpOptions {
        name: request.name,
        options: request.options,
        tags: request.tags,
    };
    let view: DhcpOptionsView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/dhcp-options/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a DHCP option set
#[utoipa::path(get, path = "/v1/dhcp-options/{dhcp_options}", tag = "dhcp-options", operation_id = "get_dhcp_options",
    params(("dhcp_options" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The set", body = DhcpOptionsView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<DhcpOptionsView>, Problem> {
    blocking(move || {
        let set = state.controller.dhcp_option_set(&reference(&path))?;
        Ok(axum::Json((&set).into()))
    })
    .await
}

/// Deletes a DHCP option set that no VPC uses
#[utoipa::path(delete, path = "/v1/dhcp-options/{dhcp_options}", tag = "dhcp-options",
    operation_id = "delete_dhcp_options",
    params(("dhcp_options" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteDhcpOptions(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}
