//! Makes, changes and deletes gateway endpoints. A route table has one route to a service at the most.

use std::collections::BTreeSet;

use super::{CreateEndpoint, DeleteEndpoint, Endpoint, EndpointError, EndpointRoute, GatewayService, ModifyEndpoint};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{EndpointId, ResourceRef, RouteTableId, VpcId};
use crate::model::limits::Limits;
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};

impl Record for Endpoint {
    type Id = EndpointId;

    fn id(&self) -> EndpointId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for Endpoint {
    fn names(network: &mut Network) -> &mut Names<EndpointId> {
        &mut network.endpoint_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.endpoints.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.endpoints.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.endpoints.values().cloned().collect()
    }
}

impl Command for CreateEndpoint {
    type Outcome = Endpoint;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Endpoint, ModelError> {
        if Limits::reached(edit.limits.gateway_endpoints, edit.endpoints.len()) {
            return Err(EndpointError::Limit.into());
        }
        edit.endpoint_names.check(self.name.as_deref(), None)?;
        let vpc_id = edit.vpc(&self.vpc)?.id;
        let service = GatewayService::named(&self.service, &edit.region)
            .ok_or_else(|| EndpointError::service(&self.service, &edit.region))?;
        let mut endpoint = Endpoint {
            id: fresh_id(edit.rng, |id| edit.network.endpoints.contains_key(&id)),
            name: self.name,
            vpc_id,
            service,
            route_tables: BTreeSet::new(),
            policy: self.policy,
            created: self.at,
            tags: self.tags,
        };
        for table in &self.route_tables {
            edit.route_to(&mut endpoint, table)?;
        }
        edit.create(endpoint.clone());
        Ok(endpoint)
    }
}

impl Command for ModifyEndpoint {
    type Outcome = Endpoint;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Endpoint, ModelError> {
        let before = edit.endpoint(&self.endpoint)?.clone();
        if let Some(name) = &self.name {
            edit.endpoint_names.check(name.as_deref(), Some(before.id))?;
        }
        let mut after = Endpoint {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            policy: self.policy.unwrap_or_else(|| before.policy.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        if self.route_tables.is_some() {
            after.route_tables.clear();
        }
        for table in &self.remove {
            let table = edit.route_table_id(table)?;
            if !after.route_tables.remove(&table) {
                let endpoint = after.id;
                return Err(EndpointError::NotAssociated { table, endpoint }.into());
            }
        }
        for table in self.route_tables.iter().flatten().chain(&self.add) {
            edit.route_to(&mut after, table)?;
        }
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteEndpoint {
    type Outcome = Endpoint;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Endpoint, ModelError> {
        let endpoint = edit.endpoint(&self.0)?.clone();
        edit.delete(endpoint.clone());
        Ok(endpoint)
    }
}

impl Edit<'_> {
    /// Takes a route table that is deleted away from the endpoints that it routes to.
    pub(in crate::model) fn forget_endpoint_routes(&mut self, table: RouteTableId) {
        let having: Vec<Endpoint> = self.endpoints_of(table).cloned().collect();
        for before in having {
            let mut after = before.clone();
            after.route_tables.remove(&table);
            self.replace(before, after);
        }
    }
}

impl Network {
    /// Adds a route table to an endpoint.
    fn route_to(&self, endpoint: &mut Endpoint, table: &ResourceRef<RouteTableId>) -> Result<(), ModelError> {
        let id = self.route_table_id(table)?;
        if self.route_tables.get(&id).map(|table| table.vpc_id) != Some(endpoint.vpc_id) {
            let vpc = endpoint.vpc_id;
            return Err(EndpointError::OtherVpc { table: id, vpc }.into());
        }
        let mut others = self.endpoints_of(id);
        if let Some(other) = others.find(|other| other.id != endpoint.id && other.service == endpoint.service) {
            return Err(EndpointError::RouteExists {
                table: id,
                endpoint: other.id,
                list: endpoint.service.prefix_list(),
            }
            .into());
        }
        if self.gateways_of_table(id).next().is_some() {
            return Err(EndpointError::OfGateway { table: id }.into());
        }
        endpoint.route_tables.insert(id);
        Ok(())
    }

    /// The gateway endpoint behind a reference.
    pub fn endpoint(&self, reference: &ResourceRef<EndpointId>) -> Result<&Endpoint, ModelError> {
        let id = self.endpoint_names.resolve(reference)?;
        self.endpoints.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All gateway endpoints, by identifier.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// The gateway endpoints of a VPC.
    pub(in crate::model) fn endpoints_in(&self, vpc: VpcId) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().filter(move |endpoint| endpoint.vpc_id == vpc)
    }

    /// The gateway endpoints that a route table routes to.
    pub fn endpoints_of(&self, table: RouteTableId) -> impl Iterator<Item = &Endpoint> {
        self.endpoints
            .values()
            .filter(move |endpoint| endpoint.route_tables.contains(&table))
    }

    /// The routes of a table to gateway endpoints.
    pub fn endpoint_routes(&self, table: RouteTableId) -> impl Iterator<Item = EndpointRoute> + '_ {
        self.endpoints_of(table).map(|endpoint| EndpointRoute {
            prefix_list: endpoint.service.prefix_list(),
            endpoint: endpoint.id,
        })
    }
}
