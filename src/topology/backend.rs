//! Executes the steps of a plan: on the running network, or on a copy as a dry run.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::control::{ControlError, Controller, Snapshot};
use crate::model::interface::{AttachInterface, DetachInterface};
use crate::model::security_group::DEFAULT_GROUP;
use crate::model::{
    Attachment, Command, InstanceId, InterfaceId, ModelError, Network, ResourceRef, RouteTable, RouteTableId,
    SecurityGroupId, Vpc, VpcId,
};
use crate::runtime::{HostSpec, PlaceError, PlaceIn, Runtime, RuntimeError};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The Controller refused it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// An interface cannot be attached to a host.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A host could not be started.
    #[error(transparent)]
    Hosts(Box<RuntimeError>),
    /// The server has no lab.
    #[error("this server has no lab")]
    NoLab,
}

impl From<RuntimeError> for StepError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Control(error) => Self::Control(error),
            RuntimeError::Place(error) => Self::Place(error),
            error => Self::Hosts(Box::new(error)),
        }
    }
}

/// Executes steps.
pub trait Stage {
    /// Sends a command to the Controller.
    fn execute<C: Command>(&mut self, command: C) -> Result<C::Outcome, StepError>
    where
        ControlError: From<C::Error>;
    /// A VPC.
    fn vpc(&self, vpc: &ResourceRef<VpcId>) -> Result<Vpc, StepError>;
    /// The security group that a VPC was made with.
    fn default_group(&self, vpc: &ResourceRef<VpcId>) -> Result<SecurityGroupId, StepError>;
    /// A route table.
    fn route_table(&self, table: &ResourceRef<RouteTableId>) -> Result<RouteTable, StepError>;
    /// Starts hosts, all of them or none.
    fn create_hosts(&mut self, hosts: &[HostSpec]) -> Result<(), StepError>;
    /// Ends a host.
    fn remove_host(&mut self, name: &str) -> Result<(), StepError>;
    /// Attaches an interface to a host, as its next device.
    fn attach(&mut self, interface: &ResourceRef<InterfaceId>, host: &str) -> Result<(), StepError>;
}

fn default_group(network: &Network, vpc: &ResourceRef<VpcId>) -> Result<SecurityGroupId, ModelError> {
    let vpc = network.vpc(vpc)?.id;
    let group = network.default_group(vpc);
    group.ok_or_else(|| ModelError::not_found::<SecurityGroupId>(DEFAULT_GROUP))
}

/// The running network.
#[derive(Clone, Copy)]
pub struct Live<'n> {
    /// Its Controller.
    pub controller: &'n Controller,
    /// Its lab, if it has one.
    pub runtime: Option<&'n Runtime>,
}

impl Live<'_> {
    /// The running hosts.
    pub fn hosts(&self) -> Vec<HostSpec> {
        self.runtime.map(Runtime::hosts).unwrap_or_default()
    }
}

impl Stage for Live<'_> {
    fn execute<C: Command>(&mut self, command: C) -> Result<C::Outcome, StepError>
    where
        ControlError: From<C::Error>,
    {
        Ok(self.controller.execute(command)?)
    }

    fn vpc(&self, vpc: &ResourceRef<VpcId>) -> Result<Vpc, StepError> {
        Ok(self.controller.vpc(vpc)?)
    }

    fn default_group(&self, vpc: &ResourceRef<VpcId>) -> Result<SecurityGroupId, StepError> {
        let found = self.controller.inspect(|network| default_group(network, vpc));
        Ok(found.map_err(ControlError::from)?)
    }

    fn route_table(&self, table: &ResourceRef<RouteTableId>) -> Result<RouteTable, StepError> {
        Ok(self.controller.route_table(table)?)
    }

    fn create_hosts(&mut self, hosts: &[HostSpec]) -> Result<(), StepError> {
        Ok(self.runtime.ok_or(StepError::NoLab)?.create_hosts(hosts)?)
    }

    fn remove_host(&mut self, name: &str) -> Result<(), StepError> {
        self.runtime.ok_or(StepError::NoLab)?.remove_host(name)?;
        Ok(())
    }

    fn attach(&mut self, interface: &ResourceRef<InterfaceId>, host: &str) -> Result<(), StepError> {
        let runtime = self.runtime.ok_or(StepError::NoLab)?;
        runtime.attach_to_host(interface, host, None)?;
        Ok(())
    }
}

/// A copy, on which every step is executed except for those of the kernel.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    copy: Snapshot,
    hosts: BTreeMap<String, HostSpec>,
    has_lab: bool,
}

