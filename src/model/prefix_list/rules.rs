//! Makes, changes, restores and deletes prefix lists; each change of the entries is a new version.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{
    AddressFamily, CreatePrefixList, DeletePrefixList, Entries, EntriesChange, MOST_ENTRIES, ModifyPrefixList,
    PrefixList, PrefixListError, PrefixListState, RestorePrefixList,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{PrefixListId, ResourceRef};
use crate::model::limits::Limits;
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};
use crate::model::security_group::{Peer, SecurityGroup};

/// The longest name and description (EC2 API, CreateManagedPrefixList).
const LONGEST: usize = 255;

impl Record for PrefixList {
    type Id = PrefixListId;

    fn id(&self) -> PrefixListId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for PrefixList {
    fn names(network: &mut Network) -> &mut Names<PrefixListId> {
        &mut network.prefix_list_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.prefix_lists.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.prefix_lists.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.prefix_lists().cloned().collect()
    }
}

fn check_list_name(name: &str) -> Result<(), PrefixListError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.chars().count() > LONGEST {
        "it is longer than 255 characters"
    } else if name.starts_with("com.amazonaws") {
        "names that begin with com.amazonaws are those of AWS"
    } else {
        return Ok(());
    };
    let name = name.to_owned();
    Err(PrefixListError::Name { name, reason })
}

/// Adds blocks, each of the list's family and each once.
fn add(entries: &mut Entries, new: Vec<(IpNet, String)>, family: AddressFamily) -> Result<(), PrefixListError> {
    for (net, description) in new {
        let net = net.trunc();
        if AddressFamily::of(net) != family {
            return Err(PrefixListError::Family { net, family });
        }
        if description.chars().count() > LONGEST {
            return Err(PrefixListError::Description { net });
        }
        if entries.insert(net, description).is_some() {
            return Err(PrefixListError::EntryExists { net });
        }
    }
    Ok(())
}

fn check_size(max_entries: u32, count: usize) -> Result<(), PrefixListError> {
    if !(1..=MOST_ENTRIES).contains(&max_entries) {
        return Err(PrefixListError::Size { given: max_entries });
    }
    let most = usize::try_from(max_entries).unwrap_or(usize::MAX);
    match count > most {
        true => Err(PrefixListError::TooMany {
            most: max_entries,
            given: count,
        }),
        false => Ok(()),
    }
}

impl Command for CreatePrefixList {
    type Outcome = PrefixList;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<PrefixList, ModelError> {
        if Limits::reached(edit.limits.prefix_lists, edit.prefix_lists().count()) {
            return Err(PrefixListError::Limit.into());
        }
        edit.prefix_list_names.check(self.name.as_deref(), None)?;
        let list_name = self.list_name.or_else(|| self.name.clone());
        let list_name = list_name.ok_or(PrefixListError::NoName)?;
        check_list_name(&list_name)?;
        let first = self.entries.first().map(|(net, _)| AddressFamily::of(*net));
        let family = self.family.or(first).ok_or(PrefixListError::NoFamily)?;
        let mut entries = Entries::new();
        add(&mut entries, self.entries, family)?;
        let least = u32::try_from(entries.len().max(1)).unwrap_or(u32::MAX);
        let max_entries = self.max_entries.unwrap_or(least);
        check_size(max_entries, entries.len())?;
        let list = PrefixList {
            id: fresh_id(edit.rng, |id| edit.network.prefix_lists.contains_key(&id)),
            name: self.name,
            list_name,
            family,
            max_entries,
            version: 1,
            state: PrefixListState::CreateComplete,
            versions: BTreeMap::from([(1, entries)]),
            tags: self.tags,
        };
        edit.create(list.clone());
        Ok(list)
    }
}

