//! Implements the actions on DHCP option sets.

use serde::Deserialize;

use super::ids::reference;
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::dhcp_options::{
    CreateDhcpOptions as Create, DeleteDhcpOptions as Delete, DhcpOptionSet, DhcpOptions, DhcpOptionsChoice,
};
use crate::model::ids::ResourceRef;
use crate::model::vpc::ModifyVpc;

/// Filters whose name differs from that of their element.
const PLACES: &[Place] = &[
    ("key", "dhcpConfigurationSet.key"),
    ("value", "dhcpConfigurationSet.valueSet.value"),
];

/// Renders EC2's `DhcpOptions`.
fn set(set: &DhcpOptionSet) -> Node {
    let configuration = set.options.configuration().into_iter().map(|(key, values)| {
        let values = values.iter().map(|value| Node::map([("value", Node::text(value))]));
        Node::map([("key", Node::text(key)), ("valueSet", Node::list(values))])
    });
    Node::map([
        ("dhcpOptionsId", Node::text(set.id)),
        ("ownerId", Node::text(ACCOUNT)),
        ("dhcpConfigurationSet", Node::list(configuration)),
        ("tagSet", tag_set(set.name.as_deref(), &set.tags)),
    ])
}

/// One option with its values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DhcpConfiguration {
    key: String,
    #[serde(default)]
    value: Vec<String>,
}

/// Creates a set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateDhcpOptions {
    dhcp_configuration: Vec<DhcpConfiguration>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateDhcpOptions {
    const NAME: &'static str = "CreateDhcpOptions";
    const HELP: &'static str = "Makes a DHCP option set";

    fn run(self, call: &Call<'_>) -> Answer {
        let given = Given::of(&self.tag_specification, "dhcp-options")?;
        let configuration = self.dhcp_configuration.iter();
        let pairs = configuration.map(|one| (one.key.as_str(), one.value.iter().map(String::as_str)));
        let options = DhcpOptions::from_configuration(pairs).map_err(crate::model::ModelError::from)?;
        let made = call.execute(Create {
            name: given.free_name(|name| call.controller().dhcp_option_set(&ResourceRef::new(name)).is_ok()),
            options,
            tags: given.tags,
        })?;
        Ok(vec![("dhcpOptions", set(&made))])
    }
}

/// Deletes a set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteDhcpOptions {
    dhcp_options_id: String,
}

impl Action for DeleteDhcpOptions {
    const NAME: &'static str = "DeleteDhcpOptions";
    const HELP: &'static str = "Deletes a DHCP option set that no VPC has";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Delete(reference(&self.dhcp_options_id)?))?;
        done()
    }
}

/// Gives a VPC another set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssociateDhcpOptions {
    dhcp_options_id: String,
    vpc_id: String,
}

impl Action for AssociateDhcpOptions {
    const NAME: &'static str = "AssociateDhcpOptions";
    const HELP: &'static str = "Gives a VPC another DHCP option set, or none with the word default";

    fn run(self, call: &Call<'_>) -> Answer {
        let choice = match self.dhcp_options_id.as_str() {
            DhcpOptionsChoice::NONE => DhcpOptionsChoice::None,
            text => DhcpOptionsChoice::Set(reference(text)?),
        };
        call.execute(ModifyVpc {
            dhcp_options: Some(choice),
            ..ModifyVpc::new(reference(&self.vpc_id)?)
        })?;
        done()
    }
}

/// Lists sets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeDhcpOptions {
    #[serde(default)]
    dhcp_options_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeDhcpOptions {
    const NAME: &'static str = "DescribeDhcpOptions";
    const HELP: &'static str = "Lists DHCP option sets";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.dhcp_options_id {
            call.controller().dhcp_option_set(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("DhcpOptionsIds", &self.dhcp_options_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().dhcp_option_sets();
        let page = selection.of(call, all.iter().map(set), "dhcpOptionsId", PLACES)?;
        Ok(vec![
            ("dhcpOptionsSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}
