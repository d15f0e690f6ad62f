//! Defines what a user declares: VPCs, subnets, network interfaces and mappings, with the invariants of AWS.
//!
//! It is plain data: no sockets, no clock, no random numbers of its own. Identifiers and MAC addresses are drawn from a
//! generator that the caller passes in, so the same seed gives the same network.

pub mod address;
pub mod block_public_access;
pub mod change;
pub mod cidr;
pub mod command;
pub mod dhcp_options;
pub mod duration;
pub mod egress_only;
pub mod elastic_ip;
pub mod endpoint;
pub mod error;
pub mod fault;
pub mod flow_log;
pub mod identified;
pub mod ids;
pub mod instance;
pub mod interface;
pub mod internet_gateway;
pub mod key_pair;
pub mod launch_template;
pub mod limits;
pub mod mapping;
pub mod naming;
pub mod nat_gateway;
pub mod network;
pub mod network_acl;
pub mod outside;
pub mod peering;
pub mod prefix_list;
pub mod profile;
pub mod region;
pub mod route_table;
pub mod security_group;
pub mod subnet;
pub mod traffic;
pub mod vpc;

pub use address::AddressOrPrefix;
pub use change::Change;
pub use cidr::CidrError;
pub use command::Command;
pub use egress_only::EgressOnlyGateway;
pub use elastic_ip::ElasticIp;
pub use endpoint::Endpoint;
pub use error::ModelError;
pub use flow_log::FlowLog;
pub use ids::{
    AddressAssociationId, AllocationId, BlockPublicAccessId, BpaExclusionId, DhcpOptionsId, EgressOnlyGatewayId,
    EndpointId, FaultId, FlowLogId, InstanceId, InterfaceId, InternetGatewayId, KeyPairId, LaunchTemplateId,
    NatGatewayId, NetworkAclAssociationId, NetworkAclId, PeeringId, PrefixListId, ReservationId, ResourceRef,
    RouteTableId, SecurityGroupId, SecurityGroupRuleId, SubnetId, VpcId,
};
pub use instance::{Instance, InstanceError, metadata};
pub use interface::{Attachment, InterfaceError, InterfaceStatus, NetworkInterface};
pub use internet_gateway::InternetGateway;
pub use key_pair::{KeyPair, KeyPairError};
pub use launch_template::{LaunchTemplate, LaunchTemplateError};
pub use limits::Limits;
pub use mapping::{Mapping, MappingChange, MappingError};
pub use nat_gateway::NatGateway;
pub use network::Network;
pub use network_acl::NetworkAcl;
pub use peering::Peering;
pub use prefix_list::PrefixList;
pub use profile::Profile;
pub use route_table::{RouteTable, RouteTableError};
pub use security_group::SecurityGroup;
pub use subnet::Subnet;
pub use vpc::Vpc;
