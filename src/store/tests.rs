//! Checks every store against the same rules, and a journal against crashes and damage. A new store is added to
//! `each_store`.

mod follower;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::command::Command;
use crate::model::interface::{AddressRequest, CreateInterface};
use crate::model::mapping::{EditMappings, MappingEdit};
use crate::model::network::Network;
use crate::model::route_table::{EditRoute, RouteEdit, TargetRef};
use crate::model::subnet::{CreateSubnet, DeleteSubnet};
use crate::model::vpc::CreateVpc;
use crate::model::{InterfaceId, Limits, ResourceRef};

const REGION: &str = "us-east-1";

/// A network whose every edit goes into a store.
struct Kept<'s> {
    network: Network,
    rng: ChaCha8Rng,
    store: &'s dyn Store,
    revision: u64,
}

impl<'s> Kept<'s> {
    fn new(store: &'s dyn Store) -> Self {
        Self {
            network: Network::in_region(Limits::UNBOUNDED, REGION),
            rng: ChaCha8Rng::seed_from_u64(5),
            store,
            revision: 0,
        }
    }

    fn execute<C: Command<Error: std::fmt::Debug>>(&mut self, command: C) -> C::Outcome {
        let (outcome, changes) = self.network.execute(command, &mut self.rng).unwrap();
        self.revision += 1;
        let commit = commit(self.revision, changes, self.network.next_sequence());
        let entries = self.network.entries(&commit.changes);
        self.store.commit(&[], &commit, &entries).unwrap();
        outcome
    }

    /// A VPC, a subnet, two interfaces, a route, and a subnet that is gone again.
    fn furnish(&mut self) -> (SubnetId, [InterfaceId; 2]) {
        let vpc = self.execute(CreateVpc {
            name: Some("home".into()),
            ipv6_cidr_blocks: vec!["2001:db8::/56".parse().unwrap()],
            tags: [("team".to_owned(), "net".to_owned())].into(),
            ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
        });
        let subnet = |block: &str| CreateSubnet {
            cidr_block: Some(block.parse().unwrap()),
            ..CreateSubnet::new(vpc.id)
        };
        let left = self.execute(subnet("10.0.1.0/24")).id;
        let gone = self.execute(subnet("10.0.2.0/24")).id;
        self.execute(DeleteSubnet(gone.into()));
        let interfaces = ["10.0.1.10", "10.0.1.11"].map(|address| {
            let addresses = vec![AddressRequest::Exactly(address.parse().unwrap())];
            let command = CreateInterface {
                addresses,
                ..CreateInterface::new(ResourceRef::Id(left))
            };
            self.execute(command).id
        });
        self.execute(EditRoute {
            table: vpc.main_route_table_id.into(),
            edit: RouteEdit::Put(
                "192.0.2.0/24".parse().unwrap(),
                TargetRef::Interface(interfaces[0].into()),
            ),
        });
        (left, interfaces)
    }

    /// Gives an address to an interface, taking it from its owner.
    fn assign(&mut self, interface: InterfaceId, addresses: impl IntoIterator<Item = String>) {
        let edits = addresses.into_iter().map(|address| MappingEdit::Assign {
            interface: interface.into(),
            address: address.parse().unwrap(),
            move_allowed: true,
        });
        self.execute(EditMappings(edits.collect()));
    }
}

fn commit(revision: u64, changes: Vec<Change>, next_sequence: u64) -> Arc<Commit> {
    Arc::new(Commit {
        revision,
        at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000 + revision),
        author: "rest".to_owned(),
        command: "Test".to_owned(),
        changes,
        next_sequence,
    })
}

/// The network that a store loads.
fn network_of(store: &dyn Store) -> Network {
    let loaded = store.load().unwrap();
    let mut network = Network::in_region(Limits::UNBOUNDED, REGION);
    for change in &loaded.changes {
        network.apply(change);
    }
    network.skip_sequences(loaded.next_sequence);
    network
}

fn journal(folder: &Path) -> Result<Journal, StoreError> {
    Journal::open(folder, &JournalOptions::new(REGION))
}

fn each_store(law: impl Fn(&dyn Store)) {
    law(&Memory::default());
    let folder = tempfile::tempdir().unwrap();
    law(&journal(folder.path()).unwrap());
    let options = JournalOptions {
        durability: Durability::Power,
        ..JournalOptions::new(REGION)
    };
    law(&Journal::open(&folder.path().join("new"), &options).unwrap());
}

