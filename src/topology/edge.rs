//! Internet gateways and Elastic IP addresses in a network that is wanted, that runs, and that is planned.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::apply::{Work, name};
use super::backend::{Stage, StepError};
use super::block::BlockPublicAccess;
use super::diff::{Fate, Judged};
use super::endpoints::EndpointStep;
use super::export::{put, put_tags};
use super::layout::{Described, Fields, Kind, Label, Layout, field, list, tags};
use super::links::LinkStep;
use super::matching::stand_in;
use super::nat::NatGateway;
use super::order::{Steps, with};
use super::plan::Step;
use super::running::{Running, label};
use crate::model::elastic_ip::{
    AllocateAddress, AssociateAddress, AssociateWith, AssociationRef, DisassociateAddress, ModifyAddress,
    ReleaseAddress,
};
use crate::model::internet_gateway::{
    AttachInternetGateway, CreateInternetGateway, DeleteInternetGateway, DetachInternetGateway, ModifyInternetGateway,
};
use crate::model::naming::Tags;
use crate::model::{InterfaceId, Network, VpcId};
use crate::topology::format::{Topology, outside_subnet, outside_vpc};

/// An internet gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InternetGateway {
    /// The VPC that it is attached to.
    pub vpc: Option<Label>,
    /// Tags.
    pub tags: Tags,
}

/// An Elastic IP address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElasticIp {
    /// The address.
    pub public: Option<Ipv4Addr>,
    /// The interface that it is associated with.
    pub to: Option<Label>,
    /// The private address there, where it is not the primary one.
    pub private: Option<Ipv4Addr>,
    /// Tags.
    pub tags: Tags,
}

impl Described for InternetGateway {
    fn fields(&self) -> Fields {
        let mut fields = vec![field("vpc", list(&self.vpc))];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        Self::default().fields()
    }

    fn can_change(_: &str) -> bool {
        true
    }
}

impl Described for ElasticIp {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            ("public".to_owned(), self.public.map(|address| address.to_string())),
            field("to", list(&self.to)),
            field(
                "private",
                self.private
                    .map_or_else(|| "the primary one".to_owned(), |own| own.to_string()),
            ),
        ];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        Self::default().fields()
    }

    fn can_change(field: &str) -> bool {
        field != "public"
    }
}

/// One thing to do about a gateway or an Elastic IP address.
#[derive(Debug, Clone, PartialEq)]
pub enum EdgeStep {
    /// Makes a gateway, attached to its VPC.
    CreateGateway(Label, InternetGateway),
    /// Attaches a gateway to a VPC.
    AttachGateway(Label, Label),
    /// Detaches a gateway.
    DetachGateway(Label),
    /// Gives a gateway other tags.
    TagGateway(Label, Tags),
    /// Deletes a gateway.
    DeleteGateway(Label),
    /// Allocates an address.
    Allocate(Label, ElasticIp),
    /// Associates an address with what it names.
    Associate(Label, ElasticIp),
    /// Ends the association of an address.
    Disassociate(Label),
    /// Gives an address other tags.
    TagAddress(Label, Tags),
    /// Releases an address.
    Release(Label),
    /// Makes a NAT gateway.
    CreateNat(Label, NatGateway),
    /// Gives a NAT gateway other tags.
    TagNat(Label, Tags),
    /// Deletes a NAT gateway, so that nothing is left of it.
    DeleteNat(Label),
    /// Something about an egress-only internet gateway or a peering connection.
    Link(LinkStep),
    /// Something about a gateway endpoint.
    Endpoint(EndpointStep),
    /// Sets what is blocked of the outside, and what is excluded from it.
    Block(Label, BlockPublicAccess),
}

