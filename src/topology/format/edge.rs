//! The part of a topology file that is about the edge of VPCs: internet gateways, Elastic IP addresses, and the hosts of the
//! outside.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::check::Given;
use super::{Configure, InstanceTopology, LinkLocal, SubnetTopology, Topology, VpcTopology, is_word, yes};
use crate::file::diagnostic::Mistake;
use crate::lab::ApiAccess;
use crate::model::elastic_ip::RANGES;
use crate::model::naming::Tags;
use crate::model::{AllocationId, InternetGatewayId, outside};

/// An internet gateway.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InternetGateway)]
pub struct InternetGatewayTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "igw-0a1b2c3d4e5f60718")]
    pub id: Option<InternetGatewayId>,
    /// The name of the VPC that it is attached to; none when left out.
    #[schema(value_type = Option<String>)]
    pub vpc: Option<Spanned<String>>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// An Elastic IP address.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ElasticIp)]
pub struct ElasticIpTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "eipalloc-0a1b2c3d4e5f60718")]
    pub id: Option<AllocationId>,
    /// The address, of 203.0.113.0/24, 192.0.2.0/24 or 198.18.0.0/15; a free one is chosen when left out.
    #[schema(value_type = Option<String>, example = "203.0.113.10")]
    pub public: Option<Spanned<Ipv4Addr>>,
    /// The instance or network interface that it is associated with; none when left out.
    #[schema(value_type = Option<String>)]
    pub to: Option<Spanned<String>>,
    /// The private address there; the primary one when left out.
    #[schema(value_type = Option<String>, example = "10.0.1.50")]
    pub private: Option<Spanned<Ipv4Addr>>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A host of the outside: a network namespace with public addresses, beyond all internet gateways.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OutsideHost)]