#[test]
fn a_store_gives_back_the_network_that_its_commits_made() {
    each_store(|store| {
        let mut kept = Kept::new(store);
        let (_, [a, b]) = kept.furnish();
        assert_eq!(network_of(store), kept.network);
        // More than is kept readable, moved there and back, so that nothing but the order of assignment is left.
        let addresses = || (20..120).map(|last| format!("10.0.1.{last}"));
        kept.assign(a, addresses());
        kept.assign(b, addresses());
        kept.assign(a, ["10.0.1.20".to_owned(), "10.0.1.208/28".to_owned()]);
        assert_eq!(network_of(store), kept.network);
        assert_eq!(store.load().unwrap().revision, kept.revision);
    });
}

#[test]
fn commits_are_followed_from_any_revision_and_walk_the_network_back() {
    each_store(|store| {
        let mut kept = Kept::new(store);
        let (_, [a, b]) = kept.furnish();
        let middle = (kept.revision, kept.network.clone());
        kept.assign(a, (20..120).map(|last| format!("10.0.1.{last}")));
        kept.assign(b, ["10.0.1.20".to_owned()]);
        let revisions = |after, most| {
            let commits = store.follow(after, most).unwrap();
            commits.iter().map(|commit| commit.revision).collect::<Vec<_>>()
        };
        assert_eq!(revisions(0, 3), [1, 2, 3]);
        assert_eq!(revisions(middle.0, 100), [middle.0 + 1, middle.0 + 2]);
        assert!(revisions(kept.revision, 100).is_empty());
        assert_eq!(
            store.kept().unwrap(),
            super::Kept {
                oldest: 0,
                latest: kept.revision
            }
        );
        let mut network = kept.network.clone();
        for commit in store.follow(middle.0, 100).unwrap().iter().rev() {
            network.revert(&commit.changes);
        }
        assert_eq!(network, middle.1);
    });
}

#[test]
fn a_commit_with_a_guard_that_does_not_hold_or_a_wrong_number_changes_nothing() {
    each_store(|store| {
        let mut kept = Kept::new(store);
        let (subnet, [a, _]) = kept.furnish();
        let revision = kept.revision;
        let before = store.load().unwrap();
        let vpc = kept.network.vpcs().next().unwrap().id.to_string();
        let address = mapping_path(subnet, "10.0.1.10".parse().unwrap());
        let guard = |path: &str, revision| Guard {
            path: path.to_owned(),
            revision,
        };
        let (_, changes) = kept
            .network
            .execute(
                EditMappings(vec![MappingEdit::Assign {
                    interface: a.into(),
                    address: "10.0.1.99".parse().unwrap(),
                    move_allowed: false,
                }]),
                &mut kept.rng,
            )
            .unwrap();
        let next = |number| commit(number, changes.clone(), 9);
        for (number, guards) in [
            (revision, vec![]),
            (revision + 2, vec![]),
            (revision + 1, vec![guard(&vpc, Some(2))]),
            (revision + 1, vec![guard(&vpc, None)]),
            (revision + 1, vec![guard(&vpc, Some(1)), guard(&address, None)]),
            (revision + 1, vec![guard("vpc-00000000000000001", Some(1))]),
        ] {
            let refused = store.commit(&guards, &next(number), &[]);
            assert!(
                matches!(refused, Err(CommitError::Conflict { current }) if current == revision),
                "{number} {guards:?}: {refused:?}"
            );
            assert_eq!(store.load().unwrap(), before);
        }
        let guards = [
            guard(&vpc, Some(1)),
            guard(&address, Some(5)),
            guard("vpc-00000000000000001", None),
        ];
        store.commit(&guards, &next(revision + 1), &[]).unwrap();
        assert_eq!(store.load().unwrap().revision, revision + 1);
    });
}

#[test]
fn shelves_hold_texts_by_place() {
    each_store(|store| {
        store.shelve("hosts", "b", Some("2")).unwrap();
        store.shelve("hosts", "a", Some("0")).unwrap();
        store.shelve("hosts", "a", Some("1")).unwrap();
        store.shelve("others", "a", Some("3")).unwrap();
        store.shelve("hosts", "b", None).unwrap();
        assert_eq!(store.shelved("hosts").unwrap(), [("a".to_owned(), "1".to_owned())]);
    });
}

