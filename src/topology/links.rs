//! Egress-only internet gateways and peering connections in a network that is wanted, that runs, and that is planned.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::apply::{Work, name};
use super::backend::{Stage, StepError};
use super::diff::{Fate, Judged};
use super::edge::EdgeStep;
use super::export::{put, put_tags};
use super::layout::{Described, Fields, Kind, Label, Layout, field, tags};
use super::matching::stand_in;
use super::order::{Steps, with};
use super::running::{Running, label};
use crate::model::egress_only::{CreateEgressOnlyGateway, DeleteEgressOnlyGateway, ModifyEgressOnlyGateway};
use crate::model::naming::Tags;
use crate::model::peering::{CreatePeering, ForgetPeering, ModifyPeering, PeeringState};
use crate::model::{Network, VpcId};
use crate::topology::format::Topology;

/// An egress-only internet gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressOnlyGateway {
    /// Its VPC.
    pub vpc: Label,
    /// Tags.
    pub tags: Tags,
}

/// A peering connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peering {
    /// The VPC that asks for it.
    pub requester: Label,
    /// The VPC that is asked.
    pub accepter: Label,
    /// Tags.
    pub tags: Tags,
}

impl Described for EgressOnlyGateway {
    fn fields(&self) -> Fields {
        let mut fields = vec![field("vpc", &self.vpc)];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        Self::default().fields()
    }

    fn can_change(field: &str) -> bool {
        field.starts_with("tag")
    }
}

impl Described for Peering {
    fn fields(&self) -> Fields {
        let mut fields = vec![field("requester", &self.requester), field("accepter", &self.accepter)];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        Self::default().fields()
    }

    fn can_change(field: &str) -> bool {
        field.starts_with("tag")
    }
}

/// One thing to do about an egress-only internet gateway or a peering connection.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkStep {
    /// Makes a gateway.
    CreateEgressOnly(Label, EgressOnlyGateway),
    /// Gives a gateway other tags.
    TagEgressOnly(Label, Tags),
    /// Deletes a gateway.
    DeleteEgressOnly(Label),
    /// Makes a peering connection that is active.
    CreatePeering(Label, Peering),
    /// Gives a peering connection other tags.
    TagPeering(Label, Tags),
    /// Deletes a peering connection, so that nothing is left of it.
    DeletePeering(Label),
}

impl LinkStep {
    /// What it is about.
    pub(super) fn subject(&self) -> (Kind, &str) {
        match self {
            Self::CreateEgressOnly(label, _) | Self::TagEgressOnly(label, _) | Self::DeleteEgressOnly(label) => {
                (Kind::EgressOnlyGateway, label)
            }
            Self::CreatePeering(label, _) | Self::TagPeering(label, _) | Self::DeletePeering(label) => {
                (Kind::Peering, label)
            }
        }
    }
}

impl Layout {
    /// Adds what a topology wants of them.
    pub(super) fn want_links(&mut self, topology: &Topology) {
        for (label, gateway) in &topology.egress_only_gateways {
            let gateway = EgressOnlyGateway {
                vpc: gateway.value.vpc.value.clone(),
                tags: gateway.value.tags.clone(),
            };
            self.egress_only_gateways.insert(label.clone(), gateway);
        }
        for (label, peering) in &topology.peering_connections {
            let peering = Peering {
                requester: peering.value.requester.value.clone(),
                accepter: peering.value.accepter.value.clone(),
                tags: peering.value.tags.clone(),
            };
            self.peerings.insert(label.clone(), peering);
        }
    }

    /// Adds what runs of them. A peering connection that is not active is left out.
    pub(super) fn have_links(&mut self, network: &Network, vpcs: &BTreeMap<VpcId, Label>) {
        let vpc = |id: VpcId| vpcs.get(&id).cloned().unwrap_or_default();
        for gateway in network.egress_only_gateways() {
            let found = EgressOnlyGateway {
                vpc: vpc(gateway.vpc_id),
                tags: gateway.tags.clone(),
            };
            let own = label(gateway.name.as_ref(), gateway.id);
            self.egress_only_gateways.insert(own, found);
        }
        for peering in network
            .peerings()
            .filter(|peering| peering.state == PeeringState::Active)
        {
            let found = Peering {
                requester: vpc(peering.requester.vpc_id),
                accepter: vpc(peering.accepter.vpc_id),
                tags: peering.tags.clone(),
            };
            self.peerings.insert(label(peering.name.as_ref(), peering.id), found);
        }
    }
}

impl Running {
    /// Calls what runs without a name as the file does.
    pub(super) fn align_links(&mut self, desired: &Layout) {
        for (label, gateway) in &desired.egress_only_gateways {
            let same = |_: &Label, other: &EgressOnlyGateway| gateway.vpc == other.vpc;
            let (running, wanted) = (&self.layout.egress_only_gateways, &desired.egress_only_gateways);
            let found = stand_in(Kind::EgressOnlyGateway, label, running, wanted, same);
            self.rename(Kind::EgressOnlyGateway, found, label);
        }
        for (label, peering) in &desired.peerings {
            let same = |_: &Label, other: &Peering| {
                (&peering.requester, &peering.accepter) == (&other.requester, &other.accepter)
            };
            let found = stand_in(Kind::Peering, label, &self.layout.peerings, &desired.peerings, same);
            self.rename(Kind::Peering, found, label);
        }
    }
}

