//! Reads a scenario file, checks it as a whole, and reports every mistake with its place.
//!
//! The format is YAML, which includes JSON. [`read`] returns a [`Scenario`] whose names have all been checked.

mod check;
mod document;
mod failover;
mod flows;
mod short;

pub use check::{Action, Scenario, Since, Step, read, read_any_topology};
pub use document::{
    Capture, Direction, Document, Edit, Edits, EntryChange, Exec, Exit, Expect, ExpectFields, LineFields, Modify,
    Parameter, Ping, PortExpectation, Replies, RouteChange, RulesChange, StepFields, TextExpectation, TextFields,
};
pub use failover::{FaultForm, FaultFormError, InstanceChange, InstanceForm, ProbeForm, ResponderForm, TimeRange};
pub use flows::FlowForm;

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "\
name: test
topology:
  vpcs: { v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ['2001:db8::/56'] } }
  subnets: { sa: { vpc: v, cidr_block: 10.0.1.0/24, ipv6_cidr_block: '2001:db8::/64' } }
  instances:
    a: { subnet: sa, ipv4: [10.0.1.10] }
    b: { subnet: sa, ipv4: [10.0.1.11], ipv6: ['2001:db8::b'] }
";

    fn with_steps(steps: &str) -> String {
        format!("{NETWORK}steps:\n{steps}")
    }

    #[test]
    fn a_right_file_is_read() {
        let scenario = read(
            "x.yaml",
            &with_steps(
                "
  - say: b answers
    ping: { from: a, to: '{{ b.ipv4 }}' }
    expect: answered
  - exec: { in: a, run: 'ip -6 neigh show {{ b.ipv6 }}' }
    within: 5s
    expect:
      stdout: { matches: 'lladdr {{ b.mac }}', lines: [{ count: 1 }] }
      ports: { a: { drops: { total: 0 } } }
      since: scenario
    save: { mac: 'lladdr (\\S+)' }
  - capture: { start: seen, in: b, filter: icmp6 }
  - parallel:
      - wait: 1s
      - mapping: { move: 10.0.1.11, to: a }
  - stop: seen
    expect: { stdout: { not_contains: '{{ saved.mac }}' } }
",
            ),
        )
        .unwrap();
        assert_eq!(scenario.steps.len(), 5);
        let Action::Parallel(steps) = &scenario.steps[3].action else {
            panic!("not parallel")
        };
        assert_eq!(steps[1].number, "4.2");
        assert_eq!(scenario.steps[1].since, Since::Scenario);
    }

    #[test]
    fn an_instance_may_be_called_as_what_an_expression_asks_for_and_a_step_says_in_or_on() {
        let text = with_steps("  - exec: { in: router, run: 'ping {{ router(sa).ipv4 }} -I {{ router.ipv4 }}' }\n")
            .replace("    a: {", "    router: {");
        let scenario = read("x.yaml", &text).unwrap();
        let Action::Exec(exec) = &scenario.steps[0].action else {
            panic!("no exec")
        };
        let scope = crate::topology::format::expected_scope(&scenario.topology, Default::default());
        let filled = exec.run.as_ref().unwrap().fill(&scope).unwrap();
        assert_eq!(filled, "ping 10.0.1.1 -I 10.0.1.10");
        read("x.yaml", &text.replace("{ in: router", "{ on: router")).unwrap();
    }

    #[test]
    fn json_is_read_too() {
        let text = r#"{"name": "j", "topology": {"vpcs": {"v": {"cidr_blocks": ["10.0.0.0/16"]}},
            "subnets": {"s": {"vpc": "v", "cidr_block": "10.0.0.0/24"}}, "instances": {"a": {"subnet": "s"}}},
            "steps": [{"exec": {"on": "a", "run": "true"}}]}"#;
        assert_eq!(read("x.json", text).unwrap().name, "j");
    }

    /// (steps, line, column, message, help)
    const WRONG: &[(&str, u64, u64, &str, &str)] = &[
        ("  - pingg: {}", 9, 5, "unknown field `pingg`", "did you mean `ping`?"),
        (
            "  - ping: { from: a, too: x }",
            9,
            22,
            "unknown field `too`",
            "did you mean `to`?",
        ),
        (
            "  - ping: { from: c, to: 10.0.1.11 }",
            9,
            19,
            "no instance is called `c`",
            "known here: a, b",
        ),
        (
            "  - ping: { from: a, to: '{{ b.ip4 }}' }",
            9,
            30,
            "no field is called `ip4`",
            "did you mean `ipv4`?",
        ),
        (
            "  - ping: { from: a, to: nowhere }",
            9,
            26,
            "`nowhere` is not an IP address",
            "write an address",
        ),
        (
            "  - exec: { in: a, run: x, argv: [x] }",
            9,
            17,
            "a command is either `run` or `argv`",
            "goes to a shell",
        ),
        ("  - { stop: x }", 9, 13, "nothing called `x` is running here", ""),
        (
            "  - { wait: 1s, exec: { in: a, run: x } }",
            9,
            5,
            "a step does one thing",
            "make a step of each",
        ),
        ("  - { say: hello }", 9, 5, "this step does nothing", "`exec`"),
        ("  - { wait: 10 }", 9, 13, "is not a duration", ""),
        (
            "  - { wait: 1s, expect: answered }",
            9,
            5,
            "`replies` is about a `ping` step; this step is `wait`",
            "",
        ),
        (
            "  - { expect: { stdout: x } }",
            9,
            5,
            "`exit`, `stdout` and `stderr` is about",
            "at its `stop` step",
        ),
        (
            "  - { exec: { in: a, run: x }, expect: { exit: 300 } }",
            9,
            48,
            "expected an exit code from 0 to 255",
            "",
        ),
        (
            "  - { exec: { in: a, run: x }, expect: {} }",
            9,
            5,
            "could never fail",
            "",
        ),
        (
            "  - { exec: { in: a, run: x }, expect: { stdout: { matches: '(' } } }",
            9,
            61,
            "not a regular expression",
            "",
        ),
        (
            "  - { exec: { in: a, run: x }, save: { y: 'z' } }",
            9,
            43,
            "this expression has no group",
            "parentheses",
        ),
        (
            "  - { mapping: { assign: 10.0.1.12, from: a } }",
            9,
            16,
            "`assign` and `move` say `to`",
            "move",
        ),
        (
            "  - { mapping: [{ move: x, to: a }] }",
            9,
            25,
            "'x' is neither an IP address nor a prefix",
            "",
        ),
        (
            "  - { wait: 1s, within: 1s }",
            9,
            5,
            "`within` repeats a step",
            "follows",
        ),
        (
            "  - { expect: { captures: { x: y } } }",
            9,
            32,
            "no capture is called `x`",
            "",
        ),
        (
            "  - { expect: { ports: { a: { drops: { total: 0 } } }, since: y } }",
            9,
            63,
            "no step before this one",
            "known",
        ),
    ];

    #[test]
    fn a_wrong_file_is_refused_with_line_column_and_remedy() {
        let mut different = Vec::new();
        for (steps, line, column, message, help) in WRONG {
            let error = read("x.yaml", &with_steps(steps)).unwrap_err();
            let mistake = &error.mistakes[0];
            let right = mistake.message.contains(message)
                && mistake.help.as_deref().unwrap_or_default().contains(help)
                && (mistake.line, mistake.column) == (*line, *column);
            if !right {
                different.push(format!("{steps}: {mistake:?}"));
            }
        }
        assert!(different.is_empty(), "{different:#?}");
    }

    #[test]
    fn all_mistakes_of_a_file_are_reported_together() {
        let error = read("x.yaml", &with_steps("  - ping: { from: c, to: y }\n  - stop: z\n")).unwrap_err();
        assert_eq!(
            error.mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(),
            [9, 9, 10]
        );
    }

    #[test]
    fn a_wrong_topology_is_refused_at_its_place() {
        for (from, to, line, message, help) in [
            ("vpc: v,", "vpc: w,", 4, "no VPC is called `w`", "known here: v"),
            (
                "subnet: sa, ipv4: [10.0.1.10]",
                "subnet: sb",
                6,
                "no subnet is called `sb`",
                "did you mean `sa`?",
            ),
            (
                "10.0.1.10",
                "10.0.2.10",
                6,
                "10.0.2.10 is not in subnet `sa`",
                "10.0.1.0/24",
            ),
            (
                "10.0.1.11",
                "10.0.1.10",
                7,
                "the address 10.0.1.10 is given already in line 6",
                "",
            ),
            (
                "10.0.1.0/24",
                "10.1.1.0/24",
                4,
                "10.1.1.0/24 is not inside a block of the VPC",
                "10.0.0.0/16",
            ),
            (
                "2001:db8::/64",
                "2001:db8::/80",
                4,
                "an IPv6 subnet is a /64, not a /80",
                "end the block",
            ),
            (
                "vpcs: { v: { ",
                "vpcs: { v: { profile: awz, ",
                3,
                "there is no profile `awz`",
                "did you mean `aws`?",
            ),
            (
                "vpcs: { v: { ",
                "vpcs: { v: { profile: { base: aws, overrides: { mtuu: 9 } }, ",
                3,
                "mtuu",
                "",
            ),
        ] {
            let text = with_steps("  - wait: 1s\n").replacen(from, to, 1);
            let error = read("x.yaml", &text).unwrap_err();
            let mistake = &error.mistakes[0];
            assert!(mistake.message.contains(message), "{to}: {mistake:?}");
            assert!(
                mistake.help.as_deref().unwrap_or_default().contains(help),
                "{to}: {mistake:?}"
            );
            assert_eq!(mistake.line, line, "{to}: {mistake:?}");
        }
    }

    #[test]
    fn a_diagnostic_shows_the_line_and_points_at_the_mistake() {
        let error = read("x.yaml", &with_steps("  - ping: { from: a, to: '{{ b.ip4 }}' }")).unwrap_err();
        let mut shown = String::new();
        miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none())
            .render_report(&mut shown, &error)
            .unwrap();
        assert!(shown.contains("x.yaml:9:30"), "{shown}");
        assert!(shown.contains("did you mean `ipv4`?"), "{shown}");
    }
}
