//! Lists why an address or a prefix is not assigned, moved or unassigned.

use std::net::IpAddr;

use crate::model::address::AddressOrPrefix;
use crate::model::error::RefusalKind;
use crate::model::ids::{InterfaceId, SubnetId};

/// A refusal. `Display` is the message; where tools parse AWS's message it is AWS's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// An address outside the subnet.
    #[error("Address {address} does not fall within the subnet's address range")]
    OutsideSubnet {
        /// As given.
        address: AddressOrPrefix,
        /// The subnet.
        subnet: SubnetId,
    },
    /// An address that AWS reserves in every subnet.
    #[error("Address {address} is in subnet's reserved address range")]
    Reserved {
        /// As given.
        address: AddressOrPrefix,
    },
    /// The address is assigned and reassignment is not allowed. Tools parse the text.
    #[error("[{address}] assigned, but move is not allowed.")]
    MoveNotAllowed {
        /// The address.
        address: AddressOrPrefix,
        /// Its owner.
        owner: InterfaceId,
    },
    /// A new interface requests an assigned address.
    #[error("Address {address} is in use.")]
    AddressInUse {
        /// The address.
        address: AddressOrPrefix,
        /// Its owner.
        owner: InterfaceId,
    },
    /// A prefix that contains assigned addresses, or an address inside a delegated prefix.
    #[error("{address} overlaps {existing}, which is assigned to {owner}")]
    Overlap {
        /// As given.
        address: AddressOrPrefix,
        /// The existing mapping.
        existing: AddressOrPrefix,
        /// Its owner.
        owner: InterfaceId,
    },
    /// An address to unassign that is not assigned. Tools parse the text.
    #[error("Some of the specified addresses are not assigned to interface {interface}")]
    NotAssigned {
        /// The interface that was named.
        interface: InterfaceId,
        /// The address.
        address: AddressOrPrefix,
    },
    /// The address is not mapped in the subnet.
    #[error("The address '{address}' is not mapped in {subnet}")]
    NoMapping {
        /// The subnet.
        subnet: SubnetId,
        /// The address.
        address: AddressOrPrefix,
    },
    /// The primary IPv4 address of an interface cannot be unassigned or moved.
    #[error("The primary private IP address {address} of {interface} cannot be unassigned or moved")]
    PrimaryAddress {
        /// The interface.
        interface: InterfaceId,
        /// Its primary address.
        address: IpAddr,
    },
    /// No free address is left.
    #[error("The specified subnet does not have enough free addresses to satisfy the request.")]
    SubnetFull {
        /// The subnet.
        subnet: SubnetId,
    },
    /// No aligned prefix is left. The words are EC2's.
    #[error("There are not enough free cidr blocks in the specified subnet.")]
    NoFreePrefix {
        /// The subnet.
        subnet: SubnetId,
    },
    /// An address of a family that the subnet does not have.
    #[error("The subnet {subnet} has no {family} CIDR block")]
    NoFamily {
        /// The subnet.
        subnet: SubnetId,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
}

impl MappingError {
    /// The error code of EC2 for this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AddressInUse { .. } => "InvalidIPAddress.InUse",
            Self::SubnetFull { .. } => "InsufficientFreeAddressesInSubnet",
            Self::NoFreePrefix { .. } => "InsufficientCidrBlocks",
            Self::OutsideSubnet { .. }
            | Self::Reserved { .. }
            | Self::MoveNotAllowed { .. }
            | Self::Overlap { .. }
            | Self::NotAssigned { .. }
            | Self::NoMapping { .. }
            | Self::PrimaryAddress { .. }
            | Self::NoFamily { .. } => "InvalidParameterValue",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub fn field(&self) -> &'static str {
        match self {
            Self::OutsideSubnet { .. }
            | Self::Reserved { .. }
            | Self::MoveNotAllowed { .. }
            | Self::AddressInUse { .. }
            | Self::Overlap { .. }
            | Self::NotAssigned { .. }
            | Self::NoMapping { .. }
            | Self::PrimaryAddress { .. }
            | Self::NoFamily { .. } => "address",
            Self::SubnetFull { .. } | Self::NoFreePrefix { .. } => "subnet",
        }
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::OutsideSubnet { subnet, .. } => format!("Choose an address inside the CIDR blocks of {subnet}."),
            Self::Reserved { .. } => {
                "AWS reserves the first four addresses and the last one of every subnet: choose another.".into()
            }
            Self::MoveNotAllowed { owner, .. } => {
                format!("Unassign it from {owner} first, or allow the move.")
            }
            Self::AddressInUse { owner, .. } => format!("Choose another address, or unassign it from {owner} first."),
            Self::Overlap { existing, owner, .. } => {
                format!("Unassign {existing} from {owner} first, or choose another.")
            }
            Self::NotAssigned { address, .. } => format!("Look up who has {address} among the mappings."),
            Self::NoMapping { .. } => "List the mappings of the subnet to see what is assigned.".into(),
            Self::PrimaryAddress { .. } => "It lasts as long as the interface: delete the interface to free it.".into(),
            Self::SubnetFull { .. } | Self::NoFreePrefix { .. } => "Unassign something, or use another subnet.".into(),
            Self::NoFamily { family, .. } => format!("Use a subnet with an {family} CIDR block."),
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::NoMapping { .. } => RefusalKind::NotFound,
            Self::MoveNotAllowed { .. }
            | Self::AddressInUse { .. }
            | Self::Overlap { .. }
            | Self::NotAssigned { .. }
            | Self::PrimaryAddress { .. }
            | Self::SubnetFull { .. }
            | Self::NoFreePrefix { .. } => RefusalKind::Conflict,
            Self::OutsideSubnet { .. } | Self::Reserved { .. } | Self::NoFamily { .. } => RefusalKind::Invalid,
        }
    }
}
