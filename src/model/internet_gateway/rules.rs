//! Makes, attaches, changes, detaches and deletes internet gateways. A VPC has one at the most.

use super::{
    AttachInternetGateway, CreateInternetGateway, DeleteInternetGateway, DetachInternetGateway, InternetGateway,
    InternetGatewayError, ModifyInternetGateway,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{InternetGatewayId, ResourceRef, RouteTableId, VpcId};
use crate::model::limits::Limits;
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};

impl Record for InternetGateway {
    type Id = InternetGatewayId;

    fn id(&self) -> InternetGatewayId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for InternetGateway {
    fn names(network: &mut Network) -> &mut Names<InternetGatewayId> {
        &mut network.internet_gateway_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.internet_gateways.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.internet_gateways.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.internet_gateways.values().cloned().collect()
    }
}

impl Command for CreateInternetGateway {
    type Outcome = InternetGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<InternetGateway, ModelError> {
        if Limits::reached(edit.limits.internet_gateways, edit.internet_gateways.len()) {
            return Err(ModelError::Limit {
                code: "InternetGatewayLimitExceeded",
                text: "The maximum number of internet gateways has been reached.".into(),
            });
        }
        edit.internet_gateway_names.check(self.name.as_deref(), None)?;
        let vpc_id = self.vpc.as_ref().map(|vpc| edit.attachable(vpc)).transpose()?;
        let gateway = InternetGateway {
            id: fresh_id(edit.rng, |id| edit.network.internet_gateways.contains_key(&id)),
            name: self.name,
            vpc_id,
            route_table_id: None,
            tags: self.tags,
        };
        edit.create(gateway.clone());
        Ok(gateway)
    }
}

impl Command for ModifyInternetGateway {
    type Outcome = InternetGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<InternetGateway, ModelError> {
        let before = edit.internet_gateway(&self.gateway)?.clone();
        if let Some(name) = &self.name {
            edit.internet_gateway_names.check(name.as_deref(), Some(before.id))?;
        }
        let after = InternetGateway {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteInternetGateway {
    type Outcome = InternetGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<InternetGateway, ModelError> {
        let gateway = edit.internet_gateway(&self.0)?.clone();
        if gateway.vpc_id.is_some() {
            return Err(InternetGatewayError::InUse { gateway: gateway.id }.into());
        }
        edit.delete(gateway.clone());
        Ok(gateway)
    }
}

impl Command for AttachInternetGateway {
    type Outcome = InternetGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<InternetGateway, ModelError> {
        let before = edit.internet_gateway(&self.gateway)?.clone();
        if let Some(vpc) = before.vpc_id {
            return Err(InternetGatewayError::AlreadyAttached {
                gateway: before.id,
                vpc,
            }
            .into());
        }
        let after = InternetGateway {
            vpc_id: Some(edit.attachable(&self.vpc)?),
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DetachInternetGateway {
    type Outcome = InternetGateway;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<InternetGateway, ModelError> {
        let before = edit.internet_gateway(&self.gateway)?.clone();
        let wanted = self
            .vpc
            .as_ref()
            .map(|vpc| edit.vpc(vpc).map(|vpc| vpc.id))
            .transpose()?;
        let vpc = match before.vpc_id {
            Some(vpc) if wanted.is_none_or(|wanted| wanted == vpc) => vpc,
            _ => {
                let vpc = wanted.map_or_else(|| "of any VPC".to_owned(), |vpc| vpc.to_string());
                return Err(InternetGatewayError::NotAttached {
                    gateway: before.id,
                    vpc,
                }
                .into());
            }
        };
        // EC2 API, DetachInternetGateway: the VPC must not contain any running instances with Elastic IP addresses or public
        // IPv4 addresses.
        let mut mapped = edit.elastic_ips().filter_map(|address| address.association);
        let running = |interface| {
            let used = edit.is_attached(interface) || edit.unmanaged(interface).is_err();
            edit.place(interface).is_some_and(|(_, _, in_vpc)| in_vpc == vpc) && used
        };
        if mapped.any(|association| running(association.interface_id)) {
            return Err(InternetGatewayError::MappedAddresses { vpc }.into());
        }
        drop(mapped);
        let after = InternetGateway {
            vpc_id: None,
            route_table_id: None,
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Network {
    /// The internet gateway behind a reference.
    pub fn internet_gateway(&self, reference: &ResourceRef<InternetGatewayId>) -> Result<&InternetGateway, ModelError> {
        let id = self.internet_gateway_names.resolve(reference)?;
        self.internet_gateways.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All internet gateways, by identifier.
    pub fn internet_gateways(&self) -> impl Iterator<Item = &InternetGateway> {
        self.internet_gateways.values()
    }

    /// The internet gateway that is attached to a VPC.
    pub fn gateway_of(&self, vpc: VpcId) -> Option<InternetGatewayId> {
        let mut gateways = self.internet_gateways.values();
        gateways
            .find(|gateway| gateway.vpc_id == Some(vpc))
            .map(|gateway| gateway.id)
    }

    /// The internet gateways that a route table is associated with.
    pub fn gateways_of_table(&self, table: RouteTableId) -> impl Iterator<Item = &InternetGateway> {
        let gateways = self.internet_gateways.values();
        gateways.filter(move |gateway| gateway.route_table_id == Some(table))
    }

    /// Whether an internet gateway is attached to this VPC.
    pub fn is_gateway_of(&self, gateway: InternetGatewayId, vpc: VpcId) -> bool {
        let gateway = self.internet_gateways.get(&gateway);
        gateway.is_some_and(|gateway| gateway.vpc_id == Some(vpc))
    }

    /// The VPC behind a reference, if it has no internet gateway.
    fn attachable(&self, vpc: &ResourceRef<VpcId>) -> Result<VpcId, ModelError> {
        let vpc = self.vpc(vpc)?.id;
        match self.gateway_of(vpc) {
            Some(_) => Err(InternetGatewayError::VpcHasOne { vpc }.into()),
            None => Ok(vpc),
        }
    }
}