impl EdgeStep {
    /// What it is about.
    pub(super) fn subject(&self) -> (Kind, &str) {
        match self {
            Self::CreateGateway(label, _)
            | Self::AttachGateway(label, _)
            | Self::DetachGateway(label)
            | Self::TagGateway(label, _)
            | Self::DeleteGateway(label) => (Kind::InternetGateway, label),
            Self::Allocate(label, _)
            | Self::Associate(label, _)
            | Self::Disassociate(label)
            | Self::TagAddress(label, _)
            | Self::Release(label) => (Kind::ElasticIp, label),
            Self::Link(step) => step.subject(),
            Self::Endpoint(step) => step.subject(),
            Self::Block(label, _) => (Kind::BlockPublicAccess, label),
            Self::CreateNat(label, _) | Self::TagNat(label, _) | Self::DeleteNat(label) => (Kind::NatGateway, label),
        }
    }
}

impl Layout {
    /// Adds what a topology wants of the edge. The VPC and the subnet of the outside are always there, and not planned.
    pub(super) fn want_edge(&mut self, topology: &Topology) {
        self.vpcs.remove(&outside_vpc());
        self.subnets.remove(&outside_subnet());
        for (label, gateway) in &topology.internet_gateways {
            let gateway = InternetGateway {
                vpc: gateway.value.vpc.as_ref().map(|vpc| vpc.value.clone()),
                tags: gateway.value.tags.clone(),
            };
            self.internet_gateways.insert(label.clone(), gateway);
        }
        for (label, address) in &topology.elastic_ips {
            let fields = &address.value;
            let to = fields.to.as_ref().map(|to| to.value.as_str());
            let to = to.map(|to| topology.interface_behind(to).unwrap_or(to).to_owned());
            let private = fields.private.as_ref().map(|private| private.value);
            let interface = to.as_ref().and_then(|to| self.interfaces.get(to));
            let primary = interface.and_then(|interface| interface.ipv4.as_ref()?.first().copied());
            let address = ElasticIp {
                public: fields.public.as_ref().map(|public| public.value),
                private: private.filter(|private| primary != Some(*private)),
                to,
                tags: fields.tags.clone(),
            };
            self.elastic_ips.insert(label.clone(), address);
        }
    }

    /// Adds what runs of the edge.
    pub(super) fn have_edge(
        &mut self,
        network: &Network,
        vpcs: &BTreeMap<VpcId, Label>,
        interfaces: &BTreeMap<InterfaceId, Label>,
    ) {
        for gateway in network.internet_gateways() {
            let own = label(gateway.name.as_ref(), gateway.id);
            let gateway = InternetGateway {
                vpc: gateway.vpc_id.and_then(|vpc| vpcs.get(&vpc).cloned()),
                tags: gateway.tags.clone(),
            };
            self.internet_gateways.insert(own, gateway);
        }
        for address in network.elastic_ips().filter(|address| !address.automatic) {
            let own = label(address.name.as_ref(), address.id);
            // A NAT gateway names its addresses itself.
            let association = address
                .association
                .filter(|at| interfaces.contains_key(&at.interface_id));
            let primary = association.and_then(|at| network.primaries(at.interface_id).0);
            let private = association.map(|at| at.private_ip);
            let address = ElasticIp {
                public: Some(address.public_ip),
                to: association.and_then(|at| interfaces.get(&at.interface_id).cloned()),
                private: private.filter(|_| private != primary),
                tags: address.tags.clone(),
            };
            self.elastic_ips.insert(own, address);
        }
    }
}

impl Running {
    /// Calls what runs without a name as the file does.
    pub(super) fn align_edge(&mut self, desired: &Layout) {
        for (label, gateway) in &desired.internet_gateways {
            let same = |_: &Label, other: &InternetGateway| gateway.vpc == other.vpc;
            let (running, wanted) = (&self.layout.internet_gateways, &desired.internet_gateways);
            let found = stand_in(Kind::InternetGateway, label, running, wanted, same);
            self.rename(Kind::InternetGateway, found, label);
        }
        for (label, address) in &desired.elastic_ips {
            let same = |_: &Label, other: &ElasticIp| address.public.is_some() && address.public == other.public;
            let found = stand_in(
                Kind::ElasticIp,
                label,
                &self.layout.elastic_ips,
                &desired.elastic_ips,
                same,
            );
            self.rename(Kind::ElasticIp, found, label);
        }
    }
}

