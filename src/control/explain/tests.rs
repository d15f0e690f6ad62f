//! Explanations of frames without faults.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use super::*;
use crate::control::{ControllerConfig, DevicePlace, Ports};
use crate::datapath::FabricWriter;
use crate::model::interface::{AddressRequest, CreateInterface, ModifyInterface};
use crate::model::mapping::{EditMappings, MappingEdit};
use crate::model::subnet::CreateSubnet;
use crate::model::vpc::CreateVpc;
use crate::model::{Profile, SubnetId};
use crate::switch::inprocess::InProcessSwitch;
use crate::switch::port::memory::cable;
use crate::wire::udp::{Endpoint, write_ipv4};

/// Two subnets; `a` and `b` in the left one, `c` in the right one, all attached.
pub(super) struct World {
    pub(super) controller: Controller,
    cables: Vec<crate::switch::port::memory::MemoryHost>,
}

impl World {
    pub(super) fn new(profile: Profile) -> Self {
        let fabric = FabricWriter::new();
        let switch: Arc<dyn Ports> = Arc::new(Mutex::new(InProcessSwitch::new(fabric.fabric())));
        let config = ControllerConfig {
            seed: Some(3),
            fabric,
            ports: Some(switch),
            ..Default::default()
        };
        let mut world = Self {
            controller: Controller::new(config),
            cables: Vec::new(),
        };
        let vpc = CreateVpc {
            ipv6_cidr_blocks: vec!["2001:db8::/56".parse().unwrap()],
            profile: Arc::new(profile),
            ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
        };
        let vpc = world.controller.execute(vpc).unwrap();
        let subnet = |ipv4: &str, ipv6: &str| {
            let spec = CreateSubnet {
                cidr_block: Some(ipv4.parse().unwrap()),
                ipv6_cidr_block: Some(ipv6.parse().unwrap()),
                ..CreateSubnet::new(vpc.id)
            };
            world.controller.execute(spec).unwrap().id
        };
        let (left, right) = (
            subnet("10.0.1.0/24", "2001:db8:0:1::/64"),
            subnet("10.0.2.0/24", "2001:db8:0:2::/64"),
        );
        world.host("a", left, &["10.0.1.10", "2001:db8:0:1::a"]);
        world.host("b", left, &["10.0.1.11", "2001:db8:0:1::b"]);
        world.host("c", right, &["10.0.2.12", "2001:db8:0:2::c"]);
        world
    }

    pub(super) fn host(&mut self, name: &str, subnet: SubnetId, addresses: &[&str]) {
        let addresses = addresses
            .iter()
            .map(|text| AddressRequest::Exactly(text.parse().unwrap()))
            .collect();
        let spec = CreateInterface {
            name: Some(name.into()),
            addresses,
            ..CreateInterface::new(subnet)
        };
        self.controller.execute(spec).unwrap();
        let (port, host) = cable(9001);
        let interface = ResourceRef::new(name);
        self.controller
            .attach(&interface, port.into(), DevicePlace::Outside)
            .unwrap();
        self.cables.push(host);
    }

    pub(super) fn interface(&self, name: &str) -> NetworkInterface {
        self.controller.interface(&ResourceRef::new(name)).unwrap()
    }

    pub(super) fn explain(&self, from: &str, packet: PacketSpec) -> Explanation {
        let request = ExplainRequest {
            interface: ResourceRef::new(from),
            frame: FrameSpec::Packet(packet),
            both: false,
        };
        self.controller.explain(request).unwrap()
    }
}

pub(super) fn ping(to: &str) -> PacketSpec {
    PacketSpec {
        to: Target::Address(to.parse().unwrap()),
        source: None,
        protocol: Protocol::Icmp,
        source_port: 0,
        destination_port: 0,
        destination_mac: None,
    }
}

