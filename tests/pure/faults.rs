//! Tests faults without hosts: in a stepped switch, where the same seed gives the same outcome byte for byte, and over
//! HTTP.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::vpc::{api, begin, end_all, furnish, interface, move_to, request};
use axum::body::Body;
use axum::http::Request;
use etherparse::PacketBuilder;
use localvpc::api::guard::GuardConfig;
use localvpc::api::{AppState, rest};
use localvpc::control::{Controller, ControllerConfig, DevicePlace, OpenedDevice, Ports};
use localvpc::datapath::{DropReason, FabricWriter};
use localvpc::mapping::PortId;
use localvpc::model::InterfaceId;
use localvpc::switch::inprocess::InProcessSwitch;
use localvpc::switch::observe::{Fate, Wanted};
use localvpc::switch::port::memory::{MemoryHost, cable};
use serde_json::{Value, json};
use tower::ServiceExt;

const MS: Duration = Duration::from_millis(1);

/// A VPC over cables in memory, whose time the test controls.
struct Bench {
    controller: Controller,
    switch: Arc<Mutex<InProcessSwitch>>,
    now: Duration,
}

struct Host {
    id: InterfaceId,
    port: PortId,
    card: MemoryHost,
    mac: [u8; 6],
    address: [u8; 4],
}

impl Bench {
    fn new(seed: u64) -> Self {
        let fabric = FabricWriter::new();
        let switch = Arc::new(Mutex::new(InProcessSwitch::new(fabric.fabric())));
        let ports: Arc<dyn Ports> = switch.clone();
        let controller = Controller::new(ControllerConfig {
            seed: Some(seed),
            fabric,
            ports: Some(ports),
            ..ControllerConfig::default()
        });
        controller.drive_faults(Duration::ZERO);
        furnish(&controller);
        Self {
            controller,
            switch,
            now: Duration::ZERO,
        }
    }

    fn host(&self, name: &str, subnet: &str, address: &str) -> Host {
        let id = interface(&self.controller, name, subnet, &[address]);
        let (port, card) = cable(9001);
        let (interface, device) = (id.into(), OpenedDevice::from(port));
        self.controller
            .attach(&interface, device, DevicePlace::Outside)
            .unwrap();
        let made = self.controller.interface(&id.into()).unwrap();
        let address: std::net::Ipv4Addr = address.parse().unwrap();
        Host {
            id,
            port: self.controller.port_of(id).unwrap().port,
            card,
            mac: made.mac_address.0,
            address: address.octets(),
        }
    }

    /// Advances time in steps of a millisecond.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += MS;
            self.controller.drive_faults(self.now);
            self.switch.lock().unwrap().step(self.now);
        }
    }

    fn drops(&self) -> Vec<DropReason> {
        let dropped = self.switch.lock().unwrap().take_dropped();
        dropped.into_iter().map(|dropped| dropped.reason).collect()
    }
}

impl Host {
    /// A datagram to an address of the same subnet, to the MAC of its owner.
    fn frame(&self, to: &Host, address: [u8; 4], number: u16) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(self.mac, to.mac)
            .ipv4(self.address, address, 64)
            .udp(4000, 4000);
        let mut frame = Vec::new();
        builder.write(&mut frame, &number.to_be_bytes()).unwrap();
        frame
    }

    fn send(&self, to: &Host, number: u16) {
        self.card.send(self.frame(to, to.address, number)).unwrap();
    }

    /// All frames received.
    fn received(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.card.receive()).collect()
    }

    /// Number of IPv4 packets received; announcements of a move arrive too.
    fn packets(&self) -> usize {
        self.received()
            .iter()
            .filter(|frame| frame[12..14] == [0x08, 0x00])
            .count()
    }
}

/// Received frames with their times, and dropped frames with their reasons.
type Fates = (Vec<(Duration, Vec<u8>)>, Vec<(DropReason, Vec<u8>)>);

