//! Plays the shipped failover scenarios with real programs: each passes, and each fails when one of its expectations is
//! inverted. Also tests the steps themselves. It needs root.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::scenario::{options, read, run_and_show as run};
use localvpc::report::run::{RunOutcome, RunReport};
use localvpc::scenario::format;
use localvpc::scenario::play::{Cancel, PlayOptions, play, play_repeatedly};

const PROGRAM: &str = env!("CARGO_BIN_EXE_localvpc");

scenarios! {
    multicast_vrrp_has_one_master_on_a_lan_and_two_in_a_vpc:
        "vrrp-split-brain.yaml", "cidr_blocks: [10.0.0.0/16], profile: aws" => "cidr_blocks: [10.0.0.0/16], profile: lan";
    unicast_vrrp_moves_a_secondary_address_through_the_api:
        "keepalived-unicast-secondary-ip.yaml", "outage: { above: 2s, below: 5s }" => "outage: { below: 500ms }";
    a_pair_in_ten_lines_has_its_address_by_the_api_alone:
        "keepalived-pair.yaml", "localvpc mappings move 10.0.1.50 --to $(hostname)" => "true";
    an_announced_take_over_works_on_a_lan_and_never_in_a_vpc:
        "garp-failover-fails.yaml", "base: aws," => "base: lan,";
    an_ipv6_address_moves_in_two_steps:
        "ipv6-move.yaml", "outage: { above: 250ms, below: 8s }" => "outage: { below: 100ms }";
    an_address_used_again_is_a_black_hole_for_whoever_remembers:
        "stale-arp-black-hole.yaml", "profile: aws-xen" => "profile: aws";
    a_zone_that_is_cut_off_makes_two_masters:
        "az-partition.yaml", "dropped: { fault_zone_cut: { at_least: 200 } }" => "dropped: { fault_zone_cut: 0 }";
    the_data_path_follows_the_api_late:
        "late-propagation.yaml", "takeover: { above: 900ms, below: 4s }" => "takeover: { below: 100ms }";
    a_route_that_is_replaced_moves_an_address_outside_of_the_vpc:
        "overlay-route.yaml", "outage: { above: 900ms, below: 2s }" => "outage: { below: 500ms }";
    an_api_that_throttles_prolongs_the_outage:
        "throttled-api.yaml", "outage: { above: 3s, below: 14s }" => "outage: { below: 500ms }";
    a_script_without_a_session_token_moves_nothing:
        "imdsv2-only.yaml", "answered_by: { node-1: { at_least: 25 }, node-2: 0 }" => "answered_by: { node-2: { at_least: 25 } }";
    an_elastic_ip_leads_the_outside_to_the_other_instance:
        "elastic-ip.yaml", "outage: { above: 400ms, below: 5s }" => "outage: { below: 100ms }";
    a_whole_interface_moves_with_its_addresses_and_its_mac:
        "eni-move.yaml", "outage: { above: 1s, below: 5s }" => "outage: { below: 500ms }";
}

fn written(steps: &str) -> String {
    format!(
        "
name: test
topology:
  vpcs: {{ v: {{ cidr_blocks: [10.0.0.0/16] }} }}
  subnets: {{ s: {{ vpc: v, cidr_block: 10.0.1.0/24, availability_zone: local-1a }} }}
  instances:
    a: {{ subnet: s, ipv4: [10.0.1.10] }}
    b: {{ subnet: s, ipv4: [10.0.1.11] }}
steps:
{steps}
"
    )
}

