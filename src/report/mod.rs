//! Renders what runs and probes did and saw, for people and for programs.
//!
//! [`run`] is the record of a run; its JSON is the record itself. [`page`] renders it as HTML and JUnit XML, [`outage`] the
//! probes in it.

pub mod junit;
pub mod outage;
pub mod page;
pub mod run;
pub(crate) mod text;
