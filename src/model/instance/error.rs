//! Lists why an edit of an instance is refused.

use super::life::InstanceState;
use crate::model::error::RefusalKind;
use crate::model::ids::{InstanceId, InterfaceId};

/// A refusal. `Display` is the message; where tools parse AWS's message it is AWS's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// A tag of an instance that shows its tags in the metadata, with a key that cannot be shown there. The text is
    /// EC2's.
    #[error(
        "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a \
         reserved name ('.', '..', '_index')"
    )]
    TagKey {
        /// The key.
        key: String,
    },
    /// A step in the life of an instance that cannot follow its state. The words are EC2's.
    #[error(
        "The instance '{instance}' is not in a state from which it can be {}.",
        .wanted.asked_for()
    )]
    State {
        /// The instance.
        instance: InstanceId,
        /// The state that it was to come into.
        wanted: InstanceState,
    },
    /// An instance that is to be terminated and must not be. The words are EC2's.
    #[error(
        "The instance '{instance}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
    )]
    Protected {
        /// The instance.
        instance: InstanceId,
    },
    /// An interface for an instance that is being terminated.
    #[error("Instance '{instance}' is not 'running' or 'stopped'.")]
    Unavailable {
        /// The instance.
        instance: InstanceId,
    },
    /// Another interface has the device index.
    #[error("Instance '{instance}' already has an interface attached at device index '{device_index}'.")]
    DeviceIndexTaken {
        /// The instance.
        instance: InstanceId,
        /// The device index.
        device_index: u32,
        /// The interface with that device index.
        interface: InterfaceId,
    },
}

impl InstanceError {
    /// The error code of EC2 for this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::State { .. } | Self::Unavailable { .. } => "IncorrectInstanceState",
            Self::Protected { .. } => "OperationNotPermitted",
            Self::DeviceIndexTaken { .. } | Self::TagKey { .. } => "InvalidParameterValue",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub fn field(&self) -> &'static str {
        match self {
            Self::TagKey { .. } => "tags",
            Self::DeviceIndexTaken { .. } => "device_index",
            Self::State { .. } | Self::Unavailable { .. } | Self::Protected { .. } => "instance",
        }
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::TagKey { .. } => "Rename the tag, or set 'metadata.instance_tags' to false.".into(),
            Self::DeviceIndexTaken { interface, .. } => format!("Detach {interface} first, or choose another index."),
            Self::State { .. } | Self::Unavailable { .. } => "Wait until it is in another state, or leave it.".into(),
            Self::Protected { .. } => "Allow that it is terminated first.".into(),
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::DeviceIndexTaken { .. } | Self::State { .. } | Self::Unavailable { .. } | Self::Protected { .. } => {
                RefusalKind::Conflict
            }
            Self::TagKey { .. } => RefusalKind::Invalid,
        }
    }
}
