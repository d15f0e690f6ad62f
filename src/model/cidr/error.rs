//! Lists why a CIDR block of a VPC or of a subnet is refused.

use ipnet::{IpNet, Ipv4Net};

use crate::model::error::RefusalKind;

/// A refusal. `Display` is the message; where tools parse AWS's message it is AWS's, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// A VPC without an IPv4 block.
    #[error("A VPC needs at least one IPv4 CIDR block")]
    VpcWithoutIpv4,
    /// A CIDR block of a size that AWS refuses.
    #[error("The CIDR '{net}' is invalid: {rule}")]
    Size {
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
    Range {
        /// As given.
        net: IpNet,
        /// The reason.
        reason: &'static str,
        /// The field at fault.
        field: &'static str,
    },
    /// Two blocks of one VPC, or two subnets, overlap.
    #[error("The CIDR '{net}' conflicts with {with}")]
    Conflict {
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
    Primary {
        /// The block.
        net: Ipv4Net,
    },
    /// A subnet outside its VPC's blocks.
    #[error("The CIDR '{net}' lies in no CIDR block of the VPC")]
    OutsideVpc {
        /// As given.
        net: IpNet,
        /// The field at fault.
        field: &'static str,
    },
    /// A subnet without any block.
    #[error("A subnet needs an IPv4 CIDR block, an IPv6 CIDR block, or both")]
    SubnetWithoutCidr,
}

impl CidrError {
    /// The error code of EC2 for this case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Size { code, .. } | Self::Conflict { code, .. } => code,
            Self::VpcWithoutIpv4 | Self::SubnetWithoutCidr => "MissingParameter",
            Self::OutsideVpc { .. } => "InvalidSubnet.Range",
            Self::Primary { .. } => "OperationNotPermitted",
            Self::Range { .. } => "InvalidParameterValue",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Size { field, .. }
            | Self::Range { field, .. }
            | Self::Conflict { field, .. }
            | Self::OutsideVpc { field, .. } => field,
            Self::VpcWithoutIpv4 | Self::Primary { .. } => "cidr_blocks",
            Self::SubnetWithoutCidr => "cidr_block",
        }
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::VpcWithoutIpv4 => "Give a block from /16 to /28, as in 10.0.0.0/16.".into(),
            Self::Size { rule, .. } => format!("Choose a block that fits: {rule}."),
            Self::Range { .. } => {
                "Choose a block of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10, or a global IPv6 block."
                    .into()
            }
            Self::Conflict { .. } => "Choose a block that overlaps no other.".into(),
            Self::Primary { net } => format!("Keep {net} as the first block, or make another VPC."),
            Self::OutsideVpc { .. } => {
                "Choose a block inside of one of the VPC's, or add a block to the VPC first.".into()
            }
            Self::SubnetWithoutCidr => "Give cidr_block (IPv4), ipv6_cidr_block (a /64), or both.".into(),
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::Conflict { .. } | Self::Primary { .. } => RefusalKind::Conflict,
            Self::VpcWithoutIpv4
            | Self::Size { .. }
            | Self::Range { .. }
            | Self::OutsideVpc { .. }
            | Self::SubnetWithoutCidr => RefusalKind::Invalid,
        }
    }
}
