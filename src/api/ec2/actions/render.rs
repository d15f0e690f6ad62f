//! Renders resources as the elements of EC2's answers.

use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::naming::Tags;

pub(super) use crate::control::ACCOUNT;

/// A key with its value, as in `tagSet`.
fn tag(key: &str, value: &str) -> Node {
    Node::map([("key", Node::text(key)), ("value", Node::text(value))])
}

/// All tags. The name of a resource is its tag `Name`, unless it has such a tag of its own.
pub(super) fn tag_set(name: Option<&str>, tags: &Tags) -> Node {
    let own = name
        .filter(|_| !tags.contains_key("Name"))
        .map(|name| tag("Name", name));
    let others = tags.iter().map(|(key, value)| tag(key, value));
    Node::list(own.into_iter().chain(others))
}

/// The Amazon Resource Name of a resource of EC2.
pub(super) fn arn(call: &Call<'_>, kind: &str, id: impl std::fmt::Display) -> Node {
    Node::Text(format!(
        "arn:aws:ec2:{}:{ACCOUNT}:{kind}/{id}",
        call.controller().region()
    ))
}
