//! Lists why an edit of a flow log is refused.

use crate::model::ids::{FlowLogId, InterfaceId};

/// A refusal. The codes are EC2's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowLogError {
    /// The format names a field that flow logs of VPCs do not have.
    #[error("Unknown fields provided: {field}")]
    UnknownField {
        /// What was written.
        field: String,
    },
    /// The format is not a list of `${field}`.
    #[error("The log format '{part}' is not a field such as ${{srcaddr}}")]
    Format {
        /// The part at fault.
        part: String,
    },
    /// The format has no field.
    #[error("The log format has no field")]
    EmptyFormat,
    /// A flow log with the same resource, traffic, destination and format exists.
    #[error("There is an existing Flow Log with the same configuration and log destination: {existing}")]
    Exists {
        /// The other flow log.
        existing: FlowLogId,
    },
    /// A host of the outside is in no VPC.
    #[error("The interface {interface} is outside of every VPC")]
    Outside {
        /// The interface.
        interface: InterfaceId,
    },
    /// The name of a file is a path, or empty.
    #[error("'{name}' cannot be the name of a file of records")]
    FileName {
        /// What was written.
        name: String,
    },
    /// The name of a log group or bucket is empty.
    #[error("The destination has no name")]
    NoName,
}

impl FlowLogError {
    /// The error code of EC2 for this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownField { .. } | Self::Format { .. } | Self::EmptyFormat => "InvalidParameter",
            Self::Exists { .. } => "FlowLogAlreadyExists",
            Self::Outside { .. } | Self::FileName { .. } | Self::NoName => "InvalidParameterValue",
        }
    }

    /// The field of the request that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::UnknownField { .. } | Self::Format { .. } | Self::EmptyFormat => "log_format",
            Self::Exists { .. } | Self::Outside { .. } => "resource",
            Self::FileName { .. } | Self::NoName => "destination",
        }
    }

    /// What the caller can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::UnknownField { .. } => {
                "Use fields of versions 2 to 5 and 7 to 10, as in ${srcaddr} ${dstaddr} ${action}."
            }
            Self::Format { .. } | Self::EmptyFormat => {
                "Write fields between ${ and }, with a space between two of them, as in ${srcaddr} ${dstaddr} ${action}."
            }
            Self::Exists { .. } => {
                "Use the flow log that exists, or change the destination, the format or the traffic."
            }
            Self::Outside { .. } => "Name an interface, a subnet or a VPC that is not of the outside.",
            Self::FileName { .. } => {
                "Give a name of letters, digits, '.', '_' and '-' that does not begin with a dot: the file is in the \
                 server's folder for flow logs."
            }
            Self::NoName => "Name the log group or the bucket.",
        }
    }

    /// Whether the request would be right on a network in another state.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Exists { .. })
    }
}
