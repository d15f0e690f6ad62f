//! Process 1 of an instance, from inside: it makes the place its own, buries the dead, and passes on signals.
//!
//! It is this program, started again with [`INIT_SUBCOMMAND`] as the first process of a PID namespace, inside the
//! instance's network namespace, with a socket to its owner as standard input. A line on that socket says that it is
//! ready or why not. After that each byte from the owner is an [`Order`], echoed once it is carried out. When the
//! socket closes, the owner is gone, and process 1 ends; the kernel then kills all that it was process 1 of.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname, setsid};

use super::mounts;
use crate::confine::{forbid_dangerous, rootless};

/// The first argument that turns the program into process 1 of an instance. Not for people to type.
pub const INIT_SUBCOMMAND: &str = "instance-init";

/// The first line from process 1 when all is well.
pub(super) const READY: &str = "ready";

/// What the owner can ask for.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Freeze = b'F' as isize,
    Thaw = b'T' as isize,
    Kill = b'K' as isize,
}

/// Every process that the caller may signal but itself and process 1 (kill(2)): all others of the instance.
const ALL_OTHERS: Pid = Pid::from_raw(-1);

/// Runs as process 1 of an instance until the owner is gone. `arguments` are those after [`INIT_SUBCOMMAND`]: the
/// host name and the machine-id.
#[expect(
    clippy::print_stderr,
    reason = "there is no terminal front end yet at this point, and no log"
)]
pub fn init_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Seen by a person who typed the subcommand; under an owner standard error is closed.
            eprintln!("localvpc {INIT_SUBCOMMAND}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    // Everything below takes over the mounts and the name of a machine. Process 1 of a PID namespace with a socket
    // for standard input is what the owner starts; nothing else may get further.
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    if std::process::id() != 1 || control.peer_addr().is_err() {
        return Err(io::Error::other(
            "this is started by localvpc as process 1 of an instance, not by hand",
        ));
    }
    if !rootless::in_user_namespace() {
        set_pdeathsig(Signal::SIGKILL)?;
    }
    // Ctrl-C at the owner's terminal is for the owner.
    setsid()?;
    let prepared = prepare(arguments).and_then(|deaths| {
        // After the mounts; before anything of the instance runs.
        forbid_dangerous()?;
        Ok(deaths)
    });
    let said = match &prepared {
        Ok(_) => format!("{READY}\n"),
        Err(error) => format!("{}\n", error.to_string().replace('\n', " ")),
    };
    (&control).write_all(said.as_bytes())?;
    serve(&control, &prepared?)
}

/// Returns the descriptor that can be read when a child has died.
fn prepare(arguments: impl IntoIterator<Item = OsString>) -> io::Result<SignalFd> {
    let mut arguments = arguments.into_iter();
    let (Some(hostname), Some(machine_id)) = (arguments.next(), arguments.next().and_then(|id| id.into_string().ok()))
    else {
        return Err(io::Error::other("the arguments are a host name and a machine-id"));
    };
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
    mounts::make_private()?;
    sethostname(&hostname)?;
    own_file("/etc/hostname", &format!("{}\n", hostname.display()))?;
    own_file("/etc/machine-id", &format!("{machine_id}\n"))?;
    // As Debian does it (Debian reference, section 5.1.1). A program that asks for the name of its own machine would else wait
    // for a resolver that may not be there; keepalived does so when it starts.
    own_file("/etc/hosts", &hosts(&hostname.to_string_lossy()))?;
    let mut deaths = SigSet::empty();
    deaths.add(Signal::SIGCHLD);
    deaths.thread_block()?;
    Ok(SignalFd::with_flags(
        &deaths,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

/// Puts a file in the place of the machine's, which may be another user's: it is removed from the layer, not written to.
fn own_file(path: &str, text: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::write(path, text)
}

/// `/etc/hosts` of a machine of this name.
fn hosts(name: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n")
}

fn serve(mut control: &UnixStream, deaths: &SignalFd) -> io::Result<()> {
    loop {
        let mut ready = [
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
            PollFd::new(deaths.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [order, death] = ready.map(|descriptor| descriptor.any().unwrap_or(false));
        if death {
            bury(deaths)?;
        }
        if order {
            let mut byte = [0];
            if control.read(&mut byte)? == 0 {
                return Ok(());
            }
            obey(byte[0])?;
            control.write_all(&byte)?;
        }
    }
}

/// Orphans become children of process 1 and stay zombies until it waits for them.
fn bury(deaths: &SignalFd) -> io::Result<()> {
    // Several deaths can share one signal: empty the descriptor, then reap until no zombie is left.
    while deaths.read_signal()?.is_some() {}
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn obey(order: u8) -> io::Result<()> {
    let signal = match order {
        o if o == Order::Freeze as u8 => Signal::SIGSTOP,
        o if o == Order::Thaw as u8 => Signal::SIGCONT,
        o if o == Order::Kill as u8 => Signal::SIGKILL,
        other => return Err(io::Error::other(format!("unknown order {other}"))),
    };
    match kill(ALL_OTHERS, signal) {
        // There is no other process.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
