//! Generates the JSON Schema of scenario and topology files from the types that read them.
//!
//! `api/scenario.schema.json` is this schema; editors use it to complete and check files.

use serde_json::{Value, json};
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::format::{Document, Edit, Edits, Exit, Expect, ExpectFields, Replies, TextExpectation, TextFields};
use crate::file::values::{Count, CountRange, Text, Texts};
use crate::topology::format::Topology;

/// The schema of a scenario file.
pub fn scenario() -> Value {
    of::<Document>("Scenario", "A localvpc scenario")
}

/// The schema of a topology file.
pub fn topology() -> Value {
    of::<Topology>("Topology", "A localvpc topology")
}

fn of<T: ToSchema>(name: &str, title: &str) -> Value {
    let mut schemas = vec![(name.to_owned(), T::schema())];
    T::schemas(&mut schemas);
    let mut definitions = serde_json::Map::new();
    for (name, schema) in schemas {
        definitions.entry(name).or_insert_with(|| to_value(&schema));
    }
    definitions.sort_keys();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$ref": format!("#/$defs/{name}"),
        "$defs": definitions,
    });
    localize(&mut schema);
    schema
}

/// OpenAPI has its schemas under `components`, a plain JSON Schema under `$defs`.
fn localize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match field {
                    Value::String(text) if key == "$ref" => *text = text.replace("#/components/schemas/", "#/$defs/"),
                    field => localize(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(localize),
        _ => {}
    }
}

fn to_value(schema: &RefOr<Schema>) -> Value {
    serde_json::to_value(schema).expect("a schema is plain data with string keys")
}

fn word(values: &[&str]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(values.iter().copied()))
        .build()
}

fn number(least: usize, most: Option<usize>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(least))
        .maximum(most)
        .build()
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

/// Implements the schema of a type with short forms, with the types that its long form refers to.
macro_rules! schema_of_forms {
    ($type:ty, $name:literal, [$($part:ty),*], $schema:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                RefOr::T(Schema::from($schema))
            }
        }
        impl ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(
                    schemas.push((<$part as ToSchema>::name().into_owned(), <$part as PartialSchema>::schema()));
                    <$part as ToSchema>::schemas(schemas);
                )*
                // A type without a long form refers to nothing.
                let _ = schemas;
            }
        }
    };
}

schema_of_forms!(
    Text,
    "Text",
    [],
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "A text; `{{ … }}` names what is known when the network stands, such as `{{ b.ipv6 }}`."
        ))
        .build()
);
schema_of_forms!(
    Texts,
    "Texts",
    [Text],
    AnyOfBuilder::new()
        .description(Some("A text or a list of texts."))
        .item(reference::<Text>())
        .item(ObjectBuilder::new().schema_type(Type::Number))
        .item(ArrayBuilder::new().items(reference::<Text>()))
        .build()
);
schema_of_forms!(
    Count,
    "Count",
    [CountRange],
    AnyOfBuilder::new()
        .description(Some("How many there must be."))
        .item(number(0, None))
        .item(reference::<CountRange>())
        .build()
);
schema_of_forms!(
    Replies,
    "Replies",
    [CountRange],
    AnyOfBuilder::new()
        .description(Some("How a ping is answered."))
        .item(word(&["answered", "unanswered", "unreachable"]))
        .item(number(0, None))
        .item(reference::<CountRange>())
        .build()
);
schema_of_forms!(
    Exit,
    "Exit",
    [],
    AnyOfBuilder::new()
        .description(Some("Which exit codes are right."))
        .item(number(0, Some(255)))
        .item(ArrayBuilder::new().items(number(0, Some(255))))
        .item(word(&["nonzero"]))
        .build()
);
schema_of_forms!(
    TextExpectation,
    "TextExpectation",
    [Text, TextFields],
    AnyOfBuilder::new()
        .description(Some(
            "What a text must be like; a text or a list of texts stands for `contains`."
        ))
        .item(reference::<Text>())
        .item(ObjectBuilder::new().schema_type(Type::Number))
        .item(ArrayBuilder::new().items(reference::<Text>()))
        .item(reference::<TextFields>())
        .build()
);
schema_of_forms!(
    Expect,
    "Expect",
    [ExpectFields],
    AnyOfBuilder::new()
        .description(Some("What must hold after a step; a word stands for `replies`."))
        .item(word(&["answered", "unanswered", "unreachable"]))
        .item(reference::<ExpectFields>())
        .build()
);
schema_of_forms!(
    Edits,
    "Edits",
    [Edit],
    AnyOfBuilder::new()
        .description(Some(
            "One edit of the mapping table, or a list that is done as a whole or not at all."
        ))
        .item(reference::<Edit>())
        .item(ArrayBuilder::new().items(reference::<Edit>()))
        .build()
);
