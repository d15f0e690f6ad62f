//! A route table: destinations and where they lead, for the subnets that are associated with it. Each VPC has a main one,
//! for the subnets that name none (VPC guide, "Route tables").

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::ids::{InterfaceId, ResourceRef, RouteTableId, SubnetId, VpcId};
use crate::model::naming::Tags;

/// A route table as declared.
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// Its identifier.
    pub id: RouteTableId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that it is part of.
    pub vpc_id: VpcId,
    /// Whether it is the one of the subnets that are associated with none.
    pub main: bool,
    /// The subnets that are associated with it by name, by identifier.
    pub subnet_ids: Vec<SubnetId>,
    /// Its routes, the VPC's own ranges first.
    pub routes: Vec<Route>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// A route table as it is stored.
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

/// A route as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// Where it leads.
    pub target: RouteTarget,
    /// How it came to be.
    pub origin: RouteOrigin,
}

/// A route of a table before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// The table.
    pub table: RouteTableId,
    /// The destination.
    pub destination: IpNet,
    /// The route that was there.
    pub before: Option<RouteEntry>,
    /// The route that is there now.
    pub after: Option<RouteEntry>,
}

/// The route table that a subnet is explicitly associated with, before and after; none stands for the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// The subnet.
    pub subnet: SubnetId,
    /// The table that it had.
    pub before: Option<RouteTableId>,
    /// The table that it has now.
    pub after: Option<RouteTableId>,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// What it leads to.
    pub destination: IpNet,
    /// Where it leads.
    pub target: RouteTarget,
    /// Whether its target is there.
    pub state: RouteState,
    /// How it came to be.
    pub origin: RouteOrigin,
}

/// Where a route leads. Gateways to the outside of the VPC will be further variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// To whomever the mapping service names.
    Local,
    /// To one interface of the VPC, whatever the destination.
    Interface(InterfaceId),
    /// Nowhere, by intent.
    Blackhole,
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Interface(id) => id.fmt(f),
            Self::Blackhole => f.write_str("blackhole"),
        }
    }
}

/// A target as a person names it: `local`, `blackhole`, or an interface by identifier or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetRef {
    /// To whomever the mapping service names.
    Local,
    /// Nowhere.
    Blackhole,
    /// To one interface.
    Interface(ResourceRef<InterfaceId>),
}

impl TargetRef {
    /// Reads a target. An interface that bears one of the two words as its name is to be named by its identifier.
    pub fn new(text: &str) -> Self {
        match text {
            "local" => Self::Local,
            "blackhole" => Self::Blackhole,
            text => Self::Interface(ResourceRef::new(text)),
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

/// Whether a route's target is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RouteState {
    /// It leads to its target.
    Active,
    /// Its target is deleted or detached: what it leads is dropped.
    Blackhole,
}

/// How a route came to be, in the words of the EC2 API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RouteOrigin {
    /// With the table: a local route.
    CreateRouteTable,
    /// By a request.
    CreateRoute,
}

/// Makes a route table with the local routes of its VPC. Outcome: the table.
#[derive(Debug, Clone)]
pub struct CreateRouteTable {
    /// A name that no other route table has.
    pub name: Option<String>,
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes a route table; `None` leaves a field as it is. Outcome: the table as it is now.
#[derive(Debug, Clone)]
pub struct ModifyRouteTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// `true` makes it the main one of its VPC, in place of the one that was.
    pub main: Option<bool>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyRouteTable {
    /// A command that changes nothing yet.
    pub fn new(table: impl Into<ResourceRef<RouteTableId>>) -> Self {
        Self {
            table: table.into(),
            name: None,
            main: None,
            tags: None,
        }
    }
}

/// Deletes a route table that is neither a main one nor associated with a subnet. Outcome: the table as it was.
#[derive(Debug, Clone)]
pub struct DeleteRouteTable(pub ResourceRef<RouteTableId>);

/// Associates a subnet with a route table, in place of the one that it had. Outcome: the table as it is now.
#[derive(Debug, Clone)]
pub struct AssociateRouteTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
}

/// Gives a subnet back to the main table. Outcome: the table that it had, as it is now.
#[derive(Debug, Clone)]
pub struct DisassociateRouteTable {
    /// The table.
    pub table: ResourceRef<RouteTableId>,
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
}

/// Edits one route of a table. Outcome: the table as it is now.
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
    /// Adds a route; the destination must have none.
    Create(IpNet, TargetRef),
    /// Gives the route of a destination another target.
    Replace(IpNet, TargetRef),
    /// Adds a route, or gives the one that is there another target.
    Put(IpNet, TargetRef),
    /// Takes the route of a destination away.
    Delete(IpNet),
}
