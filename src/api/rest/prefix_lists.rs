//! `/v1/prefix-lists`: addresses under one name, for rules of security groups; with a version for each change.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::ControlError;
use crate::model::naming::Tags;
use crate::model::prefix_list::{
    AddressFamily, CreatePrefixList, DeletePrefixList, Entries, EntriesChange, ModifyPrefixList, PrefixList,
    PrefixListError, PrefixListState, RestorePrefixList,
};
use crate::model::{ModelError, PrefixListId, ResourceRef};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(version))
        .routes(routes!(restore))
}

/// A prefix list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = PrefixList)]
pub struct PrefixListView {
    /// Its identifier.
    pub id: PrefixListId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the EC2 API calls its name.
    pub list_name: String,
    /// The family of its addresses.
    pub family: AddressFamily,
    /// How many entries it may have; a rule that names it weighs as much.
    pub max_entries: u32,
    /// Its version: 1, and one more for each change of its entries.
    pub version: u64,
    /// What its last change was.
    pub state: PrefixListState,
    /// Its entries.
    pub entries: Vec<PrefixEntry>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// An entry of a prefix list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = PrefixListEntry)]
#[serde(deny_unknown_fields)]
pub struct PrefixEntry {
    /// Its addresses.
    #[schema(value_type = String, example = "203.0.113.0/24")]
    pub cidr: IpNet,
    /// Free text of up to 255 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

fn views(entries: &Entries) -> Vec<PrefixEntry> {
    let view = |(cidr, description): (&IpNet, &String)| PrefixEntry {
        cidr: *cidr,
        description: description.clone(),
    };
    entries.iter().map(view).collect()
}

fn pairs(entries: Vec<PrefixEntry>) -> Vec<(IpNet, String)> {
    entries
        .into_iter()
        .map(|entry| (entry.cidr, entry.description))
        .collect()
}

impl From<&PrefixList> for PrefixListView {
    fn from(list: &PrefixList) -> Self {
        Self {
            id: list.id,
            name: list.name.clone(),
            list_name: list.list_name.clone(),
            family: list.family,
            max_entries: list.max_entries,
            version: list.version,
            state: list.state,
            entries: views(&list.entries()),
            tags: list.tags.clone(),
        }
    }
}

/// All prefix lists.
#[derive(Debug, Serialize, ToSchema)]
struct PrefixListList {
    prefix_lists: Vec<PrefixListView>,
}

/// A prefix list to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreatePrefixListRequest {
    /// A name that no other prefix list has.
    name: Option<String>,
    /// What the EC2 API calls its name; `name` if left out.
    list_name: Option<String>,
    /// The family of its addresses; that of its entries if left out.
    family: Option<AddressFamily>,
    /// How many entries it may have, 1 to 1000; as many as it has if left out.
    max_entries: Option<u32>,
    /// Its entries.
    #[serde(default)]
    entries: Vec<PrefixEntry>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about a prefix list; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyPrefixListRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// Another name in the EC2 API.
    list_name: Option<String>,
    /// How many entries it may have.
    max_entries: Option<u32>,
    /// The version that it has to be of, so that no edit of another is lost.
    current_version: Option<u64>,
    /// All its entries.
    entries: Option<Vec<PrefixEntry>>,
    /// Entries that are added.
    #[serde(default)]
    add: Vec<PrefixEntry>,
    /// Entries that are taken away.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    remove: Vec<IpNet>,
    /// All tags.
    tags: Option<Tags>,
}

/// The entries of one version of a prefix list.
#[derive(Debug, Serialize, ToSchema)]
struct PrefixListVersion {
    version: u64,
    entries: Vec<PrefixEntry>,
}

/// Which version of a prefix list to take back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RestoreRequest {
    /// The version whose entries it gets.
    previous_version: u64,
    /// The version that it has to be of.
    current_version: u64,
}

fn reference(path: &PathParts) -> ResourceRef<PrefixListId> {
    ResourceRef::new(path.get("prefix_list"))
}

