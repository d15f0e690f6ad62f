//! A network that is kept in a folder outlives its server: killed at any instant, restarted, out of space.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::{Value, json};

use crate::support::cli::{Server, code, file, localvpc, stdout, wait_until_ready};

/// What starts a lab of two hosts that keeps its network in a folder.
fn lab_in(state: &Path) -> [&str; 6] {
    let state = state.to_str().unwrap();
    ["lab", "--hosts", "2", "--allow-exec", "--state", state]
}

/// A connection to a server's socket, for one request after the other.
struct Connection(BufReader<UnixStream>);

impl Connection {
    fn open(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The status and the body of an answer; an error once the server is gone.
    fn ask(&mut self, method: &str, path: &str, kind: &str, body: &str) -> std::io::Result<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or_else(gone)?;
        let mut length = 0;
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(gone());
            }
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).unwrap()))
    }

    fn json(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, text) = self.ask(method, path, "application/json", &body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn make(&mut self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.json("POST", path, body);
        assert!((200..300).contains(&status), "{path} {body}: {status} {answer}");
        answer
    }

    fn get(&mut self, path: &str) -> Value {
        let (status, answer) = self.json("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// All that is declared, as the lists show it.
    fn everything(&mut self) -> Value {
        [
            "vpcs",
            "subnets",
            "interfaces",
            "mappings",
            "route-tables",
            "dhcp-options",
        ]
        .map(|list| self.get(&format!("/v1/{list}?limit=1000")).take())
        .into_iter()
        .collect()
    }

    fn furnish(&mut self) {
        self.make(
            "/v1/vpcs",
            &json!({ "name": "v", "cidr_blocks": ["10.0.0.0/16"], "tags": { "team": "net" } }),
        );
        self.make(
            "/v1/subnets",
            &json!({ "name": "s", "vpc": "v", "cidr_block": "10.0.1.0/24" }),
        );
        for (name, address) in [("a", "10.0.1.10"), ("b", "10.0.1.11")] {
            self.make(
                "/v1/interfaces",
                &json!({ "name": name, "subnet": "s", "ipv4_addresses": [address] }),
            );
        }
    }
}

/// A server of a state, in a process that can be killed.
struct Kept {
    child: Child,
    socket: PathBuf,
}

impl Kept {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let (state, socket) = (folder.join("state"), folder.join("api.sock"));
        let mut child = localvpc(&[
            "serve",
            "--state",
            state.to_str().unwrap(),
            "--socket",
            socket.to_str().unwrap(),
        ])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        wait_until_ready(&mut child);
        Self { child, socket }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.socket).unwrap()
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // One that was killed already cannot be killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "starts servers, which takes root"]
fn a_killed_server_comes_back_with_the_network_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = Kept::start(folder.path(), &[]);
    let mut client = server.connect();
    client.furnish();
    client.make(
        "/v1/mappings/bulk",
        &json!({ "edits": [{ "op": "assign", "address": "10.0.1.99", "interface": "b" }] }),
    );
    let table = client.get("/v1/vpcs/v")["main_route_table_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let route = json!({ "destination": "192.0.2.0/24", "target": "a" });
    let (status, answer) = client.json("POST", &format!("/v1/route-tables/{table}/routes"), &route);
    assert!(status < 300, "{answer}");
    let before = client.everything();
    server.kill();
    let server = Kept::start(folder.path(), &[]);
    let mut client = server.connect();
    assert_eq!(client.everything(), before);
    // And goes on: with other identifiers, and free addresses that are free.
    let made = client.make("/v1/interfaces", &json!({ "subnet": "s", "ipv4_address_count": 1 }));
    let known = before.to_string();
    for field in ["id", "mac_address"] {
        assert!(!known.contains(made[field].as_str().unwrap()), "{made}");
    }
    assert!(
        !known.contains(&format!("\"{}\"", made["ipv4_addresses"][0].as_str().unwrap())),
        "{made}"
    );
}

#[test]
#[ignore = "starts servers, which takes root"]
fn a_state_has_one_server_and_the_second_is_told_which() {
    let folder = tempfile::tempdir().unwrap();
    let server = Kept::start(folder.path(), &[]);
    let state = folder.path().join("state");
    let second = localvpc(&["serve", "--state", state.to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(code(&second), 3);
    let said = String::from_utf8_lossy(&second.stderr).replace("\n  │ ", " ");
    let process = format!("(process {})", server.child.id());
    assert!(
        said.contains("uses this state already") && said.contains(&process),
        "{said}"
    );
}

/// The hosts of a lab come back on their interfaces, with what was moved where it was moved to.
#[test]
#[ignore = "makes namespaces, which takes root"]
fn the_hosts_of_a_lab_come_back_with_their_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let arguments = lab_in(&state);
    let server = Server::start(&folder, &arguments);
    let assigned = server.ask(&["mappings", "assign", "10.0.1.50", "--to", "a"]);
    assert_eq!(code(&assigned), 0);
    let moved = server.ask(&["mappings", "move", "10.0.1.50", "--to", "b"]);
    assert_eq!(code(&moved), 0);
    let shown = |server: &Server| stdout(&server.ask(&["interfaces", "--json"]));
    let without_ports = |text: String| {
        let mut all: Value = serde_json::from_str(&text).unwrap();
        for interface in all["interfaces"].as_array_mut().unwrap() {
            interface["attachment"]["port"].take();
        }
        all
    };
    let before = without_ports(shown(&server));
    // The drop of the server is a SIGKILL.
    drop(server);
    let server = Server::start(&folder, &arguments);
    assert_eq!(without_ports(shown(&server)), before);
    // An end that was asked for is no edit either. Hosts that are made again are configured as the network is.
    server.stop();
    let server = Server::start(&folder, &arguments);
    assert_eq!(without_ports(shown(&server)), before);
    let ping = server.ask(&["exec", "a", "ping", "-c", "1", "-W", "5", "10.0.1.50"]);
    assert_eq!(code(&ping), 0, "{}", stdout(&ping));
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn public_addresses_are_there_again_before_the_first_edit() {
    const TOPOLOGY: &str = "\
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { public: { vpc: v, cidr_block: 10.0.1.0/24 } }
internet_gateways: { igw: { vpc: v } }
elastic_ips: { one: { public: 203.0.113.10, to: a }, two: { public: 203.0.113.11, to: b } }
route_tables: { main: { vpc: v, main: true, routes: [{ to: 0.0.0.0/0, via: igw }] } }
interfaces: { a: { subnet: public, ipv4: [10.0.1.10] }, b: { subnet: public, ipv4: [10.0.1.11] } }
";
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let topology = file(&folder, "topology.yaml", TOPOLOGY);
    let arguments = ["serve", "--ec2", "off", "--state", state.to_str().unwrap()];
    let server = Server::start(&folder, &arguments);
    assert_eq!(code(&server.ask(&["up", &topology])), 0);
    server.stop();
    let server = Server::start(&folder, &arguments);
    let explained = stdout(&server.ask(&["explain", "--from", "a", "--to", "203.0.113.11"]));
    // Without the gateway's addresses it ends there already.
    assert!(explained.contains("security_group_ingress"), "{explained}");
    server.stop();
}

/// Asks a server by curl, with further arguments, and returns what it answers.
fn curl(socket: &Path, path: &str, more: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sN", "--unix-socket"])
        .arg(socket)
        .args(more)
        .arg(format!("http://localhost{path}"))
        .output()
        .unwrap();
    stdout(&output)
}

/// The events of edits that a stream gives within two seconds: identifier, revision, and what happened.
fn events(socket: &Path, query: &str, more: &[&str]) -> Vec<(String, u64, Value)> {
    let mut arguments = vec!["--max-time", "2"];
    arguments.extend(more);
    let text = curl(socket, &format!("/v1/events{query}"), &arguments);
    let (mut found, mut id) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("id: ") {
            text.clone_into(&mut id);
        }
        let data = line
            .strip_prefix("data: ")
            .and_then(|data| serde_json::from_str::<Value>(data).ok());
        if let Some(mut data) = data
            && let Some(revision) = data["revision"].as_u64()
        {
            // Events of the past have no number.
            data["id"].take();
            found.push((id.clone(), revision, data));
        }
    }
    found
}

/// A client that was cut off by the end of the server gets each edit once, in order, whichever revision it had come to.
#[test]
#[ignore = "starts servers, which takes root"]
fn events_go_on_in_the_next_server_after_any_revision() {
    let folder = tempfile::tempdir().unwrap();
    let server = Kept::start(folder.path(), &[]);
    let mut client = server.connect();
    client.furnish();
    for number in 0..3 {
        client.json(
            "PATCH",
            "/v1/interfaces/a",
            &json!({ "description": format!("{number}") }),
        );
    }
    let first: Vec<_> = events(&server.socket, "?after_revision=0", &[]);
    let latest = first.last().unwrap().1;
    assert!(latest >= 6, "{first:?}");
    server.kill();

    let server = Kept::start(folder.path(), &[]);
    let mut client = server.connect();
    client.make(
        "/v1/mappings/bulk",
        &json!({ "edits": [{ "op": "assign", "address": "10.0.1.99", "interface": "b" }] }),
    );
    let all = events(&server.socket, "?after_revision=0", &[]);
    let known = |list: &[(String, u64, Value)]| -> Vec<(u64, Value)> {
        list.iter()
            .map(|(_, revision, data)| (*revision, data.clone()))
            .collect()
    };
    assert_eq!(known(&all)[..first.len()], known(&first));
    assert_eq!(all.last().unwrap().1, latest + 1);
    let revisions: Vec<u64> = all.iter().map(|(_, revision, _)| *revision).collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
    for after in [1, 3, latest, latest + 1] {
        let rest = events(&server.socket, &format!("?after_revision={after}"), &[]);
        let expected: Vec<_> = known(&all)
            .into_iter()
            .filter(|(revision, _)| *revision > after)
            .collect();
        assert_eq!(known(&rest), expected, "after revision {after}");
        // By the identifier of the last event that the former server had sent of it.
        if let Some((id, ..)) = first.iter().rfind(|(_, revision, _)| *revision == after) {
            let rest = events(&server.socket, "", &["-H", &format!("Last-Event-ID: {id}")]);
            assert_eq!(known(&rest), expected, "after {id}");
        }
    }
}

/// A request that is sent again with its key, because the server died before its client read the answer, is not carried out
/// again by the next server, and gets the answer of the first time.
#[test]
#[ignore = "starts servers, which takes root"]
fn a_request_with_a_key_is_carried_out_once_also_when_the_server_is_killed_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let server = Kept::start(folder.path(), &[]);
    server.connect().furnish();
    let post = |server: &Kept, body: &str| {
        let key = [
            "-H",
            "Idempotency-Key: of-this-test",
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
        ];
        let more: Vec<&str> = ["-w", "\n%{http_code}"].into_iter().chain(key).collect();
        let answer = curl(&server.socket, "/v1/interfaces", &more);
        let (body, status) = answer.rsplit_once('\n').unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        (status.to_owned(), body)
    };
    let wanted = r#"{ "subnet": "s", "name": "once" }"#;
    let (status, made) = post(&server, wanted);
    assert!(status.starts_with('2'), "{status}: {made}");
    let before = server.connect().everything();
    server.kill();
    let server = Kept::start(folder.path(), &[]);
    assert_eq!(post(&server, wanted), (status, made));
    assert_eq!(server.connect().everything(), before);
    // The key stays with what it was used for.
    let (status, refused) = post(&server, r#"{ "subnet": "s", "name": "another" }"#);
    assert!(status.starts_with('4'), "{status}: {refused}");
    assert_eq!(server.connect().everything(), before);
}

/// What one editor was told, and what it had asked for when the server died.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Where its addresses are.
    acknowledged: Option<&'static str>,
    asked: Option<&'static str>,
}

/// Moves eight addresses of its own between two interfaces, by one face or the other, until the server is gone.
fn edit(socket: &Path, ids: &BTreeMap<&'static str, String>, number: usize, edits: &AtomicU64, mut told: Told) -> Told {
    let addresses: Vec<String> = (0..8)
        .map(|last| format!("10.0.1.{}", 16 + number * 8 + last))
        .collect();
    let Ok(mut connection) = Connection::open(socket) else {
        return told;
    };
    loop {
        let to = if told.acknowledged == Some("a") { "b" } else { "a" };
        told.asked = Some(to);
        let answer = if number.is_multiple_of(2) {
            let edits: Vec<Value> = addresses
                .iter()
                .map(|address| json!({ "op": "assign", "address": address, "interface": to, "move": true }))
                .collect();
            connection.ask(
                "POST",
                "/v1/mappings/bulk",
                "application/json",
                &json!({ "edits": edits }).to_string(),
            )
        } else {
            let mut form = format!(
                "Action=AssignPrivateIpAddresses&Version=2016-11-15&AllowReassignment=true&NetworkInterfaceId={}",
                ids[to]
            );
            for (place, address) in addresses.iter().enumerate() {
                form.push_str(&format!("&PrivateIpAddress.{}={address}", place + 1));
            }
            connection.ask("POST", "/", "application/x-www-form-urlencoded", &form)
        };
        match answer {
            Ok((200, _)) => {
                told.acknowledged = Some(to);
                told.asked = None;
                edits.fetch_add(1, Ordering::Relaxed);
            }
            Ok((status, body)) => panic!("{status}: {body}"),
            Err(_) => return told,
        }
    }
}

/// Kills a server under the edits of six clients, by REST and by the EC2 API, again and again: no edit that was acknowledged is
/// lost, and none is there by half. `LOCALVPC_CRASHES` says how often; `make crash` does it 1 000 times.
#[test]
#[ignore = "starts servers, which takes root"]
fn no_acknowledged_edit_is_lost_when_the_server_is_killed() {
    let crashes: usize = std::env::var("LOCALVPC_CRASHES").map_or(12, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let server = Kept::start(folder.path(), &[]);
    let mut client = server.connect();
    client.furnish();
    let ids: BTreeMap<&'static str, String> = ["a", "b"]
        .map(|name| {
            let interface = client.get(&format!("/v1/interfaces/{name}"));
            (name, interface["id"].as_str().unwrap().to_owned())
        })
        .into();
    server.kill();
    let edits = AtomicU64::new(0);
    let mut told: Vec<Told> = vec![Told::default(); 6];
    let mut under_edits = Duration::ZERO;
    for crash in 0..=crashes {
        let server = Kept::start(folder.path(), &[]);
        let mappings = server.connect().get("/v1/mappings?limit=1000");
        for (number, told) in told.iter_mut().enumerate() {
            let owners: Vec<Option<&str>> = (0..8)
                .map(|last| {
                    let address = format!("10.0.1.{}", 16 + number * 8 + last);
                    let found = mappings["mappings"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .find(|one| one["address"] == address);
                    let owner = found.map(|one| one["interface_id"].as_str().unwrap());
                    owner.map(|owner| if owner == ids["a"] { "a" } else { "b" })
                })
                .collect();
            assert!(
                owners.iter().all(|owner| *owner == owners[0]),
                "crash {crash}, half an edit: {owners:?}"
            );
            assert!(
                owners[0] == told.acknowledged || (owners[0] == told.asked && told.asked.is_some()),
                "crash {crash}: {told:?}, and the addresses are at {:?}",
                owners[0]
            );
            // What is there now is what goes on.
            told.acknowledged = owners[0].map(|owner| if owner == "a" { "a" } else { "b" });
        }
        if crash == crashes {
            break;
        }
        let began = Instant::now();
        let socket = server.socket.clone();
        told = std::thread::scope(|scope| {
            let (socket, ids, edits) = (&socket, &ids, &edits);
            let editors: Vec<_> = told
                .into_iter()
                .enumerate()
                .map(|(number, told)| scope.spawn(move || edit(socket, ids, number, edits, told)))
                .collect();
            std::thread::sleep(Duration::from_micros(rand::rng().random_range(20_000..250_000)));
            server.kill();
            editors.into_iter().map(|editor| editor.join().unwrap()).collect()
        });
        under_edits += began.elapsed();
    }
    let count = edits.into_inner();
    let rate = count as f64 / under_edits.as_secs_f64();
    eprintln!("{crashes} crashes, {count} edits acknowledged, {rate:.0} a second");
    assert!(count > crashes as u64 * 5, "{count} edits prove nothing");
}

/// A file system of a few MiB, for this test alone.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "small"])
            .arg(at)
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(at.to_owned())
    }

    fn remount(&self, option: &str) {
        let mounted = Command::new("mount")
            .args(["-o", &format!("remount,{option}")])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(mounted.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that fails the test may still have it open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Ends what goes on, even when the test fails.
struct StopWith<'g>(&'g AtomicBool);

impl Drop for StopWith<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Edits are refused with the reason and the remedy while they cannot be kept, pings go on, and edits are taken again.
#[test]
#[ignore = "mounts file systems, which takes root"]
fn a_full_disk_refuses_edits_and_forwarding_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("disk"));
    let state = folder.path().join("disk/state");
    let arguments = lab_in(&state);
    let server = Server::start(&folder, &arguments);
    let going = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let until_the_end = StopWith(&going);
        let pinging = scope.spawn(|| {
            let mut pings = 0;
            while going.load(Ordering::Relaxed) {
                let ping = server.ask(&["exec", "a", "ping", "-c", "5", "-i", "0.05", "-W", "5", "10.0.1.11"]);
                assert_eq!(code(&ping), 0, "{}", stdout(&ping));
                pings += 1;
            }
            pings
        });
        let mut client = Connection::open(&server.socket).unwrap();
        let filler = folder.path().join("disk/filler");
        // What is left on the disk goes to another file.
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        drop(file);
        let before = client.everything();
        let mut refused = None;
        for number in 0..2000 {
            let body = json!({ "description": format!("{number} {}", "x".repeat(200)) });
            let (status, answer) = client.json("PATCH", "/v1/interfaces/a", &body);
            if status != 200 {
                refused = Some((status, answer));
                break;
            }
        }
        let (status, answer) = refused.expect("a full disk takes edits");
        assert_eq!(status, 507, "{answer}");
        assert_eq!(answer["code"], "Unavailable");
        assert!(
            answer["detail"]
                .as_str()
                .unwrap()
                .contains("no space is left on the device"),
            "{answer}"
        );
        assert!(answer["remedy"].as_str().unwrap().starts_with("Make space"), "{answer}");
        let last = client.get("/v1/interfaces/a");
        assert_eq!(
            last["id"],
            before[2]["interfaces"]
                .as_array()
                .unwrap()
                .iter()
                .find(|i| i["name"] == "a")
                .unwrap()["id"]
        );
        std::fs::remove_file(&filler).unwrap();
        let (status, answer) = client.json("PATCH", "/v1/interfaces/a", &json!({ "description": "again" }));
        assert_eq!(status, 200, "{answer}");
        drop(until_the_end);
        assert!(pinging.join().unwrap() > 0);
    });
    drop(server);
    // And what was acknowledged is there.
    let server = Server::start(&folder, &arguments);
    let mut client = Connection::open(&server.socket).unwrap();
    assert_eq!(client.get("/v1/interfaces/a")["description"], "again");
    server.stop();
    disk.remount("size=3m");
}
