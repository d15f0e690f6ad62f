//! Reads the running layout from the Controller and the lab.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::desired::ranges;
use super::filters;
use super::layout::{
    Instance, Interface, Kind, Label, Layout, OptionSet, OptionsChoice, RouteTable, Subnet, Target, Vpc,
};
use super::nat::gateway_target;
use crate::control::OpenPort;
use crate::lab;
use crate::model::dhcp_options::DhcpOptions;
use crate::model::ids::ResourceId;
use crate::model::outside;
use crate::model::route_table::RouteTarget;
use crate::model::{self, AddressOrPrefix, InstanceId, InterfaceId, Network, NetworkInterface, ResourceRef};
use crate::runtime::{HostSpec, is_link};
use crate::topology::format::{Configure, LinkLocal, outside_subnet};

/// The running network.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// Its layout.
    pub layout: Layout,
    /// The devices of interfaces outside the lab: a plan that removes such an interface closes its device.
    pub devices: BTreeMap<Label, String>,
    /// Identifiers of unnamed resources that have another label in the file.
    pub aliases: BTreeMap<(Kind, Label), String>,
}

/// What is without a name stands under its identifier.
pub(super) fn label<T: ResourceId>(name: Option<&String>, id: T) -> Label {
    name.cloned().unwrap_or_else(|| id.to_string())
}

impl Running {
    /// Reads it from the declared network, and from the specs of the lab's hosts.
    pub fn of(network: &Network, ports: &HashMap<InterfaceId, OpenPort>, hosts: &[HostSpec]) -> Self {
        let sets: Vec<_> = network.dhcp_option_sets().collect();
        let vpcs: Vec<_> = network.vpcs().collect();
        let subnets: Vec<_> = network.subnets().collect();
        let interfaces = network.interfaces(None).chain(network.outside_hosts());
        // Those of NAT gateways come and go with them, and that of the machine's own device with the server.
        let interfaces = interfaces.filter(|interface| interface.managed_by.is_none() && !is_link(interface));
        let interfaces: Vec<_> = interfaces.collect();
        let vpc_labels: BTreeMap<_, _> = vpcs.iter().map(|v| (v.id, label(v.name.as_ref(), v.id))).collect();
        let mut subnet_labels: BTreeMap<_, _> = subnets.iter().map(|s| (s.id, label(s.name.as_ref(), s.id))).collect();
        subnet_labels.insert(outside::SUBNET, outside_subnet());
        let interface_labels: BTreeMap<_, _> = interfaces
            .iter()
            .map(|i| (i.id, label(i.name.as_ref(), i.id)))
            .collect();
        let mut running = Self::default();
        let layout = &mut running.layout;
        for set in sets.iter().filter(|set| !set.default) {
            let own = label(set.name.as_ref(), set.id);
            let set = OptionSet {
                options: DhcpOptions::clone(&set.options),
                tags: set.tags.clone(),
            };
            layout.dhcp_options.insert(own, set);
        }
        for vpc in vpcs {
            let set = vpc.dhcp_options_id.and_then(|id| sets.iter().find(|set| set.id == id));
            let vpc_layout = Vpc {
                cidr_blocks: vpc.cidr_blocks.clone(),
                ipv6_cidr_blocks: vpc.ipv6_cidr_blocks.clone(),
                profile: Arc::clone(&vpc.profile),
                dhcp_options: match set {
                    None => OptionsChoice::None,
                    Some(set) if set.default => OptionsChoice::Region,
                    Some(set) => OptionsChoice::Set(label(set.name.as_ref(), set.id)),
                },
                tags: vpc.tags.clone(),
            };
            layout.vpcs.insert(vpc_labels[&vpc.id].clone(), vpc_layout);
        }
        for subnet in subnets {
            let subnet_layout = Subnet {
                vpc: vpc_labels.get(&subnet.vpc_id).cloned().unwrap_or_default(),
                cidr_block: subnet.cidr_block,
                ipv6_cidr_block: subnet.ipv6_cidr_block,
                availability_zone: Some(subnet.availability_zone.clone()),
                router_mac: Some(subnet.router_mac),
                map_public_ip_on_launch: subnet.map_public_ip_on_launch,
                enable_dns64: subnet.enable_dns64,
                tags: subnet.tags.clone(),
            };
            layout.subnets.insert(subnet_labels[&subnet.id].clone(), subnet_layout);
        }
        layout.have_edge(network, &vpc_labels, &interface_labels);
        layout.have_nats(network, &subnet_labels);
        layout.have_links(network, &vpc_labels);
        layout.have_endpoints(network, &vpc_labels);
        layout.have_block(network, &vpc_labels, &subnet_labels);
        for host in hosts {
            let interface = match &host.interface {
                ResourceRef::Id(id) => interface_labels.get(id).cloned().unwrap_or_else(|| id.to_string()),
                ResourceRef::Name(name, _) => name.to_string(),
            };
            layout.instances.insert(host.name.clone(), instance(host, interface));
        }
        let hosted: BTreeSet<&Label> = layout.instances.values().map(|instance| &instance.interface).collect();
        for interface in &interfaces {
            let own = &interface_labels[&interface.id];
            let attachment = interface.attachment.as_ref().filter(|_| !hosted.contains(own));
            let attached_to = attachment.and_then(|attachment| host_of(network, attachment.instance_id, hosts));
            if attachment.is_some() && attached_to.is_none() {
                let device = ports.get(&interface.id).map(|port| port.device.clone());
                running
                    .devices
                    .insert(own.clone(), device.unwrap_or_else(|| "its instance".to_owned()));
            }
            let subnet = subnet_labels.get(&interface.subnet_id).cloned().unwrap_or_default();
            let interface = Interface {
                attached_to,
                ..interface_layout(interface, subnet)
            };
            layout.interfaces.insert(own.clone(), interface);
        }
        for table in network.route_tables() {
            let vpc = vpc_labels.get(&table.vpc_id).cloned().unwrap_or_default();
            let ranges = layout.vpcs.get(&vpc).map(ranges).unwrap_or_default();
            let routes = table.routes.iter().map(|route| {
                let target = match route.target {
                    RouteTarget::Local => Target::Local,
                    RouteTarget::Blackhole => Target::Blackhole,
                    RouteTarget::Interface(id) => interface_labels
                        .get(&id)
                        .cloned()
                        .map_or(Target::Blackhole, Target::Interface),
                    gateway => gateway_target(network, gateway).unwrap_or(Target::Blackhole),
                };
                (route.destination, target)
            });
            let table_layout = RouteTable {
                vpc,
                main: table.main,
                subnets: table
                    .subnet_ids
                    .iter()
                    .filter_map(|id| subnet_labels.get(id).cloned())
                    .collect(),
                gateways: network
                    .gateways_of_table(table.id)
                    .map(|gateway| label(gateway.name.as_ref(), gateway.id))
                    .collect(),
                routes: routes
                    .filter(|(to, target)| *target != Target::Local || !ranges.contains(to))
                    .collect(),
                tags: table.tags.clone(),
            };
            layout
                .route_tables
                .insert(label(table.name.as_ref(), table.id), table_layout);
        }
        let known = filters::Known {
            vpcs: &vpc_labels,
            subnets: &subnet_labels,
            interfaces: &interface_labels,
        };
        layout.have_flow_logs(network, &known);
        filters::read(network, &known, layout);
        running
    }
}

