//! Runs commands in an instance: in the foreground with a time limit, or in the background with a log.
//!
//! A thread that has joined the instance starts the command as a child of this process, so its exit code is exact and
//! it can be signaled directly. It runs in its own process group, without input. Its output is read as long as any
//! process of the instance can write it, so that a daemon left behind never blocks on a full pipe.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::forking;
use super::instance::{InstanceError, lock};
use super::keeper::{Keeper, Kept, Launch, borrowed, exactly};
use super::machine::{self, Machine};
use super::output::Output;
use super::processes::{freeze_tree, kill_tree, signal_group, thaw_tree};
use crate::confine::forbid_dangerous;
use crate::contain;

/// Default for the kept octets of each stream.
pub const DEFAULT_OUTPUT_LIMIT: usize = 1 << 20;

/// Searched in addition to the owner's PATH, because a user's often lacks the sbin directories.
const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// 1 MiB per round: a pipe holds 64 KiB, and at most 1 MiB unless root raised fs.pipe-max-size (pipe(7)).
const READS_A_ROUND: usize = 64;
const READ_SIZE: usize = 16 << 10;

/// A command to run.
#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// The program, by path or by name, and its arguments.
    pub argv: Vec<String>,
    /// Environment variables that are added to, or replace, those of every command of the lab.
    pub environment: BTreeMap<String, String>,
    /// The working directory; `/` by default.
    pub directory: Option<PathBuf>,
    /// After this time the command and its descendants are killed.
    pub timeout: Option<Duration>,
    /// Bytes of each stream that are kept.
    pub output_limit: usize,
    /// A file for standard output instead of the log; for captures.
    pub stdout: Option<Arc<File>>,
}

impl CommandSpec {
    /// A program and its arguments, without a shell.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
            directory: None,
            timeout: None,
            output_limit: DEFAULT_OUTPUT_LIMIT,
            stdout: None,
        }
    }

    /// A command line for `/bin/sh`.
    pub fn shell(line: impl Into<String>) -> Self {
        Self::new(["/bin/sh".to_owned(), "-c".to_owned(), line.into()])
    }

    /// Sets the time limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// `argv` is empty.
    #[error("the command is empty: give a program and its arguments")]
    Empty,
    /// The program does not exist, a shell's exit code 127.
    #[error("instance '{instance}': there is no program '{program}' (install the package that has it)")]
    NotFound {
        /// The instance.
        instance: String,
        /// As requested.
        program: String,
    },
    /// The kernel refused to start it.
    #[error("instance '{instance}': cannot run '{program}': {source}")]
    Spawn {
        /// The instance.
        instance: String,
        /// As requested.
        program: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// A background command of this name is running.
    #[error("instance '{instance}': '{name}' is running already: stop it first or choose another name")]
    Busy {
        /// The instance.
        instance: String,
        /// The background command.
        name: String,
    },
    /// The instance failed.
    #[error(transparent)]
    Instance(Box<InstanceError>),
}

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
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pid: i32,
    state: Mutex<State>,
    ended: Condvar,
}

