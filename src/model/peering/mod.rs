//! Declares a peering connection: two VPCs reach each other's addresses by it, and nothing beyond them (VPC peering guide;
//! firewall facts P1 to P7).

mod error;
mod rules;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use self::error::PeeringError;
use crate::model::ids::{PeeringId, ResourceRef, VpcId};
use crate::model::naming::Tags;

/// A peering connection as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peering {
    /// Its identifier.
    pub id: PeeringId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that asked for it.
    pub requester: PeeringSide,
    /// The VPC that it was asked of.
    pub accepter: PeeringSide,
    /// How far it is in its life.
    pub state: PeeringState,
    /// When it was asked for.
    pub created_at: SystemTime,
    /// Tags other than the name.
    pub tags: Tags,
}

/// One side of a peering connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeeringSide {
    /// The VPC.
    pub vpc_id: VpcId,
    /// Whether public names of its instances resolve to private addresses for the other VPC. It is kept and shown.
    pub allow_dns: bool,
}

/// How far a peering connection is in its life (VPC peering guide, "VPC peering connection lifecycle").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PeeringState {
    /// It waits for the accepter, for a week at the most.
    PendingAcceptance,
    /// Packets pass.
    Active,
    /// The two VPCs have addresses in common.
    Failed,
    /// The accepter has refused it.
    Rejected,
    /// It was not accepted in time.
    Expired,
    /// It was deleted.
    Deleted,
}

impl PeeringState {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PendingAcceptance => "pending-acceptance",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }

    /// What EC2 says of it.
    pub const fn message(self) -> &'static str {
        match self {
            Self::PendingAcceptance => "Pending Acceptance by 123456789012",
            Self::Active => "Active",
            Self::Failed => "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range",
            Self::Rejected => "Rejected by 123456789012",
            Self::Expired => "Expired",
            Self::Deleted => "Deleted by 123456789012",
        }
    }

    /// Whether nothing follows but that it is forgotten.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::PendingAcceptance | Self::Active)
    }
}

/// Asks for a peering connection. One between VPCs with addresses in common fails, as on EC2, unless it is to be refused.
/// Outcome: the connection.
#[derive(Debug, Clone)]
pub struct CreatePeering {
    /// A name that no other peering connection has.
    pub name: Option<String>,
    /// The VPC that asks.
    pub requester: ResourceRef<VpcId>,
    /// The VPC that is asked.
    pub accepter: ResourceRef<VpcId>,
    /// Whether it is accepted at once.
    pub accepted: bool,
    /// Whether addresses in common make it fail. Otherwise they refuse the command.
    pub may_fail: bool,
    /// The time.
    pub at: SystemTime,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Brings a peering connection into another state. Outcome: the connection as it is now.
#[derive(Debug, Clone)]
pub struct SetPeeringState {
    /// The connection.
    pub peering: ResourceRef<PeeringId>,
    /// Accepted, rejected, expired or deleted.
    pub to: PeeringState,
}

/// Takes a peering connection that is over off the list, or deletes one without a trace. Outcome: the connection as it was.
#[derive(Debug, Clone)]
pub struct ForgetPeering(pub ResourceRef<PeeringId>);

/// Changes a peering connection; `None` leaves a field as it is. Outcome: the connection as it is now.
#[derive(Debug, Clone)]
pub struct ModifyPeering {
    /// The connection.
    pub peering: ResourceRef<PeeringId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
    /// The requester's side of name resolution.
    pub requester_dns: Option<bool>,
    /// The accepter's.
    pub accepter_dns: Option<bool>,
}

impl ModifyPeering {
    /// A command that changes nothing yet.
    pub fn new(peering: impl Into<ResourceRef<PeeringId>>) -> Self {
        Self {
            peering: peering.into(),
            name: None,
            tags: None,
            requester_dns: None,
            accepter_dns: None,
        }
    }
}
