//! Defines identifiers: a kind, a dash and seventeen hexadecimal digits, as AWS writes them since 2018 (`eni-0a1b…`).
//!
//! AWS draws 68 random bits; here there are 64 and the first digit is always zero, as in nearly every identifier of
//! EC2. A name is accepted wherever an identifier is: see [`ResourceRef`].

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The common part of all kinds of identifiers.
pub trait ResourceId: Copy + Eq + Ord + std::hash::Hash + fmt::Display + fmt::Debug + FromStr + 'static {
    /// The prefix before the dash, as in `subnet`.
    const PREFIX: &'static str;
    /// The resource's name in messages, as in `subnet`.
    const KIND: &'static str;
    /// The AWS error code for an unknown identifier.
    const NOT_FOUND: &'static str;

    /// The identifier with these 64 bits.
    fn from_bits(bits: u64) -> Self;
    /// The 64 bits of the identifier.
    fn to_bits(self) -> u64;
}

/// Text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {kind} identifier: write {prefix}- and seventeen hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

/// Reads `prefix-` and one to seventeen hexadecimal digits.
fn parse<T: ResourceId>(text: &str) -> Result<T, ParseIdError> {
    let wrong = || ParseIdError {
        text: text.to_owned(),
        kind: T::KIND,
        prefix: T::PREFIX,
    };
    let digits = text
        .strip_prefix(T::PREFIX)
        .and_then(|rest| rest.strip_prefix('-'))
        .ok_or_else(wrong)?;
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 17 || !digits.starts_with('0') || !digits.bytes().all(lower_hex) {
        return Err(wrong());
    }
    u64::from_str_radix(digits, 16).map(T::from_bits).map_err(|_| wrong())
}

macro_rules! resource_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal, $not_found:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The least identifier.
            pub const MIN: Self = Self(0);
        }

        impl ResourceId for $name {
            const PREFIX: &'static str = $prefix;
            const KIND: &'static str = $kind;
            const NOT_FOUND: &'static str = $not_found;

            fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            fn to_bits(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-0{:016x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(concat!("The identifier of a ", $kind, ".")))
                    .pattern(Some(concat!("^", $prefix, "-0[0-9a-f]{16}$")))
                    .examples([concat!($prefix, "-0a1b2c3d4e5f60718")])
                    .into()
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}
    };
}

resource_id!(
    /// Names a VPC.
    VpcId,
    "vpc",
    "VPC",
    "InvalidVpcID.NotFound"
);
resource_id!(
    /// Names a subnet.
    SubnetId,
    "subnet",
    "subnet",
    "InvalidSubnetID.NotFound"
);
resource_id!(
    /// Names a network interface.
    InterfaceId,
    "eni",
    "network interface",
    "InvalidNetworkInterfaceID.NotFound"
);
resource_id!(
    /// Names a route table.
    RouteTableId,
    "rtb",
    "route table",
    "InvalidRouteTableID.NotFound"
);
resource_id!(
    /// Names a DHCP option set.
    DhcpOptionsId,
    "dopt",
    "DHCP option set",
    "InvalidDhcpOptionID.NotFound"
);
resource_id!(
    /// Names an instance.
    InstanceId,
    "i",
    "instance",
    "InvalidInstanceID.NotFound"
);

resource_id!(
    /// Names a security group.
    SecurityGroupId,
    "sg",
    "security group",
    "InvalidGroup.NotFound"
);
resource_id!(
    /// Names a rule of a security group.
    SecurityGroupRuleId,
    "sgr",
    "security group rule",
    "InvalidSecurityGroupRuleId.NotFound"
);
resource_id!(
    /// Names a network ACL.
    NetworkAclId,
    "acl",
    "network ACL",
    "InvalidNetworkAclID.NotFound"
);
resource_id!(
    /// Names the association of a subnet with its network ACL.
    NetworkAclAssociationId,
    "aclassoc",
    "network ACL association",
    "InvalidAssociationID.NotFound"
);
resource_id!(
    /// Names a prefix list.
    PrefixListId,
    "pl",
    "prefix list",
    "InvalidPrefixListID.NotFound"
);
resource_id!(
    /// Names an internet gateway.
    InternetGatewayId,
    "igw",
    "internet gateway",
    "InvalidInternetGatewayID.NotFound"
);
resource_id!(
    /// Names an Elastic IP address by its allocation.
    AllocationId,
    "eipalloc",
    "Elastic IP address",
    "InvalidAllocationID.NotFound"
);
resource_id!(
    /// Names the association of an Elastic IP address with a private address.
    AddressAssociationId,
    "eipassoc",
    "address association",
    "InvalidAssociationID.NotFound"
);