impl Command for ModifyPrefixList {
    type Outcome = PrefixList;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<PrefixList, ModelError> {
        let before = edit.own_prefix_list(&self.list)?.clone();
        check_version(&before, self.current_version)?;
        if let Some(name) = &self.name {
            edit.prefix_list_names.check(name.as_deref(), Some(before.id))?;
        }
        let list_name = self.list_name.unwrap_or_else(|| before.list_name.clone());
        check_list_name(&list_name)?;
        let mut entries = before.entries();
        match self.entries {
            EntriesChange::None => {}
            EntriesChange::All(all) => {
                entries.clear();
                add(&mut entries, all, before.family)?;
            }
            EntriesChange::Edit { add: new, remove } => {
                for net in remove.iter().map(IpNet::trunc) {
                    if new.iter().any(|(other, _)| other.trunc() == net) {
                        return Err(PrefixListError::Both { net }.into());
                    }
                    if entries.remove(&net).is_none() {
                        return Err(PrefixListError::NoEntry { net }.into());
                    }
                }
                add(&mut entries, new, before.family)?;
            }
        }
        let max_entries = self.max_entries.unwrap_or(before.max_entries);
        check_size(max_entries, entries.len())?;
        let mut after = PrefixList {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            list_name,
            max_entries,
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        if entries != before.entries() {
            after.version += 1;
            after.versions.insert(after.version, entries);
        }
        let changed = (&before.list_name, before.max_entries, before.version);
        if changed != (&after.list_name, after.max_entries, after.version) {
            after.state = PrefixListState::ModifyComplete;
        }
        edit.resize(before, after)
    }
}

impl Command for RestorePrefixList {
    type Outcome = PrefixList;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<PrefixList, ModelError> {
        let before = edit.own_prefix_list(&self.list)?.clone();
        check_version(&before, Some(self.current_version))?;
        let entries = before.versions.get(&self.previous_version).cloned();
        let entries = entries.ok_or(PrefixListError::NoVersion {
            given: self.previous_version,
        })?;
        check_size(before.max_entries, entries.len())?;
        let mut after = before.clone();
        after.version += 1;
        after.versions.insert(after.version, entries);
        after.state = PrefixListState::RestoreComplete;
        edit.resize(before, after)
    }
}

impl Command for DeletePrefixList {
    type Outcome = PrefixList;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<PrefixList, ModelError> {
        let list = edit.own_prefix_list(&self.0)?.clone();
        let groups = edit.naming_groups(Peer::PrefixList(list.id));
        let groups: Vec<String> = groups.map(|group| group.id.to_string()).collect();
        if !groups.is_empty() {
            let groups = groups.join(", ");
            return Err(PrefixListError::InUse { list: list.id, groups }.into());
        }
        edit.delete(list.clone());
        Ok(list)
    }
}

fn check_version(list: &PrefixList, given: Option<u64>) -> Result<(), PrefixListError> {
    match given.filter(|given| *given != list.version) {
        Some(given) => Err(PrefixListError::VersionMismatch {
            current: list.version,
            given,
        }),
        None => Ok(()),
    }
}

impl Edit<'_> {
    /// Stores a list; the groups whose rules name it weigh its size, and must have room for it.
    fn resize(&mut self, before: PrefixList, after: PrefixList) -> Result<PrefixList, ModelError> {
        self.replace(before, after.clone());
        let naming: Vec<SecurityGroup> = self.naming_groups(Peer::PrefixList(after.id)).cloned().collect();
        for group in &naming {
            self.check_quota(group)?;
        }
        Ok(after)
    }
}

impl Network {
    /// All prefix lists that were made, by identifier.
    pub fn prefix_lists(&self) -> impl Iterator<Item = &PrefixList> {
        self.prefix_lists.values().filter(|list| !list.is_managed())
    }

    /// The prefix lists of the services with gateway endpoints, which are always there.
    pub fn managed_prefix_lists(&self) -> impl Iterator<Item = &PrefixList> {
        self.prefix_lists.values().filter(|list| list.is_managed())
    }

    /// The prefix list behind a reference.
    pub fn prefix_list(&self, reference: &ResourceRef<PrefixListId>) -> Result<&PrefixList, ModelError> {
        let id = self.prefix_list_names.resolve(reference)?;
        self.prefix_lists.get(&id).ok_or_else(|| not_found(reference))
    }

    /// The prefix list behind a reference, unless it is one of a service's.
    fn own_prefix_list(&self, reference: &ResourceRef<PrefixListId>) -> Result<&PrefixList, ModelError> {
        let list = self.prefix_list(reference)?;
        match list.is_managed() {
            true => Err(PrefixListError::Managed { list: list.id }.into()),
            false => Ok(list),
        }
    }

    /// The blocks that a prefix list has now; none if there is no such list.
    pub fn blocks_of(&self, list: PrefixListId) -> impl Iterator<Item = IpNet> + '_ {
        self.prefix_lists.get(&list).into_iter().flat_map(PrefixList::blocks)
    }
}
