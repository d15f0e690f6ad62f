//! What has to change so that what runs is what is wanted: a list of changes for people, and the steps that make them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::layout::{
    Described, Fields, Instance, Interface, Kind, Label, OptionSet, OptionsChoice, Subnet, Target, Vpc,
};
use crate::control::ControlError;
use crate::model::AddressOrPrefix;
use crate::model::naming::Tags;

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = TopologyAction)]
pub enum Action {
    /// It is made.
    Create,
    /// Fields of it change, and it lives on.
    Alter,
    /// It is taken away and made anew, for it has a field that cannot change.
    Replace,
    /// It is taken away.
    Remove,
}

/// A field that has another value than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopologyFieldChange)]
pub struct FieldChange {
    /// Its name, as in the file.
    pub field: String,
    /// What it is; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it shall be; absent where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// A change of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopologyChange)]
pub struct Change {
    /// What happens to it.
    pub action: Action,
    /// What it is.
    pub kind: Kind,
    /// Its name; the identifier of one that has none.
    pub name: Label,
    /// The fields that differ; of a new one those that are not as they are by default.
    pub fields: Vec<FieldChange>,
    /// What else there is to know, as that its subnet is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Create => "+",
            Action::Alter => "~",
            Action::Replace => "-/+",
            Action::Remove => "-",
        };
        write!(f, "{sign} {} {}", self.kind, self.name)?;
        let fields = self.fields.iter().map(|change| {
            let FieldChange { field, old, new } = change;
            match (old, new) {
                (Some(old), Some(new)) => format!("{field}: {old} -> {new}"),
                (None, Some(new)) if self.action == Action::Create => format!("{field}: {new}"),
                (None, Some(new)) => format!("{field}: + {new}"),
                (Some(old), None) => format!("{field}: - {old}"),
                (None, None) => field.clone(),
            }
        });
        let words: Vec<String> = fields.chain(self.note.clone()).collect();
        match words.is_empty() {
            true => Ok(()),
            false => write!(f, "  {}", words.join(", ")),
        }
    }
}

/// What runs, is not in the file, and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopologyKept)]
pub struct Kept {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Label,
}

/// Why a network cannot be as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{kind} {name}: {}{message} ({code}). {remedy}", .field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
#[schema(as = TopologyRefusal)]
pub struct Refusal {
    /// What was refused.
    pub kind: Kind,
    /// Its name.
    pub name: Label,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The error code that EC2 gives in this case.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    /// What the Controller said about a resource.
    pub fn new(kind: Kind, name: &str, error: &ControlError) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            field: error.field(),
            code: error.code().into(),
            message: error.to_string(),
            remedy: error.remedy(),
        }
    }
}

/// An edit of the mapping table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The interface gets the address, which nobody has.
    Assign(Label, AddressOrPrefix),
    /// The interface gets the address from the one that has it, in one step.
    Move(Label, AddressOrPrefix),
    /// The interface loses it.
    Unassign(Label, AddressOrPrefix),
}

