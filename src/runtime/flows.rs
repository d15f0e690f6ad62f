//! Writes down the tracked connections of a network for the next server: at a hand-over, and each second for the keeper,
//! so that a server that is killed loses a second of them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::contain;
use crate::control::Controller;
use crate::datapath::{SAVED, SavedConnection};
use crate::lab::{Keeper, keeper};
use crate::mapping::InterfaceIndex;
use crate::model::InterfaceId;
use crate::model::ids::ResourceId;
use crate::switch::Switch;

/// The first octets of what is written, with the version of the format.
const MAGIC: &[u8; 4] = b"LVF1";

/// Octets of a connection: the interface, the one whose allowance it counts against, the rest.
const RECORD: usize = 8 + 8 + SAVED;

/// Octets before the first connection: the magic, and when it was written.
const HEADER: usize = 4 + 8;

/// How often the keeper gets the connections.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writing takes at most this part of the time.
const SHARE: u32 = 50;

/// The second of the switch's clock, as connections count it.
pub(super) fn second(switch: &Switch) -> u32 {
    switch.now().as_secs() as u32
}

/// The connections that were refreshed in a second of the switch's clock or later.
pub(super) fn written(controller: &Controller, switch: &Switch, since: u32) -> Vec<u8> {
    let mut octets = MAGIC.to_vec();
    octets.extend(milliseconds().to_le_bytes());
    let mut ids: HashMap<InterfaceIndex, Option<InterfaceId>> = HashMap::new();
    let mut id = |index| *ids.entry(index).or_insert_with(|| controller.interface_at(index));
    controller.fabric().connections().save(second(switch), since, |saved| {
        // One of an interface that was deleted a moment ago is over.
        if let (Some(interface), Some(allowance)) = (id(saved.interface), id(saved.allowance)) {
            octets.extend(interface.to_bits().to_le_bytes());
            octets.extend(allowance.to_bits().to_le_bytes());
            octets.extend(saved.octets());
        }
    });
    octets
}

/// Goes on with connections that another process has written.
pub(super) fn resume(controller: &Controller, switch: &Switch, octets: &[u8]) -> io::Result<usize> {
    let (header, records) = octets.split_at_checked(HEADER).ok_or(io::ErrorKind::InvalidData)?;
    let (records, rest) = records.as_chunks::<RECORD>();
    if !header.starts_with(MAGIC) || !rest.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "these are no tracked connections",
        ));
    }
    let at = u64::from_le_bytes(std::array::from_fn(|octet| header[4 + octet]));
    let late = u32::try_from(milliseconds().saturating_sub(at) / 1000).unwrap_or(u32::MAX);
    let fabric = controller.fabric();
    let (connections, now) = (fabric.connections(), second(switch));
    let mut indexes: HashMap<u64, Option<InterfaceIndex>> = HashMap::new();
    let mut index = |record: &[u8; RECORD], place: usize| {
        let bits = u64::from_le_bytes(std::array::from_fn(|octet| record[place + octet]));
        let known = indexes.entry(bits);
        *known.or_insert_with(|| controller.interface_index(InterfaceId::from_bits(bits)))
    };
    let mut resumed = 0;
    for record in records {
        let (Some(interface), Some(allowance)) = (index(record, 0), index(record, 8)) else {
            continue;
        };
        let rest = std::array::from_fn(|octet| record[16 + octet]);
        connections.resume(&SavedConnection::from_octets(interface, allowance, &rest), now, late);
        resumed += 1;
    }
    Ok(resumed)
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Goes on with the connections that a keeper has from a server that was killed.
pub(super) fn resume_kept(
    controller: &Controller,
    switch: &Switch,
    keeper: &Keeper,
    entries: &[(String, String)],
) -> io::Result<()> {
    if !entries.iter().any(|(key, _)| key == keeper::FLOWS) {
        return Ok(());
    }
    let [file] = keeper::exactly(keeper.descriptors(keeper::FLOWS)?)?;
    let (mut file, mut octets) = (File::from(file), Vec::new());
    file.rewind()?;
    file.read_to_end(&mut octets)?;
    let resumed = resume(controller, switch, &octets)?;
    tracing::info!(resumed, "tracked connections go on");
    Ok(())
}

/// Gives the connections to the keeper, each second, from a thread of its own until it is dropped.
pub(super) struct FlowKeeping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FlowKeeping {
    /// Begins. The thread does not hold the switch.
    pub(super) fn start(keeper: Keeper, controller: Controller, switch: &Arc<Switch>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, switch) = (Arc::clone(&stop), Arc::downgrade(switch));
        let work = move || {
            let mut pause = INTERVAL;
            let mut any = false;
            while !stopped.load(Ordering::Acquire) {
                std::thread::park_timeout(pause);
                let Some(switch) = switch.upgrade() else { return };
                let began = Instant::now();
                let some = !controller.fabric().connections().is_empty();
                if (some || any) && !stopped.load(Ordering::Acquire) {
                    any = some;
                    if let Err(error) = keep(&keeper, &written(&controller, &switch, 0)) {
                        tracing::warn!(%error, "the next server does not know the tracked connections");
                    }
                }
                pause = INTERVAL.max(began.elapsed() * SHARE);
            }
        };
        let thread = std::thread::Builder::new().name("flows".into());
        let thread = thread.spawn(move || {
            let _ = contain::once("the thread that keeps connections", work);
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for FlowKeeping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in it has been reported already.
            let _ = thread.join();
        }
    }
}

fn keep(keeper: &Keeper, octets: &[u8]) -> io::Result<()> {
    let memory: OwnedFd = memfd_create("localvpc-flows", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(octets)?;
    keeper.replace(keeper::FLOWS, &[file.as_fd()])
}
