//! Scripts of the calls of clients that are written in Go: each replays in its order, and finds the fields that the client reads.

use std::process::Command;

use crate::support::cli::{Server, free_port, stdout};
use crate::support::python::environment;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

#[test]
#[ignore = "needs root: make test"]
fn the_calls_of_terraform_the_cni_and_cluster_api_replay_in_order() {
    let python = environment("python-ec2", &format!("{FOLDER}/requirements.txt")).join("python");
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let server = Server::start(&folder, &["serve", "--ec2", "off", "--listen", &listen]);
    let scripts = ["terraform", "vpc-cni", "cluster-api"].map(|name| format!("{FOLDER}/scripts/{name}.json"));
    let run = Command::new(python)
        .arg(format!("{FOLDER}/replay.py"))
        .arg(format!("http://{listen}"))
        .args(scripts)
        .output()
        .unwrap();
    let said = stdout(&run) + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(stdout(&run).ends_with("ok\n"), "{said}");
    server.stop();
}
