//! Declares a public IPv4 address: an Elastic IP address, or one that EC2 assigned to an instance by itself. An internet
//! gateway translates between it and one private address of one interface (VPC guide, "Elastic IP addresses").

mod automatic;
mod error;
mod rules;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use self::error::ElasticIpError;
use crate::model::ids::{AddressAssociationId, AllocationId, InstanceId, InterfaceId, ResourceRef};
use crate::model::naming::Tags;

/// The ranges that a public address may lie in: for documentation (RFC 5737) and for benchmarks (RFC 2544), the ones that
/// are drawn from first at the front. TEST-NET-2 is left to the hosts of the outside.
pub const RANGES: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
];

/// A public address as declared, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// The identifier of its allocation.
    pub id: AllocationId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The address.
    pub public_ip: Ipv4Addr,
    /// EC2 assigned it by itself and takes it back by itself: no Elastic IP address of the account.
    pub automatic: bool,
    /// What it is associated with.
    pub association: Option<AddressAssociation>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// The association of a public address with a private one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAssociation {
    /// Its identifier.
    pub id: AddressAssociationId,
    /// The interface.
    pub interface_id: InterfaceId,
    /// The private address of the interface.
    pub private_ip: Ipv4Addr,
}

/// Allocates an Elastic IP address. Outcome: the address.
#[derive(Debug, Clone, Default)]
pub struct AllocateAddress {
    /// A name that no other address has.
    pub name: Option<String>,
    /// The address; one that is free if left out.
    pub public_ip: Option<Ipv4Addr>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes an Elastic IP address; `None` leaves a field as it is. Outcome: the address as it is now.
#[derive(Debug, Clone)]
pub struct ModifyAddress {
    /// The address.
    pub address: ResourceRef<AllocationId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyAddress {
    /// A command that changes nothing yet.
    pub fn new(address: impl Into<ResourceRef<AllocationId>>) -> Self {
        Self {
            address: address.into(),
            name: None,
            tags: None,
        }
    }
}

/// Releases an Elastic IP address that is associated with nothing. Outcome: the address as it was.
#[derive(Debug, Clone)]
pub struct ReleaseAddress(pub ResourceRef<AllocationId>);

/// Associates an Elastic IP address with a private address. One that the private address had before is disassociated and
/// stays allocated. Outcome: the address as it is now.
#[derive(Debug, Clone)]
pub struct AssociateAddress {
    /// The address.
    pub address: ResourceRef<AllocationId>,
    /// What it is associated with.
    pub with: AssociateWith,
    /// The private address; the primary one if left out.
    pub private_ip: Option<Ipv4Addr>,
    /// Whether it may be taken from what it is associated with.
    pub reassociation_allowed: bool,
}

/// What an address is associated with.
#[derive(Debug, Clone)]
pub enum AssociateWith {
    /// An interface.
    Interface(ResourceRef<InterfaceId>),
    /// The one interface of an instance.
    Instance(ResourceRef<InstanceId>),
}

/// Ends the association of an Elastic IP address; one without stays as it is (firewall facts G6). Outcome: the address as it
/// is now.
#[derive(Debug, Clone)]
pub struct DisassociateAddress(pub AssociationRef);

/// An association as it is named.
#[derive(Debug, Clone)]
pub enum AssociationRef {
    /// By its own identifier.
    Id(AddressAssociationId),
    /// By its address.
    Address(ResourceRef<AllocationId>),
}
