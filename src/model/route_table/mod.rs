//! Defines a route table: destinations and targets, for the subnets that are associated with it. Each VPC has a main
//! one for the subnets without an explicit association (VPC guide, "Route tables").

mod changes;
mod error;
mod inbound;
mod rules;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::endpoint::EndpointRoute;
use crate::model::ids::{
    EgressOnlyGatewayId, InterfaceId, InternetGatewayId, NatGatewayId, PeeringId, ResourceRef, RouteTableId, SubnetId,
    VpcId,
};
use crate::model::naming::Tags;
pub use error::RouteTableError;

/// A declared route table.
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// Its identifier.
    pub id: RouteTableId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that it is part of.
    pub vpc_id: VpcId,
    /// Whether it is the main one, of the subnets without an explicit association.
    pub main: bool,
    /// The subnets that are explicitly associated with it, by identifier.
    pub subnet_ids: Vec<SubnetId>,
    /// The internet gateways that it is associated with: packets that they let in follow its routes.
    pub gateway_ids: Vec<InternetGatewayId>,
    /// Its routes, the VPC's own ranges first.
    pub routes: Vec<Route>,
    /// Its routes to gateway endpoints.
    pub endpoint_routes: Vec<EndpointRoute>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// A route table as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableRecord {
    /// Its identifier.
    pub id: RouteTableId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that it is part of.
    pub vpc_id: VpcId,
    /// Its routes by destination.
    pub routes: BTreeMap<IpNet, RouteEntry>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// A route as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// Its target.
    pub target: RouteTarget,
    /// Its origin.
    pub origin: RouteOrigin,
}

/// A route of a table before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// The table.
    pub table: RouteTableId,
    /// The destination.
    pub destination: IpNet,
    /// The former route.
    pub before: Option<RouteEntry>,
    /// The present route.
    pub after: Option<RouteEntry>,
}

/// The explicit association of a subnet before and after; none stands for the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// The subnet.
    pub subnet: SubnetId,
    /// The former table.
    pub before: Option<RouteTableId>,
    /// The present table.
    pub after: Option<RouteTableId>,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Its destination.
    pub destination: IpNet,
    /// Its target.
    pub target: RouteTarget,
    /// Whether its target is available.
    pub state: RouteState,
    /// Its origin.
    pub origin: RouteOrigin,
}

/// The target of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// The owner of the destination address in the VPC.
    Local,
    /// One interface of the VPC, whatever the destination.
    Interface(InterfaceId),
    /// The outside, by an internet gateway.
    InternetGateway(InternetGatewayId),
    /// Other networks, by a NAT gateway.
    NatGateway(NatGatewayId),
    /// The outside by IPv6, by an egress-only internet gateway.
    EgressOnly(EgressOnlyGatewayId),
    /// Another VPC, by a peering connection.
    Peering(PeeringId),
    /// None, intentionally.
    Blackhole,
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Interface(id) => id.fmt(f),
            Self::InternetGateway(id) => id.fmt(f),
            Self::NatGateway(id) => id.fmt(f),
            Self::EgressOnly(id) => id.fmt(f),
            Self::Peering(id) => id.fmt(f),
            Self::Blackhole => f.write_str("blackhole"),
        }
    }
}

/// A target as given: `local`, `blackhole`, or an interface or gateway by identifier or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetRef {
    /// The owner of the destination address in the VPC.
    Local,
    /// None.
    Blackhole,
    /// One interface, or the gateway of that name where no interface has it.
    Interface(ResourceRef<InterfaceId>),
    /// To an internet gateway.
    InternetGateway(ResourceRef<InternetGatewayId>),
    /// To a NAT gateway.
    NatGateway(ResourceRef<NatGatewayId>),
    /// To an egress-only internet gateway.
    EgressOnly(ResourceRef<EgressOnlyGatewayId>),
    /// To a peered VPC.
    Peering(ResourceRef<PeeringId>),
}

