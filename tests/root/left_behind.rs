//! Tests that a killed process leaves nothing, or only what the next start removes. It needs root for namespaces.
//!
//! Each test uses a network and a mount namespace of its own, in which devices, mounts and files can be counted.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Generous: the machine that runs the tests is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

const PROGRAM: &str = "/opt/localvpc";

/// Where programs leave files. Mounts hide those of the machine.
const PLACES: [&str; 5] = ["run", "tmp", "var/tmp", "dev/shm", "opt"];

const TOPOLOGY: &str = "
name: NAME
topology:
  vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
  subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
  instances:
    a: { subnet: s, ipv4: [10.0.1.10] }
    b: { subnet: s, ipv4: [10.0.1.11] }
steps:
";

/// Daemons, captures and a probe; then a step that is still running when the process is killed.
const LONG: &str = "
- responder: { start: echo, in: b }
- exec: { in: a, background: front, run: 'exec sleep 4712.1' }
- exec: { in: b, run: 'setsid sleep 4712.2 >/dev/null 2>&1 & :' }
- exec: { in: b, run: '(setsid sh -c \"trap : TERM INT HUP; while :; do sleep 4712.3; done\" >/dev/null 2>&1 &) ; :' }
- exec: { in: a, run: 'mkdir -p /etc/left && echo x > /etc/left/x && mount -t tmpfs left /mnt' }
- capture: { start: seen, in: b }
- probe: { start: stream, from: a, to: 10.0.1.11, kind: udp }
- exec: { in: a, run: 'sleep 4712.4', timeout: 300s }
";

fn scenario(name: &str, steps: &str) -> String {
    TOPOLOGY.replace("NAME", name) + steps
}

/// A process and its start time, because PIDs are reused.
type Process = (i32, String);

fn stat(pid: i32) -> Option<(i32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Zombies count as dead.
    (fields[0] != "Z").then_some(())?;
    Some((fields[1].parse().ok()?, fields[19].to_owned()))
}

fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A process and its descendants.
fn tree(root: i32) -> BTreeSet<Process> {
    let all: BTreeMap<i32, (i32, String)> = all_pids()
        .into_iter()
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut tree = BTreeSet::from([root]);
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|(_, (parent, _))| tree.contains(parent))
            .map(|(pid, _)| *pid)
            .collect();
        let before = tree.len();
        tree.extend(more);
        if tree.len() == before {
            return tree
                .into_iter()
                .filter_map(|pid| Some((pid, all.get(&pid)?.1.clone())))
                .collect();
        }
    }
}

const KINDS: [&str; 5] = ["net", "mnt", "pid", "uts", "ipc"];

/// The namespaces that a process is in, or has open.
fn namespaces(pid: i32) -> BTreeSet<String> {
    let links = |directory: &str| {
        let entries = fs::read_dir(format!("/proc/{pid}/{directory}"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
            .collect::<Vec<_>>()
    };
    let named = |link: &String| KINDS.iter().any(|kind| link.starts_with(&format!("{kind}:[")));
    links("ns").into_iter().chain(links("fd")).filter(named).collect()
}

/// A network namespace and a mount namespace for one test.
struct Place {
    holder: Child,
}

/// Everything that could be left in a place.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    devices: String,
    mounts: String,
    files: BTreeSet<String>,
}

impl Place {
    fn new() -> Self {
        let mut script = format!("set -e; mount -t tmpfs t /opt; touch {PROGRAM}; mount --bind \"$0\" {PROGRAM};");
        for place in PLACES.iter().filter(|place| **place != "opt") {
            script += &format!("mount -t tmpfs t /{place};");
        }
        // `--propagation private` is the default of unshare(1): its mounts are invisible outside.
        let holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "sh",
                "-c",
                &(script + "ip link set lo up; touch /run/ready; exec sleep 3600"),
            ])
            .arg(env!("CARGO_BIN_EXE_localvpc"))
            .spawn()
            .unwrap();
        let place = Self { holder };
        eventually("the place is ready", || place.path("/run/ready").exists());
        place
    }

    fn pid(&self) -> i32 {
        self.holder.id().try_into().unwrap()
    }

    /// A file of the place, as a path of this process.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid()))
    }

    /// A command in it. `nsenter` execs the program, so that the child is the program.
    fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.pid().to_string(), "--net", "--mount", "--"])
            .args(argv)
            .env_remove("LOCALVPC_SERVER")
            .env_remove("LOCALVPC_RUN_DIRECTORY")
            .env_remove("RUST_LOG");
        command
    }

    fn start(&self, argv: &[&str]) -> Victim {
        let child = self
            .command(argv)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Victim(child)
    }

    fn run(&self, argv: &[&str]) -> Output {
        let output = self.command(argv).output().unwrap();
        assert!(output.status.success(), "{argv:?}: {output:?}");
        output
    }

    fn count(&self) -> Count {
        let mut files = BTreeSet::new();
        for place in PLACES {
            list(&self.path(&format!("/{place}")), Path::new(place), &mut files);
        }
        Count {
            devices: String::from_utf8(self.run(&["ip", "-o", "link"]).stdout).unwrap(),
            mounts: fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).unwrap(),
            files,
        }
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// A request to a server on a socket in it.
    fn ask(&self, socket: &str, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("http://localhost/v1{path}");
        let body = body.to_string();
        let mut argv = vec![
            "curl",
            "-sS",
            "--fail-with-body",
            "--unix-socket",
            socket,
            "-X",
            method,
            &url,
        ];
        if body != "null" {
            argv.extend(["--json", &body]);
        }
        serde_json::from_slice(&self.run(&argv).stdout).unwrap_or(Value::Null)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Both fail only when it is dead and reaped.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn list(directory: &Path, shown: &Path, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let shown = shown.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), &shown, files);
        }
        files.insert(shown.display().to_string());
    }
}

