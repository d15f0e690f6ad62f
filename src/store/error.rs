//! Defines why a store cannot be opened, read or written, each error with its remedy.

use std::io;
use std::path::PathBuf;

use super::journal::VERSION;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// The folder or file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another server uses the folder.
    #[error("{}: a server uses this state already{}", path.display(), process(*.by))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The number of its process, if it is in the lock file.
        by: Option<u32>,
    },
    /// A file of another program.
    #[error("{}: this is not the state of a localvpc network ({what})", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What the file is.
        what: String,
    },
    /// Written by a later version.
    #[error("{}: written in format {found}; this localvpc knows formats up to {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its format.
        found: i64,
    },
    /// The state of a network in another region, which determines the names of zones and hosts.
    #[error("{}: this is the state of a network in {found}, and the server is to be in {given}", path.display())]
    OtherRegion {
        /// The folder.
        path: PathBuf,
        /// The region of the state.
        found: String,
        /// The region of this start.
        given: String,
    },
    /// The content is not what was written.
    #[error("{}: the file is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place of the damage.
        what: String,
    },
    /// Acknowledged edits are missing at the end.
    #[error("{}: it ends with revision {found}, but revision {acknowledged} was acknowledged: edits lost: {}",
        path.display(), acknowledged.saturating_sub(*found))]
    Lost {
        /// The file.
        path: PathBuf,
        /// The last revision in it.
        found: u64,
        /// The last acknowledged revision.
        acknowledged: u64,
    },
    /// No space is left.
    #[error("{}: no space is left on the device", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file has become read-only.
    #[error("{}: it can only be read", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// What was written may not have reached the disk.
    #[error("{}: writing to the disk failed, and what is on it is not known: {what}", path.display())]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        what: String,
    },
    /// Any other error of the database.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Its message.
        source: rusqlite::Error,
    },
}

fn process(number: Option<u32>) -> String {
    number.map_or_else(String::new, |number| format!(" (process {number})"))
}

impl StoreError {
    /// The remedy.
    pub fn remedy(&self) -> String {
        match self {
            Self::Open { .. } => "Give a folder that this user may write to.".to_owned(),
            Self::InUse { .. } => "Stop that server, or give another folder.".to_owned(),
            Self::Foreign { .. } => "Give the folder of a localvpc network, or one that does not exist yet.".to_owned(),
            Self::Newer { .. } => "Use a localvpc that is at least as new as the one that wrote it.".to_owned(),
            Self::OtherRegion { found, .. } => format!("Start with '--region {found}', or give another folder."),
            Self::Damaged { .. } => {
                "Put a copy from a backup in its place, or give another folder. Nothing of it was used.".to_owned()
            }
            Self::Lost { found, .. } => format!(
                "The machine lost power, or the file was cut. Put a copy from a backup in its place, or add '--recover' to go on \
                 with revision {found}."
            ),
            Self::Full { .. } => "Make space on the device; edits are taken again then.".to_owned(),
            Self::ReadOnly { .. } => "Have the file system mounted for writing; edits are taken again then.".to_owned(),
            Self::Unsynced { .. } => {
                "Look after the disk, and start the server again; until then no edit is taken.".to_owned()
            }
            Self::Database { .. } => "Look after the disk; edits are taken again when it can be written.".to_owned(),
        }
    }

    /// The error of a database at a path.
    pub(super) fn of(path: &std::path::Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { path },
            Some(rusqlite::ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(rusqlite::ErrorCode::NotADatabase) => Self::Foreign {
                path,
                what: "it is no SQLite database".to_owned(),
            },
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => Self::Damaged {
                path,
                what: error.to_string(),
            },
            _ => Self::Database { path, source: error },
        }
    }
}

/// Why a commit was not kept.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard does not hold, or another commit has its revision.
    #[error("revision {current} came in between")]
    Conflict {
        /// The revision of the last commit.
        current: u64,
    },
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why commits cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// They were dropped.
    #[error("revision {after} is not kept any more: the oldest is {oldest}")]
    Gone {
        /// The requested revision.
        after: u64,
        /// The revisions that are kept.
        oldest: u64,
    },
    /// They could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
