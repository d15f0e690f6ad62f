//! Reading and writing packets: borrowed views with offsets found once, addresses, checksums, and the frames that
//! the VPC itself sends. Nothing here knows a VPC.

pub mod checksum;
pub mod dhcp;
pub mod filter;
pub mod flow;
pub mod frame;
pub mod mac;
pub mod neighbor;
pub mod pcapng;
pub mod reply;
pub mod udp;
pub mod validity;

pub use mac::MacAddr;
