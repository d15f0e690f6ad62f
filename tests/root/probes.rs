//! Tests probes between real hosts: an address moves, and the figures show the outage. It needs root.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::net::IpAddr;
use std::time::Duration;

use crate::support::tools::needs;
use crate::support::vpc::{begin, end_all, eventually, host, move_to, runtime, said, succeeds};
use localvpc::control::Event;
use localvpc::model::duration::AnswerTimeout;
use localvpc::probe::ProbeReport;
use localvpc::probe::outage::ownership;
use localvpc::probe::{ECHO_PORT, Outage, Probe, ProbeError, ProbeKind, ProbeSpec, Responder};
use localvpc::record::capture::CaptureSpec;
use localvpc::report::outage::html;
use serde_json::json;

const SERVICE: &str = "10.0.1.99";

fn spec(kind: ProbeKind, target: &str) -> ProbeSpec {
    ProbeSpec {
        port: (kind == ProbeKind::Http).then_some(8080),
        rate: 200,
        timeout: AnswerTimeout::constant(Duration::from_millis(300)),
        ..ProbeSpec::new(kind, target.parse().unwrap())
    }
}

#[test]
#[ignore = "needs root: make test"]
fn every_kind_of_probe_is_answered_and_followed_through_the_switch() {
    let (runtime, ids) = runtime(&[
        ("client", "left", &["10.0.1.10", "2001:db8:0:1::10"]),
        ("server", "right", &["10.0.2.20", "2001:db8:0:2::20"]),
    ]);
    let (client, server) = (host(&runtime, "client"), host(&runtime, "server"));
    let _echo = Responder::start(server.namespace(), "server", ECHO_PORT).unwrap();
    let _web = Responder::start(server.namespace(), "server", 8080).unwrap();
    let ipv6 = "2001:db8:0:2::20";
    eventually("the client has a route for IPv6", || {
        succeeds(
            &client,
            "ip -6 route replace default via fe80::1 dev eth0 2>/dev/null; ip -6 route show default | grep -q via",
        )
    });
    let router = runtime
        .controller()
        .subnet(&localvpc::model::ResourceRef::new("left"))
        .unwrap()
        .router_mac
        .link_local();
    said(&client, &format!("ip -6 route replace default via {router} dev eth0"));
    let router = runtime
        .controller()
        .subnet(&localvpc::model::ResourceRef::new("right"))
        .unwrap()
        .router_mac
        .link_local();
    said(&server, &format!("ip -6 route replace default via {router} dev eth0"));
    for target in ["10.0.2.20", ipv6] {
        for kind in [ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp, ProbeKind::Http] {
            let from = Some((runtime.controller(), ids[0]));
            let probe = Probe::start(client.namespace(), "client", spec(kind, target), from).unwrap();
            eventually("there are answers", || probe.so_far().len() > 40);
            let record = probe.stop().unwrap();
            let outage = Outage::from_record(&record, &[]);
            assert_eq!(
                (outage.lost, outage.windows.len()),
                (0, 0),
                "{kind:?} to {target}: {record:?}"
            );
            assert_eq!(record.unrecorded, 0);
            for request in &record.requests {
                let delivered: Vec<_> = request.fates.iter().map(|fate| fate.delivered_to).collect();
                assert_eq!(delivered, [Some(ids[1])], "{kind:?} to {target}: {request:?}");
            }
            let by = outage.answered_by.keys().map(String::as_str).collect::<Vec<_>>();
            let names = matches!(kind, ProbeKind::Udp | ProbeKind::Http);
            assert_eq!(by, if names { vec!["server"] } else { vec![] }, "{kind:?} to {target}");
            assert!(outage.latency.p50 > 0 && outage.latency.p50 < 100_000_000, "{outage:?}");
        }
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_move_to_a_host_that_is_not_ready_is_an_outage_of_that_length() {
    let (runtime, ids) = runtime(&[
        ("client", "left", &["10.0.1.10"]),
        ("old", "left", &["10.0.1.11"]),
        ("new", "left", &["10.0.1.12"]),
    ]);
    let controller = runtime.controller();
    let [client, old, new] = ["client", "old", "new"].map(|name| host(&runtime, name));
    let _old = Responder::start(old.namespace(), "old", ECHO_PORT).unwrap();
    let _new = Responder::start(new.namespace(), "new", ECHO_PORT).unwrap();
    move_to(controller, SERVICE, ids[1]);
    said(&old, &format!("ip address add {SERVICE}/32 dev eth0"));
    // The client resolves the address anew at once, and late propagation delivers packets to the old owner for a while.
    said(
        &client,
        "sysctl -qw net.ipv4.neigh.eth0.base_reachable_time_ms=100 net.ipv4.neigh.eth0.delay_first_probe_time=0 net.ipv4.neigh.eth0.retrans_time_ms=20",
    );
    let after = controller.last_event();
    let began = std::time::SystemTime::now();
    let from = Some((controller, ids[0]));
    let probe = Probe::start(client.namespace(), "client", spec(ProbeKind::Udp, SERVICE), from).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    begin(controller, json!({"late_propagation": {"delay": {"fixed": "200ms"}}}));
    // The old owner dies, and only then the address moves.
    said(&old, &format!("ip address del {SERVICE}/32 dev eth0"));
    said(&new, &format!("ip address add {SERVICE}/32 dev eth0"));
    move_to(controller, SERVICE, ids[2]);
    eventually("the new owner answers", || {
        probe
            .so_far()
            .iter()
            .any(|request| request.by.as_deref() == Some("new"))
    });
    std::thread::sleep(Duration::from_millis(200));
    let record = probe.stop().unwrap();
    assert!(record.began() >= began);

    let events: Vec<std::sync::Arc<Event>> = controller.events(Some(after)).backlog;
    let address: IpAddr = SERVICE.parse().unwrap();
    let owners = ownership(&events, address, record.began());
    let [owner] = owners.as_slice() else {
        panic!("{owners:?}")
    };
    assert_eq!((owner.from, owner.to), (Some(ids[1]), Some(ids[2])));
    let followed = owner.in_data_path.unwrap() - owner.at;
    assert!((200_000_000..400_000_000).contains(&followed), "{followed}");

    let outage = Outage::from_record(&record, &owners);
    assert_eq!(outage.windows.len(), 1, "{:?}", outage.windows);
    assert!(outage.longest >= 200_000_000, "at least the delay: {}", outage.longest);
    assert!(
        outage.misdelivered >= 10,
        "200 a second for 200 ms: {}",
        outage.misdelivered
    );
    assert!(outage.to_new_owner.unwrap() >= 200_000_000);
    assert_eq!(outage.answered_by.keys().collect::<Vec<_>>(), ["new", "old"]);

    // The record is the same when it is read from JSON, and the page draws it.
    let names = ids
        .iter()
        .zip(["client", "old", "new"])
        .map(|(id, name)| (id.to_string(), name.to_owned()));
    let report = ProbeReport {
        marks: Vec::new(),
        name: "service".into(),
        names: names.collect(),
        outage,
        owners,
        record,
    };
    let again: ProbeReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(again, report);
    let page = html("a move", &[report]);
    assert!(page.contains(">old</text>") && page.contains(">new</text>"));
}

#[test]
#[ignore = "needs root: make test"]
fn drops_by_a_fault_are_in_the_record_with_their_reason() {
    let (runtime, ids) = runtime(&[("client", "left", &["10.0.1.10"]), ("server", "left", &["10.0.1.11"])]);
    let controller = runtime.controller();
    let client = host(&runtime, "client");
    let from = Some((controller, ids[0]));
    let probe = Probe::start(client.namespace(), "client", spec(ProbeKind::Icmp, "10.0.1.11"), from).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    begin(
        controller,
        json!({"partition": {"between": {"interfaces": ["client"]}, "and": {"interfaces": ["server"]}}}),
    );
    std::thread::sleep(Duration::from_millis(300));
    end_all(controller);
    std::thread::sleep(Duration::from_millis(200));
    let record = probe.stop().unwrap();
    let outage = Outage::from_record(&record, &[]);
    assert_eq!(outage.windows.len(), 1, "{:?}", outage.windows);
    assert!(
        (250_000_000..500_000_000).contains(&outage.longest),
        "{}",
        outage.longest
    );
    assert_eq!(
        outage.dropped.get("fault_partition"),
        Some(&outage.lost),
        "one reason for each loss"
    );
}

/// Figures that a script computes from the capture of a stream alone.
fn from_capture(capture: &[u8], client: &str, target: &str) -> serde_json::Value {
    needs("python3", "python3");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture).unwrap();
    let output = std::process::Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outage_from_capture.py"))
        .arg(file.path())
        .args([client, target, "300"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
#[ignore = "needs root: make test"]
fn the_outage_is_the_one_that_the_capture_shows() {
    let (runtime, ids) = runtime(&[("client", "left", &["10.0.1.10"]), ("server", "left", &["10.0.1.11"])]);
    let controller = runtime.controller();
    let client = host(&runtime, "client");
    let spec = spec(ProbeKind::Icmp, "10.0.1.11");
    let mut capture = controller
        .capture(CaptureSpec {
            interfaces: vec![ids[0].into()],
            filter: "icmp".parse().unwrap(),
            ..CaptureSpec::default()
        })
        .unwrap();
    let probe = Probe::start(client.namespace(), "client", spec, Some((controller, ids[0]))).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        begin(
            controller,
            json!({"impairment": {"at": {"interfaces": ["server"]}, "loss": "100%"}}),
        );
        std::thread::sleep(Duration::from_millis(100));
        end_all(controller);
    }
    std::thread::sleep(Duration::from_millis(150));
    let record = probe.stop().unwrap();
    let mut file = Vec::new();
    while let Some(piece) = capture.try_next() {
        file.extend(piece);
    }
    assert_eq!(capture.lost(), 0);
    file.extend(capture.end());
    let seen = from_capture(&file, "10.0.1.10", "10.0.1.11");
    let outage = Outage::from_record(&record, &[]);
    assert!(outage.windows.len() >= 3, "{:?}", outage.windows);
    assert_eq!(
        (seen["sent"].as_u64(), seen["lost"].as_u64()),
        (Some(outage.sent), Some(outage.lost))
    );
    let windows = seen["windows"].as_array().unwrap();
    assert_eq!(windows.len(), outage.windows.len());
    for (window, seen) in outage.windows.iter().zip(windows) {
        // A host's send and the switch's read are a scheduler's latency apart.
        let length = seen["to"].as_u64().unwrap() - seen["from"].as_u64().unwrap();
        let off = length.abs_diff(window.length);
        assert!(
            off < 20_000_000,
            "{length} in the capture, {} in the report",
            window.length
        );
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_probe_that_cannot_be_is_refused() {
    let (runtime, _) = runtime(&[("client", "left", &["10.0.1.10"])]);
    let client = host(&runtime, "client");
    for rate in [0, 1001] {
        let wrong = ProbeSpec {
            rate,
            ..spec(ProbeKind::Icmp, "10.0.1.11")
        };
        let refused = Probe::start(client.namespace(), "client", wrong, None).unwrap_err();
        assert!(matches!(refused, ProbeError::Rate(r) if r == rate));
    }
}
