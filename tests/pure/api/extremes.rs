//! Sends extreme values in every field of the API and of both file formats: each is accepted, or refused with a
//! problem, without a panic. The fields come from the OpenAPI description and from the schemas of the files, so new
//! ones are included.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use localvpc::api::guard::GuardConfig;
use localvpc::api::{AppState, rest};
use localvpc::control::{Controller, ControllerConfig};
use localvpc::model::Limits;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

/// Panics of the threads of the program.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() -> usize {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Threads of tests are named by their path: a failing test is no panic of the program, and a program that
            // panics on the thread of a test fails it.
            if !std::thread::current().name().is_some_and(|name| name.contains("::")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
    PANICS.load(Ordering::SeqCst)
}

/// Numbers that often break parsers, clocks or allocations.
fn numbers() -> Vec<Value> {
    let whole = [
        0,
        1,
        -1,
        255,
        256,
        65_535,
        65_536,
        i64::from(u32::MAX),
        1 << 32,
        i64::MAX,
        i64::MIN,
    ];
    let mut all: Vec<Value> = whole.map(Value::from).into();
    all.extend([json!(u64::MAX), json!(1e308), json!(-1e308), json!(5e-324), json!(0.1)]);
    all
}

/// Texts that often break parsers, clocks or allocations.
fn texts() -> Vec<Value> {
    let short = [
        "",
        " ",
        "*",
        "-1",
        "0s",
        "1ns",
        "18446744073709551615s",
        "18446744073709551615s 999999999ns",
        "584542046090years",
        "18446744073709551616s",
        "1e400",
        "NaN",
        "0.0.0.0",
        "255.255.255.255",
        "0.0.0.0/0",
        "255.255.255.255/32",
        "10.0.0.0/33",
        "::",
        "::/0",
        "::ffff:0.0.0.0",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "eni-ffffffffffffffff",
        "vpc-ffffffffffffffffff",
        "{{",
        "{{ }}",
        "{{ a.ipv4[18446744073709551615] }}",
        "..",
        "/",
        "\u{0}",
        "\u{202e}\u{1f4a9}",
        "%00",
        "(((((((((",
        "[",
        "~",
        "y",
    ];
    let long = ["(", "é", "{{a}}"].map(|text| text.repeat(3_000));
    short
        .map(Value::from)
        .into_iter()
        .chain(long.map(Value::from))
        .collect()
}

/// One value of each type, and lists that are long or deep.
fn shapes() -> Vec<Value> {
    let deep = (0..60).fold(json!([]), |inner, _| json!([inner]));
    vec![
        json!(null),
        json!(true),
        json!(7),
        json!("a"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"": {"": {}}}),
        deep,
    ]
}

fn extremes() -> Vec<Value> {
    [numbers(), texts(), shapes()].concat()
}

/// Generates values of a JSON Schema: a valid one, and all those with one extreme.
struct Maker {
    root: Value,
}

/// Deeper than the structures that refer to themselves need.
const DEEPEST: usize = 9;