/// A process to be killed. It ends with a failing test too.
struct Victim(Child);

impl Victim {
    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    /// What must be gone: processes, and namespaces other than those of the test.
    fn belongings(&self, place: &Place) -> (BTreeSet<Process>, BTreeSet<String>) {
        let processes = tree(self.pid());
        let own: BTreeSet<String> = namespaces(std::process::id().try_into().unwrap());
        let place = namespaces(place.pid());
        let namespaces = processes.iter().flat_map(|(pid, _)| namespaces(*pid));
        (
            processes.clone(),
            namespaces
                .filter(|one| !own.contains(one) && !place.contains(one))
                .collect(),
        )
    }

    fn kill(&mut self) {
        nix::sys::signal::kill(Pid::from_raw(self.pid()), Signal::SIGKILL).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runs(processes: &BTreeSet<Process>, line: &str) -> bool {
    processes.iter().any(|(pid, _)| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|found| String::from_utf8_lossy(&found).replace('\0', " ").contains(line))
    })
}

/// The hosts are up, their daemons run, and the last step has begun.
fn in_the_middle(victim: &Victim) {
    eventually("the last step runs", || runs(&tree(victim.pid()), "sleep 4712.4"));
}

/// After this, namespaces, processes and mounts of two hosts are gone; the kernel freed them.
fn everything_of_the_hosts_is_gone(place: &Place, victim: &mut Victim) {
    let (processes, spaces) = victim.belongings(place);
    for line in [
        "sleep 4712.1",
        "sleep 4712.2",
        "sleep 4712.3",
        "sleep 4712.4",
        "instance-respond b",
        "tcpdump",
        "localvpc-init a",
    ] {
        assert!(runs(&processes, line), "{line} runs before: {processes:?}");
    }
    for kind in KINDS {
        let count = spaces.iter().filter(|space| space.starts_with(kind)).count();
        assert!(count >= 2, "each host has a {kind} namespace: {spaces:?}");
    }
    let inside = processes
        .iter()
        .find(|(pid, _)| runs(&BTreeSet::from([(*pid, String::new())]), "sleep 4712.4"))
        .unwrap()
        .0;
    let devices = fs::read_to_string(format!("/proc/{inside}/net/dev")).unwrap();
    assert!(devices.contains("eth0"), "{devices}");
    let mounts = fs::read_to_string(format!("/proc/{inside}/mountinfo")).unwrap();
    assert!(mounts.contains(" /mnt ") && mounts.contains("overlay"), "{mounts}");

    victim.kill();
    eventually("no process is left", || {
        !processes
            .iter()
            .any(|(pid, began)| stat(*pid).is_some_and(|(_, now)| now == *began))
    });
    // A namespace is kept by a process, a descriptor or a mount (namespaces(7)).
    eventually("no process holds a namespace of it", || {
        !all_pids().into_iter().any(|pid| {
            let mounted = || {
                let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
                spaces.iter().any(|space| mounts.contains(space.as_str()))
            };
            !namespaces(pid).is_disjoint(&spaces) || mounted()
        })
    });
}

/// Standard error of the next start.
fn next_start(place: &Place) -> String {
    let output = place.run(&[PROGRAM, "run", "/run/short.yaml"]);
    String::from_utf8(output.stderr).unwrap()
}

