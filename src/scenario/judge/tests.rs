//! Tests expectations against possible observations of a step.

use std::collections::BTreeMap;

use super::*;
use crate::scenario::format;

struct Told;

impl Witness for Told {
    fn port(&self, instance: &str) -> Option<PortCounts> {
        (instance == "a").then(|| PortCounts {
            drops: [("source_check".to_owned(), 3)].into(),
            counters: [("frames_in".to_owned(), 10)].into(),
        })
    }

    fn capture(&self, _: &str) -> Result<String, String> {
        Ok("echo request\necho reply\n".to_owned())
    }

    fn probe(&self, _: &str) -> Result<Arc<ProbeReport>, String> {
        Ok(Arc::new(figures::tests::probed()))
    }

    fn events(&self, kind: &str) -> u64 {
        u64::from(kind == "fault_began")
    }

    fn flows(&self, wanted: &FlowFilter) -> Result<FlowCounts, String> {
        let ping = wanted.from.as_deref() == Some("a") && wanted.port.is_none();
        let counts = FlowCounts {
            packets: 9,
            delivered_to: [("b".to_owned(), 5)].into(),
            dropped: [("no_route".to_owned(), 3)].into(),
            answered: 1,
        };
        Ok(if ping { counts } else { FlowCounts::default() })
    }
}

/// The failed checks of a step with this action and expectation.
fn wrong(step: &str, seen: &Seen) -> Vec<String> {
    wrong_at(1, step, seen)
}

/// The same for the step at this place.
fn wrong_at(place: usize, step: &str, seen: &Seen) -> Vec<String> {
    let text = format!(
        "name: t\ntopology: {{ vpcs: {{ v: {{ cidr_blocks: [10.0.0.0/16] }} }}, subnets: {{ s: {{ vpc: v, \
         cidr_block: 10.0.0.0/24 }} }}, instances: {{ a: {{ subnet: s }}, b: {{ subnet: s }} }} }}\n\
         steps:\n- {{ capture: {{ start: seen, in: a }} }}\n- {{ {step} }}\n"
    );
    let scenario = format::read("t.yaml", &text).unwrap();
    let step = &scenario.steps[place];
    let scope = crate::topology::format::expected_scope(&scenario.topology, BTreeMap::new());
    let checks = judge(&step.action, &step.expect, seen, &scope, &Told).unwrap();
    checks
        .into_iter()
        .filter(|check| !check.passed)
        .map(|check| check.found)
        .collect()
}

fn output(exit: i32, stdout: &str) -> Seen {
    Seen {
        exit: Some(exit),
        stdout: stdout.to_owned(),
        ..Seen::default()
    }
}

const NONE: &[&str] = &[];

#[test]
fn a_command_that_says_nothing_of_its_exit_code_must_succeed() {
    assert_eq!(wrong("exec: { in: a, run: x }", &output(0, "")), NONE);
    assert_eq!(wrong("exec: { in: a, run: x }", &output(2, "")), ["exit code 2"]);
    assert_eq!(
        wrong("exec: { in: a, run: x }, expect: { exit: [1, 2] }", &output(2, "")),
        NONE
    );
    assert_eq!(
        wrong("exec: { in: a, run: x }, expect: { exit: nonzero }", &output(0, "")),
        ["exit code 0"]
    );
}

