//! Implements a hash table that one writer edits while workers read it: every entry is one atomic word, so an address
//! has its old owner or its new one, never both and never neither.
//!
//! Readers take no lock and write nothing. The writer never removes a key: a removed entry keeps its slot without an
//! owner, so that a reader in the middle of a probe cannot see one key's owner under another key. A full table is
//! copied into a larger one, which the caller publishes; readers of the old one see the state before.

use std::num::NonZeroU32;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

// The crate in `loom/` includes this file to try every order of loads and stores.
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots of the smallest table; few for the model checker, which tries all interleavings.
const LEAST: usize = if cfg!(loom) { 4 } else { 64 };
/// Two odd constants without pattern: the fractions of the golden ratio and of the square root of 3.
const SCATTER: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];
/// Fill at which the table is replaced by a larger one: 4 of 5 slots.
const FULL: (usize, usize) = (4, 5);

/// One entry: 16 octets. `owner` is `scope << 32 | owner`, zero while the slot is free; `key` never changes after that.
#[derive(Default)]
struct Slot {
    key: AtomicU64,
    owner: AtomicU64,
}

/// The readers' side: (scope, 64-bit key) → owner.
pub struct Table {
    slots: Box<[Slot]>,
}

impl Table {
    fn with_slots(slots: usize) -> Self {
        Self {
            slots: (0..slots.max(LEAST)).map(|_| Slot::default()).collect(),
        }
    }

    /// The first slot of a key's probe sequence: the key multiplied, folded onto itself and scaled to the number of
    /// slots, which is cheap enough for every frame.
    #[inline(always)]
    fn home(&self, scope: NonZeroU32, key: u64) -> usize {
        let scope = u64::from(scope.get()).wrapping_mul(SCATTER[0]);
        let product = u128::from(key ^ scope) * u128::from(SCATTER[1]);
        // The upper bits of the key change the upper half, the lower bits the lower half.
        let scattered = (product as u64 ^ (product >> 64) as u64).wrapping_mul(SCATTER[0]);
        ((u128::from(scattered) * self.slots.len() as u128) >> 64) as usize
    }