impl Maker {
    fn new(root: Value) -> Self {
        Self { root }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let found = self.root.pointer(reference.trim_start_matches('#'));
                self.resolve(found.unwrap_or_else(|| panic!("{reference}")))
            }
            None => schema,
        }
    }

    fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
        let lists = ["oneOf", "anyOf"].map(|list| schema[list].as_array());
        lists
            .into_iter()
            .flatten()
            .flatten()
            .filter(|choice| choice["type"] != "null")
    }

    /// A valid value for the schema and the name of the field.
    fn right(&self, name: &str, schema: &Value, depth: usize) -> Value {
        if schema["$ref"].as_str().is_some_and(|of| of.ends_with("/Scope")) {
            return json!({"all": true});
        }
        let schema = self.resolve(schema);
        if let Some(known) = known(name) {
            return known;
        }
        if let Some(first) = Self::choices(schema).next() {
            return self.right(name, first, depth);
        }
        if let Some(all) = schema["allOf"].as_array() {
            return all
                .iter()
                .fold(json!({}), |sum, part| joined(sum, self.right("", part, depth)));
        }
        if let Some(value) = schema["enum"].get(0) {
            return value.clone();
        }
        if let Some(value) = schema.get("example").or_else(|| schema["examples"].get(0)) {
            return value.clone();
        }
        let kind = schema["type"]
            .as_str()
            .or_else(|| schema["type"].get(0).and_then(Value::as_str));
        match kind {
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(true),
            Some("array") if depth == 0 => json!([]),
            Some("array") => json!([self.right(name, &schema["items"], depth - 1)]),
            Some("object") => {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let fields = required.iter().filter_map(Value::as_str).map(|field| {
                    let value = self.right(field, &schema["properties"][field], depth.saturating_sub(1));
                    (field.to_owned(), value)
                });
                Value::Object(fields.collect())
            }
            _ => json!("a"),
        }
    }

    /// Valid values except for one extreme each.
    fn wrong(&self, schema: &Value, depth: usize) -> Vec<Value> {
        if schema["$ref"]
            .as_str()
            .is_some_and(|of| of.ends_with("/ChangedProfile"))
        {
            let profile = self.resolve(&self.root["components"]["schemas"]["Profile"]);
            let overrides = self.overrides(profile).into_iter();
            return overrides
                .map(|overrides| json!({"base": "aws", "overrides": overrides}))
                .collect();
        }
        let schema = self.resolve(schema);
        let mut all = shapes();
        let kinds = [schema["type"].as_str(), schema["type"].get(0).and_then(Value::as_str)];
        let is = |kind| kinds.contains(&Some(kind));
        if is("string") && schema["enum"].is_null() {
            all.extend(texts());
        } else if is("integer") || is("number") {
            all.extend(numbers());
        } else if is("array") {
            all.push(json!(vec![""; 3_000]));
        }
        if depth == 0 {
            return all;
        }
        for choice in Self::choices(schema) {
            all.extend(self.wrong(choice, depth - 1));
        }
        if let Some(parts) = schema["allOf"].as_array() {
            for (at, part) in parts.iter().enumerate() {
                for wrong in self.wrong(part, depth - 1) {
                    let others = parts.iter().enumerate().filter(|(other, _)| *other != at);
                    let right = others.fold(json!({}), |sum, (_, part)| joined(sum, self.right("", part, depth - 1)));
                    all.push(joined(right, wrong));
                }
            }
        }
        if schema["items"].is_object() {
            all.extend(
                self.wrong(&schema["items"], depth - 1)
                    .into_iter()
                    .map(|item| json!([item])),
            );
        }
        let right = self.right("", schema, depth);
        for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
            for value in self.wrong(inner, depth - 1) {
                all.push(joined(right.clone(), json!({ field.as_str(): value })));
            }
        }
        if schema["additionalProperties"].is_object() {
            for value in self.wrong(&schema["additionalProperties"], depth - 1) {
                all.push(json!({ "a": value }));
            }
        }
        all
    }
}

impl Maker {
    /// Changes of one field of a profile.
    fn overrides(&self, schema: &Value) -> Vec<Value> {
        let schema = self.resolve(schema);
        let Some(fields) = schema["properties"].as_object() else {
            return self.wrong(schema, 0);
        };
        let inner = fields.iter().flat_map(|(field, schema)| {
            let values = self.overrides(schema).into_iter();
            values.map(move |value| json!({ field.as_str(): value }))
        });
        inner.collect()
    }
}

fn joined(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            one.extend(other);
            Value::Object(one)
        }
        (_, other) => other,
    }
}

/// Names and addresses of the network that requests refer to.
fn known(field: &str) -> Option<Value> {
    Some(match field {
        "vpc" | "vpcs" => json!("home"),
        "subnet" | "subnets" => json!("left"),
        "interface" | "interfaces" | "to_interface" => json!("a"),
        "availability_zone" | "availability_zones" => json!("us-east-1a"),
        _ => return None,
    })
}

struct Network {
    router: axum::Router,
}