impl Rehearsed {
    /// A copy of the running network.
    pub fn of(live: Live<'_>) -> Self {
        let hosts = live.hosts().into_iter();
        Self {
            copy: live.controller.snapshot(),
            hosts: hosts.map(|host| (host.name.clone(), host)).collect(),
            has_lab: live.runtime.is_some(),
        }
    }

    /// The same with a lab, in which hosts are names.
    pub(super) fn with_lab(mut self) -> Self {
        self.has_lab = true;
        self
    }

    /// What is declared on it.
    pub fn network(&self) -> &crate::model::Network {
        &self.copy.network
    }

    /// The availability zone of an interface.
    fn zone(&self, interface: &ResourceRef<InterfaceId>) -> Result<String, ControlError> {
        let network = &self.copy.network;
        let subnet = network.interface(interface)?.subnet_id;
        Ok(network.subnet(&subnet.into())?.availability_zone.clone())
    }

    /// The interfaces attached to an instance, by device index.
    fn interfaces_of(&self, instance: InstanceId) -> BTreeMap<u32, InterfaceId> {
        self.copy.network.attached(instance).collect()
    }

    /// The instance of a primary interface.
    fn own_instance(&self, primary: InterfaceId) -> Option<InstanceId> {
        self.copy.network.own_instance(primary).map(|instance| instance.id)
    }

    /// Attaches an interface as a host of a lab would.
    fn plug(&mut self, interface: InterfaceId, place: Option<Attachment>) -> Result<(), StepError> {
        let command = AttachInterface {
            interface: interface.into(),
            place,
            at: SystemTime::UNIX_EPOCH,
        };
        self.copy.execute(command)?;
        Ok(())
    }

    /// The network of the copy.
    pub fn running(&self) -> super::Running {
        let hosts: Vec<HostSpec> = self.hosts.values().cloned().collect();
        super::Running::of(&self.copy.network, &self.copy.ports, &hosts)
    }
}

impl Stage for Rehearsed {
    fn execute<C: Command>(&mut self, command: C) -> Result<C::Outcome, StepError>
    where
        ControlError: From<C::Error>,
    {
        Ok(self.copy.execute(command)?)
    }

    fn vpc(&self, vpc: &ResourceRef<VpcId>) -> Result<Vpc, StepError> {
        let vpc = self.copy.network.vpc(vpc).map_err(ControlError::from)?;
        Ok(vpc.clone())
    }

    fn default_group(&self, vpc: &ResourceRef<VpcId>) -> Result<SecurityGroupId, StepError> {
        Ok(default_group(&self.copy.network, vpc).map_err(ControlError::from)?)
    }

    fn route_table(&self, table: &ResourceRef<RouteTableId>) -> Result<RouteTable, StepError> {
        Ok(self.copy.network.route_table(table).map_err(ControlError::from)?)
    }

    fn create_hosts(&mut self, hosts: &[HostSpec]) -> Result<(), StepError> {
        if !self.has_lab {
            return Err(StepError::NoLab);
        }
        for host in hosts {
            let interface = self.copy.network.interface_id(&host.interface);
            let interface = interface.map_err(ControlError::from)?;
            self.plug(interface, None)?;
            let host = HostSpec {
                interface: interface.into(),
                ..host.clone()
            };
            self.hosts.insert(host.name.clone(), host);
        }
        Ok(())
    }

    fn remove_host(&mut self, name: &str) -> Result<(), StepError> {
        let Some(primary) = self.hosts.remove(name).and_then(|host| host.interface_id()) else {
            return Ok(());
        };
        let attached = self.own_instance(primary).map(|instance| self.interfaces_of(instance));
        for interface in attached.unwrap_or_default().into_values() {
            self.copy.execute(DetachInterface(interface.into()))?;
        }
        Ok(())
    }

    fn attach(&mut self, interface: &ResourceRef<InterfaceId>, host: &str) -> Result<(), StepError> {
        let primary = self.hosts.get(host).and_then(HostSpec::interface_id);
        let primary = primary.ok_or_else(|| PlaceError::NoSuchHost(host.to_owned()))?;
        let zone = self.zone(&primary.into())?;
        let place = PlaceIn { host, zone: &zone };
        place.is_reached_from(&self.zone(interface)?)?;
        let no_such_host = || PlaceError::NoSuchHost(host.to_owned());
        let instance_id = self.own_instance(primary).ok_or_else(no_such_host)?;
        let taken = self.interfaces_of(instance_id);
        let index = place.choose(None, |index| taken.contains_key(&index))?;
        let place = Attachment::new(instance_id, index);
        let interface = self.copy.network.interface_id(interface).map_err(ControlError::from)?;
        self.plug(interface, Some(place))
    }
}
