//! Tries forbidden operations in confined threads.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

/// The result of `act` in a thread of this role.
fn confined<T: Send + 'static>(role: Role, act: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        let lacking = this_thread(role);
        assert_eq!(lacking, [], "the tests take a kernel with Landlock 5 and seccomp");
        act()
    });
    thread.join().unwrap()
}

fn status(field: &str) -> String {
    let all = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = all.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_confined_thread_has_no_capability_and_no_way_back() {
    for role in [Role::Frames, Role::Requests] {
        let (sets, again) = confined(role, || {
            let all = CapabilitySets {
                effective: KEPT,
                permitted: KEPT,
                inheritable: KEPT,
            };
            // Workers do not need capget(2).
            (
                capabilities(None).map(|sets| sets.permitted.bits()),
                set_capabilities(None, all),
            )
        });
        assert!(matches!(sets, Ok(0) | Err(Errno::PERM)), "{role:?}: {sets:?}");
        assert_eq!(again, Err(Errno::PERM), "{role:?}");
    }
    // Opened before, because neither role can open it later.
    let own = || {
        let mut file = File::open("/proc/thread-self/status").unwrap();
        this_thread(Role::Frames);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    };
    let text = std::thread::spawn(own).join().unwrap();
    for line in [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // The thread that runs the tests is as it was.
    assert_eq!(status("Seccomp:"), "0");
}

#[test]
fn a_confined_thread_opens_no_file_reads_none_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    for role in [Role::Frames, Role::Requests] {
        let path = folder.path().join("made");
        let (read, null, made, listed) = confined(role, move || {
            let kind = |result: std::io::Result<()>| result.map_err(|error| error.kind());
            (
                kind(File::open("/etc/hostname").map(drop)),
                kind(File::open("/dev/null").map(drop)),
                kind(std::fs::write(path, "x")),
                kind(std::fs::read_dir("/root").map(drop)),
            )
        });
        let no = Err(ErrorKind::PermissionDenied);
        assert_eq!((read, null, made, listed), (no, no, no, no), "{role:?}");
    }
}

#[test]
fn a_confined_thread_enters_no_namespace_starts_no_program_and_signals_no_process() {
    let here = File::open("/proc/self/ns/net").unwrap();
    for role in [Role::Frames, Role::Requests] {
        let here = here.try_clone().unwrap();
        let found = confined(role, move || {
            let spawned = Command::new("/bin/true")
                .spawn()
                .map(drop)
                .map_err(|error| error.kind());
            let entered = [
                unshare(CloneFlags::CLONE_NEWNET),
                unshare(CloneFlags::CLONE_NEWUSER),
                setns(&here, CloneFlags::CLONE_NEWNET),
                kill(Pid::this(), Signal::SIGURG),
            ];
            (spawned, entered)
        });
        assert!(found.0.is_err(), "{role:?}: {found:?}");
        assert_eq!(found.1, [Err(nix::Error::EPERM); 4], "{role:?}");
    }
}

#[test]
fn a_thread_that_moves_frames_opens_no_socket_and_starts_no_thread_but_writes_to_those_it_has() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let found = confined(Role::Frames, move || {
        let socket = UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|error| error.kind());
        let thread = std::thread::Builder::new()
            .spawn(|| ())
            .map(drop)
            .map_err(|error| error.kind());
        ours.write_all(b"frame").unwrap();
        // Allocates, sleeps and asks the time.
        let many = vec![1_u8; 64 << 20];
        std::thread::sleep(std::time::Duration::from_millis(1));
        (socket, thread, many.len(), std::time::Instant::now())
    });
    let no = Err(ErrorKind::PermissionDenied);
    assert_eq!((found.0, found.1), (no, no));
    let mut read = [0; 5];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"frame");
}

#[test]
fn a_thread_of_the_api_binds_no_port_and_starts_threads_that_are_confined_as_well() {
    let (bound, opened) = confined(Role::Requests, || {
        let bound = TcpListener::bind("127.0.0.1:0").map(drop).map_err(|error| error.kind());
        // A thread pool confines each thread that it starts.
        assert_eq!(std::thread::spawn(|| this_thread(Role::Requests)).join().unwrap(), []);
        let open = || File::open("/etc/hostname").map(drop).map_err(|error| error.kind());
        (bound, std::thread::spawn(open).join().unwrap())
    });
    assert_eq!(
        (bound, opened),
        (Err(ErrorKind::PermissionDenied), Err(ErrorKind::PermissionDenied))
    );
}

#[test]
fn a_panic_in_a_confined_thread_is_caught_as_in_any_other() {
    for role in [Role::Frames, Role::Requests] {
        let caught = confined(role, || std::panic::catch_unwind(|| panic!("a planted panic")).is_err());
        assert!(caught, "{role:?}");
    }
}

#[test]
fn what_is_kept_and_what_is_dangerous_are_apart_and_all_there_is() {
    let dangerous = DANGEROUS.into_iter().fold(CapabilitySet::empty(), CapabilitySet::union);
    assert!((dangerous & KEPT).is_empty());
    // CHECKPOINT_RESTORE, number 40, is the last (capabilities(7)).
    assert_eq!((dangerous | KEPT).bits(), (1 << 41) - 1);
}
