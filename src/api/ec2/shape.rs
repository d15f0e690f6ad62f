//! Reads AWS's parameters and filters of each action: the generated table of names and types (`api/ec2/generate.py`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The type of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Shape {
    /// One value.
    Scalar(Scalar),
    /// `Name.1`, `Name.2`, …, each of the one type in here.
    List([Box<Self>; 1]),
    /// `Name.Member` for each member.
    Structure(BTreeMap<String, Self>),
}

/// The type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scalar {
    /// Any text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// A time, as in `2026-11-30T12:00:00Z`.
    Timestamp,
    /// Base64.
    Blob,
}

/// AWS's definition of one action.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionShape {
    /// `ec2` or `sts`.
    pub service: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, Shape>,
    /// The required ones.
    pub required: Vec<String>,
    /// The filters that its documentation lists; `tag:` stands for one by a tag's value.
    #[serde(default)]
    pub filters: Vec<String>,
}

impl ActionShape {
    /// Whether the action has a parameter.
    pub fn has(&self, parameter: &str) -> bool {
        self.parameters.contains_key(parameter)
    }
}

static ACTIONS: LazyLock<BTreeMap<String, ActionShape>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../api/ec2/inputs.json")).expect("a test reads the generated table")
});

/// All actions of the table, by name.
pub(super) fn actions() -> &'static BTreeMap<String, ActionShape> {
    &ACTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_table_is_read() {
        let assign = &actions()["AssignPrivateIpAddresses"];
        assert_eq!(assign.required, ["NetworkInterfaceId"]);
        assert_eq!(assign.parameters["AllowReassignment"], Shape::Scalar(Scalar::Boolean));
        assert!(matches!(assign.parameters["PrivateIpAddress"], Shape::List(_)));
        assert!(!assign.has("DryRun"), "the service model has none for it");
        let filters = &actions()["DescribeNetworkInterfaces"].filters;
        assert!(
            filters.iter().any(|name| name == "tag:") && filters.iter().any(|name| name == "attachment.instance-id")
        );
    }
}
