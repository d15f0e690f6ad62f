//! Checks the table of connections: workers that insert, refresh and look up while entries move to a larger table.

#[path = "../src/datapath/state/connections/allowance.rs"]
mod allowance;
#[path = "../src/datapath/state/connections/key.rs"]
mod key;
#[path = "../src/datapath/state/connections/slot.rs"]
mod slot;
#[path = "../src/datapath/state/connections/table.rs"]
mod table;

#[path = "bindings.rs"]
mod checked_bindings;
use crate::by_index;
#[path = "../src/datapath/state/bindings/mod.rs"]
mod bindings;

/// The number of a VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VpcIndex(pub std::num::NonZeroU32);

/// Names, as `verdict.rs` gives them to its enums.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $text:literal])+ $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $text])+ $variant),+ }

        impl $name {
            pub const COUNT: usize = [$($label),+].len();
        }
    };
}
pub(crate) use named;

/// Flags, as `tracking.rs` has them.
mod tracking {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(super) struct Seen(u16);

    impl Seen {
        pub(super) const fn from_bits(bits: u16) -> Self {
            Self(bits)
        }

        pub(super) const fn bits(self) -> u16 {
            self.0
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Full;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    seen: tracking::Seen,
    touched: u32,
    until: u32,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use loom::thread;

    use super::key::{Key, Thread};
    use super::slot::Content;
    use super::table::Table;
    use super::tracking::Seen;
    use crate::mapping::InterfaceIndex;

    const NOW: u32 = 1;

    fn index(number: u32) -> InterfaceIndex {
        InterfaceIndex::from_number(number).expect("counted from 1")
    }

    fn key(number: u16) -> Key {
        let (own, remote) = (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into());
        Key::new(index(1), 6, Thread::Ports(number, 80), own, remote)
    }

    fn content(number: u16) -> Content {
        Content {
            key: key(number),
            seen: Seen::from_bits(1),
            touched: NOW,
            until: 100,
            allowance: index(1),
        }
    }

    fn insert(table: &Table, number: u16) {
        let content = content(number);
        let inserted = table.insert(&content, table.hash(&content.key), NOW);
        assert_eq!(inserted, Ok(()), "{number}");
    }

    fn until(table: &Table, number: u16) -> Option<u32> {
        let key = key(number);
        let found = table.slot(&key, table.hash(&key))?;
        Some(found.1.until)
    }

    /// With few preemptions; each test fails within them when a step of the protocol is left out.
    fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.max_branches = 20_000;
        model.check(test);
    }

    /// With this seed four entries have places in a table of four slots.
    const SEED: u64 = 0;

    /// A table of two slots with some entries.
    fn table(entries: std::ops::RangeInclusive<u16>) -> Arc<Table> {
        let table = Arc::new(Table::new(SEED, 1 << 4));
        for number in entries {
            insert(&table, number);
        }
        assert!(table.is_settled(), "it has grown before the test began");
        table
    }

    /// Moves what is left, and counts.
    fn settle(table: &Table) -> (usize, u32) {
        for _ in 0..4 {
            table.step(NOW);
        }
        assert!(table.is_settled(), "all entries have places in the newest table");
        (table.len(), table.allowances.used(index(1)))
    }

    #[test]
    fn an_entry_is_found_while_it_moves() {
        model(2, || {
            let table = table(1..=2);
            let writer = Arc::clone(&table);
            let moving = thread::spawn(move || {
                insert(&writer, 3);
                writer.step(NOW);
            });
            assert_eq!(until(&table, 1), Some(100));
            assert_eq!(until(&table, 2), Some(100));
            moving.join().expect("it moved all");
            assert_eq!(settle(&table), (3, 3));
            assert_eq!((until(&table, 1), until(&table, 3)), (Some(100), Some(100)));
        });
    }

    #[test]
    fn two_workers_that_insert_while_the_table_grows_lose_nothing() {
        for entries in 1..=2 {
            model(2, move || {
                let table = table(1..=entries);
                let other = Arc::clone(&table);
                let second = thread::spawn(move || {
                    insert(&other, 3);
                    assert_eq!(until(&other, 3), Some(100));
                    other.step(NOW);
                });
                insert(&table, 4);
                table.step(NOW);
                assert_eq!(until(&table, 4), Some(100));
                second.join().expect("it inserted");
                let all = usize::from(entries) + 2;
                assert_eq!(settle(&table), (all, all as u32));
                for number in (1..=entries).chain(3..=4) {
                    assert_eq!(until(&table, number), Some(100), "{number}");
                }
            });
        }
    }

    #[test]
    fn one_connection_that_two_workers_insert_is_one_entry() {
        model(2, || {
            let table = table(1..=2);
            let other = Arc::clone(&table);
            let second = thread::spawn(move || {
                insert(&other, 3);
                other.step(NOW);
                assert_eq!(until(&other, 3), Some(100));
            });
            insert(&table, 3);
            assert_eq!(until(&table, 3), Some(100));
            second.join().expect("it inserted");
            assert_eq!(settle(&table), (3, 3));
            assert_eq!((until(&table, 1), until(&table, 3)), (Some(100), Some(100)));
        });
    }

    #[test]
    fn an_entry_that_is_refreshed_while_it_moves_keeps_what_was_written() {
        model(3, || {
            let table = table(1..=2);
            let writer = Arc::clone(&table);
            let moving = thread::spawn(move || {
                insert(&writer, 3);
                writer.step(NOW);
            });
            let key = key(1);
            while let Some((slot, reading)) = table.slot(&key, table.hash(&key)) {
                if slot.update(&reading, Seen::from_bits(3), 2, 200) {
                    break;
                }
            }
            moving.join().expect("it moved all");
            let (_, reading) = table.slot(&key, table.hash(&key)).expect("it is tracked");
            assert_eq!((reading.known().seen.bits(), reading.until), (3, 200));
        });
    }
}
