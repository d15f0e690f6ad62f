//! Collects evidence about a failed step: its packets with their verdicts, and the state of the hosts.
//!
//! Packets are recorded in each instance from the start of the run, in memory, so that no file is left.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Marks, Stage};
use crate::lab::capture::CaptureSpec;
use crate::lab::{Capture, CommandSpec, Instance};
use crate::record::ladder::Rung;
use crate::report::run::Evidence;
use crate::report::run::PortCounts;

/// Packets kept of each instance; older ones are discarded.
const MOST_PACKETS: usize = 2000;

/// The commands that show a host's state.
const HOST_STATE: &str = "ip -brief address show dev eth0; ip route; ip -6 route show dev eth0; ip neigh";

/// The packets of one instance, in memory.
pub(super) struct Recording {
    capture: Option<Capture>,
    memory: File,
    /// Whether every field of a packet is shown.
    verbose: bool,
}

impl Recording {
    /// Records packets that arrive at an instance, and with `outgoing` those that leave it too, from the moment this
    /// returns.
    pub(super) fn start(instance: &Instance, filter: Option<String>, outgoing: bool) -> Result<Self, String> {
        let memory = memfd_create("capture", MemfdFlags::CLOEXEC)
            .map_err(|error| format!("no memory for a capture: {error}"))?
            .into();
        let path = path_of(&memory);
        let spec = CaptureSpec {
            filter: filter.unwrap_or_default(),
            outgoing,
            ..CaptureSpec::default()
        };
        let capture = Capture::start(instance, &spec, &path).map_err(|error| error.to_string())?;
        Ok(Self {
            capture: Some(capture),
            memory,
            verbose: false,
        })
    }

    /// Sets whether [`Self::lines`] shows every field of a packet.
    pub(super) fn tell_all(&mut self, verbose: bool) {
        self.verbose = verbose;
    }

    /// Ends the recording; its packets can still be read.
    pub(super) fn stop(&mut self) {
        if let Some(capture) = self.capture.take() {
            capture.stop();
        }
    }

    /// The packets so far, each a line or several, with the time in seconds since 1970 first.
    pub(super) fn lines(&self) -> Result<String, String> {
        // A new open file, so that reading starts at the beginning and does not disturb the writer.
        let file = File::open(path_of(&self.memory)).map_err(|error| error.to_string())?;
        let output = Command::new("tcpdump")
            .args(["-n", "-e", "-tt"])
            .args(self.verbose.then_some("-vvv"))
            .args(["-r", "-"])
            .stdin(file)
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| format!("tcpdump: {error}"))?;
        // tcpdump reports an error for a half-written last packet, after it has printed the others.
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn path_of(memory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()))
}

/// Records all packets of every instance, where `tcpdump` is installed.
pub(super) fn record_all(stage: &Stage) -> BTreeMap<String, Recording> {
    let names = stage.instance_names();
    std::thread::scope(|scope| {
        let starting: Vec<_> = names
            .iter()
            .map(|name| {
                (
                    name,
                    scope.spawn(move || Recording::start(&*stage.instance(name)?, None, true)),
                )
            })
            .collect();
        let mut recordings = BTreeMap::new();
        for (name, thread) in starting {
            match thread.join() {
                Ok(Ok(recording)) => drop(recordings.insert(name.clone(), recording)),
                Ok(Err(problem)) => tracing::info!(instance = name, problem, "nothing is recorded"),
                Err(_) => tracing::warn!(instance = name, "the recording came to an unexpected end"),
            }
        }
        recordings
    })
}

/// The evidence since a step began.
pub(super) fn gather(
    stage: &Stage,
    recordings: &BTreeMap<String, Recording>,
    marks: &Marks,
    began_at_ms: u64,
    ladder: Vec<Rung>,
) -> Evidence {
    let ports = stage
        .ports()
        .into_iter()
        .map(|(name, counts)| {
            let mut counts = counts.since(&marks.get(&name).cloned().unwrap_or_default());
            let PortCounts { drops, counters } = &mut counts;
            drops.retain(|_, count| *count > 0);
            counters.retain(|_, count| *count > 0);
            (name, counts)
        })
        .collect();
    let (mut captures, mut omitted) = (BTreeMap::new(), BTreeMap::new());
    for (name, recording) in recordings {
        let Ok(lines) = recording.lines() else { continue };
        let mut packets: Vec<String> = lines
            .lines()
            .filter(|line| is_after(line, began_at_ms))
            .map(str::to_owned)
            .collect();
        let surplus = packets.len().saturating_sub(MOST_PACKETS);
        packets.drain(..surplus);
        if surplus > 0 {
            omitted.insert(name.clone(), surplus as u64);
        }
        captures.insert(name.clone(), packets);
    }
    let hosts = stage
        .instance_names()
        .into_iter()
        .filter_map(|name| {
            let command = CommandSpec::shell(HOST_STATE).timeout(std::time::Duration::from_secs(5));
            let outcome = stage.instance(&name).ok()?.run(&command).ok()?;
            Some((name, outcome.stdout.text()))
        })
        .collect();
    Evidence {
        ports,
        captures,
        omitted,
        ladder,
        hosts,
    }
}

/// Whether a line of `tcpdump -tt` is of this time or later. Continuation lines have no time and are skipped.
fn is_after(line: &str, ms: u64) -> bool {
    let seconds = line.split(' ').next().and_then(|time| time.parse::<f64>().ok());
    seconds.is_some_and(|seconds| seconds * 1000.0 >= ms as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_before_the_step_are_not_shown() {
        assert!(is_after(
            "1700000000.500000 0a:00 > 02:00, ethertype ARP",
            1_700_000_000_400
        ));
        assert!(!is_after(
            "1700000000.300000 0a:00 > 02:00, ethertype ARP",
            1_700_000_000_400
        ));
        assert!(!is_after("\t0x0000: 6000", 0));
    }
}
