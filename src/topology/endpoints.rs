//! Gateway endpoints in a network that is wanted, that runs, and that is planned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::apply::{Work, name};
use super::backend::{Stage, StepError};
use super::diff::{Fate, Judged};
use super::edge::EdgeStep;
use super::export::{put, put_tags};
use super::layout::{Described, Fields, Kind, Label, Layout, field, list, tags};
use super::matching::stand_in;
use super::order::{Steps, with};
use super::running::{Running, label};
use crate::model::endpoint::{CreateEndpoint, DeleteEndpoint, GatewayService, ModifyEndpoint};
use crate::model::naming::Tags;
use crate::model::{EndpointId, Network, VpcId};
use crate::topology::format::Topology;

/// A gateway endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its VPC.
    pub vpc: Label,
    /// The service that it reaches.
    pub service: GatewayService,
    /// The route tables that route to it.
    pub route_tables: BTreeSet<Label>,
    /// Its policy, as text.
    pub policy: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Described for Endpoint {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            field("vpc", &self.vpc),
            field("service", self.service),
            field("route_tables", list(&self.route_tables)),
            ("policy".to_owned(), self.policy.clone()),
        ];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        vec![field("route_tables", "none"), ("policy".to_owned(), None)]
    }

    fn can_change(field: &str) -> bool {
        !matches!(field, "vpc" | "service")
    }
}

/// One thing to do about a gateway endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum EndpointStep {
    /// Makes one.
    Create(Label, Endpoint),
    /// Gives one its route tables, its policy and its tags.
    Set(Label, Endpoint),
    /// Deletes one.
    Delete(Label),
}

impl EndpointStep {
    /// What it is about.
    pub(super) fn subject(&self) -> (Kind, &str) {
        let (Self::Create(label, _) | Self::Set(label, _) | Self::Delete(label)) = self;
        (Kind::Endpoint, label)
    }
}

impl Layout {
    /// Adds what a topology wants of them.
    pub(super) fn want_endpoints(&mut self, topology: &Topology) {
        for (label, endpoint) in &topology.vpc_endpoints {
            let fields = &endpoint.value;
            let endpoint = Endpoint {
                vpc: fields.vpc.value.clone(),
                service: fields.service,
                route_tables: fields.route_tables.iter().map(|table| table.value.clone()).collect(),
                policy: fields.policy.clone(),
                tags: fields.tags.clone(),
            };
            self.endpoints.insert(label.clone(), endpoint);
        }
    }

    /// Adds what runs of them.
    pub(super) fn have_endpoints(&mut self, network: &Network, vpcs: &BTreeMap<VpcId, Label>) {
        for endpoint in network.endpoints() {
            let tables = endpoint.route_tables.iter();
            let tables = tables.filter_map(|table| network.route_table(&(*table).into()).ok());
            let found = Endpoint {
                vpc: vpcs.get(&endpoint.vpc_id).cloned().unwrap_or_default(),
                service: endpoint.service,
                route_tables: tables.map(|table| label(table.name.as_ref(), table.id)).collect(),
                policy: endpoint.policy.clone(),
                tags: endpoint.tags.clone(),
            };
            self.endpoints.insert(label(endpoint.name.as_ref(), endpoint.id), found);
        }
    }
}

impl Running {
    /// Calls what runs without a name as the file does.
    pub(super) fn align_endpoints(&mut self, desired: &Layout) {
        for (label, endpoint) in &desired.endpoints {
            let same = |_: &Label, other: &Endpoint| {
                (&endpoint.vpc, endpoint.service, &endpoint.route_tables)
                    == (&other.vpc, other.service, &other.route_tables)
            };
            let found = stand_in(Kind::Endpoint, label, &self.layout.endpoints, &desired.endpoints, same);
            self.rename(Kind::Endpoint, found, label);
        }
    }
}

impl Judged<'_> {
    pub(super) fn judge_endpoints(&mut self, running: &Layout) {
        let desired = self.desired;
        self.judge(Kind::Endpoint, &desired.endpoints, &running.endpoints, |endpoint, _| {
            Some((Kind::Vpc, endpoint.vpc.clone()))
        });
    }
}

impl Steps {
    /// They go before their VPCs. A table that goes takes its route with it.
    pub(super) fn take_endpoints_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        for (label, _) in with(judged, Kind::Endpoint, &now.endpoints, Fate::ends) {
            self.endpoint(judged, EndpointStep::Delete(label.clone()));
        }
    }

    /// They come after their route tables.
    pub(super) fn make_endpoints(&mut self, judged: &Judged<'_>) {
        for (label, endpoint) in &judged.desired.endpoints {
            let mut tables = endpoint.route_tables.iter();
            let step = match judged.fate(Kind::Endpoint, label) {
                fate if fate.begins() => EndpointStep::Create(label.clone(), endpoint.clone()),
                Fate::Alter => EndpointStep::Set(label.clone(), endpoint.clone()),
                _ if tables.any(|table| judged.fate(Kind::RouteTable, table).begins()) => {
                    EndpointStep::Set(label.clone(), endpoint.clone())
                }
                _ => continue,
            };
            self.endpoint(judged, step);
        }
    }

    fn endpoint(&mut self, judged: &Judged<'_>, step: EndpointStep) {
        self.at_edge(judged, EdgeStep::Endpoint(step));
    }
}

impl<S: Stage> Work<'_, S> {
    pub(super) fn take_endpoint(&mut self, step: &EndpointStep) -> Result<(), StepError> {
        match step {
            EndpointStep::Create(label, endpoint) => {
                let command = CreateEndpoint {
                    name: name(Kind::Endpoint, label),
                    vpc: self.reference(Kind::Vpc, &endpoint.vpc),
                    service: endpoint.service.to_string(),
                    route_tables: self.tables(endpoint),
                    policy: endpoint.policy.clone(),
                    at: SystemTime::now(),
                    tags: endpoint.tags.clone(),
                };
                let made = self.make(Kind::Endpoint, label, command)?;
                self.remember(Kind::Endpoint, label, made.id);
                Ok(())
            }
            EndpointStep::Set(label, endpoint) => self.run(ModifyEndpoint {
                route_tables: Some(self.tables(endpoint)),
                policy: Some(endpoint.policy.clone()),
                tags: Some(endpoint.tags.clone()),
                ..ModifyEndpoint::new(self.reference::<EndpointId>(Kind::Endpoint, label))
            }),
            EndpointStep::Delete(label) => self.run(DeleteEndpoint(self.reference(Kind::Endpoint, label))),
        }
    }

    fn tables(&self, endpoint: &Endpoint) -> Vec<crate::model::ResourceRef<crate::model::RouteTableId>> {
        let tables = endpoint.route_tables.iter();
        tables.map(|table| self.reference(Kind::RouteTable, table)).collect()
    }
}

/// Writes them into a file.
pub(super) fn export_endpoints(layout: &Layout, file: &mut Map<String, Value>) {
    let endpoints = layout.endpoints.iter().map(|(label, endpoint)| {
        let mut fields = Map::new();
        fields.insert("vpc".to_owned(), json!(endpoint.vpc));
        fields.insert("service".to_owned(), json!(endpoint.service));
        if !endpoint.route_tables.is_empty() {
            fields.insert("route_tables".to_owned(), json!(endpoint.route_tables));
        }
        if let Some(policy) = &endpoint.policy {
            fields.insert("policy".to_owned(), json!(policy));
        }
        put_tags(&mut fields, &endpoint.tags);
        (label.clone(), Value::Object(fields))
    });
    put(file, "vpc_endpoints", endpoints.collect());
}
