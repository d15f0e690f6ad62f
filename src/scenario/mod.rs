//! Scenarios: a network and what is expected of it, written in a file and played against real hosts.
//!
//! A scenario file names a topology and a list of steps. [`format`] reads it and refuses what it does not understand,
//! with line and column.

pub mod diagnostic;
pub mod format;
pub mod schema;
pub mod template;
