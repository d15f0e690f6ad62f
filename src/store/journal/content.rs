//! Reads the records and mappings of a journal, all of them.

use std::path::Path;

use rusqlite::Connection;

use super::schema;
use crate::model::change::Change;
use crate::model::mapping::{MappingChange, Owner};
use crate::model::{AddressOrPrefix, SubnetId};
use crate::store::{Loaded, StoreError};

/// A record or a mapping, as it is read.
pub(super) enum Part<'r> {
    Record(&'r str, &'r str),
    Mapping(SubnetId, AddressOrPrefix, Owner),
}

/// Reads all records and mappings, which are those of a revision with its next sequence number.
pub(super) fn content(
    database: &Connection,
    path: &Path,
    (revision, next_sequence): (u64, u64),
    mut each: impl FnMut(Part<'_>),
) -> Result<Loaded, StoreError> {
    let mut damaged = None;
    let mut changes: Vec<Change> = Vec::new();
    let records = schema::records(database, |path, value| {
        each(Part::Record(&path, value));
        match serde_json::from_str(value) {
            Ok(change) => changes.push(change),
            Err(error) => damaged = Some(format!("record {path} cannot be read: {error}")),
        }
    });
    changes.sort_by_key(Change::place);
    let mut list = Vec::new();
    let mappings = schema::mappings(database, |subnet, address, owner| {
        each(Part::Mapping(subnet, address, owner));
        list.push(MappingChange {
            subnet,
            address,
            before: None,
            after: Some(owner),
        });
    });
    let read = records.and(mappings).map_err(|error| StoreError::of(path, error))?;
    if let Some(what) = damaged.or_else(|| (!read).then(|| "a record cannot be read".to_owned())) {
        let path = path.to_owned();
        return Err(StoreError::Damaged { path, what });
    }
    if !list.is_empty() {
        changes.push(Change::Mappings(list));
    }
    Ok(Loaded {
        revision,
        next_sequence,
        changes,
    })
}