/// All frames that two hosts of a bad network receive in two seconds, with their times, and every drop.
fn fates(seed: u64) -> Fates {
    let mut bench = Bench::new(seed);
    let (a, b) = (
        bench.host("a", "left", "10.0.1.10"),
        bench.host("b", "left", "10.0.1.11"),
    );
    begin(
        &bench.controller,
        json!({"impairment": {
            "at": {"subnets": ["left"]},
            "loss": "10%", "duplicate": "5%", "reorder": "5%", "delay": "10ms", "jitter": "5ms", "rate": 200_000,
        }}),
    );
    let (mut arrived, mut dropped) = (Vec::new(), Vec::new());
    for number in 0..2000_u16 {
        a.send(&b, number);
        if number % 3 == 0 {
            b.send(&a, number);
        }
        bench.run(MS);
        arrived.extend(
            [&a, &b]
                .iter()
                .flat_map(|host| host.received())
                .map(|frame| (bench.now, frame)),
        );
        let drops = bench.switch.lock().unwrap().take_dropped();
        dropped.extend(drops.into_iter().map(|dropped| (dropped.reason, dropped.frame)));
    }
    (arrived, dropped)
}

#[test]
fn one_seed_gives_the_same_fates_byte_for_byte() {
    // Identifiers, and so MACs, depend on the seed: the frames are the same too.
    let (first, again, other) = (fates(7), fates(7), fates(8));
    assert_eq!(first, again);
    let numbers = |fates: &Fates| -> Vec<(Duration, Vec<u8>)> {
        fates.0.iter().map(|(at, frame)| (*at, frame[42..].to_vec())).collect()
    };
    assert_ne!(numbers(&first), numbers(&other), "another seed, other fates");
    for reason in [DropReason::FaultLoss, DropReason::FaultRate] {
        assert!(first.1.iter().any(|(dropped, _)| *dropped == reason), "{reason} occurs");
    }
    assert!(first.0.len() > 1000, "{} frames arrived", first.0.len());
    assert!(first.0.iter().all(|(_, frame)| !frame.is_empty()));
}

#[test]
fn a_late_mapping_reaches_the_data_path_and_the_metadata_at_one_instant() {
    let mut bench = Bench::new(1);
    let (client, old, new) = (
        bench.host("client", "left", "10.0.1.10"),
        bench.host("old", "left", "10.0.1.11"),
        bench.host("new", "left", "10.0.1.12"),
    );
    let service = "10.0.1.99";
    move_to(&bench.controller, service, old.id);
    begin(
        &bench.controller,
        json!({"late_propagation": {"delay": {"fixed": "500ms"}}}),
    );
    let mut events = bench.controller.events(None);
    move_to(&bench.controller, service, new.id);

    let address: std::net::Ipv4Addr = service.parse().unwrap();
    let declared = |host: &Host| bench.controller.interface(&host.id.into()).unwrap();
    assert!(declared(&new).ipv4_addresses.contains(&address), "the API has answered");
    assert!(!declared(&old).ipv4_addresses.contains(&address));
    let holder = |bench: &Bench| {
        let has = |host: &Host| {
            let interface = bench.controller.interface_in_data_path(&host.id.into()).unwrap();
            interface.ipv4_addresses.contains(&address)
        };
        (has(&old), has(&new))
    };
    let reaches = |bench: &mut Bench| {
        // The sender has both MACs; only the present owner may receive the packet.
        for host in [&old, &new] {
            client.card.send(client.frame(host, address.octets(), 1)).unwrap();
        }
        bench.run(MS);
        bench.drops();
        (old.packets() == 1, new.packets() == 1)
    };
    bench.run(400 * MS);
    assert_eq!((holder(&bench), reaches(&mut bench)), ((true, false), (true, false)));
    bench.run(200 * MS);
    assert_eq!((holder(&bench), reaches(&mut bench)), ((false, true), (false, true)));
    let kinds: Vec<_> = std::iter::from_fn(|| events.receiver.try_recv().ok())
        .map(|event| event.kind.name())
        .collect();
    assert_eq!(kinds, ["mappings_changed", "mappings_propagated"]);
}

