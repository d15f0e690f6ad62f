//! Reads the desired layout from the types of the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::layout::{Instance, Interface, Kind, Layout, OptionSet, OptionsChoice, RouteTable, Subnet, Target, Vpc};
use super::made_with::MadeWith;
use super::plan::Refusal;
use crate::control::ControlError;
use crate::file::template::Scope;
use crate::model::dhcp_options::DhcpOptionsChoice;
use crate::model::metadata::InstanceMetadata;
use crate::model::profile::ProfileError;
use crate::model::{ModelError, Profile};
use crate::topology::format::{InterfaceTopology, RouteTableTopology, Topology, VpcTopology, resolve_profile};

impl Layout {
    /// The desired layout of a topology. A parameter in the name of a profile is looked up in the scope.
    pub fn desired(topology: &Topology, scope: &Scope) -> Result<Self, Box<Refusal>> {
        let mut layout = Self {
            made_with: MadeWith::of(topology),
            ..Self::default()
        };
        for (label, set) in &topology.dhcp_options {
            let set = OptionSet {
                options: set.value.options(),
                tags: set.value.tags.clone(),
            };
            layout.dhcp_options.insert(label.clone(), set);
        }
        for (label, vpc) in &topology.vpcs {
            let vpc = desired_vpc(&vpc.value, scope).map_err(|error| Box::new(profile_refused(label, &error)))?;
            layout.vpcs.insert(label.clone(), vpc);
        }
        for (label, subnet) in &topology.subnets {
            let fields = &subnet.value;
            let subnet = Subnet {
                vpc: fields.vpc.value.clone(),
                cidr_block: fields.cidr_block.as_ref().map(|block| block.value),
                ipv6_cidr_block: fields.ipv6_cidr_block.as_ref().map(|block| block.value),
                availability_zone: fields.availability_zone.clone(),
                router_mac: fields.router_mac.as_ref().map(|mac| mac.value),
                map_public_ip_on_launch: fields.map_public_ip_on_launch,
                enable_dns64: fields.enable_dns64,
                tags: fields.tags.clone(),
            };
            layout.subnets.insert(label.clone(), subnet);
        }
        for (label, _, interface) in topology.network_interfaces() {
            let interface = desired_interface(interface)
                .map_err(|error| Refusal::new(Kind::Interface, label, &ControlError::from(error)))?;
            layout.interfaces.insert(label.to_owned(), interface);
        }
        layout.want_edge(topology);
        layout.want_flow_logs(topology);
        layout.want_nats(topology);
        layout.want_links(topology);
        layout.want_endpoints(topology);
        layout.want_block(topology);
        super::filters::resolve(topology, &mut layout);
        for (label, table) in &topology.route_tables {
            let ranges = layout.vpcs.get(&table.value.vpc.value).map(ranges);
            let table = desired_table(topology, &table.value, &ranges.unwrap_or_default());
            layout.route_tables.insert(label.clone(), table);
        }
        for (label, instance) in &topology.instances {
            let fields = &instance.value;
            let own = fields.interface.as_ref().map(|own| own.value.clone());
            let instance = Instance {
                interface: own.unwrap_or_else(|| label.clone()),
                configure: fields.configure,
                link_local: fields.link_local,
                accept_ra: fields.accept_ra,
                dad: fields.dad,
                api: fields.api,
            };
            layout.instances.insert(label.clone(), instance);
        }
        Ok(layout)
    }
}

/// The blocks of a VPC, for which it has local routes.
pub(super) fn ranges(vpc: &Vpc) -> Vec<IpNet> {
    let ipv4 = vpc.cidr_blocks.iter().copied().map(IpNet::V4);
    ipv4.chain(vpc.ipv6_cidr_blocks.iter().copied().map(IpNet::V6))
        .collect()
}

/// A wrong profile in the file was reported with its place; this one was named by a parameter.
fn profile_refused(label: &str, error: &ProfileError) -> Refusal {
    Refusal {
        kind: Kind::Vpc,
        name: label.to_owned(),
        field: Some("profile".to_owned()),
        code: "InvalidParameterValue".into(),
        message: error.to_string(),
        remedy: "GET /v1/profiles shows every profile with its fields.".to_owned(),
    }
}

fn desired_vpc(fields: &VpcTopology, scope: &Scope) -> Result<Vpc, ProfileError> {
    let profile = match &fields.profile {
        Some(form) => resolve_profile(form, scope)?,
        None => Profile::aws(),
    };
    let dhcp_options = fields.dhcp_options.as_ref().map(|set| match &*set.value {
        DhcpOptionsChoice::NONE => OptionsChoice::None,
        label => OptionsChoice::Set(label.to_owned()),
    });
    Ok(Vpc {
        cidr_blocks: fields.cidr_blocks.iter().map(|block| block.value).collect(),
        ipv6_cidr_blocks: fields.ipv6_cidr_blocks.iter().map(|block| block.value).collect(),
        profile: Arc::new(profile),
        dhcp_options: dhcp_options.unwrap_or_default(),
        tags: fields.tags.clone(),
    })
}

fn desired_interface(fields: InterfaceTopology) -> Result<Interface, ModelError> {
    let metadata = match fields.metadata {
        Some(change) => change.applied_to(InstanceMetadata::default())?,
        None => InstanceMetadata::default(),
    };
    fn values<T>(list: Vec<serde_saphyr::Spanned<T>>) -> Vec<T> {
        list.into_iter().map(|item| item.value).collect()
    }
    Ok(Interface {
        subnet: fields.subnet.value,
        mac: fields.mac.map(|mac| mac.value),
        ipv4: fields.ipv4.map(values),
        ipv6: fields.ipv6.map(values),
        prefixes: values(fields.prefixes),
        source_dest_check: fields.source_dest_check,
        groups: Vec::new(),
        mtu: fields.mtu,
        ntp_skew: fields.ntp_skew.unwrap_or_default(),
        allowances: fields.allowances,
        tracking: fields.tracking,
        metadata,
        attached_to: fields.attached_to.map(|host| host.value),
        description: fields.description,
        tags: fields.tags,
    })
}

fn desired_table(topology: &Topology, fields: &RouteTableTopology, ranges: &[IpNet]) -> RouteTable {
    let routes = fields.routes.iter().map(|route| {
        let target = match route.via.value.as_str() {
            "local" => Target::Local,
            "blackhole" => Target::Blackhole,
            via => match topology.gateway_kind(via) {
                Some(kind) => Target::Gateway(kind, via.to_owned()),
                None => Target::Interface(topology.interface_behind(via).unwrap_or(via).to_owned()),
            },
        };
        (route.to.value.trunc(), target)
    });
    // The VPC's own ranges are local anyway.
    let routes: BTreeMap<IpNet, Target> = routes
        .filter(|(to, target)| *target != Target::Local || !ranges.contains(to))
        .collect();
    RouteTable {
        vpc: fields.vpc.value.clone(),
        main: fields.main,
        subnets: fields.subnets.iter().map(|subnet| subnet.value.clone()).collect(),
        gateways: fields.gateways.iter().map(|gateway| gateway.value.clone()).collect(),
        routes,
        tags: fields.tags.clone(),
    }
}
