//! Edits a network whose disk is slow or broken: the answer waits for it, and nothing else does.

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use localvpc::control::{ControlError, Controller, ControllerConfig, EventKind, ExplainRequest};
use localvpc::model::change::{Commit, Entry};
use localvpc::model::interface::{AddressRequest, CreateInterface};
use localvpc::model::mapping::{EditMappings, MappingEdit};
use localvpc::model::subnet::CreateSubnet;
use localvpc::model::vpc::CreateVpc;
use localvpc::model::{AddressOrPrefix, ResourceRef};
use localvpc::store::{CommitError, FollowError, Guard, Kept, Loaded, Memory, Store, StoreError};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Disk {
    Fast,
    Hangs,
    Broken,
}

/// A store in memory that says that it brings commits to a disk.
#[derive(Debug)]
struct OnDisk {
    memory: Memory,
    disk: Mutex<Disk>,
    changed: Condvar,
}

impl OnDisk {
    fn is(&self, disk: Disk) {
        *self.disk.lock().unwrap() = disk;
        self.changed.notify_all();
    }
}

impl Store for OnDisk {
    fn commit(&self, guards: &[Guard], commit: &Arc<Commit>, entries: &[Entry]) -> Result<(), CommitError> {
        self.memory.commit(guards, commit, entries)
    }

    fn sync(&self, _: u64) -> Result<(), StoreError> {
        let disk = self.disk.lock().unwrap();
        let disk = self.changed.wait_while(disk, |disk| *disk == Disk::Hangs).unwrap();
        match *disk {
            Disk::Broken => Err(StoreError::Unsynced {
                path: "/state/network.db".into(),
                what: "no such device".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn syncs(&self) -> bool {
        true
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.memory.load()
    }

    fn follow(&self, after: u64, most: usize) -> Result<Vec<Arc<Commit>>, FollowError> {
        self.memory.follow(after, most)
    }

    fn kept(&self) -> Result<Kept, StoreError> {
        self.memory.kept()
    }

    fn shelve(&self, shelf: &str, place: &str, text: Option<&str>) -> Result<(), StoreError> {
        self.memory.shelve(shelf, place, text)
    }

    fn shelved(&self, shelf: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.memory.shelved(shelf)
    }

    fn lasts(&self) -> bool {
        false
    }
}

/// A subnet with the interfaces `a` and `b`.
fn world() -> (Controller, Arc<OnDisk>) {
    let store = Arc::new(OnDisk {
        memory: Memory::of_commits(),
        disk: Mutex::new(Disk::Fast),
        changed: Condvar::new(),
    });
    let kept: Arc<dyn Store> = Arc::<OnDisk>::clone(&store);
    let controller = Controller::open(ControllerConfig::default(), kept).unwrap();
    let vpc = CreateVpc {
        name: Some("v".into()),
        ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
    };
    let vpc = controller.execute(vpc).unwrap().id;
    let subnet = CreateSubnet {
        name: Some("s".into()),
        cidr_block: Some("10.0.1.0/24".parse().unwrap()),
        ..CreateSubnet::new(vpc)
    };
    let subnet = controller.execute(subnet).unwrap().id;
    for (name, last) in [("a", 10), ("b", 11)] {
        let interface = CreateInterface {
            name: Some(name.into()),
            addresses: vec![AddressRequest::Exactly(address(last))],
            ..CreateInterface::new(subnet)
        };
        controller.execute(interface).unwrap();
    }
    (controller, store)
}

fn address(last: u8) -> AddressOrPrefix {
    IpAddr::from([10, 0, 1, last]).into()
}

fn assign(controller: &Controller, last: u8) -> Result<(), ControlError> {
    let edit = MappingEdit::Assign {
        interface: ResourceRef::new("b"),
        address: address(last),
        move_allowed: true,
    };
    controller.execute(EditMappings(vec![edit])).map(drop)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn while_the_disk_hangs_edits_wait_and_everything_else_goes_on() {
    let (controller, disk) = world();
    let before = controller.last_event();
    let revision = controller.revision();
    let mut listener = controller.events(Some(before)).receiver;
    disk.is(Disk::Hangs);
    std::thread::scope(|scope| {
        let edits: Vec<_> = [50, 51]
            .into_iter()
            .map(|last| {
                let controller = controller.clone();
                scope.spawn(move || assign(&controller, last))
            })
            .collect();
        // Both are in effect, although neither is answered: no lock is held.
        let owned = |last| controller.mapping(&ResourceRef::new("s"), address(last)).is_ok();
        until("an edit waits for the other's disk", || owned(50) && owned(51));
        let to = IpAddr::from([10, 0, 1, 50]);
        let explained = controller
            .explain(ExplainRequest::ping(ResourceRef::new("a"), to))
            .unwrap();
        assert!(explained.summary.contains('b'), "{}", explained.summary);
        assert_eq!(
            controller
                .interface(&ResourceRef::new("b"))
                .unwrap()
                .ipv4_addresses
                .len(),
            3
        );
        std::thread::sleep(Duration::from_millis(50));
        assert!(
            edits.iter().all(|edit| !edit.is_finished()),
            "an edit is answered before it is on the disk"
        );
        assert!(
            listener.try_recv().is_err() && controller.last_event() == before,
            "an event comes too early"
        );
        disk.is(Disk::Fast);
        for edit in edits {
            edit.join().unwrap().unwrap();
        }
    });
    let seen: Vec<Option<u64>> = std::iter::from_fn(|| listener.try_recv().ok())
        .filter(|event| matches!(event.kind, EventKind::MappingsChanged { .. }))
        .map(|event| event.revision)
        .collect();
    assert_eq!(seen, [Some(revision + 1), Some(revision + 2)]);
}

#[test]
fn an_edit_whose_disk_fails_is_answered_with_what_is_known_and_the_remedy() {
    let (controller, disk) = world();
    disk.is(Disk::Broken);
    let error = assign(&controller, 50).unwrap_err();
    assert!(matches!(error, ControlError::Unsynced(_)), "{error}");
    assert_eq!(error.code(), "Unavailable");
    let said = error.to_string();
    assert!(
        said.contains("was carried out") && said.contains("no such device"),
        "{said}"
    );
    assert!(error.remedy().contains("start the server again"), "{}", error.remedy());
    // Events of ports and of the edit are not held back for ever.
    assert!(controller.last_event() > 0);
}
