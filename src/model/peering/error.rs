//! Lists why an edit of a peering connection is refused.

use crate::model::ids::{PeeringId, VpcId};

/// A refusal. The texts are ours where EC2's are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeeringError {
    /// The VPCs are peered already, or are being.
    #[error("A VPC peering connection between {requester} and {accepter} exists already: {peering}")]
    Exists {
        /// One VPC.
        requester: VpcId,
        /// The other.
        accepter: VpcId,
        /// The connection.
        peering: PeeringId,
    },
    /// A VPC with itself.
    #[error("A VPC cannot be peered with itself")]
    Itself,
    /// The VPCs have addresses in common (firewall facts P2).
    #[error("The CIDR blocks of {requester} and {accepter} overlap")]
    Overlap {
        /// One VPC.
        requester: VpcId,
        /// The other.
        accepter: VpcId,
    },
    /// The step does not follow its state.
    #[error("VPC peering connection {peering} is in state {state}")]
    State {
        /// The connection.
        peering: PeeringId,
        /// Its state.
        state: &'static str,
    },
}

impl PeeringError {
    /// The error code that EC2 gives in this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "VpcPeeringConnectionAlreadyExists",
            Self::Itself => "InvalidParameterValue",
            Self::Overlap { .. } => "OverlappingCidrs",
            Self::State { .. } => "InvalidStateTransition",
        }
    }

    /// The field of the request that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Exists { .. } | Self::Itself | Self::Overlap { .. } => "accepter",
            Self::State { .. } => "peering_connection",
        }
    }

    /// What the caller can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "Use that one, or delete it first.",
            Self::Itself => "Name two VPCs.",
            Self::Overlap { .. } => "Peer VPCs without addresses in common.",
            Self::State { .. } => "Show it to see its state; ask for another connection once this one is over.",
        }
    }
}
