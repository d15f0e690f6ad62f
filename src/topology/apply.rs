//! Carries out a plan: each step becomes a command to the Controller, or starts or ends a host. Every step is tried on
//! a copy first, so a refusal changes nothing; only the kernel, or a concurrent edit, can stop a plan midway.

use std::collections::BTreeMap;

use super::backend::{Live, Rehearsed, Stage, StepError};
use super::filters;
use super::layout::{Interface, Kind, Label, Layout, OptionsChoice, Subnet, Target, Vpc};
use super::made_with::MadeWith;
use super::matching::align;
use super::plan::{AnyAddress, Change, Edit, Extras, Plan, Refusal, Step};
use super::running::{Running, unnamed};
use crate::control::ControlError;
use crate::lab;
use crate::model::dhcp_options::{CreateDhcpOptions, DeleteDhcpOptions, DhcpOptionsChoice};
use crate::model::ids::ResourceId;
use crate::model::interface::{
    AddressRequest, CreateInterface, DeleteInterface, DetachInterface, ModifyInterface, SettingsChange,
};
use crate::model::mapping::{AssignAddresses, EditMappings, MappingEdit};
use crate::model::metadata::MetadataChange;
use crate::model::naming::Tags;
use crate::model::route_table::{
    AssociateGatewayTable, AssociateRouteTable, CreateRouteTable, DeleteRouteTable, DisassociateGatewayTable,
    DisassociateRouteTable, EditRoute, ModifyRouteTable, RouteEdit, TargetRef,
};
use crate::model::subnet::{CreateSubnet, DeleteSubnet, ModifySubnet};
use crate::model::vpc::{CreateVpc, DeleteVpc, ModifyVpc};
use crate::model::{AddressOrPrefix, Command, InterfaceId, ResourceRef, RouteTableId, SubnetId};
use crate::runtime::HostSpec;
use crate::topology::format::{Configure, LinkLocal};

/// A plan that was stopped.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{refusal}")]
pub struct Stopped {
    /// The cause.
    pub refusal: Refusal,
    /// The changes that were made.
    pub applied: Vec<Change>,
    /// The changes that were made in part.
    pub partly: Vec<Change>,
    /// The changes that were not made.
    pub not_applied: Vec<Change>,
}

/// The plan, and whether it would be refused.
pub fn plan(live: Live<'_>, desired: &Layout, extras: Extras) -> Plan {
    let mut copy = Rehearsed::of(live);
    let mut plan = Plan::new(desired, copy.running(), extras);
    if plan.refusal.is_none()
        && let Err(stopped) = plan.carry_out(&mut copy)
    {
        plan.refusal = Some(stopped.refusal);
    }
    plan
}

/// Changes the running network to the desired one, and returns the plan.
pub fn apply(mut live: Live<'_>, desired: &Layout, extras: Extras) -> Result<Plan, Box<Stopped>> {
    let plan = plan(live, desired, extras);
    if let Some(refusal) = &plan.refusal {
        return Err(Box::new(Stopped {
            refusal: refusal.clone(),
            applied: Vec::new(),
            partly: Vec::new(),
            not_applied: plan.changes,
        }));
    }
    plan.carry_out(&mut live)?;
    Ok(plan)
}

/// Removes the named resources, and returns the plan.
pub fn remove(mut live: Live<'_>, named: &Layout) -> Result<Plan, Box<Stopped>> {
    let mut copy = Rehearsed::of(live);
    let running = align(copy.running(), named);
    let remaining = running.layout.without(named);
    let plan = Plan::new(&remaining, running, Extras::Remove);
    plan.carry_out(&mut copy).map_err(|stopped| {
        Box::new(Stopped {
            applied: Vec::new(),
            partly: Vec::new(),
            not_applied: plan.changes.clone(),
            ..*stopped
        })
    })?;
    plan.carry_out(&mut live)?;
    Ok(plan)
}

