//! The reference for benchmarks: copies frames between two TAPs by the shortest way, without look-up, check or counter.
//! It is the best that a userspace switch on TAPs can reach, so that benchmarks compare ratios on any machine.
//!
//! `reference-copier MODE NAMESPACE NAMESPACE`: creates a TAP `eth0` in each of the two network namespaces, prints
//! `ready` and copies until it is killed. Modes: `plain` (no offload headers, frame by frame), `vnet` (offload headers,
//! frame by frame), `uring` (as `vnet`, but frames queued together are written with one io_uring call), `coalesce`
//! (offload headers; queued frames of one flow are merged), `merged` (`uring` and `coalesce`).
//! what is queued together and of one flow crosses merged), `merged` (`uring` and `coalesce` at once).
#![allow(missing_docs, clippy::print_stderr)]

use std::io::IoSlice;
use std::process::ExitCode;

use localvpc::switch::batch::{Batch, FRAMES};
use localvpc::switch::egress::{Destinations, Egress};
use localvpc::switch::port::{PortDevice, ReceiveError, Ring, SendError, TapOptions, TapPort, VnetHeader};
use rustix::event::epoll;
use zerocopy::FromBytes;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Vnet,
    Uring,
    Coalesce,
    Merged,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = match arguments.first().map(String::as_str) {
        Some("plain") => Mode::Plain,
        Some("vnet") => Mode::Vnet,
        Some("uring") => Mode::Uring,
        Some("coalesce") => Mode::Coalesce,
        Some("merged") => Mode::Merged,
        _ => {
            eprintln!("usage: reference-copier plain|vnet|uring|coalesce|merged NAMESPACE NAMESPACE");
            return ExitCode::FAILURE;
        }
    };
    match run(mode, &arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reference-copier: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode, namespaces: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [a, b] = namespaces else {
        return Err("two namespaces are needed".into());
    };
    let options = TapOptions {
        offload: mode != Mode::Plain,
        ..TapOptions::default()
    };
    let ports = [open(a, options)?, open(b, options)?];
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, port) in (0..).zip(&ports) {
        let device = port.descriptor().ok_or("a port without a descriptor")?;
        epoll::add(&queue, device, epoll::EventData::new_u64(index), epoll::EventFlags::IN)?;
    }
    let mut ring = match mode {
        Mode::Uring | Mode::Merged => Some(Ring::new()?),
        _ => None,
    };
    println!("ready");
    let mut batch = Batch::new();
    let mut egress = Egress::new();
    let mut slot = vec![0; 70_000];
    let mut events = Vec::with_capacity(2);
    loop {
        events.clear();
        match epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None) {
            // A tracer attached.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let event: &epoll::Event = event;
            let index = { event.data }.u64() as usize & 1;
            let (from, to) = (&ports[index], &ports[1 - index]);
            let outcome = match mode {
                Mode::Plain | Mode::Vnet => copy(from, to, &mut slot),
                Mode::Uring | Mode::Coalesce | Mode::Merged => {
                    batch.clear();
                    let outcome = batch.fill(from, FRAMES);
                    match &mut ring {
                        Some(ring) if mode == Mode::Uring => write_at_once(to, ring, &batch)?,
                        _ => coalesce(to, ring.as_mut(), &mut batch, &mut egress),
                    }
                    outcome
                }
            };
            if outcome == Err(ReceiveError::Lost) {
                return Ok(());
            }
        }
    }
}

fn open(namespace: &str, options: TapOptions) -> Result<PortDevice, Box<dyn std::error::Error>> {
    let here = std::fs::File::open("/proc/thread-self/ns/net")?;
    let there = std::fs::File::open(format!("/run/netns/{namespace}"))?;
    nix::sched::setns(there, nix::sched::CloneFlags::CLONE_NEWNET)?;
    let port = TapPort::open("eth0", options);
    nix::sched::setns(here, nix::sched::CloneFlags::CLONE_NEWNET)?;
    Ok(port?.into())
}

/// Frame by frame: a frame is written before the next is read, with its offload header.
fn copy(from: &PortDevice, to: &PortDevice, slot: &mut [u8]) -> Result<(), ReceiveError> {
    for _ in 0..FRAMES {
        let length = from.receive(slot)?;
        // A host that is down loses its frames, as with any switch.
        let _ = to.send(&slot[..VnetHeader::LENGTH + length]);
    }
    Ok(())
}

/// Frames queued together are written at once, with their offload headers.
fn write_at_once(to: &PortDevice, ring: &mut Ring, batch: &Batch) -> Result<(), Box<dyn std::error::Error>> {
    let to = to.in_batches().ok_or("the kernel has no offload headers for TAPs")?;
    let mut pieces = [IoSlice::new(&[]); FRAMES];
    for (index, piece) in (0..batch.len()).zip(&mut pieces) {
        *piece = IoSlice::new(batch.slot(index));
    }
    // A host that is down loses its frames, as with any switch.
    let written = ring.write(pieces[..batch.len()].chunks(1).map(|piece| (to, piece)))?;
    written.for_each(drop);
    Ok(())
}

fn coalesce(to: &PortDevice, ring: Option<&mut Ring>, batch: &mut Batch, egress: &mut Egress) {
    let merge = batch.len() > 1;
    for index in 0..batch.len() {
        let Ok((header, frame)) = VnetHeader::ref_from_prefix(batch.slot(index)) else {
            continue;
        };
        if let Ok(offload) = header.validate(frame) {
            egress.push(batch, index, offload, 0, merge);
        }
    }
    egress.flush(batch, ring, &mut To(to));
}

/// The one port of all frames.
struct To<'a>(&'a PortDevice);

impl Destinations for To<'_> {
    fn device(&self, _port: u32) -> Option<&PortDevice> {
        Some(self.0)
    }

    fn sent(&mut self, _port: u32, _frames: usize, _bytes: usize) {}

    fn failed(&mut self, _frame: &[u8], _frames: usize, _port: u32, _error: Option<SendError>) {}
}
