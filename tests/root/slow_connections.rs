//! Tests that connections that send nothing, or an endless header, cost the server little and exclude no other client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use localvpc::lab::descriptors;

use crate::support::cli::{free_port, localvpc, wait_until_ready};

const SLOW: usize = 10_000;

/// Connections that a server of 20 000 descriptors holds.
const HELD: usize = 4096;

struct Server {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut child = localvpc(&["serve", "--listen", &address, "--socket"])
            .arg(folder.path().join("api.sock"))
            .env("LOCALVPC_RUN_DIRECTORY", folder.path().join("run"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_ready(&mut child);
        Self { child, address, folder }
    }

    /// Resident memory in KiB.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("api.sock")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn healthy(mut stream: impl Read + Write) -> bool {
    let mut answer = String::new();
    stream.write_all(HEALTH).is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// The latency of a client over TCP, and of one over the socket.
fn waits(server: &Server) -> Duration {
    let asked = Instant::now();
    let tcp = TcpStream::connect(&server.address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(healthy(tcp), "over TCP");
    let unix = UnixStream::connect(server.socket()).unwrap();
    unix.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(healthy(unix), "over the socket");
    asked.elapsed()
}

/// Opens so many connections, each of which has sent a part of a header.
fn slow(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            // The server may have closed it already.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: local");
            stream
        })
        .collect()
}

#[test]
#[ignore = "needs root: make test"]
fn ten_thousand_slow_connections_exclude_no_client_and_take_no_memory() {
    assert!(
        descriptors::raise_limit() > SLOW as u64 + 1000,
        "raise the hard limit of open files"
    );
    let server = Server::start();
    let at_rest = server.memory();
    let mut held = slow(&server.address, SLOW / 2);
    let half = server.memory();
    assert!(waits(&server) < Duration::from_secs(5));
    held.extend(slow(&server.address, SLOW / 2));
    assert!(waits(&server) < Duration::from_secs(5));
    let all = server.memory();
    println!(
        "at rest {at_rest} KiB, {} slow {half} KiB, {SLOW} slow {all} KiB",
        SLOW / 2
    );
    assert!(all < half + 16 * 1024, "{half} KiB, then {all} KiB");
    assert!(all < at_rest + 160 * 1024, "{at_rest} KiB, then {all} KiB");
    assert!(server.descriptors() < HELD + 200, "{}", server.descriptors());
}

#[test]
#[ignore = "needs root: make test"]
fn a_connection_that_sends_no_request_is_closed_after_half_a_minute() {
    let server = Server::start();
    let mut idle = TcpStream::connect(&server.address).unwrap();
    let mut slow = slow(&server.address, 1).remove(0);
    // A client that sends a little at a time gets no more time.
    let began = Instant::now();
    for stream in [&mut idle, &mut slow] {
        stream.set_read_timeout(Some(Duration::from_secs(45))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let waited = began.elapsed();
    assert!((20..44).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_server_without_a_descriptor_left_answers_all_the_same() {
    let server = Server::start();
    let pid = rustix::process::Pid::from_raw(server.child.id().cast_signed());
    // The present number and a few more, as if devices and namespaces had used the others.
    let most = server.descriptors() as u64 + 4;
    let limit = rustix::process::Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).unwrap();
    let held = slow(&server.address, 200);
    assert!(waits(&server) < Duration::from_secs(5));
    assert_eq!(held.len(), 200);
    assert!(Path::new(&server.socket()).exists());
}

#[test]
#[ignore = "needs root: make test"]
fn a_program_gets_the_limit_of_open_files_that_the_server_was_started_with() {
    let folder = tempfile::tempdir().unwrap();
    let topology = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
instances: { a: { subnet: s, ipv4: [10.0.1.10] } }
";
    let path = crate::support::cli::file(&folder, "t.yaml", topology);
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -Sn 777; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_localvpc"))
        .args(["up", "--allow-exec", &path, "--socket"])
        .arg(folder.path().join("api.sock"))
        .stdout(Stdio::piped())
        .spawn();
    let mut child = output.unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let ready = std::io::BufRead::lines(lines)
        .map_while(Result::ok)
        .any(|line| line.starts_with("Ctrl-C ends it"));
    assert!(ready);
    let server = format!("unix:{}", folder.path().join("api.sock").display());
    let ask = [
        "--server",
        &server,
        "exec",
        "a",
        "--",
        "sh",
        "-c",
        "sleep 0.1; ulimit -Sn",
    ];
    let output = localvpc(&ask).output().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    child.wait().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "777", "{output:?}");
}
