//! Keeps the bindings of NAT gateways: which public port stands for which connection of a host behind the gateway.
//!
//! Readers take no lock. A binding is a record of atomic words in two chains, one by what is inside and one by what is
//! outside. A version guards the words: a reader that finds another version than before reads again. A record is only
//! used for another binding after `reused` was raised, so a reader that walked over it into another chain knows that it
//! has to walk again. Writers take turns.
//!
//! Time is an argument, in seconds. An expired binding counts as absent; every binding that is made frees a few.

pub(in crate::datapath) mod counters;
pub(in crate::datapath) mod key;
mod saved;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

use std::net::IpAddr;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};
use std::sync::{OnceLock, PoisonError};

// The crate in `loom/` includes this file to try every order of loads and stores.
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};

use counters::{Counters, Counting, NatCounter};
pub(in crate::datapath) use key::{Inside, Outside};
use key::{WORDS, Words};
pub use saved::{SAVED_BINDING, SavedBinding, SavedGateway};

use super::by_index::ByIndex;
use crate::mapping::InterfaceIndex;

/// Records of a page, and pages at the most: a million bindings.
const PAGE: usize = if cfg!(loom) { 6 } else { 1024 };
const PAGES: usize = if cfg!(loom) { 1 } else { 1024 };
/// Chains of each kind.
const CHAINS: usize = if cfg!(loom) { 1 } else { 1 << 16 };
/// Records that are looked at for expired bindings when one is made.
const STEP: u32 = 16;
/// Records of a chain that a reader looks at before it gives up: more than any chain has.
const LONGEST: usize = PAGE * PAGES;
/// Ports that a NAT gateway gives out (VPC guide, "NAT gateways": 1024 to 65535).
pub(in crate::datapath) const FIRST_PORT: u16 = 1024;
const PORTS: u64 = 65536 - FIRST_PORT as u64;

/// The state of a connection behind a gateway.
pub(in crate::datapath) mod seen {
    /// The inside sent a FIN.
    pub(in crate::datapath) const FIN_INSIDE: u32 = 1;
    /// The outside sent a FIN.
    pub(in crate::datapath) const FIN_OUTSIDE: u32 = 2;
    /// One side sent a RST.
    pub(in crate::datapath) const RESET: u32 = 4;
    /// The outside has answered.
    pub(in crate::datapath) const ANSWERED: u32 = 8;

    /// Whether the connection has ended.
    pub(in crate::datapath) const fn is_closed(seen: u32) -> bool {
        seen & RESET != 0 || seen & (FIN_INSIDE | FIN_OUTSIDE) == FIN_INSIDE | FIN_OUTSIDE
    }
}

