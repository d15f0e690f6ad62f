//! Plays the shipped scenarios with real hosts and tools, and tests what a run promises. It needs root for namespaces.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::scenario::{options, read};
use localvpc::record::quota::Quota;
use localvpc::report::run::{Progress, RunOutcome, RunReport, StepReport};
use localvpc::scenario::format::Scenario;
use localvpc::scenario::play::{Cancel, PlayOptions, play};

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
    read("test.yaml", &text)
}

fn run(scenario: &Scenario, options: &PlayOptions) -> RunReport {
    play(scenario, options, &Cancel::default(), &|_| {})
}

scenarios! {
    ipv6_is_without_multicast_in_a_vpc:
        "aws-ipv6-mapping.yaml", "base: aws," => "base: lan,";
    arp_is_answered_by_the_mapping_service_in_a_vpc:
        "aws-ipv4-mapping.yaml", "every: \" {{ router(sb).mac }} > {{ c.mac }}, \"" => "every: \" {{ a.mac }} > {{ c.mac }}, \"";
    a_lan_does_what_a_vpc_does_not:
        "lan-control.yaml", "base: lan" => "base: aws";
    a_moved_address_is_announced_today_and_was_not_in_the_xen_years:
        "address-move.yaml", "base: aws-xen" => "base: aws";
    a_network_acl_needs_the_ephemeral_ports_and_a_group_reference_lets_in_members_alone:
        "network-acl-ephemeral-ports.yaml", "ports: 1024-65535" => "ports: 1024-1025";
    packets_that_leave_their_subnet_follow_its_route_table:
        "routes.yaml", "drops: { no_route: 3 }" => "drops: { no_route: 0 }";
    keepalived_needs_a_rule_for_its_protocol:
        "no-security-groups.yaml", "\"egress\": [{\"protocol\": \"112\"" => "\"egress\": [{\"protocol\": \"113\"";
    a_group_reference_fails_across_a_middlebox:
        "group-reference-through-middlebox.yaml", "\"cidr\": \"10.0.1.0/24\"" => "\"cidr\": \"10.0.9.0/24\"";
    an_idle_connection_is_forgotten_and_its_client_hangs:
        "idle-connection.yaml", "tcp_established: 2 " => "tcp_established: 60 ";
    an_instance_that_tracks_too_much_begins_nothing_new:
        "conntrack-exhaustion.yaml", "allowance: 20," => "allowance: 40,";
    the_services_of_a_vpc_say_what_the_network_is_at_that_moment:
        "link-local-services.yaml", "\"{{ a.mac }}\", \"eu-central-1\"" => "\"{{ b.mac }}\", \"eu-central-1\"";
    a_network_of_three_tiers_lets_through_what_it_should_in_both_families:
        "three-tier.yaml", "ports: 80, group: app" => "ports: 80, group: web";
    peering_is_not_transitive_and_lets_rules_name_groups_of_the_peer:
        "peering.yaml", "peering_not_transitive: 1 } } } }\n  - ping: { from: left, to: 198" => "peering_not_transitive: 0 } } } }\n  - ping: { from: left, to: 198";
    a_private_host_reaches_s3_by_a_gateway_endpoint_and_by_nothing_else:
        "gateway-endpoint.yaml", "service: s3," => "service: dynamodb,";
    what_an_internet_gateway_lets_in_passes_an_appliance_first:
        "ingress-routing.yaml", "gateways: [igw]" => "gateways: []";
    a_private_nat_gateway_hides_its_hosts_from_a_peered_vpc:
        "private-nat.yaml", "to: 10.2.0.0/16, via: nat" => "to: 10.2.0.0/16, via: left-right";
    block_public_access_cuts_all_vpcs_off_at_once:
        "block-public-access.yaml", "\"mode\": \"block-ingress\"" => "\"mode\": \"block-bidirectional\"";
    a_nat_gateway_forgets_an_idle_connection_and_resets_its_host:
        "nat-gateway.yaml", "nat: { idle_timeout: 2 }" => "nat: { idle_timeout: 60 }";
    a_host_of_ipv6_alone_fetches_from_a_server_of_ipv4_alone_by_its_name:
        "nat64.yaml", "enable_dns64: true" => "enable_dns64: false";
    hole_punching_fails_behind_nat_gateways_and_works_behind_nat_instances:
        "hole-punching.yaml", "to: 0.0.0.0/0, via: w-nat" => "to: 0.0.0.0/0, via: w-gateway";
    isc_dhclient_brings_up_a_host_that_knows_nothing:
        "dhclient.yaml", "base: aws," => "base: lan,";
    dhcpcd_brings_up_a_host_that_knows_nothing:
        "dhcpcd.yaml", "\"acknowledged 10.0.1.10 " => "\"acknowledged 10.0.1.20 ";
    the_small_clients_bring_up_a_host_that_knows_nothing:
        "udhcpc.yaml", "base: aws," => "base: lan,";
    systemd_networkd_brings_up_a_host_that_knows_nothing:
        "systemd-networkd.yaml", "\"Your-IP 10.0.1.10$\"" => "\"Your-IP 10.0.1.20$\"";
    an_address_without_routes_and_routes_without_an_address_reach_nobody:
        "address-route-interplay.yaml", "stable-privacy" => "eui64";
    cloud_init_finds_that_it_runs_on_ec2:
        "cloud-init.yaml", "matches: '^401$'" => "matches: '^200$'";
    dhcpcd_surprises_three_times:
        "dhcpcd-story.yaml", "stdout: \"slaac private\"" => "stdout: \"slaac hwaddr\"";
    a_lease_ends_with_the_assignment_of_its_address:
        "ipv6-unassigned.yaml", "expect: unanswered" => "expect: answered";
    a_delegated_prefix_is_one_host:
        "bind-ipv6-subnet.yaml", "drops: { no_mapping: { at_least: 8 } }" => "drops: { no_mapping: 0 }";
    clouds_differ:
        "clouds.yaml", "every: \"lladdr {{ a2.mac }} \"" => "every: \"lladdr {{ a.mac }} \"";
    discovery_by_multicast_finds_nobody_in_a_vpc:
        "multicast-gotchas.yaml", "count: 4, every: \": none$\"" => "count: 4, every: \": 10\"";
    a_single_64_needs_a_proxy_where_the_router_asks:
        "single-64-proxy-ndp.yaml", "\"^default via fe80::1 dev eth0 \"" => "\"^default via fe80::2 dev eth0 \"";
}