    /// The owner of `key` in `scope`.
    #[inline]
    pub fn get(&self, scope: NonZeroU32, key: u64) -> Option<NonZeroU32> {
        let mut at = self.home(scope, key);
        // A table is never full, so the search ends at a free slot.
        for _ in 0..self.slots.len() {
            let slot = &self.slots[at];
            // Acquire: pairs with the writer's Release below, so that a slot in use shows its key.
            let owner = slot.owner.load(Ordering::Acquire);
            if owner == 0 {
                return None;
            }
            if (owner >> 32) as u32 == scope.get() && slot.key.load(Ordering::Relaxed) == key {
                return NonZeroU32::new(owner as u32);
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
        None
    }

    /// Loads the first slot of a key's probe sequence and returns its owner, of this key or another. It has no
    /// dependencies, so that the slots of many keys are loaded in parallel.
    #[inline(always)]
    pub fn touch(&self, scope: NonZeroU32, key: u64) -> u32 {
        self.slots[self.home(scope, key)].owner.load(Ordering::Relaxed) as u32
    }

    /// Octets of the table, to compute octets per mapping.
    pub fn size(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    /// The slot with a key, or the free slot where it would go.
    fn slot(&self, scope: NonZeroU32, key: u64) -> (&Slot, bool) {
        let mut at = self.home(scope, key);
        loop {
            let slot = &self.slots[at];
            let owner = slot.owner.load(Ordering::Relaxed);
            if owner == 0 {
                return (slot, false);
            }
            if (owner >> 32) as u32 == scope.get() && slot.key.load(Ordering::Relaxed) == key {
                return (slot, true);
            }
            at = (at + 1) % self.slots.len();
        }
    }

    fn store(&self, scope: NonZeroU32, key: u64, owner: Option<NonZeroU32>) -> bool {
        let (slot, known) = self.slot(scope, key);
        if !known {
            if owner.is_none() {
                return false;
            }
            slot.key.store(key, Ordering::Relaxed);
        }
        let word = u64::from(scope.get()) << 32 | u64::from(owner.map_or(0, NonZeroU32::get));
        // Release: a reader that sees this word sees the key too.
        slot.owner.store(word, Ordering::Release);
        !known
    }
}

/// The writer's side of a [`Table`].
pub struct TableWriter {
    table: Arc<Table>,
    /// Slots in use, including those without an owner.
    used: usize,
}

impl Default for TableWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl TableWriter {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            table: Arc::new(Table::with_slots(LEAST)),
            used: 0,
        }
    }

    /// The readers' side.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Sets, changes or removes the owner of `key` in `scope`. True when the table was replaced by a larger one, which
    /// must then be published.
    #[must_use = "a table that was replaced must be published"]
    pub fn set(&mut self, scope: NonZeroU32, key: u64, owner: Option<NonZeroU32>) -> bool {
        let grown = (self.used + 1) * FULL.1 > self.table.slots.len() * FULL.0;
        if grown {
            self.grow();
        }
        if self.table.store(scope, key, owner) {
            self.used += 1;
        }
        grown
    }

    /// Copies the entries with an owner into a table half as large again as they need.
    fn grow(&mut self) {
        let live = |slot: &&Slot| slot.owner.load(Ordering::Relaxed) as u32 != 0;
        let count = self.table.slots.iter().filter(live).count();
        let next = Table::with_slots((count + 1) * FULL.1 * 3 / (FULL.0 * 2));
        for slot in self.table.slots.iter().filter(live) {
            let word = slot.owner.load(Ordering::Relaxed);
            if let Some(scope) = NonZeroU32::new((word >> 32) as u32) {
                next.store(scope, slot.key.load(Ordering::Relaxed), NonZeroU32::new(word as u32));
            }
        }
        self.used = count;
        self.table = Arc::new(next);
    }
}

/// Addresses in a page of an [`AddressArray`].
const PAGE: usize = 256;

/// The owners of a subnet's IPv4 addresses, by host part: 4 octets an address, pages of 256 made when first needed.
pub struct AddressArray {
    pages: Box<[std::sync::OnceLock<Box<[AtomicU32]>>]>,
    size: usize,
}

impl AddressArray {
    /// An array for `size` addresses, at most 65536 (a /16).
    pub fn new(size: usize) -> Self {
        let pages = size.div_ceil(PAGE);
        Self {
            pages: (0..pages).map(|_| std::sync::OnceLock::new()).collect(),
            size,
        }
    }

    /// The owner of the address with this host part.
    #[inline(always)]
    pub fn get(&self, host: u32) -> Option<NonZeroU32> {
        let page = self.pages.get(host as usize / PAGE)?.get()?;
        NonZeroU32::new(page.get(host as usize % PAGE)?.load(Ordering::Acquire))
    }

