//! Records flows for flow logs, in AWS's format, from what the switch did with each packet.
//!
//! - `sighting`: a packet that crossed the switch, as the interfaces at its ends see it.
//! - `aggregate`: sightings of one window, summed by flow.
//! - `line`: one record as a line of text, by the format of its flow log.
//! - `detail`: what AWS does not record: the drop reason and the rules.
//! - `collector`: the present window of each flow log.
//! - `collect`: the thread that does all this, and where lines go.
//!
//! Workers do none of it: they show frames to an observer, and only while there is a flow log.

mod aggregate;
mod collect;
mod collector;
mod detail;
mod line;
mod sighting;
#[cfg(test)]
mod tests;

pub use collect::{Delivery, FlowLogs, Kept, Kind, Reading};
