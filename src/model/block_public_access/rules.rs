//! Sets what is blocked, and excludes VPCs and subnets from it.

use std::time::SystemTime;

use super::{
    BlockMode, BlockPublicAccess, BpaExclusion, DeclareBlock, ExcludeFromBlock, Excluded, ExcludedRef, IncludeInBlock,
    ModifyExclusion, SetBlockPublicAccess,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{BlockPublicAccessId, BpaExclusionId};
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id};

impl Record for BlockPublicAccess {
    type Id = BlockPublicAccessId;

    fn id(&self) -> BlockPublicAccessId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        None
    }
}

impl Stored for BlockPublicAccess {
    fn names(network: &mut Network) -> &mut Names<BlockPublicAccessId> {
        &mut network.block_public_access_names
    }

    fn put(network: &mut Network, _: Option<&Self>, after: Option<&Self>) {
        network.block_public_access = after.cloned();
    }

    fn all(network: &Network) -> Vec<Self> {
        network.block_public_access.iter().cloned().collect()
    }
}

impl Edit<'_> {
    fn change_block(&mut self, change: impl FnOnce(&mut BlockPublicAccess)) {
        let before = self.block_public_access.clone();
        let mut after = before.clone().unwrap_or_else(|| BlockPublicAccess {
            id: BlockPublicAccessId::MIN,
            mode: BlockMode::Off,
            exclusions: Vec::new(),
            updated_at: SystemTime::UNIX_EPOCH,
        });
        change(&mut after);
        match before {
            Some(before) => self.replace(before, after),
            None => self.create(after),
        }
    }
}

impl Command for SetBlockPublicAccess {
    type Outcome = BlockMode;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<BlockMode, ModelError> {
        edit.change_block(|block| {
            block.mode = self.mode;
            block.updated_at = self.at;
        });
        Ok(self.mode)
    }
}

impl Command for DeclareBlock {
    type Outcome = ();
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<(), ModelError> {
        let mut exclusions: Vec<BpaExclusion> = Vec::new();
        for (of, mode) in &self.exclusions {
            let of = edit.excluded(of)?;
            let known = edit.exclusions().find(|known| known.of == of).copied();
            let network = &*edit.network;
            let taken = |id| network.exclusions().chain(&exclusions).any(|other| other.id == id);
            let made = known.unwrap_or_else(|| BpaExclusion {
                id: fresh_id(edit.rng, taken),
                of,
                mode: *mode,
                created_at: self.at,
            });
            exclusions.push(BpaExclusion { mode: *mode, ..made });
        }
        edit.change_block(|block| {
            block.mode = self.mode;
            block.exclusions = exclusions;
            block.updated_at = self.at;
        });
        Ok(())
    }
}

impl Command for ExcludeFromBlock {
    type Outcome = BpaExclusion;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<BpaExclusion, ModelError> {
        let of = edit.excluded(&self.of)?;
        let network = &*edit.network;
        let exclusion = BpaExclusion {
            id: fresh_id(edit.rng, |id| network.exclusions().any(|other| other.id == id)),
            of,
            mode: self.mode,
            created_at: self.at,
        };
        edit.change_block(|block| block.exclusions.push(exclusion));
        Ok(exclusion)
    }
}

impl Command for IncludeInBlock {
    type Outcome = BpaExclusion;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<BpaExclusion, ModelError> {
        let exclusion = edit.exclusion(self.0)?;
        edit.change_block(|block| block.exclusions.retain(|other| other.id != self.0));
        Ok(exclusion)
    }
}

impl Command for ModifyExclusion {
    type Outcome = BpaExclusion;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<BpaExclusion, ModelError> {
        let exclusion = BpaExclusion {
            mode: self.mode,
            ..edit.exclusion(self.exclusion)?
        };
        edit.change_block(|block| {
            for other in block.exclusions.iter_mut().filter(|other| other.id == exclusion.id) {
                *other = exclusion;
            }
        });
        Ok(exclusion)
    }
}

impl Network {
    /// What is blocked; `None` as long as nothing was set.
    pub fn block_public_access(&self) -> Option<&BlockPublicAccess> {
        self.block_public_access.as_ref()
    }

    fn excluded(&self, of: &ExcludedRef) -> Result<Excluded, ModelError> {
        Ok(match of {
            ExcludedRef::Vpc(vpc) => Excluded::Vpc(self.vpc(vpc)?.id),
            ExcludedRef::Subnet(subnet) => Excluded::Subnet(self.subnet(subnet)?.id),
        })
    }

    /// The exclusions, in the order in which they were made.
    pub fn exclusions(&self) -> impl Iterator<Item = &BpaExclusion> {
        self.block_public_access.iter().flat_map(|block| &block.exclusions)
    }

    /// One exclusion.
    pub fn exclusion(&self, id: BpaExclusionId) -> Result<BpaExclusion, ModelError> {
        let found = self.exclusions().find(|exclusion| exclusion.id == id);
        found
            .copied()
            .ok_or_else(|| ModelError::not_found::<BpaExclusionId>(&id.to_string()))
    }
}
