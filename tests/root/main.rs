//! Tests with real hosts and real programs. They need root for namespaces and TAP devices: `make test`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it saw"
)]

#[macro_use]
#[path = "../support"]
#[allow(dead_code, reason = "each binary uses a part of it")]
mod support {
    pub(crate) mod api;
    pub(crate) mod cli;
    pub(crate) mod conversations;
    pub(crate) mod examples;
    pub(crate) mod lab;
    pub(crate) mod python;
    #[macro_use]
    pub(crate) mod scenario;
    pub(crate) mod tools;
    pub(crate) mod vpc;
}

mod agents;
mod agents_apart;
mod attach;
mod callers;
mod captures;
mod ci_jobs;
mod cli;
mod confined;
mod conntrack;
mod description;
mod ec2;
mod ec2_credentials;
mod ec2_scripts;
mod examples;
mod failover;
mod faults;
mod firewall;
mod flow_logs;
mod host_api;
mod hosts;
mod lab_commands;
mod lab_instances;
mod left_behind;
mod outside_link;
mod packages;
mod probes;
mod readme;
mod replaced;
mod replaced_under_load;
mod reported;
mod rootless;
mod runs;
mod runs_on_a_socket;
mod scenarios;
mod services_on_taps;
mod slow_connections;
mod standby;
mod state;
mod stored;
mod switch_on_taps;
mod tap_ports;
mod topology;
mod virtual_machine;