/// Lists prefix lists
#[utoipa::path(get, path = "/v1/prefix-lists", tag = "prefix-lists", operation_id = "list_prefix_lists",
    responses(
        (status = 200, description = "All prefix lists, by identifier", body = PrefixListList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<PrefixListList>, Problem> {
    blocking(move || {
        let lists = state.controller.prefix_lists();
        let prefix_lists = lists.iter().map(PrefixListView::from).collect();
        Ok(axum::Json(PrefixListList { prefix_lists }))
    })
    .await
}

/// Makes a prefix list
#[utoipa::path(post, path = "/v1/prefix-lists", tag = "prefix-lists", operation_id = "create_prefix_list",
    request_body = CreatePrefixListRequest,
    responses(
        (status = 201, description = "The new prefix list", body = PrefixListView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreatePrefixListRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreatePrefixList {
        name: request.name,
        list_name: request.list_name,
        family: request.family,
        max_entries: request.max_entries,
        entries: pairs(request.entries),
        tags: request.tags,
    };
    let view: PrefixListView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/prefix-lists/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a prefix list
#[utoipa::path(get, path = "/v1/prefix-lists/{prefix_list}", tag = "prefix-lists", operation_id = "get_prefix_list",
    params(("prefix_list" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The prefix list with its entries", body = PrefixListView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<PrefixListView>, Problem> {
    blocking(move || Ok(axum::Json((&state.controller.prefix_list(&reference(&path))?).into()))).await
}

/// Shows the entries that a prefix list had in a version
#[utoipa::path(get, path = "/v1/prefix-lists/{prefix_list}/versions/{version}", tag = "prefix-lists",
    operation_id = "get_prefix_list_version",
    params(
        ("prefix_list" = String, Path, description = "Identifier or name"),
        ("version" = u64, Path, description = "1 to the current version"),
    ),
    responses(
        (status = 200, description = "The entries of that version", body = PrefixListVersion),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn version(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<PrefixListVersion>, Problem> {
    let text = path.get("version");
    let given: u64 = text.parse().map_err(|_| {
        let problem = Problem::invalid("version", format!("'{text}' is not a version"));
        problem.remedy("Give a version from 1 to the current one.")
    })?;
    blocking(move || {
        let list = state.controller.prefix_list(&reference(&path))?;
        let entries = list.versions.get(&given).ok_or(PrefixListError::NoVersion { given });
        let entries = entries.map_err(|error| ControlError::from(ModelError::from(error)))?;
        Ok(axum::Json(PrefixListVersion {
            version: given,
            entries: views(entries),
        }))
    })
    .await
}

/// Changes a prefix list; another set of entries is a new version
#[utoipa::path(patch, path = "/v1/prefix-lists/{prefix_list}", tag = "prefix-lists",
    operation_id = "modify_prefix_list",
    params(("prefix_list" = String, Path, description = "Identifier or name")), request_body = ModifyPrefixListRequest,
    responses(
        (status = 200, description = "The prefix list as it is now", body = PrefixListView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyPrefixListRequest>,
) -> Result<axum::Json<PrefixListView>, Problem> {
    let edits = !request.add.is_empty() || !request.remove.is_empty();
    let entries = match request.entries {
        Some(_) if edits => {
            let problem = Problem::invalid("entries", "All entries and single ones are given at once");
            return Err(problem.remedy("Give 'entries' alone, or 'add' and 'remove'."));
        }
        Some(all) => EntriesChange::All(pairs(all)),
        None if edits => EntriesChange::Edit {
            add: pairs(request.add),
            remove: request.remove,
        },
        None => EntriesChange::None,
    };
    let command = ModifyPrefixList {
        list: reference(&path),
        current_version: request.current_version,
        name: request.name,
        list_name: request.list_name,
        max_entries: request.max_entries,
        entries,
        tags: request.tags,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Gives a prefix list the entries of an earlier version, as a new version
#[utoipa::path(post, path = "/v1/prefix-lists/{prefix_list}/restore", tag = "prefix-lists",
    operation_id = "restore_prefix_list",
    params(("prefix_list" = String, Path, description = "Identifier or name")), request_body = RestoreRequest,
    responses(
        (status = 200, description = "The prefix list as it is now", body = PrefixListView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn restore(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<RestoreRequest>,
) -> Result<axum::Json<PrefixListView>, Problem> {
    let command = RestorePrefixList {
        list: reference(&path),
        previous_version: request.previous_version,
        current_version: request.current_version,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Deletes a prefix list that no rule names
#[utoipa::path(delete, path = "/v1/prefix-lists/{prefix_list}", tag = "prefix-lists",
    operation_id = "delete_prefix_list",
    params(("prefix_list" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeletePrefixList(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}
