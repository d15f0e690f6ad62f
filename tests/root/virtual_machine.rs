//! Boots a virtual machine whose network card is a unix socket of the switch: it gets a lease, reaches a host and reads
//! its metadata, like any other instance.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cli::{Server, file, stdout};
use crate::support::tools::needs;

const NETWORK: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
interfaces: { vm: { subnet: s, ipv4: [10.0.1.11], mac: '0a:00:00:00:0a:01' } }
instances: { b: { subnet: s, ipv4: [10.0.1.12] } }
";

struct Bench {
    folder: tempfile::TempDir,
    server: Server,
}

impl Bench {
    fn start() -> Self {
        Self::start_on(Stdio::inherit())
    }

    fn start_on(input: Stdio) -> Self {
        needs("qemu-system-x86_64", "qemu-system-x86");
        needs("busybox", "busybox-static");
        let folder = tempfile::tempdir().unwrap();
        let network = file(&folder, "network.yaml", NETWORK);
        let server = Server::start_on(&folder, &["up", &network], input);
        Self { folder, server }
    }

    fn ask(&self, options: &[&str]) -> Output {
        Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--unix-socket"])
            .arg(&self.server.socket)
            .args(options)
            .output()
            .unwrap()
    }

    fn attach(&self, request: &Value) -> Output {
        let url = "http://localhost/v1/interfaces/vm/attach";
        self.ask(&["--json", &request.to_string(), url])
    }

    /// Boots the machine to its end, and expects on its console what an instance sees.
    fn boot(folder: &Path, netdev: &str) {
        Self::boot_on(folder, netdev, Stdio::inherit());
    }

    /// The same, with a standard input of its own: QEMU's descriptor 3.
    fn boot_on(folder: &Path, netdev: &str, input: Stdio) {
        let cache = std::env::temp_dir().join("localvpc-test-kernel");
        let console = Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/boot.sh"))
            .args([cache.as_path(), &folder.join("vm"), Path::new(netdev)])
            .args(["0a:00:00:00:0a:01", "10.0.1.12"])
            .stdin(input)
            .output()
            .unwrap();
        let said = format!("{}{}", stdout(&console), String::from_utf8_lossy(&console.stderr));
        for line in [
            "vm: lease 10.0.1.11/24 from 10.0.1.1, router 10.0.1.1, mtu 9001",
            "3 packets received",
            "vm: instance 10.0.1.11",
            "vm: neighbor 10.0.1.12 dev eth0",
            "vm: done",
        ] {
            assert!(said.contains(line), "no '{line}' on the console:\n{said}");
        }
    }

    fn status(&self) -> Value {
        let interface = self.ask(&["http://localhost/v1/interfaces/vm"]);
        serde_json::from_slice::<Value>(&interface.stdout).unwrap()["status"].clone()
    }

    fn wait_until_detached(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status() != "available" {
            assert!(Instant::now() < deadline, "{}", self.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the switch has counted at the machine's port.
    fn port(&self) -> Value {
        let ports: Value = serde_json::from_slice(&self.ask(&["http://localhost/v1/ports"]).stdout).unwrap();
        let ports = ports["ports"].as_array().unwrap().clone();
        ports
            .into_iter()
            .find(|port| port["device"].as_str().unwrap().contains(".sock"))
            .unwrap()
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_virtual_machine_boots_to_a_lease_reaches_a_host_and_reads_its_metadata() {
    let bench = Bench::start();
    let (switch, guest) = (
        bench.folder.path().join("switch.sock"),
        bench.folder.path().join("guest.sock"),
    );
    let attached = bench.attach(&json!({ "unix": switch, "peer": guest }));
    assert!(attached.status.success(), "{}", stdout(&attached));
    let netdev = format!(
        "dgram,local.type=unix,local.path={},remote.type=unix,remote.path={}",
        guest.display(),
        switch.display()
    );
    Bench::boot(bench.folder.path(), &netdev);
    bench.server.stop();
    assert!(!switch.exists(), "the server takes its socket away");
}

#[test]
#[ignore = "needs root: make test"]
fn a_virtual_machine_on_a_stream_socket_does_the_same_and_may_be_booted_again() {
    let bench = Bench::start();
    let switch = bench.folder.path().join("switch.sock");
    let attached = bench.attach(&json!({ "unix": switch, "stream": true }));
    assert!(attached.status.success(), "{}", stdout(&attached));
    let netdev = format!("stream,server=off,addr.type=unix,addr.path={}", switch.display());
    for _ in 0..2 {
        Bench::boot(bench.folder.path(), &netdev);
    }
    let port = bench.port();
    assert_eq!(port["device"], switch.display().to_string());
    assert_eq!(port["dropped"]["stream_frame_length"], 0, "{port}");
    bench.server.stop();
    assert!(!switch.exists(), "the server takes its socket away");
}

#[test]
#[ignore = "needs root: make test"]
fn the_server_connects_to_a_virtual_machine_that_listens_and_detaches_it_when_it_has_gone() {
    let bench = Bench::start();
    let guest = bench.folder.path().join("guest.sock");
    let refused = bench.attach(&json!({ "peer": guest, "stream": true }));
    assert!(
        !refused.status.success() && stdout(&refused).contains("Start the virtual machine first"),
        "{}",
        stdout(&refused)
    );
    let netdev = format!("stream,server=on,addr.type=unix,addr.path={}", guest.display());
    std::thread::scope(|scope| {
        let folder = bench.folder.path();
        let machine = scope.spawn(|| Bench::boot(folder, &netdev));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !bench.attach(&json!({ "peer": guest, "stream": true })).status.success() {
            assert!(
                Instant::now() < deadline && !machine.is_finished(),
                "the machine does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        machine.join().unwrap();
    });
    bench.wait_until_detached();
    bench.server.stop();
}

/// The program that starts both makes a pair of sockets, and neither side needs a path.
#[test]
#[ignore = "needs root: make test"]
fn a_server_and_a_virtual_machine_that_inherit_a_pair_of_sockets_are_connected_by_it() {
    let stream = || -> (OwnedFd, OwnedFd) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours.into(), theirs.into())
    };
    let datagrams = || -> (OwnedFd, OwnedFd) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        (ours.into(), theirs.into())
    };
    for (pair, netdev, is_stream) in [
        (stream(), "socket,fd=3", true),
        (stream(), "stream,server=off,addr.type=fd,addr.str=3", true),
        (datagrams(), "dgram,local.type=fd,local.str=3", false),
    ] {
        let (ours, theirs) = pair;
        let bench = Bench::start_on(ours.into());
        let refused = bench.attach(&json!({ "fd": 0, "stream": !is_stream }));
        assert!(!refused.status.success(), "{netdev}: {}", stdout(&refused));
        let attached = bench.attach(&json!({ "fd": 0 }));
        assert!(attached.status.success(), "{netdev}: {}", stdout(&attached));
        Bench::boot_on(bench.folder.path(), netdev, theirs.into());
        if is_stream {
            bench.wait_until_detached();
        }
        bench.server.stop();
    }
}
