//! Parses a request of the Query protocol: `Name.1.Member=value` pairs become one tree, typed by AWS's definition of
//! the action.
//!
//! Sizes are limited before anything is built, so that a hostile request costs no more than its bytes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::Ec2Error;
use super::shape::{ActionShape, Scalar, Shape};

/// The number of parameters of a request. botocore sends at most some hundreds.
pub(super) const MOST_PARAMETERS: usize = 10_000;
/// The levels of a name, as in `IpPermissions.1.Groups.1.GroupId`.
const DEEPEST: usize = 12;

/// Fields of every request that are not parameters of the action: AWS Signature Version 2 and 4 in the query string,
/// and the protocol itself.
const PROTOCOL: &[&str] = &[
    "Action",
    "Version",
    "AWSAccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "SecurityToken",
    "Timestamp",
    "Expires",
];

/// Texts that say something when they are empty: the value of a tag or of an attribute, a description that is taken away.
/// Any other empty text is as one that was not sent: Terraform sends an empty zone where its configuration names none.
const MAY_BE_EMPTY: &[&str] = &["Value", "Description", "GroupDescription", "UserData"];

/// A parsed request: its action, and its parameters by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The action, as in `DescribeVpcs`.
    pub action: String,
    /// The version of the API, as in `2016-11-15`.
    pub version: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Request {
    /// Reads a query string and a form.
    pub(super) fn parse(query: &[u8], form: &[u8]) -> Result<Self, Ec2Error> {
        let pairs = form_urlencoded::parse(query).chain(form_urlencoded::parse(form));
        let (mut action, mut version, mut parameters) = (None, None, Vec::new());
        for (name, value) in pairs {
            match name.as_ref() {
                "Action" => action = Some(value.into_owned()),
                "Version" => version = Some(value.into_owned()),
                name if PROTOCOL.contains(&name) || name.starts_with("X-Amz-") => {}
                _ if parameters.len() == MOST_PARAMETERS => {
                    return Err(Ec2Error::invalid_value(format!(
                        "The request has more than {MOST_PARAMETERS} parameters. Divide it into several requests."
                    )));
                }
                _ => parameters.push((name.into_owned(), value.into_owned())),
            }
        }
        let action =
            action.ok_or_else(|| Ec2Error::new("MissingAction", "The request must contain the parameter Action"))?;
        Ok(Self {
            action,
            version,
            parameters,
        })
    }

    /// The value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// How many parameters have names that begin so.
    pub(super) fn count(&self, start: &str) -> usize {
        self.parameters
            .iter()
            .filter(|(name, _)| name.starts_with(start))
            .count()
    }

    /// The parameters as one typed tree. A name that AWS does not have is refused.
    pub(super) fn tree(&self, shape: &ActionShape) -> Result<Map<String, Value>, Ec2Error> {
        let mut root = Tree::default();
        for (name, value) in &self.parameters {
            root.insert(name, value)?;
        }
        structure(root, &shape.parameters, "")
    }
}

/// Parameters by the parts of their names.
#[derive(Debug, Default)]
struct Tree<'a> {
    value: Option<&'a str>,
    members: BTreeMap<&'a str, Self>,
}

impl<'a> Tree<'a> {
    /// Whether it is a name with an empty value.
    fn is_empty(&self) -> bool {
        self.value == Some("") && self.members.is_empty()
    }

    fn insert(&mut self, name: &'a str, value: &'a str) -> Result<(), Ec2Error> {
        let mut node = self;
        for (depth, part) in name.split('.').enumerate() {
            if depth == DEEPEST || part.is_empty() {
                return Err(unknown(name));
            }
            // STS writes lists as `Tags.member.1`, EC2 as `Tag.1`.
            if part == "member" && depth > 0 {
                continue;
            }
            node = node.members.entry(part).or_default();
        }
        if node.value.replace(value).is_some() {
            return Err(Ec2Error::invalid_value(format!(
                "The parameter {} is given twice",
                printed(name)
            )));
        }
        Ok(())
    }
}

