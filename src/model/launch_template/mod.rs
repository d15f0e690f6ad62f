//! Declares a launch template: parameters of a launch under a name, in numbered versions (EC2 guide, "Launch
//! templates").

mod error;
mod rules;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use error::LaunchTemplateError;

use crate::model::ids::LaunchTemplateId;
use crate::model::naming::Tags;

/// A launch template as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// Its identifier.
    pub id: LaunchTemplateId,
    /// Its name, which no other template has.
    pub template_name: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// The version that a launch takes that names none.
    pub default_version: u64,
    /// The number of the version that was made last; it is not given again when that one is deleted.
    pub latest_version: u64,
    /// The versions that there are, by number.
    pub versions: Vec<TemplateVersion>,
    /// Tags.
    pub tags: Tags,
}

/// A version of a launch template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateVersion {
    /// Its number.
    pub number: u64,
    /// For the reader.
    pub description: String,
    /// The parameters of a launch, by the names that they have in a request. A launch checks them.
    pub data: Map<String, Value>,
    /// When it was made.
    pub created_at: SystemTime,
}

/// Which version of a launch template is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VersionRef {
    /// The default one: `$Default`.
    #[default]
    Default,
    /// The one that was made last: `$Latest`.
    Latest,
    /// By number.
    Number(u64),
}

/// Makes a launch template with its first version. Outcome: the template.
#[derive(Debug, Clone)]
pub struct CreateLaunchTemplate {
    /// A name that no other template has.
    pub template_name: String,
    /// About the first version.
    pub description: String,
    /// The parameters of a launch.
    pub data: Map<String, Value>,
    /// Tags.
    pub tags: Tags,
    /// The time.
    pub at: SystemTime,
}

/// Makes a further version of a launch template. Outcome: the template, whose last version is the new one.
#[derive(Debug, Clone)]
pub struct AddTemplateVersion {
    /// The template.
    pub template: LaunchTemplateId,
    /// The version whose parameters the new one has where it has none of its own.
    pub source: Option<VersionRef>,
    /// For the reader.
    pub description: String,
    /// Its own parameters.
    pub data: Map<String, Value>,
    /// The time.
    pub at: SystemTime,
}

/// Changes a launch template; `None` leaves a field as it is. Outcome: the template.
#[derive(Debug, Clone)]
pub struct ModifyLaunchTemplate {
    /// The template.
    pub template: LaunchTemplateId,
    /// Another default version.
    pub default_version: Option<VersionRef>,
    /// All tags.
    pub tags: Option<Tags>,
}

/// Deletes a version of a launch template, but not the default one. Outcome: none.
#[derive(Debug, Clone, Copy)]
pub struct DeleteTemplateVersion {
    /// The template.
    pub template: LaunchTemplateId,
    /// The number of the version.
    pub number: u64,
}

/// Deletes a launch template with all its versions. Outcome: the template as it was.
#[derive(Debug, Clone, Copy)]
pub struct DeleteLaunchTemplate(pub LaunchTemplateId);