    /// Sets, changes or removes the owner of an address in one store. A host part outside the subnet is ignored.
    pub fn set(&self, host: u32, owner: Option<NonZeroU32>) {
        let Some(page) = self.pages.get(host as usize / PAGE) else {
            return;
        };
        if page.get().is_none() && owner.is_none() {
            return;
        }
        let page = page.get_or_init(|| (0..self.size.min(PAGE)).map(|_| AtomicU32::new(0)).collect());
        if let Some(entry) = page.get(host as usize % PAGE) {
            entry.store(owner.map_or(0, NonZeroU32::get), Ordering::Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).expect("the tests name none zero")
    }

    proptest! {
        #[test]
        fn a_table_answers_as_a_map_does(edits in prop::collection::vec((1_u32..4, 0_u64..200, 0_u32..5), 1..2000)) {
            let mut writer = TableWriter::new();
            let mut model = HashMap::new();
            for (scope, key, owner) in edits {
                let _ = writer.set(number(scope), key, NonZeroU32::new(owner));
                model.insert((scope, key), owner);
            }
            for scope in 1..4 {
                for key in 0..200 {
                    let expected = model.get(&(scope, key)).copied().and_then(NonZeroU32::new);
                    prop_assert_eq!(writer.table().get(number(scope), key), expected);
                }
            }
        }
    }

    #[test]
    fn a_mapping_takes_at_most_32_octets_when_there_are_many() {
        let mut writer = TableWriter::new();
        for key in 0..300_000_u64 {
            let _ = writer.set(number(1), key.wrapping_mul(0x9e37_79b9_7f4a_7c15), Some(number(7)));
            if key > 10_000 {
                assert!(
                    writer.table().size() as u64 <= (key + 1) * 32,
                    "{} octets for {}",
                    writer.table().size(),
                    key + 1
                );
            }
        }
    }

    #[test]
    fn keys_that_differ_in_a_few_bits_do_not_crowd() {
        let count = 40_000_u64;
        let mac = |number: u64| 0x0e00_0000_0000 | number;
        let patterns: [(&str, &dyn Fn(u64) -> u64); 6] = [
            ("one after another", &|n| n),
            ("MACs of one vendor", &mac),
            ("delegated prefixes", &|n| n << 48),
            ("multiples of 64 K", &|n| n << 16),
            ("EUI-64", &|n| {
                n << 32 & 0xff_ffff << 40 | 0xff_fe00_0000 | n & 0xff_ffff
            }),
            ("scattered", &|n| n.wrapping_mul(0x2545_f491_4f6c_dd1d)),
        ];
        for (what, key) in patterns {
            let mut writer = TableWriter::new();
            for scope in 1..4 {
                for n in 0..count {
                    let _ = writer.set(number(scope), key(n), Some(number(7)));
                }
            }
            let table = writer.table();
            let slots = table.slots.len();
            let mut ways = 0;
            for scope in 1..4 {
                for key in (0..count).map(key) {
                    let mut at = table.home(number(scope), key);
                    while table.slots[at].key.load(Ordering::Relaxed) != key
                        || table.slots[at].owner.load(Ordering::Relaxed) >> 32 != u64::from(scope)
                    {
                        (at, ways) = ((at + 1) % slots, ways + 1);
                    }
                }
            }
            // Linear probing passes 2 others on the way to a key of a table that is four fifths full (Knuth, 6.4).
            let mean = f64::from(ways) / (3 * count) as f64;
            assert!(mean < 2.5, "{what}: {mean} slots are passed by");
        }
    }

    #[test]
    fn addresses_that_come_and_go_do_not_fill_the_table() {
        let mut writer = TableWriter::new();
        for key in 0..100_000_u64 {
            let _ = writer.set(number(1), key, Some(number(1)));
            let _ = writer.set(number(1), key, None);
        }
        assert!(writer.table().size() <= 2 * LEAST * 16);
    }

    #[test]
    fn a_reader_sees_an_address_with_its_old_owner_or_its_new_one_and_never_with_none() {
        let mut writer = TableWriter::new();
        for key in 0..1000 {
            let _ = writer.set(number(1), key, Some(number(1)));
        }
        let table = Arc::clone(writer.table());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = [0_u64; 3];
                while !done.load(Ordering::Relaxed) {
                    let owner = table
                        .get(number(1), 500)
                        .expect("the address has an owner at every instant");
                    seen[owner.get() as usize] += 1;
                }
                seen
            });
            for round in 0..200_000_u32 {
                let _ = writer.set(number(1), 500, Some(number(1 + round % 2)));
            }
            done.store(true, Ordering::Relaxed);
            let seen = reader.join().expect("the reader saw no hole");
            assert_eq!(seen[0], 0);
        });
    }

    #[test]
    fn an_address_array_knows_its_bounds() {
        let array = AddressArray::new(16);
        array.set(15, Some(number(3)));
        array.set(16, Some(number(4)));
        assert_eq!(array.get(15), Some(number(3)));
        assert_eq!(array.get(16), None);
        assert_eq!(array.get(70_000), None);
        array.set(15, None);
        assert_eq!(array.get(15), None);
    }
}
