//! Writes the reference of a file format as Markdown, from the schema of its types.

use std::fmt::Write as _;

use serde_json::Value;

/// The bounds of a duration, which the name of its type has: `Duration_0s_to_1h`.
fn duration(name: &str) -> Option<String> {
    Some(name.strip_prefix("Duration_")?.replace('_', " "))
}

/// What stands for a schema that has the name of a type of Rust's.
fn inlined(name: &str) -> Option<&'static str> {
    (name == "BTreeMap").then_some("mapping of names to string")
}

/// Whether a type has no section, but stands where it is used.
fn has_no_section(name: &str) -> bool {
    duration(name).is_some() || inlined(name).is_some()
}

/// The reference of a schema: a section per kind of mapping, with a line per field.
pub fn reference(schema: &Value) -> String {
    let title = schema["title"].as_str().unwrap_or_default();
    let root = schema["$ref"].as_str().unwrap_or_default();
    let root = root.rsplit('/').next().unwrap_or_default();
    let mut text = format!(
        "# {title} file\n\nMade from the JSON Schema by `localvpc schema --reference`; the file itself is a [{root}](#{}).\n",
        root.to_lowercase()
    );
    let definitions = schema["$defs"].as_object();
    let first = definitions.and_then(|all| all.get_key_value(root));
    let others = definitions
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != root && !has_no_section(name));
    for (name, definition) in first.into_iter().chain(others) {
        section(&mut text, name, definition);
    }
    text
}

fn section(text: &mut String, name: &str, definition: &Value) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## {name}\n\n{}\n", sentence(definition));
    let fields = fields(definition);
    if fields.is_empty() {
        let _ = write!(text, "\nWritten as {}.\n", kind(definition));
        return;
    }
    if definition["oneOf"].is_array() {
        text.push_str("\nOne of these:\n");
    }
    text.push_str("\n| field | value | meaning |\n|---|---|---|\n");
    for field in fields {
        let mark = if field.required { " (required)" } else { "" };
        let _ = writeln!(
            text,
            "| `{}`{mark} | {} | {} |",
            field.name,
            field.kind,
            field.meaning.replace('|', "\\|")
        );
    }
    // A kind together with fields of its own.
    for part in definition["allOf"].as_array().into_iter().flatten() {
        if part["$ref"].is_string() {
            let _ = write!(text, "\nWith the fields of {}.\n", kind(part));
        }
    }
}

/// A line of a table.
struct Field {
    name: String,
    required: bool,
    kind: String,
    meaning: String,
}

/// The fields of a mapping, of its parts, or of the variants of a union, which have one each.
fn fields(definition: &Value) -> Vec<Field> {
    let parts = |name: &str| definition[name].as_array().into_iter().flatten();
    let is_variant = |part: &&Value| part["properties"].is_object();
    let own = std::iter::once(definition);
    let all = own.chain(parts("allOf")).map(|part| (part, false));
    let variants = parts("oneOf").filter(is_variant).map(|part| (part, true));
    let mut fields = Vec::new();
    for (part, variant) in all.chain(variants) {
        let required = |field: &str| {
            let names = part["required"].as_array().into_iter().flatten();
            !variant && names.into_iter().any(|name| name == field)
        };
        for (name, value) in part["properties"].as_object().into_iter().flatten() {
            let meanings = [sentence(value), sentence(part)];
            fields.push(Field {
                name: name.clone(),
                required: required(name),
                kind: kind(value),
                meaning: meanings.into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
            });
            // A mapping that is written in its place.
            fields.extend(self::fields(value).into_iter().map(|inner| Field {
                name: format!("{name}.{}", inner.name),
                ..inner
            }));
        }
    }
    fields
}

/// The description in one line. That of an optional value is with its type.
fn sentence(schema: &Value) -> String {
    let of = |schema: &Value| {
        let text = schema["description"].as_str().unwrap_or_default();
        text.lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    };
    let own = of(schema);
    let choices = schema["oneOf"]
        .as_array()
        .filter(|all| all.iter().any(|one| one["type"] == "null"));
    match choices.into_iter().flatten().map(of).find(|text| !text.is_empty()) {
        Some(text) if own.is_empty() => text,
        _ => own,
    }
}

/// The allowed values.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        if let Some(content) = inlined(name) {
            return content.to_owned();
        }
        if let Some(bounds) = duration(name) {
            return format!("duration, {bounds}");
        }
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect();
        return words.join(", ");
    }
    if let Some(one) = schema["const"].as_str() {
        return format!("`{one}`");
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let choices: Vec<String> = choices.iter().filter(|one| one["type"] != "null").map(kind).collect();
            return choices.join(" or ");
        }
    }
    let of = |value: &Value| value.as_str().map(str::to_owned);
    let types: Vec<String> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(of).filter(|one| one != "null").collect(),
        one => of(one).into_iter().collect(),
    };
    match types.first().map(String::as_str) {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("mapping of names to {}", kind(&schema["additionalProperties"]))
        }
        Some("object") => "mapping".to_owned(),
        Some(one) => one.to_owned(),
        None => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_section_for_each_mapping_and_a_line_for_each_field() {
        for schema in [crate::scenario::schema::scenario(), crate::scenario::schema::topology()] {
            let text = reference(&schema);
            assert!(!text.contains(" |  |"), "a field without a meaning:\n{text}");
            let all = schema["$defs"].as_object().unwrap();
            for (name, definition) in all.iter().filter(|(name, _)| !has_no_section(name)) {
                assert!(text.contains(&format!("\n## {name}\n")), "{name}");
                for (field, _) in definition["properties"].as_object().into_iter().flatten() {
                    assert!(text.contains(&format!("| `{field}`")), "{name}: {field}");
                }
            }
        }
    }

    #[test]
    fn the_pages_of_the_file_formats_are_what_the_schemas_give() {
        use crate::scenario::schema::{scenario, topology};
        for (page, schema) in [("scenario-reference", scenario()), ("topology-reference", topology())] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/{page}.md"));
            let text = reference(&schema);
            if std::env::var_os("UPDATE_API").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                stored == text,
                "docs/{page}.md has drifted: run `cargo xtask regenerate`"
            );
        }
    }

    #[test]
    fn the_complete_topology_file_uses_every_field_and_is_right() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/topology.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        let topology = crate::topology::format::read_topology("docs/topology.yaml", &text).unwrap();
        crate::topology::Layout::desired(&topology, &crate::file::template::Scope::default()).unwrap();
        let schema = crate::scenario::schema::topology();
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            // The fields of a profile are in docs/profiles.md.
            let fields = definition["properties"].as_object().into_iter().flatten();
            for (field, _) in fields.filter(|_| name.contains("Topology") || name == "DhcpOptions") {
                assert!(text.contains(&format!("{field}:")), "{name} has a field `{field}`");
            }
        }
    }
}
