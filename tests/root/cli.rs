//! Tests the program as a script uses it: output, exit codes, and nothing left behind. It needs root for namespaces.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{Server, code, file, localvpc, run, stdout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const TOPOLOGY: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
instances:
  a: { subnet: s, ipv4: [10.0.1.10] }
  b: { subnet: s, ipv4: [10.0.1.11] }
";

fn scenario(steps: &str) -> String {
    let topology: String = TOPOLOGY.lines().map(|line| format!("  {line}\n")).collect();
    format!("name: test\ntopology:\n{topology}\nsteps:\n{steps}\n")
}

#[test]
#[ignore = "needs root: make test"]
fn the_exit_code_says_how_a_run_ended() {
    let folder = tempfile::tempdir().unwrap();
    let passing = file(&folder, "pass.yaml", &scenario("- ping: { from: a, to: 10.0.1.11 }"));
    let failing = file(
        &folder,
        "fail.yaml",
        &scenario("- ping: { from: a, to: 10.0.1.77, count: 1 }"),
    );
    let missing = file(
        &folder,
        "missing.yaml",
        &format!("requires: [no-such-program]\n{}", scenario("- wait: 1s")),
    );
    let wrong = file(&folder, "wrong.yaml", &scenario("- pingg: {}"));

    let output = run(&["run", &passing]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).contains("PASS test: 1 passed"));

    let output = run(&["run", &failing]);
    assert_eq!(code(&output), 1);
    for part in [
        "expected: every request is answered",
        "a: packets on eth0",
        "dropped: arp_unknown_address",
    ] {
        assert!(stdout(&output).contains(part), "{part}: {}", stdout(&output));
    }

    let output = run(&["run", &missing]);
    assert_eq!(code(&output), 3);
    assert!(
        stdout(&output).contains("not installed: no-such-program"),
        "{}",
        stdout(&output)
    );

    let output = run(&["run", &passing, &wrong]);
    assert_eq!(code(&output), 2);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("did you mean `ping`?") && said.contains("wrong.yaml:"),
        "{said}"
    );
    assert!(stdout(&output).is_empty(), "nothing is played when a file is wrong");

    assert_eq!(code(&run(&["run"])), 2);
    assert_eq!(code(&run(&["run", "/nowhere.yaml"])), 2);
    assert_eq!(code(&run(&["run", "--check", &passing, &failing])), 0);
}

#[test]
#[ignore = "needs root: make test"]
fn a_report_is_json_for_scripts_and_a_scenario_can_come_by_a_pipe() {
    let mut child = localvpc(&["run", "--json", "--seed", "5", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = scenario("- ping: { from: a, to: 10.0.1.11 }");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["outcome"], &report["seed"]), (&"passed".into(), &5.into()));
}

#[test]
#[ignore = "needs root: make test"]
fn a_run_leaves_its_captures_whole_and_one_for_each_instance() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let pings = file(
        &folder,
        "pings.yaml",
        &scenario("- ping: { from: a, to: 10.0.1.11, count: 1 }"),
    );
    let (whole, captures) = (path("all.pcapng"), path("captures"));
    std::fs::write(&whole, "of an earlier run").unwrap();
    let output = run(&["run", &pings, "--capture", &whole, "--captures", &captures]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    for (name, pings) in [("all.pcapng", 2), ("captures/a.pcapng", 2), ("captures/b.pcapng", 2)] {
        let read = Command::new("tcpdump")
            .args(["-nr", &path(name), "icmp"])
            .output()
            .unwrap();
        assert_eq!(stdout(&read).lines().count(), pings, "{name}: {read:?}");
    }
    let names = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    assert_eq!((names(&captures), names(&path(""))), (2, 3), "and nothing half written");
    let two = run(&["run", &pings, &pings, "--captures", &captures]);
    assert_eq!(code(&two), 2);
    assert!(String::from_utf8_lossy(&two.stderr).contains("--captures takes one scenario"));
}

