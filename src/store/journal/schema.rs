//! Creates the tables of a journal, and reads them completely.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::{JournalOptions, mapping};
use crate::model::mapping::Owner;
use crate::model::{AddressOrPrefix, SubnetId};
use crate::store::StoreError;
use crate::store::rows::Row;

/// The version of the format.
pub(in crate::store) const VERSION: i64 = 1;

/// `lvpc`: identifies the files to file(1) and to this program.
const APPLICATION: i64 = 0x6c76_7063;

const TABLES: &str = "
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE commits (
    revision INTEGER PRIMARY KEY, at INTEGER NOT NULL, author TEXT NOT NULL, command TEXT NOT NULL, changes TEXT NOT NULL,
    lists BLOB NOT NULL, next_sequence INTEGER NOT NULL, state INTEGER NOT NULL, total INTEGER NOT NULL, sum INTEGER NOT NULL
);
CREATE TABLE records (path TEXT PRIMARY KEY, revision INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE mappings (
    subnet INTEGER NOT NULL, address TEXT NOT NULL, interface INTEGER NOT NULL, sequence INTEGER NOT NULL,
    revision INTEGER NOT NULL, PRIMARY KEY (subnet, address)
) WITHOUT ROWID;
CREATE TABLE shelves (shelf TEXT NOT NULL, place TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (shelf, place)) WITHOUT ROWID;
CREATE VIEW history AS
    SELECT revision, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at, author, command, changes FROM commits;
CREATE VIEW addresses AS
    SELECT printf('subnet-0%016x', subnet) AS subnet, address, printf('eni-0%016x', interface) AS interface, revision
    FROM mappings;
";

pub(super) const INSERT_COMMIT: &str = "INSERT INTO commits \
    (revision, at, author, command, changes, lists, next_sequence, state, total, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A further connection to an existing database.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.busy_timeout(Duration::from_secs(5))?;
    database.set_prepared_statement_cache_capacity(32);
    // Statements get no temporary file: the calling thread may not be able to create one.
    database.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")?;
    Ok(database)
}

/// Opens the database for writing, and creates its tables if it is new.
pub(super) fn open(path: &Path, options: &JournalOptions) -> Result<Connection, StoreError> {
    let wrong = |error| StoreError::of(path, error);
    let foreign = |what: &str| StoreError::Foreign {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    if !path.exists() {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = std::fs::OpenOptions::new();
        let made = file.write(true).create_new(true).mode(0o600).open(path);
        made.map_err(|source| StoreError::Open {
            path: path.to_owned(),
            source,
        })?;
    }
    let database = connect(path).map_err(wrong)?;
    let number = |pragma: &str| {
        database
            .query_row(pragma, [], |row| row.get::<_, i64>(0))
            .map_err(wrong)
    };
    let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if tables == 0 {
        begin(&database, options).map_err(wrong)?;
    } else if application != APPLICATION {
        return Err(foreign("it is a SQLite database of another program"));
    } else if version > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
        });
    }
    let region: String = database
        .query_row("SELECT value FROM about WHERE name = 'region'", [], |row| row.get(0))
        .map_err(wrong)?;
    if region != options.region {
        return Err(StoreError::OtherRegion {
            path: path.to_owned(),
            found: region,
            given: options.region.clone(),
        });
    }
    // `together` syncs the log, where that is promised: what `FULL` does with each commit, it does with all that wait.
    // Checkpoints sync the log and the database in any case. `upkeep` makes them.
    let settings = "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -16384;";
    database.execute_batch(settings).map_err(wrong)?;
    Ok(database)
}

fn begin(database: &Connection, options: &JournalOptions) -> rusqlite::Result<()> {
    let mode: String = database.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(mode, "this file system takes no write-ahead log");
    }
    let batch = format!(
        "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {TABLES} COMMIT;"
    );
    database.execute_batch(&batch)?;
    let mut about = database.prepare("INSERT INTO about (name, value) VALUES (?, ?)")?;
    about.execute(params!["region", options.region])?;
    about.execute(params!["written by", concat!("localvpc ", env!("CARGO_PKG_VERSION"))])?;
    Ok(())
}

/// Reads all records. False if one is not what was written.
pub(super) fn records(database: &Connection, mut each: impl FnMut(String, &str)) -> rusqlite::Result<bool> {
    let mut query = database.prepare_cached("SELECT path, value FROM records")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (Ok(path), Ok(value)) = (row.get::<_, String>(0), row.get_ref(1)?.as_str()) else {
            return Ok(false);
        };
        each(path, value);
    }
    Ok(true)
}

/// Reads all mappings, by subnet. False if one is not what was written.
pub(super) fn mappings(
    database: &Connection,
    mut each: impl FnMut(SubnetId, AddressOrPrefix, Owner),
) -> rusqlite::Result<bool> {
    let mut query = database.prepare_cached("SELECT subnet, address, interface, sequence FROM mappings")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (subnet, address) = (row.get_ref(0)?.as_i64(), row.get_ref(1)?.as_str());
        let (interface, sequence) = (row.get_ref(2)?.as_i64(), row.get_ref(3)?.as_i64());
        let read = match (subnet, address, interface, sequence) {
            (Ok(subnet), Ok(address), Ok(interface), Ok(sequence)) => mapping(subnet, address, interface, sequence),
            _ => None,
        };
        let Some((subnet, address, owner)) = read else {
            return Ok(false);
        };
        each(subnet, address, owner);
    }
    Ok(true)
}

/// Reads commits after a revision, with their totals and checksums, until `each` returns that it has enough.
pub(super) fn commits(
    database: &Connection,
    after: i64,
    most: i64,
    mut each: impl FnMut(Row, i64, i64) -> bool,
) -> rusqlite::Result<()> {
    let mut query = database.prepare_cached(
        "SELECT revision, at, author, command, changes, lists, next_sequence, state, total, sum FROM commits \
         WHERE revision > ? ORDER BY revision LIMIT ?",
    )?;
    let mut rows = query.query([after, most])?;
    while let Some(row) = rows.next()? {
        let read = Row {
            revision: row.get(0)?,
            at: row.get(1)?,
            author: row.get(2)?,
            command: row.get(3)?,
            changes: row.get(4)?,
            lists: row.get(5)?,
            next_sequence: row.get(6)?,
            state: row.get(7)?,
        };
        if !each(read, row.get(8)?, row.get(9)?) {
            break;
        }
    }
    Ok(())
}
