//! Defines [`Change`]: the effect of a command on the declared network, as data.
//!
//! A change contains identifiers, MAC addresses and sequence numbers as they were drawn, so that applying it elsewhere
//! gives the same network. It contains the former value too, so that it can be reverted. The data path, the events, a
//! dry run and a journal all read changes; none of them interprets commands.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::block_public_access::BlockPublicAccess;
use super::dhcp_options::DhcpOptionSet;
use super::egress_only::EgressOnlyGateway;
use super::elastic_ip::ElasticIp;
use super::endpoint::Endpoint;
use super::flow_log::FlowLog;
use super::ids::ResourceId;
use super::instance::Instance;
use super::interface::InterfaceRecord;
use super::internet_gateway::InternetGateway;
use super::key_pair::KeyPair;
use super::launch_template::LaunchTemplate;
use super::mapping::MappingChange;
use super::naming::Names;
use super::nat_gateway::NatGateway;
use super::network::Network;
use super::network_acl::{AclAssociationChange, NetworkAclRecord};
use super::peering::Peering;
use super::prefix_list::PrefixList;
use super::route_table::{Association, RouteChange, RouteTableRecord};
use super::security_group::SecurityGroup;
use super::subnet::Subnet;
use super::vpc::Vpc;

/// A resource as it is stored: everything that a user or a random draw decided, and nothing that can be computed.
pub trait Record: Clone + PartialEq {
    /// Its identifier.
    type Id: ResourceId;

    /// Its identifier, which never changes.
    fn id(&self) -> Self::Id;

    /// Its unique name, if it has one.
    fn name(&self) -> Option<&str>;
}

/// How the network stores a record.
pub(in crate::model) trait Stored: Record {
    /// The names in use for resources of this kind.
    fn names(network: &mut Network) -> &mut Names<Self::Id>;

    /// Replaces the former record, and updates every index. At least one of the two is given. Names have been updated
    /// already.
    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>);

    /// Every record of this kind, in any order.
    fn all(network: &Network) -> Vec<Self>;
}

/// A resource's record before and after: created if there was none before, deleted if there is none after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta<T> {
    /// The former record.
    pub before: Option<T>,
    /// The present record.
    pub after: Option<T>,
}

impl<T: Record> Delta<T> {
    /// The present record, or else the former one.
    pub fn record(&self) -> Option<&T> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The identifier of the resource.
    pub fn id(&self) -> Option<T::Id> {
        self.record().map(T::id)
    }

    /// Whether the resource is new.
    pub fn is_new(&self) -> bool {
        self.before.is_none()
    }

    /// Whether the resource is deleted.
    pub fn is_gone(&self) -> bool {
        self.after.is_none()
    }
}

/// The effect of a kind of change on a network. Neither method can fail, because a change has been checked already.
pub(in crate::model) trait Effect {
    /// Makes the change.
    fn apply(&self, network: &mut Network);
    /// Reverts it, provided that nothing else has changed since.
    fn revert(&self, network: &mut Network);
    /// Whether it has no effect.
    fn is_empty(&self) -> bool;
    /// The change that takes it back.
    fn inverse(&self) -> Self;
    /// The resource that it is about, by identifier where it has one.
    fn subject(&self) -> String;
    /// The changes of this kind that make what a network has of it from nothing.
    fn creating(network: &Network) -> Vec<Self>
    where
        Self: Sized;
    /// Appends what a store keeps of the resources that it changed; `network` is as it is after all changes of the command.
    fn entries(&self, network: &Network, entries: &mut Vec<Entry>);
}

/// What a store keeps of one resource, under the path by which it finds it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The identifier of the resource, or a path of its own for what has none.
    pub path: String,
    /// The change that makes the resource as it is from nothing; none for one that is gone.
    pub creating: Option<Change>,
}

impl<T: Stored> Effect for Box<Delta<T>>
where
    Change: From<Self>,
{
    fn apply(&self, network: &mut Network) {
        put(network, self.before.as_ref(), self.after.as_ref());
    }

    fn revert(&self, network: &mut Network) {
        put(network, self.after.as_ref(), self.before.as_ref());
    }

    fn is_empty(&self) -> bool {
        self.before == self.after
    }

    fn inverse(&self) -> Self {
        Box::new(Delta {
            before: self.after.clone(),
            after: self.before.clone(),
        })
    }

    fn subject(&self) -> String {
        self.id().map(|id| id.to_string()).unwrap_or_default()
    }

    fn creating(network: &Network) -> Vec<Self> {
        T::all(network).into_iter().map(created).collect()
    }

    fn entries(&self, _: &Network, entries: &mut Vec<Entry>) {
        entries.extend(self.id().map(|id| Entry {
            path: id.to_string(),
            creating: self.after.clone().map(|after| created(after).into()),
        }));
    }
}

/// The change that makes a record.
pub(in crate::model) fn created<T>(record: T) -> Box<Delta<T>> {
    Box::new(Delta {
        before: None,
        after: Some(record),
    })
}

fn put<T: Stored>(network: &mut Network, before: Option<&T>, after: Option<&T>) {
    if let Some(id) = after.or(before).map(T::id) {
        let (old, new) = (before.and_then(T::name), after.and_then(T::name));
        T::names(network).rename(id, old, new);
        T::put(network, before, after);
    }
}

