//! Declares a NAT gateway: hosts of private subnets reach other networks through it, and are not reached from there (VPC
//! guide, "NAT gateways"; firewall facts A1 to A18). It has an interface of its own in a subnet.

mod addresses;
mod error;
mod rules;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use self::error::NatGatewayError;
use crate::model::ids::{AddressAssociationId, AllocationId, InterfaceId, NatGatewayId, ResourceRef, SubnetId, VpcId};
use crate::model::naming::Tags;

/// A NAT gateway as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    /// Its identifier.
    pub id: NatGatewayId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC of its subnet.
    pub vpc_id: VpcId,
    /// The subnet of its interface.
    pub subnet_id: SubnetId,
    /// Whether it sends to the outside.
    pub connectivity: Connectivity,
    /// How far it is in its life.
    pub state: NatState,
    /// Why it failed.
    pub failure: Option<NatFailure>,
    /// Its interface; none once it has failed or is deleted.
    pub interface_id: Option<InterfaceId>,
    /// Its addresses, the primary one first.
    pub addresses: Vec<NatAddress>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was deleted.
    pub deleted_at: Option<SystemTime>,
    /// What made the request idempotent.
    pub client_token: Option<String>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// The networks that hosts reach by a NAT gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Connectivity {
    /// To the outside by the internet gateway, with Elastic IP addresses, and to other networks with private ones.
    #[default]
    Public,
    /// To other networks alone.
    Private,
}

impl Connectivity {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// How far a NAT gateway is in its life (EC2 API, NatGateway).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum NatState {
    /// It is being made, and passes nothing yet.
    Pending,
    /// It could not be made. It is listed for a while.
    Failed,
    /// It passes packets.
    Available,
    /// It is being deleted, and passes nothing.
    Deleting,
    /// It is gone, and listed for a while.
    Deleted,
}

impl NatState {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Available => "available",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// Whether it is there no more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Deleted)
    }
}

/// Why a NAT gateway failed, in EC2's words (EC2 API, NatGateway).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatFailure {
    /// As in `Gateway.NotAttached`.
    pub code: String,
    /// For the reader.
    pub message: String,
}

/// An address of a NAT gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatAddress {
    /// The Elastic IP address; none for a private gateway.
    pub allocation: Option<(AllocationId, AddressAssociationId, Ipv4Addr)>,
    /// The private address of its interface.
    pub private_ip: Ipv4Addr,
    /// Whether it drains: connections go on with it, and none begins.
    pub drains: bool,
}

/// Makes a NAT gateway. Outcome: the gateway.
#[derive(Debug, Clone)]
pub struct CreateNatGateway {
    /// A name that no other NAT gateway has.
    pub name: Option<String>,
    /// The subnet of its interface.
    pub subnet: ResourceRef<SubnetId>,
    /// Whether it sends to the outside.
    pub connectivity: Connectivity,
    /// The Elastic IP addresses of a public one, the primary one first.
    pub allocations: Vec<ResourceRef<AllocationId>>,
    /// Its private addresses, the primary one first; free ones where they are left out.
    pub private_ips: Vec<Ipv4Addr>,
    /// Further private addresses of a private one, chosen from those that are free.
    pub further: usize,
    /// Tags other than the name.
    pub tags: Tags,
    /// What makes the request idempotent.
    pub client_token: Option<String>,
    /// The time.
    pub at: SystemTime,
    /// Whether it is pending first. Otherwise it is available at once.
    pub pending: bool,
    /// Whether what cannot be made becomes a gateway that has failed, as on EC2. Otherwise it is refused.
    pub may_fail: bool,
}

impl CreateNatGateway {
    /// A public gateway in a subnet, with an Elastic IP address, available at once.
    pub fn new(subnet: impl Into<ResourceRef<SubnetId>>, at: SystemTime) -> Self {
        Self {
            name: None,
            subnet: subnet.into(),
            connectivity: Connectivity::Public,
            allocations: Vec::new(),
            private_ips: Vec::new(),
            further: 0,
            tags: Tags::new(),
            client_token: None,
            at,
            pending: false,
            may_fail: false,
        }
    }
}

/// Changes a NAT gateway; `None` leaves a field as it is. Outcome: the gateway as it is now.
#[derive(Debug, Clone)]
pub struct ModifyNatGateway {
    /// The gateway.
    pub gateway: ResourceRef<NatGatewayId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyNatGateway {
    /// A command that changes nothing yet.
    pub fn new(gateway: impl Into<ResourceRef<NatGatewayId>>) -> Self {
        Self {
            gateway: gateway.into(),
            name: None,
            tags: None,
        }
    }
}

/// A pending NAT gateway becomes available; one in another state stays as it is.
#[derive(Debug, Clone, Copy)]
pub struct FinishNatGateway(pub NatGatewayId);

/// Deletes a NAT gateway. Its connections are cut, its Elastic IP addresses stay allocated, and routes to it become black
/// holes (firewall facts A13). Outcome: the gateway as it is now.
#[derive(Debug, Clone)]
pub struct DeleteNatGateway {
    /// The gateway.
    pub gateway: ResourceRef<NatGatewayId>,
    /// How far it goes.
    pub to: Deletion,
    /// The time.
    pub at: SystemTime,
}

/// How far the deletion of a NAT gateway goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is being deleted.
    Begun,
    /// It is deleted, and listed.
    Done,
    /// Nothing is left of it.
    Forgotten,
}

/// Gives a NAT gateway further addresses. Outcome: the gateway as it is now.
#[derive(Debug, Clone)]
pub struct AddNatAddresses {
    /// The gateway.
    pub gateway: ResourceRef<NatGatewayId>,
    /// Elastic IP addresses, for a public one.
    pub allocations: Vec<ResourceRef<AllocationId>>,
    /// Private addresses; free ones where they are left out.
    pub private_ips: Vec<Ipv4Addr>,
    /// Further private addresses, for a private one.
    pub further: usize,
}

/// Lets addresses of a NAT gateway drain: no connection begins with them (firewall facts A4). Outcome: the gateway as it is
/// now.
#[derive(Debug, Clone)]
pub struct DrainNatAddresses {
    /// The gateway.
    pub gateway: ResourceRef<NatGatewayId>,
    /// The private addresses, none of which is the primary one.
    pub private_ips: Vec<Ipv4Addr>,
}

/// Takes addresses away from a NAT gateway; their connections are cut. Those that it does not have are left alone. Outcome: the
/// gateway as it is now.
#[derive(Debug, Clone)]
pub struct RemoveNatAddresses {
    /// The gateway.
    pub gateway: ResourceRef<NatGatewayId>,
    /// The private addresses, none of which is the primary one.
    pub private_ips: Vec<Ipv4Addr>,
}
