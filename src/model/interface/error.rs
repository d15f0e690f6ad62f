//! Lists why an edit of a network interface is refused.

use crate::model::error::RefusalKind;
use crate::model::ids::InterfaceId;
use crate::wire::MacAddr;

/// A refusal. `Display` is the message; where tools parse AWS's message it is AWS's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceError {
    /// A MAC address that another interface or a router has.
    #[error("The MAC address {mac} is already in use in the VPC")]
    MacTaken {
        /// The address.
        mac: MacAddr,
        /// The field at fault.
        field: &'static str,
    },
    /// A MAC address that no interface can have.
    #[error("The MAC address {mac} cannot be used: it is {reason}")]
    BadMac {
        /// As given.
        mac: MacAddr,
        /// The reason.
        reason: &'static str,
        /// The field at fault.
        field: &'static str,
    },
    /// An attached interface cannot be deleted. The text is EC2's.
    #[error("Network interface '{interface}' is currently in use.")]
    DeleteInUse {
        /// The interface.
        interface: InterfaceId,
    },
    /// The interface is attached already.
    #[error("The network interface '{interface}' is attached")]
    InUse {
        /// The interface.
        interface: InterfaceId,
    },
    /// The interface is not attached.
    #[error("The network interface '{interface}' is not attached")]
    NotAttached {
        /// The interface.
        interface: InterfaceId,
    },
}

impl InterfaceError {
    /// The error code of EC2 for this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "InvalidNetworkInterface.InUse",
            Self::NotAttached { .. } => "InvalidAttachmentID.NotFound",
            Self::MacTaken { .. } | Self::BadMac { .. } | Self::DeleteInUse { .. } => "InvalidParameterValue",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub fn field(&self) -> &'static str {
        match self {
            Self::MacTaken { field, .. } | Self::BadMac { field, .. } => field,
            Self::InUse { .. } | Self::DeleteInUse { .. } | Self::NotAttached { .. } => "interface",
        }
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::MacTaken { .. } => "Choose another, or leave the field out to have one made up.".into(),
            Self::BadMac { .. } => "Use a unicast address such as 0a:ca:05:9c:fc:14, or leave the field out.".into(),
            Self::InUse { .. } | Self::DeleteInUse { .. } => "Detach it first.".into(),
            Self::NotAttached { .. } => "Attach it first, or leave it.".into(),
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::MacTaken { .. } | Self::InUse { .. } | Self::DeleteInUse { .. } | Self::NotAttached { .. } => {
                RefusalKind::Conflict
            }
            Self::BadMac { .. } => RefusalKind::Invalid,
        }
    }
}
