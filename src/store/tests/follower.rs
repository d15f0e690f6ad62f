//! Checks a journal that follows the server of its folder: it is what its server has made, it takes the folder when the server is gone,
//! and it uses nothing that is not what was written.

use std::path::Path;

use super::{JournalOptions, Kept, REGION, journal, network_of};
use crate::model::network::Network;
use crate::model::{InterfaceId, SubnetId};
use crate::store::{FollowError, Journal, Store, StoreError};

fn follower(folder: &Path) -> Journal {
    Journal::open_follower(folder, &JournalOptions::new(REGION)).unwrap()
}

/// Follows all that is there now.
fn follow(journal: &Journal, network: &mut Network) -> usize {
    let mut count = 0;
    loop {
        let commits = journal.catch_up().unwrap();
        if commits.is_empty() {
            return count;
        }
        count += commits.len();
        bring(network, &commits);
    }
}

fn bring(network: &mut Network, commits: &[std::sync::Arc<super::Commit>]) {
    for commit in commits {
        commit.changes.iter().for_each(|change| network.apply(change));
        network.skip_sequences(commit.next_sequence);
    }
}

/// Addresses that wander between two interfaces: single ones, readable lists, and packed ones.
fn wander(kept: &mut Kept<'_>, interfaces: [InterfaceId; 2], rounds: usize) {
    for round in 0..rounds {
        let count = [1, 20, 100][round % 3];
        let addresses = (20..20 + count).map(|last| format!("10.0.1.{last}"));
        kept.assign(interfaces[round / 3 % 2], addresses);
    }
}

#[test]
fn a_follower_has_the_network_of_the_server_and_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = journal(folder.path()).unwrap();
    let mut kept = Kept::new(&server);
    let (_, interfaces) = kept.furnish();
    wander(&mut kept, interfaces, 5);
    let other = follower(folder.path());
    let mut network = network_of(&other);
    assert_eq!(network, kept.network);
    assert_eq!(follow(&other, &mut network), 0);
    for rounds in [1, 7, 2] {
        wander(&mut kept, interfaces, rounds);
        assert_eq!(follow(&other, &mut network), rounds);
        assert_eq!(network, kept.network);
    }
    // Records that are new and gone since, and one that stays.
    let gone = kept.subnet("10.0.9.0/24");
    kept.execute(super::DeleteSubnet(gone.into()));
    kept.subnet("10.0.8.0/24");
    wander(&mut kept, interfaces, 4);

    // While the server lives, the folder is the server's.
    let refused = other.succeed();
    assert!(
        matches!(refused, Err(FollowError::Store(StoreError::InUse { .. }))),
        "{refused:?}"
    );
    let Kept {
        network: expected,
        rng,
        revision,
        ..
    } = kept;
    drop(server);
    bring(&mut network, &other.succeed().unwrap());
    assert_eq!(network, expected);
    assert!(matches!(journal(folder.path()), Err(StoreError::InUse { .. })));

    // It goes on as the server would have, and its edits are there at the next start.
    let mut kept = Kept {
        network,
        rng,
        store: &other,
        revision,
    };
    wander(&mut kept, interfaces, 6);
    kept.subnet("10.0.3.0/24");
    let expected = kept.network;
    drop(other);
    assert_eq!(network_of(&journal(folder.path()).unwrap()), expected);
}

impl Kept<'_> {
    fn subnet(&mut self, block: &str) -> SubnetId {
        let vpc = self.network.vpcs().next().unwrap().id;
        let made = super::CreateSubnet {
            cidr_block: Some(block.parse().unwrap()),
            ..super::CreateSubnet::new(vpc)
        };
        self.execute(made).id
    }
}

#[test]
fn a_follower_that_missed_edits_reports_it_and_has_none_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        history: 20_000,
        ..JournalOptions::new(REGION)
    };
    let server = Journal::open(folder.path(), &options).unwrap();
    let mut kept = Kept::new(&server);
    let (_, interfaces) = kept.furnish();
    let other = follower(folder.path());
    wander(&mut kept, interfaces, 300);
    assert!(
        server.kept().unwrap().oldest > 20,
        "nothing was dropped: {:?}",
        server.kept()
    );
    for _ in 0..2 {
        let refused = other.catch_up();
        assert!(matches!(refused, Err(FollowError::Gone { .. })), "{refused:?}");
    }
    drop(server);
    assert!(matches!(other.succeed(), Err(FollowError::Gone { .. })));
}

#[test]
fn a_follower_uses_nothing_that_is_not_what_was_written() {
    let alterations = [
        "UPDATE commits SET changes = changes || ' ' WHERE revision = (SELECT max(revision) FROM commits)",
        "UPDATE commits SET state = state + 1 WHERE revision = (SELECT max(revision) FROM commits)",
        "UPDATE records SET value = replace(value, 'home', 'hole')",
        "DELETE FROM records WHERE path LIKE 'eni-%'",
    ];
    for alteration in alterations {
        let folder = tempfile::tempdir().unwrap();
        let server = journal(folder.path()).unwrap();
        let mut kept = Kept::new(&server);
        let (_, interfaces) = kept.furnish();
        let other = follower(folder.path());
        wander(&mut kept, interfaces, 3);
        drop(server);
        let database = rusqlite::Connection::open(folder.path().join("network.db")).unwrap();
        assert!(database.execute(alteration, []).unwrap() > 0, "{alteration}");
        let refused = other.succeed().map(|commits| commits.len());
        assert!(
            matches!(refused, Err(FollowError::Store(StoreError::Damaged { .. }))),
            "{alteration}: {refused:?}"
        );
        // It has not taken the folder.
        assert!(!Journal::is_used(folder.path()), "{alteration}");
    }
}

/// What was not on the disk when the server died is there before the next edit is answered.
#[test]
fn a_follower_brings_the_last_edits_to_the_disk_when_it_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        durability: crate::store::Durability::Power,
        ..JournalOptions::new(REGION)
    };
    let server = Journal::open(folder.path(), &options).unwrap();
    let mut kept = Kept::new(&server);
    let (_, interfaces) = kept.furnish();
    let other = Journal::open_follower(folder.path(), &options).unwrap();
    wander(&mut kept, interfaces, 3);
    let revision = kept.revision;
    drop(server);
    assert_eq!(other.succeed().unwrap().len(), 3);
    assert!(other.syncs());
    other.sync(revision).unwrap();
    let head = std::fs::read(folder.path().join("head")).unwrap();
    assert_eq!(head[..8], revision.to_le_bytes());
}
