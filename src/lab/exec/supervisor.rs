//! Watches one command from a thread outside of its instance, and reads what it writes.

use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::running::{End, Running, Shared};
use crate::contain;
use crate::lab::instance::lock;
use crate::lab::keeper::Kept;
use crate::lab::processes::kill_tree;

/// 1 MiB per round: a pipe holds 64 KiB, and at most 1 MiB unless root raised fs.pipe-max-size (pipe(7)).
const READS_A_ROUND: usize = 64;
const READ_SIZE: usize = 16 << 10;

/// Whose child a command is.
#[derive(Debug)]
pub(super) enum Process {
    Own(Child),
    Kept(Kept),
}

impl Process {
    fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Own(child) => child.wait(),
            Self::Kept(kept) => kept.keeper().wait(kept.key()),
        }
    }
}

/// A process that is never reaped would keep process 1 from ending.
pub(super) fn abandon(child: &mut Child) {
    // Both fail only when it is dead and reaped.
    let _ = child.kill();
    let _ = child.wait();
}

/// Watches one command, from a thread outside the instance.
pub(super) struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) process: Arc<Mutex<Process>>,
    pub(super) pidfd: OwnedFd,
    pub(super) streams: [Option<PipeReader>; 2],
    pub(super) started: Instant,
    pub(super) deadline: Option<Instant>,
}

impl Supervisor {
    /// Watches the command from a thread of its own.
    pub(super) fn begin(self) -> io::Result<Running> {
        let (shared, process) = (Arc::clone(&self.shared), Arc::clone(&self.process));
        let thread = std::thread::Builder::new().name("supervisor".into());
        if let Err(error) = thread.spawn(move || self.run_to_the_end()) {
            // One that is kept ends with its entry.
            if let Process::Own(child) = &mut *lock(&process) {
                abandon(child);
            }
            return Err(error);
        }
        Ok(Running { shared })
    }

    /// Also after a panic the process is reaped, and a thread that waits for the command learns that it is over.
    fn run_to_the_end(mut self) {
        if contain::once("the supervisor of a command", || self.run()).is_none() {
            self.kill();
            self.conclude();
        }
    }

    fn run(&mut self) {
        contain::site("supervisor");
        let mut running = true;
        while running || self.streams.iter().any(Option::is_some) {
            let (exited, expired) = self.wait_for_something(running);
            for stream in 0..self.streams.len() {
                self.read(stream);
            }
            if exited {
                running = false;
                self.deadline = None;
                // All its output was in the pipes when it died, and has been read now.
                self.conclude();
            } else if expired {
                self.deadline = None;
                let mut state = lock(&self.shared.state);
                state.timed_out = true;
                self.kill();
            }
        }
    }

    fn kill(&self) {
        // It has no number when it had ended before it was adopted.
        if self.shared.pid > 0 {
            // It fails only when the command has just ended.
            let _ = kill_tree(self.shared.pid);
        }
    }

    /// Returns whether the process has ended, and whether its time is up.
    fn wait_for_something(&self, running: bool) -> (bool, bool) {
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A limit beyond the kernel's range is none.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut watched: Vec<PollFd<'_>> = self
            .streams
            .iter()
            .flatten()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        if running {
            watched.push(PollFd::new(&self.pidfd, PollFlags::IN));
        }
        // An interrupted poll reports nothing; the loop repeats it.
        let _ = poll(&mut watched, timeout.as_ref());
        let exited = running && watched.last().is_some_and(|pidfd| !pidfd.revents().is_empty());
        (
            exited,
            left.is_some() && self.deadline.is_some_and(|deadline| Instant::now() >= deadline),
        )
    }

    /// Reads what is in one pipe, and closes a pipe without writers. The number of reads is limited to more than a pipe
    /// holds, so that a pipe filled as fast as it is read cannot hide that the time is up.
    fn read(&mut self, stream: usize) {
        let mut buffer = [0; READ_SIZE];
        for _ in 0..READS_A_ROUND {
            let Some(reader) = &mut self.streams[stream] else {
                return;
            };
            match reader.read(&mut buffer) {
                Ok(0) => self.streams[stream] = None,
                Ok(length) => {
                    let mut state = lock(&self.shared.state);
                    let log = if stream == 0 {
                        &mut state.stdout
                    } else {
                        &mut state.stderr
                    };
                    log.append(&buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.streams[stream] = None,
            }
        }
    }

    fn conclude(&self) {
        let mut state = lock(&self.shared.state);
        let status = lock(&self.process).wait();
        let end = match status {
            _ if state.timed_out => End::TimedOut,
            Ok(status) => end_of(status),
            // It was reaped elsewhere, against the contract; its code is lost.
            Err(_) => End::Signaled(0),
        };
        state.at_end = Some((state.stdout.clone(), state.stderr.clone()));
        state.outcome = Some((end, self.started.elapsed()));
        self.shared.ended.notify_all();
    }
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Signaled(signal),
        // Any other status is a stop, which wait() does not report (waitpid(2)).
        (None, None) => End::Signaled(0),
    }
}
