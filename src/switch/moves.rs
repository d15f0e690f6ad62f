//! Queues moved addresses to be announced. Lists take turns, so that a single move does not wait behind a list of a
//! million; and the queue never holds more entries than there are addresses, however often each moves.

use std::collections::{HashSet, VecDeque};
use std::vec::IntoIter;

use foldhash::fast::RandomState;

use crate::datapath::Moved;

/// Queue length below which duplicates are not removed: 24 MB.
const FEW: usize = 1 << 20;

/// The queue holds addresses without owners: the owner is looked up when the announcement is written, so it is never an
/// outdated one.
pub(super) struct Moves {
    lists: VecDeque<IntoIter<Moved>>,
    /// Addresses in all lists.
    held: usize,
    /// Queue length at which duplicates are removed.
    tidy_at: usize,
}

impl Default for Moves {
    fn default() -> Self {
        Self {
            lists: VecDeque::new(),
            held: 0,
            tidy_at: FEW,
        }
    }
}

impl Moves {
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Adds a list of addresses whose new owners are already set.
    pub(super) fn push(&mut self, list: Vec<Moved>) {
        if list.is_empty() {
            return;
        }
        self.held += list.len();
        self.lists.push_back(list.into_iter());
        if self.held > self.tidy_at {
            self.tidy();
        }
    }

    /// Announces addresses of the list whose turn it is, until `announce` returns false or the list ends; then it is
    /// the next list's turn.
    pub(super) fn turn(&mut self, mut announce: impl FnMut(Moved) -> bool) {
        let Some(mut list) = self.lists.pop_front() else { return };
        for moved in list.by_ref() {
            self.held -= 1;
            if !announce(moved) {
                break;
            }
        }
        if list.len() > 0 {
            self.lists.push_back(list);
        }
    }

    /// Removes duplicates, and keeps the first place of each address: its owner is already that of the last move.
    fn tidy(&mut self) {
        let mut seen: HashSet<Moved, RandomState> = HashSet::default();
        let lists = std::mem::take(&mut self.lists);
        self.held = 0;
        for list in lists {
            let mut list: Vec<Moved> = list.filter(|moved| seen.insert(*moved)).collect();
            list.shrink_to_fit();
            self.held += list.len();
            if !list.is_empty() {
                self.lists.push_back(list.into_iter());
            }
        }
        self.tidy_at = FEW.max(self.held * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;

    use super::*;
    use crate::datapath::SubnetIndex;

    fn addresses(numbers: std::ops::Range<usize>) -> Vec<Moved> {
        let moved = |number| Moved {
            subnet: SubnetIndex(NonZeroU32::MIN),
            address: Ipv4Addr::from_bits(number as u32).into(),
        };
        numbers.map(moved).collect()
    }

    /// The addresses announced in one turn of at most `most`.
    fn turn(moves: &mut Moves, most: usize) -> Vec<Moved> {
        let mut announced = Vec::new();
        moves.turn(|moved| {
            announced.push(moved);
            announced.len() < most
        });
        announced
    }

    #[test]
    fn one_address_that_moves_does_not_wait_for_a_long_list_before_it() {
        let mut moves = Moves::default();
        moves.push(addresses(0..1000));
        moves.push(addresses(5000..5001));
        assert_eq!(turn(&mut moves, 10), addresses(0..10));
        assert_eq!(turn(&mut moves, 10), addresses(5000..5001));
        assert_eq!(turn(&mut moves, 10), addresses(10..20), "and the long list goes on");
        while !moves.is_empty() {
            turn(&mut moves, 300);
        }
        assert_eq!((moves.held, turn(&mut moves, 10)), (0, Vec::new()));
    }

    #[test]
    fn addresses_that_move_to_and_fro_wait_once_when_there_are_many() {
        let mut moves = Moves::default();
        for _ in 0..20 {
            moves.push(addresses(0..FEW / 3));
            assert!(moves.held <= moves.tidy_at);
        }
        assert_eq!(moves.tidy_at, FEW);
        moves.tidy();
        let mut left = Vec::new();
        while !moves.is_empty() {
            left.extend(turn(&mut moves, FEW));
        }
        assert_eq!(left, addresses(0..FEW / 3), "each is still announced");
    }
}