/// Whether an address that lives on keeps its association.
fn stays(judged: &Judged<'_>, label: &str) -> bool {
    let now = judged.running.layout.elastic_ips.get(label);
    let then = match judged.fate(Kind::ElasticIp, label) {
        Fate::Keep => now,
        fate if fate.ends() => return false,
        _ => judged.desired.elastic_ips.get(label),
    };
    let at = |address: &ElasticIp| (address.to.clone(), address.private);
    let lives = |interface: &Label| !judged.fate(Kind::Interface, interface).ends();
    now.map(at) == then.map(at) && now.and_then(|now| now.to.as_ref()).is_none_or(lives)
}

/// Whether a gateway that lives on keeps its VPC.
fn keeps_vpc(judged: &Judged<'_>, label: &str) -> bool {
    let now = judged.running.layout.internet_gateways.get(label);
    let then = match judged.fate(Kind::InternetGateway, label) {
        Fate::Keep => now,
        fate if fate.ends() => return false,
        _ => judged.desired.internet_gateways.get(label),
    };
    let vpc = |gateway: &InternetGateway| gateway.vpc.clone();
    let lives = |vpc: &Label| !judged.fate(Kind::Vpc, vpc).ends();
    now.map(vpc) == then.map(vpc) && now.and_then(|now| now.vpc.as_ref()).is_none_or(lives)
}

impl Steps {
    pub(super) fn take_addresses_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        for (label, address) in &now.elastic_ips {
            if address.to.is_some() && !stays(judged, label) {
                self.at_edge(judged, EdgeStep::Disassociate(label.clone()));
            }
        }
        for (label, _) in with(judged, Kind::ElasticIp, &now.elastic_ips, Fate::ends) {
            self.at_edge(judged, EdgeStep::Release(label.clone()));
        }
    }

    /// A gateway goes after the instances, whose public addresses would hold it, and before its VPC.
    pub(super) fn take_gateways_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        for (label, gateway) in &now.internet_gateways {
            if gateway.vpc.is_some() && !keeps_vpc(judged, label) {
                self.at_edge(judged, EdgeStep::DetachGateway(label.clone()));
            }
        }
        for (label, _) in with(judged, Kind::InternetGateway, &now.internet_gateways, Fate::ends) {
            self.at_edge(judged, EdgeStep::DeleteGateway(label.clone()));
        }
    }

    pub(super) fn make_edge(&mut self, judged: &Judged<'_>) {
        let (now, desired) = (&judged.running.layout, judged.desired);
        for (label, gateway) in &desired.internet_gateways {
            let old = now.internet_gateways.get(label);
            let Some(old) = old.filter(|_| !judged.fate(Kind::InternetGateway, label).begins()) else {
                self.at_edge(judged, EdgeStep::CreateGateway(label.clone(), gateway.clone()));
                continue;
            };
            if let Some(vpc) = gateway.vpc.clone().filter(|_| !keeps_vpc(judged, label)) {
                self.at_edge(judged, EdgeStep::AttachGateway(label.clone(), vpc));
            }
            if old.tags != gateway.tags {
                self.at_edge(judged, EdgeStep::TagGateway(label.clone(), gateway.tags.clone()));
            }
        }
        for (label, address) in &desired.elastic_ips {
            let old = now.elastic_ips.get(label);
            match old.filter(|_| !judged.fate(Kind::ElasticIp, label).begins()) {
                None => self.at_edge(judged, EdgeStep::Allocate(label.clone(), address.clone())),
                Some(old) if old.tags != address.tags => {
                    self.at_edge(judged, EdgeStep::TagAddress(label.clone(), address.tags.clone()));
                }
                Some(_) => {}
            }
            if address.to.is_some() && !(old.is_some() && stays(judged, label)) {
                self.at_edge(judged, EdgeStep::Associate(label.clone(), address.clone()));
            }
        }
    }

    pub(super) fn at_edge(&mut self, judged: &Judged<'_>, step: EdgeStep) {
        let (kind, label) = step.subject();
        let label = label.to_owned();
        self.push(judged, kind, &label, Step::Edge(step));
    }
}

