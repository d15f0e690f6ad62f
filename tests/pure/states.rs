//! Opens the files that each version of the format has left, in `tests/states`, and goes on with them.
//!
//! A change of the format leaves these files as they are and adds a folder: `localvpc up` with a network of every kind of
//! resource, ended in order, then `network.db` and `head`.

use std::path::Path;
use std::sync::Arc;

use localvpc::control::{Controller, ControllerConfig};
use localvpc::model::ResourceRef;
use localvpc::model::interface::CreateInterface;
use localvpc::store::{Journal, JournalOptions, Store};

/// A copy of the files of a version, which may be written to.
fn copy_of(version: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/states").join(version);
    for file in ["network.db", "head"] {
        std::fs::copy(kept.join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn the_files_of_version_1_are_opened_and_gone_on_with() {
    let folder = copy_of("v1");
    let options = JournalOptions::new("us-east-1");
    let store: Arc<dyn Store> = Arc::new(Journal::open(folder.path(), &options).unwrap());
    let controller = Controller::open(ControllerConfig::default(), Arc::clone(&store)).unwrap();
    assert_eq!(controller.revision(), 20);
    let named: Vec<String> = controller
        .interfaces(None, 100, |_| true)
        .into_iter()
        .filter_map(|interface| interface.name)
        .collect();
    assert!(
        named.contains(&"one".to_owned()) && named.contains(&"two".to_owned()),
        "{named:?}"
    );
    let one = controller.interface(&ResourceRef::new("one")).unwrap();
    assert_eq!(one.id.to_string(), "eni-019762de5d5db8e23");
    assert_eq!(one.mac_address.to_string(), "0a:90:1a:0b:f9:e9");
    let addresses = |name: &str| -> Vec<String> {
        let interface = controller.interface(&ResourceRef::new(name)).unwrap();
        interface.ipv4_addresses.iter().map(ToString::to_string).collect()
    };
    // An address was assigned to one and moved to two; the assignment of a prefix was undone.
    assert_eq!(addresses("one"), ["10.0.1.11"]);
    assert_eq!(addresses("two"), ["10.0.1.12", "10.0.1.50"]);
    assert!(one.ipv4_prefixes.is_empty());
    let group = controller.security_group(&ResourceRef::new("web")).unwrap();
    assert_eq!(group.rules.len(), 3);
    assert_eq!(store.shelved("hosts").unwrap().len(), 3);
    // The whole past can be read, and further edits are kept.
    let commits = controller.commits(20, 100).unwrap();
    assert_eq!(commits.len(), 20);
    assert_eq!(commits[0].command, "Undo 19");
    let made = controller.execute(CreateInterface::new(one.subnet_id)).unwrap();
    drop(controller);
    drop(store);
    let store: Arc<dyn Store> = Arc::new(Journal::open(folder.path(), &options).unwrap());
    let controller = Controller::open(ControllerConfig::default(), store).unwrap();
    assert_eq!(controller.revision(), 21);
    assert!(controller.interface(&made.id.into()).is_ok());
}