#[test]
fn a_neighbor_is_asked_for_and_then_reached() {
    let world = World::new(Profile::aws());
    let b = world.interface("b");
    for to in ["10.0.1.11", "2001:db8:0:1::b", &b.mac_address.link_local().to_string()] {
        let explained = world.explain("a", ping(to));
        let actions: Vec<_> = explained.frames.iter().map(|pass| pass.verdict.action).collect();
        assert_eq!(actions, ["reply", "deliver"], "{to}");
        let last = &explained.frames[1].verdict;
        assert_eq!((last.interface_id, last.routed), (Some(b.id), Some(false)));
        assert_eq!(explained.summary, "Delivered to b");
    }
    let steps = &world.explain("a", ping("10.0.1.11")).frames[0].steps;
    let entry = steps.iter().find_map(|step| step.entry.as_deref());
    assert_eq!(entry, Some("10.0.1.11"), "the entry that decided is named");
}

#[test]
fn another_subnet_is_reached_by_the_router() {
    let world = World::new(Profile::aws());
    for (to, frames) in [("10.0.2.12", 2), ("2001:db8:0:2::c", 1)] {
        let explained = world.explain("a", ping(to));
        assert_eq!(explained.frames.len(), frames);
        let verdict = &explained.frames[frames - 1].verdict;
        assert_eq!(
            (verdict.action, verdict.routed),
            ("deliver", Some(true)),
            "{to}: {}",
            verdict.description
        );
        assert_eq!(verdict.interface_id, Some(world.interface("c").id));
    }
}

/// systemd#17883 (Hetzner Cloud): a /32 and a gateway outside of the subnet.
#[test]
fn a_host_with_a_slash_32_asks_the_profile_s_gateway_for_every_address() {
    let mut profile = Profile::aws();
    profile.host_prefix_length = Some(32);
    profile.router.gateway = Some("172.31.1.1".parse().unwrap());
    let world = World::new(profile);
    for to in ["10.0.1.11", "10.0.2.12", "192.0.2.1"] {
        let explained = world.explain("a", ping(to));
        assert_eq!(explained.frames[0].purpose, "ARP: who has 172.31.1.1?", "{to}");
        assert_eq!(explained.frames[0].verdict.action, "reply", "{to}");
    }
}

#[test]
fn a_packet_to_an_unassigned_address_is_never_sent() {
    let world = World::new(Profile::aws());
    for (to, reason) in [
        ("10.0.1.99", "arp_unknown_address"),
        ("2001:db8:0:1::99", "neighbor_unknown_address"),
        ("fe80::5562:63fd:691b:3c92", "neighbor_not_eui64"),
    ] {
        let explained = world.explain("a", ping(to));
        assert_eq!(explained.frames.len(), 1);
        assert_eq!(explained.frames[0].verdict.reason, Some(reason), "{to}");
        assert!(
            explained.summary.starts_with("The packet is not sent"),
            "{}",
            explained.summary
        );
    }
}

#[test]
fn a_packet_to_the_host_itself_is_never_seen_outside() {
    let world = World::new(Profile::aws());
    let explained = world.explain("a", ping("10.0.1.10"));
    assert!(explained.frames.is_empty());
    assert!(
        explained.summary.contains("does not leave the host"),
        "{}",
        explained.summary
    );
}

#[test]
fn the_check_that_stops_a_foreign_address_names_its_interface() {
    // The default group lets nothing in from an address that no member has.
    let mut profile = Profile::aws();
    profile.firewall.enforced = false;
    let world = World::new(profile);
    let b = world.interface("b");
    let foreign = PacketSpec {
        source: Some("2001:db8:ff::1".parse().unwrap()),
        destination_mac: Some(b.mac_address),
        ..ping("2001:db8:ff::2")
    };
    let reason = |explained: &Explanation| explained.frames.last().unwrap().verdict.reason;
    let explained = world.explain("a", foreign.clone());
    assert_eq!(reason(&explained), Some("source_check"));
    let off = |name| ModifyInterface {
        source_dest_check: Some(false),
        ..ModifyInterface::new(ResourceRef::new(name))
    };
    world.controller.execute(off("a")).unwrap();
    let explained = world.explain("a", foreign.clone());
    assert_eq!(reason(&explained), Some("destination_check"));
    let check = explained.frames[0].steps.last().unwrap();
    assert_eq!(check.interface_id, Some(b.id));
    world.controller.execute(off("b")).unwrap();
    assert_eq!(world.explain("a", foreign).frames[0].verdict.action, "deliver");
}

