//! A process that stands by for the server of a state goes on in its place when it has died, and at no other time.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::replaced::{Serving, State, answers, until};
use crate::support::cli::{code, stdout, wait_until_ready};

/// A process that stands by. It ends with the test.
struct Standby {
    child: Option<Child>,
    log: std::path::PathBuf,
}

impl Standby {
    fn start(state: &State, name: &str) -> Self {
        let (folder, socket, log) = (state.path("state"), state.path("api.sock"), state.path(name));
        let child = state
            .command(&["lab", "--hosts", "2", "--allow-exec", "--standby"])
            .args([Path::new("--state"), &folder])
            .args([Path::new("--socket"), &socket])
            .env_remove("LOCALVPC_SERVER")
            .stdout(Stdio::piped())
            .stderr(Stdio::from(File::create(&log).unwrap()))
            .spawn()
            .unwrap();
        let standby = Self {
            child: Some(child),
            log,
        };
        until(
            || standby.said().contains("standing by for the server of"),
            "it does not stand by",
        );
        standby
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it serves, and returns after how many milliseconds it went on.
    fn serves(mut self) -> (Serving, f64) {
        let mut child = self.child.take().unwrap();
        wait_until_ready(&mut child);
        let said = self.said();
        let after = said
            .split("this one went on after ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let after = after.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        (Serving(child), after)
    }

    /// Waits until it has ended by itself.
    fn ends(mut self) -> String {
        let mut ended = None;
        until(
            || {
                ended = self.child.as_mut().unwrap().try_wait().unwrap();
                ended.is_some()
            },
            "it does not end",
        );
        assert!(ended.unwrap().success(), "{}", self.said());
        self.said()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // One that has ended cannot be killed again.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn assign(state: &State, address: &str, to: &str) {
    let assigned = state.ask(&["mappings", "assign", address, "--to", to]);
    assert_eq!(code(&assigned), 0, "{}", String::from_utf8_lossy(&assigned.stderr));
}

#[test]
#[ignore = "needs root: make test"]
fn a_standby_goes_on_when_the_server_is_killed_with_every_edit_and_every_host() {
    let state = State::new();
    let server = state.lab(&[]);
    assign(&state, "10.0.1.60", "a");
    let mut standby = Standby::start(&state, "standby");
    // Edits that it has to follow: mappings, and a resource.
    assign(&state, "10.0.1.61", "b");
    let moved = state.ask(&["mappings", "move", "10.0.1.60", "--to", "b"]);
    assert_eq!(code(&moved), 0, "{}", String::from_utf8_lossy(&moved.stderr));
    let named = |state: &State| stdout(&state.ask(&["interfaces", "--json"]));
    state.exec(
        "b",
        "ip address add 10.0.1.60/24 dev eth0; ip address add 10.0.1.61/24 dev eth0",
    );
    let log = state.flood("a", "10.0.1.60");
    let (keeper, mut before) = (state.keeper(), named(&state));
    let mut server = server;
    for round in 0..3 {
        server.kill();
        let (next, after) = standby.serves();
        server = next;
        let stopped_at = answers(&log).len();
        until(|| answers(&log).len() > stopped_at + 20, "pings are not answered again");
        eprintln!("round {round}: went on after {after:.1} ms");
        // On a busy machine, without optimization. A start takes longer.
        assert!(after < 3000.0, "{after} ms");
        assert_eq!(named(&state), before, "round {round}");
        assert_eq!(state.keeper(), keeper);
        standby = Standby::start(&state, &format!("standby-{round}"));
        assign(&state, &format!("10.0.1.{}", 70 + round), "a");
        before = named(&state);
    }
    // An end that is asked for is none that a standby was for.
    server.stop();
    assert!(standby.ends().contains("there is nothing to stand by for"));
    until(|| state.keeper().is_none(), "the keeper does not end with the server");
}

#[test]
#[ignore = "needs root: make test"]
fn a_standby_goes_on_standing_by_while_a_server_is_replaced() {
    let state = State::new();
    let server = state.lab(&[]);
    let standby = Standby::start(&state, "standby");
    let server = state.replace(server);
    assign(&state, "10.0.1.60", "a");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!standby.said().contains("went on"), "{}", standby.said());
    server.kill();
    let (server, _) = standby.serves();
    assert!(stdout(&state.ask(&["mappings"])).contains("10.0.1.60"));
    server.stop();
}

/// Where another server is started at the same instant, one of the two serves and the other says so.
#[test]
#[ignore = "needs root: make test"]
fn of_a_standby_and_a_server_that_starts_one_serves() {
    let state = State::new();
    let server = state.lab(&[]);
    assign(&state, "10.0.1.60", "a");
    let standby = Standby::start(&state, "standby");
    server.kill();
    let mut other = state
        .command(&["serve", "--state"])
        .arg(state.path("state"))
        .arg("--socket")
        .arg(state.path("other.sock"))
        .env_remove("LOCALVPC_SERVER")
        .stdout(Stdio::null())
        .stderr(Stdio::from(File::create(state.path("other")).unwrap()))
        .spawn()
        .unwrap();
    let ended = |child: &mut Child| child.try_wait().unwrap();
    let said = || std::fs::read_to_string(state.path("other")).unwrap();
    let mut standby = standby;
    until(
        || standby.said().contains("went on after") || state.path("other.sock").exists(),
        "nothing serves",
    );
    if standby.said().contains("went on after") {
        until(|| ended(&mut other).is_some(), "two servers of one state");
        assert!(said().contains("a server uses this state already"), "{}", said());
    } else {
        std::thread::sleep(Duration::from_millis(300));
        assert!(ended(standby.child.as_mut().unwrap()).is_none(), "{}", standby.said());
        assert!(!standby.said().contains("went on after"));
        other.kill().unwrap();
        other.wait().unwrap();
    }
    let (server, _) = standby.serves();
    assert!(stdout(&state.ask(&["mappings"])).contains("10.0.1.60"));
    server.stop();
}
