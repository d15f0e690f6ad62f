//! Lists why an edit of a NAT gateway is refused, and why one fails.

use std::net::Ipv4Addr;

use crate::model::ids::{AllocationId, InterfaceId, NatGatewayId, SubnetId, VpcId};

/// A refusal. The texts are EC2's where they are known (EC2 API, NatGateway).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatGatewayError {
    /// The subnet has no free address.
    #[error("Subnet has insufficient free addresses to create this NAT gateway")]
    NoFreeAddress {
        /// The subnet.
        subnet: SubnetId,
    },
    /// The VPC has no internet gateway.
    #[error("Network {vpc} has no Internet gateway attached")]
    NoInternetGateway {
        /// The VPC.
        vpc: VpcId,
    },
    /// There is no such Elastic IP address.
    #[error("Elastic IP address {allocation} could not be associated with this NAT gateway")]
    NoAllocation {
        /// As given.
        allocation: String,
    },
    /// The Elastic IP address is associated with something.
    #[error("Elastic IP address {allocation} is already associated")]
    AllocationInUse {
        /// The address.
        allocation: AllocationId,
    },
    /// A public gateway without Elastic IP address.
    #[error("A public NAT gateway needs an Elastic IP address")]
    NeedsAllocation,
    /// A private gateway with an Elastic IP address.
    #[error("A private NAT gateway has no Elastic IP address")]
    TakesNoAllocation,
    /// More private addresses than Elastic IP addresses.
    #[error("There are more private addresses than Elastic IP addresses")]
    MorePrivate,
    /// More addresses than a gateway has (firewall facts A4: a primary one and seven more).
    #[error("A NAT gateway has 8 addresses at the most")]
    TooManyAddresses,
    /// The zone has as many as it may.
    #[error("Performing this operation would exceed the limit of {limit} NAT gateways")]
    Limit {
        /// How many that are.
        limit: usize,
    },
    /// It is not available.
    #[error("NatGateway {gateway} is in state {state}")]
    State {
        /// The gateway.
        gateway: NatGatewayId,
        /// Its state.
        state: &'static str,
    },
    /// It does not have the address.
    #[error("The address {address} is not one of {gateway}")]
    NotItsAddress {
        /// The gateway.
        gateway: NatGatewayId,
        /// The address.
        address: Ipv4Addr,
    },
    /// Its primary address stays for life.
    #[error("The primary address {address} of {gateway} cannot be taken away")]
    PrimaryAddress {
        /// The gateway.
        gateway: NatGatewayId,
        /// The address.
        address: Ipv4Addr,
    },
    /// The interface of a gateway is edited in another way than by the gateway (firewall facts A7).
    #[error("The network interface {interface} is managed by {gateway}")]
    ManagedInterface {
        /// The interface.
        interface: InterfaceId,
        /// The gateway.
        gateway: NatGatewayId,
    },
    /// An address of a gateway is associated or disassociated in another way than by the gateway.
    #[error("You do not have permission to access the specified resource.")]
    ManagedAddress {
        /// The address.
        allocation: AllocationId,
    },
}

impl NatGatewayError {
    /// The error code that EC2 gives in this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoFreeAddress { .. } => "InsufficientFreeAddressesInSubnet",
            Self::NoInternetGateway { .. } => "Gateway.NotAttached",
            Self::NoAllocation { .. } => "InvalidAllocationID.NotFound",
            Self::AllocationInUse { .. } => "Resource.AlreadyAssociated",
            Self::NeedsAllocation => "MissingParameter",
            Self::TakesNoAllocation | Self::MorePrivate => "InvalidParameterCombination",
            Self::TooManyAddresses => "PrivateIpAddressLimitExceeded",
            Self::Limit { .. } => "NatGatewayLimitExceeded",
            Self::State { .. } => "IncorrectState",
            Self::NotItsAddress { .. } | Self::PrimaryAddress { .. } => "InvalidParameterValue",
            Self::ManagedInterface { .. } => "OperationNotPermitted",
            Self::ManagedAddress { .. } => "AuthFailure",
        }
    }

    /// The field of the request that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoFreeAddress { .. } | Self::NoInternetGateway { .. } | Self::Limit { .. } => "subnet",
            Self::NoAllocation { .. }
            | Self::AllocationInUse { .. }
            | Self::NeedsAllocation
            | Self::TakesNoAllocation
            | Self::TooManyAddresses => "elastic_ips",
            Self::MorePrivate | Self::NotItsAddress { .. } | Self::PrimaryAddress { .. } => "private_ips",
            Self::State { .. } => "nat_gateway",
            Self::ManagedInterface { .. } => "interface",
            Self::ManagedAddress { .. } => "elastic_ip",
        }
    }

    /// What the caller can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoFreeAddress { .. } => "Unassign addresses of the subnet, or choose another subnet.",
            Self::NoInternetGateway { .. } => "Attach an internet gateway to the VPC, or make a private NAT gateway.",
            Self::NoAllocation { .. } => "List the Elastic IP addresses to see what is allocated.",
            Self::AllocationInUse { .. } => "Disassociate it first, or allocate another.",
            Self::NeedsAllocation => "Allocate an Elastic IP address and name it, or make a private NAT gateway.",
            Self::TakesNoAllocation => "Leave the Elastic IP addresses out, or make a public NAT gateway.",
            Self::MorePrivate => "Name as many Elastic IP addresses as private ones.",
            Self::TooManyAddresses => "Take addresses away first, or make another NAT gateway.",
            Self::Limit { .. } => "Delete a NAT gateway of the zone, or raise the limit.",
            Self::State { .. } => "Wait until it is available.",
            Self::NotItsAddress { .. } => "Show the NAT gateway to see its addresses.",
            Self::PrimaryAddress { .. } => "It goes with the NAT gateway: delete that.",
            Self::ManagedInterface { .. } => "Delete the NAT gateway, and its interface goes with it.",
            Self::ManagedAddress { .. } => "Take it away from the NAT gateway, or delete that.",
        }
    }

    /// Whether the request would be right on a network in another state.
    pub fn is_conflict(&self) -> bool {
        !matches!(
            self,
            Self::NeedsAllocation | Self::TakesNoAllocation | Self::MorePrivate | Self::NoAllocation { .. }
        )
    }
}
