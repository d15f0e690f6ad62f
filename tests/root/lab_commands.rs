//! Tests commands in an instance: exit codes, output, time limits, and processes left behind. It needs root for
//! namespaces.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::time::{Duration, Instant};

use crate::support::lab::{SOON, eventually, instance, mac, open_tap, options, processes_with, said, shell};
use localvpc::lab::capture::CaptureSpec;
use localvpc::lab::{
    Capture, CommandSpec, End, ExecError, Instance, InstanceOptions, InstanceSpec, Lab, Running, drop_in_parallel,
};

#[test]
#[ignore = "needs root: make test"]
fn exit_code_and_both_outputs_come_back_apart() {
    let (a, _tap) = instance("exec");
    let outcome = shell(&a, "echo out; echo err >&2; exit 7");
    assert_eq!((outcome.end, outcome.end.code()), (End::Exited(7), 7));
    assert_eq!(
        (outcome.stdout.text().as_str(), outcome.stderr.text().as_str()),
        ("out\n", "err\n")
    );
    let outcome = shell(&a, "kill -9 $$");
    assert_eq!((outcome.end, outcome.end.code()), (End::Signaled(9), 137));
}

#[test]
#[ignore = "needs root: make test"]
fn arguments_reach_the_program_untouched_by_any_shell() {
    let (a, _tap) = instance("argv");
    let command = CommandSpec::new(["printf", "%s|", "a b", "$HOME", "*", ""]);
    assert_eq!(a.run(&command).unwrap().stdout.text(), "a b|$HOME|*||");
}

#[test]
#[ignore = "needs root: make test"]
fn a_command_has_no_input_and_an_environment_of_its_own() {
    let common = [
        ("API".to_owned(), "http://common".to_owned()),
        ("KEPT".to_owned(), "yes".to_owned()),
    ];
    let options = InstanceOptions {
        environment: common.into(),
        ..options()
    };
    let (a, _tap) = Instance::create(&InstanceSpec::new("env", mac(1)), &options, open_tap).unwrap();
    let command = CommandSpec::shell("cat; echo $HOME $HOSTNAME $API $KEPT ${CARGO_MANIFEST_DIR-unset}; pwd");
    let mut command = command.env("API", "http://mine").timeout(SOON);
    command.directory = Some("/usr".into());
    assert_eq!(
        a.run(&command).unwrap().stdout.text(),
        "/root env http://mine yes unset\n/usr\n"
    );
}

