//! Tests that need no root: the network as a state machine, and the API over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it saw"
)]

mod api;
mod faults;
mod ledger;
mod model;
mod noise;
mod past;
mod profiles;
mod rooms;
mod scenario_schema;
mod tracking_noise;
mod two_workers;
mod services {
    mod imds;
    mod metadata_over_tcp;
    mod names_and_time;
    mod noise;
    mod thread;
}
mod slow_disk;
mod states;
mod switch_on_sockets;
mod words;

#[path = "../support"]
#[allow(dead_code, reason = "each binary uses a part of it")]
mod support {
    pub(crate) mod api;
    pub(crate) mod conversations;
    pub(crate) mod examples;
    pub(crate) mod services;
    pub(crate) mod vpc;
}
