//! NAT gateways in a network that is wanted, that runs, and that is planned.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::apply::{Work, name};
use super::backend::{Stage, StepError};
use super::diff::{Fate, Judged};
use super::edge::EdgeStep;
use super::export::{put, put_tags};
use super::layout::{Described, Fields, Kind, Label, Layout, Target, field, list, tags};
use super::matching::stand_in;
use super::order::{Steps, with};
use super::running::{Running, label};
use crate::model::naming::Tags;
use crate::model::nat_gateway::{Connectivity, CreateNatGateway, DeleteNatGateway, Deletion, ModifyNatGateway};
use crate::model::route_table::RouteTarget;
use crate::model::{Network, SubnetId};
use crate::topology::format::Topology;

/// A NAT gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatGateway {
    /// The subnet of its interface.
    pub subnet: Label,
    /// Whether it sends to the outside.
    pub connectivity: Connectivity,
    /// Its Elastic IP addresses, the primary one first.
    pub elastic_ips: Vec<Label>,
    /// Its private addresses, the primary one first.
    pub ipv4: Option<Vec<Ipv4Addr>>,
    /// Tags.
    pub tags: Tags,
}

impl Described for NatGateway {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            field("subnet", &self.subnet),
            field("connectivity", self.connectivity.name()),
            field("elastic_ips", list(&self.elastic_ips)),
            ("ipv4".to_owned(), self.ipv4.as_ref().map(list)),
        ];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        let mut fields = Self::default().fields();
        fields.retain(|(name, _)| name != "connectivity");
        fields
    }

    fn can_change(field: &str) -> bool {
        field.starts_with("tag")
    }
}

impl Layout {
    /// Adds the NAT gateways that a topology wants.
    pub(super) fn want_nats(&mut self, topology: &Topology) {
        for (label, gateway) in &topology.nat_gateways {
            let fields = &gateway.value;
            let gateway = NatGateway {
                subnet: fields.subnet.value.clone(),
                connectivity: fields.connectivity,
                elastic_ips: fields.elastic_ips.iter().map(|address| address.value.clone()).collect(),
                ipv4: (!fields.ipv4.is_empty()).then(|| fields.ipv4.iter().map(|address| address.value).collect()),
                tags: fields.tags.clone(),
            };
            self.nat_gateways.insert(label.clone(), gateway);
        }
    }

    /// Adds the NAT gateways that run. One that is deleted or has failed is not there any more.
    pub(super) fn have_nats(&mut self, network: &Network, subnets: &std::collections::BTreeMap<SubnetId, Label>) {
        for gateway in network.nat_gateways().filter(|gateway| !gateway.state.is_over()) {
            let allocations = gateway.addresses.iter().filter_map(|address| address.allocation);
            let elastic_ips = allocations.filter_map(|(id, ..)| {
                let address = network.elastic_ip(&id.into()).ok()?;
                Some(label(address.name.as_ref(), address.id))
            });
            let found = NatGateway {
                subnet: subnets.get(&gateway.subnet_id).cloned().unwrap_or_default(),
                connectivity: gateway.connectivity,
                elastic_ips: elastic_ips.collect(),
                ipv4: Some(gateway.addresses.iter().map(|address| address.private_ip).collect()),
                tags: gateway.tags.clone(),
            };
            self.nat_gateways
                .insert(label(gateway.name.as_ref(), gateway.id), found);
        }
    }
}

/// The gateway that is the target of a route, by kind and label; `None` for one that is gone.
pub(super) fn gateway_target(network: &Network, target: RouteTarget) -> Option<Target> {
    let (kind, label) = match target {
        RouteTarget::InternetGateway(id) => {
            let gateway = network.internet_gateway(&id.into()).ok()?;
            (Kind::InternetGateway, label(gateway.name.as_ref(), gateway.id))
        }
        RouteTarget::NatGateway(id) => {
            let gateway = network
                .nat_gateway(&id.into())
                .ok()
                .filter(|gateway| !gateway.state.is_over())?;
            (Kind::NatGateway, label(gateway.name.as_ref(), gateway.id))
        }
        RouteTarget::EgressOnly(id) => {
            let gateway = network.egress_only_gateway(&id.into()).ok()?;
            (Kind::EgressOnlyGateway, label(gateway.name.as_ref(), gateway.id))
        }
        RouteTarget::Peering(id) => {
            let peering = network
                .peering(&id.into())
                .ok()
                .filter(|peering| !peering.state.is_over())?;
            (Kind::Peering, label(peering.name.as_ref(), peering.id))
        }
        RouteTarget::Local | RouteTarget::Interface(_) | RouteTarget::Blackhole => return None,
    };
    Some(Target::Gateway(kind, label))
}

