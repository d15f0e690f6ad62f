//! Renders what runs and probes did and saw, for people and for programs.
//!
//! [`run`] is the record of a run, and its JSON is the record itself. [`html()`](html::html) and
//! [`junit()`](junit::junit) render it; the console does it in the command line. All three are made of the sections of
//! `section`, so that none shows less than another.

pub mod graph;
pub mod html;
pub mod junit;
pub(crate) mod ladder;
pub mod outage;
pub mod run;
pub(crate) mod section;
#[cfg(test)]
mod tests;
pub(crate) mod text;

#[cfg(test)]
pub(crate) use tests::{SAID, full};
