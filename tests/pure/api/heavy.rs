//! Files that take long to read hold up no other request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::api::Server;

const NETWORK: &str = "name: heavy
topology:
  vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
  subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
  instances: { a: { subnet: s } }
steps:
";

/// The largest body of a request that is no topology.
const LARGEST: usize = 1 << 20;

/// 870 kB of names that are nearly right.
fn near_names() -> String {
    let steps = (0..).map(|number| format!("- ping: {{ from: instance-{number:05}, to: 10.0.1.10 }}\n"));
    let mut text = NETWORK.to_owned();
    for step in steps.take_while({
        let mut octets = 0;
        move |step| {
            octets += step.len();
            octets < 870_000
        }
    }) {
        text.push_str(&step);
    }
    text
}

/// 300 regular expressions, each of them large.
fn patterns() -> String {
    let pattern = "(a|b|c|d){1,200}[^x]{1,50}";
    let step = format!("- exec: {{ in: a, run: x }}\n  expect: {{ stdout: {{ matches: '{pattern}' }} }}\n");
    format!("{NETWORK}{}", step.repeat(300))
}

/// 40 000 mistakes.
fn mistakes() -> String {
    let names: Vec<String> = (0..40_000).map(|number| format!("x{number}")).collect();
    let step = format!("- exec: {{ in: a, run: '{{{{ {} }}}}' }}\n", names.join(" }} {{ "));
    format!("{NETWORK}{step}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_health_check_is_answered_at_once_while_files_take_long() {
    let server = Arc::new(Server::start().await);
    let over = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for (path, text) in [
        ("/v1/scenarios", near_names()),
        ("/v1/scenarios", patterns()),
        ("/v1/scenarios", mistakes()),
        ("/v1/topology/plan", near_names()),
    ] {
        assert!(text.len() < LARGEST, "{path}: {} octets", text.len());
        let (server, over) = (Arc::clone(&server), Arc::clone(&over));
        senders.push(tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) || answers == 0 {
                let asked = Instant::now();
                let headers = ["Content-Type: application/yaml"];
                let answer = server.ask("POST", path, &headers, &text).await;
                // 200: the file of the same name was replaced.
                assert!([200, 201, 422].contains(&answer.status), "{path}: {answer:?}");
                longest = longest.max(asked.elapsed());
                answers += 1;
            }
            longest
        }));
    }
    let mut waits = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(server.ask("GET", "/healthz", &[], "").await.status, 200);
        waits.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    over.store(true, Ordering::Relaxed);
    waits.sort_unstable();
    let (median, most) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "{} answers, half of them within {median:?}, the last within {most:?}",
        waits.len()
    );
    // Two threads read files and use two CPUs: a wait for a CPU is the scheduler's, which a machine under load lengthens.
    assert!(median < Duration::from_millis(10), "{median:?}");
    assert!(most < Duration::from_secs(1), "{most:?}");
    for sender in senders {
        let longest = sender.await.unwrap();
        assert!(
            longest < Duration::from_secs(60),
            "a file takes {longest:?}, its turn included"
        );
    }
    let server = Arc::into_inner(server).unwrap();
    server.stop().await;
}