#[test]
fn a_delegated_prefix_is_the_entry_for_all_its_addresses() {
    let world = World::new(Profile::aws());
    let edits = ["10.0.1.32/28", "2001:db8:0:1:5::/80"].map(|prefix| MappingEdit::Assign {
        interface: ResourceRef::new("b"),
        address: prefix.parse().unwrap(),
        move_allowed: false,
    });
    world.controller.execute(EditMappings(edits.to_vec())).unwrap();
    for (to, prefix) in [
        ("10.0.1.47", "10.0.1.32/28"),
        ("2001:db8:0:1:5::77", "2001:db8:0:1:5::/80"),
    ] {
        let explained = world.explain("a", ping(to));
        let entry = explained.frames[0].steps.iter().find_map(|step| step.entry.as_deref());
        assert_eq!(entry, Some(prefix));
        assert_eq!(explained.summary, "Delivered to b");
    }
}

#[test]
fn on_a_lan_the_question_is_flooded_and_nothing_is_learnt_from_the_explanation() {
    let world = World::new(Profile::lan());
    for _ in 0..2 {
        let explained = world.explain("a", ping("10.0.1.11"));
        let actions: Vec<_> = explained.frames.iter().map(|pass| pass.verdict.action).collect();
        // The second result equals the first: an explanation leaves no trace.
        assert_eq!(actions, ["flood", "flood"]);
    }
    assert!(world.cables.iter().all(|host| !host.has_frame()));
}

#[test]
fn every_protocol_and_family_makes_a_frame_that_is_delivered() {
    let world = World::new(Profile::aws());
    for protocol in [Protocol::Icmp, Protocol::Tcp, Protocol::Udp] {
        for to in ["10.0.1.11", "2001:db8:0:1::b"] {
            let spec = PacketSpec {
                protocol,
                source_port: 40_000,
                destination_port: 80,
                ..ping(to)
            };
            let explained = world.explain("a", spec);
            assert_eq!(explained.summary, "Delivered to b", "{protocol:?} {to}");
            let bytes = data_encoding::HEXLOWER
                .decode(explained.frames[1].frame.as_bytes())
                .unwrap();
            let parsed = etherparse::SlicedPacket::from_ethernet(&bytes).unwrap();
            assert!(parsed.transport.is_some());
        }
    }
}

#[test]
fn groups_get_their_macs_without_a_question() {
    let world = World::new(Profile::aws());
    for (to, reason) in [
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("10.0.1.255", "broadcast"),
    ] {
        let explained = world.explain("a", ping(to));
        assert_eq!(explained.frames.len(), 1);
        assert_eq!(explained.frames[0].verdict.reason, Some(reason), "{to}");
    }
}

#[test]
fn a_frame_that_is_none_is_refused_with_its_field() {
    let world = World::new(Profile::aws());
    let request = ExplainRequest {
        interface: ResourceRef::new("a"),
        frame: FrameSpec::Bytes(vec![0; 13]),
        both: false,
    };
    assert_eq!(
        world.controller.explain(request).unwrap_err().field().as_deref(),
        Some("frame")
    );
    let mixed = PacketSpec {
        source: Some("::1".parse().unwrap()),
        ..ping("10.0.1.11")
    };
    let request = ExplainRequest {
        interface: ResourceRef::new("a"),
        frame: FrameSpec::Packet(mixed),
        both: false,
    };
    assert_eq!(
        world.controller.explain(request).unwrap_err().field().as_deref(),
        Some("source")
    );
}

