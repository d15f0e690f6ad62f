//! Implements `/v1/faults`: network, service and API faults. Also applies the faults of the API to its requests.

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, versions};
use crate::api::extract::{Json, NoQuery, PathParts, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::FaultId;
use crate::model::fault::{Fault, FaultSpec};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, begin, cancel_all))
        .routes(routes!(get, cancel))
}

/// Faults.
#[derive(Debug, Serialize, ToSchema)]
struct FaultList {
    faults: Vec<Fault>,
}

fn fault_id(path: &PathParts) -> Result<FaultId, Problem> {
    let text = path.get("fault_id");
    text.parse().map_err(|error: crate::model::ids::ParseIdError| {
        Problem::new(StatusCode::NOT_FOUND, "InvalidFaultID.NotFound", error.to_string())
            .field("fault_id")
            .remedy("GET /v1/faults lists those that act.")
    })
}

/// Lists the active faults
#[utoipa::path(get, path = "/v1/faults", tag = "faults", operation_id = "list_faults",
    responses(
        (status = 200, description = "Every active fault, oldest first", body = FaultList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<FaultList>, Problem> {
    blocking(move || {
        let faults = state.controller.faults();
        Ok(axum::Json(FaultList { faults }))
    })
    .await
}

/// Starts a fault
///
/// It lasts until its duration is over or it is cancelled. Its start and end are events.
#[utoipa::path(post, path = "/v1/faults", tag = "faults", operation_id = "begin_fault", request_body = FaultSpec,
    responses(
        (status = 201, description = "The fault acts", body = Fault),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn begin(
    State(state): State<AppState>,
    _: NoQuery,
    Json(spec): Json<FaultSpec>,
) -> Result<impl IntoResponse, Problem> {
    blocking(move || {
        let fault = state.controller.begin_fault(spec)?;
        let location = format!("/v1/faults/{}", fault.id);
        Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(fault)))
    })
    .await
    .map_err(Problem::named_in_body)
}

/// Ends all faults
#[utoipa::path(delete, path = "/v1/faults", tag = "faults", operation_id = "cancel_all_faults",
    responses(
        (status = 200, description = "Those that acted", body = FaultList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn cancel_all(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<FaultList>, Problem> {
    blocking(move || {
        let faults = state.controller.cancel_all_faults();
        Ok(axum::Json(FaultList { faults }))
    })
    .await
}

/// Shows an active fault
#[utoipa::path(get, path = "/v1/faults/{fault_id}", tag = "faults", operation_id = "get_fault",
    params(("fault_id" = String, Path, description = "The fault's identifier")),
    responses(
        (status = 200, description = "The fault", body = Fault),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<Fault>, Problem> {
    let id = fault_id(&path)?;
    blocking(move || Ok(axum::Json(state.controller.fault(id)?))).await
}

/// Ends a fault
#[utoipa::path(delete, path = "/v1/faults/{fault_id}", tag = "faults", operation_id = "cancel_fault",
    params(("fault_id" = String, Path, description = "The fault's identifier")),
    responses(
        (status = 200, description = "The fault that ended", body = Fault),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn cancel(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<Fault>, Problem> {
    let id = fault_id(&path)?;
    blocking(move || Ok(axum::Json(state.controller.cancel_fault(id)?))).await
}

/// Paths that faults of the API never affect, so that faults can be ended and watched.
const EXEMPT: [&str; 7] = [
    "/v1/faults",
    "/v1/captures",
    "/v1/events",
    "/v1/scenarios",
    "/v1/runs",
    "/v1/openapi.json",
    "/healthz",
];

/// Delays or fails requests, while a fault says so.
pub(super) async fn misbehave(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if EXEMPT.iter().any(|exempt| path.starts_with(exempt)) {
        return next.run(request).await;
    }
    let fate = state.controller.api_fate(&format!("{} {path}", request.method()));
    if !fate.delay.is_zero() {
        tokio::time::sleep(fate.delay).await;
    }
    if !fate.stale.is_zero() {
        versions::look_back(&state, &mut request, fate.stale);
    }
    let Some(error) = fate.error else {
        return next.run(request).await;
    };
    if error.carried_out {
        // The client does not learn that it was done.
        drop(next.run(request).await);
    }
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let detail = error.message();
    Problem::new(status, error.code, detail)
        .remedy("Try again after a pause that grows, or end the fault with DELETE /v1/faults.")
        .into_response()
}
