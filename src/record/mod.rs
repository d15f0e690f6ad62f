//! Records what crosses the switch: captures as pcapng, and flow records.

pub mod capture;
pub mod flow_log;
pub mod recorder;
