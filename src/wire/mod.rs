//! Parses and writes packets: frames, addresses, checksums, and the messages that the VPC itself sends. It knows
//! nothing of VPCs.

pub mod checksum;
pub mod dhcp;
pub mod filter;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod mac;
pub mod neighbor;
pub mod pcapng;
pub mod reply;
pub mod siit;
pub mod udp;
pub mod validity;

pub use mac::MacAddr;
