//! A cloud VPC on one machine: a userspace switch whose ports see exactly what an AWS VPC shows an instance.
//!
//! The rooms, from the ground up, are described in `ARCHITECTURE.md`.

pub mod api;
pub mod cli;
pub mod control;
pub mod datapath;
pub mod file;
pub mod lab;
pub mod mapping;
pub mod model;
pub mod probe;
pub mod record;
pub mod report;
pub mod runtime;
pub mod scenario;
pub mod services;
pub mod switch;
pub mod topology;
pub mod wire;
