//! Explanations with faults, of ports that are down, and of the return path.

use super::tests::{World, ping};
use super::*;
use crate::model::Profile;
use crate::model::fault::{FaultKind, FaultSpec};
use crate::model::interface::ModifyInterface;

impl World {
    fn fault(&self, fault: &str) {
        let fault: FaultKind = serde_json::from_str(fault).expect("a fault");
        let spec = FaultSpec {
            fault,
            duration: None,
            description: None,
        };
        self.controller.begin_fault(spec).expect("the fault begins");
    }

    fn both(&self, from: &str, packet: PacketSpec) -> Explanation {
        let request = ExplainRequest {
            interface: ResourceRef::new(from),
            frame: FrameSpec::Packet(packet),
            both: true,
        };
        self.controller.explain(request).expect("an explanation")
    }
}

#[test]
fn an_explanation_meets_the_faults_that_a_frame_meets() {
    let a = r#"{"interfaces": ["a"]}"#;
    let b = r#"{"interfaces": ["b"]}"#;
    let cases = [
        (format!(r#"{{"link_down": {a}}}"#), "a", "fault_link_down"),
        (format!(r#"{{"link_down": {b}}}"#), "a", "fault_link_down"),
        (
            format!(r#"{{"partition": {{"between": {a}, "and": {b}}}}}"#),
            "a",
            "fault_partition",
        ),
    ];
    for (fault, from, reason) in cases {
        let world = World::new(Profile::aws());
        let packet = || PacketSpec {
            destination_mac: Some(world.interface("b").mac_address),
            ..ping("10.0.1.11")
        };
        assert!(world.explain(from, packet()).arrives, "before {fault}");
        world.fault(&fault);
        let explained = world.explain(from, packet());
        let last = explained.frames.last().expect("a frame");
        assert_eq!(
            (last.verdict.action, last.verdict.reason),
            ("drop", Some(reason)),
            "{fault}"
        );
        assert!(!explained.arrives, "{fault}");
    }
}

#[test]
fn a_fault_of_chance_is_told_with_how_often_it_strikes() {
    let world = World::new(Profile::aws());
    world.fault(r#"{"impairment": {"at": {"interfaces": ["b"]}, "loss": "20%", "delay": "50ms"}}"#);
    let explained = world.explain("a", ping("10.0.1.11"));
    let verdict = &explained.frames.last().expect("the packet").verdict;
    assert_eq!(verdict.action, "deliver");
    assert_eq!(verdict.notes, ["by a fault: lost in 20 % of cases, delayed by 50ms"]);
    assert!(explained.summary.contains("lost in 20 %"), "{}", explained.summary);
}

#[test]
fn an_interface_that_is_attached_to_no_port_sends_nothing() {
    let world = World::new(Profile::aws());
    let detach = crate::model::interface::DetachInterface(ResourceRef::new("a"));
    world.controller.execute(detach).expect("detached");
    let explained = world.explain("a", ping("10.0.1.11"));
    assert!(!explained.arrives);
    assert!(
        explained.summary.contains("attached to no port"),
        "{}",
        explained.summary
    );
    // Nothing reaches it either.
    let explained = world.explain("b", ping("10.0.1.10"));
    let last = explained.frames.last().expect("the packet");
    assert_eq!(last.verdict.reason, Some("not_attached"));
}

#[test]
fn the_service_is_named_with_what_it_answers_and_what_a_fault_makes_of_that() {
    let world = World::new(Profile::aws());
    let to = |address: &str, protocol, port| PacketSpec {
        protocol,
        source_port: 40_000,
        destination_port: port,
        ..ping(address)
    };
    let cases = [
        ("169.254.169.254", Protocol::Tcp, 80, Some("metadata"), true),
        ("169.254.169.253", Protocol::Udp, 53, Some("dns"), true),
        ("10.0.0.2", Protocol::Tcp, 53, Some("dns"), true),
        ("169.254.169.123", Protocol::Udp, 123, Some("time"), true),
        ("169.254.169.254", Protocol::Tcp, 81, Some("none"), false),
        ("fd00:ec2::254", Protocol::Tcp, 80, Some("metadata"), true),
    ];
    for (address, protocol, port, service, arrives) in cases {
        let explained = world.explain("a", to(address, protocol, port));
        let verdict = &explained.frames.last().expect("the packet").verdict;
        assert_eq!(
            (verdict.action, verdict.service),
            ("service", service),
            "{address} {port}"
        );
        assert_eq!(explained.arrives, arrives, "{address} {port}");
    }
    world.fault(r#"{"metadata": {"at": {"interfaces": ["a"]}, "silent": true}}"#);
    let explained = world.explain("a", to("169.254.169.254", Protocol::Tcp, 80));
    assert!(!explained.arrives, "{}", explained.summary);
    assert!(explained.summary.contains("does not answer"), "{}", explained.summary);
    world.fault(r#"{"metadata": {"at": {"interfaces": ["b"]}, "status": 503}}"#);
    let explained = world.explain("b", to("169.254.169.254", Protocol::Tcp, 80));
    assert!(explained.summary.contains("status 503"), "{}", explained.summary);
}

#[test]
fn a_destination_may_be_named_and_is_reached_in_a_family_that_both_have() {
    let world = World::new(Profile::aws());
    let named = |to: &str, source: Option<&str>| PacketSpec {
        to: Target::Interface(ResourceRef::new(to)),
        source: source.map(|source| source.parse().expect("an address")),
        ..ping("10.0.1.11")
    };
    for source in [None, Some("2001:db8:0:1::a")] {
        let explained = world.explain("a", named("c", source));
        let verdict = &explained.frames.last().expect("the packet").verdict;
        assert_eq!(verdict.interface_id, Some(world.interface("c").id));
    }
    let request = ExplainRequest {
        interface: ResourceRef::new("a"),
        frame: FrameSpec::Packet(named("nonsense", None)),
        both: false,
    };
    let refused = world.controller.explain(request).expect_err("no such interface");
    assert_eq!(refused.field().as_deref(), Some("to"));
}

#[test]
fn the_way_back_is_decided_by_its_own_checks() {
    // The default group lets nothing in from an address that no member has.
    let mut profile = Profile::aws();
    profile.firewall.enforced = false;
    let world = World::new(profile);
    let explained = world.both("a", ping("10.0.2.12"));
    let reply = explained.reply.as_ref().expect("a reply");
    assert!(explained.arrives && reply.arrives, "{}", reply.summary);
    assert_eq!(reply.interface_id, world.interface("c").id);
    let last = reply.frames.last().expect("the reply");
    assert_eq!(last.verdict.interface_id, Some(world.interface("a").id));
    // A foreign source passes `a` without its check, and the reply to it has no target.
    let off = ModifyInterface {
        source_dest_check: Some(false),
        ..ModifyInterface::new(ResourceRef::new("a"))
    };
    world.controller.execute(off).expect("modified");
    let foreign = PacketSpec {
        source: Some("192.0.2.1".parse().expect("an address")),
        ..ping("10.0.1.11")
    };
    let explained = world.both("a", foreign);
    let reply = explained.reply.as_ref().expect("a reply");
    assert!(!explained.arrives && !reply.arrives);
    let last = reply.frames.last().expect("the reply");
    assert_eq!(last.verdict.reason, Some("no_route"), "{}", reply.summary);
}
