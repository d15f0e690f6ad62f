//! Defines the refusals of a declaration: each has its AWS error code, the wrong field and a remedy.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::address::AddressOrPrefix;
use super::dhcp_options::DhcpOptionsError;
use super::elastic_ip::ElasticIpError;
use super::flow_log::FlowLogError;
use super::ids::{InstanceId, InterfaceId, ResourceId, RouteTableId, SubnetId};
use super::instance::life::InstanceState;
use super::internet_gateway::InternetGatewayError;
use super::nat_gateway::NatGatewayError;
use super::network_acl::NetworkAclError;
use super::peering::PeeringError;
use super::prefix_list::PrefixListError;
use super::security_group::SecurityGroupError;
use crate::wire::MacAddr;

/// The kind of a refusal, which determines the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The named resource does not exist.
    NotFound,
    /// The present state of the network conflicts.
    Conflict,
    /// The request is invalid in any state.
    Invalid,
}

/// A refusal. `Display` is the message; where tools parse AWS's message it is AWS's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// An identifier or name of no resource.
    // amazon-vpc-cni-k8s parses the quoted identifier in the message about interfaces.
    #[error("The {what} '{given}' does not exist")]
    NotFound {
        /// The resource's name in AWS's message.
        what: &'static str,
        /// As given.
        given: String,
        /// The AWS code, as in `InvalidSubnetID.NotFound`.
        code: &'static str,
        /// The field that contained it.
        field: &'static str,
    },
    /// A name that is not allowed.
    #[error("The name '{name}' cannot be used: {reason}")]
    BadName {
        /// As given.
        name: String,
        /// The reason.
        reason: &'static str,
    },
    /// A name that another resource of the kind has.
    #[error("The {kind} {holder} is already named '{name}'")]
    NameTaken {
        /// The kind of resource.
        kind: &'static str,
        /// The name.
        name: String,
        /// The resource with that name.
        holder: String,
    },
    /// A VPC without an IPv4 block.
    #[error("A VPC needs at least one IPv4 CIDR block")]
    VpcWithoutIpv4,
    /// A CIDR block of a size that AWS refuses.
    #[error("The CIDR '{net}' is invalid: {rule}")]
    CidrSize {
        /// As given.
        net: IpNet,
        /// The allowed sizes.
        rule: &'static str,
        /// The AWS code.
        code: &'static str,
        /// The field at fault.
        field: &'static str,
    },
    /// A CIDR block from a range that no VPC may use.
    #[error("The CIDR '{net}' cannot be used: {reason}")]
    CidrRange {
        /// As given.
        net: IpNet,
        /// The reason.
        reason: &'static str,
        /// The field at fault.
        field: &'static str,
    },
    /// Two blocks of one VPC, or two subnets, overlap.
    #[error("The CIDR '{net}' conflicts with {with}")]
    CidrConflict {
        /// As given.
        net: IpNet,
        /// The other block.
        with: String,
        /// The AWS code.
        code: &'static str,
        /// The field at fault.
        field: &'static str,
    },
    /// The primary IPv4 block of a VPC cannot be changed.
    #[error("The primary CIDR block {net} of a VPC cannot be changed or removed")]
    PrimaryCidr {
        /// The block.
        net: Ipv4Net,
    },
    /// A subnet outside its VPC's blocks.
    #[error("The CIDR '{net}' lies in no CIDR block of the VPC")]
    SubnetOutsideVpc {
        /// As given.
        net: IpNet,
        /// The field at fault.
        field: &'static str,
    },
    /// A subnet without any block.
    #[error("A subnet needs an IPv4 CIDR block, an IPv6 CIDR block, or both")]
    SubnetWithoutCidr,
    /// An address outside the subnet.
    #[error("Address {address} does not fall within the subnet's address range")]
    OutsideSubnet {
        /// As given.
        address: AddressOrPrefix,
        /// The subnet.
        subnet: SubnetId,
    },
    /// An address that AWS reserves in every subnet.
    #[error("Address {address} is in subnet's reserved address range")]
    Reserved {
        /// As given.
        address: AddressOrPrefix,
    },
    /// The address is assigned and reassignment is not allowed. Tools parse the text.
    #[error("[{address}] assigned, but move is not allowed.")]
    MoveNotAllowed {
        /// The address.
        address: AddressOrPrefix,
        /// Its owner.
        owner: InterfaceId,
    },
    /// A new interface requests an assigned address.
    #[error("Address {address} is in use.")]
    AddressInUse {
        /// The address.
        address: AddressOrPrefix,
        /// Its owner.
        owner: InterfaceId,
    },
    /// A prefix that contains assigned addresses, or an address inside a delegated prefix.
    #[error("{address} overlaps {existing}, which is assigned to {owner}")]
    Overlap {
        /// As given.
        address: AddressOrPrefix,
        /// The existing mapping.
        existing: AddressOrPrefix,
        /// Its owner.
        owner: InterfaceId,
    },
    /// An address to unassign that is not assigned. Tools parse the text.
    #[error("Some of the specified addresses are not assigned to interface {interface}")]
    NotAssigned {
        /// The interface that was named.
        interface: InterfaceId,
        /// The address.
        address: AddressOrPrefix,
    },
    /// The address is not mapped in the subnet.
    #[error("The address '{address}' is not mapped in {subnet}")]
    NoMapping {
        /// The subnet.
        subnet: SubnetId,
        /// The address.
        address: AddressOrPrefix,
    },
    /// The primary IPv4 address of an interface cannot be unassigned or moved.
    #[error("The primary private IP address {address} of {interface} cannot be unassigned or moved")]
    PrimaryAddress {
        /// The interface.
        interface: InterfaceId,
        /// Its primary address.
        address: IpAddr,
    },
    /// No free address or aligned prefix is left.
    #[error("The specified subnet does not have enough free addresses to satisfy the request.")]
    SubnetFull {
        /// The subnet.
        subnet: SubnetId,
    },
    /// An address of a family that the subnet does not have.
    #[error("The subnet {subnet} has no {family} CIDR block")]
    NoFamily {
        /// The subnet.
        subnet: SubnetId,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A MAC address that another interface or a router has.
    #[error("The MAC address {mac} is already in use in the VPC")]
    MacTaken {
        /// The address.
        mac: MacAddr,
        /// The field at fault.
        field: &'static str,
    },
    /// A MAC address that no interface can have.
    #[error("The MAC address {mac} cannot be used: it is {reason}")]
    BadMac {
        /// As given.
        mac: MacAddr,
        /// The reason.
        reason: &'static str,
        /// The field at fault.
        field: &'static str,
    },
    /// Other resources depend on the resource.
    #[error("The {kind} '{id}' has dependencies and cannot be deleted: {dependents}")]
    Dependents {
        /// The kind of resource.
        kind: &'static str,
        /// Its identifier.
        id: String,
        /// The dependents.
        dependents: String,
    },
    /// An attached interface cannot be deleted. The text is EC2's.
    #[error("Network interface '{interface}' is currently in use.")]
    DeleteInUse {
        /// The interface.
        interface: InterfaceId,
    },
    /// A tag of an instance that shows its tags in the metadata, with a key that cannot be shown there. The text is
    /// EC2's.
    #[error(
        "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a \
         reserved name ('.', '..', '_index')"
    )]
    TagKey {
        /// The key.
        key: String,
    },
    /// The interface is attached already.
    #[error("The network interface '{interface}' is attached")]
    InterfaceInUse {
        /// The interface.
        interface: InterfaceId,
    },
    /// The interface is not attached.
    #[error("The network interface '{interface}' is not attached")]
    NotAttached {
        /// The interface.
        interface: InterfaceId,
    },
    /// A step in the life of an instance that cannot follow its state. The words are EC2's.
    #[error(
        "The instance '{instance}' is not in a state from which it can be {}.",
        .wanted.asked_for()
    )]
    InstanceState {
        /// The instance.
        instance: InstanceId,
        /// The state that it was to come into.
        wanted: InstanceState,
    },
    /// An instance that is to be terminated and must not be. The words are EC2's.
    #[error(
        "The instance '{instance}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
    )]
    Protected {
        /// The instance.
        instance: InstanceId,
    },
    /// An interface for an instance that is being terminated.
    #[error("Instance '{instance}' is not 'running' or 'stopped'.")]
    InstanceUnavailable {
        /// The instance.
        instance: InstanceId,
    },
    /// Another interface has the device index.
    #[error("Instance '{instance}' already has an interface attached at device index '{device_index}'.")]
    DeviceIndexTaken {
        /// The instance.
        instance: InstanceId,
        /// The device index.
        device_index: u32,
        /// The interface with that device index.
        interface: InterfaceId,
    },
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
    MainRouteTable {
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
    /// The table and the subnet are in different VPCs.
    #[error("Route table {table} and subnet {subnet} belong to different networks")]
    DifferentNetworks {
        /// The table.
        table: RouteTableId,
        /// The subnet.
        subnet: SubnetId,
    },
    /// A DHCP option set breaks a rule.
    #[error(transparent)]
    DhcpOptions(#[from] DhcpOptionsError),
    /// A security group, or one of its rules, breaks a rule.
    #[error(transparent)]
    SecurityGroup(#[from] SecurityGroupError),
    /// A network ACL, or one of its entries, breaks a rule.
    #[error(transparent)]
    NetworkAcl(#[from] NetworkAclError),
    /// A prefix list breaks a rule.
    #[error(transparent)]
    PrefixList(#[from] PrefixListError),
    /// A refusal about an Elastic IP address.
    #[error(transparent)]
    ElasticIp(#[from] ElasticIpError),
    /// A refusal about an internet gateway.
    #[error(transparent)]
    InternetGateway(#[from] InternetGatewayError),
    /// A refusal about a flow log.
    #[error(transparent)]
    FlowLog(#[from] FlowLogError),
    /// A refusal about a NAT gateway.
    #[error(transparent)]
    NatGateway(#[from] NatGatewayError),
    /// A refusal about a peering connection.
    #[error(transparent)]
    Peering(#[from] PeeringError),
    /// A value out of its range.
    #[error("'{field}' cannot be {given}")]
    OutOfRange {
        /// The field at fault.
        field: &'static str,
        /// What was given.
        given: String,
        /// The allowed values, as a sentence.
        remedy: &'static str,
    },
    /// A limit would be exceeded.
    #[error("{text}")]
    Limit {
        /// The AWS code.
        code: &'static str,
        /// The message with the limit.
        text: String,
    },
}

impl ModelError {
    /// The refusal of an identifier or name of no resource.
    pub fn not_found<T: ResourceId>(given: &str) -> Self {
        // AWS's own words for each kind: "The vpc ID 'vpc-…' does not exist", "The networkInterface ID 'eni-…' …".
        let (what, field) = match T::PREFIX {
            "vpc" => ("vpc ID", "vpc"),
            "subnet" => ("subnet ID", "subnet"),
            "eni" => ("networkInterface ID", "interface"),
            "rtb" => ("routeTable ID", "route_table"),
            "dopt" => ("dhcpOption ID", "dhcp_options"),
            "i" => ("instance ID", "instance"),
            "sg" => ("security group", "group"),
            "sgr" => ("security group rule ID", "rule"),
            "acl" => ("networkAcl ID", "network_acl"),
            "aclassoc" => ("association ID", "association"),
            "pl" => ("prefix list ID", "prefix_list"),
            "igw" => ("internetGateway ID", "internet_gateway"),
            "eigw" => ("egressOnlyInternetGateway ID", "egress_only_internet_gateway"),
            "pcx" => ("vpcPeeringConnection ID", "peering_connection"),
            "vpcbpa-exclude" => ("exclusion ID", "exclusion"),
            "nat" => ("natGateway ID", "nat_gateway"),
            "eipalloc" => ("allocation ID", "elastic_ip"),
            "fl" => ("flow log ID", "flow_log"),
            "eipassoc" => ("association ID", "association"),
            _ => (T::KIND, "id"),
        };
        Self::NotFound {
            what,
            given: given.to_owned(),
            code: T::NOT_FOUND,
            field,
        }
    }

    /// The error code of EC2 for this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { code, .. }
            | Self::CidrSize { code, .. }
            | Self::CidrConflict { code, .. }
            | Self::Limit { code, .. } => code,
            Self::VpcWithoutIpv4 | Self::SubnetWithoutCidr => "MissingParameter",
            Self::SubnetOutsideVpc { .. } => "InvalidSubnet.Range",
            Self::AddressInUse { .. } => "InvalidIPAddress.InUse",
            Self::SubnetFull { .. } => "InsufficientFreeAddressesInSubnet",
            Self::Dependents { .. } => "DependencyViolation",
            Self::InstanceState { .. } | Self::InstanceUnavailable { .. } => "IncorrectInstanceState",
            Self::Protected { .. } => "OperationNotPermitted",
            Self::InterfaceInUse { .. } => "InvalidNetworkInterface.InUse",
            Self::NotAttached { .. } => "InvalidAttachmentID.NotFound",
            Self::PrimaryCidr { .. } => "OperationNotPermitted",
            Self::MainRouteTable { .. } => "DependencyViolation",
            Self::RouteExists { .. } => "RouteAlreadyExists",
            Self::NoRoute { .. } => "InvalidRoute.NotFound",
            Self::NotAssociated { .. } => "InvalidAssociationID.NotFound",
            Self::DhcpOptions(error) => error.code(),
            Self::SecurityGroup(error) => error.code(),
            Self::NetworkAcl(error) => error.code(),
            Self::PrefixList(error) => error.code(),
            Self::ElasticIp(error) => error.code(),
            Self::InternetGateway(error) => error.code(),
            Self::FlowLog(error) => error.code(),
            Self::NatGateway(error) => error.code(),
            Self::Peering(error) => error.code(),
            Self::BadName { .. }
            | Self::NameTaken { .. }
            | Self::CidrRange { .. }
            | Self::OutsideSubnet { .. }
            | Self::Reserved { .. }
            | Self::MoveNotAllowed { .. }
            | Self::Overlap { .. }
            | Self::NotAssigned { .. }
            | Self::NoMapping { .. }
            | Self::PrimaryAddress { .. }
            | Self::NoFamily { .. }
            | Self::MacTaken { .. }
            | Self::BadMac { .. }
            | Self::Route { .. }
            | Self::DeviceIndexTaken { .. }
            | Self::DifferentNetworks { .. }
            | Self::DeleteInUse { .. }
            | Self::TagKey { .. }
            | Self::OutOfRange { .. } => "InvalidParameterValue",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { field, .. }
            | Self::CidrSize { field, .. }
            | Self::CidrRange { field, .. }
            | Self::CidrConflict { field, .. }
            | Self::SubnetOutsideVpc { field, .. }
            | Self::MacTaken { field, .. }
            | Self::BadMac { field, .. }
            | Self::Route { field, .. }
            | Self::OutOfRange { field, .. } => Some(field),
            Self::RouteExists { .. } | Self::NoRoute { .. } => Some("destination"),
            Self::NotAssociated { .. } | Self::DifferentNetworks { .. } => Some("subnet"),
            Self::MainRouteTable { .. } => Some("main"),
            Self::DhcpOptions(error) => Some(error.option()),
            Self::SecurityGroup(error) => error.field(),
            Self::NetworkAcl(error) => error.field(),
            Self::PrefixList(error) => error.field(),
            Self::ElasticIp(error) => Some(error.field()),
            Self::InternetGateway(error) => Some(error.field()),
            Self::FlowLog(error) => Some(error.field()),
            Self::NatGateway(error) => Some(error.field()),
            Self::Peering(error) => Some(error.field()),
            Self::BadName { .. } | Self::NameTaken { .. } => Some("name"),
            Self::VpcWithoutIpv4 | Self::PrimaryCidr { .. } => Some("cidr_blocks"),
            Self::SubnetWithoutCidr => Some("cidr_block"),
            Self::OutsideSubnet { .. }
            | Self::Reserved { .. }
            | Self::MoveNotAllowed { .. }
            | Self::AddressInUse { .. }
            | Self::Overlap { .. }
            | Self::NotAssigned { .. }
            | Self::NoMapping { .. }
            | Self::PrimaryAddress { .. }
            | Self::NoFamily { .. } => Some("address"),
            Self::SubnetFull { .. } => Some("subnet"),
            Self::InterfaceInUse { .. } | Self::DeleteInUse { .. } | Self::NotAttached { .. } => Some("interface"),
            Self::TagKey { .. } => Some("tags"),
            Self::DeviceIndexTaken { .. } => Some("device_index"),
            Self::InstanceState { .. } | Self::InstanceUnavailable { .. } | Self::Protected { .. } => Some("instance"),
            Self::Dependents { .. } | Self::Limit { .. } => None,
        }
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotFound { .. } => "List the resources of this kind to see their identifiers and names.".into(),
            Self::BadName { .. } => "Choose another name.".into(),
            Self::NameTaken { holder, .. } => format!("Choose another name, or rename {holder} first."),
            Self::VpcWithoutIpv4 => "Give a block from /16 to /28, as in 10.0.0.0/16.".into(),
            Self::CidrSize { rule, .. } => format!("Choose a block that fits: {rule}."),
            Self::CidrRange { .. } => {
                "Choose a block of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10, or a global IPv6 block."
                    .into()
            }
            Self::CidrConflict { .. } => "Choose a block that overlaps no other.".into(),
            Self::PrimaryCidr { net } => format!("Keep {net} as the first block, or make another VPC."),
            Self::SubnetOutsideVpc { .. } => {
                "Choose a block inside of one of the VPC's, or add a block to the VPC first.".into()
            }
            Self::SubnetWithoutCidr => "Give cidr_block (IPv4), ipv6_cidr_block (a /64), or both.".into(),
            Self::OutsideSubnet { subnet, .. } => format!("Choose an address inside the CIDR blocks of {subnet}."),
            Self::Reserved { .. } => {
                "AWS reserves the first four addresses and the last one of every subnet: choose another.".into()
            }
            Self::MoveNotAllowed { owner, .. } => {
                format!("Unassign it from {owner} first, or allow the move.")
            }
            Self::AddressInUse { owner, .. } => format!("Choose another address, or unassign it from {owner} first."),
            Self::Overlap { existing, owner, .. } => {
                format!("Unassign {existing} from {owner} first, or choose another.")
            }
            Self::NotAssigned { address, .. } => format!("Look up who has {address} among the mappings."),
            Self::NoMapping { .. } => "List the mappings of the subnet to see what is assigned.".into(),
            Self::PrimaryAddress { .. } => "It lasts as long as the interface: delete the interface to free it.".into(),
            Self::SubnetFull { .. } => "Unassign something, or use another subnet.".into(),
            Self::NoFamily { family, .. } => format!("Use a subnet with an {family} CIDR block."),
            Self::MacTaken { .. } => "Choose another, or leave the field out to have one made up.".into(),
            Self::BadMac { .. } => "Use a unicast address such as 0a:ca:05:9c:fc:14, or leave the field out.".into(),
            Self::Dependents { .. } => "Delete the dependents first.".into(),
            Self::InterfaceInUse { .. } | Self::DeleteInUse { .. } => "Detach it first.".into(),
            Self::TagKey { .. } => "Rename the tag, or set 'metadata.instance_tags' to false.".into(),
            Self::NotAttached { .. } => "Attach it first, or leave it.".into(),
            Self::DeviceIndexTaken { interface, .. } => format!("Detach {interface} first, or choose another index."),
            Self::InstanceState { .. } | Self::InstanceUnavailable { .. } => {
                "Wait until it is in another state, or leave it.".into()
            }
            Self::Protected { .. } => "Allow that it is terminated first.".into(),
            Self::Route { remedy, .. } => (*remedy).into(),
            Self::OutOfRange { remedy, .. } => (*remedy).into(),
            Self::RouteExists { .. } => "Replace the route instead.".into(),
            Self::NoRoute { .. } => "Show the route table to see its routes.".into(),
            Self::MainRouteTable { .. } => "Make another table the main one first.".into(),
            Self::NotAssociated { .. } => "Show the route table to see its subnets.".into(),
            Self::DifferentNetworks { .. } => "Choose a subnet of the route table's VPC.".into(),
            Self::ElasticIp(error) => error.remedy().into(),
            Self::InternetGateway(error) => error.remedy().into(),
            Self::FlowLog(error) => error.remedy().into(),
            Self::NatGateway(error) => error.remedy().into(),
            Self::Peering(error) => error.remedy().into(),
            Self::DhcpOptions(_) => "Correct the option, or leave it out.".into(),
            Self::SecurityGroup(error) => error.remedy(),
            Self::NetworkAcl(error) => error.remedy(),
            Self::PrefixList(error) => error.remedy(),
            Self::Limit { .. } => {
                "Remove something of the kind, or raise the limit in the server's configuration.".into()
            }
        }
    }
}
