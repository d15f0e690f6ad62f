//! Tests that compare figures: times, rates and CPU time. Built with some optimization, and run one after the other.

mod ec2_speed;
mod edits_under_traffic;
mod fairness;
mod move_latency;
mod scale;
mod store;
