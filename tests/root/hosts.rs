//! Tests running hosts under faults of whole instances, and network interfaces that are attached and detached. It needs
//! root.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what cannot be unwrapped fails the test"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::support::vpc::{eventually, host, interface, request, runtime, said, succeeds};
use axum::body::to_bytes;
use localvpc::api::guard::GuardConfig;
use localvpc::api::{AppState, rest};
use localvpc::control::EventKind;
use localvpc::lab::CommandSpec;
use localvpc::runtime::Runtime;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Sends a request to the API of a server with these hosts. Returns status and body.
fn ask(runtime: &Arc<Runtime>, method: &str, path: &str, body: Value) -> (u16, Value) {
    let router = rest::router(AppState::of_runtime(Arc::clone(runtime), GuardConfig::default()));
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    threads.block_on(async {
        let response = router.oneshot(request(method, path, body)).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    })
}

fn hosts(hosts: &[(&str, &str, &[&str])]) -> Arc<Runtime> {
    Arc::new(runtime(hosts).0)
}

#[test]
#[ignore = "needs root: make test"]
fn a_host_hangs_for_as_long_as_it_is_frozen_and_its_kernel_does_not() {
    let runtime = hosts(&[("a", "left", &["10.0.1.10"]), ("b", "left", &["10.0.1.11"])]);
    let (a, b) = (host(&runtime, "a"), host(&runtime, "b"));
    let ticking = b
        .start(&CommandSpec::shell(
            "while :; do date +%s%N >/run/tick; sleep 0.05; done",
        ))
        .unwrap();
    let ticks = || {
        let before = said(&b, "cat /run/tick");
        std::thread::sleep(Duration::from_millis(400));
        before != said(&b, "cat /run/tick")
    };
    eventually("it runs", ticks);
    let frozen = json!({"instance_freeze": {"interfaces": ["b"]}});
    let (status, begun) = ask(&runtime, "POST", "/v1/faults", frozen);
    assert_eq!(status, 201, "{begun}");
    assert!(!ticks(), "its processes are stopped when the answer comes");
    assert!(succeeds(&a, "ping -c 1 -W 2 10.0.1.11"), "its kernel answers");
    // A second fault of the same kind: the state lasts until the first one is over too.
    let short = json!({"instance_freeze": {"subnets": ["left"]}, "duration": "200ms"});
    let mut events = runtime.controller().events(None);
    assert_eq!(ask(&runtime, "POST", "/v1/faults", short).0, 201);
    eventually("the second fault is over", || {
        std::iter::from_fn(|| events.receiver.try_recv().ok())
            .any(|event| matches!(&event.kind, EventKind::FaultEnded { reason, .. } if reason == "its time is over"))
    });
    assert!(!ticks());
    let path = format!("/v1/faults/{}", begun["id"].as_str().unwrap());
    assert_eq!(ask(&runtime, "DELETE", &path, Value::Null).0, 200);
    assert!(ticks(), "it goes on where it stopped");
    assert!(ticking.try_wait().is_none());
}

#[test]
#[ignore = "needs root: make test"]
fn a_host_that_crashed_is_gone_with_all_that_it_wrote_until_the_fault_is_over() {
    let runtime = hosts(&[("a", "left", &["10.0.1.10"]), ("b", "left", &["10.0.1.11"])]);
    let (a, b) = (host(&runtime, "a"), host(&runtime, "b"));
    assert!(succeeds(&b, "echo lost >/run/state"));
    let running = b.start(&CommandSpec::new(["sleep", "600"])).unwrap();
    assert!(succeeds(&a, "ping -c 1 -W 2 10.0.1.11"));
    let crash = json!({"instance_crash": {"interfaces": ["b"]}});
    assert_eq!(ask(&runtime, "POST", "/v1/faults", crash).0, 201);
    eventually("its processes are killed", || running.try_wait().is_some());
    assert!(
        !succeeds(&a, "ping -c 1 -W 0.2 10.0.1.11"),
        "nor does its kernel answer"
    );
    let refused = b.run(&CommandSpec::new(["true"])).unwrap_err().to_string();
    assert!(refused.contains("has crashed, and is off"), "{refused}");
    assert!(succeeds(&a, "true"), "only it");
    assert_eq!(ask(&runtime, "DELETE", "/v1/faults", Value::Null).0, 200);
    assert!(succeeds(&b, "test ! -e /run/state"), "it has booted anew");
    eventually("it is reached again", || succeeds(&a, "ping -c 1 -W 1 10.0.1.11"));
}

