//! Sends the examples that make hosts to a server, and compares its answers with those kept in `api/examples.json`.
//!
//! The OpenAPI description takes them from there. `cargo xtask examples` writes the file anew. Identifiers, times and
//! counts differ from run to run, so an answer is compared by its form: the names and types in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::support::cli::ApartServer;
use crate::support::examples::{Example, files, needs_root, read};
use crate::support::tools::needs;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api/examples.json");
const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api/openapi.json");
const ADDRESS: &str = "127.0.0.1:8460";

/// A text in an answer is kept up to so many lines.
const LINES: usize = 20;

/// A run of one ping takes a second; the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(60);

/// A server in a network namespace of its own.
struct Server(ApartServer);

impl Server {
    fn start() -> Self {
        Self(ApartServer::start(&[
            "--listen",
            ADDRESS,
            "--ec2",
            "off",
            "--seed",
            "1",
            "--allow-exec",
        ]))
    }

    /// Sends a request by curl, and returns the answer's status, type and body.
    fn ask(&self, example: &Example, token: &str) -> (u16, String, Vec<u8>) {
        let head = self.0.folder.path().join("head");
        let ask = || -> Output {
            let mut curl = Command::new("curl");
            // A stream without an end is read for a second.
            curl.args([
                "--silent",
                "--max-time",
                if example.path.starts_with("/v1/events") {
                    "1"
                } else {
                    "30"
                },
            ])
            .args(["--request", &example.method, "--dump-header"])
            .arg(&head)
            .args(["--header", &format!("Authorization: Bearer {token}")]);
            for header in &example.headers {
                curl.args(["--header", header]);
            }
            if !example.body.is_empty() {
                curl.args(["--data-binary", &example.body]);
            }
            curl.arg(format!("http://{ADDRESS}{}", example.path));
            curl.output().unwrap()
        };
        let output = self.0.namespace.run(ask).unwrap();
        let head = std::fs::read_to_string(&head).unwrap();
        let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        let kind = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let value = value.split(';').next()?.trim();
            name.eq_ignore_ascii_case("content-type").then(|| value.to_owned())
        });
        let status = status.unwrap_or_else(|| panic!("{}: {head:?}: {output:?}", example.title));
        (status, kind.unwrap_or_default(), output.stdout)
    }
}

/// The operation that a request is for, and the values of its path and its query.
fn operation(api: &Value, example: &Example) -> (String, Map<String, Value>) {
    let (path, query) = example.path.split_once('?').unwrap_or((&example.path, ""));
    let segments: Vec<&str> = path.split('/').collect();
    let method = example.method.to_lowercase();
    let mut matching: Vec<(usize, String, Map<String, Value>)> = Vec::new();
    for (template, item) in api["paths"].as_object().unwrap() {
        let parts: Vec<&str> = template.split('/').collect();
        let Some(operation) = item.get(&method).filter(|_| parts.len() == segments.len()) else {
            continue;
        };
        let mut values = Map::new();
        let fits = parts.iter().zip(&segments).all(|(part, segment)| {
            match part.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) => {
                    values.insert(name.to_owned(), segment.replace("%2F", "/").into());
                    true
                }
                None => part == segment,
            }
        });
        if fits {
            matching.push((
                values.len(),
                operation["operationId"].as_str().unwrap().to_owned(),
                values,
            ));
        }
    }
    // A path with a fixed word wins over one with a name in its place.
    let (_, id, mut values) = matching
        .into_iter()
        .min_by_key(|(names, ..)| *names)
        .unwrap_or_else(|| panic!("no operation: {} {}", example.method, example.path));
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let number = value.parse::<u64>().map(Value::from);
        values.insert(name.to_owned(), number.unwrap_or_else(|_| value.into()));
    }
    for value in values.values_mut() {
        if let Some(number) = value.as_str().and_then(|text| text.parse::<u64>().ok()) {
            *value = number.into();
        }
    }
    (id, values)
}

