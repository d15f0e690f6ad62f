//! Lists why a security group, or a rule of one, is refused, with the AWS code, the field and the remedy of each.

use crate::model::error::RefusalKind;
use crate::model::ids::{SecurityGroupId, SecurityGroupRuleId, VpcId};
use crate::model::traffic::{Direction, Ports, Traffic, TrafficError};

use super::Peer;

/// Characters that a description may have (VPC guide, "Security group rules").
pub(super) const DESCRIPTION: &str = "._-:/()#,@[]+=&;{}!$* ";

/// Why it is refused, in EC2's words where they are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecurityGroupError {
    /// A group's name that another group of the VPC has.
    #[error("The security group '{name}' already exists for VPC '{vpc}'")]
    Duplicate {
        /// The name.
        name: String,
        /// The VPC.
        vpc: VpcId,
    },
    /// A group without a name.
    #[error("The request must contain the parameter GroupName")]
    NoName,
    /// A group's name that cannot be.
    #[error("Value ({name}) for parameter GroupName is invalid. {reason}")]
    Name {
        /// As given.
        name: String,
        /// Why, as a sentence.
        reason: &'static str,
    },
    /// A name that groups of several VPCs have.
    #[error("Several security groups are named '{name}': {ids}")]
    Ambiguous {
        /// The name.
        name: String,
        /// The groups.
        ids: String,
    },
    /// A description that cannot be.
    #[error(
        "Invalid {what} description. Valid descriptions are strings less than 256 characters from the following set:  \
         a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"
    )]
    Description {
        /// `security group` or `rule`.
        what: &'static str,
    },
    /// The default group of a VPC is to be deleted.
    #[error("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user")]
    Default {
        /// The group.
        id: SecurityGroupId,
    },
    /// A group that others need is to be deleted.
    #[error("resource {id} has a dependent object")]
    InUse {
        /// The group.
        id: SecurityGroupId,
        /// What needs it.
        dependents: String,
    },
    /// Traffic that cannot be.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// A rule without another side, or with several.
    #[error("A rule has exactly one of cidr, prefix_list and group, and this one has {given}")]
    Peers {
        /// How many.
        given: usize,
    },
    /// A rule that is there already.
    #[error("the specified rule \"{}\" already exists", sentence(.traffic, .peer))]
    RuleExists {
        /// Which packets.
        traffic: Traffic,
        /// The other side.
        peer: Peer,
    },
    /// A rule that stands in one request twice.
    #[error("The same permission must not appear multiple times")]
    RuleTwice,
    /// A rule that the group does not have.
    #[error("The specified rule does not exist in this security group.")]
    NoRule,
    /// A rule by an identifier that the group does not have.
    #[error("The security group rule ID '{rule}' does not exist")]
    NoRuleId {
        /// The rule.
        rule: SecurityGroupRuleId,
    },
    /// A rule of the other direction.
    #[error("The security group rule '{rule}' is not an {direction} rule")]
    Direction {
        /// The rule.
        rule: SecurityGroupRuleId,
        /// The direction that was asked for.
        direction: Direction,
    },
    /// A rule that is to have another side of another kind.
    #[error("The type of source or destination of the security group rule '{rule}' cannot be changed")]
    PeerKind {
        /// The rule.
        rule: SecurityGroupRuleId,
    },
    /// A group of another VPC as the other side of a rule.
    #[error("You have specified two resources that belong to different networks.")]
    DifferentNetworks {
        /// The group that was named.
        group: SecurityGroupId,
    },
    /// A group of another VPC for an interface.
    #[error("Security group {group} and subnet belong to different networks.")]
    ForeignGroup {
        /// The group.
        group: SecurityGroupId,
    },
    /// An interface that is to have no group.
    #[error("An interface has at least one security group")]
    NoGroups,
    /// An interface that is to have too many groups.
    #[error("The maximum number of security groups per interface has been reached.")]
    TooManyGroups {
        /// How many it may have.
        most: usize,
    },
    /// Too many groups, or rules.
    #[error("{text}")]
    Limit {
        /// The AWS code.
        code: &'static str,
        /// What would be too much.
        text: &'static str,
    },
}

/// A rule as EC2's message has it: `peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW`.
fn sentence(traffic: &Traffic, peer: &Peer) -> String {
    let range = match traffic {
        Traffic::All => "ALL".to_owned(),
        Traffic::Tcp(ports) => ec2_ports("TCP", *ports),
        Traffic::Udp(ports) => ec2_ports("UDP", *ports),
        Traffic::Icmp(messages) | Traffic::Icmpv6(messages) => {
            let open = |number: Option<u8>| number.map_or("ALL".to_owned(), |number| number.to_string());
            let name = traffic.protocol().to_string().to_uppercase();
            format!(
                "{name}, type: {}, code: {}",
                open(messages.kind()),
                open(messages.code())
            )
        }
        Traffic::Other(number) => number.to_string(),
    };
    format!("peer: {peer}, {range}, ALLOW")
}

