//! Hosts and devices of a server with a state outlive it: killed and started again, or replaced by another.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::cli::{code, localvpc, stdout, wait_until_ready};

const SOON: Duration = Duration::from_secs(20);

/// A state whose servers come and go. What is left of it at the end of the test is ended.
struct State {
    folder: tempfile::TempDir,
}

/// A server of the state.
struct Serving(Child);

impl State {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = localvpc(arguments);
        command
            .env("LOCALVPC_RUN_DIRECTORY", self.path("run"))
            .env("LOCALVPC_SERVER", format!("unix:{}", self.path("api.sock").display()));
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a lab of two hosts that keeps its network.
    fn lab(&self, more: &[&str]) -> Serving {
        let (state, socket) = (self.path("state"), self.path("api.sock"));
        let mut child = self
            .command(&["lab", "--hosts", "2", "--allow-exec", "--state"])
            .args([&state, Path::new("--socket"), &socket])
            .args(more)
            .env_remove("LOCALVPC_SERVER")
            .stdout(Stdio::piped())
            .stderr(Stdio::from(std::fs::File::create(self.path("stderr")).unwrap()))
            .spawn()
            .unwrap();
        wait_until_ready(&mut child);
        Serving(child)
    }

    /// Runs a command in a host, which must succeed, and returns what it wrote.
    fn exec(&self, host: &str, line: &str) -> String {
        let output = self.ask(&["exec", host, "sh", "-c", line]);
        assert_eq!(code(&output), 0, "{line}: {}", String::from_utf8_lossy(&output.stderr));
        stdout(&output)
    }

    /// The numbers of all processes whose command line has this word.
    fn processes(&self, word: &str) -> Vec<i32> {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(word)
            })
            .collect()
    }

    /// The keeper's process, while it runs.
    fn keeper(&self) -> Option<i32> {
        let folder = std::fs::canonicalize(self.path("state")).unwrap();
        self.processes(folder.to_str().unwrap()).into_iter().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("localvpc-keeper"))
        })
    }

    /// Begins to ping from a host, as its daemon, each 10 ms. The file has an answer a line.
    fn flood(&self, host: &str, to: &str) -> PathBuf {
        let log = self.path("ping.log");
        let line = format!("setsid ping -n -i 0.01 {to} > {} 2>&1 < /dev/null &", log.display());
        self.exec(host, &line);
        until(|| answers(&log).len() > 20, "no ping is answered");
        log
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = self.ask(&["down", "--all"]);
    }
}

impl Serving {
    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and waits.
    fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let mut ended = None;
        until(
            || {
                ended = self.0.try_wait().unwrap();
                ended.is_some()
            },
            "the server does not end",
        );
        assert!(ended.unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has ended cannot be killed again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(mut done: impl FnMut() -> bool, otherwise: &str) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < SOON, "{otherwise}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The sequence numbers of the pings that were answered.
fn answers(log: &Path) -> Vec<u64> {
    let Ok(file) = std::fs::File::open(log) else {
        return Vec::new();
    };
    BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok())
        .collect()
}

/// The hosts, their processes, their devices and the addresses that they gave themselves are those of before.
#[test]
#[ignore = "needs root: make test"]
fn hosts_and_their_processes_outlive_a_killed_server() {
    let state = State::new();
    let server = state.lab(&[]);
    let namespace = state.exec("a", "readlink /proc/self/ns/net");
    state.exec("a", "echo own > /etc/of-a; ip address add 10.0.1.77/24 dev eth0");
    let log = state.flood("a", "10.0.1.11");
    state.exec("b", "setsid sleep 4713.3 > /dev/null 2>&1 < /dev/null &");
    let keeper = state.keeper().expect("a keeper");
    let ping = state.exec("a", "pgrep -x ping");
    server.kill();

    // Frames are not forwarded now; the processes of the hosts go on.
    let stopped_at = answers(&log).len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(state.keeper(), Some(keeper));
    let server = state.lab(&[]);
    until(|| answers(&log).len() > stopped_at + 50, "pings are not answered again");
    assert_eq!(state.keeper(), Some(keeper), "another keeper");
    assert_eq!(state.exec("a", "readlink /proc/self/ns/net"), namespace);
    assert_eq!(state.exec("a", "pgrep -x ping"), ping);
    assert_eq!(state.exec("a", "cat /etc/of-a"), "own\n");
    assert!(state.exec("a", "ip address").contains("10.0.1.77"));
    // The programs of a host reach the API of the new server.
    assert!(state.exec("b", "localvpc interfaces").contains("10.0.1.11"));
    // An end that is asked for ends them too.
    assert_eq!(state.processes("4713.3").len(), 1);
    server.stop();
    until(|| state.keeper().is_none(), "the keeper does not end with the server");
    assert!(state.processes("4713.3").is_empty());
}

#[test]
#[ignore = "needs root: make test"]
fn down_all_ends_the_hosts_that_a_killed_server_has_left() {
    let state = State::new();
    let server = state.lab(&[]);
    state.exec("a", "setsid sleep 4713.1 > /dev/null 2>&1 < /dev/null &");
    assert_eq!(state.processes("4713.1").len(), 1);
    // A server that runs keeps what it has.
    server.kill();
    assert_eq!(state.processes("4713.1").len(), 1, "the host's processes ended");
    let down = state.ask(&["down", "--all"]);
    assert_eq!(code(&down), 0, "{}", String::from_utf8_lossy(&down.stderr));
    assert!(
        stdout(&down).starts_with("ended what a killed server has left: "),
        "{}",
        stdout(&down)
    );
    until(
        || state.processes("4713.1").is_empty() && state.keeper().is_none(),
        "something is left",
    );
    // The network is kept all the same.
    let server = state.lab(&[]);
    assert!(state.exec("a", "ip address").contains("10.0.1.10"));
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn what_was_taken_away_before_the_server_was_killed_does_not_come_back() {
    let state = State::new();
    let server = state.lab(&[]);
    state.exec("b", "setsid sleep 4713.2 > /dev/null 2>&1 < /dev/null &");
    let deleted = std::process::Command::new("curl")
        .args(["-sf", "-X", "DELETE", "--unix-socket"])
        .arg(state.path("api.sock"))
        .arg("http://localhost/v1/instances/b")
        .status()
        .unwrap();
    assert!(deleted.success());
    until(|| state.processes("4713.2").is_empty(), "a host's process outlives it");
    server.kill();
    let server = state.lab(&[]);
    let instances = stdout(&state.ask(&["instances", "--json"]));
    let instances: serde_json::Value = serde_json::from_str(&instances).unwrap();
    let names: Vec<_> = instances["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert!(!names.contains(&"b".into()), "{names:?}");
    assert!(state.exec("a", "ip address").contains("10.0.1.10"));
    server.stop();
}