#[test]
#[ignore = "needs root: make test"]
fn a_fault_of_instances_needs_an_instance_of_the_lab() {
    let runtime = hosts(&[("a", "left", &["10.0.1.10"])]);
    interface(runtime.controller(), "loose", "left", &["10.0.1.20"]);
    for kind in ["instance_freeze", "instance_crash"] {
        let fault = json!({kind: {"interfaces": ["loose"]}});
        let (status, problem) = ask(&runtime, "POST", "/v1/faults", fault);
        assert_eq!((status, &problem["code"]), (422, &json!("InvalidParameterValue")));
        assert!(problem["remedy"].as_str().unwrap().contains("link_down"), "{problem}");
    }
}

#[test]
#[ignore = "needs root: make test"]
fn an_interface_that_is_attached_appears_down_and_is_the_host_s_to_configure() {
    let runtime = hosts(&[
        ("a", "left", &["10.0.1.10"]),
        ("b", "left", &["10.0.1.11"]),
        ("c", "left", &["10.0.1.12"]),
        ("far", "right", &["10.0.2.10"]),
    ]);
    let id = interface(runtime.controller(), "service", "left", &["10.0.1.50"]);
    let mac = runtime.controller().interface(&id.into()).unwrap().mac_address;
    let attach = |body| ask(&runtime, "POST", "/v1/interfaces/service/attach", body);
    let (status, attached) = attach(json!({"instance": "a"}));
    assert_eq!(status, 200, "{attached}");
    let place = &attached["attachment"];
    assert_eq!(
        (&place["device"], &place["device_index"]),
        (&json!("eth1"), &json!(1)),
        "{attached}"
    );
    let (_, primary) = ask(&runtime, "GET", "/v1/interfaces/a", Value::Null);
    assert_eq!(place["instance_id"], primary["instance_id"]);
    assert_eq!(attached["instance_id"], primary["instance_id"]);
    let (a, b, c) = (host(&runtime, "a"), host(&runtime, "b"), host(&runtime, "c"));
    let link = said(&a, "ip -o link show dev eth1");
    assert!(link.contains(&mac.to_string()) && link.contains("state DOWN"), "{link}");
    assert_eq!(said(&a, "ip -o address show dev eth1"), "");
    let macs = "curl -s http://169.254.169.254/latest/meta-data/network/interfaces/macs/";
    assert!(said(&a, macs).contains(&format!("{mac}/")));
    assert!(!said(&b, macs).contains(&mac.to_string()));
    assert!(!succeeds(&c, "ping -c 1 -W 0.3 10.0.1.50"), "no host has configured it");
    let configure = "ip link set eth1 up && ip address add 10.0.1.50/24 dev eth1 noprefixroute";
    assert!(succeeds(&a, configure));
    // A host with two interfaces in one subnet answers by the interface with the address only with policy routing.
    let by_eth1 = "ip rule add from 10.0.1.50 table 50 && ip route add 10.0.1.0/24 dev eth1 table 50";
    assert!(succeeds(&a, by_eth1));
    eventually("it answers", || succeeds(&c, "ping -c 1 -W 1 10.0.1.50"));

    let (status, problem) = attach(json!({"instance": "b"}));
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("InvalidNetworkInterface.InUse")),
        "{problem}"
    );
    assert_eq!(
        ask(&runtime, "POST", "/v1/interfaces/service/detach", Value::Null).0,
        200
    );
    assert!(
        !succeeds(&a, "ip link show dev eth1"),
        "the device is gone from the first host"
    );
    assert!(!said(&a, macs).contains(&mac.to_string()));
    for (body, code, field) in [
        (json!({"instance": "nobody"}), "InvalidInstanceID.NotFound", "instance"),
        (json!({"instance": "far"}), "InvalidParameterCombination", "instance"),
        (
            json!({"instance": "b", "device_index": 0}),
            "InvalidParameterValue",
            "device_index",
        ),
        (json!({"instance": "b", "tap": "x"}), "InvalidParameterValue", "tap"),
        (json!({"device_index": 1}), "InvalidParameterValue", "device_index"),
    ] {
        let (_, problem) = attach(body.clone());
        assert_eq!(
            (&problem["code"], &problem["field"]),
            (&json!(code), &json!(field)),
            "{body}: {problem}"
        );
    }
    let (status, attached) = attach(json!({"instance": "b", "device_index": 3}));
    assert_eq!((status, &attached["attachment"]["device"]), (200, &json!("eth3")));
    assert!(succeeds(
        &b,
        "ip link set eth3 up && ip address add 10.0.1.50/24 dev eth3 noprefixroute"
    ));
    assert!(succeeds(&b, &by_eth1.replace("eth1", "eth3")));
    eventually("the other host answers", || succeeds(&c, "ping -c 1 -W 1 10.0.1.50"));
    assert!(said(&c, "ip neighbor show 10.0.1.50").contains(&mac.to_string()));
    // The host is removed; the interface stays.
    assert_eq!(ask(&runtime, "DELETE", "/v1/instances/b", Value::Null).0, 204);
    let (_, left) = ask(&runtime, "GET", "/v1/interfaces/service", Value::Null);
    assert_eq!(left["status"], "available");
}
