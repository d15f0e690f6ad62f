//! Keeps a cleanup record of what a killed process could leave behind, and removes what dead processes left.
//!
//! Namespaces, TAPs, mounts and the processes in instances end with the process that created them. What has a name in
//! the file system stays: a unix socket, a half-written report. So every process with a network of its own keeps a
//! record of such names, and the next process that starts removes what dead ones have left. A keeper, which holds the
//! hosts of a killed server, has a record too.
//!
//! A record is a file that its process holds locked (flock(2)). The kernel releases the lock exactly when the process
//! is gone, so a living process is never taken for a dead one, whatever happens to its PID.

use crate::model::duration::since_epoch;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, open};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::confine::rootless;
use crate::lab::{Keeper, keeper};

/// Environment variable with another directory for the records.
pub const VARIABLE: &str = "LOCALVPC_RUN_DIRECTORY";

/// Extension of a record's file.
const EXTENSION: &str = "record";

/// Extension of an unfinished file.
const PART: &str = "part";

/// Extension of a server's token file.
pub const TOKEN: &str = "token";

/// The only name that a socket has in its directory.
pub const SOCKET: &str = "s";

/// The first line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pid: u32,
    /// The command line that started the process.
    command: String,
    /// In seconds since 1970.
    began: u64,
}

/// Each further line: a name that was created or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Made {
    /// A unix socket, identified by device and inode, because another server may have replaced it since.
    Socket { path: PathBuf, device: u64, inode: u64 },
    /// A directory for a socket that is being created.
    Directory { path: PathBuf },
    /// A file that is renamed when it is complete.
    Part { path: PathBuf },
    /// A server's token file.
    Token { path: PathBuf },
    /// The socket of a keeper, in the folder of a state.
    Keeper { folder: PathBuf },
    /// The folder of a server's state, whose keeper holds its hosts.
    State { folder: PathBuf },
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// There is no directory for it.
    #[error("there is no directory for it: set {VARIABLE}, or XDG_RUNTIME_DIR")]
    Nowhere,
    /// Other users could write to the directory, and could have our files removed.
    #[error("{0} belongs to another user, or other users may write there: set {VARIABLE} to a directory of your own")]
    Foreign(PathBuf),
    /// A file system operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// The directory of records: [`VARIABLE`], `/run/localvpc` for root, or `localvpc` in the user's `XDG_RUNTIME_DIR`.
pub fn directory() -> Result<PathBuf, CleanupError> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // Root of a user namespace is an ordinary user, without a writable /run.
    let usual = || match geteuid().is_root() && rootless::outside().is_none() {
        true => Some(PathBuf::from("/run/localvpc")),
        false => set("XDG_RUNTIME_DIR").map(|directory| directory.join("localvpc")),
    };
    set(VARIABLE).or_else(usual).ok_or(CleanupError::Nowhere)
}

/// The directory of records, created if needed; an error where other users could write to it.
pub fn own_directory() -> Result<PathBuf, CleanupError> {
    let directory = directory()?;
    ours(&directory)?;
    Ok(directory)
}

/// A dead process and what it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    owner: Option<Owner>,
    /// What was removed.
    pub removed: Vec<PathBuf>,
    /// What could not be removed, and why.
    pub kept: Vec<String>,
    /// The folder of its state, if a keeper holds its hosts.
    pub held: Option<PathBuf>,
}

impl std::fmt::Display for Leftovers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.owner {
            Some(Owner { pid, command, began }) => {
                let began = humantime::format_rfc3339_seconds(since_epoch(Duration::from_secs(*began)));
                write!(f, "`{command}` of {began}, process {pid}, was killed: ")?;
            }
            None => write!(f, "a process that had only begun was killed: ")?,
        }
        if let Some(folder) = &self.held {
            let folder = folder.display();
            write!(
                f,
                "its hosts go on: a start with --state {folder} takes them over, 'localvpc down --all' ends them"
            )?;
            if self.removed.is_empty() && self.kept.is_empty() {
                return Ok(());
            }
        } else {
            write!(f, "its hosts ended with it")?;
        }
        if self.removed.is_empty() && self.kept.is_empty() {
            return write!(f, ", and it left nothing else");
        }
        if !self.removed.is_empty() {
            let removed: Vec<String> = self.removed.iter().map(|path| path.display().to_string()).collect();
            write!(f, "; removed what it left: {}", removed.join(", "))?;
        }
        if !self.kept.is_empty() {
            write!(f, "; could not remove: {}", self.kept.join(", "))?;
        }
        Ok(())
    }
}

