//! Holds what decisions remember from one frame to the next.

mod limits;

pub use limits::PortState;
