//! Raises the limit of open files for this process, restores the former one for the programs that it starts, and
//! reserves some descriptors.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// The limit that this process was started with. Child programs get it back, because some close every descriptor up to
/// the limit or use `select(2)` (systemd.exec(5), "LimitNOFILE").
static FORMER: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of open files as far as allowed, and returns it.
pub fn raise_limit() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let former = FORMER.get_or_init(|| now);
    let raised = Rlimit {
        current: former.maximum,
        maximum: former.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    limit()
}

/// The current limit of open files.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Gives a new child process the original limit.
pub(crate) fn restore_limit(process: u32) {
    let Some(former) = FORMER.get() else { return };
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended already.
        let _ = prlimit(Some(pid), Resource::Nofile, *former);
    }
}

/// Reserved descriptors, so that connections can be accepted when devices have used all others.
#[derive(Debug)]
pub struct Reserve {
    held: Mutex<Vec<OwnedFd>>,
    size: usize,
}

impl Reserve {
    /// Reserves this many, or as many as there are.
    pub fn of(size: usize) -> Self {
        let reserve = Self {
            held: Mutex::default(),
            size,
        };
        reserve.refill();
        reserve
    }

    /// Releases one; returns whether there was one.
    pub fn release_one(&self) -> bool {
        self.held().pop().is_some()
    }

    /// Reserves released descriptors again, as far as possible.
    pub fn refill(&self) {
        let mut held = self.held();
        while held.len() < self.size {
            match File::open("/dev/null") {
                Ok(file) => held.push(file.into()),
                Err(_) => return,
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<OwnedFd>> {
        // The list is always consistent.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
