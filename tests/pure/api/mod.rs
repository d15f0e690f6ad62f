//! Tests the HTTP API over real sockets.

#![allow(missing_docs, clippy::unwrap_used)]

mod errors;
mod events;
mod examples;
mod extremes;
mod firewall;
mod found;
mod heavy;
mod mappings;
mod memory;
mod openapi;
mod resources;
mod revisions;
mod server;
mod topology;