#[test]
fn a_store_of_commits_alone_drops_the_oldest() {
    let store = Memory::of_commits();
    let mut kept = Kept::new(&store);
    let (_, [a, b]) = kept.furnish();
    for _ in 0..60 {
        for interface in [a, b] {
            kept.assign(interface, (12..250).map(|last| format!("10.0.1.{last}")));
        }
    }
    assert_eq!(store.kept().unwrap().oldest, 0);
    for number in 1..12_000 {
        let commit = commit(kept.revision + number, vec![Change::Mappings(Vec::new())], 0);
        store.commit(&[], &commit, &[]).unwrap();
    }
    let found = store.kept().unwrap();
    assert_eq!(found.latest - found.oldest, 10_000);
    assert!(matches!(store.follow(0, 1), Err(FollowError::Gone { oldest, .. }) if oldest == found.oldest));
}

/// A folder with a network in it, closed.
fn written(folder: &Path) -> (Network, u64) {
    let store = journal(folder).unwrap();
    let mut kept = Kept::new(&store);
    let (_, [a, b]) = kept.furnish();
    kept.assign(a, (20..120).map(|last| format!("10.0.1.{last}")));
    kept.assign(b, ["10.0.1.20".to_owned()]);
    (kept.network, kept.revision)
}

#[test]
fn a_journal_outlives_its_process_with_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let (network, revision) = written(folder.path());
    let store = journal(folder.path()).unwrap();
    assert_eq!(network_of(&store), network);
    assert_eq!(store.follow(0, 1000).unwrap().len() as u64, revision);
    // The next revision follows the last one.
    let mut kept = Kept {
        network,
        rng: ChaCha8Rng::seed_from_u64(6),
        store: &store,
        revision,
    };
    let interface = kept.network.interfaces(None).next().unwrap().id;
    kept.assign(interface, ["10.0.1.200".to_owned()]);
    assert_eq!(network_of(&store), kept.network);
}

#[test]
fn the_commits_of_a_journal_take_no_more_room_than_they_may_and_the_network_stays() {
    let folder = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        history: 64 << 10,
        ..JournalOptions::new(REGION)
    };
    let store = Journal::open(folder.path(), &options).unwrap();
    let mut kept = Kept::new(&store);
    let (_, [a, b]) = kept.furnish();
    for _ in 0..400 {
        for interface in [a, b] {
            kept.assign(interface, ["10.0.1.50".to_owned()]);
        }
    }
    let network = kept.network;
    let found = store.kept().unwrap();
    assert!(found.oldest > 300 && found.latest - found.oldest > 50, "{found:?}");
    drop(store);
    let database = folder.path().join("network.db");
    assert!(fs::metadata(database).unwrap().len() < 256 << 10);
    let store = Journal::open(folder.path(), &options).unwrap();
    assert_eq!(store.kept().unwrap(), found);
    assert_eq!(network_of(&store), network);
    assert_eq!(
        store.follow(found.oldest, 10_000).unwrap().len() as u64,
        found.latest - found.oldest
    );
}

#[test]
fn a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = journal(folder.path()).unwrap();
    let refused = journal(folder.path()).unwrap_err();
    assert!(
        matches!(&refused, StoreError::InUse { by: Some(by), .. } if *by == std::process::id()),
        "{refused}"
    );
    drop(store);
    journal(folder.path()).unwrap();
}

/// The message for a folder after a file in it was changed, and the message when recovery is requested.
fn after(change: impl Fn(&Path)) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (network, _) = written(folder.path());
    change(folder.path());
    let say = |opened: Result<Journal, StoreError>| match opened {
        Ok(store) if network_of(&store) == network => "all of it".to_owned(),
        Ok(_) => "something else".to_owned(),
        Err(error) => {
            assert!(!error.remedy().is_empty());
            error.to_string().rsplit_once("/").unwrap().1.to_owned()
        }
    };
    let first = say(journal(folder.path()));
    let recover = JournalOptions {
        recover: true,
        ..JournalOptions::new(REGION)
    };
    (first, say(Journal::open(folder.path(), &recover)))
}

fn sql(folder: &Path, text: &str) {
    let database = rusqlite::Connection::open(folder.join("network.db")).unwrap();
    database.execute_batch(text).unwrap();
}

/// The damage, the message, and the message when recovery is requested.
type Damage<'d> = (&'d str, &'d dyn Fn(&Path), &'d str, &'d str);

