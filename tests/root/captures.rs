//! Tests captures of the live path with tcpdump and tshark.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::tools::needs;
use crate::support::vpc::{api, begin, host, move_to, request, runtime, succeeds};
use http_body_util::BodyExt;
use localvpc::control::Controller;
use localvpc::wire::pcapng;
use serde_json::{Value, json};
use tower::ServiceExt;

/// tcpdump's output for a capture.
fn tcpdump(capture: &[u8], options: &[&str]) -> String {
    needs("tcpdump", "tcpdump");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture).unwrap();
    let output = Command::new("tcpdump")
        .args(["-n", "-tt", "-r"])
        .arg(file.path())
        .args(options)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("truncated") && !said.contains("bad"), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tcpdump_reads_what_the_writer_writes() {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1000, 2000)
        .write(&mut frame, b"hello")
        .unwrap();
    let mut capture = Vec::new();
    pcapng::section_header(&mut capture, "test");
    for interface in 0..2 {
        pcapng::interface(&mut capture, &format!("eni-{interface}"), "", 65_535);
        pcapng::packet(
            &mut capture,
            &pcapng::Packet {
                interface,
                at: Duration::new(1_700_000_000, 123_456_789),
                direction: pcapng::Direction::Inbound,
                original_length: frame.len(),
                bytes: &frame,
                comment: "delivered",
            },
        );
    }
    pcapng::interface_statistics(&mut capture, 0, Duration::from_secs(1), 2, 0, "");
    let lines = tcpdump(&capture, &["--nano"]);
    let expected = "1700000000.123456789 IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 5";
    assert_eq!(lines.lines().collect::<Vec<_>>(), [expected; 2]);
}

