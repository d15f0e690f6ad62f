//! Tests the whole network as one file: `up`, `diff`, `export` and `down` against a server with real hosts. It needs
//! root for namespaces.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::cli::{Server, code, file, localvpc, run, stdout};

const NETWORK: &str = "
dhcp_options:
  corp: { tags: { owner: us }, domain_name: corp.example, domain_name_servers: [AmazonProvidedDNS, 10.0.1.53], ntp_servers: [169.254.169.123] }
vpcs:
  v:
    cidr_blocks: [10.0.0.0/16, 10.1.0.0/16]
    ipv6_cidr_blocks: ['2001:db8:100::/56']
    profile: { base: aws, overrides: { router: { advertisement: { interval: 2s } } } }
    dhcp_options: corp
    tags: { stage: test }
subnets:
  left: { vpc: v, cidr_block: 10.0.1.0/24, ipv6_cidr_block: '2001:db8:100:1::/64', availability_zone: us-east-1b }
  right: { vpc: v, cidr_block: 10.1.2.0/24 }
interfaces:
  spare: { subnet: right, description: for a TAP }
  second: { subnet: left, ipv4: [10.0.1.30], attached_to: a }
instances:
  a:
    subnet: left
    ipv4: [10.0.1.10, 10.0.1.50]
    metadata: { http_tokens: required, user_data: \"#!/bin/sh\\necho hello\\n\", iam_role: failover }
  b: { subnet: left, ipv4: [10.0.1.11], prefixes: ['10.0.1.64/28', '2001:db8:100:1:5::/80'], source_dest_check: false, mtu: 1500 }
  c: { subnet: right, configure: none, ntp_skew: 1s 500ms, tags: { role: idle } }
route_tables:
  main: { vpc: v, main: true, routes: [{ to: 198.51.100.0/24, via: blackhole }] }
  overlay: { vpc: v, subnets: [left], routes: [{ to: 192.0.2.10/32, via: b }, { to: 10.1.2.0/24, via: a }] }
";

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(output), 0, "{}{said}", stdout(output));
    stdout(output)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "needs root: make test"]
