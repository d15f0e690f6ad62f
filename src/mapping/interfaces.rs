//! Stores what workers need of an interface to deliver to it: MAC, port, source/destination check, first addresses.
//! Each interface is a few atomic words at a place that never moves.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::wire::MacAddr;

/// Interfaces in a chunk.
const CHUNK: usize = 1024;
/// Most chunks: 4 M interfaces.
const CHUNKS: usize = 4096;

/// Flags above the MAC in an interface's first word.
const PRESENT: u64 = 1 << 63;
const CHECKED: u64 = 1 << 62;
const DELEGATED: u64 = 1 << 61;

/// Index of an interface in the table; never zero, so that zero can mean none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InterfaceIndex(pub(crate) NonZeroU32);

/// Number of a port of the switch; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PortId(NonZeroU32);

impl PortId {
    /// The port with this number, counted from 1; `None` for 0.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl InterfaceIndex {
    /// The place with this number; `None` for 0.
    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number, counted from 1.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// An interface's words. Each property that may change while frames flow is one word; all of them are in half a cache
/// line.
#[derive(Default)]
#[repr(align(32))]
struct Slot {
    /// MAC in the low 48 bits, flags above.
    mac: AtomicU64,
    /// Subnet number in the upper half, port number in the lower; port 0 while it is not attached.
    place: AtomicU64,
    /// Host part of the first IPv6 address; 0, which is reserved in every subnet, for none.
    ipv6: AtomicU64,
    /// First IPv4 address, 0.0.0.0 for none.
    ipv4: AtomicU32,
    /// MTU; 0 for the profile's.
    mtu: AtomicU16,
    /// The first delegated /80: its 16 bits below the /64, valid while the flag in the first word is set.
    prefix: AtomicU16,
}

const _: () = assert!(size_of::<Slot>() == 32);

/// What the firewall knows of an interface. It stands in a column of its own: frames of networks without a firewall never
/// read it.
#[derive(Default)]
struct Filter {
    /// The policy's number in the upper half, the one before it in the lower: a batch that began before the latest was
    /// published finds the one before. 0 for none.
    policies: AtomicU64,
    /// The interface whose allowance of tracked connections this one uses; 0 for its own.
    allowance: AtomicU32,
}

/// A snapshot of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Its index in the table.
    pub index: InterfaceIndex,
    /// Its MAC.
    pub mac: MacAddr,
    /// Whether its source/destination check is on.
    pub checked: bool,
    /// Number of its subnet.
    pub subnet: NonZeroU32,
    /// The port that it is attached to.
    pub port: Option<PortId>,
    /// Its primary IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The low half of its first IPv6 address.
    pub ipv6_host: Option<u64>,
    /// MTU in octets; `None` for the profile's.
    pub mtu: Option<u16>,
}

/// All interfaces.
pub struct InterfaceTable {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    filters: Box<[OnceLock<Box<[Filter]>>]>,
}

impl Default for InterfaceTable {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            filters: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl Slot {
    /// Called by the one writer.
    fn set_flag(&self, flag: u64, on: bool) {
        let old = self.mac.load(Ordering::Relaxed);
        self.mac
            .store(if on { old | flag } else { old & !flag }, Ordering::Release);
    }
}

impl InterfaceTable {
    #[inline(always)]
    fn slot(&self, index: InterfaceIndex) -> Option<&Slot> {
        let at = index.get() as usize;
        self.chunks.get(at / CHUNK)?.get()?.get(at % CHUNK)
    }

    /// Reads an interface; `None` once it is deleted.
    #[inline(always)]
    pub fn get(&self, index: InterfaceIndex) -> Option<Interface> {
        let slot = self.slot(index)?;
        let mac = slot.mac.load(Ordering::Acquire);
        if mac & PRESENT == 0 {
            return None;
        }
        let place = slot.place.load(Ordering::Relaxed);
        let ipv4 = slot.ipv4.load(Ordering::Relaxed);
        let ipv6 = slot.ipv6.load(Ordering::Relaxed);
        Some(Interface {
            index,
            mac: MacAddr::from_bits(mac),
            checked: mac & CHECKED != 0,
            subnet: NonZeroU32::new((place >> 32) as u32)?,
            port: PortId::new(place as u32),
            ipv4: (ipv4 != 0).then(|| Ipv4Addr::from_bits(ipv4)),
            ipv6_host: (ipv6 != 0).then_some(ipv6),
            mtu: Some(slot.mtu.load(Ordering::Relaxed)).filter(|mtu| *mtu != 0),
        })
    }

