//! Writes a live capture as pcapng: every frame with its interface, direction and time, and its verdict as a comment.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::control::explain::in_sentences;
use crate::control::{ControlError, Controller};
use crate::mapping::InterfaceIndex;
use crate::model::{InterfaceId, ResourceRef};
use crate::switch::observe::{Fate, Observation, Observed, Wanted};
use crate::wire::filter::Filter;
use crate::wire::pcapng;

/// The largest snaplen of pcap readers (libpcap's `MAXIMUM_SNAPLEN`).
pub const LARGEST_SNAPLEN: usize = 262_144;

/// The comment at the end of a capture that was ended because newer ones needed its memory.
const GIVEN_UP: &str = "the capture was given up: it was the oldest of more than there is memory for";

/// Frames in one piece of output.
const AT_ONCE: usize = 256;

/// What to capture.
#[derive(Debug, Clone, Default)]
pub struct CaptureSpec {
    /// Both directions at these interfaces. Empty: every frame once, at its ingress, and the frames of the fabric.
    pub interfaces: Vec<ResourceRef<InterfaceId>>,
    /// Frames that match this filter.
    pub filter: Filter,
    /// Octets kept of each frame; all if left out.
    pub snaplen: Option<usize>,
    /// Frames after which the capture ends.
    pub count: Option<u64>,
}

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    observation: Observation,
    left: Option<u64>,
    begun: bool,
    writer: Writer,
}

impl Controller {
    /// Begins a capture. Frames decided after this returns are in it.
    pub fn capture(&self, spec: CaptureSpec) -> Result<Capture, ControlError> {
        let mut interfaces = Vec::with_capacity(spec.interfaces.len());
        for reference in &spec.interfaces {
            let id = self.interface(reference)?.id;
            interfaces.extend(self.interface_index(id));
        }
        let snaplen = spec.snaplen.unwrap_or(LARGEST_SNAPLEN).clamp(1, LARGEST_SNAPLEN);
        let observation = self.observe(Wanted {
            filter: spec.filter,
            interfaces: (!spec.interfaces.is_empty()).then_some(interfaces),
            snaplen,
            ..Wanted::default()
        });
        Ok(Capture {
            // Fits: it is clamped above.
            writer: Writer::new(self, &observation, snaplen as u32),
            observation,
            left: spec.count,
            begun: false,
        })
    }
}

impl Capture {
    /// The next piece of the file, in whole blocks. The first comes at once and has no frame. `None` when the requested
    /// number of frames has been written.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(beginning) = self.beginning() {
            return Some(beginning);
        }
        if self.left == Some(0) {
            return None;
        }
        let first = self.observation.next().await?;
        Some(self.write(first))
    }

    /// The next piece, if there is something to write now.
    pub fn try_next(&mut self) -> Option<Vec<u8>> {
        if let Some(beginning) = self.beginning() {
            return Some(beginning);
        }
        if self.left == Some(0) {
            return None;
        }
        let first = self.observation.try_next()?;
        Some(self.write(first))
    }

    /// The last piece: statistics per interface, and the number of frames that the capture lost.
    pub fn end(self) -> Vec<u8> {
        let mut out = Vec::new();
        let comment = if self.observation.was_given_up() { GIVEN_UP } else { "" };
        self.writer.end(&mut out, self.observation.lost(), comment);
        out
    }

    /// Frames lost because they were not read in time.
    pub fn lost(&self) -> u64 {
        self.observation.lost()
    }

    fn beginning(&mut self) -> Option<Vec<u8>> {
        if std::mem::replace(&mut self.begun, true) {
            return None;
        }
        let mut out = Vec::new();
        Writer::begin(&mut out);
        Some(out)
    }

    fn write(&mut self, first: Observed) -> Vec<u8> {
        let mut out = Vec::new();
        let mut observed = first;
        for written in 1.. {
            self.writer.packet(&mut out, &observed, self.observation.lost());
            if let Some(left) = &mut self.left {
                *left -= 1;
            }
            // A frame taken from the queue must be written: none is taken without room in this piece.
            if written == AT_ONCE || self.left == Some(0) {
                break;
            }
            match self.observation.try_next() {
                Some(next) => observed = next,
                None => break,
            }
        }
        out
    }
}

/// Writes observed frames as one section of pcapng: interfaces as they first occur, frames, and statistics at the end.
#[derive(Debug)]
pub struct Writer {
    controller: Controller,
    epoch: SystemTime,
    snaplen: u32,
    /// Number of each interface in the capture, and frames of it.
    numbers: HashMap<InterfaceIndex, (u32, u64)>,
    names: HashMap<InterfaceIndex, (String, String)>,
    told_lost: u64,
}