/// The name of an instance's host.
fn host_of(network: &Network, instance: InstanceId, hosts: &[HostSpec]) -> Option<Label> {
    let primary = network.instance(&instance.into()).ok()?.primary_interface_id;
    let mut hosts = hosts.iter();
    let host = hosts.find(|host| host.interface_id() == Some(primary))?;
    Some(host.name.clone())
}

fn instance(host: &HostSpec, interface: Label) -> Instance {
    Instance {
        interface,
        configure: match host.configured {
            true => Configure::Static,
            false => Configure::None,
        },
        link_local: match host.link_local {
            lab::LinkLocal::Eui64 => LinkLocal::Eui64,
            lab::LinkLocal::StablePrivacy => LinkLocal::StablePrivacy,
            lab::LinkLocal::None => LinkLocal::None,
        },
        accept_ra: host.accept_ra,
        dad: host.dad,
        api: host.api,
    }
}

fn interface_layout(interface: &NetworkInterface, subnet: Label) -> Interface {
    let ipv4_prefixes = interface
        .ipv4_prefixes
        .iter()
        .map(|net| AddressOrPrefix::new((*net).into()));
    let ipv6_prefixes = interface
        .ipv6_prefixes
        .iter()
        .map(|net| AddressOrPrefix::new((*net).into()));
    Interface {
        subnet,
        mac: Some(interface.mac_address),
        ipv4: Some(interface.ipv4_addresses.clone()),
        ipv6: Some(interface.ipv6_addresses.clone()),
        prefixes: ipv4_prefixes.chain(ipv6_prefixes).filter_map(Result::ok).collect(),
        source_dest_check: interface.source_dest_check,
        groups: Vec::new(),
        mtu: interface.settings.mtu,
        ntp_skew: interface.settings.ntp_skew,
        allowances: interface.settings.allowances,
        tracking: interface.settings.tracking,
        metadata: interface.metadata.clone(),
        attached_to: None,
        description: interface.description.clone(),
        tags: interface.tags.clone(),
    }
}

impl RouteTable {
    /// Whether it is in the initial state of a VPC's table: main, without a name and with local routes only.
    pub(super) fn is_untouched(&self, label: &str) -> bool {
        self.main && unnamed(Kind::RouteTable, label) && self.says_nothing()
    }

    /// Whether it has local routes only and no explicit associations.
    pub(super) fn says_nothing(&self) -> bool {
        self.subnets.is_empty() && self.gateways.is_empty() && self.routes.is_empty() && self.tags.is_empty()
    }
}

/// Whether a label is the identifier of a resource without a name.
pub(super) fn unnamed(kind: Kind, label: &str) -> bool {
    fn is<T: model::ids::ResourceId>(label: &str) -> bool {
        label.parse::<T>().is_ok()
    }
    match kind {
        Kind::DhcpOptions => is::<model::DhcpOptionsId>(label),
        Kind::Vpc => is::<model::VpcId>(label),
        Kind::Subnet => is::<model::SubnetId>(label),
        Kind::PrefixList => is::<model::PrefixListId>(label),
        Kind::SecurityGroup => is::<model::SecurityGroupId>(label),
        Kind::NetworkAcl => is::<model::NetworkAclId>(label),
        Kind::Interface => is::<model::InterfaceId>(label),
        Kind::RouteTable => is::<model::RouteTableId>(label),
        Kind::InternetGateway => is::<model::InternetGatewayId>(label),
        Kind::ElasticIp => is::<model::AllocationId>(label),
        Kind::FlowLog => is::<model::FlowLogId>(label),
        Kind::NatGateway => is::<model::NatGatewayId>(label),
        Kind::EgressOnlyGateway => is::<model::EgressOnlyGatewayId>(label),
        Kind::Peering => is::<model::PeeringId>(label),
        Kind::Endpoint => is::<model::EndpointId>(label),
        Kind::Instance | Kind::BlockPublicAccess => false,
    }
}
