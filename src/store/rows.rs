//! Turns commits into rows of the database and back. Changes are JSON, so that a person can read the file and new kinds
//! of resources need no new format; only long lists of mappings are packed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::packed::{pack, unpack};
use super::sum;
use crate::model::change::{Change, Commit};

/// A list of more changed mappings than this is packed.
const READABLE: usize = 32;

/// A commit in the form of the database.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub(super) revision: i64,
    /// Microseconds since 1970.
    pub(super) at: i64,
    pub(super) author: String,
    pub(super) command: String,
    /// The changes as JSON. `{"packed": n}` stands for the n-th list of `lists`.
    pub(super) changes: String,
    /// Packed lists, each after its length in 8 octets.
    pub(super) lists: Vec<u8>,
    pub(super) next_sequence: i64,
    /// The sum of all records and mappings after the commit.
    pub(super) state: i64,
}

impl Row {
    pub(super) fn of(commit: &Commit, state: u64) -> Self {
        let mut lists = Vec::new();
        let mut packed = 0;
        let changes: Vec<Value> = commit
            .changes
            .iter()
            .map(|change| match change {
                Change::Mappings(list) if list.len() > READABLE => {
                    let octets = pack(list);
                    lists.extend_from_slice(&(octets.len() as u64).to_le_bytes());
                    lists.extend_from_slice(&octets);
                    packed += 1;
                    json!({ "packed": packed - 1 })
                }
                other => serde_json::to_value(other).unwrap_or_else(|error| unreachable!("changes are data: {error}")),
            })
            .collect();
        Self {
            revision: commit.revision.cast_signed(),
            at: micros(commit.at),
            author: commit.author.clone(),
            command: commit.command.clone(),
            changes: Value::Array(changes).to_string(),
            lists,
            next_sequence: commit.next_sequence.cast_signed(),
            state: state.cast_signed(),
        }
    }

    /// The checksum of the row.
    pub(super) fn sum(&self) -> i64 {
        let numbers = [self.revision, self.at, self.next_sequence, self.state];
        let numbers = numbers.map(i64::to_le_bytes).concat();
        let parts = [
            numbers.as_slice(),
            self.author.as_bytes(),
            self.command.as_bytes(),
            self.changes.as_bytes(),
            &self.lists,
        ];
        sum::of_parts(parts).cast_signed()
    }

    /// Its approximate size.
    pub(super) fn size(&self) -> i64 {
        const ROW: usize = 96;
        let octets = self.changes.len() + self.lists.len() + self.author.len() + self.command.len() + ROW;
        i64::try_from(octets).unwrap_or(i64::MAX)
    }

    /// The commit; `None` if the row is not one that was written.
    pub(super) fn commit(&self) -> Option<Commit> {
        let lists = self.lists()?;
        let changes: Vec<Value> = serde_json::from_str(&self.changes).ok()?;
        let changes = changes.into_iter().map(|value| match value.get("packed") {
            Some(place) => {
                let list = lists.get(usize::try_from(place.as_u64()?).ok()?)?;
                unpack(list).map(Change::Mappings)
            }
            None => serde_json::from_value(value).ok(),
        });
        Some(Commit {
            revision: self.revision.cast_unsigned(),
            at: time(self.at),
            author: self.author.clone(),
            command: self.command.clone(),
            changes: changes.collect::<Option<_>>()?,
            next_sequence: self.next_sequence.cast_unsigned(),
        })
    }

    fn lists(&self) -> Option<Vec<&[u8]>> {
        let (mut rest, mut lists) = (self.lists.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (length, tail) = rest.split_first_chunk::<8>()?;
            let (list, tail) = tail.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            lists.push(list);
            rest = tail;
        }
        Some(lists)
    }
}

/// A time in its written precision, microseconds.
fn micros(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> SystemTime {
    let since = Duration::from_micros(micros.max(0).cast_unsigned());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ResourceId;
    use crate::model::mapping::{MappingChange, Owner};
    use crate::model::{InterfaceId, SubnetId};

    fn commit(mappings: u32) -> Commit {
        let change = |number: u32| MappingChange {
            subnet: SubnetId::from_bits(1),
            address: std::net::IpAddr::from(number.to_be_bytes()).into(),
            before: None,
            after: Some(Owner {
                interface: InterfaceId::from_bits(2),
                sequence: number.into(),
            }),
        };
        Commit {
            revision: 9,
            at: time(1_700_000_000_123_456),
            author: "rest".to_owned(),
            command: "EditMappings".to_owned(),
            changes: vec![Change::Mappings((0..mappings).map(change).collect())],
            next_sequence: 77,
        }
    }

    #[test]
    fn a_row_is_the_commit_that_it_was_made_of_packed_or_not() {
        for mappings in [1, 32, 33, 5000] {
            let commit = commit(mappings);
            let row = Row::of(&commit, 5);
            assert_eq!(row.lists.is_empty(), mappings <= 32, "{mappings}");
            assert_eq!(row.commit(), Some(commit), "{mappings}");
        }
        let long = Row::of(&commit(5000), 5);
        assert!(long.size() < 5000 * 16, "{}", long.size());
    }

    #[test]
    fn whatever_is_altered_in_a_row_alters_its_checksum() {
        let row = || Row::of(&commit(40), 5);
        let alterations: [fn(&mut Row); 7] = [
            |row| row.revision += 1,
            |row| row.at += 1,
            |row| row.author.push('x'),
            |row| row.command.clear(),
            |row| row.changes = row.changes.replace('0', "1"),
            |row| row.lists[30] ^= 1,
            |row| row.state ^= 1,
        ];
        for (number, alter) in alterations.iter().enumerate() {
            let mut altered = row();
            alter(&mut altered);
            assert_ne!(altered.sum(), row().sum(), "alteration {number}");
        }
    }
}
