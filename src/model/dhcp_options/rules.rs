//! Making and deleting DHCP option sets, and which VPC has which.

use std::sync::Arc;

use rand::Rng;

use crate::model::dhcp_options::{CreateDhcpOptions, DhcpOptionSet, DhcpOptions, DhcpOptionsChoice, DhcpOptionsError};
use crate::model::error::ModelError;
use crate::model::ids::{DhcpOptionsId, ResourceId, ResourceRef};
use crate::model::network::{Network, fresh_id, not_found};

/// The set that is there from the beginning.
pub(in crate::model) fn default_set(region: &str) -> DhcpOptionSet {
    DhcpOptionSet {
        id: DhcpOptionsId::from_bits(1),
        name: None,
        options: Arc::new(DhcpOptions::for_region(region)),
        default: true,
        tags: Default::default(),
    }
}

impl Network {
    /// Makes a DHCP option set.
    pub fn create_dhcp_options(
        &mut self,
        spec: CreateDhcpOptions,
        rng: &mut dyn Rng,
    ) -> Result<&DhcpOptionSet, ModelError> {
        self.dhcp_options_names.check(spec.name.as_deref(), None)?;
        if spec.options == DhcpOptions::default() {
            return Err(DhcpOptionsError::Empty.into());
        }
        spec.options.validate()?;
        let id = fresh_id(rng, |id| self.dhcp_options.contains_key(&id));
        self.dhcp_options_names.rename(id, None, spec.name.as_deref());
        let set = DhcpOptionSet {
            id,
            name: spec.name,
            options: Arc::new(spec.options),
            default: false,
            tags: spec.tags,
        };
        Ok(self.dhcp_options.entry(id).or_insert(set))
    }

    /// The set behind a reference.
    pub fn dhcp_option_set(&self, reference: &ResourceRef<DhcpOptionsId>) -> Result<&DhcpOptionSet, ModelError> {
        let id = self.dhcp_options_names.resolve(reference)?;
        self.dhcp_options.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All sets, by identifier.
    pub fn dhcp_option_sets(&self) -> impl Iterator<Item = &DhcpOptionSet> {
        self.dhcp_options.values()
    }

    /// What a choice stands for; the default set where nothing was chosen.
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

    /// The options behind a VPC's association.
    pub fn options_of(&self, id: Option<DhcpOptionsId>) -> Arc<DhcpOptions> {
        let set = id.and_then(|id| self.dhcp_options.get(&id));
        set.map_or_else(Arc::default, |set| Arc::clone(&set.options))
    }

    /// Deletes a set that no VPC is associated with, and that none begins with.
    pub fn delete_dhcp_options(&mut self, reference: &ResourceRef<DhcpOptionsId>) -> Result<DhcpOptionSet, ModelError> {
        let set = self.dhcp_option_set(reference)?.clone();
        let vpcs: Vec<String> = self
            .vpcs()
            .filter(|vpc| vpc.dhcp_options_id == Some(set.id))
            .map(|vpc| vpc.id.to_string())
            .collect();
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
        self.dhcp_options.remove(&set.id);
        self.dhcp_options_names.rename(set.id, set.name.as_deref(), None);
        Ok(set)
    }
}
