//! Serializes starting processes and closing devices.
//!
//! A process that is being started holds a copy of every descriptor of this process until its exec. If the originals
//! are closed in between, the copies are the last: the new process closes the device and waits for the kernel (seen:
//! 2.3 s for 100 TAPs before `true` could begin, with the devices alive meanwhile). A start takes about a millisecond,
//! so one at a time is fast enough.

use crate::model::duration::later;
use std::io::{self, Read};
use std::process::{Child, Command};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use super::descriptors::restore_limit;

/// Write-locked by a start, read-locked while closing.
static FORKING: RwLock<()> = RwLock::new(());

/// Closing proceeds after this time in any case, because a nested close must not deadlock with a start that waits for
/// it. A start waits for devices being closed (0.3 s for 64 TAPs at once) and takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

const GLANCE: Duration = Duration::from_micros(200);

/// Starts a process while [`close`] closes nothing.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    // The lock guards no data that a panic could corrupt.
    let _alone = FORKING.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut copies_closed, copied) = io::pipe()?;
    let child = command.spawn();
    if let Ok(child) = &child {
        restore_limit(child.id());
    }
    // The kernel lets the parent continue a little before the child's copies are closed. This pipe ends when all of
    // them are closed: end of file is delivered on the way back to user space, after the last of them (fput in the
    // kernel).
    drop(copied);
    // Reading a pipe without writers does not fail, and the child must not be lost over it.
    let _ = copies_closed.read_to_end(&mut Vec::new());
    child
}

/// Drops `thing` while [`spawn`] starts no process.
pub(super) fn close<T>(thing: T) {
    let deadline = later(Instant::now(), PATIENCE);
    let mut together = FORKING.try_read().ok();
    while together.is_none() && Instant::now() < deadline {
        std::thread::sleep(GLANCE);
        together = FORKING.try_read().ok();
    }
    drop(thing);
}
