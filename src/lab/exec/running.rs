//! Handles of commands: one that runs, and what it has come to.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::lab::instance::lock;
use crate::lab::output::Output;
use crate::lab::processes::{freeze_tree, kill_tree, signal_group, thaw_tree};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Exited with this code.
    Exited(i32),
    /// Ended by this signal.
    Signaled(i32),
    /// Killed after the time limit.
    TimedOut,
}

impl End {
    /// The code that a shell would show: 128 + N for signal N, 124 for a timeout as in timeout(1).
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
            Self::TimedOut => 124,
        }
    }

    /// Whether it exited with 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }
}

/// A finished command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Standard output up to its end.
    pub stdout: Output,
    /// Standard error up to its end.
    pub stderr: Output,
    /// Time from start to end.
    pub elapsed: Duration,
}

/// A command that was started. Clones refer to the same one; dropping them does not end it.
#[derive(Clone, Debug)]
pub struct Running {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pid: i32,
    pub(super) state: Mutex<State>,
    pub(super) ended: Condvar,
}

impl Shared {
    pub(super) fn new(pid: i32, output_limit: usize) -> Arc<Self> {
        Arc::new(Self {
            pid,
            state: Mutex::new(State {
                outcome: None,
                timed_out: false,
                at_end: None,
                stdout: Output::with_limit(output_limit),
                stderr: Output::with_limit(output_limit),
            }),
            ended: Condvar::new(),
        })
    }
}

#[derive(Debug)]
pub(super) struct State {
    /// Set once the process has been reaped: its PID may be reused from then on.
    pub(super) outcome: Option<(End, Duration)>,
    pub(super) timed_out: bool,
    /// Both outputs at its end; later output of daemons goes to the logs only.
    pub(super) at_end: Option<(Output, Output)>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

impl Running {
    /// The PID in this machine's `/proc`.
    pub fn pid(&self) -> i32 {
        self.shared.pid
    }

    /// Waits until the command has ended.
    pub fn wait(&self) -> Outcome {
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(outcome) = state.outcome() {
                return outcome;
            }
            state = self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the command has ended, at most for `limit`.
    pub fn wait_for(&self, limit: Duration) -> Option<Outcome> {
        let state = lock(&self.shared.state);
        let (state, _) = self
            .shared
            .ended
            .wait_timeout_while(state, limit, |state| state.outcome.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.outcome()
    }

    /// How it ended, if it has.
    pub fn try_wait(&self) -> Option<End> {
        lock(&self.shared.state).outcome.map(|(end, _)| end)
    }

    /// Standard output so far, including that of daemons left behind.
    pub fn stdout(&self) -> Output {
        lock(&self.shared.state).stdout.clone()
    }

    /// Standard error so far, including that of daemons left behind.
    pub fn stderr(&self) -> Output {
        lock(&self.shared.state).stderr.clone()
    }

    /// Signals the command's process group. False if the command has ended.
    pub fn signal(&self, signal: Signal) -> bool {
        self.while_it_runs(|pid| signal_group(pid, signal))
    }

    /// Stops the command and its descendants (SIGSTOP). False if the command has ended.
    pub fn freeze(&self) -> bool {
        self.while_it_runs(freeze_tree)
    }

    /// Undoes [`Self::freeze`]. False if the command has ended.
    pub fn thaw(&self) -> bool {
        self.while_it_runs(thaw_tree)
    }

    /// Kills the command and its descendants. False if the command has ended.
    pub fn kill(&self) -> bool {
        self.while_it_runs(kill_tree)
    }

    /// Sends SIGTERM and SIGCONT, and kills the command when `grace` is over.
    pub fn stop(&self, grace: Duration) -> Outcome {
        if self.signal(Signal::SIGTERM) && self.thaw() && self.wait_for(grace).is_none() {
            self.kill();
        }
        self.wait()
    }

    /// The process is reaped under the same lock, so its PID stays valid while `act` runs.
    fn while_it_runs(&self, act: impl FnOnce(i32) -> nix::Result<()>) -> bool {
        let state = lock(&self.shared.state);
        // 0 would be this process's own group (kill(2)).
        state.outcome.is_none() && self.shared.pid > 0 && act(self.shared.pid) != Err(Errno::ESRCH)
    }
}

impl State {
    fn outcome(&self) -> Option<Outcome> {
        let (end, elapsed) = self.outcome?;
        let (stdout, stderr) = self.at_end.clone()?;
        Some(Outcome {
            end,
            stdout,
            stderr,
            elapsed,
        })
    }
}