impl TargetRef {
    /// Reads a target. An interface with one of the two words as its name must be given by its identifier.
    pub fn new(text: &str) -> Self {
        match text {
            "local" => Self::Local,
            "blackhole" => Self::Blackhole,
            text => {
                if let Ok(gateway) = text.parse::<InternetGatewayId>() {
                    return Self::InternetGateway(gateway.into());
                }
                if let Ok(gateway) = text.parse::<NatGatewayId>() {
                    return Self::NatGateway(gateway.into());
                }
                if let Ok(gateway) = text.parse::<EgressOnlyGatewayId>() {
                    return Self::EgressOnly(gateway.into());
                }
                if let Ok(peering) = text.parse::<PeeringId>() {
                    return Self::Peering(peering.into());
                }
                Self::Interface(ResourceRef::new(text))
            }
        }
    }
}

impl From<InterfaceId> for TargetRef {
    fn from(id: InterfaceId) -> Self {
        Self::Interface(id.into())
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Interface(reference) => reference.fmt(f),
            Self::InternetGateway(reference) => reference.fmt(f),
            Self::NatGateway(reference) => reference.fmt(f),
            Self::EgressOnly(reference) => reference.fmt(f),
            Self::Peering(reference) => reference.fmt(f),
        }
    }
}

impl Serialize for TargetRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self::new(&text))
    }
}

/// Whether a route's target is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RouteState {
    /// Its target is available.
    Active,
    /// Its target is deleted or detached: packets are dropped.
    Blackhole,
}

/// The origin of a route, in the words of the EC2 API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RouteOrigin {
    /// A local route, created with the table.
    CreateRouteTable,
    /// Created by a request.
    CreateRoute,
}

/// Creates a route table with the local routes of its VPC. Outcome: the table.
#[derive(Debug, Clone)]
pub struct CreateRouteTable {
    /// A name that no other route table has.
    pub name: Option<String>,
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes a route table; `None` leaves a field unchanged. Outcome: the changed table.
#[derive(Debug, Clone)]
pub struct ModifyRouteTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// `true` makes it the main one of its VPC, replacing the former one.
    pub main: Option<bool>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyRouteTable {
    /// A command without changes.
    pub fn new(table: impl Into<ResourceRef<RouteTableId>>) -> Self {
        Self {
            table: table.into(),
            name: None,
            main: None,
            tags: None,
        }
    }
}

/// Deletes a route table that is neither a main one nor associated with a subnet. Outcome: the former table.
#[derive(Debug, Clone)]
pub struct DeleteRouteTable(pub ResourceRef<RouteTableId>);

/// Associates a subnet with a route table. Outcome: the changed table.
#[derive(Debug, Clone)]
pub struct AssociateRouteTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
    /// Whether an association with another table is replaced; it is refused otherwise.
    pub replacing: bool,
}

/// Returns a subnet to the main table. Outcome: its former table, as changed.
#[derive(Debug, Clone)]
pub struct DisassociateRouteTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
}

/// Associates an internet gateway with a route table of its VPC. Outcome: the changed table.
#[derive(Debug, Clone)]
pub struct AssociateGatewayTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// The gateway.
    pub gateway: ResourceRef<InternetGatewayId>,
    /// Whether an association with another table is replaced; it is refused otherwise.
    pub replacing: bool,
}

/// Ends the association of an internet gateway with a route table. Outcome: its former table, as changed.
#[derive(Debug, Clone)]
pub struct DisassociateGatewayTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// The gateway.
    pub gateway: ResourceRef<InternetGatewayId>,
}

/// Edits one route of a table. Outcome: the changed table.
#[derive(Debug, Clone)]
pub struct EditRoute {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// The edit.
    pub edit: RouteEdit,
}

/// One edit of the routes of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteEdit {
    /// Creates a route; the destination must have none.
    Create(IpNet, TargetRef),
    /// Replaces the target of a route.
    Replace(IpNet, TargetRef),
    /// Creates a route, or replaces the target of the existing one.
    Put(IpNet, TargetRef),
    /// Deletes the route of a destination.
    Delete(IpNet),
}
