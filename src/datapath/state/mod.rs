//! Holds what is remembered from one frame to the next: rate limits of a port, connections of an interface, stations and
//! neighbors of a subnet.
//!
//! A decision only reads it. What it wants written comes back as [`Effects`]; the worker that carries the decision out
//! writes them with [`Effects::commit`], and whoever only asks for a decision leaves that out.

mod connections;
mod effects;
mod limits;
mod neighbors;
mod segments;
mod stations;

pub(in crate::datapath) use connections::{Class, Key, Seen, SeenPacket, Thread};
pub use connections::{Connections, Life, TrackedConnection};
pub use effects::{Committed, Effects, Memory, Output};
pub(in crate::datapath) use effects::{Told, Touch};
pub use limits::{Allowance, PortState};
pub use neighbors::Asking;
pub(in crate::datapath) use neighbors::Belief;
pub use segments::Segments;
