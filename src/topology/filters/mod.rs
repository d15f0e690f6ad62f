//! Security groups, network ACLs and prefix lists as a file has them: what is wanted, what runs, and how they are compared.
//!
//! Every VPC is made with a group and an ACL called `default`. In a layout they stand under the VPC's label with
//! `/default` behind it, which no name can be.

mod desired;
mod export;
mod running;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use super::layout::{Described, Fields, Label, field, list, tags, word};
use crate::model::naming::Tags;
use crate::model::network_acl::AclEntry;
use crate::model::prefix_list::AddressFamily;
use crate::model::traffic::{Direction, Traffic};

pub(super) use self::desired::{check, resolve};
pub(super) use self::export::{network_acl, prefix_list, security_group};
pub(super) use self::running::{Known, read};
pub(super) use self::steps::subject;

/// The label of what a VPC is made with.
pub(crate) fn default_of(vpc: &str) -> Label {
    format!("{vpc}/default")
}

/// The VPC of which a label means the default group or ACL.
pub(crate) fn vpc_of_default(label: &str) -> Option<&str> {
    label.strip_suffix("/default")
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Its VPC.
    pub vpc: Label,
    /// What the EC2 API calls its name.
    pub group_name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// What may come in.
    pub ingress: BTreeMap<Rule, Option<String>>,
    /// What may leave.
    pub egress: BTreeMap<Rule, Option<String>>,
    /// Tags.
    pub tags: Tags,
}

impl SecurityGroup {
    /// Whether it allows what the group does that a VPC is made with.
    pub(super) fn is_untouched(&self, label: &str, ipv6: bool) -> bool {
        let made = Self::made_with(&self.vpc, ipv6);
        vpc_of_default(label).is_some()
            && (&self.ingress, &self.egress, &self.tags) == (&made.ingress, &made.egress, &made.tags)
    }

    /// The default group of a VPC as it is made.
    pub(super) fn made_with(vpc: &str, ipv6: bool) -> Self {
        Self {
            vpc: vpc.to_owned(),
            ingress: BTreeMap::from([(Rule::all(Peer::Group(default_of(vpc))), None)]),
            egress: everything_out(ipv6),
            ..Self::default()
        }
    }
}

/// What a new group lets out.
pub(super) fn everything_out(ipv6: bool) -> BTreeMap<Rule, Option<String>> {
    let nets = [("0.0.0.0/0", true), ("::/0", ipv6)]
        .into_iter()
        .filter(|(_, has)| *has);
    let nets = nets.filter_map(|(text, _)| text.parse().ok());
    nets.map(|net| (Rule::all(Peer::Cidr(net)), None)).collect()
}

/// A rule: packets, and the other side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Which packets.
    pub traffic: Traffic,
    /// The other side.
    pub peer: Peer,
}

impl Rule {
    fn all(peer: Peer) -> Self {
        Self {
            traffic: Traffic::All,
            peer,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.traffic, self.peer)
    }
}

/// The other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Addresses.
    Cidr(IpNet),
    /// The addresses of this prefix list.
    PrefixList(Label),
    /// The interfaces that have this group.
    Group(Label),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(net) => net.fmt(f),
            Self::PrefixList(label) | Self::Group(label) => f.write_str(label),
        }
    }
}

/// A network ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkAcl {
    /// Its VPC.
    pub vpc: Label,
    /// The subnets that have it; of a default one they are not named.
    pub subnets: BTreeSet<Label>,
    /// What enters them.
    pub ingress: BTreeMap<u16, AclEntry>,
    /// What leaves them.
    pub egress: BTreeMap<u16, AclEntry>,
    /// Tags.
    pub tags: Tags,
}

impl NetworkAcl {
    /// Whether it has the entries that a VPC's is made with.
    pub(super) fn is_untouched(&self, label: &str, ipv6: bool) -> bool {
        vpc_of_default(label).is_some() && *self == Self::made_with(&self.vpc, ipv6)
    }

    /// The default ACL of a VPC as it is made.
    pub(super) fn made_with(vpc: &str, ipv6: bool) -> Self {
        let all = everything_through(ipv6);
        Self {
            vpc: vpc.to_owned(),
            ingress: all.clone(),
            egress: all,
            ..Self::default()
        }
    }

    /// Its entries as a command takes them.
    fn entries(&self) -> Vec<(Direction, u16, AclEntry)> {
        let ways = [(Direction::Ingress, &self.ingress), (Direction::Egress, &self.egress)];
        let entries = ways.into_iter().flat_map(|(direction, entries)| {
            let entries = entries.iter();
            entries.map(move |(number, entry)| (direction, *number, *entry))
        });
        entries.collect()
    }
}

fn everything_through(ipv6: bool) -> BTreeMap<u16, AclEntry> {
    let entries = [(100, AclEntry::ALLOW_IPV4, true), (101, AclEntry::ALLOW_IPV6, ipv6)];
    let entries = entries.into_iter().filter(|(.., has)| *has);
    entries.map(|(number, entry, _)| (number, entry)).collect()
}

/// A prefix list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixList {
    /// What the EC2 API calls its name.
    pub list_name: Option<String>,
    /// The family of its addresses.
    pub family: AddressFamily,
    /// How many entries it may have.
    pub max_entries: Option<u32>,
    /// Its entries, with their descriptions.
    pub entries: BTreeMap<IpNet, String>,
    /// Tags.
    pub tags: Tags,
}

fn rules<'r>(
    way: &'r str,
    rules: &'r BTreeMap<Rule, Option<String>>,
) -> impl Iterator<Item = (String, Option<String>)> + 'r {
    rules.iter().map(move |(rule, description)| {
        let text = description.as_deref().map_or_else(|| "allowed".to_owned(), word);
        field(&format!("{way}.{rule}"), text)
    })
}

impl Described for SecurityGroup {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            field("vpc", &self.vpc),
            ("group_name".to_owned(), self.group_name.clone()),
            ("description".to_owned(), self.description.as_deref().map(word)),
        ];
        fields.extend(rules("ingress", &self.ingress));
        fields.extend(rules("egress", &self.egress));
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        Fields::new()
    }

    fn can_change(field: &str) -> bool {
        !["vpc", "group_name", "description"].contains(&field)
    }
}

impl Described for NetworkAcl {
    fn fields(&self) -> Fields {
        let mut fields = vec![field("vpc", &self.vpc), field("subnets", list(&self.subnets))];
        for (way, entries) in [("ingress", &self.ingress), ("egress", &self.egress)] {
            let entries = entries.iter();
            fields.extend(entries.map(|(number, entry)| field(&format!("{way}.{number}"), entry)));
        }
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        vec![field("subnets", "none")]
    }

    fn can_change(field: &str) -> bool {
        field != "vpc"
    }
}

impl Described for PrefixList {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            ("list_name".to_owned(), self.list_name.clone()),
            field("family", self.family),
            ("max_entries".to_owned(), self.max_entries.map(|most| most.to_string())),
        ];
        let entries = self.entries.iter();
        fields.extend(entries.map(|(net, text)| field(&format!("entries.{net}"), word(text))));
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        Fields::new()
    }

    fn can_change(field: &str) -> bool {
        field != "family"
    }
}
