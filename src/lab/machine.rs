//! Controls the processes of an instance from outside: one process 1, whose PID namespace contains all others.
//!
//! Where a keeper holds the instances, process 1 is its child and ends with it instead.
//!
//! When process 1 dies the kernel kills every process of its PID namespace, detached daemons included, and frees their
//! mounts (pid_namespaces(7)). Process 1 ends with this process in two independent ways: the kernel sends it SIGKILL
//! when the thread that started it ends (`PR_SET_PDEATHSIG`), and it ends itself when the socket between both closes.
//! So no process outlives the owner, however the owner ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::forking;
use super::init::{INIT_SUBCOMMAND, Order, READY};
use super::instance::lock;
use super::keeper::{self, Keeper, Kept, MACHINE, borrowed, exactly};
use super::namespace::Namespace;
use crate::confine::rootless;
use crate::contain;

/// How long process 1 may take to mount its file systems or to answer an order; it takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The namespaces that a command must join. Joining the PID namespace affects its children.
const INSIDE: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Why process 1 is not running.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// It could not be started.
    #[error("cannot start {program} as process 1: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// It started and ended with an error.
    #[error("process 1 could not prepare the instance: {0}")]
    Prepare(String),
    /// It no longer answers.
    #[error("process 1 does not answer: {0}")]
    Silent(#[source] io::Error),
}

/// The arguments of process 1.
pub(super) struct MachineSpec<'a> {
    pub hostname: &'a str,
    pub machine_id: String,
    pub namespace: &'a Namespace,
    pub program: &'a Path,
    pub keeper: Option<&'a Keeper>,
}

/// Process 1 of an instance. Dropping it ends every process of the instance.
#[derive(Debug)]
pub struct Machine {
    pid: Pid,
    pidfd: OwnedFd,
    control: Mutex<UnixStream>,
    process: Mutex<Option<Process>>,
    /// Closed at the end, which the peers notice.
    watchers: Mutex<Vec<UnixStream>>,
    keeper: Option<Keeper>,
    /// What a keeper has of it besides, such as the socket of the API.
    kept: Mutex<Vec<Kept>>,
}

/// Whose child process 1 is.
#[derive(Debug)]
enum Process {
    Own(Child),
    /// The keeper's, which ends it when this is dropped.
    Kept(Kept),
}