impl Network {
    async fn new() -> Self {
        // Without a switch: the test must create no device.
        let controller = Controller::new(ControllerConfig {
            seed: Some(1),
            limits: Limits {
                interfaces: Some(50),
                vpcs: Some(50),
                ..Limits::default()
            },
            ..ControllerConfig::default()
        });
        let network = Self {
            router: rest::router(AppState::new(controller, GuardConfig::default())),
        };
        let json = "application/json";
        for (path, body) in [
            (
                "/v1/vpcs",
                json!({"name": "home", "cidr_blocks": ["10.0.0.0/16"], "ipv6_cidr_blocks": ["2001:db8:1200::/56"]}),
            ),
            (
                "/v1/subnets",
                json!({"name": "left", "vpc": "home", "cidr_block": "10.0.1.0/24",
                "ipv6_cidr_block": "2001:db8:1200:1::/64", "availability_zone": "us-east-1a"}),
            ),
            (
                "/v1/interfaces",
                json!({"name": "a", "subnet": "left", "ipv4_addresses": ["10.0.1.10"]}),
            ),
        ] {
            let (status, said) = network.send("POST", path, json, body.to_string()).await;
            assert_eq!(status, 201, "{said}");
        }
        network
    }

    /// The answer to a request, or the first piece of it where it has no end.
    async fn send(&self, method: &str, path: &str, kind: &str, body: String) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), self.router.clone().oneshot(request));
        let answer = answer
            .await
            .unwrap_or_else(|_| panic!("no answer within 10 s: {method} {path}"))
            .unwrap();
        let status = answer.status().as_u16();
        let piece = tokio::time::timeout(Duration::from_millis(20), answer.into_body().collect()).await;
        let text = piece.map(|body| String::from_utf8_lossy(&body.unwrap().to_bytes()).into_owned());
        (status, text.unwrap_or_default())
    }
}

/// The operations that take a body, with its media type and schema, and the parameters of all.
fn operations(api: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

fn path_with(path: &str, parameter: &str, value: &str) -> String {
    let encoded = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let path = path.replace(&format!("{{{parameter}}}"), &encoded);
    path.split('/')
        .map(|part| match part.strip_prefix('{') {
            Some(name) => match name.trim_end_matches('}') {
                "interface" => "a".to_owned(),
                "subnet" => "left".to_owned(),
                "vpc" => "home".to_owned(),
                "address" => "10.0.1.10".to_owned(),
                _ => "a".to_owned(),
            },
            None => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn every_field_of_every_request_takes_its_extremes_without_a_panic() {
    let before = count_panics();
    let api: Value = serde_json::from_str(&localvpc::api::openapi_json()).unwrap();
    let maker = Maker::new(api.clone());
    let (mut sent, mut accepted) = (0, 0);
    for (method, path, operation) in operations(&api) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let network = Network::new().await;
        let path = path_with(&path, "", "");
        for body in maker.wrong(schema, DEEPEST) {
            let text = body.to_string();
            let (status, said) = network.send(&method, &path, "application/json", text).await;
            let shown: String = body.to_string().chars().take(300).collect();
            assert!(status != 500, "{method} {path} {shown}: {said}");
            if status < 300 && path == "/v1/faults" {
                // A fault of the API must not answer the next request.
                network
                    .send("DELETE", "/v1/faults", "application/json", String::new())
                    .await;
            }
            (sent, accepted) = (sent + 1, accepted + usize::from(status < 300));
        }
    }
    assert_eq!(count_panics(), before, "a thread has panicked");
    // Requests that are all refused for another reason would show nothing.
    assert!(
        sent > 10_000 && accepted > 200,
        "{accepted} of {sent} requests were accepted"
    );
}

#[tokio::test]
async fn every_parameter_takes_its_extremes_without_a_panic() {
    let before = count_panics();
    let api: Value = serde_json::from_str(&localvpc::api::openapi_json()).unwrap();
    for (method, path, operation) in operations(&api) {
        let network = Network::new().await;
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            for value in extremes() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                // Longer than the URI of a request may be.
                let text: String = text.chars().take(5_000).collect();
                let target = match parameter["in"].as_str() {
                    Some("path") => path_with(&path, name, &text),
                    Some("query") => {
                        let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC);
                        format!("{}?{name}={encoded}", path_with(&path, "", ""))
                    }
                    _ => continue,
                };
                let (status, said) = network.send(&method, &target, "application/json", "{}".into()).await;
                assert!(status != 500, "{method} {target}: {said}");
            }
        }
    }
    assert_eq!(count_panics(), before, "a thread has panicked");
}

