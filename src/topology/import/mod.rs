//! Turns what `aws ec2 describe-*` printed into a topology file: the same identifiers, addresses, rules, routes and tags.
//!
//! Any subset of the lists will do. What the file cannot say, and what refers to something that is in none of the lists, is left
//! out and reported, with the reason.

mod filters;
mod hosts;
mod links;
mod names;
mod networks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use names::Labels;

/// The lists that are read, by their keys in the JSON of the AWS command line.
const LISTS: [&str; 17] = [
    "Vpcs",
    "Subnets",
    "RouteTables",
    "NetworkInterfaces",
    "Instances",
    "SecurityGroups",
    "NetworkAcls",
    "InternetGateways",
    "NatGateways",
    "EgressOnlyInternetGateways",
    "VpcPeeringConnections",
    "VpcEndpoints",
    "Addresses",
    "ManagedPrefixLists",
    "PrefixLists",
    "Entries",
    "DhcpOptions",
];
/// Keys that say nothing of a network.
const ASIDE: [&str; 3] = ["NextToken", "ResponseMetadata", "SecurityGroupRules"];

/// Something that the file does not have, or has in another form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The resource, by its identifier, or the part of a file.
    pub resource: String,
    /// What is not carried, and why.
    pub reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.resource, self.reason)
    }
}

/// Why a text is no answer of the AWS command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It is not JSON.
    #[error("{file} is no JSON: {problem}")]
    Json {
        /// The file.
        file: String,
        /// The parser's words.
        problem: String,
    },
    /// It is JSON of another form.
    #[error("{file} has no object with the lists that `aws ec2 describe-…` prints, such as Vpcs")]
    Form {
        /// The file.
        file: String,
    },
    /// There is nothing to import.
    #[error("no file has a list of VPCs, subnets, interfaces or anything else that is read")]
    Nothing,
}

impl ImportError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Json { .. } => "Write it with `aws ec2 describe-vpcs --output json >vpcs.json`, and without --query.",
            Self::Form { .. } | Self::Nothing => {
                "Give what `aws ec2 describe-… --output json` printed, without --query."
            }
        }
    }
}

/// An import: the lists that were read so far.
#[derive(Debug, Default)]
pub struct Import {
    lists: BTreeMap<&'static str, Vec<Value>>,
    left_out: Vec<LeftOut>,
}

/// The outcome: a topology file, and what it lacks.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// The file, as the JSON value that it could also be.
    pub topology: Value,
    /// What it lacks.
    pub left_out: Vec<LeftOut>,
}

