//! Lists why a network ACL, or an entry of one, is refused, with the AWS code, the field and the remedy of each.

use crate::model::error::RefusalKind;
use crate::model::ids::{NetworkAclAssociationId, NetworkAclId, SubnetId};
use crate::model::traffic::TrafficError;

/// Why it is refused, in EC2's words where they are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkAclError {
    /// A number that no entry can have.
    #[error("Value ({given}) for parameter ruleNumber is invalid. The rule number must be from 1 to 32766.")]
    Number {
        /// As given.
        given: i64,
    },
    /// A second entry of the same number and direction.
    #[error("The network acl entry identified by {number} already exists.")]
    EntryExists {
        /// Its number.
        number: u16,
    },
    /// An entry that is not there.
    #[error("The network acl entry identified by {number} in network ACL {acl} does not exist.")]
    NoEntry {
        /// The ACL.
        acl: NetworkAclId,
        /// Its number.
        number: u16,
    },
    /// Traffic that cannot be.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// ICMPv6 to IPv6 addresses without a type and code.
    #[error("The request must contain the parameter icmpTypeCode")]
    NoMessages,
    /// The default ACL of a VPC is to be deleted.
    #[error("cannot delete default network ACL {acl}")]
    Default {
        /// The ACL.
        acl: NetworkAclId,
    },
    /// An ACL that subnets have is to be deleted.
    #[error("The networkAcl '{acl}' has dependencies and cannot be deleted.")]
    InUse {
        /// The ACL.
        acl: NetworkAclId,
        /// The subnets.
        subnets: String,
    },
    /// An association that is not there.
    #[error("The association ID '{id}' does not exist")]
    NoAssociation {
        /// Its identifier.
        id: NetworkAclAssociationId,
    },
    /// An ACL and a subnet of different VPCs.
    #[error("Network ACL {acl} and subnet {subnet} belong to different networks.")]
    DifferentNetworks {
        /// The ACL.
        acl: NetworkAclId,
        /// The subnet.
        subnet: SubnetId,
    },
    /// Too many ACLs, or entries.
    #[error("{text}")]
    Limit {
        /// The AWS code.
        code: &'static str,
        /// What would be too much.
        text: &'static str,
    },
}

impl NetworkAclError {
    /// The EC2 API's error code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::EntryExists { .. } => "NetworkAclEntryAlreadyExists",
            Self::NoEntry { .. } => "InvalidNetworkAclEntry.NotFound",
            Self::Traffic(error) => error.code(),
            Self::NoMessages => "MissingParameter",
            Self::InUse { .. } => "DependencyViolation",
            Self::NoAssociation { .. } => "InvalidAssociationID.NotFound",
            Self::Limit { code, .. } => code,
            Self::Number { .. } | Self::Default { .. } | Self::DifferentNetworks { .. } => "InvalidParameterValue",
        }
    }

    /// The field at fault, in this API's spelling.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Number { .. } | Self::EntryExists { .. } | Self::NoEntry { .. } => Some("number"),
            Self::Traffic(error) => Some(error.field()),
            Self::NoMessages => Some("icmp_type"),
            Self::Default { .. } => Some("network_acl"),
            Self::NoAssociation { .. } => Some("association"),
            Self::DifferentNetworks { .. } => Some("subnet"),
            Self::InUse { .. } | Self::Limit { .. } => None,
        }
    }

    /// What to do about it, as a sentence.
    pub fn remedy(&self) -> String {
        let text = match self {
            Self::Number { .. } => "Write a number from 1 to 32766; entries are tried in their order.",
            Self::EntryExists { .. } => "Choose another number, or replace the entry.",
            Self::NoEntry { .. } => "Show the network ACL to see its entries.",
            Self::Traffic(error) => error.remedy(),
            Self::NoMessages => "ICMPv6 with IPv6 addresses needs a type and a code: give -1 and -1 for all.",
            Self::Default { .. } => "It lasts as long as its VPC: change its entries instead.",
            Self::InUse { subnets, .. } => return format!("Give {subnets} another network ACL first."),
            Self::NoAssociation { .. } => "Show the network ACL to see its associations.",
            Self::DifferentNetworks { .. } => "Choose a network ACL of the subnet's VPC.",
            Self::Limit { .. } => "Remove something of the kind, or raise the limit in the server's configuration.",
        };
        text.to_owned()
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::NoEntry { .. } | Self::NoAssociation { .. } => RefusalKind::NotFound,
            Self::EntryExists { .. } | Self::Default { .. } | Self::InUse { .. } | Self::Limit { .. } => {
                RefusalKind::Conflict
            }
            Self::Number { .. } | Self::Traffic(_) | Self::NoMessages | Self::DifferentNetworks { .. } => {
                RefusalKind::Invalid
            }
        }
    }
}
