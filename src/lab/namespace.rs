//! Creates and enters network namespaces that live as long as this process holds them.
//!
//! The kernel frees a namespace when its last reference goes: a descriptor, a process or a mount. The ones created here
//! are held by a descriptor only, so nothing is written to the file system, and a process that dies in any way, by
//! `kill -9` too, leaves nothing behind. Namespaces of others (`ip netns add`, a container) are opened by name or by
//! path.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::contain;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};
use rustix::io::Errno;

/// The file system of namespaces (`linux/magic.h`).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// The directory of `ip netns add NAME` (ip-netns(8)).
pub const NAMED: &str = "/run/netns";

/// The namespace of the calling thread. `/proc/self` would be that of the process's first thread.
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// A handle on a network namespace. Clones refer to the same namespace, which lives until the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
    inode: u64,
}

/// Why a namespace could not be created, opened or entered.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// `unshare(2)` refused.
    #[error("cannot make a network namespace: {0} (it takes root, or CAP_SYS_ADMIN)")]
    Create(#[source] io::Error),
    /// A name that `ip netns` refuses too.
    #[error("'{0}' is not the name of a network namespace: it is one file name, without '/'")]
    Name(String),
    /// The file does not exist or may not be read.
    #[error("cannot open the network namespace {path}: {source}")]
    Open {
        /// The requested file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The file is not a network namespace.
    #[error("{path} is not a network namespace")]
    NotOne {
        /// The requested file.
        path: PathBuf,
    },
    /// `setns(2)` refused: a capability is missing.
    #[error("cannot enter the network namespace {path}: {source}")]
    Enter {
        /// The file, or the inode for a namespace that has no path.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Namespace {
    /// Creates an empty namespace, with a loopback interface that is down.
    pub fn create() -> Result<Self, NamespaceError> {
        Self::create_and_run(|_| ()).map(|(namespace, ())| namespace)
    }

    /// Creates a namespace and runs `inside` in it, in the thread that created it, which saves a thread and a switch
    /// compared with [`Self::create`] and [`Self::run`].
    pub fn create_and_run<T: Send>(inside: impl FnOnce(&Self) -> T + Send) -> Result<(Self, T), NamespaceError> {
        in_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| NamespaceError::Create(e.into()))?;
            let namespace = Self::current()?;
            let result = inside(&namespace);
            Ok((namespace, result))
        })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open(Path::new(OF_THIS_THREAD))
    }

    /// Opens a namespace made by `ip netns add NAME`.
    pub fn open_named(name: &str) -> Result<Self, NamespaceError> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(NamespaceError::Name(name.to_owned()));
        }
        Self::open(&Path::new(NAMED).join(name))
    }

    /// Opens a namespace by its file, such as `/proc/1234/ns/net`.
    ///
    /// A client names the path, so the file is checked before it is opened: opening a FIFO blocks, and opening a device
    /// can have any effect. `O_PATH` does neither (open(2)).
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        let wrong = |source: Errno| NamespaceError::Open {
            path: path.to_owned(),
            source: source.into(),
        };
        let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(wrong)?;
        let place = format!("/proc/self/fd/{}", fd_number(&place, path)?);
        let file = open(&place, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(wrong)?;
        let inode = fstat(&file).map_err(wrong)?.st_ino;
        Ok(Self {
            descriptor: Arc::new(file),
            inode,
        })
    }

    /// The namespace of a descriptor, as a keeper has it.
    pub(super) fn from_fd(descriptor: OwnedFd) -> Result<Self, NamespaceError> {
        let path = PathBuf::from(format!("descriptor {}", descriptor.as_raw_fd()));
        fd_number(&descriptor, &path)?;
        let inode = fstat(&descriptor).map_err(|source| NamespaceError::Open {
            path,
            source: source.into(),
        })?;
        Ok(Self {
            descriptor: Arc::new(descriptor),
            inode: inode.st_ino,
        })
    }

    /// Its number in `/proc/*/ns/net` and `lsns`.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `inside` in this namespace and returns its result. The closure runs in a thread of its own, so the caller's
    /// thread stays where it is; sockets and devices that it opens stay in the namespace. The thread runs no async
    /// runtime. A panic in it continues in the caller.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        in_a_thread(|| {
            self.enter()?;
            Ok(inside())
        })
    }

    /// Moves the calling thread into the namespace permanently.
    pub(super) fn enter(&self) -> Result<(), NamespaceError> {
        setns(self, CloneFlags::CLONE_NEWNET).map_err(|e| NamespaceError::Enter {
            path: format!("net:[{}]", self.inode),
            source: e.into(),
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

impl Eq for Namespace {}

/// The number of a descriptor, if it refers to a network namespace: a file of nsfs named `net` (namespaces(7)).
fn fd_number(place: &OwnedFd, path: &Path) -> Result<i32, NamespaceError> {
    let number = place.as_raw_fd();
    let is_namespace = fstatfs(place).is_ok_and(|found| found.f_type == NSFS_MAGIC);
    let name = std::fs::read_link(format!("/proc/self/fd/{number}"));
    let is_network = |name: PathBuf| name.as_os_str().as_encoded_bytes().starts_with(b"net:[") || is_mounted_at(&name);
    if is_namespace && name.is_ok_and(is_network) {
        return Ok(number);
    }
    Err(NamespaceError::NotOne { path: path.to_owned() })
}

/// Whether a network namespace is mounted at a path, as `ip netns add` does. Such a mount has the namespace in the
/// fourth field and the path in the fifth (proc_pid_mountinfo(5)).
fn is_mounted_at(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next(), fields.next().map(|point| point.replace("\\040", " ")));
        root.is_some_and(|root| root.starts_with("net:[")) && point.as_deref().map(Path::new) == Some(path)
    })
}

/// Runs one job in a thread of its own, so that changes of its namespaces end with it.
fn in_a_thread<T: Send>(job: impl FnOnce() -> Result<T, NamespaceError> + Send) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, job)
            .map_err(NamespaceError::Thread)?;
        contain::joined("the thread that enters a namespace", thread).map_err(NamespaceError::Thread)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        for wrong in ["", ".", "..", "a/b", "../../proc/self/ns/net"] {
            let error = Namespace::open_named(wrong).unwrap_err();
            assert!(matches!(&error, NamespaceError::Name(name) if name == wrong), "{error}");
        }
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named_in_the_error() {
        let error = Namespace::open_named("no-such-namespace").unwrap_err().to_string();
        assert!(error.contains("/run/netns/no-such-namespace"), "{error}");
    }

    #[test]
    fn what_is_no_network_namespace_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).expect("a link");
        let others = [
            "/dev/null",
            "/dev/tty",
            "/etc/hostname",
            "/proc/self/ns/mnt",
            "/proc/self/ns/user",
            "/proc",
        ];
        let others = others.map(PathBuf::from);
        for path in others.iter().chain([&fifo, &link]).filter(|path| path.exists()) {
            let error = Namespace::open(path).unwrap_err();
            assert!(
                matches!(error, NamespaceError::NotOne { .. }),
                "{}: {error}",
                path.display()
            );
        }
        Namespace::open(Path::new("/proc/self/ns/net")).expect("a network namespace");
    }
}