#[derive(Default)]
struct Record {
    /// Odd while the words are being written.
    version: AtomicU32,
    /// The last second of its life; 0 for a free record.
    until: AtomicU32,
    /// What was seen of the connection.
    seen: AtomicU32,
    next_inside: AtomicU32,
    next_outside: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl Record {
    /// What it holds, if it is not written at this moment.
    fn read(&self) -> Option<(Words, u32, u32)> {
        let version = self.version.load(Ordering::Acquire);
        let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
        let (until, seen) = (self.until.load(Ordering::Relaxed), self.seen.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let same = self.version.load(Ordering::Relaxed) == version;
        (same && version.is_multiple_of(2)).then_some((Words(words), until, seen))
    }

    /// Only by the writer whose turn it is.
    fn write(&self, words: &Words, until: u32, seen: u32) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (at, word) in words.0.iter().enumerate() {
            self.words[at].store(*word, Ordering::Relaxed);
        }
        self.until.store(until, Ordering::Relaxed);
        self.seen.store(seen, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// A binding as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Binding {
    /// Its record.
    pub(in crate::datapath) place: u32,
    /// The connection, as the host inside sees it.
    pub(in crate::datapath) inside: Inside,
    /// The address and port that stand for the host.
    pub(in crate::datapath) outside: (IpAddr, u16),
    /// What was seen of it.
    pub(in crate::datapath) seen: u32,
    /// The last second of its life.
    pub(in crate::datapath) until: u32,
}

/// A binding that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Opening {
    pub(in crate::datapath) inside: Inside,
    pub(in crate::datapath) outside: (IpAddr, u16),
    pub(in crate::datapath) seen: u32,
    pub(in crate::datapath) until: u32,
    /// Connections of an address to one destination at the most; 0 for any number.
    pub(in crate::datapath) limit: u32,
}

/// A binding that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Refresh {
    pub(in crate::datapath) place: u32,
    pub(in crate::datapath) inside: Inside,
    pub(in crate::datapath) seen: u32,
    pub(in crate::datapath) until: u32,
}

/// No port or record is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Exhausted;

#[derive(Default)]
struct Writer {
    /// Records that were used once.
    made: u32,
    free: Vec<u32>,
    /// Where the search for expired bindings goes on.
    hand: u32,
    /// The second in which all records were looked at last.
    swept: u32,
}

/// The bindings of all NAT gateways.
pub struct Bindings {
    seed: u64,
    pages: Box<[OnceLock<Box<[Record]>>]>,
    inside: OnceLock<Box<[AtomicU32]>>,
    outside: OnceLock<Box<[AtomicU32]>>,
    /// Raised before a record is used for another binding.
    reused: AtomicU64,
    writer: Mutex<Writer>,
    counters: ByIndex<Counting>,
}

/// Lets the writer that is amid a change go on.
fn relax() {
    #[cfg(not(loom))]
    std::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

#[derive(Clone, Copy)]
enum Chain {
    Inside,
    Outside,
}

impl Bindings {
    /// No bindings. The seed makes ports unpredictable.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            pages: (0..PAGES).map(|_| OnceLock::new()).collect(),
            inside: OnceLock::new(),
            outside: OnceLock::new(),
            reused: AtomicU64::new(0),
            writer: Mutex::new(Writer::default()),
            counters: ByIndex::new(),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // What a panic left half done is a record that is in no chain.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records are numbered from 1.
    fn record(&self, number: u32) -> Option<&Record> {
        let at = (number as usize).checked_sub(1)?;
        self.pages.get(at / PAGE)?.get()?.get(at % PAGE)
    }

    fn heads(&self, chain: Chain) -> &OnceLock<Box<[AtomicU32]>> {
        match chain {
            Chain::Inside => &self.inside,
            Chain::Outside => &self.outside,
        }
    }

    fn head(&self, chain: Chain, words: &Words) -> &AtomicU32 {
        let make = || (0..CHAINS).map(|_| AtomicU32::new(0)).collect();
        &self.heads(chain).get_or_init(make)[self.place(chain, words)]
    }

    fn place(&self, chain: Chain, words: &Words) -> usize {
        let hash = match chain {
            Chain::Inside => words.hash_inside(self.seed),
            Chain::Outside => words.hash_outside(self.seed),
        };
        hash as usize % CHAINS
    }

    /// The chains that a record is in.
    fn chains(words: &Words) -> &'static [Chain] {
        if words.is_load() {
            &[Chain::Outside]
        } else {
            &[Chain::Inside, Chain::Outside]
        }
    }

    fn next(record: &Record, chain: Chain) -> &AtomicU32 {
        match chain {
            Chain::Inside => &record.next_inside,
            Chain::Outside => &record.next_outside,
        }
    }

    /// The record of a chain with this key, alive or expired.
    fn find(&self, chain: Chain, wanted: &Words) -> Option<(u32, Words, u32, u32)> {
        let head = &self.heads(chain).get()?[self.place(chain, wanted)];
        loop {
            let reused = self.reused.load(Ordering::Acquire);
            let mut at = head.load(Ordering::Acquire);
            let mut torn = false;
            for _ in 0..LONGEST {
                let Some(record) = self.record(at) else { break };
                match record.read() {
                    Some((words, until, seen)) => {
                        let same = match chain {
                            Chain::Inside => words.same_inside(wanted),
                            Chain::Outside => words.same_outside(wanted),
                        };
                        if same && until != 0 {
                            return Some((at, words, until, seen));
                        }
                    }
                    None => torn = true,
                }
                at = Self::next(record, chain).load(Ordering::Acquire);
            }
            if !torn && self.reused.load(Ordering::Acquire) == reused {
                return None;
            }
            relax();
        }
    }

    fn binding((place, words, until, seen): (u32, Words, u32, u32)) -> Binding {
        Binding {
            place,
            inside: words.inside(),
            outside: words.translated(),
            seen,
            until,
        }
    }

    /// The binding of a connection of a host inside.
    pub(in crate::datapath) fn of_inside(&self, inside: &Inside, now: u32) -> Option<Binding> {
        let found = self.find(Chain::Inside, &Words::of_inside(inside))?;
        Some(Self::binding(found)).filter(|binding| binding.until >= now)
    }

    /// The binding that a packet from outside belongs to.
    pub(in crate::datapath) fn of_outside(&self, outside: &Outside, now: u32) -> Option<Binding> {
        let found = self.find(Chain::Outside, &Words::of_outside(outside))?;
        Some(Self::binding(found)).filter(|binding| binding.until >= now)
    }

    /// Connections of an address to one destination, expired ones included.
    pub(in crate::datapath) fn load(&self, destination: &Outside) -> u32 {
        let found = self.find(Chain::Outside, &Words::of_load(destination));
        found.map_or(0, |(.., seen)| seen)
    }

    /// A free port of an address towards a destination, drawn at random; `outside.port` is not read. The same arguments
    /// give the same port, until it is taken.
    pub(in crate::datapath) fn free_port(
        &self,
        outside: &Outside,
        inside: &Inside,
        limit: u32,
        now: std::time::Duration,
    ) -> Result<u16, Exhausted> {
        if limit != 0 && self.load(outside) >= limit {
            return Err(Exhausted);
        }
        let seconds = now.as_secs() as u32;
        let start = Words::of_inside(inside).hash_inside(self.seed ^ now.as_nanos() as u64);
        let mut draw = start;
        for attempt in 0..PORTS {
            // Thirty-two at random, then one after the other: with 55 000 of 64 512 taken, seven are looked at.
            let offset = if attempt < 32 {
                draw % PORTS
            } else {
                (start.wrapping_add(attempt)) % PORTS
            };
            draw = key::mixed(draw ^ 0x9e37_79b9_7f4a_7c15, self.seed | 1);
            let port = FIRST_PORT + offset as u16;
            if self.of_outside(&Outside { port, ..*outside }, seconds).is_none() {
                return Ok(port);
            }
        }
        Err(Exhausted)
    }

    /// Makes a binding, unless its connection has one already that is alive, or its port is taken meanwhile.
    pub(in crate::datapath) fn open(&self, opening: &Opening, now: u32) -> Result<(), Exhausted> {
        let words = Words::new(&opening.inside, opening.outside);
        let mut writer = self.writer();
        let hand = writer.hand;
        self.sweep(&mut writer, hand, STEP, now);
        for chain in [Chain::Inside, Chain::Outside] {
            if let Some((number, known, until, _)) = self.find(chain, &words) {
                if until >= now {
                    return if known == words { Ok(()) } else { Err(Exhausted) };
                }
                self.remove(&mut writer, number);
            }
        }
        let load = Words::of_load(&opening.inside.seen_from(opening.outside));
        let used = self.find(Chain::Outside, &load);
        if opening.limit != 0 && used.is_some_and(|(.., used)| used >= opening.limit) {
            return Err(Exhausted);
        }
        match used.and_then(|(number, ..)| self.record(number)) {
            Some(record) => drop(record.seen.fetch_add(1, Ordering::Relaxed)),
            None => self.put(&mut writer, &load, u32::MAX, 1)?,
        }
        self.put(&mut writer, &words, opening.until.max(1), opening.seen)
            .inspect_err(|_| self.unload(&mut writer, &load))
    }

    /// Lets a binding live on. One that was replaced meanwhile is left alone.
    ///
    /// It takes its turn among the writers, or it could give life to a record that another has just freed: one that is in no
    /// chain would be freed a second time, and then stand for two connections. A connection is refreshed once a second at the most.
    pub(in crate::datapath) fn refresh(&self, refresh: &Refresh) {
        let _turn = self.writer();
        let Some(record) = self.record(refresh.place) else {
            return;
        };
        let wanted = Words::of_inside(&refresh.inside);
        if record
            .read()
            .is_some_and(|(words, until, _)| until != 0 && words.same_inside(&wanted))
        {
            record.seen.fetch_or(refresh.seen, Ordering::Relaxed);
            // A closed connection lives shorter than it did.
            record.until.store(refresh.until.max(1), Ordering::Relaxed);
        }
    }

    /// Frees what has expired, all of it, once a second at the most.
    pub(in crate::datapath) fn make_room(&self, now: u32) {
        let mut writer = self.writer();
        if writer.swept != now {
            writer.swept = now;
            let made = writer.made;
            self.sweep(&mut writer, 0, made, now);
        }
    }

    /// Cuts the connections of a gateway: all of them, or those of one of its addresses.
    pub fn cut(&self, gateway: InterfaceIndex, address: Option<IpAddr>) {
        let mut writer = self.writer();
        for number in 1..=writer.made {
            let Some((words, until, _)) = self.record(number).and_then(Record::read) else {
                continue;
            };
            let of_address = address.is_none_or(|address| words.translated().0 == address);
            let own = !words.is_egress_only() && words.gateway() == gateway.get();
            if until != 0 && !words.is_load() && own && of_address {
                self.remove(&mut writer, number);
            }
        }
        if address.is_none() {
            self.counters.get(gateway).inspect(|counters| counters.clear());
        }
    }

    /// Forgets the connections of a VPC that go by gateways without translation: by IPv6 its egress-only gateway, by IPv4 its
    /// gateway endpoints.
    pub fn cut_untranslated(&self, vpc: u32, ipv6: bool) {
        let mut writer = self.writer();
        for number in 1..=writer.made {
            let Some((words, until, _)) = self.record(number).and_then(Record::read) else {
                continue;
            };
            let own = words.is_egress_only() && words.is_ipv6() == ipv6 && words.gateway() == vpc;
            if until != 0 && !words.is_load() && own {
                self.remove(&mut writer, number);
            }
        }
    }

    /// The connections of a gateway that are alive.
    pub(in crate::datapath) fn all(&self, gateway: InterfaceIndex, now: u32) -> Vec<Binding> {
        let made = self.writer().made;
        let alive = (1..=made).filter_map(|number| {
            let (words, until, seen) = self.record(number)?.read()?;
            let own = !words.is_egress_only() && words.gateway() == gateway.get();
            let own = own && until >= now.max(1) && !words.is_load();
            own.then(|| Self::binding((number, words, until, seen)))
        });
        alive.filter(|binding| !binding.inside.is_fragments()).collect()
    }

    /// Connections of a gateway that are alive.
    pub fn active(&self, gateway: InterfaceIndex, now: u32) -> usize {
        self.all(gateway, now).len()
    }

    /// A copy, for decisions whose effects nothing else shall see.
    pub fn copied(&self) -> Self {
        let copy = Self::new(self.seed);
        let made = self.writer().made;
        let mut writer = copy.writer();
        for number in 1..=made {
            if let Some((words, until, seen)) = self.record(number).and_then(Record::read)
                && until != 0
                && copy.put(&mut writer, &words, until, seen).is_err()
            {
                break;
            }
        }
        drop(writer);
        copy
    }

    /// Counts for a gateway.
    pub(in crate::datapath) fn count(&self, gateway: InterfaceIndex, counts: &[Option<(NatCounter, u32)>]) {
        for (counter, by) in counts.iter().flatten() {
            if let Some(own) = self.counters.made(gateway.get()) {
                own.add(*counter, *by);
            }
        }
    }

    /// What was counted for a gateway.
    pub fn counters(&self, gateway: InterfaceIndex) -> Counters {
        self.counters.get(gateway).map(Counting::read).unwrap_or_default()
    }

    fn put(&self, writer: &mut Writer, words: &Words, until: u32, seen: u32) -> Result<(), Exhausted> {
        let number = match writer.free.pop() {
            Some(number) => {
                self.reused.fetch_add(1, Ordering::AcqRel);
                number
            }
            None if (writer.made as usize) < PAGE * PAGES => {
                let page = writer.made as usize / PAGE;
                self.pages[page].get_or_init(|| (0..PAGE).map(|_| Record::default()).collect());
                writer.made += 1;
                writer.made
            }
            None => return Err(Exhausted),
        };
        let Some(record) = self.record(number) else {
            return Err(Exhausted);
        };
        record.write(words, until, seen);
        for chain in Self::chains(words) {
            let head = self.head(*chain, words);
            Self::next(record, *chain).store(head.load(Ordering::Relaxed), Ordering::Release);
            head.store(number, Ordering::Release);
        }
        Ok(())
    }

    fn remove(&self, writer: &mut Writer, number: u32) {
        let Some(record) = self.record(number) else { return };
        let Some((words, until, _)) = record.read() else { return };
        if until == 0 {
            return;
        }
        for chain in Self::chains(&words) {
            self.unlink(*chain, &words, number);
        }
        // Its words stay, so that a reader that is on its way over it finds the end of the chain.
        record.until.store(0, Ordering::Release);
        writer.free.push(number);
        if !words.is_load() {
            self.unload(writer, &words.load());
        }
    }

    /// One connection to a destination less.
    fn unload(&self, writer: &mut Writer, load: &Words) {
        if let Some((number, ..)) = self.find(Chain::Outside, load)
            && let Some(record) = self.record(number)
            && record.seen.fetch_sub(1, Ordering::Relaxed) <= 1
        {
            self.remove(writer, number);
        }
    }

    fn unlink(&self, chain: Chain, words: &Words, number: u32) {
        let mut link = self.head(chain, words);
        while let at @ 1.. = link.load(Ordering::Relaxed) {
            let Some(record) = self.record(at) else { return };
            let next = Self::next(record, chain);
            if at == number {
                link.store(next.load(Ordering::Relaxed), Ordering::Release);
                return;
            }
            link = next;
        }
    }

    fn sweep(&self, writer: &mut Writer, from: u32, count: u32, now: u32) {
        let made = writer.made;
        for number in (from..made).take(count as usize).map(|at| at + 1) {
            let until = self
                .record(number)
                .map_or(0, |record| record.until.load(Ordering::Relaxed));
            if until != 0 && until < now {
                self.remove(writer, number);
            }
        }
        writer.hand = if from + count >= made { 0 } else { from + count };
    }
}
