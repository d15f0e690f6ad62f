//! Makes, changes and deletes network ACLs and their entries, and says which subnet has which.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{
    AclAssociation, AclAssociationChange, AclEntry, AssociateNetworkAcl, AssociationRef, CreateNetworkAcl,
    DeleteNetworkAcl, EditEntry, EntryEdit, LAST_IPV4, ModifyNetworkAcl, NetworkAcl, NetworkAclError, NetworkAclRecord,
};
use crate::model::change::{Effect, Entry, Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{NetworkAclAssociationId, NetworkAclId, ResourceRef, SubnetId, VpcId};
use crate::model::limits::Limits;
use crate::model::naming::{Names, Tags};
use crate::model::network::{Network, fresh_id, not_found};
use crate::model::traffic::Direction;
use crate::model::vpc::Vpc;

/// The number of the entry that allows all IPv4 in a default ACL (facts N3).
const DEFAULT_IPV4: u16 = 100;
/// The same for IPv6.
const DEFAULT_IPV6: u16 = 101;

impl Record for NetworkAclRecord {
    type Id = NetworkAclId;

    fn id(&self) -> NetworkAclId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for NetworkAclRecord {
    fn names(network: &mut Network) -> &mut Names<NetworkAclId> {
        &mut network.network_acl_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.network_acls.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.network_acls.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.network_acls.values().cloned().collect()
    }
}

impl AclAssociationChange {
    fn put(network: &mut Network, before: Option<AclAssociation>, after: Option<AclAssociation>) {
        if let Some(before) = before {
            network.acl_associations.remove(&before.id);
        }
        if let Some(after) = after {
            network.acl_associations.insert(after.id, after.subnet);
        }
        let subnet = after.or(before).map(|association| association.subnet);
        if let Some(state) = subnet.and_then(|subnet| network.subnets.get_mut(&subnet)) {
            state.network_acl = after.map(|association| (association.id, association.acl));
        }
    }
}

impl Effect for AclAssociationChange {
    fn apply(&self, network: &mut Network) {
        Self::put(network, self.before, self.after);
    }

    fn revert(&self, network: &mut Network) {
        Self::put(network, self.after, self.before);
    }

    fn is_empty(&self) -> bool {
        self.before == self.after
    }

    fn subject(&self) -> String {
        let association = self.after.or(self.before);
        association
            .map(|association| association.subnet.to_string())
            .unwrap_or_default()
    }

    fn inverse(&self) -> Self {
        Self {
            before: self.after,
            after: self.before,
        }
    }

    fn creating(network: &Network) -> Vec<Self> {
        let associated = network.subnets.iter().filter_map(|(subnet, state)| {
            let (id, acl) = state.network_acl?;
            let subnet = *subnet;
            Some(AclAssociation { id, acl, subnet })
        });
        associated
            .map(|association| Self {
                before: None,
                after: Some(association),
            })
            .collect()
    }

    fn entries(&self, _: &Network, entries: &mut Vec<Entry>) {
        let creating = self.after.map(|_| Self { before: None, ..*self }.into());
        entries.extend(self.after.or(self.before).map(|association| Entry {
            path: format!("acl-association/{}", association.subnet),
            creating,
        }));
    }
}

impl Command for CreateNetworkAcl {
    type Outcome = NetworkAcl;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkAcl, ModelError> {
        let vpc = edit.vpc(&self.vpc)?.id;
        let count = edit.network_acls.values().filter(|acl| acl.vpc_id == vpc).count();
        if Limits::reached(edit.limits.network_acls_per_vpc, count) {
            let text = "The maximum number of network ACLs has been reached.";
            let code = "NetworkAclLimitExceeded";
            return Err(NetworkAclError::Limit { code, text }.into());
        }
        edit.network_acl_names.check(self.name.as_deref(), None)?;
        let mut record = NetworkAclRecord {
            id: fresh_id(edit.rng, |id| edit.network.network_acls.contains_key(&id)),
            name: self.name,
            vpc_id: vpc,
            ingress: BTreeMap::new(),
            egress: BTreeMap::new(),
            tags: self.tags,
        };
        let id = record.id;
        edit.fill(&mut record, self.entries)?;
        edit.create(record);
        edit.network_acl(&id.into())
    }
}

impl Command for ModifyNetworkAcl {
    type Outcome = NetworkAcl;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkAcl, ModelError> {
        let before = edit.network_acl_record(&self.acl)?.clone();
        let id = before.id;
        if let Some(name) = &self.name {
            edit.network_acl_names.check(name.as_deref(), Some(id))?;
        }
        let mut after = NetworkAclRecord {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        if let Some(entries) = self.entries {
            edit.fill(&mut after, entries)?;
        }
        edit.replace(before, after);
        edit.network_acl(&id.into())
    }
}

impl Command for DeleteNetworkAcl {
    type Outcome = NetworkAcl;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkAcl, ModelError> {
        let acl = edit.network_acl(&self.0)?;
        let id = acl.record.id;
        if acl.default {
            return Err(NetworkAclError::Default { acl: id }.into());
        }
        if !acl.associations.is_empty() {
            let subnets = acl.associations.iter();
            let subnets: Vec<String> = subnets.map(|association| association.subnet.to_string()).collect();
            let subnets = subnets.join(", ");
            return Err(NetworkAclError::InUse { acl: id, subnets }.into());
        }
        edit.delete(acl.record.clone());
        Ok(acl)
    }
}

impl Command for EditEntry {
    type Outcome = NetworkAcl;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkAcl, ModelError> {
        let before = edit.network_acl_record(&self.acl)?.clone();
        let (id, number) = (before.id, check_number(self.number.into())?);
        let mut after = before.clone();
        let entries = after.own_entries_mut(self.direction);
        let there = entries.contains_key(&number);
        match self.edit {
            EntryEdit::Create(_) if there => return Err(NetworkAclError::EntryExists { number }.into()),
            EntryEdit::Replace(_) | EntryEdit::Delete if !there => {
                return Err(NetworkAclError::NoEntry { acl: id, number }.into());
            }
            EntryEdit::Create(entry) | EntryEdit::Replace(entry) | EntryEdit::Put(entry) => {
                entries.insert(number, canonical(entry));
                edit.check_entries(&after)?;
            }
            EntryEdit::Delete => drop(entries.remove(&number)),
        }
        edit.replace(before, after);
        edit.network_acl(&id.into())
    }
}

impl Command for AssociateNetworkAcl {
    type Outcome = AclAssociation;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<AclAssociation, ModelError> {
        let acl = edit.network_acl_record(&self.acl)?;
        let (acl, vpc) = (acl.id, acl.vpc_id);
        let subnet = match &self.subnet {
            AssociationRef::Subnet(reference) => edit.subnet(reference)?.id,
            AssociationRef::Association(id) => {
                let subnet = edit.acl_associations.get(id).copied();
                subnet.ok_or(NetworkAclError::NoAssociation { id: *id })?
            }
        };
        if edit.subnet(&subnet.into())?.vpc_id != vpc {
            return Err(NetworkAclError::DifferentNetworks { acl, subnet }.into());
        }
        Ok(edit.associate_acl(subnet, acl))
    }
}

/// A number that an entry can have.
fn check_number(given: i64) -> Result<u16, NetworkAclError> {
    match u16::try_from(given) {
        Ok(number) if (1..LAST_IPV4).contains(&number) => Ok(number),
        _ => Err(NetworkAclError::Number { given }),
    }
}

fn canonical(entry: AclEntry) -> AclEntry {
    AclEntry {
        cidr: entry.cidr.trunc(),
        ..entry
    }
}

impl Edit<'_> {
    /// The ACL that a VPC is made with: it allows everything (facts N3).
    pub(in crate::model) fn create_default_acl(&mut self, id: NetworkAclId, vpc: &Vpc) {
        let mut all = BTreeMap::from([(DEFAULT_IPV4, AclEntry::ALLOW_IPV4)]);
        if !vpc.ipv6_cidr_blocks.is_empty() {
            all.insert(DEFAULT_IPV6, AclEntry::ALLOW_IPV6);
        }
        self.create(NetworkAclRecord {
            id,
            name: None,
            vpc_id: vpc.id,
            ingress: all.clone(),
            egress: all,
            tags: Tags::new(),
        });
    }

    /// What the default ACL gets when its VPC gets IPv6, provided that its entries are those that it began with.
    pub(in crate::model) fn let_ipv6_through(&mut self, vpc: &Vpc) {
        let Some(before) = self.network_acls.get(&vpc.default_network_acl_id).cloned() else {
            return;
        };
        let mut all = BTreeMap::from([(DEFAULT_IPV4, AclEntry::ALLOW_IPV4)]);
        if before.ingress != all || before.egress != all {
            return;
        }
        all.insert(DEFAULT_IPV6, AclEntry::ALLOW_IPV6);
        let after = NetworkAclRecord {
            ingress: all.clone(),
            egress: all,
            ..before.clone()
        };
        self.replace(before, after);
    }

    /// Gives a subnet an ACL by a new association; the one that it has already stays.
    pub(in crate::model) fn associate_acl(&mut self, subnet: SubnetId, acl: NetworkAclId) -> AclAssociation {
        let before = self.acl_association(subnet);
        if let Some(before) = before.filter(|association| association.acl == acl) {
            return before;
        }
        let id = fresh_id(self.rng, |id| self.network.acl_associations.contains_key(&id));
        let after = AclAssociation { id, subnet, acl };
        self.make(AclAssociationChange {
            before,
            after: Some(after),
        });
        after
    }

    /// Takes the ACL of a subnet away that is being deleted.
    pub(in crate::model) fn dissociate_acl(&mut self, subnet: SubnetId) {
        let before = self.acl_association(subnet);
        self.make(AclAssociationChange { before, after: None });
    }

    /// Gives a record these entries and no others.
    fn fill(
        &self,
        record: &mut NetworkAclRecord,
        entries: Vec<(Direction, u16, AclEntry)>,
    ) -> Result<(), NetworkAclError> {
        record.ingress.clear();
        record.egress.clear();
        for (direction, number, entry) in entries {
            let number = check_number(number.into())?;
            let own = record.own_entries_mut(direction);
            if own.insert(number, canonical(entry)).is_some() {
                return Err(NetworkAclError::EntryExists { number });
            }
        }
        self.check_entries(record)
    }

    /// The last entry of each family counts as well (facts N6).
    fn check_entries(&self, record: &NetworkAclRecord) -> Result<(), NetworkAclError> {
        let Some(most) = self.limits.entries_per_network_acl else {
            return Ok(());
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            let entries = record.entries(direction);
            let ipv6 = entries.filter(|(_, entry)| matches!(entry.cidr, IpNet::V6(_))).count();
            let ipv4 = record.entries(direction).count() - ipv6;
            if ipv4.max(ipv6) > most {
                let text = "The maximum number of network ACL entries has been reached.";
                let code = "NetworkAclEntryLimitExceeded";
                return Err(NetworkAclError::Limit { code, text });
            }
        }
        Ok(())
    }
}

impl Network {
    /// The stored form of all network ACLs, by identifier.
    pub fn network_acl_records(&self) -> impl Iterator<Item = &NetworkAclRecord> {
        self.network_acls.values()
    }

    /// All network ACLs, by identifier.
    pub fn network_acls(&self) -> impl Iterator<Item = NetworkAcl> + '_ {
        let mut associations: BTreeMap<NetworkAclId, Vec<AclAssociation>> = BTreeMap::new();
        for subnet in self.subnets.keys() {
            if let Some(association) = self.acl_association(*subnet) {
                associations.entry(association.acl).or_default().push(association);
            }
        }
        let acls = self.network_acls.values();
        acls.map(move |record| NetworkAcl {
            record: record.clone(),
            default: self.is_default_acl(record),
            associations: associations.remove(&record.id).unwrap_or_default(),
        })
    }

    fn is_default_acl(&self, record: &NetworkAclRecord) -> bool {
        let vpc = self.vpcs.get(&record.vpc_id);
        vpc.is_some_and(|state| state.vpc.default_network_acl_id == record.id)
    }

    /// The stored form of the network ACL behind a reference.
    pub fn network_acl_record(&self, reference: &ResourceRef<NetworkAclId>) -> Result<&NetworkAclRecord, ModelError> {
        let id = self.network_acl_names.resolve(reference)?;
        self.network_acls.get(&id).ok_or_else(|| not_found(reference))
    }

    /// The network ACL behind a reference, with its subnets.
    pub fn network_acl(&self, reference: &ResourceRef<NetworkAclId>) -> Result<NetworkAcl, ModelError> {
        let record = self.network_acl_record(reference)?;
        let associations = self.subnets.keys().filter_map(|subnet| self.acl_association(*subnet));
        Ok(NetworkAcl {
            record: record.clone(),
            default: self.is_default_acl(record),
            associations: associations
                .filter(|association| association.acl == record.id)
                .collect(),
        })
    }

    /// The ACL that a VPC was made with.
    pub fn default_acl(&self, vpc: VpcId) -> Option<NetworkAclId> {
        Some(self.vpcs.get(&vpc)?.vpc.default_network_acl_id)
    }

    /// The association of a subnet with its network ACL. Each subnet has one.
    pub fn acl_association(&self, subnet: SubnetId) -> Option<AclAssociation> {
        let (id, acl) = self.subnets.get(&subnet)?.network_acl?;
        Some(AclAssociation { id, subnet, acl })
    }

    /// The network ACL of a subnet.
    pub fn acl_of(&self, subnet: SubnetId) -> Option<&NetworkAclRecord> {
        self.network_acls.get(&self.acl_association(subnet)?.acl)
    }

    /// The subnet that an association is of.
    pub fn subnet_of_association(&self, id: NetworkAclAssociationId) -> Option<SubnetId> {
        self.acl_associations.get(&id).copied()
    }
}