/// Begins a capture over HTTP; the result is there when it ends.
async fn capture(controller: &Controller, query: &str) -> tokio::task::JoinHandle<Vec<u8>> {
    let path = format!("/v1/captures?{query}");
    let response = api(controller)
        .oneshot(request("GET", &path, Value::Null))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-pcapng");
    tokio::spawn(async move { response.into_body().collect().await.unwrap().to_bytes().to_vec() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn a_capture_shows_each_frame_with_what_became_of_it() {
    let (runtime, ids) = runtime(&[("a", "left", &["10.0.1.10"]), ("b", "left", &["10.0.1.11"])]);
    let controller = runtime.controller().clone();
    let (a, b) = (host(&runtime, "a"), host(&runtime, "b"));
    let all = capture(&controller, "filter=icmp%20or%20arp&duration=3s").await;
    let one = capture(&controller, "interface=b&filter=icmp&duration=3s").await;
    let two = capture(&controller, "interface=a&filter=icmp&count=2&snaplen=64").await;
    tokio::task::spawn_blocking(move || {
        assert!(succeeds(&a, "ping -c 1 -W 2 10.0.1.11"));
        begin(&controller, json!({"link_down": {"interfaces": ["b"]}}));
        assert!(!succeeds(&a, "ping -c 1 -W 0.3 10.0.1.11"));
        drop(b);
    })
    .await
    .unwrap();

    let all = all.await.unwrap();
    let lines = tcpdump(&all, &["icmp"]);
    let count = |what: &str| lines.lines().filter(|line| line.contains(what)).count();
    assert_eq!(
        (count("echo request"), count("echo reply")),
        (2, 1),
        "each frame once: {lines}"
    );
    let text = String::from_utf8_lossy(&all);
    let (a, b) = (ids[0], ids[1]);
    for comment in [
        format!("delivered to b ({b}), port 2"),
        format!("delivered to a ({a}), port 1"),
        "dropped: fault_link_down: ".to_owned(),
        "answered by the VPC: arp_reply".to_owned(),
        "made by the VPC: arp_reply".to_owned(),
    ] {
        assert!(text.contains(&comment), "{comment}");
    }
    // At b: the request that came, and the reply that left.
    let lines = tcpdump(&one.await.unwrap(), &[]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let two = two.await.unwrap();
    let lines = tcpdump(&two, &[]);
    assert_eq!(lines.lines().count(), 2, "it ends after two frames: {lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn checksums_in_a_capture_are_complete_and_large_frames_are_cut() {
    let (runtime, _) = runtime(&[("a", "left", &["10.0.1.10"]), ("b", "left", &["10.0.1.11"])]);
    let controller = runtime.controller().clone();
    let (a, b) = (host(&runtime, "a"), host(&runtime, "b"));
    let all = capture(&controller, "filter=tcp&duration=2s").await;
    let sent = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let (ready, waits) = std::sync::mpsc::channel();
            let server = scope.spawn(move || {
                b.namespace()
                    .run(|| {
                        let listener = std::net::TcpListener::bind("10.0.1.11:5000").unwrap();
                        ready.send(()).unwrap();
                        let (mut stream, _) = listener.accept().unwrap();
                        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
                    })
                    .unwrap()
            });
            waits.recv().unwrap();
            a.namespace()
                .run(|| {
                    let mut stream = std::net::TcpStream::connect("10.0.1.11:5000").unwrap();
                    std::io::Write::write_all(&mut stream, &vec![7; 300_000]).unwrap();
                })
                .unwrap();
            server.join().unwrap()
        })
    })
    .await
    .unwrap();
    assert_eq!(sent, 300_000);
    let lines = tcpdump(&all.await.unwrap(), &["-v"]);
    assert!(lines.contains("(correct)"), "{lines}");
    assert!(!lines.contains("incorrect"), "{lines}");
    let longest = lines
        .split("length ")
        .skip(1)
        .filter_map(|rest| rest.split([')', ':', '\n']).next()?.parse().ok());
    let longest: u32 = longest.max().unwrap();
    assert!(longest <= 9001, "a frame of {longest} octets crossed no wire");
}

/// tshark's output for a capture: a line for each packet that matches a display filter.
fn tshark(capture: &[u8], filter: &str) -> Vec<String> {
    needs("tshark", "tshark");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture).unwrap();
    let output = Command::new("tshark")
        .args(["-n", "-2", "-R", filter, "-r"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A capture has each frame before its consequences, also where the VPC's services answer from a thread of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn a_capture_is_in_causal_order_to_tshark() {
    let (runtime, ids) = runtime(&[
        ("a", "left", &["10.0.1.10", "10.0.1.50"]),
        ("b", "left", &["10.0.1.11"]),
        ("c", "left", &["10.0.1.12"]),
    ]);
    let controller = runtime.controller().clone();
    let (a, b, c) = (host(&runtime, "a"), host(&runtime, "b"), host(&runtime, "c"));
    let all = capture(&controller, "duration=12s").await;
    tokio::task::spawn_blocking(move || {
        assert!(succeeds(&c, "ip address add 10.0.1.50/32 dev eth0"));
        std::thread::scope(|scope| {
            scope.spawn(|| succeeds(&b, "ping -q -i 0.005 -c 600 10.0.1.50"));
            scope.spawn(|| {
                for owner in [ids[2], ids[0]].repeat(10) {
                    std::thread::sleep(Duration::from_millis(100));
                    move_to(&controller, "10.0.1.50", owner);
                }
            });
            for _ in 0..15 {
                assert!(succeeds(
                    &a,
                    "curl -s -f -m 3 -o /dev/null http://169.254.169.254/latest/meta-data/mac"
                ));
                assert!(succeeds(
                    &a,
                    "dig +tcp +tries=1 @169.254.169.253 ip-10-0-1-11.eu-central-1.compute.internal"
                ));
            }
        });
    })
    .await
    .unwrap();
    let all = all.await.unwrap();
    for (met, at_least) in [
        ("http.response.code == 200", 15),
        ("tcp.port == 53 && dns.flags.response == 1", 15),
        ("icmp.type == 0", 100),
    ] {
        let found = tshark(&all, met).len();
        assert!(found >= at_least, "{met}: {found}");
    }
    for finding in [
        "tcp.analysis.flags",
        "dns.flags.response == 1 && !dns.response_to",
        "icmp.type == 0 && !icmp.resp_to",
        "frame.time_delta < 0",
    ] {
        let found = tshark(&all, finding);
        assert!(found.is_empty(), "{finding}:\n{}", found.join("\n"));
    }
}

#[tokio::test]
async fn what_cannot_be_captured_is_refused() {
    let controller = Controller::new(localvpc::control::ControllerConfig::default());
    let cases = [
        ("filter=foo", 400, "filter"),
        ("snaplen=0", 400, "snaplen"),
        ("duration=10", 400, "duration"),
        ("interface=nobody", 422, "interface"),
        ("port=1", 400, "port"),
    ];
    for (query, status, field) in cases {
        let path = format!("/v1/captures?{query}");
        let response = api(&controller)
            .oneshot(request("GET", &path, Value::Null))
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{query}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["field"], field, "{query}: {problem}");
    }
}
