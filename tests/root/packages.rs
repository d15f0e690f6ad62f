//! Tests that what installs the programs of the tests waits for another program that has apt's locks.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::tools::needs;

const APT_GET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/xtask/apt-get");

/// Holds a lock as apt does (fcntl(2)), for so many seconds.
fn hold(lock: &Path, seconds: &str) -> Child {
    let script = "import fcntl, sys, time\nfile = open(sys.argv[1], 'w')\nfcntl.lockf(file, fcntl.LOCK_EX)\n\
                  print(flush=True)\ntime.sleep(float(sys.argv[2]))";
    let mut child = Command::new("python3")
        .args(["-c", script, lock.to_str().unwrap(), seconds])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    child
}

/// Reads package lists of no source, in a folder of the test's own.
fn update(folder: &Path, patience: &str) -> (bool, String) {
    let option = |name: &str, value: &str| format!("{name}={value}");
    let lists = option("Dir::State::lists", folder.join("lists").to_str().unwrap());
    let cache = option("Dir::Cache", folder.join("cache").to_str().unwrap());
    let mut command = Command::new(APT_GET);
    for option in [
        &lists,
        &cache,
        "Dir::Etc::sourcelist=/dev/null",
        "Dir::Etc::sourceparts=/dev/null",
    ] {
        command.args(["-o", option]);
    }
    let output = command
        .args(["update", "-q"])
        .env("APT_PATIENCE", patience)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
#[ignore = "needs root: make test"]
fn the_installation_of_packages_waits_for_another_one() {
    needs("apt-get", "apt");
    needs("python3", "python3");
    let folder = tempfile::tempdir().unwrap();
    for name in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let lock = folder.path().join("lists/lock");
    let began = Instant::now();
    let mut other = hold(&lock, "3");
    let (done, said) = update(folder.path(), "60");
    assert!(done, "{said}");
    assert!(began.elapsed() > Duration::from_secs(2), "it did not wait");
    other.wait().unwrap();
    // Not for ever, and it says what it waits for.
    let mut other = hold(&lock, "20");
    let (done, said) = update(folder.path(), "1");
    assert!(!done && said.contains("Could not get lock"), "{said}");
    other.kill().unwrap();
    other.wait().unwrap();
}