fn a_network_that_is_written_back_comes_up_the_same_on_an_empty_server() {
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let first = Server::start(&folder, &["up", "--allow-exec", &network]);
    assert_eq!(good(&first.ask(&["diff", &network])), "Nothing to change\n");
    let exported = good(&first.ask(&["export"]));
    let copy = file(&folder, "copy.yaml", &exported);
    assert_eq!(good(&first.ask(&["diff", "--prune", &copy])), "Nothing to change\n");
    let facts = |server: &Server| {
        ["a", "b", "c"].map(|host| {
            let addresses = "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; \
                             ip -o addr show eth0 scope global | awk '{print $4}'";
            good(&server.ask(&["exec", host, "--", "sh", "-c", addresses]))
        })
    };
    let before = facts(&first);
    first.stop();

    let elsewhere = tempfile::tempdir().unwrap();
    let second = Server::start(&elsewhere, &["serve", "--allow-exec"]);
    let made = good(&second.ask(&["up", &copy]));
    assert!(made.ends_with("14 made, 0 altered, 0 replaced, 0 removed\n"), "{made}");
    assert_eq!(good(&second.ask(&["up", &copy])), "Nothing to change\n");
    assert_eq!(good(&second.ask(&["export"])), exported);
    assert_eq!(facts(&second), before);
    assert!(before[0].contains("10.0.1.50/24"), "{before:?}");
    assert!(
        !before[2].contains("10.1.2."),
        "it was to start with nothing: {before:?}"
    );
    good(&second.ask(&["exec", "a", "--", "ping", "-c1", "-W2", "10.0.1.11"]));
    let token = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/user-data";
    assert_eq!(good(&second.ask(&["exec", "a", "--", "sh", "-c", token])), "401");
    second.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn a_further_interface_goes_with_the_file_from_host_to_host() {
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let server = Server::start(&folder, &["up", "--allow-exec", &network]);
    let devices = |host: &str| good(&server.ask(&["exec", host, "--", "ls", "/sys/class/net"]));
    assert!(devices("a").contains("eth1") && !devices("b").contains("eth1"));

    let moved = NETWORK.replace("attached_to: a", "attached_to: b");
    let moved = file(&folder, "moved.yaml", &moved);
    assert_eq!(
        good(&server.ask(&["up", &moved])),
        "~ network interface second  attached_to: a -> b\n0 made, 1 altered, 0 replaced, 0 removed\n"
    );
    assert!(!devices("a").contains("eth1") && devices("b").contains("eth1"));
    assert_eq!(good(&server.ask(&["diff", &moved])), "Nothing to change\n");

    // A host that is replaced gets its further interface back.
    let again = std::fs::read_to_string(&moved).unwrap();
    let again = again.replace("mtu: 1500 }", "mtu: 1500, accept_ra: false }");
    let again = file(&folder, "again.yaml", &again);
    let replaced = good(&server.ask(&["up", &again]));
    assert!(replaced.contains("-/+ instance b"), "{replaced}");
    assert!(devices("b").contains("eth1"));

    // An instance cannot use an interface of another zone.
    let astray = NETWORK.replace("attached_to: a", "attached_to: c");
    let astray = file(&folder, "astray.yaml", &astray);
    let refused = server.ask(&["up", &astray]);
    assert_eq!(code(&refused), 1);
    let said = stderr(&refused);
    assert!(
        said.contains("attached_to") && said.contains("InvalidParameterCombination"),
        "{said}"
    );
    assert!(devices("b").contains("eth1"), "nothing has changed");
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn a_host_that_a_change_does_not_concern_goes_on_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let server = Server::start(&folder, &["up", "--allow-exec", &network]);
    let pids = |server: &Server| {
        let answer: serde_json::Value = serde_json::from_str(&stdout(&server.ask(&["instances", "--json"]))).unwrap();
        let instances = answer["instances"].as_array().unwrap().clone();
        instances
            .into_iter()
            .map(|instance| instance["pid"].clone())
            .collect::<Vec<_>>()
    };
    let before = pids(&server);
    let place = format!("unix:{}", server.socket.display());
    let ping = localvpc(&[
        "--server", &place, "exec", "a", "--", "ping", "-q", "-i", "0.02", "-c", "250", "-W", "1",
    ])
    .arg("10.0.1.11")
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::sleep(Duration::from_millis(500));

    // A host is added, one is replaced, a VPC gets another profile, routes change; a and b keep their processes.
    let changed = NETWORK
        .replace("interval: 2s", "interval: 3s")
        .replace("c: { subnet: right, configure: none,", "c: { subnet: right,")
        .replace(
            "  b: { subnet: left, ",
            "  d: { subnet: left, ipv4: [10.0.1.13] }\n  b: { subnet: left, ",
        )
        .replace("via: blackhole", "via: d");
    let changed = file(&folder, "changed.yaml", &changed);
    let diff = server.ask(&["diff", &changed]);
    let up = good(&server.ask(&["up", &changed]));
    assert_eq!(code(&diff), 1, "{}", stderr(&diff));
    let lines: Vec<&str> = up.lines().collect();
    assert_eq!(
        lines,
        [
            "~ VPC v  profile: aws with router.advertisement.interval 2s -> aws with router.advertisement.interval 3s",
            "+ network interface d  subnet: left, ipv4: 10.0.1.13",
            "~ route table main  routes.198.51.100.0/24: blackhole -> d",
            "-/+ instance c  configure: none -> static",
            "+ instance d  interface: d",
            "2 made, 2 altered, 1 replaced, 0 removed",
        ]
    );
    // The same lines were shown before anything changed.
    assert_eq!(stdout(&diff).lines().take(5).collect::<Vec<_>>(), lines[..5]);
    let pinged = ping.wait_with_output().unwrap();
    assert!(
        stdout(&pinged).contains("250 packets transmitted, 250 received, 0% packet loss"),
        "{}",
        stdout(&pinged)
    );
    let after = pids(&server);
    assert_eq!(before[..2], after[..2], "a and b are the processes that they were");
    assert_ne!(before[2], after[2], "c was started anew");
    good(&server.ask(&["exec", "d", "--", "ping", "-c1", "-W2", "10.0.1.10"]));
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn the_exit_code_of_a_comparison_is_that_of_diff() {
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let server = Server::start(&folder, &["serve"]);
    let diff = server.ask(&["diff", &network]);
    assert_eq!((code(&diff), stdout(&diff).lines().count()), (1, 15));
    let plan: serde_json::Value = serde_json::from_str(&stdout(&server.ask(&["diff", "--json", &network]))).unwrap();
    assert_eq!(plan["changes"][0]["action"], "create");
    assert_eq!(code(&server.ask(&["up", "--dry-run", &network])), 0);
    assert_eq!(code(&server.ask(&["diff", &network])), 1, "a dry run makes nothing");

    // Trouble: a wrong file, a network that cannot be, no server.
    let wrong = file(
        &folder,
        "wrong.yaml",
        &NETWORK.replace("subnet: right,", "subnet: wright,"),
    );
    let diff = server.ask(&["diff", &wrong]);
    assert_eq!(code(&diff), 2);
    assert!(
        stderr(&diff).contains("did you mean `right`?") && stderr(&diff).contains("wrong.yaml:"),
        "{}",
        stderr(&diff)
    );
    let refused = file(&folder, "refused.yaml", &NETWORK.replace("10.0.1.50]", "10.0.1.3]"));
    let diff = server.ask(&["diff", &refused]);
    assert_eq!(code(&diff), 2);
    let said = stderr(&diff).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["network interface a: address:", "(InvalidParameterValue)", "reserves"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let up = server.ask(&["up", &refused]);
    assert_eq!(code(&up), 1);
    assert!(
        stdout(&up).starts_with("Nothing was changed. These were to be:\n+ DHCP option set corp"),
        "{}",
        stdout(&up)
    );
    assert_eq!(code(&run(&["--server", "http://127.0.0.1:9", "diff", &network])), 2);
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn what_is_not_in_the_file_stays_until_it_is_pruned_and_what_is_goes_down() {
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let server = Server::start(&folder, &["up", &network]);
    let less = NETWORK
        .lines()
        .filter(|line| !line.starts_with("  c: "))
        .collect::<Vec<_>>()
        .join("\n");
    let less = file(&folder, "less.yaml", &less);
    let up = good(&server.ask(&["up", &less]));
    assert!(up.contains("instance c is not in the file, and stays"), "{up}");
    assert!(up.ends_with("Nothing to change\n"), "{up}");
    let up = good(&server.ask(&["up", "--prune", &less]));
    assert_eq!(
        up,
        "- network interface c\n- instance c\n0 made, 0 altered, 0 replaced, 2 removed\n"
    );
    good(&server.ask(&["down", &less]));
    assert_eq!(good(&server.ask(&["export"])), "vpcs: {}\nsubnets: {}\n");
    assert!(good(&server.ask(&["down", &less])).ends_with("Nothing to change\n"));
    server.stop();
}
