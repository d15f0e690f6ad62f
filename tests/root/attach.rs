//! Tests attaching TAPs over HTTP: inside a namespace so that they are invisible outside, or by an inherited
//! descriptor.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use localvpc::lab::Namespace;
use localvpc::switch::port::{TapOptions, TapPort};
use serde_json::{Value, json};

use crate::support::api::Server;

/// Devices of a namespace.
fn devices(namespace: &Namespace) -> Vec<String> {
    let text = namespace
        .run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap())
        .unwrap();
    text.lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn a_tap_inside_a_namespace_is_a_port_and_shows_nowhere_else() {
    let server = Server::furnished().await;
    let client = &server.client;
    let namespace = Namespace::create().unwrap();
    let path = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    let request = json!({"tap": "eth0", "namespace": path, "mtu": 1500});
    let attached = client.post("/v1/interfaces/a/attach", &request).await.unwrap();
    assert_eq!(attached["status"], "in-use");
    assert_eq!(attached["attachment"]["device"], "eth0");
    assert!(devices(&namespace).contains(&"eth0".to_owned()));
    let again = client.post("/v1/interfaces/a/attach", &request).await.unwrap_err();
    assert_eq!(again.problem().unwrap().code, "InvalidNetworkInterface.InUse");
    let busy = client.post("/v1/interfaces/b/attach", &request).await.unwrap_err();
    assert_eq!(busy.problem().unwrap().field.as_deref(), Some("tap"), "{busy}");

    let ports = client.get("/v1/ports").await.unwrap();
    let port = &ports["ports"][0];
    assert_eq!((&port["interface_name"], &port["mtu"]), (&json!("a"), &json!(1500)));
    // Every counter is listed, zero ones too.
    assert_eq!(
        port["dropped"].as_object().unwrap().len(),
        localvpc::datapath::DropReason::COUNT
    );
    assert_eq!(
        port["answered"].as_object().unwrap().len(),
        localvpc::datapath::Answered::COUNT
    );
    let nonzero = client.get("/v1/ports?nonzero=true&interface=a").await.unwrap();
    assert!(nonzero["ports"][0]["dropped"].as_object().unwrap().len() < localvpc::datapath::DropReason::COUNT);
    assert_eq!(client.get("/v1/ports?interface=b").await.unwrap()["ports"], json!([]));

    let explained = client
        .post("/v1/explain", &json!({"from": "b", "to": "10.0.1.10"}))
        .await
        .unwrap();
    assert_eq!(
        explained["summary"],
        "Delivered to a; but the sender is attached to no port, so that nothing is sent"
    );

    client.post("/v1/interfaces/a/detach", &Value::Null).await.unwrap();
    assert!(
        !devices(&namespace).contains(&"eth0".to_owned()),
        "the TAP is gone with its port"
    );
    assert_eq!(client.get("/v1/ports").await.unwrap()["ports"], json!([]));
    server.stop().await;
}

