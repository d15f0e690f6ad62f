//! Carries out commands. REST, the EC2 API, scenarios and the command line send the same commands to the same
//! [`Controller`]. It checks each against the model, and the data path, the ports and the events follow the changes.

mod change_events;
mod controller;
pub mod credentials;
pub mod error;
pub mod events;
pub mod explain;
mod fabric;
pub mod faults;
mod firewall;
mod flow_logs;
mod follow;
mod former;
pub mod history;
mod life;
mod lookups;
mod nat_life;
mod peering_life;
pub mod ports;
mod readers;
pub mod request;
#[cfg(test)]
mod resources_tests;
mod source;
#[cfg(test)]
mod tests;

pub use controller::{Controller, ControllerConfig, Snapshot, Tracking};
pub use credentials::{Credentials, RoleSecret, Session};
pub use error::ControlError;
pub use events::{Author, Event, EventKind, HistoryUsage, Subscription};
pub use explain::{ExplainRequest, Explanation};
pub use faults::{ApiFate, HostState, Hosts};
pub use flow_logs::FlowRecorder;
pub use history::Point;
pub use life::{Shutdown, StateChange};
pub use lookups::ACCOUNT;
pub use ports::{DevicePlace, OpenPort, OpenedDevice, Ports};
pub use request::Request;