resource_id!(
    /// Names a flow log.
    FlowLogId,
    "fl",
    "flow log",
    "InvalidFlowLogId.NotFound"
);

resource_id!(
    /// Names a NAT gateway.
    NatGatewayId,
    "nat",
    "NAT gateway",
    "NatGatewayNotFound"
);

resource_id!(
    /// Names an egress-only internet gateway.
    EgressOnlyGatewayId,
    "eigw",
    "egress-only internet gateway",
    "InvalidGatewayID.NotFound"
);
resource_id!(
    /// Names a peering connection.
    PeeringId,
    "pcx",
    "peering connection",
    "InvalidVpcPeeringConnectionID.NotFound"
);

resource_id!(
    /// Names a gateway endpoint.
    EndpointId,
    "vpce",
    "gateway endpoint",
    "InvalidVpcEndpointId.NotFound"
);

resource_id!(
    /// Names what is blocked of the outside: there is one.
    BlockPublicAccessId,
    "vpcbpa",
    "block public access",
    "InvalidParameterValue"
);
resource_id!(
    /// Names an exclusion from block public access.
    BpaExclusionId,
    "vpcbpa-exclude",
    "block public access exclusion",
    "InvalidVpcBlockPublicAccessExclusionId.NotFound"
);

resource_id!(
    /// Names a launch template.
    LaunchTemplateId,
    "lt",
    "launch template",
    "InvalidLaunchTemplateId.NotFound"
);
resource_id!(
    /// Names a reserved part of a subnet.
    ReservationId,
    "scr",
    "subnet CIDR reservation",
    "InvalidSubnetCidrReservationID.NotFound"
);
resource_id!(
    /// Names a key pair.
    KeyPairId,
    "key",
    "key pair",
    "InvalidKeyPair.NotFound"
);
resource_id!(
    /// Names a fault.
    FaultId,
    "fault",
    "fault",
    "InvalidFaultID.NotFound"
);

/// A reference to a resource, by identifier or by its unique name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ResourceRef<T> {
    /// By identifier.
    Id(T),
    /// By name; resolved when the command is executed.
    Name(Box<str>, PhantomData<T>),
}

impl<T: ResourceId> ResourceRef<T> {
    /// A reference by name. Text in the form of an identifier becomes a reference by identifier.
    pub fn new(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.into(), PhantomData), Self::Id)
    }
}

impl<T> From<T> for ResourceRef<T> {
    fn from(id: T) -> Self {
        Self::Id(id)
    }
}

impl<T: fmt::Display> fmt::Display for ResourceRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name, _) => f.write_str(name),
        }
    }
}

impl<T: fmt::Display> fmt::Debug for ResourceRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: fmt::Display> Serialize for ResourceRef<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: ResourceId> Deserialize<'de> for ResourceRef<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_reads_back_what_it_writes() {
        for bits in [0, 1, 0x0a1b_2c3d_4e5f_6071, u64::MAX] {
            let id = InterfaceId::from_bits(bits);
            let text = id.to_string();
            assert_eq!(text.len(), "eni-".len() + 17, "{text}");
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn text_of_another_kind_or_length_is_no_identifier() {
        for wrong in [
            "",
            "eni-",
            "eni-0",
            "vpc-00000000000000001",
            "eni-0000000000000000g",
            "eni-000000000000000001",
        ] {
            let error = wrong.parse::<InterfaceId>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("'{wrong}'")) && error.contains("network interface"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_reference_is_an_identifier_when_it_looks_like_one_and_a_name_otherwise() {
        let id = SubnetId::from_bits(7);
        assert_eq!(ResourceRef::<SubnetId>::new(&id.to_string()), ResourceRef::Id(id));
        assert_eq!(ResourceRef::<SubnetId>::new("left").to_string(), "left");
    }
}
