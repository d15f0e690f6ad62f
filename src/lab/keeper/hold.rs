//! Runs a keeper: holds the descriptors and processes of one server's hosts, and gives them to the next server.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::setsid;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::super::instance::lock;
use super::super::namespace::Namespace;
use super::super::{descriptors, drop_in_parallel, exec, machine};
use super::wire::{self, Launch, Reply, Request, VERSION};
use super::{FLOWS, exactly, host_of_machine};

/// How long a keeper waits for the server that has started it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that is kept.
struct Entry {
    text: String,
    descriptors: Vec<OwnedFd>,
    child: Option<Arc<Mutex<Child>>>,
}

/// All that a keeper holds.
#[derive(Default)]
struct Hold {
    entries: Mutex<BTreeMap<String, Entry>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// The first server has connected.
    begun: bool,
    over: bool,
}

/// Serves one server after another until there is nothing left to keep.
pub fn hold(listener: UnixListener) -> io::Result<()> {
    // Ctrl-C at the server's terminal is for the server. It fails for the leader of a process group, which is not in the
    // server's.
    let _ = setsid();
    descriptors::raise_limit();
    let hold = Arc::new(Hold::default());
    let accepting = Arc::clone(&hold);
    std::thread::Builder::new().name("accept".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            accepting.count(true);
            let serving = Arc::clone(&accepting);
            let thread = std::thread::Builder::new().name("connection".into());
            let served = thread.spawn(move || {
                if let Err(error) = serving.serve(&stream) {
                    tracing::warn!(%error, "a connection of the keeper failed");
                }
                drop(stream);
                serving.count(false);
            });
            if served.is_err() {
                accepting.count(false);
            }
        }
    })?;
    // A server that dies before it has connected leaves nothing to keep.
    let state = lock(&hold.state);
    let begun = hold.changed.wait_timeout_while(state, PATIENCE, |state| !state.begun);
    let (mut state, _) = begun.unwrap_or_else(PoisonError::into_inner);
    state.begun = true;
    let waited = hold
        .changed
        .wait_while(state, |state| !state.over && !hold.is_idle(state));
    drop(waited.unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

impl Hold {
    fn count(&self, more: bool) {
        let mut state = lock(&self.state);
        state.connections = if more {
            state.connections + 1
        } else {
            state.connections.saturating_sub(1)
        };
        state.begun = true;
        self.changed.notify_all();
    }

    /// Whether there is neither a server nor anything that a next one would need.
    fn is_idle(&self, state: &State) -> bool {
        state.begun && state.connections == 0 && lock(&self.entries).keys().all(|key| key == FLOWS)
    }

    fn serve(&self, stream: &UnixStream) -> io::Result<()> {
        while let Some((request, descriptors)) = wire::receive::<Request>(stream)? {
            let over = matches!(request, Request::End);
            match self.obey(request, descriptors) {
                Ok((reply, descriptors)) => {
                    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                    wire::send(stream, &reply, &borrowed)?;
                }
                Err(error) => wire::send(stream, &Reply::failed(&error), &[])?,
            }
            if over {
                lock(&self.state).over = true;
                self.changed.notify_all();
            }
        }
        Ok(())
    }

    fn obey(&self, request: Request, descriptors: Vec<OwnedFd>) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let done = (Reply::Done, Vec::new());
        Ok(match request {
            Request::Hello => {
                let process = std::process::id();
                (
                    Reply::Hello {
                        version: VERSION,
                        process,
                    },
                    Vec::new(),
                )
            }
            Request::Put { key, text } => {
                self.insert(key, text, descriptors, None);
                done
            }
            Request::Remove { key } => {
                self.remove(&key);
                done
            }
            Request::List => {
                let entries = lock(&self.entries);
                let listed = entries.iter().map(|(key, entry)| (key.clone(), entry.text.clone()));
                (Reply::Listed(listed.collect()), Vec::new())
            }
            Request::Get { key } => {
                let entries = lock(&self.entries);
                let entry = entries.get(&key).ok_or(io::ErrorKind::NotFound)?;
                let copies = entry.descriptors.iter().map(OwnedFd::try_clone);
                (Reply::Done, copies.collect::<io::Result<_>>()?)
            }
            Request::Boot {
                key,
                program,
                arguments,
            } => self.boot(key, &program, &arguments, descriptors)?,
            Request::Run { key, text, launch } => self.run(key, text, &launch, descriptors)?,
            Request::Wait { key } => {
                let child = lock(&self.entries).get(&key).and_then(|entry| entry.child.clone());
                let child = child.ok_or(io::ErrorKind::NotFound)?;
                let status = wait(&child)?.into_raw();
                (Reply::Ended { status }, Vec::new())
            }
            Request::End => {
                self.end();
                done
            }
        })
    }

    fn insert(&self, key: String, text: String, descriptors: Vec<OwnedFd>, child: Option<Child>) {
        let entry = Entry {
            text,
            descriptors,
            child: child.map(|child| Arc::new(Mutex::new(child))),
        };
        // Closing a device takes a while: not under the lock.
        let former = lock(&self.entries).insert(key, entry);
        drop(former);
    }

    fn boot(
        &self,
        key: String,
        program: &PathBuf,
        arguments: &[String],
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let [namespace, stdin, control] = exactly(descriptors)?;
        let namespace = Namespace::from_fd(namespace).map_err(io::Error::other)?;
        let mut command = Command::new(program);
        command
            .arg0(format!("localvpc-init {}", arguments.get(1).map_or("", String::as_str)))
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = machine::spawn_as_process_1(namespace, command)?;
        self.started(key, String::new(), child, vec![control])
    }

    fn run(
        &self,
        key: String,
        text: String,
        launch: &Launch,
        mut descriptors: Vec<OwnedFd>,
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let kept = descriptors.split_off(descriptors.len().min(3));
        let [process_1, stdout, stderr] = exactly(descriptors)?;
        let child = exec::spawn_inside(process_1.as_fd(), launch, stdout.into(), stderr.into())?;
        self.started(key, text, child, kept)
    }

    /// Keeps a process with its descriptors; the first is its own.
    fn started(
        &self,
        key: String,
        text: String,
        mut child: Child,
        kept: Vec<OwnedFd>,
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let pid = Pid::from_child(&child);
        // It has not been reaped yet, so the number is valid.
        let opened = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
        let pidfd = match opened.and_then(|pidfd| Ok((pidfd.try_clone()?, pidfd))) {
            Ok((copy, pidfd)) => {
                let descriptors = std::iter::once(pidfd).chain(kept).collect();
                self.insert(key, text, descriptors, Some(child));
                copy
            }
            Err(error) => {
                end(&mut child);
                return Err(error);
            }
        };
        let process = pid.as_raw_nonzero().get();
        Ok((Reply::Started { process }, vec![pidfd]))
    }

    fn remove(&self, key: &str) {
        let entry = lock(&self.entries).remove(key);
        let Some(entry) = entry else { return };
        if let Some(child) = &entry.child {
            self.end_process(key, child);
        }
        drop(entry);
        // Waiters ask whether anything is left.
        let _state = lock(&self.state);
        self.changed.notify_all();
    }

    /// Kills the process of an entry. Process 1 ends when all processes of its instance have been reaped, and commands
    /// are children of this process.
    fn end_process(&self, key: &str, child: &Mutex<Child>) {
        // It fails only when the process has been reaped.
        let _ = lock(child).kill();
        if let Some(host) = host_of_machine(key) {
            let prefix = format!("command/{host}/");
            let commands: Vec<_> = {
                let entries = lock(&self.entries);
                let own = entries
                    .range(prefix.clone()..)
                    .take_while(|(key, _)| key.starts_with(&prefix));
                own.filter_map(|(_, entry)| entry.child.clone()).collect()
            };
            for command in commands {
                let _ = wait(&command);
            }
        }
        let _ = wait(child);
    }

    fn end(&self) {
        let entries = std::mem::take(&mut *lock(&self.entries));
        let children: Vec<_> = entries.values().filter_map(|entry| entry.child.clone()).collect();
        // All are killed before one is waited for: a process 1 waits for the commands of its instance.
        for child in &children {
            let _ = lock(child).kill();
        }
        for child in &children {
            let _ = wait(child);
        }
        drop_in_parallel(entries.into_values().collect());
    }
}

/// Waits for a process, or returns the status that it had.
fn wait(child: &Mutex<Child>) -> io::Result<ExitStatus> {
    // Not by a blocking wait(2) under the lock: another thread may have to kill it.
    loop {
        let pidfd = {
            let mut child = lock(child);
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            // It has not been reaped, so the number is valid.
            pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?
        };
        let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        // An interrupted poll is repeated.
        let _ = rustix::event::poll(&mut ended, None);
    }
}

fn end(child: &mut Child) {
    // Both fail only when the process is dead and reaped.
    let _ = child.kill();
    let _ = child.wait();
}
