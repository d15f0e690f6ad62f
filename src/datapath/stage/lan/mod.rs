//! Forwards as a conventional network does: a switch that learns, and a router that asks.

mod learning;
mod resolve;
