//! Captures everything that crosses the switch during a run, in memory as pcapng, so that the figures of a report can
//! be checked by other means: once for the whole network, and once per instance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::capture::{LARGEST_SNAPLEN, Writer};
use super::quota::{Quota, Share};
use super::shelf::CaptureBytes;
use crate::contain;
use crate::control::Controller;
use crate::mapping::InterfaceIndex;
use crate::switch::observe::{Fate, Observation, Observed, Wanted};

/// Octets kept of a run's capture, from its beginning; the captures of its instances have the same limit together.
pub const LARGEST_CAPTURE: usize = 32 << 20;

/// The comment at the end of a capture that reached its limit.
const FULL: &str = "the capture was full: later frames are not in it";

/// Frames in the queue: each is seen at its ingress and its egress.
const QUEUE: usize = 16384;

/// Time between two reads of the queue.
const GLANCE: Duration = Duration::from_millis(10);

/// The captures of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures {
    /// Every frame once, at its ingress.
    pub whole: CaptureFile,
    /// By instance: every frame that it sent or received.
    pub instances: BTreeMap<String, CaptureFile>,
}

/// Frames as pcapng, each with its verdict as a comment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureFile {
    /// How many there are.
    pub frames: u64,
    /// Whether no frame is missing: none was lost, and all fitted.
    pub complete: bool,
    /// The file; empty when nothing was captured.
    pub bytes: Arc<CaptureBytes>,
}

/// Running captures.
pub(crate) struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Captures>,
}

impl Recorder {
    /// Begins to capture, within what the quota has left; frames decided after this returns are included.
    pub(crate) fn start(controller: &Controller, quota: &Arc<Quota>) -> Option<Self> {
        let observation = controller.observe(Wanted {
            arrivals: true,
            snaplen: LARGEST_SNAPLEN,
            queue: QUEUE,
            ..Wanted::default()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let tapes = Tapes::new(controller, &observation, Share::of(quota));
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || record(observation, tapes, &stopped))
            .inspect_err(|error| tracing::warn!(%error, "nothing is captured"))
            .ok()?;
        Some(Self { stop, thread })
    }

    /// Ends the captures and returns the files.
    pub(crate) fn stop(self) -> Captures {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

fn record(mut observation: Observation, mut tapes: Tapes, stop: &AtomicBool) -> Captures {
    loop {
        let last = stop.load(Ordering::Acquire);
        while let Some(observed) = observation.try_next() {
            contain::once("the recorder", || {
                contain::site("recorder");
                tapes.take(&observed, &observation);
            });
        }
        if last {
            return tapes.end(observation.lost());
        }
        std::thread::sleep(GLANCE);
    }
}

/// A file and its writer.
struct Tape {
    writer: Writer,
    file: Vec<u8>,
    full: bool,
}

impl Tape {
    fn new(controller: &Controller, observation: &Observation) -> Self {
        let mut file = Vec::new();
        Writer::begin(&mut file);
        Self {
            // It is 2¹⁸.
            writer: Writer::new(controller, observation, LARGEST_SNAPLEN as u32),
            file,
            full: false,
        }
    }

    /// Writes a frame if it fits in `room` and in the quota, and subtracts its size.
    fn take(&mut self, observed: &Observed, lost: u64, room: &mut usize, share: &mut Share) {
        if self.full {
            return;
        }
        // Described first, because the statistics at the end of the file refer to it.
        self.writer.number(&mut self.file, observed.interface);
        let before = self.file.len();
        self.writer.packet(&mut self.file, observed, lost);
        let length = self.file.len() - before;
        let fits = length <= *room;
        if !fits || !share.take(length as u64) {
            if fits {
                share.exceeded();
            }
            self.full = true;
            self.file.truncate(before);
        } else {
            *room -= length;
        }
    }

    fn end(mut self, lost: u64) -> CaptureFile {
        let frames = self.writer.frames() - u64::from(self.full);
        let comment = if self.full { FULL } else { "" };
        self.writer.end(&mut self.file, lost, comment);
        CaptureFile {
            frames,
            complete: !self.full && lost == 0,
            bytes: Arc::new(CaptureBytes::new(self.file)),
        }
    }
}

struct Tapes {
    controller: Controller,
    share: Share,
    whole: Tape,
    room: usize,
    instances: BTreeMap<InterfaceIndex, Tape>,
    room_of_instances: usize,
}

impl Tapes {
    /// One file for each interface: a host without traffic has an empty capture.
    fn new(controller: &Controller, observation: &Observation, share: Share) -> Self {
        let mut tapes = Self {
            controller: controller.clone(),
            share,
            whole: Tape::new(controller, observation),
            room: LARGEST_CAPTURE,
            instances: BTreeMap::new(),
            room_of_instances: LARGEST_CAPTURE,
        };
        for interface in controller.interfaces(None, usize::MAX, |_| true) {
            if let Some(index) = controller.interface_index(interface.id) {
                tapes.of(index, observation);
            }
        }
        tapes
    }

    fn of(&mut self, index: InterfaceIndex, observation: &Observation) {
        self.instances.entry(index).or_insert_with(|| {
            let mut tape = Tape::new(&self.controller, observation);
            tape.writer.number(&mut tape.file, index);
            tape
        });
    }

    fn take(&mut self, observed: &Observed, observation: &Observation) {
        let lost = observation.lost();
        // The capture of the whole network has each frame once, at its ingress.
        if !matches!(observed.fate, Fate::Arrived { .. }) {
            self.whole.take(observed, lost, &mut self.room, &mut self.share);
        }
        self.of(observed.interface, observation);
        if let Some(tape) = self.instances.get_mut(&observed.interface) {
            tape.take(observed, lost, &mut self.room_of_instances, &mut self.share);
        }
    }

    fn end(self, lost: u64) -> Captures {
        let mut instances = BTreeMap::new();
        for (index, mut tape) in self.instances {
            let name = tape.writer.shown(index);
            instances.insert(name, tape.end(lost));
        }
        Captures {
            whole: self.whole.end(lost),
            instances,
        }
    }
}
