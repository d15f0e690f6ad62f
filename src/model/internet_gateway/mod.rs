//! Declares an internet gateway: what a VPC's packets pass on their way to the outside and back (VPC guide, "Connect to the
//! internet using an internet gateway").

mod error;
mod rules;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::error::InternetGatewayError;
use crate::model::ids::{InternetGatewayId, ResourceRef, RouteTableId, VpcId};
use crate::model::naming::Tags;

/// An internet gateway as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// Its identifier.
    pub id: InternetGatewayId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that it is attached to.
    pub vpc_id: Option<VpcId>,
    /// The route table that packets from outside follow in the VPC, if one is associated (VPC guide, "Gateway route tables").
    #[serde(default)]
    pub route_table_id: Option<RouteTableId>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Makes an internet gateway. Outcome: the gateway.
#[derive(Debug, Clone, Default)]
pub struct CreateInternetGateway {
    /// A name that no other internet gateway has.
    pub name: Option<String>,
    /// The VPC that it is attached to at once.
    pub vpc: Option<ResourceRef<VpcId>>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes an internet gateway; `None` leaves a field as it is. Outcome: the gateway as it is now.
#[derive(Debug, Clone)]
pub struct ModifyInternetGateway {
    /// The gateway.
    pub gateway: ResourceRef<InternetGatewayId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyInternetGateway {
    /// A command that changes nothing yet.
    pub fn new(gateway: impl Into<ResourceRef<InternetGatewayId>>) -> Self {
        Self {
            gateway: gateway.into(),
            name: None,
            tags: None,
        }
    }
}

/// Deletes an internet gateway that is attached to no VPC. Outcome: the gateway as it was.
#[derive(Debug, Clone)]
pub struct DeleteInternetGateway(pub ResourceRef<InternetGatewayId>);

/// Attaches an internet gateway to a VPC that has none. Outcome: the gateway as it is now.
#[derive(Debug, Clone)]
pub struct AttachInternetGateway {
    /// The gateway.
    pub gateway: ResourceRef<InternetGatewayId>,
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
}

/// Detaches an internet gateway from its VPC; routes to it become black holes. Outcome: the gateway as it is now.
#[derive(Debug, Clone)]
pub struct DetachInternetGateway {
    /// The gateway.
    pub gateway: ResourceRef<InternetGatewayId>,
    /// The VPC that it has to be attached to; any if left out.
    pub vpc: Option<ResourceRef<VpcId>>,
}
