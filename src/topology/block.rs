//! What is blocked of the outside, in a network that is wanted, that runs, and that is planned.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::apply::Work;
use super::backend::{Stage, StepError};
use super::diff::{Fate, Judged};
use super::edge::EdgeStep;
use super::layout::{Described, Fields, Kind, Label, Layout, field};
use super::order::Steps;
use crate::model::block_public_access::{BlockMode, DeclareBlock, Excluded, ExcludedRef, ExclusionMode};
use crate::model::{Network, SubnetId, VpcId};
use crate::topology::format::Topology;

/// The label of what there is once.
const LABEL: &str = "region";

/// What is blocked: the mode, and for each VPC and subnet that is excluded what passes there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockPublicAccess {
    /// The mode.
    pub mode: BlockMode,
    /// The exclusions.
    pub exclusions: BTreeMap<(Kind, Label), ExclusionMode>,
}

impl Described for BlockPublicAccess {
    fn fields(&self) -> Fields {
        let exclusions = self.exclusions.iter();
        let mut fields = vec![field("mode", self.mode.name())];
        fields.extend(exclusions.map(|((kind, label), mode)| field(&format!("exclude.{kind} {label}"), mode.name())));
        fields
    }

    fn defaults() -> Fields {
        vec![field("mode", BlockMode::Off.name())]
    }

    fn can_change(_: &str) -> bool {
        true
    }
}

impl Layout {
    /// Adds what a topology wants of it.
    pub(super) fn want_block(&mut self, topology: &Topology) {
        let Some(block) = &topology.block_public_access else {
            return;
        };
        let exclusions = block.value.exclude.iter().filter_map(|exclusion| {
            let of = match (&exclusion.value.vpc, &exclusion.value.subnet) {
                (Some(vpc), None) => (Kind::Vpc, vpc.value.clone()),
                (None, Some(subnet)) => (Kind::Subnet, subnet.value.clone()),
                _ => return None,
            };
            Some((of, exclusion.value.mode))
        });
        let block = BlockPublicAccess {
            mode: block.value.mode,
            exclusions: exclusions.collect(),
        };
        self.blocked.insert(LABEL.to_owned(), block);
    }

    /// Adds what runs of it.
    pub(super) fn have_block(
        &mut self,
        network: &Network,
        vpcs: &BTreeMap<VpcId, Label>,
        subnets: &BTreeMap<SubnetId, Label>,
    ) {
        let Some(block) = network.block_public_access() else {
            return;
        };
        let exclusions = block.exclusions.iter().filter_map(|exclusion| {
            let of = match exclusion.of {
                Excluded::Vpc(vpc) => (Kind::Vpc, vpcs.get(&vpc)?.clone()),
                Excluded::Subnet(subnet) => (Kind::Subnet, subnets.get(&subnet)?.clone()),
            };
            Some((of, exclusion.mode))
        });
        let block = BlockPublicAccess {
            mode: block.mode,
            exclusions: exclusions.collect(),
        };
        if block != BlockPublicAccess::default() {
            self.blocked.insert(LABEL.to_owned(), block);
        }
    }

    /// Calls a VPC or a subnet otherwise.
    pub(super) fn rename_excluded(&mut self, kind: Kind, old: &str, new: &str) {
        for block in self.blocked.values_mut() {
            if let Some(mode) = block.exclusions.remove(&(kind, old.to_owned())) {
                block.exclusions.insert((kind, new.to_owned()), mode);
            }
        }
    }
}

impl Judged<'_> {
    pub(super) fn judge_block(&mut self, running: &Layout) {
        let desired = self.desired;
        self.judge(Kind::BlockPublicAccess, &desired.blocked, &running.blocked, |_, _| None);
    }
}

impl Steps {
    /// What is blocked is set when all that it names is there.
    pub(super) fn set_block(&mut self, judged: &Judged<'_>) {
        for (label, block) in &judged.desired.blocked {
            let fate = judged.fate(Kind::BlockPublicAccess, label);
            let mut excluded = block.exclusions.keys();
            let renewed = excluded.any(|(kind, label)| judged.fate(*kind, label).begins());
            if fate.begins() || fate == Fate::Alter || renewed {
                self.at_edge(judged, EdgeStep::Block(label.clone(), block.clone()));
            }
        }
        for label in judged.running.layout.blocked.keys() {
            if judged.fate(Kind::BlockPublicAccess, label) == Fate::Remove {
                self.at_edge(judged, EdgeStep::Block(label.clone(), BlockPublicAccess::default()));
            }
        }
    }
}

impl<S: Stage> Work<'_, S> {
    pub(super) fn take_block(&mut self, block: &BlockPublicAccess) -> Result<(), StepError> {
        let exclusions = block.exclusions.iter().map(|((kind, label), mode)| {
            let of = match kind {
                Kind::Subnet => ExcludedRef::Subnet(self.reference(Kind::Subnet, label)),
                _ => ExcludedRef::Vpc(self.reference(Kind::Vpc, label)),
            };
            (of, *mode)
        });
        let command = DeclareBlock {
            mode: block.mode,
            exclusions: exclusions.collect(),
            at: SystemTime::now(),
        };
        self.run(command)
    }
}

/// Writes it into a file.
pub(super) fn export_block(layout: &Layout, file: &mut Map<String, Value>) {
    for block in layout.blocked.values() {
        let exclusions = block.exclusions.iter().map(|((kind, label), mode)| {
            let of = if *kind == Kind::Subnet { "subnet" } else { "vpc" };
            json!({ of: label, "mode": mode })
        });
        let exclusions: Vec<Value> = exclusions.collect();
        let mut fields = Map::new();
        fields.insert("mode".to_owned(), json!(block.mode));
        if !exclusions.is_empty() {
            fields.insert("exclude".to_owned(), json!(exclusions));
        }
        file.insert("block_public_access".to_owned(), Value::Object(fields));
    }
}
