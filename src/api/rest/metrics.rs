//! Implements `/metrics`: counters and gauges in the text format of Prometheus, with the limit of each kind of memory.

use std::fmt::Write;

use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blocking;
use crate::api::extract::{NoQuery, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::events::HISTORY_OCTETS;
use crate::lab::descriptors;
use crate::scenario::runs::MOST_PROGRESS;
use crate::switch::observe::OCTETS_OF_ALL;

/// The media type of the text format (Prometheus documentation, "Exposition formats").
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// One metric: its name, its type, its help text, and its value.
struct Figure(&'static str, &'static str, &'static str, u64);

/// Reports the server's use of memory, connections and descriptors, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "meta", operation_id = "metrics",
    responses(
        (status = 200, description = "Memory, connections and descriptors, each with its limit", body = String,
            content_type = "text/plain"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn metrics(State(state): State<AppState>, _: NoQuery) -> Result<impl IntoResponse, Problem> {
    let text = blocking(move || Ok(render(&figures(&state)))).await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text))
}

fn figures(state: &AppState) -> Vec<Figure> {
    let (tracked, exceeded) = state.controller.tracked();
    let bodies = state.bodies();
    let (waiting, captures) = state.controller.observed();
    let shelf = state.runs.shelf();
    let (kept, given_up) = shelf.usage();
    let playing = state.runs.playing();
    let connections = state.connections();
    let allowances = state.controller.exceeded_in_all();
    let (history, progress) = (state.controller.history(), state.runs.usage());
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    vec![
        Figure(
            "localvpc_request_bodies_bytes",
            "gauge",
            "Bodies of requests under way",
            bodies.used(),
        ),
        Figure(
            "localvpc_request_bodies_limit_bytes",
            "gauge",
            "The most of them",
            bodies.limit(),
        ),
        Figure(
            "localvpc_request_bodies_refused_total",
            "counter",
            "Bodies that were refused",
            bodies.refused(),
        ),
        Figure(
            "localvpc_live_captures",
            "gauge",
            "Captures and other observers",
            captures as u64,
        ),
        Figure(
            "localvpc_live_captures_bytes",
            "gauge",
            "Frames that wait for them",
            waiting as u64,
        ),
        Figure(
            "localvpc_live_captures_limit_bytes",
            "gauge",
            "The most of them",
            OCTETS_OF_ALL as u64,
        ),
        Figure(
            "localvpc_run_captures_bytes",
            "gauge",
            "Captures of runs that are kept",
            kept,
        ),
        Figure(
            "localvpc_run_captures_limit_bytes",
            "gauge",
            "The most of them",
            shelf.quota(),
        ),
        Figure(
            "localvpc_playing_captures_bytes",
            "gauge",
            "Captures of runs that are being played",
            playing.used(),
        ),
        Figure(
            "localvpc_playing_captures_limit_bytes",
            "gauge",
            "The most of them",
            playing.limit(),
        ),
        Figure(
            "localvpc_playing_captures_exceeded_total",
            "counter",
            "Captures that ended early because there was no room left",
            playing.exceeded(),
        ),
        Figure(
            "localvpc_run_captures_given_up_total",
            "counter",
            "Runs whose captures were given up",
            given_up,
        ),
        Figure(
            "localvpc_bw_in_allowance_exceeded_total",
            "counter",
            "Packets that were dropped for the inbound allowance of their receiver",
            allowances.bw_in_allowance_exceeded,
        ),
        Figure(
            "localvpc_bw_out_allowance_exceeded_total",
            "counter",
            "Packets that were dropped for the outbound allowance of their sender",
            allowances.bw_out_allowance_exceeded,
        ),
        Figure(
            "localvpc_pps_allowance_exceeded_total",
            "counter",
            "Packets that were dropped for the packet allowance of their sender or receiver",
            allowances.pps_allowance_exceeded,
        ),
        Figure(
            "localvpc_event_history_bytes",
            "gauge",
            "Events that are kept for listeners that come back, about",
            history.octets as u64,
        ),
        Figure(
            "localvpc_event_history_limit_bytes",
            "gauge",
            "The most of them",
            HISTORY_OCTETS as u64,
        ),
        Figure(
            "localvpc_event_history_given_up_total",
            "counter",
            "Events that are kept no longer",
            history.given_up,
        ),
        Figure(
            "localvpc_run_progress_bytes",
            "gauge",
            "Progress and reports of runs that are kept",
            progress.octets,
        ),
        Figure(
            "localvpc_run_progress_limit_bytes",
            "gauge",
            "The most of them",
            MOST_PROGRESS,
        ),
        Figure(
            "localvpc_run_progress_given_up_total",
            "counter",
            "Runs that were forgotten, and steps whose output was left out, to make room",
            progress.given_up,
        ),
        Figure(
            "localvpc_connections",
            "gauge",
            "Connections to the API",
            connections.open as u64,
        ),
        Figure(
            "localvpc_connections_given_up_total",
            "counter",
            "Idle connections that made room",
            connections.given_up,
        ),
        Figure(
            "localvpc_connections_refused_total",
            "counter",
            "Connections turned away",
            connections.refused,
        ),
        Figure(
            "localvpc_tracked_connections",
            "gauge",
            "Connections that security groups track, counted at each interface",
            tracked as u64,
        ),
        Figure(
            "localvpc_conntrack_allowance_exceeded_total",
            "counter",
            "Packets that an instance's allowance of tracked connections had no room for",
            exceeded,
        ),
        Figure("process_open_fds", "gauge", "Open descriptors", open as u64),
        Figure("process_max_fds", "gauge", "The most of them", descriptors::limit()),
        Figure("process_resident_memory_bytes", "gauge", "Resident memory", resident()),
    ]
}

/// Resident memory in bytes (proc_pid_statm(5)).
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm");
    let pages = pages.ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

fn render(figures: &[Figure]) -> String {
    let mut text = String::new();
    for Figure(name, kind, help, value) in figures {
        // Writing to a string does not fail.
        let _ = write!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    text
}
