//! Lists why an edit of a route table or of its routes is refused.

use ipnet::IpNet;

use crate::model::error::RefusalKind;
use crate::model::ids::{InternetGatewayId, RouteTableId, SubnetId};

/// A refusal. `Display` is the message; where tools parse AWS's message it is AWS's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteTableError {
    /// A route that is not allowed, in EC2's words where known.
    #[error("{text}")]
    Route {
        /// The message.
        text: String,
        /// The field at fault.
        field: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// A second route with the same destination.
    #[error("The route identified by {destination} already exists.")]
    RouteExists {
        /// The destination.
        destination: IpNet,
    },
    /// The route does not exist.
    #[error("no route with destination-cidr-block {destination} in route table {table}")]
    NoRoute {
        /// The table.
        table: RouteTableId,
        /// The destination.
        destination: IpNet,
    },
    /// The main route table of a VPC cannot be deleted, nor lose its place unless another table becomes the main one.
    #[error("The route table '{table}' is the main one of its VPC")]
    Main {
        /// The table.
        table: RouteTableId,
    },
    /// The subnet has no explicit association with the table.
    #[error("The subnet '{subnet}' is not explicitly associated with route table {table}")]
    NotAssociated {
        /// The subnet.
        subnet: SubnetId,
        /// The named table.
        table: RouteTableId,
    },
    /// The internet gateway is not associated with the table.
    #[error("Internet gateway {gateway} is not associated with route table {table}")]
    GatewayNotAssociated {
        /// The gateway.
        gateway: InternetGatewayId,
        /// The table.
        table: RouteTableId,
    },
    /// The subnet or the gateway is associated with another table, in EC2's words.
    #[error("the specified association for route table {table} conflicts with an existing association")]
    AlreadyAssociated {
        /// The table that was to have it.
        table: RouteTableId,
    },
    /// The table and the subnet are in different VPCs.
    #[error("Route table {table} and subnet {subnet} belong to different networks")]
    DifferentNetworks {
        /// The table.
        table: RouteTableId,
        /// The subnet.
        subnet: SubnetId,
    },
}

impl RouteTableError {
    /// The error code of EC2 for this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Main { .. } => "DependencyViolation",
            Self::RouteExists { .. } => "RouteAlreadyExists",
            Self::NoRoute { .. } => "InvalidRoute.NotFound",
            Self::NotAssociated { .. } | Self::GatewayNotAssociated { .. } => "InvalidAssociationID.NotFound",
            Self::AlreadyAssociated { .. } => "Resource.AlreadyAssociated",
            Self::Route { .. } | Self::DifferentNetworks { .. } => "InvalidParameterValue",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Route { field, .. } => field,
            Self::RouteExists { .. } | Self::NoRoute { .. } => "destination",
            Self::NotAssociated { .. } | Self::DifferentNetworks { .. } => "subnet",
            Self::GatewayNotAssociated { .. } => "internet_gateway",
            Self::AlreadyAssociated { .. } => "route_table",
            Self::Main { .. } => "main",
        }
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Route { remedy, .. } => (*remedy).into(),
            Self::RouteExists { .. } => "Replace the route instead.".into(),
            Self::NoRoute { .. } => "Show the route table to see its routes.".into(),
            Self::Main { .. } => "Make another table the main one first.".into(),
            Self::AlreadyAssociated { .. } => "Replace the association, or end it first.".into(),
            Self::NotAssociated { .. } => "Show the route table to see its subnets.".into(),
            Self::GatewayNotAssociated { .. } => "Show the route table to see its gateways.".into(),
            Self::DifferentNetworks { .. } => "Choose a subnet of the route table's VPC.".into(),
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::NoRoute { .. } => RefusalKind::NotFound,
            Self::RouteExists { .. }
            | Self::Main { .. }
            | Self::AlreadyAssociated { .. }
            | Self::NotAssociated { .. }
            | Self::GatewayNotAssociated { .. } => RefusalKind::Conflict,
            Self::Route { .. } | Self::DifferentNetworks { .. } => RefusalKind::Invalid,
        }
    }
}
