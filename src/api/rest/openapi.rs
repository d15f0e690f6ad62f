//! Completes the OpenAPI description that the routes give.
//!
//! What one Rust type cannot express is here in tables: limits of numbers, names other than Rust's, required tokens.
//! Schemas that client generators cannot follow are written out: a struct that is flattened into another becomes one
//! object, and each variant of a union has a name.

use axum::http::{Method, Uri};
use serde_json::{Map, Value, json};

use super::lists::list_at;
use super::openapi_examples;
use super::versions::has_past;
use crate::datapath::DropReason;

/// The default address of the server.
const SERVER: &str = "http://127.0.0.1:8460";

/// Operations that need no token (`guard::admit`).
const PUBLIC: [&str; 1] = ["health"];

/// Operations that create a resource and name its path in `Location`.
const WITH_LOCATION: [(&str, &str); 8] = [
    ("create_vpc", "201"),
    ("create_subnet", "201"),
    ("create_interface", "201"),
    ("create_route_table", "201"),
    ("create_dhcp_options", "201"),
    ("begin_fault", "201"),
    ("store_scenario", "201"),
    ("start_run", "202"),
];

/// The least and the greatest value of a property, where its Rust type does not have them.
const BOUNDS: [(&str, &str, i64, i64); 14] = [
    ("AttachRequest", "device_index", 1, 14),
    ("AttachRequest", "fd", 0, i32::MAX as i64),
    ("AttachRequest", "mtu", 68, u16::MAX as i64),
    ("CreateInterfaceRequest", "mtu", 0, u16::MAX as i64),
    ("ModifyInterfaceRequest", "mtu", 0, u16::MAX as i64),
    ("InstanceMetadataChange", "http_put_response_hop_limit", 1, 64),
    ("DhcpOptions", "netbios_node_type", 0, u8::MAX as i64),
    ("Throttle", "burst", 0, u32::MAX as i64),
    ("ExplainBody", "source_port", 0, u16::MAX as i64),
    ("ExplainBody", "destination_port", 0, u16::MAX as i64),
    ("Profile", "mtu", 0, u16::MAX as i64),
    ("Profile", "host_prefix_length", 0, 32),
    ("FaultKindMetadataMetadata", "status", 0, u16::MAX as i64),
    ("Port", "mtu", 0, u16::MAX as i64),
];

/// An IPv4 address, and an IPv4 address with a prefix length.
const IPV4_OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const IPV4_LENGTH: &str = "(3[0-2]|[12]?[0-9])";
/// One of the ways to write an IPv6 prefix: some groups, and `::`.
const IPV6_PREFIX: &str = "^([0-9a-f]{1,4}:){1,6}:/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$";

/// Operations whose parameters may be empty, which means the same as leaving them out.
const TAKES_EMPTY: [&str; 1] = ["capture"];

/// The same for parameters, by name.
const PARAMETER_BOUNDS: [(&str, i64, i64); 2] = [("limit", 1, 1000), ("snaplen", 1, 262_144)];

/// Completes the description that the routes give.
pub(super) fn complete(mut api: Value) -> Value {
    api["servers"] = json!([{ "url": SERVER, "description": "The default address" }]);
    api["components"]["securitySchemes"] = json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token that the server was started with, or wrote at its start. Over the unix socket, and over \
                            loopback for root and the server's own user, a request needs none unless one was set.",
        },
    });
    // Either is enough.
    api["security"] = json!([{}, { "token": [] }]);
    if let Some(schemas) = api["components"]["schemas"].as_object_mut() {
        complete_schemas(schemas);
    }
    for operation in operations(&mut api) {
        complete_operation(operation);
    }
    for (path, method, operation) in located_operations(&mut api) {
        add_versions(&path, &method, operation);
    }
    replace_references(&mut api, &inlined());
    let examples = openapi_examples::kept();
    for operation in operations(&mut api) {
        openapi_examples::add_to(operation, &examples);
    }
    api
}

fn operations(api: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = api["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let items = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    items.filter_map(Value::as_object_mut)
}

/// The operations with their paths and methods.
fn located_operations(api: &mut Value) -> impl Iterator<Item = (String, Method, &mut Map<String, Value>)> {
    let paths = api["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object_mut().into_iter().flatten();
        operations.filter_map(|(method, operation)| {
            let method = method.to_ascii_uppercase().parse().ok()?;
            Some((path.clone(), method, operation.as_object_mut()?))
        })
    })
}

