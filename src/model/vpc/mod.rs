//! Defines a VPC: a set of address blocks behind one implicit router, and its profile.

mod default;
mod rules;

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use self::default::{CreateDefaultSubnet, CreateDefaultVpc, DefaultVpcError};
use crate::model::dhcp_options::DhcpOptionsChoice;
use crate::model::ids::{DhcpOptionsId, NetworkAclId, ResourceRef, RouteTableId, VpcId};
use crate::model::naming::Tags;
use crate::model::profile::Profile;

/// A declared VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its identifier.
    pub id: VpcId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// IPv4 blocks, at least one; the first is the primary one, for life.
    pub cidr_blocks: Vec<Ipv4Net>,
    /// IPv6 blocks.
    pub ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// Its profile.
    pub profile: Arc<Profile>,
    /// Its DHCP option set; none stands for a set without options.
    pub dhcp_options_id: Option<DhcpOptionsId>,
    /// The route table of subnets without an explicit association.
    pub main_route_table_id: RouteTableId,
    /// The network ACL that it was made with, which new subnets have.
    pub default_network_acl_id: NetworkAclId,
    /// What can be switched on and off.
    #[serde(default)]
    pub attributes: VpcAttributes,
    /// Whether it is the default VPC of the region, in which a launch without a subnet takes place.
    #[serde(default)]
    pub default: bool,
    /// Tags other than the name.
    pub tags: Tags,
}

/// The attributes of a VPC that EC2 describes one at a time ("DNS attributes for your VPC", VPC guide).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VpcAttributes {
    /// Whether the resolver answers.
    pub dns_support: bool,
    /// Whether public addresses have names.
    pub dns_hostnames: bool,
    /// Whether the use of addresses is measured. It has no effect here, as its metrics are none of the EC2 API.
    pub address_usage_metrics: bool,
}

impl Default for VpcAttributes {
    fn default() -> Self {
        Self {
            dns_support: true,
            dns_hostnames: true,
            address_usage_metrics: false,
        }
    }
}

impl VpcAttributes {
    /// Those of a VPC that EC2 makes: only a default VPC has names of public addresses.
    pub fn of_ec2() -> Self {
        Self {
            dns_hostnames: false,
            ..Self::default()
        }
    }
}

impl Vpc {
    /// Its blocks of both families, for which it has local routes.
    pub fn ranges(&self) -> Vec<IpNet> {
        let ipv4 = self.cidr_blocks.iter().copied().map(IpNet::V4);
        ipv4.chain(self.ipv6_cidr_blocks.iter().copied().map(IpNet::V6))
            .collect()
    }
}

/// Creates a VPC. Outcome: the VPC.
#[derive(Debug, Clone)]
pub struct CreateVpc {
    /// A name that no other VPC has.
    pub name: Option<String>,
    /// IPv4 blocks from /16 to /28, the primary one first.
    pub cidr_blocks: Vec<Ipv4Net>,
    /// IPv6 blocks from /44 to /60 in steps of 4.
    pub ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// Its profile.
    pub profile: Arc<Profile>,
    /// Its DHCP options; those of the region if left out.
    pub dhcp_options: Option<DhcpOptionsChoice>,
    /// Its attributes.
    pub attributes: VpcAttributes,
    /// Tags other than the name.
    pub tags: Tags,
}

impl CreateVpc {
    /// A VPC as AWS's, with an IPv4 block and defaults otherwise.
    pub fn new(cidr_block: Ipv4Net) -> Self {
        Self {
            name: None,
            cidr_blocks: vec![cidr_block],
            ipv6_cidr_blocks: Vec::new(),
            profile: Arc::new(Profile::aws()),
            dhcp_options: None,
            attributes: VpcAttributes::default(),
            tags: Tags::new(),
        }
    }
}

/// Changes a VPC; `None` leaves a field unchanged. Outcome: the changed VPC.
#[derive(Debug, Clone)]
pub struct ModifyVpc {
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All IPv4 blocks: the primary one stays first; a block that a subnet uses stays.
    pub cidr_blocks: Option<Vec<Ipv4Net>>,
    /// All IPv6 blocks; a block that a subnet uses stays.
    pub ipv6_cidr_blocks: Option<Vec<Ipv6Net>>,
    /// Another profile, effective from the next frame on.
    pub profile: Option<Arc<Profile>>,
    /// Other DHCP options, effective from the next lease or renewal on.
    pub dhcp_options: Option<DhcpOptionsChoice>,
    /// Other attributes.
    pub attributes: Option<VpcAttributes>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyVpc {
    /// A command without changes.
    pub fn new(vpc: impl Into<ResourceRef<VpcId>>) -> Self {
        Self {
            vpc: vpc.into(),
            name: None,
            cidr_blocks: None,
            ipv6_cidr_blocks: None,
            profile: None,
            dhcp_options: None,
            attributes: None,
            tags: None,
        }
    }
}

/// Deletes a VPC without subnets, and with it its main route table, its default security group and its default network
/// ACL; others must be deleted first. Outcome: the former VPC.
#[derive(Debug, Clone)]
pub struct DeleteVpc(pub ResourceRef<VpcId>);
