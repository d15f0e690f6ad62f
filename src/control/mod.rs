//! One writer: whoever wants a change, by REST, by a scenario or on the command line, sends the same [`Command`] to the
//! same [`Controller`]. It checks the command against the model, hands its effect to the data path and says what happened.

pub mod command;
mod controller;
pub mod error;
pub mod events;
pub mod explain;
mod fabric;
pub mod faults;
mod places;
pub mod ports;
mod rehearsal;
mod resources;
#[cfg(test)]
mod resources_tests;
mod source;
#[cfg(test)]
mod tests;

pub use command::{Command, EditSummary, Outcome, ResourceCommand};
pub use controller::{Controller, ControllerConfig};
pub use error::ControlError;
pub use events::{Author, Event, EventKind, Subscription};
pub use explain::{ExplainRequest, Explanation};
pub use faults::{ApiFate, HostState, Hosts};
pub use ports::{OpenedDevice, Ports};
pub use rehearsal::Rehearsal;