/// Creates the desired network on an empty server.
pub fn create(live: &mut Live<'_>, desired: &Layout) -> Result<(), Box<Stopped>> {
    let plan = Plan::new(desired, Running::default(), Extras::Keep);
    plan.carry_out(live)
}

impl Plan {
    /// Does every step, or returns which were done before one was refused.
    pub fn carry_out(&self, stage: &mut impl Stage) -> Result<(), Box<Stopped>> {
        let mut work = Work {
            stage,
            ids: self.aliases.clone(),
            made_with: &self.made_with,
        };
        let mut done = 0;
        while let Some((_, step)) = self.steps.get(done) {
            // Consecutive hosts are started together.
            let hosts = self.steps[done..].iter().map_while(|(_, step)| match step {
                Step::CreateInstance(name, instance) => Some((name, instance)),
                _ => None,
            });
            let hosts: Vec<HostSpec> = hosts.map(|(name, instance)| work.host(name, instance)).collect();
            let outcome = match hosts.is_empty() {
                true => work.take(step),
                false => work.stage.create_hosts(&hosts),
            };
            if let Err(error) = outcome {
                return Err(Box::new(self.stopped(done, refusal(step, &error))));
            }
            done += hosts.len().max(1);
        }
        Ok(())
    }

    fn stopped(&self, done: usize, refusal: Refusal) -> Stopped {
        let has = |steps: &[(Vec<usize>, Step)], change| steps.iter().any(|(numbers, _)| numbers.contains(&change));
        let (before, after) = self.steps.split_at(done);
        let mut stopped = Stopped {
            refusal,
            applied: Vec::new(),
            partly: Vec::new(),
            not_applied: Vec::new(),
        };
        for (number, change) in self.changes.iter().enumerate() {
            let list = match (has(before, number), has(after, number)) {
                (true, true) => &mut stopped.partly,
                (false, true) => &mut stopped.not_applied,
                // Changes without a step of their own are parts of others.
                (_, false) => &mut stopped.applied,
            };
            list.push(change.clone());
        }
        stopped
    }
}

/// The resource of a step.
fn subject(step: &Step) -> (Kind, &str) {
    if let Some(subject) = filters::subject(step) {
        return subject;
    }
    match step {
        Step::RemoveInstance(label) | Step::CreateInstance(label, _) => (Kind::Instance, label),
        Step::EditMappings(edits) => match edits.first() {
            Some(Edit::Assign(label, _) | Edit::Move(label, _) | Edit::Unassign(label, _)) => (Kind::Interface, label),
            None => (Kind::Interface, ""),
        },
        Step::Attach(label, _)
        | Step::Detach(label)
        | Step::DeleteInterface(label)
        | Step::CreateInterface(label, ..)
        | Step::ModifyInterface(label, _)
        | Step::ChooseIpv6(label) => (Kind::Interface, label),
        Step::DeleteSubnet(label) | Step::CreateSubnet(label, _) | Step::ModifySubnet(label, _) => {
            (Kind::Subnet, label)
        }
        Step::DeleteVpc(label) | Step::SetOptions(label, _) | Step::CreateVpc(label, _) | Step::ModifyVpc(label, _) => {
            (Kind::Vpc, label)
        }
        Step::DeleteOptions(label) | Step::CreateOptions(label, _) => (Kind::DhcpOptions, label),
        Step::Edge(step) => step.subject(),
        Step::FlowLog(step) => step.subject(),
        Step::CreateTable { table, .. }
        | Step::ModifyTable { table, .. }
        | Step::ResetTable(table)
        | Step::DeleteTable(table)
        | Step::PutRoute(table, ..)
        | Step::DeleteRoute(table, _)
        | Step::Associate(table, _)
        | Step::Disassociate(table, _)
        | Step::AssociateGateway(table, _)
        | Step::DisassociateGateway(table, _) => (Kind::RouteTable, table),
        other => unreachable!("{other:?} is about a filter"),
    }
}

