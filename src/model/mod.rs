//! What a user declares, and the rules that it must keep. Plain data: nothing here does I/O.

pub mod dhcp_options;
pub mod duration;
pub mod profile;
