//! Tests that programs of a host reach the API: in `lab`, in `up` and for hosts created over the API.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::cli::{Server, code, file, localvpc, stdout};

fn server(folder: &tempfile::TempDir, topology: &str) -> Server {
    let path = file(folder, "network.yaml", topology);
    Server::start(folder, &["up", &path, "--allow-exec"])
}

/// As a person enters a host: with the environment of his own shell.
fn nsenter(server: &Server, host: &str, command: &[&str]) -> Output {
    let instances: Value = serde_json::from_slice(&server.ask(&["--json", "instances"]).stdout).unwrap();
    let found = instances["instances"].as_array().unwrap();
    let pid = found.iter().find(|instance| instance["name"] == host).unwrap()["pid"].to_string();
    let program = Path::new(env!("CARGO_BIN_EXE_localvpc"));
    Command::new("nsenter")
        .args(["-t", &pid, "-a"])
        .args(command)
        .env_remove("LOCALVPC_SERVER")
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", program.parent().unwrap().display()),
        )
        .output()
        .unwrap()
}

const HOSTS: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
instances:
  editor: { subnet: s, ipv4: [10.0.1.10] }
  reader: { subnet: s, ipv4: [10.0.1.11], api: read-only }
  stranger: { subnet: s, ipv4: [10.0.1.12], api: none }
";