#[test]
fn every_scenario_that_ships_is_played_as_it_is_and_turned_around() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let here = [
        include_str!("scenarios.rs"),
        include_str!("failover.rs"),
        include_str!("reported.rs"),
        include_str!("agents.rs"),
        include_str!("agents_apart.rs"),
    ]
    .concat();
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        // As written in the line of `scenarios!` that plays it both ways.
        assert!(here.contains(&format!("        \"{name}\", \"")), "{name}");
    }
}

#[test]
#[ignore = "needs root: make test"]
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
#[ignore = "needs root: make test"]
fn a_run_that_keeps_going_plays_every_step() {
    let scenario = written("- exec: { in: a, run: 'exit 3' }\n- exec: { in: a, run: 'exit 0' }");
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
#[ignore = "needs root: make test"]
fn a_step_within_a_time_is_tried_until_it_passes() {
    let scenario = written(
        "
- exec: { in: a, run: 'sleep 1; touch /run/ready', background: later }
- exec: { in: a, run: 'test -e /run/ready' }
  within: 10s
- exec: { in: a, run: 'false' }
  within: 1s",
    );
    let report = run(&scenario, &options());
    assert_eq!(report.steps[1].outcome, RunOutcome::Passed);
    assert!(report.steps[1].attempts > 1);
    assert_eq!(report.steps[2].outcome, RunOutcome::Failed);
}

#[test]
#[ignore = "needs root: make test"]
fn what_is_counted_a_moment_after_a_step_is_waited_for() {
    let scenario = written(
        "
- exec: { in: a, run: 'sleep 0.1; ping -c 1 -W 1 10.0.1.77', background: later }
- expect: { ports: { a: { drops: { arp_unknown_address: { at_least: 1 } } } } }
- expect: { ports: { a: { drops: { arp_unknown_address: { at_least: 1000 } } } } }",
    );
    let report = run(&scenario, &options());
    assert_eq!(report.steps[1].outcome, RunOutcome::Passed, "{:?}", report.steps[1]);
    assert_eq!(report.steps[2].outcome, RunOutcome::Failed, "{:?}", report.steps[2]);
    assert_eq!(report.steps[2].checks.len(), 1, "it is told once");
}

#[test]
#[ignore = "needs root: make test"]
fn what_a_step_saves_and_a_run_sets_can_be_used_in_later_steps() {
    let scenario = written(
        "
- exec: { in: a, run: 'echo {{ parameters.greeting }} world' }
  save: { who: 'good day (.*)' }
- exec: { in: b, argv: [echo, '{{ saved.who | upper }}'] }
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
#[ignore = "needs root: make test"]
fn a_command_that_takes_too_long_is_killed_and_fails_the_step() {
    let scenario = written("- exec: { in: a, run: 'sleep 60', timeout: 300ms }");
    let report = run(&scenario, &options());
    assert_eq!((report.outcome, report.steps[0].exit), (RunOutcome::Failed, Some(124)));
    assert!(report.duration_ms < 20_000);
}

#[test]
#[ignore = "needs root: make test"]
fn a_cancelled_run_ends_soon_and_leaves_nothing() {
    let scenario = written("- exec: { in: a, run: 'sleep 300.0424242' }\n- wait: 300s");
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
#[ignore = "needs root: make test"]
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
#[ignore = "needs root: make test"]
fn the_captures_of_runs_that_are_played_have_a_quota_together() {
    let scenario = written("- exec: { in: a, run: 'ping -q -c 400 -s 1400 -i 0.002 10.0.1.11' }");
    let quota = Arc::new(Quota::new(256 << 10));
    let report = run(
        &scenario,
        &PlayOptions {
            capture: true,
            captures: Arc::clone(&quota),
            ..options()
        },
    );
    assert_eq!(report.outcome, RunOutcome::Passed, "{report:#?}");
    assert!(!report.captures.whole.complete, "800 packets of 1400 octets do not fit");
    assert!(report.captures.whole.frames > 10);
    assert!(report.captures.whole.bytes.len() <= 300 << 10);
    assert!(quota.exceeded() > 0);
    assert_eq!(quota.used(), 0, "the room comes back");
}

#[test]
#[ignore = "needs root: make test"]
fn a_seed_makes_the_same_network_again() {
    let scenario = written("- exec: { in: a, run: 'cat /sys/class/net/eth0/address' }");
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

#[test]
#[ignore = "needs root: make test"]
fn a_program_in_the_background_that_dies_at_once_fails_its_step_with_what_it_wrote() {
    let scenario = written(
        "
  - exec: { in: a, run: 'echo no such option >&2; exit 3', background: server }
  - wait: 1ms
",
    );
    let report = run(&scenario, &options());
    assert_eq!(report.outcome, RunOutcome::Failed, "{report:#?}");
    let step = &report.steps[0];
    assert_eq!((step.outcome, step.exit), (RunOutcome::Failed, Some(3)));
    assert!(step.stderr.contains("no such option"), "{step:#?}");
    assert!(step.checks[0].expected.contains("`server` goes on"), "{step:#?}");
    assert!(report.programs[0].failed() && report.programs[0].ran_ms.is_some());
}

#[test]
#[ignore = "needs root: make test"]
fn a_program_in_the_background_that_becomes_a_daemon_or_ends_well_passes() {
    let scenario = written(
        "
  - exec: { in: a, run: 'sleep 60 & exit 0', background: daemon }
  - exec: { in: a, run: 'sleep 60', background: sleeper }
  - stop: sleeper
",
    );
    let report = run(&scenario, &options());
    assert_eq!(report.outcome, RunOutcome::Passed, "{report:#?}");
    assert!(report.programs.iter().all(|program| !program.failed()), "{report:#?}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_failed_step_has_a_ladder_of_its_packets() {
    let scenario = written("  - { ping: { from: a, to: '{{ b.ipv4 }}', count: 1 }, expect: unanswered }\n");
    let report = run(&scenario, &options());
    let ladder = &report.steps[0].evidence.as_ref().expect("it failed").ladder;
    let packets: Vec<String> = ladder
        .iter()
        .map(|rung| format!("{} {} {}", rung.from, rung.to.as_deref().unwrap_or("-"), rung.packet))
        .collect();
    let echo = packets
        .iter()
        .position(|packet| packet.starts_with("a b ICMP echo request"));
    let reply = packets
        .iter()
        .position(|packet| packet.starts_with("b a ICMP echo reply"));
    assert!(echo.is_some() && echo < reply, "{packets:#?}");
    assert!(
        packets.iter().any(|packet| packet.starts_with("a VPC ARP who has")),
        "{packets:#?}"
    );
}
