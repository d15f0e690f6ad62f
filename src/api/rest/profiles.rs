//! Implements `/v1/profiles`: the built-in profiles with every field that an override can change.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::NoQuery;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::Profile;
use crate::model::profile::{ProfileError, ProfileSpec};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The built-in profiles.
#[derive(Debug, Serialize, ToSchema)]
struct ProfileList {
    profiles: Vec<Profile>,
}

/// Lists the built-in profiles
#[utoipa::path(get, path = "/v1/profiles", tag = "vpcs", operation_id = "list_profiles",
    responses(
        (status = 200, description = "Every profile with all its fields", body = ProfileList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(_: NoQuery) -> axum::Json<ProfileList> {
    let profiles = Profile::NAMES
        .iter()
        .filter_map(|name| Profile::named(name).ok())
        .collect();
    axum::Json(ProfileList { profiles })
}

/// The profile that a request names.
pub(super) fn resolve(spec: &ProfileSpec) -> Result<Profile, Problem> {
    spec.resolve().map_err(|error| {
        let field = match &error {
            ProfileError::Override { .. } => "profile.overrides",
            ProfileError::Unknown { .. } => "profile",
        };
        Problem::invalid(field, error.to_string()).remedy("GET /v1/profiles shows every profile with its fields.")
    })
}
