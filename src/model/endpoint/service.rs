//! Names the services that have gateway endpoints, and gives each its prefix list.
//!
//! The lists of EC2 hold the services' public addresses of a region. Here each is a block of the outside, so that a host of
//! the outside with an address of it plays the service.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::model::ids::{PrefixListId, ResourceId};
use crate::model::prefix_list::{AddressFamily, PrefixList, PrefixListState};

/// A service with gateway endpoints ("Gateway endpoints", VPC guide: there are two).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum GatewayService {
    /// Amazon S3.
    S3,
    /// Amazon DynamoDB.
    DynamoDb,
}

impl GatewayService {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::S3, Self::DynamoDb];

    /// The last word of its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::DynamoDb => "dynamodb",
        }
    }

    /// Its name in a region.
    pub fn full_name(self, region: &str) -> String {
        format!("com.amazonaws.{region}.{}", self.word())
    }

    /// The service of a name, in full or its last word.
    pub fn named(text: &str, region: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|service| text == service.word() || text == service.full_name(region))
    }

    /// The prefix list of its addresses. Its last digits are those of the list in us-east-1.
    pub fn prefix_list(self) -> PrefixListId {
        PrefixListId::from_bits(match self {
            Self::S3 => 0x63a5_400a,
            Self::DynamoDb => 0x02cd_2c6b,
        })
    }

    /// The service whose prefix list this names, by its name in any region or by its identifier.
    pub(crate) fn of_list(list: &str) -> Option<Self> {
        let is_meant = |service: &Self| {
            let region = list.strip_prefix("com.amazonaws.").unwrap_or_default();
            let region = region
                .strip_suffix(service.word())
                .and_then(|region| region.strip_suffix('.'));
            region.is_some_and(|region| !region.is_empty()) || list == service.prefix_list().to_string()
        };
        Self::ALL.into_iter().find(is_meant)
    }

    /// Its addresses: a block of the outside each.
    pub const fn block(self) -> Ipv4Net {
        let first = match self {
            Self::S3 => Ipv4Addr::new(198, 51, 100, 240),
            Self::DynamoDb => Ipv4Addr::new(198, 51, 100, 248),
        };
        Ipv4Net::new_assert(first, 29)
    }

    /// Whether connections to it are tracked whatever the rules are (firewall facts T3).
    pub const fn is_always_tracked(self) -> bool {
        matches!(self, Self::DynamoDb)
    }

    /// Its prefix list, as a record that is always there.
    pub(in crate::model) fn managed_list(self, region: &str) -> PrefixList {
        let name = self.full_name(region);
        let entries = BTreeMap::from([(IpNet::V4(self.block()), String::new())]);
        PrefixList {
            id: self.prefix_list(),
            name: Some(name.clone()),
            list_name: name,
            family: AddressFamily::Ipv4,
            max_entries: 1,
            version: 1,
            state: PrefixListState::CreateComplete,
            versions: BTreeMap::from([(1, entries)]),
            tags: Default::default(),
        }
    }
}

impl std::fmt::Display for GatewayService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}
