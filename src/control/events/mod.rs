//! Events: what happened, numbered without gaps, and the last ones of them kept.

mod kind;
mod log;

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::broadcast;

pub use kind::{ChangedMapping, EventKind};
pub(crate) use log::EventLog;

/// Changes that one event lists; beyond that it only counts them.
pub const LISTED_CHANGES: usize = 1000;

/// Octets of memory that kept events may take, about; the oldest go.
pub const HISTORY_OCTETS: usize = 64 << 20;

/// Memory of kept events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryUsage {
    /// Octets, about.
    pub octets: usize,
    /// Events that are kept.
    pub kept: usize,
    /// Events that were given up: for their number, or their size.
    pub given_up: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Its number, counted from 1 since the server started; 0 for one of an edit before the listener came.
    pub id: u64,
    /// The time, in UTC.
    #[serde(serialize_with = "crate::model::duration::rfc3339::serialize")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    pub at: SystemTime,
    /// The revision of the network that it belongs to; absent for what is no edit of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Whether it is the last event of its revision.
    #[serde(skip)]
    #[schema(ignore)]
    pub last_of_revision: bool,
    /// The author of the change; absent for the server's own client, and for what no request caused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// The type and its fields.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The commit that an event belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartOf {
    pub(crate) revision: u64,
    /// Whether it is the commit's last event.
    pub(super) last: bool,
}

/// The author of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A program in this instance of the lab.
    #[schema(value_type = String, example = "node-1")]
    Instance(Arc<str>),
}

/// The events from a number on.
#[derive(Debug)]
pub struct Subscription {
    /// Kept events that the listener has not received, oldest first.
    pub backlog: Vec<Arc<Event>>,
    /// The number of events it has not received that are no longer kept.
    pub missed: u64,
    /// Future events.
    pub receiver: broadcast::Receiver<Arc<Event>>,
}
