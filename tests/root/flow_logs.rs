//! Tests flow logs with real packets between namespaces: records over HTTP and in a file, rejected flows, a stream.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use http_body_util::BodyExt;
use localvpc::api::guard::GuardConfig;
use localvpc::api::{AppState, rest};
use localvpc::runtime::{HostSpec, Runtime, RuntimeConfig};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::vpc::{SOON, eventually, furnish, host, interface, request, said, succeeds};

/// A network with hosts `a` and `b`, and its API.
struct Network {
    runtime: Arc<Runtime>,
    threads: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Network {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::start(RuntimeConfig {
            seed: Some(1),
            init_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_localvpc"))),
            flow_logs: Some(folder.path().to_owned()),
            ..RuntimeConfig::default()
        });
        let runtime = runtime.unwrap();
        furnish(runtime.controller());
        let hosts = [
            ("a", "left", &["10.0.1.10", "2001:db8:0:1::10"]),
            ("b", "right", &["10.0.2.10", "2001:db8:0:2::10"]),
        ];
        let specs = hosts.map(|(name, subnet, addresses)| {
            let id = interface(runtime.controller(), name, subnet, addresses);
            let mut spec = HostSpec::new(name, id);
            spec.dad = false;
            spec
        });
        runtime.create_hosts(&specs).unwrap();
        Self {
            runtime: Arc::new(runtime),
            threads: tokio::runtime::Runtime::new().unwrap(),
            folder,
        }
    }

    fn router(&self) -> axum::Router {
        rest::router(AppState::of_runtime(Arc::clone(&self.runtime), GuardConfig::default()))
    }

    fn send(&self, method: &str, path: &str, body: Value) -> String {
        self.threads.block_on(async {
            let response = self.router().oneshot(request(method, path, body)).await.unwrap();
            let status = response.status();
            let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let answer = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(status.is_success(), "{method} {path}: {status} {answer}");
            answer
        })
    }

    /// The lines of a flow log so far that have a flow.
    fn records(&self, log: &str) -> Vec<String> {
        let lines = self.send("GET", &format!("/v1/flow-logs/{log}/records"), Value::Null);
        let flows = lines.lines().filter(|line| line.ends_with(" OK"));
        flows.map(str::to_owned).collect()
    }
}

/// Sums of fields over records that match.
fn sums(records: &[String], matching: &str) -> (u64, u64) {
    let found = records.iter().filter(|line| line.starts_with(matching));
    found.fold((0, 0), |(packets, octets), line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |back: usize| fields[fields.len() - back].parse::<u64>().unwrap();
        (packets + number(4), octets + number(3))
    })
}

/// Source, destination, protocol, action, direction; then packets, octets, path and status.
const FORMAT: &str = "${interface-id} ${srcaddr} ${dstaddr} ${protocol} ${dstport} ${action} ${flow-direction} \
                      ${packets} ${bytes} ${traffic-path} ${log-status}";

