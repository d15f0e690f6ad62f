//! Where the steps of a plan are done: on the network that runs, or on a copy of what is declared of it.

use std::collections::BTreeMap;

use crate::control::{Command, ControlError, Controller, Outcome, Rehearsal};
use crate::model::{ResourceRef, RouteTable, RouteTableId, Vpc, VpcId};
use crate::runtime::{HostSpec, Runtime, RuntimeError};

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The Controller refused it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A host cannot be had.
    #[error(transparent)]
    Hosts(Box<RuntimeError>),
    /// There is no lab to start hosts in.
    #[error("this server has no lab")]
    NoLab,
}

impl From<RuntimeError> for StepError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Control(error) => Self::Control(error),
            error => Self::Hosts(Box::new(error)),
        }
    }
}

/// Where steps are done.
pub trait Stage {
    /// Sends a command to the one writer.
    fn execute(&mut self, command: Command) -> Result<Outcome, StepError>;
    /// A VPC.
    fn vpc(&self, vpc: &ResourceRef<VpcId>) -> Result<Vpc, StepError>;
    /// A route table.
    fn route_table(&self, table: &ResourceRef<RouteTableId>) -> Result<RouteTable, StepError>;
    /// Starts hosts, all of them or none.
    fn create_hosts(&mut self, hosts: &[HostSpec]) -> Result<(), StepError>;
    /// Ends a host.
    fn remove_host(&mut self, name: &str) -> Result<(), StepError>;
}

/// The network that runs.
#[derive(Clone, Copy)]
pub struct Live<'n> {
    /// Its writer.
    pub controller: &'n Controller,
    /// Its lab, if it has one.
    pub runtime: Option<&'n Runtime>,
}

impl Live<'_> {
    /// The hosts that run.
    pub fn hosts(&self) -> Vec<HostSpec> {
        self.runtime.map(Runtime::hosts).unwrap_or_default()
    }
}

impl Stage for Live<'_> {
    fn execute(&mut self, command: Command) -> Result<Outcome, StepError> {
        Ok(self.controller.execute(command)?)
    }

    fn vpc(&self, vpc: &ResourceRef<VpcId>) -> Result<Vpc, StepError> {
        Ok(self.controller.vpc(vpc)?)
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
}

/// A copy, on which every step is done but those that the kernel does.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    rehearsal: Rehearsal,
    hosts: BTreeMap<String, HostSpec>,
    has_lab: bool,
}

impl Rehearsed {
    /// A copy of what runs.
    pub fn of(live: Live<'_>) -> Self {
        let hosts = live.hosts().into_iter();
        Self {
            rehearsal: live.controller.rehearsal(),
            hosts: hosts.map(|host| (host.name.clone(), host)).collect(),
            has_lab: live.runtime.is_some(),
        }
    }

    /// The same with a lab, in which hosts are names.
    #[cfg(test)]
    pub(super) fn with_lab(mut self) -> Self {
        self.has_lab = true;
        self
    }

    /// What runs on it.
    pub fn running(&self) -> super::Running {
        let hosts: Vec<HostSpec> = self.hosts.values().cloned().collect();
        super::Running::of(self.rehearsal.network(), &hosts)
    }
}

impl Stage for Rehearsed {
    fn execute(&mut self, command: Command) -> Result<Outcome, StepError> {
        Ok(self.rehearsal.execute(command)?)
    }

    fn vpc(&self, vpc: &ResourceRef<VpcId>) -> Result<Vpc, StepError> {
        let vpc = self.rehearsal.network().vpc(vpc).map_err(ControlError::from)?;
        Ok(vpc.clone())
    }

    fn route_table(&self, table: &ResourceRef<RouteTableId>) -> Result<RouteTable, StepError> {
        Ok(self
            .rehearsal
            .network()
            .route_table(table)
            .map_err(ControlError::from)?)
    }

    fn create_hosts(&mut self, hosts: &[HostSpec]) -> Result<(), StepError> {
        if !self.has_lab {
            return Err(StepError::NoLab);
        }
        for host in hosts {
            self.rehearsal.attach(&host.interface)?;
            let interface = self.rehearsal.network().interface_id(&host.interface);
            let host = HostSpec {
                interface: interface.map_err(ControlError::from)?.into(),
                ..host.clone()
            };
            self.hosts.insert(host.name.clone(), host);
        }
        Ok(())
    }

    fn remove_host(&mut self, name: &str) -> Result<(), StepError> {
        if let Some(host) = self.hosts.remove(name) {
            // Its interface may have been detached or deleted by hand.
            let _ = self.rehearsal.execute(Command::DetachInterface(host.interface));
        }
        Ok(())
    }
}