#[test]
fn edits_of_one_address_arrive_in_the_order_in_which_they_were_made() {
    let mut bench = Bench::new(3);
    let (a, b) = (
        bench.host("a", "left", "10.0.1.10"),
        bench.host("b", "left", "10.0.1.11"),
    );
    let address = "10.0.1.99".parse().unwrap();
    let owner = |bench: &Bench| {
        let has = |host: &Host| {
            let seen = bench.controller.interface_in_data_path(&host.id.into()).unwrap();
            seen.ipv4_addresses.contains(&address)
        };
        [&a, &b].into_iter().find(|host| has(host)).map(|host| host.id)
    };
    begin(&bench.controller, json!({"late_propagation": {"delay": "aws"}}));
    for n in 0..10 {
        move_to(&bench.controller, "10.0.1.99", if n % 2 == 0 { a.id } else { b.id });
    }
    // Without the fault a new edit would arrive at once; it still comes after those that are pending.
    end_all(&bench.controller);
    move_to(&bench.controller, "10.0.1.99", a.id);
    bench.run(400 * MS);
    assert_eq!(owner(&bench), None, "none has arrived within half a second");
    bench.run(3000 * MS);
    assert_eq!(owner(&bench), Some(a.id), "the last one has the last word");
}

#[test]
fn an_edit_that_is_accepted_and_lost_never_reaches_the_data_path() {
    let mut bench = Bench::new(1);
    let (a, b) = (
        bench.host("a", "left", "10.0.1.10"),
        bench.host("b", "left", "10.0.1.11"),
    );
    move_to(&bench.controller, "10.0.1.99", a.id);
    begin(&bench.controller, json!({"late_propagation": {"delay": "never"}}));
    move_to(&bench.controller, "10.0.1.99", b.id);
    end_all(&bench.controller);
    bench.run(5000 * MS);
    let has = |host: &Host| {
        let seen = bench.controller.interface_in_data_path(&host.id.into()).unwrap();
        seen.ipv4_addresses.contains(&"10.0.1.99".parse().unwrap())
    };
    assert_eq!((has(&a), has(&b)), (true, false));
    // The next edit takes effect again.
    move_to(&bench.controller, "10.0.1.99", a.id);
    move_to(&bench.controller, "10.0.1.99", b.id);
    assert_eq!((has(&a), has(&b)), (false, true));
}

#[test]
fn who_has_a_stale_mapping_still_reaches_the_old_owner_and_others_do_not() {
    let mut bench = Bench::new(1);
    let hosts = ["behind", "client", "old", "new"];
    let hosts = hosts
        .iter()
        .zip(10..)
        .map(|(name, n)| bench.host(name, "left", &format!("10.0.1.{n}")));
    let [behind, client, old, new]: [Host; 4] = hosts.collect::<Vec<_>>().try_into().ok().unwrap();
    move_to(&bench.controller, "10.0.1.99", old.id);
    let fault = begin(
        &bench.controller,
        json!({"stale_mapping": {"seen_by": {"interfaces": ["behind"]}}, "duration": "100ms"}),
    );
    move_to(&bench.controller, "10.0.1.99", new.id);
    assert_eq!(behind.received().len(), 0, "who is behind hears no announcement");
    assert_eq!(client.received().len(), 1, "who is not does");
    let arp = |who: &Host, bench: &mut Bench| {
        let mut frame = vec![0xff; 6];
        frame.extend(who.mac);
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(who.mac);
        frame.extend(who.address);
        frame.extend([0, 0, 0, 0, 0, 0, 10, 0, 1, 99]);
        who.card.send(frame).unwrap();
        bench.run(MS);
        let answer = who.received().pop().unwrap();
        <[u8; 6]>::try_from(&answer[22..28]).unwrap()
    };
    assert_eq!(arp(&behind, &mut bench), old.mac);
    assert_eq!(arp(&client, &mut bench), new.mac);
    behind.card.send(behind.frame(&old, [10, 0, 1, 99], 1)).unwrap();
    client.card.send(client.frame(&old, [10, 0, 1, 99], 2)).unwrap();
    bench.run(MS);
    assert_eq!(old.packets(), 1, "from who is behind");
    assert_eq!(bench.drops(), [DropReason::DestinationCheck], "from who is not");
    assert_eq!(bench.controller.faults(), [fault]);
    bench.run(100 * MS);
    assert_eq!(bench.controller.faults(), [], "its time is over");
    assert_eq!(arp(&behind, &mut bench), new.mac);
}

