//! Implements `/v1/topology`: exports the whole network as one file, compares it with a file, and changes it to that of
//! a file.

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::files::{FileProblem, Refusal, as_problem, reading, text_of};
use crate::api::extract::{NoQuery, Query, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::file::template::Scope;
use crate::scenario::format;
use crate::topology::{self, Change, Extras, Kept, Layout, Live, Plan, Rehearsed, Stopped};

/// The largest file, in bytes: a host needs some hundred.
pub(super) const FILE_LIMIT: usize = 16 << 20;

/// The error code of an invalid topology file.
const INVALID: &str = "InvalidTopology";

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(export, merge, replace))
        .routes(routes!(plan))
        .routes(routes!(remove))
        .layer(DefaultBodyLimit::max(FILE_LIMIT))
}

/// The changes of a plan.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = TopologyPlan)]
pub struct PlanView {
    /// The changes; a resource comes before those that depend on it.
    pub changes: Vec<Change>,
    /// Running resources that are not in the file: they stay.
    pub kept: Vec<Kept>,
    /// Why the plan would be refused, if it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<topology::Refusal>,
}

impl From<Plan> for PlanView {
    fn from(plan: Plan) -> Self {
        Self {
            changes: plan.changes,
            kept: plan.kept,
            refusal: plan.refusal,
        }
    }
}

/// A problem document about a plan that was stopped. Unless the kernel or a concurrent edit stopped it, nothing was
/// changed.
#[derive(Debug, Serialize, ToSchema)]
struct StoppedProblem {
    #[serde(flatten)]
    problem: Problem,
    /// The changes that were made.
    applied: Vec<Change>,
    /// Changes made in part, such as a resource that was deleted and could not be created again.
    partly_applied: Vec<Change>,
    /// Changes that were not made.
    not_applied: Vec<Change>,
}

/// How to apply a file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PlanOptions {
    /// Whether resources that are not in the file are deleted; they stay if left out.
    #[serde(default)]
    prune: bool,
}

impl PlanOptions {
    fn extras(&self) -> Extras {
        match self.prune {
            true => Extras::Remove,
            false => Extras::Keep,
        }
    }
}

fn live(state: &AppState) -> Live<'_> {
    Live {
        controller: &state.controller,
        runtime: state.runtime.as_deref(),
    }
}

/// The network of a file; of a scenario its topology.
fn desired(headers: &HeaderMap, body: &[u8]) -> Result<Layout, Refusal> {
    let text = text_of(headers, body, INVALID)?;
    let read = format::read_any_topology("topology", &text);
    let file = read.map_err(|error| Refusal::File(Box::new(error), INVALID))?;
    let layout = Layout::desired(&file, &Scope::default());
    layout.map_err(|refusal| problem(&refusal).into())
}

/// Reads the file in its turn: the files of all requests wait in one queue.
async fn read(headers: HeaderMap, body: Bytes) -> Result<Layout, Refusal> {
    reading(move || desired(&headers, &body)).await
}

fn problem(refusal: &topology::Refusal) -> Problem {
    let status = match &*refusal.code {
        "InternalError" => StatusCode::INTERNAL_SERVER_ERROR,
        "Unsupported" => StatusCode::NOT_IMPLEMENTED,
        "InvalidParameterValue" | "MissingParameter" | "InvalidSubnet.Range" | "InvalidVpc.Range" => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        code if code.ends_with(".NotFound") => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::CONFLICT,
    };
    let detail = format!("{} {}: {}", refusal.kind, refusal.name, refusal.message);
    let problem = Problem::new(status, refusal.code.clone(), detail).remedy(refusal.remedy.as_str());
    match &refusal.field {
        Some(field) => problem.field(field.as_str()),
        None => problem,
    }
}

fn stopped(stopped: Stopped) -> Response {
    let problem = problem(&stopped.refusal);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = StoppedProblem {
        problem,
        applied: stopped.applied,
        partly_applied: stopped.partly,
        not_applied: stopped.not_applied,
    };
    as_problem(status, body)
}

/// Runs work that waits for the network on a thread that may block.
async fn blocking(work: impl FnOnce() -> Result<Response, Refusal> + Send + 'static) -> Response {
    match crate::api::commands::run(work).await {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => refusal.into_response(),
        Err(error) => Problem::internal(format!("The request was not carried out: {error}")).into_response(),
    }
}