/// Declares [`Change`] from its kinds, one line each, in an order in which a network can be made from nothing: a kind stands
/// below those that the data path has to know before it.
macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident($kind:ty),)*) => {
        /// One change of the declared network.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Change {
            $($(#[$doc])* $name($kind),)*
        }

        impl Effect for Change {
            fn apply(&self, network: &mut Network) {
                match self {
                    $(Self::$name(change) => Effect::apply(change, network),)*
                }
            }

            fn revert(&self, network: &mut Network) {
                match self {
                    $(Self::$name(change) => Effect::revert(change, network),)*
                }
            }

            fn is_empty(&self) -> bool {
                match self {
                    $(Self::$name(change) => Effect::is_empty(change),)*
                }
            }

            fn inverse(&self) -> Self {
                match self {
                    $(Self::$name(change) => Self::$name(Effect::inverse(change)),)*
                }
            }

            fn subject(&self) -> String {
                self.subject()
            }

            fn creating(network: &Network) -> Vec<Self> {
                let mut changes = Vec::new();
                $(changes.extend(<$kind as Effect>::creating(network).into_iter().map(Self::$name));)*
                changes
            }

            fn entries(&self, network: &Network, entries: &mut Vec<Entry>) {
                match self {
                    $(Self::$name(change) => Effect::entries(change, network, entries),)*
                }
            }
        }

        impl Change {
            /// The change that takes it back.
            #[must_use]
            pub fn inverse(&self) -> Self {
                Effect::inverse(self)
            }

            /// The resource that it is about, by identifier where it has one.
            pub fn subject(&self) -> String {
                match self {
                    $(Self::$name(change) => Effect::subject(change),)*
                }
            }

            /// The place of its kind in the list of kinds: what can only be made after other resources has a later one.
            pub fn place(&self) -> usize {
                const KINDS: &[&str] = &[$(stringify!($name)),*];
                let name = match self {
                    $(Self::$name(_) => stringify!($name),)*
                };
                KINDS.iter().position(|kind| *kind == name).unwrap_or(KINDS.len())
            }
        }

        $(impl From<$kind> for Change {
            fn from(change: $kind) -> Self {
                Self::$name(change)
            }
        })*
    };
}

changes! {
    /// A DHCP option set was created or deleted.
    DhcpOptions(Box<Delta<DhcpOptionSet>>),
    /// A VPC was created, changed or deleted.
    Vpc(Box<Delta<Vpc>>),
    /// A prefix list was created, changed or deleted, its entries included.
    PrefixList(Box<Delta<PrefixList>>),
    /// A security group was created, changed or deleted, its rules included.
    SecurityGroup(Box<Delta<SecurityGroup>>),
    /// A network ACL was created, changed or deleted, its entries included.
    NetworkAcl(Box<Delta<NetworkAclRecord>>),
    /// A subnet was created, changed or deleted.
    Subnet(Box<Delta<Subnet>>),
    /// A network interface was created, attached, changed, detached or deleted; its addresses are separate mappings.
    Interface(Box<Delta<InterfaceRecord>>),
    /// An instance was created, changed or deleted.
    Instance(Box<Delta<Instance>>),
    /// A route table was created, changed or deleted, its routes included.
    RouteTable(Box<Delta<RouteTableRecord>>),
    /// An internet gateway is made, attached, changed, detached or deleted.
    InternetGateway(Box<Delta<InternetGateway>>),
    /// A public address is allocated, associated, changed, disassociated or released.
    ElasticIp(Box<Delta<ElasticIp>>),
    /// A flow log was created, changed or deleted.
    FlowLog(Box<Delta<FlowLog>>),
    /// A NAT gateway is made, changed, deleted or forgotten.
    NatGateway(Box<Delta<NatGateway>>),
    /// An egress-only internet gateway is made, changed or deleted.
    EgressOnlyGateway(Box<Delta<EgressOnlyGateway>>),
    /// A peering connection is asked for, has another state, is changed or forgotten.
    Peering(Box<Delta<Peering>>),
    /// A gateway endpoint is made, changed or deleted.
    Endpoint(Box<Delta<Endpoint>>),
    /// What is blocked of the outside has changed, or what is excluded from it.
    BlockPublicAccess(Box<Delta<BlockPublicAccess>>),
    /// A public key is kept, has other tags, or is forgotten.
    KeyPair(Box<Delta<KeyPair>>),
    /// A launch template was created, changed or deleted, its versions included.
    LaunchTemplate(Box<Delta<LaunchTemplate>>),
    /// A route of a table that lives on is added, has another target, or is taken away.
    Route(RouteChange),
    /// A subnet's association with a route table changed.
    Association(Association),
    /// A subnet's association with a network ACL changed.
    AclAssociation(AclAssociationChange),
    /// Addresses and prefixes have other owners.
    Mappings(Vec<MappingChange>),
}

/// The changes of one command, with the metadata for a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its number; each commit has the next one.
    pub revision: u64,
    /// When it was made.
    pub at: SystemTime,
    /// Who asked for it: the face and its principal, as in `rest` or `instance a`.
    pub author: String,
    /// The command that was carried out, as in `CreateVpc`.
    pub command: String,
    /// What it changed, in order. Never empty.
    pub changes: Vec<Change>,
    /// The number that the next assignment gets after it.
    pub next_sequence: u64,
}