fn structure(tree: Tree<'_>, shape: &BTreeMap<String, Shape>, path: &str) -> Result<Map<String, Value>, Ec2Error> {
    let mut map = Map::new();
    for (name, member) in tree.members {
        let path = joined(path, name);
        let shape = shape.get(name).ok_or_else(|| unknown(&path))?;
        if matches!(shape, Shape::Scalar(Scalar::String)) && member.is_empty() && !MAY_BE_EMPTY.contains(&name) {
            continue;
        }
        map.insert(name.to_owned(), typed(member, shape, &path)?);
    }
    Ok(map)
}

fn typed(tree: Tree<'_>, shape: &Shape, path: &str) -> Result<Value, Ec2Error> {
    match shape {
        Shape::Scalar(scalar) => match tree.value {
            Some(value) if tree.members.is_empty() => scalar_value(value, *scalar, path),
            _ => Err(unknown(
                tree.members
                    .keys()
                    .next()
                    .map_or(path.to_owned(), |inner| joined(path, inner))
                    .as_str(),
            )),
        },
        Shape::Structure(_) | Shape::List(_) if tree.value.is_some() => match tree.value {
            // An empty list is sent as its bare name.
            Some("") if tree.members.is_empty() => Ok(Value::Array(Vec::new())),
            _ => Err(Ec2Error::invalid_value(format!(
                "The parameter {} takes members, not a value",
                printed(path)
            ))),
        },
        Shape::Structure(members) => structure(tree, members, path).map(Value::Object),
        Shape::List([item]) => {
            let mut numbered = Vec::with_capacity(tree.members.len());
            for (index, member) in tree.members {
                let number: u32 = index.parse().map_err(|_| unknown(&joined(path, index)))?;
                numbered.push((number, typed(member, item, &joined(path, index))?));
            }
            numbered.sort_by_key(|(number, _)| *number);
            Ok(numbered.into_iter().map(|(_, value)| value).collect())
        }
    }
}