/// The record of this process. Dropping it marks an orderly end.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    /// Locked.
    file: Mutex<File>,
}

impl Record {
    /// Begins the record of this process, which was started as `command`.
    pub fn begin(directory: &Path, command: &str) -> Result<Self, CleanupError> {
        ours(directory)?;
        let wrong = |source: rustix::io::Errno| CleanupError::Io {
            path: directory.to_owned(),
            source: source.into(),
        };
        // Locked and written before it has a name, so that no process sees it without its lock.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
        let file = File::from(open(directory, flags, Mode::RUSR | Mode::WUSR).map_err(wrong)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(wrong)?;
        let began = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let owner = Owner {
            pid: std::process::id(),
            command: command.to_owned(),
            began: began.as_secs(),
        };
        let path = directory.join(format!("{}-{:08x}.{EXTENSION}", owner.pid, rand::random::<u32>()));
        write_line(&file, &owner).map_err(|source| CleanupError::Io {
            path: path.clone(),
            source,
        })?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, unnamed, CWD, &path, AtFlags::SYMLINK_FOLLOW).map_err(wrong)?;
        Ok(Self {
            path,
            file: Mutex::new(file),
        })
    }

    /// Adds a socket under the name that it is about to get.
    pub fn socket(&self, path: &Path, made: &fs::Metadata) -> io::Result<()> {
        self.note(&Made::Socket {
            path: std::path::absolute(path)?,
            device: made.dev(),
            inode: made.ino(),
        })
    }

    /// Adds a directory that is about to be created for a socket named [`SOCKET`].
    pub fn directory(&self, path: &Path) -> io::Result<()> {
        self.note(&Made::Directory {
            path: std::path::absolute(path)?,
        })
    }

    /// Adds a token file, which ends in [`TOKEN`], before it is written.
    pub fn token(&self, path: &Path) -> io::Result<()> {
        self.note(&Made::Token {
            path: std::path::absolute(path)?,
        })
    }

    /// Adds the keeper of a state: this process.
    pub fn keeper(&self, folder: &Path) -> io::Result<()> {
        self.note(&Made::Keeper {
            folder: std::path::absolute(folder)?,
        })
    }

    /// Adds the folder of a state whose keeper holds the hosts.
    pub fn state(&self, folder: &Path) -> io::Result<()> {
        self.note(&Made::State {
            folder: std::path::absolute(folder)?,
        })
    }

    /// Removes the record and leaves what it names, which another process has recorded.
    pub fn leave(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    fn note(&self, made: &Made) -> io::Result<()> {
        // The lock guards one append.
        write_line(&self.file.lock().unwrap_or_else(PoisonError::into_inner), made)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A server that could not start may have bound its socket already.
        let leftovers = File::open(&self.path).and_then(|file| take_away(&file));
        match leftovers {
            Ok(leftovers) if !leftovers.kept.is_empty() => tracing::warn!(kept = ?leftovers.kept, "something is left"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the record of this process cannot be read"),
        }
        // A record that cannot be removed is taken for a dead process's, of which nothing is left.
        let _ = fs::remove_file(&self.path);
    }
}

fn write_line(mut file: &File, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// Writes a file under a temporary name and renames it when it is complete. A terminal or another special file is
/// written directly.
pub fn write_whole(record: Option<&Record>, path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, content);
    }
    // Through a symbolic link the target is replaced, not the link.
    let path = fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.{PART}", std::process::id()));
    let part = path.with_file_name(name);
    if let Some(record) = record {
        record.note(&Made::Part { path: part.clone() })?;
    }
    let written = fs::write(&part, content).and_then(|()| fs::rename(&part, &path));
    if written.is_err() {
        // It may not exist.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Whether a keeper holds hosts for the state in a folder.
fn is_held(folder: &Path) -> bool {
    matches!(Keeper::find(folder), Ok(Some(keeper)) if keeper.entries().is_ok_and(|entries| !entries.is_empty()))
}

/// The folders of states that have a keeper.
pub fn keepers(directory: &Path) -> Result<Vec<PathBuf>, CleanupError> {
    ours(directory)?;
    let wrong = |source| CleanupError::Io {
        path: directory.to_owned(),
        source,
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        // A record may go at any moment, with its process.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let made = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        folders.extend(made.filter_map(|made| match made {
            Made::Keeper { folder } => Some(folder),
            _ => None,
        }));
    }
    folders.sort();
    folders.dedup();
    Ok(folders)
}

