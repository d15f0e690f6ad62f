//! The program as a script sees it: output, exit codes, and nothing left behind. These tests make namespaces, so they
//! take root.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod cli_support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use cli_support::{Server, code, file, localvpc, run, stdout};
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
    let output = server.ask(&["exec", "a", "--", "ping", "-c1", "-W2", "10.0.1.11"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert_eq!(code(&server.ask(&["exec", "a", "--", "sh", "-c", "exit 7"])), 7);

    assert_eq!(code(&server.ask(&["mappings", "assign", "10.0.1.50", "--to", "a"])), 0);
    let taken = server.ask(&["mappings", "assign", "10.0.1.50", "--to", "b"]);
    assert_eq!(code(&taken), 1);
    assert!(stdout(&server.ask(&["mappings", "move", "10.0.1.50", "--to", "b"])).contains("1 moved"));
    assert_eq!(
        code(&server.ask(&["mappings", "unassign", "10.0.1.50", "--from", "b"])),
        0
    );
    let explained = stdout(&server.ask(&["explain", "--from", "a", "--to", "10.0.1.11"]));
    assert!(explained.contains("Delivered to b"), "{explained}");
    let checked = stdout(&server.ask(&["interfaces", "check", "b", "off"]));
    assert!(checked.contains("false"), "{checked}");

    // The same topology is there already, but for the check that was switched off; another one fits beside it.
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
fn a_server_that_cannot_be_asked_is_told_from_one_that_refuses() {
    let output = run(&["--server", "http://127.0.0.1:9", "vpcs"]);
    assert_eq!(code(&output), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("localvpc serve"));
    assert_eq!(code(&run(&["--server", "nonsense", "vpcs"])), 2);
    let output = run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(code(&output), 3, "beyond loopback it takes a token");
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--allow-exec"]);
    assert_eq!(code(&output), 3, "commands take a token or a socket");
}

#[test]
fn schemas_descriptions_and_completions_are_printed() {
    for (arguments, part) in [
        (&["schema"][..], "\"$defs\""),
        (&["schema", "topology"], "Topology"),
        (&["openapi"], "/v1/runs"),
        (&["completions", "bash"], "_localvpc"),
        (&["completions", "zsh"], "#compdef localvpc"),
        (&["--help"], "Exit codes"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}");
        assert!(stdout(&output).contains(part), "{arguments:?}");
    }
}