#[test]
fn a_zone_is_cut_off_with_all_that_is_made_in_it_later() {
    let mut bench = Bench::new(1);
    let (a, b) = (
        bench.host("a", "left", "10.0.1.10"),
        bench.host("b", "left", "10.0.1.11"),
    );
    begin(&bench.controller, json!({"zone_cut": {"availability_zone": "a"}}));
    let router = {
        let subnet = localvpc::model::ResourceRef::new("right");
        bench.controller.subnet(&subnet).unwrap().router_mac.0
    };
    let far = bench.host("far", "right", "10.0.2.10");
    let mut frame = far.frame(&a, a.address, 1);
    frame[..6].copy_from_slice(&router);
    far.card.send(frame).unwrap();
    a.send(&b, 2);
    bench.run(MS);
    assert_eq!(bench.drops(), [DropReason::FaultZoneCut]);
    assert_eq!(b.received().len(), 1, "within the zone everything works");
    let counters = bench.switch.lock().unwrap().counters(far.port).unwrap();
    assert_eq!(counters.dropped(DropReason::FaultZoneCut), 1);
}

#[test]
fn an_observer_of_the_switch_in_memory_sees_delays_and_drops() {
    let mut bench = Bench::new(1);
    let (a, b) = (
        bench.host("a", "left", "10.0.1.10"),
        bench.host("b", "left", "10.0.1.11"),
    );
    let mut seen = bench.switch.lock().unwrap().observe(Wanted::default());
    begin(
        &bench.controller,
        json!({"impairment": {"at": {"interfaces": ["a"]}, "direction": "egress", "delay": "7ms"}}),
    );
    a.send(&b, 1);
    bench.run(MS);
    let fate = seen.try_next().unwrap().fate;
    assert!(
        matches!(fate, Fate::Delivered { delay, .. } if delay == 7 * MS),
        "{fate:?}"
    );
    assert_eq!(b.received().len(), 0);
    bench.run(7 * MS);
    assert_eq!(b.received().len(), 1);
    begin(&bench.controller, json!({"link_down": {"interfaces": ["b"]}}));
    a.send(&b, 2);
    bench.run(MS);
    assert_eq!(seen.try_next().unwrap().fate, Fate::Dropped(DropReason::FaultLinkDown));
}

#[test]
fn a_router_that_is_withheld_and_a_dhcp_server_that_is_silent_say_nothing() {
    let mut bench = Bench::new(1);
    let (a, b) = (
        bench.host("a", "left", "10.0.1.10"),
        bench.host("b", "left", "10.0.1.11"),
    );
    let solicit = |host: &Host| {
        let link_local = localvpc::wire::MacAddr(host.mac).link_local();
        let all_routers: std::net::Ipv6Addr = "ff02::2".parse().unwrap();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(host.mac, [0x33, 0x33, 0, 0, 0, 2])
            .ipv6(link_local.octets(), all_routers.octets(), 255)
            .icmpv6_raw(133, 0, [0; 4])
            .write(&mut frame, &[])
            .unwrap();
        host.card.send(frame).unwrap();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(host.mac, [0xff; 6])
            .ipv4([0; 4], [255; 4], 64)
            .udp(68, 67)
            .write(&mut frame, &[0; 300])
            .unwrap();
        host.card.send(frame).unwrap();
    };
    begin(
        &bench.controller,
        json!({"router_advertisements_withheld": {"interfaces": ["a"]}, "duration": "20s"}),
    );
    begin(
        &bench.controller,
        json!({"dhcp_silent": {"interfaces": ["a"]}, "duration": "20s"}),
    );
    solicit(&a);
    bench.run(15_000 * MS);
    assert_eq!(
        bench.drops(),
        [DropReason::FaultRouterAdvertisement, DropReason::FaultDhcp]
    );
    assert_eq!(a.received().len(), 0, "neither asked nor unasked");
    assert!(!b.received().is_empty(), "its neighbor hears the router");
    bench.run(6_000 * MS);
    solicit(&a);
    bench.run(MS);
    assert!(!a.received().is_empty(), "the fault is over");
}

