//! Lists why a prefix list is refused, with the AWS code, the field and the remedy of each.

use ipnet::IpNet;

use super::AddressFamily;
use crate::model::error::RefusalKind;
use crate::model::ids::PrefixListId;

/// Why it is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixListError {
    /// A list without a name.
    #[error("The request must contain the parameter PrefixListName")]
    NoName,
    /// A name that cannot be.
    #[error("The prefix list name '{name}' is invalid: {reason}")]
    Name {
        /// As given.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// A list without a family.
    #[error("The request must contain the parameter AddressFamily")]
    NoFamily,
    /// A size that no list can have.
    #[error("The value {given} for MaxEntries is invalid: a prefix list has 1 to 1000 entries")]
    Size {
        /// As given.
        given: u32,
    },
    /// More entries than the list may have.
    #[error("The prefix list may have {most} entries, and this would be {given}")]
    TooMany {
        /// How many it may have.
        most: u32,
        /// How many there would be.
        given: usize,
    },
    /// A block of the other family.
    #[error("The CIDR {net} is not of the address family {family}")]
    Family {
        /// The block.
        net: IpNet,
        /// The family of the list.
        family: AddressFamily,
    },
    /// A block that the list has already, or that stands in one request twice.
    #[error("The prefix list already contains the CIDR {net}")]
    EntryExists {
        /// The block.
        net: IpNet,
    },
    /// A block that is to be added and taken away at once.
    #[error("Request cannot contain Cidr {net} in both AddPrefixListEntries and RemovePrefixListEntries")]
    Both {
        /// The block.
        net: IpNet,
    },
    /// A block to be taken away that the list does not have.
    #[error("The prefix list does not contain the CIDR {net}")]
    NoEntry {
        /// The block.
        net: IpNet,
    },
    /// A description that is too long.
    #[error("The description of {net} is longer than 255 characters")]
    Description {
        /// The block.
        net: IpNet,
    },
    /// Another version than the list is of.
    #[error("The prefix list has the version {current}, not {given}")]
    VersionMismatch {
        /// The version of the list.
        current: u64,
        /// As given.
        given: u64,
    },
    /// A version that the list never had.
    #[error("The prefix list has no version {given}")]
    NoVersion {
        /// As given.
        given: u64,
    },
    /// A list that rules name is to be deleted.
    #[error("The prefix list '{list}' has dependencies and cannot be deleted.")]
    InUse {
        /// The list.
        list: PrefixListId,
        /// The groups whose rules name it.
        groups: String,
    },
    /// A list of a service, which AWS manages.
    #[error("The prefix list '{list}' is managed by AWS and cannot be changed.")]
    Managed {
        /// The list.
        list: PrefixListId,
    },
    /// Too many lists.
    #[error("The maximum number of prefix lists has been reached.")]
    Limit,
}

impl PrefixListError {
    /// The EC2 API's error code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoName | Self::NoFamily => "MissingParameter",
            Self::TooMany { .. } => "PrefixListMaxEntriesExceeded",
            Self::EntryExists { .. } => "InvalidRequest",
            Self::VersionMismatch { .. } => "PrefixListVersionMismatch",
            Self::NoVersion { .. } => "PrefixListVersionNotFound",
            Self::InUse { .. } => "DependencyViolation",
            Self::Managed { .. } => "OperationNotPermitted",
            Self::Limit => "PrefixListLimitExceeded",
            Self::Name { .. }
            | Self::Size { .. }
            | Self::Family { .. }
            | Self::Both { .. }
            | Self::NoEntry { .. }
            | Self::Description { .. } => "InvalidParameterValue",
        }
    }

    /// The field at fault, in this API's spelling.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NoName | Self::Name { .. } => Some("list_name"),
            Self::NoFamily => Some("family"),
            Self::Size { .. } | Self::TooMany { .. } => Some("max_entries"),
            Self::Family { .. }
            | Self::EntryExists { .. }
            | Self::Both { .. }
            | Self::NoEntry { .. }
            | Self::Description { .. } => Some("entries"),
            Self::VersionMismatch { .. } => Some("current_version"),
            Self::NoVersion { .. } => Some("previous_version"),
            Self::InUse { .. } | Self::Managed { .. } | Self::Limit => None,
        }
    }

    /// What to do about it, as a sentence.
    pub fn remedy(&self) -> String {
        let text = match self {
            Self::NoName => "Give 'list_name', or 'name' for both.",
            Self::Name { .. } => "Use 1 to 255 characters, and begin with other letters than com.amazonaws.",
            Self::NoFamily => "Give IPv4 or IPv6, or an entry.",
            Self::Size { .. } => "Give 1 to 1000.",
            Self::TooMany { .. } => "Raise 'max_entries' first, or give fewer entries.",
            Self::Family { .. } => "A prefix list is of one family: make another list for the other one.",
            Self::EntryExists { .. } => "Give each CIDR once; to change a description, take the entry away first.",
            Self::Both { .. } => "Take it away in one request and add it in the next.",
            Self::NoEntry { .. } => "Show the prefix list to see its entries.",
            Self::Description { .. } => "Shorten it.",
            Self::VersionMismatch { .. } => "Show the prefix list, decide again, and give its version.",
            Self::NoVersion { .. } => "Give a version from 1 to the current one.",
            Self::InUse { groups, .. } => return format!("Revoke the rules of {groups} that name it first."),
            Self::Managed { .. } => "Make a prefix list of your own.",
            Self::Limit => "Remove something of the kind, or raise the limit in the server's configuration.",
        };
        text.to_owned()
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::NoEntry { .. } | Self::NoVersion { .. } => RefusalKind::NotFound,
            Self::TooMany { .. }
            | Self::EntryExists { .. }
            | Self::VersionMismatch { .. }
            | Self::InUse { .. }
            | Self::Managed { .. }
            | Self::Limit => RefusalKind::Conflict,
            Self::NoName
            | Self::Name { .. }
            | Self::NoFamily
            | Self::Size { .. }
            | Self::Family { .. }
            | Self::Both { .. }
            | Self::Description { .. } => RefusalKind::Invalid,
        }
    }
}
