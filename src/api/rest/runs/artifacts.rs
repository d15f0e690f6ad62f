//! Implements `/v1/runs/{run}/report.*`, `/capture`, `/captures` and `/logs`: the artifacts of a run, in common
//! formats.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::blocking;
use super::find;
use crate::api::extract::{NoQuery, PathParts, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::record::recorder::CaptureFile;
use crate::report::html::html;
use crate::report::junit::junit;
use crate::report::run::{ProgramLog, RunReport};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(report_json))
        .routes(routes!(report_xml))
        .routes(routes!(report_html))
        .routes(routes!(capture))
        .routes(routes!(captures))
        .routes(routes!(instance_capture))
        .routes(routes!(logs))
        .routes(routes!(instance_logs))
}

fn finished(state: &AppState, path: &PathParts) -> Result<Arc<RunReport>, Problem> {
    let run = find(state, path)?;
    run.report().ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "IncorrectState",
            format!("The run '{}' goes on: there is no report yet", run.id()),
        )
        .remedy("Wait for its end at GET /v1/runs/{run}/events.")
    })
}

fn typed(kind: &'static str, body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// The report of a run as JSON
#[utoipa::path(get, path = "/v1/runs/{run}/report.json", tag = "runs", operation_id = "run_report_json",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 200, description = "The report", body = RunReport),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn report_json(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<Response, Problem> {
    let report = finished(&state, &path)?;
    blocking(move || Ok(axum::Json(&*report).into_response())).await
}

/// The report of a run as JUnit XML
#[utoipa::path(get, path = "/v1/runs/{run}/report.xml", tag = "runs", operation_id = "run_report_xml",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 200, description = "JUnit XML", body = String, content_type = "application/xml"),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn report_xml(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<Response, Problem> {
    let report = finished(&state, &path)?;
    let render = move || junit(std::slice::from_ref(&*report)).into_bytes();
    blocking(move || Ok(typed("application/xml", render()))).await
}

/// The report of a run as one self-contained page
#[utoipa::path(get, path = "/v1/runs/{run}/report.html", tag = "runs", operation_id = "run_report_html",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 200, description = "HTML", body = String, content_type = "text/html"),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn report_html(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<Response, Problem> {
    let report = finished(&state, &path)?;
    let render = move || html(std::slice::from_ref(&*report)).into_bytes();
    blocking(move || Ok(typed("text/html; charset=utf-8", render()))).await
}

/// A capture as a file.
fn pcapng(capture: &CaptureFile) -> Result<Response, Problem> {
    let read = capture.bytes.read();
    match read.map_err(|error| Problem::internal(format!("The capture cannot be read: {error}")))? {
        Some(bytes) => Ok(typed("application/x-pcapng", bytes)),
        None => Err(Problem::new(
            StatusCode::GONE,
            "ResourceGone",
            "The captures of this run were given up for those of newer runs",
        )
        .remedy("Fetch captures when a run has ended, or play it again.")),
    }
}

/// Every frame that crossed the switch of a run
///
/// The verdict on a frame is in its comment. For a repeated run it is the capture of the run in the report.
#[utoipa::path(get, path = "/v1/runs/{run}/capture", tag = "runs", operation_id = "run_capture",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 200, description = "pcapng", body = Vec<u8>, content_type = "application/x-pcapng"),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn capture(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<Response, Problem> {
    let report = finished(&state, &path)?;
    blocking(move || pcapng(&report.captures.whole)).await
}

fn no_instance(name: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "InvalidInstanceID.NotFound",
        format!("The run had no instance '{name}'"),
    )
    .field("instance")
    .remedy("GET /v1/runs/{run}/captures lists those that there were.")
}

/// The capture of one instance of a run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct InstanceCapture {
    /// The instance, or the identifier of an interface that has no name.
    instance: String,
    /// The number of frames.
    frames: u64,
    /// Whether all frames of the interface are in it: frames are kept from the first on, up to a limit.
    complete: bool,
    /// Size of the file in bytes.
    octets: u64,
}

/// The captures of the instances of a run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct InstanceCaptures {
    /// By instance.
    captures: Vec<InstanceCapture>,
}

/// Lists the captures of the instances of a run
#[utoipa::path(get, path = "/v1/runs/{run}/captures", tag = "runs", operation_id = "run_captures",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 200, description = "A capture for each instance, by name", body = InstanceCaptures),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn captures(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<InstanceCaptures>, Problem> {
    let report = finished(&state, &path)?;
    let captures = report
        .captures
        .instances
        .iter()
        .map(|(instance, capture)| InstanceCapture {
            instance: instance.clone(),
            frames: capture.frames,
            complete: capture.complete,
            octets: capture.bytes.len(),
        });
    Ok(axum::Json(InstanceCaptures {
        captures: captures.collect(),
    }))
}

/// Every frame that one instance of a run sent, or that was delivered to it
///
/// The comment of a frame has the verdict on it, or for a delivered one its origin. For a repeated run it is the
/// capture of the run in the report.
#[utoipa::path(get, path = "/v1/runs/{run}/captures/{instance}", tag = "runs", operation_id = "run_instance_capture",
    params(
        ("run" = String, Path, description = "The run's identifier"),
        ("instance" = String, Path, description = "The instance's name"),
    ),
    responses(
        (status = 200, description = "pcapng", body = Vec<u8>, content_type = "application/x-pcapng"),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn instance_capture(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<Response, Problem> {
    let report = finished(&state, &path)?;
    let instance = path.get("instance").to_owned();
    blocking(move || {
        let capture = report.captures.instances.get(&instance);
        pcapng(capture.ok_or_else(|| no_instance(&instance))?)
    })
    .await
}

/// What the programs of a run wrote.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct RunLogs {
    /// Programs that were started in the background, in the order of their start.
    programs: Vec<ProgramLog>,
}

/// What the programs of a run wrote
#[utoipa::path(get, path = "/v1/runs/{run}/logs", tag = "runs", operation_id = "run_logs",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 200, description = "Standard output and error of each", body = RunLogs),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn logs(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<RunLogs>, Problem> {
    let programs = finished(&state, &path)?.programs.clone();
    Ok(axum::Json(RunLogs { programs }))
}

/// What the programs of one instance of a run wrote
#[utoipa::path(get, path = "/v1/runs/{run}/logs/{instance}", tag = "runs", operation_id = "run_instance_logs",
    params(
        ("run" = String, Path, description = "The run's identifier"),
        ("instance" = String, Path, description = "The instance's name"),
    ),
    responses(
        (status = 200, description = "Standard output and error of each", body = RunLogs),
        (status = 409, description = "The run goes on", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn instance_logs(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<RunLogs>, Problem> {
    let report = finished(&state, &path)?;
    let (run, instance) = (find(&state, &path)?, path.get("instance"));
    if !run.scenario().topology.instances.contains_key(instance) {
        return Err(no_instance(instance));
    }
    let programs = report.programs.iter().filter(|program| program.instance == instance);
    Ok(axum::Json(RunLogs {
        programs: programs.cloned().collect(),
    }))
}
