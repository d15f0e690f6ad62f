//! Defines a plan: a list of changes for display, and the steps that make them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::edge::EdgeStep;
use super::filters::{NetworkAcl, PrefixList, SecurityGroup};
use super::flow_logs::FlowLogStep;
use super::layout::{
    Described, Fields, Instance, Interface, Kind, Label, OptionSet, OptionsChoice, Subnet, Target, Vpc,
};
use super::made_with::MadeWith;
use crate::control::ControlError;
use crate::model::AddressOrPrefix;
use crate::model::naming::Tags;

/// The action for a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = TopologyAction)]
pub enum Action {
    /// It is created.
    Create,
    /// Some of its fields change in place.
    Alter,
    /// It is deleted and created anew, because a field cannot change.
    Replace,
    /// It is deleted.
    Remove,
}

/// A field with a new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopologyFieldChange)]
pub struct FieldChange {
    /// Its name, as in the file.
    pub field: String,
    /// The running value; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The desired value; absent where it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// A change of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopologyChange)]
pub struct Change {
    /// The action.
    pub action: Action,
    /// The kind of resource.
    pub kind: Kind,
    /// Its name; the identifier of one that has none.
    pub name: Label,
    /// The fields that differ; of a new resource those that differ from the default.
    pub fields: Vec<FieldChange>,
    /// A note, such as that its subnet is replaced.
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

/// A running resource that is not in the file, and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopologyKept)]
pub struct Kept {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Label,
}

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{kind} {name}: {}{message} ({code}). {remedy}", .field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
#[schema(as = TopologyRefusal)]
pub struct Refusal {
    /// The kind of the refused resource.
    pub kind: Kind,
    /// Its name.
    pub name: Label,
    /// The wrong field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The error code of EC2 for this case.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    /// A refusal by the Controller.
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
    /// The interface gets the address, which has no owner.
    Assign(Label, AddressOrPrefix),
    /// The interface gets the address from its owner, in one step.
    Move(Label, AddressOrPrefix),
    /// The interface loses it.
    Unassign(Label, AddressOrPrefix),
}

/// A step. References are by label.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ends a host.
    RemoveInstance(Label),
    /// Detaches an interface that is not primary, and closes its device.
    Detach(Label),
    /// Edits mappings in one command.
    EditMappings(Vec<Edit>),
    /// Deletes an interface.
    DeleteInterface(Label),
    /// Deletes a subnet.
    DeleteSubnet(Label),
    /// Deletes a VPC.
    DeleteVpc(Label),
    /// Associates DHCP options with a VPC; none while its set is replaced.
    SetOptions(Label, OptionsChoice),
    /// Deletes a DHCP option set.
    DeleteOptions(Label),
    /// Creates a DHCP option set.
    CreateOptions(Label, OptionSet),
    /// Creates a VPC.
    CreateVpc(Label, Vpc),
    /// Sets all modifiable fields of a VPC.
    ModifyVpc(Label, Vpc),
    /// Creates a subnet.
    CreateSubnet(Label, Subnet),
    /// Gives a subnet all that can change.
    ModifySubnet(Label, Subnet),
    /// Makes an interface with its addresses.
    CreateInterface(Label, Interface, AnyAddress),
    /// Sets all modifiable fields of an interface except for its addresses.
    ModifyInterface(Label, Interface),
    /// Assigns an IPv6 address that the network chooses.
    ChooseIpv6(Label),
    /// Creates a route table, or names the one that the VPC was created with.
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
    /// Sets all modifiable fields of a route table except for routes and associations.
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
    /// Resets a main table to its initial state, except for its routes.
    ResetTable(Label),
    /// Deletes a route table.
    DeleteTable(Label),
    /// Creates a route, or replaces its target.
    PutRoute(Label, IpNet, Target),
    /// Deletes a route.
    DeleteRoute(Label, IpNet),
    /// Associates a subnet with this table.
    Associate(Label, Label),
    /// Returns a subnet to the main table.
    Disassociate(Label, Label),
    /// Associates an internet gateway with this table.
    AssociateGateway(Label, Label),
    /// Ends the association of an internet gateway with this table.
    DisassociateGateway(Label, Label),
    /// Edits an internet gateway or an Elastic IP address.
    Edge(EdgeStep),
    /// Edits a flow log.
    FlowLog(FlowLogStep),
    /// Makes a prefix list.
    CreateList(Label, PrefixList),
    /// Gives a prefix list all that can change.
    ModifyList(Label, PrefixList),
    /// Deletes a prefix list.
    DeleteList(Label),
    /// Makes a security group without rules.
    CreateGroup(Label, SecurityGroup),
    /// Gives a security group its rules and tags.
    SetRules(Label, SecurityGroup),
    /// Deletes a security group.
    DeleteGroup(Label),
    /// Makes a network ACL with its entries.
    CreateAcl(Label, NetworkAcl),
    /// Gives a network ACL its entries and tags.
    ModifyAcl(Label, NetworkAcl),
    /// Deletes a network ACL.
    DeleteAcl(Label),
    /// Gives a subnet this network ACL.
    GiveAcl(Label, Label),
    /// Starts a host.
    CreateInstance(Label, Instance),
    /// Attaches an interface to a host as its next device.
    Attach(Label, Label),
}

/// Whether a new interface gets a chosen IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyAddress {
    /// One that the network chooses.
    Ipv6,
    /// Only the given ones, and the primary one that every interface has.
    None,
}

/// The difference between the desired and the running network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The changes in the order of display: dependencies first.
    pub changes: Vec<Change>,
    /// The steps, each with the numbers of its changes.
    pub steps: Vec<(Vec<usize>, Step)>,
    /// Running resources that stay although they are not in the file.
    pub kept: Vec<Kept>,
    /// Why it cannot be carried out.
    pub refusal: Option<Refusal>,
    /// Identifiers of running resources with another label in the file.
    pub aliases: BTreeMap<(Kind, Label), String>,
    /// What new resources are made with.
    pub made_with: MadeWith,
}

impl Plan {
    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refusal.is_none()
    }
}

/// What happens to running resources that are not in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extras {
    /// They stay.
    #[default]
    Keep,
    /// They are removed.
    Remove,
}

/// The fields that differ. A field that is left to the network never differs.
pub(super) fn differences<T: Described>(old: &T, new: &T) -> Vec<FieldChange> {
    compare(&old.fields(), &new.fields())
}

/// The fields of a new resource that differ from the default.
pub(super) fn of_new<T: Described>(new: &T) -> Vec<FieldChange> {
    let changes = compare(&T::defaults(), &new.fields());
    let given = changes.into_iter().filter(|change| change.new.is_some());
    // The first item of a list is shown with the list.
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
