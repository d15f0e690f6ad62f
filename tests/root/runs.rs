//! Tests scenarios over HTTP: stored, played, followed, cancelled. It needs root for namespaces.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use localvpc::api::guard::{GuardConfig, Permissions, Transport};
use localvpc::api::{AppState, rest};
use localvpc::control::{Controller, ControllerConfig};
use localvpc::scenario::play::StageOptions;
use localvpc::scenario::runs::Runs;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A run of a few pings takes a second; the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(60);

struct Server {
    router: Router,
    transport: Transport,
    runs: Arc<Runs>,
}

fn server(exec: bool, transport: Transport) -> Server {
    let guard = GuardConfig {
        permissions: Permissions {
            exec,
            ..Permissions::default()
        },
        ..GuardConfig::default()
    };
    let runs = Arc::new(Runs::new(StageOptions {
        init_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_localvpc"))),
        api: Some(localvpc::api::inside::serve_hosts),
        ..StageOptions::default()
    }));
    let state = AppState::new(Controller::new(ControllerConfig::default()), guard).with_runs(Arc::clone(&runs));
    Server {
        router: rest::router(state),
        transport,
        runs,
    }
}

impl Server {
    async fn send(&self, method: Method, path: &str, kind: &str, body: String) -> (StatusCode, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if !body.is_empty() {
            request = request.header("content-type", kind);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(self.transport);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (
            status,
            response.into_body().collect().await.unwrap().to_bytes().to_vec(),
        )
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, bytes) = self.send(method, path, "application/json", body).await;
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn store(&self, text: &str) -> (StatusCode, Value) {
        let (status, bytes) = self
            .send(Method::POST, "/v1/scenarios", "application/yaml", text.to_owned())
            .await;
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn start(&self, body: Value) -> String {
        let (status, run) = self.call(Method::POST, "/v1/runs", body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{run}");
        run["id"].as_str().unwrap().to_owned()
    }

    async fn finished(&self, run: &str) -> Value {
        let began = Instant::now();
        loop {
            let (_, view) = self.call(Method::GET, &format!("/v1/runs/{run}"), Value::Null).await;
            if view["state"] == "finished" {
                return view;
            }
            assert!(began.elapsed() < SOON, "{view}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn scenario(name: &str, steps: &str) -> String {
    format!(
        "name: {name}\nparameters: {{ to: {{ default: 10.0.1.11 }} }}\ntopology:\n  vpcs: {{ v: {{ cidr_blocks: \
         [10.0.0.0/16] }} }}\n  subnets: {{ s: {{ vpc: v, cidr_block: 10.0.1.0/24 }} }}\n  instances:\n    a: {{ subnet: \
         s, ipv4: [10.0.1.10] }}\n    b: {{ subnet: s, ipv4: [10.0.1.11] }}\nsteps:\n{steps}\n"
    )
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn a_scenario_is_stored_played_and_reported() {
    let server = server(false, Transport::Tcp);
    let text = scenario(
        "pings",
        "- say: b answers\n  ping: { from: a, to: '{{ parameters.to }}' }",
    );
    let (status, stored) = server.store(&text).await;
    assert_eq!((status, &stored["name"]), (StatusCode::CREATED, &json!("pings")));
    assert_eq!((&stored["steps"], &stored["runs_commands"]), (&json!(1), &json!(false)));
    assert_eq!(server.store(&text).await.0, StatusCode::OK);
    let (_, shown) = server.call(Method::GET, "/v1/scenarios/pings", Value::Null).await;
    assert_eq!(shown["text"], text);

    let run = server.start(json!({ "scenario": "pings", "seed": 7 })).await;
    let view = server.finished(&run).await;
    assert_eq!(
        (&view["outcome"], &view["seed"]),
        (&json!("passed"), &json!(7)),
        "{view:#}"
    );
    assert_eq!(view["report"]["steps"][0]["say"], "b answers");
    assert!(
        view["report"]["steps"][0]["stdout"]
            .as_str()
            .unwrap()
            .contains("3 received")
    );

    let run = server
        .start(json!({ "scenario": "pings", "parameters": { "to": "10.0.1.77" } }))
        .await;
    let view = server.finished(&run).await;
    assert_eq!(view["outcome"], "failed");
    assert!(view["report"]["steps"][0]["evidence"]["ports"]["a"]["drops"]["arp_unknown_address"].as_u64() > Some(0));

    let (_, list) = server.call(Method::GET, "/v1/runs", Value::Null).await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 2);
    let (status, _) = server
        .call(Method::DELETE, &format!("/v1/runs/{run}"), Value::Null)
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = server.call(Method::GET, &format!("/v1/runs/{run}"), Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = server.call(Method::DELETE, "/v1/scenarios/pings", Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_wrong_file_is_answered_with_its_mistakes_by_line_and_column() {
    let server = server(false, Transport::Tcp);
    let text = scenario("wrong", "- ping: { from: c, to: 10.0.1.11 }\n- pingg: {}");
    let (status, problem) = server.store(&text.replace("- pingg: {}", "- stop: x")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["code"], "InvalidScenario");
    let mistakes = problem["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 2);
    assert_eq!((&mistakes[0]["line"], &mistakes[0]["column"]), (&json!(10), &json!(17)));
    assert_eq!(mistakes[0]["message"], "no instance is called `c`");

    let (status, problem) = server.call(Method::POST, "/v1/runs", json!({ "text": text })).await;
    assert_eq!(
        (status, &problem["mistakes"][0]["help"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("did you mean `ping`?"))
    );
    for (body, field) in [
        (json!({}), "scenario"),
        (json!({ "scenario": "nowhere" }), "scenario"),
        (json!({ "scenario": "x", "text": "y" }), "text"),
        (json!({ "scenario": "x", "sed": 1 }), "sed"),
        (
            json!({ "text": scenario("p", "- wait: 1s"), "parameters": { "too": "x" } }),
            "parameters",
        ),
    ] {
        let (status, problem) = server.call(Method::POST, "/v1/runs", body).await;
        assert_eq!(
            (status, &problem["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)),
            "{problem}"
        );
    }
    let (status, _) = server
        .send(Method::POST, "/v1/scenarios", "text/plain", scenario("x", "- wait: 1s"))
        .await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn commands_in_a_scenario_take_a_server_that_allows_them_and_a_caller_who_is_known() {
    let text = scenario("commands", "- parallel:\n    - exec: { in: a, run: 'true' }");
    for (exec, transport, allowed) in [
        (false, Transport::Unix, false),
        (true, Transport::Tcp, false),
        (true, Transport::Unix, true),
    ] {
        let server = server(exec, transport);
        let (status, body) = server.call(Method::POST, "/v1/runs", json!({ "text": text })).await;
        let expected = if allowed {
            StatusCode::ACCEPTED
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(status, expected, "{body}");
        if allowed {
            assert_eq!(server.finished(body["id"].as_str().unwrap()).await["outcome"], "passed");
        }
    }
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn a_run_is_followed_from_its_beginning_to_its_end() {
    let server = server(false, Transport::Tcp);
    let run = server
        .start(json!({ "text": scenario("follow", "- wait: 300ms\n- ping: { from: a, to: 10.0.1.11 }") }))
        .await;
    let (status, bytes) = server
        .send(Method::GET, &format!("/v1/runs/{run}/events"), "", String::new())
        .await;
    assert_eq!(status, StatusCode::OK);
    let text = String::from_utf8(bytes).unwrap();
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let step = ["step_started", "step_finished"];
    assert_eq!(
        kinds,
        [&["preparing", "ready"][..], &step, &step, &["finished"]].concat()
    );
    let numbers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(server.finished(&run).await["outcome"], "passed");
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn a_cancelled_run_ends_and_keeps_its_report() {
    let server = server(false, Transport::Tcp);
    let run = server
        .start(json!({ "text": scenario("long", "- wait: 300s\n- wait: 1s") }))
        .await;
    let (status, view) = server
        .call(Method::DELETE, &format!("/v1/runs/{run}"), Value::Null)
        .await;
    assert_eq!((status, &view["state"]), (StatusCode::ACCEPTED, &json!("cancelling")));
    let view = server.finished(&run).await;
    assert_eq!(view["outcome"], "cancelled");
    assert_eq!(view["report"]["steps"][1]["outcome"], "skipped");
}

#[tokio::test]
#[ignore = "needs root: make test"]
async fn a_server_that_stops_ends_its_runs() {
    let server = server(false, Transport::Tcp);
    let run = server.start(json!({ "text": scenario("long", "- wait: 300s") })).await;
    let runs = Arc::clone(&server.runs);
    let began = Instant::now();
    tokio::task::spawn_blocking(move || runs.end_all()).await.unwrap();
    assert!(began.elapsed() < SOON);
    assert_eq!(server.finished(&run).await["outcome"], "cancelled");
}
