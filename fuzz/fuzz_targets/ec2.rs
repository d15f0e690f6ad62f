//! Feeds arbitrary forms to the EC2 Query API: no panic, a document for an answer, and a refused request changes nothing.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use localvpc::api::AppState;
use localvpc::api::ec2::Ec2;
use localvpc::api::guard::GuardConfig;
use localvpc::control::{Controller, ControllerConfig};

/// Edits after which a new network is made: the fuzzer finds out how to create things.
const MOST_EDITS: u64 = 200;

fn endpoint() -> Ec2 {
    let controller = Controller::new(ControllerConfig {
        seed: Some(1),
        ..ControllerConfig::default()
    });
    let ec2 = Ec2::new(AppState::new(controller, GuardConfig::default()));
    ec2.answer(b"", b"Action=CreateVpc&CidrBlock=10.0.0.0/16");
    ec2
}

thread_local! {
    static EC2: RefCell<Ec2> = RefCell::new(endpoint());
}

fuzz_target!(|input: &[u8]| {
    EC2.with(|ec2| {
        let mut ec2 = ec2.borrow_mut();
        if ec2.state.controller.revision() > MOST_EDITS {
            *ec2 = endpoint();
        }
        let before = ec2.state.controller.revision();
        let (status, document) = ec2.answer(b"", input);
        assert!(document.starts_with("<?xml"), "{document}");
        if status >= 400 {
            assert_eq!(ec2.state.controller.revision(), before, "{document}");
        }
    });
});