#[test]
#[ignore = "needs root"]
fn flows_between_hosts_are_recorded_at_both_ends_with_what_rules_did() {
    let network = Network::start();
    let log = json!({
        "name": "all", "vpc": "home", "interval": "1s", "log_format": FORMAT, "destination": {"file": "all.log"},
    });
    let made: Value = serde_json::from_str(&network.send("POST", "/v1/flow-logs", log)).unwrap();
    assert_eq!(made["delivery_error"], Value::Null, "{made}");
    let ids = ["a", "b"].map(|name| {
        let found: Value =
            serde_json::from_str(&network.send("GET", &format!("/v1/interfaces/{name}"), Value::Null)).unwrap();
        found["id"].as_str().unwrap().to_owned()
    });
    let [a, b] = &ids;
    let (host_a, host_b) = (host(&network.runtime, "a"), host(&network.runtime, "b"));

    assert!(succeeds(&host_a, "ping -c 3 -i 0.2 -s 56 10.0.2.10"));
    // Three requests and three answers of 84 octets, each seen at both ends.
    let expected = [
        (format!("{a} 10.0.1.10 10.0.2.10 1 0 ACCEPT egress"), (3, 252)),
        (format!("{b} 10.0.1.10 10.0.2.10 1 0 ACCEPT ingress"), (3, 252)),
        (format!("{b} 10.0.2.10 10.0.1.10 1 0 ACCEPT egress"), (3, 252)),
        (format!("{a} 10.0.2.10 10.0.1.10 1 0 ACCEPT ingress"), (3, 252)),
    ];
    eventually("records of the ping", || {
        let records = network.records("all");
        expected
            .iter()
            .all(|(matching, wanted)| sums(&records, matching) == *wanted)
    });
    let records = network.records("all");
    let of_a = records.iter().find(|line| line.starts_with(&expected[0].0)).unwrap();
    assert!(of_a.ends_with(" 1 OK"), "within the VPC: {of_a}");

    // Without a rule for it, the receiver's group denies a new connection: ACCEPT of the one, REJECT of the other.
    let group = json!({"name": "closed", "vpc": "home", "group_name": "closed", "description": "lets nothing in"});
    network.send("POST", "/v1/security-groups", group);
    network.send("PATCH", "/v1/interfaces/b", json!({"groups": ["closed"]}));
    assert!(!succeeds(&host_a, "timeout 1 bash -c 'echo > /dev/tcp/10.0.2.10/22'"));
    eventually("the rejected flow", || {
        let records = network.records("all");
        let out = sums(&records, &format!("{a} 10.0.1.10 10.0.2.10 6 22 ACCEPT egress")).0;
        let rejected = sums(&records, &format!("{b} 10.0.1.10 10.0.2.10 6 22 REJECT ingress")).0;
        out > 0 && out == rejected
    });
    let details = network.send("GET", "/v1/flow-logs/all/details", Value::Null);
    let denied = details
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|detail| detail["dstport"] == 22)
        .unwrap();
    assert_eq!(denied["verdict"], "dropped", "{denied}");
    assert_eq!(denied["reason"], "security_group_ingress", "{denied}");
    let decided = denied["rules"].as_array().unwrap().last().unwrap();
    assert_eq!(decided, "no inbound rule of the receiver's security groups", "{denied}");

    // What went over the wire as a few large frames counts as the packets that it was.
    network.send("PATCH", "/v1/interfaces/b", json!({"groups": ["default"]}));
    let receiver = "python3 -c 'import socket\ns = socket.create_server((\"10.0.2.10\", 5000))\nc, _ = s.accept()\n\
                    while c.recv(65536): pass' > /dev/null 2>&1 &";
    said(&host_b, receiver);
    eventually("the receiver listens", || said(&host_b, "ss -Hltn").contains(":5000"));
    assert!(succeeds(
        &host_a,
        "timeout 8 bash -c 'head -c 3000000 /dev/zero > /dev/tcp/10.0.2.10/5000'"
    ));
    eventually("the transfer", || {
        let (packets, octets) = sums(
            &network.records("all"),
            &format!("{b} 10.0.1.10 10.0.2.10 6 5000 ACCEPT ingress"),
        );
        // 8949 octets of payload fit a packet of 9001 with its headers and timestamps.
        packets > 3_000_000 / 8950 && octets > 3_000_000 && octets < 3_100_000
    });

    // The file has what memory has; a deleted flow log ends its window.
    network.send("DELETE", "/v1/flow-logs/all", Value::Null);
    let written = std::fs::read_to_string(network.folder.path().join("all.log")).unwrap();
    assert!(
        written.lines().any(|line| line.contains(" REJECT ingress ")),
        "{written}"
    );
    assert!(
        written.lines().any(|line| line.ends_with("NODATA")),
        "idle windows are written: {written}"
    );
}

#[test]
#[ignore = "needs root"]
fn a_stream_of_records_goes_on_until_its_flow_log_is_deleted() {
    let network = Network::start();
    let log = json!({"name": "a", "interface": "a", "interval": "1s"});
    network.send("POST", "/v1/flow-logs", log);
    let router = network.router();
    let stream = network.threads.spawn(async move {
        let response = router
            .oneshot(request("GET", "/v1/flow-logs/a/records?follow=true", Value::Null))
            .await
            .unwrap();
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        let mut body = response.into_body();
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            all.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        String::from_utf8(all).unwrap()
    });
    assert!(succeeds(
        &host(&network.runtime, "a"),
        "ping -6 -c 2 -i 0.2 2001:db8:0:2::10"
    ));
    std::thread::sleep(Duration::from_millis(2500));
    network.send("DELETE", "/v1/flow-logs/a", Value::Null);
    let streamed = network
        .threads
        .block_on(async { tokio::time::timeout(SOON, stream).await });
    let text = streamed.unwrap().unwrap();
    let ping = text
        .lines()
        .find(|line| line.contains(" 2001:db8:0:1::10 2001:db8:0:2::10 0 0 58 "));
    assert!(ping.is_some_and(|line| line.ends_with("ACCEPT OK")), "{text}");
    assert!(text.lines().any(|line| line.ends_with("- NODATA")), "{text}");
}

#[test]
#[ignore = "needs root"]
fn a_flow_log_that_cannot_write_says_so_and_keeps_its_records() {
    let network = Network::start();
    std::fs::create_dir(network.folder.path().join("taken")).unwrap();
    let log = json!({"name": "bad", "vpc": "home", "interval": "1s", "destination": {"file": "taken"}});
    let made: Value = serde_json::from_str(&network.send("POST", "/v1/flow-logs", log)).unwrap();
    let error = made["delivery_error"].as_str().unwrap_or_default();
    assert!(error.contains("Is a directory"), "{made}");
    succeeds(&host(&network.runtime, "a"), "ping -c 1 10.0.2.10");
    eventually("records in memory", || !network.records("bad").is_empty());
}
