//! The scenarios that ship, played against real hosts with real tools, and what a run promises whatever it plays.
//! These tests make namespaces, so they take root.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use localvpc::scenario::format::{self, Scenario};
use localvpc::scenario::play::{Cancel, PlayOptions, StageOptions, play};
use localvpc::scenario::report::{Progress, RunOutcome, RunReport, StepReport};

fn options() -> PlayOptions {
    PlayOptions {
        stage: StageOptions {
            init_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_localvpc"))),
            ..StageOptions::default()
        },
        ..PlayOptions::default()
    }
}

fn shipped(name: &str) -> Arc<Scenario> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    format::read(name, &text).unwrap_or_else(|error| panic!("{error}"))
}

fn written(steps: &str) -> Arc<Scenario> {
    let text = format!(
        "
name: test
parameters:
  greeting: {{ default: hello }}
topology:
  vpcs: {{ v: {{ cidr_blocks: [10.0.0.0/16] }} }}
  subnets: {{ s: {{ vpc: v, cidr_block: 10.0.1.0/24 }} }}
  instances:
    a: {{ subnet: s, ipv4: [10.0.1.10] }}
    b: {{ subnet: s, ipv4: [10.0.1.11] }}
steps:
{steps}
"
    );
    format::read("test.yaml", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn run(scenario: &Scenario, options: &PlayOptions) -> RunReport {
    play(scenario, options, &Cancel::default(), &|_| {})
}

/// Plays a scenario that ships. What went wrong is shown as the CLI shows it.
fn passes(name: &str) {
    use localvpc::cli::transcript::{Style, Transcript};
    let style = Style {
        terminal: false,
        verbose: false,
    };
    let mut text = Vec::new();
    let transcript = Transcript::new(&mut text, style);
    let report = play(&shipped(name), &options(), &Cancel::default(), &|progress| {
        transcript.show(progress);
    });
    transcript.summary(&report);
    drop(transcript);
    assert_eq!(
        report.outcome,
        RunOutcome::Passed,
        "\n{}",
        String::from_utf8_lossy(&text)
    );
}

#[test]
fn ipv6_is_without_multicast_in_a_vpc() {
    passes("aws-ipv6-mapping.yaml");
}

#[test]
fn arp_is_answered_by_the_mapping_service_in_a_vpc() {
    passes("aws-ipv4-mapping.yaml");
}

#[test]
fn a_lan_does_what_a_vpc_does_not() {
    passes("lan-control.yaml");
}

#[test]
fn a_moved_address_is_announced_today_and_was_not_in_the_xen_years() {
    passes("address-move.yaml");
}

#[test]
fn packets_that_leave_their_subnet_follow_its_route_table() {
    passes("routes.yaml");
}

#[test]
fn the_services_of_a_vpc_say_what_the_network_is_at_that_moment() {
    passes("link-local-services.yaml");
}

#[test]
fn isc_dhclient_brings_up_a_host_that_knows_nothing() {
    passes("dhclient.yaml");
}

#[test]
fn dhcpcd_brings_up_a_host_that_knows_nothing() {
    passes("dhcpcd.yaml");
}

#[test]
fn the_small_clients_bring_up_a_host_that_knows_nothing() {
    passes("udhcpc.yaml");
}

#[test]
fn systemd_networkd_brings_up_a_host_that_knows_nothing() {
    passes("systemd-networkd.yaml");
}

#[test]
fn an_address_without_routes_and_routes_without_an_address_reach_nobody() {
    passes("address-route-interplay.yaml");
}

#[test]
fn dhcpcd_surprises_three_times() {
    passes("dhcpcd-story.yaml");
}

#[test]
fn a_lease_ends_with_the_assignment_of_its_address() {
    passes("ipv6-unassigned.yaml");
}

#[test]
fn a_delegated_prefix_is_one_host() {
    passes("bind-ipv6-subnet.yaml");
}

#[test]
fn clouds_differ() {
    passes("clouds.yaml");
}

#[test]
fn discovery_by_multicast_finds_nobody_in_a_vpc() {
    passes("multicast-gotchas.yaml");
}

#[test]
fn a_single_64_needs_a_proxy_where_the_router_asks() {
    passes("single-64-proxy-ndp.yaml");
}

#[test]
fn every_scenario_that_ships_is_tested_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let here = [include_str!("scenarios.rs"), include_str!("failover.rs")].concat();
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(here.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn a_scenario_with_the_profile_turned_around_fails() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let turned = |name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains(from));
        format::read(name, &text.replace(from, to)).unwrap()
    };
    for (name, from, to) in [
        ("lan-control.yaml", "base: lan", "base: aws"),
        ("address-move.yaml", "base: aws-xen", "base: aws"),
        ("aws-ipv6-mapping.yaml", "base: aws,", "base: lan,"),
        ("dhclient.yaml", "base: aws,", "base: lan,"),
        ("udhcpc.yaml", "base: aws,", "base: lan,"),
        ("address-route-interplay.yaml", "stable-privacy", "eui64"),
    ] {
        assert_eq!(
            run(&turned(name, from, to), &options()).outcome,
            RunOutcome::Failed,
            "{name}"
        );
    }
}

