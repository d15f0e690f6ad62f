//! Holds what is remembered from one frame to the next: rate limits of a port, stations and neighbors of a subnet.
//!
//! A decision only reads it. What it wants written comes back as [`Effects`]; the worker that carries the decision out
//! writes them with [`Effects::commit`], and whoever only asks for a decision leaves that out.

mod effects;
mod limits;
mod neighbors;
mod segments;
mod stations;

pub(in crate::datapath) use effects::Told;
pub use effects::{Effects, Memory, Output};
pub use limits::{Allowance, PortState};
pub use neighbors::Asking;
pub(in crate::datapath) use neighbors::Belief;
pub use segments::Segments;
