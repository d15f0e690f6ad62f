//! Commands tried out on a copy of what is declared: what would be refused is known before anything has changed.

use rand_chacha::ChaCha8Rng;

use super::command::{Command, EditSummary, Outcome, ResourceCommand};
use super::controller::Controller;
use super::error::ControlError;
use crate::model::{Attachment, HostPlace, InterfaceId, Network, ResourceRef};

/// A copy of what is declared, which can be changed without anybody noticing.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    network: Network,
    rng: ChaCha8Rng,
}

impl Controller {
    /// A copy of what is declared now. What is chosen on it is what would be chosen.
    pub fn rehearsal(&self) -> Rehearsal {
        let state = self.read();
        Rehearsal {
            network: state.network.clone(),
            rng: state.rng.clone(),
        }
    }
}

impl Rehearsal {
    /// What is declared on the copy.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Carries out a command that is about what is declared; those about faults and open devices are none.
    pub fn execute(&mut self, command: Command) -> Result<Outcome, ControlError> {
        let Self { network, rng } = self;
        Ok(match command {
            Command::CreateVpc(spec) => Outcome::Vpc(network.create_vpc(spec, rng)?.clone()),
            Command::ModifyVpc(vpc, spec) => Outcome::Vpc(network.modify_vpc(&vpc, spec)?.clone()),
            Command::DeleteVpc(vpc) => Outcome::Vpc(network.delete_vpc(&vpc)?),
            Command::CreateSubnet(spec) => Outcome::Subnet(network.create_subnet(spec, rng)?.clone()),
            Command::ModifySubnet(subnet, spec) => Outcome::Subnet(network.modify_subnet(&subnet, spec)?.clone()),
            Command::DeleteSubnet(subnet) => Outcome::Subnet(network.delete_subnet(&subnet)?),
            Command::CreateInterface(spec) => {
                let (id, _) = network.create_interface(spec, rng)?;
                Outcome::Interface(Box::new(network.interface(&id.into())?))
            }
            Command::ModifyInterface(interface, spec) => {
                Outcome::Interface(Box::new(network.modify_interface(&interface, spec)?.0))
            }
            Command::DeleteInterface(interface) => {
                Outcome::Interface(Box::new(network.delete_interface(&interface)?.0))
            }
            Command::DetachInterface(interface) => {
                network.set_attachment(&interface, None)?;
                Outcome::Interface(Box::new(network.interface(&interface)?))
            }
            Command::AssignAddresses {
                interface,
                addresses,
                move_allowed,
            } => {
                let interface = network.interface_id(&interface)?;
                let (addresses, changes) = network.assign(interface, &addresses, move_allowed, rng)?;
                Outcome::Assigned {
                    interface,
                    addresses,
                    summary: EditSummary::of(&changes),
                }
            }
            Command::EditMappings(edits) => Outcome::Edited(EditSummary::of(&network.edit_mappings(&edits)?)),
            Command::Resource(command) => self.execute_on_resources(command)?,
            Command::AttachInterface { .. }
            | Command::BeginFault(_)
            | Command::CancelFault(_)
            | Command::CancelAllFaults => return Err(ControlError::NoSwitch),
        })
    }

    fn execute_on_resources(&mut self, command: ResourceCommand) -> Result<Outcome, ControlError> {
        let Self { network, rng } = self;
        let table = match command {
            ResourceCommand::CreateDhcpOptions(spec) => {
                let set = network.create_dhcp_options(spec, rng)?.clone();
                return Ok(Outcome::DhcpOptions(Box::new(set)));
            }
            ResourceCommand::DeleteDhcpOptions(set) => {
                return Ok(Outcome::DhcpOptions(Box::new(network.delete_dhcp_options(&set)?)));
            }
            ResourceCommand::CreateRouteTable(spec) => network.create_route_table(spec, rng)?,
            ResourceCommand::ModifyRouteTable(table, spec) => network.modify_route_table(&table, spec)?,
            ResourceCommand::DeleteRouteTable(table) => network.delete_route_table(&table)?,
            ResourceCommand::AssociateRouteTable { table, subnet } => {
                network.associate(&table, &subnet)?;
                network.route_table(&table)?
            }
            ResourceCommand::DisassociateRouteTable { table, subnet } => {
                network.disassociate(&table, &subnet)?;
                network.route_table(&table)?
            }
            ResourceCommand::EditRoute(table, edit) => {
                let id = network.edit_route(&table, &edit)?;
                network.route_table(&id.into())?
            }
        };
        Ok(Outcome::RouteTable(Box::new(table)))
    }

    /// Says that an interface has a device in a host.
    pub fn attach(&mut self, interface: &ResourceRef<InterfaceId>, place: HostPlace) -> Result<(), ControlError> {
        let attachment = Attachment {
            port: 0,
            device: format!("eth{}", place.device_index),
            host: Some(place),
        };
        self.network.set_attachment(interface, Some(attachment))?;
        Ok(())
    }
}
