//! Declares a gateway endpoint: what hosts of a VPC reach Amazon S3 or DynamoDB by, without a public address and without an
//! internet gateway (VPC guide, "Gateway endpoints"; firewall facts V1). It is a route from a prefix list to the endpoint, in
//! the route tables that it names.

mod error;
mod rules;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use self::error::EndpointError;
pub use self::service::GatewayService;
use crate::model::ids::{EndpointId, PrefixListId, ResourceRef, RouteTableId, VpcId};
use crate::model::naming::Tags;

/// A gateway endpoint as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its identifier.
    pub id: EndpointId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC whose hosts it serves, for life.
    pub vpc_id: VpcId,
    /// The service that it reaches, for life.
    pub service: GatewayService,
    /// The route tables that route the service's prefix list to it.
    pub route_tables: BTreeSet<RouteTableId>,
    /// The policy that was given, as text. It is kept and shown; no request is read here, so it refuses none.
    pub policy: Option<String>,
    /// When it was made.
    pub created: SystemTime,
    /// Tags other than the name.
    pub tags: Tags,
}

/// A route of a table to a gateway endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointRoute {
    /// Its destination: the addresses of the service.
    pub prefix_list: PrefixListId,
    /// Its target.
    pub endpoint: EndpointId,
}

/// Makes a gateway endpoint. Outcome: the endpoint.
#[derive(Debug, Clone)]
pub struct CreateEndpoint {
    /// A name that no other endpoint has.
    pub name: Option<String>,
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
    /// The service: its full name, as in `com.amazonaws.us-east-1.s3`, or its last word.
    pub service: String,
    /// The route tables that are to route to it.
    pub route_tables: Vec<ResourceRef<RouteTableId>>,
    /// A policy, as text.
    pub policy: Option<String>,
    /// The time.
    pub at: SystemTime,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes a gateway endpoint; `None` leaves a field as it is. Outcome: the endpoint as it is now.
#[derive(Debug, Clone)]
pub struct ModifyEndpoint {
    /// The endpoint.
    pub endpoint: ResourceRef<EndpointId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All route tables.
    pub route_tables: Option<Vec<ResourceRef<RouteTableId>>>,
    /// Further route tables.
    pub add: Vec<ResourceRef<RouteTableId>>,
    /// Route tables that no longer route to it.
    pub remove: Vec<ResourceRef<RouteTableId>>,
    /// A new policy, or none.
    pub policy: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyEndpoint {
    /// A command that changes nothing yet.
    pub fn new(endpoint: impl Into<ResourceRef<EndpointId>>) -> Self {
        Self {
            endpoint: endpoint.into(),
            name: None,
            route_tables: None,
            add: Vec::new(),
            remove: Vec::new(),
            policy: None,
            tags: None,
        }
    }
}

/// Deletes a gateway endpoint, and its routes with it. Outcome: the endpoint as it was.
#[derive(Debug, Clone)]
pub struct DeleteEndpoint(pub ResourceRef<EndpointId>);
