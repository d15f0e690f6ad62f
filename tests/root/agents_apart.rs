//! Clients of EC2 whose tests take most of a minute each, so that they have a make target of their own: `make agents`. A Pacemaker
//! cluster with fencing, the AWS SDK for Node, and Ansible.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::cli::{Server, free_port, stdout};
use crate::support::python::environment;
use crate::support::tools::needs;

scenarios! {
    fence_aws_stops_the_node_whose_cluster_software_was_killed:
        "pacemaker-fence-aws.yaml", "stdout: { matches: \"^i-[0-9a-f]{17}\" }" => "stdout: { matches: \"^none\" }";
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

fn says(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

/// A server, and its URL.
fn server(folder: &tempfile::TempDir) -> (Server, String) {
    let listen = format!("127.0.0.1:{}", free_port());
    let server = Server::start(folder, &["serve", "--ec2", "off", "--listen", &listen]);
    (server, format!("http://{listen}"))
}

#[test]
#[ignore = "needs root and a package index: make agents"]
fn the_sdk_for_node_reads_every_value_of_every_answer() {
    needs("npm", "npm");
    let folder = tempfile::tempdir().unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-ec2");
    std::fs::create_dir_all(&place).unwrap();
    for name in ["ec2.mjs", "package.json", "package-lock.json"] {
        std::fs::copy(format!("{FOLDER}/node/{name}"), place.join(name)).unwrap();
    }
    let installed = Command::new("npm")
        .args(["ci", "--silent"])
        .current_dir(&place)
        .output()
        .unwrap();
    assert!(installed.status.success(), "{}", says(&installed));
    let (server, url) = server(&folder);
    let reading = localvpc::api::ec2::coverage_of(None)
        .into_iter()
        .filter(|action| action.reads && action.name != "GetCallerIdentity")
        .map(|action| action.name);
    let run = Command::new("node")
        .args(["ec2.mjs", &url])
        .args(reading)
        .current_dir(&place)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", says(&run));
    assert!(stdout(&run).ends_with(" 0 failures\n"), "{}", says(&run));
    server.stop();
}

#[test]
#[ignore = "needs root and a package index: make agents"]
fn a_playbook_of_ansible_s_network_modules_changes_nothing_the_second_time() {
    let programs = environment("python-ansible", &format!("{FOLDER}/ansible/requirements.txt"));
    let folder = tempfile::tempdir().unwrap();
    let (server, url) = server(&folder);
    for (time, wanted) in [("first", "changed=16 "), ("second", "changed=0 ")] {
        let run = Command::new(programs.join("ansible-playbook"))
            .args(["-i", "localhost,", "-e", &format!("url={url}"), "-e"])
            .arg(format!(
                "ansible_python_interpreter={}",
                programs.join("python").display()
            ))
            .arg(format!("{FOLDER}/ansible/network.yml"))
            .env("HOME", folder.path())
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", says(&run));
        let recap = stdout(&run);
        assert!(
            recap.contains(wanted) && recap.contains(" failed=0 "),
            "{time}: {}",
            says(&run)
        );
    }
    server.stop();
}
