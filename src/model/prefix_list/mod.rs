//! Defines a prefix list: addresses under one name, for rules of security groups (VPC guide, "Managed prefix lists").
//! It has one family, a maximum size, and a version for each change of its entries.

mod error;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::endpoint::GatewayService;
use crate::model::ids::{PrefixListId, ResourceRef};
use crate::model::naming::Tags;

pub use self::error::PrefixListError;

/// The most entries of a list, whatever the limits say (VPC guide, "Amazon VPC quotas": 1000 unless it is raised).
pub const MOST_ENTRIES: u32 = 1000;

/// The family of the addresses of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum AddressFamily {
    /// IPv4.
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    Ipv6,
}

impl AddressFamily {
    /// The family of a block.
    pub fn of(net: IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }
}

impl std::fmt::Display for AddressFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// The entries of one version of a list: each block with its description, which may be empty.
pub type Entries = BTreeMap<IpNet, String>;

/// A prefix list as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// Its identifier.
    pub id: PrefixListId,
    /// Its unique name, if it has one. The EC2 API shows it as tag `Name`.
    pub name: Option<String>,
    /// What the EC2 API calls its name.
    pub list_name: String,
    /// The family of its addresses, for life.
    pub family: AddressFamily,
    /// How many entries it may have; a rule that names the list weighs as much (facts S10).
    pub max_entries: u32,
    /// Its version: 1, and one more for each change of its entries.
    pub version: u64,
    /// What its last change was.
    pub state: PrefixListState,
    /// The entries of each version.
    pub versions: BTreeMap<u64, Entries>,
    /// Tags other than the name.
    pub tags: Tags,
}

impl PrefixList {
    /// The blocks of its current version.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.versions
            .get(&self.version)
            .into_iter()
            .flat_map(|entries| entries.keys().copied())
    }

    /// The entries of its current version.
    pub fn entries(&self) -> Entries {
        self.versions.get(&self.version).cloned().unwrap_or_default()
    }

    /// Whether it is the list of a service with gateway endpoints, which is always there and not to be changed.
    pub fn is_managed(&self) -> bool {
        GatewayService::ALL
            .iter()
            .any(|service| service.prefix_list() == self.id)
    }

    /// Whether its addresses are of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.family == AddressFamily::Ipv6
    }

    /// How many entries it may have.
    pub fn most_entries(&self) -> usize {
        usize::try_from(self.max_entries).unwrap_or(usize::MAX)
    }
}

/// What the last change of a list was. Each is carried out at once, so none is ever under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PrefixListState {
    /// It was made.
    CreateComplete,
    /// Its entries, its name or its size were changed.
    ModifyComplete,
    /// The entries of an earlier version were taken back.
    RestoreComplete,
}

impl PrefixListState {
    /// As the EC2 API spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CreateComplete => "create-complete",
            Self::ModifyComplete => "modify-complete",
            Self::RestoreComplete => "restore-complete",
        }
    }
}

/// Makes a prefix list. Outcome: the list.
#[derive(Debug, Clone)]
pub struct CreatePrefixList {
    /// A name that no other list has.
    pub name: Option<String>,
    /// What the EC2 API calls its name; `name` if left out.
    pub list_name: Option<String>,
    /// The family of its addresses; that of its entries if left out.
    pub family: Option<AddressFamily>,
    /// How many entries it may have; as many as it has if left out.
    pub max_entries: Option<u32>,
    /// Its entries, each with a description.
    pub entries: Vec<(IpNet, String)>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes a prefix list; `None` leaves a field as it is. Outcome: the list as it is now.
#[derive(Debug, Clone)]
pub struct ModifyPrefixList {
    /// The list.
    pub list: ResourceRef<PrefixListId>,
    /// The version that it has to be of.
    pub current_version: Option<u64>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// Another name in the EC2 API.
    pub list_name: Option<String>,
    /// How many entries it may have.
    pub max_entries: Option<u32>,
    /// What changes about its entries.
    pub entries: EntriesChange,
    /// All tags.
    pub tags: Option<Tags>,
}

/// What changes about the entries of a list.
#[derive(Debug, Clone, Default)]
pub enum EntriesChange {
    /// Nothing.
    #[default]
    None,
    /// It has these and no others.
    All(Vec<(IpNet, String)>),
    /// Some are added and others taken away.
    Edit {
        /// Those that are added.
        add: Vec<(IpNet, String)>,
        /// Those that are taken away.
        remove: Vec<IpNet>,
    },
}

impl ModifyPrefixList {
    /// A command that changes nothing yet.
    pub fn new(list: impl Into<ResourceRef<PrefixListId>>) -> Self {
        Self {
            list: list.into(),
            current_version: None,
            name: None,
            list_name: None,
            max_entries: None,
            entries: EntriesChange::None,
            tags: None,
        }
    }
}

/// Gives a prefix list the entries of an earlier version, as a new one. Outcome: the list as it is now.
#[derive(Debug, Clone)]
pub struct RestorePrefixList {
    /// The list.
    pub list: ResourceRef<PrefixListId>,
    /// The version whose entries it gets.
    pub previous_version: u64,
    /// The version that it has to be of.
    pub current_version: u64,
}

/// Deletes a prefix list that no rule names. Outcome: the list as it was.
#[derive(Debug, Clone)]
pub struct DeletePrefixList(pub ResourceRef<PrefixListId>);
