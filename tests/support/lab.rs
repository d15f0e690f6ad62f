//! Shared code of the lab's tests: an instance with a TAP of its own, and shell commands in it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use localvpc::lab::{CommandSpec, Instance, InstanceOptions, InstanceSpec, Outcome};
use localvpc::wire::MacAddr;
use tun_tap::{Iface, Mode};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_localvpc");

/// Generous: the machine that runs the tests is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn options() -> InstanceOptions {
    InstanceOptions {
        init_program: PathBuf::from(BINARY),
        ..InstanceOptions::default()
    }
}

pub(crate) fn mac(n: u16) -> MacAddr {
    MacAddr::from_bits(0x0a_00_00_00_00_00 | u64::from(n))
}

pub(crate) fn open_tap() -> Result<Iface, std::io::Error> {
    Iface::without_packet_info("eth0", Mode::Tap)
}

pub(crate) fn make(spec: &InstanceSpec) -> (Instance, Iface) {
    Instance::create(spec, &options(), open_tap).unwrap()
}

pub(crate) fn instance(name: &str) -> (Instance, Iface) {
    make(&InstanceSpec::new(name, mac(1)))
}

pub(crate) fn shell(instance: &Instance, line: &str) -> Outcome {
    instance.run(&CommandSpec::shell(line).timeout(SOON)).unwrap()
}

/// Standard output of a command that must succeed.
pub(crate) fn said(instance: &Instance, line: &str) -> String {
    let outcome = shell(instance, line);
    assert!(
        outcome.end.success(),
        "{line}: {:?} {}",
        outcome.end,
        outcome.stderr.text()
    );
    outcome.stdout.text().trim().to_owned()
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes of this machine whose command line contains `text`.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let number = |process: &fs::DirEntry| process.file_name().to_str()?.parse::<i32>().ok();
    let matches = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| contains(&line, text));
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| number(&process))
        .filter(matches)
        .collect()
}

fn contains(line: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(line).replace('\0', " ").contains(text)
}