#[test]
#[ignore = "needs root: make test"]
fn a_program_that_is_not_there_is_an_error_with_its_name() {
    let (a, _tap) = instance("not-found");
    for missing in ["no-such-program", "/no/such/program"] {
        let error = a.run(&CommandSpec::new([missing])).unwrap_err();
        assert!(
            matches!(&error, ExecError::NotFound { program, .. } if program == missing),
            "{error}"
        );
    }
    assert!(matches!(a.run(&CommandSpec::new([""; 0])), Err(ExecError::Empty)));
    let mut elsewhere = CommandSpec::new(["true"]);
    elsewhere.directory = Some("/no/such/directory".into());
    let error = a.run(&elsewhere).unwrap_err().to_string();
    assert!(error.contains("/no/such/directory"), "{error}");
    let error = a.run(&CommandSpec::new(["/etc/passwd"])).unwrap_err();
    assert!(matches!(&error, ExecError::Spawn { .. }), "{error}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_timeout_kills_the_command_and_all_below_it_even_in_other_sessions() {
    let (a, _tap) = instance("timeout");
    let line = "sleep 4711.1 & setsid sleep 4711.2 & setsid sh -c 'sleep 4711.3; true' & echo started; wait";
    let outcome = a
        .run(&CommandSpec::shell(line).timeout(Duration::from_millis(300)))
        .unwrap();
    assert_eq!((outcome.end, outcome.end.code()), (End::TimedOut, 124));
    assert_eq!(outcome.stdout.text(), "started\n");
    assert!(outcome.elapsed < SOON, "{:?}", outcome.elapsed);
    eventually("the whole tree is gone", || processes_with("sleep 4711.").is_empty());
}

#[test]
#[ignore = "needs root: make test"]
fn a_command_that_never_stops_writing_is_bounded_in_memory_and_time() {
    let (a, _tap) = instance("flood");
    let mut command = CommandSpec::new(["yes", "all work and no play"]).timeout(Duration::from_millis(300));
    command.output_limit = 1000;
    let outcome = a.run(&command).unwrap();
    assert_eq!(outcome.end, End::TimedOut);
    assert!(outcome.stdout.omitted() > 0);
    assert!(outcome.stdout.text().contains("bytes omitted"));
    assert!(outcome.stdout.bytes().len() < 1100);
}

#[test]
#[ignore = "needs root: make test"]
fn a_command_returns_although_its_daemon_holds_the_output_and_the_daemon_can_go_on_writing() {
    let (a, _tap) = instance("daemon-output");
    let line = "(setsid sh -c 'while sleep 0.05; do echo alive; done' &) ; echo started";
    let running = a.start(&CommandSpec::shell(line)).unwrap();
    let outcome = running.wait_for(SOON).expect("the command itself is done at once");
    assert!(outcome.stdout.text().starts_with("started\n"));
    eventually("the daemon's words are in the log", || {
        running.stdout().text().matches("alive").count() > 3
    });
}

#[test]
#[ignore = "needs root: make test"]
fn orphans_are_buried() {
    let (a, _tap) = instance("orphans");
    said(&a, "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 0.01' &); done");
    eventually("no zombie is left", || {
        said(&a, "cat /proc/[0-9]*/stat | grep -c ') Z ' || true") == "0"
    });
}

#[test]
#[ignore = "needs root: make test"]
fn a_background_command_has_a_name_a_log_and_an_end() {
    let (a, _tap) = instance("background");
    let line = "trap 'echo bye; exit 3' TERM; echo hello; while :; do sleep 0.02; done";
    let running = a.start_named("server", &CommandSpec::shell(line)).unwrap();
    eventually("it says hello", || {
        a.background("server").unwrap().stdout().text() == "hello\n"
    });
    assert!(matches!(
        a.start_named("server", &CommandSpec::new(["true"])),
        Err(ExecError::Busy { .. })
    ));
    assert_eq!(a.background_names(), ["server"]);
    let outcome = running.stop(SOON);
    assert_eq!(
        (outcome.end, outcome.stdout.text().as_str()),
        (End::Exited(3), "hello\nbye\n")
    );
    assert!(!running.kill(), "it has ended");
    a.start_named("server", &CommandSpec::new(["true"]))
        .expect("the name is free again");
}

#[test]
#[ignore = "needs root: make test"]
fn a_command_that_ignores_being_asked_is_killed_after_its_grace() {
    let (a, _tap) = instance("stubborn");
    let running = a
        .start(&CommandSpec::shell(
            "trap '' TERM; echo ready; while :; do sleep 0.02; done",
        ))
        .unwrap();
    eventually("it is ready", || running.stdout().text() == "ready\n");
    assert_eq!(running.stop(Duration::from_millis(50)).end, End::Signaled(9));
}

/// A counter that a command writes to its log, as fast as it can count.
fn ticks(running: &Running) -> u64 {
    running.stdout().written()
}

#[test]
#[ignore = "needs root: make test"]
fn a_frozen_command_does_nothing_until_it_is_thawed() {
    let (a, _tap) = instance("freeze");
    let line = "setsid sh -c 'while :; do echo tick; sleep 0.005; done' & wait";
    let running = a.start(&CommandSpec::shell(line)).unwrap();
    type Act<'a> = &'a dyn Fn();
    let by_command: [Act<'_>; 2] = [&|| assert!(running.freeze()), &|| assert!(running.thaw())];
    let by_instance: [Act<'_>; 2] = [&|| a.freeze().unwrap(), &|| a.thaw().unwrap()];
    for [freeze, thaw] in [by_command, by_instance] {
        let before = ticks(&running);
        eventually("it ticks", || ticks(&running) > before);
        freeze();
        // Output in the pipe when it stopped may still arrive.
        std::thread::sleep(Duration::from_millis(50));
        let frozen = ticks(&running);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(ticks(&running), frozen);
        thaw();
    }
    let frozen = ticks(&running);
    eventually("it ticks again", || ticks(&running) > frozen);
}

#[test]
#[ignore = "needs root: make test"]
fn killing_all_processes_leaves_the_instance_usable_and_a_crash_loses_what_was_written() {
    let (a, _tap) = instance("crash");
    said(&a, "echo kept >/etc/kept; (setsid sleep 4712.1 &)");
    a.kill_processes().unwrap();
    eventually("the daemon is dead", || processes_with("sleep 4712.1").is_empty());
    assert_eq!(said(&a, "cat /etc/kept"), "kept");
    let running = a.start(&CommandSpec::new(["sleep", "4712.2"])).unwrap();
    a.crash();
    assert_eq!(running.wait().end, End::Signaled(9));
    assert!(
        !shell(&a, "cat /etc/kept").end.success(),
        "a fresh boot has no such file"
    );
    assert_eq!(said(&a, "cat /sys/class/net/eth0/address"), mac(1).to_string());
}

#[test]
#[ignore = "needs root: make test"]
fn commands_run_side_by_side_in_many_instances() {
    let lab = Lab::new(options());
    let specs: Vec<_> = (1..=10)
        .map(|n| InstanceSpec::new(format!("many{n}"), mac(n)))
        .collect();
    let taps = lab.create_all(&specs, |_| open_tap()).unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for instance in lab.all() {
            scope.spawn(move || assert_eq!(said(&instance, "uname -n"), instance.name()));
        }
    });
    let first = started.elapsed();
    let a = lab.get("many1").unwrap();
    let started = Instant::now();
    for _ in 0..20 {
        a.run(&CommandSpec::new(["true"])).unwrap();
    }
    println!(
        "first command in each of 10 instances: {first:?}; each further one: {:?}",
        started.elapsed() / 20
    );
    assert!(first < SOON);
    drop_in_parallel(taps);
}

#[test]
#[ignore = "needs root: make test"]
fn a_capture_has_the_frames_that_arrived_and_not_those_that_were_sent() {
    let (a, tap) = instance("capture");
    if !shell(&a, "command -v tcpdump").end.success() {
        panic!("tcpdump is missing: apt-get install tcpdump");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.pcap");
    let capture = Capture::start(&a, &CaptureSpec::default(), &path).unwrap();
    // A broadcast frame of an unassigned type (IEEE 802 local experimental 1), with a mark in it.
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&mac(2).0);
    frame.extend_from_slice(&[0x88, 0xb5]);
    frame.extend_from_slice(b"a mark to find it by, and padding up to the shortest frame");
    tap.send(&frame).unwrap();
    let recorded = || fs::read(&path).unwrap();
    eventually("the frame is in the file", || {
        recorded().windows(frame.len()).any(|window| window == frame)
    });
    let outcome = capture.stop();
    assert!(outcome.end.success(), "{}", outcome.stderr.text());
    // The kernel sends a multicast listener report within a second of link up, which must not be recorded.
    assert!(!recorded().windows(6).any(|window| window == mac(1).0));

    let wrong = CaptureSpec {
        filter: "no such filter".into(),
        ..CaptureSpec::default()
    };
    let error = Capture::start(&a, &wrong, &path).unwrap_err().to_string();
    assert!(error.contains("syntax error") && error.contains("'capture'"), "{error}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_command_does_not_wait_for_the_end_of_a_hundred_others() {
    let lab = Lab::new(options());
    let (a, _tap) = instance("bystander");
    said(&a, "true");
    let specs: Vec<_> = (1..=100)
        .map(|n| InstanceSpec::new(format!("leaving{n}"), mac(n)))
        .collect();
    let taps = lab.create_all(&specs, |_| open_tap()).unwrap();
    let slowest = std::thread::scope(|scope| {
        let closing = scope.spawn(|| drop_in_parallel(taps));
        let mut slowest = Duration::ZERO;
        while !closing.is_finished() {
            let started = Instant::now();
            a.run(&CommandSpec::new(["true"])).unwrap();
            slowest = slowest.max(started.elapsed());
        }
        slowest
    });
    println!("slowest command while 100 TAPs are closed: {slowest:?}");
    // A child that closes them one by one took two seconds.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
