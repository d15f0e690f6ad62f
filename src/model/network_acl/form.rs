//! Reads and writes an entry of a network ACL as REST and the files have it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AclAction, AclEntry, NetworkAclError};
use crate::model::traffic::{Ports, Protocol, Traffic};

/// An entry of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = NetworkAclEntry))]
#[serde(deny_unknown_fields)]
pub struct EntryForm {
    /// Its number, 1 to 32766: entries are tried in their order, and the first that matches decides.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 32768, example = 100))]
    pub number: u16,
    /// What becomes of the packets that match.
    pub action: AclAction,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `all`, or a number such as 112 for VRRP.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "tcp"))]
    pub protocol: Protocol,
    /// A destination port, a range such as `1024-65535`, or `all`; of TCP and UDP alone. All when left out.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "1024-65535"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Ports>,
    /// The ICMP type; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// The ICMP code; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Addresses of the other side, of either family.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "0.0.0.0/0"))]
    pub cidr: IpNet,
}

impl EntryForm {
    /// The entry.
    pub fn entry(&self) -> Result<AclEntry, NetworkAclError> {
        Ok(AclEntry {
            action: self.action,
            traffic: Traffic::of_fields(self.protocol, self.ports, self.icmp_type, self.icmp_code)?,
            cidr: self.cidr.trunc(),
        })
    }

    /// The form of an entry.
    pub fn of(number: u16, entry: &AclEntry) -> Self {
        let messages = entry.traffic.messages();
        Self {
            number,
            action: entry.action,
            protocol: entry.traffic.protocol(),
            ports: entry.traffic.ports(),
            icmp_type: messages.and_then(|messages| messages.kind()),
            icmp_code: messages.and_then(|messages| messages.code()),
            cidr: entry.cidr,
        }
    }
}
