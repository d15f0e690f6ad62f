//! Writes down the tracked connections of a network, the bindings of its NAT gateways and the connections of its egress-only
//! gateways for the next server: at a hand-over, and each second for the keeper, so that a server that is killed loses a
//! second of them.

use std::collections::{HashMap, HashSet};
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
use crate::datapath::{SAVED, SAVED_BINDING, SavedBinding, SavedConnection, SavedGateway};
use crate::lab::{Keeper, keeper};
use crate::mapping::InterfaceIndex;
use crate::model::ids::ResourceId;
use crate::model::{InterfaceId, VpcId};
use crate::switch::Switch;

/// The first octets of what is written, with the version of the format.
const MAGIC: &[u8; 4] = b"LVF2";

/// Octets of a connection: the interface, the one whose allowance it counts against, the rest.
const RECORD: usize = 8 + 8 + SAVED;

/// Octets of a binding: the interface of its NAT gateway, or the VPC of its egress-only gateway, and the rest.
const BINDING: usize = 8 + SAVED_BINDING;

/// Octets before the first connection: the magic, when it was written, and the octets of all connections.
const HEADER: usize = 4 + 8 + 8;

/// How often the keeper gets the connections.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writing takes at most this part of the time.
const SHARE: u32 = 50;

/// The second of the switch's clock, as connections count it.
pub(super) fn second(switch: &Switch) -> u32 {
    switch.now().as_secs() as u32
}

/// What is written of the state of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All connections, in advance. Bindings change hands between now and then.
    Early,
    /// The connections that were refreshed in a second of the switch's clock or later, and all bindings.
    Since(u32),
}

/// The tracked connections, and the bindings of NAT gateways.
pub(super) fn written(controller: &Controller, switch: &Switch, part: Part) -> Vec<u8> {
    let (fabric, now) = (controller.fabric(), second(switch));
    let mut ids: HashMap<InterfaceIndex, Option<InterfaceId>> = HashMap::new();
    let mut vpcs = HashMap::new();
    let mut id = |index| *ids.entry(index).or_insert_with(|| controller.interface_at(index));
    let (mut connections, mut bindings) = (Vec::new(), Vec::new());
    let since = match part {
        Part::Early => 0,
        Part::Since(since) => since,
    };
    fabric.connections().save(now, since, |saved| {
        // One of an interface that was deleted a moment ago is over.
        if let (Some(interface), Some(allowance)) = (id(saved.interface), id(saved.allowance)) {
            connections.extend(interface.to_bits().to_le_bytes());
            connections.extend(allowance.to_bits().to_le_bytes());
            connections.extend(saved.octets());
        }
    });
    if part != Part::Early {
        fabric.bindings().save(now, |saved| {
            let gateway = match saved.gateway {
                SavedGateway::Nat(interface) => id(interface).map(ResourceId::to_bits),
                SavedGateway::EgressOnly(vpc) => {
                    let known = vpcs.entry(vpc).or_insert_with(|| controller.vpc_at(vpc));
                    known.map(ResourceId::to_bits)
                }
            };
            if let Some(gateway) = gateway {
                bindings.extend(gateway.to_le_bytes());
                bindings.extend(saved.octets());
            }
        });
    }
    let mut octets = MAGIC.to_vec();
    octets.extend(milliseconds().to_le_bytes());
    octets.extend((connections.len() as u64).to_le_bytes());
    octets.append(&mut connections);
    octets.append(&mut bindings);
    octets
}

/// Goes on with connections and bindings that another process has written. Returns how many there were.
pub(super) fn resume(controller: &Controller, switch: &Switch, octets: &[u8]) -> io::Result<usize> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "these are no tracked connections");
    let (header, rest) = octets.split_at_checked(HEADER).ok_or_else(wrong)?;
    let length = usize::try_from(word(header, 12)).map_err(|_| wrong())?;
    let (connections, bindings) = rest.split_at_checked(length).ok_or_else(wrong)?;
    let ((connections, []), (bindings, [])) = (connections.as_chunks::<RECORD>(), bindings.as_chunks::<BINDING>())
    else {
        return Err(wrong());
    };
    if !header.starts_with(MAGIC) {
        return Err(wrong());
    }
    let late = u32::try_from(milliseconds().saturating_sub(word(header, 4)) / 1000).unwrap_or(u32::MAX);
    let (fabric, now) = (controller.fabric(), second(switch));
    let mut indexes: HashMap<u64, Option<InterfaceIndex>> = HashMap::new();
    let mut index = |record: &[u8], place: usize| {
        let bits = word(record, place);
        let known = indexes.entry(bits);
        *known.or_insert_with(|| controller.interface_index(InterfaceId::from_bits(bits)))
    };
    for record in connections {
        let (Some(interface), Some(allowance)) = (index(record, 0), index(record, 8)) else {
            continue;
        };
        let rest = std::array::from_fn(|octet| record[16 + octet]);
        let saved = SavedConnection::from_octets(interface, allowance, &rest);
        fabric.connections().resume(&saved, now, late);
    }
    let mut cut = HashSet::new();
    for record in bindings {
        let rest = std::array::from_fn(|octet| record[8 + octet]);
        let saved = SavedBinding::from_octets(&rest, |egress_only| match egress_only {
            true => controller
                .vpc_index(VpcId::from_bits(word(record, 0)))
                .map(SavedGateway::EgressOnly),
            false => index(record, 0).map(SavedGateway::Nat),
        });
        // One of a gateway that was deleted is over.
        let Some(saved) = saved else { continue };
        // What was known of the gateway before is older, and a port may stand for another host by now.
        if cut.insert(saved.gateway) {
            fabric.bindings().cut_all(saved.gateway);
        }
        fabric.bindings().resume(&saved, now, late);
    }
    Ok(connections.len() + bindings.len())
}

/// Eight octets of a record as a number. Records are long enough.
fn word(record: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|octet| record[place + octet]))
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
                let octets = written(&controller, &switch, Part::Since(0));
                let some = octets.len() > HEADER;
                if (some || any) && !stopped.load(Ordering::Acquire) {
                    any = some;
                    if let Err(error) = keep(&keeper, &octets) {
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