impl Judged<'_> {
    pub(super) fn judge_links(&mut self, running: &Layout) {
        let desired = self.desired;
        self.judge(
            Kind::EgressOnlyGateway,
            &desired.egress_only_gateways,
            &running.egress_only_gateways,
            |gateway, _| Some((Kind::Vpc, gateway.vpc.clone())),
        );
        self.judge(
            Kind::Peering,
            &desired.peerings,
            &running.peerings,
            |peering, judged| {
                let replaced = judged.fate(Kind::Vpc, &peering.accepter) == Fate::Replace;
                let vpc = if replaced {
                    &peering.accepter
                } else {
                    &peering.requester
                };
                Some((Kind::Vpc, vpc.clone()))
            },
        );
    }
}

impl Steps {
    /// They go before their VPCs.
    pub(super) fn take_links_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        for (label, _) in with(judged, Kind::Peering, &now.peerings, Fate::ends) {
            self.link(judged, LinkStep::DeletePeering(label.clone()));
        }
        for (label, _) in with(judged, Kind::EgressOnlyGateway, &now.egress_only_gateways, Fate::ends) {
            self.link(judged, LinkStep::DeleteEgressOnly(label.clone()));
        }
    }

    pub(super) fn make_links(&mut self, judged: &Judged<'_>) {
        for (label, gateway) in &judged.desired.egress_only_gateways {
            let step = match judged.fate(Kind::EgressOnlyGateway, label) {
                fate if fate.begins() => LinkStep::CreateEgressOnly(label.clone(), gateway.clone()),
                Fate::Alter => LinkStep::TagEgressOnly(label.clone(), gateway.tags.clone()),
                _ => continue,
            };
            self.link(judged, step);
        }
        for (label, peering) in &judged.desired.peerings {
            let step = match judged.fate(Kind::Peering, label) {
                fate if fate.begins() => LinkStep::CreatePeering(label.clone(), peering.clone()),
                Fate::Alter => LinkStep::TagPeering(label.clone(), peering.tags.clone()),
                _ => continue,
            };
            self.link(judged, step);
        }
    }

    fn link(&mut self, judged: &Judged<'_>, step: LinkStep) {
        self.at_edge(judged, EdgeStep::Link(step));
    }
}

impl<S: Stage> Work<'_, S> {
    pub(super) fn take_link(&mut self, step: &LinkStep) -> Result<(), StepError> {
        match step {
            LinkStep::CreateEgressOnly(label, gateway) => {
                let command = CreateEgressOnlyGateway {
                    name: name(Kind::EgressOnlyGateway, label),
                    vpc: self.reference(Kind::Vpc, &gateway.vpc),
                    tags: gateway.tags.clone(),
                };
                let made = self.make(Kind::EgressOnlyGateway, label, command)?;
                self.remember(Kind::EgressOnlyGateway, label, made.id);
                Ok(())
            }
            LinkStep::TagEgressOnly(label, tags) => self.run(ModifyEgressOnlyGateway {
                gateway: self.reference(Kind::EgressOnlyGateway, label),
                name: None,
                tags: Some(tags.clone()),
            }),
            LinkStep::DeleteEgressOnly(label) => {
                self.run(DeleteEgressOnlyGateway(self.reference(Kind::EgressOnlyGateway, label)))
            }
            LinkStep::CreatePeering(label, peering) => {
                let command = CreatePeering {
                    name: name(Kind::Peering, label),
                    requester: self.reference(Kind::Vpc, &peering.requester),
                    accepter: self.reference(Kind::Vpc, &peering.accepter),
                    accepted: true,
                    may_fail: false,
                    at: SystemTime::now(),
                    tags: peering.tags.clone(),
                };
                let made = self.make(Kind::Peering, label, command)?;
                self.remember(Kind::Peering, label, made.id);
                Ok(())
            }
            LinkStep::TagPeering(label, tags) => self.run(ModifyPeering {
                tags: Some(tags.clone()),
                ..ModifyPeering::new(self.reference::<crate::model::PeeringId>(Kind::Peering, label))
            }),
            LinkStep::DeletePeering(label) => self.run(ForgetPeering(self.reference(Kind::Peering, label))),
        }
    }
}

/// Writes them into a file.
pub(super) fn export_links(layout: &Layout, file: &mut Map<String, Value>) {
    let gateways = layout.egress_only_gateways.iter().map(|(label, gateway)| {
        let mut fields = Map::new();
        fields.insert("vpc".to_owned(), json!(gateway.vpc));
        put_tags(&mut fields, &gateway.tags);
        (label.clone(), Value::Object(fields))
    });
    put(file, "egress_only_gateways", gateways.collect());
    let peerings = layout.peerings.iter().map(|(label, peering)| {
        let mut fields = Map::new();
        fields.insert("requester".to_owned(), json!(peering.requester));
        fields.insert("accepter".to_owned(), json!(peering.accepter));
        put_tags(&mut fields, &peering.tags);
        (label.clone(), Value::Object(fields))
    });
    put(file, "peering_connections", peerings.collect());
}
