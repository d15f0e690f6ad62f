//! A cloud VPC on one machine: a userspace switch whose ports see exactly what an AWS VPC shows an instance.
//!
//! The rooms, from the ground up, are described in `ARCHITECTURE.md`.

#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, unused_imports, reason = "the rooms above the core use it")
)]

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod confine;
pub mod control;
pub mod datapath;
#[cfg(feature = "server")]
pub mod file;
#[cfg(feature = "server")]
pub mod lab;
pub mod mapping;
pub mod model;
#[cfg(feature = "server")]
pub mod probe;
#[cfg(feature = "server")]
pub mod record;
#[cfg(feature = "server")]
pub mod report;
#[cfg(feature = "server")]
pub mod runtime;
#[cfg(feature = "server")]
pub mod scenario;
#[cfg(feature = "server")]
pub mod services;
#[cfg(feature = "server")]
pub mod switch;
#[cfg(feature = "server")]
pub mod topology;
pub mod wire;
