//! Captures what an instance sees, with its own tcpdump.
//!
//! This is the guest's view: frames as its kernel handles them, offloads included. Only arriving frames are recorded by
//! default, because what the guest sent does not show what the VPC delivered.

use crate::model::duration::later;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::exec::{CommandSpec, ExecError, Outcome, Running};
use super::instance::Instance;
use super::processes::is_busy;

/// tcpdump prints "listening on" once its socket is open, which takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks at tcpdump's output.
const GLANCE: Duration = Duration::from_millis(2);

/// How long tcpdump may take to write its last frames.
const GRACE: Duration = Duration::from_secs(5);

/// What to record.
#[derive(Clone, Debug)]
pub struct CaptureSpec {
    /// The interface inside the instance.
    pub interface: String,
    /// A pcap filter expression; empty for everything.
    pub filter: String,
    /// Record sent frames too.
    pub outgoing: bool,
}

impl Default for CaptureSpec {
    fn default() -> Self {
        Self {
            interface: "eth0".into(),
            filter: String::new(),
            outgoing: false,
        }
    }
}

/// Why a capture failed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file could not be created.
    #[error("cannot write the capture {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// tcpdump did not start.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// tcpdump started and ended, for example because of a wrong filter.
    #[error("tcpdump in instance '{instance}' does not capture: {said}")]
    Refused {
        /// The instance.
        instance: String,
        /// Its error output.
        said: String,
    },
}

/// A running capture. Dropping it ends it without waiting for the last frames.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Running,
    path: PathBuf,
}

impl Capture {
    /// Starts to record into the pcap file `path` on this machine. Every frame that arrives after this returns is in
    /// it.
    pub fn start(instance: &Instance, spec: &CaptureSpec, path: &Path) -> Result<Self, CaptureError> {
        let file = File::create(path).map_err(|source| CaptureError::File {
            path: path.to_owned(),
            source,
        })?;
        let direction = if spec.outgoing { "inout" } else { "in" };
        let mut argv = vec![
            "tcpdump",
            "-n",
            "-i",
            &spec.interface,
            "-Q",
            direction,
            "--immediate-mode",
            "-U",
            "-w",
            "-",
        ];
        if !spec.filter.is_empty() {
            argv.extend(["--", &spec.filter]);
        }
        let mut command = CommandSpec::new(argv);
        command.stdout = Some(Arc::new(file));
        let tcpdump = instance.start(&command)?;
        let capture = Self {
            tcpdump,
            path: path.to_owned(),
        };
        let deadline = later(Instant::now(), PATIENCE);
        loop {
            let said = capture.tcpdump.stderr().text();
            if said.contains("listening on") {
                return Ok(capture);
            }
            if capture.tcpdump.try_wait().is_some() || Instant::now() > deadline {
                let said = capture.tcpdump.stderr().text().trim().to_owned();
                return Err(CaptureError::Refused {
                    instance: instance.name().to_owned(),
                    said,
                });
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the capture; the file is complete when this returns. Every frame that passed the interface before is in it:
    /// the signal makes tcpdump drop unread frames, but a frame wakes it, so while it sleeps there are none.
    pub fn stop(self) -> Outcome {
        let deadline = later(Instant::now(), GRACE);
        while is_busy(self.tcpdump.pid()) && self.tcpdump.try_wait().is_none() && Instant::now() < deadline {
            std::thread::sleep(GLANCE);
        }
        self.tcpdump.signal(Signal::SIGINT);
        if let Some(outcome) = self.tcpdump.wait_for(GRACE) {
            return outcome;
        }
        self.tcpdump.kill();
        self.tcpdump.wait()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.tcpdump.signal(Signal::SIGINT);
    }
}
