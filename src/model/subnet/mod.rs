//! Defines a subnet: the part of a VPC's addresses within which frames are forwarded by MAC address.

pub mod plan;
pub mod reservation;
mod rules;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use self::reservation::Reservation;
use crate::model::ids::{ResourceRef, SubnetId, VpcId};
use crate::model::naming::Tags;
use crate::wire::MacAddr;

/// A declared subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its identifier.
    pub id: SubnetId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that it is part of.
    pub vpc_id: VpcId,
    /// IPv4 addresses, inside a block of the VPC. A subnet has this, the next, or both.
    pub cidr_block: Option<Ipv4Net>,
    /// IPv6 addresses, a /64 inside a block of the VPC.
    pub ipv6_cidr_block: Option<Ipv6Net>,
    /// Its availability zone.
    pub availability_zone: String,
    /// The router's MAC, chosen by the VPC's profile when the subnet is created.
    pub router_mac: MacAddr,
    /// Whether an instance that is launched here is given a public IPv4 address.
    pub map_public_ip_on_launch: bool,
    /// Whether an interface that the EC2 API makes here is given an IPv6 address without asking.
    #[serde(default)]
    pub assign_ipv6_on_creation: bool,
    /// Whether the VPC's resolver gives its hosts an address in `64:ff9b::/96` for a name that has IPv4 addresses alone.
    #[serde(default)]
    pub enable_dns64: bool,
    /// Whether it is the default subnet of its zone, in which a launch without a subnet takes place.
    #[serde(default)]
    pub default_for_az: bool,
    /// Parts that are kept out of what is drawn for interfaces.
    #[serde(default)]
    pub reservations: Vec<Reservation>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Creates a subnet. Outcome: the subnet.
#[derive(Debug, Clone)]
pub struct CreateSubnet {
    /// A name that no other subnet has.
    pub name: Option<String>,
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
    /// IPv4 block, /16 to /28.
    pub cidr_block: Option<Ipv4Net>,
    /// IPv6 block, /64.
    pub ipv6_cidr_block: Option<Ipv6Net>,
    /// Its availability zone; zone `a` of the region if left out.
    pub availability_zone: Option<String>,
    /// The router's MAC; chosen by the VPC's profile if left out.
    pub router_mac: Option<MacAddr>,
    /// Tags other than the name.
    pub tags: Tags,
}

impl CreateSubnet {
    /// A subnet of a VPC with defaults otherwise. It takes a block as well.
    pub fn new(vpc: impl Into<ResourceRef<VpcId>>) -> Self {
        Self {
            name: None,
            vpc: vpc.into(),
            cidr_block: None,
            ipv6_cidr_block: None,
            availability_zone: None,
            router_mac: None,
            tags: Tags::new(),
        }
    }
}

/// Changes a subnet; `None` leaves a field unchanged. Its IPv4 block cannot change. Outcome: the changed subnet.
#[derive(Debug, Clone)]
pub struct ModifySubnet {
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// Whether instances that are launched from now on are given a public IPv4 address.
    pub map_public_ip_on_launch: Option<bool>,
    /// Whether interfaces that the EC2 API makes are given IPv6 addresses without asking.
    pub assign_ipv6_on_creation: Option<bool>,
    /// Whether the VPC's resolver gives its hosts IPv6 addresses for names that have IPv4 addresses alone.
    pub enable_dns64: Option<bool>,
    /// An IPv6 block where there is none, or none where no interface has an IPv6 address.
    pub ipv6_cidr_block: Option<Option<Ipv6Net>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifySubnet {
    /// A command without changes.
    pub fn new(subnet: impl Into<ResourceRef<SubnetId>>) -> Self {
        Self {
            subnet: subnet.into(),
            name: None,
            map_public_ip_on_launch: None,
            assign_ipv6_on_creation: None,
            enable_dns64: None,
            ipv6_cidr_block: None,
            tags: None,
        }
    }
}

/// Deletes a subnet without interfaces. Outcome: the former subnet.
#[derive(Debug, Clone)]
pub struct DeleteSubnet(pub ResourceRef<SubnetId>);
