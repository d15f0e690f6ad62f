//! Holds the stages of the decision, one file each, in the order in which a frame meets them: [`guard`], [`neighbor`],
//! [`router`], [`responder`], [`deliver`] or [`route`], [`internet`] on the way to and from the outside, [`nat_gateway`],
//! [`egress_only`], [`peering`], [`endpoint`], and [`guard`] again. [`lan`] takes their place on a learning switch.

pub(super) mod announce;
mod deliver;
mod egress_only;
mod endpoint;
mod guard;
mod internet;
pub(super) mod lan;
mod nat_gateway;
mod neighbor;
mod network_acl;
mod peering;
pub mod responder;
mod route;
mod router;
mod security_group;
