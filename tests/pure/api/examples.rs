//! Sends the request examples in `api/examples` to a new server, in order, and checks the documented answers.
//!
//! Those that make hosts are sent by `tests/root/examples.rs`, which keeps the answers in `api/examples.json`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::api::Server;
use crate::support::examples::{files, needs_root, read};

/// Operations whose answers are octets, or this description itself.
const WITHOUT_ANSWER: [&str; 4] = ["capture", "run_capture", "run_instance_capture", "openapi"];

#[tokio::test]
async fn every_example_brings_what_it_says() {
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        if needs_root(&text) {
            continue;
        }
        let server = Server::start().await;
        for example in read(&text) {
            let headers: Vec<&str> = example.headers.iter().map(String::as_str).collect();
            let answer = server
                .ask(&example.method, &example.path, &headers, &example.body)
                .await;
            example.check(answer.status, &answer.body);
        }
        server.stop().await;
    }
}

#[test]
fn every_operation_has_an_example_of_its_request_and_its_answer() {
    let api: Value = serde_json::from_str(&localvpc::api::openapi_json()).unwrap();
    let mut lacking = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            let mut lacks = |what: String| lacking.insert(format!("{id}: {what}"));
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "path" && parameter.get("example").is_none() {
                    lacks(format!("{} in {path}", parameter["name"]));
                }
            }
            let has_example = |content: &Value| {
                let mut media = content.as_object().into_iter().flat_map(|media| media.values());
                media.any(|media| media.get("example").is_some())
            };
            if let Some(body) = operation.get("requestBody")
                && !has_example(&body["content"])
            {
                lacks("request".to_owned());
            }
            let responses = operation["responses"].as_object().unwrap();
            let mut good = responses.iter().filter(|(status, _)| status.starts_with('2'));
            let answered = good.any(|(_, answer)| answer.get("content").is_none() || has_example(&answer["content"]));
            if !answered && !WITHOUT_ANSWER.contains(&id) {
                lacks("answer".to_owned());
            }
        }
    }
    assert!(
        lacking.is_empty(),
        "without an example: {lacking:#?}\nAdd a request to api/examples/05-every-operation.http, and run `cargo xtask examples` as root."
    );
}
