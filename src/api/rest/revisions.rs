//! `/v1/revisions`: what was done to the network, and `/v1/undo`.

use std::time::SystemTime;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{bad_query, blocking, page_size};
use crate::api::extract::{NoQuery, PathParts, Query, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::change::{Change, Commit};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(undo))
}

/// Changes that an answer spells out; beyond that it only counts them.
const SHOWN: usize = 1000;

/// An edit of the network.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revision)]
struct RevisionView {
    /// Its number; each edit has the next one.
    revision: u64,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000000Z")]
    at: SystemTime,
    /// By which face it was asked for, as in `rest`, `ec2` or `instance node-1`; `server` for what the server did by itself.
    author: String,
    /// The command, as in `CreateVpc`.
    #[schema(example = "CreateVpc")]
    command: String,
    /// What it changed: resources by identifier, and how many mappings.
    changed: Vec<String>,
}

/// An edit with all that it changed.
#[derive(Debug, Serialize, ToSchema)]
struct RevisionDetails {
    #[serde(flatten)]
    revision: RevisionView,
    /// The changes, each with what was there before and what is there after it; the first 1000 of a longer list of mappings.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<Change>,
}

fn rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(*at))
}

impl RevisionView {
    fn of(commit: &Commit) -> Self {
        let mut changed: Vec<String> = Vec::new();
        for change in &commit.changes {
            let name = change.subject();
            if !changed.contains(&name) && changed.len() < SHOWN {
                changed.push(name);
            }
        }
        Self {
            revision: commit.revision,
            at: commit.at,
            author: commit.author.clone(),
            command: commit.command.clone(),
            changed,
        }
    }
}

/// A page of edits.
#[derive(Debug, Serialize, ToSchema)]
struct RevisionList {
    /// The edits, the latest first.
    revisions: Vec<RevisionView>,
    /// The latest revision of the network.
    latest: u64,
    /// The oldest revision that can be asked for: older edits have been dropped.
    oldest: u64,
    /// What to pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which edits to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RevisionFilter {
    /// Entries of a page, 1 to 1000; 100 if left out.
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists edits of the network, the latest first
#[utoipa::path(get, path = "/v1/revisions", tag = "revisions", operation_id = "list_revisions", params(RevisionFilter),
    responses(
        (status = 200, description = "A page of edits", body = RevisionList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(filter): Query<RevisionFilter>,
) -> Result<axum::Json<RevisionList>, Problem> {
    let limit = page_size(filter.limit)?;
    let until = match &filter.cursor {
        None => u64::MAX,
        Some(text) => text.parse().map_err(|_| {
            bad_query("cursor", format!("'{text}' is no cursor"))
                .remedy("Pass the 'next_cursor' of the page before, unchanged.")
        })?,
    };
    blocking(move || {
        let commits = state.controller.commits(until, limit)?;
        let kept = state.controller.kept()?;
        let before = commits
            .last()
            .map_or(kept.oldest, |last| last.revision.saturating_sub(1));
        Ok(axum::Json(RevisionList {
            revisions: commits.iter().map(|commit| RevisionView::of(commit)).collect(),
            latest: kept.latest,
            oldest: kept.oldest,
            next_cursor: (before > kept.oldest).then(|| before.to_string()),
        }))
    })
    .await
}

/// Shows an edit with all that it changed
#[utoipa::path(get, path = "/v1/revisions/{revision}", tag = "revisions", operation_id = "get_revision",
    params(("revision" = String, Path, description = "Its number")),
    responses(
        (status = 200, description = "The edit", body = RevisionDetails),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<RevisionDetails>, Problem> {
    let text = path.get("revision").to_owned();
    let revision = text.parse().map_err(|_| {
        let detail = format!("'{text}' is not the number of a revision");
        Problem::new(StatusCode::NOT_FOUND, "InvalidRevision.NotFound", detail)
            .remedy("GET /v1/revisions lists those that are kept.")
    })?;
    blocking(move || {
        let commit = state.controller.commit_of(revision)?;
        let mut changes = commit.changes.clone();
        for change in &mut changes {
            if let Change::Mappings(list) = change {
                list.truncate(SHOWN);
            }
        }
        Ok(axum::Json(RevisionDetails {
            revision: RevisionView::of(&commit),
            changes,
        }))
    })
    .await
}

/// What was undone.
#[derive(Debug, Serialize, ToSchema)]
struct Undone {
    /// The edit that was taken back.
    undone: u64,
    /// The revision that took it back.
    revision: u64,
}

/// Takes back the last edit that was not taken back yet
///
/// That is an edit of its own, with a revision of its own. Edits that attached or detached an interface cannot be taken back.
#[utoipa::path(post, path = "/v1/undo", tag = "revisions", operation_id = "undo",
    responses(
        (status = 200, description = "What was undone", body = Undone),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn undo(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<Undone>, Problem> {
    blocking(move || {
        let (undone, revision) = state
            .controller
            .undo()
            .map_err(|error| Problem::from(error).named_in_body())?;
        Ok(axum::Json(Undone { undone, revision }))
    })
    .await
}
