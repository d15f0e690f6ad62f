//! Records verdicts between random edits, and asks for them again after the journal was opened anew.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use localvpc::control::explain::{ExplainRequest, FrameSpec, PacketSpec, Protocol, Target};
use localvpc::control::{ControlError, Controller, ControllerConfig, DevicePlace, Ports};
use localvpc::datapath::FabricWriter;
use localvpc::model::interface::{AddressRequest, CreateInterface, ModifyInterface};
use localvpc::model::mapping::{EditMappings, MappingEdit};
use localvpc::model::route_table::{EditRoute, RouteEdit, TargetRef};
use localvpc::model::security_group::{ModifySecurityGroup, PeerRef, RuleSpec};
use localvpc::model::subnet::CreateSubnet;
use localvpc::model::traffic::{Direction, Traffic};
use localvpc::model::vpc::CreateVpc;
use localvpc::model::{AddressOrPrefix, Command, ResourceRef};
use localvpc::store::{Journal, JournalOptions};
use localvpc::switch::inprocess::InProcessSwitch;
use localvpc::switch::port::memory::cable;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

const INTERFACES: [&str; 4] = ["a", "b", "c", "d"];

/// A Controller of a state, with a switch that is driven step by step.
fn open(state: &std::path::Path) -> Controller {
    let fabric = FabricWriter::new();
    let switch = Arc::new(Mutex::new(InProcessSwitch::new(fabric.fabric())));
    let config = ControllerConfig {
        fabric,
        ports: Some(switch as Arc<dyn Ports>),
        ..ControllerConfig::default()
    };
    let store = Journal::open(state, &JournalOptions::new("us-east-1")).unwrap();
    Controller::open(config, Arc::new(store)).unwrap()
}

/// Two subnets with two attached interfaces each.
fn furnish(controller: &Controller) {
    let vpc = CreateVpc {
        name: Some("v".to_owned()),
        ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
    };
    let vpc = controller.execute(vpc).unwrap().id;
    for (name, block) in [("one", "10.0.1.0/24"), ("two", "10.0.2.0/24")] {
        let subnet = CreateSubnet {
            name: Some(name.to_owned()),
            cidr_block: Some(block.parse().unwrap()),
            ..CreateSubnet::new(vpc)
        };
        controller.execute(subnet).unwrap();
    }
    for (number, name) in (10..).zip(INTERFACES) {
        let subnet = if number < 12 { "one" } else { "two" };
        let block = if number < 12 { 1 } else { 2 };
        let address: AddressOrPrefix = IpAddr::from([10, 0, block, number]).into();
        let spec = CreateInterface {
            name: Some(name.to_owned()),
            addresses: vec![AddressRequest::Exactly(address)],
            ..CreateInterface::new(ResourceRef::new(subnet))
        };
        controller.execute(spec).unwrap();
        let (port, _) = cable(9001);
        controller
            .attach(&ResourceRef::new(name), port.into(), DevicePlace::Outside)
            .unwrap();
    }
}

/// Carries out a command. One that is refused is no edit.
fn attempt<C: Command>(controller: &Controller, command: C)
where
    ControlError: From<C::Error>,
{
    let _ = controller.execute(command);
}

fn edit(controller: &Controller, rng: &mut ChaCha8Rng) {
    let interface = INTERFACES[rng.random_range(0..INTERFACES.len())];
    let address = AddressOrPrefix::from(IpAddr::from([10, 0, rng.random_range(1..3), rng.random_range(10..20)]));
    match rng.random_range(0..6) {
        0 => attempt(
            controller,
            ModifyInterface {
                source_dest_check: Some(rng.random()),
                ..ModifyInterface::new(ResourceRef::new(interface))
            },
        ),
        1 => {
            let interface = ResourceRef::new(interface);
            attempt(
                controller,
                EditMappings(vec![MappingEdit::Unassign { interface, address }]),
            );
        }
        2 => {
            let table = controller.route_tables(None).unwrap()[0].id;
            let destination: IpNet = format!("192.0.2.{}/32", rng.random_range(0..4)).parse().unwrap();
            let target = TargetRef::Interface(ResourceRef::new(interface));
            attempt(
                controller,
                EditRoute {
                    table: table.into(),
                    edit: RouteEdit::Put(destination, target),
                },
            );
        }
        3 => {
            let group = controller.security_groups(None).unwrap()[0].id;
            let peer: IpNet = format!("10.0.{}.0/{}", rng.random_range(0..3), rng.random_range(16..25))
                .parse::<IpNet>()
                .unwrap()
                .trunc();
            let traffic = [Traffic::All, Traffic::Other(6), Traffic::Other(17)][rng.random_range(0..3)];
            let rules: Vec<RuleSpec> = (0..rng.random_range(0..2))
                .map(|_| RuleSpec::new(Direction::Ingress, traffic, PeerRef::Cidr(peer)))
                .collect();
            let mut change = ModifySecurityGroup::new(group);
            change.ingress = Some(rules);
            attempt(controller, change);
        }
        _ => {
            let edit = MappingEdit::Assign {
                interface: ResourceRef::new(interface),
                address,
                move_allowed: true,
            };
            attempt(controller, EditMappings(vec![edit]));
        }
    }
}