impl Import {
    /// Reads a file with one answer or several, one after the other.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), ImportError> {
        let mut found = false;
        for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            let document = document.map_err(|error| ImportError::Json {
                file: file.to_owned(),
                problem: error.to_string(),
            })?;
            let Value::Object(document) = document else {
                return Err(ImportError::Form { file: file.to_owned() });
            };
            found = true;
            for (key, list) in document {
                self.take(file, &key, list);
            }
        }
        if found {
            Ok(())
        } else {
            Err(ImportError::Form { file: file.to_owned() })
        }
    }

    fn take(&mut self, file: &str, key: &str, list: Value) {
        let Value::Array(mut list) = list else {
            if !ASIDE.contains(&key) {
                self.leave(file, format!("`{key}` is no list that is read"));
            }
            return;
        };
        if key == "Reservations" {
            let instances = list
                .iter_mut()
                .filter_map(|reservation| match reservation["Instances"].take() {
                    Value::Array(instances) => Some(instances),
                    _ => None,
                });
            let instances: Vec<Value> = instances.flatten().collect();
            self.lists.entry("Instances").or_default().extend(instances);
            return;
        }
        if key == "Entries" {
            // GetManagedPrefixListEntries does not say whose entries they are.
            match names::list_in(file) {
                Some(id) => list.iter_mut().for_each(|entry| entry["PrefixListId"] = json!(id)),
                None => {
                    self.leave(
                        file,
                        "entries of a prefix list: call the file after the list, as in pl-0a1b2c3d4e5f60718.json",
                    );
                    return;
                }
            }
        }
        match LISTS.iter().find(|known| **known == key) {
            Some(known) => self.lists.entry(known).or_default().extend(list),
            None if ASIDE.contains(&key) => {}
            None => {
                for one in &list {
                    let id = id_of(one).unwrap_or(file);
                    self.leave(id, format!("`{key}` is not among the lists that are imported"));
                }
            }
        }
    }

    fn leave(&mut self, resource: &str, reason: impl Into<String>) {
        let left = LeftOut {
            resource: resource.to_owned(),
            reason: reason.into(),
        };
        if !self.left_out.contains(&left) {
            self.left_out.push(left);
        }
    }

    fn list(&self, key: &str) -> Vec<Value> {
        self.lists.get(key).cloned().unwrap_or_default()
    }

    /// Writes the topology file.
    pub fn finish(mut self) -> Result<Imported, ImportError> {
        if self.lists.values().all(Vec::is_empty) {
            return Err(ImportError::Nothing);
        }
        let mut work = Work {
            labels: Labels::default(),
            interfaces: hosts::interfaces(&self),
            file: Map::new(),
            import: &mut self,
        };
        work.name_all();
        work.networks();
        work.filters();
        work.hosts();
        work.edge();
        let topology = Value::Object(work.file);
        Ok(Imported {
            topology,
            left_out: self.left_out,
        })
    }
}

/// The identifier of an unknown resource: its first member that is called `…Id` and has the form of one.
fn id_of(resource: &Value) -> Option<&str> {
    let members = resource.as_object()?.iter();
    let mut ids = members
        .filter(|(name, _)| name.ends_with("Id"))
        .filter_map(|(_, id)| id.as_str());
    ids.find(|id| id.contains('-'))
}

/// The file in the making.
struct Work<'i> {
    import: &'i mut Import,
    labels: Labels,
    /// The interfaces of both lists, with the instances that they are attached to.
    interfaces: BTreeMap<String, Value>,
    file: Map<String, Value>,
}

impl Work<'_> {
    fn leave(&mut self, resource: &str, reason: impl Into<String>) {
        self.import.leave(resource, reason);
    }

    /// Puts a resource into a section of the file.
    fn put(&mut self, section: &str, label: &str, fields: Map<String, Value>) {
        let section = self.file.entry(section).or_insert_with(|| json!({}));
        section[label] = Value::Object(fields);
    }
}

/// A text of a resource, empty if it has none.
fn text<'v>(resource: &'v Value, name: &str) -> &'v str {
    resource[name].as_str().unwrap_or_default()
}

/// The items of a list of a resource.
fn items<'v>(resource: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    resource[name].as_array().into_iter().flatten()
}

/// One text of each item of a list.
fn texts(resource: &Value, list: &str, name: &str) -> Vec<Value> {
    items(resource, list)
        .map(|item| item[name].clone())
        .filter(Value::is_string)
        .collect()
}

/// The tags, as a file has them. Those of AWS's own are not a user's to give.
fn tags(resource: &Value) -> Map<String, Value> {
    // Instances and others have `Tags`, interfaces `TagSet`.
    let list = items(resource, "Tags").chain(items(resource, "TagSet"));
    let own = list.filter(|tag| !text(tag, "Key").starts_with("aws:"));
    own.map(|tag| (text(tag, "Key").to_owned(), json!(text(tag, "Value"))))
        .collect()
}

/// Fields with the identifier, and the tags if there are any.
fn fields_of(id: &str, label: &str, resource: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    if id != label {
        fields.insert("id".to_owned(), json!(id));
    }
    let tags = tags(resource);
    if !tags.is_empty() {
        fields.insert("tags".to_owned(), Value::Object(tags));
    }
    fields
}
