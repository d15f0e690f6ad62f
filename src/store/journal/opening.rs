//! Reads a folder and checks every commit and every record.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

use super::content::{Part, content};
use super::{JournalOptions, Writer, head_octets, schema};
use crate::store::rows::Row;
use crate::store::{Loaded, StoreError, sum};

impl Writer {
    /// Reads the state after the last commit, and checks every commit and every record.
    pub(super) fn read(
        database: Connection,
        head: File,
        path: &Path,
        options: &JournalOptions,
    ) -> Result<(Self, Loaded), StoreError> {
        let mut writer = Self {
            database,
            head,
            history: i64::try_from(options.history).unwrap_or(i64::MAX),
            latest: 0,
            next_sequence: 0,
            state: 0,
            mappings: 0,
            records: HashMap::new(),
            total: 0,
            oldest: 0,
            dropped: 0,
        };
        // Another server may write meanwhile, where this one follows.
        let of_one_instant = |words: &str, database: &Connection| {
            let done = database.execute_batch(words);
            done.map_err(|error| StoreError::of(path, error))
        };
        of_one_instant("BEGIN", &writer.database)?;
        writer.check_commits(path)?;
        let (mut records, mut mappings) = (0_u64, 0_u64);
        let loaded = content(
            &writer.database,
            path,
            (writer.latest, writer.next_sequence),
            |part| match part {
                Part::Record(record, value) => {
                    let sum = sum::of_record(record, value);
                    records = records.wrapping_add(sum);
                    writer.records.insert(record.to_owned(), sum);
                }
                Part::Mapping(subnet, address, owner) => {
                    mappings = mappings.wrapping_add(sum::of_mapping(subnet, address, owner));
                }
            },
        );
        let ended = of_one_instant("COMMIT", &writer.database);
        writer.mappings = mappings;
        // Of what is not what was written it does not matter what else is wrong with it.
        let wrong = || StoreError::Damaged {
            path: path.to_owned(),
            what: format!("the records are not those of revision {}", writer.latest),
        };
        match loaded {
            Ok(loaded) if records.wrapping_add(mappings) == writer.state => ended.map(|()| (writer, loaded)),
            Ok(_) | Err(StoreError::Damaged { .. }) => Err(wrong()),
            Err(error) => Err(error),
        }
    }

    fn check_commits(&mut self, path: &Path) -> Result<(), StoreError> {
        let damaged = |what: String| StoreError::Damaged {
            path: path.to_owned(),
            what,
        };
        let mut wrong = None;
        let mut last: Option<(Row, i64)> = None;
        let (mut oldest, mut dropped) = (0, 0);
        let read = schema::commits(&self.database, 0, i64::MAX, |row, total, sum| {
            let follows = last
                .as_ref()
                .is_none_or(|(before, _)| before.revision + 1 == row.revision);
            if row.sum() != sum || !follows {
                wrong = Some(row.revision);
                return false;
            }
            if last.is_none() {
                (oldest, dropped) = (row.revision, total - row.size());
            }
            last = Some((row, total));
            true
        });
        read.map_err(|error| StoreError::of(path, error))?;
        if let Some(revision) = wrong {
            return Err(damaged(format!("revision {revision} is not what was written")));
        }
        if let Some((row, total)) = last {
            self.latest = row.revision.cast_unsigned();
            self.next_sequence = row.next_sequence.cast_unsigned();
            self.state = row.state.cast_unsigned();
            (self.total, self.oldest, self.dropped) = (total, oldest, dropped);
        }
        Ok(())
    }

    /// Finds out whether an acknowledged commit is missing.
    pub(super) fn compare_head(&self, path: &Path, head_path: &Path, recover: bool) -> Result<(), StoreError> {
        let mut octets = [0; 16];
        let read = self.head.metadata().and_then(|found| match found.len() {
            0 => Ok(()),
            _ => self.head.read_exact_at(&mut octets, 0),
        });
        let revision = u64::from_le_bytes(std::array::from_fn(|at| octets[at]));
        let written = octets == [0; 16] || octets == head_octets(revision);
        let wrong = match (read, written) {
            (Ok(()), true) if revision <= self.latest => None,
            (Ok(()), true) => Some(StoreError::Lost {
                path: path.to_owned(),
                found: self.latest,
                acknowledged: revision,
            }),
            _ => Some(StoreError::Damaged {
                path: head_path.to_owned(),
                what: "it is not what was written".to_owned(),
            }),
        };
        match wrong {
            Some(error) if !recover => Err(error),
            _ => self.write_head().map_err(|source| StoreError::Open {
                path: head_path.to_owned(),
                source,
            }),
        }
    }
}