    /// Puts an interface into a free place. False when the table is full.
    pub(crate) fn insert(&self, index: InterfaceIndex, mac: MacAddr, checked: bool, subnet: NonZeroU32) -> bool {
        let at = index.get() as usize;
        let Some(chunk) = self.chunks.get(at / CHUNK) else {
            return false;
        };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Slot::default()).collect());
        let slot = &chunk[at % CHUNK];
        slot.place.store(u64::from(subnet.get()) << 32, Ordering::Relaxed);
        slot.ipv4.store(0, Ordering::Relaxed);
        slot.ipv6.store(0, Ordering::Relaxed);
        slot.mtu.store(0, Ordering::Relaxed);
        slot.prefix.store(0, Ordering::Relaxed);
        let flags = PRESENT | if checked { CHECKED } else { 0 };
        // Release: a reader that sees the interface as present sees its other words.
        slot.mac.store(mac.to_bits() | flags, Ordering::Release);
        true
    }

    /// Removes an interface.
    pub(crate) fn remove(&self, index: InterfaceIndex) {
        if let Some(slot) = self.slot(index) {
            slot.mac.store(0, Ordering::Release);
        }
        if let Some(filter) = self.filter(index) {
            filter.policies.store(0, Ordering::Release);
            filter.allowance.store(0, Ordering::Release);
        }
    }

    #[inline(always)]
    fn filter(&self, index: InterfaceIndex) -> Option<&Filter> {
        let at = index.get() as usize;
        self.filters.get(at / CHUNK)?.get()?.get(at % CHUNK)
    }

    /// The numbers of an interface's policy and of the one before it; 0 for none.
    #[inline(always)]
    pub(crate) fn policies(&self, index: InterfaceIndex) -> [u32; 2] {
        let both = self
            .filter(index)
            .map_or(0, |filter| filter.policies.load(Ordering::Acquire));
        [(both >> 32) as u32, both as u32]
    }

    /// Gives an interface a policy, or none.
    pub(crate) fn set_policy(&self, index: InterfaceIndex, number: Option<NonZeroU32>) {
        let at = index.get() as usize;
        let Some(chunk) = self.filters.get(at / CHUNK) else {
            return;
        };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Filter::default()).collect());
        let policies = &chunk[at % CHUNK].policies;
        let before = policies.load(Ordering::Relaxed) >> 32;
        let number = number.map_or(0, NonZeroU32::get);
        policies.store(u64::from(number) << 32 | before, Ordering::Release);
    }

    /// The interface whose allowance of tracked connections an interface uses: its instance's first.
    #[inline]
    pub(crate) fn allowance(&self, index: InterfaceIndex) -> InterfaceIndex {
        let shared = self
            .filter(index)
            .map_or(0, |filter| filter.allowance.load(Ordering::Relaxed));
        NonZeroU32::new(shared).map_or(index, InterfaceIndex)
    }

    /// Says whose allowance of tracked connections an interface uses.
    pub(crate) fn set_allowance(&self, index: InterfaceIndex, of: InterfaceIndex) {
        if let Some(filter) = self.filter(index) {
            filter.allowance.store(of.get(), Ordering::Release);
        }
    }

    pub(crate) fn set_checked(&self, index: InterfaceIndex, checked: bool) {
        if let Some(slot) = self.slot(index) {
            slot.set_flag(CHECKED, checked);
        }
    }

    pub(crate) fn set_port(&self, index: InterfaceIndex, port: Option<PortId>) {
        if let Some(slot) = self.slot(index) {
            let subnet = slot.place.load(Ordering::Relaxed) & !u64::from(u32::MAX);
            slot.place
                .store(subnet | u64::from(port.map_or(0, PortId::get)), Ordering::Release);
        }
    }

    pub(crate) fn set_mtu(&self, index: InterfaceIndex, mtu: Option<u16>) {
        if let Some(slot) = self.slot(index) {
            slot.mtu.store(mtu.unwrap_or(0), Ordering::Release);
        }
    }

    /// Sets the /80 of its subnet's /64 that is delegated to an interface first, by its 16 distinguishing bits.
    pub(crate) fn set_delegated_prefix(&self, index: InterfaceIndex, prefix: Option<u16>) {
        if let Some(slot) = self.slot(index) {
            if let Some(bits) = prefix {
                slot.prefix.store(bits, Ordering::Release);
            }
            // Release: a reader that sees the flag sees the bits.
            slot.set_flag(DELEGATED, prefix.is_some());
        }
    }

    /// The first delegated /80 of an interface. Not part of [`Interface`], because no frame on the hot path needs it.
    pub(crate) fn delegated_prefix(&self, index: InterfaceIndex) -> Option<u16> {
        let slot = self.slot(index)?;
        let delegated = slot.mac.load(Ordering::Acquire) & DELEGATED != 0;
        delegated.then(|| slot.prefix.load(Ordering::Relaxed))
    }

    pub(crate) fn set_primary(&self, index: InterfaceIndex, ipv4: Option<Ipv4Addr>, ipv6_host: Option<u64>) {
        if let Some(slot) = self.slot(index) {
            slot.ipv4.store(ipv4.map_or(0, Ipv4Addr::to_bits), Ordering::Release);
            slot.ipv6.store(ipv6_host.unwrap_or(0), Ordering::Release);
        }
    }
}
