//! The actions on managed prefix lists.

use ipnet::IpNet;
use serde::Deserialize;

use super::ids::reference;
use super::render::{ACCOUNT, arn, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::Selection;
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceRef;
use crate::model::prefix_list::{
    AddressFamily, CreatePrefixList, DeletePrefixList, EntriesChange, ModifyPrefixList, PrefixListError,
    RestorePrefixList,
};
use crate::model::security_group::Peer;
use crate::model::{ModelError, PrefixList};

/// The `ManagedPrefixList` of EC2's answers.
fn list(call: &Call<'_>, list: &PrefixList) -> Node {
    if list.is_managed() {
        return managed(call, list);
    }
    Node::map([
        ("prefixListId", Node::text(list.id)),
        ("addressFamily", Node::text(list.family)),
        ("state", Node::text(list.state.word())),
        ("prefixListArn", arn(call, "prefix-list", list.id)),
        ("prefixListName", Node::text(&list.list_name)),
        ("maxEntries", Node::text(list.max_entries)),
        ("version", Node::text(list.version)),
        ("ownerId", Node::text(ACCOUNT)),
        ("tagSet", tag_set(list.name.as_deref(), &list.tags)),
    ])
}

/// A list of AWS's: it has no version, and the tags of no account.
fn managed(call: &Call<'_>, list: &PrefixList) -> Node {
    let arn = format!("arn:aws:ec2:{}:aws:prefix-list/{}", call.controller().region(), list.id);
    Node::map([
        ("prefixListId", Node::text(list.id)),
        ("addressFamily", Node::text(list.family)),
        ("state", Node::text(list.state.word())),
        ("prefixListArn", Node::Text(arn)),
        ("prefixListName", Node::text(&list.list_name)),
        ("ownerId", Node::text("AWS")),
        ("tagSet", Node::List(Vec::new())),
    ])
}

fn cidr(text: &str) -> Result<IpNet, Ec2Error> {
    text.parse()
        .map_err(|_| Ec2Error::invalid_value(format!("CIDR block {} is malformed", printed(text))))
}

fn version(given: i64) -> Result<u64, Ec2Error> {
    u64::try_from(given).map_err(|_| Ec2Error::invalid_value(format!("{given} is not a version of a prefix list")))
}

fn size(given: i64) -> Result<u32, Ec2Error> {
    // Other numbers are refused with those that are too large.
    let given = u32::try_from(given).unwrap_or(0);
    match given {
        0 => Err(ModelError::from(PrefixListError::Size { given }).into()),
        given => Ok(given),
    }
}

/// An entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct EntryGiven {
    cidr: String,
    description: Option<String>,
}

/// The addresses of an entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CidrGiven {
    cidr: String,
}

fn entries(given: &[EntryGiven]) -> Result<Vec<(IpNet, String)>, Ec2Error> {
    let entries = given.iter();
    entries
        .map(|entry| Ok((cidr(&entry.cidr)?, entry.description.clone().unwrap_or_default())))
        .collect()
}

/// Makes a prefix list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateManagedPrefixList {
    prefix_list_name: String,
    #[serde(default)]
    entry: Vec<EntryGiven>,
    max_entries: i64,
    address_family: String,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    #[serde(rename = "ClientToken")]
    _client_token: Option<String>,
}

impl Action for CreateManagedPrefixList {
    const NAME: &'static str = "CreateManagedPrefixList";
    const HELP: &'static str = "Makes a prefix list";

    fn run(self, call: &Call<'_>) -> Answer {
        let given = Given::of(&self.tag_specification, "prefix-list")?;
        let family = match self.address_family.as_str() {
            "IPv4" => AddressFamily::Ipv4,
            "IPv6" => AddressFamily::Ipv6,
            other => {
                let message = format!(
                    "Value ({}) for parameter AddressFamily is invalid. Use IPv4 or IPv6.",
                    printed(other)
                );
                return Err(Ec2Error::invalid_value(message));
            }
        };
        let made = call.execute(CreatePrefixList {
            name: given.free_name(|name| call.controller().prefix_list(&ResourceRef::new(name)).is_ok()),
            list_name: Some(self.prefix_list_name),
            family: Some(family),
            max_entries: Some(size(self.max_entries)?),
            entries: entries(&self.entry)?,
            tags: given.tags,
        })?;
        Ok(vec![("prefixList", list(call, &made))])
    }
}

/// Changes a prefix list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyManagedPrefixList {
    prefix_list_id: String,
    current_version: Option<i64>,
    prefix_list_name: Option<String>,
    #[serde(default)]
    add_entry: Vec<EntryGiven>,
    #[serde(default)]
    remove_entry: Vec<CidrGiven>,
    max_entries: Option<i64>,
}

impl Action for ModifyManagedPrefixList {
    const NAME: &'static str = "ModifyManagedPrefixList";
    const HELP: &'static str = "Changes the entries, the name or the size of a prefix list";

