//! Declares an egress-only internet gateway: hosts of a VPC begin connections to the outside by IPv6 through it, and nothing
//! begins one to them (VPC guide, "Egress-only internet gateways"; firewall facts E1).

mod rules;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::model::ids::{EgressOnlyGatewayId, ResourceRef, VpcId};
use crate::model::naming::Tags;

/// An egress-only internet gateway as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressOnlyGateway {
    /// Its identifier.
    pub id: EgressOnlyGatewayId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that it is attached to, for life.
    pub vpc_id: VpcId,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Makes an egress-only internet gateway. Outcome: the gateway.
#[derive(Debug, Clone)]
pub struct CreateEgressOnlyGateway {
    /// A name that no other egress-only internet gateway has.
    pub name: Option<String>,
    /// The VPC that it is attached to.
    pub vpc: ResourceRef<VpcId>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes an egress-only internet gateway; `None` leaves a field as it is. Outcome: the gateway as it is now.
#[derive(Debug, Clone)]
pub struct ModifyEgressOnlyGateway {
    /// The gateway.
    pub gateway: ResourceRef<EgressOnlyGatewayId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyEgressOnlyGateway {
    /// A command that changes nothing yet.
    pub fn new(gateway: impl Into<ResourceRef<EgressOnlyGatewayId>>) -> Self {
        Self {
            gateway: gateway.into(),
            name: None,
            tags: None,
        }
    }
}

/// Deletes an egress-only internet gateway; routes to it become black holes. Outcome: the gateway as it was.
#[derive(Debug, Clone)]
pub struct DeleteEgressOnlyGateway(pub ResourceRef<EgressOnlyGatewayId>);
