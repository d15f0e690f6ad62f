//! Runs the program as a script does, and starts servers in processes of their own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use localvpc::lab::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) fn localvpc(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_localvpc"));
    command
        .args(arguments)
        .env_remove("LOCALVPC_SERVER")
        .env_remove("LOCALVPC_TOKEN_FILE");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    localvpc(arguments).output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server in a network namespace of its own, where devices that are made up show nowhere. It ends when this is dropped.
pub(crate) struct ApartServer {
    pub(crate) child: Child,
    pub(crate) namespace: Namespace,
    pub(crate) folder: tempfile::TempDir,
}

impl ApartServer {
    /// Starts `localvpc serve` with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let namespace = Namespace::create().unwrap();
        let records = folder.path().join("run");
        let start = || {
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
            assert!(up.success(), "ip (package iproute2)");
            localvpc(&["serve"])
                .args(arguments)
                .env("LOCALVPC_RUN_DIRECTORY", &records)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut child = namespace.run(start).unwrap();
        wait_until_ready(&mut child);
        Self {
            child,
            namespace,
            folder,
        }
    }
}

impl Drop for ApartServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a server with piped output reports that it is ready.
pub(crate) fn wait_until_ready(server: &mut Child) {
    let output = BufReader::new(server.stdout.take().unwrap());
    let ready = output
        .lines()
        .map_while(Result::ok)
        .any(|line| line.starts_with("Ctrl-C ends it"));
    assert!(ready, "the server did not start");
}

/// A free port: bound and released, so that a server can bind it a moment later.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server in the foreground of its own process, on a socket in a folder of the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Server {
    pub(crate) fn start(folder: &tempfile::TempDir, arguments: &[&str]) -> Self {
        Self::start_on(folder, arguments, Stdio::inherit())
    }

    /// Starts a server with a standard input of its own, which is its descriptor 0.
    pub(crate) fn start_on(folder: &tempfile::TempDir, arguments: &[&str], input: Stdio) -> Self {
        let socket = folder.path().join("api.sock");
        let mut child = localvpc(arguments)
            .args(["--socket", socket.to_str().unwrap()])
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_ready(&mut child);
        Self { child, socket }
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let server = format!("unix:{}", self.socket.display());
        localvpc(arguments).env("LOCALVPC_SERVER", server).output().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Deletes a resource and returns the status.
    pub(crate) fn delete(&self, path: &str) -> u16 {
        let output = Command::new("curl")
            .args([
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-X",
                "DELETE",
                "--unix-socket",
            ])
            .arg(&self.socket)
            .arg(format!("http://localhost{path}"))
            .output()
            .unwrap();
        stdout(&output).parse().unwrap()
    }

    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}");
        assert!(!self.socket.exists());
    }
}

/// A failing test leaves no server behind.
impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
