//! Associates route tables with internet gateways: packets from outside follow their routes, to a middlebox of the VPC (VPC
//! guide, "Gateway route tables"; firewall facts G14).

use ipnet::IpNet;

use super::{
    AssociateGatewayTable, DisassociateGatewayTable, RouteTable, RouteTableError, RouteTableRecord, RouteTarget,
};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::internet_gateway::InternetGateway;
use crate::model::network::Network;

impl Command for AssociateGatewayTable {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let table = edit.route_table_record(&self.table)?.clone();
        let before = edit.internet_gateway(&self.gateway)?.clone();
        if before.vpc_id != Some(table.vpc_id) {
            let text = format!(
                "route table {} and network gateway {} belong to different networks",
                table.id, before.id
            );
            let remedy = "Attach the gateway to the route table's VPC first.";
            return Err(refused(text, remedy));
        }
        for (destination, entry) in &table.routes {
            edit.check_inbound_route(&table, *destination, entry.target)?;
        }
        if edit.endpoint_routes(table.id).next().is_some() {
            let text = format!("{} has a route to a gateway endpoint", table.id);
            return Err(refused(text, "Take the table away from the endpoint first."));
        }
        if !self.replacing && before.route_table_id.is_some_and(|other| other != table.id) {
            return Err(RouteTableError::AlreadyAssociated { table: table.id }.into());
        }
        let after = InternetGateway {
            route_table_id: Some(table.id),
            ..before.clone()
        };
        edit.replace(before, after);
        edit.route_table(&table.id.into())
    }
}

impl Command for DisassociateGatewayTable {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let table = edit.route_table_id(&self.table)?;
        let before = edit.internet_gateway(&self.gateway)?.clone();
        if before.route_table_id != Some(table) {
            return Err(RouteTableError::GatewayNotAssociated {
                gateway: before.id,
                table,
            }
            .into());
        }
        let after = InternetGateway {
            route_table_id: None,
            ..before.clone()
        };
        edit.replace(before, after);
        edit.route_table(&table.into())
    }
}

fn refused(text: String, remedy: &'static str) -> ModelError {
    let field = "internet_gateway";
    RouteTableError::Route { text, field, remedy }.into()
}

impl Network {
    /// Refuses a route that a table of an internet gateway cannot have: its destinations lie in the VPC, and its targets are
    /// `local` and interfaces.
    pub(super) fn check_inbound_route(
        &self,
        table: &RouteTableRecord,
        destination: IpNet,
        target: RouteTarget,
    ) -> Result<(), ModelError> {
        let ranges = self.vpcs.get(&table.vpc_id).map(|state| state.vpc.ranges());
        let within = ranges.is_some_and(|ranges| ranges.iter().any(|range| range.contains(&destination)));
        let text = match target {
            RouteTarget::Local | RouteTarget::Interface(_) if within => return Ok(()),
            RouteTarget::Local | RouteTarget::Interface(_) => {
                format!(
                    "The destination {destination} is outside the VPC, and {} is the route table of a gateway",
                    table.id
                )
            }
            other => format!(
                "The target {other} is not a network interface, and {} is the route table of a gateway",
                table.id
            ),
        };
        let remedy = "Give routes to network interfaces, for blocks of the VPC and its subnets.";
        Err(refused(text, remedy))
    }
}