/// Exports the network as a file
///
/// In the format of `api/topology.schema.json`, in a stable order: as JSON, or with `Accept: application/yaml` as YAML.
/// An empty server creates the same network from it, MACs and addresses included. Devices that were attached by hand
/// are not in it.
#[utoipa::path(get, path = "/v1/topology", tag = "topology", operation_id = "export_topology",
    params(("Accept" = Option<String>, Header, description = "`application/yaml` for YAML")),
    responses(
        (status = 200, description = "The file", content((Object = "application/json"), (String = "application/yaml"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn export(State(state): State<AppState>, headers: HeaderMap, _: NoQuery) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let as_yaml = accept.contains("yaml");
    blocking(move || {
        let file = topology::export(&Rehearsed::of(live(&state)).running().layout);
        Ok(match as_yaml {
            true => ([(header::CONTENT_TYPE, "application/yaml")], topology::yaml(&file)).into_response(),
            false => axum::Json(file).into_response(),
        })
    })
    .await
}

/// Compares the network with a file
///
/// Returns what `PATCH /v1/topology` would change, or `PUT /v1/topology` with `prune`, and whether it would be refused.
/// Nothing changes.
#[utoipa::path(post, path = "/v1/topology/plan", tag = "topology", operation_id = "plan_topology", params(PlanOptions),
    request_body(content = String, content_type = "application/yaml",
        description = "A topology or scenario file, YAML or JSON, as `api/topology.schema.json` says"),
    responses(
        (status = 200, description = "What would change", body = PlanView),
        (status = 422, description = "The file has mistakes", body = FileProblem,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn plan(
    State(state): State<AppState>,
    Query(options): Query<PlanOptions>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let desired = match read(headers, body).await {
        Ok(desired) => desired,
        Err(refusal) => return refusal.into_response(),
    };
    blocking(move || {
        let plan = topology::plan(live(&state), &desired, options.extras());
        Ok(axum::Json(PlanView::from(plan)).into_response())
    })
    .await
}

/// Creates and changes the resources that a file names
///
/// Resources that already match stay untouched, and their hosts continue. Resources that are not in the file stay. The
/// plan is tried on a copy first: a refusal comes before anything has changed.
#[utoipa::path(patch, path = "/v1/topology", tag = "topology", operation_id = "merge_topology",
    request_body(content = String, content_type = "application/yaml",
        description = "A topology or scenario file, YAML or JSON, as `api/topology.schema.json` says"),
    responses(
        (status = 200, description = "What was changed", body = PlanView),
        (status = 409, description = "It was refused", body = StoppedProblem, content_type = "application/problem+json"),
        (status = 422, description = "The file has mistakes", body = FileProblem,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn merge(State(state): State<AppState>, _: NoQuery, headers: HeaderMap, body: Bytes) -> Response {
    apply(state, headers, body, Extras::Keep).await
}

/// Changes the network to that of a file
///
/// As with PATCH, but what is not in the file is taken away.
#[utoipa::path(put, path = "/v1/topology", tag = "topology", operation_id = "replace_topology",
    request_body(content = String, content_type = "application/yaml",
        description = "A topology or scenario file, YAML or JSON, as `api/topology.schema.json` says"),
    responses(
        (status = 200, description = "What was changed", body = PlanView),
        (status = 409, description = "It was refused", body = StoppedProblem, content_type = "application/problem+json"),
        (status = 422, description = "The file has mistakes", body = FileProblem,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn replace(State(state): State<AppState>, _: NoQuery, headers: HeaderMap, body: Bytes) -> Response {
    apply(state, headers, body, Extras::Remove).await
}

async fn apply(state: AppState, headers: HeaderMap, body: Bytes, extras: Extras) -> Response {
    let desired = match read(headers, body).await {
        Ok(desired) => desired,
        Err(refusal) => return refusal.into_response(),
    };
    blocking(move || {
        let _one_at_a_time = state.topology();
        Ok(match topology::apply(live(&state), &desired, extras) {
            Ok(plan) => axum::Json(PlanView::from(plan)).into_response(),
            Err(refused) => stopped(*refused),
        })
    })
    .await
}

/// Deletes the resources that a file names
///
/// Other resources stay; if one of them depends on a resource to be deleted, nothing is changed.
#[utoipa::path(post, path = "/v1/topology/remove", tag = "topology", operation_id = "remove_topology",
    request_body(content = String, content_type = "application/yaml",
        description = "A topology or scenario file, YAML or JSON, as `api/topology.schema.json` says"),
    responses(
        (status = 200, description = "What was taken away", body = PlanView),
        (status = 409, description = "It was refused", body = StoppedProblem, content_type = "application/problem+json"),
        (status = 422, description = "The file has mistakes", body = FileProblem,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn remove(State(state): State<AppState>, _: NoQuery, headers: HeaderMap, body: Bytes) -> Response {
    let named = match read(headers, body).await {
        Ok(named) => named,
        Err(refusal) => return refusal.into_response(),
    };
    blocking(move || {
        let _one_at_a_time = state.topology();
        Ok(match topology::remove(live(&state), &named) {
            Ok(plan) => axum::Json(PlanView::from(plan)).into_response(),
            Err(refused) => stopped(*refused),
        })
    })
    .await
}