    fn run(self, call: &Call<'_>) -> Answer {
        let edits = !self.add_entry.is_empty() || !self.remove_entry.is_empty();
        if edits && self.max_entries.is_some() {
            // EC2 API, ModifyManagedPrefixList: entries and size are changed by two requests.
            return Err(Ec2Error::combination(
                "You cannot modify the entries of a prefix list and modify the size of a prefix list at the same time.",
            ));
        }
        if edits && self.current_version.is_none() {
            return Err(Ec2Error::missing("CurrentVersion"));
        }
        let remove = self.remove_entry.iter().map(|entry| cidr(&entry.cidr));
        let entries = match edits {
            true => EntriesChange::Edit {
                add: entries(&self.add_entry)?,
                remove: remove.collect::<Result<_, _>>()?,
            },
            false => EntriesChange::None,
        };
        let changed = call.execute(ModifyPrefixList {
            current_version: self.current_version.map(version).transpose()?,
            list_name: self.prefix_list_name,
            max_entries: self.max_entries.map(size).transpose()?,
            entries,
            ..ModifyPrefixList::new(reference(&self.prefix_list_id)?)
        })?;
        Ok(vec![("prefixList", list(call, &changed))])
    }
}

/// Takes an earlier version of a prefix list back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RestoreManagedPrefixListVersion {
    prefix_list_id: String,
    previous_version: i64,
    current_version: i64,
}

impl Action for RestoreManagedPrefixListVersion {
    const NAME: &'static str = "RestoreManagedPrefixListVersion";
    const HELP: &'static str = "Gives a prefix list the entries of an earlier version, as a new one";

    fn run(self, call: &Call<'_>) -> Answer {
        let restored = call.execute(RestorePrefixList {
            list: reference(&self.prefix_list_id)?,
            previous_version: version(self.previous_version)?,
            current_version: version(self.current_version)?,
        })?;
        Ok(vec![("prefixList", list(call, &restored))])
    }
}

/// Deletes a prefix list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteManagedPrefixList {
    prefix_list_id: String,
}

impl Action for DeleteManagedPrefixList {
    const NAME: &'static str = "DeleteManagedPrefixList";
    const HELP: &'static str = "Deletes a prefix list that no rule names";

    fn run(self, call: &Call<'_>) -> Answer {
        let deleted = call.execute(DeletePrefixList(reference(&self.prefix_list_id)?))?;
        let shown = match list(call, &deleted) {
            Node::Map(members) => Node::map(members.into_iter().map(|(name, node)| match name {
                "state" => (name, Node::text("delete-complete")),
                _ => (name, node),
            })),
            other => other,
        };
        Ok(vec![("prefixList", shown)])
    }
}

/// Lists prefix lists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeManagedPrefixLists {
    #[serde(default)]
    prefix_list_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeManagedPrefixLists {
    const NAME: &'static str = "DescribeManagedPrefixLists";
    const HELP: &'static str = "Lists prefix lists";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.prefix_list_id {
            call.controller().prefix_list(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("PrefixListIds", &self.prefix_list_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let own = call.controller().prefix_lists();
        let all = [own, call.controller().managed_prefix_lists()].concat();
        let page = selection.of(call, all.iter().map(|one| list(call, one)), "prefixListId", &[])?;
        Ok(vec![
            ("prefixListSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Lists the entries of a prefix list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetManagedPrefixListEntries {
    prefix_list_id: String,
    target_version: Option<i64>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for GetManagedPrefixListEntries {
    const NAME: &'static str = "GetManagedPrefixListEntries";
    const HELP: &'static str = "Lists the entries of a prefix list, those of an earlier version if one is named";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let list = call.controller().prefix_list(&reference(&self.prefix_list_id)?)?;
        let given = self.target_version.map(version).transpose()?.unwrap_or(list.version);
        let entries = list.versions.get(&given).ok_or(PrefixListError::NoVersion { given });
        let entries = entries.map_err(|error| Ec2Error::from(ModelError::from(error)))?;
        let items = entries.iter().map(|(net, description)| {
            let text = (!description.is_empty()).then_some(description);
            Node::map([("cidr", Node::text(net)), ("description", Node::maybe(text))])
        });
        let selection = Selection {
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, items, "cidr", &[])?;
        Ok(vec![("entrySet", Node::List(page.items)), ("nextToken", page.next)])
    }
}

/// Lists what a prefix list is used by.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetManagedPrefixListAssociations {
    prefix_list_id: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for GetManagedPrefixListAssociations {
    const NAME: &'static str = "GetManagedPrefixListAssociations";
    const HELP: &'static str = "Lists the security groups whose rules name a prefix list";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let list = call.controller().prefix_list(&reference(&self.prefix_list_id)?)?;
        let items = call.controller().inspect(|network| {
            let groups = network.naming_groups(Peer::PrefixList(list.id));
            let item = |id: String| Node::map([("resourceId", Node::Text(id)), ("resourceOwner", Node::text(ACCOUNT))]);
            groups.map(|group| item(group.id.to_string())).collect::<Vec<_>>()
        });
        let selection = Selection {
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, items, "resourceId", &[])?;
        Ok(vec![
            ("prefixListAssociationSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}
