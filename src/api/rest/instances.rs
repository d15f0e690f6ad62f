//! Implements `/v1/instances`: hosts of the server's lab, and commands in them if the server was started to allow that.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blocking;
use crate::api::extract::{Json, NoQuery, PathParts, State};
use crate::api::guard::AllowExec;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::lab::{self, CommandSpec, Instance};
use crate::model::duration::AnswerTimeout;
use crate::model::{InterfaceId, ResourceRef};
use crate::runtime::{HostSpec, PlaceError, Runtime, RuntimeError};
use crate::topology::format::{Configure, LinkLocal};

/// The timeout of a command without one of its own.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
        .routes(routes!(exec))
}

/// A host.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LabInstance)]
pub struct InstanceView {
    /// Its name, which is also its host name.
    pub name: String,
    /// The network interface of its `eth0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<InterfaceId>,
    /// MAC address of `eth0`.
    pub mac_address: String,
    /// A process in it, by its number on the server's machine: `nsenter -t PID -a` enters the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// All hosts.
#[derive(Debug, Serialize, ToSchema)]
struct InstanceList {
    instances: Vec<InstanceView>,
}

fn view(runtime: &Runtime, instance: &Instance) -> InstanceView {
    InstanceView {
        name: instance.name().to_owned(),
        interface_id: runtime.interface_of(instance.name()),
        mac_address: instance.mac().to_string(),
        pid: instance.machine().ok().map(|machine| machine.pid()),
    }
}

pub(super) fn runtime(state: &AppState) -> Result<Arc<Runtime>, Problem> {
    state.runtime.clone().ok_or_else(|| {
        Problem::new(StatusCode::NOT_IMPLEMENTED, "Unsupported", "This server has no lab")
            .remedy("Attach devices of your own with POST /v1/interfaces/{interface}/attach.")
    })
}

fn find(runtime: &Runtime, name: &str) -> Result<Arc<Instance>, Problem> {
    runtime.lab().get(name).ok_or_else(|| {
        let detail = format!("There is no instance '{name}'");
        Problem::new(StatusCode::NOT_FOUND, "InvalidInstanceID.NotFound", detail)
            .field("instance")
            .remedy("GET /v1/instances lists those that there are.")
    })
}

/// Lists instances
#[utoipa::path(get, path = "/v1/instances", tag = "instances", operation_id = "list_instances",
    responses(
        (status = 200, description = "Every instance, by name", body = InstanceList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<InstanceList>, Problem> {
    let runtime = runtime(&state)?;
    blocking(move || {
        let instances = runtime.lab().all();
        let instances = instances.iter().map(|instance| view(&runtime, instance)).collect();
        Ok(axum::Json(InstanceList { instances }))
    })
    .await
}

/// A host to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateInstance {
    /// Its name, which is also its host name.
    #[schema(example = "a")]
    name: String,
    /// The network interface for its `eth0`: identifier or name. It must be detached.
    #[schema(value_type = String, example = "eni-00000000000000000")]
    interface: ResourceRef<InterfaceId>,
    /// How it gets its addresses; `static` if left out.
    #[serde(default)]
    configure: Configure,
    /// How it forms its link-local address; `eui64` if left out.
    #[serde(default)]
    link_local: LinkLocal,
    /// Whether its kernel accepts Router Advertisements; true if left out.
    accept_ra: Option<bool>,
    /// Whether its kernel does duplicate address detection for its IPv6 addresses; true if left out.
    dad: Option<bool>,
    /// The access of its programs to the API, at `/run/localvpc.sock`; `full` if left out.
    #[serde(default)]
    api: lab::ApiAccess,
}

/// Creates an instance
///
/// A network namespace whose `eth0` is the interface. It is up when the request is answered.
#[utoipa::path(post, path = "/v1/instances", tag = "instances", operation_id = "create_instance",
    request_body = CreateInstance,
    responses(
        (status = 201, description = "It is up", body = InstanceView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateInstance>,
) -> Result<impl IntoResponse, Problem> {
    let runtime = runtime(&state)?;
    blocking(move || {
        let host = HostSpec {
            configured: request.configure == Configure::Static,
            link_local: match request.link_local {
                LinkLocal::Eui64 => lab::LinkLocal::Eui64,
                LinkLocal::StablePrivacy => lab::LinkLocal::StablePrivacy,
                LinkLocal::None => lab::LinkLocal::None,
            },
            accept_ra: request.accept_ra.unwrap_or(true),
            dad: request.dad.unwrap_or(true),
            api: request.api,
            ..HostSpec::new(request.name, request.interface)
        };
        runtime.create_hosts(std::slice::from_ref(&host)).map_err(refused)?;
        let instance = find(&runtime, &host.name)?;
        let view = view(&runtime, &instance);
        // A host's name is a label of a host name, so it needs no encoding.
        let location = format!("/v1/instances/{}", view.name);
        Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
    })
    .await
}

pub(super) fn refused(error: RuntimeError) -> Problem {
    match error {
        RuntimeError::Place(error) => {
            let status = match error {
                PlaceError::Taken { .. } | PlaceError::Full(_) => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Problem::new(status, error.code(), error.to_string())
                .field(error.field())
                .remedy(error.remedy())
        }
        RuntimeError::Control(error) => Problem::from(error).named_in_body(),
        RuntimeError::Instance(error) => Problem::invalid("name", error.to_string()),
        error => Problem::internal(error.to_string()),
    }
}

/// Shows an instance
#[utoipa::path(get, path = "/v1/instances/{instance}", tag = "instances", operation_id = "get_instance",
    params(("instance" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The instance", body = InstanceView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<InstanceView>, Problem> {
    let runtime = runtime(&state)?;
    blocking(move || {
        let instance = find(&runtime, path.get("instance"))?;
        Ok(axum::Json(view(&runtime, &instance)))
    })
    .await
}

/// Deletes an instance
///
/// Everything that runs in it ends. Its network interface stays, detached.
#[utoipa::path(delete, path = "/v1/instances/{instance}", tag = "instances", operation_id = "delete_instance",
    params(("instance" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let runtime = runtime(&state)?;
    blocking(move || {
        let name = path.get("instance");
        find(&runtime, name)?;
        runtime.remove_host(name).map_err(refused)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// A command.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExecRequest {
    /// The program and its arguments, without a shell.
    #[schema(example = json!(["ip", "neigh"]))]
    argv: Vec<String>,
    /// The command is killed after this time; 30 s if left out, and an hour at the most.
    #[serde(default)]
    timeout: Option<AnswerTimeout>,
}

/// The result of a command.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct ExecResult {
    /// Its exit code: 128 + N for signal N, 124 for a timeout.
    exit: i32,
    /// Its standard output; of a long one the start and the end.
    stdout: String,
    /// Its standard error; of a long one the start and the end.
    stderr: String,
    /// How long it took, in milliseconds.
    duration_ms: u64,
}

/// Runs a command in an instance
///
/// The answer comes when it has ended. Requires a server that was started with `--allow-exec`, and the token or the
/// unix socket.
#[utoipa::path(post, path = "/v1/instances/{instance}/exec", tag = "instances", operation_id = "exec",
    request_body = ExecRequest,
    params(("instance" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "It has ended", body = ExecResult),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn exec(
    _: AllowExec,
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ExecRequest>,
) -> Result<axum::Json<ExecResult>, Problem> {
    let runtime = runtime(&state)?;
    if request.argv.is_empty() {
        return Err(
            Problem::invalid("argv", "There is no program to run").remedy("Give the program and its arguments.")
        );
    }
    blocking(move || {
        let instance = find(&runtime, path.get("instance"))?;
        let timeout = request.timeout.map_or(TIMEOUT, AnswerTimeout::get);
        let command = CommandSpec::new(request.argv).timeout(timeout);
        let outcome = instance
            .run(&command)
            .map_err(|error| Problem::invalid("argv", error.to_string()))?;
        Ok(axum::Json(ExecResult {
            exit: outcome.end.code(),
            stdout: outcome.stdout.text(),
            stderr: outcome.stderr.text(),
            duration_ms: crate::report::run::ms(outcome.elapsed),
        }))
    })
    .await
}
