//! Implements `/v1/events`: server-sent events. A client that reconnects with `Last-Event-ID` continues where it
//! stopped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{bad_query, blocking};
use crate::api::extract::{Query, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::history::PastEvent;
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
    /// Those of the edits after this revision, as far as they are kept, and across starts of the server; then those to come.
    after_revision: Option<u64>,
}

/// Streams events as they happen
///
/// Each event has its type in `event` and an `Event` as JSON in `data`; its `id` is what to send as `Last-Event-ID`. An event
/// of type `missed` says how many could not be delivered: the client was away for too long, or the server was started anew. A
/// server that keeps its network goes on with the edits that were missed, from any revision that is kept.
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
    let interface = match filter.interface.clone() {
        None => None,
        Some(reference) => {
            let controller = state.controller.clone();
            let found = blocking(move || Ok(controller.interface(&reference)?.id)).await;
            Some(found.map_err(Problem::named_in_body)?)
        }
    };
    let start = Start::of(&state, &headers, &filter)?;
    let after = start.after;
    let mut subscription = state.controller.events(after);
    // Edits from here on are heard as they happen.
    let until = state.controller.revision();
    let past = match start.after_revision {
        None => Vec::new(),
        Some(revision) => {
            let controller = state.controller.clone();
            let events = blocking(move || Ok(controller.past_events(revision, until)?)).await;
            events.map_err(|problem| problem.named_in_body().field("after_revision"))?
        }
    };
    let listener = Listener {
        types,
        interface,
        past: past.into(),
        until: start.after_revision.map_or(0, |_| until),
        revision: start.after_revision.unwrap_or(until),
        last: after.unwrap_or_else(|| state.controller.last_event()),
        missed: std::mem::take(&mut subscription.missed),
        restarted: start.restarted,
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

/// The epoch of the identifiers of events of the past, which go by their revision alone.
const OF_PAST: &str = "r";

/// Where a stream of events begins.
#[derive(Debug, Default)]
struct Start {
    /// After this event of this start of the server.
    after: Option<u64>,
    /// After the edits up to this revision.
    after_revision: Option<u64>,
    /// Whether the client knew an earlier start of the server.
    restarted: bool,
}

impl Start {
    fn of(state: &AppState, headers: &HeaderMap, filter: &EventFilter) -> Result<Self, Problem> {
        let Some(last) = headers.get("last-event-id") else {
            return Ok(Self {
                after: filter.after,
                after_revision: filter.after_revision,
                restarted: false,
            });
        };
        let parsed = last.to_str().ok().and_then(|text| seen(text.trim()));
        let Some((epoch, number, revision)) = parsed else {
            return Err(
                bad_query("Last-Event-ID", "The header is not the id of an event of this server")
                    .remedy("Send the id of the last event unchanged, or leave the header out."),
            );
        };
        if epoch == state.epoch() {
            return Ok(Self {
                after: Some(number),
                ..Self::default()
            });
        }
        // The edits that it has missed are told again if they are kept.
        let store = state.controller.store();
        let kept = store.kept().ok().filter(|_| store.lasts() || epoch == OF_PAST);
        let kept = kept.is_some_and(|kept| (kept.oldest..=kept.latest).contains(&revision));
        Ok(Self {
            after: (!kept).then_some(0),
            after_revision: kept.then_some(revision),
            restarted: epoch != OF_PAST || !kept,
        })
    }
}

/// The epoch, the number and the revision of an identifier.
fn seen(text: &str) -> Option<(&str, u64, u64)> {
    let (epoch, rest) = text.split_once('-')?;
    match rest.split_once('-') {
        Some((number, revision)) => Some((epoch, number.parse().ok()?, revision.parse().ok()?)),
        None if epoch == OF_PAST => Some((epoch, 0, rest.parse().ok()?)),
        None => Some((epoch, rest.parse().ok()?, 0)),
    }
}

struct Listener {
    types: Option<Vec<&'static str>>,
    interface: Option<InterfaceId>,
    /// Events of edits that were made before, which come first.
    past: VecDeque<PastEvent>,
    /// The revision up to which edits are told by `past`.
    until: u64,
    /// The revision of which all events have been told.
    revision: u64,
    /// The number of the last event that was seen, delivered or not.
    last: u64,
    missed: u64,
    restarted: bool,
    backlog: VecDeque<Arc<Event>>,
    subscription: Subscription,
    stopping: tokio::sync::watch::Receiver<bool>,
    state: AppState,
}

impl Listener {
    /// An event of the past, with the identifier by which the stream goes on after it.
    fn of_past(&mut self, past: PastEvent) -> Option<sse::Event> {
        if past.last {
            self.revision = past.commit.revision;
        }
        let event = past.event();
        if !self.wants(&event) {
            return None;
        }
        let id = format!("{OF_PAST}-{}", self.revision);
        let data = serde_json::to_string(&event).unwrap_or_default();
        Some(sse::Event::default().id(id).event(event.kind.name()).data(data))
    }

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
            if let Some(past) = self.past.pop_front() {
                match self.of_past(past) {
                    Some(event) => return Some(event),
                    None => continue,
                }
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
            if let Some(revision) = event.revision {
                if revision <= self.until {
                    continue;
                }
                if event.last_of_revision {
                    self.revision = revision;
                }
            }
            if self.wants(&event) {
                let id = format!("{}-{}-{}", self.state.epoch(), event.id, self.revision);
                let data = serde_json::to_string(&*event).unwrap_or_default();
                return Some(sse::Event::default().id(id).event(event.kind.name()).data(data));
            }
        }
    }
}
