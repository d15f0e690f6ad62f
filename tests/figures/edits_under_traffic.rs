//! Edits thousands of mappings a second while other hosts exchange packets, and checks that none of these is lost. It
//! uses real hosts and `ping`, so it needs root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it measured"
)]

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use localvpc::api::guard::{GuardConfig, Permissions};
use localvpc::api::server::{Bound, ServerConfig};
use localvpc::api::{AppState, Client, rest};
use localvpc::lab::CommandSpec;
use localvpc::model::ResourceRef;
use localvpc::runtime::{HostSpec, Runtime, RuntimeConfig};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_localvpc");

/// Two hosts `a` and `b` in one subnet, and a server of the API. Addresses move between the interfaces `x` and `y`,
/// which are not attached.
struct World {
    runtime: Arc<Runtime>,
    client: Client,
    tokio: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let runtime = Runtime::start(RuntimeConfig {
            init_program: Some(BINARY.into()),
            ..RuntimeConfig::default()
        });
        let runtime = Arc::new(runtime.unwrap());
        let guard = GuardConfig {
            token: None,
            hosts: Vec::new(),
            permissions: Permissions::default(),
            ..GuardConfig::default()
        };
        let state = AppState::of_runtime(Arc::clone(&runtime), guard);
        let client = tokio.block_on(async {
            let config = ServerConfig {
                listen: vec!["127.0.0.1:0".parse().unwrap()],
                unix: None,
                ..ServerConfig::default()
            };
            let bound = Bound::bind(&config, &state).await.unwrap();
            let address = bound.addresses()[0].to_string();
            // It ends with its runtime.
            tokio::spawn(bound.serve(rest::router(state.clone()), state, std::future::pending()));
            let client = Client::connect(&address, None).unwrap();
            let vpc = json!({"name": "v", "cidr_blocks": ["10.0.0.0/16"], "ipv6_cidr_blocks": ["2001:db8:1200::/56"]});
            client.post("/v1/vpcs", &vpc).await.unwrap();
            let subnet = json!({
                "name": "s", "vpc": "v", "cidr_block": "10.0.0.0/16", "ipv6_cidr_block": "2001:db8:1200:1::/64",
            });
            client.post("/v1/subnets", &subnet).await.unwrap();
            for (name, address) in [("a", 10), ("b", 11), ("x", 12), ("y", 13)] {
                let body = json!({"name": name, "subnet": "s", "ipv4_addresses": [format!("10.0.0.{address}")]});
                client.post("/v1/interfaces", &body).await.unwrap();
            }
            client
        });
        let hosts = ["a", "b"].map(|name| HostSpec {
            dad: false,
            ..HostSpec::new(name, ResourceRef::new(name))
        });
        runtime.create_hosts(&hosts).unwrap();
        Self { runtime, client, tokio }
    }

    /// `count` moves from `x` to `y` or back, of addresses from number `first` on.
    fn moves(first: u32, count: u32, to: &str) -> Value {
        let address = |number: u32| {
            let host = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x1_0000;
            Ipv6Addr::from_bits((0x2001_0db8_1200_0001_u128 << 64) | u128::from(host))
        };
        let edit = |number| json!({"op": "assign", "address": address(number), "interface": to, "move": true});
        json!({ "edits": (first..first + count).map(edit).collect::<Vec<_>>() })
    }

    /// Pings from `a` to `b` 100 times a second, `count` times, while `edit` runs; returns the number of lost packets.
    fn ping(&self, count: u32, edit: impl Future<Output = ()>) -> u32 {
        let a = self.runtime.lab().get("a").unwrap();
        let line = format!("ping -i 0.01 -W 1 -q -c {count} 10.0.0.11");
        // The first one also resolves the address.
        assert!(
            a.run(&CommandSpec::shell("ping -c 1 -W 5 10.0.0.11"))
                .unwrap()
                .end
                .success()
        );
        let ping = a
            .start(&CommandSpec::shell(&line).timeout(Duration::from_secs(120)))
            .unwrap();
        self.tokio.block_on(edit);
        let said = ping.wait().stdout.text();
        let numbers: Vec<u32> = said
            .lines()
            .find(|line| line.contains("packets transmitted"))
            .unwrap()
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        assert_eq!(numbers[0], count, "{said}");
        numbers[0] - numbers[1]
    }
}

#[test]
#[ignore = "needs root: make test"]
fn no_ping_of_others_is_lost_while_ten_thousand_mappings_a_second_move() {
    let world = World::new();
    let lists = [World::moves(0, 100, "x"), World::moves(0, 100, "y")];
    let mut edited = 0;
    let mut took = Duration::ZERO;
    let lost = world.ping(300, async {
        let (start, mut tick) = (Instant::now(), tokio::time::interval(Duration::from_millis(10)));
        while start.elapsed() < Duration::from_secs(3) {
            tick.tick().await;
            world
                .client
                .post("/v1/mappings/bulk", &lists[edited / 100 % 2])
                .await
                .unwrap();
            edited += 100;
        }
        took = start.elapsed();
    });
    eprintln!("{edited} edits in {took:.2?} during 300 pings: {lost} lost");
    assert_eq!(lost, 0);
    // A machine that is busy, in a build with little optimisation.
    assert!(edited >= 3_000, "only {edited} edits in {took:?}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_long_list_is_applied_in_one_piece_and_no_traffic_is_lost() {
    let world = World::new();
    // A million where it is a measurement: in a build without optimization creating the list takes longer than the
    // edits.
    let count = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    // The second list moves what the first assigned to `x`, and each move is announced to both hosts.
    for (owner, counted) in [("x", "assigned"), ("y", "moved")] {
        let bytes = serde_json::to_vec(&World::moves(0, count, owner)).unwrap();
        let megabytes = bytes.len() >> 20;
        let mut took = Duration::ZERO;
        let lost = world.ping(500, async {
            let start = Instant::now();
            let answer = world
                .client
                .call(hyper::Method::POST, "/v1/mappings/bulk", Some(bytes.into()))
                .await;
            took = start.elapsed();
            assert_eq!(answer.unwrap()[counted], count);
        });
        eprintln!("a list of {count} edits, {megabytes} MB: {counted} in {took:.2?} during 500 pings: {lost} lost");
        assert_eq!(lost, 0);
        assert!(took < Duration::from_secs(60), "{took:?}");
    }
}
