//! The part of a topology file that is about NAT gateways.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::check::Given;
use super::{Topology, is_word};
use crate::file::diagnostic::Mistake;
use crate::model::naming::Tags;
use crate::model::nat_gateway::Connectivity;
use crate::model::{InterfaceId, NatGatewayId};
use crate::topology::layout::Kind;

/// A NAT gateway.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NatGateway)]
pub struct NatGatewayTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "nat-0a1b2c3d4e5f60718")]
    pub id: Option<NatGatewayId>,
    /// The identifier that its interface is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "eni-0a1b2c3d4e5f60718")]
    pub interface_id: Option<InterfaceId>,
    /// The name of the subnet that its interface is in.
    #[schema(value_type = String)]
    pub subnet: Spanned<String>,
    /// `public`, with Elastic IP addresses, or `private`.
    #[serde(default)]
    #[schema(default = "public")]
    pub connectivity: Connectivity,
    /// The names of its Elastic IP addresses, the primary one first; none for a private one.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["egress"]))]
    pub elastic_ips: Vec<Spanned<String>>,
    /// Its private addresses, the primary one first; free ones are chosen when left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.220"]))]
    pub ipv4: Vec<Spanned<Ipv4Addr>>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// All mistakes about NAT gateways.
pub(super) fn check_nats(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    let mut addresses = Given::new("Elastic IP address of a NAT gateway");
    for (name, gateway) in &topology.nat_gateways {
        let fields = &gateway.value;
        let other = topology.gateway_kind(name).filter(|kind| *kind != Kind::NatGateway);
        if is_word(name) || topology.interface_behind(name).is_some() || other.is_some() {
            let message = format!("`{name}` is a route's target already");
            mistakes.push(Mistake::at(gateway.referenced, message).help("choose another name for the NAT gateway"));
        }
        let subnet = &fields.subnet;
        if !topology.subnets.contains_key(&subnet.value) {
            let message = format!("no subnet is called `{}`", subnet.value);
            let known = topology.subnets.keys().map(String::as_str);
            mistakes.push(Mistake::at(subnet.referenced, message).nearest(&subnet.value, known));
        }
        for address in &fields.elastic_ips {
            let Some(declared) = topology.elastic_ips.get(&address.value) else {
                let message = format!("no Elastic IP address is called `{}`", address.value);
                let known = topology.elastic_ips.keys().map(String::as_str);
                mistakes.push(Mistake::at(address.referenced, message).nearest(&address.value, known));
                continue;
            };
            addresses.give(address.value.clone(), &address.value, address.referenced, mistakes);
            if declared.value.to.is_some() {
                let message = format!("`{}` is associated with something else", address.value);
                mistakes
                    .push(Mistake::at(address.referenced, message).help("leave out its `to`, or use another address"));
            }
        }
        let (public, any) = (
            fields.connectivity == Connectivity::Public,
            !fields.elastic_ips.is_empty(),
        );
        if public != any {
            let (message, help) = match public {
                true => (
                    "a public NAT gateway needs an Elastic IP address",
                    "write `elastic_ips: [NAME]`, or `connectivity: private`",
                ),
                false => (
                    "a private NAT gateway has no Elastic IP address",
                    "leave out `elastic_ips` or `connectivity`",
                ),
            };
            mistakes.push(Mistake::at(gateway.referenced, message).help(help));
        }
    }
}

impl Topology {
    /// The kind of gateway that a route's target names.
    pub(in crate::topology) fn gateway_kind(&self, via: &str) -> Option<Kind> {
        let kinds = [
            (Kind::InternetGateway, self.internet_gateways.contains_key(via)),
            (Kind::NatGateway, self.nat_gateways.contains_key(via)),
            (Kind::EgressOnlyGateway, self.egress_only_gateways.contains_key(via)),
            (Kind::Peering, self.peering_connections.contains_key(via)),
        ];
        kinds.into_iter().find_map(|(kind, named)| named.then_some(kind))
    }

    /// The names of all gateways.
    pub(crate) fn gateway_names(&self) -> impl Iterator<Item = &String> {
        let gateways = self.internet_gateways.keys().chain(self.nat_gateways.keys());
        gateways
            .chain(self.egress_only_gateways.keys())
            .chain(self.peering_connections.keys())
    }
}