#[test]
fn a_ping_is_judged_by_its_summary() {
    let all = "3 packets transmitted, 3 received, 0% packet loss, time 402ms";
    let some = "3 packets transmitted, 1 received, 66.6667% packet loss, time 402ms";
    let none = "3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 402ms";
    let many = "3 packets transmitted, 3 received, +4 duplicates, 0% packet loss, time 402ms";
    // A fourth request was sent while the third answer was missing: that came later, or it did not.
    let late = "64 bytes from 10.0.0.9: icmp_seq=1 ttl=64 time=1 ms\n64 bytes from 10.0.0.9: icmp_seq=2 ttl=64 time=1 ms\n\
                64 bytes from 10.0.0.9: icmp_seq=3 ttl=64 time=350 ms\n\n\
                4 packets transmitted, 3 received, 25% packet loss, time 602ms";
    let lost = &late.replace("icmp_seq=3", "icmp_seq=4");
    for (expect, summary, right) in [
        ("answered", all, true),
        ("answered", some, false),
        ("answered", none, false),
        ("answered", late, true),
        ("answered", lost, false),
        ("unanswered", none, true),
        ("unanswered", some, false),
        ("unanswered", "", false),
        ("unreachable", none, false),
        ("{ replies: 7 }", many, true),
        ("{ replies: 3 }", many, false),
        ("{ replies: { at_least: 4 } }", all, false),
    ] {
        let step = format!("ping: {{ from: a, to: 10.0.0.9 }}, expect: {expect}");
        assert_eq!(
            wrong(&step, &output(0, summary)).is_empty(),
            right,
            "{expect}: {summary}"
        );
    }
    let unreachable = Seen {
        exit: Some(2),
        stderr: "ping: connect: Network is unreachable".to_owned(),
        ..Seen::default()
    };
    assert_eq!(
        wrong("ping: { from: a, to: 10.0.0.9 }, expect: unreachable", &unreachable),
        NONE
    );
    assert!(!wrong("ping: { from: a, to: 10.0.0.9 }, expect: unanswered", &unreachable).is_empty());
}

#[test]
fn texts_are_judged_as_a_whole_and_by_lines() {
    let seen = output(0, "64 bytes from fe80::1\n64 bytes from fe80::2\nend\n");
    for (expect, right) in [
        ("stdout: fe80::2", true),
        ("stdout: [fe80::1, fe80::3]", false),
        ("stdout: { not_contains: end }", false),
        ("stdout: { matches: '^end$' }", true),
        ("stdout: { not_matches: '^64' }", false),
        ("stdout: { empty: true }", false),
        ("stdout: { lines: [{ matching: '^64', count: 2 }] }", true),
        (
            "stdout: { lines: [{ matching: '^64', count: { at_least: 3 } }] }",
            false,
        ),
        ("stdout: { lines: [{ matching: '^64', every: 'fe80::' }] }", true),
        ("stdout: { lines: [{ matching: '^64', every: 'fe80::1' }] }", false),
        ("stdout: { lines: [{ count: 3 }] }", true),
        ("stdout: { lines: [{ distinct: '(bytes|end)', count: 2 }] }", true),
        ("stdout: { lines: [{ distinct: '(bytes|end)', count: 3 }] }", false),
        ("stdout: { lines: [{ distinct: 'fe80::(\\d)', count: 3 }] }", true),
    ] {
        let step = format!("exec: {{ in: a, run: x }}, expect: {{ {expect} }}");
        assert_eq!(wrong(&step, &seen).is_empty(), right, "{expect}");
    }
}

#[test]
fn ports_and_captures_are_witnesses() {
    for (expect, right) in [
        (
            "ports: { a: { drops: { source_check: 3, total: { at_least: 1 } } } }",
            true,
        ),
        ("ports: { a: { drops: { no_route: { at_least: 1 } } } }", false),
        ("ports: { b: { drops: { total: 0 } } }", false),
        ("captures: { seen: { lines: [{ matching: reply, count: 1 }] } }", true),
        ("captures: { seen: { empty: true } }", false),
    ] {
        assert_eq!(
            wrong(&format!("expect: {{ {expect} }}"), &Seen::default()).is_empty(),
            right,
            "{expect}"
        );
    }
}

