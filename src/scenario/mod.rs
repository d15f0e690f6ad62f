//! Scenarios: a network and what is expected of it, written in a file and played against real hosts.
//!
//! A scenario file names a topology and a list of steps. [`mod@format`] reads it and refuses what it does not understand,
//! with line and column; [`play`] makes the network and does the steps; [`judge`] is the
//! pure comparison of what was seen with what was expected. The record of a run is in `report`.

pub mod format;
pub mod judge;
pub mod play;
pub mod reference;
pub mod runs;
pub mod schema;
