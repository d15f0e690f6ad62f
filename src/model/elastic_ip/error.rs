//! Lists why an edit of a public address is refused.

use std::net::Ipv4Addr;

use crate::model::ids::{AddressAssociationId, AllocationId, InstanceId, InterfaceId, VpcId};

/// A refusal. The texts are EC2's where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElasticIpError {
    /// The wanted address is taken.
    #[error("Address {address} is in use.")]
    Taken {
        /// The address.
        address: Ipv4Addr,
    },
    /// The wanted address is none that can be public here.
    #[error(
        "Address {address} cannot be a public address: it lies in none of 203.0.113.0/24, 192.0.2.0/24 and 198.18.0.0/15"
    )]
    OutOfRange {
        /// The address.
        address: Ipv4Addr,
    },
    /// Every address is allocated.
    #[error("There are not enough free public addresses.")]
    Exhausted,
    /// An associated address is to be released (firewall facts G7).
    #[error("Address {address} is in use.")]
    ReleaseInUse {
        /// The address.
        address: Ipv4Addr,
    },
    /// The address is associated, and may not be taken away. The text is parsed by tools.
    #[error("resource {allocation} is already associated with associate-id {association}")]
    AlreadyAssociated {
        /// The address.
        allocation: AllocationId,
        /// Its association.
        association: AddressAssociationId,
    },
    /// The VPC has no internet gateway.
    #[error("Network {vpc} is not attached to any internet gateway")]
    NoGateway {
        /// The VPC.
        vpc: VpcId,
    },
    /// An instance with several interfaces is named (aws-fidelity section 4.3).
    #[error(
        "There are multiple interfaces attached to instance '{instance}'. Please specify an interface ID for the operation instead."
    )]
    SeveralInterfaces {
        /// The instance.
        instance: InstanceId,
    },
    /// The private address is not the interface's.
    #[error("The private IP address {address} is not assigned to interface {interface}")]
    NotAssigned {
        /// The private address.
        address: Ipv4Addr,
        /// The interface.
        interface: InterfaceId,
    },
    /// The interface has no IPv4 address.
    #[error("The interface {interface} has no private IPv4 address")]
    NoPrivateAddress {
        /// The interface.
        interface: InterfaceId,
    },
    /// A host of the outside has public addresses of its own.
    #[error("The interface {interface} is outside of every VPC")]
    Outside {
        /// The interface.
        interface: InterfaceId,
    },
    /// No association has the identifier.
    #[error("The association ID '{id}' does not exist")]
    NoAssociation {
        /// The identifier.
        id: AddressAssociationId,
    },
}

impl ElasticIpError {
    /// The error code that EC2 gives in this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Taken { .. } | Self::ReleaseInUse { .. } => "InvalidIPAddress.InUse",
            Self::OutOfRange { .. }
            | Self::NotAssigned { .. }
            | Self::NoPrivateAddress { .. }
            | Self::Outside { .. } => "InvalidParameterValue",
            Self::Exhausted => "InsufficientAddressCapacity",
            Self::AlreadyAssociated { .. } => "Resource.AlreadyAssociated",
            Self::NoGateway { .. } => "Gateway.NotAttached",
            Self::SeveralInterfaces { .. } => "InvalidInstanceID",
            Self::NoAssociation { .. } => "InvalidAssociationID.NotFound",
        }
    }

    /// The field of the request that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Taken { .. } | Self::OutOfRange { .. } | Self::Exhausted => "public_ip",
            Self::ReleaseInUse { .. } | Self::AlreadyAssociated { .. } => "elastic_ip",
            Self::NotAssigned { .. } | Self::NoPrivateAddress { .. } => "private_ip",
            Self::NoGateway { .. } | Self::Outside { .. } => "interface",
            Self::SeveralInterfaces { .. } => "instance",
            Self::NoAssociation { .. } => "association",
        }
    }

    /// What the caller can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "Choose another address, or leave the field out to have one chosen.",
            Self::OutOfRange { .. } => "Choose an address of one of these ranges, or leave the field out.",
            Self::Exhausted => "Release addresses that are not in use.",
            Self::ReleaseInUse { .. } => "Disassociate it first.",
            Self::AlreadyAssociated { .. } => "Disassociate it first, or allow the re-association.",
            Self::NoGateway { .. } => "Attach an internet gateway to the VPC first.",
            Self::SeveralInterfaces { .. } => "Name the interface in place of the instance.",
            Self::NotAssigned { .. } => "Assign the private address to the interface first.",
            Self::NoPrivateAddress { .. } => "Use an interface in a subnet with IPv4.",
            Self::Outside { .. } => "Name an interface of a VPC.",
            Self::NoAssociation { .. } => "Show the address to see its association.",
        }
    }

    /// Whether the request would be right on a network in another state.
    pub fn is_conflict(&self) -> bool {
        !matches!(
            self,
            Self::OutOfRange { .. } | Self::SeveralInterfaces { .. } | Self::Outside { .. }
        )
    }
}
