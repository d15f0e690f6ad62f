//! Creates and deletes DHCP option sets, and resolves the set of a VPC.

use std::sync::Arc;

use super::{
    CreateDhcpOptions, DeleteDhcpOptions, DhcpOptionSet, DhcpOptions, DhcpOptionsChoice, DhcpOptionsError,
    ModifyDhcpOptions,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{DhcpOptionsId, ResourceId, ResourceRef};
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};

/// The initial set.
pub(in crate::model) fn default_set(region: &str) -> DhcpOptionSet {
    DhcpOptionSet {
        id: DhcpOptionsId::from_bits(1),
        name: None,
        options: Arc::new(DhcpOptions::for_region(region)),
        default: true,
        tags: Default::default(),
    }
}

impl Record for DhcpOptionSet {
    type Id = DhcpOptionsId;

    fn id(&self) -> DhcpOptionsId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for DhcpOptionSet {
    fn names(network: &mut Network) -> &mut Names<DhcpOptionsId> {
        &mut network.dhcp_options_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.dhcp_options.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.dhcp_options.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.dhcp_option_sets().cloned().collect()
    }
}

impl Command for CreateDhcpOptions {
    type Outcome = DhcpOptionSet;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<DhcpOptionSet, ModelError> {
        edit.dhcp_options_names.check(self.name.as_deref(), None)?;
        if self.options == DhcpOptions::default() {
            return Err(DhcpOptionsError::Empty.into());
        }
        self.options.validate()?;
        let set = DhcpOptionSet {
            id: fresh_id(edit.rng, |id| edit.network.dhcp_options.contains_key(&id)),
            name: self.name,
            options: Arc::new(self.options),
            default: false,
            tags: self.tags,
        };
        edit.create(set.clone());
        Ok(set)
    }
}

impl Command for ModifyDhcpOptions {
    type Outcome = DhcpOptionSet;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<DhcpOptionSet, ModelError> {
        let before = edit.dhcp_option_set(&self.set)?.clone();
        if let Some(name) = &self.name {
            edit.dhcp_options_names.check(name.as_deref(), Some(before.id))?;
        }
        let after = DhcpOptionSet {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteDhcpOptions {
    type Outcome = DhcpOptionSet;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<DhcpOptionSet, ModelError> {
        let set = edit.dhcp_option_set(&self.0)?.clone();
        let associated = edit.vpcs().filter(|vpc| vpc.dhcp_options_id == Some(set.id));
        let vpcs: Vec<String> = associated.map(|vpc| vpc.id.to_string()).collect();
        let dependents = match (vpcs.is_empty(), set.default) {
            (false, _) => vpcs.join(", "),
            (true, true) => "every new VPC begins with it".to_owned(),
            (true, false) => String::new(),
        };
        if !dependents.is_empty() {
            return Err(ModelError::Dependents {
                kind: "dhcpOptions",
                id: set.id.to_string(),
                dependents,
            });
        }
        edit.delete(set.clone());
        Ok(set)
    }
}

impl Network {
    /// The set behind a reference.
    pub fn dhcp_option_set(&self, reference: &ResourceRef<DhcpOptionsId>) -> Result<&DhcpOptionSet, ModelError> {
        let id = self.dhcp_options_names.resolve(reference)?;
        self.dhcp_options.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All sets, by identifier.
    pub fn dhcp_option_sets(&self) -> impl Iterator<Item = &DhcpOptionSet> {
        self.dhcp_options.values()
    }

    /// The set of a choice; the default set without a choice.
    pub(in crate::model) fn chosen_options(
        &self,
        choice: Option<&DhcpOptionsChoice>,
    ) -> Result<Option<DhcpOptionsId>, ModelError> {
        match choice {
            None => Ok(self.dhcp_options.values().find(|set| set.default).map(|set| set.id)),
            Some(DhcpOptionsChoice::None) => Ok(None),
            Some(DhcpOptionsChoice::Set(reference)) => self.dhcp_option_set(reference).map(|set| Some(set.id)),
        }
    }

    /// The options of a VPC's association.
    pub fn options_of(&self, id: Option<DhcpOptionsId>) -> Arc<DhcpOptions> {
        let set = id.and_then(|id| self.dhcp_options.get(&id));
        set.map_or_else(Arc::default, |set| Arc::clone(&set.options))
    }
}
