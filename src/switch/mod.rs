//! Ports and workers: frames come in, are decided, and go out.

pub mod port;
