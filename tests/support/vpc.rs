//! Shared code of the tests of faults, captures and probes: a VPC with two zones, and hosts in it.
#![allow(clippy::needless_pass_by_value, reason = "a body is written where it is used")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use localvpc::api::guard::GuardConfig;
use localvpc::api::{AppState, rest};
use localvpc::control::Controller;
use localvpc::lab::{CommandSpec, Instance};
use localvpc::model::fault::{Fault, FaultSpec};
use localvpc::model::interface::{AddressRequest, CreateInterface};
use localvpc::model::mapping::{EditMappings, MappingEdit};
use localvpc::model::subnet::CreateSubnet;
use localvpc::model::vpc::CreateVpc;
use localvpc::model::{InterfaceId, ResourceRef};
use localvpc::runtime::{HostSpec, Runtime, RuntimeConfig};

/// Generous: the machine that runs the tests is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A VPC with the subnets `left` (10.0.1.0/24, zone `a`) and `right` (10.0.2.0/24, zone `b`), both dual-stack.
pub(crate) fn furnish(controller: &Controller) {
    let vpc = CreateVpc {
        name: Some("home".into()),
        ipv6_cidr_blocks: vec!["2001:db8::/56".parse().unwrap()],
        ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
    };
    controller.execute(vpc).unwrap();
    for (number, name, zone) in [(1, "left", "a"), (2, "right", "b")] {
        let subnet = CreateSubnet {
            name: Some(name.into()),
            cidr_block: Some(format!("10.0.{number}.0/24").parse().unwrap()),
            ipv6_cidr_block: Some(format!("2001:db8:0:{number}::/64").parse().unwrap()),
            availability_zone: Some(zone.into()),
            ..CreateSubnet::new(ResourceRef::new("home"))
        };
        controller.execute(subnet).unwrap();
    }
}

pub(crate) fn interface(controller: &Controller, name: &str, subnet: &str, addresses: &[&str]) -> InterfaceId {
    let spec = CreateInterface {
        name: Some(name.into()),
        addresses: addresses
            .iter()
            .map(|address| AddressRequest::Exactly(address.parse().unwrap()))
            .collect(),
        ..CreateInterface::new(ResourceRef::new(subnet))
    };
    controller.execute(spec).unwrap().id
}

/// Begins a fault given as in HTTP.
pub(crate) fn begin(controller: &Controller, fault: serde_json::Value) -> Fault {
    let spec: FaultSpec = serde_json::from_value(fault).unwrap();
    controller.begin_fault(spec).unwrap()
}

pub(crate) fn end_all(controller: &Controller) {
    controller.cancel_all_faults();
}

/// Moves an address to an interface, with the calls that its family requires.
pub(crate) fn move_to(controller: &Controller, address: &str, interface: InterfaceId) {
    let edit = MappingEdit::Assign {
        interface: interface.into(),
        address: address.parse().unwrap(),
        move_allowed: true,
    };
    controller.execute(EditMappings(vec![edit])).unwrap();
}

/// The HTTP API, without a socket.
pub(crate) fn api(controller: &Controller) -> axum::Router {
    rest::router(AppState::new(controller.clone(), GuardConfig::default()))
}

pub(crate) fn request(method: &str, path: &str, body: serde_json::Value) -> axum::http::Request<axum::body::Body> {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    let request = request.header("content-type", "application/json");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request.body(body.into()).unwrap()
}

/// A running VPC with a host for each interface, with the interface's name.
pub(crate) fn runtime(hosts: &[(&str, &str, &[&str])]) -> (Runtime, Vec<InterfaceId>) {
    let runtime = Runtime::start(RuntimeConfig {
        seed: Some(1),
        init_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_localvpc"))),
        ..RuntimeConfig::default()
    })
    .unwrap();
    furnish(runtime.controller());
    let mut ids = Vec::new();
    let mut specs = Vec::new();
    for (name, subnet, addresses) in hosts {
        let id = interface(runtime.controller(), name, subnet, addresses);
        ids.push(id);
        let mut spec = HostSpec::new(*name, id);
        spec.dad = false;
        specs.push(spec);
    }
    runtime.create_hosts(&specs).unwrap();
    (runtime, ids)
}

pub(crate) fn host(runtime: &Runtime, name: &str) -> Arc<Instance> {
    runtime.lab().get(name).unwrap()
}

/// Standard output of a command, whatever its exit code.
pub(crate) fn said(instance: &Instance, line: &str) -> String {
    let outcome = instance.run(&CommandSpec::shell(line).timeout(SOON)).unwrap();
    outcome.stdout.text().trim().to_owned()
}

pub(crate) fn succeeds(instance: &Instance, line: &str) -> bool {
    instance
        .run(&CommandSpec::shell(line).timeout(SOON))
        .unwrap()
        .end
        .success()
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