fn ec2_ports(name: &str, ports: Ports) -> String {
    format!("{name}, from port: {}, to port: {}", ports.from(), ports.to())
}

impl SecurityGroupError {
    /// The EC2 API's error code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } => "InvalidGroup.Duplicate",
            Self::NoName => "MissingParameter",
            Self::Default { .. } => "CannotDelete",
            Self::InUse { .. } => "DependencyViolation",
            Self::Traffic(error) => error.code(),
            Self::RuleExists { .. } => "InvalidPermission.Duplicate",
            Self::NoRule => "InvalidPermission.NotFound",
            Self::NoRuleId { .. } => "InvalidSecurityGroupRuleId.NotFound",
            Self::DifferentNetworks { .. } => "InvalidGroup.NotFound",
            Self::ForeignGroup { .. } => "InvalidParameter",
            Self::NoGroups => "MissingParameter",
            Self::TooManyGroups { .. } => "SecurityGroupsPerInterfaceLimitExceeded",
            Self::Limit { code, .. } => code,
            Self::Name { .. }
            | Self::Ambiguous { .. }
            | Self::Description { .. }
            | Self::Peers { .. }
            | Self::RuleTwice
            | Self::Direction { .. }
            | Self::PeerKind { .. } => "InvalidParameterValue",
        }
    }

    /// The field at fault, in this API's spelling.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Duplicate { .. } | Self::NoName | Self::Name { .. } => Some("group_name"),
            Self::Ambiguous { .. } | Self::Default { .. } => Some("group"),
            Self::Description { .. } => Some("description"),
            Self::Traffic(error) => Some(error.field()),
            Self::Peers { .. } => Some("cidr"),
            Self::RuleExists { .. } | Self::RuleTwice | Self::NoRule => Some("rules"),
            Self::NoRuleId { .. } | Self::Direction { .. } | Self::PeerKind { .. } => Some("rule"),
            Self::DifferentNetworks { .. } => Some("group"),
            Self::ForeignGroup { .. } | Self::NoGroups | Self::TooManyGroups { .. } => Some("groups"),
            Self::InUse { .. } | Self::Limit { .. } => None,
        }
    }

    /// What to do about it, as a sentence.
    pub fn remedy(&self) -> String {
        let text = match self {
            Self::Duplicate { .. } => "Choose another name, or use the group that has it.",
            Self::NoName => "Give 'group_name', or 'name' for both.",
            Self::Name { .. } => {
                "Use up to 255 of a-zA-Z0-9, space and ._-:/()#,@[]+=&;{}!$*, and begin with none of sg-."
            }
            Self::Ambiguous { .. } => "Give the identifier of the one that is meant.",
            Self::Description { .. } => "Use other characters, at most 255.",
            Self::Default { .. } => "It lasts as long as its VPC: change its rules instead.",
            Self::InUse { dependents, .. } => return format!("Take it away from {dependents} first."),
            Self::Traffic(error) => error.remedy(),
            Self::Peers { .. } => "Give addresses as cidr, or a prefix_list, or a group.",
            Self::RuleExists { .. } => "Leave it out, or change the description of the one that is there.",
            Self::RuleTwice => "Give each rule once.",
            Self::NoRule => {
                "Show the group to see its rules; protocol, ports and the other side have to match exactly."
            }
            Self::NoRuleId { .. } => "Show the group to see its rules.",
            Self::Direction { .. } => "Name it among the rules of its own direction.",
            Self::PeerKind { .. } => "Revoke the rule and authorize another.",
            Self::DifferentNetworks { .. } => "Name a group of the same VPC, or peer the VPCs first.",
            Self::ForeignGroup { .. } => "Choose groups of the interface's VPC.",
            Self::NoGroups => "Give one group at least, or leave the field out.",
            Self::TooManyGroups { most } => return format!("Give at most {most} groups."),
            Self::Limit { .. } => "Remove something of the kind, or raise the limit in the server's configuration.",
        };
        text.to_owned()
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::NoRule | Self::NoRuleId { .. } => RefusalKind::NotFound,
            Self::Duplicate { .. }
            | Self::Ambiguous { .. }
            | Self::Default { .. }
            | Self::InUse { .. }
            | Self::RuleExists { .. }
            | Self::TooManyGroups { .. }
            | Self::Limit { .. } => RefusalKind::Conflict,
            Self::NoName
            | Self::Name { .. }
            | Self::Description { .. }
            | Self::Traffic(_)
            | Self::Peers { .. }
            | Self::RuleTwice
            | Self::Direction { .. }
            | Self::PeerKind { .. }
            | Self::DifferentNetworks { .. }
            | Self::ForeignGroup { .. }
            | Self::NoGroups => RefusalKind::Invalid,
        }
    }
}
