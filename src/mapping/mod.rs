//! Stores the mapping table: which interface owns an address, a delegated prefix or a MAC.

pub mod interfaces;
pub mod registry;
pub mod table;

pub use interfaces::{Interface, InterfaceIndex, InterfaceTable, PortId};