/// A body as the description shows it: JSON as such, and the first lines of a text.
fn shown(kind: &str, body: &[u8]) -> Option<Value> {
    if kind.ends_with("/json") || kind.ends_with("+json") {
        return Some(serde_json::from_slice(body).unwrap());
    }
    let text = std::str::from_utf8(body)
        .ok()
        .filter(|_| kind != "application/x-pcapng")?;
    let whole: Vec<&str> = text.lines().collect();
    let mut lines: Vec<&str> = whole.iter().take(LINES).copied().collect();
    if kind == "text/event-stream" {
        // Whole events only.
        let end = lines.iter().rposition(|line| line.is_empty()).unwrap_or(0);
        lines.truncate(end + 1);
    } else if whole.len() > LINES {
        lines.push("…");
    }
    Some((lines.join("\n") + "\n").into())
}

/// Sends all requests of a file, and returns what was sent and answered, by operation.
fn play(server: &Server, text: &str, api: &Value) -> BTreeMap<String, Value> {
    let token = std::fs::read_to_string(server.0.folder.path().join("run").join(format!("{ADDRESS}.token"))).unwrap();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for mut example in read(text) {
        for (name, value) in &names {
            example.path = example.path.replace(&format!("{{{{{name}}}}}"), value);
        }
        let began = Instant::now();
        let (status, kind, body) = loop {
            let (status, kind, body) = server.ask(&example, token.trim());
            let is_there = example.until.as_ref().is_none_or(|(pointer, value)| {
                let json: Value = serde_json::from_slice(&body).unwrap_or_default();
                json.pointer(pointer) == Some(value)
            });
            let has_line = !example.until_line || !body.is_empty();
            let is_done = !example.until_done || status == example.status;
            if is_there && has_line && is_done || began.elapsed() > SOON {
                break (status, kind, body);
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        example.check(status, &String::from_utf8_lossy(&body));
        for (name, pointer) in &example.kept {
            let json: Value = serde_json::from_slice(&body).unwrap();
            let value = json.pointer(pointer).and_then(Value::as_str);
            names.insert(
                name.clone(),
                value.unwrap_or_else(|| panic!("{pointer} in {json:#}")).to_owned(),
            );
        }
        let (id, parameters) = operation(api, &example);
        let mut exchange = json!({ "parameters": parameters, "response": { "status": status } });
        if !example.body.is_empty() {
            let kind = example.headers[0].split_once(": ").unwrap().1;
            exchange["request"] = json!({ "type": kind, "body": shown(kind, example.body.as_bytes()) });
        }
        if let Some(answer) = shown(&kind, &body).filter(|_| !body.is_empty() && id != "openapi") {
            exchange["response"]["type"] = kind.into();
            exchange["response"]["body"] = answer;
        }
        // The first request of an operation is its example.
        all.entry(id).or_insert(exchange);
    }
    all
}

/// The names and types of a value, without what differs between runs.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), form(field))).collect(),
        Value::Array(items) => items.first().map(form).into_iter().collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => 0.into(),
        Value::Bool(_) => false.into(),
        Value::Null => Value::Null,
    }
}

#[test]
#[ignore = "needs root: make test"]
fn every_operation_answers_as_its_example_in_the_description_says() {
    needs("curl", "curl");
    let api: Value = serde_json::from_str(&std::fs::read_to_string(DESCRIPTION).unwrap()).unwrap();
    let mut all = BTreeMap::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        if needs_root(&text) {
            all.extend(play(&Server::start(), &text, &api));
        }
    }
    if std::env::var_os("LOCALVPC_UPDATE_EXAMPLES").is_some() {
        std::fs::write(Path::new(KEPT), format!("{:#}\n", json!(all))).unwrap();
        return;
    }
    let kept: BTreeMap<String, Value> = serde_json::from_str(&std::fs::read_to_string(KEPT).unwrap()).unwrap();
    let names = |examples: &BTreeMap<String, Value>| examples.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kept), names(&all), "run `cargo xtask examples` as root");
    for (id, exchange) in &all {
        let kept = &kept[id];
        assert_eq!(
            kept["request"], exchange["request"],
            "{id}: run `cargo xtask examples` as root"
        );
        assert_eq!(
            form(&kept["response"]),
            form(&exchange["response"]),
            "{id}: run `cargo xtask examples` as root, and review the change"
        );
    }
}
