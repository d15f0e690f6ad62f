//! A topology becomes commands to the Controller, and hosts.

use std::net::IpAddr;
use std::sync::Arc;

use super::format::{Configure, LinkLocal, RouteTableTopology, Topology, resolve_profile, route_target};
use super::template::Scope;
use crate::control::{Command, ControlError, Controller, ResourceCommand};
use crate::model::dhcp_options::{CreateDhcpOptions, DhcpOptionsChoice};
use crate::model::interface::{AddressRequest, CreateInterface, SettingsChange};
use crate::model::profile::ProfileError;
use crate::model::route_table::{CreateRouteTable, ModifyRouteTable, RouteEdit};
use crate::model::subnet::CreateSubnet;
use crate::model::vpc::CreateVpc;
use crate::model::{AddressOrPrefix, ResourceRef, RouteTableId};
use crate::runtime::{HostSpec, Runtime, RuntimeError};
use crate::{lab, model};

/// Why a topology cannot be made, with the resource that was refused.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// The Controller refused a resource.
    #[error("{kind} `{name}`: {source} {}", source.remedy())]
    Refused {
        /// `VPC`, `subnet` or `instance`.
        kind: &'static str,
        /// Its name in the file.
        name: String,
        /// Why.
        source: Box<ControlError>,
    },
    /// A profile that does not exist, named by a parameter.
    #[error("VPC `{name}`: {source}")]
    Profile {
        /// The VPC's name.
        name: String,
        /// Why.
        source: ProfileError,
    },
    /// The hosts.
    #[error(transparent)]
    Hosts(Box<RuntimeError>),
}

/// Makes the VPCs, subnets and interfaces of a topology, and its instances on them. The interface of an instance has
/// the instance's name.
pub fn declare(runtime: &Runtime, topology: &Topology, scope: &Scope) -> Result<(), DeclareError> {
    for command in commands(topology, scope)? {
        let Declaration { kind, name, command } = command;
        runtime
            .controller()
            .execute(command)
            .map_err(|source| DeclareError::Refused {
                kind,
                name,
                source: Box::new(source),
            })?;
    }
    for (name, table) in &topology.route_tables {
        let declared = declare_route_table(runtime.controller(), name, &table.value);
        declared.map_err(|source| DeclareError::Refused {
            kind: "route table",
            name: name.clone(),
            source: Box::new(source),
        })?;
    }
    let hosts_error = |error| DeclareError::Hosts(Box::new(error));
    runtime.create_hosts(&hosts(topology)).map_err(hosts_error)?;
    for (name, interface) in &topology.interfaces {
        if let Some(host) = &interface.value.attached_to {
            let attached = runtime.attach_to_host(&ResourceRef::new(name), &host.value, None);
            attached.map_err(hosts_error)?;
        }
    }
    Ok(())
}

/// A main table is the one that the VPC was made with, under its new name.
fn declare_route_table(controller: &Controller, name: &str, fields: &RouteTableTopology) -> Result<(), ControlError> {
    let vpc = ResourceRef::new(&fields.vpc.value);
    let command = if fields.main {
        let main = controller.vpc(&vpc)?.main_route_table_id;
        let change = ModifyRouteTable {
            name: Some(Some(name.to_owned())),
            ..ModifyRouteTable::default()
        };
        ResourceCommand::ModifyRouteTable(main.into(), change)
    } else {
        ResourceCommand::CreateRouteTable(CreateRouteTable {
            name: Some(name.to_owned()),
            vpc,
            tags: model::naming::Tags::new(),
        })
    };
    controller.execute(command.into())?;
    let table = ResourceRef::<RouteTableId>::new(name);
    for route in &fields.routes {
        let edit = RouteEdit::Put(route.to.value, route_target(&route.via.value));
        controller.execute(ResourceCommand::EditRoute(table.clone(), edit).into())?;
    }
    for subnet in &fields.subnets {
        let command = ResourceCommand::AssociateRouteTable {
            table: table.clone(),
            subnet: ResourceRef::new(&subnet.value),
        };
        controller.execute(command.into())?;
    }
    Ok(())
}

struct Declaration {
    kind: &'static str,
    name: String,
    command: Command,
}

