//! Commands about route tables and DHCP option sets.

use super::command::{Command, Outcome};
use super::controller::{Controller, State};
use super::error::ControlError;
use super::events::EventKind;
use super::fabric::led_by;
use crate::model::dhcp_options::DhcpOptionSet;
use crate::model::fault::Propagated;
use crate::model::{DhcpOptionsId, InterfaceId, ResourceRef, RouteTable, RouteTableId, SubnetId, VpcId};

impl Controller {
    /// Carries out a command about route tables or DHCP options.
    pub(super) fn execute_on_resources(&self, command: ResourceCommand) -> Result<Outcome, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        match command {
            ResourceCommand::CreateRouteTable(spec) => {
                let table = state.network.create_route_table(spec, &mut state.rng)?;
                self.publish(EventKind::RouteTableCreated {
                    route_table_id: table.id,
                });
                Ok(Outcome::RouteTable(Box::new(table)))
            }
            ResourceCommand::ModifyRouteTable(table, spec) => {
                let main = spec.main.is_some();
                let table = state.network.modify_route_table(&table, spec)?;
                if main {
                    let State { network, binding, .. } = state;
                    binding.publish_routes_of_vpc(network, table.vpc_id);
                }
                self.table_changed(state, table.id)
            }
            ResourceCommand::DeleteRouteTable(table) => {
                let table = state.network.delete_route_table(&table)?;
                self.publish(EventKind::RouteTableDeleted {
                    route_table_id: table.id,
                });
                Ok(Outcome::RouteTable(Box::new(table)))
            }
            ResourceCommand::AssociateRouteTable { table, subnet } => {
                let subnet = state.network.associate(&table, &subnet)?;
                self.association_changed(state, &table, subnet)
            }
            ResourceCommand::DisassociateRouteTable { table, subnet } => {
                let subnet = state.network.disassociate(&table, &subnet)?;
                self.association_changed(state, &table, subnet)
            }
            ResourceCommand::EditRoute(table, edit) => {
                let id = state.network.edit_route(&table, &edit)?;
                for subnet in led_by(&state.network, id) {
                    // The table as it will be then: a target that is deleted meanwhile is not led to.
                    self.propagate_later(state, Propagated::Routes, subnet, move |state| {
                        state.binding.publish_routes_of_subnet(&state.network, subnet);
                    });
                }
                self.table_changed(state, id)
            }
            ResourceCommand::CreateDhcpOptions(spec) => {
                let set = state.network.create_dhcp_options(spec, &mut state.rng)?.clone();
                self.publish(EventKind::DhcpOptionsCreated {
                    dhcp_options_id: set.id,
                });
                Ok(Outcome::DhcpOptions(Box::new(set)))
            }
            ResourceCommand::DeleteDhcpOptions(set) => {
                let set = state.network.delete_dhcp_options(&set)?;
                self.publish(EventKind::DhcpOptionsDeleted {
                    dhcp_options_id: set.id,
                });
                Ok(Outcome::DhcpOptions(Box::new(set)))
            }
        }
    }

    fn association_changed(
        &self,
        state: &mut State,
        table: &ResourceRef<RouteTableId>,
        subnet: SubnetId,
    ) -> Result<Outcome, ControlError> {
        let id = state.network.route_table_id(table)?;
        state.binding.publish_routes_of_subnet(&state.network, subnet);
        self.table_changed(state, id)
    }

    fn table_changed(&self, state: &State, id: RouteTableId) -> Result<Outcome, ControlError> {
        self.publish(EventKind::RouteTableModified { route_table_id: id });
        Ok(Outcome::RouteTable(Box::new(state.network.route_table(&id.into())?)))
    }

    /// Tells of the tables whose routes to an interface have another state than before.
    pub(super) fn target_changed(&self, state: &mut State, interface: InterfaceId) {
        for id in state.network.tables_towards(interface) {
            state.binding.publish_routes(&state.network, id);
            self.publish(EventKind::RouteTableModified { route_table_id: id });
        }
    }

    /// Route tables by identifier, those of one VPC or all.
    pub fn route_tables(&self, vpc: Option<&ResourceRef<VpcId>>) -> Result<Vec<RouteTable>, ControlError> {
        let state = self.read();
        let vpc = match vpc {
            Some(reference) => Some(state.network.vpc(reference)?.id),
            None => None,
        };
        let tables = state.network.route_tables();
        Ok(tables
            .filter(|table| vpc.is_none_or(|vpc| table.vpc_id == vpc))
            .collect())
    }

    /// One route table.
    pub fn route_table(&self, reference: &ResourceRef<RouteTableId>) -> Result<RouteTable, ControlError> {
        Ok(self.read().network.route_table(reference)?)
    }

    /// All DHCP option sets, by identifier.
    pub fn dhcp_option_sets(&self) -> Vec<DhcpOptionSet> {
        self.read().network.dhcp_option_sets().cloned().collect()
    }

    /// One DHCP option set.
    pub fn dhcp_option_set(&self, reference: &ResourceRef<DhcpOptionsId>) -> Result<DhcpOptionSet, ControlError> {
        Ok(self.read().network.dhcp_option_set(reference)?.clone())
    }
}

use super::command::ResourceCommand;

impl From<ResourceCommand> for Command {
    fn from(command: ResourceCommand) -> Self {
        Self::Resource(command)
    }
}