#[test]
fn files_that_are_not_what_was_written_are_told_and_nothing_of_them_is_used() {
    let cases: [Damage<'_>; 12] = [
        ("nothing", &|_| (), "all of it", "all of it"),
        (
            "a record is altered",
            &|folder| sql(folder, "UPDATE records SET value = replace(value, 'home', 'rome')"),
            "the file is damaged: the records are not those of revision 9",
            "the file is damaged",
        ),
        (
            "a mapping is missing",
            &|folder| sql(folder, "DELETE FROM mappings WHERE address = '10.0.1.30'"),
            "the file is damaged: the records are not those of revision 9",
            "the file is damaged",
        ),
        (
            "a mapping is another's",
            &|folder| {
                sql(
                    folder,
                    "UPDATE mappings SET interface = interface + 1 WHERE address = '10.0.1.30'",
                );
            },
            "the file is damaged: the records are not those of revision 9",
            "the file is damaged",
        ),
        (
            "a commit is altered",
            &|folder| sql(folder, "UPDATE commits SET author = 'x' WHERE revision = 4"),
            "the file is damaged: revision 4 is not what was written",
            "the file is damaged",
        ),
        (
            "a commit is missing",
            &|folder| sql(folder, "DELETE FROM commits WHERE revision = 4"),
            "the file is damaged: revision 5 is not what was written",
            "the file is damaged",
        ),
        (
            "another program's database",
            &|folder| sql(folder, "PRAGMA application_id = 7"),
            "this is not the state of a localvpc network (it is a SQLite database of another program)",
            "this is not the state",
        ),
        (
            "a later version",
            &|folder| sql(folder, "PRAGMA user_version = 99"),
            "written in format 99; this localvpc knows formats up to 1",
            "written in format 99",
        ),
        (
            "no database",
            &|folder| {
                fs::write(
                    folder.join("network.db"),
                    "hello, this is a letter to my aunt".repeat(99),
                )
                .unwrap();
            },
            "this is not the state of a localvpc network (it is no SQLite database)",
            "this is not the state",
        ),
        (
            "an empty file",
            &|folder| fs::write(folder.join("network.db"), "").unwrap(),
            "it ends with revision 0, but revision 9 was acknowledged: edits lost: 9",
            "something else",
        ),
        (
            "no head",
            &|folder| fs::remove_file(folder.join("head")).unwrap(),
            "the file is damaged: it is missing next to network.db",
            "all of it",
        ),
        (
            "a head with a flipped bit",
            &|folder| {
                let head = fs::OpenOptions::new().write(true).open(folder.join("head")).unwrap();
                head.write_all_at(&[8], 0).unwrap();
            },
            "the file is damaged: it is not what was written",
            "all of it",
        ),
    ];
    for (name, change, expected, recovered) in cases {
        let (first, second) = after(change);
        assert!(first.ends_with(expected), "{name}: {first}");
        assert!(second.contains(recovered), "{name}, recovering: {second}");
    }
}

/// A cut or flipped bit in any file results in the whole network, or in a message.
#[test]
fn no_cut_and_no_flipped_bit_is_half_read() {
    let original = tempfile::tempdir().unwrap();
    let (network, revision) = written(original.path());
    // With its log next to it, as a killed server leaves it.
    let live = tempfile::tempdir().unwrap();
    let store = journal(live.path()).unwrap();
    let mut kept = Kept::new(&store);
    kept.furnish();
    let copy = |from: &Path| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["network.db", "network.db-wal", "head"] {
            if from.join(name).exists() {
                fs::copy(from.join(name), folder.path().join(name)).unwrap();
            }
        }
        folder
    };
    let mut told = 0;
    let mut check = |from: &Path, name: &str, whole: (&Network, u64), damage: &dyn Fn(&fs::File, u64)| {
        let folder = copy(from);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.path().join(name))
            .unwrap();
        damage(&file, file.metadata().unwrap().len());
        match journal(folder.path()) {
            Err(_) => told += 1,
            Ok(store) => match store.load() {
                Err(_) => told += 1,
                Ok(loaded) => {
                    assert_eq!(loaded.revision, whole.1);
                    assert_eq!(&network_of(&store), whole.0);
                }
            },
        }
    };
    let flip = |at: u64| {
        move |file: &fs::File, length: u64| {
            let mut octet = [0];
            file.read_exact_at(&mut octet, at % length).unwrap();
            file.write_all_at(&[octet[0] ^ 0x10], at % length).unwrap();
        }
    };
    for step in 0..120_u64 {
        let at = step * 1_009 + step * step;
        check(original.path(), "network.db", (&network, revision), &flip(at));
        check(live.path(), "network.db-wal", (&kept.network, kept.revision), &flip(at));
    }
    for tenth in 0..10 {
        let cut = |file: &fs::File, length: u64| file.set_len(length * tenth / 10).unwrap();
        check(original.path(), "network.db", (&network, revision), &cut);
        check(live.path(), "network.db-wal", (&kept.network, kept.revision), &cut);
    }
    assert!(told > 60, "{told} were told: does this damage anything?");
}

