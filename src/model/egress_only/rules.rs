//! Makes, changes and deletes egress-only internet gateways. A VPC has one at the most.

use super::{CreateEgressOnlyGateway, DeleteEgressOnlyGateway, EgressOnlyGateway, ModifyEgressOnlyGateway};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{EgressOnlyGatewayId, ResourceRef, VpcId};
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};

impl Record for EgressOnlyGateway {
    type Id = EgressOnlyGatewayId;

    fn id(&self) -> EgressOnlyGatewayId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for EgressOnlyGateway {
    fn names(network: &mut Network) -> &mut Names<EgressOnlyGatewayId> {
        &mut network.egress_only_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.egress_only.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.egress_only.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.egress_only.values().cloned().collect()
    }
}

impl Command for CreateEgressOnlyGateway {
    type Outcome = EgressOnlyGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<EgressOnlyGateway, ModelError> {
        edit.egress_only_names.check(self.name.as_deref(), None)?;
        let vpc_id = edit.vpc(&self.vpc)?.id;
        if edit.egress_only_of(vpc_id).is_some() {
            return Err(ModelError::Limit {
                code: "EgressOnlyInternetGatewayLimitExceeded",
                text: format!("Network {vpc_id} already has an egress-only internet gateway"),
            });
        }
        let gateway = EgressOnlyGateway {
            id: fresh_id(edit.rng, |id| edit.network.egress_only.contains_key(&id)),
            name: self.name,
            vpc_id,
            tags: self.tags,
        };
        edit.create(gateway.clone());
        Ok(gateway)
    }
}

impl Command for ModifyEgressOnlyGateway {
    type Outcome = EgressOnlyGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<EgressOnlyGateway, ModelError> {
        let before = edit.egress_only_gateway(&self.gateway)?.clone();
        if let Some(name) = &self.name {
            edit.egress_only_names.check(name.as_deref(), Some(before.id))?;
        }
        let after = EgressOnlyGateway {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteEgressOnlyGateway {
    type Outcome = EgressOnlyGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<EgressOnlyGateway, ModelError> {
        let gateway = edit.egress_only_gateway(&self.0)?.clone();
        edit.delete(gateway.clone());
        Ok(gateway)
    }
}

impl Network {
    /// The egress-only internet gateway behind a reference.
    pub fn egress_only_gateway(
        &self,
        reference: &ResourceRef<EgressOnlyGatewayId>,
    ) -> Result<&EgressOnlyGateway, ModelError> {
        let id = self.egress_only_names.resolve(reference)?;
        self.egress_only.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All egress-only internet gateways, by identifier.
    pub fn egress_only_gateways(&self) -> impl Iterator<Item = &EgressOnlyGateway> {
        self.egress_only.values()
    }

    /// The egress-only internet gateway of a VPC.
    pub fn egress_only_of(&self, vpc: VpcId) -> Option<EgressOnlyGatewayId> {
        let mut gateways = self.egress_only.values();
        gateways.find(|gateway| gateway.vpc_id == vpc).map(|gateway| gateway.id)
    }
}
