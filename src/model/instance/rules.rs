//! Creates, changes and deletes instances.

use super::life::InstanceState;
use super::metadata::{InstanceMetadata, MetadataChange, is_tag_key};
use super::{CreateInstance, DeleteInstance, Instance, ModifyInstance};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{InstanceId, InterfaceId, ResourceRef};
use crate::model::naming::{Names, Tags};
use crate::model::network::{Network, fresh_id, not_found};
use crate::model::{InstanceError, InterfaceError};

impl Record for Instance {
    type Id = InstanceId;

    fn id(&self) -> InstanceId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for Instance {
    fn names(network: &mut Network) -> &mut Names<InstanceId> {
        &mut network.instance_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(before) = before {
            network.instances.remove(&before.id);
            if before.state != InstanceState::Terminated {
                network.primaries.remove(&before.primary_interface_id);
            }
        }
        if let Some(after) = after {
            network.instances.insert(after.id, after.clone());
            // A terminated one has no interface any more, whatever has been made of it.
            if after.state != InstanceState::Terminated {
                network.primaries.insert(after.primary_interface_id, after.id);
            }
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.instances.values().cloned().collect()
    }
}

impl Network {
    /// All instances of VPCs, by identifier.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let all = self.instances.values();
        all.filter(|instance| !self.is_outside(instance.primary_interface_id))
    }

    /// The instance behind a reference.
    pub fn instance(&self, reference: &ResourceRef<InstanceId>) -> Result<&Instance, ModelError> {
        let id = self.instance_names.resolve(reference)?;
        self.instances.get(&id).ok_or_else(|| not_found(reference))
    }

    /// The instance of a primary interface.
    pub fn own_instance(&self, interface: InterfaceId) -> Option<&Instance> {
        self.instances.get(self.primaries.get(&interface)?)
    }

    /// The instance that an interface belongs to: the one that it is attached to, or else the one whose primary
    /// interface it is.
    pub fn instance_of(&self, interface: InterfaceId) -> Option<&Instance> {
        let attachment = self.interfaces.get(&interface)?.record.attachment;
        match attachment {
            Some(attachment) => self.instances.get(&attachment.instance_id),
            None => self.own_instance(interface),
        }
    }

    /// The interfaces that are attached to an instance, by device index.
    pub fn attached(&self, instance: InstanceId) -> impl Iterator<Item = (u32, InterfaceId)> + '_ {
        let attached = self.attachments.range((instance, 0)..=(instance, u32::MAX));
        attached.map(|((_, index), interface)| (*index, *interface))
    }
}

impl Edit<'_> {
    /// Creates the instance of a primary interface, with the differences from the default metadata.
    pub(in crate::model) fn launch(
        &mut self,
        name: Option<String>,
        primary: InterfaceId,
        metadata: MetadataChange,
        tags: Tags,
    ) -> Result<Instance, ModelError> {
        let instance = Instance {
            id: fresh_id(self.rng, |id| self.network.instances.contains_key(&id)),
            name,
            primary_interface_id: primary,
            metadata: metadata.applied_to(InstanceMetadata::default())?,
            launched_at: None,
            tags,
            state: InstanceState::default(),
            state_reason: None,
            launch: None,
            protected: false,
        };
        self.create(instance.clone());
        Ok(instance)
    }

    /// Changes the metadata of the instance of a primary interface, which is created if there is none.
    pub(in crate::model) fn change_metadata(
        &mut self,
        primary: InterfaceId,
        metadata: MetadataChange,
    ) -> Result<(), ModelError> {
        let Some(before) = self.own_instance(primary).cloned() else {
            // Default values need no instance.
            if metadata.clone().applied_to(InstanceMetadata::default())? != InstanceMetadata::default() {
                self.launch(None, primary, metadata, Tags::new())?;
            }
            return Ok(());
        };
        let after = Instance {
            metadata: metadata.applied_to(before.metadata.clone())?,
            ..before.clone()
        };
        self.replace(before, after);
        Ok(())
    }
}

impl Network {
    /// An instance that shows its tags in the metadata may only have keys that can be shown there, those of its primary
    /// interface included. EC2 checks it when the tag or the option is set.
    pub(in crate::model) fn check_tags(&self, primary: InterfaceId) -> Result<(), ModelError> {
        let Some(instance) = self.own_instance(primary).filter(|own| own.metadata.instance_tags) else {
            return Ok(());
        };
        let mut keys = instance.tags.keys().chain(self.state(primary).record.tags.keys());
        match keys.find(|key| !is_tag_key(key)) {
            Some(key) => Err(ModelError::Instance(InstanceError::TagKey { key: key.clone() })),
            None => Ok(()),
        }
    }
}

impl Command for CreateInstance {
    type Outcome = Instance;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Instance, ModelError> {
        let primary = edit.interface_id(&self.primary_interface)?;
        edit.instance_names.check(self.name.as_deref(), None)?;
        edit.unmanaged(primary)?;
        if edit.own_instance(primary).is_some() || edit.state(primary).record.attachment.is_some() {
            return Err(ModelError::Interface(InterfaceError::InUse { interface: primary }));
        }
        let instance = edit.launch(self.name, primary, self.metadata, self.tags)?;
        edit.check_tags(primary)?;
        Ok(instance)
    }
}

impl Command for ModifyInstance {
    type Outcome = Instance;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Instance, ModelError> {
        let before = edit.instance(&self.instance)?.clone();
        if let Some(name) = &self.name {
            edit.instance_names.check(name.as_deref(), Some(before.id))?;
        }
        let after = Instance {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            metadata: self.metadata.applied_to(before.metadata.clone())?,
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after.clone());
        if after.state != InstanceState::Terminated {
            edit.check_tags(after.primary_interface_id)?;
        }
        Ok(after)
    }
}

impl Command for DeleteInstance {
    type Outcome = Instance;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Instance, ModelError> {
        let instance = edit.instance(&self.0)?.clone();
        let attached: Vec<String> = edit.attached(instance.id).map(|(_, id)| id.to_string()).collect();
        if !attached.is_empty() {
            return Err(ModelError::Dependents {
                kind: "instance",
                id: instance.id.to_string(),
                dependents: attached.join(", "),
            });
        }
        edit.delete(instance.clone());
        Ok(instance)
    }
}
