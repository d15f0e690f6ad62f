//! Defines the refusals of a declaration: each has its AWS error code, the wrong field and a remedy.

use super::cidr::CidrError;
use super::dhcp_options::DhcpOptionsError;
use super::elastic_ip::ElasticIpError;
use super::endpoint::EndpointError;
use super::flow_log::FlowLogError;
use super::ids::ResourceId;
use super::instance::InstanceError;
use super::interface::InterfaceError;
use super::internet_gateway::InternetGatewayError;
use super::key_pair::KeyPairError;
use super::launch_template::LaunchTemplateError;
use super::mapping::MappingError;
use super::nat_gateway::NatGatewayError;
use super::network_acl::NetworkAclError;
use super::peering::PeeringError;
use super::prefix_list::PrefixListError;
use super::route_table::RouteTableError;
use super::security_group::SecurityGroupError;
use super::subnet::reservation::ReservationError;
use super::vpc::DefaultVpcError;

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
    /// A refusal about a CIDR block.
    #[error(transparent)]
    Cidr(#[from] CidrError),
    /// A refusal about an edit of addresses.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A refusal about a network interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A refusal about an instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A refusal about a route table, or one of its routes.
    #[error(transparent)]
    RouteTable(#[from] RouteTableError),
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
    /// A refusal about the default VPC.
    #[error(transparent)]
    DefaultVpc(#[from] DefaultVpcError),
    /// A refusal about an internet gateway.
    #[error(transparent)]
    InternetGateway(#[from] InternetGatewayError),
    /// A refusal about a flow log.
    #[error(transparent)]
    FlowLog(#[from] FlowLogError),
    /// A refusal about a NAT gateway.
    #[error(transparent)]
    NatGateway(#[from] NatGatewayError),
    /// A refusal about a gateway endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A refusal about a reserved part of a subnet.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// A refusal about a launch template.
    #[error(transparent)]
    LaunchTemplate(#[from] LaunchTemplateError),
    /// A refusal about a key pair.
    #[error(transparent)]
    KeyPair(#[from] KeyPairError),
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
            "vpce" => ("Vpc Endpoint Id", "vpc_endpoint"),
            "pcx" => ("vpcPeeringConnection ID", "peering_connection"),
            "vpcbpa-exclude" => ("exclusion ID", "exclusion"),
            "nat" => ("natGateway ID", "nat_gateway"),
            "eipalloc" => ("allocation ID", "elastic_ip"),
            "scr" => ("subnet CIDR reservation ID", "reservation"),
            "lt" => ("launch template ID", "launch_template"),
            "key" => ("key pair ID", "key_pair"),
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
            Self::NotFound { code, .. } | Self::Limit { code, .. } => code,
            Self::Dependents { .. } => "DependencyViolation",
            Self::DhcpOptions(error) => error.code(),
            Self::SecurityGroup(error) => error.code(),
            Self::NetworkAcl(error) => error.code(),
            Self::PrefixList(error) => error.code(),
            Self::ElasticIp(error) => error.code(),
            Self::DefaultVpc(error) => error.code(),
            Self::InternetGateway(error) => error.code(),
            Self::FlowLog(error) => error.code(),
            Self::NatGateway(error) => error.code(),
            Self::Peering(error) => error.code(),
            Self::KeyPair(error) => error.code(),
            Self::LaunchTemplate(error) => error.code(),
            Self::Reservation(error) => error.code(),
            Self::Endpoint(error) => error.code(),
            Self::BadName { .. } | Self::NameTaken { .. } | Self::OutOfRange { .. } => "InvalidParameterValue",
            Self::Cidr(error) => error.code(),
            Self::Mapping(error) => error.code(),
            Self::Interface(error) => error.code(),
            Self::Instance(error) => error.code(),
            Self::RouteTable(error) => error.code(),
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { field, .. } | Self::OutOfRange { field, .. } => Some(field),
            Self::DhcpOptions(error) => Some(error.option()),
            Self::SecurityGroup(error) => error.field(),
            Self::NetworkAcl(error) => error.field(),
            Self::PrefixList(error) => error.field(),
            Self::ElasticIp(error) => Some(error.field()),
            Self::DefaultVpc(error) => Some(error.field()),
            Self::InternetGateway(error) => Some(error.field()),
            Self::FlowLog(error) => Some(error.field()),
            Self::NatGateway(error) => Some(error.field()),
            Self::Peering(error) => Some(error.field()),
            Self::KeyPair(error) => Some(error.field()),
            Self::LaunchTemplate(error) => Some(error.field()),
            Self::Reservation(error) => Some(error.field()),
            Self::Endpoint(error) => error.field(),
            Self::BadName { .. } | Self::NameTaken { .. } => Some("name"),
            Self::Dependents { .. } | Self::Limit { .. } => None,
            Self::Cidr(error) => Some(error.field()),
            Self::Mapping(error) => Some(error.field()),
            Self::Interface(error) => Some(error.field()),
            Self::Instance(error) => Some(error.field()),
            Self::RouteTable(error) => Some(error.field()),
        }
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotFound { .. } => "List the resources of this kind to see their identifiers and names.".into(),
            Self::BadName { .. } => "Choose another name.".into(),
            Self::NameTaken { holder, .. } => format!("Choose another name, or rename {holder} first."),
            Self::Dependents { .. } => "Delete the dependents first.".into(),
            Self::OutOfRange { remedy, .. } => (*remedy).into(),
            Self::ElasticIp(error) => error.remedy().into(),
            Self::DefaultVpc(error) => error.remedy().into(),
            Self::InternetGateway(error) => error.remedy().into(),
            Self::FlowLog(error) => error.remedy().into(),
            Self::NatGateway(error) => error.remedy().into(),
            Self::Peering(error) => error.remedy().into(),
            Self::KeyPair(error) => error.remedy().into(),
            Self::LaunchTemplate(error) => error.remedy().into(),
            Self::Reservation(error) => error.remedy(),
            Self::DhcpOptions(_) => "Correct the option, or leave it out.".into(),
            Self::SecurityGroup(error) => error.remedy(),
            Self::NetworkAcl(error) => error.remedy(),
            Self::PrefixList(error) => error.remedy(),
            Self::Endpoint(error) => error.remedy(),
            Self::Limit { .. } => {
                "Remove something of the kind, or raise the limit in the server's configuration.".into()
            }
            Self::Cidr(error) => error.remedy(),
            Self::Mapping(error) => error.remedy(),
            Self::Interface(error) => error.remedy(),
            Self::Instance(error) => error.remedy(),
            Self::RouteTable(error) => error.remedy(),
        }
    }
}
