//! Renders the results of runs and probes, for people and for programs.
//!
//! [`run`] is the record of a run; its JSON is the record itself. [`html()`](html::html), [`junit()`](junit::junit) and
//! the console of the command line render it. All three use the sections of `section`, so that none shows less than
//! another.

pub mod graph;
pub mod html;
pub mod junit;
pub(crate) mod ladder;
pub mod outage;
pub mod reach;
pub mod run;
pub(crate) mod section;
#[cfg(test)]
mod tests;
pub(crate) mod text;

#[cfg(test)]
pub(crate) use tests::{SAID, full};
