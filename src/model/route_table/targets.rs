//! Finds the targets of routes by what a reference names, and refuses those of other VPCs.

use ipnet::IpNet;

use super::{RouteTableRecord, RouteTarget};
use crate::model::RouteTableError;
use crate::model::error::ModelError;
use crate::model::ids::{EgressOnlyGatewayId, InternetGatewayId, NatGatewayId, PeeringId, ResourceId, ResourceRef};
use crate::model::naming::Names;
use crate::model::network::{Network, not_found};

impl Network {
    /// Whether a name is an internet gateway's and no interface's.
    pub(super) fn names_gateway(&self, name: &str) -> bool {
        let is_interface = self.interface_names.resolve(&ResourceRef::new(name)).is_ok();
        !is_interface && self.internet_gateway_names.resolve(&ResourceRef::new(name)).is_ok()
    }

    /// Whether a name is a NAT gateway's and no interface's.
    pub(super) fn names_nat(&self, name: &str) -> bool {
        let is_interface = self.interface_names.resolve(&ResourceRef::new(name)).is_ok();
        !is_interface && self.nat_gateway_names.resolve(&ResourceRef::new(name)).is_ok()
    }

    /// Whether a name is one of these and no interface's.
    pub(super) fn names<T: ResourceId>(&self, names: &Names<T>, name: &str) -> bool {
        let is_interface = self.interface_names.resolve(&ResourceRef::new(name)).is_ok();
        !is_interface && names.resolve(&ResourceRef::new(name)).is_ok()
    }

    pub(super) fn egress_only_target(
        &self,
        table: &RouteTableRecord,
        destination: IpNet,
        reference: &ResourceRef<EgressOnlyGatewayId>,
    ) -> Result<RouteTarget, ModelError> {
        let gateway = self.egress_only_gateway(reference)?;
        let problem = if gateway.vpc_id != table.vpc_id {
            format!(
                "route table {} and gateway {} belong to different networks",
                table.id, gateway.id
            )
        } else if matches!(destination, IpNet::V4(_)) {
            format!(
                "The destination {destination} is IPv4, and {} takes IPv6 alone",
                gateway.id
            )
        } else {
            return Ok(RouteTarget::EgressOnly(gateway.id));
        };
        Err(ModelError::RouteTable(RouteTableError::Route {
            text: problem,
            field: "target",
            remedy: "Route IPv6 to the egress-only internet gateway of the VPC, and IPv4 to a NAT gateway.",
        }))
    }

    pub(super) fn peering_target(
        &self,
        table: &RouteTableRecord,
        reference: &ResourceRef<PeeringId>,
    ) -> Result<RouteTarget, ModelError> {
        let peering = self.peering(reference)?;
        if peering.state.is_over() {
            return Err(not_found(reference));
        }
        if peering.peer_of(table.vpc_id).is_some() {
            return Ok(RouteTarget::Peering(peering.id));
        }
        Err(ModelError::RouteTable(RouteTableError::Route {
            text: format!(
                "route table {} and VPC peering connection {} belong to different networks",
                table.id, peering.id
            ),
            field: "target",
            remedy: "Name a peering connection of the route table's VPC.",
        }))
    }

    pub(super) fn nat_target(
        &self,
        table: &RouteTableRecord,
        reference: &ResourceRef<NatGatewayId>,
    ) -> Result<RouteTarget, ModelError> {
        let gateway = self.nat_gateway(reference)?;
        if gateway.state.is_over() {
            return Err(not_found(reference));
        }
        if gateway.vpc_id == table.vpc_id {
            return Ok(RouteTarget::NatGateway(gateway.id));
        }
        Err(ModelError::RouteTable(RouteTableError::Route {
            text: format!(
                "route table {} and NAT gateway {} belong to different networks",
                table.id, gateway.id
            ),
            field: "target",
            remedy: "Name a NAT gateway of the route table's VPC.",
        }))
    }

    pub(super) fn gateway_target(
        &self,
        table: &RouteTableRecord,
        reference: &ResourceRef<InternetGatewayId>,
    ) -> Result<RouteTarget, ModelError> {
        let gateway = self.internet_gateway(reference)?.id;
        if self.is_gateway_of(gateway, table.vpc_id) {
            return Ok(RouteTarget::InternetGateway(gateway));
        }
        Err(ModelError::RouteTable(RouteTableError::Route {
            text: format!(
                "route table {} and network gateway {gateway} belong to different networks",
                table.id
            ),
            field: "target",
            remedy: "Attach the gateway to the route table's VPC first.",
        }))
    }
}
