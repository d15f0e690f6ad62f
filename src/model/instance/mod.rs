//! An instance: the host that network interfaces are attached to.

pub mod metadata;
