//! Declares block public access: what internet gateways and egress-only ones let through, for all VPCs of the region at once,
//! with exclusions (VPC guide, "Block public access to VPCs and subnets"; firewall facts B1).

mod rules;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::model::ids::{BlockPublicAccessId, BpaExclusionId, ResourceRef, SubnetId, VpcId};

/// What is blocked, as it is stored: there is one of it, once anything was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockPublicAccess {
    /// The one identifier.
    pub id: BlockPublicAccessId,
    /// The mode.
    pub mode: BlockMode,
    /// The exclusions, in the order in which they were made.
    pub exclusions: Vec<BpaExclusion>,
    /// When the mode was set last.
    pub updated_at: SystemTime,
}

/// What is blocked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BlockMode {
    /// Nothing.
    #[default]
    Off,
    /// Everything, both ways.
    BlockBidirectional,
    /// Everything but what NAT gateways and egress-only internet gateways let out, and its answers.
    BlockIngress,
}

/// What an exclusion lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ExclusionMode {
    /// Everything.
    AllowBidirectional,
    /// What NAT gateways and egress-only internet gateways let out, and its answers.
    AllowEgress,
}

impl BlockMode {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::BlockBidirectional => "block-bidirectional",
            Self::BlockIngress => "block-ingress",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Off, Self::BlockBidirectional, Self::BlockIngress];
        all.into_iter().find(|mode| mode.name() == name)
    }
}

impl ExclusionMode {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllowBidirectional => "allow-bidirectional",
            Self::AllowEgress => "allow-egress",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::AllowBidirectional, Self::AllowEgress];
        all.into_iter().find(|mode| mode.name() == name)
    }
}

/// A VPC or a subnet that is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpaExclusion {
    /// Its identifier.
    pub id: BpaExclusionId,
    /// What is excluded.
    pub of: Excluded,
    /// What it lets through.
    pub mode: ExclusionMode,
    /// When it was made.
    pub created_at: SystemTime,
}

/// What an exclusion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excluded {
    /// All subnets of a VPC.
    Vpc(VpcId),
    /// A subnet.
    Subnet(SubnetId),
}

/// What is to be excluded.
#[derive(Debug, Clone)]
pub enum ExcludedRef {
    /// All subnets of a VPC.
    Vpc(ResourceRef<VpcId>),
    /// A subnet.
    Subnet(ResourceRef<SubnetId>),
}

/// Sets what is blocked. Outcome: it as it is now.
#[derive(Debug, Clone, Copy)]
pub struct SetBlockPublicAccess {
    /// The mode.
    pub mode: BlockMode,
    /// The time.
    pub at: SystemTime,
}

/// Sets what is blocked and all exclusions at once. An exclusion that stays keeps its identifier. Outcome: none.
#[derive(Debug, Clone)]
pub struct DeclareBlock {
    /// The mode.
    pub mode: BlockMode,
    /// All exclusions, each with what it lets through.
    pub exclusions: Vec<(ExcludedRef, ExclusionMode)>,
    /// The time.
    pub at: SystemTime,
}

/// Excludes a VPC or a subnet. Outcome: the exclusion.
#[derive(Debug, Clone)]
pub struct ExcludeFromBlock {
    /// What.
    pub of: ExcludedRef,
    /// What it lets through.
    pub mode: ExclusionMode,
    /// The time.
    pub at: SystemTime,
}

/// Ends an exclusion. Outcome: the exclusion as it was.
#[derive(Debug, Clone, Copy)]
pub struct IncludeInBlock(pub BpaExclusionId);

/// Lets an exclusion let other things through. Outcome: the exclusion as it is now.
#[derive(Debug, Clone, Copy)]
pub struct ModifyExclusion {
    /// The exclusion.
    pub exclusion: BpaExclusionId,
    /// What it lets through.
    pub mode: ExclusionMode,
}