#[test]
fn a_failed_step_ends_the_run_and_shows_packets_verdicts_and_hosts() {
    let scenario = written(
        "
- ping: { from: a, to: 10.0.1.11 }
- ping: { from: a, to: 10.0.1.77, count: 1 }
- ping: { from: a, to: 10.0.1.11 }",
    );
    let report = run(&scenario, &options());
    assert_eq!(report.outcome, RunOutcome::Failed);
    let outcomes: Vec<RunOutcome> = report.steps.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes, [RunOutcome::Passed, RunOutcome::Failed, RunOutcome::Skipped]);
    let evidence = report.steps[1].evidence.as_ref().unwrap();
    assert!(
        evidence.captures["a"]
            .iter()
            .any(|line| line.contains("who-has 10.0.1.77"))
    );
    assert!(evidence.ports["a"].drops["arp_unknown_address"] >= 1);
    assert!(evidence.hosts["a"].contains("10.0.1.77 dev eth0"));
    assert!(report.steps[0].evidence.is_none());
}

#[test]
fn a_run_that_keeps_going_plays_every_step() {
    let scenario = written("- exec: { on: a, run: 'exit 3' }\n- exec: { on: a, run: 'exit 0' }");
    let report = run(
        &scenario,
        &PlayOptions {
            keep_going: true,
            ..options()
        },
    );
    assert_eq!(report.outcome, RunOutcome::Failed);
    assert_eq!(report.count(RunOutcome::Passed), 1);
    assert_eq!(report.steps[0].exit, Some(3));
}

#[test]
fn a_step_within_a_time_is_tried_until_it_passes() {
    let scenario = written(
        "
- exec: { on: a, run: 'sleep 1; touch /run/ready', background: later }
- exec: { on: a, run: 'test -e /run/ready' }
  within: 10s
- exec: { on: a, run: 'false' }
  within: 1s",
    );
    let report = run(&scenario, &options());
    assert_eq!(report.steps[1].outcome, RunOutcome::Passed);
    assert!(report.steps[1].attempts > 1);
    assert_eq!(report.steps[2].outcome, RunOutcome::Failed);
}

#[test]
fn what_a_step_saves_and_a_run_sets_can_be_used_in_later_steps() {
    let scenario = written(
        "
- exec: { on: a, run: 'echo {{ parameters.greeting }} world' }
  save: { who: 'good day (.*)' }
- exec: { on: b, argv: [echo, '{{ saved.who | upper }}'] }
  expect: { stdout: { matches: '^WORLD$' } }",
    );
    let parameters = BTreeMap::from([("greeting".to_owned(), "good day".to_owned())]);
    let set = run(
        &scenario,
        &PlayOptions {
            parameters,
            ..options()
        },
    );
    assert_eq!(set.outcome, RunOutcome::Passed, "{:?}", set.steps);
    assert_eq!(run(&scenario, &options()).outcome, RunOutcome::Failed);
    let unknown = BTreeMap::from([("greating".to_owned(), "x".to_owned())]);
    let refused = run(
        &scenario,
        &PlayOptions {
            parameters: unknown,
            ..options()
        },
    );
    assert_eq!(refused.outcome, RunOutcome::Broken);
    assert!(refused.problem.unwrap().contains("did you mean `greeting`?"));
}

#[test]
fn a_command_that_takes_too_long_is_killed_and_fails_the_step() {
    let scenario = written("- exec: { on: a, run: 'sleep 60', timeout: 300ms }");
    let report = run(&scenario, &options());
    assert_eq!((report.outcome, report.steps[0].exit), (RunOutcome::Failed, Some(124)));
    assert!(report.duration_ms < 20_000);
}

#[test]
fn a_cancelled_run_ends_soon_and_leaves_nothing() {
    let scenario = written("- exec: { on: a, run: 'sleep 300.0424242' }\n- wait: 300s");
    let cancel = Cancel::default();
    let began = Instant::now();
    let report = play(&scenario, &options(), &cancel, &|progress| {
        if matches!(progress, Progress::StepStarted { .. }) {
            let cancel = cancel.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                cancel.cancel();
            });
        }
    });
    assert_eq!(report.outcome, RunOutcome::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let left = std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("300.0424242"))
    });
    assert!(!left);
}

#[test]
fn runs_side_by_side_do_not_know_of_each_other() {
    let scenario = written(
        "
- ping: { from: a, to: 10.0.1.11, count: 20, interval: 50ms }
- expect: { ports: { a: { counters: { received_frames: { at_most: 40 } } } } }",
    );
    let reports: Vec<RunReport> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..3).map(|_| scope.spawn(|| run(&scenario, &options()))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for report in reports {
        assert_eq!(report.outcome, RunOutcome::Passed, "{:?}", report.steps);
    }
}

#[test]
fn a_seed_makes_the_same_network_again() {
    let scenario = written("- exec: { on: a, run: 'cat /sys/class/net/eth0/address' }");
    let mac = |seed| {
        let report = run(
            &scenario,
            &PlayOptions {
                seed: Some(seed),
                ..options()
            },
        );
        let StepReport { stdout, .. } = report.steps.into_iter().next().unwrap();
        stdout
    };
    assert_eq!(mac(1), mac(1));
    assert_ne!(mac(1), mac(2));
}

#[test]
fn a_program_that_is_not_installed_is_named_before_anything_starts() {
    let mut scenario = Scenario::clone(&written("- wait: 1s"));
    scenario.requires = vec!["ping".into(), "no-such-program".into()];
    let report = run(&scenario, &options());
    assert_eq!(report.outcome, RunOutcome::Broken);
    assert!(report.problem.unwrap().contains("not installed: no-such-program"));
}