#[test]
fn a_dhcp_request_is_explained_with_what_the_server_says() {
    for (profile, action) in [(Profile::aws(), "reply"), (Profile::lan(), "flood")] {
        let world = World::new(profile);
        let mac = world.controller.interface(&ResourceRef::new("a")).unwrap().mac_address;
        // A DHCPDISCOVER: the fixed part, the cookie, the type.
        let mut discover = vec![1, 1, 6, 0];
        discover.resize(236, 0);
        discover[28..34].copy_from_slice(&mac.0);
        discover.extend([99, 130, 83, 99, 53, 1, 1, 255]);
        let end = |mac, address, port| Endpoint { mac, address, port };
        let from = end(mac, Ipv4Addr::UNSPECIFIED, 68);
        let to = end(MacAddr::BROADCAST, Ipv4Addr::BROADCAST, 67);
        let mut bytes = Vec::new();
        write_ipv4(&mut bytes, from, to, &discover).unwrap();
        let request = ExplainRequest {
            interface: ResourceRef::new("a"),
            frame: FrameSpec::Bytes(bytes),
            both: false,
        };
        let explanation = world.controller.explain(request).unwrap();
        let verdict = &explanation.frames[0].verdict;
        assert_eq!((verdict.action, verdict.answer), (action, Some("dhcpv4_offer")));
        let offered = data_encoding::HEXLOWER.encode(&Ipv4Addr::new(10, 0, 1, 10).octets());
        assert!(verdict.reply.as_ref().unwrap().contains(&offered));
    }
}

/// Facts T2, S2, S3: the reply passes with the connection, though no rule lets it in.
#[test]
fn the_rule_and_the_connection_of_both_ways_are_named() {
    use crate::model::security_group::{CreateSecurityGroup, PeerRef, RuleSpec};
    use crate::model::traffic::{Direction, Ports, Traffic};
    let world = World::new(Profile::aws());
    let vpc = world.controller.vpcs()[0].id;
    let ssh = Traffic::Tcp(Ports::new(22, 22).unwrap());
    let rule = RuleSpec::new(Direction::Ingress, ssh, PeerRef::Cidr("10.0.1.0/24".parse().unwrap()));
    let create = CreateSecurityGroup {
        name: Some("nodes".into()),
        vpc: vpc.into(),
        group_name: None,
        description: None,
        ingress: vec![rule],
        egress: Some(Vec::new()),
        tags: Default::default(),
    };
    let group = world.controller.execute(create).unwrap();
    let modify = ModifyInterface {
        groups: Some(vec![group.id.into()]),
        ..ModifyInterface::new(ResourceRef::new("c"))
    };
    world.controller.execute(modify).unwrap();
    let explain = |port| {
        let request = ExplainRequest {
            interface: ResourceRef::new("a"),
            frame: FrameSpec::Packet(PacketSpec {
                to: Target::Address("10.0.2.12".parse().unwrap()),
                source: None,
                protocol: Protocol::Tcp,
                source_port: 40_000,
                destination_port: port,
                destination_mac: None,
            }),
            both: true,
        };
        world.controller.explain(request).unwrap()
    };
    let told = |pass: &Pass| {
        pass.steps
            .iter()
            .map(|step| step.description.clone())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let ssh = explain(22);
    let way = told(ssh.frames.last().unwrap());
    let rule = group.rules[0].id;
    let named = format!("inbound rule {rule} of security group 'nodes' ({}) allows it", group.id);
    assert!(way.contains(&named), "{way}");
    assert!(
        way.contains("outbound rule sgr-") && way.contains("of security group 'default'"),
        "{way}"
    );
    assert!(way.contains("outbound entry 100 of network ACL acl-"), "{way}");
    let reply = told(ssh.reply.as_ref().unwrap().frames.last().unwrap());
    assert!(
        reply.contains("tracked connection: tcp between 10.0.2.12:22 and 10.0.1.10:40000"),
        "{reply}"
    );
    assert!(ssh.arrives, "{reply}");
    let web = explain(80);
    assert_eq!(
        web.frames.last().unwrap().verdict.reason,
        Some("security_group_ingress")
    );
    let way = told(web.frames.last().unwrap());
    assert!(way.contains("no inbound rule of security group 'nodes'"), "{way}");
    let fabric_connections = world.controller.explain(ExplainRequest {
        interface: ResourceRef::new("c"),
        frame: FrameSpec::Packet(PacketSpec {
            to: Target::Address("10.0.1.10".parse().unwrap()),
            source: None,
            protocol: Protocol::Tcp,
            source_port: 22,
            destination_port: 40_000,
            destination_mac: None,
        }),
        both: false,
    });
    let way = fabric_connections.unwrap();
    assert_eq!(
        way.frames.last().unwrap().verdict.reason,
        Some("security_group_egress"),
        "an explanation remembers nothing"
    );
}
