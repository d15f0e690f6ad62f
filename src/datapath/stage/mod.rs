//! Holds the stages of the decision, one file each, in the order in which a frame meets them: [`guard`], [`neighbor`],
//! [`router`], [`responder`], [`deliver`] or [`route`], and [`guard`] again. [`lan`] takes their place on a learning switch.

pub(super) mod announce;
mod deliver;
mod guard;
pub(super) mod lan;
mod neighbor;
mod network_acl;
pub mod responder;
mod route;
mod router;
mod security_group;
