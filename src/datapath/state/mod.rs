//! Holds what is remembered from one frame to the next: rate limits of a port, connections of an interface, bindings of a NAT
//! gateway, stations and
//! neighbors of a subnet.
//!
//! A decision only reads it. What it wants written comes back as [`Effects`]; the worker that carries the decision out
//! writes them with [`Effects::commit`], and a caller that only asks for a decision leaves that out.

mod bindings;
mod by_index;
mod connections;
mod effects;
mod limits;
mod neighbors;
mod segments;
mod stations;

pub use bindings::counters::{Counters as NatCounters, NatCounter};
pub(in crate::datapath) use bindings::{Binding, Inside, Opening, Outside, Refresh, seen};
pub use bindings::{Bindings, SAVED_BINDING, SavedBinding, SavedGateway};
pub(in crate::datapath) use connections::{Class, Key, Seen, SeenPacket, Thread};
pub use connections::{Connections, Life, SAVED, SavedConnection, TrackedConnection};
pub use effects::{Committed, Effects, Memory, Output};
pub(in crate::datapath) use effects::{NatEffects, Told, Touch};
pub use limits::{Allowance, PortState};
pub use neighbors::Asking;
pub(in crate::datapath) use neighbors::Belief;
pub use segments::Segments;