#[test]
#[ignore = "needs root: make test"]
fn a_run_that_is_interrupted_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let long = file(
        &folder,
        "long.yaml",
        &scenario("- ping: { from: a, to: 10.0.1.11, count: 1 }\n- wait: 300s"),
    );
    let mut child = localvpc(&["run", &long]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("PASS") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
#[ignore = "needs root: make test"]
fn a_topology_comes_up_is_asked_about_and_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let topology = file(&folder, "topology.yaml", TOPOLOGY);
    let server = Server::start(&folder, &["up", "--allow-exec", &topology]);
    for (query, part) in [
        ("vpcs", "10.0.0.0/16"),
        ("subnets", "10.0.1.0/24"),
        ("interfaces", "10.0.1.10"),
        ("mappings", "10.0.1.11"),
        ("instances", "a "),
        ("ports", "eth0"),
        ("profiles", "aws-xen"),
    ] {
        let output = server.ask(&[query]);
        assert_eq!(code(&output), 0, "{query}");
        assert!(stdout(&output).contains(part), "{query}: {}", stdout(&output));
        let json = stdout(&server.ask(&[query, "--json"]));
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
    let mappings = stdout(&server.ask(&["mappings"]));
    let line = mappings.lines().find(|line| line.contains("10.0.1.11")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words[..3],
        ["s", "10.0.1.11", "b"],
        "names, not identifiers: {mappings}"
    );
    assert!(!mappings.contains("eni-") && stdout(&server.ask(&["mappings", "--wide"])).contains("(eni-"));
    let reach = stdout(&server.ask(&["graph", "--reach"]));
    assert!(
        reach.contains("IPv4: from") && reach.lines().any(|line| line.starts_with("a") && line.contains("yes")),
        "{reach}"
    );
    let drawn = stdout(&server.ask(&["graph", "--format", "mermaid"]));
    assert!(drawn.starts_with("flowchart") && drawn.contains("10.0.1.11"), "{drawn}");
    let output = server.ask(&["exec", "a", "--", "ping", "-c1", "-W2", "10.0.1.11"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert_eq!(code(&server.ask(&["exec", "a", "--", "sh", "-c", "exit 7"])), 7);

    assert_eq!(code(&server.ask(&["mappings", "assign", "10.0.1.50", "--to", "a"])), 0);
    let taken = server.ask(&["mappings", "assign", "10.0.1.50", "--to", "b"]);
    assert_eq!(code(&taken), 1);
    let taken = server.ask(&["mappings", "assign", "10.0.1.50", "--to", "b", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&taken.stderr).unwrap();
    assert!(document["code"].is_string() && document["exit_code"] == 1, "{document}");
    assert!(stdout(&server.ask(&["mappings", "move", "10.0.1.50", "--to", "b"])).contains("1 moved"));
    assert_eq!(
        code(&server.ask(&["mappings", "unassign", "10.0.1.50", "--from", "b"])),
        0
    );
    let explained = stdout(&server.ask(&["explain", "--from", "a", "--to", "10.0.1.11"]));
    assert!(explained.contains("Delivered to b"), "{explained}");
    let dropped = server.ask(&["explain", "--from", "a", "--to", "10.0.1.99"]);
    assert_eq!(code(&dropped), 1, "{}", stdout(&dropped));
    let checked = stdout(&server.ask(&["interfaces", "check", "b", "off"]));
    assert!(checked.contains("false"), "{checked}");

    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn routes_faults_and_captures_are_there_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let topology = file(&folder, "topology.yaml", TOPOLOGY);
    let server = Server::start(&folder, &["up", "--allow-exec", &topology]);
    let asked = |arguments: &[&str], expected: i32| {
        let output = server.ask(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), expected, "{arguments:?}: {errors}");
        stdout(&output) + &errors
    };
    let ping = ["exec", "a", "--", "ping", "-c1", "-W1", "10.0.1.11"];

    let tables: serde_json::Value = serde_json::from_str(&asked(&["route-tables", "--json"], 0)).unwrap();
    let main = tables["route_tables"][0]["id"].as_str().unwrap().to_owned();
    let added = asked(&["route-tables", "add", &main, "192.0.2.10/32", "--to", "b"], 0);
    assert!(added.contains("192.0.2.10/32") && added.contains("active"), "{added}");
    let again = asked(&["route-tables", "add", &main, "192.0.2.10/32", "--to", "a"], 1);
    assert!(again.contains("RouteAlreadyExists"), "{again}");
    let replaced = asked(
        &["route-tables", "replace", &main, "192.0.2.10/32", "--to", "blackhole"],
        0,
    );
    assert!(replaced.contains("blackhole"), "{replaced}");
    let removed = asked(&["route-tables", "remove", &main, "192.0.2.10/32"], 0);
    assert!(!removed.contains("192.0.2.10/32"), "{removed}");

    asked(&ping, 0);
    let fault = [
        "faults",
        "begin",
        "{ link_down: { interfaces: [b] } }",
        "--duration",
        "1m",
        "--json",
    ];
    let fault: serde_json::Value = serde_json::from_str(&asked(&fault, 0)).unwrap();
    assert!(asked(&["faults"], 0).contains("link_down"));
    asked(&ping, 1);
    asked(&["faults", "end", fault["id"].as_str().unwrap()], 0);
    assert!(!asked(&["faults"], 0).contains("link_down"));
    let ended = Instant::now();
    while code(&server.ask(&ping)) != 0 {
        assert!(ended.elapsed() < Duration::from_secs(5), "the link is up again");
    }
    let wrong = asked(&["faults", "begin", "{ link_down: { interfaces: [b] }"], 2);
    assert!(wrong.contains("as in a scenario file"), "{wrong}");
    let unknown = asked(&["faults", "begin", "{ cable_cut: { interfaces: [b] } }"], 1);
    assert!(
        unknown.contains("cable_cut") && unknown.contains("link_down"),
        "{unknown}"
    );

    let written = folder.path().join("a.pcapng");
    let written = written.to_str().unwrap();
    let capture = [
        "capture",
        "-i",
        "a",
        "-w",
        written,
        "--count",
        "2",
        "--duration",
        "10s",
        "icmp",
    ];
    std::thread::scope(|scope| {
        let capturing = scope.spawn(|| asked(&capture, 0));
        while !capturing.is_finished() {
            asked(&ping, 0);
        }
    });
    let shown = Command::new("tcpdump").args(["-nr", written]).output().unwrap();
    let shown = stdout(&shown);
    assert_eq!(shown.matches("ICMP echo re").count(), 2, "{shown}");
    let kept = asked(&capture, 2);
    assert!(
        kept.contains("cannot make the file"),
        "a file that is there is kept: {kept}"
    );
    server.stop();
}

/// Runs a command in a terminal of its own (script(1)), types `keys` when it has shown something, and returns what it said.
fn typed(server: &Server, arguments: &str, keys: &[u8]) -> (Option<i32>, String) {
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_localvpc"));
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("LOCALVPC_SERVER", format!("unix:{}", server.socket.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = script.stdout.take().unwrap();
    let mut said = vec![0; 4096];
    let read = std::io::Read::read(&mut output, &mut said).unwrap();
    said.truncate(read);
    script.stdin.as_mut().unwrap().write_all(keys).unwrap();
    let began = Instant::now();
    let ended = loop {
        match script.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if began.elapsed() > Duration::from_secs(10) => {
                kill(Pid::from_raw(script.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
                script.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    std::io::Read::read_to_end(&mut output, &mut said).unwrap();
    (ended, String::from_utf8_lossy(&said).into_owned())
}

#[test]
#[ignore = "needs root: make test"]
fn q_ends_top_in_a_terminal_and_another_key_does_not() {
    crate::support::tools::needs("script", "bsdutils");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder, &["serve", "--ec2", "off"]);
    let (ended, said) = typed(&server, "top --interval 200ms", b"q");
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("q ends it"), "{said}");
    let (ended, said) = typed(&server, "top --interval 200ms", b"x");
    assert_eq!(ended, None, "{said}");
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn every_list_is_filtered_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let topology = file(&folder, "topology.yaml", TOPOLOGY);
    let server = Server::start(&folder, &["up", "--ec2", "off", &topology]);
    let listed = |arguments: &[&str]| {
        let output = server.ask(arguments);
        assert_eq!(
            code(&output),
            0,
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        stdout(&output)
    };
    for (command, entries) in [
        ("vpcs --name v", 1),
        ("vpcs --name w", 0),
        ("subnets --vpc v", 1),
        ("interfaces --name a --status in-use", 1),
        ("interfaces --tag no=such", 0),
        ("mappings --vpc v", 2),
        ("instances --name b", 1),
        ("instances --name c", 0),
        ("dhcp-options --name none", 0),
        ("route-tables --vpc v", 1),
        ("security-groups --vpc v --wide", 1),
        ("network-acls --vpc v", 1),
        ("prefix-lists --name none", 0),
        ("internet-gateways --vpc v", 0),
        ("elastic-ips --tag a=b", 0),
        ("outside --name none", 0),
        ("flow-logs --name none", 0),
        ("nat-gateways --vpc v --status available", 0),
        ("egress-only-internet-gateways --vpc v", 0),
        ("peering-connections --status active", 0),
        ("vpc-endpoints --vpc v", 0),
        ("scenarios --name none", 0),
        ("runs --status finished", 0),
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let lines = listed(&arguments)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        // A table without entries may have its heading.
        let rows = lines.saturating_sub(1);
        assert_eq!(rows, entries, "{command}: {}", listed(&arguments));
    }
    let refused = server.ask(&["runs", "--mac", "02:00:00:00:00:01"]);
    assert_eq!(code(&refused), 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--mac is no filter of `runs`"));
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn a_topology_is_made_once_and_another_one_can_be_added() {
    let folder = tempfile::tempdir().unwrap();
    let topology = file(&folder, "topology.yaml", TOPOLOGY);
    let server = Server::start(&folder, &["up", "--allow-exec", &topology]);
    assert_eq!(code(&server.ask(&["interfaces", "check", "b", "off"])), 0);
    // The same topology exists already, except for the check that was switched off; another one can be added.
    let again = server.ask(&["up", &topology]);
    assert_eq!(code(&again), 0);
    assert_eq!(
        stdout(&again),
        "~ network interface b  source_dest_check: false -> true\n0 made, 1 altered, 0 replaced, 0 removed\n"
    );
    let other = TOPOLOGY
        .replace("v:", "v2:")
        .replace("vpc: v,", "vpc: v2,")
        .replace(" s:", " s2:");
    let other = other
        .replace("subnet: s,", "subnet: s2,")
        .replace(" a:", " c:")
        .replace(" b:", " d:");
    let other = file(&folder, "other.yaml", &other);
    let made = server.ask(&["up", &other]);
    assert_eq!(code(&made), 0, "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(
        code(&server.ask(&["exec", "c", "--", "ping", "-c1", "-W2", "10.0.1.11"])),
        0
    );
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn a_lab_has_as_many_hosts_as_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder, &["lab", "--hosts", "2"]);
    let instances: serde_json::Value = serde_json::from_str(&stdout(&server.ask(&["instances", "--json"]))).unwrap();
    assert_eq!(instances["instances"].as_array().unwrap().len(), 2);
    let refused = server.ask(&["exec", "a", "--", "true"]);
    assert_eq!(code(&refused), 1, "commands are off unless they were allowed");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--allow-exec"));
    server.stop();
}

#[test]
fn an_unreachable_server_and_one_that_refuses_differ_in_exit_code() {
    let output = run(&["--server", "http://127.0.0.1:9", "vpcs"]);
    assert_eq!(code(&output), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("localvpc serve"));
    assert_eq!(code(&run(&["--server", "nonsense", "vpcs"])), 2);
    let output = run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(code(&output), 3, "beyond loopback it takes a token");
}

#[test]
fn schemas_descriptions_and_completions_are_printed() {
    for (arguments, part) in [
        (&["schema"][..], "\"$defs\""),
        (&["schema", "topology"], "Topology"),
        (&["openapi"], "/v1/runs"),
        (&["ec2", "actions"], include_str!("../../api/ec2-coverage.md")),
        (&["ec2", "actions", "DescribeVpcs"], "filters:\n  cidr\n"),
        (&["ec2", "actions", "--json"], "\"name\": \"ReplaceRoute\""),
        (&["completions", "bash"], "COMPLETE=\"bash\""),
        (&["man"], ".TH localvpc"),
        (&["profiles"], "aws-xen"),
        (&["profiles", "lan", "--json"], "\"name\": \"lan\""),
        (&["completions", "zsh"], "#compdef localvpc"),
        (&["--help"], "Exit codes"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}");
        assert!(stdout(&output).contains(part), "{arguments:?}");
    }
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = file(&folder, "wrong.yaml", "name: x\nsteps: []\ntopologyy: {}\n");
    for (arguments, expected, part) in [
        (
            &["--server", "http://127.0.0.1:9", "vpcs", "--json"][..],
            3,
            "localvpc serve",
        ),
        (&["run", "--json", "--check", &wrong], 2, "topologyy"),
        (&["vpcs", "--jsn", "--json"], 2, "--jsn"),
        (&["run", "--json", "--server", "x", &wrong], 2, "--server has no use"),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}");
        let document: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(document.to_string().contains(part), "{arguments:?}: {document}");
        assert_eq!(document["exit_code"], expected, "{document}");
    }
    let document = run(&["run", "--json", "--check", &wrong]).stderr;
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["mistakes"][0]["line"], 3, "{document}");
}

#[test]
fn nothing_in_a_pipe_has_colors() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = file(&folder, "wrong.yaml", "name: x\n");
    for arguments in [
        &["-vv", "--server", "http://127.0.0.1:9", "vpcs"][..],
        &["run", "--check", &wrong],
        &["nonsense"],
        &["--help"],
    ] {
        let output = localvpc(arguments).env("RUST_LOG", "trace").output().unwrap();
        let both = [output.stdout, output.stderr].concat();
        assert!(
            !both.contains(&0x1b),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&both)
        );
    }
}

#[test]
fn a_network_is_drawn_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let topology = file(&folder, "topology.yaml", TOPOLOGY);
    for (format, part) in [("svg", "<svg xmlns"), ("dot", "digraph"), ("mermaid", "flowchart")] {
        let output = run(&["graph", "--format", format, &topology]);
        assert_eq!(code(&output), 0, "{format}");
        assert!(
            stdout(&output).contains(part) && stdout(&output).contains("10.0.1.10"),
            "{format}"
        );
    }
}

#[test]
fn each_command_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(code(&run(&["man", folder.path().to_str().unwrap()])), 0);
    for page in [
        "localvpc.1",
        "localvpc-run.1",
        "localvpc-graph.1",
        "localvpc-mappings-move.1",
    ] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_lab_says_in_json_how_to_enter_its_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let mut child = localvpc(&["lab", "--hosts", "2", "--json", "--socket", socket.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["hosts"].as_array().unwrap().len(), 2, "{ready}");
    assert!(
        ready["hosts"][0]["enter"].as_str().unwrap().starts_with("nsenter"),
        "{ready}"
    );
    let server = ready["servers"][0].as_str().unwrap();
    // A shell that completes asks the server for the names.
    let completed = localvpc(&["--", "localvpc", "exec", ""])
        .envs([("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "2"), ("_CLAP_IFS", "\n")])
        .env("LOCALVPC_SERVER", server)
        .output()
        .unwrap();
    let names = stdout(&completed);
    assert!(
        names.lines().any(|name| name == "a") && names.lines().any(|name| name == "b"),
        "{names}"
    );
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}