impl Writer {
    /// A writer for the frames of an observation, cut to `snaplen`.
    pub fn new(controller: &Controller, observation: &Observation, snaplen: u32) -> Self {
        Self {
            controller: controller.clone(),
            epoch: observation.epoch(),
            snaplen,
            numbers: HashMap::new(),
            names: HashMap::new(),
            told_lost: 0,
        }
    }

    /// The head of the file.
    pub fn begin(out: &mut Vec<u8>) {
        pcapng::section_header(out, concat!("localvpc ", env!("CARGO_PKG_VERSION")));
    }

    /// Adds a frame. `lost`: the frames that the observation has lost so far.
    pub fn packet(&mut self, out: &mut Vec<u8>, observed: &Observed, lost: u64) {
        let interface = self.number(out, observed.interface);
        if let Some((_, frames)) = self.numbers.get_mut(&observed.interface) {
            *frames += 1;
        }
        let epoch = self.epoch.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = epoch.saturating_add(observed.at);
        let mut comment = self.comment(observed);
        if lost > self.told_lost {
            comment.push_str(&format!(
                "; before it the capture lost {} frames",
                lost - self.told_lost
            ));
            self.told_lost = lost;
        }
        pcapng::packet(
            out,
            &pcapng::Packet {
                interface,
                at,
                direction: observed.direction,
                original_length: observed.length,
                bytes: &observed.bytes,
                comment: &comment,
            },
        );
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.numbers.values().map(|(_, frames)| frames).sum()
    }

    /// The end of the file: statistics per interface, and the number of frames that the capture lost.
    pub fn end(self, out: &mut Vec<u8>, lost: u64, comment: &str) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut numbers: Vec<_> = self.numbers.into_values().collect();
        numbers.sort_unstable();
        for (number, frames) in numbers {
            // The interface of a lost frame is unknown: the first interface reports all of them.
            let lost = if number == 0 { lost } else { 0 };
            pcapng::interface_statistics(out, number, now, frames, lost, comment);
        }
    }

    /// The number of an interface in the capture; a new one is described first.
    pub fn number(&mut self, out: &mut Vec<u8>, index: InterfaceIndex) -> u32 {
        // There are fewer interfaces than 2³².
        let next = self.numbers.len() as u32;
        if let Some((number, _)) = self.numbers.get(&index) {
            return *number;
        }
        self.numbers.insert(index, (next, 0));
        let (id, name) = self.name(index);
        let shown = if name.is_empty() { &id } else { &name };
        pcapng::interface(out, shown, &id, self.snaplen);
        next
    }

    /// The name of an interface, or its identifier without one.
    pub fn shown(&mut self, index: InterfaceIndex) -> String {
        let (id, name) = self.name(index);
        if name.is_empty() { id } else { name }
    }

    /// Identifier and name of an interface.
    fn name(&mut self, index: InterfaceIndex) -> (String, String) {
        if let Some(known) = self.names.get(&index) {
            return known.clone();
        }
        let found = self.controller.interface_at(index);
        let name = found.and_then(|id| self.controller.interface(&id.into()).ok()?.name);
        let id = found.map_or_else(|| format!("interface-{}", index.get()), |id| id.to_string());
        let names = (id, name.unwrap_or_default());
        self.names.insert(index, names.clone());
        names
    }

    fn label(&mut self, index: InterfaceIndex) -> String {
        match self.name(index) {
            (id, name) if name.is_empty() => id,
            (id, name) => format!("{name} ({id})"),
        }
    }

    fn comment(&mut self, observed: &Observed) -> String {
        let fate = self.fate(observed);
        match in_sentences(&observed.passage.filtered) {
            rules if rules.is_empty() => fate,
            rules => format!("{fate}; {}", rules.join(", ")),
        }
    }

    fn fate(&mut self, observed: &Observed) -> String {
        match observed.fate {
            Fate::Delivered { to, port, delay } => {
                let to = self.label(to);
                let held = if delay.is_zero() {
                    String::new()
                } else {
                    format!(" after {}", humantime::format_duration(delay))
                };
                format!("delivered to {to}, port {}{held}", port.get())
            }
            Fate::Answered(kind) => format!("answered by the VPC: {kind}"),
            Fate::Flooded => "flooded to all other ports of the segment".to_owned(),
            Fate::Dropped(reason) => format!("dropped: {reason}: {}", reason.description().trim()),
            Fate::Arrived { from } => format!("from {}", self.label(from)),
            Fate::Fabric(Some(kind)) => format!("made by the VPC: {kind}"),
            Fate::Fabric(None) => "made by the VPC, unasked".to_owned(),
        }
    }
}