/// Adds what `versions` and `idempotency` do for every operation, whatever its handler knows.
fn add_versions(path: &str, method: &Method, operation: &mut Map<String, Value>) {
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema });
    let mut parameters = Vec::new();
    if path.parse().is_ok_and(|uri: Uri| has_past(method, &uri)) {
        parameters.push(json!({
            "name": "at", "in": "query", "required": false,
            "description": "The network as it was after this revision; a time in RFC 3339 is taken, too.",
            "schema": { "type": "string", "pattern": "^[0-9]{1,15}$" },
        }));
    }
    let known: Vec<Value> = operation
        .get("parameters")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if *method == Method::GET
        && let Some(list) = list_at(path)
    {
        for (name, description) in list.parameters() {
            if known.iter().any(|parameter| parameter["name"] == name) {
                continue;
            }
            let schema = match name {
                "limit" => json!({ "type": "integer", "minimum": 1, "maximum": 1000 }),
                "tag" => json!({ "type": "array", "items": { "type": "string", "minLength": 1 } }),
                "mac" => json!({ "type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$" }),
                _ => json!({ "type": "string", "minLength": 1 }),
            };
            let parameter = json!({
                "name": name, "in": "query", "required": false, "description": description, "schema": schema,
            });
            parameters.push(parameter);
        }
    }
    let text = || json!({ "type": "string" });
    let versioned = path.starts_with("/v1/") && path != "/v1/events" && path != "/v1/captures";
    if *method == Method::GET && versioned {
        let description = "304 if it still has this version: the ETag of an earlier answer.";
        parameters.push(header("If-None-Match", description, text()));
        let responses = &mut operation["responses"];
        responses["304"] = json!({ "description": "It still has the version that the client knows" });
        for (name, description, schema) in [
            ("ETag", "Its version, for If-Match and If-None-Match", text()),
            (
                "Localvpc-Revision",
                "The revision of the network",
                json!({ "type": "integer", "minimum": 0 }),
            ),
        ] {
            responses["200"]["headers"][name] = json!({ "description": description, "schema": schema });
        }
    } else if versioned {
        let description = "412 unless the resource still has this version: the ETag of a GET, or * for any.";
        parameters.push(header("If-Match", description, text()));
    }
    if *method == Method::POST {
        let description = "A request that comes again with the same key gets the answer that it got then. A key that was used \
                           for another request is a 422, one whose request is being carried out a 409.";
        let schema = json!({ "type": "string", "pattern": "^([!#-~]{1,255}|\"[!#-~]{1,255}\")$" });
        parameters.push(header("Idempotency-Key", description, schema));
    }
    let own = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(own) = own.as_array_mut() {
        own.append(&mut parameters);
    }
}

/// Schemas that utoipa names after Rust's types: their content replaces the references to them.
fn inlined() -> Vec<(&'static str, Value)> {
    vec![
        (
            "BTreeMap",
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        ),
        ("String", json!({ "type": "string" })),
    ]
}

fn complete_schemas(schemas: &mut Map<String, Value>) {
    name_variants(schemas);
    flatten_all(schemas);
    // A fault is flat in its own kind: its variants come to be by flattening. A request may have nothing else.
    for variant in schemas["FaultSpec"]["oneOf"].as_array_mut().into_iter().flatten() {
        variant["additionalProperties"] = false.into();
    }
    name_variants_of(schemas, |name| ["Fault", "FaultSpec"].contains(&name));
    for (name, _) in inlined() {
        schemas.remove(name);
    }
    if let Some(reasons) = schemas.get_mut("DropReason") {
        // Answers have the API's names of the reasons, not Rust's.
        reasons["enum"] = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    }
    if let Some(required) = schemas
        .get_mut("FileProblem")
        .and_then(|schema| schema["required"].as_array_mut())
    {
        // A request without a file has errors of other kinds.
        required.retain(|name| name != "mistakes");
    }
    for (schema, property, least, greatest) in BOUNDS {
        if let Some(number) = schemas
            .get_mut(schema)
            .and_then(|found| found["properties"].get_mut(property))
        {
            bound(number, least, greatest);
        }
    }
}

