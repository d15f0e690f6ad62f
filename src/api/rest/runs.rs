//! Implements `/v1/scenarios` and `/v1/runs`: scenario files are stored, and played on networks of their own, apart
//! from the server's. A run continues when its client disconnects.

mod artifacts;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blocking;
use super::files::{FileProblem, Refusal, reading, text_of};
use crate::api::extract::{Json, NoQuery, PathParts, State};
use crate::api::guard::{Access, AllowExec};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::file::diagnostic::FileError;
use crate::report::run::{Progress, RunOutcome, RunReport, StepReport};
use crate::scenario::format::{self, Scenario};
use crate::scenario::play::PlayOptions;
use crate::scenario::runs::{Run, RunState, RunsError, Stored, runs_commands};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_scenarios, store))
        .routes(routes!(get_scenario, delete_scenario))
        .routes(routes!(list_runs, start))
        .routes(routes!(get_run, end))
        .routes(routes!(events))
        .merge(artifacts::router())
}

/// The most repetitions of a run.
const MOST_REPEATS: u32 = 1000;

impl From<FileError> for Refusal {
    fn from(error: FileError) -> Self {
        Self::File(Box::new(error), "InvalidScenario")
    }
}

impl From<RunsError> for Refusal {
    fn from(error: RunsError) -> Self {
        let problem = match &error {
            RunsError::Busy => Problem::new(StatusCode::TOO_MANY_REQUESTS, "RequestLimitExceeded", error.to_string())
                .remedy("Wait for one to end, or cancel one with DELETE /v1/runs/{id}."),
            RunsError::Full | RunsError::NoRoom => {
                Problem::new(StatusCode::CONFLICT, "ResourceLimitExceeded", error.to_string())
                    .remedy("Delete one with DELETE /v1/scenarios/{name}.")
            }
            RunsError::Thread(_) => Problem::internal(error.to_string()),
        };
        problem.into()
    }
}

