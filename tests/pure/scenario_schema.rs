//! Checks that `api/scenario.schema.json` and `api/topology.schema.json` match the code, and that the shipped files
//! match them.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::path::Path;

fn matches(name: &str, schema: &serde_json::Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("api").join(name);
    let text = format!("{schema:#}\n");
    if std::env::var_os("UPDATE_API").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == text,
        "api/{name} has drifted from the code: run `cargo xtask regenerate` and review the change"
    );
}

#[test]
fn the_scenario_schema_is_that_of_the_code() {
    matches("scenario.schema.json", &localvpc::scenario::schema::scenario());
}

#[test]
fn the_topology_schema_is_that_of_the_code() {
    matches("topology.schema.json", &localvpc::scenario::schema::topology());
}

#[test]
fn every_shipped_scenario_begins_with_the_line_that_editors_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let line = "# yaml-language-server: $schema=../api/scenario.schema.json";
        assert_eq!(text.lines().next(), Some(line), "{}", path.display());
    }
}

#[test]
fn every_reference_in_the_schema_resolves() {
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(|to| Some(to.as_str()?.to_owned())));
                fields.values().for_each(|field| references(field, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    for schema in [
        localvpc::scenario::schema::scenario(),
        localvpc::scenario::schema::topology(),
    ] {
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 5);
        for reference in found {
            let name = reference.strip_prefix("#/$defs/").unwrap();
            assert!(schema["$defs"].get(name).is_some(), "{reference}");
        }
    }
}
