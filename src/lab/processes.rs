//! Signals a command with its descendants and its process group.
//!
//! A process that daemonized is a child of process 1 and no longer the command's; it ends with the instance.

use std::collections::BTreeSet;
use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Signaled processes can start others meanwhile: repeat until there are none, but not for ever.
const ROUNDS: usize = 16;

/// Fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    state: char,
    parent: i32,
    group: i32,
}

/// Sends `signal` to the process group of `leader`. The caller knows that `leader` is a child that has not been reaped,
/// so the PID is valid.
pub(super) fn signal_group(leader: i32, signal: Signal) -> nix::Result<()> {
    killpg(Pid::from_raw(leader), signal)
}

/// Stops `leader`, its process group and all descendants, until there are no new ones.
pub(super) fn freeze_tree(leader: i32) -> nix::Result<()> {
    stop_all(leader).map(drop)
}

/// Undoes [`freeze_tree`].
pub(super) fn thaw_tree(leader: i32) -> nix::Result<()> {
    signal_each(&tree(leader, &processes()), Signal::SIGCONT)
}

/// Kills what [`freeze_tree`] would freeze. All are frozen first: a child of a dead process becomes a child of process
/// 1 and could no longer be found.
pub(super) fn kill_tree(leader: i32) -> nix::Result<()> {
    signal_each(&stop_all(leader)?, Signal::SIGKILL)
}

/// Whether a process is running or waiting for a CPU or a disk: it has not finished reacting to its wake-up.
pub(super) fn is_busy(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| parse_stat(&stat))
        .is_some_and(|process| matches!(process.state, 'R' | 'D'))
}

fn stop_all(leader: i32) -> nix::Result<BTreeSet<i32>> {
    signal_group(leader, Signal::SIGSTOP)?;
    let mut stopped = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = tree(leader, &processes());
        let new: BTreeSet<i32> = found.difference(&stopped).copied().collect();
        if new.is_empty() {
            break;
        }
        signal_each(&new, Signal::SIGSTOP)?;
        stopped.extend(new);
    }
    Ok(stopped)
}

fn signal_each(processes: &BTreeSet<i32>, signal: Signal) -> nix::Result<()> {
    for &pid in processes {
        match kill(Pid::from_raw(pid), signal) {
            // It ended meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn tree(leader: i32, all: &[Process]) -> BTreeSet<i32> {
    let mut tree = BTreeSet::from([leader]);
    loop {
        let before = tree.len();
        tree.extend(
            all.iter()
                .filter(|p| p.group == leader || tree.contains(&p.parent))
                .map(|p| p.pid)
                .collect::<Vec<_>>(),
        );
        if tree.len() == before {
            return tree;
        }
    }
}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        })
        // A process that ends meanwhile is skipped.
        .filter_map(|entry| parse_stat(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

/// `PID (NAME) STATE PARENT GROUP …`; the name may contain anything, parentheses and spaces too (proc_pid_stat(5)).
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(' ')?;
    let mut fields = rest.rsplit_once(')')?.1.split_whitespace();
    Some(Process {
        pid: pid.parse().ok()?,
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_name_cannot_forge_its_parent() {
        let stat = "42 (x) S 1 1 (y) R 7 9 9 0 -1";
        assert_eq!(
            parse_stat(stat),
            Some(Process {
                pid: 42,
                state: 'R',
                parent: 7,
                group: 9
            })
        );
    }

    #[test]
    fn a_process_is_busy_until_it_waits() {
        let mut spins = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .expect("a shell");
        let mut waits = Command::new("sleep").arg("60").spawn().expect("a program that sleeps");
        let pid = |child: &Child| i32::try_from(child.id()).expect("a process number");
        let began = Instant::now();
        while is_busy(pid(&waits)) && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let seen = (is_busy(pid(&spins)), is_busy(pid(&waits)));
        for child in [&mut spins, &mut waits] {
            child.kill().expect("it is ours");
            child.wait().expect("it was killed");
        }
        assert_eq!(seen, (true, false));
        assert!(!is_busy(i32::MAX), "there is no such process");
    }

    #[test]
    fn the_tree_holds_children_of_children_and_the_group_but_no_neighbors() {
        let process = |pid, parent, group| Process {
            pid,
            state: 'S',
            parent,
            group,
        };
        let all = [
            process(10, 1, 10),
            process(12, 11, 12),
            process(11, 10, 11),
            process(13, 1, 10),
            process(14, 13, 14),
            process(20, 1, 20),
        ];
        assert_eq!(tree(10, &all), BTreeSet::from([10, 11, 12, 13, 14]));
    }
}
