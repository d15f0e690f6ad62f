//! Why a command was refused, in one form for REST, the EC2 API and scenarios: AWS code, field, message, remedy.

use crate::model::mapping::EditFailed;
use crate::model::{InstanceId, InterfaceId, ModelError};
use crate::store::StoreError;

/// A command that was refused and changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The model refused it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// One edit of a list was refused, and with it the whole list.
    #[error("edit {}: {}", .0.index, .0.error)]
    Edit(#[from] EditFailed),
    /// The device could not become a port.
    #[error("the device cannot be attached: {reason}")]
    Attach {
        /// The switch's or the kernel's reason.
        reason: String,
    },
    /// No switch runs in this process.
    #[error("there is no switch to attach to")]
    NoSwitch,
    /// An instance that is a device of the user's, which this server cannot switch off and on.
    #[error("The instance '{instance}' is a device of its own and no host of this server.")]
    NoHost {
        /// The instance.
        instance: InstanceId,
    },
    /// A fault that cannot be started.
    #[error("{problem}")]
    Fault {
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The store did not keep the edit, which was taken back.
    #[error("the edit cannot be kept, and nothing was changed: {0}")]
    Store(#[from] StoreError),
    /// The edit is carried out, and may not be on the disk.
    #[error("the edit was carried out, and may not outlive this machine: {0}")]
    Unsynced(#[source] StoreError),
    /// Another server is taking over the network.
    #[error("this server is being replaced, and takes no edit any more")]
    Replaced,
    /// The network has moved on since the caller compared it.
    #[error("the network has moved on to revision {revision}")]
    Moved {
        /// The revision that it is at.
        revision: u64,
    },
    /// A part of the past that is not kept, or never was.
    #[error("{problem}")]
    NotKept {
        /// What cannot be told.
        problem: String,
        /// The oldest revision that can.
        oldest: u64,
    },
    /// An edit that cannot be undone, because a device came or went with it.
    #[error("revision {revision} attached or detached {interface}, and its device does not come back by undoing")]
    Lasting {
        /// The edit.
        revision: u64,
        /// The interface.
        interface: InterfaceId,
    },
    /// A request to explain a frame that cannot be built or parsed.
    #[error("{problem}")]
    Explain {
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

impl ControlError {
    /// The AWS error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(error) => error.code(),
            Self::Edit(failed) => failed.error.code(),
            Self::Attach { .. } | Self::Explain { .. } | Self::Fault { .. } => "InvalidParameterValue",
            Self::NoSwitch => "Unsupported",
            Self::Store(_) | Self::Unsynced(_) | Self::Replaced => "Unavailable",
            Self::Moved { .. } => "PreconditionFailed",
            Self::NotKept { .. } => "InvalidRevision.NotFound",
            Self::Lasting { .. } => "IncorrectState",
            Self::NoHost { .. } => "UnsupportedOperation",
        }
    }

    /// The field of the request that is at fault, as a path in the API's spelling.
    pub fn field(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.field().map(str::to_owned),
            Self::Edit(failed) => {
                let field = failed.error.field().unwrap_or("address");
                Some(format!("edits[{}].{field}", failed.index))
            }
            Self::Attach { .. } => Some("device".to_owned()),
            Self::NoSwitch
            | Self::Replaced
            | Self::Store(_)
            | Self::Unsynced(_)
            | Self::Moved { .. }
            | Self::NotKept { .. }
            | Self::Lasting { .. } => None,
            Self::NoHost { .. } => Some("instance".to_owned()),
            Self::Explain { field, .. } | Self::Fault { field, .. } => Some((*field).to_owned()),
        }
    }

    /// What the caller can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Model(error) => error.remedy(),
            Self::Edit(failed) => failed.error.remedy(),
            Self::Attach { .. } => {
                "Check that the device exists, is free and may be opened by this process.".to_owned()
            }
            Self::NoSwitch => "Start the server with a switch.".to_owned(),
            Self::Store(error) | Self::Unsynced(error) => error.remedy(),
            Self::Replaced => "Send the request again: the next server answers at the same address.".to_owned(),
            Self::Moved { .. } => "Read it again, and send the request again if it still makes sense.".to_owned(),
            Self::NotKept { oldest, .. } => format!("The oldest revision that is kept is {oldest}."),
            Self::Lasting { .. } => "Attach or detach the interface by a request of its own.".to_owned(),
            Self::NoHost { .. } => "Stop and start what has the device, or detach it.".to_owned(),
            Self::Explain { remedy, .. } | Self::Fault { remedy, .. } => (*remedy).to_owned(),
        }
    }

    /// The model's reason, if the model refused it.
    pub fn model(&self) -> Option<&ModelError> {
        match self {
            Self::Model(error) => Some(error),
            Self::Edit(failed) => Some(&failed.error),
            _ => None,
        }
    }
}
