//! `/v1/profiles`: the built-in profiles with every field, which is what overrides are written against.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::NoQuery;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::Profile;
use crate::model::profile::{ChangedProfile, ProfileError, ProfileSpec};

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

/// The profile that a request means.
pub(super) fn resolve(spec: &ProfileSpec) -> Result<Profile, Problem> {
    spec.resolve().map_err(|error| {
        let field = match &error {
            ProfileError::Override { .. } => "profile.overrides",
            ProfileError::Unknown { .. } => "profile",
        };
        Problem::invalid(field, error.to_string()).remedy("GET /v1/profiles shows every profile with its fields.")
    })
}

/// A profile as a request would write it: its name, or its name and the fields in which it differs.
pub(super) fn written(profile: &Profile) -> ProfileSpec {
    let name = ProfileSpec::Name(profile.name.clone());
    let Ok(base) = Profile::named(&profile.name) else {
        return name;
    };
    if base == *profile {
        return name;
    }
    match (serde_json::to_value(base), serde_json::to_value(profile)) {
        (Ok(Value::Object(base)), Ok(Value::Object(this))) => ProfileSpec::Changed(ChangedProfile {
            base: profile.name.clone(),
            overrides: difference(&base, &this),
        }),
        _ => name,
    }
}

/// The fields of `this` that differ from those of `base`, nested as they are.
fn difference(base: &Map<String, Value>, this: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    for (key, value) in this {
        match (base.get(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let inner = difference(old, new);
                if !inner.is_empty() {
                    found.insert(key.clone(), Value::Object(inner));
                }
            }
            (old, new) if old != Some(new) => drop(found.insert(key.clone(), new.clone())),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_written_as_the_request_that_makes_it() {
        let overrides = serde_json::json!({"mtu": 1500, "router": {"advertisement": {"interval": "2s"}}});
        let Value::Object(overrides) = overrides else { panic!() };
        for spec in [
            ProfileSpec::Name("lan".into()),
            ProfileSpec::Changed(ChangedProfile {
                base: "aws".into(),
                overrides,
            }),
        ] {
            let profile = resolve(&spec).unwrap();
            assert_eq!(written(&profile), spec);
        }
    }
}
