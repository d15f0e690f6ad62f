//! Defines an instance: the host that network interfaces are attached to, and the metadata options that it was launched
//! with. Each instance has one primary interface, for life (EC2 user guide, "Elastic network interfaces").

pub mod metadata;
mod rules;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use self::metadata::{InstanceMetadata, MetadataChange};
use crate::model::ids::{InstanceId, InterfaceId, ResourceRef};
use crate::model::naming::Tags;

/// An instance as declared. Whether a host runs, and by which device it is reached, is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its identifier.
    pub id: InstanceId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The interface that has device index 0 in it; it lives as long as the instance.
    pub primary_interface_id: InterfaceId,
    /// What it finds at the metadata service.
    pub metadata: InstanceMetadata,
    /// When an interface was attached to it for the first time.
    pub launched_at: Option<SystemTime>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Makes the instance of a primary interface, which must have none. Outcome: the instance.
#[derive(Debug, Clone)]
pub struct CreateInstance {
    /// A name that no other instance has.
    pub name: Option<String>,
    /// Its primary interface.
    pub primary_interface: ResourceRef<InterfaceId>,
    /// What differs from the default metadata.
    pub metadata: MetadataChange,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes an instance; `None` leaves a field as it is. Outcome: the instance as it is now.
#[derive(Debug, Clone)]
pub struct ModifyInstance {
    /// The instance.
    pub instance: ResourceRef<InstanceId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// What changes about the metadata.
    pub metadata: MetadataChange,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyInstance {
    /// A command that changes nothing yet.
    pub fn new(instance: impl Into<ResourceRef<InstanceId>>) -> Self {
        Self {
            instance: instance.into(),
            name: None,
            metadata: MetadataChange::default(),
            tags: None,
        }
    }
}

/// Deletes an instance to which nothing is attached. Its primary interface stays. Outcome: the instance as it was.
#[derive(Debug, Clone)]
pub struct DeleteInstance(pub ResourceRef<InstanceId>);