/// Removes what dead processes have left, and returns it. Living processes are not touched.
pub fn sweep(directory: &Path) -> Result<Vec<Leftovers>, CleanupError> {
    ours(directory)?;
    let wrong = |source| CleanupError::Io {
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.extend(clean_up(&path).map_err(|source| CleanupError::Io { path, source })?);
        }
    }
    Ok(found)
}

/// Creates the directory if needed, and refuses one in which other users could write.
fn ours(directory: &Path) -> Result<(), CleanupError> {
    let wrong = |source| CleanupError::Io {
        path: directory.to_owned(),
        source,
    };
    let mut builder = fs::DirBuilder::new();
    match builder.mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(wrong(error)),
    }
    let found = fs::symlink_metadata(directory).map_err(wrong)?;
    if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(CleanupError::Foreign(directory.to_owned()))
    }
}

/// Removes one record and what it names, unless its process lives.
fn clean_up(path: &Path) -> io::Result<Option<Leftovers>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        // Its process has just ended in order, or another process was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    if file.metadata()?.nlink() == 0 {
        return Ok(None);
    }
    let leftovers = take_away(&file)?;
    fs::remove_file(path)?;
    Ok(Some(leftovers))
}

/// Removes what a record names.
fn take_away(record: &File) -> io::Result<Leftovers> {
    let mut leftovers = Leftovers {
        owner: None,
        removed: Vec::new(),
        kept: Vec::new(),
        held: None,
    };
    for (number, line) in BufReader::new(record).lines().enumerate() {
        let line = line?;
        if number == 0 {
            leftovers.owner = serde_json::from_str(&line).ok();
            continue;
        }
        // A truncated line was never acted on: it is written before its file is created.
        if let Ok(made) = serde_json::from_str::<Made>(&line) {
            remove(&made, &mut leftovers);
        }
    }
    Ok(leftovers)
}

