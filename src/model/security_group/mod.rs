//! A security group: rules that allow packets to and from the interfaces that have it (VPC guide, "Security groups"). What
//! no rule of an interface's groups allows is dropped.

mod error;
mod form;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::ids::{PrefixListId, ResourceRef, SecurityGroupId, SecurityGroupRuleId, VpcId};
use crate::model::naming::Tags;
use crate::model::traffic::{Direction, Traffic};

pub use self::error::SecurityGroupError;
pub use self::form::RuleForm;

/// The name of the group that every VPC is made with.
pub const DEFAULT_GROUP: &str = "default";

/// The most groups of one interface, whatever the limits say: AWS raises its quota up to this.
pub const MOST_GROUPS: usize = 16;

/// A security group as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its identifier.
    pub id: SecurityGroupId,
    /// Its name among all resources of the kind, if it has one. The EC2 API shows it as tag `Name`.
    pub name: Option<String>,
    /// The VPC that it is part of.
    pub vpc_id: VpcId,
    /// What the EC2 API calls its name: unique within the VPC, for life.
    pub group_name: String,
    /// Free text, for life.
    pub description: String,
    /// Its rules, in the order in which they were added.
    pub rules: Vec<SecurityGroupRule>,
    /// Tags other than the name.
    pub tags: Tags,
}

impl SecurityGroup {
    /// Whether it is the one that its VPC was made with.
    pub fn is_default(&self) -> bool {
        self.group_name == DEFAULT_GROUP
    }

    /// Its rules of one direction.
    pub fn rules_of(&self, direction: Direction) -> impl Iterator<Item = &SecurityGroupRule> {
        self.rules.iter().filter(move |rule| rule.direction == direction)
    }

    /// One rule.
    pub fn rule(&self, id: SecurityGroupRuleId) -> Option<&SecurityGroupRule> {
        self.rules.iter().find(|rule| rule.id == id)
    }
}

/// A rule: packets of this kind may pass between the interface and the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// Its identifier.
    pub id: SecurityGroupRuleId,
    /// Which way.
    pub direction: Direction,
    /// Which packets.
    pub traffic: Traffic,
    /// The other side: the source of what comes in, the destination of what goes out.
    pub peer: Peer,
    /// Free text.
    pub description: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl SecurityGroupRule {
    /// Whether it allows the same as another.
    fn is_like(&self, direction: Direction, traffic: Traffic, peer: Peer) -> bool {
        (self.direction, self.traffic, self.peer) == (direction, traffic, peer)
    }
}

impl fmt::Display for SecurityGroupRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        write!(f, "{} {} {word} {}", self.direction, self.traffic, self.peer)
    }
}

/// The other side of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// Addresses of one family.
    Cidr(IpNet),
    /// The addresses of a prefix list.
    PrefixList(PrefixListId),
    /// The interfaces that have a group, by their private addresses.
    Group(SecurityGroupId),
}

impl Peer {
    /// Every IPv4 address.
    pub const ANY_IPV4: Self = Self::Cidr(IpNet::V4(ipnet::Ipv4Net::new_assert(
        std::net::Ipv4Addr::UNSPECIFIED,
        0,
    )));
    /// Every IPv6 address.
    pub const ANY_IPV6: Self = Self::Cidr(IpNet::V6(ipnet::Ipv6Net::new_assert(
        std::net::Ipv6Addr::UNSPECIFIED,
        0,
    )));
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(net) => net.fmt(f),
            Self::PrefixList(id) => id.fmt(f),
            Self::Group(id) => id.fmt(f),
        }
    }
}

/// The other side of a rule as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerRef {
    /// Addresses of one family.
    Cidr(IpNet),
    /// The addresses of a prefix list.
    PrefixList(ResourceRef<PrefixListId>),
    /// The interfaces that have a group; a name means one of the same VPC first.
    Group(ResourceRef<SecurityGroupId>),
}