#[test]
#[ignore = "needs root: make test"]
fn a_program_in_a_host_moves_an_address_and_the_event_names_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, HOSTS);
    let script = "echo $LOCALVPC_SERVER $LOCALVPC_SOCKET && localvpc mappings move 10.0.1.50 --to editor";
    let output = server.ask(&["exec", "editor", "--", "sh", "-c", script]);
    assert_eq!(
        stdout(&output),
        "unix:/run/localvpc.sock /run/localvpc.sock\n1 assigned, 0 moved, 0 unassigned\n",
        "{output:?}"
    );
    let entered = nsenter(
        &server,
        "editor",
        &["localvpc", "mappings", "move", "10.0.1.50", "--to", "reader"],
    );
    assert_eq!(stdout(&entered), "0 assigned, 1 moved, 0 unassigned\n", "{entered:?}");
    // A program that has dropped its privileges, as keepalived's script_user has.
    let line = "setpriv --reuid 65534 --clear-groups localvpc --json mappings";
    let dropped = nsenter(&server, "editor", &["sh", "-c", line]);
    assert!(stdout(&dropped).contains("10.0.1.50"), "{dropped:?}");

    // An edit by the user has no author.
    let own = server.ask(&["mappings", "unassign", "10.0.1.50", "--from", "reader"]);
    assert_eq!(code(&own), 0, "{own:?}");
    let curl = Command::new("curl")
        .args(["-sN", "--max-time", "2", "--unix-socket"])
        .arg(&server.socket)
        .arg("http://localhost/v1/events?after=0&type=mappings_changed")
        .output()
        .unwrap();
    let authors: Vec<Value> = stdout(&curl)
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).unwrap()["author"]["instance"].clone())
        .collect();
    assert_eq!(
        authors[authors.len() - 3..],
        [Value::from("editor"), Value::from("editor"), Value::Null]
    );
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn an_option_of_the_host_narrows_its_way_to_the_api_or_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, HOSTS);
    let ask = |host: &str, line: &str| server.ask(&["exec", host, "--", "sh", "-c", line]);
    let read = ask(
        "reader",
        "localvpc mappings && localvpc explain --from reader --to 10.0.1.10",
    );
    assert_eq!(code(&read), 0, "{read:?}");
    let edit = ask("reader", "localvpc mappings move 10.0.1.50 --to reader");
    assert_eq!(code(&edit), 1, "{edit:?}");
    let said = String::from_utf8_lossy(&edit.stderr).into_owned();
    assert!(
        said.contains("may read the network") && said.contains("api: full"),
        "{said}"
    );
    let none = ask(
        "stranger",
        "test -z \"$LOCALVPC_SERVER$LOCALVPC_SOCKET\" && ! test -e /run/localvpc.sock",
    );
    assert_eq!(code(&none), 0, "{none:?}");
    let exported = stdout(&server.ask(&["export"]));
    assert!(
        exported.contains("api: read-only") && exported.contains("api: none"),
        "{exported}"
    );
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn a_host_reaches_the_network_and_not_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, HOSTS);
    let curl = "curl -s --unix-socket $LOCALVPC_SOCKET http://localhost/v1";
    for (what, line) in [
        (
            "commands in other hosts",
            format!("{curl}/instances/reader/exec --json '{{\"argv\": [\"id\"]}}'"),
        ),
        (
            "a TAP of the machine",
            format!(
                "{curl}/interfaces -o /dev/null --json '{{\"name\": \"x\", \"subnet\": \"s\"}}'; {curl}/interfaces/x/attach --json '{{\"tap\": \"lvpc-test\"}}'"
            ),
        ),
        (
            "a namespace of the machine",
            format!("{curl}/interfaces/x/attach --json '{{\"tap\": \"t\", \"namespace\": \"/proc/1/ns/net\"}}'"),
        ),
        ("runs", format!("{curl}/runs --json '{{\"text\": \"\"}}'")),
        ("scenarios", format!("{curl}/scenarios")),
    ] {
        let output = server.ask(&["exec", "editor", "--", "sh", "-c", &line]);
        assert!(stdout(&output).contains("UnauthorizedOperation"), "{what}: {output:?}");
    }
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn hosts_that_come_and_go_leave_no_descriptor_in_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, HOSTS);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let round = || {
        let made = server.ask(&[
            "exec",
            "editor",
            "--",
            "sh",
            "-c",
            concat!(
                "api() { curl -s --fail-with-body --unix-socket $LOCALVPC_SOCKET \"$@\"; echo; }; set -e; ",
                "api http://localhost/v1/interfaces --json '{\"name\": \"n\", \"subnet\": \"s\"}' >/dev/null; ",
                "api http://localhost/v1/instances --json '{\"name\": \"n\", \"interface\": \"n\"}' >/dev/null",
            ),
        ]);
        assert_eq!(code(&made), 0, "{made:?}");
        // Boots it, and with it the socket.
        let reached = server.ask(&["exec", "n", "--", "localvpc", "--json", "vpcs"]);
        assert_eq!(code(&reached), 0, "{reached:?}");
        for path in ["instances", "interfaces"] {
            let gone = server.delete(&format!("/v1/{path}/n"));
            assert_eq!(gone, 204);
        }
    };
    round();
    let before = open();
    (0..5).for_each(|_| round());
    crate::support::lab::eventually("the sockets are closed", || open() <= before);
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn the_hosts_of_a_lab_reach_the_api_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder, &["lab", "--hosts", "2"]);
    let moved = nsenter(
        &server,
        "b",
        &["localvpc", "mappings", "move", "10.0.1.77", "--to", "b"],
    );
    assert_eq!(stdout(&moved), "1 assigned, 0 moved, 0 unassigned\n", "{moved:?}");
    let login = nsenter(&server, "a", &["bash", "-lc", "echo $LOCALVPC_SOCKET"]);
    assert_eq!(stdout(&login), "/run/localvpc.sock\n", "{login:?}");
    server.stop();

    let server = Server::start(&folder, &["lab", "--hosts", "1", "--host-api", "none"]);
    let gone = nsenter(&server, "a", &["test", "-e", "/run/localvpc.sock"]);
    assert_eq!(code(&gone), 1, "{gone:?}");
    server.stop();
}

/// The recipe of README.
#[test]
#[ignore = "needs root: make test"]
fn a_keepalived_pair_in_ten_lines_moves_its_address() {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/keepalived-pair.yaml");
    let output = localvpc(&["run", scenario]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stdout(&output));
}

/// Octets of the server's memory that are in use, with so many hosts.
fn resident(hosts: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let instances: String = (0..hosts).map(|n| format!("  h{n}: {{ subnet: s }}\n")).collect();
    let network = "vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }\nsubnets: { s: { vpc: v, cidr_block: 10.0.0.0/20 } }";
    let server = server(&folder, &format!("{network}\ninstances:\n{instances}"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[test]
#[ignore = "needs root: make test"]
fn the_api_in_a_host_takes_no_routes_of_its_own() {
    let (few, many) = (resident(4), resident(104));
    let each = many.saturating_sub(few) / 100;
    // The routes of the whole API take half a megabyte.
    assert!(each < 256 << 10, "{each} octets for each host");
}