#[test]
#[ignore = "needs root: make test"]
fn every_fault_that_is_written_in_a_scenario_begins_and_ends() {
    let kinds = [
        "link_down: { interfaces: [a] }",
        "partition: { between: { interfaces: [a] }, and: { interfaces: [b] } }",
        "zone_cut: { availability_zone: local-1a }",
        "impairment: { at: { interfaces: [a] }, loss: 1%, delay: 20ms }",
        "stale_mapping: { seen_by: { interfaces: [a] } }",
        "late_propagation: { delay: aws }",
        "api: { throttle: { rate: 0.5, burst: 1 } }",
        "router_advertisements_withheld: { all: true }",
        "dhcp_silent: { all: true }",
        "metadata: { at: { all: true }, status: 500 }",
        "metadata: { at: { all: true }, delay: 100ms }",
        "clock_skew: { at: { all: true }, skew: -3s }",
        "instance_freeze: { interfaces: [a] }",
        "instance_crash: { interfaces: [a] }",
    ];
    let mut steps = String::new();
    for (number, kind) in kinds.iter().enumerate() {
        steps += &format!("- fault: {{ start: f{number}, {kind} }}\n- stop: f{number}\n");
    }
    steps += &format!(
        "- expect: {{ events: {{ fault_began: {0}, fault_ended: {0} }}, since: scenario }}\n",
        kinds.len()
    );
    steps += "- { id: short, fault: { link_down: { interfaces: [a] }, duration: 200ms } }
- { expect: { events: { fault_ended: 1 } , since: short }, within: 5s }
- { fault: { link_down: { interfaces: [nobody] } }, expect: { error: InvalidNetworkInterfaceID.NotFound } }";
    let (report, shown) = run(&read("test.yaml", &written(&steps)));
    assert_eq!(report.outcome, RunOutcome::Passed, "\n{shown}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_frozen_host_answers_pings_and_no_requests_and_a_killed_one_lets_go_of_them() {
    let steps = "
- responder: { start: echo, in: b }
- probe: { start: kernel, from: a, to: 10.0.1.11, rate: 50, timeout: 200ms }
- probe: { start: program, from: a, to: 10.0.1.11, kind: http, port: 7, rate: 50, timeout: 200ms }
- wait: 500ms
- instance: { freeze: b }
- wait: 500ms
- instance: { thaw: b }
- wait: 500ms
- stop: program
  expect: { outage: { above: 200ms, below: 2s }, answered_by: { b: { at_least: 20 } } }
- instance: { kill: b }
- probe: { start: dead, from: a, to: 10.0.1.11, kind: tcp, rate: 50, timeout: 200ms }
- wait: 300ms
- stop: dead
  expect: { answered: 0, delivered_to: { b: { at_least: 5 } } }
- stop: kernel
  expect: { lost: 0 }
";
    let (report, shown) = run(&read("test.yaml", &written(steps)));
    assert_eq!(report.outcome, RunOutcome::Passed, "\n{shown}");
    assert_eq!(report.probes.len(), 3);
    assert!(
        report
            .programs
            .iter()
            .any(|program| program.name == "echo" && program.instance == "b")
    );
}

#[test]
#[ignore = "needs root: make test"]
fn programs_have_files_of_their_own_and_reach_the_api_after_a_crash() {
    let steps = "
- exec:
    in: a
    run: '/etc/test/ask && test -e /etc/test/plain && ! test -x /etc/test/plain && test \"$GREETING\" = hello'
    environment: { GREETING: hello }
    files:
      /etc/test/plain: 'for {{ a.mac }}'
      /etc/test/ask: \"#!/bin/sh\\ncurl -sf --unix-socket $LOCALVPC_SOCKET http://localhost/v1/interfaces/a\\n\"
  expect: { stdout: '{{ a.interface }}' }
- exec: { in: b, run: 'test ! -e /etc/test' }
- instance: { crash: a }
- exec: { in: a, run: 'test ! -e /etc/test && localvpc mappings assign 10.0.1.50 --to a' }
- exec: { in: a, run: \"curl -s --unix-socket $LOCALVPC_SOCKET http://localhost/v1/instances/b/exec --json '{\\\"argv\\\": [\\\"id\\\"]}'\" }
  expect: { stdout: UnauthorizedOperation }
";
    let (report, shown) = run(&read("test.yaml", &written(steps)));
    assert_eq!(report.outcome, RunOutcome::Passed, "\n{shown}");
    assert!(!Path::new("/etc/test").exists(), "nothing of it is the machine's");
}

#[test]
fn a_mistake_in_a_failover_step_is_reported_before_anything_starts() {
    for (steps, message) in [
        (
            "- probe: { start: p, from: c, to: 10.0.1.11 }",
            "no instance is called `c`",
        ),
        (
            "- probe: { start: p, from: outside, to: 10.0.1.11 }",
            "a probe cannot come from outside: there is no gateway",
        ),
        (
            "- probe: { start: p, from: a, to: there }",
            "`there` is not an IP address",
        ),
        (
            "- probe: { start: p, from: a, to: 10.0.1.11, rate: 2000 }",
            "`rate` is from 1 to 1000",
        ),
        ("- probe: { start: p, from: a, to: 10.0.1.11, kind: smoke }", "smoke"),
        ("- fault: { meteor: {} }", "this is not a fault"),
        ("- fault: { duration: 5s }", "a fault has a kind"),
        ("- fault: { link_down: { interface: a } }", "this is not a fault"),
        ("- instance: { kill: a, freeze: b }", "`instance` has one of"),
        ("- { wait: 1s, expect: { lost: 0 } }", "these figures are of a probe"),
        (
            "- { wait: 1s, expect: { lost: 0, probe: p } }",
            "no probe called `p` has been stopped",
        ),
        (
            "- probe: { start: p, from: a, to: 10.0.1.11 }\n- { stop: p, expect: { outage: {} } }",
            "say `below`, `above` or both",
        ),
        (
            "- probe: { start: p, from: a, to: 10.0.1.11 }\n- { stop: p, expect: { dropped: { rain: 1 } } }",
            "no drop reason is called `rain`",
        ),
        (
            "- { wait: 1s, expect: { flows: [{ from: c, packets: 1 }] } }",
            "no instance is called `c`",
        ),
        (
            "- { wait: 1s, expect: { flows: [{ to: there, packets: 1 }] } }",
            "`there` is not an IP address",
        ),
        (
            "- { wait: 1s, expect: { flows: [{ port: 22, packets: 1 }] } }",
            "a `port` is one of TCP or UDP",
        ),
        (
            "- { wait: 1s, expect: { flows: [{ from: a }] } }",
            "nothing is expected of this flow",
        ),
        (
            "- { wait: 1s, expect: { flows: [{ from: a, dropped: { rain: 1 } }] } }",
            "no drop reason is called `rain`",
        ),
        (
            "- { wait: 1s, expect: { events: { rain: 1 } } }",
            "no type of event is called `rain`",
        ),
        (
            "- exec: { in: a, run: x, files: { /usr/bin/x: y } }",
            "is not a file of an instance's own",
        ),
    ] {
        let error = format::read("test.yaml", &written(steps)).unwrap_err();
        let said = &error.mistakes[0].message;
        assert!(said.contains(message), "{steps}: {said}");
    }
}

/// A second of requests, of which some are lost.
const LOSS: &str = "
- probe: { start: stream, from: a, to: 10.0.1.11, rate: 100, timeout: 300ms }
- wait: 300ms
- fault: { partition: { between: { interfaces: [a] }, and: { interfaces: [b] } }, duration: 300ms }
- wait: 900ms
- stop: stream
  expect: { outage: { above: 200ms, below: 1s }, dropped: { fault_partition: { at_least: 10 } } }
";

/// A move and a partition during a probe; then expectations that hold, and their inversions.
const FIGURES: &str = "
- responder: { start: at-a, in: a }
- responder: { start: at-b, in: b }
- exec: { in: a, run: 'ip address add 10.0.1.50/32 dev eth0' }
- exec: { in: b, run: 'ip address add 10.0.1.50/32 dev eth0' }
- mapping: { assign: 10.0.1.50, to: a }
- probe: { start: p, from: c, to: 10.0.1.50, kind: udp, rate: 100, timeout: 300ms }
- wait: 500ms
- id: moved
  mapping: { move: 10.0.1.50, to: b }
# A frame may cross between the step's beginning and the move itself.
- wait: 50ms
- id: settled
  wait: 450ms
- fault: { partition: { between: { interfaces: [c] }, and: { interfaces: [b] } }, duration: 300ms }
- wait: 900ms
- stop: p
";

#[test]
#[ignore = "needs root: make test"]
fn every_figure_that_can_be_expected_holds_and_fails_when_it_is_turned_around() {
    let figures = [
        ("outage: { above: 200ms, below: 1s }", "outage: { below: 200ms }"),
        ("outage: { above: 200ms }", "outage: { above: 1s }"),
        ("takeover: { below: 400ms }", "takeover: { above: 400ms }"),
        ("sent: { at_least: 150 }", "sent: { at_most: 149 }"),
        ("answered: { at_least: 100 }", "answered: { at_most: 99 }"),
        ("lost: { at_least: 10, at_most: 60 }", "lost: 0"),
        ("misdelivered: 0", "misdelivered: { at_least: 1 }"),
        ("answered_by: { a: { at_least: 30 } }", "answered_by: { a: 0 }"),
        ("answered_by: { c: 0 }", "answered_by: { c: { at_least: 1 } }"),
        ("delivered_to: { b: { at_least: 50 } }", "delivered_to: { b: 0 }"),
        (
            "dropped: { fault_partition: { at_least: 10 } }",
            "dropped: { fault_partition: 0 }",
        ),
        (
            "dropped: { arp_unknown_address: 0 }",
            "dropped: { arp_unknown_address: { at_least: 1 } }",
        ),
        (
            "events: { fault_began: 1 }, since: scenario",
            "events: { fault_began: 0 }, since: scenario",
        ),
        (
            "events: { fault_ended: 1 }, since: moved",
            "events: { fault_ended: 2 }, since: moved",
        ),
        (
            "ports: { c: { drops: { fault_partition: { at_least: 10 } } } }, since: moved",
            "ports: { c: { drops: { fault_partition: 0 } } }, since: moved",
        ),
        (
            "ports: { b: { drops: { total: { at_most: 60 } } } }",
            "ports: { b: { drops: { total: { at_least: 1000 } } } }",
        ),
        (
            "ports: { c: { counters: { received_frames: { at_least: 150 } } } }",
            "ports: { c: { counters: { received_frames: 0 } } }",
        ),
        (
            "flows: [{ from: c, to: 10.0.1.50, protocol: udp, port: 7, packets: { at_least: 150 }, delivered_to: { a: { at_least: 30 }, \
             b: { at_least: 50 } }, dropped: { fault_partition: { at_least: 10 } } }]",
            "flows: [{ from: c, to: 10.0.1.50, dropped: { fault_partition: 0 } }]",
        ),
        (
            "flows: [{ source: '{{ c.ipv4 }}', to: 10.0.1.50, delivered_to: { a: 0 } }], since: settled",
            "flows: [{ source: '{{ c.ipv4 }}', to: 10.0.1.50, delivered_to: { a: { at_least: 1 } } }], since: settled",
        ),
        (
            "flows: [{ from: a, protocol: udp, packets: { at_least: 30 } }, { to: 10.0.1.50, protocol: tcp, packets: 0 }]",
            "flows: [{ from: a, protocol: udp, packets: { at_least: 30 } }, { to: 10.0.1.50, protocol: udp, packets: 0 }]",
        ),
    ];
    let elsewhere = ["events", "ports", "flows"];
    let of_a_probe = |figure: &str| !elsewhere.iter().any(|what| figure.starts_with(what));
    let mut steps = FIGURES.to_owned();
    for (right, wrong) in figures {
        for figure in [right, wrong] {
            let probe = if of_a_probe(figure) { "probe: p, " } else { "" };
            steps += &format!("- expect: {{ {probe}{figure} }}\n");
        }
    }
    let text = written(&steps).replace("steps:", "    c: { subnet: s, ipv4: [10.0.1.12] }\nsteps:");
    let options = PlayOptions {
        keep_going: true,
        ..options()
    };
    let report = play(&read("test.yaml", &text), &options, &Cancel::default(), &|_| {});
    let first = report.steps.len() - 2 * figures.len();
    for step in &report.steps[..first] {
        assert_eq!(step.outcome, RunOutcome::Passed, "{step:?}");
    }
    for (pair, (right, wrong)) in report.steps[first..].chunks(2).zip(figures) {
        assert_eq!(pair[0].outcome, RunOutcome::Passed, "{right}: {:?}", pair[0].checks);
        assert_eq!(pair[1].outcome, RunOutcome::Failed, "{wrong}: {:?}", pair[1].checks);
    }
}

#[test]
#[ignore = "needs root: make test"]
fn the_outage_of_a_run_is_the_one_that_its_capture_shows() {
    let scenario = read("test.yaml", &written(LOSS));
    let options = PlayOptions {
        capture: true,
        ..options()
    };
    let report = play(&scenario, &options, &Cancel::default(), &|_| {});
    assert_eq!(report.outcome, RunOutcome::Passed, "{report:?}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&report.captures.whole.bytes.read().unwrap().unwrap())
        .unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outage_from_capture.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(file.path())
        .args(["10.0.1.10", "10.0.1.11", "300"])
        .output()
        .unwrap();
    let seen: serde_json::Value = serde_json::from_str(&succeeded(&output)).unwrap();
    let outage = &report.probes[0].outage;
    assert_eq!(
        (seen["sent"].as_u64(), seen["lost"].as_u64()),
        (Some(outage.sent), Some(outage.lost))
    );
    let windows = seen["windows"].as_array().unwrap();
    assert_eq!((windows.len(), outage.windows.len()), (1, 1));
    let length = windows[0]["to"].as_u64().unwrap() - windows[0]["from"].as_u64().unwrap();
    // A host's send and the switch's read are a scheduler's latency apart.
    assert!(
        length.abs_diff(outage.longest) < 50_000_000,
        "{length} and {}",
        outage.longest
    );
}

#[test]
#[ignore = "needs root: make test"]
fn a_repeated_run_reports_how_its_outages_are_distributed() {
    let scenario = read("test.yaml", &written(LOSS));
    let options = PlayOptions {
        seed: Some(7),
        ..options()
    };
    let report = play_repeatedly(&scenario, &options, 3, &Cancel::default(), &|_| {});
    let repetition = report.repetition.unwrap();
    assert_eq!((repetition.runs, repetition.passed), (3, 3));
    assert_eq!(repetition.seeds, [7, 8, 9]);
    let [outage] = repetition.outages.as_slice() else {
        panic!("{repetition:?}")
    };
    assert_eq!(outage.all.len(), 3);
    assert!(outage.min >= 200_000_000 && outage.min <= outage.p50 && outage.p50 <= outage.max);
}

fn succeeded(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server that ends with the test.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root: make test"]
fn the_examples_of_a_ci_job_leave_reports_and_fail_with_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let server = Command::new(PROGRAM)
        .args(["serve", "--allow-exec", "--socket"])
        .arg(&socket)
        .env("LOCALVPC_RUN_DIRECTORY", folder.path().join("run"))
        .spawn();
    let _server = Server(server.unwrap());
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
    std::fs::write(&good, written(LOSS)).unwrap();
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, written(LOSS).replace("ipv4: [10.0.1.10]", "ipv4: 10.0.1.10")).unwrap();
    std::fs::write(&bad, written(&LOSS.replace("above: 200ms, below: 1s", "below: 1ms"))).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("api/examples");
    for (example, more, said) in [("ci-job.sh", vec![], "stream: "), ("ci_job.py", vec!["2"], "stream: ")] {
        let job = |scenario: &Path, name: &str| {
            let results = folder.path().join(name);
            let output = Command::new(examples.join(example))
                .arg(scenario)
                .arg(&results)
                .args(&more)
                .env("LOCALVPC_SOCKET", &socket)
                .output()
                .unwrap();
            (output, results)
        };
        let (output, results) = job(&good, &format!("{example}-good"));
        let text = succeeded(&output);
        assert!(
            text.contains(said) && text.contains("without an answer"),
            "{example}: {text}"
        );
        let content = |name: &str| std::fs::read(results.join(name)).unwrap();
        assert!(
            String::from_utf8_lossy(&content("report.xml")).contains("failures=\"0\""),
            "{example}"
        );
        assert!(
            String::from_utf8_lossy(&content("report.html")).contains("<svg"),
            "{example}"
        );
        let report: RunReport = serde_json::from_slice(&content("report.json")).unwrap();
        assert_eq!(report.probes.len(), 1, "{example}");
        // The whole capture has each request once; each of the two hosts' captures has a request that was sent or that
        // arrived.
        let requests = |name: &str| {
            let tcpdump = Command::new("tcpdump")
                .args(["-n", "-r"])
                .arg(results.join(name))
                .output()
                .unwrap();
            succeeded(&tcpdump)
                .lines()
                .filter(|line| line.contains("echo request"))
                .count() as u64
        };
        let outage = &report.probes[0].outage;
        assert_eq!(requests("run.pcapng"), outage.sent, "{example}");
        assert_eq!(requests("captures/a.pcapng"), outage.sent, "{example}");
        assert_eq!(
            requests("captures/b.pcapng"),
            outage.sent - outage.dropped["fault_partition"],
            "{example}"
        );
        let (output, _) = job(&wrong, &format!("{example}-wrong"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{example}");
        assert!(told.contains("a list is expected here"), "{example}: {told}");
        assert!(told.contains("write it in brackets"), "{example}: {told}");
        let (output, results) = job(&bad, &format!("{example}-bad"));
        assert!(!output.status.success(), "{example}");
        let xml = std::fs::read_to_string(results.join("report.xml")).unwrap();
        assert!(xml.contains("the longest outage is below 1ms"), "{example}: {xml}");
    }
}
