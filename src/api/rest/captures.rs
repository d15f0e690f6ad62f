//! Implements `/v1/captures`: frames of the live network as pcapng, for tcpdump or Wireshark, drops with their reasons.

use std::convert::Infallible;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{bad_query, blocking};
use crate::api::extract::{Query, State, from_text};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::ResourceRef;
use crate::model::duration::{Lifetime, later};
use crate::record::capture::{Capture, CaptureSpec, LARGEST_SNAPLEN};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(capture))
}

/// What to capture.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CaptureQuery {
    /// Both directions at these interfaces: identifiers or names, separated by commas. Without it every frame is
    /// captured once, where it came in; with it, also what the VPC itself sends.
    interface: Option<String>,
    /// Frames that match, as a pcap filter: `icmp or (tcp port 80 and host 10.0.1.10)`.
    filter: Option<String>,
    /// Bytes of each frame that are kept.
    snaplen: Option<usize>,
    /// Frames after which the capture ends.
    count: Option<u64>,
    /// Time after which it ends, such as `10s`.
    #[serde(default, deserialize_with = "from_text")]
    #[param(inline)]
    duration: Option<Lifetime>,
}

/// Captures frames live, with their verdicts
///
/// A stream of pcapng that ends when the client disconnects, or after the given count or duration. The verdict on a
/// frame is in its comment. `curl -sN "…/v1/captures?interface=web" | tcpdump -nr -`
#[utoipa::path(get, path = "/v1/captures", tag = "captures", operation_id = "capture", params(CaptureQuery),
    responses(
        (status = 200, description = "pcapng", body = Vec<u8>, content_type = "application/x-pcapng"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn capture(State(state): State<AppState>, Query(query): Query<CaptureQuery>) -> Result<Response, Problem> {
    let filter = query.filter.as_deref().unwrap_or_default().parse();
    let filter = filter.map_err(|error| bad_query("filter", error))?;
    if query
        .snaplen
        .is_some_and(|snaplen| !(1..=LARGEST_SNAPLEN).contains(&snaplen))
    {
        return Err(bad_query(
            "snaplen",
            format!("A snaplen is 1 to {LARGEST_SNAPLEN} octets"),
        ));
    }
    let names = query.interface.as_deref().unwrap_or_default().split(',').map(str::trim);
    let spec = CaptureSpec {
        interfaces: names.filter(|name| !name.is_empty()).map(ResourceRef::new).collect(),
        filter,
        snaplen: query.snaplen,
        count: query.count,
    };
    let controller = state.controller.clone();
    let begun = blocking(move || Ok(controller.capture(spec)?)).await;
    let running = Running {
        capture: Some(begun.map_err(Problem::named_in_body)?),
        ends: query
            .duration
            .map(|duration| later(Instant::now(), duration.get()).into()),
        stopping: state.stopping(),
        _state: state,
    };
    let pieces = stream::unfold(running, |mut running| async move {
        let piece = running.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), running))
    });
    Ok((
        [(header::CONTENT_TYPE, "application/x-pcapng")],
        Body::from_stream(pieces),
    )
        .into_response())
}

struct Running {
    capture: Option<Capture>,
    ends: Option<tokio::time::Instant>,
    stopping: tokio::sync::watch::Receiver<bool>,
    // The stream keeps the state, so that the server can still end it.
    _state: AppState,
}

impl Running {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let capture = self.capture.as_mut()?;
        let ends = self.ends;
        let ended = async move {
            match ends {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let piece = tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
            () = ended => None,
            piece = capture.next() => piece,
        };
        match piece {
            Some(piece) => Some(piece),
            // The statistics are the last chunk, unless there are none.
            None => self.capture.take().map(Capture::end).filter(|end| !end.is_empty()),
        }
    }
}