fn scalar_value(value: &str, scalar: Scalar, path: &str) -> Result<Value, Ec2Error> {
    let wrong = |kind: &str| {
        Ec2Error::invalid_value(format!(
            "Invalid value '{}' for the parameter {}: it takes {kind}",
            printed(value),
            printed(path)
        ))
    };
    Ok(match scalar {
        Scalar::String | Scalar::Timestamp | Scalar::Blob => Value::from(value),
        Scalar::Boolean => match value {
            _ if value.eq_ignore_ascii_case("true") => Value::from(true),
            _ if value.eq_ignore_ascii_case("false") => Value::from(false),
            _ => return Err(wrong("true or false")),
        },
        Scalar::Integer => Value::from(value.parse::<i64>().map_err(|_| wrong("a whole number"))?),
        Scalar::Double => {
            let number: f64 = value.parse().map_err(|_| wrong("a number"))?;
            Value::from(serde_json::Number::from_f64(number).ok_or_else(|| wrong("a number"))?)
        }
    })
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn unknown(name: &str) -> Ec2Error {
    Ec2Error::new(
        "UnknownParameter",
        format!("The parameter {} is not recognized", printed(name)),
    )
}

/// As much of a client's text as an answer repeats.
pub(super) fn printed(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shape::actions;
    use super::*;

    fn tree(action: &str, form: &str) -> Result<Value, Ec2Error> {
        let request = Request::parse(b"", form.as_bytes())?;
        request.tree(&actions()[action]).map(Value::Object)
    }

    #[test]
    fn names_with_numbers_and_members_become_a_tree_of_typed_values() {
        let form = "Action=X&Version=2016-11-15&NetworkInterfaceId=eni-1&PrivateIpAddress.10=10.0.0.5&PrivateIpAddress.2=10.0.0.4\
                    &AllowReassignment=true";
        assert_eq!(
            tree("AssignPrivateIpAddresses", form).unwrap(),
            json!({"AllowReassignment": true, "NetworkInterfaceId": "eni-1", "PrivateIpAddress": ["10.0.0.4", "10.0.0.5"]})
        );
        let form = "Action=X&Filter.1.Name=tag%3AName&Filter.1.Value.1=a*&Filter.1.Value.2=b&MaxResults=5";
        assert_eq!(
            tree("DescribeVpcs", form).unwrap(),
            json!({"Filter": [{"Name": "tag:Name", "Value": ["a*", "b"]}], "MaxResults": 5})
        );
        let form = "Action=X&RoleArn=a&RoleSessionName=b&Tags.member.1.Key=k&Tags.member.1.Value=v";
        assert_eq!(
            tree("AssumeRole", form).unwrap(),
            json!({"RoleArn": "a", "RoleSessionName": "b", "Tags": [{"Key": "k", "Value": "v"}]})
        );
    }

    #[test]
    fn an_empty_text_is_as_none_unless_it_says_something() {
        let form = "Action=X&ImageId=&Placement.AvailabilityZone=&Placement.Tenancy=default&KeyName=";
        assert_eq!(
            tree("RunInstances", form).unwrap(),
            json!({"Placement": {"Tenancy": "default"}})
        );
        let form = "Action=X&ResourceId.1=i-1&Tag.1.Key=empty&Tag.1.Value=";
        assert_eq!(
            tree("CreateTags", form).unwrap(),
            json!({"ResourceId": ["i-1"], "Tag": [{"Key": "empty", "Value": ""}]})
        );
        let form = "Action=X&NetworkInterfaceId=eni-1&Description.Value=";
        assert_eq!(
            tree("ModifyNetworkInterfaceAttribute", form).unwrap(),
            json!({"NetworkInterfaceId": "eni-1", "Description": {"Value": ""}})
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let cases = [
            (
                "Colour=red",
                "UnknownParameter",
                "The parameter Colour is not recognized",
            ),
            (
                "Filter.1.Colour=red",
                "UnknownParameter",
                "The parameter Filter.1.Colour is not recognized",
            ),
            (
                "Filter.x.Name=red",
                "UnknownParameter",
                "The parameter Filter.x is not recognized",
            ),
            (
                "Filter..Name=red",
                "UnknownParameter",
                "The parameter Filter..Name is not recognized",
            ),
            (
                "NextToken.1=a",
                "UnknownParameter",
                "The parameter NextToken.1 is not recognized",
            ),
            (
                "Filter=a",
                "InvalidParameterValue",
                "The parameter Filter takes members, not a value",
            ),
            (
                "NextToken=a&NextToken=b",
                "InvalidParameterValue",
                "The parameter NextToken is given twice",
            ),
            (
                "MaxResults=many",
                "InvalidParameterValue",
                "Invalid value 'many' for the parameter MaxResults: it takes a whole number",
            ),
            (
                "DryRun=perhaps",
                "InvalidParameterValue",
                "Invalid value 'perhaps' for the parameter DryRun: it takes true or false",
            ),
        ];
        for (form, code, message) in cases {
            let error = tree("DescribeVpcs", &format!("Action=DescribeVpcs&{form}")).unwrap_err();
            assert_eq!((error.code.as_ref(), error.message.as_str()), (code, message), "{form}");
        }
        let error = Request::parse(b"Version=2016-11-15", b"").unwrap_err();
        assert_eq!(error.code, "MissingAction");
    }

    #[test]
    fn a_million_parameters_cost_no_more_than_their_octets() {
        let form: String = (0..1_000_000).map(|number| format!("&VpcId.{number}=a")).collect();
        let error = Request::parse(b"Action=DescribeVpcs", form.as_bytes()).unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue");
        let deep = format!("Action=DescribeVpcs&{}=1", ["a"; 100_000].join("."));
        assert_eq!(tree("DescribeVpcs", &deep).unwrap_err().code, "UnknownParameter");
    }
}
