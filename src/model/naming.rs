//! Checks and resolves names: a name is unique among the resources of its kind, so that it can stand for the
//! identifier.

use std::collections::{BTreeMap, HashMap};

use super::error::ModelError;
use super::ids::{ResourceId, ResourceRef};

/// Tags as in AWS: any key, any value. The name is stored separately because it must be unique here.
pub type Tags = BTreeMap<String, String>;

/// The longest name (AWS allows a tag value of 256 characters).
const LONGEST: usize = 256;

/// Whether a text can be a name.
pub fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && !name.contains(|c: char| c.is_control() || c == '/')
}

/// The names of one kind of resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Names<T> {
    by_name: HashMap<Box<str>, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
        }
    }
}

impl<T: ResourceId> Names<T> {
    /// Refuses a name that another resource has, or that has the form of an identifier. `owner` is the resource that
    /// may already have it.
    pub(crate) fn check(&self, name: Option<&str>, owner: Option<T>) -> Result<(), ModelError> {
        let Some(name) = name else { return Ok(()) };
        let looks_like_an_id = name.strip_prefix(T::PREFIX).is_some_and(|rest| {
            rest.strip_prefix('-')
                .is_some_and(|d| d.len() == 17 && d.bytes().all(|b| b.is_ascii_hexdigit()))
        });
        let reason = if name.is_empty() {
            Some("it is empty")
        } else if name.len() > LONGEST {
            Some("it is longer than 256 bytes")
        } else if looks_like_an_id {
            Some("it has the form of an identifier")
        } else if name.contains(|c: char| c.is_control() || c == '/') {
            Some("it contains a slash or a control character")
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(ModelError::BadName {
                name: name.to_owned(),
                reason,
            });
        }
        match self.by_name.get(name) {
            Some(&holder) if Some(holder) != owner => Err(ModelError::NameTaken {
                kind: T::KIND,
                name: name.to_owned(),
                holder: holder.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Removes the old name and adds the new one; both were checked.
    pub(crate) fn rename(&mut self, id: T, old: Option<&str>, new: Option<&str>) {
        if let Some(old) = old {
            self.by_name.remove(old);
        }
        if let Some(new) = new {
            self.by_name.insert(new.into(), id);
        }
    }

    /// The identifier of a reference; the resource may not exist.
    pub(crate) fn resolve(&self, reference: &ResourceRef<T>) -> Result<T, ModelError> {
        match reference {
            ResourceRef::Id(id) => Ok(*id),
            ResourceRef::Name(name, _) => self
                .by_name
                .get(name)
                .copied()
                .ok_or_else(|| ModelError::not_found::<T>(name)),
        }
    }
}
