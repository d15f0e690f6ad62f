//! A process that is being started holds a copy of every descriptor of ours until its program begins.
//!
//! The copies close then, and if ours have been closed in between, the copy is the last: the new process closes the
//! device, and waits for the kernel as long as that takes (seen: 2.3 s for 100 TAPs, before `true` could begin, with
//! the devices alive all the while). So starting a process and closing devices exclude each other. Starting takes
//! about a millisecond, and one after the other is fast enough.

use crate::model::duration::later;
use std::io::{self, Read};
use std::process::{Child, Command};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use super::descriptors::restore_limit;

/// Written by who starts, read by who closes.
static FORKING: RwLock<()> = RwLock::new(());

/// Closing goes on after this time in any case: who closes from within a closing must not wait for ever for a start
/// that waits for it. A start waits for what is being closed (0.3 s for 64 TAPs at once) and takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

const GLANCE: Duration = Duration::from_micros(200);

/// Starts a process while nothing is being closed by [`close`].
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    // The lock guards no data that a panic could leave half done.
    let _alone = FORKING.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut copies_closed, copied) = io::pipe()?;
    let child = command.spawn();
    if let Ok(child) = &child {
        restore_limit(child.id());
    }
    // The kernel lets a parent go on a little before the child's copies are closed. This pipe ends when they all are:
    // the end of a file is dealt with on the way back to user space, after the last of them (fput in the kernel).
    drop(copied);
    // Reading a pipe that nobody can write does not fail, and the child must not be lost over it.
    let _ = copies_closed.read_to_end(&mut Vec::new());
    child
}

/// Drops `thing` while no process is being started by [`spawn`].
pub(super) fn close<T>(thing: T) {
    let deadline = later(Instant::now(), PATIENCE);
    let mut together = FORKING.try_read().ok();
    while together.is_none() && Instant::now() < deadline {
        std::thread::sleep(GLANCE);
        together = FORKING.try_read().ok();
    }
    drop(thing);
}