impl Running {
    /// Calls a NAT gateway without a name as the file does.
    pub(super) fn align_nats(&mut self, desired: &Layout) {
        for (label, gateway) in &desired.nat_gateways {
            let same = |_: &Label, other: &NatGateway| {
                gateway.subnet == other.subnet && gateway.elastic_ips == other.elastic_ips
            };
            let (running, wanted) = (&self.layout.nat_gateways, &desired.nat_gateways);
            let found = stand_in(Kind::NatGateway, label, running, wanted, same);
            self.rename(Kind::NatGateway, found, label);
        }
    }
}

impl Steps {
    /// NAT gateways go before their Elastic IP addresses and their subnets.
    pub(super) fn take_nats_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        for (label, _) in with(judged, Kind::NatGateway, &now.nat_gateways, Fate::ends) {
            self.at_edge(judged, EdgeStep::DeleteNat(label.clone()));
        }
    }

    pub(super) fn make_nats(&mut self, judged: &Judged<'_>) {
        for (label, gateway) in &judged.desired.nat_gateways {
            let step = match judged.fate(Kind::NatGateway, label) {
                fate if fate.begins() => EdgeStep::CreateNat(label.clone(), gateway.clone()),
                Fate::Alter => EdgeStep::TagNat(label.clone(), gateway.tags.clone()),
                _ => continue,
            };
            self.at_edge(judged, step);
        }
    }
}

impl<S: Stage> Work<'_, S> {
    pub(super) fn create_nat(&mut self, label: &str, gateway: &NatGateway) -> Result<(), StepError> {
        let addresses = gateway.elastic_ips.iter();
        let command = CreateNatGateway {
            name: name(Kind::NatGateway, label),
            connectivity: gateway.connectivity,
            allocations: addresses
                .map(|address| self.reference(Kind::ElasticIp, address))
                .collect(),
            private_ips: gateway.ipv4.clone().unwrap_or_default(),
            tags: gateway.tags.clone(),
            ..CreateNatGateway::new(
                self.reference::<SubnetId>(Kind::Subnet, &gateway.subnet),
                SystemTime::now(),
            )
        };
        let made = self.make(Kind::NatGateway, label, command)?;
        self.remember(Kind::NatGateway, label, made.id);
        Ok(())
    }

    pub(super) fn tag_nat(&mut self, label: &str, tags: &Tags) -> Result<(), StepError> {
        self.run(ModifyNatGateway {
            gateway: self.reference(Kind::NatGateway, label),
            name: None,
            tags: Some(tags.clone()),
        })
    }

    pub(super) fn delete_nat(&mut self, label: &str) -> Result<(), StepError> {
        self.run(DeleteNatGateway {
            gateway: self.reference(Kind::NatGateway, label),
            to: Deletion::Forgotten,
            at: SystemTime::now(),
        })
    }
}

/// Writes NAT gateways into a file.
pub(super) fn export_nats(layout: &Layout, file: &mut Map<String, Value>) {
    let gateways = layout.nat_gateways.iter().map(|(label, gateway)| {
        let mut fields = Map::new();
        fields.insert("subnet".to_owned(), json!(gateway.subnet));
        if gateway.connectivity == Connectivity::Private {
            fields.insert("connectivity".to_owned(), json!(gateway.connectivity));
        }
        if !gateway.elastic_ips.is_empty() {
            fields.insert("elastic_ips".to_owned(), json!(gateway.elastic_ips));
        }
        fields.extend(gateway.ipv4.as_ref().map(|ipv4| ("ipv4".to_owned(), json!(ipv4))));
        put_tags(&mut fields, &gateway.tags);
        (label.clone(), Value::Object(fields))
    });
    put(file, "nat_gateways", gateways.collect());
}
