//! Instances: network namespaces with a TAP named `eth0`, and in-process hosts.

pub mod link;
pub mod namespace;

pub use namespace::{Namespace, NamespaceError};
