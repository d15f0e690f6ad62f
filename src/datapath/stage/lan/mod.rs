//! Forwards as a conventional network does: a switch that learns, and a router that asks.

pub(in crate::datapath) mod learning;
pub(in crate::datapath) mod resolve;

pub use resolve::Asking;