impl Machine {
    pub(super) fn start(spec: &MachineSpec<'_>) -> Result<Self, MachineError> {
        let wrong = |source| MachineError::Start {
            program: spec.program.to_owned(),
            source,
        };
        let (ours, theirs) = UnixStream::pair().map_err(wrong)?;
        ours.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
        if let Some(keeper) = spec.keeper {
            return Self::start_kept(spec, keeper, ours, theirs.into());
        }
        let mut command = Command::new(spec.program);
        command
            .arg0(format!("localvpc-init {}", spec.hostname))
            .args([INIT_SUBCOMMAND, spec.hostname, &spec.machine_id])
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // The command with its copy of the peer's socket is dropped when this returns: otherwise the peer's end would
        // not be noticed.
        let child = spawn_as_process_1(spec.namespace.clone(), command).map_err(wrong)?;
        let pid = Pid::from_child(&child);
        // From here on `machine` ends the child on an error. It has not been reaped yet, so the PID is valid.
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                end_child(child);
                return Err(wrong(error.into()));
            }
        };
        let machine = Self {
            pid,
            pidfd,
            control: Mutex::new(ours),
            process: Mutex::new(Some(Process::Own(child))),
            watchers: Mutex::default(),
            keeper: None,
            kept: Mutex::default(),
        };
        machine.wait_until_ready()?;
        Ok(machine)
    }

    /// Starts process 1 as a child of the keeper.
    fn start_kept(
        spec: &MachineSpec<'_>,
        keeper: &Keeper,
        control: UnixStream,
        stdin: OwnedFd,
    ) -> Result<Self, MachineError> {
        let wrong = |source| MachineError::Start {
            program: spec.program.to_owned(),
            source,
        };
        let key = keeper::key(MACHINE, spec.hostname);
        let arguments = [INIT_SUBCOMMAND, spec.hostname, &spec.machine_id].map(str::to_owned);
        let descriptors = borrowed([spec.namespace, &stdin, &control]);
        let (number, pidfd) = keeper
            .boot(&key, (spec.program, &arguments), descriptors)
            .map_err(wrong)?;
        // The peer's end would not be noticed while this process has a copy.
        drop(stdin);
        let machine = Self {
            pid: Pid::from_raw(number).ok_or_else(|| wrong(io::ErrorKind::InvalidData.into()))?,
            pidfd,
            control: Mutex::new(control),
            process: Mutex::new(Some(Process::Kept(keeper.adopt(key)))),
            watchers: Mutex::default(),
            keeper: Some(keeper.clone()),
            kept: Mutex::default(),
        };
        machine.wait_until_ready()?;
        Ok(machine)
    }

    /// Process 1 of an instance that an earlier server has started: nothing if there is none, or it has ended.
    pub(super) fn adopt(keeper: &Keeper, hostname: &str, entries: &[(String, String)]) -> io::Result<Option<Self>> {
        let Some((key, _)) = keeper::find(entries, MACHINE, hostname) else {
            return Ok(None);
        };
        let [pidfd, control] = exactly(keeper.descriptors(key)?)?;
        let kept = keeper.adopt(key.clone());
        let Some(pid) = number_of(&pidfd)? else {
            return Ok(None);
        };
        let control = UnixStream::from(control);
        // An order that the earlier server gave may have been answered since.
        control.set_nonblocking(true)?;
        let mut former = [0; 64];
        while matches!((&control).read(&mut former), Ok(1..)) {}
        control.set_nonblocking(false)?;
        control.set_read_timeout(Some(PATIENCE))?;
        Ok(Some(Self {
            pid,
            pidfd,
            control: Mutex::new(control),
            process: Mutex::new(Some(Process::Kept(kept))),
            watchers: Mutex::default(),
            keeper: Some(keeper.clone()),
            kept: Mutex::default(),
        }))
    }

    /// Keeps something until the instance ends.
    pub(super) fn keep(&self, kept: Kept) {
        lock(&self.kept).push(kept);
    }

    /// The keeper that process 1 is a child of.
    pub(super) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    fn wait_until_ready(&self) -> Result<(), MachineError> {
        let control = lock(&self.control);
        let mut said = String::new();
        // Process 1 writes nothing after this line until it gets an order, so the buffer consumes nothing else.
        BufReader::new(&*control)
            .read_line(&mut said)
            .map_err(MachineError::Silent)?;
        match said.trim_end() {
            READY => Ok(()),
            "" => Err(MachineError::Prepare("it ended without a word".into())),
            said => Err(MachineError::Prepare(said.to_owned())),
        }
    }

    /// The PID in this machine's `/proc`.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// False once process 1, and with it the PID namespace, is dead.
    pub fn is_alive(&self) -> bool {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// SIGSTOP to every process but process 1.
    pub fn freeze(&self) -> Result<(), MachineError> {
        self.order(Order::Freeze)
    }

    /// SIGCONT to every process.
    pub fn thaw(&self) -> Result<(), MachineError> {
        self.order(Order::Thaw)
    }

    /// SIGKILL to every process but process 1.
    pub fn kill_processes(&self) -> Result<(), MachineError> {
        self.order(Order::Kill)
    }

    /// SIGTERM to every process but process 1.
    pub fn ask_to_end(&self) -> Result<(), MachineError> {
        self.order(Order::End)
    }

    fn order(&self, order: Order) -> Result<(), MachineError> {
        let mut control = lock(&self.control);
        let mut echo = [0];
        control
            .write_all(&[order as u8])
            .and_then(|()| control.read_exact(&mut echo))
            .map_err(MachineError::Silent)
    }

    /// A stream that closes when the instance ends.
    pub(super) fn until_end(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        lock(&self.watchers).push(ours);
        Ok(theirs)
    }

    /// Kills process 1 and waits until it and all processes of the instance are gone.
    pub fn end(&self) {
        match lock(&self.process).take() {
            Some(Process::Own(child)) => {
                // It fails only when the process is dead already.
                let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
                end_child(child);
            }
            Some(Process::Kept(kept)) => drop(kept),
            None => {}
        }
        lock(&self.watchers).clear();
        lock(&self.kept).clear();
    }

    /// Moves the calling thread into the instance permanently: its children become processes of the instance.
    pub(super) fn enter(&self) -> io::Result<()> {
        enter(self.as_fd())
    }
}