pub struct OutsideTopology {
    /// IPv4 addresses of 198.51.100.0/24; one is chosen when left out.
    #[schema(value_type = Option<Vec<String>>, example = json!(["198.51.100.7"]))]
    pub ipv4: Option<Vec<Spanned<Ipv4Addr>>>,
    /// IPv6 addresses of 3fff:198::/64; one is chosen when left out, `[]` for none.
    #[schema(value_type = Option<Vec<String>>, example = json!(["3fff:198::7"]))]
    pub ipv6: Option<Vec<Spanned<Ipv6Addr>>>,
    /// The longest IP packet that it takes; 1500 when left out.
    pub mtu: Option<u16>,
    /// Whether its kernel first probes for duplicates of its IPv6 addresses, which takes 1 to 2 s.
    #[serde(default = "yes")]
    pub dad: bool,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// The label of the subnet that the hosts of the outside are in.
pub(in crate::topology) fn outside_subnet() -> String {
    outside::SUBNET.to_string()
}

/// The label of the VPC of that subnet.
pub(in crate::topology) fn outside_vpc() -> String {
    outside::VPC.to_string()
}

impl Topology {
    /// Puts the hosts of the outside among the instances, in the subnet that stands for the outside. From there on they are
    /// hosts like others.
    pub(crate) fn place_outside(&mut self) {
        let Some(place) = self.outside.values().next().map(|host| host.referenced) else {
            return;
        };
        fn at<T>(value: T, place: serde_saphyr::Location) -> Spanned<T> {
            Spanned::new(value, place, place)
        }
        let vpc = VpcTopology {
            id: None,
            cidr_blocks: vec![at(outside::IPV4, place)],
            ipv6_cidr_blocks: vec![at(outside::IPV6, place)],
            profile: None,
            dhcp_options: None,
            tags: Tags::new(),
        };
        let subnet = SubnetTopology {
            id: None,
            vpc: at(outside_vpc(), place),
            cidr_block: Some(at(outside::IPV4, place)),
            ipv6_cidr_block: Some(at(outside::IPV6, place)),
            availability_zone: None,
            router_mac: None,
            map_public_ip_on_launch: false,
            enable_dns64: false,
            tags: Tags::new(),
        };
        self.vpcs.insert(outside_vpc(), at(vpc, place));
        self.subnets.insert(outside_subnet(), at(subnet, place));
        for (name, host) in &self.outside {
            let place = host.referenced;
            let fields = host.value.clone();
            let host = InstanceTopology {
                id: None,
                instance_tags: Tags::new(),
                groups: None,
                subnet: at(outside_subnet(), place),
                mac: None,
                ipv4: fields.ipv4,
                ipv6: fields.ipv6,
                prefixes: Vec::new(),
                source_dest_check: true,
                mtu: fields.mtu,
                ntp_skew: None,
                allowances: None,
                tracking: None,
                metadata: None,
                interface: None,
                description: fields.description,
                tags: fields.tags,
                configure: Configure::Static,
                link_local: LinkLocal::Eui64,
                accept_ra: true,
                dad: fields.dad,
                api: ApiAccess::None,
            };
            // A name that an instance has as well is a mistake of the file.
            self.instances.entry(name.clone()).or_insert_with(|| at(host, place));
        }
    }
}

/// All mistakes about the edge.
pub(super) fn check_edge(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    for (name, host) in &topology.outside {
        let taken = topology
            .instances
            .get(name)
            .filter(|other| other.value.subnet.value != outside_subnet());
        if taken.is_some() {
            let message = format!("an instance is called `{name}` already");
            mistakes
                .push(Mistake::at(host.referenced, message).help("choose another name for the host of the outside"));
        }
    }
    let mut vpcs = Given::new("internet gateway of");
    for (name, gateway) in &topology.internet_gateways {
        if is_word(name) || topology.interface_is_known(name) {
            let message = format!("`{name}` is a route's target already");
            mistakes
                .push(Mistake::at(gateway.referenced, message).help("choose another name for the internet gateway"));
        }
        let Some(vpc) = &gateway.value.vpc else { continue };
        vpcs.give(vpc.value.clone(), &vpc.value, vpc.referenced, mistakes);
        if !topology.vpcs.contains_key(&vpc.value) {
            let message = format!("no VPC is called `{}`", vpc.value);
            let known = topology.vpcs.keys().map(String::as_str);
            mistakes.push(Mistake::at(vpc.referenced, message).nearest(&vpc.value, known));
        }
    }
    let mut publics = Given::new("address");
    let mut privates = Given::new("Elastic IP address of");
    for address in topology.elastic_ips.values() {
        let fields = &address.value;
        if let Some(public) = &fields.public {
            publics.give(public.value, public.value, public.referenced, mistakes);
            if !RANGES.iter().any(|range| range.contains(&public.value)) {
                let message = format!("{} cannot be an Elastic IP address", public.value);
                let ranges = RANGES.map(|range| range.to_string()).join(", ");
                mistakes.push(Mistake::at(public.referenced, message).help(format!("choose one of {ranges}")));
            }
        }
        let Some(to) = &fields.to else {
            if let Some(private) = &fields.private {
                let message = "`private` is an address of what `to` names";
                mistakes.push(Mistake::at(private.referenced, message).help("write `to` as well"));
            }
            continue;
        };
        let private = fields.private.as_ref().map(|private| private.value);
        privates.give((to.value.clone(), private), &to.value, to.referenced, mistakes);
        let vpc = topology.vpc_of(&to.value);
        match vpc {
            None => {
                let message = format!("no instance is called `{}`", to.value);
                let known = topology.instances.keys().chain(topology.interfaces.keys());
                mistakes.push(Mistake::at(to.referenced, message).nearest(&to.value, known.map(String::as_str)));
            }
            Some(vpc) => {
                let mut gateways = topology.internet_gateways.values();
                let attached = gateways.any(|gateway| gateway.value.vpc.as_ref().is_some_and(|own| own.value == vpc));
                if !attached {
                    let message = format!("VPC `{vpc}` has no internet gateway");
                    let help = format!("write `internet_gateways: {{ igw: {{ vpc: {vpc} }} }}`");
                    mistakes.push(Mistake::at(to.referenced, message).help(help));
                }
            }
        }
    }
}

impl Topology {
    fn interface_is_known(&self, name: &str) -> bool {
        self.instances.contains_key(name) || self.interfaces.contains_key(name)
    }

    /// The VPC of an instance or interface.
    fn vpc_of(&self, name: &str) -> Option<String> {
        let label = self.interface_behind(name)?;
        let subnets: BTreeMap<&str, String> = self
            .network_interfaces()
            .map(|(name, _, interface)| (name, interface.subnet.value))
            .collect();
        let subnet = self.subnets.get(subnets.get(label)?)?;
        Some(subnet.value.vpc.value.clone())
    }
}