fn commands(topology: &Topology, scope: &Scope) -> Result<Vec<Declaration>, DeclareError> {
    let mut commands = Vec::new();
    for (name, set) in &topology.dhcp_options {
        let command = ResourceCommand::CreateDhcpOptions(CreateDhcpOptions {
            name: Some(name.clone()),
            options: set.value.clone(),
            tags: model::naming::Tags::new(),
        });
        commands.push(Declaration {
            kind: "DHCP option set",
            name: name.clone(),
            command: command.into(),
        });
    }
    for (name, vpc) in &topology.vpcs {
        let profile = match &vpc.value.profile {
            Some(form) => resolve_profile(form, scope).map_err(|source| DeclareError::Profile {
                name: name.clone(),
                source,
            })?,
            None => model::Profile::aws(),
        };
        let command = Command::CreateVpc(CreateVpc {
            name: Some(name.clone()),
            cidr_blocks: vpc.value.cidr_blocks.iter().map(|block| block.value).collect(),
            ipv6_cidr_blocks: vpc.value.ipv6_cidr_blocks.iter().map(|block| block.value).collect(),
            profile: Arc::new(profile),
            dhcp_options: vpc.value.dhcp_options.as_ref().map(|set| match &*set.value {
                DhcpOptionsChoice::NONE => DhcpOptionsChoice::None,
                name => DhcpOptionsChoice::Set(ResourceRef::new(name)),
            }),
            tags: model::naming::Tags::new(),
        });
        commands.push(Declaration {
            kind: "VPC",
            name: name.clone(),
            command,
        });
    }
    for (name, subnet) in &topology.subnets {
        let command = Command::CreateSubnet(CreateSubnet {
            name: Some(name.clone()),
            vpc: ResourceRef::new(&subnet.value.vpc.value),
            cidr_block: subnet.value.cidr_block.as_ref().map(|block| block.value),
            ipv6_cidr_block: subnet.value.ipv6_cidr_block.as_ref().map(|block| block.value),
            availability_zone: subnet.value.availability_zone.clone(),
            router_mac: None,
            tags: model::naming::Tags::new(),
        });
        commands.push(Declaration {
            kind: "subnet",
            name: name.clone(),
            command,
        });
    }
    for (name, instance) in topology.all_interfaces() {
        let fields = &instance.value;
        let mut addresses: Vec<AddressRequest> = Vec::new();
        let given = fields.ipv4.iter().flatten().map(|address| IpAddr::from(address.value));
        let given = given.chain(fields.ipv6.iter().flatten().map(|address| IpAddr::from(address.value)));
        addresses.extend(given.map(|address| AddressRequest::Exactly(AddressOrPrefix::from(address))));
        let subnet = topology.subnets.get(&fields.subnet.value);
        if fields.ipv6.is_none() && subnet.is_some_and(|subnet| subnet.value.ipv6_cidr_block.is_some()) {
            addresses.push(AddressRequest::AnyIpv6);
        }
        addresses.extend(
            fields
                .prefixes
                .iter()
                .map(|prefix| AddressRequest::Exactly(prefix.value)),
        );
        let command = Command::CreateInterface(CreateInterface {
            name: Some(name.clone()),
            mac_address: fields.mac.as_ref().map(|mac| mac.value),
            source_dest_check: fields.source_dest_check,
            addresses,
            settings: SettingsChange {
                mtu: Some(fields.mtu),
                ntp_skew_ms: fields.ntp_skew_ms,
                metadata: fields.metadata.clone(),
            },
            ..CreateInterface::new(ResourceRef::new(&fields.subnet.value))
        });
        commands.push(Declaration {
            kind: match topology.instances.contains_key(name) {
                true => "instance",
                false => "interface",
            },
            name: name.clone(),
            command,
        });
    }
    Ok(commands)
}

fn hosts(topology: &Topology) -> Vec<HostSpec> {
    topology
        .instances
        .iter()
        .map(|(name, instance)| {
            let fields = &instance.value;
            HostSpec {
                configured: fields.configure == Configure::Static,
                link_local: match fields.link_local {
                    LinkLocal::Eui64 => lab::LinkLocal::Eui64,
                    LinkLocal::StablePrivacy => lab::LinkLocal::StablePrivacy,
                    LinkLocal::None => lab::LinkLocal::None,
                },
                accept_ra: fields.accept_ra,
                dad: fields.dad,
                ..HostSpec::new(name.clone(), ResourceRef::new(name))
            }
        })
        .collect()
}