/// A question: an interface, and a packet or a frame of it.
#[derive(Debug, Clone)]
struct Question(&'static str, FrameSpec);

fn question(controller: &Controller, rng: &mut ChaCha8Rng) -> Question {
    let from = INTERFACES[rng.random_range(0..INTERFACES.len())];
    let to = match rng.random_range(0..5) {
        0 => IpAddr::from([192, 0, 2, rng.random_range(0..4)]),
        _ => IpAddr::from([10, 0, rng.random_range(1..3), rng.random_range(8..20)]),
    };
    if rng.random_range(0..4) == 0 {
        return Question(from, FrameSpec::Bytes(frame(controller, from, to, rng)));
    }
    let source = rng.random_ratio(1, 4);
    let packet = PacketSpec {
        to: Target::Address(to),
        source: source.then(|| IpAddr::from([10, 0, rng.random_range(1..3), rng.random_range(10..20)])),
        protocol: [Protocol::Icmp, Protocol::Tcp, Protocol::Udp][rng.random_range(0..3)],
        source_port: rng.random_range(1024..2000),
        destination_port: rng.random_range(1..1024),
        destination_mac: None,
    };
    Question(from, FrameSpec::Packet(packet))
}

/// A frame of random octets behind headers that are right more often than not.
fn frame(controller: &Controller, from: &str, to: IpAddr, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let sender = controller.interface(&ResourceRef::new(from)).unwrap();
    let other = INTERFACES[rng.random_range(0..INTERFACES.len())];
    let receiver = controller.interface(&ResourceRef::new(other)).unwrap();
    let mut frame = Vec::new();
    frame.extend(receiver.mac_address.0);
    frame.extend(sender.mac_address.0);
    frame.extend(if rng.random_ratio(1, 8) {
        [0x08, 0x06]
    } else {
        [0x08, 0x00]
    });
    let IpAddr::V4(to) = to else {
        unreachable!("addresses here are IPv4")
    };
    let source = sender
        .ipv4_addresses
        .first()
        .map_or([10, 0, 1, 9], |address| address.octets());
    let header = [
        &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0][..],
        &source,
        &to.octets(),
        &rng.random::<[u8; 4]>(),
        &[0, 8, 0, 0],
    ];
    frame.extend(header.concat());
    if rng.random_ratio(1, 4) {
        let at = rng.random_range(0..frame.len());
        frame[at] = rng.random();
    }
    if rng.random_ratio(1, 10) {
        frame.truncate(rng.random_range(14..frame.len()));
    }
    frame
}

/// Leaves out the numbers of ports, which no store has.
fn without_ports(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.shift_remove("port");
            fields.values_mut().for_each(without_ports);
        }
        Value::Array(items) => items.iter_mut().for_each(without_ports),
        _ => {}
    }
}

fn ask(controller: &Controller, Question(from, frame): &Question) -> Result<Value, String> {
    let explained = controller.explain(ExplainRequest {
        interface: ResourceRef::new(from),
        frame: frame.clone(),
        both: true,
    });
    let mut value = explained
        .map(|explained| serde_json::to_value(explained).unwrap())
        .map_err(|error| error.to_string())?;
    without_ports(&mut value);
    Ok(value)
}

/// What an explanation says at a revision is what it said then, after the journal was closed and opened anew.
#[test]
fn ten_thousand_recorded_verdicts_are_those_that_the_past_gives_again() {
    let folder = tempfile::tempdir().unwrap();
    let controller = open(folder.path());
    furnish(&controller);
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let mut recorded = Vec::new();
    let mut verdicts = std::collections::BTreeMap::<String, usize>::new();
    while recorded.len() < 10_000 {
        edit(&controller, &mut rng);
        for _ in 0..40 {
            let question = question(&controller, &mut rng);
            let verdict = ask(&controller, &question);
            if let Ok(value) = &verdict {
                // A packet that its host cannot send at all has no frame.
                let last = value["frames"].as_array().and_then(|frames| frames.last());
                let verdict = last.map_or(&Value::Null, |frame| &frame["verdict"]);
                let (kind, reason) = (&verdict["action"], &verdict["reason"]);
                *verdicts.entry(format!("{kind} {reason}")).or_default() += 1;
            }
            recorded.push((controller.revision(), question, verdict));
        }
    }
    let revisions: std::collections::BTreeSet<u64> = recorded.iter().map(|(revision, ..)| *revision).collect();
    drop(controller);
    let controller = open(folder.path());
    let mut past = (0, controller.clone());
    let mut different = 0;
    for (revision, question, then) in &recorded {
        if past.0 != *revision {
            past = (*revision, controller.at(*revision).unwrap());
        }
        let now = ask(&past.1, question);
        if now != *then {
            different += 1;
            eprintln!("revision {revision}: {question:?}\nthen {then:?}\nnow  {now:?}");
            assert!(different < 3, "no further ones are shown");
        }
    }
    eprintln!(
        "{} verdicts at {} revisions: {verdicts:#?}",
        recorded.len(),
        revisions.len()
    );
    assert_eq!(different, 0);
    assert!(
        recorded.len() >= 10_000 && revisions.len() >= 100,
        "{}",
        revisions.len()
    );
    assert!(verdicts.len() >= 5, "the frames are all alike: {verdicts:?}");
}
