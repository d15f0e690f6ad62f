//! The Mapping Service's memory: which interface owns an address, a delegated prefix or a MAC.

pub mod table;