#[test]
fn figures_of_a_probe_are_judged_where_it_is_stopped_or_named() {
    for (expect, right) in [
        ("outage: { below: 500ms }", true),
        ("outage: { below: 412ms }", false),
        ("outage: { above: 400ms }", true),
        ("outage: { above: 412ms }", false),
        ("takeover: { below: 1s }", true),
        ("takeover: { below: 1ms }", false),
        ("lost: 7", true),
        ("lost: 0", false),
        ("misdelivered: { at_least: 1 }", true),
        ("misdelivered: 0", false),
        ("answered_by: { a: 2 }", true),
        ("answered_by: { b: { at_least: 1 } }", false),
        ("delivered_to: { b: 1, a: 0 }", true),
        ("delivered_to: { b: 0 }", false),
        ("dropped: { fault_partition: 3 }", true),
        ("dropped: { fault_loss: { at_least: 1 } }", false),
        ("events: { fault_began: 1 }", true),
        ("events: { fault_ended: { at_least: 1 } }", false),
    ] {
        let probe = if expect.starts_with("events") { "" } else { "probe: p, " };
        let step = format!("probe: {{ start: p, from: a, to: 10.0.0.9 }} }}\n- {{ stop: p, expect: {{ {expect} }}");
        let there = wrong_at(2, &step, &Seen::default()).is_empty();
        let step = format!(
            "probe: {{ start: p, from: a, to: 10.0.0.9 }} }}\n- {{ stop: p }}\n- {{ expect: {{ {probe}{expect} }}"
        );
        let later = wrong_at(3, &step, &Seen::default()).is_empty();
        assert_eq!((there, later), (right, right), "{expect}");
    }
}

#[test]
fn flows_are_judged_by_what_became_of_their_packets() {
    for (flow, right) in [
        ("from: a, packets: 9", true),
        ("from: b, packets: { at_least: 1 }", false),
        ("from: a, protocol: tcp, port: 80, packets: 0", true),
        ("from: a, to: 10.0.0.9, delivered_to: { b: 5, a: 0 }", true),
        ("from: a, delivered_to: { b: { at_least: 6 } }", false),
        ("from: a, dropped: { no_route: 3, no_mapping: 0 }", true),
        ("from: a, dropped: { no_route: 0 }", false),
        ("from: a, answered: 1", true),
        ("from: a, answered: 0", false),
    ] {
        let found = wrong(&format!("expect: {{ flows: [{{ {flow} }}] }}"), &Seen::default());
        assert_eq!(found.is_empty(), right, "{flow}: {found:?}");
    }
    let found = wrong("expect: { flows: [{ from: a, answered: 0 }] }", &Seen::default());
    assert_eq!(
        found,
        ["1; in all 9 packets (5 to b, 3 dropped as no_route, 1 answered)"]
    );
}

#[test]
fn a_refused_edit_is_right_only_when_it_was_expected() {
    let refused = Seen {
        refused: Some(("InvalidIPAddress.InUse".into(), "taken".into())),
        ..Seen::default()
    };
    let edit = "mapping: { assign: 10.0.0.9, to: a }";
    assert_eq!(wrong(edit, &refused), ["InvalidIPAddress.InUse: taken"]);
    assert_eq!(wrong(edit, &Seen::default()), NONE);
    let expecting = format!("{edit}, expect: {{ error: InvalidIPAddress.InUse }}");
    assert_eq!(wrong(&expecting, &refused), NONE);
    assert_eq!(wrong(&expecting, &Seen::default()), ["it was done"]);
}

#[test]
fn a_pattern_that_grows_too_large_is_refused_in_a_moment() {
    let begin = cpu_time::ThreadTime::now();
    for written in [
        "(a{1000}){1000}",
        "\\w{3000}",
        "((x{100}){100}){100}",
        &"a?".repeat(100_000),
    ] {
        assert!(super::pattern(written).is_err(), "{written:.20}");
    }
    assert!(super::pattern("^PING .* 3 received").is_ok());
    // Three seconds without optimization.
    assert!(begin.elapsed() < std::time::Duration::from_secs(10));
}