/// Moves the calling thread into the instance of a process 1.
pub(super) fn enter(process_1: BorrowedFd<'_>) -> io::Result<()> {
    // Threads share root and working directory; the mount namespace cannot be changed before the thread has its own
    // (setns(2)).
    unshare(CloneFlags::CLONE_FS)?;
    setns(process_1, INSIDE)?;
    Ok(())
}

/// The number of the process of a descriptor; none when it has ended (pidfd_open(2), `/proc/PID/fdinfo`).
pub(super) fn number_of(pidfd: &OwnedFd) -> io::Result<Option<Pid>> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let number = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    Ok(number
        .and_then(|number| number.trim().parse().ok())
        .filter(|number| *number > 0)
        .and_then(Pid::from_raw))
}

impl AsFd for Machine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
    }
}

fn end_child(mut child: Child) {
    // Both fail only when the process is dead and reaped.
    let _ = child.kill();
    let _ = child.wait();
}

/// A process to start, and where to report it.
struct Job {
    namespace: Namespace,
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Starts `command` inside `namespace` as the first process of a new PID namespace, from one thread that never ends:
/// PR_SET_PDEATHSIG acts when the *thread* that forked ends (prctl(2)).
pub(super) fn spawn_as_process_1(namespace: Namespace, command: Command) -> io::Result<Child> {
    if rootless::in_user_namespace() {
        // In a user namespace such a thread could not return: the machine's namespaces belong to its root. A
        // short-lived thread is used instead; then PR_SET_PDEATHSIG cannot be used, and process 1 ends by its socket
        // alone.
        return std::thread::scope(|scope| {
            let spawn = || {
                namespace.enter().map_err(io::Error::other)?;
                unshare(CloneFlags::CLONE_NEWPID)?;
                forking::spawn(&mut { command })
            };
            let thread = std::thread::Builder::new().name("spawner".into());
            let thread = thread.spawn_scoped(scope, spawn)?;
            contain::joined("the spawner", thread)?
        });
    }
    static SPAWNER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts processes is gone");
    let start = || {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("spawner".into());
        thread
            .spawn(move || queue.into_iter().for_each(serve))
            .ok()
            .map(|_| jobs)
    };
    let jobs = SPAWNER.get_or_init(start).as_ref().ok_or_else(gone)?;
    let (answer, child) = mpsc::sync_channel(1);
    jobs.send(Job {
        namespace,
        command,
        answer,
    })
    .map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

fn serve(job: Job) {
    let Job {
        namespace,
        mut command,
        answer,
    } = job;
    let child = spawn_from_here(&namespace, &mut command);
    // Before the answer, whose receiver relies on this copy of the socket being closed.
    drop(command);
    // The receiver is gone only if the asking thread panicked; the child then ends by its socket.
    let _ = answer.send(child);
}

fn spawn_from_here(namespace: &Namespace, command: &mut Command) -> io::Result<Child> {
    let home_network = Namespace::current().map_err(io::Error::other)?;
    let home_pids = std::fs::File::open("/proc/thread-self/ns/pid")?;
    namespace.enter().map_err(io::Error::other)?;
    // This thread must not end, and must leave the instance also after a panic: every host dies with it.
    let child = contain::once("the spawner", || {
        contain::site("spawner");
        unshare(CloneFlags::CLONE_NEWPID)
            .map_err(io::Error::from)
            .and_then(|()| forking::spawn(command))
    });
    let child = child.unwrap_or_else(|| Err(io::Error::other("the thread that starts hosts panicked")));
    // This thread lives on: if it stayed, it would keep the instance's network and its TAP alive.
    let restored = setns(&home_pids, CloneFlags::CLONE_NEWPID)
        .map_err(io::Error::from)
        .and_then(|()| home_network.enter().map_err(io::Error::other));
    match (child, restored) {
        (Ok(child), Err(error)) => {
            end_child(child);
            Err(error)
        }
        (child, _) => child,
    }
}