/// A file with everything that a topology may have.
fn topology() -> Value {
    json!({
        "vpcs": {"home": {"cidr_blocks": ["10.0.0.0/16"]}},
        "subnets": {"left": {"vpc": "home", "cidr_block": "10.0.1.0/24"}},
        "instances": {"a": {"subnet": "left"}},
    })
}

#[tokio::test]
async fn every_field_of_a_topology_file_takes_its_extremes_without_a_panic() {
    let before = count_panics();
    let schema = localvpc::scenario::schema::topology();
    let maker = Maker::new(schema.clone());
    let network = Network::new().await;
    let (mut sent, mut planned) = (0, 0);
    let mut files = maker.wrong(&schema, 2);
    for (kind, of_kind) in schema["$defs"]["Topology"]["properties"].as_object().unwrap() {
        let name = match kind.as_str() {
            "vpcs" => "home",
            "subnets" => "left",
            "instances" => "a",
            _ => "other",
        };
        let mut base = topology();
        for entry in maker.wrong(&of_kind["additionalProperties"], DEEPEST) {
            base[kind][name] = joined(topology()[kind][name].clone(), entry);
            files.push(base.clone());
        }
    }
    for file in files {
        let text = joined(topology(), file.clone()).to_string();
        let (status, said) = network
            .send("POST", "/v1/topology/plan", "application/yaml", text)
            .await;
        assert!(status != 500, "{file}: {said}");
        (sent, planned) = (sent + 1, planned + usize::from(status < 300));
    }
    assert_eq!(count_panics(), before, "a thread has panicked");
    assert!(planned > 100, "{planned} of {sent} files were planned");
}

#[test]
fn every_field_of_a_scenario_file_takes_its_extremes_without_a_panic() {
    let before = count_panics();
    let schema = localvpc::scenario::schema::scenario();
    let maker = Maker::new(schema.clone());
    let around = |part: Value| {
        let whole = json!({"name": "x", "topology": topology(), "steps": [{"ping": {"from": "a", "to": "10.0.1.1"}, "expect": "answered"}]});
        joined(whole, part)
    };
    let (mut read, mut accepted) = (0, 0);
    let step = &schema["$defs"]["Step"];
    let steps = maker
        .wrong(step, DEEPEST - 3)
        .into_iter()
        .map(|step| json!({"steps": [step]}));
    for file in maker.wrong(&schema, 3).into_iter().chain(steps) {
        let text = around(file).to_string();
        accepted += usize::from(localvpc::scenario::format::read("file", &text).is_ok());
        read += 1;
    }
    assert_eq!(count_panics(), before, "a thread has panicked");
    assert!(accepted > 20, "{accepted} of {read} files were accepted");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::sample::select(extremes()),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn two_wrong_fields_at_once_are_refused_as_one_is(field in 0_usize..8, value in any_json(), other in any_json()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fields = ["link_down", "duration", "name", "cidr_blocks", "profile", "subnet", "ipv4_addresses", "edits"];
        let body = json!({ fields[field]: value, fields[(field + 1) % 8]: other }).to_string();
        runtime.block_on(async {
            let network = Network::new().await;
            for path in ["/v1/faults", "/v1/vpcs", "/v1/subnets", "/v1/interfaces", "/v1/mappings/bulk", "/v1/explain"] {
                let (status, said) = network.send("POST", path, "application/json", body.clone()).await;
                assert!(status != 500, "{path} {body}: {said}");
            }
        });
    }
}