/// A stored scenario.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = StoredScenario)]
pub struct ScenarioView {
    /// Its name, from the file.
    pub name: String,
    /// What it shows.
    pub description: String,
    /// Where its observations were published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How many steps it has.
    pub steps: usize,
    /// Whether it runs commands of its author in instances, which requires a server started with `--allow-exec`.
    pub runs_commands: bool,
    /// Parameters of a run, with their defaults.
    pub parameters: BTreeMap<String, Option<String>>,
    /// The file, when one scenario is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

fn scenario_view(stored: &Stored, with_text: bool) -> ScenarioView {
    let scenario = &stored.scenario;
    ScenarioView {
        name: scenario.name.clone(),
        description: scenario.description.clone(),
        source: scenario.source.clone(),
        steps: scenario.steps.len(),
        runs_commands: runs_commands(scenario),
        parameters: scenario
            .parameters
            .iter()
            .map(|(name, parameter)| (name.clone(), parameter.default.clone()))
            .collect(),
        text: with_text.then(|| stored.text.clone()),
    }
}

/// All stored scenarios.
#[derive(Debug, Serialize, ToSchema)]
struct ScenarioList {
    scenarios: Vec<ScenarioView>,
}

/// Lists stored scenarios
#[utoipa::path(get, path = "/v1/scenarios", tag = "scenarios", operation_id = "list_scenarios",
    responses(
        (status = 200, description = "Every stored scenario, by name", body = ScenarioList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_scenarios(State(state): State<AppState>, _: NoQuery) -> axum::Json<ScenarioList> {
    let scenarios = state
        .runs
        .scenarios()
        .iter()
        .map(|stored| scenario_view(stored, false))
        .collect();
    axum::Json(ScenarioList { scenarios })
}

/// Stores a scenario
///
/// The body is the content of a scenario file, YAML or JSON; it is stored under the name in the file, replacing an
/// earlier one of this name.
#[utoipa::path(post, path = "/v1/scenarios", tag = "scenarios", operation_id = "store_scenario",
    request_body(content = String, content_type = "application/yaml", description = "A scenario file, YAML or JSON"),
    responses(
        (status = 200, description = "It replaced one of the same name", body = ScenarioView),
        (status = 201, description = "It is stored", body = ScenarioView),
        (status = 422, description = "The file has mistakes", body = FileProblem,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn store(
    State(state): State<AppState>,
    _: NoQuery,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<impl IntoResponse, Refusal> {
    let text = text_of(&headers, &body, "InvalidScenario")?;
    let (text, scenario) = reading(move || {
        let scenario = format::read("scenario", &text)?;
        Ok((text, scenario))
    })
    .await?;
    let stored = Stored { text, scenario };
    let replaced = state.runs.store(stored.text.clone(), Arc::clone(&stored.scenario))?;
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    let view = scenario_view(&stored, false);
    let place = [(header::LOCATION, format!("/v1/scenarios/{}", in_path(&view.name)))];
    Ok((status, place, axum::Json(view)))
}

/// A name as a part of a path (RFC 3986 section 3.3).
fn in_path(name: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
}

fn no_scenario(name: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "InvalidScenario.NotFound",
        format!("There is no scenario '{name}'"),
    )
    .field("scenario")
    .remedy("GET /v1/scenarios lists those that there are.")
}

/// Shows a stored scenario
#[utoipa::path(get, path = "/v1/scenarios/{name}", tag = "scenarios", operation_id = "get_scenario",
    params(("name" = String, Path, description = "The scenario's name")),
    responses(
        (status = 200, description = "The scenario with its file", body = ScenarioView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_scenario(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<ScenarioView>, Problem> {
    let name = path.get("name");
    let stored = state.runs.scenario(name).ok_or_else(|| no_scenario(name))?;
    Ok(axum::Json(scenario_view(&stored, true)))
}

/// Deletes a stored scenario
///
/// Runs of it continue.
#[utoipa::path(delete, path = "/v1/scenarios/{name}", tag = "scenarios", operation_id = "delete_scenario",
    params(("name" = String, Path, description = "The scenario's name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete_scenario(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let name = path.get("name");
    state.runs.forget_scenario(name).ok_or_else(|| no_scenario(name))?;
    Ok(StatusCode::NO_CONTENT)
}

/// What to play: a stored scenario by name, or the content of a file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartRun {
    /// The name of a stored scenario.
    scenario: Option<String>,
    /// The content of a scenario file, YAML or JSON, which is played without being stored.
    text: Option<String>,
    /// Values of the scenario's parameters; those that are missing have their defaults.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// The seed of an earlier run, to repeat its random choices, such as MAC addresses.
    seed: Option<u64>,
    /// Continues after a failed step.
    #[serde(default)]
    keep_going: bool,
    /// The number of repetitions, 1 to 1000, one after the other, each with a seed of its own; the report then has the
    /// distribution of each outage. Once if left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    repeat: Option<u32>,
}

/// A run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Run)]
pub struct RunView {
    /// Its identifier.
    pub id: String,
    /// The scenario's name.
    pub scenario: String,
    /// Its state.
    pub state: RunState,
    /// Its result, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// The seed that repeats its random choices.
    pub seed: u64,
    /// Its start, in UTC.
    #[serde(with = "crate::model::duration::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: SystemTime,
    /// How many steps the scenario has.
    pub steps_total: usize,
    /// Steps that have ended so far, those inside `parallel` steps counted one by one; left out once there is a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepReport>>,
    /// The report, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RunReport>)]
    pub report: Option<Arc<RunReport>>,
}

fn run_view(run: &Run, detailed: bool) -> RunView {
    let report = run.report();
    RunView {
        id: run.id().to_owned(),
        scenario: run.scenario().name.clone(),
        state: run.state(),
        outcome: report.as_ref().map(|report| report.outcome),
        seed: run.seed(),
        started_at: run.started_at(),
        steps_total: run.scenario().steps.len(),
        steps: (detailed && report.is_none()).then(|| run.steps()),
        report: report.filter(|_| detailed),
    }
}

/// All runs.
#[derive(Debug, Serialize, ToSchema)]
struct RunList {
    runs: Vec<RunView>,
}

/// Lists runs
#[utoipa::path(get, path = "/v1/runs", tag = "runs", operation_id = "list_runs",
    responses(
        (status = 200, description = "Running ones and the last that have ended, in the order of their start",
            body = RunList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_runs(State(state): State<AppState>, _: NoQuery) -> axum::Json<RunList> {
    let runs = state.runs.runs().iter().map(|run| run_view(run, false)).collect();
    axum::Json(RunList { runs })
}

/// Starts a run
///
/// The scenario is played on a network of its own, apart from the server's. A scenario with `exec` steps requires a
/// server that was started with `--allow-exec`, and the token or the unix socket.
#[utoipa::path(post, path = "/v1/runs", tag = "runs", operation_id = "start_run", request_body = StartRun,
    responses(
        (status = 202, description = "It was started; follow it at /v1/runs/{id} or /v1/runs/{id}/events", body = RunView),
        (status = 422, description = "The file has mistakes", body = FileProblem,
            content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn start(
    State(state): State<AppState>,
    access: Option<Extension<Access>>,
    _: NoQuery,
    Json(request): Json<StartRun>,
) -> Result<impl IntoResponse, Refusal> {
    let of = state.clone();
    let (scenario, request) = reading(move || Ok((chosen(&of, &request)?, request))).await?;
    if runs_commands(&scenario) {
        let access = access.map_or(Access::Public, |Extension(access)| access);
        AllowExec::check(state.permissions(), access)?;
    }
    check_parameters(&scenario, &request.parameters)?;
    let repeat = request.repeat.unwrap_or(1);
    if !(1..=MOST_REPEATS).contains(&repeat) {
        let problem = Problem::invalid(
            "repeat",
            format!("A run is repeated 1 to {MOST_REPEATS} times, not {repeat}"),
        );
        return Err(problem.remedy("Start further runs when this one has ended.").into());
    }
    let options = PlayOptions {
        capture: true,
        seed: request.seed,
        parameters: request.parameters,
        keep_going: request.keep_going,
        ..PlayOptions::default()
    };
    let started = crate::api::commands::run(move || state.runs.start(scenario, options, repeat)).await;
    let run = started.map_err(|error| Problem::internal(format!("The run was not started: {error}")))??;
    let place = [(header::LOCATION, format!("/v1/runs/{}", run.id()))];
    Ok((StatusCode::ACCEPTED, place, axum::Json(run_view(&run, true))))
}

fn chosen(state: &AppState, request: &StartRun) -> Result<Arc<Scenario>, Refusal> {
    match (&request.scenario, &request.text) {
        (Some(name), None) => match state.runs.scenario(name) {
            Some(stored) => Ok(stored.scenario),
            None => Err(no_scenario(name).named_in_body().into()),
        },
        (None, Some(text)) => Ok(format::read("scenario", text)?),
        (None, None) => Err(Problem::missing(
            "scenario",
            "Name a stored scenario, or send a file's content in 'text'.",
        )
        .into()),
        (Some(_), Some(_)) => Err(Problem::invalid("text", "A stored scenario and a text are given")
            .remedy("Give one of 'scenario' and 'text'.")
            .into()),
    }
}

/// A wrong parameter is refused at once, before the network is created.
fn check_parameters(scenario: &Scenario, given: &BTreeMap<String, String>) -> Result<(), Problem> {
    crate::scenario::play::parameters(scenario, given)
        .map(drop)
        .map_err(|error| Problem::invalid("parameters", error.to_string()))
}

fn no_run(id: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "InvalidRunID.NotFound",
        format!("There is no run '{id}'"),
    )
    .field("run")
    .remedy("GET /v1/runs lists those that there are. Of finished runs the last 100 are kept, up to 256 MiB of progress and reports.")
}

fn find(state: &AppState, path: &PathParts) -> Result<Arc<Run>, Problem> {
    let id = path.get("run");
    state.runs.run(id).ok_or_else(|| no_run(id))
}

/// Shows a run
///
/// Its steps so far while it is running, and the report when it has ended.
#[utoipa::path(get, path = "/v1/runs/{run}", tag = "runs", operation_id = "get_run",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 200, description = "The run", body = RunView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_run(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<RunView>, Problem> {
    let run = find(&state, &path)?;
    blocking(move || Ok(axum::Json(run_view(&run, true)))).await
}

/// Cancels a run, or deletes one that has ended
#[utoipa::path(delete, path = "/v1/runs/{run}", tag = "runs", operation_id = "end_run",
    params(("run" = String, Path, description = "The run's identifier")),
    responses(
        (status = 202, description = "It was running, and is ending", body = RunView),
        (status = 204, description = "It had ended, and is deleted"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn end(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<Response, Problem> {
    let run = find(&state, &path)?;
    if state.runs.forget(run.id()) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    run.cancel();
    Ok((StatusCode::ACCEPTED, axum::Json(run_view(&run, false))).into_response())
}

/// Follows a run
///
/// All past progress, and then new progress, each with its number in `id`, its kind in `event` and a `Progress` as JSON
/// in `data`. The stream ends when the run has ended, with `finished`.
#[utoipa::path(get, path = "/v1/runs/{run}/events", tag = "runs", operation_id = "follow_run",
    params(
        ("run" = String, Path, description = "The run's identifier"),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that the client received"),
    ),
    responses(
        (status = 200, description = "The progress of the run", body = Progress, content_type = "text/event-stream"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn events(
    State(state): State<AppState>,
    path: PathParts,
    headers: HeaderMap,
    _: NoQuery,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let run = find(&state, &path)?;
    let seen = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.trim().parse().ok())
        .unwrap_or(0);
    let follower = Follower {
        changes: run.changes(),
        stopping: state.stopping(),
        run,
        seen,
    };
    let stream = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

struct Follower {
    run: Arc<Run>,
    seen: usize,
    changes: tokio::sync::watch::Receiver<usize>,
    stopping: tokio::sync::watch::Receiver<bool>,
}

impl Follower {
    /// The next progress; `None` when the run has ended, or the server stops.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            // Read first: the last progress is sent together with the end.
            let over = self.run.is_over();
            self.changes.mark_unchanged();
            if let Some(progress) = self.run.progress(self.seen).into_iter().next() {
                self.seen += 1;
                let kind = match &*progress {
                    Progress::Preparing { .. } => "preparing",
                    Progress::Ready { .. } => "ready",
                    Progress::StepStarted { .. } => "step_started",
                    Progress::StepFinished { .. } => "step_finished",
                    Progress::Finished { .. } => "finished",
                };
                let data = serde_json::to_string(&*progress).unwrap_or_default();
                return Some(sse::Event::default().id(self.seen.to_string()).event(kind).data(data));
            }
            if over {
                return None;
            }
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                changed = self.changes.changed() => changed.ok()?,
            }
        }
    }
}
