//! Writes the reference of a file format as Markdown, from the schema of its types.

use std::fmt::Write as _;

use serde_json::Value;

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
    let others = definitions.into_iter().flatten().filter(|(name, _)| *name != root);
    for (name, definition) in first.into_iter().chain(others) {
        section(&mut text, name, definition);
    }
    text
}

fn section(text: &mut String, name: &str, definition: &Value) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## {name}\n\n{}\n", sentence(definition));
    let Some(fields) = definition["properties"].as_object() else {
        let _ = write!(text, "\nWritten as {}.\n", kind(definition));
        return;
    };
    let required = |field: &str| {
        definition["required"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == field))
    };
    text.push_str("\n| field | value | meaning |\n|---|---|---|\n");
    for (field, value) in fields {
        let mark = if required(field) { " (required)" } else { "" };
        let _ = writeln!(
            text,
            "| `{field}`{mark} | {} | {} |",
            kind(value),
            sentence(value).replace('|', "\\|")
        );
    }
}

/// The description in one line.
fn sentence(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .trim()
        .to_owned()
}

/// The allowed values.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
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
            for (name, definition) in schema["$defs"].as_object().unwrap() {
                assert!(text.contains(&format!("\n## {name}\n")), "{name}");
                for (field, _) in definition["properties"].as_object().into_iter().flatten() {
                    assert!(text.contains(&format!("| `{field}`")), "{name}: {field}");
                }
            }
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