fn refusal(step: &Step, error: &StepError) -> Refusal {
    let (kind, mut name) = subject(step);
    let control = match error {
        StepError::Control(error) => error,
        other => {
            let (code, remedy) = match other {
                StepError::Place(error) => (error.code(), error.remedy()),
                StepError::NoLab => ("Unsupported", "Write `interfaces` in the place of `instances`."),
                _ => (
                    "InternalError",
                    "See to what the kernel says, and do it again: what is there stays as it is.",
                ),
            };
            return Refusal {
                kind,
                name: name.to_owned(),
                field: matches!(other, StepError::Place(_)).then(|| "attached_to".to_owned()),
                code: code.into(),
                message: other.to_string(),
                remedy: remedy.to_owned(),
            };
        }
    };
    // For a list of edits, the refused edit names the resource.
    if let (Step::EditMappings(edits), ControlError::Edit(failed)) = (step, control)
        && let Some(Edit::Assign(label, _) | Edit::Move(label, _) | Edit::Unassign(label, _)) = edits.get(failed.index)
    {
        name = label;
        let mut refusal = Refusal::new(kind, name, &failed.error.clone().into());
        refusal.field = failed.error.field().map(str::to_owned);
        return refusal;
    }
    let mut refusal = Refusal::new(kind, name, control);
    // Two fields have shorter names in the file than in the API.
    refusal.field = refusal.field.map(|field| match field.as_str() {
        "mac_address" => "mac".to_owned(),
        "destination" | "target" => "routes".to_owned(),
        _ => field,
    });
    refusal
}

pub(super) struct Work<'s, S> {
    pub(super) stage: &'s mut S,
    /// The identifiers of what has no name, or another one than in the file.
    ids: BTreeMap<(Kind, Label), String>,
    /// What new resources are made with.
    pub(super) made_with: &'s MadeWith,
}

/// The name that a label is, unless it is an identifier.
pub(super) fn name(kind: Kind, label: &str) -> Option<String> {
    (!unnamed(kind, label)).then(|| label.to_owned())
}