/// Removes a file, if it exists and is the recorded one.
fn remove(made: &Made, leftovers: &mut Leftovers) {
    let found = |path: &Path| fs::symlink_metadata(path).ok();
    let outcome = match made {
        Made::Socket { path, device, inode } => {
            let same =
                |file: &fs::Metadata| file.file_type().is_socket() && (file.dev(), file.ino()) == (*device, *inode);
            found(path).filter(same).map(|_| (path, fs::remove_file(path)))
        }
        Made::Directory { path } => {
            let inner = path.join(SOCKET);
            if found(&inner).is_some_and(|file| file.file_type().is_socket()) {
                // The next step shows whether it worked.
                let _ = fs::remove_file(&inner);
            }
            found(path)
                .filter(fs::Metadata::is_dir)
                .map(|_| (path, fs::remove_dir(path)))
        }
        Made::Part { path } => {
            let part = |file: &fs::Metadata| file.is_file() && path.extension().is_some_and(|end| end == PART);
            found(path).filter(part).map(|_| (path, fs::remove_file(path)))
        }
        Made::Token { path } => {
            let token = |file: &fs::Metadata| file.is_file() && path.extension().is_some_and(|end| end == TOKEN);
            found(path).filter(token).map(|_| (path, fs::remove_file(path)))
        }
        Made::Keeper { folder } => {
            // A new keeper may listen there.
            let path = folder.join(keeper::SOCKET);
            let socket = |file: &fs::Metadata| file.file_type().is_socket() && !is_held(folder);
            if found(&path).filter(socket).is_some() {
                // Nothing that is worth a message: the next keeper would replace it.
                let _ = fs::remove_file(path);
            }
            None
        }
        Made::State { folder } => {
            leftovers.held = is_held(folder).then(|| folder.clone());
            None
        }
    };
    match outcome {
        None => {}
        Some((path, Ok(()))) => leftovers.removed.push(path.clone()),
        Some((path, Err(error))) => leftovers.kept.push(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A record as a killed process leaves it: with its file, without its lock.
    fn killed(record: Record) -> PathBuf {
        let path = record.path.clone();
        let (aside, nothing) = (path.with_extension("aside"), path.with_extension("nothing"));
        fs::rename(&path, &aside).unwrap();
        fs::write(&nothing, "").unwrap();
        fs::rename(nothing, &path).unwrap();
        drop(record);
        fs::rename(aside, &path).unwrap();
        path
    }

    #[test]
    fn living_processes_are_not_touched_and_dead_ones_are_reported_once() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let record = Record::begin(directory.path(), "serve").unwrap();
        record.socket(&socket, &socket.symlink_metadata().unwrap()).unwrap();
        record.directory(&directory.path().join("never-made")).unwrap();
        assert_eq!(sweep(directory.path()).unwrap(), []);
        assert!(socket.exists());

        let path = killed(record);
        let found = sweep(directory.path()).unwrap();
        let said = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(found.len(), 1, "{said}");
        assert_eq!(found[0].removed, std::slice::from_ref(&socket));
        assert!(
            said.starts_with("`serve` of 20") && said.ends_with("api.sock"),
            "{said}"
        );
        assert!(!said.contains('\n'), "{said}");
        assert!(!socket.exists() && !path.exists());
        assert_eq!(sweep(directory.path()).unwrap(), []);
    }

    #[test]
    fn what_another_has_put_in_the_place_of_a_dead_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let old = UnixListener::bind(&socket).unwrap();
        let record = Record::begin(directory.path(), "serve").unwrap();
        record.socket(&socket, &socket.symlink_metadata().unwrap()).unwrap();
        // The old one stays open, so that its inode is not reused.
        fs::remove_file(&socket).unwrap();
        let _new = UnixListener::bind(&socket).unwrap();
        killed(record);
        let found = sweep(directory.path()).unwrap();
        assert!(found[0].removed.is_empty() && found[0].kept.is_empty());
        assert!(found[0].to_string().ends_with("it left nothing else"));
        assert!(socket.exists());
        drop(old);
    }

    #[test]
    fn a_half_written_file_goes_and_a_whole_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (report, part) = (directory.path().join("r.xml"), directory.path().join(".r.xml.7.part"));
        let record = Record::begin(directory.path(), "run x.yaml").unwrap();
        write_whole(Some(&record), &report, b"whole").unwrap();
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            2,
            "the report and the record"
        );
        fs::write(&part, "hal").unwrap();
        record.note(&Made::Part { path: part.clone() }).unwrap();
        // A record never makes a complete file go, whatever it contains.
        record.note(&Made::Part { path: report.clone() }).unwrap();
        (&*record.file.lock().unwrap()).write_all(b"{\"part\": {\"pa").unwrap();
        killed(record);
        let found = sweep(directory.path()).unwrap();
        assert_eq!(found[0].removed, [part]);
        assert_eq!(fs::read(report).unwrap(), b"whole");
    }

    #[test]
    fn a_process_that_ends_in_order_leaves_neither_a_socket_nor_a_record() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let record = Record::begin(directory.path(), "serve").unwrap();
        record.socket(&socket, &socket.symlink_metadata().unwrap()).unwrap();
        drop(record);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_in_which_others_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for refused in [
            Record::begin(directory.path(), "serve").map(drop),
            sweep(directory.path()).map(drop),
        ] {
            assert!(matches!(refused, Err(CleanupError::Foreign(_))), "{refused:?}");
        }
    }
}