#[test]
#[ignore = "needs root: make test"]
fn of_a_run_that_is_killed_in_the_middle_of_a_step_nothing_is_left_and_the_next_start_says_so() {
    let place = Place::new();
    place.write("/run/long.yaml", &scenario("long", LONG));
    place.write(
        "/run/short.yaml",
        &scenario("short", "- ping: { from: a, to: 10.0.1.11, count: 1 }\n"),
    );
    assert_eq!(next_start(&place), "", "no process was killed yet");
    let before = place.count();
    assert!(before.files.contains("run/localvpc"));

    let reports = [
        "--capture",
        "/run/all.pcapng",
        "--captures",
        "/run/captures",
        "--junit",
        "/run/r.xml",
        "--html",
        "/run/r.html",
    ];
    let mut victim = place.start(&[&[PROGRAM, "run", "/run/long.yaml"][..], &reports].concat());
    in_the_middle(&victim);
    everything_of_the_hosts_is_gone(&place, &mut victim);

    let after = place.count();
    assert_eq!((&after.devices, &after.mounts), (&before.devices, &before.mounts));
    let left: Vec<&String> = after.files.difference(&before.files).collect();
    assert!(
        matches!(left.as_slice(), [record] if record.ends_with(".record")),
        "{left:?}"
    );

    let said = next_start(&place);
    let expected = format!(
        ", process {}, was killed: its hosts ended with it, and it left nothing else.\n",
        victim.pid()
    );
    assert!(
        said.starts_with("localvpc: `run /run/long.yaml` of 2") && said.ends_with(&expected),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(place.count(), before);
    assert_eq!(next_start(&place), "", "it is said once");
}

#[test]
#[ignore = "needs root: make test"]
fn of_a_server_that_is_killed_with_a_run_going_on_the_next_start_takes_the_socket_away() {
    let place = Place::new();
    place.write(
        "/run/short.yaml",
        &scenario("short", "- ping: { from: a, to: 10.0.1.11, count: 1 }\n"),
    );
    next_start(&place);
    let before = place.count();

    let serve = |socket: &str| {
        let server = place.start(&[PROGRAM, "serve", "--allow-exec", "--socket", socket]);
        eventually("the server listens", || place.path(socket).exists());
        server
    };
    let mut victim = serve("/run/api.sock");
    place.ask(
        "/run/api.sock",
        "POST",
        "/runs",
        &json!({ "text": scenario("long", LONG) }),
    );
    for (path, body) in [
        ("/vpcs", json!({ "name": "v", "cidr_blocks": ["10.0.0.0/16"] })),
        (
            "/subnets",
            json!({ "name": "s", "vpc": "v", "cidr_block": "10.0.1.0/24" }),
        ),
        ("/interfaces", json!({ "name": "vm", "subnet": "s" })),
        ("/interfaces/vm/attach", json!({ "tap": "tap7" })),
    ] {
        place.ask("/run/api.sock", "POST", path, &body);
    }
    in_the_middle(&victim);
    let living = place.count();
    assert!(living.devices.contains("tap7"), "{living:?}");
    assert!(living.files.contains("run/api.sock"), "{living:?}");

    // A process that starts next to it leaves it alone.
    assert_eq!(next_start(&place), "");
    let runs = place.ask("/run/api.sock", "GET", "/runs", &Value::Null);
    assert_eq!(runs["runs"][0]["state"], "running", "{runs}");

    everything_of_the_hosts_is_gone(&place, &mut victim);
    let after = place.count();
    assert_eq!((&after.devices, &after.mounts), (&before.devices, &before.mounts));
    let left: Vec<&String> = after.files.difference(&before.files).collect();
    assert!(
        matches!(left.as_slice(), [socket, record] if *socket == "run/api.sock" && record.ends_with(".record")),
        "{left:?}"
    );

    let said = next_start(&place);
    let expected = format!(
        ", process {}, was killed: its hosts ended with it; removed what it left: /run/api.sock.\n",
        victim.pid()
    );
    assert!(
        said.starts_with("localvpc: `serve` of 2") && said.ends_with(&expected),
        "{said}"
    );
    assert_eq!(place.count(), before);

    // A living process's socket stays, also when a former one had the same name.
    let mut first = serve("/run/api.sock");
    let inode = place.path("/run/api.sock").metadata().unwrap().ino();
    first.kill();
    let second = place.start(&[PROGRAM, "serve", "--socket", "/run/api.sock"]);
    eventually("the second server listens", || {
        place
            .path("/run/api.sock")
            .metadata()
            .is_ok_and(|socket| socket.ino() != inode)
    });
    assert_eq!(next_start(&place), "");
    place.ask("/run/api.sock", "GET", "/runs", &Value::Null);
    drop(second);
}