/// One thing to do. References are by label.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ends a host.
    RemoveInstance(Label),
    /// Lets go of the device of an interface that is no host's primary one.
    Detach(Label),
    /// Edits mappings, all in one.
    EditMappings(Vec<Edit>),
    /// Deletes an interface.
    DeleteInterface(Label),
    /// Deletes a subnet.
    DeleteSubnet(Label),
    /// Deletes a VPC.
    DeleteVpc(Label),
    /// Gives a VPC other DHCP options; none for the time that its set is made anew.
    SetOptions(Label, OptionsChoice),
    /// Deletes a DHCP option set.
    DeleteOptions(Label),
    /// Makes a DHCP option set.
    CreateOptions(Label, OptionSet),
    /// Makes a VPC.
    CreateVpc(Label, Vpc),
    /// Gives a VPC all that can change.
    ModifyVpc(Label, Vpc),
    /// Makes a subnet.
    CreateSubnet(Label, Subnet),
    /// Gives a subnet all that can change.
    TagSubnet(Label, Tags),
    /// Makes an interface with its addresses.
    CreateInterface(Label, Interface, AnyAddress),
    /// Gives an interface all that can change but for its addresses.
    ModifyInterface(Label, Interface),
    /// Gives an interface an IPv6 address that the network chooses.
    ChooseIpv6(Label),
    /// Makes a route table, or names the one that the VPC was made with.
    CreateTable {
        /// Its label.
        table: Label,
        /// Its VPC.
        vpc: Label,
        /// Whether it is to be the main one.
        main: bool,
        /// Its tags.
        tags: Tags,
    },
    /// Gives a route table all that can change but for routes and associations.
    ModifyTable {
        /// Its label.
        table: Label,
        /// Its name, if it had none.
        name: Option<Label>,
        /// Whether it becomes the main one.
        main: bool,
        /// Its tags.
        tags: Tags,
    },
    /// Makes a main table as it was when its VPC was made, but for its routes.
    ResetTable(Label),
    /// Deletes a route table.
    DeleteTable(Label),
    /// Adds a route, or changes where it leads.
    PutRoute(Label, IpNet, Target),
    /// Takes a route away.
    DeleteRoute(Label, IpNet),
    /// Gives a subnet this table.
    Associate(Label, Label),
    /// Gives a subnet back to the main table.
    Disassociate(Label, Label),
    /// Starts a host.
    CreateInstance(Label, Instance),
    /// Attaches an interface to a host as its next device.
    Attach(Label, Label),
}

/// Whether a new interface gets an IPv6 address that nobody named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyAddress {
    /// One that the network chooses.
    Ipv6,
    /// None but those that are named, and the primary one that every interface has.
    None,
}

/// What has to change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The changes, in the order in which they are for people to read: what others depend on first.
    pub changes: Vec<Change>,
    /// The steps, each with the numbers of the changes that it is a part of.
    pub steps: Vec<(Vec<usize>, Step)>,
    /// What stays without being in the file.
    pub kept: Vec<Kept>,
    /// Why it cannot be done.
    pub refusal: Option<Refusal>,
    /// The identifiers of what runs under another label than the file's.
    pub aliases: BTreeMap<(Kind, Label), String>,
}

impl Plan {
    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refusal.is_none()
    }
}

/// What becomes of what runs and is not in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extras {
    /// It stays.
    #[default]
    Keep,
    /// It is taken away.
    Remove,
}

/// The fields that differ. What is left to the network differs from nothing.
pub(super) fn differences<T: Described>(old: &T, new: &T) -> Vec<FieldChange> {
    compare(&old.fields(), &new.fields())
}

/// The fields of a new resource that are not as they are by default.
pub(super) fn of_new<T: Described>(new: &T) -> Vec<FieldChange> {
    let changes = compare(&T::defaults(), &new.fields());
    let given = changes.into_iter().filter(|change| change.new.is_some());
    // The first of a list is shown with the list.
    let given = given.filter(|change| !change.field.starts_with("primary_"));
    given.map(|change| FieldChange { old: None, ..change }).collect()
}

fn compare(old: &Fields, new: &Fields) -> Vec<FieldChange> {
    let find = |fields: &Fields, name: &str| fields.iter().find(|(field, _)| field == name).cloned();
    let mut changes = Vec::new();
    for (field, text) in new {
        let Some(text) = text else { continue };
        let before = find(old, field).and_then(|(_, text)| text);
        if before.as_ref() != Some(text) {
            changes.push(FieldChange {
                field: field.clone(),
                old: before,
                new: Some(text.clone()),
            });
        }
    }
    for (field, text) in old {
        if let Some(text) = text
            && find(new, field).is_none()
        {
            changes.push(FieldChange {
                field: field.clone(),
                old: Some(text.clone()),
                new: None,
            });
        }
    }
    changes
}
