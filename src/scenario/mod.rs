//! Plays scenarios: a network and expectations about it, written in a file and checked against real hosts.
//!
//! A scenario file contains a topology and a list of steps. [`mod@format`] reads it and reports mistakes with line and
//! column; [`play`] creates the network and does the steps; [`judge`] is the pure comparison of observations with
//! expectations. The record of a run is in `report`.

pub mod format;
pub mod judge;
pub mod play;
pub mod reference;
pub mod runs;
pub mod schema;