fn bound(number: &mut Value, least: i64, greatest: i64) {
    number["minimum"] = least.into();
    number["maximum"] = greatest.into();
    if greatest > i64::from(i32::MAX) {
        number["format"] = "int64".into();
    }
}

/// Gives each inline variant of a union a named schema: two generators name an unnamed one differently.
fn name_variants(schemas: &mut Map<String, Value>) {
    name_variants_of(schemas, |_| true);
}

fn name_variants_of(schemas: &mut Map<String, Value>, wanted: impl Fn(&str) -> bool) {
    let mut named = Map::new();
    for (name, schema) in schemas.iter_mut().filter(|(name, _)| wanted(name)) {
        for variants in ["oneOf", "anyOf"] {
            for variant in schema
                .get_mut(variants)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                let Some(own) = variant_name(name, variant) else {
                    continue;
                };
                let reference = json!({ "$ref": format!("#/components/schemas/{own}") });
                let mut taken = std::mem::replace(variant, reference);
                name_properties(&own, &mut taken, &mut named);
                named.insert(own, taken);
            }
        }
    }
    schemas.append(&mut named);
}

/// Objects inside a variant, as in `{ "uniform": { … } }`.
fn name_properties(owner: &str, variant: &mut Value, named: &mut Map<String, Value>) {
    let properties = variant.get_mut("properties").and_then(Value::as_object_mut);
    for (property, schema) in properties.into_iter().flatten() {
        if schema["type"] == "object" && schema.get("properties").is_some() {
            let own = format!("{owner}{}", camel(property));
            let reference = json!({ "$ref": format!("#/components/schemas/{own}") });
            named.insert(own, std::mem::replace(schema, reference));
        }
    }
}

/// A variant is named after the constant in `type`, or after its only required property.
fn variant_name(union: &str, variant: &Value) -> Option<String> {
    let parts = variant.get("allOf").and_then(Value::as_array);
    let parts = parts.map_or_else(|| vec![variant], |parts| parts.iter().collect());
    let tag = parts
        .iter()
        .find_map(|part| part["properties"]["type"]["enum"][0].as_str());
    let only = || match parts.as_slice() {
        [part] if part["type"] == "object" => part["required"][0].as_str(),
        _ => None,
    };
    Some(format!("{union}{}", camel(tag.or_else(only)?)))
}

fn camel(words: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    words.split(['_', '-']).map(word).collect()
}

/// Writes out what serde flattens. A schema without further properties could otherwise not be satisfied by an object
/// that has more than its own.
fn flatten_all(schemas: &mut Map<String, Value>) {
    let names: Vec<String> = schemas.keys().cloned().collect();
    for name in names {
        let before = schemas.clone();
        if let Some(schema) = schemas.get_mut(&name) {
            flatten_within(schema, &before);
        }
    }
}

fn flatten_within(node: &mut Value, schemas: &Map<String, Value>) {
    if node.get("allOf").is_some()
        && let Some(flat) = flat(node, schemas)
    {
        *node = flat;
    }
    match node {
        Value::Object(fields) => fields.values_mut().for_each(|field| flatten_within(field, schemas)),
        Value::Array(items) => items.iter_mut().for_each(|item| flatten_within(item, schemas)),
        _ => {}
    }
}

/// One object of all parts, or a union of such objects where one part is a union.
fn flat(node: &Value, schemas: &Map<String, Value>) -> Option<Value> {
    let node = match node["$ref"].as_str() {
        Some(reference) => schemas.get(reference.rsplit('/').next()?)?,
        None => node,
    };
    let Some(parts) = node["allOf"].as_array() else {
        return Some(node.clone());
    };
    let parts = parts
        .iter()
        .map(|part| flat(part, schemas))
        .collect::<Option<Vec<_>>>()?;
    let merged = combine(&parts, schemas)?;
    let Value::Object(mut merged) = merged else { return None };
    if let Some(description) = node.get("description") {
        merged.insert("description".to_owned(), description.clone());
    }
    Some(Value::Object(merged))
}

