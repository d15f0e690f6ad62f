//! Laws of block public access, each as a sentence.

use super::*;
use crate::model::network::tests::World;

#[test]
fn what_is_blocked_is_set_for_all_and_excluded_for_some() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    assert!(world.network.block_public_access().is_none());
    let at = SystemTime::UNIX_EPOCH;
    let mode = BlockMode::BlockIngress;
    world.execute(SetBlockPublicAccess { mode, at }).unwrap();
    let exclude = ExcludeFromBlock {
        of: ExcludedRef::Vpc(vpc.into()),
        mode: ExclusionMode::AllowEgress,
        at,
    };
    let exclusion = world.execute(exclude).unwrap();
    let modify = ModifyExclusion {
        exclusion: exclusion.id,
        mode: ExclusionMode::AllowBidirectional,
    };
    world.execute(modify).unwrap();
    let now = world.network.block_public_access().unwrap();
    assert_eq!(
        (now.mode, now.exclusions[0].mode),
        (mode, ExclusionMode::AllowBidirectional)
    );
    world.execute(IncludeInBlock(exclusion.id)).unwrap();
    let again = world.execute(IncludeInBlock(exclusion.id)).unwrap_err();
    assert_eq!(again.code(), "InvalidVpcBlockPublicAccessExclusionId.NotFound");
}
