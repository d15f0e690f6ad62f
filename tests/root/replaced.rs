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

const SERVER: &str = "
import socket
listener = socket.create_server(('0.0.0.0', 7))
connection, _ = listener.accept()
while octets := connection.recv(65536):
    connection.sendall(octets)
";

const CLIENT: &str = "
import os, socket, struct, sys, time
for _ in range(100):
    try:
        connection = socket.create_connection((sys.argv[1], 7), 10)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
connection.settimeout(20)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print('connected', flush=True)
count, longest, last = 0, 0.0, time.monotonic()
while not os.path.exists(sys.argv[2]):
    connection.sendall(struct.pack('>Q', count))
    back = connection.recv(8, socket.MSG_WAITALL)
    assert struct.unpack('>Q', back)[0] == count, count
    now = time.monotonic()
    count, longest, last = count + 1, max(longest, now - last), now
    time.sleep(0.001)
print(count, longest * 1000, flush=True)
";

/// A state whose servers come and go. What is left of it at the end of the test is ended.
pub(crate) struct State {
    folder: tempfile::TempDir,
}

/// A server of the state.
pub(crate) struct Serving(pub(crate) Child);

impl State {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = localvpc(arguments);
        command
            .env("LOCALVPC_RUN_DIRECTORY", self.path("run"))
            .env("LOCALVPC_SERVER", format!("unix:{}", self.path("api.sock").display()));
        command
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a lab of two hosts that keeps its network.
    pub(crate) fn lab(&self, more: &[&str]) -> Serving {
        self.serve(&["lab", "--hosts", "2"], more)
    }

    /// Starts a server that keeps its network.
    pub(crate) fn serve(&self, command: &[&str], more: &[&str]) -> Serving {
        let (state, socket) = (self.path("state"), self.path("api.sock"));
        let mut child = self
            .command(command)
            .args([Path::new("--allow-exec"), Path::new("--state"), &state])
            .args([Path::new("--socket"), &socket])
            .args(more)
            .env_remove("LOCALVPC_SERVER")
            .stdout(Stdio::piped())
            .stderr(Stdio::from(std::fs::File::create(self.path("stderr")).unwrap()))
            .spawn()
            .unwrap();
        wait_until_ready(&mut child);
        Serving(child)
    }

    /// Starts another server with the same arguments that takes over, and returns it when the former has ended.
    pub(crate) fn replace(&self, former: Serving) -> Serving {
        let next = self.lab(&["--replace"]);
        let mut former = former;
        let mut ended = None;
        until(
            || {
                ended = former.0.try_wait().unwrap();
                ended.is_some()
            },
            "the replaced server does not end",
        );
        assert!(ended.unwrap().success());
        next
    }

