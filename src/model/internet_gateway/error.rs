//! Lists why an edit of an internet gateway is refused.

use crate::model::ids::{InternetGatewayId, VpcId};

/// A refusal. The texts are EC2's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InternetGatewayError {
    /// The gateway is attached already.
    #[error("resource {gateway} is already attached to network {vpc}")]
    AlreadyAttached {
        /// The gateway.
        gateway: InternetGatewayId,
        /// Its VPC.
        vpc: VpcId,
    },
    /// The VPC has a gateway already (firewall facts G8: one a VPC).
    #[error("Network {vpc} already has an internet gateway attached")]
    VpcHasOne {
        /// The VPC.
        vpc: VpcId,
    },
    /// The gateway is not attached to the VPC.
    #[error("resource {gateway} is not attached to network {vpc}")]
    NotAttached {
        /// The gateway.
        gateway: InternetGatewayId,
        /// What was named.
        vpc: String,
    },
    /// An instance of the VPC has a public address (firewall facts G8).
    #[error(
        "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
    )]
    MappedAddresses {
        /// The VPC.
        vpc: VpcId,
    },
    /// An attached gateway is to be deleted.
    #[error("The internetGateway '{gateway}' has dependencies and cannot be deleted.")]
    InUse {
        /// The gateway.
        gateway: InternetGatewayId,
    },
}

impl InternetGatewayError {
    /// The error code that EC2 gives in this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyAttached { .. } => "Resource.AlreadyAssociated",
            Self::VpcHasOne { .. } => "InvalidParameterValue",
            Self::NotAttached { .. } => "Gateway.NotAttached",
            Self::MappedAddresses { .. } | Self::InUse { .. } => "DependencyViolation",
        }
    }

    /// The field of the request that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::VpcHasOne { .. } | Self::NotAttached { .. } => "vpc",
            Self::AlreadyAttached { .. } | Self::MappedAddresses { .. } | Self::InUse { .. } => "internet_gateway",
        }
    }

    /// What the caller can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::AlreadyAttached { .. } | Self::VpcHasOne { .. } => "Detach the gateway that is attached first.",
            Self::NotAttached { .. } => "Show the gateway to see the VPC that it is attached to.",
            Self::MappedAddresses { .. } => "Disassociate the Elastic IP addresses of the VPC's instances first.",
            Self::InUse { .. } => "Detach it from its VPC first.",
        }
    }
}
