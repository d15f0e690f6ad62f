//! Defines one action of the Query API: its parameters as a type, its effect, and how a request becomes a call of it.
//!
//! The table of all actions is [`ACTIONS`](super::actions::ACTIONS): dispatch, refusals and coverage come from it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Ec2Error;
use super::shape::{ActionShape, Scalar, Shape, actions};
use super::state::Call;
use super::xml::Node;

/// The answer of an action: the members of its response, in order.
pub type Answer = Result<Vec<(&'static str, Node)>, Ec2Error>;

/// The answer of an action that only confirms.
pub fn done() -> Answer {
    Ok(vec![("return", Node::text(true))])
}

/// An action, as the type of its parameters. A parameter that the type lacks is refused as unsupported.
pub trait Action: DeserializeOwned {
    /// Its name in EC2's API.
    const NAME: &'static str;
    /// Its effect, in a sentence.
    const HELP: &'static str;
    /// Whether it is read-only.
    const READS: bool = false;

    /// The parameters with what they refer to in the place of the reference.
    fn expanded(tree: Map<String, Value>, _call: &Call<'_>) -> Result<Map<String, Value>, Ec2Error> {
        Ok(tree)
    }

    /// Carries it out.
    fn run(self, call: &Call<'_>) -> Answer;
}

/// What puts the parameters that a request refers to in the place of the reference.
type Expand = fn(Map<String, Value>, &Call<'_>) -> Result<Map<String, Value>, Ec2Error>;

/// A row of the table of actions.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The action's name.
    pub name: &'static str,
    /// Its effect, in a sentence.
    pub help: &'static str,
    /// Whether it is read-only.
    pub reads: bool,
    run: fn(Value, &Call<'_>) -> Answer,
    expanded: Expand,
    refusal: fn(Value) -> Option<Ec2Error>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entry").field(&self.name).finish()
    }
}

impl Entry {
    /// The row of an action.
    pub const fn of<A: Action>() -> Self {
        Self {
            name: A::NAME,
            help: A::HELP,
            reads: A::READS,
            run: |tree, call| read::<A>(tree)?.run(call),
            expanded: A::expanded,
            refusal: |tree| read::<A>(tree).err(),
        }
    }

    /// AWS's definition of the action.
    pub fn shape(&self) -> &'static ActionShape {
        actions().get(self.name).expect("a test looks every action up")
    }

    /// Carries a request out, or answers a dry run.
    pub fn call(&self, mut tree: Map<String, Value>, call: &Call<'_>) -> Answer {
        let dry = tree.remove("DryRun") == Some(Value::Bool(true));
        for required in &self.shape().required {
            if !tree.contains_key(required) {
                // EC2 calls the resources of tags by the name of the list.
                let name = match (self.name, required.as_str()) {
                    ("CreateTags" | "DeleteTags", "ResourceId") => "resourceIdSet",
                    (_, required) => required,
                };
                return Err(Ec2Error::missing(name));
            }
        }
        let tree = (self.expanded)(tree, call)?;
        if dry {
            if let Some(refusal) = (self.refusal)(Value::Object(tree)) {
                return Err(refusal);
            }
            // "Actions", EC2 API Reference: the code comes with 412.
            return Err(Ec2Error::new(
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            ));
        }
        (self.run)(Value::Object(tree), call)
    }

    /// Every parameter in AWS's definition, with its members, and whether it has an effect here.
    pub fn parameters(&self) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        for (name, shape) in &self.shape().parameters {
            self.visit(&mut vec![name.clone()], shape, &mut found);
        }
        found
    }

    fn visit(&self, path: &mut Vec<String>, shape: &Shape, found: &mut Vec<(String, bool)>) {
        match shape {
            Shape::Structure(members) => {
                for (name, member) in members {
                    path.push(name.clone());
                    self.visit(path, member, found);
                    path.pop();
                }
            }
            Shape::List([item]) => {
                path.push("N".to_owned());
                self.visit(path, item, found);
                path.pop();
            }
            Shape::Scalar(scalar) => found.push((path.join("."), self.takes(path, *scalar))),
        }
    }

    /// Whether the parameter type has this parameter.
    fn takes(&self, path: &[String], scalar: Scalar) -> bool {
        if path == ["DryRun"] {
            return true;
        }
        let value = match scalar {
            Scalar::Boolean => Value::from(true),
            Scalar::Integer => Value::from(1),
            Scalar::Double => Value::from(1.5),
            Scalar::String | Scalar::Timestamp | Scalar::Blob => Value::from("x"),
        };
        let tree = path.iter().rev().fold(value, |inner, part| match part.as_str() {
            "N" => Value::Array(vec![inner]),
            name => Value::Object(Map::from_iter([(name.to_owned(), inner)])),
        });
        (self.refusal)(tree).is_none_or(|refusal| refusal.code != "UnsupportedOperation")
    }
}

/// Deserializes the parameters of an action from the request's tree, whose names and types are AWS's.
fn read<A: DeserializeOwned>(tree: Value) -> Result<A, Ec2Error> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = wire_path(error.path());
        let inner = error.inner().to_string();
        if inner.starts_with("unknown field") || inner.starts_with("unknown variant") && path.is_empty() {
            Ec2Error::unsupported(&path)
        } else if let Some(name) = inner
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next())
        {
            Ec2Error::missing(&if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            })
        } else {
            Ec2Error::invalid_value(format!("Invalid value for the parameter {path}: {inner}"))
        }
    })
}

/// A path in the protocol's notation: lists count from 1.
fn wire_path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some((index + 1).to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    });
    segments.collect::<Vec<_>>().join(".")
}

/// A filter of a Describe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct Filter {
    /// Its name, as in `vpc-id`.
    pub name: String,
    /// The values, of which one has to match.
    #[serde(default)]
    pub value: Vec<String>,
}

/// Tags for a new resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct TagSpecification {
    /// The type of resource, as in `network-interface`.
    pub resource_type: Option<String>,
    /// The tags.
    #[serde(default)]
    pub tag: Vec<Tag>,
}

/// A tag.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value; empty if left out.
    pub value: Option<String>,
}

/// An attribute that is sent as `Name.Value`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct Attribute<T> {
    /// The value.
    pub value: T,
}