    /// What the last server wrote on standard error.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// A TCP connection on which a host sends a number each millisecond, and the other returns it. The file gets a line with
    /// the count and the longest silence when the file `end` is there, and an error otherwise.
    fn converse(&self, from: &str, to: &str, address: &str) -> PathBuf {
        let (server, client, log) = (self.path("server.py"), self.path("client.py"), self.path("tcp.log"));
        std::fs::write(&server, SERVER).unwrap();
        std::fs::write(&client, CLIENT).unwrap();
        self.exec(
            to,
            &format!(
                "setsid python3 {} > {} 2>&1 < /dev/null &",
                server.display(),
                self.path("server.log").display()
            ),
        );
        let line = format!(
            "setsid python3 {} {address} {} > {} 2>&1 < /dev/null &",
            client.display(),
            self.path("end").display(),
            log.display()
        );
        self.exec(from, &line);
        until(
            || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("connected")),
            "no connection",
        );
        log
    }

    /// Ends the conversation: how many numbers came back, and the longest silence in milliseconds.
    fn end_conversation(&self, log: &Path) -> (u64, f64) {
        std::fs::write(self.path("end"), "").unwrap();
        let mut text = String::new();
        until(
            || {
                text = std::fs::read_to_string(log).unwrap();
                text.lines().count() > 1
            },
            "the conversation does not end",
        );
        let numbers: Vec<f64> = text
            .lines()
            .last()
            .unwrap()
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        assert_eq!(numbers.len(), 2, "{text}");
        (numbers[0] as u64, numbers[1])
    }

    /// Runs a command in a host, which must succeed, and returns what it wrote.
    pub(crate) fn exec(&self, host: &str, line: &str) -> String {
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
    pub(crate) fn keeper(&self) -> Option<i32> {
        let folder = std::fs::canonicalize(self.path("state")).unwrap();
        self.processes(folder.to_str().unwrap()).into_iter().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("localvpc-keeper"))
        })
    }

    /// Begins to ping from a host, as its daemon, each 10 ms. The file has an answer a line.
    pub(crate) fn flood(&self, host: &str, to: &str) -> PathBuf {
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
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and waits.
    pub(crate) fn stop(mut self) {
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

pub(crate) fn until(mut done: impl FnMut() -> bool, otherwise: &str) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < SOON, "{otherwise}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The sequence numbers of the pings that were answered.
pub(crate) fn answers(log: &Path) -> Vec<u64> {
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
    let token = state.exec(
        "a",
        "curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 600' http://169.254.169.254/latest/api/token",
    );
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
    // A token of the metadata service that the former server issued is valid; one of a stranger is not.
    let hostname = |token: &str| {
        let line = format!(
            "curl -s -o /dev/null -w '%{{http_code}}' -H 'X-aws-ec2-metadata-token: {token}' http://169.254.169.254/latest/meta-data/mac"
        );
        state.exec("a", &line)
    };
    assert_eq!(hostname(&token), "200");
    assert_eq!(hostname(&"A".repeat(56)), "401");
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

/// The next server is there when frames are not read for a moment. No ping is lost, a TCP connection goes on, and the API
/// answers all the time.
#[test]
#[ignore = "needs root: make test"]
fn a_server_is_replaced_and_no_frame_is_lost() {
    let state = State::new();
    let mut server = state.lab(&[]);
    let log = state.flood("a", "10.0.1.11");
    let conversation = state.converse("b", "a", "10.0.1.10");
    let keeper = state.keeper();
    for round in 1..=3 {
        let named = state.ask(&["interfaces", "--json"]);
        let former = server.0.id();
        server = state.replace(server);
        let said = state.said();
        assert!(
            said.contains(&format!("took over from process {former}; frames waited ")),
            "{said}"
        );
        eprintln!("{said}");
        assert_eq!(stdout(&state.ask(&["interfaces", "--json"])), stdout(&named));
        // Edits are taken again, and reach the hosts' own API.
        let address = format!("10.0.1.{}", 60 + round);
        let assigned = state.ask(&["mappings", "assign", &address, "--to", "a"]);
        assert_eq!(code(&assigned), 0, "{}", String::from_utf8_lossy(&assigned.stderr));
        assert!(state.exec("b", "localvpc interfaces").contains(&address));
    }
    assert_eq!(state.keeper(), keeper);
    let (count, silence) = state.end_conversation(&conversation);
    eprintln!("{count} numbers went to and fro, the longest silence was {silence:.1} ms");
    assert!(count > 100);
    // Those before the last few were all answered.
    let answered: std::collections::BTreeSet<u64> = answers(&log).into_iter().collect();
    let last = answered.last().copied().unwrap();
    let lost: Vec<u64> = (1..last.saturating_sub(20))
        .filter(|number| !answered.contains(number))
        .collect();
    assert!(lost.is_empty(), "of {last} pings these were lost: {lost:?}");
    server.stop();
    until(|| state.keeper().is_none(), "the keeper does not end with the server");
}

/// A tracked connection goes on although its rule was revoked, in the next server too: by a hand-over, and after a kill.
#[test]
#[ignore = "needs root: make test"]
fn tracked_connections_go_on_in_the_next_server() {
    let state = State::new();
    let server = state.lab(&[]);
    let conversation = state.converse("a", "b", "10.0.1.11");
    let revoked = state.ask(&[
        "security-groups",
        "revoke",
        "default",
        "ingress",
        "all",
        "--group",
        "default",
    ]);
    assert_eq!(code(&revoked), 0, "{}", String::from_utf8_lossy(&revoked.stderr));
    let refused = || {
        let tried = state.ask(&["exec", "b", "ping", "-c", "1", "-W", "1", "10.0.1.10"]);
        assert_eq!(code(&tried), 1, "{}", stdout(&tried));
    };
    refused();
    // The keeper gets what is tracked each second.
    std::thread::sleep(Duration::from_millis(2500));
    server.kill();
    let server = state.lab(&[]);
    refused();
    let server = state.replace(server);
    refused();
    let (count, silence) = state.end_conversation(&conversation);
    eprintln!("{count} numbers went to and fro, the longest silence was {silence:.1} ms");
    server.stop();
}

/// Hosts and their programs outlive a server: what they trust is what the next one has, after a hand-over and after a kill.
#[test]
#[ignore = "needs root: make test"]
fn hosts_trust_the_endpoint_of_the_next_server() {
    let state = State::new();
    let server = state.lab(&[]);
    // As a program that read the authority when it started.
    let remembered = state.path("remembered.pem");
    state.exec("a", &format!("cp /etc/ssl/localvpc-ca.pem {}", remembered.display()));
    let asks = || {
        let url = "https://ec2.us-east-1.amazonaws.com/?Action=DescribeRegions&Version=2016-11-15";
        let line = format!("curl -sS --cacert {} '{url}'", remembered.display());
        assert!(state.exec("a", &line).contains("<regionName>us-east-1</regionName>"));
        // With the files of the host.
        assert!(state.exec("b", &format!("curl -sS '{url}'")).contains("us-east-1"));
    };
    asks();
    let server = state.replace(server);
    asks();
    server.kill();
    let server = state.lab(&[]);
    asks();
    // Only the owner of the state reads the key.
    let database = std::fs::metadata(state.path("state").join("network.db")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&database.permissions()) & 0o777,
        0o600
    );
    server.stop();
}

/// Until the next server has everything, its end leaves the one that runs as it was.
#[test]
#[ignore = "needs root: make test"]
fn a_server_that_dies_while_it_takes_over_changes_nothing() {
    use std::io::{Read, Write};
    let state = State::new();
    let server = state.lab(&[]);
    let log = state.flood("a", "10.0.1.11");
    let send = |stream: &mut std::os::unix::net::UnixStream, body: &str| {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        stream.write_all(&[&length[..], body.as_bytes()].concat()).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    };
    let assign = |address: &str| state.ask(&["mappings", "assign", address, "--to", "a"]);
    for last in ["Flows", "Take"] {
        let mut next = std::os::unix::net::UnixStream::connect(state.path("state/replace")).unwrap();
        let answer = send(&mut next, r#"{"Begin":{"version":1}}"#);
        assert!(answer.contains("Yielding"), "{answer}");
        let refused = assign("10.0.1.70");
        let said = String::from_utf8_lossy(&refused.stderr).replace("\n  │ ", " ");
        assert_eq!(code(&refused), 1, "{said}");
        assert!(said.contains("this server is being replaced"), "{said}");
        let answer = send(&mut next, &format!("\"{last}\""));
        assert!(answer.contains("octets"), "{answer}");
        drop(next);
        let mut taken = assign("10.0.1.70");
        until(
            || {
                taken = assign("10.0.1.70");
                code(&taken) == 0
            },
            "edits are refused for ever",
        );
        let answered = answers(&log).len();
        until(|| answers(&log).len() > answered + 20, "pings are not answered again");
        assert_eq!(
            code(&state.ask(&["mappings", "unassign", "10.0.1.70", "--from", "a"])),
            0
        );
    }
    // One of another version is refused before anything happens.
    let mut next = std::os::unix::net::UnixStream::connect(state.path("state/replace")).unwrap();
    let answer = send(&mut next, r#"{"Begin":{"version":99}}"#);
    assert!(answer.contains("Refused"), "{answer}");
    server.stop();
}

/// A server at the default address is edited by `up FILE`, unless that is to replace it, or names the state of another network.
#[test]
#[ignore = "needs root: make test"]
fn up_takes_over_from_a_server_at_the_default_address_where_it_is_to_replace_it() {
    let state = State::new();
    let apart = localvpc::lab::Namespace::create().unwrap();
    let file = state.path("network.yaml");
    let network = "vpcs:\n  v: { cidr_blocks: [10.0.0.0/16] }\nsubnets:\n  s: { vpc: v, cidr_block: 10.0.1.0/24 }\n";
    std::fs::write(&file, network).unwrap();
    let up = |folder: &str, more: &[&str]| {
        let start = || {
            let lo = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(lo.unwrap().success(), "ip (package iproute2)");
            let mut command = state.command(&["up", "--ec2", "off", "--state"]);
            command
                .args([&state.path(folder), &file])
                .args(more)
                .env_remove("LOCALVPC_SERVER")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        apart.run(start).unwrap()
    };
    let mut first = Serving(up("state", &[]));
    wait_until_ready(&mut first.0);
    let edited = up("state", &[]).wait_with_output().unwrap();
    assert_eq!(
        stdout(&edited),
        "Nothing to change\n",
        "{}",
        String::from_utf8_lossy(&edited.stderr)
    );
    // A new network is not made in the place of that of the server, which has the address.
    let other = up("other", &[]).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(code(&other) != 0 && said.contains("8460"), "{} {said}", stdout(&other));
    assert!(first.0.try_wait().unwrap().is_none());

    let mut next = Serving(up("state", &["--replace"]));
    wait_until_ready(&mut next.0);
    let mut ended = None;
    until(
        || {
            ended = first.0.try_wait().unwrap();
            ended.is_some()
        },
        "the replaced server does not end",
    );
    assert!(ended.unwrap().success());
    for option in ["--dry-run", "--prune"] {
        let refused = up("state", &["--replace", option]).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            code(&refused) == 2 && said.contains("cannot be used with"),
            "{option}: {said}"
        );
    }
    assert!(next.0.try_wait().unwrap().is_none());
    next.stop();
}
