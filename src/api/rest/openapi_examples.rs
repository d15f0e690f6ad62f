//! Puts an example of request and answer into each operation of the OpenAPI description.
//!
//! They are what a server answered: `tests/root/examples.rs` sends the requests of `api/examples` and keeps the answers.

use serde_json::{Map, Value};

const KEPT: &str = include_str!("../../../api/examples.json");

/// The requests and answers, by operation.
#[expect(
    clippy::expect_used,
    reason = "the file is part of the program, and a test reads all of it"
)]
pub(super) fn kept() -> Map<String, Value> {
    serde_json::from_str(KEPT).expect("api/examples.json is JSON")
}

/// Adds an operation's example to its parameters, its request and its answer.
pub(super) fn add_to(operation: &mut Map<String, Value>, kept: &Map<String, Value>) {
    let Some(example) = operation
        .get("operationId")
        .and_then(Value::as_str)
        .and_then(|id| kept.get(id))
    else {
        return;
    };
    for parameter in operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let name = parameter["name"].as_str().unwrap_or_default();
        if let Some(value) = example["parameters"].get(name) {
            // Digits may stand for a text.
            let is_text = parameter["schema"]["type"] == "string" && !value.is_string();
            parameter["example"] = if is_text {
                value.to_string().into()
            } else {
                value.clone()
            };
        }
    }
    if let Some(request) = operation.get_mut("requestBody") {
        add_body(request, &example["request"]);
    }
    let response = &example["response"];
    if let Some(answer) = operation
        .get_mut("responses")
        .and_then(|all| all.get_mut(response["status"].to_string()))
    {
        add_body(answer, response);
    }
}

fn add_body(described: &mut Value, example: &Value) {
    if let (Some(kind), Some(body)) = (example["type"].as_str(), example.get("body"))
        && let Some(content) = described.get_mut("content").and_then(|content| content.get_mut(kind))
    {
        content["example"] = body.clone();
    }
}
