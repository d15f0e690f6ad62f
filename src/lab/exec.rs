//! Runs commands in an instance: in the foreground with a time limit, or in the background with a log.
//!
//! A thread that has joined the instance starts the command as a child of this process, so its exit code is exact and
//! it can be signaled directly. It runs in its own process group, without input. Its output is read as long as any
//! process of the instance can write it, so that a daemon left behind never blocks on a full pipe.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::forking;
use super::instance::InstanceError;
use super::keeper::{Keeper, Launch, borrowed, exactly};
use super::machine::{self, Machine};
use crate::confine::forbid_dangerous;
use crate::contain;

mod running;
mod supervisor;

use running::Shared;
pub use running::{End, Outcome, Running};
use supervisor::{Process, Supervisor, abandon};

/// Default for the kept octets of each stream.
pub const DEFAULT_OUTPUT_LIMIT: usize = 1 << 20;

/// Searched in addition to the owner's PATH, because a user's often lacks the sbin directories.
const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
