//! Records what crosses the switch: captures as pcapng, and flow records.

pub mod capture;
mod describe;
pub mod flow_log;
pub mod flow_logs;
pub mod ladder;
pub mod quota;
pub mod recorder;
pub mod shelf;
