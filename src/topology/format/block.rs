//! The part of a topology file that is about block public access.

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::Topology;
use crate::file::diagnostic::Mistake;
use crate::model::block_public_access::{BlockMode, ExclusionMode};

/// What internet gateways and egress-only ones let through, for all VPCs at once.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BlockPublicAccessTopology)]
pub struct BlockTopology {
    /// What is blocked.
    pub mode: BlockMode,
    /// VPCs and subnets that are excluded from it.
    #[serde(default)]
    #[schema(value_type = Vec<ExclusionTopology>)]
    pub exclude: Vec<Spanned<ExclusionTopology>>,
}

/// A VPC or a subnet that is excluded: one of the two.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BlockPublicAccessExclusionTopology)]
pub struct ExclusionTopology {
    /// The name of the VPC.
    #[schema(value_type = Option<String>)]
    pub vpc: Option<Spanned<String>>,
    /// The name of the subnet.
    #[schema(value_type = Option<String>)]
    pub subnet: Option<Spanned<String>>,
    /// What passes there.
    pub mode: ExclusionMode,
}

/// All mistakes about it.
pub(super) fn check_block(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    let mut seen = std::collections::BTreeSet::new();
    let exclusions = topology
        .block_public_access
        .iter()
        .flat_map(|block| &block.value.exclude);
    for exclusion in exclusions {
        let (vpc, subnet) = (&exclusion.value.vpc, &exclusion.value.subnet);
        let (name, known, kind): (_, Vec<&str>, _) = match (vpc, subnet) {
            (Some(vpc), None) => (vpc, topology.vpcs.keys().map(String::as_str).collect(), "VPC"),
            (None, Some(subnet)) => (subnet, topology.subnets.keys().map(String::as_str).collect(), "subnet"),
            _ => {
                let message = "an exclusion is of a VPC or of a subnet";
                mistakes.push(Mistake::at(exclusion.referenced, message).help("write one of `vpc` and `subnet`"));
                continue;
            }
        };
        if !known.contains(&name.value.as_str()) {
            let message = format!("no {kind} is called `{}`", name.value);
            mistakes.push(Mistake::at(name.referenced, message).nearest(&name.value, known));
        }
        if !seen.insert((kind, &name.value)) {
            let message = format!("{kind} `{}` is excluded already", name.value);
            mistakes.push(Mistake::at(name.referenced, message));
        }
    }
}
