//! Boots a virtual machine whose network card is a unix socket of the switch: it gets a lease, reaches a host and reads
//! its metadata, like any other instance.

use std::process::Command;

use serde_json::json;

use crate::support::cli::{Server, file, stdout};
use crate::support::tools::needs;

const NETWORK: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
interfaces: { vm: { subnet: s, ipv4: [10.0.1.11], mac: '0a:00:00:00:0a:01' } }
instances: { b: { subnet: s, ipv4: [10.0.1.12] } }
";

#[test]
#[ignore = "needs root: make test"]
fn a_virtual_machine_boots_to_a_lease_reaches_a_host_and_reads_its_metadata() {
    needs("qemu-system-x86_64", "qemu-system-x86");
    needs("busybox", "busybox-static");
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let server = Server::start(&folder, &["up", &network]);
    let (switch, guest) = (folder.path().join("switch.sock"), folder.path().join("guest.sock"));
    let request = json!({ "unix": switch, "peer": guest });
    let attached = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body", "--unix-socket"])
        .arg(&server.socket)
        .args([
            "--json",
            &request.to_string(),
            "http://localhost/v1/interfaces/vm/attach",
        ])
        .output()
        .unwrap();
    assert!(attached.status.success(), "{}", stdout(&attached));

    let cache = std::env::temp_dir().join("localvpc-test-kernel");
    let console = Command::new("sh")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/boot.sh"))
        .args([cache.as_path(), switch.as_path(), guest.as_path()])
        .args(["0a:00:00:00:0a:01", "10.0.1.12"])
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
    server.stop();
    assert!(!switch.exists(), "the server takes its socket away");
}