/// What `ip link` says of a device of a namespace.
fn link(namespace: &Namespace, device: &str) -> String {
    let show = || std::process::Command::new("ip").args(["link", "show", device]).output();
    let output = namespace.run(show).unwrap().expect("ip (package iproute2)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn a_tap_that_is_made_has_the_interfaces_mac_and_mtu_and_is_up() {
    let server = Server::furnished().await;
    let client = &server.client;
    let namespace = Namespace::create().unwrap();
    let path = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    let made = json!({"tap": "eth0", "namespace": path});
    let attached = client.post("/v1/interfaces/a/attach", &made).await.unwrap();
    let shown = link(&namespace, "eth0");
    let mac = attached["mac_address"].as_str().unwrap();
    assert!(shown.contains(&format!("link/ether {mac}")), "{shown}");
    assert!(shown.contains("mtu 9001") && shown.contains(",UP"), "{shown}");
    assert_eq!(client.get("/v1/ports").await.unwrap()["ports"][0]["mtu"], 9001);

    // An existing device stays its creator's.
    let theirs = namespace
        .run(|| {
            let tap = TapPort::open("eth1", TapOptions::default()).unwrap();
            tap.set_persistent(true).unwrap();
        })
        .is_ok();
    assert!(theirs);
    let before = link(&namespace, "eth1");
    let found = json!({"tap": "eth1", "namespace": path, "mtu": 1500});
    client.post("/v1/interfaces/b/attach", &found).await.unwrap();
    let after = link(&namespace, "eth1");
    let mac_of = |shown: &str| shown.split("link/ether ").nth(1).map(|rest| rest[..17].to_owned());
    assert_eq!(mac_of(&before), mac_of(&after));
    assert!(after.contains("mtu 1500") && after.contains("state DOWN"), "{after}");
    server.stop().await;
}

/// Runs a command in a namespace, which must succeed, and returns what it wrote.
fn run(namespace: &Namespace, line: &str) -> String {
    let run = || std::process::Command::new("sh").args(["-c", line]).output();
    let output = namespace.run(run).unwrap().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// NetworkManager takes a device whose offload headers are as its profile says, by default off (`tun.vnet-hdr`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn a_tap_has_the_offload_headers_that_were_asked_for_and_is_served_with_and_without() {
    let server = Server::furnished().await;
    let client = &server.client;
    for (offload, shown) in [(true, "vnet_hdr on"), (false, "vnet_hdr off")] {
        let (theirs, ours) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        // One is made by its owner, without offload headers; the other by the server.
        run(&theirs, "ip tuntap add dev eth0 mode tap");
        for (name, address, namespace) in [("a", "10.0.1.10", &theirs), ("b", "10.0.1.11", &ours)] {
            let path = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
            let request = json!({"tap": "eth0", "namespace": path, "offload": offload});
            let attach = format!("/v1/interfaces/{name}/attach");
            let attached = client.post(&attach, &request).await.unwrap();
            let mac = attached["mac_address"].as_str().unwrap();
            run(
                namespace,
                &format!("ip link set eth0 address {mac} up; ip address add {address}/24 dev eth0"),
            );
            let link = run(namespace, "ip -d link show eth0");
            assert!(link.contains(shown), "{name}: {link}");
        }
        let said = run(&theirs, "ping -c 3 -i 0.2 -W 5 -s 4000 10.0.1.11");
        assert!(said.contains(" 0% packet loss"), "{said}");
        for name in ["a", "b"] {
            let detach = format!("/v1/interfaces/{name}/detach");
            client.post(&detach, &Value::Null).await.unwrap();
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn a_device_goes_with_the_last_process_of_its_container_unless_it_is_kept() {
    let server = Server::furnished().await;
    let client = &server.client;
    let mut events = client.events("/v1/events?type=port_down", None).await.unwrap();
    let mut containers = Vec::new();
    for (interface, keep) in [("a", false), ("b", true)] {
        let container = std::process::Command::new("unshare")
            .args(["-n", "sleep", "600"])
            .spawn();
        let container = container.expect("unshare (package util-linux)");
        let path = format!("/proc/{}/ns/net", container.id());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let began = Instant::now();
        while std::fs::read_link(&path).unwrap() == own {
            assert!(began.elapsed() < Duration::from_secs(10), "unshare has not begun");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let attach = json!({"tap": "eth0", "namespace": path, "keep": keep});
        client
            .post(&format!("/v1/interfaces/{interface}/attach"), &attach)
            .await
            .unwrap();
        containers.push(container);
    }
    // As long as its process is there, so is the device.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(client.get("/v1/interfaces/a").await.unwrap()["status"], "in-use");
    for mut container in containers {
        container.kill().unwrap();
        container.wait().unwrap();
    }
    let down = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
    let down = down.expect("an event").unwrap().unwrap();
    assert!(
        down.data.contains("the last process of its network namespace is gone"),
        "{}",
        down.data
    );
    assert_eq!(client.get("/v1/interfaces/a").await.unwrap()["status"], "available");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(client.get("/v1/interfaces/b").await.unwrap()["status"], "in-use");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn what_is_named_as_a_namespace_and_is_none_blocks_nothing() {
    let server = Server::furnished().await;
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let attach = json!({"tap": "eth0", "namespace": fifo});
    // More than the threads for blocking requests.
    let attempts: Vec<_> = (0..600)
        .map(|_| {
            let (client, attach) = (server.client.clone(), attach.clone());
            tokio::spawn(async move { client.post("/v1/interfaces/a/attach", &attach).await })
        })
        .collect();
    let asked = Instant::now();
    server.client.get("/v1/vpcs").await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    for attempt in attempts {
        let refused = attempt.await.unwrap().unwrap_err();
        let problem = refused.problem().unwrap();
        assert_eq!(problem.field.as_deref(), Some("namespace"), "{refused}");
        assert!(refused.to_string().contains("is not a network namespace"), "{refused}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: make test"]
async fn an_inherited_descriptor_is_attached_once_and_can_come_back() {
    let server = Server::furnished().await;
    let client = &server.client;
    let namespace = Namespace::create().unwrap();
    let tap = namespace
        .run(|| TapPort::open("eth0", TapOptions::default()))
        .unwrap()
        .unwrap();
    let fd = tap.as_fd().as_raw_fd();
    let attach = json!({ "fd": fd });
    // The server opened it itself, so it was not inherited.
    let refused = client.post("/v1/interfaces/a/attach", &attach).await.unwrap_err();
    assert!(refused.to_string().contains("was not inherited"), "{refused}");
    // What the program that started the server would have left open.
    rustix::io::fcntl_setfd(&tap, rustix::io::FdFlags::empty()).unwrap();
    for _ in 0..2 {
        let attached = client.post("/v1/interfaces/a/attach", &attach).await.unwrap();
        assert_eq!(attached["attachment"]["device"], "eth0");
        let twice = client.post("/v1/interfaces/b/attach", &attach).await.unwrap_err();
        assert!(twice.to_string().contains("is attached to"), "{twice}");
        client.post("/v1/interfaces/a/detach", &Value::Null).await.unwrap();
    }
    let no_tap = client
        .post("/v1/interfaces/a/attach", &json!({"fd": 0}))
        .await
        .unwrap_err();
    assert_eq!(no_tap.problem().unwrap().field.as_deref(), Some("fd"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_over_http_waits_for_no_other() {
    let server = Server::furnished().await;
    let start = Instant::now();
    let calls = (0..50).map(|n| {
        let client = server.client.clone();
        tokio::spawn(async move {
            client
                .put(
                    &format!("/v1/mappings/left/10.0.1.{}", 100 + n),
                    &json!({"interface": "a"}),
                )
                .await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    server.stop().await;
}
