//! Tests runs as a CI job uses them: the program serves a socket, and clients come, leave, and fetch the artifacts of a
//! run. It needs root for namespaces.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]
#![allow(clippy::needless_pass_by_value, reason = "a body is written where it is used")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use localvpc::api::Client;
use serde_json::{Value, json};
use tokio::net::UnixStream;

/// Generous: the machine that runs the tests is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    client: Client,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_localvpc"))
            .args(["serve", "--allow-exec", "--socket"])
            .arg(&socket)
            .env("LOCALVPC_RUN_DIRECTORY", folder.path().join("run"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            client: Client::connect(&format!("unix:{}", socket.display()), None).unwrap(),
            socket,
            _folder: folder,
        };
        let began = Instant::now();
        while UnixStream::connect(&server.socket).await.is_err() {
            assert!(began.elapsed() < SOON, "the server does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    async fn begin(&self, body: Value) -> String {
        let run = self.client.post("/v1/runs", &body).await.unwrap();
        run["id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Value {
        self.client
            .get(path)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The report, when the run has ended.
    async fn report(&self, run: &str) -> Value {
        let mut events = self
            .client
            .events(&format!("/v1/runs/{run}/events"), None)
            .await
            .unwrap();
        let follow = async { while events.next().await.unwrap().is_some() {} };
        tokio::time::timeout(SOON, follow).await.unwrap();
        self.get(&format!("/v1/runs/{run}/report.json")).await
    }

    /// Status, media type and body of an answer that is not JSON.
    async fn fetch(&self, path: &str) -> (StatusCode, String, Vec<u8>) {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(header::HOST, "localhost")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status();
        (
            status,
            kind,
            response.into_body().collect().await.unwrap().to_bytes().to_vec(),
        )
    }

    async fn refused(&self, path: &str) -> (StatusCode, Value) {
        let (status, kind, body) = self.fetch(path).await;
        assert_eq!(kind, "application/problem+json", "{path}");
        (status, serde_json::from_slice(&body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scenario(steps: &str) -> String {
    format!(
        "name: test\nparameters: {{ to: {{ default: 10.0.1.11 }}, word: {{ default: none }} }}\ntopology:\n  vpcs: {{ v: {{ \
         cidr_blocks: [10.0.0.0/16] }} }}\n  subnets: {{ s: {{ vpc: v, cidr_block: 10.0.1.0/24 }} }}\n  instances:\n    a: \
         {{ subnet: s, ipv4: [10.0.1.10] }}\n    b: {{ subnet: s, ipv4: [10.0.1.11] }}\n    c: {{ subnet: s, ipv4: \
         [10.0.1.12] }}\nsteps:\n{steps}\n"
    )
}

/// A line for each packet, in tcpdump's format.
fn tcpdump(capture: &[u8], filter: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture).unwrap();
    let output = Command::new("tcpdump")
        .args(["-n", "-e", "-r"])
        .arg(file.path())
        .arg(filter)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("truncated"), "{said}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn holds(capture: &[u8], text: &str) -> bool {
    capture.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn the_captures_of_a_run_are_fetched_as_one_and_one_by_one_and_tcpdump_reads_them() {
    let server = Server::start().await;
    let steps = "
- ping: { from: a, to: 10.0.1.11, count: 2 }
- ping: { from: a, to: 10.0.1.77, count: 1 }
  expect: { exit: nonzero, replies: 0 }
- wait: 1s";
    let run = server.begin(json!({ "text": scenario(steps) })).await;
    let path = |rest: &str| format!("/v1/runs/{run}{rest}");
    for rest in ["/captures", "/captures/a", "/capture", "/logs/a"] {
        let (status, problem) = server.refused(&path(rest)).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::CONFLICT, &json!("IncorrectState")),
            "{rest}"
        );
    }
    let report = server.report(&run).await;
    assert_eq!(report["outcome"], "passed", "{report:#}");

    let listed = server.get(&path("/captures")).await;
    let names: Vec<&Value> = listed["captures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|capture| &capture["instance"])
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    let mut captures = Vec::new();
    for listed in listed["captures"].as_array().unwrap() {
        let rest = format!("/captures/{}", listed["instance"].as_str().unwrap());
        let (status, kind, capture) = server.fetch(&path(&rest)).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/x-pcapng"));
        assert_eq!(listed["octets"], capture.len());
        assert_eq!(listed["frames"], tcpdump(&capture, "").len());
        assert_eq!(listed["complete"], true);
        captures.push(capture);
    }
    let [a, b, c] = captures.as_slice() else { unreachable!() };
    for (instance, requests, replies) in [(a, 2, 2), (b, 2, 2), (c, 0, 0)] {
        assert_eq!(tcpdump(instance, "icmp[icmptype] == icmp-echo").len(), requests);
        assert_eq!(tcpdump(instance, "icmp[icmptype] == icmp-echoreply").len(), replies);
    }
    // The comment has the verdict, and the sender.
    assert!(holds(a, "delivered to b (eni-") && holds(a, "from b (eni-") && holds(a, "answered by the VPC: arp_reply"));
    assert!(holds(b, "delivered to a (eni-") && holds(b, "from a (eni-") && !holds(b, "delivered to b (eni-"));
    assert!(holds(a, "dropped: arp_unknown_address") && !holds(b, "arp_unknown_address"));
    assert!(!holds(c, "delivered to") && !holds(c, "from a (eni-"));

    // The whole capture has each frame once.
    let (_, _, all) = server.fetch(&path("/capture")).await;
    assert_eq!(tcpdump(&all, "icmp").len(), 4);
    assert!(holds(&all, "delivered to b (eni-") && !holds(&all, "from a (eni-"));

    for rest in ["/captures/nobody", "/logs/nobody"] {
        let (status, problem) = server.refused(&path(rest)).await;
        assert_eq!(
            (status, &problem["field"]),
            (StatusCode::NOT_FOUND, &json!("instance")),
            "{rest}"
        );
    }
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn logs_are_fetched_by_instance() {
    let server = Server::start().await;
    let steps = "
- exec: { in: a, background: one, run: 'echo of a; echo wrong >&2; exec sleep 100' }
- exec: { in: b, background: two, run: 'echo of b' }
- wait: 500ms";
    let run = server.begin(json!({ "text": scenario(steps) })).await;
    server.report(&run).await;
    let all = server.get(&format!("/v1/runs/{run}/logs")).await;
    assert_eq!(all["programs"].as_array().unwrap().len(), 2);
    for (instance, expected) in [
        (
            "a",
            json!([{ "name": "one", "instance": "a", "stopped": false, "stdout": "of a\n", "stderr": "wrong\n" }]),
        ),
        (
            "b",
            json!([{ "name": "two", "instance": "b", "exit": 0, "stopped": false, "stdout": "of b\n", "stderr": "" }]),
        ),
        ("c", json!([])),
    ] {
        let mut logs = server.get(&format!("/v1/runs/{run}/logs/{instance}")).await;
        for program in logs["programs"].as_array_mut().unwrap() {
            // Its duration differs between runs.
            program.as_object_mut().unwrap().remove("ran_ms");
        }
        assert_eq!(logs["programs"], expected);
    }
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn a_run_survives_its_clients_and_a_new_one_gets_the_rest() {
    let server = Server::start().await;
    let steps = "- wait: 500ms\n- ping: { from: a, to: 10.0.1.11 }";
    // This client closes its connection without reading the answer.
    {
        let body = json!({ "text": scenario(steps) }).to_string();
        let stream = UnixStream::connect(&server.socket).await.unwrap();
        let request = format!(
            "POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut sent = 0;
        while sent < request.len() {
            stream.writable().await.unwrap();
            sent += stream.try_write(&request.as_bytes()[sent..]).unwrap_or(0);
        }
        // Until the request has been read; a client that closes earlier has no effect.
        stream.readable().await.unwrap();
    }
    let runs = server.get("/v1/runs").await;
    let run = runs["runs"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{run}/events");
    let mut first = server.client.events(&path, None).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(first.next().await.unwrap().unwrap());
    }
    drop(first);
    assert_eq!(seen[2].event, "step_started");
    let mut second = server.client.events(&path, seen[2].id.as_deref()).await.unwrap();
    while let Some(event) = tokio::time::timeout(SOON, second.next()).await.unwrap().unwrap() {
        seen.push(event);
    }
    let kinds: Vec<&str> = seen.iter().map(|event| event.event.as_str()).collect();
    let step = ["step_started", "step_finished"];
    assert_eq!(
        kinds,
        [&["preparing", "ready"][..], &step, &step, &["finished"]].concat()
    );
    let numbers: Vec<_> = seen.iter().filter_map(|event| event.id.as_deref()).collect();
    assert_eq!(
        numbers,
        ["1", "2", "3", "4", "5", "6", "7"],
        "nothing twice, and nothing is missing"
    );
    assert_eq!(server.report(&run).await["outcome"], "passed");
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn a_run_that_is_cancelled_ends_its_programs_and_keeps_its_evidence() {
    let server = Server::start().await;
    let steps = "
- ping: { from: a, to: 10.0.1.11, count: 1 }
- exec: { in: b, run: 'echo begun; exec sleep 4713', timeout: 300s }
- wait: 1s";
    let run = server.begin(json!({ "text": scenario(steps) })).await;
    let path = format!("/v1/runs/{run}");
    let mut events = server.client.events(&format!("{path}/events"), None).await.unwrap();
    loop {
        let event = events.next().await.unwrap().unwrap();
        if event.event == "step_started" && event.data.contains("sleep 4713") {
            break;
        }
    }
    let ending = server.client.delete(&path).await.unwrap();
    assert_eq!(ending["state"], "cancelling");
    let report = server.report(&run).await;
    assert_eq!(report["outcome"], "cancelled");
    let outcomes: Vec<&Value> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["outcome"])
        .collect();
    assert_eq!(outcomes, ["passed", "cancelled", "skipped"]);
    let sleeps = std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        std::fs::read(Path::new(&process.path()).join("cmdline")).is_ok_and(|line| line == b"sleep\x004713\0")
    });
    assert!(!sleeps);
    let (status, _, capture) = server.fetch(&format!("{path}/captures/a")).await;
    assert_eq!((status, tcpdump(&capture, "icmp").len()), (StatusCode::OK, 2));
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn parameters_and_the_seed_reach_the_run_and_runs_side_by_side_do_not_know_of_each_other() {
    let server = Server::start().await;
    let steps = "
- exec: { in: a, run: 'echo {{ parameters.word }}; ip -br link show dev eth0; sleep 1' }
- ping: { from: a, to: '{{ parameters.to }}', count: 1 }";
    let text = scenario(steps);
    // The same addresses in each; 10.0.1.50 is in the third alone.
    let third = text.replace("[10.0.1.12]", "[10.0.1.12, 10.0.1.50]");
    let mut runs = Vec::new();
    for (text, seed, word, to) in [
        (&text, 7, "one", "10.0.1.11"),
        (&text, 7, "two", "10.0.1.50"),
        (&third, 8, "three", "10.0.1.50"),
    ] {
        let parameters = json!({ "word": word, "to": to });
        runs.push(
            server
                .begin(json!({ "text": text, "seed": seed, "parameters": parameters }))
                .await,
        );
    }
    let going_on = server.get("/v1/runs").await;
    let states: Vec<&Value> = going_on["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["state"])
        .collect();
    assert_eq!(states, ["running"; 3]);
    let mut said = Vec::new();
    for (run, seed, word, outcome) in [
        (&runs[0], 7, "one", "passed"),
        (&runs[1], 7, "two", "failed"),
        (&runs[2], 8, "three", "passed"),
    ] {
        let report = server.report(run).await;
        assert_eq!(
            (&report["outcome"], &report["seed"]),
            (&json!(outcome), &json!(seed)),
            "{report:#}"
        );
        assert_eq!(report["parameters"]["word"], word);
        let stdout = report["steps"][0]["stdout"].as_str().unwrap().to_owned();
        let (first, device) = stdout.split_once('\n').unwrap();
        assert_eq!(first, word);
        said.push(device.to_owned());
    }
    assert_eq!(said[0], said[1], "one seed, one MAC address");
    assert_ne!(said[0], said[2]);
}