impl<S: Stage> Work<'_, S> {
    pub(super) fn reference<T: ResourceId>(&self, kind: Kind, label: &str) -> ResourceRef<T> {
        let known = self.ids.get(&(kind, label.to_owned()));
        ResourceRef::new(known.map_or(label, String::as_str))
    }

    pub(super) fn interface<T: ResourceId>(&self, label: &str) -> ResourceRef<T> {
        self.reference(Kind::Interface, label)
    }

    fn table(&self, label: &str) -> ResourceRef<RouteTableId> {
        self.reference(Kind::RouteTable, label)
    }

    fn subnet(&self, label: &str) -> ResourceRef<SubnetId> {
        self.reference(Kind::Subnet, label)
    }

    fn host(&self, name: &str, instance: &super::layout::Instance) -> HostSpec {
        HostSpec {
            configured: instance.configure == Configure::Static,
            link_local: match instance.link_local {
                LinkLocal::Eui64 => lab::LinkLocal::Eui64,
                LinkLocal::StablePrivacy => lab::LinkLocal::StablePrivacy,
                LinkLocal::None => lab::LinkLocal::None,
            },
            accept_ra: instance.accept_ra,
            dad: instance.dad,
            api: instance.api,
            ..HostSpec::new(name, self.interface(&instance.interface))
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::RemoveInstance(name) => self.stage.remove_host(name),
            Step::CreateInstance(name, instance) => {
                let host = self.host(name, instance);
                self.stage.create_hosts(&[host])
            }
            Step::Attach(label, host) => self.stage.attach(&self.interface(label), host),
            Step::Detach(label) => self.run(DetachInterface(self.interface(label))),
            Step::EditMappings(edits) => self.run(EditMappings(edits.iter().map(|edit| self.edit(edit)).collect())),
            Step::ChooseIpv6(label) => self.run(AssignAddresses {
                interface: self.interface(label),
                addresses: vec![AddressRequest::AnyIpv6],
                move_allowed: false,
            }),
            Step::DeleteInterface(label) => self.run(DeleteInterface(self.interface(label))),
            Step::CreateInterface(label, interface, any) => {
                let mut command = self.new_interface(label, interface, *any);
                if self.makes_instance(label) {
                    command.settings.metadata = None;
                }
                let made = self.make(Kind::Interface, label, command)?;
                self.remember(Kind::Interface, label, made.id);
                self.make_instance(label, interface)
            }
            Step::ModifyInterface(label, interface) => {
                let groups = Some(self.groups(interface));
                self.run(ModifyInterface {
                    groups,
                    ..modified_interface(self.interface(label), interface)
                })
            }
            Step::DeleteSubnet(label) => self.run(DeleteSubnet(self.subnet(label))),
            Step::CreateSubnet(label, subnet) => {
                let made = self.make(Kind::Subnet, label, self.new_subnet(label, subnet))?;
                self.remember(Kind::Subnet, label, made.id);
                if subnet.map_public_ip_on_launch || subnet.enable_dns64 {
                    self.run(ModifySubnet {
                        map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
                        enable_dns64: Some(subnet.enable_dns64),
                        ..ModifySubnet::new(made.id)
                    })?;
                }
                Ok(())
            }
            Step::ModifySubnet(label, subnet) => self.run(ModifySubnet {
                map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
                enable_dns64: Some(subnet.enable_dns64),
                tags: Some(subnet.tags.clone()),
                ..ModifySubnet::new(self.subnet(label))
            }),
            Step::Edge(step) => self.take_at_edge(step),
            Step::FlowLog(step) => self.take_flow_log_step(step),
            Step::DeleteVpc(label) => self.run(DeleteVpc(self.reference(Kind::Vpc, label))),
            Step::SetOptions(label, choice) => self.run(ModifyVpc {
                dhcp_options: Some(self.options(choice)),
                ..ModifyVpc::new(self.reference(Kind::Vpc, label))
            }),
            Step::CreateVpc(label, vpc) => {
                let made = self.make(Kind::Vpc, label, self.new_vpc(label, vpc))?;
                self.remember(Kind::Vpc, label, made.id);
                Ok(())
            }
            Step::ModifyVpc(label, vpc) => self.run(self.modified_vpc(label, vpc)),
            Step::DeleteOptions(label) => self.run(DeleteDhcpOptions(self.reference(Kind::DhcpOptions, label))),
            Step::CreateOptions(label, set) => {
                let command = CreateDhcpOptions {
                    name: name(Kind::DhcpOptions, label),
                    options: set.options.clone(),
                    tags: set.tags.clone(),
                };
                let made = self.make(Kind::DhcpOptions, label, command)?;
                self.remember(Kind::DhcpOptions, label, made.id);
                Ok(())
            }
            about_filter if filters::subject(about_filter).is_some() => self.take_on_filters(about_filter),
            about_table => self.take_on_table(about_table),
        }
    }

    fn take_on_table(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::CreateTable { table, vpc, main, tags } => self.create_table(table, vpc, *main, tags),
            Step::ModifyTable {
                table,
                name,
                main,
                tags,
            } => self.run(ModifyRouteTable {
                table: self.table(table),
                name: name.clone().map(Some),
                main: main.then_some(true),
                tags: Some(tags.clone()),
            }),
            Step::ResetTable(label) => self.run(ModifyRouteTable {
                name: Some(None),
                tags: Some(Tags::new()),
                ..ModifyRouteTable::new(self.table(label))
            }),
            Step::DeleteTable(label) => self.run(DeleteRouteTable(self.table(label))),
            Step::PutRoute(label, to, target) => {
                let target = match target {
                    Target::Local => TargetRef::Local,
                    Target::Blackhole => TargetRef::Blackhole,
                    Target::Interface(interface) => TargetRef::Interface(self.interface(interface)),
                    Target::Gateway(Kind::NatGateway, gateway) => {
                        TargetRef::NatGateway(self.reference(Kind::NatGateway, gateway))
                    }
                    Target::Gateway(Kind::EgressOnlyGateway, gateway) => {
                        TargetRef::EgressOnly(self.reference(Kind::EgressOnlyGateway, gateway))
                    }
                    Target::Gateway(Kind::Peering, peering) => {
                        TargetRef::Peering(self.reference(Kind::Peering, peering))
                    }
                    Target::Gateway(kind, gateway) => TargetRef::InternetGateway(self.reference(*kind, gateway)),
                };
                self.edit_route(label, RouteEdit::Put(*to, target))
            }
            Step::DeleteRoute(label, to) => self.edit_route(label, RouteEdit::Delete(*to)),
            Step::Associate(table, subnet) => self.run(AssociateRouteTable {
                table: self.table(table),
                subnet: self.subnet(subnet),
                replacing: true,
            }),
            Step::AssociateGateway(table, gateway) => self.run(AssociateGatewayTable {
                table: self.table(table),
                gateway: self.reference(Kind::InternetGateway, gateway),
                replacing: true,
            }),
            Step::DisassociateGateway(table, gateway) => self.run(DisassociateGatewayTable {
                table: self.table(table),
                gateway: self.reference(Kind::InternetGateway, gateway),
            }),
            Step::Disassociate(table, subnet) => self.run(DisassociateRouteTable {
                table: self.table(table),
                subnet: self.subnet(subnet),
            }),
            other => unreachable!("{other:?} is about no route table"),
        }
    }

    /// Carries out a command whose outcome is not asked for.
    pub(super) fn run<C: Command>(&mut self, command: C) -> Result<(), StepError>
    where
        ControlError: From<C::Error>,
    {
        self.stage.execute(command)?;
        Ok(())
    }

    fn edit_route(&mut self, table: &str, edit: RouteEdit) -> Result<(), StepError> {
        let table = self.table(table);
        self.run(EditRoute { table, edit })
    }

    /// What was made without a name is found by its identifier from now on.
    pub(super) fn remember(&mut self, kind: Kind, label: &str, id: impl std::fmt::Display) {
        self.ids.insert((kind, label.to_owned()), id.to_string());
    }

    /// A main table is the one that the VPC was created with, renamed; unless that one has a name already.
    fn create_table(&mut self, label: &str, vpc: &str, main: bool, tags: &Tags) -> Result<(), StepError> {
        let vpc = self.reference(Kind::Vpc, vpc);
        let own_name = name(Kind::RouteTable, label);
        let id = if main {
            let id = self.stage.vpc(&vpc)?.main_route_table_id;
            self.stage.route_table(&id.into())?.name.is_none().then_some(id)
        } else {
            None
        };
        let mut change = match id {
            Some(id) => ModifyRouteTable {
                name: own_name.map(Some),
                ..ModifyRouteTable::new(id)
            },
            None => {
                let command = CreateRouteTable {
                    name: own_name,
                    vpc,
                    tags: tags.clone(),
                };
                let table = self.make(Kind::RouteTable, label, command)?;
                ModifyRouteTable {
                    main: main.then_some(true),
                    ..ModifyRouteTable::new(table.id)
                }
            }
        };
        change.tags = Some(tags.clone());
        let id = change.table.to_string();
        self.remember(Kind::RouteTable, label, id);
        if change.name.is_some() || change.main.is_some() || !tags.is_empty() {
            self.run(change)?;
        }
        Ok(())
    }

    fn edit(&self, edit: &Edit) -> MappingEdit {
        let (Edit::Assign(label, address) | Edit::Move(label, address) | Edit::Unassign(label, address)) = edit;
        let (interface, address) = (self.interface(label), *address);
        match edit {
            Edit::Unassign(..) => MappingEdit::Unassign { interface, address },
            assign => MappingEdit::Assign {
                interface,
                address,
                move_allowed: matches!(assign, Edit::Move(..)),
            },
        }
    }

    fn options(&self, choice: &OptionsChoice) -> DhcpOptionsChoice {
        match choice {
            // The region's set is the first one, and cannot be deleted.
            OptionsChoice::Region => DhcpOptionsChoice::Set(crate::model::DhcpOptionsId::from_bits(1).into()),
            OptionsChoice::None => DhcpOptionsChoice::None,
            OptionsChoice::Set(label) => DhcpOptionsChoice::Set(self.reference(Kind::DhcpOptions, label)),
        }
    }

    fn new_vpc(&self, label: &str, vpc: &Vpc) -> CreateVpc {
        CreateVpc {
            attributes: Default::default(),
            name: name(Kind::Vpc, label),
            cidr_blocks: vpc.cidr_blocks.clone(),
            ipv6_cidr_blocks: vpc.ipv6_cidr_blocks.clone(),
            profile: std::sync::Arc::clone(&vpc.profile),
            dhcp_options: match &vpc.dhcp_options {
                OptionsChoice::Region => None,
                choice => Some(self.options(choice)),
            },
            tags: vpc.tags.clone(),
        }
    }

    fn modified_vpc(&self, label: &str, vpc: &Vpc) -> ModifyVpc {
        ModifyVpc {
            cidr_blocks: Some(vpc.cidr_blocks.clone()),
            ipv6_cidr_blocks: Some(vpc.ipv6_cidr_blocks.clone()),
            profile: Some(std::sync::Arc::clone(&vpc.profile)),
            dhcp_options: Some(self.options(&vpc.dhcp_options)),
            tags: Some(vpc.tags.clone()),
            ..ModifyVpc::new(self.reference(Kind::Vpc, label))
        }
    }

    fn new_subnet(&self, label: &str, subnet: &Subnet) -> CreateSubnet {
        CreateSubnet {
            name: name(Kind::Subnet, label),
            vpc: self.reference(Kind::Vpc, &subnet.vpc),
            cidr_block: subnet.cidr_block,
            ipv6_cidr_block: subnet.ipv6_cidr_block,
            availability_zone: subnet.availability_zone.clone(),
            router_mac: subnet.router_mac,
            tags: subnet.tags.clone(),
        }
    }

    fn new_interface(&self, label: &str, interface: &Interface, any: AnyAddress) -> CreateInterface {
        let ipv4 = interface.ipv4.iter().flatten().copied().map(std::net::IpAddr::from);
        let ipv6 = interface.ipv6.iter().flatten().copied().map(std::net::IpAddr::from);
        let given = ipv4.chain(ipv6).map(AddressOrPrefix::from);
        let mut addresses: Vec<AddressRequest> = given.map(AddressRequest::Exactly).collect();
        addresses.extend((any == AnyAddress::Ipv6).then_some(AddressRequest::AnyIpv6));
        addresses.extend(interface.prefixes.iter().copied().map(AddressRequest::Exactly));
        CreateInterface {
            name: name(Kind::Interface, label),
            mac_address: interface.mac,
            source_dest_check: interface.source_dest_check,
            groups: self.groups(interface),
            description: interface.description.clone(),
            addresses,
            settings: settings(interface),
            tags: interface.tags.clone(),
            ..CreateInterface::new(self.subnet(&interface.subnet))
        }
    }
}

fn modified_interface(reference: ResourceRef<InterfaceId>, interface: &Interface) -> ModifyInterface {
    ModifyInterface {
        source_dest_check: Some(interface.source_dest_check),
        description: Some(interface.description.clone()),
        settings: settings(interface),
        tags: Some(interface.tags.clone()),
        ..ModifyInterface::new(reference)
    }
}

fn settings(interface: &Interface) -> SettingsChange {
    SettingsChange {
        mtu: Some(interface.mtu),
        ntp_skew: Some(interface.ntp_skew),
        allowances: Some(interface.allowances),
        tracking: Some(interface.tracking),
        public_address: None,
        metadata: Some(MetadataChange::to(&interface.metadata)),
    }
}
