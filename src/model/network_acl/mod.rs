//! Defines a network ACL: numbered entries that allow or deny packets at the border of a subnet (VPC guide, "Network
//! ACLs"). It is stateless: an answer needs an entry of its own.

mod error;
mod form;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::model::ids::{NetworkAclAssociationId, NetworkAclId, ResourceRef, SubnetId, VpcId};
use crate::model::naming::Tags;
use crate::model::traffic::{Direction, Traffic};

pub use self::error::NetworkAclError;
pub use self::form::EntryForm;

/// The number of the last entry for IPv4, which denies what no other entry decides (facts N1).
pub const LAST_IPV4: u16 = 32767;
/// The number of the last entry for IPv6.
pub const LAST_IPV6: u16 = 32768;

/// A network ACL as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAclRecord {
    /// Its identifier.
    pub id: NetworkAclId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC that it is part of.
    pub vpc_id: VpcId,
    /// The entries for what enters its subnets, by number, without the two last ones.
    pub ingress: BTreeMap<u16, AclEntry>,
    /// The entries for what leaves its subnets.
    pub egress: BTreeMap<u16, AclEntry>,
    /// Tags other than the name.
    pub tags: Tags,
}

impl NetworkAclRecord {
    /// The entries of one direction that a user can edit.
    pub fn own_entries(&self, direction: Direction) -> &BTreeMap<u16, AclEntry> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    fn own_entries_mut(&mut self, direction: Direction) -> &mut BTreeMap<u16, AclEntry> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// All entries of one direction in the order in which they are tried: the first that matches decides. The two last
    /// ones deny everything.
    pub fn entries(&self, direction: Direction) -> impl Iterator<Item = (u16, AclEntry)> + '_ {
        let own = self.own_entries(direction).iter();
        let last = [(LAST_IPV4, AclEntry::DENY_IPV4), (LAST_IPV6, AclEntry::DENY_IPV6)];
        own.map(|(number, entry)| (*number, *entry)).chain(last)
    }
}

/// A network ACL as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAcl {
    /// What is stored of it.
    pub record: NetworkAclRecord,
    /// Whether it is the one that its VPC was made with, which new subnets have.
    pub default: bool,
    /// The subnets that have it, by identifier.
    pub associations: Vec<AclAssociation>,
}

/// What an entry does with the packets that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = NetworkAclAction))]
#[serde(rename_all = "snake_case")]
pub enum AclAction {
    /// They pass.
    Allow,
    /// They are dropped.
    Deny,
}

impl fmt::Display for AclAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// An entry of a network ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AclEntry {
    /// What becomes of the packets that match.
    pub action: AclAction,
    /// Which packets.
    pub traffic: Traffic,
    /// The addresses of the other side: the source of what enters the subnet, the destination of what leaves it.
    pub cidr: IpNet,
}

impl AclEntry {
    /// Everything of IPv4 passes.
    pub const ALLOW_IPV4: Self = Self::all(
        AclAction::Allow,
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    );
    /// Everything of IPv6 passes.
    pub const ALLOW_IPV6: Self = Self::all(
        AclAction::Allow,
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    );
    const DENY_IPV4: Self = Self::all(
        AclAction::Deny,
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    );
    const DENY_IPV6: Self = Self::all(
        AclAction::Deny,
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    );

    const fn all(action: AclAction, cidr: IpNet) -> Self {
        Self {
            action,
            traffic: Traffic::All,
            cidr,
        }
    }
}

impl fmt::Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.action, self.traffic, self.cidr)
    }
}

/// The network ACL of a subnet. It has an identifier of its own, which changes with the ACL (facts N4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclAssociation {
    /// Its identifier.
    pub id: NetworkAclAssociationId,
    /// The subnet.
    pub subnet: SubnetId,
    /// The ACL.
    pub acl: NetworkAclId,
}

/// The network ACL of a subnet before and after. At least one of the two is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclAssociationChange {
    /// The association that there was.
    pub before: Option<AclAssociation>,
    /// The association that there is now.
    pub after: Option<AclAssociation>,
}

/// Makes a network ACL that denies everything. Outcome: the ACL.
#[derive(Debug, Clone)]
pub struct CreateNetworkAcl {
    /// A name that no other ACL has.
    pub name: Option<String>,
    /// The VPC.
    pub vpc: ResourceRef<VpcId>,
    /// Its entries, if it is to have some from the start.
    pub entries: Vec<(Direction, u16, AclEntry)>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes a network ACL; `None` leaves a field as it is. Outcome: the ACL as it is now.
#[derive(Debug, Clone)]
pub struct ModifyNetworkAcl {
    /// The ACL.
    pub acl: ResourceRef<NetworkAclId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All its entries but the two last ones.
    pub entries: Option<Vec<(Direction, u16, AclEntry)>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyNetworkAcl {
    /// A command that changes nothing yet.
    pub fn new(acl: impl Into<ResourceRef<NetworkAclId>>) -> Self {
        Self {
            acl: acl.into(),
            name: None,
            entries: None,
            tags: None,
        }
    }
}

/// Deletes a network ACL that no subnet has and that is not the default one. Outcome: the ACL as it was.
#[derive(Debug, Clone)]
pub struct DeleteNetworkAcl(pub ResourceRef<NetworkAclId>);

/// Edits one entry of a network ACL. Outcome: the ACL as it is now.
#[derive(Debug, Clone)]
pub struct EditEntry {
    /// The ACL.
    pub acl: ResourceRef<NetworkAclId>,
    /// Which way the entry looks.
    pub direction: Direction,
    /// Its number.
    pub number: u16,
    /// The edit.
    pub edit: EntryEdit,
}

/// One edit of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryEdit {
    /// Adds it; the number must be free.
    Create(AclEntry),
    /// Puts another in its place.
    Replace(AclEntry),
    /// Adds it, or puts it in the place of the one that is there.
    Put(AclEntry),
    /// Takes it away.
    Delete,
}

/// Gives a subnet this network ACL in place of the one that it has. Outcome: the association, which is a new one.
#[derive(Debug, Clone)]
pub struct AssociateNetworkAcl {
    /// The ACL.
    pub acl: ResourceRef<NetworkAclId>,
    /// The subnet, or the association that it has.
    pub subnet: AssociationRef,
}

/// The subnet that is to have another network ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssociationRef {
    /// By itself.
    Subnet(ResourceRef<SubnetId>),
    /// By the association that it has.
    Association(NetworkAclAssociationId),
}
