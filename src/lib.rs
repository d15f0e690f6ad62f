//! A cloud VPC on one machine: a userspace switch whose ports see exactly what an AWS VPC shows an instance.
//!
//! The program `localvpc` is what most users want. The library is for tests; begin with two types:
//!
//! - [`testing::Vpc`] is a VPC in this process on virtual time: hosts, addresses that move, and what happens to each
//!   packet;
//! - [`datapath::Verdict`] is that outcome, and [`datapath::decide`] the one pure function that computes it.
//!
//! ```
//! use localvpc::datapath::DropReason;
//! use localvpc::testing::{Fate, Vpc};
//!
//! let mut vpc = Vpc::aws();
//! let subnet = vpc.subnet(&["10.0.1.0/24"]);
//! let old = vpc.host(subnet, &["10.0.1.10", "10.0.1.50"]);
//! let new = vpc.host(subnet, &["10.0.1.11"]);
//! let peer = vpc.host(subnet, &["10.0.1.12"]);
//!
//! // keepalived moves the address on the hosts and forgets to ask AWS: packets still go to the old owner,
//! let packet = vpc.udp(peer, "10.0.1.50", b"who serves?");
//! assert_eq!(vpc.send(peer, &packet).fate, Fate::Delivered(old));
//! // and the new one cannot speak as the address.
//! let answer = vpc.udp_from("10.0.1.50", new, "10.0.1.12", b"I do");
//! assert_eq!(vpc.send(new, &answer).fate, Fate::Dropped(DropReason::SourceCheck));
//!
//! // Once the API has moved it, both work.
//! vpc.assign("10.0.1.50", new);
//! assert_eq!(vpc.send(new, &answer).fate, Fate::Delivered(peer));
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`testing`] | the VPC in process |
//! | [`datapath`] | the decision about a frame, and what it reads |
//! | [`model`] | what a user declares: VPCs, subnets, interfaces, mappings, profiles |
//! | [`wire`] | packets |
//!
//! Without the default feature `server` the library consists of `wire`, `model`, `mapping` and `datapath`, without
//! tokio and without file descriptors. The other modules belong to the program. They are public for its tests and make
//! no promise of stability; `ARCHITECTURE.md` describes them.

#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, unused_imports, reason = "the rooms above the core use it")
)]
// clippy.toml sets what this refuses: arithmetic on durations and clocks, which panics on overflow.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

#[doc(hidden)]
#[cfg(feature = "server")]
pub mod api;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod cli;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod confine;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod contain;
#[cfg(feature = "server")]
pub mod control;
pub mod datapath;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod file;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod lab;
pub mod mapping;
pub mod model;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod probe;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod record;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod report;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod runtime;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod scenario;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod services;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod store;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod switch;
#[cfg(feature = "server")]
pub mod testing;
#[doc(hidden)]
#[cfg(feature = "server")]
pub mod topology;
pub mod wire;

/// The examples of CONTRIBUTING.md.
#[cfg(doctest)]
#[doc = include_str!("../CONTRIBUTING.md")]
mod contributing {}
