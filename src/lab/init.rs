//! Runs as process 1 of an instance: sets up mounts and hostname, reaps zombies, and passes on signals.
//!
//! It is this program, started again with [`INIT_SUBCOMMAND`] as the first process of a PID namespace, inside the
//! instance's network namespace, with a socket to its owner as standard input. It first writes a line to that socket:
//! ready, or an error. After that each byte from the owner is an [`Order`], echoed once it is carried out. When the
//! socket closes, the owner is gone and process 1 ends; the kernel then kills all processes of its PID namespace.

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

/// The first argument that turns the program into process 1 of an instance. Not for manual use.
pub const INIT_SUBCOMMAND: &str = "instance-init";

/// The first line from process 1 on success.
pub(super) const READY: &str = "ready";

/// An order of the owner.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Freeze = b'F' as isize,
    Thaw = b'T' as isize,
    Kill = b'K' as isize,
    /// All programs are asked to end.
    End = b'E' as isize,
}

/// Every process of the instance except the caller and process 1 (kill(2)).
const ALL_OTHERS: Pid = Pid::from_raw(-1);

/// Runs as process 1 of an instance until the owner is gone. `arguments` are those after [`INIT_SUBCOMMAND`]: host name
/// and machine-id.
#[expect(
    clippy::print_stderr,
    reason = "there is no terminal front end yet at this point, and no log"
)]
pub fn init_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Visible to a person who typed the subcommand; under an owner standard error is closed.
            eprintln!("localvpc {INIT_SUBCOMMAND}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    // The code below takes over mounts and host name. The owner starts process 1 in a PID namespace with a socket as
    // standard input; any other process must not get further.
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
        // After the mounts, before any program of the instance.
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

/// Prepares the instance; returns the descriptor that becomes readable when a child has died.
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
    // As Debian does (Debian reference, section 5.1.1). Otherwise a program that resolves its own host name would wait
    // for a resolver that may be absent; keepalived does so when it starts.
    own_file("/etc/hosts", &hosts(&hostname.to_string_lossy()))?;
    let mut deaths = SigSet::empty();
    deaths.add(Signal::SIGCHLD);
    deaths.thread_block()?;
    Ok(SignalFd::with_flags(
        &deaths,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

/// Replaces a file of the machine, which may belong to another user: it is removed from the layer first.
fn own_file(path: &str, text: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::write(path, text)
}

/// `/etc/hosts` for this host name.
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
            reap(deaths)?;
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

/// Reaps zombies: orphans become children of process 1.
fn reap(deaths: &SignalFd) -> io::Result<()> {
    // Several deaths can share one signal: drain the descriptor, then reap until no zombie is left.
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
        o if o == Order::End as u8 => Signal::SIGTERM,
        other => return Err(io::Error::other(format!("unknown order {other}"))),
    };
    match kill(ALL_OTHERS, signal) {
        // There is no other process.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