#[test]
fn a_network_of_another_region_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let error = Journal::open(folder.path(), &JournalOptions::new("eu-central-1")).unwrap_err();
    assert!(
        error.remedy().contains("--region us-east-1"),
        "{error}: {}",
        error.remedy()
    );
}

#[test]
fn a_full_or_read_only_database_refuses_commits_and_takes_them_again_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let store = journal(folder.path()).unwrap();
    let mut kept = Kept::new(&store);
    let (_, [a, _]) = kept.furnish();
    let pragma = |text: &str| store.writer().database.execute_batch(text).unwrap();
    for (begin, end, expected) in [
        (
            "PRAGMA max_page_count = 1",
            "PRAGMA max_page_count = 1073741823",
            "no space is left on the device",
        ),
        (
            "PRAGMA query_only = ON",
            "PRAGMA query_only = OFF",
            "it can only be read",
        ),
    ] {
        let before = store.load().unwrap();
        pragma(begin);
        let edits = (100..200).map(|last| MappingEdit::Assign {
            interface: a.into(),
            address: format!("10.0.1.{last}").parse().unwrap(),
            move_allowed: false,
        });
        let (_, changes) = kept
            .network
            .execute(EditMappings(edits.collect()), &mut kept.rng)
            .unwrap();
        // Large enough not to fit into existing pages.
        let long = vec![changes.clone(); 200].concat();
        let refused = store.commit(&[], &commit(kept.revision + 1, long, 0), &[]).unwrap_err();
        assert!(refused.to_string().ends_with(expected), "{refused}");
        assert_eq!(store.load().unwrap(), before);
        kept.network.revert(&changes);
        pragma(end);
        kept.assign(a, ["10.0.1.90".to_owned()]);
        kept.network.revert(&[]);
        assert_eq!(network_of(&store), kept.network);
    }
}

/// While the disk is slow, commits go on and are acknowledged together; the store can be read.
#[test]
fn a_slow_disk_delays_the_acknowledgement_and_nothing_else() {
    use std::sync::atomic::{AtomicU64, Ordering};
    const DELAY: Duration = Duration::from_millis(150);
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&syncs);
    let store = journal(folder.path()).unwrap().syncing_by(Box::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(DELAY);
        Ok(())
    }));
    let began = std::time::Instant::now();
    let mut kept = Kept::new(&store);
    let (_, [interface, _]) = kept.furnish();
    for last in 20..40 {
        kept.assign(interface, [format!("10.0.1.{last}")]);
    }
    let latest = kept.revision;
    assert_eq!(store.load().unwrap().revision, latest);
    assert_eq!(syncs.load(Ordering::Relaxed), 0, "a commit waits for the disk");
    let written = began.elapsed();
    std::thread::scope(|scope| {
        for revision in 1..=latest {
            let store = &store;
            scope.spawn(move || store.sync(revision).unwrap());
        }
    });
    let acknowledged = began.elapsed() - written;
    let count = syncs.load(Ordering::Relaxed);
    assert!(
        count <= 2 && acknowledged >= DELAY,
        "{latest} commits, {count} syncs, {acknowledged:?}"
    );
}

/// It is not known what a disk has after an error, so nothing is acknowledged from then on, and the remedy is told.
#[test]
fn a_disk_that_fails_refuses_edits_until_the_store_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = journal(folder.path()).unwrap();
    let store = store.syncing_by(Box::new(|_| Err(std::io::Error::other("no such device"))));
    let mut kept = Kept::new(&store);
    kept.furnish();
    let latest = kept.revision;
    let refused = store.sync(latest).unwrap_err();
    assert!(matches!(refused, StoreError::Unsynced { .. }), "{refused}");
    assert!(refused.to_string().contains("no such device"), "{refused}");
    assert!(
        refused.remedy().contains("start the server again"),
        "{}",
        refused.remedy()
    );
    let refused = store.commit(&[], &commit(latest + 1, Vec::new(), 0), &[]).unwrap_err();
    assert!(
        matches!(refused, CommitError::Store(StoreError::Unsynced { .. })),
        "{refused}"
    );
    let network = network_of(&store);
    drop(store);
    let again = journal(folder.path()).unwrap();
    assert_eq!(network_of(&again), network);
}