impl<S: Stage> Work<'_, S> {
    pub(super) fn take_at_edge(&mut self, step: &EdgeStep) -> Result<(), StepError> {
        match step {
            EdgeStep::CreateGateway(label, gateway) => {
                let command = CreateInternetGateway {
                    name: name(Kind::InternetGateway, label),
                    vpc: gateway.vpc.as_ref().map(|vpc| self.reference(Kind::Vpc, vpc)),
                    tags: gateway.tags.clone(),
                };
                let made = self.make(Kind::InternetGateway, label, command)?;
                self.remember(Kind::InternetGateway, label, made.id);
                Ok(())
            }
            EdgeStep::AttachGateway(label, vpc) => self.run(AttachInternetGateway {
                gateway: self.reference(Kind::InternetGateway, label),
                vpc: self.reference(Kind::Vpc, vpc),
            }),
            EdgeStep::DetachGateway(label) => self.run(DetachInternetGateway {
                gateway: self.reference(Kind::InternetGateway, label),
                vpc: None,
            }),
            EdgeStep::TagGateway(label, tags) => self.run(ModifyInternetGateway {
                gateway: self.reference(Kind::InternetGateway, label),
                name: None,
                tags: Some(tags.clone()),
            }),
            EdgeStep::DeleteGateway(label) => {
                self.run(DeleteInternetGateway(self.reference(Kind::InternetGateway, label)))
            }
            EdgeStep::Allocate(label, address) => {
                let command = AllocateAddress {
                    name: name(Kind::ElasticIp, label),
                    public_ip: address.public,
                    tags: address.tags.clone(),
                };
                let made = self.make(Kind::ElasticIp, label, command)?;
                self.remember(Kind::ElasticIp, label, made.id);
                Ok(())
            }
            EdgeStep::Associate(label, address) => self.run(AssociateAddress {
                address: self.reference(Kind::ElasticIp, label),
                with: AssociateWith::Interface(self.interface(address.to.as_deref().unwrap_or_default())),
                private_ip: address.private,
                reassociation_allowed: true,
            }),
            EdgeStep::Disassociate(label) => {
                let address = AssociationRef::Address(self.reference(Kind::ElasticIp, label));
                self.run(DisassociateAddress(address))
            }
            EdgeStep::TagAddress(label, tags) => self.run(ModifyAddress {
                address: self.reference(Kind::ElasticIp, label),
                name: None,
                tags: Some(tags.clone()),
            }),
            EdgeStep::Link(step) => self.take_link(step),
            EdgeStep::Endpoint(step) => self.take_endpoint(step),
            EdgeStep::Block(_, block) => self.take_block(block),
            EdgeStep::CreateNat(label, gateway) => self.create_nat(label, gateway),
            EdgeStep::TagNat(label, tags) => self.tag_nat(label, tags),
            EdgeStep::DeleteNat(label) => self.delete_nat(label),
            EdgeStep::Release(label) => self.run(ReleaseAddress(self.reference(Kind::ElasticIp, label))),
        }
    }
}

/// Writes the edge into a file.
pub(super) fn export_edge(layout: &Layout, file: &mut Map<String, Value>) {
    let gateways = layout.internet_gateways.iter().map(|(label, gateway)| {
        let mut fields = Map::new();
        fields.extend(gateway.vpc.as_ref().map(|vpc| ("vpc".to_owned(), json!(vpc))));
        put_tags(&mut fields, &gateway.tags);
        (label.clone(), Value::Object(fields))
    });
    put(file, "internet_gateways", gateways.collect());
    let addresses = layout.elastic_ips.iter().map(|(label, address)| {
        let mut fields = Map::new();
        for (name, value) in [
            ("public", json!(address.public)),
            ("to", json!(address.to)),
            ("private", json!(address.private)),
        ] {
            if !value.is_null() {
                fields.insert(name.to_owned(), value);
            }
        }
        put_tags(&mut fields, &address.tags);
        (label.clone(), Value::Object(fields))
    });
    put(file, "elastic_ips", addresses.collect());
}
