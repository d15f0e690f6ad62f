//! Checks the mapping table: one writer, and readers.

#[path = "../src/mapping/table.rs"]
mod table;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use loom::thread;

    use super::table::{AddressArray, TableWriter};

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).expect("the tests count from 1")
    }

    /// The first key of all; with so few slots others share its probe sequence.
    const OLD: u64 = 7;

    #[test]
    fn a_move_shows_the_old_owner_or_the_new_one() {
        loom::model(|| {
            let mut writer = TableWriter::new();
            let _ = writer.set(number(1), OLD, Some(number(1)));
            let table = Arc::clone(writer.table());
            let reader = thread::spawn(move || {
                let first = table.get(number(1), OLD).expect("never without owner").get();
                let second = table.get(number(1), OLD).expect("never without owner").get();
                assert!((1..=2).contains(&first) && first <= second, "{first} then {second}");
            });
            assert!(!writer.set(number(1), OLD, Some(number(2))));
            reader.join().expect("the reader saw no hole");
        });
    }

    #[test]
    fn a_new_key_is_never_seen_under_another_ones_owner() {
        // Some of these keys probe the slots of others. A slot without a key looks like one with key 0.
        for key in (1..16).filter(|key| *key != OLD) {
            loom::model(move || {
                let mut writer = TableWriter::new();
                let _ = writer.set(number(1), OLD, Some(number(1)));
                let table = Arc::clone(writer.table());
                let reader = thread::spawn(move || {
                    assert_eq!(table.get(number(1), 0), None, "nobody has key 0");
                    let seen = table.get(number(1), key).map(NonZeroU32::get);
                    assert!(seen.is_none() || seen == Some(2), "key {key}: {seen:?}");
                    assert_eq!(table.get(number(1), OLD), Some(number(1)));
                    assert_eq!(table.get(number(2), key), None, "another scope");
                });
                assert!(!writer.set(number(1), key, Some(number(2))));
                reader.join().expect("the reader saw keys with their own owners");
            });
        }
    }

    #[test]
    fn a_key_that_goes_and_comes_back_is_seen_with_an_owner_it_had() {
        loom::model(|| {
            let mut writer = TableWriter::new();
            let _ = writer.set(number(1), OLD, Some(number(1)));
            let table = Arc::clone(writer.table());
            let reader = thread::spawn(move || {
                let seen = table.get(number(1), OLD).map_or(0, NonZeroU32::get);
                assert!(seen <= 2, "{seen}");
                assert_eq!(table.get(number(1), OLD + 1), None, "nobody has it");
            });
            assert!(!writer.set(number(1), OLD, None));
            assert!(!writer.set(number(1), OLD, Some(number(2))));
            reader.join().expect("the reader saw owners that were");
        });
    }

    #[test]
    fn who_reads_a_table_that_was_outgrown_sees_the_state_before() {
        loom::model(|| {
            let mut writer = TableWriter::new();
            for key in 0..3 {
                let _ = writer.set(number(1), key, Some(number(1)));
            }
            let table = Arc::clone(writer.table());
            let reader = thread::spawn(move || {
                assert_eq!(table.get(number(1), 0), Some(number(1)));
                assert_eq!(table.get(number(1), 9), None);
            });
            let grown = writer.set(number(1), 9, Some(number(2)));
            assert!(grown, "the test is about growth");
            assert_eq!(writer.table().get(number(1), 9), Some(number(2)));
            assert_eq!(writer.table().get(number(1), 0), Some(number(1)));
            reader.join().expect("the old table stays as it was");
        });
    }

    #[test]
    fn an_address_shows_the_old_owner_or_the_new_one() {
        loom::model(|| {
            let array = Arc::new(AddressArray::new(4));
            array.set(2, Some(number(1)));
            let read = Arc::clone(&array);
            let reader = thread::spawn(move || {
                let seen = read.get(2).expect("never without owner").get();
                assert!((1..=2).contains(&seen), "{seen}");
                assert_eq!(read.get(3), None);
            });
            array.set(2, Some(number(2)));
            reader.join().expect("the reader saw no hole");
        });
    }
}
