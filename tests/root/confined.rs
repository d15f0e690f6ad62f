//! Tests that a server keeps only the rights that it needs, and that its hosts get no more.

use std::collections::BTreeMap;

use localvpc::confine::{DANGEROUS, KEPT};

use crate::support::cli::{Server, code, stdout};

/// `Name: value` of a file like `/proc/PID/status`.
fn status(text: &str) -> BTreeMap<String, String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn capabilities(status: &BTreeMap<String, String>, set: &str) -> u64 {
    u64::from_str_radix(&status[set], 16).unwrap()
}

fn dangerous() -> u64 {
    DANGEROUS.into_iter().fold(0, |all, one| all | one.bits())
}

#[test]
#[ignore = "needs root: make test"]
fn threads_that_read_frames_or_requests_hold_no_right() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder, &["lab", "--hosts", "2", "--resolver", "127.0.0.1:5399"]);
    assert_eq!(code(&server.ask(&["vpcs"])), 0);
    let mut seen = BTreeMap::<String, usize>::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let status = status(&text);
        let name = status["Name"].trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        assert_eq!(capabilities(&status, "CapBnd") & dangerous(), 0, "{name}");
        assert_eq!(capabilities(&status, "CapPrm") & !KEPT.bits(), 0, "{name}");
        if ["switch-", "advertiser", "services", "dns-upstream", "api", "api-inside"].contains(&name.as_str()) {
            let held = (capabilities(&status, "CapPrm"), capabilities(&status, "CapEff"));
            assert_eq!(held, (0, 0), "{name}");
            assert_eq!(
                (status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()),
                ("1", "2"),
                "{name}"
            );
            *seen.entry(name).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 6, "all of them run: {seen:?}");
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn a_host_cannot_change_the_machine_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder, &["lab", "--hosts", "1", "--allow-exec"]);
    let ask = |line: &str| server.ask(&["exec", "a", "--", "sh", "-c", line]);
    let text = stdout(&ask("cat /proc/self/status"));
    let found = status(&text);
    assert_eq!(capabilities(&found, "CapBnd") & dangerous(), 0, "{text}");
    assert_eq!(capabilities(&found, "CapEff") & !KEPT.bits(), 0, "{text}");
    for refused in [
        "mknod /tmp/localvpc-test-disk b 8 0",
        "date -s 2001-01-01",
        "echo b > /proc/sysrq-trigger",
        "sysctl -w kernel.sysrq=0",
        "dmesg --clear",
        "chattr +i /etc/hostname",
    ] {
        assert_ne!(code(&ask(refused)), 0, "{refused}");
    }
    // What it installs is its own.
    let written = ask("for d in usr/bin usr/lib opt boot etc var/lib; do echo x > /$d/localvpc-test || exit 1; done");
    assert_eq!(code(&written), 0, "{written:?}");
    for directory in ["usr/bin", "usr/lib", "opt", "boot", "etc", "var/lib"] {
        let path = format!("/{directory}/localvpc-test");
        assert!(!std::path::Path::new(&path).exists(), "{path} is on the machine");
    }
    // Hosts exchange files in shared folders.
    let shared = folder.path().join("shared");
    assert_eq!(code(&ask(&format!("echo x > {}", shared.display()))), 0);
    assert!(shared.exists());
    server.stop();
}