/// The parts as one object, or as a union where a part is one; a union of unions is one union.
fn combine(parts: &[Value], schemas: &Map<String, Value>) -> Option<Value> {
    let Some(at) = parts.iter().position(|part| part.get("oneOf").is_some()) else {
        return merge(parts);
    };
    let mut all = Vec::new();
    for variant in parts[at]["oneOf"].as_array()? {
        let mut parts = parts.to_vec();
        parts[at] = flat(variant, schemas)?;
        let mut combined = combine(&parts, schemas)?;
        match combined.get_mut("oneOf").map(Value::take) {
            Some(Value::Array(variants)) => all.extend(variants),
            _ => all.push(combined),
        }
    }
    Some(json!({ "oneOf": all }))
}

fn merge(parts: &[Value]) -> Option<Value> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let mut merged = json!({ "type": "object" });
    for part in parts {
        if part["type"] != "object" {
            return None;
        }
        if let Some(description) = part.get("description") {
            merged["description"] = description.clone();
        }
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
        let names = part["required"].as_array().cloned().unwrap_or_default();
        required.extend(names);
    }
    required.dedup();
    merged["properties"] = Value::Object(properties);
    if !required.is_empty() {
        merged["required"] = Value::Array(required);
    }
    Some(merged)
}

fn complete_operation(operation: &mut Map<String, Value>) {
    let id = operation
        .get("operationId")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if PUBLIC.contains(&id.as_str()) {
        operation.insert("security".to_owned(), json!([]));
    } else if let Some(responses) = operation.get_mut("responses") {
        responses["401"] = json!({
            "description": "The caller is neither root nor the server's own user, or one was set: the token is missing",
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        });
    }
    for (made, status) in WITH_LOCATION {
        if made == id {
            operation["responses"][status]["headers"]["Location"] =
                json!({ "description": "Where it is", "required": true, "schema": { "type": "string" } });
        }
    }
    let contents = operation.get_mut("responses").and_then(Value::as_object_mut);
    for response in contents.into_iter().flat_map(Map::values_mut) {
        if let Some(capture) = response["content"].get_mut("application/x-pcapng") {
            capture["schema"] = json!({ "type": "string", "format": "binary" });
        }
        if response["content"].is_null()
            && let Some(response) = response.as_object_mut()
        {
            response.remove("content");
        }
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        complete_parameter(parameter, TAKES_EMPTY.contains(&id.as_str()));
    }
}

/// The pattern of a parameter with an address or a prefix.
fn form(name: &str, in_path: bool) -> Option<Value> {
    let ipv4_prefix = format!("^({IPV4_OCTET}\\.){{3}}{IPV4_OCTET}/{IPV4_LENGTH}$");
    let addresses = [json!({ "format": "ipv4" }), json!({ "format": "ipv6" })];
    match name {
        "address" if in_path => Some(json!([
            addresses[0],
            addresses[1],
            { "pattern": format!("^({IPV4_OCTET}\\.){{3}}(0|16|32|48|64|80|96|112|128|144|160|176|192|208|224|240)/28$") },
            { "pattern": "^([0-9a-f]{1,4}:){5}:/80$" },
        ])),
        "address" => Some(json!(addresses)),
        "prefix" | "destination" => Some(json!([{ "pattern": ipv4_prefix }, { "pattern": IPV6_PREFIX }])),
        _ => None,
    }
}

fn complete_parameter(parameter: &mut Value, takes_empty: bool) {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let (is_header, in_path) = (parameter["in"] == "header", parameter["in"] == "path");
    let schema = &mut parameter["schema"];
    if let Some(forms) = form(&name, in_path) {
        schema["anyOf"] = forms;
    } else if schema["type"] == "string" && !is_header && !takes_empty {
        // A parameter without a value names nothing.
        schema["minLength"] = 1.into();
    }
    for (bounded, least, greatest) in PARAMETER_BOUNDS {
        if bounded == name {
            bound(schema, least, greatest);
        }
    }
}

/// Replaces references by their content.
fn replace_references(node: &mut Value, inlined: &[(&str, Value)]) {
    if let Some(reference) = node.get("$ref").and_then(Value::as_str)
        && let Some((_, content)) = inlined
            .iter()
            .find(|(name, _)| reference.strip_prefix("#/components/schemas/") == Some(name))
    {
        let description = node.get("description").cloned();
        *node = content.clone();
        if let Some(description) = description {
            node["description"] = description;
        }
        return;
    }
    match node {
        Value::Object(fields) => fields.values_mut().for_each(|field| replace_references(field, inlined)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_references(item, inlined)),
        _ => {}
    }
}