/// A rule to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// Which way.
    pub direction: Direction,
    /// Which packets.
    pub traffic: Traffic,
    /// The other side.
    pub peer: PeerRef,
    /// Free text.
    pub description: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl RuleSpec {
    /// A rule without description and tags.
    pub fn new(direction: Direction, traffic: Traffic, peer: PeerRef) -> Self {
        Self {
            direction,
            traffic,
            peer,
            description: None,
            tags: Tags::new(),
        }
    }
}

/// A rule that is there already, as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleRef {
    /// By identifier.
    Id(SecurityGroupRuleId),
    /// By what it allows, exactly; descriptions need not match.
    Like(Direction, Traffic, PeerRef),
}

/// Makes a security group that allows all that leaves and nothing that comes in. Outcome: the group.
#[derive(Debug, Clone)]
pub struct CreateSecurityGroup {
    /// A name that no other group of any VPC has.
    pub name: Option<String>,
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
    /// A name that no other group of the VPC has; `name` if left out.
    pub group_name: Option<String>,
    /// Free text; the group's name if left out.
    pub description: Option<String>,
    /// What may come in.
    pub ingress: Vec<RuleSpec>,
    /// What may leave; everything if left out.
    pub egress: Option<Vec<RuleSpec>>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes a security group; `None` leaves a field as it is. Outcome: the group as it is now.
#[derive(Debug, Clone)]
pub struct ModifySecurityGroup {
    /// The group.
    pub group: ResourceRef<SecurityGroupId>,
    /// A new name, or none. What the EC2 API calls its name stays.
    pub name: Option<Option<String>>,
    /// All that may come in: a rule that is there already keeps its identifier.
    pub ingress: Option<Vec<RuleSpec>>,
    /// All that may leave.
    pub egress: Option<Vec<RuleSpec>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifySecurityGroup {
    /// A command that changes nothing yet.
    pub fn new(group: impl Into<ResourceRef<SecurityGroupId>>) -> Self {
        Self {
            group: group.into(),
            name: None,
            ingress: None,
            egress: None,
            tags: None,
        }
    }
}

/// Deletes a security group that no interface has and no rule of another group names. Outcome: the group as it was.
#[derive(Debug, Clone)]
pub struct DeleteSecurityGroup(pub ResourceRef<SecurityGroupId>);

/// Adds rules to a group, all of them or none. Outcome: the rules.
#[derive(Debug, Clone)]
pub struct AuthorizeRules {
    /// The group.
    pub group: ResourceRef<SecurityGroupId>,
    /// The rules.
    pub rules: Vec<RuleSpec>,
}

/// Takes rules away from a group, all of them or none. Outcome: the rules as they were.
#[derive(Debug, Clone)]
pub struct RevokeRules {
    /// The group.
    pub group: ResourceRef<SecurityGroupId>,
    /// The rules. One that is named by its identifier has to be of the direction, where one is given.
    pub rules: Vec<RuleRef>,
    /// The direction that rules have to be of.
    pub direction: Option<Direction>,
}

/// Gives rules of a group another meaning; each keeps its identifier. Outcome: the rules as they are now.
#[derive(Debug, Clone)]
pub struct ModifyRules {
    /// The group.
    pub group: ResourceRef<SecurityGroupId>,
    /// Each rule with what it allows from now on; its direction stays.
    pub rules: Vec<(SecurityGroupRuleId, RuleChange)>,
}

/// What a rule allows from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleChange {
    /// Which packets.
    pub traffic: Traffic,
    /// The other side, of the same kind as before.
    pub peer: PeerRef,
    /// Free text; none if left out.
    pub description: Option<String>,
}

/// Gives rules of a group other descriptions. Outcome: the rules as they are now.
#[derive(Debug, Clone)]
pub struct DescribeRules {
    /// The group.
    pub group: ResourceRef<SecurityGroupId>,
    /// The direction that the rules have to be of.
    pub direction: Direction,
    /// Each rule with its description; none takes it away.
    pub rules: Vec<(RuleRef, Option<String>)>,
}

/// Gives a rule other tags. Outcome: the rule as it is now.
#[derive(Debug, Clone)]
pub struct TagRule {
    /// The rule.
    pub rule: SecurityGroupRuleId,
    /// All tags.
    pub tags: Tags,
}
