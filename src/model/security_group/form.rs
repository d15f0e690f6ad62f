//! Reads and writes a rule as REST and the files have it: a protocol, ports or ICMP types, and one other side.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Peer, PeerRef, RuleSpec, SecurityGroupError, SecurityGroupRule};
use crate::model::ids::{PrefixListId, ResourceRef, SecurityGroupId};
use crate::model::naming::Tags;
use crate::model::traffic::{Direction, Ports, Protocol, Traffic};

/// A rule of a security group: which packets, and the other side, as one of `cidr`, `prefix_list` and `group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SecurityGroupRuleSpec))]
#[serde(deny_unknown_fields)]
pub struct RuleForm {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `all`, or a number such as 112 for VRRP.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "tcp"))]
    pub protocol: Protocol,
    /// A destination port, a range such as `8000-8080`, or `all`; of TCP and UDP alone. All when left out.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "80"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Ports>,
    /// The ICMP type; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// The ICMP code; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Addresses of the other side, of either family.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "10.0.0.0/16"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<IpNet>,
    /// The prefix list with the addresses of the other side.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_list: Option<ResourceRef<PrefixListId>>,
    /// The security group of the interfaces on the other side.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<ResourceRef<SecurityGroupId>>,
    /// Free text of up to 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl RuleForm {
    /// The packets that it is about.
    pub fn traffic(&self) -> Result<Traffic, SecurityGroupError> {
        Ok(Traffic::of_fields(
            self.protocol,
            self.ports,
            self.icmp_type,
            self.icmp_code,
        )?)
    }

    /// The other side.
    pub fn peer(&self) -> Result<PeerRef, SecurityGroupError> {
        match (&self.cidr, &self.prefix_list, &self.group) {
            (Some(net), None, None) => Ok(PeerRef::Cidr(*net)),
            (None, Some(list), None) => Ok(PeerRef::PrefixList(list.clone())),
            (None, None, Some(group)) => Ok(PeerRef::Group(group.clone())),
            (cidr, list, group) => Err(SecurityGroupError::Peers {
                given: usize::from(cidr.is_some()) + usize::from(list.is_some()) + usize::from(group.is_some()),
            }),
        }
    }

    /// The rule of one direction.
    pub fn spec(&self, direction: Direction) -> Result<RuleSpec, SecurityGroupError> {
        Ok(RuleSpec {
            direction,
            traffic: self.traffic()?,
            peer: self.peer()?,
            description: self.description.clone().filter(|text| !text.is_empty()),
            tags: Tags::new(),
        })
    }
}

impl From<&SecurityGroupRule> for RuleForm {
    fn from(rule: &SecurityGroupRule) -> Self {
        let (cidr, prefix_list, group) = match rule.peer {
            Peer::Cidr(net) => (Some(net), None, None),
            Peer::PrefixList(list) => (None, Some(list.into()), None),
            Peer::Group(group) => (None, None, Some(group.into())),
        };
        let messages = rule.traffic.messages();
        Self {
            protocol: rule.traffic.protocol(),
            ports: rule.traffic.ports(),
            icmp_type: messages.and_then(|messages| messages.kind()),
            icmp_code: messages.and_then(|messages| messages.code()),
            cidr,
            prefix_list,
            group,
            description: rule.description.clone(),
        }
    }
}
