//! Implements `/v1/events`: server-sent events. A client that reconnects with `Last-Event-ID` continues where it
//! stopped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{bad_query, blocking};
use crate::api::extract::Query;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::{Event, EventKind, Subscription};
use crate::model::{InterfaceId, ResourceRef};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Which events to send.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventFilter {
    /// Only of these types, separated by commas: `mappings_changed,port_down`.
    #[serde(rename = "type")]
    types: Option<String>,
    /// Only events that concern this interface: identifier or name.
    #[param(value_type = Option<String>)]
    interface: Option<ResourceRef<InterfaceId>>,
    /// Events after this number, as far as they are kept; 0 for all. Without it, and without the header
    /// `Last-Event-ID`, only future events.
    after: Option<u64>,
}

/// Streams events as they happen
///
/// Each event has its number in `id`, its type in `event` and an `Event` as JSON in `data`. An event of type `missed`
/// counts those that could not be delivered: the client was away for too long, or the server was restarted.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "events",
    params(
        EventFilter,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that the client received"),
    ),
    responses(
        (status = 200, description = "A stream without an end", body = Event, content_type = "text/event-stream"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn events(
    State(state): State<AppState>,
    headers: HeaderMap,
    Query(filter): Query<EventFilter>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let types = filter.types.as_deref().map(known_types).transpose()?;
    let interface = match filter.interface {
        None => None,
        Some(reference) => {
            let controller = state.controller.clone();
            let found = blocking(move || Ok(controller.interface(&reference)?.id)).await;
            Some(found.map_err(Problem::named_in_body)?)
        }
    };
    let (after, restarted) = start(&state, &headers, filter.after)?;
    let mut subscription = state.controller.events(after);
    let listener = Listener {
        types,
        interface,
        last: after.unwrap_or_else(|| state.controller.last_event()),
        missed: std::mem::take(&mut subscription.missed),
        restarted,
        backlog: subscription.backlog.drain(..).collect(),
        subscription,
        stopping: state.stopping(),
        state,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    // Proxies and clients cut connections that are silent.
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

fn known_types(text: &str) -> Result<Vec<&'static str>, Problem> {
    let one = |name: &str| {
        EventKind::TYPES
            .iter()
            .copied()
            .find(|known| *known == name.trim())
            .ok_or_else(|| {
                bad_query("type", format!("There is no event of type '{name}'"))
                    .remedy(format!("Use some of: {}.", EventKind::TYPES.join(", ")))
            })
    };
    text.split(',').map(one).collect()
}

/// The number after which to begin, and whether the client's number is from an earlier start of the server.
fn start(state: &AppState, headers: &HeaderMap, after: Option<u64>) -> Result<(Option<u64>, bool), Problem> {
    let Some(last) = headers.get("last-event-id") else {
        return Ok((after, false));
    };
    let parsed = last.to_str().ok().and_then(|text| text.trim().split_once('-'));
    let parsed = parsed.and_then(|(epoch, number)| Some((epoch, number.parse::<u64>().ok()?)));
    match parsed {
        Some((epoch, number)) if epoch == state.epoch() => Ok((Some(number), false)),
        Some(_) => Ok((Some(0), true)),
        None => Err(
            bad_query("Last-Event-ID", "The header is not the id of an event of this server")
                .remedy("Send the id of the last event unchanged, or leave the header out."),
        ),
    }
}

struct Listener {
    types: Option<Vec<&'static str>>,
    interface: Option<InterfaceId>,
    /// The number of the last event that was considered, delivered or not.
    last: u64,
    missed: u64,
    restarted: bool,
    backlog: VecDeque<Arc<Event>>,
    subscription: Subscription,
    stopping: tokio::sync::watch::Receiver<bool>,
    state: AppState,
}

impl Listener {
    fn wants(&self, event: &Event) -> bool {
        self.types
            .as_ref()
            .is_none_or(|types| types.contains(&event.kind.name()))
            && self.interface.is_none_or(|interface| event.kind.concerns(interface))
    }

    /// The next event; `None` when the server stops.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if self.missed > 0 || self.restarted {
                let data = serde_json::json!({ "missed": self.missed, "restarted": self.restarted });
                (self.missed, self.restarted) = (0, false);
                return Some(sse::Event::default().event("missed").data(data.to_string()));
            }
            let event = match self.backlog.pop_front() {
                Some(event) => event,
                None => tokio::select! {
                    biased;
                    _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                    received = self.subscription.receiver.recv() => match received {
                        Ok(event) => event,
                        // The client reads more slowly than events arrive: continue from those that are kept.
                        Err(RecvError::Lagged(_)) => {
                            let mut again = self.state.controller.events(Some(self.last));
                            self.missed = again.missed;
                            self.backlog = again.backlog.drain(..).collect();
                            self.subscription = again;
                            continue;
                        }
                        Err(RecvError::Closed) => return None,
                    },
                },
            };
            if event.id <= self.last {
                continue;
            }
            self.last = event.id;
            if self.wants(&event) {
                let id = format!("{}-{}", self.state.epoch(), event.id);
                let data = serde_json::to_string(&*event).unwrap_or_default();
                return Some(sse::Event::default().id(id).event(event.kind.name()).data(data));
            }
        }
    }
}