impl Shared {
    fn new(pid: i32, output_limit: usize) -> Arc<Self> {
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
struct State {
    /// Set once the process has been reaped: its PID may be reused from then on.
    outcome: Option<(End, Duration)>,
    timed_out: bool,
    /// Both outputs at its end; later output of daemons goes to the logs only.
    at_end: Option<(Output, Output)>,
    stdout: Output,
    stderr: Output,
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

/// What a keeper is told about a command, for the next server.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Its name among the instance's background commands.
    name: Option<String>,
    output_limit: usize,
    /// When it is killed.
    until: Option<SystemTime>,
}

/// The keys of an instance's commands in a keeper.
fn keys(instance: &str) -> String {
    format!("command/{instance}/")
}

/// Starts `command` in the instance named `instance`, as a background command if it has a name.
pub(super) fn start(
    machine: &Machine,
    (instance, name): (&str, Option<&str>),
    common: &BTreeMap<String, String>,
    command: &CommandSpec,
) -> Result<Running, ExecError> {
    let program = command.argv.first().ok_or(ExecError::Empty)?;
    let wrong = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ExecError::NotFound {
            instance: instance.to_owned(),
            program: program.clone(),
        },
        _ => ExecError::Spawn {
            instance: instance.to_owned(),
            program: program.clone(),
            source,
        },
    };
    let (out_reader, out_writer) = io::pipe().map_err(wrong)?;
    let (err_reader, err_writer) = io::pipe().map_err(wrong)?;
    for reader in [&out_reader, &err_reader] {
        rustix::io::ioctl_fionbio(reader, true).map_err(|e| wrong(e.into()))?;
    }
    let stdout = match &command.stdout {
        Some(file) => OwnedFd::from(file.try_clone().map_err(wrong)?),
        None => out_writer.into(),
    };
    let mut environment = environment(instance);
    environment.extend(common.clone());
    environment.extend(command.environment.clone());
    let launch = Launch {
        argv: command.argv.clone(),
        environment,
        directory: command.directory.clone(),
    };
    let started = match machine.keeper() {
        None => spawn_inside(machine.as_fd(), &launch, stdout.into(), err_writer.into()).and_then(of_own_child),
        Some(keeper) => {
            let key = format!("{}{:016x}", keys(instance), rand::random::<u64>());
            let note = Note {
                name: name.map(str::to_owned),
                output_limit: command.output_limit,
                until: command.timeout.and_then(|limit| SystemTime::now().checked_add(limit)),
            };
            let text = serde_json::to_string(&note).unwrap_or_default();
            let descriptors = borrowed([machine, &stdout, &err_writer, &out_reader, &err_reader]);
            let run = keeper.run(&key, text, launch, &descriptors);
            run.map(|(pid, pidfd)| (pid, Process::Kept(keeper.adopt(key)), pidfd))
        }
    };
    let (pid, process, pidfd) = started.map_err(wrong)?;
    // Not earlier: a start can wait for devices being closed, which is not the command's time.
    let started = Instant::now();
    let supervisor = Supervisor {
        shared: Shared::new(pid, command.output_limit),
        process: Arc::new(Mutex::new(process)),
        pidfd,
        streams: [Some(out_reader), Some(err_reader)],
        started,
        deadline: command.timeout.and_then(|limit| started.checked_add(limit)),
    };
    supervisor.begin().map_err(wrong)
}

/// The commands of an instance that an earlier server has started, those in the background with their names. What they
/// wrote before is lost.
pub(super) fn adopt(
    keeper: &Keeper,
    instance: &str,
    entries: &[(String, String)],
) -> io::Result<Vec<(Option<String>, Running)>> {
    let prefix = keys(instance);
    let mut adopted = Vec::new();
    for (key, text) in entries.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        let note: Note = serde_json::from_str(text)?;
        let [pidfd, stdout, stderr] = exactly(keeper.descriptors(key)?)?;
        let process = Process::Kept(keeper.adopt(key.clone()));
        let now = Instant::now();
        // What is over is killed at once.
        let left = |until: SystemTime| until.duration_since(SystemTime::now()).unwrap_or_default();
        let supervisor = Supervisor {
            // A process that has ended has no number; it is not signaled any more.
            shared: Shared::new(
                machine::number_of(&pidfd)?.map_or(0, |pid| pid.as_raw_nonzero().get()),
                note.output_limit,
            ),
            process: Arc::new(Mutex::new(process)),
            pidfd,
            streams: [Some(PipeReader::from(stdout)), Some(PipeReader::from(stderr))],
            started: now,
            deadline: note.until.and_then(|until| now.checked_add(left(until))),
        };
        adopted.push((note.name, supervisor.begin()?));
    }
    Ok(adopted)
}

/// A child of this process, with its number and its descriptor.
fn of_own_child(mut child: Child) -> io::Result<(i32, Process, OwnedFd)> {
    let pid = Pid::from_child(&child);
    // It has not been reaped yet, so the PID is valid.
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok((pid.as_raw_nonzero().get(), Process::Own(child), pidfd)),
        Err(error) => {
            abandon(&mut child);
            Err(error.into())
        }
    }
}

/// Whose child a command is.
#[derive(Debug)]
enum Process {
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
fn abandon(child: &mut Child) {
    // Both fail only when it is dead and reaped.
    let _ = child.kill();
    let _ = child.wait();
}

fn environment(instance: &str) -> BTreeMap<String, String> {
    let path = match std::env::var("PATH") {
        Ok(own) if !own.is_empty() => format!("{own}:{STANDARD_PATH}"),
        _ => STANDARD_PATH.to_owned(),
    };
    let fixed = [
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
        ("HOSTNAME", instance),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    fixed.into_iter().chain([("PATH".to_owned(), path)]).collect()
}

/// Forks from a thread that joins the instance of a process 1 and ends right after.
pub(super) fn spawn_inside(
    process_1: BorrowedFd<'_>,
    spec: &Launch,
    stdout: Stdio,
    stderr: Stdio,
) -> io::Result<Child> {
    let (program, environment) = (spec.argv.first().map_or("", String::as_str), &spec.environment);
    let inside = || {
        contain::site("exec");
        machine::enter(process_1)?;
        forbid_dangerous()?;
        let path = environment.get("PATH").map_or(STANDARD_PATH, String::as_str);
        // Searched here, because `Command` would fork with all of this process's page tables to search a PATH other
        // than its own.
        let mut command = Command::new(find(program, path)?);
        command
            .arg0(program)
            .args(&spec.argv[1..])
            .env_clear()
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        if let Some(directory) = &spec.directory {
            // Checked here, because the kernel's "not found" would seem to be about the program.
            if !directory.is_dir() {
                return Err(io::Error::other(format!(
                    "there is no directory {}",
                    directory.display()
                )));
            }
            command.current_dir(directory);
        }
        forking::spawn(&mut command)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("exec".into())
            .spawn_scoped(scope, inside)?;
        contain::joined("the thread that runs a command", thread)?
    })
}

/// The path that execvp(3) would find for `program`.
fn find(program: &str, path: &str) -> io::Result<PathBuf> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let is_executable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(program))
        .find(is_executable)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Watches one command, from a thread outside the instance.
struct Supervisor {
    shared: Arc<Shared>,
    process: Arc<Mutex<Process>>,
    pidfd: OwnedFd,
    streams: [Option<PipeReader>; 2],
    started: Instant,
    deadline: Option<Instant>,
}

impl Supervisor {
    /// Watches the command from a thread of its own.
    fn begin(self) -> io::Result<Running> {
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
