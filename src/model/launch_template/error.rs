//! Lists why an edit of a launch template is refused.

use crate::model::error::RefusalKind;
use crate::model::ids::LaunchTemplateId;

/// A refusal. `Display` is EC2's message where it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchTemplateError {
    /// Another template has the name.
    #[error("Launch template name already in use.")]
    NameTaken,
    /// A name that EC2 does not accept.
    #[error(
        "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _."
    )]
    Name,
    /// A name of no template.
    #[error("The specified launch template, with template name {name}, does not exist.")]
    UnknownName {
        /// As given.
        name: String,
    },
    /// An identifier of no template.
    #[error("The specified launch template, with template ID {id}, does not exist.")]
    Unknown {
        /// As given.
        id: LaunchTemplateId,
    },
    /// A number of no version.
    #[error("Could not find the specified version {number} for the launch template with ID {id}.")]
    UnknownVersion {
        /// The template.
        id: LaunchTemplateId,
        /// As given.
        number: u64,
    },
    /// The default version is to be deleted.
    #[error("The default version {number} of the launch template {id} cannot be deleted.")]
    DefaultVersion {
        /// The template.
        id: LaunchTemplateId,
        /// The number of the version.
        number: u64,
    },
}

impl LaunchTemplateError {
    /// The error code of EC2 for this case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NameTaken => "InvalidLaunchTemplateName.AlreadyExistsException",
            Self::Name => "InvalidLaunchTemplateName.MalformedException",
            Self::UnknownName { .. } => "InvalidLaunchTemplateName.NotFoundException",
            Self::Unknown { .. } => "InvalidLaunchTemplateId.NotFound",
            Self::UnknownVersion { .. } => "InvalidLaunchTemplateId.VersionNotFound",
            Self::DefaultVersion { .. } => "OperationNotPermitted",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::UnknownVersion { .. } | Self::DefaultVersion { .. } => "version",
            Self::Unknown { .. } => "launch_template",
            Self::NameTaken | Self::Name | Self::UnknownName { .. } => "template_name",
        }
    }

    /// The remedy, as one sentence.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NameTaken | Self::Name => "Choose another name.",
            Self::Unknown { .. } | Self::UnknownName { .. } | Self::UnknownVersion { .. } => {
                "List the launch templates and their versions to see what there is."
            }
            Self::DefaultVersion { .. } => "Make another version the default one first.",
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::NameTaken | Self::DefaultVersion { .. } => RefusalKind::Conflict,
            Self::Unknown { .. } | Self::UnknownName { .. } | Self::UnknownVersion { .. } => RefusalKind::NotFound,
            Self::Name => RefusalKind::Invalid,
        }
    }
}
