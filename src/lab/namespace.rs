//! A network namespace that lives exactly as long as somebody of this process holds it.
//!
//! The kernel frees a namespace when its last reference goes: a descriptor, a process or a mount. The ones made here
//! are held by a descriptor only, so nothing is written to the file system and a process that dies in any way, by
//! `kill -9` too, leaves nothing behind. Namespaces that others made (`ip netns add`, a container) are opened by name
//! or by path.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

/// Where `ip netns add NAME` leaves its bind mounts (ip-netns(8)).
const NAMED: &str = "/run/netns";

/// The namespace of the calling thread. Not `/proc/self`, which is the namespace of the process's first thread.
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// A handle on a network namespace. Clones refer to the same namespace, which lives until the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
    inode: u64,
}

/// Why a namespace could not be made, opened or entered.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// `unshare(2)` refused.
    #[error("cannot make a network namespace: {0} (it takes root, or CAP_SYS_ADMIN)")]
    Create(#[source] io::Error),
    /// A name that `ip netns` would not take either.
    #[error("'{0}' is not the name of a network namespace: it is one file name, without '/'")]
    Name(String),
    /// The file is absent or may not be read.
    #[error("cannot open the network namespace {path}: {source}")]
    Open {
        /// The file that was asked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// `setns(2)` refused: the file is no network namespace, or a capability is missing.
    #[error("cannot enter the network namespace {path}: {source}")]
    Enter {
        /// The file, or the inode for a namespace that has no path.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread to enter it with.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Namespace {
    /// Makes an empty namespace: a loopback interface that is down, and nothing else.
    pub fn create() -> Result<Self, NamespaceError> {
        Self::create_and_run(|_| ()).map(|(namespace, ())| namespace)
    }

    /// Makes a namespace and runs `inside` in it, in the thread that made it: one thread and one switch less than
    /// [`Self::create`] followed by [`Self::run`].
    pub fn create_and_run<T: Send>(inside: impl FnOnce(&Self) -> T + Send) -> Result<(Self, T), NamespaceError> {
        in_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| NamespaceError::Create(e.into()))?;
            let namespace = Self::current()?;
            let result = inside(&namespace);
            Ok((namespace, result))
        })
    }

    /// The namespace that the calling thread is in.
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open(Path::new(OF_THIS_THREAD))
    }

    /// Opens what `ip netns add NAME` made.
    pub fn open_named(name: &str) -> Result<Self, NamespaceError> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(NamespaceError::Name(name.to_owned()));
        }
        Self::open(&Path::new(NAMED).join(name))
    }

    /// Opens a namespace by its file, such as `/proc/1234/ns/net`.
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        let wrong = |source| NamespaceError::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(wrong)?;
        let inode = file.metadata().map_err(wrong)?.ino();
        Ok(Self {
            descriptor: Arc::new(file.into()),
            inode,
        })
    }

    /// The number by which `/proc/*/ns/net` and `lsns` show it.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `inside` in this namespace and returns what it returned. The closure gets a thread of its own, so the
    /// caller's thread stays where it is; sockets and devices that it opens stay in the namespace for good. The
    /// thread runs no async runtime. A panic in it goes on in the caller.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        in_a_thread(|| {
            self.enter()?;
            Ok(inside())
        })
    }

    /// Moves the calling thread into the namespace, for good.
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

/// A thread for one job: what it does to its namespaces ends with it.
fn in_a_thread<T: Send>(job: impl FnOnce() -> Result<T, NamespaceError> + Send) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, job)
            .map_err(NamespaceError::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
    fn a_file_that_is_no_namespace_is_refused_on_entry() {
        let error = Namespace::open(Path::new("/dev/null")).unwrap().run(|| ()).unwrap_err();
        assert!(matches!(error, NamespaceError::Enter { .. }), "{error}");
    }
}
