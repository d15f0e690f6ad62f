//! Implements `/healthz` and `/v1/openapi.json`.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::{NoQuery, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(openapi))
}

/// The server is alive.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    status: &'static str,
    /// The version of the server.
    version: &'static str,
    /// Addresses and prefixes with an owner.
    mappings: usize,
    /// The number of the last event.
    last_event: u64,
}

/// Reports that the server is alive
#[utoipa::path(get, path = "/healthz", tag = "meta", operation_id = "health",
    responses((status = 200, description = "It is", body = Health)))]
async fn health(State(state): State<AppState>, _: NoQuery) -> axum::Json<Health> {
    axum::Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        mappings: state.controller.registry().len(),
        last_event: state.controller.last_event(),
    })
}

/// Describes this API
#[utoipa::path(get, path = "/v1/openapi.json", tag = "meta", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object)))]
async fn openapi(_: NoQuery) -> impl IntoResponse {
    // Made once, and not by a thread that serves requests: its megabyte takes a while to write.
    static DESCRIPTION: OnceLock<Bytes> = OnceLock::new();
    let made = tokio::task::spawn_blocking(|| DESCRIPTION.get_or_init(|| super::openapi_json().into()).clone()).await;
    let body = made.map_err(|error| Problem::internal(error.to_string()))?;
    Ok::<_, Problem>(([(header::CONTENT_TYPE, "application/json")], body))
}