async fn ask(controller: &Controller, method: &str, path: &str, body: Value) -> (u16, Value) {
    let response = api(controller).oneshot(request(method, path, body)).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn faults_are_begun_listed_and_ended_over_http_with_events() {
    let bench = Bench::new(1);
    bench.host("web", "left", "10.0.1.10");
    let controller = &bench.controller;
    let mut events = controller.events(None);
    let fault = json!({"link_down": {"interfaces": ["web"]}, "duration": "10s", "description": "unplugged"});
    let (status, begun) = ask(controller, "POST", "/v1/faults", fault.clone()).await;
    assert_eq!(status, 201, "{begun}");
    assert_eq!(begun["link_down"], fault["link_down"]);
    let (_, list) = ask(controller, "GET", "/v1/faults", Value::Null).await;
    assert_eq!(list["faults"], json!([begun]));
    let path = format!("/v1/faults/{}", begun["id"].as_str().unwrap());
    assert_eq!(ask(controller, "GET", &path, Value::Null).await, (200, begun.clone()));
    assert_eq!(ask(controller, "DELETE", &path, Value::Null).await.0, 200);
    let (status, problem) = ask(controller, "DELETE", &path, Value::Null).await;
    assert_eq!((status, &problem["code"]), (404, &json!("InvalidFaultID.NotFound")));
    let mut told = Vec::new();
    while let Ok(event) = events.receiver.try_recv() {
        told.push(serde_json::to_value(&*event).unwrap());
    }
    assert_eq!(told[0]["type"], "fault_began");
    assert_eq!(told[0]["link_down"], fault["link_down"], "written as it was given");
    assert_eq!(told[0]["description"], "unplugged");
    assert_eq!(told[1]["type"], "fault_ended");
    assert_eq!(told[1]["reason"], "cancelled");

    let cases = [
        (json!({"link_down": {}}), "link_down"),
        (json!({"link_down": {"interfaces": ["nobody"]}}), "interface"),
        (json!({"zone_cut": {"availability_zone": "z"}}), "availability_zone"),
        (json!({"impairment": {"at": {"all": true}}}), "impairment"),
        (json!({"api": {}}), "api"),
        (json!({"meteor": {}}), "meteor"),
        (json!({"link_down": {"interfaces": 7}}), "link_down.interfaces"),
        (json!({"link_down": {"interfaces": ["web"]}, "until": "10s"}), "until"),
    ];
    for (body, field) in cases {
        let (status, problem) = ask(controller, "POST", "/v1/faults", body.clone()).await;
        assert_eq!(status, 422, "{body}: {problem}");
        assert!(
            problem["field"].as_str().is_some_and(|f| f.starts_with(field)),
            "{body}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_throttled_api_says_so_and_can_still_be_healed() {
    let bench = Bench::new(1);
    let controller = &bench.controller;
    let throttle = json!({"api": {"throttle": {"rate": 0, "burst": 2}}});
    assert_eq!(ask(controller, "POST", "/v1/faults", throttle).await.0, 201);
    for expected in [200, 200, 503, 503] {
        let (status, problem) = ask(controller, "GET", "/v1/vpcs", Value::Null).await;
        assert_eq!(status, expected);
        if status == 503 {
            assert_eq!(problem["code"], "RequestLimitExceeded");
        }
    }
    assert_eq!(ask(controller, "DELETE", "/v1/faults", Value::Null).await.0, 200);
    assert_eq!(ask(controller, "GET", "/v1/vpcs", Value::Null).await.0, 200);

    // An error that hides that the request was carried out.
    let error = json!({"api": {"actions": ["DELETE /v1/*"],
        "error": {"status": 500, "code": "InternalError", "carried_out": true}}});
    assert_eq!(ask(controller, "POST", "/v1/faults", error).await.0, 201);
    assert_eq!(ask(controller, "DELETE", "/v1/subnets/right", Value::Null).await.0, 500);
    assert_eq!(ask(controller, "GET", "/v1/subnets/right", Value::Null).await.0, 404);
}

#[tokio::test]
async fn an_api_that_is_eventually_consistent_shows_an_edit_late_in_json_and_in_xml() {
    let bench = Bench::new(1);
    let controller = &bench.controller;
    let describe = async || {
        let router = rest::router(AppState::new(controller.clone(), GuardConfig::default()));
        let request = Request::post("/").header("host", "localhost");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let body = "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=tag:Name&Filter.1.Value.1=late";
        let answer = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap().contains("<vpcId>")
    };
    let get = async || ask(controller, "GET", "/v1/vpcs?name=late", Value::Null).await.1["vpcs"][0].is_object();
    let stale = json!({"api": {"stale": "1s"}});
    assert_eq!(ask(controller, "POST", "/v1/faults", stale).await.0, 201);
    let vpc = json!({"name": "late", "cidr_blocks": ["10.9.0.0/16"]});
    assert_eq!(ask(controller, "POST", "/v1/vpcs", vpc.clone()).await.0, 201);
    assert_eq!((get().await, describe().await), (false, false), "not yet");
    // An edit is held to what is so, not to what is seen.
    assert_eq!(ask(controller, "POST", "/v1/vpcs", vpc).await.0, 409);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!((get().await, describe().await), (true, true));

    // The stale one is gone for who asks for an action that the fault does not name.
    assert_eq!(ask(controller, "DELETE", "/v1/faults", Value::Null).await.0, 200);
    let only = json!({"api": {"stale": "1h", "actions": ["DescribeVpcs"]}});
    assert_eq!(ask(controller, "POST", "/v1/faults", only).await.0, 201);
    assert_eq!((get().await, describe().await), (true, false));
}

#[tokio::test]
async fn an_interface_sends_and_receives_no_more_than_it_is_allowed_and_ec2_s_counters_say_what_that_cost() {
    let mut bench = Bench::new(1);
    let (a, b) = (
        bench.host("a", "left", "10.0.1.10"),
        bench.host("b", "left", "10.0.1.11"),
    );
    let controller = bench.controller.clone();
    let set = async |interface: &str, allowances: Value| {
        let path = format!("/v1/interfaces/{interface}");
        let (status, shown) = ask(&controller, "PATCH", &path, json!({"allowances": allowances})).await;
        assert_eq!(status, 200, "{shown}");
        shown
    };
    /// Sends a frame each millisecond for a second. Returns how many arrive.
    fn second(bench: &mut Bench, from: &Host, to: &Host) -> usize {
        (0..1000)
            .map(|number| {
                from.send(to, number);
                bench.run(MS);
                to.packets()
            })
            .sum()
    }
    assert_eq!(
        second(&mut bench, &a, &b),
        1000,
        "there is no limit unless one is given"
    );

    let shown = set("a", json!({"packets_per_second": 100, "burst": "100ms"})).await;
    assert_eq!(
        shown["allowances"],
        json!({"packets_per_second": 100, "burst": "100ms"})
    );
    let arrived = second(&mut bench, &a, &b);
    assert!((105..=115).contains(&arrived), "{arrived} of 1000");
    let drops = bench.drops();
    assert!(
        drops.iter().all(|reason| *reason == DropReason::PacketRate),
        "{drops:?}"
    );
    let (_, shown) = ask(&controller, "GET", "/v1/interfaces/a", Value::Null).await;
    assert_eq!(
        shown["allowances_exceeded"]["pps_allowance_exceeded"],
        1000 - arrived,
        "{shown}"
    );

    // A frame has 44 octets.
    set("a", json!({"octets_out_per_second": 4400, "burst": "10ms"})).await;
    let arrived = second(&mut bench, &a, &b);
    assert!((95..=105).contains(&arrived), "{arrived} of 1000");
    assert!(bench.drops().contains(&DropReason::BandwidthOut));
    assert_eq!(second(&mut bench, &b, &a), 1000, "what it receives is not limited");
    set("a", Value::Null).await;
    set("b", json!({"octets_in_per_second": 4400, "burst": "10ms"})).await;
    let arrived = second(&mut bench, &a, &b);
    assert!((95..=105).contains(&arrived), "{arrived} of 1000");
    assert!(bench.drops().contains(&DropReason::BandwidthIn));
    let question = json!({"from": "a", "to": "10.0.1.11"});
    let (_, explained) = ask(&controller, "POST", "/v1/explain", question).await;
    assert!(explained.to_string().contains("4400 octets/s in"), "{explained}");
    set("b", Value::Null).await;
    assert_eq!(second(&mut bench, &a, &b), 1000, "nothing stands in the way any more");

    for wrong in [
        json!({}),
        json!({"packets_per_second": 0}),
        json!({"packets": 1}),
        json!({"burst": "2h"}),
    ] {
        let (status, problem) = ask(&controller, "PATCH", "/v1/interfaces/a", json!({"allowances": wrong})).await;
        assert_eq!(status, 422, "{wrong}: {problem}");
        assert!(
            problem["field"].as_str().unwrap().starts_with("allowances"),
            "{problem}"
        );
    }
}
