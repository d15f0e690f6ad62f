//! Defines an instance: the host that network interfaces are attached to, and its metadata options. Each instance has
//! one primary interface, which cannot be detached (EC2 user guide, "Elastic network interfaces").

mod error;
pub mod life;
pub mod metadata;
pub mod policy;
mod rules;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use self::error::InstanceError;
use self::life::{InstanceState, Launch, StateReason};
use self::metadata::{InstanceMetadata, MetadataChange};
use crate::model::ids::{InstanceId, InterfaceId, ResourceRef};
use crate::model::naming::Tags;

/// A declared instance. It does not contain whether a host runs, nor its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its identifier.
    pub id: InstanceId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The interface at device index 0; it lives as long as the instance.
    pub primary_interface_id: InterfaceId,
    /// Its metadata.
    pub metadata: InstanceMetadata,
    /// When an interface was first attached to it.
    pub launched_at: Option<SystemTime>,
    /// Tags other than the name.
    pub tags: Tags,
    /// How far it is in its life. One that a device or a file stands for runs.
    #[serde(default)]
    pub state: InstanceState,
    /// Why it came into this state, where there is a reason.
    #[serde(default)]
    pub state_reason: Option<StateReason>,
    /// What it was launched with; none where a device or a file declared it.
    #[serde(default)]
    pub launch: Option<Launch>,
    /// Whether it cannot be terminated until that is allowed.
    #[serde(default)]
    pub protected: bool,
}

/// The image of what was not launched: all images are the same host.
pub const IMAGE: &str = "ami-0000000000000c1d0";

impl Instance {
    /// The image that it was launched with.
    pub fn image(&self) -> &str {
        self.launch.as_ref().map_or(IMAGE, |launch| &launch.image)
    }

    /// The reservation of its launch, or one of its own.
    pub fn reservation(&self) -> String {
        let own = || self.id.to_string().replacen("i-", "r-", 1);
        self.launch
            .as_ref()
            .map_or_else(own, |launch| launch.reservation.clone())
    }
}

/// Creates the instance of a primary interface that has none. Outcome: the instance.
#[derive(Debug, Clone)]
pub struct CreateInstance {
    /// A name that no other instance has.
    pub name: Option<String>,
    /// Its primary interface.
    pub primary_interface: ResourceRef<InterfaceId>,
    /// Differences from the default metadata.
    pub metadata: MetadataChange,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes an instance; `None` leaves a field unchanged. Outcome: the changed instance.
#[derive(Debug, Clone)]
pub struct ModifyInstance {
    /// The instance.
    pub instance: ResourceRef<InstanceId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// The change of the metadata.
    pub metadata: MetadataChange,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyInstance {
    /// A command without changes.
    pub fn new(instance: impl Into<ResourceRef<InstanceId>>) -> Self {
        Self {
            instance: instance.into(),
            name: None,
            metadata: MetadataChange::default(),
            tags: None,
        }
    }
}

/// Deletes an instance without attached interfaces. Its primary interface stays. Outcome: the former instance.
#[derive(Debug, Clone)]
pub struct DeleteInstance(pub ResourceRef<InstanceId>);
